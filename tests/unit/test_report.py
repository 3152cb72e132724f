import errno
import hashlib
import itertools
import json
import os
import random
import re
import subprocess
import sys

import pyarrow as pa
import pytest
from bokeh.models import GroupFilter

from talon_lib.cost.preset import presets
from talon_lib.report import figures, html, labels, measured, tables
from talon_lib.report.html import render, write_report
from talon_lib.report.style import EVENT_PARTS
from talon_lib.sweep.schema import GROUPS, SCHEMA

PLAN = {
    "id": "0123456789abcdef",
    "name": "made",
    "configuration": {"name": "made", "stages": {"project": True, "csim": True}},
    "fingerprints": {"graphs": {"a": "f00d"}, "data": {"a": "beef"}},
    "points": [],
    "provenance": {
        "command": "talon-dse sweep 'a b.yaml'",
        "python": "3.11.7",
        "packages": {"numpy": "2.4.6", "hls4ml": None},
        "git_commit": "c0ffee",
        "git_clean": False,
        "machine": {"system": "Linux", "architecture": "x86_64"},
        "interpreter": "cpython",
    },
}
SCORES = {"fp32": 0.98, "int8": 0.975, "int6": 0.97, "int4": 0.96, "int3": 0.80}
ALL_PRESETS = ["neuromorphic_int8", "zcu102"]


ELSEWHERE = """
import hashlib, json, sys
import pyarrow as pa
from talon_lib.report.html import render
from talon_lib.sweep.schema import SCHEMA
rows, plan = json.load(open(sys.argv[1]))
print(hashlib.sha256(render(pa.Table.from_pylist(rows, schema=SCHEMA), plan).encode()).hexdigest())
"""


def weight_type(precision):
    digits = precision.removeprefix("int")
    return f"ap_fixed<{digits},1,AP_RND,AP_SAT>" if digits.isdigit() else precision


def row(network, precision, reuse=1, preset="neuromorphic_int8", score=0.9, **changes):
    is_fixed = not precision.startswith("fp")
    bits = int(re.search(r"\d+", precision)[0]) if re.search(r"\d", precision) else 8
    price = presets()[preset].mac_pj
    values = {
        "point_id": f"{network}-{precision}-{reuse}-{preset}-{len(changes)}",
        "status": "ok",
        "network": network,
        "timesteps": 4,
        "precision": precision,
        "reuse_factor": reuse,
        "part": "zcu102",
        "clock_period_ns": 5.0,
        "strategy": "Resource",
        "io_type": "io_parallel",
        "energy_preset": preset,
        "samples": 200,
        "accuracy": score,
        "accuracy_by_step": [score - 0.1, score - 0.02, score, score],
        "agreement_fp32": min(1.0, score + 0.01),
        "weight_memory_bytes": 100 * bits,
        "simulate_source": "simulated",
        "energy_uj": price * (1 + bits / 100) + 0.001,
        "mac_energy_uj": price,
        "spike_energy_uj": 0.001,
        "sram_energy_uj": price * bits / 100,
        "energy_source": "analytic: TALON accounting of simulated spikes",
        "multipliers": 1600 // reuse if is_fixed else None,
        "cycles_per_step": reuse + 2 if is_fixed else None,
        "interval_cycles": reuse if is_fixed else None,
        "latency_us": 0.005 * (4 * reuse + 2) if is_fixed else None,
        "estimate_source": "analytic" if is_fixed else None,
        "effective_reuse_least": max(reuse // 2, 1) if is_fixed else None,
        "effective_reuse_most": reuse if is_fixed else None,
        "operators": 2000 // reuse if is_fixed else None,
        **{f"{name}_estimate": bits * 100 // reuse if is_fixed else None for name in ("lut", "ff", "dsp", "bram")},
        **{f"{name}_utilisation": bits / reuse / 20 if is_fixed else None for name in ("lut", "ff", "dsp", "bram")},
        "fits": bits < 20 * reuse if is_fixed else None,
        "limiting_resource": "dsp" if is_fixed else None,
        "project_status": "ok" if is_fixed else "not_run",
        "project_source": "hls4ml-1.3.0" if is_fixed else None,
        "csim_status": "equal" if is_fixed else "not_run",
        "csim_reason": None if is_fixed else "floating point: hardware holds fixed point only",
        "csim_samples": 50 if is_fixed else None,
        "csim_values": 1000 if is_fixed else None,
        "csim_source": "g++-12.2.0" if is_fixed else None,
        "nodes": [{"node": "fc", "weight_type": weight_type(precision)}, {"node": "lif", "weight_type": None}],
    }
    return values | changes


def failed(values, reason="simulate: out of memory"):
    axes = {field.name for field in SCHEMA if not field.nullable}
    kept = {key: value for key, value in values.items() if key in axes}
    return kept | {"status": "failed", "reason": reason, "nodes": [], "project_status": "failed"}


def table(rows):
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def sweep(networks=("a",), scores=SCORES, reuse=(1, 4), presets=ALL_PRESETS, **changes):
    axes = itertools.product(networks, scores, reuse, presets)
    return [row(n, p, r, e, scores[p], **changes) for n, p, r, e in axes]


def text_of(page):
    """The page's words: no scripts, styles or tags, one space between words."""
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.S)
    page = re.sub(r"</t[hd]>", " ", page)
    page = re.sub(r"<[^>]*>", "", page)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")):
        page = page.replace(entity, character)
    return " ".join(page.split())


def document_of(page):
    (content,) = re.findall(r'<script type="application/json" id="report-document">(.*?)</script>', page, flags=re.S)
    return json.loads(content)


def drawn(page):
    """Ids of the elements that Bokeh fills; each must be there."""
    elements = set(document_of(page)["items"][0]["roots"].values())
    assert all(f'id="{element}"' in page for element in elements)
    return elements


@pytest.fixture(scope="module")
def page():
    return render(table(sweep(("a", "b"))), PLAN)


def test_needs_no_network(page):
    own = re.sub(r"<script\b[^>]*>.*?</script>", "<script></script>", page, flags=re.S)
    assert not re.search(r"""(?:src|href|srcset|action)\s*=\s*["']?(?!data:|#)""", own.split("</style>")[1])
    assert not re.search(r"@import|url\(", own)
    assert not re.search(r"<script[^>]+\bsrc\b|<link[^>]+stylesheet|<img|<iframe", own)
    assert "Bokeh" in page and "cdn.bokeh.org" not in own


def test_same_bytes_for_same_input(page, tmp_path):
    assert render(table(sweep(("a", "b"))), PLAN) == page
    small = sweep(["a"], {"fp32": 0.9, "int8": 0.9})
    here = hashlib.sha256(render(table(small), PLAN).encode()).hexdigest()
    (tmp_path / "input.json").write_text(json.dumps([small, PLAN]))
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, tmp_path / "input.json"],
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == here


def test_all_parts_are_drawn(page):
    assert drawn(page) == {
        *(f"{section}-{index}" for section in ("bits", "pareto", "energy", "steps", "hardware") for index in (0, 1)),
        *("preset-pareto", "preset-energy", "points-search", "points-preset", "points-note", "points-table"),
    }


def eventful(own):
    """The row with energy by events: each part has a size of its own, and the network wins at few bits only."""
    bits = int(re.search(r"\d+", own["precision"])[0])
    parts = dict(zip(EVENT_PARTS, (1.0, 2.0, 4.0, 8.0, 16.0), strict=True))
    found = {f"{part}_energy_uj": size * bits for part, size in parts.items()} | {"event_static_energy_uj": 1000.0}
    found |= {
        "event_energy_uj": sum(found.values()),
        "clock_energy_uj": 1040.0 + bits,
        "clock_static_energy_uj": 1000.0,
    }
    found |= {"ann_bits": 3, "ann_energy_uj": 150.0, "spike_rate": 0.25, "break_even_spike_rate": 1.25 / bits}
    found["layer_break_even_spike_rate"] = 1.5 / bits
    found |= {"footprint_bytes": 100 * bits, "connection_sparsity": 0.125, "activation_sparsity": 0.75}
    found |= {"dense_macs": 9000, "effective_macs": 400.5, "effective_acs": 30.0, "beats_ann": bits < 5}
    return own | found | {"event_energy_source": "analytic: made", "break_even_source": "analytic: made"}


def cells(page, section):
    """The texts of all table rows of a section, by table."""
    text = page.split(f'<section id="{section}">')[1].split("</section>")[0]
    bodies = re.findall(r"<tbody>(.*?)</tbody>", text, flags=re.S)
    return [[re.findall(r"<td[^>]*>(.*?)</td>", line) for line in re.findall(r"<tr>.*?</tr>", body)] for body in bodies]


def test_energy_by_events_is_drawn_by_part_and_compared_with_a_network_without_spikes():
    scores = {"fp32": 0.98, "int8": 0.97, "int4": 0.9}
    rows = [eventful(own) for own in sweep(["a"], scores, reuse=[1])]
    plain = sweep(["b"], scores, reuse=[1])
    page = render(table(rows + plain), PLAN)
    assert {"events-0", "preset-events"} <= drawn(page) and "events-1" not in drawn(page)
    runs = tables.runs(tables.load(table(rows + plain)))
    own = runs[(runs["network"] == "a") & (runs["energy_preset"] == ALL_PRESETS[0])]
    preset = GroupFilter(column_name="energy_preset", group=ALL_PRESETS[0])
    plot, spans = figures.energy_figure("a", own, preset, ALL_PRESETS[0], EVENT_PARTS, "event_dynamic_uj")
    data = plot.renderers[0].data_source.data
    assert data["precision"] == ["int4", "int8", "fp32"]
    assert data["energy_uj"] == [31.0 * 4, 31.0 * 8, 31.0 * 32] == data["event_transport_right"]
    assert data["event_state_left"] == [7.0 * 4, 7.0 * 8, 7.0 * 32]
    assert spans[ALL_PRESETS[0]][1] > 31.0 * 32
    twins = cells(page, "events")
    assert len(twins) == len(ALL_PRESETS)
    assert twins[0][0] == ["a", "int4", "124.0", "44.00", "150.0", "3", "0.250", "0.312", "0.375", "spikes"]
    assert [line[-1] for line in twins[0]] == ["spikes", "no spikes", "no spikes"]
    (metrics,) = cells(page, "neurobench")
    assert metrics[1] == ["a", "int8", "800", "12.50 %", "75.00 %", "9,000", "400", "30"]
    assert len(metrics) == 3


def test_a_preset_of_ones_own_is_shown_as_it_was_when_the_sweep_was_planned():
    mine = {"description": "My chip", "source": "bench, board 3", "static_mw": 12.0}
    mine |= dict.fromkeys(("mac_pj", "spike_pj", "sram_read_pj", "sram_write_pj"), 1.5)
    rows = [own | {"energy_preset": "mine"} for own in sweep(["a"], reuse=[1], presets=["zcu102"])]
    words = text_of(render(table(rows), PLAN | {"energy_presets": {"mine": mine}}))
    assert (
        "My chip. Events and widths: one price at every width of an operation, memory by bits, 12.0 mW static" in words
    )
    assert "bench, board 3" in words and "not a preset of this version" not in words
    assert "not a preset of this version" in text_of(render(table(rows), PLAN))


def test_summary_and_csim(page):
    words = text_of(page)
    assert "40 design points: 2 networks x 5 precisions x 2 reuse factors x 2 energy presets. 40 ok" in words.replace(
        "\u00d7", "x"
    )
    assert "8 of 8 (network, precision, io type) that hardware can hold: C simulation equal" in words
    assert "8,000 values compared, g++-12.2.0" in words


def test_provenance_and_sources(page):
    words = text_of(page)
    for said in (
        "talon-dse sweep 'a b.yaml'",
        "c0ffee , with uncommitted changes",
        "numpy 2.4.6",
        "hls4ml not installed",
    ):
        assert said.replace(" ,", ",") in words
    for said in ("f00d", "beef", PLAN["id"], "simulated", "hls4ml-1.3.0", "charges a MAC the same at every width"):
        assert said in words
    for preset in ALL_PRESETS:
        assert presets()[preset].source.rstrip() in words
    assert "A first-order estimate, analytic and not measured." in words
    assert "<noscript>" in page


def test_the_nodes_that_jobs_ran_on_are_lines_of_the_provenance():
    node = {"system": "Linux", "architecture": "x86_64", "python": "3.11.2", "packages": "f00", "host": "n1"}
    compilers = [["g++ <11>"], ["g++ <12>"]]
    for versions, expected in (
        (compilers[:1] * 2, ["2 nodes, all with Python 3.11.2, Linux, g++ <11>: n1, n2"]),
        (compilers, [f"1 node with Python 3.11.2, Linux, g++ <1{n}>: n{n}" for n in (1, 2)]),
    ):
        nodes = [node | {"host": f"n{n}", "tools": {"g++": own}} for n, own in enumerate(versions, start=1)]
        page = render(table(sweep(["a"])), PLAN | {"provenance": {**PLAN["provenance"], "nodes": nodes}})
        found = page.split("<th>jobs ran on</th><td>")[1].split("</td>")[0]
        assert found.split("<br>") == [line.replace("<", "&lt;").replace(">", "&gt;") for line in expected]
    assert "jobs ran on" not in render(table(sweep(["a"])), PLAN)


def test_where_bits_hurt(page):
    words = text_of(page)
    assert (
        "a: int6 has the fewest bits within 1 point of fp32: 97.00 % against 98.00 %, 1.00 points less "
        "(2 of 200 samples). int4 is where it starts to hurt: 96.00 %, 2.00 points less (4 of 200 samples)." in words
    )
    assert "n = 200 test samples, one sample is worth 0.50 points" in words


def test_loss_that_does_not_fall_steadily():
    scores = {"fp32": 0.98, "ap_fixed<16,6>": 0.5, "int8": 0.96, "int6": 0.98, "int4": 0.9}
    words = text_of(render(table(sweep(["a"], scores)), PLAN))
    assert "int6 has the fewest bits within 1 point of fp32: 98.00 % against 98.00 %, no loss." in words
    assert "lose more than 1 point all the same: int8 (96.00 %), ap_fixed<16,6> (50.00 %)" in " ".join(words.split())


def test_loss_without_any_precision_within():
    words = text_of(render(table(sweep(["a"], {"fp32": 0.98, "int8": 0.9, "int4": 0.8})), PLAN))
    assert "no precision stays within 1 point of fp32 (98.00 % ). The widest, int8, loses 8.00 points" in words.replace(
        "98.00 %)", "98.00 % )"
    )


def test_fp16_is_no_choice_of_bits():
    words = text_of(render(table(sweep(["a"], {"fp32": 0.98, "fp16": 0.98, "int16": 0.9, "int8": 0.8})), PLAN))
    assert "no precision stays within 1 point of fp32" in words and "The widest, int16, loses 8.00 points" in words


def test_loss_without_fp32():
    words = text_of(render(table(sweep(["a"], {"int16": 0.98, "int8": 0.98, "int4": 0.8})), PLAN))
    assert "int8 has the fewest bits within 1 point of int16" in words
    assert "fp32 is not in this sweep; int16 is the widest there is." in words


def test_pareto_rows_equal_brute_force():
    scores = {"fp32": 0.98, "int16": 0.985, "int8": 0.97, "int6": 0.975, "int4": 0.6, "int3": 0.65}
    rows = sweep(("a", "b"), scores)
    page = render(table(rows), PLAN)
    expected = []
    for preset, network in itertools.product(ALL_PRESETS, ("a", "b")):
        own = [r for r in rows if r["network"] == network and r["energy_preset"] == preset and r["reuse_factor"] == 1]
        best = [r for r in own if not any(_beats(other, r) for other in own)]
        best.sort(key=lambda r: r["energy_uj"])
        expected += [(network, r["precision"], f"{100 * r['accuracy']:.2f} %", "2") for r in best]
    bodies = re.findall(r'<table class="front">.*?<tbody>(.*?)</tbody>', page, flags=re.S)
    found = [re.findall(r"<td[^>]*>(.*?)</td>", line) for body in bodies for line in re.findall(r"<tr>.*?</tr>", body)]
    assert [(cells[0], cells[1], cells[2], cells[-1]) for cells in found] == expected
    assert len(expected) == 12


def _beats(a, b):
    no_worse = a["energy_uj"] <= b["energy_uj"] and a["accuracy"] >= b["accuracy"]
    return no_worse and (a["energy_uj"] < b["energy_uj"] or a["accuracy"] > b["accuracy"])


def test_points_that_are_not_ok_are_not_on_the_front():
    rows = sweep(["a"], {"fp32": 0.98, "int8": 0.97}, reuse=[1])
    for own in rows:
        if own["precision"] == "int8":
            own |= {
                "status": "failed",
                "reason": "csim: differs",
                "csim_status": "different",
                "csim_reason": "sample 3",
            }
    page = render(table(rows), PLAN)
    runs = tables.runs(tables.load(table(rows)))
    assert set(runs["precision"][runs["on_front"]]) == {"fp32"}
    words = text_of(page)
    assert "0 of 1 (network, precision, io type)" in words
    assert "int8 4 io_parallel different sample 3" in " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_wherever_energy_stands_its_accounting_is_named():
    page = render(table(sweep(["a"])), PLAN)
    for section in ("pareto", "energy", "front", "points"):
        assert "TALON's accounting" in page.split(f'<section id="{section}">')[1].split("</section>")[0]


def test_combinations_of_axes_have_dashes_of_their_own():
    kinds = itertools.product((4, 8), ("zcu102", "pynq_z2"), ("Latency", "Resource"))
    keys = ("timesteps", "part", "strategy")
    rows = [own for kind in kinds for own in sweep(["a"], {"int8": 0.9}, **dict(zip(keys, kind, strict=True)))]
    frame = tables.load(table(rows))
    plot = figures.hardware_figure("a", frame[frame["used"] > 0], {"int8": "#000000"})
    dashes = [tuple(own.glyph.line_dash) for own in plot.renderers if hasattr(own.glyph, "line_dash")]
    assert len(plot.legend[0].items) == 8
    assert len({*dashes}) >= 8


def test_fronts_come_in_the_order_of_the_presets():
    rows = sweep(["a"], {"int8": 0.9, "fp32": 0.98}, reuse=[1])
    for own in rows:  # of the first preset only the later row is on the front
        if (own["precision"], own["energy_preset"]) == ("int8", ALL_PRESETS[0]):
            own["energy_uj"] = 1e6
    fronts = html._fronts(tables.runs(tables.load(table(rows))))
    assert [preset for preset, _ in fronts] == ALL_PRESETS


def test_what_fits_counts_every_design_once():
    fixed = {name: score for name, score in SCORES.items() if not name.startswith("fp")}
    small = {"part": "pynq_z2", "fits": False, "limiting_resource": "lut"}
    rows = sweep(reuse=(1, 2)) + sweep(scores=fixed, reuse=(1,), **small)
    first, second = tables.fitting(tables.load(table(rows)))
    assert (first["part"], first["designs"]) == ("zcu102", 2 * len(fixed))
    assert first["fit"] == sum(row("a", name, reuse)["fits"] for name in fixed for reuse in (1, 2))
    assert first["first"] == f"DSP ({2 * len(fixed)})"
    assert (second["part"], second["designs"], second["fit"]) == ("pynq_z2", len(fixed), 0)
    assert second["first"] == f"LUT ({len(fixed)})"
    shares = [row("a", name, 1)["lut_utilisation"] * 100 for name in fixed]
    low, high = second["shares"]["LUT"].split(" to ")
    assert (float(low), float(high)) == pytest.approx((min(shares), max(shares)), rel=0.02)
    assert tables.fitting(tables.load(table([row("a", "fp32")]))) == []


def test_coinciding_points_stand_for_each_other_only_where_equal():
    rows = sweep(["a"], {"int8": 0.9}, reuse=[1, 4, 16], presets=["zcu102"])
    rows[2]["energy_uj"] *= 2
    frame = tables.load(table(rows))
    assert frame["first"].tolist() == [True, False, True]
    assert frame["stands_for"].tolist() == [2, 2, 1]


def test_text_is_escaped():
    evil = "<b>x</b></script><!--"
    plan = PLAN | {"name": evil, "configuration": {"note": evil}}
    rows = sweep([evil], {"fp32": 0.9, "int8": 0.9})
    rows.append(failed(row("a", "int4"), reason="sim: <img src=x>"))
    page = render(table(rows), plan)
    for element in ("<b>x</b>", "<img src=x>", "</script><!--"):
        assert element not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert evil in json.dumps(document_of(page))


def many(count):
    return {"fp32": 0.98, "fp16": 0.98} | {f"ap_fixed<{width},6>": 0.5 + width / 50 for width in range(8, 6 + count)}


UNLABELLED = {"accuracy": None, "accuracy_by_step": None}
CASES = {
    "one network, one point": [row("a", "int8")],
    "six networks": sweep([f"net{i}" for i in range(6)], {"fp32": 0.9, "int8": 0.8}, reuse=[1]),
    "one precision": sweep(["a"], {"fp32": 0.9}),
    "twenty precisions": sweep(["a"], many(20), reuse=[1]),
    "single preset": sweep(["a"], presets=["zcu102"]),
    "unlabelled": sweep(["a"], **UNLABELLED),
    "one of two unlabelled": sweep(["a"]) + sweep(["b"], **UNLABELLED),
    "no csim": sweep(["a"], csim_status="not_run", csim_reason="switched off", csim_source=None, csim_values=None),
    "no estimates": sweep(["a"], multipliers=None, latency_us=None, estimate_source=None),
    "a part without figures": sweep(["a"], **{f"{n}_utilisation": None for n in ("lut", "ff", "dsp", "bram")}),
    "several parts and strategies": sweep(["a"]) + sweep(["a"], part="pynq_z2", strategy="Latency", fits=False),
    "all failed": [failed(own) for own in sweep()],
    "one network failed": sweep(["a"]) + [failed(own) for own in sweep(["b"])],
    "several steps": sweep(["a"]) + sweep(["a"], timesteps=8, energy_uj=99.0),
    "several clocks": sweep(["a"]) + sweep(["a"], clock_period_ns=2.5, latency_us=0.01),
    "nothing spent": sweep(["a"], energy_uj=0.0, mac_energy_uj=0.0, spike_energy_uj=0.0, sram_energy_uj=0.0),
    "equal scores": sweep(["a"], dict.fromkeys(SCORES, 1.0)),
    "mixed precision": [
        row("a", "narrow", nodes=[{"node": n, "weight_type": f"ap_fixed<{w},1>"} for n, w in (("x", 4), ("y", 8))])
    ],
    "mixed precision, failed": [failed(row("a", "narrow"))],
    "one step": sweep(["a"], accuracy_by_step=[0.9], timesteps=1),
}


@pytest.mark.parametrize("name", CASES)
def test_any_table_gives_a_page(name):
    page = render(table(CASES[name]), PLAN)
    elements = drawn(page)
    words = text_of(page)
    assert "points-table" in elements
    assert not re.search(r"\b(nan|None|inf)\b", words.replace("None: no point", ""))
    assert "NaN" not in json.dumps(document_of(page)["items"])
    assert ("preset-pareto" in elements) == (
        len({r["energy_preset"] for r in CASES[name]}) > 1 and name != "all failed"
    )


def test_failures_are_listed():
    words = text_of(render(table(CASES["one network failed"]), PLAN))
    assert "20 ok 20 failed" in words
    assert words.count("simulate: out of memory") == 1
    assert "b fp32, int8, int6, int4, int3 20" in words


def test_all_failed_draws_no_figures():
    page = render(table(CASES["all failed"]), PLAN)
    assert all(element.startswith("points-") for element in drawn(page))
    assert "No point has both a score and an energy" in page and "No C simulation confirms" in page


def test_unlabelled_data_is_said():
    words = text_of(render(table(CASES["unlabelled"]), PLAN))
    assert "The data has no labels: agreement with the same network in fp32 stands for accuracy." in words
    assert "Accuracy against timesteps" not in words
    assert "Agreement with fp32 (%)" in json.dumps(document_of(render(table(CASES["unlabelled"]), PLAN)))


def test_plan_with_little_provenance():
    page = render(table(sweep(["a"])), {"name": "x", "points": [], "configuration": {"stages": {}}})
    assert "unknown" in page


def test_sources_cover_every_group_with_a_source():
    groups = {name for name, fields in GROUPS.items() if any(field.name.endswith("_source") for field in fields)}
    assert set(html._MEANING) == groups


# --- synthesis -------------------------------------------------------------------------------------------------------

YOSYS, VERILATOR, ROUTED = "yosys-1 xcup", "verilator-2", "yosys-1 nextpnr-3 ecp5-85k"
METRICS = ("lut", "ff", "dsp", "bram")


def synthesised(own, **changes):
    """The row with made-up figures of the open RTL: each its own, the estimates twice as much, no block RAM."""
    bits, reuse = int(re.search(r"\d+", own["precision"])[0]), own["reuse_factor"]
    counts = {"lut": 640 * bits // reuse, "ff": 320 * bits // reuse, "dsp": 64 // reuse, "bram": 0}
    found = {"open_rtl_status": "equal", "open_rtl_folder": f"rtl/{own['network']}-{bits}-{reuse}"}
    found |= {f"open_rtl_{name}": count for name, count in counts.items()}
    found |= {f"open_rtl_{name}_estimate": 2 * count for name, count in counts.items()}
    found |= {"open_rtl_cycles_per_step": 10 * reuse, "open_rtl_cycles_estimate": 20 * reuse}
    found |= {"open_rtl_values": 1000, "open_rtl_samples": 3, "open_rtl_proof_source": VERILATOR}
    found |= {"open_rtl_fmax_mhz": 123.0, "open_rtl_latency_us": 4.5, "open_rtl_fmax_source": ROUTED}
    found |= {"open_rtl_source": YOSYS, "open_rtl_estimate_source": "analytic: made", "vitis_status": "not_run"}
    return own | found | changes


def by_vitis(own, **changes):
    """The row with made-up figures of Vitis HLS, and of Vivado."""
    found = {"vitis_status": "ok", "vitis_source": "vitis-4", "vitis_clock_ns": 3.5, "vitis_cosim_equal": True}
    names = [*(f"vitis_{name}" for name in (*METRICS, "latency_cycles")), "vitis_uram", "vitis_interval_cycles"]
    found |= {name: 7000 + index for index, name in enumerate(names)}
    found |= {f"vivado_{name}": 6000 + index for index, name in enumerate(METRICS)}
    found |= {"vivado_wns_ns": -0.25, "vivado_power_w": 0.75, "vivado_source": "vivado-5"}
    return own | found | changes


def plain(cells):
    return [re.sub(r"<[^>]*>", "", cell) for cell in cells]


def fixed_rows(reuse=(1, 4), networks=("a",)):
    return sweep(networks, {"int8": 0.97, "int4": 0.9}, reuse=reuse)


def titles(page):
    """Heads of the columns of the table of all points."""
    text = json.dumps(document_of(page))
    return re.findall(r'"name": "TableColumn".*?"title": "(.*?)"', text)


def test_without_synthesis_one_line_says_how_to_ask_for_it(page):
    words = text_of(page)
    assert words.count("synth: in the configuration asks for it (docs/synthesis.md)") == 1
    assert "Synthesis" not in words and "Missing:" not in words
    assert not [title for title in titles(page) if "Yosys" in title or "Vitis" in title or "RTL" in title]


def test_the_open_rtl_is_shown_beside_its_estimates():
    rows = [row("a", "fp32"), *map(synthesised, fixed_rows())]
    page = render(table(rows), PLAN)
    (lines,) = cells(page, "open-rtl")
    assert len(lines) == 4  # both presets of a design are one row
    assert plain(lines[1]) == [
        *("a", "int4", "4", "640", "1,280", "320", "640", "16", "32", "0", "0", "40", "80", "123", "4.50"),
        *("equal (1,000)", YOSYS),
    ]
    assert [plain(line)[1:3] for line in lines] == [["int4", "1"], ["int4", "4"], ["int8", "1"], ["int8", "4"]]
    words = text_of(page)
    assert "4,000 values: 4 of 4 designs equal to the simulation, bit by bit" in words
    assert "these figures are not Vitis'" in words and "asks for it" not in words
    assert "Analytic / measured: LUT 2.0, FF 2.0, DSP 2.0, cycles a step 2.0, where both are above 0" in words
    own = {name for name in drawn(page) if name.startswith("open-rtl")}
    assert own == {f"open-rtl-0-{metric}" for metric in ("lut", "ff", "dsp", "latency_cycles")}
    assert {"LUT, Yosys", "RAMB18, Yosys", "MHz, ECP5", "open RTL"} <= set(titles(page))
    assert not [title for title in titles(page) if "Vitis" in title]


def test_every_figure_of_a_synthesis_names_its_tool():
    page = render(table([by_vitis(synthesised(own)) for own in fixed_rows()] + [row("a", "fp32")]), PLAN)
    found = {plain(line)[0]: plain(line)[1:3] for line in cells(page, "provenance")[0]}
    assert found["open_rtl"] == [f"{VERILATOR}{ROUTED}{YOSYS}", "8"]
    assert found["open_rtl_estimate"] == ["analytic: made", "8"]
    assert found["vitis"] == ["vitis-4vivado-5", "8"]
    for group, state in (("open_rtl", "Measured"), ("open_rtl_estimate", "Not measured"), ("vitis", "Measured")):
        assert html._MEANING[group][0] == state


def test_marks_of_measurements_are_filled_and_those_of_estimates_hollow():
    frame = tables.load(table([*map(synthesised, fixed_rows((1, 4, 16)))]))
    rows = measured.open_rtl(frame)
    drawn_here = dict(measured.figures(rows, {"int4": "#111111", "int8": "#222222"}))
    assert set(drawn_here) == {"lut", "ff", "dsp", "latency_cycles"}
    marks = [own for own in drawn_here["lut"].renderers if hasattr(own.glyph, "marker")]
    seen = {}
    for own in marks:
        data, colour = own.data_source.data, own.glyph.line_color
        assert own.glyph.fill_color == ("white" if data["source"][0] == "analytic: made" else colour)
        seen[colour, own.glyph.fill_color] = dict(zip(data["reuse_factor"], data["value"], strict=True))
    for colour, bits in (("#111111", 4), ("#222222", 8)):
        assert seen[colour, colour] == {reuse: 640 * bits // reuse for reuse in (1, 4, 16)}
        assert seen[colour, "white"] == {reuse: 2 * (640 * bits // reuse) for reuse in (1, 4, 16)}
    assert {own.data_source.data["source"][0] for own in drawn_here["latency_cycles"].renderers} == {
        VERILATOR,
        "analytic: made",
    }
    for plot in drawn_here.values():  # every mark is inside of the axes
        for own in plot.renderers:
            values = own.data_source.data["value"]
            assert plot.y_range.start < min(values) and max(values) < plot.y_range.end


def test_a_count_of_zero_has_no_mark_and_no_share_in_the_ratios():
    rows = [*map(synthesised, fixed_rows())]
    rows = [own | {"open_rtl_dsp": 0} if own["precision"] == "int4" else own for own in rows]
    rows = measured.open_rtl(tables.load(table(rows)))
    dsp = dict(measured.figures(rows, {"int4": "#111111", "int8": "#222222"}))["dsp"]
    filled = [own for own in dsp.renderers if getattr(own.glyph, "fill_color", "white") != "white"]
    assert [own.glyph.fill_color for own in filled] == ["#222222"]
    assert ("DSP", 2.0, 2.0, 2) in measured.ratios(rows, "open-rtl")


def test_ratios_equal_brute_force():
    rng = random.Random(3)
    rows = [synthesised(own) for own in fixed_rows((1, 2, 4, 8, 16))]
    for index, own in enumerate(rows):
        own |= {f"open_rtl_{name}": rng.choice([0, 3, 50, None]) for name in METRICS}
        own |= {f"open_rtl_{name}_estimate": rng.choice([0, 7, 11, None]) for name in METRICS}
        own["open_rtl_folder"] = str(index)
    found = {name: rest for name, *rest in measured.ratios(measured.open_rtl(tables.load(table(rows))), "open-rtl")}
    for name in METRICS:
        both = [(own[f"open_rtl_{name}_estimate"], own[f"open_rtl_{name}"]) for own in rows]
        expected = [estimate / own for estimate, own in both if estimate and own]
        assert found[measured.LABELS[name]] == [min(expected), max(expected), len(expected)]


NOTHING = {field.name: None for field in GROUPS["open_rtl"]}


def test_tools_that_are_missing_are_a_line_each_and_take_away_their_own_figures_alone():
    lines = ["yosys is missing: it counts; pip install it", "nextpnr is missing: it routes; pip install it"]
    left = {f"open_rtl_{name}": None for name in (*METRICS, "source", "fmax_mhz", "latency_us", "fmax_source")}
    rows = [synthesised(own, **left, open_rtl_missing=" | ".join(lines)) for own in fixed_rows()]
    rows = [own | {"vitis_status": "missing", "vitis_reason": "vitis is missing: install it"} for own in rows]
    page = render(table(rows), PLAN)
    words = text_of(page)
    for line in (*lines, "vitis is missing: install it"):
        assert words.count(f"Missing: {line}") == 1
    (table_of_rtl,) = cells(page, "open-rtl")
    assert plain(table_of_rtl[0])[3:6] == ["—", "5,120", "—"] and plain(table_of_rtl[0])[11:13] == ["10", "20"]
    assert plain(table_of_rtl[0])[-1] == "—"
    assert {name for name in drawn(page) if name.startswith("open-rtl")} == {"open-rtl-0-latency_cycles"}
    assert 'id="vitis"' not in page and "counted LUTs" not in words


def test_designs_that_could_not_be_synthesised_are_said_with_the_reason():
    rows = [*map(synthesised, fixed_rows())]
    reason = "ecp5: <too> large | another"
    rows[0] |= {"open_rtl_reason": reason, "open_rtl_status": "timeout"}
    rows[2] |= NOTHING | {"open_rtl_status": "unsupported", "open_rtl_reason": "node 'x'"}
    rows[3] |= {"vitis_status": "failed", "vitis_reason": "no licence"}
    page = render(table(rows), PLAN)
    _, problems = cells(page, "open-rtl")
    assert [plain(line) for line in problems] == [
        ["a", "timeout", "ecp5: &lt;too&gt; large; another", "int8", "1"],
        ["a", "unsupported", "node &#39;x&#39;", "int8", "1"],
    ]
    ((line,),) = cells(page, "vitis")
    assert plain(line) == ["a", "failed", "no licence", "int8", "1"]
    none = [own | NOTHING | {"open_rtl_status": "unsupported", "open_rtl_reason": "loops"} for own in rows]
    words = text_of(render(table(none), PLAN))
    assert "Synthesis of the open RTL" in words and "measured" not in words.split("Synthesis of the open RTL")[1][:10]


def test_a_design_that_differs_is_not_counted_as_equal():
    rows = [*map(synthesised, fixed_rows((1, 4), ("a", "b")))]
    for own in rows[:2]:
        own |= {"open_rtl_status": "different", "open_rtl_reason": "sample 0, step 1, node fc, index 2"}
    words = text_of(render(table(rows), PLAN))
    assert "8,000 values: 7 of 8 designs equal" in words and "node fc, index 2" in words


def test_vitis_is_a_table_of_its_own():
    rows = fixed_rows()
    rows = [by_vitis(own) if own["reuse_factor"] == 4 else own for own in rows]
    page = render(table(rows), PLAN)
    (lines,) = cells(page, "vitis")
    assert len(lines) == 2 and 'id="open-rtl"' not in page
    line = plain(lines[1])
    assert line[:4] == ["a", "int8", "4", "zcu102, 5.0 ns, Resource, io_parallel"]
    assert line[4:14] == ["7,000", "200", "7,001", "200", "7,002", "200", "7,003", "200", "7,004", "6"]
    assert line[14:18] == ["7,005", "7,006", "3.50", "equal"]
    assert line[18:] == ["6,000", "6,001", "6,002", "6,003", "-0.250", "0.750", "vitis-4, vivado-5"]
    assert {"LUT, Vitis", "cycles a step, Vitis"} <= set(titles(page))
    bare = [own | {name.name: None for name in GROUPS["vitis"] if name.name.startswith("vivado")} for own in rows]
    (lines,) = cells(render(table(bare), PLAN), "vitis")
    assert len(lines[0]) == 19 and plain(lines[0])[-1] == "vitis-4"


def test_write_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_report(table(CASES["one network, one point"]), PLAN, path)
    before = path.read_bytes()
    assert [own.name for own in tmp_path.iterdir()] == ["report.html"]

    def broken(self, target):
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(type(path), "replace", broken)
    with pytest.raises(OSError, match=r"disk full: .*/report.html'$"):  # the file that was asked for
        write_report(table(CASES["single preset"]), PLAN, path)
    assert [own.name for own in tmp_path.iterdir()] == ["report.html"]
    assert path.read_bytes() == before


def test_labels_do_not_cover_each_other():
    points = [(100.0 + 4 * i, 100.0 + 3 * (i % 3)) for i in range(8)]
    texts = [f"int{i}" for i in range(8)]
    places = labels.place(points, texts, [7], (400.0, 250.0))
    assert places[7].shown
    boxes = []
    for (x, y), text, own in zip(points, texts, places, strict=True):
        if own.shown:
            width = len(text) * labels.CHARACTER
            left = x + own.dx - {"left": 0, "center": width / 2, "right": width}[own.align]
            boxes.append((left, y + own.dy - labels.LINE / 2, left + width, y + own.dy + labels.LINE / 2))
    assert not any(labels._overlap(a, b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("values", [[], [5.0], [1.0, 1.0, 1.0], [9.9, 9.95, 10.0, 0.0], [3.0, 1.0, 2.0] * 30])
def test_spread_keeps_order_gap_and_limits(values):
    found = labels.spread(values, 0.5, 0.0, 10.0)
    gap = min(0.5, 10 / max(len(values) - 1, 1))
    pairs = sorted(zip(values, found, strict=True), key=lambda pair: (pair[0], pair[1]))
    assert all(b[1] - a[1] >= gap - 1e-9 for a, b in itertools.pairwise(pairs))
    assert all(-1e-9 <= value <= 10 + 1e-9 for value in found)
