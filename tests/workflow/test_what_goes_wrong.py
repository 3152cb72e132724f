"""Runs that are killed, jobs that fail or are killed, and runs that meet: each ends in a table that can be trusted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sandbox import BASE, QUICK, Gate, Sandbox, counts

from talon_lib.sweep.planfile import read_plan

Run = tuple[Sandbox, subprocess.CompletedProcess[str]]


def wait_for(happened: Callable[[], Any], run: subprocess.Popen[str]) -> None:
    """Until something has happened in a run that goes on."""
    while not happened():
        assert run.poll() is None, f"the run ended early: {run.communicate()}"
        time.sleep(0.01)


def stopped(sandbox: Sandbox, gate: Gate) -> subprocess.Popen[str]:
    """The run of a quick sweep that has come to the third of its six jobs."""
    sandbox.configure(**QUICK)
    run = sandbox.start(first=gate.folder)
    wait_for(lambda: gate.reached, run)
    return run


def verb(process: psutil.Process) -> str:
    """What a process of talon-dse does; "snakemake" for Snakemake, "" for anything else."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return ""
    if words[1:3] == ["-m", "snakemake"]:
        return "snakemake"
    return words[2] if len(words) > 2 and words[1].endswith("talon-dse") else ""


def csim_at_work(sandbox: Sandbox, run: subprocess.Popen[str]) -> bool:
    """Whether a C simulation is begun, and its worker is there."""
    return any((sandbox.results / "csim").glob(".*.started")) and bool(descendants(run, "run"))


def descendants(run: subprocess.Popen[str], what: str) -> list[psutil.Process]:
    try:
        return [child for child in psutil.Process(run.pid).children(recursive=True) if verb(child) == what]
    except psutil.NoSuchProcess:
        return []


@pytest.fixture
def orphans() -> Iterator[list[psutil.Process]]:
    """Processes that a test leaves behind; they are stopped at its end."""
    left: list[psutil.Process] = []
    yield left
    for process in left:
        try:
            process.kill()
            process.wait(60)
        except psutil.NoSuchProcess:
            pass


def test_a_run_killed_with_all_its_processes_is_taken_up_again(
    sandbox: Sandbox, undisturbed: Run, orphans: list[psutil.Process]
) -> None:
    jobs = undisturbed[0].ended()
    run = sandbox.start()
    wait_for(lambda: len(sandbox.ended()) > 3, run)
    orphans += psutil.Process(run.pid).children(recursive=True)
    for process in [psutil.Process(run.pid), *orphans]:
        process.kill()
    run.communicate()
    kept = sandbox.ended()
    assert kept < jobs
    before = sandbox.files()
    planned = {f"{stage}/{key}" for stage, keys in sandbox.planned_jobs().items() for key in keys}
    assert planned == jobs - kept
    sandbox.finish()
    assert sandbox.ended() == jobs
    assert sandbox.parquet == undisturbed[0].parquet
    after = sandbox.files()
    assert all(after[f"{name}.json"] == before[f"{name}.json"] for name in kept)
    assert sandbox.planned_jobs() == {}


def test_a_run_taken_up_while_workers_of_the_killed_one_go_on(
    sandbox: Sandbox, undisturbed: Run, orphans: list[psutil.Process]
) -> None:
    run = sandbox.start()
    wait_for(lambda: csim_at_work(sandbox, run), run)
    orphans += [p for p in psutil.Process(run.pid).children(recursive=True) if verb(p) != "snakemake"]
    (snakemake,) = descendants(run, "snakemake")
    os.kill(run.pid, signal.SIGKILL)
    snakemake.kill()
    run.wait()
    assert sandbox.ended() < undisturbed[0].ended()
    assert any(verb(orphan) == "run" for orphan in orphans if orphan.is_running())
    sandbox.finish()  # which waits for the jobs that orphans are at
    assert sandbox.parquet == undisturbed[0].parquet
    psutil.wait_procs(orphans, timeout=60)
    assert not [orphan for orphan in orphans if orphan.is_running()]
    run.communicate()
    assert sandbox.planned_jobs() == {}  # what the workers wrote late does not count as new
    assert sandbox.finish().stdout.startswith("24 points: 24 ok\n")
    assert sandbox.parquet == undisturbed[0].parquet


def test_a_second_run_is_refused_as_long_as_anything_of_the_first_writes(sandbox: Sandbox, undisturbed: Run) -> None:
    refused = "talon-dse: another run of this sweep is writing to results/tiny; wait for it, or stop it\n"
    run = sandbox.start()
    wait_for(sandbox.ended, run)
    second = sandbox.sweep()
    assert (second.returncode, second.stdout, second.stderr) == (2, "", refused)
    (snakemake,) = descendants(run, "snakemake")
    os.kill(run.pid, signal.SIGKILL)
    third = sandbox.sweep()
    assert snakemake.is_running()
    assert (third.returncode, third.stdout, third.stderr) == (2, "", refused)
    run.communicate()  # ends when Snakemake, which holds the other end of the pipe, ends
    psutil.wait_procs([snakemake], timeout=60)
    assert sandbox.parquet == undisturbed[0].parquet  # Snakemake went on alone
    sandbox.finish()
    assert sandbox.parquet == undisturbed[0].parquet


FAILING: dict[str, Any] = {
    "networks": BASE["networks"][:1],
    # <4,4> holds whole numbers: the threshold 0.5 would become 0, the leak
    "precisions": ["fp32", "int8", "ap_fixed<4,4>"],
    "reuse_factors": [2],
}


def test_jobs_that_fail_are_rows_with_a_reason_and_are_run_again_on_demand_only(
    sandbox: Sandbox, path_without: Callable[..., str]
) -> None:
    sandbox.configure(**FAILING)
    done = sandbox.sweep(path=path_without("g++", "talon-dse"))
    assert done.returncode == 1
    assert done.stdout.startswith("6 points: 2 ok, 4 failed\n")
    assert all(row["status"] == "ok" and row["reason"] is None for row in sandbox.rows(precision="fp32"))
    for row in sandbox.rows(precision="int8"):  # simulated and projected, not confirmed
        assert (row["status"], row["project_status"], row["csim_status"]) == ("failed", "ok", "failed")
        assert row["reason"].startswith("csim: C simulation needs g++, which is not on PATH; install it")
        assert row["accuracy"] is not None and row["energy_uj"] > 0 and row["multipliers"] > 0
    for row in sandbox.rows(precision="ap_fixed<4,4>"):
        assert (row["status"], row["project_status"], row["csim_status"]) == ("failed", "failed", "failed")
        assert row["reason"].startswith("simulate: node 'lif1': its v_threshold does not lie above its leak")
        assert row["accuracy"] is None and row["energy_uj"] is None
    assert "  failed: one int8: csim: C simulation needs g++" in done.stdout
    assert "(2 points)" in done.stdout

    assert sandbox.planned_jobs() == {}  # failures stay until they are asked for
    before, parquet = sandbox.files(), sandbox.parquet
    done = sandbox.sweep("--retry-failed")
    assert done.returncode == 1
    assert done.stdout.startswith("6 points: 4 ok, 2 failed\n")
    after = sandbox.files()
    points = read_plan(sandbox.results / "sweep.json").points
    (int8,) = {point.csim for point in points if point.precision == "int8"}
    bad = {getattr(point, stage) for point in points if point.precision == "ap_fixed<4,4>" for stage in _STAGES}
    assert {Path(file).stem for file in before if after[file] != before[file]} == {int8, *bad}
    assert {row["csim_status"] for row in sandbox.rows(precision="int8")} == {"equal"}
    assert sandbox.parquet != parquet


_STAGES = ("simulate", "project", "csim")


def test_a_job_that_is_killed_leaves_rows_that_say_so_and_the_next_run_fills_them(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """As the kernel does where memory runs out: the process dies without a word, and with it nothing else."""
    sandbox.configure(networks=BASE["networks"][:1], reuse_factors=[2])
    shim = tmp_path / "shim" / "talon-dse"
    shim.parent.mkdir()
    shim.write_text(
        f"#!{sys.executable}\nimport os, sys\nfrom talon_lib import cli\nfrom talon_lib.sweep import stages\n"
        "made = stages.simulate\n"
        "def simulate(work, precision, readout):\n"
        "    if precision == 'int8':\n        os.kill(os.getpid(), 9)\n    return made(work, precision, readout)\n"
        "stages.simulate = simulate\ncli.main()\n"
    )
    shim.chmod(0o755)
    done = sandbox.sweep(first=shim.parent)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last == (
        "talon-dse: Snakemake failed with exit 1: results/tiny/metrics.parquet holds what there is; "
        "run the sweep again for the rest"
    )
    assert "Traceback" not in done.stderr
    # the chunk died at int8: what came before it is kept, and what came after it did not run
    assert done.stdout.startswith("6 points: 2 ok, 4 failed\n")
    assert {row["status"] for row in sandbox.rows(precision="fp32")} == {"ok"}
    for row in sandbox.rows(precision="int8"):
        assert row["reason"] == "simulate: no result: the job did not end; run the sweep again"
        assert (row["status"], row["csim_status"], row["accuracy"]) == ("failed", "equal", None)

    assert counts(sandbox.planned_jobs()) == {"simulate": 2}
    done = sandbox.sweep(first=shim.parent)  # it dies again, alone
    assert done.returncode == 2 and done.stdout.startswith("6 points: 4 ok, 2 failed\n")
    assert counts(sandbox.planned_jobs()) == {"simulate": 1}
    assert sandbox.finish().stdout.startswith("6 points: 6 ok\n")
    assert sandbox.planned_jobs() == {}


def test_a_failure_before_the_sweep_began_does_not_pass_an_old_table_off_as_new(finished: Sandbox) -> None:
    fp32 = finished.rows(precision="fp32")
    finished.configure(precisions=["fp32"])
    done = finished.sweep("--", "--no-such-option")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("talon-dse: Snakemake failed with exit 2: results/tiny/metrics")
    assert finished.rows() == fp32


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_results_folder_that_cannot_be_written_is_one_line(sandbox: Sandbox) -> None:
    (sandbox.path / "results").mkdir(mode=0o555)
    done = sandbox.sweep()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "talon-dse: results/tiny: cannot write results there (Permission denied)\n"


def test_a_results_folder_that_is_a_file_is_one_line(sandbox: Sandbox) -> None:
    (sandbox.path / "results").mkdir()
    (sandbox.path / "results" / "tiny").write_text("")
    done = sandbox.sweep()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "talon-dse: results/tiny: cannot write results there (File exists)\n"


def test_an_executor_that_is_not_installed_is_one_line(sandbox: Sandbox) -> None:
    done = sandbox.sweep("--", "--executor", "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "talon-dse: executor nowhere: Snakemake's plugin for it is not installed; `make cluster` installs slurm and "
        "cluster-generic, `pip install snakemake-executor-plugin-nowhere` this one alone\n"
    )
    assert not sandbox.results.exists()


def test_a_sweep_outside_a_clone_says_where_to_run_it(tmp_path: Path, undisturbed: Run) -> None:
    done = Sandbox(tmp_path).run("talon-dse", "sweep", str(undisturbed[0].path / "sweep.yaml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "talon-dse: there is no Snakefile here; run talon-dse sweep in the folder of the talon-dse clone\n"
    )
