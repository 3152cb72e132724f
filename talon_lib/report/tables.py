"""What the report draws and says, computed from the table: pure functions on pandas frames, nothing of HTML or Bokeh.

A *run* is one network at one precision and number of steps, priced by one preset. Points that differ from it only in
hardware axes (reuse factor, part, clock, …) have its accuracy and energy; they are shown once, where the values are
indeed equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from talon_lib.cost.calibration import METRICS
from talon_lib.cost.event_energy import PARTS as EVENT_PARTS
from talon_lib.cost.preset import DEFAULT_PRESET
from talon_lib.errors import TalonError
from talon_lib.fixed import parse_type
from talon_lib.precision import Precision
from talon_lib.sweep.pareto import front
from talon_lib.sweep.schema import GROUPS, SCHEMA
from talon_lib.sweep.table import iter_batches, read_columns

TOLERANCE = 0.01
"""One point of accuracy: what fewer bits may cost."""

_RUN = ["network", "timesteps", "precision", "energy_preset"]
_DESIGN = ["reuse_factor", "part", "clock_period_ns", "strategy", "io_type"]
_KINDS = ("int", "ap_fixed", "mixed", "float")
_MEASURES = ("accuracy", "agreement_fp32", "energy_uj", "mac_energy_uj", "spike_energy_uj", "sram_energy_uj")
_EVENTS = tuple(f"event_{part}_energy_uj" for part in EVENT_PARTS)
_COUNTS = ("samples", "weight_memory_bytes", "multipliers", "latency_us", "csim_values")
_HARDWARE = ("operators", "lut_estimate", "ff_estimate", "dsp_estimate", "bram_estimate", "cycles_per_step")
_SHARES = ("lut_utilisation", "ff_utilisation", "dsp_utilisation", "bram_utilisation")


@dataclass(frozen=True)
class Case:
    """One network at one number of steps: a panel of a figure."""

    network: str
    timesteps: int
    title: str
    samples: int | None
    metric: str

    @property
    def sample_points(self) -> float | None:
        """What one sample is worth, in percentage points."""
        return 100 / self.samples if self.samples else None


def load(table: pa.Table | Path) -> pd.DataFrame:
    """All points in the order of the table (one in memory, or its path), with what the report derives of them.

    ``nodes`` is read in passing only. Raises FormatError.

    Added columns: ``bits`` of weight (mean over layers), ``bits_text``, ``kind`` of precision, ``rank`` (place of the
    precision, by rising bits), ``score`` (accuracy, or agreement with fp32 where a network has no labels), ``metric``
    (which of them), ``design`` (precision, and steps where a network has several), ``first`` (stands for
    all points of equal run, accuracy and energy) and ``stands_for`` (how many); ``event_dynamic_uj`` (event-driven
    energy without its static part); of the hardware ``used`` (percent of the part's most used resource), and as text
    ``effective`` (reuse factors), ``holds`` (whether it fits) and for every metric of a calibration ``…_interval``
    (empty without one).
    """
    frame: pd.DataFrame = read_columns(table, [name for name in SCHEMA.names if name != "nodes"]).to_pandas()
    for column in (*_MEASURES, *_EVENTS, *_COUNTS, *_HARDWARE, *_SHARES):
        frame[column] = frame[column].astype("float64")
    types = _weight_types(table)
    bits = {str(name): _bits(str(name), types.get(str(name), [])) for name in frame["precision"].unique()}
    frame["bits"] = [bits[name][0] for name in frame["precision"]]
    frame["bits_text"] = [bits[name][1] for name in frame["precision"]]
    frame["kind"] = [kind(str(name)) for name in frame["precision"]]
    frame["used"] = frame[list(_SHARES)].max(axis=1) * 100
    # without the static part, which goes with a design's latency
    frame["event_dynamic_uj"] = frame[list(_EVENTS)].sum(axis=1, min_count=len(_EVENTS))
    frame["effective"] = [
        _range(least, most)
        for least, most in zip(frame["effective_reuse_least"], frame["effective_reuse_most"], strict=True)
    ]
    frame["holds"] = [{True: "yes", False: "no"}.get(fits, "") for fits in frame["fits"]]
    for metric in METRICS:
        ends = zip(frame[f"{metric}_low"], frame[f"{metric}_high"], strict=True)
        frame[f"{metric}_interval"] = [_range(low, high) for low, high in ends]
    order = sorted(bits, key=lambda name: (bits[name][0], _KINDS.index(kind(name))))
    rank = {name: index for index, name in enumerate(order)}
    frame["rank"] = [rank[name] for name in frame["precision"]]
    labelled = frame.groupby("network")["accuracy"].transform("count") > 0
    frame["score"] = frame["accuracy"].where(labelled, frame["agreement_fp32"])
    frame["metric"] = ["accuracy" if known else "agreement with fp32" for known in labelled]
    several = frame.groupby("network")["timesteps"].transform("nunique") > 1
    steps = [f" · {count} steps" if many else "" for count, many in zip(frame["timesteps"], several, strict=True)]
    frame["design"] = frame["precision"] + pd.Series(steps, index=frame.index, dtype=frame["precision"].dtype)
    equal = [*_RUN, "score", "energy_uj"]
    preferred = frame.assign(bad=frame["status"] != "ok").sort_values("bad", kind="stable")
    frame["first"] = (~preferred.duplicated(equal)).reindex(frame.index)
    frame["stands_for"] = frame.groupby(equal, dropna=False)["point_id"].transform("size")
    return frame


def _range(least: float | None, most: float | None) -> str:
    """Whole numbers from one to another, as text; empty where there is none."""
    if least is None or most is None or pd.isna(least):
        return ""
    low, high = f"{least:,.0f}", f"{most:,.0f}"
    return low if low == high else f"{low} to {high}"


def kind(precision: str) -> str:
    """Family of a precision by its name: int, ap_fixed, float, or mixed (a mapping)."""
    if precision in ("fp16", "fp32"):
        return "float"
    if precision.startswith(("ap_fixed<", "ap_ufixed<")):
        return "ap_fixed"
    return "int" if precision.removeprefix("int").isdigit() else "mixed"


def _weight_types(table: pa.Table | Path) -> dict[str, list[str | None]]:
    """Number types of the nodes' weights by precision, of the first point of each that has nodes."""
    found: dict[str, list[str | None]] = {}
    for batch in iter_batches(table, ["precision", "nodes"]):
        known = batch.filter(pc.greater(pc.list_value_length(batch.column("nodes")), 0))
        names = pd.Series(known.column("precision").to_pylist(), dtype=object)
        new = names.index[~names.duplicated() & ~names.isin(list(found))].tolist()
        for row in known.take(pa.array(new, pa.int64())).to_pylist():
            found[row["precision"]] = [node["weight_type"] for node in row["nodes"]]
    return found


def _bits(precision: str, types: Sequence[str | None]) -> tuple[float, str]:
    """Bits of weight, as mean over layers and as text: of the types used, or where no run ended, of the name."""
    widths = [parse_type(own).bits for own in types if own]
    if not widths:
        try:
            choice = Precision.parse(precision).choice("", "weight")
        except TalonError:
            choice = None
        found = getattr(choice, "width", None) or getattr(choice, "bits", None)
        widths = [found] if found else []
    if not widths:
        return float("inf"), "?"
    low, high = min(widths), max(widths)
    return sum(widths) / len(widths), str(low) if low == high else f"{low} to {high}"


def precisions(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a precision, by rising bits: ``precision``, ``kind``, ``bits_text``."""
    return frame.drop_duplicates("precision").sort_values("rank")[["precision", "kind", "bits_text"]]


def presets(frame: pd.DataFrame) -> list[str]:
    """Energy presets in the order of the table."""
    return list(dict.fromkeys(frame["energy_preset"]))


def default_preset(names: Sequence[str]) -> str:
    """The preset that is shown first."""
    return DEFAULT_PRESET if DEFAULT_PRESET in names or not names else names[0]


def cases(frame: pd.DataFrame) -> list[Case]:
    """The panels: networks in the order of the table, each at every number of steps."""
    found = []
    for _, group in frame.groupby(["network", "timesteps"], sort=False):
        network, steps = str(group["network"].iloc[0]), int(group["timesteps"].iloc[0])
        known = group["samples"].dropna()
        title = f"{network}, {steps} steps" if group["design"].iloc[0] != group["precision"].iloc[0] else network
        samples = int(known.iloc[0]) if len(known) else None
        found.append(Case(network, steps, title, samples, str(group["metric"].iloc[0])))
    return found


def of_case(frame: pd.DataFrame, case: Case) -> pd.DataFrame:
    """One row a precision of the case that has a score, by rising bits."""
    rows = frame[(frame["network"] == case.network) & (frame["timesteps"] == case.timesteps) & frame["score"].notna()]
    return rows.drop_duplicates("precision").sort_values("rank")


def runs(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a run that has a score and an energy; ``on_front`` says where it is Pareto-optimal.

    The front is of one network and preset, lowest energy and highest score, among points that are ok.
    """
    rows = frame[frame["first"] & frame["score"].notna() & frame["energy_uj"].notna()].copy()
    rows["on_front"] = False
    for _, group in rows[rows["status"] == "ok"].groupby(["network", "energy_preset"], sort=False):
        best = front(group["energy_uj"].tolist(), group["score"].tolist())
        rows.loc[group.index[best], "on_front"] = True
    return rows


def comparisons(runs: pd.DataFrame) -> list[tuple[str, tuple[Mapping[str, Any], ...]]]:
    """The runs beside the same networks without spikes, by preset; presets without such a comparison are left out."""
    known = runs[runs["ann_energy_uj"].notna()].sort_values(["network", "timesteps", "rank"], kind="stable")
    return [(str(name), _records(own)) for name, own in known.groupby("energy_preset", sort=False)]


def neurobench(runs: pd.DataFrame) -> tuple[Mapping[str, Any], ...]:
    """One row a network, precision and number of steps that has NeuroBench's metrics; no preset changes them."""
    known = runs[runs["footprint_bytes"].notna()].drop_duplicates(["network", "timesteps", "precision"])
    return _records(known.sort_values(["network", "timesteps", "rank"], kind="stable"))


@dataclass(frozen=True)
class Loss:
    """What the bits cost in one case: designs as rows of :func:`of_case`, losses in points (percent)."""

    case: Case
    reference: str
    reference_score: float
    fewest: Mapping[str, Any] | None
    below: Mapping[str, Any] | None
    exceptions: tuple[Mapping[str, Any], ...]
    compared: int


def loss(frame: pd.DataFrame, case: Case) -> Loss | None:
    """Where fewer bits start to hurt; None where nothing can be compared.

    The reference is fp32, or the widest precision where fp32 is not in the sweep; agreement has fp32 as its reference
    in any case. ``fewest`` is the precision of fewest bits that loses no more than TOLERANCE, ``below`` the widest of
    those with fewer bits, ``exceptions`` those with as many bits or more that lose more all the same.
    """
    rows = of_case(frame, case)
    if rows.empty:
        return None
    if case.metric != "accuracy":
        reference, best = "fp32", 1.0
        others = rows[rows["precision"] != "fp32"]
    else:
        top = rows[rows["precision"] == "fp32"] if "fp32" in set(rows["precision"]) else rows.iloc[-1:]
        reference, best = str(top["precision"].iloc[0]), float(top["score"].iloc[0])
        others = rows[rows["precision"] != reference]
    if others.empty:
        return None
    if (others["kind"] != "float").any():  # fp16 is no choice of bits: hardware holds fixed point only
        others = others[others["kind"] != "float"]
    others = others.assign(lost=(best - others["score"]) * 100)
    if case.samples:
        others["lost_samples"] = (others["lost"] * case.samples / 100).round()
    within = others["lost"] <= TOLERANCE * 100 + 1e-9
    if not within.any():
        exceptions = _records(others.sort_values("rank", ascending=False))
        return Loss(case, reference, best, None, None, exceptions, len(others))
    least = others[within]["bits"].min()
    fewest = others[within & (others["bits"] == least)].sort_values("lost").iloc[0]
    below = others[others["bits"] < least].sort_values("rank", ascending=False)
    exceptions = _records(others[~within & (others["bits"] >= least)])
    nearest = below.iloc[0].to_dict() if len(below) else None
    return Loss(case, reference, best, fewest.to_dict(), nearest, exceptions, len(others))


def _records(frame: pd.DataFrame) -> tuple[Mapping[str, Any], ...]:
    return tuple({str(key): value for key, value in row.items()} for row in frame.to_dict("records"))


_NAMES = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram": "block RAM"}


def fitting(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """For each network and part: how many designs fit, what is used up first, and from where to where shares go.

    A design counts once, whatever prices it. Parts that are not in the device table are left out.
    """
    known = frame[frame["fits"].notna()]
    found = []
    for (network, part), group in known.groupby(["network", "part"], sort=False):
        own = group.drop_duplicates(["timesteps", "precision", *_DESIGN])
        first = own["limiting_resource"].value_counts(sort=False).sort_values(ascending=False, kind="stable")
        shares = {
            name: f"{_percent(own[f'{key}_utilisation'].min())} to {_percent(own[f'{key}_utilisation'].max())}"
            for key, name in _NAMES.items()
        }
        found.append(
            {
                "network": network,
                "part": part,
                "designs": len(own),
                "fit": int(own["fits"].astype(bool).sum()),
                "first": ", ".join(f"{_NAMES[str(name)]} ({count})" for name, count in first.items()),
                "shares": shares,
            }
        )
    return found


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.0f}" if percent >= 10 or percent == 0 else f"{percent:.1f}"


def csim(frame: pd.DataFrame) -> dict[str, Any]:
    """C simulations: a row for each (network, steps, precision, io type), and how many are equal."""
    key = ["network", "timesteps", "precision", "io_type"]
    jobs = frame[frame["csim_status"].notna() & (frame["csim_status"] != "not_run")].drop_duplicates(key)
    held = jobs[jobs["csim_status"] != "unsupported"]
    equal = held[held["csim_status"] == "equal"]
    return {
        "held": len(held),
        "equal": len(equal),
        "values": int(equal["csim_values"].sum()),
        "compilers": sorted(set(equal["csim_source"].dropna())),
        "others": jobs.loc[jobs["csim_status"] != "equal", [*key, "csim_status", "csim_reason"]].to_dict("records"),
        "not_run": sorted(set(frame["csim_reason"][frame["csim_status"] == "not_run"].dropna())),
    }


def failures(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Points that are not ok, those of equal status, reason and network as one row."""
    bad = frame[frame["status"] != "ok"]
    found: dict[tuple[str, str, str], list[str]] = {}  # pandas' groups are slow where every point has its own reason
    columns = (bad["status"], bad["reason"].fillna(""), bad["network"], bad["precision"])
    for status, reason, network, precision in zip(*columns, strict=True):
        found.setdefault((status, reason, network), []).append(precision)
    return [
        {"status": status, "reason": reason, "network": network, "points": len(own)}
        | {"precisions": list(dict.fromkeys(own))}
        for (status, reason, network), own in found.items()
    ]


def sources(frame: pd.DataFrame, group: str) -> list[str]:
    """The values of a group's source columns that occur, column by column."""
    return [value for column in source_columns(group) for value in sorted(set(frame[column].dropna()))]


def source_columns(group: str) -> list[str]:
    """The columns of a group that say where its figures are from: one, or one for each of its tools."""
    return [field.name for field in GROUPS[group] if field.name.endswith("_source")]
