import itertools
import shutil

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from windowing import TYPES, cast, chain, check_golden, fractions, golden, result, slow_convolution

from talon_lib import ir
from talon_lib.cost.counts import count
from talon_lib.errors import FormatError, GraphError, PrecisionError
from talon_lib.fixed import parse_type
from talon_lib.hls.csim import csim
from talon_lib.hls.lower import lower
from talon_lib.precision import describe_types
from talon_lib.simulate import bind_graph, run

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


def values(rng, *shape):
    """Small numbers, some of them 0."""
    return np.round(rng.normal(0, 0.7, shape), 3) * (rng.random(shape) < 0.8)


@st.composite
def convolutions(draw):
    """A Conv1d or Conv2d that fits its input, and that input's shape."""
    rng, rank = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.sampled_from([1, 2]))

    def each(low, high):
        return rng.integers(low, high, rank, endpoint=True).tolist()

    groups, per_group, rows = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    kernel, stride, padding, dilation = each(1, 3), each(1, 3), each(0, 2), each(1, 2)
    size = [d * (k - 1) + 1 + extra for d, k, extra in zip(dilation, kernel, each(0, 3), strict=True)]
    weight, bias = values(rng, groups * rows, per_group, *kernel), values(rng, groups * rows)
    kind = ir.Conv1d if rank == 1 else ir.Conv2d
    fields = [values_[0] if rank == 1 else values_ for values_ in (stride, padding, dilation)]
    x = values(rng, 2, groups * per_group, *size)
    return kind(weight, bias, *fields, groups), x, (stride, padding, dilation)


# --- what they compute ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Conv1d", "Conv2d", "SepConv2d"])
def test_float_is_what_pytorch_computes(kind):
    for case in golden(kind):
        check_golden(case)


@settings(max_examples=60)
@given(convolutions(), TYPES)
def test_fixed_point_and_counts_are_those_of_a_slow_loop_over_fractions(drawn, number):
    node, x, geometry = drawn
    graph = chain(node, shape=x.shape[1:])
    try:
        bound = bind_graph(graph, number)
    except PrecisionError:  # the sum is too wide, said before anything runs
        return
    done = run(graph, bound, {"x": x}, 1)
    kind = parse_type(number)

    def rounded(tensor):
        exact = fractions(np.asarray(tensor, np.float32))
        for place in np.ndindex(exact.shape):
            exact[place] = cast(exact[place], kind)
        return exact

    weight, bias = rounded(node.weight), rounded(node.bias)
    effective = 0
    for sample, found in zip(x, done.outputs["y"][0], strict=True):
        inputs = fractions(sample)
        for place in np.ndindex(inputs.shape):
            inputs[place] = cast(inputs[place], kind)
        sums, macs, nonzero = slow_convolution(inputs, weight, bias, *geometry, node.groups)
        assert node.macs(sample.shape) == macs
        effective += nonzero
        for place in np.ndindex(sums.shape):
            assert fractions(found)[place] == cast(sums[place], kind)
    assert done.activity["n0"].effective_macs == effective


def separable(rng, **fields):
    return ir.SepConv2d(values(rng, 3, 1, 2, 3), values(rng, 4, 3, 1, 1), values(rng, 3), values(rng, 4), **fields)


@pytest.mark.parametrize("precision", ["ap_fixed<9,4,AP_RND,AP_SAT>", "fp16"])
def test_a_separable_convolution_is_two_with_a_cast_between(precision):
    rng = np.random.default_rng(3)
    fields = {"stride": (1, 2), "padding": (1, 2), "dilation": (2, 1)}
    node, x = separable(rng, **fields), values(rng, 4, 3, 5, 6)
    depthwise = ir.Conv2d(node.depthwise_weight, node.depthwise_bias, groups=3, **fields)
    pointwise = ir.Conv2d(node.pointwise_weight, node.pointwise_bias)
    single, double = chain(node, shape=(3, 5, 6)), chain(depthwise, pointwise, shape=(3, 5, 6))
    one, other = (run(g, bind_graph(g, precision), {"x": x}, 1) for g in (single, double))
    np.testing.assert_array_equal(one.outputs["y"], other.outputs["y"])
    assert one.activity["n0"].effective_macs == sum(other.activity[n].effective_macs for n in ("n0", "n1"))
    assert node.macs((3, 5, 6)) == depthwise.macs((3, 5, 6)) + pointwise.macs(double.input_shapes["n1"])


def test_on_spikes_the_depthwise_half_accumulates_and_the_pointwise_half_multiplies():
    rng = np.random.default_rng(5)
    node = separable(rng)
    depthwise, pointwise = (
        ir.Conv2d(node.depthwise_weight, node.depthwise_bias, groups=3),
        ir.Conv2d(node.pointwise_weight, node.pointwise_bias),
    )
    single, double = (chain(ir.IF(0.5), *nodes, shape=(3, 5, 6)) for nodes in ([node], [depthwise, pointwise]))
    x = {"x": values(rng, 4, 3, 5, 6)}
    one, other = (run(g, bind_graph(g, "fp32"), x, 2).activity for g in (single, double))
    assert one["n1"].effective_acs == other["n1"].effective_acs > 0
    assert one["n1"].effective_macs == other["n2"].effective_macs > 0 == other["n2"].effective_acs


def test_each_stage_of_a_separable_convolution_may_need_another_accumulator():
    node = ir.SepConv2d(np.ones((2, 1, 1, 1)), np.ones((1, 2, 1, 1)))
    graph = chain(node, shape=(2, 1, 1))
    mapping = {"weight": "ap_fixed<8,2>", "input": "ap_fixed<40,20>", "result": "ap_fixed<8,4>"}
    bound = bind_graph(graph, mapping)
    found = lower(graph, bound).precision
    assert found["n0_stage1"]["accum"] != found["n0"]["accum"]
    assert found["n0_stage1"]["accum"] == bound["n0"].span.ap_fixed(), "the widest is the one that is checked"


def test_wide_sums_take_integers_and_wider_ones_are_refused():
    rng = np.random.default_rng(2)
    node, x = ir.Conv2d(values(rng, 2, 1, 2, 2)), values(rng, 2, 1, 3, 3)
    number = parse_type("ap_fixed<28,6>")
    weight, bias = (fractions(number.cast(tensor)) for tensor in (node.weight, node.bias))
    found = result(node, x, "ap_fixed<28,6>")
    for sample, given_ in zip(x, found, strict=True):
        sums, _, _ = slow_convolution(fractions(number.cast(sample)), weight, bias, (1, 1), (0, 0), (1, 1), 1)
        assert [cast(total, number) for total in sums.ravel()] == list(fractions(given_).ravel())
    with pytest.raises(PrecisionError, match=r"node 'n0' \(Conv2d\): an exact sum would need"):
        result(node, x, "ap_fixed<40,6>")


def test_weights_count_as_talon_counts_them():
    graph = chain(ir.Conv2d(np.ones((2, 1, 3, 2)), padding=1), shape=(1, 4, 4))
    counts = count(graph, bind_graph(graph, "ap_fixed<8,4>"))["n0"]
    assert (counts.weights, counts.weight_bits) == (12, (12 + 2) * 8)
    assert describe_types(bind_graph(graph, "ap_fixed<8,4>"))["n0"]["weight"] == "ap_fixed<8,4>"


# --- hardware ---------------------------------------------------------------------------------------------------------


def one_dimensional(rng):
    return chain(
        ir.Conv1d(values(rng, 4, 2, 3), values(rng, 4), stride=2, padding=2),
        ir.IF(0.4),
        ir.Conv1d(values(rng, 4, 2, 2), values(rng, 4), dilation=2, groups=2, padding=1),
        ir.Conv1d(values(rng, 3, 4, 1), values(rng, 3), stride=2, padding=1),
        ir.IF(0.3),
        ir.Conv1d(values(rng, 2, 3, 1)),
        shape=(2, 9),
    )


def two_dimensional(rng):
    return chain(
        ir.Conv2d(values(rng, 3, 1, 1, 2), values(rng, 3), stride=(1, 3), padding=(1, 0)),
        ir.IF(0.2),
        ir.SepConv2d(
            values(rng, 3, 1, 3, 2), values(rng, 4, 3, 1, 1), values(rng, 3), values(rng, 4), 1, (1, 1), (2, 1)
        ),
        ir.Conv2d(values(rng, 4, 2, 2, 1), values(rng, 4), stride=2, padding=(0, 1), groups=2),
        ir.IF(0.2),
        ir.Conv2d(values(rng, 2, 4, 1, 1), values(rng, 2), stride=(3, 2), padding=(1, 0)),
        ir.Conv2d(values(rng, 2, 2, 1, 2), values(rng, 2), stride=(2, 1), padding=(2, 1)),  # hls4ml streams it wrong
        shape=(1, 6, 11),
    )


@needs_compiler
@pytest.mark.parametrize(("precision", "io_type"), [("ap_fixed<10,4>", "io_parallel"), ("int8", "io_stream")])
@pytest.mark.parametrize("network", [one_dimensional, two_dimensional])
def test_csim_equals_simulation(network, precision, io_type):
    pytest.importorskip("hls4ml")
    rng = np.random.default_rng(6)
    graph = network(rng)
    x = {"x": rng.normal(0, 1.0, (3, 4, *graph.inputs["x"].shape))}
    bound = bind_graph(graph, precision, x, 3)
    seen = run(graph, bound, x, 3)
    assert all(seen.activity[name].spikes for name in ("n1", "n4")), "the comparison would show nothing"
    found = csim(graph, bound, x, 3, io_type=io_type)
    assert found.equal, str(found.difference)


# --- what is refused --------------------------------------------------------------------------------------------------

W1, W2 = np.ones((4, 2, 3)), np.ones((4, 2, 3, 2))
D, P = np.ones((2, 1, 3, 3)), np.ones((4, 2, 1, 1))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ir.Conv1d(W2), r"weight must have 3 dimension\(s\), not shape \(4, 2, 3, 2\)"),
        (lambda: ir.Conv2d(W1), "weight must have 4 dimension"),
        (lambda: ir.Conv2d(np.full((1, 1, 1, 1), np.nan)), "weight holds NaN"),
        (lambda: ir.Conv1d(W1, np.ones(3)), r"bias must have shape \(4,\) to fit weight \(4, 2, 3\), not \(3,\)"),
        (lambda: ir.Conv1d(W1, stride=0), "stride must be a whole number of 1 or more, not 0"),
        (lambda: ir.Conv1d(W1, stride=(1, 2)), "stride must be a whole number"),
        (lambda: ir.Conv1d(W1, padding=-1), "padding must be a whole number of 0 or more, not -1"),
        (lambda: ir.Conv1d(W1, dilation=1.5), "dilation must be a whole number of 1 or more, not 1.5"),
        (lambda: ir.Conv2d(W2, stride=(1, 0)), r"stride must be one or two whole numbers of 1 or more, not \(1, 0\)"),
        (lambda: ir.Conv2d(W2, padding="same"), "padding must be one or two whole numbers"),
        (lambda: ir.Conv2d(W2, padding=(1, 2, 3)), "padding must be one or two"),
        (lambda: ir.Conv2d(W2, dilation=0), "dilation must be one or two whole numbers of 1 or more, not 0"),
        (lambda: ir.Conv2d(W2, groups=3), "groups must divide the 4 output channels, not 3"),
        (lambda: ir.Conv1d(W1, groups=0), "groups must divide the 4 output channels, not 0"),
        (lambda: ir.Conv1d(W1, groups=2.0), "groups must divide the 4 output channels, not 2.0"),
        (
            lambda: ir.SepConv2d(np.ones((2, 2, 3, 3)), P),
            r"depthwise_weight must have shape \(in_channels, 1, kh, kw\)",
        ),
        (lambda: ir.SepConv2d(D[:, 0], P), "depthwise_weight must have 4 dimension"),
        (lambda: ir.SepConv2d(D, np.ones((4, 3, 1, 1))), r"pointwise_weight must have shape \(out_channels, 2, 1, 1\)"),
        (lambda: ir.SepConv2d(D, np.ones((4, 2, 2, 1))), "pointwise_weight must have shape"),
        (lambda: ir.SepConv2d(D, P, np.ones(4)), r"depthwise_bias must have shape \(2,\)"),
        (lambda: ir.SepConv2d(D, P, None, np.ones(2)), r"pointwise_bias must have shape \(4,\)"),
        (lambda: ir.SepConv2d(D, P, stride=0), "stride must be one or two"),
        (lambda: ir.Conv1d(W1).output_shape((3, 9)), r"weight \(4, 2, 3\) takes inputs \(2, w\), not \(3, 9\)"),
        (lambda: ir.Conv1d(W1, groups=2).output_shape((2, 9)), r"with 2 groups takes inputs \(4, w\)"),
        (lambda: ir.Conv1d(W1).output_shape((2, 9, 9)), r"takes inputs \(2, w\), not \(2, 9, 9\)"),
        (lambda: ir.Conv2d(W2).output_shape((2, 9)), r"takes inputs \(2, h, w\), not \(2, 9\)"),
        (lambda: ir.SepConv2d(D, P).output_shape((3, 9, 9)), r"depthwise_weight \(2, 1, 3, 3\).* \(2, h, w\), not"),
        (lambda: ir.Conv2d(W2).output_shape((2, 2, 9)), r"kernel \(3, 2\) does not fit inputs of 2 x 9"),
        (
            lambda: ir.Conv1d(W1, dilation=4).output_shape((2, 8)),
            r"with dilation \(1, 4\) does not fit inputs of 1 x 8",
        ),
    ],
)
def test_what_cannot_be_right_is_refused_with_the_field(make, says):
    with pytest.raises(GraphError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_fields_have_their_stored_form():
    node = ir.Conv2d(W2, stride=2, padding=np.array([1, 0]), groups=np.int64(2))
    assert (node.stride, node.padding, node.dilation, node.groups) == ((2, 2), (1, 0), (1, 1), 2)
    assert type(node.groups) is int
    assert node.bias.tolist() == [0.0] * 4
    assert ir.Conv1d(W1, stride=np.array([3])).stride == 3
    assert ir.SepConv2d(D, P).pointwise_bias.shape == (4,)


# --- NIR --------------------------------------------------------------------------------------------------------------


def test_nir_keeps_convolutions_pools_and_their_neurons(tmp_path):
    rng = np.random.default_rng(4)
    two = chain(
        ir.Conv2d(values(rng, 4, 1, 3, 2), values(rng, 4), stride=(1, 2), padding=(1, 0), dilation=(1, 2), groups=2),
        ir.LIF(tau=[2.0, 3.0, 4.0, 5.0], r=1.0, v_leak=0.0, v_threshold=0.5),
        ir.AvgPool2d((2, 3), stride=(1, 2), padding=(1, 1)),
        shape=(2, 5, 9),
    )
    one = chain(ir.Conv1d(values(rng, 2, 3, 3), values(rng, 2), 2, 1, 2), ir.IF(0.5), shape=(3, 9))
    for graph in (one, two):
        ir.write(tmp_path / "a.nir", graph)
        read = ir.read(tmp_path / "a.nir")
        for name in set(graph.nodes) - {"n1"}:
            assert {k: np.asarray(v).tolist() for k, v in vars(read.nodes[name]).items()} == {
                k: np.asarray(v).tolist() for k, v in vars(graph.nodes[name]).items()
            }
        x = rng.normal(size=(5, *graph.inputs["x"].shape))
        before, after = (run(g, bind_graph(g, "ap_fixed<12,4>"), {"x": x}, 4) for g in (graph, read))
        np.testing.assert_array_equal(before.outputs["y"], after.outputs["y"])
        assert before.outputs["y"].any()


def nir_file(tmp_path, node, n_in, n_out, **after):
    nodes = {"x": nir.Input(np.array(n_in)), "node": node, **after, "y": nir.Output(np.array(n_out))}
    names = list(nodes)
    path = tmp_path / "a.nir"
    nir.write(path, nir.NIRGraph(nodes, list(itertools.pairwise(names)), type_check=False))
    return path


def conv2d(padding, kernel=(3, 5), stride=1, dilation=1, shape=(6, 7)):
    return nir.Conv2d(shape, np.ones((1, 1, *kernel)), stride, padding, dilation, 1, np.zeros(1))


def test_nir_padding_in_words(tmp_path):
    path = nir_file(tmp_path, conv2d("same", dilation=(2, 1), shape=(3, 3)), (1, 6, 7), (1, 6, 7))
    assert ir.read(path).nodes["node"].padding == (2, 2), "the input_shape of the file is not looked at"
    assert ir.read(nir_file(tmp_path, conv2d("valid"), (1, 6, 7), (1, 4, 3))).nodes["node"].padding == (0, 0)
    line = nir.Conv1d(8, np.ones((1, 1, 3)), 1, "same", 3, 1, np.zeros(1))
    assert ir.read(nir_file(tmp_path, line, (1, 8), (1, 8))).nodes["node"].padding == 3
    with pytest.raises(FormatError, match=r"node 'node' \(NIR Conv2d\): padding 'same' of kernel \(2, 3\) is uneven"):
        ir.read(nir_file(tmp_path, conv2d("same", (2, 3)), (1, 6, 7), (1, 6, 7)))
    with pytest.raises(FormatError, match="padding 'same' is defined for stride 1 alone"):
        ir.read(nir_file(tmp_path, conv2d("same", stride=2), (1, 6, 7), (1, 6, 7)))


def neurons(r):
    full = {"tau": np.full(r.shape, 0.01), "v_leak": np.zeros(r.shape), "v_threshold": np.ones(r.shape)}
    return nir.LIF(r=r, **full, v_reset=np.zeros(r.shape))


def test_a_gain_is_folded_into_the_convolution_before_if_it_is_one_of_a_channel(tmp_path):
    node = nir.Conv2d((2, 3), np.ones((2, 1, 1, 1)), 1, 0, 1, 1, np.ones(2))
    r = np.broadcast_to(np.array([3.0, 5.0])[:, None, None], (2, 2, 3)).copy()
    read = ir.read(nir_file(tmp_path, node, (1, 2, 3), (2, 2, 3), lif=neurons(r)), dt=0.001).nodes["node"]
    np.testing.assert_allclose(read.weight.ravel(), [0.3, 0.5], rtol=1e-6)
    np.testing.assert_allclose(read.bias, [0.3, 0.5], rtol=1e-6)
    r[0, 0, 0] = 4.0
    within = ir.read(nir_file(tmp_path, node, (1, 2, 3), (2, 2, 3), lif=neurons(r)), dt=0.001)
    np.testing.assert_array_equal(within.nodes["node"].weight, node.weight)
    np.testing.assert_allclose(within.nodes["lif.gain"].scale, r / 10, rtol=1e-6)


def test_nir_does_not_hold_every_pool(tmp_path):
    for fields in ({"ceil_mode": True}, {"padding": 1, "count_include_pad": False}):
        graph = chain(ir.AvgPool2d(2, **fields), shape=(1, 5, 5))
        with pytest.raises(FormatError, match="node 'n0': NIR's AvgPool2d has neither ceil_mode nor"):
            ir.write(tmp_path / "b.nir", graph)
    ir.write(tmp_path / "b.nir", chain(ir.AvgPool2d(2, ceil_mode=True, count_include_pad=False), shape=(1, 4, 4)))
