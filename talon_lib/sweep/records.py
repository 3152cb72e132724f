"""What runs have recorded: how long jobs took and what they left on disk, and on which nodes they ran."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talon_lib.files import write_json

RECORDS = "records"
"""The folder, beside the results, of what runs have recorded: a file for each process that ran jobs of a chunk."""

DEFAULT_SECONDS: Mapping[str, float] = {"simulate": 0.5, "project": 0.5, "csim": 5.0, "rtl": 40.0, "synth": 1800.0}
DEFAULT_BYTES: Mapping[str, float] = {"simulate": 12e3, "project": 700e3, "csim": 1e3, "rtl": 10e6, "synth": 50e6}
"""What a job takes where there is no record: that of the example's networks, and for synth a guess."""


@dataclass
class _Mean:
    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.total += value
        self.count += 1

    @property
    def value(self) -> float:
        return self.total / self.count


class History:
    """Means over recorded jobs: of the same network where there are any, else of the stage, else a default."""

    def __init__(self, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self._seconds: dict[tuple[str, ...], _Mean] = defaultdict(_Mean)
        self._bytes: dict[str, _Mean] = defaultdict(_Mean)
        self.recorded = 0
        for record in records:
            stage = record["stage"]
            for job in record["jobs"]:
                seconds, size = float(job["seconds"]), float(job["bytes"])
                if not (0 <= seconds < math.inf and 0 <= size < math.inf):
                    raise ValueError
                self._seconds[stage, _network(job["label"])].add(seconds)
                self._seconds[stage,].add(seconds)
                self._bytes[stage].add(size)
                self.recorded += 1

    @classmethod
    def read(cls, results: Path) -> History:
        """Of all runs into the folder ``results``."""
        return cls(read(results))

    def seconds(self, stage: str, network: str) -> float:
        """How long a job of the stage will take for the network, about."""
        for key in ((stage, network), (stage,)):
            if own := self._seconds.get(key):
                return own.value
        return DEFAULT_SECONDS[stage]

    def bytes(self, stage: str) -> float:
        """What a job of the stage leaves on disk, about."""
        own = self._bytes.get(stage)
        return own.value if own else DEFAULT_BYTES[stage]


def read(results: Path) -> Iterator[dict[str, Any]]:
    """What chunks have recorded, of all runs into the folder ``results``; a damaged record is passed over."""
    for path in sorted((results / RECORDS).glob("*/*.json")):
        try:
            record = json.loads(path.read_text())
            History([record])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        yield record


def write(results: Path, stage: str, name: str, record: Mapping[str, Any]) -> None:
    """Keep what a process has recorded of a chunk."""
    write_json(results / RECORDS / stage / f"{name}.json", record)


def _network(label: str) -> str:
    return label.partition(" ")[0]
