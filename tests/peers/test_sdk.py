"""``talon_lib.backend`` against the TALON SDK's own cpu backend, on graphs of Affine and LIF.

The SDK computes in float32 and clips results and membranes at ±127 (its simulator always takes the default target
precision, int8); talon_lib rounds each exact sum once, to float32, and clips nothing. So few-bit numbers below 127,
which neither rounds, agree in every digit, and any other numbers up to rounding, where no membrane is so near its
threshold that rounding decides.
"""

from functools import partial
from types import SimpleNamespace

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from talon import backend as sdk_backend
from talon import ir as sdk_ir

from talon_lib import backend, ir

OURS = SimpleNamespace(ir=ir, cpu=backend.get_backend("cpu"))
SDK = SimpleNamespace(ir=sdk_ir, cpu=sdk_backend.get_backend("cpu"))

CLIP = 127.0


def few_bits(rng, *shape):
    """Multiples of 1/4 up to 1, some of them 0."""
    return (rng.integers(-4, 5, shape) * (rng.random(shape) < 0.7) / 4).astype(np.float32)


def any_bits(rng, *shape):
    return (rng.normal(0, 0.5, shape) * (rng.random(shape) < 0.7)).astype(np.float32)


@st.composite
def graphs(draw, numbers, taus):
    """How to make a graph in either library, its input, and the number of steps.

    Layers of an Affine, most of them with a LIF behind it, one of which may feed back through an Affine; a path may
    skip layers and is summed where it arrives.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    first, width, steps = draw(st.integers(1, 8)), draw(st.integers(1, 8)), draw(st.integers(1, 5))
    nodes, edges = {"x": ("Input", {"input_type": np.array([first])})}, []

    def add(name, kind, sources, **fields):
        nodes[name] = (kind, fields)
        edges.extend((source, name) for source in sources)

    def affine(name, sources, n_in):
        add(name, "Affine", sources, weight=numbers(rng, width, n_in), bias=numbers(rng, width))

    arriving, of_width = ["x"], []
    for i in range(draw(st.integers(1, 3))):
        affine(f"fc{i}", arriving, width if of_width else first)
        of_width.append(f"fc{i}")
        if draw(st.integers(0, 3)):
            fields = {
                "tau": rng.choice(taus, width).astype(np.float32),
                "r": np.ones(width, np.float32),
                "v_leak": draw(st.sampled_from([0, 1])) * numbers(rng, width),
                "v_threshold": np.abs(numbers(rng, width)) + np.float32(0.25),
            }
            add(f"lif{i}", "LIF", [f"fc{i}"], **fields)
            of_width.append(f"lif{i}")
        arriving = [of_width[-1]]
        if len(of_width) > 1 and draw(st.booleans()):
            arriving.append(draw(st.sampled_from(of_width[:-1])))
    loops = f"lif{i}" in nodes and draw(st.booleans())
    if loops:
        affine("back", [f"lif{i}"], width)
        edges.append(("back", f"lif{i}"))
    add("y", "Output", [of_width[-1]], output_type=np.array([width]))
    x = numbers(rng, first)

    def make(library, raised=0.0):
        """The graph in one of the libraries, its thresholds raised by so much."""
        made = {}
        for name, (kind, fields) in nodes.items():
            own = {key: value + np.float32(raised) if key == "v_threshold" else value for key, value in fields.items()}
            made[name] = getattr(library.ir, kind)(**own)
        return library.ir.Graph(nodes=made, edges=list(edges), allow_cycles=loops)

    return make, {"x": x}, steps


def without_batch(results):
    return {name: result[0] for name, result in results.items()}


def clips(simulation):
    """Whether some result has reached the SDK's bound; a membrane that does has such a result before it."""
    return any(np.abs(state).max() >= CLIP for states in simulation.node_states for state in states.values())


def compare(make, inputs, steps, equal):
    """Hold every field of the SDK's SimulationResult to ours; arrays by ``equal``."""
    ours = OURS.cpu.simulate(make(OURS), inputs, steps, step_by_step=True)
    theirs = SDK.cpu.simulate(make(SDK), inputs, steps, step_by_step=True)
    assume(not clips(theirs))
    assert set(vars(theirs)) - {"errors"} <= set(vars(ours))
    assert theirs.errors == []
    assert (ours.outputs_valid, ours.timesteps_run) == (theirs.outputs_valid, theirs.timesteps_run)
    assert ours.spike_counts == theirs.spike_counts
    assert ours.outputs.keys() == theirs.outputs.keys()
    for name, result in without_batch(ours.outputs).items():
        equal(result, theirs.outputs[name])
    assert len(ours.node_states) == len(theirs.node_states) == steps
    for own, other in zip(ours.node_states, theirs.node_states, strict=True):
        results = {name: state for name, state in without_batch(own).items() if not name.endswith(".membrane")}
        assert results.keys() == other.keys()
        for name, result in results.items():
            equal(result, other[name])


EXACT = graphs(few_bits, [1.0, 2.0, 4.0])


@settings(max_examples=500)
@given(EXACT)
def test_simulations_agree_in_every_digit(drawn):
    compare(*drawn, np.testing.assert_array_equal)


@given(graphs(any_bits, [1.0, 1.5, 2.0, 10.0, 33.0]))
def test_simulations_of_any_numbers_agree_but_for_rounding(drawn):
    make, inputs, steps = drawn
    near = [OURS.cpu.simulate(make(OURS, raised), inputs, steps).spike_counts for raised in (-1e-4, 0.0, 1e-4)]
    assume(near[0] == near[1] == near[2])
    compare(make, inputs, steps, partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5))


PRICES = [f"energy_per_{part}_pj" for part in ("mac", "spike", "sram_read", "sram_write")]
MEASURED = {"total_latency_us", "per_node_latency"}
CORES = {"per_core_latency", "per_core_energy"}  # talon_lib has one core
BY_EVENTS = {"event_energy", "clock_energy"}  # the SDK has one accounting


@settings(max_examples=500)
@given(
    EXACT, st.sampled_from(sorted(backend.ENERGY_PRESETS)), st.dictionaries(st.sampled_from(PRICES), st.floats(0, 9))
)
def test_profiles_agree(drawn, preset, prices):
    make, inputs, steps = drawn
    ours = OURS.cpu.profile(make(OURS), inputs, steps, energy_preset=preset, **prices)
    theirs = SDK.cpu.profile(make(SDK), inputs, steps, energy_preset=preset, **prices)
    assume(not clips(SDK.cpu.simulate(make(SDK), inputs, steps, step_by_step=True)))
    assert set(vars(theirs)) - CORES == set(vars(ours)) - BY_EVENTS
    assert theirs.per_node_latency.keys() <= ours.per_node_latency.keys()
    for field in vars(ours).keys() - MEASURED - BY_EVENTS:
        assert getattr(ours, field) == getattr(theirs, field), field


def test_presets_have_the_same_prices():
    assert backend.ENERGY_PRESETS.keys() == sdk_backend.ENERGY_PRESETS.keys()
    for name, preset in sdk_backend.ENERGY_PRESETS.items():
        own = backend.ENERGY_PRESETS[name]
        assert {key: own[key] for key in preset if key.endswith("_pj")} == {
            key: value for key, value in preset.items() if key.endswith("_pj")
        }


def test_the_sdk_clips_what_talon_lib_keeps():
    def make(library):
        nodes = {
            "x": library.ir.Input(np.array([1])),
            "fc": library.ir.Affine(np.array([[200.0]], np.float32), np.zeros(1, np.float32)),
            "y": library.ir.Output(np.array([1])),
        }
        return library.ir.Graph(nodes=nodes, edges=[("x", "fc"), ("fc", "y")])

    x = {"x": np.ones(1, np.float32)}
    assert OURS.cpu.simulate(make(OURS), x).outputs["y"].item() == 200.0
    assert SDK.cpu.simulate(make(SDK), x).outputs["y"].item() == CLIP
