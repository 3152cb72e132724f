import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from talon_lib import ir
from talon_lib.errors import PrecisionError
from talon_lib.fixed import OVERFLOWS, ROUNDINGS, FixedType, ScaledInt, parse_type
from talon_lib.precision import Precision, assign
from talon_lib.simulate import bind_graph, run

# --- the reference: exact fractions and nothing of talon_lib but the parsed numbers of a type -------------------------


def cast(value, number):
    step = Fraction(2) ** (number.integer - number.width)
    scaled = value / step
    floor = math.floor(scaled)
    rest, negative = scaled - floor, value < 0
    up = {
        "AP_TRN": False,
        "AP_TRN_ZERO": negative and rest > 0,
        "AP_RND": rest >= Fraction(1, 2),
        "AP_RND_MIN_INF": rest > Fraction(1, 2),
        "AP_RND_ZERO": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and negative),
        "AP_RND_INF": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and not negative),
        "AP_RND_CONV": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and floor % 2 == 1),
    }[number.rounding]
    code = floor + up
    high = 2 ** (number.width - number.signed) - 1
    low = -high - 1 if number.signed else 0
    if number.overflow == "AP_WRAP":
        code = (code - low) % (high - low + 1) + low
    elif number.overflow == "AP_SAT_ZERO":
        code = code if low <= code <= high else 0
    else:
        assert number.overflow in ("AP_SAT", "AP_SAT_SYM")
        if number.overflow == "AP_SAT_SYM" and number.signed and number.width > 1:
            low = -high
        code = min(max(code, low), high)
    return code * step


def exactly(values):
    return [Fraction(v) for v in np.asarray(values, np.float64).ravel().tolist()]


class ReferenceAffine:
    def __init__(self, node, types):
        self.types, (self.n_out, self.n_in) = types, node.weight.shape
        self.weight = [cast(w, types["weight"]) for w in exactly(node.weight)]
        self.bias = [cast(b, types["bias"]) for b in exactly(node.bias)]

    def step(self, x):
        rows = (self.weight[o * self.n_in : (o + 1) * self.n_in] for o in range(self.n_out))
        sums = [sum(map(Fraction.__mul__, row, x), bias) for row, bias in zip(rows, self.bias, strict=True)]
        return [cast(total, self.types["result"]) for total in sums]


class ReferenceReLU:
    def __init__(self, node, types):
        self.types = types
        self.slope = cast(Fraction(float(np.float32(node.negative_slope))), types["weight"])

    def step(self, x):
        return [cast(value if value > 0 else self.slope * value, self.types["result"]) for value in x]


class ReferenceNeurons:
    def __init__(self, node, types, size):
        def spread(values):
            return values * size if len(values) == 1 else values

        self.membrane, self.reset = types["membrane"], node.reset
        self.threshold = spread([cast(v, self.membrane) for v in exactly(node.v_threshold)])
        if isinstance(node, ir.LIF):
            decays = [1.0 - 1.0 / tau for tau in node.tau.astype(np.float64).ravel().tolist()]
            self.decay = spread([cast(Fraction(decay), types["decay"]) for decay in decays])
            self.leak = spread([cast(v, self.membrane) for v in exactly(node.v_leak)])
        else:
            self.decay, self.leak = [Fraction(1)] * size, [Fraction(0)] * size
        self.v = [Fraction(0)] * size

    def step(self, x):
        spikes = []
        for i, current in enumerate(x):
            v = cast(self.decay[i] * (self.v[i] - self.leak[i]) + self.leak[i] + current, self.membrane)
            spike = v >= self.threshold[i]
            if spike:
                v = cast(v - self.threshold[i], self.membrane) if self.reset == "subtract" else self.leak[i]
            self.v[i] = v
            spikes.append(Fraction(spike))
        return spikes


# --- random networks --------------------------------------------------------------------------------------------------


def a_type(rng, widths, integers, signed=None):
    width = int(rng.integers(*widths, endpoint=True))
    integer = int(rng.integers(*integers, endpoint=True))
    overflows = [mode for mode in OVERFLOWS if mode != "AP_WRAP_SM"]
    signed = bool(rng.random() < 0.8) if signed is None else signed
    return FixedType(width, integer, signed, str(rng.choice(ROUNDINGS)), str(rng.choice(overflows)))


def narrow(rng):
    return {
        "weight": a_type(rng, (2, 8), (-1, 3)),
        "bias": a_type(rng, (2, 10), (-1, 3)),
        "input": a_type(rng, (1, 9), (-1, 4)),
        "result": a_type(rng, (2, 16), (0, 5)),
        "membrane": a_type(rng, (5, 16), (2, 4), signed=True),
        "decay": a_type(rng, (2, 12), (1, 1), signed=False),
    }


def wide(rng):
    return {
        "weight": a_type(rng, (20, 26), (0, 3)),
        "bias": a_type(rng, (20, 40), (0, 3)),
        "input": a_type(rng, (20, 27), (0, 3)),
        "result": a_type(rng, (20, 36), (2, 5)),
        "membrane": a_type(rng, (30, 36), (2, 4), signed=True),
        "decay": a_type(rng, (12, 20), (1, 1), signed=False),
    }


def neurons(rng, size):
    count = int(rng.choice([1, size]))
    reset = str(rng.choice(["leak", "subtract"]))
    threshold = rng.uniform(0.4, 1.8, count)
    if rng.random() < 0.4:
        return ir.IF(v_threshold=threshold, reset=reset)
    leak = rng.uniform(-0.7, 0.3, int(rng.choice([1, size])) if count > 1 else 1)
    if rng.random() < 0.4:  # a negative threshold: subtracting it may leave the membrane's range
        threshold = rng.uniform(-1.5, -0.1, count)
        leak = threshold - rng.uniform(0.3, 1.0)
    return ir.LIF(
        tau=rng.choice([1.0, 1.3, 2.0, 3.0, 20.0, 64.0], count),
        r=np.ones(count),
        v_leak=leak,
        v_threshold=threshold,
        reset=reset,
    )


def affine(rng, n_out, n_in):
    bias = rng.normal(0, 0.5, n_out) if rng.random() < 0.7 else None
    return ir.Affine(rng.normal(0, 1.2, (n_out, n_in)), bias)


def network(rng):
    """Two dimensions flattened, hidden neurons, an activation, a way around them, and two outputs."""
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    n_in, n_hidden, n_out = int(np.prod(shape)), int(rng.integers(1, 6)), int(rng.integers(1, 5))
    nodes = {
        "in": ir.Input(shape),
        "flat": ir.Flatten(),
        "fc1": affine(rng, n_hidden, n_in),
        "hidden": neurons(rng, n_hidden),
        "fc2": affine(rng, n_out, n_hidden),
        "act": ir.ReLU(negative_slope=float(rng.choice([0.0, 0.25, -0.5, 0.1]))),
        "around": affine(rng, n_out, n_in),
        "last": neurons(rng, n_out),
        "out": ir.Output((n_out,)),
        "early": ir.Output((n_hidden,)),
    }
    edges = [("in", "flat"), ("flat", "fc1"), ("fc1", "hidden"), ("hidden", "fc2"), ("fc2", "act"), ("act", "last")]
    edges += [("flat", "around"), ("around", "last"), ("last", "out"), ("hidden", "early")]
    return ir.Graph(nodes, edges)


def with_types(rng, graph, draw_types):
    chosen = {name: draw_types(rng) for name in graph.nodes}
    mapping = {
        **{role: str(number) for role, number in draw_types(rng).items()},
        "nodes": {name: {role: str(number) for role, number in own.items()} for name, own in chosen.items()},
    }
    return chosen, Precision.parse(mapping)


def reference_run(graph, chosen, sample_steps):
    """Every node's result and every membrane, step by step, for one sample."""
    machines = {}
    for name, node in graph.nodes.items():
        size = int(np.prod(graph.output_shapes[name]))
        if isinstance(node, ir.Affine):
            machines[name] = ReferenceAffine(node, chosen[name])
        elif isinstance(node, ir.ReLU):
            machines[name] = ReferenceReLU(node, chosen[name])
        elif isinstance(node, (ir.LIF, ir.IF)):
            machines[name] = ReferenceNeurons(node, chosen[name], size)
    steps = []
    for x in sample_steps:
        values, membranes = {}, {}
        for name in ("in", "flat", "fc1", "hidden", "fc2", "act", "around", "last", "out", "early"):
            before = [values[source] for source, target in graph.edges if target == name]
            if name == "in":
                values[name] = [cast(v, chosen["in"]["input"]) for v in exactly(x)]
            elif name in machines:
                values[name] = machines[name].step([sum(terms) for terms in zip(*before, strict=True)])
            else:
                values[name] = before[0]
            if isinstance(machines.get(name), ReferenceNeurons):
                membranes[name] = list(machines[name].v)
        steps.append((values, membranes))
    return steps


def observed_run(graph, bound, inputs, steps):
    seen = [({}, {}) for _ in range(steps)]

    def observe(step, name, result, state, x):
        seen[step][0][name] = result.copy()
        if state:
            seen[step][1][name] = state["membrane"].copy()

    simulation = run(graph, bound, inputs, steps, observers=(observe,))
    return simulation, seen


def assert_equals_reference(graph, chosen, bound, data):
    steps, batch = data.shape[:2]
    simulation, seen = observed_run(graph, bound, {"in": data}, steps)
    spikes = dict.fromkeys(("hidden", "last"), 0)
    for sample in range(batch):
        expected = reference_run(graph, chosen, data[:, sample])
        counts = [Fraction(0)] * len(expected[0][0]["out"])
        for step, (values, membranes) in enumerate(expected):
            for name, value in values.items():
                assert exactly(seen[step][0][name][sample]) == value, f"result of {name}, sample {sample}, step {step}"
            for name, membrane in membranes.items():
                assert exactly(seen[step][1][name][sample]) == membrane, f"membrane of {name}, {sample}, {step}"
                spikes[name] += sum(values[name])
            counts = [a + b for a, b in zip(counts, values["out"], strict=True)]
            assert exactly(simulation.outputs["out"][step, sample]) == counts
            assert exactly(simulation.membranes["early"][step, sample]) == membranes["hidden"]
    assert {name: simulation.activity[name].spikes for name in spikes} == spikes


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=60)
@given(seeds)
def test_narrow_networks_equal_exact_fractions_at_every_node_and_step(seed):
    rng = np.random.default_rng(seed)
    graph = network(rng)
    chosen, precision = with_types(rng, graph, narrow)
    try:
        bound = assign(graph, precision)
    except PrecisionError as error:
        assert re.search("does not lie above|lies outside of", str(error))
        assume(False)
    assert_equals_reference(graph, chosen, bound, rng.normal(0, 2, (4, 2, *graph.inputs["in"].shape)))


@settings(max_examples=40)
@given(seeds)
def test_networks_that_need_integers_of_63_bits_equal_exact_fractions_too(seed):
    rng = np.random.default_rng(seed)
    graph = network(rng)
    chosen, precision = with_types(rng, graph, wide)
    try:
        bound = assign(graph, precision)
    except PrecisionError as error:
        assert "node '" in str(error)
        assume(False)
    assume(any(at.span is not None and at.span.bits > 53 for at in bound.values()))
    assert_equals_reference(graph, chosen, bound, rng.normal(0, 2, (3, 2, *graph.inputs["in"].shape)))


@pytest.mark.parametrize(
    ("node", "types"),
    [
        ("fc1", {"weight": "ap_fixed<53,2>", "bias": "ap_fixed<4,40>"}),
        ("hidden", {"membrane": "ap_fixed<50,2>", "decay": "ap_ufixed<16,1>"}),
        ("last", {"membrane": "ap_fixed<10,-60>"}),
    ],
)
def test_types_that_would_need_more_than_63_bits_are_refused_with_the_node_named(node, types):
    graph = network(np.random.default_rng(3))
    graph = ir.Graph({**graph.nodes, "hidden": ir.LIF(tau=2.0, r=1.0, v_leak=0.0, v_threshold=1.0)}, graph.edges)
    plain = dict.fromkeys(("weight", "result"), "ap_fixed<8,4>")
    with pytest.raises(PrecisionError, match=rf"^node '{node}' .*needs? \d+ bits") as caught:
        assign(graph, Precision.parse({**plain, "nodes": {node: types}}))
    assert "\n" not in str(caught.value)


@settings(max_examples=30)
@given(seeds, st.sampled_from(["ap_fixed<12,4>", "ap_fixed<10,3,AP_RND,AP_SAT>", "int4", "int8", "fp32", "fp16"]))
def test_a_batch_equals_its_samples_one_by_one_and_held_equals_repeated(seed, precision):
    rng = np.random.default_rng(seed)
    graph = network(rng)
    x = rng.normal(0, 1, (3, *graph.inputs["in"].shape))
    try:
        bound = bind_graph(graph, precision, {"in": x}, steps=4)
    except PrecisionError as error:
        assert re.search("v_(threshold|leak|reset)", str(error))
        assume(False)
    held = run(graph, bound, {"in": x}, 4)
    repeated = run(graph, bound, {"in": np.broadcast_to(x, (4, *x.shape))}, 4)
    alone = [run(graph, bound, {"in": sample}, 4) for sample in x]
    for name in ("out", "early"):
        np.testing.assert_array_equal(held.outputs[name], repeated.outputs[name])
        np.testing.assert_array_equal(held.membranes[name], repeated.membranes[name])
        if not precision.startswith("fp"):  # BLAS may sum floats of another batch size in another order
            np.testing.assert_array_equal(held.outputs[name], np.concatenate([a.outputs[name] for a in alone], axis=1))
            np.testing.assert_array_equal(
                held.membranes[name], np.concatenate([a.membranes[name] for a in alone], axis=1)
            )
            for node in graph.nodes:
                assert held.activity[node].spikes == sum(a.activity[node].spikes for a in alone)
                assert held.activity[node].effective_acs == sum(a.activity[node].effective_acs for a in alone)
                assert held.activity[node].effective_macs == sum(a.activity[node].effective_macs for a in alone)


@settings(max_examples=40)
@given(seeds)
def test_a_recurrent_edge_carries_the_step_before_as_a_loop_by_hand_does(seed):
    rng = np.random.default_rng(seed)
    n_in, n = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    weighted, themselves = bool(rng.random() < 0.8), bool(rng.random() < 0.5)
    assume(weighted or themselves)
    nodes = {"in": ir.Input((n_in,)), "fc": affine(rng, n, n_in), "hidden": neurons(rng, n), "out": ir.Output((n,))}
    edges = [("in", "fc"), ("fc", "hidden"), ("hidden", "out")]
    if weighted:
        nodes["back"] = affine(rng, n, n)
        edges += [("hidden", "back"), ("back", "hidden")]
    if themselves:
        edges += [("hidden", "hidden")]
    order = rng.permutation(len(edges))
    graph = ir.Graph(nodes, [edges[i] for i in order], allow_cycles=True)
    chosen, precision = with_types(rng, graph, narrow)
    try:
        bound = assign(graph, precision)
    except PrecisionError as error:
        assert re.search("v_(threshold|leak|reset)", str(error))
        assume(False)
    data = rng.normal(0, 2, (5, 1, n_in))
    _, seen = observed_run(graph, bound, {"in": data}, 5)
    forward, cells = ReferenceAffine(nodes["fc"], chosen["fc"]), ReferenceNeurons(nodes["hidden"], chosen["hidden"], n)
    back = ReferenceAffine(nodes["back"], chosen["back"]) if weighted else None
    from_back, from_spikes = [Fraction(0)] * n, [Fraction(0)] * n
    for step in range(5):
        x = forward.step([cast(v, chosen["in"]["input"]) for v in exactly(data[step, 0])])
        current = [sum(terms) for terms in zip(x, from_back, *([from_spikes] if themselves else []), strict=True)]
        spikes = cells.step(current)
        assert exactly(seen[step][0]["hidden"][0]) == spikes
        assert exactly(seen[step][1]["hidden"][0]) == cells.v
        from_back, from_spikes = back.step(spikes) if back else from_back, spikes


@settings(max_examples=50)
@given(seeds, st.integers(2, 6))
def test_several_edges_into_one_node_are_summed_exactly(seed, count):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 5))
    numbers = {f"in{i}": a_type(rng, (1, 12), (-3, 8)) for i in range(count)}
    nodes = {name: ir.Input((size,)) for name in numbers}
    nodes |= {"sum": ir.Flatten(), "out": ir.Output((size,))}
    graph = ir.Graph(nodes, [(name, "sum") for name in numbers] + [("sum", "out")])
    choice = {name: {"input": str(number)} for name, number in numbers.items()}
    bound = assign(graph, Precision.parse({"weight": "ap_fixed<8,4>", "result": "ap_fixed<8,4>", "nodes": choice}))
    data = {name: rng.normal(0, 4, (3, size)) for name in numbers}
    _, seen = observed_run(graph, bound, data, 1)
    columns = [[cast(v, numbers[name]) for v in exactly(data[name])] for name in numbers]
    expected = [sum(terms) for terms in zip(*columns, strict=True)]
    assert exactly(seen[0][0]["out"]) == expected
    number = parse_type(str(bound["out"].types.input))
    assert [cast(v, number) for v in expected] == expected, "the type of the sum holds it"


@settings(max_examples=300)
@given(st.data(), st.integers(0, 70) | st.sampled_from([61, 62, 63, 64]), seeds)
def test_integers_of_63_bits_cast_as_fractions_do_at_every_shift(data, shift, seed):
    number = a_type(np.random.default_rng(seed), (1, 53), (-20, 60))
    corners = [
        base + near for power in (shift - 1, shift, 60, 61, 62) for base in (2 ** max(power, 0),) for near in (-1, 0, 1)
    ]
    code = data.draw(st.sampled_from([c for c in corners if c <= 2**62]) | st.integers(0, 2**62))
    codes = [code, -code]
    scaled = ScaledInt(np.array(codes), number.fraction + shift)
    expected = [cast(Fraction(c) / Fraction(2) ** scaled.fraction, number) for c in codes]
    assert exactly(number.cast(scaled)) == expected


def test_results_are_exact_where_float64_sums_would_not_be():
    """2**40 + 2**-20 - 2**40 is 2**-20 only where nothing is rounded on the way."""
    nodes = {"in": ir.Input((3,)), "fc": ir.Affine([[1.0, 1.0, 1.0]]), "out": ir.Output((1,))}
    graph = ir.Graph(nodes, [("in", "fc"), ("fc", "out")])
    precision = Precision.parse(
        {"weight": "ap_fixed<2,2>", "result": "ap_fixed<30,2>", "input": "ap_fixed<53,33>", "bias": "ap_fixed<2,2>"}
    )
    bound = assign(graph, precision)
    assert bound["fc"].span.bits > 53
    x = np.array([2.0**31, 2.0**-20, -(2.0**31)])
    assert run(graph, bound, {"in": x}, 1).last["out"].item() == 2.0**-20
