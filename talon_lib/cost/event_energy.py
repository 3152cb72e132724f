"""Energy of one inference by events and widths, for two ways to execute; docs/energy.md has every equation.

event: work is done where a value that is not zero arrives, and at neurons as long as their membrane or current is not
0. clock: every synapse, neuron and value is worked on in every step. A preset with prices for events (Loihi) has its
own counting, after SANA-FE, and no clock-driven form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, get_args

from talon_lib.cost.preset import EnergyPreset, EventPrices, FlatPrices, OperationPrices
from talon_lib.cost.work import NodeWork

Execution = Literal["event", "clock"]
EXECUTIONS: tuple[Execution, ...] = get_args(Execution)

Prices = OperationPrices | FlatPrices


@dataclass(frozen=True)
class Parts:
    """Picojoules by what they are for; every part is 0 or more.

    synapse: MACs and ACs, biases included. neuron: what neurons (and pools, normalizations) add and multiply.
    weight_read: weights and biases. state: reads and writes of membranes, currents and partial sums. transport: values
    that go from one layer to the next.
    """

    synapse: float = 0.0
    neuron: float = 0.0
    weight_read: float = 0.0
    state: float = 0.0
    transport: float = 0.0

    @property
    def total(self) -> float:
        """Their sum."""
        return math.fsum(vars(self).values())

    def __add__(self, other: Parts) -> Parts:
        return Parts(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


PARTS: tuple[str, ...] = tuple(field.name for field in fields(Parts))


@dataclass(frozen=True)
class EventEnergy:
    """Energy of one inference in picojoules. static: power times latency, 0 where either is not known."""

    by_node: Mapping[str, Parts]
    static: float = 0.0

    @property
    def parts(self) -> Parts:
        """Over all nodes, without the static part, which belongs to none."""
        return sum(self.by_node.values(), start=Parts())

    @property
    def total(self) -> float:
        """All nodes and the static part."""
        return math.fsum([*(own.total for own in self.by_node.values()), self.static])


def energy(
    work: Mapping[str, NodeWork],
    steps: int,
    preset: EnergyPreset,
    execution: Execution = "event",
    latency_us: float | None = None,
) -> EventEnergy | None:
    """Energy of one inference of ``steps`` steps; None where the preset's device does not execute so.

    latency_us: what the preset's static power is drawn for, where it has one.
    """
    static = static_energy(preset, latency_us)
    if preset.events is not None:
        if execution == "clock":
            return None
        return EventEnergy({name: _priced_events(own, steps, preset.events) for name, own in work.items()}, static)
    prices = preset.prices
    return EventEnergy({name: node_energy(own, steps, prices, execution) for name, own in work.items()}, static)


def static_energy(preset: EnergyPreset, latency_us: float | None) -> float:
    """What the preset's static power takes over a latency, in picojoules; 0 where either is not known."""
    return (preset.static_mw or 0.0) * (latency_us or 0.0) * 1e3  # mW us = nJ


def node_energy(node: NodeWork, steps: int, prices: Prices, execution: Execution) -> Parts:
    """One node's energy of one inference."""
    return _on_events(node, steps, prices) if execution == "event" else _on_clock(node, steps, prices)


def _on_events(node: NodeWork, steps: int, prices: Prices) -> Parts:
    bias = steps * node.biases
    synapse = node.effective_macs * _mac(node, prices) + (node.effective_acs + bias) * _ac(node, prices)
    weights = node.reached * node.weight_bits + bias * node.bias_bits
    sums = node.outputs * node.accumulator_bits  # partial sums live in memory between two events
    state = _update(node.reached * node.accumulator_bits, sums, prices)
    busy = node.updates / node.inputs  # steps that a place is at work, mean over places
    address = math.ceil(math.log2(max(node.inputs, 2)))
    message = address + (0 if node.binary else node.input_bits)
    return Parts(
        synapse=synapse,
        neuron=busy * _arithmetic(node, prices),
        weight_read=prices.read(weights, node.stored_bits),
        state=state + _update(busy * node.touched_bits, node.state_bits, prices),
        transport=_update(node.events * message, node.inputs * message, prices) if node.synapses else 0.0,
    )


def _on_clock(node: NodeWork, steps: int, prices: Prices) -> Parts:
    synapse = node.macs * _mac(node, prices) + (node.acs + node.biases) * _ac(node, prices)
    weights = node.synapses * node.weight_bits + node.biases * node.bias_bits
    values = node.inputs * node.input_bits
    return Parts(
        synapse=steps * synapse,
        neuron=steps * _arithmetic(node, prices),
        weight_read=steps * prices.read(weights, node.stored_bits),
        state=steps * _update(node.touched_bits, node.state_bits, prices),
        transport=steps * _update(values, values, prices) if node.synapses else 0.0,
    )


def _priced_events(node: NodeWork, steps: int, prices: EventPrices) -> Parts:
    """SANA-FE's sum of events times energies."""
    dense, effective = node.reached, node.effective_macs + node.effective_acs
    if node.kernels:
        synapse = dense * prices.synapse_conv_pj
    elif node.zero_weights:  # a sparse layer does not store them, and no event reaches them
        synapse = effective * prices.synapse_sparse_pj
    else:
        synapse = dense * prices.synapse_dense_pj
    neuron = spikes = 0.0
    if node.state_bits and node.neurons:
        neuron = steps * node.neurons * prices.neuron_access_pj
        neuron += node.updates * prices.neuron_update_pj
    if node.spiking:
        spikes = node.spikes * prices.spike_pj
    messages = node.events if node.synapses else 0.0
    transport = messages * (prices.message_pj + prices.hops * prices.hop_pj)
    return Parts(synapse=synapse, neuron=neuron + spikes, transport=transport)


def _mac(node: NodeWork, prices: Prices) -> float:
    if not node.macs:
        return 0.0
    return prices.multiply_accumulate(node.mac_bits, node.weight_bits, node.accumulator_bits, node.floating)


def _ac(node: NodeWork, prices: Prices) -> float:
    return prices.accumulate(node.accumulator_bits, node.floating) if node.synapses else 0.0


def _arithmetic(node: NodeWork, prices: Prices) -> float:
    """One step's operations beside the synapses, all values worked on."""
    total = 0.0
    for own in node.arithmetic:
        if own.kind == "multiply":
            total += own.count * prices.multiply(own.left, own.right, own.floating)
        else:
            total += own.count * prices.add(max(own.left, own.right), own.floating)
    return total


def _update(bits: float, capacity: float, prices: Prices) -> float:
    """One read and one write of so many bits."""
    return prices.read(bits, capacity) + prices.write(bits, capacity)
