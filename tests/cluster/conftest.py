"""A Slurm for the session, and sweeps that ran without one, to compare with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sandbox import make
from slurm import Slurm, obstacle
from sweeps import SMALL


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A Slurm that lives as long as the session, and is taken down however that ends."""
    reason = obstacle()
    if reason:
        pytest.skip(reason)
    slurm = Slurm(tmp_path_factory.mktemp("slurm"))
    slurm.start()
    try:
        yield slurm
    finally:
        slurm.stop()


@pytest.fixture
def slurm(cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """The session's Slurm, found by every program; before and after a test it has no jobs and its nodes are idle."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    cluster.clear()
    try:
        yield cluster
    finally:
        cluster.clear()


@pytest.fixture(scope="session")
def small(cluster: Slurm, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The table of the small sweep, run here from the start to the end."""
    sandbox = make(tmp_path_factory.mktemp("local") / "sandbox")
    sandbox.configure(**SMALL)
    sandbox.finish()
    return sandbox.parquet
