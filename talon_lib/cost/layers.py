"""What a layer of hardware computes and keeps, as plain data: all that the estimates know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Pair = tuple[int, int]


@dataclass(frozen=True)
class Layer:
    """One layer of hardware.

    Widths are of two's complement, the sign bit that an unsigned factor needs included; a factor of 1 bit is a gate.

    name: its own. node: the graph's node that it is part of. kind: ``matrix`` sums products of inputs and weights
    (dense layers and convolutions), ``elements`` treats every value for itself (neurons, activations, pools, wiring).
    inputs, outputs: of one product with the matrix; values of a step for elements. places: how often a step the matrix
    is applied (1 for a dense layer, the pixels of the result for a convolution). tokens: how many transfers of a stream
    bring the input, and take the result away. factors: widths of both factors of the products, one pair for a matrix,
    one for each product of a value for elements. adder_bits: width of the adder beside each product of a matrix; bits
    of all adders, comparators and multiplexers of one value for elements. input_bits, result_bits, weight_bits: of one
    value, one weight. state_bits: what is kept of one value from step to step. zeros: weights that are 0. table: depth
    and width of the table that each value is looked up in. line: depth and width of the shift registers that hold rows
    of an image in a stream. shares: whether the reuse factor shares its multipliers. convolves: whether hls4ml builds
    it with a kernel that takes no reuse factor above ``inputs``. reuse: the factor that the node itself asks for.

    What the open RTL builds otherwise than hls4ml: shifted: those of ``factors`` that only shift, for the decay is
    2**-k or 1 - 2**-k in all neurons of the layer. integrators: of neurons, the one of a synaptic current included.
    taps: values of a window that a pool adds up or compares, whatever hls4ml makes of it. image: values of what a
    window slides over. saturated_bits: of the multiplexers that saturate one result (of neurons: membrane and current).
    """

    name: str
    node: str
    kind: Literal["matrix", "elements"]
    inputs: int
    outputs: int
    places: int = 1
    tokens: Pair = (1, 1)
    factors: tuple[Pair, ...] = ()
    adder_bits: int = 0
    input_bits: int = 0
    result_bits: int = 0
    weight_bits: int = 0
    state_bits: int = 0
    zeros: int = 0
    table: Pair = (0, 0)
    line: Pair = (0, 0)
    shares: bool = False
    convolves: bool = False
    reuse: int | None = None
    shifted: tuple[Pair, ...] = ()
    integrators: int = 0
    taps: int = 0
    image: int = 0
    saturated_bits: int = 0

    @property
    def computes(self) -> bool:
        """Whether it has any logic; wiring has none."""
        return bool(self.factors or self.adder_bits or self.table[0] or self.state_bits)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, which has lists and no tuples."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Layer:
        """The layer that :meth:`as_dict` wrote down, after a way through JSON."""
        pairs = {key: _pair(values[key]) for key in ("tokens", "table", "line")}
        several = {key: tuple(_pair(pair) for pair in values[key]) for key in ("factors", "shifted")}
        return cls(**{**values, **pairs, **several})


def _plain(value: Any) -> Any:
    return [_plain(own) for own in value] if isinstance(value, tuple) else value


def _pair(values: Any) -> Pair:
    first, second = values
    return int(first), int(second)
