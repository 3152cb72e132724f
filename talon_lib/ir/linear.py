"""Linear layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from talon_lib.errors import GraphError
from talon_lib.fixed import Array, Span
from talon_lib.ir.node import Bound, Lowered, LoweringContext, Memoryless, NodeTypes, Parameter, Shape, primitive


@primitive
class Affine(Memoryless):
    """``y = weight @ x + bias``, a fully connected layer.

    weight: ``(n_out, n_in)``; bias: ``(n_out,)``, zeros where it is None. Input ``(n_in,)``, output ``(n_out,)``.
    """

    weight: Any
    bias: Any = None

    def check(self) -> None:
        weight = self.set_array("weight", ndim=(2,))
        if self.bias is None:
            self.set("bias", np.zeros(len(weight), np.float32))
        bias = self.set_array("bias", ndim=(1,))
        if bias.shape != (len(weight),):
            raise GraphError(f"bias must have shape {(len(weight),)} to fit weight {weight.shape}, not {bias.shape}")

    def output_shape(self, input_shape: Shape) -> Shape:
        n_out, n_in = self.weight.shape
        if input_shape != (n_in,):
            hint = "; put a Flatten before it" if len(input_shape) > 1 and np.prod(input_shape) == n_in else ""
            raise GraphError(f"weight {self.weight.shape} takes inputs of shape {(n_in,)}, not {input_shape}{hint}")
        return (n_out,)

    def parameters(self) -> Mapping[str, Parameter]:
        return {"weight": Parameter("weight", self.weight), "bias": Parameter("bias", self.bias)}

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        spans = (types.input.span, types.of("weight").span, types.of("bias").span)
        if None in spans:
            return None
        x, weight, bias = spans
        return (x * weight).times(input_shape[0]) + bias  # type: ignore[operator]

    def step(self, x: Array, state: Array | None, bound: Bound) -> tuple[Array, Array | None]:
        return bound.types.result.cast(bound.exact_input(x) @ bound.exact("weight").T + bound.exact("bias")), None

    def macs(self, input_shape: Shape) -> int:
        return int(self.weight.size)

    def effective_macs(self, x: Array, bound: Bound) -> int:
        weights_per_input = np.count_nonzero(bound.parameters["weight"], axis=0)
        return int(np.count_nonzero(x, axis=0) @ weights_per_input)

    def lower(self, at: LoweringContext) -> Lowered:
        n_out, n_in = self.weight.shape
        types, values = at.bound.types, at.bound.parameters
        return Lowered(
            layer={
                "class_name": "Dense",
                "name": at.name,
                "inputs": list(at.inputs),
                "n_in": n_in,
                "n_out": n_out,
                "weight_data": values["weight"].T,
                "bias_data": values["bias"],
            },
            precision={
                "weight": str(types.weight),
                "bias": str(types.bias),
                "accum": at.bound.accumulator,
                "result": str(types.result),
            },
        )
