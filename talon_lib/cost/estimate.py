"""Analytic estimates of cycles and resources. They are no measurements and no bounds; docs/estimates.md derives them.

Two mappings are known: ``hls4ml``, what its kernels ask of Vitis HLS, and ``open-rtl``, a layer that works through an
R-word weight memory with n_in x n_out / R multipliers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from talon_lib.cost.layers import Layer
from talon_lib.cost.resources import HLS_NARROW, LUT_DEPTH, Usage, block_rams, memory, multiplier, shift_register
from talon_lib.cost.reuse import effective_reuse_factor
from talon_lib.errors import ConfigError

SOURCE = "analytic"

FLOWS = ("hls4ml", "open-rtl")

HLS_SELECT = Fraction(5, 4)
"""LUTs a bit to hold a layer's inputs and to pick those of a cycle: one to hold, a quarter of a 4:1 multiplexer."""

HLS_ACCUMULATOR = 5
"""LUTs a bit of an accumulator that shares its multiplier with others (measured; docs/estimates.md, Known error)."""

RTL_DEPTH = 4
"""Cycles of the open RTL from the last product to the spike (measured on the prototype: R + 4 cycles a step)."""


@dataclass(frozen=True)
class Design:
    """How layers become hardware. dsp: the device's kind of DSP slice (``resources.DSP_FACTORS``)."""

    reuse: int = 1
    strategy: str = "Resource"
    io_type: str = "io_parallel"
    clock_period_ns: float = 5.0
    dsp: str = "DSP48E2"
    flow: str = "hls4ml"

    def __post_init__(self) -> None:
        if self.flow not in FLOWS:
            raise ConfigError(f"unknown flow {self.flow!r}; there are estimates of: {', '.join(FLOWS)}")

    @property
    def streams(self) -> bool:
        """Whether values come one place after the other."""
        return self.io_type == "io_stream"


@dataclass(frozen=True)
class LayerEstimate:
    """One layer of a design.

    reuse: the effective factor; None where nothing is shared. multipliers: that work side by side, gates (a factor of 1
    bit) not counted. operators: the same with the gates. cycles: of one step. interval: cycles until the next step can
    start.
    """

    layer: Layer
    reuse: int | None
    operators: int
    multipliers: int
    cycles: int
    interval: int
    usage: Usage


@dataclass(frozen=True)
class Estimate:
    """A whole design. cycles_per_sample and latency_us: of one inference of all steps, at the clock's target."""

    layers: tuple[LayerEstimate, ...]
    cycles_per_step: int
    interval_cycles: int
    cycles_per_sample: int
    latency_us: float

    @property
    def operators(self) -> int:
        """Products that are formed side by side, by multipliers and gates."""
        return sum(own.operators for own in self.layers)

    @property
    def multipliers(self) -> int:
        """Those of them that take a multiplier."""
        return sum(own.multipliers for own in self.layers)

    @property
    def usage(self) -> Usage:
        """Resources of all layers."""
        return total(own.usage for own in self.layers)

    @property
    def reuse_factors(self) -> tuple[int, ...]:
        """The effective factors that occur in layers of products with a matrix, in rising order."""
        return tuple(sorted({own.reuse for own in self.layers if own.layer.kind == "matrix" and own.reuse is not None}))

    def by_node(self) -> Mapping[str, tuple[LayerEstimate, ...]]:
        """The layers of each node of the graph."""
        found: dict[str, tuple[LayerEstimate, ...]] = {}
        for own in self.layers:
            found[own.layer.node] = (*found.get(own.layer.node, ()), own)
        return found


def total(usages: Iterable[Usage]) -> Usage:
    """The sum of usages."""
    return sum(usages, Usage())


def estimate(
    layers: Sequence[Layer], design: Design, steps: int, effective: Mapping[str, int] | None = None
) -> Estimate:
    """Estimate a design of ``layers`` in the order of the data.

    ``effective`` is the reuse factor by layer name where a tool has said which one it took; without it the rule says.
    """
    made: list[LayerEstimate] = []
    lanes = 1
    for layer in layers:
        reuse = effective_reuse_factor(
            layer, design.reuse, "Resource" if design.flow == "open-rtl" else design.strategy
        )
        reuse = (effective or {}).get(layer.name, reuse)
        if design.flow == "open-rtl":
            own = _open_matrix(layer, reuse, design) if layer.kind == "matrix" else _open_elements(layer, lanes, design)
            lanes = _lanes(layer, reuse) if layer.kind == "matrix" else lanes
        else:
            own = _hls_matrix(layer, reuse, design) if layer.kind == "matrix" else _hls_elements(layer, reuse, design)
        made.append(own)
    cycles = _cycles(made, design.streams and design.flow == "hls4ml")
    interval = max([1, *(own.interval for own in made)])
    sample = (steps - 1) * interval + cycles  # steps follow each other through the layers
    return Estimate(tuple(made), cycles, interval, sample, sample * design.clock_period_ns / 1000.0)


def _cycles(layers: Sequence[LayerEstimate], streams: bool) -> int:
    """Of one step: layers one after the other; in a stream those between two dense layers work at the same time."""
    if not streams:
        return sum(own.cycles for own in layers)
    whole = together = 0
    for own in layers:
        if own.layer.kind == "matrix" and not own.layer.convolves:
            whole, together = whole + together + own.cycles, 0  # it waits for its whole input
        else:
            together = max(together, own.cycles)
    return whole + together


def _products(layer: Layer, count: int, design: Design) -> tuple[int, int, Usage]:
    """Operators, multipliers among them, and resources of ``count`` units of a layer's products."""
    real = sum(1 for pair in layer.factors if min(pair) > 1)
    narrow = HLS_NARROW if design.flow == "hls4ml" else 0
    usage = total(multiplier(*pair, design.dsp, narrow) for pair in layer.factors)
    return count * len(layer.factors), count * real, usage.times(count)


def _hls_matrix(layer: Layer, reuse: int, design: Design) -> LayerEstimate:
    weights, latency = layer.inputs * layer.outputs, design.strategy.capitalize() == "Latency"
    units = -(-weights // reuse)
    if latency:
        units = max(units - layer.zeros // reuse, 0)
    operators, multipliers, usage = _products(layer, units, design)
    usage += Usage(lut=units * layer.adder_bits)  # an adder takes a LUT a bit, the gate before it inside
    given = layer.inputs * layer.input_bits
    if reuse > 1:
        word = units * layer.weight_bits
        usage += Usage(lut=math.ceil(HLS_SELECT * given))
        # Latency leaves weights to the logic, which picks one of R constants; Resource puts R words into block RAM
        usage += Usage(lut=-(-reuse // LUT_DEPTH) * word) if latency else Usage(bram=block_rams(reuse, word))
    if reuse > layer.inputs and not latency:  # a multiplier goes from result to result, and its sum must be found again
        usage += Usage(lut=HLS_ACCUMULATOR * layer.outputs * layer.adder_bits)
    usage += Usage(ff=layer.outputs * layer.adder_bits)
    usage += Usage(ff=_copies(layer, design) * given)
    if design.streams:
        usage += shift_register(*layer.line) + _result(layer, layer.outputs)
        taken = layer.tokens[0]
        if not layer.convolves:
            cycles = reuse + (taken if taken > 1 else 0)
        elif latency:
            cycles = taken * reuse
        else:
            cycles = max(taken - layer.places, 0) + layer.places * reuse
    else:
        usage += Usage(ff=layer.outputs * layer.places * layer.result_bits)
        cycles = layer.places * reuse
    return LayerEstimate(layer, reuse, operators, multipliers, cycles, cycles, usage)


def _copies(layer: Layer, design: Design) -> int:
    """How often a matrix keeps its inputs in registers."""
    if layer.convolves:
        return 1  # the window under the kernel
    if design.strategy.capitalize() == "Latency":
        return 1 if design.streams else 0  # in io_parallel the design is one pipeline without channels
    return 2  # the channel between two layers, and the kernel's own


def _hls_elements(layer: Layer, reuse: int, design: Design) -> LayerEstimate:
    tokens = max(layer.tokens) if design.streams else 1
    together = -(-layer.outputs // layer.tokens[1]) if design.streams else layer.outputs
    factor = reuse if layer.shares else 1
    operators, multipliers, usage = _products(layer, -(-together // factor), design)
    looked_up = -(-layer.table[0] // LUT_DEPTH) * layer.table[1]
    usage += Usage(lut=together * (layer.adder_bits + looked_up))
    usage += memory(layer.tokens[1] if design.streams else 1, together * layer.state_bits)
    if design.streams:
        usage += shift_register(*layer.line) + _result(layer, together)
        cycles = interval = tokens * factor
    else:
        usage += Usage(ff=together * layer.result_bits) if layer.computes else Usage()
        cycles = 0 if not layer.computes else factor if layer.factors else 1
        interval = factor if layer.computes else 1
    return LayerEstimate(layer, factor if layer.shares else None, operators, multipliers, cycles, interval, usage)


def _result(layer: Layer, together: int) -> Usage:
    """A stream's register of one token, and the queue behind it, which hls4ml makes as deep as there are tokens."""
    width = together * layer.result_bits
    return Usage(ff=width) + (memory(layer.tokens[1], width) if layer.tokens[1] > 1 else Usage())


def _lanes(layer: Layer, reuse: int) -> int:
    """Results that the open RTL sums side by side."""
    return min(layer.outputs, max(layer.inputs * layer.outputs // reuse, 1))


def _open_matrix(layer: Layer, reuse: int, design: Design) -> LayerEstimate:
    units, lanes = layer.inputs * layer.outputs // reuse, _lanes(layer, reuse)
    terms = units // lanes  # products of one result in a cycle, summed by a tree
    operators, multipliers, usage = _products(layer, units, design)
    given = layer.inputs * layer.input_bits
    usage += Usage(lut=lanes * terms * layer.adder_bits, ff=given + lanes * 2 * terms * layer.adder_bits)
    if reuse > 1:
        usage += Usage(lut=given) + memory(reuse, units * layer.weight_bits)  # the inputs shift, the weights are read
    cycles = layer.places * reuse + math.ceil(math.log2(terms)) + RTL_DEPTH
    return LayerEstimate(layer, reuse, operators, multipliers, cycles, layer.places * reuse, usage)


def _open_elements(layer: Layer, lanes: int, design: Design) -> LayerEstimate:
    together = min(lanes, layer.outputs)
    operators, multipliers, usage = _products(layer, together, design)
    usage += Usage(lut=together * (layer.adder_bits + -(-layer.table[0] // LUT_DEPTH) * layer.table[1]))
    # two registers of a value on its way, and its state
    usage += Usage(ff=together * 2 * layer.state_bits) + memory(
        -(-layer.outputs // together), together * layer.state_bits
    )
    return LayerEstimate(layer, None, operators, multipliers, 0, 1, usage)  # it works while the next result is summed
