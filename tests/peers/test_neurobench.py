"""Operation counts against NeuroBench's ``SynapticOperations``, on random networks of torch and snntorch.

NeuroBench's conventions, which are ours but for the two that stand at the end with a test each:

- counted are the layers with weights (Linear, Conv), per sample, summed over the steps; biases are not;
- Dense: products of one pass, weights of 0 included, those with zero padding not;
- Effective: those of them whose input and weight are both not 0; ACs where all inputs of the layer are 0, 1 or -1,
  MACs elsewhere.

Weights and inputs are few-bit fractions of powers of two, so that both sides compute without rounding and see the same
zeros; the thresholds lie between all sums, for snntorch fires above them and talon_lib at them.
"""

import itertools

import numpy as np
import pytest
import snntorch
import torch
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from neurobench.metrics.workload import SynapticOperations
from neurobench.models import SNNTorchModel
from torch import nn

from talon_lib import ir
from talon_lib.cost.counts import count
from talon_lib.errors import GraphError
from talon_lib.fixed import SPIKE
from talon_lib.simulate import bind_graph, run

THRESHOLD = 1 + 2.0**-20


def quarters(rng, *shape):
    """Multiples of 1/4 up to 1, nearly half of them 0."""
    return rng.integers(-4, 5, shape) / 4 * (rng.random(shape) < 0.6)


def with_parameters(module, weight, bias):
    with torch.no_grad():
        module.weight.copy_(torch.tensor(weight))
        module.bias.copy_(torch.tensor(bias))
    return module


# Each of these gives our nodes and one module of torch for an input shape, or None where they do not fit it.


def affine(draw, rng, shape):
    weight = quarters(rng, draw(st.integers(1, 6)), int(np.prod(shape)))
    bias = quarters(rng, len(weight))
    module = with_parameters(nn.Linear(*weight.shape[::-1]), weight, bias)
    return [ir.Flatten(), ir.Affine(weight, bias)], nn.Sequential(nn.Flatten(), module)


def sliding(draw, rank):
    """Stride, padding and dilation, each one number for each dimension."""
    return [tuple(draw(st.integers(low, high)) for _ in range(rank)) for low, high in ((1, 3), (0, 2), (1, 2))]


def convolution(draw, rng, shape):
    rank = len(shape) - 1
    groups = draw(st.sampled_from([n for n in range(1, 4) if shape[0] % n == 0]))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    weight = quarters(rng, groups * draw(st.integers(1, 3)), shape[0] // groups, *kernel)
    bias, geometry = quarters(rng, len(weight)), sliding(draw, rank)
    kind = nn.Conv1d if rank == 1 else nn.Conv2d
    module = kind(shape[0], len(weight), tuple(kernel), *geometry, groups=groups)
    if rank == 1:
        geometry = [value[0] for value in geometry]
    node = (ir.Conv1d if rank == 1 else ir.Conv2d)(weight, bias, *geometry, groups)
    return [node], with_parameters(module, weight, bias)


def separable(draw, rng, shape):
    kernel, geometry = [draw(st.integers(1, 3)) for _ in range(2)], sliding(draw, 2)
    depthwise, pointwise = quarters(rng, shape[0], 1, *kernel), quarters(rng, draw(st.integers(1, 3)), shape[0], 1, 1)
    biases = quarters(rng, len(depthwise)), quarters(rng, len(pointwise))
    module = nn.Sequential(
        with_parameters(nn.Conv2d(shape[0], shape[0], kernel, *geometry, groups=shape[0]), depthwise, biases[0]),
        with_parameters(nn.Conv2d(shape[0], len(pointwise), 1), pointwise, biases[1]),
    )
    return [ir.SepConv2d(depthwise, pointwise, *biases, *geometry)], module


def max_pool(draw, rng, shape):
    kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    return [ir.MaxPool2d(kernel, stride, kernel // 2)], nn.MaxPool2d(kernel, stride, kernel // 2)


def average_pool(draw, rng, shape):
    stride, padding = draw(st.integers(1, 2)), draw(st.integers(0, 1))
    return [ir.AvgPool2d(2, stride, padding)], nn.AvgPool2d(2, stride, padding)


def relu(draw, rng, shape):
    return [ir.ReLU()], nn.ReLU()


def neurons(draw, rng, shape):
    leaks = draw(st.booleans())
    node = ir.LIF(2.0, 1.0, 0.0, THRESHOLD) if leaks else ir.IF(THRESHOLD)
    module = snntorch.Leaky(
        0.5 if leaks else 1.0, THRESHOLD, reset_mechanism="zero", reset_delay=False, init_hidden=True
    )
    return [node], module


LAYERS = {1: [affine, neurons], 2: [convolution, neurons, relu]}
LAYERS[3] = [convolution, separable, neurons, neurons, max_pool, average_pool, relu]


@st.composite
def networks(draw):
    """Our graph and torch's modules with the same weights, and data ``(steps, batch, *shape)`` of odd eighths and 0."""
    rng, rank = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.sampled_from([1, 2, 3, 3]))
    first = shape = (draw(st.integers(1, 4)), *(draw(st.integers(2, 7)) for _ in range(rank - 1)))
    named, modules = {"x": ir.Input(shape)}, []
    for layer in [*(draw(st.sampled_from(LAYERS[rank])) for _ in range(draw(st.integers(1, 4)))), affine]:
        nodes, module = layer(draw, rng, shape)
        for node in nodes:
            named[f"n{len(named)}"] = node
            try:
                shape = node.output_shape(shape)
            except GraphError:
                assume(False)
        modules.append(module)
    named["y"] = ir.Output(shape)
    x = (2 * rng.integers(-4, 4, (draw(st.integers(1, 4)), draw(st.integers(1, 3)), *first)) + 1) / 8
    x *= rng.random(x.shape) < 0.7
    return ir.Graph(named, list(itertools.pairwise(named))), modules, x


class Net(nn.Module):
    """One step: the modules one after the other."""

    def __init__(self, modules):
        super().__init__()
        self.steps = nn.ModuleList(modules)

    def reset(self):
        for module in self.steps:
            if isinstance(module, snntorch.Leaky):
                module.reset_mem()

    def forward(self, x):
        for module in self.steps:
            x = module(x)
        return x, None


def neurobench(modules, x):
    """NeuroBench's counts per sample, what the network gave ``(steps, batch, *shape)``, and what each layer saw.

    Of each layer with weights: whether in some step its inputs were not all 0, and yet all 0, 1 or -1.
    """
    model = SNNTorchModel(Net(modules))
    model.register_hooks()
    data = torch.tensor(x, dtype=torch.float32).transpose(0, 1)
    with torch.no_grad():
        results = model(data)
    ternary = [any(v.any() and is_ternary(v) for (v,) in hook.inputs) for hook in model.connection_hooks]
    counts = SynapticOperations()(model, results, (data, None))
    model.cleanup_hooks()
    return counts, results.transpose(0, 1).numpy(), ternary


def is_ternary(values):
    return bool(((values == 0) | (values.abs() == 1)).all())


def talon(graph, x):
    """Our counts per sample, what the network gave, and for each layer with weights whether it takes real values."""
    bound = bind_graph(graph, "fp32")
    done = run(graph, bound, {"x": x}, len(x))
    activity = done.activity.values()
    counts = {
        "Effective_MACs": sum(node.effective_macs for node in activity) / done.batch,
        "Effective_ACs": sum(node.effective_acs for node in activity) / done.batch,
        "Dense": sum(node.macs_per_step for node in count(graph).values()) * len(x),
    }
    real = []
    for name in graph.order:
        if graph.nodes[name].parameters().keys() & {"weight", "depthwise_weight"}:
            real += [bound[name].types.input != SPIKE]
            real += [True] * (graph.nodes[name].kind == "SepConv2d")  # its second half takes what the first has summed
    return counts, np.diff(done.outputs["y"], axis=0, prepend=0), real


@settings(max_examples=300)
@given(networks())
def test_counts_are_those_of_neurobench(drawn):
    graph, modules, x = drawn
    theirs, results, ternary = neurobench(modules, x)
    ours, outputs, real = talon(graph, x)
    np.testing.assert_array_equal(outputs, results)
    assert ours["Dense"] == theirs["Dense"]
    total = [counts["Effective_MACs"] + counts["Effective_ACs"] for counts in (ours, theirs)]
    assert total[0] == pytest.approx(total[1], rel=1e-12)
    if not any(by_chance and own for by_chance, own in zip(ternary, real, strict=True)):
        assert ours == pytest.approx(theirs, rel=1e-12)
    event("real values that are ternary by chance" if ours != pytest.approx(theirs, rel=1e-12) else "equal")


# --- where NeuroBench goes another way --------------------------------------------------------------------------------


def affine_alone(x, weight):
    graph = ir.Graph(
        {"x": ir.Input(x.shape[2:]), "fc": ir.Affine(weight), "y": ir.Output((len(weight),))},
        [("x", "fc"), ("fc", "y")],
    )
    module = with_parameters(nn.Linear(*weight.shape[::-1]), weight, np.zeros(len(weight)))
    return talon(graph, x)[0], neurobench([module], x)[0]


@pytest.mark.parametrize(
    ("x", "accumulates"),
    [
        ([[1.0, 0.0, 1.0]], True),  # real by their type, but all 0 or 1: a sample of a binary data set
        ([[1.0, 0.0, -1.0]], True),
        ([[1.0, 0.0, 0.5]], False),
        ([[1.0, 0.0, 1.0], [0.0, 0.0, 0.5]], False),  # one value of one sample decides for the whole batch
    ],
)
def test_neurobench_tells_accumulates_by_the_values_of_a_batch_and_talon_by_their_type(x, accumulates):
    """So the same sample may be counted either way by NeuroBench; the sum of both counts is always the same."""
    ours, theirs = affine_alone(np.array([x]), np.ones((2, 3)))
    operations = 2 * np.count_nonzero(x) / len(x)
    assert (ours["Effective_MACs"], ours["Effective_ACs"]) == (operations, 0)
    assert theirs["Effective_ACs" if accumulates else "Effective_MACs"] == operations
    assert theirs["Effective_MACs" if accumulates else "Effective_ACs"] == 0


def test_neurobench_counts_in_float32_and_talon_exactly():
    """A layer of more than 2**24 operations in one call loses the last digits there."""
    n = 2**12 + 1
    ours, theirs = affine_alone(np.full((1, 1, n), 0.5), np.ones((n, n)))
    assert ours["Dense"] == ours["Effective_MACs"] == n * n == 2**24 + 2**13 + 1
    assert theirs["Dense"] == n * n - 1
