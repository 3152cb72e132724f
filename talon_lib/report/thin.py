"""What of a large sweep is drawn and listed, so that its report stays usable; all of it is in metrics.parquet.

Fronts, counts and spans are made of every point. The bounds hold for the whole report, whatever the axes: what is best
(on a Pareto front) comes first, then an even sample in the table's order. Sweeps below them are shown whole.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from talon_lib.report.tables import Case
from talon_lib.sweep.pareto import front

POINTS = 2_000
"""Rows of the table of points."""

ROWS = 200
"""Rows of any other table."""

NAMES = 12
"""Precisions that a sentence or a cell of a table lists."""

PANELS = 20
"""Panels of a section: networks, each at its numbers of steps."""

PRECISIONS = 32
"""Precisions in a panel, and in a legend."""

_BARS, _FEWEST = 500, 8  # precisions in all panels; in one of very many
_MARKS = 4_800  # runs in all panels of accuracy against energy
_LINES, _DESIGNS = 120, 4_000  # lines and designs in all panels of latency against resources
_MEASURED = 30  # lines in all panels of a metric of the open RTL
_LINE = ["precision", "timesteps", "part", "clock_period_ns", "strategy", "io_type"]


def even(count: int, most: int) -> list[int]:
    """At most so many of the numbers from 0 to ``count``, evenly, both ends among them."""
    if count <= most:
        return list(range(count))
    return np.linspace(0, count - 1, most).round().astype(int).tolist() if most > 1 else [0][:most]


def kept(first: Sequence[bool], most: int) -> list[int]:
    """At most so many positions, in order: those that come first, and of the others an even sample."""
    if len(first) <= most:
        return list(range(len(first)))
    best = [index for index, own in enumerate(first) if own]
    others = [index for index, own in enumerate(first) if not own]
    chosen = [best[index] for index in even(len(best), most)]
    return sorted(chosen + [others[index] for index in even(len(others), most - len(chosen))])


def cases(found: Sequence[Case]) -> list[Case]:
    """The cases that get panels: of every network some numbers of steps; of very many networks some."""
    networks = list(dict.fromkeys(case.network for case in found))
    shown = [networks[index] for index in even(len(networks), PANELS)]
    chosen: list[Case] = []
    for network in shown:
        own = [case for case in found if case.network == network]
        chosen += [own[index] for index in even(len(own), PANELS // len(shown))]
    return chosen


def precisions(rows: pd.DataFrame, best: Collection[str], panels: int) -> pd.DataFrame:
    """The rows of a case (one a precision) that one of so many panels shows: references, the best, and a sample."""
    first = [family == "float" or name in best for family, name in zip(rows["kind"], rows["precision"], strict=True)]
    return rows.iloc[kept(first, min(max(_BARS // max(panels, 1), _FEWEST), PRECISIONS))]


def runs(found: pd.DataFrame, networks: int) -> pd.DataFrame:
    """The runs of one network that are drawn against energy, for each preset likewise."""
    most = max(_MARKS // (max(networks, 1) * max(found["energy_preset"].nunique(), 1)), 20)
    groups = found.groupby("energy_preset", sort=False)
    chosen = [own.index[kept(own["on_front"].tolist(), most)] for _, own in groups]
    return found[found.index.isin(np.concatenate(chosen))]


def best_designs(found: pd.DataFrame) -> pd.Index:
    """Of the designs of one network those on the front of latency and share of the part."""
    known = found[(found["used"] > 0) & (found["latency_us"] > 0) & (found["status"] == "ok")]
    return known.index[front(known["used"].tolist(), (-known["latency_us"]).tolist())]


def distinct(found: pd.DataFrame) -> pd.DataFrame:
    """A row for each design; no preset makes another."""
    return found.drop_duplicates([*_LINE, "reuse_factor"])


def designs(found: pd.DataFrame, networks: int) -> pd.DataFrame:
    """The designs of one network that are drawn, a line being what differs in the reuse factor alone.

    Lines with a design on the front come first; of a line with many reuse factors some are drawn.
    """
    lines, marks = max(_LINES // max(networks, 1), 6), max(_DESIGNS // max(networks, 1), 80)
    each = distinct(found)
    line = each.groupby(_LINE, sort=False).ngroup()
    count = int(line.max()) + 1
    if count <= lines and len(each) <= marks:
        return each
    best = set(line[line.index.isin(best_designs(each))])
    chosen = kept([number in best for number in range(count)], lines)
    place = each.assign(line=line).groupby("line")["reuse_factor"].rank(method="first").astype(int) - 1
    length = line.map(line.value_counts())
    some = {own: set(even(own, max(marks // len(chosen), 2))) for own in set(length)}
    drawn = [own in some[size] for own, size in zip(place, length, strict=True)]
    return each[line.isin(chosen) & np.asarray(drawn)]


def measured(found: pd.DataFrame, networks: int) -> pd.DataFrame:
    """The synthesised designs of one network that are drawn: some lines, which differ in the reuse factor alone."""
    line = found.groupby(["precision", "timesteps", "open_rtl_source"], sort=False, dropna=False).ngroup()
    return found[line.isin(even(int(line.max()) + 1, max(_MEASURED // max(networks, 1), 2)))]


def points(frame: pd.DataFrame, best: pd.Index) -> pd.DataFrame:
    """The points that the table lists; ``best`` are those on a front."""
    return frame.iloc[kept(frame.index.isin(best).tolist(), POINTS)]


def note(shown: int, of: int, what: str, verb: str) -> str | None:
    """The sentence that says so; None where everything is shown."""
    if shown >= of:
        return None
    how = "those on Pareto fronts first, then an even sample"
    return f"{shown:,} of {of:,} {what} are {verb}: {how}; all are in metrics.parquet."
