"""What runs for a point: the jobs of its stages, their keys and their commands.

A stage's key is a hash of only what the stage depends on, the version of the stage included: contents of files,
not names. Equal keys are one job, whatever the number of points that need it, and a job whose result is there is
not run again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from talon_lib.hls.boards import resolve_part
from talon_lib.precision import Precision
from talon_lib.rtl.yosys import NO_DSP, family_of
from talon_lib.sweep.digests import canonical, digest, digest_of, listed
from talon_lib.sweep.spec import Network, SweepSpec

STAGE_VERSIONS = {"simulate": 5, "project": 3, "csim": 2, "rtl": 2, "synth": 1, "estimate": 3, "energy": 2}
"""Raise a stage's number when its results change: its jobs run again."""

STAGES = ("simulate", "project", "csim", "rtl", "synth")
"""Those that run as jobs."""


@dataclass(frozen=True)
class Job:
    """One run of a stage: its key, the arguments of the ``talon-dse`` verb of the stage's name, and what to call it.

    after: the key of the project whose folder it works on, where it does. expects: fingerprints of the graph and the
    data that it was planned with; empty where it reads neither.
    """

    stage: str
    key: str
    arguments: tuple[str, ...]
    label: str
    after: str | None = None
    expects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resolved:
    """What a sweep knows of a network's files once they are read: fingerprints, and what precisions depend on.

    bringing: nodes that bring the bits of their results along, so that a fixed precision must find their scales. nodes:
    those that have precisions of their own, where the configuration says so.
    """

    graph: str
    data: str
    bringing: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


class Design(NamedTuple):
    """A value on every axis of the hardware."""

    reuse_factor: int
    part: str
    clock_period_ns: float
    strategy: str
    io_type: str


@dataclass(frozen=True)
class Workload:
    """A network on its data for a number of steps."""

    spec: SweepSpec
    network: Network
    resolved: Resolved
    steps: int

    @cached_property
    def run(self) -> str:
        """What the inputs of a run depend on, beside how many samples there are; canonical JSON, as all identities."""
        return canonical([self.resolved.data, self.network.encoding.describe(), self.steps])

    def types(self, precision: Precision) -> str:
        """What the number types of the network depend on."""
        calibrated = precision.finds_scales(self.resolved.bringing)
        return listed(self._graph, canonical(precision.describe()), self._calibration if calibrated else "[]")

    @cached_property
    def _graph(self) -> str:
        return canonical(self.resolved.graph)

    @cached_property
    def _calibration(self) -> str:
        return listed(self.run[1:-1], canonical(self.spec.samples.calibration))

    def arguments(self, precision: Precision, samples: int | None = None) -> tuple[str, ...]:
        """How a verb is told what to run."""
        network, calibration = self.network, self.spec.samples.calibration
        return (
            str(network.graph),
            f"--data={network.data}",
            f"--encoding={network.encoding.argument()}",
            f"--steps={self.steps}",
            f"--precision={precision.argument()}",
            *([f"--dt={network.dt!r}"] if network.dt is not None else []),
            *([f"--labels={network.labels}"] if network.labels is not None else []),
            *([f"--samples={samples}"] if samples is not None else []),
            *([f"--calibration-samples={calibration}"] if calibration is not None else []),
        )


class Stem:
    """A workload at a precision: what the jobs of its designs have in common.

    Keys are made for every point of a plan; jobs, which hold commands, for those alone that are asked for.
    """

    def __init__(self, workload: Workload, precision: Precision) -> None:
        self.workload = workload
        self.precision = precision
        self._spec = workload.spec
        self._types = workload.types(precision)
        self._keys: dict[tuple[str, str], str] = {}

    @cached_property
    def has_hardware(self) -> bool:
        """Whether any stage works on designs: none holds floating point."""
        stages = self._spec.stages
        return bool(stages.project or stages.csim or self._spec.synth.flows) and self.precision.is_fixed

    def keys(self, design: Design) -> dict[str, str]:
        """The keys of a design's jobs by stage, in the order of stages."""
        return {stage: self._key(stage, design) for stage in self._stages(design)}

    def job(self, stage: str, design: Design) -> Job:
        """One of the jobs of a design."""
        key = self._key(stage, design)
        label = f"{self.workload.network.name} {self.precision.name}"
        if stage not in ("simulate", "csim"):
            label += f" R={design.reuse_factor}"
        if stage == "synth":  # works on the folder that the job of the project makes, which its rule puts first
            return Job(stage, key, self._arguments(stage, design), label, after=self._key("project", design))
        expects = self.workload.resolved.graph, self.workload.resolved.data
        return Job(stage, key, self._arguments(stage, design), label, expects=expects)

    def _stages(self, design: Design) -> Iterator[str]:
        yield "simulate"
        if not self.has_hardware:
            return
        if self._spec.stages.project:
            yield "project"
        if self._spec.stages.csim:
            yield "csim"
        if self._takes("open-rtl", design):
            yield "rtl"
        if self._takes("vitis", design):
            yield "synth"

    def _key(self, stage: str, design: Design) -> str:
        if stage == "synth":
            return digest(stage, STAGE_VERSIONS[stage], self._key("project", design), sorted(self._spec.synth.steps))
        identity = canonical(self._identity(stage, design))[1:-1]
        if (stage, identity) not in self._keys:  # designs that differ in what the stage does not depend on share a job
            run = "[]" if stage == "project" else self.workload.run
            head = canonical(stage), canonical(STAGE_VERSIONS[stage])
            self._keys[stage, identity] = digest_of(*head, listed(self._types, identity), run)
        return self._keys[stage, identity]

    def _identity(self, stage: str, design: Design) -> list[Any]:
        """What a job depends on, beside number types and run."""
        spec = self._spec
        if stage == "simulate":
            return [self.workload.network.readout, spec.samples.simulate]
        if stage == "csim":
            return [design.strategy, design.io_type, spec.samples.csim]
        if stage == "rtl":
            return [design.reuse_factor, spec.synth.samples, self._targets(design)]
        identity = [design.reuse_factor, resolve_part(design.part), *design[2:]]
        if stimuli := self._stimuli(design):  # without them a project does not depend on a run
            identity.append([stimuli, *json.loads(self.workload.run)])
        return identity

    def _arguments(self, stage: str, design: Design) -> tuple[str, ...]:
        spec, workload = self._spec, self.workload
        if stage == "simulate":
            samples = spec.samples.simulate
            return (*workload.arguments(self.precision, samples), f"--readout={workload.network.readout}")
        if stage == "csim":
            return (
                *workload.arguments(self.precision, spec.samples.csim),
                f"--strategy={design.strategy}",
                f"--io-type={design.io_type}",
                f"--timeout={spec.stages.csim_timeout_s!r}",  # a limit, no part of the result's identity
            )
        if stage == "rtl":
            return (
                *workload.arguments(self.precision),
                f"--reuse-factor={design.reuse_factor}",
                f"--verify={spec.synth.samples}",
                *(f"--count={target}" for target in self._targets(design)),
                f"--timeout={spec.synth.timeout_s!r}",
            )
        if stage == "project":
            stimuli = self._stimuli(design)
            return (
                *workload.arguments(self.precision),
                f"--reuse-factor={design.reuse_factor}",
                f"--part={design.part}",
                f"--clock-period={design.clock_period_ns!r}",
                f"--strategy={design.strategy}",
                f"--io-type={design.io_type}",
                *([f"--stimuli={stimuli}"] if stimuli else []),
            )
        steps = (f"--step={step}" for step in spec.synth.steps)
        return ("--flow=vitis", *steps, f"--timeout={spec.synth.timeout_s!r}")

    def _targets(self, design: Design) -> list[str]:
        """What Yosys counts for."""
        synth, family = self._spec.synth, family_of(resolve_part(design.part))
        targets = [family] if family else []
        targets += [family + NO_DSP] if family and synth.without_dsp else []
        return targets + (["ecp5"] if synth.place_and_route else [])

    def _stimuli(self, design: Design) -> int:
        """Samples that cosim repeats, which the project holds."""
        synth = self._spec.synth
        return synth.samples if "cosim" in synth.steps and self._takes("vitis", design) else 0

    def _takes(self, flow: str, design: Design) -> bool:
        return self._spec.synth.takes(flow, self.workload.network.name, self.precision.name, design.reuse_factor)
