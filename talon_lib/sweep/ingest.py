"""Projects that another machine has synthesised, as rows: one for each design and tool.

A design that Vitis HLS and Vivado have both worked on is two rows, so that the figures of one tool are never taken for
those of the other. The columns of measurements and estimates are those that ``talon-dse calibrate`` reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from talon_lib.cost.calibration import ESTIMATES, SOURCE_COLUMN
from talon_lib.errors import ConfigError, FormatError
from talon_lib.files import whole
from talon_lib.hls import vitis
from talon_lib.hls.record import FILE, read_record
from talon_lib.hls.reports import SynthReport, log_version, read_project

_LOGS = (vitis.LOG, "vitis_hls.log", "vivado_hls.log")
"""Ours, and those that the tools write themselves."""


def _field(name: str, kind: pa.DataType, description: str, unit: str = "", nullable: bool = True) -> pa.Field:
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


_DESIGN = ("fingerprint", "precision", "reuse_factor", "strategy", "io_type", "part", "clock_period_ns", "hls4ml")

SCHEMA = pa.schema(
    [
        _field("project", pa.string(), "the project's folder, relative to what was ingested", nullable=False),
        _field("status", pa.string(), "ok or failed", nullable=False),
        _field("reason", pa.string(), "where the status is not ok: why, in one line"),
        _field(SOURCE_COLUMN, pa.string(), "tool and version whose measurements the row holds"),
        _field("fingerprint", pa.string(), "hash of the network; null where the project has no design.json"),
        _field("precision", pa.string(), "number types; see talon_lib.precision"),
        _field("reuse_factor", pa.int64(), "reuse factor asked of hls4ml"),
        _field("strategy", pa.string(), "strategy of hls4ml"),
        _field("io_type", pa.string(), "io type of hls4ml"),
        _field("part", pa.string(), "AMD part"),
        _field("clock_period_ns", pa.float64(), "target period of the clock", "ns"),
        _field("hls4ml", pa.string(), "version of hls4ml"),
        _field("lut", pa.int64(), "LUTs"),
        _field("ff", pa.int64(), "flip-flops"),
        _field("dsp", pa.int64(), "DSP slices"),
        _field("bram", pa.int64(), "block RAMs of 18 Kb (RAMB18)"),
        _field("uram", pa.int64(), "UltraRAMs"),
        _field("latency_cycles", pa.int64(), "cycles of one step: cosimulated, else Vitis HLS's bound", "cycles"),
        _field("interval_cycles", pa.int64(), "cycles from one step to the next, from the same", "cycles"),
        _field("cycles_source", pa.string(), "cosim or csynth: what the cycles are from"),
        _field("clock_estimated_ns", pa.float64(), "Vitis HLS's estimate of the period", "ns"),
        _field("wns_ns", pa.float64(), "worst slack of setup after Vivado's synthesis", "ns"),
        _field("power_w", pa.float64(), "Vivado's estimate of all power, at its default activity", "W"),
        _field("cosim_equal", pa.bool_(), "whether the cosimulated outputs are those of simulate"),
        _field("cosim_values", pa.int64(), "outputs that were compared"),
        *(_field(name, pa.int64(), "analytic estimate, as in a sweep's table") for name in ESTIMATES.values()),
    ],
    metadata={"format": "talon-dse measurements", "format_version": "1"},
)


def ingest(folder: Path) -> pa.Table:
    """Rows of all hls4ml projects in ``folder``, itself included, in the order of their names.

    A project that was not synthesised, or whose reports cannot be read, is a row with the reason. Raises ConfigError
    where there is no project at all.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: there is no such folder")
    projects = sorted(path.parent for path in folder.rglob("project.tcl") if (path.parent / "build_prj.tcl").is_file())
    if not projects:
        raise ConfigError(f"{folder}: there is no hls4ml project in it; talon-dse project writes one")
    rows = [row for project in projects for row in _rows(project, project.relative_to(folder).as_posix())]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write(table: pa.Table, path: Path) -> None:
    """Write the rows whole or not at all, as Parquet or JSON by the suffix. Raises ConfigError for another one."""
    if path.suffix not in (".parquet", ".json"):
        raise ConfigError(f"{path}: must end in .parquet or .json")
    with whole(path) as partial:
        if path.suffix == ".parquet":
            pq.write_table(table, partial, compression="zstd")
        else:
            partial.write_text(json.dumps(table.to_pylist(), indent=1) + "\n")


def lines(table: pa.Table) -> list[tuple[str, ...]]:
    """The rows as text, for people."""
    names = ("project", SOURCE_COLUMN, "lut", "ff", "dsp", "bram", "latency_cycles", "status", "reason")
    rows: Sequence[dict[str, Any]] = table.to_pylist()
    return [names, *(tuple("-" if row[name] is None else str(row[name]) for name in names) for row in rows)]


def _rows(project: Path, name: str) -> Iterator[dict[str, Any]]:
    row: dict[str, Any] = {"project": name, "status": "ok"}
    log = next((path.read_text(errors="replace") for path in (project / own for own in _LOGS) if path.exists()), None)
    try:
        record = read_record(project)
        if record is not None:
            row |= _design(record)
        report = read_project(project)
    except FormatError as error:
        reason = str(error).replace(f"{project}/", "")  # the table holds no paths of a machine
        yield row | {"status": "failed", "reason": reason}
        return
    if report is None:
        reason = "it was not synthesised" if log is None else vitis.failure(log)
        yield row | {"status": "failed", "reason": reason}
        return
    if report.version is None and log is not None:
        report = replace(report, version=log_version(log))
    row |= _shared(report)
    resources = {"lut": report.lut, "ff": report.ff, "dsp": report.dsp, "bram": report.bram18, "uram": report.uram}
    clock = {"clock_estimated_ns": report.clock_estimated_ns}
    yield row | {SOURCE_COLUMN: report.source} | resources | clock
    if report.vsynth_source is not None:
        yield (
            row
            | {SOURCE_COLUMN: report.vsynth_source, "wns_ns": report.wns_ns, "power_w": report.power_w}
            | {"lut": report.vsynth_lut, "ff": report.vsynth_ff, "dsp": report.vsynth_dsp}
            | {"bram": report.vsynth_bram18, "uram": report.vsynth_uram}
        )


def _design(record: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a project's record. Raises FormatError where they hold something else than they should."""
    found = {name: record.get(name) for name in _DESIGN}
    found |= {name: record["estimates"].get(name) for name in ESTIMATES.values()}
    try:
        for name, value in found.items():
            pa.array([value], SCHEMA.field(name).type)
    except (pa.ArrowException, TypeError):
        raise FormatError(f"{FILE}: {name} is {str(value)[:40]!r}; write the project again") from None
    return found


def _shared(report: SynthReport) -> dict[str, Any]:
    """What does not depend on who counted the resources."""
    simulated = report.cosim_latency_cycles_max is not None
    found: dict[str, Any] = {
        "latency_cycles": report.cosim_latency_cycles_max if simulated else report.latency_cycles_max,
        "interval_cycles": report.cosim_interval_cycles_max if simulated else report.interval_cycles_max,
        "cycles_source": "cosim" if simulated else "csynth",
        "cosim_equal": report.cosim_equal,
        "cosim_values": report.cosim_values,
    }
    if report.cosim_equal is False:
        found |= {"status": "failed", "reason": f"cosim differs from simulation at {report.cosim_difference}"}
    return found
