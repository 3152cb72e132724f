"""Convolutions (cross-correlations, as PyTorch has them), with zero padding."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from talon_lib.errors import GraphError
from talon_lib.fixed import Array, FixedType, NumberType, Span, exact_arithmetic
from talon_lib.ir.fields import as_pair, as_whole, is_whole, shown
from talon_lib.ir.layout import Shape
from talon_lib.ir.linear import dense_layer
from talon_lib.ir.node import (
    Bound,
    Lowered,
    LoweringContext,
    Memoryless,
    NodeTypes,
    Operations,
    Parameter,
    State,
    primitive,
)
from talon_lib.ir.window import Sliding


@dataclass(frozen=True)
class Stage:
    """One sum over windows and channels, with its bias: all that a convolution is, in two dimensions.

    weight, bias: the fields (of the node) that hold them. shape: of the weight, ``(out, in / groups, kh, kw)``.
    sliding: how the windows move.
    """

    weight: str
    bias: str
    shape: tuple[int, int, int, int]
    sliding: Sliding
    groups: int

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return self.shape[1] * self.groups

    def output_shape(self, input_shape: Shape) -> Shape:
        """``(out, oh, ow)`` of ``(in, h, w)``."""
        return (self.shape[0], *self.sliding.count(input_shape[1:]))

    def span(self, x: NumberType, weight: NumberType, bias: NumberType) -> Span | None:
        """Bounds of the sum; None for floating point."""
        if x.span is None or weight.span is None or bias.span is None:
            return None
        return (x.span * weight.span).times(math.prod(self.shape[1:])) + bias.span

    def step(self, x: Array, given: NumberType, bound: Bound) -> Array:
        """The sums over ``x`` (batch, in, h, w), whose type is ``given``, each cast once to the node's result type."""
        out, *count = self.output_shape(x.shape[1:])
        types = bound.types
        lift = exact_arithmetic(self.span(given, types.of("weight"), types.of("bias")), self.weight)
        columns = self._columns(x)
        weight = bound.parameters[self.weight].reshape(self.groups, out // self.groups, -1)
        bias = bound.parameters[self.bias].reshape(self.groups, -1)
        results = [
            types.result.cast(
                lift(columns[g], given) @ lift(weight[g], types.of("weight")).T + lift(bias[g], types.of("bias"))
            )
            for g in range(self.groups)
        ]
        return np.moveaxis(np.concatenate(results, axis=-1).reshape(len(x), *count, out), -1, 1)

    def _columns(self, x: Array) -> Array:
        """What each output multiplies: ``(groups, batch * oh * ow, taps)``, taps in the order of a weight row."""
        view = self.sliding.over(x)
        count = view.shape[2:4]
        grouped = view.reshape(len(x), self.groups, -1, *count, *self.shape[2:])
        return grouped.transpose(1, 0, 3, 4, 2, 5, 6).reshape(self.groups, len(x) * count[0] * count[1], -1)

    def macs(self, input_shape: Shape) -> int:
        """Products of one sample; those with padding are not counted."""
        rows, columns = self.sliding.inside(input_shape[1:])
        return rows * columns * math.prod(self.shape[:2])

    def effective_operations(self, x: Array, given: NumberType, bound: Bound) -> Operations:
        """Products over the batch whose input, of type ``given``, and weight are both not zero."""
        per_group = self.shape[0] // self.groups
        weight = bound.parameters[self.weight].reshape(self.groups, per_group, -1)
        weights_per_tap = np.count_nonzero(weight, axis=1)
        events_per_tap = np.count_nonzero(self._columns(x), axis=1)
        return Operations.on(
            given, int((events_per_tap * weights_per_tap).sum()), int(events_per_tap.sum()) * per_group
        )

    def lower(
        self, name: str, inputs: list[str], input_shape: Shape, given: NumberType, bound: Bound, streams: bool
    ) -> list[Lowered]:
        """The Conv2D of hls4ml with the same result, channels last."""
        kernel = self._dense_kernel(bound.parameters[self.weight].reshape(self.shape))
        layer = conv2d_layer(name, inputs, input_shape, self.sliding, kernel, bound.parameters[self.bias])
        types = bound.types
        span = self.span(given, types.of("weight"), types.of("bias"))
        assert span is not None, "only fixed point is lowered"
        lowered = Lowered(layer, {**bound.mac_precision(), "accum": span.ap_fixed()})
        return padded_apart(lowered, given) if streams else [lowered]

    def _dense_kernel(self, weight: Array) -> Array:
        """The kernel ``(out, in, kh, kw)`` that does the same without groups and dilation: zeros in between.

        hls4ml has neither for a general Conv2D; a zero weight costs no multiplier once the tool sees it.
        """
        out, per_group, kh, kw = self.shape
        down, across = self.sliding.dilation
        dense = np.zeros((out, self.channels, down * (kh - 1) + 1, across * (kw - 1) + 1))
        rows = out // self.groups
        for g in range(self.groups):
            block = dense[g * rows : (g + 1) * rows, g * per_group : (g + 1) * per_group]
            block[:, :, ::down, ::across] = weight[g * rows : (g + 1) * rows]
        return dense


def conv2d_layer(
    name: str, inputs: list[str], input_shape: Shape, sliding: Sliding, kernel: Array, bias: Array
) -> dict[str, Any]:
    """The Conv2D of hls4ml for a kernel ``(out, in, kh, kw)`` without groups and dilation, channels last."""
    height, width = sliding.count(input_shape[1:])
    if kernel.shape[2] == 1 < sliding.stride[0] and kernel.shape[3] > 1:
        # in io_stream hls4ml computes wrong rows of a kernel of height 1 that skips some; a row of zeros leads it right
        kernel = np.concatenate([kernel, np.zeros_like(kernel)], axis=2)
    reached = [(n - 1) * s + k for n, s, k in zip((height, width), sliding.stride, kernel.shape[2:], strict=True)]
    bottom, right = (
        max(end - whole - p, 0) for end, whole, p in zip(reached, input_shape[1:], sliding.padding, strict=True)
    )
    return {
        "class_name": "Conv2D",
        "name": name,
        "inputs": inputs,
        "data_format": "channels_last",
        "n_chan": kernel.shape[1],
        "in_height": input_shape[1],
        "in_width": input_shape[2],
        "n_filt": kernel.shape[0],
        "filt_height": kernel.shape[2],
        "filt_width": kernel.shape[3],
        "stride_height": sliding.stride[0],
        "stride_width": sliding.stride[1],
        "pad_top": sliding.padding[0],
        "pad_bottom": bottom,
        "pad_left": sliding.padding[1],
        "pad_right": right,
        "out_height": height,
        "out_width": width,
        "weight_data": kernel.transpose(2, 3, 1, 0),
        "bias_data": bias,
    }


def padding_layer(name: str, inputs: list[str], input_shape: Shape, edges: Mapping[str, int], number: str) -> Lowered:
    """The layer of hls4ml that puts zeros around an image: so many rows and columns as ``edges`` says."""
    layer = {
        "class_name": "ZeroPadding2D",
        "name": name,
        "inputs": inputs,
        "data_format": "channels_last",
        "n_chan": input_shape[0],
        "in_height": input_shape[1],
        "in_width": input_shape[2],
        "out_height": input_shape[1] + edges["pad_top"] + edges["pad_bottom"],
        "out_width": input_shape[2] + edges["pad_left"] + edges["pad_right"],
        **edges,
    }
    return Lowered(layer, {"result": number})


EDGES = ("pad_top", "pad_bottom", "pad_left", "pad_right")


def padded_apart(convolution: Lowered, given: NumberType) -> list[Lowered]:
    """The same with the zeros around the input, of type ``given``, from a layer of their own.

    For io_stream hls4ml makes that layer too, but for the first reader of the input, which may be another one.
    """
    layer = convolution.layer
    edges = {edge: layer[edge] for edge in EDGES}
    if not any(edges.values()):
        return [convolution]
    shape = (layer["n_chan"], layer["in_height"], layer["in_width"])
    padding = padding_layer(f"{layer['name']}_padded", layer["inputs"], shape, edges, str(given))
    sizes = {"in_height": padding.layer["out_height"], "in_width": padding.layer["out_width"]}
    inside = {**layer, **sizes, **dict.fromkeys(EDGES, 0), "inputs": [padding.layer["name"]]}
    return [padding, replace(convolution, layer=inside)]


def selection_layer(at: LoweringContext, chosen: Sequence[int]) -> Lowered:
    """The layer that hands on some channels: a sum with weights of 0 and 1, for hls4ml has none that cuts."""
    channels = at.input_shape[0]
    weight, bias = np.eye(channels)[list(chosen)], np.zeros(len(chosen))
    one = str(FixedType(1, 1, signed=False))
    number = str(at.bound.types.result)
    precision = {"weight": one, "bias": one, "accum": number, "result": number}
    if len(at.input_shape) == 1:
        return dense_layer(at, weight, bias, precision)
    height, width = at.input_shape[-2:] if len(at.input_shape) == 3 else (1, at.input_shape[1])
    kernel = weight[:, :, None, None]
    layer = conv2d_layer(at.name, list(at.inputs), (channels, height, width), Sliding((1, 1), (1, 1)), kernel, bias)
    lowered = Lowered(layer, precision)
    return lowered if len(at.input_shape) == 3 else _of_one_dimension(lowered)


class Convolution(Memoryless):
    """Family of the convolutions: one or more stages, each an exact sum that is cast once to the node's result type.

    All are computed in two dimensions; an input of one dimension has a height of 1.
    """

    spatial: ClassVar[int] = 2
    """Dimensions of the image."""

    @property
    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """The sums, one after the other."""

    def output_shape(self, input_shape: Shape) -> Shape:
        stages = self.stages
        channels, names = stages[0].channels, ("h", "w")[-self.spatial :]
        if len(input_shape) != 1 + self.spatial or input_shape[0] != channels:
            given = f"{stages[0].weight} {getattr(self, stages[0].weight).shape}"
            grouped = f" with {stages[0].groups} groups" if stages[0].groups > 1 else ""
            raise GraphError(f"{given}{grouped} takes inputs ({channels}, {', '.join(names)}), not {input_shape}")
        shape = self._flat(input_shape)
        for stage in stages:
            shape = stage.output_shape(shape)
        return (shape[0], *shape[-self.spatial :])

    def _flat(self, shape: Shape) -> Shape:
        """``(channels, h, w)`` of a shape of one or two dimensions."""
        return shape if self.spatial == 2 else (shape[0], 1, shape[1])

    def _each(self, types: NodeTypes) -> Iterator[tuple[Stage, NumberType]]:
        """The stages, each with the type of what it reads."""
        for index, stage in enumerate(self.stages):
            yield stage, types.result if index else types.input

    def parameters(self) -> Mapping[str, Parameter]:
        named = [(role, getattr(stage, role)) for stage in self.stages for role in ("weight", "bias")]
        return {name: Parameter(role, getattr(self, name)) for role, name in named}

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        """Bounds of the widest of its sums; each has its own accumulator."""
        spans = [stage.span(given, types.of("weight"), types.of("bias")) for stage, given in self._each(types)]
        return max((span for span in spans if span is not None), key=lambda span: span.bits, default=None)

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        values = x.reshape(len(x), *self._flat(x.shape[1:]))
        for stage, given in self._each(bound.types):
            values = stage.step(values, given, bound)
        return values.reshape(len(x), *self.output_shape(x.shape[1:])), state

    def macs(self, input_shape: Shape) -> int:
        total, shape = 0, self._flat(input_shape)
        for stage in self.stages:
            total += stage.macs(shape)
            shape = stage.output_shape(shape)
        return total

    def effective_operations(self, x: Array, bound: Bound) -> Operations:
        total, values = Operations(), x.reshape(len(x), *self._flat(x.shape[1:]))
        stages = list(self._each(bound.types))
        for index, (stage, given) in enumerate(stages):
            total += stage.effective_operations(values, given, bound)
            if index + 1 < len(stages):
                values = stage.step(values, given, bound)
        return total

    def lower(self, at: LoweringContext) -> list[Lowered]:
        made: list[Lowered] = []
        shape, inputs = self._flat(at.input_shape), list(at.inputs)
        stages = list(self._each(at.bound.types))
        for index, (stage, given) in enumerate(stages, start=1):
            name = at.name if index == len(stages) else f"{at.name}_stage{index}"
            made += stage.lower(name, inputs, shape, given, at.bound, at.streams)
            shape, inputs = stage.output_shape(shape), [name]
        return made if self.spatial == 2 else [_of_one_dimension(lowered) for lowered in made]

    def check_bias(self, name: str, weight: Array) -> None:
        """Bring bias ``name`` into its stored form; zeros where it is None. Raises GraphError."""
        if getattr(self, name) is None:
            self.set(name, np.zeros(len(weight), np.float32))
        bias = self.set_array(name, ndim=(1,))
        if bias.shape != (len(weight),):
            raise GraphError(f"{name} must have shape {(len(weight),)} to fit weight {weight.shape}, not {bias.shape}")

    def check_groups(self, groups: Any, weight: Array) -> None:
        """Store ``groups``. Raises GraphError where it does not divide the output channels."""
        if not is_whole(groups) or groups < 1 or len(weight) % groups:
            raise GraphError(f"groups must divide the {len(weight)} output channels, not {shown(groups)}")
        self.set("groups", int(groups))


def _of_one_dimension(lowered: Lowered) -> Lowered:
    """The layer of hls4ml for one dimension that one for images of height 1 is."""
    vertical = ("in_height", "filt_height", "stride_height", "pad_top", "pad_bottom", "out_height")
    layer = {key: value for key, value in lowered.layer.items() if key not in vertical}
    layer["class_name"] = layer["class_name"].replace("2D", "1D")
    if "weight_data" in layer:
        layer["weight_data"] = layer["weight_data"][0]
    return Lowered(layer, lowered.precision)


@primitive
class Conv1d(Convolution):
    """One-dimensional convolution.

    weight: ``(out_channels, in_channels / groups, k)``; bias: ``(out_channels,)``, zeros where it is None. Input
    ``(in_channels, length)``.
    """

    spatial: ClassVar[int] = 1

    weight: Any
    bias: Any = None
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1

    def check(self) -> None:
        weight = self.set_array("weight", ndim=(3,))
        self.check_bias("bias", weight)
        for name, least in (("stride", 1), ("padding", 0), ("dilation", 1)):
            self.set(name, as_whole(name, getattr(self, name), least))
        self.check_groups(self.groups, weight)

    @property
    def stages(self) -> tuple[Stage, ...]:
        out, per_group, taps = self.weight.shape
        sliding = Sliding((1, taps), (1, self.stride), (0, self.padding), (1, self.dilation))
        return (Stage("weight", "bias", (out, per_group, 1, taps), sliding, self.groups),)


@primitive
class Conv2d(Convolution):
    """Two-dimensional convolution.

    weight: ``(out_channels, in_channels / groups, kh, kw)``; bias: ``(out_channels,)``, zeros where it is None. stride,
    padding, dilation: one number or (vertical, horizontal). Input ``(in_channels, h, w)``.
    """

    weight: Any
    bias: Any = None
    stride: Any = (1, 1)
    padding: Any = (0, 0)
    dilation: Any = (1, 1)
    groups: int = 1

    def check(self) -> None:
        weight = self.set_array("weight", ndim=(4,))
        self.check_bias("bias", weight)
        for name, least in (("stride", 1), ("padding", 0), ("dilation", 1)):
            self.set(name, as_pair(name, getattr(self, name), least))
        self.check_groups(self.groups, weight)

    @property
    def stages(self) -> tuple[Stage, ...]:
        sliding = Sliding(self.weight.shape[2:], self.stride, self.padding, self.dilation)
        return (Stage("weight", "bias", self.weight.shape, sliding, self.groups),)


@primitive
class SepConv2d(Convolution):
    """Depthwise separable convolution: each channel by itself over its window, then all channels at each place.

    depthwise_weight: ``(in_channels, 1, kh, kw)``; pointwise_weight: ``(out_channels, in_channels, 1, 1)``; biases:
    ``(in_channels,)`` and ``(out_channels,)``, zeros where they are None. stride, padding, dilation (of the depthwise
    sum): one number or (vertical, horizontal). Input ``(in_channels, h, w)``. In fixed point the depthwise sum is cast
    to the result type as the pointwise one is.
    """

    depthwise_weight: Any
    pointwise_weight: Any
    depthwise_bias: Any = None
    pointwise_bias: Any = None
    stride: Any = (1, 1)
    padding: Any = (0, 0)
    dilation: Any = (1, 1)

    def check(self) -> None:
        depthwise, pointwise = (self.set_array(name, ndim=(4,)) for name in ("depthwise_weight", "pointwise_weight"))
        if depthwise.shape[1] != 1:
            raise GraphError(f"depthwise_weight must have shape (in_channels, 1, kh, kw), not {depthwise.shape}")
        if pointwise.shape[1:] != (len(depthwise), 1, 1):
            raise GraphError(
                f"pointwise_weight must have shape (out_channels, {len(depthwise)}, 1, 1) to fit depthwise_weight "
                f"{depthwise.shape}, not {pointwise.shape}"
            )
        self.check_bias("depthwise_bias", depthwise)
        self.check_bias("pointwise_bias", pointwise)
        for name, least in (("stride", 1), ("padding", 0), ("dilation", 1)):
            self.set(name, as_pair(name, getattr(self, name), least))

    @property
    def stages(self) -> tuple[Stage, ...]:
        depthwise, pointwise = self.depthwise_weight.shape, self.pointwise_weight.shape
        sliding = Sliding(depthwise[2:], self.stride, self.padding, self.dilation)
        return (
            Stage("depthwise_weight", "depthwise_bias", depthwise, sliding, len(self.depthwise_weight)),
            Stage("pointwise_weight", "pointwise_bias", pointwise, Sliding((1, 1), (1, 1)), 1),
        )
