"""From the results of jobs to one table: a row for every point, failed ones included.

Energy and estimates are joins, computed here: they need no run. Nothing that differs from run to run (times, paths)
enters the table, so equal results give an equal file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from talon_lib.cost.counts import NodeCounts
from talon_lib.cost.energy import get_preset, talon_energy
from talon_lib.cost.estimate import SOURCE as ESTIMATE_SOURCE
from talon_lib.cost.estimate import estimate
from talon_lib.errors import ConfigError, FormatError
from talon_lib.files import whole
from talon_lib.sweep.points import result_path
from talon_lib.sweep.schema import AXES, SCHEMA

SIMULATE_SOURCE = "simulated"
ENERGY_SOURCE = "analytic: TALON accounting of simulated spikes"

_SEVERITY = ("ok", "unsupported", "timeout", "failed")

Envelope = Mapping[str, Any]


def collect(plan: Mapping[str, Any], results: Path) -> pa.Table:
    """The table of a planned sweep (the content of sweep.json) from the job results under ``results``.

    A result that is missing or unreadable makes its points failed rows with the reason.
    """

    @cache
    def load(stage: str, key: str) -> Envelope:
        return read_result(result_path(results, stage, key), stage)

    rows = []
    for point in plan["points"]:
        jobs = {stage: load(stage, point[stage]) for stage in ("simulate", "project", "csim") if point[stage]}
        rows.append(_row(point, jobs, plan["configuration"]["stages"]))
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write(table: pa.Table, path: Path) -> None:
    """Write the table whole or not at all."""
    with whole(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def read_plan(path: Path) -> dict[str, Any]:
    """Read sweep.json. Raises FormatError."""
    try:
        plan = json.loads(path.read_text())
        plan["points"], plan["configuration"]["stages"]
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}; talon-dse plan writes it") from None
    except (ValueError, KeyError, TypeError):
        raise FormatError(f"{path}: not the sweep.json of a sweep; talon-dse plan writes one") from None
    assert isinstance(plan, dict)
    return plan


def read_table(path: Path) -> pa.Table:
    """Read metrics.parquet. Raises FormatError where it is not one of this version."""
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise FormatError(f"{path}: there is no such file; talon-dse collect writes it") from None
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror or 'not a Parquet file'}; talon-dse collect writes it") from None
    except pa.ArrowException:
        raise FormatError(f"{path}: not a Parquet file; remove it and run talon-dse collect") from None
    if not table.schema.equals(SCHEMA):
        raise FormatError(f"{path}: written by another version of talon-dse; remove it and run the sweep again")
    return table


def read_result(path: Path, stage: str) -> Envelope:
    """The envelope of a job; one of status failed where it is missing or damaged."""
    try:
        content = json.loads(path.read_text())
        if content["stage"] != stage or (content["status"] == "ok") != (content["result"] is not None):
            raise ValueError
        if content["status"] not in _SEVERITY or (content["status"] != "ok" and not content["reason"]):
            raise ValueError
    except FileNotFoundError:
        return {"status": "failed", "reason": "no result: the job did not end; run the sweep again", "result": None}
    except (OSError, ValueError, KeyError, TypeError):
        reason = f"the result {path.name} is damaged; remove it and run the sweep again"
        return {"status": "failed", "reason": reason, "result": None}
    assert isinstance(content, dict)
    return content


def _row(point: Mapping[str, Any], jobs: Mapping[str, Envelope], stages: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"point_id": point["id"], **{field.name: point[field.name] for field in AXES}}
    nodes: dict[str, dict[str, Any]] = {}
    simulated = jobs["simulate"]["result"]
    if simulated is not None:
        counts = {name: _counts(own) for name, own in simulated["nodes"].items()}
        row |= _simulate_columns(simulated, counts)
        nodes = {name: _node_columns(name, own, simulated["types"]) for name, own in simulated["nodes"].items()}
        row |= _energy_columns(point, simulated, counts, nodes)
        if simulated["fixed"]:  # floating point has no hardware to estimate
            row |= _estimate_columns(point, jobs.get("project"), counts, nodes)
    row |= _project_columns(jobs.get("project"))
    row |= _csim_columns(jobs.get("csim"), stages)
    row |= _status(jobs, row)
    return row | {"nodes": list(nodes.values())}


def _counts(own: Mapping[str, Any]) -> NodeCounts:
    return NodeCounts(own["macs_per_step"], own["weights"], own["neurons"], own["weight_bits"], own["state_bits"])


def _simulate_columns(simulated: Mapping[str, Any], counts: Mapping[str, NodeCounts]) -> dict[str, Any]:
    nodes = simulated["nodes"].values()
    return {
        "samples": simulated["samples"],
        "accuracy": simulated["accuracy"],
        "accuracy_by_step": simulated["accuracy_by_step"],
        "agreement_fp32": simulated["agreement_fp32"],
        "spikes_per_sample": sum(own["spikes_per_sample"] for own in nodes),
        "effective_macs": sum(own["effective_macs"] for own in nodes),
        "effective_acs": sum(own["effective_acs"] for own in nodes),
        "dense_macs": sum(own["dense_macs"] for own in nodes),
        "weight_memory_bytes": sum(own.weight_bytes for own in counts.values()),
        "state_memory_bytes": sum((own.state_bits + 7) // 8 for own in counts.values()),
        "simulate_source": SIMULATE_SOURCE,
    }


def _node_columns(name: str, own: Mapping[str, Any], types: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    return {
        "node": name,
        "spikes_per_sample": own["spikes_per_sample"],
        "effective_macs": own["effective_macs"],
        "effective_acs": own["effective_acs"],
        "energy_uj": 0.0,
        "weight_type": types[name].get("weight"),
        "result_type": types[name].get("result"),
        "membrane_type": types[name].get("membrane"),
    }


def _energy_columns(
    point: Mapping[str, Any],
    simulated: Mapping[str, Any],
    counts: Mapping[str, NodeCounts],
    nodes: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    spikes = {name: own["spikes_per_sample"] for name, own in simulated["nodes"].items()}
    energy = talon_energy(counts, point["timesteps"], spikes, get_preset(point["energy_preset"]))
    for name, value in energy.by_node_uj.items():
        nodes[name]["energy_uj"] = value
    return {
        "energy_uj": energy.total_uj,
        "mac_energy_uj": energy.mac_uj,
        "spike_energy_uj": energy.spike_uj,
        "sram_energy_uj": energy.sram_uj,
        "energy_source": ENERGY_SOURCE,
    }


def _estimate_columns(
    point: Mapping[str, Any],
    project: Envelope | None,
    counts: Mapping[str, NodeCounts],
    nodes: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    reuse: int | Mapping[str, int] = point["reuse_factor"]
    if project is not None and project["result"] is not None:
        effective: Mapping[str, int] = project["result"]["effective_reuse"]
        for name, factor in effective.items():
            nodes[name]["effective_reuse_factor"] = factor
        reuse = effective
    found = estimate(counts, reuse, point["timesteps"], point["clock_period_ns"])
    return {
        "multipliers": found.multipliers,
        "cycles_per_step": found.cycles_per_step,
        "interval_cycles": found.interval_cycles,
        "latency_us": found.latency_us,
        "estimate_source": ESTIMATE_SOURCE,
    }


def _project_columns(project: Envelope | None) -> dict[str, Any]:
    if project is None:
        return {"project_status": "not_run"}
    if project["result"] is None:
        return {"project_status": project["status"]}
    return {
        "project_status": "ok",
        "project_folder": f"project/{project['result']['folder']}",
        "project_source": f"hls4ml-{project['result']['hls4ml']}",
    }


def _csim_columns(csim: Envelope | None, stages: Mapping[str, Any]) -> dict[str, Any]:
    if csim is None:
        why = "floating point: hardware holds fixed point only" if stages["csim"] else "switched off"
        return {"csim_status": "not_run", "csim_reason": why}
    found = csim["result"]
    if found is None:
        return {"csim_status": csim["status"], "csim_reason": csim["reason"]}
    return {
        "csim_status": "equal" if found["equal"] else "different",
        "csim_reason": found["difference"],
        "csim_samples": found["samples"],
        "csim_values": found["values"],
        "csim_source": found["compiler"],
    }


def _status(jobs: Mapping[str, Envelope], row: Mapping[str, Any]) -> dict[str, Any]:
    verdicts = [(job["status"], f"{stage}: {job['reason']}") for stage, job in jobs.items()]
    if row.get("csim_status") == "different":
        verdicts.append(("failed", f"csim: differs from simulation at {row['csim_reason']}"))
    status, reason = max(verdicts, key=lambda verdict: _SEVERITY.index(verdict[0]))
    return {"status": status, "reason": None if status == "ok" else reason}


def summary(table: pa.Table) -> str:
    """How many points there are and how they ended, in one line."""
    statuses = table.column("status").to_pylist()
    if not statuses:
        raise ConfigError("the table has no points")
    counted = [f"{statuses.count(status)} {status}" for status in _SEVERITY if status in statuses]
    return f"{len(statuses)} points: {', '.join(counted)}"
