"""Datasets: the samples of a file, their labels, and the samples to calibrate with. docs/data.md has the formats."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from talon_lib.data.events import Recordings, recordings
from talon_lib.data.files import read_arrays
from talon_lib.errors import FormatError
from talon_lib.fixed import Array

Samples = Array | Recordings
"""``(n, …)`` numbers, or n recordings of events."""

_PLAIN = ("x_test", "x", "x_train", "y_test", "y")
_EVENTS = ("events_test", "events", "events_train", "offsets_test", "offsets", "offsets_train", "sensor_size")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples to evaluate, labels (``(n,)`` whole numbers, or None), and samples to calibrate with."""

    x: Samples
    y: Array | None
    calibration: Samples

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all arrays."""
        digest = hashlib.sha256()
        for samples in (self.x, self.y, self.calibration):
            parts: tuple[Array | None, ...] = (samples,) if not isinstance(samples, Recordings) else _parts(samples)
            for array in parts:
                if array is not None:
                    digest.update(f"{array.dtype.str}{array.shape}".encode())
                    digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def take(self, samples: int | None) -> Dataset:
        """The first ``samples`` samples; all where it is None."""
        labels = None if self.y is None else self.y[:samples]
        return Dataset(self.x[:samples], labels, self.calibration)


def _parts(samples: Recordings) -> tuple[Array, ...]:
    return (*samples.columns.values(), samples.offsets, np.array(samples.sensor or (), np.int64))


def load(path: str | Path, labels: str | Path | None = None) -> Dataset:
    """Read a dataset, an .npz or .npy file; ``labels`` is an .npy file, for data without. Raises FormatError."""
    path = Path(path)
    arrays, names = read_arrays(path, (*_PLAIN, *_EVENTS))
    given = None if labels is None else _labels(Path(labels))
    try:
        return _dataset(arrays, names, given)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def _labels(path: Path) -> Array:
    arrays, names = read_arrays(path, ())
    if names != [""]:
        raise FormatError(f"{path}: labels must be one array in an .npy file, not {', '.join(names)}")
    return arrays[""]


def _dataset(arrays: Mapping[str, Array], names: list[str], labels: Array | None) -> Dataset:
    if names == [""]:
        whole = arrays[""]
        arrays = {"events" if whole.dtype.names else "x": whole}
    x: Samples
    calibration: Samples
    if {"events", "events_test"} & set(arrays):
        x, calibration = _recordings(arrays)
    else:
        x, calibration = _numbers(arrays, names)
    y = arrays.get("y_test", arrays.get("y"))
    if labels is not None:
        if y is not None:
            raise FormatError("holds labels itself, so give no others")
        y = labels
    if y is not None and (y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer)):
        raise FormatError(f"y must hold one whole number for each of {len(x)} samples, not {y.dtype} {y.shape}")
    return Dataset(x, y, calibration)


def _numbers(arrays: Mapping[str, Array], names: list[str]) -> tuple[Array, Array]:
    x = arrays.get("x_test", arrays.get("x"))
    if x is None:
        raise FormatError(f"holds neither x_test nor x (nor events), only {', '.join(names) or 'nothing'}")
    calibration = arrays.get("x_train", x)
    for name, array in (("x", x), ("x_train", calibration)):
        if array.dtype.kind not in "biuf" or array.ndim < 2 or not len(array):
            raise FormatError(f"{name} must hold numbers, (samples, …), not {array.dtype} {array.shape}")
        if not np.isfinite(array).all():
            raise FormatError(f"{name} holds NaN or infinity")
    return x, calibration


def _recordings(arrays: Mapping[str, Array]) -> tuple[Recordings, Recordings]:
    if {"x", "x_test"} & set(arrays):
        raise FormatError("holds both x and events; it must be one of them")
    test = "_test" if "events_test" in arrays else ""
    sensor = arrays.get("sensor_size")
    x = recordings(arrays[f"events{test}"], arrays.get(f"offsets{test}"), sensor)
    if "events_train" not in arrays:
        return x, x
    return x, recordings(arrays["events_train"], arrays.get("offsets_train"), sensor)
