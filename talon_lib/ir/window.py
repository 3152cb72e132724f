"""Sliding windows over ``(batch, channels, height, width)``: what convolutions and pools share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from talon_lib.errors import GraphError
from talon_lib.fixed import Array
from talon_lib.ir.fields import Pair, check_size


def positions(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool = False) -> int:
    """How many windows fit along one dimension (PyTorch's rule for output sizes); 0 or less if none does."""
    reach = size + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return reach // stride + 1
    count = -(-reach // stride) + 1
    # a window that would start in the padding beyond the end is left out
    return count - 1 if (count - 1) * stride >= size + padding else count


@dataclass(frozen=True)
class Sliding:
    """How windows of one size move over an image; each pair is (vertical, horizontal)."""

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False

    @property
    def taps(self) -> int:
        """Values in one window."""
        return self.kernel[0] * self.kernel[1]

    def count(self, size: Sequence[int]) -> Pair:
        """Windows over an image (height, width). Raises GraphError where not even one fits."""
        rows, columns = (
            positions(n, k, s, p, d, self.ceil_mode)
            for n, k, s, p, d in zip(size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        )
        if min(rows, columns) < 1:
            dilated = f" with dilation {self.dilation}" if max(self.dilation) > 1 else ""
            raise GraphError(f"the kernel {self.kernel}{dilated} does not fit inputs of {size[0]} x {size[1]}")
        height, width = (n + 2 * p for n, p in zip(size, self.padding, strict=True))
        check_size((height, width), f"the image with its padding {self.padding}")
        return rows, columns

    def inside(self, size: Sequence[int]) -> Pair:
        """By dimension, how many values of all windows together lie on an image (height, width), not in its padding."""
        found = []
        for n, s, d, k, p, whole in zip(
            self.count(size), self.stride, self.dilation, self.kernel, self.padding, size, strict=True
        ):
            places = s * np.arange(n)[:, None] + d * np.arange(k) - p
            found.append(int(np.count_nonzero((places >= 0) & (places < whole))))
        return found[0], found[1]

    def over(self, x: Array, fill: float = 0.0) -> Array:
        """The windows of ``x`` (batch, channels, height, width): ``(batch, channels, *count, *kernel)``, a view.

        What lies outside of ``x`` holds ``fill``.
        """
        (rows, columns), (down, across), (top, left) = self.count(x.shape[2:]), self.stride, self.padding
        bottom, right = self.after(x.shape[2:])
        padded = np.pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)], constant_values=fill)
        spread = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        view = np.lib.stride_tricks.sliding_window_view(padded, spread, axis=(2, 3))
        view = view[:, :, ::down, ::across, :: self.dilation[0], :: self.dilation[1]]
        return view[:, :, :rows, :columns]

    def after(self, size: Sequence[int]) -> Pair:
        """Rows below and columns to the right of the image that windows reach: the padding that hardware needs there.

        Fewer than ``padding`` where the last window ends before the padding does, more where ceil_mode goes beyond it.
        """
        rows, columns = (
            max((n - 1) * s + d * (k - 1) + 1 - whole - p, 0)
            for n, s, d, k, whole, p in zip(
                self.count(size), self.stride, self.dilation, self.kernel, size, self.padding, strict=True
            )
        )
        return rows, columns
