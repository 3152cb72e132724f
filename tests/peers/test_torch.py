"""Every primitive in fp32 against torch.nn.functional, over random shapes, strides, paddings, dilations and groups.

talon_lib takes a sum in float64 and rounds it once to float32. So its result is that of torch in float64 but for half a
unit in the last place of float32, and but for the float64 sum itself, whose error is bounded by its terms times their
magnitudes (``MAGNITUDE``). It is that of torch in float32 but for the same bound in float32. What only moves, compares
or multiplies values once is equal bit by bit.
"""

import dataclasses
import itertools

import numpy as np
import pytest
import snntorch
import torch
from functional import FUNCTIONS, tensor
from hypothesis import assume, given
from hypothesis import strategies as st

from talon_lib import ir
from talon_lib.errors import GraphError
from talon_lib.ir.node import primitives
from talon_lib.simulate import bind_graph, run

SEEDS = st.integers(0, 2**32)
BATCH = 2


def values(rng, *shape):
    """float32 numbers of several magnitudes and both signs, some of them 0."""
    found = rng.normal(0, 1, shape) * 2.0 ** rng.integers(-6, 7, shape) * (rng.random(shape) < 0.85)
    return found.astype(np.float32).astype(np.float64)


def talon(node, inputs, shapes):
    """The node's results for inputs with a batch; ``shapes`` are what torch says that it gives, which Graph checks."""
    sources = ["n"] if isinstance(node, ir.Input) else [f"x{i}" for i in range(len(inputs))]
    targets = ["n"] if isinstance(node, ir.Output) else [f"y{i}" for i in range(len(shapes))]
    nodes = {name: ir.Input(x.shape[1:]) for name, x in zip(sources, inputs, strict=True)}
    nodes |= {name: ir.Output(shape) for name, shape in zip(targets, shapes, strict=True)} | {"n": node}
    edges = [(name, "n") for name in sources if name != "n"] + [("n", name) for name in targets if name != "n"]
    graph = ir.Graph(nodes, edges)
    done = run(graph, bind_graph(graph, "fp32"), dict(zip(sources, inputs, strict=True)), 1)
    return [done.last[name] for name in targets]


# --- what is drawn ----------------------------------------------------------------------------------------------------


def each(draw, rank, low, high):
    return [draw(st.integers(low, high)) for _ in range(rank)]


def one_or_both(draw, pair):
    """A pair as it is, or one number for both."""
    return pair[0] if draw(st.booleans()) else pair


@st.composite
def shapes(draw, low=1, high=3):
    return tuple(each(draw, draw(st.integers(low, high)), 1, 6))


@st.composite
def linears(draw, kind):
    rng, n_in, n_out = np.random.default_rng(draw(SEEDS)), draw(st.integers(1, 40)), draw(st.integers(1, 8))
    arguments = {"weight": values(rng, n_out, n_in), "bias": draw(st.sampled_from([None, values(rng, n_out)]))}
    if kind == "SpikingAffine":
        arguments["spike_mode"] = draw(st.sampled_from(["binary", "graded", "rate"]))
    return arguments, [values(rng, BATCH, n_in)]


def sliding(draw, rank, most_padding):
    kernel, stride, dilation = each(draw, rank, 1, 4), each(draw, rank, 1, 4), each(draw, rank, 1, 3)
    padding = [draw(st.integers(0, most_padding(k))) for k in kernel]
    return kernel, stride, padding, dilation


@st.composite
def convolutions(draw, rank):
    rng, groups = np.random.default_rng(draw(SEEDS)), draw(st.integers(1, 4))
    kernel, stride, padding, dilation = sliding(draw, rank, lambda k: 4)
    weight = values(rng, groups * draw(st.integers(1, 3)), draw(st.integers(1, 3)), *kernel)
    arguments = {
        "weight": weight,
        "bias": draw(st.sampled_from([None, values(rng, len(weight))])),
        "stride": stride[0] if rank == 1 else one_or_both(draw, stride),
        "padding": padding[0] if rank == 1 else one_or_both(draw, padding),
        "dilation": dilation[0] if rank == 1 else one_or_both(draw, dilation),
        "groups": groups,
    }
    return arguments, [values(rng, BATCH, groups * weight.shape[1], *each(draw, rank, 1, 12))]


@st.composite
def separables(draw):
    rng, channels, out = np.random.default_rng(draw(SEEDS)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    kernel, stride, padding, dilation = sliding(draw, 2, lambda k: 4)
    biased = draw(st.booleans())
    arguments = {
        "depthwise_weight": values(rng, channels, 1, *kernel),
        "pointwise_weight": values(rng, out, channels, 1, 1),
        "depthwise_bias": values(rng, channels) if biased else None,
        "pointwise_bias": values(rng, out) if biased else None,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
    }
    return arguments, [values(rng, BATCH, channels, *each(draw, 2, 1, 12))]


@st.composite
def pools(draw, kind):
    rng = np.random.default_rng(draw(SEEDS))
    kernel, stride, padding, dilation = sliding(draw, 2, lambda k: k // 2)
    if draw(st.booleans()):  # one number for both
        kernel, padding = kernel[0], padding[0]
    arguments = {"kernel_size": kernel, "padding": padding, "ceil_mode": draw(st.booleans())}
    arguments["stride"] = draw(st.sampled_from([None, stride]))
    if kind == "MaxPool2d":
        arguments["dilation"] = dilation
    elif kind == "AvgPool2d":
        arguments["count_include_pad"] = draw(st.booleans())
    # often all negative, so that a padding of 0 would show
    x = values(rng, BATCH, draw(st.integers(1, 3)), *each(draw, 2, 1, 12)) - draw(st.sampled_from([0.0, 2.0**10]))
    return arguments, [x.astype(np.float32).astype(np.float64)]


@st.composite
def upsamples(draw):
    rng, mode = np.random.default_rng(draw(SEEDS)), draw(st.sampled_from(["nearest", "bilinear"]))
    arguments = {"mode": mode, "align_corners": mode == "bilinear" and draw(st.booleans())}
    height, width = each(draw, 2, 1, 12)
    if draw(st.booleans()):
        arguments["size"] = one_or_both(draw, each(draw, 2, 1, 30))
    else:
        factor = st.one_of(st.sampled_from([1, 1.5, 2, 2.0, 3, 1 / 3]), st.floats(0.15, 5.0))
        arguments["scale_factor"] = one_or_both(draw, [draw(factor), draw(factor)])
    return arguments, [values(rng, BATCH, draw(st.integers(1, 3)), height, width)]


@st.composite
def batch_norms(draw, ranks):
    rng, shape = np.random.default_rng(draw(SEEDS)), draw(shapes(ranks[0], ranks[-1]))
    n, given_ = shape[0], draw(st.booleans())
    arguments = {
        "num_features": n,
        "weight": values(rng, n) if given_ else None,
        "bias": values(rng, n) if given_ else None,
        "running_mean": values(rng, n),
        "running_var": np.abs(values(rng, n)),
        "eps": draw(st.sampled_from([1e-5, 1e-3, 0.5])),
    }
    return arguments, [values(rng, BATCH, *shape)]


@st.composite
def layer_norms(draw):
    rng, shape = np.random.default_rng(draw(SEEDS)), draw(shapes())
    end = shape[draw(st.integers(0, len(shape) - 1)) :]
    arguments = {"normalized_shape": end, "eps": draw(st.sampled_from([1e-5, 1e-3, 0.5]))}
    if draw(st.booleans()):
        arguments |= {"weight": values(rng, *end), "bias": values(rng, *end)}
    return arguments, [values(rng, BATCH, *shape)]


@st.composite
def element_wise(draw, **fields):
    """Any shape, and fields each drawn by its strategy."""
    rng, shape = np.random.default_rng(draw(SEEDS)), draw(shapes())
    features = draw(st.sampled_from([None, shape[0]]))
    return {"features": features, **{k: draw(v) for k, v in fields.items()}}, [values(rng, BATCH, *shape)]


@st.composite
def prelus(draw):
    rng, shape = np.random.default_rng(draw(SEEDS)), draw(shapes())
    weight = values(rng, draw(st.sampled_from([1, shape[0]])))
    return {"features": shape[0] if len(weight) > 1 else None, "weight": weight}, [values(rng, BATCH, *shape)]


@st.composite
def spreads(draw, name):
    """A parameter of one value, one per channel, or one per value; some inputs are equal to it."""
    rng, shape = np.random.default_rng(draw(SEEDS)), draw(shapes())
    given_ = values(rng, *draw(st.sampled_from([(), (1,), shape[:1], shape])))
    x = values(rng, BATCH, *shape)
    if given_.size == 1:
        x[rng.random(x.shape) < 0.2] = given_.item()
    return {name: given_}, [x]


@st.composite
def softmaxes(draw):
    rng, shape = np.random.default_rng(draw(SEEDS)), draw(shapes())
    return {"dim": draw(st.integers(-len(shape), len(shape) - 1))}, [values(rng, BATCH, *shape)]


@st.composite
def passing(draw, **fields):
    """Nodes that hand on one input; each field is a function of its shape."""
    rng, shape = np.random.default_rng(draw(SEEDS)), draw(shapes())
    return {name: field(shape) for name, field in fields.items()}, [values(rng, BATCH, *shape)]


@st.composite
def flattens(draw):
    rng, shape = np.random.default_rng(draw(SEEDS)), draw(shapes())
    first, last = sorted(each(draw, 2, 0, len(shape) - 1))
    negative = [dim - draw(st.sampled_from([0, len(shape)])) for dim in (first, last)]
    return dict(zip(("start_dim", "end_dim"), negative, strict=True)), [values(rng, BATCH, *shape)]


@st.composite
def joined(draw, rank_of_dim=True):
    """Inputs that are equal in all dimensions but one, and that dimension."""
    rng, shape = np.random.default_rng(draw(SEEDS)), draw(shapes())
    dim = draw(st.integers(-len(shape), len(shape) - 1)) if rank_of_dim else 0
    axis = dim % len(shape)
    parts = [(*shape[:axis], draw(st.integers(1, 4)), *shape[axis + 1 :]) for _ in range(draw(st.integers(1, 4)))]
    return dim, [values(rng, BATCH, *part) for part in parts]


@st.composite
def splits(draw):
    dim, parts = draw(joined())
    axis = dim % (parts[0].ndim - 1) + 1
    sections = [part.shape[axis] for part in parts]
    return {"split_sections": sections, "dim": dim}, [np.concatenate(parts, axis)]


@st.composite
def skips(draw):
    kind = draw(st.sampled_from(["residual", "add", "concatenate", "concat", "passthrough", "identity"]))
    _, inputs = draw(joined(rank_of_dim=False))
    if kind in ("residual", "add"):
        rng = np.random.default_rng(draw(SEEDS))
        inputs = [values(rng, *inputs[0].shape) for _ in inputs]
    elif not kind.startswith("concat"):
        inputs = inputs[:1]
    return {"skip_type": kind}, inputs


SLOPES = st.floats(-2, 2, width=32)

DRAWN = {
    "Input": passing(input_type=lambda shape: shape),
    "Output": passing(output_type=lambda shape: shape),
    "HybridRegion": passing(mode=lambda shape: "ann"),
    "Flatten": flattens(),
    "Concat": joined().map(lambda drawn: ({"num_inputs": len(drawn[1]), "dim": drawn[0]}, drawn[1])),
    "ChannelSplit": splits(),
    "Skip": skips(),
    "Affine": linears("Affine"),
    "SpikingAffine": linears("SpikingAffine"),
    "Conv1d": convolutions(1),
    "Conv2d": convolutions(2),
    "SepConv2d": separables(),
    "MaxPool2d": pools("MaxPool2d"),
    "AvgPool2d": pools("AvgPool2d"),
    "SumPool2d": pools("SumPool2d"),
    "Scale": spreads("scale"),
    "Threshold": spreads("threshold"),
    "Upsample": upsamples(),
    "BatchNorm1d": batch_norms((1, 2)),
    "BatchNorm2d": batch_norms((3,)),
    "LayerNorm": layer_norms(),
    "ReLU": element_wise(negative_slope=st.one_of(st.just(0.0), SLOPES)),
    "PReLU": prelus(),
    "Sigmoid": element_wise(),
    "Tanh": element_wise(),
    "GELU": element_wise(approximate=st.booleans()),
    "ELU": element_wise(alpha=SLOPES),
    "Softmax": softmaxes(),
    "Dropout": element_wise(p=st.floats(0, 1)),
}
NEURONS = {"LIF", "IF", "CubaLIF", "LI", "I", "CubaLI"}  # they have a state: below
STATEFUL = NEURONS | {"Delay"}


# --- how equal they must be -------------------------------------------------------------------------------------------


def absolute(kind):
    """A sum of products: the same sum of absolute values."""

    def magnitude(x, **arguments):
        positive = {key: np.abs(v) if isinstance(v, np.ndarray) else v for key, v in arguments.items()}
        if "running_mean" in positive:  # it is subtracted
            positive["running_mean"] = -positive["running_mean"]
        return FUNCTIONS[kind](x.abs(), **positive)

    return magnitude


def of_softmax(x, **arguments):
    """An error of the exponent is one of the power."""
    dim = arguments["dim"] if arguments["dim"] < 0 else arguments["dim"] + 1
    return FUNCTIONS["Softmax"](x, **arguments) * (1 + x.amax(dim, keepdim=True) - x)


def of_layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """The mean's error, over the deviation; the deviation's own error adds at most as many as there are values."""
    axes, n = tuple(range(-len(normalized_shape), 0)), np.prod(normalized_shape)
    deviation = torch.sqrt(x.var(axes, correction=0, keepdim=True) + eps)
    scale = 1.0 if weight is None else tensor(np.abs(weight), x)
    shift = 0.0 if bias is None else tensor(np.abs(bias), x)
    return (1 + n) * x.abs().amax(axes, keepdim=True) / deviation * scale + shift


def of_upsample(x, **arguments):
    """The weights are places between the values, whose own error grows with them."""
    return x.abs().amax((2, 3), keepdim=True) * max(FUNCTIONS["Upsample"](x, **arguments).shape[2:])


# by kind: the magnitude that rounding errors refer to, and how many terms (and roundings) there are at most
MAGNITUDE = {
    **{kind: (absolute(kind), lambda a: a["weight"][0].size + 2) for kind in ("Affine", "SpikingAffine")},
    **{kind: (absolute(kind), lambda a: a["weight"][0].size + 2) for kind in ("Conv1d", "Conv2d")},
    "SepConv2d": (absolute("SepConv2d"), lambda a: a["depthwise_weight"].size + a["pointwise_weight"].size + 4),
    "AvgPool2d": (absolute("AvgPool2d"), lambda a: int(np.prod(a["kernel_size"])) ** 2 + 2),
    "SumPool2d": (absolute("SumPool2d"), lambda a: int(np.prod(a["kernel_size"])) ** 2 + 2),
    "Upsample": (of_upsample, lambda a: 8),
    "BatchNorm1d": (absolute("BatchNorm1d"), lambda a: 6),
    "BatchNorm2d": (absolute("BatchNorm2d"), lambda a: 6),
    "LayerNorm": (of_layer_norm, lambda a: int(np.prod(a["normalized_shape"])) + 6),
    "Sigmoid": (FUNCTIONS["Sigmoid"], lambda a: 8),
    "Tanh": (lambda x, **a: torch.tanh(x).abs(), lambda a: 8),
    "GELU": (lambda x, **a: x.abs() + x.abs() ** 3 * torch.exp(-x.abs()), lambda a: 8),  # of the tanh's argument
    "ELU": (lambda x, **a: FUNCTIONS["ELU"](x, **a).abs(), lambda a: 8),
    "Softmax": (of_softmax, lambda a: 30),
    "Skip": (lambda *xs, **a: FUNCTIONS["Skip"](*(x.abs() for x in xs), **a), lambda a: 4),
}
# what these keep in float32 between: the scale and shift of a channel, the sums of the first stage
STORED = {"BatchNorm1d", "BatchNorm2d", "SepConv2d"}


def in_torch(kind, arguments, inputs, dtype):
    done = FUNCTIONS[kind](*(torch.tensor(x, dtype=dtype) for x in inputs), **arguments)
    return [done] if isinstance(done, torch.Tensor) else list(done)


def copies(kind, arguments):
    """Whether values are only moved, compared, or multiplied once."""
    return kind not in MAGNITUDE or (kind == "Upsample" and arguments["mode"] == "nearest")


def half_a_unit(values_):
    return np.spacing(np.abs(values_).astype(np.float32)).astype(np.float64) / 2


@pytest.mark.parametrize("kind", [kind for kind in ir.list_primitives() if kind not in STATEFUL])
def test_float_is_what_pytorch_computes(kind):
    assert kind in DRAWN, f"{kind} has no comparison with PyTorch; add one here"

    @given(DRAWN[kind])
    def compared(drawn):
        arguments, inputs = drawn
        try:
            expected = in_torch(kind, arguments, inputs, torch.float32)
        except RuntimeError as refusal:  # what leaves no window, or an image without values
            assert any(word in str(refusal) for word in ("small", "size", "greater than 0")), refusal
            with pytest.raises(GraphError):
                primitives()[kind](**arguments).output_shape(inputs[0].shape[1:])
            return
        node = primitives()[kind](**arguments)
        found = talon(node, inputs, [y.shape[1:] for y in expected])
        assert len(found) == len(expected)
        if copies(kind, arguments):
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_array_equal(ours, theirs.double().numpy())
            return
        (ours,), (single,) = found, expected
        (double,) = in_torch(kind, arguments, inputs, torch.float64)
        magnitude, terms = MAGNITUDE[kind]
        size = magnitude(*(torch.tensor(x) for x in inputs), **arguments).numpy() * terms(arguments)
        single, double = single.double().numpy(), double.numpy()
        unit = 2.0**-24 if kind in STORED else 2.0**-53
        assert (np.abs(ours - double) <= half_a_unit(double) + unit * size).all()
        # the last: where torch's exp overflows in float32, and the result is less than the least normal number
        assert (np.abs(ours - single) <= half_a_unit(single) + 2.0**-23 * size + 2.0**-126).all()

    compared()


def test_nearest_copies_the_same_values_at_every_size():
    """torch finds them in float32; in 23 of these 1,536 sizes float64 would find others."""
    for before, after in itertools.product(range(1, 13), range(1, 129)):
        x, arguments = np.arange(2.0 * before).reshape(2, 1, 1, before), {"size": (1, after)}
        (expected,) = in_torch("Upsample", arguments, [x], torch.float32)
        (found,) = talon(ir.Upsample(**arguments), [x], [expected.shape[1:]])
        np.testing.assert_array_equal(found, expected, f"{before} to {after}")


def test_a_side_that_keeps_its_size_is_copied_whatever_the_factor():
    x = np.arange(1.0, 5.0).reshape(1, 1, 2, 2)
    arguments = {"mode": "bilinear", "scale_factor": (1.25, 2.0)}
    (expected,) = in_torch("Upsample", arguments, [x], torch.float64)
    (found,) = talon(ir.Upsample(**arguments), [x], [expected.shape[1:]])
    np.testing.assert_array_equal(found, expected)


def test_every_primitive_is_compared():
    assert set(DRAWN) | STATEFUL == set(ir.list_primitives())
    assert set(DRAWN) == set(FUNCTIONS)


# --- neurons ----------------------------------------------------------------------------------------------------------


@st.composite
def neurons(draw, kind):
    """A node, inputs ``(steps, batch, *shape)``, and the neuron's parameters spread over that shape."""
    rng, shape = np.random.default_rng(draw(SEEDS)), draw(shapes())
    sizes = {(): (), (1,): (1,) * len(shape), shape[:1]: (shape[0],) + (1,) * (len(shape) - 1), shape: shape}
    size = draw(st.sampled_from(list(sizes)))
    grid = draw(st.sampled_from([8.0, 2.0**20]))  # on the coarse one many membranes meet the threshold

    def on_grid(*of, low=-2.0, high=2.0):
        return np.round(rng.uniform(low, high, of) * grid) / grid

    fields, arguments, how = {field.name for field in dataclasses.fields(primitives()[kind])}, {}, {}
    if "v_threshold" in fields:
        arguments["v_threshold"] = on_grid(*size, low=0.5, high=3.0)
        how = {name: draw(st.booleans()) for name in ("reset_delay", "strict")}
        how["reset"] = draw(st.sampled_from(["leak", "subtract"]))
        if how["reset"] == "leak" and draw(st.booleans()):
            arguments["v_reset"] = on_grid(*size)
    for name in {"tau", "tau_syn"} & fields:
        arguments[name] = rng.choice([1.0, 2.0, 4.0, 1.5, 7.3], size)
    if "v_leak" in fields:
        arguments["v_leak"] = on_grid(*size) * draw(st.sampled_from([0, 1]))
    x = on_grid(draw(st.integers(1, 12)), BATCH, *shape, high=3.0)
    given_ = {"r": np.ones(size)} if "r" in fields else {}
    spread = {
        name: torch.tensor(value, dtype=torch.float32).double().reshape(sizes[size])
        for name, value in arguments.items()
    }
    return primitives()[kind](**arguments, **how, **given_), x, spread, how


def in_steps(node, x):
    """The results, the membranes and the synaptic currents of every step; what a node has not is its result."""
    graph = ir.Graph({"x": ir.Input(x.shape[2:]), "n": node, "y": ir.Output(x.shape[2:])}, [("x", "n"), ("n", "y")])
    seen = []

    def observe(t, name, result, state, x):
        if name == "n":
            seen.append((result, *(state.get(held, result) for held in ("membrane", "current"))))

    run(graph, bind_graph(graph, "fp32"), {"x": x}, len(x), (observe,))
    return [np.stack(each) for each in zip(*seen, strict=True)]


def in_loop(
    x,
    reset="leak",
    v_threshold=None,
    tau=None,
    tau_syn=None,
    v_leak=None,
    v_reset=None,
    reset_delay=False,
    strict=False,
):
    """The update of talon_lib.ir.neuron in torch: results, membranes, membranes before their reset, and currents."""

    def single(exact):
        return exact.float().double()

    leak = torch.zeros(()).double() if v_leak is None else v_leak
    goal = leak if v_reset is None else v_reset
    decay, synapse = (None if t is None else single(1 - 1 / t) for t in (tau, tau_syn))
    above = torch.gt if strict else torch.ge
    v = i = torch.zeros(x.shape[1:]).double()
    found = []
    for arriving in torch.tensor(x):
        if synapse is not None:
            arriving = i = single(synapse * i + arriving)
        exact = v + arriving if decay is None else decay * (v - leak) + leak + arriving
        if v_threshold is None:
            v = single(exact)
            found.append((v, v, v, v if synapse is None else i))
            continue
        fired = above(v, v_threshold) if reset_delay else torch.zeros_like(v, dtype=torch.bool)
        if reset == "subtract":
            before = single(exact - torch.where(fired, v_threshold, 0.0))
        else:
            before = torch.where(fired, goal, single(exact))
        spikes = above(before, v_threshold)
        after = goal if reset == "leak" else single(before - v_threshold)
        v = before if reset_delay else torch.where(spikes, after, before)
        spikes = spikes.double()
        found.append((spikes, v, before, spikes if synapse is None else i))
    return [torch.stack(each).numpy() for each in zip(*found, strict=True)]


@pytest.mark.parametrize("kind", sorted(NEURONS))
def test_neurons_are_those_of_a_torch_loop(kind):
    @given(neurons(kind))
    def compared(drawn):
        node, x, spread, how = drawn
        results, membranes, _, currents = in_loop(x, **spread, **how)
        for ours, theirs in zip(in_steps(node, x), (results, membranes, currents), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    compared()


@given(SEEDS, shapes(), st.integers(1, 12), st.integers(0, 6))
def test_a_delay_is_a_shift_in_torch(seed, shape, steps, longest):
    rng = np.random.default_rng(seed)
    x, late = values(rng, steps, BATCH, *shape), rng.integers(0, longest + 1, shape)
    found, *_ = in_steps(ir.Delay(late), x)
    for place in np.ndindex(*shape):
        here = (slice(None), slice(None), *place)
        shifted = torch.roll(torch.tensor(x[here]), int(late[place]), 0)
        shifted[: int(late[place])] = 0
        np.testing.assert_array_equal(found[here], shifted.numpy())


def leaky(x, decay, threshold, reset):
    """snntorch.Leaky in float64: spikes and membranes. ``reset``: its word, "zero" or "subtract"."""
    layer = snntorch.Leaky(
        torch.tensor(decay, dtype=torch.float64),
        torch.tensor(threshold, dtype=torch.float64),
        reset_mechanism=reset,
        reset_delay=False,
    )
    membrane, found = torch.zeros(x.shape[1:], dtype=torch.float64), []
    with torch.no_grad():
        for arriving in torch.tensor(x):
            spikes, membrane = layer(arriving, membrane)
            found.append((spikes, membrane))
    return [torch.stack(each).double().numpy() for each in zip(*found, strict=True)]


@given(SEEDS, st.sampled_from(["leak", "subtract"]), st.sampled_from([None, 1.0, 1.5, 2.0, 7.3, 20.0]))
def test_neurons_are_those_of_snntorch(seed, reset, tau):
    """Its Leaky with reset_delay=False, which leaks to 0; it fires above the threshold where talon_lib fires at it."""
    rng = np.random.default_rng(seed)
    x, threshold = rng.uniform(-1.0, 2.0, (10, BATCH, 4)), rng.uniform(1.5, 3.0)
    node = ir.IF(threshold, reset) if tau is None else ir.LIF(tau, 1.0, 0.0, threshold, reset)
    own = {} if tau is None else {"tau": torch.tensor(tau).double()}
    _, after, before, _ = in_loop(x.astype(np.float32).astype(float), reset, torch.tensor(threshold), **own)
    assume(np.abs(before - threshold).min() > 1e-4)  # rounding decides there
    # snntorch subtracts once, and asks what is left above for twice the threshold
    assume((after < threshold - 1e-4).all())
    decay = 1.0 if tau is None else 1 - 1 / tau
    spikes, membranes = leaky(x, decay, threshold, "zero" if reset == "leak" else reset)
    ours = in_steps(node, x)
    np.testing.assert_array_equal(ours[0], spikes)
    np.testing.assert_allclose(ours[1], membranes, rtol=1e-5, atol=1e-5)


def test_a_membrane_at_its_threshold_fires_here_and_not_in_snntorch():
    x = np.full((1, 1, 1), 1.5)
    ours, theirs = in_steps(ir.LIF(2.0, 1.0, 0.0, 1.5), x), leaky(x, 0.5, 1.5, "zero")
    assert (ours[0].item(), theirs[0].item()) == (1.0, 0.0)
