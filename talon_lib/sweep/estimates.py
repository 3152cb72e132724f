"""The analytic columns of a row: what the hardware of its point would take, and whether the part holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from talon_lib.cost.calibration import ESTIMATES, Calibration
from talon_lib.cost.devices import RESOURCES, device_of, dsp_slice_of, fit
from talon_lib.cost.estimate import SOURCE, Design, LayerEstimate, estimate, total
from talon_lib.cost.layers import Layer
from talon_lib.errors import UnsupportedError
from talon_lib.hls.boards import resolve_part
from talon_lib.hls.lower import IO_TYPES, lower
from talon_lib.hls.sizes import layers
from talon_lib.ir.graph import Graph
from talon_lib.ir.node import Bound

ESTIMATE_SOURCE = f"{SOURCE}: first-order hls4ml mapping"


def sizes(graph: Graph, bound: Mapping[str, Bound]) -> dict[str, list[dict[str, Any]] | None]:
    """By io type the layers of the hardware as plain data; None where hls4ml cannot hold the graph."""
    found: dict[str, list[dict[str, Any]] | None] = {}
    for io_type in IO_TYPES:
        try:
            lowered = lower(graph, bound, io_type)
        except UnsupportedError:
            found[io_type] = None
        else:
            found[io_type] = [layer.as_dict() for layer in layers(lowered, io_type == "io_stream")]
    return found


def estimate_columns(
    point: Mapping[str, Any],
    hardware: Mapping[str, Any],
    effective: Mapping[str, int],
    calibration: Calibration | None,
    nodes: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """The columns of one point, those of its nodes written into ``nodes``; empty where hls4ml cannot hold the graph.

    hardware: what :func:`sizes` gave. effective: reuse factors by node that hls4ml reported.
    """
    given = hardware[point["io_type"]]
    if given is None:
        return {}
    known = [Layer.from_dict(values) for values in given]
    part = resolve_part(point["part"])
    design = Design(
        point["reuse_factor"], point["strategy"], point["io_type"], point["clock_period_ns"], dsp_slice_of(part)
    )
    found = estimate(known, design, point["timesteps"], _by_layer(known, effective))
    for name, parts in found.by_node().items():
        if name in nodes:
            nodes[name] |= _node_columns(parts)
    usage, device, factors = found.usage, device_of(part), found.reuse_factors
    columns = {
        "effective_reuse_least": factors[0] if factors else None,
        "effective_reuse_most": factors[-1] if factors else None,
        "operators": found.operators,
        "multipliers": found.multipliers,
        **{f"{name}_estimate": getattr(usage, name) for name in RESOURCES},
        "cycles_per_step": found.cycles_per_step,
        "interval_cycles": found.interval_cycles,
        "cycles_per_sample": found.cycles_per_sample,
        "latency_us": found.latency_us,
        "estimate_source": ESTIMATE_SOURCE,
    }
    if device is not None:
        fitting = fit(usage, device)
        columns |= {f"{name}_utilisation": share for name, share in fitting.utilisation.items()}
        columns |= {"fits": fitting.fits, "limiting_resource": fitting.limiting}
    return columns | _intervals(columns, calibration)


def _by_layer(known: Sequence[Layer], effective: Mapping[str, int]) -> dict[str, int]:
    """Factors by the name of the layer that has them: the last layer of a node that shares its multipliers."""
    last = {layer.node: layer.name for layer in known if layer.shares}
    return {last[node]: factor for node, factor in effective.items() if node in last}


def _node_columns(parts: Sequence[LayerEstimate]) -> dict[str, Any]:
    usage = total(own.usage for own in parts)
    return {
        "effective_reuse_factor": next((own.reuse for own in reversed(parts) if own.reuse and own.operators), None),
        "operators": sum(own.operators for own in parts),
        "multipliers": sum(own.multipliers for own in parts),
        "cycles_per_step": sum(own.cycles for own in parts),
        **{f"{name}_estimate": getattr(usage, name) for name in RESOURCES},
    }


def _intervals(columns: Mapping[str, Any], calibration: Calibration | None) -> dict[str, Any]:
    if calibration is None:
        return {}
    found: dict[str, Any] = {"calibration_source": calibration.describe()}
    for name, own in calibration.metrics.items():
        found[f"{name}_low"], found[f"{name}_high"] = own.interval(columns[ESTIMATES[name]])
    return found
