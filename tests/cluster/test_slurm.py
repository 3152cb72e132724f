"""Sweeps through a real Slurm: the same tables as without it, whatever happens to jobs, nodes and the main process."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from sandbox import BIN, REPOSITORY, Sandbox, make
from slurm import NODES, Slurm
from sweeps import ASKING, GENERIC, GROUPED, PROFILE, SHARED, SMALL, Held, begin, slurm_for_pbs, start, wait_for


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """A folder in which nothing has run, with the small sweep."""
    sandbox = make(tmp_path / "sandbox")
    sandbox.configure(**SMALL)
    return sandbox


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(tmp_path)


@pytest.fixture
def runs() -> Iterator[list[subprocess.Popen[str]]]:
    """Runs that a test starts; what is left of them at its end is killed."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for run in started:
        kill(run)


def kill(run: subprocess.Popen[str]) -> None:
    """SIGKILL to a run, Snakemake and all else that it started on this machine, which the jobs of Slurm are not."""
    if run.poll() is None:
        for process in [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]:
            process.kill()
    run.communicate()


def finish(run: subprocess.Popen[str], seconds: float = 300) -> None:
    output, errors = run.communicate(timeout=seconds)
    assert run.returncode == 0, output + errors


def test_the_table_is_the_same_to_the_last_byte(slurm: Slurm, sandbox: Sandbox, small: bytes) -> None:
    done = sandbox.run("talon-dse", "sweep", "sweep.yaml", *PROFILE, "--", *ASKING)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("2 points: 2 ok\n")
    assert done.stderr.count("has been submitted with SLURM jobid") == 3
    assert sandbox.parquet == small
    planned = sandbox.run("talon-dse", "plan", "sweep.yaml", "--keys").stdout
    keys = re.findall(r" ([0-9a-f]{16}) +(to run|there) ", planned)
    assert {key for key, _ in keys} == {entry.partition("/")[2] for entry in sandbox.ended()}
    assert {what for _, what in keys} == {"there"}  # what Slurm made counts here as well


def test_a_job_that_is_cancelled_is_submitted_again(
    slurm: Slurm, sandbox: Sandbox, held: Held, small: bytes, runs: list[subprocess.Popen[str]]
) -> None:
    run = start(sandbox, held, *ASKING)
    runs.append(run)
    wait_for(held.jobs, run)
    (job, *_) = held.jobs()
    slurm.run("scancel", job)
    held.release()
    finish(run)
    assert slurm.job(job)["JobState"] == "CANCELLED"
    assert sandbox.parquet == small


def test_the_jobs_of_a_node_that_goes_down_run_on_another(
    slurm: Slurm, sandbox: Sandbox, held: Held, small: bytes, runs: list[subprocess.Popen[str]]
) -> None:
    run = start(sandbox, held, *ASKING)
    runs.append(run)
    wait_for(held.jobs, run)
    (job, *_) = held.jobs()
    lost = slurm.running()[job]
    slurm.run("scontrol", "update", f"NodeName={lost}", "State=DOWN", "Reason=test")
    held.release()
    finish(run)
    known = slurm.job(job)
    (other,) = set(NODES) - {lost}
    assert (known["JobState"], known["Restarts"], known["NodeList"]) == ("COMPLETED", "1", other)
    assert slurm.states()[lost].startswith("down")
    assert sandbox.parquet == small


def test_orphans_of_a_killed_run_and_a_second_run_write_the_same_results(
    slurm: Slurm, sandbox: Sandbox, held: Held, small: bytes, runs: list[subprocess.Popen[str]]
) -> None:
    first = start(sandbox, held, *ASKING)
    runs.append(first)
    wait_for(held.jobs, first)
    kill(first)
    second = start(sandbox, held, *ASKING)
    runs.append(second)

    def twice() -> bool:
        commands = list(held.jobs().values())
        return len(commands) > len(set(commands))

    wait_for(twice, second)
    assert set(held.jobs()) <= set(slurm.running())  # two writers of one result, both at work
    held.release()
    finish(second)
    slurm.wait()
    assert {slurm.job(job)["JobState"] for job in held.jobs()} == {"COMPLETED"}
    for file in sandbox.results.rglob("*.json"):
        json.loads(file.read_text())
    assert not list(sandbox.results.rglob("*.tmp*"))
    assert sandbox.parquet == small
    sandbox.finish()
    assert sandbox.parquet == small


def test_with_another_scheduler_a_job_cancelled_for_good_is_rows_that_say_so_and_the_next_run_fills_them(
    slurm: Slurm, sandbox: Sandbox, held: Held, small: bytes, runs: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    commands = slurm_for_pbs(tmp_path)
    run = start(sandbox, held, *commands, "--retries", "0", profile=GENERIC)
    runs.append(run)
    wait_for(held.jobs, run)
    (job, *_) = held.jobs()
    slurm.run("scancel", job)
    held.release()
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 2
    assert errors.splitlines()[-1].endswith("run the sweep again for the rest")
    assert {row["status"] for row in sandbox.rows()} == {"failed"}
    assert all("did not end; run the sweep again" in row["reason"] for row in sandbox.rows())
    again = start(sandbox, held, *commands, profile=GENERIC)
    runs.append(again)
    finish(again)
    assert sandbox.parquet == small


@pytest.mark.slow
def test_the_example_sweep_is_the_same(slurm: Slurm, tmp_path: Path, runs: list[subprocess.Popen[str]]) -> None:
    """Here it runs as well, meanwhile; what results/digits holds of it already is taken from there."""
    folders = {"there": tmp_path / "there", "here": tmp_path / "here"}
    for folder in folders.values():
        folder.mkdir()
        for name in ("Snakefile", "workflow", "configs"):
            (folder / name).symlink_to(REPOSITORY / name)
    if (REPOSITORY / "results" / "digits").is_dir():
        shutil.copytree(REPOSITORY / "results" / "digits", folders["here"] / "results" / "digits", symlinks=True)
    options = {"there": [*SHARED, *PROFILE, "--", *ASKING, *GROUPED], "here": []}
    for where, folder in folders.items():
        command = [str(BIN / "talon-dse"), "sweep", "configs/digits.yaml", *options[where]]
        runs.append(begin(command, folder))
    for run in runs:
        finish(run, seconds=1800)
    there, here = (pq.read_table(folder / "results" / "digits" / "metrics.parquet") for folder in folders.values())
    assert there.num_rows > 0
    assert there.equals(here, check_metadata=True)
