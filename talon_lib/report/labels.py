"""Where labels of points go, so that none covers another, a point, or the frame."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

CHARACTER = 6.4
LINE = 14.0
_POINT = 7.0
_CROWD = 100

_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Place:
    """Offset of a label from its point in pixels (y down), and how its text is aligned; shown False where none fits."""

    dx: float = 0.0
    dy: float = 0.0
    align: str = "left"
    shown: bool = False


def _candidates() -> list[tuple[float, float, str]]:
    found: list[tuple[float, float, str]] = []
    for far in (0, 10, 22):
        near = 9 + far
        found += [(near, 0, "left"), (-near, 0, "right"), (0, -near - 5, "center"), (0, near + 5, "center")]
        found += [(near, near, "left"), (near, -near, "left"), (-near, -near, "right"), (-near, near, "right")]
    return found


def place(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    first: Sequence[int],
    size: tuple[float, float],
    path: Sequence[tuple[float, float]] = (),
) -> list[Place]:
    """Place a label at each point (pixels from the upper left corner of a plot of that size), those ``first`` first.

    ``path`` is a line of horizontal and vertical pieces that no label should cross. Where there are very many points,
    only the first get labels.
    """
    taken: list[_Box] = [(x - _POINT, y - _POINT, x + _POINT, y + _POINT) for x, y in points]
    for (x0, y0), (x1, y1) in itertools.pairwise(path):
        taken.append((min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1) + 1, max(y0, y1) + 1))
    places = [Place()] * len(points)
    others = [i for i in range(len(points)) if i not in first] if len(points) <= _CROWD else []
    for index in [*first, *others]:
        x, y = points[index]
        width = len(texts[index]) * CHARACTER
        for dx, dy, align in _candidates():
            left = x + dx - {"left": 0.0, "center": width / 2, "right": width}[align]
            box = (left, y + dy - LINE / 2, left + width, y + dy + LINE / 2)
            inside = box[0] >= 0 and box[1] >= 0 and box[2] <= size[0] and box[3] <= size[1]
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                places[index] = Place(dx, dy, align, True)
                break
    return places


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Values moved as little as this simple rule allows so that neighbours are ``gap`` apart and within the limits."""
    if not values:
        return []
    gap = min(gap, (high - low) / max(len(values) - 1, 1))
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    merged: list[list[float]] = []  # clusters: centre, members
    for index in order:
        merged.append([values[index], 1])
        while len(merged) > 1 and merged[-1][0] - merged[-2][0] < gap * (merged[-1][1] + merged[-2][1]) / 2:
            (a, n), (b, m) = merged[-2], merged[-1]
            merged[-2:] = [[(a * n + b * m) / (n + m), n + m]]
    placed: list[float] = []
    for centre, count in merged:
        half = gap * (count - 1) / 2
        centre = min(max(centre, low + half), high - half)
        placed += [centre - half + gap * k for k in range(int(count))]
    for i in range(1, len(placed)):  # clusters that the limits pushed together
        placed[i] = max(placed[i], placed[i - 1] + gap)
    excess = max(placed[-1] - high, 0.0)
    result = [0.0] * len(values)
    for i, value in zip(order, placed, strict=True):
        result[i] = value - excess
    return result
