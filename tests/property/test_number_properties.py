from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from talon_lib.errors import PrecisionError
from talon_lib.fixed import (
    OVERFLOWS,
    ROUNDINGS,
    FixedType,
    FloatType,
    ScaledInt,
    Span,
    exact_arithmetic,
    fit,
    parse_type,
)


@st.composite
def fixed_types(draw, widths=(1, 53), integers=(-20, 60), rounding=None, overflow=None):
    signed = draw(st.booleans())
    return FixedType(
        draw(st.integers(*widths)),
        draw(st.integers(*integers)),
        signed,
        rounding or draw(st.sampled_from(ROUNDINGS)),
        overflow or draw(st.sampled_from([mode for mode in OVERFLOWS if signed or mode != "AP_WRAP_SM"])),
    )


reals = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e60, max_value=1e60)


@given(fixed_types(), st.lists(reals, max_size=20))
def test_a_cast_value_is_on_the_grid_in_range_and_stays(number, values):
    once = number.cast(np.array(values))
    steps = [Fraction(v) / Fraction(number.step) for v in once.tolist()]
    assert all(step.denominator == 1 for step in steps)
    assert all(number.min <= v <= number.max for v in once)
    if number.overflow != "AP_SAT_SYM":
        np.testing.assert_array_equal(number.cast(once), once)


@given(fixed_types(overflow="AP_SAT_SYM"), st.lists(reals, max_size=20))
def test_symmetric_saturation_is_symmetric_and_stays(number, values):
    once = number.cast(np.array(values))
    np.testing.assert_array_equal(number.cast(once), once)
    if number.signed and number.width > 1:
        assert all(-number.max <= v for v in once)


@given(fixed_types(widths=(1, 30), integers=(-8, 30)), st.data())
def test_casting_what_lies_in_range_moves_it_less_than_a_step(number, data):
    value = data.draw(st.floats(number.min, number.max))
    assume(number.overflow != "AP_SAT_SYM" or value >= -number.max)
    moved = number.cast(value).item() - value
    limit = number.step if number.rounding.startswith("AP_TRN") else number.step / 2
    assert abs(moved) <= limit
    if number.rounding == "AP_TRN":
        assert moved <= 0
    if number.rounding == "AP_TRN_ZERO":
        assert moved * value <= 0


@given(
    fixed_types(overflow="AP_WRAP", widths=(1, 20), integers=(-4, 20)), st.integers(-(2**40), 2**40), st.integers(-9, 9)
)
def test_wrapping_ignores_whole_periods(number, code, periods):
    period = 2**number.width
    one, other = (
        ScaledInt(np.array([code]), number.fraction),
        ScaledInt(np.array([code + periods * period]), number.fraction),
    )
    np.testing.assert_array_equal(number.cast(one), number.cast(other))


@given(fixed_types())
def test_a_type_reads_back_what_it_prints(number):
    assert parse_type(str(number)) == number
    assert parse_type(str(number).removeprefix("ap_").replace(",AP_", ",").lower()) == number
    assert parse_type(str(number).replace("<", " < ").replace(",", " , ").replace(">", " > ")) == number


@given(fixed_types(), st.data())
def test_codes_are_the_whole_steps_of_values(number, data):
    codes = data.draw(
        st.lists(st.integers(round(number.min / number.step), round(number.max / number.step)), max_size=9)
    )
    values = np.array([float(Fraction(code) * Fraction(number.step)) for code in codes])
    assert number.code(values).tolist() == codes
    if number.overflow != "AP_SAT_SYM":
        np.testing.assert_array_equal(number.cast(values), values)


@given(st.sampled_from([16, 32]), st.lists(reals, min_size=1))
def test_float_types_round_as_numpy_does(bits, values):
    with np.errstate(over="ignore"):
        expected = np.array(values).astype(f"f{bits // 8}")
    np.testing.assert_array_equal(FloatType(bits).cast(np.array(values)), expected.astype(np.float64))


@given(fixed_types(), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_what_is_not_finite_is_refused(number, value):
    with pytest.raises(PrecisionError, match="NaN or infinity"):
        number.cast(np.array([0.0, value]))


# --- fit --------------------------------------------------------------------------------------------------------------


@given(
    st.integers(2, 32),
    st.lists(st.floats(-1000, 1000, allow_subnormal=False, width=32), min_size=1, max_size=30),
)
def test_fit_loses_no_more_than_any_other_scale_does(width, values):
    values = np.array(values, np.float64)
    chosen = fit(values, width)
    assert (chosen.width, chosen.signed, chosen.rounding, chosen.overflow) == (width, True, "AP_RND", "AP_SAT")

    def error(number):
        return np.square(values - number.cast(values)).sum()

    for distance in range(-6, 7):
        other = FixedType(width, chosen.integer + distance, True, "AP_RND", "AP_SAT")
        assert error(chosen) <= error(other)


@given(st.integers(2, 16), st.floats(0.01, 100), st.lists(st.floats(-1e6, 1e6), max_size=20))
def test_fit_keeps_what_it_is_told_to_keep(width, threshold, values):
    chosen = fit(np.array(values), width, exactly=np.array([threshold]))
    scales = [FixedType(width, integer, True, "AP_RND", "AP_SAT") for integer in range(-9, 10)]
    assume(any(abs(scale.cast(threshold) - threshold) <= threshold / 4 for scale in scales))
    assert abs(chosen.cast(threshold) - threshold) <= threshold / 4


# --- spans ------------------------------------------------------------------------------------------------------------


def _holds(span, value):
    return abs(value) <= Fraction(2) ** span.msb and (value / Fraction(2) ** span.lsb).denominator == 1


@st.composite
def terms(draw, count):
    """Types with an exact value of each, extremes preferred."""
    chosen = []
    for _ in range(count):
        number = draw(fixed_types(widths=(1, 24), integers=(-10, 30)))
        code = draw(st.sampled_from([number.min, number.max]) | st.just(None))
        low, high = round(number.min / number.step), round(number.max / number.step)
        value = Fraction(code) if code is not None else draw(st.integers(low, high)) * Fraction(number.step)
        chosen.append((number, value))
    return chosen


@given(terms(4), st.integers(1, 300))
def test_spans_bound_sums_products_and_repetitions(pairs, count):
    (a, x), (b, y), (c, z), (d, w) = pairs
    assert _holds(a.span, x)
    assert _holds(a.span + b.span, x + y)
    assert _holds(a.span + b.span, x - y)
    assert _holds(a.span * b.span, x * y)
    assert _holds(a.span.times(count), count * x)
    assert _holds((a.span * b.span).times(count) + c.span * d.span, count * x * y - z * w)


@given(terms(3), st.integers(1, 100))
def test_the_accumulator_of_a_span_holds_every_such_sum(pairs, count):
    (a, x), (b, y), (c, z) = pairs
    span = (a.span * b.span).times(count) + c.span
    assume(span.bits + 2 <= 53)
    accumulator = parse_type(span.ap_fixed())
    total = count * x * y + z
    assert (
        Fraction(accumulator.cast(ScaledInt(np.array([int(total / Fraction(2) ** span.lsb)]), -span.lsb)).item())
        == total
    )


@given(st.integers(-40, 40), st.integers(1, 80))
def test_sums_are_taken_in_the_narrowest_exact_form_or_refused(lsb, bits):
    span = Span(lsb, lsb + bits)
    if bits > 62:
        with pytest.raises(PrecisionError, match=rf"node 'n': an exact sum would need {bits + 1} bits"):
            exact_arithmetic(span, "node 'n'")
        return
    number = FixedType(min(bits, 20), min(bits, 20) + lsb)
    values = np.array([number.min, 0.0, number.max])
    lifted = exact_arithmetic(span, "node 'n'")(values, number)
    if bits <= 53:
        assert lifted.dtype == (np.float32 if bits <= 24 else np.float64)
        np.testing.assert_array_equal(lifted.astype(np.float64), values)
    else:
        assert lifted.values.tolist() == number.code(values).tolist()
        assert lifted.fraction == number.fraction


# --- 63-bit integers --------------------------------------------------------------------------------------------------

small = st.integers(-(2**20), 2**20)


def _exact(scaled):
    return [Fraction(int(v)) / Fraction(2) ** scaled.fraction for v in np.ravel(scaled.values)]


@given(st.lists(st.tuples(small, small), min_size=1, max_size=8), st.integers(-10, 10), st.integers(-10, 10))
def test_scaled_integers_add_subtract_and_multiply_exactly(pairs, fx, fy):
    x = ScaledInt(np.array([a for a, _ in pairs]), fx)
    y = ScaledInt(np.array([b for _, b in pairs]), fy)
    assert _exact(x + y) == [a + b for a, b in zip(_exact(x), _exact(y), strict=True)]
    assert _exact(x - y) == [a - b for a, b in zip(_exact(x), _exact(y), strict=True)]
    assert _exact(x * y) == [a * b for a, b in zip(_exact(x), _exact(y), strict=True)]


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_scaled_integers_multiply_as_matrices_exactly(rows, inner, columns, seed):
    rng = np.random.default_rng(seed)
    a = rng.integers(-(2**29), 2**29, (rows, inner))
    b = rng.integers(-(2**29), 2**29, (columns, inner))
    product = ScaledInt(a, 3) @ ScaledInt(b, -1).T
    expected = [[sum(int(p) * int(q) for p, q in zip(row, column, strict=True)) for column in b] for row in a]
    assert (product.values.tolist(), product.fraction) == (expected, 2)


@given(fixed_types(), st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=9), st.integers(-20, 40))
def test_integers_and_floats_cast_alike(number, codes, fraction):
    codes = np.array(codes)
    np.testing.assert_array_equal(
        number.cast(ScaledInt(codes, fraction)), number.cast(np.ldexp(codes.astype(np.float64), -fraction))
    )
