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

from talon_lib.cost.break_even import break_even
from talon_lib.cost.calibration import Calibration
from talon_lib.cost.counts import NodeCounts
from talon_lib.cost.energy import talon_energy
from talon_lib.cost.event_energy import EXECUTIONS, PARTS, energy
from talon_lib.cost.metrics import metrics
from talon_lib.cost.preset import EnergyPreset, get_preset, parse_preset
from talon_lib.cost.work import NodeWork
from talon_lib.errors import ConfigError, FormatError
from talon_lib.files import whole
from talon_lib.sweep import open_rtl
from talon_lib.sweep.estimates import estimate_columns
from talon_lib.sweep.points import STAGES, result_path
from talon_lib.sweep.schema import AXES, SCHEMA

SIMULATE_SOURCE = "simulated"
ENERGY_SOURCE = "analytic: TALON accounting of simulated spikes"
EVENT_SOURCE = "analytic: simulated events"
BREAK_EVEN_SOURCE = "analytic: after Yan et al. 2024, simulated events"

_SEVERITY = ("ok", "unsupported", "timeout", "failed")
_STATUSES = (*_SEVERITY, "missing")

Envelope = Mapping[str, Any]


def collect(plan: Mapping[str, Any], results: Path) -> pa.Table:
    """The table of a planned sweep (the content of sweep.json) from the job results under ``results``.

    A result that is missing or unreadable makes its points failed rows with the reason.
    """

    @cache
    def load(stage: str, key: str) -> Envelope:
        return read_result(result_path(results, stage, key), stage)

    calibration = Calibration.from_dict(plan["calibration"]) if plan.get("calibration") else None
    rows = []
    presets = _presets(plan)
    for point in plan["points"]:
        jobs = {stage: load(stage, point[stage]) for stage in STAGES if point[stage]}
        if "synth" in jobs and jobs["project"]["result"] is None:  # there was nothing to work on, for the reason there
            del jobs["synth"]
        preset = presets[point["energy_preset"]]
        rows.append(_row(point, jobs, plan["configuration"]["stages"], preset, calibration))
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _presets(plan: Mapping[str, Any]) -> dict[str, EnergyPreset]:
    """The presets of the points, as they were when the sweep was planned."""
    names = {point["energy_preset"] for point in plan["points"]}
    planned = plan.get("energy_presets", {})
    return {name: parse_preset(name, planned[name]) if name in planned else get_preset(name) for name in names}


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
        if content["status"] not in _STATUSES or (content["status"] != "ok" and not content["reason"]):
            raise ValueError
    except FileNotFoundError:
        return {"status": "failed", "reason": "no result: the job did not end; run the sweep again", "result": None}
    except (OSError, ValueError, KeyError, TypeError):
        reason = f"the result {path.name} is damaged; remove it and run the sweep again"
        return {"status": "failed", "reason": reason, "result": None}
    assert isinstance(content, dict)
    return content


def _row(
    point: Mapping[str, Any],
    jobs: Mapping[str, Envelope],
    stages: Mapping[str, Any],
    preset: EnergyPreset,
    calibration: Calibration | None,
) -> dict[str, Any]:
    row: dict[str, Any] = {"point_id": point["id"], **{field.name: point[field.name] for field in AXES}}
    row |= open_rtl.columns(point, jobs.get("rtl"))
    nodes: dict[str, dict[str, Any]] = {}
    simulated = jobs["simulate"]["result"]
    if simulated is not None:
        counts = {name: _counts(own) for name, own in simulated["nodes"].items()}
        row |= _simulate_columns(simulated, counts)
        nodes = {name: _node_columns(name, own, simulated["types"]) for name, own in simulated["nodes"].items()}
        row |= _energy_columns(point, simulated, counts, nodes, preset)
        if simulated["hardware"] is not None:  # floating point has none
            effective = _effective_reuse(jobs.get("project"))
            row |= estimate_columns(point, simulated["hardware"], effective, calibration, nodes)
            if "rtl" in jobs and jobs["rtl"]["status"] != "unsupported":  # else there is nothing to estimate
                row |= open_rtl.estimate_columns(point, simulated["hardware"])
        work = {name: NodeWork.of(own["work"]) for name, own in simulated["nodes"].items()}
        row |= vars(metrics(work, point["timesteps"]))
        row |= _event_columns(point, work, nodes, preset, row.get("latency_us"))
        row |= _routed_energy(point, work, preset, row.get("open_rtl_latency_us"))
        if simulated["one_pass"]:  # else a network without spikes and memory is no opponent
            row |= _break_even_columns(point["timesteps"], work, preset)
    row |= _project_columns(jobs.get("project"))
    row |= _csim_columns(jobs.get("csim"), stages)
    row |= _vitis_columns(jobs.get("synth"))
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
        "events_per_sample": own["work"]["events"],
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
    preset: EnergyPreset,
) -> dict[str, Any]:
    spikes = {name: own["spikes_per_sample"] for name, own in simulated["nodes"].items()}
    energy = talon_energy(counts, point["timesteps"], spikes, preset)
    for name, value in energy.by_node_uj.items():
        nodes[name]["energy_uj"] = value
    return {
        "energy_uj": energy.total_uj,
        "mac_energy_uj": energy.mac_uj,
        "spike_energy_uj": energy.spike_uj,
        "sram_energy_uj": energy.sram_uj,
        "energy_source": ENERGY_SOURCE,
    }


def _event_columns(
    point: Mapping[str, Any],
    work: Mapping[str, NodeWork],
    nodes: Mapping[str, dict[str, Any]],
    preset: EnergyPreset,
    latency_us: float | None,
) -> dict[str, Any]:
    """Energy by events and widths, for both ways to execute, in all and by part; ``nodes`` get their own."""
    found: dict[str, Any] = {"event_energy_source": f"{EVENT_SOURCE}, {preset.basis_at(latency_us)}"}
    for execution in EXECUTIONS:
        priced = energy(work, point["timesteps"], preset, execution, latency_us)
        if priced is None:  # the preset's device does not execute so
            continue
        found[f"{execution}_energy_uj"] = priced.total / 1e6
        parts = vars(priced.parts) | {"static": priced.static}
        found |= {f"{execution}_{part}_energy_uj": value / 1e6 for part, value in parts.items()}
        for name, own in priced.by_node.items():
            nodes[name][f"{execution}_energy_uj"] = own.total / 1e6
            nodes[name][f"{execution}_parts_uj"] = {part: getattr(own, part) / 1e6 for part in PARTS}
    return found


def _routed_energy(
    point: Mapping[str, Any], work: Mapping[str, NodeWork], preset: EnergyPreset, latency_us: float | None
) -> dict[str, Any]:
    """Energy at a routed design's own clock: the open RTL works on every synapse in every step."""
    if latency_us is None:
        return {}
    priced = energy(work, point["timesteps"], preset, "clock", latency_us)
    return {} if priced is None else {"open_rtl_energy_uj": priced.total / 1e6}


def _break_even_columns(steps: int, work: Mapping[str, NodeWork], preset: EnergyPreset) -> dict[str, Any]:
    found = break_even(work, steps, preset)
    if found is None:
        return {}
    return {
        "ann_bits": found.ann_bits,
        "ann_energy_uj": found.ann_pj / 1e6,
        "spike_rate": found.spike_rate,
        "break_even_spike_rate": found.break_even_rate,
        "layer_break_even_spike_rate": found.layer_break_even_rate,
        "beats_ann": found.beats_ann,
        "break_even_source": BREAK_EVEN_SOURCE,
    }


def _effective_reuse(project: Envelope | None) -> Mapping[str, int]:
    """The reuse factors by node that hls4ml took, where there is a project."""
    found: Mapping[str, int] = project["result"]["effective_reuse"] if project and project["result"] else {}
    return found


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


_VITIS = {
    "vitis_lut": "lut",
    "vitis_ff": "ff",
    "vitis_dsp": "dsp",
    "vitis_bram": "bram18",
    "vitis_uram": "uram",
    "vitis_latency_cycles": "latency_cycles_max",
    "vitis_interval_cycles": "interval_cycles_max",
    "vitis_clock_ns": "clock_estimated_ns",
    "vitis_cosim_equal": "cosim_equal",
    "vivado_lut": "vsynth_lut",
    "vivado_ff": "vsynth_ff",
    "vivado_dsp": "vsynth_dsp",
    "vivado_bram": "vsynth_bram18",
    "vivado_wns_ns": "wns_ns",
    "vivado_power_w": "power_w",
}
"""Columns, and the fields of ``hls.reports.SynthReport`` that they hold."""


def _vitis_columns(synth: Envelope | None) -> dict[str, Any]:
    if synth is None:
        return {"vitis_status": "not_run"}
    found = synth["result"]
    if found is None:
        return {"vitis_status": synth["status"], "vitis_reason": synth["reason"]}
    report = found["report"]
    row = {column: report[field] for column, field in _VITIS.items()}
    row |= {"vitis_status": "ok", "vitis_source": found["source"]}
    if report["vsynth_lut"] is not None:
        row["vivado_source"] = f"vivado-{report['vsynth_version'] or 'unknown'}"
    return row


def _status(jobs: Mapping[str, Envelope], row: Mapping[str, Any]) -> dict[str, Any]:
    # what our RTL cannot hold, or AMD's tools that are missing, are no fault of the point
    verdicts = [
        (job["status"], f"{stage}: {job['reason']}")
        for stage, job in jobs.items()
        if stage != "rtl" and job["status"] in _SEVERITY
    ]
    if row.get("open_rtl_status") in ("failed", "timeout"):
        verdicts.append((row["open_rtl_status"], f"rtl: {row['open_rtl_reason']}"))
    if row.get("csim_status") == "different":
        verdicts.append(("failed", f"csim: differs from simulation at {row['csim_reason']}"))
    if row.get("open_rtl_status") == "different":
        verdicts.append(("failed", f"rtl: differs from simulation at {row['open_rtl_reason']}"))
    if row.get("vitis_cosim_equal") is False:
        verdicts.append(("failed", "synth: cosim differs from simulation"))
    status, reason = max(verdicts, key=lambda verdict: _SEVERITY.index(verdict[0]))
    return {"status": status, "reason": None if status == "ok" else reason}


def missing_tools(table: pa.Table) -> list[str]:
    """What the tools that are not installed would add, and how to get them; a line for each."""
    found: dict[str, None] = {}
    for row in table.select(["open_rtl_missing", "vitis_status", "vitis_reason"]).to_pylist():
        found |= dict.fromkeys((row["open_rtl_missing"] or "").split(open_rtl.AND))
        if row["vitis_status"] == "missing":
            found[row["vitis_reason"]] = None
    found.pop("", None)
    return list(found)


def summary(table: pa.Table) -> str:
    """How many points there are and how they ended, in one line."""
    statuses = table.column("status").to_pylist()
    if not statuses:
        raise ConfigError("the table has no points")
    counted = [f"{statuses.count(status)} {status}" for status in _SEVERITY if status in statuses]
    return f"{len(statuses)} points: {', '.join(counted)}"
