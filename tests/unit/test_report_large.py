"""The report of a large sweep: bounded, saying what it leaves out, and made of every point all the same."""

import itertools
import re

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_report import ALL_PRESETS, PLAN, cells, document_of, drawn, eventful, failed, row, sweep, table, text_of

from talon_lib.report import controls, html, tables, thin
from talon_lib.report.html import render
from talon_lib.sweep import table as files
from talon_lib.sweep.pareto import front
from talon_lib.sweep.schema import SCHEMA

SAID = re.compile(r"([\d,]+) of ([\d,]+) ([a-z ]+?) are (?:shown|drawn|listed): those on Pareto fronts first")
WIDTHS = {"fp32": 0.98} | {f"int{bits}": 0.5 + 0.45 * (1 - 0.7**bits) for bits in range(2, 10)}


def put(whole, name, values):
    return whole.set_column(SCHEMA.get_field_index(name), SCHEMA.field(name), pa.array(values, SCHEMA.field(name).type))


def times(whole, copies, change):
    """The table several times, each as ``change(copy, number)`` makes it, with points of their own."""
    found = []
    for number in range(copies):
        ids = [f"{number}-{own}" for own in whole.column("point_id").to_pylist()]
        found.append(change(put(whole, "point_id", ids), number))
    return pa.concat_tables(found)


def clocks(whole, copies):
    """As many clocks: designs that differ, of equal accuracy and energy."""

    def clocked(own, number):
        own = put(own, "clock_period_ns", [1 + number / 4] * own.num_rows)
        return put(own, "latency_us", pc.multiply(own.column("latency_us"), 1 + number / 4).to_pylist())

    return times(whole, copies, clocked)


def said(words):
    """What the page says it leaves out: shown and all, by what."""
    return {what: (int(shown.replace(",", "")), int(of.replace(",", ""))) for shown, of, what in SAID.findall(words)}


def listed(page):
    """The ids of the points in the table of points."""
    sources = [own for own in _models(document_of(page)) if "point_id" in _data(own)]
    (ids,) = {tuple(_data(own)["point_id"]) for own in sources}
    return ids


def _models(value):
    if isinstance(value, dict):
        yield value
        for own in value.values():
            yield from _models(own)
    elif isinstance(value, list):
        for own in value:
            yield from _models(own)


def _data(model):
    attributes = model.get("attributes")
    data = attributes.get("data") if isinstance(attributes, dict) else None
    return dict(data["entries"]) if isinstance(data, dict) and "entries" in data else {}


# --- what is kept ----------------------------------------------------------------------------------------------------


@given(st.integers(0, 400), st.integers(0, 60))
def test_an_even_sample_has_both_ends_and_equal_steps(count, most):
    found = thin.even(count, most)
    assert len(found) == min(count, most)
    assert found == sorted(set(found)) and set(found) <= set(range(count))
    if len(found) > 1:
        assert (found[0], found[-1]) == (0, count - 1)
        steps = [b - a for a, b in itertools.pairwise(found)]
        assert max(steps) - min(steps) <= 1


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 60))
def test_what_is_best_is_kept_first(first, most):
    found = thin.kept(first, most)
    assert len(found) == min(len(first), most)
    assert found == sorted(set(found))
    best = {index for index, own in enumerate(first) if own}
    assert best <= set(found) or set(found) < best


@given(st.dictionaries(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), st.integers(1, 30), min_size=1))
def test_panels_are_bounded_and_every_network_has_one_while_there_is_room(steps):
    every = [tables.Case(name, count, name, 1, "accuracy") for name, own in steps.items() for count in range(own)]
    found = thin.cases(every)
    assert found == [case for case in every if case in found]
    assert len(found) <= thin.PANELS
    assert len({case.network for case in found}) == min(len(steps), thin.PANELS)
    if len(every) <= thin.PANELS // max(len(steps), 1):
        assert found == every


def test_the_designs_that_are_drawn_are_lines_and_hold_those_on_the_front():
    frame = tables.load(clocks(table(sweep(["a"], WIDTHS, reuse=range(1, 30), presets=["zcu102"])), 40))
    own = frame[(frame["used"] > 0) & (frame["latency_us"] > 0)]
    drawn = thin.designs(own, 1)
    lines = drawn.groupby(["precision", "clock_period_ns"]).size()
    assert len(lines) == 120 and lines.min() > 20 and len(drawn) <= 4_000 < len(own)
    on = own.loc[thin.best_designs(own)]
    assert set(map(tuple, on[["precision", "clock_period_ns"]].to_numpy())) <= set(lines.index)
    ends = own.groupby("precision")["reuse_factor"].agg(["min", "max"]).iloc[0].tolist()
    assert drawn.groupby(["precision", "clock_period_ns"])["reuse_factor"].agg(
        ["min", "max"]
    ).drop_duplicates().to_numpy().tolist() == [ends]
    assert (
        thin.designs(own[own["clock_period_ns"] == 1], 1).index.tolist()
        == own.index[own["clock_period_ns"] == 1].tolist()
    )


# --- the page --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many():
    """10,000 points: two networks, and designs without end."""
    rows = [eventful(own) for own in sweep(("a", "b"), WIDTHS, reuse=(1, 2, 4, 8, 16, 32, 64))]
    return clocks(table(rows), 40)


def test_a_large_sweep_gives_a_small_page_that_says_what_is_not_in_it(many):
    page = render(many, PLAN)
    assert len(page) < 10e6
    words = text_of(page)
    assert f"{many.num_rows:,} design points: 2 networks" in words and f"{many.num_rows:,} ok" in words
    found = said(words)
    assert found["points"] == (2000, many.num_rows)
    assert found["designs"][0] <= 4000 and found["designs"][1] == 2 * 8 * 7 * 40
    assert set(found) == {"points", "designs"}, "the runs are few"
    assert "<h2>Points</h2>" in page and "<h2>All points</h2>" not in page
    assert "of 2,000 listed points" in page
    ids = listed(page)
    assert len(set(ids)) == 2000
    frame = tables.load(many)
    runs = tables.runs(frame)
    assert set(runs["point_id"][runs["on_front"]]) <= set(ids)
    for _, own in frame[frame["used"] > 0].groupby("network"):
        best = front(own["used"].tolist(), (-own["latency_us"]).tolist())
        assert set(own["point_id"].iloc[best]) <= set(ids)
    assert ids == tuple(own for own in frame["point_id"] if own in set(ids)), "in the order of the table"


def test_more_points_make_no_larger_page(many):
    sizes = [len(render(own, PLAN)) for own in (many.slice(0, many.num_rows // 2), many)]
    assert sizes[1] < 1.05 * sizes[0]


def test_figures_of_a_sampled_report_are_those_of_all_points(many):
    few = render(many.slice(0, many.num_rows // 40), PLAN)
    page = render(many, PLAN)
    assert cells(page, "neurobench") == cells(few, "neurobench")
    assert drawn(page) == drawn(few)
    assert "What the bits cost" in text_of(page)
    fronts = [[line[:-1] for line in rows] for rows in cells(page, "front")]
    assert fronts == [[line[:-1] for line in rows] for rows in cells(few, "front")]


def test_many_precisions_are_thinned_and_the_front_is_not():
    rows = []
    for bits in range(600):
        own = row("a", f"mixed{bits}", score=0.5 + (bits * 37 % 600) / 1300, preset=ALL_PRESETS[bits % 2])
        nodes = [{"node": "fc", "weight_type": f"ap_fixed<{2 + bits % 20},1>"}]
        rows.append(own | {"energy_uj": 1 + bits / 100, "nodes": nodes})
    rows += sweep(["a"], {"fp32": 0.96}, reuse=[1])
    page = render(table(rows), PLAN)
    words = text_of(page)
    found = said(words)
    assert found == {"precisions of these": (32, 601), "designs": (120, 599)}  # one of them of no bits, and no size
    legend = page.split('<section id="pareto">')[1].split('<p class="legend">')[1].split("</p>")[0]
    assert legend.count("<span>") == 32 and "fp32" in legend
    expected = tables.runs(tables.load(table(rows)))["on_front"].sum()
    assert sum(map(len, cells(page, "front"))) == expected > 10
    assert re.search(r"mixed\d+ \([\d.]+ %\) and \d+ more\.", words)


def test_many_numbers_of_steps_are_thinned_evenly():
    rows = [
        own for steps in range(1, 41) for own in sweep(("a", "b"), {"fp32": 0.9, "int8": 0.8}, [1], timesteps=steps)
    ]
    page = render(table(rows), PLAN)
    assert said(text_of(page)) == {"pairs of a network and a number of steps": (20, 80)}
    assert sum(element.startswith("bits-") for element in drawn(page)) == 20
    titles = re.findall(r"<strong>([ab], \d+ steps):</strong>", page)
    assert [titles[0], titles[9], titles[10], titles[-1]] == ["a, 1 steps", "a, 40 steps", "b, 1 steps", "b, 40 steps"]


def test_many_networks_are_thinned():
    page = render(table(sweep([f"n{i}" for i in range(45)], {"fp32": 0.9, "int8": 0.8}, [1])), PLAN)
    assert said(text_of(page)) == {"pairs of a network and a number of steps": (20, 45)}
    assert sum(element.startswith("pareto-") for element in drawn(page)) == 20


def test_many_reasons_are_cut_and_counted():
    rows = sweep(["a"]) + [failed(row("a", "int8"), reason=f"simulate: sample {number}") for number in range(450)]
    page = render(table(rows), PLAN)
    assert page.count("simulate: sample ") == thin.ROWS
    assert "200 of 450 rows are listed; all are in metrics.parquet." in text_of(page)
    one = [failed(row("a", f"odd{number}"), reason="no") for number in range(40)]
    assert "odd10, odd11 and 28 more" in text_of(render(table(sweep(["a"]) + one), PLAN))


def test_a_small_sweep_is_shown_whole():
    words = text_of(render(table(sweep(("a", "b"))), PLAN))
    assert "All points" in words
    assert not said(words) and "rows are listed" not in words and "more." not in words.split("Points")[0]


# --- where the points are from ---------------------------------------------------------------------------------------


def test_a_table_in_memory_a_file_and_a_folder_give_one_page(tmp_path, monkeypatch):
    whole = table([*sweep(("b", "a"), reuse=(1, 4, 16)), *(failed(own) for own in sweep(["c"]))])
    files.write_part(whole, tmp_path / "part")
    page = render(whole, PLAN)
    files.merge([tmp_path / "part"], tmp_path / "one.parquet", whole.num_rows)
    assert render(tmp_path / "one.parquet", PLAN) == page
    monkeypatch.setattr(files, "ROWS_IN_ONE_FILE", 20)
    monkeypatch.setattr(files, "_ROW_GROUP", 10)
    files.merge([tmp_path / "part"], tmp_path / "many.parquet", whole.num_rows)
    assert (tmp_path / "many.parquet").is_dir()
    assert render(tmp_path / "many.parquet", PLAN) == page
    html.write_report(tmp_path / "many.parquet", PLAN, tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == page


def test_types_are_taken_of_the_first_point_that_has_nodes(tmp_path, monkeypatch):
    rows = [
        failed(row("a", "x")),
        row("a", "x", nodes=[{"node": "n", "weight_type": "ap_fixed<5,1>"}, {"node": "m", "weight_type": None}]),
        row("a", "x", nodes=[{"node": "n", "weight_type": "ap_fixed<7,1>"}]),
        row("a", "y", nodes=[{"node": "n", "weight_type": "ap_fixed<3,1>"}]),
        failed(row("a", "z")),
        row("a", "z", nodes=None),
    ]
    monkeypatch.setattr(files, "_ROW_GROUP", 2)
    files.write_part(table(rows), tmp_path / "m.parquet")
    for source in (table(rows), tmp_path / "m.parquet"):
        found = tables.load(source)
        assert found["bits_text"].tolist() == ["5", "5", "5", "3", "?", "?"]
        assert "nodes" not in found, "it is most of the table"


def test_the_count_says_of_what_it_is():
    source = controls.points_source(tables.load(table(sweep(["a"], {"int8": 0.9}))))
    plain, listed = controls.points_table(source, None), controls.points_table(source, None, "listed points")
    assert plain["points-note"].text == "4 of 4 points" and listed["points-note"].text == "4 of 4 listed points"
    codes = [own["points-search"].js_property_callbacks["change:value_input"][0].code for own in (plain, listed)]
    assert codes[0].count(" points`") == 1 and codes[1] == codes[0].replace(" points`", " listed points`")


def test_a_front_without_points_is_empty():
    assert thin.best_designs(pd.DataFrame({"used": [], "latency_us": [], "status": []})).empty
