"""At which spike rate a spiking network stops beating a quantised network without spikes that has its shape.

The comparison is that of Yan et al. (arXiv 2409.08290): T steps of spikes can say as much as one value of
``ceil(log2(T + 1))`` bits. The energies are ours (``cost.event_energy``), under one preset for both; docs/energy.md has
the equations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from talon_lib.cost.event_energy import energy, node_energy
from talon_lib.cost.preset import EnergyPreset
from talon_lib.cost.work import Arithmetic, NodeWork


@dataclass(frozen=True)
class BreakEven:
    """A network beside its twin without spikes.

    ann_bits: width of the twin's activations. ann_pj, snn_pj: energy of one inference, static power left out.
    spike_rate: spikes for each input of a layer that takes spikes, and step; None where no layer takes any.
    break_even_rate: the rate at which both energies are equal where all spikes become more or fewer alike; 0 where the
    network loses even without a spike, above 1 where it wins at any rate, None where no spike arrives.
    layer_break_even_rate: the same of the layers behind spikes alone, whatever the first layers and neurons take.
    """

    ann_bits: int
    ann_pj: float
    snn_pj: float
    spike_rate: float | None
    break_even_rate: float | None
    layer_break_even_rate: float | None

    @property
    def beats_ann(self) -> bool:
        """Whether the network takes less energy than its twin, so that it spikes below the break-even rate."""
        return self.snn_pj < self.ann_pj


def ann_bits(steps: int) -> int:
    """Bits of a value that counts the spikes of ``steps`` steps: ``ceil(log2(steps + 1))``."""
    return steps.bit_length()


def break_even(work: Mapping[str, NodeWork], steps: int, preset: EnergyPreset) -> BreakEven | None:
    """Compare an event-driven run with its twin; None where the preset prices spikes alone (Loihi)."""
    found = energy(work, steps, preset)
    if preset.events is not None or found is None:
        return None
    bits = ann_bits(steps)
    twins = {name: _twin(own, bits) for name, own in work.items()}
    by_twin = {name: node_energy(twin, 1, preset.prices, "clock").total for name, twin in twins.items()}
    ann = math.fsum(by_twin.values())
    by_node = {name: own.total for name, own in found.by_node.items()}
    snn = math.fsum(by_node.values())
    driven = {name: own for name, own in work.items() if own.driven and own.synapses}
    spikes = math.fsum(own.events for own in driven.values())
    places = steps * sum(own.inputs for own in driven.values())
    if not places:
        return BreakEven(bits, ann, snn, None, None, None)
    rate = spikes / places
    silent = math.fsum(node_energy(_silenced(own), steps, preset.prices, "event").total for own in driven.values())
    layers, layer_twins = (math.fsum(own[name] for name in driven) for own in (by_node, by_twin))
    by_spikes = layers - silent
    if by_spikes <= 0:
        return BreakEven(bits, ann, snn, rate, None, None)

    def equal(saved: float) -> float:
        """E(r) = (E - by_spikes) + by_spikes r / rate is a line, for each of its counts goes with the spikes."""
        return max(rate * (1 + saved / by_spikes), 0.0)

    return BreakEven(bits, ann, snn, rate, equal(ann - snn), equal(layer_twins - layers))


def _silenced(node: NodeWork) -> NodeWork:
    """The node where no spike arrives: its biases are left."""
    return replace(node, events=0.0, updates=0.0, reached=0.0, effective_macs=0.0, effective_acs=0.0)


def _twin(node: NodeWork, bits: int) -> NodeWork:
    """The node without spikes and without state, whose activations have ``bits`` bits.

    Spikes become values of that width, and what adds them up gains its bits; what pools make of spikes keeps its own
    width, or gets that one where it is less. A neuron becomes one comparison, which quantises.
    """
    wider = bits - 1
    operations = tuple(
        replace(own, left=_widened(own.left, wider), right=_widened(own.right, wider)) for own in node.arithmetic
    )
    if node.neurons:
        operand = next((own for own in node.arithmetic if own.kind == "add"), None)
        width = max(operand.left, operand.right) if operand else node.input_bits
        operations = (Arithmetic("add", node.neurons, width, width, operand.floating if operand else False),)
    input_bits = max(node.input_bits, bits) if node.driven else node.input_bits
    return replace(
        node,
        macs=node.synapses,
        acs=0,
        input_bits=input_bits,
        mac_bits=max(node.mac_bits, input_bits),
        accumulator_bits=node.accumulator_bits + (0 if node.floating else input_bits - node.input_bits),
        binary=False,
        arithmetic=operations,
        state_bits=0,
        touched_bits=0,
    )


def _widened(bits: int, wider: int) -> int:
    """Spikes, the only values of one bit, grow to activations."""
    return bits + wider if bits == 1 else bits
