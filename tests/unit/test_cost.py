"""Counts, energy and estimates: parts sum to wholes, and figures move the way that hardware does."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from talon_lib import ir
from talon_lib.cost import energy
from talon_lib.cost.counts import NodeCounts, count
from talon_lib.cost.energy import EnergyPreset, get_preset, preset_dicts, presets, talon_energy
from talon_lib.cost.estimate import estimate
from talon_lib.errors import ConfigError
from talon_lib.simulate import bind_graph

NAMES = ["45nm_cmos", "28nm_cmos", "neuromorphic_int8", "zynq_us_plus", "zcu102", "zynq_7020"]


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


# --- presets ---------------------------------------------------------------------------------------------------------


def test_the_presets_are_those_of_the_tutorial_in_its_order() -> None:
    assert list(presets()) == NAMES == list(preset_dicts())
    assert all(get_preset(name).name == name and get_preset(name).source for name in NAMES)


def test_an_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match=f"unknown energy preset 'zcu'; there are: {', '.join(NAMES)}"):
        get_preset("zcu")


def test_presets_cannot_be_changed_from_outside() -> None:
    with pytest.raises(TypeError):
        presets()["mine"] = get_preset("zcu102")  # type: ignore[index]
    with pytest.raises(TypeError):
        preset_dicts()["zcu102"]["mac_pj"] = 0.0  # type: ignore[index]
    with pytest.raises(AttributeError):
        get_preset("zcu102").mac_pj = 0.0  # type: ignore[misc]


GOOD = {"description": "", "source": "", "mac_pj": 1, "spike_pj": 0.5, "sram_read_pj": 0, "sram_write_pj": 2.0}


def test_a_preset_in_a_file_has_exactly_the_keys() -> None:
    assert energy._preset("mine", GOOD).sram_write_pj == 2.0
    for wrong in (None, [], "x", {}, GOOD | {"mac": 1}, {k: v for k, v in GOOD.items() if k != "source"}):
        with pytest.raises(ConfigError, match="energy preset 'mine' must have exactly the keys description, mac_pj, "):
            energy._preset("mine", wrong)


@pytest.mark.parametrize("price", ["mac_pj", "spike_pj", "sram_read_pj", "sram_write_pj"])
@pytest.mark.parametrize("value", [-1, -0.001, float("nan"), float("inf"), "3", None, True, [1]])
def test_a_price_that_is_no_energy_is_refused_by_name(price: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"energy preset 'mine': {price} must be picojoules of 0 or more, not "):
        energy._preset("mine", GOOD | {price: value})


def test_single_prices_can_be_replaced() -> None:
    preset = get_preset("zcu102")
    made = preset.having(mac_pj=9.0, spike_pj=None, sram_read_pj=0.0)
    assert (made.mac_pj, made.spike_pj, made.sram_read_pj) == (9.0, preset.spike_pj, 0.0)
    assert (made.sram_write_pj, made.name) == (preset.sram_write_pj, preset.name)
    with pytest.raises(ConfigError, match="spike_pj must be picojoules of 0 or more, not -1"):
        preset.having(spike_pj=-1)


# --- estimates -------------------------------------------------------------------------------------------------------


@given(graphs, st.integers(1, 10**7), st.integers(1, 10**7), st.integers(1, 40))
def test_more_reuse_means_fewer_multipliers_and_more_cycles(
    counts: dict[str, NodeCounts], reuse: int, more: int, steps: int
) -> None:
    few, many = (estimate(counts, factor, steps, 5.0) for factor in (reuse, reuse + more))
    assert many.multipliers <= few.multipliers
    assert many.cycles_per_step >= few.cycles_per_step
    assert many.interval_cycles >= few.interval_cycles
    assert many.latency_us >= few.latency_us


@given(graphs, st.integers(1, 40))
def test_without_reuse_every_weight_of_a_dense_layer_has_its_multiplier(
    counts: dict[str, NodeCounts], steps: int
) -> None:
    counts = {name: replace(node, weights=node.macs_per_step) for name, node in counts.items()}
    found = estimate(counts, 1, steps, 5.0)
    assert found.multipliers == sum(node.macs_per_step for node in counts.values())
    assert found.interval_cycles == 1
    layers = sum(1 for node in counts.values() if node.macs_per_step or node.neurons)
    assert found.cycles_per_step == layers
    assert found.latency_us == pytest.approx((steps - 1 + layers) * 0.005)


@given(graphs, st.integers(1, 10**7))
def test_multipliers_work_through_all_operations_within_the_cycles(counts: dict[str, NodeCounts], reuse: int) -> None:
    found = estimate(counts, reuse, 1, 5.0)
    assert found.multipliers * found.interval_cycles >= max([0, *(node.macs_per_step for node in counts.values())])
    assert found.multipliers >= sum(1 for node in counts.values() if node.macs_per_step)
    assert found.interval_cycles <= max([1, *(node.macs_per_step + node.weights for node in counts.values())])


@given(graphs, st.integers(1, 1000), st.integers(1, 40))
def test_one_factor_is_that_factor_at_every_node(counts: dict[str, NodeCounts], reuse: int, steps: int) -> None:
    assert estimate(counts, reuse, steps, 5.0) == estimate(counts, dict.fromkeys(counts, reuse), steps, 5.0)


def test_a_convolution_uses_its_multipliers_for_every_place_of_its_kernel() -> None:
    conv = NodeCounts(macs_per_step=72 * 64, weights=72, neurons=0, weight_bits=0, state_bits=0)
    found = estimate({"conv": conv}, reuse=9, steps=1, clock_period_ns=5.0)
    assert (found.multipliers, found.cycles_per_step, found.interval_cycles) == (8, 9 * 64, 9 * 64)


def test_an_estimate_worked_out_by_hand() -> None:
    counts = count(network()) | {"fc2": NodeCounts(10, 10, 0, 320, 0)}
    found = estimate(counts, {"fc": 6, "fc2": 4}, steps=3, clock_period_ns=10.0)
    assert found.multipliers == 24 // 6 + 3  # 10 operations in 4 cycles need 3 multipliers
    assert found.cycles_per_step == 6 + 1 + 4  # fc, the neurons, fc2
    assert found.interval_cycles == 6
    assert found.latency_us == pytest.approx((2 * 6 + 11) * 10e-3)


def test_latency_goes_with_the_clock_and_the_steps() -> None:
    counts = count(network())
    assert estimate(counts, 4, 3, 10.0).latency_us == pytest.approx(2 * estimate(counts, 4, 3, 5.0).latency_us)
    one, two, three = (estimate(counts, 4, steps, 5.0).latency_us for steps in (1, 2, 3))
    assert three - two == pytest.approx(two - one) == pytest.approx(4 * 0.005)
