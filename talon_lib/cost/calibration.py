"""How far estimates are off, learnt from designs that a tool has synthesised.

A metric's measurements are taken for its estimates times one factor, the scale; it is the median of measurement /
estimate, so that a few designs that are far off move it little. What remains is the error; its quantiles are the
interval that later estimates carry. The interval holds for designs like those of the table, and for the tool that
measured them. Estimates are of one flow, hls4ml's mapping or the open RTL, and so is what is learnt of their error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talon_lib.cost.estimate import FLOWS
from talon_lib.errors import ConfigError, FormatError
from talon_lib.files import whole

if TYPE_CHECKING:
    import pandas as pd

ESTIMATES = {
    "lut": "lut_estimate",
    "ff": "ff_estimate",
    "dsp": "dsp_estimate",
    "bram": "bram_estimate",
    "latency_cycles": "cycles_per_step",
}
"""The column of measurements of each metric, and the one of its estimates. bram: in RAMB18. latency_cycles: of a step,
which is one call of the hardware's top function."""

METRICS = tuple(ESTIMATES)

SOURCE_COLUMN = "measurement_source"


@dataclass(frozen=True)
class Measured:
    """Where a table holds measured designs: columns of measurements and estimates by metric, and the tool's name.

    flow: whose estimates they are, one of ``cost.estimate.FLOWS``.
    """

    flow: str
    source: str
    pairs: Mapping[str, tuple[str, str]]


MEASURED: Mapping[str | None, Measured] = {
    None: Measured("hls4ml", SOURCE_COLUMN, {name: (name, column) for name, column in ESTIMATES.items()}),
    "open-rtl": Measured(
        "open-rtl",
        "open_rtl_source",
        {
            **{name: (f"open_rtl_{name}", f"open_rtl_{name}_estimate") for name in ("lut", "ff", "dsp", "bram")},
            "latency_cycles": ("open_rtl_cycles_per_step", "open_rtl_cycles_estimate"),
        },
    ),
    "vitis": Measured(
        "hls4ml", "vitis_source", {name: (f"vitis_{name}", column) for name, column in ESTIMATES.items()}
    ),
}
"""By the flow that measured: those of a sweep's table, and under None any table with the columns of ESTIMATES."""

LEAST_ROWS = 8
"""Designs below which a metric is not calibrated: quantiles of fewer say nothing."""

COVERAGE = 0.9
"""Share of the calibrating designs that an interval holds."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the errors, as they are reported."""

_FORMAT = "talon-dse calibration 1"


@dataclass(frozen=True)
class MetricCalibration:
    """One metric: measured = scale x estimate, about.

    n: designs used. low, high: quantiles of measurement / estimate between which COVERAGE of them lie. errors:
    QUANTILES of (scale x estimate - measurement) / measurement. excluded: designs that could not be used, for one of
    both figures is 0 and the other is not.
    """

    metric: str
    n: int
    scale: float
    low: float
    high: float
    errors: tuple[float, ...]
    median_absolute_error: float
    excluded: int

    def __post_init__(self) -> None:
        numbers = (self.scale, self.low, self.high, *self.errors, self.median_absolute_error)
        right = all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers)
        if self.metric not in METRICS or not right or not 0 < self.low <= self.scale <= self.high:
            raise ConfigError(f"calibration of '{self.metric}': not what talon-dse calibrate writes; calibrate again")

    def interval(self, estimate: float) -> tuple[float, float]:
        """Between what a measurement may be expected."""
        return self.low * estimate, self.high * estimate


@dataclass(frozen=True)
class Calibration:
    """Calibrations by metric.

    source: the tool whose measurements they are; skipped: metrics with too few designs; flow: whose estimates they
    are of, one of ``cost.estimate.FLOWS``.
    """

    source: str
    metrics: Mapping[str, MetricCalibration]
    skipped: Mapping[str, int]
    flow: str = "hls4ml"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"format": _FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, content: Any) -> Calibration:
        """What :meth:`as_dict` gave. Raises ConfigError for anything else."""
        keys = {field.name for field in fields(MetricCalibration)}
        try:
            if content["format"] != _FORMAT:
                raise ValueError
            metrics = {}
            for name, own in content["metrics"].items():
                if set(own) != keys or own["metric"] != name:
                    raise ValueError
                metrics[name] = MetricCalibration(**{**own, "errors": tuple(own["errors"])})
            flow = content.get("flow", "hls4ml")  # calibrations of before there was another flow say none
            if flow not in FLOWS:
                raise ValueError
            return cls(str(content["source"]), metrics, dict(content["skipped"]), flow)
        except (ValueError, KeyError, TypeError, AttributeError, ConfigError):
            raise ConfigError("not a calibration; talon-dse calibrate writes one") from None

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        with whole(path) as partial:
            partial.write_text(json.dumps(self.as_dict(), indent=1) + "\n")

    def describe(self) -> str:
        """The calibrating tool and the number of designs, in one line."""
        counts = sorted({own.n for own in self.metrics.values()})
        many = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        return f"{COVERAGE:.0%} of {many} designs of {self.source}"


def load(path: Path) -> Calibration:
    """Read what :meth:`Calibration.write` wrote. Raises FormatError."""
    try:
        return Calibration.from_dict(json.loads(path.read_text()))
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}; talon-dse calibrate writes it") from None
    except (ValueError, ConfigError):
        raise FormatError(f"{path}: not a calibration; talon-dse calibrate writes one") from None


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of designs, Parquet or CSV by its suffix. Raises FormatError."""
    import pandas as pd

    if path.suffix not in (".parquet", ".csv"):
        raise FormatError(f"{path}: must end in .parquet or .csv")
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except FileNotFoundError:
        raise FormatError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:  # pandas' and pyarrow's parsing errors are ValueErrors
        raise FormatError(f"{path}: cannot be read as {path.suffix[1:]}: {' '.join(str(error).split())}") from None


def calibrate(table: pd.DataFrame, source: str | None = None, flow: str | None = None) -> Calibration:
    """Fit the scales to the rows of ``table`` that hold a measurement by one tool.

    flow: which columns of a sweep's table to take, open-rtl or vitis; None takes those of ESTIMATES. Rows that have a
    status are left out unless it is ok. Raises ConfigError for a table without the columns, for several tools where
    ``source`` names none, and where there are fewer than LEAST_ROWS designs with both figures, for every metric.
    """
    if flow not in MEASURED:
        raise ConfigError(f"unknown flow {flow!r}; there are: {', '.join(name for name in MEASURED if name)}")
    measured_by = MEASURED[flow]
    pairs = {name: columns for name, columns in measured_by.pairs.items() if set(columns) <= set(table.columns)}
    if not pairs or measured_by.source not in table.columns:
        raise ConfigError(
            f"the table needs the column {measured_by.source} and at least one pair of a measurement and its estimate: "
            + ", ".join(f"{name} and {estimated}" for name, estimated in measured_by.pairs.values())
            + (" (a sweep's metrics.parquet: --flow open-rtl or --flow vitis)" if flow is None else "")
        )
    if "status" in table.columns:
        table = table[table["status"] == "ok"]
    sources = sorted(set(table[measured_by.source].dropna().astype(str)))
    if source is None and len(sources) > 1:
        raise ConfigError(f"measurements come from several tools; choose one with --source: {', '.join(sources)}")
    if source is not None and source not in sources:
        raise ConfigError(f"no row has {measured_by.source} {source!r}; there are: {', '.join(sources) or 'none'}")
    chosen = source or (sources[0] if sources else "")
    rows = table[table[measured_by.source].astype(str) == chosen]
    rows = rows.drop_duplicates(sum(pairs.values(), ()))  # a sweep has a row for every preset of one design
    metrics, skipped = {}, {}
    for name, (measurement, estimate) in pairs.items():
        measured, estimated = _numbers(rows, measurement), _numbers(rows, estimate)
        known = [(m, e) for m, e in zip(measured, estimated, strict=True) if math.isfinite(m) and math.isfinite(e)]
        if any(m < 0 or e < 0 for m, e in known):
            raise ConfigError(f"column {measurement} or {estimate} holds a number below 0")
        used = [(m, e) for m, e in known if m > 0 and e > 0]
        if len(used) < LEAST_ROWS:
            skipped[name] = len(used)
        else:
            metrics[name] = _fit(name, used, sum((m > 0) != (e > 0) for m, e in known))
    if not metrics:
        counts = ", ".join(f"{name} {count}" for name, count in skipped.items())
        raise ConfigError(
            f"too few designs with a measurement and an estimate above 0 ({counts}); "
            f"a metric needs {LEAST_ROWS} or more"
        )
    return Calibration(chosen, metrics, skipped, measured_by.flow)


def _numbers(rows: pd.DataFrame, name: str) -> list[float]:
    try:
        return [float(value) if value is not None else math.nan for value in rows[name].astype("float64")]
    except (TypeError, ValueError):
        raise ConfigError(f"column {name} must hold numbers") from None


def _fit(metric: str, pairs: Sequence[tuple[float, float]], excluded: int) -> MetricCalibration:
    import numpy as np

    measured, estimated = np.array(pairs).T
    ratios = measured / estimated
    scale = float(np.median(ratios))
    errors = scale * estimated / measured - 1
    low, high = (float(np.quantile(ratios, q)) for q in ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2))
    quantiles = tuple(float(np.quantile(errors, q)) for q in QUANTILES)
    return MetricCalibration(
        metric, len(pairs), scale, low, high, quantiles, float(np.median(np.abs(errors))), excluded
    )


def lines(found: Calibration) -> list[tuple[str, ...]]:
    """A table of the error distributions, a row a metric, as text."""
    head = (
        "metric",
        "designs",
        "scale",
        *(f"error {q:.0%}" for q in QUANTILES),
        "median |error|",
        "interval",
        "unusable",
    )
    rows = [head]
    for name, own in found.metrics.items():
        errors = (f"{error:+.1%}" for error in own.errors)
        interval = f"x {own.low:.3g} to {own.high:.3g}"
        rows.append(
            (
                name,
                str(own.n),
                f"{own.scale:.3g}",
                *errors,
                f"{own.median_absolute_error:.1%}",
                interval,
                str(own.excluded),
            )
        )
    return rows
