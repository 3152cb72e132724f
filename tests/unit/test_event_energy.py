"""Energy by events and widths: what is counted, how it is priced, and how it moves."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talon_lib import ir
from talon_lib.cost.break_even import ann_bits, break_even
from talon_lib.cost.counts import count
from talon_lib.cost.event_energy import EXECUTIONS, PARTS, energy
from talon_lib.cost.metrics import metrics
from talon_lib.cost.preset import EnergyPreset, get_preset, presets
from talon_lib.cost.work import Arithmetic, NodeWork, work
from talon_lib.simulate import bind_graph, run

HOROWITZ = get_preset("horowitz_45nm")
PRICED = [name for name, preset in presets().items() if preset.events is None]


def chain(shape: tuple[int, ...], *nodes: ir.Primitive) -> ir.Graph:
    named = {"x": ir.Input(shape)} | {f"{node.kind.lower()}{i}": node for i, node in enumerate(nodes)}
    for node in nodes:
        shape = node.output_shape(shape)
    return ir.Graph(named | {"y": ir.Output(shape)}, list(itertools.pairwise([*named, "y"])))


def lif(count: int, **given: object) -> ir.LIF:
    values = {"tau": np.full(count, 2.0), "r": np.ones(count), "v_leak": np.zeros(count), "v_threshold": np.ones(count)}
    return ir.LIF(**(values | given))


def quarters(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Multiples of 1/4, nearly half of them 0."""
    return rng.integers(-4, 5, shape) / 4 * (rng.random(shape) < 0.6)


def dense(rng: np.random.Generator) -> ir.Graph:
    first, second = (ir.Affine(quarters(rng, n, m), quarters(rng, n)) for n, m in ((7, 6), (4, 7)))
    return chain((6,), first, lif(7), second, lif(4, reset="subtract"))


def convolutional(rng: np.random.Generator) -> ir.Graph:
    conv = ir.Conv2d(quarters(rng, 3, 2, 3, 3), quarters(rng, 3), padding=1)
    fire = ir.LIF(tau=2.0, r=1.0, v_leak=0.0, v_threshold=1.0)
    last = ir.Conv2d(quarters(rng, 2, 3, 2, 2), quarters(rng, 2), stride=2)
    return chain((2, 5, 5), conv, fire, ir.MaxPool2d(2, 1), last, ir.IF(0.5))


GRAPHS = {"dense": dense, "conv": convolutional}


def simulated(graph: ir.Graph, precision: str, x: np.ndarray, steps: int) -> dict[str, NodeWork]:
    bound = bind_graph(graph, precision, {"x": x}, steps)
    return work(graph, bound, run(graph, bound, {"x": x}, steps).activity, len(x))


def samples(rng: np.random.Generator, graph: ir.Graph, count: int = 3) -> np.ndarray:
    return quarters(rng, count, *graph.input_shapes["x"])


# --- counting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("seed", range(4))
def test_an_event_reaches_what_it_would_reach_alone(kind: str, seed: int) -> None:
    """Every value that is not zero goes alone over weights that are all 1: what comes out is what it reaches."""
    rng = np.random.default_rng(seed)
    graph = GRAPHS[kind](rng)
    x = samples(rng, graph)
    bound = bind_graph(graph, "fp32")
    seen: dict[str, int] = {}

    def watch(step: int, name: str, result: np.ndarray, state: object, arrived: np.ndarray) -> None:
        node = graph.nodes[name]
        if node.macs(graph.input_shapes[name]) == 0:
            return
        ones = replace(node, weight=np.ones_like(node.weight), bias=np.zeros_like(node.bias))
        alone = bind_graph(chain(graph.input_shapes[name], ones), "fp32")
        flat = np.flatnonzero(arrived)
        single = np.zeros((len(flat), arrived[0].size))
        single[np.arange(len(flat)), flat % arrived[0].size] = 1.0
        out, _ = ones.step(single.reshape(-1, *arrived.shape[1:]), {}, next(iter(list(alone.values())[1:])))
        seen[name] = seen.get(name, 0) + int(out.sum())

    activity = run(graph, bound, {"x": x}, 4, (watch,)).activity
    assert sum(seen.values()) > 0
    for name, own in activity.items():
        assert own.reached == seen.get(name, 0)
        assert own.effective_macs + own.effective_acs <= own.reached


@pytest.mark.parametrize("kind", GRAPHS)
def test_events_are_the_values_that_are_not_zero_where_they_arrive(kind: str) -> None:
    rng = np.random.default_rng(1)
    graph = GRAPHS[kind](rng)
    x = samples(rng, graph)
    activity = run(graph, bind_graph(graph, "fp32"), {"x": x}, 3).activity
    names = graph.order
    assert activity[names[1]].events == 3 * np.count_nonzero(x)
    for before, after in itertools.pairwise(names):
        if graph.nodes[before].spiking:
            assert activity[after].events == activity[before].spikes > 0


def test_work_says_what_a_node_is_made_of() -> None:
    weight, bias = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]]), np.array([1.0, 0.0])
    graph = chain((3,), ir.Affine(weight, bias), lif(2))
    found = simulated(graph, "int8", np.array([[1.0, 1.0, 0.0]]), 5)
    fc, neurons = found.values()
    assert (fc.inputs, fc.outputs, fc.macs, fc.acs, fc.biases) == (3, 2, 6, 0, 1)
    assert (fc.input_bits, fc.weight_bits, fc.bias_bits, fc.stored_bits) == (8, 8, 16, 6 * 8 + 2 * 16)
    assert (fc.weights, fc.zero_weights, fc.state_bits, fc.neurons, fc.binary) == (6, 3, 0, 0, False)
    assert (fc.events, fc.reached, fc.effective_macs, fc.effective_acs) == (10, 20, 5, 0)
    assert (neurons.neurons, neurons.state_bits, neurons.synapses) == (2, 2 * 16, 0)
    assert neurons.arithmetic == (
        Arithmetic("multiply", 2, 16, 16, False),  # the decay, min(2N, 16) bits
        Arithmetic("add", 2, 16, 16, False),  # what arrives
        Arithmetic("add", 2, 16, 16, False),  # the threshold
    )


def test_spikes_are_accumulated_and_what_a_separable_convolution_makes_of_them_is_multiplied() -> None:
    separable = ir.SepConv2d(np.ones((2, 1, 2, 2)), np.ones((3, 2, 1, 1)))
    fire = ir.Threshold(0.5)
    graph = chain((2, 4, 4), fire, separable)
    found = list(simulated(graph, "int8", np.ones((1, 2, 4, 4)), 1).values())[-1]
    assert (found.acs, found.macs) == (2 * 9 * 4, 9 * 2 * 3)
    assert found.synapses == separable.macs((2, 4, 4))
    assert (found.effective_acs, found.effective_macs) == (found.acs, found.macs)


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("precision", ["fp32", "int4", "ap_fixed<16,6>"])
def test_work_agrees_with_the_counts_and_goes_through_json(kind: str, precision: str) -> None:
    rng = np.random.default_rng(2)
    graph = GRAPHS[kind](rng)
    x = samples(rng, graph)
    found = simulated(graph, precision, x, 3)
    counts = count(graph, bind_graph(graph, precision, {"x": x}, 3))
    assert list(found) == list(counts)
    for name, own in found.items():
        assert own.synapses == counts[name].macs_per_step
        assert (own.stored_bits, own.state_bits, own.neurons) == (
            counts[name].weight_bits,
            counts[name].state_bits,
            counts[name].neurons,
        )
        assert NodeWork.of(json.loads(json.dumps(own.as_dict()))) == own


@given(st.integers(0, 99), st.sampled_from([ir.LIF, ir.IF, ir.CubaLIF]), st.sampled_from(["fp32", "int6"]))
@settings(max_examples=30, deadline=None)
def test_a_neuron_is_at_work_where_input_comes_or_something_is_left(seed: int, kind: type, precision: str) -> None:
    """Counted again one neuron at a time; without input and with nothing left a step changes nothing."""
    rng = np.random.default_rng(seed)
    given_values = {
        "tau": 2.0,
        "r": 1.0,
        "v_leak": 0.0,
        "v_threshold": 1.0,
        "tau_mem": 2.0,
        "tau_syn": 3.0,
        "w_in": 1.0,
    }
    known = kind.__dataclass_fields__
    graph = chain((5,), kind(**{key: value for key, value in given_values.items() if key in known}))
    x = quarters(rng, 6, 2, 5) * (rng.random((6, 2, 5)) < 0.5)
    bound = bind_graph(graph, precision, {"x": x}, 6)
    kept: list[np.ndarray] = []
    busy = 0

    def watch(step: int, name: str, result: np.ndarray, state: dict[str, np.ndarray], arrived: np.ndarray) -> None:
        nonlocal busy
        if not state:
            return
        for index in np.ndindex(arrived.shape):
            before = [values[index] for values in kept] or [0.0]
            if arrived[index] != 0 or any(before):
                busy += 1
            else:
                assert all(values[index] == 0 for values in state.values()) and result[index] == 0
        kept[:] = [values.copy() for values in state.values()]

    own = list(run(graph, bound, {"x": x}, 6, (watch,)).activity.values())[1]
    assert own.events <= own.updates == busy


def test_a_delay_moves_what_comes_and_what_leaves_and_not_what_waits() -> None:
    graph = chain((4,), ir.Delay(np.array(7.0)))
    (found,) = simulated(graph, "int8", np.array([[1.0, 0.0, 1.0, 1.0]]), 5).values()
    assert (found.state_bits, found.touched_bits) == (7 * 4 * 8, 4 * 8)
    assert found.updates == found.events == 15
    for execution, moved in (("event", 15 * 8), ("clock", 5 * 4 * 8)):
        priced = energy({"n": found}, 5, HOROWITZ, execution)
        assert priced is not None
        assert priced.parts.state == pytest.approx(2 * HOROWITZ.prices.read(moved, 7 * 4 * 8))


def test_a_second_sum_multiplies_at_the_width_of_the_first_ones_result() -> None:
    separable = ir.SepConv2d(np.ones((2, 1, 2, 2)), np.ones((3, 2, 1, 1)))
    graph = chain((2, 4, 4), ir.Threshold(0.5), separable)
    found = list(simulated(graph, "ap_fixed<12,8>", np.ones((1, 2, 4, 4)), 1).values())[-1]
    priced, prices = energy({"n": found}, 1, HOROWITZ), HOROWITZ.prices
    assert priced is not None and (found.input_bits, found.mac_bits) == (1, 12)
    add = prices.add(found.accumulator_bits)
    assert priced.parts.synapse == pytest.approx(found.acs * add + found.macs * (prices.multiply(12, 12) + add))


def test_each_sum_of_real_values_multiplies_at_the_wider_of_input_and_result() -> None:
    separable = ir.SepConv2d(np.ones((2, 1, 2, 2)), np.ones((3, 2, 1, 1)), result_t="ap_fixed<20,12>")
    found = simulated(chain((2, 4, 4), separable), "int8", np.ones((1, 2, 4, 4)), 1)["sepconv2d0"]
    assert (found.macs, found.acs, found.input_bits, found.mac_bits) == (2 * 9 * 4 + 9 * 2 * 3, 0, 8, 20)


def test_edges_that_meet_are_added_up_and_those_that_are_joined_are_not() -> None:
    def meeting(node: ir.Primitive) -> NodeWork:
        nodes = {"x": ir.Input((4,)), "a": ir.ReLU(), "b": ir.ReLU(), "c": ir.ReLU(), "meet": node}
        edges = [("x", "a"), ("x", "b"), ("x", "c"), ("a", "meet"), ("b", "meet"), ("c", "meet"), ("meet", "y")]
        size = 12 if isinstance(node, ir.Concat) else 4
        graph = ir.Graph(nodes | {"y": ir.Output((size,))}, edges)
        return simulated(graph, "ap_fixed<8,4>", np.ones((1, 4)), 1)["meet"]

    (adding,) = meeting(ir.ReLU()).arithmetic
    assert (adding.kind, adding.count) == ("add", 2 * 4) and adding.left >= 8
    assert meeting(ir.Concat(3)).arithmetic == ()


@pytest.mark.parametrize(
    ("node", "adds", "multiplies"),
    [
        (ir.LayerNorm((4,)), 4, 3),
        (ir.BatchNorm1d(4, None, None, np.zeros(4), np.ones(4)), 1, 1),
        (ir.Scale(np.full(4, 0.5)), 0, 1),
        (ir.LIF(2.0, 1.0, 0.0, 1.0), 2, 1),
        (ir.LIF(2.0, 1.0, 0.5, 1.0, reset="subtract"), 5, 1),
        (ir.CubaLIF(3.0, 2.0, 0.0, 1.0), 3, 2),
        (ir.LI(2.0, 0.0), 1, 1),
        (ir.IF(1.0), 2, 0),
        (ir.I(), 1, 0),
        (ir.Threshold(1.0), 1, 0),
    ],
    ids=lambda value: value.kind if isinstance(value, ir.Primitive) else str(value),
)
def test_operations_beside_the_synapses(node: ir.Primitive, adds: int, multiplies: int) -> None:
    """As the table of docs/energy.md has them, for each of 4 values."""
    (own,) = simulated(chain((4,), node), "ap_fixed<12,6>", np.ones((1, 4)), 1).values()
    counted = {kind: sum(op.count for op in own.arithmetic if op.kind == kind) for kind in ("add", "multiply")}
    assert counted == {"add": 4 * adds, "multiply": 4 * multiplies}


def test_energy_follows_a_loop_of_a_recurrent_graph() -> None:
    """One input spike that goes round for ever: each step the synapse of the loop is reached once."""
    nodes = {
        "x": ir.Input((1,)),
        "first": ir.Threshold(0.5),
        "sum": ir.Affine(np.ones((1, 1))),
        "fire": ir.IF(1.0),
        "loop": ir.Affine(np.ones((1, 1))),
        "y": ir.Output((1,)),
    }
    edges = [("x", "first"), ("first", "sum"), ("sum", "fire"), ("fire", "loop"), ("loop", "fire"), ("fire", "y")]
    graph = ir.Graph(nodes, edges, allow_cycles=True)
    x = np.zeros((6, 1, 1))
    x[0] = 1.0
    bound = bind_graph(graph, "ap_fixed<8,4>", {"x": x}, 6)
    found = work(graph, bound, run(graph, bound, {"x": x}, 6).activity, 1)
    assert (found["sum"].reached, found["loop"].reached, found["fire"].spikes) == (1, 6, 6)
    priced = energy(found, 6, HOROWITZ)
    assert priced is not None
    assert priced.by_node["loop"].synapse == pytest.approx(6 * HOROWITZ.prices.add(found["loop"].accumulator_bits))


@pytest.mark.parametrize(("precision", "multiply", "add"), [("fp32", 3.7, 0.9), ("fp16", 1.1, 0.4)])
def test_floating_point_is_priced_as_such(precision: str, multiply: float, add: float) -> None:
    graph = chain((3,), ir.Affine(np.ones((2, 3))), lif(2))
    fc, neurons = simulated(graph, precision, np.ones((1, 3)), 1).values()
    priced = energy({"fc": fc, "lif": neurons}, 1, HOROWITZ, "clock")
    assert priced is not None
    assert priced.by_node["fc"].synapse == pytest.approx(6 * (multiply + add))
    assert priced.by_node["lif"].neuron == pytest.approx(2 * (multiply + 2 * add))


# --- energy ----------------------------------------------------------------------------------------------------------

few = st.integers(0, 40)
widths = st.integers(1, 32)
operations = st.builds(Arithmetic, st.sampled_from(["add", "multiply"]), few, widths, widths, st.just(False))


@st.composite
def nodes(draw: st.DrawFn) -> NodeWork:
    """Any node in fixed point, its counts within what its sizes allow."""
    macs, acs = draw(few), draw(few)
    spiking = draw(st.booleans())
    inputs, outputs = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    reached = draw(st.floats(0, 4 * (macs + acs)))
    share = draw(st.floats(0, 1))
    weights = draw(few)
    return NodeWork(
        inputs=inputs,
        outputs=outputs,
        macs=macs,
        acs=acs,
        biases=draw(few) if macs + acs else 0,
        input_bits=draw(widths),
        mac_bits=draw(widths),
        weight_bits=draw(widths),
        bias_bits=draw(widths),
        accumulator_bits=draw(st.integers(1, 60)),
        floating=False,
        binary=draw(st.booleans()),
        driven=draw(st.booleans()),
        kernels=draw(st.booleans()),
        weights=weights,
        zero_weights=draw(st.integers(0, weights)),
        stored_bits=draw(st.integers(0, 10**8)),
        parameter_bits=draw(st.integers(0, 10**8)),
        state_bits=(state := draw(st.integers(0, 10**5))),
        touched_bits=draw(st.integers(0, state)),
        neurons=draw(few),
        spiking=spiking,
        arithmetic=tuple(draw(st.lists(operations, max_size=3))),
        events=draw(st.floats(0, 4 * inputs)),
        updates=draw(st.floats(0, 4 * inputs)),
        reached=reached,
        effective_macs=reached * share if macs else 0.0,
        effective_acs=reached * share if acs and not macs else 0.0,
        spikes=draw(st.floats(0, 100)) if spiking else 0.0,
    )


works = st.dictionaries(st.sampled_from(["a", "b", "c"]), nodes(), max_size=3)
any_preset = st.sampled_from(list(presets().values()))


@given(works, st.integers(1, 40), any_preset, st.sampled_from(EXECUTIONS), st.floats(0, 1e4), st.floats(0, 1e3))
def test_layers_and_parts_sum_to_the_total(
    found: dict[str, NodeWork], steps: int, preset: EnergyPreset, execution: str, latency: float, power: float
) -> None:
    priced = energy(found, steps, replace(preset, static_mw=power), execution, latency)
    if priced is None:
        assert preset.events is not None and execution == "clock"
        return
    assert list(priced.by_node) == list(found)
    by_part = math.fsum([*vars(priced.parts).values(), priced.static])
    by_node = math.fsum([*(own.total for own in priced.by_node.values()), priced.static])
    assert by_part == pytest.approx(priced.total, rel=1e-12)
    assert by_node == priced.total
    assert priced.static == pytest.approx(power * 1e-3 * latency * 1e-6 * 1e12)
    assert all(value >= 0 for own in priced.by_node.values() for value in vars(own).values())


@given(nodes(), st.integers(1, 20), st.sampled_from(PRICED))
def test_twice_the_steps_are_twice_the_clock_driven_energy(node: NodeWork, steps: int, name: str) -> None:
    once, twice = (energy({"n": node}, t, get_preset(name), "clock") for t in (steps, 2 * steps))
    assert once is not None and twice is not None
    for part in PARTS:
        assert getattr(twice.parts, part) == pytest.approx(2 * getattr(once.parts, part), rel=1e-12)


@given(nodes(), st.integers(1, 20), st.sampled_from(PRICED), st.floats(0, 1))
def test_clock_driven_energy_does_not_look_at_the_events(node: NodeWork, steps: int, name: str, share: float) -> None:
    fewer = replace(node, events=node.events * share, reached=node.reached * share, effective_macs=0.0, spikes=0.0)
    assert energy({"n": fewer}, steps, get_preset(name), "clock") == energy(
        {"n": node}, steps, get_preset(name), "clock"
    )


WIDTHS = [
    "input_bits",
    "mac_bits",
    "touched_bits",
    "weight_bits",
    "bias_bits",
    "accumulator_bits",
    "stored_bits",
    "state_bits",
]


@given(nodes(), st.integers(1, 20), st.sampled_from(PRICED), st.sampled_from(EXECUTIONS), st.sampled_from(WIDTHS))
def test_more_bits_of_anything_never_cost_less(
    node: NodeWork, steps: int, name: str, execution: str, width: str
) -> None:
    wider = replace(node, **{width: getattr(node, width) + 1})
    wider = replace(wider, arithmetic=tuple(replace(own, left=own.left + 1) for own in node.arithmetic))
    low, high = (energy({"n": own}, steps, get_preset(name), execution) for own in (node, wider))
    assert low is not None and high is not None
    for part in PARTS:
        assert getattr(high.parts, part) >= getattr(low.parts, part) * (1 - 1e-12)


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("name", PRICED)
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_energy_rises_with_the_bits_of_a_fixed_spike_train(kind: str, name: str, execution: str) -> None:
    """The same activity at intN for rising N; with prices by width every part rises."""
    rng = np.random.default_rng(5)
    graph = GRAPHS[kind](rng)
    x = samples(rng, graph)
    activity = run(graph, bind_graph(graph, "fp32"), {"x": x}, 4).activity
    found = [
        energy(work(graph, bind_graph(graph, f"int{n}", {"x": x}, 4), activity, len(x)), 4, get_preset(name), execution)
        for n in range(2, 17)
    ]
    totals = [own.total for own in found if own is not None]
    assert len(totals) == 15
    assert all(low < high for low, high in itertools.pairwise(totals))
    if name == "horowitz_45nm":
        parts = [own.parts for own in found if own is not None]
        for part in PARTS:
            assert getattr(parts[0], part) < getattr(parts[-1], part)
            assert all(getattr(a, part) <= getattr(b, part) for a, b in itertools.pairwise(parts))


@given(nodes(), st.integers(1, 20), st.floats(0, 1))
def test_no_events_leave_biases_alone_and_fewer_cost_less(node: NodeWork, steps: int, share: float) -> None:
    def of(by: float) -> float:
        counted = ("events", "updates", "reached", "effective_macs", "effective_acs", "spikes")
        found = energy({"n": replace(node, **{key: getattr(node, key) * by for key in counted})}, steps, HOROWITZ)
        assert found is not None
        return found.total

    silent = of(0.0)
    add, read = HOROWITZ.prices.add(node.accumulator_bits), HOROWITZ.prices.read(node.bias_bits, node.stored_bits)
    assert silent == pytest.approx(steps * node.biases * (add + read))
    assert of(share) == pytest.approx(silent + share * (of(1.0) - silent))


def test_an_event_driven_layer_worked_out_by_hand() -> None:
    """Four inputs of 8 bits, three outputs; 5 events reach 15 synapses, 12 of them with a weight not zero; one bias."""
    node = NodeWork(
        inputs=4, outputs=3, macs=12, acs=0, biases=1, input_bits=8, mac_bits=8, weight_bits=8, bias_bits=16,
        accumulator_bits=32, floating=False, binary=False, driven=False, kernels=False, weights=12, zero_weights=3,
        stored_bits=8 * 1024 * 8, parameter_bits=0, state_bits=0, touched_bits=0, neurons=0, spiking=False,
        arithmetic=(), events=5, reached=15, effective_macs=12,
    )  # fmt: skip
    found = energy({"n": node}, 2, HOROWITZ)
    assert found is not None
    per_bit = 10.0 / 64  # of 8 KB
    assert found.parts.synapse == pytest.approx(12 * (0.2 + 0.1) + 2 * 0.1)
    assert found.parts.weight_read == pytest.approx((15 * 8 + 2 * 16) * per_bit)
    assert found.parts.state == pytest.approx(2 * 15 * 32 * per_bit * (3 * 32) / (8 * 1024 * 8))
    message = 2 + 8  # which of four, and what
    assert found.parts.transport == pytest.approx(2 * 5 * message * per_bit * (4 * message) / (8 * 1024 * 8))
    assert found.parts.neuron == 0
    spikes = replace(node, macs=0, acs=12, binary=True, effective_macs=0.0, effective_acs=12.0)
    found = energy({"n": spikes}, 2, HOROWITZ)
    assert found is not None
    assert found.parts.synapse == pytest.approx((12 + 2) * 0.1)
    assert found.parts.transport == pytest.approx(2 * 5 * 2 * per_bit * (4 * 2) / (8 * 1024 * 8))


def test_a_clock_driven_step_of_neurons_worked_out_by_hand() -> None:
    graph = chain((2,), lif(2))
    own = simulated(graph, "ap_fixed<8,4>", np.zeros((1, 2)), 3)["lif0"]
    found = energy({"n": own}, 3, HOROWITZ, "clock")
    assert found is not None
    assert found.parts.neuron == pytest.approx(3 * 2 * (0.2 + 2 * 0.03))
    assert found.parts.state == pytest.approx(3 * 2 * 16 * (10.0 / 64) * 16 / (8 * 1024 * 8))
    assert found.total == found.parts.neuron + found.parts.state


def test_flat_presets_price_as_the_papers_that_count_macs_and_acs() -> None:
    rng = np.random.default_rng(3)
    graph = dense(rng)
    found = simulated(graph, "int8", samples(rng, graph), 4)
    priced = energy(found, 4, get_preset("neuromorphic_int8"))
    assert priced is not None
    biases = 4 * sum(own.biases for own in found.values())
    macs, acs = (sum(getattr(own, key) for own in found.values()) for key in ("effective_macs", "effective_acs"))
    assert macs > 0 and acs > 0
    assert priced.parts.synapse == pytest.approx(4.6 * macs + 0.9 * (acs + biases))


# --- Loihi -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hops", [0, 2.5])
def test_loihi_is_the_sum_of_events_times_their_energies(hops: float) -> None:
    rng = np.random.default_rng(4)
    graph = convolutional(rng)
    found = simulated(graph, "int8", samples(rng, graph), 6)
    preset = get_preset("loihi")
    assert preset.events is not None
    priced = energy(found, 6, replace(preset, events=replace(preset.events, hops=hops)))
    assert priced is not None and energy(found, 6, preset, "clock") is None
    layers = [own for own in found.values() if own.synapses]
    neurons = [own for own in found.values() if own.neurons]
    assert priced.parts.synapse == pytest.approx(24.0 * sum(own.reached for own in layers))  # two convolutions
    messages = sum(own.events for own in layers)
    assert priced.parts.transport == pytest.approx(messages * (111.0 + hops * 3.0))
    assert priced.parts.neuron == pytest.approx(
        sum(6 * 51.2 * own.neurons + 21.6 * own.updates + 69.3 * own.spikes for own in neurons)
    )
    assert priced.parts.weight_read == priced.parts.state == 0


def test_a_layer_on_loihi_is_stored_sparse_where_it_has_zeros() -> None:
    def synapse(zeros: int) -> float:
        weight = np.ones((10, 10))
        weight.ravel()[:zeros] = 0
        found = energy(simulated(chain((10,), ir.Affine(weight)), "fp32", np.ones((1, 10)), 1), 1, get_preset("loihi"))
        assert found is not None
        return found.parts.synapse

    assert synapse(0) == pytest.approx(100 * 35.5)
    assert synapse(40) == pytest.approx(60 * 33.6)


def test_a_convolution_on_loihi_is_one_however_often_its_kernel_fits() -> None:
    for size in (2, 3):
        graph = chain((1, size, size), ir.Conv2d(np.ones((2, 1, 2, 2))))
        found = energy(simulated(graph, "fp32", np.ones((1, 1, size, size)), 1), 1, get_preset("loihi"))
        assert found is not None
        assert found.parts.synapse == pytest.approx(24.0 * 2 * 4 * (size - 1) ** 2)


# --- NeuroBench ------------------------------------------------------------------------------------------------------


def test_metrics_worked_out_by_hand() -> None:
    weight = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]])
    graph = chain((3,), ir.Affine(weight), lif(2))
    x = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])  # both neurons spike in every step, or neither
    for precision, fc, neurons in (("fp32", 6 * 32 + 2 * 32, 3 * 2 * 32), ("int4", 6 * 4 + 2 * 8, 3 * 2 * 8)):
        found = metrics(simulated(graph, precision, x, 5), 5)
        states = 2 * (32 if precision == "fp32" else 8)
        assert found.footprint_bytes == fc / 8 + neurons / 8 + states / 8
        assert found.connection_sparsity == 0.5
        assert found.activation_sparsity == 0.5


def test_a_network_without_weights_or_neurons_has_no_sparsity() -> None:
    found = metrics(simulated(chain((3,), ir.ReLU()), "fp32", np.ones((1, 3)), 2), 2)
    assert (found.footprint_bytes, found.connection_sparsity, found.activation_sparsity) == (0, None, None)


# --- break-even ------------------------------------------------------------------------------------------------------


@given(st.integers(1, 10**6))
def test_the_twin_has_bits_for_every_number_of_spikes(steps: int) -> None:
    assert 2 ** ann_bits(steps) >= steps + 1 > 2 ** (ann_bits(steps) - 1)


def spiking_layers(rng: np.random.Generator, rate: float, steps: int, size: int = 64) -> dict[str, NodeWork]:
    """Two layers of 8-bit weights behind given spikes; all of the first layer's input are spikes."""
    layers = (ir.Affine(quarters(rng, n, m)) for n, m in ((32, size), (10, 32)))
    first, second = layers
    graph = chain((size,), ir.Threshold(0.5), first, lif(32), second, lif(10))
    x = (rng.random((steps, 4, size)) < rate).astype(float)
    bound = bind_graph(graph, "int8", {"x": x}, steps)
    return work(graph, bound, run(graph, bound, {"x": x}, steps).activity, 4)


@settings(max_examples=30)
@given(st.integers(0, 99), st.floats(0.05, 1), st.integers(1, 12), st.sampled_from(PRICED))
def test_a_network_wins_below_its_break_even_rate_and_loses_above(
    seed: int, rate: float, steps: int, name: str
) -> None:
    found = break_even(spiking_layers(np.random.default_rng(seed), rate, steps), steps, get_preset(name))
    assert found is not None and found.spike_rate is not None
    if found.break_even_rate is not None:
        assert found.beats_ann == (found.spike_rate < found.break_even_rate)


@pytest.mark.parametrize("steps", [1, 3])
def test_at_the_break_even_rate_both_energies_are_equal(steps: int) -> None:
    """The spikes of every layer are made more by one factor, and the energy is asked again."""
    own = spiking_layers(np.random.default_rng(0), 0.3, steps)
    found = break_even(own, steps, HOROWITZ)
    assert found is not None and found.break_even_rate is not None and found.spike_rate is not None
    factor = found.break_even_rate / found.spike_rate
    assert factor > 0
    counted = ("events", "reached", "effective_macs", "effective_acs")
    scaled = {
        name: replace(node, **{key: getattr(node, key) * factor for key in counted})
        if node.driven and node.synapses
        else node
        for name, node in own.items()
    }
    at = energy(scaled, steps, HOROWITZ)
    assert at is not None
    assert at.total == pytest.approx(found.ann_pj)


def test_layers_break_even_by_themselves_where_their_own_energies_are_equal() -> None:
    """Neurons and encoders left out: the rate is that of a network of the two layers alone."""
    own = spiking_layers(np.random.default_rng(2), 0.3, 3)
    found, layers = break_even(own, 3, HOROWITZ), {name: node for name, node in own.items() if node.synapses}
    alone = break_even(layers, 3, HOROWITZ)
    assert found is not None and alone is not None and found.break_even_rate is not None
    assert (
        found.layer_break_even_rate
        == pytest.approx(alone.break_even_rate)
        == pytest.approx(alone.layer_break_even_rate)
    )
    assert found.layer_break_even_rate != pytest.approx(found.break_even_rate)


def test_the_twin_worked_out_by_hand() -> None:
    """3 steps: 2 bits. One layer 4 -> 2 of 8-bit weights behind spikes, and its neurons."""
    graph = chain((4,), ir.Threshold(0.5), ir.Affine(np.ones((2, 4))), lif(2))
    own = simulated(graph, "int8", np.ones((1, 4)), 3)
    found = break_even(own, 3, HOROWITZ)
    prices, fc, neurons = HOROWITZ.prices, own["affine1"], own["lif2"]
    macs = 8 * (prices.multiply(2, 8) + prices.add(fc.accumulator_bits + 1))
    read = prices.read(8 * 8, fc.stored_bits)
    values = 2 * prices.read(4 * 2, 4 * 2)
    compare = 4 * prices.add(own["threshold0"].arithmetic[0].left) + 2 * prices.add(16)
    assert found is not None and neurons.state_bits > 0
    assert (found.ann_bits, found.spike_rate) == (2, 1.0)
    assert found.ann_pj == pytest.approx(macs + read + values + compare)


def test_a_pool_of_spikes_drives_a_layer_as_spikes_do_and_real_values_do_not() -> None:
    """The rate is that of the values that the pool gives."""
    fire, pool, last = ir.Threshold(0.5), ir.AvgPool2d(2), ir.Affine(np.ones((3, 4)))
    graph = chain((1, 4, 4), ir.ReLU(), fire, pool, ir.Flatten(), last, ir.LI(2.0, 0.0), ir.Affine(np.eye(3)))
    x = np.zeros((1, 1, 4, 4))
    x[..., :2, :] = 1.0
    found = list(simulated(graph, "int8", x, 3).values())
    assert [own.driven for own in found] == [False, False, True, True, True, False, False]
    even = break_even(dict(zip("abcdefg", found, strict=True)), 3, HOROWITZ)
    assert even is not None and even.spike_rate == 0.5 and not found[4].binary
    flat = replace(found[4], events=0.0, updates=0.0, reached=0.0, effective_macs=0.0, effective_acs=0.0)
    silent, own = (energy({"n": node}, 3, HOROWITZ) for node in (flat, found[4]))
    assert silent is not None and own is not None and even.break_even_rate is not None
    by_spikes = own.total - silent.total
    assert even.break_even_rate == pytest.approx(max(0.0, 0.5 * (1 + (even.ann_pj - even.snn_pj) / by_spikes)))


def test_more_steps_let_a_network_win_at_lower_rates_only() -> None:
    rates = [
        found.break_even_rate
        for steps in (1, 2, 4, 8)
        if (found := break_even(spiking_layers(np.random.default_rng(1), 0.3, steps), steps, HOROWITZ)) is not None
    ]
    assert len(rates) == 4
    assert all(a > b or a == b == 0 for a, b in itertools.pairwise(rates)) and rates[0] > 0


def test_no_break_even_where_only_spikes_have_prices_or_no_layer_takes_any() -> None:
    rng = np.random.default_rng(6)
    assert break_even(spiking_layers(rng, 0.5, 2), 2, get_preset("loihi")) is None
    graph = chain((3,), ir.Affine(np.ones((2, 3))), lif(2))
    found = break_even(simulated(graph, "int8", np.ones((1, 3)), 2), 2, HOROWITZ)
    assert found is not None
    assert (found.spike_rate, found.break_even_rate, found.layer_break_even_rate) == (None, None, None)
