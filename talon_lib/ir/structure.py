"""Nodes that carry data in and out, or only change its shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from talon_lib.errors import GraphError, UnsupportedError
from talon_lib.fixed import Array, Span
from talon_lib.ir.conv import selection_layer
from talon_lib.ir.fields import as_choice, as_count, as_index, as_shape, shown
from talon_lib.ir.layout import Shape, channels_last, standard_order
from talon_lib.ir.node import (
    Bound,
    Lowered,
    LoweringContext,
    Memoryless,
    NodeTypes,
    Operations,
    Parameter,
    State,
    Support,
    fields_of,
    primitive,
)

BRANCHES = "the open RTL holds a chain of nodes, where no edges meet or part"


class Wiring(Memoryless):
    """Family of the nodes that store nothing and compute nothing."""

    def parameters(self) -> Mapping[str, Parameter]:
        return {}

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        return None

    def macs(self, input_shape: Shape) -> int:
        return 0

    def effective_operations(self, x: Array, bound: Bound) -> Operations:
        return Operations()


@primitive
class Input(Wiring):
    """Where data enters; rounds it to the input type.

    input_type: shape of one sample without batch, as ``np.array([784])`` or any sequence.
    """

    open_rtl: ClassVar[Support] = Support(remark="one; the nodes behind it are a chain without branches")

    input_type: Any

    def check(self) -> None:
        self.set("input_type", np.array(as_shape(self.input_type, "input_type")))

    @property
    def shape(self) -> Shape:
        """The shape of one sample."""
        return tuple(int(n) for n in self.input_type)

    def output_shape(self, input_shape: Shape) -> Shape:
        if input_shape != self.shape:
            raise GraphError(f"input_type is {self.shape}; data of shape {input_shape} does not fit")
        return self.shape

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        return bound.types.result.cast(x), state

    def lower(self, at: LoweringContext) -> list[Lowered]:
        shape = list(channels_last(at.input_shape))
        layer = {"class_name": "InputLayer", "name": at.name, "input_shape": shape}
        return [Lowered(layer, {"result": str(at.bound.types.result)})]


@primitive
class Output(Wiring):
    """Where results leave, unchanged.

    output_type: shape of one sample without batch, which must be what arrives; where it is None, a Graph makes it that.
    """

    passes_type: ClassVar[bool] = True
    passes_values: ClassVar[bool] = True
    io_parallel: ClassVar[Support] = Support(remark="neither an Input's values nor the values of another Output")
    io_stream: ClassVar[Support] = io_parallel
    open_rtl: ClassVar[Support] = Support(remark="one, of more than an Input's values")

    output_type: Any = None

    def check(self) -> None:
        if self.output_type is not None:
            self.set("output_type", np.array(as_shape(self.output_type, "output_type")))

    def output_shape(self, input_shape: Shape) -> Shape:
        if self.output_type is None:
            return input_shape
        expected = tuple(int(n) for n in self.output_type)
        if input_shape != expected:
            raise GraphError(f"output_type is {expected}, but {input_shape} arrives")
        return expected

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        return x, state

    def lower(self, at: LoweringContext) -> list[Lowered]:
        return []


@primitive
class Flatten(Wiring):
    """Join the dimensions ``start_dim`` to ``end_dim`` (both included, batch not counted) into one, row-major."""

    passes_type: ClassVar[bool] = True
    passes_values: ClassVar[bool] = True
    io_parallel: ClassVar[Support] = Support(
        remark="all dimensions, or dimensions without the channels, for hardware is channels last"
    )
    io_stream: ClassVar[Support] = io_parallel
    open_rtl: ClassVar[Support] = io_parallel

    start_dim: int = 0
    end_dim: int = -1

    def check(self) -> None:
        for name in ("start_dim", "end_dim"):
            self.set(name, as_index(name, getattr(self, name)))

    def _range(self, rank: int) -> tuple[int, int]:
        start, end = (dim + rank if dim < 0 else dim for dim in (self.start_dim, self.end_dim))
        return start, end

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        start, end = self._range(len(input_shape))
        return fields_of(self) | {"start_dim": start, "end_dim": end}

    def output_shape(self, input_shape: Shape) -> Shape:
        rank = len(input_shape)
        start, end = self._range(rank)
        if not 0 <= start <= end < rank:
            raise GraphError(f"start_dim {self.start_dim} to end_dim {self.end_dim} is no range of shape {input_shape}")
        return (*input_shape[:start], int(np.prod(input_shape[start : end + 1])), *input_shape[end + 1 :])

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        return x.reshape(len(x), *self.output_shape(x.shape[1:])), state

    def lower(self, at: LoweringContext) -> list[Lowered]:
        shape = self.output_shape(at.input_shape)
        if shape == at.input_shape:
            return []
        if len(shape) > 1 and not np.array_equal(at.order, standard_order(shape)):
            raise UnsupportedError(
                f"Flatten of dimensions {self.start_dim} to {self.end_dim} of {at.input_shape} joins the channels with "
                "others and keeps several dimensions, which hardware, channels last, cannot do without moving values"
            )
        layer = {
            "class_name": "Reshape",
            "name": at.name,
            "inputs": list(at.inputs),
            "target_shape": list(channels_last(shape)),
        }
        return [Lowered(layer, {"result": str(at.bound.types.result)}, at.order)]


SKIPS = {
    "residual": "add",
    "add": "add",
    "concatenate": "concat",
    "concat": "concat",
    "passthrough": "identity",
    "identity": "identity",
}


class Passing(Wiring):
    """Family of the nodes that hand on what arrives, as it is."""

    passes_type: ClassVar[bool] = True
    passes_values: ClassVar[bool] = True

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        return x, state

    def lower(self, at: LoweringContext) -> list[Lowered]:
        return []


@primitive
class Concat(Passing):
    """Joins ``num_inputs`` edges along ``dim`` (without batch), in the order of the graph's edges."""

    io_parallel: ClassVar[Support] = Support(remark="along the channels (dim 0)")
    io_stream: ClassVar[Support] = io_parallel
    open_rtl: ClassVar[Support] = Support(False, BRANCHES)

    num_inputs: int = 2
    dim: int = 0

    def check(self) -> None:
        self.set("num_inputs", as_count("num_inputs", self.num_inputs))
        self.set("dim", as_index("dim", self.dim))

    @property
    def concatenates(self) -> int:
        return int(self.dim)

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        return fields_of(self) | {"dim": self.dim % len(input_shape)}

    def check_edges(self, incoming: int, outgoing: int) -> None:
        if incoming != self.num_inputs:
            raise GraphError(f"num_inputs is {self.num_inputs}, but {incoming} edge(s) lead into it")


@primitive
class Skip(Passing):
    """Where a connection that skipped layers meets the others.

    skip_type: "residual" or "add" sums its edges, "concatenate" or "concat" joins them along the channels,
    "passthrough" or "identity" hands on its one edge.
    """

    io_parallel: ClassVar[Support] = Support(remark="sums of values that hardware has in one order")
    io_stream: ClassVar[Support] = io_parallel
    open_rtl: ClassVar[Support] = Support(remark="of one edge")

    skip_type: str = "residual"

    def check(self) -> None:
        as_choice("skip_type", self.skip_type, SKIPS)

    @property
    def concatenates(self) -> int | None:
        return 0 if SKIPS[self.skip_type] == "concat" else None

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        return fields_of(self) | {"skip_type": SKIPS[self.skip_type]}

    def check_edges(self, incoming: int, outgoing: int) -> None:
        if SKIPS[self.skip_type] == "identity" and incoming != 1:
            raise GraphError(f"skip_type '{self.skip_type}' takes one edge, but {incoming} lead into it")


@primitive
class HybridRegion(Passing):
    """Marks where a region of another mode begins; computes nothing. mode: "snn" or "ann"."""

    mode: str
    features: Any = None
    name: str | None = None

    def check(self) -> None:
        as_choice("mode", self.mode, ("snn", "ann"))
        if self.features is not None:
            self.set("features", as_count("features", self.features))
        if self.name is not None and not isinstance(self.name, str):
            raise GraphError(f"name must be text, not {shown(self.name)}")

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        return fields_of(self, "name", "features")


@primitive
class ChannelSplit(Wiring):
    """Cuts its input along ``dim`` (without batch) into parts of ``split_sections``; edge i out carries part i."""

    passes_type: ClassVar[bool] = True
    io_parallel: ClassVar[Support] = Support(remark="of the channels (dim 0)")
    io_stream: ClassVar[Support] = io_parallel
    open_rtl: ClassVar[Support] = Support(False, BRANCHES)

    split_sections: Any
    dim: int = 0

    def check(self) -> None:
        self.set("split_sections", as_shape(self.split_sections, "split_sections"))
        self.set("dim", as_index("dim", self.dim))

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        return fields_of(self) | {"dim": self.dim % len(input_shape)}

    def check_edges(self, incoming: int, outgoing: int) -> None:
        if outgoing != len(self.split_sections):
            raise GraphError(f"split_sections has {len(self.split_sections)} parts, but {outgoing} edge(s) leave it")

    def output_shape(self, input_shape: Shape) -> Shape:
        if not -len(input_shape) <= self.dim < len(input_shape) or input_shape[self.dim] != sum(self.split_sections):
            raise GraphError(
                f"split_sections {self.split_sections} do not add up to dimension {self.dim} of the input {input_shape}"
            )
        return input_shape

    def leaving_shape(self, shape: Shape, edge: int) -> Shape:
        dim = self.dim % len(shape)
        return (*shape[:dim], self.split_sections[edge], *shape[dim + 1 :])

    def leaving(self, result: Array, edge: int) -> Array:
        start = sum(self.split_sections[:edge])
        dim = self.dim % (result.ndim - 1) + 1
        return np.take(result, range(start, start + self.split_sections[edge]), axis=dim)

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        return x, state

    def lower(self, at: LoweringContext) -> list[Lowered]:
        if self.dim % len(at.input_shape) != 0:
            raise UnsupportedError("hardware, channels last, splits the channels (dim 0) only")
        return []

    def lower_part(self, at: LoweringContext, edge: int) -> Lowered:
        """hls4ml has no layer that hands on a part of its input; a sum with weights of 0 and 1 is one."""
        start = sum(self.split_sections[:edge])
        return selection_layer(at, range(start, start + self.split_sections[edge]))
