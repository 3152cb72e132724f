"""Energy after TALON's own accounting; ``cost.event_energy`` has the accounting that knows widths and events.

    E = MACs * mac_pj + spikes * spike_pj + reads * read_pj + writes * write_pj

MACs are the elements of the weight tensors times the steps (a convolution counts once, not once for each place of its
kernel, so that its figure is too low); SRAM reads are the weight bytes in words of four, once,
plus one read per neuron and step; writes one per neuron and step (TALON SDK, ``cpu.profile``). The formula charges a
MAC the same at every width: what precision changes in it are the words of weights and the spikes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from talon_lib.cost.counts import NodeCounts
from talon_lib.cost.preset import EnergyPreset


@dataclass(frozen=True)
class Energy:
    """Energy of one inference, in microjoules: in all, by part, and by node that takes any."""

    total_uj: float
    mac_uj: float
    spike_uj: float
    sram_uj: float
    by_node_uj: Mapping[str, float]
    sram_accesses: int


def talon_energy(
    counts: Mapping[str, NodeCounts], steps: int, spikes: Mapping[str, float], preset: EnergyPreset
) -> Energy:
    """TALON's accounting of one inference of ``steps`` steps; ``spikes`` by node, over all steps."""
    macs = words = updates = 0
    spiked = 0.0
    access = preset.sram_read_pj + preset.sram_write_pj
    by_node = {}
    for name, node in counts.items():
        node_macs, node_words = node.weights * steps, (node.weight_bytes + 3) // 4
        node_updates = node.neurons * steps
        node_spikes = spikes.get(name, 0.0)
        own = node_macs * preset.mac_pj + node_spikes * preset.spike_pj
        own += node_words * preset.sram_read_pj + node_updates * access
        if own > 0:
            by_node[name] = own / 1e6
        macs, words, updates = macs + node_macs, words + node_words, updates + node_updates
        spiked += node_spikes
    # the sums are priced, not the prices summed: as the SDK does, so that both agree in every digit
    mac, spike = macs * preset.mac_pj, spiked * preset.spike_pj
    sram = (words + updates) * preset.sram_read_pj + updates * preset.sram_write_pj
    return Energy((mac + spike + sram) / 1e6, mac / 1e6, spike / 1e6, sram / 1e6, by_node, words + 2 * updates)
