"""The table of what runs which primitive is in step with the registry, with lowering and with its document."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from talon_lib import ir
from talon_lib.errors import UnsupportedError
from talon_lib.hls.lower import IO_TYPES, lower
from talon_lib.ir import support
from talon_lib.ir.node import primitives
from talon_lib.simulate import bind_graph

WIDE = "ap_fixed<20,8>"
IMAGE = (2, 4, 6)


def chain(*nodes, shape=IMAGE):
    named, edges = {"x": ir.Input(shape), "r": ir.ReLU(), **{f"n{i}": node for i, node in enumerate(nodes)}}, []
    for name, node in list(named.items())[2:]:
        shape = node.output_shape(shape)
        edges.append((next(reversed(edges), ("x", "r"))[1], name))
    return ir.Graph(named | {"y": ir.Output(shape)}, [("x", "r"), *edges, (edges[-1][1] if edges else "r", "y")])


def joined(node, *before):
    """Two ways from one input to ``node``, the first through ``before``."""
    nodes = {"x": ir.Input(IMAGE), "a": ir.ReLU(), "b": ir.ReLU(), "n": node}
    nodes |= {f"f{i}": one for i, one in enumerate(before)}
    ways = [["x", "a", *(f"f{i}" for i in range(len(before))), "n"], ["x", "b", "n"]]
    edges = [edge for way in ways for edge in pairwise(way)]
    dim = node.concatenates
    shape = IMAGE if dim is None else tuple(n * (2 if i == dim % 3 else 1) for i, n in enumerate(IMAGE))
    return ir.Graph(nodes | {"y": ir.Output(shape)}, [*edges, ("n", "y")])


def split(dim):
    nodes = {"x": ir.Input(IMAGE), "r": ir.ReLU(), "n": ir.ChannelSplit((1, IMAGE[dim] - 1), dim)}
    shapes = [(*IMAGE[:dim], n, *IMAGE[dim + 1 :]) for n in (1, IMAGE[dim] - 1)]
    nodes |= {"p": ir.ReLU(), "q": ir.ReLU(), "y": ir.Output(shapes[0]), "z": ir.Output(shapes[1])}
    return ir.Graph(nodes, [("x", "r"), ("r", "n"), ("n", "p"), ("n", "q"), ("p", "y"), ("q", "z")])


def twice():
    """Two outputs of one result."""
    nodes = {"x": ir.Input(IMAGE), "r": ir.ReLU(), "y": ir.Output(IMAGE), "z": ir.Output(IMAGE)}
    return ir.Graph(nodes, [("x", "r"), ("r", "y"), ("r", "z")])


def reordered():
    """A sum of values that a Flatten left channels last with values of an Affine."""
    nodes = {"x": ir.Input((2, 3)), "f": ir.Flatten(), "a": ir.Affine(np.eye(6)), "n": ir.Skip(), "y": ir.Output((6,))}
    return ir.Graph(nodes, [("x", "f"), ("f", "a"), ("f", "n"), ("a", "n"), ("n", "y")])


TAKEN = {
    "AvgPool2d": lambda: chain(ir.AvgPool2d(2)),
    "ChannelSplit": lambda: split(0),
    "Concat": lambda: chain(ir.Concat(1)),
    "ELU": lambda: chain(ir.ELU()),
    "Flatten": lambda: chain(ir.Flatten(1, 2)),
    "GELU": lambda: chain(ir.GELU()),
    "MaxPool2d": lambda: chain(ir.MaxPool2d(2)),
    "Output": lambda: chain(ir.ReLU()),
    "Sigmoid": lambda: chain(ir.Sigmoid()),
    "Skip": lambda: chain(ir.Skip()),
    "Tanh": lambda: chain(ir.Tanh()),
    "Upsample": lambda: chain(ir.Upsample(2)),
}
REFUSED = {
    "AvgPool2d": {"both": lambda: chain(ir.AvgPool2d(2, padding=1, count_include_pad=False))},
    "ChannelSplit": {"both": lambda: split(2)},
    "Concat": {"both": lambda: joined(ir.Concat(2, 1))},
    "ELU": {"both": lambda: chain(ir.ReLU(result_t=WIDE), ir.ELU())},
    "Flatten": {"both": lambda: chain(ir.Flatten(0, 1))},
    "GELU": {"both": lambda: chain(ir.ReLU(result_t=WIDE), ir.GELU())},
    "MaxPool2d": {
        "both": lambda: chain(ir.MaxPool2d(2, dilation=2)),
        "io_stream": lambda: chain(ir.MaxPool2d(2, stride=1)),
    },
    "Output": {"both": twice},
    "Sigmoid": {"both": lambda: chain(ir.ReLU(result_t=WIDE), ir.Sigmoid())},
    "Skip": {"both": reordered},
    "Tanh": {"both": lambda: chain(ir.ReLU(result_t=WIDE), ir.Tanh())},
    "Upsample": {"both": lambda: chain(ir.Upsample(2, mode="bilinear"))},
}


def remarks(io_type):
    return {name: getattr(kind, io_type) for name, kind in primitives().items()}


@pytest.mark.parametrize("io_type", IO_TYPES)
def test_what_is_said_to_run_is_lowered_and_what_is_left_out_is_refused(io_type):
    limited = {name for name, own in remarks(io_type).items() if own.runs and own.remark}
    assert limited == set(REFUSED) == set(TAKEN)
    for name in sorted(limited):
        graph = TAKEN[name]()
        lower(graph, bind_graph(graph, "ap_fixed<8,4>"), io_type)
        for place, refused in REFUSED[name].items():
            graph = refused()
            bound = bind_graph(graph, "ap_fixed<8,4>")
            if place in ("both", io_type):
                with pytest.raises(UnsupportedError, match=f"(?i){name}"):
                    lower(graph, bound, io_type)
            else:
                lower(graph, bound, io_type)


@pytest.mark.parametrize("io_type", IO_TYPES)
def test_what_is_said_not_to_run_is_refused_with_the_reason_in_the_table(io_type):
    refused = {"Delay": ir.Delay(1), "LayerNorm": ir.LayerNorm([4, 6]), "Softmax": ir.Softmax()}
    graphs = {name: chain(node) for name, node in refused.items()}
    assert {name for name, own in remarks(io_type).items() if not own.runs} == set(graphs)
    for name, graph in graphs.items():
        with pytest.raises(UnsupportedError) as refused:
            lower(graph, bind_graph(graph, "ap_fixed<8,4>"), io_type)
        assert str(refused.value) == f"node 'n0' ({name}): {remarks(io_type)[name].remark}"


def test_every_primitive_has_a_row_and_every_remark_a_note():
    rows, notes = support.table().split("\n\n")
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in rows.splitlines()]
    assert table[0] == ["primitive", *support.COLUMNS]
    assert sorted(row[0] for row in table[2:]) == sorted(ir.list_primitives())
    told = {int(note.split(".")[0]): note.split(". ", 1)[1] for note in notes.splitlines()}
    for name, *cells in table[2:]:
        for own, cell in zip(support.support(primitives()[name]).values(), cells, strict=True):
            word, _, number = cell.partition(" ")
            assert (word == "yes") == own.runs
            assert (told[int(number.strip("()"))] if number else "") == own.remark


def test_the_document_is_in_step():
    document = Path(__file__).parents[2] / "docs" / "primitives.md"
    assert document.read_text() == support.document(), "run: make docs"
