"""A sweep that is run again from its sweep.json, and what is said where it does not come out as it was."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sandbox import Sandbox, network

from talon_lib import ir

SHORT: dict[str, Any] = {"stages": {"project": False, "csim": False}, "precisions": ["fp32", "int8"]}
"""Simulations alone: what these tests are about is compared as quickly."""


@pytest.fixture
def swept(sandbox: Sandbox) -> Sandbox:
    sandbox.configure(**SHORT)
    sandbox.finish()
    return sandbox


def again(sandbox: Sandbox, *options: str) -> subprocess.CompletedProcess[str]:
    return sandbox.run("talon-dse", "reproduce", "results/tiny/sweep.json", "--cores", "1", *options)


def test_a_sweep_comes_out_as_it_was_on_another_number_of_cores(finished: Sandbox) -> None:
    done = again(finished)
    assert done.returncode == 0, done.stdout + done.stderr
    (columns,) = {len(finished.table.schema)}
    assert done.stdout.splitlines()[-1] == f"reproduced: {columns} columns of 24 rows are equal"
    second = finished.path / "results" / "reproduced" / "tiny" / "metrics.parquet"
    assert second.read_bytes() == finished.parquet


def test_columns_that_differ_are_named_with_the_first_row(swept: Sandbox) -> None:
    table = swept.table
    values = table.column("accuracy").to_pylist()
    values[5] += 0.25
    changed = table.set_column(
        table.schema.get_field_index("accuracy"), table.schema.field("accuracy"), pa.array(values)
    )
    pq.write_table(changed, swept.results / "metrics.parquet")
    done = again(swept)
    assert done.returncode == 1
    assert "not reproduced: of" in done.stdout and "1 columns differ" in done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("  accuracy"))
    assert line == f"  accuracy: 1 rows, the first is row 5: {values[5]!r} then, {values[5] - 0.25!r} now"


def test_versions_that_differ_are_said(swept: Sandbox) -> None:
    path = swept.results / "sweep.json"
    content = json.loads(path.read_text())
    content["provenance"]["environment"]["numpy"] = "0.1"
    path.write_text(json.dumps(content))
    done = again(swept)
    assert done.returncode == 0
    (line,) = (line for line in done.stdout.splitlines() if " numpy: " in line)
    assert line.startswith("package numpy: 0.1 then, ")


def test_tools_of_nodes_that_differ_are_said(finished: Sandbox) -> None:
    path = finished.results / "sweep.json"
    content = json.loads(path.read_text())
    (node,) = content["provenance"]["nodes"]
    (compiler,) = node["tools"]["g++"]
    content["provenance"]["nodes"].append(node | {"host": "elsewhere", "tools": {"g++": ["another g++"]}})
    path.write_text(json.dumps(content))
    done = again(finished)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = (line for line in done.stdout.splitlines() if "g++" in line)
    assert line == f"g++ of the nodes: another g++ and {compiler} then, {compiler} now"


def test_everything_that_a_result_may_depend_on_is_in_sweep_json(swept: Sandbox) -> None:
    content = json.loads((swept.results / "sweep.json").read_text())
    assert set(content["fingerprints"]["graphs"]) == set(content["fingerprints"]["data"]) == {"one", "two"}
    made = content["provenance"]
    assert {"numpy", "snakemake", "pyarrow", "pydantic"} <= set(made["environment"])
    assert made["tools"]["g++"] and made["python"] and made["machine"]["cores"]
    (node,) = made["nodes"]
    assert node["host"] and node["python"] == made["python"] and node["tools"] == {}  # simulations start no program
    assert content["configuration"]["samples"] == {"calibration": 8, "simulate": 20, "csim": 3}


def test_a_network_that_is_another_now_is_one_line_and_nothing_runs(swept: Sandbox) -> None:
    ir.write(swept.path / "two.nir", network(2, change=0.25))
    done = again(swept)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "talon-dse: results/tiny/sweep.json: not what it was: two.nir; put back the files of then\n"
    assert not (swept.path / "results" / "reproduced").exists()


def test_the_results_of_then_are_never_overwritten(swept: Sandbox) -> None:
    before = swept.parquet
    done = again(swept, "--results", "results")
    assert done.returncode == 2
    assert done.stderr == "talon-dse: --results results: that is where the sweep was; give another folder\n"
    assert swept.parquet == before


@pytest.mark.parametrize("content", ["", "{", "[]", '{"configuration": 3}'])
def test_what_is_no_sweep_json_is_one_line(swept: Sandbox, content: str) -> None:
    (swept.results / "sweep.json").write_text(content)
    done = again(swept)
    assert done.returncode == 2
    assert done.stderr.startswith("talon-dse: results/tiny/sweep.json: not the sweep.json of a sweep")
    assert len(done.stderr.splitlines()) == 1


def test_a_table_that_is_gone_or_damaged_is_one_line(swept: Sandbox) -> None:
    table: Path = swept.results / "metrics.parquet"
    table.write_bytes(table.read_bytes()[:1000])
    done = again(swept)
    assert done.returncode == 2 and "metrics.parquet: not a Parquet file" in done.stderr
    table.unlink()
    done = again(swept)
    assert done.returncode == 2 and "metrics.parquet: there is no such file" in done.stderr
