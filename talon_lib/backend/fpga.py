"""Placeholder while the real one is being written."""

from talon_lib.backend.cpu import CPUBackend


class FPGABackend(CPUBackend):
    """Placeholder."""

    name = "fpga"
