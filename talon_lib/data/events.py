"""Recordings of event sensors, and how they become frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from talon_lib.errors import ConfigError, FormatError
from talon_lib.fixed import Array
from talon_lib.ir.layout import Shape


@dataclass(frozen=True, eq=False)
class Recordings:
    """Recordings of one sensor, one after the other.

    columns: t (time, in any unit), x, y (place) and p (polarity) of every event, each ``(events,)`` whole numbers; a
    recording's events may stand in any order. offsets: ``(n + 1,)``; recording i has the events ``offsets[i]`` to
    ``offsets[i + 1]``, that one left out. sensor: (width, height, polarities), where it is known.
    """

    NAMES: ClassVar[tuple[str, ...]] = ("t", "x", "y", "p")

    columns: Mapping[str, Array]
    offsets: Array
    sensor: tuple[int, int, int] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: slice) -> Recordings:
        """Neighbouring recordings."""
        start, stop, _ = index.indices(len(self))
        return Recordings(self.columns, self.offsets[start : max(start, stop) + 1], self.sensor)

    @property
    def shape(self) -> tuple[int, ...]:
        """How many recordings there are; the rest of a dataset's shape is known once they are binned."""
        return (len(self),)

    def frames(self, shape: Shape, steps: int, bin_width: int | None, binary: bool, first: int = 0) -> Array:
        """``(steps, n, *shape)``, whole numbers: the events at every place in every step.

        shape: ``(polarities, height, width)``, with 1 for polarities that are not told apart; a sensor of one row may
        leave the height out, one of one row and polarity both. Where ``sensor`` is known, any shape with as many
        values is filled in row-major order.

        bin_width: how long a step is, in the unit of t, from the recording's first event on; what comes after the last
        step is left out. None makes ``steps`` bins of floor((t_last - t_first) / steps), the last one with the rest.
        binary: 1 where there is any event. first: the number of the first recording, for messages. Raises ConfigError
        where an event lies outside of the sensor.
        """
        polarities, height, width = self._sensor(shape)
        size = polarities * height * width
        frames = np.zeros((steps, len(self), size), np.int32)
        for index in range(len(self)):
            at = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
            t, x, y, p = (self.columns[name][at].astype(np.int64) for name in self.NAMES)
            if not len(t):
                continue
            p = np.zeros_like(p) if polarities == 1 else np.maximum(p, 0)  # some write -1 and 1 for 0 and 1
            outside = np.flatnonzero((x >= width) | (y >= height) | (p >= polarities))
            if len(outside):
                place = ", ".join(f"{name} {own[outside[0]]}" for name, own in (("x", x), ("y", y), ("p", p)))
                raise ConfigError(
                    f"recording {first + index} has an event at {place}, which lies outside of {width} x {height} "
                    f"places with {polarities} polarities (input {shape})"
                )
            since = t - t.min()
            if bin_width is None:
                step = np.minimum(since // max(int(since.max()) // steps, 1), steps - 1)
            else:
                step = since // bin_width
            kept = step < steps
            cell = ((step * polarities + p) * height + y) * width + x
            counts = np.bincount(cell[kept], minlength=steps * size).reshape(steps, size)
            frames[:, index] = np.minimum(counts, 1) if binary else counts
        return frames.reshape(steps, len(self), *shape)

    def _sensor(self, shape: Shape) -> Shape:
        """(polarities, height, width) for an input of ``shape``."""
        if self.sensor is not None:
            width, height, polarities = self.sensor
            if shape == (1, height, width):
                return shape
            if int(np.prod(shape)) != width * height * polarities or (
                len(shape) == 3 and shape != (polarities, height, width)
            ):
                raise ConfigError(
                    f"events of a sensor with {width} x {height} places and {polarities} polarities do not fit the "
                    f"input {shape}, which must be {(polarities, height, width)} or as many values in one dimension"
                )
            return polarities, height, width
        if len(shape) > 3:
            raise ConfigError(f"events fill an input (polarities, height, width), not {shape}")
        return (1, 1, *shape) if len(shape) == 1 else (shape[0], 1, shape[1]) if len(shape) == 2 else shape


def recordings(events: Array, offsets: Array | None, sensor: Array | None) -> Recordings:
    """Recordings from the arrays of a file. Raises FormatError for what they cannot be.

    events: ``(n, 4)`` of t, x, y, p, or ``(n,)`` with fields of these names (y and p are 0 where they are missing).
    offsets: as in :class:`Recordings`; None for one recording. sensor: width, height, polarities, or None.
    """
    if events.dtype.names is not None and events.ndim == 1:
        missing = [name for name in ("t", "x") if name not in events.dtype.names]
        if missing:
            raise FormatError(f"events has the fields {', '.join(events.dtype.names)}, and no {missing[0]}")
        none = np.zeros(len(events), np.uint8)
        columns = {name: events[name] if name in events.dtype.names else none for name in Recordings.NAMES}
    elif events.dtype.names is None and events.ndim == 2 and events.shape[1] == 4:
        columns = {name: events[:, index] for index, name in enumerate(Recordings.NAMES)}
    else:
        raise FormatError(
            f"events must be (n, 4), the columns t, x, y, p, or have fields of these names, not {events.dtype} "
            f"{events.shape}"
        )
    for name, column in columns.items():
        _check_column(name, column)
    if offsets is None:
        offsets = np.array([0, len(events)])
    if offsets.dtype.kind not in "iu" or offsets.ndim != 1 or len(offsets) < 2:
        raise FormatError(f"offsets must be whole numbers (recordings + 1,), not {offsets.dtype} {offsets.shape}")
    if offsets[0] != 0 or offsets[-1] != len(events) or (offsets[1:] < offsets[:-1]).any():
        raise FormatError(f"offsets must rise from 0 to the number of events, {len(events)}")
    known = None
    if sensor is not None:
        if sensor.dtype.kind not in "iu" or sensor.shape != (3,) or (sensor < 1).any() or (sensor > 2**16).any():
            raise FormatError("sensor_size must be three whole numbers: width, height, polarities")
        width, height, polarities = (int(n) for n in sensor)
        known = (width, height, polarities)
    return Recordings(columns, offsets.astype(np.int64), known)


_LEAST = {"t": -(2**61), "x": 0, "y": 0, "p": -1}


def _check_column(name: str, column: Array) -> None:
    if column.dtype.kind not in "biuf" or column.ndim != 1:
        raise FormatError(f"events: {name} must be whole numbers, not {column.dtype}")
    if not len(column):
        return
    if column.dtype.kind == "f" and not (np.isfinite(column).all() and (column == np.trunc(column)).all()):
        raise FormatError(f"events: {name} must be whole numbers; give times in a smaller unit, e.g. microseconds")
    least, most = int(column.min()), int(column.max())
    if least < _LEAST[name] or most > (2**61 if name == "t" else 2**16):
        raise FormatError(f"events: {name} goes from {least} to {most}, which cannot be")
