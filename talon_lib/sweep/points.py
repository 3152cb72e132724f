"""From a configuration to points, and from points to the jobs that they share.

A stage's key is a hash of only what the stage depends on, the version of the stage included: contents of files,
not names. Equal keys are one job, whatever the number of points that need it, and a job whose result is there is
not run again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from talon_lib import data as datasets
from talon_lib import formats
from talon_lib.cost import calibration as calibrations
from talon_lib.cost.calibration import Calibration
from talon_lib.cost.preset import EnergyPreset, get_preset, is_file
from talon_lib.errors import ConfigError
from talon_lib.hls.boards import resolve_part
from talon_lib.ir.graph import Graph
from talon_lib.precision import Precision, needs_calibration
from talon_lib.rtl.yosys import family_of
from talon_lib.sweep.spec import Network, SweepSpec

STAGE_VERSIONS = {"simulate": 5, "project": 3, "csim": 2, "rtl": 2, "synth": 1, "estimate": 3, "energy": 2}
"""Raise a stage's number when its results change: its jobs run again."""

STAGES = ("simulate", "project", "csim", "rtl", "synth")
"""Those that run as jobs."""


def digest(*parts: Any) -> str:
    """16 hexadecimal digits of the SHA-256 over the parts in canonical JSON."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Job:
    """One run of a stage: its key, the arguments of the ``talon-dse`` verb of the stage's name, and what to call it.

    after: the key of the project whose folder it works on, where it does.
    """

    stage: str
    key: str
    arguments: tuple[str, ...]
    label: str
    after: str | None = None

    @property
    def command(self) -> str:
        """The arguments, quoted for a shell."""
        return shlex.join(self.arguments)


@dataclass(frozen=True)
class Point:
    """One design: a value on every axis, and the keys of the jobs it needs (None where it needs none)."""

    id: str
    network: str
    timesteps: int
    precision: str
    reuse_factor: int
    part: str
    clock_period_ns: float
    strategy: str
    io_type: str
    energy_preset: str
    simulate: str
    project: str | None
    csim: str | None
    rtl: str | None
    synth: str | None


@dataclass(frozen=True)
class Plan:
    """All points of a sweep in the order of the configuration, and the jobs behind them by stage and key."""

    spec: SweepSpec
    points: tuple[Point, ...]
    jobs: Mapping[str, Mapping[str, Job]]
    graphs: Mapping[str, str]
    data: Mapping[str, str]
    presets: Mapping[str, EnergyPreset]
    calibration: Calibration | None = None

    @cached_property
    def id(self) -> str:
        """A hash of the whole plan: equal for equal configurations on equal files."""
        calibration = self.calibration.as_dict() if self.calibration else None
        return digest(self.spec.model_dump(mode="json"), [point.id for point in self.points], calibration)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for sweep.json."""
        return {
            "id": self.id,
            "name": self.spec.name,
            "configuration": self.spec.model_dump(mode="json"),
            "stage_versions": STAGE_VERSIONS,
            "calibration": self.calibration.as_dict() if self.calibration else None,
            "fingerprints": {"graphs": dict(self.graphs), "data": dict(self.data)},
            "energy_presets": {name: preset.as_dict() for name, preset in self.presets.items()},
            "jobs": {
                stage: {key: ["talon-dse", stage, *job.arguments] for key, job in jobs.items()}
                for stage, jobs in self.jobs.items()
            },
            "points": [vars(point) for point in self.points],
        }


def plan(spec: SweepSpec) -> Plan:
    """Resolve a configuration. Reads every network and dataset once; raises TalonError for what cannot be right."""
    points: list[Point] = []
    jobs: dict[str, dict[str, Job]] = {stage: {} for stage in STAGES}
    graphs, data = {}, {}
    precisions = [Precision.parse(value) for value in spec.precisions]
    presets = {given: get_preset(given) for given in spec.energy_presets}
    for network in spec.networks:
        graph = formats.read(network.graph, dt=network.dt)
        dataset = datasets.load(network.data, network.labels)
        _check_fit(network, graph, dataset, precisions)
        graphs[network.name], data[network.name] = graph.fingerprint, dataset.fingerprint
        for steps, precision in itertools.product(network.timesteps, precisions):
            stem = _Stem(
                spec,
                network,
                graph.fingerprint,
                dataset.fingerprint,
                steps,
                precision,
                needs_calibration(graph, precision),
            )
            simulate = stem.simulate()
            jobs["simulate"][simulate.key] = simulate
            for design in _designs(spec):
                made = stem.hardware(*design) if precision.is_fixed else {}
                for job in made.values():
                    jobs[job.stage][job.key] = job
                for given, preset in presets.items():
                    # a file's content is part of what the point is, as that of every file is
                    identity = [preset.name, preset.as_dict()] if is_file(given) else preset.name
                    points.append(_point(stem, design, preset.name, identity, simulate, made))
    calibration = None if spec.calibration is None else _calibration(spec.calibration)
    named = {preset.name: preset for preset in presets.values()}
    return Plan(spec, tuple(points), jobs, graphs, data, named, calibration)


def _calibration(path: Path) -> Calibration:
    found = calibrations.load(path)
    if found.flow != "hls4ml":  # its intervals would stand beside estimates of other designs
        raise ConfigError(
            f"calibration: {path} is of the estimates of {found.flow}, and a sweep's intervals are of those of hls4ml; "
            "take one of talon-dse calibrate --flow vitis"
        )
    return found


def _check_fit(network: Network, graph: Graph, dataset: datasets.Dataset, precisions: list[Precision]) -> None:
    """Say now what is wrong for every job: data or labels that do not fit, precisions for nodes that are not there."""
    for steps in network.timesteps:
        for shape in (node.shape for node in graph.inputs.values()):
            try:
                network.encoding.encode(dataset.x[:1], shape, steps)
            except ConfigError as error:
                raise ConfigError(f"network '{network.name}': {error}") from None
    classes = [math.prod(graph.output_shapes[name]) for name in graph.outputs]
    if dataset.y is not None and len(classes) == 1 and not 0 <= dataset.y.min() <= dataset.y.max() < classes[0]:
        raise ConfigError(
            f"network '{network.name}': the labels go from {dataset.y.min()} to {dataset.y.max()}, but its output has "
            f"{classes[0]} values, which are the classes 0 to {classes[0] - 1}"
        )
    for precision in precisions:
        for node in precision.nodes:
            if node not in graph.nodes:
                raise ConfigError(
                    f"precision '{precision.name}' names node '{node}', which network '{network.name}' does not have; "
                    f"its nodes are: {', '.join(graph.nodes)}"
                )


Design = tuple[int, str, float, str, str]  # reuse factor, part, clock period, strategy, io type


def _designs(spec: SweepSpec) -> Iterator[Design]:
    hardware = spec.hardware
    return itertools.product(
        spec.reuse_factors, hardware.part, hardware.clock_period_ns, hardware.strategy, hardware.io_type
    )


def _point(stem: _Stem, design: Design, preset: str, priced: Any, simulate: Job, hardware: Mapping[str, Job]) -> Point:
    reuse, part, clock, strategy, io_type = design
    return Point(
        id=digest("point", STAGE_VERSIONS, stem.network.name, stem.precision.name, simulate.key, design, priced),
        network=stem.network.name,
        timesteps=stem.steps,
        precision=stem.precision.name,
        reuse_factor=reuse,
        part=part,
        clock_period_ns=clock,
        strategy=strategy,
        io_type=io_type,
        energy_preset=preset,
        simulate=simulate.key,
        **{stage: hardware[stage].key if stage in hardware else None for stage in STAGES[1:]},
    )


@dataclass(frozen=True)
class _Stem:
    """What the jobs of one network, number of steps and precision have in common."""

    spec: SweepSpec
    network: Network
    graph: str
    data: str
    steps: int
    precision: Precision
    calibrated: bool  # whether types depend on calibration samples

    def simulate(self) -> Job:
        samples = self.spec.samples
        identity = [self._types(), self.network.readout, samples.simulate]
        arguments = [*self._data_arguments(samples.simulate), f"--readout={self.network.readout}"]
        return self._job("simulate", identity, arguments)

    def hardware(self, reuse: int, part: str, clock: float, strategy: str, io_type: str) -> dict[str, Job]:
        """The jobs of one design, by stage."""
        made = {}
        synth = self.spec.synth
        chosen = self.network.name, self.precision.name, reuse
        vitis = synth.takes("vitis", *chosen)
        if self.spec.stages.project:
            stimuli = synth.samples if vitis and "cosim" in synth.steps else 0
            made["project"] = self.project(reuse, part, clock, strategy, io_type, stimuli)
        if self.spec.stages.csim:
            made["csim"] = self.csim(strategy, io_type)
        if synth.takes("open-rtl", *chosen):
            made["rtl"] = self.rtl(reuse, part)
        if vitis:
            made["synth"] = self.synth(made["project"])
        return made

    def rtl(self, reuse: int, part: str) -> Job:
        synth = self.spec.synth
        family = family_of(resolve_part(part))
        targets = [*([family] if family else []), *(["ecp5"] if synth.place_and_route else [])]
        arguments = [
            *self._data_arguments(None),
            f"--reuse-factor={reuse}",
            f"--verify={synth.samples}",
            *(f"--count={target}" for target in targets),
            f"--timeout={synth.timeout_s!r}",
        ]
        return self._job("rtl", [self._types(), reuse, synth.samples, targets], arguments, f"R={reuse}")

    def synth(self, project: Job) -> Job:
        """Works on the folder that the job of the project makes, which the rule puts first."""
        synth = self.spec.synth
        arguments = ["--flow=vitis", *(f"--step={step}" for step in synth.steps), f"--timeout={synth.timeout_s!r}"]
        key = digest("synth", STAGE_VERSIONS["synth"], project.key, sorted(synth.steps))
        return Job("synth", key, tuple(arguments), project.label, after=project.key)

    def csim(self, strategy: str, io_type: str) -> Job:
        samples = self.spec.samples.csim
        identity = [self._types(), strategy, io_type, samples]
        arguments = [*self._data_arguments(samples), f"--strategy={strategy}", f"--io-type={io_type}"]
        arguments.append(f"--timeout={self.spec.stages.csim_timeout_s!r}")  # a limit, no part of the result's identity
        return self._job("csim", identity, arguments)

    def project(self, reuse: int, part: str, clock: float, strategy: str, io_type: str, stimuli: int) -> Job:
        """stimuli: samples that cosim repeats, without which a project does not depend on a run's data."""
        identity = [self._types(), reuse, resolve_part(part), clock, strategy, io_type]
        identity += [[stimuli, *self._run()]] if stimuli else []
        arguments = [
            *self._data_arguments(None),
            f"--reuse-factor={reuse}",
            f"--part={part}",
            f"--clock-period={clock!r}",
            f"--strategy={strategy}",
            f"--io-type={io_type}",
            *([f"--stimuli={stimuli}"] if stimuli else []),
        ]
        return self._job("project", identity, arguments, f"R={reuse}")

    def _run(self) -> list[Any]:
        """What the inputs of a run depend on, beside how many samples there are."""
        return [self.data, self.network.encoding.describe(), self.steps]

    def _types(self) -> list[Any]:
        """What the number types of the network depend on."""
        calibration: list[Any] = []
        if self.calibrated:
            calibration = [self.data, self.network.encoding.describe(), self.steps, self.spec.samples.calibration]
        return [self.graph, self.precision.describe(), calibration]

    def _data_arguments(self, samples: int | None) -> list[str]:
        spec = self.spec.samples
        arguments = [
            f"--data={self.network.data}",
            f"--encoding={self.network.encoding.argument()}",
            f"--steps={self.steps}",
            f"--precision={self.precision.argument()}",
        ]
        arguments += [f"--dt={self.network.dt!r}"] if self.network.dt is not None else []
        arguments += [f"--labels={self.network.labels}"] if self.network.labels is not None else []
        arguments += [f"--samples={samples}"] if samples is not None else []
        arguments += [f"--calibration-samples={spec.calibration}"] if spec.calibration is not None else []
        return arguments

    def _job(self, stage: str, identity: list[Any], arguments: list[str], *detail: str) -> Job:
        run = self._run() if stage != "project" else []
        key = digest(stage, STAGE_VERSIONS[stage], identity, run)
        graph = str(self.network.graph)
        label = " ".join([self.network.name, self.precision.name, *detail])
        return Job(stage, key, (graph, *arguments), label)


def result_path(results: Path, stage: str, key: str) -> Path:
    """Where a job's result is."""
    return results / stage / f"{key}.json"
