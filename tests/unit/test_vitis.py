"""The Vitis driver, against the stand-ins in tests/mock_tools."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from talon_lib.errors import ConfigError, FormatError, MissingToolError, ToolError, ToolTimeout, UnsupportedError
from talon_lib.hls import reports, vitis
from talon_lib.hls.build_script import build_script

MOCKS = Path(__file__).parent.parent / "mock_tools"
SYSTEM = "/usr/bin:/bin"
BOARD = "xczu9eg-ffvb1156-2-e"  # of a ZCU102


@pytest.fixture
def no_tools(monkeypatch):
    """An environment without AMD's tools."""
    monkeypatch.setenv("PATH", SYSTEM)
    for variable in ("XILINX_VITIS", "XILINX_HLS", "XILINX_VIVADO", "MOCK_VITIS", "MOCK_VIVADO"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def mocks(no_tools, monkeypatch):
    """The stand-ins on PATH; vitis-run leaves a network's Verilog."""
    monkeypatch.setenv("PATH", f"{MOCKS}:{SYSTEM}")


@pytest.fixture
def project(tmp_path):
    """As much of an hls4ml project as the stand-in looks at."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "project.tcl").write_text(
        f'set project_name "snn"\nset backend "vitis"\nset part "{BOARD}"\nset clock_period 5\n'
    )
    (folder / "build_prj.tcl").write_text("")
    (folder / "tb_data").mkdir()
    (folder / "tb_data/tb_input_features.dat").write_text("0.5 1\n0.25 0\n")
    (folder / "tb_data/tb_output_predictions.dat").write_text("0 1\n1 0\n")
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


COMBINATIONS = [steps for n in range(1, 6) for steps in itertools.combinations(vitis.STEPS, n) if "synth" in steps]
OF_HLS = [steps for steps in COMBINATIONS if "bitfile" not in steps]


@pytest.mark.parametrize("steps", COMBINATIONS, ids="+".join)
def test_every_combination_ends_in_its_build_options(mocks, project, steps):
    done = vitis.run(project, steps, timeout=60)
    of_hls = [step for step in steps if step != "bitfile"]
    seen = (project / "seen_build_opt.tcl").read_text()
    assert switched_on(seen) == set(of_hls)
    assert re.fullmatch(r"array set opt \{\n(    \w+ +[01]\n){8}\}\n", seen)
    assert (project / "seen_steps").read_text().split() == of_hls
    assert done.tool == "vitis-run"
    assert done.reports == (project / "snn_prj/solution1/syn/report/snn_csynth.xml",)
    assert "standing in" in done.log.read_text()
    assert (project / "seen_vivado").exists() == ("vsynth" in steps)
    assert done.report.source == "vitis-2024.1"
    assert (done.report.lut, done.report.latency_cycles_max) == (2210, 12)
    assert (done.report.cosim_equal, done.report.cosim_values) == ((True, 4) if "cosim" in steps else (None, None))
    vivado = (done.report.vsynth_source, done.report.vsynth_lut, done.report.wns_ns, done.report.power_w)
    assert vivado == (("vivado-2024.1", 1630, -0.214, 0.731) if "vsynth" in steps else (None,) * 4)
    assert (project / "seen_bitfile").exists() == (project / "bitfile.log").exists() == ("bitfile" in steps)
    assert done.bitfile == (project / "snn.bit" if "bitfile" in steps else None)
    routed = (done.report.bitfile, done.report.routed_lut, done.report.routed_wns_ns, done.report.routed_power_w)
    assert routed == (("snn.bit", 1630, -0.214, 0.731) if "bitfile" in steps else (None,) * 4)


@pytest.mark.parametrize("steps", OF_HLS, ids="+".join)
def test_build_py_writes_the_same_options(mocks, project, steps):
    done = subprocess.run([sys.executable, "build.py", *steps], cwd=project, capture_output=True, text=True, check=True)
    assert "standing in" in done.stdout
    assert (project / "seen_build_opt.tcl").read_text() == vitis.build_options(steps)
    assert (project / "seen_steps").read_text().split() == list(steps)


def test_build_py_finds_the_tools_as_the_driver_does(no_tools, project, monkeypatch, tmp_path):
    def build(*steps):
        command = [sys.executable, "build.py", *steps]
        return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)

    assert "needs vitis-run" in build("synth").stderr
    monkeypatch.setenv("XILINX_VITIS", installation(tmp_path / "vitis", "vitis-run"))
    assert build("synth").returncode == 0
    assert build("vsynth").stderr.startswith("build.py: vsynth: needs vivado")
    monkeypatch.setenv("XILINX_VIVADO", installation(tmp_path / "vivado", "vivado"))
    assert build("vsynth").returncode == 0
    assert (project / "vivado_synth.tcl").read_text() == vitis.VSYNTH_SCRIPT
    monkeypatch.delenv("XILINX_VITIS")
    monkeypatch.setenv("XILINX_HLS", installation(tmp_path / "hls", "vitis_hls"))
    assert build("synth").returncode == 0


@pytest.mark.parametrize("step", ["cosim", "export", "vsynth"])
def test_later_steps_need_a_synthesis(mocks, project, step):
    with pytest.raises(ConfigError, match=f"^{step} works on the result of synth.*switch synth on too$"):
        vitis.run(project, [step])
    assert not (project / "build_opt.tcl").exists()
    vitis.run(project, ["synth"])
    vitis.run(project, [step])
    assert switched_on((project / "seen_build_opt.tcl").read_text()) == {step}


@pytest.mark.parametrize("steps", [[], ["bit"], ["synth", "csim"]])
def test_unknown_steps(mocks, project, steps):
    with pytest.raises(ConfigError, match=r"there are: synth, cosim, export, vsynth, bitfile$"):
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


def test_bitfile_needs_vivado_alone_where_the_rtl_is_there(mocks, project, monkeypatch, tmp_path):
    vitis.run(project, ["synth"])
    (project / "vitis.log").unlink()
    monkeypatch.setenv("PATH", SYSTEM)
    with pytest.raises(MissingToolError, match=r"^bitfile: needs vivado, .*settings64\.sh, or leave this step out$"):
        vitis.run(project, ["bitfile"])
    monkeypatch.setenv("XILINX_VIVADO", installation(tmp_path / "Vivado" / "2023.2", "vivado"))
    done = vitis.run(project, ["bitfile"], timeout=60)
    assert (done.tool, done.log, done.bitfile) == ("vivado", project / "bitfile.log", project / "snn.bit")
    assert (project / "seen_bitfile").read_text() == "-mode batch -source vivado_bitfile.tcl\n"
    assert (done.report.source, done.report.routed_version) == ("vitis-2024.1", "2024.1")  # by the reports
    assert not (project / "vitis.log").exists()
    with pytest.raises(MissingToolError, match=r"^synth, vsynth: needs vitis-run"):
        vitis.run(project, ["synth", "vsynth", "bitfile"])
    monkeypatch.delenv("XILINX_VIVADO")
    monkeypatch.setenv("XILINX_VITIS", installation(tmp_path / "vitis", "vitis-run"))
    with pytest.raises(MissingToolError, match=r"^vsynth, bitfile: needs vivado, .* or leave these steps out$"):
        vitis.run(project, ["synth", "vsynth", "bitfile"])


def test_bitfile_needs_a_synthesis_and_a_board(mocks, project):
    with pytest.raises(ConfigError, match=r"^bitfile works on the result of synth, and there is none yet"):
        vitis.run(project, ["bitfile"])
    text = (project / "project.tcl").read_text()
    (project / "project.tcl").write_text(text.replace(BOARD, "xczu9eg-ffvb1156-2-i"))
    with pytest.raises(UnsupportedError, match=r"^bitfile: .*xczu9eg-ffvb1156-2-i .*; give one of zcu102"):
        vitis.run(project, ["synth", "bitfile"])
    (project / "project.tcl").write_text(text.replace("set clock_period 5\n", ""))
    with pytest.raises(FormatError, match=r"project\.tcl: it sets no clock_period; write the project again$"):
        vitis.run(project, ["synth", "bitfile"])
    assert not (project / "build_opt.tcl").exists()


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("fail", r"^vivado failed: ERROR: \[Place 30-640\] .*; its log is .*bitfile\.log$"),
        ("licence", r"^vivado failed: no licence \(.*17-345\].*bitfile\.log$"),
        ("silent", r"^vivado ended without the result of bitfile; its log is .*bitfile\.log$"),
    ],
)
def test_failures_of_bitfile(mocks, project, monkeypatch, mode, message):
    vitis.run(project, ["synth", "bitfile"])
    monkeypatch.setenv("MOCK_VIVADO", mode)
    with pytest.raises(ToolError, match=message):
        vitis.run(project, ["bitfile"])
    assert not (project / "snn.bit").exists()  # that of the earlier run
    assert reports.read_project(project).routed_lut is None


def test_timeout_kills_vivado_and_its_children(mocks, project, monkeypatch):
    vitis.run(project, ["synth"])
    monkeypatch.setenv("MOCK_VIVADO", "hang")
    with pytest.raises(ToolTimeout, match=r"^vivado did not end in 1 s"):
        vitis.run(project, ["bitfile"], timeout=1)
    assert_gone(int((project / "child.pid").read_text()))


def test_a_new_synthesis_drops_the_bitstream_of_the_old(mocks, project):
    assert vitis.run(project, ["synth", "bitfile"]).report.routed_lut is not None
    assert vitis.run(project, ["synth"]).report.bitfile is None
    assert not list(project.glob("snn.[bh]*")) + list(project.glob("vivado_routed*"))


def test_the_older_vitis_hls(no_tools, project, monkeypatch, tmp_path):
    monkeypatch.setenv("XILINX_HLS", installation(tmp_path, "vitis_hls"))
    assert vitis.run(project, ["synth"]).tool == "vitis_hls"


@pytest.mark.parametrize("steps", [("synth",), ("synth", "cosim", "export")], ids="+".join)
def test_a_project_of_vivado_hls(no_tools, project, monkeypatch, tmp_path, steps):
    (project / "project.tcl").write_text('set project_name "snn"\nset backend "vivado"\nset clock_period 10\n')
    with pytest.raises(MissingToolError, match=r"^synth.*: needs vivado_hls, which is not on PATH; install AMD Vivado"):
        vitis.run(project, steps)
    monkeypatch.setenv("XILINX_VIVADO", installation(tmp_path / "Vivado" / "2019.2", "vivado_hls"))
    done = vitis.run(project, steps)
    assert (done.tool, done.report.source, done.report.dsp) == ("vivado_hls", "vivado_hls-2019.2", 9)
    assert switched_on((project / "seen_build_opt.tcl").read_text()) == set(steps)
    assert (project / "seen_steps").read_text().split() == list(steps)


def test_a_project_of_another_backend(mocks, project):
    (project / "project.tcl").write_text('set project_name "snn"\nset backend "quartus"\n')
    with pytest.raises(ConfigError, match=r"^synth: no tool for hls4ml's backend 'quartus'; there are: vitis, vivado$"):
        vitis.run(project, ["synth"])


def test_the_version_is_in_the_path_of_the_installation(no_tools, monkeypatch, tmp_path):
    monkeypatch.setenv("XILINX_VITIS", installation(tmp_path / "Vitis" / "2024.2", "vitis-run"))
    assert vitis.require(["synth"]).version == "2024.2"


def test_the_version_is_in_the_log_where_no_report_says_it(mocks, project, monkeypatch):
    without = {**vars(reports.read_project(synthesised(project))), "version": None}
    monkeypatch.setattr(vitis, "read_project", lambda folder: reports.SynthReport(**without))
    assert vitis.run(project, ["synth"]).report.source == "vitis-2024.1"


def synthesised(project):
    vitis.run(project, ["synth"])
    return project


def test_what_is_missing_would_add(no_tools, monkeypatch, tmp_path):
    first, second = vitis.missing()
    assert first.startswith(
        "vitis-run is not here; AMD Vitis and its settings64.sh would add synth: LUT, FF, DSP, BRAM"
    )
    assert second.startswith("vivado is not here; AMD Vivado and its settings64.sh would add vsynth: ")
    assert "; bitfile: a bitstream" in second
    monkeypatch.setenv("XILINX_VITIS", installation(tmp_path / "vitis", "vitis-run"))
    assert vitis.missing() == (second,)
    monkeypatch.setenv("XILINX_VIVADO", installation(tmp_path / "vivado", "vivado"))
    assert vitis.missing() == ()


def test_cosim_needs_stimuli(mocks, project):
    (project / "tb_data/tb_input_features.dat").unlink()
    with pytest.raises(ConfigError, match=r"^cosim: .* has no tb_data/tb_input_features\.dat, .*--stimuli N$"):
        vitis.run(project, ["synth", "cosim"])
    assert not (project / "build_opt.tcl").exists()


def test_a_working_folder_leaves_the_project_as_it_is(mocks, project, tmp_path):
    def files():
        return {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}

    before = files()
    done = vitis.run(project, ["synth", "vsynth"], workdir=tmp_path / "work" / "a")
    assert files() == before
    assert done.log == tmp_path / "work" / "a" / "vitis.log"
    assert done.report.vsynth_lut == 1630
    with pytest.raises(ConfigError, match=r"is not empty; choose another folder to work in, or remove it$"):
        vitis.run(project, ["synth"], workdir=tmp_path / "work" / "a")


def test_results_of_an_earlier_run_are_not_taken_for_this_ones(mocks, project, monkeypatch):
    assert vitis.run(project, vitis.STEPS).report.power_w is not None
    done = vitis.run(project, ["synth"])
    assert (done.report.lut, done.report.vsynth_lut, done.report.power_w) == (2210, None, None)
    assert (done.report.cosim_status, done.report.cosim_equal) == (None, None)
    monkeypatch.setenv("MOCK_VITIS", "silent")
    with pytest.raises(ToolError, match="ended without the result of synth"):
        vitis.run(project, ["synth"])


def test_other_outputs_of_cosim_are_seen(mocks, project, monkeypatch):
    monkeypatch.setenv("MOCK_VITIS", "differs")
    report = vitis.run(project, ["synth", "cosim"]).report
    assert report.cosim_equal is False
    assert report.cosim_difference == "call 1, output 0: 1 simulated, 7 cosimulated"


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
        ("silent", r"^vitis-run ended without the result of synth; its log is .*vitis\.log$"),
        ("killed", r"^vitis-run failed: exit code 137; its log is .*vitis\.log$"),
    ],
)
def test_failures(mocks, project, monkeypatch, mode, message):
    monkeypatch.setenv("MOCK_VITIS", mode)
    with pytest.raises(ToolError, match=message):
        vitis.run(project, ["synth"])
    assert (project / "vitis.log").exists()


def test_a_broken_report_is_refused(mocks, project, monkeypatch):
    monkeypatch.setenv("MOCK_VITIS", "broken")
    with pytest.raises(FormatError, match=r"snn_csynth\.xml: csynth report: not whole XML"):
        vitis.run(project, ["synth"])


def test_vivado_finds_no_licence(mocks, project, monkeypatch):
    monkeypatch.setenv("MOCK_VIVADO", "licence")
    with pytest.raises(
        ToolError, match=r"^vitis-run failed: no licence \(.*17-345\] A valid license was not found.*\)"
    ):
        vitis.run(project, ["synth", "vsynth"])


@pytest.mark.parametrize(
    ("line", "is_one"),
    [
        ("ERROR: [Common 17-345] A valid license was not found for feature 'Synthesis' and/or device 'xcv80'.", True),
        ("WARNING: [Common 17-348] Failed to get the license for feature 'Synthesis' and/or device 'xczu9eg'.", True),
        ("FLEXnet Licensing error:-8,130", True),
        ("INFO: [Common 17-347] Attempting to get a license for feature 'Synthesis' and/or device 'xcku060'", False),
        ("INFO: [Common 17-349] Got license for feature 'Synthesis' and/or device 'xcku060'", False),
        ("INFO: [Common 17-83] Releasing license: Synthesis", False),
    ],
)
def test_the_wording_of_a_missing_licence(line, is_one):
    assert vitis.failure(f"ERROR: [HLS 200-70] first\n{line}\n").startswith("no licence (") == is_one


@pytest.mark.parametrize("mode", ["hang", "stubborn"])
def test_timeout_kills_the_tool_and_its_children(mocks, project, monkeypatch, mode):
    monkeypatch.setenv("MOCK_VITIS", mode)
    with pytest.raises(ToolTimeout, match=r"^vitis-run did not end in 1 s"):
        vitis.run(project, ["synth"], timeout=1)
    assert_gone(int((project / "child.pid").read_text()))


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_kill_the_tool_and_its_children(mocks, project, monkeypatch, ending):
    monkeypatch.setenv("MOCK_VITIS", "hang")
    # what starts the tests may ignore signals, as nohup does, and children inherit that
    code = (
        "import pathlib, signal, sys; from talon_lib.hls import vitis; "
        "signal.signal(signal.SIGHUP, signal.SIG_DFL); signal.signal(signal.SIGINT, signal.default_int_handler); "
        "vitis.run(pathlib.Path(sys.argv[1]), ['synth'])"
    )
    job = subprocess.Popen([sys.executable, "-c", code, str(project)], stderr=subprocess.DEVNULL)
    pid_file = project / "child.pid"
    wait_for(lambda: pid_file.exists() and pid_file.read_text().strip())
    job.send_signal(ending)
    assert job.wait(30) in (128 + ending, -ending)  # Python itself dies of SIGINT after its clean-up
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
