"""Pareto fronts."""

from __future__ import annotations

from collections.abc import Sequence


def front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Indices of the points that none beats: no other costs less or equal and gains more or equal, one strictly.

    By rising cost; of equal points the first stands for all.
    """
    return lowest([(cost, -gain) for cost, gain in zip(costs, gains, strict=True)])


def lowest(points: Sequence[tuple[float, ...]]) -> list[int]:
    """Indices of the points that none beats, where less is better in each of any number of coordinates.

    In the order of the coordinates; of equal points the first stands for all.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i], i))
    best: list[int] = []
    for index in order:  # what beats a point comes before it
        if not any(_covers(points[other], points[index]) for other in reversed(best)):
            best.append(index)
    return best


def _covers(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))


__all__ = ["front", "lowest"]
