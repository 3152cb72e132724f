"""Leaky integrate-and-fire networks: model, training loop, evaluation and NIR writer.

One timestep of a neuron, with decay = 1 - 1/tau and v starting at 0:

    v = decay * (v - V_LEAK) + V_LEAK + x;  spike = v >= V_THRESHOLD;  v = V_LEAK on a spike

The answer of a network is the argmax of the spike counts of its last layer over all steps
(the lowest index on ties).  Arrays are time-major: (steps, batch, features).
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import nir
import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

V_LEAK = 0.0
V_THRESHOLD = 1.0
DT = 1e-4  # seconds per timestep, the default of the NIR paper


@dataclass(frozen=True)
class Data:
    """Inputs x (n, steps, features) float32 and labels y (n,) int64."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


@dataclass(frozen=True)
class Config:
    """What defines a training run, apart from the data."""

    sizes: tuple[int, ...]  # features per layer, input first
    taus: tuple[float, ...]  # one per LIF layer, in timesteps
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


def lif(current: Tensor, tau: float) -> Tensor:
    """Spikes (steps, batch, n) of a LIF layer driven by `current` of the same shape."""
    decay = 1 - 1 / tau
    v = torch.zeros_like(current[0])
    spikes = []
    for x in current:
        v = decay * (v - V_LEAK) + V_LEAK + x
        spike = Spike.apply(v - V_THRESHOLD)
        # The reset is not differentiated: through it, surrogate gradients add up to noise.
        v = torch.where(spike.detach() > 0, V_LEAK, v)
        spikes.append(spike)
    return torch.stack(spikes)


class Network(nn.Module):
    """A chain of Affine and LIF layers."""

    def __init__(self, config: Config) -> None:
        """Make the layers of `config`, with the default initialisation of torch."""
        super().__init__()
        self.taus = config.taus
        self.affine = nn.ModuleList(nn.Linear(n, m) for n, m in zip(config.sizes, config.sizes[1:], strict=False))

    def forward(self, x: Tensor, noise: float = 0.0) -> list[Tensor]:
        """Spikes (steps, batch, n) of each LIF layer for x of shape (steps, batch, inputs).

        `noise` is the half width of the uniform noise added to the weights; it stands for
        the rounding of a later quantisation and makes the network indifferent to it.
        """
        spikes = []
        for affine, tau in zip(self.affine, self.taus, strict=True):
            weight = affine.weight
            if noise:
                weight = weight + noise * (2 * torch.rand_like(weight) - 1)
            x = lif(functional.linear(x, weight, affine.bias), tau)
            spikes.append(x)
        return spikes


def train(config: Config, x: np.ndarray, y: np.ndarray) -> Network:
    """Train on x (n, steps, features) and y (n,) for a fixed number of epochs.

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
                for affine in net.affine:
                    affine.weight.clamp_(-config.weight_limit, config.weight_limit)
    return net


def spikes_of(net: Network, x: np.ndarray) -> list[np.ndarray]:
    """Spikes (steps, n, neurons) of each LIF layer for x of shape (n, steps, features)."""
    with torch.no_grad():
        return [s.numpy() for s in net(torch.from_numpy(x).transpose(0, 1))]


def accuracy(net: Network, x: np.ndarray, y: np.ndarray) -> float:
    """Share of x (n, steps, features) whose spike counts point at y (n,)."""
    return float((spikes_of(net, x)[-1].sum(0).argmax(1) == y).mean())


def write_nir(net: Network, path: Path) -> None:
    """Write the network as a NIR graph: input, fc1, lif1, fc2, lif2, ..., output.

    NIR integrates v += dt / tau * (v_leak - v + r * x).  With tau in seconds (tau * DT) and
    r = tau in steps, that is the neuron of this module exactly, the gain of x being 1.
    """
    nodes: dict[str, nir.NIRNode] = {
        "input": nir.Input(np.array([net.affine[0].in_features])),
    }
    for i, (affine, tau) in enumerate(zip(net.affine, net.taus, strict=True), start=1):
        shape = affine.out_features
        nodes[f"fc{i}"] = nir.Affine(weight=affine.weight.detach().numpy(), bias=affine.bias.detach().numpy())
        nodes[f"lif{i}"] = nir.LIF(
            tau=np.full(shape, tau * DT),  # float64: float32 would move the decay off 1 - 1/tau
            r=np.full(shape, tau, np.float32),
            v_leak=np.full(shape, V_LEAK, np.float32),
            v_threshold=np.full(shape, V_THRESHOLD, np.float32),
            v_reset=np.full(shape, V_LEAK, np.float32),
        )
    nodes["output"] = nir.Output(np.array([net.affine[-1].out_features]))
    names = list(nodes)
    edges = list(itertools.pairwise(names))
    nir.write(path, nir.NIRGraph(nodes, edges, metadata={"dt": DT}))


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
