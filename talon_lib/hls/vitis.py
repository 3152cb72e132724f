"""AMD's tools on an hls4ml project: find them, run them, say what went wrong, read what they report.

C simulation is not asked of them: ``csim`` does that with g++, against our own simulation, and needs no licence.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from talon_lib.errors import ConfigError, MissingToolError, ToolError
from talon_lib.hls import bitfile, process
from talon_lib.hls.reports import (
    POWER_FILE,
    ROUTED_FILES,
    TIMING_FILE,
    UTILISATION_FILE,
    VSYNTH_FILES,
    Layout,
    SynthReport,
    log_version,
    read_project,
    version_in,
)

STEPS = ("synth", "cosim", "export", "vsynth", "bitfile")
"""What the tools can be asked for, in their order; all but synth work on its result. bitfile is Vivado's alone."""

GAINS = {
    "synth": "LUT, FF, DSP, BRAM and cycles by Vitis HLS",
    "cosim": "cycles and outputs of the simulated RTL",
    "export": "an IP core for Vivado",
    "vsynth": "LUT, FF, DSP, BRAM, slack and power by Vivado",
    "bitfile": "a bitstream for a board, and the same after place and route",
}
"""What each step adds."""

TIMEOUT = 4 * 3600.0
LOG = "vitis.log"
OPTIONS = ("reset", "csim", "synth", "cosim", "validation", "export", "vsynth", "fifo_opt")
STIMULI = Path("tb_data") / "tb_input_features.dat"

PROGRAMS: dict[str, tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]] = {
    "vitis": (
        ("vitis-run", ("XILINX_VITIS", "XILINX_HLS"), ("--tcl", "build_prj.tcl", "--mode", "hls")),
        ("vitis_hls", ("XILINX_HLS", "XILINX_VITIS"), ("-f", "build_prj.tcl")),
    ),
    "vivado": (("vivado_hls", ("XILINX_VIVADO", "XILINX_HLS"), ("-f", "build_prj.tcl")),),
}
"""By hls4ml's backend the programs that build its projects, the first that is found before the others: name, the
variables that may hold its installation (AMD's settings64.sh sets them), and arguments."""

VIVADO_VARIABLES = ("XILINX_VIVADO",)

_WANTED = {
    "vitis": ("vitis-run (AMD Vitis 2024.1 or newer) or vitis_hls, and neither is on PATH", "AMD Vitis"),
    "vivado": ("vivado_hls, which is not on PATH", "AMD Vivado 2020.1 or older"),
}

# What Vivado's messages 17-345 and 17-348 say, and what FlexNet, which manages AMD's licences, says itself.
_NO_LICENCE = re.compile(
    r"Common 17-34[58]\b|a valid license was not found|failed to get the license|flexnet licensing error", re.IGNORECASE
)

VSYNTH_SCRIPT = f"""\
# Written by talon-dse, for vivado -mode batch -source vivado_synth.tcl.
#
# hls4ml's own script counts resources alone. This one sets the clock, which gives slack and power too, and synthesises
# out of context: a network's ports are no pins, and there are more of them than a package has.
set tcldir [file dirname [info script]]
source [file join $tcldir project.tcl]

set clock [open vivado_clock.xdc w]
puts $clock "create_clock -name ap_clk -period $clock_period \\[get_ports ap_clk\\]"
close $clock

add_files ${{project_name}}_prj/solution1/syn/verilog
read_xdc vivado_clock.xdc
synth_design -top ${{project_name}} -part $part -mode out_of_context
opt_design -retarget -propconst -sweep -bram_power_opt -shift_register_opt
report_utilization -file {UTILISATION_FILE}
report_timing_summary -file {TIMING_FILE}
report_power -file {POWER_FILE}
"""


@dataclass(frozen=True)
class VitisTool:
    """An installation.

    command: what runs the project's build_prj.tcl; empty where bitfile alone is asked for, as Vivado does without.
    vivado: its path, where vsynth or bitfile needs it. version: the release that
    the installation's folder is named by, as AMD's installer does; None where it is not.
    """

    command: tuple[str, ...]
    vivado: str | None = None
    version: str | None = None

    @property
    def name(self) -> str:
        """The program's name."""
        return Path(self.command[0]).name if self.command else "vivado"


@dataclass(frozen=True)
class VitisRun:
    """A run that ended well, in ``folder``. reports: the csynth.xml files there. report: what all reports say.

    log: of Vitis HLS; of Vivado where bitfile alone ran. bitfile: the bitstream, where it was asked for.
    """

    tool: str
    folder: Path
    log: Path
    reports: tuple[Path, ...]
    report: SynthReport
    bitfile: Path | None = None


def require(steps: Collection[str], backend: str = "vitis") -> VitisTool:
    """The tool that can do ``steps``. Raises MissingToolError, naming step and program, where there is none.

    backend: the project's, in hls4ml's words; see PROGRAMS. Programs are looked for on PATH, then in the ``bin`` of the
    installation that a variable names.
    """
    listed = ", ".join(step for step in _of_hls(steps))
    if listed and backend not in PROGRAMS:
        raise ConfigError(f"{listed}: no tool for hls4ml's backend '{backend}'; there are: {', '.join(PROGRAMS)}")
    command: tuple[str, ...] = ()
    if listed:
        found = [(_find(program, variables), arguments) for program, variables, arguments in PROGRAMS[backend]]
        path, arguments = next((own for own in found if own[0]), (None, ()))
        if path is None:
            what, product = _WANTED[backend]
            raise MissingToolError(
                f"{listed}: needs {what}; install {product} and source its settings64.sh, or leave these steps out"
            )
        command = (path, *arguments)
    needing = [step for step in ("vsynth", "bitfile") if step in steps]
    vivado = _find("vivado", VIVADO_VARIABLES) if needing else None
    if needing and vivado is None:
        raise MissingToolError(
            f"{', '.join(needing)}: needs vivado, which is not on PATH; install AMD Vivado and source its "
            f"settings64.sh, or leave {'this step' if len(needing) == 1 else 'these steps'} out"
        )
    first = command[0] if command else vivado or ""
    return VitisTool(command, vivado, version_in(first) or version_in(str(Path(first).resolve())))


def missing() -> tuple[str, ...]:
    """One line for each tool that is not there: what it would add, and how to get it."""
    lines = []
    if not any(_find(program, variables) for program, variables, _ in PROGRAMS["vitis"]):
        gains = "; ".join(f"{step}: {GAINS[step]}" for step in _of_hls(STEPS) if step != "vsynth")
        lines.append(f"vitis-run is not here; AMD Vitis and its settings64.sh would add {gains}")
    if _find("vivado", VIVADO_VARIABLES) is None:
        gains = "; ".join(f"{step}: {GAINS[step]}" for step in ("vsynth", "bitfile"))
        lines.append(f"vivado is not here; AMD Vivado and its settings64.sh would add {gains}")
    return tuple(lines)


def build_options(steps: Collection[str]) -> str:
    """The build_opt.tcl that build_prj.tcl reads: exactly ``steps`` switched on."""
    lines = [f"    {option:<10} {int(option in steps)}" for option in OPTIONS]
    return "\n".join(["array set opt {", *lines, "}"]) + "\n"


def run(project: Path, steps: Collection[str], timeout: float = TIMEOUT, workdir: Path | None = None) -> VitisRun:
    """Run ``steps`` on the project in folder ``project``; what the tool prints goes to ``vitis.log`` there.

    bitfile is a run of Vivado's own, after the others, with the log ``bitfile.log`` and ``timeout`` for itself.
    With ``workdir``, a folder that is empty or not there, the project is copied and the work done in the copy.

    Raises MissingToolError, ToolTimeout after ``timeout`` seconds, ToolError with the first error of the log or for a
    report that is missing, ConfigError for steps that are unknown or lack what they build on, UnsupportedError for a
    bitfile of a part or io type that there is none for, and FormatError for a folder that is no project and reports or
    Verilog that cannot be read.
    """
    layout = Layout.of(project)
    check_steps(steps, synthesised=(layout.solution / "syn" / "verilog").exists())
    if "cosim" in steps and not (project / STIMULI).exists():
        raise ConfigError(
            f"cosim: {project} has no {STIMULI}, and hls4ml would simulate zeros; "
            "write the project with talon-dse project --data FILE --stimuli N"
        )
    if "bitfile" in steps:
        bitfile.check_project(layout)
    tool = require(steps, layout.backend)
    if workdir is not None:
        layout = replace(layout, folder=_copy(project, workdir))
    folder, log = layout.folder, layout.folder / (LOG if tool.command else bitfile.LOG)
    _forget(layout, steps)
    if tool.command:
        _run_hls(layout, tool, _of_hls(steps), timeout)
    if "bitfile" in steps:
        assert tool.vivado is not None, "it was required"
        bitfile.write(layout)
        command = (tool.vivado, "-mode", "batch", "-source", bitfile.SCRIPT)
        _call(layout, command, "vivado", ["bitfile"], folder / bitfile.LOG, timeout)
    report = read_project(folder)
    assert report is not None, "steps without a synthesis were refused"
    if report.version is None:
        report = replace(report, version=log_version(log.read_text(errors="replace")) or tool.version)
    return VitisRun(
        tool.name,
        folder,
        log,
        tuple(sorted(layout.csynth.parent.glob("*csynth.xml"))),
        report,
        layout.bitfile if "bitfile" in steps else None,
    )


def _run_hls(layout: Layout, tool: VitisTool, steps: Collection[str], timeout: float) -> None:
    """Run the project's build_prj.tcl with exactly ``steps`` on."""
    command = tool.command
    if layout.backend == "vivado":  # its build_prj.tcl takes arguments, and reads no build_opt.tcl
        command = (*command, " ".join(f"{option}={int(option in steps)}" for option in OPTIONS))
    (layout.folder / "build_opt.tcl").write_text(build_options(steps))
    if "vsynth" in steps:
        (layout.folder / "vivado_synth.tcl").write_text(VSYNTH_SCRIPT)
    environment = dict(os.environ)
    if tool.vivado:  # build_prj.tcl calls it by its bare name
        environment["PATH"] = os.pathsep.join([str(Path(tool.vivado).parent), environment.get("PATH", os.defpath)])
    _call(layout, command, tool.name, steps, layout.folder / LOG, timeout, environment)


def _call(
    layout: Layout,
    command: Sequence[str],
    name: str,
    steps: Collection[str],
    log: Path,
    timeout: float,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a tool in the project's folder; ToolError where it fails or leaves a step without its result."""
    with log.open("wb") as output:
        code = process.run(command, layout.folder, timeout, name, output, environment)
    if code != 0:
        raise ToolError(f"{name} failed: {failure(log.read_text(errors='replace'), code)}; its log is {log}")
    for step, results in _results(layout).items():
        if step in steps and not results:
            raise ToolError(f"{name} ended without the result of {step}; its log is {log}")


def _of_hls(steps: Collection[str]) -> list[str]:
    """Those of the steps that build_prj.tcl does, in its order."""
    return [step for step in STEPS if step in steps and step != "bitfile"]


def check_steps(steps: Collection[str], synthesised: bool = False) -> None:
    """Raise ConfigError for steps that are unknown, or that need a synthesis which is neither asked for nor there."""
    unknown = sorted(set(steps) - set(STEPS))
    if unknown or not steps:
        raise ConfigError(f"unknown step {', '.join(unknown) or '(none)'}; there are: {', '.join(STEPS)}")
    if "synth" not in steps and not synthesised:
        first = next(step for step in STEPS if step in steps)
        raise ConfigError(f"{first} works on the result of synth, and there is none yet; switch synth on too")


def failure(log: str, code: int | None = None) -> str:
    """Why a run failed, in one line: the first error of its log; a missing licence before all, for it causes the rest.

    code: the exit code, which is told where the log holds no error.
    """
    error = None
    for line in map(str.strip, log.splitlines()):
        if _NO_LICENCE.search(line):
            return f"no licence ({line[:300]}); set XILINXD_LICENSE_FILE to your licence file or port@server"
        if error is None and line.startswith("ERROR"):
            error = line[:300]
    return error or ("it was not synthesised, and its log holds no error" if code is None else f"exit code {code}")


def _results(layout: Layout) -> dict[str, tuple[Path, ...]]:
    """By step the files that show that it was done; none where it was not."""
    places = {
        "synth": (layout.csynth,),
        "cosim": (layout.cosim,),
        "export": layout.exported,
        "vsynth": (layout.folder / UTILISATION_FILE,),
        "bitfile": (layout.bitfile,),
    }
    return {step: tuple(path for path in paths if path.exists()) for step, paths in places.items()}


def _forget(layout: Layout, steps: Collection[str]) -> None:
    """Remove what an earlier run of these steps left, so that it is not taken for this one's.

    What builds on an earlier synthesis goes with it.
    """
    stale = set(STEPS) if "synth" in steps else set(steps)
    for step, paths in _results(layout).items():
        if step in stale:
            for path in paths:
                path.unlink()
    if "cosim" in stale:
        for path in layout.cosim_outputs:
            path.unlink()
    if "vsynth" in stale:
        for name in VSYNTH_FILES:
            (layout.folder / name).unlink(missing_ok=True)
    if "bitfile" in stale:
        for name in (*ROUTED_FILES, f"{layout.top}.hwh"):
            (layout.folder / name).unlink(missing_ok=True)


def _copy(project: Path, workdir: Path) -> Path:
    if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise ConfigError(f"{workdir} is not empty; choose another folder to work in, or remove it")
    return Path(shutil.copytree(project, workdir, symlinks=True, dirs_exist_ok=True))


def _find(program: str, variables: Collection[str]) -> str | None:
    """The path of ``program``, on PATH or in one of the installations that the variables name."""
    if found := shutil.which(program):
        return found
    homes = (os.environ.get(variable) for variable in variables)
    return next((found for home in homes if home and (found := shutil.which(program, path=f"{home}/bin"))), None)
