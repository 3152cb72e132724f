"""C simulation as the judge: the generated C++, compiled with g++, against our simulation, bit by bit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from talon_lib.errors import MissingToolError, ToolError
from talon_lib.fixed import Array
from talon_lib.hls import process
from talon_lib.hls.build_script import COMPILER_FLAGS
from talon_lib.hls.lower import LoweredGraph
from talon_lib.hls.project import Project, ProjectSpec, build_project
from talon_lib.ir.graph import Graph
from talon_lib.ir.node import Bound, State
from talon_lib.simulate import batched_inputs, run

TEMPLATES = Path(__file__).parent / "templates"

PROBES = ("spike", "membrane", "current")
"""What the kernel's probe is given of a neuron, in this order."""


@dataclass(frozen=True)
class Difference:
    """The first place where simulation and C simulation part; neuron is the flat index, row-major."""

    sample: int
    step: int
    node: str
    neuron: int
    what: str
    simulated: float
    csim: float

    def __str__(self) -> str:
        return (
            f"sample {self.sample}, step {self.step}, node '{self.node}', neuron {self.neuron}: "
            f"{self.what} {self.simulated!r} simulated, {self.csim!r} in C simulation"
        )


@dataclass(frozen=True)
class CsimResult:
    """What was compared (spikes and state of every neuron, values of every output), and where it first differed."""

    samples: int
    steps: int
    values: int
    difference: Difference | None
    compiler: str

    @property
    def equal(self) -> bool:
        """Whether every value was equal."""
        return self.difference is None


def csim(
    graph: Graph,
    bound: Mapping[str, Bound],
    inputs: Mapping[str, Any] | None,
    steps: int,
    io_type: str = "io_parallel",
    strategy: str = "Latency",
    timeout: float = 1800.0,
    workdir: Path | None = None,
) -> CsimResult:
    """Build, compile and run the design and compare it with :func:`talon_lib.simulate.run` at the same types.

    The design is built at reuse factor 1 and serves all others: with exact accumulators they change no value.
    ``workdir`` keeps the project; otherwise it is removed. Raises MissingToolError without g++ or hls4ml, ToolTimeout,
    and ToolError with the compiler's first error.
    """
    require_compiler()  # before any work is done
    with tempfile.TemporaryDirectory(prefix="talon-csim-") as temporary:
        path = (workdir or Path(temporary)) / "project"
        project = build_project(graph, bound, ProjectSpec(io_type=io_type, strategy=strategy), path)
        return csim_project(project, graph, bound, inputs, steps, timeout)


def csim_project(
    project: Project,
    graph: Graph,
    bound: Mapping[str, Bound],
    inputs: Mapping[str, Any] | None,
    steps: int,
    timeout: float = 1800.0,
) -> CsimResult:
    """The same for a project that is on disk already; the driver and what it was run with stay in its folder.

    ``build.py csim`` there repeats it: ``csim.json`` says how, ``csim_expected.bin`` holds what was simulated.
    """
    require_compiler()
    data, batch = batched_inputs(graph, inputs, steps)
    program = compile_driver(project, graph, timeout)
    found = _execute(project, program, graph, data, batch, steps, timeout)
    return _compare(graph, bound, project, inputs, steps, found)


def require_compiler() -> str:
    """The path of g++. Raises MissingToolError where there is none."""
    compiler = shutil.which("g++")
    if compiler is None:
        raise MissingToolError("C simulation needs g++, which is not on PATH; install it (Debian: apt-get install g++)")
    return compiler


def compiler_version() -> str:
    """The compiler's name and version, e.g. ``g++-12.2.0``."""
    done = subprocess.run([require_compiler(), "-dumpfullversion"], capture_output=True, text=True, check=True)
    return f"g++-{done.stdout.strip()}"


def compile_driver(project: Project, graph: Graph, timeout: float = 1800.0) -> Path:
    """Write the driver into the project and compile both as one unit. Returns the program's path."""
    lowered = project.lowered
    sizes = {name: len(order) * len(lowered.probes[name]) for name, order in lowered.neurons.items()}
    inputs = [int(np.prod(graph.inputs[name].shape)) for name in graph.inputs]
    outputs = [int(np.prod(graph.output_shapes[name])) for name in graph.outputs]
    offsets = np.cumsum([0, *sizes.values()]).tolist()
    arguments = [f"&x[{offset}]" for offset in np.cumsum([0, *inputs])[:-1]]
    arguments += ["&restart"] if sizes else []
    arguments += [f"&y[{offset}]" for offset in np.cumsum([0, *outputs])[:-1]]
    template = jinja2.Template((TEMPLATES / "csim_main.cpp.j2").read_text(), keep_trailing_newline=True)
    source = template.render(
        project=project.spec.project_name,
        input_sizes=inputs,
        output_sizes=outputs,
        first_value=offsets[:-1],
        probes=[[probes.index(p) if p in probes else -1 for p in PROBES] for probes in lowered.probes.values()],
        per_neuron=[len(probes) for probes in lowered.probes.values()],
        values=offsets[-1],
        arguments=arguments,
    )
    (project.path / "csim_main.cpp").write_text(source)
    command = [require_compiler(), *COMPILER_FLAGS, "csim_main.cpp", "-o", "csim"]
    _run(command, project.path, timeout, "the C++ compiler")
    return project.path / "csim"


def _execute(
    project: Project, program: Path, graph: Graph, data: Mapping[str, Array], batch: int, steps: int, timeout: float
) -> Array:
    """Run the program; returns ``(samples, steps, values)`` in the order of :func:`_columns`."""
    held = all(len(x) == 1 for x in data.values())
    length = 1 if held else steps
    rows = [
        np.broadcast_to(x, (length, *x.shape[1:])).reshape(length, batch, -1)[..., project.lowered.input_orders[name]]
        for name, x in data.items()
    ]
    stimulus = np.ascontiguousarray(np.concatenate(rows, axis=-1).transpose(1, 0, 2))
    given, found = project.path / "csim_inputs.bin", project.path / "csim_outputs.bin"
    stimulus.tofile(given)
    lowered = project.lowered
    blocks: list[tuple[str, int, tuple[str, ...]]] = [
        *((name, len(order), ("output",)) for name, order in zip(graph.outputs, lowered.output_orders, strict=True)),
        *((name, len(order), lowered.probes[name]) for name, order in lowered.neurons.items()),
    ]
    recorded = {"samples": batch, "steps": steps, "held": held, "values": blocks}
    (project.path / "csim.json").write_text(json.dumps(recorded, indent=1) + "\n")
    environment = {**os.environ, "TALON_WEIGHTS": str(project.path.resolve() / "firmware" / "weights")}
    command = [str(program.resolve()), given.name, found.name, str(batch), str(steps), str(int(held))]
    _run(command, project.path, timeout, "C simulation", environment)
    return np.fromfile(found).reshape(batch, steps, sum(size * len(what) for _, size, what in blocks))


def _columns(graph: Graph, lowered: LoweredGraph) -> list[tuple[str, int, str]]:
    """Node, our index and kind of every value that the driver writes in a step: outputs, then what it probes."""
    sinks = zip(graph.outputs, lowered.output_orders, strict=True)
    columns = [(name, int(i), "output") for name, order in sinks for i in order]
    for name, order in lowered.neurons.items():
        columns += [(name, int(i), what) for i in order for what in lowered.probes[name]]
    return columns


def _compare(
    graph: Graph,
    bound: Mapping[str, Bound],
    project: Project,
    inputs: Mapping[str, Any] | None,
    steps: int,
    found: Array,
) -> CsimResult:
    neurons, samples = project.lowered.neurons, len(found)
    sinks = dict(zip(graph.outputs, project.lowered.output_orders, strict=True))
    simulated: dict[str, list[Array]] = {name: [] for name in [*graph.outputs, *neurons]}

    def record(step: int, name: str, result: Array, state: State, x: Array) -> None:
        if name in neurons:
            seen = [state.get(probe, result).reshape(samples, -1) for probe in project.lowered.probes[name]]
            simulated[name].append(np.stack(seen, axis=-1)[:, neurons[name]].reshape(samples, -1))
        elif name in sinks:
            simulated[name].append(result.reshape(samples, -1)[:, sinks[name]])

    run(graph, bound, inputs, steps, observers=(record,))
    expected = np.concatenate([np.stack(rows, axis=1) for rows in simulated.values()], axis=-1)
    expected.tofile(project.path / "csim_expected.bin")
    differing = np.argwhere(expected != found)
    difference = None
    if len(differing):
        # the earliest sample and step; within them the node that comes first in the graph
        sample, step, _ = differing[0].tolist()
        order = {name: place for place, name in enumerate(graph.order)}
        columns = _columns(graph, project.lowered)
        here = differing[(differing[:, 0] == sample) & (differing[:, 1] == step), 2].tolist()
        column = min(here, key=lambda c: (order[columns[c][0]], columns[c][1], columns[c][2]))
        name, index, what = columns[column]
        values = float(expected[sample, step, column]), float(found[sample, step, column])
        difference = Difference(sample, step, name, index, what, *values)
    return CsimResult(samples, steps, int(expected.size), difference, compiler_version())


def _run(command: list[str], folder: Path, timeout: float, what: str, environment: Any = None) -> None:
    with tempfile.TemporaryFile() as output:
        code = process.run(command, folder, timeout, what, output, environment)
        if code != 0:
            output.seek(0)
            text = output.read().decode(errors="replace").strip().splitlines()
            reason = next((line for line in text if "error" in line), text[-1] if text else f"exit {code}")
            raise ToolError(f"{what} failed: {reason.strip()}")
