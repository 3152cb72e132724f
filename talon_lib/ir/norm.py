"""Normalizations, with the statistics that training has left, and plain scaling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from talon_lib.errors import GraphError, UnsupportedError
from talon_lib.fixed import Array, FixedType, NumberType, Span
from talon_lib.ir.activation import slopes_layer
from talon_lib.ir.fields import as_count, as_number, as_shape, check_fits, per_neuron, shown
from talon_lib.ir.layout import Shape
from talon_lib.ir.node import (
    Arithmetic,
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


class Normalization(Memoryless):
    """Family of the normalizations: no synapses are counted (NeuroBench does not either)."""

    eps: float

    def check_eps(self) -> None:
        """Refuse an eps that could divide by zero."""
        if as_number("eps", self.eps) <= 0:
            raise GraphError(f"eps must be above 0, not {shown(self.eps)}")

    def macs(self, input_shape: Shape) -> int:
        return 0

    def effective_operations(self, x: Array, bound: Bound) -> Operations:
        return Operations()


class BatchNorm(Normalization):
    """Family of the batch normalizations, at inference ``y = scale * x + shift`` with two numbers per channel.

    scale = weight / sqrt(running_var + eps), of the weight type; shift = bias - running_mean * scale, of the bias type.
    """

    ranks: ClassVar[tuple[int, ...]]
    """The numbers of dimensions (without batch) that the node takes."""

    num_features: Any
    weight: Any
    bias: Any
    running_mean: Any
    running_var: Any
    momentum: float

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        """Without momentum, which training uses alone."""
        return fields_of(self, "momentum")

    def check(self) -> None:
        count = as_count("num_features", self.num_features)
        self.set("num_features", count)
        for name, default in (("weight", 1.0), ("bias", 0.0)):
            if getattr(self, name) is None:
                self.set(name, np.full(count, default))
        for name in ("weight", "bias", "running_mean", "running_var"):
            shape = self.set_array(name, ndim=(1,)).shape
            if shape != (count,):
                raise GraphError(f"{name} must have shape {(count,)} to fit num_features {count}, not {shape}")
        if (self.running_var < 0).any():
            raise GraphError(f"running_var must not be negative; its least value is {self.running_var.min():g}")
        self.check_eps()
        as_number("momentum", self.momentum)

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) not in self.ranks or input_shape[0] != self.num_features:
            rest = ("", ", length", ", height, width")
            wanted = " or ".join(f"({self.num_features}{rest[rank - 1]})" for rank in self.ranks)
            raise GraphError(f"num_features {self.num_features} takes inputs {wanted}, not {input_shape}")
        return input_shape

    def parameters(self) -> Mapping[str, Parameter]:
        scale = self.weight.astype(np.float64) / np.sqrt(self.running_var.astype(np.float64) + self.eps)
        shift = self.bias - self.running_mean * scale
        return {"scale": Parameter("weight", scale), "shift": Parameter("bias", shift)}

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        x, scale, shift = types.input.span, types.of("weight").span, types.of("bias").span
        return None if x is None or scale is None or shift is None else x * scale + shift

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        scale, shift = (
            bound.lift(bound.parameters[name].reshape(-1, *(1 for _ in x.shape[2:])), bound.types.of(bound.roles[name]))
            for name in ("scale", "shift")
        )
        return bound.types.result.cast(bound.exact_input(x) * scale + shift), state

    def arithmetic(self, types: NodeTypes, input_shape: Shape) -> tuple[Arithmetic, ...]:
        count, shift = math.prod(input_shape), types.of("bias")
        return (Arithmetic("multiply", count, types.of("weight"), types.input), Arithmetic("add", count, shift, shift))

    def lower(self, at: LoweringContext) -> list[Lowered]:
        return [
            scaling_layer(at, at.bound.parameters["scale"], at.bound.parameters["shift"], at.bound.types.of("bias"))
        ]


def scaling_layer(at: LoweringContext, scale: Array, shift: Array, shift_type: NumberType) -> Lowered:
    """The hls4ml layer that multiplies and shifts, by channel ``(C,)`` or by value (the input's shape)."""
    if (scale == 1).all() and (shift == 0).all():
        # hls4ml removes such a layer, and the cast to the result with it
        return slopes_layer(at, np.ones(len(at.order)), "ap_ufixed<2,2>")
    by_channel = len(at.input_shape) > 1 and scale.shape == at.input_shape[:1]
    if not by_channel:  # a Flatten may have left any order, so that places say no channel
        scale, shift = (np.broadcast_to(v, at.input_shape).ravel()[at.order] for v in (scale, shift))
    layer = {
        "class_name": "BatchNormalization",
        "name": at.name,
        "inputs": list(at.inputs),
        "n_in": len(at.order),
        "n_filt": len(scale) if by_channel else -1,
        "scale_data": scale,
        "bias_data": shift,
    }
    types = at.bound.types
    precision = {"scale": str(types.weight), "bias": str(shift_type), "result": str(types.result)}
    return Lowered(layer, precision, at.order)


@primitive
class Scale(Normalization):
    """``y = scale * x``, elementwise.

    scale: one value, one per channel ``(C,)``, or one per value (the input's shape).
    """

    scale: Any

    def check(self) -> None:
        self.set_array("scale", ndim=(0, 1, 2, 3))

    def output_shape(self, input_shape: Shape) -> Shape:
        check_fits("scale", self.scale.shape, input_shape)
        return input_shape

    def parameters(self) -> Mapping[str, Parameter]:
        return {"scale": Parameter("weight", self.scale.ravel())}  # what has more dimensions counts as synapses

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        x, scale = types.input.span, types.of("weight").span
        return None if x is None or scale is None else x * scale

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        return fields_of(self) | {"scale": per_neuron(self.scale, input_shape)}

    def _scales(self, bound: Bound, shape: Shape) -> Array:
        return per_neuron(bound.parameters["scale"].reshape(self.scale.shape), shape)

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        scale = bound.lift(self._scales(bound, x.shape[1:]), bound.types.of("weight"))
        return bound.types.result.cast(bound.exact_input(x) * scale), state

    def arithmetic(self, types: NodeTypes, input_shape: Shape) -> tuple[Arithmetic, ...]:
        return (Arithmetic("multiply", math.prod(input_shape), types.of("weight"), types.input),)

    def lower(self, at: LoweringContext) -> list[Lowered]:
        scale = self._scales(at.bound, at.input_shape)
        if self.scale.ndim <= 1 and len(at.input_shape) > 1:
            scale = np.broadcast_to(at.bound.parameters["scale"], at.input_shape[:1])
        zero = FixedType(1, 1, signed=False)
        return [scaling_layer(at, scale, np.zeros_like(scale), zero)]


@primitive
class BatchNorm1d(BatchNorm):
    """``y = (x - running_mean) / sqrt(running_var + eps) * weight + bias``, by channel.

    weight, bias (1 and 0 where None), running_mean, running_var: ``(num_features,)``. Input ``(num_features,)`` or
    ``(num_features, length)``. momentum is training's, carried and not used.
    """

    ranks: ClassVar[tuple[int, ...]] = (1, 2)

    num_features: Any
    weight: Any
    bias: Any
    running_mean: Any
    running_var: Any
    eps: float = 1e-5
    momentum: float = 0.1


@primitive
class BatchNorm2d(BatchNorm):
    """``y = (x - running_mean) / sqrt(running_var + eps) * weight + bias``, by channel.

    weight, bias (1 and 0 where None), running_mean, running_var: ``(num_features,)``. Input ``(num_features, height,
    width)``. momentum is training's, carried and not used.
    """

    ranks: ClassVar[tuple[int, ...]] = (3,)

    num_features: Any
    weight: Any
    bias: Any
    running_mean: Any
    running_var: Any
    eps: float = 1e-5
    momentum: float = 0.1


@primitive
class LayerNorm(Normalization):
    """``y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias`` over the last dimensions, which are normalized_shape.

    weight, bias: of that shape, 1 and 0 where None. In fixed point the result is the exact value (in float64) with the
    rounded weight and bias, cast once; no hardware here computes that, so it is simulated and not lowered.
    """

    io_parallel: ClassVar[Support] = Support(
        False,
        "hls4ml's LayerNormalization reads 1/sqrt from a table of the rounded variance, which is not the value that is "
        "simulated; BatchNorm1d and BatchNorm2d are exact",
    )
    io_stream: ClassVar[Support] = io_parallel
    open_rtl: ClassVar[Support] = io_parallel

    normalized_shape: Any
    weight: Any = None
    bias: Any = None
    eps: float = 1e-5

    def check(self) -> None:
        shape = as_shape(self.normalized_shape, "normalized_shape")
        self.set("normalized_shape", shape)
        for name, default in (("weight", 1.0), ("bias", 0.0)):
            if getattr(self, name) is None:
                self.set(name, np.full(shape, default))
            found = self.set_array(name, ndim=(len(shape),)).shape
            if found != shape:
                raise GraphError(f"{name} must have the normalized_shape {shape}, not {found}")
        self.check_eps()

    def output_shape(self, input_shape: Shape) -> Shape:
        if input_shape[-len(self.normalized_shape) :] != self.normalized_shape:
            raise GraphError(f"normalized_shape {self.normalized_shape} is not the end of the input {input_shape}")
        return input_shape

    def parameters(self) -> Mapping[str, Parameter]:
        # as vectors: what has more dimensions counts as synapses
        return {"weight": Parameter("weight", self.weight.ravel()), "bias": Parameter("bias", self.bias.ravel())}

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        return None

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        axes = tuple(range(-len(self.normalized_shape), 0))
        weight, bias = (bound.parameters[name].reshape(self.normalized_shape) for name in ("weight", "bias"))
        centred = x - x.mean(axis=axes, keepdims=True)
        variance = np.square(centred).mean(axis=axes, keepdims=True)
        return bound.types.result.cast(centred / np.sqrt(variance + self.eps) * weight + bias), state

    def arithmetic(self, types: NodeTypes, input_shape: Shape) -> tuple[Arithmetic, ...]:
        """For each value the sums of mean and variance, both differences, a square and two factors; the root is not."""
        count, x, weight = math.prod(input_shape), types.input, types.of("weight")
        return (
            Arithmetic("add", 3 * count, x, x),
            Arithmetic("add", count, types.of("bias"), types.of("bias")),
            Arithmetic("multiply", 2 * count, x, x),
            Arithmetic("multiply", count, weight, x),
        )

    def lower(self, at: LoweringContext) -> list[Lowered]:
        raise UnsupportedError(self.io_parallel.remark)
