"""Networks made in Sinabs 2.0.3 and exported by its ``to_nir``, read here and run beside it.

Equal as they are: IAF that spikes once a step (SingleSpike) and resets to zero (MembraneReset), read with a dt of 1,
for Sinabs counts time in steps. It spikes at the threshold and NIR above it, which the file does not say: equal where
no membrane meets its threshold, or with ``spike_comparison`` ">=" in the file's metadata. Every other convention is a
test below, with the change that makes our graph equal again.
"""

import dataclasses
import itertools
import warnings

import nir
import numpy as np
import pytest
import torch
from nir_peers import BATCH, assert_equal, differ, fill, ours, parted, stimulus, theirs, through_a_file

from talon_lib import ir
from talon_lib.errors import FormatError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # as Norse's
    import sinabs.layers as sl
    from sinabs.activation import MembraneReset, MembraneSubtract, MultiSpike, SingleSpike
    from sinabs.nir import to_nir

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nirtorch's own
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

AT_ZERO = {"spike_fn": SingleSpike, "reset_fn": MembraneReset()}
SUBTRACTING = {"spike_fn": SingleSpike, "reset_fn": MembraneSubtract()}
OFF_THE_GRID = 1 / 64


def tensor(values):
    return torch.tensor(values, dtype=torch.float32)


def thresholds(rng, shape, grid):
    return tensor(rng.choice([0.5, 1.0, 1.5], shape) if grid else rng.uniform(0.5, 1.5, shape))


def integrators(rng, shape, grid, off, **options):
    """``off`` is what keeps thresholds from where the membranes of the grid can be."""
    return sl.IAFSqueeze(batch_size=BATCH, spike_threshold=thresholds(rng, shape, grid) + off, **options)


def dense(seed, grid, neurons):
    """Layers of what ``neurons(rng, n)`` makes, and the shape of the input."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(4, 10, rng.integers(3, 5)).tolist()
    layers = []
    for before, after in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(before, after, bias=bool(rng.integers(2))), neurons(rng, after)]
    return fill(torch.nn.Sequential(*layers), rng, grid, scale=2.0), (sizes[0],)


def convolution(seed, grid, off=0.0):
    rng = np.random.default_rng(seed)
    groups, kernel, stride, padding = (int(rng.integers(1, n)) for n in (3, 4, 3, 3))
    shape = (2, 7, 9)
    conv = torch.nn.Conv2d(2, 2 * groups, kernel, stride, padding, groups=groups, bias=bool(rng.integers(2)))
    inner = tuple(conv(torch.zeros(1, *shape)).shape[1:])
    pool = sl.SumPool2d(2, stride=int(rng.integers(1, 3)))  # it divides by the window and multiplies again: 2 is exact
    pooled = int(pool(torch.zeros(1, *inner)).numel())
    layers = [
        conv,
        integrators(rng, inner, grid, off, **AT_ZERO),
        pool,
        torch.nn.Flatten(),
        torch.nn.Linear(pooled, 5),
        integrators(rng, 5, grid, off, **AT_ZERO),
    ]
    return fill(torch.nn.Sequential(*layers), rng, grid, scale=2.0), shape


def network(seed, grid, kind, off=0.0):
    if kind == "convolution":
        return convolution(seed, grid, off)
    return dense(seed, grid, lambda rng, n: integrators(rng, n, grid, off, **AT_ZERO))


def exported(net, shape):
    """nir must infer the shapes of convolutions, or it cannot write them."""
    graph = to_nir(net, torch.zeros(BATCH, *shape))
    graph.infer_types()
    return graph


def read(net, shape, path, **metadata):
    return through_a_file(exported(net, shape), path / "a.nir", 1.0, **metadata)


def changed(graph, change):
    """The graph with ``change(node)`` for its neurons, and their inputs times the gain that it gives beside it."""
    nodes = dict(graph.nodes)
    for name, node in graph.nodes.items():
        if not isinstance(node, (ir.IF, ir.LIF, ir.LI)):
            continue
        nodes[name], gain = change(node)
        linear = nodes[str(int(name) - 1)]
        nodes[str(int(name) - 1)] = ir.Affine(linear.weight * gain[:, None], linear.bias * gain)
    return ir.Graph(nodes, graph.edges, graph.metadata)


@pytest.mark.parametrize("off", [0.0, OFF_THE_GRID], ids=["at_the_threshold", "never_at_it"])
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", ["dense", "convolution"])
def test_trains_are_equal(kind, seed, off, tmp_path):
    net, shape = network(seed, True, kind, off)
    x = stimulus(np.random.default_rng(seed), shape, True)
    assert_equal(read(net, shape, tmp_path, **({} if off else {"spike_comparison": ">="})), net, x)


def test_sinabs_spikes_at_the_threshold(tmp_path):
    """Its files do not say so, and are read by NIR's rule."""
    net, shape = network(0, True, "dense")
    x = stimulus(np.random.default_rng(0), shape, True)
    assert differ(read(net, shape, tmp_path), net, x)


def test_with_real_weights_trains_part_by_rounding_alone(tmp_path):
    """20 networks, 120 samples, of which none was measured to part."""
    apart = 0
    for kind in ("dense", "convolution"):
        for seed in range(100, 110):
            net, shape = network(seed, False, kind)
            apart += parted(read(net, shape, tmp_path), net, stimulus(np.random.default_rng(seed), shape, False))
    assert apart <= 3


@pytest.mark.parametrize("seed", range(3))
def test_reset_by_subtraction_is_lost_in_the_file(seed, tmp_path):
    """It acts at once, as ours does without reset_delay."""
    net, shape = dense(seed, True, lambda rng, n: integrators(rng, n, True, 0.0, **SUBTRACTING))
    x = stimulus(np.random.default_rng(seed), shape, True)
    graph = read(net, shape, tmp_path, spike_comparison=">=")
    assert differ(graph, net, x)
    assert_equal(changed(graph, lambda node: (dataclasses.replace(node, reset="subtract"), np.ones(1))), net, x)


def test_several_spikes_in_a_step_are_lost_in_the_file(tmp_path):
    """MultiSpike, the default, gives one for every threshold that the membrane holds; ours is one at most."""
    net = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), sl.IAFSqueeze(batch_size=BATCH))
    net[0].weight.data.fill_(1.0)
    net[1].spike_threshold.data = torch.ones(1)
    x = np.broadcast_to(tensor([0.75, 1.5, 0.5, 0.25]).numpy().reshape(-1, 1, 1), (4, BATCH, 1))

    def subtracting(node):
        return dataclasses.replace(node, reset="subtract"), np.ones(1)

    graph = changed(read(net, (1,), tmp_path, spike_comparison=">="), subtracting)
    np.testing.assert_array_equal(theirs(net, x)["1"][:, 0, 0], [0, 2, 0, 1])
    np.testing.assert_array_equal(ours(graph, x).results["1"][:, 0, 0], [0, 1, 1, 1])
    assert not differ(graph, net, np.minimum(x, 0.75)), "it never holds two thresholds"


def membranes(tau, **options):
    return lambda rng, n: sl.LIFSqueeze(
        batch_size=BATCH,
        tau_mem=tensor(rng.uniform(*tau, n)),
        spike_threshold=thresholds(rng, n, False) / (4 if options.get("norm_input") else 1),
        **AT_ZERO,
        **options,
    )


@pytest.mark.parametrize("norm_input", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_a_membrane_decays_exponentially_there(norm_input, seed, tmp_path):
    """By exp(-1/tau), where forward Euler has 1 - 1/tau; the file has tau. Its input is not divided by tau.

    With norm_input, Sinabs' default, the input is multiplied by 1 - exp(-1/tau), and the file says nothing of it.
    """
    net, shape = dense(seed, False, membranes((1.5, 12), norm_input=norm_input))
    x = stimulus(np.random.default_rng(seed), shape, False)
    graph = read(net, shape, tmp_path, spike_comparison=">=")
    assert differ(graph, net, x)

    def exponential(node):
        tau = node.tau.astype(float)
        decay = np.exp(-1 / tau)
        return dataclasses.replace(node, tau=1 / (1 - decay)), tau * (1 - decay if norm_input else 1)

    assert parted(changed(graph, exponential), net, x) == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_synaptic_current_is_lost_in_the_file(seed, tmp_path):
    """With tau_syn the input decays before it is read: i = exp(-1/tau_syn) * (i + x). The file has a LIF."""
    synapse = np.exp(-1 / 3.0)
    net, shape = dense(seed, False, membranes((1.5, 12), norm_input=False, tau_syn=3.0))
    x = stimulus(np.random.default_rng(seed), shape, False)
    graph = read(net, shape, tmp_path, spike_comparison=">=")
    assert isinstance(graph.nodes["1"], ir.LIF)
    assert differ(graph, net, x)

    def current_based(node):
        tau, steps = node.tau.astype(float), 1 / (1 - np.exp(-1 / node.tau.astype(float)))
        return ir.CubaLIF(np.full(tau.shape, 1 / (1 - synapse)), steps, node.v_leak, node.v_threshold), tau * synapse

    assert parted(changed(graph, current_based), net, x) == 0


def test_an_integrator_decays_exponentially_there(tmp_path):
    net, shape = dense(
        0, False, lambda rng, n: sl.ExpLeakSqueeze(batch_size=BATCH, tau_mem=tensor(rng.uniform(2, 9, n)))
    )
    x = stimulus(np.random.default_rng(0), shape, False)

    def exponential(node):
        tau = node.tau.astype(float)
        return dataclasses.replace(node, tau=1 / (1 - np.exp(-1 / tau))), tau

    here, there = ours(changed(read(net, shape, tmp_path), exponential), x), theirs(net, x)
    for name, values in here.results.items():
        np.testing.assert_allclose(values, there[name], atol=1e-5 * np.abs(values).max())


@pytest.mark.parametrize("option", [{"min_v_mem": -0.25}, {"tau_syn": 2.0}], ids=["min_v_mem", "tau_syn"])
def test_an_option_that_the_exporter_drops_leaves_the_same_file(option, tmp_path):
    graphs = []
    for more in ({}, option):
        net, shape = dense(1, True, lambda rng, n, more=more: integrators(rng, n, True, 0.0, **AT_ZERO, **more))
        graphs.append(read(net, shape, tmp_path))
    assert graphs[0].fingerprint == graphs[1].fingerprint


def test_a_reset_to_elsewhere_is_added_in_every_step_there():
    """Whether the neuron spiked or not, so that it is no v_reset; the file has 0."""
    layer = sl.IAF(spike_fn=SingleSpike, reset_fn=MembraneReset(-0.5), record_states=True)
    with torch.no_grad():
        layer(torch.zeros(1, 3, 1))
    np.testing.assert_array_equal(layer.recordings["v_mem"].ravel(), [-0.5, -1.0, -1.5])


def test_the_ceil_mode_of_a_pool_is_lost_in_the_file(tmp_path):
    """nir then finds that shapes do not fit; without its check the file is refused here."""
    rng = np.random.default_rng(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 2), sl.SumPool2d(2, ceil_mode=True), integrators(rng, (2, 3, 3), True, 0.0, **AT_ZERO)
    )
    graph = to_nir(net, torch.zeros(BATCH, 1, 6, 6))
    with pytest.raises(ValueError, match="type mismatch"):
        graph.infer_types()
    graph.nodes["0"].input_shape = (6, 6)
    with pytest.raises(FormatError, match=r"node '2' \(IF\): v_threshold .*\(2, 3, 3\).*\(2, 2, 2\)"):
        through_a_file(graph, tmp_path / "a.nir", 1.0)


def test_a_window_that_is_not_square_is_read_right_though_the_shapes_in_the_file_are_wrong(tmp_path):
    rng = np.random.default_rng(3)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), groups=2),
        integrators(rng, (4, 4, 8), True, 0.0, **AT_ZERO),
        sl.SumPool2d((2, 4), stride=(1, 2)),
        torch.nn.Flatten(),
        torch.nn.Linear(36, 3),
        integrators(rng, 3, True, 0.0, **AT_ZERO),
    )
    net = fill(net, rng, True, scale=2.0)
    graph = to_nir(net, torch.zeros(BATCH, 2, 7, 9))
    with pytest.raises(ValueError, match="type mismatch"):  # nir takes a kernel's height for its width
        graph.infer_types()
    graph.nodes["0"].input_shape = (7, 9)
    graph.nodes["3"] = nir.Flatten(np.array([4, 3, 3]), 0, -1)
    x = stimulus(rng, (2, 7, 9), True)
    assert_equal(through_a_file(graph, tmp_path / "a.nir", 1.0, spike_comparison=">="), net, x)


def test_a_layer_with_time_makes_a_file_that_is_refused(tmp_path):
    """Without Squeeze, a layer takes (batch, time, …), and the exporter takes time for a dimension of the network."""
    graph = to_nir(torch.nn.Sequential(torch.nn.Linear(4, 3), sl.IAF()), torch.zeros(1, 5, 4))
    with pytest.raises(FormatError, match=r"node '0' \(Affine\): weight \(3, 4\) takes inputs of shape \(4,\)"):
        through_a_file(graph, tmp_path / "a.nir", 1.0)


def alone(layer, *shape):
    return torch.nn.Sequential(layer), torch.zeros(shape)


CANNOT_BE_EXPORTED = {
    "conv1d": (*alone(torch.nn.Conv1d(1, 2, 3), 1, 1, 6), RuntimeError),
    "conv1d_without_bias": (*alone(torch.nn.Conv1d(1, 2, 3, bias=False), 1, 1, 6), TypeError),
    "average_pool": (*alone(torch.nn.AvgPool2d(2), 1, 1, 6, 6), NotImplementedError),
    "recurrent": (
        torch.nn.Sequential(torch.nn.Linear(4, 3), sl.LIFRecurrent(tau_mem=5.0, rec_connect=torch.nn.Linear(3, 3))),
        torch.zeros(1, 5, 4),
        NotImplementedError,
    ),
    "one_threshold_for_many_taus": (
        *alone(sl.LIFSqueeze(tau_mem=tensor([2.0, 3.0]), batch_size=1), 1, 2),
        AssertionError,
    ),
    "trained_alphas": (*alone(sl.LIFSqueeze(tau_mem=2.0, train_alphas=True, batch_size=1), 1, 2), AttributeError),
}


@pytest.mark.parametrize("name", CANNOT_BE_EXPORTED)
def test_what_its_exporter_cannot_export(name):
    net, sample, error = CANNOT_BE_EXPORTED[name]
    with pytest.raises(error):
        to_nir(net, sample)


def test_neurons_that_share_one_value_cannot_be_written(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), sl.LIFSqueeze(tau_mem=5.0, batch_size=1))
    with pytest.raises(TypeError, match="Scalar datasets"):
        nir.write(tmp_path / "a.nir", to_nir(net, torch.zeros(1, 3)))


def test_the_defaults_are_those_that_are_lost():
    layer = sl.IAF()
    assert layer.spike_fn is MultiSpike
    assert isinstance(layer.reset_fn, MembraneSubtract)
    assert sl.LIF(tau_mem=2.0).norm_input
