"""Sliding windows over the last two dimensions of ``(batch, channels, height, width)``: what convolutions and pools share."""

from __future__ import annotations

from typing import Any

import numpy as np

from talon_lib.errors import GraphError
from talon_lib.fixed import Array

Pair = tuple[int, int]


def as_pair(name: str, value: Any, least: int) -> Pair:
    """A pair of whole numbers of ``least`` or more, from one number or two. Raises GraphError naming the field."""
    numbers = np.atleast_1d(np.asarray(value))
    whole = numbers.ndim == 1 and numbers.size in (1, 2) and np.issubdtype(numbers.dtype, np.integer)
    if not whole or (numbers < least).any():
        raise GraphError(f"{name} must be one or two whole numbers of {least} or more, not {value!r}")
    return int(numbers[0]), int(numbers[-1])


def positions(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool = False) -> int:
    """How many windows fit along one dimension (PyTorch's rule for output sizes); 0 or less if none does."""
    reach = size + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return reach // stride + 1
    count = -(-reach // stride) + 1
    # a window that would start in the padding beyond the end is left out
    return count - 1 if (count - 1) * stride >= size + padding else count


def windows(x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, count: Pair, fill: float = 0.0) -> Array:
    """All windows of ``x`` (batch, channels, height, width): ``(batch, channels, *count, *kernel)``, a view.

    What lies outside of ``x`` holds ``fill``.
    """
    needed = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(count, stride, dilation, kernel, strict=True)]
    after = [max(need - p - size, 0) for need, p, size in zip(needed, padding, x.shape[2:], strict=True)]
    edges = [(0, 0), (0, 0), *((p, a) for p, a in zip(padding, after, strict=True))]
    padded = np.pad(x, edges, constant_values=fill)
    spread = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(padded, spread, axis=(2, 3))
    return view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]][:, :, : count[0], : count[1]]
