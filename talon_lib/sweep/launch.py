"""Start Snakemake on a sweep, one at a time in each results folder, and end with a table whatever happened."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from talon_lib.errors import ConfigError, ToolError
from talon_lib.files import parse_yaml, remove_leftovers
from talon_lib.sweep import chunks, collect, generations, planfile, points, records, table
from talon_lib.sweep.chunks import CHUNK_SECONDS, PARTS, REPORT, TABLE, Run
from talon_lib.sweep.jobs import STAGES
from talon_lib.sweep.locks import run_held, table_held
from talon_lib.sweep.planfile import PLAN
from talon_lib.sweep.provenance import COMMAND_VARIABLE, user_command

SNAKEFILE = Path("Snakefile")
PROFILE = Path("workflow/profiles/default")
LOGS = "logs"

_WRITTEN = (PARTS, *STAGES, *(f"{records.RECORDS}/{stage}" for stage in STAGES))
"""The folders below the results in which many processes write; that of a job is emptied before the job begins."""

LOCAL = "local"
"""Snakemake's executor on this machine, which is no plugin."""

RUN_FOLDER = "run_folder"
"""The key by which the workflow is told where the results and the plan of the sweep are."""


@dataclass(frozen=True)
class Options:
    """How a sweep is run, which changes nothing of what comes out."""

    cores: int | None = None
    results: Path = Path("results")
    profile: Path = PROFILE
    retry_failed: bool = False
    chunk_seconds: float | None = None
    snakemake: Sequence[str] = ()
    say: Callable[[str], Any] = print


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended: lines for the user. unfinished: where Snakemake failed, what to do."""

    lines: list[str]
    bad: int  # points that failed or took too long
    unfinished: str | None = None


def prepare(
    plan: points.Plan,
    results: Path,
    retry_failed: bool = False,
    chunk_seconds: float | None = None,
    cores: int | None = None,
) -> Run:
    """Write into the folder ``results`` what Snakemake is to do: sweep.json where the plan is another, and chunks.

    Raises ConfigError where that cannot be written, and for a search that has no points as yet.
    """
    if plan.searching:
        raise ConfigError("a search runs in generations, which Snakemake alone does not know: talon-dse sweep runs it")
    try:
        with table_held(results):
            run = chunks.run_of(plan, results, retry_failed, chunk_seconds, cores)
            remove_leftovers(results, *(results / place for place in _WRITTEN))
            if run.chunks or not run.planned:  # what runs now is of today's versions
                planfile.write(plan, results / PLAN)
            chunks.write(run, results)
    except OSError as error:
        raise ConfigError(f"{results}: cannot write results there ({error.strerror or error})") from None
    return run


def check_place(options: Options) -> None:
    """Raise ConfigError where the workflow, the profile, or the plugin of its executor, is not."""
    if not SNAKEFILE.is_file():
        raise ConfigError("there is no Snakefile here; run talon-dse sweep in the folder of the talon-dse clone")
    if strange := set("#{}") & set(str(options.results)):
        raise ConfigError(f"--results {options.results}: Snakemake does not take {''.join(sorted(strange))} in a path")
    for option in options.snakemake:
        if option.startswith(("-n", "-C", "--dry", "--config")):  # -nq, --config=… and --configfile as well
            raise ConfigError(f"{option} is not for Snakemake here: talon-dse plan says what would run")
    if options.snakemake and not options.snakemake[0].startswith("-"):
        raise ConfigError(
            f"one configuration at a time, without {options.snakemake[0]}; Snakemake's options go after --"
        )
    if not (options.profile / "config.yaml").is_file():
        raise ConfigError(f"--profile: {options.profile} has no config.yaml; see docs/cluster.md")
    executor = _executor(options)
    if executor in ("dryrun", "touch"):
        raise ConfigError(f"executor {executor} is not for Snakemake here: talon-dse plan says what would run")
    plugin = f"snakemake_executor_plugin_{executor.replace('-', '_')}"
    if executor != LOCAL and not (plugin.isidentifier() and importlib.util.find_spec(plugin)):
        raise ConfigError(
            f"executor {executor}: Snakemake's plugin for it is not installed; `make cluster` installs slurm and "
            f"cluster-generic, `pip install {plugin.replace('_', '-')}` this one alone"
        )


class _Options(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"Snakemake's options: {message}")


def _executor(options: Options) -> str:
    """What Snakemake is told to run jobs with: by its own options, or else by the profile."""
    path = options.profile / "config.yaml"
    try:
        profile = parse_yaml(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    found = profile.get("executor") if isinstance(profile, dict) else None
    parser = _Options(add_help=False)
    parser.add_argument("-e", "--executor")
    given, _ = parser.parse_known_args(options.snakemake)
    return str(found or LOCAL) if given.executor is None else str(given.executor)


def chunk_seconds(options: Options) -> float | None:
    """The work of a chunk, where it is not to be of the cores of this machine: as told, or for a cluster."""
    if options.chunk_seconds is None and _executor(options) != LOCAL:
        return CHUNK_SECONDS
    return options.chunk_seconds


def launch(plan: points.Plan, options: Options) -> Outcome:
    """Run a planned sweep: what is missing, and no more.

    Raises ConfigError before anything runs for what cannot be right, ToolError where Snakemake failed.
    """
    check_place(options)
    folder = options.results / plan.spec.name
    with run_held(folder) as lock:
        if not plan.searching:
            return _outcome(folder, _run(plan, folder, options, lock))
        once = replace(options, retry_failed=False)  # the search forgets failures by itself, before it begins

        def run(generation: points.Plan, only: Sequence[Path]) -> int:
            return _run(generation, folder, once, lock, only)

        status, front = generations.search(plan, folder, run, options.retry_failed, options.say)
        outcome = _outcome(folder, status)
        return replace(outcome, lines=[*outcome.lines, *front])


def _outcome(folder: Path, status: int) -> Outcome:
    path = folder / TABLE
    if not path.exists():
        raise ToolError(f"Snakemake ended without {path}, as its options may have told it")
    bad = table.bad(path)
    lines = [table.summary(path), *_failures(path), *table.missing_tools(path)]
    if status:
        there = f"{path} holds what there is"
        lines += _last_words(folder)
        return Outcome(lines, bad, f"Snakemake failed with exit {status}: {there}; run the sweep again for the rest")
    return Outcome([*lines, f"table:  {path}", f"report: {folder / REPORT}"], bad)


def _run(plan: points.Plan, folder: Path, options: Options, lock: int, only: Sequence[Path] = ()) -> int:
    """Prepare the plan and have Snakemake run it, or make some files ``only``; returns Snakemake's exit code.

    Where that is not 0, the table is made here, of what there is.
    """
    prepare(plan, folder, options.retry_failed, chunk_seconds(options), options.cores)
    environment = {**os.environ, COMMAND_VARIABLE: user_command()}
    if shutil.which("talon-dse") is None:  # started by its path: the jobs find it as well
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    status = _wait(subprocess.Popen(_command(folder, options, only), pass_fds=[lock], env=environment))
    if status:
        with table_held(folder):
            planfile.note_nodes(folder / PLAN)
            collect.collect(plan, folder, folder / TABLE)
            # the next run makes it again: a process that outlives this run may end while the table is made
            os.utime(folder / TABLE, (0, 0))
    return status


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The exit code. Snakemake gets Ctrl-C as well, and ends its jobs in order, which may take a while on a cluster."""
    interrupts = 0
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts > 1:
                process.terminate()


def _command(folder: Path, options: Options, only: Sequence[Path]) -> list[str]:
    command = [
        *(sys.executable, "-m", "snakemake", *map(str, only)),
        *("--snakefile", str(SNAKEFILE)),
        *_output(),
        *("--workflow-profile", str(options.profile)),
        # joined to ".", which changes no path: Snakemake would take a folder named 007 for the number 7
        *("--config", f"{RUN_FOLDER}={os.path.join('.', folder)}"),  # noqa: PTH118
        "--nolock",  # Snakemake's lock outlives a killed run; ours does not
    ]
    if options.cores:  # else what the profile says
        command += ["--cores", str(options.cores)]
    return [*command, *options.snakemake]


def _output() -> list[str]:
    if sys.stderr.isatty() and importlib.util.find_spec("snakemake_logger_plugin_rich"):
        return ["--logger", "rich"]
    return ["--quiet", "host", "reason"]  # what starts, what ended, and errors


def _last_words(folder: Path) -> list[str]:
    """What processes of this run ended with that did not run to their end, each line once."""
    began = (folder / chunks.RUN / "index.json").stat().st_mtime_ns
    found: dict[str, None] = {}
    for path in sorted((folder / LOGS).rglob("*.log")):
        if path.stat().st_mtime_ns >= began:
            last = path.read_text(errors="replace").rstrip().rpartition("\n")[2]
            chunk = folder / chunks.RUN / path.parent.name / path.stem
            cut = chunk.with_suffix(".json").exists() and not chunk.with_suffix(".done").exists()
            if last and (cut or last.startswith("talon-dse: ")):
                found["  " + last.removeprefix("talon-dse: ")] = None
    return list(found)


def _failures(path: Path) -> Iterator[str]:
    """The reasons of points that are not ok, each once with its count, and what to do about them."""
    reasons = table.failures(path)
    for line, count in reasons.items():
        yield f"  {line} ({count} points)"
    if any("the job did not end" not in line for line in reasons):  # else the next run makes them
        yield "run it again with --retry-failed (make sweep RETRY=1) once the reasons are gone"
