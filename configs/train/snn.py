"""Leaky integrate-and-fire networks: model, training loop, evaluation and NIR writer.

One timestep of a neuron, with decay = 1 - 1/tau and v starting at 0:

    v = decay * (v - V_LEAK) + V_LEAK + x;  spike = v >= V_THRESHOLD;  v = V_LEAK on a spike

CubaLIF neurons keep a synaptic current, i = (1 - 1/tau_syn) * i + x with i starting at 0, and have i in the place of x.

The answer of a network is the argmax of the spike counts of its last layer over all steps
(the lowest index on ties).  Arrays are time-major: (steps, batch, *shape).
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nir
import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

V_LEAK = 0.0
V_THRESHOLD = 1.0
DT = 1e-4  # seconds per timestep, the default of the NIR paper


@dataclass(frozen=True)
class Data:
    """Inputs x (n, steps, *shape) float32 and labels y (n,) int64."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


@dataclass(frozen=True)
class Config:
    """What defines a training run, apart from the data."""

    shape: tuple[int, ...]  # of the input, (features,) or (channels, height, width)
    layers: Callable[[], list[nn.Module]]  # makes them: Linear, Conv2d, AvgPool2d, Flatten, LIF, CubaLIF
    epochs: int
    batch: int = 32
    rate: float = 5e-3
    weight_decay: float = 1e-3
    weight_limit: float = 0.875  # 7/8: the largest 4-bit value at a scale of 2**-3
    weight_noise: float = 0.03  # uniform half width: half a step of a 5-bit weight is 1/32
    input_noise: float = 0.1  # standard deviation
    temperature: float = 0.5  # logits = temperature * spike counts
    seed: int = 0


class Spike(torch.autograd.Function):
    """Heaviside step forwards, derivative of a fast sigmoid backwards."""

    slope = 5.0

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, over: Tensor) -> Tensor:
        """Spike where the membrane minus the threshold, `over`, is not negative."""
        ctx.save_for_backward(over)
        return (over >= 0).to(over.dtype)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
        """Scale the gradient by how near the membrane is to the threshold."""
        (over,) = ctx.saved_tensors
        return grad / (1 + Spike.slope * over.abs()) ** 2


class LIF(nn.Module):
    """A layer of neurons with a fixed time constant."""

    def __init__(self, tau: float) -> None:
        """Neurons with the time constant `tau`, in timesteps."""
        super().__init__()
        self.tau = tau

    def forward(self, current: Tensor) -> Tensor:
        """Spikes (steps, batch, *shape) of neurons driven by `current` of the same shape."""
        decay = 1 - 1 / self.tau
        v = torch.zeros_like(current[0])
        spikes = []
        for x in current:
            v = decay * (v - V_LEAK) + V_LEAK + x
            spike = Spike.apply(v - V_THRESHOLD)
            # The reset is not differentiated: through it, surrogate gradients add up to noise.
            v = torch.where(spike.detach() > 0, V_LEAK, v)
            spikes.append(spike)
        return torch.stack(spikes)


class CubaLIF(LIF):
    """A layer of LIF neurons that a synaptic current drives, with two fixed time constants."""

    def __init__(self, tau_syn: float, tau: float) -> None:
        """Neurons with the time constants `tau_syn` of the current and `tau` of the membrane, in timesteps."""
        super().__init__(tau)
        self.tau_syn = tau_syn

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (steps, batch, *shape) of neurons whose synapses get `x` of the same shape."""
        decay = 1 - 1 / self.tau_syn
        i = torch.zeros_like(x[0])
        current = []
        for arriving in x:
            i = decay * i + arriving
            current.append(i)
        return super().forward(torch.stack(current))


class Network(nn.Module):
    """A chain of layers; those that are not neurons have no memory and see each step alone."""

    def __init__(self, config: Config) -> None:
        """Make the layers of `config`, with the default initialisation of torch."""
        super().__init__()
        self.shape = config.shape
        self.layers = nn.ModuleList(config.layers())

    @property
    def weighted(self) -> list[nn.Module]:
        """The layers that have weights."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear | nn.Conv2d)]

    def forward(self, x: Tensor, noise: float = 0.0) -> list[Tensor]:
        """Spikes (steps, batch, *shape) of each layer of neurons for x of shape (steps, batch, *inputs).

        `noise` is the half width of the uniform noise added to the weights; it stands for
        the rounding of a later quantisation and makes the network indifferent to it.
        """
        spikes = []
        for layer in self.layers:
            if isinstance(layer, LIF):
                x = layer(x)
                spikes.append(x)
                continue
            changed = {}
            if noise and layer in self.weighted:
                changed["weight"] = layer.weight + noise * (2 * torch.rand_like(layer.weight) - 1)
            y = functional_call(layer, changed, x.flatten(0, 1))
            x = y.unflatten(0, x.shape[:2])
        return spikes


def train(config: Config, x: np.ndarray, y: np.ndarray) -> Network:
    """Train on x (n, steps, *shape) and y (n,) for a fixed number of epochs.

    No checkpoint is selected: the result is the network after the last epoch.
    """
    torch.manual_seed(config.seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    net = Network(config)
    inputs, labels = torch.from_numpy(x).transpose(0, 1), torch.from_numpy(y)
    batches = -(-len(y) // config.batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=config.rate, total_steps=config.epochs * batches)
    for _ in range(config.epochs):
        for index in torch.randperm(len(y)).split(config.batch):
            batch = inputs[:, index]
            batch = batch + config.input_noise * torch.randn_like(batch)
            counts = net(batch, config.weight_noise)[-1].sum(0)
            loss = functional.cross_entropy(config.temperature * counts, labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            # Bounded weights: one scale per tensor then wastes no bits on outliers.
            with torch.no_grad():
                for layer in net.weighted:
                    layer.weight.clamp_(-config.weight_limit, config.weight_limit)
    return net


def spikes_of(net: Network, x: np.ndarray) -> list[np.ndarray]:
    """Spikes (steps, n, *neurons) of each layer of neurons for x of shape (n, steps, *shape)."""
    with torch.no_grad():
        return [s.numpy() for s in net(torch.from_numpy(x).transpose(0, 1))]


def accuracy(net: Network, x: np.ndarray, y: np.ndarray) -> float:
    """Share of x (n, steps, *shape) whose spike counts point at y (n,)."""
    return float((spikes_of(net, x)[-1].sum(0).argmax(1) == y).mean())


def nir_node(layer: nn.Module, shape: tuple[int, ...]) -> tuple[str, nir.NIRNode]:
    """Kind and NIR node of a layer whose input has that shape (batch not counted).

    NIR integrates v += dt / tau * (v_leak - v + r * x).  With tau in seconds (tau * DT) and
    r = tau in steps, that is the neuron of this module exactly, the gain of x being 1.  The current
    of a CubaLIF is tau_syn di/dt = w_in * x - i there, so w_in = tau_syn in steps likewise.
    """
    match layer:
        case nn.Linear():
            return "fc", nir.Affine(weight=layer.weight.detach().numpy(), bias=layer.bias.detach().numpy())
        case nn.Conv2d():
            return "conv", nir.Conv2d(
                input_shape=shape[1:],
                weight=layer.weight.detach().numpy(),
                stride=layer.stride,
                padding=layer.padding,
                dilation=layer.dilation,
                groups=layer.groups,
                bias=layer.bias.detach().numpy(),
            )
        case nn.AvgPool2d():
            sizes = (layer.kernel_size, layer.stride, layer.padding)
            return "pool", nir.AvgPool2d(*(np.broadcast_to(size, 2).copy() for size in sizes))
        case nn.Flatten():
            return "flatten", nir.Flatten({"input": np.array(shape)}, start_dim=0, end_dim=-1)
        case CubaLIF():  # before LIF, which it is too
            return "cubalif", nir.CubaLIF(
                tau_syn=np.full(shape, layer.tau_syn * DT),
                tau_mem=np.full(shape, layer.tau * DT),
                r=np.full(shape, layer.tau, np.float32),
                v_leak=np.full(shape, V_LEAK, np.float32),
                v_threshold=np.full(shape, V_THRESHOLD, np.float32),
                v_reset=np.full(shape, V_LEAK, np.float32),
                w_in=np.full(shape, layer.tau_syn, np.float32),
            )
        case LIF():
            return "lif", nir.LIF(
                tau=np.full(shape, layer.tau * DT),  # float64: float32 would move the decay off 1 - 1/tau
                r=np.full(shape, layer.tau, np.float32),
                v_leak=np.full(shape, V_LEAK, np.float32),
                v_threshold=np.full(shape, V_THRESHOLD, np.float32),
                v_reset=np.full(shape, V_LEAK, np.float32),
            )
    raise TypeError(f"no NIR node for {layer}")


def write_nir(net: Network, path: Path) -> None:
    """Write the network as a NIR graph: input, the layers in order, output.

    The layers are numbered by kind (conv1, lif1, pool1, fc1, lif2, ...); flatten, of which there
    is one at most, has no number.
    """
    nodes: dict[str, nir.NIRNode] = {"input": nir.Input(np.array(net.shape))}
    count: Counter[str] = Counter()
    x = torch.zeros(1, *net.shape)  # carries the shapes along
    for layer in net.layers:
        kind, node = nir_node(layer, tuple(x.shape[1:]))
        count[kind] += 1
        nodes[kind if kind == "flatten" else f"{kind}{count[kind]}"] = node
        x = layer(x)
    nodes["output"] = nir.Output(np.array(x.shape[1:]))
    edges = list(itertools.pairwise(nodes))
    nir.write(path, nir.NIRGraph(nodes, edges, metadata={"dt": DT, "spike_comparison": ">="}))


def fit(name: str, config: Config, data: Data, output: Path) -> None:
    """Validate, train, test and write `output`/`name`.nir.

    The settings are judged on a validation part of the train set (15 %, stratified), by a
    network that sees only the rest.  The network that is written is then trained on the whole
    train set with the same settings for the same number of epochs, so nothing about it is
    chosen by test accuracy.
    """
    start = time.perf_counter()
    x_fit, x_val, y_fit, y_val = train_test_split(
        data.x_train, data.y_train, test_size=0.15, stratify=data.y_train, random_state=config.seed
    )
    validation = accuracy(train(config, x_fit, y_fit), x_val, y_val)
    net = train(config, data.x_train, data.y_train)
    output.mkdir(parents=True, exist_ok=True)
    write_nir(net, output / f"{name}.nir")
    print(
        f"{name}: validation {validation:.4f} (network without the validation part), "
        f"train {accuracy(net, data.x_train, data.y_train):.4f}, "
        f"test {accuracy(net, data.x_test, data.y_test):.4f}, "
        f"{time.perf_counter() - start:.0f} s"
    )
