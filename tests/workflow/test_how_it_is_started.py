"""Ways to start a sweep: by its path, beside another, with options that are not for it, and planned before or after."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest
from sandbox import BIN, QUICK, Gate, Sandbox, leftovers
from test_what_goes_wrong import Run, stopped, wait_for

REFUSED = "another run of this sweep is writing to results/tiny; wait for it, or stop it"
PLAIN = ("--cores", "2", "--configfile", "sweep.yaml")


@pytest.mark.parametrize("how", ["talon-dse", "python -m talon_lib"])
def test_a_sweep_runs_where_the_environment_is_not_activated(sandbox: Sandbox, quick: Sandbox, how: str) -> None:
    """Its jobs are found beside the Python that runs it, as Snakemake is."""
    sandbox.configure(**QUICK)
    program, *words = how.split()
    done = subprocess.run(
        [str(BIN / program), *words, "sweep", "sweep.yaml", "--cores", "2"],
        cwd=sandbox.path,
        env={**os.environ, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("24 points: 24 ok\n")
    assert sandbox.parquet == quick.parquet


def everything(sandbox: Sandbox) -> dict[str, tuple[int, int]]:
    """Every file of the results, with its inode and time."""
    files = [path for path in sandbox.results.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("options", [(), ("--dry-run",)], ids=["run", "dry run"])
def test_plain_snakemake_leaves_a_sweep_alone_that_is_running(
    sandbox: Sandbox, quick: Sandbox, gate: Gate, options: tuple[str, ...]
) -> None:
    run = stopped(sandbox, gate)
    before = everything(sandbox)
    plain = sandbox.run("snakemake", *PLAIN, *options)
    said = (plain.stdout + plain.stderr).splitlines()
    assert plain.returncode == 1
    assert len([line for line in said if line == REFUSED]) == 1, said
    assert not [line for line in said if "Traceback" in line]
    assert everything(sandbox) == before
    gate.go()
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert out.startswith("24 points: 24 ok\n")
    assert sandbox.parquet == quick.parquet
    assert leftovers(sandbox) == []


def test_a_sweep_leaves_plain_snakemake_alone_that_is_running(sandbox: Sandbox, quick: Sandbox, gate: Gate) -> None:
    sandbox.configure(**QUICK)
    run = sandbox.spawn("snakemake", *PLAIN, first=gate.folder)
    wait_for(lambda: gate.reached, run)
    before = everything(sandbox)
    refused = sandbox.sweep()
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", f"talon-dse: {REFUSED}\n")
    assert everything(sandbox) == before
    gate.go()
    said, error = run.communicate(timeout=120)
    assert run.returncode == 0, said + error
    assert sandbox.parquet == quick.parquet
    assert leftovers(sandbox) == []


@pytest.mark.parametrize("config", [(), ("--config", "name=../out")], ids=str)
def test_plain_snakemake_makes_no_folder_for_a_sweep_that_cannot_be(sandbox: Sandbox, config: tuple[str, ...]) -> None:
    (sandbox.path / "empty.yaml").write_text("energy_presets: [zcu102]\n")
    plain = sandbox.run("snakemake", "--cores", "1", "--configfile", "empty.yaml", *config)
    assert plain.returncode == 1 and "Traceback" not in plain.stderr
    assert not (sandbox.path / "results").exists() and not (sandbox.path / "out").exists()


NOT_FOR_SNAKEMAKE = {
    "-n": "-n",
    "-nq": "-nq",
    "--dry-run": "--dry-run",
    "--dryrun": "--dryrun",
    "--cores 1 --dry-run": "--dry-run",
    "--config name=other": "--config",
    "--config=name=other": "--config=name=other",
    "-C name=other": "-C",
    "--configfile other.yaml": "--configfile",
}
"""Options after --, and the one that is named. With a --config of the user's, Snakemake would not be told any more what
was prepared, and run the sweep that the Snakefile names."""


@pytest.mark.parametrize("options", NOT_FOR_SNAKEMAKE)
def test_options_that_would_run_something_else_are_refused(sandbox: Sandbox, options: str) -> None:
    done = sandbox.sweep("--", *shlex.split(options))
    named = NOT_FOR_SNAKEMAKE[options]
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"talon-dse: {named} is not for Snakemake here: talon-dse plan says what would run\n"
    assert not (sandbox.path / "results").exists() and not (sandbox.path / ".snakemake").exists()


@pytest.mark.parametrize("options", [["other.yaml"], ["--", "other.yaml"], ["other.yaml", "--retry-failed"]])
def test_a_second_configuration_is_refused(sandbox: Sandbox, options: list[str]) -> None:
    (sandbox.path / "other.yaml").write_text((sandbox.path / "sweep.yaml").read_text())
    done = sandbox.sweep(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "talon-dse: one configuration at a time, without other.yaml; Snakemake's options go after --\n"
    )
    assert not (sandbox.path / "results").exists() and not (sandbox.path / ".snakemake").exists()


def planned(sandbox: Sandbox, *options: str) -> tuple[dict[str, dict[str, int]], str]:
    """The table of a plan, by stage and column, blank cells as 0; and what is said after it."""
    done = sandbox.run("talon-dse", "plan", "sweep.yaml", *options)
    assert (done.returncode, done.stderr) == (0, "")
    head, *lines = done.stdout.splitlines()
    stages = ("simulate", "project", "csim", "rows", "all")
    columns = ("there", "to run", "Snakemake jobs")
    table: dict[str, dict[str, int]] = {}
    rest = []
    for line in lines:
        if (stage := line.split(" ")[0]) in stages:
            cells = {column: line[head.index(column) :][: len(column)].strip(" -") for column in columns}
            table[stage] = {column: int(cell.replace(",", "") or 0) for column, cell in cells.items()}
        else:
            rest.append(line)
    return table, "\n".join(rest)


def test_the_plan_of_a_sweep_that_is_complete_promises_no_job(finished: Sandbox) -> None:
    stamps = finished.stamps()
    table, said = planned(finished)
    there = {stage: row["there"] for stage, row in table.items() if row["there"]}
    assert there == {"simulate": 6, "project": 8, "csim": 4}
    assert {stage: row["to run"] for stage, row in table.items() if row["to run"]} == {}
    assert "jobs that have run in results/tiny" in said
    assert finished.stamps() == stamps
    assert {stage: row["Snakemake jobs"] for stage, row in table.items() if row["Snakemake jobs"]} == {}


def test_the_plan_for_a_mistyped_folder_says_that_nothing_is_there(finished: Sandbox) -> None:
    table, said = planned(finished, "--results", "result")
    assert "nothing has run in result/tiny" in said
    assert {stage: row["there"] for stage, row in table.items() if row["there"]} == {}
    to_run = {stage: row["to run"] for stage, row in table.items() if row["to run"]}
    assert to_run == {"simulate": 6, "project": 8, "csim": 4}
    assert table["rows"]["Snakemake jobs"] == 1
    assert not (finished.path / "result").exists()


def test_the_plan_of_a_sweep_whose_table_is_gone_is_to_make_it(finished: Sandbox, undisturbed: Run) -> None:
    (finished.results / "metrics.parquet").unlink()
    table, _ = planned(finished)
    assert table["rows"]["Snakemake jobs"] == 1
    assert {stage: row["to run"] for stage, row in table.items() if row["to run"]} == {}
    finished.finish()
    assert finished.parquet == undisturbed[0].parquet
