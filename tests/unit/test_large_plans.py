"""A million points are planned in little memory, and run as few jobs of Snakemake."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from talon_lib import ir

GIB = 2**30

PARTS = ["zcu102", "zcu104", "zcu111", "ultra96", "pynq_z1"]
PRESETS = ["28nm_cmos", "45nm_cmos", "horowitz_45nm", "neuromorphic_int8", "zcu102"]
AXES: dict[str, Any] = {
    "reuse_factors": list(range(1, 101)),
    "energy_presets": PRESETS,
    "hardware": {"part": PARTS, "clock_period_ns": [2.0 + 0.5 * number for number in range(25)]},
}


def networks(folder: Path, count: int, layers: int) -> list[dict[str, Any]]:
    """Tiny networks that differ, of so many layers of neurons."""
    np.savez(folder / "data.npz", x=np.random.default_rng(1).uniform(-1, 1, (6, 3)), y=np.arange(6) % 2)
    made = []
    for number in range(count):
        lif = {key: np.full(2, value, np.float32) for key, value in {"tau": 2.0, "r": 1.0, "v_leak": 0.0}.items()}
        nodes: dict[str, ir.Primitive] = {"input": ir.Input((3,))}
        for layer in range(layers):
            weights = np.full((2, 2 if layer else 3), number + 1, np.float32)
            nodes[f"fc{layer}"] = ir.Affine(weights, np.zeros(2, np.float32))
            nodes[f"lif{layer}"] = ir.LIF(**lif, v_threshold=np.ones(2, np.float32))
        nodes["output"] = ir.Output((2,))
        path = folder / f"net{number}.nir"
        ir.write(path, ir.Graph(nodes, list(itertools.pairwise(nodes))))
        made.append({"name": path.stem, "graph": str(path), "data": str(folder / "data.npz"), "timesteps": 2})
    return made


def planned(folder: Path, values: dict[str, Any]) -> tuple[list[str], int, float]:
    """What talon-dse plan says of a configuration, its peak memory in bytes, and its seconds."""
    config = folder / "sweep.yaml"
    config.write_text(json.dumps(values))  # which is YAML
    start = time.perf_counter()
    with (folder / "out").open("w+") as out:
        command = [sys.executable, "-m", "talon_lib", "plan", str(config), f"--results={folder}"]
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)  # the memory of this child alone
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    assert process.returncode == 0, text
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return text.splitlines(), usage.ru_maxrss * kilobyte, time.perf_counter() - start


GRID = {**AXES, "precisions": ["fp32", "int4", "int8", "ap_fixed<12,4>"]}
SAMPLE = {**AXES, "precisions": {"per_node": ["int2..int16"]}, "sample": {"random": 1_000_000}}
"""Of designs that share nothing: nearly each has number types of its own."""

OFF, ON = {"project": False, "csim": False}, {"project": True, "csim": True}


@pytest.mark.parametrize(
    ("values", "least"),
    [
        ({**GRID, "stages": OFF}, {"simulate": 16}),
        ({**GRID, "stages": ON}, {"project": 100_000}),
        ({**SAMPLE, "stages": ON}, {"simulate": 950_000, "project": 1_000_000, "csim": 950_000}),
    ],
    ids=["estimates", "projects", "a sample that shares nothing"],
)
def test_a_million_points_are_planned_in_a_gibibyte_and_two_thousand_jobs(
    tmp_path: Path, values: dict[str, Any], least: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    """However many jobs they are; of each stage so many at least."""
    values = {"name": "large", "networks": networks(tmp_path, 4, layers=3), **values}
    lines, memory, seconds = planned(tmp_path, values)
    cells = {line.split()[0]: [cell for cell in line.split("  ") if cell.strip()] for line in lines}
    points = int(cells["rows"][1].replace(",", ""))
    jobs = int(cells["all"][1].replace(",", ""))
    with capsys.disabled():
        print(f"\n{points:,} points: {seconds:.1f} s, {memory / GIB:.2f} GiB, {jobs:,} Snakemake jobs")
        print("\n".join(lines))
    assert points >= 1_000_000
    assert memory < GIB
    assert jobs <= 2_000
    for stage, count in least.items():
        assert int(cells[stage][1].replace(",", "")) >= count
