"""NIR, the Neuromorphic Intermediate Representation (Pedersen et al., Nature Communications 15, 8122, 2024).

NIR's neurons are continuous; here they are sampled with step dt by forward Euler, as its paper's simulators do. Its
LIF, ``tau dv/dt = (v_leak - v) + r * x``, becomes ``v = (1 - dt/tau) * (v - v_leak) + v_leak + (r * dt / tau) * x``:
our LIF with a time constant of ``tau / dt`` steps and an input gain of ``r * dt / tau``. Gains of the others: IF and I
``r * dt``, LI as LIF, CubaLIF and CubaLI ``(w_in * dt / tau_syn) * (r * dt / tau_mem)``; their membrane reads the
current of the same step. A gain that is not 1 (to 1e-6, what float32 leaves of it) is folded into the one Affine or
convolution that feeds the neurons alone, whose weights are then rounded to float32 once; where there is none, or the
gain differs within a channel, a Scale node before the neurons holds it (``<name>.gain``).

A neuron spikes above its threshold (``strict``), as NIR's equations say, unless the file's metadata has
``spike_comparison`` ">=", which is how files are marked here whose neurons spike at it. v_reset is where the reset
goes, 0 where a file has none. Subgraphs are opened: their nodes are called ``<subgraph>.<node>``.

Shapes are inferred from the graph's inputs. Those that other nodes carry are not looked at, for NIR's are wrong for
kernels that are not square and for groups; only the number of an output's dimensions must be right.

dt is, in this order: the argument, the ``dt`` in the file's metadata, 1e-4 s (the NIR paper's own).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from talon_lib.ir.delay import Delay
from talon_lib.ir.fields import per_neuron
from talon_lib.ir.graph import Graph
from talon_lib.ir.linear import Affine
from talon_lib.ir.neuron import IF, LI, LIF, CubaLI, CubaLIF, I, Threshold
from talon_lib.ir.node import HINTS, Primitive
from talon_lib.ir.norm import Scale
from talon_lib.ir.pool import AvgPool2d, SumPool2d
from talon_lib.ir.structure import Flatten, Input, Output

DEFAULT_DT = 1e-4

MOST_LEVELS = 16
"""Subgraphs within subgraphs that are opened."""

COMPARISON = "spike_comparison"
"""The key of a file's metadata that says when its neurons spike: ">" (also where it is missing) or ">="."""


def read(path: Path, dt: float | None = None) -> Graph:
    """Read a NIR file. Raises FormatError naming the node that cannot be represented, and why."""
    tree = hdf5.read(path, "NIR")  # nir's own reader trusts the file
    try:
        _check_nodes(tree["node"].get("nodes", {}))
        # its type checks refuse right convolutions; Graph has its own
        source = nir.dict2NIRNode({**tree["node"], "type_check": False})
    except GraphError as error:
        raise FormatError(f"{path}: {error}") from None
    except Exception as error:  # nir raises whatever its constructors and h5py do
        reason = hdf5.one_line(error)
        raise FormatError(f"{path}: not a NIR file that nir {nir.__version__} can read ({reason})") from None
    if not isinstance(source, nir.NIRGraph):
        raise FormatError(f"{path}: holds a single {type(source).__name__}, not a graph")
    metadata = {str(key): _plain(value) for key, value in (source.metadata or {}).items()}
    step = _seconds(path, dt if dt is not None else metadata.get("dt", DEFAULT_DT))
    cyclic_config = metadata.pop("cyclic_config", None)
    comparison = metadata.get(COMPARISON, ">")
    if comparison not in (">", ">="):
        raise FormatError(f"{path}: {COMPARISON} in the metadata must be '>' or '>=', not {comparison!r}")
    try:
        found, edges = _opened(source)
        nodes, gains = _nodes(found, _Reading(step, comparison == ">"))
        edges = _with_gains(nodes, edges, gains)
        cyclic = not Graph(nodes, edges, allow_cycles=True).is_dag
        graph = Graph(nodes, edges, {**metadata, "dt": step}, cyclic, cyclic_config)
        _check_outputs(graph, found)
    except GraphError as error:
        raise FormatError(f"{path}: {error}") from None
    return graph


def write(path: Path, graph: Graph, dt: float = DEFAULT_DT) -> None:
    """Write a NIR file whose dt, recorded in the metadata, makes its neurons ours exactly.

    A LIF's r, which is carried and never applied, becomes tau, with which NIR's neuron is ours. Raises FormatError for
    what NIR does not have. The file is written whole or not at all.
    """
    nodes = {}
    dt = _seconds(path, dt)
    try:
        comparison = _comparison(graph)
        metadata = _metadata(graph)
        for name, node in graph.nodes.items():
            nodes[name] = _written(graph, name, node, dt)
    except GraphError as error:
        raise FormatError(f"{path}: {error}") from None
    metadata |= {"dt": dt, **({COMPARISON: comparison} if comparison else {})}
    target = nir.NIRGraph(nodes, list(graph.edges), metadata=metadata, type_check=False)
    try:
        with whole(path) as partial:
            nir.write(partial, target)
    except (OSError, TypeError, ValueError) as error:  # of the place, or of what the metadata holds
        raise FormatError(f"{path}: cannot be written ({hdf5.one_line(error)})") from None


def _seconds(path: Path, dt: Any) -> float:
    """The timestep in seconds. Raises FormatError where it is none."""
    number = isinstance(dt, (int, float, np.number)) and not isinstance(dt, bool)
    if not number or not 0 < dt < float("inf"):
        raise FormatError(f"{path}: dt must be a number of seconds above 0, not {dt!r}")
    return float(dt)


def _metadata(graph: Graph) -> dict[str, Any]:
    """The graph's metadata and cyclic_config as NIR can hold them; None is left out."""
    found = {key: value for key, value in graph.metadata.items() if value is not None and key != COMPARISON}
    for key in found:
        if not isinstance(key, str) or not hdf5.is_name(key):
            raise GraphError(f"metadata {key!r}: HDF5 takes texts without '/' and unprintable characters for names")
    return found | ({"cyclic_config": dict(graph.cyclic_config)} if graph.cyclic_config else {})


def _comparison(graph: Graph) -> str | None:
    """How all neurons of the graph compare with their thresholds; None where it has none."""
    neurons = {name: node for name, node in graph.nodes.items() if isinstance(node, (LIF, IF, CubaLIF))}
    kinds = {node.strict for node in neurons.values()}
    if len(kinds) > 1:
        odd = next(name for name, node in neurons.items() if node.strict)
        raise GraphError(
            f"node '{odd}': it spikes above its threshold and others at theirs; NIR has one rule for a file"
        )
    return None if not kinds else ">" if kinds.pop() else ">="


def _written(graph: Graph, name: str, node: Primitive, dt: float) -> Any:
    writer = _WRITERS.get(type(node))
    if writer is None:
        raise GraphError(f"node '{name}': NIR has no {node.kind}")
    if not hdf5.is_name(name):
        raise GraphError(f"node '{name}': HDF5 takes no '/' and no unprintable characters in a name; rename it")
    hints = [key for key in HINTS if getattr(node, key) is not None]
    if hints:
        raise GraphError(f"node '{name}': NIR has no {hints[0]}; give it in the precision instead")
    if isinstance(node, (LIF, IF, CubaLIF)):
        if node.reset != "leak":
            raise GraphError(f"node '{name}': NIR has no reset by subtraction")
        if node.reset_delay:
            raise GraphError(f"node '{name}': NIR has no reset that waits for the next step")
    try:
        return writer(node, graph.input_shapes[name], dt)
    except GraphError as error:
        raise GraphError(f"node '{name}': {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, h5py.Empty):
        return None
    return value.item() if isinstance(value, np.generic) else value


# --- reading ---


@dataclass(frozen=True)
class _Reading:
    """How a file is read: its time step in seconds, and whether neurons spike above their threshold alone."""

    dt: float
    strict: bool


def _check_nodes(nodes: hdf5.Tree, place: str = "") -> None:
    """Raise GraphError naming a node that nir cannot make, for it does not say which."""
    known = {kind.__name__ for kind in _READERS}
    for name, fields in nodes.items():
        kind = fields["type"]
        if kind == "NIRGraph":
            _check_nodes(fields["nodes"], f"{place}{name}.")
            continue
        if kind not in known:
            raise GraphError(f"node '{place}{name}' is a NIR {kind}, which is not supported")
        try:
            nir.dict2NIRNode(dict(fields))  # it takes fields out
        except Exception as error:
            raise GraphError(f"node '{place}{name}' (NIR {kind}): {hdf5.one_line(error)}") from None


_Read = tuple[Primitive, "Array | None"]
"""A primitive, and the gain on its input."""


def _opened(source: Any, depth: int = 0) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The nodes and edges of a graph whose subgraphs are opened: edges lead through their inputs and outputs."""
    if depth > MOST_LEVELS:
        raise GraphError(f"its subgraphs are nested more than {MOST_LEVELS} deep")
    nodes: dict[str, Any] = {}
    edges = [(str(a), str(b)) for a, b in dict.fromkeys(map(tuple, source.edges))]
    doors: dict[str, tuple[str, str]] = {}
    for name, node in source.nodes.items():
        if not isinstance(node, nir.NIRGraph):
            nodes[name] = node
            continue
        inner, inside = _opened(node, depth + 1)
        ends = [[key for key, found in inner.items() if isinstance(found, kind)] for kind in (nir.Input, nir.Output)]
        for kind, keys in zip(("Input", "Output"), ends, strict=True):
            if len(keys) != 1:
                raise GraphError(f"subgraph '{name}' has {len(keys)} {kind} nodes, and can be opened with 1 alone")
        for key, found in inner.items():
            if f"{name}.{key}" in source.nodes or f"{name}.{key}" in nodes:
                raise GraphError(f"node '{name}.{key}' has the name that a node of subgraph '{name}' gets; rename it")
            nodes[f"{name}.{key}"] = found
        edges += [(f"{name}.{a}", f"{name}.{b}") for a, b in inside]
        doors[name] = f"{name}.{ends[0][0]}", f"{name}.{ends[1][0]}"
    edges = [(doors.get(a, (a, a))[1], doors.get(b, (b, b))[0]) for a, b in edges]
    for door in [door for pair in doors.values() for door in pair]:
        before, after = [a for a, b in edges if b == door], [b for a, b in edges if a == door]
        through = [(a, b) for a in before for b in after]
        for a, b in through:
            if (a, b) in edges:
                raise GraphError(f"a subgraph hands '{a}' on to '{b}', which '{a}' leads to directly too; remove one")
        edges = [edge for edge in edges if door not in edge] + through
        del nodes[door]
    return nodes, edges


def _nodes(found: Mapping[str, Any], reading: _Reading) -> tuple[dict[str, Primitive], dict[str, Array]]:
    """The primitives by name, and the gains on the inputs of those that have one."""
    nodes: dict[str, Primitive] = {}
    gains: dict[str, Array] = {}
    for name, node in found.items():
        kind = type(node).__name__
        try:
            nodes[name], gain = _READERS[type(node)](_by_channel(node), reading)
        except GraphError as error:
            said = re.sub(r"^[A-Z]\w*: ", "", str(error))  # our name for it
            raise GraphError(f"node '{name}' (NIR {kind}): {said}") from None
        if gain is not None and not np.allclose(gain, 1.0, rtol=1e-6, atol=0.0):  # what float32 leaves of r = tau / dt
            gains[name] = gain
    return nodes, gains


def _by_channel(node: Any) -> Any:
    """The node with parameters of shape ``(C, 1, 1)``, which NIR spreads over an image, as ``(C,)``."""
    spread = {
        key: value.reshape(-1)
        for key, value in vars(node).items()
        if isinstance(node, _ELEMENTWISE)
        and isinstance(value, np.ndarray)
        and value.ndim > 1
        and value.size == len(value)
    }
    for key, value in spread.items():
        setattr(node, key, value)
    return node


_ELEMENTWISE = (nir.Scale, nir.Threshold, nir.Delay, nir.LIF, nir.IF, nir.LI, nir.I, nir.CubaLIF, nir.CubaLI)


def _check_outputs(graph: Graph, found: Mapping[str, Any]) -> None:
    """Raise GraphError where a file's output has another number of dimensions than what arrives there.

    One value says nothing: nir derives it from parameters that are one for all neurons.
    """
    for name in graph.outputs:
        declared = tuple(int(n) for n in np.ravel(found[name].output_type["output"]))
        if declared not in ((), (1,)) and len(declared) != len(graph.output_shapes[name]):
            raise GraphError(
                f"node '{name}' (Output): the file says {declared}, but {graph.output_shapes[name]} arrives"
            )


def _read_input(node: Any, reading: _Reading) -> _Read:
    return Input(node.input_type), None


def _read_output(node: Any, reading: _Reading) -> _Read:
    return Output(), None


def _read_affine(node: Any, reading: _Reading) -> _Read:
    return Affine(node.weight, node.bias), None


def _read_linear(node: Any, reading: _Reading) -> _Read:
    return Affine(node.weight), None


def _read_scale(node: Any, reading: _Reading) -> _Read:
    return Scale(node.scale), None


def _read_conv1d(node: Any, reading: _Reading) -> _Read:
    return Conv1d(**_geometry(node)), None


def _read_conv2d(node: Any, reading: _Reading) -> _Read:
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


def _read_avgpool(node: Any, reading: _Reading) -> _Read:
    return AvgPool2d(node.kernel_size, node.stride, node.padding), None


def _read_sumpool(node: Any, reading: _Reading) -> _Read:
    return SumPool2d(node.kernel_size, node.stride, node.padding), None


def _read_flatten(node: Any, reading: _Reading) -> _Read:
    return Flatten(int(node.start_dim), int(node.end_dim)), None


def _read_threshold(node: Any, reading: _Reading) -> _Read:
    return Threshold(node.threshold), None


def _read_delay(node: Any, reading: _Reading) -> _Read:
    steps = np.asarray(node.delay, np.float64) / reading.dt
    if not np.isfinite(steps).all() or not np.allclose(steps, np.round(steps), rtol=1e-6, atol=1e-6):
        raise GraphError(f"delay must be a whole number of steps of dt ({reading.dt:g} s); pass a dt that divides it")
    return Delay(np.round(steps)), None


def _read_lif(node: Any, reading: _Reading) -> _Read:
    steps = _steps("tau", node.tau, reading)
    neurons = LIF(tau=steps, r=node.r, v_leak=node.v_leak, **_firing(node, node.v_leak, reading))
    return neurons, np.asarray(node.r, np.float64) / steps


def _read_if(node: Any, reading: _Reading) -> _Read:
    return IF(**_firing(node, 0.0, reading)), np.asarray(node.r, np.float64) * reading.dt


def _read_li(node: Any, reading: _Reading) -> _Read:
    steps = _steps("tau", node.tau, reading)
    return LI(tau=steps, v_leak=node.v_leak), np.asarray(node.r, np.float64) / steps


def _read_integrator(node: Any, reading: _Reading) -> _Read:
    return I(), np.asarray(node.r, np.float64) * reading.dt


def _read_cubalif(node: Any, reading: _Reading) -> _Read:
    fields, gain = _current_based(node, reading)
    return CubaLIF(**fields, **_firing(node, node.v_leak, reading)), gain


def _read_cubali(node: Any, reading: _Reading) -> _Read:
    fields, gain = _current_based(node, reading)
    return CubaLI(**fields), gain


def _current_based(node: Any, reading: _Reading) -> tuple[dict[str, Any], Array]:
    """Time constants and leak; the gain moves the resistance before the synapse, which is linear."""
    synapse, membrane = (_steps(name, getattr(node, name), reading) for name in ("tau_syn", "tau_mem"))
    gain = np.asarray(node.w_in, np.float64) / synapse * np.asarray(node.r, np.float64) / membrane
    return {"tau_syn": synapse, "tau": membrane, "v_leak": node.v_leak}, gain


def _steps(name: str, seconds: Any, reading: _Reading) -> Array:
    """A time constant in steps."""
    steps = np.asarray(seconds, np.float64) / reading.dt
    steps = np.where(np.isclose(steps, 1.0, rtol=1e-6, atol=0.0), 1.0, steps)  # float32 rounds a dt of 1e-4 down
    if not (steps >= 1).all():
        raise GraphError(f"{name} must be dt ({reading.dt:g} s) or more, not {np.min(seconds):g} s; pass a smaller dt")
    return steps


def _firing(node: Any, leak: Any, reading: _Reading) -> dict[str, Any]:
    to_leak = node.v_reset is None or bool(np.all(np.asarray(node.v_reset) == np.asarray(leak)))
    return {
        "v_threshold": node.v_threshold,
        "v_reset": None if to_leak else node.v_reset,
        "strict": reading.strict,
    }


_READERS: Mapping[type, Callable[[Any, _Reading], _Read]] = {
    nir.Input: _read_input,
    nir.Output: _read_output,
    nir.Affine: _read_affine,
    nir.Linear: _read_linear,
    nir.Scale: _read_scale,
    nir.Conv1d: _read_conv1d,
    nir.Conv2d: _read_conv2d,
    nir.AvgPool2d: _read_avgpool,
    nir.SumPool2d: _read_sumpool,
    nir.Flatten: _read_flatten,
    nir.Threshold: _read_threshold,
    nir.Delay: _read_delay,
    nir.LIF: _read_lif,
    nir.IF: _read_if,
    nir.LI: _read_li,
    nir.I: _read_integrator,
    nir.CubaLIF: _read_cubalif,
    nir.CubaLI: _read_cubali,
}


def _with_gains(
    nodes: dict[str, Primitive], edges: list[tuple[str, str]], gains: Mapping[str, Array]
) -> list[tuple[str, str]]:
    """Put every gain where it belongs: into the layer that feeds the neurons, or before them. Returns the edges."""
    for name, gain in gains.items():
        before = [source for source, target in edges if target == name]
        if len(before) == 1 and sum(source == before[0] for source, _ in edges) == 1:
            folded = _scaled(nodes[before[0]], gain)
            if folded is not None:
                nodes[before[0]] = folded
                continue
        added = f"{name}.gain"
        if added in nodes:
            raise GraphError(f"node '{added}' has the name that the gain of '{name}' needs; rename it")
        nodes[added] = Scale(gain)
        edges = [(source, added if target == name else target) for source, target in edges] + [(added, name)]
    return edges


def _scaled(linear: Primitive, gain: Array) -> Primitive | None:
    """The Affine or convolution with its outputs scaled; None where it is another primitive or cannot take the gain."""
    if not isinstance(linear, (Affine, Conv1d, Conv2d)):
        return None
    channels = gain.reshape(len(gain), -1) if gain.ndim else gain.reshape(1, 1)
    if len(channels) not in (1, len(linear.bias)) or not np.allclose(channels, channels[:, :1], rtol=1e-6, atol=0.0):
        return None
    scale = np.broadcast_to(channels[:, 0], len(linear.bias))
    weight = linear.weight * scale.reshape(-1, *(1 for _ in linear.weight.shape[1:]))
    return dataclasses.replace(linear, weight=weight, bias=linear.bias * scale)


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


def _write_sumpool(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    plain = SumPool2d(node.kernel_size, node.stride, node.padding)
    if plain.output_shape(shape) != node.output_shape(shape):
        raise GraphError("NIR's SumPool2d has no ceil_mode, and here it matters")
    return nir.SumPool2d(*(np.array(getattr(node, key)) for key in ("kernel_size", "stride", "padding")))


def _write_scale(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    return nir.Scale(np.array(per_neuron(node.scale, shape)))


def _write_threshold(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    return nir.Threshold(np.array(per_neuron(node.threshold, shape)))


def _write_delay(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    return nir.Delay(per_neuron(node.steps, shape) * dt)


def _write_lif(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    steps = _per_neuron(node.tau, shape)
    return nir.LIF(tau=steps * dt, r=steps, **_thresholds(node, shape), v_leak=_per_neuron(node.v_leak, shape))


def _write_if(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    return nir.IF(r=np.full(shape, 1.0 / dt), **_thresholds(node, shape))


def _write_li(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    steps = _per_neuron(node.tau, shape)
    return nir.LI(tau=steps * dt, r=steps, v_leak=_per_neuron(node.v_leak, shape))


def _write_integrator(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    return nir.I(r=np.full(shape, 1.0 / dt))


def _write_cubalif(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    return nir.CubaLIF(**_currents(node, shape, dt), **_thresholds(node, shape))


def _write_cubali(node: Any, shape: tuple[int, ...], dt: float) -> Any:
    return nir.CubaLI(**_currents(node, shape, dt))


def _currents(node: Any, shape: tuple[int, ...], dt: float) -> dict[str, Array]:
    synapse, membrane = _per_neuron(node.tau_syn, shape), _per_neuron(node.tau, shape)
    leak = _per_neuron(node.v_leak, shape)
    return {"tau_syn": synapse * dt, "tau_mem": membrane * dt, "r": membrane, "w_in": synapse, "v_leak": leak}


def _thresholds(node: Any, shape: tuple[int, ...]) -> dict[str, Array]:
    goal = node.v_reset if node.v_reset is not None else getattr(node, "v_leak", np.zeros(1))
    return {"v_threshold": _per_neuron(node.v_threshold, shape), "v_reset": _per_neuron(goal, shape)}


def _per_neuron(values: Array, shape: tuple[int, ...]) -> Array:
    """A parameter for every neuron, in float64: float32 would move a decay off 1 - 1/tau."""
    return np.array(per_neuron(values, shape), np.float64)


_WRITERS: Mapping[type, Callable[[Any, tuple[int, ...], float], Any]] = {
    Input: _write_input,
    Output: _write_output,
    Affine: _write_affine,
    AvgPool2d: _write_avgpool,
    Conv1d: _write_conv1d,
    Conv2d: _write_conv2d,
    SumPool2d: _write_sumpool,
    Flatten: _write_flatten,
    Scale: _write_scale,
    Threshold: _write_threshold,
    Delay: _write_delay,
    LIF: _write_lif,
    IF: _write_if,
    LI: _write_li,
    I: _write_integrator,
    CubaLIF: _write_cubalif,
    CubaLI: _write_cubali,
}
