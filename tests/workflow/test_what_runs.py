"""A sweep runs what is missing and no more: job lists from plans, and the files after real runs."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sandbox import BASE, Sandbox, counts, network

from talon_lib import ir
from talon_lib.sweep.schema import SCHEMA

TABLE = {"collect": 1, "report": 1}
"""The rules that make the table and the report."""

Run = tuple[Sandbox, subprocess.CompletedProcess[str]]


def test_a_sweep_ends_with_a_summary_and_says_where_the_report_is(undisturbed: Run) -> None:
    sandbox, done = undisturbed
    assert done.stdout.splitlines() == [
        "24 points: 24 ok",
        "table:  results/tiny/metrics.parquet",
        "report: results/tiny/report.html",
    ]
    assert (sandbox.results / "report.html").stat().st_size > 0


def test_the_table_has_a_row_for_every_point_of_the_product(undisturbed: Run) -> None:
    sandbox, _ = undisturbed
    axes = ("network", "precision", "reuse_factor", "energy_preset")
    found = [tuple(row[axis] for axis in axes) for row in sandbox.rows()]
    assert found == [
        (network, precision, reuse, preset)
        for network in ("one", "two")
        for precision in BASE["precisions"]
        for reuse in BASE["reuse_factors"]
        for preset in BASE["energy_presets"]
    ]


def test_the_table_has_the_one_schema_with_descriptions_and_units(undisturbed: Run) -> None:
    sandbox, _ = undisturbed
    schema = sandbox.table.schema
    assert schema.equals(SCHEMA)
    assert schema.metadata == SCHEMA.metadata
    assert [field.metadata for field in schema] == [field.metadata for field in SCHEMA]
    assert all(field.metadata[b"description"] for field in schema)
    assert schema.field("energy_uj").metadata[b"unit"] == b"uJ"
    assert schema.field("energy_uj").type == pa.float64()


def test_every_fixed_precision_is_confirmed_by_c_simulation(undisturbed: Run) -> None:
    sandbox, _ = undisturbed
    assert {(row["precision"], row["csim_status"]) for row in sandbox.rows()} == {
        ("fp32", "not_run"),
        ("int8", "equal"),
        ("ap_fixed<12,5>", "equal"),
    }
    assert {row["csim_samples"] for row in sandbox.rows(csim_status="equal")} == {3}


def test_every_project_that_the_table_names_is_there(undisturbed: Run) -> None:
    sandbox, _ = undisturbed
    folders = {row["project_folder"] for row in sandbox.rows(project_status="ok")}
    assert len(folders) == 8  # 2 networks x 2 fixed precisions x 2 reuse factors
    assert all((sandbox.results / folder / "hls4ml_config.json").is_file() for folder in folders)


def test_a_second_run_runs_nothing(finished: Sandbox) -> None:
    before, stamps, plan = finished.files(), finished.stamps(), (finished.results / "sweep.json").read_bytes()
    assert finished.planned_jobs() == {}
    done = finished.finish()
    assert finished.ran() == {}
    assert done.stdout.startswith("24 points: 24 ok\n")
    assert finished.files() == before
    assert finished.stamps() == stamps and (finished.results / "sweep.json").read_bytes() == plan


def test_the_nodes_that_jobs_ran_on_are_in_sweep_json_and_the_report_and_run_nothing_again(finished: Sandbox) -> None:
    plan = finished.results / "sweep.json"
    (here,) = json.loads(plan.read_text())["provenance"]["nodes"]
    assert here["host"] == socket.gethostname() and len(here["tools"]["g++"]) == 1
    path = min((finished.results / "records" / "csim").glob("*.json"))
    record = json.loads(path.read_text())
    record["node"]["tools"]["g++"] = "g++ of another node"
    path.write_text(json.dumps(record | {"host": "elsewhere"}))
    parquet, written = finished.parquet, plan.stat().st_mtime_ns
    (finished.results / "metrics.parquet").unlink()
    finished.finish()
    assert finished.ran() == TABLE
    nodes = json.loads(plan.read_text())["provenance"]["nodes"]
    assert {own["host"]: own["tools"]["g++"] for own in nodes} == {
        socket.gethostname(): here["tools"]["g++"],
        "elsewhere": ["g++ of another node"],
    }
    assert "g++ of another node: elsewhere" in (finished.results / "report.html").read_text()
    assert finished.parquet == parquet and plan.stat().st_mtime_ns == written
    stamps = finished.stamps()
    finished.finish()
    assert finished.ran() == {} and finished.stamps() == stamps


REALLY_RUN = {"one more precision", "one more energy preset", "one more reuse factor"}

CHANGES: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "one more precision": (
        {"precisions": [*BASE["precisions"], "int4"]},
        {"simulate": 2, "project": 4, "csim": 2},  # one for each network; a project for each reuse factor
    ),
    "one more floating-point precision": ({"precisions": [*BASE["precisions"], "fp16"]}, {"simulate": 2}),
    "one more energy preset": ({"energy_presets": [*BASE["energy_presets"], "28nm_cmos"]}, {}),
    "one more reuse factor": ({"reuse_factors": [1, *BASE["reuse_factors"]]}, {"project": 4}),
    "one more part": ({"hardware": {"part": ["zcu102", "pynq_z2"]}}, {"project": 8}),
    "one more clock": ({"hardware": {"clock_period_ns": [5.0, 10.0]}}, {"project": 8}),
    "one more strategy": ({"hardware": {"strategy": ["Latency", "Resource"]}}, {"project": 8, "csim": 4}),
    "one more io type": ({"hardware": {"io_type": ["io_parallel", "io_stream"]}}, {"project": 8, "csim": 4}),
    "one precision less": ({"precisions": ["fp32", "int8"]}, {}),
    "precisions in another order": ({"precisions": BASE["precisions"][::-1]}, {}),
    "the longer name of a precision": ({"precisions": ["fp32", "int8", "ap_fixed<12,5,AP_TRN,AP_WRAP>"]}, {}),
    "more time for C simulation": ({"stages": {"csim_timeout_s": 60.0}}, {}),
    "more samples": ({"samples": {**BASE["samples"], "simulate": 30}}, {"simulate": 6}),
    "more samples for C simulation": ({"samples": {**BASE["samples"], "csim": 4}}, {"csim": 4}),
    "more calibration": (
        {"samples": {**BASE["samples"], "calibration": 9}},
        {"simulate": 2, "project": 4, "csim": 2},  # of int8, which alone is calibrated
    ),
    "another number of steps": (
        {"networks": [BASE["networks"][0], {**BASE["networks"][1], "timesteps": 4}]},
        {"simulate": 3, "project": 2, "csim": 2},  # the projects of ap_fixed do not depend on steps
    ),
    "another name of a network": ({"networks": [BASE["networks"][0], {**BASE["networks"][1], "name": "renamed"}]}, {}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_runs_only_what_depends_on_it(finished: Sandbox, change: str) -> None:
    changes, jobs = CHANGES[change]
    before, rows = finished.files(), {row["point_id"]: row for row in finished.rows()}
    ended = finished.ended()
    finished.configure(**changes)
    planned = finished.planned_jobs()
    assert counts(planned) == jobs
    new = {f"{stage}/{key}" for stage in jobs for key in planned[stage]}
    assert not new & ended
    if change not in REALLY_RUN:
        return
    done = finished.finish()
    ran = finished.ran()
    assert {rule for rule in ran if rule != "measured"} == {*TABLE, *jobs}
    assert all(ran[rule] == 1 for rule in TABLE)
    assert finished.ended() == ended | new
    after = finished.files()
    assert {file: after[file] for file in before} == before
    assert " ok\n" in done.stdout and "failed" not in done.stdout
    table = {row["point_id"]: row for row in finished.rows()}
    assert len(table) > len(rows)
    assert {key: table[key] for key in rows} == rows
    assert finished.planned_jobs() == {}


def test_touching_a_network_runs_nothing(finished: Sandbox) -> None:
    for name in ("one.nir", "data.npz", "sweep.yaml"):
        os.utime(finished.path / name)
    assert finished.planned_jobs() == {}


def test_renaming_a_network_file_runs_no_job_of_a_stage(finished: Sandbox) -> None:
    (finished.path / "one.nir").rename(finished.path / "moved and renamed.nir")
    finished.configure(networks=[{**BASE["networks"][0], "graph": "moved and renamed.nir"}, BASE["networks"][1]])
    before, parquet = finished.files(), finished.parquet
    assert finished.planned_jobs() == {}
    finished.finish()
    assert finished.ran() == TABLE
    assert finished.files() == before
    assert finished.parquet == parquet
    assert finished.planned_jobs() == {}


def test_changing_one_weight_runs_everything_of_that_network_only(finished: Sandbox) -> None:
    ended, unchanged = finished.ended(), finished.rows(network="one")
    changed = finished.rows(network="two")
    ir.write(finished.path / "two.nir", network(2, change=0.25))
    planned = finished.planned_jobs()
    assert counts(planned) == {"simulate": 3, "project": 4, "csim": 2}
    assert not {f"{stage}/{key}" for stage in ("simulate", "project", "csim") for key in planned[stage]} & ended
    finished.finish()
    assert finished.rows(network="one") == unchanged
    assert not {row["point_id"] for row in changed} & {row["point_id"] for row in finished.rows(network="two")}
    assert finished.planned_jobs() == {}


def test_changing_a_label_runs_no_project_whose_types_are_given(finished: Sandbox) -> None:
    with np.load(finished.path / "data.npz") as archive:
        arrays = dict(archive)
    arrays["y_test"][0] = (arrays["y_test"][0] + 1) % 3
    np.savez(finished.path / "data.npz", **arrays)
    # those of int8 have their scales from the data set, of which the labels are a part
    assert counts(finished.planned_jobs()) == {"simulate": 6, "csim": 4, "project": 4}


def test_a_result_that_is_removed_is_made_again_and_the_table_is_the_same(finished: Sandbox) -> None:
    victim = sorted((finished.results / "simulate").glob("*.json"))[0]
    before, parquet = finished.files(), finished.parquet
    victim.unlink()
    assert counts(finished.planned_jobs()) == {"simulate": 1}
    finished.finish()
    assert finished.ran() == {"simulate": 1, "measured": 1, **TABLE}
    assert finished.parquet == parquet
    moved = {file for file, stamp in finished.files().items() if before[file] != stamp}
    assert moved == {str(victim.relative_to(finished.results))}


def test_plain_snakemake_runs_the_workflow_too(sandbox: Sandbox) -> None:
    sandbox.configure(networks=BASE["networks"][:1], stages={"csim": False})
    done = sandbox.run("snakemake", "--cores", "2", "--configfile", "sweep.yaml")
    assert done.returncode == 0, done.stderr
    assert {row["status"] for row in sandbox.rows()} == {"ok"}
    assert len(sandbox.rows()) == 12
    assert "specific profile profiles/default" in done.stdout + done.stderr  # it is found without an option
    stamps = sandbox.stamps()
    again = sandbox.run("snakemake", "--cores", "2", "--configfile", "sweep.yaml")
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr
    assert sandbox.ran() == {}
    assert sandbox.planned_jobs() == {}  # the wrapper takes them for the same
    sandbox.finish()
    assert sandbox.ran() == {}
    assert sandbox.stamps() == stamps


def test_plain_snakemake_says_what_is_wrong_with_a_configuration_in_one_line(sandbox: Sandbox) -> None:
    sandbox.configure(reuse_factor=[4])
    done = sandbox.run("snakemake", "--cores", "2", "--configfile", "sweep.yaml", "--dry-run")
    assert done.returncode == 1
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "reuse_factor" in line]
    assert lines == [
        "configuration: reuse_factor: unknown key; allowed here: name, networks, precisions, reuse_factors, "
        "energy_presets, sample, search, hardware, samples, stages, synth, calibration"
    ]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "imported"), [(("--config", "run_folder=results/tiny"), False), (("--configfile", "sweep.yaml"), True)]
)
def test_snakemake_imports_nothing_of_ours_where_the_run_is_prepared(
    finished: Sandbox, options: tuple[str, str], imported: bool
) -> None:
    """What it imports it pays for at every start, and again at its end."""
    dry = ("--cores", "1", "--dry-run", *options)
    done = finished.run("python", "-X", "importtime", "-m", "snakemake", *dry)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr
    assert bool(re.search(r"\| +talon_lib\b", done.stderr)) == imported


def test_lint_complains_of_nothing_but_missing_containers(sandbox: Sandbox) -> None:
    """The software of the rules is the package that the workflow comes with, pinned by requirements.lock."""
    done = sandbox.run("snakemake", "--lint", "--configfile", "sweep.yaml")
    complaints = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip().startswith("*")]
    assert set(complaints) == {"* Specify a conda environment or container for each rule.:"}


def test_names_that_a_shell_would_split_are_no_trouble(sandbox: Sandbox) -> None:
    (sandbox.path / "one.nir").rename(sandbox.path / "it's $one.nir")
    sandbox.configure(
        networks=[{**BASE["networks"][0], "graph": "it's $one.nir"}],
        precisions=["ap_fixed<10,4>", {"name": "my 'mix'", "weight": "int4", "result": "ap_fixed<14,6>"}],
        stages={"csim": False},
    )
    sandbox.finish("--results", "my results/2024")
    collected = sandbox.path / "my results" / "2024" / "tiny" / "metrics.parquet"
    table = pq.read_table(collected)
    assert set(table.column("precision").to_pylist()) == {"ap_fixed<10,4>", "my 'mix'"}
    assert set(table.column("status").to_pylist()) == {"ok"}
    assert sandbox.planned_jobs("--results", "my results/2024") == {}


def test_a_results_folder_may_have_a_number_for_a_name(finished: Sandbox) -> None:
    (finished.path / "results").rename(finished.path / "007")
    assert finished.planned_jobs("--results", "007") == {}
