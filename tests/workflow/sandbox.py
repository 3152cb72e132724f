"""A folder to run sweeps in: the repository's workflow by link, two small networks, and results of its own."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from talon_lib import ir

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

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start the sweep, in a process group of its own, without waiting for it."""
        return subprocess.Popen(
            [str(BIN / "talon-dse"), "sweep", "sweep.yaml", "--cores", "2", *options],
            **self._how(),
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
        """What a dry run says would run: by rule the keys of its jobs ("" for rules without a key)."""
        done = self.sweep("--dry-run", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return jobs_of(done.stdout + done.stderr)

    def files(self) -> dict[str, tuple[int, int]]:
        """Inode and time of every result of a job and every file of a project."""
        return {
            str(file.relative_to(self.results)): (file.stat().st_ino, file.stat().st_mtime_ns)
            for stage in STAGES
            for file in (self.results / stage).rglob("*")
            if file.is_file()
        }

    def ended(self) -> set[str]:
        """The results of jobs that are there."""
        return {f"{stage}/{file.stem}" for stage in STAGES for file in (self.results / stage).glob("*.json")}


def jobs_of(output: str) -> dict[str, list[str]]:
    """The jobs in the output of a dry run, which names each, and counts them in a table."""
    jobs: dict[str, list[str]] = {}
    for rule in re.findall(r"^(?:local)?rule (\w+):", output, flags=re.MULTILINE):
        jobs.setdefault(rule, []).append("")
    for rule, key in re.findall(r"^Job \d+: (\w+) .*\((\w+)\)$", output, flags=re.MULTILINE):
        jobs.setdefault(rule, []).append(key)
    table = Counter({rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", output.partition("\n\n")[0], re.M)})
    assert table == {} or table == {rule: len(keys) for rule, keys in jobs.items()}
    if not jobs:
        assert "Nothing to be done" in output
    return jobs


def counts(jobs: Mapping[str, list[str]]) -> dict[str, int]:
    """How many jobs each rule has; `all` does nothing and is left out."""
    return {rule: len(keys) for rule, keys in jobs.items() if rule != "all"}


def make(path: Path) -> Sandbox:
    path.mkdir(parents=True)
    for name in ("Snakefile", "workflow"):
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
