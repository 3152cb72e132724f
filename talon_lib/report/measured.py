"""What tools have measured of the designs, beside what was estimated of them: rows for tables, and figures.

Target clock, strategy and io type are hls4ml's: the open RTL knows none of them. No flow knows an energy preset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from bokeh.models import ColumnDataSource, FixedTicker, NumeralTickFormatter

from talon_lib.cost.calibration import MEASURED
from talon_lib.report.figures import log_ticks
from talon_lib.report.style import MARKERS, Plot, hover, new_figure, span_range
from talon_lib.sweep.open_rtl import AND

LABELS = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram": "RAMB18", "latency_cycles": "cycles a step"}
"""What the metrics are called."""

_RTL = ["network", "timesteps", "precision", "reuse_factor", "open_rtl_folder"]
_VITIS = ["network", "timesteps", "precision", "reuse_factor", "part", "clock_period_ns", "strategy", "io_type"]


def open_rtl(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a design of the open RTL that was generated, by network, steps, precision and reuse factor."""
    return _ordered(frame[frame["open_rtl_folder"].notna()].drop_duplicates(_RTL))


def vitis(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a design that Vitis HLS has synthesised, likewise."""
    return _ordered(frame[frame["vitis_lut"].notna()].drop_duplicates(_VITIS))


def _ordered(rows: pd.DataFrame) -> pd.DataFrame:
    place = {name: index for index, name in enumerate(dict.fromkeys(rows["network"]))}
    keyed = rows.assign(place=rows["network"].map(place))
    return keyed.sort_values(["place", "timesteps", "rank", "reuse_factor"], kind="stable")


def asked(frame: pd.DataFrame, flow: str) -> bool:
    """Whether the sweep asked any design of the flow (open_rtl or vitis)."""
    status = frame[f"{flow}_status"]
    return bool((status.notna() & (status != "not_run")).any())


def problems(frame: pd.DataFrame, flow: str) -> list[dict[str, Any]]:
    """Why designs of the flow have no figures, or not all; equal reasons of a network as one row, missing tools not."""
    status, reason = frame[f"{flow}_status"], frame[f"{flow}_reason"]
    own = frame.assign(outcome=status, why=reason.str.replace(AND, "; ", regex=False))[
        reason.notna() & ~status.isin(["missing", "not_run"])
    ]
    return [
        {"network": network, "status": outcome, "reason": why, "points": len(group)}
        | {"precisions": list(dict.fromkeys(group["precision"]))}
        for (network, outcome, why), group in own.groupby(["network", "outcome", "why"], sort=False)
    ]


def pairs(rows: pd.DataFrame, flow: str) -> list[dict[str, Any]]:
    """The rows as records, None for what is unknown; ``pairs`` of each: measurement and estimate by metric's label."""
    columns = MEASURED[flow].pairs
    known = rows.astype(object).where(rows.notna(), None)
    return [
        {str(key): value for key, value in row.items()}
        | {"pairs": {LABELS[metric]: (row[own], row[estimate]) for metric, (own, estimate) in columns.items()}}
        for row in known.to_dict("records")
    ]


def ratios(rows: pd.DataFrame, flow: str) -> list[tuple[str, float, float, int]]:
    """Label, least and most of estimate / measurement, and number of designs with both above 0, for every metric."""
    found = []
    for metric, (own, estimate) in MEASURED[flow].pairs.items():
        both = rows[(rows[own] > 0) & (rows[estimate] > 0)]
        if len(both):
            ratio = both[estimate].astype("float64") / both[own].astype("float64")
            found.append((LABELS[metric], float(ratio.min()), float(ratio.max()), len(both)))
    return found


def figures(rows: pd.DataFrame, colour: Mapping[str, str]) -> list[tuple[str, Plot]]:
    """Metric and figure of every metric that Yosys or the simulation counted, against the reuse factor, a network.

    Filled marks and whole lines are measured, hollow marks and dashed lines analytic; both axes are logarithmic, so
    that a figure of 0 has no mark. A line joins the reuse factors of one precision, number of steps and family.
    """
    found = []
    for metric, (own, estimate) in MEASURED["open-rtl"].pairs.items():
        if (rows[own] > 0).any():
            found.append((metric, _figure(rows, metric, own, estimate, colour)))
    return found


def _figure(rows: pd.DataFrame, metric: str, own: str, estimate: str, colour: Mapping[str, str]) -> Plot:
    label = LABELS[metric]
    values = pd.concat([rows[own], rows[estimate]]).astype("float64")
    values = values[values > 0]
    factors = sorted(set(rows["reuse_factor"]))
    plot = new_figure(
        f"{rows['network'].iloc[0]}: {label}",
        "reuse factor",
        label,
        height=280,
        x_axis_type="log",
        y_axis_type="log",
        x_range=span_range((factors[0] / 1.4, factors[-1] * 1.4)),
        y_range=span_range((float(values.min()) / 1.5, float(values.max()) * 1.5)),
    )
    ticks = factors if len(factors) <= 8 else log_ticks(plot.x_range.start, plot.x_range.end)
    plot.xaxis.ticker = FixedTicker(ticks=ticks)
    plot.yaxis.ticker = FixedTicker(ticks=log_ticks(plot.y_range.start, plot.y_range.end))
    for axis in (plot.xaxis, plot.yaxis):
        axis.formatter = NumeralTickFormatter(format="0,0.[000000]")
    plot.xgrid.grid_line_color = None
    marks = []
    # hollow ones first, so that they hide no measurement
    for column, size, width, dash in ((estimate, 11, 1.2, "dashed"), (own, 8, 1.5, "solid")):
        known = rows[rows[column] > 0]
        origin = _source(metric) if column == own else "open_rtl_estimate_source"
        for (precision, steps, _), group in known.groupby(["precision", "timesteps", "open_rtl_source"], dropna=False):
            ink = colour[str(precision)]
            data: dict[str, Any] = {
                "reuse_factor": group["reuse_factor"].tolist(),
                "value": group[column].astype("float64").tolist(),
                "source": group[origin].tolist(),
                "design": [f"{precision}, {steps} steps"] * len(group),
            }
            look = {"line_color": ink, "source": ColumnDataSource(data)}
            plot.line("reuse_factor", "value", line_width=width, line_alpha=0.6, line_dash=dash, **look)
            look |= {"marker": MARKERS[str(group["kind"].iloc[0])], "fill_color": ink if column == own else "white"}
            marks.append(plot.scatter("reuse_factor", "value", size=size, **look))
    tips = [("design", "@design, R = @reuse_factor"), (label, "@value{0,0}"), ("from", "@source")]
    plot.add_tools(hover(marks, tips))
    return plot


def _source(metric: str) -> str:
    return "open_rtl_proof_source" if metric == "latency_cycles" else "open_rtl_source"
