"""Estimates: figures move as hardware does, and agree with what others have published or measured."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from talon_lib import ir
from talon_lib.cost.estimate import RTL_MATRIX, RTL_NEURONS, Design, estimate
from talon_lib.cost.layers import Layer
from talon_lib.cost.resources import (
    HLS_NARROW,
    RAMB18_SHAPES,
    Usage,
    block_rams,
    memory,
    multiplier,
    shift_register,
)
from talon_lib.cost.reuse import closest_reuse_factor, effective_reuse_factor, legal_reuse_factors
from talon_lib.errors import ConfigError
from talon_lib.hls.lower import lower
from talon_lib.hls.sizes import layers
from talon_lib.simulate import bind_graph

widths = st.integers(1, 40)
sizes = st.integers(1, 60)


def dense(n_in: int = 8, n_out: int = 4, x: int = 8, w: int = 8, **changes: object) -> Layer:
    layer = Layer("fc", "fc", "matrix", n_in, n_out, factors=((x, w),), adder_bits=x + w, input_bits=x, weight_bits=w)
    return replace(layer, result_bits=16, shares=True, **changes)


def neurons(values: int = 4, bits: int = 16) -> Layer:
    layer = Layer("lif", "lif", "elements", values, values, factors=((bits, 16),), adder_bits=3 * bits, shares=True)
    return replace(layer, result_bits=1, state_bits=bits, integrators=1)


# --- reuse factors ---------------------------------------------------------------------------------------------------


def test_legal_and_closest_factors_are_those_of_hls4ml() -> None:
    backend = pytest.importorskip("hls4ml.backends").get_backend("Vitis")
    shapes = [*itertools.product(range(1, 19), repeat=2), (64, 30), (30, 64), (128, 10), (97, 16), (16, 97), (72, 36)]
    for n_in, n_out in shapes:
        theirs = backend.get_valid_reuse_factors(n_in, n_out)
        ours = legal_reuse_factors(n_in, n_out)
        assert list(ours) == theirs, (n_in, n_out)
        for asked in (*range(1, 40), n_in, n_in * n_out - 1, n_in * n_out, n_in * n_out + 1):
            assert closest_reuse_factor(ours, asked) == backend.get_closest_reuse_factor(theirs, asked)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_legal_factor_keeps_every_multiplier_busy_in_every_cycle(n_in: int, n_out: int) -> None:
    legal = legal_reuse_factors(n_in, n_out)
    assert (legal[0], legal[-1]) == (1, n_in * n_out)
    assert list(legal) == sorted(set(legal))
    for factor in legal:
        assert n_in * n_out % factor == 0
        assert n_in % factor == 0 or (factor % n_in == 0 and n_out % (factor // n_in) == 0)
    assert set(legal_reuse_factors(n_in, n_out, convolves=True)) == {factor for factor in legal if factor <= n_in}


def test_a_node_may_ask_for_its_own_factor_and_only_resource_moves_it() -> None:
    layer = dense(6, 4)
    assert effective_reuse_factor(layer, 5, "Latency") == 5
    assert effective_reuse_factor(layer, 5, "Resource") == 6
    assert effective_reuse_factor(replace(layer, reuse=3), 5, "Resource") == 3
    assert effective_reuse_factor(replace(layer, convolves=True), 24, "Resource") == 6
    assert effective_reuse_factor(neurons(), 5, "Resource") == 5


# --- memories and multipliers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "width", "blocks"),
    # UG473, tables of port aspect ratios: what one RAMB18 holds, and one word or one bit more
    [
        *((depth, width, 1) for depth, width in ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))),
        (16385, 1, 2),
        (513, 36, 2),
        (512, 37, 2),
        (1024, 36, 2),
        (2048, 16, 2),
        (4096, 8, 2),
        (1, 72, 2),
        (0, 8, 0),
        (8, 0, 0),
    ],
)
def test_block_rams_have_the_shapes_of_the_data_sheet(depth: int, width: int, blocks: int) -> None:
    assert block_rams(depth, width) == blocks


@given(st.integers(1, 10**5), st.integers(1, 2000), st.integers(0, 10**4), st.integers(0, 500))
def test_block_rams_grow_with_depth_and_width_and_hold_all_bits(
    depth: int, width: int, deeper: int, wider: int
) -> None:
    assert block_rams(depth, width) <= block_rams(depth + deeper, width + wider)
    assert block_rams(depth, width) * 18 * 1024 >= depth * width
    assert block_rams(depth, width) <= block_rams(depth, width + 1) <= block_rams(depth, width) + -(-depth // 512)
    assert all(deep * wide in (16384, 18432) for deep, wide in RAMB18_SHAPES)


@given(st.integers(1, 5000), st.integers(1, 500))
def test_every_memory_is_somewhere(depth: int, width: int) -> None:
    used = memory(depth, width)
    assert (used.ff > 0, used.lut > 0, used.bram > 0) == (depth == 1, 1 < depth <= 64, depth > 64)
    assert used.ff + used.lut * 64 + used.bram * 18432 >= depth * width


def test_a_shift_register_takes_a_lut_for_32_places_of_a_bit() -> None:
    assert [shift_register(depth, 3).lut for depth in (0, 1, 32, 33, 64, 65)] == [0, 3, 3, 6, 6, 9]


@pytest.mark.parametrize(
    ("first", "second", "dsp", "slices"),
    [
        (25, 18, "DSP48E1", 1),  # UG479: a 25 x 18 multiplier
        (18, 25, "DSP48E1", 1),
        (35, 25, "DSP48E1", 2),  # UG479: 35 x 25 with two slices
        (26, 18, "DSP48E1", 2),
        (27, 18, "DSP48E2", 1),  # UG579: a 27 x 18 multiplier
        (27, 19, "DSP48E2", 2),
        (27, 24, "DSP58", 1),  # AM004: a 27 x 24 multiplier
        (27, 24, "DSP48E2", 2),
        (16, 16, "DSP48E1", 1),
        (8, 8, "DSP48E2", 1),
        (4, 4, "DSP48E2", 0),  # UG901: products of 4 x 4 and less go into LUTs
        (5, 4, "DSP48E2", 1),
        (1, 40, "DSP48E2", 0),
        (40, 1, "DSP58", 0),
    ],
)
def test_multipliers_take_the_slices_of_the_user_guides(first: int, second: int, dsp: str, slices: int) -> None:
    assert multiplier(first, second, dsp).dsp == slices


@pytest.mark.parametrize(("first", "second", "slices"), [(16, 6, 0), (6, 6, 0), (16, 7, 1), (16, 8, 1), (6, 1, 0)])
def test_vitis_hls_leaves_narrow_products_in_luts(first: int, second: int, slices: int) -> None:
    used = multiplier(first, second, "DSP48E2", HLS_NARROW)
    assert (used.dsp, used.lut) == (slices, 0 if slices or second == 1 else first * second)
    wide = estimate([dense(8, 4, first, second)], Design(reuse=32), 1).usage
    assert wide.dsp == slices
    assert estimate([dense(8, 4, 16, 6)], Design(reuse=32, flow="open-rtl"), 1).usage.dsp == 1  # Yosys does not


@given(widths, widths, st.sampled_from(["DSP48E1", "DSP48E2", "DSP58"]))
def test_a_product_is_a_gate_or_takes_luts_or_slices(first: int, second: int, dsp: str) -> None:
    used = multiplier(first, second, dsp)
    assert used == multiplier(second, first, dsp)
    assert (used == Usage()) == (min(first, second) == 1)
    assert (used.lut > 0) + (used.dsp > 0) == (min(first, second) > 1)
    assert multiplier(first + 1, second, dsp).dsp >= used.dsp


# --- hls4ml's mapping ------------------------------------------------------------------------------------------------

designs = st.builds(
    Design,
    reuse=st.integers(1, 5000),
    strategy=st.sampled_from(["Latency", "Resource"]),
    io_type=st.sampled_from(["io_parallel", "io_stream"]),
    clock_period_ns=st.floats(1, 20),
    dsp=st.sampled_from(["DSP48E1", "DSP48E2", "DSP58"]),
)
matrices = st.builds(
    dense, sizes, sizes, widths, widths, places=st.integers(1, 50), zeros=st.just(0), convolves=st.booleans()
).map(
    lambda layer: (
        replace(layer, tokens=(layer.places + 3, layer.places)) if layer.convolves else replace(layer, places=1)
    )
)
chains = st.lists(st.one_of(matrices, st.builds(neurons, sizes, st.integers(2, 32))), min_size=1, max_size=5).map(
    lambda chain: [replace(layer, name=f"{layer.name}{i}", node=f"{layer.node}{i}") for i, layer in enumerate(chain)]
)


@given(sizes, sizes, st.data(), st.booleans())
def test_multipliers_times_reuse_are_the_products_where_the_factor_is_legal(
    n_in: int, n_out: int, data: st.DataObject, spikes: bool
) -> None:
    factor = data.draw(st.sampled_from(legal_reuse_factors(n_in, n_out)))
    (own,) = estimate([dense(n_in, n_out, x=1 if spikes else 8)], Design(reuse=factor), 1).layers
    assert (own.reuse, own.operators * factor) == (factor, n_in * n_out)
    assert own.multipliers == (0 if spikes else own.operators)
    assert own.cycles == own.interval == factor


@given(chains, designs, st.integers(1, 5000), st.integers(1, 30))
def test_more_reuse_means_fewer_multipliers_and_more_cycles(
    chain: list[Layer], design: Design, more: int, steps: int
) -> None:
    few, many = (estimate(chain, own, steps) for own in (design, replace(design, reuse=design.reuse + more)))
    assert many.operators <= few.operators
    assert many.usage.dsp <= few.usage.dsp
    assert many.cycles_per_step >= few.cycles_per_step
    assert many.interval_cycles >= few.interval_cycles
    assert many.cycles_per_sample >= few.cycles_per_sample


@given(chains, designs, st.integers(1, 30))
def test_the_whole_is_the_sum_of_its_layers(chain: list[Layer], design: Design, steps: int) -> None:
    found = estimate(chain, design, steps)
    for name in ("lut", "ff", "dsp", "bram"):
        assert getattr(found.usage, name) == sum(getattr(own.usage, name) for own in found.layers)
    assert [own for parts in found.by_node().values() for own in parts] == list(found.layers)
    assert found.multipliers <= found.operators
    assert found.interval_cycles == max(1, *(own.interval for own in found.layers)) <= max(1, found.cycles_per_step)
    assert found.cycles_per_sample == (steps - 1) * found.interval_cycles + found.cycles_per_step
    assert found.latency_us == pytest.approx(found.cycles_per_sample * design.clock_period_ns / 1000)


@given(matrices, designs)
def test_operators_work_through_all_products_within_the_cycles(layer: Layer, design: Design) -> None:
    (own,) = estimate([layer], design, 1).layers
    assert own.operators * own.cycles >= layer.inputs * layer.outputs * layer.places


@given(sizes, sizes, st.integers(2, 30), st.integers(1, 200))
def test_wider_weights_never_take_less(n_in: int, n_out: int, bits: int, reuse: int) -> None:
    narrow, wide = (estimate([dense(n_in, n_out, 8, b)], Design(reuse=reuse), 1).usage for b in (bits, bits + 1))
    assert wide.dsp >= narrow.dsp and wide.ff >= narrow.ff and wide.bram >= narrow.bram
    assume(bits != HLS_NARROW)  # beyond, LUTs give way to slices
    assert wide.lut >= narrow.lut


def test_weights_that_are_zero_take_no_multiplier_under_latency_alone() -> None:
    layer = dense(8, 4, zeros=10)
    latency, resource = (estimate([layer], Design(4, strategy), 1).layers[0] for strategy in ("Latency", "Resource"))
    assert (latency.operators, resource.operators) == (32 // 4 - 10 // 4, 32 // 4)
    assert estimate([dense(2, 2, zeros=4)], Design(1, "Latency"), 1).operators == 0


def test_a_dense_layer_worked_out_by_hand() -> None:
    # 64 x 32 weights of 8 bits, inputs of 8, sums and results of 16, R = 16: 128 multipliers, 16 words of 1024 bits
    (own,) = estimate([dense(64, 32)], Design(reuse=16), 1).layers
    assert (own.operators, own.multipliers, own.cycles) == (128, 128, 16)
    picked = 64 * 8 * 5 // 4  # the inputs: held, and one of four a LUT
    held = 2 * 64 * 8
    sums = 32 * 16
    assert own.usage == Usage(lut=128 * 16 + picked, ff=sums + held + 32 * 16, dsp=128, bram=math.ceil(1024 / 36))
    # at R = 128 each of 16 multipliers serves two results
    (own,) = estimate([dense(64, 32)], Design(reuse=128), 1).layers
    assert own.usage == Usage(lut=16 * 16 + picked + 5 * sums, ff=sums + held + 32 * 16, dsp=16, bram=4)
    # at R = 1 nothing is picked, and weights are constants
    (own,) = estimate([dense(64, 32)], Design(), 1).layers
    assert own.usage == Usage(lut=2048 * 16, ff=sums + held + 32 * 16, dsp=2048)


def test_a_spike_needs_a_gate_and_an_adder() -> None:
    (own,) = estimate([dense(64, 32, x=1, w=8)], Design(reuse=16), 1).layers
    assert (own.operators, own.multipliers, own.usage.dsp) == (128, 0, 0)
    assert own.usage.lut == 128 * 9 + 64 * 5 // 4


def test_latency_keeps_weights_in_logic_and_resource_in_block_ram() -> None:
    latency, resource = (
        estimate([dense(64, 32)], Design(64, strategy), 1).usage for strategy in ("Latency", "Resource")
    )
    assert (latency.bram, resource.bram) == (0, block_rams(64, 32 * 8))
    assert latency.lut - resource.lut == 32 * 8  # 64 constants of a bit are one LUT


def test_a_convolution_goes_through_its_places_one_after_the_other() -> None:
    conv = dense(9, 8, places=64, convolves=True, tokens=(100, 64))
    assert estimate([conv], Design(reuse=3), 1).cycles_per_step == 64 * 3
    assert estimate([conv], Design(3, io_type="io_stream"), 1).cycles_per_step == 64 * 3 + 36
    assert estimate([conv], Design(3, "Latency", "io_stream"), 1).cycles_per_step == 100 * 3


def test_streamed_layers_work_at_the_same_time_until_a_dense_one_waits_for_all() -> None:
    conv = dense(9, 8, places=64, convolves=True, tokens=(64, 64), name="conv")
    lif = replace(neurons(512), tokens=(64, 64))
    chain = [conv, lif, dense(512, 10, tokens=(64, 1))]
    own = estimate(chain, Design(2, io_type="io_stream"), 1)
    assert [layer.cycles for layer in own.layers] == [64 * 1 + 0, 64 * 2, 64 + 2]
    assert own.cycles_per_step == 128 + 66
    assert own.layers[1].operators == 512 // 64 // 2


def test_neurons_share_their_multipliers_and_keep_their_state_in_registers() -> None:
    found = [estimate([neurons(10)], Design(reuse), 1).layers[0] for reuse in (1, 4, 100)]
    assert [own.operators for own in found] == [10, 3, 1]
    assert [own.interval for own in found] == [1, 4, 100]
    assert {own.usage.ff for own in found} == {10 * 16 + 10}


def test_a_tool_that_says_which_factor_it_took_is_believed() -> None:
    assert estimate([dense(64, 32)], Design(reuse=16), 1, {"fc": 8}).layers[0].reuse == 8


def test_steps_and_clock_scale_the_latency() -> None:
    chain = [dense(64, 32), neurons(32)]
    one, three = (estimate(chain, Design(16), steps) for steps in (1, 3))
    assert one.cycles_per_sample == one.cycles_per_step == 32
    assert three.cycles_per_sample == 2 * 16 + 32
    assert estimate(chain, Design(16, clock_period_ns=10.0), 3).latency_us == pytest.approx(2 * three.latency_us)


# --- the open RTL ----------------------------------------------------------------------------------------------------


@given(sizes, sizes, st.data())
def test_the_open_rtl_reads_its_weights_once_a_step(n_in: int, n_out: int, data: st.DataObject) -> None:
    factor = data.draw(st.sampled_from(legal_reuse_factors(n_in, n_out)))
    found = estimate([dense(n_in, n_out), neurons(n_out)], Design(factor, flow="open-rtl"), 3)
    assert found.layers[0].operators * factor == n_in * n_out
    tree = math.ceil(math.log2(max(n_in // factor, 1)))
    assert found.cycles_per_step == factor + tree + RTL_MATRIX + RTL_NEURONS + 1
    assert found.interval_cycles == found.cycles_per_step  # steps do not overlap
    assert found.cycles_per_sample == 3 * found.cycles_per_step


@given(st.sampled_from([2, 4, 8, 16, 32]), st.integers(5, 16))
def test_more_reuse_and_fewer_bits_take_less_of_the_open_rtl(factor: int, bits: int) -> None:
    def used(reuse: int, width: int) -> Usage:
        chain = [dense(64, 32, width, width), neurons(32, width)]
        return estimate(chain, Design(reuse, flow="open-rtl"), 1).usage

    here, shared, narrow = used(factor, bits), used(2 * factor, bits), used(factor, bits - 1)
    assert shared.dsp < here.dsp and shared.lut < here.lut and shared.ff < here.ff
    assert narrow.ff < here.ff
    assert narrow.lut < here.lut or narrow.dsp < here.dsp  # where products leave the slices, LUTs may rise


def test_equal_columns_of_few_words_are_made_once() -> None:
    """Of 2 words there are 4 different columns, however wide they are; of 16 more than these have bits."""

    def weights(reuse: int, bits: int) -> int:
        with_them, without = (dense(16, 64, 8, 8, weight_bits=width) for width in (bits, 0))
        made = [estimate([layer], Design(reuse, flow="open-rtl"), 1).usage.lut for layer in (with_them, without)]
        return made[0] - made[1]

    assert weights(2, 8) == weights(2, 16) == 4
    assert (weights(16, 8), weights(16, 16)) == (64 * 8, 64 * 16)


def test_an_unknown_flow_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown flow 'vhdl'; there are estimates of: hls4ml, open-rtl"):
        Design(flow="vhdl")


# --- layers of a graph -----------------------------------------------------------------------------------------------


def network(leak: float = 0.0) -> ir.Graph:
    lif = {"tau": np.full(3, 2.0), "r": np.ones(3), "v_leak": np.full(3, leak), "v_threshold": np.ones(3)}
    weight = np.array([[0.5, 0.0, -0.5, 0.25], [0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]], np.float32)
    nodes = {
        "input": ir.Input((4,)),
        "fc": ir.Affine(weight, None),
        "lif": ir.LIF(**{key: value.astype(np.float32) for key, value in lif.items()}),
        "fc2": ir.Affine(np.full((2, 3), 0.5, np.float32), None),
        "output": ir.Output((2,)),
    }
    return ir.Graph(nodes, list(itertools.pairwise(nodes)))


def sized(graph: ir.Graph, precision: object = "ap_fixed<12,4>") -> dict[str, Layer]:
    return {own.name: own for own in layers(lower(graph, bind_graph(graph, precision)), False)}


def test_layers_of_a_graph_have_its_sizes_and_widths() -> None:
    found = sized(network())
    assert list(found) == ["fc", "lif", "fc2"]
    assert (found["fc"].inputs, found["fc"].outputs, found["fc"].zeros) == (4, 3, 3)
    assert found["fc"].factors == ((12, 12),)
    assert found["fc2"].factors == ((1, 12),)  # spikes
    assert found["lif"].factors == ((12, 13),)  # the decay is unsigned: a sign bit more
    assert (found["lif"].state_bits, found["lif"].adder_bits) == (12, 3 * 12)


def test_a_leak_that_is_not_zero_costs_two_adders() -> None:
    assert sized(network(0.5))["lif"].adder_bits == sized(network())["lif"].adder_bits + 2 * 12


def test_accumulators_may_be_wider_than_the_numbers_that_are_simulated() -> None:
    bits = 24
    wide = {"name": "wide", "weight": f"ap_fixed<{bits},2>", "input": "ap_fixed<32,4>", "result": "ap_fixed<32,8>"}
    graph = network()
    precision = sized(graph, wide)
    lowered = lower(graph, bind_graph(graph, wide))
    assert lowered.precision["fc"]["accum"].startswith(f"ap_fixed<{precision['fc'].adder_bits},")
    assert precision["fc"].adder_bits > 53


def test_layers_come_back_from_json_as_they_were() -> None:
    for own in sized(network()).values():
        assert Layer.from_dict(json.loads(json.dumps(own.as_dict()))) == own


ONES = np.ones(3, np.float32)
FIRES = {"tau": 2 * ONES, "r": ONES, "v_leak": 0 * ONES, "v_threshold": ONES}


@pytest.mark.parametrize(
    ("node", "products", "adders", "states"),  # of one value; adders and states in widths of the membrane
    [
        (ir.LIF(**FIRES), 1, 3, 1),  # decay; sum, comparison, choice
        (ir.LIF(**FIRES, reset="subtract"), 1, 4, 1),
        (ir.LIF(**FIRES, reset_delay=True), 1, 4, 1),  # what was kept is compared again
        (ir.LIF(**FIRES, v_reset=0.25 * ONES, strict=True), 1, 3, 1),
        (ir.IF(v_threshold=ONES), 0, 3, 1),
        (ir.LI(tau=2 * ONES, v_leak=0 * ONES), 1, 1, 1),
        (ir.LI(tau=2 * ONES, v_leak=0.5 * ONES), 1, 3, 1),
        (ir.I(), 0, 1, 1),
        (ir.Threshold(threshold=0.5 * ONES), 0, 1, 0),  # it keeps nothing and adds nothing
    ],
    ids=lambda value: value.kind if isinstance(value, ir.Primitive) else None,
)
def test_a_neuron_has_the_operators_of_its_equation(
    node: ir.Primitive, products: int, adders: int, states: int
) -> None:
    nodes = {"input": ir.Input((3,)), "n": node, "output": ir.Output((3,))}
    own = sized(ir.Graph(nodes, list(itertools.pairwise(nodes))))["n"]
    assert (len(own.factors), own.adder_bits, own.state_bits) == (products, adders * 12, states * 12)
    assert own.outputs == 3


def test_a_current_based_neuron_keeps_both_its_states() -> None:
    given = {"tau": 2 * ONES, "tau_syn": 2 * ONES, "v_leak": 0 * ONES}
    for node, adders in ((ir.CubaLIF(**given, v_threshold=ONES), 4), (ir.CubaLI(**given), 2)):
        nodes = {"input": ir.Input((3,)), "n": node, "output": ir.Output((3,))}
        own = sized(ir.Graph(nodes, list(itertools.pairwise(nodes))))["n"]
        assert (len(own.factors), own.adder_bits, own.state_bits) == (2, adders * 12, 2 * 12)


def test_a_scale_multiplies_and_a_batch_norm_adds_as_well() -> None:
    norm = ir.BatchNorm1d(3, weight=0.75 * ONES, bias=0.5 * ONES, running_mean=0 * ONES, running_var=ONES)
    for node, adder in ((ir.Scale(0.75 * ONES), 0), (norm, 12 + 12)):
        nodes = {"input": ir.Input((3,)), "n": node, "output": ir.Output((3,))}
        own = sized(ir.Graph(nodes, list(itertools.pairwise(nodes))))["n"]
        assert (len(own.factors), own.adder_bits, own.state_bits) == (1, adder, 0)


def test_a_sum_pool_is_the_convolution_that_it_is_lowered_to() -> None:
    nodes = {"input": ir.Input((2, 4, 4)), "n": ir.SumPool2d(2), "output": ir.Output((2, 2, 2))}
    own = sized(ir.Graph(nodes, list(itertools.pairwise(nodes))))["n"]
    assert (own.kind, own.inputs, own.outputs, own.places) == ("matrix", 2 * 2 * 2, 2, 4)
    assert own.zeros == 8  # the other channel's
    assert estimate([own], Design(strategy="Latency"), 1).multipliers == 0  # ones are gates
