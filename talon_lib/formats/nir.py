"""NIR, the Neuromorphic Intermediate Representation (Pedersen et al., Nature Communications 15, 8122, 2024).

NIR's LIF is continuous: ``tau dv/dt = (v_leak - v) + r * x``. Sampled with step dt (forward Euler, as the NIR paper's
simulators do) it is ``v = (1 - dt/tau) * (v - v_leak) + v_leak + (r * dt / tau) * x``: our LIF with a time constant of
``tau / dt`` steps, where the input gain ``r * dt / tau`` is 1 (to 1e-6, what float32 leaves of it). Another gain is
folded into the one Affine or convolution that feeds the neurons, whose weights are then rounded to float32 once; where
none does, or a gain differs within a channel, the file is refused.

Shapes are inferred from the graph's inputs. Those that NIR's convolutions carry or infer are not looked at: they are
wrong for kernels that are not square and for groups.

dt is, in this order: the argument, the ``dt`` in the file's metadata, 1e-4 s (the NIR paper's own).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np

from talon_lib.errors import FormatError, GraphError
from talon_lib.files import whole
from talon_lib.fixed import Array
from talon_lib.formats import hdf5
from talon_lib.ir.conv import Conv1d, Conv2d
from talon_lib.ir.fields import per_neuron
from talon_lib.ir.graph import Graph
from talon_lib.ir.linear import Affine
from talon_lib.ir.neuron import IF, LIF
from talon_lib.ir.node import HINTS, Primitive
from talon_lib.ir.pool import AvgPool2d
from talon_lib.ir.structure import Flatten, Input, Output

DEFAULT_DT = 1e-4


def read(path: Path, dt: float | None = None) -> Graph:
    """Read a NIR file. Raises FormatError naming the node that cannot be represented, and why."""
    tree = hdf5.read(path, "NIR")  # nir's own reader trusts the file
    try:
        # its type checks refuse right convolutions; Graph has its own
        source = nir.dict2NIRNode({**tree["node"], "type_check": False})
    except Exception as error:  # nir raises whatever its constructors and h5py do
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(f"{path}: not a NIR file that nir {nir.__version__} can read ({reason})") from None
    if not isinstance(source, nir.NIRGraph):
        raise FormatError(f"{path}: holds a single {type(source).__name__}, not a graph")
    metadata = {str(key): _plain(value) for key, value in (source.metadata or {}).items()}
    step = dt if dt is not None else float(metadata.get("dt", DEFAULT_DT))
    if not step > 0:
        raise FormatError(f"{path}: dt must be above 0 seconds, not {step}")
    nodes: dict[str, Primitive] = {}
    gains: dict[str, Array] = {}
    for name, node in source.nodes.items():
        reader = _READERS.get(type(node))
        if isinstance(node, nir.SumPool2d):
            raise FormatError(
                f"{path}: node '{name}' is a NIR SumPool2d; write it as AvgPool2d with weights that make up for it"
            )
        if reader is None:
            raise FormatError(f"{path}: node '{name}' is a NIR {type(node).__name__}, which is not supported yet")
        try:
            nodes[name], gain = reader(node, step)
        except GraphError as error:
            raise FormatError(f"{path}: node '{name}' (NIR {type(node).__name__}): {error}") from None
        if gain is not None:
            gains[name] = gain
    edges = [(str(a), str(b)) for a, b in dict.fromkeys(map(tuple, source.edges))]
    try:
        _fold_gains(nodes, edges, gains)
        return Graph(nodes, edges, metadata={**metadata, "dt": step})
    except GraphError as error:
        raise FormatError(f"{path}: {error}") from None


def write(path: Path, graph: Graph, dt: float = DEFAULT_DT) -> None:
    """Write a NIR file whose dt, recorded in the metadata, makes its neurons ours exactly.

    A LIF's r, which is carried and never applied, becomes tau, with which NIR's neuron is ours. Raises FormatError for
    what NIR does not have. The file is written whole or not at all.
    """
    nodes = {}
    for name, node in graph.nodes.items():
        writer = _WRITERS.get(type(node))
        if writer is None:
            raise FormatError(f"{path}: node '{name}': NIR has no {node.kind}")
        if "/" in name:
            raise FormatError(f"{path}: node '{name}': HDF5 takes '/' for a group; rename the node")
        hints = [key for key in HINTS if getattr(node, key) is not None]
        if hints:
            raise FormatError(f"{path}: node '{name}': NIR has no {hints[0]}; give it in the precision instead")
        if isinstance(node, (LIF, IF)) and node.reset != "leak":
            raise FormatError(f"{path}: node '{name}': NIR has no reset by subtraction")
        try:
            nodes[name] = writer(node, graph.input_shapes[name], dt)
        except GraphError as error:
            raise FormatError(f"{path}: node '{name}': {error}") from None
    target = nir.NIRGraph(nodes, list(graph.edges), metadata={**graph.metadata, "dt": dt}, type_check=False)
    try:
        with whole(path) as partial:
            nir.write(partial, target)
    except OSError as error:
        raise FormatError(f"{path}: cannot be written ({str(error).splitlines()[0]})") from None


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, h5py.Empty):
        return None
    return value.item() if isinstance(value, np.generic) else value


# --- reading: one function a node type, each gives the primitive and the gain on its input ---


def _read_input(node: Any, dt: float) -> tuple[Primitive, None]:
    return Input(node.input_type), None


def _read_output(node: Any, dt: float) -> tuple[Primitive, None]:
    return Output(node.output_type), None


def _read_affine(node: Any, dt: float) -> tuple[Primitive, None]:
    return Affine(node.weight, node.bias), None


def _read_linear(node: Any, dt: float) -> tuple[Primitive, None]:
    return Affine(node.weight), None


def _read_conv1d(node: Any, dt: float) -> tuple[Primitive, None]:
    return Conv1d(**_geometry(node)), None


def _read_conv2d(node: Any, dt: float) -> tuple[Primitive, None]:
    return Conv2d(**_geometry(node)), None


def _geometry(node: Any) -> dict[str, Any]:
    """The fields of a convolution; padding may be in words."""
    weight = np.asarray(node.weight)
    fields = {key: getattr(node, key) for key in ("bias", "stride", "dilation")}
    padding: Any = node.padding
    if isinstance(padding, str) and padding == "valid":
        padding = 0
    elif isinstance(padding, str):  # "same": as many outputs as inputs
        if np.any(np.asarray(node.stride) != 1):
            raise GraphError(f"padding '{padding}' is defined for stride 1 alone, not {node.stride}")
        total = np.asarray(node.dilation) * (np.array(weight.shape[2:]) - 1)
        if (total % 2).any():
            raise GraphError(f"padding '{padding}' of kernel {weight.shape[2:]} is uneven, which is not supported")
        padding = total // 2
    groups = np.asarray(node.groups)
    if groups.size != 1:
        raise GraphError(f"groups must be one number, not {node.groups!r}")
    return {"weight": weight, **fields, "padding": padding, "groups": groups.reshape(-1)[0]}


def _read_avgpool(node: Any, dt: float) -> tuple[Primitive, None]:
    return AvgPool2d(node.kernel_size, node.stride, node.padding), None


def _read_flatten(node: Any, dt: float) -> tuple[Primitive, None]:
    return Flatten(int(node.start_dim), int(node.end_dim)), None


def _read_lif(node: Any, dt: float) -> tuple[Primitive, Array]:
    tau = np.asarray(node.tau, np.float64)
    _check_reset(node.v_reset, node.v_leak)
    neurons = LIF(tau=tau / dt, r=node.r, v_leak=node.v_leak, v_threshold=node.v_threshold)
    return neurons, np.asarray(node.r, np.float64) * dt / tau


def _read_if(node: Any, dt: float) -> tuple[Primitive, Array]:
    _check_reset(node.v_reset, np.zeros(1))
    return IF(v_threshold=node.v_threshold), np.asarray(node.r, np.float64) * dt


def _check_reset(v_reset: Any, v_leak: Any) -> None:
    if v_reset is not None and not bool(np.all(np.asarray(v_reset) == np.asarray(v_leak))):
        raise GraphError("v_reset differs from v_leak, which is not supported yet")


_READERS: Mapping[type, Callable[[Any, float], tuple[Primitive, Array | None]]] = {
    nir.Input: _read_input,
    nir.Output: _read_output,
    nir.Affine: _read_affine,
    nir.Linear: _read_linear,
    nir.AvgPool2d: _read_avgpool,
    nir.Conv1d: _read_conv1d,
    nir.Conv2d: _read_conv2d,
    nir.Flatten: _read_flatten,
    nir.LIF: _read_lif,
    nir.IF: _read_if,
}


def _fold_gains(nodes: dict[str, Primitive], edges: list[tuple[str, str]], gains: Mapping[str, Array]) -> None:
    """Scale the outputs of the Affine or convolution that alone feeds a neuron by the gain on the neuron's input."""
    for name, gain in gains.items():
        if np.allclose(gain, 1.0, rtol=1e-6, atol=0.0):  # what float32 leaves of r = tau / dt
            continue
        before = [source for source, target in edges if target == name]
        linear = nodes[before[0]] if len(before) == 1 else None
        alone = sum(source in before for source, _ in edges) == 1
        if not alone or not isinstance(linear, (Affine, Conv1d, Conv2d)):
            raise GraphError(
                f"node '{name}': its gain r*dt/tau is not 1 and no Affine of its own (or convolution) can take it in"
            )
        channels = gain.reshape(len(gain), -1) if gain.ndim > 1 else gain.reshape(-1, 1)
        if not np.allclose(channels, channels[:, :1], rtol=1e-6, atol=0.0):
            raise GraphError(
                f"node '{name}': its gain r*dt/tau differs within a channel, which no convolution can take in"
            )
        if len(channels) not in (1, len(linear.bias)):
            continue  # Graph will say whose shapes do not fit
        scale = np.broadcast_to(channels[:, 0], len(linear.bias))
        weight = linear.weight * scale.reshape(-1, *(1 for _ in linear.weight.shape[1:]))
        nodes[before[0]] = dataclasses.replace(linear, weight=weight, bias=linear.bias * scale)


# --- writing ---


def _write_input(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    return nir.Input(np.array(node.shape))


def _write_output(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    return nir.Output(np.array(node.output_type))


def _write_affine(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    return nir.Affine(node.weight, node.bias)


def _write_conv1d(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    return nir.Conv1d(shape[1], node.weight, node.stride, node.padding, node.dilation, node.groups, node.bias)


def _write_conv2d(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    return nir.Conv2d(shape[1:], node.weight, node.stride, node.padding, node.dilation, node.groups, node.bias)


def _write_avgpool(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    plain = AvgPool2d(node.kernel_size, node.stride, node.padding)  # what NIR's means: it has no other fields
    same = plain.output_shape(shape) == node.output_shape(shape)
    if not same or not np.array_equal(plain.divisors(shape[1:]), node.divisors(shape[1:])):
        raise GraphError("NIR's AvgPool2d has neither ceil_mode nor count_include_pad=False, and here they matter")
    return nir.AvgPool2d(*(np.array(getattr(node, key)) for key in ("kernel_size", "stride", "padding")))


def _write_flatten(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    return nir.Flatten({"input": np.array(shape)}, node.start_dim, node.end_dim)


def _write_lif(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    tau, leak, threshold = (per_neuron(getattr(node, key), shape) for key in ("tau", "v_leak", "v_threshold"))
    steps = tau.astype(np.float64)
    return nir.LIF(tau=steps * dt, r=steps, v_leak=leak, v_threshold=threshold, v_reset=leak)


def _write_if(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    threshold = per_neuron(node.v_threshold, shape)
    return nir.IF(r=np.full(shape, 1.0 / dt), v_threshold=threshold, v_reset=np.zeros_like(threshold))


_WRITERS: Mapping[type, Callable[[Any, tuple[int, ...], float], Any]] = {
    Input: _write_input,
    Output: _write_output,
    Affine: _write_affine,
    AvgPool2d: _write_avgpool,
    Conv1d: _write_conv1d,
    Conv2d: _write_conv2d,
    Flatten: _write_flatten,
    LIF: _write_lif,
    IF: _write_if,
}
