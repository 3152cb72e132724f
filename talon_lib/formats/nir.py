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
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np

from talon_lib.errors import FormatError, GraphError
from talon_lib.files import whole
from talon_lib.fixed import Array
from talon_lib.formats import hdf5
from talon_lib.ir.conv import Conv1d, Conv2d
from talon_lib.ir.delay import Delay
from talon_lib.ir.fields import per_neuron, shown
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
MOST_EDGES = 10_000
"""The most edges of a file, and of what its subgraphs open to."""

COMPARISON = "spike_comparison"
"""The key of a file's metadata that says when its neurons spike: ">" (also where it is missing) or ">="."""


def read(path: Path, dt: float | None = None) -> Graph:
    """Read a NIR file. Raises FormatError naming the node that cannot be represented, and why."""
    tree = hdf5.read(path, "NIR")  # nir's own reader trusts the file
    try:
        source = _made(tree)
    except GraphError as error:
        raise FormatError(f"{path}: {error}") from None
    metadata = hdf5.plain(source.metadata)
    step = _seconds(path, dt if dt is not None else _number(metadata.get("dt", DEFAULT_DT)))
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
    found = _storable({key: value for key, value in graph.metadata.items() if key != COMPARISON}, "metadata")
    return found | ({"cyclic_config": dict(graph.cyclic_config)} if graph.cyclic_config else {})


def _storable(values: Mapping[Any, Any], place: str) -> dict[str, Any]:
    """What nir writes as it is, and what is read again as it was."""
    found = {}
    for key, value in values.items():
        if not isinstance(key, str) or not hdf5.is_name(key):
            raise GraphError(f"{place} {key!r}: {hdf5.NAME_RULE}")
        if isinstance(value, Mapping):
            found[key] = _storable(value, f"{place}/{key}")
        elif value is not None:
            stored = hdf5.storable(value, f"{place}/{key}")
            found[key] = stored.tolist() if isinstance(stored, np.ndarray) and not stored.size else stored  # not packed
    return found


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
        raise GraphError(f"node {name!r}: {hdf5.NAME_RULE}")
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


# --- reading ---


@dataclass(frozen=True)
class _Reading:
    """How a file is read: its time step in seconds, and whether neurons spike above their threshold alone."""

    dt: float
    strict: bool


def _made(tree: hdf5.Tree) -> Any:
    """The graph of a file, as nir holds it. Raises GraphError naming the node that nir cannot make."""
    top = tree.get("node")
    if not isinstance(top, dict) or not isinstance(top.get("type"), str):
        raise GraphError("it has no node with a type, so it is no NIR file")
    if top["type"] != "NIRGraph":
        raise GraphError(f"it holds a single {top['type']}, not a graph")
    return _made_node(top, "")


def _made_node(fields: Any, place: str) -> Any:
    """One node with all below it; nothing in it is inferred by nir, whose shapes and type checks refuse right graphs.

    place: the name, in the subgraphs' names; empty for the whole graph.
    """
    at = f"node '{place}'" if place else "the graph"
    if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
        raise GraphError(f"{at} has no type, or is a single value")
    kind = fields["type"]
    fields = dict(fields)
    if kind == "NIRGraph":
        return _made_graph(fields, at, f"{place}." if place else "")
    made = {known.__name__: known for known in _READERS}.get(kind)
    if made is None:
        raise GraphError(f"{at} is a NIR {kind}, which is not supported")
    for name in (field.name for field in dataclasses.fields(made) if _is_required(field)):
        stored = "shape" if made in (nir.Input, nir.Output) else name
        if fields.get(stored) is None and stored != _SHAPES.get(made):
            raise GraphError(f"{at} (NIR {kind}): field '{stored}' is missing")
    if made in (nir.Input, nir.Output):
        shape = np.asarray(fields["shape"])
        if shape.dtype.kind not in "iuf" or not ((shape >= 0) & (shape < 2**31)).all():
            raise GraphError(f"{at} (NIR {kind}): its shape must be sizes, not {shown(fields['shape'])}")
    if made in _SHAPES:
        fields.pop(_SHAPES[made], None)
    if made in (nir.Conv1d, nir.Conv2d):
        fields["input_shape"] = None
    if made in _ELEMENTWISE:
        fields |= _of_one_shape(fields)
    try:
        return nir.dict2NIRNode(fields)
    except Exception as error:  # nir raises whatever its constructors do
        raise GraphError(f"{at} (NIR {kind}): {hdf5.one_line(error)}") from None


_SHAPES = {nir.Conv1d: "input_shape", nir.Conv2d: "input_shape", nir.Flatten: "input_type"}
"""The fields that only say what shapes are; older files have none of them."""


def _is_required(field: dataclasses.Field[Any]) -> bool:
    """Whether nir's constructor needs it."""
    return field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _made_graph(fields: hdf5.Tree, at: str, place: str) -> Any:
    """A graph or subgraph, whose edges name nodes that are in it."""
    for key in fields:
        if key not in ("type", "nodes", "edges", "metadata"):
            raise GraphError(f"{at} has a field '{key}', which is not known and could change what it means")
    nodes, edges = fields.get("nodes"), np.asarray(fields.get("edges"))
    if not isinstance(nodes, dict):
        raise GraphError(f"{at} has no group 'nodes'")
    if edges.size and (edges.ndim != 2 or edges.shape[1] != 2 or not all(isinstance(n, str) for n in edges.flat)):
        raise GraphError(f"{at} has edges that are no pairs of names")
    if edges.size > 2 * MOST_EDGES:
        raise GraphError(f"{at} has more than {MOST_EDGES:,} edges")
    pairs = [(a, b) for a, b in edges] if edges.size else []
    for a, b in pairs:
        if a not in nodes or b not in nodes:
            raise GraphError(f"{at} has an edge '{a}' -> '{b}', but no node '{b if a in nodes else a}'")
    metadata = fields.get("metadata")
    made = {name: _made_node(node, f"{place}{name}") for name, node in nodes.items()}
    return nir.NIRGraph(made, pairs, metadata if isinstance(metadata, dict) else {}, type_check=False)


def _of_one_shape(fields: hdf5.Tree) -> hdf5.Tree:
    """The single values among a node's parameters in the shape of the others, for nir wants one shape for all."""
    arrays = {key: np.asarray(value) for key, value in fields.items() if isinstance(value, (np.ndarray, np.generic))}
    shapes = {array.shape for array in arrays.values() if array.size != 1} or {(1,)}
    if len(shapes) != 1 or len({array.shape for array in arrays.values()}) == 1:
        return {}
    (shape,) = shapes
    return {key: np.full(shape, array.reshape(())) for key, array in arrays.items() if array.size == 1}


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
    ends_of_subgraphs = [door for pair in doors.values() for door in pair]
    for door in ends_of_subgraphs:
        del nodes[door]
    return nodes, _led_through(ends_of_subgraphs, edges)


def _led_through(doors: list[str], edges: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The edges without these nodes: what led to one leads to all that it led to."""
    if not doors:
        return edges
    ordered = dict.fromkeys(edges)
    into: dict[str, dict[str, None]] = {}
    out: dict[str, dict[str, None]] = {}

    def connect(a: str, b: str) -> None:
        ordered[a, b] = into.setdefault(b, {})[a] = out.setdefault(a, {})[b] = None

    for a, b in edges:
        connect(a, b)
    for door in doors:
        before, after = into.pop(door, {}), out.pop(door, {})
        if door in before:
            raise GraphError(f"node '{door}', an end of a subgraph, leads to itself")
        if len(ordered) + len(before) * len(after) > MOST_EDGES:
            raise GraphError(f"its subgraphs open to more than {MOST_EDGES:,} edges")
        for a in before:
            del ordered[a, door], out[a][door]
        for b in after:
            del ordered[door, b], into[b][door]
        for a in before:
            for b in after:
                if (a, b) in ordered:
                    raise GraphError(
                        f"a subgraph hands '{a}' on to '{b}', which '{a}' leads to directly too; remove one"
                    )
                connect(a, b)
    return list(ordered)


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
        except (TypeError, ValueError) as error:  # text for numbers
            raise GraphError(f"node '{name}' (NIR {kind}): {hdf5.one_line(error)}") from None
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
    elif np.ndim(padding) == 2:  # the two sides of each dimension, as JAX has them
        sides = np.asarray(padding)
        if sides.shape != (weight.ndim - 2, 2) or (sides[:, 0] != sides[:, 1]).any():
            raise GraphError(f"padding {sides.tolist()} is not the same on both sides, which is not supported")
        padding = sides[:, 0]
    groups = np.unique(np.asarray(node.groups))
    if groups.size != 1 or (np.size(node.groups) > 1 and groups[0] != 1):
        raise GraphError(f"groups must be one number, not {node.groups!r}")
    return {"weight": weight, **fields, "padding": padding, "groups": groups[0]}


def _read_avgpool(node: Any, reading: _Reading) -> _Read:
    return AvgPool2d(node.kernel_size, node.stride, node.padding), None


def _read_sumpool(node: Any, reading: _Reading) -> _Read:
    return SumPool2d(node.kernel_size, node.stride, node.padding), None


def _read_flatten(node: Any, reading: _Reading) -> _Read:
    start, end = (_number(dim) for dim in (node.start_dim, node.end_dim))
    return Flatten(start, end), None


def _number(value: Any) -> Any:
    """A single value without its array."""
    return value.item() if isinstance(value, (np.ndarray, np.generic)) and value.size == 1 else value


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
    outgoing = Counter(source for source, _ in edges)
    incoming: dict[str, list[str]] = {}
    for source, target in edges:
        incoming.setdefault(target, []).append(source)
    added: dict[str, str] = {}
    for name, gain in gains.items():
        before = incoming.get(name, [])
        if len(before) == 1 and outgoing[before[0]] == 1:
            folded = _scaled(nodes[before[0]], gain)
            if folded is not None:
                nodes[before[0]] = folded
                continue
        added[name] = f"{name}.gain"
        if added[name] in nodes:
            raise GraphError(f"node '{added[name]}' has the name that the gain of '{name}' needs; rename it")
        nodes[added[name]] = Scale(gain)
    return [(source, added.get(target, target)) for source, target in edges] + [(b, a) for a, b in added.items()]


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
