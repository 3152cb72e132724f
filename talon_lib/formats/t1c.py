"""The TALON SDK's graph file ``.t1c``, as ``talon.ir.write`` of talon-ir 0.0.2 makes it and ``talon.ir.read`` reads it.

An HDF5 tree: ``version`` and ``graph``, with ``type``, ``nodes/<name>/<field>``, ``edges/src``, ``edges/dst``, and
where they are set ``metadata``, ``allow_cycles``, ``cyclic_config``. Nodes and fields have the SDK's names, which are
ours.

Values are kept as they are (weights in float32), and so is the order of the edges. What the SDK has and we have not
(``NODE_EXTRAS``, ``GRAPH_EXTRAS``, what cyclic_config has beside max_iterations, another version) is carried in the
graph's metadata under "t1c" and written back. A field or a node that neither knows is refused.

Nodes that the SDK has not, or would read as something else (it ignores fields that it does not know), are written with
all their fields under a type of our own, ``talon_lib.LIF``: the SDK refuses such a file by the node's type, and here
nothing is lost. Two things are written out for the SDK, which has no short form of them: ``features`` that are None,
and neuron parameters of unequal shapes, which become one value per neuron. None in the metadata is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from talon_lib.errors import FormatError, GraphError
from talon_lib.files import whole
from talon_lib.formats import hdf5
from talon_lib.ir.fields import per_neuron
from talon_lib.ir.graph import Graph
from talon_lib.ir.layout import Shape
from talon_lib.ir.node import HINTS, Primitive, fields_of, primitives

VERSION = "0.0.1"
"""The version that is written: the format's, which talon-ir 0.0.2 writes."""

CARRIED = "t1c"
"""The key of the graph's metadata that carries what only the SDK has."""

OWN = "talon_lib."
"""What stands before the type of a node that the SDK cannot read."""

NODE_EXTRAS = ("precision", "core_id", "hardware_hints", "metadata")
GRAPH_EXTRAS = ("quantization_config", "partition_metadata", "target_hardware", "execution_schedule")

_WINDOW = ("stride", "padding", "dilation")
_BATCH_NORM = ("num_features", "weight", "bias", "running_mean", "running_var", "eps", "momentum")

FIELDS: Mapping[str, tuple[str, ...]] = {
    "Input": ("input_type",),
    "Output": ("output_type",),
    "Affine": ("weight", "bias"),
    "SpikingAffine": ("weight", "bias", "spike_mode", "weight_bits", "accumulator_bits"),
    "Conv1d": ("weight", "bias", *_WINDOW, "groups"),
    "Conv2d": ("weight", "bias", *_WINDOW, "groups"),
    "SepConv2d": ("depthwise_weight", "pointwise_weight", "depthwise_bias", "pointwise_bias", *_WINDOW),
    "MaxPool2d": ("kernel_size", *_WINDOW, "ceil_mode"),
    "AvgPool2d": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    "Upsample": ("scale_factor", "size", "mode", "align_corners"),
    "Flatten": ("start_dim", "end_dim"),
    "LIF": ("tau", "r", "v_leak", "v_threshold"),
    "IF": ("v_threshold",),
    "ReLU": ("features", "negative_slope"),
    "PReLU": ("features", "weight"),
    "Sigmoid": ("features",),
    "Tanh": ("features",),
    "Softmax": ("features", "dim"),
    "GELU": ("features", "approximate"),
    "ELU": ("features", "alpha"),
    "Dropout": ("features", "p"),
    "BatchNorm1d": _BATCH_NORM,
    "BatchNorm2d": _BATCH_NORM,
    "LayerNorm": ("normalized_shape", "weight", "bias", "eps"),
    "HybridRegion": ("mode", "features", "name"),
    "ChannelSplit": ("split_sections", "dim"),
    "Concat": ("num_inputs", "dim"),
    "Skip": ("skip_type",),
}
"""The primitives that both have, and their fields in the file; the optional hints of every node come on top."""

WITHOUT_HINTS = (
    *("Input", "Output", "ReLU", "PReLU", "Sigmoid", "Tanh", "Softmax", "GELU", "ELU", "Dropout", "BatchNorm1d"),
    *("BatchNorm2d", "LayerNorm", "HybridRegion"),
)
"""The primitives whose hints the SDK neither writes nor reads."""

_STORED_AS = {"input_type": "shape", "output_type": "shape"}


def read(path: Path) -> Graph:
    """Read a ``.t1c`` file. Raises FormatError, naming the node and the field that cannot be represented."""
    tree = hdf5.read(path, ".t1c")
    try:
        return _graph(tree)
    except GraphError as error:
        raise FormatError(f"{path}: {error}") from None


def write(path: Path, graph: Graph) -> None:
    """Write a ``.t1c`` file, whole or not at all. The SDK reads the same graph, or refuses a node that it has not.

    Raises FormatError for names and metadata that HDF5 cannot hold.
    """
    try:
        carried = _carried(graph)
        nodes = {name: _written(graph, name) for name in graph.nodes}
        for name, extras in carried.pop("nodes", {}).items():
            if name in nodes:  # others went with their nodes
                nodes[name] |= extras
        top = {
            "type": "Graph",
            "nodes": nodes,
            "edges": {"src": [source for source, _ in graph.edges], "dst": [target for _, target in graph.edges]},
            "metadata": {key: value for key, value in graph.metadata.items() if key != CARRIED} or None,
            "allow_cycles": True if graph.allow_cycles else None,
            "cyclic_config": {**(graph.cyclic_config or {}), **carried.pop("cyclic_config", {})} or None,
        }
        tree = {"version": carried.pop("version", VERSION), "graph": {**top, **carried}}
        with whole(path) as partial, h5py.File(partial, "w") as file:
            _put_all(file, tree, "")
    except GraphError as error:
        raise FormatError(f"{path}: {error}") from None
    except OSError as error:
        raise FormatError(f"{path}: cannot be written ({hdf5.one_line(error)})") from None


# --- reading ---


def _graph(tree: hdf5.Tree) -> Graph:
    top = _group(tree, "graph", "the file")
    if not np.array_equal(top.pop("type", None), "Graph"):
        raise GraphError("the file holds no graph: 'graph/type' is not 'Graph'")
    carried: dict[str, Any] = {}
    version = tree.get("version")
    if not isinstance(version, str):
        raise GraphError("the file has no 'version', so it is no .t1c file")
    if version != VERSION:
        carried["version"] = version
    nodes: dict[str, Primitive] = {}
    for name, fields in _group(top, "nodes", "'graph'").items():
        if not isinstance(fields, dict):
            raise GraphError(f"node '{name}' is a single value, not a group of fields")
        nodes[name], extras = _node(name, fields)
        if extras:
            carried.setdefault("nodes", {})[name] = extras
    carried |= {key: hdf5.plain(top.pop(key)) for key in GRAPH_EXTRAS if key in top}
    edges = _edges(_group(top, "edges", "'graph'"), nodes)
    metadata = hdf5.plain(top.pop("metadata", {}))
    cyclic_config = hdf5.plain(top.pop("cyclic_config", None))
    if not isinstance(metadata, dict) or not isinstance(cyclic_config, (dict, type(None))):
        raise GraphError("'graph/metadata' and 'graph/cyclic_config' must be groups")
    if cyclic_config is not None and set(cyclic_config) - {"max_iterations"}:  # the SDK's simulator reads no more of it
        cyclic_config = dict(cyclic_config)
        most = {"max_iterations": cyclic_config.pop("max_iterations")} if "max_iterations" in cyclic_config else None
        carried["cyclic_config"], cyclic_config = cyclic_config, most
    if CARRIED in metadata:
        raise GraphError(f"'graph/metadata/{CARRIED}' has a name that is kept for what only the SDK has; rename it")
    allow_cycles = top.pop("allow_cycles", False)
    if not isinstance(allow_cycles, (bool, np.bool_)):
        raise GraphError(f"'graph/allow_cycles' must be a truth value, not {allow_cycles!r}")
    if top:
        raise GraphError(f"'graph/{next(iter(top))}' is not known, and could change what the graph means")
    if carried:
        metadata[CARRIED] = carried
    return Graph(nodes, edges, metadata, bool(allow_cycles), cyclic_config)


def _group(tree: hdf5.Tree, key: str, place: str) -> hdf5.Tree:
    """Take the group ``key`` out of ``tree``."""
    found = tree.pop(key, None)
    if not isinstance(found, dict):
        raise GraphError(f"{place} has no group '{key}', so it is no .t1c file")
    return found


def _node(name: str, fields: hdf5.Tree) -> tuple[Primitive, dict[str, Any]]:
    """A node, and what only the SDK has of it."""
    if "type" not in fields:
        raise GraphError(f"node '{name}' has no 'type'")
    kind = hdf5.plain(fields.pop("type"))
    if isinstance(kind, str) and kind.removeprefix(OWN) in primitives() and kind.startswith(OWN):
        return _own_node(name, kind.removeprefix(OWN), fields), {}
    if not isinstance(kind, str) or kind not in FIELDS:
        raise GraphError(f"node '{name}' is a {kind!r}, which is not supported")
    at = f"node '{name}' ({kind})"
    extras = {key: hdf5.plain(fields.pop(key)) for key in NODE_EXTRAS if key in fields}
    made = primitives()[kind]
    required = {
        field.name
        for field in dataclasses.fields(made)
        if field.default is dataclasses.MISSING and field.name != "features"
    }
    given: dict[str, Any] = {}
    for key in (*FIELDS[kind], *HINTS):
        stored = _STORED_AS.get(key, key)
        if stored in fields:
            given[key] = _field(at, stored, fields.pop(stored))
        elif key in required:
            raise GraphError(f"{at}: field '{stored}' is missing")
    if fields:
        raise GraphError(f"{at}: field '{next(iter(fields))}' is not known, and could change what the node means")
    if "size" in given:
        given.setdefault("scale_factor", None)  # the SDK leaves out what is None
    if "features" in FIELDS[kind]:
        given.setdefault("features", None)
    try:
        return made(**given), extras
    except GraphError as error:
        raise GraphError(f"{at}: {str(error).removeprefix(f'{kind}: ')}") from None


def _own_node(name: str, kind: str, fields: hdf5.Tree) -> Primitive:
    """A node that was written with all its fields but those that are None."""
    at, made = f"node '{name}' ({kind})", primitives()[kind]
    known = {field.name: field.default for field in dataclasses.fields(made)}
    for key in fields:
        if key not in known:
            raise GraphError(f"{at}: field '{key}' is not known, and could change what the node means")
    given = {key: _field(at, key, value) for key, value in fields.items()}
    if "size" in given:
        given.setdefault("scale_factor", None)
    left_out = {key: None for key, default in known.items() if key not in given and default is dataclasses.MISSING}
    try:
        return made(**given, **left_out)
    except GraphError as error:
        raise GraphError(f"{at}: {str(error).removeprefix(f'{kind}: ')}") from None


def _field(at: str, key: str, value: Any) -> Any:
    if value is None or isinstance(value, dict) or (isinstance(value, np.ndarray) and value.dtype == object):
        raise GraphError(f"{at}: field '{key}' is neither a number nor an array of numbers nor one text")
    return hdf5.plain(value)


def _edges(group: hdf5.Tree, nodes: Mapping[str, Primitive]) -> list[tuple[str, str]]:
    ends = []
    for key in ("src", "dst"):
        names = np.asarray(group.get(key))
        if names.ndim != 1:
            raise GraphError(f"'graph/edges/{key}' must be a list of names")
        for name in names.tolist():
            if name not in nodes:
                raise GraphError(f"'graph/edges/{key}' names the node {name!r}, which is not there")
        ends.append(names.tolist())
    if len(ends[0]) != len(ends[1]):
        raise GraphError(f"'graph/edges' has {len(ends[0])} sources and {len(ends[1])} targets")
    return list(zip(*ends, strict=True))


# --- writing ---


def _carried(graph: Graph) -> dict[str, Any]:
    """What a .t1c file had beside our fields, as ``read`` put it into the metadata."""
    carried = graph.metadata.get(CARRIED, {})
    known = isinstance(carried, Mapping) and set(carried) <= {"version", "nodes", "cyclic_config", *GRAPH_EXTRAS}
    groups = [carried.get(key, {}) for key in ("nodes", "cyclic_config")] if known else []
    known = known and isinstance(carried.get("version", VERSION), str)
    if (
        not known
        or not all(isinstance(group, Mapping) for group in groups)
        or not all(isinstance(extras, Mapping) and set(extras) <= set(NODE_EXTRAS) for extras in groups[0].values())
    ):
        raise GraphError(f"metadata '{CARRIED}' is kept for what a .t1c file carries; rename yours")
    return dict(carried)


def _written(graph: Graph, name: str) -> dict[str, Any]:
    """The fields of a node: as the SDK has them, or all of ours where it cannot hold them."""
    node, shape = graph.nodes[name], graph.input_shapes[name]
    if not hdf5.is_name(name):
        raise GraphError(f"node {name!r}: {hdf5.NAME_RULE}")
    if not _sdk_holds(node):
        return {"type": f"{OWN}{node.kind}", **fields_of(node)}
    known = FIELDS[node.kind] if node.kind in WITHOUT_HINTS else (*FIELDS[node.kind], *HINTS)
    fields = {key: getattr(node, key) for key in known}
    if "features" in fields and fields["features"] is None:
        fields["features"] = shape[0]
    if node.spiking:
        fields |= _spread({key: fields[key] for key in FIELDS[node.kind]}, shape)
    if node.kind == "Upsample":
        fields["scale_factor"] = _one_factor(node)
    return {"type": node.kind, **{_STORED_AS.get(key, key): value for key, value in fields.items()}}


def _sdk_holds(node: Primitive) -> bool:
    """Whether the SDK reads the node as what it is here."""
    if node.kind not in FIELDS:
        return False
    known = FIELDS[node.kind] if node.kind in WITHOUT_HINTS else (*FIELDS[node.kind], *HINTS)
    for field in dataclasses.fields(node):
        if field.name not in known and not np.array_equal(getattr(node, field.name), np.asarray(field.default)):
            return False  # it would ignore the field
    if node.kind == "Upsample":  # its scale_factor is one number of 1 or more; size wins over it
        down, across = node.scale_factor or (1, 1)  # type: ignore[attr-defined]
        return node.size is not None or (down == across and down >= 1)  # type: ignore[attr-defined]
    if node.kind == "Concat":
        return bool(node.num_inputs >= 2)  # type: ignore[attr-defined]
    if node.kind == "SpikingAffine":
        return bool(node.accumulator_bits >= node.weight_bits)  # type: ignore[attr-defined]
    return True


def _spread(parameters: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """Neuron parameters in the one shape that the SDK wants for all of them."""
    shapes = {values.shape for values in parameters.values()}
    if len(shapes) == 1 and shapes != {()}:
        return dict(parameters)
    return {key: per_neuron(values, shape) for key, values in parameters.items()}


def _one_factor(node: Any) -> float | int | None:
    """The SDK's scale_factor: one number, or None where size says it."""
    if node.scale_factor is None:
        return None
    down, across = node.scale_factor
    if node.size is not None and (down != across or down < 1):
        return None
    return int(down) if float(down).is_integer() else float(down)


def _put_all(group: Any, tree: Mapping[str, Any], place: str) -> None:
    for key, value in tree.items():
        inner = f"{place}/{key}" if place else str(key)
        if not isinstance(key, str) or not hdf5.is_name(key):
            raise GraphError(f"{inner!r}: {hdf5.NAME_RULE}")
        if isinstance(value, Mapping):
            # the order of creation is the order of reading: so nodes keep theirs
            _put_all(group.create_group(key, track_order=True), value, inner)
        elif value is not None:
            stored = hdf5.storable(value, inner)
            group.create_dataset(key, data=stored, dtype=h5py.string_dtype() if hdf5.is_text(stored) else None)
