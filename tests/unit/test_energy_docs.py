"""docs/energy.md: its tables are what the code gives, its worked example what the example network gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from talon_lib import ir
from talon_lib.cost.break_even import break_even
from talon_lib.cost.event_energy import PARTS, Execution, energy
from talon_lib.cost.metrics import metrics
from talon_lib.cost.preset import TUTORIAL, get_preset, parse_preset
from talon_lib.cost.work import NodeWork, work
from talon_lib.files import parse_yaml
from talon_lib.simulate import bind_graph, run

FILE = Path("docs/energy.md").read_text()
DOCS = " ".join(FILE.split())
PRICES = get_preset("horowitz_45nm").prices
STEPS = 8


def says(text: str) -> None:
    """Line breaks of the text do not matter."""
    assert " ".join(text.split()) in DOCS, f"docs/energy.md does not say:\n{text}"


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 24, 32])
def test_prices_by_width_and_those_of_qtools(bits: int) -> None:
    own = f"{PRICES.add(bits):.4f} | {0.003125 * bits:.4f} | {PRICES.multiply(bits, bits):.4f}"
    says(f"| {bits} | {own} | {0.002994791667 * bits**2 + 0.001041666667 * bits:.4f} |")


def test_prices_of_memory_by_capacity() -> None:
    capacities = [1, 4, 8, 20, 32, 528, 1024, 2048]
    says("| 64-bit access (pJ) | " + " | ".join(f"{PRICES.read(64, kb * 8192):.2f}" for kb in capacities) + " |")


def test_the_tutorials_presets() -> None:
    section = FILE.split("## What the tutorial's presets are")[1].split("## ")[0]
    rows = [row.split(" | ") for row in section.splitlines() if row.startswith("| ")]
    found = {name: row[1] for row in rows[1:] for name in row[0].removeprefix("| ").split(", ")}
    assert set(found) == set(TUTORIAL)
    for name, prices in found.items():
        own = get_preset(name)
        assert prices == f"{own.mac_pj}, {own.spike_pj}, {own.sram_read_pj}" and own.sram_read_pj == own.sram_write_pj


def test_the_preset_of_ones_own_is_one() -> None:
    text = FILE.split("```yaml\n")[1].split("```")[0]
    preset = parse_preset("mine", parse_yaml(text, "docs"))
    assert preset.static_mw == 12.0 and preset.operations is not None


def test_an_input_of_spikes_is_accumulated_where_the_precision_says_that_it_is() -> None:
    precision = json.loads(FILE.split("```json\n")[1].split("```")[0])
    rng = np.random.default_rng(0)
    spikes = (rng.random((STEPS, 3, 6)) < 0.4).astype(float)
    nodes = {"x": ir.Input((6,)), "fc": ir.Affine(rng.uniform(-1, 1, (4, 6))), "y": ir.Output((4,))}
    graph = ir.Graph(nodes, [("x", "fc"), ("fc", "y")])
    found = {}
    for name, given in {"int8": "int8", "spikes": precision}.items():
        bound = bind_graph(graph, given, {"x": spikes}, STEPS)
        found[name] = work(graph, bound, run(graph, bound, {"x": spikes}, STEPS).activity, 3)["fc"]
    real, driven = found["int8"], found["spikes"]
    assert (real.acs, real.effective_acs, real.driven, real.input_bits) == (0, 0, False, 8)
    assert (driven.macs, driven.effective_macs, driven.driven, driven.input_bits) == (0, 0, True, 1)
    assert driven.effective_acs == real.effective_macs > 0
    assert driven.weight_bits == real.weight_bits == 8


def test_loihis_figures() -> None:
    own = get_preset("loihi").events
    assert own is not None
    says(
        f"synapse {own.synapse_dense_pj} (dense), {own.synapse_sparse_pj} (sparse), {own.synapse_conv_pj} (convolution)"
    )
    says(f"neuron access {own.neuron_access_pj}, neuron update {own.neuron_update_pj}, spike {own.spike_pj}")
    says(f"message {own.message_pj:g}, hop {own.hop_pj} (east, west)")


# --- the worked example ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> Mapping[str, NodeWork]:
    graph, data = ir.read("configs/graphs/digits.nir"), np.load("configs/data/digits.npz")
    x = data["x_test"]
    bound = bind_graph(graph, "int8", {"input": data["x_train"][:128]}, STEPS)
    return work(graph, bound, run(graph, bound, {"input": x}, STEPS).activity, len(x))


def test_the_layer_that_is_worked_out(digits: Mapping[str, NodeWork]) -> None:
    """The sums of the text, written out with the counts; what comes out is what the code gives."""
    fc2 = digits["fc2"]
    assert (fc2.inputs, fc2.outputs, fc2.weights, fc2.zero_weights, fc2.biases) == (32, 10, 320, 1, 10)
    assert (fc2.weight_bits, fc2.bias_bits, fc2.accumulator_bits, fc2.stored_bits) == (8, 16, 26, 2720)
    e, k, a = fc2.events, fc2.reached, fc2.effective_acs
    says(f"e = {e:.1f} spikes arrive at fc2, k = {k:.1f} synapses are reached, a = {a:.1f} of them with a weight that")
    says(f"({k * 8:.1f} + 1280) bits")
    per_bit = 10 / 64 / 65536  # pJ for each bit that is read, and bit that the memory has
    add = 0.03 + (0.1 - 0.03) * (26 - 8) / (32 - 8)
    parts = {
        "synapse": (a + 8 * 10) * add,
        "weight_read": (k * 8 + 8 * 10 * 16) * 2720 * per_bit,
        "state": 2 * k * 26 * 260 * per_bit,
        "transport": 2 * e * 5 * 160 * per_bit,
    }
    found = energy(digits, STEPS, get_preset("horowitz_45nm"))
    assert found is not None
    for part, picojoules in parts.items():
        assert getattr(found.by_node["fc2"], part) == pytest.approx(picojoules)
        says(f"= {picojoules:.2f} pJ")


def test_the_table_of_the_example(digits: Mapping[str, NodeWork]) -> None:
    found = energy(digits, STEPS, get_preset("horowitz_45nm"))
    assert found is not None
    rows = {**found.by_node, "all": found.parts}
    for name, own in rows.items():
        cells = [f"{getattr(own, part):.1f}" for part in PARTS]
        says(f"| {name} | {' | '.join(cells)} | {own.total:.1f} |")


def test_the_other_totals_of_the_example(digits: Mapping[str, NodeWork]) -> None:
    totals = {}
    asked: dict[str, Execution] = {"horowitz_45nm": "clock", "neuromorphic_int8": "event", "loihi": "event"}
    for name, execution in asked.items():
        found = energy(digits, STEPS, get_preset(name), execution)
        assert found is not None
        totals[name] = f"{found.total / 1e3:.1f} nJ"
    says(f"Clock-driven it is {totals['horowitz_45nm']}")
    says(f"event-driven under `neuromorphic_int8` {totals['neuromorphic_int8']}, under `loihi` {totals['loihi']}")
    even, measured = break_even(digits, STEPS, get_preset("horowitz_45nm")), metrics(digits, STEPS)
    assert even is not None and even.spike_rate is not None and not even.beats_ann
    says(f"The twin has {even.ann_bits} bits and takes {even.ann_pj / 1e3:.2f} nJ")
    says(f"spike rate is {even.spike_rate:.3f} and break-even at {even.break_even_rate:.1f}")
    assert even.layer_break_even_rate is not None and even.layer_break_even_rate < even.spike_rate / 2
    says(f"the one layer behind spikes, would break even at {even.layer_break_even_rate:.3f}")
    says(f"footprint {measured.footprint_bytes:,} bytes, connection sparsity {measured.connection_sparsity:.3f}")
    says(f"activation sparsity {measured.activation_sparsity:.3f}")
    assert measured.activation_sparsity == pytest.approx(
        1 - sum(n.spikes for n in digits.values()) / (STEPS * (32 + 10))
    )
