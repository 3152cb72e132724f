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
    """Energy of one inference, in microjoules: in all, by part, and by node that takes any."""

    total_uj: float
    mac_uj: float
    spike_uj: float
    sram_uj: float
    by_node_uj: Mapping[str, float]
    sram_accesses: int


def talon_energy(
    counts: Mapping[str, NodeCounts], steps: int, spikes: Mapping[str, float], preset: EnergyPreset
) -> Energy:
    """TALON's accounting of one inference of ``steps`` steps; ``spikes`` by node, over all steps."""
    macs = words = updates = 0
    spiked = 0.0
    access = preset.sram_read_pj + preset.sram_write_pj
    by_node = {}
    for name, node in counts.items():
        node_macs, node_words = node.weights * steps, (node.weight_bytes + 3) // 4
        node_updates = node.neurons * steps
        node_spikes = spikes.get(name, 0.0)
        own = node_macs * preset.mac_pj + node_spikes * preset.spike_pj
        own += node_words * preset.sram_read_pj + node_updates * access
        if own > 0:
            by_node[name] = own / 1e6
        macs, words, updates = macs + node_macs, words + node_words, updates + node_updates
        spiked += node_spikes
    # the sums are priced, not the prices summed: as the SDK does, so that both agree in every digit
    mac, spike = macs * preset.mac_pj, spiked * preset.spike_pj
    sram = (words + updates) * preset.sram_read_pj + updates * preset.sram_write_pj
    return Energy((mac + spike + sram) / 1e6, mac / 1e6, spike / 1e6, sram / 1e6, by_node, words + 2 * updates)


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
