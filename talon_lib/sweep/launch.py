"""Start Snakemake on a sweep, one at a time in each results folder, and end with a table whatever happened."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from talon_lib.errors import ConfigError, FormatError
from talon_lib.files import write_json
from talon_lib.sweep import chunks, collect, points, table
from talon_lib.sweep.chunks import TABLE, Run
from talon_lib.sweep.provenance import COMMAND_VARIABLE, provenance, user_command

SNAKEFILE = Path("Snakefile")
PROFILE = Path("workflow/profiles/default")
PLAN, REPORT = "sweep.json", "report.html"

RUN_FOLDER = "run_folder"
"""The key by which the workflow is told where the results and the plan of the sweep are."""


@dataclass(frozen=True)
class Options:
    """How a sweep is run, which changes nothing of what comes out."""

    cores: int | None = None
    results: Path = Path("results")
    profile: Path = PROFILE
    retry_failed: bool = False
    chunk_seconds: float = chunks.CHUNK_SECONDS
    snakemake: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended: lines for the user. unfinished: where Snakemake failed, what to do."""

    lines: list[str]
    bad: int  # points that failed or took too long
    unfinished: str | None = None


def prepare(plan: points.Plan, results: Path, retry_failed: bool = False, chunk_seconds: float | None = None) -> Run:
    """Write into the folder ``results`` what Snakemake is to do: sweep.json where the plan is another, and chunks."""
    run = chunks.run_of(plan, results, retry_failed, chunk_seconds or chunks.CHUNK_SECONDS)
    if _planned(results) != plan.id:
        write_json(results / PLAN, {**plan.as_dict(), "id": plan.id, "provenance": provenance()})
    chunks.write(run, results)
    return run


def _planned(results: Path) -> str | None:
    """The hash of the plan that is there already."""
    try:
        found: str | None = collect.read_content(results / PLAN).get("id")
    except FormatError:
        return None
    return found


def launch(plan: points.Plan, options: Options) -> Outcome:
    """Run a planned sweep: what is missing, and no more.

    Raises ConfigError before anything runs for what cannot be right, ToolError where Snakemake failed.
    """
    if not SNAKEFILE.is_file():
        raise ConfigError("there is no Snakefile here; run talon-dse in the folder of the talon-dse clone")
    folder = options.results / plan.spec.name
    with _lock(folder) as lock:
        status = _run(plan, folder, options, lock)
        if status:
            collect.collect(plan, folder, folder / TABLE)
    return _outcome(folder, status)


def _outcome(folder: Path, status: int) -> Outcome:
    path = folder / TABLE
    bad = table.bad(path)
    lines = [table.summary(path), *_failures(path), *table.missing_tools(path)]
    if status:
        there = f"{path} holds what there is"
        return Outcome(lines, bad, f"Snakemake failed with exit {status}: {there}; run the sweep again for the rest")
    return Outcome([*lines, f"table:  {path}", f"report: {folder / REPORT}"], bad)


def _run(plan: points.Plan, folder: Path, options: Options, lock: int) -> int:
    """Prepare the plan and have Snakemake run it; returns Snakemake's exit code."""
    try:
        prepare(plan, folder, options.retry_failed, options.chunk_seconds)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot write results there ({error.strerror})") from None
    environment = {**os.environ, COMMAND_VARIABLE: user_command()}
    return subprocess.run(_command(folder, options), check=False, pass_fds=[lock], env=environment).returncode


def _command(folder: Path, options: Options) -> list[str]:
    command = [
        *(sys.executable, "-m", "snakemake"),
        *("--snakefile", str(SNAKEFILE)),
        *("--workflow-profile", str(options.profile)),
        # joined to ".", which changes no path: Snakemake would take a folder named 007 for the number 7
        *("--config", f"{RUN_FOLDER}={os.path.join('.', folder)}"),  # noqa: PTH118
        "--nolock",  # Snakemake's lock outlives a killed run; ours does not
    ]
    if options.cores or options.profile == PROFILE:
        command += ["--cores", str(options.cores or "all")]
    if sys.stderr.isatty() and importlib.util.find_spec("snakemake_logger_plugin_rich"):
        command += ["--logger", "rich"]
    else:
        command += ["--quiet", "host", "reason"]  # what starts, what ended, and errors
    return [*command, *options.snakemake]


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[int]:
    """Hold the folder for one run; yields the lock's file descriptor.

    The lock dies with the processes that hold the descriptor, us and Snakemake: a killed run leaves none behind, and a
    Snakemake that outlives us keeps it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot write results there ({error.strerror})") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"another run of this sweep is writing to {folder}; wait for it, or stop it") from None
        yield handle
    finally:
        os.close(handle)


def _failures(path: Path) -> Iterator[str]:
    """The reasons of points that are not ok, each once with its count, and what to do about them."""
    reasons = table.failures(path)
    for line, count in reasons.items():
        yield f"  {line} ({count} points)"
    if reasons:
        yield "run it again with --retry-failed (make sweep RETRY=1) once the reasons are gone"
