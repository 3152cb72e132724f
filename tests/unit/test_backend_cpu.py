"""Profiles of the cpu backend; the tutorial's own figures are in tests/golden."""

import numpy as np
import pytest

from talon_lib import backend, ir
from talon_lib.cost.preset import get_preset
from talon_lib.errors import ConfigError


@pytest.fixture(scope="module")
def graph():
    rng = np.random.default_rng(3)
    return ir.Graph(
        {
            "in": ir.Input([6]),
            "fc": ir.Affine(rng.normal(size=(5, 6)), rng.normal(size=5)),
            "lif": ir.LIF(*(np.full(5, v) for v in (4.0, 1.0, 0.0, 0.5))),
            "out": ir.Output([5]),
        },
        [("in", "fc"), ("fc", "lif"), ("lif", "out")],
    )


@pytest.fixture(scope="module")
def cpu():
    return backend.get_backend("cpu")


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_profile_grows_with_the_steps(cpu, graph, steps):
    """MACs, spikes, state reads and writes by step; weights are read once."""
    x = np.random.default_rng(4).normal(size=6)
    profile = cpu.profile(graph, {"in": x}, n_steps=steps, energy_preset="zynq_7020")
    spikes = sum(cpu.simulate(graph, {"in": x}, n_steps=steps).spike_counts.values())
    assert profile.mac_ops == 30 * steps
    assert profile.mac_energy_uj == pytest.approx(30 * steps * 6.5 / 1e6)
    assert profile.spike_energy_uj == pytest.approx(spikes * 1.2 / 1e6)
    assert profile.sram_energy_uj == pytest.approx((35 * 8 + 5 * steps * (8 + 8)) / 1e6)
    assert profile.total_sram_accesses == 35 + 2 * 5 * steps
    assert profile.weight_memory_bytes == 35 * 4
    assert profile.spike_counts == {"lif": spikes}
    assert profile.neuron_utilization == {"lif": spikes / (5 * steps)}
    assert steps == 1 or spikes > 0


def test_each_price_replaces_the_presets(cpu, graph):
    base = get_preset("neuromorphic_int8")
    for key, argument in (
        ("mac_pj", "energy_per_mac_pj"),
        ("spike_pj", "energy_per_spike_pj"),
        ("sram_read_pj", "energy_per_sram_read_pj"),
        ("sram_write_pj", "energy_per_sram_write_pj"),
    ):
        profile = cpu.profile(graph, {"in": np.ones(6)}, n_steps=3, **{argument: 0.0})
        full = cpu.profile(graph, {"in": np.ones(6)}, n_steps=3)
        amount = {
            "mac_pj": 90,
            "spike_pj": sum(full.spike_counts.values()),
            "sram_read_pj": 35 + 15,
            "sram_write_pj": 15,
        }[key]
        lost = full.energy_estimate_uj - profile.energy_estimate_uj
        assert lost == pytest.approx(amount * getattr(base, key) / 1e6)


def test_unknown_preset(cpu, graph):
    with pytest.raises(
        ConfigError,
        match=r"^unknown energy preset 'tpu'; there are: 45nm_cmos, .*zynq_7020, horowitz_45nm, loihi; or give ",
    ):
        cpu.profile(graph, energy_preset="tpu")


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf"), "1", True])
def test_prices_are_picojoules(cpu, graph, price):
    with pytest.raises(ConfigError, match=r"mac_pj must be picojoules of 0 or more"):
        cpu.profile(graph, energy_per_mac_pj=price)


def test_step_by_step_states(cpu, graph):
    result = cpu.simulate(graph, {"in": np.ones((2, 6))}, n_steps=4, step_by_step=True)
    assert [sorted(states) for states in result.node_states] == [["fc", "in", "lif", "lif.membrane", "out"]] * 4
    spikes = sum(int(states["lif"].sum()) for states in result.node_states)
    assert result.spike_counts == {"lif": spikes}
    assert cpu.simulate(graph, n_steps=4).node_states == []


def test_validate(cpu, graph):
    assert cpu.validate(graph) == backend.ValidationResult(True, [], [])
