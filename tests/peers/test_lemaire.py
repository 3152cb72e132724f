"""Energy against the model of Lemaire et al. 2022 (arXiv 2210.13107), as SpikingJelly 2 computes it.

SpikingJelly's ``estimate_lemaire_energy`` runs a dense or a convolutional layer with its neurons and splits the energy
into operations, addressing, and memory: parameters, potentials, inputs and outputs. Every count below is ours (NodeWork
of a simulation), every price ours as well (a preset with Lemaire's figures). What node_energy says of the synapses is
theirs where it stands: operations, parameters and potentials of spikes (event) and of real values (clock). For the rest
this is what they count, by name:

- widths: all words are 32-bit integers; an SRAM access is 32 bits, at the energy that Horowitz gives for 64. So the
  work is that of fp32, priced as integers, with a preset of its own.
- border: of a convolution, a spike reads as many weights and potentials as the kernel has, whatever the stride, and
  adds ceil(kernel / stride) a dimension, also where it stands too near to the edge to reach them. We count what it
  reaches; SpikingJelly's other counter, of memory accesses, does so too. Real values: products with zero padding count.
- zeros: adding a weight of 0 counts. A layer without bias stores none; ours stores its zeros, as the hardware does.
- neurons: every potential is read and written in every step, which is our clock-driven accounting. A spike takes one
  addition (the reset), and a leaking neuron one MAC a step. We count what the update is made of.
- addressing: an addition for each potential that a spike goes to, and for a convolution two MACs for each spike; for
  real values an addition for each input, output and, in a convolution, kernel element and output channel. We have none.
- messages: a spike is a word of 32 bits, read where it arrives and written where it comes from, in queues of 1000
  words. We write addresses. Real values are read once by a dense layer and once for each product by a convolution.
- capacity: beyond 1 MB an access takes what it takes at 1 MB. Ours follows the last line.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import neuron
from spikingjelly.activation_based.op_counter import (
    LemaireEnergyCostConfig,
    ModuleCounterMode,
    NeuromorphicMemoryAccessCounter,
    estimate_lemaire_energy,
)
from torch import nn

from talon_lib import ir
from talon_lib.cost.event_energy import Parts, node_energy
from talon_lib.cost.preset import parse_preset
from talon_lib.cost.work import NodeWork, work
from talon_lib.errors import GraphError
from talon_lib.simulate import bind_graph, run

WORD = 32  # bits
QUEUE = 1000 * WORD
TALON = dict.fromkeys(("mac_pj", "spike_pj", "sram_read_pj", "sram_write_pj"), 0.0)
SRAM = {8 * 1024: 10.0, 32 * 1024: 20.0, 1024 * 1024: 100.0}
LEMAIRE = {
    "int_add_pj": {8: 0.03, 32: 0.1},
    "int_multiply_pj": {8: 0.2, 32: 3.1},
    "fp16_add_pj": 0.4,
    "fp16_multiply_pj": 1.1,
    "fp32_add_pj": 0.9,
    "fp32_multiply_pj": 3.7,
    "sram": {"word_bits": WORD, "read_pj": SRAM, "write_pj": SRAM},
}
PRICES = parse_preset("lemaire", {"description": "", "source": "", **TALON, "operations": LEMAIRE}).prices
ADD = PRICES.add(WORD)
MAC = PRICES.multiply_accumulate(WORD, WORD, WORD)


class Steps(nn.Module):
    """Calls its layers once for each step of an input ``(steps, 1, *shape)``."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        results = []
        for values in x:
            for layer in self.layers:
                values = layer(values)
            results.append(values)
        return torch.stack(results)


@dataclass(frozen=True)
class Case:
    """One layer on both sides: ours, theirs, the shape of its input, and of a convolution what one event reaches.

    kernel: elements of one output channel and input channel. added: of these, what Lemaire takes a spike to add to.
    """

    node: ir.Primitive
    module: nn.Module
    shape: tuple[int, ...]
    channels: int
    outputs: int
    kernel: int = 1
    added: int = 1
    borderless: bool = True

    @property
    def dense(self) -> bool:
        return isinstance(self.module, nn.Linear)


def with_parameters(module, weight, bias):
    with torch.no_grad():
        module.weight.copy_(torch.tensor(weight))
        if bias is not None:
            module.bias.copy_(torch.tensor(bias))
    return module


def quarters(rng, zeros, *shape):
    """Multiples of 1/4 up to 1, of which sums are exact in fp32."""
    values = rng.integers(1, 5, shape) / 4 * rng.choice([-1.0, 1.0, 1.0], shape)
    return values * (rng.random(shape) < 0.7) if zeros else values


def dense(rng, inputs, outputs, bias=True, zeros=False):
    weight, offset = quarters(rng, zeros, outputs, inputs), quarters(rng, False, outputs) if bias else None
    module = with_parameters(nn.Linear(inputs, outputs, bias), weight, offset)
    return Case(ir.Affine(weight, offset), module, (inputs,), inputs, outputs)


def conv(rng, shape, outputs, kernel, stride, padding, dilation=1, groups=1, bias=True, zeros=False):
    """kernel, stride and padding: one number for each dimension."""
    weight = quarters(rng, zeros, outputs, shape[0] // groups, *kernel)
    offset = quarters(rng, False, outputs) if bias else None
    arguments = stride, padding, (dilation,) * len(kernel), groups
    kinds = (ir.Conv1d, nn.Conv1d) if len(kernel) == 1 else (ir.Conv2d, nn.Conv2d)
    ours = [value[0] if len(kernel) == 1 else value for value in arguments[:3]]
    module = with_parameters(kinds[1](shape[0], outputs, kernel, *arguments, bias=bias), weight, offset)
    borderless = set(stride) == {1} and all(p == dilation * (k - 1) for k, p in zip(kernel, padding, strict=True))
    added = math.prod(math.ceil(k / s) for k, s in zip(kernel, stride, strict=True))
    return Case(
        kinds[0](weight, offset, *ours, groups), module, shape, shape[0], outputs, math.prod(kernel), added, borderless
    )


@st.composite
def convolutions(draw):
    rng, rank = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.sampled_from([1, 2]))
    groups = draw(st.integers(1, 2))
    shape = (groups * draw(st.integers(1, 3)), *(draw(st.integers(1, 9)) for _ in range(rank)))
    kernel, stride = (tuple(draw(st.integers(1, most)) for _ in range(rank)) for most in (4, 3))
    padding = tuple(draw(st.integers(0, k - 1)) for k in kernel)
    dilation, zeros = draw(st.sampled_from([1, 1, 2])), draw(st.booleans())
    if draw(st.booleans()):  # every event reaches the whole kernel
        stride, padding, zeros = (1,) * rank, tuple(dilation * (k - 1) for k in kernel), False
    outputs = groups * draw(st.integers(1, 4))
    found = conv(rng, shape, outputs, kernel, stride, padding, dilation, groups, draw(st.booleans()), zeros)
    try:
        found.node.output_shape(shape)
    except GraphError:
        assume(False)
    assume(found.node.macs(shape) > 0)  # a kernel that meets padding alone counts as no layer, bias and all
    return found, rng


def works(first, case, last, x):
    """Our work of every node of a chain at fp32, and what it gave; x ``(steps, 1, *shape)``."""
    nodes = [*first, case.node, *last]
    shape, named = case.shape, {"x": ir.Input(case.shape)}
    for i, node in enumerate(nodes):
        named[f"{node.kind}{i}"], shape = node, node.output_shape(shape)
    graph = ir.Graph(named | {"y": ir.Output(shape)}, list(itertools.pairwise([*named, "y"])))
    bound = bind_graph(graph, "fp32")
    done = run(graph, bound, {"x": x}, len(x))
    found = work(graph, bound, done.activity, 1)
    own = list(found.values())[len(first) :]
    return [replace(node, floating=False) for node in own], np.diff(done.outputs["y"], axis=0, prepend=0)


def stored(case: Case, node: NodeWork) -> NodeWork:
    """The work of a layer that stores no bias where it has none."""
    return node if case.module.bias is not None else replace(node, stored_bits=node.weights * node.weight_bits)


def on_spikes(case: Case, node: NodeWork) -> NodeWork:
    """The work of a layer as Lemaire's equations have it: without border, weights of 0 counted."""
    fan_out = node.weights / case.channels  # potentials that an event goes to
    acs = node.events * fan_out / case.kernel * case.added
    return stored(case, replace(node, reached=node.events * fan_out, effective_acs=acs))


def spiking(case, rng, steps, rate, leaks):
    """Their report, the work of the layer and of its neurons, and their count of memory accesses in bytes."""
    x = (rng.random((steps, 1, *case.shape)) < rate).astype(float)
    ours = ir.LIF(2.0, 1.0, 0.0, 1.0) if leaks else ir.IF(1.0)

    def model():
        return Steps(case.module, neuron.LIFNode(2.0, decay_input=False) if leaks else neuron.IFNode())

    nodes, spikes = works([ir.Threshold(0.5)], case, [ours], x)
    data = torch.tensor(x, dtype=torch.float32)
    with torch.no_grad():
        np.testing.assert_array_equal(model()(data).numpy(), spikes)
        counted, counter = model(), NeuromorphicMemoryAccessCounter()
        with ModuleCounterMode([counter], model=counted):
            counted(data)
    return estimate_lemaire_energy(model(), data), nodes, counter


def check_spiking(case, report, layer, neurons, steps, leaks):
    """Every part of the report, from our two nodes' work."""
    synapses, every = (node_energy(node, steps, PRICES, way) for node, way in ((layer, "event"), (neurons, "clock")))
    leak = steps * neurons.neurons * MAC if leaks else 0.0
    address = layer.reached * ADD + (0.0 if case.dense else 2 * layer.events * MAC)
    messages = PRICES.read(layer.events * WORD, QUEUE) + PRICES.write(neurons.spikes * WORD, QUEUE)
    assert report.breakdown_pj == pytest.approx(
        {
            "ops_pj": synapses.synapse + neurons.spikes * ADD + leak,
            "addressing_pj": address,
            "params_pj": synapses.weight_read,
            "potential_pj": synapses.state + every.state,
            "inout_pj": messages,
            "memory_pj": synapses.weight_read + synapses.state + every.state + messages,
        },
        rel=1e-12,
    )


SIZES = [(1, 1), (3, 2), (40, 20), (64, 100), (100, 128), (784, 200)]


@pytest.mark.parametrize(("inputs", "outputs"), SIZES, ids=[f"{n}x{m}" for n, m in SIZES])
@pytest.mark.parametrize("leaks", [False, True], ids=["IF", "LIF"])
def test_a_dense_layer_on_spikes(inputs, outputs, leaks):
    """Weights from 4 bytes to 600 KB: all pieces of the memory's line."""
    rng = np.random.default_rng(inputs)
    case = dense(rng, inputs, outputs, bias=outputs != 100)
    report, (layer, neurons), _ = spiking(case, rng, 5, 0.3, leaks)
    if case.module.bias is not None:
        assert layer == on_spikes(case, layer)  # nothing to translate
    assert layer.effective_acs == layer.reached == report.counts["synop"]
    check_spiking(case, report, stored(case, layer), neurons, 5, leaks)
    assert inputs < 40 or report.counts["write_out_bytes"] > 0


@settings(max_examples=100, deadline=None)
@given(convolutions(), st.integers(1, 3), st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.booleans())
def test_a_convolution_on_spikes(drawn, steps, rate, leaks):
    case, rng = drawn
    report, (layer, neurons), accesses = spiking(case, rng, steps, rate, leaks)
    theirs = on_spikes(case, layer)
    if case.borderless:
        assert layer.reached == theirs.reached
        assert stored(case, layer) == theirs or layer.zero_weights
    event("without border" if case.borderless else "with border")
    check_spiking(case, report, theirs, neurons, steps, leaks)
    # what is really reached, by their other counter
    assert accesses.records["Global"]["weight_read_bytes"] * 8 == layer.reached * layer.weight_bits
    assert layer.effective_acs <= layer.reached <= theirs.reached
    own = node_energy(stored(case, layer), steps, PRICES, "event")
    assert own.weight_read + own.state <= report.breakdown_pj["params_pj"] + report.breakdown_pj["potential_pj"]


@pytest.mark.parametrize("kernel", [(3,), (5,), (3, 3), (2, 4)], ids=str)
def test_a_convolution_without_border_needs_no_translation(kernel):
    rng = np.random.default_rng(1)
    shape = (4, *(11 for _ in kernel))
    case = conv(rng, shape, 6, kernel, (1,) * len(kernel), tuple(k - 1 for k in kernel))
    report, (layer, neurons), _ = spiking(case, rng, 4, 0.2, leaks=True)
    assert layer.effective_acs == layer.reached == report.counts["synop"] > 0
    check_spiking(case, report, layer, neurons, 4, leaks=True)


def check_real(case, rng, steps):
    """A layer alone on real values, clock-driven, against their report."""
    x = rng.integers(1, 8, (steps, 1, *case.shape)) / 16  # none is 0 or 1
    (layer,), sums = works([], case, [], x)
    data = torch.tensor(x, dtype=torch.float32)
    with torch.no_grad():
        np.testing.assert_array_equal(Steps(case.module)(data).numpy(), sums)
    report = estimate_lemaire_energy(Steps(case.module), data)
    products = layer.outputs * layer.weights // case.outputs  # of one step, zero padding too
    assert layer.macs <= products
    if not any(np.ravel(getattr(case.module, "padding", 0))):
        assert layer.macs == products
    own: Parts = node_energy(replace(stored(case, layer), macs=products), steps, PRICES, "clock")
    reads = layer.inputs if case.dense else products
    address = layer.inputs + layer.outputs + (0 if case.dense else case.outputs * case.kernel)
    values = PRICES.read(reads * WORD, layer.inputs * WORD) + PRICES.write(layer.outputs * WORD, layer.outputs * WORD)
    expected = {
        "ops_pj": own.synapse,
        "addressing_pj": steps * address * ADD,
        "params_pj": own.weight_read,
        "potential_pj": own.state,
        "inout_pj": steps * values,
    }
    found = {key: report.breakdown_pj[key] for key in expected}
    assert found == pytest.approx(expected, rel=1e-12)
    assert own.state == 0.0


@pytest.mark.parametrize(("inputs", "outputs"), SIZES, ids=[f"{n}x{m}" for n, m in SIZES])
def test_a_dense_layer_on_real_values(inputs, outputs):
    rng = np.random.default_rng(inputs)
    check_real(dense(rng, inputs, outputs, bias=outputs != 100, zeros=True), rng, 2)


@settings(max_examples=100, deadline=None)
@given(convolutions(), st.integers(1, 2))
def test_a_convolution_on_real_values(drawn, steps):
    check_real(*drawn, steps)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**22))
def test_an_access_takes_what_it_takes_there_up_to_1_mb(capacity):
    theirs = LemaireEnergyCostConfig().memory_cost_pj(capacity) * 4  # of a byte
    ours = PRICES.read(WORD, capacity * 8)
    assert ours == PRICES.write(WORD, capacity * 8)
    assert ours == pytest.approx(theirs if capacity <= 2**20 else 100 + (capacity - 2**20) * 80 / (2**20 - 2**15))


def test_operations_cost_what_they_cost_there():
    theirs = LemaireEnergyCostConfig()
    assert pytest.approx(ADD) == theirs.e_add_pj
    assert pytest.approx(MAC) == theirs.e_add_pj + theirs.e_mul_pj
