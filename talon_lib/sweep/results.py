"""The results of jobs: a JSON file each, an envelope with a status around what the stage has found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talon_lib.sweep.table import STATUSES

_STATUSES = (*STATUSES, "missing")

_KEYS: Mapping[str, set[str]] = {
    "simulate": {"samples", "accuracy", "accuracy_by_step", "agreement_fp32", "nodes", "types", "one_pass", "hardware"},
    "project": {"effective_reuse", "folder", "hls4ml"},
    "csim": {"equal", "difference", "samples", "values", "compiler"},
    "rtl": {"folder", "multipliers", "proof", "counts", "routed", "problems"},
    "synth": {"source", "report"},
}
"""What a row takes of the result of a stage; one without is damaged."""

Envelope = Mapping[str, Any]


def result_path(results: Path, stage: str, key: str) -> Path:
    """Where a job's result is."""
    return results / stage / f"{key}.json"


def read_result(path: Path, stage: str) -> Envelope:
    """The envelope of a job; one of status failed where it is missing, or damaged, which it says then."""
    try:
        content = json.loads(path.read_text())
        if content["stage"] != stage or (content["status"] == "ok") != (content["result"] is not None):
            raise ValueError
        if content["result"] is not None and not _KEYS[stage] <= content["result"].keys():
            raise ValueError
        if content["status"] not in _STATUSES or (content["status"] != "ok" and not content["reason"]):
            raise ValueError
    except FileNotFoundError:
        return {"status": "failed", "reason": "no result: the job did not end; run the sweep again", "result": None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        reason = f"the result {path.name} is damaged; run the sweep again"
        return {"status": "failed", "reason": reason, "result": None, "damaged": True}
    assert isinstance(content, dict)
    return content
