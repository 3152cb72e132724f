"""Linear layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from talon_lib.errors import GraphError
from talon_lib.fixed import MAX_WIDTH, Array, Span
from talon_lib.ir.fields import as_choice, is_whole, shown
from talon_lib.ir.layout import Shape
from talon_lib.ir.node import (
    Bound,
    Lowered,
    LoweringContext,
    Memoryless,
    NodeTypes,
    Operations,
    Parameter,
    State,
    fields_of,
    primitive,
)

SPIKE_MODES = ("binary", "graded", "rate")


class Linear(Memoryless):
    """Family of the fully connected layers."""

    weight: Any
    bias: Any

    def check_matrix(self) -> None:
        """Bring weight and bias into their stored form."""
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

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        return bound.types.result.cast(bound.exact_input(x) @ bound.exact("weight").T + bound.exact("bias")), state

    def macs(self, input_shape: Shape) -> int:
        return int(self.weight.size)

    def effective_operations(self, x: Array, bound: Bound) -> Operations:
        weights_per_input = np.count_nonzero(bound.parameters["weight"], axis=0)
        events = np.count_nonzero(x, axis=0)
        return Operations.on(bound.types.input, int(events @ weights_per_input), int(events.sum()) * len(self.weight))

    def lower(self, at: LoweringContext) -> list[Lowered]:
        weight, bias = at.bound.parameters["weight"], at.bound.parameters["bias"]
        return [dense_layer(at, weight, bias, at.bound.mac_precision())]


def dense_layer(at: LoweringContext, weight: Array, bias: Array, precision: dict[str, str]) -> Lowered:
    """The Dense of hls4ml for a weight ``(n_out, n_in)``, whose columns follow the order of hardware's values."""
    n_out, n_in = weight.shape
    layer = {
        "class_name": "Dense",
        "name": at.name,
        "inputs": list(at.inputs),
        "n_in": n_in,
        "n_out": n_out,
        "weight_data": weight[:, at.order].T,
        "bias_data": bias,
    }
    return Lowered(layer, precision)


@primitive
class Affine(Linear):
    """``y = weight @ x + bias``, a fully connected layer.

    weight: ``(n_out, n_in)``; bias: ``(n_out,)``, zeros where it is None. Input ``(n_in,)``, output ``(n_out,)``.
    """

    weight: Any
    bias: Any = None

    def check(self) -> None:
        self.check_matrix()


@primitive
class SpikingAffine(Linear):
    """An Affine that brings its own number of bits.

    weight: ``(n_out, n_in)``; bias: ``(n_out,)``, zeros where it is None. spike_mode: what its inputs are, ``"binary"``
    (0 or 1), ``"graded"`` or ``"rate"``; carried, for the sum is the same.

    In a fixed-point run the weight has ``weight_bits`` bits, bias and result have ``accumulator_bits``, whatever the
    run's precision is: their power-of-two scales, AP_RND and AP_SAT, are found as for intN (which is why an ap_fixed
    run of such a graph takes calibration samples too). weight_t, bias_t and result_t win over that; fp32 and fp16 runs
    are not touched. The sum itself is exact, as everywhere: the accumulator holds what the result's bits do not.
    """

    weight: Any
    bias: Any = None
    spike_mode: str = "binary"
    weight_bits: int = 8
    accumulator_bits: int = 16

    def check(self) -> None:
        self.check_matrix()
        as_choice("spike_mode", self.spike_mode, SPIKE_MODES)
        for name, most in (("weight_bits", 32), ("accumulator_bits", MAX_WIDTH)):
            value = getattr(self, name)
            if not is_whole(value) or not 1 <= value <= most:
                raise GraphError(f"{name} must be a whole number of 1 to {most}, not {shown(value)}")

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        """Without spike_mode, which is carried."""
        return fields_of(self, "spike_mode")

    def own_bits(self, role: str) -> int | None:
        return int(self.weight_bits if role == "weight" else self.accumulator_bits)
