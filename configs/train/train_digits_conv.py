"""Train the convolutional network `digits_conv` on the handwritten digits of scikit-learn.

Data: digits.npz of train_digits.py, same split and same steps; an image is (1, 8, 8) here.
Nothing but the network is written, as the data is the same row by row.

The pool averages over 2x2 spikes: its divisor is a power of two, so hardware has it exactly.

Selection: the settings below were chosen by cross-validation inside the train set.  The number
of epochs is fixed, no checkpoint is picked, and the test set is evaluated once at the end.

Writes digits_conv.nir.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import snn
import train_digits
from torch import nn

SHAPE = (1, 8, 8)


def layers() -> list[nn.Module]:
    """8 channels of 8x8, pooled to 4x4, then 128-10."""
    return [
        nn.Conv2d(1, 8, 3, padding=1),
        snn.LIF(4.0),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
        snn.LIF(4.0),
    ]


CONFIG = snn.Config(shape=SHAPE, layers=layers, epochs=60, rate=2e-2)


def hold(x: np.ndarray) -> np.ndarray:
    """Images (n, 64) to constant sequences (n, STEPS, 1, 8, 8)."""
    return train_digits.hold(x).reshape(len(x), train_digits.STEPS, *SHAPE)


def main() -> None:
    """Write the network to the directory given by --output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    data = train_digits.load()
    held = snn.Data(hold(data.x_train), data.y_train, hold(data.x_test), data.y_test)
    snn.fit("digits_conv", CONFIG, held, args.output)


if __name__ == "__main__":
    main()
