"""Encodings: how samples become the input of each step.

Each is a frozen dataclass of its parameters; docs/data.md has the formulas, with their sources. They use additions,
multiplications and comparisons of float64, whole numbers, and constants that are correctly rounded, so that equal data
gives equal spikes on every machine; and what a sample becomes depends on no other sample.
"""

from __future__ import annotations

import dataclasses
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np

from talon_lib.data.dataset import Samples
from talon_lib.data.events import Recordings
from talon_lib.errors import ConfigError
from talon_lib.fixed import Array
from talon_lib.ir.layout import Shape


class Encoding(ABC):
    """Base of all encodings."""

    kind: ClassVar[str]
    """What configurations call it."""

    timed: ClassVar[bool] = False
    """Whether a sample has a time of its own, and is not one set of values that all steps are made of."""

    @abstractmethod
    def encode(self, x: Samples, shape: Shape, steps: int, first: int = 0) -> Array:
        """The input of a run: ``(n, *shape)``, held for all steps, or ``(steps, n, *shape)``.

        x: samples; first: the place of the first of them in its dataset. Raises ConfigError where they do not fit.
        """

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    def describe(self) -> str | dict[str, Any]:
        """What :func:`parse` reads back to an equal encoding: its kind, or a mapping with all its parameters."""
        return {"kind": self.kind, **self.parameters} if self.parameters else self.kind

    def argument(self) -> str:
        """The same as text, for a command line."""
        described = self.describe()
        return described if isinstance(described, str) else json.dumps(described, sort_keys=True)

    def _plain(self, x: Samples) -> Array:
        if isinstance(x, Recordings):
            raise ConfigError(f"the data is recordings of events, which encoding '{self.kind}' cannot feed; use events")
        return x

    def _values(self, samples: Samples, shape: Shape) -> Array:
        """Samples without time, ``(n, *shape)``."""
        x = self._plain(samples)
        if math.prod(x.shape[1:]) != math.prod(shape):
            raise ConfigError(
                f"data of shape {x.shape[1:]} a sample does not fit the input {shape} (encoding '{self.kind}')"
            )
        return x.reshape(len(x), *shape)

    def _frames(self, samples: Samples, shape: Shape, steps: int) -> Array:
        """Samples with time, ``(steps, n, *shape)``: their first steps."""
        x = self._plain(samples)
        if x.ndim < 2 or math.prod(x.shape[2:]) != math.prod(shape):
            raise ConfigError(
                f"data of shape {x.shape[1:]} a sample is no frames of the input {shape} (encoding '{self.kind}')"
            )
        if steps > x.shape[1]:
            raise ConfigError(f"{steps} steps are asked for, but the data has {x.shape[1]} frames a sample")
        return np.moveaxis(x[:, :steps].reshape(len(x), steps, *shape), 1, 0)


@dataclass(frozen=True)
class Current(Encoding):
    """The values of a sample, ``(n, *shape)``, as a constant current: the same at every step."""

    kind: ClassVar[str] = "current"

    def encode(self, x: Samples, shape: Shape, steps: int, first: int = 0) -> Array:
        """``(n, *shape)``; any shape with as many values is taken in row-major order."""
        return self._values(x, shape)


@dataclass(frozen=True)
class Frames(Encoding):
    """One frame of a sample, ``(n, frames, *shape)``, a step."""

    kind: ClassVar[str] = "frames"
    timed: ClassVar[bool] = True

    def encode(self, x: Samples, shape: Shape, steps: int, first: int = 0) -> Array:
        """``(steps, n, *shape)``: the first ``steps`` frames."""
        return self._frames(x, shape, steps)


@dataclass(frozen=True)
class Rate(Encoding):
    """A spike in each step with the probability gain * x + offset, within 0 to 1.

    seed: chooses the random numbers. Those of sample i are the Philox4x64-10 stream with the key (seed, i); step t
    takes the next value for every place, in row-major order.
    """

    kind: ClassVar[str] = "rate"

    seed: int = 0
    gain: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        _check_whole(self, "seed", 0, 2**64 - 1)
        _check_number(self, "gain")
        _check_number(self, "offset")

    def encode(self, x: Samples, shape: Shape, steps: int, first: int = 0) -> Array:
        """``(steps, n, *shape)`` of 0 and 1."""
        values = self._values(x, shape)
        with np.errstate(over="ignore"):  # infinity is clipped as well
            probability = np.clip(values.astype(np.float64) * self.gain + self.offset, 0.0, 1.0)
        # 53 bits of each number against the probability in 53 bits: whole numbers, and 1.0 is above all of them
        below = np.ldexp(probability, 53).astype(np.uint64)
        spikes = np.empty((steps, len(values), *shape), np.uint8)
        for index, bound in enumerate(below):
            key = np.array([self.seed, first + index], np.uint64)
            numbers = np.random.Philox(key=key).random_raw(steps * bound.size) >> np.uint64(11)
            spikes[:, index] = numbers.reshape(steps, *shape) < bound
        return spikes


@dataclass(frozen=True)
class Latency(Encoding):
    """One spike, the earlier the larger the value: in step round(t), halves to the even one, and none after the last.

    form: "linear", t = tau * (1 - x), values above 1 count as 1; or "log", t = tau * ln(x / (x - threshold)), the time
    that a membrane with time constant tau takes to the threshold under a current x. tau: in steps; one less than there
    are steps (but 1 at least) where it is None. Values below the threshold ("log": or at it) never spike.
    """

    kind: ClassVar[str] = "latency"

    form: Literal["linear", "log"] = "linear"
    tau: float | None = None
    threshold: float = 0.01

    def __post_init__(self) -> None:
        if self.form not in ("linear", "log"):
            raise ConfigError(f"encoding '{self.kind}': form must be linear or log, not {self.form!r}")
        if self.tau is not None:
            _check_number(self, "tau", 1e-6, 1e6)
        _check_number(self, "threshold", 1e-6, 1.0)

    def encode(self, x: Samples, shape: Shape, steps: int, first: int = 0) -> Array:
        """``(steps, n, *shape)`` of 0 and 1."""
        values = self._values(x, shape).astype(np.float64)
        tau = float(max(steps - 1, 1) if self.tau is None else self.tau)
        if self.form == "log":
            least = _least_values(tau, float(self.threshold), steps)
            at = steps - np.searchsorted(least, values)  # how many of them are not below the value
        else:
            late = np.rint(tau * (1.0 - np.minimum(values, 1.0)))
            at = np.where(values < self.threshold, steps, np.minimum(late, steps)).astype(np.int64)
        spikes: Array = np.arange(steps).reshape(-1, *(1 for _ in values.shape)) == at
        return spikes.astype(np.uint8)


@lru_cache
def _least_values(tau: float, threshold: float, steps: int) -> Array:
    """``(steps,)`` in rising order: the values x for which tau * ln(x / (x - threshold)) is step + 1/2.

    In decimal arithmetic, whose exp is correctly rounded everywhere, as that of C libraries is not.
    """
    exact = Context(prec=60)
    found = []
    for step in reversed(range(steps)):
        left = exact.exp(exact.divide(Decimal(-step) - Decimal("0.5"), Decimal(tau)))
        found.append(float(exact.divide(Decimal(threshold), exact.subtract(Decimal(1), left))))
    return np.array(found)


@dataclass(frozen=True)
class Delta(Encoding):
    """A spike where a value of ``(n, frames, *shape)`` has risen by the threshold or more since the step before.

    off_spikes: a spike of -1 where it has fallen by as much. padding: before the first step stands the first frame
    itself, so that it has no spikes; otherwise zeros.
    """

    kind: ClassVar[str] = "delta"
    timed: ClassVar[bool] = True

    threshold: float = 0.1
    off_spikes: bool = False
    padding: bool = False

    def __post_init__(self) -> None:
        _check_number(self, "threshold", 1e-300)
        for name in ("off_spikes", "padding"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"encoding '{self.kind}': {name} must be true or false, not {getattr(self, name)!r}")

    def encode(self, x: Samples, shape: Shape, steps: int, first: int = 0) -> Array:
        """``(steps, n, *shape)`` of 0 and 1 (and -1)."""
        frames = self._frames(x, shape, steps).astype(np.float64)
        before = frames[:1] if self.padding else np.zeros_like(frames[:1])
        change = np.diff(frames, axis=0, prepend=before)
        spikes = (change >= self.threshold).astype(np.int8)
        if self.off_spikes:
            spikes -= change <= -self.threshold
        return spikes


@dataclass(frozen=True)
class Events(Encoding):
    """Recordings of events, counted by place and polarity in each step; see :meth:`Recordings.frames`.

    bin_width: how long a step is, in the unit of the events' times; None shares each recording out among all steps.
    binary: 1 where there is any event, in place of their number.
    """

    kind: ClassVar[str] = "events"
    timed: ClassVar[bool] = True

    bin_width: int | None = None
    binary: bool = False

    def __post_init__(self) -> None:
        if self.bin_width is not None:
            _check_whole(self, "bin_width", 1, 2**62)
        if not isinstance(self.binary, bool):
            raise ConfigError(f"encoding '{self.kind}': binary must be true or false, not {self.binary!r}")

    def encode(self, x: Samples, shape: Shape, steps: int, first: int = 0) -> Array:
        """``(steps, n, *shape)`` of whole numbers."""
        if not isinstance(x, Recordings):
            raise ConfigError(
                f"encoding 'events' needs recordings of events, but the data is plain arrays, {x.shape[1:]} a sample"
            )
        return x.frames(shape, steps, self.bin_width, self.binary, first)


ENCODINGS: Mapping[str, type[Encoding]] = {
    encoding.kind: encoding for encoding in (Current, Frames, Rate, Latency, Delta, Events)
}


def parse(value: Any) -> Encoding:
    """An encoding from its kind, or a mapping (also in JSON) with the key ``kind`` and parameters. Raises ConfigError.

    An encoding itself is handed on.
    """
    if isinstance(value, Encoding):
        return value
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ConfigError(f"the encoding is no JSON: {error}") from None
    given = {"kind": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping) or "kind" not in given:
        raise ConfigError(f"an encoding is {', '.join(ENCODINGS)}, or a mapping with the key kind, not {value!r}")
    kind = given["kind"]
    if not isinstance(kind, str) or kind not in ENCODINGS:
        raise ConfigError(f"unknown encoding {kind!r}; there are: {', '.join(ENCODINGS)}")
    allowed = [field.name for field in dataclasses.fields(ENCODINGS[kind])]  # type: ignore[arg-type]
    parameters = {key: own for key, own in given.items() if key != "kind"}
    for key in parameters:
        if key not in allowed:
            raise ConfigError(f"encoding '{kind}': unknown key {key!r}; allowed: {', '.join(['kind', *allowed])}")
    return ENCODINGS[kind](**parameters)


def encode(x: Samples, encoding: str | Encoding, shape: Shape, steps: int, first: int = 0) -> Array:
    """As :meth:`Encoding.encode`, with the encoding by its name. Raises ConfigError."""
    return parse(encoding).encode(x, shape, steps, first)


def _check_whole(encoding: Encoding, name: str, least: int, most: int) -> None:
    value = getattr(encoding, name)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(
            f"encoding '{encoding.kind}': {name} must be a whole number of {least} to {most}, not {value!r}"
        )


def _check_number(encoding: Encoding, name: str, least: float = -1e300, most: float = 1e300) -> None:
    value = getattr(encoding, name)
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not numeric or not least <= value <= most:
        raise ConfigError(
            f"encoding '{encoding.kind}': {name} must be a number of {least:g} to {most:g}, not {value!r}"
        )
    object.__setattr__(encoding, name, float(value))  # 1 and 1.0 are one encoding
