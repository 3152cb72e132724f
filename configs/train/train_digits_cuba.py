"""Train the network `digits_cuba` on the handwritten digits of scikit-learn.

Data: digits.npz of train_digits.py, same split, same steps, same inputs.  Nothing but the
network is written.

The neurons are CubaLIF: a synaptic current with a time constant of 2 steps, whose decay of 1/2
hardware has exactly, drives the membrane.

Selection: all other settings are those of train_digits.py, which were chosen by cross-validation
inside the train set; none was chosen for this network.  The number of epochs is fixed, no
checkpoint is picked, and the test set is evaluated once at the end.

Writes digits_cuba.nir.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import snn
import train_digits
from torch import nn


def layers() -> list[nn.Module]:
    """Sizes 64-32-10."""
    return [nn.Linear(64, 32), snn.CubaLIF(2.0, 4.0), nn.Linear(32, 10), snn.CubaLIF(2.0, 4.0)]


CONFIG = replace(train_digits.CONFIG, layers=layers)


def main() -> None:
    """Write the network to the directory given by --output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    data = train_digits.load()
    hold = train_digits.hold
    held = snn.Data(hold(data.x_train), data.y_train, hold(data.x_test), data.y_test)
    snn.fit("digits_cuba", CONFIG, held, args.output)


if __name__ == "__main__":
    main()
