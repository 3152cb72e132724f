"""The space of a sweep: all points that its axes span, each with a number, and samples of it.

No point is made here and none is listed: a space may hold more points than there are atoms.
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from types import MappingProxyType
from typing import Any

import numpy as np

from talon_lib.errors import ConfigError

CHUNK = 2**16
"""Points of a Sobol sequence that are drawn at once: bounds the memory. A power of two, which the sequence needs."""

PATIENCE = 16
"""Draws for each point that is wanted, after which a Sobol sample is filled up at random."""


@dataclass(frozen=True)
class Dimension:
    """One axis of one network, with its values in the order of the configuration; mixed precision has one per node."""

    name: str
    values: Sequence[Any]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Space:
    """The points of all networks: a network's name and an index into the values of each of its dimensions.

    Points are numbered from 0 in the order of nested loops: networks one after the other, the last dimension fastest.
    Numbers are Python's, so that they are exact at any size.
    """

    networks: Mapping[str, tuple[Dimension, ...]]

    def __post_init__(self) -> None:
        for network, dimensions in self.networks.items():
            for dimension in dimensions:
                if not dimension.values:
                    raise ValueError(f"network '{network}' has no value on the axis {dimension.name}")

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """The number of points of each network."""
        sizes = {name: math.prod(len(own) for own in dimensions) for name, dimensions in self.networks.items()}
        return MappingProxyType(sizes)

    @cached_property
    def starts(self) -> Mapping[str, int]:
        """The number of each network's first point."""
        return MappingProxyType(dict(zip(self.networks, accumulate(self.sizes.values(), initial=0), strict=False)))

    @cached_property
    def size(self) -> int:
        """The number of points."""
        return sum(self.sizes.values())

    def index(self, network: str, indices: Sequence[int]) -> int:
        """The number of a point. Raises IndexError for an index that its dimension does not have."""
        dimensions = self.networks[network]
        if len(indices) != len(dimensions):
            raise IndexError(f"network '{network}' has {len(dimensions)} dimensions, not {len(indices)}")
        offset = 0
        for dimension, at in zip(dimensions, indices, strict=True):
            if not 0 <= at < len(dimension):
                raise IndexError(f"{dimension.name} has {len(dimension)} values and none at {at}")
            offset = offset * len(dimension) + int(at)
        return self.starts[network] + offset

    def locate(self, index: int) -> tuple[str, tuple[int, ...]]:
        """The network and the indices of the point of a number. Raises IndexError where there is none."""
        network, start, lengths = self._backwards[self._place(index)]
        rest = int(index) - start
        backwards = []
        for length in lengths:
            rest, at = divmod(rest, length)
            backwards.append(at)
        return network, tuple(reversed(backwards))

    def network(self, index: int) -> str:
        """The network of the point of a number. Raises IndexError where there is none."""
        return self._backwards[self._place(index)][0]

    def _place(self, index: int) -> int:
        if not 0 <= index < self.size:
            raise IndexError(f"the space has {self.size} points and none at {index}")
        return bisect.bisect_right(self._backwards, index, key=lambda own: own[1]) - 1

    @cached_property
    def _backwards(self) -> list[tuple[str, int, list[int]]]:
        """Each network's name, the number of its first point, and the lengths of its dimensions, the last first."""
        return [
            (name, self.starts[name], [len(own) for own in reversed(dimensions)])
            for name, dimensions in self.networks.items()
        ]


def sample(space: Space, method: str, count: int, seed: int) -> tuple[int, ...]:
    """The numbers of ``count`` different points, rising; the same ones for the same arguments.

    ``random``: every point as likely as any other. ``sobol``: a scrambled Sobol sequence, whose first coordinate takes
    the network (all equally often, whatever their sizes) and each further one a dimension, so that every value of every
    axis comes as often as any other; points that come again are dropped and more are drawn. Raises ConfigError where
    the space has fewer points, or scipy, which makes the sequence, is not there.
    """
    if count > space.size:
        raise ConfigError(f"sample: {count} points are asked for, but the axes span {space.size}")
    return tuple(sorted(_SAMPLERS[method](space, count, seed)))


def unseen(size: int, count: int, chance: random.Random, seen: Collection[int] = ()) -> list[int]:
    """So many different numbers below ``size`` that are not in ``seen``, all equally likely, in the order drawn."""
    if 2 * (count + len(seen)) >= size:  # few are left: list them (and ``size`` is small enough for it)
        return chance.sample([number for number in range(size) if number not in seen], count)
    found: dict[int, None] = {}
    while len(found) < count:
        number = chance.randrange(size)
        if number not in seen:
            found[number] = None
    return list(found)


def _random(space: Space, count: int, seed: int) -> Collection[int]:
    return unseen(space.size, count, random.Random(seed))


def _sobol(space: Space, count: int, seed: int) -> Collection[int]:
    found: set[int] = set()
    for numbers in _sobol_numbers(space, count, seed):
        for number in numbers:
            found.add(number)
            if len(found) == count:
                return found
    return [*found, *unseen(space.size, count - len(found), random.Random(seed), found)]


def _sobol_numbers(space: Space, count: int, seed: int) -> Iterator[list[int]]:
    """Numbers of points along the sequence, a chunk at a time, until patience ends; they come again and again."""
    try:
        from scipy.stats.qmc import Sobol  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        if error.name != "scipy":
            raise
        raise ConfigError("sample: sobol needs scipy; install it with: pip install 'talon-dse[search]'") from None
    names = list(space.networks)
    width = 1 + max(len(dimensions) for dimensions in space.networks.values())
    sequence = Sobol(width, scramble=True, rng=seed)
    chunk = min(CHUNK, 2 ** (max(count, 2) - 1).bit_length())
    for _ in range(-(-PATIENCE * count // chunk)):
        unit = sequence.random(chunk)
        which = _scaled(unit[:, 0], len(names))
        numbers = np.zeros(chunk, object if space.size > 2**62 else np.int64)
        for position, name in enumerate(names):
            rows = np.flatnonzero(which == position)
            offset = np.zeros(len(rows), numbers.dtype)
            for column, dimension in enumerate(space.networks[name], start=1):
                offset = offset * len(dimension) + _scaled(unit[rows, column], len(dimension)).astype(numbers.dtype)
            numbers[rows] = space.starts[name] + offset
        yield numbers.tolist()


def _scaled(unit: np.ndarray[Any, np.dtype[np.float64]], size: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Numbers from 0 to below 1 as indices below ``size``, all of equal share."""
    indices: np.ndarray[Any, np.dtype[np.int64]] = np.minimum((unit * size).astype(np.int64), size - 1)
    return indices


_SAMPLERS: Mapping[str, Callable[[Space, int, int], Collection[int]]] = {"random": _random, "sobol": _sobol}
