"""The analytic columns of the table: every axis that should matter moves them, and they say where they are from."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from talon_lib import ir
from talon_lib.cost.calibration import Calibration, MetricCalibration
from talon_lib.cost.devices import RESOURCES, devices
from talon_lib.simulate import bind_graph
from talon_lib.sweep.estimates import estimate_columns, sizes
from talon_lib.sweep.schema import GROUPS

POINT: dict[str, Any] = {
    "reuse_factor": 5,
    "strategy": "Resource",
    "io_type": "io_parallel",
    "clock_period_ns": 5.0,
    "timesteps": 4,
    "part": "zcu102",
}


def network(feedback: bool = False) -> ir.Graph:
    ones = np.ones(32, np.float32)
    nodes = {
        "input": ir.Input((6,)),
        "fc": ir.Affine(np.full((32, 6), 0.5, np.float32), None),
        "lif": ir.LIF(tau=2 * ones, r=ones, v_leak=0 * ones, v_threshold=ones),
        "fc2": ir.Affine(np.full((64, 32), 0.5, np.float32), None),
        "output": ir.Output((64,)),
    }
    edges = list(itertools.pairwise(nodes))
    if feedback:
        nodes["back"] = ir.Affine(np.full((32, 32), 0.5, np.float32), None)
        edges += [("lif", "back"), ("back", "lif")]
    return ir.Graph(nodes, edges, allow_cycles=feedback)


def columns(
    precision: str = "ap_fixed<16,6>",
    effective: dict[str, int] | None = None,
    calibration: Calibration | None = None,
    graph: ir.Graph | None = None,
    **changes: Any,
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    graph = graph or network()
    hardware = json.loads(json.dumps(sizes(graph, bind_graph(graph, precision))))  # as a result file keeps it
    nodes: dict[str, dict[str, Any]] = {name: {"node": name} for name in ("fc", "lif", "fc2")}
    return estimate_columns(POINT | changes, hardware, effective or {}, calibration, nodes), nodes


def test_all_columns_of_the_group_are_filled_and_no_other() -> None:
    found, _ = columns()
    assert set(found) == {field.name for field in GROUPS["estimate"]}
    assert None not in found.values()


def test_the_effective_reuse_factors_stand_beside_the_one_asked_for() -> None:
    found, nodes = columns()
    assert (found["effective_reuse_least"], found["effective_reuse_most"]) == (4, 6)  # of 6 x 32 and of 32 x 64
    assert {name: own["effective_reuse_factor"] for name, own in nodes.items()} == {"fc": 6, "lif": 5, "fc2": 4}
    assert columns(strategy="Latency")[0]["effective_reuse_most"] == 5


def test_what_hls4ml_reports_wins() -> None:
    found, nodes = columns(effective={"fc": 2})
    assert nodes["fc"]["effective_reuse_factor"] == found["effective_reuse_least"] == 2


def test_resources_are_those_of_the_nodes_and_shares_of_the_part() -> None:
    found, nodes = columns()
    for name in RESOURCES:
        assert found[f"{name}_estimate"] == sum(own[f"{name}_estimate"] for own in nodes.values())
        share = found[f"{name}_estimate"] / devices()["xczu9eg"].available(name)
        assert found[f"{name}_utilisation"] == pytest.approx(share)
    shares = {name: found[f"{name}_utilisation"] for name in RESOURCES}
    assert found["limiting_resource"] == max(shares, key=lambda name: shares[name])
    assert found["fits"] is True


def test_a_smaller_part_may_not_hold_it() -> None:
    shared, _ = columns(reuse_factor=32, part="pynq_z2")
    assert shared["fits"] is True
    wide, _ = columns(reuse_factor=1, part="pynq_z2")
    assert (wide["fits"], wide["limiting_resource"]) == (False, "lut")
    assert wide["lut_utilisation"] > 1 > shared["lut_utilisation"]


@pytest.mark.parametrize(
    ("axis", "value", "moved"),
    [
        ("precision", "ap_fixed<8,4>", {"lut_estimate", "ff_estimate", "bram_estimate"}),
        ("reuse_factor", 32, {"multipliers", "lut_estimate", "dsp_estimate", "cycles_per_step", "latency_us"}),
        ("strategy", "Latency", {"bram_estimate", "interval_cycles", "effective_reuse_most"}),
        ("clock_period_ns", 10.0, {"latency_us"}),
        ("timesteps", 8, {"cycles_per_sample", "latency_us"}),
        ("part", "pynq_z2", {"lut_utilisation", "dsp_utilisation"}),
    ],
)
def test_every_axis_that_should_matter_does(axis: str, value: Any, moved: set[str]) -> None:
    one, (other, _) = columns()[0], columns(**{axis: value})
    changed = {name for name in one if one[name] != other[name]}
    assert moved <= changed
    if axis in ("clock_period_ns", "timesteps"):
        assert changed == moved  # no circuit differs


def test_a_part_that_is_not_in_the_table_has_no_shares() -> None:
    found, _ = columns(part="xczu99eg-x")
    assert found["dsp_estimate"] == columns()[0]["dsp_estimate"]
    assert not {"fits", "limiting_resource", "dsp_utilisation"} & set(found)


def test_what_hls4ml_cannot_hold_has_no_estimate() -> None:
    found, nodes = columns(graph=network(feedback=True))
    assert found == {}
    assert all(list(own) == ["node"] for own in nodes.values())


def test_estimates_carry_an_interval_once_they_are_calibrated() -> None:
    dsp = MetricCalibration("dsp", 9, 1.5, 1.0, 3.0, (0.0,) * 5, 0.1, 0)
    cycles = MetricCalibration("latency_cycles", 12, 2.0, 1.5, 2.5, (0.0,) * 5, 0.1, 0)
    found, _ = columns(calibration=Calibration("made-up", {"dsp": dsp, "latency_cycles": cycles}, {"lut": 3}))
    plain, _ = columns()
    assert {name: found[name] for name in plain} == plain  # the estimates stay what they were
    assert (found["dsp_low"], found["dsp_high"]) == (found["dsp_estimate"], 3.0 * found["dsp_estimate"])
    assert found["latency_cycles_high"] == 2.5 * found["cycles_per_step"]
    assert found["calibration_source"] == "90% of 9 to 12 designs of made-up"
    assert set(found) - set(plain) <= {field.name for field in GROUPS["calibration"]}


def test_the_source_says_that_it_is_analytic() -> None:
    assert columns()[0]["estimate_source"] == "analytic: first-order hls4ml mapping"
