import json
import math
import shutil
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from talon_lib import ir
from talon_lib.cost.counts import count
from talon_lib.errors import GraphError, PrecisionError, UnsupportedError
from talon_lib.fixed import FP16, FP32, FixedType, fit, parse_type
from talon_lib.hls.csim import csim
from talon_lib.hls.lower import lower
from talon_lib.ir.activation import Tabulated, table
from talon_lib.ir.node import Operations, primitives
from talon_lib.precision import Precision, assign
from talon_lib.simulate import bind_graph, run

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "activations.json").read_text())["cases"]
KINDS = {"ReLU", "PReLU", "Sigmoid", "Tanh", "GELU", "ELU", "Softmax", "Dropout", "SpikingAffine"}


def chain(shape, *nodes):
    """The nodes one after the other, between an Input and an Output; their names are their kinds and places."""
    named = {f"{node.kind.lower()}{i}": node for i, node in enumerate(nodes)}
    out = shape
    for node in nodes:
        out = node.output_shape(out)
    nodes = {"x": ir.Input(shape), **named, "y": ir.Output(out)}
    return ir.Graph(nodes, list(pairwise(nodes)))


def result_of(node, x, precision):
    """What the node makes of ``x`` (with a batch) in one step."""
    graph = chain(x.shape[1:], node)
    return run(graph, bind_graph(graph, precision, {"x": x}), {"x": x}, 1).last["y"]


def all_codes(number):
    """Every value of a type, in order."""
    return np.arange(number.min, number.max + number.step, number.step)


# --- float ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [case for case in GOLDEN if case["kind"] in KINDS], ids=lambda case: case["kind"])
def test_float_equals_torch(case):
    x = np.reshape(case["x"], (2, *case["shape"]))
    found = result_of(primitives()[case["kind"]](**case["arguments"]), x, "fp32")
    # torch takes 1 + erf in float32, which far left of zero has lost most of its digits
    np.testing.assert_allclose(found, np.reshape(case["y"], found.shape), rtol=3e-6, atol=1e-6)


def test_every_activation_has_golden_vectors():
    assert {case["kind"] for case in GOLDEN} >= KINDS


@pytest.mark.parametrize("node", [ir.Sigmoid(), ir.Tanh(), ir.GELU(), ir.GELU(approximate=False), ir.ELU()])
def test_nothing_overflows_far_from_zero(node):
    far = result_of(node, np.array([[-3e38, -800.0, 800.0, 3e38]]), "fp32")[0]
    ends = {"Sigmoid": [0, 0, 1, 1], "Tanh": [-1, -1, 1, 1], "GELU": [0, 0, 800, 3e38], "ELU": [-1, -1, 800, 3e38]}
    np.testing.assert_allclose(far, ends[node.kind], rtol=1e-7)


def test_softmax_of_large_inputs_is_finite():
    found = result_of(ir.Softmax(), np.array([[1e30, 1e30, -1e30]]), "fp32")
    np.testing.assert_allclose(found, [[0.5, 0.5, 0.0]])


# --- fixed point ------------------------------------------------------------------------------------------------------


def gelu_tanh(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


FORMULAS = [
    (ir.Sigmoid(), lambda x: 1 / (1 + math.exp(-x))),
    (ir.Tanh(), math.tanh),
    (ir.GELU(), gelu_tanh),
    (ir.GELU(approximate=False), lambda x: x * math.erfc(-x / math.sqrt(2)) / 2),
    (ir.ELU(), lambda x: x if x > 0 else math.exp(x) - 1),
    (ir.ELU(alpha=0.75), lambda x: x if x > 0 else 0.75 * (math.exp(x) - 1)),
]


@pytest.mark.parametrize(
    "given", ["ap_fixed<8,4>", "ap_ufixed<6,2>", "ap_fixed<1,1>", "ap_fixed<5,-1>", "ap_fixed<3,5>"]
)
@pytest.mark.parametrize("made", ["ap_fixed<9,2,AP_TRN,AP_SAT>", "ap_ufixed<5,0,AP_TRN,AP_SAT>"])
@pytest.mark.parametrize(("node", "formula"), FORMULAS, ids=lambda value: getattr(value, "kind", ""))
def test_a_table_holds_the_rounded_function_at_every_code(node, formula, given, made):
    number, result = parse_type(given), parse_type(made)
    inputs = all_codes(number)
    assert len(inputs) == 2**number.width
    found = result_of(node, inputs[None], {"weight": given, "input": given, "result": made})[0]
    steps = [math.floor(Fraction(formula(x)) / Fraction(result.step)) for x in inputs.tolist()]
    np.testing.assert_array_equal(found, np.clip(np.array(steps) * result.step, result.min, result.max))


@pytest.mark.parametrize("rounding", ["AP_RND", "AP_RND_CONV", "AP_TRN_ZERO"])
def test_the_table_is_the_function_cast_in_the_order_of_the_bits(rounding):
    number, result = parse_type("ap_fixed<7,3>"), parse_type(f"ap_fixed<6,1,{rounding},AP_SAT_SYM>")
    node = ir.Tanh()
    made = table(node, number, result)
    assert not made.flags.writeable
    for x in all_codes(number):
        assert made[int(number.code(x)) % 128] == result.cast(math.tanh(x))


def test_inputs_too_wide_for_a_table_are_simulated_from_the_function():
    x = np.array([[0.123456789, -1.5, 3.0]])
    number = parse_type("ap_fixed<20,4>")
    found = result_of(ir.Tanh(), x, "ap_fixed<20,4>")
    np.testing.assert_array_equal(found, number.cast(np.tanh(number.cast(x))))


def test_softmax_in_fixed_point_is_the_quotient_cast_once():
    number = parse_type("ap_fixed<10,3>")
    x = np.random.default_rng(5).uniform(-3, 3, (6, 4, 2))
    powers = np.exp(number.cast(x))
    expected = number.cast(powers / powers.sum(axis=1, keepdims=True))
    np.testing.assert_array_equal(result_of(ir.Softmax(dim=0), x, "ap_fixed<10,3>"), expected)


@pytest.mark.parametrize("width", [8, 16, 30])  # float32, float64 and long integers
@pytest.mark.parametrize("shape", [(), (1,), (3,), (3, 2, 2)])
def test_prelu_in_fixed_point_is_one_exact_product_and_one_cast(width, shape):
    rng = np.random.default_rng(width)
    slopes = rng.uniform(-2, 2, shape)
    number = FixedType(width, 4)
    x = number.cast(rng.uniform(-8, 8, (5, 3, 2, 2)))
    found = result_of(ir.PReLU(3, slopes), x, str(number))
    held = number.cast(np.float32(slopes))
    each = np.broadcast_to(held.reshape(3, 1, 1) if shape == (3,) else held, (3, 2, 2))
    for index in np.ndindex(x.shape):
        exact = Fraction(x[index]) * (Fraction(each[index[1:]]) if x[index] < 0 else 1)
        code = math.floor(exact / Fraction(number.step))
        code = (code + 2 ** (width - 1)) % 2**width - 2 ** (width - 1)
        assert found[index] == code * number.step


def test_dropout_passes_values_and_their_type():
    graph = chain((4,), ir.Sigmoid(), ir.Dropout(4, p=1.0))
    x = {"x": np.random.default_rng(0).normal(0, 1, (3, 4))}
    bound = bind_graph(graph, "int6", x)
    assert bound["dropout1"].types.result == bound["sigmoid0"].types.result
    seen = []
    run(graph, bound, x, 1, observers=(lambda t, name, y, v, x: seen.append((name, y)),))
    np.testing.assert_array_equal(dict(seen)["dropout1"], dict(seen)["sigmoid0"])


# --- SpikingAffine ----------------------------------------------------------------------------------------------------


def spiking(**fields):
    rng = np.random.default_rng(4)
    return ir.SpikingAffine(rng.normal(0, 0.6, (3, 5)), rng.normal(0, 0.2, 3), **fields)


SPIKES = {"x": np.random.default_rng(6).integers(0, 2, (40, 5)).astype(float)}


@pytest.mark.parametrize("precision", ["ap_fixed<20,8>", "int4", "int16", "ap_ufixed<1,1>"])
def test_spiking_affine_brings_its_own_bits_to_fixed_point(precision):
    graph = chain((5,), spiking(weight_bits=5, accumulator_bits=13))
    node = graph.nodes["spikingaffine0"]
    types = bind_graph(graph, precision, SPIKES)["spikingaffine0"].types
    shown = SPIKES["x"] @ node.weight.T.astype(float) + node.bias
    assert types.weight == fit(node.weight, 5)
    assert types.bias == fit(node.bias, 13)
    assert types.result == fit(np.float32(shown), 13)
    assert (types.result.rounding, types.result.overflow) == ("AP_RND", "AP_SAT")


@pytest.mark.parametrize(("precision", "number"), [("fp32", FP32), ("fp16", FP16)])
def test_floating_point_is_not_touched_by_the_bits_of_a_spiking_affine(precision, number):
    types = bind_graph(chain((5,), spiking()), precision)["spikingaffine0"].types
    assert (types.weight, types.bias, types.result) == (number, number, number)


def test_the_types_on_a_spiking_affine_win_over_its_bits():
    node = spiking(weight_t="ap_fixed<9,3>", bias_t="ap_fixed<7,2>", result_t="ap_fixed<11,5>")
    types = assign(chain((5,), node), Precision.parse("ap_fixed<16,6>"))["spikingaffine0"].types  # no calibration
    assert [str(t) for t in (types.weight, types.bias, types.result)] == [
        "ap_fixed<9,3>",
        "ap_fixed<7,2>",
        "ap_fixed<11,5>",
    ]


def test_a_graph_with_bits_of_its_own_needs_calibration_at_any_fixed_point():
    graph = chain((5,), spiking())
    with pytest.raises(PrecisionError, match="needs calibration samples"):
        assign(graph, Precision.parse("ap_fixed<16,6>"))
    assign(graph, Precision.parse("fp32"))


def test_spiking_affine_counts_as_an_affine_and_nothing_else_here_counts():
    graph = chain((5,), spiking(), ir.PReLU(3, np.ones(3)), ir.Sigmoid(), ir.Softmax(), ir.Dropout(3))
    counts = count(graph, bind_graph(graph, "int8", SPIKES))
    assert [c.macs_per_step for c in counts.values()] == [15, 0, 0, 0, 0]
    assert counts["spikingaffine0"].weight_bits == 15 * 8 + 3 * 16
    x = np.array([[0, 1, 0, 1, 1.0]])
    bound = bind_graph(graph, "fp32")["spikingaffine0"]
    assert graph.nodes["spikingaffine0"].effective_operations(x, bound) == Operations(macs=9, reached_macs=9)


def test_slopes_of_several_dimensions_are_not_taken_for_synapses():
    graph = chain((2, 3), ir.PReLU(2, np.ones((2, 3))))
    counts = count(graph)["prelu0"]
    assert (counts.weights, counts.weight_bits) == (0, 6 * 32)


# --- C simulation -----------------------------------------------------------------------------------------------------


def everything(seed):
    """Every activation that lowers: on (C, H, W), after a Flatten, on one dimension, on spikes; two outputs."""
    rng = np.random.default_rng(seed)
    nodes = {
        "x": ir.Input((3, 2, 4)),
        "by channel": ir.PReLU(3, rng.normal(0, 1, 3)),
        "sigmoid": ir.Sigmoid(3),
        "by value": ir.PReLU(None, rng.normal(0, 1, (3, 2, 4))),
        "elu": ir.ELU(alpha=0.7),
        "dropout": ir.Dropout(3),
        "flatten": ir.Flatten(),
        "gelu": ir.GELU(24),
        "flat": ir.PReLU(24, rng.normal(0, 1, 24)),
        "affine": ir.SpikingAffine(
            rng.normal(0, 0.6, (4, 24)), rng.normal(0, 1, 4), weight_bits=6, accumulator_bits=11
        ),
        "tanh": ir.Tanh(4),
        "one": ir.PReLU(None, 0.25),
        "erf": ir.GELU(approximate=False),
        "y": ir.Output((4,)),
        "lif": ir.LIF(tau=2.0, r=1.0, v_leak=0.0, v_threshold=0.2),
        "of spikes": ir.Sigmoid(),
        "z": ir.Output((24,)),
    }
    names = list(nodes)
    edges = list(pairwise(names[:14]))
    edges += [("flatten", "lif"), ("lif", "of spikes"), ("of spikes", "z")]
    return ir.Graph(nodes, edges)


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize(
    ("precision", "io_type"),
    [("ap_fixed<9,4,AP_RND,AP_SAT>", "io_stream"), ("ap_fixed<11,4>", "io_parallel"), ("int4", "io_stream")],
)
def test_csim_equals_simulation(precision, io_type):
    pytest.importorskip("hls4ml")
    graph = everything(len(precision))
    inputs = {"x": np.random.default_rng(1).normal(0, 1.5, (30, 3, 2, 4))}
    result = csim(graph, bind_graph(graph, precision, inputs, 2), inputs, 2, io_type=io_type)
    assert result.equal, str(result.difference)
    assert result.values == 30 * 2 * (4 + 24 + 2 * 24)


def test_a_table_of_every_code_goes_to_hardware():
    graph = chain((3,), ir.Tanh(), ir.Sigmoid())
    layers = {layer["name"]: layer for layer in lower(graph, bind_graph(graph, "ap_fixed<12,3>")).layers}
    assert [len(layers[name]["table_data"]) for name in ("tanh0", "sigmoid1")] == [4096, 4096]
    assert lower(graph, bind_graph(graph, "ap_fixed<12,3>")).precision["tanh0"] == {
        "table": "ap_fixed<12,3>",
        "result": "ap_fixed<12,3>",
    }


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", [ir.Sigmoid(), ir.Tanh(), ir.GELU(), ir.ELU()], ids=lambda node: node.kind)
def test_a_table_of_more_than_16_bits_is_refused(node):
    graph = chain((3,), node)
    lower(graph, bind_graph(graph, "ap_fixed<16,4>"))
    with pytest.raises(UnsupportedError, match=r"node '.*: its table .* ap_fixed<17,4> has more than 16 bits"):
        lower(graph, bind_graph(graph, "ap_fixed<17,4>"))


def test_softmax_is_refused_with_the_reason():
    graph = chain((3,), ir.Softmax())
    with pytest.raises(UnsupportedError, match=r"node 'softmax0'.*: hls4ml's Softmax .* not the value"):
        lower(graph, bind_graph(graph, "ap_fixed<12,4>"))


NAN = float("nan")
WRONG = [
    (lambda: ir.Sigmoid(0), "features must be a whole number of 1 or more, not 0"),
    (lambda: ir.Tanh(2.5), "features must be a whole number"),
    (lambda: ir.GELU("many"), "features must be a whole number"),
    (lambda: ir.GELU(3, approximate="tanh"), "approximate must be True or False, not 'tanh'"),
    (lambda: ir.ELU(alpha=NAN), "alpha must be a finite number, not nan"),
    (lambda: ir.ELU(alpha=float("inf")), "alpha must be a finite number, not inf"),
    (lambda: ir.ELU(alpha=None), "alpha must be a finite number, not None"),
    (lambda: ir.ReLU(negative_slope=NAN), "negative_slope must be a finite number"),
    (lambda: ir.PReLU(3, [0.1, NAN, 0.2]), "weight holds NaN or infinity"),
    (lambda: ir.PReLU(3, [0.1, 0.2]), r"weight has shape \(2,\), which does not fit features 3"),
    (lambda: ir.PReLU(3, []), "weight is empty"),
    (lambda: ir.Dropout(3, p=1.5), "p must be within 0 to 1, not 1.5"),
    (lambda: ir.Dropout(3, p=-0.1), "p must be within 0 to 1, not -0.1"),
    (lambda: ir.Dropout(3, p=NAN), "p must be a finite number, not nan"),
    (lambda: ir.Softmax(3, dim=0.5), "dim must be a whole number, not 0.5"),
    (lambda: spiking(spike_mode="ternary"), "spike_mode must be one of binary, graded, rate, not 'ternary'"),
    (lambda: spiking(weight_bits=0), "weight_bits must be a whole number of 1 to 32, not 0"),
    (lambda: spiking(weight_bits=33), "weight_bits must be a whole number of 1 to 32, not 33"),
    (lambda: spiking(accumulator_bits=54), "accumulator_bits must be a whole number of 1 to 53, not 54"),
    (lambda: spiking(accumulator_bits=8.0), "accumulator_bits must be a whole number"),
    (lambda: ir.SpikingAffine(np.ones((2, 3)), np.ones(3)), r"bias must have shape \(2,\)"),
]


@pytest.mark.parametrize(("make", "said"), WRONG)
def test_a_field_that_cannot_be_right_is_refused_by_name(make, said):
    with pytest.raises(GraphError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("node", "shape", "said"),
    [
        (ir.Sigmoid(4), (3, 4), r"features is 4, but inputs of shape \(3, 4\) arrive"),
        (ir.Dropout(4), (3,), "features is 4"),
        (ir.Softmax(dim=2), (3, 4), r"dim 2 is no dimension of the input \(3, 4\)"),
        (ir.Softmax(dim=-3), (3, 4), "dim -3 is no dimension"),
        (ir.Softmax(5), (3, 4), "features is 5"),
        (ir.PReLU(None, [0.1, 0.2]), (3, 4), r"weight has shape \(2,\), which fits neither the input \(3, 4\)"),
        (ir.PReLU(None, np.ones((4, 3))), (3, 4), "fits neither the input"),
        (ir.PReLU(4, 0.5), (3,), "features is 4"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(node, shape, said):
    nodes = {"x": ir.Input(shape), "n": node, "y": ir.Output(shape)}
    with pytest.raises(GraphError, match=f"node 'n'.*{said}"):
        _ = ir.Graph(nodes, [("x", "n"), ("n", "y")]).output_shapes


def test_all_tabulated_functions_are_tested_here():
    tabulated = {name for name, cls in primitives().items() if issubclass(cls, Tabulated)}
    assert tabulated == {node.kind for node, _ in FORMULAS}
