"""Random graphs over all primitives that both the TALON SDK and we have, as descriptions that either is made from."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Description:
    """Nodes as name: (kind, fields by the names that both have), and what else a graph has."""

    nodes: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    rest: dict[str, Any] = field(default_factory=dict)

    def make(self, library):
        """The graph in ``library``: talon_lib.ir, or the SDK's talon.ir."""
        nodes = {name: getattr(library, kind)(**fields) for name, (kind, fields) in self.nodes.items()}
        return library.Graph(nodes=nodes, edges=list(self.edges), **self.rest)


class Draw:
    """One random graph, ``made``; ``open`` are its loose ends: nodes, each with the shape that leaves it."""

    def __init__(self, seed, layers=12):
        self.rng = np.random.default_rng(seed)
        self.made = Description()
        self.open = []
        for _ in range(self.whole(1, 4)):
            shape = self.pick((self.whole(1, 9),), (self.whole(1, 5), self.whole(4, 9)), (self.whole(1, 5), 6, 8))
            self.open.append((self.node("Input", {"input_type": {"input": np.array(shape)}}), shape))
        for _ in range(self.whole(3, layers)):
            self.layer()
        for name, shape in self.open:
            self.node("Output", {"output_type": {"output": np.array(shape)}}, name)
        metadata = {"note": "naïve\ntext", "n": 3, "x": 0.1, "yes": True, "more": {"empty": {}, "deep": {"n": -1}}}
        if self.chance():
            self.made.rest["metadata"] = metadata
        if self.chance():
            self.made.rest |= {"allow_cycles": True, "cyclic_config": {"max_iterations": 5}}
            self.loop()

    def whole(self, low, high):
        return int(self.rng.integers(low, high))

    def chance(self, p=0.5):
        return bool(self.rng.random() < p)

    def pick(self, *values):
        return values[self.whole(0, len(values))]

    def pair(self, low, high):
        return self.whole(low, high), self.whole(low, high)

    def array(self, *shape):
        return self.rng.normal(size=shape).astype(np.float32)

    def node(self, kind, fields, *before):
        """Add a node with edges from those before; its name is nothing that sorts."""
        name = f"{self.pick('n', 'Z', 'a layer ', 'ä', 'a.b-')}{len(self.made.nodes)}"
        self.made.nodes[name] = (kind, fields)
        self.made.edges += [(source, name) for source in before]
        return name

    def layer(self):
        """Take a loose end, or two of them, and go on from there."""
        name, shape = self.open.pop(self.whole(0, len(self.open)))
        same = [end for end in self.open if end[1] == shape]
        along = [end for end in self.open if len(end[1]) == len(shape) and end[1][1:] == shape[1:]]
        if same and self.chance(0.4):
            self.open.remove(same[0])
            kind = self.pick("residual", "add")
            self.open.append((self.node("Skip", {"skip_type": kind}, name, same[0][0]), shape))
        elif along and self.chance(0.6):
            self.open.remove(along[0])
            sources = [name, along[0][0]][:: self.pick(1, -1)]
            dim = {"num_inputs": 2, "dim": self.pick(0, -len(shape))}
            kind, fields = self.pick(("Concat", dim), ("Skip", {"skip_type": self.pick("concatenate", "concat")}))
            self.open.append((self.node(kind, fields, *sources), (shape[0] + along[0][1][0], *shape[1:])))
        elif shape[0] > 1 and self.chance(0.2):
            self.split(name, shape)
        elif self.chance(0.1):
            for _ in range(2):
                self.open.append((self.node("Skip", {"skip_type": self.pick("identity", "passthrough")}, name), shape))
        else:
            kinds = {1: (self.linear,), 2: (self.conv1d, self.flatten)}
            own = kinds.get(len(shape), (self.conv2d, self.separable, self.pool, self.upsample, self.flatten))
            drawn = self.pick(*own, *own, self.neurons, self.activation, self.norm)(shape)
            kind, fields, after = drawn
            self.open.append((self.node(kind, fields, name), after))

    def split(self, name, shape):
        """A ChannelSplit whose edges are in another order than its followers."""
        first = self.whole(1, shape[0])
        sections = (first, shape[0] - first)
        made = self.node("ChannelSplit", {"split_sections": sections, "dim": self.pick(0, -len(shape))}, name)
        followers = [self.node("Skip", {"skip_type": "identity"}) for _ in sections]
        for part, size in zip(followers[::-1], sections, strict=True):
            self.made.edges.append((made, part))
            self.open.append((part, (size, *shape[1:])))

    def loop(self):
        """An edge from a spiking node back to itself."""
        neurons = [name for name, (kind, _) in self.made.nodes.items() if kind in ("LIF", "IF")]
        if neurons:
            self.made.edges.append((neurons[0], neurons[0]))

    # --- layers: the kind, its fields and the shape that leaves it ---

    def hints(self):
        drawn = {"weight_t": "ap_fixed<8,3>", "bias_t": "ap_ufixed<9,2,AP_RND,AP_SAT>", "result_t": "ap_fixed<16,6>"}
        drawn |= {"accum_t": "ap_fixed<40,20>", "reuse_factor": 4}
        return {key: value for key, value in drawn.items() if self.chance(0.2)}

    def linear(self, shape):
        out = self.whole(1, 6)
        fields = {"weight": self.array(out, *shape), "bias": self.array(out), **self.hints()}
        if self.chance():
            return "Affine", fields, (out,)
        weight_bits = self.whole(1, 33)
        bits = {"weight_bits": weight_bits, "accumulator_bits": self.whole(weight_bits, 49)}
        return "SpikingAffine", {**fields, **bits, "spike_mode": self.pick("binary", "graded", "rate")}, (out,)

    def windows(self, size, kernel, stride, padding, dilation):
        return tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
        )

    def groups(self, channels):
        groups = self.pick(*(n for n in range(1, channels + 1) if channels % n == 0))
        return groups, groups * self.whole(1, 3)

    def conv1d(self, shape):
        groups, out = self.groups(shape[0])
        kernel, stride, padding, dilation = self.whole(1, 4), self.whole(1, 3), self.whole(0, 2), 1
        after = self.windows(shape[1:], (kernel,), (stride,), (padding,), (dilation,))
        if min(after) < 1:
            return "Tanh", {"features": shape[0]}, shape
        weight = self.array(out, shape[0] // groups, kernel)
        sliding = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return "Conv1d", {"weight": weight, "bias": self.array(out), **sliding, **self.hints()}, (out, *after)

    def sliding(self, shape):
        """A window that fits the image at least once, and how many times."""
        while True:
            kernel, stride, padding, dilation = self.pair(1, 4), self.pair(1, 4), self.pair(0, 2), self.pair(1, 3)
            after = self.windows(shape[1:], kernel, stride, padding, dilation)
            if min(after) >= 1 and all(2 * p <= k for p, k in zip(padding, kernel, strict=True)):
                return kernel, {"stride": stride, "padding": padding, "dilation": dilation}, after

    def conv2d(self, shape):
        groups, out = self.groups(shape[0])
        kernel, sliding, after = self.sliding(shape)
        weight = self.array(out, shape[0] // groups, *kernel)
        fields = {"weight": weight, "bias": self.array(out), **sliding, "groups": groups, **self.hints()}
        return "Conv2d", fields, (out, *after)

    def separable(self, shape):
        out = self.whole(1, 5)
        kernel, sliding, after = self.sliding(shape)
        depthwise = {"depthwise_weight": self.array(shape[0], 1, *kernel), "depthwise_bias": self.array(shape[0])}
        pointwise = {"pointwise_weight": self.array(out, shape[0], 1, 1), "pointwise_bias": self.array(out)}
        return "SepConv2d", {**depthwise, **pointwise, **sliding, **self.hints()}, (out, *after)

    def pool(self, shape):
        kernel, sliding, after = self.sliding(shape)
        if self.chance():
            return "MaxPool2d", {"kernel_size": kernel, **sliding, "ceil_mode": False}, (shape[0], *after)
        del sliding["dilation"]
        after = self.windows(shape[1:], kernel, *sliding.values(), (1, 1))
        return "AvgPool2d", {"kernel_size": kernel, **sliding, "count_include_pad": self.chance()}, (shape[0], *after)

    def upsample(self, shape):
        mode = self.pick({}, {"mode": "bilinear", "align_corners": self.chance()})
        if self.chance():
            size = self.pair(1, 12)
            return "Upsample", {"size": size, "scale_factor": self.pick(2, 3), **mode}, (shape[0], *size)
        factor = self.pick(1, 2)
        return "Upsample", {"scale_factor": factor, **mode}, (shape[0], *(factor * n for n in shape[1:]))

    def flatten(self, shape):
        start, end = self.pick((0, -1), (0, len(shape) - 1), (1, -1))
        return "Flatten", {"start_dim": start, "end_dim": end}, (*shape[:start], int(np.prod(shape[start:])))

    def neurons(self, shape):
        of = self.pick(shape, shape[:1])
        threshold = self.array(*of)
        if self.chance(0.3):
            return "IF", {"v_threshold": threshold}, shape
        tau = 1 + self.array(*of) ** 2
        return "LIF", {"tau": tau, "r": tau, "v_leak": self.array(*of), "v_threshold": threshold}, shape

    def activation(self, shape):
        n = shape[0]
        kind, fields = self.pick(
            ("ReLU", {"negative_slope": self.pick(0.0, 0.1)}),
            ("PReLU", {"weight": self.array(self.pick(1, n))}),
            ("Sigmoid", {}),
            ("Tanh", {}),
            ("Softmax", {"dim": self.pick(-1, 0)}),
            ("GELU", {"approximate": self.chance()}),
            ("ELU", {"alpha": self.pick(1.0, 0.3)}),
            ("Dropout", {"p": self.pick(0.5, 0.1)}),
            ("HybridRegion", {"mode": self.pick("snn", "ann"), "name": self.pick(None, "core")}),
        )
        return kind, {"features": n, **fields}, shape

    def norm(self, shape):
        eps = {"eps": self.pick(1e-5, 1e-3)}
        if self.chance(0.4):
            over = shape[-self.whole(1, len(shape) + 1) :]
            given = {"normalized_shape": over, "weight": self.array(*over), "bias": self.array(*over)}
            return "LayerNorm", {**given, **eps}, shape
        n = shape[0]
        given = {name: self.array(n) for name in ("weight", "bias", "running_mean")}
        given |= {"num_features": n, "running_var": self.array(n) ** 2, "momentum": self.pick(0.1, 0.25), **eps}
        return "BatchNorm2d" if len(shape) == 3 else "BatchNorm1d", given, shape


def draw(seed, layers=12):
    """The description of a random graph."""
    return Draw(seed, layers).made


def differences(one, other, without=()):
    """The fields in which two nodes of the same library differ, arrays by their type too."""
    found = []
    for item in dataclasses.fields(one):
        if item.name in without:
            continue
        a, b = (np.asarray(getattr(node, item.name), None) for node in (one, other))
        if isinstance(getattr(one, item.name), np.ndarray) and a.dtype != b.dtype:
            found.append(f"{item.name}: {a.dtype} is not {b.dtype}")
        if not np.array_equal(a, b):
            found.append(f"{item.name}: {a} is not {b}")
    return [f"{type(one).__name__} and {type(other).__name__}"] if type(one) is not type(other) else found


def everything():
    """One graph with every primitive, each field of it at a value of its own; no random number is in it."""
    counter = iter(range(1, 10_000))

    def array(*shape):
        return np.resize(np.arange(next(counter), 100) / 8 - 3, shape).astype(np.float32)

    def statistics(n):
        given = {name: array(n) for name in ("weight", "bias", "running_mean")}
        return {"num_features": n, "running_var": array(n) ** 2, "eps": 1e-3, "momentum": 0.25, **given}

    window = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}
    hints = {"weight_t": "ap_fixed<8,3>", "bias_t": "ap_fixed<9,2,AP_RND,AP_SAT>", "accum_t": "ap_fixed<40,20>"}
    nodes = {
        "zebra": ("Input", {"input_type": {"input": np.array([4, 6, 8])}}),
        "conv": ("Conv2d", {"weight": array(4, 2, 3, 2), "bias": array(4), **window, "groups": 2, **hints}),
        "bn": ("BatchNorm2d", statistics(4)),
        "lif": ("LIF", {"tau": array(4) ** 2 + 1, "r": array(4), "v_leak": array(4), "v_threshold": array(4)}),
        "sep": (
            "SepConv2d",
            {
                "depthwise_weight": array(4, 1, 2, 2),
                "pointwise_weight": array(5, 4, 1, 1),
                "depthwise_bias": array(4),
                "pointwise_bias": array(5),
                **{**window, "stride": (1, 1), "dilation": (1, 1)},
            },
        ),
        "up": ("Upsample", {"scale_factor": 2, "mode": "bilinear", "align_corners": True}),
        "large": ("Upsample", {"size": (9, 11)}),
        "max": ("MaxPool2d", {"kernel_size": (3, 2), **window, "ceil_mode": True}),
        "avg": ("AvgPool2d", {"kernel_size": (2, 2), "stride": (2, 2), "padding": (1, 1), "count_include_pad": False}),
        "split": ("ChannelSplit", {"split_sections": (2, 3), "dim": 0}),
        "b": ("Skip", {"skip_type": "identity"}),
        "a": ("HybridRegion", {"mode": "ann", "features": 2, "name": "region"}),
        "cat": ("Concat", {"num_inputs": 2, "dim": 0}),
        "rows": ("Flatten", {"start_dim": 1, "end_dim": 2}),
        "conv1": ("Conv1d", {"weight": array(3, 5, 2), "bias": array(3), "stride": 2, "padding": 1, "dilation": 1}),
        "bn1": ("BatchNorm1d", statistics(3)),
        "relu": ("ReLU", {"features": 3, "negative_slope": 0.1}),
        "prelu": ("PReLU", {"features": 3, "weight": array(3)}),
        "sigmoid": ("Sigmoid", {"features": 3}),
        "tanh": ("Tanh", {"features": 3}),
        "softmax": ("Softmax", {"features": 3, "dim": 0}),
        "gelu": ("GELU", {"features": 3, "approximate": False}),
        "elu": ("ELU", {"features": 3, "alpha": 0.3}),
        "dropout": ("Dropout", {"features": 3, "p": 0.1}),
        "flat": ("Flatten", {"start_dim": 0, "end_dim": -1}),
    }
    edges = list(zip(nodes, list(nodes)[1:], strict=False))
    edges.remove(("b", "a"))
    edges[edges.index(("a", "cat"))] = ("split", "a")
    edges += [("a", "cat"), ("b", "cat")]  # against the order of the parts
    width = 3 * 8
    nodes |= {
        "ln": ("LayerNorm", {"normalized_shape": (width,), "weight": array(width), "bias": array(width), "eps": 1e-3}),
        "fc": (
            "Affine",
            {"weight": array(3, width), "bias": array(3), "result_t": "ap_fixed<16,6>", "reuse_factor": 4},
        ),
        "if": ("IF", {"v_threshold": array(3)}),
        "spiking": (
            "SpikingAffine",
            {
                "weight": array(2, 3),
                "bias": array(2),
                "spike_mode": "graded",
                "weight_bits": 5,
                "accumulator_bits": 17,
            },
        ),
        "y": ("Output", {"output_type": {"output": np.array([2])}}),
    }
    edges += [
        (a, b) for a, b in zip(["flat", "ln", "fc", "if", "spiking"], ["ln", "fc", "if", "spiking", "y"], strict=True)
    ]
    edges.append(("if", "fc2"))
    nodes["fc2"] = ("Affine", {"weight": array(width, 3), "bias": array(width)})
    edges.append(("fc2", "ln"))  # closes a cycle
    metadata = {"note": "naïve\ntext", "n": 3, "x": 0.1, "yes": True, "more": {"empty": {}, "deep": {"n": -1}}}
    cycles = {"allow_cycles": True, "cyclic_config": {"max_iterations": 5}}
    return Description(nodes, edges, {"metadata": metadata, **cycles})
