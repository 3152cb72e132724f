"""Sequentials of torch and snnTorch against the graphs that from_torch makes of them, step by step.

On a coarse grid (weights and thresholds that are multiples of 1/64, decays of 1/8) nothing is rounded in either, and
everything is equal, on the threshold too. Elsewhere snnTorch rounds after each operation and talon_lib once a step.
"""

import copy
import itertools
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import snntorch
import torch
from snntorch import surrogate
from torch import nn
from torch.nn.utils import prune

from talon_lib import ir
from talon_lib.errors import GraphError, MissingToolError, TalonError, UnsupportedError
from talon_lib.formats.torch import from_torch
from talon_lib.simulate import bind_graph, run

BATCH = 3
NEURONS = (snntorch.Leaky, snntorch.Synaptic)

# --- running both -----------------------------------------------------------------------------------------------------


def in_snntorch(net, x):
    """By path of every neuron: spikes and membranes (steps, batch, *shape); and the net's own outputs."""
    found = {path: ([], []) for path, layer in net.named_modules() if isinstance(layer, NEURONS)}

    def watch(path):
        def hook(layer, given, result):
            spikes = result[0] if isinstance(result, tuple) else result
            found[path][0].append(spikes.double().numpy())
            found[path][1].append(layer.mem.double().numpy())

        return hook

    hooks = [layer.register_forward_hook(watch(path)) for path, layer in net.named_modules() if path in found]
    outputs = []
    with torch.no_grad():
        for arriving in x:
            done = net(arriving)
            outputs.append((done[0] if isinstance(done, tuple) else done).double().numpy())
    for hook in hooks:
        hook.remove()
    return {path: tuple(map(np.stack, both)) for path, both in found.items()}, np.stack(outputs)


def in_talon(graph, x):
    """The same of a graph. Membranes are those of the node, or of the one before a Threshold."""
    found = {name: ([], []) for name in graph.nodes}

    def observe(step, name, result, state, given):
        found[name][0].append(result)
        found[name][1].append(state.get("membrane", result))

    done = run(graph, bind_graph(graph, "fp32"), {"input": x.double().numpy()}, len(x), (observe,))
    spikes_and_membranes = {}
    for name, (spikes, membranes) in found.items():
        before = found.get(f"{name}.membrane")
        after = found.get(f"{name}.graded")
        spikes_and_membranes[name] = np.stack((after or (spikes,))[0]), np.stack(before[1] if before else membranes)
    return spikes_and_membranes, np.diff(done.outputs["output"], axis=0, prepend=0)


def fresh(net):
    """A copy for inference that has seen no sample."""
    made = copy.deepcopy(net).eval()
    for layer in made.modules():
        if isinstance(layer, NEURONS):
            layer.reset_mem()
    return made


def in_double(net):
    """A copy in float64; snnTorch's spikes are float32 always."""
    made = fresh(net).double()
    for layer in made.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            layer.register_forward_pre_hook(lambda layer, given: (given[0].double(),))
    return made


def as_held_here(layer, spikes, membranes):
    """snnTorch shows a Leaky's membrane before its delayed reset to zero, talon_lib after it."""
    if isinstance(layer, snntorch.Leaky) and layer.reset_delay and layer.reset_mechanism == "zero":
        return np.where(spikes != 0, 0.0, membranes)
    return membranes


# --- random networks --------------------------------------------------------------------------------------------------

RESETS = [("subtract", True), ("zero", True), ("none", True), ("zero", False), ("none", False), ("subtract", False)]
LONGEST = {0.0: 10, 1.0: 10, 0.5: 10, 0.75: 6, 0.875: 4}
"""Steps in which a membrane keeps to the 24 bits of float32: a decay adds one, two or three in each."""


def on_grid(parts):
    """Draws multiples of 1 / parts."""

    def draw(rng, low, high, *shape):
        whole = rng.integers(round(low * parts), round(high * parts) + 1, shape)
        return torch.tensor(whole / parts, dtype=torch.float32)

    return draw


def anywhere(rng, low, high, *shape):
    return torch.tensor(rng.uniform(low, high, shape), dtype=torch.float32)


def spread(rng, shape):
    """A shape that a parameter of neurons may have, as PyTorch broadcasts it over (batch, *shape)."""
    ones = (1,) * (len(shape) - 1)
    return [(), (1,), shape, (shape[0], *ones), (1, *shape), (shape[-1],)][rng.integers(6)]


def neuron(rng, kind, shape, mechanism, delay, draw, decays, *, output=False, graded=False):
    """Neurons with parameters of random shapes."""

    def decay():
        size = spread(rng, shape)
        return torch.tensor(rng.choice(decays, size), dtype=torch.float32)

    given = {"beta": decay(), "threshold": draw(rng, 0.25, 1.5, *spread(rng, shape)), "reset_mechanism": mechanism,
             "reset_delay": delay, "init_hidden": True, "output": output}  # fmt: skip
    for name in ("learn_beta", "learn_threshold"):
        given[name] = bool(rng.integers(2))
    if kind is snntorch.Synaptic:
        return kind(alpha=decay(), **given)
    if graded:
        given["graded_spikes_factor"] = 2.0
    return kind(**given)


def filled(rng, layer, draw, size):
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(draw(rng, -size, size, *parameter.shape))
    return layer


def network(rng, kind, mechanism, delay, draw, decays):
    """A random Sequential of one to three layers of neurons, and the shape of its input."""

    def fire(shape, **given):
        return neuron(rng, kind, shape, mechanism, delay, draw, decays, graded=not rng.integers(4), **given)

    if rng.integers(2):
        shape = (int(rng.integers(1, 3)), *map(int, rng.integers(4, 7, 2)))
        channels = int(rng.integers(1, 4))
        padding = ["same", "valid", 1, 0][rng.integers(4)]
        layers = [filled(rng, nn.Conv2d(shape[0], channels, 3, padding=padding), draw, 0.5)]
        after = tuple(layers[0](torch.zeros(1, *shape)).shape[1:])
        layers += [fire(after), nn.MaxPool2d(2), nn.Dropout(), nn.Flatten()]
        count = channels * (after[1] // 2) * (after[2] // 2)
        layers = [nn.Sequential(*layers[:3]), *layers[3:]]
    else:
        shape, layers = (count := int(rng.integers(1, 7)),), []
    for _ in range(rng.integers(1, 3)):
        wide = int(rng.integers(1, 7))
        layers += [filled(rng, nn.Linear(count, wide), draw, 1.0), fire((wide,))]
        count = wide
    layers[-1].output = bool(rng.integers(2))  # its (spikes, membranes) end the Sequential
    return nn.Sequential(*layers), shape


CASES = list(itertools.product(NEURONS, RESETS))


@pytest.mark.parametrize(("kind", "reset"), CASES)
def test_spikes_and_membranes_on_a_coarse_grid_are_equal(kind, reset):
    on_threshold = fired = compared = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        decays = [(0.0, 0.5, 1.0), (0.75, 1.0), (0.875,)][seed % 3]
        net, shape = network(rng, kind, *reset, on_grid((8, 64)[seed % 2]), decays)
        steps = min(LONGEST[decay] for decay in decays)
        x = torch.tensor(rng.integers(-1, 3, (steps, BATCH, *shape)), dtype=torch.float32)
        theirs, outputs = in_snntorch(fresh(net), x)
        exact, _ = in_snntorch(in_double(net), x.double())
        ours, result = in_talon(from_torch(net, shape, approximate_reset=True), x)
        twice = np.zeros((steps, BATCH), bool)  # from where snnTorch takes the threshold a second time
        for path, (spikes, membranes) in theirs.items():
            layer = net.get_submodule(path)
            np.testing.assert_array_equal(membranes, exact[path][1], "the grid is not coarse enough")
            threshold = layer.threshold.detach().double().numpy()
            held = as_held_here(layer, spikes, membranes)
            if reset == ("subtract", False):
                left = (membranes > threshold).reshape(steps, BATCH, -1).any(axis=2)
                twice |= np.maximum.accumulate(left, axis=0)
                before = np.concatenate([np.zeros_like(twice[:1]), twice[:-1]])
            else:
                before = twice
            np.testing.assert_array_equal(ours[path][0][~before], spikes[~before], f"spikes of {path}, seed {seed}")
            np.testing.assert_array_equal(ours[path][1][~before], held[~before], f"membranes of {path}, seed {seed}")
            on_threshold += int(np.count_nonzero((membranes == threshold)[~before]))
            fired += int(np.count_nonzero(spikes[~before]))
            compared += spikes[~before].size
            twice |= before
        if not twice.any():
            np.testing.assert_array_equal(result, outputs)
    print(f"{compared} membranes, {fired} spikes, {on_threshold} on the threshold")
    assert on_threshold > 0 and 0 < fired < compared


@pytest.mark.parametrize("reset", RESETS)
def test_the_currents_of_a_synaptic_are_equal(reset):
    """A reset leaves them as they are."""
    for seed in range(6):
        rng = np.random.default_rng([seed, 3])
        layer = neuron(rng, snntorch.Synaptic, (2, 3), *reset, on_grid(8), (0.0, 0.5, 1.0))
        x = torch.tensor(rng.integers(-1, 3, (10, BATCH, 2, 3)), dtype=torch.float32)
        net, graph = fresh(nn.Sequential(layer)), from_torch(nn.Sequential(layer), (2, 3), approximate_reset=True)
        theirs, ours = [], []

        def observe(step, name, result, state, given, ours=ours):
            if "current" in state:
                ours.append(state["current"])

        with torch.no_grad():
            for arriving in x:
                net(arriving)
                theirs.append(net[0].syn.double().numpy())
        run(graph, bind_graph(graph, "fp32"), {"input": x.double().numpy()}, len(x), (observe,))
        assert np.any(theirs)
        np.testing.assert_array_equal(ours, theirs)


def test_spikes_and_membranes_of_random_networks_differ_by_rounding_alone():
    """A spike may differ where the membrane is within rounding of its threshold; the sample is left out from there."""
    within = compared = fired = 0
    for seed, (kind, reset) in enumerate(CASES * 6):
        if reset == ("subtract", False):
            continue
        rng = np.random.default_rng([seed, 7])
        net, shape = network(rng, kind, *reset, anywhere, rng.uniform(0, 1.05, 4))
        x = anywhere(rng, -1.0, 2.0, 20, BATCH, *shape)
        theirs, _ = in_snntorch(fresh(net), x)
        ours, _ = in_talon(from_torch(net, shape), x)
        right = np.ones((20, BATCH), bool)
        for path, (spikes, membranes) in theirs.items():
            layer = net.get_submodule(path)
            threshold = layer.threshold.detach().double().numpy()
            slack = 2e-6 * (2.0 + np.abs(membranes).max())
            differ = (ours[path][0] != spikes) & right.reshape(20, BATCH, *(1 for _ in spikes.shape[2:]))
            # the first in each sample is by rounding; what comes after it follows from it
            first = differ & ~np.maximum.accumulate(
                np.concatenate([np.zeros_like(right[:1]), differ.reshape(20, BATCH, -1).any(axis=2)[:-1]]), axis=0
            ).reshape(20, BATCH, *(1 for _ in spikes.shape[2:]))
            assert (np.abs(membranes - threshold)[first] < slack).all(), f"{path}, seed {seed}"
            within += int(np.count_nonzero(first))
            right &= ~np.maximum.accumulate(differ.reshape(20, BATCH, -1).any(axis=2), axis=0)
            held = as_held_here(layer, spikes, membranes)
            np.testing.assert_allclose(ours[path][1][right], held[right], rtol=0, atol=slack, err_msg=f"{path}, {seed}")
            compared += spikes[right].size
            fired += int(np.count_nonzero(spikes[right]))
    print(f"{compared} spikes and membranes, {fired} spikes, {within} within rounding of the threshold")
    assert within <= compared / 10_000 and fired > compared / 20


# --- what snnTorch does in its corners --------------------------------------------------------------------------------


def both(layer, x, **options):
    """Spikes and membranes of one layer of neurons, theirs and ours, for inputs (steps, neurons)."""
    x = torch.tensor(x, dtype=torch.float32)[:, None]
    net = nn.Sequential(layer)
    theirs, _ = in_snntorch(fresh(net), x)
    ours, _ = in_talon(from_torch(net, x.shape[2:], **options), x)
    return [tuple(values[:, 0] for values in found["0"]) for found in (theirs, ours)]


@pytest.mark.parametrize("mechanism", ["subtract", "zero", "none"])
@pytest.mark.parametrize("kind", NEURONS)
def test_a_threshold_below_0_resets_silent_neurons_from_the_first_step_on(kind, mechanism):
    decays = {"alpha": 0.5, "beta": 0.5} if kind is snntorch.Synaptic else {"beta": 0.5}
    layer = kind(**decays, threshold=-0.5, reset_mechanism=mechanism, init_hidden=True)
    theirs, ours = both(layer, [[0.0, -1.0, 0.25], [-0.5, -0.5, -0.5], [0.125, -2.0, 1.0], [-1.0, 1.0, 0.0]])
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], as_held_here(layer, *theirs))


@pytest.mark.parametrize("beta", [-0.5, 1.0, 1.5])
@pytest.mark.parametrize("mechanism", ["subtract", "none"])
def test_a_beta_outside_0_to_1_is_clamped(beta, mechanism):
    theirs, ours = both(snntorch.Leaky(beta, reset_mechanism=mechanism, init_hidden=True), [[0.5, 0.75]] * 6)
    np.testing.assert_array_equal(ours, theirs)


def test_a_reset_by_subtraction_without_delay_differs_where_a_membrane_stays_above_its_threshold():
    layer = snntorch.Leaky(1.0, threshold=1.0, reset_delay=False, init_hidden=True)
    with pytest.raises(
        UnsupportedError, match=r"^module '0' \(Leaky\): with reset_delay=False and 'subtract' .*approximate_reset=True"
    ):
        from_torch(nn.Sequential(layer), (1,))
    theirs, ours = both(layer, [[2.5], [0.0], [0.0], [0.75]], approximate_reset=True)
    assert (theirs[0].ravel().tolist(), ours[0].ravel().tolist()) == ([1, 0, 0, 1], [1, 1, 0, 1])
    theirs, ours = both(layer, [[2.0], [0.5], [1.0], [0.25]], approximate_reset=True)  # never above it after a spike
    np.testing.assert_array_equal(ours, theirs)


def test_an_input_that_arrives_with_a_delayed_reset_to_zero_is_kept_by_a_leaky_and_lost_by_a_synaptic():
    """snnTorch's documentation has one formula for both, with which the input would be lost."""
    leaky = snntorch.Leaky(0.5, reset_mechanism="zero", init_hidden=True)
    assert both(leaky, [[1.5], [0.75], [0.75]])[0][0].ravel().tolist() == [1, 0, 1]
    synaptic = snntorch.Synaptic(0.0, 0.5, reset_mechanism="zero", init_hidden=True)
    assert both(synaptic, [[1.5], [0.75], [0.75]])[0][0].ravel().tolist() == [1, 0, 0]


@pytest.mark.parametrize("hidden", [{}, {"init_hidden": True}, {"init_hidden": True, "output": True}])
def test_spikes_are_handed_on_whatever_else_a_neuron_returns(hidden):
    graph = from_torch(nn.Sequential(nn.Linear(2, 3), snntorch.Leaky(0.5, **hidden)), (2,))
    assert [node.kind for node in graph.nodes.values()] == ["Input", "Affine", "LIF", "Output"]


def test_what_a_neuron_remembers_of_an_earlier_sample_is_not_looked_at():
    net = nn.Sequential(snntorch.Leaky(0.5, init_hidden=True))
    x = torch.full((3, 1, 2), 0.75)
    expected, _ = in_snntorch(fresh(net), x)
    in_snntorch(net, x)
    np.testing.assert_array_equal(in_talon(from_torch(net, (2,)), x)[0]["0"][0], expected["0"][0])


# --- the other layers -------------------------------------------------------------------------------------------------

LAYERS = [
    (nn.Linear(5, 3), (5,)),
    (nn.Linear(5, 3, bias=False), (5,)),
    (nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), (4, 11)),
    (nn.Conv1d(2, 3, 3, padding="same", dilation=3, bias=False), (2, 9)),
    (nn.Conv2d(2, 3, (3, 1), stride=(2, 1), padding=(1, 0)), (2, 7, 5)),
    (nn.Conv2d(2, 4, (3, 5), padding="same", groups=2), (2, 6, 6)),
    (nn.Conv2d(2, 4, 2, padding="valid", dilation=(1, 2)), (2, 6, 6)),
    (nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 6, 7)),
    (nn.MaxPool2d((2, 1), dilation=2), (2, 6, 7)),
    (nn.AvgPool2d(2), (2, 6, 7)),
    (nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False), (2, 6, 6)),
    (nn.AdaptiveAvgPool2d(1), (2, 5, 7)),
    (nn.AdaptiveAvgPool2d((2, None)), (2, 5, 7)),
    (nn.AdaptiveAvgPool2d((3, 4)), (2, 6, 9)),
    (nn.Upsample(scale_factor=2), (2, 3, 4)),
    (nn.Upsample(size=(5, 7), mode="bilinear", align_corners=True), (2, 3, 4)),
    (nn.Upsample(scale_factor=(1.5, 2.3), mode="bilinear"), (2, 3, 4)),
    (nn.Upsample(scale_factor=(1.5, 2.3), mode="bilinear", recompute_scale_factor=True), (2, 3, 4)),
    (nn.Flatten(), (2, 3, 4)),
    (nn.Flatten(2), (2, 3, 4)),
    (nn.Flatten(1, 2), (2, 3, 4)),
    (nn.Flatten(-2, -1), (2, 3, 4)),
    (nn.ReLU(inplace=True), (4,)),
    (nn.LeakyReLU(0.3), (4,)),
    (nn.PReLU(), (2, 3)),
    (nn.PReLU(2), (2, 3, 3)),
    (nn.Sigmoid(), (4,)),
    (nn.Tanh(), (4,)),
    (nn.Softmax(dim=1), (4, 2)),
    (nn.Softmax(dim=-1), (4, 2)),
    (nn.GELU(), (9,)),
    (nn.GELU(approximate="tanh"), (9,)),
    (nn.ELU(0.7), (4,)),
    (nn.BatchNorm1d(4), (4,)),
    (nn.BatchNorm1d(4, eps=0.1, affine=False), (4, 3)),
    (nn.BatchNorm2d(2, momentum=None), (2, 3, 4)),
    (nn.LayerNorm(4), (3, 4)),
    (nn.LayerNorm([3, 4], elementwise_affine=False, eps=0.5), (2, 3, 4)),
    (nn.LayerNorm(4, bias=False), (4,)),
    (nn.Dropout(0.9), (4,)),
    (nn.Dropout1d(), (4, 2)),
    (nn.Dropout2d(), (4, 2, 2)),
    (nn.AlphaDropout(), (4,)),
    (nn.Identity(), (4,)),
]


def randomized(layer, seed):
    """Parameters and statistics that are none of the defaults."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, values in itertools.chain(layer.named_parameters(), layer.named_buffers()):
            if values.is_floating_point():
                low = 0.1 if name.endswith("var") else -1.0
                values.copy_(anywhere(rng, low, 1.0, *values.shape))
    return layer


@pytest.mark.parametrize("number", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: str(value).replace(" ", ""))
def test_a_layer_in_training_is_what_it_is_at_inference(layer, shape, number):
    layer = randomized(copy.deepcopy(layer), len(shape)).to(number).train()
    x = anywhere(np.random.default_rng(1), -2.0, 2.0, 1, 4, *shape)
    ours = in_talon(from_torch(nn.Sequential(layer), shape), x)[1][0]
    assert layer.training
    with torch.no_grad():
        theirs = layer.to(torch.float64).eval()(x[0].double()).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=2e-6)


# --- the Sequential ---------------------------------------------------------------------------------------------------


def test_nodes_have_the_names_of_their_modules():
    features = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 3), lif=snntorch.Leaky(0.5, reset_mechanism="none")))
    net = nn.Sequential(OrderedDict(features=features, flat=nn.Flatten(), keep=nn.Identity(), output=nn.Linear(8, 2)))
    graph = from_torch(net, [1, 4, 4])
    names = ["input", "features.conv", "features.lif.membrane", "features.lif", "flat", "output", "output_"]
    assert list(graph.nodes) == names
    assert list(graph.edges) == list(itertools.pairwise(names))
    assert graph.output_shapes["output_"] == (2,)


def test_a_layer_that_stands_in_two_places_becomes_two_nodes():
    pool, relu = nn.MaxPool2d(2), nn.ReLU()
    graph = from_torch(nn.Sequential(pool, relu, pool, relu), (1, 8, 8))
    assert graph.output_shapes["output"] == (1, 2, 2)


def test_a_parametrized_weight_is_the_one_that_the_layer_uses():
    layer = nn.utils.parametrizations.weight_norm(randomized(nn.Linear(3, 2), 0))
    x = anywhere(np.random.default_rng(0), -1, 1, 1, 4, 3)
    with torch.no_grad():
        expected = layer(x[0]).double().numpy()
    np.testing.assert_allclose(
        in_talon(from_torch(nn.Sequential(layer), (3,)), x)[1][0], expected, rtol=1e-6, atol=1e-6
    )


def test_parameters_do_not_change_with_the_module_afterwards():
    layer = nn.Linear(2, 2)
    graph = from_torch(nn.Sequential(layer), (2,))
    before = graph.nodes["0"].weight.copy()
    with torch.no_grad():
        layer.weight += 1.0
    np.testing.assert_array_equal(graph.nodes["0"].weight, before)


def test_a_network_that_resets_to_zero_goes_through_a_nir_file_unchanged(tmp_path):
    rng = np.random.default_rng(3)
    betas = anywhere(rng, 0.0, 1.0, 3, 1, 1), anywhere(rng, 0.0, 1.0, 4)
    neurons = [snntorch.Leaky(beta, 0.7, reset_mechanism="zero", init_hidden=True) for beta in betas]
    net = nn.Sequential(nn.Conv2d(1, 3, 3), neurons[0], nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 4), neurons[1])
    filled(rng, net[0], anywhere, 1.0)
    filled(rng, net[4], anywhere, 1.0)
    x = anywhere(rng, -1.0, 2.0, 12, BATCH, 1, 6, 6)
    graph = from_torch(net, (1, 6, 6))
    ir.write(tmp_path / "net.nir", graph)
    (ours, outputs), (again, outputs_again) = in_talon(graph, x), in_talon(ir.read(tmp_path / "net.nir"), x)
    assert outputs.any()
    np.testing.assert_array_equal(outputs, outputs_again)
    for name in ours:
        np.testing.assert_array_equal(ours[name], again[name], name)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        return self.fc(x)


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class HalfLeaky(snntorch.Leaky):
    def forward(self, x, mem=None):
        return super().forward(x / 2, mem)


def changed(layer, **values):
    for name, value in values.items():
        setattr(layer, name, value)
    return layer


def pruned():
    layer = nn.Linear(4, 4)
    prune.l1_unstructured(layer, "weight", 0.5)
    return layer


def loaded():
    """A layer that subtracts and loads the parameters of one that resets to zero."""
    layer = snntorch.Leaky(0.5)
    layer.load_state_dict(snntorch.Leaky(0.5, reset_mechanism="zero").state_dict())
    return layer


LEAKY = snntorch.Leaky(0.5, init_hidden=True)
CHANNELS = torch.tensor([0.5, 0.75])

REFUSED = [
    (Net(), (2,), r"^from_torch takes a torch.nn.Sequential, not a Net; put the layers into one"),
    ([nn.Linear(2, 2)], (2,), r"^from_torch takes a torch.nn.Sequential, not a list"),
    (Residual(nn.Linear(2, 2)), (2,), r"not a Residual"),
    (nn.Sequential(nn.Sequential(Residual())), (2,), r"^module '0.0' \(Residual\): it is not supported"),
    (nn.Sequential(nn.ReLU(), Net()), (2,), r"^module '1' \(Net\): it is not supported; docs/from_torch.md lists"),
    (nn.Sequential(nn.GroupNorm(1, 2)), (2,), r"^module '0' \(GroupNorm\): it is not supported"),
    (nn.Sequential(snntorch.Lapicque(0.5)), (2,), r"^module '0' \(Lapicque\): it is not supported"),
    (nn.Sequential(snntorch.RLeaky(0.5, all_to_all=False)), (2,), r"\(RLeaky\): it is not supported"),
    (nn.Sequential(HalfLeaky(0.5)), (2,), r"\(HalfLeaky\): it is not supported"),
    (nn.Sequential(LEAKY, nn.ReLU(), LEAKY), (2,), r"^module '2' \(Leaky\): it stands in two places"),
    (nn.Sequential(nn.Linear(3, 2)), (4,), r"^module '0' \(Linear\): weight \(2, 3\) takes inputs of shape \(3,\)"),
    (nn.Sequential(nn.Linear(3, 2)), (4, 3), r"^module '0' \(Linear\): weight"),
    (nn.Sequential(nn.Linear(3, 2)), (0,), r"^Input: input_type must have sizes of 1 or more"),
    (nn.Sequential(nn.Linear(3, 2)), "three", r"^Input: input_type must be a shape"),
    (nn.Sequential(nn.Linear(2, 2, device="meta")), (2,), r"weight is on the meta device, without values"),
    (nn.Sequential(nn.Linear(2, 2, dtype=torch.complex64)), (2,), r"weight is complex"),
    (nn.Sequential(changed(nn.Linear(2, 2), weight=nn.Parameter(torch.full((2, 2), torch.nan)))), (2,), "holds NaN"),
    (nn.Sequential(pruned()), (4,), r"^module '0' \(Linear\): it has forward pre-hooks.*prune.remove"),
    (nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")), (1, 5, 5), r"'circular' is not supported"),
    (nn.Sequential(nn.Conv2d(1, 1, 2, padding="same")), (1, 5, 5), r"padding 'same' of kernel \(2, 2\) is uneven"),
    (nn.Sequential(nn.MaxPool2d(2, return_indices=True)), (1, 4, 4), r"return_indices"),
    (nn.Sequential(nn.AvgPool2d(2, divisor_override=3)), (1, 4, 4), r"divisor_override"),
    (nn.Sequential(nn.AdaptiveAvgPool2d(3)), (1, 5, 6), r"output_size 3 cuts 5 x 6 into windows of unequal"),
    (nn.Sequential(nn.AdaptiveAvgPool2d(3)), (5,), r"takes inputs \(channels, h, w\)"),
    (nn.Sequential(nn.Upsample(scale_factor=2, mode="bicubic")), (1, 4, 4), r"mode must be one of nearest, bilinear"),
    (nn.Sequential(nn.Flatten(0)), (1, 4, 4), r"joins the batch"),
    (nn.Sequential(nn.Softmax(dim=None)), (4,), r"its dim must be"),
    (nn.Sequential(nn.Softmax(dim=-2)), (4,), r"^module '0' \(Softmax\): dim -2 is no dimension"),
    (nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False)), (2,), r"no running statistics"),
    (nn.Sequential(snntorch.Leaky(0.5, state_quant=torch.round)), (2,), r"state_quant"),
    (nn.Sequential(snntorch.Leaky(0.5, spike_grad=torch.sigmoid)), (2,), r"spike_grad is no step"),
    (nn.Sequential(snntorch.Leaky(0.5, spike_grad=lambda x: (x >= 0).float())), (2,), r"spike_grad is no step"),
    (nn.Sequential(snntorch.Leaky(0.5, spike_grad=surrogate.LSO())), (2,), r"spike_grad fails"),  # snnTorch's own bug
    (nn.Sequential(changed(snntorch.Leaky(0.5), inhibition=True)), (2,), r"inhibition"),
    (nn.Sequential(changed(snntorch.Leaky(0.5), reset_mechanism="zero")), (2,), r"changed to 'zero' after it was made"),
    (nn.Sequential(loaded()), (2,), r"changed to 'zero' after it was made"),
    (nn.Sequential(snntorch.Leaky(0.5, -1.0, reset_mechanism="zero", reset_delay=False)), (2,), r"threshold below 0"),
    (nn.Sequential(snntorch.Leaky(CHANNELS)), (3,), r"beta has shape \(2,\), which does not broadcast"),
    (nn.Sequential(snntorch.Leaky(CHANNELS)), (2, 5, 5), r"one value for each channel has shape \(2, 1, 1\)"),
    (nn.Sequential(snntorch.Leaky(torch.full((4, 2), 0.5))), (2,), r"beta has shape \(4, 2\)"),
    (nn.Sequential(snntorch.Leaky(0.5, torch.tensor(torch.nan))), (2,), r"v_threshold holds NaN"),
]


@pytest.mark.parametrize(("module", "shape", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_taken_is_told_in_one_line(module, shape, message):
    with pytest.raises((GraphError, UnsupportedError), match=message) as found:
        from_torch(module, shape)
    assert "\n" not in str(found.value)


SURROGATES = "atan", "fast_sigmoid", "sigmoid", "straight_through_estimator", "triangular", "heaviside", "SSO", "SFS"


@pytest.mark.parametrize("name", SURROGATES)
def test_a_surrogate_of_snntorch_fires_above_the_threshold(name):
    layer = snntorch.Leaky(0.5, spike_grad=getattr(surrogate, name)())
    assert from_torch(nn.Sequential(layer), (2,)).nodes["0"].strict


def test_an_older_snntorch_is_refused(monkeypatch):
    monkeypatch.setattr(snntorch, "__version__", "0.9.1")
    with pytest.raises(
        MissingToolError, match=r"^snntorch 0.9.1 resets its neurons otherwise .* 'talon-dse\[torch\]'$"
    ):
        from_torch(nn.Sequential(nn.Linear(2, 2)), (2,))
    assert issubclass(MissingToolError, TalonError)


def test_the_example_in_the_documentation_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[2] / "docs" / "from_torch.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    names = {}
    exec(example, names)
    assert ir.read("net.t1c").fingerprint == names["graph"].fingerprint
    assert names["run"].output_sums["output"].shape == (5, 10)
