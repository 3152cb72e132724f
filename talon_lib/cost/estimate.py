"""First-order estimates of the hls4ml mapping. Analytic lower bounds, not measurements.

A layer of ``macs`` synaptic operations with reuse factor R has ``macs / R`` multipliers and needs R cycles or more a
step (hls4ml, "Reuse factor"). Layers are pipelined one after the other: a step takes at least the sum of their
reuse factors along the graph, and one cycle for every layer of neurons; a new step can start after the largest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from talon_lib.cost.counts import NodeCounts

SOURCE = "analytic"


@dataclass(frozen=True)
class Estimate:
    """Lower bounds for one design.

    multipliers: parallel multipliers (adders with a gate where the input is a spike). cycles_per_step: from input to
    output. interval_cycles: between two steps. latency_us: one inference, steps one after the other, at the clock's
    target.
    """

    multipliers: int
    cycles_per_step: int
    interval_cycles: int
    latency_us: float


def estimate(
    counts: Mapping[str, NodeCounts], reuse: int | Mapping[str, int], steps: int, clock_period_ns: float
) -> Estimate:
    """Estimate a design. ``reuse`` is one factor, or one by node where the effective ones are known."""
    multipliers = cycles = 0
    interval = 1
    for name, node in counts.items():
        if node.macs_per_step:
            factor = reuse if isinstance(reuse, int) else reuse.get(name, 1)
            factor = min(factor, node.macs_per_step)  # no layer can reuse more than it has
            multipliers += -(-node.macs_per_step // factor)
            cycles += factor
            interval = max(interval, factor)
        elif node.neurons:
            cycles += 1
    # steps follow each other through the pipeline: the last one ends `cycles` after it starts
    total = (steps - 1) * interval + cycles
    return Estimate(multipliers, cycles, interval, total * clock_period_ns / 1000.0)
