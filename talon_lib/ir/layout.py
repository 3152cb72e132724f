"""How hardware orders the values of a tensor.

Shapes here are channels first, ``(C, H, W)``; hls4ml's layers are channels last, ``(H, W, C)``. An *order* is an index
array: ``order[i]`` is our flat, row-major index of the value that hardware has at flat place ``i``. A tensor of rank 2
or more is always channels last in hardware; one of rank 1 has the order that a Flatten has left it in, until a layer
that mixes all values (an Affine) makes a new one.
"""

from __future__ import annotations

import numpy as np

from talon_lib.fixed import Array

Shape = tuple[int, ...]


def channels_last(shape: Shape) -> Shape:
    """The shape with its first dimension moved to the end."""
    return (*shape[1:], shape[0])


def standard_order(shape: Shape) -> Array:
    """The order of a tensor that nothing has flattened: channels last, which is no change for rank 1."""
    return np.moveaxis(np.arange(int(np.prod(shape))).reshape(shape), 0, -1).ravel()
