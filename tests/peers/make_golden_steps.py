"""Golden vectors for neurons, delays, Affine, and nodes that move, join and scale values, made by PyTorch.

Run it with torch installed: ``python tests/peers/make_golden_steps.py``; it writes ``tests/golden/steps.json``. Every
case has a kind, the arguments of the primitive, inputs ``(batch, *shape)`` and what torch makes of them; for what keeps
a state there is one input ``(steps, batch, *shape)``, the results of every step, and for neurons the membranes.
Multiples of 1/8 keep the file small; with decays of a half they let membranes fall on their thresholds.
"""

import json
from pathlib import Path

import numpy as np
import torch
from functional import FUNCTIONS
from test_torch import in_loop

OUT = Path(__file__).parents[1] / "golden" / "steps.json"
BATCH, STEPS = 2, 8
rng = np.random.default_rng(4)


def eighths(*shape, low=-16, high=17):
    return (rng.integers(low, high, shape) / 8).tolist()


ONCE = [
    ("Input", {"input_type": [3]}, [(3,)]),
    ("Output", {"output_type": [2, 3]}, [(2, 3)]),
    ("HybridRegion", {"mode": "ann"}, [(3,)]),
    ("Flatten", {}, [(2, 3, 2)]),
    ("Flatten", {"start_dim": 1, "end_dim": 2}, [(2, 3, 2)]),
    ("Concat", {"num_inputs": 3, "dim": 0}, [(2, 3), (1, 3), (3, 3)]),
    ("Concat", {"num_inputs": 2, "dim": -1}, [(2, 3), (2, 1)]),
    ("ChannelSplit", {"split_sections": [1, 3], "dim": 0}, [(4, 2)]),
    ("ChannelSplit", {"split_sections": [2, 1], "dim": 1}, [(2, 3)]),
    ("Skip", {"skip_type": "residual"}, [(2, 3), (2, 3)]),
    ("Skip", {"skip_type": "concatenate"}, [(2, 3), (1, 3)]),
    ("Skip", {"skip_type": "identity"}, [(4,)]),
    ("Affine", {"weight": eighths(3, 5), "bias": eighths(3)}, [(5,)]),
    ("Affine", {"weight": eighths(2, 4)}, [(4,)]),
    ("Scale", {"scale": 0.375}, [(2, 3)]),
    ("Scale", {"scale": eighths(2)}, [(2, 2, 3)]),
    ("Scale", {"scale": eighths(2, 3)}, [(2, 3)]),
    ("Threshold", {"threshold": 0.5}, [(2, 9)]),
    ("Threshold", {"threshold": eighths(2)}, [(2, 9)]),
    ("SumPool2d", {"kernel_size": [2, 3], "stride": [1, 2], "padding": [1, 0]}, [(2, 4, 7)]),
    ("SumPool2d", {"kernel_size": [2, 2], "ceil_mode": True}, [(1, 3, 5)]),
]

CURRENT = {"tau": [1.0, 2.0, 4.0], "tau_syn": 2.0, "v_leak": 0.125}
STEPPED = [
    ("IF", {"v_threshold": 1.0}),
    ("IF", {"v_threshold": [0.5, 1.0, 1.5], "reset": "subtract", "reset_delay": True, "strict": True}),
    ("IF", {"v_threshold": 1.0, "v_reset": [-0.5, 0.0, 0.25], "strict": True}),
    ("LIF", {"tau": 2.0, "v_leak": [0.125, 0.0, -0.25], "v_threshold": 0.75}),
    ("LIF", {"tau": [1.0, 2.0, 4.0], "v_leak": 0.0, "v_threshold": 0.75, "reset": "subtract"}),
    ("LIF", {"tau": 2.0, "v_leak": 0.0, "v_threshold": 0.75, "v_reset": 0.25, "reset_delay": True}),
    ("CubaLIF", {**CURRENT, "v_threshold": 1.0}),
    ("CubaLIF", {**CURRENT, "v_threshold": 1.0, "reset": "subtract", "reset_delay": True, "strict": True}),
    ("CubaLI", CURRENT),
    ("LI", {"tau": 4.0, "v_leak": [0.125, 0.0, -0.25]}),
    ("I", {}),
]


def once(kind, arguments, shapes):
    inputs = [np.array(eighths(BATCH, *shape)) for shape in shapes]
    given = {key: np.array(value) if key == "weight" else value for key, value in arguments.items()}
    found = FUNCTIONS[kind](*(torch.tensor(x, dtype=torch.float32) for x in inputs), **given)
    results = [found] if isinstance(found, torch.Tensor) else list(found)
    listed = [result.double().tolist() for result in results]
    return {"kind": kind, "arguments": arguments, "inputs": [x.tolist() for x in inputs], "outputs": listed}


def stepped(kind, arguments):
    x = np.array(eighths(STEPS, BATCH, 3, low=-8))
    tensors = {
        key: torch.tensor(value).double() if key.startswith(("tau", "v_")) else value
        for key, value in arguments.items()
    }
    results, membranes, _ = in_loop(x, **tensors)
    found = {"steps": x.tolist(), "results": results.tolist(), "membranes": membranes.tolist()}
    return {"kind": kind, "arguments": arguments | ({"r": 1.0} if kind == "LIF" else {}), **found}


def delayed(late):
    x = torch.tensor(eighths(STEPS, BATCH, 3))
    found = torch.stack([torch.cat([torch.zeros(n, BATCH), x[: STEPS - n, :, i]]) for i, n in enumerate(late)], -1)
    return {"kind": "Delay", "arguments": {"steps": late}, "steps": x.tolist(), "results": found.tolist()}


if __name__ == "__main__":
    cases = [once(*case) for case in ONCE] + [stepped(*case) for case in STEPPED] + [delayed([0, 1, 3])]
    lines = ",\n".join(json.dumps(case) for case in cases)
    OUT.write_text(f'{{"source": "torch {torch.__version__}", "cases": [\n{lines}\n]}}\n')
