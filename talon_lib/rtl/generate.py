"""Our own SystemVerilog for a graph: one module a layer and a top, in the subset that Yosys and Verilator both read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import jinja2

from talon_lib.errors import ConfigError, UnsupportedError
from talon_lib.hls.lower import lower
from talon_lib.hls.rendering import environment
from talon_lib.ir.graph import Graph
from talon_lib.ir.node import Bound
from talon_lib.rtl.layers import layers
from talon_lib.rtl.modules import Matrix, RtlLayer

TEMPLATES = Path(__file__).parent / "templates"

CAST = "talon_cast.sv"
"""The module of all casts, which is the same in every design."""


@dataclass(frozen=True)
class RtlSpec:
    """How a graph becomes RTL. top: the top module, whose name the others begin with.

    reuse_factor: what every matrix is asked for; it gets the nearest legal one (``cost.reuse``), and a node's own wins.
    """

    top: str = "snn"
    reuse_factor: int = 1

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.top):
            raise ConfigError(f"the top module's name must be lower-case letters, digits and _, not {self.top!r}")
        if self.reuse_factor < 1:
            raise ConfigError(f"the reuse factor must be 1 or more, not {self.reuse_factor}")


@dataclass(frozen=True)
class RtlDesign:
    """A design. files: text by name; sources are its SystemVerilog, the rest the contents of its memories.

    layers: its modules in the order of the data. reuse_factors, multipliers: by node of the graph, of the nodes that
    have any.
    """

    top: str
    files: Mapping[str, str]
    layers: tuple[RtlLayer, ...] = field(repr=False)

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the SystemVerilog files."""
        return tuple(name for name in self.files if name.endswith(".sv"))

    @property
    def reuse_factors(self) -> Mapping[str, int]:
        """The effective reuse factor of every matrix."""
        return {layer.node: layer.reuse for layer in self.layers if isinstance(layer, Matrix)}

    @property
    def multipliers(self) -> Mapping[str, int]:
        """How many products of real values are formed side by side, those of a decay included."""
        found: dict[str, int] = {}
        for layer in self.layers:
            found[layer.node] = found.get(layer.node, 0) + layer.multipliers
        return found

    @property
    def cycles(self) -> int:
        """Clocks from the start of a step to the start of the next; a test holds it to what the simulation counts."""
        return sum(layer.latency for layer in self.layers) + 1

    def write(self, folder: Path) -> None:
        """Write all files into ``folder``, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.files.items():
            (folder / name).write_text(text)


def generate(graph: Graph, bound: Mapping[str, Bound], spec: RtlSpec | None = None) -> RtlDesign:
    """The design of ``graph`` with the types in ``bound``. Raises UnsupportedError, naming the node and the reason."""
    spec = spec or RtlSpec()
    for name, node in graph.nodes.items():
        if not node.open_rtl.runs:
            raise UnsupportedError(f"node '{name}' ({node.kind}): {node.open_rtl.remark}")
    lowered = lower(graph, bound)
    made = layers(lowered, spec.reuse_factor)
    environment = environment_of_templates()
    files = {}
    (shape,) = (node.shape for node in graph.inputs.values())
    channels, places = shape[0], 1
    for size in shape[1:]:
        places *= size
    files[f"{spec.top}.sv"] = environment.get_template("top.sv.j2").render(
        top=spec.top, layers=made, channels=channels, places=places
    )
    for layer in made:
        module = f"{spec.top}_{layer.name}"
        files[f"{module}.sv"] = environment.get_template(layer.template).render(layer=layer, module=module)
        for memory, text in layer.memories.items():
            files[f"{module}_{memory}.hex"] = text
    files[CAST] = (TEMPLATES / CAST).read_text()
    return RtlDesign(spec.top, MappingProxyType(files), made)


def environment_of_templates() -> jinja2.Environment:
    """The templates, with ``counter``: the highest bit of a counter of so many values."""
    templates = environment(TEMPLATES)
    templates.filters["counter"] = lambda count: max((count - 1).bit_length(), 1) - 1
    return templates
