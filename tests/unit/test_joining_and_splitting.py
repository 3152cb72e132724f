"""Where edges meet and part: Concat, Skip, ChannelSplit, HybridRegion, and the shapes and types that follow."""

from __future__ import annotations

import numpy as np
import pytest

from talon_lib import backend, ir
from talon_lib.errors import GraphError, UnsupportedError
from talon_lib.fixed import SPIKE
from talon_lib.hls.csim import csim, csim_project
from talon_lib.hls.lower import lower
from talon_lib.hls.project import ProjectSpec, build_project
from talon_lib.simulate import bind_graph, run

RNG = np.random.default_rng(3)


def lif(*shape: int) -> ir.LIF:
    ones = np.ones(shape)
    return ir.LIF(tau=RNG.uniform(1.5, 5.0, shape), r=ones, v_leak=0.1 * ones, v_threshold=RNG.uniform(0.5, 1.0, shape))


def conv(out: int, channels: int) -> ir.Conv2d:
    return ir.Conv2d(RNG.normal(0, 0.5, (out, channels, 3, 3)), RNG.normal(0, 0.1, out), padding=1)


def two_branches(meeting: ir.Primitive, out: tuple[int, ...], left: int = 3, right: int = 3) -> ir.Graph:
    """One input, two Affine branches of ``left`` and ``right`` values, and what meets them."""
    return ir.Graph(
        {
            "input": ir.Input([2]),
            "a": ir.Affine(np.arange(1.0, 2 * left + 1).reshape(left, 2)),
            "b": ir.Affine(-np.arange(1.0, 2 * right + 1).reshape(right, 2)),
            "m": meeting,
            "output": ir.Output(out),
        },
        [("input", "a"), ("input", "b"), ("b", "m"), ("a", "m"), ("m", "output")],
    )


def result(graph: ir.Graph, x: list[float]) -> np.ndarray:
    return run(graph, bind_graph(graph, "fp32"), {"input": np.array(x)}, 1).last["output"][0]


@pytest.mark.parametrize("meeting", [ir.Concat(2, 0), ir.Concat(2, -1), ir.Skip("concatenate"), ir.Skip("concat")])
def test_edges_are_joined_in_the_order_of_the_edges(meeting: ir.Primitive) -> None:
    found = result(two_branches(meeting, (5,), left=3, right=2), [1.0, 10.0])
    assert found.tolist() == [-21.0, -43.0, 21.0, 43.0, 65.0]  # b, then a


@pytest.mark.parametrize("kind", ["residual", "add"])
def test_a_residual_skip_sums(kind: str) -> None:
    assert result(two_branches(ir.Skip(kind), (3,)), [1.0, 10.0]).tolist() == [0.0, 0.0, 0.0]


def test_concat_along_another_dimension_equals_numpy() -> None:
    x = RNG.normal(size=(2, 3, 4))
    nodes = {"input": ir.Input([2, 3, 4]), "r": ir.ReLU(), "c": ir.Concat(2, 1), "output": ir.Output([2, 6, 4])}
    graph = ir.Graph(nodes, [("input", "r"), ("input", "c"), ("r", "c"), ("c", "output")])
    found = run(graph, bind_graph(graph, "fp32"), {"input": x}, 1).last["output"][0]
    single = x.astype(np.float32).astype(float)
    assert np.array_equal(found, np.concatenate([single, np.maximum(single, 0)], axis=1))
    with pytest.raises(UnsupportedError, match=r"node 'c' \(Concat\): .*channels"):
        lower(graph, bind_graph(graph, "ap_fixed<12,4>"))


def test_each_edge_out_of_a_split_carries_its_part() -> None:
    nodes = {
        "input": ir.Input([5]),
        "s": ir.ChannelSplit((2, 3)),
        "a": ir.Affine(np.eye(2)),
        "b": ir.Affine(np.eye(3) * 10),
        "c": ir.Concat(2),
        "output": ir.Output([5]),
    }
    edges = [("input", "s"), ("s", "b"), ("s", "a"), ("a", "c"), ("b", "c"), ("c", "output")]
    with pytest.raises(GraphError, match="node 'a'"):  # the first edge out has the first part, of two values
        ir.Graph(nodes, edges)
    edges[1], edges[2] = edges[2], edges[1]
    graph = ir.Graph(nodes, edges)
    assert result(graph, [1, 2, 3, 4, 5]).tolist() == [1, 2, 30, 40, 50]


def test_hardware_splits_channels_alone() -> None:
    nodes = {"input": ir.Input([2, 4]), "s": ir.ChannelSplit((1, 3), 1), "r": ir.ReLU(), "q": ir.ReLU()}
    nodes |= {"output": ir.Output([2, 1]), "output2": ir.Output([2, 3])}
    edges = [("input", "s"), ("s", "r"), ("s", "q"), ("r", "output"), ("q", "output2")]
    with pytest.raises(UnsupportedError, match=r"node 's' \(ChannelSplit\): .*splits the channels \(dim 0\) only"):
        lower(ir.Graph(nodes, edges), bind_graph(ir.Graph(nodes, edges), "ap_fixed<12,8>"))


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_parts_of_every_rank_are_equal_in_hardware(io_type: str) -> None:
    """Split: real images, spikes, values that a Flatten left channels last; a part that is an output; a single part."""
    nodes = {
        "input": ir.Input([3, 2, 4]),
        "s3": ir.ChannelSplit((1, 2)),
        "c1": conv(2, 1),
        "l": lif(2, 2, 4),
        "s2": ir.ChannelSplit((1, 1)),
        "flat": ir.Flatten(1, 2),
        "c2": ir.Conv1d(RNG.normal(0, 0.5, (3, 1, 2))),
        "c3": conv(2, 2),
        "whole": ir.Flatten(),
        "s1": ir.ChannelSplit((5, 11)),
        "fc": ir.Affine(RNG.normal(0, 0.5, (4, 5))),
        "one": ir.ChannelSplit((4,)),
        "image": ir.Output([1, 2, 4]),
        "row": ir.Output([3, 7]),
        "rest": ir.Output([11]),
        "output": ir.Output([4]),
    }
    edges = [
        *[("input", "s3"), ("s3", "c1"), ("s3", "c3"), ("c1", "l"), ("l", "s2"), ("s2", "image"), ("s2", "flat")],
        *[("flat", "c2"), ("c2", "row"), ("c3", "whole"), ("whole", "s1"), ("s1", "fc"), ("s1", "rest")],
        *[("fc", "one"), ("one", "output")],
    ]
    graph = ir.Graph(nodes, edges)
    inputs = {"input": RNG.uniform(-1, 1, (4, 3, 3, 2, 4))}
    bound = bind_graph(graph, "int6", inputs, 4)
    assert run(graph, bound, inputs, 4).activity["l"].spikes
    found = csim(graph, bound, inputs, 4, io_type)
    assert found.equal, found.difference


def test_joined_types_hold_every_value_exactly() -> None:
    graph = two_branches(ir.Concat(2), (6,))
    mixed = {
        "weight": "int8",
        "result": "int8",
        "nodes": {"a": {"result": "ap_fixed<8,6>"}, "b": {"result": "ap_fixed<8,2>"}},
    }
    bound = bind_graph(graph, mixed)
    joined = bound["m"].types.input
    for source in ("a", "b"):
        own = bound[source].types.result
        for value in (own.min, own.max, own.step):  # type: ignore[union-attr]
            assert joined.cast(value) == value
    nodes = {"input": ir.Input([3]), "l": lif(3), "k": lif(3), "c": ir.Concat(2), "output": ir.Output([6])}
    spikes = ir.Graph(nodes, [("input", "l"), ("input", "k"), ("l", "c"), ("k", "c"), ("c", "output")])
    assert bind_graph(spikes, "int8")["output"].types.result == SPIKE  # so that its operations count as accumulates


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_branches_with_convolutions_are_equal_in_hardware(io_type: str) -> None:
    nodes = {
        "input": ir.Input([2, 4, 3]),
        "c1": conv(3, 2),
        "l1": lif(3, 4, 3),
        "c2": conv(3, 3),
        "skip": ir.Skip("add"),
        "l2": lif(3, 4, 3),
        "cat": ir.Concat(2, 0),
        "c3": conv(2, 6),
        "flat3": ir.Flatten(),
        "flat1": ir.Flatten(),
        "meet": ir.Skip("concat"),
        "fc": ir.Affine(RNG.normal(0, 0.5, (4, 60))),
        "lo": lif(4),
        "region": ir.HybridRegion("snn"),
        "output": ir.Output([4]),
    }
    edges = [
        *[("input", "c1"), ("c1", "l1"), ("l1", "c2"), ("c2", "skip"), ("l1", "skip"), ("skip", "l2")],
        *[("l2", "cat"), ("l1", "cat"), ("cat", "c3"), ("c3", "flat3"), ("l2", "flat1"), ("flat3", "meet")],
        *[("flat1", "meet"), ("meet", "fc"), ("fc", "lo"), ("lo", "region"), ("region", "output")],
    ]
    graph = ir.Graph(nodes, edges)
    inputs = {"input": RNG.uniform(-1, 1, (4, 3, 2, 4, 3))}
    found = csim(graph, bind_graph(graph, "int6", inputs, 4), inputs, 4, io_type)
    assert found.equal, found.difference


@pytest.mark.parametrize("rank", [2, 3])
def test_padding_is_for_the_convolution_alone_and_not_for_what_reads_the_same_values(rank: int) -> None:
    """hls4ml's own padding layer goes before the first reader of a stream, here a Flatten."""
    shape, kind = ((2, 5), ir.Conv1d) if rank == 2 else ((2, 3, 4), ir.Conv2d)
    nodes = {
        "input": ir.Input(shape),
        "r": ir.ReLU(),
        "flat": ir.Flatten(),
        "neurons": ir.IF(0.3),
        "conv": kind(RNG.normal(0, 0.5, (3, 2, *(3 for _ in shape[1:]))), padding=1),
        "output": ir.Output(),
        "image": ir.Output(),
    }
    edges = [
        ("input", "r"),
        ("r", "flat"),
        ("r", "conv"),
        ("flat", "neurons"),
        ("neurons", "output"),
        ("conv", "image"),
    ]
    for order in (edges, [edges[0], edges[2], edges[1], *edges[3:]]):
        graph = ir.Graph(nodes, order)
        inputs = {"input": RNG.uniform(-1, 1, (3, 4, *shape))}
        found = csim(graph, bind_graph(graph, "ap_fixed<10,4>"), inputs, 3, "io_stream")
        assert found.equal, found.difference


def test_values_that_hardware_has_in_different_orders_are_not_summed() -> None:
    nodes = {
        "input": ir.Input([2, 3]),
        "f": ir.Flatten(),
        "a": ir.Affine(np.ones((6, 6))),
        "skip": ir.Skip("add"),
        "l": lif(6),
        "output": ir.Output([6]),
    }
    graph = ir.Graph(nodes, [("input", "f"), ("f", "a"), ("f", "skip"), ("a", "skip"), ("skip", "l"), ("l", "output")])
    with pytest.raises(UnsupportedError, match=r"node 'skip' \(Skip\): .*orders"):
        lower(graph, bind_graph(graph, "ap_fixed<12,6>"))


@pytest.mark.parametrize(
    ("meeting", "says"),
    [
        (lambda: ir.Concat(3), "num_inputs is 3, but 2"),
        (lambda: ir.Concat(2, 1), "dim 1 is no dimension"),
        (lambda: ir.Concat(0), "num_inputs must be"),
        (lambda: ir.Concat(2, 0.5), "dim must be"),
        (lambda: ir.Skip("sideways"), "skip_type must be one of"),
        (lambda: ir.Skip("identity"), "takes one edge, but 2"),
        (lambda: ir.Skip("add"), "shapes differ"),
        (lambda: ir.HybridRegion("cnn"), "mode must be"),
        (lambda: ir.ChannelSplit((3, 0)), "split_sections must have sizes"),
        (lambda: ir.ChannelSplit((3, 2)), "2 parts, but 1"),
    ],
)
def test_what_cannot_meet_or_part_is_refused(meeting, says: str) -> None:
    with pytest.raises(GraphError, match=says) as caught:
        two_branches(meeting(), (5,), left=3, right=2)
    assert "\n" not in str(caught.value)


def test_max_iterations_of_a_cyclic_graph_are_run() -> None:
    nodes = {"input": ir.Input([1]), "l": ir.IF(np.array([100.0])), "a": ir.Affine([[0.0]]), "output": ir.Output([1])}
    edges = [("input", "l"), ("l", "a"), ("a", "l"), ("l", "output")]
    graph = ir.Graph(nodes, edges, allow_cycles=True, cyclic_config={"max_iterations": 7})
    cpu = backend.get_backend("cpu")
    assert cpu.simulate(graph, {"input": [1.0]}).timesteps_run == 7
    assert cpu.simulate(graph, {"input": [1.0]}, n_steps=3).timesteps_run == 3


def test_nodes_called_like_helper_layers_do_not_collide_with_them() -> None:
    graph = two_branches(ir.Skip("add"), (3,))
    names = {"input": "x", "a": "a", "b": "m_join1", "m": "m", "output": "y"}
    renamed = ir.Graph(
        {names[name]: node for name, node in graph.nodes.items()} | {"l": lif(3)},
        [("x", "a"), ("x", "m_join1"), ("m_join1", "m"), ("a", "m"), ("m", "l"), ("l", "y")],
    )
    layers = [layer["name"] for layer in lower(renamed, bind_graph(renamed, "ap_fixed<12,6>")).layers]
    assert len(set(layers)) == len(layers)


@pytest.mark.parametrize(("kernel", "reuse", "limit"), [(1, 5, 3), (3, 100, 27)])
def test_convolutions_get_a_reuse_factor_that_hls4ml_is_right_with(tmp_path, kernel, reuse, limit) -> None:
    conv = ir.Conv2d(RNG.normal(0, 0.5, (4, 3, kernel, kernel)), padding=kernel // 2)
    nodes = {"input": ir.Input([3, 2, 2]), "c": conv, "l": lif(4, 2, 2), "output": ir.Output([4, 2, 2])}
    graph = ir.Graph(nodes, [("input", "c"), ("c", "l"), ("l", "output")])
    inputs = {"input": RNG.uniform(-1, 1, (2, 3, 2, 2))}
    bound = bind_graph(graph, "int8", inputs, 2)
    project = build_project(graph, bound, ProjectSpec(strategy="Resource", reuse_factor=reuse), tmp_path / "p")
    assert project.effective_reuse["c"] == limit  # kernel size x channels
    found = csim_project(project, graph, bound, inputs, 2)
    assert found.equal, found.difference
