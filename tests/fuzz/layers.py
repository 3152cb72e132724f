"""Random layers: each maker takes what arrives, ``(n, *shape)``, and gives a node that fits it, or None.

Weights and thresholds are scaled by what arrives, so that sums stay near 1 and neurons fire, though not always.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from talon_lib import ir
from talon_lib.fixed import Array
from talon_lib.ir.layout import Shape
from talon_lib.ir.node import Primitive

Rng = np.random.Generator

Maker = Callable[[Rng, Array], "Primitive | None"]


def below(rng: Rng, *most: int) -> tuple[int, ...]:
    """One number from 1 to each of ``most``."""
    return tuple(int(rng.integers(1, max(n, 1) + 1)) for n in most)


def chance(rng: Rng, probability: float) -> bool:
    return bool(rng.random() < probability)


def _scale(x: Array) -> float:
    """The magnitude of what arrives, never 0."""
    return max(float(np.sqrt(np.mean(np.square(x)))), 0.05)


def _weights(rng: Rng, x: Array, shape: Shape) -> Array:
    """Weights that keep the magnitude of sums near 1."""
    fan_in = max(int(np.prod(shape[1:])), 1)
    drawn = rng.normal(0, 1.0 / (_scale(x) * math.sqrt(fan_in)), shape)
    return np.where(rng.random(shape) < 0.1, 0.0, drawn)


def _bias(rng: Rng, count: int) -> Array | None:
    return None if chance(rng, 0.3) else rng.normal(0, 0.3, count)


def _affine(rng: Rng, x: Array) -> Primitive | None:
    if x.ndim != 2:
        return None
    n_out = int(rng.integers(1, 9))
    return ir.Affine(_weights(rng, x, (n_out, x.shape[1])), _bias(rng, n_out))


def _spiking_affine(rng: Rng, x: Array) -> Primitive | None:
    if x.ndim != 2:
        return None
    n_out = int(rng.integers(1, 9))
    return ir.SpikingAffine(
        _weights(rng, x, (n_out, x.shape[1])),
        _bias(rng, n_out),
        weight_bits=int(rng.integers(1, 13)),
        accumulator_bits=int(rng.integers(2, 21)),
    )


def _window(rng: Rng, size: int, longest: int) -> tuple[int, int, int, int]:
    """Kernel, stride, padding and dilation along one dimension; at least one window fits."""
    kernel, stride = below(rng, longest, 3)
    padding, dilation = int(rng.integers(0, 3)), int(rng.choice([1, 1, 2, 3]))
    if dilation * (kernel - 1) + 1 > size + 2 * padding:
        kernel = 1
    return kernel, stride, padding, dilation


def _groups(rng: Rng, channels: int) -> int:
    return int(rng.choice([1, 1, *(n for n in range(1, channels + 1) if channels % n == 0)]))


def _conv1d(rng: Rng, x: Array) -> Primitive | None:
    if x.ndim != 3:
        return None
    channels, length = x.shape[1:]
    kernel, stride, padding, dilation = _window(rng, length, 4)
    groups = _groups(rng, channels)
    out = groups * int(rng.integers(1, 4))
    weight = _weights(rng, x, (out, channels // groups, kernel))
    return ir.Conv1d(weight, _bias(rng, out), stride, padding, dilation, groups)


def _conv2d(rng: Rng, x: Array) -> Primitive | None:
    if x.ndim != 4:
        return None
    channels = x.shape[1]
    kernel, stride, padding, dilation = zip(*(_window(rng, size, 3) for size in x.shape[2:]), strict=True)
    groups = _groups(rng, channels)
    out = groups * int(rng.integers(1, 4))
    weight = _weights(rng, x, (out, channels // groups, *kernel))
    return ir.Conv2d(weight, _bias(rng, out), stride, padding, dilation, groups)


def _sep_conv2d(rng: Rng, x: Array) -> Primitive | None:
    if x.ndim != 4:
        return None
    channels, out = x.shape[1], int(rng.integers(1, 5))
    kernel, stride, padding, dilation = zip(*(_window(rng, size, 3) for size in x.shape[2:]), strict=True)
    depthwise = _weights(rng, x, (channels, 1, *kernel))
    pointwise = rng.normal(0, 1.0 / math.sqrt(channels), (out, channels, 1, 1))
    biases = _bias(rng, channels), _bias(rng, out)
    return ir.SepConv2d(depthwise, pointwise, *biases, stride=stride, padding=padding, dilation=dilation)


def _pool(rng: Rng, x: Array) -> dict[str, Any] | None:
    if x.ndim != 4:
        return None
    kernel = below(rng, *(min(size, 4) for size in x.shape[2:]))
    return {
        "kernel_size": kernel,
        "stride": None if chance(rng, 0.6) else below(rng, 3, 3),
        "padding": tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel) if chance(rng, 0.4) else 0,
        "ceil_mode": chance(rng, 0.3),
    }


def _max_pool(rng: Rng, x: Array) -> Primitive | None:
    fields = _pool(rng, x)
    if fields is None:
        return None
    dilation = 2 if chance(rng, 0.1) and min(x.shape[2:]) > 2 * max(fields["kernel_size"]) else 1
    return ir.MaxPool2d(**fields, dilation=dilation)


def _avg_pool(rng: Rng, x: Array) -> Primitive | None:
    fields = _pool(rng, x)
    return None if fields is None else ir.AvgPool2d(**fields, count_include_pad=chance(rng, 0.7))


def _sum_pool(rng: Rng, x: Array) -> Primitive | None:
    fields = _pool(rng, x)
    return None if fields is None else ir.SumPool2d(**fields)


def _upsample(rng: Rng, x: Array) -> Primitive | None:
    if x.ndim != 4:
        return None
    factors = below(rng, 3, 3)
    if chance(rng, 0.3):
        return ir.Upsample(size=tuple(n * f for n, f in zip(x.shape[2:], factors, strict=True)))
    return ir.Upsample(factors)


def _flatten(rng: Rng, x: Array) -> Primitive | None:
    rank = x.ndim - 1
    if rank == 1:
        return None
    return (
        ir.Flatten()
        if rank == 2 or chance(rng, 0.7)
        else ir.Flatten(*[(1, 2), (1, -1), (0, 1)][int(rng.integers(0, 3))])
    )


def _spread(rng: Rng, shape: Shape) -> Shape:
    """The shape of a neuron's parameters: one value, one per channel, or one per neuron."""
    return [(), shape[:1], shape][int(rng.integers(0, 3))]


def _threshold(rng: Rng, x: Array, shape: Shape) -> Array:
    """Thresholds that a share of what arrives reaches within a few steps."""
    typical = max(float(np.quantile(x, rng.uniform(0.6, 0.95))), 0.2 * _scale(x))
    return typical * rng.uniform(0.6, 2.0, shape)


def _firing(rng: Rng, x: Array, large: Shape) -> dict[str, Any]:
    """Threshold and reset of neurons whose parameters have the shape ``large``, or one value."""
    threshold = _threshold(rng, x, large)
    found: dict[str, Any] = {"v_threshold": threshold, "reset": str(rng.choice(["leak", "subtract"]))}
    if found["reset"] == "leak" and chance(rng, 0.3):
        found["v_reset"] = rng.uniform(-0.6, 0.6, large if chance(rng, 0.5) else ()) * float(np.min(threshold))
    return found | {"reset_delay": chance(rng, 0.3), "strict": chance(rng, 0.4)}


def _decays(rng: Rng, lowest: float, large: Shape) -> dict[str, Any]:
    """Time constant and leak of neurons; the leak lies below ``lowest``."""
    tau, leak = (large if chance(rng, 0.7) else () for _ in range(2))
    return {
        "tau": rng.uniform(1, 12, tau) if chance(rng, 0.9) else np.ones(tau),
        "v_leak": rng.uniform(-0.6, 0.5, leak) * lowest if chance(rng, 0.7) else np.zeros(leak),
    }


def _lif(rng: Rng, x: Array) -> Primitive:
    large = _spread(rng, x.shape[1:])
    firing = _firing(rng, x, large)
    return ir.LIF(r=1.0, **_decays(rng, float(np.min(firing["v_threshold"])), large), **firing)


def _if(rng: Rng, x: Array) -> Primitive:
    return ir.IF(**_firing(rng, x, _spread(rng, x.shape[1:])))


def _cuba_lif(rng: Rng, x: Array) -> Primitive:
    large = _spread(rng, x.shape[1:])
    firing = _firing(rng, x, large)
    decays = _decays(rng, float(np.min(firing["v_threshold"])), large)
    return ir.CubaLIF(tau_syn=rng.uniform(1, 5, large if chance(rng, 0.5) else ()), **decays, **firing)


def _li(rng: Rng, x: Array) -> Primitive:
    return ir.LI(**_decays(rng, _scale(x), _spread(rng, x.shape[1:])))


def _cuba_li(rng: Rng, x: Array) -> Primitive:
    large = _spread(rng, x.shape[1:])
    return ir.CubaLI(tau_syn=rng.uniform(1, 5, large), **_decays(rng, _scale(x), large))


def _threshold_alone(rng: Rng, x: Array) -> Primitive:
    return ir.Threshold(_threshold(rng, x, _spread(rng, x.shape[1:])))


def _scaling(rng: Rng, x: Array) -> Primitive:
    return ir.Scale(rng.normal(0, 1, _spread(rng, x.shape[1:])) / _scale(x))


def _relu(rng: Rng, x: Array) -> Primitive:
    slope = 0.0 if chance(rng, 0.5) else float(rng.choice([0.25, 0.1, -0.375, 1.5]))
    return ir.ReLU(features=x.shape[1] if chance(rng, 0.3) else None, negative_slope=slope)


def _prelu(rng: Rng, x: Array) -> Primitive:
    return ir.PReLU(None, rng.normal(0, 0.5, _spread(rng, x.shape[1:])))


def _gelu(rng: Rng, x: Array) -> Primitive:
    return ir.GELU(approximate=chance(rng, 0.5))


def _elu(rng: Rng, x: Array) -> Primitive:
    return ir.ELU(alpha=float(rng.uniform(0.3, 1.5)))


def _batch_norm(rng: Rng, x: Array, kind: type[Primitive]) -> Primitive:
    channels = x.shape[1]
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    if chance(rng, 0.15):  # the identity, which hls4ml removes
        return kind(channels, None, None, np.zeros(channels), np.ones(channels), eps=1e-9)
    weight = None if chance(rng, 0.3) else rng.normal(0, 1, channels)
    variance = (x.var(axis=axes) + 0.05) * rng.uniform(0.5, 2, channels)
    return kind(channels, weight, _bias(rng, channels), x.mean(axis=axes), variance)


def _batch_norm1d(rng: Rng, x: Array) -> Primitive | None:
    return _batch_norm(rng, x, ir.BatchNorm1d) if x.ndim < 4 else None


def _batch_norm2d(rng: Rng, x: Array) -> Primitive | None:
    return _batch_norm(rng, x, ir.BatchNorm2d) if x.ndim == 4 else None


LAYERS: dict[str, Maker] = {
    "SepConv2d": _sep_conv2d,
    "Conv1d": _conv1d,
    "MaxPool2d": _max_pool,
    "AvgPool2d": _avg_pool,
    "SumPool2d": _sum_pool,
    "Upsample": _upsample,
    "CubaLIF": _cuba_lif,
    "CubaLI": _cuba_li,
    "LI": _li,
    "I": lambda rng, x: ir.I(),
    "Threshold": _threshold_alone,
    "Scale": _scaling,
    "BatchNorm2d": _batch_norm2d,
    "SpikingAffine": _spiking_affine,
    "BatchNorm1d": _batch_norm1d,
    "PReLU": _prelu,
    "Sigmoid": lambda rng, x: ir.Sigmoid(),
    "Tanh": lambda rng, x: ir.Tanh(),
    "GELU": _gelu,
    "ELU": _elu,
    "HybridRegion": lambda rng, x: ir.HybridRegion(str(rng.choice(["snn", "ann"]))),
    "Dropout": lambda rng, x: ir.Dropout(p=0.3),
    "Conv2d": _conv2d,
    "Flatten": _flatten,
    "ReLU": _relu,
    "LIF": _lif,
    "IF": _if,
    "Affine": _affine,
}
"""What takes one branch."""
