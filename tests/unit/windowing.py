"""What the tests of convolutions, pools and upsampling share."""

import itertools
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from talon_lib import ir
from talon_lib.simulate import bind_graph, run

# made by PyTorch: tests/peers/make_golden_windows.py
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "windows.json").read_text())["cases"]

TYPES = st.builds(
    lambda width, integer, modes: f"ap_fixed<{width},{integer},{modes}>",
    st.integers(4, 12),
    st.integers(1, 6),
    st.sampled_from(["AP_TRN,AP_WRAP", "AP_RND,AP_SAT", "AP_RND_CONV,AP_SAT", "AP_TRN,AP_SAT", "AP_RND_ZERO,AP_WRAP"]),
)


def golden(kind):
    cases = [case for case in GOLDEN if case["kind"] == kind]
    assert cases
    return cases


def chain(*nodes, shape):
    """A graph of the nodes one after the other: 'x', 'n0', 'n1', …, 'y'."""
    named = {"x": ir.Input(shape)}
    for index, node in enumerate(nodes):
        named[f"n{index}"] = node
        shape = node.output_shape(shape)
    named["y"] = ir.Output(shape)
    return ir.Graph(named, list(itertools.pairwise(named)))


def result(node, x, precision="fp32"):
    graph = chain(node, shape=x.shape[1:])
    return run(graph, bind_graph(graph, precision), {"x": x}, 1).outputs["y"][0]


def check_golden(case):
    node = getattr(ir, case["kind"])(**case["tensors"], **case["arguments"])
    expected = np.array(case["y"])
    found = result(node, np.array(case["x"]))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def cast(value, number):
    """An independent cast of a Fraction to a fixed-point type, for the modes in TYPES."""
    step = Fraction(2) ** (number.integer - number.width)
    floor = math.floor(value / step)
    rest, half = value / step - floor, Fraction(1, 2)
    up = {
        "AP_TRN": False,
        "AP_RND": rest >= half,
        "AP_RND_CONV": rest > half or (rest == half and floor % 2 == 1),
        "AP_RND_ZERO": rest > half or (rest == half and value < 0),
    }[number.rounding]
    low, high = -(2 ** (number.width - 1)), 2 ** (number.width - 1) - 1
    code = floor + up
    code = min(max(code, low), high) if number.overflow == "AP_SAT" else (code - low) % 2**number.width + low
    return code * step


def fractions(values):
    """An object array of the exact values."""
    values = np.asarray(values, np.float64)
    exact = np.empty(values.shape, object)
    for place in np.ndindex(values.shape):
        exact[place] = Fraction(float(values[place]))
    return exact


def inside(place, tap, stride, padding, dilation, size):
    """The coordinates that a tap of a window reads; None in the padding."""
    at = [n * s - p + t * d for n, s, p, t, d in zip(place, stride, padding, tap, dilation, strict=True)]
    return tuple(at) if all(0 <= a < whole for a, whole in zip(at, size, strict=True)) else None


def slow_convolution(x, weight, bias, stride, padding, dilation, groups):
    """Sums of one sample and the multiplications that they took: loops over every output, channel and tap.

    x: ``(channels, *size)``, weight ``(out, channels / groups, *kernel)``, of any numbers.
    """
    size, kernel = x.shape[1:], weight.shape[2:]
    count = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(size, padding, dilation, kernel, stride, strict=True)
    ]
    sums, macs, effective = np.empty((len(weight), *count), object), 0, 0
    for out, *place in np.ndindex(sums.shape):
        total = bias[out]
        first = out // (len(weight) // groups) * weight.shape[1]
        for channel, *tap in np.ndindex(weight.shape[1:]):
            at = inside(place, tap, stride, padding, dilation, size)
            if at is not None:
                w, v = weight[(out, channel, *tap)], x[(first + channel, *at)]
                total, macs, effective = total + w * v, macs + 1, effective + bool(w != 0 and v != 0)
        sums[(out, *place)] = total
    return sums, macs, effective
