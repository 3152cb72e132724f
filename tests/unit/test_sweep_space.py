"""Spaces and samples of them: every number is one point, and samples are distinct, repeatable and spread evenly."""

from __future__ import annotations

import builtins
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talon_lib.errors import ConfigError
from talon_lib.sweep.space import Dimension, Space, sample

pytest.importorskip("scipy")
METHODS = ("random", "sobol")


def space(**networks: tuple[int, ...]) -> Space:
    """One dimension for each size."""
    return Space(
        {
            name: tuple(Dimension(f"d{position}", range(size)) for position, size in enumerate(sizes))
            for name, sizes in networks.items()
        }
    )


sizes = st.lists(st.integers(1, 5), max_size=4).map(tuple)
spaces = st.dictionaries(st.sampled_from("abcd"), sizes, min_size=1, max_size=4).map(lambda given: space(**given))
ASTRONOMIC = space(a=(4,) * 60, b=(7, 3))


@given(spaces)
def test_every_number_is_one_point_in_the_order_of_nested_loops(made: Space) -> None:
    points = [made.locate(index) for index in range(made.size)]
    assert [made.index(*point) for point in points] == list(range(made.size))
    for name in made.networks:
        own = [indices for network, indices in points if network == name]
        assert own == sorted(set(own))  # the last dimension is the fastest
    assert list(dict.fromkeys(network for network, _ in points)) == list(made.networks)


@given(st.integers(0, ASTRONOMIC.size - 1))
def test_numbers_are_exact_beyond_64_bits(index: int) -> None:
    assert ASTRONOMIC.size == 4**60 + 21
    assert ASTRONOMIC.index(*ASTRONOMIC.locate(index)) == index


def test_what_lies_outside_is_refused() -> None:
    made = space(a=(2, 3))
    for index in (-1, 6):
        with pytest.raises(IndexError, match="6 points"):
            made.locate(index)
    for indices in ((2, 0), (0, 3), (-1, 0), (0,)):
        with pytest.raises(IndexError):
            made.index("a", indices)
    with pytest.raises(ValueError, match="no value on the axis d1"):
        space(a=(2, 0))


@pytest.mark.parametrize("method", METHODS)
@given(made=spaces, share=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_a_sample_is_distinct_points_the_same_for_the_same_seed(
    method: str, made: Space, share: float, seed: int
) -> None:
    count = round(share * made.size)
    found = sample(made, method, count, seed)
    assert len(found) == count and list(found) == sorted(set(found))
    assert all(0 <= index < made.size for index in found)
    assert sample(made, method, count, seed) == found
    if share == 1:
        assert found == tuple(range(made.size))


@pytest.mark.parametrize("method", METHODS)
def test_samples_of_an_astronomic_space_are_whole(method: str) -> None:
    found = sample(ASTRONOMIC, method, 1000, 1)
    assert len(set(found)) == 1000 and max(found) > 2**64
    assert sample(ASTRONOMIC, method, 1000, 2) != found


@pytest.mark.parametrize("method", METHODS)
def test_more_points_than_there_are_cannot_be_sampled(method: str) -> None:
    with pytest.raises(ConfigError, match=r"^sample: 7 points are asked for, but the axes span 6$"):
        sample(space(a=(2, 3)), method, 7, 0)


def test_a_random_sample_takes_every_point_equally_often() -> None:
    made = space(a=(3,), b=(2, 2), c=())
    taken = Counter(index for seed in range(2000) for index in sample(made, "random", 3, seed))
    expected = 2000 * 3 / made.size
    assert set(taken) == set(range(made.size))
    assert max(abs(count - expected) for count in taken.values()) < 5 * expected**0.5


def shares(found: tuple[int, ...], made: Space, axis: int) -> Counter[int]:
    return Counter(made.locate(index)[1][axis] for index in found)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_a_sobol_sample_takes_every_value_of_every_axis_equally_often(seed: int) -> None:
    """With sizes that are powers of two, exactly so; at random the counts would scatter by 11."""
    made = space(a=(4, 8, 16, 64, 2**40))  # so large that no point comes twice
    found = sample(made, "sobol", 512, seed)
    for axis, size in enumerate((4, 8, 16, 64)):
        assert set(shares(found, made, axis).values()) == {512 // size}
    at_random = sample(made, "random", 512, seed)
    assert set(shares(at_random, made, 0).values()) != {128} or set(shares(at_random, made, 1).values()) != {64}


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_a_sobol_sample_takes_all_networks_whatever_their_sizes(seed: int) -> None:
    made = space(a=(2**30,), b=(2**20, 2**4), c=(2**15, 4, 4), d=(2**16,))
    found = sample(made, "sobol", 64, seed)
    counts = Counter(made.locate(index)[0] for index in found)
    assert counts == dict.fromkeys("abcd", 16)


def test_a_sobol_sample_fills_up_a_space_that_the_sequence_would_take_long_to() -> None:
    made = space(a=(3,) * 7, b=(1,))  # half of the sequence is the one point of b
    assert sample(made, "sobol", made.size - 1, 0) != sample(made, "sobol", made.size - 1, 1)


def test_without_scipy_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("scipy"):
            raise ModuleNotFoundError(f"No module named {name!r}", name="scipy")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"sobol needs scipy; install it with: pip install 'talon-dse\[search\]'$"):
        sample(space(a=(4,)), "sobol", 2, 0)
    assert len(sample(space(a=(4,)), "random", 2, 0)) == 2
