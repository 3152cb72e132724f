"""design.json: what a project was made of, and what was estimated of it, so that its reports mean something elsewhere.

The machine that has the tools needs neither the network nor the sweep; ``talon-dse ingest`` finds all here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talon_lib.cost.devices import RESOURCES, dsp_slice_of
from talon_lib.cost.estimate import SOURCE, Design, estimate
from talon_lib.errors import FormatError
from talon_lib.files import whole
from talon_lib.hls.boards import resolve_part
from talon_lib.hls.project import Project, hls4ml_version
from talon_lib.hls.sizes import layers
from talon_lib.ir.graph import Graph
from talon_lib.precision import Precision

FILE = "design.json"

_FORMAT = "talon-dse design 1"


def write_record(project: Project, graph: Graph, precision: str | Precision) -> dict[str, Any]:
    """Write the record into the project's folder; returns it. Estimates: of one step, as in a sweep's table."""
    spec = project.spec
    streams = spec.io_type == "io_stream"
    known = layers(project.lowered, streams)
    last = {layer.node: layer.name for layer in known if layer.shares}
    effective = {last[node]: factor for node, factor in project.effective_reuse.items() if node in last}
    part = resolve_part(spec.part)
    strategy = spec.strategy.capitalize()
    design = Design(spec.reuse_factor, strategy, spec.io_type, spec.clock_period_ns, dsp_slice_of(part))
    found = estimate(known, design, 1, effective)
    record = {
        "format": _FORMAT,
        "fingerprint": graph.fingerprint,
        "precision": Precision.parse(precision).name,
        "reuse_factor": spec.reuse_factor,
        "strategy": strategy,
        "io_type": spec.io_type,
        "part": part,
        "clock_period_ns": spec.clock_period_ns,
        "hls4ml": hls4ml_version(),
        "estimates": {
            **{f"{name}_estimate": getattr(found.usage, name) for name in RESOURCES},
            "cycles_per_step": found.cycles_per_step,
        },
        "estimate_source": SOURCE,
    }
    with whole(project.path / FILE) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")
    return record


def read_record(folder: Path) -> Mapping[str, Any] | None:
    """The record of the project in ``folder``; None where it has none. Raises FormatError for a broken one."""
    path = folder / FILE
    try:
        record = json.loads(path.read_text())
        if record["format"] != _FORMAT or not isinstance(record["estimates"], dict):
            raise ValueError
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise FormatError(f"{path}: not the record of a project; write the project again") from None
    assert isinstance(record, dict)
    return record
