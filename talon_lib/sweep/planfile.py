"""sweep.json: the plan of a sweep, and what it was made with and where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talon_lib.errors import ConfigError, FormatError
from talon_lib.files import write_json
from talon_lib.sweep import records
from talon_lib.sweep.points import Plan, restore
from talon_lib.sweep.provenance import nodes, provenance

PLAN = "sweep.json"


def write(plan: Plan, path: Path) -> None:
    """Write a plan, and the provenance of this process, whole or not at all."""
    write_json(path, {**_content(plan), "provenance": provenance()})


def holds(path: Path, plan: Plan) -> bool:
    """Whether the file is there already, of this plan and as it was written."""
    try:
        found = read_content(path)
    except FormatError:
        return False
    own = json.loads(json.dumps(_content(plan)))
    return {key: value for key, value in found.items() if key != "provenance"} == own and "provenance" in found


def _content(plan: Plan) -> dict[str, Any]:
    return {**plan.as_dict(), "id": plan.id}


def read_content(path: Path) -> dict[str, Any]:
    """The content of sweep.json. Raises FormatError."""
    try:
        content = json.loads(path.read_text())
        content["configuration"]["stages"], content["fingerprints"]["graphs"]
        if not isinstance(content.get("provenance", {}), dict):
            raise TypeError
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


def note_nodes(path: Path) -> None:
    """Note in the sweep.json at ``path`` which nodes made the results beside it, as the records say.

    The plan and the file's time stay: Snakemake would take all that is made of a plan for older than it. Where nothing
    is new the file is left alone. Raises FormatError.
    """
    content = read_content(path)
    found = nodes(records.read(path.parent))
    made = content.get("provenance", {})
    if made.get("nodes", []) == found:
        return
    write_json(path, {**content, "provenance": {**made, "nodes": found}}, path.stat().st_mtime_ns)
