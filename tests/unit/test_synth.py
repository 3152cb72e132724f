"""talon-dse synth and ingest: a project to an envelope, and finished projects to rows that calibrate reads."""

import contextlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from talon_lib import cli, ir
from talon_lib.cost import calibration
from talon_lib.errors import ConfigError
from talon_lib.sweep import ingest as ingesting
from talon_lib.sweep import stages

MOCKS = Path(__file__).parent.parent / "mock_tools"


@pytest.fixture
def mocks(monkeypatch):
    monkeypatch.setenv("PATH", f"{MOCKS}:/usr/bin:/bin")
    for variable in ("XILINX_VITIS", "XILINX_HLS", "XILINX_VIVADO", "MOCK_VITIS", "MOCK_VIVADO"):
        monkeypatch.delenv(variable, raising=False)


def talon(*arguments):
    """Exit code, output and errors of the entry point."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["talon-dse", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    rng = np.random.default_rng(1)
    lif = ir.LIF(*(np.full(3, value) for value in (4.0, 1.0, 0.0, 0.5)))
    nodes = {"x": ir.Input([4]), "fc": ir.Affine(rng.normal(size=(3, 4)), np.zeros(3)), "lif": lif, "o": ir.Output([3])}
    ir.write(folder / "net.nir", ir.Graph(nodes, [("x", "fc"), ("fc", "lif"), ("lif", "o")]))
    np.savez(folder / "data.npz", x=rng.uniform(0, 2, (6, 4)), y=np.arange(6) % 3)
    return folder


@pytest.fixture
def project(network, tmp_path):
    """A project with the stimuli of two samples of three steps."""
    done = talon(
        "project", network / "net.nir", "--data", network / "data.npz", "--steps=3", "--precision=int8",
        "--folder", tmp_path / "p", "--stimuli=2", "--output", tmp_path / "project.json",
    )  # fmt: skip
    assert done == (0, "", "")
    return tmp_path / "p"


def test_all_steps(mocks, project):
    code, out, err = talon("synth", project, *(f"--step={step}" for step in ("synth", "cosim", "export", "vsynth")))
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert (result["flow"], result["source"], result["log"]) == ("vitis", "vitis-2024.1", "vitis.log")
    assert result["steps"] == ["synth", "cosim", "export", "vsynth"]
    assert (result["report"]["lut"], result["report"]["vsynth_lut"], result["report"]["cosim_values"]) == (
        2210,
        1630,
        18,
    )
    assert (result["design"]["precision"], result["design"]["reuse_factor"]) == ("int8", 1)
    assert str(project) not in out


def test_the_envelope(mocks, project, tmp_path):
    assert talon("synth", project, "--output", tmp_path / "s.json", "--record-failure") == (0, "", "")
    envelope = json.loads((tmp_path / "s.json").read_text())
    assert (envelope["stage"], envelope["status"], envelope["reason"]) == ("synth", "ok", None)
    assert (envelope["result"]["steps"], envelope["result"]["report"]["power_w"]) == (["synth"], None)


@pytest.mark.parametrize(
    ("mode", "status", "reason"),
    [
        ("hang", "timeout", "vitis-run did not end in 1 s; give it more time or less work"),
        ("stubborn", "timeout", "vitis-run did not end in 1 s; give it more time or less work"),
        ("licence", "failed", "vitis-run failed: no licence (WARNING: [Common 17-348] Failed to get the license "),
        ("fail", "failed", "vitis-run failed: ERROR: [HLS 200-70] Synthesizability check failed."),
        ("killed", "failed", "vitis-run failed: exit code 137"),
        ("silent", "failed", "vitis-run ended without the result of synth"),
    ],
)
def test_failures_are_recorded(mocks, project, tmp_path, monkeypatch, mode, status, reason):
    monkeypatch.setenv("MOCK_VITIS", mode)
    arguments = ("synth", project, "--timeout=1", "--output", tmp_path / "s.json")
    code, _, err = talon(*arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert not (tmp_path / "s.json").exists()
    assert talon(*arguments, "--record-failure")[0] == 0
    envelope = json.loads((tmp_path / "s.json").read_text())
    assert (envelope["status"], envelope["result"]) == (status, None)
    assert envelope["reason"].startswith(reason)


def test_cosim_that_differs_is_no_success(mocks, project, monkeypatch):
    monkeypatch.setenv("MOCK_VITIS", "differs")
    code, out, err = talon("synth", project, "--step=synth", "--step=cosim")
    assert code == 2
    assert json.loads(out)["report"]["cosim_equal"] is False
    assert err.startswith("talon-dse: cosim differs from simulation at call 1, output 0: ")


def test_other_flows_are_a_table(monkeypatch, tmp_path):
    monkeypatch.setattr(
        stages, "FLOWS", {**stages.FLOWS, "other": lambda *given: {"source": "other-1", "given": given}}
    )
    found = stages.synth(tmp_path, "other", (), 5.0)
    assert found == {"flow": "other", "source": "other-1", "given": (tmp_path, (), 5.0, None)}
    with pytest.raises(ConfigError, match="unknown flow 'third'; there is: vitis, open-rtl, other"):
        stages.synth(tmp_path, "third", (), 5.0)


def test_a_missing_tool_says_what_it_would_add(mocks, project, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    arguments = ("synth", project, "--step=synth", "--step=vsynth")
    code, out, err = talon(*arguments)
    assert (code, out) == (2, "")
    assert err == (
        "talon-dse: synth, vsynth: needs vitis-run (AMD Vitis 2024.1 or newer) or vitis_hls, and neither is on PATH; "
        "install AMD Vitis and source its settings64.sh, or leave these steps out; it would add synth: LUT, FF, DSP, "
        "BRAM and cycles by Vitis HLS; vsynth: LUT, FF, DSP, BRAM, slack and power by Vivado\n"
    )
    assert talon(*arguments, "--record-failure", "--output", tmp_path / "x.json")[0] == 0
    assert json.loads((tmp_path / "x.json").read_text())["status"] == "missing"


# --- ingest --------------------------------------------------------------------------------------------------------


def test_finished_projects_become_rows(mocks, project, tmp_path, monkeypatch):
    farm = tmp_path / "farm"
    for name in ("a", "b", "deep/c", "d", "e"):
        shutil.copytree(project, farm / name)
    vitis = [str(MOCKS / "vitis-run"), "--tcl", "build_prj.tcl", "--mode", "hls"]
    for name, steps, mode in (("a", "synth vsynth", ""), ("b", "synth cosim", "differs"), ("e", "synth", "broken")):
        monkeypatch.setenv("MOCK_VITIS", mode)  # another machine, which has nothing but the folder
        subprocess.run([sys.executable, "build.py", *steps.split()], cwd=farm / name, check=True, capture_output=True)
    monkeypatch.setenv("MOCK_VITIS", "licence")
    with (farm / "d" / "vitis.log").open("wb") as log:
        assert subprocess.run(vitis, cwd=farm / "d", stdout=log, check=False).returncode == 1
    code, out, err = talon("ingest", farm, "--output", tmp_path / "rows.parquet")
    assert (code, err) == (0, "")
    rows = pq.read_table(tmp_path / "rows.parquet")
    assert rows.schema.equals(ingesting.SCHEMA)
    found = {(row["project"], row["measurement_source"]): row for row in rows.to_pylist()}
    assert list(found) == [
        ("a", "vitis-2024.1"),
        ("a", "vivado-2024.1"),
        ("b", "vitis-2024.1"),
        ("d", None),
        ("deep/c", None),
        ("e", None),
    ]
    first, second = found["a", "vitis-2024.1"], found["a", "vivado-2024.1"]
    assert [first[key] for key in ("lut", "ff", "dsp", "bram", "uram")] == [2210, 1874, 21, 3, 0]
    assert [second[key] for key in ("lut", "ff", "dsp", "bram", "uram")] == [1630, 1422, 19, 3, None]
    assert (first["wns_ns"], second["wns_ns"], first["power_w"], second["power_w"]) == (None, -0.214, None, 0.731)
    assert (first["latency_cycles"], first["interval_cycles"], first["cycles_source"]) == (12, 5, "csynth")
    assert (first["precision"], first["io_type"], first["status"]) == ("int8", "io_parallel", "ok")
    assert first["lut_estimate"] > 0
    assert first["cycles_per_step"] > 0
    third = found["b", "vitis-2024.1"]
    assert (third["latency_cycles"], third["cycles_source"], third["status"]) == (13, "cosim", "failed")
    assert third["reason"].startswith("cosim differs from simulation at call 1, output 0: ")
    assert found["d", None]["reason"].startswith("no licence (WARNING: [Common 17-348]")
    assert found["deep/c", None]["reason"] == "it was not synthesised"
    path = "snn_prj/solution1/syn/report/snn_csynth.xml"
    assert found["e", None]["reason"].startswith(f"{path}: csynth report: not whole XML")
    assert len(out.splitlines()) == 1 + len(found)
    assert talon("ingest", farm, "--output", tmp_path / "rows.json")[0] == 0
    assert json.loads((tmp_path / "rows.json").read_text()) == rows.to_pylist()


def test_calibrate_reads_the_rows(mocks, network, tmp_path):
    farm = tmp_path / "farm"
    for reuse in (1, 2, 3, 4, 6, 12):
        for precision in ("int4", "int8"):
            folder = farm / f"{precision}-{reuse}"
            given = (network / "net.nir", f"--precision={precision}", f"--reuse-factor={reuse}", "--strategy=Resource")
            assert talon("project", *given, "--folder", folder, "--output", tmp_path / "p.json")[0] == 0
            assert talon("synth", folder, "--step=synth", "--step=vsynth", "--output", tmp_path / "s.json")[0] == 0
    assert talon("ingest", farm, "--output", tmp_path / "rows.parquet")[0] == 0
    code, _, err = talon("calibrate", tmp_path / "rows.parquet")
    assert code == 2
    assert "measurements come from several tools; choose one with --source: vitis-2024.1, vivado-2024.1" in err
    code, out, _ = talon("calibrate", tmp_path / "rows.parquet", "--source=vivado-2024.1", "--output", tmp_path / "c")
    assert code == 0
    made = calibration.load(tmp_path / "c")
    rows = [
        row for row in pq.read_table(tmp_path / "rows.parquet").to_pylist() if row["measurement_source"] == made.source
    ]
    assert made.metrics["lut"].scale == np.median([1630 / row["lut_estimate"] for row in rows])
    assert "vivado-2024.1" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "none: there is no such folder"),
        (["."], ".: there is no hls4ml project in it; talon-dse project writes one"),
    ],
)
def test_nothing_to_ingest(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = talon("ingest", *arguments)
    assert (code, out, err) == (2, "", f"talon-dse: {message}\n")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "other"}, "not the record of a project"),
        ({"estimates": 3}, "not the record of a project"),
        ({"reuse_factor": "many"}, "reuse_factor is 'many'"),
        ({"estimates": {"lut_estimate": [1]}}, "lut_estimate is '[1]'"),
    ],
)
def test_a_broken_record_is_a_row(project, change, reason):
    record = json.loads((project / "design.json").read_text())
    (project / "design.json").write_text(json.dumps({**record, **change}))
    (row,) = ingesting.ingest(project).to_pylist()
    assert (row["project"], row["status"]) == (".", "failed")
    assert row["reason"] == f"design.json: {reason}; write the project again"


def test_rows_go_to_known_formats_alone(project, tmp_path):
    code, _, err = talon("ingest", project, "--output", tmp_path / "rows.txt")
    assert (code, err) == (2, f"talon-dse: {tmp_path / 'rows.txt'}: must end in .parquet or .json\n")
