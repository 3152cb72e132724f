import numpy as np
import pytest

from talon_lib import ir
from talon_lib.errors import GraphError


def lif(**fields):
    return ir.LIF(**{"tau": 2.0, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, **fields})


def chain(**nodes):
    return nodes, list(zip(nodes, list(nodes)[1:], strict=False))


GOOD_NODES, GOOD_EDGES = chain(
    image=ir.Input((2, 3)),
    flat=ir.Flatten(),
    fc=ir.Affine(np.ones((4, 6))),
    lif=lif(),
    out=ir.Output((4,)),
)


def changed(**nodes):
    return {**GOOD_NODES, **nodes}, GOOD_EDGES


def with_edges(*edges, without=(), **nodes):
    return {**GOOD_NODES, **nodes}, [edge for edge in GOOD_EDGES if edge not in without] + list(edges)


# each: the graph, what the message must name, what it must say
MALFORMED = {
    "no nodes": (({}, []), "graph", "no nodes"),
    "no input": (chain(fc=ir.Affine(np.ones((1, 1))), out=ir.Output((1,))), "Input", "add ir.Input"),
    "no output": (chain(x=ir.Input((1,)), fc=ir.Affine(np.ones((1, 1)))), "Output", "add ir.Output"),
    "a node that is none": (changed(lif={"tau": 2.0}), "'lif'", "dict, which is no primitive"),
    "a class for a node": (changed(lif=ir.LIF), "'lif'", "no primitive"),
    "an empty name": (({"": ir.Input((1,))}, []), "''", "non-empty strings"),
    "a name that is no string": (({7: ir.Input((1,))}, []), "7", "non-empty strings"),
    "an edge to nowhere": (with_edges(("fc", "gone")), "'fc' -> 'gone'", "no node 'gone'"),
    "an edge from nowhere": (with_edges(("gone", "fc")), "'gone' -> 'fc'", "no node 'gone'"),
    "an edge of three": (with_edges(("image", "fc", "lif")), "('image', 'fc', 'lif')", "a pair (from, to)"),
    "an edge that is a word": (with_edges("ab"), "'ab'", "a pair (from, to)"),
    "an edge of a list": (with_edges((["image"], "fc")), "['image']", "a pair (from, to)"),
    "an edge twice": (with_edges(("fc", "lif")), "'fc' -> 'lif'", "there twice; remove one"),
    "an edge into an input": (with_edges(("fc", "image")), "'fc' -> 'image'", "leads into an Input"),
    "an edge out of an output": (with_edges(("out", "fc")), "'out' -> 'fc'", "leaves an Output"),
    "a node that nothing feeds": (
        with_edges(("flat", "also"), without=[("flat", "fc")], also=ir.Output((6,))),
        "'fc' (Affine)",
        "no path from an Input leads to it; add an edge",
    ),
    "a node that feeds nothing": (
        with_edges(("flat", "dead"), dead=ir.Affine(np.ones((1, 6)))),
        "'dead' (Affine)",
        "add an edge or remove it",
    ),
    "a cycle": (
        with_edges(("lif", "back"), ("back", "lif"), back=ir.Affine(np.ones((4, 4)))),
        "'back' -> 'lif'",
        "pass allow_cycles=True",
    ),
    "a node that feeds itself": (with_edges(("lif", "lif")), "'lif' -> 'lif'", "closes a cycle"),
    "a sum of unequal shapes": (
        with_edges(("flat", "lif")),
        "'lif' (LIF)",
        "their shapes differ: (4,) from 'fc', (6,) from 'flat'",
    ),
    "weights of another size": (changed(fc=ir.Affine(np.ones((4, 5)))), "'fc' (Affine)", "takes inputs of shape (5,)"),
    "a forgotten Flatten": (
        with_edges(("image", "fc"), ("flat", "also"), without=[("flat", "fc")], also=ir.Output((6,))),
        "'fc' (Affine)",
        "put a Flatten before it",
    ),
    "an output of another shape": (changed(out=ir.Output((5,))), "'out' (Output)", "output_type is (5,), but (4,)"),
    "one threshold too few": (
        changed(lif=ir.IF(v_threshold=np.ones(3))),
        "'lif' (IF)",
        "v_threshold has shape (3,), which fits neither the input (4,) nor its 4 channel(s)",
    ),
    "one time constant too many": (changed(lif=lif(tau=np.full(5, 2.0))), "'lif' (LIF)", "tau has shape (5,)"),
    "other features": (changed(flat=ir.ReLU(features=3)), "'flat' (ReLU)", "features is 3"),
    "a Flatten beyond the shape": (changed(flat=ir.Flatten(0, 2)), "'flat' (Flatten)", "no range of shape (2, 3)"),
    "a Flatten backwards": (changed(flat=ir.Flatten(1, 0)), "'flat' (Flatten)", "start_dim 1 to end_dim 0"),
}


def test_the_graph_that_the_others_are_made_from_is_right():
    graph = ir.Graph(GOOD_NODES, GOOD_EDGES)
    assert graph.order == list(GOOD_NODES)
    assert graph.output_shapes == {"image": (2, 3), "flat": (6,), "fc": (4,), "lif": (4,), "out": (4,)}


@pytest.mark.parametrize(("graph", "named", "said"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_graph_is_refused_in_one_line_that_names_the_place_and_the_way_out(graph, named, said):
    with pytest.raises(GraphError) as caught:
        ir.Graph(*graph)
    message = str(caught.value)
    assert named in message
    assert said in message
    assert "\n" not in message


def test_a_feedback_edge_must_have_the_shape_of_the_others():
    nodes, edges = with_edges(("lif", "back"), ("back", "lif"), back=ir.Affine(np.ones((3, 4))))
    with pytest.raises(GraphError, match=r"node 'lif' \(LIF\).*\(3,\) from 'back'"):
        ir.Graph(nodes, edges, allow_cycles=True)


def test_allowed_cycles_are_told_apart_from_forward_edges():
    nodes, edges = with_edges(("lif", "back"), ("back", "lif"), back=ir.Affine(np.ones((4, 4))))
    graph = ir.Graph(nodes, edges, allow_cycles=True)
    assert graph.feedback == [("back", "lif")]
    assert not graph.is_dag
    assert graph.order.index("lif") < graph.order.index("back")


FIELDS = {
    "tau below one step": (lambda: lif(tau=0.5), "tau must be 1 or more steps"),
    "tau of nothing": (lambda: lif(tau=[]), "tau is empty"),
    "an unknown reset": (lambda: lif(reset="zero"), "reset must be one of leak, subtract, not 'zero'"),
    "an unknown reset of IF": (lambda: ir.IF(1.0, reset=None), "reset must be one of"),
    "neurons of two sizes": (lambda: lif(tau=[2.0, 3.0], v_threshold=[1.0] * 3), "must have one shape"),
    "a threshold that is no number": (lambda: lif(v_threshold="high"), "v_threshold must be an array of numbers"),
    "a leak of NaN": (lambda: lif(v_leak=np.nan), "v_leak holds NaN or infinity"),
    "weights of one dimension": (lambda: ir.Affine(np.ones(3)), "weight must have 2 dimension"),
    "weights of infinity": (lambda: ir.Affine([[np.inf]]), "weight holds NaN or infinity"),
    "no weights": (lambda: ir.Affine(np.ones((0, 3))), "weight is empty"),
    "ragged weights": (lambda: ir.Affine([[1.0], [1.0, 2.0]]), "weight must be an array of numbers"),
    "another number of biases": (lambda: ir.Affine(np.ones((2, 3)), np.ones(3)), r"bias must have shape (2,)"),
    "a slope of NaN": (lambda: ir.ReLU(negative_slope=float("nan")), "negative_slope must be a finite number"),
    "a slope that is a word": (lambda: ir.ReLU(negative_slope="steep"), "negative_slope must be a finite number"),
    "no features": (lambda: ir.ReLU(features=0), "features must be a whole number of 1 or more"),
    "half a feature": (lambda: ir.ReLU(features=1.5), "features must be a whole number of 1 or more"),
    "features that are a word": (lambda: ir.ReLU(features="many"), "features must be a whole number"),
    "an input of no size": (lambda: ir.Input((3, 0)), "input_type must have sizes of 1 or more"),
    "an input of half a size": (lambda: ir.Input([1.5]), "input_type must be a shape"),
    "an input of endless size": (lambda: ir.Input([np.inf]), "input_type must be a shape"),
    "an input of two shapes": (lambda: ir.Input({"a": [1], "b": [2]}), "input_type must name one shape, not 2"),
    "an output of a word": (lambda: ir.Output("ten"), "output_type must be a shape"),
    "a Flatten from a word": (lambda: ir.Flatten("first"), "start_dim must be a whole number"),
    "no reuse": (lambda: ir.Affine([[1.0]], reuse_factor=0), "reuse_factor must be a whole number of 1 or more"),
    "half a reuse": (lambda: ir.Affine([[1.0]], reuse_factor=1.5), "reuse_factor must be a whole number"),
    "reuse that is a word": (lambda: ir.Affine([[1.0]], reuse_factor="8"), "reuse_factor must be a whole number"),
}


@pytest.mark.parametrize(("make", "said"), FIELDS.values(), ids=FIELDS)
def test_a_field_that_cannot_be_right_is_refused_by_name(make, said):
    with pytest.raises(GraphError) as caught:
        make()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parameters_are_copies_that_nobody_can_write_to():
    given = np.ones((2, 2))
    node = ir.Affine(given)
    given[0, 0] = 7.0
    assert node.weight[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        node.weight[0, 0] = 7.0
    with pytest.raises(AttributeError):
        node.weight = given
