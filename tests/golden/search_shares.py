"""How much of the grid's front searches of a quarter of it find, by seed: digits, a type of its own for each node.

``python tests/golden/search_shares.py nsga2 20`` prints the shares of the seeds 0 to 19, in some twenty seconds, and of
random samples of the same size. The grid is a table (digits_mixed.csv), so that only the optimiser works here.
"""

from __future__ import annotations

import csv
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from digits_mixed import NODES, STEPS, TYPES

from talon_lib.sweep.pareto import lowest
from talon_lib.sweep.search import Study
from talon_lib.sweep.selection import Search
from talon_lib.sweep.space import Dimension, Space, sample

TABLE = Path(__file__).with_name("digits_mixed.csv")
AXES = (Dimension("timesteps", STEPS), *(Dimension(f"precision.{node}", TYPES) for node in NODES))
SPACE = Space({"digits": AXES})
BUDGET = SPACE.size // 4
Grid = dict[int, dict[str, Any]]


def grid() -> Grid:
    """The rows of all points, by number."""
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for own in rows:
        indices = [STEPS.index(int(own["timesteps"])), *(TYPES.index(own[node]) for node in NODES)]
        values = {key: float(own[key]) for key in ("accuracy", "event_energy_uj")}
        found[SPACE.index("digits", indices)] = {"status": "ok", **values}
    assert sorted(found) == list(range(SPACE.size))
    return found


def share(grid: Grid, points: tuple[int, ...], reference: str = "grid") -> float:
    """Hypervolume of some points as a share of the grid's, with the axes scaled to the grid or to its front.

    The reference is the grid's worst values, or those of its front and a tenth of the front's range more.
    """
    costs = {point: (own["event_energy_uj"], -own["accuracy"]) for point, own in grid.items()}
    among = list(costs.values())
    if reference == "front":
        among = [among[index] for index in lowest(among)]
    low, high = ([end(column) for column in zip(*among, strict=True)] for end in (min, max))
    scaled = {
        point: tuple((value - a) / (b - a) for value, a, b in zip(cost, low, high, strict=True))
        for point, cost in costs.items()
    }
    corner = (1.0, 1.0) if reference == "grid" else (1.1, 1.1)
    return hypervolume([scaled[point] for point in points], corner) / hypervolume(list(scaled.values()), corner)


def hypervolume(points: Sequence[tuple[float, ...]], reference: tuple[float, ...]) -> float:
    """The volume of what the points beat within the box that ends at ``reference``; less is better in every coordinate.

    Exact in any number of dimensions: the volume is swept along the last coordinate, and each slice is the same problem
    in one dimension less (Zitzler's hypervolume by slicing objectives). Points that do not beat the reference count 0.
    """
    inside = [point for point in points if all(a < b for a, b in zip(point, reference, strict=True))]
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - min(point[0] for point in inside)
    inside.sort(key=lambda point: point[-1])
    ends = [point[-1] for point in inside[1:]] + [reference[-1]]
    volume = 0.0
    for count, (point, end) in enumerate(zip(inside, ends, strict=True), start=1):
        if end > point[-1]:
            slice_ = [other[:-1] for other in inside[:count]]
            volume += (end - point[-1]) * hypervolume(slice_, reference[:-1])
    return volume


def searched(path: Path, grid: Grid, method: str, seed: int) -> tuple[int, ...]:
    """The points that a search takes."""
    objectives = ["accuracy max", "event_energy_uj min"]
    search = Search.model_validate({"method": method, "objectives": objectives, "budget": BUDGET, "seed": seed})
    study = Study.open(path, search, SPACE)
    while asked := study.ask():
        study.tell({point: grid[point] for point in asked})
    return study.evaluated


def main(method: str, seeds: str, first: str = "0") -> None:
    """Print the least and the median share."""
    rows, numbers = grid(), range(int(first), int(first) + int(seeds))
    with tempfile.TemporaryDirectory() as folder:
        found = {method: [searched(Path(folder) / f"{seed}.jsonl", rows, method, seed) for seed in numbers]}
    found["random"] = [sample(SPACE, "random", BUDGET, seed) for seed in numbers]
    for name, runs in found.items():
        for reference in ("grid", "front"):
            shares = [share(rows, points, reference) for points in runs]
            below = sum(value < 0.98 for value in shares)
            print(
                f"{name}, {len(shares)} seeds, reference of the {reference}: least {min(shares):.4f}, "
                f"median {statistics.median(shares):.4f}, {below} below 0.98"
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
