"""Graphs: nodes by name, edges between them, and what follows from both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from talon_lib.errors import GraphError
from talon_lib.ir.fields import as_count, as_flag, check_size, checks_arguments, shown
from talon_lib.ir.layout import Shape
from talon_lib.ir.node import Primitive
from talon_lib.ir.structure import Input, Output

Edge = tuple[str, str]


@checks_arguments
@dataclass(frozen=True, eq=False)
class Graph:
    """A spiking network. A Graph that exists is right: all checks run when it is made.

    nodes: primitives by name. edges: ``(from, to)`` pairs; several edges into one node are summed.
    metadata: free, carried along, no part of the fingerprint. allow_cycles: permit recurrent edges; an edge that
    closes a cycle carries the value of the step before, 0 at first. cyclic_config: ``{"max_iterations": n}`` makes
    ``cpu.simulate`` run n steps where it is asked for one, as the SDK does.

    Raises GraphError, naming the node, for: unknown ends of edges, double edges, nodes that nothing feeds or that
    reach no output, cycles that were not allowed, and shapes that do not fit.
    """

    nodes: Mapping[str, Primitive]
    edges: Sequence[Edge]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    allow_cycles: bool = False
    cyclic_config: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.nodes, Mapping):
            raise GraphError(f"nodes must be a mapping from names to primitives, not {shown(self.nodes)}")
        if not isinstance(self.edges, Iterable):
            raise GraphError(f"edges must be a list of pairs (from, to), not {shown(self.edges)}")
        if not isinstance(self.metadata, Mapping):
            raise GraphError(f"metadata must be a mapping, not {shown(self.metadata)}")
        as_flag("allow_cycles", self.allow_cycles)
        self._check_cyclic_config()
        object.__setattr__(self, "nodes", MappingProxyType(dict(self.nodes)))
        object.__setattr__(self, "edges", tuple(_as_edge(edge) for edge in self.edges))
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))
        self._check_parts()
        self._check_reachable()
        if self.feedback and not self.allow_cycles:
            source, target = self.feedback[0]
            raise GraphError(
                f"edge '{source}' -> '{target}' closes a cycle; remove it, or pass allow_cycles=True to let it carry "
                "the value of the step before"
            )
        arriving = self.input_shapes  # shape inference over the whole graph
        inferred = {
            name: replace(node, output_type=arriving[name])
            for name, node in self.outputs.items()
            if node.output_type is None
        }
        if inferred:
            object.__setattr__(self, "nodes", MappingProxyType({**self.nodes, **inferred}))
            vars(self).pop("outputs")  # it is cached

    # --- structure -------------------------------------------------------------------------------------------------

    @cached_property
    def inputs(self) -> dict[str, Input]:
        """The Input nodes by name, in the order of ``nodes``."""
        return {name: node for name, node in self.nodes.items() if isinstance(node, Input)}

    @cached_property
    def outputs(self) -> dict[str, Output]:
        """The Output nodes by name, in the order of ``nodes``."""
        return {name: node for name, node in self.nodes.items() if isinstance(node, Output)}

    @cached_property
    def _links(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        before: dict[str, list[str]] = {name: [] for name in self.nodes}
        after: dict[str, list[str]] = {name: [] for name in self.nodes}
        for source, target in self.edges:
            before[target].append(source)
            after[source].append(target)
        return before, after

    def predecessors(self, name: str) -> list[str]:
        """The nodes with an edge to ``name``, in the order of ``edges``."""
        return self._links[0][name]

    def successors(self, name: str) -> list[str]:
        """The nodes with an edge from ``name``, in the order of ``edges``."""
        return self._links[1][name]

    def edge_number(self, source: str, target: str) -> int:
        """Which of the edges from ``source`` leads to ``target``, from 0 in the order of ``edges``."""
        return self.successors(source).index(target)

    @cached_property
    def _sorted(self) -> tuple[list[str], list[Edge]]:
        """Reverse postorder of a depth-first search from the inputs, and the edges that point back on its path."""
        postorder: list[str] = []
        feedback: list[Edge] = []
        open_, done = set(), set()
        # in the order of the edges, which files keep; that of the nodes is lost in some (HDF5 sorts names)
        for root in dict.fromkeys(source for source, _ in self.edges if source in self.inputs):
            if root in done:
                continue
            open_.add(root)
            stack = [(root, iter(self.successors(root)))]
            while stack:
                name, following = stack[-1]
                for target in following:
                    if target in open_:
                        feedback.append((name, target))
                    elif target not in done:
                        open_.add(target)
                        stack.append((target, iter(self.successors(target))))
                        break
                else:
                    stack.pop()
                    open_.discard(name)
                    done.add(name)
                    postorder.append(name)
        return postorder[::-1], feedback

    @property
    def order(self) -> list[str]:
        """Node names in topological order, edges that close a cycle left aside."""
        return list(self._sorted[0])

    @property
    def feedback(self) -> list[Edge]:
        """The edges that close a cycle: they carry the value of the step before."""
        return list(self._sorted[1])

    @property
    def is_dag(self) -> bool:
        """Whether the graph has no cycle."""
        return not self.feedback

    # --- shapes ----------------------------------------------------------------------------------------------------

    @cached_property
    def input_shapes(self) -> dict[str, Shape]:
        """The shape that arrives at every node, without batch; for an Input that of one sample."""
        arriving: dict[str, Shape] = {}
        results: dict[str, Shape] = {}
        feedback = set(self.feedback)

        def carried(source: str, target: str) -> Shape:
            return self.nodes[source].leaving_shape(results[source], self.edge_number(source, target))

        for name in self.order:
            node = self.nodes[name]
            try:
                node.check_edges(len(self.predecessors(name)), len(self.successors(name)))
                if isinstance(node, Input):
                    shape = node.shape
                else:
                    before = [source for source in self.predecessors(name) if (source, name) not in feedback]
                    if len(before) < len(self.predecessors(name)) and node.concatenates is not None:
                        raise GraphError("an edge that closes a cycle cannot be concatenated; sum it")
                    shape = _join({source: carried(source, name) for source in before}, node.concatenates)
                results[name] = node.output_shape(shape)
                check_size(results[name], "its result")
            except GraphError as error:
                raise GraphError(f"node '{name}' ({node.kind}): {error}") from None
            arriving[name] = shape
        for source, target in self.feedback:
            try:
                _join({"the other edges": arriving[target], source: carried(source, target)}, None)
            except GraphError as error:
                raise GraphError(f"node '{target}' ({self.nodes[target].kind}): {error}") from None
        return arriving

    @cached_property
    def output_shapes(self) -> dict[str, Shape]:
        """The shape of every node's result, without batch."""
        return {name: self.nodes[name].output_shape(shape) for name, shape in self.input_shapes.items()}

    def carried_shape(self, source: str, target: str) -> Shape:
        """The shape, without batch, of what the edge from ``source`` to ``target`` carries."""
        return self.nodes[source].leaving_shape(self.output_shapes[source], self.edge_number(source, target))

    # --- checks ----------------------------------------------------------------------------------------------------

    def _check_cyclic_config(self) -> None:
        config = self.cyclic_config
        if config is None:
            return
        if not isinstance(config, Mapping) or set(config) - {"max_iterations"}:
            raise GraphError(f'cyclic_config must be {{"max_iterations": n}} or None, not {shown(config)}')
        if config.get("max_iterations") is not None:
            as_count("max_iterations", config["max_iterations"])

    def _check_parts(self) -> None:
        if not self.nodes:
            raise GraphError("the graph has no nodes")
        for name, node in self.nodes.items():
            if not isinstance(name, str) or not name or name != " ".join(name.splitlines()):
                raise GraphError(f"node names must be non-empty strings of one line, not {shown(name)}")
            if not isinstance(node, Primitive):
                raise GraphError(f"node '{name}' is a {type(node).__name__}, which is no primitive; use e.g. ir.Affine")
        seen = set()
        for edge in self.edges:
            for name in edge:
                if name not in self.nodes:
                    raise GraphError(f"edge '{edge[0]}' -> '{edge[1]}': there is no node '{name}'")
            if edge in seen:
                raise GraphError(f"edge '{edge[0]}' -> '{edge[1]}' is there twice; remove one")
            seen.add(edge)
            if edge[1] in self.inputs:
                raise GraphError(f"edge '{edge[0]}' -> '{edge[1]}' leads into an Input; data enters there")
            if edge[0] in self.outputs:
                raise GraphError(f"edge '{edge[0]}' -> '{edge[1]}' leaves an Output; nothing follows it")
        for kind, found in (("Input", self.inputs), ("Output", self.outputs)):
            if not found:
                raise GraphError(f"the graph has no {kind} node; add ir.{kind}(shape)")

    def _check_reachable(self) -> None:
        fed = _reach(self.inputs, self.successors)
        used = _reach(self.outputs, self.predecessors)
        for name, node in self.nodes.items():
            if name not in fed:
                raise GraphError(f"node '{name}' ({node.kind}): no path from an Input leads to it; add an edge")
            if name not in used:
                raise GraphError(
                    f"node '{name}' ({node.kind}): no path leads from it to an Output; add an edge or remove it"
                )

    # --- identity --------------------------------------------------------------------------------------------------

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over structure and parameters; equal for graphs of equal nodes, whatever file they came from.

        What is carried and computed with by nobody (a LIF's r, an activation's features) does not count, nor in which
        of several ways a node says the same (``Primitive.identity``). Node names count, and the order of edges where
        they are joined or part; other orders and the metadata do not.
        """
        digest = hashlib.sha256()
        for name in sorted(self.nodes):
            node = self.nodes[name]
            digest.update(json.dumps([name, node.kind]).encode())
            for key, value in sorted(node.identity(self.input_shapes[name]).items()):
                digest.update(key.encode())
                if isinstance(value, np.ndarray):
                    value = value + 0  # a negative zero is a zero
                    digest.update(f"{value.dtype.str}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
                else:
                    digest.update(repr(value).encode())
        digest.update(json.dumps([sorted(self.edges), sorted(self.feedback)]).encode())
        for name in sorted(self.nodes):
            before, after = self.predecessors(name), self.successors(name)
            if self.nodes[name].concatenates is not None:
                digest.update(json.dumps([name, "joins", before]).encode())
            if any(self.carried_shape(name, target) != self.output_shapes[name] for target in after):
                digest.update(json.dumps([name, "parts into", after]).encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"Graph({len(self.nodes)} nodes, {len(self.edges)} edges)"


def _as_edge(edge: Any) -> Edge:
    if isinstance(edge, str) or not isinstance(edge, Sequence) or [isinstance(n, str) for n in edge] != [True, True]:
        raise GraphError(f"an edge is a pair (from, to) of node names, not {shown(edge)}")
    return edge[0], edge[1]


def _join(shapes: Mapping[str, Shape], dim: int | None) -> Shape:
    """The shape of several edges' values together: summed where ``dim`` is None, else joined along it."""
    first = next(iter(shapes.values()))
    listed = ", ".join(f"{shape} from '{source}'" for source, shape in shapes.items())
    if dim is None:
        if len(set(shapes.values())) != 1:
            raise GraphError(f"its edges are summed, but their shapes differ: {listed}")
        return first
    if not -len(first) <= dim < len(first):
        raise GraphError(f"dim {dim} is no dimension of {listed}")
    place = dim % len(first)
    rests = {(*shape[:place], *shape[place + 1 :]) for shape in shapes.values()}
    if len(rests) != 1 or len({len(shape) for shape in shapes.values()}) != 1:
        raise GraphError(f"its edges are joined along dimension {dim}, but differ in others: {listed}")
    return (*first[:place], sum(shape[place] for shape in shapes.values()), *first[place + 1 :])


def _reach(start: Iterable[str], following: Any) -> set[str]:
    reached = set(start)
    todo = list(reached)
    while todo:
        fresh = set(following(todo.pop())) - reached
        reached |= fresh
        todo += fresh
    return reached
