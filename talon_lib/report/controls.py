"""What moves in the report: the choice of the preset, and the table of all points with its search field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from bokeh.models import BooleanFilter, CDSView, ColumnDataSource, CustomJS, GroupFilter, Model, Range1d
from bokeh.models.widgets.inputs import Select, TextInput
from bokeh.models.widgets.markups import Div
from bokeh.models.widgets.tables import (
    DataTable,
    HTMLTemplateFormatter,
    NumberFormatter,
    StringFormatter,
    TableColumn,
)

from talon_lib.report.style import Spans

ALL = "all presets"
MISSING = "—"

_TEXT, _SHARE, _WHOLE, _ENERGY, _TIME = range(5)
_COLUMNS = (
    ("network", "network", _TEXT, 80),
    ("precision", "precision", _TEXT, 108),
    ("timesteps", "steps", _WHOLE, 50),
    ("reuse_factor", "reuse", _WHOLE, 50),
    ("energy_preset", "preset", _TEXT, 122),
    ("part", "part", _TEXT, 66),
    ("clock_period_ns", "clock (ns)", _TIME, 70),
    ("accuracy", "accuracy", _SHARE, 70),
    ("agreement_fp32", "as fp32", _SHARE, 70),
    ("energy_uj", "energy (µJ)", _ENERGY, 82),
    ("mac_energy_uj", "MAC (µJ)", _ENERGY, 74),
    ("spike_energy_uj", "spikes (µJ)", _ENERGY, 80),
    ("sram_energy_uj", "SRAM (µJ)", _ENERGY, 78),
    ("event_energy_uj", "event-driven (µJ)", _ENERGY, 108),
    ("clock_energy_uj", "clock-driven (µJ)", _ENERGY, 108),
    ("spike_rate", "spike rate", _ENERGY, 70),
    ("break_even_spike_rate", "break-even rate", _ENERGY, 96),
    ("footprint_bytes", "footprint (B)", _WHOLE, 84),
    ("weight_memory_bytes", "weights (B)", _WHOLE, 80),
    ("latency_us", "latency (µs)", _TIME, 84),
    ("effective", "reuse got", _TEXT, 70),
    ("multipliers", "multipliers", _WHOLE, 78),
    ("latency_cycles_interval", "cycles a step, 90%", _TEXT, 120),
    ("lut_estimate", "LUT est.", _WHOLE, 66),
    ("lut_interval", "LUT, 90%", _TEXT, 120),
    ("lut_utilisation", "LUT share", _SHARE, 74),
    ("ff_estimate", "FF est.", _WHOLE, 66),
    ("ff_interval", "FF, 90%", _TEXT, 120),
    ("ff_utilisation", "FF share", _SHARE, 74),
    ("dsp_estimate", "DSP est.", _WHOLE, 66),
    ("dsp_interval", "DSP, 90%", _TEXT, 100),
    ("dsp_utilisation", "DSP share", _SHARE, 74),
    ("bram_estimate", "RAMB18 est.", _WHOLE, 82),
    ("bram_interval", "RAMB18, 90%", _TEXT, 100),
    ("bram_utilisation", "BRAM share", _SHARE, 80),
    ("holds", "fits", _TEXT, 40),
    ("limiting_resource", "used up first", _TEXT, 84),
    ("csim_status", "csim", _TEXT, 62),
    ("open_rtl_lut", "LUT, Yosys", _WHOLE, 80),
    ("open_rtl_ff", "FF, Yosys", _WHOLE, 76),
    ("open_rtl_dsp", "DSP, Yosys", _WHOLE, 80),
    ("open_rtl_bram", "RAMB18, Yosys", _WHOLE, 102),
    ("open_rtl_cycles_per_step", "cycles a step, Verilator", _WHOLE, 148),
    ("open_rtl_fmax_mhz", "MHz, ECP5", _TIME, 78),
    ("open_rtl_status", "open RTL", _TEXT, 68),
    ("vitis_lut", "LUT, Vitis", _WHOLE, 76),
    ("vitis_ff", "FF, Vitis", _WHOLE, 72),
    ("vitis_dsp", "DSP, Vitis", _WHOLE, 76),
    ("vitis_bram", "RAMB18, Vitis", _WHOLE, 98),
    ("vitis_latency_cycles", "cycles a step, Vitis", _WHOLE, 124),
    ("status", "status", _TEXT, 58),
    ("point_id", "point id", _TEXT, 140),
)

_FILTER = """
const words = text.value_input.toLowerCase().split(/\\s+/).filter((word) => word)
const preset = select.value
const data = source.data
const kept = Array.from(data.search, (row, i) =>
  (preset === every || data.energy_preset[i] === preset) && words.every((word) => row.includes(word)))
keep.booleans = kept
const count = kept.filter((yes) => yes).length
note.text = `${count.toLocaleString("en")} of ${kept.length.toLocaleString("en")} points`
"""

_MARKED = ".slick-cell.selected { background-color: #cfe6f7 !important; }"

_PRESET = """
preset.group = this.value
for (const [range, spans] of ranges) {
  const span = spans.get ? spans.get(this.value) : spans[this.value]
  if (span) { range.setv({start: span[0], end: span[1], reset_start: span[0], reset_end: span[1]}) }
}
"""


def points_source(frame: pd.DataFrame) -> ColumnDataSource:
    """The points, for the table and for the marks in the plots."""
    data: dict[str, Any] = {}
    shown = [column for column in _COLUMNS if not _is_measured(column[0]) or _is_known(frame[column[0]])]
    for name, _, form, _ in shown:
        column = frame[name]
        data[name] = column.fillna("").tolist() if form == _TEXT else column.astype("float64").to_numpy(copy=True)
    data["score"] = (frame["score"] * 100).to_numpy(copy=True)
    words = frame[[name for name, _, form, _ in shown if form == _TEXT] + ["strategy", "io_type"]].fillna("")
    reuse, steps = frame["reuse_factor"], frame["timesteps"]
    data["search"] = [
        f"{' '.join(map(str, row))} reuse={r} steps={s}".lower()
        for row, r, s in zip(words.itertuples(index=False), reuse, steps, strict=True)
    ]
    return ColumnDataSource(data)


def _is_measured(name: str) -> bool:
    """Whether it is a column of a synthesis, which most sweeps do not ask for."""
    return name.startswith(("open_rtl_", "vitis_"))


def _is_known(values: pd.Series) -> bool:
    return bool((values.notna() & (values != "not_run")).any())


def preset_select(names: Sequence[str], first: str, preset: GroupFilter, ranges: list[tuple[Range1d, Spans]]) -> Select:
    """The choice of the preset: moves the filter, and every x range to what the preset needs."""
    options: Any = list(names)
    select = Select(title="Energy preset", value=first, options=options, width=260)
    spans = [[own, {name: list(span) for name, span in found.items()}] for own, found in ranges]
    select.js_on_change("value", CustomJS(args={"preset": preset, "ranges": spans}, code=_PRESET))
    return select


def linked_copy(select: Select) -> Select:
    """A second widget that is always at the same value."""
    copy = Select(title=select.title, value=select.value, options=select.options, width=select.width)
    select.js_link("value", copy, "value")
    copy.js_link("value", select, "value")
    return copy


def points_table(source: ColumnDataSource, select: Select | None, what: str = "points") -> dict[str, Model]:
    """The table of points with its search field, its own choice of preset (it follows ``select``), and a count.

    ``what`` is what the count says they are.
    """
    presets = list(dict.fromkeys(source.data["energy_preset"]))
    first = select.value if select is not None else ALL
    shown = [first in (ALL, name) for name in source.data["energy_preset"]]
    keep = BooleanFilter(booleans=shown)
    text = TextInput(title="Search (every word must occur)", placeholder="digits int8 reuse=4", width=260)
    own = Select(title="Energy preset", value=first, options=[ALL, *presets], width=260)
    note = Div(text=f"{sum(shown):,} of {len(shown):,} {what}", styles={"font": "14px Helvetica, Arial, sans-serif"})
    args = {"text": text, "select": own, "source": source, "keep": keep, "note": note, "every": ALL}
    refresh = CustomJS(args=args, code=_FILTER.replace(" points`", f" {what}`"))
    text.js_on_change("value_input", refresh)
    own.js_on_change("value", refresh)
    if select is not None:
        select.js_link("value", own, "value")
    columns = [
        TableColumn(field=name, title=title, width=width, formatter=_formatter(form))
        for name, title, form, width in _COLUMNS
        if name in source.data and _says_something(name, source.data[name])
    ]
    table = DataTable(
        source=source,
        view=CDSView(filter=keep),
        columns=columns,
        index_position=None,
        autosize_mode="none",
        fit_columns=False,
        reorderable=False,
        frozen_columns=2,
        height=min(440, 60 + 26 * len(shown)),
        row_height=26,
        sizing_mode="stretch_width",
        stylesheets=[_MARKED],
    )
    found: dict[str, Model] = {"points-search": text, "points-preset": own, "points-note": note, "points-table": table}
    return found if len(presets) > 1 else {name: model for name, model in found.items() if model is not own}


def _says_something(name: str, values: Any) -> bool:
    """Whether a column is worth its room: an interval that is known, a clock or number of steps that varies."""
    if name.endswith("_interval"):
        return any(values)
    return name not in ("timesteps", "clock_period_ns") or len(set(values)) > 1


def _formatter(form: int) -> StringFormatter | NumberFormatter | HTMLTemplateFormatter:
    if form == _TEXT:
        return StringFormatter()
    if form == _ENERGY:  # four significant digits whatever the size
        code = '<%= Number.isFinite(value) ? Number(value).toPrecision(4) : "—" %>'
        return HTMLTemplateFormatter(template=f'<div style="text-align: right">{code}</div>')
    pattern = {_SHARE: "0.00%", _WHOLE: "0,0", _TIME: "0,0.[0000]"}[form]
    return NumberFormatter(format=pattern, text_align="right", nan_format=MISSING, null_format=MISSING)
