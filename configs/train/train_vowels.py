"""Train the network `vowels` on JapaneseVowels: which of nine speakers said /ae/.

Data: load_japanese_vowels of aeon with the original split, 270 series to train and 370 to
test.  A series has 7 to 29 frames of 12 LPC cepstrum coefficients; one frame is one step.

Preparation, all of it in the stored data and none in the network: every channel is
standardised by its mean and deviation over all frames of the train set, rounded to a multiple
of 1/1024, clipped to +-3.5 (the largest 4-bit value at a scale of 1/2), and the series is padded
with zero frames at its end to 29 steps.  The network gets no length and no mask: it runs all 29
steps, and in the padding only its biases drive it.

Selection: the settings below were chosen by cross-validation inside the train set.  The number
of epochs is fixed, no checkpoint is picked, and the test set is evaluated once at the end.

Writes vowels.nir and vowels.npz: x_train (270, 29, 12), x_test (370, 29, 12) float32, y int64.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import snn
from aeon.datasets import load_japanese_vowels
from torch import nn

STEPS = 29
LIMIT = 3.5


def layers() -> list[nn.Module]:
    """Sizes 12-64-9."""
    return [nn.Linear(12, 64), snn.LIF(4.0), nn.Linear(64, 9), snn.LIF(4.0)]


CONFIG = snn.Config(shape=(12,), layers=layers, epochs=120, input_noise=0.3, weight_noise=0.06)


def prepare(series: list[np.ndarray], mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Series of shape (12, length) to x (n, STEPS, 12), given statistics of shape (12,)."""
    x = np.zeros((len(series), STEPS, len(mean)), np.float32)
    for row, frames in zip(x, series, strict=True):
        standard = (frames.T - mean) / deviation
        row[: len(standard)] = np.clip(np.round(standard * 1024) / 1024, -LIMIT, LIMIT)
    return x


def load() -> snn.Data:
    """Padded series x (n, STEPS, 12) and speakers y (n,), 0..8."""
    train, y_train = load_japanese_vowels("TRAIN")
    test, y_test = load_japanese_vowels("TEST")
    frames = np.concatenate(train, axis=1)
    mean, deviation = frames.mean(1), frames.std(1)
    return snn.Data(
        prepare(train, mean, deviation),
        y_train.astype(np.int64) - 1,
        prepare(test, mean, deviation),
        y_test.astype(np.int64) - 1,
    )


def main() -> None:
    """Write the network and the data to the directory given by --output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    data = load()
    snn.fit("vowels", CONFIG, data, args.output)
    np.savez_compressed(args.output / "vowels.npz", **vars(data))


if __name__ == "__main__":
    main()
