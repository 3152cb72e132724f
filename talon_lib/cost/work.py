"""What every node does in one inference, as plain numbers with their widths: all that energy by events is made of.

The numbers come from a simulation's activity and the types of a precision; docs/energy.md says what is counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from talon_lib.fixed import SPIKE, FloatType, NumberType, parse_type
from talon_lib.ir import node as ir
from talon_lib.ir.graph import Graph
from talon_lib.ir.node import Bound, NodeTypes
from talon_lib.ir.structure import Input, Output


class Activity(Protocol):
    """What a simulation counts at one node, over samples and steps (``simulate.NodeActivity``)."""

    @property
    def spikes(self) -> float:
        """Spikes that the node emitted."""

    @property
    def events(self) -> float:
        """Values not zero that arrived."""

    @property
    def updates(self) -> float:
        """Places where one arrived, or a membrane or current was not 0 before the step."""

    @property
    def reached(self) -> float:
        """Synapses that the events reached."""

    @property
    def effective_macs(self) -> float:
        """Of these, with a weight that is not zero, on real values."""

    @property
    def effective_acs(self) -> float:
        """The same on spikes."""


@dataclass(frozen=True)
class Arithmetic:
    """``count`` operations of one kind a step, on operands of two widths in bits (``ir.node.Arithmetic``, as data)."""

    kind: Literal["add", "multiply"]
    count: int
    left: int
    right: int
    floating: bool


@dataclass(frozen=True)
class NodeWork:
    """One node's work. Events, updates, reached, effective_* and spikes are of one inference, other counts of one step.

    inputs, outputs: values. macs, acs: synapses on real values and on spikes, zero padding not counted. biases: outputs
    with a bias that is not zero. input_bits, weight_bits, bias_bits, accumulator_bits: widths of one value; 0 where
    there is none. mac_bits: width of what is multiplied by a weight; where a node has several sums, the wider of its
    input and of its result, which the later sums take. floating: whether the synapses compute in floating point.
    binary: whether all that arrives are spikes. driven: whether it is, or is what pools and the like made of spikes.
    kernels: whether the weights are a convolution's. weights, zero_weights: elements of the synapses' tensors.
    stored_bits: weights and biases. parameter_bits: all that hardware stores. state_bits: all that is kept from step
    to step. touched_bits: what of it a step reads and writes; of a delay, the one value that comes and the one that
    leaves. neurons: those that spike or keep a membrane. arithmetic: operations beside the synapses.
    """

    inputs: int
    outputs: int
    macs: int
    acs: int
    biases: int
    input_bits: int
    mac_bits: int
    weight_bits: int
    bias_bits: int
    accumulator_bits: int
    floating: bool
    binary: bool
    driven: bool
    kernels: bool
    weights: int
    zero_weights: int
    stored_bits: int
    parameter_bits: int
    state_bits: int
    touched_bits: int
    neurons: int
    spiking: bool
    arithmetic: tuple[Arithmetic, ...]
    events: float = 0.0
    updates: float = 0.0
    reached: float = 0.0
    effective_macs: float = 0.0
    effective_acs: float = 0.0
    spikes: float = 0.0

    @property
    def synapses(self) -> int:
        """All of them."""
        return self.macs + self.acs

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {**vars(self), "arithmetic": [list(vars(own).values()) for own in self.arithmetic]}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> NodeWork:
        """What :meth:`as_dict` gave."""
        return cls(**{**values, "arithmetic": tuple(Arithmetic(*own) for own in values["arithmetic"])})


def work(
    graph: Graph, bound: Mapping[str, Bound], activity: Mapping[str, Activity], samples: int
) -> dict[str, NodeWork]:
    """The work of every node but Input and Output; ``activity`` was counted over ``samples`` inferences."""
    driven = _driven(graph)
    return {
        name: _work(graph, name, bound[name], activity[name], samples, driven)
        for name in graph.order
        if not isinstance(graph.nodes[name], (Input, Output))
    }


def _driven(graph: Graph) -> set[str]:
    """The nodes that spikes alone reach, past nothing that has parameters or a membrane."""
    loud: set[str] = set()  # what comes out of them is no spike, and made of more than spikes
    while True:
        found = {
            name
            for name, node in graph.nodes.items()
            if not node.spiking
            and (
                isinstance(node, Input)
                or node.parameters()
                or "membrane" in node.initial_state(1, graph.input_shapes[name])
                or not loud.isdisjoint(graph.predecessors(name))
            )
        }
        if found == loud:
            return {name for name in graph.nodes if name not in graph.inputs and not loud & {*graph.predecessors(name)}}
        loud = found


def _work(graph: Graph, name: str, at: Bound, activity: Activity, samples: int, driven: set[str]) -> NodeWork:
    node, shape, types = graph.nodes[name], graph.input_shapes[name], at.types
    tensors = {key: (role, at.parameters[key]) for key, role in at.roles.items()}
    synapses = node.macs(shape)
    # what kind a synapse is shows where spikes come everywhere; a node of several sums has both kinds
    every = node.effective_operations(np.ones((1, *shape)), at) if synapses and types.input == SPIKE else None
    acs = every.reached_acs if every else 0
    outputs = math.prod(graph.output_shapes[name])
    sums = _SumTypes(synapses, at)
    weights = [values for role, values in tensors.values() if role == "weight" and values.ndim >= 2] if synapses else []
    biases = [values for role, values in tensors.values() if role == "bias"] if synapses else []
    states = node.initial_state(1, shape)

    def bits(role: str) -> int:
        return types.of(role).bits

    return NodeWork(
        inputs=math.prod(shape),
        outputs=outputs,
        macs=synapses - acs,
        acs=acs,
        biases=sum(int(np.count_nonzero(bias)) * outputs // graph.output_shapes[name][0] for bias in biases),
        input_bits=types.input.bits,
        mac_bits=max(types.input.bits, types.result.bits) if len(weights) > 1 else types.input.bits,
        weight_bits=bits("weight") if synapses else 0,
        bias_bits=bits("bias") if biases else 0,
        accumulator_bits=sums.accumulator_bits,
        floating=sums.floating,
        binary=types.input == SPIKE,
        driven=types.input == SPIKE or name in driven,
        kernels=any(values.ndim > 2 for values in weights),
        weights=sum(values.size for values in weights),
        zero_weights=sum(values.size - int(np.count_nonzero(values)) for values in weights),
        stored_bits=sum(values.size * bits(role) for role, values in tensors.values() if role in ("weight", "bias")),
        parameter_bits=sum(values.size * bits(role) for role, values in tensors.values()),
        state_bits=sum(values.size * bits(kept) for kept, values in states.items()),
        # a memory of earlier inputs is a ring: it need not move what waits
        touched_bits=sum(min(values.size, math.prod(shape)) * bits(kept) for kept, values in states.items()),
        neurons=math.prod(shape) if node.spiking or "membrane" in states else 0,
        spiking=node.spiking,
        arithmetic=tuple(
            Arithmetic(own.kind, own.count, own.left.bits, own.right.bits, _is_float(own.left, own.right))
            for own in (*_edges(graph, name, types), *node.arithmetic(types, shape))
            if own.count
        ),
        events=activity.events / samples,
        updates=activity.updates / samples,
        reached=activity.reached / samples,
        effective_macs=activity.effective_macs / samples,
        effective_acs=activity.effective_acs / samples,
        spikes=activity.spikes / samples if node.spiking else 0.0,
    )


def _edges(graph: Graph, name: str, types: NodeTypes) -> tuple[ir.Arithmetic, ...]:
    """What adds up the edges of a node that has several, unless it joins them."""
    several = len(graph.predecessors(name)) - 1 if graph.nodes[name].concatenates is None else 0
    return (ir.Arithmetic("add", several * math.prod(graph.input_shapes[name]), types.input, types.input),)


def _is_float(*numbers: NumberType) -> bool:
    return any(isinstance(number, FloatType) for number in numbers)


@dataclass(frozen=True)
class _SumTypes:
    """What the synapses of a node compute in."""

    synapses: int
    at: Bound

    @property
    def floating(self) -> bool:
        """Whether any of what is multiplied and summed is in floating point."""
        types = self.at.types
        return self.synapses > 0 and _is_float(*(t for t in (types.input, types.weight, types.result) if t is not None))

    @property
    def accumulator_bits(self) -> int:
        """Width of the sum: the exact one's in fixed point, the result's in floating point."""
        if not self.synapses:
            return 0
        if self.at.accum_t is not None:
            return parse_type(self.at.accum_t).bits
        if self.at.span is None:
            return self.at.types.result.bits
        return self.at.span.bits + 2  # as Span.ap_fixed, which no type of 53 bits need hold
