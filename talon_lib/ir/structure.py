"""Nodes that carry data in and out, or only change its shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from talon_lib.errors import GraphError, UnsupportedError
from talon_lib.fixed import Array, Span
from talon_lib.ir.layout import channels_last, standard_order
from talon_lib.ir.node import (
    Bound,
    Lowered,
    LoweringContext,
    Memoryless,
    NodeTypes,
    Parameter,
    Shape,
    as_shape,
    primitive,
)


class Wiring(Memoryless):
    """Family of the nodes that store nothing and compute nothing."""

    def parameters(self) -> Mapping[str, Parameter]:
        return {}

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        return None

    def macs(self, input_shape: Shape) -> int:
        return 0

    def effective_macs(self, x: Array, bound: Bound) -> int:
        return 0


@primitive
class Input(Wiring):
    """Where data enters; rounds it to the input type.

    input_type: shape of one sample without batch, as ``np.array([784])`` or any sequence.
    """

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

    def step(self, x: Array, state: Array | None, bound: Bound) -> tuple[Array, Array | None]:
        return bound.types.result.cast(x), None

    def lower(self, at: LoweringContext) -> list[Lowered]:
        shape = list(channels_last(at.input_shape))
        layer = {"class_name": "InputLayer", "name": at.name, "input_shape": shape}
        return [Lowered(layer, {"result": str(at.bound.types.result)})]


@primitive
class Output(Wiring):
    """Where results leave, unchanged.

    output_type: shape of one sample without batch; must be what arrives.
    """

    passes_type: ClassVar[bool] = True

    output_type: Any

    def check(self) -> None:
        self.set("output_type", np.array(as_shape(self.output_type, "output_type")))

    def output_shape(self, input_shape: Shape) -> Shape:
        expected = tuple(int(n) for n in self.output_type)
        if input_shape != expected:
            raise GraphError(f"output_type is {expected}, but {input_shape} arrives")
        return expected

    def step(self, x: Array, state: Array | None, bound: Bound) -> tuple[Array, Array | None]:
        return x, None

    def lower(self, at: LoweringContext) -> list[Lowered]:
        return []


@primitive
class Flatten(Wiring):
    """Join the dimensions ``start_dim`` to ``end_dim`` (both included, batch not counted) into one, row-major."""

    passes_type: ClassVar[bool] = True

    start_dim: int = 0
    end_dim: int = -1

    def check(self) -> None:
        for name in ("start_dim", "end_dim"):
            if not isinstance(getattr(self, name), (int, np.integer)):
                raise GraphError(f"{name} must be a whole number, not {getattr(self, name)!r}")

    def output_shape(self, input_shape: Shape) -> Shape:
        rank = len(input_shape)
        start, end = (dim + rank if dim < 0 else dim for dim in (self.start_dim, self.end_dim))
        if not 0 <= start <= end < rank:
            raise GraphError(f"start_dim {self.start_dim} to end_dim {self.end_dim} is no range of shape {input_shape}")
        return (*input_shape[:start], int(np.prod(input_shape[start : end + 1])), *input_shape[end + 1 :])

    def step(self, x: Array, state: Array | None, bound: Bound) -> tuple[Array, Array | None]:
        return x.reshape(len(x), *self.output_shape(x.shape[1:])), None

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
