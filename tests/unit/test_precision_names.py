import json

import numpy as np
import pytest

from talon_lib import ir
from talon_lib.errors import GraphError, PrecisionError
from talon_lib.fixed import FP16, FP32, SPIKE, FixedType, parse_type
from talon_lib.precision import Precision, describe_types
from talon_lib.simulate import bind_graph, run


def network(**hints):
    rng = np.random.default_rng(1)
    nodes = {
        "x": ir.Input((6,)),
        "fc1": ir.Affine(rng.normal(0, 0.5, (5, 6)), rng.normal(0, 0.2, 5), **hints),
        "lif": ir.LIF(tau=4.0, r=1.0, v_leak=0.0, v_threshold=1.0),
        "fc2": ir.Affine(rng.normal(0, 0.5, (3, 5))),
        "if": ir.IF(v_threshold=1.0),
        "y": ir.Output((3,)),
    }
    return ir.Graph(nodes, list(zip(nodes, list(nodes)[1:], strict=False)))


SAMPLES = {"x": np.random.default_rng(2).uniform(-1, 1, (20, 6))}

# --- names ------------------------------------------------------------------------------------------------------------

ILLEGAL = {
    "int1": "int2 to int16",
    "int17": "int2 to int16",
    "int0": "int2 to int16",
    "int": "fp32, fp16, int2 to int16",
    "uint8": "fp32, fp16, int2 to int16",
    "fp64": "ap_fixed<16,6>",
    "float": "fp32, fp16, int2 to int16",
    "": "fp32, fp16, int2 to int16",
    "8": "fp32, fp16, int2 to int16",
    "ap_fixed<16>": "integer bits are missing",
    "ap_fixed<0,0>": "1 to 53 bits",
    "ap_fixed<54,6>": "1 to 53 bits",
    "ap_fixed<16,6": "ap_fixed<16,6>",
    "ap_fixed<16,6,AP_ROUND>": "known: AP_TRN, AP_TRN_ZERO, AP_RND",
    "ap_fixed<16,6,AP_RND,AP_CLIP>": "known: AP_WRAP, AP_WRAP_SM, AP_SAT",
    "ap_fixed<16,6,AP_TRN,AP_WRAP,2>": "leave the last number out",
    "ap_ufixed<16,6,AP_TRN,AP_WRAP_SM>": "use AP_WRAP or AP_SAT",
    "ap_fixed<16,6> and more": "ap_fixed<16,6>",
    "ap_int<8,4>": "takes its width alone",
    "{weight: int8}": "is no JSON",
}


@pytest.mark.parametrize(("name", "said"), ILLEGAL.items())
def test_an_illegal_precision_is_refused_in_one_line_that_says_what_is_legal(name, said):
    with pytest.raises(PrecisionError) as caught:
        Precision.parse(name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


ILLEGAL_MAPPINGS = {
    "an unknown key": ({"weight": "int8", "result": "int8", "wieght": "int4"}, "'wieght'", "allowed: name, weight"),
    "no weight": ({"result": "int8"}, "'weight'", "needs the key"),
    "no result": ({"weight": "int8"}, "'result'", "needs the key"),
    "an illegal type": ({"weight": "int8", "result": "ap_fixed<8>"}, "result", "integer bits are missing"),
    "too few bits": ({"weight": "int1", "result": "int8"}, "weight", "int2 to int32"),
    "too many bits": ({"weight": "int8", "result": "int33"}, "result", "int2 to int32"),
    "a node with a word": ({"weight": "int8", "result": "int8", "nodes": {"fc": "int4"}}, "'fc'", "{weight: …"),
    "a node with an unknown key": (
        {"weight": "int8", "result": "int8", "nodes": {"fc": {"accum": "int4"}}},
        "'fc'",
        "keys weight, input, result, membrane, decay, bias",
    ),
    "a node with an illegal type": (
        {"weight": "int8", "result": "int8", "nodes": {"fc": {"weight": "huge"}}},
        "fc.weight",
        "'huge'",
    ),
}


@pytest.mark.parametrize(("mapping", "named", "said"), ILLEGAL_MAPPINGS.values(), ids=ILLEGAL_MAPPINGS)
def test_an_illegal_mapping_is_refused_by_its_key(mapping, named, said):
    for form in (mapping, json.dumps(mapping)):
        with pytest.raises(PrecisionError) as caught:
            Precision.parse(form)
        assert named in str(caught.value)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_node_that_the_graph_does_not_have_is_named():
    mapping = {"weight": "ap_fixed<8,2>", "result": "ap_fixed<8,2>", "nodes": {"fc9": {"weight": "int4"}}}
    with pytest.raises(PrecisionError, match="names node 'fc9', which the graph does not have"):
        bind_graph(network(), mapping, SAMPLES)


@pytest.mark.parametrize(
    "value",
    [
        "fp32",
        "fp16",
        *(f"int{bits}" for bits in range(2, 17)),
        "ap_fixed<16,6>",
        "fixed<16,6,rnd,sat>",
        "ap_ufixed<8,-2,AP_RND_CONV,AP_SAT>",
        {"weight": "int4", "result": "int12"},
        {"name": "mixed", "weight": "int4", "result": "ap_fixed<9,3>", "nodes": {"fc1": {"weight": "int8"}}},
        {"weight": "fp16", "result": "fp32", "bias": "int8", "decay": "ap_ufixed<8,1>"},
    ],
    ids=str,
)
def test_a_precision_is_read_back_from_its_own_argument(value):
    precision = Precision.parse(value)
    assert Precision.parse(precision.argument()) == precision
    assert Precision.parse(precision) is precision


def test_what_needs_calibration_and_what_hardware_holds():
    asked = {
        "fp32": (False, False),
        "fp16": (False, False),
        "int8": (True, True),
        "ap_fixed<16,6>": (False, True),
        '{"weight": "ap_fixed<8,2>", "result": "fp32"}': (False, False),
        '{"weight": "ap_fixed<8,2>", "result": "ap_fixed<8,2>", "nodes": {"a": {"weight": "int4"}}}': (True, True),
    }
    found = {name: (Precision.parse(name).needs_calibration, Precision.parse(name).is_fixed) for name in asked}
    assert found == asked


# --- types of a graph -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", range(2, 17))
def test_intn_has_n_bits_for_weights_and_inputs_and_twice_as_many_elsewhere(bits):
    bound = bind_graph(network(), f"int{bits}", SAMPLES, steps=4)
    scaled = {
        "x": ("result", bits),
        "fc1": ("weight", bits),
        "fc2": ("weight", bits),
        "if": ("membrane", 2 * bits),
        "lif": ("membrane", 2 * bits),
    }
    for node, (role, width) in scaled.items():
        number = getattr(bound[node].types, role)
        assert (number.width, number.signed, number.rounding, number.overflow) == (width, True, "AP_RND", "AP_SAT")
    for node in ("fc1", "fc2"):
        assert (bound[node].types.bias.width, bound[node].types.result.width) == (2 * bits, 2 * bits)
    decay = bound["lif"].types.decay
    assert (decay.width, decay.integer, decay.signed) == (min(2 * bits, 16), 1, False)
    assert bound["lif"].types.result == bound["fc2"].types.input == bound["y"].types.result == SPIKE


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_intn_gives_each_tensor_its_own_scale(bits):
    graph = network()
    nodes = {**graph.nodes, "fc1": ir.Affine(graph.nodes["fc1"].weight * 2.0**-5, graph.nodes["fc1"].bias)}
    one = bind_graph(graph, f"int{bits}", SAMPLES)
    other = bind_graph(ir.Graph(nodes, graph.edges), f"int{bits}", SAMPLES)
    assert other["fc1"].types.weight.integer == one["fc1"].types.weight.integer - 5
    assert other["fc1"].types.bias == one["fc1"].types.bias
    assert other["fc2"].types.weight == one["fc2"].types.weight


@pytest.mark.parametrize(
    ("name", "decay"), [("ap_fixed<16,6>", 16), ("ap_fixed<10,3,AP_RND,AP_SAT>", 10), ("ap_fixed<20,8>", 16)]
)
def test_ap_fixed_is_the_type_of_everything(name, decay):
    bound = bind_graph(network(), name)
    number = parse_type(name)
    for node, roles in {
        "x": ["result"],
        "fc1": ["input", "weight", "bias", "result"],
        "lif": ["input", "membrane"],
        "fc2": ["weight", "bias", "result"],
        "if": ["input", "membrane"],
    }.items():
        assert [getattr(bound[node].types, role) for role in roles] == [number] * len(roles)
    assert bound["lif"].types.decay == FixedType(decay, 1, False, "AP_RND", "AP_SAT")
    for node in ("fc1", "fc2"):
        np.testing.assert_array_equal(bound[node].parameters["weight"], number.cast(network().nodes[node].weight))


def test_a_mapping_gives_each_role_and_node_its_own_type():
    bound = bind_graph(
        network(),
        {
            "weight": "ap_fixed<8,2>",
            "input": "ap_fixed<9,3>",
            "result": "ap_fixed<10,4>",
            "membrane": "ap_fixed<11,5>",
            "decay": "ap_ufixed<7,1>",
            "nodes": {
                "fc2": {"weight": "ap_fixed<4,1>", "bias": "ap_fixed<5,1>"},
                "if": {"membrane": "ap_fixed<13,5>"},
                "lif": {"decay": "ap_ufixed<3,1>"},
            },
        },
    )
    told = describe_types(bound)
    assert told["x"]["result"] == told["fc1"]["input"] == "ap_fixed<9,3>"
    assert [told["fc1"][role] for role in ("weight", "bias", "result")] == [
        "ap_fixed<8,2>", "ap_fixed<10,4>", "ap_fixed<10,4>"
    ]  # fmt: skip
    assert [told["fc2"][role] for role in ("weight", "bias", "result")] == [
        "ap_fixed<4,1>", "ap_fixed<5,1>", "ap_fixed<10,4>"
    ]  # fmt: skip
    assert (told["lif"]["membrane"], told["lif"]["decay"]) == ("ap_fixed<11,5>", "ap_ufixed<3,1>")
    assert told["if"]["membrane"] == "ap_fixed<13,5>"


def test_what_a_mapping_leaves_out_follows_weight_and_result():
    told = describe_types(bind_graph(network(), {"weight": "ap_fixed<8,2>", "result": "ap_fixed<10,4>"}))
    assert told["x"]["result"] == "ap_fixed<8,2>"
    assert (told["lif"]["membrane"], told["fc1"]["bias"]) == ("ap_fixed<10,4>", "ap_fixed<10,4>")
    assert told["lif"]["decay"] == "ap_ufixed<10,1,AP_RND,AP_SAT>"


def test_types_on_a_node_win_over_any_precision():
    hints = {"weight_t": "ap_fixed<5,1>", "bias_t": "ap_fixed<6,1>", "result_t": "ap_fixed<7,2>"}
    everywhere = {"weight": "ap_fixed<8,2>", "result": "ap_fixed<8,2>"}
    named = {**everywhere, "nodes": {"fc1": {"weight": "ap_fixed<12,2>", "bias": "int4", "result": "int4"}}}
    for precision in ("ap_fixed<16,6>", "int8", everywhere, named):
        told = describe_types(bind_graph(network(**hints), precision, SAMPLES))
        assert told["fc1"]["weight"] == "ap_fixed<5,1>"
        assert told["fc1"]["bias"] == "ap_fixed<6,1>"
        assert told["fc1"]["result"] == told["lif"]["input"] == "ap_fixed<7,2>"
        assert told["fc2"]["weight"] != "ap_fixed<5,1>"


def test_accum_t_must_be_wide_enough_for_the_exact_sum():
    plain = bind_graph(network(), "ap_fixed<8,3>")
    needed = plain["fc1"].span.ap_fixed()
    number = parse_type(needed)
    wider = f"ap_fixed<{number.width + 4},{number.integer + 2}>"
    for enough in (needed, wider):
        bound = bind_graph(network(accum_t=enough), "ap_fixed<8,3>")
        np.testing.assert_array_equal(
            run(network(), bound, SAMPLES, 3).outputs["y"], run(network(), plain, SAMPLES, 3).outputs["y"]
        )
    for narrow in (
        f"ap_fixed<{number.width - 2},{number.integer - 2}>",
        f"ap_fixed<{number.width - 1},{number.integer}>",
        f"ap_ufixed<{number.width},{number.integer}>",
    ):
        with pytest.raises(PrecisionError) as caught:
            bind_graph(network(accum_t=narrow), "ap_fixed<8,3>")
        assert "node 'fc1'" in str(caught.value)
        assert f"use {needed}" in str(caught.value)


@pytest.mark.parametrize("hint", ["weight_t", "bias_t", "result_t", "accum_t"])
def test_a_type_on_a_node_that_is_none_is_refused(hint):
    for wrong in ("wide", 5):
        with pytest.raises(GraphError, match=rf"Affine: {hint}: .* is not a number type"):
            ir.Affine([[1.0]], **{hint: wrong})
    with pytest.raises(GraphError, match=f"{hint} has no meaning for neurons"):
        ir.IF(np.ones(1), **{hint: "ap_fixed<8,3>"})


def test_a_threshold_that_rounds_to_the_leak_is_refused():
    nodes = {**network().nodes, "lif": ir.LIF(tau=4.0, r=1.0, v_leak=0.0, v_threshold=0.1)}
    graph = ir.Graph(nodes, network().edges)
    with pytest.raises(PrecisionError) as caught:
        bind_graph(graph, "ap_fixed<8,5>")
    assert "node 'lif': its v_threshold does not lie above its leak" in str(caught.value)
    assert "give the membrane more bits" in str(caught.value)
    assert bind_graph(graph, "ap_fixed<12,5>")["lif"].parameters["threshold"].item() == 0.09375
    bind_graph(graph, "fp32")


def test_a_leak_per_neuron_is_held_against_its_own_threshold():
    nodes = {**network().nodes, "lif": ir.LIF([4.0] * 5, 1.0, [0.0, 0, 0, 1.05, 0], [1.0, 1, 1, 1.2, 1])}
    with pytest.raises(PrecisionError, match="node 'lif'"):
        bind_graph(ir.Graph(nodes, network().edges), "ap_fixed<6,4>")
    bind_graph(ir.Graph(nodes, network().edges), "ap_fixed<12,4>")


# --- floating point: what is rounded, and where -----------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), [("fp32", np.float32), ("fp16", np.float16)])
def test_floating_point_rounds_weights_results_and_membranes_once_each(name, kind):
    def rounded(values):
        return np.asarray(values, np.float64).astype(kind).astype(np.float64)

    graph = network()
    nodes = {**graph.nodes, "lif": ir.LIF(tau=3.0, r=1.0, v_leak=0.1, v_threshold=0.7)}
    graph = ir.Graph(nodes, graph.edges)
    bound = bind_graph(graph, name)
    seen = []
    run(graph, bound, SAMPLES, 3, observers=(lambda t, n, y, v, x: seen.append((n, y, v.get("membrane"))),))
    weight, bias = rounded(nodes["fc1"].weight), rounded(nodes["fc1"].bias)
    decay, leak, threshold = (rounded(np.float32(v)) for v in (0.0, 0.1, 0.7))
    decay = rounded(1.0 - 1.0 / 3.0)
    membrane = np.zeros((20, 5))
    x = rounded(SAMPLES["x"])
    current = rounded(x @ weight.T + bias)
    for step in range(3):
        at = {n: (y, v) for n, y, v in seen[step * 6 : step * 6 + 6]}
        np.testing.assert_array_equal(at["x"][0], x)
        np.testing.assert_array_equal(at["fc1"][0], current)
        membrane = rounded(decay * (membrane - leak) + leak + current)
        spikes = membrane >= threshold
        membrane = np.where(spikes, leak, membrane)
        np.testing.assert_array_equal(at["lif"][0], spikes)
        np.testing.assert_array_equal(at["lif"][1], membrane)


def test_half_precision_overflows_to_infinity_and_differs_from_single():
    assert FP16.cast([70000.0, -70000.0, 1.0]).tolist() == [np.inf, -np.inf, 1.0]
    assert FP32.cast([70000.0]).tolist() == [70000.0]
    assert FP16.cast(1.0 + 2.0**-11) == 1.0
    assert FP32.cast(1.0 + 2.0**-11) == 1.0 + 2.0**-11
