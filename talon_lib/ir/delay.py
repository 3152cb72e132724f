"""Delays: values that arrive some steps later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from talon_lib.errors import GraphError, UnsupportedError
from talon_lib.fixed import Array, Span
from talon_lib.ir.fields import check_fits, check_size, per_neuron
from talon_lib.ir.layout import Shape
from talon_lib.ir.node import (
    Bound,
    Lowered,
    LoweringContext,
    NodeTypes,
    Operations,
    Parameter,
    Primitive,
    State,
    Support,
    fields_of,
    primitive,
)


@primitive
class Delay(Primitive):
    """Hands its input on ``steps`` timesteps later; 0 before anything has arrived.

    steps: whole numbers of 0 or more; one value, one per channel ``(C,)``, or one per value (the input's shape).
    """

    passes_type: ClassVar[bool] = True
    io_parallel: ClassVar[Support] = Support(False, "hls4ml has no layer that keeps the inputs of earlier steps")
    io_stream: ClassVar[Support] = io_parallel
    open_rtl: ClassVar[Support] = io_parallel

    steps: Any

    def check(self) -> None:
        steps = self.set_array("steps", ndim=(0, 1, 2, 3))
        if (steps < 0).any() or (steps != np.round(steps)).any() or (steps > MOST_STEPS).any():
            raise GraphError(f"steps must be whole numbers of 0 to {MOST_STEPS:,}")

    def output_shape(self, input_shape: Shape) -> Shape:
        check_fits("steps", self.steps.shape, input_shape)
        check_size((int(self.steps.max()), *input_shape), "what it keeps")
        return input_shape

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        return fields_of(self) | {"steps": per_neuron(self.steps, input_shape)}

    def parameters(self) -> Mapping[str, Parameter]:
        return {}

    def initial_state(self, batch: int, input_shape: Shape) -> State:
        """The inputs of the steps before, the newest first."""
        depth = int(self.steps.max())
        return {"input": np.zeros((batch, depth, *input_shape))} if depth else {}

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        return None

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        if not state:
            return x, state
        known = np.concatenate([x[:, None], state["input"]], axis=1)
        which = np.broadcast_to(per_neuron(self.steps, x.shape[1:]).astype(np.int64), x.shape)[:, None]
        return np.take_along_axis(known, which, axis=1)[:, 0], {"input": known[:, :-1]}

    def macs(self, input_shape: Shape) -> int:
        return 0

    def effective_operations(self, x: Array, bound: Bound) -> Operations:
        return Operations()

    def lower(self, at: LoweringContext) -> list[Lowered]:
        if not self.steps.any():
            return []
        raise UnsupportedError(self.io_parallel.remark)


MOST_STEPS = 2**16
"""The longest delay: a sample of as many steps is beyond what anything here runs."""
