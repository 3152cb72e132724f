import numpy as np
import pytest

from talon_lib import ir

RNG = np.random.default_rng(0)
WEIGHT, BIAS = RNG.normal(size=(3, 2)), RNG.normal(size=3)


def parts(**changes):
    nodes = {
        "x": ir.Input((2,)),
        "fc": ir.Affine(WEIGHT, BIAS),
        "lif": ir.LIF(tau=[2.0, 3.0, 4.0], r=1.0, v_leak=0.0, v_threshold=1.0),
        "y": ir.Output((3,)),
    }
    return {**nodes, **changes}, [("x", "fc"), ("fc", "lif"), ("lif", "y")]


def fingerprint(**changes):
    return ir.Graph(*parts(**changes)).fingerprint


BASE = fingerprint()


def test_the_order_of_nodes_and_edges_and_the_metadata_do_not_matter():
    nodes, edges = parts()
    for seed in range(10):
        rng = np.random.default_rng(seed)
        names = [str(n) for n in rng.permutation(list(nodes))]
        shuffled = [edges[i] for i in rng.permutation(len(edges))]
        graph = ir.Graph({n: nodes[n] for n in names}, shuffled, metadata={"seed": seed})
        assert graph.fingerprint == BASE


def test_how_values_were_given_does_not_matter():
    assert fingerprint(fc=ir.Affine(WEIGHT.tolist(), BIAS.astype(np.float32))) == BASE
    assert fingerprint(fc=ir.Affine(np.asfortranarray(WEIGHT), BIAS)) == BASE
    assert fingerprint(x=ir.Input({"input": np.array([2])})) == BASE


@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize("column", range(2))
def test_every_single_weight_matters(row, column):
    weight = WEIGHT.astype(np.float32)
    weight[row, column] = np.nextafter(weight[row, column], np.float32(9))
    assert fingerprint(fc=ir.Affine(weight, BIAS)) != BASE


def test_everything_that_changes_what_is_computed_matters():
    lif = {"tau": [2.0, 3.0, 4.0], "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0}
    variants = [
        {"fc": ir.Affine(WEIGHT)},
        {"fc": ir.Affine(WEIGHT, BIAS, weight_t="ap_fixed<8,2>")},
        {"fc": ir.Affine(WEIGHT, BIAS, result_t="ap_fixed<8,2>")},
        {"fc": ir.Affine(WEIGHT, BIAS, bias_t="ap_fixed<8,2>")},
        {"lif": ir.LIF(**{**lif, "tau": [2.0, 4.0, 3.0]})},
        {"lif": ir.LIF(**{**lif, "v_leak": 0.1})},
        {"lif": ir.LIF(**{**lif, "v_threshold": 1.1})},
        {"lif": ir.LIF(**lif, reset="subtract")},
        {"lif": ir.IF(1.0)},
        {"lif": ir.IF(1.0, reset="subtract")},
        {"lif": ir.ReLU()},
        {"lif": ir.ReLU(negative_slope=0.5)},
    ]
    found = [fingerprint(**variant) for variant in variants]
    assert len({BASE, *found}) == 1 + len(variants)


def test_names_and_edges_matter():
    nodes, edges = parts()
    renamed = {("fc2" if n == "fc" else n): node for n, node in nodes.items()}
    as_renamed = [tuple("fc2" if n == "fc" else n for n in edge) for edge in edges]
    more = ir.Graph({**nodes, "z": ir.Output((3,))}, [*edges, ("fc", "z")])
    other = ir.Graph({**nodes, "z": ir.Output((3,))}, [*edges, ("lif", "z")])
    assert len({BASE, ir.Graph(renamed, as_renamed).fingerprint, more.fingerprint, other.fingerprint}) == 4


def test_names_cannot_be_confused_with_kinds_or_each_other():
    def two(first, second):
        nodes = {"x": ir.Input((2,)), first: ir.ReLU(), second: ir.ReLU(), "y": ir.Output((2,))}
        return ir.Graph(nodes, [("x", first), (first, second), (second, "y")]).fingerprint

    assert len({two("a", "b"), two("b", "a"), two("a, b", "c"), two("a", "b, c"), two('a"', "b"), two("a", '"b')}) == 6


def test_one_value_for_all_neurons_is_the_value_of_each():
    one = ir.LIF(tau=2.0, r=1.0, v_leak=0.5, v_threshold=1.0)
    each = ir.LIF(tau=[2.0] * 3, r=7.0, v_leak=[0.5] * 3, v_threshold=[1.0] * 3, v_reset=0.5)
    assert fingerprint(lif=one) == fingerprint(lif=each) != fingerprint(lif=ir.LIF(2.0, 1.0, 0.5, 1.0, v_reset=0.0))
    assert fingerprint(lif=ir.ReLU()) == fingerprint(lif=ir.ReLU(features=3))


@pytest.mark.parametrize(
    ("node", "swapped"), [(ir.Concat(2), True), (ir.Skip("concat"), True), (ir.Skip("add"), False)]
)
def test_the_order_of_edges_matters_where_they_are_joined(node, swapped):
    shape = (4,) if swapped else (2,)
    nodes = {"x": ir.Input((2,)), "a": ir.ReLU(), "b": ir.Tanh(), "m": node, "y": ir.Output(shape)}
    edges = [("x", "a"), ("x", "b"), ("a", "m"), ("b", "m"), ("m", "y")]
    other = [("x", "a"), ("x", "b"), ("b", "m"), ("a", "m"), ("m", "y")]
    assert (ir.Graph(nodes, edges).fingerprint != ir.Graph(nodes, other).fingerprint) == swapped


def test_the_order_of_edges_matters_where_they_part():
    nodes = {"x": ir.Input((4,)), "s": ir.ChannelSplit((2, 2)), "a": ir.ReLU(), "b": ir.Tanh(), "y": ir.Output((2,))}
    edges = [("x", "s"), ("s", "a"), ("s", "b"), ("a", "y"), ("b", "y")]
    assert ir.Graph(nodes, edges).fingerprint != ir.Graph(nodes, [edges[0], edges[2], edges[1], *edges[3:]]).fingerprint


def test_a_graph_has_one_fingerprint_in_every_format(tmp_path):
    rng = np.random.default_rng(2)
    chain = [
        ir.Conv2d(rng.normal(size=(2, 1, 2, 3)), rng.normal(size=2), padding=(1, 0)),
        ir.LIF(tau=rng.uniform(1, 9, 2), r=1.0, v_leak=0.25, v_threshold=1.0),
        ir.AvgPool2d(2, ceil_mode=True, count_include_pad=False),  # neither matters here
        ir.Flatten(),
        ir.Affine(rng.normal(size=(3, 18)), rng.normal(size=3)),
        ir.IF(v_threshold=0.7),
    ]
    nodes = {"x": ir.Input((1, 5, 8)), **{f"n{i}": node for i, node in enumerate(chain)}, "y": ir.Output()}
    graph = ir.Graph(nodes, list(zip(nodes, list(nodes)[1:], strict=False)))
    for name in ("a.nir", "a.t1c"):
        ir.write(tmp_path / name, graph)
        assert ir.read(tmp_path / name).fingerprint == graph.fingerprint


def test_how_a_pool_is_written_matters_where_it_changes_something():
    def of(node, size):
        nodes = {"x": ir.Input((1, size, size)), "n": node, "y": ir.Output()}
        return ir.Graph(nodes, [("x", "n"), ("n", "y")]).fingerprint

    for kind in (ir.MaxPool2d, ir.AvgPool2d, ir.SumPool2d):
        assert of(kind(2, ceil_mode=True), 4) == of(kind(2), 4)
        assert of(kind(2, ceil_mode=True), 5) != of(kind(2), 5)
    assert of(ir.AvgPool2d(2, count_include_pad=False), 4) == of(ir.AvgPool2d(2), 4)
    assert of(ir.AvgPool2d(2, padding=1, count_include_pad=False), 4) != of(ir.AvgPool2d(2, padding=1), 4)


def _alone(node, shape):
    outgoing = 2 if isinstance(node, ir.ChannelSplit) else 1
    outputs = {f"y{i}": ir.Output() for i in range(outgoing)}
    nodes = {"x": ir.Input(shape), "n": node, **outputs}
    return ir.Graph(nodes, [("x", "n"), *(("n", name) for name in outputs)]).fingerprint


BATCH_NORM = {"weight": [1.0, 2.0], "bias": [0.0, 1.0], "running_mean": [0.0, 1.0], "running_var": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (ir.Flatten(), ir.Flatten(0, 2), ir.Flatten(1, 2)),
        (ir.Flatten(-2, -1), ir.Flatten(1, 2), ir.Flatten(0, 1)),
        (ir.Skip("residual"), ir.Skip("add"), ir.Skip("concat")),
        (ir.Skip("passthrough"), ir.Skip("identity"), ir.Skip("add")),
        (ir.ChannelSplit((1, 1), dim=0), ir.ChannelSplit((1, 1), dim=-3), ir.ChannelSplit((2, 2), dim=1)),
        (ir.Upsample(2), ir.Upsample(size=(8, 12)), ir.Upsample(size=(8, 6))),
        (ir.Upsample(2, align_corners=True), ir.Upsample((2, 2)), ir.Upsample(2, mode="bilinear")),
        (ir.Upsample(2, mode="bilinear"), ir.Upsample(size=(8, 12), mode="bilinear"), ir.Upsample(2)),
        (ir.Softmax(dim=-1), ir.Softmax(dim=2), ir.Softmax(dim=0)),
        (ir.PReLU(None, 0.5), ir.PReLU(2, [0.5, 0.5]), ir.PReLU(2, [0.5, 0.25])),
        (ir.Dropout(p=0.5), ir.Dropout(p=0.1), ir.ReLU()),
        (ir.HybridRegion("snn"), ir.HybridRegion("snn", name="first"), ir.HybridRegion("ann")),
        (
            ir.BatchNorm2d(2, **BATCH_NORM),
            ir.BatchNorm2d(2, **BATCH_NORM, momentum=0.5),
            ir.BatchNorm2d(2, **BATCH_NORM, eps=0.5),
        ),
        (ir.Scale([-0.0, 1.0]), ir.Scale([0.0, 1.0]), ir.Scale([0.5, 1.0])),
    ],
)
def test_nodes_that_say_the_same_in_two_ways_are_one(one, same, other):
    shape = (2, 4, 6)
    assert _alone(one, shape) == _alone(same, shape) != _alone(other, shape)


def test_a_spike_mode_is_carried_and_a_number_type_is_not():
    affine = {"weight": WEIGHT, "bias": BIAS}
    plain = fingerprint(fc=ir.SpikingAffine(**affine))
    assert plain == fingerprint(fc=ir.SpikingAffine(**affine, spike_mode="rate"))
    assert plain != fingerprint(fc=ir.SpikingAffine(**affine, result_t="ap_fixed<8,2>"))
