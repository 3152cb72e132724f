import shutil

import numpy as np
import pytest
from windowing import cast, chain, check_golden, fractions, golden, result

from talon_lib import ir
from talon_lib.errors import GraphError, UnsupportedError
from talon_lib.fixed import SPIKE, parse_type
from talon_lib.hls.csim import csim
from talon_lib.hls.lower import lower
from talon_lib.simulate import bind_graph, run

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


def test_float_is_what_pytorch_computes():
    cases = golden("Upsample")
    for case in cases:
        check_golden(case)
    arguments = [case["arguments"] for case in cases]
    assert {case.get("align_corners") for case in arguments if case["mode"] == "bilinear"} == {True, False}
    assert any("size" in case for case in arguments) and any("scale_factor" in case for case in arguments)


def test_nearest_copies_values_and_passes_their_type():
    graph = chain(ir.IF(0.5), ir.Upsample(scale_factor=(2, 3)), shape=(1, 2, 2))
    bound = bind_graph(graph, "ap_fixed<8,4>")
    assert bound["n1"].types.result == SPIKE
    spikes = run(graph, bound, {"x": [[[[1.0, 0.0], [0.0, 1.0]]]]}, 1).outputs["y"][0, 0, 0]
    np.testing.assert_array_equal(spikes, np.kron(np.eye(2), np.ones((2, 3))))


def test_bilinear_is_cast_once():
    number = parse_type("ap_fixed<7,3,AP_RND,AP_SAT>")
    x = np.array([[[[1.0, -2.5], [3.125, 0.4375]]]])
    found = result(ir.Upsample(mode="bilinear"), x, str(number))[0, 0]
    inputs = fractions(number.cast(x))[0, 0]
    quarters = [(0, 0), (0, 1), (0, 3), (1, 0)]  # where the places lie between the first value and the second, in 1/4
    for row, (down, low) in enumerate(quarters):
        for column, (across, left) in enumerate(quarters):
            y, z = (4 * down + low), (4 * across + left)
            total = sum(inputs[i, j] * (y if i else 4 - y) * (z if j else 4 - z) for i in range(2) for j in range(2))
            assert fractions(found)[row, column] == cast(total / 16, number)


def test_size_wins_over_scale_factor():
    assert ir.Upsample(scale_factor=2, size=(3, 7)).output_shape((1, 2, 2)) == (1, 3, 7)
    assert ir.Upsample(size=5).output_shape((1, 2, 2)) == (1, 5, 5)
    assert ir.Upsample(1.5).output_shape((2, 3, 4)) == (2, 4, 6)
    assert ir.Upsample().macs((1, 2, 2)) == 0


def test_pytorch_takes_places_in_float32():
    """41 * float32(1 / 41) is less than 1, so PyTorch copies the first value once more than it should."""
    x = np.array([[[[1.0, 2.0]]]])
    copies = result(ir.Upsample((1, 41)), x)[0, 0, 0].tolist()
    assert copies == [1.0] * 42 + [2.0] * 40
    graph = chain(ir.Conv2d([[[[1.0]]]]), ir.Upsample((1, 41)), shape=(1, 1, 2))
    with pytest.raises(UnsupportedError, match="node 'n1'"):
        lower(graph, bind_graph(graph, "ap_fixed<8,4>"))


@needs_compiler
@pytest.mark.parametrize(("precision", "io_type"), [("ap_fixed<10,4>", "io_parallel"), ("int8", "io_stream")])
def test_csim_equals_simulation(precision, io_type):
    pytest.importorskip("hls4ml")
    rng = np.random.default_rng(8)
    graph = chain(
        ir.Upsample((2, 3)),
        ir.Conv2d(rng.normal(0, 0.6, (2, 2, 2, 2))),
        ir.IF(0.4),
        ir.Upsample(size=(7, 16)),
        ir.Conv2d(rng.normal(0, 0.6, (1, 2, 3, 3)), stride=(2, 3)),
        shape=(2, 4, 3),
    )
    x = {"x": rng.normal(0, 1, (2, 3, 2, 4, 3))}
    bound = bind_graph(graph, precision, x, 2)
    assert run(graph, bound, x, 2).activity["n2"].spikes, "the comparison would show nothing"
    found = csim(graph, bound, x, 2, io_type=io_type)
    assert found.equal, str(found.difference)


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (ir.Upsample(mode="bilinear"), "hls4ml has no exact bilinear interpolation; use mode 'nearest'"),
        (ir.Upsample(1.5), "repeats values a whole number of times, and this makes 4 to 6"),
        (ir.Upsample(size=(4, 3)), "repeats values a whole number of times, and this makes 4 to 3"),
    ],
)
def test_what_hls4ml_cannot_hold_exactly_is_refused_with_the_reason(node, says):
    graph = chain(ir.Conv2d([[[[1.0]]]]), node, shape=(1, 4, 4))
    with pytest.raises(UnsupportedError, match=rf"node 'n1' \(Upsample\): .*{says}"):
        lower(graph, bind_graph(graph, "ap_fixed<8,4>"))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"scale_factor": None}, "scale_factor and size are both missing"),
        ({"scale_factor": 0}, "scale_factor must be one or two numbers above 0, not 0"),
        ({"scale_factor": float("nan")}, "scale_factor must be one or two numbers"),
        ({"scale_factor": "2"}, "scale_factor must be one or two numbers"),
        ({"size": 0}, "size must be one or two whole numbers of 1 or more, not 0"),
        ({"size": 2.5}, "size must be one or two whole numbers"),
        ({"mode": "bicubic"}, "mode must be one of nearest, bilinear, not 'bicubic'"),
        ({"mode": None}, "mode must be one of"),
        ({"align_corners": None}, "align_corners must be True or False"),
    ],
)
def test_what_cannot_be_right_is_refused_with_the_field(fields, says):
    with pytest.raises(GraphError, match=says):
        ir.Upsample(**fields)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(GraphError, match=r"it takes inputs \(channels, h, w\), not \(4, 4\)"):
        ir.Upsample().output_shape((4, 4))
    with pytest.raises(GraphError, match="leaves nothing of the input"):
        ir.Upsample(0.2).output_shape((1, 4, 9))
