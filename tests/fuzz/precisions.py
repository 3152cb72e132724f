"""Random number types for a graph, drawn around the values that a float run of it shows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from layers import Rng, chance

from talon_lib import ir
from talon_lib.fixed import MAX_WIDTH, OVERFLOWS, ROUNDINGS, SPIKE, Array, FixedType
from talon_lib.ir.neuron import Neurons
from talon_lib.ir.node import Bound, Primitive
from talon_lib.precision import Calibration

ROUNDS = ("AP_TRN", "AP_TRN", "AP_RND", *ROUNDINGS)
OVERFLOWING = ("AP_WRAP", "AP_SAT", "AP_SAT", *(mode for mode in OVERFLOWS if mode != "AP_WRAP_SM"))
"""hls4ml has no AP_WRAP_SM."""


def draw_type(rng: Rng, values: Array, widest: int = 14) -> str:
    """An ap_fixed or ap_ufixed around ``values``: some saturate, some round, now and then nearly all."""
    if chance(rng, 0.03):
        return str(SPIKE)
    magnitude = np.abs(values)
    top = max(float(magnitude.max(initial=0.0)) if chance(rng, 0.6) else float(np.quantile(magnitude, 0.8)), 1e-3)
    signed = bool((values < 0).any()) if chance(rng, 0.9) else chance(rng, 0.5)
    integer = int(np.ceil(np.log2(top))) + signed + int(rng.choice([-1, 0, 0, 0, 1, 1, 2]))
    lowest, highest = [(3, widest), (1, 3), (widest, 2 * widest)][int(rng.choice(3, p=[0.88, 0.06, 0.06]))]
    width = int(rng.integers(lowest, highest + 1))
    rounding, overflow = str(rng.choice(ROUNDS)), str(rng.choice(OVERFLOWING))
    return str(FixedType(width, integer, signed, rounding, overflow))


def draw_precision(rng: Rng, graph: ir.Graph, seen: Calibration) -> Any:
    """An intN, one type for everything, or a mapping with types by role and for some nodes of their own."""
    form = rng.random()
    if form < 0.3:
        return f"int{int(rng.choice([2, *range(3, 13), 16]))}"
    roles = _by_role(graph, seen)
    if form < 0.5:
        return draw_type(rng, np.concatenate([values for role, values in roles.items() if role != "decay"]), 20)
    mapping: dict[str, Any] = {role: _choice(rng, role, roles[role]) for role in ("weight", "result")}
    for role in ("input", "membrane", "bias", "decay"):
        if role in roles and chance(rng, 0.8 if role in ("input", "membrane") else 0.4):
            mapping[role] = _choice(rng, role, roles[role])
    nodes = {
        name: own for name in graph.nodes if chance(rng, 0.25) and (own := _own(rng, graph.nodes[name], name, seen))
    }
    if nodes:
        mapping["nodes"] = nodes
    return json.dumps(mapping) if chance(rng, 0.1) else mapping


def with_hints(rng: Rng, graph: ir.Graph, seen: Calibration) -> ir.Graph:
    """The graph with types and reuse factors at some of its nodes."""
    nodes = {name: dataclasses.replace(node, **_hints(rng, name, node, seen)) for name, node in graph.nodes.items()}
    return ir.Graph(nodes, graph.edges)


def with_accumulators(rng: Rng, graph: ir.Graph, bound: Mapping[str, Bound]) -> ir.Graph:
    """The graph with accumulators at some of its nodes that are wider than they need to be."""
    nodes = dict(graph.nodes)
    for name, node in nodes.items():
        span = bound[name].span
        if span is not None and not isinstance(node, Neurons) and not node.spiking and chance(rng, 0.1):
            lower, upper = (int(rng.integers(0, 4)) for _ in range(2))
            width = span.bits + 2 + lower + upper
            if width <= MAX_WIDTH:
                nodes[name] = dataclasses.replace(node, accum_t=str(FixedType(width, span.msb + 2 + upper)))
    return ir.Graph(nodes, graph.edges)


def _hints(rng: Rng, name: str, node: Primitive, seen: Calibration) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    if not isinstance(node, Neurons) and not node.spiking:
        tensors = _tensors(node)
        for role in ("weight", "bias"):
            if role in tensors and chance(rng, 0.08):
                hints[f"{role}_t"] = draw_type(rng, tensors[role])
        if name in seen.results and chance(rng, 0.1):
            hints["result_t"] = draw_type(rng, seen.results[name])
    if chance(rng, 0.1):
        hints["reuse_factor"] = int(rng.integers(1, 9))
    return hints


def _choice(rng: Rng, role: str, values: Array) -> str:
    if chance(rng, 0.35):
        return f"int{int(rng.integers(2, 13 if role in ('weight', 'input') else 17))}"
    return draw_type(rng, values, 18 if role == "membrane" else 14)


def _own(rng: Rng, node: Primitive, name: str, seen: Calibration) -> dict[str, str]:
    """Choices for some of a node's own tensors."""
    values = dict(_tensors(node))
    if name in seen.results:
        values["input" if isinstance(node, ir.Input) else "result"] = seen.results[name]
    if name in seen.membranes:
        values["membrane"] = np.concatenate([values.get("membrane", np.zeros(0)), *_states(name, seen)])
    return {role: _choice(rng, role, tensor) for role, tensor in values.items() if chance(rng, 0.5)}


def _states(name: str, seen: Calibration) -> list[Array]:
    """Membranes, and the currents that share their type."""
    return [seen.membranes[name], *([seen.currents[name]] if name in seen.currents else [])]


def _tensors(node: Primitive) -> Mapping[str, Array]:
    """A node's parameters by role."""
    parts: dict[str, list[Array]] = {}
    for tensor in node.parameters().values():
        parts.setdefault(tensor.role, []).append(np.ravel(tensor.values))
    return {role: np.concatenate(tensors) for role, tensors in parts.items()}


def _by_role(graph: ir.Graph, seen: Calibration) -> dict[str, Array]:
    """All values of each role in the whole graph; what it has none of is given the range of a 1."""
    parts: dict[str, list[Array]] = {"weight": [], "result": []}
    for name, node in graph.nodes.items():
        for role, values in _tensors(node).items():
            parts.setdefault(role, []).append(values)
        if name in seen.results:
            parts.setdefault("input" if isinstance(node, ir.Input) else "result", []).append(seen.results[name])
        if name in seen.membranes:
            parts.setdefault("membrane", []).extend(_states(name, seen))
    return {role: np.concatenate(values) if values else np.ones(1) for role, values in parts.items()}
