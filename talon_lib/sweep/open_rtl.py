"""Stage ``rtl``: a network as SystemVerilog of our own, proved by Verilator and counted by Yosys and nextpnr.

A tool that is missing or fails takes away its own figures alone: the result says which, and why.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from talon_lib.cost.devices import RESOURCES, dsp_slice_of
from talon_lib.cost.estimate import SOURCE, Design, estimate
from talon_lib.cost.layers import Layer
from talon_lib.errors import ConfigError, ToolError, UnsupportedError
from talon_lib.files import beside, write_json
from talon_lib.hls.boards import resolve_part
from talon_lib.rtl import nextpnr, verilator, yosys
from talon_lib.rtl.generate import RtlSpec, generate
from talon_lib.sweep.stages import Workload, is_of_machine, status_of

RECORD = "rtl.json"
"""What a folder of RTL says about itself."""

ROUTED = "ecp5"
TARGETS = (*yosys.TARGETS, ROUTED)
"""What designs are counted for: families of AMD's by Yosys alone; Lattice ECP5 with place and route."""

ESTIMATE_SOURCE = f"{SOURCE}: first-order open RTL"

AND = " | "
"""Between the reasons of a row."""

TIMEOUT = 3600.0
"""Seconds that one program may take, unless told otherwise."""

T = TypeVar("T")

Problems = list[dict[str, str]]
"""What tools could not do: status and reason of each."""


def make(
    work: Workload,
    precision: str,
    folder: Path,
    reuse_factor: int,
    samples: int | None,
    targets: Sequence[str],
    top: str = "snn",
    timeout: float = TIMEOUT,
) -> dict[str, Any]:
    """Write the design into ``folder``; prove it on so many samples (None: not at all); count it for ``targets``.

    The tools work beside ``folder``, into which their files go one by one at the end, whole; what Verilator compiled is
    left out, 200 MB where its headers are large.

    timeout: seconds that one program may take. What a tool could not do (it is missing, failed, took too long, or its
    device is too small) is said under ``problems``, and takes nothing away from the others.

    Raises ConfigError for unknown targets and samples without data, UnsupportedError for what the RTL cannot hold.
    """
    check_targets(targets)
    bound = work.bind(precision)
    inputs = None if samples is None else work.inputs(work.test_set.x[:samples])
    design = generate(work.graph, bound, RtlSpec(top, reuse_factor))
    record = {
        "top": design.top,
        "sources": list(design.sources),
        "effective_reuse": dict(design.reuse_factors),
        "multipliers": dict(design.multipliers),
    }
    problems: Problems = []
    proof = None
    counts: dict[str, Any] = {}
    routed = None
    with _workshop(folder) as place:
        design.write(place)
        write_json(place / RECORD, record)
        if inputs is not None:
            proof = _attempt(
                problems,
                lambda: verilator.verify_design(design, work.graph, bound, inputs, work.steps, timeout, place),
            )
        for target in targets:  # one by one, so that each fails alone
            found = _attempt(problems, lambda: count(design.sources, top, place, [target], timeout))  # noqa: B023
            if found is not None:
                counts |= found["counts"]
                routed = found["routed"] or routed
    for problem in problems:
        problem["reason"] = problem["reason"].replace(str(place), str(folder))
    return {
        "folder": folder.name,
        **record,
        "proof": None
        if proof is None
        else {
            "equal": proof.equal,
            "difference": None if proof.difference is None else str(proof.difference),
            "samples": proof.samples,
            "values": proof.values,
            "cycles_per_step": proof.cycles,
            "tool": proof.tool,
        },
        "counts": counts,
        "routed": routed,
        "problems": problems,
    }


@contextlib.contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    """A folder to work in; its files, but not its folders, move into ``folder`` at the end, also after an error."""
    place = beside(folder)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        yield place
    finally:
        folder.mkdir(parents=True, exist_ok=True)
        for file in place.iterdir():
            if file.is_file():
                file.replace(folder / file.name)
        shutil.rmtree(place, ignore_errors=True)


def _attempt(problems: Problems, work: Callable[[], T]) -> T | None:
    try:
        return work()
    except (ToolError, UnsupportedError) as error:
        if is_of_machine(error):
            raise
        problems.append({"status": status_of(error), "reason": str(error)})
        return None


def check_targets(targets: Sequence[str]) -> None:
    """Raise ConfigError for those that the open RTL is not counted for."""
    if unknown := [target for target in targets if target not in TARGETS]:
        raise ConfigError(f"unknown target {', '.join(unknown)}; the open RTL is counted for: {', '.join(TARGETS)}")


def read_design(folder: Path) -> tuple[list[str], str]:
    """The names of the SystemVerilog files in ``folder``, and of the top module. Raises ConfigError for another."""
    try:
        record = json.loads((folder / RECORD).read_text())
        sources, top = record["sources"], record["top"]
        # names become a part of Yosys' script, and folders may be other people's
        if not sources or not all(re.fullmatch(r"\w+(\.sv)?", name) for name in (*sources, top)):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{folder}: not a design of the open RTL; talon-dse rtl writes one") from None
    return sources, top


def count(sources: Sequence[str], top: str, folder: Path, targets: Sequence[str], timeout: float) -> dict[str, Any]:
    """Count the design of ``sources`` in ``folder`` for ``targets``. Raises what the tools do."""
    families = [target for target in targets if target in yosys.TARGETS]
    counts = {family: asdict(yosys.synthesise(sources, top, folder, family, timeout)) for family in families}
    routed = asdict(nextpnr.place_and_route(sources, top, folder, timeout=timeout)) if ROUTED in targets else None
    return {"counts": counts, "routed": routed}


def columns(point: Mapping[str, Any], job: Mapping[str, Any] | None) -> dict[str, Any]:
    """The measured columns of one point; ``job`` is the envelope of its result, None where there is no job."""
    if job is None:
        return {"open_rtl_status": "not_run"}
    found = job["result"]
    if found is None:
        return {"open_rtl_status": job["status"], "open_rtl_reason": job["reason"]}
    family = yosys.family_of(resolve_part(point["part"]))
    row: dict[str, Any] = {
        **_verdict(found, family, point["part"]),
        "open_rtl_missing": AND.join(own["reason"] for own in found["problems"] if own["status"] == "missing") or None,
        "open_rtl_folder": f"rtl/{found['folder']}",
        "open_rtl_multipliers": sum(found["multipliers"].values()),
    }
    proof, counts, routed = found["proof"], found["counts"].get(family), found["routed"]
    if proof is not None:
        row |= {
            "open_rtl_samples": proof["samples"],
            "open_rtl_values": proof["values"],
            "open_rtl_cycles_per_step": proof["cycles_per_step"],
            "open_rtl_proof_source": proof["tool"],
        }
    if counts is not None:
        names = {"lut": "lut", "lutram": "lutram", "ff": "ff", "dsp": "dsp", "bram": "bram18"}
        row |= {f"open_rtl_{name}": counts[given] for name, given in names.items()}
        row["open_rtl_source"] = f"{counts['tool']} {counts['family']}"
    if (without := found["counts"].get(f"{family}{yosys.NO_DSP}")) is not None:
        row["open_rtl_lut_nodsp"] = without["lut"]
    if routed is not None:
        row |= {
            "open_rtl_fmax_mhz": routed["fmax_mhz"],
            "open_rtl_fmax_source": f"{routed['tool']} ecp5-{routed['device']}",
        }
        if row.get("open_rtl_cycles_per_step") is not None:
            cycles = row["open_rtl_cycles_per_step"] * point["timesteps"]
            row["open_rtl_latency_us"] = cycles / routed["fmax_mhz"]
    return row


def _verdict(found: Mapping[str, Any], family: str | None, part: str) -> dict[str, Any]:
    """Status and reason: a difference is worse than a tool that failed, and that than one that is missing."""
    proof, problems = found["proof"], found["problems"]
    statuses = {own["status"] for own in problems}
    status = "unproved" if proof is None else "equal" if proof["equal"] else "different"
    if status != "different":
        status = next((worse for worse in ("failed", "timeout") if worse in statuses), status)
    reasons = [proof["difference"]] if status == "different" else []
    reasons += [own["reason"] for own in problems if own["status"] != "missing"]
    reasons += [] if family else [f"Yosys does not count for {part}"]
    return {"open_rtl_status": status, "open_rtl_reason": AND.join(reasons) or None}


def estimate_columns(point: Mapping[str, Any], hardware: Mapping[str, Any]) -> dict[str, Any]:
    """The analytic columns beside them; empty where lowering refuses the graph.

    hardware: what ``estimates.sizes`` gave.
    """
    if hardware["io_parallel"] is None:
        return {}
    layers = [Layer.from_dict(values) for values in hardware["io_parallel"]]
    design = Design(point["reuse_factor"], flow="open-rtl", dsp=dsp_slice_of(resolve_part(point["part"])))
    found = estimate(layers, design, point["timesteps"])
    return {
        **{f"open_rtl_{name}_estimate": getattr(found.usage, name) for name in RESOURCES},
        "open_rtl_cycles_estimate": found.cycles_per_step,
        "open_rtl_estimate_source": ESTIMATE_SOURCE,
    }
