"""Faults: after each the next run's table equals the undisturbed one, or one line says what the user must do."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from sandbox import BASE, BIN, QUICK, Gate, Sandbox, counts, leftovers, network, swept
from test_what_goes_wrong import Run, descendants, stopped, wait_for

from talon_lib import ir
from talon_lib.sweep import chunks, launch, locks, points, spec

WITH_PROJECTS: dict[str, Any] = {"stages": {"csim": False}}


@pytest.fixture(scope="session")
def with_projects(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """The same with its projects."""
    return swept(tmp_path_factory, WITH_PROJECTS)


def copy(sandbox: Sandbox, path: Path) -> Sandbox:
    shutil.copytree(sandbox.path, path, symlinks=True)
    return Sandbox(path)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr.rpartition("talon-dse: ")[2]
    return done.stderr.splitlines()[-1]


UNFINISHED = (
    "talon-dse: Snakemake failed with exit {}: results/tiny/metrics.parquet holds what there is; "
    "run the sweep again for the rest"
)


@pytest.mark.parametrize("victim", ["worker", "snakemake", "sweep", "all"])
def test_the_table_after_a_kill_equals_the_undisturbed_one(
    sandbox: Sandbox, quick: Sandbox, gate: Gate, victim: str
) -> None:
    """Killed at the third of six jobs. What is left of the run goes on while the next one runs."""
    run = stopped(sandbox, gate)
    kept = sandbox.files()
    (snakemake,), (worker,) = descendants(run, "snakemake"), descendants(run, "run")
    processes = {"sweep": psutil.Process(run.pid), "snakemake": snakemake, "worker": worker}
    for process in processes.values() if victim == "all" else [processes[victim]]:
        process.kill()
    if victim == "worker":
        _, said = run.communicate(timeout=120)
        assert (run.returncode, said.splitlines()[-1]) == (2, UNFINISHED.format(1))
    elif victim == "snakemake":
        run.wait(timeout=120)
        assert run.returncode == 2
    elif victim == "sweep":
        gate.go()
        psutil.wait_procs([snakemake, worker], timeout=120)

    done = sandbox.start()
    if victim == "snakemake":  # its worker still is at a job, which the new one waits for
        wait_for(lambda: descendants(done, "run"), done)
        assert worker.is_running()
        gate.go()
    out, said = done.communicate(timeout=120)
    assert done.returncode == 0, said
    assert out.startswith("24 points: 24 ok\n")
    after = sandbox.files()
    assert len(kept) == 2 and all(after[name] == stamp for name, stamp in kept.items())
    assert sandbox.parquet == quick.parquet
    if victim in ("worker", "all"):  # the job at which a process died has a chunk of its own
        assert sandbox.ran()["simulate"] == 2
    run.communicate(timeout=60)  # ends with the last process that holds its pipe
    assert leftovers(sandbox) == []
    assert sandbox.finish().stdout.startswith("24 points: 24 ok\n")
    assert sandbox.parquet == quick.parquet


def prepare(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Have the sweep prepared as a run would; returns its chunks."""
    monkeypatch.chdir(sandbox.path)
    run = launch.prepare(points.plan(spec.load("sweep.yaml")), Path("results") / "tiny")
    return [Path("results") / "tiny" / chunks.RUN / chunk.stage / f"{chunk.key}.json" for chunk in run.chunks]


def work(sandbox: Sandbox, chunk: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(BIN / "talon-dse"), "run", str(chunk)],
        cwd=sandbox.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_workers_of_one_chunk_share_its_jobs(
    sandbox: Sandbox, with_projects: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a worker of a killed run goes on: no job is done twice, and no result is another."""
    sandbox.configure(**WITH_PROJECTS)
    for chunk in prepare(sandbox, monkeypatch):
        workers = [work(sandbox, chunk) for _ in range(3)]
        said = [worker.communicate(timeout=120) for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0, 0], said
        lines = "".join(out for out, _ in said).splitlines()
        jobs = json.loads(chunk.read_text())["jobs"]
        assert sorted(line.split("(")[1].split(")")[0] for line in lines) == sorted(job["key"] for job in jobs)
        for job in jobs:
            result = Path("results") / "tiny" / chunk.parent.name / f"{job['key']}.json"
            assert result.read_bytes() == (with_projects.path / result).read_bytes()
    assert leftovers(sandbox) == []
    sandbox.finish()
    assert sandbox.parquet == with_projects.parquet


CHANGES = ("another network", "half a network", "no network", "other data")


@pytest.mark.parametrize("change", CHANGES)
def test_a_job_does_not_take_a_file_that_changed_since_the_plan(
    sandbox: Sandbox, quick: Sandbox, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    sandbox.configure(**QUICK)
    (chunk,) = prepare(sandbox, monkeypatch)
    file = sandbox.path / ("data.npz" if change == "other data" else "two.nir")
    planned = file.read_bytes()
    match change:
        case "another network":
            ir.write(file, network(2, change=0.25))
        case "half a network":
            file.write_bytes(planned[: len(planned) // 2])
        case "no network":
            file.unlink()
        case _:
            with np.load(file) as archive:
                arrays = dict(archive)
            np.savez(file, **{**arrays, "x_test": -arrays["x_test"]})
    worker = work(sandbox, chunk)
    _, said = worker.communicate(timeout=120)
    line = f"talon-dse: {file.name} changed while the sweep was running; run it again\n"
    assert (worker.returncode, said) == (2, line)
    assert len(sandbox.ended()) == (0 if change == "other data" else 3)  # those of the other network
    file.write_bytes(planned)
    sandbox.finish()
    assert sandbox.parquet == quick.parquet


def test_a_network_that_changes_during_a_run_ends_it_with_a_line_and_the_next_run_takes_it(
    sandbox: Sandbox, quick: Sandbox, gate: Gate
) -> None:
    planned = (sandbox.path / "one.nir").read_bytes()
    run = stopped(sandbox, gate)
    old = sandbox.planned_jobs()["simulate"]
    ir.write(sandbox.path / "one.nir", network(1, change=0.25))
    gate.go()
    out, said = run.communicate(timeout=120)
    assert (run.returncode, said.splitlines()[-1]) == (2, UNFINISHED.format(1))
    assert "  one.nir changed while the sweep was running; run it again" in out.splitlines()
    assert not {f"simulate/{key}" for key in old} & sandbox.ended()

    changed = sandbox.finish()
    assert changed.stdout.startswith("24 points: 24 ok\n")
    assert sandbox.rows(network="two") == quick.rows(network="two")
    assert not {row["point_id"] for row in sandbox.rows(network="one")} & {row["point_id"] for row in quick.rows()}
    (sandbox.path / "one.nir").write_bytes(planned)
    sandbox.finish()
    assert sandbox.parquet == quick.parquet


def damage(path: Path, how: int) -> None:
    """Truncated, empty, binary, of another shape, and for JSON of an envelope without what belongs into it."""
    whole = path.read_bytes()
    hollow = b'{"stage": "%s", "status": "ok", "reason": null, "result": {}}' % path.parent.name.encode()
    path.write_bytes([whole[: len(whole) // 2], b"", bytes(range(256)), b"[5]", hollow][how])


def at_lock(run: subprocess.Popen[str], folder: Path) -> bool:
    """Whether it has come to the lock of the table."""
    with contextlib.suppress(psutil.Error):
        return any(Path(file.path) == folder / locks.TABLE_LOCK for file in psutil.Process(run.pid).open_files())
    return False


@pytest.fixture
def changed(finished: Sandbox, undisturbed: Run) -> tuple[Sandbox, int]:
    """A sweep that has run and was then given a further preset, and its points with it."""
    presets = [*BASE["energy_presets"], "45nm_cmos"]
    finished.configure(energy_presets=presets)
    return finished, len(undisturbed[0].rows()) // len(BASE["energy_presets"]) * len(presets)


def test_a_collect_that_a_killed_run_left_behind_makes_the_table_of_the_next(changed: tuple[Sandbox, int]) -> None:
    """It would end after the next run, and its table, newer than anything, would be taken for that of this plan."""
    sandbox, count = changed
    with locks.table_held(sandbox.results):  # as the next run does while it plans
        plan, table = "results/tiny/sweep.json", "results/tiny/metrics.parquet"
        orphan = sandbox.spawn("talon-dse", "collect", plan, f"--output={table}")
        wait_for(lambda: at_lock(orphan, sandbox.results), orphan)
        planned = sandbox.run("talon-dse", "plan", "sweep.yaml", f"--output={plan}")
        assert planned.returncode == 0, planned.stderr
    said, _ = orphan.communicate(timeout=120)
    assert (orphan.returncode, said.split(":")[0]) == (0, f"{count} points")
    assert len(sandbox.rows()) == count


def test_a_run_plans_once_a_collect_that_was_left_behind_has_ended(changed: tuple[Sandbox, int]) -> None:
    sandbox, count = changed
    plan = (sandbox.results / "sweep.json").read_bytes()
    with locks.table_held(sandbox.results):  # as that collect does
        run = sandbox.start()
        wait_for(lambda: at_lock(run, sandbox.results), run)
        assert (sandbox.results / "sweep.json").read_bytes() == plan
        table = sandbox.parquet
        (sandbox.results / "metrics.parquet").write_bytes(table)  # it ends, with rows of the plan that it read
    said, error = run.communicate(timeout=120)
    assert run.returncode == 0, error
    assert said.startswith(f"{count} points: ")
    assert len(sandbox.rows()) == count


def test_damaged_json_is_made_again(finished: Sandbox) -> None:
    """All kinds of damage at once, in all folders."""
    parquet = finished.parquet
    for stage, most in (("simulate", 5), ("project", 5), ("csim", 2)):
        for how, path in enumerate(sorted((finished.results / stage).glob("*.json"))[:most]):
            damage(path, how)
    for how, path in enumerate(sorted((finished.results / "records").rglob("*.json"))):
        damage(path, how % 5)
    for how, path in enumerate(sorted((finished.results / "run").rglob("*.json"))):
        damage(path, how % 5)
    damage(finished.results / "sweep.json", 0)
    assert counts(finished.planned_jobs()) == {"simulate": 5, "project": 5, "csim": 2}
    finished.finish()
    assert finished.parquet == parquet
    assert finished.planned_jobs() == {}


RECORDS: dict[str, Any] = {
    "seconds that are none": {"label": "one", "seconds": "long", "bytes": 1},
    "a label that is none": {"label": 5, "seconds": 1, "bytes": 1},
    "not a number": {"label": "one", "seconds": float("nan"), "bytes": 1},
    "less than nothing": {"label": "one", "seconds": 1, "bytes": -1},
}


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_that_cannot_be_right_is_passed_over(sandbox: Sandbox, kind: str) -> None:
    path = sandbox.results / "records" / "simulate" / "0.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"stage": "simulate", "jobs": [RECORDS[kind]]}))
    done = sandbox.run("talon-dse", "plan", "sweep.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing has run in results/tiny" in done.stdout


@pytest.mark.parametrize("how", range(4))
@pytest.mark.parametrize("name", ["sweep.json", "metrics.parquet"])
def test_a_damaged_table_or_plan_is_made_again(quick: Sandbox, tmp_path: Path, name: str, how: int) -> None:
    sandbox = copy(quick, tmp_path / "copy")
    jobs = sandbox.files()
    damage(sandbox.results / name, how)
    assert sandbox.finish().stdout.startswith("24 points: 24 ok\n")
    assert sandbox.parquet == quick.parquet
    assert sandbox.files() == jobs
    plan = [json.loads((own.results / "sweep.json").read_text()) for own in (sandbox, quick)]
    assert plan[0]["id"] == plan[1]["id"] and plan[0].keys() == plan[1].keys()


def test_a_plan_with_another_content_under_its_hash_is_written_again(quick: Sandbox, tmp_path: Path) -> None:
    sandbox = copy(quick, tmp_path / "copy")
    path = sandbox.results / "sweep.json"
    content = json.loads(path.read_text())
    content["energy_presets"] = {}
    path.write_text(json.dumps(content))
    sandbox.finish()
    assert sandbox.parquet == quick.parquet
    assert json.loads(path.read_text())["energy_presets"]


def test_what_is_left_of_a_project_that_was_being_written_is_no_obstacle(
    with_projects: Sandbox, tmp_path: Path
) -> None:
    """Killed while an earlier project was taken away: a folder that is no project any more, and no result."""
    sandbox = copy(with_projects, tmp_path / "copy")
    result = sorted((sandbox.results / "project").glob("*.json"))[0]
    result.unlink()
    (result.with_suffix("") / "hls4ml_config.json").unlink()
    before = sandbox.results / "project" / f".{result.name}.talon-elsewhere-1"
    before.write_text('{"half":')
    assert sandbox.finish().stdout.startswith("24 points: 24 ok\n")
    assert sandbox.parquet == with_projects.parquet
    assert (result.with_suffix("") / "hls4ml_config.json").is_file()


@dataclass(frozen=True)
class Mounted(Sandbox):
    """A sandbox whose results are a file system of their own, which nobody but its processes sees."""

    holder: subprocess.Popen[str]

    @property
    def results(self) -> Path:
        return self._inside / "results" / "tiny"

    @property
    def _inside(self) -> Path:
        return Path(f"/proc/{self.holder.pid}/root{self.path}")

    @property
    def filler(self) -> Path:
        return self._inside / "results" / "filler"

    def fill(self, left: int) -> None:
        """Leave so many bytes."""
        found = os.statvfs(self.filler.parent)
        self.filler.write_bytes(bytes(found.f_bavail * found.f_frsize - left))

    def command(self, *command: str) -> list[str]:
        return ["nsenter", f"--target={self.holder.pid}", "--mount", f"--wdns={self.path}", *command]

    def remount(self, how: str) -> None:
        subprocess.run(self.command("mount", "-o", f"remount,{how}", "results"), check=True)

    def run(self, program: str, *arguments: str, **path: Any) -> subprocess.CompletedProcess[str]:
        command = self.command(str(BIN / program), *arguments)
        return subprocess.run(command, **self._how(**path), capture_output=True, timeout=300, check=False)

    def start(self, *options: str, **path: Any) -> subprocess.Popen[str]:
        command = self.command(str(BIN / "talon-dse"), "sweep", "sweep.yaml", "--cores", "2", *options)
        return subprocess.Popen(
            command, **self._how(**path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )


@pytest.fixture
def mounted(sandbox: Sandbox) -> Iterator[Mounted]:
    if os.geteuid() != 0 or not shutil.which("nsenter") or not shutil.which("unshare"):
        pytest.skip("a file system of its own needs root, unshare and nsenter")
    (sandbox.path / "results").mkdir()
    script = "mount -t tmpfs -o size=30m tmpfs results && echo ready && exec sleep 1000"
    holder = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        cwd=sandbox.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None and holder.stderr is not None
        if holder.stdout.readline() != "ready\n":
            pytest.skip(f"no file system of its own here: {holder.stderr.read().strip()}")
        yield Mounted(sandbox.path, holder)
    finally:
        holder.kill()
        holder.communicate()


@pytest.mark.parametrize("left", [0, 20_000, 60_000, 200_000, 1_500_000])
def test_a_full_disk_is_one_line_and_the_next_run_goes_on(mounted: Mounted, with_projects: Sandbox, left: int) -> None:
    """It is full before the run can begin, at a simulation, at a project, at the table, or at the report."""
    mounted.configure(**WITH_PROJECTS)
    mounted.fill(left)
    done = mounted.sweep()
    assert done.returncode == 2, done.stdout + done.stderr
    last_line(done)
    # what Snakemake prints of the logs is not ours to shorten; this is what the user sees at the end
    ours = [*done.stdout.splitlines(), *(line for line in done.stderr.splitlines() if line.startswith("talon-dse: "))]
    assert [line for line in ours if "results/tiny" in line and "No space left on device" in line], ours
    mounted.filler.unlink()
    assert mounted.finish().stdout.startswith("24 points: 24 ok\n")
    assert mounted.parquet == with_projects.parquet
    assert leftovers(mounted) == []


def test_a_read_only_results_folder_is_one_line(mounted: Mounted) -> None:
    mounted.configure(**QUICK)
    mounted.finish()
    mounted.remount("ro")
    done = mounted.sweep()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "talon-dse: results/tiny: cannot write results there (Read-only file system)\n"
    plain = mounted.run("snakemake", "--cores", "2", "--configfile", "sweep.yaml")
    assert plain.returncode == 1
    assert "results/tiny: cannot write results there (Read-only file system)" in plain.stdout + plain.stderr
    assert "Traceback" not in plain.stderr


def test_a_results_folder_that_becomes_read_only_ends_the_run_with_a_line(
    mounted: Mounted, quick: Sandbox, gate: Gate
) -> None:
    run = stopped(mounted, gate)
    (worker,) = descendants(run, "run")
    # a log that is open for writing would keep the file system writable
    subprocess.run(mounted.command("mount", "--bind", "results", "results"), check=True)
    mounted.remount("ro,bind")
    gate.go()
    out, said = run.communicate(timeout=120)
    psutil.wait_procs([worker], timeout=60)
    assert run.returncode == 2, out + said
    assert said.splitlines()[-1].startswith("talon-dse: results/tiny/")
    assert said.splitlines()[-1].endswith(": Read-only file system")
    subprocess.run(mounted.command("umount", "results"), check=True)
    assert mounted.finish().stdout.startswith("24 points: 24 ok\n")
    assert mounted.parquet == quick.parquet


MANY: dict[str, Any] = {
    **QUICK,
    "reuse_factors": list(range(1, 101)),
    "hardware": {"clock_period_ns": [2.5, 4.0, 5.0, 8.0, 10.0, 12.5, 16.0, 20.0, 25.0, 40.0]},
}
"""12,000 points, in parts of at most 5,000."""


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """The sweep of many points, run once from the start to the end. To be read only."""
    return swept(tmp_path_factory, MANY)


def test_a_sweep_of_many_points_is_taken_up_again_where_its_parts_are_made(sandbox: Sandbox, many: Sandbox) -> None:
    folder = sandbox.results / chunks.PARTS
    sandbox.configure(**MANY)
    run = sandbox.start()
    wait_for(lambda: any(folder.glob("*.parquet")), run)
    everything = [*psutil.Process(run.pid).children(recursive=True), psutil.Process(run.pid)]
    for process in everything:
        process.send_signal(signal.SIGSTOP)  # or Snakemake would go on while the first is killed
    for process in everything:
        process.kill()
    run.communicate()
    psutil.wait_procs(everything, timeout=60)
    kept = {path.name for path in folder.glob("*.parquet")}
    assert 0 < len(kept) < 3 and not (sandbox.results / "metrics.parquet").exists()
    assert sandbox.planned_jobs() == {}

    cut = sorted(folder.glob("*.parquet"))[0]
    cut.write_bytes(cut.read_bytes()[:-100])
    sandbox.finish()
    ran = sandbox.ran()
    assert ran == {"rows": 3 - len(kept) + 1, "collect": 1, "report": 1}
    assert sandbox.parquet == many.parquet
    assert not any(folder.glob("*.parquet"))
    assert sum(many.ran().values()) <= 2000
    sandbox.finish()
    assert sandbox.ran() == {}
