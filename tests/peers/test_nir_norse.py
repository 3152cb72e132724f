"""Networks made in Norse 1.1.0 and exported by its ``to_nir``, read here and run beside it.

Equal as they are: LIFBoxCell, IAFCell and LIBoxCell whose leak and reset are 0, reset to a value. Norse spikes above
the threshold, as NIR does. The exporter writes every time constant times its dt, so a network of LIFBoxCell and
LIBoxCell is read with ``dt ** 2``; IAFCell knows no dt and is read with 1. Both at once need a dt of 1 everywhere.
Every other convention is a test below, with the change that makes our graph equal again.
"""

import dataclasses
import itertools
import warnings

import nir
import numpy as np
import pytest
import torch
from nir_peers import assert_equal, differ, fill, parted, stimulus, through_a_file

from talon_lib import ir
from talon_lib.errors import FormatError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch deprecates what Norse is made of
    import norse.torch as norse
    from norse.torch.functional.iaf import IAFParameters
    from norse.torch.functional.reset import reset_subtract

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nirtorch's own
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

GRID_DT, DT = 2.0**-10, 0.001
"""The step of a network on the grid, where 1 / tau times it is exact, and Norse's own."""

KINDS = ("lif", "iaf", "mixed", "convolution")


def step(net, now, state):
    return net(now, state)[1]


def tensor(values):
    return torch.tensor(values, dtype=torch.float32)


def neurons(rng, kind, shape, grid, dt, **values):
    """tau is 1 or 2 steps on the grid, else 1.5 to 20; parameters for every neuron, for nir writes no scalar."""
    steps = rng.choice([1.0, 2.0], shape) if grid else rng.uniform(1.5, 20, shape)
    threshold = rng.choice([0.25, 0.5, 0.75], shape) if grid else rng.uniform(0.2, 0.8, shape)
    given = {"v_th": tensor(threshold), "v_reset": torch.zeros(shape), **values}
    if kind == "iaf":
        return norse.IAFCell(IAFParameters(**given), dt=dt)
    given = {"tau_mem_inv": tensor(1 / (steps * dt)), "v_leak": torch.zeros(shape), **given}
    if kind == "li":
        return norse.LIBoxCell(norse.LIBoxParameters(given["tau_mem_inv"], given["v_leak"]), dt=dt)
    if kind == "cuba":
        synapse = rng.choice([1.0, 2.0, 4.0], shape) if grid else rng.uniform(1.5, 6, shape)
        given["tau_syn_inv"] = tensor(1 / (synapse * dt))
        return norse.LIFCell(norse.LIFParameters(**given), dt=dt)
    return norse.LIFBoxCell(norse.LIFBoxParameters(**given), dt=dt)


def network(seed, grid, kind, dt, **values):
    """A random network, and the shape of its input."""
    rng = np.random.default_rng(seed)
    if kind == "convolution":
        shape = (2, 7, 9)
        groups, kernel, stride, padding = (int(rng.integers(1, n)) for n in (3, 4, 3, 3))
        first = torch.nn.Conv2d(2, 2 * groups, kernel, stride, padding, groups=groups)
        inner = tuple(first(torch.zeros(shape)).shape)
        second = torch.nn.Conv2d(inner[0], 3, 2)
        last = tuple(second(torch.zeros(inner)).shape)
        layers = [first, neurons(rng, "lif", inner, grid, dt), second, neurons(rng, "lif", last, grid, dt)]
        return fill(norse.SequentialState(*layers), rng, grid, scale=3.0), shape
    sizes = rng.integers(4, 10, rng.integers(3, 5)).tolist()
    layers = []
    for before, after in itertools.pairwise(sizes):
        chosen = str(rng.choice(["lif", "iaf"])) if kind == "mixed" else kind
        layers.append(torch.nn.Linear(before, after, bias=bool(rng.integers(2))))
        layers.append(neurons(rng, chosen, after, grid, dt, **values))
    if kind == "mixed":
        layers += [torch.nn.Linear(sizes[-1], 3), neurons(rng, "li", 3, grid, dt)]
    return fill(norse.SequentialState(*layers), rng, grid, scale=2.0), (sizes[0],)


def exported(net, shape, dt):
    """nir must infer the shapes of convolutions, or it cannot write them."""
    graph = norse.to_nir(net, torch.zeros(shape), dt=dt)
    graph.infer_types()
    return graph


def read(net, shape, path, dt, read_dt):
    return through_a_file(exported(net, shape, dt), path / "a.nir", read_dt)


def step_of(kind, grid):
    """The dt of a network of that kind, and the one to read its file with."""
    dt = 1.0 if kind in ("iaf", "mixed") else GRID_DT if grid else DT
    return dt, dt**2


def changed(graph, **values):
    """The graph with its spiking neurons changed."""
    nodes = {name: dataclasses.replace(node, **values) if node.spiking else node for name, node in graph.nodes.items()}
    return ir.Graph(nodes, graph.edges, graph.metadata)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", KINDS)
def test_trains_are_equal(kind, seed, tmp_path):
    dt, read_dt = step_of(kind, True)
    net, shape = network(seed, True, kind, dt)
    x = stimulus(np.random.default_rng(seed), shape, True)
    here, there = assert_equal(read(net, shape, tmp_path, dt, read_dt), net, x, step)
    for name in set(here.results) - set(here.spiking):
        np.testing.assert_allclose(here.results[name], there[name], atol=1e-6)


def test_with_real_weights_trains_part_by_rounding_alone(tmp_path):
    """20 networks, 120 samples, of which none was measured to part."""
    apart = 0
    for kind in KINDS:
        dt, read_dt = step_of(kind, False)
        for seed in range(200, 205):
            net, shape = network(seed, False, kind, dt)
            graph = read(net, shape, tmp_path, dt, read_dt)
            apart += parted(graph, net, stimulus(np.random.default_rng(seed), shape, False), step)
    assert apart <= 3


def test_norse_spikes_above_the_threshold(tmp_path):
    """So does NIR: on the grid, membranes meet thresholds, and a file marked ``>=`` is another network."""
    net, shape = network(0, True, "lif", 1.0)
    x = stimulus(np.random.default_rng(0), shape, True)
    graph = through_a_file(exported(net, shape, 1.0), tmp_path / "a.nir", 1.0, spike_comparison=">=")
    assert differ(graph, net, x, step)


def test_time_constants_are_written_times_dt(tmp_path):
    """With Norse's own dt of 1 ms, 10 ms become 10 us; dt=1 gives seconds, and the file is read as it should be."""
    net, shape = network(0, False, "lif", DT)
    x = stimulus(np.random.default_rng(0), shape, False)
    with pytest.raises(FormatError, match=r"tau must be dt \(0.001 s\) or more, not .*e-06 s; pass a smaller dt"):
        read(net, shape, tmp_path, DT, DT)
    for dt, read_dt in ((DT, DT**2), (1.0, DT)):
        assert parted(read(net, shape, tmp_path, dt, read_dt), net, x, step) == 0


def test_an_integrator_knows_no_dt(tmp_path):
    """IAFCell adds its input as it is, where NIR's IF adds dt times it: dt must be 1."""
    net, shape = network(1, True, "iaf", DT)
    x = stimulus(np.random.default_rng(1), shape, True)
    assert differ(read(net, shape, tmp_path, DT, DT), net, x, step)
    assert_equal(read(net, shape, tmp_path, DT, 1.0), net, x, step)


@pytest.mark.parametrize("seed", range(4))
def test_the_weight_of_a_current_is_lost_in_the_file(seed, tmp_path):
    """LIFCell adds its input to the current as it is; the file's w_in of 1 means dt / tau_syn times it.

    The membrane reads the current of the same step, as ours does.
    """
    net, shape = network(seed, True, "cuba", GRID_DT)
    x = stimulus(np.random.default_rng(seed), shape, True)
    graph = read(net, shape, tmp_path, GRID_DT, GRID_DT**2)
    assert differ(graph, net, x, step)
    nodes = dict(graph.nodes)
    for name in [name for name, node in nodes.items() if isinstance(node, ir.CubaLIF)]:
        linear, gain = nodes[str(int(name) - 1)], nodes[name].tau_syn
        nodes[str(int(name) - 1)] = ir.Affine(linear.weight * gain[:, None], linear.bias * gain)
    assert_equal(ir.Graph(nodes, graph.edges), net, x, step)


@pytest.mark.parametrize("kind", ["lif", "iaf"])
def test_the_value_of_the_reset_is_lost_in_the_file(kind, tmp_path):
    """And an IAFCell starts there: neurons here start at 0, so all its potentials are shifted."""
    net, shape = network(2, True, kind, 1.0, v_reset=tensor(-0.25))
    x = stimulus(np.random.default_rng(2), shape, True)
    graph = read(net, shape, tmp_path, 1.0, 1.0)
    assert differ(graph, net, x, step)
    if kind == "lif":
        assert_equal(changed(graph, v_reset=-0.25), net, x, step)
        return
    assert differ(changed(graph, v_reset=-0.25), net, x, step)
    nodes = {
        name: ir.IF(node.v_threshold + 0.25, strict=True) if node.spiking else node
        for name, node in graph.nodes.items()
    }
    assert_equal(ir.Graph(nodes, graph.edges), net, x, step)


@pytest.mark.parametrize("kind", ["lif", "cuba"])
def test_membranes_start_at_the_leak_there(kind, tmp_path):
    """Neurons here start at 0: potentials measured from the leak are equal."""
    net, shape = network(1, True, kind, 1.0)
    for layer in list(net)[1::2]:
        layer.p = layer.p._replace(v_leak=torch.full_like(layer.p.v_th, 0.125))
        if kind == "cuba":  # a current that is gone after one step, whose weight is no matter
            layer.p = layer.p._replace(tau_syn_inv=torch.ones_like(layer.p.v_th))
    x = stimulus(np.random.default_rng(1), shape, True)
    graph = read(net, shape, tmp_path, 1.0, 1.0)
    assert differ(graph, net, x, step)
    shifted = {"v_leak": 0.0, "v_reset": -0.125}
    nodes = {
        name: dataclasses.replace(node, v_threshold=node.v_threshold - 0.125, **shifted) if node.spiking else node
        for name, node in graph.nodes.items()
    }
    assert_equal(ir.Graph(nodes, graph.edges), net, x, step)


def test_reset_by_subtraction_is_lost_in_the_file(tmp_path):
    """It acts at once, as ours does without reset_delay."""
    net, shape = network(4, True, "lif", 1.0, reset_method=reset_subtract)
    x = stimulus(np.random.default_rng(4), shape, True)
    graph = read(net, shape, tmp_path, 1.0, 1.0)
    assert differ(graph, net, x, step)
    assert_equal(changed(graph, reset="subtract"), net, x, step)


def test_a_convolution_that_is_not_square_is_read_right_though_its_shape_in_the_file_is_wrong(tmp_path):
    rng = np.random.default_rng(5)
    conv = torch.nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), groups=2)
    layer = neurons(rng, "lif", (4, 4, 8), True, 1.0)
    net = fill(norse.SequentialState(conv, layer), rng, True, scale=2.0)
    graph = norse.to_nir(net, torch.zeros(2, 7, 9), dt=1.0)
    with pytest.raises(ValueError, match="type mismatch"):  # nir takes a kernel's height for its width
        graph.infer_types()
    graph.nodes["0"].input_shape = (7, 9)
    x = stimulus(rng, (2, 7, 9), True)
    read_back = through_a_file(graph, tmp_path / "a.nir", 1.0)
    assert tuple(nir.read(tmp_path / "a.nir", type_check=False).nodes["0"].output_type["output"]) != (4, 4, 8)
    assert read_back.output_shapes["0"] == (4, 4, 8)
    assert_equal(read_back, net, x, step)


def test_a_sample_with_a_batch_makes_a_file_that_is_refused(tmp_path):
    """The exporter takes the batch for a dimension of the network."""
    net = norse.SequentialState(torch.nn.Linear(4, 3), neurons(np.random.default_rng(0), "lif", 3, True, 1.0))
    graph = norse.to_nir(net, torch.zeros(1, 4))
    with pytest.raises(FormatError, match=r"node '0' \(Affine\): weight \(3, 4\) takes inputs of shape \(4,\)"):
        through_a_file(graph, tmp_path / "a.nir")


CANNOT_BE_EXPORTED = {
    "convolution_without_bias": ([torch.nn.Conv2d(1, 2, 3, bias=False), norse.LIFBoxCell()], (1, 5, 5)),
    "flatten": ([torch.nn.Flatten(0), torch.nn.Linear(9, 2), norse.LIFBoxCell()], (1, 3, 3)),
    "pool": ([torch.nn.AvgPool2d(2), norse.LIFBoxCell()], (1, 4, 4)),
    "recurrent": ([norse.LIFRecurrentCell(3, 3)], (1, 3)),
    "leaky_integrator_with_current": ([torch.nn.Linear(3, 2), norse.LICell()], (3,)),
}


@pytest.mark.parametrize("name", CANNOT_BE_EXPORTED)
def test_what_its_exporter_cannot_export(name, tmp_path):
    layers, shape = CANNOT_BE_EXPORTED[name]
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute"):
        nir.write(tmp_path / "a.nir", norse.to_nir(norse.SequentialState(*layers), torch.zeros(shape)))


def test_neurons_that_share_one_value_cannot_be_written(tmp_path):
    """Norse's own defaults are scalars, whose v_reset nir wants to compress."""
    net = norse.SequentialState(torch.nn.Linear(3, 2), norse.LIFBoxCell())
    with pytest.raises(TypeError, match="Scalar datasets"):
        nir.write(tmp_path / "a.nir", norse.to_nir(net, torch.zeros(3)))
