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
from talon_lib.errors import GraphError, UnsupportedError
from talon_lib.fixed import FixedType, parse_type
from talon_lib.hls.csim import csim
from talon_lib.hls.lower import lower
from talon_lib.ir.node import Operations, primitives
from talon_lib.simulate import bind_graph, run

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "activations.json").read_text())["cases"]
KINDS = {"BatchNorm1d", "BatchNorm2d", "LayerNorm"}


def alone(node, shape):
    nodes = {"x": ir.Input(shape), "norm": node, "y": ir.Output(shape)}
    return ir.Graph(nodes, [("x", "norm"), ("norm", "y")])


def result_of(node, x, precision):
    graph = alone(node, x.shape[1:])
    return run(graph, bind_graph(graph, precision, {"x": x}), {"x": x}, 1).last["y"]


def batch_norm(kind, n, seed=0, **fields):
    rng = np.random.default_rng(seed)
    parts = (rng.normal(0, 1, n), rng.normal(0, 0.5, n), rng.normal(0, 0.5, n), rng.uniform(0.2, 2, n))
    return kind(n, *parts, **fields)


# --- float ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [case for case in GOLDEN if case["kind"] in KINDS], ids=lambda case: case["kind"])
def test_float_equals_torch(case):
    x = np.reshape(case["x"], (2, *case["shape"]))
    expected = np.reshape(case["y"], x.shape)
    found = result_of(primitives()[case["kind"]](**case["arguments"]), x, "fp32")
    # both subtract numbers that are as large as the largest result
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=5e-7 * max(1.0, np.abs(expected).max()))


def test_every_norm_has_golden_vectors():
    assert {case["kind"] for case in GOLDEN} >= KINDS


def test_weight_and_bias_that_are_not_given_are_one_and_zero():
    x = np.random.default_rng(1).normal(0, 1, (4, 3))
    mean, variance = np.array([0.5, -1.0, 0.0]), np.array([1.0, 4.0, 0.25])
    found = result_of(ir.BatchNorm1d(3, None, None, mean, variance), x, "fp32")
    np.testing.assert_allclose(found, (x - mean) / np.sqrt(variance + 1e-5), rtol=1e-5, atol=1e-6)
    plain = result_of(ir.LayerNorm(3), x, "fp32")
    given = result_of(ir.LayerNorm([3], np.ones(3), np.zeros(3)), x, "fp32")
    np.testing.assert_array_equal(plain, given)


# --- fixed point ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [8, 16, 28])  # float32, float64 and long integers
@pytest.mark.parametrize(("kind", "rest"), [(ir.BatchNorm1d, ()), (ir.BatchNorm1d, (4,)), (ir.BatchNorm2d, (2, 3))])
def test_batch_norm_in_fixed_point_is_one_exact_sum_and_one_cast(kind, rest, width):
    node = batch_norm(kind, 3, seed=width)
    number = FixedType(width, 5)
    x = number.cast(np.random.default_rng(2).uniform(-9, 9, (4, 3, *rest)))
    found = result_of(node, x, str(number))
    scale = [float(w) / math.sqrt(float(v) + node.eps) for w, v in zip(node.weight, node.running_var, strict=True)]
    shift = [float(b) - float(m) * s for b, m, s in zip(node.bias, node.running_mean, scale, strict=True)]
    scale, shift = number.cast(scale), number.cast(shift)
    for index in np.ndindex(x.shape):
        exact = Fraction(x[index]) * Fraction(scale[index[1]]) + Fraction(shift[index[1]])
        code = math.floor(exact / Fraction(number.step))
        code = (code + 2 ** (width - 1)) % 2**width - 2 ** (width - 1)
        assert found[index] == code * number.step


def test_layer_norm_in_fixed_point_is_the_quotient_cast_once():
    rng = np.random.default_rng(3)
    weight, bias, x = rng.normal(0, 1, 6), rng.normal(0, 1, 6), rng.normal(0, 2, (5, 2, 6))
    number = parse_type("ap_fixed<12,4>")
    found = result_of(ir.LayerNorm(6, weight, bias), x, str(number))
    held = number.cast(x)
    parts = (held - held.mean(-1, keepdims=True)) / np.sqrt(held.var(-1, keepdims=True) + 1e-5)
    expected = number.cast(parts * number.cast(np.float32(weight)) + number.cast(np.float32(bias)))
    assert np.mean(found == expected) > 0.99  # var is summed in another order here
    np.testing.assert_allclose(found, expected, atol=number.step)


def test_no_norm_counts_synapses():
    for node, shape in [
        (batch_norm(ir.BatchNorm1d, 3), (3, 5)),
        (batch_norm(ir.BatchNorm2d, 3), (3, 2, 2)),
        (ir.LayerNorm((2, 4), np.ones((2, 4)), np.ones((2, 4))), (3, 2, 4)),
    ]:
        graph = alone(node, shape)
        counts = count(graph)["norm"]
        assert (counts.macs_per_step, counts.weights) == (0, 0)
        assert counts.weight_bits == 32 * (6 if node.kind != "LayerNorm" else 16)
        assert node.effective_operations(np.ones((2, *shape)), bind_graph(graph, "fp32")["norm"]) == Operations()


# --- C simulation -----------------------------------------------------------------------------------------------------


def everything():
    """On (C, H, W), behind a layer it could be fused into, after a Flatten, on (C, L), on spikes, and as x * 1 + 0."""
    rng = np.random.default_rng(8)
    nodes = {
        "x": ir.Input((3, 2, 4)),
        "first": batch_norm(ir.BatchNorm2d, 3, 1),
        "second": batch_norm(ir.BatchNorm2d, 3, 2, result_t="ap_fixed<12,5,AP_RND,AP_SAT>"),
        "identity": ir.BatchNorm2d(3, None, None, np.zeros(3), np.full(3, 0.9985)),
        "flatten": ir.Flatten(),
        "flat": batch_norm(ir.BatchNorm1d, 24, 3),
        "affine": ir.Affine(rng.normal(0, 0.5, (4, 24)), rng.normal(0, 1, 4)),
        "behind": batch_norm(ir.BatchNorm1d, 4, 4),
        "lif": ir.LIF(tau=2.0, r=1.0, v_leak=0.0, v_threshold=0.3),
        "spikes": batch_norm(ir.BatchNorm1d, 4, 5),
        "y": ir.Output((4,)),
        "line": ir.Input((3, 5)),
        "on line": batch_norm(ir.BatchNorm1d, 3, 6),
        "z": ir.Output((3, 5)),
    }
    names = list(nodes)
    edges = [*pairwise(names[:11]), *pairwise(names[11:])]
    return ir.Graph(nodes, edges)


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize(
    ("precision", "io_type"),
    [("ap_fixed<10,4,AP_RND,AP_SAT>", "io_stream"), ("ap_fixed<13,4>", "io_parallel"), ("int6", "io_parallel")],
)
def test_csim_equals_simulation(precision, io_type):
    pytest.importorskip("hls4ml")
    graph = everything()
    rng = np.random.default_rng(1)
    inputs = {"x": rng.normal(0, 1.5, (30, 3, 2, 4)), "line": rng.normal(0, 1.5, (30, 3, 5))}
    bound = bind_graph(graph, precision, inputs, 2)
    kinds = {layer["name"]: layer["class_name"] for layer in lower(graph, bound).layers}
    assert kinds["first"] == kinds["flat"] == "BatchNormalization"
    if precision != "int6":  # its scale of 1.0007 is rounded to 1
        assert kinds["identity"] == "PReLU"
    result = csim(graph, bound, inputs, 2, io_type=io_type)
    assert result.equal, str(result.difference)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_layer_norm_is_refused_with_the_reason():
    graph = alone(ir.LayerNorm(3), (3,))
    with pytest.raises(UnsupportedError, match=r"node 'norm'.*: hls4ml's LayerNormalization .* table"):
        lower(graph, bind_graph(graph, "ap_fixed<12,4>"))


NAN, ONE, ZERO = float("nan"), np.ones(3), np.zeros(3)
WRONG = [
    (lambda: ir.BatchNorm2d(3, np.ones(4), ZERO, ZERO, ONE), r"weight must have shape \(3,\) to fit num_features 3"),
    (lambda: ir.BatchNorm2d(3, ONE, np.ones((3, 1)), ZERO, ONE), r"bias must have 1 dimension"),
    (lambda: ir.BatchNorm1d(3, ONE, ZERO, [0, NAN, 0], ONE), "running_mean holds NaN or infinity"),
    (lambda: ir.BatchNorm1d(3, ONE, ZERO, np.zeros(2), ONE), r"running_mean must have shape \(3,\)"),
    (lambda: ir.BatchNorm1d(3, ONE, ZERO, ZERO, [1, -0.5, 1]), "running_var must not be negative; its least .* -0.5"),
    (lambda: ir.BatchNorm1d(3, ONE, ZERO, ZERO, None), "running_var"),
    (lambda: ir.BatchNorm1d(3, ONE, ZERO, ZERO, ONE, eps=0.0), "eps must be above 0, not 0.0"),
    (lambda: ir.BatchNorm1d(3, ONE, ZERO, ZERO, ONE, eps=-1e-5), "eps must be above 0"),
    (lambda: ir.BatchNorm1d(3, ONE, ZERO, ZERO, ONE, eps=NAN), "eps must be a finite number, not nan"),
    (lambda: ir.BatchNorm1d(3, ONE, ZERO, ZERO, ONE, momentum=NAN), "momentum must be a finite number"),
    (lambda: ir.BatchNorm1d(0, ONE, ZERO, ZERO, ONE), "num_features must be a whole number of 1 or more, not 0"),
    (lambda: ir.BatchNorm2d(None, ONE, ZERO, ZERO, ONE), "num_features must be a whole number"),
    (lambda: ir.LayerNorm((2, 4), np.ones(8)), r"weight must have 2 dimension"),
    (lambda: ir.LayerNorm((2, 4), None, np.ones((4, 2))), r"bias must have the normalized_shape \(2, 4\)"),
    (lambda: ir.LayerNorm(4, [1, 1, NAN, 1]), "weight holds NaN or infinity"),
    (lambda: ir.LayerNorm(4, eps=0), "eps must be above 0"),
    (lambda: ir.LayerNorm((0,)), "normalized_shape must have sizes of 1 or more"),
    (lambda: ir.LayerNorm("all"), "normalized_shape must be a shape"),
]


@pytest.mark.parametrize(("make", "said"), WRONG)
def test_a_field_that_cannot_be_right_is_refused_by_name(make, said):
    with pytest.raises(GraphError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("node", "shape", "said"),
    [
        (batch_norm(ir.BatchNorm1d, 3), (4,), r"num_features 3 takes inputs \(3\) or \(3, length\), not \(4,\)"),
        (batch_norm(ir.BatchNorm1d, 3), (3, 2, 2), "num_features 3 takes inputs"),
        (batch_norm(ir.BatchNorm2d, 3), (3,), r"num_features 3 takes inputs \(3, height, width\), not \(3,\)"),
        (batch_norm(ir.BatchNorm2d, 3), (2, 3, 3), "num_features 3 takes inputs"),
        (ir.LayerNorm(4), (4, 3), r"normalized_shape \(4,\) is not the end of the input \(4, 3\)"),
        (ir.LayerNorm((2, 4)), (4,), "is not the end of the input"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(node, shape, said):
    with pytest.raises(GraphError, match=f"node 'norm'.*{said}"):
        _ = alone(node, shape).output_shapes
