"""Golden spikes for encodings, made by snnTorch (latency, delta) and Tonic (events to frames).

Run it with both installed: ``python tests/peers/make_golden_encodings.py``; it writes ``tests/golden/encodings.json``.
"""

import importlib.metadata
import json
from pathlib import Path

import numpy as np
import torch
from snntorch import spikegen
from tonic.transforms import ToFrame

OUT = Path(__file__).parents[1] / "golden" / "encodings.json"
rng = np.random.default_rng(30)


def tensor(x):
    return torch.tensor(x, dtype=torch.float32)


def latency(steps, form, tau, threshold):
    """clip=True: none below the threshold; bypass=True: what falls beyond the last step is dropped, not refused."""
    x = np.sort(rng.integers(0, 65, 40)) / 64
    given = {"linear": True, "normalize": True} if tau is None else {"linear": form == "linear", "tau": tau}
    spikes = spikegen.latency(tensor(x), num_steps=steps, threshold=threshold, clip=True, bypass=True, **given)
    parameters = {"form": form, "tau": tau, "threshold": threshold}
    return {"kind": "latency", **parameters}, x.tolist(), spikes.int().tolist()


def delta(threshold, off_spikes, padding):
    x = rng.integers(-8, 9, (12, 6)) / 8
    spikes = spikegen.delta(tensor(x), threshold=threshold, padding=padding, off_spike=off_spikes)
    parameters = {"threshold": threshold, "off_spikes": off_spikes, "padding": padding}
    return {"kind": "delta", **parameters}, x.tolist(), spikes.int().tolist()


def events(steps, bin_width):
    width, height, count = 4, 3, 60
    made = np.zeros(count, [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "<i2")])
    for name, most in (("x", width), ("y", height), ("t", 1000), ("p", 2)):
        made[name] = rng.integers(0, most, count)
    made = np.sort(made, order="t")
    given = {"n_time_bins": steps} if bin_width is None else {"time_window": bin_width, "include_incomplete": True}
    frames = ToFrame(sensor_size=(width, height, 2), **given)(made.copy())
    listed = [[int(event[name]) for name in ("t", "x", "y", "p")] for event in made]
    return {"kind": "events", "bin_width": bin_width}, listed, frames.tolist()


cases = [
    latency(9, "linear", None, 0.01),
    latency(5, "linear", None, 0.2),
    latency(12, "linear", 5.0, 0.01),
    latency(6, "linear", 10.0, 0.01),
    latency(5, "log", 2.0, 0.25),
    latency(30, "log", 2.0, 0.01),
    latency(60, "log", 3.5, 0.3),
    *(delta(0.25, off, padding) for off in (False, True) for padding in (False, True)),
    delta(0.625, True, False),
    events(7, None),
    events(10, None),
    events(None, 130),
    events(None, 1000),
]
versions = {name: importlib.metadata.version(name) for name in ("snntorch", "tonic", "torch")}
with OUT.open("w") as file:
    rows = [
        json.dumps(dict(zip(("encoding", "x", "spikes"), case, strict=True)), separators=(",", ":")) for case in cases
    ]
    file.write(json.dumps(versions)[:-1] + ', "cases": [\n' + ",\n".join(rows) + "\n]}\n")
