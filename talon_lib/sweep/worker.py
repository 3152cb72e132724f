"""What a job of Snakemake does: the jobs of one chunk, one after another, in one process."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from talon_lib.errors import ConfigError
from talon_lib.sweep import chunks, records
from talon_lib.sweep.points import result_path
from talon_lib.sweep.rows import read_result


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
    results = path.parents[2]
    begun = chunks.started(results, stage)
    recorded = []
    start = time.time()
    for job in sorted(jobs, key=lambda job: job["key"] in begun):  # stable
        result = result_path(results, stage, job["key"])
        if result.exists() and "damaged" not in read_result(result, stage):
            continue
        seconds = _run(results, stage, job, call)
        status = read_result(result, stage)["status"]
        size = sum(file.stat().st_size for file in result.with_suffix("").rglob("*") if file.is_file())
        say(f"{stage} {job['label']} ({job['key']}): {status}, {seconds:.2f} s")
        size += result.stat().st_size
        recorded.append({"key": job["key"], "label": job["label"], "seconds": seconds, "bytes": size})
    if recorded:
        where = {"host": socket.gethostname(), "start": start, "end": time.time()}
        records.write(results, stage, path.stem, {"stage": stage, "jobs": recorded, **where})
    path.with_suffix(".done").touch()


def _run(results: Path, stage: str, job: dict[str, Any], call: Callable[[Sequence[str]], Any]) -> float:
    marker = chunks.marker(results, stage, job["key"])
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    if stage == "synth":  # the tools go on with what they find
        shutil.rmtree(result_path(results, stage, job["key"]).with_suffix(""), ignore_errors=True)
    start = time.perf_counter()
    call(job["command"])
    seconds = time.perf_counter() - start
    marker.unlink(missing_ok=True)
    return seconds
