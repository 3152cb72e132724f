"""Counts, energy and estimates: parts sum to wholes, and figures move the way that hardware does."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from talon_lib import ir
from talon_lib.cost.counts import NodeCounts, count
from talon_lib.cost.energy import talon_energy
from talon_lib.cost.preset import EnergyPreset, get_preset
from talon_lib.simulate import bind_graph


def network() -> ir.Graph:
    lif = {key: np.full(4, value, np.float32) for key, value in {"tau": 2.0, "r": 1.0, "v_leak": 0.0}.items()}
    nodes = {
        "input": ir.Input((2, 3)),
        "flat": ir.Flatten(),
        "fc": ir.Affine(np.full((4, 6), 0.5, np.float32), np.zeros(4, np.float32)),
        "lif": ir.LIF(**lif, v_threshold=np.ones(4, np.float32)),
        "output": ir.Output((4,)),
    }
    return ir.Graph(nodes, list(itertools.pairwise(nodes)))


# --- counts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "weight", "bias", "membrane"),
    [
        ("fp32", 32, 32, 32),
        ("fp16", 16, 16, 16),
        ("int8", 8, 16, 16),
        ("int3", 3, 6, 6),
        ("ap_fixed<11,4>", 11, 11, 11),
    ],
)
def test_memory_is_counted_at_the_widths_of_the_precision(
    precision: str, weight: int, bias: int, membrane: int
) -> None:
    counts = count(network(), bind_graph(network(), precision))
    assert list(counts) == ["flat", "fc", "lif"]
    assert counts["fc"] == NodeCounts(24, 24, 0, 24 * weight + 4 * bias, 0)
    assert counts["lif"] == NodeCounts(0, 0, 4, 0, 4 * membrane)
    assert counts["flat"] == NodeCounts(0, 0, 0, 0, 0)


def test_without_types_everything_has_32_bits() -> None:
    assert count(network()) == count(network(), bind_graph(network(), "fp32"))


@given(st.integers(0, 10**6))
def test_bytes_are_whole_and_hold_all_bits(bits: int) -> None:
    node = NodeCounts(0, 0, 0, bits, 0)
    assert 8 * node.weight_bytes - 8 < bits <= 8 * node.weight_bytes


# --- energy ----------------------------------------------------------------------------------------------------------

counted = st.builds(
    NodeCounts,
    macs_per_step=st.integers(0, 10**6),
    weights=st.integers(0, 10**6),
    neurons=st.integers(0, 10**4),
    weight_bits=st.integers(0, 10**7),
    state_bits=st.integers(0, 10**5),
)
graphs = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), counted, max_size=4)
prices = st.floats(0, 100)
priced = st.builds(
    EnergyPreset,
    name=st.just("p"),
    description=st.just(""),
    source=st.just(""),
    mac_pj=prices,
    spike_pj=prices,
    sram_read_pj=prices,
    sram_write_pj=prices,
)
spiking = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.floats(0, 10**5))


@given(graphs, st.integers(1, 50), spiking, priced)
def test_the_parts_of_the_energy_sum_to_the_total_and_so_do_the_nodes(
    counts: dict[str, NodeCounts], steps: int, spikes: dict[str, float], preset: EnergyPreset
) -> None:
    found = talon_energy(counts, steps, spikes, preset)
    parts = found.mac_uj + found.spike_uj + found.sram_uj
    assert math.isclose(parts, found.total_uj, rel_tol=1e-12, abs_tol=1e-18)
    assert math.isclose(sum(found.by_node_uj.values()), found.total_uj, rel_tol=1e-9, abs_tol=1e-15)
    assert set(found.by_node_uj) <= set(counts)
    assert all(value > 0 for value in found.by_node_uj.values())


@given(graphs, st.integers(1, 50), spiking, priced)
def test_every_part_is_its_count_at_its_price(
    counts: dict[str, NodeCounts], steps: int, spikes: dict[str, float], preset: EnergyPreset
) -> None:
    found = talon_energy(counts, steps, spikes, preset)
    words = sum(math.ceil(math.ceil(node.weight_bits / 8) / 4) for node in counts.values())
    updates = sum(node.neurons for node in counts.values()) * steps
    macs = sum(node.weights for node in counts.values()) * steps
    spiked = sum(value for name, value in spikes.items() if name in counts)
    expected = {
        "mac_uj": macs * preset.mac_pj,
        "spike_uj": spiked * preset.spike_pj,
        "sram_uj": (words + updates) * preset.sram_read_pj + updates * preset.sram_write_pj,
    }
    for part, picojoules in expected.items():
        assert math.isclose(getattr(found, part), picojoules / 1e6, rel_tol=1e-9, abs_tol=1e-15)
    assert found.sram_accesses == words + 2 * updates


def test_energy_of_nothing_is_nothing() -> None:
    found = talon_energy({}, 3, {}, get_preset("zcu102"))
    assert (found.total_uj, dict(found.by_node_uj), found.sram_accesses) == (0.0, {}, 0)


def test_fewer_bits_read_fewer_words_and_nothing_else() -> None:
    preset = get_preset("zcu102")
    wide, narrow = (
        talon_energy(count(network(), bind_graph(network(), p)), 5, {"lif": 7}, preset) for p in ("fp32", "int4")
    )
    assert (wide.mac_uj, wide.spike_uj) == (narrow.mac_uj, narrow.spike_uj)
    assert wide.sram_accesses - narrow.sram_accesses == 28 - (24 * 4 + 4 * 8) // 32
    assert narrow.sram_uj < wide.sram_uj
