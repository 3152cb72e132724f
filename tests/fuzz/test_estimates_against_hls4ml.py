"""What estimates say of a design, against the project that hls4ml writes for it: sizes, zeros and reuse factors."""

import math
import re

import pytest
from graphs import KINDS, draw

from talon_lib.cost.estimate import Design, estimate
from talon_lib.hls.lower import lower
from talon_lib.hls.project import ProjectSpec, build_project
from talon_lib.hls.sizes import layers
from talon_lib.ir.structure import Input

pytest.importorskip("hls4ml")

_STRUCT = re.compile(r"struct config\d+(?:_mult)? : nnet::dense_config \{(.*?)\n\};", re.DOTALL)


def product(text: str) -> tuple[int, ...]:
    """n_in, n_out, reuse factor and zeros of a matrix in hls4ml's parameters.h."""
    names = ("n_in", "n_out", "reuse_factor", "n_zeros")
    return tuple(int(re.search(rf"unsigned {name} = (\d+);", text)[1]) for name in names)


@pytest.mark.parametrize("seed", range(2 * len(KINDS)))
def test_matrices_and_their_reuse_factors_are_those_of_the_project(seed, tmp_path):
    case = draw(seed)
    reuse = (1, 2, 3, 4, 7, 12, 100)[seed % 7]
    spec = ProjectSpec(io_type=case.io_type, strategy=case.strategy, reuse_factor=reuse)
    project = build_project(case.graph, case.bound, spec, tmp_path / "project")
    known = layers(lower(case.graph, case.bound, case.io_type), case.io_type == "io_stream")
    found = estimate(known, Design(reuse=reuse, strategy=case.strategy, io_type=case.io_type), case.steps)

    for node, factor in project.effective_reuse.items():
        assert [own.reuse for own in found.by_node()[node] if own.reuse is not None][-1:] in ([factor], [])

    written = [product(text) for text in _STRUCT.findall((project.path / "firmware/parameters.h").read_text())]
    matrices = [own for own in found.layers if own.layer.kind == "matrix"]
    ours = [(own.layer.inputs, own.layer.outputs, own.reuse, own.layer.zeros) for own in matrices]
    assert sorted(written) == sorted(ours)
    for own, (n_in, n_out, factor, zeros) in zip(matrices, ours, strict=True):
        limit = math.ceil(n_in * n_out / factor) - (zeros // factor if case.strategy == "Latency" else 0)
        assert own.operators == max(limit, 0)


@pytest.mark.parametrize("seed", range(2 * len(KINDS)))
def test_layers_hand_on_as_many_values_as_their_nodes(seed):
    case = draw(seed)
    lowered = lower(case.graph, case.bound, case.io_type)
    known = layers(lowered, case.io_type == "io_stream")
    assert {own.node for own in known} <= set(case.graph.nodes)
    last = {own.name: own for own in known}
    for name, node in case.graph.nodes.items():
        own = last.get(lowered.names[name])
        if own is not None and not isinstance(node, Input):
            values = own.outputs * own.places if own.kind == "matrix" else own.outputs
            assert values == math.prod(case.graph.output_shapes[name]), name
            matrices = [part for part in known if part.node == name and part.kind == "matrix"]
            products = sum(part.inputs * part.outputs * part.places for part in matrices)
            assert not matrices or products >= node.macs(case.graph.input_shapes[name])
