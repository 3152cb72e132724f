"""From a graph to the layers of an hls4ml model. Pure: no hls4ml here, only the dictionaries it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from talon_lib.errors import UnsupportedError
from talon_lib.fixed import SPIKE, Array, FixedType
from talon_lib.ir.graph import Graph
from talon_lib.ir.layout import Shape, standard_order
from talon_lib.ir.node import Bound, LoweringContext

RESTART = "restart"

IO_TYPES = ("io_parallel", "io_stream")

# Words that cannot name a variable of the generated C++, beside those that hls4ml uses itself.
_WORDS = """
    input output restart data config layer weights bias res main int float double char bool void auto const static
    struct class union enum switch case default break continue return goto if else for while do new delete this
    template typename namespace using public private protected virtual try catch throw true false and or not xor
    signed unsigned short long register volatile inline friend operator sizeof typedef extern export
"""
_RESERVED = frozenset(_WORDS.split())


@dataclass(frozen=True)
class LoweredGraph:
    """A graph as hls4ml takes it.

    layers: dictionaries in topological order. precision: by layer the type of each tensor. inputs, outputs: names of
    layers, the data inputs first and ``restart`` last. names: identifier of each node. neurons: nodes of spiking
    neurons in the order of their probe index. The values of neurons, input_orders (by Input node) and output_orders
    (in the order of the Output nodes) are the order of the values in hardware; see ``ir.layout``.
    """

    layers: list[dict[str, Any]]
    precision: dict[str, dict[str, str]]
    inputs: list[str]
    outputs: list[str]
    names: dict[str, str]
    neurons: dict[str, Array]
    input_orders: dict[str, Array]
    output_orders: list[Array]


def lower(graph: Graph, bound: Mapping[str, Bound]) -> LoweredGraph:
    """Lower ``graph`` with the types in ``bound``. Raises UnsupportedError, naming the node, where hls4ml cannot."""
    check_lowerable(graph, bound)
    return _lower(graph, bound, {})


def _lower(graph: Graph, bound: Mapping[str, Bound], refused: dict[str, str]) -> LoweredGraph:
    """Lower all nodes; those that cannot be are noted in ``refused`` with the reason and passed over."""
    names = _identifiers(list(graph.nodes))
    layers: list[dict[str, Any]] = []
    precision: dict[str, dict[str, str]] = {}
    neurons: dict[str, Array] = {}
    results: dict[str, str] = {}  # the layer whose output is each node's result
    orders: dict[str, Array] = {}  # the order of that output's values
    for name in graph.order:
        node, at, shape = graph.nodes[name], bound[name], graph.input_shapes[name]
        sources = graph.predecessors(name)
        inputs = [results[source] for source in sources]
        order = orders[sources[0]] if sources else standard_order(shape)
        if any(not np.array_equal(orders[source], order) for source in sources):
            refused[name] = f"node '{name}' sums values that hardware has in different orders; flatten after the sum"
        if len(inputs) > 1:
            inputs = [_add(names[name], inputs, str(at.types.input), shape, layers, precision)]
        try:
            made = node.lower(LoweringContext(names[name], tuple(inputs), shape, order, at, RESTART))
        except UnsupportedError as error:
            refused[name] = f"node '{name}': {error}"
            made = []
        for lowered in made:
            if node.reuse_factor is not None:
                lowered.layer["reuse_factor"] = node.reuse_factor
            layers.append(lowered.layer)
            precision[lowered.layer["name"]] = _hls_types(lowered.precision)
        results[name] = made[-1].layer["name"] if made else (inputs or [names[name]])[0]
        given = made[-1].order if made else (order if name not in refused else None)
        orders[name] = given if given is not None else standard_order(graph.output_shapes[name])
        if node.spiking and made:
            made[-1].layer["layer"] = len(neurons)
            neurons[name] = orders[name]
    inputs = [names[name] for name in graph.inputs]
    if neurons:
        layers.insert(len(inputs), {"class_name": "InputLayer", "name": RESTART, "input_shape": [1]})
        precision[RESTART] = {"result": "uint<1>"}
        inputs.append(RESTART)
    layers.sort(key=lambda layer: layer["class_name"] != "InputLayer")  # stable: the inputs come first
    outputs = {results[name]: orders[name] for name in graph.outputs}
    ports = {name: orders[name] for name in graph.inputs}
    return LoweredGraph(layers, precision, inputs, list(outputs), names, neurons, ports, list(outputs.values()))


def check_lowerable(graph: Graph, bound: Mapping[str, Bound]) -> None:
    """Raise UnsupportedError for what no project can hold: floating point, and what :func:`obstacles` finds."""
    check_fixed(bound)
    for reason in obstacles(graph, bound).values():
        raise UnsupportedError(reason)


def check_fixed(bound: Mapping[str, Bound]) -> None:
    """Raise UnsupportedError, naming the node, for floating point."""
    for name, at in bound.items():
        if not isinstance(at.types.result, FixedType):
            raise UnsupportedError(
                f"node '{name}' is {at.types.result}: hardware holds fixed point only; "
                "use int2 to int16 or ap_fixed<W,I> for projects and C simulation"
            )


def obstacles(graph: Graph, bound: Mapping[str, Bound] | None = None) -> dict[str, str]:
    """By node, why hls4ml cannot hold the graph: cycles, outputs that are no layer's own result.

    With ``bound`` also what the nodes themselves say against being lowered with these types.
    """
    found = {
        target: f"edge '{source}' -> '{target}' closes a cycle, which hls4ml cannot hold"
        for source, target in graph.feedback
    }
    if bound is not None and not found:
        _lower(graph, bound, found)
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
        if base in _RESERVED or not base[0].isalpha() or base.startswith("layer"):
            base = f"n_{base}"
        identifier, count = base, 1
        while identifier in taken:
            count += 1
            identifier = f"{base}_{count}"
        taken.add(identifier)
        identifiers[name] = identifier
    return identifiers
