"""Chunks and parts: every job and every point is in exactly one, and what a run finds in the folder decides which."""

from __future__ import annotations

import itertools
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from talon_lib import cli, ir
from talon_lib.errors import ConfigError
from talon_lib.sweep import (
    chunks,
    collect,
    forecast,
    launch,
    planfile,
    points,
    provenance,
    records,
    spec,
    table,
    worker,
)
from talon_lib.sweep.chunks import MOST_CHUNKS, MOST_PARTS, PARTS, ROWS_IN_A_PART, RUN, TABLE, Run
from talon_lib.sweep.jobs import STAGES, Job
from talon_lib.sweep.points import Plan
from talon_lib.sweep.records import DEFAULT_BYTES, DEFAULT_SECONDS, History
from talon_lib.sweep.results import result_path


@dataclass(frozen=True)
class Points:
    """As many points as there are."""

    count: int

    def __len__(self) -> int:
        return self.count


class Jobs(dict[str, Job]):
    """Those of a stage by key."""

    def network(self, key: str) -> str:
        return self[key].label.partition(" ")[0]


@dataclass(frozen=True)
class Made:
    """What chunks are made of, without the files that a plan reads."""

    jobs: Mapping[str, Jobs] = field(default_factory=lambda: {stage: Jobs() for stage in STAGES})
    points: Points = Points(1)
    id: str = "a plan"
    searching: bool = False


def jobs(counts: Mapping[str, int], networks: int = 3) -> dict[str, Jobs]:
    """So many jobs by stage, of networks in turn."""
    made = {stage: Jobs() for stage in STAGES}
    for stage, count in counts.items():
        for number in range(count):
            after = f"project{number}" if stage == "synth" else None
            own = Job(stage, f"{stage}{number}", ("x",), f"net{number % networks} int8", after)
            made[stage][own.key] = own
    return made


def run_of(made: Made, results: Path, **options: Any) -> Run:
    return chunks.run_of(made, results, **options)  # type: ignore[arg-type]


def remember(results: Path, stage: str, seconds: Mapping[str, Sequence[float]], size: int = 0) -> None:
    """Write a record: how long jobs took, by network."""
    own = [{"label": f"{name} int8", "seconds": one, "bytes": size} for name, all in seconds.items() for one in all]
    records.write(results, stage, "c", {"stage": stage, "jobs": own})


WHOLE: dict[str, tuple[str, ...]] = {
    "simulate": (
        *("samples", "accuracy", "accuracy_by_step", "agreement_fp32", "nodes", "types", "one_pass", "hardware"),
    ),
    "project": ("effective_reuse", "folder", "hls4ml"),
    "csim": ("equal", "difference", "samples", "values", "compiler"),
    "rtl": ("folder", "multipliers", "proof", "counts", "routed", "problems"),
    "synth": ("source", "report"),
}
"""What a result must have, by stage, to be no damaged one."""


def envelope(stage: str, status: str = "ok", **result: Any) -> dict[str, Any]:
    ok = status == "ok"
    return {
        "stage": stage,
        "status": status,
        "reason": None if ok else "why",
        "result": dict.fromkeys(WHOLE[stage]) | {"x": 1} | result if ok else None,
    }


def write(results: Path, stage: str, key: str, content: Any) -> Path:
    path = result_path(results, stage, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def suspect(results: Path, stage: str, key: str) -> Path:
    """Leave what a job leaves behind whose process has died."""
    path = results / stage / f".{key}.started"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


# --- chunks ----------------------------------------------------------------------------------------------------------

COUNTS = st.fixed_dictionaries({stage: st.integers(0, 25) for stage in STAGES})
TIMES = st.dictionaries(st.sampled_from(["net0", "net1"]), st.lists(st.floats(0, 60), min_size=1, max_size=3))


@given(counts=COUNTS, times=TIMES, seconds=st.floats(0.1, 100), drawn=st.data())
def test_every_missing_job_is_in_exactly_one_chunk_of_its_stage(
    counts: dict[str, int], times: dict[str, list[float]], seconds: float, drawn: st.DataObject
) -> None:
    every = jobs(counts)
    names = [(stage, key) for stage in STAGES for key in every[stage]]
    there = set(drawn.draw(st.lists(st.sampled_from(names)))) if names else set()
    died = set(drawn.draw(st.lists(st.sampled_from(names), max_size=4))) if names else set()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        remember(results, "simulate", times)
        for stage, key in there:
            write(results, stage, key, envelope(stage))
        for stage, key in died:
            suspect(results, stage, key)
        run = run_of(Made(every), results, chunk_seconds=seconds)
        history = History.read(results)
    left = [(chunk.stage, key) for chunk in run.chunks for key in chunk.jobs]

    def seconds_of(stage: str, key: str) -> float:
        return history.seconds(stage, every[stage].network(key))

    assert sorted(left) == sorted(set(names) - there)
    assert len({chunk.key for chunk in run.chunks}) == len(run.chunks)
    assert run.done == {stage: sum(own == stage for own, _ in there) for stage in STAGES}
    for chunk in run.chunks:
        assert chunk.seconds == pytest.approx(sum(seconds_of(chunk.stage, key) for key in chunk.jobs))
        assert len(chunk.jobs) == 1 or chunk.seconds <= seconds
        assert len(chunk.jobs) == 1 or chunk.stage in chunks.CHEAP  # costly jobs are alone
    # those during which a process has died come last, alone, and the others keep their order
    suspects = [name for name in left if name in died]
    assert left[len(left) - len(suspects) :] == suspects
    assert all(len(chunk.jobs) == 1 for chunk in run.chunks if (chunk.stage, chunk.jobs[0]) in died)
    assert left[: len(left) - len(suspects)] == [name for name in names if name not in there | died]
    # no chunk ends before it is full
    own = [chunk for chunk in run.chunks if (chunk.stage, chunk.jobs[0]) not in died]
    for one, two in itertools.pairwise(chunk for chunk in own if chunk.stage in chunks.CHEAP):
        assert one.stage != two.stage or one.seconds + seconds_of(two.stage, two.jobs[0]) > seconds


MANY: list[dict[str, int]] = [
    {"simulate": 50_000},
    {"synth": 20_000},
    {"simulate": 3, "rtl": MOST_CHUNKS},
    {"simulate": 30_000, "project": 20_000, "csim": 5_000, "rtl": 20_000, "synth": 20_000},
]


@pytest.mark.parametrize("seconds", [0.001, 1.0, 1e4])
@pytest.mark.parametrize("counts", MANY, ids=str)
def test_there_are_never_more_chunks_than_snakemake_can_do_with(
    tmp_path: Path, counts: dict[str, int], seconds: float
) -> None:
    every = jobs(counts)
    for stage in counts:  # whatever they take
        remember(tmp_path, stage, {"net0": [seconds], "net1": [2 * seconds]})
    run = run_of(Made(every), tmp_path)
    assert MOST_CHUNKS / 4 < len(run.chunks) <= MOST_CHUNKS or seconds < 1
    assert len(run.chunks) <= MOST_CHUNKS
    for stage in STAGES:
        own = run.of_stage(stage)
        assert [key for chunk in own for key in chunk.jobs] == list(every[stage])
        if stage not in chunks.CHEAP and own:  # evenly, whatever they take
            sizes = [len(chunk.jobs) for chunk in own]
            assert max(sizes) == min(sizes[:-1], default=sizes[0])


def test_costly_jobs_have_a_chunk_each_up_to_the_limit_and_share_beyond(tmp_path: Path) -> None:
    assert len(run_of(Made(jobs({"synth": MOST_CHUNKS})), tmp_path).chunks) == MOST_CHUNKS
    run = run_of(Made(jobs({"synth": MOST_CHUNKS + 1})), tmp_path)
    assert {len(chunk.jobs) for chunk in run.chunks[:-1]} == {2}


def test_every_core_has_work_and_no_chunk_is_too_short_for_it(tmp_path: Path) -> None:
    """By default; a user's own number stands."""
    remember(tmp_path, "simulate", {"net0": [1.0], "net1": [1.0], "net2": [1.0]})
    every = Made(jobs({"simulate": 320}))
    sizes = {cores: [len(chunk.jobs) for chunk in run_of(every, tmp_path, cores=cores).chunks] for cores in (1, 8, 200)}
    assert sizes == {1: [20] * 16, 8: [10] * 32, 200: [4] * 80}
    assert {len(chunk.jobs) for chunk in run_of(every, tmp_path, cores=200, chunk_seconds=16.0).chunks} == {16}


def test_the_key_of_a_chunk_is_that_of_its_jobs(tmp_path: Path) -> None:
    """So that a run that is started again finds the records and the log of the one before."""
    one, two = (run_of(Made(jobs({"simulate": count})), tmp_path, chunk_seconds=2.0) for count in (8, 9))
    assert [chunk.key for chunk in one.chunks] == [chunk.key for chunk in two.chunks[: len(one.chunks)]]
    assert len(two.chunks) == len(one.chunks) + 1


# --- what is missing -------------------------------------------------------------------------------------------------

PROBLEMS = {"problems": [{"status": "missing", "reason": "counting needs Yosys; install it"}]}

RESULTS: list[tuple[str, Any, bool, bool]] = [
    ("well", envelope("rtl", problems=[]), False, False),
    ("with problems", envelope("rtl", **PROBLEMS), False, True),
    ("failed", envelope("rtl", "failed"), False, True),
    ("timed out", envelope("rtl", "timeout"), False, True),
    ("unsupported", envelope("rtl", "unsupported"), False, True),
    ("empty", "", True, True),
    ("cut off", json.dumps(envelope("rtl"))[:20], True, True),
    ("of another stage", envelope("csim"), True, True),
    ("null", "null", True, True),
    ("with a list for a result", envelope("rtl") | {"result": [1]}, True, True),
]


@pytest.mark.parametrize(("content", "missing", "retried"), [row[1:] for row in RESULTS], ids=[r[0] for r in RESULTS])
def test_a_result_is_made_again_where_it_is_damaged_or_asked_for(
    tmp_path: Path, content: Any, missing: bool, retried: bool
) -> None:
    made = Made(jobs({"rtl": 3}))
    write(tmp_path, "rtl", "rtl1", content)
    for retry, again in ((False, missing), (True, retried)):
        found = chunks.missing(made, tmp_path, retry)  # type: ignore[arg-type]
        assert found["rtl"] == ["rtl0", *(["rtl1"] if again else []), "rtl2"]
        run = run_of(made, tmp_path, retry_failed=retry)
        assert run.done["rtl"] == (0 if again else 1)


@pytest.mark.parametrize("stage", STAGES)
def test_a_whole_result_is_made_again_by_no_run_and_one_without_what_a_row_takes_by_each(
    tmp_path: Path, stage: str
) -> None:
    made = Made(jobs({stage: 1}))
    whole = envelope(stage)
    contents = [(whole, False)]
    for key in WHOLE[stage]:
        contents.append((whole | {"result": {own: None for own in whole["result"] if own != key}}, True))
    for content, again in contents:
        write(tmp_path, stage, f"{stage}0", content)
        for retry in (False, True):  # those of most stages know no problems
            assert bool(chunks.missing(made, tmp_path, retry)[stage]) == again  # type: ignore[arg-type]


def test_results_of_other_plans_and_temporary_files_are_no_results(tmp_path: Path) -> None:
    write(tmp_path, "rtl", "rtl9", envelope("rtl"))
    write(tmp_path, "rtl", ".rtl0", envelope("rtl"))
    run = run_of(Made(jobs({"rtl": 2})), tmp_path)
    assert [key for chunk in run.chunks for key in chunk.jobs] == ["rtl0", "rtl1"]


# --- parts -----------------------------------------------------------------------------------------------------------


@given(count=st.integers(0, 10_000_000) | st.integers(0, 3 * ROWS_IN_A_PART))
def test_parts_hold_all_points_once_in_order(count: int) -> None:
    found = chunks.parts(Made(points=Points(count)))  # type: ignore[arg-type]
    assert found == chunks.parts(Made(points=Points(count)))  # type: ignore[arg-type]
    at = 0
    for part in found:
        assert part.first == at < part.last
        at = part.last
    assert at == count
    assert len(found) <= MOST_PARTS
    most = max(ROWS_IN_A_PART, math.ceil(count / MOST_PARTS))
    assert all(part.last - part.first == most for part in found[:-1])
    assert len({part.key for part in found}) == len(found)
    other = chunks.parts(Made(points=Points(count), id="another"))  # type: ignore[arg-type]
    assert not {part.key for part in found} & {part.key for part in other}


def test_a_table_that_one_job_makes_is_no_part_of_a_run(tmp_path: Path) -> None:
    assert run_of(Made(points=Points(ROWS_IN_A_PART)), tmp_path).parts == ()
    assert len(run_of(Made(points=Points(ROWS_IN_A_PART + 1)), tmp_path).parts) == 2


# --- what a run writes -----------------------------------------------------------------------------------------------


def network(weight: float) -> ir.Graph:
    lif = {key: np.full(2, value, np.float32) for key, value in {"tau": 2.0, "r": 1.0, "v_leak": 0.0}.items()}
    nodes = {
        "input": ir.Input((3,)),
        "fc": ir.Affine(np.full((2, 3), weight, np.float32), np.zeros(2, np.float32)),
        "lif": ir.LIF(**lif, v_threshold=np.ones(2, np.float32)),
        "output": ir.Output((2,)),
    }
    return ir.Graph(nodes, list(itertools.pairwise(nodes)))


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Two networks x fp32 and a fixed precision x two reuse factors: 8 points, jobs of all stages."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    np.savez("data.npz", x=rng.uniform(-1, 1, (6, 3)), y=np.arange(6) % 2)
    for name, weight in (("a", 0.5), ("b", 0.25)):
        ir.write(f"{name}.nir", network(weight))
    networks = [{"name": name, "graph": f"{name}.nir", "data": "data.npz", "timesteps": 2} for name in ("a", "b")]
    values = {
        "name": "s",
        "networks": networks,
        "precisions": ["fp32", "ap_fixed<12,4>"],
        "reuse_factors": [1, 3],
        "stages": {"csim_timeout_s": 7.0},
        "synth": {"flows": ["open-rtl", "vitis"], "timeout_s": 11.0},
    }
    return points.plan(spec.parse(values))


def prepared(plan: Plan, results: Path, **options: Any) -> Run:
    run = chunks.run_of(plan, results, **options)
    chunks.write(run, results)
    return run


def read_index(results: Path) -> dict[str, Any]:
    """What the rules of the workflow are told."""
    content: dict[str, Any] = json.loads((results / RUN / "index.json").read_text())
    return content


def finish(plan: Plan, results: Path, seconds: int = 1_000) -> None:
    """The plan, and a result for every job, of that age."""
    planfile.write(plan, results / planfile.PLAN)
    os.utime(results / planfile.PLAN, (seconds, seconds))
    for stage, own in plan.jobs.items():
        for key in own:
            os.utime(write(results, stage, key, envelope(stage)), (seconds, seconds))


def test_the_index_says_all_that_the_rules_need(plan: Plan, tmp_path: Path) -> None:
    results = tmp_path / "results"
    run = prepared(plan, results, chunk_seconds=1.0)
    index = read_index(results)
    assert index["plan"] == plan.id
    assert index["timeouts"] == {"csim": 7.0, "synth": 11.0, "rtl": 11.0}
    assert index["parts"] == {}
    assert {stage: sum(own["jobs"] for own in found.values()) for stage, found in index["chunks"].items()} == {
        stage: len(own) for stage, own in plan.jobs.items()
    }
    for chunk in run.chunks:
        own = index["chunks"][chunk.stage][chunk.key]
        assert (own["jobs"], own["seconds"]) == (len(chunk.jobs), chunk.seconds)
        # a synthesis waits for the chunk that writes its project, and nothing else waits
        wanted = {plan.jobs[chunk.stage][key].after for key in chunk.jobs} - {None}
        writing = sorted(two.key for two in run.of_stage("project") if wanted & {*two.jobs})
        assert own["after"] == writing and (len(writing) == 1) == (chunk.stage == "synth")
    assert len(run.of_stage("project")) == 2 and len(run.of_stage("synth")) == 4  # so that waiting for all would show


def test_a_synthesis_waits_for_no_project_that_is_there(plan: Plan, tmp_path: Path) -> None:
    for key in plan.jobs["project"]:
        write(tmp_path, "project", key, envelope("project"))
    prepared(plan, tmp_path)
    assert {tuple(own["after"]) for own in read_index(tmp_path)["chunks"]["synth"].values()} == {()}


def test_the_index_names_parts_with_their_points(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "ROWS_IN_A_PART", 3)
    run = prepared(plan, tmp_path)
    assert [(part.first, part.last) for part in run.parts] == [(0, 3), (3, 6), (6, 8)]
    found = {key: tuple(own) for key, own in read_index(tmp_path)["parts"].items()}
    assert found == {part.key: (part.first, part.last) for part in run.parts}


def test_each_chunk_has_a_file_with_its_commands_and_those_of_an_earlier_run_go(plan: Plan, tmp_path: Path) -> None:
    old = tmp_path / RUN / "simulate" / "old.json"
    old.parent.mkdir(parents=True)
    for path in (old, old.with_suffix(".done"), tmp_path / RUN / "measured.done"):
        path.touch()
    run = prepared(plan, tmp_path)
    files = sorted(path for path in (tmp_path / RUN).rglob("*") if path.is_file())
    expected = [tmp_path / RUN / chunk.stage / f"{chunk.key}.json" for chunk in run.chunks]
    assert files == sorted([*expected, tmp_path / RUN / "index.json"])
    for chunk, path in zip(run.chunks, expected, strict=True):
        content = json.loads(path.read_text())
        assert content["stage"] == chunk.stage
        own = [plan.jobs[chunk.stage][key] for key in chunk.jobs]
        assert [(each["key"], each["label"]) for each in content["jobs"]] == [(job.key, job.label) for job in own]
        assert [tuple(each["command"]) for each in content["jobs"]] == [chunks.command(job, tmp_path) for job in own]


def test_a_command_has_its_places_from_the_results_folder() -> None:
    results = Path("r")
    end = ("--record-failure", "--output=r/{stage}/k.json")
    for stage, places in {
        "simulate": (),
        "csim": (),
        "project": ("--folder=r/project/k",),
        "rtl": ("--folder=r/rtl/k",),
        "synth": ("r/project/p", "--workdir=r/synth/k"),
    }.items():
        job = Job(stage, "k", ("net.nir", "--steps=2"), "net", "p" if stage == "synth" else None)
        expected = (stage, *places, "net.nir", "--steps=2", *(own.format(stage=stage) for own in end))
        assert chunks.command(job, results) == expected


def test_what_is_made_again_goes_and_what_is_good_stays(plan: Plan, tmp_path: Path) -> None:
    first, second, third, *_ = plan.jobs["simulate"]
    damaged = write(tmp_path, "simulate", first, "{")
    good = write(tmp_path, "simulate", second, envelope("simulate"))
    failed = write(tmp_path, "simulate", third, envelope("simulate", "failed"))
    prepared(plan, tmp_path)
    assert [path.exists() for path in (damaged, good, failed)] == [False, True, True]
    prepared(plan, tmp_path, retry_failed=True)
    assert [path.exists() for path in (damaged, good, failed)] == [False, True, False]


def aged(path: Path, seconds: int) -> Path:
    """A table of no rows, of that age."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.write_part([], path)
    os.utime(path, (seconds, seconds))
    return path


def test_a_table_stays_where_nothing_changed(plan: Plan, tmp_path: Path) -> None:
    finish(plan, tmp_path, seconds=1_000)
    path = aged(tmp_path / TABLE, 1_001)
    assert prepared(plan, tmp_path).complete
    assert path.exists()


def test_a_table_goes_that_was_not_made_of_the_plan_that_is_there(plan: Plan, tmp_path: Path) -> None:
    """A run was killed after it had planned: no job was to run, and the table holds the rows of an earlier plan."""
    finish(plan, tmp_path, seconds=1_000)
    path = aged(tmp_path / TABLE, 1_001)
    os.utime(tmp_path / planfile.PLAN, (1_002, 1_002))
    assert forecast.table(chunks.run_of(plan, tmp_path))[-1][4] == "2"  # the table, and the report
    assert not prepared(plan, tmp_path).complete
    assert not path.exists()


def test_a_table_of_another_plan_goes(plan: Plan, tmp_path: Path) -> None:
    finish(plan, tmp_path, seconds=1_000)
    path = aged(tmp_path / TABLE, 1_001)
    assert not prepared(replace(plan, chosen=(0, 1)), tmp_path).complete
    assert not path.exists()


@pytest.mark.parametrize("stage", STAGES)
def test_a_table_that_is_older_than_any_result_goes(plan: Plan, tmp_path: Path, stage: str) -> None:
    finish(plan, tmp_path, seconds=1_000)
    path = aged(tmp_path / TABLE, 1_001)
    key = next(iter(plan.jobs[stage]))
    os.utime(result_path(tmp_path, stage, key), (1_002, 1_002))
    prepared(plan, tmp_path)
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"PAR1", None])
def test_a_damaged_table_goes(plan: Plan, tmp_path: Path, content: bytes | None) -> None:
    finish(plan, tmp_path)
    path = aged(tmp_path / TABLE, 2_000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    prepared(plan, tmp_path)
    assert not path.exists()


def test_a_folder_that_is_no_table_goes(plan: Plan, tmp_path: Path) -> None:
    finish(plan, tmp_path)
    (tmp_path / TABLE / "network=a").mkdir(parents=True)
    prepared(plan, tmp_path)
    assert not (tmp_path / TABLE).exists()


def test_a_table_goes_where_a_job_is_to_run(plan: Plan, tmp_path: Path) -> None:
    """Snakemake would take it for made, whatever is missing before it."""
    finish(plan, tmp_path)
    path = aged(tmp_path / TABLE, 2_000)
    result_path(tmp_path, "csim", next(iter(plan.jobs["csim"]))).unlink()
    assert len(prepared(plan, tmp_path).chunks) == 1
    assert not path.exists()


def test_parts_stay_where_they_are_of_this_plan_newer_than_all_results_and_whole(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "ROWS_IN_A_PART", 3)
    finish(plan, tmp_path, seconds=1_000)
    good, old, damaged = [collect.part_path(tmp_path, part) for part in chunks.parts(plan)]
    strange = tmp_path / PARTS / "0123456789abcdef.parquet"
    for path, age in ((good, 1_001), (old, 999), (strange, 1_001)):
        aged(path, age)
    damaged.write_bytes(b"PAR1")
    prepared(plan, tmp_path)
    assert [path.exists() for path in (good, old, damaged, strange)] == [True, False, False, False]
    result_path(tmp_path, "csim", next(iter(plan.jobs["csim"]))).unlink()  # whose rows will differ
    prepared(plan, tmp_path)
    assert not good.exists()


def test_a_run_removes_what_killed_processes_have_left_but_not_the_marks_of_jobs(plan: Plan, tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    places = ["", "csim", "parts", "records/csim"]
    left = [tmp_path / place / f".x.json.talon-{socket.gethostname()}-{dead.pid}" for place in places]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    mark = suspect(tmp_path, "csim", "x")
    launch.prepare(plan, tmp_path)
    assert not any(path.exists() for path in left) and mark.exists()


def test_the_plan_is_written_where_it_is_another_and_only_there(plan: Plan, tmp_path: Path) -> None:
    launch.prepare(plan, tmp_path)
    path = tmp_path / planfile.PLAN
    content = json.loads(path.read_text())
    assert content["id"] == plan.id and "provenance" in content
    assert planfile.read_plan(path) == plan
    os.utime(path, (1_000, 1_000))
    launch.prepare(plan, tmp_path)
    assert path.stat().st_mtime > 1_000  # what is still to run is of today's versions
    finish(plan, tmp_path, seconds=1_000)
    os.utime(path, (1_000, 1_000))  # Snakemake would make the table again for a newer one
    launch.prepare(plan, tmp_path)
    assert path.stat().st_mtime == 1_000
    for damage in ("{", json.dumps(content | {"id": "another"})):
        path.write_text(damage)
        launch.prepare(plan, tmp_path)
        assert json.loads(path.read_text())["id"] == plan.id


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_a_table_is_the_same_however_its_parts_are_cut(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    collect.collect(plan, tmp_path, tmp_path / "whole.parquet")
    monkeypatch.setattr(chunks, "ROWS_IN_A_PART", rows)
    first = chunks.parts(plan)[0]
    there = collect.part_path(tmp_path, first)
    there.parent.mkdir(exist_ok=True)
    collect.write_part(plan, tmp_path, collect.part_of(plan, first.key), there)
    collect.collect(plan, tmp_path, tmp_path / "parts.parquet")
    assert (tmp_path / "parts.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    found = table.read(tmp_path / "parts.parquet").column("point_id").to_pylist()
    assert found == [point.id for point in plan.points]
    assert list((tmp_path / PARTS).iterdir()) == [there]  # what it had to make itself goes again


def test_a_part_that_the_plan_does_not_have_is_said(plan: Plan) -> None:
    with pytest.raises(ConfigError, match="part x: the sweep has none of that name; it was planned anew meanwhile"):
        collect.part_of(plan, "x")


# --- records ---------------------------------------------------------------------------------------------------------


def test_a_job_is_expected_to_take_what_its_network_took_else_its_stage_else_a_default(tmp_path: Path) -> None:
    remember(tmp_path, "simulate", {"net0": [1.0, 3.0], "net1": [8.0]}, size=500)
    history = History.read(tmp_path)
    expected = {"net0": 2.0, "net1": 8.0, "other": 4.0}
    for name, seconds in expected.items():
        assert history.seconds("simulate", name) == seconds
    assert (history.recorded, history.bytes("simulate")) == (3, 500)
    for stage in STAGES[1:]:
        assert history.seconds(stage, "net0") == DEFAULT_SECONDS[stage]
        assert history.bytes(stage) == DEFAULT_BYTES[stage]


RECORD = {"stage": "csim", "jobs": [{"label": "net0 int8", "seconds": 9.0, "bytes": 7}]}


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        json.dumps(RECORD)[:-9].encode(),
        json.dumps({**RECORD, "jobs": [{"label": "net0 int8"}]}).encode(),
        json.dumps({**RECORD, "jobs": [{"label": None, "seconds": 1.0, "bytes": 1}]}).encode(),
        json.dumps({**RECORD, "jobs": [{"label": "net0", "seconds": "long", "bytes": 1}]}).encode(),
    ],
    ids=str,
)
def test_a_damaged_record_is_passed_over(tmp_path: Path, damage: bytes) -> None:
    for name, content in (("a", damage), ("b", json.dumps(RECORD).encode())):
        path = tmp_path / records.RECORDS / "csim" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    history = History.read(tmp_path)
    assert (history.recorded, history.seconds("csim", "net0"), history.bytes("csim")) == (1, 9.0, 7)


# --- the worker ------------------------------------------------------------------------------------------------------


class Worker:
    """Runs a chunk of jobs a, b, c, d whose verbs write a result, and notes which were called."""

    def __init__(self, results: Path, stage: str = "csim") -> None:
        self.results, self.stage = results, stage
        self.called: list[str] = []
        self.said: list[str] = []
        self.path = results / RUN / stage / "chunk.json"
        self.path.parent.mkdir(parents=True)
        own = [{"key": key, "label": f"net {key}", "command": [stage, key]} for key in "abcd"]
        self.path.write_text(json.dumps({"stage": stage, "jobs": own}))
        self.dies: set[str] = set()
        self.statuses: dict[str, str] = {}
        self.beside: dict[str, int] = {}

    def call(self, command: Sequence[str]) -> None:
        stage, key = command
        assert chunks.started(self.results, stage) >= {key}  # a death would be seen
        self.called.append(key)
        if key in self.dies:
            raise KeyboardInterrupt
        if key in self.beside:
            extra = self.results / stage / key / "sub" / "file"
            extra.parent.mkdir(parents=True)
            extra.write_bytes(bytes(self.beside[key]))
        write(self.results, stage, key, envelope(stage, self.statuses.get(key, "ok")))

    def run(self) -> None:
        worker.run(self.path, self.call, self.said.append)

    @property
    def done(self) -> bool:
        return self.path.with_suffix(".done").exists()

    @property
    def record(self) -> dict[str, Any]:
        (path,) = (self.results / "records" / self.stage).iterdir()
        assert path.name == f"chunk.{socket.gethostname()}.{os.getpid()}.json"
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def test_a_chunk_runs_its_jobs_in_order_and_says_what_they_took(tmp_path: Path) -> None:
    own = Worker(tmp_path)
    own.statuses["b"] = "failed"
    own.beside["a"] = 10_000  # what a job makes beside its result counts
    own.run()
    assert own.called == list("abcd") and own.done
    assert chunks.started(tmp_path, "csim") == set()
    assert [line.partition(":")[0] for line in own.said] == [f"csim net {key} ({key})" for key in "abcd"]
    assert "failed" in own.said[1] and "ok" in own.said[0]
    assert [(job["key"], job["label"]) for job in own.record["jobs"]] == [(key, f"net {key}") for key in "abcd"]
    sizes = {job["key"]: job["bytes"] for job in own.record["jobs"]}
    assert sizes["a"] == 10_000 + result_path(tmp_path, "csim", "a").stat().st_size
    assert sizes["c"] == result_path(tmp_path, "csim", "c").stat().st_size
    assert all(job["seconds"] >= 0 for job in own.record["jobs"])
    assert own.record["stage"] == "csim" and own.record["start"] <= own.record["end"] and own.record["host"]
    assert own.record["node"] == provenance.node("csim") and own.record["node"]["tools"]["g++"]
    assert History.read(tmp_path).recorded == 4


def test_what_has_a_result_is_passed_over_and_what_is_damaged_is_not(tmp_path: Path) -> None:
    own = Worker(tmp_path)
    write(tmp_path, "csim", "a", envelope("csim"))
    write(tmp_path, "csim", "b", "{")
    write(tmp_path, "csim", "d", envelope("csim", "failed"))
    own.run()
    assert own.called == ["b", "c"] and own.done
    assert [job["key"] for job in own.record["jobs"]] == ["b", "c"]


def test_a_chunk_with_nothing_left_ends_and_leaves_the_record_of_the_run_before(tmp_path: Path) -> None:
    own = Worker(tmp_path)
    own.run()
    before = own.record
    own.path.with_suffix(".done").unlink()
    own.run()
    assert own.called == list("abcd") and own.done and own.record == before


def test_a_job_during_which_a_process_has_died_comes_last(tmp_path: Path) -> None:
    own = Worker(tmp_path)
    for key in "ac":
        suspect(tmp_path, "csim", key)
    suspect(tmp_path, "rtl", "b")  # of another stage
    own.run()
    assert own.called == list("bdac")
    assert chunks.started(tmp_path, "csim") == set() and chunks.started(tmp_path, "rtl") == {"b"}


def test_a_call_that_dies_leaves_its_mark_and_no_end(tmp_path: Path) -> None:
    own = Worker(tmp_path)
    own.dies = {"c"}
    with pytest.raises(KeyboardInterrupt):
        own.run()
    assert not own.done and chunks.started(tmp_path, "csim") == {"c"}
    assert [job["key"] for job in own.record["jobs"]] == ["a", "b"]
    own.dies, own.called = set(), []
    own.run()  # Snakemake tries again: what was done stays
    assert own.called == ["d", "c"] and own.done
    assert chunks.started(tmp_path, "csim") == set()


KILLED = """
import os, pathlib
from talon_lib.sweep import worker

def call(command):
    stage, key = command
    if key == "c":
        os._exit(9)
    pathlib.Path(stage, f"{key}.json").write_text(ENVELOPE)

worker.run(pathlib.Path("run/csim/chunk.json"), call, print)
"""


def test_a_process_that_is_killed_leaves_a_record_and_the_next_does_not_take_its_place(tmp_path: Path) -> None:
    """The rest of a chunk may run on another node, and the table is of both."""
    own = Worker(tmp_path)
    script = f"ENVELOPE = {json.dumps(envelope('csim'))!r}\n{KILLED}"
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False).returncode == 9
    own.run()
    assert own.called == ["d", "c"]
    files = sorted((tmp_path / "records/csim").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    killed, ended = (json.loads(path.read_text()) for path in files)
    assert [job["key"] for job in killed["jobs"]] == ["a"]  # what came at once after it is lost
    assert [job["key"] for job in ended["jobs"]] == ["d", "c"]
    assert killed["node"] == ended["node"]


def test_a_chunk_of_a_job_that_died_goes_on_to_the_next_run_alone(tmp_path: Path) -> None:
    made = Made(jobs({"simulate": 6}))
    suspect(tmp_path, "simulate", "simulate2")
    run = run_of(made, tmp_path)
    assert [[key[-1] for key in chunk.jobs] for chunk in run.chunks] == [list("01345"), ["2"]]


@pytest.mark.parametrize("stage", STAGES)
def test_a_job_begins_in_an_empty_folder_and_that_of_a_result_stays(tmp_path: Path, stage: str) -> None:
    """The tools go on with what a killed run has left."""
    own = Worker(tmp_path, stage)
    left = {key: tmp_path / stage / key / "left" for key in "ab"}
    for path in left.values():
        path.parent.mkdir(parents=True)
        path.touch()
    write(tmp_path, stage, "b", envelope(stage))
    own.run()
    assert own.called == list("acd")
    assert not left["a"].parent.exists() and left["b"].exists()


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b'{"stage": "csim"}', b"\xff"], ids=str)
def test_a_file_that_is_no_chunk_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "s" / RUN / "csim" / "c.json"
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"c\.json: not a chunk of a sweep; talon-dse sweep writes them"):
        worker.run(path, lambda command: None, lambda line: None)
    assert not path.with_suffix(".done").exists()
    assert CliRunner().invoke(cli.cli, ["run", str(path)]).exit_code != 0


# --- what it will take -----------------------------------------------------------------------------------------------


def number(cell: str) -> int:
    return int(cell.replace(",", "")) if cell else 0


@settings(max_examples=25)
@given(counts=COUNTS, count=st.integers(1, 60_000), drawn=st.data())
def test_the_numbers_of_a_forecast_add_up(counts: dict[str, int], count: int, drawn: st.DataObject) -> None:
    every = jobs(counts)
    names = [(stage, key) for stage in STAGES for key in every[stage]]
    there = set(drawn.draw(st.lists(st.sampled_from(names)))) if names else set()
    made = Made(every, Points(count))
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        for stage, key in there:
            write(results, stage, key, envelope(stage))
        run = run_of(made, results)
        header, *stages, rows, report, total = forecast.table(run)
        said = list(forecast.lines(run, results))
        listed = forecast.keys(run)
    assert [line[0] for line in stages] == [stage for stage in STAGES if counts[stage]]
    seconds = size = 0.0
    for stage, every_job, done, left, in_chunks, work, disk in stages:
        assert (number(every_job), number(done)) == (counts[stage], sum(own == stage for own, _ in there))
        assert number(left) == number(every_job) - number(done)
        assert number(in_chunks) == len(run.of_stage(stage))
        expected = number(left) * DEFAULT_SECONDS[stage], number(left) * DEFAULT_BYTES[stage]
        assert (work, disk) == (forecast.duration(expected[0]), forecast.amount(expected[1]))
        seconds, size = seconds + expected[0], size + expected[1]
    assert (number(rows[1]), number(rows[4])) == (count, len(run.parts) + 1)
    assert number(total[4]) == sum(number(line[4]) for line in (*stages, rows, report))
    seconds, size = seconds + count * forecast.ROW_SECONDS, size + count * forecast.ROW_BYTES
    assert total[5:] == (forecast.duration(seconds), forecast.amount(size))
    assert {len(line) for line in (header, *stages, rows, report, total)} == {7}
    assert said[0].startswith(f"{count:,} points; ") and "nothing has run" in said[1]
    assert {(stage, key) for stage, key, state, _ in listed if state == "there"} == there
    assert [(stage, key) for stage, key, *_ in listed] == names


def test_a_forecast_is_of_what_has_run_where_anything_has(tmp_path: Path) -> None:
    remember(tmp_path, "rtl", {"net0": [600.0], "net1": [1200.0]}, size=3_000_000)
    run = run_of(Made(jobs({"rtl": 3})), tmp_path)
    (_, line, *_) = forecast.table(run)
    assert line[5:] == (forecast.duration(600 + 1200 + 900), "9.0 MB")
    assert any("estimated from 2 jobs" in own for own in forecast.lines(run, tmp_path))


UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def meant(text: str) -> float:
    value, unit = text.split(" ")
    return float(value.replace(",", "")) * UNITS[unit]


@given(st.floats(0, 1e9))
def test_durations_and_amounts_are_said_to_a_few_per_cent(value: float) -> None:
    assert abs(meant(forecast.duration(value)) - value) <= max(0.5, 0.04 * value)
    assert abs(meant(forecast.amount(value)) - value) <= max(500, 0.051 * value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (90, "1.5 min"), (5399, "90.0 min"), (5400, "1.5 h"), (129_600, "1.5 d")],
)
def test_a_duration_is_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert forecast.duration(seconds) == text
