"""Datasets, and how their values become the input of each timestep.

A dataset is an ``.npz`` file with ``x_test`` and, where there are labels, ``y_test``; ``x_train`` for calibration where
there is one. ``x`` and ``y`` alone serve for both. Object arrays are refused: nothing in a file is executed.

Encodings: ``current`` feeds the values of a sample, ``(n, *shape)``, as a constant current at every step; ``frames``
feeds one frame a step, ``(n, steps, *shape)``.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from talon_lib.errors import ConfigError, FormatError
from talon_lib.fixed import Array

Encoding = Literal["current", "frames"]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples to evaluate, labels (``(n,)`` int64, or None), and samples to calibrate with."""

    x: Array
    y: Array | None
    calibration: Array

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all three arrays."""
        digest = hashlib.sha256()
        for array in (self.x, self.y, self.calibration):
            if array is not None:
                digest.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def take(self, samples: int | None) -> Dataset:
        """The first ``samples`` samples; all where it is None."""
        labels = None if self.y is None else self.y[:samples]
        return Dataset(self.x[:samples], labels, self.calibration)


def load(path: str | Path) -> Dataset:
    """Read a dataset. Raises FormatError with the path."""
    path = Path(path)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise FormatError(f"{path}: there is no such file") from None
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise FormatError(f"{path}: not an .npz file of plain arrays ({error})") from None
    x = arrays.get("x_test", arrays.get("x"))
    if x is None:
        raise FormatError(f"{path}: holds neither x_test nor x, only {', '.join(arrays) or 'nothing'}")
    y = arrays.get("y_test", arrays.get("y"))
    calibration = arrays.get("x_train", x)
    for name, array in (("x", x), ("x_train", calibration)):
        if array.dtype.kind not in "biuf" or array.ndim < 2 or not len(array):
            raise FormatError(f"{path}: {name} must hold numbers, (samples, …), not {array.dtype} {array.shape}")
        if not np.isfinite(array).all():
            raise FormatError(f"{path}: {name} holds NaN or infinity")
    if y is not None and (y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer)):
        raise FormatError(f"{path}: y must hold one whole number for each of {len(x)} samples, not {y.dtype} {y.shape}")
    return Dataset(x, y, calibration)


def encode(x: Array, encoding: Encoding, shape: tuple[int, ...], steps: int) -> Array:
    """The input of a run: ``(batch, *shape)``, held for all steps, or ``(steps, batch, *shape)``.

    x: ``(n, *shape)`` for "current" (any shape with as many values is taken in row-major order), ``(n, steps,
    *shape)`` for "frames", of which the first ``steps`` are fed. Raises ConfigError where it does not fit.
    """
    if encoding == "current":
        if int(np.prod(x.shape[1:])) != int(np.prod(shape)):
            raise ConfigError(
                f"data of shape {x.shape[1:]} a sample does not fit the input {shape} (encoding 'current')"
            )
        return x.reshape(len(x), *shape)
    if encoding == "frames":
        if x.ndim < 2 or int(np.prod(x.shape[2:])) != int(np.prod(shape)):
            raise ConfigError(
                f"data of shape {x.shape[1:]} a sample is no frames of the input {shape} (encoding 'frames')"
            )
        if steps > x.shape[1]:
            raise ConfigError(f"{steps} steps are asked for, but the data has {x.shape[1]} frames a sample")
        return np.moveaxis(x[:, :steps].reshape(len(x), steps, *shape), 1, 0)
    raise ConfigError(f"unknown encoding {encoding!r}; there are: {', '.join(ENCODINGS)}")
