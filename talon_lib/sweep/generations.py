"""A search as runs of Snakemake: a generation of points after the other, each told to the optimiser."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from talon_lib.cost.devices import RESOURCES
from talon_lib.sweep import chunks, table
from talon_lib.sweep.chunks import TABLE
from talon_lib.sweep.points import Plan, Point
from talon_lib.sweep.search import Study

STUDY = "study.jsonl"

Runner = Callable[[Plan, Sequence[Path]], int]
"""Runs what is missing of a plan, or what some files alone need, where any are given; returns Snakemake's exit code."""


def search(
    plan: Plan, folder: Path, run: Runner, retry_failed: bool, say: Callable[[str], Any]
) -> tuple[int, Iterator[str]]:
    """Run the generations of a search; where one fails, the next call goes on with it.

    Returns Snakemake's last exit code, and lines on the points that are best, which need the table. Raises ConfigError
    where there is a study of another search, FormatError where the study or a table is damaged.
    """
    assert plan.spec.search is not None
    path = folder / TABLE
    others = replace(plan, spec=plan.spec.model_copy(update={"search": None}))  # a budget may grow
    study = Study.open(folder / STUDY, plan.spec.search, plan.space, others.id)
    if retry_failed:  # a study does not forget what failed: it is told again, of the results that are there
        (folder / STUDY).unlink(missing_ok=True)
        chunks.forget_failures(folder)  # of later generations too, of which nobody knows yet what they ask for
        study = Study.open(folder / STUDY, plan.spec.search, plan.space, others.id)
    while asked := study.ask():
        known = study.evaluated
        say(f"search: {len(known)} of {plan.spec.search.budget} points known, {len(asked)} asked for")
        generation = replace(plan, chosen=tuple(sorted({*known, *asked})))
        if status := run(generation, (path,)):
            return status, iter(())
        study.tell(_rows(generation, path, asked))
    found = replace(plan, chosen=tuple(sorted(study.evaluated)))
    status = run(found, ())
    best = [found.points[bisect.bisect_left(found.chosen or (), number)] for number in study.front()]
    return status, _front(found, path, best)


def _rows(plan: Plan, path: Path, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The rows of some points, by their number in the space: those columns that a search is told."""
    assert plan.spec.search is not None and plan.chosen is not None
    goals = [goal.column for goal in plan.spec.search.goals]
    columns = list(dict.fromkeys(["status", "fits", *(f"{name}_utilisation" for name in RESOURCES), *goals]))
    rows = table.read_columns(path, columns).to_pylist()
    return {number: rows[bisect.bisect_left(plan.chosen, number)] for number in numbers}


def _front(plan: Plan, path: Path, best: Sequence[Point]) -> Iterator[str]:
    """Lines on the points that none beats, from the best first objective on."""
    assert plan.spec.search is not None
    goals = [goal.column for goal in plan.spec.search.goals]
    rows = {row["point_id"]: row for row in table.read_columns(path, ["point_id", *goals]).to_pylist()}
    yield f"search: {len(plan.points)} of {plan.space.size:,} points tried, none better in all objectives than these:"
    for point in best:
        values = ", ".join(f"{goal} {rows[point.id][goal]:.6g}" for goal in goals)
        yield f"  {values}: {point.network}, {point.timesteps} steps, {point.precision}, R={point.reuse_factor}"
