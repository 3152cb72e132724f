"""Ctrl-C: the terminal sends it to every process of a run at once, and people press it again."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest
from sandbox import BASE, Gate, Sandbox, leftovers
from test_what_goes_wrong import Run, csim_at_work, stopped, wait_for

ENDING = (
    r"talon-dse: (interrupted|Snakemake failed with exit -?\d+: results/tiny/metrics\.parquet holds what there is; "
    r"run the sweep again for the rest)"
)
"""It is "interrupted" where Ctrl-C came again while the table of what there is was being made."""


def on_path(folder: Path) -> list[psutil.Process]:
    """The processes that have the folder on their PATH: all of a run that was started so, whoever their parents are."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(folder) in process.environ().get("PATH", "").split(os.pathsep):
                found.append(process)
    return found


def left(folder: Path) -> list[psutil.Process]:
    """Those that do not end: a worker may be a moment behind the run that it belongs to."""
    return psutil.wait_procs(on_path(folder), timeout=60)[1]


@pytest.mark.parametrize("pauses", [(), (0.0,), (0.1, 0.3)], ids=str)
def test_an_interrupted_run_ends_with_all_its_processes_and_is_taken_up_again(
    sandbox: Sandbox, quick: Sandbox, gate: Gate, pauses: tuple[float, ...]
) -> None:
    """At the third of six jobs: once, or again after pauses of some seconds, which meet it at other moments."""
    run = stopped(sandbox, gate)
    kept = sandbox.files()
    assert len(on_path(gate.folder)) >= 3  # the sweep, Snakemake, a worker
    os.killpg(run.pid, signal.SIGINT)
    for pause in pauses:
        time.sleep(pause)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=120)
    # the one that is let pass came once more when all had been said, and Python was on its way out
    if not pauses or run.returncode != -signal.SIGINT:
        assert run.returncode == 2, said
        assert re.fullmatch(ENDING, said.splitlines()[-1]), said
    assert left(gate.folder) == []
    assert len(kept) == 2 and sandbox.files() == kept
    if not pauses:
        # what had been done is in the table
        statuses = [row["status"] for row in sandbox.rows()]
        assert statuses == ["ok"] * 8 + ["failed"] * 16

    assert sandbox.finish().stdout.startswith("24 points: 24 ok\n")
    assert {name: stamp for name, stamp in sandbox.files().items() if name in kept} == kept
    assert sandbox.parquet == quick.parquet
    assert leftovers(sandbox) == []


def test_an_interrupted_c_simulation_leaves_no_compiler_behind(
    sandbox: Sandbox, undisturbed: Run, tmp_path: Path
) -> None:
    which = {"network": "one", "precision": "int8", "reuse_factor": 2}
    sandbox.configure(networks=BASE["networks"][:1], precisions=["int8"], reuse_factors=[2])
    run = sandbox.start(first=tmp_path / "mark")
    wait_for(lambda: csim_at_work(sandbox, run), run)
    os.killpg(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=120)
    assert (run.returncode, bool(re.fullmatch(ENDING, said.splitlines()[-1]))) == (2, True), said
    assert left(tmp_path / "mark") == []
    sandbox.finish()
    assert sandbox.rows() == undisturbed[0].rows(**which)
    assert leftovers(sandbox) == []
