"""PyTorch and snnTorch: a ``torch.nn.Sequential`` becomes a Graph. docs/from_torch.md lists what is taken.

A module's parameters become float32, whatever their type and device; batch norms take their running statistics and
dropouts drop nothing, in training mode too. What a module has remembered of earlier samples is not looked at.

snnTorch's step (snntorch/_neurons/leaky.py and synaptic.py, 0.9.4 and 1.0.0), with a spike where v > threshold:

    subtract            v = beta * v + x - threshold where the step before had spiked
    zero (Leaky)        v = beta * v + x, with v taken as 0 where the step before had spiked
    zero (Synaptic)     v = 0 where the step before had spiked, whatever arrives
    none                v = beta * v + x
    reset_delay=False   the reset follows the spike at once; where "subtract" leaves v above the threshold, the neuron's
                        next spike takes twice the threshold

x is the input, a Synaptic's the current ``i = alpha * i + x``. Ours is the same but for these: snnTorch holds a Leaky's
membrane before its reset to zero, we hold it after it, and both hand on the same spikes; a reset by subtraction without
delay is refused unless the caller takes ours for it; and rounding, for snnTorch rounds after each operation and we once
a step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from talon_lib.errors import GraphError, MissingToolError, UnsupportedError
from talon_lib.fixed import Array
from talon_lib.ir.activation import ELU, GELU, Dropout, PReLU, ReLU, Sigmoid, Softmax, Tanh
from talon_lib.ir.conv import Conv1d, Conv2d
from talon_lib.ir.graph import Graph
from talon_lib.ir.layout import Shape
from talon_lib.ir.linear import Affine
from talon_lib.ir.neuron import IF, LI, LIF, CubaLI, CubaLIF, I, Threshold
from talon_lib.ir.node import Primitive
from talon_lib.ir.norm import BatchNorm1d, BatchNorm2d, LayerNorm, Scale
from talon_lib.ir.pool import AvgPool2d, MaxPool2d
from talon_lib.ir.structure import Flatten, Input, Output
from talon_lib.ir.upsample import Upsample

LEAST_SNNTORCH = (0, 9, 4)
"""The first version whose neurons step as the module says."""

_LONGEST = float(np.finfo(np.float32).max)

_Nodes = Mapping[str, Primitive]
"""What a module becomes, in order: primitives by what their names add to the module's path."""

_Reader = Callable[[Any, Shape], _Nodes]


def from_torch(module: Any, input_shape: Any, *, approximate_reset: bool = False) -> Graph:
    """The Graph of a ``torch.nn.Sequential``, whose nodes have the modules' paths for names ("features.0").

    module: Sequentials in it are opened; ``snntorch.Leaky`` and ``Synaptic`` hand on their spikes. input_shape: of one
    sample, without batch, channels first. approximate_reset: take neurons that subtract their threshold without delay
    (``reset_delay=False``) as ours, which always spike above their threshold; where that leaves a membrane above it,
    snnTorch's next spike takes twice the threshold.

    The Graph runs from "input" to "output", with a "_" behind a name that a module has already. Raises UnsupportedError
    or GraphError naming the module, and MissingToolError where torch is not installed.
    """
    nn = _torch().nn
    if not _is_plain_sequential(nn, module):
        raise UnsupportedError(
            f"from_torch takes a torch.nn.Sequential, not a {type(module).__name__}; put the layers into one, in the "
            "order in which they run"
        )
    entry = Input(input_shape)
    neurons = _neuron_readers(approximate_reset)
    readers = {**_layer_readers(nn), **neurons}
    nodes: dict[str, Primitive] = {}
    shape, stateful = entry.shape, set()
    for path, layer in _leaves(nn, module):
        kind = nn.utils.parametrize.type_before_parametrizations(layer)
        try:
            if kind not in readers:
                raise UnsupportedError("it is not supported; docs/from_torch.md lists what is")
            if kind in neurons and id(layer) in stateful:
                raise UnsupportedError("it stands in two places, which share one state; make one for each")
            stateful.add(id(layer))
            for suffix, node in readers[kind](layer, shape).items():
                nodes[path + suffix] = node
                shape = node.output_shape(shape)
        except (GraphError, UnsupportedError) as error:
            raise type(error)(f"module '{path}' ({kind.__name__}): {error}") from None
    first, last = _free("input", nodes), _free("output", nodes)
    names = [first, *nodes, last]
    return Graph({first: entry, **nodes, last: Output()}, list(itertools.pairwise(names)))


def time_constants(decay: Array) -> Array:
    """The tau, in steps, whose ``1 - 1/tau`` is ``decay`` (0 to 1), in float32.

    A decay of 0.5 to 1, itself in float32, is given back exactly when ``1 - 1/tau`` is rounded to float32, for tau is
    off by 2**-24 of itself at most, and so 1/tau by less than half a unit in the last place of the decay. Below 0.5 it
    is given back to within 2**-24, for tau has no more bits.
    """
    with np.errstate(divide="ignore"):
        tau: Array = np.minimum(1.0 / (1.0 - np.asarray(decay, np.float64)), _LONGEST).astype(np.float32)
        return tau


# --- the walk ---


def _torch() -> Any:
    try:
        import torch  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingToolError("torch is not installed; run: pip install 'talon-dse[torch]'") from None
    return torch


def _is_plain_sequential(nn: Any, module: Any) -> bool:
    """Whether it runs its children one after the other, and does nothing else."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _leaves(nn: Any, module: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The modules that are no Sequential, by their paths in ``state_dict``, in the order in which they run."""
    if module is not None and module._forward_pre_hooks:
        raise UnsupportedError(
            f"module '{path}' ({type(module).__name__}): it has forward pre-hooks, which may change it in every call "
            "(pruning, weight_norm); make their effect permanent, e.g. by torch.nn.utils.prune.remove"
        )
    if not _is_plain_sequential(nn, module):
        yield path, module
        return
    for name, child in module._modules.items():  # named_children leaves out what stands there twice
        yield from _leaves(nn, child, f"{path}.{name}" if path else name)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "_"
    return name


def _values(name: str, tensor: Any) -> Array | None:
    """The numbers of a tensor; None for None."""
    if tensor is None:
        return None
    if tensor.is_meta:
        raise GraphError(f"{name} is on the meta device, without values; load them first")
    if tensor.is_complex():
        raise GraphError(f"{name} is complex")
    found: Array = tensor.detach().cpu().double().numpy()
    return found


# --- layers ---


def _layer_readers(nn: Any) -> dict[type, _Reader]:
    dropouts = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
    return {
        nn.Identity: lambda layer, shape: {},
        nn.Linear: lambda layer, shape: {"": Affine(**_weights(layer))},
        nn.Conv1d: lambda layer, shape: {"": Conv1d(**_weights(layer), **_geometry(layer))},
        nn.Conv2d: lambda layer, shape: {"": Conv2d(**_weights(layer), **_geometry(layer))},
        nn.MaxPool2d: _max_pool,
        nn.AvgPool2d: _average_pool,
        nn.AdaptiveAvgPool2d: _adaptive_pool,
        nn.Upsample: _upsample,
        nn.Flatten: _flatten,
        nn.ReLU: lambda layer, shape: {"": ReLU()},
        nn.LeakyReLU: lambda layer, shape: {"": ReLU(negative_slope=layer.negative_slope)},
        nn.PReLU: lambda layer, shape: {"": PReLU(None, _values("weight", layer.weight))},
        nn.Sigmoid: lambda layer, shape: {"": Sigmoid()},
        nn.Tanh: lambda layer, shape: {"": Tanh()},
        nn.GELU: lambda layer, shape: {"": GELU(approximate=layer.approximate == "tanh")},
        nn.ELU: lambda layer, shape: {"": ELU(alpha=layer.alpha)},
        nn.Softmax: _softmax,
        nn.BatchNorm1d: lambda layer, shape: {"": BatchNorm1d(**_statistics(layer))},
        nn.BatchNorm2d: lambda layer, shape: {"": BatchNorm2d(**_statistics(layer))},
        nn.LayerNorm: lambda layer, shape: {
            "": LayerNorm(np.array(layer.normalized_shape), **_weights(layer), eps=layer.eps)
        },
        **{kind: lambda layer, shape: {"": Dropout(p=layer.p)} for kind in dropouts},
    }


def _weights(layer: Any) -> dict[str, Any]:
    return {name: _values(name, getattr(layer, name)) for name in ("weight", "bias")}


def _geometry(layer: Any) -> dict[str, Any]:
    """The fields of a convolution; padding may be in words."""
    if layer.padding_mode != "zeros":
        raise UnsupportedError(f"padding_mode '{layer.padding_mode}' is not supported; 'zeros' is")
    padding = layer.padding
    if padding == "valid":
        padding = (0,) * len(layer.kernel_size)
    elif padding == "same":
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        if any(n % 2 for n in total):
            raise UnsupportedError(f"padding 'same' of kernel {layer.kernel_size} is uneven, which is not supported")
        padding = tuple(n // 2 for n in total)
    return {"stride": layer.stride, "padding": padding, "dilation": layer.dilation, "groups": layer.groups}


def _max_pool(layer: Any, shape: Shape) -> _Nodes:
    if layer.return_indices:
        raise UnsupportedError("return_indices is not supported")
    fields = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    return {"": MaxPool2d(**{name: getattr(layer, name) for name in fields})}


def _average_pool(layer: Any, shape: Shape) -> _Nodes:
    if layer.divisor_override is not None:
        raise UnsupportedError("divisor_override is not supported; put a Linear or a convolution after the pool")
    fields = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
    return {"": AvgPool2d(**{name: getattr(layer, name) for name in fields})}


def _adaptive_pool(layer: Any, shape: Shape) -> _Nodes:
    if len(shape) != 3:
        raise GraphError(f"it takes inputs (channels, h, w), not {shape}")
    size = layer.output_size
    wanted = size if isinstance(size, (tuple, list)) else (size, size)
    windows = [fixed_window(n, n if out is None else out) for n, out in zip(shape[1:], wanted, strict=True)]
    if None in windows:
        raise UnsupportedError(
            f"output_size {size} cuts {shape[1]} x {shape[2]} into windows of unequal size or stride"
        )
    kernel, stride = zip(*windows, strict=True)
    return {"": AvgPool2d(kernel, stride)}


def fixed_window(size: int, count: int) -> tuple[int, int] | None:
    """(size, stride) of the ``count`` windows that adaptive pooling lays over ``size`` values; None where they vary.

    Window i goes from ``floor(i * size / count)`` up to ``ceil((i + 1) * size / count)``.
    """
    starts = [i * size // count for i in range(count)]
    sizes = {-(-(i + 1) * size // count) - start for i, start in enumerate(starts)}
    strides = {after - before for before, after in itertools.pairwise(starts)} or sizes
    if len(sizes) != 1 or len(strides) != 1 or 0 in strides:
        return None
    return next(iter(sizes)), next(iter(strides))


def _upsample(layer: Any, shape: Shape) -> _Nodes:
    size = layer.size
    if layer.recompute_scale_factor and size is None:  # places follow from the size alone then
        size = Upsample(layer.scale_factor).output_shape(shape)[1:]
    return {"": Upsample(layer.scale_factor, size, layer.mode, bool(layer.align_corners))}


def _flatten(layer: Any, shape: Shape) -> _Nodes:
    """PyTorch counts the batch, which is its dimension 0."""
    start, end = (dim - 1 if dim > 0 else dim for dim in (layer.start_dim, layer.end_dim))
    if 0 in (layer.start_dim, layer.end_dim):
        raise UnsupportedError("it joins the batch with other dimensions; begin at start_dim=1")
    return {"": Flatten(start, end)}


def _softmax(layer: Any, shape: Shape) -> _Nodes:
    if layer.dim is None or layer.dim == 0:
        raise UnsupportedError("its dim must be that of the classes (dim=1 or dim=-1), and the batch's is 0")
    return {"": Softmax(dim=layer.dim - 1 if layer.dim > 0 else layer.dim)}


def _statistics(layer: Any) -> dict[str, Any]:
    if layer.running_mean is None or layer.running_var is None:
        raise UnsupportedError("it has no running statistics (track_running_stats=False), and so needs whole batches")
    tensors = {name: _values(name, getattr(layer, name)) for name in ("weight", "bias", "running_mean", "running_var")}
    return {"num_features": layer.num_features, **tensors, "eps": layer.eps}


# --- neurons ---


def _neuron_readers(approximate_reset: bool) -> dict[type, _Reader]:
    """snnTorch's, where it is installed; without it there are none in the Sequential either."""
    try:
        import snntorch  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError as error:
        if error.name != "snntorch":
            raise
        return {}
    numbers = [int(part) if part.isdigit() else 0 for part in snntorch.__version__.split(".")[:3]]
    if tuple(numbers) < LEAST_SNNTORCH:
        least = ".".join(map(str, LEAST_SNNTORCH))
        raise MissingToolError(
            f"snntorch {snntorch.__version__} resets its neurons otherwise than {least} and later; run: "
            "pip install 'talon-dse[torch]'"
        )
    return {
        snntorch.Leaky: partial(_spiking, approximate_reset=approximate_reset),
        snntorch.Synaptic: partial(_spiking, approximate_reset=approximate_reset, synaptic=True),
    }


_STATE_FUNCTIONS = {"subtract": "_base_sub", "zero": "_base_zero", "none": "_base_int"}


def _spiking(layer: Any, shape: Shape, *, approximate_reset: bool, synaptic: bool = False) -> _Nodes:
    mechanism = _checked_mechanism(layer)
    tau = {"tau": _decays("beta", layer, shape)}
    if synaptic:
        tau["tau_syn"] = _decays("alpha", layer, shape)
    threshold = {"v_threshold": _spread("threshold", layer.threshold, shape)}
    nodes: dict[str, Primitive]
    if mechanism == "none":  # the membrane is never changed by a spike, and so can be had first
        nodes = {
            ".membrane": _integrator(compact(tau)),
            "": Threshold(compact(threshold)["v_threshold"]),
        }
    else:
        firing = _firing(layer, mechanism, synaptic, approximate_reset)
        nodes = {"": _neuron(compact({**tau, **threshold}), firing)}
    factor = compact({"scale": _spread("graded_spikes_factor", layer.graded_spikes_factor, shape)})["scale"]
    if (factor != 1).any():
        nodes[".graded"] = Scale(factor)
    return nodes


def _checked_mechanism(layer: Any) -> str:
    """The reset mechanism: "subtract", "zero" or "none". Raises UnsupportedError for what is no neuron of ours."""
    if layer.inhibition:
        raise UnsupportedError("inhibition lets one neuron fire at a time, which is not supported")
    if layer.state_quant:
        raise UnsupportedError("state_quant is not supported; give the membrane's type in the precision instead")
    probe = _torch().tensor([-2.0, -1e-30, 0.0, 1e-30, 2.0])
    try:
        fired = layer.spike_grad(probe).tolist()
    except Exception as error:  # it may be any function
        raise UnsupportedError(f"its spike_grad fails ({error})") from error
    if fired != [0.0, 0.0, 0.0, 1.0, 1.0]:
        raise UnsupportedError("its spike_grad is no step (0 up to the threshold, 1 above it) in the forward pass")
    mechanism = list(_STATE_FUNCTIONS)[int(layer.reset_mechanism_val)]
    if layer.state_function.__name__ != _STATE_FUNCTIONS[mechanism]:
        raise UnsupportedError(
            f"its reset_mechanism was changed to '{mechanism}' after it was made, which snnTorch does by half; make it "
            f"with reset_mechanism='{mechanism}'"
        )
    return mechanism


def _firing(layer: Any, mechanism: str, synaptic: bool, approximate_reset: bool) -> dict[str, Any]:
    """How the neurons reset, in our fields."""
    if layer.reset_delay:
        if mechanism == "subtract":
            return {"reset": "subtract", "reset_delay": True}
        # a Leaky starts the next step from 0, as ours does that is reset at once; a Synaptic is 0 for all of that step
        return {"reset": "leak", "reset_delay": synaptic}
    least = float(_values("threshold", layer.threshold).min())  # type: ignore[union-attr]
    if least < 0:
        raise UnsupportedError(f"reset_delay=False with a threshold below 0 ({least:g}) resets neurons that are silent")
    if mechanism == "subtract" and not approximate_reset:
        raise UnsupportedError(
            "with reset_delay=False and 'subtract' a membrane that a spike leaves above its threshold must reach twice "
            "of it for the next one; pass approximate_reset=True for neurons that need not, or train with "
            "reset_delay=True"
        )
    return {"reset": "subtract" if mechanism == "subtract" else "leak"}


def _neuron(values: Mapping[str, Any], firing: Mapping[str, Any]) -> Primitive:
    if "tau_syn" in values:
        return CubaLIF(**values, v_leak=0.0, strict=True, **firing)
    if _never_decays(values["tau"]):
        return IF(values["v_threshold"], strict=True, **firing)
    return LIF(**values, r=1.0, v_leak=0.0, strict=True, **firing)


def _integrator(values: Mapping[str, Any]) -> Primitive:
    if "tau_syn" in values:
        return CubaLI(**values, v_leak=0.0)
    return I() if _never_decays(values["tau"]) else LI(**values, v_leak=0.0)


def _never_decays(tau: Array) -> bool:
    return bool((tau >= np.float32(_LONGEST)).all())


def _decays(name: str, layer: Any, shape: Shape) -> Array:
    """The time constants of ``beta`` or ``alpha``, which snnTorch clamps to 0 to 1 in every step."""
    return time_constants(np.clip(_spread(name, getattr(layer, name), shape), 0.0, 1.0))


def _spread(name: str, tensor: Any, shape: Shape) -> Array:
    """A parameter for every neuron: PyTorch lines its last dimension up with the input's last one, the width."""
    values = _values(name, tensor)
    assert values is not None, "snnTorch keeps all of them as tensors"
    try:
        spread: Array = np.broadcast_to(values, (1, *shape))[0]
        return spread
    except ValueError:
        raise GraphError(
            f"{name} has shape {values.shape}, which does not broadcast over a batch of inputs {shape}; "
            f"one value for each channel has shape {(shape[0], *(1 for _ in shape[1:]))}"
        ) from None


def compact(values: Mapping[str, Array]) -> dict[str, Any]:
    """Parameters of one value per neuron in the shortest form that says the same, as neurons take it.

    One value where all are equal; the others have one per channel each, or else one per neuron each.
    """
    varying = {name: v for name, v in values.items() if (v != v.flat[0]).any()}
    by_channel = all(
        (v == v.reshape(len(v), -1)[:, :1].reshape(-1, *(1 for _ in v.shape[1:]))).all() for v in varying.values()
    )
    return {
        name: v.reshape(-1)[:1] if name not in varying else v.reshape(len(v), -1)[:, 0] if by_channel else v
        for name, v in values.items()
    }
