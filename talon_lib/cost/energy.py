"""Energy after TALON's own accounting, and the presets that price it.

    E = MACs * mac_pj + spikes * spike_pj + reads * read_pj + writes * write_pj

MACs are the elements of the weight tensors times the steps (a convolution counts once, not once for each place of its
kernel, so that its figure is too low); SRAM reads are the weight bytes in words of four, once,
plus one read per neuron and step; writes one per neuron and step (TALON SDK, ``cpu.profile``). The formula charges a
MAC the same at every width: what precision changes in it are the words of weights and the spikes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from talon_lib.cost.counts import NodeCounts
from talon_lib.errors import ConfigError

DEFAULT_PRESET = "neuromorphic_int8"


@dataclass(frozen=True)
class EnergyPreset:
    """What operations cost on a device, in picojoules; source says where the figures are from."""

    name: str
    description: str
    source: str
    mac_pj: float
    spike_pj: float
    sram_read_pj: float
    sram_write_pj: float

    def __post_init__(self) -> None:
        for key in ("mac_pj", "spike_pj", "sram_read_pj", "sram_write_pj"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
                raise ConfigError(f"energy preset '{self.name}': {key} must be picojoules of 0 or more, not {value!r}")

    def having(self, **prices: float | None) -> EnergyPreset:
        """A copy in which the prices that are not None replace the preset's."""
        given: dict[str, Any] = {key: price for key, price in prices.items() if price is not None}
        return replace(self, **given)


@dataclass(frozen=True)
class Energy:
    """Energy of one inference, in microjoules: by part, and by node that takes any."""

    mac_uj: float
    spike_uj: float
    sram_uj: float
    by_node_uj: Mapping[str, float]
    sram_accesses: int

    @property
    def total_uj(self) -> float:
        """All parts."""
        return self.mac_uj + self.spike_uj + self.sram_uj


def talon_energy(
    counts: Mapping[str, NodeCounts], steps: int, spikes: Mapping[str, float], preset: EnergyPreset
) -> Energy:
    """TALON's accounting of one inference of ``steps`` steps; ``spikes`` by node, over all steps."""
    mac = spike = sram = 0.0
    accesses = 0
    by_node = {}
    for name, node in counts.items():
        words = (node.weight_bytes + 3) // 4
        updates = node.neurons * steps
        node_mac = node.weights * steps * preset.mac_pj
        node_spike = spikes.get(name, 0) * preset.spike_pj
        node_sram = words * preset.sram_read_pj + updates * (preset.sram_read_pj + preset.sram_write_pj)
        mac, spike, sram = mac + node_mac, spike + node_spike, sram + node_sram
        accesses += words + 2 * updates
        if node_mac + node_spike + node_sram > 0:
            by_node[name] = (node_mac + node_spike + node_sram) / 1e6
    return Energy(mac / 1e6, spike / 1e6, sram / 1e6, by_node, accesses)


@cache
def presets() -> Mapping[str, EnergyPreset]:
    """All presets by name, read from ``presets/*.yaml``."""
    import yaml  # `import talon_lib` needs numpy alone

    found = {}
    for file in resources.files("talon_lib.cost").joinpath("presets").iterdir():
        if file.name.endswith(".yaml"):
            name = file.name.removesuffix(".yaml")
            found[name] = _preset(name, yaml.safe_load(file.read_text()))
    order = ["45nm_cmos", "28nm_cmos", DEFAULT_PRESET, "zynq_us_plus", "zcu102", "zynq_7020"]  # as the tutorial prints
    return MappingProxyType(
        dict(sorted(found.items(), key=lambda item: (item[0] not in order, [*order, item[0]].index(item[0]))))
    )


def _preset(name: str, values: Any) -> EnergyPreset:
    keys = {field.name for field in fields(EnergyPreset)} - {"name"}
    if not isinstance(values, dict) or set(values) != keys:
        raise ConfigError(f"energy preset '{name}' must have exactly the keys {', '.join(sorted(keys))}")
    return EnergyPreset(name=name, **values)


def get_preset(name: str) -> EnergyPreset:
    """The preset of that name. Raises ConfigError with the names there are."""
    try:
        return presets()[name]
    except KeyError:
        raise ConfigError(f"unknown energy preset {name!r}; there are: {', '.join(presets())}") from None


def preset_dicts() -> Mapping[str, Mapping[str, Any]]:
    """The presets as read-only mappings of plain values, as the SDK's ``ENERGY_PRESETS`` has them."""
    return MappingProxyType({name: MappingProxyType(asdict(preset)) for name, preset in presets().items()})
