"""From a configuration to points, and from points to the jobs that they share.

A stage's key is a hash of only what the stage depends on, the version of the stage included: contents of files,
not names. Equal keys are one job, whatever the number of points that need it, and a job whose result is there is
not run again.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from talon_lib import data as datasets
from talon_lib import formats
from talon_lib.cost import calibration as calibrations
from talon_lib.cost.calibration import Calibration
from talon_lib.cost.preset import EnergyPreset, get_preset, is_file, parse_preset, preset_name
from talon_lib.errors import ConfigError
from talon_lib.hls.boards import resolve_part
from talon_lib.ir.graph import Graph
from talon_lib.precision import Precision, brings_scales
from talon_lib.rtl.yosys import NO_DSP, family_of
from talon_lib.sweep.axes import PerNode
from talon_lib.sweep.space import Dimension, Space, sample
from talon_lib.sweep.spec import Network, SweepSpec, parse

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

    after: the key of the project whose folder it works on, where it does. expects: fingerprints of the graph and the
    data that it was planned with; empty where it reads neither.
    """

    stage: str
    key: str
    arguments: tuple[str, ...]
    label: str
    after: str | None = None
    expects: tuple[str, ...] = ()

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
class Resolved:
    """What a sweep knows of a network's files once they are read: fingerprints, and what precisions depend on.

    bringing: nodes that bring the bits of their results along, so that a fixed precision must find their scales. nodes:
    those that have precisions of their own, where the configuration says so.
    """

    graph: str
    data: str
    bringing: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A sweep with its files read: all points in the order of the configuration, and the jobs behind them.

    Points are made when they are asked for, so that a million of them cost no memory. ``chosen`` are the numbers of
    those that are taken of the whole space, rising; None takes all.
    """

    spec: SweepSpec
    networks: Mapping[str, Resolved]
    presets: Mapping[str, EnergyPreset]
    calibration: Calibration | None = None
    chosen: tuple[int, ...] | None = None

    @cached_property
    def id(self) -> str:
        """A hash of the whole plan: equal for equal configurations on equal files."""
        return digest(STAGE_VERSIONS, {key: own for key, own in self.as_dict().items() if key != "id"})

    @property
    def searching(self) -> bool:
        """Whether a search is still to say which points there are."""
        return self.spec.search is not None and not self.chosen

    @cached_property
    def space(self) -> Space:
        """What the axes span, of which ``chosen`` are the numbers."""
        return _space(self.spec, {name: own.nodes for name, own in self.networks.items()})

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for sweep.json; :func:`restore` makes the plan of it again."""
        return {
            "name": self.spec.name,
            "configuration": self.spec.model_dump(mode="json"),
            "stage_versions": STAGE_VERSIONS,
            "calibration": self.calibration.as_dict() if self.calibration else None,
            "fingerprints": {
                "graphs": {name: own.graph for name, own in self.networks.items()},
                "data": {name: own.data for name, own in self.networks.items()},
            },
            "bringing": {name: list(own.bringing) for name, own in self.networks.items() if own.bringing},
            "nodes": {name: list(own.nodes) for name, own in self.networks.items() if own.nodes},
            "energy_presets": {preset.name: preset.as_dict() for preset in self.presets.values()},
            "chosen": None if self.chosen is None else list(self.chosen),
        }

    @cached_property
    def points(self) -> Points:
        """All points, made when they are asked for."""
        return Points(self)

    @cached_property
    def jobs(self) -> Mapping[str, Mapping[str, Job]]:
        """The jobs of all points by stage and key, in the order in which points need them."""
        found: dict[str, dict[str, Job]] = {stage: {} for stage in STAGES}
        for stem, picks in self.points.stems():
            simulate = stem.simulate()
            found["simulate"][simulate.key] = simulate
            for design in self.points.designs_of(picks) if stem.has_hardware else ():
                for job in stem.hardware(*design).values():
                    found[job.stage][job.key] = job
        return found


class Points(Sequence[Point]):
    """The points of a plan, in order: networks, then timesteps, precisions, designs and presets, the last fastest."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._designs = list(_designs(plan.spec))
        self._presets = [
            # a file's content is part of what the point is, as that of every file is
            (preset.name, [preset.name, preset.as_dict()] if is_file(given) else preset.name)
            for given, preset in plan.presets.items()
        ]
        self._inner = len(self._designs) * len(self._presets)
        given = plan.spec.precisions
        self._named = [] if isinstance(given, PerNode) else [Precision.parse(value) for value in given]
        sizes = [size // self._inner for size in plan.space.sizes.values()]
        self._offsets = list(itertools.accumulate(sizes, initial=0))  # the number of each network's first stem
        if plan.chosen is not None:
            grouped = itertools.groupby(plan.chosen, key=lambda number: number // self._inner)
            self._picked = [(stem, tuple(number % self._inner for number in group)) for stem, group in grouped]
            self._starts = list(itertools.accumulate((len(picks) for _, picks in self._picked), initial=0))

    def __len__(self) -> int:
        return self._offsets[-1] * self._inner if self._plan.chosen is None else self._starts[-1]

    @overload
    def __getitem__(self, place: int) -> Point: ...
    @overload
    def __getitem__(self, place: slice) -> list[Point]: ...
    def __getitem__(self, place: int | slice) -> Point | list[Point]:
        if isinstance(place, slice):
            numbers = range(len(self))[place]
            if not numbers:
                return []
            first, last = sorted((numbers[0], numbers[-1]))
            return list(self.between(first, last + 1))[:: numbers.step]
        number = range(len(self))[place]
        return next(self.between(number, number + 1))

    def __iter__(self) -> Iterator[Point]:
        return self.between(0, len(self))

    def between(self, first: int, last: int) -> Iterator[Point]:
        """The points from number ``first`` to before ``last``."""
        for stem, picks in self.stems(first, last):
            simulate = stem.simulate()
            made: dict[int, Mapping[str, Job]] = {}
            for pick in picks:
                number, preset = divmod(pick, len(self._presets))
                if number not in made:
                    made[number] = stem.hardware(*self._designs[number]) if stem.has_hardware else {}
                yield _point(stem, self._designs[number], *self._presets[preset], simulate, made[number])

    def stems(self, first: int = 0, last: int | None = None) -> Iterator[tuple[_Stem, Sequence[int]]]:
        """What points share, and which of its designs x presets are taken, from number ``first`` to before ``last``."""
        last = len(self) if last is None else last
        if self._plan.chosen is None:
            for stem in range(first // self._inner, -(-last // self._inner)):
                start = stem * self._inner
                yield self._stem(stem), range(max(first - start, 0), min(last - start, self._inner))
            return
        place = max(bisect.bisect_right(self._starts, first) - 1, 0)
        while place < len(self._picked) and self._starts[place] < last:
            stem, picks = self._picked[place]
            start = self._starts[place]
            yield self._stem(stem), picks[max(first - start, 0) : last - start]
            place += 1

    def designs_of(self, picks: Sequence[int]) -> list[Design]:
        """The designs among picked designs x presets, each once."""
        if len(picks) == self._inner:
            return self._designs
        return [self._designs[number] for number in dict.fromkeys(pick // len(self._presets) for pick in picks)]

    def bounds(self) -> list[int]:
        """The numbers of each network's first point, and of the point after the last."""
        if self._plan.chosen is None:
            return [offset * self._inner for offset in self._offsets]
        return [bisect.bisect_left(self._plan.chosen, offset * self._inner) for offset in self._offsets]

    def _stem(self, number: int) -> _Stem:
        network = self._plan.spec.networks[bisect.bisect_right(self._offsets, number) - 1]
        _, indices = self._plan.space.locate(number * self._inner)
        choices = indices[1 : -len(_INNER)]
        resolved = self._plan.networks[network.name]
        return _Stem(
            self._plan.spec, network, resolved, network.timesteps[indices[0]], self._precision(resolved.nodes, choices)
        )

    def _precision(self, nodes: Sequence[str], choices: Sequence[int]) -> Precision:
        given = self._plan.spec.precisions
        if not isinstance(given, PerNode):
            return self._named[choices[0]]
        types = (given.per_node[choice] for choice in choices)
        return given.precision(dict(zip(nodes, types, strict=True)))


_INNER = ("reuse_factor", "part", "clock_period_ns", "strategy", "io_type", "energy_preset")
"""The last dimensions of every network: its designs and presets."""

LARGEST = 10_000_000
"""Points of a sweep, at most."""


def _space(spec: SweepSpec, nodes: Mapping[str, tuple[str, ...]]) -> Space:
    hardware = spec.hardware
    presets = tuple(map(preset_name, spec.energy_presets))
    designs = hardware.part, hardware.clock_period_ns, hardware.strategy, hardware.io_type
    values: list[Sequence[Any]] = [spec.reuse_factors, *designs, presets]
    inner = tuple(Dimension(name, tuple(own)) for name, own in zip(_INNER, values, strict=True))
    networks = {}
    for network in spec.networks:
        if isinstance(spec.precisions, PerNode):
            precisions = spec.precisions.dimensions(nodes[network.name])
        else:
            precisions = (Dimension("precision", tuple(Precision.parse(value).name for value in spec.precisions)),)
        networks[network.name] = (Dimension("timesteps", tuple(network.timesteps)), *precisions, *inner)
    return Space(networks)


def plan(spec: SweepSpec, chosen: Sequence[int] | None = None) -> Plan:
    """Resolve a configuration. Reads every network and dataset once; raises TalonError for what cannot be right.

    chosen: numbers of points of the whole space. Without it a sample draws its own, and a search has none as yet.
    """
    by_node = spec.precisions if isinstance(spec.precisions, PerNode) else None
    precisions = [] if isinstance(spec.precisions, PerNode) else [Precision.parse(value) for value in spec.precisions]
    networks = {}
    for network in spec.networks:
        graph = formats.read(network.graph, dt=network.dt)
        dataset = datasets.load(network.data, network.labels)
        _check_fit(network, graph, dataset, precisions)
        nodes = by_node.nodes_of(network.name, graph) if by_node else ()
        networks[network.name] = Resolved(graph.fingerprint, dataset.fingerprint, brings_scales(graph), nodes)
    calibration = None if spec.calibration is None else _calibration(spec.calibration)
    presets = {given: get_preset(given) for given in spec.energy_presets}
    made = Plan(spec, networks, presets, calibration)
    if chosen is None and spec.sample is not None:
        chosen = sample(made.space, spec.sample.method, spec.sample.count, spec.sample.seed)
    elif chosen is None and spec.search is not None:
        chosen = ()
    if (count := made.space.size if chosen is None else len(chosen)) > LARGEST:
        raise ConfigError(
            f"the axes span {count:,} points, and a sweep takes {LARGEST:,} at most; take a sample or a search of them"
        )
    return made if chosen is None else replace(made, chosen=tuple(sorted({*chosen})))


def restore(content: Mapping[str, Any]) -> Plan:
    """The plan of :meth:`Plan.as_dict`, as it was: no file is read. Raises ConfigError."""
    spec = parse(content["configuration"], "sweep.json", resolved=True)
    prints = content["fingerprints"]
    bringing, nodes = content.get("bringing", {}), content.get("nodes", {})
    networks = {
        name: Resolved(graph, prints["data"][name], tuple(bringing.get(name, ())), tuple(nodes.get(name, ())))
        for name, graph in prints["graphs"].items()
    }
    planned = content["energy_presets"]
    names = {given: preset_name(given) for given in spec.energy_presets}
    presets = {given: parse_preset(name, planned[name]) for given, name in names.items()}
    calibration = Calibration.from_dict(content["calibration"]) if content["calibration"] else None
    chosen = content.get("chosen")
    return Plan(spec, networks, presets, calibration, None if chosen is None else tuple(chosen))


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
    """priced: what stands for the preset in the point's id."""
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
    resolved: Resolved
    steps: int
    precision: Precision

    @property
    def has_hardware(self) -> bool:
        """Whether any stage works on designs: none holds floating point."""
        stages = self.spec.stages
        return self.precision.is_fixed and bool(stages.project or stages.csim or self.spec.synth.flows)

    def simulate(self) -> Job:
        samples = self.spec.samples
        identity = [self._types, self.network.readout, samples.simulate]
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
        targets = [family] if family else []
        targets += [family + NO_DSP] if family and synth.without_dsp else []
        targets += ["ecp5"] if synth.place_and_route else []
        arguments = [
            *self._data_arguments(None),
            f"--reuse-factor={reuse}",
            f"--verify={synth.samples}",
            *(f"--count={target}" for target in targets),
            f"--timeout={synth.timeout_s!r}",
        ]
        return self._job("rtl", [self._types, reuse, synth.samples, targets], arguments, f"R={reuse}")

    def synth(self, project: Job) -> Job:
        """Works on the folder that the job of the project makes, which the rule puts first."""
        synth = self.spec.synth
        arguments = ["--flow=vitis", *(f"--step={step}" for step in synth.steps), f"--timeout={synth.timeout_s!r}"]
        key = digest("synth", STAGE_VERSIONS["synth"], project.key, sorted(synth.steps))
        return Job("synth", key, tuple(arguments), project.label, after=project.key)

    def csim(self, strategy: str, io_type: str) -> Job:
        samples = self.spec.samples.csim
        identity = [self._types, strategy, io_type, samples]
        arguments = [*self._data_arguments(samples), f"--strategy={strategy}", f"--io-type={io_type}"]
        arguments.append(f"--timeout={self.spec.stages.csim_timeout_s!r}")  # a limit, no part of the result's identity
        return self._job("csim", identity, arguments)

    def project(self, reuse: int, part: str, clock: float, strategy: str, io_type: str, stimuli: int) -> Job:
        """stimuli: samples that cosim repeats, without which a project does not depend on a run's data."""
        identity = [self._types, reuse, resolve_part(part), clock, strategy, io_type]
        identity += [[stimuli, *self._run]] if stimuli else []
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

    @cached_property
    def _run(self) -> list[Any]:
        """What the inputs of a run depend on, beside how many samples there are."""
        return [self.resolved.data, self.network.encoding.describe(), self.steps]

    @cached_property
    def _types(self) -> list[Any]:
        """What the number types of the network depend on."""
        calibrated = self.precision.finds_scales(self.resolved.bringing)
        calibration = [*self._run, self.spec.samples.calibration] if calibrated else []
        return [self.resolved.graph, self.precision.describe(), calibration]

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
        run = self._run if stage != "project" else []
        key = digest(stage, STAGE_VERSIONS[stage], identity, run)
        graph = str(self.network.graph)
        label = " ".join([self.network.name, self.precision.name, *detail])
        expects = self.resolved.graph, self.resolved.data
        return Job(stage, key, (graph, *arguments), label, expects=expects)


def result_path(results: Path, stage: str, key: str) -> Path:
    """Where a job's result is."""
    return results / stage / f"{key}.json"
