"""The modules of our hardware, as plain descriptions that the templates print.

Values travel from module to module in beats, so many lanes side by side; an image place by place, channels last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from talon_lib.cost.resources import LUT_DEPTH
from talon_lib.fixed import Array, FixedType, Span

Pair = tuple[int, int]


@dataclass(frozen=True)
class Stream:
    """How values of type ``number`` travel: in beats of ``lanes``. order: our flat index of each (``ir.layout``)."""

    number: FixedType
    order: Array
    lanes: int

    @property
    def values(self) -> int:
        """Values of one step."""
        return len(self.order)

    @property
    def beats(self) -> int:
        """Beats of one step."""
        return self.values // self.lanes


@dataclass(frozen=True, kw_only=True)
class RtlLayer:
    """One module. name: its layer's. node: the graph's node that it is part of. given, result: what travels."""

    name: str
    node: str
    given: Stream
    result: Stream

    template: ClassVar[str]
    stateful: ClassVar[bool] = False
    """Whether it keeps a membrane, and so must know where a sample starts."""

    @property
    def describe(self) -> str:
        """One line about it."""
        return f"{self.name}: {self.given.values} x {self.given.number} to {self.result.values} x {self.result.number}"

    @property
    def memories(self) -> Mapping[str, str]:
        """The contents of its memories, by the end of the file's name."""
        return {}

    @property
    def probes(self) -> tuple[str, ...]:
        """The signals that keep its state."""
        return ()

    @property
    def multipliers(self) -> int:
        """Multipliers that work side by side."""
        return 0

    @property
    def latency(self) -> int:
        """Clocks from the last beat of its inputs to the last of its results."""
        return 1

    @property
    def paced(self) -> bool:
        """Whether it says when it takes its next input."""
        return False

    @property
    def waits(self) -> bool:
        """Whether it hands on a value only where the next layer takes it."""
        return False


@dataclass(frozen=True, kw_only=True)
class Matrix(RtlLayer):
    """Sums of products, ``weight @ x + bias``, applied ``places`` times a step.

    weight: codes ``(n_out, n_in)``, the columns in the order of the inputs. bias: codes at the accumulator's binary
    point. accumulator: its bits; fraction: those right of its point.
    """

    template: ClassVar[str] = "matrix.sv.j2"

    weight: Array
    weight_type: FixedType
    bias: tuple[int, ...]
    accumulator: int
    fraction: int
    reuse: int
    places: int = 1

    @property
    def inputs(self) -> int:
        """Values that one product takes."""
        return int(self.weight.shape[1])

    @property
    def outputs(self) -> int:
        """Values that one product gives."""
        return len(self.weight)

    @property
    def terms(self) -> int:
        """Products of one output in a cycle."""
        return max(self.inputs // self.reuse, 1)

    @property
    def cycles(self) -> int:
        """Cycles of one group of outputs."""
        return self.inputs // self.terms

    @property
    def groups(self) -> int:
        """Groups of outputs, one after the other."""
        return self.reuse // self.cycles

    @property
    def beats(self) -> int:
        """Beats that bring the inputs of one product."""
        return self.inputs // self.given.lanes

    @property
    def in_blocks(self) -> bool:
        """Whether the weights belong into block RAM: what is deeper than a LUT, as the estimates have it."""
        return self.reuse > LUT_DEPTH

    @property
    def operators(self) -> int:
        """Products of a cycle."""
        return self.terms * self.result.lanes

    @property
    def gates(self) -> bool:
        """Whether its inputs are spikes, which take a weight or nothing."""
        return self.given.number.width == 1 and not self.given.number.signed

    @property
    def multipliers(self) -> int:
        """Gates and 1-bit weights are no multipliers."""
        return 0 if self.gates or self.weight_type.width == 1 else self.operators

    @property
    def latency(self) -> int:
        """The inputs are taken, worked through, and have ``depth`` registers and the accumulator to pass."""
        return self.reuse + self.depth + 1

    @property
    def paced(self) -> bool:
        """A layer of several places takes one after the other, while it is busy with the one before."""
        return self.places > 1 and self.reuse > 1

    @property
    def sums(self) -> list[tuple[int, int]]:
        """Terms and bits of every level of the adder tree, the products first."""
        width = signed_bits(self.weight_type) + (0 if self.gates else signed_bits(self.given.number))
        levels = [(self.terms, width)]
        while levels[-1][0] > 1:
            count, width = levels[-1]
            levels.append(((count + 1) // 2, width + 1))
        return levels

    @property
    def depth(self) -> int:
        """Registers before the accumulator: operands, and the levels of the tree."""
        return 1 + len(self.sums)

    @property
    def shift(self) -> int:
        """From the products' binary point to the accumulator's."""
        return self.fraction - self.given.number.fraction - self.weight_type.fraction

    @property
    def cast_shift(self) -> int:
        """Fraction bits that the result does not have."""
        return self.fraction - self.result.number.fraction

    @property
    def rows(self) -> list[str]:
        """The weights of each output as a constant."""
        return [literal(row, self.weight_type.width) for row in self.weight]

    @property
    def biases(self) -> list[str]:
        """The bias of each output as a constant."""
        return [literal([value], self.accumulator) for value in self.bias]

    @property
    def memories(self) -> Mapping[str, str]:
        """Words of weights, of outputs by terms; words of biases, by outputs; the first in the lowest bits."""
        if self.reuse == 1:
            return {}
        lanes = self.result.lanes
        # (group, lane, cycle, term) -> (group, cycle, lane, term)
        words = self.weight.reshape(self.groups, lanes, self.cycles, self.terms).transpose(0, 2, 1, 3)
        found = {"weights": memory(words.reshape(self.reuse, -1), self.weight_type.width)}
        if self.groups > 1:
            biases = [self.bias[lanes * group : lanes * (group + 1)] for group in range(self.groups)]
            found["biases"] = memory(biases, self.accumulator)
        return found


@dataclass(frozen=True)
class Table:
    """A parameter of neurons: codes in the order of the stream, as signed numbers of ``bits``."""

    name: str
    number: FixedType
    codes: tuple[int, ...]

    @property
    def bits(self) -> int:
        """Of one value."""
        return signed_bits(self.number)

    @property
    def uniform(self) -> bool:
        """Whether all neurons share one value."""
        return len(set(self.codes)) == 1

    @property
    def literals(self) -> list[str]:
        """Each value as a constant."""
        return [literal([code], self.bits) for code in self.codes]


@dataclass(frozen=True, kw_only=True)
class Neurons(RtlLayer):
    """Integration, and spikes where there is a threshold; the update is that of ``ir.neuron``.

    forgets: every step starts from 0.
    """

    template: ClassVar[str] = "neurons.sv.j2"

    membrane: FixedType
    by_name: Mapping[str, Table]
    subtract: bool = False
    delayed: bool = False
    strict: bool = False
    forgets: bool = False

    @property
    def stateful(self) -> bool:  # type: ignore[override]
        """Whether it keeps a membrane."""
        return not self.forgets

    @property
    def probes(self) -> tuple[str, ...]:
        """The membrane."""
        return ("membrane",) if self.stateful else ()

    @property
    def latency(self) -> int:
        """The terms, the new membrane, spike and reset."""
        return 3

    @property
    def tables(self) -> tuple[Table, ...]:
        """All parameters."""
        return tuple(self.by_name.values())

    @property
    def memories(self) -> Mapping[str, str]:
        """Its tables."""
        return table_memories(self)

    @property
    def fires(self) -> bool:
        """Whether it spikes; else it hands on the membrane."""
        return "threshold" in self.by_name

    @property
    def compares(self) -> str:
        """How the membrane reaches the threshold."""
        return ">" if self.strict else ">="

    @property
    def leaks(self) -> bool:
        """Whether a membrane at rest is not 0."""
        return "leak" in self.by_name and any(self.by_name["leak"].codes)

    @property
    def halvings(self) -> int:
        """Where 1 - decay or decay is a power of two: which."""
        return self._decay[1]

    @property
    def decay(self) -> str:
        """How the membrane decays: none, nothing (is left), shift (a power of two is), subtract (is lost), multiply."""
        return self._decay[0]

    @property
    def _decay(self) -> tuple[str, int]:
        table = self.by_name.get("decay")
        if table is None:
            return "none", 0
        one, code = 1 << max(table.number.fraction, 0), table.codes[0]
        if table.uniform and table.number.fraction >= 0 and 0 <= code <= one:
            if code == one:
                return "none", 0  # only without a leak, which comes in and goes out again: v - leak + leak
            if code == 0:
                return "nothing", 0
            for way, part in (("shift", code), ("subtract", one - code)):
                if part & (part - 1) == 0:
                    return way, one.bit_length() - part.bit_length()
        return "multiply", 0

    @property
    def multipliers(self) -> int:
        """One for each lane whose decay is no shift."""
        return self.result.lanes if self.decay == "multiply" else 0

    @property
    def membrane_bits(self) -> int:
        """Of the membrane as a signed number."""
        return signed_bits(self.membrane)

    @property
    def _sum(self) -> Span:
        """Bounds of the exact sum of a step (``ir.neuron``'s, at the terms that are there)."""
        membrane, kept = self.membrane.span, self.membrane.span
        if self.decay != "none":
            kept = self.by_name["decay"].number.span * (membrane + membrane) + membrane
        total = kept + self.given.number.span
        return total + membrane if self.delayed and self.subtract else total

    @property
    def exact(self) -> int:
        """Bits of that sum."""
        return self._sum.msb + 2 - self._sum.lsb

    @property
    def drive_shift(self) -> int:
        """From the input's binary point to the sum's."""
        return -self._sum.lsb - self.given.number.fraction

    @property
    def membrane_shift(self) -> int:
        """From the membrane's binary point to the sum's."""
        return -self._sum.lsb - self.membrane.fraction

    @property
    def cast_shift(self) -> int:
        """The same, which the cast takes away."""
        return self.membrane_shift

    @property
    def product_bits(self) -> int:
        """Of the decay times what the membrane has above its leak."""
        return self.by_name["decay"].bits + self.membrane_bits + 1

    @property
    def product_shift(self) -> int:
        """From that product's binary point to the sum's."""
        return self.membrane_shift - self.by_name["decay"].number.fraction

    @property
    def level_shift(self) -> int:
        """From the membrane's binary point to that of the comparison."""
        return max(self.by_name["threshold"].number.fraction - self.membrane.fraction, 0)

    @property
    def threshold_shift(self) -> int:
        """From the threshold's binary point to that of the comparison."""
        return max(self.membrane.fraction - self.by_name["threshold"].number.fraction, 0)

    @property
    def compare_bits(self) -> int:
        """Of both sides of the comparison."""
        return max(self.membrane_bits + self.level_shift, self.by_name["threshold"].bits + self.threshold_shift)

    @property
    def equations(self) -> list[str]:
        """What it computes."""
        kept = {"none": "v", "nothing": "0"}.get(self.decay, "decay * (v - leak) + leak" if self.leaks else "decay * v")
        lines = [f"v = {'0' if self.forgets else kept} + x"]
        if self.fires:
            reset = "v - threshold" if self.subtract else "reset"
            lines.append(f"spike = v {self.compares} threshold")
            lines.append(f"v = {reset} where it spiked{', in the next step' if self.delayed else ''}")
        return lines


@dataclass(frozen=True, kw_only=True)
class Windows(RtlLayer):
    """Takes an image and hands on its windows, one a beat: by kernel row, kernel column and channel.

    size: of the image. kernel, stride, count (of windows), padding (above, left): each (vertical, horizontal). outside:
    the code that lies around the image. pace: clocks that the next module is busy with one.
    """

    template: ClassVar[str] = "windows.sv.j2"

    channels: int
    size: Pair
    kernel: Pair
    stride: Pair
    count: Pair
    padding: Pair
    outside: int
    pace: int

    @property
    def waits(self) -> bool:
        """Whether it hands on a window only where the next module takes it."""
        return self.pace > 1

    @property
    def latency(self) -> int:
        """The image is taken, and then a window leaves every ``pace`` clocks."""
        return 1 + (self.rows * self.columns - 1) * self.pace

    @property
    def height(self) -> int:
        """Of the image."""
        return self.size[0]

    @property
    def width(self) -> int:
        """Of the image."""
        return self.size[1]

    @property
    def rows(self) -> int:
        """Of windows."""
        return self.count[0]

    @property
    def columns(self) -> int:
        """Of windows."""
        return self.count[1]

    @property
    def next_column(self) -> int:
        """Values that the image turns by to the next window of a row."""
        return self.stride[1] * self.channels % self.given.values

    @property
    def next_row(self) -> int:
        """The same from the last window of a row to the first of the next."""
        ahead = self.stride[0] * self.width - (self.columns - 1) * self.stride[1]
        return ahead * self.channels % self.given.values

    @property
    def fill(self) -> str:
        """The values of all channels outside of the image."""
        return literal([self.outside] * self.channels, self.given.number.width)

    def _inside(self, dim: int, tap: int) -> str:
        """For every window along ``dim``, whether its row or column ``tap`` lies on the image; the first is last."""
        places = self.stride[dim] * np.arange(self.count[dim]) + tap - self.padding[dim]
        return "".join("1" if inside else "0" for inside in ((places >= 0) & (places < self.size[dim]))[::-1])

    @property
    def masks(self) -> list[dict[str, str]]:
        """The rows and columns of the kernel that leave the image somewhere: a name, bits, and what picks one."""
        return [
            {"name": f"{name}_{tap}_inside", "bits": self._inside(dim, tap), "counter": name}
            for dim, name in enumerate(("row", "column"))
            for tap in range(self.kernel[dim])
            if "0" in self._inside(dim, tap)
        ]

    @property
    def taps(self) -> list[dict[str, object]]:
        """Where each tap goes (all channels of it), where it comes from, and when it lies on the image."""
        named = {mask["name"] for mask in self.masks}
        found: list[dict[str, object]] = []
        for down in range(self.kernel[0]):
            for across in range(self.kernel[1]):
                away = (down - self.padding[0]) * self.width + across - self.padding[1]
                place, first = away * self.channels % self.given.values, len(found) * self.channels
                inside = [name for name in (f"row_{down}_inside", f"column_{across}_inside") if name in named]
                found.append(
                    {
                        "first": first,
                        "last": first + self.channels - 1,
                        "place": place,
                        "top": place + self.channels - 1,
                        "inside": " && ".join(inside),
                    }
                )
        return found


@dataclass(frozen=True, kw_only=True)
class Pool(RtlLayer):
    """The greatest value, or the exact sum, of each channel of a window. fraction: of the sum's last bit."""

    template: ClassVar[str] = "pool.sv.j2"

    taps: int
    greatest: bool
    fraction: int

    @property
    def bits(self) -> int:
        """Of the sum."""
        return signed_bits(self.given.number) + (0 if self.greatest else (self.taps - 1).bit_length())

    @property
    def cast_shift(self) -> int:
        """Fraction bits that the result does not have."""
        return self.fraction - self.result.number.fraction


@dataclass(frozen=True, kw_only=True)
class Scaling(RtlLayer):
    """``factor * x + offset`` for every value; where ``positive``, values above 0 stay as they are. No factor is 0."""

    template: ClassVar[str] = "scaling.sv.j2"

    by_name: Mapping[str, Table]
    positive: bool

    @property
    def tables(self) -> tuple[Table, ...]:
        """Factor and offset, where there are any."""
        return tuple(self.by_name.values())

    @property
    def memories(self) -> Mapping[str, str]:
        """Its tables."""
        return table_memories(self)

    @property
    def equation(self) -> str:
        """What it computes."""
        product = f"{'factor * x' if self.scales else '0'}{' + offset' if self.shifts else ''}"
        return f"y = x where x > 0, else {product}" if self.positive else f"y = {product}"

    @property
    def scales(self) -> bool:
        """Whether there is a factor."""
        return "factor" in self.by_name

    @property
    def shifts(self) -> bool:
        """Whether there is an offset."""
        return "offset" in self.by_name

    @property
    def multipliers(self) -> int:
        """One a lane."""
        return self.result.lanes if self.scales else 0

    @property
    def _terms(self) -> list[Span]:
        x = self.given.number.span
        products = [self.by_name["factor"].number.span * x] if self.scales else []
        return [
            *products,
            *([self.by_name["offset"].number.span] if self.shifts else []),
            *([x] if self.positive else []),
        ]

    @property
    def fraction(self) -> int:
        """Fraction bits of the exact sum."""
        return -min(span.lsb for span in self._terms)

    @property
    def bits(self) -> int:
        """Of the exact sum."""
        return max(span.msb for span in self._terms) + 3 + self.fraction

    @property
    def input_bits(self) -> int:
        """Of the input as a signed number."""
        return signed_bits(self.given.number)

    @property
    def product_bits(self) -> int:
        """Of the product."""
        return self.input_bits + (self.by_name["factor"].bits if self.scales else 0)

    @property
    def whole_shift(self) -> int:
        """From the input's binary point to the sum's."""
        return max(self.fraction - self.given.number.fraction, 0)

    @property
    def product_shift(self) -> int:
        """From the product's binary point to the sum's."""
        factor = self.by_name["factor"].number.fraction if self.scales else 0
        return self.fraction - self.given.number.fraction - factor if self.scales else 0

    @property
    def offset_shift(self) -> int:
        """From the offset's binary point to the sum's."""
        return self.fraction - self.by_name["offset"].number.fraction

    @property
    def cast_shift(self) -> int:
        """Fraction bits that the result does not have."""
        return self.fraction - self.result.number.fraction


@dataclass(frozen=True, kw_only=True)
class Lookup(RtlLayer):
    """A table: the result's code for every code of the input, read unsigned."""

    template: ClassVar[str] = "lookup.sv.j2"

    entries: tuple[int, ...]

    @property
    def memories(self) -> Mapping[str, str]:
        """The table."""
        return {"entries": memory([[entry] for entry in self.entries], self.result.number.width)}


def table_memories(layer: Neurons | Scaling) -> Mapping[str, str]:
    """Words of parameters that differ from value to value, where groups of values take turns."""
    groups = layer.result.beats
    varying = [table for table in layer.tables if groups > 1 and not table.uniform]
    return {t.name: memory(np.array(t.codes, object).reshape(groups, -1), t.bits) for t in varying}


def signed_bits(number: FixedType) -> int:
    """Bits of a type's values as signed numbers."""
    return number.width + (not number.signed)


def literal(codes: Sequence[int] | Array, width: int) -> str:
    """Codes as one constant, the first in the lowest bits."""
    return f"{len(codes) * width}'h{_hexadecimal(codes, width)}"


def memory(words: Iterable[Sequence[int] | Array], width: int) -> str:
    """Words of codes as ``$readmemh`` takes them, the first code of each in its lowest bits."""
    return "".join(f"{_hexadecimal(word, width)}\n" for word in words)


def _hexadecimal(codes: Sequence[int] | Array, width: int) -> str:
    mask = (1 << width) - 1
    bits = "".join(f"{int(code) & mask:0{width}b}" for code in reversed(codes))
    return f"{int(bits, 2):0{-(-len(bits) // 4)}x}"
