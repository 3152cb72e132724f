"""First-order estimates of the hls4ml mapping: analytic, not measurements and no bounds.

A layer of n weights with reuse factor R is taken to have ``n / R`` multipliers and to need R cycles a step (hls4ml,
"Reuse factor"), a convolution R for every place of its kernel, a layer of neurons one cycle, and layers to work one
after the other; a new step starts after the slowest layer. Not counted: weights that are 0 or powers of two (they need
no multiplier), the decay of the neurons, the depth of adder trees, layers that the tool chains into one cycle, branches
that work side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from talon_lib.cost.counts import NodeCounts

SOURCE = "analytic"


@dataclass(frozen=True)
class Estimate:
    """First-order figures of one design.

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
            weights = max(node.weights, 1)
            factor = min(factor, weights)  # no layer can reuse more than it has
            positions = -(-node.macs_per_step // weights)  # a convolution uses its multipliers for one after the other
            multipliers += -(-weights // factor)
            cycles += factor * positions
            interval = max(interval, factor * positions)
        elif node.neurons:
            cycles += 1
    # steps follow each other through the pipeline: the last one ends `cycles` after it starts
    total = (steps - 1) * interval + cycles
    return Estimate(multipliers, cycles, interval, total * clock_period_ns / 1000.0)
