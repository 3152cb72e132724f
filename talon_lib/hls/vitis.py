"""Vitis HLS on an hls4ml project: find it, run it, say what went wrong.

C simulation is not asked of it: ``csim`` does that with g++, against our own simulation, and needs no licence.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from talon_lib.errors import ConfigError, MissingToolError, ToolError
from talon_lib.hls import process

STEPS = ("synth", "cosim", "export", "vsynth")
"""What the tool can be asked for, in its order; the last three work on the result of synth."""

TIMEOUT = 4 * 3600.0
LOG = "vitis.log"
OPTIONS = ("reset", "csim", "synth", "cosim", "validation", "export", "vsynth", "fifo_opt")

_NO_LICENCE = re.compile(r"failed to get (the|a) license|license (was|could) not|no valid license", re.IGNORECASE)


@dataclass(frozen=True)
class VitisTool:
    """An installation. command: what runs the project's build_prj.tcl. vivado: its path, where vsynth needs it."""

    command: tuple[str, ...]
    vivado: str | None = None

    @property
    def name(self) -> str:
        """The program's name."""
        return Path(self.command[0]).name


@dataclass(frozen=True)
class VitisRun:
    """A run that ended well. reports: the csynth.xml files that are in the project, the top function's among them."""

    tool: str
    log: Path
    reports: tuple[Path, ...]


def require(steps: Collection[str]) -> VitisTool:
    """The tool that can do ``steps``. Raises MissingToolError, naming step and program, where there is none.

    vitis-run (Vitis 2024.1 and newer) is taken before vitis_hls; both are looked for on PATH, then in the ``bin`` of
    XILINX_VITIS and XILINX_HLS, which AMD's settings64.sh sets.
    """
    listed = ", ".join(step for step in STEPS if step in steps)
    if program := _find("vitis-run", "XILINX_VITIS"):
        command: tuple[str, ...] = (program, "--tcl", "build_prj.tcl", "--mode", "hls")
    elif program := _find("vitis_hls", "XILINX_HLS"):
        command = (program, "-f", "build_prj.tcl")
    else:
        raise MissingToolError(
            f"{listed}: needs vitis-run (AMD Vitis 2024.1 or newer) or vitis_hls, and neither is on PATH; "
            "install AMD Vitis and source its settings64.sh, or leave these steps out"
        )
    vivado = _find("vivado", "XILINX_VIVADO") if "vsynth" in steps else None
    if "vsynth" in steps and vivado is None:
        raise MissingToolError(
            "vsynth: needs vivado, which is not on PATH; install AMD Vivado and source its settings64.sh, "
            "or leave this step out"
        )
    return VitisTool(command, vivado)


def build_options(steps: Collection[str]) -> str:
    """The build_opt.tcl that build_prj.tcl reads: exactly ``steps`` switched on."""
    lines = [f"    {option:<10} {int(option in steps)}" for option in OPTIONS]
    return "\n".join(["array set opt {", *lines, "}"]) + "\n"


def run(project: Path, steps: Collection[str], timeout: float = TIMEOUT) -> VitisRun:
    """Run ``steps`` on the project in folder ``project``; what the tool prints goes to ``vitis.log`` there.

    Raises MissingToolError, ToolTimeout after ``timeout`` seconds, ToolError with the first error of the log, and
    ConfigError for steps that are unknown or come before the synthesis they build on.
    """
    check_steps(steps, synthesised=any(project.glob("*_prj/solution1/syn/verilog")))
    tool = require(steps)
    (project / "build_opt.tcl").write_text(build_options(steps))
    environment = dict(os.environ)
    if tool.vivado:  # build_prj.tcl calls it by its bare name
        environment["PATH"] = os.pathsep.join([str(Path(tool.vivado).parent), environment.get("PATH", os.defpath)])
    log = project / LOG
    with log.open("wb") as output:
        code = process.run(tool.command, project, timeout, tool.name, output, environment)
    if code != 0:
        raise ToolError(f"{tool.name} failed: {_reason(log, code)}; its log is {log}")
    reports = tuple(sorted(project.glob("*_prj/solution1/syn/report/*csynth.xml")))
    if "synth" in steps and not reports:
        raise ToolError(f"{tool.name} ended without a csynth.xml report; its log is {log}")
    return VitisRun(tool.name, log, reports)


def check_steps(steps: Collection[str], synthesised: bool = False) -> None:
    """Raise ConfigError for steps that are unknown, or that need a synthesis which is neither asked for nor there."""
    unknown = sorted(set(steps) - set(STEPS))
    if unknown or not steps:
        raise ConfigError(f"unknown step {', '.join(unknown) or '(none)'}; there are: {', '.join(STEPS)}")
    if "synth" not in steps and not synthesised:
        first = next(step for step in STEPS if step in steps)
        raise ConfigError(f"{first} works on the result of synth, and there is none yet; switch synth on too")


def _find(program: str, variable: str) -> str | None:
    """The path of ``program``, on PATH or in the installation that ``variable`` names."""
    home = os.environ.get(variable)
    return shutil.which(program) or (shutil.which(program, path=str(Path(home) / "bin")) if home else None)


def _reason(log: Path, code: int) -> str:
    """The first error of a log in one line, a missing licence before all others: it causes the rest."""
    error = None
    with log.open(errors="replace") as lines:
        for line in map(str.strip, lines):
            if _NO_LICENCE.search(line):
                return f"no licence ({line[:300]}); set XILINXD_LICENSE_FILE to your licence file or port@server"
            if error is None and line.startswith("ERROR"):
                error = line[:300]
    return error or f"exit code {code}"
