"""What formats.torch does without torch; tests/peers/test_snntorch.py holds it to torch and snnTorch themselves."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from talon_lib import ir
from talon_lib.formats.torch import compact, fixed_window, time_constants
from talon_lib.ir.fields import per_neuron
from talon_lib.ir.window import Sliding
from talon_lib.simulate import bind_graph

WITHOUT_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "snntorch"):
            raise ModuleNotFoundError("blocked: " + name, name=name.split(".")[0])
sys.meta_path.insert(0, Refuse())
"""


def without_torch(code):
    return subprocess.run([sys.executable, "-c", WITHOUT_TORCH + code], capture_output=True, text=True, check=False)


def test_from_torch_without_torch_says_how_to_install_it():
    done = without_torch(
        """
from talon_lib.errors import MissingToolError
from talon_lib.formats.torch import from_torch
try:
    from_torch(object(), (2,))
except MissingToolError as error:
    print(error)
"""
    )
    assert done.stdout.splitlines() == ["torch is not installed; run: pip install 'talon-dse[torch]'"], done.stderr


def test_the_blocker_of_the_test_above_works():
    assert "blocked: torch" in without_torch("import torch").stderr


# --- decays -----------------------------------------------------------------------------------------------------------


def decay_of(tau):
    return (1.0 - 1.0 / tau.astype(np.float64)).astype(np.float32)


def test_every_decay_of_a_half_to_one_is_given_back_exactly():
    """All 2**23 + 1 of them."""
    first, last = np.array([0.5, 1.0], np.float32).view(np.int32)
    for start in range(first, last + 1, 2**20):
        decays = np.arange(start, min(start + 2**20, last + 1), dtype=np.int32).view(np.float32)
        np.testing.assert_array_equal(decay_of(time_constants(decays)), decays)


def test_a_decay_below_a_half_is_given_back_within_its_bound():
    decays = np.concatenate([[0.0, 1e-30, 1e-8], np.random.default_rng(0).uniform(0.0, 0.5, 10**6)]).astype(np.float32)
    tau = time_constants(decays)
    assert (tau >= 1).all()
    error = np.abs(decay_of(tau).astype(np.float64) - decays)
    assert error[0] == 0 and 2.0**-25 < error.max() <= 2.0**-24  # float32 alone would keep 2**-26


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.7, 0.875, 0.9, 0.99, 1.0])
def test_neurons_with_such_a_time_constant_decay_by_it(decay):
    node = ir.LIF(time_constants(np.array(decay)), 1.0, 0.0, 1.0)
    graph = ir.Graph({"x": ir.Input(3), "n": node, "y": ir.Output()}, [("x", "n"), ("n", "y")])
    assert bind_graph(graph, "fp32")["n"].parameters["decay"] == np.float32(decay)


# --- parameters of neurons --------------------------------------------------------------------------------------------

FORMS = ["one", "channels", "each"]


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    st.lists(st.sampled_from(FORMS), min_size=2, max_size=2),
    st.integers(0, 2**32),
)
def test_compact_parameters_say_the_same_and_fit_one_node(shape, forms, seed):
    rng = np.random.default_rng(seed)
    sizes = {"one": (1,) * len(shape), "channels": (shape[0],) + (1,) * (len(shape) - 1), "each": shape}
    spread = {
        name: np.broadcast_to(rng.integers(1, 4, sizes[form]).astype(np.float32), shape)
        for name, form in zip(("tau", "v_threshold"), forms, strict=True)
    }
    found = compact(spread)
    for name, form in zip(spread, forms, strict=True):
        np.testing.assert_array_equal(per_neuron(found[name], shape), spread[name])
        assert form != "one" or found[name].size == 1
    if "each" not in forms:
        assert all(values.ndim == 1 for values in found.values())
    assert ir.LIF(**found, r=1.0, v_leak=0.0).output_shape(shape) == shape


# --- adaptive pools ---------------------------------------------------------------------------------------------------


def adaptive(size, count):
    """(first, behind the last) of every window: PyTorch's rule."""
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def test_adaptive_windows_are_those_of_a_fixed_pool_where_there_is_one():
    fixed = 0
    for size in range(1, 25):
        for count in range(1, 25):
            windows, found = adaptive(size, count), fixed_window(size, count)
            pools = [
                (kernel, stride)
                for kernel in range(1, size + 1)
                for stride in range(1, size + 1)
                if [(i * stride, i * stride + kernel) for i in range(count)] == windows
            ]
            assert (found in pools) if pools else found is None, (size, count)
            if found:
                fixed += 1
                kernel, stride = found
                assert Sliding((1, kernel), (1, stride)).count((1, size)) == (1, count)
    assert fixed > 24 and fixed_window(5, 2) == (3, 2) and fixed_window(6, 4) is None
