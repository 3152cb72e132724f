"""Analytic estimates of cycles and resources. They are no measurements and no bounds; docs/estimates.md derives them.

Two mappings are known: ``hls4ml``, what its kernels ask of Vitis HLS, and ``open-rtl``, the modules of
``talon_lib.rtl``, whose cycles are exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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

RTL_MATRIX = 3
"""Registers of the open RTL around a matrix: inputs, operands, accumulators; docs/synthesis.md, Timing."""

RTL_NEURONS = 3
"""Registers of its neurons: the terms, the new membrane, the spike."""

RTL_ACCUMULATOR = 2
"""LUTs a bit of an accumulator that starts from the bias: one to choose, one to add (read off Yosys' netlists)."""

RTL_LUT_MEMORIES = ((32, 14), (64, 7))
"""Depth and width of 8 LUTs as a memory that is written and read at once (UG574: RAM32M16, RAM64M8)."""


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
    if design.flow == "open-rtl":
        return _open(layers, design, steps, effective or {})
    made: list[LayerEstimate] = []
    for layer in layers:
        reuse = effective_reuse_factor(layer, design.reuse, design.strategy)
        reuse = (effective or {}).get(layer.name, reuse)
        made.append((_hls_matrix if layer.kind == "matrix" else _hls_elements)(layer, reuse, design))
    cycles = _cycles(made, design.streams)
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


def _open(layers: Sequence[Layer], design: Design, steps: int, effective: Mapping[str, int]) -> Estimate:
    """The open RTL: layer after layer, and a step begins where the one before has ended."""
    made: list[LayerEstimate] = []
    lanes = layers[0].inputs if layers else 1  # values that travel side by side; the inputs come all at once
    for layer in layers:
        if layer.taps:
            own, lanes = _open_pool(layer), _channels(layer)
        elif layer.kind == "matrix":
            one = replace(layer, convolves=layer.convolves and layer.places > 1)
            reuse = effective.get(layer.name, effective_reuse_factor(one, design.reuse, "Resource"))
            own, lanes = _open_matrix(layer, reuse, lanes, design), _lanes(layer, reuse)
        else:
            own = _open_elements(layer, lanes, design)
        made.append(own)
    cycles = sum(own.cycles for own in made) + 1  # the clock in which a step starts
    sample = steps * cycles
    return Estimate(tuple(made), cycles, cycles, sample, sample * design.clock_period_ns / 1000.0)


def _lanes(layer: Layer, reuse: int) -> int:
    """Results that the open RTL sums side by side."""
    return min(layer.outputs, max(layer.inputs * layer.outputs // reuse, 1))


def _open_products(layer: Layer, count: int, design: Design) -> tuple[int, int, Usage]:
    """As :func:`_products`, without those that only shift."""
    factors = list(layer.factors)
    for pair in layer.shifted:
        factors.remove(pair)
    return _products(replace(layer, factors=tuple(factors)), count, design)


def _open_windows(layer: Layer) -> Usage:
    """The image that turns under a window: a register a bit, and a LUT that picks what comes next."""
    bits = layer.image * layer.input_bits
    return Usage(lut=bits, ff=bits)


def _open_pool(layer: Layer) -> LayerEstimate:
    places, channels = layer.tokens[1], _channels(layer)
    compares = layer.kind == "elements"  # the greatest of them: a comparison and a choice; else an adder
    usage = Usage(lut=channels * (layer.taps - 1) * layer.input_bits * (1 + compares), ff=channels * layer.result_bits)
    usage += Usage(lut=channels * layer.saturated_bits) + _open_windows(layer)
    return LayerEstimate(layer, None, 0, 0, places + 1, places + 1, usage)


def _channels(layer: Layer) -> int:
    """Of an image that a layer gives."""
    return layer.outputs if layer.kind == "matrix" else layer.outputs // layer.tokens[1]


def _open_matrix(layer: Layer, reuse: int, given: int, design: Design) -> LayerEstimate:
    """given: values of its input that come side by side."""
    units, lanes = layer.inputs * layer.outputs // reuse, _lanes(layer, reuse)
    terms = units // lanes  # products of one result in a cycle, summed by a tree
    groups = -(-layer.outputs // lanes)
    operators, multipliers, usage = _open_products(layer, units, design)
    (pair,) = layer.factors
    count, width = terms, sum(pair) if min(pair) > 1 else max(pair)
    usage += Usage(ff=(layer.inputs + terms) * layer.input_bits + lanes * count * width)  # inputs, operands, products
    while count > 1:  # a level of the tree: its adders and registers
        width += 1
        usage += Usage(lut=lanes * (count // 2) * width, ff=lanes * -(-count // 2) * width)
        count = -(-count // 2)
    # an accumulator adds to itself or to the bias: Yosys takes a LUT to choose and another one to add
    usage += Usage(lut=lanes * (RTL_ACCUMULATOR * layer.adder_bits + layer.saturated_bits), ff=lanes * layer.adder_bits)
    if groups > 1:
        usage += _constants(groups, lanes * layer.adder_bits)  # biases
    if reuse > 1:
        usage += _constants(reuse, units * layer.weight_bits)
        # inputs are taken or turn; where as many come as are worked on, both is the same turn but for its end
        turning = terms if given == terms and not layer.convolves else layer.inputs
        usage += Usage(lut=turning * layer.input_bits)
    cycles = layer.places * reuse + math.ceil(math.log2(terms)) + RTL_MATRIX
    if layer.convolves:
        usage += _open_windows(layer)
        cycles += 1
    return LayerEstimate(layer, reuse, operators, multipliers, cycles, cycles, usage)


def _constants(depth: int, width: int) -> Usage:
    """A memory of constants that a register reads; it is the block RAM's own where there is one.

    Of few words there are no more than 2**depth different columns, and equal ones are made once.
    """
    found = memory(depth, width)
    if found.bram:
        return found
    columns = min(width, 2 ** min(depth, LUT_DEPTH))
    return Usage(lut=columns, ff=columns)


def _states(depth: int, width: int) -> Usage:
    """A memory of states: registers for one word; else LUTs that are written and read at once, and a register."""
    if depth <= 1:
        return Usage(ff=width)
    shape = next((bits for deep, bits in RTL_LUT_MEMORIES if depth <= deep), None)
    return Usage(bram=block_rams(depth, width)) if shape is None else Usage(lut=8 * -(-width // shape), ff=width)


def _open_elements(layer: Layer, lanes: int, design: Design) -> LayerEstimate:
    together = min(lanes, layer.outputs)
    operators, multipliers, usage = _open_products(layer, together, design)
    looked_up = -(-layer.table[0] // LUT_DEPTH) * layer.table[1]
    usage += Usage(lut=together * (layer.adder_bits + looked_up + layer.saturated_bits))
    if layer.integrators:
        # what comes, what is left of the state, the new state, and the result; and the state itself
        on_its_way = layer.input_bits + 2 * layer.state_bits + layer.result_bits
        usage += Usage(ff=together * on_its_way)
        usage += _states(-(-layer.outputs // together), together * layer.state_bits) if layer.state_bits else Usage()
        cycles = RTL_NEURONS * layer.integrators
    elif layer.computes:
        usage += Usage(ff=together * (sum(layer.factors[0]) if layer.factors else layer.result_bits))
        cycles = 1
    else:
        cycles = 0  # wiring
    return LayerEstimate(layer, None, operators, multipliers, cycles, cycles, usage)
