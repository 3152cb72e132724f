"""What all backends share: the abstract class, and the plain data that goes in and comes out.

Names and fields are those of the TALON SDK's ``talon.backend``.
"""

from __future__ import annotations

import base64
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from talon_lib.cost.event_energy import EventEnergy
from talon_lib.errors import ConfigError, FormatError, GraphError
from talon_lib.files import whole
from talon_lib.fixed import Array
from talon_lib.ir.graph import Graph
from talon_lib.ir.node import fields_of
from talon_lib.ir.structure import Input, Output
from talon_lib.precision import Precision


@dataclass(frozen=True)
class BackendCapabilities:
    """What a backend takes."""

    supported_primitives: list[str]
    supported_precisions: list[str]
    supports_cyclic: bool
    max_graph_size: int


@dataclass(frozen=True)
class ValidationResult:
    """Whether a backend can take a graph; warnings say why not, or what to look out for."""

    is_valid: bool = True
    unsupported_nodes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CompileConfig:
    """How to compile. execution_mode: "dag", "cyclic", or None to follow the graph."""

    execution_mode: str | None = None
    target_precision: str = "int8"
    optimize_for: str = "latency"

    def __post_init__(self) -> None:
        if self.execution_mode not in (None, "dag", "cyclic"):
            raise ConfigError(f"execution_mode must be 'dag', 'cyclic' or None, not {self.execution_mode!r}")
        Precision.parse(self.target_precision)


@dataclass(frozen=True)
class BitstreamConfig:
    """Which steps of the tool flow to run; all but csim need AMD's tools.

    bitfile is off where the SDK has it on: it is for the boards of ``hls.boards`` alone, and place and route take long.
    """

    csim: bool = False
    synth: bool = True
    cosim: bool = False
    export: bool = True
    vsynth: bool = True
    bitfile: bool = False


@dataclass(frozen=True)
class NodeConfig:
    """One node of a compiled graph: its kind, its number types, and its fields that are no arrays."""

    node_name: str
    node_type: str
    core_id: int = 0
    precision: str = "fp32"
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class HardwareDescriptor:
    """A compiled graph as plain data: nodes, weights and order, by core, and metadata of the backend's own."""

    neuron_configs: dict[int, list[NodeConfig]] = field(default_factory=dict)
    weight_tables: dict[int, dict[str, Array]] = field(default_factory=dict)
    routing_tables: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    execution_schedule: dict[int, list[list[str]]] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write as JSON; arrays keep their type and every bit. The file is written whole or not at all."""
        path = Path(path)
        content = {
            "format": "talon-dse hardware descriptor 1",
            "neuron_configs": {core: [asdict(config) for config in own] for core, own in self.neuron_configs.items()},
            "weight_tables": {
                core: {name: _encode(array) for name, array in own.items()} for core, own in self.weight_tables.items()
            },
            "routing_tables": self.routing_tables,
            "execution_schedule": self.execution_schedule,
            "metadata": self.metadata,
        }
        with whole(path) as partial:
            partial.write_text(json.dumps(content, indent=1, default=_plain))

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> HardwareDescriptor:
        """Read what :meth:`to_json` wrote. Raises FormatError with the path for anything else."""
        try:
            content = json.loads(Path(path).read_text())
            return cls(
                neuron_configs={
                    int(core): [NodeConfig(**config) for config in own]
                    for core, own in content["neuron_configs"].items()
                },
                weight_tables={
                    int(core): {name: _decode(array) for name, array in own.items()}
                    for core, own in content["weight_tables"].items()
                },
                routing_tables={int(core): own for core, own in content["routing_tables"].items()},
                execution_schedule={int(core): own for core, own in content["execution_schedule"].items()},
                metadata=content["metadata"],
            )
        except OSError as error:
            raise FormatError(f"{path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"{path}: not a hardware descriptor in JSON ({type(error).__name__}: {error})") from None


def _plain(value: Any) -> Any:
    """A number of numpy's as one of Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a descriptor holds plain data, not {type(value).__name__}")


def _encode(array: Array) -> dict[str, Any]:
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": data}


def _decode(value: Mapping[str, Any]) -> Array:
    dtype = np.dtype(value["dtype"])
    if dtype.hasobject:
        raise ValueError("object arrays are not read")
    return np.frombuffer(base64.b64decode(value["data"], validate=True), dtype).reshape(value["shape"]).copy()


@dataclass(frozen=True)
class SimulationResult:
    """What ``cpu.simulate`` gives.

    outputs: by Output node ``(batch, *shape)``, what arrived in the last step. output_sums: the same summed over all
    steps (spike counts). first_spikes: by Output node, the first step with a spike, n_steps where there was none.
    membranes: by Output node that one node of neurons feeds, theirs after each step, ``(steps, batch, *shape)``.
    spike_counts: by node of spiking neurons, over samples and steps. node_states: with
    step_by_step one mapping a step: every node's result by name, and its membrane as ``<name>.membrane``.
    """

    outputs: dict[str, Array] = field(default_factory=dict)
    outputs_valid: bool = True
    timesteps_run: int = 0
    node_states: list[dict[str, Array]] = field(default_factory=list)
    spike_counts: dict[str, int] = field(default_factory=dict)
    output_sums: dict[str, Array] = field(default_factory=dict)
    first_spikes: dict[str, Array] = field(default_factory=dict)
    membranes: dict[str, Array] = field(default_factory=dict)
    precision: str = "fp32"


@dataclass(frozen=True)
class ProfileResult:
    """What ``cpu.profile`` gives: TALON's accounting of one inference; the mean where there is a batch of inputs.

    spike_counts alone are over the whole batch. event_energy, clock_energy: beside it, the same inference by events and
    widths, in picojoules by node and part (``talon_lib.cost.event_energy``); None where the preset has no such form.

    Energies, operations and memory are analytic. total_latency_us and per_node_latency are measured: the time this
    host took to simulate, as in the SDK, and nothing about any device.
    """

    total_latency_us: float
    per_node_latency: dict[str, float]
    energy_estimate_uj: float
    mac_energy_uj: float
    spike_energy_uj: float
    sram_energy_uj: float
    per_layer_energy_uj: dict[str, float]
    peak_memory_bytes: int
    weight_memory_bytes: int
    state_memory_bytes: int
    total_sram_accesses: int
    spike_counts: dict[str, int]
    mac_ops: int
    neuron_utilization: dict[str, float]
    energy_preset: str
    event_energy: EventEnergy | None = None
    clock_energy: EventEnergy | None = None


class Backend(ABC):
    """A device, or a stand-in for one, that takes graphs."""

    name: str

    @abstractmethod
    def get_capabilities(self) -> BackendCapabilities:
        """What this backend takes."""

    @abstractmethod
    def validate(self, graph: Graph) -> ValidationResult:
        """Whether this backend can take ``graph``."""

    @abstractmethod
    def compile(self, graph: Graph, config: CompileConfig | None = None) -> HardwareDescriptor:
        """Turn ``graph`` into a descriptor. Raises UnsupportedError where validate says no."""


def check_graph(graph: Any) -> Graph:
    """``graph`` itself. Raises GraphError where it is none."""
    if not isinstance(graph, Graph):
        raise GraphError(f"expected a talon_lib.ir.Graph, not {type(graph).__name__}")
    return graph


def describe(graph: Graph, precision: str, metadata: Mapping[str, Any]) -> HardwareDescriptor:
    """The descriptor of ``graph`` on one core."""
    parts = {name: node for name, node in graph.nodes.items() if not isinstance(node, (Input, Output))}
    configs: list[NodeConfig] = []
    tables: dict[str, Array] = {}
    for name, node in parts.items():
        values = fields_of(node)
        plain = {key: value for key, value in values.items() if not isinstance(value, np.ndarray)}
        tables |= {f"{name}.{key}": value for key, value in values.items() if isinstance(value, np.ndarray)}
        configs.append(NodeConfig(name, node.kind, 0, precision, plain))
    routes = [{"source": source, "target": target} for source, target in graph.edges]
    order = [name for name in graph.order if name in parts]
    return HardwareDescriptor({0: configs}, {0: tables}, {0: routes}, {0: [order]}, dict(metadata))
