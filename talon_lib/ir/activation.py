"""Activation functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from talon_lib.errors import GraphError
from talon_lib.fixed import Array, Span
from talon_lib.ir.node import Bound, Lowered, LoweringContext, Memoryless, NodeTypes, Parameter, Shape, primitive


@primitive
class ReLU(Memoryless):
    """``y = x`` where x > 0, else ``negative_slope * x``.

    features: number of channels, checked against the input where it is given. negative_slope: a number of the
    node's weight type.
    """

    features: Any = None
    negative_slope: float = 0.0

    def check(self) -> None:
        whole = isinstance(self.features, (int, float, np.number)) and float(self.features).is_integer()
        if self.features is not None and not (whole and self.features >= 1):
            raise GraphError(f"features must be a whole number of 1 or more, not {self.features!r}")
        if not isinstance(self.negative_slope, (int, float, np.number)) or not np.isfinite(self.negative_slope):
            raise GraphError(f"negative_slope must be a finite number, not {self.negative_slope!r}")

    def output_shape(self, input_shape: Shape) -> Shape:
        if self.features is not None and input_shape[0] != self.features:
            raise GraphError(f"features is {self.features}, but inputs of shape {input_shape} arrive")
        return input_shape

    def parameters(self) -> Mapping[str, Parameter]:
        if self.negative_slope == 0.0:
            return {}
        return {"negative_slope": Parameter("weight", np.array([self.negative_slope], np.float32))}

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        if self.negative_slope == 0.0 or types.input.span is None or types.of("weight").span is None:
            return types.input.span
        return types.input.span * types.of("weight").span + types.input.span  # type: ignore[operator]

    def step(self, x: Array, state: Array | None, bound: Bound) -> tuple[Array, Array | None]:
        result = bound.types.result
        if self.negative_slope == 0.0:
            return result.cast(np.maximum(x, 0.0)), None
        below = bound.exact_input(np.minimum(x, 0.0)) * bound.exact("negative_slope")
        return np.where(x > 0, result.cast(x), result.cast(below)), None

    def macs(self, input_shape: Shape) -> int:
        return 0

    def effective_macs(self, x: Array, bound: Bound) -> int:
        return 0

    def lower(self, at: LoweringContext) -> list[Lowered]:
        types = at.bound.types
        layer: dict[str, Any] = {
            "name": at.name,
            "inputs": list(at.inputs),
            "n_in": int(np.prod(at.input_shape)),
        }
        if self.negative_slope == 0.0:
            layer |= {"class_name": "Activation", "activation": "relu"}
            return [Lowered(layer, {"result": str(types.result)}, at.order)]
        slope = float(at.bound.parameters["negative_slope"][0])
        layer |= {"class_name": "LeakyReLU", "activation": "leaky_relu", "activ_param": slope}
        return [Lowered(layer, {"result": str(types.result), "param": str(types.weight)}, at.order)]
