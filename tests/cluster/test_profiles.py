"""The profiles as files; these tests need no Slurm."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from sandbox import REPOSITORY

PROFILES = REPOSITORY / "workflow" / "profiles"
CLUSTERS = ("slurm", "cluster-generic")


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((PROFILES / name / "config.yaml").read_text())


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_profile_keeps_what_the_default_says(name: str) -> None:
    default, found = read("default"), read(name)
    for own in ("cores", "max-jobs-per-timespan"):  # of this machine: no matter on a cluster
        default.pop(own, None)
    assert default
    assert {key: found.get(key) for key in default} == default


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_job_says_how_much_memory_and_time_it_wants_and_a_killed_one_is_submitted_again(name: str) -> None:
    found = read(name)
    asked = dict(each.split("=") for each in found["default-resources"])
    assert int(asked["mem_mb"]) > 0
    assert int(asked["runtime"]) > 0
    assert found["retries"] > 0
    assert found["latency-wait"] > 5  # Snakemake's default, for one machine


# what `qstat -x -f` prints of a job, by the attributes that PBS Professional's manual names
ANSWERS = {
    "    job_state = Q\n    queue = workq\n": "running",
    "    job_state = R\n    queue = workq\n": "running",
    "    job_state = F\n    queue = workq\n    Exit_status = 0\n": "success",
    "    job_state = F\n    queue = workq\n    Exit_status = 1\n": "failed",
    "    job_state = F\n    queue = workq\n    Exit_status = 01\n": "failed",
    "    job_state = F\n    queue = workq\n    Exit_status = -29\n": "failed",
    "    job_state = F\n    queue = workq\n": "failed",  # deleted before it ran
    "": "failed",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_state_of_a_pbs_job_is_one_word(tmp_path: Path, answer: str) -> None:
    qstat = tmp_path / "qstat"
    qstat.write_text(f"#!/bin/sh\n[ \"$*\" = '-x -f 7.server' ] && printf '%s' '{answer}'\n")
    qstat.chmod(0o755)
    done = subprocess.run(
        ["sh", str(PROFILES / "cluster-generic" / "status.sh"), "7.server"],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ANSWERS[answer] + "\n"
