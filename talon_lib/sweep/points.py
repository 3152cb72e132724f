"""From a configuration to points, and from points to the jobs that they share.

Neither is listed: points and jobs are made when they are asked for, so that a million of them fit into memory. A plan
knows the key of every job, and the first point that needs it.
"""

from __future__ import annotations

import itertools
import math
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
from talon_lib.ir.graph import Graph
from talon_lib.precision import Precision, brings_scales
from talon_lib.sweep.axes import PerNode
from talon_lib.sweep.digests import digest
from talon_lib.sweep.jobs import STAGE_VERSIONS, STAGES, Design, Job, Resolved, Stem, Workload
from talon_lib.sweep.space import Dimension, Space, sample
from talon_lib.sweep.spec import Network, SweepSpec, parse


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
    def jobs(self) -> Mapping[str, Jobs]:
        """The jobs of all points by stage."""
        places: dict[str, dict[str, int]] = {stage: {} for stage in STAGES}
        for stem, first, picks in self.points.stems():
            for place, design in self.points.designs(picks):
                at = first + place  # one object, however many keys
                for stage, key in stem.keys(design).items():
                    places[stage].setdefault(key, at)
                if not stem.has_hardware:
                    break  # all designs have the simulation in common
        return {stage: Jobs(stage, self.points, own) for stage, own in places.items()}


class Jobs(Mapping[str, Job]):
    """The jobs of one stage by key, in the order in which points need them."""

    def __init__(self, stage: str, points: Points, places: Mapping[str, int]) -> None:
        self._stage = stage
        self._points = points
        self._places = places  # the number of the first point that needs each

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __getitem__(self, key: str) -> Job:
        place = self._places[key]
        (stem, _, picks), *_ = self._points.stems(place, place + 1)
        ((_, design),) = self._points.designs(picks)
        return stem.job(self._stage, design)

    def network(self, key: str) -> str:
        """The name of the network of a job."""
        return self._points.network(self._places[key])


class Points(Sequence[Point]):
    """The points of a plan, in order: networks, then timesteps, precisions, designs and presets, the last fastest."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._designs = _designs(plan.spec)
        self._presets = [
            # a file's content is part of what the point is, as that of every file is
            (preset.name, [preset.name, preset.as_dict()] if is_file(given) else preset.name)
            for given, preset in plan.presets.items()
        ]
        self._inner = len(self._designs) * len(self._presets)
        given = plan.spec.precisions
        self._named = [] if isinstance(given, PerNode) else [Precision.parse(value) for value in given]
        outer = {name: own[: -len(_INNER)] for name, own in plan.space.networks.items()}
        self._outer = Space(outer)  # of stems
        self._workloads: dict[tuple[str, int], Workload] = {}

    def __len__(self) -> int:
        chosen = self._plan.chosen
        return self._outer.size * self._inner if chosen is None else len(chosen)

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
        for stem, _, picks in self.stems(first, last):
            known = -1
            for pick in picks:
                number, preset = divmod(pick, len(self._presets))
                if number != known:
                    known, keys = number, stem.keys(self._designs[number])
                yield _point(stem, self._designs[number], *self._presets[preset], keys)

    def stems(self, first: int = 0, last: int | None = None) -> Iterator[tuple[Stem, int, Sequence[int]]]:
        """What points share, from number ``first`` to before ``last``.

        With the number of the first of the points, and which of the stem's designs x presets they are, rising.
        """
        last = len(self) if last is None else last
        chosen = self._plan.chosen
        if chosen is None:
            for stem in range(first // self._inner, -(-last // self._inner)):
                start = stem * self._inner
                picks = range(max(first - start, 0), min(last - start, self._inner))
                yield self._stem(stem), start + picks.start, picks
            return
        for stem, group in itertools.groupby(range(first, last), lambda place: chosen[place] // self._inner):
            places = list(group)
            yield self._stem(stem), places[0], [chosen[place] % self._inner for place in places]

    def designs(self, picks: Sequence[int]) -> Iterator[tuple[int, Design]]:
        """The designs among picked designs x presets, each once, with the place of its first pick."""
        if len(picks) == self._inner:
            yield from zip(range(0, self._inner, len(self._presets)), self._designs, strict=True)
            return
        known = -1
        for place, pick in enumerate(picks):
            if (number := pick // len(self._presets)) != known:
                known = number
                yield place, self._designs[number]

    def network(self, place: int) -> str:
        """The name of a point's network."""
        number = place if self._plan.chosen is None else self._plan.chosen[place]
        return self._outer.network(number // self._inner)

    def _stem(self, number: int) -> Stem:
        name, (steps, *choices) = self._outer.locate(number)
        if (name, steps) not in self._workloads:
            spec = self._plan.spec
            network = next(network for network in spec.networks if network.name == name)
            workload = Workload(spec, network, self._plan.networks[name], network.timesteps[steps])
            self._workloads[name, steps] = workload
        return Stem(self._workloads[name, steps], self._precision(self._plan.networks[name].nodes, choices))

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


def _designs(spec: SweepSpec) -> list[Design]:
    own = spec.hardware
    axes = spec.reuse_factors, own.part, own.clock_period_ns, own.strategy, own.io_type
    return list(itertools.starmap(Design, itertools.product(*axes)))


def _point(stem: Stem, design: Design, preset: str, priced: Any, keys: Mapping[str, str]) -> Point:
    """priced: what stands for the preset in the point's id."""
    network, steps, precision = stem.workload.network.name, stem.workload.steps, stem.precision.name
    return Point(
        id=digest("point", STAGE_VERSIONS, network, precision, keys["simulate"], design, priced),
        network=network,
        timesteps=steps,
        precision=precision,
        **design._asdict(),
        energy_preset=preset,
        simulate=keys["simulate"],
        project=keys.get("project"),
        csim=keys.get("csim"),
        rtl=keys.get("rtl"),
        synth=keys.get("synth"),
    )
