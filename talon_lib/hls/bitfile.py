"""A design around a synthesised network for a board with a Zynq: an AXI4-Lite wrapper, and Vivado's script.

hls4ml's Vitis backend makes none. The wrapper is made of the ports that Vitis HLS gave the network, as its Verilog says
them, so that nothing is guessed of their names and widths.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from talon_lib.errors import FormatError, UnsupportedError
from talon_lib.files import whole
from talon_lib.hls.boards import BOARDS
from talon_lib.hls.rendering import environment
from talon_lib.hls.reports import ROUTED_FILES, Layout

SCRIPT = "vivado_bitfile.tcl"
LOG = "bitfile.log"

PRESETS = {
    "zcu102": ("zcu102",),
    "zcu104": ("zcu104",),
    "zcu111": ("zcu111",),
    "ultra96": ("ultra96v1", "ultra96"),
    "pynq_z1": ("pynq-z1",),
    "pynq_z2": ("pynq-z2",),
}
"""Boards that carry a Zynq, and what their board files are called in Vivado."""

_PROCESSORS = {"xczu": ("zynq_ultra_ps_e", "M_AXI_HPM0_FPD"), "xc7z": ("processing_system7", "M_AXI_GP0")}
"""By the beginning of the part: the processor in block designs, and its port for masters."""

_CONTROL = {
    "ap_clk": False,
    "ap_rst": False,
    "ap_start": False,
    "ap_done": True,
    "ap_idle": True,
    "ap_ready": True,
}
_RESTART = "restart"
_VALID = "_ap_vld"
_WORD = 32
_FIRST_INPUT = 0x10
_SMALLEST = 12  # bits of an address: a block design gives no slave less than 4 KB

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Port:
    """A port of a Verilog module. bits: its width; output: whether it leaves the module."""

    name: str
    bits: int
    output: bool


@dataclass(frozen=True)
class Register:
    """Where a port of the network lies in the wrapper.

    address: in bytes, of the first of ``words`` registers of 32 bits. elements: values that are packed in the port
    without gaps, the first in the lowest bits. valid: the port that says when it counts; None where there is none.
    """

    name: str
    bits: int
    output: bool
    address: int = 0
    elements: int = 1
    valid: str | None = None

    @property
    def words(self) -> int:
        """Registers that it takes."""
        return -(-self.bits // _WORD)


@dataclass(frozen=True)
class Interface:
    """All registers of a network beside control and clocks; ``restart`` is a bit of control."""

    inputs: tuple[Register, ...]
    outputs: tuple[Register, ...]
    restart: Register | None

    @property
    def address_bits(self) -> int:
        """Bits of an address, in bytes."""
        last = self.outputs[-1]
        return max(_SMALLEST, (last.address + 4 * last.words - 1).bit_length())


def check(part: str, io_type: str = "io_parallel") -> None:
    """Raise UnsupportedError for a part that no known board with a Zynq carries, and for io_stream."""
    boards_of(part)
    if io_type == "io_stream":
        raise UnsupportedError(
            "bitfile: io_stream: the wrapper holds a step's values in registers, and a network of streams takes them "
            "one after the other; use io_parallel"
        )


def boards_of(part: str) -> tuple[str, ...]:
    """The boards with a Zynq that carry ``part``. Raises UnsupportedError where there is none."""
    found = tuple(name for name in PRESETS if BOARDS[name] == part.lower())
    if not found:
        raise UnsupportedError(
            f"bitfile: a bitstream needs vivado and a design around the network for a board with a Zynq, and {part} "
            f"is on none that is known; give one of {', '.join(PRESETS)} as part"
        )
    return found


def read_ports(verilog: str, module: str) -> tuple[Port, ...]:
    """The ports of ``module`` in a Verilog source, in its order. Raises FormatError for what is no such source."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", verilog, flags=re.DOTALL)
    body = re.search(rf"^\s*module\s+{re.escape(module)}\b(.*?)^\s*endmodule\b", text, re.DOTALL | re.MULTILINE)
    if body is None:
        raise FormatError(f"Verilog: there is no module {module}; synthesise again")
    ports = []
    for line in map(str.strip, body[1].splitlines()):
        if not re.match(r"(input|output|inout)\b", line):
            continue
        port = re.fullmatch(r"(input|output)(?:\s+(?:wire|reg))?\s*(?:\[\s*(\d+)\s*:\s*0\s*\])?\s*(\w+)\s*[;,]?", line)
        if port is None:
            raise FormatError(f"Verilog: the port {line[:80]!r} of {module} is of a kind that is not known")
        ports.append(Port(port[3], int(port[2] or 0) + 1, port[1] == "output"))
    return tuple(ports)


def interface(ports: Sequence[Port], arrays: Mapping[str, int] | None = None) -> Interface:
    """The registers of a network with these ports: inputs first, then outputs, in the order of the ports.

    arrays: by port the values that are packed in it; one where it is not named. Raises UnsupportedError for ports of
    streams, FormatError where the ports are not those of a network.
    """
    named = {port.name: port for port in ports}
    if stream := next((name for name in named if name.endswith(("_TDATA", "_TVALID", "_TREADY"))), None):
        raise UnsupportedError(f"bitfile: port {stream} is one of a stream; build the project with io_parallel")
    for name, output in _CONTROL.items():
        if named.get(name) != Port(name, 1, output):
            raise FormatError(f"bitfile: the network has no port {name} of one bit; hls4ml's ap_ctrl_hs is needed")
    found = []
    for port in ports:
        if port.name in _CONTROL or (port.name.endswith(_VALID) and port.name.removesuffix(_VALID) in named):
            continue
        count = (arrays or {}).get(port.name, 1)
        valid = port.name + _VALID if port.name + _VALID in named else None
        found.append(Register(port.name, port.bits, port.output, 0, 1 if port.bits % count else count, valid))
    restart = next((own for own in found if own.name == _RESTART and not own.output and own.bits == 1), None)
    address, placed = _FIRST_INPUT, []
    for own in sorted((own for own in found if own is not restart), key=lambda own: own.output):
        placed.append(replace(own, address=address))
        address += 4 * own.words
    inputs, outputs = (tuple(own for own in placed if own.output == output) for output in (False, True))
    if not inputs or not outputs:
        raise FormatError(f"bitfile: the network has no {'outputs' if inputs else 'inputs'}; synthesise again")
    return Interface(inputs, outputs, restart)


def wrapper(top: str, found: Interface) -> str:
    """The Verilog of ``<top>_axi``: network ``top`` as a slave of AXI4-Lite, one step at a time."""
    return _render(
        "axi_wrapper.v.j2",
        top=top,
        inputs=found.inputs,
        outputs=found.outputs,
        restart=found.restart,
        address_bits=found.address_bits,
        first_input=_FIRST_INPUT // 4,
        input_words=sum(own.words for own in found.inputs),
        output_words=sum(own.words for own in found.outputs),
    )


def registers(top: str, found: Interface) -> dict[str, Any]:
    """The register map as plain data; addresses in bytes, from where the .hwh puts the wrapper."""

    def described(own: Register) -> dict[str, Any]:
        return {
            "name": own.name,
            "address": own.address,
            "words": own.words,
            "elements": own.elements,
            "element_bits": own.bits // own.elements,
        }

    return {
        "format": "talon-dse registers 1",
        "top": top,
        "word_bits": _WORD,
        "control": {
            "address": 0,
            "written": {"start": 0, **({"restart": 1} if found.restart else {})},
            "read": {"busy": 0, **({"restart": 1} if found.restart else {}), "done": 2},
        },
        "clocks": {"address": 4},
        "inputs": [described(own) for own in found.inputs],
        "outputs": [described(own) for own in found.outputs],
    }


def script(top: str, part: str, clock_period_ns: float, sources: Sequence[str]) -> str:
    """The Tcl for ``vivado -mode batch``, to be run in the project's folder; it makes ``<top>.bit`` and reports.

    sources: Verilog and memories, relative to that folder. The processor is asked for the clock, and gives the nearest
    that it can make. Raises UnsupportedError for a part of no known board.
    """
    boards = boards_of(part)
    processor, master = _PROCESSORS[part[:4].lower()]
    return _render(
        "vivado_bitfile.tcl.j2",
        top=top,
        part=part,
        boards=boards,
        presets=[preset for board in boards for preset in PRESETS[board]],
        processor=processor,
        master=master,
        mhz=f"{1000 / clock_period_ns:.6g}",
        sources=sources,
        reports=ROUTED_FILES,
    )


def check_project(layout: Layout) -> None:
    """Raise UnsupportedError where no bitstream can be made of a project, synthesised or not."""
    header = layout.folder / "firmware" / f"{layout.top}.h"
    streams = header.is_file() and "hls::stream<" in header.read_text(errors="replace")
    check(layout.part, "io_stream" if streams else "io_parallel")
    if not layout.clock_period_ns:
        raise FormatError(f"{layout.folder / 'project.tcl'}: it sets no clock_period; write the project again")


def write(layout: Layout) -> None:
    """Write the wrapper, the register map and the script into the folder of a synthesised project.

    Raises FormatError, with the file, for Verilog that is not there or is not understood, and UnsupportedError.
    """
    check_project(layout)
    folder, top = layout.folder, layout.top
    verilog = layout.solution / "syn" / "verilog"
    source, header = verilog / f"{top}.v", folder / "firmware" / f"{top}.h"
    try:
        found = read_ports(source.read_text(errors="replace"), top)
    except OSError:
        raise FormatError(
            f"{source}: bitfile needs the Verilog of synth, which is not there; synthesise again"
        ) from None
    except FormatError as error:
        raise FormatError(f"{source}: {error}") from None
    arrays = {}
    if header.is_file():  # as in: input_t x[4]
        arrays = {name: int(size) for name, size in re.findall(r"\b(\w+)\[(\d+)\]", header.read_text()) if int(size)}
    known = interface(found, arrays)
    used = sorted(path for path in verilog.iterdir() if path.suffix in (".v", ".sv", ".dat", ".mem"))
    sources = [path.relative_to(folder).as_posix() for path in used]
    texts = {
        f"{top}_axi.v": wrapper(top, known),
        f"{top}_registers.json": json.dumps(registers(top, known), indent=1) + "\n",
        SCRIPT: script(top, layout.part, layout.clock_period_ns, [*sources, f"{top}_axi.v"]),
    }
    for name, text in texts.items():
        with whole(folder / name) as partial:
            partial.write_text(text)


def _render(template: str, **values: Any) -> str:
    text: str = environment(_TEMPLATES).get_template(template).render(**values)
    return text
