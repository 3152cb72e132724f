"""Which nodes made the results of a sweep: what a worker records of its own, and what is said of all."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talon_lib.sweep import planfile, provenance, records
from talon_lib.sweep.digests import digest
from talon_lib.sweep.jobs import STAGES
from talon_lib.sweep.reproduce import _changed

OLD, NEW = "g++ (made up) 11.4.0", "g++ (made up) 12.2.0"
PACKAGES = {"numpy": "2.0.0"}


def record(host: str = "n1", tools: Mapping[str, str | None] | None = None, **changes: Any) -> dict[str, Any]:
    """What a chunk of a job records, here on a node that is made up."""
    node = {
        "system": "Linux",
        "architecture": "x86_64",
        "python": "3.11.2",
        "packages": digest(PACKAGES),
        "tools": dict(tools or {}),
    }
    jobs = [{"key": "k", "label": "net int8", "seconds": 1.0, "bytes": 1}]
    return {"stage": "csim", "jobs": jobs, "host": host, "start": 1.0, "end": 2.0, "node": node | changes}


def lines(*found: dict[str, Any]) -> list[str]:
    return list(provenance.node_lines({"environment": PACKAGES, "nodes": provenance.nodes(found)}))


# --- what a node has -------------------------------------------------------------------------------------------------


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is all of PATH, in which g++ is made up, and says its version once for each call in a log."""
    program = tmp_path / "bin" / "g++"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho called >> {tmp_path}/log\necho '{OLD}'\necho 'more that nobody reads'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))
    provenance.node.cache_clear()
    yield tmp_path
    provenance.node.cache_clear()


def test_a_stage_asks_for_its_own_tools_alone_and_once(programs: Path) -> None:
    assert provenance.node("simulate")["tools"] == provenance.node("project")["tools"] == {}
    assert not (programs / "log").exists()
    assert provenance.node("csim")["tools"] == provenance.node("csim")["tools"] == {"g++": OLD}
    assert (programs / "log").read_text() == "called\n"
    assert provenance.node("synth")["tools"] == {"vitis-run": None, "vivado": None}
    assert set(provenance.STAGE_TOOLS) < set(STAGES)


def test_the_tools_of_the_machine_that_plans_are_those_of_all_stages(programs: Path) -> None:
    planned = provenance.provenance()
    for stage in STAGES:
        node = provenance.node(stage)
        assert node["tools"].items() <= planned["tools"].items()
        assert node["packages"] == digest(planned["environment"])
        assert node["python"] == planned["python"] and node["architecture"] == planned["machine"]["architecture"]


def test_other_packages_have_another_digest() -> None:
    digests = [digest(own) for own in ({}, {"a": "1"}, {"a": "2"}, {"b": "1"}, {"a": "1", "b": "1"})]
    assert len({*digests}) == 5
    assert digest({"a": "1", "b": "2"}) == digest({"b": "2", "a": "1"})


# --- what records say ------------------------------------------------------------------------------------------------


def test_two_hosts_with_two_compilers_are_two_lines() -> None:
    found = record("n2", {"g++": NEW}), record("n1", {"g++": OLD})
    one, other = lines(*found)
    assert one == f"1 node with Python 3.11.2, Linux, {OLD}: n1"
    assert other == f"1 node with Python 3.11.2, Linux, {NEW}: n2"
    assert lines(*found, record("n3", {"g++": NEW})) == [one, f"2 nodes with Python 3.11.2, Linux, {NEW}: n2, n3"]


def test_hosts_that_are_alike_are_one_line_whatever_stages_they_ran() -> None:
    csim = [record(host, {"g++": NEW}) for host in ("n2", "n1")]
    rtl = record("n3", {"g++": NEW, "verilator": "Verilator 5"})
    assert lines(*csim, record("n4"), rtl) == [
        f"4 nodes, all with Python 3.11.2, Linux, {NEW}, Verilator 5: n1, n2, n3, n4"
    ]
    assert lines() == []


def test_a_program_that_became_another_on_one_host_is_seen() -> None:
    assert lines(record(tools={"g++": OLD}), record(tools={"g++": NEW})) == [
        f"1 node with Python 3.11.2, Linux, {OLD}, {NEW}: n1"
    ]


def test_a_tool_that_one_node_lacks_makes_it_another() -> None:
    assert lines(record("n1", {"vivado": "vivado 1"}), record("n2", {"vivado": None})) == [
        "1 node with Python 3.11.2, Linux, vivado 1: n1",
        "1 node with Python 3.11.2, Linux, vivado not found: n2",
    ]


def test_packages_that_are_not_the_planners_are_said() -> None:
    (first, second) = lines(record("n1"), record("n2", packages="another"))
    assert first == "1 node with Python 3.11.2, Linux: n1"
    assert second == "1 node with Python 3.11.2, Linux, other packages than where it was planned: n2"


@given(st.permutations(range(6)), st.integers(1, 3))
def test_the_order_and_number_of_records_change_nothing(order: list[int], times: int) -> None:
    own = [record(f"n{i % 3}", {"g++": (OLD, NEW)[i % 2], "make": None}) for i in range(6)]
    found = provenance.nodes([own[i] for i in order] * times)
    assert json.dumps(found) == json.dumps(provenance.nodes(own))
    assert [node["host"] for node in found] == ["n0", "n1", "n2"]
    assert all(node["tools"] == {"g++": [OLD, NEW], "make": [None]} for node in found)


@pytest.mark.parametrize(
    "damaged",
    [
        {key: value for key, value in record().items() if key != "node"},  # of a version before this
        record() | {"node": None},
        record() | {"node": "n1"},
        record() | {"host": 7},
        record(python=None),
        record() | {"node": record()["node"] | {"tools": [1]}},
        record() | {"node": record()["node"] | {"tools": {"g++": 12}}},
        record() | {"node": record()["node"] | {"tools": {"g++": []}}},
    ],
)
def test_a_record_that_says_nothing_of_its_node_is_passed_over(damaged: dict[str, Any]) -> None:
    assert provenance.nodes([damaged, record("n2")]) == provenance.nodes([record("n2")])


# --- sweep.json ------------------------------------------------------------------------------------------------------


@pytest.fixture
def sweep_json(tmp_path: Path) -> Path:
    """A sweep.json as it is after planning, of which nothing but its provenance is looked at."""
    path = tmp_path / planfile.PLAN
    made = {"environment": PACKAGES, "python": "3.11.2", "tools": {"g++": NEW}}
    content = {"configuration": {"stages": {}}, "fingerprints": {"graphs": {}}, "id": "x", "provenance": made}
    path.write_text(json.dumps(content))
    os.utime(path, ns=(1_000_000_007, 1_000_000_007))
    return path


def test_nodes_enter_sweep_json_without_making_it_newer(sweep_json: Path) -> None:
    before = json.loads(sweep_json.read_text())
    for chunk, own in {"a": record("n1", {"g++": OLD}), "b": record("n2", {"g++": NEW})}.items():
        records.write(sweep_json.parent, "csim", chunk, own)
    planfile.note_nodes(sweep_json)
    content = planfile.read_content(sweep_json)
    nodes = content["provenance"].pop("nodes")
    assert [(own["host"], own["tools"]) for own in nodes] == [("n1", {"g++": [OLD]}), ("n2", {"g++": [NEW]})]
    assert content == before
    assert sweep_json.stat().st_mtime_ns == 1_000_000_007


def test_where_nothing_is_new_sweep_json_is_left_alone(sweep_json: Path) -> None:
    planned = sweep_json.stat().st_ino
    planfile.note_nodes(sweep_json)  # there are no records
    assert sweep_json.stat().st_ino == planned
    records.write(sweep_json.parent, "csim", "a", record())
    planfile.note_nodes(sweep_json)
    noted = sweep_json.stat().st_ino
    assert noted != planned
    records.write(sweep_json.parent, "csim", "b", record())
    planfile.note_nodes(sweep_json)
    assert sweep_json.stat().st_ino == noted


# --- reproduce -------------------------------------------------------------------------------------------------------


def changed(then: list[dict[str, Any]], now: list[dict[str, Any]], planner: str = NEW) -> list[str]:
    """The lines on two runs that were planned on one machine, the second with the compiler ``planner``."""
    made = {"environment": PACKAGES, "python": "3.11.2", "git_commit": "c0ffee", "tools": {"g++": NEW}}
    content = {"provenance": {**made, "nodes": provenance.nodes(then)}, "stage_versions": {}}
    again = {**made, "tools": {"g++": planner}, "nodes": provenance.nodes(now)}
    return [line for line in _changed(content, again) if not line.startswith("stage ")]


def test_tools_of_nodes_that_were_others_are_said() -> None:
    both = [record("n1", {"g++": OLD}), record("n2", {"g++": NEW})]
    assert changed(both, [record("here", {"g++": NEW})]) == [f"g++ of the nodes: {OLD} and {NEW} then, {NEW} now"]
    assert changed(both, both) == changed([record(system="Linux 5")], [record(system="Linux 6")]) == []
    assert changed([], both) == []  # of a version that did not note them
    (line,) = changed([record(packages="another")], [record()])
    assert line.startswith("packages of the nodes: another then, ")


def test_what_is_said_of_the_machine_that_plans_is_not_said_of_its_nodes_again() -> None:
    assert changed([record(tools={"g++": NEW})], [record(tools={"g++": OLD})], OLD) == [
        f"tool g++: {NEW} then, {OLD} now"
    ]


@pytest.mark.parametrize("odd", [None, 3, "n1", [{}], [3], [{"tools": {"g++": "12"}}], [{"tools": {"g++": [12]}}]])
def test_nodes_that_are_none_are_left_out(odd: Any) -> None:
    assert provenance.noted({"nodes": odd}) == []
    assert list(provenance.node_lines({"nodes": odd})) == []
    good = provenance.nodes([record()])
    assert provenance.noted({"nodes": [*good, *(odd if isinstance(odd, list) else [])]}) == good
