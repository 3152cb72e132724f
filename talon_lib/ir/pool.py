"""Pooling: one value for each window of each channel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from talon_lib.errors import GraphError, UnsupportedError
from talon_lib.fixed import Array, FixedType, NumberType, ScaledInt, Span
from talon_lib.ir.activation import TABLE_BITS, codes, table_layer
from talon_lib.ir.conv import conv2d_layer, padded_apart, padding_layer
from talon_lib.ir.fields import as_flag, as_pair
from talon_lib.ir.layout import Shape, standard_order
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
from talon_lib.ir.window import Sliding


class Pool(Memoryless):
    """Family of the pools. Input ``(channels, h, w)``; each channel by itself.

    kernel_size, stride, padding: one number or (vertical, horizontal); stride is kernel_size where it is None. Sizes
    are PyTorch's: with ceil_mode a last window may reach beyond the padding, if it starts inside of it.
    """

    kernel_size: Any
    stride: Any
    padding: Any
    ceil_mode: bool
    # what only one of them has as a field, and what holds for the other
    dilation: Any = (1, 1)
    count_include_pad: bool = True

    def check(self) -> None:
        if self.stride is None:
            self.set("stride", self.kernel_size)
        for name, least in (("kernel_size", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            self.set(name, as_pair(name, getattr(self, name), least))
        for name in ("ceil_mode", "count_include_pad"):
            self.set(name, as_flag(name, getattr(self, name)))
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise GraphError(f"padding must be at most half of kernel_size {self.kernel_size}, not {self.padding}")

    @property
    def sliding(self) -> Sliding:
        """How the windows move."""
        return Sliding(self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3:
            raise GraphError(f"it takes inputs (channels, h, w), not {input_shape}")
        return (input_shape[0], *self.sliding.count(input_shape[1:]))

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        """With ceil_mode and count_include_pad as they are by default where they change nothing."""
        fields, size = fields_of(self), input_shape[1:]
        beyond = self.sliding.count(size) != replace(self.sliding, ceil_mode=False).count(size)
        if not beyond:
            fields["ceil_mode"] = False
        if "count_include_pad" in fields and not beyond and not any(self.padding):
            fields["count_include_pad"] = True
        return fields

    def parameters(self) -> Mapping[str, Parameter]:
        return {}

    def macs(self, input_shape: Shape) -> int:
        return 0

    def effective_operations(self, x: Array, bound: Bound) -> Operations:
        return Operations()

    def arithmetic(self, types: NodeTypes, input_shape: Shape) -> tuple[Arithmetic, ...]:
        """One addition or comparison less than a window has values; a mean's division is not counted."""
        count = math.prod(self.output_shape(input_shape)) * (self.sliding.taps - 1)
        return (Arithmetic("add", count, types.input, types.result),)

    def as_convolution(self, name: str, at: LoweringContext, shift: int, result: NumberType) -> list[Lowered]:
        """The Conv2D whose weights are ``2**-shift`` for a channel's own window and 0 for the others.

        hls4ml's pooling rounds the sum before it divides; a convolution keeps both exact and casts once.
        """
        channels = at.input_shape[0]
        weight = FixedType(1, 1 - shift, signed=False)
        own = np.eye(channels)[:, :, None, None] * 2.0**-shift
        kernel = np.broadcast_to(own, (channels, channels, *self.kernel_size))
        layer = conv2d_layer(name, list(at.inputs), at.input_shape, self.sliding, kernel, np.zeros(channels))
        precision = {
            "weight": str(weight),
            "bias": str(FixedType(1, 1, signed=False)),
            "accum": str(self.sum_type(at.bound.types.input, shift)),
            "result": str(result),
        }
        lowered = Lowered(layer, precision)
        return padded_apart(lowered, at.bound.types.input) if at.streams else [lowered]

    def sum_type(self, x: NumberType, shift: int = 0) -> FixedType:
        """The type of a window's exact sum, of inputs that are divided by ``2**shift`` already."""
        assert isinstance(x, FixedType), "only fixed point is lowered"
        span = x.span.times(self.sliding.taps)  # never reached upwards, for the largest value of a type is below it
        return FixedType(span.bits + x.signed, span.msb - shift + x.signed, signed=x.signed)


@primitive
class MaxPool2d(Pool):
    """The largest value of each window; padding never wins. The result has the input's type.

    dilation: as kernel_size.
    """

    passes_type: ClassVar[bool] = True
    io_parallel: ClassVar[Support] = Support(remark="without dilation")
    io_stream: ClassVar[Support] = Support(
        remark="without dilation, with windows side by side (stride as kernel_size), padding for unsigned inputs only"
    )
    open_rtl: ClassVar[Support] = io_parallel

    kernel_size: Any = (2, 2)
    stride: Any = None
    padding: Any = (0, 0)
    dilation: Any = (1, 1)
    ceil_mode: bool = False

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        return None

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        return self.sliding.over(x, fill=-np.inf).max(axis=(-2, -1)), state

    def lower(self, at: LoweringContext) -> list[Lowered]:
        sliding, size = self.sliding, at.input_shape[1:]
        number = at.bound.types.result
        bottom, right = sliding.after(size)
        edges = {"pad_top": self.padding[0], "pad_bottom": bottom, "pad_left": self.padding[1], "pad_right": right}
        channels, height, width = self.output_shape(at.input_shape)
        assert isinstance(number, FixedType), "only fixed point is lowered"
        if self.dilation != (1, 1):
            raise UnsupportedError(f"hls4ml's pooling has no dilation, and this one's is {self.dilation}")
        reached = (size[0] + self.padding[0] + bottom, size[1] + self.padding[1] + right)
        # one window alone may take any stride under which no second one fits
        stride = tuple(
            k if count == 1 and whole < 2 * k else s
            for k, s, count, whole in zip(self.kernel_size, self.stride, (height, width), reached, strict=True)
        )
        if at.streams and stride != self.kernel_size:
            raise UnsupportedError(
                f"hls4ml's streaming pool takes windows side by side, and stride {self.stride} is not the kernel_size "
                f"{self.kernel_size}; use io_parallel"
            )
        if at.streams and any(edges.values()) and number.signed:
            raise UnsupportedError(
                "hls4ml's streaming pool pads with zeros, which win over negative values; only an unsigned input can "
                f"be padded, and this one is {number}; use io_parallel"
            )
        made, inputs = [], list(at.inputs)
        if any(edges.values()) and not number.signed:
            # hls4ml's own padding writes half of the range into unsigned types, so a 1 into spikes; here 0 is the least
            padding = padding_layer(f"{at.name}_padded", inputs, at.input_shape, edges, str(number))
            made.append(padding)
            size, inputs = (padding.layer["out_height"], padding.layer["out_width"]), [padding.layer["name"]]
            edges = dict.fromkeys(edges, 0)
        layer = {
            "class_name": "MaxPooling2D",
            "name": at.name,
            "inputs": inputs,
            "data_format": "channels_last",
            "n_filt": channels,
            "in_height": size[0],
            "in_width": size[1],
            "out_height": height,
            "out_width": width,
            "pool_height": self.kernel_size[0],
            "pool_width": self.kernel_size[1],
            "stride_height": stride[0],
            "stride_width": stride[1],
            **edges,
        }
        return [*made, Lowered(layer, {"accum": str(number), "result": str(number)})]


@primitive
class AvgPool2d(Pool):
    """The mean of each window: its exact sum, divided by the window's divisor, and one cast of the exact quotient.

    The divisor is PyTorch's: the window's values inside of the image and its padding, or with count_include_pad False
    inside of the image alone; what ceil_mode reaches beyond both is never counted.
    """

    io_parallel: ClassVar[Support] = Support(
        remark="one divisor for all windows; where it is no power of two, sums of up to "
        f"{TABLE_BITS} bits, for a table divides them"
    )
    io_stream: ClassVar[Support] = io_parallel
    open_rtl: ClassVar[Support] = io_parallel

    kernel_size: Any = (2, 2)
    stride: Any = None
    padding: Any = (0, 0)
    ceil_mode: bool = False
    count_include_pad: bool = True

    def divisors(self, size: Sequence[int]) -> Array:
        """The divisor of every window over an image (height, width): whole numbers ``(oh, ow)``."""
        if not self.count_include_pad:
            inside: Array = self.sliding.over(np.ones((1, 1, *size), np.int64))[0, 0].sum(axis=(-2, -1))
            return inside
        rows, columns = (
            np.minimum(np.arange(n) * s + k, whole + 2 * p) - np.arange(n) * s
            for n, s, k, whole, p in zip(
                self.sliding.count(size), self.stride, self.kernel_size, size, self.padding, strict=True
            )
        )
        counted: Array = np.multiply.outer(rows, columns)
        return counted

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        x, result = types.input.span, types.result.span
        if x is None or result is None:
            return None
        # two bits below the result's last: where it is halfway between two values, the quotient's rest decides
        return Span(min(x.lsb, result.lsb - 2), x.msb).times(self.sliding.taps)

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        divisor = self.divisors(x.shape[2:])
        view = self.sliding.over(x)
        if bound.span is None:
            return bound.types.result.cast(view.sum(axis=(-2, -1), dtype=np.float64) / divisor), state
        fraction = -bound.span.lsb
        total = ScaledInt.of(view, fraction).values.sum(axis=(-2, -1))
        return _quotients(total, fraction, divisor, bound.types.result), state

    def lower(self, at: LoweringContext) -> list[Lowered]:
        size = at.input_shape[1:]
        divisors = np.unique(self.divisors(size))
        if len(divisors) > 1:
            raise UnsupportedError(
                f"its windows have the divisors {', '.join(map(str, divisors))}; hardware divides all by one constant"
            )
        divisor, result = int(divisors[0]), at.bound.types.result
        if divisor & (divisor - 1) == 0:
            return self.as_convolution(at.name, at, divisor.bit_length() - 1, result)
        # the exact sum, and its quotient from a table
        number, span = self.sum_type(at.bound.types.input), at.bound.span
        if number.width > TABLE_BITS:
            raise UnsupportedError(
                f"it divides by {divisor}, no power of two, and so reads a table of all sums; they have {number.width} "
                f"bits, and tables end at {TABLE_BITS}; give the node before it a narrower type (result_t)"
            )
        assert span is not None, "only fixed point is lowered"
        totals = np.left_shift(codes(number), -span.lsb - number.fraction)
        entries = _quotients(totals, -span.lsb, divisor, result)
        sums = self.as_convolution(f"{at.name}_stage1", at, 0, number)
        order = standard_order(self.output_shape(at.input_shape))
        return [*sums, table_layer(at.name, [sums[-1].layer["name"]], order, entries, result)]


@primitive
class SumPool2d(Pool):
    """The sum of each window, padded with zeros; one cast."""

    kernel_size: Any = (2, 2)
    stride: Any = None
    padding: Any = (0, 0)
    ceil_mode: bool = False

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        return None if types.input.span is None else types.input.span.times(self.sliding.taps)

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        view = bound.exact_input(self.sliding.over(x))
        return bound.types.result.cast(view.sum(axis=(-2, -1))), state

    def lower(self, at: LoweringContext) -> list[Lowered]:
        return self.as_convolution(at.name, at, 0, at.bound.types.result)


def _quotients(totals: Array, fraction: int, divisor: Any, result: NumberType) -> Array:
    """``totals * 2**-fraction / divisor``, exact, cast once."""
    quotient, rest = np.divmod(totals, divisor)
    # one more bit, 1 where there is a rest: no cast can tell this from the exact quotient
    return result.cast(ScaledInt(2 * quotient + (rest != 0), fraction + 1))
