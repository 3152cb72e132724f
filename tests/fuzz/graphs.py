"""Random graphs for C simulation: everything that lowers, at random legal types, small enough to compile in seconds.

A graph grows from its inputs by one layer after the other, and is run in floating point while it does, so that
``layers`` and ``precisions`` see what values there are. What talon_lib refuses with a reason is drawn again, and the
reason is counted; any other exception ends the draw.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from layers import LAYERS, Rng, chance
from precisions import draw_precision, with_accumulators, with_hints

from talon_lib import ir
from talon_lib.errors import PrecisionError, UnsupportedError
from talon_lib.fixed import Array
from talon_lib.hls.lower import check_lowerable, obstacles
from talon_lib.hls.project import STRATEGIES
from talon_lib.ir.layout import Shape
from talon_lib.ir.node import Bound, Primitive
from talon_lib.simulate import bind_graph, calibrate, run

LARGEST = 160
"""Values of one tensor: compile times grow with it."""

PROBE = {"weight": "ap_fixed<12,6>", "result": "ap_fixed<11,6>", "membrane": "ap_fixed<20,8>"}
"""What a growing graph is checked with: fine enough for thresholds, narrow enough for tables."""

JOINTS = ("ChannelSplit", "Concat", "Skip")
"""Where branches meet and part."""

KINDS = (*JOINTS, *LAYERS)
"""All that is drawn. Every second seed features the next of them; the last ones are common anyway."""

OFTEN = {"Affine": 4.0, "Conv1d": 3.0, "Conv2d": 3.0, "LIF": 4.0, "IF": 2.5, "Flatten": 2.0}

RANKS = dict.fromkeys(("Conv2d", "SepConv2d", "MaxPool2d", "AvgPool2d", "SumPool2d", "Upsample"), 3)
RANKS |= {"BatchNorm2d": 3, "Affine": 1, "SpikingAffine": 1, "Conv1d": 2}
"""Dimensions of the input that a featured kind needs."""

KEEPS_SHAPE = ("ReLU", "LIF", "IF", "PReLU", "Tanh", "BatchNorm1d", "BatchNorm2d")
COMPUTES = ("Affine", "Conv1d", "Conv2d", "LIF", "IF", "ReLU")

HANDS_ON = ("Dropout", "HybridRegion", "Skip", "Concat", "Flatten", "ChannelSplit")
"""What, behind one edge, makes no values of its own."""

ODD_NAMES = ("weights", "2nd layer", "a/b", "Restart", "data", "layer7", "acc_t", "x_join1", "ReLU", "x_padded")


@dataclass(frozen=True)
class Case:
    """One graph with all that its C simulation takes.

    precision: as :func:`bind_graph` takes it; bound is what it gave. refused: what was drawn before and not held.
    """

    seed: int
    graph: ir.Graph
    precision: Any
    bound: Mapping[str, Bound]
    io_type: str
    strategy: str
    reuse_factor: int
    inputs: Mapping[str, Array]
    steps: int
    refused: Mapping[str, int]

    @property
    def kinds(self) -> set[str]:
        """The kinds of its nodes."""
        return {node.kind for node in self.graph.nodes.values()}

    @property
    def activity(self) -> Activity:
        """What it shows."""
        return _activity(self.graph, self.bound, self.inputs, self.steps)

    def __str__(self) -> str:
        nodes = ", ".join(f"'{name}' {node.kind}" for name, node in self.graph.nodes.items())
        edges = ", ".join(" -> ".join(edge) for edge in self.graph.edges)
        how = f"{self.io_type}, {self.strategy}, reuse {self.reuse_factor}, {self.precision}"
        return f"seed {self.seed}: {how}; {nodes}; {edges}"


@dataclass(frozen=True)
class Activity:
    """Spikes, the places (neuron, sample and step) where there could be one, and outputs that are not constant."""

    spikes: int
    places: int
    varying: int

    @property
    def informative(self) -> bool:
        """Whether an error would show: some output varies, and neurons fire, though not always."""
        return self.varying > 0 and (self.places == 0 or 0 < self.spikes < self.places)


def draw(seed: int) -> Case:
    """The case of ``seed``: io types and featured kinds take turns, all else is random."""
    rng = np.random.default_rng(seed)
    io_type, featured = ("io_parallel", "io_stream")[seed % 2], KINDS[seed // 2 % len(KINDS)]
    refused: Counter[str] = Counter()
    while True:
        graph, inputs, steps = _draw_graph(rng, io_type, featured, refused)
        found = _draw_types(rng, graph, inputs, steps, io_type, refused)
        if found is not None:
            break
    graph, precision, bound = found
    return Case(
        seed=seed,
        graph=graph,
        precision=precision,
        bound=bound,
        io_type=io_type,
        strategy=str(rng.choice(STRATEGIES)),
        reuse_factor=int(rng.choice([1, 1, 2, 3, 8])),
        inputs=inputs,
        steps=steps,
        refused=dict(refused),
    )


# --- graphs -----------------------------------------------------------------------------------------------------------


def _draw_graph(rng: Rng, io_type: str, featured: str, refused: Counter[str]) -> tuple[ir.Graph, dict[str, Array], int]:
    """A graph of 1 to 6 layers, one of them of the featured kind, with its inputs and steps."""
    while True:
        steps, batch = int(rng.integers(2, 9)), int(rng.integers(3, 13))
        shapes = _draw_shapes(rng, featured)
        inputs = {name: _draw_values(rng, (*_lead(rng, steps, batch), *shape)) for name, shape in shapes.items()}
        growth = _Growth(rng, io_type, inputs, steps, refused)
        growth.start(shapes)
        count = int(rng.integers(1, 7))
        turn = int(rng.integers(0, count))
        weights = np.array([OFTEN.get(kind, 1.0) for kind in KINDS])
        tries = 0
        while growth.layers < count and tries < 60:
            tries += 1
            due = growth.layers >= turn and not growth.has(featured)
            growth.grow(featured if due and chance(rng, 0.8) else str(rng.choice(KINDS, p=weights / weights.sum())))
        if growth.has(featured):
            return growth.finish(), inputs, steps


def _lead(rng: Rng, steps: int, batch: int) -> Shape:
    """What stands before a sample's shape: samples for every step, samples that are held, or one that all share."""
    return [(steps, batch), (batch,), ()][int(rng.choice(3, p=[0.65, 0.3, 0.05]))]


def _draw_shapes(rng: Rng, featured: str) -> dict[str, Shape]:
    rank = RANKS.get(featured) or int(rng.choice([2, 3] if featured == "Flatten" else [1, 2, 3]))

    def shape() -> Shape:
        sizes = {1: (10,), 2: (4, 9), 3: (3, 7, 7)}[rank]
        return tuple(int(rng.integers(1 + (rank > 1 and at > 0), most + 1)) for at, most in enumerate(sizes))

    first = shape()
    more = int(rng.choice([0, 0, 0, 1, 1, 2]))
    names = [str(rng.choice(["input", "Int", "x.0"])) if chance(rng, 0.1) else "in0", "in1", "in2"]
    return {name: first if name == names[0] or chance(rng, 0.6) else shape() for name in names[: more + 1]}


def _draw_values(rng: Rng, shape: Shape) -> Array:
    """Values around 1 with zeros, halves of steps, and now and then one far outside."""
    x = rng.normal(0, 1, shape)
    kind = rng.random(shape)
    x = np.where(kind < 0.2, np.round(8 * x) / 8, x)
    x = np.where(kind > 0.9, 0.0, x)
    return np.where(kind > 0.985, 30 * x + 8, x)


@dataclass
class _Growth:
    """A graph while it grows.

    open: nodes whose results are still to be read, or once more. shapes, results: of every node, in floating point.
    """

    rng: Rng
    io_type: str
    inputs: dict[str, Array]
    steps: int
    refused: Counter[str]
    nodes: dict[str, Primitive] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    results: dict[str, Array] = field(default_factory=dict)

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return len(self.nodes) - len(self.inputs)

    def has(self, kind: str) -> bool:
        """Whether there is a layer of this kind."""
        return any(node.kind == kind for node in self.nodes.values())

    def start(self, shapes: Mapping[str, Shape]) -> None:
        """Open a branch at every input."""
        self.nodes = {name: ir.Input(shape) for name, shape in shapes.items()}
        self.shapes, self.open = dict(shapes), list(shapes)
        self._watch()

    def grow(self, kind: str) -> None:
        """Add a layer of ``kind``, where one fits and hls4ml holds the one that is drawn."""
        kept = self.nodes, self.edges, self.open, self.shapes, self.results
        self.nodes, self.edges, self.open, self.shapes = (*map(dict, kept[:1]), *map(list, kept[1:3]), dict(kept[3]))
        reason = None
        if self._place(kind):
            reason = self._reason([name for name in self.nodes if name not in kept[0]])
            if reason is None:
                self._watch()
                return
            self.refused[reason] += 1
        self.nodes, self.edges, self.open, self.shapes, self.results = kept

    def finish(self) -> ir.Graph:
        """The whole graph: behind every open end an Output, and before it a layer of its own."""
        taken: set[str] = set()
        for end in list(self.open):
            origin = self._origin(end)
            if origin not in self.inputs and origin not in taken:
                taken.add(origin)
                continue
            self.open.remove(end)
            if end not in {source for source, _ in self.edges}:
                self._behind(COMPUTES, [end], self.results[end])
                taken.add(self.open[-1])
        return self.graph()

    def graph(self) -> ir.Graph:
        """What there is so far, with an Output behind every open end."""
        nodes, edges = dict(self.nodes), list(self.edges)
        for number, end in enumerate(self.open):
            nodes[f"out{number}"] = ir.Output(self.shapes[end])
            edges.append((end, f"out{number}"))
        return ir.Graph(nodes, edges)

    def _watch(self) -> None:
        """Run what there is in floating point, for the values that arrive at the next layer."""
        graph = self.graph()
        seen: dict[str, list[Array]] = {name: [] for name in graph.nodes}
        observer = lambda step, name, result, state, x: seen[name].append(result)  # noqa: E731
        run(graph, bind_graph(graph, "fp32"), self.inputs, self.steps, observers=(observer,))
        self.results = {name: np.concatenate(seen[name]) for name in self.nodes}

    def _reason(self, fresh: list[str]) -> str | None:
        """Why hls4ml cannot hold the new nodes; what is against the makeshift outputs does not count."""
        graph = self.graph()
        try:
            bound = bind_graph(graph, PROBE, self.inputs, self.steps)
        except PrecisionError as error:
            return _generic(error)
        found = obstacles(graph, bound, self.io_type)
        return next((_generic(found[name]) for name in fresh if name in found), None)

    def _add(self, node: Primitive, sources: list[str], arriving: Shape) -> str:
        name = f"{node.kind.lower()}{self.layers}"
        if chance(self.rng, 0.08):
            name = str(self.rng.choice([odd for odd in ODD_NAMES if odd not in self.nodes]))
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        self.shapes[name] = node.output_shape(arriving)
        return name

    def _behind(self, kinds: tuple[str, ...], sources: list[str], x: Array) -> bool:
        """A layer of one of ``kinds`` behind ``sources``, which is opened. False where none fits."""
        for kind in self.rng.permutation(kinds):
            node = LAYERS[str(kind)](self.rng, x)
            if node is not None and np.prod(node.output_shape(x.shape[1:])) <= LARGEST:
                self.open.append(self._add(node, sources, x.shape[1:]))
                return True
        return False

    def _pick(self) -> str:
        """An open branch, mostly the latest."""
        return self.open[-1] if chance(self.rng, 0.6) else str(self.rng.choice(self.open))

    def _place(self, kind: str) -> bool:
        source = self._pick()
        if kind == "ChannelSplit":
            return self._split(source)
        if kind == "Concat":
            dim = int(self.rng.choice([0, -len(self.shapes[source])]))
            return self._join(source, lambda count: ir.Concat(count, dim), same=False)
        if kind == "Skip":
            way = str(self.rng.choice(["residual", "add", "concatenate", "concat", "passthrough", "identity"]))
            if way not in ("passthrough", "identity"):
                return self._join(source, lambda count: ir.Skip(way), same=way in ("residual", "add"))
            self.open.remove(source)
            self.open.append(self._add(ir.Skip(way), [source], self.shapes[source]))
            return True
        sources = [source]
        if chance(self.rng, 0.3):  # several edges into one node are summed
            sources += self._like(source)[: int(self.rng.integers(1, 3))]
        x = np.sum([self.results[name] for name in sources], axis=0)
        if len(self.open) > 4 or chance(self.rng, 0.75):  # else they are read once more, later
            self.open = [end for end in self.open if end not in sources]
        return self._behind((kind,), sources, x)

    def _like(self, source: str, start: int = 0) -> list[str]:
        """Other open branches whose shapes, from dimension ``start`` on, are that of ``source``."""
        own = self.shapes[source]
        shapes = {end: self.shapes[end] for end in self.open if end != source}
        return [end for end, other in shapes.items() if len(other) == len(own) and other[start:] == own[start:]]

    def _join(self, source: str, joint: Callable[[int], Primitive], same: bool) -> bool:
        """Join open branches; where no two fit, one and a layer behind it (a residual connection)."""
        others = self._like(source, start=0 if same else 1)
        if others and chance(self.rng, 0.8):
            meeting = [source, *others[: int(self.rng.integers(1, 3))]]
        elif self._behind(KEEPS_SHAPE, [source], self.results[source]):
            meeting = [source, self.open[-1]]
        else:
            return False
        self.rng.shuffle(meeting)
        shapes = [self.shapes[end] for end in meeting]
        arriving = shapes[0] if same else (sum(shape[0] for shape in shapes), *shapes[0][1:])
        if np.prod(arriving) > LARGEST:
            return False
        self.open = [end for end in self.open if end not in meeting]
        self.open.append(self._add(joint(len(meeting)), meeting, arriving))
        return True

    def _split(self, source: str) -> bool:
        """Cut a branch, and put a layer behind each part at once, for edge i carries part i."""
        channels = self.shapes[source][0]
        if channels < 2:
            return False
        cuts = self.rng.choice(np.arange(1, channels), int(self.rng.integers(1, min(channels, 3))), replace=False)
        edges = [0, *np.sort(cuts).tolist(), channels]
        self.open.remove(source)
        split = self._add(
            ir.ChannelSplit(np.diff(edges), int(self.rng.choice([0, -len(self.shapes[source])]))),
            [source],
            self.shapes[source],
        )
        return all(
            self._behind(tuple(LAYERS), [split], self.results[source][:, start:end])
            for start, end in itertools.pairwise(edges)
        )

    def _origin(self, name: str) -> str:
        """The node that made the values of ``name``: back through what hands them on as they are."""
        while self.nodes[name].kind in HANDS_ON:
            before = [source for source, target in self.edges if target == name]
            if len(before) != 1 or (self.shapes[before[0]] != self.shapes[name] and self.nodes[name].kind != "Flatten"):
                return name
            (name,) = before
        return name


# --- types ------------------------------------------------------------------------------------------------------------


def _draw_types(
    rng: Rng, graph: ir.Graph, inputs: Mapping[str, Array], steps: int, io_type: str, refused: Counter[str]
) -> tuple[ir.Graph, Any, dict[str, Bound]] | None:
    """The graph with hints, a precision, and what they give; of some that hardware holds the first that shows anything.

    None where talon_lib refuses them all.
    """
    seen = calibrate(graph, inputs, steps)
    found = None
    for _ in range(12):
        hinted, precision = with_hints(rng, graph, seen), draw_precision(rng, graph, seen)
        try:
            hinted = with_accumulators(rng, hinted, bind_graph(hinted, precision, inputs, steps))
            bound = bind_graph(hinted, precision, inputs, steps)
            check_lowerable(hinted, bound, io_type)
        except (PrecisionError, UnsupportedError) as error:
            refused[_generic(error)] += 1
            continue
        found = hinted, precision, bound
        if _activity(hinted, bound, inputs, steps).informative:
            break
    return found


def _activity(graph: ir.Graph, bound: Mapping[str, Bound], inputs: Mapping[str, Array], steps: int) -> Activity:
    least, most = dict.fromkeys(graph.outputs, np.inf), dict.fromkeys(graph.outputs, -np.inf)

    def observe(step: int, name: str, result: Array, state: Array | None, x: Array) -> None:
        if name in least:
            least[name], most[name] = min(least[name], result.min()), max(most[name], result.max())

    simulation = run(graph, bound, inputs, steps, observers=(observe,))
    neurons = [name for name, node in graph.nodes.items() if node.spiking]
    return Activity(
        spikes=sum(simulation.activity[name].spikes for name in neurons),
        places=sum(int(np.prod(graph.output_shapes[name])) for name in neurons) * simulation.batch * steps,
        varying=sum(bool(least[name] < most[name]) for name in least),
    )


def _generic(reason: object) -> str:
    """A reason without the names and numbers of one graph, for counting."""
    text = re.sub(r"^node '[^']*'(?: \((\w+)\))?: ", lambda match: f"{match[1] or 'types'}: ", str(reason))
    text = re.sub(r" \(precision .*?\)(?=$|, so)", "", text)
    text = re.sub(r"ap_u?fixed<[^>]*>", "T", text)
    return re.sub(r"\(?-?\b\d+\b(, -?\d+)*\)?", "N", text)
