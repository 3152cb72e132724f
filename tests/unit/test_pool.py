import shutil
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from windowing import TYPES, cast, chain, check_golden, fractions, golden, inside, result

from talon_lib import ir
from talon_lib.errors import GraphError, PrecisionError, UnsupportedError
from talon_lib.fixed import SPIKE, FixedType, parse_type
from talon_lib.hls.csim import csim
from talon_lib.hls.lower import lower
from talon_lib.simulate import bind_graph, run

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
KINDS = (ir.MaxPool2d, ir.AvgPool2d)


# --- what they compute ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["MaxPool2d", "AvgPool2d"])
def test_float_is_what_pytorch_computes(kind):
    for case in golden(kind):
        check_golden(case)


def test_the_golden_pools_have_every_field_at_work():
    cases = [case["arguments"] | {"kind": case["kind"]} for case in golden("MaxPool2d") + golden("AvgPool2d")]
    for kind in ("MaxPool2d", "AvgPool2d"):
        own = [case for case in cases if case["kind"] == kind]
        assert {case["ceil_mode"] for case in own} == {True, False}
        assert any(case["stride"] is None for case in own) and any(any(case["padding"]) for case in own)
    assert {case["count_include_pad"] for case in cases if any(case["padding"]) and "count_include_pad" in case} == {
        True,
        False,
    }


def test_ceil_mode_by_hand():
    x = np.arange(1.0, 7.0).reshape(1, 1, 1, 6)  # with padding: 0 0 1 2 3 4 5 6 0 0
    pool = ir.AvgPool2d((1, 4), stride=(1, 4), padding=(0, 2), ceil_mode=True)
    # the last window holds the two zeros at the end and reaches two places beyond them, which are not counted;
    # it would start in the padding, so it is left out
    assert result(pool, x).tolist() == [[[[3 / 4, 18 / 4]]]]
    pool = ir.AvgPool2d((1, 4), stride=(1, 3), padding=(0, 2), ceil_mode=True)
    assert result(pool, x).tolist() == [[[[3 / 4, 14 / 4, 11 / 4]]]]
    pool = ir.AvgPool2d((1, 5), stride=(1, 6), padding=(0, 2), ceil_mode=True)
    assert result(pool, x, "ap_fixed<16,4>").tolist() == [[[[1.199951171875, 2.75]]]], (
        "four places are left of five: two values, two zeros"
    )


@st.composite
def pools(draw, kind):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def each(low, high):
        return rng.integers(low, high, 2, endpoint=True).tolist()

    kernel, stride = each(1, 4), each(1, 4)
    fields = {"padding": [int(rng.integers(0, k // 2 + 1)) for k in kernel], "ceil_mode": bool(rng.integers(2))}
    dilation = [1, 1]
    if kind is ir.MaxPool2d:
        fields["dilation"] = dilation = each(1, 2)
    else:
        fields["count_include_pad"] = bool(rng.integers(2))
    size = [d * (k - 1) + 1 + extra for d, k, extra in zip(dilation, kernel, each(0, 4), strict=True)]
    return kind(kernel, stride, **fields), rng.normal(-0.5, 2.0, (2, 2, *size))


def windows_of(node, size):
    """By output place: the coordinates of the taps in the image, and how many taps lie in it or in its padding."""
    found = {}
    for place in np.ndindex(node.output_shape((1, *size))[1:]):
        taps = list(np.ndindex(node.kernel_size))
        real = [inside(place, tap, node.stride, node.padding, node.dilation, size) for tap in taps]
        padded = [
            all(
                n * s + t * d < whole + 2 * p
                for n, s, t, d, whole, p in zip(place, node.stride, tap, node.dilation, size, node.padding, strict=True)
            )
            for tap in taps
        ]
        found[place] = [at for at in real if at is not None], sum(padded)
    return found


@settings(max_examples=30)
@given(pools(ir.MaxPool2d), TYPES)
def test_the_maximum_is_one_of_the_window_and_padding_never_wins(drawn, number):
    node, x = drawn
    found, kind = result(node, x, number), parse_type(number)
    inputs = kind.cast(x)
    for sample, channel in np.ndindex(2, 2):
        for place, (taps, _) in windows_of(node, x.shape[2:]).items():
            expected = max(inputs[(sample, channel, *at)] for at in taps)
            assert found[(sample, channel, *place)] == expected


@settings(max_examples=60)
@given(pools(ir.AvgPool2d), TYPES, TYPES)
def test_the_mean_is_the_exact_quotient_cast_once(drawn, given_, number):
    node, x = drawn
    found = result(node, x, {"weight": given_, "input": given_, "result": number})
    inputs, kind = fractions(parse_type(given_).cast(x)), parse_type(number)
    for sample, channel in np.ndindex(2, 2):
        for place, (taps, padded) in windows_of(node, x.shape[2:]).items():
            divisor = padded if node.count_include_pad else len(taps)
            mean = sum(inputs[(sample, channel, *at)] for at in taps) / Fraction(divisor)
            assert fractions(found)[(sample, channel, *place)] == cast(mean, kind)


@pytest.mark.parametrize("rounding", ["AP_TRN", "AP_RND", "AP_RND_CONV", "AP_RND_ZERO"])
def test_a_quotient_that_float64_would_round_away_is_still_cast_exactly(rounding):
    """-(3 * 2**-45) / 9 lies below 0 and 2**28 - 2**-20 / 9 below 2**28: in float64 their rests are lost."""
    x = np.zeros((2, 1, 3, 3))
    x[0, 0, 0, 0] = -(2.0**-20)
    x[1], x[1, 0, 0, 0] = 2.0**28, 2.0**28 - 2.0**-20
    number = f"ap_fixed<40,31,{rounding},AP_SAT>"
    found = result(ir.AvgPool2d(3), x, {"weight": "ap_fixed<8,4>", "input": "ap_fixed<53,31>", "result": number})
    for sample in range(2):
        mean = sum(fractions(x[sample]).ravel()) / 9
        assert fractions(found[sample]).ravel()[0] == cast(mean, parse_type(number))
    with pytest.raises(PrecisionError, match=r"node 'n0' \(AvgPool2d\): an exact sum would need"):
        result(
            ir.AvgPool2d(64), np.zeros((1, 1, 64, 64)), {"weight": "fp32", "input": "ap_fixed<53,1>", "result": number}
        )


def test_types_pass_through_a_maximum_and_a_mean_of_spikes_is_no_spike():
    graph = chain(ir.IF(0.5), ir.MaxPool2d(2), ir.AvgPool2d(2), shape=(1, 4, 4))
    bound = bind_graph(graph, "ap_fixed<8,4>")
    assert bound["n1"].types.result == SPIKE
    assert bound["n2"].types.result == FixedType(8, 4)
    x = np.zeros((1, 1, 4, 4))
    x[0, 0, 0, 0] = 1.0
    assert run(graph, bound, {"x": x}, 1).outputs["y"].item() == 0.25


def test_pooling_is_no_synaptic_operation():
    for kind in KINDS:
        graph = chain(kind(2), shape=(1, 4, 4))
        done = run(graph, bind_graph(graph, "fp32"), {"x": np.ones((1, 1, 4, 4))}, 1)
        assert kind(2).macs((1, 4, 4)) == 0 == done.activity["n0"].effective_macs
        assert not kind(2).parameters()


# --- hardware ---------------------------------------------------------------------------------------------------------


def network(rng):
    """Real values and spikes into both pools, windows that are not square, padding, remainders, ceil_mode."""
    return chain(
        ir.AvgPool2d((2, 1)),
        ir.MaxPool2d((1, 2)),
        ir.Conv2d(rng.normal(0, 1, (2, 1, 2, 2)), padding=1),
        ir.IF(0.3),
        ir.MaxPool2d(2, padding=1),
        ir.AvgPool2d((2, 4), stride=(3, 2), padding=(1, 2)),
        ir.Conv2d(rng.normal(0, 1, (2, 2, 1, 1)), padding=2),
        ir.IF(0.2),
        ir.MaxPool2d((2, 3), ceil_mode=True),
        ir.AvgPool2d(2, stride=1),
        shape=(1, 13, 14),
    )


@needs_compiler
@pytest.mark.parametrize(("precision", "io_type"), [("ap_fixed<10,4>", "io_parallel"), ("int6", "io_stream")])
def test_csim_equals_simulation(precision, io_type):
    pytest.importorskip("hls4ml")
    rng = np.random.default_rng(9)
    graph = network(rng)
    x = {"x": rng.normal(0, 1.5, (3, 4, *graph.inputs["x"].shape))}
    bound = bind_graph(graph, precision, x, 3)
    seen = run(graph, bound, x, 3)
    assert all(seen.activity[name].spikes for name in ("n3", "n7")), "the comparison would show nothing"
    found = csim(graph, bound, x, 3, io_type=io_type)
    assert found.equal, str(found.difference)


def sums_of_three(rng):
    """Divisors that are no powers of two: of real values, of spikes, padded, and with a remainder that rounds."""
    return chain(
        ir.AvgPool2d(3, stride=2, padding=1),
        ir.Conv2d(rng.normal(0, 1, (2, 1, 2, 2)), padding=1),
        ir.IF(0.3),
        ir.AvgPool2d((1, 3), stride=1),
        ir.Conv2d(rng.normal(0, 1, (2, 2, 1, 1))),
        shape=(1, 6, 9),
    )


def overlapping(rng):
    """What io_parallel alone can hold: windows that overlap or leave gaps, padding of signed values."""
    return chain(
        ir.MaxPool2d(3, stride=(1, 2), padding=1),
        ir.Conv2d(rng.normal(0, 1, (2, 1, 2, 2)) - 0.7, padding=1),
        ir.MaxPool2d((2, 4), ceil_mode=True),
        ir.IF(0.3),
        ir.MaxPool2d(2, stride=(1, 3), padding=1),
        shape=(1, 6, 9),
    )


@needs_compiler
@pytest.mark.parametrize(
    ("network", "precision", "io_type"),
    [
        (sums_of_three, "int5", "io_parallel"),
        (sums_of_three, "ap_fixed<9,3,AP_RND_CONV,AP_SAT>", "io_stream"),
        (overlapping, "ap_fixed<9,4>", "io_parallel"),
    ],
)
def test_csim_equals_simulation_for_divisors_and_windows_of_all_sorts(network, precision, io_type):
    pytest.importorskip("hls4ml")
    rng = np.random.default_rng(3)
    graph = network(rng)
    x = {"x": rng.normal(0, 1.5, (3, 4, *graph.inputs["x"].shape))}
    bound = bind_graph(graph, precision, x, 3)
    assert sum(own.spikes for own in run(graph, bound, x, 3).activity.values()), "the comparison would show nothing"
    found = csim(graph, bound, x, 3, io_type=io_type)
    assert found.equal, str(found.difference)


@pytest.mark.parametrize(
    ("node", "io_type", "says"),
    [
        (ir.MaxPool2d(2, dilation=2), "io_parallel", r"hls4ml's pooling has no dilation, and this one's is \(2, 2\)"),
        (ir.MaxPool2d(3, stride=2), "io_stream", r"side by side, and stride \(2, 2\) is not the kernel_size \(3, 3\)"),
        (ir.MaxPool2d(2, padding=1), "io_stream", r"only an unsigned input can be padded, and .* ap_fixed<8,4>"),
        (ir.MaxPool2d((2, 4), ceil_mode=True), "io_stream", "only an unsigned input can be padded"),
        (ir.AvgPool2d((1, 3), result_t="ap_fixed<4,2>"), "io_parallel", None),
        (ir.AvgPool2d(2, padding=1, count_include_pad=False), "io_parallel", "the divisors 1, 2, 4; hardware divides"),
        (ir.AvgPool2d((2, 4), ceil_mode=True), "io_parallel", "its windows have the divisors 4, 8"),
    ],
)
def test_what_hls4ml_cannot_hold_exactly_is_refused_with_the_reason(node, io_type, says):
    graph = chain(ir.Conv2d([[[[1.0]]]]), node, shape=(1, 6, 6))
    bound = bind_graph(graph, "ap_fixed<8,4>")
    if says is None:
        lower(graph, bound, io_type)
        return
    with pytest.raises(UnsupportedError, match=rf"node 'n1' \({node.kind}\): .*{says}"):
        lower(graph, bound, io_type)


def test_a_table_of_too_many_sums_is_refused():
    graph = chain(ir.Conv2d([[[[1.0]]]]), ir.AvgPool2d(3), shape=(1, 6, 6))
    with pytest.raises(
        UnsupportedError, match=r"divides by 9, no power of two, .* they have 18 bits, and tables end at 16"
    ):
        lower(graph, bind_graph(graph, "ap_fixed<14,4>"))


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"kernel_size": 0}, "kernel_size must be one or two whole numbers of 1 or more, not 0"),
        ({"kernel_size": None}, "kernel_size must be one or two"),
        ({"stride": (2, 0)}, r"stride must be one or two whole numbers of 1 or more, not \(2, 0\)"),
        ({"padding": -1}, "padding must be one or two whole numbers of 0 or more"),
        ({"padding": 2}, r"padding must be at most half of kernel_size \(2, 2\), not \(2, 2\)"),
        ({"kernel_size": (3, 4), "padding": 2}, "padding must be at most half of kernel_size"),
        ({"ceil_mode": 1}, "ceil_mode must be True or False, not 1"),
    ],
)
def test_what_cannot_be_right_is_refused_with_the_field(kind, fields, says):
    with pytest.raises(GraphError, match=says):
        kind(**fields)


def test_further_refusals():
    with pytest.raises(GraphError, match="dilation must be one or two whole numbers of 1 or more"):
        ir.MaxPool2d(dilation=0)
    with pytest.raises(GraphError, match="count_include_pad must be True or False, not 'no'"):
        ir.AvgPool2d(count_include_pad="no")
    for kind in KINDS:
        with pytest.raises(GraphError, match=r"it takes inputs \(channels, h, w\), not \(4, 4\)"):
            kind(2).output_shape((4, 4))
        with pytest.raises(GraphError, match=r"the kernel \(5, 2\) does not fit inputs of 4 x 9"):
            kind((5, 2)).output_shape((1, 4, 9))


def test_stride_is_the_kernel_size_where_it_is_not_given():
    assert ir.MaxPool2d((2, 3)).stride == ir.AvgPool2d((2, 3)).stride == (2, 3)
    assert ir.AvgPool2d().kernel_size == (2, 2)
