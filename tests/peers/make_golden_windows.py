"""Golden vectors for convolutions, pools and upsampling, made by PyTorch.

Run it with torch installed: ``python tests/peers/make_golden_windows.py``; it writes ``tests/golden/windows.json``.
Every case has a kind, the arguments of the primitive (tensors by name in ``tensors``), an input with a batch of 1, and
what torch.nn.functional makes of it in float32. Small whole multiples of 1/8 keep the file small and the inputs exact.
"""

import json
from pathlib import Path

import numpy as np
import torch
from functional import FUNCTIONS, tensor

CASES = 9
OUT = Path(__file__).parents[1] / "golden" / "windows.json"
rng = np.random.default_rng(20)


def eighths(*shape):
    return rng.integers(-16, 17, shape) / 8


def pair(low, high):
    return [int(n) for n in rng.integers(low, high + 1, 2)]


def convolution(rank):
    groups = int(rng.integers(1, 4))
    kernel, stride, padding, dilation = pair(1, 3), pair(1, 3), pair(0, 2), pair(1, 2)
    size = [d * (k - 1) + 1 + int(rng.integers(0, 4)) for k, d in zip(kernel, dilation, strict=True)]
    kernel, stride, padding, dilation, size = (v[:rank] for v in (kernel, stride, padding, dilation, size))
    weight = eighths(groups * int(rng.integers(1, 3)), int(rng.integers(1, 3)), *kernel)
    arguments = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if rank == 1:
        arguments |= {key: value[0] for key, value in arguments.items() if key != "groups"}
    x, bias = eighths(1, weight.shape[1] * groups, *size), eighths(len(weight))
    return f"Conv{rank}d", arguments, {"weight": weight, "bias": bias}, x


def separable():
    kernel, stride, padding, dilation = pair(1, 3), pair(1, 2), pair(0, 1), pair(1, 2)
    size = [d * (k - 1) + 1 + int(rng.integers(0, 4)) for k, d in zip(kernel, dilation, strict=True)]
    channels, out = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    tensors = {
        "depthwise_weight": eighths(channels, 1, *kernel),
        "pointwise_weight": eighths(out, channels, 1, 1),
        "depthwise_bias": eighths(channels),
        "pointwise_bias": eighths(out),
    }
    arguments = {"stride": stride, "padding": padding, "dilation": dilation}
    x = eighths(1, channels, *size)
    return "SepConv2d", arguments, tensors, x


def pool(kind):
    kernel, stride = pair(1, 4), pair(1, 4)
    padding = [int(rng.integers(0, k // 2 + 1)) for k in kernel]
    arguments = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": bool(rng.integers(2))}
    dilation = [1, 1]
    if kind == "MaxPool2d":
        arguments["dilation"] = dilation = pair(1, 2)
    else:
        arguments["count_include_pad"] = bool(rng.integers(2))
    if not rng.integers(3):
        arguments["stride"] = None
    size = [d * (k - 1) + 1 + int(rng.integers(0, 6)) for k, d in zip(kernel, dilation, strict=True)]
    x = eighths(1, 2, *size) - (2.5 if kind == "MaxPool2d" else 0.0)  # all negative: a padding of 0 would show
    return kind, arguments, {}, x


def upsample(index):
    mode = ("nearest", "bilinear")[index % 2]
    arguments = {"mode": mode}
    if index % 4 < 2:
        arguments["scale_factor"] = [2, 3, 1.5, 2.7, [2, 3], 0.6, 1][index // 4 % 7]
    else:
        arguments["size"] = pair(1, 9)
    if mode == "bilinear":
        arguments["align_corners"] = bool(rng.integers(2))
    x = eighths(1, 2, *pair(2, 5))
    return "Upsample", arguments, {}, x


def main():
    made = [convolution(rank) for rank in (1, 2) for _ in range(CASES)]
    made += [separable() for _ in range(CASES // 2)]
    made += [pool(kind) for kind in ("MaxPool2d", "AvgPool2d") for _ in range(2 * CASES)]
    made += [upsample(index) for index in range(2 * CASES)]
    cases = [
        {
            "kind": kind,
            "arguments": arguments,
            "tensors": {name: value.tolist() for name, value in tensors.items()},
            "x": x.tolist(),
            # 9 digits hold a float32 whole
            "y": json.loads(json.dumps(done.tolist()), parse_float=lambda text: float(f"{float(text):.9g}")),
        }
        for kind, arguments, tensors, x in made
        for done in [FUNCTIONS[kind](tensor(x), **tensors, **arguments)]
    ]
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    OUT.write_text(f'{{"torch":"{torch.__version__}","cases":[\n{lines}\n]}}\n')
    print(f"{OUT}: {len(cases)} cases, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
