"""Energy by events against SANA-FE 2.2.9, the simulator of neuromorphic chips, on its own architecture file of Loihi.

Small networks run on both sides with the same spikes. SANA-FE's energy is a sum of events times picojoules. Its events
are here counted three ways that have to agree: its own counters, our NodeWork, and the energies themselves, to the
digit that its prices have (a tenth of a picojoule). Its parts are our parts: synapse, soma (neuron), network
(transport); its dendrites cost nothing on Loihi. What differs, by name:

- steps: a spike acts at its target one step later there, so that a network of n layers runs n steps longer for the same
  work, in which its neurons are accessed all the same.
- inputs: a chip's input neurons cost nothing. They send messages, which we count at the layer that receives them.
- update: a neuron is updated there where its membrane is not 0 before the step and where a spike reaches it, even if
  what it adds up to is 0. So do we, but for such a 0: theirs is more by what `updates` counts in our simulation, and by
  the steps that a layer leaks on while later ones still run.
- storage: SANA-FE is told how a layer stores its synapses (dense, sparse, convolution). We take convolution for one,
  and otherwise sparse where there are zeros and dense where there are none.
- message: one there for each core that holds some of a layer's neurons, none where an input reaches nothing. Ours is
  one for each event and layer.
- hops: theirs follow from where neurons are placed. Ours are a number of the preset, and all in one direction.

Weights are quarters and leaks halves, and runs short: SANA-FE cuts membranes to multiples of 1/64.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import sanafe
import yaml
from hypothesis import event, given, settings
from hypothesis import strategies as st

from talon_lib import ir
from talon_lib.cost.event_energy import energy
from talon_lib.cost.preset import get_preset
from talon_lib.cost.work import NodeWork, work
from talon_lib.simulate import bind_graph, run

FILE = Path(sanafe.__file__).parent / "examples" / "loihi.yaml"
LOIHI = get_preset("loihi")
SYNAPSES = {"dense": "loihi_dense_synapse", "sparse": "loihi_sparse_synapse", "conv": "loihi_conv_synapse"}
TILES = {"none": [0, 0, 0], "east": [0, 4, 8], "north": [0, 1, 2]}  # their numbers run north first, 4 high
HOPS = {"none": (0, 3.0), "east": (1, 3.0), "north": (1, 4.2)}  # how many for each message, and picojoules of one


def digits(picojoules):
    """As it is printed, with all the digits that Loihi's prices have."""
    return f"{picojoules:.1f}"


@dataclass(frozen=True)
class Theirs:
    """What SANA-FE counted, its input neurons left out, and its energies in picojoules."""

    steps: int
    spikes: int
    messages: int
    hops: int
    updates: int
    fired: int
    synapse: float
    neuron: float
    transport: float
    total: float


@dataclass(frozen=True)
class Ours:
    """The work of every node behind the encoder, and how often a neuron is updated as SANA-FE has it."""

    work: dict[str, NodeWork]
    updates: int

    def of(self, count: str, having: str | None = None) -> float:
        """The sum of one count, over all nodes or those that have "synapses" or "neurons"."""
        return sum(getattr(node, count) for node in self.work.values() if having is None or getattr(node, having))


def neurons(leaks, threshold):
    """Ours, and the attributes of theirs; both spike above the threshold and start again at 0."""
    node = ir.LIF(2.0, 1.0, 0.0, threshold, strict=True) if leaks else ir.IF(threshold, strict=True)
    return node, {"threshold": threshold, "leak_decay": 0.5 if leaks else 1.0, "reset_mode": "hard", "reset": 0.0}


def kind_of(node, storage=None):
    """How the synapses of a node are stored; storage: those of an Affine where not as we have it."""
    return "conv" if node.kind == "Conv2d" else storage or ("dense" if node.weight.all() else "sparse")


def connect(source, target, node, shape, storage=None):
    """Make their synapses of one layer. shape: of its input."""
    kind = kind_of(node, storage)
    if kind == "conv":
        flat = node.weight.transpose(2, 3, 1, 0).ravel().tolist()
        (outputs, _, height, width), (channels, rows, columns) = node.weight.shape, shape
        geometry = (columns, rows, channels, width, height, outputs, *node.stride[::-1])
        source.connect_neurons_conv2d(target, {"weight": flat}, *geometry)
    elif kind == "dense":
        source.connect_neurons_dense(target, {"weight": node.weight.T.ravel().tolist()})
    else:
        for to, at in np.argwhere(node.weight).tolist():
            source.neurons[at].connect_to_neuron(target.neurons[to], {"weight": float(node.weight[to, at])})


@cache
def loihi():
    """Their Loihi with fewer input units and cores, of which the whole file makes two gigabytes."""
    text = FILE.read_text()
    for whole, part in (("loihi_inputs[0..1023]", "loihi_inputs[0..149]"), ("loihi_core[0..3]", "loihi_core[0..1]")):
        assert text.count(whole) == 1
        text = text.replace(whole, part)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "loihi.yaml")
        path.write_text(text)
        return sanafe.load_arch(str(path))


def on_loihi(layers, shape, x, placed="none", storage=None, cores=1):
    """Their run of ``layers``, pairs of a node with synapses and the attributes of its neurons.

    x: ``(steps, 1, *shape)``. cores: how many of them share the neurons of each layer.
    """
    chip, network = loihi(), sanafe.Network()
    groups = [network.create_neuron_group("in", math.prod(shape))]
    for i, train in enumerate(x.reshape(len(x), -1).T.astype(int).tolist()):
        spikes = [*train, *(0 for _ in layers)]
        groups[0].neurons[i].set_attributes(soma_hw_name=f"loihi_inputs[{i}]", model_attributes={"spikes": spikes})
    for i, (node, attributes) in enumerate(layers):
        shape_after = node.output_shape(shape if node.kind == "Conv2d" else (math.prod(shape),))
        groups.append(network.create_neuron_group(f"layer{i}", math.prod(shape_after)))
        synapses = SYNAPSES[kind_of(node, storage)]
        for own in groups[-1].neurons:
            own.set_attributes(soma_hw_name="loihi_lif", default_synapse_hw_name=synapses, model_attributes=attributes)
        connect(groups[-2], groups[-1], node, shape, storage)
        shape = shape_after
    for group, tile in zip(groups, TILES[placed], strict=False):
        for i, own in enumerate(group.neurons):
            own.map_to_core(chip.tiles[tile].cores[i % cores if group is not groups[0] else 0])
    simulated = sanafe.SpikingChip(chip)
    simulated.load(network)
    steps = len(x) + len(layers)
    done = simulated.sim(steps, timing_model="simple", processing_threads=1, perf_trace=True)
    inputs, found = int(x.sum()), {name: value * 1e12 for name, value in done["energy"].items()}
    assert found["dendrite"] == 0
    return Theirs(
        steps=steps,
        spikes=done["spikes"],
        messages=done["packets_sent"],
        hops=sum(done["perf_trace"]["hops"]),
        updates=done["neurons_updated"] - inputs,
        fired=done["neurons_fired"] - inputs,
        synapse=found["synapse"],
        neuron=found["soma"],
        transport=found["network"],
        total=found["total"],
    )


def on_talon(nodes, shape, x):
    """Our run: nodes with synapses and neurons by turns, behind an encoder that makes spikes of the input."""
    named, first = {"x": ir.Input(shape), "encoder": ir.Threshold(0.5)}, shape
    for node in nodes:
        if node.kind == "Affine" and len(shape) > 1:
            named["flat"], shape = ir.Flatten(), (math.prod(shape),)
        named[f"n{len(named)}"], shape = node, node.output_shape(shape)
    graph = ir.Graph(named | {"y": ir.Output(shape)}, list(itertools.pairwise([*named, "y"])))
    bound = bind_graph(graph, "fp32")
    reached, membranes, updates = np.zeros(0, bool), {}, 0

    def watch(step, name, result, state, arrived):
        nonlocal reached, updates
        node, at = graph.nodes[name], bound[name]
        if node.kind in ("Affine", "Conv2d"):  # the number of synapses that spikes reach each neuron over
            ones = node.weight != 0 if kind_of(node) == "sparse" else node.weight == node.weight
            at = replace(at, parameters={**at.parameters, "weight": ones.astype(np.float32)})
            reached = node.step(arrived, {}, at)[0] > 0
        elif "membrane" in state:
            updates += int(np.count_nonzero(reached | (membranes.get(name, 0.0) != 0)))
            membranes[name] = state["membrane"].copy()

    assert graph.input_shapes["x"] == first
    found = work(graph, bound, run(graph, bound, {"x": x}, len(x), (watch,)).activity, 1)
    del found["encoder"]
    for behind, own in enumerate(reversed(membranes.values())):  # how long a layer leaks on while others still run
        updates += behind * int(np.count_nonzero(own))
    return Ours(found, updates)


def preset(placed="none"):
    """Loihi with its hops."""
    hops, hop_pj = HOPS[placed]
    return replace(LOIHI, events=replace(LOIHI.events, hops=hops, hop_pj=hop_pj))


def check(ours, theirs, kinds, placed="none"):
    """Counters, SANA-FE's sum of its own counters, and our energy. kinds: how each layer is stored, in order."""
    found, prices = preset(placed), preset(placed).events
    layers = [node for node in ours.work.values() if node.synapses]
    used = {
        kind: sum(
            node.effective_acs if kind == "sparse" else node.reached
            for node, own in zip(layers, kinds, strict=True)
            if own == kind
        )
        for kind in SYNAPSES
    }
    assert theirs.spikes == sum(used.values())
    assert theirs.messages == ours.of("events", "synapses")
    assert theirs.hops == theirs.messages * prices.hops
    assert theirs.fired == ours.of("spikes")
    assert theirs.updates == ours.updates >= ours.of("updates", "neurons")

    accessed, updated, spike = prices.neuron_access_pj, prices.neuron_update_pj, prices.spike_pj
    neuron = theirs.steps * ours.of("neurons") * accessed + theirs.updates * updated + theirs.fired * spike
    assert digits(theirs.neuron) == digits(neuron)
    assert digits(theirs.transport) == digits(theirs.messages * prices.message_pj + theirs.hops * prices.hop_pj)
    each = {"dense": 35.5, "sparse": 33.6, "conv": 24.0}
    assert digits(theirs.synapse) == digits(sum(count * each[kind] for kind, count in used.items()))

    own = energy(ours.work, theirs.steps, found)
    more = (ours.updates - ours.of("updates", "neurons")) * updated
    assert digits(own.parts.synapse) == digits(theirs.synapse)
    assert digits(own.parts.neuron + more) == digits(theirs.neuron)
    assert digits(own.parts.transport) == digits(theirs.transport)
    assert digits(own.total + more) == digits(theirs.total)
    assert own.total + more == pytest.approx(theirs.total, rel=1e-12)
    assert own.parts.weight_read == own.parts.state == 0
    event(f"{kinds}, {'some' if theirs.fired else 'no'} spikes")


def quarters(rng, zeros, *shape):
    """Multiples of 1/4 up to 1, more of them positive; with zeros, but no input without a synapse."""
    values = rng.integers(1, 5, shape) / 4 * rng.choice([-1.0, 1.0, 1.0], shape)
    if zeros:
        kept = rng.random(shape) < 0.5
        kept[rng.integers(shape[0]), ...] = True
        values *= kept
    return values


def trains(rng, steps, rate, shape):
    return (rng.random((steps, 1, *shape)) < rate).astype(float)


def test_the_prices_are_those_of_the_architecture_file():
    (tile,) = yaml.safe_load(FILE.read_text())["architecture"]["tile"]
    (core,) = tile["core"]
    units = {unit["name"]: unit["attributes"] for group in core.values() if isinstance(group, list) for unit in group}
    lif, prices = units["loihi_lif"], LOIHI.events

    def pj(value):
        return pytest.approx(float(value) * 1e12, rel=1e-12)

    for kind, name in SYNAPSES.items():
        assert getattr(prices, f"synapse_{kind}_pj") == pj(units[name]["energy_process_spike"])
    assert prices.neuron_access_pj == pj(lif["energy_access_neuron"])
    assert prices.neuron_update_pj == pj(lif["energy_update_neuron"])
    assert prices.spike_pj == pj(lif["energy_spike_out"])
    assert prices.message_pj == pj(units["loihi_out"]["energy_message_out"])
    assert units["loihi_in"]["energy_message_in"] == units["loihi_dendrites"]["energy_update"] == 0
    for way in ("east", "north"):
        assert HOPS[way][1] == pj(tile["attributes"][f"energy_{way}_hop"])
    assert prices.hop_pj == HOPS["east"][1]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(1, 12), min_size=2, max_size=3),
    steps=st.integers(1, 4),
    rate=st.sampled_from([0.0, 0.3, 0.6, 1.0]),
    leaks=st.booleans(),
    zeros=st.booleans(),
    placed=st.sampled_from(list(TILES)),
)
def test_dense_layers(seed, sizes, steps, rate, leaks, zeros, placed):
    rng = np.random.default_rng(seed)
    weights = [quarters(rng, zeros, m, n) for n, m in itertools.pairwise(sizes)]
    node, attributes = neurons(leaks, 0.5)
    nodes, shape = [ir.Affine(weight) for weight in weights], (sizes[0],)
    x = trains(rng, steps, rate, shape)
    ours = on_talon([own for one in nodes for own in (one, node)], shape, x)
    theirs = on_loihi([(one, attributes) for one in nodes], shape, x, placed)
    check(ours, theirs, [kind_of(one) for one in nodes], placed)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    channels=st.integers(1, 2),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    places=st.tuples(st.integers(2, 4), st.integers(2, 4)),
    steps=st.integers(1, 4),
    leaks=st.booleans(),
    placed=st.sampled_from(list(TILES)),
    last=st.sampled_from(["dense", "conv"]),
)
def test_convolutions(seed, channels, kernel, stride, places, steps, leaks, placed, last):
    rng = np.random.default_rng(seed)
    node, attributes = neurons(leaks, 1.0)
    stride = tuple(min(k, s) for k, s in zip(kernel, stride, strict=True))  # every input reaches something
    size = tuple((n - 1) * s + k for n, k, s in zip(places, kernel, stride, strict=True))
    first = ir.Conv2d(quarters(rng, True, 2, channels, *kernel), stride=stride)
    shape = first.output_shape((channels, *size))
    weights = quarters(rng, False, 3, math.prod(shape)) if last == "dense" else quarters(rng, False, 3, 2, 1, 1)
    second = ir.Affine(weights) if last == "dense" else ir.Conv2d(weights)
    x = trains(rng, steps, 0.4, (channels, *size))
    ours = on_talon([first, node, second, node], (channels, *size), x)
    theirs = on_loihi([(first, attributes), (second, attributes)], (channels, *size), x, placed)
    check(ours, theirs, ["conv", last], placed)


# --- what differs, one by one -----------------------------------------------------------------------------------------


def both(weight, threshold, x, leaks=True, storage=None, cores=1):
    """One dense layer on both sides; x ``(steps, inputs)``."""
    node, attributes = neurons(leaks, threshold)
    layer, shape, x = ir.Affine(np.array(weight)), (len(x[0]),), np.array(x, float)[:, None]
    return on_talon([layer, node], shape, x), on_loihi([(layer, attributes)], shape, x, "none", storage, cores)


@pytest.mark.parametrize("leaks", [False, True], ids=["IF", "LIF"])
def test_neurons_are_updated_there_as_often_as_here(leaks):
    """No two spikes cancel out, and nothing is left after the last step: our energy is theirs, but for the steps."""
    rng = np.random.default_rng(3)
    weights, x = rng.integers(1, 5, (6, 9)) / 4, rng.random((5, 9)) < 0.15
    x[-1] = True  # which makes all fire
    ours, theirs = both(weights, 1.0, x, leaks)
    assert ours.of("events", "neurons") < ours.of("updates", "neurons") == ours.updates == theirs.updates < 5 * 6
    own = energy(ours.work, theirs.steps, preset())
    assert digits(own.total) == digits(theirs.total)


def test_a_neuron_that_holds_a_membrane_is_updated_in_every_step():
    ours, theirs = both([[0.5]], 1.0, [[1], [0], [0], [0]])
    assert ours.of("events", "neurons") == 1
    assert ours.of("updates", "neurons") == 4 == theirs.updates


def test_a_neuron_whose_input_adds_up_to_0_is_updated_there():
    ours, theirs = both([[0.5, -0.5]], 1.0, [[1, 1]])
    assert ours.of("updates", "neurons") == 0
    assert theirs.updates == ours.updates == 1


def test_a_step_more_accesses_every_neuron_once_more():
    ours, theirs = both(np.ones((3, 2)), 5.0, [[0, 0]] * 4)
    assert theirs.steps == 5
    assert digits(theirs.total) == digits(energy(ours.work, 5, preset()).total) == digits(5 * 3 * 51.2)
    assert digits(energy(ours.work, 4, preset()).total) == digits(4 * 3 * 51.2)


@pytest.mark.parametrize(("storage", "picojoules"), [("dense", 35.5), ("sparse", 33.6)])
def test_weights_without_zeros_may_be_stored_either_way_there_and_are_dense_for_us(storage, picojoules):
    ours, theirs = both(np.ones((3, 2)), 5.0, [[1, 1]], storage=storage)
    assert digits(theirs.synapse) == digits(6 * picojoules)
    assert digits(energy(ours.work, 2, LOIHI).parts.synapse) == digits(6 * 35.5)


@pytest.mark.parametrize("cores", [1, 2])
def test_a_spike_is_one_message_there_for_each_core_of_the_next_layer(cores):
    ours, theirs = both(np.ones((4, 3)), 5.0, [[1, 1, 0], [0, 0, 1]], cores=cores)
    assert ours.of("events", "synapses") * cores == theirs.messages == 3 * cores
    assert digits(energy(ours.work, 3, LOIHI).parts.transport * cores) == digits(theirs.transport)


def test_an_input_that_reaches_nothing_sends_no_message_there():
    """Every second column and row, of a kernel of one weight with stride 2."""
    node, attributes = neurons(False, 5.0)
    layer, x = ir.Conv2d(np.ones((1, 1, 1, 1)), stride=2), np.ones((1, 1, 1, 3, 3))
    ours, theirs = on_talon([layer, node], (1, 3, 3), x), on_loihi([(layer, attributes)], (1, 3, 3), x)
    assert (ours.of("events", "synapses"), ours.of("reached")) == (9, 4)
    assert theirs.messages == theirs.spikes == 4
