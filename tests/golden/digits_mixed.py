"""The whole grid of the digits network with types of their own for its nodes: accuracy and energy of 768 designs.

``python tests/golden/digits_mixed.py > tests/golden/digits_mixed.csv`` makes the table again, in about half a minute;
``test_search_finds_the_front.py`` repeats some of its rows.
"""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path

from talon_lib.cost.event_energy import energy
from talon_lib.cost.preset import get_preset
from talon_lib.cost.work import NodeWork
from talon_lib.precision import mixed
from talon_lib.sweep import stages

CONFIGS = Path(__file__).parents[2] / "configs"
NODES = ("fc1", "lif1", "fc2", "lif2")
TYPES = ("int3", "int4", "int6", "int8")
STEPS = (2, 4, 8)
COLUMNS = ("timesteps", *NODES, "accuracy", "event_energy_uj")


def row(steps: int, types: Mapping[str, str]) -> dict[str, int | str | float]:
    """One design: simulated on all test samples, and priced by events with the figures of 45 nm."""
    work = stages.workload(CONFIGS / "graphs/digits.nir", CONFIGS / "data/digits.npz", "current", steps, None, 128)
    result = stages.simulate(work, mixed(types, "int8").argument(), "count")
    done = {name: NodeWork.of(own["work"]) for name, own in result["nodes"].items()}
    priced = energy(done, steps, get_preset("horowitz_45nm"), "event", None)
    assert priced is not None
    return {"timesteps": steps, **types, "accuracy": result["accuracy"], "event_energy_uj": priced.total / 1e6}


def main() -> None:
    """Write the table to standard output."""
    table = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    table.writeheader()
    for steps, *types in itertools.product(STEPS, *[TYPES] * len(NODES)):
        table.writerow(row(steps, dict(zip(NODES, types, strict=True))))


if __name__ == "__main__":
    main()
