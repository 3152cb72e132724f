"""Upsampling: larger images by repetition or interpolation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from talon_lib.errors import GraphError, UnsupportedError
from talon_lib.fixed import Array, Span
from talon_lib.ir.fields import MOST_VALUES, as_array, as_choice, as_flag, as_pair, shown
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
    Support,
    fields_of,
    primitive,
)

MODES = ("nearest", "bilinear")


@primitive
class Upsample(Memoryless):
    """An image ``(channels, h, w)`` in another size, as ``torch.nn.functional.interpolate`` gives it.

    scale_factor: output over input, one number or (vertical, horizontal). size: the output's (h, w) or one number for
    both; it wins over scale_factor. mode: "nearest" copies values (the result has the input's type); "bilinear" weighs
    the four around each place, whose weighted sum in float64 is cast once. align_corners: in bilinear, corner values
    stay in the corners; "nearest" has no use for it.
    """

    io_parallel: ClassVar[Support] = Support(remark="mode nearest, each value repeated a whole number of times")
    io_stream: ClassVar[Support] = io_parallel
    open_rtl: ClassVar[Support] = Support(False, "the open RTL has no module for it")

    scale_factor: Any = 2
    size: Any = None
    mode: str = "nearest"
    align_corners: bool = False

    def check(self) -> None:
        as_choice("mode", self.mode, MODES)
        self.set("align_corners", as_flag("align_corners", self.align_corners))
        if self.size is not None:
            self.set("size", as_pair("size", self.size, 1))
        elif self.scale_factor is None:
            raise GraphError("scale_factor and size are both missing; give one of them")
        if self.scale_factor is not None:
            self.set("scale_factor", _as_factors(self.scale_factor))

    @property
    def passes_type(self) -> bool:  # type: ignore[override]  # a property of the mode here, of the class elsewhere
        """Whether values are copied."""
        return self.mode == "nearest"

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3:
            raise GraphError(f"it takes inputs (channels, h, w), not {input_shape}")
        size = self.size
        if size is None:
            size = tuple(int(n * factor) for n, factor in zip(input_shape[1:], self.scale_factor, strict=True))
            if min(size) < 1:
                raise GraphError(f"scale_factor {self.scale_factor} leaves nothing of the input {input_shape}")
        return (input_shape[0], *size)

    def _scales(self, input_shape: Shape) -> list[float]:
        """Input over output, vertical and horizontal; that of scale_factor where it says the size, as in PyTorch."""
        if self.size is None:
            return [1.0 / factor for factor in self.scale_factor]
        return [n / m for n, m in zip(input_shape[1:], self.size, strict=True)]

    def _sources(self, input_shape: Shape) -> tuple[Array, Array]:
        """For "nearest": the row, and the column, of the input that each one of the output copies."""
        sizes = zip(input_shape[1:], self.output_shape(input_shape)[1:], self._scales(input_shape), strict=True)
        rows, columns = (_nearest(before, after, scale) for before, after, scale in sizes)
        return rows, columns

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        """The places that are copied, or weighed, however their number is given."""
        size = self.output_shape(input_shape)[1:]
        fields = fields_of(self, "scale_factor", "size", "align_corners")
        if self.mode == "nearest":
            rows, columns = self._sources(input_shape)
            return fields | {"rows": rows, "columns": columns}
        scales = None if self.align_corners else self._scales(input_shape)
        return fields | {"align_corners": self.align_corners, "size": size, "scales": scales}

    def parameters(self) -> Mapping[str, Parameter]:
        return {}

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        return None

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        shape = x.shape[1:]
        if self.mode == "nearest":
            rows, columns = self._sources(shape)
            return x[:, :, rows[:, None], columns], state
        values = np.asarray(x, np.float64)
        for axis, before, after, scale in zip(
            (2, 3), shape[1:], self.output_shape(shape)[1:], self._scales(shape), strict=True
        ):
            low, high, weight = _linear(before, after, scale, self.align_corners)
            weight = weight.reshape(-1, 1) if axis == 2 else weight
            values = np.take(values, low, axis) * (1.0 - weight) + np.take(values, high, axis) * weight
        return bound.types.result.cast(values), state

    def macs(self, input_shape: Shape) -> int:
        return 0

    def effective_operations(self, x: Array, bound: Bound) -> Operations:
        return Operations()

    def lower(self, at: LoweringContext) -> list[Lowered]:
        if self.mode != "nearest":
            raise UnsupportedError("hls4ml has no exact bilinear interpolation; use mode 'nearest'")
        channels, *before = at.input_shape
        after = self.output_shape(at.input_shape)[1:]
        for old, new, sources in zip(before, after, self._sources(at.input_shape), strict=True):
            # io_stream repeats each value a whole number of times, io_parallel steps by a rounded ratio
            parallel = (np.arange(new) * ((old << 16) // new + 1)) >> 16
            stream = np.arange(new) * old // new
            if new % old:
                raise UnsupportedError(f"hls4ml repeats values a whole number of times, and this makes {old} to {new}")
            if not np.array_equal(sources, stream) or not np.array_equal(parallel, stream):
                raise UnsupportedError(
                    f"the ratio of {old} to {new} is rounded so that some values are copied once more"
                )
        layer = {
            "class_name": "Resize",
            "name": at.name,
            "inputs": list(at.inputs),
            "data_format": "channels_last",
            "algorithm": "nearest",
            "n_chan": channels,
            "in_height": before[0],
            "in_width": before[1],
            "out_height": after[0],
            "out_width": after[1],
        }
        return [Lowered(layer, {"result": str(at.bound.types.result)})]


def _as_factors(value: Any) -> tuple[float, float]:
    array = as_array(value)
    numbers = np.zeros(0) if array is None else np.atleast_1d(array)
    known = numbers.ndim == 1 and numbers.size in (1, 2) and numbers.dtype.kind in "iuf"
    if not known or not np.isfinite(numbers).all() or (numbers <= 0).any() or (numbers > MOST_VALUES).any():
        raise GraphError(f"scale_factor must be one or two numbers above 0, not {shown(value)}")
    return float(numbers[0]), float(numbers[-1])


def _nearest(before: int, after: int, scale: float) -> Array:
    """The index that each of ``after`` places copies: PyTorch's, which takes it in float32 but for factors 1 and 2."""
    places: Array = np.arange(after)
    if after in (before, 2 * before):
        copied: Array = places * before // after
        return copied
    found = np.floor(places.astype(np.float32) * np.float32(scale)).astype(np.int64)
    clipped: Array = np.minimum(found, before - 1)
    return clipped


def _linear(before: int, after: int, scale: float, align_corners: bool) -> tuple[Array, Array, Array]:
    """The two indices that each of ``after`` places lies between, and the weight of the second."""
    places = np.arange(after, dtype=np.float64)
    if after == before:  # whatever the factor is, a size that stays is copied
        at = places
    elif align_corners:
        at = places * ((before - 1) / (after - 1) if after > 1 else 0.0)
    else:
        at = np.maximum((places + 0.5) * scale - 0.5, 0.0)
    low = np.minimum(np.floor(at).astype(np.int64), before - 1)
    return low, np.minimum(low + 1, before - 1), np.clip(at - low, 0.0, 1.0)
