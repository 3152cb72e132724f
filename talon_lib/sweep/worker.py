"""What a job of Snakemake does: the jobs of one chunk, one after another, in one process."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from talon_lib.errors import ConfigError
from talon_lib.sweep import chunks, provenance, records
from talon_lib.sweep.results import read_result, result_path


def run(path: Path, call: Callable[[Sequence[str]], Any], say: Callable[[str], Any]) -> None:
    """Run the chunk that ``path`` describes; at the end stands ``path`` with the suffix .done.

    call: carries out a verb of talon-dse, which writes the result of a job. say: takes a line for the log. A job whose
    result is there is passed over: the chunk may be one that was killed. One during which a process has died comes
    last. Raises ConfigError where ``path`` is no chunk.
    """
    try:
        content = json.loads(path.read_text())
        stage, jobs = content["stage"], content["jobs"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{path}: not a chunk of a sweep; talon-dse sweep writes them") from None
    results = path.absolute().parents[2]
    begun = chunks.started(results, stage)
    recorded = []
    start = time.time()
    for job in sorted(jobs, key=lambda job: job["key"] in begun):  # stable
        result = result_path(results, stage, job["key"])
        with _held(chunks.marker(results, stage, job["key"])) as marker:
            there = result.exists() and "damaged" not in read_result(result, stage)
            seconds = 0.0 if there else _run(result, job["command"], call)
            marker.unlink(missing_ok=True)
        if there:
            continue
        status = read_result(result, stage)["status"]
        size = sum(file.stat().st_size for file in result.with_suffix("").rglob("*") if file.is_file())
        say(f"{stage} {job['label']} ({job['key']}): {status}, {seconds:.2f} s")
        size += result.stat().st_size
        recorded.append({"key": job["key"], "label": job["label"], "seconds": seconds, "bytes": size})
    if recorded:
        where = {"host": socket.gethostname(), "start": start, "end": time.time(), "node": provenance.node(stage)}
        records.write(results, stage, path.stem, {"stage": stage, "jobs": recorded, **where})
    path.with_suffix(".done").touch()


@contextlib.contextmanager
def _held(marker: Path) -> Iterator[Path]:
    """The marker of a job that is at work. One that another process works on, of a killed run, is waited for.

    The lock dies with its process. Where the file system knows no locks, both work, and either result is whole.
    """
    marker.parent.mkdir(parents=True, exist_ok=True)
    with marker.open("a") as held:
        with contextlib.suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX)
        yield marker


def _run(result: Path, command: Sequence[str], call: Callable[[Sequence[str]], Any]) -> float:
    """Carry out a job; returns the seconds it took."""
    shutil.rmtree(result.with_suffix(""), ignore_errors=True)  # what a process left that died at it
    start = time.perf_counter()
    try:
        call(command)
    except OSError as error:
        error.filename = error.filename or str(result)  # where a disk is full, it would name none
        raise
    return time.perf_counter() - start
