"""Which reuse factors a layer can have, and which one it gets.

The rule is hls4ml's for the Resource strategy (1.3.0, ``FPGABackend._validate_reuse_factor`` and
``get_closest_reuse_factor``). For a product of ``inputs`` values with a matrix of ``outputs`` rows it comes down to:
the divisors of ``inputs``, and ``inputs`` times the divisors of ``outputs``. The open RTL takes the same factors, for
the same reason: every multiplier works in every cycle.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

from talon_lib.cost.layers import Layer


def legal_reuse_factors(inputs: int, outputs: int, convolves: bool = False) -> tuple[int, ...]:
    """The legal factors in rising order.

    A convolution takes none above ``inputs`` (kernel size x channels), where hls4ml's kernel computes something else.
    """
    few = _divisors(inputs)
    return few if convolves else tuple(sorted({*few, *(inputs * divisor for divisor in _divisors(outputs))}))


def closest_reuse_factor(legal: Sequence[int], asked: int) -> int:
    """The legal factor nearest to the one that was asked for; the smaller one of two that are as near."""
    place = bisect_left(legal, asked)
    if place == 0:
        return legal[0]
    if place == len(legal):
        return legal[-1]
    below, above = legal[place - 1], legal[place]
    return above if above - asked < asked - below else below


def effective_reuse_factor(layer: Layer, asked: int, strategy: str) -> int:
    """What becomes of the factor that was asked for, or that the node asks for.

    Resource moves it to the nearest legal one where the layer is a matrix; Latency, and neurons, take any.
    """
    wanted = layer.reuse or asked
    if layer.kind != "matrix" or strategy.capitalize() != "Resource":
        return wanted
    return closest_reuse_factor(legal_reuse_factors(layer.inputs, layer.outputs, layer.convolves), wanted)


def _divisors(number: int) -> tuple[int, ...]:
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return tuple(sorted({*small, *(number // divisor for divisor in small)}))
