"""Stages as functions: what they say is computed here a second way; batches change nothing; files appear whole."""

from __future__ import annotations

import itertools
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from talon_lib import cli, ir
from talon_lib import data as datasets
from talon_lib.cost.counts import count
from talon_lib.errors import ConfigError, MissingToolError, TalonError, ToolTimeout, UnsupportedError
from talon_lib.files import write_json
from talon_lib.report.html import write_report
from talon_lib.simulate import bind_graph, run
from talon_lib.sweep import collect, points, spec, stages, table
from talon_lib.sweep.jobs import STAGE_VERSIONS
from talon_lib.sweep.provenance import provenance

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


@pytest.mark.parametrize("encoding", ["current", "rate"])
@pytest.mark.parametrize("precision", ["fp32", "int4"])
@pytest.mark.parametrize("batch", [1, 7, 22, 23])
def test_how_samples_are_split_into_batches_changes_nothing(
    files: tuple[Path, Path], encoding: str, precision: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = stages.workload(*files, encoding, STEPS, None, 8)
    whole = stages.simulate(work, precision, "count")
    assert whole["nodes"]["lif2"]["spikes_per_sample"] > 0
    monkeypatch.setattr(stages, "BATCH", batch)
    assert stages.simulate(work, precision, "count") == whole


def test_large_inputs_are_simulated_in_small_batches(work: stages.Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    assert work.batch == stages.BATCH
    for values, batch in ((STEPS * 5 * 3, 3), (STEPS * 5 * 3 - 1, 2), (1, 1)):
        monkeypatch.setattr(stages, "BATCH_VALUES", values)
        assert work.batch == batch


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


ENCODED: list[Any] = [
    {"kind": "rate", "seed": 4, "gain": 2.0},
    {"kind": "latency", "form": "log", "tau": 2, "threshold": 0.1},
    {"kind": "delta", "off_spikes": True, "threshold": 0.3},
]


@pytest.mark.parametrize("encoding", ENCODED, ids=lambda encoding: encoding["kind"])
def test_test_and_calibration_samples_are_encoded_in_the_same_way(files: tuple[Path, Path], encoding: Any) -> None:
    graph, file = files
    if encoding["kind"] == "delta":
        rng = np.random.default_rng(7)
        np.savez(file, x_train=rng.uniform(-1, 1, (20, STEPS, 5)), x_test=rng.uniform(-1, 1, (23, STEPS, 5)))
    loaded = datasets.load(file)
    x, calibration = (datasets.encode(own, encoding, (5,), STEPS) for own in (loaded.x, loaded.calibration[:8]))
    bound = bind_graph(network(), "int4", {"input": calibration}, STEPS)
    expected = run(network(), bound, {"input": x}, STEPS).activity["lif1"].spikes / 23
    found = stages.simulate(stages.workload(graph, file, encoding, STEPS, None, 8), "int4", "count")
    assert found["nodes"]["lif1"]["spikes_per_sample"] == pytest.approx(expected) != 0
    assert found["types"]["input"]["result"] == str(bound["input"].types.result)


def test_recordings_of_events_are_simulated_like_their_frames(files: tuple[Path, Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    events = np.stack([rng.integers(0, 400, 230), rng.integers(0, 5, 230), np.zeros(230), np.zeros(230)], 1)
    np.savez(tmp_path / "events.npz", events=events, offsets=np.arange(0, 231, 10))
    frames = datasets.encode(datasets.load(tmp_path / "events.npz").x, "events", (5,), STEPS)
    assert frames.sum() == 230
    np.save(tmp_path / "frames.npy", np.moveaxis(frames, 0, 1))
    by_events, by_frames = (
        stages.simulate(stages.workload(files[0], tmp_path / name, encoding, STEPS, None, 8), "int8", "count")
        for name, encoding in (("events.npz", "events"), ("frames.npy", "frames"))
    )
    assert by_events == by_frames
    assert by_events["samples"] == 23
    assert not by_events["one_pass"]


@pytest.mark.parametrize("encoding", ["current", "rate", "latency"])
def test_one_pass_could_see_all_of_a_sample_without_time_unless_the_graph_has_a_loop(
    files: tuple[Path, Path], tmp_path: Path, encoding: str
) -> None:
    assert stages.simulate(stages.workload(files[0], files[1], encoding, STEPS, 2, 2), "fp32", "count")["one_pass"]
    nodes = network().nodes | {"loop": ir.Affine(np.ones((6, 6), np.float32), np.zeros(6, np.float32))}
    edges = [*network().edges, ("lif1", "loop"), ("loop", "lif1")]
    ir.write(tmp_path / "loop.nir", ir.Graph(nodes, edges, allow_cycles=True))
    work = stages.workload(tmp_path / "loop.nir", files[1], encoding, STEPS, 2, 2)
    assert not stages.simulate(work, "fp32", "count")["one_pass"]


def test_labels_of_their_own_file_give_an_accuracy(files: tuple[Path, Path], tmp_path: Path) -> None:
    with np.load(files[1]) as archive:
        np.save(tmp_path / "x.npy", archive["x_test"])
        np.save(tmp_path / "y.npy", archive["y_test"])
    work = stages.workload(files[0], tmp_path / "x.npy", "current", STEPS, 9, 8, tmp_path / "y.npy")
    whole = stages.workload(*files, "current", STEPS, 9, 8)
    assert stages.simulate(work, "fp32", "count")["accuracy"] == stages.simulate(whole, "fp32", "count")["accuracy"]


def test_labels_without_data_are_refused(files: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="labels need data; give --data as well"):
        stages.workload(files[0], None, "current", STEPS, None, None, files[1])


def test_a_network_without_labels_is_swept_up_to_its_report(files: tuple[Path, Path], tmp_path: Path) -> None:
    with np.load(files[1]) as archive:
        np.save(tmp_path / "x.npy", archive["x_test"])
    network = {"name": "net", "graph": str(files[0]), "data": str(tmp_path / "x.npy"), "timesteps": STEPS}
    values = {"name": "n", "networks": [network], "precisions": ["fp32", "int3"]}
    plan = points.plan(spec.parse({**values, "stages": {"project": False, "csim": False}}))
    for key, job in plan.jobs["simulate"].items():
        done = CliRunner().invoke(cli.cli, ["simulate", *job.arguments, f"--output={tmp_path / 'simulate' / key}.json"])
        assert done.exit_code == 0, done.output
    collect.collect(plan, tmp_path, tmp_path / "m.parquet")
    found = table.read(tmp_path / "m.parquet")
    rows = found.to_pylist()
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert [row["accuracy"] for row in rows] == [None, None]
    assert rows[0]["agreement_fp32"] == 1 > rows[1]["agreement_fp32"] > 0
    write_report(found, {**plan.as_dict(), "provenance": provenance()}, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    shown = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "agreement with fp32" in shown and not re.search(r"\bnan\b", shown, re.IGNORECASE)


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
    write_json(path, {"b": 1, "a": [1.5, None]})
    assert json.loads(path.read_text()) == {"a": [1.5, None], "b": 1}
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    assert [file.name for file in path.parent.iterdir()] == ["x.json"]


class Unwritable:
    """What JSON cannot hold."""


@pytest.mark.parametrize("content", [Unwritable(), {"a": 1, "b": Unwritable()}])
def test_json_that_cannot_be_written_leaves_the_file_that_was_there(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"old": True})
    with pytest.raises(TypeError):
        write_json(path, content)
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
        write_json(path, {"long": list(range(100))})
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
        write_json(tmp_path / "x.json", {})
    assert len(set(names)) == 2
    assert all(name.startswith(".") for name in names)  # no glob for results finds them
