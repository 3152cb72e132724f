"""Sweeps that take some of the points of a space: samples, and searches in generations that Snakemake runs."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from sandbox import BASE, BIN, Sandbox, environment

SPACE: dict[str, Any] = {
    "networks": BASE["networks"][:1],
    "precisions": {"per_node": ["int3", "int4", "int8"], "nodes": ["fc1", "lif1", "fc2"]},
    "reuse_factors": [1],
    "energy_presets": "horowitz_45nm",
    "stages": {"project": False, "csim": False},
}
"""27 points."""

SEARCH: dict[str, Any] = {
    "method": "nsga2",
    "objectives": ["accuracy max", "event_energy_uj min"],
    "budget": 12,
    "generation": 4,
}


def front(rows: list[dict[str, Any]]) -> set[tuple[float, float]]:
    """The values of the rows that none beats in both objectives."""
    values = {(row["accuracy"], row["event_energy_uj"]) for row in rows}
    return {(a, e) for a, e in values if not any(b >= a and f <= e and (b, f) != (a, e) for b, f in values)}


@pytest.mark.parametrize("method", ["nsga2", "tpe"])
def test_a_search_tries_as_many_points_as_its_budget_and_says_which_are_best(sandbox: Sandbox, method: str) -> None:
    sandbox.configure(**SPACE, search={**SEARCH, "method": method})
    done = sandbox.finish()
    rows = sandbox.rows()
    assert len(rows) == len({row["precision"] for row in rows}) == 12
    assert {row["status"] for row in rows} == {"ok"}
    assert "search: 12 of 27 points tried" in done.stdout
    best = [line for line in done.stdout.splitlines() if line.startswith("  accuracy ")]
    found = {tuple(float(part.split()[1]) for part in line.split(":")[0].split(", ")) for line in best}
    expected = front(rows)
    assert sorted(found) == [pytest.approx(pair, rel=1e-5) for pair in sorted(expected)]
    assert (sandbox.results / "study.jsonl").is_file() and (sandbox.results / "report.html").is_file()


def test_a_search_that_is_over_runs_nothing_again_and_a_larger_budget_goes_on(sandbox: Sandbox) -> None:
    sandbox.configure(**SPACE, search=SEARCH)
    sandbox.finish()
    before, files, table = {row["point_id"] for row in sandbox.rows()}, sandbox.files(), sandbox.parquet
    sandbox.finish()
    assert sandbox.files() == files and sandbox.parquet == table
    sandbox.configure(**SPACE, search={**SEARCH, "budget": 16})
    sandbox.finish()
    after = {row["point_id"] for row in sandbox.rows()}
    assert before < after and len(after) == 16
    assert {file: stamp for file, stamp in sandbox.files().items() if file in files} == files


def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(sandbox: Sandbox) -> None:
    sandbox.configure(**SPACE, search=SEARCH)
    sandbox.finish("--results", "whole")
    study = sandbox.path / "whole" / "tiny" / "study.jsonl"
    with (sandbox.path / "log").open("w") as log:
        command = [str(BIN / "talon-dse"), "sweep", "sweep.yaml", "--cores", "2"]
        run = subprocess.Popen(command, cwd=sandbox.path, env=environment(), stdout=log, stderr=subprocess.STDOUT)
    while len(sandbox.ended()) < 6:  # until the second generation
        assert run.poll() is None, (sandbox.path / "log").read_text()
        time.sleep(0.02)
    for process in [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    run.wait()
    sandbox.finish()
    assert sandbox.parquet == (study.parent / "metrics.parquet").read_bytes()


def test_a_search_of_other_objectives_does_not_go_on_with_the_study(sandbox: Sandbox) -> None:
    sandbox.configure(**SPACE, search=SEARCH)
    sandbox.finish()
    sandbox.configure(**SPACE, search={**SEARCH, "objectives": ["accuracy max", "weight_memory_bytes min"]})
    study = sandbox.results / "study.jsonl"
    before = study.read_bytes()
    for options in ((), ("--retry-failed",)):
        done = sandbox.sweep(*options)
        assert done.returncode == 2
        assert "study.jsonl: a search of other axes, objectives or files; remove it to begin anew" in done.stderr
        assert study.read_bytes() == before


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_a_sample_takes_as_many_points_of_the_space_and_always_the_same(sandbox: Sandbox, method: str) -> None:
    axes = {"precisions": "int3..int8", "reuse_factors": {"start": 1, "stop": 8, "factor": 2}}
    stages = {"project": False, "csim": False}
    sandbox.configure(**axes, stages=stages, sample={method: 7, "seed": 5})
    sandbox.finish()
    rows = sandbox.rows()
    assert len({row["point_id"] for row in rows}) == len(rows) == 7
    assert {row["reuse_factor"] for row in rows} <= {1, 2, 4, 8}
    assert {row["network"] for row in rows} == {"one", "two"}
    jobs = {(row["network"], row["precision"]) for row in rows}
    assert len(sandbox.ended()) == len(jobs) < 12  # nothing is simulated that no point needs
    sandbox.finish("--results", "again")
    assert (sandbox.path / "again" / "tiny" / "metrics.parquet").read_bytes() == sandbox.parquet
    sandbox.configure(**axes, stages=stages)
    sandbox.finish("--results", "all")
    everything = sandbox.path / "all" / "tiny" / "metrics.parquet"
    whole = {row["point_id"]: row for row in pq.read_table(everything).to_pylist()}
    assert len(whole) == 2 * 6 * 4 * 2
    assert all(whole[row["point_id"]] == row for row in rows)
    order = list(whole)
    places = [order.index(row["point_id"]) for row in rows]
    assert all(a < b for a, b in itertools.pairwise(places))


def told(study: Path) -> dict[tuple[int, int], list[float] | None]:
    """What a study was told, by point and generation: its objectives, or None where the point failed."""
    trials = [line for line in map(json.loads, study.read_text().splitlines()) if "values" in line]
    return {(own["user_attrs"]["point"], own["user_attrs"]["generation"]): own["values"] for own in trials}


def test_a_search_whose_points_failed_is_told_anew_once_the_tool_is_there(
    sandbox: Sandbox, path_without: Callable[..., str]
) -> None:
    """All that failed is run again, what a later generation asks for as well; what went well is not."""
    sandbox.configure(
        **{**SPACE, "precisions": ["int3", "int8"], "stages": {"project": False}},
        search={**SEARCH, "budget": 2, "generation": 1},
    )
    done = sandbox.sweep(path=path_without("g++", "talon-dse"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 points: 2 failed" in done.stdout.splitlines()
    study, before = sandbox.results / "study.jsonl", sandbox.files()
    assert [sorted(own) for own in zip(*told(study), strict=True)] == [[0, 1], [0, 1]]  # points, generations
    assert set(told(study).values()) == {None}
    assert {row["reason"].split(",")[0] for row in sandbox.rows()} == {"csim: C simulation needs g++"}

    done = sandbox.finish("--retry-failed")
    assert "2 points: 2 ok" in done.stdout.splitlines()
    after, rows = sandbox.files(), sandbox.rows()
    assert {Path(file).parts[0] for file in before if after[file] != before[file]} == {"csim"}
    values = [[row["accuracy"], row["event_energy_uj"]] for row in rows]
    assert [own for _, own in sorted((point, own) for (point, _), own in told(study).items())] == values
    best = [line for line in done.stdout.splitlines() if line.startswith("  accuracy ")]
    assert len(best) == len(front(rows)) > 0
