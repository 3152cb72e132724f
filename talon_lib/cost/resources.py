"""What memories and multipliers take of an AMD device: LUTs, flip-flops, DSP slices, block RAM. All first order.

Sources (docs/estimates.md tells them in full): UG473 and UG573 (aspect ratios of block RAM), UG474 (LUTs as adders,
memories and shift registers), UG479, UG579 and AM004 (widths of the DSP slices' multipliers), UG901 (products that are
too small for a DSP slice).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

RAMB18_SHAPES = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))
"""Depth and width of one RAMB18, the widest as a simple dual port (UG473, UG573)."""

DSP_FACTORS = {"DSP48E1": (25, 18), "DSP48E2": (27, 18), "DSP58": (27, 24)}
"""Widths of both factors of one DSP slice's multiplier, two's complement (UG479, UG579, AM004)."""

LUT_DEPTH = 64
"""Words of 1 bit that one LUT holds as a memory (UG474)."""

SHIFT_DEPTH = 32
"""Places of 1 bit that one LUT holds as a shift register (UG474, SRL32)."""

SMALL_PRODUCT = 8
"""Bits of the largest product that goes into LUTs: 4 x 4 (UG901; Yosys draws the same line)."""

HLS_NARROW = 6
"""Bits of the widest smaller factor with which Vitis HLS leaves a product in LUTs (docs/estimates.md, Known error)."""


@dataclass(frozen=True)
class Usage:
    """How much is used of each resource; bram in RAMB18, two of which are one block of 36 Kb."""

    lut: int = 0
    ff: int = 0
    dsp: int = 0
    bram: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def times(self, count: int) -> Usage:
        """So many of the same."""
        return Usage(*(getattr(self, f.name) * count for f in fields(self)))


def block_rams(depth: int, width: int) -> int:
    """RAMB18 that hold ``depth`` words of ``width`` bits, all in the one shape that takes fewest."""
    if depth <= 0 or width <= 0:
        return 0
    return min(-(-depth // deep) * -(-width // wide) for deep, wide in RAMB18_SHAPES)


def memory(depth: int, width: int) -> Usage:
    """A memory as tools place one that nobody has placed: registers for one word, LUTs up to 64, else block RAM."""
    if depth <= 0 or width <= 0:
        return Usage()
    if depth == 1:
        return Usage(ff=width)
    return Usage(lut=width) if depth <= LUT_DEPTH else Usage(bram=block_rams(depth, width))


def shift_register(depth: int, width: int) -> Usage:
    """``width`` shift registers of ``depth`` places."""
    return Usage(lut=-(-depth // SHIFT_DEPTH) * width) if depth > 0 and width > 0 else Usage()


def multiplier(first: int, second: int, dsp: str, narrow: int = 0) -> Usage:
    """One product of two's complement factors of so many bits; a factor of 1 bit is a gate and takes nothing here.

    A product goes into LUTs where it is small, or one factor has no more bits than ``narrow``. A DSP slice's multiplier
    adds up products of parts: the first part of a factor brings all bits of a port, every other one bit less, for it
    has no sign.
    """
    if min(first, second) <= 1:
        return Usage()
    if first + second <= SMALL_PRODUCT or min(first, second) <= narrow:
        return Usage(lut=first * second)  # a row of adders for each bit of a factor, the gates inside
    wide, narrow = DSP_FACTORS[dsp]
    return Usage(dsp=min(_parts(first, wide) * _parts(second, narrow), _parts(first, narrow) * _parts(second, wide)))


def _parts(bits: int, port: int) -> int:
    return max(1, -(-(bits - 1) // (port - 1)))
