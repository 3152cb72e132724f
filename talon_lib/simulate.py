"""The time loop: one code for floating and fixed point.

Each timestep runs the nodes in topological order. Several edges into one node are summed; an edge that closes a
cycle carries the value of the step before, 0 at first. A sample starts with all state at its initial value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from talon_lib.errors import ConfigError, GraphError
from talon_lib.fixed import Array, FloatType
from talon_lib.ir.graph import Graph
from talon_lib.ir.node import Bound, Operations, State
from talon_lib.precision import Calibration, Precision, assign, needs_calibration

Readout = Literal["count", "first_spike", "membrane"]
READOUTS: tuple[Readout, ...] = get_args(Readout)

Observer = Callable[[int, str, Array, State, Array], None]
"""Called after every node of every step with (step, node, result, state after the step, input)."""


@dataclass(frozen=True)
class NodeActivity:
    """What one node did, summed over samples and steps.

    events: values not zero that arrived. updates: places at which one arrived or a membrane or current was not 0
    before the step. reached: synapses that the events reach, weights of 0 included.
    """

    spikes: int
    events: int
    updates: int
    reached: int
    effective_macs: int
    effective_acs: int

    def __add__(self, other: NodeActivity) -> NodeActivity:
        return NodeActivity(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True)
class Simulation:
    """What a run gave. Arrays are ``(steps, batch, *shape)`` unless said otherwise.

    outputs: by Output node, the sum of what arrived there up to and including each step; spike counts where spikes
    arrive. last: by Output node ``(batch, *shape)``, what arrived in the last step. first_spikes: by Output node
    ``(batch, *shape)``, the first step (from 0) with a spike, ``steps`` where there was none. membranes: by Output
    node the membrane of the neurons that feed it, where one node of neurons does. activity: by node.
    """

    steps: int
    batch: int
    outputs: Mapping[str, Array]
    last: Mapping[str, Array]
    first_spikes: Mapping[str, Array]
    membranes: Mapping[str, Array]
    activity: Mapping[str, NodeActivity]

    def scores(self, output: str, readout: Readout = "count") -> Array:
        """``(steps, batch, classes)``: for each step, higher for the class that the output so far speaks for."""
        if readout == "count":
            scores = self.outputs[output]
        elif readout == "first_spike":
            first = self.first_spikes[output]
            steps = np.arange(self.steps).reshape(-1, *(1 for _ in first.shape))
            scores = np.where(first[None] <= steps, float(self.steps) - first[None], 0.0)
        else:
            if output not in self.membranes:
                raise ConfigError(f"readout 'membrane': output '{output}' is not fed by one node of neurons")
            scores = self.membranes[output]
        return scores.reshape(self.steps, self.batch, -1)

    def predictions(self, output: str, readout: Readout = "count") -> Array:
        """``(steps, batch)``: the class with the highest score after every step, the lowest index on ties."""
        best: Array = self.scores(output, readout).argmax(axis=-1)
        return best


def batched_inputs(graph: Graph, inputs: Mapping[str, Any] | None, steps: int) -> tuple[dict[str, Array], int]:
    """Bring inputs to ``(steps or 1, batch, *shape)`` float64; returns them and the batch size.

    Accepts shape ``s`` (one sample), ``(batch, *s)``, held for all steps, or ``(steps, batch, *s)``; None is zeros.
    Raises GraphError, naming the input, for anything else.
    """
    if inputs is not None and not isinstance(inputs, Mapping):
        raise GraphError(f"inputs must be a mapping, e.g. {{'{next(iter(graph.inputs))}': array}}, not an array")
    given = dict(inputs or {})
    unknown = sorted(set(given) - set(graph.inputs))
    if unknown:
        raise GraphError(f"there is no input '{unknown[0]}'; the graph's inputs are: {', '.join(graph.inputs)}")
    arrays: dict[str, Array] = {}
    for name, node in graph.inputs.items():
        shape = node.shape
        try:
            x = np.asarray(given.get(name, np.zeros(shape)))
            if np.iscomplexobj(x):
                raise TypeError("complex numbers")
            x = x.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise GraphError(f"input '{name}' must be an array of numbers ({error})") from None
        extra = x.ndim - len(shape)
        listed = ", ".join(map(str, shape))
        if extra not in (0, 1, 2) or x.shape[extra:] != shape:
            raise GraphError(
                f"input '{name}' has shape {x.shape}; expected {shape}, (batch, {listed}) or (steps, batch, {listed})"
            )
        if x.size == 0:
            raise GraphError(f"input '{name}' has shape {x.shape}: there are no samples in it")
        x = x.reshape((1,) * (2 - extra) + x.shape)
        if len(x) not in (1, steps):
            raise GraphError(f"input '{name}' has {len(x)} steps of data, but {steps} steps are to be run")
        if not np.isfinite(x).all():
            raise GraphError(f"input '{name}' holds NaN or infinity")
        arrays[name] = x
    sizes = {x.shape[1] for x in arrays.values()}
    batch = max(sizes)
    if not sizes <= {1, batch}:
        raise GraphError(f"the inputs have different batch sizes: {sorted(sizes)}")
    return {name: np.broadcast_to(x, (len(x), batch, *x.shape[2:])) for name, x in arrays.items()}, batch


def run(
    graph: Graph,
    bound: Mapping[str, Bound],
    inputs: Mapping[str, Any] | None,
    steps: int,
    observers: tuple[Observer, ...] = (),
) -> Simulation:
    """Run ``steps`` timesteps of ``graph`` with the types in ``bound`` (from :func:`talon_lib.precision.assign`)."""
    if not isinstance(steps, (int, np.integer)) or steps < 1:
        raise ConfigError(f"the number of steps must be a whole number of 1 or more, not {steps!r}")
    data, batch = batched_inputs(graph, inputs, steps)
    states = {name: graph.nodes[name].initial_state(batch, graph.input_shapes[name]) for name in graph.order}
    values: dict[str, Array] = {  # what a feedback edge carries before its source has run
        source: np.zeros((batch, *graph.output_shapes[source])) for source, _ in graph.feedback
    }
    totals = {name: np.zeros((steps, batch, *graph.output_shapes[name])) for name in graph.outputs}
    membranes = {name: np.zeros_like(totals[name]) for name in totals if _neuron_before(graph, name)}
    first = {name: np.full(total.shape[1:], steps) for name, total in totals.items()}
    spikes = dict.fromkeys(graph.order, 0)
    events = dict.fromkeys(graph.order, 0)
    updates = dict.fromkeys(graph.order, 0)
    effective = dict.fromkeys(graph.order, Operations())
    for t in range(steps):
        before = dict(values)
        for name in graph.order:
            node = graph.nodes[name]
            at = t if name in data and len(data[name]) > 1 else 0
            x = data[name][at] if name in data else _arriving(graph, name, values, before)
            updates[name] += _updates(x, states[name])
            values[name], states[name] = node.step(x, states[name], bound[name])
            if node.spiking:
                spikes[name] += int(np.count_nonzero(values[name]))
            events[name] += int(np.count_nonzero(x))
            effective[name] += node.effective_operations(x, bound[name])
            for observe in observers:
                observe(t, name, values[name], states[name], x)
        for name, total in totals.items():
            total[t] = values[name] + (total[t - 1] if t else 0.0)
            first[name][(values[name] != 0) & (first[name] == steps)] = t
            if name in membranes:
                membranes[name][t] = states[_neuron_before(graph, name)]["membrane"]  # type: ignore[index]
    return Simulation(
        steps=steps,
        batch=batch,
        outputs=totals,
        last={name: values[name] for name in totals},
        first_spikes=first,
        membranes=membranes,
        activity={
            name: NodeActivity(
                spikes=spikes[name],
                events=events[name],
                updates=updates[name],
                reached=effective[name].reached_macs + effective[name].reached_acs,
                effective_macs=effective[name].macs,
                effective_acs=effective[name].acs,
            )
            for name in graph.order
        },
    )


def _updates(x: Array, state: State) -> int:
    """Places where a step has something to do; a delay line, which has another shape, waits by itself."""
    return int(np.count_nonzero(np.any([x != 0, *(kept != 0 for kept in state.values() if kept.shape == x.shape)], 0)))


def _arriving(graph: Graph, name: str, values: Mapping[str, Array], before: Mapping[str, Array]) -> Array:
    """The edges' values at ``name``, summed or joined; an edge that closes a cycle carries that of ``before``."""
    feedback = graph.feedback
    carried = []
    for source in graph.predecessors(name):
        result = (before if (source, name) in feedback else values)[source]
        carried.append(graph.nodes[source].leaving(result, graph.edge_number(source, name)))
    dim = graph.nodes[name].concatenates
    if dim is None:
        total: Array = sum(carried[1:], start=carried[0])
        return total
    return np.concatenate(carried, axis=dim % (carried[0].ndim - 1) + 1)


def _neuron_before(graph: Graph, output: str) -> str | None:
    """The node of neurons that alone feeds an Output."""
    before = graph.predecessors(output)
    return before[0] if len(before) == 1 and has_membrane(graph, before[0]) else None


def has_membrane(graph: Graph, name: str) -> bool:
    """Whether the node keeps a membrane."""
    return "membrane" in graph.nodes[name].initial_state(1, graph.input_shapes[name])


@dataclass(frozen=True)
class _Watching(FloatType):
    """float32 that remembers what it was asked to hold: the extremes of every tensor and a sample of the rest."""

    seen: list[Array] = field(default_factory=list)

    SAMPLE: ClassVar[int] = 4096

    def cast(self, x: Any) -> Array:
        values = super().cast(x)
        flat = values.ravel()
        self.seen.append(np.array([flat.min(), flat.max()]))
        self.seen.append(flat[:: max(1, flat.size // self.SAMPLE)])
        return values


def calibrate(graph: Graph, inputs: Mapping[str, Any] | None, steps: int) -> Calibration:
    """Run calibration samples in fp32 and keep what results, and membranes before their reset, look like."""
    bound = assign(graph, Precision.parse("fp32"))
    watched: dict[str, dict[str, _Watching]] = {"result": {}, "membrane": {}, "current": {}}
    for name, at in bound.items():
        node = graph.nodes[name]
        roles = [role for role in ("membrane", "current") if getattr(at.types, role) is not None]
        if not (node.spiking or node.emits_membrane or node.passes_type):
            roles.append("result")
        for role in roles:
            watched[role][name] = _Watching()
        bound[name] = replace(at, types=replace(at.types, **{role: watched[role][name] for role in roles}))
    run(graph, bound, inputs, steps)
    data, _ = batched_inputs(graph, inputs, steps)
    seen = {role: {name: np.concatenate(w.seen) for name, w in own.items()} for role, own in watched.items()}
    return Calibration(inputs=data, results=seen["result"], membranes=seen["membrane"], currents=seen["current"])


def noise(graph: Graph, samples: int = 64) -> dict[str, Array]:
    """Seeded uniform samples in [-1, 1), a stand-in where no calibration data is given."""
    rng = np.random.default_rng(0)
    return {name: rng.uniform(-1.0, 1.0, (samples, *node.shape)) for name, node in graph.inputs.items()}


def bind_graph(
    graph: Graph,
    precision: str | Mapping[str, Any] | Precision,
    calibration: Mapping[str, Any] | None = None,
    steps: int = 1,
) -> dict[str, Bound]:
    """Types for every node at ``precision``; scales are found by running ``calibration`` (or :func:`noise`)."""
    precision = Precision.parse(precision)
    found = None
    if needs_calibration(graph, precision):
        found = calibrate(graph, calibration if calibration is not None else noise(graph), steps)
    return assign(graph, precision, found)
