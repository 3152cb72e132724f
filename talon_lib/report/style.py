"""The look of the figures: colours that colour-blind readers tell apart, one quiet axis style."""

from __future__ import annotations

from typing import Any, TypeAlias

import pandas as pd
from bokeh.core.properties import value
from bokeh.models import BoxZoomTool, HoverTool, Range1d, ResetTool, SaveTool
from bokeh.palettes import Viridis256
from bokeh.plotting import figure

INK, MUTED, RULE = "#1f2328", "#57606a", "#d8dee4"
FONT = "Helvetica, Arial, sans-serif"
Parts: TypeAlias = dict[str, tuple[str, str]]
"""Label and colour of each part of the energy, by the column that has it without its ``_energy_uj``."""

PARTS: Parts = {"mac": ("MAC", "#0072B2"), "sram": ("SRAM", "#E69F00"), "spike": ("spikes", "#D55E00")}
EVENT_PARTS: Parts = {
    "event_synapse": ("synapses", "#0072B2"),
    "event_neuron": ("neurons", "#56B4E9"),
    "event_weight_read": ("weight reads", "#E69F00"),
    "event_state": ("state", "#F0E442"),
    "event_transport": ("transport", "#D55E00"),
}
MARKERS = {"int": "circle", "ap_fixed": "square", "mixed": "triangle", "float": "diamond"}

Plot: TypeAlias = Any
"""A bokeh figure; bokeh's own annotations refuse most of what its properties take."""

Spans = dict[str, tuple[float, float]]
"""Start and end of an axis for every preset."""

_OKABE_ITO = ("#D55E00", "#E69F00", "#009E73", "#56B4E9", "#0072B2", "#CC79A7")
_FLOATS = {"fp32": "#000000", "fp16": "#808080"}


def colours(precisions: pd.DataFrame) -> dict[str, str]:
    """A colour for each precision (rows by rising bits): Okabe-Ito, or a dark part of viridis where it has too few."""
    fixed = [name for name in precisions["precision"] if name not in _FLOATS]
    if len(fixed) <= len(_OKABE_ITO):
        own = dict(zip(fixed, _OKABE_ITO, strict=False))
    else:
        own = {name: Viridis256[round(215 * (1 - i / (len(fixed) - 1)))] for i, name in enumerate(fixed)}
    return {name: _FLOATS[name] if name in _FLOATS else own[name] for name in precisions["precision"]}


def new_figure(title: str, x_label: str, y_label: str, height: int = 340, **options: Any) -> Plot:
    """An empty figure in the report's style, as wide as its place; bokeh's options pass through."""
    plot: Plot = figure(
        height=height, sizing_mode="stretch_width", min_width=300, toolbar_location="above", tools="", **options
    )
    plot.add_tools(BoxZoomTool(), ResetTool(), SaveTool())
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.toolbar.active_drag = None
    plot.outline_line_color = None
    plot.title.text = title
    plot.title.text_font_size = "14px"
    plot.title.text_color = INK
    plot.title.text_font = FONT
    for axis, label in ((plot.xaxis, x_label), (plot.yaxis, y_label)):
        axis.axis_label = label
        axis.axis_label_text_font = axis.major_label_text_font = FONT
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "12.5px"
        axis.major_label_text_font_size = "12px"
        axis.axis_label_text_color = axis.major_label_text_color = INK
        axis.axis_line_color = axis.major_tick_line_color = MUTED
        axis.minor_tick_line_color = None
    plot.grid.grid_line_color = "#eceff2"
    return plot


def span_range(span: tuple[float, float]) -> Range1d:
    """A fixed range of an axis."""
    return Range1d(start=span[0], end=span[1])


def hover(renderers: list[Any], tooltips: list[tuple[str, str]], **options: Any) -> HoverTool:
    """A hover tool on these renderers, one tooltip at a time."""
    return HoverTool(renderers=renderers, tooltips=tooltips, limit=1, visible=False, **options)


def text_style(size: str = "11.5px", **options: Any) -> dict[str, Any]:
    """Keyword arguments for text in a plot."""
    return {"text_font": value(FONT), "text_font_size": size, "text_color": INK, "text_baseline": "middle"} | options
