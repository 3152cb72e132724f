"""Files of the TALON SDK are read here as what was written there, and ours there: every node, field, type and edge."""

import dataclasses

import numpy as np
import pytest
from exchange import differences, draw

from talon_lib import ir
from talon_lib.formats import t1c

sdk = pytest.importorskip("talon.ir")

SEEDS = range(50)
SHAPES = ("input_type", "output_type")  # the SDK writes those of Input and Output alone, and infers some of the others


def ports(node):
    """The one shape of an Input or Output of the SDK."""
    return next(iter((node.input_type if type(node).__name__ == "Input" else node.output_type).values()))


def equal_there(one, other):
    """Nodes, edges and settings of two graphs of the SDK."""
    assert set(one.nodes) == set(other.nodes)
    assert [tuple(edge) for edge in one.edges] == [tuple(edge) for edge in other.edges]
    for name, node in one.nodes.items():
        assert not differences(node, other.nodes[name], without=SHAPES), name
        if type(node).__name__ in ("Input", "Output"):
            np.testing.assert_array_equal(ports(node), ports(other.nodes[name]))
    assert bool(one.allow_cycles) == bool(other.allow_cycles)
    assert (one.cyclic_config or None) == (other.cyclic_config or None)
    assert one.metadata == other.metadata


def equal_here(one, other):
    """Nodes, edges and settings of two of our graphs."""
    assert set(one.nodes) == set(other.nodes)
    assert one.edges == other.edges
    for name, node in one.nodes.items():
        assert not differences(node, other.nodes[name]), name
    assert (one.allow_cycles, one.cyclic_config) == (other.allow_cycles, other.cyclic_config)
    assert dict(one.metadata) == dict(other.metadata)
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize("seed", SEEDS)
def test_a_file_of_the_sdk_is_read_here_as_the_same_graph(seed, tmp_path):
    described = draw(seed)
    sdk.write(tmp_path / "theirs.t1c", described.make(sdk))
    equal_here(described.make(ir), ir.read(tmp_path / "theirs.t1c"))


@pytest.mark.parametrize("seed", SEEDS)
def test_our_file_is_read_there_as_the_same_graph(seed, tmp_path):
    described = draw(seed)
    ir.write(tmp_path / "ours.t1c", described.make(ir))
    theirs = sdk.read(tmp_path / "ours.t1c")
    equal_there(described.make(sdk), theirs)
    assert list(theirs.nodes) == list(described.nodes), "the order of the nodes"
    assert sdk.read_version(tmp_path / "ours.t1c") == t1c.VERSION


def test_the_graphs_cover_all_primitives_that_both_have():
    drawn = {kind for seed in SEEDS for kind, _ in draw(seed).nodes.values()}
    shared = set(t1c.FIELDS)
    assert drawn == shared
    assert shared == (set(sdk.list_primitives()) | {"Input", "Output"}) & set(ir.list_primitives())


def test_the_fields_are_those_of_the_sdk():
    ours_alone = {*SHAPES, *t1c.HINTS, *t1c.NODE_EXTRAS}
    for kind, fields in t1c.FIELDS.items():
        theirs = {field.name for field in dataclasses.fields(getattr(sdk, kind))}
        assert theirs - ours_alone == set(fields) - set(SHAPES), kind


def test_the_version_is_the_one_that_the_sdk_writes(tmp_path):
    sdk.write(tmp_path / "theirs.t1c", draw(0).make(sdk))
    assert sdk.read_version(tmp_path / "theirs.t1c") == t1c.VERSION


def test_what_only_the_sdk_has_goes_through_us_unchanged(tmp_path):
    described = draw(3)
    graph = described.make(sdk)
    for index, node in enumerate(graph.nodes.values()):
        node.core_id, node.precision = index, "int8"
        node.hardware_hints = {"place": f"core {index}", "more": {"lanes": 4}}
        if hasattr(node, "metadata"):
            node.metadata = {"name": f"node {index}", "scale": 0.5}
    graph.partition_metadata = {"cores": len(graph.nodes)}
    graph.target_hardware = "a board"
    graph.allow_cycles = True
    graph.cyclic_config = {"max_iterations": 3, "termination": "convergence", "convergence_threshold": 0.25}
    sdk.write(tmp_path / "theirs.t1c", graph)
    before = sdk.read(tmp_path / "theirs.t1c")
    ours = ir.read(tmp_path / "theirs.t1c")
    ir.write(tmp_path / "ours.t1c", ours)
    after = sdk.read(tmp_path / "ours.t1c")
    equal_there(before, after)
    assert after.partition_metadata == {"cores": len(graph.nodes)}
    assert after.target_hardware == "a board"
    assert after.cyclic_config == graph.cyclic_config
    assert {"lanes": 4} in [node.hardware_hints["more"] for node in after.nodes.values() if node.hardware_hints]
    assert ours.fingerprint == described.make(ir).fingerprint


@pytest.mark.parametrize("kind", sorted(t1c.FIELDS))
def test_hints_are_written_for_the_nodes_where_the_sdk_reads_them(kind, tmp_path):
    fields = next(
        fields
        for seed in SEEDS
        for drawn, fields in draw(seed).nodes.values()
        if drawn == kind and "weight_t" not in fields
    )
    node = getattr(sdk, kind)(**fields)
    node.result_t = "ap_fixed<8,2>"
    between = [("x", "n"), ("n", "y")]
    ends = {"x": sdk.Input(np.array([3])), "y": sdk.Output(np.array([3]))}
    sdk.write(tmp_path / "theirs.t1c", sdk.Graph(nodes={**ends, "n": node}, edges=between))
    kept = sdk.read(tmp_path / "theirs.t1c").nodes["n"].result_t == "ap_fixed<8,2>"
    assert kept == (kind not in t1c.WITHOUT_HINTS)


def test_what_we_write_out_is_what_the_sdk_needs(tmp_path):
    """Features that are None and neuron parameters of several shapes have no other form there."""
    nodes = {
        "x": ir.Input((2, 3)),
        "relu": ir.ReLU(),
        "lif": ir.LIF(tau=[2.0, 4.0], r=1.0, v_leak=0.0, v_threshold=1.0),
        "if": ir.IF(0.5),
        "y": ir.Output((2, 3)),
    }
    graph = ir.Graph(nodes, list(zip(nodes, list(nodes)[1:], strict=False)))
    ir.write(tmp_path / "ours.t1c", graph)
    back = sdk.read(tmp_path / "ours.t1c").nodes
    assert back["relu"].features == 2
    np.testing.assert_array_equal(back["lif"].tau, np.array([[2, 2, 2], [4, 4, 4]], np.float32))
    np.testing.assert_array_equal(back["lif"].v_threshold, np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(back["if"].v_threshold, np.full((2, 3), 0.5, np.float32))
