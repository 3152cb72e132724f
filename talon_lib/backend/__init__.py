"""The backends of the TALON SDK's tutorial: a registry of devices that validate, compile, simulate and profile."""

from __future__ import annotations

from typing import Any

from talon_lib.backend.base import (
    Backend,
    BackendCapabilities,
    BitstreamConfig,
    CompileConfig,
    HardwareDescriptor,
    NodeConfig,
    ProfileResult,
    SimulationResult,
    ValidationResult,
)
from talon_lib.backend.cpu import CPUBackend
from talon_lib.backend.fpga import FPGABackend
from talon_lib.errors import ConfigError

__all__ = [
    "ENERGY_PRESETS",
    "Backend",
    "BackendCapabilities",
    "BitstreamConfig",
    "CompileConfig",
    "HardwareDescriptor",
    "NodeConfig",
    "ProfileResult",
    "SimulationResult",
    "ValidationResult",
    "get_backend",
    "list_backends",
    "register_backend",
    "unregister_backend",
]

_BACKENDS: dict[str, Backend] = {}


def register_backend(backend: Backend) -> None:
    """Add a backend under its ``name``. Raises ConfigError where the name is taken."""
    if not isinstance(backend, Backend):
        raise ConfigError(f"a backend derives from talon_lib.backend.Backend; {type(backend).__name__} does not")
    if backend.name in _BACKENDS:
        raise ConfigError(f"there is a backend '{backend.name}' already; unregister_backend('{backend.name}') first")
    _BACKENDS[backend.name] = backend


def unregister_backend(name: str) -> Backend:
    """Take a backend out and return it. Raises ConfigError where there is none of that name."""
    backend = get_backend(name)
    del _BACKENDS[name]
    return backend


def get_backend(name: str) -> Backend:
    """The backend of that name. Raises ConfigError with the names there are."""
    try:
        return _BACKENDS[name]
    except KeyError:
        raise ConfigError(f"unknown backend {name!r}; there are: {', '.join(_BACKENDS)}") from None


def list_backends() -> list[str]:
    """The names of all backends."""
    return list(_BACKENDS)


def __getattr__(name: str) -> Any:
    if name == "ENERGY_PRESETS":  # read on first use: the files need a YAML reader, importing this package does not
        from talon_lib.cost.preset import preset_dicts

        return preset_dicts()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


register_backend(CPUBackend())
register_backend(FPGABackend())
