"""Energy presets: what operations cost on a device, as data.

Every preset has the four prices of TALON's accounting (``cost.energy``). One may say more: ``operations`` prices
arithmetic and memory by their widths, ``events`` what a neuromorphic chip takes for each kind of event. docs/energy.md
has the equations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from talon_lib.errors import ConfigError
from talon_lib.files import parse_yaml

DEFAULT_PRESET = "neuromorphic_int8"

TUTORIAL = ("45nm_cmos", "28nm_cmos", DEFAULT_PRESET, "zynq_us_plus", "zcu102", "zynq_7020")
"""The presets of the SDK's tutorial, in its order."""

TALON_PRICES = ("mac_pj", "spike_pj", "sram_read_pj", "sram_write_pj")

WORD_BITS = 32
"""What an SRAM access of TALON's accounting reads or writes."""


@dataclass(frozen=True)
class SramPrices:
    """What a memory takes for one access of ``word_bits``, by its capacity in bytes, in picojoules.

    Between two capacities the energy is on the line through both, below the least on the line to 0 (Lemaire et al.
    2022), and above the greatest it follows the last line. An access of other than a word takes its share.
    """

    word_bits: int
    read_pj: Mapping[int, float]
    write_pj: Mapping[int, float]

    def read(self, bits: float, capacity_bits: float) -> float:
        """Picojoules to read ``bits`` from a memory of that capacity."""
        return bits / self.word_bits * _on_lines(self.read_pj, capacity_bits / 8)

    def write(self, bits: float, capacity_bits: float) -> float:
        """Picojoules to write ``bits`` to a memory of that capacity."""
        return bits / self.word_bits * _on_lines(self.write_pj, capacity_bits / 8)


def _on_lines(points: Mapping[int, float], at: float) -> float:
    """The value at ``at`` of the line through the origin and the points, the last piece continued."""
    known = [(0.0, 0.0), *((float(x), float(y)) for x, y in sorted(points.items()))]
    for (x0, y0), (x1, y1) in itertools.pairwise(known):
        if at <= x1 or x1 == known[-1][0]:
            return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
    raise AssertionError("there is always a last piece")


@dataclass(frozen=True)
class OperationPrices:
    """Prices that know widths, in picojoules.

    int_add_pj, int_multiply_pj: at two widths each. The energy of an addition is on the line through both; that of a
    multiplication of a by b bits is ``p a b + q (a + b) / 2`` through both (docs/energy.md).
    """

    int_add_pj: Mapping[int, float]
    int_multiply_pj: Mapping[int, float]
    fp16_add_pj: float
    fp16_multiply_pj: float
    fp32_add_pj: float
    fp32_multiply_pj: float
    sram: SramPrices

    def add(self, bits: int, floating: bool = False) -> float:
        """One addition, subtraction or comparison of that width."""
        if floating:
            return self.fp16_add_pj if bits <= 16 else self.fp32_add_pj
        (a, low), (b, high) = sorted(self.int_add_pj.items())
        return low + (high - low) * (bits - a) / (b - a)

    def multiply(self, left: int, right: int, floating: bool = False) -> float:
        """One multiplication of factors of those widths."""
        if floating:
            return self.fp16_multiply_pj if max(left, right) <= 16 else self.fp32_multiply_pj
        p, q = _multiplier(self.int_multiply_pj)
        return p * (left * right) + q * (left + right) / 2

    def accumulate(self, bits: int, floating: bool = False) -> float:
        """What a spike takes at one synapse: an addition to an accumulator of that width."""
        return self.add(bits, floating)

    def multiply_accumulate(self, left: int, right: int, bits: int, floating: bool = False) -> float:
        """What a value takes at one synapse: a multiplication, and an addition to an accumulator of ``bits``."""
        return self.multiply(left, right, floating) + self.add(bits, floating)

    def read(self, bits: float, capacity_bits: float) -> float:
        """Reading ``bits`` from a memory of that capacity."""
        return self.sram.read(bits, capacity_bits)

    def write(self, bits: float, capacity_bits: float) -> float:
        """Writing ``bits`` to a memory of that capacity."""
        return self.sram.write(bits, capacity_bits)


def _multiplier(points: Mapping[int, float]) -> tuple[float, float]:
    """The p and q of ``p b^2 + q b`` through two points (width, energy)."""
    (a, low), (b, high) = sorted(points.items())
    p = (high / b - low / a) / (b - a)
    return p, low / a - p * a


@dataclass(frozen=True)
class FlatPrices:
    """The four prices of TALON's accounting, which know no width of an operation; a memory access is 32 bits.

    A MAC is at mac_pj and an AC at spike_pj, as the papers have it that count 4.6 and 0.9 pJ; a multiplication of a
    neuron's is a MAC, its addition an AC.
    """

    mac_pj: float
    spike_pj: float
    sram_read_pj: float
    sram_write_pj: float

    def add(self, bits: int, floating: bool = False) -> float:
        """One addition."""
        return self.spike_pj

    def multiply(self, left: int, right: int, floating: bool = False) -> float:
        """One multiplication."""
        return self.mac_pj

    def accumulate(self, bits: int, floating: bool = False) -> float:
        """What a spike takes at one synapse."""
        return self.spike_pj

    def multiply_accumulate(self, left: int, right: int, bits: int, floating: bool = False) -> float:
        """What a value takes at one synapse."""
        return self.mac_pj

    def read(self, bits: float, capacity_bits: float) -> float:
        """Reading ``bits``."""
        return bits / WORD_BITS * self.sram_read_pj

    def write(self, bits: float, capacity_bits: float) -> float:
        """Writing ``bits``."""
        return bits / WORD_BITS * self.sram_write_pj


@dataclass(frozen=True)
class EventPrices:
    """What a neuromorphic chip takes for one event of each kind, in picojoules; memory and widths are inside of them.

    synapse_*: one synapse that an event reaches, by how its weights are stored. neuron_access: one neuron and step.
    neuron_update: the same where input arrives, on top. spike: one that a neuron emits, on top. message: one event that
    goes to one layer. hop: one router that a message passes, ``hops`` of which are taken for every message.
    """

    synapse_dense_pj: float
    synapse_sparse_pj: float
    synapse_conv_pj: float
    neuron_access_pj: float
    neuron_update_pj: float
    spike_pj: float
    message_pj: float
    hop_pj: float
    hops: float


@dataclass(frozen=True)
class EnergyPreset:
    """What operations cost on a device, in picojoules; source says where the figures are from.

    static_mw: power that is drawn all the time, in milliwatts; None where no figure is known.
    """

    name: str
    description: str
    source: str
    mac_pj: float
    spike_pj: float
    sram_read_pj: float
    sram_write_pj: float
    operations: OperationPrices | None = None
    events: EventPrices | None = None
    static_mw: float | None = None

    def __post_init__(self) -> None:
        for key in TALON_PRICES:
            _number(self.name, key, getattr(self, key), "picojoules")
        if self.static_mw is not None:
            _number(self.name, "static_mw", self.static_mw, "milliwatts")
        if self.operations is not None and self.events is not None:
            raise ConfigError(f"energy preset '{self.name}': give operations or events, not both")

    @property
    def prices(self) -> OperationPrices | FlatPrices:
        """What arithmetic and memory cost, by width where the preset knows widths."""
        return self.operations or FlatPrices(self.mac_pj, self.spike_pj, self.sram_read_pj, self.sram_write_pj)

    @property
    def basis(self) -> str:
        """What the event-driven accounting makes of it, in words."""
        if self.events is not None:
            return "a price for each kind of event, whatever the width"
        if self.operations is not None:
            return "prices by width"
        return "one price at every width of an operation, memory by bits"

    def basis_at(self, latency_us: float | None) -> str:
        """The same, and whether static power is left out since no latency is known that it is drawn for."""
        known = self.static_mw is None or latency_us is not None
        return self.basis if known else f"{self.basis}; static power left out: no latency is known"

    def having(self, **prices: float | None) -> EnergyPreset:
        """A copy in which the prices that are not None replace the preset's."""
        given: dict[str, Any] = {key: price for key, price in prices.items() if price is not None}
        return replace(self, **given)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, which :func:`parse_preset` takes; what the preset does not know is left out."""
        return {key: value for key, value in asdict(self).items() if key != "name" and value is not None}


def parse_preset(name: str, values: Any) -> EnergyPreset:
    """A preset from plain data. Raises ConfigError: one line with the key and what is right there."""
    given = _keys(name, "", values, EnergyPreset, {"name"}, {"operations", "events", "static_mw"})
    for key in ("description", "source"):
        if not isinstance(given[key], str):
            raise ConfigError(f"energy preset '{name}': {key} must be text, not {given[key]!r}")
    if given.get("operations") is not None:
        given["operations"] = _operations(name, given["operations"])
    if given.get("events") is not None:
        own = _keys(name, "events", given["events"], EventPrices)
        for key, value in own.items():
            _number(name, f"events.{key}", value, "hops" if key == "hops" else "picojoules")
        given["events"] = EventPrices(**own)
    return EnergyPreset(name=name, **given)


def _operations(name: str, values: Any) -> OperationPrices:
    own = _keys(name, "operations", values, OperationPrices)
    for key in ("int_add_pj", "int_multiply_pj"):
        own[key] = _rising(name, f"operations.{key}", own[key], "bits", 2)
    for key in ("fp16_add_pj", "fp16_multiply_pj", "fp32_add_pj", "fp32_multiply_pj"):
        _number(name, f"operations.{key}", own[key], "picojoules")
    (a, low), (b, high) = own["int_add_pj"].items()
    p, q = _multiplier(own["int_multiply_pj"])
    if low - (high - low) * (a - 1) / (b - a) < 0 or p < 0 or p + q < 0:
        raise ConfigError(
            f"energy preset '{name}': operations: between these widths the prices change so that 1 bit has a price "
            "below 0; check int_add_pj and int_multiply_pj"
        )
    sram = _keys(name, "operations.sram", own["sram"], SramPrices)
    bits = sram["word_bits"]
    if isinstance(bits, bool) or not isinstance(bits, int) or bits < 1:
        raise ConfigError(f"energy preset '{name}': operations.sram.word_bits must be 1 or more, not {bits!r}")
    for key in ("read_pj", "write_pj"):
        sram[key] = _rising(name, f"operations.sram.{key}", sram[key], "bytes", None)
    return OperationPrices(**{**own, "sram": SramPrices(**sram)})


def _keys(
    name: str, where: str, values: Any, cls: type[Any], without: frozenset[str] | set[str] = frozenset(),
    optional: frozenset[str] | set[str] = frozenset(),
) -> dict[str, Any]:  # fmt: skip
    """``values``, which must have the fields of ``cls`` as its keys."""
    known = {field.name for field in fields(cls)} - without
    needed = sorted(known - optional)
    if isinstance(values, Mapping) and set(needed) <= set(values) <= known:
        return dict(values)
    place = f": {where}" if where else ""
    message = f"energy preset '{name}'{place} must have exactly the keys {', '.join(needed)}"
    message += f" (and may have {', '.join(sorted(optional))})" if optional else ""
    if isinstance(values, Mapping):
        wrong = {"unknown": [str(key) for key in values if key not in known], "missing": set(needed) - set(values)}
        message += "".join(f"; {what}: {', '.join(sorted(keys))}" for what, keys in wrong.items() if keys)
    raise ConfigError(message)


def _number(name: str, key: str, value: Any, unit: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ConfigError(f"energy preset '{name}': {key} must be {unit} of 0 or more, not {value!r}")


def _rising(name: str, key: str, values: Any, of: str, count: int | None) -> dict[int, float]:
    """A mapping from whole numbers to prices that do not fall, in rising order; keys may be text, as in JSON."""
    many, such = ("two", "{8: 0.03, 32: 0.1}") if count == 2 else ("one or more", "{8192: 10.0, 32768: 20.0}")
    wanted = f"energy preset '{name}': {key} must be {many} prices by {of}, e.g. {such}, not {values!r}"
    if not isinstance(values, Mapping) or not values or (count is not None and len(values) != count):
        raise ConfigError(wanted)
    found: dict[int, float] = {}
    for at, price in values.items():
        try:
            if isinstance(at, (bool, float)) or int(at) < 1:
                raise ValueError
        except (TypeError, ValueError):
            raise ConfigError(wanted) from None
        _number(name, f"{key}.{at}", price, "picojoules")
        found[int(at)] = price
    found = dict(sorted(found.items()))
    if len(found) != len(values) or any(b < a for a, b in itertools.pairwise(found.values())):
        raise ConfigError(f"energy preset '{name}': {key}: what is larger must not cost less: {values!r}")
    return found


@cache
def presets() -> Mapping[str, EnergyPreset]:
    """All presets by name, read from ``presets/*.yaml``: those of the tutorial first."""
    found = {}
    for file in resources.files("talon_lib.cost").joinpath("presets").iterdir():
        if file.name.endswith(".yaml"):
            name = file.name.removesuffix(".yaml")
            found[name] = parse_preset(name, parse_yaml(file.read_text(), file.name))

    def place(name: str) -> tuple[bool, int, str]:
        return name not in TUTORIAL, TUTORIAL.index(name) if name in TUTORIAL else 0, name

    return MappingProxyType({name: found[name] for name in sorted(found, key=place)})


def is_file(name: str) -> bool:
    """Whether the name of a preset is the path of a file."""
    return name.endswith((".yaml", ".yml"))


def preset_name(given: str) -> str:
    """What a preset is called that is given by name or by file."""
    return Path(given).stem if is_file(given) else given


def get_preset(name: str) -> EnergyPreset:
    """The preset of that name, or in that YAML file. Raises ConfigError with the names there are."""
    if is_file(name):
        return load_preset(Path(name))
    try:
        return presets()[name]
    except KeyError:
        raise ConfigError(
            f"unknown energy preset {name!r}; there are: {', '.join(presets())}; or give the path of a .yaml file"
        ) from None


def load_preset(path: Path) -> EnergyPreset:
    """Read a preset of one's own; it is named after its file. Raises ConfigError."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigError(f"energy preset {path}: {reason}") from None
    if path.stem in presets():
        raise ConfigError(f"energy preset {path}: '{path.stem}' is a preset of talon-dse; rename the file")
    return parse_preset(preset_name(str(path)), parse_yaml(text, str(path)))


def preset_dicts() -> Mapping[str, Mapping[str, Any]]:
    """The tutorial's presets as read-only mappings of plain values, as the SDK's ``ENERGY_PRESETS`` has them."""
    keys = ("name", "description", "source", *TALON_PRICES)
    return MappingProxyType(
        {name: MappingProxyType({key: getattr(presets()[name], key) for key in keys}) for name in TUTORIAL}
    )
