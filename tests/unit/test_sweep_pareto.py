"""Pareto fronts against the definition, tried on every pair of points."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from talon_lib.sweep.pareto import front

points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25)


def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether ``one`` costs less or equal and gains more or equal, and not both equal."""
    return one[0] <= other[0] and one[1] >= other[1] and one != other


def found(pairs: list[tuple[float, float]]) -> list[int]:
    return front([cost for cost, _ in pairs], [gain for _, gain in pairs])


@given(points)
def test_the_front_is_every_point_that_none_beats(pairs: list[tuple[float, float]]) -> None:
    expected = {pair for pair in pairs if not any(beats(other, pair) for other in pairs)}
    assert {pairs[index] for index in found(pairs)} == expected


@given(points)
def test_of_equal_points_the_first_stands_for_all(pairs: list[tuple[float, float]]) -> None:
    indices = found(pairs)
    assert len({pairs[index] for index in indices}) == len(indices)
    assert all(index == pairs.index(pairs[index]) for index in indices)


@given(points)
def test_the_front_rises(pairs: list[tuple[float, float]]) -> None:
    ordered = [pairs[index] for index in found(pairs)]
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(ordered))


@given(points, st.randoms(use_true_random=False))
def test_the_front_does_not_depend_on_the_order_of_points(pairs: list[tuple[float, float]], random: object) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert [pairs[index] for index in found(pairs)] == [shuffled[index] for index in found(shuffled)]


def test_no_points_have_no_front() -> None:
    assert front([], []) == []
