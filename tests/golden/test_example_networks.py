"""The shipped networks and the example sweep keep what the README says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from talon_lib.cost.preset import presets
from talon_lib.sweep import points, spec, stages

ROOT = Path(__file__).parents[2]
NETWORKS = {
    "digits": ("current", 8),
    "digits_conv": ("current", 8),
    "digits_cuba": ("current", 8),
    "vowels": ("frames", 29),
}
DATA = {"digits_conv": "digits", "digits_cuba": "digits"}
LEAST = {"digits": 0.95, "digits_conv": 0.96, "digits_cuba": 0.95, "vowels": 0.90}
FP32 = {
    "digits": (441, 450),
    "digits_conv": (438, 450),
    "digits_cuba": (440, 450),
    "vowels": (361, 370),
}  # right, of all test samples (configs/README.md)


def work(name: str, samples: int | None = None) -> stages.Workload:
    encoding, steps = NETWORKS[name]
    graph, data = ROOT / f"configs/graphs/{name}.nir", ROOT / f"configs/data/{DATA.get(name, name)}.npz"
    return stages.workload(graph, data, encoding, steps, samples, 128)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> str:
    return request.param


def test_accuracy_in_fp32_is_what_is_written(network: str) -> None:
    right, of = FP32[network]
    found = stages.simulate(work(network), "fp32", "count")
    assert (found["samples"], round(found["accuracy"] * of)) == (of, right)
    assert found["accuracy"] >= LEAST[network]


def test_int8_loses_at_most_a_point(network: str) -> None:
    right, of = FP32[network]
    assert stages.simulate(work(network), "int8", "count")["accuracy"] >= right / of - 0.01


def test_few_bits_hurt(network: str) -> None:
    right, of = FP32[network]
    assert stages.simulate(work(network), "int2", "count")["accuracy"] < right / of - 0.05


@pytest.mark.parametrize("precision", ["int8", "ap_fixed<16,6>"])
def test_hardware_is_equal(network: str, precision: str) -> None:
    found = stages.csim(work(network, samples=10), precision, "io_parallel", "Resource", 600.0)
    assert found["equal"], found["difference"]
    assert found["samples"] == 10


def test_the_example_sweep_has_the_points_that_the_issue_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    plan = points.plan(spec.load("configs/digits.yaml"))
    assert len(plan.spec.networks) >= 2
    assert len(plan.spec.precisions) >= 5
    assert len(plan.spec.reuse_factors) >= 3
    assert set(plan.spec.energy_presets) == set(presets())
    assert len(plan.points) >= 180
    fixed = [p for p in plan.points if p.precision != "fp32"]
    assert all(p.csim and p.project for p in fixed)


def test_the_large_sweep_has_a_hundred_thousand_points_of_four_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    plan = points.plan(spec.load("configs/large.yaml"))
    assert len({network.graph for network in plan.networks.values()}) == 4  # by what is in the files
    assert len(plan.points) == 100_000
    assert not (plan.spec.stages.project or plan.spec.stages.csim)
