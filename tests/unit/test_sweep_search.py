"""Searches: no point twice, the budget kept, and the same sequence whatever was interrupted."""

from __future__ import annotations

import builtins
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest

from talon_lib.errors import ConfigError, FormatError
from talon_lib.sweep.pareto import lowest
from talon_lib.sweep.search import Study
from talon_lib.sweep.selection import Search
from talon_lib.sweep.space import Dimension, Space

pytest.importorskip("optuna")
pytest.importorskip("scipy")

METHODS = ("nsga2", "tpe")
TYPES = ("int3", "int4", "int6", "int8")
SPACE = Space(
    {
        "a": (Dimension("timesteps", (2, 4)), Dimension("precision.x", TYPES), Dimension("precision.y", TYPES)),
        "b": (Dimension("timesteps", (2, 4)), Dimension("precision", ("fp32", "int8")), Dimension("part", ("p",))),
    }
)


def search(**more: Any) -> Search:
    values = {"method": "nsga2", "objectives": ["accuracy max", "energy_uj min"], "budget": 20, "generation": 4}
    return Search.model_validate(values | more)


def row(point: int) -> dict[str, Any]:
    """Something to optimise, with failures and designs that are too large among it."""
    if point % 7 == 3:
        return {"status": "failed", "accuracy": None, "energy_uj": None}
    too_large = point % 11 == 5
    return {
        "status": "ok",
        "accuracy": math.sin(point) ** 2,
        "energy_uj": float(point % 9),
        "fits": not too_large,
        "lut_utilisation": 1.5 if too_large else 0.5,
    }


def run(study: Study) -> list[list[int]]:
    """All generations."""
    asked = []
    while points := study.ask():
        asked.append(points)
        study.tell({point: row(point) for point in points})
    return asked


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("budget", [1, 3, 20, 35, SPACE.size, 1000])
def test_every_point_is_asked_once_until_the_budget_or_the_space_ends(tmp_path: Path, method: str, budget: int) -> None:
    study = Study.open(tmp_path / "study.jsonl", search(method=method, budget=budget), SPACE)
    generations = run(study)
    points = list(itertools.chain(*generations))
    assert len(points) == len(set(points)) == min(budget, SPACE.size)
    assert all(0 <= point < SPACE.size for point in points)
    assert study.evaluated == tuple(points)
    assert all(len(own) <= 4 for own in generations[1:])
    assert study.ask() == []


@pytest.mark.parametrize("method", METHODS)
def test_a_study_that_is_opened_again_goes_on_as_if_it_had_not_been(tmp_path: Path, method: str) -> None:
    """Stopped after every single point, in the middle of generations and between them."""
    whole = Study.open(tmp_path / "whole.jsonl", search(method=method), SPACE)
    expected = list(itertools.chain(*run(whole)))
    path = tmp_path / "again.jsonl"
    for _ in range(len(expected)):
        study = Study.open(path, search(method=method), SPACE)
        point = study.ask()[0]
        study.tell({point: row(point)})
    again = Study.open(path, search(method=method), SPACE)
    assert again.evaluated == tuple(expected) and again.ask() == []
    assert again.front() == whole.front()


def test_results_may_come_in_any_order_and_in_parts(tmp_path: Path) -> None:
    expected = run(Study.open(tmp_path / "one.jsonl", search(), SPACE))
    study = Study.open(tmp_path / "two.jsonl", search(), SPACE)
    for points in expected:
        assert study.ask() == points == study.ask()
        study.tell({point: row(point) for point in reversed(points[1:])})
        assert study.ask() == points[:1]
        study.tell({points[0]: row(points[0])})
    assert study.evaluated == tuple(itertools.chain(*expected))


def test_other_seeds_are_other_searches(tmp_path: Path) -> None:
    found = [run(Study.open(tmp_path / f"{seed}.jsonl", search(seed=seed), SPACE)) for seed in (0, 1)]
    assert found[0] != found[1]


@pytest.mark.parametrize("method", METHODS)
def test_the_front_is_of_points_that_ended_well_and_fit(tmp_path: Path, method: str) -> None:
    study = Study.open(tmp_path / "study.jsonl", search(method=method, budget=SPACE.size), SPACE)
    run(study)
    good = [point for point in study.evaluated if row(point)["status"] == "ok" and row(point)["fits"]]
    costs = [(-row(point)["accuracy"], row(point)["energy_uj"]) for point in good]
    assert study.front() == [good[index] for index in lowest(costs)]


@pytest.mark.parametrize("method", METHODS)
def test_a_search_of_failures_ends(tmp_path: Path, method: str) -> None:
    study = Study.open(tmp_path / "study.jsonl", search(method=method), SPACE)
    while points := study.ask():
        study.tell({point: {"status": "failed"} for point in points})
    assert len(study.evaluated) == 20 and study.front() == []


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_row_without_an_objective_has_failed(tmp_path: Path, value: float | None) -> None:
    study = Study.open(tmp_path / "study.jsonl", search(budget=2, generation=2), SPACE)
    one, other = study.ask()
    study.tell({one: row(0), other: row(0) | {"energy_uj": value}})
    assert study.front() == [one]


def test_one_objective_is_enough_and_a_space_may_be_a_point(tmp_path: Path) -> None:
    study = Study.open(tmp_path / "one.jsonl", search(objectives="accuracy max", budget=SPACE.size), SPACE)
    run(study)
    assert len(study.front()) == 1
    point = Study.open(tmp_path / "point.jsonl", search(), Space({"a": (Dimension("timesteps", (2,)),)}))
    assert run(point) == [[0]]


def test_a_space_that_cannot_be_listed_is_searched(tmp_path: Path) -> None:
    space = Space({"a": tuple(Dimension(f"precision.n{at}", TYPES) for at in range(60))})
    study = Study.open(tmp_path / "study.jsonl", search(budget=40, generation=8), space)
    while points := study.ask():
        for point in points:
            bits = [TYPES[index] for index in space.locate(point)[1]]
            accuracy = sum(own != "int3" for own in bits) / 60
            study.tell({point: {"status": "ok", "accuracy": accuracy, "energy_uj": float(bits.count("int8"))}})
    assert len(set(study.evaluated)) == 40 and max(study.evaluated) > 2**64
    assert Study.open(tmp_path / "study.jsonl", search(budget=40, generation=8), space).evaluated == study.evaluated


def test_a_point_that_was_not_asked_is_refused(tmp_path: Path) -> None:
    study = Study.open(tmp_path / "study.jsonl", search(), SPACE)
    strange = next(point for point in range(SPACE.size) if point not in study.ask())
    with pytest.raises(ValueError, match=f"point {strange} was not asked"):
        study.tell({strange: row(strange)})


def test_a_line_that_was_cut_off_costs_that_point_alone(tmp_path: Path) -> None:
    expected = list(itertools.chain(*run(Study.open(tmp_path / "whole.jsonl", search(), SPACE))))
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    path = tmp_path / "cut.jsonl"
    for count, line in enumerate(lines):
        for length in {0, 1, len(line) // 2, len(line) - 1}:
            path.write_bytes(b"".join(lines[:count]) + line[:length])
            assert Study.open(path, search(), SPACE).evaluated == tuple(expected[: max(0, count - 2)])
    study = Study.open(path, search(), SPACE)
    run(study)
    assert study.evaluated == tuple(expected)


def test_damage_elsewhere_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    run(Study.open(path, search(), SPACE))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], b"\0\0\0\n", *lines[5:]]))
    with pytest.raises(FormatError, match=r"study\.jsonl: line 5 is damaged; remove the file to begin anew"):
        Study.open(path, search(), SPACE)


def test_another_search_needs_another_study_but_a_larger_budget_does_not(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    run(Study.open(path, search(), SPACE))
    smaller = Space({"a": SPACE.networks["a"]})
    for other, space, identity in ((search(seed=1), SPACE, ""), (search(), smaller, ""), (search(), SPACE, "file")):
        with pytest.raises(ConfigError, match="a search of other axes, objectives or files; remove it"):
            Study.open(path, other, space, identity)
    more = Study.open(path, search(budget=30), SPACE)
    assert len(list(itertools.chain(*run(more)))) == 10


def test_the_study_is_a_journal_that_optuna_reads(tmp_path: Path) -> None:
    import optuna

    path = tmp_path / "study.jsonl"
    study = Study.open(path, search(), SPACE)
    run(study)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    (known,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=known, storage=storage).trials
    assert [trial.user_attrs["point"] for trial in trials] == list(study.evaluated)
    designs = [trial.user_attrs["design"] for trial in trials]
    assert all(design["network"] in SPACE.networks and design["timesteps"] in (2, 4) for design in designs)
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_lock_that_a_killed_process_left_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    Path(f"{path}.lock").symlink_to(path)
    assert len(Study.open(path, search(), SPACE).ask()) == 5  # a quarter of the budget, which is more than a generation


def test_without_optuna_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "optuna":
            raise ModuleNotFoundError("No module named 'optuna'", name="optuna")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        ConfigError, match=r"^search: needs optuna; install it with: pip install 'talon-dse\[search\]'$"
    ):
        Study.open(tmp_path / "study.jsonl", search(), SPACE)
