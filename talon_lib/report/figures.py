"""Bokeh figures of the report, each from frames of :mod:`talon_lib.report.tables`.

Energies in uJ, scores in percent. Every glyph names its columns: from bare lists Bokeh makes columns in the order of a
set, which differs from run to run.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from bokeh.models import (
    CDSView,
    ColumnDataSource,
    Filter,
    GroupFilter,
    IntersectionFilter,
    NumeralTickFormatter,
    TapTool,
)
from bokeh.models.annotations import BoxAnnotation, Span

from talon_lib.cost.devices import RESOURCES
from talon_lib.report import tables, thin
from talon_lib.report.labels import CHARACTER, place, spread
from talon_lib.report.style import (
    FONT,
    INK,
    MARKERS,
    MUTED,
    PARTS,
    RULE,
    Parts,
    Plot,
    Spans,
    hover,
    new_figure,
    span_range,
    text_style,
)

PERCENT = "%"
_INNER = (450.0, 250.0)  # pixels inside the axes of a panel, about: what labels are placed for


def score_label(metric: str) -> str:
    """Axis label of a score."""
    return f"{metric.capitalize()} ({PERCENT})"


def significant(value: float, digits: int = 4) -> str:
    """So many significant digits, never an exponent."""
    decimals = digits - 1 - math.floor(math.log10(abs(value))) if value else 1
    return f"{value:,.{max(decimals, 0)}f}"


def _padded(values: pd.Series, before: float, after: float) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    width = high - low or max(abs(high), 1e-6) * 0.1
    return low - before * width, high + after * width


def bits_figure(rows: pd.DataFrame, case: tables.Case, lost: tables.Loss | None, colour: Mapping[str, str]) -> Plot:
    """Score of each precision, by rising bits; the reference as a line, and a band where the loss is tolerable."""
    reference = lost.reference_score * 100 if lost else None
    shown = rows[rows["precision"] != lost.reference] if lost else rows
    scores = (shown["score"] * 100).tolist()
    names = shown["precision"].tolist()
    low, high = _padded(pd.Series([*scores, *([reference] if reference else [])]), 0.12, 0.16)
    plot = new_figure(
        case.title,
        "precision, by rising bits of weight",
        score_label(case.metric),
        x_range=names,
        y_range=span_range((max(low, 0), high)),
    )
    plot.xgrid.grid_line_color = None
    if len(names) > 9 or sum(map(len, names)) > 60:
        plot.xaxis.major_label_orientation = 0.9
    if reference is not None and lost is not None:
        bottom = reference - 100 * tables.TOLERANCE
        plot.add_layout(
            BoxAnnotation(bottom=bottom, top=reference, fill_color="#009E73", fill_alpha=0.10, line_width=0)
        )
        plot.add_layout(Span(location=reference, dimension="width", line_color=INK, line_dash="dashed", line_width=1.2))
        note = f"{lost.reference} {reference:.2f} %; shaded: up to 1 point less"
        here = ColumnDataSource({"x": names[:1], "y": [reference], "text": [note]})
        plot.text("x", "y", text="text", source=here, x_offset=-10, y_offset=-10, **text_style(text_color=MUTED))
    family = shown[shown["kind"] == "int"]
    line = ColumnDataSource({"precision": family["precision"].tolist(), "score": (family["score"] * 100).tolist()})
    plot.line("precision", "score", source=line, line_color=RULE, line_width=2)
    source = ColumnDataSource(
        {
            "precision": names,
            "score": scores,
            "bits": shown["bits_text"].tolist(),
            "colour": [colour[name] for name in names],
            "marker": [MARKERS[family] for family in shown["kind"]],
            "text": [f"{score:.2f}" for score in scores],
        }
    )
    dots = plot.scatter(
        "precision", "score", size=11, marker="marker", fill_color="colour", line_color="white", source=source
    )
    if len(names) <= 10:
        plot.text(
            "precision", "score", text="text", y_offset=14, text_align="center", source=source, **text_style("11px")
        )
    tips = [("precision", "@precision"), ("bits of weight", "@bits"), (case.metric, "@score{0.00} %")]
    plot.add_tools(hover([dots], tips))
    return plot


def pareto_figure(
    network: str,
    runs: pd.DataFrame,
    points: ColumnDataSource,
    preset: Filter,
    first_preset: str,
    colour: Mapping[str, str],
) -> tuple[Plot, Spans]:
    """Score against energy of one network with the Pareto front of the chosen preset; and the x range of each preset.

    ``runs`` are drawn; over them lie the points of the shared source, unseen until selected, so that a click marks
    rows of the table and a row of the table its point.
    """
    metric = str(runs["metric"].iloc[0])
    y_low, y_high = _padded(runs["score"] * 100, 0.14, 0.16)
    y_low = max(y_low, 0)
    spans: Spans = {}
    drawn, lines = [], []
    for name, group in runs.groupby("energy_preset", sort=False):
        low, high = spans[str(name)] = _padded(group["energy_uj"], 0.1, 0.14)
        best = group[group["on_front"]].sort_values("energy_uj")
        stairs = _stairs(best["energy_uj"].tolist(), (best["score"] * 100).tolist(), high)
        lines.append((str(name), *stairs))
        drawn.append(group.assign(**_places(group, stairs, (low, high), (y_low, y_high))))
    plot = new_figure(
        network,
        "energy of one inference (µJ)",
        score_label(metric),
        height=360,
        x_range=span_range(spans[first_preset]),
        y_range=span_range((y_low, y_high)),
    )
    plot.xaxis.ticker.desired_num_ticks = 5
    plot.xaxis.formatter = NumeralTickFormatter(format="0.[000000]")
    fronts = ColumnDataSource(
        dict(zip(("energy_preset", "xs", "ys"), map(list, zip(*lines, strict=True)), strict=True))
    )
    plot.multi_line("xs", "ys", source=fronts, view=CDSView(filter=preset), line_color=MUTED, line_width=1.6)
    source = _pareto_source(pd.concat(drawn), colour)
    plot.text(
        "energy_uj",
        "score",
        text="label",
        x_offset="dx",
        y_offset="dy",
        text_align="align",
        source=source,
        view=CDSView(filter=preset),
        **text_style(),
    )
    style = {"size": 12, "marker": "marker", "fill_color": "colour", "fill_alpha": "alpha", "line_color": "colour"}
    dots = plot.scatter("energy_uj", "score", source=source, view=CDSView(filter=preset), line_width=1.5, **style)
    mine = IntersectionFilter(operands=[GroupFilter(column_name="network", group=network), preset])
    rings = plot.scatter(
        "energy_uj", "score", source=points, view=CDSView(filter=mine), size=20, fill_alpha=0, line_alpha=0
    )
    rings.selection_glyph = rings.glyph.clone(line_alpha=1, line_color=INK, line_width=2.5)
    rings.nonselection_glyph = rings.glyph.clone()
    tips = [
        ("precision", "@design (@bits bits of weight)"),
        (metric, "@score{0.00} %"),
        ("energy", "@energy_uj{0.[0000000]} µJ"),
        ("weights", "@weight_memory_bytes{0,0} bytes"),
        ("points here", "@stands_for"),
        ("status", "@status"),
    ]
    plot.add_tools(hover([dots], tips), TapTool(renderers=[rings]))
    return plot, spans


def _places(
    group: pd.DataFrame, stairs: tuple[list[float], list[float]], x: tuple[float, float], y: tuple[float, float]
) -> dict[str, Any]:
    """Columns that say where the label of each run goes; runs on the front choose first."""

    def pixels(energies: Iterable[float], scores: Iterable[float]) -> list[tuple[float, float]]:
        return [
            ((energy - x[0]) / (x[1] - x[0]) * _INNER[0], (y[1] - score) / (y[1] - y[0]) * _INNER[1])
            for energy, score in zip(energies, scores, strict=True)
        ]

    texts = group["design"].tolist()
    first = [i for i, best in enumerate(group["on_front"]) if best]
    places = place(pixels(group["energy_uj"], group["score"] * 100), texts, first, _INNER, pixels(*stairs))
    return {
        "dx": [own.dx for own in places],
        "dy": [own.dy for own in places],
        "align": [own.align for own in places],
        "label": [text if own.shown else "" for text, own in zip(texts, places, strict=True)],
    }


def _stairs(x: list[float], y: list[float], end: float) -> tuple[list[float], list[float]]:
    """The border of what the front dominates: nothing lies between two designs, so steps and no slopes."""
    if not x:
        return [], []
    return [*np.repeat(x, 2)[1:].tolist(), end], np.repeat(y, 2).tolist()


def _pareto_source(runs: pd.DataFrame, colour: Mapping[str, str]) -> ColumnDataSource:
    columns = ["energy_preset", "design", "energy_uj", "weight_memory_bytes", "stands_for", "status"]
    data: dict[str, Any] = {name: runs[name].tolist() for name in (*columns, "dx", "dy", "align", "label")}
    data["bits"] = runs["bits_text"].tolist()
    data["score"] = (runs["score"] * 100).tolist()
    data["colour"] = [colour[name] for name in runs["precision"]]
    data["marker"] = [
        MARKERS[family] if status == "ok" else "x" for family, status in zip(runs["kind"], runs["status"], strict=True)
    ]
    data["alpha"] = [1.0 if best else 0.25 for best in runs["on_front"]]
    return ColumnDataSource(data)


def energy_figure(
    title: str, runs: pd.DataFrame, preset: Filter, first_preset: str, parts: Parts = PARTS, total: str = "energy_uj"
) -> tuple[Plot, Spans]:
    """Energy by part as stacked bars, a bar a precision; and the x range of each preset. total: column of the whole."""
    rows = runs.assign(energy_uj=runs[total]).sort_values("rank", kind="stable")
    names = list(dict.fromkeys(rows["precision"]))
    data: dict[str, Any] = {name: rows[name].tolist() for name in ("precision", "energy_preset", "energy_uj")}
    edge = np.zeros(len(rows))
    for part in parts:
        value = rows[f"{part}_energy_uj"].fillna(0).to_numpy()
        data[f"{part}_left"], data[part], data[f"{part}_right"] = edge.tolist(), value.tolist(), (edge + value).tolist()
        edge = edge + value
    data["text"] = [significant(value) for value in rows["energy_uj"]]
    source = ColumnDataSource(data)
    spans = {
        str(name): (0.0, float(own.max()) * 1.14 or 1.0) for name, own in rows.groupby("energy_preset")["energy_uj"]
    }
    plot = new_figure(
        title,
        "energy of one inference (µJ)",
        "",
        height=max(130, 84 + 27 * len(names)),
        x_range=span_range(spans[first_preset]),
        y_range=names,
    )
    plot.ygrid.grid_line_color = None
    plot.yaxis.axis_line_color = plot.yaxis.major_tick_line_color = None
    plot.xaxis.ticker.desired_num_ticks = 5
    plot.xaxis.formatter = NumeralTickFormatter(format="0.[000000]")
    bars = [
        plot.hbar(
            y="precision",
            left=f"{part}_left",
            right=f"{part}_right",
            height=0.72,
            fill_color=colour,
            line_color=None,
            source=source,
            view=CDSView(filter=preset),
        )
        for part, (_, colour) in parts.items()
    ]
    plot.text(
        "energy_uj", "precision", text="text", x_offset=6, source=source, view=CDSView(filter=preset), **text_style()
    )
    tips = [("precision", "@precision"), ("all", "@energy_uj{0.[0000000]} µJ")]
    tips += [(name, f"@{part}{{0.[0000000]}} µJ") for part, (name, _) in parts.items()]
    plot.add_tools(hover(bars, tips))
    return plot, spans


def steps_figure(rows: pd.DataFrame, case: tables.Case, colour: Mapping[str, str]) -> Plot | None:
    """Accuracy after every step, a line a precision, labelled at its end; None without labels in the data."""
    rows = rows[[values is not None and len(values) > 0 for values in rows["accuracy_by_step"]]]
    if rows.empty:
        return None
    lines = [(np.asarray(values, float) * 100).tolist() for values in rows["accuracy_by_step"]]
    steps = max(map(len, lines))
    low, high = _padded(pd.Series([value for line in lines for value in line]), 0.06, 0.08)
    low, high = max(low, 0.0), min(high, 102.0)
    labels = [f"{name}  {line[-1]:.2f} %" for name, line in zip(rows["precision"], lines, strict=True)]
    last = steps - 1 or 1
    margin = min((max(map(len, labels)) * 0.85 * CHARACTER + 36) / _INNER[0], 0.6)  # of the width, for the labels
    plot = new_figure(
        case.title,
        "timesteps",
        score_label("accuracy"),
        height=360,
        x_range=span_range((1 - 0.02 * steps, 1 + last / (1 - margin))),
        y_range=span_range((low, high)),
    )
    plot.xaxis.ticker = _step_ticks(steps)
    plot.xgrid.grid_line_color = None
    pixel = (high - low) / _INNER[1]
    ends = spread([line[-1] for line in lines], 14 * pixel, low + 8 * pixel, high - 8 * pixel)
    reach = 1 + last * (1 + 30 / _INNER[0])
    names = rows["precision"].tolist()
    steps_of = [list(range(1, len(line) + 1)) for line in lines]
    data: dict[str, Any] = {
        "steps": steps_of,
        "accuracies": lines,
        "leader_x": [[own[-1], reach] for own in steps_of],
        "leader_y": [[line[-1], end] for line, end in zip(lines, ends, strict=True)],
        "reach": [reach] * len(lines),
        "end": ends,
        "label": labels,
        "colour": [colour[name] for name in names],
        "dash": ["dashed" if name == "fp32" else "solid" for name in names],
    }
    whole = ColumnDataSource(data)
    plot.multi_line("steps", "accuracies", source=whole, line_color="colour", line_dash="dash", line_width=2)
    plot.multi_line("leader_x", "leader_y", source=whole, line_color="colour", line_alpha=0.6)
    plot.text("reach", "end", source=whole, text="label", x_offset=4, **text_style("11px"))
    dots = [
        {"step": step, "accuracy": value, "precision": name, "colour": colour[name]}
        for name, line in zip(names, lines, strict=True)
        for step, value in enumerate(line, 1)
    ]
    dots = [dots[index] for index in thin.even(len(dots), _DOTS)]  # the lines have them all
    source = ColumnDataSource({key: [dot[key] for dot in dots] for key in dots[0]})
    renderers = [plot.scatter("step", "accuracy", size=5, color="colour", source=source)]
    tips = [("precision", "@precision"), ("steps", "@step"), ("accuracy", "@accuracy{0.00} %")]
    plot.add_tools(hover(renderers, tips))
    return plot


_DOTS = 1_000


def _step_ticks(steps: int) -> list[int]:
    every = next(k for scale in itertools.count() for k in (10**scale, 2 * 10**scale, 5 * 10**scale) if steps / k <= 8)
    return [1, *range(max(every, 2), steps + 1 - (every + 1) // 2, every), *([steps] if steps > 1 else [])]


def hardware_figure(network: str, points: pd.DataFrame, colour: Mapping[str, str]) -> Plot:
    """Least latency against the most used resource's share of the part, both logarithmic, for the designs of a network.

    A line joins the reuse factors of a precision; where other axes vary, each of their combinations has a dash of its
    own. Right of the line at 100 % a design does not fit.
    """
    low, high = float(points["used"].min()), float(points["used"].max())
    plot = new_figure(
        network,
        "share of the part's most used resource, estimate (%)",
        "latency of one inference, estimate (µs)",
        height=380,
        x_axis_type="log",
        y_axis_type="log",
        x_range=span_range((low / 1.6, max(high, 60.0) * 2.2)),
        y_range=span_range((float(points["latency_us"].min()) / 1.6, float(points["latency_us"].max()) * 1.8)),
    )
    for axis, span in ((plot.xaxis, plot.x_range), (plot.yaxis, plot.y_range)):
        axis.ticker = log_ticks(span.start, span.end)
        axis.formatter = NumeralTickFormatter(format="0,0.[000000]")
    plot.add_layout(Span(location=100, dimension="height", line_color=MUTED, line_dash="dashed", line_width=1.2))
    axes = [
        name for name in ("timesteps", "part", "clock_period_ns", "strategy", "io_type") if points[name].nunique() > 1
    ]
    shown = ["precision", "reuse_factor", *axes, "effective", "used", "limiting_resource", "latency_us"]
    shown += ["cycles_per_step", "operators", "multipliers", "latency_cycles_interval"]
    shown += [f"{name}_{figure}" for name in RESOURCES for figure in ("estimate", "utilisation", "interval")]
    dots, dashes = [], dict[tuple[object, ...], str]()
    for key, group in points.groupby(["precision", *axes], sort=False):
        rows = group.drop_duplicates("reuse_factor").sort_values("reuse_factor")
        source = ColumnDataSource({name: rows[name].tolist() for name in shown})
        others = tuple(key[1:])
        first = others not in dashes
        dash = dashes.setdefault(others, _DASHES[len(dashes) % len(_DASHES)])
        named = {"legend_label": ", ".join(map(_axis_text, axes, others))} if axes and first else {}
        look = {"color": colour[str(key[0])], "source": source}
        plot.line("used", "latency_us", line_width=1.5, line_alpha=0.6, line_dash=dash, **look, **named)
        dots.append(plot.scatter("used", "latency_us", size=8, **look))
    if len(dashes) > 2 * len(_DASHES):  # no legend tells so many apart; hovering does
        plot.legend.visible = False
    elif axes:
        plot.add_layout(plot.legend[0], "below")
        plot.legend.label_text_font = FONT
        plot.legend.label_text_font_size = "11.5px"
        plot.legend.border_line_color = None
        plot.legend.ncols = 2

    def within(metric: str) -> str:
        known = (points[f"{metric}_interval"] != "").any()
        return f" (@{metric}_interval)" if known else ""

    tips = [
        ("precision", "@precision"),
        ("reuse factor", "@reuse_factor asked, @effective got"),
        *((name.replace("_", " "), f"@{name}") for name in axes),
        ("used up first", "@limiting_resource, @used{0.[00]} %"),
        ("latency", f"@latency_us{{0.[0000]}} µs, @cycles_per_step{{0,0}} cycles a step{within('latency_cycles')}"),
        ("products at once", "@operators{0,0}, of them multipliers @multipliers{0,0}"),
        *(
            (name, f"@{key}_estimate{{0,0}}{within(key)}, @{key}_utilisation{{0.0%}} of the part")
            for key, name in (("lut", "LUT"), ("ff", "FF"), ("dsp", "DSP"), ("bram", "RAMB18"))
        ),
    ]
    plot.add_tools(hover(dots, tips))
    return plot


_DASHES = ("solid", "dashed", "dotted", "dotdash", "dashdot", "14 4", "2 8", "14 3 2 3 2 3")


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks from one to another: 1, 2 and 5 of every decade; the decades alone where they are many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 4 else (1,)
    return [
        tick for decade in range(first, last + 1) for tick in (s * 10.0**decade for s in steps) if low <= tick <= high
    ]


def _axis_text(axis: str, value: object) -> str:
    return {"timesteps": f"{value} steps", "clock_period_ns": f"{value:g} ns" if isinstance(value, float) else ""}.get(
        axis, str(value)
    )
