"""Train the network `digits` on the handwritten digits of scikit-learn.

Data: load_digits, 1797 images of 8x8 pixels with values 0..16, divided by 16.  A quarter (450
images, stratified, fixed seed) is the test set.  An image is held constant for STEPS steps.

Selection: the settings below were chosen by cross-validation inside the train set.  The number
of epochs is fixed, no checkpoint is picked, and the test set is evaluated once at the end.

Writes digits.nir and digits.npz: x_train (1347, 64), x_test (450, 64) float32, y int64 (n,).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import snn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

STEPS = 8


def layers() -> list[nn.Module]:
    """Sizes 64-32-10."""
    return [nn.Linear(64, 32), snn.LIF(4.0), nn.Linear(32, 10), snn.LIF(4.0)]


CONFIG = snn.Config(shape=(64,), layers=layers, epochs=60, rate=1e-2)


def load() -> snn.Data:
    """Images x (n, 64) in [0, 1] and digits y (n,)."""
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        (x / 16).astype(np.float32), y.astype(np.int64), test_size=450, stratify=y, random_state=0
    )
    return snn.Data(x_train, y_train, x_test, y_test)


def hold(x: np.ndarray) -> np.ndarray:
    """Images (n, 64) to constant sequences (n, STEPS, 64)."""
    return np.repeat(x[:, None], STEPS, axis=1)


def main() -> None:
    """Write the network and the data to the directory given by --output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    data = load()
    held = snn.Data(hold(data.x_train), data.y_train, hold(data.x_test), data.y_test)
    snn.fit("digits", CONFIG, held, args.output)
    np.savez_compressed(args.output / "digits.npz", **vars(data))


if __name__ == "__main__":
    main()
