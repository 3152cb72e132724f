"""Estimates through a whole sweep, from configuration to table and report: what each axis moves, and calibration."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from talon_lib import cli, ir
from talon_lib.cost.calibration import ESTIMATES, Calibration, MetricCalibration
from talon_lib.report.html import render
from talon_lib.sweep import collect, points, spec, table
from talon_lib.sweep.schema import GROUPS

DOCS = Path(__file__).parents[2] / "docs/estimates.md"

AXES: dict[str, list[Any]] = {
    "timesteps": [2, 3],
    "precision": ["int4", "ap_fixed<26,8>"],
    "reuse_factor": [1, 9, 19],
    "part": ["zcu102", "xc7a100tcsg324-1"],
    "clock_period_ns": [5.0, 10.0],
    "strategy": ["Latency", "Resource"],
    "io_type": ["io_parallel", "io_stream"],
}

COLUMNS = [field.name for field in GROUPS["estimate"] if field.name != "estimate_source"]
COLUMNS += ["weight_memory_bytes", "state_memory_bytes"]


def network() -> ir.Graph:
    """A convolution and a dense layer, each with neurons behind it; some weights are 0."""
    rng = np.random.default_rng(3)

    def lif(*shape: int) -> ir.LIF:
        ones = np.ones(shape, np.float32)
        return ir.LIF(tau=2 * ones, r=ones, v_leak=0.125 * ones, v_threshold=0.5 * ones)

    weight = rng.normal(0, 0.5, (4, 2, 3, 3)).astype(np.float32)
    weight[0] = 0
    nodes = {
        "input": ir.Input((2, 12, 12)),
        "conv": ir.Conv2d(weight, np.zeros(4, np.float32)),
        "lif1": lif(4, 10, 10),
        "flatten": ir.Flatten(),
        "fc": ir.Affine(rng.normal(0, 0.1, (10, 400)).astype(np.float32), None),
        "lif2": lif(10),
        "output": ir.Output((10,)),
    }
    return ir.Graph(nodes, list(itertools.pairwise(nodes)))


def swept(folder: Path, **changes: Any) -> tuple[Any, dict[str, Any]]:
    """Table and plan of a sweep of ``network()``, without projects and C simulation."""
    rng = np.random.default_rng(4)
    ir.write(folder / "net.nir", network())
    np.save(folder / "x.npy", rng.uniform(-1, 1, (5, 2, 12, 12)))
    given = {"name": "net", "graph": str(folder / "net.nir"), "data": str(folder / "x.npy"), "timesteps": 2}
    values = {"name": "axes", "networks": [given], "precisions": ["int8"]} | changes
    plan = points.plan(spec.parse({**values, "stages": {"project": False, "csim": False}}))
    for key, job in plan.jobs["simulate"].items():
        done = CliRunner().invoke(cli.cli, ["simulate", *job.arguments, f"--output={folder / 'simulate' / key}.json"])
        assert done.exit_code == 0, done.output
    collect.collect(plan, folder, folder / "m.parquet")
    return table.read(folder / "m.parquet"), plan.as_dict()


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("axes")
    given = {"name": "net", "graph": str(folder / "net.nir"), "data": str(folder / "x.npy")}
    made, _ = swept(
        folder,
        networks=[given | {"timesteps": AXES["timesteps"]}],
        precisions=AXES["precision"],
        reuse_factors=AXES["reuse_factor"],
        hardware={axis: AXES[axis] for axis in ("part", "clock_period_ns", "strategy", "io_type")},
    )
    frame: pd.DataFrame = made.to_pandas()
    assert len(frame) == np.prod([len(values) for values in AXES.values()]) and (frame["status"] == "ok").all()
    assert not frame[COLUMNS].isna().any().any()
    return frame


def moved(rows: pd.DataFrame, axis: str) -> set[str]:
    """Columns that differ anywhere between rows that differ in ``axis`` alone."""
    groups = rows.groupby([other for other in AXES if other != axis])
    return {name for name in COLUMNS if (groups[name].nunique() > 1).any()}


def documented(axis: str) -> set[str]:
    """Columns that docs/estimates.md says an axis moves."""
    row = re.search(rf"^\| `{axis}` \| (.*) \|", DOCS.read_text(), re.MULTILINE)
    assert row is not None, f"docs/estimates.md says nothing of {axis}"
    return set(re.findall(r"`(\w+)`", row[1]))


@pytest.mark.parametrize("axis", AXES)
def test_an_axis_moves_the_columns_that_are_documented_and_no_others(rows: pd.DataFrame, axis: str) -> None:
    assert moved(rows, axis) == documented(axis)


def test_every_column_is_moved_by_some_axis(rows: pd.DataFrame) -> None:
    assert set().union(*(documented(axis) for axis in AXES)) == set(COLUMNS)


FACTORS = {"lut": (0.5, 2.0), "ff": (0.75, 1.5), "dsp": (1.0, 1.25), "bram": (0.25, 4.0), "latency_cycles": (1.0, 1.5)}


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    metrics = {
        name: MetricCalibration(name, 12, 1.1, low, high, (0.0,) * 5, 0.1, 0) for name, (low, high) in FACTORS.items()
    }
    Calibration("made-up tool", metrics, {}).write(tmp_path / "c.json")
    return tmp_path / "c.json"


def test_a_sweep_that_names_a_calibration_has_intervals_in_table_and_report(tmp_path: Path, calibration: Path) -> None:
    made, plan = swept(tmp_path, calibration=str(calibration))
    for row in made.to_pylist():
        for name, column in ESTIMATES.items():
            low, high = (factor * row[column] for factor in FACTORS[name])
            assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx((low, high))
        assert row["calibration_source"] == "90% of 12 designs of made-up tool"
    page = render(made, plan)
    assert "90% of 12 designs of made-up tool" in shown(page)
    row = made.to_pylist()[0]
    assert f"{row['lut_low']:,.0f} to {row['lut_high']:,.0f}" in page


def test_without_a_calibration_the_intervals_are_empty_and_the_report_says_so(tmp_path: Path) -> None:
    made, plan = swept(tmp_path)
    names = [field.name for field in GROUPS["calibration"]]
    assert len(names) == 2 * len(ESTIMATES) + 1
    assert all(row[name] is None for row in made.to_pylist() for name in names)
    assert "Not calibrated" in shown(render(made, plan))


def shown(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory; talon-dse calibrate writes it"),
        ("{", "not a calibration; talon-dse calibrate writes one"),
        ('{"format": "talon-dse calibration 1", "source": "x", "metrics": {"lut": {}}, "skipped": {}}', "not a calib"),
    ],
)
def test_a_calibration_that_cannot_be_read_stops_the_plan_in_one_line(
    tmp_path: Path,
    content: str | None,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    swept(tmp_path)  # the network and its data
    if content is not None:
        (tmp_path / "c.json").write_text(content)
    (tmp_path / "sweep.yaml").write_text(
        f"name: axes\ncalibration: {tmp_path / 'c.json'}\nprecisions: [int8]\n"
        f"networks: [{{name: net, graph: {tmp_path / 'net.nir'}, data: {tmp_path / 'x.npy'}, timesteps: 2}}]\n"
    )
    monkeypatch.setattr("sys.argv", ["talon-dse", "plan", str(tmp_path / "sweep.yaml")])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert err.startswith("talon-dse: ") and err.count("\n") == 1 and "c.json" in err and message in err
