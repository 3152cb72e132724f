"""Locks that die with the process that holds them; where the file system knows none, nobody waits."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from talon_lib.errors import ConfigError

RUN_LOCK = ".lock"
"""In a sweep's folder: held by the run that writes there."""

TABLE_LOCK = ".table.lock"
"""Beside it: held by the process that plans, collects or reports."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[Path]:
    """Make the file and hold it; a process that holds it, of a killed run, is waited for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield path


@contextlib.contextmanager
def table_held(folder: Path) -> Iterator[None]:
    """Let one process at a time plan the sweep in a folder, collect its table or draw its report.

    So that a process that a killed run left behind ends before the next run begins, or makes what that has planned. A
    folder in which no sweep has run is left as it is.
    """
    with contextlib.ExitStack() as stack:
        if (folder / RUN_LOCK).exists():
            with contextlib.suppress(OSError):  # a folder that is read-only holds nothing that could be overwritten
                stack.enter_context(held(folder / TABLE_LOCK))
        yield


@contextlib.contextmanager
def run_held(folder: Path) -> Iterator[int]:
    """Hold the folder for one run; yields the lock's file descriptor."""
    handle = hold(folder)
    try:
        yield handle
    finally:
        os.close(handle)


def hold(folder: Path) -> int:
    """Take the lock of the folder; returns its file descriptor. Raises ConfigError where another run has it.

    The lock dies with the processes that hold the descriptor, us and Snakemake: a killed run leaves none behind, and a
    Snakemake that outlives us keeps it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / RUN_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot write results there ({error.strerror or error})") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise ConfigError(f"another run of this sweep is writing to {folder}; wait for it, or stop it") from None
    return handle
