"""From a graph to the layers of an hls4ml model. Pure: no hls4ml here, only the dictionaries it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from talon_lib.errors import UnsupportedError
from talon_lib.fixed import Array, FixedType
from talon_lib.ir.graph import Graph
from talon_lib.ir.layout import Shape, standard_order
from talon_lib.ir.node import Bound, Lowered, LoweringContext

RESTART = "restart"

IO_TYPES = ("io_parallel", "io_stream")

_WORDS = """
    input output restart data config layer weights bias res main int float double char bool void auto const static
    struct class union enum switch case default break continue return goto if else for while do new delete this
    template typename namespace using public private protected virtual try catch throw true false and or not xor
    signed unsigned short long register volatile inline friend operator sizeof typedef extern export
"""
_TESTBENCH = "argc argv fin fpr fout iline pline e i in pr cstr current"  # variables of hls4ml's main()
RESERVED = frozenset([*_WORDS.split(), *_TESTBENCH.split()])


@dataclass(frozen=True)
class LoweredGraph:
    """A graph as hls4ml takes it.

    layers: dictionaries in topological order. precision: by layer the type of each tensor. inputs, outputs: names of
    layers, the data inputs first and ``restart`` last. names: identifier of each node. neurons: nodes of neurons in the
    order of their probe index. probes: what C simulation sees of each of their neurons. The values of neurons,
    input_orders (by Input node) and output_orders (in the order of the Output nodes) are the order of the values in
    hardware; see ``ir.layout``.
    """

    layers: list[dict[str, Any]]
    precision: dict[str, dict[str, str]]
    inputs: list[str]
    outputs: list[str]
    names: dict[str, str]
    neurons: dict[str, Array]
    probes: dict[str, tuple[str, ...]]
    input_orders: dict[str, Array]
    output_orders: list[Array]


def lower(graph: Graph, bound: Mapping[str, Bound], io_type: str = "io_parallel") -> LoweredGraph:
    """Lower ``graph`` with the types in ``bound``. Raises UnsupportedError, naming the node, where hls4ml cannot."""
    check_lowerable(graph, bound, io_type)
    return _Lowering(graph, bound, io_type).whole()


class _Lowering:
    """Lowers the nodes in topological order. What hls4ml cannot hold is noted in ``refused`` and passed over."""

    def __init__(self, graph: Graph, bound: Mapping[str, Bound], io_type: str) -> None:
        self.graph = graph
        self.bound = bound
        self.streams = io_type == "io_stream"
        self.names = _identifiers(list(graph.nodes))
        self.layers: list[dict[str, Any]] = []
        self.precision: dict[str, dict[str, str]] = {}
        self.neurons: dict[str, Array] = {}
        self.probes: dict[str, tuple[str, ...]] = {}
        self.results: dict[str, str] = {}  # the layer whose output is each node's result
        self.orders: dict[str, Array] = {}  # the order of that output's values
        self.refused: dict[str, str] = {}
        for name in graph.order:
            self._node(name)

    def whole(self) -> LoweredGraph:
        """The lowered graph."""
        graph, names, layers = self.graph, self.names, self.layers
        inputs = [names[name] for name in graph.inputs]
        if self.neurons:
            layers = [*layers, {"class_name": "InputLayer", "name": RESTART, "input_shape": [1]}]
            self.precision[RESTART] = {"result": "uint<1>"}
            inputs.append(RESTART)
        return LoweredGraph(
            layers=sorted(layers, key=lambda layer: layer["class_name"] != "InputLayer"),  # the inputs come first
            precision=self.precision,
            inputs=inputs,
            outputs=[self.results[name] for name in graph.outputs],
            names=names,
            neurons=self.neurons,
            probes=self.probes,
            input_orders={name: self.orders[name] for name in graph.inputs},
            output_orders=[self.orders[name] for name in graph.outputs],
        )

    def _node(self, name: str) -> None:
        graph, node, layer = self.graph, self.graph.nodes[name], self.names[name]
        inputs: list[str] = []
        order = standard_order(graph.input_shapes[name])
        made: list[Lowered] = []
        try:
            if name not in graph.inputs:
                inputs, order = self._edges(name)
            made = node.lower(self._context(name, layer, tuple(inputs), graph.input_shapes[name], order))
        except UnsupportedError as error:
            self.refused[name] = f"node '{name}' ({node.kind}): {error}"
            order = standard_order(graph.output_shapes[name])
        for lowered in made:
            if node.reuse_factor is not None:
                lowered.layer["reuse_factor"] = node.reuse_factor
            self._add(lowered)
        if made:
            own = made[-1].order
            order = standard_order(graph.output_shapes[name]) if own is None else own
        self.results[name] = made[-1].layer["name"] if made else (inputs or [layer])[0]
        self.orders[name] = order
        if made and made[-1].probes:
            made[-1].layer["layer"] = len(self.neurons)
            self.neurons[name] = order
            self.probes[name] = made[-1].probes

    def _context(
        self, name: str, layer: str, inputs: tuple[str, ...], input_shape: Shape, order: Array
    ) -> LoweringContext:
        return LoweringContext(layer, inputs, input_shape, order, self.bound[name], RESTART, self.streams)

    def _add(self, lowered: Lowered) -> None:
        self.layers.append(lowered.layer)
        self.precision[lowered.layer["name"]] = lowered.precision

    def _carried(self, source: str, target: str) -> tuple[str, Array]:
        """The layer with what an edge carries, made where that is a part of the source's result; and its order."""
        graph, node = self.graph, self.graph.nodes[source]
        shape, edge = graph.output_shapes[source], graph.edge_number(source, target)
        layer, order = self.results[source], self.orders[source]
        if node.leaving_shape(shape, edge) == shape:
            return layer, order
        part = node.lower_part(
            self._context(source, f"{self.names[source]}_part{edge + 1}", (layer,), shape, order), edge
        )
        self._add(part)
        own = standard_order(node.leaving_shape(shape, edge)) if part.order is None else part.order
        return part.layer["name"], own

    def _edges(self, name: str) -> tuple[list[str], Array]:
        """One layer with what arrives at a node, made where several edges meet, and the order of its values."""
        graph, node = self.graph, self.graph.nodes[name]
        sources = graph.predecessors(name)
        if any(source in self.refused for source in sources):  # go on, to find what else is in the way
            return [self.results[sources[0]]], standard_order(graph.input_shapes[name])
        layers, orders = zip(*(self._carried(source, name) for source in sources), strict=True)
        if len(sources) == 1:
            return list(layers), orders[0]
        shapes = [graph.carried_shape(source, name) for source in sources]
        number = {"result": str(self.bound[name].types.input)}
        if node.concatenates is None:
            if any(not np.array_equal(orders[0], order) for order in orders):
                raise UnsupportedError("it sums values that hardware has in different orders; flatten after the sum")
            description: dict[str, Any] = {"class_name": "Merge", "op": "add", "n_in": int(np.prod(shapes[0]))}
            order = orders[0]
        else:
            rank = len(shapes[0])
            if node.concatenates % rank != 0:
                raise UnsupportedError("hardware, channels last, joins along the channels (dim 0) only")
            description = {"class_name": "Concatenate", "op": f"concatenate{rank}d", "axis": rank}
            starts = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])[:-1]
            flat = np.concatenate([order + start for order, start in zip(orders, starts, strict=True)])
            order = flat if rank == 1 else standard_order(graph.input_shapes[name])
        total = layers[0]
        for index, other in enumerate(layers[1:], start=1):
            layer = f"{self.names[name]}_join{index}"
            self._add(Lowered({**description, "name": layer, "inputs": [total, other]}, number))
            total = layer
        return [total], order


def check_lowerable(graph: Graph, bound: Mapping[str, Bound], io_type: str = "io_parallel") -> None:
    """Raise UnsupportedError for what no project can hold: floating point, and what :func:`obstacles` finds."""
    check_fixed(bound)
    for reason in obstacles(graph, bound, io_type).values():
        raise UnsupportedError(reason)


def check_fixed(bound: Mapping[str, Bound]) -> None:
    """Raise UnsupportedError, naming node and tensor, for types that hls4ml does not have."""
    for name, at in bound.items():
        for role, number in at.types.assigned().items():
            if not isinstance(number, FixedType):
                raise UnsupportedError(
                    f"node '{name}': its {role} is {number}, and hardware holds fixed point only; "
                    "use int2 to int16 or ap_fixed<W,I> for projects and C simulation"
                )
            if number.overflow == "AP_WRAP_SM":
                raise UnsupportedError(
                    f"node '{name}': its {role} is {number}, and hls4ml has no AP_WRAP_SM; use AP_WRAP or AP_SAT"
                )


def obstacles(graph: Graph, bound: Mapping[str, Bound] | None = None, io_type: str = "io_parallel") -> dict[str, str]:
    """By node, why hls4ml cannot hold the graph: cycles, outputs that are no layer's own result.

    With ``bound`` also what the nodes themselves say against being lowered with these types in this io type.
    """
    found = {
        target: f"edge '{source}' -> '{target}' closes a cycle, which hls4ml cannot hold"
        for source, target in graph.feedback
    }
    if bound is not None and not found:
        found |= _Lowering(graph, bound, io_type).refused
    origins: dict[tuple[str, int | None], str] = {}
    for name in graph.outputs:
        origin = node, _ = _origin(graph, name)
        if node in graph.inputs:
            found[name] = f"output '{name}' is fed by an input directly; put a layer between them"
        elif origin in origins:
            found[name] = (
                f"outputs '{origins[origin]}' and '{name}' are both the result of node '{node}', "
                "which hls4ml gives one port; keep one of them"
            )
        origins[origin] = name
    return found


def _origin(graph: Graph, name: str) -> tuple[str, int | None]:
    """The node that made the values which arrive at ``name``: back through what hands all of them on unchanged.

    With the number of its edge, where that carries a part of the node's result.
    """
    while graph.nodes[name].passes_values and len(graph.predecessors(name)) == 1:
        (source,) = graph.predecessors(name)
        if graph.carried_shape(source, name) != graph.output_shapes[source]:
            return source, graph.edge_number(source, name)
        name = source
    return name, None


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
        if re.search(r"_(stage|join|part)\d+$|_padded$", base):  # helper layers of other nodes are called so
            base = f"{base}_"
        identifier, count = base, 1
        while identifier in taken:
            count += 1
            identifier = f"{base}_{count}"
        taken.add(identifier)
        identifiers[name] = identifier
    return identifiers
