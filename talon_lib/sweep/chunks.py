"""What of a planned sweep is still to be run, in chunks: each a job of Snakemake that runs many jobs of one stage.

A job of Snakemake costs a process, on a cluster a place in a queue, and its graph grows slow with thousands of them. So
cheap jobs go many to a chunk, by the time that they took in earlier runs; costly ones have a chunk each, as long as all
chunks of a sweep stay below ``MOST_CHUNKS``. Rows of the table are made in parts, which are jobs as well.

The folder ``run`` beside the results says what the present run does: ``index.json``, and a file for each chunk with its
commands. It is made anew by every run, from what results there are, so that a result that is there is not made again.
"""

from __future__ import annotations

import math
import os
import shutil
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from talon_lib.files import write_json
from talon_lib.sweep import planfile, table
from talon_lib.sweep.digests import digest
from talon_lib.sweep.jobs import STAGES, Job
from talon_lib.sweep.planfile import PLAN
from talon_lib.sweep.points import Plan
from talon_lib.sweep.records import History
from talon_lib.sweep.results import read_result, result_path

MOST_CHUNKS = 1500
"""Chunks of a run, at most; with the parts of the table they are Snakemake's jobs."""

MOST_PARTS = 400
ROWS_IN_A_PART = 5000
"""A table of fewer rows is made in one go; a larger one in parts of so many, or more where they would be too many."""

CHUNK_SECONDS = 20.0
"""Work that a chunk of cheap jobs holds, by estimate, where there is enough of it for all cores."""

SHORT_CHUNK_SECONDS = 4.0
CHUNKS_OF_A_CORE = 4
"""Where there is less, chunks are shorter, so many to a core; but the process of each takes a second to start."""

CHUNK_JOBS = 1000
"""Jobs of a chunk, at most, however short they are said to be."""

CHEAP = ("simulate", "project")
"""Stages whose jobs share chunks. Those of the others are costly: each has a chunk of its own while there are few."""


@dataclass(frozen=True)
class Chunk:
    """Keys of jobs of one stage that run one after another in one process. seconds: what they may take, by estimate."""

    stage: str
    jobs: tuple[str, ...]
    seconds: float

    @property
    def key(self) -> str:
        """A hash of the jobs' keys."""
        return digest("chunk", self.stage, list(self.jobs))


@dataclass(frozen=True)
class Part:
    """The points from number ``first`` to before ``last``, whose rows are made by one job."""

    key: str
    first: int
    last: int


@dataclass(frozen=True)
class Run:
    """What is to be done for a plan: chunks in the order of stages, and parts (none where one job makes all rows).

    Chunks of jobs during which a process has died come after all others. done: jobs by stage whose result is there.
    newest: when the newest result was written, in nanoseconds. planned: whether sweep.json holds the plan. collected:
    whether the table stands for sweep.json and the results that are there; reported: whether the report stands for the
    table.
    """

    plan: Plan
    chunks: tuple[Chunk, ...]
    parts: tuple[Part, ...]
    done: Mapping[str, int]
    history: History
    newest: int
    planned: bool
    collected: bool
    reported: bool

    @property
    def complete(self) -> bool:
        """Whether nothing is to be done, and the table is there."""
        return self.planned and self.collected and not self.chunks

    def of_stage(self, stage: str) -> list[Chunk]:
        """The chunks of a stage."""
        return [chunk for chunk in self.chunks if chunk.stage == stage]


def parts(plan: Plan) -> tuple[Part, ...]:
    """All points in parts, in order."""
    count = len(plan.points)
    size = max(ROWS_IN_A_PART, math.ceil(count / MOST_PARTS))
    bounds = ((start, min(start + size, count)) for start in range(0, count, size))
    return tuple(Part(digest("part", plan.id, first, last), first, last) for first, last in bounds)


def missing(plan: Plan, results: Path, retry_failed: bool = False) -> dict[str, list[str]]:
    """By stage the keys of jobs without a result under ``results``, or with a damaged one, or a failed one to retry."""
    found: dict[str, list[str]] = {}
    for stage, jobs in plan.jobs.items():
        there = {path.stem for path in (results / stage).glob("*.json")}
        found[stage] = [key for key in jobs if key not in there or _unusable(results, stage, key, retry_failed)]
    return found


def _unusable(results: Path, stage: str, key: str, retry_failed: bool) -> bool:
    found = read_result(result_path(results, stage, key), stage)
    if "damaged" in found:
        return True
    # with problems, a tool was missing, and may be there by now
    return retry_failed and (found["status"] != "ok" or bool(found["result"].get("problems")))


def forget_failures(results: Path) -> None:
    """Remove the results of jobs that are damaged, that failed, or that a missing tool cut short."""
    for stage in STAGES:
        for path in (results / stage).glob("*.json"):
            if _unusable(results, stage, path.stem, retry_failed=True):
                path.unlink()


def run_of(
    plan: Plan,
    results: Path,
    retry_failed: bool = False,
    chunk_seconds: float | None = None,
    cores: int | None = None,
) -> Run:
    """What is to be done, given the results that are there. Writes nothing.

    chunk_seconds: work that a chunk of cheap jobs holds; by default CHUNK_SECONDS, or less where one of so many cores
    (by default all of this machine) would have nothing to do.
    """
    left = missing(plan, results, retry_failed)
    history = History.read(results)
    suspects = {key for stage in STAGES for key in started(results, stage)}
    seconds = {
        stage: array("d", (history.seconds(stage, plan.jobs[stage].network(key)) for key in keys))
        for stage, keys in left.items()
    }
    if chunk_seconds is None:
        work = sum(sum(seconds[stage]) for stage in CHEAP)
        chunk_seconds = min(CHUNK_SECONDS, max(work / (CHUNKS_OF_A_CORE * (cores or own_cores())), SHORT_CHUNK_SECONDS))
    every = parts(plan)
    newest = max((_changed(path) for stage in STAGES for path in (results / stage).glob("*.json")), default=0)
    return Run(
        plan,
        tuple(_chunks(left, seconds, suspects, chunk_seconds)),
        every if len(every) > 1 else (),
        done={stage: len(plan.jobs[stage]) - len(keys) for stage, keys in left.items()},
        history=history,
        newest=newest,
        planned=planfile.holds(results / PLAN, plan),
        collected=_stands(results / TABLE, max(newest, _changed(results / PLAN))),
        reported=0 < _changed(results / TABLE) <= _changed(results / REPORT),
    )


def own_cores() -> int:
    """The cores of this machine that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(
    left: Mapping[str, Sequence[str]],
    seconds: Mapping[str, Sequence[float]],
    suspects: Collection[str],
    chunk_seconds: float,
) -> list[Chunk]:
    """Chunks of about so many seconds, costly jobs alone; larger ones where there would be too many.

    seconds: what each job may take. suspects: jobs during which a process has died. They have chunks of their own, so
    that they take no others along.
    """
    alone = [
        Chunk(stage, (key,), own)
        for stage in STAGES
        for key, own in zip(left[stage], seconds[stage], strict=True)
        if key in suspects
    ]
    most = max(MOST_CHUNKS - len(alone), MOST_CHUNKS // 2)
    # where there are too many, what is about enough; the rest is tried
    chunk_seconds = max(chunk_seconds, sum(sum(seconds[stage]) for stage in CHEAP) / most)
    cheap = max(CHUNK_JOBS, math.ceil(sum(len(left[stage]) for stage in CHEAP) / most))
    costly = max(1, math.ceil(sum(len(left[stage]) for stage in STAGES if stage not in CHEAP) / most))

    def jobs(stage: str) -> Iterator[tuple[str, float]]:
        every = zip(left[stage], seconds[stage], strict=True)
        return (job for job in every if job[0] not in suspects)

    while True:
        found = [
            chunk
            for stage in STAGES
            for chunk in (
                _filled(stage, jobs(stage), chunk_seconds, cheap)
                if stage in CHEAP
                else _filled(stage, jobs(stage), math.inf, costly)
            )
        ]
        if len(found) <= most:
            return found + alone
        if 2 * sum(chunk.stage in CHEAP for chunk in found) > most:
            chunk_seconds, cheap = 2 * chunk_seconds, 2 * cheap
        else:
            costly *= 2


def _filled(stage: str, jobs: Iterable[tuple[str, float]], seconds: float, most: int) -> Iterator[Chunk]:
    held: list[str] = []
    total = 0.0
    for key, own in jobs:
        if held and (total + own > seconds or len(held) >= most):
            yield Chunk(stage, tuple(held), total)
            held, total = [], 0.0
        held.append(key)
        total += own
    if held:
        yield Chunk(stage, tuple(held), total)


RUN, PARTS, TABLE, REPORT = "run", "parts", "metrics.parquet", "report.html"
"""Beside the results: what a run is to do, the table in parts, the table, the report."""


def write(run: Run, results: Path) -> None:
    """Write the folder ``run``, in the place of that of an earlier run, and take away what results no longer stand for.

    Parts and table go where a chunk is still to be run, or a result is newer than they are, and the table where the
    plan is: they hold other rows.
    """
    folder = results / RUN
    shutil.rmtree(folder, ignore_errors=True)
    for chunk in run.chunks:
        for key in chunk.jobs:  # damaged, or failed and to be tried again
            result_path(results, chunk.stage, key).unlink(missing_ok=True)
        own = (run.plan.jobs[chunk.stage][key] for key in chunk.jobs)
        jobs = [{"key": job.key, "label": job.label, "command": command(job, results)} for job in own]
        write_json(folder / chunk.stage / f"{chunk.key}.json", {"stage": chunk.stage, "jobs": jobs})
    _forget_stale(run, results)
    by_project = {key: chunk.key for chunk in run.of_stage("project") for key in chunk.jobs}
    index = {
        "plan": run.plan.id,
        "timeouts": {
            "csim": run.plan.spec.stages.csim_timeout_s,
            "synth": run.plan.spec.synth.timeout_s,
            "rtl": run.plan.spec.synth.timeout_s,
        },
        "chunks": {
            stage: {
                chunk.key: {
                    "jobs": len(chunk.jobs),
                    "seconds": chunk.seconds,
                    "after": _after(run.plan, chunk, by_project),
                }
                for chunk in run.of_stage(stage)
            }
            for stage in STAGES
        },
        "folder": len(run.plan.points) > table.ROWS_IN_ONE_FILE,
        "parts": {part.key: [part.first, part.last] for part in run.parts},
    }
    write_json(folder / "index.json", index)


def _after(plan: Plan, chunk: Chunk, by_project: Mapping[str, str]) -> list[str]:
    """The chunks that write the projects which a chunk of syntheses works on."""
    if chunk.stage != "synth":
        return []
    projects = (plan.jobs["synth"][key].after or "" for key in chunk.jobs)
    return sorted({by_project[key] for key in projects if key in by_project})


def command(job: Job, results: Path) -> tuple[str, ...]:
    """The ``talon-dse`` verb of a job with its arguments; what it makes beside its result is in a folder of its own."""
    result = result_path(results, job.stage, job.key)
    folder = result.with_suffix("")
    places: tuple[str, ...] = ()
    if job.stage in ("project", "rtl"):
        places = (f"--folder={folder}",)
    if job.after is not None:
        places = (str(result_path(results, "project", job.after).with_suffix("")), f"--workdir={folder}")
    expected = ("--expect", *job.expects) if job.expects else ()
    return (job.stage, *places, *job.arguments, *expected, "--record-failure", f"--output={result}")


def marker(results: Path, stage: str, key: str) -> Path:
    """What is there from when a job begins to when it ends: after that, its process has died."""
    return results / stage / f".{key}.started"


def started(results: Path, stage: str) -> set[str]:
    """The keys of jobs that have begun and not ended."""
    return {path.name.split(".")[1] for path in (results / stage).glob(".*.started")}


def _forget_stale(run: Run, results: Path) -> None:
    """Remove parts and a table that hold other rows than the results would make, or are damaged."""
    kept = {f"{part.key}.parquet" for part in run.parts}
    for path in (results / PARTS).glob("*.parquet"):
        if run.chunks or path.name not in kept or not _stands(path, run.newest):
            path.unlink()
    path = results / TABLE
    # Snakemake takes a table that stands for made, whatever chunks are missing before it
    if path.exists() and not run.complete:
        table.remove(path)


def _stands(path: Path, newest: int) -> bool:
    """Whether rows are there and whole, and nothing that they are made of is newer."""
    return path.exists() and _changed(path) >= newest and table.is_whole(path)


def _changed(path: Path) -> int:
    """When it was changed, in nanoseconds; 0 where it is not there."""
    return path.stat().st_mtime_ns if path.exists() else 0
