"""Static counts of a graph: operations, neurons, and the bits that its parameters, states and values take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from talon_lib.fixed import FP32
from talon_lib.ir.graph import Graph
from talon_lib.ir.node import Bound
from talon_lib.ir.structure import Input, Output


@dataclass(frozen=True)
class NodeCounts:
    """Counts of one node.

    macs_per_step: synaptic operations of one sample and step, zero padding not counted (NeuroBench: Dense).
    weights: elements of weight tensors of two or more dimensions, what TALON takes for MACs. neurons: those that spike
    or keep a membrane. weight_bits: weights and biases. state_bits: all that is kept from step to step.
    """

    macs_per_step: int
    weights: int
    neurons: int
    weight_bits: int
    state_bits: int

    @property
    def weight_bytes(self) -> int:
        """Whole bytes that hold the weights and biases."""
        return (self.weight_bits + 7) // 8


def count(graph: Graph, bound: Mapping[str, Bound] | None = None) -> dict[str, NodeCounts]:
    """Counts by node, Input and Output left out. Widths come from ``bound``; without it everything has 32 bits."""
    counts = {}
    for name in graph.order:
        node, shape = graph.nodes[name], graph.input_shapes[name]
        if isinstance(node, (Input, Output)):
            continue
        tensors = node.parameters()

        def bits(role: str, at: Bound | None = bound[name] if bound else None) -> int:
            return at.types.of(role).bits if at else FP32.bits

        states = node.initial_state(1, shape)
        counts[name] = NodeCounts(
            macs_per_step=node.macs(shape),
            weights=sum(t.values.size for t in tensors.values() if t.role == "weight" and t.values.ndim >= 2),
            neurons=math.prod(shape) if node.spiking or "membrane" in states else 0,
            weight_bits=sum(t.values.size * bits(t.role) for t in tensors.values() if t.role in ("weight", "bias")),
            state_bits=sum(values.size * bits(kept) for kept, values in states.items()),
        )
    return counts
