"""From the results of jobs to one table: a row for every point, failed ones included, in bounded memory.

Rows are made in parts, which jobs may have made before; what is not there is made here. Equal results give an equal
table, however the work was shared out.
"""

from __future__ import annotations

from pathlib import Path

from talon_lib.errors import ConfigError
from talon_lib.sweep import table
from talon_lib.sweep.chunks import PARTS, Part, parts
from talon_lib.sweep.points import Plan
from talon_lib.sweep.rows import Rows


def collect(plan: Plan, results: Path, path: Path) -> None:
    """Write the table of a planned sweep from the job results under ``results`` to ``path``, whole or not at all.

    A result that is missing or unreadable makes its points failed rows with the reason. Raises ConfigError where there
    are no points.
    """
    if not len(plan.points):
        raise ConfigError("the sweep has no points")
    folder = results / PARTS
    own: list[Path] = []
    try:
        for part in (every := parts(plan)):
            if not (there := part_path(results, part)).exists():
                folder.mkdir(parents=True, exist_ok=True)
                write_part(plan, results, part, there)
                own.append(there)
        table.merge([part_path(results, part) for part in every], path, len(plan.points))
    finally:
        for made in own:
            made.unlink(missing_ok=True)


def write_part(plan: Plan, results: Path, part: Part, path: Path) -> None:
    """Write the rows of one part, whole or not at all."""
    table.write_part(Rows.of_plan(plan, results).make(plan.points.between(part.first, part.last)), path)


def part_path(results: Path, part: Part) -> Path:
    """Where the rows of a part are."""
    return results / PARTS / f"{part.key}.parquet"


def part_of(plan: Plan, key: str) -> Part:
    """The part of that key. Raises ConfigError where the plan has none."""
    found = next((part for part in parts(plan) if part.key == key), None)
    if found is None:
        raise ConfigError(f"part {key}: the sweep has none of that name; it was planned anew meanwhile")
    return found
