"""From a graph to the layers of an hls4ml model. Pure: no hls4ml here, only the dictionaries it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from talon_lib.errors import UnsupportedError
from talon_lib.fixed import SPIKE, FixedType
from talon_lib.ir.graph import Graph
from talon_lib.ir.node import Bound, LoweringContext, Shape

RESTART = "restart"

IO_TYPES = ("io_parallel", "io_stream")

_WORDS = """
    input output restart data config layer weights bias res main int float double char bool void auto const static
    struct class union enum switch case default break continue return goto if else for while do new delete this
    template typename namespace using public private protected virtual try catch throw true false and or not xor
    signed unsigned short long register volatile inline friend operator sizeof typedef extern export
"""
RESERVED = frozenset(_WORDS.split())


@dataclass(frozen=True)
class LoweredGraph:
    """A graph as hls4ml takes it.

    layers: dictionaries in topological order. precision: by layer the type of each tensor. inputs, outputs: names of
    layers, the data inputs first and ``restart`` last. names: layer of each node that has one. neurons: nodes of
    spiking neurons in the order of their probe index, with their shape.
    """

    layers: list[dict[str, Any]]
    precision: dict[str, dict[str, str]]
    inputs: list[str]
    outputs: list[str]
    names: dict[str, str]
    neurons: dict[str, Shape]


def lower(graph: Graph, bound: Mapping[str, Bound]) -> LoweredGraph:
    """Lower ``graph`` with the types in ``bound``. Raises UnsupportedError, naming the node, where hls4ml cannot."""
    check_lowerable(graph, bound)
    names = _identifiers(list(graph.nodes))
    layers: list[dict[str, Any]] = []
    precision: dict[str, dict[str, str]] = {}
    neurons: dict[str, Shape] = {}
    emitted: dict[str, str] = {}  # the layer whose output is each node's result
    for name in graph.order:
        node, at = graph.nodes[name], bound[name]
        inputs = [emitted[source] for source in graph.predecessors(name)]
        if len(inputs) > 1:
            inputs = [_add(names[name], inputs, str(at.types.input), graph.input_shapes[name], layers, precision)]
        lowered = node.lower(LoweringContext(names[name], tuple(inputs), graph.input_shapes[name], at, RESTART))
        if lowered is None:
            emitted[name] = inputs[0]
            continue
        if node.spiking:
            lowered.layer["layer"] = len(neurons)
            neurons[name] = graph.input_shapes[name]
        if node.reuse_factor is not None:
            lowered.layer["reuse_factor"] = node.reuse_factor
        layers.append(lowered.layer)
        precision[names[name]] = _hls_types(lowered.precision)
        emitted[name] = names[name]
    inputs = [names[name] for name in graph.inputs]
    if neurons:
        layers.insert(len(inputs), {"class_name": "InputLayer", "name": RESTART, "input_shape": [1]})
        precision[RESTART] = {"result": "uint<1>"}
        inputs.append(RESTART)
    layers.sort(key=lambda layer: layer["class_name"] != "InputLayer")  # stable: the inputs come first
    outputs = [emitted[name] for name in graph.outputs]
    return LoweredGraph(layers, precision, inputs, outputs, names, neurons)


def check_lowerable(graph: Graph, bound: Mapping[str, Bound]) -> None:
    """Raise UnsupportedError for what no project can hold: floating point, and what :func:`obstacles` finds."""
    check_fixed(bound)
    for reason in obstacles(graph).values():
        raise UnsupportedError(reason)


def check_fixed(bound: Mapping[str, Bound]) -> None:
    """Raise UnsupportedError, naming node and tensor, for types that hls4ml does not have."""
    for name, at in bound.items():
        for role in ("input", "result", "weight", "bias", "membrane", "decay"):
            number = getattr(at.types, role)
            if number is None:
                continue
            if not isinstance(number, FixedType):
                raise UnsupportedError(
                    f"node '{name}': its {role} is {number}, and hardware holds fixed point only; "
                    "use int2 to int16 or ap_fixed<W,I> for projects and C simulation"
                )
            if number.overflow == "AP_WRAP_SM":
                raise UnsupportedError(
                    f"node '{name}': its {role} is {number}, and hls4ml has no AP_WRAP_SM; use AP_WRAP or AP_SAT"
                )


def obstacles(graph: Graph, bound: Mapping[str, Bound] | None = None) -> dict[str, str]:
    """By node, why hls4ml cannot hold the graph: cycles, outputs that are no layer's own result.

    With ``bound`` also what the nodes themselves say against being lowered with these types.
    """
    found = {
        target: f"edge '{source}' -> '{target}' closes a cycle, which hls4ml cannot hold"
        for source, target in graph.feedback
    }
    for name, at in (bound or {}).items():
        try:
            graph.nodes[name].lower(LoweringContext(name, ("x",), graph.input_shapes[name], at, RESTART))
        except UnsupportedError as error:
            found[name] = str(error)
    origins: dict[str, str] = {}
    for name in graph.outputs:
        origin = _origin(graph, name)
        if origin in graph.inputs:
            found[name] = f"output '{name}' is fed by an input directly; put a layer between them"
        elif origin == name:
            found[name] = f"output '{name}' sums several nodes; hls4ml needs a layer there"
        elif origin in origins:
            found[name] = (
                f"outputs '{origins[origin]}' and '{name}' are both the result of node '{origin}', "
                "which hls4ml gives one port; keep one of them"
            )
        origins[origin] = name
    return found


def _origin(graph: Graph, name: str) -> str:
    """The node that made the value which arrives at ``name``: back through what only passes one value on."""
    while graph.nodes[name].passes_type and len(graph.predecessors(name)) == 1:
        (name,) = graph.predecessors(name)
    return name


def _add(
    name: str,
    inputs: list[str],
    number: str,
    shape: Shape,
    layers: list[dict[str, Any]],
    precision: dict[str, dict[str, str]],
) -> str:
    """Sum several edges, two at a time, in the type that holds the whole sum exactly."""
    total = inputs[0]
    for index, other in enumerate(inputs[1:], start=1):
        layer = f"{name}_sum{index}"
        layers.append(
            {
                "class_name": "Merge",
                "name": layer,
                "op": "add",
                "inputs": [total, other],
                "n_in": int(np.prod(shape)),
            }
        )
        precision[layer] = {"result": number}
        total = layer
    return total


def _hls_types(precision: Mapping[str, str]) -> dict[str, str]:
    return {key: "uint<1>" if number == str(SPIKE) else number for key, number in precision.items()}


def _identifiers(names: list[str]) -> dict[str, str]:
    """A lower-case C identifier for every node name, all different."""
    taken: set[str] = set()
    identifiers = {}
    for name in names:
        base = re.sub(r"[^a-z0-9_]", "_", name.lower())
        if base in RESERVED or not base[0].isalpha() or base.startswith("layer"):
            base = f"n_{base}"
        if base.endswith("_t"):  # hls4ml's types are called so
            base = f"{base}_"
        identifier, count = base, 1
        while identifier in taken:
            count += 1
            identifier = f"{base}_{count}"
        taken.add(identifier)
        identifiers[name] = identifier
    return identifiers
