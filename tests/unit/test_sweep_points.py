"""Points and keys: which change changes the key of which stage, as the table of stages in the design has it."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talon_lib import data, ir
from talon_lib.cost.calibration import Calibration, MetricCalibration
from talon_lib.cost.preset import get_preset
from talon_lib.errors import ConfigError, FormatError
from talon_lib.precision import Precision
from talon_lib.sweep import points, spec
from talon_lib.sweep.digests import digest
from talon_lib.sweep.jobs import STAGE_VERSIONS
from talon_lib.sweep.points import Plan, Point, Points

STAGES = ("simulate", "project", "csim", "rtl", "synth")


def graph(weight: float = 0.5, threshold: float = 1.0) -> ir.Graph:
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 1, (2, 3)).astype(np.float32)
    weights[0, 0] = weight
    lif = {key: np.full(2, value, np.float32) for key, value in {"tau": 2.0, "r": 1.0, "v_leak": 0.0}.items()}
    nodes = {
        "input": ir.Input((3,)),
        "fc": ir.Affine(weights, np.zeros(2, np.float32)),
        "lif": ir.LIF(**lif, v_threshold=np.full(2, threshold, np.float32)),
        "output": ir.Output((2,)),
    }
    return ir.Graph(nodes, list(itertools.pairwise(nodes)))


def unlabelled(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return {key: archive[key] for key in archive if key != "y_test"}


def save_data(path: Path, frames: bool = False, **changes: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    shape = (6, 5, 3) if frames else (6, 3)
    arrays = {"x_train": rng.uniform(-1, 1, shape), "x_test": rng.uniform(-1, 1, shape), "y_test": np.arange(6) % 2}
    np.savez(path, **{**arrays, **changes})


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """One point with all jobs at a precision that is calibrated."""
    monkeypatch.chdir(tmp_path)
    ir.write(tmp_path / "net.nir", graph())
    save_data(tmp_path / "data.npz")
    save_data(tmp_path / "frames.npz", frames=True)
    np.save(tmp_path / "y.npy", np.arange(6) % 2)
    np.savez(tmp_path / "data.npz", **unlabelled(tmp_path / "data.npz"))
    return {
        "name": "base",
        "networks": [{"name": "net", "graph": "net.nir", "data": "data.npz", "timesteps": 2}],
        "precisions": "int8",
        "samples": {"calibration": 4, "simulate": 5, "csim": 2},
        "synth": {"flows": ["open-rtl", "vitis"]},
    }


def plan(values: dict[str, Any]) -> Plan:
    return points.plan(spec.parse(values))


def counted(made: Plan) -> dict[str, int]:
    return {stage: len(jobs) for stage, jobs in made.jobs.items()}


def identity(made: Plan) -> dict[str, str]:
    """The ids of a plan and of its first point; a plan makes them when they are asked for."""
    return {"plan": made.id, "point": made.points[0].id}


def keys(values: dict[str, Any]) -> dict[str, str | None]:
    (point,) = plan(values).points
    return {stage: getattr(point, stage) for stage in STAGES}


def setting(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(values)
    at = made
    *way, last = path.split(".")
    for part in way:
        at = at["networks"][0] if part == "network" else at.setdefault(part, {})
    at[last] = value
    return made


GIVEN = "ap_fixed<12,4>"
"""A precision whose types are given, so that nothing is calibrated."""

MIXED = {"name": "mixed", "weight": "ap_fixed<12,4>", "result": "ap_fixed<12,4>"}

# what is changed, to what, and the stages whose key changes at a calibrated and at a given precision
ALL = " ".join(STAGES)
DEPENDS: list[tuple[str, Any, str, str]] = [
    ("name", "other", "", ""),
    ("network.name", "other", "", ""),
    ("network.dt", 5e-5, ALL, ALL),
    ("network.dt", 1e-4, "", ""),  # what the file says
    ("network.timesteps", 3, ALL, "simulate csim rtl"),
    ("network.readout", "first_spike", "simulate", "simulate"),
    ("network.encoding", "rate", ALL, "simulate csim rtl"),
    ("network.labels", "y.npy", ALL, "simulate csim rtl"),
    ("reuse_factors", 4, "project rtl synth", "project rtl synth"),
    ("energy_presets", "zcu102", "", ""),
    ("hardware.part", "pynq_z2", "project rtl synth", "project rtl synth"),
    ("hardware.part", "xczu7ev-ffvc1156-2-e", "project synth", "project synth"),  # of the same family
    ("hardware.clock_period_ns", 10.0, "project synth", "project synth"),
    ("hardware.strategy", "Resource", "project csim synth", "project csim synth"),
    ("hardware.io_type", "io_stream", "project csim synth", "project csim synth"),
    ("samples.calibration", 3, ALL, ""),
    ("samples.simulate", 4, "simulate", "simulate"),
    ("samples.csim", 3, "csim", "csim"),
    ("stages.csim_timeout_s", 60.0, "", ""),
    ("synth.networks", "net", "", ""),
    ("synth.reuse_factors", 1, "", ""),
    ("synth.samples", 3, "rtl", "rtl"),
    ("synth.place_and_route", True, "rtl", "rtl"),
    ("synth.without_dsp", True, "rtl", "rtl"),
    ("synth.steps", ["synth", "vsynth"], "synth", "synth"),
    ("synth.steps", ["synth", "cosim"], "project synth", "project synth"),  # which the stimuli are in
    ("synth.timeout_s", 60.0, "", ""),
]


@pytest.mark.parametrize("precision", ["int8", GIVEN])
@pytest.mark.parametrize(
    ("axis", "value", "calibrated", "given"), DEPENDS, ids=[f"{row[0]}={row[1]}" for row in DEPENDS]
)
def test_a_stage_has_a_new_key_exactly_where_it_depends_on_what_changed(
    base: dict[str, Any], axis: str, value: Any, calibrated: str, given: str, precision: str
) -> None:
    base["precisions"] = precision
    before, after = keys(base), keys(setting(base, axis, value))
    expected = (calibrated if precision == "int8" else given).split()
    assert [stage for stage in STAGES if before[stage] != after[stage]] == expected


def test_jobs_read_a_network_with_the_dt_of_the_configuration(base: dict[str, Any]) -> None:
    made = plan(setting(base, "network.dt", 5e-5))
    for stage in STAGES[:4]:  # the last works on a project
        assert all("--dt=5e-05" in job.arguments for job in made.jobs[stage].values())
    assert made.networks["net"].graph == ir.read("net.nir", dt=5e-5).fingerprint != ir.read("net.nir").fingerprint


@pytest.mark.parametrize("precision", ["int8", GIVEN])
def test_every_stage_depends_on_the_network(base: dict[str, Any], precision: str) -> None:
    base["precisions"] = precision
    before = keys(base)
    for changed in (graph(weight=0.75), graph(threshold=1.5)):
        ir.write("net.nir", changed)
        after = keys(base)
        assert all(before[stage] != after[stage] for stage in STAGES)


@pytest.mark.parametrize(("precision", "expected"), [("int8", list(STAGES)), (GIVEN, ["simulate", "csim", "rtl"])])
def test_a_project_depends_on_data_only_where_scales_are_found_from_it(
    base: dict[str, Any], precision: str, expected: list[str]
) -> None:
    base["precisions"] = precision
    before = keys(base)
    save_data(Path("data.npz"), x_test=np.full((6, 3), 0.25))
    after = keys(base)
    assert [stage for stage in STAGES if before[stage] != after[stage]] == expected


def test_the_encoding_is_part_of_what_is_simulated(base: dict[str, Any]) -> None:
    rng = np.random.default_rng(2)
    held = rng.uniform(-1, 1, (6, 1, 3))  # one frame is a current at one step
    save_data(Path("data.npz"), x_train=held, x_test=held)
    base = setting(base, "network.timesteps", 1)
    before, after = keys(base), keys(setting(base, "network.encoding", "frames"))
    assert before["simulate"] != after["simulate"] and before["csim"] != after["csim"]


def test_every_parameter_of_an_encoding_is_part_of_what_is_simulated(base: dict[str, Any]) -> None:
    encodings: list[Any] = [
        *("current", "rate", "latency"),
        *({"kind": "rate", key: 0.5 if key != "seed" else 1} for key in ("seed", "gain", "offset")),
        {"kind": "latency", "form": "log"},
        {"kind": "latency", "tau": 3},
        {"kind": "latency", "threshold": 0.2},
    ]
    found = [keys(setting(base, "network.encoding", encoding)) for encoding in encodings]
    for stage in STAGES:
        assert len({own[stage] for own in found}) == len(encodings)


@pytest.mark.parametrize("same", ["rate", {"kind": "rate"}, {"kind": "rate", "seed": 0, "gain": 1}], ids=str)
def test_an_encoding_has_the_same_keys_however_it_is_written(base: dict[str, Any], same: Any) -> None:
    written_out = {"kind": "rate", "offset": 0.0, "gain": 1.0, "seed": 0}
    assert keys(setting(base, "network.encoding", same)) == keys(setting(base, "network.encoding", written_out))


def test_the_keys_of_current_and_frames_are_those_of_before_there_were_others(base: dict[str, Any]) -> None:
    """Results on disk are found again by them."""
    made = plan(base)
    (point,), (network,) = made.points, made.networks.values()
    graph_print, data_print = network.graph, network.data
    types = [graph_print, Precision.parse("int8").describe(), [data_print, "current", 2, 4]]
    run = [data_print, "current", 2]
    assert point.simulate == digest("simulate", STAGE_VERSIONS["simulate"], [types, "count", 5], run)


def test_labels_count_the_same_in_the_data_and_in_a_file_of_their_own(base: dict[str, Any]) -> None:
    apart = keys(setting(base, "network.labels", "y.npy"))
    assert apart != keys(base)
    save_data(Path("data.npz"))
    assert keys(base) == apart


def test_labels_that_the_output_has_no_value_for_are_said_before_anything_runs(base: dict[str, Any]) -> None:
    np.save("y.npy", np.arange(6) % 3)
    with pytest.raises(ConfigError) as caught:
        plan(setting(base, "network.labels", "y.npy"))
    assert str(caught.value) == (
        "network 'net': the labels go from 0 to 2, but its output has 2 values, which are the classes 0 to 1"
    )


def test_precisions_that_differ_have_keys_that_differ(base: dict[str, Any]) -> None:
    names = ["int8", "int4", GIVEN, "ap_fixed<12,5>", "ap_fixed<12,4,AP_RND>", "ap_fixed<12,4,AP_TRN,AP_SAT>"]
    found = plan({**base, "precisions": names}).points
    for stage in STAGES:
        assert len({getattr(point, stage) for point in found}) == len(names)


def test_a_precision_has_the_same_keys_under_another_name(base: dict[str, Any]) -> None:
    """It is the types that count."""
    assert keys({**base, "precisions": GIVEN}) == keys({**base, "precisions": [MIXED]})


def test_a_board_and_its_part_are_one_project(base: dict[str, Any]) -> None:
    from talon_lib.hls.boards import BOARDS

    on_board, on_part = (keys(setting(base, "hardware.part", part)) for part in ("pynq_z2", BOARDS["pynq_z2"]))
    assert on_board == on_part


@pytest.mark.parametrize("stage", STAGES)
def test_raising_the_version_of_a_stage_changes_its_keys_only(
    base: dict[str, Any], stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, old = keys(base), identity(plan(base))
    monkeypatch.setitem(STAGE_VERSIONS, stage, STAGE_VERSIONS[stage] + 1)
    after, new = keys(base), identity(plan(base))
    on_it = ["synth"] if stage == "project" else []  # which works on the project
    assert [own for own in STAGES if before[own] != after[own]] == [stage, *on_it]
    assert old["point"] != new["point"]
    assert old["plan"] != new["plan"]


@pytest.mark.parametrize("stage", ["estimate", "energy"])
def test_raising_the_version_of_a_join_changes_points_but_no_job(
    base: dict[str, Any], stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, old = keys(base), identity(plan(base))
    monkeypatch.setitem(STAGE_VERSIONS, stage, STAGE_VERSIONS[stage] + 1)
    assert keys(base) == before
    assert identity(plan(base))["plan"] != old["plan"]
    assert identity(plan(base))["point"] != old["point"]


def test_keys_do_not_depend_on_names_and_places_of_files(base: dict[str, Any]) -> None:
    before = list(plan(base).points)
    Path("elsewhere").mkdir()
    Path("net.nir").rename("elsewhere/n.nir")
    Path("data.npz").rename("elsewhere/d.npz")
    base["networks"][0] |= {"graph": "elsewhere/n.nir", "data": "elsewhere/d.npz"}
    assert list(plan(base).points) == before


def test_floating_point_has_no_hardware_jobs(base: dict[str, Any]) -> None:
    made = plan({**base, "precisions": ["fp32", "fp16"], "reuse_factors": [1, 2]})
    assert all(getattr(point, stage) is None for point in made.points for stage in STAGES[1:])
    assert counted(made) == {"simulate": 2, "project": 0, "csim": 0, "rtl": 0, "synth": 0}


def test_stages_can_be_switched_off(base: dict[str, Any]) -> None:
    made = plan({**base, "stages": {"project": False, "csim": False}, "synth": {}})
    assert counted(made) == {"simulate": 1, "project": 0, "csim": 0, "rtl": 0, "synth": 0}
    made = plan({**base, "stages": {"project": False, "csim": False}, "synth": {"flows": "open-rtl"}})
    assert counted(made) == {"simulate": 1, "project": 0, "csim": 0, "rtl": 1, "synth": 0}


CHOSEN: list[tuple[dict[str, Any], int]] = [
    ({}, 2 * 2 * 2),  # networks, fixed precisions, reuse factors
    ({"networks": "net"}, 2 * 2),
    ({"precisions": ["int8", "fp32"]}, 2 * 2),  # floating point never is
    ({"precisions": "fp32"}, 0),
    ({"reuse_factors": 4}, 2 * 2),
    ({"networks": "net", "precisions": GIVEN, "reuse_factors": [1]}, 1),
]


@pytest.mark.parametrize(("chosen", "designs"), CHOSEN, ids=str)
def test_what_is_chosen_alone_is_synthesised(base: dict[str, Any], chosen: dict[str, Any], designs: int) -> None:
    ir.write("other.nir", graph(weight=0.125))
    base["networks"].append({**base["networks"][0], "name": "other", "graph": "other.nir"})
    base |= {"precisions": ["fp32", "int8", GIVEN], "reuse_factors": [1, 4]}
    for flow, stage, other in (("open-rtl", "rtl", "synth"), ("vitis", "synth", "rtl")):
        made = plan({**base, "synth": {"flows": flow, **chosen}})
        assert counted(made) == {"simulate": 6, "project": 8, "csim": 4, stage: designs, other: 0}
        for point in made.points:
            wanted = made.spec.synth.takes(flow, point.network, point.precision, point.reuse_factor)
            assert (getattr(point, stage) is not None) == (wanted and point.precision != "fp32")
            assert getattr(point, other) is None


def test_a_synthesis_is_of_the_project_of_its_point(base: dict[str, Any]) -> None:
    made = plan({**base, **FULL})
    assert {(point.synth, point.project) for point in made.points if point.synth} == {
        (key, job.after) for key, job in made.jobs["synth"].items()
    }
    assert {job.after for job in made.jobs["synth"].values()} == set(made.jobs["project"])


def test_cosim_has_its_stimuli_in_the_project_and_other_designs_have_none(base: dict[str, Any]) -> None:
    """Those of a run: with them even a project whose types are given depends on the data and the steps."""
    base = {**base, "precisions": GIVEN, "reuse_factors": [1, 4]}
    base["synth"] = {"flows": "vitis", "steps": ["synth", "cosim"], "reuse_factors": 4, "samples": 3}
    made = plan(base)
    plain, stimulated = (made.jobs["project"][point.project or ""] for point in made.points)
    assert "--stimuli=3" in stimulated.arguments
    assert not any(own.startswith("--stimuli") for own in plain.arguments)
    after = plan(setting(base, "network.timesteps", 3))
    assert [a.project == b.project for a, b in zip(made.points, after.points, strict=True)] == [True, False]


def test_a_part_that_yosys_has_no_family_for_is_proved_and_not_counted(base: dict[str, Any]) -> None:
    (versal,) = plan(setting(base, "hardware.part", "xcve2302-sfva784-1LP-e-S")).jobs["rtl"].values()
    (other,) = plan(base).jobs["rtl"].values()
    assert "--count=xcup" in other.arguments and "--verify=5" in versal.arguments
    assert not any(own.startswith("--count") for own in versal.arguments)


FULL: dict[str, Any] = {
    "precisions": ["fp32", "int8", GIVEN],
    "reuse_factors": [1, 2, 4],
    "energy_presets": ["zcu102", "neuromorphic_int8"],
    "hardware": {
        "part": ["zcu102", "pynq_z2"],
        "clock_period_ns": [5.0, 10.0],
        "strategy": ["Latency", "Resource"],
        "io_type": ["io_parallel", "io_stream"],
    },
}


def test_there_is_a_point_for_every_combination_of_the_axes_in_their_order(base: dict[str, Any]) -> None:
    base["networks"][0]["timesteps"] = [2, 3]
    ir.write("other.nir", graph(weight=0.125))
    base["networks"].append({**base["networks"][0], "name": "other", "graph": "other.nir"})
    made = plan({**base, **FULL})
    hardware = FULL["hardware"]
    expected = itertools.product(
        ["net", "other"],
        [2, 3],
        FULL["precisions"],
        FULL["reuse_factors"],
        hardware["part"],
        hardware["clock_period_ns"],
        hardware["strategy"],
        hardware["io_type"],
        FULL["energy_presets"],
    )
    found = [tuple(vars(point).values())[1:10] for point in made.points]
    assert found == list(expected)
    assert len({point.id for point in made.points}) == len(found) == 2 * 2 * 3 * 3 * 2**4 * 2


def test_jobs_are_those_that_points_name_and_each_is_there_once(base: dict[str, Any]) -> None:
    made = plan({**base, **FULL})
    for stage in STAGES:
        assert set(made.jobs[stage]) == {getattr(point, stage) for point in made.points} - {None}
        assert all(job.key == key and job.stage == stage for key, job in made.jobs[stage].items())
    assert len(made.jobs["simulate"]) == 3
    assert len(made.jobs["project"]) == 2 * 3 * 2**4  # the fixed precisions
    assert len(made.jobs["csim"]) == 2 * 2 * 2  # fixed precisions x strategies x io types: one for all reuse factors
    assert len(made.jobs["rtl"]) == 2 * 3 * 2  # fixed precisions x reuse factors x families of parts
    assert len(made.jobs["synth"]) == len(made.jobs["project"])


def test_one_network_under_two_names_shares_jobs_but_not_points(base: dict[str, Any]) -> None:
    base["networks"].append({**base["networks"][0], "name": "twin"})
    one, twin = plan(base).points
    assert all(getattr(one, stage) == getattr(twin, stage) for stage in STAGES)
    assert one.id != twin.id


def test_one_precision_under_two_names_shares_jobs_but_not_points(base: dict[str, Any]) -> None:
    one, twin = plan({**base, "precisions": [GIVEN, MIXED]}).points
    assert all(getattr(one, stage) == getattr(twin, stage) for stage in STAGES)
    assert one.id != twin.id


def test_a_point_keeps_its_id_when_axes_grow(base: dict[str, Any]) -> None:
    small = {point.id: point for point in plan(base).points}
    big = {point.id: point for point in plan({**base, **FULL}).points}
    assert small.items() <= big.items()


def test_ids_are_stable_from_run_to_run(base: dict[str, Any]) -> None:
    assert plan(base) == plan(base) and plan(base).id == plan(base).id


def test_the_digest_is_canonical() -> None:
    """Written down, because results on disk are found again by it."""
    assert digest("a", {"y": 1, "x": [None, 2.5]}) == digest("a", {"x": [None, 2.5], "y": 1})
    assert digest("simulate", 1, ["x"]) == hashlib.sha256(b'["simulate",1,["x"]]').hexdigest()[:16]


@pytest.mark.parametrize("axis", ["name", "energy_presets", "samples.csim", "stages.csim_timeout_s"])
def test_the_plan_has_a_new_id_for_every_change_of_the_configuration(base: dict[str, Any], axis: str) -> None:
    value = {row[0]: row[1] for row in DEPENDS}[axis]
    assert plan(base).id != plan(setting(base, axis, value)).id


def test_the_content_of_a_preset_of_ones_own_is_part_of_its_points(base: dict[str, Any]) -> None:
    """A changed file gives new points and runs no job again; sweep.json holds the figures as they were."""
    own = get_preset("zcu102").as_dict()
    made = []
    for mac in (3.2, 3.3, 3.2):
        Path("mine.yaml").write_text(json.dumps(own | {"mac_pj": mac}))
        made.append(plan({**base, "energy_presets": ["zcu102", "mine.yaml"]}))
        assert made[-1].as_dict()["energy_presets"]["mine"]["mac_pj"] == mac
    first, second, third = made
    assert [point.energy_preset for point in first.points] == ["zcu102", "mine"]
    assert first.points[0] == second.points[0]
    assert first.points[1].id != second.points[1].id and first.id != second.id
    assert first.jobs == second.jobs
    assert first == third


def test_a_preset_of_ones_own_cannot_take_another_ones_name(base: dict[str, Any]) -> None:
    Path("a").mkdir()
    for path in ("mine.yaml", "a/mine.yaml"):
        Path(path).write_text(json.dumps(get_preset("zcu102").as_dict()))
    with pytest.raises(ConfigError, match="'mine' is listed twice"):
        plan({**base, "energy_presets": ["mine.yaml", "a/mine.yaml"]})


def test_a_job_has_the_arguments_that_its_key_stands_for(base: dict[str, Any]) -> None:
    synth = {"flows": ["vitis", "open-rtl"], "place_and_route": True, "steps": ["synth", "vsynth"], "timeout_s": 60}
    synth["without_dsp"] = True
    made = plan({**base, "precisions": [MIXED], "stages": {"csim_timeout_s": 7}, "synth": synth})
    (simulate,), (project,), (csim,), (rtl,), (vitis,) = (made.jobs[stage].values() for stage in STAGES)
    common = ("net.nir", "--data=data.npz", "--encoding=current", "--steps=2")
    precision = simulate.arguments[4]
    assert precision.startswith("--precision={") and '"name": "mixed"' in precision
    rest = (precision, "--samples=5", "--calibration-samples=4", "--readout=count")
    assert simulate.arguments == (*common, *rest)
    assert csim.arguments[5:] == (
        "--samples=2",
        "--calibration-samples=4",
        "--strategy=Latency",
        "--io-type=io_parallel",
        "--timeout=7.0",
    )
    assert rtl.arguments[5:] == (
        *("--calibration-samples=4", "--reuse-factor=1", "--verify=5"),
        *("--count=xcup", "--count=xcup-nodsp", "--count=ecp5", "--timeout=60.0"),
    )
    assert vitis.arguments == ("--flow=vitis", "--step=synth", "--step=vsynth", "--timeout=60.0")
    assert (rtl.arguments[:5], project.arguments[:5]) == ((*common, precision),) * 2
    assert project.arguments[5:] == (
        *("--calibration-samples=4", "--reuse-factor=1", "--part=zcu102", "--clock-period=5.0"),
        *("--strategy=Latency", "--io-type=io_parallel"),
    )


def test_a_job_gets_the_labels_and_all_that_the_encoding_says(base: dict[str, Any]) -> None:
    base["networks"][0] |= {"labels": "y.npy", "encoding": {"kind": "rate", "seed": 9}}
    (simulate,) = plan(base).jobs["simulate"].values()
    assert "--labels=y.npy" in simulate.arguments
    (encoding,) = (own.removeprefix("--encoding=") for own in simulate.arguments if own.startswith("--encoding="))
    assert data.parse(encoding) == data.parse({"kind": "rate", "seed": 9})


def test_data_that_does_not_fit_the_network_is_said_before_anything_runs(base: dict[str, Any]) -> None:
    save_data(Path("data.npz"), x_test=np.zeros((6, 4)))
    with pytest.raises(ConfigError, match=r"data of shape \(4,\) a sample does not fit the input \(3,\)"):
        plan(base)


def test_too_many_steps_for_the_frames_are_said_before_anything_runs(base: dict[str, Any]) -> None:
    base["networks"][0] |= {"data": "frames.npz", "encoding": "frames", "timesteps": [5, 6]}
    with pytest.raises(ConfigError, match="6 steps are asked for, but the data has 5 frames a sample"):
        plan(base)


def test_files_that_are_no_networks_or_data_are_named(base: dict[str, Any]) -> None:
    Path("net.nir").write_text("no network")
    with pytest.raises(FormatError, match=r"net\.nir"):
        plan(base)
    ir.write("net.nir", graph())
    Path("data.npz").write_text("no data")
    with pytest.raises(FormatError, match=r"data\.npz"):
        plan(base)


def through_json(made: Plan) -> Plan:
    """The plan as a process reads it that did not make it."""
    return points.restore(json.loads(json.dumps(made.as_dict(), sort_keys=True)))


def test_the_plan_as_plain_data_has_all_that_points_and_jobs_are_made_of(base: dict[str, Any]) -> None:
    made = plan({**base, **FULL})
    plain = made.as_dict()
    assert spec.parse(plain["configuration"]) == made.spec
    assert plain["fingerprints"]["graphs"] == {"net": ir.read("net.nir").fingerprint}
    assert plain["stage_versions"] == STAGE_VERSIONS
    again = through_json(made)
    assert again == made and again.id == made.id
    assert list(again.points) == list(made.points)
    assert again.jobs == made.jobs


def test_a_plan_is_restored_after_all_its_files_are_gone(base: dict[str, Any]) -> None:
    """Graph, data, a preset and a calibration of one's own: whatever the plan was made of is in it."""
    Path("mine.yaml").write_text(json.dumps(get_preset("zcu102").as_dict() | {"mac_pj": 3.3}))
    calibration = Calibration(
        "made-up tool", {"lut": MetricCalibration("lut", 9, 1.5, 0.5, 2.0, (0.0,) * 5, 0.1, 0)}, {}
    )
    calibration.write(Path("c.json"))
    made = plan({**base, **FULL, "energy_presets": ["mine.yaml", "zcu102"], "calibration": "c.json"})
    expected = list(made.points), made.jobs, made.id
    for path in ("net.nir", "data.npz", "mine.yaml", "c.json"):
        Path(path).unlink()
    again = through_json(made)
    assert (list(again.points), again.jobs, again.id) == expected
    assert again.presets == made.presets and again.presets["mine.yaml"].mac_pj == 3.3
    assert again.calibration == calibration
    assert through_json(again).id == made.id


def test_a_restored_plan_knows_which_precisions_find_scales(base: dict[str, Any]) -> None:
    """A node that brings the bits of its results along makes keys depend on data where others do not."""
    nodes = graph().nodes
    ones = np.ones((2, 3), np.float32)
    nodes = nodes | {"fc": ir.SpikingAffine(ones, np.zeros(2, np.float32))}
    ir.write("net.t1c", ir.Graph(nodes, list(itertools.pairwise(nodes))))
    base["networks"][0]["graph"] = "net.t1c"
    made = plan({**base, "precisions": [GIVEN, "int8"]})
    assert made.networks["net"].bringing
    assert through_json(made).networks == made.networks
    assert list(through_json(made).points) == list(made.points)


# --- the sequence of points ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> spec.SweepSpec:
    """96 points: two networks of 2 and 1 numbers of steps, x 2 precisions, 8 designs and 2 presets."""
    folder = tmp_path_factory.mktemp("space")
    save_data(folder / "data.npz")
    ir.write(folder / "net.nir", graph())
    ir.write(folder / "other.nir", graph(weight=0.125))
    network = {"name": "net", "graph": str(folder / "net.nir"), "data": str(folder / "data.npz"), "timesteps": [2, 3]}
    other = {**network, "name": "other", "graph": str(folder / "other.nir"), "timesteps": 2}
    hardware = {"clock_period_ns": [5.0, 10.0], "strategy": ["Latency", "Resource"]}
    axes = {"precisions": ["fp32", GIVEN], "reuse_factors": [1, 4], "energy_presets": ["zcu102", "neuromorphic_int8"]}
    return spec.parse({"name": "space", "networks": [network, other], "hardware": hardware, **axes})


@pytest.fixture(scope="module")
def sequence(space: spec.SweepSpec) -> tuple[Points, list[Point]]:
    """The points of ``space`` as they are made when they are asked for, and one after another."""
    return points.plan(space).points, list(points.plan(space).points)


@given(drawn=st.data())
def test_points_are_a_sequence_like_a_list_of_them(sequence: tuple[Points, list[Point]], drawn: st.DataObject) -> None:
    found, expected = sequence
    assert len(found) == len(expected) == 96
    bound = st.none() | st.integers(-120, 120)
    part = slice(drawn.draw(bound), drawn.draw(bound), drawn.draw(st.none() | st.integers(-7, 7).filter(bool)))
    assert found[part] == expected[part]
    number = drawn.draw(st.integers(-96, 95))
    assert found[number] == expected[number]
    first = drawn.draw(st.integers(0, 96))
    last = drawn.draw(st.integers(first, 96))
    assert list(found.between(first, last)) == expected[first:last]


@pytest.mark.parametrize("number", [96, -97])
def test_there_is_no_point_beyond_the_last(sequence: tuple[Points, list[Point]], number: int) -> None:
    with pytest.raises(IndexError):
        sequence[0][number]


def test_every_point_has_the_network_of_its_number(sequence: tuple[Points, list[Point]]) -> None:
    found, _ = sequence
    for number, point in enumerate(found):
        assert found.network(number) == point.network


@settings(max_examples=25)
@given(chosen=st.lists(st.integers(0, 95), unique=True, min_size=1), drawn=st.data())
def test_what_is_chosen_are_exactly_those_points_and_their_jobs(
    space: spec.SweepSpec, sequence: tuple[Points, list[Point]], chosen: list[int], drawn: st.DataObject
) -> None:
    """In the order of the whole space, whatever the order of the choice; with the ids that they have there."""
    made = points.plan(space, chosen)
    expected = [sequence[1][number] for number in sorted(chosen)]
    assert list(made.points) == expected and len(made.points) == len(chosen)
    first = drawn.draw(st.integers(0, len(chosen)))
    last = drawn.draw(st.integers(first, len(chosen)))
    assert made.points[first:last] == expected[first:last]
    for stage in STAGES:
        assert set(made.jobs[stage]) == {getattr(point, stage) for point in expected} - {None}
        for point in expected:
            if (key := getattr(point, stage)) is not None:
                assert made.jobs[stage].network(key) == point.network
                assert (made.jobs[stage][key].key, made.jobs[stage][key].stage) == (key, stage)
    again = through_json(made)
    assert again == made and again.id == made.id and list(again.points) == expected
    assert made.id != points.plan(space).id


def test_a_precision_that_names_a_node_that_is_not_there_is_said_before_anything_runs(base: dict[str, Any]) -> None:
    mixed = {**MIXED, "nodes": {"nowhere": {"weight": "int4"}}}
    with pytest.raises(ConfigError, match="precision 'mixed' names node 'nowhere', which network 'net' does not have"):
        plan({**base, "precisions": [mixed]})
