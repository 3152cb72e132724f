"""What the tests of NIR import share: networks run step by step here and in the framework that exported them.

Random networks come in two kinds. On a coarse binary grid, weights, thresholds and inputs are small multiples of a
power of two and decays are a half or nothing, so that membranes meet their thresholds exactly and often: trains must be
equal bit by bit, and the framework's own trains the same in float64, or rounding would have a say. With real weights it
has, where a membrane comes within CLOSE of its threshold; nothing else may make a difference.
"""

import contextlib
from dataclasses import dataclass

import nir
import numpy as np
import torch

from talon_lib import ir
from talon_lib.simulate import bind_graph, has_membrane, run

STEPS, BATCH = 24, 6
CLOSE = 1e-5


def through_a_file(exported, path, dt=None, **metadata):
    """What an exporter made, written to a .nir file by nir and read here. metadata is added to the file's."""
    exported.metadata = {**(exported.metadata or {}), **metadata}
    nir.write(path, exported)
    return ir.read(path, dt=dt)


def stimulus(rng, shape, grid, steps=STEPS, batch=BATCH):
    """Spikes and graded values, (steps, batch, *shape) in float32."""
    spikes = rng.random((steps, batch, *shape)) < 0.5
    sizes = rng.integers(1, 4, spikes.shape) / 2 if grid else rng.uniform(0.2, 1.5, spikes.shape)
    return (spikes * sizes).astype(np.float32)


def fill(net, rng, grid, scale=1.0):
    """Give the layers random weights, quarters on the grid, whose sum is not below 0 for any neuron: all can spike."""
    for layer in net.modules():
        if not isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)):
            continue
        for parameter in filter(lambda parameter: parameter is not None, (layer.weight, layer.bias)):
            inputs = layer.weight[0].numel()
            values = rng.normal(0.0, 1.5 * scale / np.sqrt(inputs), parameter.shape)
            if parameter.ndim > 1:
                values *= np.where(values.reshape(len(values), -1).sum(axis=1) < 0, -1.0, 1.0).reshape(
                    -1, *(1 for _ in values.shape[1:])
                )
            parameter.data = torch.tensor(np.round(values * 4) / 4 if grid else values, dtype=torch.float32)
    return net


# --- theirs ---


def plain(net, now, state):
    """A step of a network whose modules keep their state."""
    net(now)


def theirs(net, x, step=plain):
    """What each of the net's children gave, by name, ``(steps, batch, *shape)``; in the net's own precision."""
    for module in net.modules():
        for name in ("reset_mem", "reset_states"):
            getattr(module, name, lambda: None)()
    number = next(net.parameters()).dtype
    seen = {name: [] for name, _ in net.named_children()}

    def keep(name):
        return lambda module, given, result: seen[name].append(result[0] if isinstance(result, tuple) else result)

    def as_number(module, given):  # spikes are float32 everywhere
        return tuple(x.to(number) if isinstance(x, torch.Tensor) else x for x in given)

    with contextlib.ExitStack() as hooks, torch.no_grad():
        for module in net.modules():
            hooks.enter_context(module.register_forward_pre_hook(as_number))
        for name, child in net.named_children():
            hooks.enter_context(child.register_forward_hook(keep(name)))
        state = None
        for now in torch.tensor(x, dtype=number):
            state = step(net, now, state)
    return {name: torch.stack(results).numpy() for name, results in seen.items()}


# --- ours ---


@dataclass(frozen=True)
class Ours:
    """By the name of the framework's module, in the order of the graph: results, ``(steps, batch, *shape)``.

    distances: for neurons that spike, how far the membrane was from the threshold when it was compared.
    """

    results: dict
    distances: dict

    @property
    def spiking(self):
        return list(self.distances)


def ours(graph, x):
    """A run of the graph in fp32. A recurrent layer's node ``<name>.lif`` is called ``<name>``, as its module is."""
    (source,) = graph.inputs
    seen = {name: ([], []) for name in graph.order if has_membrane(graph, name)}
    membranes = {}

    def observe(step, name, result, state, given):
        if name not in seen:
            return
        node = graph.nodes[name]
        seen[name][0].append(result)
        if node.spiking:
            excess = _before_reset(node, membranes.get(name, 0.0), state, given, result) - node.v_threshold
            assert ((excess > 0) == (result > 0))[np.abs(excess) > CLOSE].all(), "this is not what was compared"
            seen[name][1].append(np.abs(excess))
        membranes[name] = state["membrane"]

    run(graph, bind_graph(graph, "fp32"), {source: x}, len(x), (observe,))
    stacked = {name.removesuffix(".lif"): tuple(map(np.array, found)) for name, found in seen.items()}
    distances = {name: found[1] for name, found in stacked.items() if len(found[1])}
    return Ours({name: found[0] for name, found in stacked.items()}, distances)


def _before_reset(node, before, state, given, spikes):
    """The membrane that was compared with the threshold."""
    if node.reset_delay:  # it has not been reset yet
        return state["membrane"]
    v = before + state.get("current", given)
    tau = getattr(node, "tau", None)
    if tau is not None:
        v = (1 - 1 / tau.astype(np.float64)) * (before - node.v_leak) + node.v_leak + state.get("current", given)
    return np.where(spikes > 0, v, state["membrane"])


# --- comparison ---


def assert_equal(graph, net, x, step=plain):
    """Every spike of every layer, bit by bit; and the framework's trains do not depend on its precision."""
    here, there = ours(graph, x), theirs(net, x, step)
    assert here.spiking
    for name in here.spiking:
        assert 0 < there[name].mean() < 1, f"layer {name} says nothing"
        np.testing.assert_array_equal(here.results[name], there[name], err_msg=name)
    exact = theirs(net.double(), x, step)
    for name in here.spiking:
        np.testing.assert_array_equal(there[name], exact[name], err_msg=f"{name}: not exact")
    return here, there


def differ(graph, net, x, step=plain):
    """Whether any layer spikes otherwise."""
    here, there = ours(graph, x), theirs(net, x, step)
    return any(not np.array_equal(here.results[name], there[name]) for name in here.spiking)


def parted(graph, net, x, step=plain):
    """The number of samples whose trains part because of rounding; fails for one that parts because of anything else.

    Where a sample's trains part first, all neurons that differ must have been within CLOSE of their thresholds.
    """
    here, there = ours(graph, x), theirs(net, x, step)
    assert here.spiking
    count = 0
    for sample in range(x.shape[1]):
        wrong = {name: here.results[name][:, sample] != there[name][:, sample] for name in here.spiking}
        steps = [t for t in range(len(x)) if any(w[t].any() for w in wrong.values())]
        if not steps:
            continue
        count += 1
        name = next(name for name in here.spiking if wrong[name][steps[0]].any())  # later layers only follow
        distances = here.distances[name][steps[0], sample][wrong[name][steps[0]]]
        assert (distances < CLOSE).all(), f"layer {name}, step {steps[0]}: {distances.max():g} from the threshold"
    assert 0 < there[here.spiking[0]].mean() < 1, "the first layer says nothing"
    return count
