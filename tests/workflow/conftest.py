"""Sandboxes in which nothing has run, and one in which the base sweep has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sandbox import GATE, QUICK, Gate, Sandbox, make, swept


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """A folder in which nothing has run."""
    return make(tmp_path / "sandbox")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sandbox, subprocess.CompletedProcess[str]]:
    """The base sweep, run once from the start to the end, and what it printed. To be read only."""
    sandbox = make(tmp_path_factory.mktemp("undisturbed") / "sandbox")
    return sandbox, sandbox.finish()


@pytest.fixture
def finished(undisturbed: tuple[Sandbox, Any], tmp_path: Path) -> Sandbox:
    """A copy of the folder in which the base sweep has run, times of files included."""
    shutil.copytree(undisturbed[0].path, tmp_path / "finished", symlinks=True)
    return Sandbox(tmp_path / "finished")


@pytest.fixture(scope="session")
def path_without(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A PATH on which the named programs are missing."""

    def build(*missing: str) -> str:
        folder = tmp_path_factory.mktemp("bin")
        for parent in map(Path, os.get_exec_path()):
            for program in parent.iterdir() if parent.is_dir() else ():
                if program.name not in missing and not (folder / program.name).exists():
                    (folder / program.name).symlink_to(program)
        return str(folder)

    return build


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """The quick sweep, run once from the start to the end. To be read only."""
    return swept(tmp_path_factory, QUICK)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A talon-dse that stops at the third job; it goes on at the end of the test, if it is still there."""
    found = Gate(tmp_path / "gate")
    found.folder.mkdir()
    shim = found.folder / "talon-dse"
    shim.write_text(GATE.format(python=sys.executable, folder=str(found.folder)))
    shim.chmod(0o755)
    yield found
    found.go()
