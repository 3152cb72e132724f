"""Metrics of a whole network by NeuroBench's definitions (Yik et al. 2025), from the work of its nodes.

Footprint here is at the widths of the precision; NeuroBench's own is what torch holds, in bytes of whole elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from talon_lib.cost.work import NodeWork


@dataclass(frozen=True)
class Metrics:
    """What NeuroBench asks of a network beside its operations.

    footprint_bytes: all parameters and all state. connection_sparsity: share of zeros among the weights of layers with
    synapses. activation_sparsity: share of zeros among the results of spiking neurons, over all steps. None where a
    network has none of them.
    """

    footprint_bytes: int
    connection_sparsity: float | None
    activation_sparsity: float | None


def metrics(work: Mapping[str, NodeWork], steps: int) -> Metrics:
    """The metrics of one inference of ``steps`` steps."""
    weights, zeros = (sum(getattr(own, key) for own in work.values()) for key in ("weights", "zero_weights"))
    neurons = [own for own in work.values() if own.spiking]
    results = steps * sum(own.outputs for own in neurons)
    spikes = sum(own.spikes for own in neurons)
    return Metrics(
        footprint_bytes=sum((own.parameter_bits + 7) // 8 + (own.state_bits + 7) // 8 for own in work.values()),
        connection_sparsity=zeros / weights if weights else None,
        activation_sparsity=1 - spikes / results if results else None,
    )
