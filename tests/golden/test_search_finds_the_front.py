"""A search finds what the whole grid holds, with a quarter of its evaluations: digits, each node with its own type."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from digits_mixed import NODES, STEPS, TYPES, row
from search_shares import BUDGET, SPACE, Grid, grid, hypervolume, searched, share


@pytest.fixture(scope="module")
def rows() -> Grid:
    return grid()


@pytest.mark.parametrize(("method", "seeds"), [("nsga2", 5), ("tpe", 3)])
def test_a_quarter_of_the_grid_holds_98_percent_of_its_front(
    method: str, seeds: int, rows: Grid, tmp_path: Path
) -> None:
    for seed in range(seeds):
        points = searched(tmp_path / f"{seed}.jsonl", rows, method, seed)
        assert len(set(points)) == len(points) == BUDGET
        assert share(rows, points) >= 0.98
        assert share(rows, points, "front") >= 0.98


@pytest.mark.parametrize("point", [0, 255, 300, 511, 767])
def test_the_table_is_what_simulation_gives(point: int, rows: Grid) -> None:
    _, (steps, *types) = SPACE.locate(point)
    found = row(STEPS[steps], {node: TYPES[index] for node, index in zip(NODES, types, strict=True)})
    assert rows[point]["accuracy"] == found["accuracy"]
    assert rows[point]["event_energy_uj"] == pytest.approx(found["event_energy_uj"], rel=1e-12)


def test_a_hypervolume_is_the_share_of_the_box_that_is_beaten() -> None:
    """Counted on a raster, in two and three dimensions."""
    for points, size in (([(1, 4), (2, 2), (2, 3), (4, 1), (5, 0)], 2), ([(0, 3, 1), (2, 2, 2), (3, 0, 3)], 3)):
        cells = itertools.product(range(5), repeat=size)
        counted = sum(any(all(p <= c for p, c in zip(point, cell, strict=True)) for point in points) for cell in cells)
        assert hypervolume([tuple(map(float, point)) for point in points], (5.0,) * size) == counted
    assert hypervolume([], (1.0, 1.0)) == hypervolume([(1.0, 0.0)], (1.0, 1.0)) == 0.0
