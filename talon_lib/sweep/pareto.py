"""Pareto fronts."""

from __future__ import annotations

from collections.abc import Sequence


def front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Indices of the points that none beats: no other costs less or equal and gains more or equal, one strictly.

    By rising cost; of equal points the first stands for all.
    """
    order = sorted(range(len(costs)), key=lambda i: (costs[i], -gains[i], i))
    best: list[int] = []
    for index in order:
        if not best or gains[index] > gains[best[-1]]:
            best.append(index)
    return best
