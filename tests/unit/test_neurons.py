"""Neurons of all kinds: against a loop written out by hand, and in C simulation."""

import shutil

import numpy as np
import pytest

from talon_lib import ir
from talon_lib.errors import GraphError, PrecisionError, UnsupportedError
from talon_lib.fixed import parse_type
from talon_lib.hls.csim import csim
from talon_lib.hls.lower import lower
from talon_lib.simulate import bind_graph, calibrate, run

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="C simulation needs g++")

IMAGE = (2, 4, 3)


def chain(*nodes, shape):
    named, edges = {"x": ir.Input(shape)}, []
    for index, node in enumerate(nodes):
        edges.append((list(named)[-1], f"n{index}"))
        named[f"n{index}"] = node
        shape = node.output_shape(shape)
    return ir.Graph(named | {"y": ir.Output(shape)}, [*edges, (f"n{len(nodes) - 1}", "y")])


def by_hand(
    x, tau=None, tau_syn=None, leak=0.0, threshold=None, reset=None, subtract=False, delayed=False, strict=False
):
    """Spikes (or membranes) of neurons, (steps, batch, n), by the equations in ir/neuron.py, rounded once each."""

    def cast(values):
        return np.float32(values).astype(float)

    above = np.greater if strict else np.greater_equal
    v = i = np.zeros(x.shape[1:])
    results = []
    for now in x:
        if tau_syn is not None:
            now = i = cast((1 - 1 / tau_syn) * i + now)
        before = v
        exact = v + now if tau is None else (1 - 1 / tau) * (v - leak) + leak + now
        v = cast(exact)
        if threshold is None:
            results.append(v)
            continue
        goal = leak if reset is None else reset
        if delayed:
            spiked = above(before, threshold)
            v = np.where(spiked, cast(exact - threshold) if subtract else goal, v)
            results.append(above(v, threshold).astype(float))
        else:
            results.append(above(v, threshold).astype(float))
            v = np.where(results[-1] == 1, cast(v - threshold) if subtract else goal, v)
    return np.array(results)


CASES = {
    "CubaLIF": (
        ir.CubaLIF(2.0, 4.0, 0.125, 0.5, v_reset=-0.25),
        {"tau": 4.0, "tau_syn": 2.0, "leak": 0.125, "threshold": 0.5, "reset": -0.25},
    ),
    "CubaLI": (ir.CubaLI(2.0, 4.0, 0.125), {"tau": 4.0, "tau_syn": 2.0, "leak": 0.125}),
    "LI": (ir.LI(4.0, 0.125), {"tau": 4.0, "leak": 0.125}),
    "I": (ir.I(), {}),
    "IF": (ir.IF(0.5, v_reset=0.25, strict=True), {"threshold": 0.5, "reset": 0.25, "strict": True}),
    "LIF, subtracting in the next step": (
        ir.LIF(2.0, 1.0, 0.0, 0.5, reset="subtract", reset_delay=True, strict=True),
        {"tau": 2.0, "threshold": 0.5, "subtract": True, "delayed": True, "strict": True},
    ),
    "LIF, reset in the next step": (
        ir.LIF(2.0, 1.0, 0.0, 0.5, reset_delay=True),
        {"tau": 2.0, "threshold": 0.5, "delayed": True},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_update_is_the_equations(case):
    """On eighths, so that values do fall on the threshold."""
    node, told = CASES[case]
    x = np.random.default_rng(0).integers(-4, 9, (12, 5, 7)) / 8
    seen = []
    observe = (lambda t, n, y, state, x: seen.append(y) if n == "n0" else None,)
    graph = chain(node, shape=(7,))
    run(graph, bind_graph(graph, "fp32"), {"x": x}, 12, observe)
    expected = by_hand(x, **told)
    np.testing.assert_array_equal(seen, expected)
    if "threshold" in told:
        assert 0 < expected.mean() < 1
        other = by_hand(x, **told | {"strict": not told.get("strict", False)})
        assert (other != expected).any(), "no value fell on the threshold, so the comparison shows nothing of it"


def test_a_threshold_spikes_above_it_alone():
    graph = chain(ir.Threshold([0.5, -1.0]), shape=(2,))
    found = run(graph, bind_graph(graph, "fp32"), {"x": [[0.5, -1.0], [0.6, -0.9], [-3.0, -1.1]]}, 1).last["y"]
    assert found.tolist() == [[0, 0], [1, 1], [0, 0]]


def test_a_delay_hands_on_what_came_so_many_steps_before():
    x = np.random.default_rng(1).normal(size=(6, 2, 3)).astype(np.float32).astype(float)
    seen = []
    graph = chain(ir.Delay([0, 1, 4]), shape=(3,))
    run(graph, bind_graph(graph, "fp32"), {"x": x}, 6, (lambda t, n, y, s, x: seen.append(y) if n == "n0" else None,))
    for value, steps in enumerate((0, 1, 4)):
        np.testing.assert_array_equal(np.array(seen)[steps:, :, value], x[: 6 - steps, :, value])
        assert not np.array(seen)[:steps, :, value].any()


def test_hardware_refuses_a_delay_but_not_one_of_nothing():
    graph = chain(ir.ReLU(), ir.Delay(1), shape=(3,))
    with pytest.raises(UnsupportedError, match=r"node 'n1' \(Delay\): hls4ml has no layer that keeps"):
        lower(graph, bind_graph(graph, "ap_fixed<8,4>"))
    graph = chain(ir.ReLU(), ir.Delay(0), shape=(3,))
    assert "n1" not in [layer["name"] for layer in lower(graph, bind_graph(graph, "ap_fixed<8,4>")).layers]


def test_a_synaptic_current_has_a_scale_of_its_own():
    """A slow current under strong input grows far beyond the membrane that it drives."""
    graph = chain(ir.CubaLIF(50.0, 1.0, 0.0, 100.0), shape=(3,))
    x = {"x": np.full((20, 4, 3), 3.0)}
    seen = calibrate(graph, x, 20)
    bound = bind_graph(graph, "int8", x, 20)["n0"]
    current = bound.types.current
    assert seen.currents["n0"].max() > 40 and abs(current.cast(40.0) - 40.0) <= current.step / 2
    assert bound.types.membrane == parse_type(str(bound.types.membrane)) != current


@pytest.mark.parametrize("precision", ["int2", "int3", "int4", "int8"])
def test_a_neuron_that_must_exceed_its_threshold_can(precision):
    """A type whose largest value is the rounded threshold would silence it for good."""
    for threshold in np.linspace(0.3, 2.0, 60):
        graph = chain(ir.LIF(4.0, 1.0, 0.0, threshold, strict=True), shape=(1,))
        x = {"x": np.full((1, 1), 2.5 * threshold)}
        assert run(graph, bind_graph(graph, precision, x, 8), x, 8).activity["n0"].spikes


REFUSED = {
    "a threshold beyond its type": (ir.IF(9.0), "ap_fixed<8,3>", "its v_threshold lies outside of ap_fixed<8,3>"),
    "a leak beyond it": (ir.LIF(2.0, 1.0, -70.0, -55.0), "ap_fixed<16,6>", "its v_leak lies outside of"),
    "a reset beyond it": (ir.IF(1.0, v_reset=-9.0), "ap_fixed<8,3>", "its v_reset lies outside of"),
    "nothing above": (ir.IF(3.96875, strict=True), "ap_fixed<8,3,AP_RND,AP_SAT>", "nothing can exceed its v_threshold"),
    "a reset at the threshold": (ir.IF(1.0, v_reset=0.999), "int2", "does not lie above its v_reset once both"),
    "a leak at the threshold": (
        ir.LIF(2.0, 1.0, 0.997, 0.999),
        "ap_fixed<8,3>",
        "does not lie above its leak once both",
    ),
    "a threshold of 0": (ir.IF(0.01, reset="subtract"), "ap_fixed<8,3>", "does not lie above 0 once both"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_types_that_make_other_neurons_are_refused(case):
    node, precision, said = REFUSED[case]
    with pytest.raises(PrecisionError, match=rf"node 'n0': .*{said}"):
        bind_graph(chain(node, shape=(2,)), precision)


@pytest.mark.parametrize("fields", [{"v_reset": 0.0}, {"reset": "subtract"}])
def test_a_leak_above_the_threshold_is_a_neuron_like_any_other(fields):
    graph = chain(ir.LIF(8.0, 1.0, 1.2, 1.0, **fields), shape=(1,))
    x = {"x": np.zeros((1, 1))}
    one, other = (run(graph, bind_graph(graph, p), x, 60).activity["n0"].spikes for p in ("fp32", "ap_fixed<16,6>"))
    assert one > 0 and abs(one - other) <= 1


def test_a_cycle_of_nodes_without_a_type_of_their_own():
    nodes = {"x": ir.Input((1,)), "s": ir.Skip("add"), "d": ir.Delay(1), "y": ir.Output()}
    graph = ir.Graph(nodes, [("x", "s"), ("s", "d"), ("d", "s"), ("s", "y")], allow_cycles=True)
    assert run(graph, bind_graph(graph, "fp32"), {"x": [1.0]}, 5).last["y"] == 3.0  # in every second step one more
    with pytest.raises(PrecisionError, match=r"node '[sd]' .*no node of its cycle has a type of its own"):
        bind_graph(graph, "ap_fixed<8,4>")


def test_what_has_no_meaning_together_is_refused():
    with pytest.raises(GraphError, match="v_reset is where reset 'leak' goes; reset 'subtract' has no use for it"):
        ir.IF(1.0, reset="subtract", v_reset=0.0)
    with pytest.raises(GraphError, match=r"tau_syn must be 1 or more steps, .* least value is 0.5"):
        ir.CubaLI([2.0, 0.5], 2.0, 0.0)


# --- hardware ---------------------------------------------------------------------------------------------------------


def current_based(rng):
    spread = {"tau_syn": (1, 3), "tau": (1, 4), "v_leak": (-0.1, 0.1), "v_threshold": (0.3, 0.6)}
    return chain(
        ir.CubaLIF(**{name: rng.uniform(*ends, IMAGE) for name, ends in spread.items()}),
        ir.Conv2d(rng.normal(0, 1, (2, 2, 2, 2)), padding=1),
        ir.CubaLIF(2.0, 3.0, 0.0, 0.5, reset="subtract", reset_delay=True),
        ir.CubaLI(2.0, 1.5, 0.1),
        shape=IMAGE,
    )


def flat(rng):
    return chain(
        ir.LIF(3.0, 1.0, 0.1, 0.6, v_reset=-0.25, strict=True),
        ir.Affine(rng.normal(0, 1, (4, 3))),
        ir.LI(2.0, 0.1),
        ir.IF(0.5, reset_delay=True, v_reset=0.25),
        ir.Affine(rng.normal(0, 1, (4, 4))),
        ir.LIF(3.0, 1.0, 0.1, 0.6, reset="subtract", reset_delay=True, strict=True),
        ir.I(),
        ir.Scale([0.3, -0.5, 1.0, 2.0]),
        ir.Threshold([0.5, -0.3, 0.1, 1.0]),
        shape=(3,),
    )


def images(rng):
    return chain(
        ir.Scale(rng.normal(0, 1, IMAGE)),
        ir.SumPool2d((2, 3), stride=1, padding=1),
        ir.Scale([0.7, -0.4]),
        ir.Threshold(0.1),
        ir.SumPool2d(2, stride=1),
        ir.LI([2.0, 3.0], 0.1),
        ir.Threshold(rng.normal(0, 0.3, (2, 4, 2))),
        ir.Flatten(),
        ir.Scale(rng.normal(0, 1, 16)),
        ir.IF(0.3, strict=True, reset_delay=True, reset="subtract"),
        shape=IMAGE,
    )


@needs_compiler
@pytest.mark.parametrize("network", [current_based, flat, images])
@pytest.mark.parametrize(
    ("precision", "io_type"), [("int6", "io_parallel"), ("ap_fixed<12,5,AP_RND,AP_SAT>", "io_stream")]
)
def test_csim_equals_simulation(network, precision, io_type):
    pytest.importorskip("hls4ml")
    rng = np.random.default_rng(0)
    graph = network(rng)
    x = {"x": rng.normal(0, 1, (5, 6, *graph.inputs["x"].shape))}
    bound = bind_graph(graph, precision, x, 5)
    activity = run(graph, bound, x, 5).activity
    assert all(activity[name].spikes for name, node in graph.nodes.items() if node.spiking)
    found = csim(graph, bound, x, 5, io_type=io_type)
    assert found.equal, str(found.difference)
