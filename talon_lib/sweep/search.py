"""The search of a space: an optimiser asks for points in generations, is told their rows, and asks again.

The optimisers are Optuna's: NSGA-II (Deb et al. 2002) and TPE for several objectives (Ozaki et al. 2022). A part of
each generation is the optimiser's; the others are neighbours of the best points so far, one step along one axis, for in
a space of few values the front is found faster from itself. The first generation is a sample. No point is asked twice.

What a generation asks for depends only on the seed and on the results of the generations before it, since the optimiser
is made anew for each, so that a search that was stopped anywhere goes on as if it had not been. The study,
``study.jsonl``, is Optuna's own journal and holds points that were told and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from talon_lib.cost.devices import RESOURCES
from talon_lib.errors import ConfigError, FormatError
from talon_lib.sweep.axes import NODE
from talon_lib.sweep.pareto import lowest
from talon_lib.sweep.selection import Search
from talon_lib.sweep.space import Space, sample, unseen

if TYPE_CHECKING:
    import optuna

ATTEMPTS = 50
"""Proposals for each point of a generation, after which it is filled up at random: it repeats itself."""

BESIDE = 0.75
"""The share of a generation that are neighbours of the best points, where there are as many; docs/search.md."""

FIRST = 4
"""The share of the budget that the first generation takes, where that is more than a generation: one in so many."""

IDENTITY = "talon-dse search"
"""The attribute of a stored study that says what was searched."""


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise ConfigError("search: needs optuna; install it with: pip install 'talon-dse[search]'") from None
    logging.getLogger("optuna").setLevel(logging.WARNING)
    return optuna


@dataclass
class Study:
    """A search under way. Make one with :meth:`open`; then :meth:`ask` and :meth:`tell` until nothing is asked."""

    search: Search
    space: Space
    stored: Any
    asked: dict[int, dict[str, Any]] | None = None

    @classmethod
    def open(cls, path: Path, search: Search, space: Space, identity: str = "") -> Study:
        """Go on with the study at ``path``, or begin one.

        ``identity`` stands for all else that results depend on (files, versions). Only one process may have the study
        open. Raises ConfigError where the file holds another search or Optuna is not installed, and FormatError where
        it is damaged; a last line that was cut off is dropped.
        """
        optuna = _optuna()
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_cut_line(path)
        Path(f"{path}.lock").unlink(missing_ok=True)  # of a process that was killed: Optuna would wait for it
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
        what = _digest(search, space, identity)
        try:  # create_study would write a line into the journal whenever it is opened
            stored = optuna.load_study(storage=storage, study_name="search")
        except KeyError:
            directions = [objective.direction for objective in search.goals]
            stored = optuna.create_study(storage=storage, study_name="search", directions=directions)
        known = stored.user_attrs.get(IDENTITY)
        if known is None and not stored.get_trials(deepcopy=False):
            stored.set_user_attr(IDENTITY, what)
        elif known != what:
            raise ConfigError(
                f"{path}: a search of other axes, objectives or files; remove it to begin anew (results of jobs stay)"
            )
        return cls(search, space, stored)

    @property
    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        """All that were told, in the order in which they were asked."""
        trials: list[optuna.trial.FrozenTrial] = self.stored.get_trials(deepcopy=False)
        return sorted(trials, key=lambda trial: (trial.user_attrs["generation"], trial.user_attrs["place"]))

    @property
    def evaluated(self) -> tuple[int, ...]:
        """The numbers of the points that were told, in the order in which they were asked."""
        return tuple(trial.user_attrs["point"] for trial in self._trials)

    def ask(self) -> list[int]:
        """The points of this generation that are not told yet, or those of the next.

        None where the budget is used up, or where the space has no more points.
        """
        trials = self._trials
        told = set(self.evaluated)
        if self.asked is None:  # opened just now: what was asked last is asked again
            last = max((trial.user_attrs["generation"] for trial in trials), default=0)
            self.asked = self._propose([trial for trial in trials if trial.user_attrs["generation"] < last], last)
        if told.issuperset(self.asked):
            last = max((trial.user_attrs["generation"] for trial in trials), default=-1)
            self.asked = self._propose(trials, last + 1)
        return [point for point in self.asked if point not in told][: max(0, self.search.budget - len(told))]

    def tell(self, results: Mapping[int, Mapping[str, Any]]) -> None:
        """Store the rows of points that were asked, by number; the order of ``results`` does not matter.

        A row whose status is not ok, or that lacks an objective, has failed; one that does not fit its part is worse
        than all that do. Raises ValueError for a point that was not asked.
        """
        asked, told = self.asked or {}, set(self.evaluated)
        if strange := sorted(set(results) - set(asked)):
            raise ValueError(f"point {strange[0]} was not asked")
        for point, proposal in asked.items():
            if point in results and point not in told:
                self.stored.add_trial(self._trial(point, proposal, results[point]))

    def front(self) -> list[int]:
        """The numbers of the points that none beats, of those that fit, from the best first objective on."""
        points, costs = self._costs(self._trials)
        return [points[index] for index in lowest(costs)]

    def _costs(self, trials: Sequence[Any]) -> tuple[list[int], list[tuple[float, ...]]]:
        """The points that ended well and fit, and their objectives, where less is better in each."""
        signs = [-1 if objective.direction == "maximize" else 1 for objective in self.search.goals]
        good = [trial for trial in trials if _feasible(trial)]
        costs = [tuple(sign * value for sign, value in zip(signs, trial.values, strict=True)) for trial in good]
        return [trial.user_attrs["point"] for trial in good], costs

    def _trial(self, point: int, proposal: Mapping[str, Any], row: Mapping[str, Any]) -> Any:
        optuna = _optuna()
        values = [row.get(objective.column) for objective in self.search.goals]
        ended = row["status"] == "ok" and all(value is not None and math.isfinite(value) for value in values)
        state = optuna.trial.TrialState.COMPLETE if ended else optuna.trial.TrialState.FAIL
        return optuna.trial.create_trial(
            state=state,
            values=[float(value) for value in values if value is not None] if ended else None,
            constraints={"fits": _excess(row)} if ended else None,
            distributions=self._distributions,
            **proposal,
        )

    def _propose(self, trials: Sequence[Any], generation: int) -> dict[int, dict[str, Any]]:
        """What a generation asks for after ``trials``: its points, and what is stored with each."""
        told = {trial.user_attrs["point"] for trial in trials}
        size = self.search.generation if generation else max(self.search.generation, self.search.budget // FIRST)
        room = min(size, self.search.budget - len(told), self.space.size - len(told))
        if room <= 0:
            return {}
        seed = random.Random(f"{self.search.seed} {generation}").getrandbits(32)
        study = _optuna().create_study(directions=self.stored.directions, sampler=self._sampler(seed))
        study.add_trials(trials)
        chance = random.Random(seed)
        first = self._first(room) if generation == 0 else self._neighbours(trials, round(room * BESIDE), chance)
        found: dict[int, dict[str, Any]] = {}
        for attempt in range(ATTEMPTS * room):
            if len(found) == room:
                break
            if attempt < len(first):
                study.enqueue_trial(self._parameters(first[attempt]))
            trial = study.ask(self._distributions)
            point = self._point(trial.params)
            if point not in told and point not in found:
                found[point] = self._proposal(point, trial.params, generation, len(found), study)
        for point in unseen(self.space.size, room - len(found), chance, told | set(found)):
            study.enqueue_trial(self._parameters(point))
            trial = study.ask(self._distributions)
            found[point] = self._proposal(point, trial.params, generation, len(found), study)
        return found

    def _proposal(self, point: int, params: dict[str, Any], generation: int, place: int, study: Any) -> dict[str, Any]:
        # of what a sampler notes down, NSGA-II's count of generations alone is read again
        notes = study.get_trials(deepcopy=False)[-1].system_attrs
        return {
            "params": params,
            "user_attrs": {
                "point": point,
                "generation": generation,
                "place": place,
                "design": self._design(point),
            },
            "system_attrs": {key: value for key, value in notes.items() if isinstance(value, int)},
        }

    def _sampler(self, seed: int) -> Any:
        samplers = _optuna().samplers
        if self.search.method == "nsga2":
            return samplers.NSGAIISampler(population_size=max(2, self.search.generation), seed=seed)
        return samplers.TPESampler(multivariate=True, seed=seed, n_startup_trials=2)

    def _first(self, count: int) -> list[int]:
        """The first generation: half of it designs with one type for all nodes, where nodes have their own; else Sobol.

        The ends of the front, the cheapest and the most accurate designs, are often among those, and rare elsewhere.
        """
        plain = _plain(self.space)
        few = 0 if plain == self.space else min(plain.size, count // 2)
        found = dict.fromkeys(_within(self.space, plain, p) for p in sample(plain, "sobol", few, self.search.seed))
        for point in sample(self.space, "sobol", count, self.search.seed):
            found[point] = None
        return list(found)[:count]

    def _neighbours(self, trials: Sequence[Any], count: int, chance: random.Random) -> list[int]:
        """New points one step along one axis from the best, chosen at random.

        The best are those that no point beats in every objective: points as accurate as the most accurate, which cost
        more, are among them. From such a plateau the way may lead further up, and accuracy has many.
        """
        told = {trial.user_attrs["point"] for trial in trials}
        points, costs = self._costs(trials)
        table = np.array(costs).reshape(len(points), len(self.search.goals))
        found: dict[int, None] = {}
        for point, own in zip(points, table, strict=True):
            if (table < own).all(axis=1).any():
                continue
            network, indices = self.space.locate(point)
            for axis, dimension in enumerate(self.space.networks[network]):
                for at in _beside(indices[axis], dimension.values):
                    found[self.space.index(network, [*indices[:axis], at, *indices[axis + 1 :]])] = None
        new = [point for point in found if point not in told]
        return chance.sample(new, min(count, len(new)))

    @cached_property
    def _parameter(self) -> Mapping[tuple[str, str], str]:
        """What the optimiser calls a dimension of a network: networks share it where its values are the same in all.

        Dimensions of a single value are none of its parameters.
        """
        networks = self.space.networks
        values: dict[str, set[tuple[Any, ...]]] = {}
        for dimensions in networks.values():
            for own in dimensions:
                values.setdefault(own.name, set()).add(tuple(own.values))
        return {
            (network, own.name): own.name if len(values[own.name]) == 1 else f"{network}/{own.name}"
            for network, dimensions in networks.items()
            for own in dimensions
            if len(own) > 1
        }

    @cached_property
    def _distributions(self) -> dict[str, Any]:
        """Indices of values by parameter, numbers where neighbours are alike. All networks' are always asked."""
        distributions = _optuna().distributions
        made: dict[str, Any] = {}
        for network, dimensions in self.space.networks.items():
            for own in dimensions:
                if name := self._parameter.get((network, own.name)):
                    numbers = distributions.IntDistribution(0, len(own) - 1)
                    made[name] = (
                        numbers if _ordered(own.values) else distributions.CategoricalDistribution(range(len(own)))
                    )
        if len(self.space.networks) > 1:
            made["network"] = distributions.CategoricalDistribution(list(self.space.networks))
        return made

    def _point(self, params: Mapping[str, Any]) -> int:
        """The number of the point that the optimiser means."""
        network = params.get("network") or next(iter(self.space.networks))
        indices = []
        for dimension in self.space.networks[network]:
            name = self._parameter.get((network, dimension.name))
            indices.append(0 if name is None else params[name])
        return self.space.index(network, indices)

    def _parameters(self, point: int) -> dict[str, Any]:
        """The optimiser's parameters of a point; those of other networks are left to it."""
        network, indices = self.space.locate(point)
        params: dict[str, Any] = {"network": network} if len(self.space.networks) > 1 else {}
        for dimension, index in zip(self.space.networks[network], indices, strict=True):
            if name := self._parameter.get((network, dimension.name)):
                params[name] = index
        return params

    def _design(self, point: int) -> dict[str, Any]:
        """A point in words, for who reads the study."""
        network, indices = self.space.locate(point)
        dimensions = zip(self.space.networks[network], indices, strict=True)
        return {"network": network} | {dimension.name: dimension.values[index] for dimension, index in dimensions}


def _ordered(values: Sequence[Any]) -> bool:
    """Whether values are numbers or intN, of which neighbours are alike."""
    return all(isinstance(value, int | float) or re.fullmatch(r"int\d+", value) for value in values)


def _beside(index: int, values: Sequence[Any]) -> list[int]:
    """The indices one step away: the next ones where values are in order, else all others."""
    far = 1 if _ordered(values) else len(values)
    return [at for at in range(max(0, index - far), min(len(values), index + far + 1)) if at != index]


def _plain(space: Space) -> Space:
    """Of the points those in which all nodes of a network have one type: the same axes, with one for all nodes."""
    networks = {}
    for network, dimensions in space.networks.items():
        nodes = [own for own in dimensions if own.name.startswith(NODE)]
        networks[network] = tuple(own for own in dimensions if own not in nodes[1:])
    return Space(networks)


def _within(space: Space, plain: Space, point: int) -> int:
    """The number in ``space`` of a point of :func:`_plain`."""
    network, indices = plain.locate(point)
    at = {own.name: index for own, index in zip(plain.networks[network], indices, strict=True)}
    common = next((index for name, index in at.items() if name.startswith(NODE)), 0)
    return space.index(network, [at.get(own.name, common) for own in space.networks[network]])


def _excess(row: Mapping[str, Any]) -> float:
    """By how much a design is too large for its part, as a share of it; 0 where it fits or nobody knows."""
    if row.get("fits") is not False:
        return 0.0
    shares = [row.get(f"{resource}_utilisation") or 0.0 for resource in RESOURCES]
    return max(max(shares) - 1, 1e-6)


def _feasible(trial: Any) -> bool:
    return trial.state.name == "COMPLETE" and all(value <= 0 for value in trial.constraints.values())


def _digest(search: Search, space: Space, identity: str) -> str:
    """A hash of all that must not change under a study; a budget may."""
    axes = {name: [[own.name, list(own.values)] for own in dimensions] for name, dimensions in space.networks.items()}
    what = [search.method, search.objectives, search.generation, search.seed, axes, identity]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _drop_cut_line(path: Path) -> None:
    """Take away what a killed process has not written to its end. Raises FormatError for other damage."""
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            if not line.endswith(b"\n") or not isinstance(json.loads(line), dict):
                raise ValueError
        except ValueError:
            if number < len(lines):
                raise FormatError(
                    f"{path}: line {number} is damaged; remove the file to begin anew (results of jobs stay)"
                ) from None
            with path.open("r+b") as file:
                file.truncate(sum(map(len, lines[:-1])))
