"""What AMD devices hold, from ``devices/*.yaml``, and whether a design fits into one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from talon_lib.cost.resources import DSP_FACTORS, Usage
from talon_lib.errors import ConfigError
from talon_lib.files import parse_yaml

RESOURCES = ("lut", "ff", "dsp", "bram")
"""What a design is measured by; no UltraRAM, which an UltraScale+ bitstream cannot fill with weights (UG573)."""


@dataclass(frozen=True)
class Device:
    """A device: how much it has of each resource. bram36: block RAMs of 36 Kb, two RAMB18 each. uram: of 288 Kb."""

    name: str
    lut: int
    ff: int
    dsp: int
    bram36: int
    uram: int
    dsp_slice: str
    source: str

    def __post_init__(self) -> None:
        for key in ("lut", "ff", "dsp", "bram36", "uram"):
            value = getattr(self, key)
            least = 0 if key == "uram" else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(
                    f"device '{self.name}': {key} must be a whole number of {least} or more, not {value!r}"
                )
        if self.dsp_slice not in DSP_FACTORS:
            raise ConfigError(
                f"device '{self.name}': dsp_slice must be one of {', '.join(DSP_FACTORS)}, not {self.dsp_slice!r}"
            )

    def available(self, resource: str) -> int:
        """How much there is of one of RESOURCES, in the units of ``resources.Usage``."""
        return self.bram36 * 2 if resource == "bram" else int(getattr(self, resource))


@dataclass(frozen=True)
class Fit:
    """How much of a device a design takes. utilisation: share by resource, 1 where all is used."""

    device: Device
    utilisation: Mapping[str, float]

    @property
    def fits(self) -> bool:
        """Whether there is enough of everything. A design near to 1 may fail to be placed all the same."""
        return all(share <= 1 for share in self.utilisation.values())

    @property
    def limiting(self) -> str:
        """The resource that is used up first."""
        return max(self.utilisation, key=lambda resource: self.utilisation[resource])


def fit(usage: Usage, device: Device) -> Fit:
    """Compare what a design takes with what a device has."""
    return Fit(device, {name: getattr(usage, name) / device.available(name) for name in RESOURCES})


@cache
def devices() -> Mapping[str, Device]:
    """All devices by name."""
    found: dict[str, Device] = {}
    for file in sorted(resources.files("talon_lib.cost").joinpath("devices").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            for device in read(file.name, parse_yaml(file.read_text(), file.name)):
                if device.name in found:
                    raise ConfigError(f"{file.name}: device '{device.name}' is there twice")
                found[device.name] = device
    return MappingProxyType(found)


_FILE = {"source", "dsp_slice", "devices"}
_ENTRY = {"names", "lut", "ff", "dsp", "bram36", "uram"}


def read(file: str, values: Any) -> list[Device]:
    """The devices in the content of a file. Raises ConfigError for anything but exactly the keys."""
    if not isinstance(values, dict) or set(values) != _FILE or not isinstance(values["devices"], list):
        raise ConfigError(f"{file}: must have exactly the keys {', '.join(sorted(_FILE))}, with a list of devices")
    made = []
    for entry in values["devices"]:
        if not isinstance(entry, dict) or set(entry) != _ENTRY or not isinstance(entry["names"], list):
            raise ConfigError(f"{file}: each device must have exactly the keys {', '.join(sorted(_ENTRY))}")
        numbers = {key: entry[key] for key in _ENTRY - {"names"}}
        made += [
            Device(str(n), **numbers, dsp_slice=values["dsp_slice"], source=values["source"]) for n in entry["names"]
        ]
    return made


def device_of(part: str) -> Device | None:
    """The device that an AMD part is (a part's name begins with its device's); None where the table lacks it."""
    known = [name for name in devices() if part.lower().startswith(name)]
    return devices()[max(known, key=len)] if known else None


def dsp_slice_of(part: str) -> str:
    """The kind of DSP slice in a part; of one that is not in the table, by the family that its name begins with."""
    device = device_of(part)
    if device is not None:
        return device.dsp_slice
    if part.lower().startswith("xc7"):
        return "DSP48E1"
    versal = ("xcvc", "xcve", "xcvh", "xcvm", "xcvp", "xcvr")
    return "DSP58" if part.lower().startswith(versal) else "DSP48E2"
