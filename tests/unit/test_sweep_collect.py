"""The table: every figure of a row is found again in the result files it was joined from, failures included."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from talon_lib.cost.event_energy import EXECUTIONS, PARTS, Execution, energy
from talon_lib.cost.layers import Layer
from talon_lib.cost.preset import get_preset, parse_preset
from talon_lib.cost.work import Arithmetic, NodeWork
from talon_lib.errors import ConfigError, FormatError
from talon_lib.sweep import planfile
from talon_lib.sweep import table as tables
from talon_lib.sweep.points import Point
from talon_lib.sweep.rows import Rows
from talon_lib.sweep.schema import AXES, GROUPS, SCHEMA, describe


def node(scale: int, weights: int, neurons: int, bits: int) -> dict[str, Any]:
    return {
        "spikes_per_sample": 1.5 * scale if neurons else 0.0,
        "effective_macs": 10.25 * scale if weights else 0.0,
        "effective_acs": 7.5 * scale if weights else 0.0,
        "dense_macs": weights * 4,
        "macs_per_step": weights,
        "weights": weights,
        "neurons": neurons,
        "weight_bits": weights * bits,
        "state_bits": neurons * 2 * bits,
        "work": done(scale, weights, neurons, bits).as_dict(),
    }


def done(scale: int, weights: int, neurons: int, bits: int) -> NodeWork:
    """A layer of 8 inputs, or neurons, over 4 steps."""
    add = (Arithmetic("add", neurons, 2 * bits, 2 * bits, False),) if neurons else ()
    return NodeWork(
        inputs=neurons or 8, outputs=3, macs=weights, acs=0, biases=0, input_bits=bits, mac_bits=bits,
        weight_bits=bits, bias_bits=0, accumulator_bits=3 * bits if weights else 0, floating=bits == 32, binary=False,
        driven=False, kernels=False, weights=weights, zero_weights=weights // 4, stored_bits=weights * bits,
        parameter_bits=weights * bits, state_bits=neurons * 2 * bits, touched_bits=neurons * 2 * bits,
        neurons=neurons, spiking=neurons > 0, arithmetic=add, events=3.5 * scale, updates=4.5 * scale,
        reached=12.5 * scale if weights else 0.0, effective_macs=10.25 * scale if weights else 0.0,
        spikes=1.5 * scale if neurons else 0.0,
    )  # fmt: skip


def hardware(bits: int) -> list[dict[str, Any]]:
    """Layers of 24 weights and 3 neurons, as the simulate stage writes them down."""
    fc = Layer("fc", "fc", "matrix", 8, 3, factors=((bits, bits),), adder_bits=2 * bits, weight_bits=bits, shares=True)
    lif = Layer("lif", "lif", "elements", 3, 3, factors=((2 * bits, 16),), state_bits=2 * bits, shares=True)
    return [fc.as_dict(), lif.as_dict()]


def simulated(scale: int, bits: int) -> dict[str, Any]:
    return {
        "fixed": bits < 32,
        "samples": 20,
        "accuracy": 0.05 * scale,
        "accuracy_by_step": [0.1, 0.2, 0.25, 0.05 * scale],
        "agreement_fp32": 0.9,
        "one_pass": True,
        "hardware": {"io_parallel": hardware(bits), "io_stream": None} if bits < 32 else None,
        "nodes": {"fc": node(scale, 24, 0, bits), "lif": node(scale, 0, 3, bits)},
        "types": {
            "input": {"result": "i"},
            "fc": {"weight": f"w{bits}", "result": f"r{bits}"},
            "lif": {"membrane": f"m{bits}", "result": "ufixed<1,1>"},
            "output": {"result": "o"},
        },
    }


def project(reuse: int, key: str) -> dict[str, Any]:
    return {"effective_reuse": {"fc": reuse}, "folder": key, "hls4ml": "1.3.0", "warnings": []}


CSIM = {"equal": True, "difference": None, "samples": 5, "steps": 4, "values": 600, "compiler": "g++-12"}


def ok(stage: str, result: dict[str, Any]) -> dict[str, Any]:
    return {"stage": stage, "version": 1, "status": "ok", "reason": None, "result": result}


def bad(stage: str, status: str, reason: str) -> dict[str, Any]:
    return {"stage": stage, "version": 1, "status": status, "reason": reason, "result": None}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two precisions, of which one is fixed; two reuse factors, of which hls4ml can do one; two presets."""
    write(tmp_path, "simulate", "s32", ok("simulate", simulated(4, 32)))
    write(tmp_path, "simulate", "s8", ok("simulate", simulated(3, 8)))
    write(tmp_path, "project", "p2", ok("project", project(2, "p2")))
    write(tmp_path, "project", "p5", ok("project", project(6, "p5")))
    write(tmp_path, "csim", "c8", ok("csim", CSIM))
    return tmp_path


def write(folder: Path, stage: str, key: str, content: Any) -> Path:
    path = folder / stage / f"{key}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def point(precision: str, reuse: int, preset: str) -> dict[str, Any]:
    fixed = precision == "int8"
    return {
        "id": f"{precision}-{reuse}-{preset}",
        "network": "net",
        "timesteps": 4,
        "precision": precision,
        "reuse_factor": reuse,
        "part": "zcu102",
        "clock_period_ns": 5.0,
        "strategy": "Latency",
        "io_type": "io_parallel",
        "energy_preset": preset,
        "simulate": "s8" if fixed else "s32",
        "project": f"p{reuse}" if fixed else None,
        "csim": "c8" if fixed else None,
        "rtl": None,
        "synth": None,
    }


PLAN: dict[str, Any] = {
    "configuration": {"stages": {"project": True, "csim": True}},
    "points": [point(p, r, e) for p in ("fp32", "int8") for r in (2, 5) for e in ("zcu102", "45nm_cmos")],
}


def table(results: Path, plan: dict[str, Any] = PLAN) -> pa.Table:
    """The table of a plan; its presets are those of the package where it does not say what they were."""
    planned = plan.get("energy_presets", {})
    names = {own["energy_preset"] for own in plan["points"]}
    presets = [parse_preset(name, planned[name]) if name in planned else get_preset(name) for name in names]
    made = Rows(results, plan["configuration"]["stages"], presets).make(Point(**own) for own in plan["points"])
    return pa.Table.from_pylist(list(made), schema=SCHEMA)


def rows(results: Path, plan: dict[str, Any] = PLAN) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table(results, plan).to_pylist()
    return found


def row(results: Path, plan: dict[str, Any] = PLAN, **where: Any) -> dict[str, Any]:
    (found,) = (r for r in rows(results, plan) if all(r[key] == value for key, value in where.items()))
    return found


INT8 = {"precision": "int8", "reuse_factor": 5, "energy_preset": "zcu102"}
FP32 = {"precision": "fp32", "reuse_factor": 5, "energy_preset": "zcu102"}


def test_there_is_a_row_for_every_point_in_the_order_of_the_plan(results: Path) -> None:
    found = rows(results)
    assert [r["point_id"] for r in found] == [p["id"] for p in PLAN["points"]]
    for r, p in zip(found, PLAN["points"], strict=True):
        assert {axis.name: r[axis.name] for axis in AXES} == {axis.name: p[axis.name] for axis in AXES}
        assert (r["status"], r["reason"]) == ("ok", None)


def test_what_was_simulated_is_in_the_row(results: Path) -> None:
    for precision, key in (("fp32", "s32"), ("int8", "s8")):
        result = json.loads((results / "simulate" / f"{key}.json").read_text())["result"]
        own = result["nodes"].values()
        for r in (r for r in rows(results) if r["precision"] == precision):
            for column in ("samples", "accuracy", "accuracy_by_step", "agreement_fp32"):
                assert r[column] == result[column]
            for column in ("spikes_per_sample", "effective_macs", "effective_acs", "dense_macs"):
                assert r[column] == sum(n[column] for n in own)
            assert r["weight_memory_bytes"] == sum(math.ceil(n["weight_bits"] / 8) for n in own)
            assert r["state_memory_bytes"] == sum(math.ceil(n["state_bits"] / 8) for n in own)
            assert r["simulate_source"] == "simulated"


def test_energy_is_counts_times_the_prices_of_the_preset_of_the_row(results: Path) -> None:
    for r in rows(results):
        preset = get_preset(r["energy_preset"])
        fc, lif = simulated(3 if r["precision"] == "int8" else 4, 8 if r["precision"] == "int8" else 32)[
            "nodes"
        ].values()
        words = math.ceil(fc["weight_bits"] / 8 / 4)
        assert r["mac_energy_uj"] == pytest.approx(24 * 4 * preset.mac_pj / 1e6)
        assert r["spike_energy_uj"] == pytest.approx(lif["spikes_per_sample"] * preset.spike_pj / 1e6)
        reads, writes = words + 3 * 4, 3 * 4
        expected = (reads * preset.sram_read_pj + writes * preset.sram_write_pj) / 1e6
        assert r["sram_energy_uj"] == pytest.approx(expected)
        parts = r["mac_energy_uj"] + r["spike_energy_uj"] + r["sram_energy_uj"]
        assert r["energy_uj"] == pytest.approx(parts) == pytest.approx(sum(n["energy_uj"] for n in r["nodes"]))


@pytest.mark.parametrize("preset", ["zcu102", "45nm_cmos"])
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_energy_by_events_is_in_the_row_in_all_by_part_and_by_node(
    results: Path, preset: str, execution: Execution
) -> None:
    for where in (FP32, INT8):
        found = row(results, **(where | {"energy_preset": preset}))
        scale, bits = (4, 32) if where is FP32 else (3, 8)
        work = {"fc": done(scale, 24, 0, bits), "lif": done(scale, 0, 3, bits)}
        expected = energy(work, 4, get_preset(preset), execution)
        assert expected is not None and expected.total > 0
        assert found[f"{execution}_energy_uj"] == pytest.approx(expected.total / 1e6)
        assert found[f"{execution}_static_energy_uj"] == 0
        for part in PARTS:
            assert found[f"{execution}_{part}_energy_uj"] == pytest.approx(getattr(expected.parts, part) / 1e6)
            for node in found["nodes"]:
                own = getattr(expected.by_node[node["node"]], part) / 1e6
                assert node[f"{execution}_parts_uj"][part] == pytest.approx(own)
        assert found["event_energy_source"] == (
            "analytic: simulated events, one price at every width of an operation, memory by bits"
        )
        assert found["connection_sparsity"] == 6 / 24 and found["footprint_bytes"] == 3 * bits + (3 * 2 * bits + 7) // 8


def test_static_power_is_drawn_for_the_latency_where_both_are_known(results: Path) -> None:
    plan = PLAN | {"energy_presets": {"zcu102": get_preset("zcu102").as_dict() | {"static_mw": 20.0}}}
    found = row(results, plan, **INT8)
    static = 20e-3 * found["latency_us"]
    assert static > 0 and found["event_static_energy_uj"] == pytest.approx(static)
    assert found["event_energy_uj"] == pytest.approx(row(results, **INT8)["event_energy_uj"] + static)
    found = row(results, plan, **FP32)
    assert (found["latency_us"], found["event_static_energy_uj"]) == (None, 0)
    assert found["event_energy_source"].endswith("; static power left out: no latency is known")


def test_a_row_says_on_which_side_of_break_even_it_is(results: Path) -> None:
    found = row(results, **INT8)
    assert (found["ann_bits"], found["break_even_source"]) == (3, "analytic: after Yan et al. 2024, simulated events")
    assert found["beats_ann"] == (found["event_energy_uj"] < found["ann_energy_uj"])


def test_there_is_no_break_even_where_one_pass_could_not_see_all(results: Path) -> None:
    write(results, "simulate", "s8", ok("simulate", simulated(3, 8) | {"one_pass": False}))
    found = row(results, **INT8)
    columns = [field.name for field in GROUPS["break_even"]]
    assert len(columns) == 7 and all(found[name] is None for name in columns)
    assert found["event_energy_uj"] > 0


def test_estimates_take_the_reuse_factor_that_hls4ml_could_do(results: Path) -> None:
    found = row(results, **INT8)
    assert found["operators"] == found["multipliers"] == 24 // 6 + 1  # of 3 neurons at a factor of 5, one
    assert found["cycles_per_step"] == 6 + 5
    assert found["interval_cycles"] == 6
    assert found["cycles_per_sample"] == 3 * 6 + 11
    assert found["latency_us"] == pytest.approx((3 * 6 + 11) * 0.005)
    assert found["estimate_source"] == "analytic: first-order hls4ml mapping"
    assert [n["effective_reuse_factor"] for n in found["nodes"]] == [6, 5]
    assert (found["reuse_factor"], found["effective_reuse_least"], found["effective_reuse_most"]) == (5, 6, 6)


def test_without_a_project_estimates_take_the_factor_that_was_asked_for(results: Path) -> None:
    write(results, "project", "p5", bad("project", "failed", "no space left"))
    found = row(results, **INT8)
    assert (found["multipliers"], found["cycles_per_step"]) == (5 + 1, 5 + 5)  # 24 products in 5 cycles, 3 neurons
    assert (found["project_status"], found["project_folder"], found["project_source"]) == ("failed", None, None)
    assert (found["status"], found["reason"]) == ("failed", "project: no space left")


def test_nodes_have_their_figures_and_types(results: Path) -> None:
    fc, lif = row(results, **INT8)["nodes"]
    assert (fc["node"], lif["node"]) == ("fc", "lif")
    assert (fc["weight_type"], fc["result_type"], fc["membrane_type"]) == ("w8", "r8", None)
    assert (lif["weight_type"], lif["result_type"], lif["membrane_type"]) == (None, "ufixed<1,1>", "m8")
    assert lif["spikes_per_sample"] == 4.5 and fc["effective_macs"] == 30.75


def test_projects_and_c_simulations_are_named_with_their_tools(results: Path) -> None:
    found = row(results, **INT8)
    assert (found["project_status"], found["project_folder"]) == ("ok", "project/p5")
    assert found["project_source"] == "hls4ml-1.3.0"
    assert (found["csim_status"], found["csim_reason"]) == ("equal", None)
    assert (found["csim_samples"], found["csim_values"], found["csim_source"]) == (5, 600, "g++-12")


def test_floating_point_rows_say_why_there_is_no_hardware(results: Path) -> None:
    found = row(results, **FP32)
    assert (found["project_status"], found["csim_status"]) == ("not_run", "not_run")
    assert found["csim_reason"] == "floating point: hardware holds fixed point only"
    assert found["multipliers"] is None and found["estimate_source"] is None


def test_stages_that_are_switched_off_say_so(results: Path) -> None:
    plan = copy.deepcopy(PLAN)
    plan["configuration"]["stages"] = {"project": True, "csim": False}
    for own in plan["points"]:
        own["csim"] = None
    found = row(results, plan, **INT8)
    assert (found["csim_status"], found["csim_reason"], found["status"]) == ("not_run", "switched off", "ok")


def test_a_difference_found_by_c_simulation_fails_the_points(results: Path) -> None:
    differing = {**CSIM, "equal": False, "difference": "sample 0, step 1"}
    write(results, "csim", "c8", ok("csim", differing))
    found = row(results, **INT8)
    assert (found["csim_status"], found["csim_reason"]) == ("different", "sample 0, step 1")
    assert (found["status"], found["reason"]) == ("failed", "csim: differs from simulation at sample 0, step 1")
    assert found["accuracy"] is not None
    assert row(results, **FP32)["status"] == "ok"


@pytest.mark.parametrize(("stage", "key"), [("simulate", "s8"), ("project", "p5"), ("csim", "c8")])
def test_a_missing_result_is_a_failed_row(results: Path, stage: str, key: str) -> None:
    (results / stage / f"{key}.json").unlink()
    found = row(results, **INT8)
    assert found["status"] == "failed"
    assert found["reason"] == f"{stage}: no result: the job did not end; run the sweep again"
    others = [r for r in rows(results) if r["precision"] == "fp32"]
    assert {r["status"] for r in others} == {"ok"}


WHOLE = json.dumps(ok("csim", CSIM))
DAMAGED = {
    "empty": "",
    "cut off": WHOLE[:60],
    "no JSON": "hello",
    "no mapping": "[1, 2]",
    "null": "null",
    "of another stage": json.dumps(ok("project", CSIM)),
    "ok without a result": json.dumps(bad("csim", "ok", "")),
    "failed with a result": json.dumps({**ok("csim", CSIM), "status": "failed", "reason": "x"}),
    "failed without a reason": json.dumps(bad("csim", "failed", "")),
    "of unknown status": json.dumps(bad("csim", "maybe", "x")),
    "with a list for a result": json.dumps(ok("csim", CSIM) | {"result": [1]}),
    "without a stage": json.dumps({"status": "failed", "reason": "x", "result": None}),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_result_is_a_failed_row_that_says_what_to_do(results: Path, damage: str) -> None:
    write(results, "csim", "c8", DAMAGED[damage])
    found = row(results, **INT8)
    assert (found["status"], found["csim_status"]) == ("failed", "failed")
    assert found["reason"] == "csim: the result c8.json is damaged; run the sweep again"


def test_bytes_that_are_no_text_are_a_damaged_result(results: Path) -> None:
    (results / "csim" / "c8.json").write_bytes(b"\xff\xfe\x00")
    assert row(results, **INT8)["reason"] == "csim: the result c8.json is damaged; run the sweep again"


SEVERITY = ["ok", "unsupported", "timeout", "failed"]


@pytest.mark.parametrize("of_simulate", SEVERITY)
@pytest.mark.parametrize("of_csim", SEVERITY)
def test_the_status_of_a_point_is_the_worst_of_its_stages(results: Path, of_simulate: str, of_csim: str) -> None:
    if of_simulate != "ok":
        write(results, "simulate", "s8", bad("simulate", of_simulate, "why not"))
    if of_csim != "ok":
        write(results, "csim", "c8", bad("csim", of_csim, "why not"))
    found = row(results, **INT8)
    worst = max(of_simulate, of_csim, key=SEVERITY.index)
    assert found["status"] == worst
    stage = "simulate" if of_simulate == worst else "csim"
    assert found["reason"] == (None if worst == "ok" else f"{stage}: why not")
    assert found["csim_status"] == ("equal" if of_csim == "ok" else of_csim)


def test_a_failed_simulation_leaves_figures_empty_and_keeps_what_other_stages_know(results: Path) -> None:
    write(results, "simulate", "s8", bad("simulate", "failed", "broken"))
    found = row(results, **INT8)
    for column in (
        "accuracy",
        "accuracy_by_step",
        "energy_uj",
        "weight_memory_bytes",
        "multipliers",
        "simulate_source",
    ):
        assert found[column] is None
    assert found["nodes"] == []
    assert (found["project_status"], found["csim_status"]) == ("ok", "equal")


# --- synthesis -------------------------------------------------------------------------------------------------------

PROOF = {
    "equal": True,
    "difference": None,
    "samples": 5,
    "values": 480,
    "cycles_per_step": 21,
    "tool": "verilator-5.048",
}
COUNTS = {"lut": 1500, "lutram": 40, "ff": 900, "dsp": 6, "bram18": 2, "tool": "yosys-0.70", "family": "xcup"}
ROUTED = {"fmax_mhz": 50.0, "tool": "yosys-0.70 nextpnr-0.8", "device": "85k", "lut4": 2000}
NO_VERILATOR = {"status": "missing", "reason": "proving needs Verilator; install it"}
NO_YOSYS = {"status": "missing", "reason": "counting needs Yosys; install it"}
NO_NEXTPNR = {"status": "missing", "reason": "a clock needs nextpnr; install it"}
DIFFERS = {**PROOF, "equal": False, "difference": "sample 0, step 1", "cycles_per_step": None}


def rtl(**changes: Any) -> dict[str, Any]:
    made = {
        "folder": "r5",
        "top": "snn",
        "sources": ["snn.sv"],
        "effective_reuse": {"fc": 6},
        "multipliers": {"fc": 4, "lif": 3},
        "proof": PROOF,
        "counts": {"xcup": COUNTS},
        "routed": None,
        "problems": [],
    }
    return ok("rtl", made | changes)


def synthesised(
    results: Path, where: dict[str, Any] = INT8, plan: dict[str, Any] = PLAN, **jobs: dict[str, Any]
) -> dict[str, Any]:
    """The row of a plan whose fixed points have these jobs, by stage with the envelope of their result."""
    plan = copy.deepcopy(plan)
    for stage, content in jobs.items():
        write(results, stage, "x", content)
        for own in plan["points"]:
            own[stage] = "x" if own["precision"] == "int8" else None
    return row(results, plan, **where)


def test_what_was_not_synthesised_says_so(results: Path) -> None:
    found = row(results, **INT8)
    assert (found["open_rtl_status"], found["vitis_status"]) == ("not_run", "not_run")
    columns = [field.name for group in ("open_rtl", "open_rtl_estimate", "vitis") for field in GROUPS[group]]
    assert {found[name] for name in columns} == {"not_run", None}
    assert synthesised(results, FP32, rtl=rtl())["open_rtl_status"] == "not_run"


def test_the_figures_of_a_proved_and_routed_design_are_in_the_row_with_their_tools(results: Path) -> None:
    without = {**COUNTS, "lut": 2100, "dsp": 0, "family": "xcup-nodsp"}
    found = synthesised(results, rtl=rtl(counts={"xcup": COUNTS, "xcup-nodsp": without}, routed=ROUTED))
    expected = {
        "status": "equal", "reason": None, "missing": None, "folder": "rtl/r5", "samples": 5, "values": 480,
        "proof_source": "verilator-5.048", "lut": 1500, "lut_nodsp": 2100, "lutram": 40,
        "ff": 900, "dsp": 6, "bram": 2, "multipliers": 7, "cycles_per_step": 21,
        "fmax_mhz": 50.0, "latency_us": 21 * 4 / 50.0,
        "fmax_source": "yosys-0.70 nextpnr-0.8 ecp5-85k", "source": "yosys-0.70 xcup",
    }  # fmt: skip
    assert {f"open_rtl_{name}" for name in expected} == {field.name for field in GROUPS["open_rtl"]}
    assert {name: found[f"open_rtl_{name}"] for name in expected} == expected
    assert (found["status"], found["reason"]) == ("ok", None)
    assert found["open_rtl_estimate_source"].startswith("analytic: ")
    for name in ("lut", "ff", "dsp", "bram"):
        assert found[f"open_rtl_{name}_estimate"] is not None


def test_energy_at_the_routed_clock_has_the_static_power_of_its_latency(results: Path) -> None:
    plan = copy.deepcopy(PLAN)
    static = {**get_preset("zcu102").as_dict(), "static_mw": 3.0}
    energies = []
    for power in ({}, {"zcu102": static}):
        found = synthesised(results, plan=plan | {"energy_presets": power}, rtl=rtl(routed=ROUTED))
        energies.append(found["open_rtl_energy_uj"])
        if not power:
            assert found["open_rtl_energy_uj"] == found["clock_energy_uj"]  # there is no static part
    assert energies[1] - energies[0] == pytest.approx(3.0 * found["open_rtl_latency_us"] * 1e-3)  # mW us = nJ
    assert synthesised(results, rtl=rtl())["open_rtl_energy_uj"] is None  # no clock is known


def test_the_columns_of_hls4ml_are_the_same_whatever_is_synthesised(results: Path) -> None:
    plain, found = row(results, **INT8), synthesised(results, rtl=rtl())
    others = [name for name in SCHEMA.names if not name.startswith("open_rtl")]
    assert {name: found[name] for name in others} == {name: plain[name] for name in others}


def test_without_a_proof_there_are_counts_and_no_cycles(results: Path) -> None:
    found = synthesised(results, rtl=rtl(proof=None, routed=ROUTED, problems=[NO_VERILATOR]))
    assert (found["open_rtl_status"], found["open_rtl_reason"]) == ("unproved", None)
    assert found["open_rtl_missing"] == "proving needs Verilator; install it"
    assert (found["open_rtl_lut"], found["open_rtl_fmax_mhz"]) == (1500, 50.0)
    for name in ("samples", "values", "cycles_per_step", "proof_source", "latency_us"):
        assert found[f"open_rtl_{name}"] is None
    assert found["status"] == "ok"


def test_without_counts_there_is_a_proof(results: Path) -> None:
    found = synthesised(results, rtl=rtl(counts={}, problems=[NO_YOSYS, NO_NEXTPNR]))
    assert (found["open_rtl_status"], found["open_rtl_reason"], found["status"]) == ("equal", None, "ok")
    assert found["open_rtl_missing"] == "counting needs Yosys; install it | a clock needs nextpnr; install it"
    assert (found["open_rtl_cycles_per_step"], found["open_rtl_lut"], found["open_rtl_source"]) == (21, None, None)


def test_a_difference_found_by_verilator_fails_the_point(results: Path) -> None:
    problems = [{"status": "failed", "reason": "Yosys failed: x"}, NO_NEXTPNR]
    found = synthesised(results, rtl=rtl(proof=DIFFERS, problems=problems))
    assert (found["open_rtl_status"], found["open_rtl_cycles_per_step"]) == ("different", None)
    assert found["open_rtl_reason"] == "sample 0, step 1 | Yosys failed: x"
    assert found["status"] == "failed"
    assert found["reason"] == "rtl: differs from simulation at sample 0, step 1 | Yosys failed: x"
    assert found["accuracy"] is not None


@pytest.mark.parametrize("status", ["failed", "timeout"])
def test_a_tool_that_failed_fails_the_point_and_leaves_the_figures_of_the_others(results: Path, status: str) -> None:
    found = synthesised(results, rtl=rtl(problems=[NO_NEXTPNR, {"status": status, "reason": "why"}]))
    assert (found["open_rtl_status"], found["open_rtl_reason"]) == (status, "why")
    assert (found["status"], found["reason"]) == (status, "rtl: why")
    assert (found["open_rtl_values"], found["open_rtl_lut"]) == (480, 1500)


def test_a_device_of_lattice_that_is_too_small_is_no_fault_of_the_design(results: Path) -> None:
    found = synthesised(results, rtl=rtl(problems=[{"status": "unsupported", "reason": "ECP5 is too small"}]))
    assert (found["open_rtl_status"], found["open_rtl_reason"]) == ("equal", "ECP5 is too small")
    assert (found["status"], found["open_rtl_missing"]) == ("ok", None)


def test_what_our_rtl_cannot_hold_is_said_and_the_point_stays_what_it_is(results: Path) -> None:
    found = synthesised(results, rtl=bad("rtl", "unsupported", "node 'cat' (Concat): no"))
    assert (found["open_rtl_status"], found["open_rtl_reason"]) == ("unsupported", "node 'cat' (Concat): no")
    assert (found["status"], found["reason"], found["csim_status"]) == ("ok", None, "equal")
    assert found["open_rtl_lut_estimate"] is None and found["lut_estimate"] > 0
    write(results, "csim", "c8", bad("csim", "timeout", "slow"))
    assert synthesised(results, rtl=bad("rtl", "unsupported", "no"))["reason"] == "csim: slow"


@pytest.mark.parametrize("status", ["failed", "timeout"])
def test_a_job_of_our_rtl_that_failed_fails_the_point(results: Path, status: str) -> None:
    found = synthesised(results, rtl=bad("rtl", status, "why not"))
    assert (found["open_rtl_status"], found["open_rtl_reason"], found["open_rtl_lut"]) == (status, "why not", None)
    assert (found["status"], found["reason"]) == (status, "rtl: why not")


def test_a_part_that_yosys_has_no_family_for_says_so(results: Path) -> None:
    part = "xcve2302-sfva784-1LP-e-S"
    plan = copy.deepcopy(PLAN)
    write(results, "rtl", "x", rtl(counts={}))
    for own in plan["points"]:
        own |= {"part": part, "rtl": "x" if own["precision"] == "int8" else None}
    found = row(results, plan, **INT8)
    assert (found["open_rtl_status"], found["status"]) == ("equal", "ok")
    assert found["open_rtl_reason"] == f"Yosys does not count for {part}"


REPORT: dict[str, Any] = {
    "lut": 2210, "ff": 1800, "dsp": 7, "bram18": 3, "uram": 0, "latency_cycles_max": 30, "interval_cycles_max": 12,
    "clock_estimated_ns": 3.65, "cosim_equal": None, "vsynth_lut": None, "vsynth_ff": None, "vsynth_dsp": None,
    "vsynth_bram18": None, "vsynth_version": None, "wns_ns": None, "power_w": None,
}  # fmt: skip


def vitis(**changes: Any) -> dict[str, Any]:
    result = {"flow": "vitis", "source": "vitis-2024.1", "steps": ["synth"], "report": REPORT | changes}
    return ok("synth", result)


def test_what_vitis_reports_is_in_the_row_and_nothing_of_vivado_that_did_not_run(results: Path) -> None:
    found = synthesised(results, synth=vitis())
    assert (found["vitis_status"], found["vitis_source"], found["status"]) == ("ok", "vitis-2024.1", "ok")
    names = {"lut": 2210, "ff": 1800, "dsp": 7, "bram": 3, "latency_cycles": 30, "interval_cycles": 12}
    assert {name: found[f"vitis_{name}"] for name in names} == names
    assert {found[name] for name in SCHEMA.names if name.startswith("vivado_")} == {None}
    found = synthesised(results, synth=vitis(vsynth_lut=1630, vsynth_version="2024.1", cosim_equal=True))
    assert (found["vivado_lut"], found["vivado_source"]) == (1630, "vivado-2024.1")
    assert (found["vitis_cosim_equal"], found["status"]) == (True, "ok")


def test_a_difference_found_by_cosim_fails_the_point(results: Path) -> None:
    found = synthesised(results, synth=vitis(cosim_equal=False))
    assert (found["vitis_status"], found["vitis_cosim_equal"], found["vitis_lut"]) == ("ok", False, 2210)
    assert (found["status"], found["reason"]) == ("failed", "synth: cosim differs from simulation")


def test_a_missing_vitis_is_said_and_fails_nothing(results: Path) -> None:
    found = synthesised(results, synth=bad("synth", "missing", "synth: needs vitis-run"))
    assert (found["vitis_status"], found["vitis_reason"]) == ("missing", "synth: needs vitis-run")
    assert (found["status"], found["reason"]) == ("ok", None)


@pytest.mark.parametrize("status", ["failed", "timeout"])
def test_a_vitis_that_failed_fails_the_point(results: Path, status: str) -> None:
    found = synthesised(results, synth=bad("synth", status, "no licence"))
    assert (found["vitis_status"], found["vitis_reason"]) == (status, "no licence")
    assert (found["status"], found["reason"]) == (status, "synth: no licence")


def test_without_a_project_the_reason_is_the_project_s(results: Path) -> None:
    write(results, "project", "p5", bad("project", "unsupported", "too deep"))
    found = synthesised(results, synth=bad("synth", "failed", "not an hls4ml project"))
    assert (found["status"], found["reason"]) == ("unsupported", "project: too deep")
    assert (found["vitis_status"], found["vitis_reason"]) == ("not_run", None)


def test_each_missing_tool_is_said_once(results: Path) -> None:
    plan = copy.deepcopy(PLAN)
    write(results, "rtl", "r2", rtl(proof=None, counts={}, problems=[NO_VERILATOR, NO_YOSYS]))
    write(results, "rtl", "r5", rtl(proof=DIFFERS, problems=[NO_NEXTPNR, NO_YOSYS]))
    write(results, "synth", "v", bad("synth", "missing", "synth: needs vitis-run"))
    for own in plan["points"]:
        if own["precision"] == "int8":
            own |= {"rtl": f"r{own['reuse_factor']}", "synth": "v"}
    lines = tables.missing_tools(table(results, plan))
    reasons = [own["reason"] for own in (NO_VERILATOR, NO_YOSYS, NO_NEXTPNR)]
    assert sorted(lines) == sorted([*reasons, "synth: needs vitis-run"])
    assert tables.missing_tools(table(results)) == []


# --- files -----------------------------------------------------------------------------------------------------------


def test_equal_results_give_equal_bytes(results: Path) -> None:
    one, two = results / "one.parquet", results / "two.parquet"
    tables.write_part(table(results), one)
    for file in results.rglob("*.json"):  # written again, later and in another order of keys
        file.write_text(json.dumps(json.loads(file.read_text()), sort_keys=True, indent=3))
    tables.write_part(table(results), two)
    assert one.read_bytes() == two.read_bytes()
    tables.write_part(table(results), one)
    assert one.read_bytes() == two.read_bytes()
    assert sorted(file.name for file in results.iterdir() if file.is_file()) == ["one.parquet", "two.parquet"]


def test_a_table_that_was_written_is_read_again(results: Path) -> None:
    made = table(results)
    tables.write_part(made, results / "m.parquet")
    read = tables.read(results / "m.parquet")
    assert read.to_pylist() == made.to_pylist()
    assert read.schema.metadata == SCHEMA.metadata
    assert [field.metadata for field in read.schema] == [field.metadata for field in SCHEMA]


def test_a_failed_write_leaves_the_table_that_was_there(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = results / "m.parquet"
    path.write_bytes(b"old")

    def half(table: pa.Table, where: Path, **_: Any) -> None:
        Path(where).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", half)
    with pytest.raises(OSError):
        tables.write_part(table(results), path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in results.iterdir() if file.is_file()] == ["m.parquet"]


def test_every_column_is_described_and_those_with_a_unit_in_their_name_have_it() -> None:
    units = {"_uj": "uJ", "_us": "us", "_ns": "ns", "_bytes": "bytes"}
    for column in describe():
        assert column["description"]
        for suffix, unit in units.items():
            assert column["name"].endswith(suffix) == (column["unit"] == unit), column["name"]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet"])
def test_a_file_that_is_no_table_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.parquet"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"m\.parquet: not a Parquet file; remove it and run talon-dse collect"):
        tables.read(path)


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"m\.parquet: there is no such file; talon-dse collect writes it"):
        tables.read(tmp_path / "m.parquet")


def test_a_table_with_other_columns_is_of_another_version(tmp_path: Path) -> None:
    pq.write_table(pa.table({"accuracy": [1.0]}), tmp_path / "m.parquet")
    with pytest.raises(FormatError, match=r"m\.parquet: written by another version of talon-dse"):
        tables.read(tmp_path / "m.parquet")


ODD = '{"configuration": {"stages": {}}, "fingerprints": {"graphs": {}}, "provenance": []}'


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"points": []}', '{"points": [], "configuration": {}}', ODD])
def test_a_file_that_is_no_plan_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "sweep.json"
    path.write_text(content)
    with pytest.raises(FormatError, match=r"sweep\.json: not the sweep\.json of a sweep; talon-dse plan writes one"):
        planfile.read_plan(path)


def test_a_plan_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"sweep\.json: No such file or directory; talon-dse plan writes it"):
        planfile.read_plan(tmp_path / "sweep.json")


def test_the_summary_counts_how_points_ended(results: Path) -> None:
    assert tables.summary(table(results)) == "8 points: 8 ok"
    write(results, "project", "p2", bad("project", "unsupported", "x"))
    write(results, "project", "p5", bad("project", "timeout", "x"))
    assert tables.summary(table(results)) == "8 points: 4 ok, 2 unsupported, 2 timeout"


def test_a_table_without_points_has_no_summary() -> None:
    with pytest.raises(ConfigError, match="the table has no points"):
        tables.summary(SCHEMA.empty_table())


def test_a_fixed_precision_is_estimated_even_where_nothing_was_built(results: Path) -> None:
    points = [p | {"project": None, "csim": None} for p in PLAN["points"]]
    plan = {"configuration": {"stages": {"project": False, "csim": False}}, "points": points}
    assert {r["precision"]: r["multipliers"] is not None for r in rows(results, plan)} == {"fp32": False, "int8": True}
