"""What AMD's tools report of a design: texts to values.

The readers are pure. A value that a report does not hold, or that the tool could not tell (``undef``, ``NA``), is None;
a text that is no such report, or holds something else where a number belongs, is refused with a FormatError.

Where things stand in the reports follows hls4ml's own reader (``hls4ml.report.vivado_report``, hls4ml 1.3.0). That one
takes the columns of a table by place and hands on texts; this takes them by their headings.
"""

from __future__ import annotations

import decimal
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talon_lib.errors import FormatError

UTILISATION_FILE = "vivado_synth.rpt"
TIMING_FILE = "vivado_timing.rpt"
POWER_FILE = "vivado_power.rpt"
VSYNTH_FILES = (UTILISATION_FILE, TIMING_FILE, POWER_FILE)
"""What vsynth leaves in the project's folder."""

ROUTED_FILES = ("vivado_routed_utilisation.rpt", "vivado_routed_timing.rpt", "vivado_routed_power.rpt")
"""What bitfile leaves there: utilisation, timing and power after routing."""

_UNKNOWN = ("", "-", "?", "n/a", "na", "undef", "inf", "x")
_VERSION = re.compile(r"20\d\d\.\d(?:\.\d)?")


@dataclass(frozen=True)
class SynthReport:
    """All that the tools say of one design; None where the step did not run or the tool could not tell.

    tool, version: what made the design, ``vitis`` or ``vivado_hls``. Latencies and intervals are of one call of the top
    function, which is one step. lut to uram are Vitis HLS's estimates, vsynth_lut to vsynth_uram what Vivado counted
    after its synthesis, without place and route. bram18: block RAMs of 18 Kb (RAMB18), of which a tile holds two.
    wns_ns, whs_ns: worst slack of setup and hold at the clock's target; below 0 it misses the target. Power is
    Vivado's estimate at its default switching activity, after synthesis. routed_lut to routed_power_w are the same of
    the whole design for a board, its processor included, after place and route, at a clock of routed_clock_ns; bitfile:
    the name of its bitstream in the project's folder. cosim_equal: whether the cosimulated outputs are those of
    ``simulate``, over cosim_values of them; cosim_difference says where not.
    """

    tool: str
    version: str | None = None
    top: str | None = None
    part: str | None = None
    clock_target_ns: float | None = None
    clock_uncertainty_ns: float | None = None
    clock_estimated_ns: float | None = None
    latency_cycles_min: int | None = None
    latency_cycles_max: int | None = None
    interval_cycles_min: int | None = None
    interval_cycles_max: int | None = None
    lut: int | None = None
    ff: int | None = None
    dsp: int | None = None
    bram18: int | None = None
    uram: int | None = None
    cosim_status: str | None = None
    cosim_latency_cycles_min: int | None = None
    cosim_latency_cycles_avg: float | None = None
    cosim_latency_cycles_max: int | None = None
    cosim_interval_cycles_min: int | None = None
    cosim_interval_cycles_avg: float | None = None
    cosim_interval_cycles_max: int | None = None
    cosim_equal: bool | None = None
    cosim_values: int | None = None
    cosim_difference: str | None = None
    vsynth_version: str | None = None
    vsynth_lut: int | None = None
    vsynth_ff: int | None = None
    vsynth_dsp: int | None = None
    vsynth_bram18: int | None = None
    vsynth_uram: int | None = None
    wns_ns: float | None = None
    whs_ns: float | None = None
    power_w: float | None = None
    power_dynamic_w: float | None = None
    power_static_w: float | None = None
    power_confidence: str | None = None
    bitfile: str | None = None
    routed_version: str | None = None
    routed_lut: int | None = None
    routed_ff: int | None = None
    routed_dsp: int | None = None
    routed_bram18: int | None = None
    routed_uram: int | None = None
    routed_clock_ns: float | None = None
    routed_wns_ns: float | None = None
    routed_whs_ns: float | None = None
    routed_power_w: float | None = None

    @property
    def source(self) -> str:
        """The tool and its version, e.g. ``vitis-2024.1``; the key under which measurements are compared."""
        return f"{self.tool}-{self.version or 'unknown'}"

    @property
    def vsynth_source(self) -> str | None:
        """The same of Vivado; None where it did not run."""
        return None if self.vsynth_lut is None else f"vivado-{self.vsynth_version or 'unknown'}"


def read_csynth(text: str) -> dict[str, Any]:
    """Top, part, version, clocks, cycles and resources of a ``<top>_csynth.xml`` (``SynthReport``'s names)."""
    try:
        if "<!DOCTYPE" in text:  # AMD's have none, and entities can be made to grow without end
            raise ElementTree.ParseError("it has a DOCTYPE")
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise FormatError(f"csynth report: not whole XML ({error}); synthesise again") from None
    if root.tag != "profile":
        raise FormatError(f"csynth report: its root is <{root.tag}>, not <profile>")
    assigned, latency = "UserAssignments", "PerformanceEstimates/SummaryOfOverallLatency"

    def value(path: str) -> str | None:
        found = root.findtext(path)
        return None if found is None or found.strip().lower() in _UNKNOWN else found.strip()

    def whole(*paths: str) -> int | None:
        return _whole("csynth report", next((found for found in map(value, paths) if found), None))

    def real(path: str) -> float | None:
        return _real("csynth report", value(path))

    used = "AreaEstimates/Resources"
    return {
        "version": value("ReportVersion/Version"),
        "top": value(f"{assigned}/TopModelName"),
        "part": value(f"{assigned}/Part"),
        "clock_target_ns": real(f"{assigned}/TargetClockPeriod"),
        "clock_uncertainty_ns": real(f"{assigned}/ClockUncertainty"),
        "clock_estimated_ns": real("PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod"),
        "latency_cycles_min": whole(f"{latency}/Best-caseLatency"),
        "latency_cycles_max": whole(f"{latency}/Worst-caseLatency"),
        "interval_cycles_min": whole(f"{latency}/Interval-min"),
        "interval_cycles_max": whole(f"{latency}/Interval-max"),
        "lut": whole(f"{used}/LUT"),
        "ff": whole(f"{used}/FF"),
        "dsp": whole(f"{used}/DSP", f"{used}/DSP48E"),  # the latter in Vivado HLS
        "bram18": whole(f"{used}/BRAM_18K"),
        "uram": whole(f"{used}/URAM"),
    }


_COSIM = "cosim report"


def read_cosim(text: str) -> dict[str, Any]:
    """Status and cycles of a ``<top>_cosim.rpt``: of the language that ran, Verilog or VHDL."""
    rows = [row for row in _rows(text) if row[0] in ("Verilog", "VHDL")]
    if not rows:
        raise FormatError("cosim report: it has no row for Verilog or VHDL")
    names = [f"cosim_{what}_cycles_{end}" for what in ("latency", "interval") for end in ("min", "avg", "max")]
    for row in rows:
        if len(row) < 2 + len(names):
            raise FormatError(f"cosim report: the row of {row[0]} ends early; cosimulate again")
        if row[1].lower() not in _UNKNOWN:
            cells = dict(zip(names, row[2:], strict=False))  # a newer column, the whole time, may follow
            numbers = {name: (_real if name.endswith("avg") else _whole)(_COSIM, cell) for name, cell in cells.items()}
            return {"cosim_status": row[1], **numbers}
    return dict.fromkeys(["cosim_status", *names])


_SITES = {
    "slice luts": "vsynth_lut",  # 7 series
    "clb luts": "vsynth_lut",  # UltraScale
    "slice registers": "vsynth_ff",
    "clb registers": "vsynth_ff",
    "dsps": "vsynth_dsp",
    "block ram tile": "vsynth_bram18",
    "uram": "vsynth_uram",
}


def read_utilisation(text: str) -> dict[str, Any]:
    """Vivado's version and what ``report_utilization`` counts, tiles of block RAM as two RAMB18 each."""
    used: int | None = None
    found: dict[str, Any] = {"vsynth_version": _vivado_version(text), **dict.fromkeys(_SITES.values())}
    tables = 0
    for row in _rows(text):
        if row[0] == "Site Type":
            if "Used" not in row:
                raise FormatError("utilisation report: a table has no column 'Used'")
            used, tables = row.index("Used"), tables + 1
        elif row[0] in ("Ref Name", "Total"):  # tables of another kind, in which the same words stand
            used = None
        elif used is not None and (name := _SITES.get(row[0].rstrip("*").lower())) and found[name] is None:
            cell = row[used] if used < len(row) else ""
            if name == "vsynth_bram18":
                tiles = _real("utilisation report", cell)
                found[name] = None if tiles is None else round(2 * tiles)
            else:
                found[name] = _whole("utilisation report", cell)
    if not tables:
        raise FormatError("utilisation report: there is no table of site types; run vsynth again")
    return found


def read_timing(text: str) -> dict[str, Any]:
    """Worst slacks of a ``report_timing_summary``; None where nothing was constrained."""
    if "Design Timing Summary" not in text:
        raise FormatError("timing report: there is no Design Timing Summary; run vsynth again")
    found: dict[str, Any] = {"wns_ns": None, "whs_ns": None}
    lines = iter(text.partition("Design Timing Summary")[2].splitlines())
    for line in lines:
        heads = re.split(r"\s{2,}", line.strip())
        if heads[0] == "WNS(ns)":
            next(lines, "")  # a rule of dashes
            values = dict(zip(heads, next(lines, "").split(), strict=False))
            found = {
                "wns_ns": _real("timing report", values.get("WNS(ns)")),
                "whs_ns": _real("timing report", values.get("WHS(ns)")),
            }
            break
    return found


def read_clock(text: str) -> float | None:
    """The shortest period in the Clock Summary of a ``report_timing_summary``, in nanoseconds; None without clocks."""
    rows = re.findall(r"^\s*\S+\s+\{[^}\n]*\}\s+(\S+)", text.partition("Clock Summary")[2], re.MULTILINE)
    periods = (_real("timing report", row) for row in rows)
    return min((period for period in periods if period is not None), default=None)


def read_routed(utilisation: str, timing: str, power: str) -> dict[str, Any]:
    """What the three reports say of a routed design, under ``SynthReport``'s names."""
    used, slack = read_utilisation(utilisation), read_timing(timing)
    return {
        **{name.replace("vsynth_", "routed_"): value for name, value in used.items()},
        **{f"routed_{name}": value for name, value in slack.items()},
        "routed_clock_ns": read_clock(timing),
        "routed_power_w": read_power(power)["power_w"],
    }


def read_power(text: str) -> dict[str, Any]:
    """Watts of a ``report_power``: total on the chip, dynamic, static, and how far Vivado trusts them."""
    cells = {row[0]: row[1] for row in _rows(text) if len(row) > 1}
    if "Total On-Chip Power (W)" not in cells:
        raise FormatError("power report: there is no Total On-Chip Power; run vsynth again")

    def watts(name: str) -> float | None:
        words = cells.get(name, "").split()  # a remark may follow the number
        return _real("power report", words[0] if words else None)

    return {
        "power_w": watts("Total On-Chip Power (W)"),
        "power_dynamic_w": watts("Dynamic (W)"),
        "power_static_w": watts("Device Static (W)"),
        "power_confidence": cells.get("Confidence Level") or None,
    }


@dataclass(frozen=True)
class Layout:
    """Where an hls4ml project keeps things. folder: of the project; top: its top function; backend: hls4ml's name.

    part and clock_period_ns: those it is built for; empty and 0 where its project.tcl does not say them.
    """

    folder: Path
    top: str
    backend: str
    part: str = ""
    clock_period_ns: float = 0.0

    @classmethod
    def of(cls, folder: Path) -> Layout:
        """Of the project in ``folder``, by its project.tcl. Raises FormatError where it is none."""
        try:
            text = (folder / "project.tcl").read_text(errors="replace")
        except OSError:
            raise FormatError(f"{folder}: not an hls4ml project; talon-dse project writes one") from None
        settings = dict(re.findall(r'^set (\w+) "?([^"\n]*)"?$', text, re.M))
        if not re.fullmatch(r"[A-Za-z_]\w*", settings.get("project_name", "")):  # a part of paths
            raise FormatError(f"{folder / 'project.tcl'}: it sets no project_name; write the project again")
        try:
            period = float(settings.get("clock_period", 0))
        except ValueError:
            period = 0.0
        period = period if math.isfinite(period) and period > 0 else 0.0
        return cls(folder, settings["project_name"], settings.get("backend", "vitis"), settings.get("part", ""), period)

    @property
    def solution(self) -> Path:
        """The tool's own folder."""
        return self.folder / f"{self.top}_prj" / "solution1"

    @property
    def csynth(self) -> Path:
        """The report of synth."""
        return self.solution / "syn" / "report" / f"{self.top}_csynth.xml"

    @property
    def cosim(self) -> Path:
        """The report of cosim."""
        return self.solution / "sim" / "report" / f"{self.top}_cosim.rpt"

    @property
    def exported(self) -> tuple[Path, ...]:
        """The IP cores that export has packed."""
        return tuple(sorted((self.solution / "impl").rglob("*.zip")))

    @property
    def bitfile(self) -> Path:
        """The bitstream."""
        return self.folder / f"{self.top}.bit"

    @property
    def expected_outputs(self) -> Path:
        """What ``simulate`` gave for the stimuli of cosim."""
        return self.folder / "tb_data" / "tb_output_predictions.dat"

    @property
    def cosim_outputs(self) -> tuple[Path, ...]:
        """What cosim gave: hls4ml's testbench writes it under the folder that it is run in, which the tools choose."""
        name = "tb_data/rtl_cosim_results.log"
        return tuple(
            path for path in (self.folder / name, *sorted(self.solution.glob(f"sim/*/{name}"))) if path.exists()
        )


_TOOLS = {"vitis": "vitis", "vivado": "vivado_hls"}


def read_project(folder: Path) -> SynthReport | None:
    """What is reported in an hls4ml project; None where it was not synthesised. Raises FormatError with the file."""
    layout = Layout.of(folder)
    if not layout.csynth.exists():
        return None
    values: dict[str, Any] = {}
    for path, read in (
        (layout.csynth, read_csynth),
        (layout.cosim, read_cosim),
        (folder / UTILISATION_FILE, read_utilisation),
        (folder / TIMING_FILE, read_timing),
        (folder / POWER_FILE, read_power),
    ):
        if path.exists():
            try:
                values |= read(path.read_text(errors="replace"))
            except FormatError as error:
                raise FormatError(f"{path}: {error}") from None
    routed = [folder / name for name in ROUTED_FILES]
    if layout.bitfile.exists() and all(path.exists() for path in routed):
        try:
            values |= read_routed(*(path.read_text(errors="replace") for path in routed))
        except FormatError as error:
            raise FormatError(f"{routed[0].parent}: after routing: {error}") from None
        values["bitfile"] = layout.bitfile.name
    if layout.cosim.exists() and layout.expected_outputs.exists():
        values |= _cosim_outputs(layout)
    return SynthReport(tool=_TOOLS.get(layout.backend, layout.backend), **values)


def _cosim_outputs(layout: Layout) -> dict[str, Any]:
    outputs = layout.cosim_outputs
    if not outputs:
        return {}
    newest = max(outputs, key=lambda path: path.stat().st_mtime_ns)
    values, difference = compare_outputs(layout.expected_outputs.read_text(), newest.read_text(errors="replace"))
    return {"cosim_equal": difference is None, "cosim_values": values, "cosim_difference": difference}


_SIX = decimal.Context(prec=6, rounding=decimal.ROUND_HALF_UP)


def compare_outputs(expected: str, found: str) -> tuple[int, str | None]:
    """How many outputs were compared, and the first difference in words.

    expected: tb_output_predictions.dat, a line a step with all outputs. found: what the testbench printed, by C++'s
    streams, which round to 6 digits, ap_fixed's own away from zero in the middle; each output is a line of its own.
    """
    want, have = expected.split(), found.split()
    try:
        for index, (wanted, given) in enumerate(zip(want, have, strict=False)):
            if float(given) not in (float(wanted), float(_SIX.create_decimal(wanted)), float(f"{float(wanted):.6g}")):
                steps = [len(line.split()) for line in expected.splitlines()]
                call, place = divmod(index, steps[0])
                return index, f"call {call}, output {place}: {wanted} simulated, {given} cosimulated"
    except ValueError as error:
        raise FormatError(f"cosim outputs: {error}; cosimulate again") from None
    if len(want) != len(have):
        return min(len(want), len(have)), f"{len(have)} values were cosimulated, {len(want)} simulated"
    return len(want), None


def log_version(text: str) -> str | None:
    """The version in the banner that AMD's tools begin their output with."""
    for line in text.splitlines():
        if line.lstrip().startswith("******") and (found := _VERSION.search(line)):
            return found[0]
    return None


def version_in(text: str) -> str | None:
    """The first release of AMD's tools that is named, as in a path; None where there is none."""
    found = _VERSION.search(text)
    return found[0] if found else None


def _vivado_version(text: str) -> str | None:
    found = re.search(r"Tool Version\s*:\s*Vivado v\.?(\S+)", text)
    return found[1] if found else None


def _rows(text: str) -> Iterator[list[str]]:
    """The cells of every row of the tables in a text report, without the spaces around them."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().split("|")]
        if len(cells) > 2 and cells[0] == "" and cells[1]:
            yield cells[1:-1]


def _real(what: str, cell: str | None) -> float | None:
    if cell is None or cell.strip().lower() in _UNKNOWN:
        return None
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise FormatError(f"{what}: {cell[:40]!r} stands where a number belongs")
    return number


def _whole(what: str, cell: str | None) -> int | None:
    number = _real(what, cell)
    if number is not None and number != int(number):
        raise FormatError(f"{what}: {cell!r} stands where a whole number belongs")
    return None if number is None else int(number)
