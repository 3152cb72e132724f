"""Stages as functions: what they say is computed here a second way; batches change nothing; files appear whole."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from talon_lib import ir
from talon_lib.cost.counts import count
from talon_lib.errors import ConfigError, MissingToolError, TalonError, ToolTimeout, UnsupportedError
from talon_lib.simulate import bind_graph, run
from talon_lib.sweep import stages
from talon_lib.sweep.points import STAGE_VERSIONS

STEPS = 4


def network() -> ir.Graph:
    rng = np.random.default_rng(5)

    def lif(n: int) -> ir.LIF:
        values = {"tau": 2.0, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.5}
        return ir.LIF(**{key: np.full(n, value, np.float32) for key, value in values.items()})

    nodes = {
        "input": ir.Input((5,)),
        "fc1": ir.Affine(rng.normal(0, 1, (6, 5)).astype(np.float32), rng.normal(0, 0.1, 6).astype(np.float32)),
        "lif1": lif(6),
        "fc2": ir.Affine(rng.normal(0, 1, (3, 6)).astype(np.float32), np.zeros(3, np.float32)),
        "lif2": lif(3),
        "output": ir.Output((3,)),
    }
    return ir.Graph(nodes, list(itertools.pairwise(nodes)))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(6)
    ir.write(tmp_path / "net.nir", network())
    np.savez(
        tmp_path / "data.npz",
        x_train=rng.uniform(-1, 1, (20, 5)),
        x_test=rng.uniform(-1, 1, (23, 5)),
        y_test=rng.integers(0, 3, 23),
    )
    return tmp_path / "net.nir", tmp_path / "data.npz"


@pytest.fixture
def work(files: tuple[Path, Path]) -> stages.Workload:
    return stages.workload(*files, "current", STEPS, None, 8)


def by_hand(x: np.ndarray) -> np.ndarray:
    """Predictions (steps, n) of the network in fp32: every layer, step and sample written out."""
    nodes = network().nodes
    f32 = np.float32
    predictions = np.zeros((STEPS, len(x)), int)
    for index, sample in enumerate(x):
        membranes = [np.zeros(6), np.zeros(3)]
        spikes = np.zeros(3)
        for step in range(STEPS):
            value = sample.astype(f32).astype(float)
            for layer, (fc, lif) in enumerate([("fc1", "lif1"), ("fc2", "lif2")]):
                current = (nodes[fc].weight.astype(float) @ value + nodes[fc].bias).astype(f32).astype(float)
                v = (0.5 * membranes[layer] + current).astype(f32).astype(float)
                value = (v >= nodes[lif].v_threshold).astype(float)
                membranes[layer] = np.where(value > 0, 0.0, v)
            spikes += value
            predictions[step, index] = np.argmax(spikes)
    return predictions


def test_accuracy_after_every_step_is_the_share_of_right_predictions(work: stages.Workload) -> None:
    predictions = by_hand(work.test_set.x)
    expected = (predictions == work.test_set.y).mean(axis=1)
    assert len(set(expected)) > 1  # the steps can be told apart
    found = stages.simulate(work, "fp32", "count")
    assert found["accuracy_by_step"] == pytest.approx(expected.tolist(), abs=1e-12)
    assert found["accuracy"] == found["accuracy_by_step"][-1]
    assert found["samples"] == 23
    assert found["agreement_fp32"] == 1.0


@pytest.mark.parametrize("precision", ["int2", "int4", "ap_fixed<5,3>"])
def test_agreement_is_the_share_of_samples_that_fp32_classifies_alike(work: stages.Workload, precision: str) -> None:
    x = work.test_set.x
    bound = bind_graph(network(), precision, {"input": work.test_set.calibration[:8]}, STEPS)
    outputs = run(network(), bound, {"input": x}, STEPS).outputs["output"]
    expected = (outputs[-1].argmax(axis=1) == by_hand(x)[-1]).mean()
    assert expected < 1  # so few bits change an answer, and the figure says so
    assert stages.simulate(work, precision, "count")["agreement_fp32"] == pytest.approx(expected)


@pytest.mark.parametrize("precision", ["fp32", "int4"])
@pytest.mark.parametrize("batch", [1, 7, 22, 23])
def test_how_samples_are_split_into_batches_changes_nothing(
    work: stages.Workload, precision: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stages.simulate(work, precision, "count")
    monkeypatch.setattr(stages, "BATCH", batch)
    assert stages.simulate(work, precision, "count") == whole


def test_activity_is_a_mean_over_samples(work: stages.Workload) -> None:
    found = stages.simulate(work, "int8", "count")
    bound = bind_graph(network(), "int8", {"input": work.test_set.calibration[:8]}, STEPS)
    alone = [run(network(), bound, {"input": x}, STEPS).activity for x in work.test_set.x]
    for name, own in found["nodes"].items():
        assert own["spikes_per_sample"] == pytest.approx(np.mean([a[name].spikes for a in alone]))
        assert own["effective_macs"] == pytest.approx(np.mean([a[name].effective_macs for a in alone]))
        assert own["effective_acs"] == pytest.approx(np.mean([a[name].effective_acs for a in alone]))
    assert found["nodes"]["lif1"]["spikes_per_sample"] > 0
    assert found["nodes"]["fc2"]["effective_acs"] > 0 == found["nodes"]["fc2"]["effective_macs"]


def test_counts_are_those_of_the_precision(work: stages.Workload) -> None:
    for precision in ("fp32", "int4"):
        found = stages.simulate(work, precision, "count")["nodes"]
        own = count(network(), work.bind(precision))
        for name, node in own.items():
            assert found[name]["weight_bits"] == node.weight_bits
            assert found[name]["state_bits"] == node.state_bits
            assert found[name]["dense_macs"] == node.macs_per_step * STEPS


def test_only_the_asked_samples_are_simulated(files: tuple[Path, Path]) -> None:
    found = stages.simulate(stages.workload(*files, "current", STEPS, 5, 8), "fp32", "count")
    work = stages.workload(*files, "current", STEPS, None, 8)
    assert found["samples"] == 5
    assert found["accuracy"] == pytest.approx((by_hand(work.test_set.x[:5])[-1] == work.test_set.y[:5]).mean())


def test_only_the_asked_samples_calibrate(files: tuple[Path, Path]) -> None:
    with np.load(files[1]) as archive:
        arrays = dict(archive)
    arrays["x_train"][8:] *= 1000
    np.savez(files[1].with_name("tail.npz"), **arrays)
    tail = files[1].with_name("tail.npz")
    few, many = (stages.workload(files[0], tail, "current", STEPS, None, n).bind("int8") for n in (8, None))
    whole = stages.workload(*files, "current", STEPS, None, 8).bind("int8")
    assert few["input"].types == whole["input"].types != many["input"].types


def test_without_labels_there_is_no_accuracy(files: tuple[Path, Path]) -> None:
    with np.load(files[1]) as archive:
        np.savez(files[1], **{key: archive[key] for key in ("x_train", "x_test")})
    found = stages.simulate(stages.workload(*files, "current", STEPS, None, 8), "int8", "count")
    assert (found["accuracy"], found["accuracy_by_step"]) == (None, [])
    assert 0 < found["agreement_fp32"] <= 1


def test_a_graph_with_two_outputs_is_refused_by_name(files: tuple[Path, Path]) -> None:
    graph = network()
    nodes = {**graph.nodes, "second": ir.Output((3,))}
    ir.write(files[0], ir.Graph(nodes, [*graph.edges, ("lif2", "second")]))
    with pytest.raises(ConfigError, match="a sweep needs a graph with one output, but this has output, second"):
        stages.simulate(stages.workload(*files, "current", STEPS, None, 8), "fp32", "count")


def test_a_project_needs_no_data_but_a_simulation_does(files: tuple[Path, Path]) -> None:
    work = stages.workload(files[0], None, "current", STEPS, None, None)
    for precision in ("ap_fixed<9,4>", "int8"):  # scales are found from noise
        assert list(work.bind(precision)) == network().order
    assert str(work.bind("ap_fixed<9,4>")["fc1"].types.result) == "ap_fixed<9,4>"
    with pytest.raises(ConfigError, match="this needs data"):
        stages.simulate(work, "fp32", "count")


# --- envelopes and files ---------------------------------------------------------------------------------------------


def test_the_envelope_of_a_stage_that_ended_well() -> None:
    assert stages.envelope("simulate", {"a": 1}) == {
        "stage": "simulate",
        "version": STAGE_VERSIONS["simulate"],
        "status": "ok",
        "reason": None,
        "result": {"a": 1},
    }


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ToolTimeout("g++ did not end in 3 s"), "timeout", "g++ did not end in 3 s"),
        (UnsupportedError("no such layer"), "unsupported", "no such layer"),
        (MissingToolError("install\n  g++"), "failed", "install g++"),
        (TalonError(""), "failed", "TalonError"),
        (ValueError("broken\nhere"), "failed", "internal error, see the log: ValueError: broken here"),
        (KeyError("x"), "failed", "internal error, see the log: KeyError: 'x'"),
        (MemoryError(), "failed", "internal error, see the log: MemoryError: MemoryError"),
    ],
)
def test_the_envelope_of_a_failure_has_its_status_and_one_line(error: Exception, status: str, reason: str) -> None:
    assert stages.failure("csim", error) == {
        "stage": "csim",
        "version": STAGE_VERSIONS["csim"],
        "status": status,
        "reason": reason,
        "result": None,
    }


def test_json_is_written_with_its_folders_and_sorted_keys(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "x.json"
    stages.write_json(path, {"b": 1, "a": [1.5, None]})
    assert json.loads(path.read_text()) == {"a": [1.5, None], "b": 1}
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    assert [file.name for file in path.parent.iterdir()] == ["x.json"]


class Unwritable:
    """What JSON cannot hold."""


@pytest.mark.parametrize("content", [Unwritable(), {"a": 1, "b": Unwritable()}])
def test_json_that_cannot_be_written_leaves_the_file_that_was_there(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "x.json"
    stages.write_json(path, {"old": True})
    with pytest.raises(TypeError):
        stages.write_json(path, content)
    assert json.loads(path.read_text()) == {"old": True}
    assert list(tmp_path.iterdir()) == [path]


def test_json_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full, or the machine goes down, in the middle of the text."""
    path = tmp_path / "x.json"
    written: list[Path] = []

    def half(self: Path, text: str, *_: Any, **__: Any) -> int:
        written.append(self)
        with self.open("w") as file:
            file.write(text[: len(text) // 2])
        raise OSError(28, os.strerror(28), str(self))

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError):
        stages.write_json(path, {"long": list(range(100))})
    assert written and written[0].parent == tmp_path and written[0] != path
    assert list(tmp_path.iterdir()) == []


def test_two_processes_write_to_different_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    original = Path.replace

    def watch(self: Path, target: Path) -> Path:
        names.append(self.name)
        return original(self, target)

    monkeypatch.setattr(Path, "replace", watch)
    for pid in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        stages.write_json(tmp_path / "x.json", {})
    assert len(set(names)) == 2
    assert all(name.startswith(".") for name in names)  # no glob for results finds them
