"""Start Snakemake on a sweep, one at a time in each results folder, and end with a table whatever happened."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from talon_lib.errors import ConfigError, FormatError, ToolError
from talon_lib.sweep import collect, points, spec
from talon_lib.sweep.provenance import COMMAND_VARIABLE, user_command

SNAKEFILE = Path("Snakefile")
PROFILE = Path("workflow/profiles/default")


def launch(
    config: Path, cores: int | None, results: Path, dry_run: bool, retry_failed: bool, options: Sequence[str]
) -> Iterator[str]:
    """Run the sweep in ``config``; yields lines for the user, the last of them where the report is.

    Raises ConfigError before anything runs for what cannot be right, ToolError where Snakemake failed and no table
    could be made.
    """
    if not SNAKEFILE.is_file():
        raise ConfigError("there is no Snakefile here; run talon-dse sweep in the folder of the talon-dse clone")
    plan = points.plan(spec.load(config))
    folder = results / plan.spec.name
    with _lock(folder) as lock:
        if retry_failed and not dry_run:
            _forget_failures(folder, plan)
        command = _command(config, cores, results, dry_run, options)
        environment = {**os.environ, COMMAND_VARIABLE: user_command()}
        status = subprocess.run(command, check=False, pass_fds=[lock], env=environment).returncode
        if dry_run:
            if status:
                raise ToolError(f"Snakemake failed with exit {status}; its output above says why")
            return
        if status != 0:
            yield from _salvage(folder, plan, status)
            return
    table = collect.read_table(folder / "metrics.parquet")
    yield collect.summary(table)
    yield from _failures(table)
    yield from collect.missing_tools(table)
    yield f"table:  {folder / 'metrics.parquet'}"
    yield f"report: {folder / 'report.html'}"


def _command(config: Path, cores: int | None, results: Path, dry_run: bool, options: Sequence[str]) -> list[str]:
    command = [
        *(sys.executable, "-m", "snakemake"),
        *("--snakefile", str(SNAKEFILE)),
        *("--workflow-profile", str(PROFILE)),
        *("--configfile", str(config)),
        # joined to ".", which changes no path: Snakemake would take a folder named 007 for the number 7
        *("--config", f"results_folder={os.path.join('.', results)}", f"config_file={config}"),  # noqa: PTH118
        *("--cores", str(cores) if cores else "all"),
        "--nolock",  # Snakemake's lock outlives a killed run; ours does not
    ]
    if sys.stderr.isatty() and importlib.util.find_spec("snakemake_logger_plugin_rich"):
        command += ["--logger", "rich"]
    elif not dry_run:
        command += ["--quiet", "host", "reason"]  # what starts, what ended, and errors
    if dry_run:
        command.append("--dry-run")
    return [*command, *options]


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


def _forget_failures(folder: Path, plan: points.Plan) -> None:
    """Remove the results of jobs that failed, and damaged ones, so that they run again."""
    for stage, jobs in plan.jobs.items():
        for key in jobs:
            path = points.result_path(folder, stage, key)
            found = collect.read_result(path, stage)
            if found["status"] != "ok" or found["result"].get("problems"):  # a tool may be there by now
                path.unlink(missing_ok=True)


def _salvage(folder: Path, plan: points.Plan, status: int) -> Iterator[str]:
    """Snakemake failed (a job was killed, say): collect what there is, with rows for what is not."""
    try:
        written = collect.read_plan(folder / "sweep.json")
    except FormatError:
        written = {}
    if written.get("id") != plan.id:  # none, or that of an earlier configuration
        raise ToolError(f"Snakemake failed with exit {status} before the sweep began; see its output above")
    table = collect.collect(written, folder)
    collect.write(table, folder / "metrics.parquet")
    yield collect.summary(table)
    yield from _failures(table)
    raise ToolError(
        f"Snakemake failed with exit {status}: {folder / 'metrics.parquet'} holds what there is; run the sweep again "
        "for the rest"
    )


def _failures(table: pa.Table) -> Iterator[str]:
    """The reasons of failed points, each once with its count."""
    reasons: dict[str, int] = {}
    for row in table.select(["status", "network", "precision", "reason"]).to_pylist():
        if row["status"] != "ok":
            line = f"{row['status']}: {row['network']} {row['precision']}: {row['reason']}"
            reasons[line] = reasons.get(line, 0) + 1
    for line, count in reasons.items():
        yield f"  {line} ({count} points)"
    if reasons:
        yield "run it again with --retry-failed (make sweep RETRY=1) once the reasons are gone"
