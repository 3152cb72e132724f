"""Number types: the only place that knows bits.

A fixed-point value is held as its exact real value in float64, so that one expression serves floating and fixed
point and BLAS does the sums. What may go wrong with that, a sum of more than 53 bits, is known before anything
runs: :class:`Span` bounds a sum from the types of its terms, and :func:`exact_arithmetic` chooses float32, float64
or 63-bit integers for it, or refuses.

Rounding and overflow follow ap_fixed of AMD's Vitis HLS (UG1399, "Arbitrary Precision Fixed-Point Data Types");
``tests/unit/test_fixed_against_ap_types.py`` holds them to the ap_types headers bit by bit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from talon_lib.errors import PrecisionError

Array = np.ndarray[Any, Any]

ROUNDINGS = (
    "AP_TRN",
    "AP_TRN_ZERO",
    "AP_RND",
    "AP_RND_ZERO",
    "AP_RND_INF",
    "AP_RND_MIN_INF",
    "AP_RND_CONV",
)
OVERFLOWS = ("AP_WRAP", "AP_WRAP_SM", "AP_SAT", "AP_SAT_ZERO", "AP_SAT_SYM")

MAX_WIDTH = 53  # a float64 holds every value of a type this wide exactly


@dataclass(frozen=True)
class Span:
    """Bounds of an exact quantity: a multiple of ``2**lsb`` whose magnitude is at most ``2**msb``."""

    lsb: int
    msb: int

    @property
    def bits(self) -> int:
        """Magnitude bits that hold every such value, the bound itself included."""
        return self.msb - self.lsb

    def __mul__(self, other: Span) -> Span:
        return Span(self.lsb + other.lsb, self.msb + other.msb)

    def __add__(self, other: Span) -> Span:
        return Span(min(self.lsb, other.lsb), max(self.msb, other.msb) + 1)

    def times(self, count: int) -> Span:
        """The sum of ``count`` such quantities."""
        return Span(self.lsb, self.msb + max(count - 1, 0).bit_length())

    def ap_fixed(self) -> str:
        """The signed ap_fixed that holds every such value: the accumulator of a sum with these bounds.

        The magnitude ``2**msb`` itself is reachable (a product of two most negative values), hence the extra bit.
        """
        return f"ap_fixed<{self.msb + 2 - self.lsb},{self.msb + 2}>"


class NumberType(Protocol):
    """What a tensor's values are rounded to. Values in and out are float64 arrays (or a float alone)."""

    @property
    def bits(self) -> int:
        """Storage bits of one value."""

    @property
    def span(self) -> Span | None:
        """Bounds of the values, or None for floating point, where sums are not exact by nature."""

    def cast(self, x: Any) -> Array:
        """Round ``x`` to this type."""


@dataclass(frozen=True)
class FloatType:
    """IEEE 754 binary32 or binary16. Sums are taken in float64 and rounded once to this type."""

    bits: Literal[32, 16] = 32

    @property
    def span(self) -> None:
        """Floating point has no fixed span."""
        return None

    def cast(self, x: Any) -> Array:
        """Round to nearest even; a float16 overflow becomes infinity, as IEEE 754 has it."""
        if isinstance(x, ScaledInt):  # a float node between fixed-point ones
            x = np.ldexp(x.values.astype(np.float64), -x.fraction)
        with np.errstate(over="ignore"):
            return np.asarray(x, np.float64).astype(np.float32 if self.bits == 32 else np.float16).astype(np.float64)

    def __str__(self) -> str:
        return f"fp{self.bits}"


@dataclass(frozen=True)
class FixedType:
    """``ap_fixed<width, integer, rounding, overflow>``, or ap_ufixed where not ``signed``.

    ``integer`` counts the bits left of the binary point, the sign included; it may be negative or exceed ``width``.
    Raises PrecisionError for widths outside 1..53, for unknown modes, and for AP_WRAP_SM where not ``signed``.
    """

    width: int
    integer: int
    signed: bool = True
    rounding: str = "AP_TRN"
    overflow: str = "AP_WRAP"

    def __post_init__(self) -> None:
        if not 1 <= self.width <= MAX_WIDTH:
            raise PrecisionError(f"{self}: the width must be 1 to {MAX_WIDTH} bits, to be exact in float64")
        if not -1000 <= self.integer <= 1000:
            raise PrecisionError(f"{self}: the integer bits must be within -1000 to 1000")
        if self.rounding not in ROUNDINGS:
            raise PrecisionError(f"{self}: unknown rounding {self.rounding}; known: {', '.join(ROUNDINGS)}")
        if self.overflow not in OVERFLOWS:
            raise PrecisionError(f"{self}: unknown overflow {self.overflow}; known: {', '.join(OVERFLOWS)}")
        if self.overflow == "AP_WRAP_SM" and not self.signed:  # the headers end the program
            raise PrecisionError(f"{self}: ap_ufixed has no AP_WRAP_SM, it is for signed types; use AP_WRAP or AP_SAT")

    def __str__(self) -> str:
        modes = ""
        if self.overflow != "AP_WRAP":
            modes = f",{self.rounding},{self.overflow}"
        elif self.rounding != "AP_TRN":
            modes = f",{self.rounding}"
        return f"ap_{'' if self.signed else 'u'}fixed<{self.width},{self.integer}{modes}>"

    @property
    def bits(self) -> int:
        """Storage bits of one value."""
        return self.width

    @property
    def fraction(self) -> int:
        """Bits right of the binary point; negative where the step is larger than 1."""
        return self.width - self.integer

    @property
    def step(self) -> float:
        """The distance of two neighbouring values."""
        return math.ldexp(1.0, -self.fraction)

    @property
    def min(self) -> float:
        """The least value."""
        return -math.ldexp(1.0, self.integer - 1) if self.signed else 0.0

    @property
    def max(self) -> float:
        """The greatest value."""
        return math.ldexp(1.0, self.integer - self.signed) - self.step

    @property
    def span(self) -> Span:
        """Bounds of the values."""
        return Span(-self.fraction, self.integer - self.signed)

    def cast(self, x: Any) -> Array:
        """Round ``x`` (any shape, float or :class:`ScaledInt`) to this type, as an assignment in C++ does.

        Returns the exact values in float64. Raises PrecisionError for NaN and infinity, which no fixed-point
        assignment defines.
        """
        floor, code = self._round(x)
        return np.ldexp(self._wrap(code, floor).astype(np.float64), -self.fraction)

    def code(self, x: Any) -> Array:
        """The int64 codes of values that are already of this type."""
        return np.ldexp(np.asarray(x, np.float64), self.fraction).astype(np.int64)

    def _round(self, x: Any) -> tuple[Array, Array]:
        """The whole number of steps below, and the one that ``x`` rounds to, both before overflow acts."""
        if isinstance(x, ScaledInt):
            values, shift = x.values, x.fraction - self.fraction
            if shift <= 0:  # Python integers, for the shift may leave 63 bits behind
                code = values.astype(object) << -shift
                return code, code
            if shift == 63:  # one bit less, its loss remembered in the lowest
                values, shift = values >> 1 | values & 1, 62
            elif shift > 63:  # all magnitudes are below half a step: only the sign matters
                values, shift = np.sign(values), 2
            floor = values >> shift
            if self.rounding == "AP_TRN":
                return floor, floor
            remainder = values - (floor << shift)
            above = np.sign(remainder - (1 << (shift - 1)))
            inexact = remainder != 0
            negative = values < 0
        else:
            values = np.asarray(x, np.float64)
            scaled = np.ldexp(values, self.fraction)
            if self.fraction < 0:  # what scaling takes to zero still has a sign to round by
                scaled = np.where((scaled == 0) & (values != 0), np.copysign(0.25, values), scaled)
            if not np.isfinite(scaled).all():
                raise PrecisionError(f"{self}: cannot hold NaN or infinity; look for it in the weights or the data")
            floor = np.floor(scaled)
            if self.rounding == "AP_TRN":
                return floor, floor
            remainder = scaled - floor
            above = np.sign(remainder - 0.5)
            inexact = remainder != 0
            negative = scaled < 0
        return floor, floor + self._rounds_up(floor, above, inexact, negative)

    def _rounds_up(self, floor: Array, above: Array, inexact: Array, negative: Array) -> Array:
        """Where the value goes up to ``floor + 1``; ``above`` is the sign of (remainder - 1/2)."""
        tie = above == 0
        up: Array
        match self.rounding:
            case "AP_TRN_ZERO":
                up = negative & inexact
            case "AP_RND":
                up = above >= 0
            case "AP_RND_MIN_INF":
                up = above > 0
            case "AP_RND_INF":
                up = (above > 0) | (tie & ~negative)
            case "AP_RND_ZERO":
                up = (above > 0) | (tie & negative)
            case _:  # AP_RND_CONV: ties to even
                up = (above > 0) | (tie & (np.mod(floor, 2) == 1))
        return up

    def _wrap(self, code: Array, floor: Array) -> Array:
        """Bring whole numbers of steps into the range; ``floor`` is what they were before rounding."""
        modulus = 2**self.width
        low = -(2 ** (self.width - 1)) if self.signed else 0
        high = low + modulus - 1
        outside = (code < low) | (code > high)
        if self.overflow == "AP_SAT_SYM" and self.signed and self.width > 1:
            return np.clip(code, -high, high)  # the most negative code is not used, even if it was not exceeded
        if not outside.any():
            return code
        match self.overflow:
            case "AP_SAT_ZERO":
                return np.where(outside, 0, code)
            case "AP_WRAP":
                return _wrap_signed(code, modulus) if self.signed else np.mod(code, modulus)
            case "AP_WRAP_SM":
                wrapped = _wrap_signed(code, modulus)
                # the lowest bit that is lost: the headers take it from the value before rounding
                beyond = np.mod(np.floor_divide(floor, modulus), 2) == 1
                return np.where(outside & (beyond != (wrapped < 0)), -1 - wrapped, wrapped)
            case _:  # AP_SAT; and AP_SAT_SYM of unsigned or 1-bit types, which the headers saturate alike
                return np.clip(code, low, high)


def _wrap_signed(code: Array, modulus: int) -> Array:
    wrapped = np.mod(code, modulus)
    return np.where(wrapped >= modulus // 2, wrapped - modulus, wrapped)


SPIKE = FixedType(1, 1, signed=False)
"""The type of a spike: 0 or 1."""

FP32 = FloatType(32)
FP16 = FloatType(16)

_FIXED = re.compile(
    r"\s*(?:ap_)?(?P<kind>u?fixed|u?int)\s*<\s*(?P<width>\d+)\s*"
    r"(?:,\s*(?P<integer>-?\d+)\s*(?:,\s*(?P<rounding>\w+)\s*(?:,\s*(?P<overflow>\w+)\s*(?:,\s*(?P<n>\d+)\s*)?)?)?)?>\s*"
)


def parse_type(text: str) -> FixedType | FloatType:
    """Read a type: ``fp32``, ``fp16``, ``ap_fixed<16,6>``, ``ap_ufixed<8,0,AP_RND,AP_SAT>``, ``ap_int<8>``.

    The ``ap_`` and ``AP_`` prefixes may be left out. Raises PrecisionError.
    """
    if not isinstance(text, str):
        raise PrecisionError(f"{text!r} is not a number type; write e.g. 'ap_fixed<16,6>'")
    if text in ("fp32", "fp16"):
        return FloatType(32 if text == "fp32" else 16)
    match = _FIXED.fullmatch(text)
    if match is None:
        raise PrecisionError(
            f"{text!r} is not a number type; write e.g. ap_fixed<16,6>, ap_ufixed<8,0,AP_RND,AP_SAT>, fp32"
        )
    kind, width = match["kind"], int(match["width"])
    if match["integer"] is None and not kind.endswith("int"):
        raise PrecisionError(f"{text!r}: the integer bits are missing; write e.g. ap_fixed<{width},{width // 2}>")
    if match["integer"] is not None and kind.endswith("int"):
        raise PrecisionError(f"{text!r}: an integer type takes its width alone, e.g. ap_int<{width}>")
    if match["n"] not in (None, "0"):
        raise PrecisionError(
            f"{text!r}: saturation bits of the wrap modes are not supported; leave the last number out"
        )
    return FixedType(
        width,
        int(match["integer"] if match["integer"] is not None else width),
        signed=not kind.startswith("u"),
        rounding=_with_prefix(match["rounding"], "AP_TRN"),
        overflow=_with_prefix(match["overflow"], "AP_WRAP"),
    )


def _with_prefix(mode: str | None, default: str) -> str:
    if mode is None:
        return default
    mode = mode.upper()
    return mode if mode.startswith("AP_") else f"AP_{mode}"


def fit(values: Array, width: int, exactly: Array | None = None) -> FixedType:
    """The signed type of ``width`` bits, AP_RND and AP_SAT, whose power-of-two scale loses least of ``values``.

    Least is the smallest sum of squared errors; of equal ones the widest range. Values in ``exactly`` must come
    through with an error of at most a quarter of the largest of them, where any scale can do that: they are
    thresholds, and one that rounds to 0 means another neuron. All-zero (or no) values get the range [-1, 1).
    """
    values = np.asarray(values, np.float64).ravel()
    kept = np.zeros(0) if exactly is None else np.asarray(exactly, np.float64).ravel()
    top = float(np.max(np.abs(np.concatenate([values, kept])), initial=0.0))
    if not math.isfinite(top):
        raise PrecisionError(f"no {width}-bit scale fits values that are not finite; look for NaN in weights or data")
    if top == 0.0:
        return FixedType(width, 1, True, "AP_RND", "AP_SAT")
    cover = math.frexp(top)[1] + 1  # 2**(cover-1) > top: nothing saturates but what the last step rounds up to it
    least = float(np.max(np.abs(kept), initial=0.0)) or top  # the scales down to the one that fits `exactly` alone
    best: tuple[bool, float, FixedType] | None = None
    for integer in (cover, cover + 1, *range(cover - 1, math.frexp(least)[1] + 1 - width - 8, -1)):
        candidate = FixedType(width, integer, True, "AP_RND", "AP_SAT")
        error = float(np.square(values - candidate.cast(values)).sum())
        loses = bool((np.abs(kept - candidate.cast(kept)) > 0.25 * np.max(np.abs(kept), initial=0.0)).any())
        if best is None or (loses, error) < best[:2]:
            best = (loses, error, candidate)
        elif integer < cover and error > 16 * best[1] and not best[0]:
            break  # finer scales only saturate more
    assert best is not None
    return best[2]


@dataclass(frozen=True)
class ScaledInt:
    """Exact values of up to 63 bits: int64 ``values`` times ``2**-fraction``. The long form of a float64 array."""

    values: Array
    fraction: int

    @classmethod
    def of(cls, x: Array | ScaledInt, fraction: int) -> ScaledInt:
        """``x``, whose values are multiples of ``2**-fraction``."""
        if isinstance(x, ScaledInt):
            return cls(x.values << (fraction - x.fraction), fraction)
        return cls(np.ldexp(np.asarray(x, np.float64), fraction).astype(np.int64), fraction)

    def _aligned(self, other: ScaledInt) -> tuple[Array, Array, int]:
        fraction = max(self.fraction, other.fraction)
        return ScaledInt.of(self, fraction).values, ScaledInt.of(other, fraction).values, fraction

    def __add__(self, other: ScaledInt) -> ScaledInt:
        a, b, fraction = self._aligned(other)
        return ScaledInt(a + b, fraction)

    def __sub__(self, other: ScaledInt) -> ScaledInt:
        a, b, fraction = self._aligned(other)
        return ScaledInt(a - b, fraction)

    def __mul__(self, other: ScaledInt) -> ScaledInt:
        return ScaledInt(self.values * other.values, self.fraction + other.fraction)

    def __matmul__(self, other: ScaledInt) -> ScaledInt:
        return ScaledInt(self.values @ other.values, self.fraction + other.fraction)

    def sum(self, axis: tuple[int, ...]) -> ScaledInt:
        """The sum along ``axis``."""
        return ScaledInt(self.values.sum(axis=axis), self.fraction)

    @property
    def T(self) -> ScaledInt:  # noqa: N802 (numpy's name)
        """The transpose."""
        return ScaledInt(self.values.T, self.fraction)


Lift = Callable[[Any, "NumberType"], Any]
"""Brings the values of a tensor, whose type is given, into the form that a sum is taken in."""


def exact_arithmetic(span: Span | None, what: str) -> Lift:
    """Choose the form in which a sum with these bounds is exact.

    ``None`` (floating point) gives float64. Raises PrecisionError, naming ``what``, where no form is wide enough.
    """
    if span is None or 24 < span.bits <= MAX_WIDTH:
        return lambda x, _: np.asarray(x, np.float64)
    if span.bits <= 24 and span.lsb >= -120 and span.msb <= 120:
        return lambda x, _: np.asarray(x, np.float32)
    if span.bits <= 62:
        return _lift_to_int
    raise PrecisionError(
        f"{what}: an exact sum would need {span.bits + 1} bits, more than the 63 that are kept; "
        "use narrower types for its inputs, weights or membrane"
    )


def _lift_to_int(x: Any, number: NumberType) -> ScaledInt:
    if not isinstance(number, FixedType):
        raise PrecisionError("an exact integer sum cannot take a floating-point term")
    return ScaledInt.of(x, number.fraction)
