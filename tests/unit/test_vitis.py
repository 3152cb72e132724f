"""The Vitis driver, against the stand-in in tests/mock_tools."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from talon_lib.errors import ConfigError, MissingToolError, ToolError, ToolTimeout
from talon_lib.hls import vitis
from talon_lib.hls.build_script import build_script

MOCKS = Path(__file__).parent.parent / "mock_tools"
SYSTEM = "/usr/bin:/bin"


@pytest.fixture
def no_tools(monkeypatch):
    """An environment without AMD's tools."""
    monkeypatch.setenv("PATH", SYSTEM)
    for variable in ("XILINX_VITIS", "XILINX_HLS", "XILINX_VIVADO", "MOCK_VITIS"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def mocks(no_tools, monkeypatch):
    """The stand-ins on PATH."""
    monkeypatch.setenv("PATH", f"{MOCKS}:{SYSTEM}")


@pytest.fixture
def project(tmp_path):
    """As much of an hls4ml project as the stand-in looks at."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "project.tcl").write_text('set project_name "snn"\n')
    (folder / "build_prj.tcl").write_text("")
    (folder / "build.py").write_text(build_script("snn"))
    return folder


def installation(root, *programs):
    """An AMD installation at ``root`` with stand-ins under these names."""
    (root / "bin").mkdir(parents=True)
    for program in programs:
        (root / "bin" / program).symlink_to(MOCKS / ("vivado" if program == "vivado" else "vitis-run"))
    return str(root)


def switched_on(text):
    return {name for name, value in re.findall(r"^    (\w+) +([01])$", text, re.M) if value == "1"}


COMBINATIONS = [steps for n in range(1, 5) for steps in itertools.combinations(vitis.STEPS, n) if "synth" in steps]


@pytest.mark.parametrize("steps", COMBINATIONS, ids="+".join)
def test_every_combination_ends_in_its_build_options(mocks, project, steps):
    done = vitis.run(project, steps, timeout=60)
    seen = (project / "seen_build_opt.tcl").read_text()
    assert switched_on(seen) == set(steps)
    assert re.fullmatch(r"array set opt \{\n(    \w+ +[01]\n){8}\}\n", seen)
    assert done.tool == "vitis-run"
    assert done.reports == (project / "snn_prj/solution1/syn/report/csynth.xml",)
    assert "standing in" in done.log.read_text()
    assert (project / "seen_vivado").exists() == ("vsynth" in steps)


@pytest.mark.parametrize("steps", COMBINATIONS, ids="+".join)
def test_build_py_writes_the_same_options(mocks, project, steps):
    done = subprocess.run([sys.executable, "build.py", *steps], cwd=project, capture_output=True, text=True, check=True)
    assert "standing in" in done.stdout
    assert (project / "seen_build_opt.tcl").read_text() == vitis.build_options(steps)


@pytest.mark.parametrize("step", ["cosim", "export", "vsynth"])
def test_later_steps_need_a_synthesis(mocks, project, step):
    with pytest.raises(ConfigError, match=f"^{step} works on the result of synth.*switch synth on too$"):
        vitis.run(project, [step])
    assert not (project / "build_opt.tcl").exists()
    vitis.run(project, ["synth"])
    vitis.run(project, [step])
    assert switched_on((project / "seen_build_opt.tcl").read_text()) == {step}


@pytest.mark.parametrize("steps", [[], ["bitfile"], ["synth", "csim"]])
def test_unknown_steps(mocks, project, steps):
    with pytest.raises(ConfigError, match="there are: synth, cosim, export, vsynth"):
        vitis.run(project, steps)


def test_missing_tool(no_tools, project):
    with pytest.raises(MissingToolError, match=r"^synth, export: needs vitis-run .*settings64\.sh") as caught:
        vitis.run(project, ["export", "synth"])
    assert "\n" not in str(caught.value)
    assert not (project / "build_opt.tcl").exists()


def test_vsynth_needs_vivado(no_tools, project, monkeypatch, tmp_path):
    monkeypatch.setenv("XILINX_VITIS", installation(tmp_path / "vitis", "vitis-run"))
    with pytest.raises(MissingToolError, match=r"^vsynth: needs vivado"):
        vitis.run(project, ["synth", "vsynth"])
    monkeypatch.setenv("XILINX_VIVADO", installation(tmp_path / "vivado", "vivado"))
    vitis.run(project, ["synth", "vsynth"])
    assert (project / "seen_vivado").read_text() == "-mode batch -source vivado_synth.tcl\n"


def test_the_older_vitis_hls(no_tools, project, monkeypatch, tmp_path):
    monkeypatch.setenv("XILINX_HLS", installation(tmp_path, "vitis_hls"))
    assert vitis.run(project, ["synth"]).tool == "vitis_hls"


def test_path_goes_before_the_variables_and_vitis_run_before_vitis_hls(mocks, monkeypatch, tmp_path):
    monkeypatch.setenv("XILINX_VITIS", installation(tmp_path / "a", "vitis-run"))
    monkeypatch.setenv("XILINX_HLS", installation(tmp_path / "b", "vitis_hls"))
    assert vitis.require(["synth"]).command[0] == str(MOCKS / "vitis-run")
    monkeypatch.setenv("PATH", SYSTEM)
    assert vitis.require(["synth"]).command[0] == str(tmp_path / "a/bin/vitis-run")


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("fail", r"^vitis-run failed: ERROR: \[HLS 200-70\] Synthesizability check failed\.; its log is .*vitis\.log$"),
        (
            "licence",
            r"^vitis-run failed: no licence \(.*Failed to get the license.*\); set XILINXD_LICENSE_FILE .*log$",
        ),
        ("silent", r"^vitis-run ended without a csynth\.xml report; its log is .*vitis\.log$"),
    ],
)
def test_failures(mocks, project, monkeypatch, mode, message):
    monkeypatch.setenv("MOCK_VITIS", mode)
    with pytest.raises(ToolError, match=message):
        vitis.run(project, ["synth"])
    assert (project / "vitis.log").exists()


def test_timeout_kills_the_tool_and_its_children(mocks, project, monkeypatch):
    monkeypatch.setenv("MOCK_VITIS", "hang")
    with pytest.raises(ToolTimeout, match=r"^vitis-run did not end in 1 s"):
        vitis.run(project, ["synth"], timeout=1)
    assert_gone(int((project / "child.pid").read_text()))


def test_sigterm_kills_the_tool_and_its_children(mocks, project, monkeypatch):
    monkeypatch.setenv("MOCK_VITIS", "hang")
    code = "import sys, pathlib; from talon_lib.hls import vitis; vitis.run(pathlib.Path(sys.argv[1]), ['synth'])"
    job = subprocess.Popen([sys.executable, "-c", code, str(project)])
    pid_file = project / "child.pid"
    wait_for(lambda: pid_file.exists() and pid_file.read_text().strip())
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == 128 + signal.SIGTERM
    assert_gone(int(pid_file.read_text()))


def assert_gone(pid):
    """The process has ended; where nothing reaps orphans, it may be left as a zombie."""

    def gone():
        try:
            os.kill(pid, 0)
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (ProcessLookupError, FileNotFoundError):
            return True

    wait_for(gone)


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
