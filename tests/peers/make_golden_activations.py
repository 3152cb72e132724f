"""Golden vectors for activations, normalizations and SpikingAffine, made by PyTorch.

Run it with torch installed: ``python tests/peers/make_golden_activations.py``; it writes
``tests/golden/activations.json``. Every case has a kind, the arguments of the primitive, an input with a batch of 2,
and what torch.nn.functional makes of it in float32. Multiples of 1/8 keep the file small and the inputs exact.
"""

import json
from pathlib import Path

import numpy as np
import torch
from functional import FUNCTIONS, tensor

BATCH = 2
OUT = Path(__file__).parents[1] / "golden" / "activations.json"
rng = np.random.default_rng(21)


def eighths(*shape, limit=40):
    return rng.integers(-limit, limit + 1, shape) / 8


def statistics(n):
    values = {name: eighths(n, limit=16).tolist() for name in ("weight", "bias", "running_mean")}
    return {"num_features": n, **values, "running_var": (rng.integers(0, 33, n) / 8).tolist()}


def scaled(*shape):
    weight, bias = eighths(*shape, limit=16).tolist(), eighths(*shape, limit=16).tolist()
    return {"normalized_shape": list(shape), "weight": weight, "bias": bias}


CASES = [
    ("ReLU", {}, (7,)),
    ("ReLU", {"negative_slope": 0.125}, (2, 3, 4)),
    ("PReLU", {"features": 5, "weight": eighths(5).tolist()}, (5,)),
    ("PReLU", {"features": 3, "weight": eighths(3).tolist()}, (3, 2, 4)),
    ("PReLU", {"features": None, "weight": [0.25]}, (3, 4)),
    ("Sigmoid", {}, (24,)),
    ("Sigmoid", {}, (3, 2, 4)),
    ("Tanh", {}, (24,)),
    ("GELU", {}, (24,)),
    ("GELU", {"approximate": False}, (24,)),
    ("GELU", {"approximate": False}, (2, 5)),
    ("ELU", {}, (24,)),
    ("ELU", {"alpha": 0.375}, (3, 4, 2)),
    ("ELU", {"alpha": -1.5}, (12,)),
    ("Softmax", {}, (9,)),
    ("Softmax", {"dim": 0}, (3, 2, 4)),
    ("Softmax", {"dim": 1}, (3, 2, 4)),
    ("Softmax", {"dim": -1}, (3, 5)),
    ("Dropout", {"p": 0.75}, (6,)),
    ("BatchNorm1d", statistics(6), (6,)),
    ("BatchNorm1d", statistics(4), (4, 5)),
    ("BatchNorm2d", statistics(3), (3, 2, 4)),
    ("BatchNorm2d", statistics(2) | {"eps": 0.125}, (2, 3, 3)),
    ("LayerNorm", scaled(8), (8,)),
    ("LayerNorm", scaled(4), (3, 2, 4)),
    ("LayerNorm", scaled(2, 4) | {"eps": 0.125}, (3, 2, 4)),
    ("LayerNorm", scaled(3, 2, 4), (3, 2, 4)),
    ("SpikingAffine", {"weight": eighths(4, 6).tolist(), "bias": eighths(4).tolist()}, (6,)),
]


def main():
    made = []
    for kind, arguments, shape in CASES:
        x = eighths(BATCH, *shape)
        y = FUNCTIONS[kind](tensor(x), **arguments)
        # nine digits are enough to find a float32 again
        found = [float(f"{value:.9g}") for value in y.double().flatten().tolist()]
        made.append({"kind": kind, "arguments": arguments, "shape": shape, "x": x.flatten().tolist(), "y": found})
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in made)
    OUT.write_text(f'{{"made_with": "torch {torch.__version__}", "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
