"""What a job of Snakemake does: the jobs of one chunk, one after another, in one process."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from talon_lib.errors import ConfigError
from talon_lib.sweep import chunks, provenance, records
from talon_lib.sweep.locks import held
from talon_lib.sweep.results import read_result, result_path

SECONDS_BETWEEN_RECORDS = 5.0


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
    recorded = _Record(results, stage, path.stem)
    try:
        for job in sorted(jobs, key=lambda job: job["key"] in begun):  # stable
            result = result_path(results, stage, job["key"])
            with held(chunks.marker(results, stage, job["key"])) as marker:
                there = result.exists() and "damaged" not in read_result(result, stage)
                seconds = 0.0 if there else _run(result, job["command"], call)
                marker.unlink(missing_ok=True)
            if there:
                continue
            status = read_result(result, stage)["status"]
            size = sum(file.stat().st_size for file in result.with_suffix("").rglob("*") if file.is_file())
            say(f"{stage} {job['label']} ({job['key']}): {status}, {seconds:.2f} s")
            size += result.stat().st_size
            recorded.add({"key": job["key"], "label": job["label"], "seconds": seconds, "bytes": size})
    finally:
        with contextlib.suppress(OSError):  # a full disk is said of the result
            recorded.write()
    path.with_suffix(".done").touch()


class _Record:
    """What this process has run of a chunk, and on which node.

    It is kept at the first job, every few seconds and at the end, so that of a process that is killed the node is known
    and, but for the last seconds, what its jobs took.
    """

    def __init__(self, results: Path, stage: str, chunk: str) -> None:
        self._results, self._stage = results, stage
        self._name = f"{chunk}.{socket.gethostname()}.{os.getpid()}"  # another process may run the rest of the chunk
        self._start = time.time()
        self._jobs: list[dict[str, Any]] = []
        self._written = (0, -math.inf)  # so many jobs, at that time

    def add(self, job: dict[str, Any]) -> None:
        self._jobs.append(job)
        if time.monotonic() - self._written[1] > SECONDS_BETWEEN_RECORDS:
            self.write()

    def write(self) -> None:
        if len(self._jobs) > self._written[0]:
            where = {"host": socket.gethostname(), "start": self._start, "end": time.time()}
            content = {"stage": self._stage, "jobs": self._jobs, **where, "node": provenance.node(self._stage)}
            records.write(self._results, self._stage, self._name, content)
            self._written = (len(self._jobs), time.monotonic())


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
