"""Random chains for the open RTL: every kind of module, number types of 3 to 16 bits, every class of reuse factor."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from talon_lib import ir
from talon_lib.cost.reuse import legal_reuse_factors
from talon_lib.errors import GraphError, PrecisionError, UnsupportedError
from talon_lib.fixed import OVERFLOWS, ROUNDINGS, FixedType
from talon_lib.hls.lower import check_lowerable
from talon_lib.ir.node import Bound, Primitive
from talon_lib.simulate import bind_graph, run

Rng = np.random.Generator
Shape = tuple[int, ...]

MODES = [(r, o) for r in ROUNDINGS for o in OVERFLOWS if o != "AP_WRAP_SM"]  # which lowering refuses
SIZES = (1, 2, 3, 4, 5, 6, 8, 9, 12)
CLASSES = ("one", "divides the inputs", "the inputs", "several groups", "all")
"""Of reuse factors: fully parallel; some terms a cycle; one term a cycle; outputs in groups; one multiplier."""


@dataclass(frozen=True)
class Case:
    """A network with all that its proof takes. classes: those of its matrices' reuse factors."""

    seed: int
    graph: ir.Graph
    bound: Mapping[str, Bound]
    inputs: Mapping[str, Any]
    steps: int
    classes: tuple[str, ...]
    spikes: int
    places: int

    def __str__(self) -> str:
        nodes = ", ".join(
            f"{name} {node.kind} {self.graph.input_shapes[name]} {self.bound[name].types.assigned()}"
            for name, node in self.graph.nodes.items()
        )
        return f"seed {self.seed}: {nodes}"


def draw(seed: int) -> Case:
    """The network of ``seed``: depth 1 to 4 and the kind of input take turns, all else is random."""
    rng = np.random.default_rng([6, seed])
    best = None
    for _ in range(200):
        found = _draw(rng, seed)
        if found is None:
            continue
        best = found
        if 0 < found.spikes < found.places:  # an error would show
            break
    assert best is not None
    return best


def _draw(rng: Rng, seed: int) -> Case | None:
    depth, spikes_in = seed % 4 + 1, seed // 4 % 2 == 0
    shape: Shape = (_size(rng),)
    if seed % 3 == 2:  # an image, now and then of one row
        shape = (int(rng.integers(1, 4)), *(int(n) for n in rng.integers(3, 7, 1 if seed % 4 == 3 else 2)))
    nodes: dict[str, Primitive] = {"x": ir.Input(shape, result_t="ap_ufixed<1,1>" if spikes_in else None)}
    batch, steps = 3, int(rng.integers(4, 8))
    x = (rng.random((steps, batch, *shape)) < 0.5) * 1.0 if spikes_in else rng.normal(0, 1, (steps, batch, *shape))
    classes: list[str] = []
    for number in range(depth):
        for kind, node in _layer(rng, shape, number == depth - 1, classes):
            nodes[f"{kind}{number}"] = node
            shape = node.output_shape(shape)
    nodes["y"] = ir.Output(shape)
    names = list(nodes)
    graph = ir.Graph(nodes, list(itertools.pairwise(names)))
    try:
        bound = bind_graph(graph, _precision(rng), {"x": x}, steps)
        check_lowerable(graph, bound)
    except (PrecisionError, UnsupportedError):  # a threshold that rounds to 0; a table of too many sums
        return None
    fired = run(graph, bound, {"x": x}, steps)
    neurons = [name for name, node in nodes.items() if node.spiking]
    places = sum(int(np.prod(graph.output_shapes[name])) for name in neurons) * steps * batch
    spikes = sum(fired.activity[name].spikes for name in neurons)
    return Case(seed, graph, bound, {"x": x}, steps, tuple(classes), spikes, places)


def _size(rng: Rng) -> int:
    return int(rng.choice(SIZES))


def _layer(rng: Rng, shape: Shape, last: bool, classes: list[str]) -> list[tuple[str, Primitive]]:
    """A matrix, and neurons behind it; now and then one of them alone, or something small between them."""
    made: list[tuple[str, Primitive]] = []

    def add(named: tuple[str, Primitive]) -> None:
        nonlocal shape
        made.append(named)
        shape = named[1].output_shape(shape)

    if len(shape) > 1 and ((last and rng.random() < 0.7) or rng.random() < 0.1 or min(shape[1:]) < 2):
        add(("flatten", ir.Flatten()))
    if rng.random() < 0.9:
        add(_convolution(rng, shape, classes) if len(shape) > 1 else _matrix(rng, shape, classes))
    if rng.random() < 0.4:
        add(_elements(rng, shape))
    if len(shape) == 3 and min(shape[1:]) > 1 and rng.random() < 0.6:
        add(_pool(rng))
    if not last or rng.random() < 0.75 or not made:
        add(_neurons(rng, shape))
    return made


def _convolution(rng: Rng, shape: Shape, classes: list[str]) -> tuple[str, Primitive]:
    kernel = tuple(int(rng.integers(1, min(size, 3) + 1)) for size in shape[1:])
    n_out, grouped = int(rng.integers(1, 5)), rng.random() < 0.15
    weight = rng.normal(0, 1.5 / np.sqrt(shape[0] * np.prod(kernel)), (n_out, 1 if grouped else shape[0], *kernel))
    n_in = shape[0] * int(np.prod(kernel))
    fields: dict[str, Any] = {"bias": rng.normal(0.1, 0.3, n_out), "reuse_factor": _reuse(rng, n_in, 1, classes)}
    stride, padding = int(rng.integers(1, 3)), int(rng.integers(0, 2))
    if grouped and n_out % shape[0] == 0:
        fields["groups"] = shape[0]
    elif grouped:
        weight = np.repeat(weight, shape[0], axis=1)
    kind = ir.Conv2d if len(shape) == 3 else ir.Conv1d
    return kind.__name__.lower(), kind(weight, stride=stride, padding=padding, **fields)


def _pool(rng: Rng) -> tuple[str, Primitive]:
    kind = [ir.MaxPool2d, ir.AvgPool2d, ir.SumPool2d][int(rng.integers(3))]
    padding = int(rng.integers(0, 2))
    return kind.__name__.lower(), kind(2, stride=int(rng.integers(1, 3)), padding=padding)


def _elements(rng: Rng, shape: Shape) -> tuple[str, Primitive]:
    channels = shape[0]
    makes: dict[str, Any] = {
        "relu": lambda: ir.ReLU(),
        "leaky": lambda: ir.ReLU(negative_slope=0.25),
        "prelu": lambda: ir.PReLU(None, rng.uniform(0, 0.5, channels)),
        "scale": lambda: ir.Scale(rng.uniform(0.5, 1.5, shape)),
        "tanh": lambda: ir.Tanh(),
        "norm": lambda: (ir.BatchNorm2d if len(shape) == 3 else ir.BatchNorm1d)(
            channels,
            rng.uniform(0.5, 1.5, channels),
            rng.normal(0, 0.2, channels),
            np.zeros(channels),
            np.ones(channels),
        ),
    }
    kind = str(rng.choice(list(makes)))
    return kind, makes[kind]()


def _reuse(rng: Rng, n_in: int, n_out: int, classes: list[str]) -> int:
    """A legal reuse factor of a class that is drawn; 1 where there is none of it."""
    legal = legal_reuse_factors(n_in, n_out)
    chosen = str(rng.choice(CLASSES))
    factors = {
        "one": [1],
        "divides the inputs": [r for r in legal if 1 < r < n_in],
        "the inputs": [n_in],
        "several groups": [r for r in legal if n_in < r < n_in * n_out],
        "all": [n_in * n_out],
    }
    classes.append(chosen if factors[chosen] else "one")
    return int(rng.choice(factors[chosen] or [1]))


def _matrix(rng: Rng, shape: Shape, classes: list[str]) -> tuple[str, Primitive]:
    n_in, n_out = shape[0], _size(rng)
    weight, bias = rng.normal(0, 1.5 / np.sqrt(n_in), (n_out, n_in)), rng.normal(0.1, 0.3, n_out)
    reuse = _reuse(rng, n_in, n_out, classes)
    if rng.random() < 0.2:
        bits = {"weight_bits": int(rng.integers(3, 9)), "accumulator_bits": int(rng.integers(6, 17))}
        return "spiking_affine", ir.SpikingAffine(weight, bias, reuse_factor=reuse, **bits)
    return "affine", ir.Affine(weight, None if rng.random() < 0.2 else bias, reuse_factor=reuse)


def _neurons(rng: Rng, shape: Shape) -> tuple[str, Primitive]:
    def values(low: float, high: float) -> Any:
        """One value, one per channel, or one per neuron."""
        which = rng.random()
        return rng.uniform(low, high, () if which < 0.5 else shape[:1] if which < 0.75 else shape)

    def taus() -> Any:
        """A tau whose decay is a power of two, or one minus it, or none."""
        return rng.choice([1.0, 2.0, 4.0, 8.0, 4.0 / 3.0]) if rng.random() < 0.5 else values(1.2, 10)

    def firing() -> dict[str, Any]:
        subtract = rng.random() < 0.5
        fields: dict[str, Any] = {"reset": "subtract" if subtract else "leak", "v_threshold": values(0.3, 1.2)}
        if not subtract and rng.random() < 0.4:
            fields["v_reset"] = values(-0.4, 0.2)
        return fields | {"reset_delay": rng.random() < 0.3, "strict": rng.random() < 0.3}

    leak = 0.0 if rng.random() < 0.5 else values(-0.3, 0.2)
    # a parameter of every neuron and one of every channel do not go together
    makes: dict[str, Any] = {
        "LIF": lambda: ir.LIF(tau=taus(), r=1.0, v_leak=leak, **firing()),
        "IF": lambda: ir.IF(**firing()),
        "CubaLIF": lambda: ir.CubaLIF(tau_syn=taus(), tau=taus(), v_leak=leak, **firing()),
        "LI": lambda: ir.LI(tau=taus(), v_leak=leak),
        "I": lambda: ir.I(),
        "Threshold": lambda: ir.Threshold(values(-0.2, 0.5)),
    }
    kind = str(rng.choice(list(makes), p=[0.45, 0.25, 0.12, 0.06, 0.06, 0.06]))
    while True:
        try:
            node = makes[kind]()
            node.output_shape(shape)
            return kind.lower(), node
        except GraphError:
            leak = 0.0


def _precision(rng: Rng) -> Any:
    """One type for all, an intN, or one type for each role."""
    form = rng.random()
    if form < 0.25:
        return f"int{rng.integers(3, 17)}"
    if form < 0.45:
        return _type(rng, 3)
    signs = {"weight": 1, "result": 3, "membrane": 3, "input": 3, "decay": 1}
    return {role: _type(rng, integer) for role, integer in signs.items()}


def _type(rng: Rng, integer: int) -> str:
    rounding, overflow = MODES[int(rng.integers(len(MODES)))]
    width = int(rng.integers(3, 17))
    return str(FixedType(width, integer + int(rng.integers(-1, 2)), bool(rng.random() < 0.9), rounding, overflow))
