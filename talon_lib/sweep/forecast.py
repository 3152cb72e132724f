"""What a run will take, said before it runs: jobs, time and disk, from the records of earlier runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from talon_lib.sweep.chunks import Run, own_cores
from talon_lib.sweep.jobs import STAGES

ROW_SECONDS = 5e-4
ROW_BYTES = 250.0
"""What a row of the table takes, about: the example's table has 270 bytes a row, a large one fewer."""

Cells = tuple[str, ...]


def table(run: Run) -> list[Cells]:
    """A line for each stage, and one for all: jobs, those whose result is there, chunks, time on one core, disk."""
    lines: list[Cells] = [("stage", "jobs", "there", "to run", "Snakemake jobs", "work", "disk")]
    totals = [0, 0, 0, 0]
    seconds = size = 0.0
    for stage in STAGES:
        chunks = run.of_stage(stage)
        left = sum(len(chunk.jobs) for chunk in chunks)
        numbers = [left + run.done[stage], run.done[stage], left, len(chunks)]
        if not numbers[0]:
            continue
        own = sum(chunk.seconds for chunk in chunks), left * run.history.bytes(stage)
        lines.append((stage, *map("{:,}".format, numbers), duration(own[0]), amount(own[1])))
        totals = [total + number for total, number in zip(totals, numbers, strict=True)]
        seconds, size = seconds + own[0], size + own[1]
    rows, reports = (0 if run.complete else len(run.parts) + 1), (0 if run.complete and run.reported else 1)
    own = _rows(run) * ROW_SECONDS, _rows(run) * ROW_BYTES
    lines.append(("rows", f"{len(run.plan.points):,}", "", "", f"{rows:,}", duration(own[0]), amount(own[1])))
    lines.append(("report", "", "", "", str(reports), "", ""))
    totals[3] += rows + reports
    lines.append(("all", "", "", "", f"{totals[3]:,}", duration(seconds + own[0]), amount(size + own[1])))
    return lines


def lines(run: Run, results: Path, cores: int | None = None) -> Iterator[str]:
    """What the numbers stand on, and how long it takes here, on so many cores (all of them by default)."""
    seconds = sum(chunk.seconds for chunk in run.chunks) + _rows(run) * ROW_SECONDS
    many = cores or own_cores()
    where = f"{many} {'core' if many == 1 else 'cores'} of this machine"
    yield f"{len(run.plan.points):,} points; about {duration(seconds / many)} on {where}"
    if run.history.recorded:
        yield f"estimated from {run.history.recorded:,} jobs that have run in {results}, by network and stage"
    else:
        yield f"estimated from the example sweep: nothing has run in {results}"


def _rows(run: Run) -> int:
    """The rows that are to be made."""
    return 0 if run.complete else len(run.plan.points)


def keys(run: Run) -> list[Cells]:
    """A line for each job: its stage and key, whether it is to run, and what it is."""
    left = {(chunk.stage, key) for chunk in run.chunks for key in chunk.jobs}
    return [
        (stage, key, "to run" if (stage, key) in left else "there", job.label)
        for stage in STAGES
        for key, job in run.plan.jobs[stage].items()
    ]


def duration(seconds: float) -> str:
    """In the unit that fits."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"


def amount(size: float) -> str:
    """Bytes, in the unit that fits."""
    for unit, many in (("GB", 1e9), ("MB", 1e6)):
        if size >= many:
            return f"{size / many:,.1f} {unit}"
    return f"{size / 1e3:,.0f} kB"
