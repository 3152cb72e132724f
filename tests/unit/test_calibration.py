"""Calibration: the scale and the spread that made-up measurements were made with are found again.

Every measurement here is made up by a formula and a random number generator; none was measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from talon_lib import cli
from talon_lib.cost.calibration import (
    COVERAGE,
    ESTIMATES,
    LEAST_ROWS,
    MEASURED,
    METRICS,
    MetricCalibration,
    calibrate,
    lines,
    load,
    read_table,
)
from talon_lib.errors import ConfigError, FormatError
from talon_lib.sweep import table as tables
from talon_lib.sweep.schema import SCHEMA

MADE_UP = "made-up"


def table(n: int = 40, scale: float = 1.7, spread: float = 0.1, seed: int = 0) -> pd.DataFrame:
    """Designs whose made-up measurements are the estimates times a log-normal factor of that median and spread."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {"measurement_source": [MADE_UP] * n}
    for name in METRICS:
        estimates = rng.integers(10, 100_000, n).astype(float)
        columns[ESTIMATES[name]] = estimates
        columns[name] = estimates * scale * np.exp(rng.normal(0, spread, n))
    return pd.DataFrame(columns)


@given(st.floats(0.01, 100), st.integers(LEAST_ROWS, 50))
def test_an_exact_scale_is_found_without_an_error(scale: float, n: int) -> None:
    found = calibrate(table(n, scale, spread=0))
    assert set(found.metrics) == set(METRICS)
    for own in found.metrics.values():
        assert (own.n, own.excluded) == (n, 0)
        assert (own.scale, own.low, own.high) == pytest.approx((scale, scale, scale))
        assert own.errors == pytest.approx((0,) * 5, abs=1e-9)
        assert own.interval(100) == pytest.approx((100 * scale, 100 * scale))


def test_the_spread_of_the_measurements_becomes_the_interval() -> None:
    own = calibrate(table(4000, scale=2.0, spread=0.2)).metrics["lut"]
    # quantiles of the log-normal distribution that the numbers were drawn from
    assert own.scale == pytest.approx(2.0, rel=0.02)
    assert (own.low, own.high) == pytest.approx((2 * np.exp(-0.2 * 1.645), 2 * np.exp(0.2 * 1.645)), rel=0.03)
    assert own.errors[2] == pytest.approx(0, abs=1e-4)
    assert own.median_absolute_error == pytest.approx(0.2 * 0.6745, rel=0.1)


def test_the_interval_holds_the_share_of_designs_that_it_says() -> None:
    rows = table(500, spread=0.5)
    own = calibrate(rows).metrics["ff"]
    inside = [
        low <= m <= high for m, (low, high) in zip(rows["ff"], map(own.interval, rows["ff_estimate"]), strict=True)
    ]
    assert np.mean(inside) == pytest.approx(COVERAGE, abs=0.01)


def test_a_few_wild_designs_do_not_move_the_scale() -> None:
    rows = table(41, scale=1.5, spread=0.05)
    wild = rows.copy()
    wild.loc[:3, "dsp"] *= 1000
    assert calibrate(wild).metrics["dsp"].scale == pytest.approx(calibrate(rows).metrics["dsp"].scale, rel=0.05)


def test_too_few_designs_are_refused_with_how_many_there_are() -> None:
    with pytest.raises(ConfigError) as refused:
        calibrate(table(LEAST_ROWS - 1))
    assert str(refused.value) == (
        "too few designs with a measurement and an estimate above 0 "
        "(lut 7, ff 7, dsp 7, bram 7, latency_cycles 7); a metric needs 8 or more"
    )


def test_a_metric_with_too_few_designs_is_skipped_and_said() -> None:
    rows = table(20)
    rows.loc[5:, "latency_cycles"] = np.nan
    rows = rows.drop(columns="bram_estimate")
    found = calibrate(rows)
    assert set(found.metrics) == {"lut", "ff", "dsp"}
    assert found.skipped == {"latency_cycles": 5}


def test_designs_with_a_zero_on_one_side_alone_are_counted_and_not_used() -> None:
    rows = table(20)
    rows.loc[0, "dsp"] = 0.0
    rows.loc[1, "dsp_estimate"] = 0.0
    rows.loc[2, ["dsp", "dsp_estimate"]] = 0.0
    own = calibrate(rows).metrics["dsp"]
    assert (own.n, own.excluded) == (17, 2)


def test_measurements_of_several_tools_are_not_mixed() -> None:
    rows = pd.concat(
        [table(20, scale=1.0, spread=0), table(20, scale=3.0, spread=0).assign(measurement_source="other")]
    )
    with pytest.raises(ConfigError, match="several tools; choose one with --source: made-up, other"):
        calibrate(rows)
    assert calibrate(rows, "other").metrics["lut"].scale == pytest.approx(3)
    with pytest.raises(ConfigError, match="no row has measurement_source 'vitis'; there are: made-up, other"):
        calibrate(rows, "vitis")


def test_rows_of_one_design_count_once() -> None:
    rows = table(LEAST_ROWS - 1)
    presets = pd.concat([rows.assign(energy_preset=name, nodes=[[1]] * len(rows)) for name in "abc"])
    with pytest.raises(ConfigError, match=r"\(lut 7, "):
        calibrate(presets)


def test_rows_without_a_source_hold_no_measurement() -> None:
    rows = table(20)
    rows.loc[10:, "measurement_source"] = None
    assert calibrate(rows).metrics["lut"].n == 10
    with pytest.raises(ConfigError, match="too few designs"):
        calibrate(rows.assign(measurement_source=None))


def test_a_table_without_the_columns_says_which_it_needs() -> None:
    for rows in (pd.DataFrame(), table().drop(columns="measurement_source"), table()[["measurement_source", "lut"]]):
        with pytest.raises(ConfigError, match="the table needs the column measurement_source and at least one pair"):
            calibrate(rows)


def test_numbers_below_zero_and_text_are_refused_by_column() -> None:
    with pytest.raises(ConfigError, match="column lut or lut_estimate holds a number below 0"):
        calibrate(table().assign(lut=-1.0))
    with pytest.raises(ConfigError, match="column ff must hold numbers"):
        calibrate(table().assign(ff="many"))


# --- a sweep's table -------------------------------------------------------------------------------------------------

FLOWS = {"open-rtl": 2.0, "vitis": 3.0}


def swept(n: int = 20) -> pd.DataFrame:
    """Rows of a sweep in which both flows measured every design, each at its own scale of its own estimates."""
    rng = np.random.default_rng(1)
    columns: dict[str, Any] = {"status": ["ok"] * n}
    for flow, scale in FLOWS.items():
        columns[MEASURED[flow].source] = [f"made-up {flow}"] * n
        for measurement, estimate in MEASURED[flow].pairs.values():
            columns[estimate] = rng.integers(10, 100_000, n).astype(float)
            columns[measurement] = columns[estimate] * scale
    return pd.DataFrame(columns)


@pytest.mark.parametrize(("flow", "of"), [("open-rtl", "open-rtl"), ("vitis", "hls4ml")])
def test_each_flow_of_a_sweep_is_held_against_its_own_estimates(flow: str, of: str) -> None:
    found = calibrate(swept(), flow=flow)
    assert (found.source, found.flow, set(found.metrics)) == (f"made-up {flow}", of, set(METRICS))
    for own in found.metrics.values():
        assert (own.n, own.scale, own.low, own.high) == pytest.approx((20, *[FLOWS[flow]] * 3))


def test_the_columns_of_the_flows_are_those_of_a_sweep() -> None:
    for flow in FLOWS:
        columns = [name for pair in MEASURED[flow].pairs.values() for name in pair]
        assert {MEASURED[flow].source, *columns} <= set(SCHEMA.names)


def test_rows_that_are_not_ok_are_left_out() -> None:
    rows = swept()
    rows.loc[12:, "status"] = ["failed", "timeout", "unsupported", "failed"] * 2
    rows.loc[12:, ["open_rtl_lut", "vitis_lut"]] = 1e9  # what differs from the simulation is another design
    for flow, scale in FLOWS.items():
        own = calibrate(rows, flow=flow).metrics["lut"]
        assert (own.n, own.high) == pytest.approx((12, scale))
    assert calibrate(table(20).assign(status=["ok"] * 9 + ["failed"] * 11)).metrics["lut"].n == 9


def test_counts_for_several_families_are_not_mixed() -> None:
    rows = swept(20)
    rows["open_rtl_source"] = ["yosys-1 xc7"] * 10 + ["yosys-1 xcup"] * 10
    with pytest.raises(ConfigError, match="several tools; choose one with --source: yosys-1 xc7, yosys-1 xcup"):
        calibrate(rows, flow="open-rtl")
    assert calibrate(rows, "yosys-1 xcup", "open-rtl").metrics["ff"].n == 10


def test_the_table_of_a_large_sweep_is_a_folder_and_calibrates_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {field.name: "x" if field.type == pa.string() else 1 for field in SCHEMA if not field.nullable}
    rows = [others | row | {"network": "ab"[n // 15]} for n, row in enumerate(swept(20).to_dict("records"))]
    part = tmp_path / "part"
    tables.write_part(rows, part)
    said = []
    for limit, name in ((100, "file"), (4, "folder")):
        monkeypatch.setattr(tables, "ROWS_IN_ONE_FILE", limit)
        monkeypatch.setattr(tables, "_ROW_GROUP", 4)
        path = tmp_path / f"{name}.parquet"
        tables.merge([part], path, len(rows))
        assert path.is_dir() == (name == "folder")
        given = ["calibrate", str(path), "--flow=vitis", f"--output={tmp_path / name}.json"]
        said.append(CliRunner().invoke(cli.cli, given, catch_exceptions=False).stdout)
    assert said[0] == said[1] and "made-up vitis" in said[0]
    assert (tmp_path / "file.json").read_bytes() == (tmp_path / "folder.json").read_bytes()
    next(path.glob("*/*.parquet")).unlink()
    with pytest.raises(FormatError, match=r"folder\.parquet: files of it are missing"):
        CliRunner().invoke(cli.cli, given, catch_exceptions=False)


def test_a_flow_that_is_not_there_is_said() -> None:
    with pytest.raises(ConfigError, match="unknown flow 'vhdl'; there are: open-rtl, vitis"):
        calibrate(swept(), flow="vhdl")
    with pytest.raises(
        ConfigError, match=r"needs the column open_rtl_source and at least one pair .*: open_rtl_lut and"
    ):
        calibrate(table(), flow="open-rtl")
    with pytest.raises(ConfigError, match=r"needs the column measurement_source .*: --flow open-rtl or --flow vitis"):
        calibrate(swept())


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    routed = calibrate(swept(), flow="open-rtl")
    routed.write(tmp_path / "c.json")
    assert load(tmp_path / "c.json") == routed
    found = calibrate(table())
    found.write(tmp_path / "c.json")
    assert load(tmp_path / "c.json") == found
    assert found.describe() == "90% of 40 designs of made-up"
    assert len({len(line) for line in lines(found)}) == 1


@pytest.mark.parametrize(
    "break_it",
    [
        lambda c: c | {"format": "x"},
        lambda c: c | {"metrics": []},
        lambda c: {k: v for k, v in c.items() if k != "source"},
        lambda c: c | {"metrics": {"lut": c["metrics"]["lut"] | {"scale": -1}}},
        lambda c: c | {"metrics": {"lut": c["metrics"]["lut"] | {"low": 9.0, "high": 1.0}}},
        lambda c: c | {"metrics": {"lut": c["metrics"]["ff"]}},
        lambda c: c | {"metrics": {"lut": {}}},
        lambda c: c | {"flow": "vhdl"},
        lambda c: c | {"flow": ["open-rtl"]},
        lambda c: [],
    ],
)
def test_a_file_that_is_no_calibration_is_named(tmp_path: Path, break_it: Any) -> None:
    path = tmp_path / "c.json"
    calibrate(table()).write(path)
    path.write_text(json.dumps(break_it(json.loads(path.read_text()))))
    with pytest.raises(FormatError, match=r"c\.json: not a calibration; talon-dse calibrate writes one"):
        load(path)
    with pytest.raises(FormatError, match=r"none\.json: No such file or directory; talon-dse calibrate writes it"):
        load(tmp_path / "none.json")


def test_a_calibration_of_before_there_was_another_flow_is_of_hls4ml(tmp_path: Path) -> None:
    content = calibrate(table()).as_dict()
    assert content.pop("flow") == "hls4ml"
    (tmp_path / "c.json").write_text(json.dumps(content))
    assert load(tmp_path / "c.json") == calibrate(table())


def test_tables_are_read_by_their_suffix(tmp_path: Path) -> None:
    rows = table(10)
    rows.to_csv(tmp_path / "t.csv", index=False)
    rows.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        assert calibrate(read_table(tmp_path / name)) == calibrate(rows)
    for name, content, message in (
        ("t.xlsx", "", "must end in .parquet or .csv"),
        ("n.parquet", "no", "cannot be read as parquet"),
        ("n.csv", "", "cannot be read as csv"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(FormatError, match=message):
            read_table(tmp_path / name)
    with pytest.raises(FormatError, match="there is no such file"):
        read_table(tmp_path / "none.csv")


def test_a_calibration_of_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigError, match="calibration of 'power'"):
        MetricCalibration("power", 9, 1.0, 1.0, 1.0, (0.0,) * 5, 0.0, 0)


# --- the verb --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", FLOWS)
def test_a_sweep_takes_a_calibration_of_its_own_estimates_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flow: str
) -> None:
    swept().to_parquet(tmp_path / "t.parquet")
    code, out, err = run(monkeypatch, capsys, tmp_path / "t.parquet", "--flow", flow, "--output", tmp_path / "c.json")
    assert (code, err) == (0, "") and out.startswith(f"measurements of made-up {flow}; ")
    graph, data = (Path(__file__).parents[2] / "configs" / name for name in ("graphs/digits.nir", "data/digits.npz"))
    (tmp_path / "sweep.yaml").write_text(
        f"name: x\ncalibration: {tmp_path / 'c.json'}\nprecisions: [int8]\n"
        f"networks: [{{name: digits, graph: {graph}, data: {data}, timesteps: 2}}]\n"
    )
    monkeypatch.setattr("sys.argv", ["talon-dse", "plan", str(tmp_path / "sweep.yaml"), f"--output={tmp_path / 'p'}"])
    if flow == "vitis":
        cli.main()
        assert json.loads((tmp_path / "p").read_text())["calibration"]["source"] == "made-up vitis"
        return
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1) and not (tmp_path / "p").exists()
    assert "c.json is of the estimates of open-rtl, and a sweep's intervals are of those of hls4ml" in err


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["talon-dse", "calibrate", *map(str, arguments)])
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


def test_the_verb_prints_the_errors_and_writes_what_a_sweep_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table(20, scale=2.0, spread=0).drop(columns="bram")
    rows.loc[3:, "dsp"] = np.nan
    rows.to_csv(tmp_path / "t.csv", index=False)
    code, out, err = run(monkeypatch, capsys, tmp_path / "t.csv", "--output", tmp_path / "c.json")
    assert (code, err) == (0, "")
    first, head, *body = out.splitlines()
    assert first.startswith("measurements of made-up; ")
    assert [line.split()[:3] for line in body[:3]] == [[name, "20", "2"] for name in ("lut", "ff", "latency_cycles")]
    assert body[3:] == ["dsp: 3 designs, too few (a metric needs 8)"]
    assert head.split()[0] == "metric"
    assert load(tmp_path / "c.json").metrics["lut"].scale == pytest.approx(2)


def test_the_verb_refuses_too_few_designs_in_one_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table(3).to_csv(tmp_path / "t.csv", index=False)
    code, out, err = run(monkeypatch, capsys, tmp_path / "t.csv", "--output", tmp_path / "c.json")
    assert (code, out) == (2, "")
    assert err.startswith("talon-dse: too few designs") and err.count("\n") == 1
    assert not (tmp_path / "c.json").exists()
