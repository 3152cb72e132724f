"""A folder to run sweeps in: the repository's workflow by link, two small networks, and results of its own."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from talon_lib import ir
from talon_lib.sweep.locks import RUN_LOCK, TABLE_LOCK

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
STAGES = ("simulate", "project", "csim", "rtl", "synth")

BASE: dict[str, Any] = {
    "name": "tiny",
    "networks": [
        {"name": "one", "graph": "one.nir", "data": "data.npz", "timesteps": 3},
        {"name": "two", "graph": "two.nir", "data": "data.npz", "timesteps": 3},
    ],
    "precisions": ["fp32", "int8", "ap_fixed<12,5>"],
    "reuse_factors": [2, 4],
    "energy_presets": ["neuromorphic_int8", "zcu102"],
    "samples": {"calibration": 8, "simulate": 20, "csim": 3},
}

QUICK: dict[str, Any] = {"stages": {"project": False, "csim": False}}
"""Six simulations in one chunk, 24 points."""


def environment(path: str | None = None, first: Path | None = None) -> dict[str, str]:
    """The environment of a run: PATH (``path`` in its place) with ``first`` and this Python's programs before it."""
    folders = [str(BIN), os.environ["PATH"] if path is None else path]
    return {**os.environ, "PATH": os.pathsep.join([str(first), *folders] if first else folders)}


def network(seed: int, change: float = 0.0) -> ir.Graph:
    """6-4-3 LIF network; ``change`` is added to one weight."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(0, 1, (4, 6)), rng.normal(0, 1, (3, 4))
    second[1, 2] += change
    lif = {"tau": np.float32(2.0), "r": np.float32(1.0), "v_leak": np.float32(0.0), "v_threshold": np.float32(0.5)}
    nodes = {
        "input": ir.Input((6,)),
        "fc1": ir.Affine(first.astype(np.float32), rng.normal(0, 0.1, 4).astype(np.float32)),
        "lif1": ir.LIF(**{key: np.full(4, value) for key, value in lif.items()}),
        "fc2": ir.Affine(second.astype(np.float32), rng.normal(0, 0.1, 3).astype(np.float32)),
        "lif2": ir.LIF(**{key: np.full(3, value) for key, value in lif.items()}),
        "output": ir.Output((3,)),
    }
    names = list(nodes)
    return ir.Graph(nodes, list(itertools.pairwise(names)))


@dataclass(frozen=True)
class Sandbox:
    """A working directory of sweeps, with one configuration ``sweep.yaml``."""

    path: Path

    @property
    def results(self) -> Path:
        return self.path / "results" / "tiny"

    @property
    def table(self) -> pa.Table:
        return pq.read_table(self.results / "metrics.parquet")

    @property
    def parquet(self) -> bytes:
        return (self.results / "metrics.parquet").read_bytes()

    def rows(self, **where: Any) -> list[dict[str, Any]]:
        return [row for row in self.table.to_pylist() if all(row[key] == value for key, value in where.items())]

    def configure(self, **changes: Any) -> None:
        (self.path / "sweep.yaml").write_text(yaml.safe_dump(BASE | changes, sort_keys=False))

    def start(self, *options: str, **path: Any) -> subprocess.Popen[str]:
        """Start the sweep."""
        return self.spawn("talon-dse", "sweep", "sweep.yaml", "--cores", "2", *options, **path)

    def spawn(self, program: str, *arguments: str, **path: Any) -> subprocess.Popen[str]:
        """Start a program of this Python's environment, in a process group of its own, without waiting for it."""
        return subprocess.Popen(
            [str(BIN / program), *arguments],
            **self._how(**path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def sweep(self, *options: str, **path: Any) -> subprocess.CompletedProcess[str]:
        return self.run("talon-dse", "sweep", "sweep.yaml", "--cores", "2", *options, **path)

    def finish(self, *options: str, **path: Any) -> subprocess.CompletedProcess[str]:
        """Run the sweep; it must end well."""
        done = self.sweep(*options, **path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def run(self, program: str, *arguments: str, **path: Any) -> subprocess.CompletedProcess[str]:
        """Run a program of this Python's environment here; ``path`` as for :func:`environment`."""
        return subprocess.run(
            [str(BIN / program), *arguments], **self._how(**path), capture_output=True, timeout=300, check=False
        )

    def _how(self, **path: Any) -> dict[str, Any]:
        return {"cwd": self.path, "env": environment(**path), "text": True, "stdin": subprocess.DEVNULL}

    def planned_jobs(self, *options: str) -> dict[str, list[str]]:
        """What the plan says would run: by stage the keys of its jobs; a stage without any is left out."""
        done = self.run("talon-dse", "plan", "sweep.yaml", "--keys", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = re.findall(r"^(\w+) +([0-9a-f]{16}) +(to run|there) ", done.stdout, flags=re.MULTILINE)
        assert len(lines) == _jobs(done.stdout)
        jobs: dict[str, list[str]] = {}
        for stage, key, what in lines:
            if what == "to run":
                jobs.setdefault(stage, []).append(key)
        return jobs

    def ran(self) -> dict[str, int]:
        """How many jobs of each rule Snakemake has run last, from its log; nothing where there was nothing to do."""
        log = max((self.path / ".snakemake" / "log").glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
        return jobs_of(log.read_text())

    def files(self) -> dict[str, tuple[int, int]]:
        """Inode and time of every result of a job and every file of a project."""
        return {
            str(file.relative_to(self.results)): (file.stat().st_ino, file.stat().st_mtime_ns)
            for stage in STAGES
            for file in (self.results / stage).rglob("*")
            if file.is_file() and file.suffix != ".started"
        }

    def stamps(self) -> list[int]:
        """When the table, the report and the plan were written."""
        return [(self.results / name).stat().st_mtime_ns for name in ("metrics.parquet", "report.html", "sweep.json")]

    def ended(self) -> set[str]:
        """The results of jobs that are there."""
        return {f"{stage}/{file.stem}" for stage in STAGES for file in (self.results / stage).glob("*.json")}


def _jobs(plan: str) -> int:
    """How many jobs the table of a plan counts."""
    counted = re.findall(r"^(\w+) +([\d,]+) +[\d,]+ +[\d,]+ +[\d,]+ ", plan, flags=re.MULTILINE)
    return sum(int(count.replace(",", "")) for stage, count in counted if stage in STAGES)


def jobs_of(output: str) -> dict[str, int]:
    """The jobs of each rule that Snakemake's table of them counts; `all` does nothing and is left out."""
    counted = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", output, re.MULTILINE)}
    assert counted or "Nothing to be done" in output
    return {rule: count for rule, count in counted.items() if rule not in ("all", "total")}


def counts(jobs: Mapping[str, list[str]]) -> dict[str, int]:
    """How many jobs each stage has."""
    return {stage: len(keys) for stage, keys in jobs.items()}


def make(path: Path) -> Sandbox:
    path.mkdir(parents=True)
    for name in ("Snakefile", "workflow", "profiles"):
        (path / name).symlink_to(REPOSITORY / name)
    ir.write(path / "one.nir", network(1))
    ir.write(path / "two.nir", network(2))
    rng = np.random.default_rng(0)
    np.savez(
        path / "data.npz",
        x_train=rng.uniform(-1, 1, (30, 6)).astype(np.float32),
        x_test=rng.uniform(-1, 1, (40, 6)).astype(np.float32),
        y_test=rng.integers(0, 3, 40),
    )
    sandbox = Sandbox(path)
    sandbox.configure()
    return sandbox


def swept(tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]) -> Sandbox:
    """A sandbox in which a sweep with these changes has run, from the start to the end."""
    sandbox = make(tmp_path_factory.mktemp("quick") / "sandbox")
    sandbox.configure(**changes)
    sandbox.finish()
    return sandbox


def leftovers(sandbox: Sandbox) -> list[str]:
    """Hidden files in the folders of results: temporary ones, and markers of jobs at work."""
    folders = [sandbox.results / name for name in ("simulate", "project", "csim", "parts", "run")]
    return [
        str(path)
        for folder in (sandbox.results, *folders)
        for path in folder.glob(".*")
        if path.name not in (RUN_LOCK, TABLE_LOCK)
    ]


GATE = """#!{python}
import sys, time
from pathlib import Path
from talon_lib import cli
from talon_lib.sweep import stages

here, made, calls = Path({folder!r}), stages.workload, []

def workload(*given, **named):
    calls.append(given)
    if sys.argv[1] == "run" and len(calls) == 3 and not (here / "go").exists():
        (here / "reached").touch()
        while not (here / "go").exists():
            time.sleep(0.05)
    return made(*given, **named)

stages.workload = workload
cli.main()
"""


@dataclass(frozen=True)
class Gate:
    """A talon-dse whose chunks stop before their third job reads its files, until they are let go."""

    folder: Path

    @property
    def reached(self) -> bool:
        return (self.folder / "reached").exists()

    def go(self) -> None:
        (self.folder / "go").touch()
