import dataclasses

import numpy as np
import pytest

from talon_lib import ir
from talon_lib.errors import GraphError
from talon_lib.ir.node import HINTS, primitives


def lif(**fields):
    return ir.LIF(**{"tau": 2.0, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, **fields})


def chain(**nodes):
    return nodes, list(zip(nodes, list(nodes)[1:], strict=False))


def one(node, shape):
    """A graph of one node; the Output is of a shape that nothing here has."""
    return chain(x=ir.Input(shape), node=node, out=ir.Output((987,)))


def two(node, left, right):
    """A graph of one node that two inputs lead into."""
    nodes = {"left": ir.Input(left), "right": ir.Input(right), "node": node, "out": ir.Output((987,))}
    return nodes, [("left", "node"), ("right", "node"), ("node", "out")]


def split(node, shape, *parts):
    """A graph of one node that leads into several outputs."""
    outputs = {str(index): ir.Output(part) for index, part in enumerate(parts)}
    return {"x": ir.Input(shape), "node": node, **outputs}, [("x", "node"), *(("node", name) for name in outputs)]


def norm(count):
    return ir.BatchNorm1d(count, None, None, np.zeros(count), np.ones(count))


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
    "edges that are a word": ((GOOD_NODES, "ab"), "'a'", "a pair (from, to)"),
    "edges that are a mapping": ((GOOD_NODES, {"fc": "lif"}), "'fc'", "a pair (from, to)"),
    "an edge that is None": (with_edges(None), "None", "a pair (from, to)"),
    "an edge of one": (with_edges(("fc",)), "('fc',)", "a pair (from, to)"),
    "an edge of nothing": (with_edges(()), "()", "a pair (from, to)"),
    "an edge without order": (with_edges(frozenset({"fc", "lif"})), "frozenset", "a pair (from, to)"),
    "an edge of bytes": (with_edges((b"fc", b"lif")), "b'fc'", "a pair (from, to)"),
    "an edge of numbers": (with_edges((0, 1)), "(0, 1)", "a pair (from, to)"),
    "an edge that is an array": (with_edges(np.array(["fc", "lif"])), "array(['fc', 'lif']", "a pair (from, to)"),
    "a convolution of a vector": (
        one(ir.Conv2d(np.ones((4, 2, 3, 3))), (72,)),
        "'node' (Conv2d)",
        "weight (4, 2, 3, 3) takes inputs (2, h, w), not (72,)",
    ),
    "a convolution of other channels": (
        one(ir.Conv2d(np.ones((4, 2, 3, 3)), groups=2), (2, 8, 8)),
        "'node' (Conv2d)",
        "with 2 groups takes inputs (4, h, w), not (2, 8, 8)",
    ),
    "a kernel larger than the image": (
        one(ir.Conv2d(np.ones((4, 2, 3, 3)), dilation=4), (2, 8, 8)),
        "'node' (Conv2d)",
        "the kernel (3, 3) with dilation (4, 4) does not fit inputs of 8 x 8",
    ),
    "a one-dimensional convolution of an image": (
        one(ir.Conv1d(np.ones((4, 2, 3))), (2, 8, 8)),
        "'node' (Conv1d)",
        "takes inputs (2, w), not (2, 8, 8)",
    ),
    "a separable convolution of other channels": (
        one(ir.SepConv2d(np.ones((2, 1, 3, 3)), np.ones((4, 2, 1, 1))), (3, 8, 8)),
        "'node' (SepConv2d)",
        "takes inputs (2, h, w), not (3, 8, 8)",
    ),
    "a pool of a vector": (one(ir.AvgPool2d(), (8,)), "'node' (AvgPool2d)", "takes inputs (channels, h, w), not (8,)"),
    "a pool larger than the image": (
        one(ir.MaxPool2d(5), (1, 4, 8)),
        "'node' (MaxPool2d)",
        "the kernel (5, 5) does not fit inputs of 4 x 8",
    ),
    "an Upsample of a vector": (one(ir.Upsample(), (8,)), "'node' (Upsample)", "takes inputs (channels, h, w)"),
    "an Upsample to nothing": (
        one(ir.Upsample(scale_factor=0.1), (1, 8, 8)),
        "'node' (Upsample)",
        "scale_factor (0.1, 0.1) leaves nothing of the input (1, 8, 8)",
    ),
    "a norm of other channels": (
        one(norm(4), (3, 2)),
        "'node' (BatchNorm1d)",
        "num_features 4 takes inputs (4) or (4, l",
    ),
    "a norm of an image": (one(norm(4), (4, 2, 2)), "'node' (BatchNorm1d)", "num_features 4 takes inputs"),
    "a LayerNorm of another shape": (
        one(ir.LayerNorm((2, 3)), (3, 2)),
        "'node' (LayerNorm)",
        "normalized_shape (2, 3) is not the end of the input (3, 2)",
    ),
    "slopes of other channels": (
        one(ir.PReLU(None, np.ones(3)), (2, 3)),
        "'node' (PReLU)",
        "weight has shape (3,), which fits neither the input (2, 3) nor its 2 channel(s)",
    ),
    "a Softmax over no dimension": (one(ir.Softmax(dim=2), (2, 3)), "'node' (Softmax)", "dim 2 is no dimension"),
    "a leak of another shape": (one(lif(v_leak=np.ones((2, 2))), (2, 3)), "'node' (LIF)", "v_leak has shape (2, 2)"),
    "a Concat of too few": (one(ir.Concat(2), (2,)), "'node' (Concat)", "num_inputs is 2, but 1 edge(s) lead into it"),
    "a Concat of unequal shapes": (
        two(ir.Concat(2), (1, 2), (2, 3)),
        "'node' (Concat)",
        "joined along dimension 0, but differ in others: (1, 2) from 'left', (2, 3) from 'right'",
    ),
    "a Concat of unequal ranks": (two(ir.Concat(2), (1, 2), (2,)), "'node' (Concat)", "joined along dimension 0"),
    "a Concat along no dimension": (
        two(ir.Concat(2, 2), (1, 2), (1, 2)),
        "'node' (Concat)",
        "dim 2 is no dimension of",
    ),
    "two inputs of unequal shape": (
        two(ir.ReLU(), (1,), (2,)),
        "'node' (ReLU)",
        "their shapes differ: (1,) from 'left', (2,) from 'right'",
    ),
    "a Skip that hands on two": (two(ir.Skip("identity"), (3,), (3,)), "'node' (Skip)", "takes one edge, but 2 lead"),
    "a Skip that adds unequal shapes": (two(ir.Skip(), (3,), (4,)), "'node' (Skip)", "their shapes differ"),
    "parts of another sum": (
        split(ir.ChannelSplit((1, 2)), (4,), (1,), (2,)),
        "'node' (ChannelSplit)",
        "split_sections (1, 2) do not add up to dimension 0 of the input (4,)",
    ),
    "parts along no dimension": (
        split(ir.ChannelSplit((1, 2), 1), (3,), (1,), (2,)),
        "'node' (ChannelSplit)",
        "do not add up to dimension 1 of the input (3,)",
    ),
    "more parts than edges": (
        split(ir.ChannelSplit((1, 1, 1)), (3,), (1,), (2,)),
        "'node' (ChannelSplit)",
        "split_sections has 3 parts, but 2 edge(s) leave it",
    ),
    "a part of another shape": (
        split(ir.ChannelSplit((1, 2)), (3,), (2,), (1,)),
        "'1' (Output)",
        "output_type is (1,), but (2,) arrives",
    ),
    "a cycle into a Concat": (
        (
            {"x": ir.Input((3,)), "join": ir.Concat(2), "back": ir.ReLU(), "out": ir.Output((6,))},
            [("x", "join"), ("back", "join"), ("join", "back"), ("join", "out")],
            {},
            True,
        ),
        "'join' (Concat)",
        "an edge that closes a cycle cannot be concatenated",
    ),
    "a cycle of another shape": (
        (
            {"x": ir.Input((3,)), "sum": ir.ReLU(), "back": ir.Affine(np.ones((2, 3))), "out": ir.Output((3,))},
            [("x", "sum"), ("sum", "back"), ("back", "sum"), ("sum", "out")],
            {},
            True,
        ),
        "'sum' (ReLU)",
        "(2,) from 'back'",
    ),
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


# --- every field of every primitive, with what a new user might put there ---------------------------------------------

ROWS = np.arange(6.0).reshape(2, 3)  # its repr has two lines
RAGGED = [[1.0], [1.0, 2.0]]
WORDS = {
    "a word": "word",
    "a word of two lines": "two\nlines",
    "nothing in quotes": "",
    "a class": int,
    "an object": {},
}

TENSOR = {
    **{key: value for key, value in WORDS.items() if key != "an object"},
    "a mapping": {"weight": 1.0},
    "NaN": float("nan"),
    "infinity": -float("inf"),
    "NaN among others": [1.0, float("nan")],
    "a number beyond float32": 1e39,
    "no values": [],
    "ragged rows": RAGGED,
    "five dimensions": np.ones((1,) * 5),
    "None among others": np.array([1.0, None], dtype=object),
    "a complex number": 1j,
    "complex numbers": np.ones((2, 3)) * 1j,
    "a digit in quotes": "3",
    "digits in quotes": np.array(["1", "2"]),
    "bytes": b"3",
    "a date": np.datetime64("2020-01-01"),
}
NUMBER = {
    **WORDS,
    "None": None,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "True": True,
    "a digit in quotes": "3",
    "a complex number": 1j,
    "a list": [1.0],
    "rows": ROWS,
}
INDEX = {**NUMBER, "a half": 2.5}
COUNT = {**INDEX, "a number without end": 10**400, "zero": 0, "minus one": -1}
WIDTHS = {**WORDS, "None": None, "NaN": float("nan"), "a half": 2.5, "minus one": -1, "True": True, "no numbers": []}
WIDTHS |= {"three numbers": (1, 1, 1), "rows": ROWS, "ragged rows": RAGGED, "a digit in quotes": "3", "1j": 1j}
SIZES = {**WIDTHS, "zero": 0}
FLAG = {**WORDS, "None": None, "zero": 0, "one": 1, "yes": "yes", "a list": [True], "rows": ROWS}
CHOICE = {**WORDS, "None": None, "three": 3, "True": True, "a list": ["leak"], "ragged rows": RAGGED}
CHOICE |= {"rows": ROWS, "words": np.array(["leak", "subtract"])}
SHAPE = {**WORDS, "None": None, "NaN": float("nan"), "a half": [2.5], "zero": 0, "minus one": [3, -1], "no sizes": []}
SHAPE |= {"rows": ROWS, "ragged rows": RAGGED, "digits in quotes": ["1", "2"], "True": True, "1j": 1j}
SHAPE |= {"a size that no memory has": 2**40, "sizes that no memory has": (2**31, 2**31), "1e39": 1e39}
TYPE = {**WORDS, "a number": 8, "a list": ["ap_fixed<8,3>"], "rows": ROWS, "a type of no width": "ap_fixed<0,0>"}


def without(values, *keys):
    return {key: value for key, value in values.items() if key not in keys}


NORM = {"num_features": 4, "weight": None, "bias": None, "running_mean": np.zeros(4), "running_var": np.ones(4)}
GOOD_FIELDS = {
    "Input": {"input_type": (2, 3)},
    "Output": {"output_type": (2, 3)},
    "Affine": {"weight": np.ones((4, 6))},
    "SpikingAffine": {"weight": np.ones((4, 6))},
    "LIF": {"tau": 2.0, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0},
    "IF": {"v_threshold": 1.0},
    "CubaLIF": {"tau_syn": 3.0, "tau": 2.0, "v_leak": 0.0, "v_threshold": 1.0},
    "LI": {"tau": 2.0, "v_leak": 0.0},
    "CubaLI": {"tau_syn": 3.0, "tau": 2.0, "v_leak": 0.0},
    "Threshold": {"threshold": 1.0},
    "Scale": {"scale": 2.0},
    "Delay": {"steps": 1},
    "PReLU": {"features": None, "weight": 0.1},
    "BatchNorm1d": NORM,
    "BatchNorm2d": NORM,
    "LayerNorm": {"normalized_shape": (2, 3)},
    "Conv1d": {"weight": np.ones((4, 2, 3))},
    "Conv2d": {"weight": np.ones((4, 2, 3, 3))},
    "SepConv2d": {"depthwise_weight": np.ones((2, 1, 3, 3)), "pointwise_weight": np.ones((4, 2, 1, 1))},
    "HybridRegion": {"mode": "snn"},
    "ChannelSplit": {"split_sections": (1, 1)},
}
NOTHING = "nothing"  # the label of a field that is left out

MALFORMED_FIELDS = {
    **dict.fromkeys(("weight_t", "bias_t", "accum_t", "result_t"), TYPE),
    **dict.fromkeys(("reuse_factor", "features"), without(COUNT, "None")),
    **dict.fromkeys(("num_features", "num_inputs", "groups", "weight_bits", "accumulator_bits"), COUNT),
    **dict.fromkeys(("dim", "start_dim", "end_dim"), INDEX),
    **dict.fromkeys(("weight", "bias", "r", "v_leak", "v_threshold", "running_mean"), TENSOR),
    **dict.fromkeys(("depthwise_weight", "pointwise_weight", "depthwise_bias", "pointwise_bias"), TENSOR),
    **{key: {**TENSOR, "None": None, "below 1": [2.0, 0.99], "False": False} for key in ("tau", "tau_syn")},
    **{key: {**TENSOR, "None": None} for key in ("threshold", "scale")},
    "v_reset": TENSOR,
    "steps": {**TENSOR, "None": None, "a half": 0.5, "below 0": -1, "a million": 10**6},
    "running_var": {**TENSOR, "below 0": [1.0, -1.0, 1.0, 1.0]},
    "negative_slope": {**NUMBER, "a number beyond float32": 1e39},
    "alpha": NUMBER,
    "eps": {**NUMBER, "zero": 0.0, "below 0": -1e-5},
    "momentum": NUMBER,
    "p": {**NUMBER, "below 0": -0.1, "above 1": 1.1},
    **dict.fromkeys(("stride", "dilation", "kernel_size"), SIZES),
    "padding": WIDTHS,
    **dict.fromkeys(("ceil_mode", "count_include_pad", "align_corners", "approximate", "reset_delay", "strict"), FLAG),
    **dict.fromkeys(("reset", "spike_mode", "skip_type"), CHOICE),
    **dict.fromkeys(("input_type", "output_type", "normalized_shape", "split_sections"), SHAPE),
    "scale_factor": without(SIZES, "a half"),
    "size": without(SIZES, "None"),
    "name": {"a number": 3, "a list": ["name"], "rows": ROWS, "an object": {}},
}
BY_PRIMITIVE = {  # where a field of the same name is another one, or may be None
    ("HybridRegion", "mode"): CHOICE,
    ("Output", "output_type"): without(SHAPE, "None"),
    ("Upsample", "mode"): CHOICE,
    ("Conv1d", "stride"): {**SIZES, "two numbers": (1, 1)},
    ("MaxPool2d", "stride"): without(SIZES, "None"),
    ("AvgPool2d", "stride"): without(SIZES, "None"),
    ("SumPool2d", "stride"): without(SIZES, "None"),
}


def malformed():
    """By primitive and field: values by label."""
    for kind, cls in primitives().items():
        for field in dataclasses.fields(cls):
            if field.name in HINTS and kind != "Affine":
                continue  # all have them from the same base
            values = dict(BY_PRIMITIVE.get((kind, field.name)) or MALFORMED_FIELDS[field.name])
            if field.default is dataclasses.MISSING:
                values[NOTHING] = None
            yield pytest.param(kind, field.name, values, id=f"{kind}.{field.name}")


def offence(kind, field, label, value):
    """What is wrong with the way in which a value is refused; None if nothing is."""
    fields = {**GOOD_FIELDS.get(kind, {}), field: value}
    if label == NOTHING:
        del fields[field]
    try:
        primitives()[kind](**fields)
    except GraphError as error:
        message = str(error)
        right = field in message and "\n" not in message and len(message) < 400
        return None if right else message
    except Exception as error:
        return repr(error)
    return "it is taken"


@pytest.mark.parametrize("kind", primitives())
def test_the_fields_that_the_cases_below_start_from_are_right(kind):
    primitives()[kind](**GOOD_FIELDS.get(kind, {}))


@pytest.mark.parametrize(("kind", "field", "values"), list(malformed()))
def test_malformed_fields_are_refused_in_one_line_that_names_them(kind, field, values):
    offences = {label: offence(kind, field, label, value) for label, value in values.items()}
    assert {label: found for label, found in offences.items() if found} == {}


# --- the arguments of Graph itself -----------------------------------------------------------------------------------


def made(**arguments):
    return ir.Graph(**{"nodes": GOOD_NODES, "edges": GOOD_EDGES, **arguments})


LINES = {"x": ir.Input((1,)), "two\nlines": ir.ReLU(), "out": ir.Output((1,))}

ARGUMENTS = {
    "nodes of None": (lambda: made(nodes=None), "nodes"),
    "a number of nodes": (lambda: made(nodes=3), "nodes"),
    "a list of nodes": (lambda: made(nodes=[ir.Input((1,))]), "nodes"),
    "nodes in a word": (lambda: made(nodes="image"), "nodes"),
    "edges of None": (lambda: made(edges=None), "edges"),
    "a number of edges": (lambda: made(edges=3), "edges"),
    "metadata of None": (lambda: made(metadata=None), "metadata"),
    "metadata in a number": (lambda: made(metadata=3), "metadata"),
    "metadata in a list": (lambda: made(metadata=[1]), "metadata"),
    "cycles allowed by a word": (lambda: made(allow_cycles="no"), "allow_cycles"),
    "cycles allowed by None": (lambda: made(allow_cycles=None), "allow_cycles"),
    "a cyclic_config of a word": (lambda: made(cyclic_config="ten"), "cyclic_config"),
    "a cyclic_config of another key": (lambda: made(cyclic_config={"max_iter": 3}), "cyclic_config"),
    "fewer than one iteration": (lambda: made(cyclic_config={"max_iterations": -3}), "max_iterations"),
    "iterations in a word": (lambda: made(cyclic_config={"max_iterations": "many"}), "max_iterations"),
    "half an iteration": (lambda: made(cyclic_config={"max_iterations": 2.5}), "max_iterations"),
    "no edges": (lambda: ir.Graph(GOOD_NODES), "edges"),
    "no arguments": (lambda: ir.Graph(), "nodes"),
    "an argument that there is not": (lambda: made(cycles=True), "cycles"),
    "a field that there is not": (lambda: ir.ReLU(slope=0.1), "slope"),
    "too many fields": (lambda: ir.IF(1.0, "leak", None, False, False, 2), "IF"),
    "a name of two lines": (lambda: made(nodes=LINES, edges=[("x", "out")]), "two"),
    "an edge of two lines": (lambda: made(edges=[("image", "two\nlines")]), "two lines"),
    "an image without end": (
        lambda: ir.Graph(*one(ir.Upsample(scale_factor=1e308), (1, 8, 8))),
        "scale_factor",
    ),
    "an image that no memory has": (
        lambda: ir.Graph(*chain(x=ir.Input((1, 8, 8)), up=ir.Upsample(size=2**40), out=ir.Output((1, 2**40, 2**40)))),
        "size",
    ),
    "padding that no memory has": (
        lambda: ir.Graph(
            *chain(
                x=ir.Input((1, 8, 8)),
                conv=ir.Conv2d(np.ones((1, 1, 1, 1)), padding=2**40),
                out=ir.Output((1, 2**41 + 8, 2**41 + 8)),
            )
        ),
        "padding",
    ),
}


@pytest.mark.parametrize(("make", "named"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_a_malformed_argument_of_a_graph_is_refused_in_one_line(make, named):
    with pytest.raises(GraphError) as caught:
        make()
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
