"""Convolutions (cross-correlations, as PyTorch has them), with zero padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from talon_lib.errors import GraphError
from talon_lib.fixed import Array, Span
from talon_lib.ir.layout import Shape
from talon_lib.ir.node import Bound, Lowered, LoweringContext, Memoryless, NodeTypes, Parameter, primitive
from talon_lib.ir.window import as_pair, positions, windows


class Convolution(Memoryless):
    """Family of the convolutions. All are computed as one in two dimensions; Conv1d has a height of 1."""

    weight: Any
    bias: Any
    groups: int

    def parameters(self) -> Mapping[str, Parameter]:
        return {"weight": Parameter("weight", self.weight), "bias": Parameter("bias", self.bias)}

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        spans = (types.input.span, types.of("weight").span, types.of("bias").span)
        if None in spans:
            return None
        x, weight, bias = spans
        taps = int(np.prod(self.weight.shape[1:]))
        return (x * weight).times(taps) + bias  # type: ignore[operator]


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
        if self.bias is None:
            self.set("bias", np.zeros(len(weight), np.float32))
        bias = self.set_array("bias", ndim=(1,))
        if bias.shape != (len(weight),):
            raise GraphError(f"bias must have shape {(len(weight),)} to fit weight {weight.shape}, not {bias.shape}")
        for name, least in (("stride", 1), ("padding", 0), ("dilation", 1)):
            self.set(name, as_pair(name, getattr(self, name), least))
        if not isinstance(self.groups, (int, np.integer)) or self.groups < 1 or len(weight) % self.groups:
            raise GraphError(f"groups must divide the {len(weight)} output channels, not {self.groups!r}")

    def output_shape(self, input_shape: Shape) -> Shape:
        out, per_group, *kernel = self.weight.shape
        channels = per_group * self.groups
        if len(input_shape) != 3 or input_shape[0] != channels:
            raise GraphError(f"weight {self.weight.shape} takes inputs ({channels}, h, w), not {input_shape}")
        count = [
            positions(size, k, s, p, d)
            for size, k, s, p, d in zip(input_shape[1:], kernel, self.stride, self.padding, self.dilation, strict=True)
        ]
        if min(count) < 1:
            raise GraphError(f"the kernel {tuple(kernel)} with its dilation does not fit the input {input_shape}")
        return (out, *count)

    def step(self, x: Array, state: Array | None, bound: Bound) -> tuple[Array, Array | None]:
        shape = self.output_shape(x.shape[1:])
        columns = self._columns(x)
        weight = bound.parameters["weight"].reshape(self.groups, shape[0] // self.groups, -1)
        bias = bound.parameters["bias"].reshape(self.groups, -1)
        types, lift = bound.types, bound.lift
        results = [
            types.result.cast(
                lift(columns[g], types.input) @ lift(weight[g], types.of("weight")).T + lift(bias[g], types.of("bias"))
            )
            for g in range(self.groups)
        ]
        return np.moveaxis(np.concatenate(results, axis=-1).reshape(len(x), *shape[1:], shape[0]), -1, 1), None

    def _columns(self, x: Array) -> Array:
        """What each output multiplies: ``(groups, batch * oh * ow, taps)``, taps in the order of a weight row."""
        count = self.output_shape(x.shape[1:])[1:]
        view = windows(x, self.weight.shape[2:], self.stride, self.padding, self.dilation, count)
        grouped = view.reshape(len(x), self.groups, -1, *count, *self.weight.shape[2:])
        return grouped.transpose(1, 0, 3, 4, 2, 5, 6).reshape(self.groups, len(x) * count[0] * count[1], -1)

    def macs(self, input_shape: Shape) -> int:
        inside = self._columns(np.ones((1, *input_shape)))
        return int(np.count_nonzero(inside)) * (len(self.weight) // self.groups)

    def effective_macs(self, x: Array, bound: Bound) -> int:
        weight = bound.parameters["weight"].reshape(self.groups, len(self.weight) // self.groups, -1)
        weights_per_tap = np.count_nonzero(weight, axis=1)
        return int((np.count_nonzero(self._columns(x), axis=1) * weights_per_tap).sum())

    def lower(self, at: LoweringContext) -> list[Lowered]:
        out, height, width = self.output_shape(at.input_shape)
        kernel = _dense_kernel(at.bound.parameters["weight"], self.groups, self.dilation)
        reached = [(n - 1) * s + k for n, s, k in zip((height, width), self.stride, kernel.shape[2:], strict=True)]
        after = [need - size - p for need, size, p in zip(reached, at.input_shape[1:], self.padding, strict=True)]
        layer = {
            "class_name": "Conv2D",
            "name": at.name,
            "inputs": list(at.inputs),
            "data_format": "channels_last",
            "n_chan": at.input_shape[0],
            "in_height": at.input_shape[1],
            "in_width": at.input_shape[2],
            "n_filt": out,
            "filt_height": kernel.shape[2],
            "filt_width": kernel.shape[3],
            "stride_height": self.stride[0],
            "stride_width": self.stride[1],
            "pad_top": self.padding[0],
            "pad_bottom": max(after[0], 0),
            "pad_left": self.padding[1],
            "pad_right": max(after[1], 0),
            "out_height": height,
            "out_width": width,
            "weight_data": kernel.transpose(2, 3, 1, 0),
            "bias_data": at.bound.parameters["bias"],
        }
        return [Lowered(layer, at.bound.mac_precision())]


def _dense_kernel(weight: Array, groups: int, dilation: tuple[int, int]) -> Array:
    """The kernel ``(out, in, kh, kw)`` that does the same without groups and dilation: zeros in between.

    hls4ml has neither for a general Conv2D; a zero weight costs no multiplier once the tool sees it.
    """
    out, per_group, kh, kw = weight.shape
    dense = np.zeros((out, per_group * groups, dilation[0] * (kh - 1) + 1, dilation[1] * (kw - 1) + 1))
    rows = out // groups
    for g in range(groups):
        block = dense[g * rows : (g + 1) * rows, g * per_group : (g + 1) * per_group]
        block[:, :, :: dilation[0], :: dilation[1]] = weight[g * rows : (g + 1) * rows]
    return dense
