"""The rows of points, joined from the results of their jobs; failed ones are rows too.

Energy and estimates are joins, computed here: they need no run. What several points of a part share (a simulation, a
design, a preset) is computed once. Nothing that differs from run to run (times, paths) enters a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from talon_lib.cost.break_even import break_even
from talon_lib.cost.calibration import Calibration
from talon_lib.cost.counts import NodeCounts
from talon_lib.cost.energy import talon_energy
from talon_lib.cost.event_energy import EXECUTIONS, PARTS, EventEnergy, Execution, energy, static_energy
from talon_lib.cost.metrics import metrics
from talon_lib.cost.preset import EnergyPreset
from talon_lib.cost.work import NodeWork
from talon_lib.sweep import open_rtl
from talon_lib.sweep.estimates import estimate_columns
from talon_lib.sweep.jobs import STAGES
from talon_lib.sweep.points import Plan, Point
from talon_lib.sweep.results import Envelope, read_result, result_path
from talon_lib.sweep.schema import AXES
from talon_lib.sweep.table import STATUSES

SIMULATE_SOURCE = "simulated"
ENERGY_SOURCE = "analytic: TALON accounting of simulated spikes"
EVENT_SOURCE = "analytic: simulated events"
BREAK_EVEN_SOURCE = "analytic: after Yan et al. 2024, simulated events"

_RESULTS_KEPT = 256
"""Results that are held in memory; neighbouring points share them."""


class Rows:
    """Makes rows of points, from the results of jobs in the folder ``results``."""

    def __init__(
        self,
        results: Path,
        stages: Mapping[str, Any],
        presets: Iterable[EnergyPreset],
        calibration: Calibration | None = None,
    ) -> None:
        self._stages = stages
        self._presets = {preset.name: preset for preset in presets}
        self._calibration = calibration

        @lru_cache(_RESULTS_KEPT)
        def load(stage: str, key: str) -> Envelope:
            return read_result(result_path(results, stage, key), stage)

        @lru_cache(2)
        def simulation(key: str, steps: int) -> _Simulation:
            return _Simulation(load("simulate", key)["result"], steps)

        self._load, self._simulation = load, simulation

    @classmethod
    def of_plan(cls, plan: Plan, results: Path) -> Rows:
        """Those of a planned sweep."""
        stages = plan.spec.stages.model_dump()
        return cls(results, stages, plan.presets.values(), plan.calibration)

    def make(self, points: Iterable[Point]) -> Iterator[dict[str, Any]]:
        """A row for each point, in their order.

        A result that is missing or unreadable makes its points failed rows with the reason.
        """
        return map(self._row, points)

    def _row(self, point: Point) -> dict[str, Any]:
        jobs = {stage: self._load(stage, key) for stage in STAGES if (key := getattr(point, stage))}
        if "synth" in jobs and jobs["project"]["result"] is None:  # there was nothing to work on, for the reason there
            del jobs["synth"]
        axes = vars(point)
        row: dict[str, Any] = {"point_id": point.id, **{field.name: axes[field.name] for field in AXES}}
        row |= open_rtl.columns(axes, jobs.get("rtl"))
        nodes: Iterable[Mapping[str, Any]] = ()
        if jobs["simulate"]["result"] is not None:
            simulation = self._simulation(point.simulate, point.timesteps)
            preset = self._presets[point.energy_preset]
            row |= simulation.columns | simulation.energy(preset)
            # in floating point there is no hardware to estimate
            row |= simulation.estimates(axes, _effective_reuse(jobs.get("project")), self._calibration)
            if "rtl" in jobs and jobs["rtl"]["status"] != "unsupported":  # else there is nothing to estimate
                row |= simulation.open_rtl_estimates(axes)
            row |= simulation.events(preset, row.get("latency_us"))
            row |= simulation.routed_energy(preset, row.get("open_rtl_latency_us"))
            row |= simulation.break_even(preset)
            nodes = simulation.nodes(axes, preset)
        row |= _project_columns(jobs.get("project"))
        row |= _csim_columns(jobs.get("csim"), self._stages)
        row |= _vitis_columns(jobs.get("synth"))
        row |= _status(jobs, row)
        return row | {"nodes": list(nodes)}


class _Simulation:
    """The columns of one simulation, each group computed once for all that it depends on."""

    def __init__(self, result: Mapping[str, Any], steps: int) -> None:
        self._result, self._steps = result, steps
        self._counts = {name: _counts(own) for name, own in result["nodes"].items()}
        self._work = {name: NodeWork.of(own["work"]) for name, own in result["nodes"].items()}
        self._nodes = {name: _node_columns(name, own, result["types"]) for name, own in result["nodes"].items()}
        self.columns = _simulate_columns(result, self._counts) | vars(metrics(self._work, steps))
        self._events: dict[str, dict[Execution, _Priced]] = {}
        self._known: dict[Any, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {}

    def energy(self, preset: EnergyPreset) -> dict[str, Any]:
        """TALON's accounting."""
        return self._once(("energy", preset.name), lambda nodes: self._energy(preset, nodes))

    def estimates(
        self, axes: Mapping[str, Any], effective: Mapping[str, int], calibration: Calibration | None
    ) -> dict[str, Any]:
        """The analytic columns of a design; ``effective`` reuse factors are what hls4ml took."""
        hardware = self._result["hardware"]
        if hardware is None:
            return {}
        return self._once(_design(axes), lambda nodes: estimate_columns(axes, hardware, effective, calibration, nodes))

    def open_rtl_estimates(self, axes: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the open RTL."""
        hardware = self._result["hardware"]
        if hardware is None:
            return {}
        key = ("rtl", axes["reuse_factor"], axes["part"])
        return self._once(key, lambda _: open_rtl.estimate_columns(axes, hardware))

    def events(self, preset: EnergyPreset, latency_us: float | None) -> dict[str, Any]:
        """Energy by events and widths, for both ways to execute, in all and by part."""
        found: dict[str, Any] = {"event_energy_source": f"{EVENT_SOURCE}, {preset.basis_at(latency_us)}"}
        static = static_energy(preset, latency_us)
        for execution, priced in self._priced(preset).items():
            found |= priced.columns
            found[f"{execution}_energy_uj"] = replace(priced.energy, static=static).total / 1e6
            found[f"{execution}_static_energy_uj"] = static / 1e6
        return found

    def break_even(self, preset: EnergyPreset) -> dict[str, Any]:
        """Against a network without spikes, which is no opponent where one pass cannot see all there is."""
        if not self._result["one_pass"]:
            return {}
        return self._once(("even", preset.name), lambda _: _break_even_columns(self._steps, self._work, preset))

    def routed_energy(self, preset: EnergyPreset, latency_us: float | None) -> dict[str, Any]:
        """Energy at a routed design's own clock: the open RTL works on every synapse in every step."""
        priced = self._priced(preset).get("clock")
        if latency_us is None or priced is None:
            return {}
        return {"open_rtl_energy_uj": replace(priced.energy, static=static_energy(preset, latency_us)).total / 1e6}

    def nodes(self, axes: Mapping[str, Any], preset: EnergyPreset) -> Iterator[dict[str, Any]]:
        """The figures by node that the calls before have found for this design and preset."""
        parts = [self._known[key][1] for key in (("energy", preset.name), _design(axes)) if key in self._known]
        parts += [priced.nodes for priced in self._priced(preset).values()]
        for name, own in self._nodes.items():
            found = dict(own)
            for part in parts:
                found |= part.get(name, {})
            yield found

    def _priced(self, preset: EnergyPreset) -> dict[Execution, _Priced]:
        """By execution, where the preset's device executes so."""
        if preset.name not in self._events:
            found = {execution: energy(self._work, self._steps, preset, execution) for execution in EXECUTIONS}
            self._events[preset.name] = {
                execution: _Priced(execution, own) for execution, own in found.items() if own is not None
            }
        return self._events[preset.name]

    def _once(self, key: Any, compute: Callable[[dict[str, dict[str, Any]]], dict[str, Any]]) -> dict[str, Any]:
        if key not in self._known:
            nodes: dict[str, dict[str, Any]] = {name: {} for name in self._nodes}
            self._known[key] = (compute(nodes), nodes)
        return self._known[key][0]

    def _energy(self, preset: EnergyPreset, nodes: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        spikes = {name: own["spikes_per_sample"] for name, own in self._result["nodes"].items()}
        found = talon_energy(self._counts, self._steps, spikes, preset)
        for name, value in found.by_node_uj.items():
            nodes[name]["energy_uj"] = value
        return {
            "energy_uj": found.total_uj,
            "mac_energy_uj": found.mac_uj,
            "spike_energy_uj": found.spike_uj,
            "sram_energy_uj": found.sram_uj,
            "energy_source": ENERGY_SOURCE,
        }


class _Priced:
    """Energy by events and widths as columns of a row and of its nodes, without the static part."""

    def __init__(self, execution: Execution, found: EventEnergy) -> None:
        self.energy = found
        self.columns = {f"{execution}_{part}_energy_uj": value / 1e6 for part, value in vars(found.parts).items()}
        self.nodes = {
            name: {
                f"{execution}_energy_uj": own.total / 1e6,
                f"{execution}_parts_uj": {part: getattr(own, part) / 1e6 for part in PARTS},
            }
            for name, own in found.by_node.items()
        }


def _design(axes: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(axes[name] for name in ("reuse_factor", "part", "clock_period_ns", "strategy", "io_type"))


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
        if stage != "rtl" and job["status"] in STATUSES
    ]
    if row.get("open_rtl_status") in ("failed", "timeout"):
        verdicts.append((row["open_rtl_status"], f"rtl: {row['open_rtl_reason']}"))
    if row.get("csim_status") == "different":
        verdicts.append(("failed", f"csim: differs from simulation at {row['csim_reason']}"))
    if row.get("open_rtl_status") == "different":
        verdicts.append(("failed", f"rtl: differs from simulation at {row['open_rtl_reason']}"))
    if row.get("vitis_cosim_equal") is False:
        verdicts.append(("failed", "synth: cosim differs from simulation"))
    status, reason = max(verdicts, key=lambda verdict: STATUSES.index(verdict[0]))
    return {"status": status, "reason": None if status == "ok" else reason}
