"""From the results of jobs to one table: a row for every point, failed ones included, in bounded memory.

Rows are made in parts, which jobs may have made before; what is not there is made here. Equal results give an equal
table, however the work was shared out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talon_lib.errors import ConfigError, FormatError
from talon_lib.sweep import table
from talon_lib.sweep.chunks import PARTS, Part, parts
from talon_lib.sweep.points import Plan, restore
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


def read_content(path: Path) -> dict[str, Any]:
    """The content of sweep.json. Raises FormatError."""
    try:
        content = json.loads(path.read_text())
        content["configuration"]["stages"], content["fingerprints"]["graphs"]
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}; talon-dse plan writes it") from None
    except (ValueError, KeyError, TypeError):
        raise FormatError(f"{path}: not the sweep.json of a sweep; talon-dse plan writes one") from None
    assert isinstance(content, dict)
    return content


def read_plan(path: Path) -> Plan:
    """The plan in sweep.json. Raises FormatError."""
    return plan_of(read_content(path), path)


def plan_of(content: Mapping[str, Any], path: Path) -> Plan:
    """The plan in the content of the sweep.json at ``path``. Raises FormatError."""
    try:
        return restore(content)
    except (ConfigError, KeyError, TypeError, AttributeError) as error:
        reason = str(error) if isinstance(error, ConfigError) else "of another version of talon-dse"
        raise FormatError(f"{path}: {reason}; talon-dse plan writes it anew") from None
