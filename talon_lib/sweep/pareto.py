"""Pareto fronts, and how much they cover."""

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


__all__ = ["front", "hypervolume", "lowest"]
