"""A graph as a complete hls4ml project on disk."""

from __future__ import annotations

import contextlib
import copy
import importlib.metadata
import io
import json
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talon_lib.cost.counts import count
from talon_lib.errors import ConfigError, MissingToolError, UnsupportedError
from talon_lib.files import beside, replace_folder
from talon_lib.hls.boards import resolve_part
from talon_lib.hls.build_script import build_script
from talon_lib.hls.lower import IO_TYPES, RESERVED, LoweredGraph, lower
from talon_lib.hls.vitis import build_options
from talon_lib.ir.graph import Graph
from talon_lib.ir.node import Bound

STRATEGIES = ("Latency", "Resource")

HEADERS = ("nnet_neuron.h",)
"""The kernels that every project has in ``firmware/nnet_utils``."""

UNROLL_LIMIT = 4096
"""Weights of a layer beyond which Vitis HLS does not unroll it, as the Latency strategy asks (hls4ml's docs)."""


@dataclass(frozen=True)
class ProjectSpec:
    """How a graph becomes hardware. part: an AMD part or a board's name. clock_period_ns: the clock's target."""

    project_name: str = "snn"
    part: str = "xczu9eg-ffvb1156-2-e"
    clock_period_ns: float = 5.0
    io_type: str = "io_parallel"
    reuse_factor: int = 1
    strategy: str = "Latency"

    def __post_init__(self) -> None:
        name = self.project_name
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name.lower() in RESERVED:
            raise ConfigError(
                f"project_name {name!r} must be a C identifier, and no word of C++ or hls4ml: it names the top function"
            )
        if not isinstance(self.strategy, str):
            raise ConfigError(f"strategy {self.strategy!r} must be one of {', '.join(STRATEGIES)}")
        if self.io_type not in IO_TYPES:
            raise ConfigError(f"io_type {self.io_type!r} must be one of {', '.join(IO_TYPES)}")
        if self.strategy.capitalize() not in STRATEGIES:
            raise ConfigError(f"strategy {self.strategy!r} must be one of {', '.join(STRATEGIES)}")
        if not isinstance(self.reuse_factor, int) or self.reuse_factor < 1:
            raise ConfigError(f"reuse factor {self.reuse_factor!r} must be a whole number of 1 or more")
        clock = self.clock_period_ns
        if not isinstance(clock, (int, float)) or not 0 < clock < float("inf"):
            raise ConfigError(f"clock period {clock!r} must be a number of nanoseconds above 0")
        resolve_part(self.part)


@dataclass(frozen=True)
class Project:
    """An hls4ml project on disk.

    effective_reuse: by node, the reuse factor that hls4ml settled on (Resource moves it to the nearest legal one).
    warnings: what a synthesis of it will run into.
    """

    path: Path
    spec: ProjectSpec
    lowered: LoweredGraph
    effective_reuse: Mapping[str, int]
    config: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


def unroll_warnings(graph: Graph, strategy: str) -> tuple[str, ...]:
    """One line for every layer that is too large for the Latency strategy."""
    if strategy.capitalize() != "Latency":
        return ()
    sizes = {name: counts.weights for name, counts in count(graph).items()}
    return tuple(
        f"node '{name}' has {size:,} weights, more than the {UNROLL_LIMIT:,} that Vitis HLS unrolls; take Resource"
        for name, size in sizes.items()
        if size > UNROLL_LIMIT
    )


def build_project(graph: Graph, bound: Mapping[str, Bound], spec: ProjectSpec, path: Path) -> Project:
    """Write the hls4ml project of ``graph`` into the folder ``path``, whole or not at all.

    An earlier project there is replaced; a folder that holds something else is refused. Raises UnsupportedError with
    the node for what hls4ml cannot hold, MissingToolError where hls4ml is not installed.
    """
    check_replaceable(path)
    lowered = lower(graph, bound, spec.io_type)
    if spec.project_name.lower() in lowered.precision:
        raise ConfigError(f"project_name '{spec.project_name}' is the name of a node's layer too; choose another")
    partial = beside(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        model = _model(lowered, spec, partial)
        with _quietly():
            model.write()
        (partial / "build_opt.tcl").write_text(build_options({"synth"}))  # what the tool does where nobody says more
        config = configuration(lowered, spec)
        (partial / "hls4ml_config.json").write_text(json.dumps(config, indent=2) + "\n")
        (partial / "build.py").write_text(build_script(spec.project_name))
        _forget_folder(partial)
        install(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    layers = {layer.name: layer for layer in model.get_layers()}
    reuse = {
        node: int(layers[name].get_attr("reuse_factor"))
        for node, name in lowered.names.items()
        if name in layers and layers[name].get_attr("reuse_factor") is not None and graph.nodes[node].parameters()
    }
    return Project(path, spec, lowered, reuse, config, unroll_warnings(graph, spec.strategy))


def hls4ml_version() -> str:
    """The version of hls4ml that is installed. Raises MissingToolError where it is not."""
    try:
        return importlib.metadata.version("hls4ml")
    except importlib.metadata.PackageNotFoundError:
        raise _missing() from None


def _missing() -> MissingToolError:
    return MissingToolError("hls4ml is not installed; run: pip install 'talon-dse[fpga]'")


def check_replaceable(path: Path) -> None:
    """Raise ConfigError where ``path`` holds something that is no project of ours, or is the current folder."""
    if Path.cwd().is_relative_to(path.resolve()):
        raise ConfigError(f"{path} is the current folder or holds it; a project needs a folder of its own")
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not (path / "hls4ml_config.json").exists())):
        raise ConfigError(f"{path} exists and is no hls4ml project; choose another folder or remove it")


def install(project: Path, path: Path) -> None:
    """Move a finished project to ``path``, on the same file system; an earlier one there is replaced."""
    check_replaceable(path)
    path = path.resolve()  # a link stays, and what it leads to is replaced
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_folder(project, path)


def configuration(lowered: LoweredGraph, spec: ProjectSpec) -> dict[str, Any]:
    """The configuration in hls4ml's own terms."""
    reuse = {layer["name"]: layer["reuse_factor"] for layer in lowered.layers if "reuse_factor" in layer}
    return {
        "ProjectName": spec.project_name,
        "Backend": "Vitis",
        "Part": resolve_part(spec.part),
        "ClockPeriod": spec.clock_period_ns,
        "IOType": spec.io_type,
        "HLSConfig": {
            "Model": {
                "Precision": {"default": "ap_fixed<16,6>"},  # no layer uses it: each has types of its own
                "ReuseFactor": spec.reuse_factor,
                "Strategy": spec.strategy.capitalize(),
            },
            "LayerName": {
                name: {
                    "Precision": dict(types),
                    "ReuseFactor": reuse.get(name, spec.reuse_factor),
                }
                for name, types in lowered.precision.items()
            },
        },
    }


def _model(lowered: LoweredGraph, spec: ProjectSpec, path: Path) -> Any:
    with _quietly():
        try:
            from hls4ml.model.graph import ModelGraph
            from hls4ml.utils.config import create_config

            from talon_lib.hls.neurons import register
        except ModuleNotFoundError as error:
            if error.name != "hls4ml":
                raise
            raise _missing() from None
        register()
        config = configuration(lowered, spec)
        _limit_convolution_reuse(lowered, spec, config)
        settings = create_config(
            output_dir=str(path),
            project_name=spec.project_name,
            backend="Vitis",
            io_type=spec.io_type,
            part=config["Part"],
            clock_period=spec.clock_period_ns,
        )
        settings["HLSConfig"] = config["HLSConfig"]
        layers = copy.deepcopy(lowered.layers)  # from_layer_list changes what it is given
        if spec.io_type == "io_stream":
            _repack(layers)
        try:
            return ModelGraph.from_layer_list(settings, layers, list(lowered.inputs), list(lowered.outputs))
        except Exception as error:  # hls4ml raises bare Exceptions for what it cannot hold
            raise UnsupportedError(f"hls4ml cannot hold this graph: {error}") from error


def _limit_convolution_reuse(lowered: LoweredGraph, spec: ProjectSpec, config: dict[str, Any]) -> None:
    """Give convolutions a reuse factor under Resource that hls4ml computes rightly with: the closest such one.

    Its io_parallel kernel is right only up to kernel size x channels (its own remark in nnet_conv2d_resource.h), and a
    1x1 convolution is replaced by a layer of another class, which gets the uncorrected factor again.
    """
    if spec.strategy.capitalize() != "Resource":
        return
    from hls4ml.backends import get_backend

    backend = get_backend("Vitis")
    for layer in lowered.layers:
        if layer["class_name"] in ("Conv1D", "Conv2D"):
            own = config["HLSConfig"]["LayerName"][layer["name"]]
            inputs = layer.get("filt_height", 1) * layer["filt_width"] * layer["n_chan"]
            legal = [factor for factor in backend.get_valid_reuse_factors(inputs, layer["n_filt"]) if factor <= inputs]
            if own["ReuseFactor"] not in legal:
                own["ReuseFactor"] = int(backend.get_closest_reuse_factor(legal, own["ReuseFactor"]))


def _repack(layers: list[dict[str, Any]]) -> None:
    """Make flattened values one token of a stream.

    hls4ml leaves them in tokens of one pixel each, which Dense alone reads; its other kernels take as many tokens as
    their output has, and compute nonsense.
    """
    for layer in layers:
        if layer["class_name"] == "Reshape" and len(layer["target_shape"]) == 1:
            readers = [other["class_name"] for other in layers if layer["name"] in other.get("inputs", ())]
            if readers != ["Dense"]:
                layer["class_name"] = "Repack"


def _forget_folder(partial: Path) -> None:
    """Take the folder's temporary name out of the files that hls4ml wrote it into."""
    for name in ("hls4ml_config.yml", "build_lib.sh", "project.tcl"):
        file = partial / name
        if file.exists():
            file.write_text(file.read_text().replace(f"{partial}", "."))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep hls4ml's remarks off the terminal: its warnings speak of front ends that are not used here."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
