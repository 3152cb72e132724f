"""What a table came from: versions, commit, machine, command."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

PACKAGES = ("talon-dse", "numpy", "pandas", "pyarrow", "hls4ml", "nir", "h5py", "snakemake", "bokeh", "pydantic")


def provenance(command: Sequence[str]) -> dict[str, Any]:
    """Versions of packages and Python, the git commit (and whether the tree was clean), and the kind of machine."""
    return {
        "command": list(command),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git_commit": _git("rev-parse", "HEAD"),
        "git_clean": _git("status", "--porcelain") == "",
        "machine": {"system": platform.system(), "architecture": platform.machine()},
        "interpreter": sys.implementation.name,
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
