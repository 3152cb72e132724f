"""What the jobs do, one function a stage: from arguments to a result that is plain data.

A result file is an envelope: ``{"stage", "version", "status", "reason", "result"}``. Status is ``ok``, ``failed``,
``timeout``, ``unsupported`` or ``missing`` (a tool of AMD's is not installed); with anything but ``ok`` the reason is
one line and there is no result.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from talon_lib import data as datasets
from talon_lib import formats
from talon_lib.cost.counts import count
from talon_lib.cost.work import work as node_work
from talon_lib.errors import ChangedError, ConfigError, MissingToolError, TalonError, ToolTimeout, UnsupportedError
from talon_lib.fixed import Array
from talon_lib.ir.graph import Graph
from talon_lib.ir.node import Bound
from talon_lib.precision import Precision, describe_types
from talon_lib.simulate import NodeActivity, Readout, bind_graph, run
from talon_lib.sweep.estimates import sizes
from talon_lib.sweep.jobs import STAGE_VERSIONS

Status = Literal["ok", "failed", "timeout", "unsupported", "missing"]

BATCH = 512
"""Samples that are simulated at once, at most: bounds the memory, changes no result."""

BATCH_VALUES = 2**24
"""Input values of all steps that are simulated at once, at most (128 MiB): the same for large inputs."""


@dataclass(frozen=True)
class Workload:
    """A network with data, encoded for a number of steps, and calibration samples."""

    graph: Graph
    dataset: datasets.Dataset | None
    encoding: datasets.Encoding
    steps: int
    calibration_samples: int | None

    @property
    def batch(self) -> int:
        """How many samples are simulated at once."""
        values = self.steps * max(math.prod(node.shape) for node in self.graph.inputs.values())
        return max(1, min(BATCH, BATCH_VALUES // values))

    def inputs(self, x: datasets.Samples, first: int = 0) -> dict[str, Array]:
        """The run's inputs for samples ``x``, the first of which is number ``first`` of its dataset."""
        if len(self.graph.inputs) != 1:
            raise ConfigError(f"a data file feeds one input, but the graph has {', '.join(self.graph.inputs)}")
        ((name, node),) = self.graph.inputs.items()
        return {name: self.encoding.encode(x, node.shape, self.steps, first)}

    @property
    def test_set(self) -> datasets.Dataset:
        """The dataset. Raises ConfigError where there is none."""
        if self.dataset is None:
            raise ConfigError("this needs data; give an .npz or .npy file")
        return self.dataset

    def bind(self, precision: str | Precision) -> dict[str, Bound]:
        """Types for every node, with scales from the calibration samples (from noise where there is no dataset)."""
        if self.dataset is None:
            return bind_graph(self.graph, precision, None, self.steps)
        calibration = self.inputs(self.dataset.calibration[: self.calibration_samples])
        return bind_graph(self.graph, precision, calibration, self.steps)


def workload(
    graph: Path,
    data: Path | None,
    encoding: str | datasets.Encoding,
    steps: int,
    samples: int | None,
    calibration_samples: int | None,
    labels: Path | None = None,
    dt: float | None = None,
    expect: tuple[str, str] | None = None,
) -> Workload:
    """Read what a stage works on; ``dt`` is the reader's.

    expect: the fingerprints of graph and data that the job was planned with. Raises ChangedError for others, and where
    a file cannot be read, for the plan has read it.
    """
    if data is None and labels is not None:
        raise ConfigError("labels need data; give --data as well")
    if expect is None:
        network, dataset = formats.read(graph, dt=dt), None if data is None else datasets.load(data, labels)
    else:
        network = _unchanged(graph, expect[0], lambda: formats.read(graph, dt=dt))
        dataset = None if data is None else _unchanged(data, expect[1], lambda: datasets.load(data, labels))
    taken = None if dataset is None else dataset.take(samples)
    return Workload(network, taken, datasets.parse(encoding), steps, calibration_samples)


Read = TypeVar("Read", Graph, datasets.Dataset)


def _unchanged(path: Path, planned: str, read: Callable[[], Read]) -> Read:
    """What ``read`` gives, if it has the fingerprint that was planned with. Raises ChangedError."""
    try:
        found = read()
        if found.fingerprint == planned:
            return found
    except (TalonError, OSError):  # half-written, or gone
        pass
    raise ChangedError(f"{path} changed while the sweep was running; run it again")


def simulate(work: Workload, precision: str, readout: Readout) -> dict[str, Any]:
    """Accuracy after every step, agreement with fp32, activity per node, and memory, at one precision."""
    output = single_output(work.graph)
    bound = work.bind(precision)
    reference = work.bind("fp32")
    x, y = work.test_set.x, work.test_set.y
    correct = np.zeros(work.steps, np.int64)
    agreeing = 0
    activity: dict[str, NodeActivity] = {}
    batch = work.batch
    for start in range(0, len(x), batch):
        inputs = work.inputs(x[start : start + batch], start)
        simulation = run(work.graph, bound, inputs, work.steps)
        predictions = simulation.predictions(output, readout)
        if y is not None:
            correct += (predictions == y[start : start + batch]).sum(axis=1)
        float_predictions = run(work.graph, reference, inputs, work.steps).predictions(output, readout)
        agreeing += int((predictions[-1] == float_predictions[-1]).sum())
        for name, own in simulation.activity.items():
            activity[name] = activity[name] + own if name in activity else own
    counts = count(work.graph, bound)
    done = node_work(work.graph, bound, activity, len(x))
    by_step = [] if y is None else [int(n) / len(x) for n in correct]
    return {
        "fixed": Precision.parse(precision).is_fixed,
        "samples": len(x),
        "accuracy": by_step[-1] if by_step else None,
        "accuracy_by_step": by_step,
        "agreement_fp32": agreeing / len(x),
        "nodes": {
            name: {
                "spikes_per_sample": activity[name].spikes / len(x),
                "effective_macs": activity[name].effective_macs / len(x),
                "effective_acs": activity[name].effective_acs / len(x),
                "dense_macs": own.macs_per_step * work.steps,
                "macs_per_step": own.macs_per_step,
                "weights": own.weights,
                "neurons": own.neurons,
                "weight_bits": own.weight_bits,
                "state_bits": own.state_bits,
                "work": done[name].as_dict(),
            }
            for name, own in counts.items()
        },
        "types": describe_types(bound),
        "one_pass": work.graph.is_dag and not work.encoding.timed,  # whether one run of a step could see all there is
        "hardware": sizes(work.graph, bound) if Precision.parse(precision).is_fixed else None,
    }


def single_output(graph: Graph) -> str:
    """The one Output. Raises ConfigError where there are several: a class needs one."""
    if len(graph.outputs) != 1:
        raise ConfigError(f"a sweep needs a graph with one output, but this has {', '.join(graph.outputs)}")
    return next(iter(graph.outputs))


def csim(
    work: Workload, precision: str, io_type: str, strategy: str, timeout: float, workdir: Path | None = None
) -> dict[str, Any]:
    """Whether the C simulation of the hardware equals ours, and where not."""
    from talon_lib.hls import csim as judge  # jinja2 and g++: not needed by the other stages

    bound = work.bind(precision)
    found = judge.csim(work.graph, bound, work.inputs(work.test_set.x), work.steps, io_type, strategy, timeout, workdir)
    return {
        "equal": found.equal,
        "difference": None if found.difference is None else str(found.difference),
        "samples": found.samples,
        "steps": found.steps,
        "values": found.values,
        "compiler": found.compiler,
    }


def project(
    work: Workload,
    precision: str,
    folder: Path,
    reuse_factor: int,
    part: str,
    clock_period_ns: float,
    strategy: str,
    io_type: str,
    project_name: str = "snn",
    stimuli: int = 0,
) -> dict[str, Any]:
    """Write the hls4ml project; the effective reuse factors are hls4ml's own.

    stimuli: as many samples, and what ``simulate`` gives for them, are written into it for cosim.
    """
    from talon_lib.hls.project import ProjectSpec, build_project, hls4ml_version
    from talon_lib.hls.record import write_record
    from talon_lib.hls.testbench import write_stimuli

    spec = ProjectSpec(project_name, part, clock_period_ns, io_type, reuse_factor, strategy)
    bound = work.bind(precision)
    samples = work.inputs(work.test_set.x[:stimuli]) if stimuli else None
    made = build_project(work.graph, bound, spec, folder)
    write_record(made, work.graph, precision)
    if samples is not None:
        write_stimuli(made, work.graph, bound, samples, work.steps)
    return {
        "effective_reuse": dict(made.effective_reuse),
        "folder": folder.name,
        "hls4ml": hls4ml_version(),
        "warnings": list(made.warnings),
    }


def _open_rtl(folder: Path, steps: Sequence[str], timeout: float, workdir: Path | None) -> dict[str, Any]:
    from talon_lib.sweep import open_rtl

    wanted = tuple(steps) or ("xcup",)
    open_rtl.check_targets(wanted)
    sources, top = open_rtl.read_design(folder)
    place = folder if workdir is None else Path(shutil.copytree(folder, workdir, dirs_exist_ok=True))
    found = open_rtl.count(sources, top, place, wanted, timeout)
    counted = [own for own in (*found["counts"].values(), found["routed"]) if own is not None]
    return {"source": ", ".join(own["tool"] for own in counted), "steps": list(wanted), **found}


def _vitis(folder: Path, steps: Sequence[str], timeout: float, workdir: Path | None) -> dict[str, Any]:
    from talon_lib.hls import vitis
    from talon_lib.hls.record import read_record

    if not (folder / "build_prj.tcl").is_file():
        raise ConfigError(f"{folder}: not an hls4ml project; talon-dse project writes one")
    wanted = tuple(steps) or ("synth",)
    record = read_record(folder)
    try:
        done = vitis.run(folder, wanted, timeout, workdir)
    except MissingToolError as error:
        gains = "; ".join(f"{step}: {vitis.GAINS[step]}" for step in vitis.STEPS if step in wanted)
        raise MissingToolError(f"{error}; it would add {gains}") from None
    return {
        "source": done.report.source,
        "steps": [step for step in vitis.STEPS if step in wanted],
        "log": done.log.name,
        "report": asdict(done.report),
        "design": None if record is None else dict(record),
    }


Flow = Callable[[Path, Sequence[str], float, Path | None], dict[str, Any]]

FLOWS: Mapping[str, Flow] = {"vitis": _vitis, "open-rtl": _open_rtl}
"""Tool chains by name. Each is given a folder, steps (its own default where there are none), the seconds that a program
may take, and a folder to work in or None; it returns at least ``source``, the tool and its version."""


def synth(folder: Path, flow: str, steps: Sequence[str], timeout: float, workdir: Path | None = None) -> dict[str, Any]:
    """Synthesise the project in ``folder``; what comes back depends on the flow, but for ``flow`` and ``source``."""
    if flow not in FLOWS:
        raise ConfigError(f"unknown flow {flow!r}; there is: {', '.join(FLOWS)}")
    return {"flow": flow, **FLOWS[flow](folder, steps, timeout, workdir)}


def envelope(stage: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """The envelope of a stage that ended well."""
    return {"stage": stage, "version": STAGE_VERSIONS[stage], "status": "ok", "reason": None, "result": result}


def is_of_machine(error: BaseException) -> bool:
    """Whether an error says nothing of the design: files that changed, or cannot be written. It is no result then."""
    full = os.strerror(errno.ENOSPC) in str(error)  # what a compiler says of it
    return full or isinstance(error, (ChangedError, OSError))


def status_of(error: BaseException) -> Status:
    """What an error makes of what it ended."""
    if isinstance(error, ToolTimeout):
        return "timeout"
    if isinstance(error, UnsupportedError):
        return "unsupported"
    return "missing" if isinstance(error, MissingToolError) else "failed"


def failure(stage: str, error: BaseException) -> dict[str, Any]:
    """The envelope of a stage that did not."""
    status = status_of(error)
    if status == "missing" and stage != "synth":  # which is an extra, and a sweep ends well without
        status = "failed"
    reason = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, TalonError):
        reason = f"internal error, see the log: {type(error).__name__}: {reason}"
    return {"stage": stage, "version": STAGE_VERSIONS[stage], "status": status, "reason": reason, "result": None}
