"""The report of a sweep: one HTML file that needs no network, the same bytes for the same table and plan."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import pyarrow as pa
from bokeh.core.json_encoder import serialize_json
from bokeh.document import Document
from bokeh.models import GroupFilter, Model, Range1d
from bokeh.resources import Resources
from markupsafe import Markup

from talon_lib.cost.preset import EnergyPreset, get_preset, parse_preset
from talon_lib.errors import ConfigError
from talon_lib.files import whole
from talon_lib.report import controls, figures, measured, tables, thin
from talon_lib.report.style import EVENT_PARTS, MARKERS, PARTS, Spans, colours
from talon_lib.sweep.provenance import node_lines
from talon_lib.sweep.schema import GROUPS, describe
from talon_lib.sweep.table import missing_tools

_COMPONENTS: Any = ["bokeh", "bokeh-widgets", "bokeh-tables"]
_ID = re.compile(r"p\d+")

_MEANING = {
    "simulate": (
        "Simulated",
        "Every sample runs through the simulation with the number types of the hardware, bit by bit. Accuracy "
        "holds for these samples only.",
    ),
    "energy": (
        "Not measured",
        "TALON's accounting: operations times the preset's price. It charges a MAC the same at every width, so in "
        "these figures fewer bits save reads of weights only; a narrower multiplier that costs less is not in them. "
        "It counts the weights of a convolution once, not once for each place of its kernel: that figure is too low. "
        "Clock tree, leakage and traffic to external memory are not in them either.",
    ),
    "event_energy": (
        "Not measured",
        "Counts of the simulation (values that arrive, synapses they reach, neurons at work) times prices, "
        "event-driven and clock-driven. With prices by width every operation and memory access is charged at its own "
        "bits; other presets know one price at every width. All memory is taken to be on chip; clock tree, control "
        "and, without a power figure, leakage are not counted (docs/energy.md).",
    ),
    "break_even": (
        "Not measured",
        "The event-driven energy against that of the same network without spikes, run once with activations of "
        "ceil(log2(T + 1)) bits at the same prices; the idea is that of Yan et al. (arXiv 2409.08290), the energies "
        "are ours (docs/energy.md). Whether that network would be as accurate is not known here.",
    ),
    "estimate": (
        "Not measured",
        "First-order estimates of what hls4ml asks of Vitis HLS, no bounds: products divided by the effective reuse "
        "factor, widths against DSP slices, words against block RAM (docs/estimates.md). The depth of pipelines, "
        "control and routing are not counted, and the target clock is taken to be met. No synthesis enters them; "
        "what is known of their error is in docs/estimates.md. Fmax is unknown here.",
    ),
    "calibration": (
        "Fitted",
        "Where a synthesis may be expected: the estimate times what it was off by on designs that a tool has "
        "synthesised, nine of ten of which lie in such an interval. Empty where the sweep names no calibration.",
    ),
    "project": ("Generated", "The hls4ml project of the design was written. Writing it is not synthesising it."),
    "csim": (
        "Executed",
        "The C++ of the hls4ml project was compiled and run on the first samples, and every spike, membrane and output "
        "compared with the simulation. Bits are judged, time is not.",
    ),
    "open_rtl": (
        "Measured",
        "SystemVerilog of our own, which is another design than the hls4ml project. LUTs, FFs, DSPs and block RAM are "
        "those of Yosys' netlist for the family, before place and route; no figures of Vitis or Vivado. Verilator ran "
        "the same source on the first samples, counted the cycles, and compared every result and membrane with the "
        "simulation. The clock is nextpnr's after place and route for Lattice ECP5, a device that is not the sweep's.",
    ),
    "open_rtl_estimate": (
        "Not measured",
        "Estimates of that RTL by the formulas of docs/estimates.md. How far they are off stands beside the "
        "measurements.",
    ),
    "vitis": (
        "Measured",
        "What Vitis HLS reports of the hls4ml project that it has synthesised, before place and route, and what Vivado "
        "reports after its synthesis where that was asked for. Power is at Vivado's default activity.",
    ),
}


def write_report(table: pa.Table | Path, plan: Mapping[str, Any], path: Path) -> None:
    """Write the report of a collected table (or its path) and its plan (sweep.json's content), whole or not at all.

    Raises FormatError for a path where there is no table.
    """
    page = render(table, plan)
    with whole(path) as partial:
        partial.write_text(page, encoding="utf-8")


def render(table: pa.Table | Path, plan: Mapping[str, Any]) -> str:
    """The page as text."""
    frame = tables.load(table)
    runs = tables.runs(frame)
    shown = _Shown.of(frame, runs)
    roots = _Roots()
    sections, notes = _draw(frame, runs, shown, roots)
    context = {
        "plan": plan,
        "summary": _summary(frame),
        "failures": tables.failures(frame),
        "fitting": tables.fitting(frame),
        "calibrations": tables.sources(frame, "calibration"),
        "csim": tables.csim(frame),
        "rtl": _open_rtl(frame) if measured.asked(frame, "open_rtl") else None,
        "vitis": _vitis(frame) if measured.asked(frame, "vitis") else None,
        "missing": missing_tools(table),
        "legend": _legend(frame, shown),
        "default_preset": tables.default_preset(tables.presets(frame)),
        "losses": [(case, tables.loss(frame, case)) for case in shown.cases],
        "sections": sections,
        "notes": {**shown.notes, **notes},
        "most": thin.ROWS,
        "some": thin.NAMES,
        "fronts": _fronts(runs),
        "spread": _energy_spread(runs),
        "comparisons": tables.comparisons(shown.runs),
        "neurobench": tables.neurobench(shown.runs),
        "reuse_constant": bool((frame["stands_for"] > 1).any()),
        "parts": list(PARTS.values()),
        "event_parts": list(EVENT_PARTS.values()),
        "sources": _sources(frame),
        "presets": [_preset(name, plan) for name in tables.presets(frame)],
        "columns": describe(),
        "configuration": json.dumps(plan.get("configuration", {}), indent=2, ensure_ascii=False),
        "provenance": plan.get("provenance", {}),
        "nodes": list(node_lines(plan.get("provenance", {}))),
        "command": plan.get("provenance", {}).get("command"),
        "bokeh": Markup(Resources(mode="inline", components=_COMPONENTS).render_js()),
        "document": Markup(_json(roots.document())),
    }
    return _environment().get_template("report.html.j2").render(context)


@dataclass(frozen=True)
class _Shown:
    """What gets a panel or a line of a table; ``notes`` say by section what does not."""

    cases: list[tables.Case]
    rows: dict[tables.Case, pd.DataFrame]
    runs: pd.DataFrame
    notes: dict[str, str | None]

    @classmethod
    def of(cls, frame: pd.DataFrame, runs: pd.DataFrame) -> _Shown:
        """Of all points, and of :func:`talon_lib.report.tables.runs`."""
        every = tables.cases(frame)
        cases = thin.cases(every)
        rows, count = {}, 0
        for case in cases:
            found = tables.of_case(frame, case)
            best = runs[runs["on_front"] & (runs["network"] == case.network)]
            rows[case] = thin.precisions(found, set(best["precision"]), len(cases))
            count += len(found)
        keys = {(case.network, case.timesteps, name) for case, own in rows.items() for name in own["precision"]}
        own = zip(runs["network"], runs["timesteps"], runs["precision"], strict=True)
        drawn = pd.Series([key in keys for key in own], index=runs.index, dtype=bool)
        notes = {
            "cases": thin.note(len(cases), len(every), "pairs of a network and a number of steps", "shown"),
            "precisions": thin.note(sum(map(len, rows.values())), count, "precisions of these", "shown"),
        }
        return cls(cases, rows, runs[drawn], notes)

    @property
    def networks(self) -> list[str]:
        """Those with panels."""
        return list(dict.fromkeys(case.network for case in self.cases))


class _Roots:
    """The Bokeh models of the page, each with the id of the element that it fills."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}

    def add(self, element: str, model: Model) -> str:
        """Show the model in that element."""
        self._models[element] = model
        return element

    def document(self) -> dict[str, Any]:
        """What ``Bokeh.embed.embed_items`` takes; models are numbered by appearance, so equal input is equal text."""
        document = Document(title="talon-dse")
        with document.models.freeze():  # else every root walks all that came before it
            for model in self._models.values():
                document.add_root(model)
        roots = {model.id: element for element, model in self._models.items()}
        item = {"docid": "report", "roots": roots, "root_ids": list(roots)}
        content = json.loads(serialize_json({"docs": {"report": document.to_json(deferred=False)}}))
        numbers: dict[str, str] = {}
        content = _renumbered(content, numbers)
        item["roots"] = {numbers[key]: element for key, element in roots.items()}
        item["root_ids"] = [numbers[key] for key in roots]
        return {**content, "items": [item]}


def _renumbered(value: Any, numbers: dict[str, str]) -> Any:
    if isinstance(value, dict):
        found = {key: _renumbered(own, numbers) for key, own in value.items() if key != "id"}
        own = value.get("id")
        if isinstance(own, str) and _ID.fullmatch(own):
            return {"id": numbers.setdefault(own, f"m{len(numbers)}"), **found}
        return {"id": own, **found} if "id" in value else found
    return [_renumbered(own, numbers) for own in value] if isinstance(value, list) else value


def _json(content: Mapping[str, Any]) -> str:
    """JSON that no text in it can end as a script element."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _draw(
    frame: pd.DataFrame, runs: pd.DataFrame, shown: _Shown, roots: _Roots
) -> tuple[dict[str, list[str]], dict[str, str | None]]:
    """Fill ``roots`` with every figure; returns by section the element ids, and what is said of points left out."""
    found: dict[str, list[str]] = {
        name: [] for name in ("bits", "pareto", "energy", "events", "steps", "hardware", "open_rtl")
    }
    colour = colours(tables.precisions(frame))
    names = tables.presets(frame)
    first = tables.default_preset(names)
    preset = GroupFilter(column_name="energy_preset", group=first)
    best = runs.index[runs["on_front"]]
    for network in shown.networks:
        best = best.union(thin.best_designs(frame[frame["network"] == network]))
    listed = thin.points(frame, best)
    points = controls.points_source(listed)
    ranges: list[tuple[Range1d, Spans]] = []
    for index, case in enumerate(shown.cases):
        rows = shown.rows[case]
        lost = tables.loss(frame, case)
        if lost is not None:
            found["bits"].append(roots.add(f"bits-{index}", figures.bits_figure(rows, case, lost, colour)))
        priced = shown.runs[(shown.runs["network"] == case.network) & (shown.runs["timesteps"] == case.timesteps)]
        if not priced.empty:
            plot, spans = figures.energy_figure(case.title, priced, preset, first)
            found["energy"].append(roots.add(f"energy-{index}", plot))
            ranges.append((plot.x_range, spans))
        priced = priced[priced["event_dynamic_uj"].notna()]
        if not priced.empty:
            plot, spans = figures.energy_figure(case.title, priced, preset, first, EVENT_PARTS, "event_dynamic_uj")
            found["events"].append(roots.add(f"events-{index}", plot))
            ranges.append((plot.x_range, spans))
        if (plot := figures.steps_figure(rows, case, colour)) is not None:
            found["steps"].append(roots.add(f"steps-{index}", plot))
    marks, designs = (0, 0), (0, 0)  # drawn, and all
    for index, network in enumerate(shown.networks):
        own = runs[runs["network"] == network]
        if not own.empty:
            drawn = thin.runs(own, len(shown.networks))
            plot, spans = figures.pareto_figure(network, drawn, points, preset, first, colour)
            found["pareto"].append(roots.add(f"pareto-{index}", plot))
            ranges.append((plot.x_range, spans))
            marks = marks[0] + len(drawn), marks[1] + len(own)
        own = frame[(frame["network"] == network) & (frame["used"] > 0) & (frame["latency_us"] > 0)]
        if not own.empty:
            drawn = thin.designs(own, len(shown.networks))
            found["hardware"].append(roots.add(f"hardware-{index}", figures.hardware_figure(network, drawn, colour)))
            designs = designs[0] + len(drawn), designs[1] + len(thin.distinct(own))
    rtl = measured.open_rtl(frame)
    for index, (_, own) in enumerate(rtl.groupby("network", sort=False)):
        drawn = thin.measured(own, rtl["network"].nunique())
        for metric, plot in measured.figures(drawn, colour):
            found["open_rtl"].append(roots.add(f"open-rtl-{index}-{metric}", plot))
    notes = {
        "pareto": thin.note(*marks, "runs", "drawn"),
        "hardware": thin.note(*designs, "designs", "drawn"),
        "points": thin.note(len(listed), len(frame), "points", "listed"),
    }
    select = controls.preset_select(names, first, preset, ranges) if ranges and len(names) > 1 else None
    if select is not None:
        roots.add("preset-pareto", select)
        roots.add("preset-energy", controls.linked_copy(select))
        if found["events"]:
            roots.add("preset-events", controls.linked_copy(select))
    found["selects"] = ["preset-pareto", "preset-energy", "preset-events"] if select is not None else []
    what = "listed points" if notes["points"] else "points"
    for element, model in controls.points_table(points, select, what).items():
        roots.add(element, model)
    return found, notes


def _summary(frame: pd.DataFrame) -> dict[str, Any]:
    axes = {
        "network": "networks",
        "timesteps": "numbers of timesteps",
        "precision": "precisions",
        "reuse_factor": "reuse factors",
        "part": "parts",
        "clock_period_ns": "clock periods",
        "strategy": "strategies",
        "io_type": "io types",
        "energy_preset": "energy presets",
    }
    many = {name: int(frame[name].nunique()) for name in axes}
    always = ("network", "precision", "reuse_factor", "energy_preset")
    several = [(many[name], text) for name, text in axes.items() if name in always or many[name] > 1]
    several = [(count, text) for count, text in several if text != axes["timesteps"] or _steps_vary(frame)]
    status = frame["status"].value_counts(sort=False)
    return {
        "points": len(frame),
        "axes": [f"{count} {text if count != 1 else _singular(text)}" for count, text in several],
        "status": [(name, int(status[name])) for name in ("ok", "unsupported", "timeout", "failed") if name in status],
    }


def _steps_vary(frame: pd.DataFrame) -> bool:
    return bool((frame.groupby("network")["timesteps"].nunique() > 1).any())


def _singular(text: str) -> str:
    return text.replace("numbers", "number") if text.startswith("numbers") else text.removesuffix("s")


def _legend(frame: pd.DataFrame, shown: _Shown) -> list[dict[str, str]]:
    names = tables.precisions(frame)
    colour = colours(names)
    if len(names) > thin.PRECISIONS:
        drawn = {name for own in shown.rows.values() for name in own["precision"]}
        names = names[names["precision"].isin(drawn)]
        names = names.iloc[thin.even(len(names), thin.PRECISIONS)]
    return [
        {"name": name, "colour": colour[name], "marker": MARKERS[family]}
        for name, family in zip(names["precision"], names["kind"], strict=True)
    ]


def _fronts(runs: pd.DataFrame) -> list[tuple[str, list[dict[str, Any]]]]:
    """The Pareto-optimal runs by preset: networks in the table's order, by rising energy."""
    best = runs[runs["on_front"]]
    found = []
    for preset in tables.presets(runs):
        own = best[best["energy_preset"] == preset]
        if own.empty:
            continue
        rows: list[dict[str, Any]] = []
        for network in dict.fromkeys(own["network"]):
            rows += own[own["network"] == network].sort_values("energy_uj").to_dict("records")
        found.append((preset, rows))
    return found


def _energy_spread(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """For each network at the default preset: the least and the most energy, and the share of spikes."""
    own = runs[runs["energy_preset"] == tables.default_preset(list(dict.fromkeys(runs["energy_preset"])))]
    found = []
    for network in dict.fromkeys(own["network"]):
        rows = own[own["network"] == network].sort_values("energy_uj", kind="stable")
        low, high = rows.iloc[0], rows.iloc[-1]
        if len(rows) > 1 and high["energy_uj"] > 0:
            share = {part: float((rows[f"{part}_energy_uj"] / rows["energy_uj"]).max()) for part in PARTS}
            found.append({"network": network, "low": low, "high": high, "share": share})
    return found


def _sources(frame: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    for group, (state, text) in _MEANING.items():
        names = [field.name for field in GROUPS[group] if not field.name.endswith("_source")]
        columns = tables.source_columns(group)
        known = int(frame[columns].notna().any(axis=1).sum())
        values = tables.sources(frame, group)
        found.append(
            {"group": group, "state": state, "text": text, "columns": names, "values": values, "points": known}
        )
    return found


def _open_rtl(frame: pd.DataFrame) -> dict[str, Any]:
    """What the section on the open RTL says."""
    rows = measured.open_rtl(frame)
    compared = rows[rows["open_rtl_values"].notna()]
    return {
        "rows": measured.pairs(rows.iloc[thin.even(len(rows), thin.ROWS)], "open-rtl"),
        "designs": len(rows),
        "ratios": measured.ratios(rows, "open-rtl"),
        "counted": _names(rows["open_rtl_source"]),
        "proved": _names(rows["open_rtl_proof_source"]),
        "routed": _names(rows["open_rtl_fmax_source"]),
        "compared": len(compared),
        "equal": len(compared) - int((compared["open_rtl_status"] == "different").sum()),
        "values": int(compared["open_rtl_values"].sum()),
        "problems": measured.problems(frame, "open_rtl"),
    }


def _vitis(frame: pd.DataFrame) -> dict[str, Any]:
    """What the section on Vitis says."""
    rows = measured.vitis(frame)
    return {
        "rows": measured.pairs(rows.iloc[thin.even(len(rows), thin.ROWS)], "vitis"),
        "designs": len(rows),
        "ratios": measured.ratios(rows, "vitis"),
        "tools": _names(rows["vitis_source"]),
        "vivado": bool(rows["vivado_lut"].notna().any()),
        "problems": measured.problems(frame, "vitis"),
    }


def _names(values: pd.Series) -> list[str]:
    return sorted(set(values.dropna()))


def _preset(name: str, plan: Mapping[str, Any]) -> EnergyPreset | dict[str, str]:
    """A preset as the sweep was planned with it: one of the user's is known by its plan alone."""
    planned = plan.get("energy_presets", {})
    try:
        return parse_preset(name, planned[name]) if name in planned else get_preset(name)
    except ConfigError:  # a table of another version
        return {"name": name, "source": "not a preset of this version"}


def _percent(value: float | None, digits: int = 2) -> str:
    return "—" if value is None or pd.isna(value) else f"{100 * value:.{digits}f} %"


def _number(value: Any) -> str:
    return "—" if value is None or pd.isna(value) else f"{value:,.0f}"


def _digits(value: Any, digits: int = 4) -> str:
    return "—" if value is None or pd.isna(value) else figures.significant(float(value), digits)


def _few(names: Sequence[str]) -> str:
    """The names in one line; of very many the first."""
    left = len(names) - thin.NAMES
    return ", ".join(names[: thin.NAMES]) + (f" and {left:,} more" if left > 0 else "")


def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("talon_lib.report")
    environment = jinja2.Environment(loader=loader, autoescape=True, lstrip_blocks=True)
    filters: dict[str, Any] = {"percent": _percent, "number": _number, "digits": _digits, "few": _few}
    environment.filters |= filters
    return environment
