"""Run a sweep again, and say what of its table is not as it was."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from talon_lib.errors import ConfigError, ToolError
from talon_lib.sweep import jobs, planfile, points, spec, table
from talon_lib.sweep.chunks import TABLE
from talon_lib.sweep.digests import digest
from talon_lib.sweep.launch import Options, check_place, launch
from talon_lib.sweep.provenance import facts, noted
from talon_lib.sweep.schema import SCHEMA


@dataclass(frozen=True)
class Difference:
    """A column that is not as it was: in how many rows, and the first of them."""

    column: str
    rows: int
    first: int
    was: Any
    now: Any

    def __str__(self) -> str:
        values = f"{_short(self.was)} then, {_short(self.now)} now"
        return f"  {self.column}: {self.rows} rows, the first is row {self.first}: {values}"


@dataclass(frozen=True)
class Reproduction:
    """What came out. said: how the run ended, and what is another version than it was."""

    rows: int
    said: list[str]
    differences: list[Difference] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """For people."""
        yield from self.said
        many = f"{len(SCHEMA)} columns of {self.rows} rows"
        if not self.differences:
            yield f"reproduced: {many} are equal"
            return
        yield f"not reproduced: of {many}, {len(self.differences)} columns differ"
        yield from map(str, self.differences)


def reproduce(path: Path, options: Options) -> Reproduction:
    """Run the sweep of the sweep.json at ``path`` into ``options.results`` and compare the tables.

    Raises FormatError for what is no sweep.json or table, ConfigError where networks or data are not those of then,
    or where the results of then would be overwritten, ToolError where the sweep did not run to its end.
    """
    check_place(options)
    content = planfile.read_content(path)
    was = planfile.plan_of(content, path)
    if was.spec.search is not None and not was.chosen:
        raise ConfigError(f"{path}: a search that has not run")
    old, new = path.with_name(TABLE), options.results / was.spec.name / TABLE
    if old.resolve() == new.resolve():
        raise ConfigError(f"--results {options.results}: that is where the sweep was; give another folder")
    if new.exists():
        raise ConfigError(f"{new.parent} holds a sweep already; remove it, or give another folder with --results")
    if not table.is_whole(old):
        table.read_columns(old, ["point_id"])  # says what is wrong with it
    now = points.plan(spec.parse(content["configuration"], str(path)), was.chosen)
    if moved := _moved(was, now):
        raise ConfigError(f"{path}: not what it was: {', '.join(moved)}; put back the files of then")
    outcome = launch(now, options)
    if outcome.unfinished:
        raise ToolError(outcome.unfinished)
    again = planfile.read_content(new.with_name(planfile.PLAN))
    changed = list(_changed(content, again.get("provenance", {})))
    said = outcome.lines[:1]
    if was.spec.search is not None:
        said.append("the points that the search had chosen were run again, not the search itself")
    return Reproduction(len(was.points), [*said, *changed], list(compare(old, new)))


def _moved(was: points.Plan, now: points.Plan) -> list[str]:
    """What a sweep is made of and is another now."""
    found = []
    for network in now.spec.networks:
        before, after = was.networks[network.name], now.networks[network.name]
        found += [str(network.graph)] if before.graph != after.graph else []
        found += [str(network.data)] if before.data != after.data else []
    found += [f"energy preset {given}" for given in now.presets if was.presets[given] != now.presets[given]]
    return found + (["the calibration"] if was.calibration != now.calibration else [])


def _changed(content: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Lines on what was installed then and is another version now."""
    before = content.get("provenance", {})
    kinds = {"package": "environment", "tool": "tools"}
    for kind, key in kinds.items():
        then, here = before.get(key, {}), now.get(key, {})
        for name in sorted({*then, *here}):
            if then.get(name) != here.get(name):
                yield f"{kind} {name}: {then.get(name) or 'not there'} then, {here.get(name) or 'not there'} now"
    for stage, version in jobs.STAGE_VERSIONS.items():
        then = content["stage_versions"].get(stage)
        if then != version:
            yield f"stage {stage}: version {then} then, {version} now: its results have changed"
    for key in ("python", "git_commit"):
        if before.get(key) != now.get(key):
            yield f"{key.replace('_', ' ')}: {before.get(key)} then, {now.get(key)} now"
    yield from _changed_nodes(before, now)


def _changed_nodes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Lines on what nodes had then and have not now, where the machines that planned do not say the same already."""
    then, here = facts(noted(before)), facts(noted(now))
    for name in sorted((then.keys() & here.keys()) - {"system"}):  # a kernel is no tool
        said = all(found[name] == [_planned_with(made, name)] for found, made in ((then, before), (here, now)))
        if then[name] != here[name] and not said:
            yield f"{name} of the nodes: {' and '.join(then[name])} then, {' and '.join(here[name])} now"


def _planned_with(made: Mapping[str, Any], name: str) -> Any:
    """What stands for one of the facts of nodes in the machine that planned."""
    if name == "packages":
        return digest(made.get("environment", {}))
    return made.get("python") if name == "python" else made.get("tools", {}).get(name)


def compare(old: Path, new: Path) -> Iterator[Difference]:
    """The columns in which two tables of one sweep differ, in bounded memory. Raises FormatError."""
    for name in SCHEMA.names:
        place = many = 0
        first: tuple[int, Any, Any] | None = None
        pairs = itertools.zip_longest(table.iter_batches(old, [name]), table.iter_batches(new, [name]))
        for was, now in pairs:
            if was is not None and now is not None and was.column(0).equals(now.column(0)):
                place += was.num_rows
                continue
            for one, other in itertools.zip_longest(_values(was), _values(now)):
                if one != other and not (one != one and other != other):  # NaN is itself
                    many += 1
                    first = first or (place, one, other)
                place += 1
        if first is not None:
            yield Difference(name, many, *first)


def _values(batch: pa.RecordBatch | None) -> list[Any]:
    return [] if batch is None else batch.column(0).to_pylist()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
