"""The readers of AMD's reports, on files in their format; and what they do with files that are cut or spoilt."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talon_lib.errors import FormatError
from talon_lib.hls import reports

FIXTURES = Path(__file__).parent / "fixtures" / "synth"
READERS = {
    "csynth.xml": reports.read_csynth,
    "csynth_vivado_hls.xml": reports.read_csynth,
    "cosim.rpt": reports.read_cosim,
    "utilisation.rpt": reports.read_utilisation,
    "utilisation_7series.rpt": reports.read_utilisation,
    "timing.rpt": reports.read_timing,
    "power.rpt": reports.read_power,
}


def fixture(name):
    return (FIXTURES / name).read_text()


EXPECTED = {
    "csynth.xml": {
        "version": "2024.1",
        "top": "snn",
        "part": "xczu9eg-ffvb1156-2-e",
        "clock_target_ns": 5.0,
        "clock_uncertainty_ns": 1.35,
        "clock_estimated_ns": 3.612,
        "latency_cycles_min": 11,
        "latency_cycles_max": 12,
        "interval_cycles_min": 4,
        "interval_cycles_max": 5,
        "lut": 2210,
        "ff": 1874,
        "dsp": 21,
        "bram18": 3,
        "uram": 0,
    },
    "csynth_vivado_hls.xml": {
        "version": "2019.2",
        "top": "snn",
        "part": "xc7z020-clg400-1",
        "clock_target_ns": 10.0,
        "clock_uncertainty_ns": 1.25,
        "clock_estimated_ns": 8.51,
        "latency_cycles_min": None,
        "latency_cycles_max": None,
        "interval_cycles_min": None,
        "interval_cycles_max": None,
        "lut": 1405,
        "ff": 812,
        "dsp": 9,
        "bram18": 2,
        "uram": 0,
    },
    "cosim.rpt": {
        "cosim_status": "Pass",
        "cosim_latency_cycles_min": 11,
        "cosim_latency_cycles_avg": 12.0,
        "cosim_latency_cycles_max": 13,
        "cosim_interval_cycles_min": 4,
        "cosim_interval_cycles_avg": 5.0,
        "cosim_interval_cycles_max": 6,
    },
    # a table of primitives holds URAM and DSPs too, and a table of sites counts block RAM in tiles
    "utilisation.rpt": {
        "vsynth_version": "2024.1",
        "vsynth_lut": 1630,
        "vsynth_ff": 1422,
        "vsynth_dsp": 19,
        "vsynth_bram18": 3,
        "vsynth_uram": None,
    },
    "utilisation_7series.rpt": {
        "vsynth_version": "2019.2",
        "vsynth_lut": 941,
        "vsynth_ff": 615,
        "vsynth_dsp": 9,
        "vsynth_bram18": 4,
        "vsynth_uram": None,
    },
    "timing.rpt": {"wns_ns": -0.214, "whs_ns": 0.046},
    "power.rpt": {
        "power_w": 0.731,
        "power_dynamic_w": 0.112,
        "power_static_w": 0.619,
        "power_confidence": "Medium",
    },
}


@pytest.mark.parametrize("name", READERS)
def test_values(name):
    assert READERS[name](fixture(name)) == EXPECTED[name]


def test_the_names_are_those_of_the_report():
    names = [name for values in EXPECTED.values() for name in values]
    assert set(names) <= set(vars(reports.SynthReport("vitis")))


@pytest.mark.parametrize(
    ("name", "section", "lost"),
    [
        (
            "csynth.xml",
            r"<PerformanceEstimates>.*</PerformanceEstimates>",
            ["clock_estimated_ns", "latency_cycles_max"],
        ),
        ("csynth.xml", r"<AreaEstimates>.*</AreaEstimates>", ["lut", "ff", "dsp", "bram18", "uram"]),
        ("csynth.xml", r"<ReportVersion>.*</ReportVersion>", ["version"]),
        ("cosim.rpt", r"\| *Verilog\|.*?\n", ["cosim_status", "cosim_latency_cycles_max"]),
        ("utilisation.rpt", r"2\. BLOCKRAM\n-.*?\n\n\n", ["vsynth_bram18"]),
        ("utilisation.rpt", r"\| Tool Version.*?\n", ["vsynth_version"]),
        ("timing.rpt", r"    WNS\(ns\).*", ["wns_ns", "whs_ns"]),
        ("power.rpt", r"\| Dynamic.*?\n", ["power_dynamic_w"]),
    ],
)
def test_a_missing_section_is_none(name, section, lost):
    cut, times = re.subn(section, "", fixture(name), count=1, flags=re.S)
    assert times == 1
    found = READERS[name](cut)
    assert {key: found[key] for key in lost} == dict.fromkeys(lost)
    assert set(found) == set(EXPECTED[name])


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("csynth.xml", "<LUT>2210<", "<LUT>many<"),
        ("csynth.xml", "<LUT>2210<", "<LUT>22.5<"),
        ("csynth.xml", "<TargetClockPeriod>5.00", "<TargetClockPeriod>nan"),
        ("csynth.xml", "</profile>", ""),
        ("csynth.xml", "profile>", "report>"),
        ("csynth.xml", "<profile>", "<!DOCTYPE profile><profile>"),
        ("cosim.rpt", "             11|", "         eleven|"),
        ("cosim.rpt", "|             11|             12|             13|", ""),
        ("utilisation.rpt", "| 1630 |", "| none |"),
        ("utilisation.rpt", "| Used |", "| Gone |"),
        ("timing.rpt", "-0.214", "fast"),
        ("power.rpt", "0.731        |", "low          |"),
    ],
)
def test_broken_files_are_refused_in_one_line(name, old, new):
    text = fixture(name).replace(old, new)
    assert text != fixture(name)
    with pytest.raises(FormatError, match=r"^(csynth|cosim|utilisation|timing|power) report: ") as caught:
        READERS[name](text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("text", ["", "\n", "ERROR: [Common 17-345] A valid license was not found", "<html></html>"])
def test_other_files_are_refused(name, text):
    with pytest.raises(FormatError):
        READERS[name](text)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(READERS)), share=st.floats(0, 1), noise=st.text(max_size=5))
def test_a_cut_file_gives_no_other_number(name, share, noise):
    """Cut anywhere, a file is refused, or gives fewer values: never other ones, but for the last, which may be cut."""
    text = fixture(name)
    lines = text.splitlines(keepends=True)
    cut = "".join(lines[: round(share * len(lines))])
    try:
        found = READERS[name](cut + noise)
    except FormatError:
        return
    assert all(value is None or value == EXPECTED[name][key] for key, value in found.items())


@pytest.mark.parametrize(
    ("expected", "found", "result"),
    [
        ("0 1\n1 0\n", "0 1 \n1 0 \n", (4, None)),
        ("0 1 0.5\n", "0 1 \n0.5 \n", (3, None)),  # each output is a line of its own
        ("0.0123456789\n", "0.0123457 \n", (1, None)),  # as C++ prints it
        ("0.0123456789\n", "0.0123458 \n", (0, "call 0, output 0: 0.0123456789 simulated, 0.0123458 cosimulated")),
        ("0 1\n1 0\n", "0 1 \n1 1 \n", (3, "call 1, output 1: 0 simulated, 1 cosimulated")),
        ("0 1\n1 0\n", "0 1 \n", (2, "2 values were cosimulated, 4 simulated")),
    ],
)
def test_outputs_are_compared(expected, found, result):
    assert reports.compare_outputs(expected, found) == result


def test_outputs_that_are_no_numbers():
    with pytest.raises(FormatError, match="cosim outputs: "):
        reports.compare_outputs("1\n", "Segmentation fault\n")


def test_the_sources_name_tool_and_version():
    assert reports.SynthReport("vitis", "2024.1").source == "vitis-2024.1"
    assert reports.SynthReport("vitis").source == "vitis-unknown"
    assert reports.SynthReport("vitis", "2024.1").vsynth_source is None
    assert reports.SynthReport("vitis", vsynth_lut=1, vsynth_version="2024.1").vsynth_source == "vivado-2024.1"


def test_equal_to_the_reader_of_hls4ml(tmp_path):
    """On what both read; hls4ml's gives texts, block RAM in tiles, and min, avg and max of cosim by place."""
    vivado_report = pytest.importorskip("hls4ml.report.vivado_report")
    solution = tmp_path / "snn_prj" / "solution1"
    for path, name in (
        ("syn/report/snn_csynth.xml", "csynth.xml"),
        ("sim/report/snn_cosim.rpt", "cosim.rpt"),
    ):
        (solution / path).parent.mkdir(parents=True)
        (solution / path).write_text(fixture(name))
    (tmp_path / "vivado_synth.rpt").write_text(fixture("utilisation.rpt"))
    (tmp_path / "project.tcl").write_text('set project_name "snn"\nset backend "vitis"\n')
    (tmp_path / "snn_prj" / "hls.app").write_text(
        '<project xmlns="com.autoesl.autopilot.project"><solutions><solution name="solution1"/></solutions></project>'
    )
    theirs = vivado_report.parse_vivado_report(str(tmp_path))
    ours = reports.read_project(tmp_path)
    high = theirs["CSynthesisReport"]
    for name, key in {
        "clock_target_ns": "TargetClockPeriod",
        "clock_estimated_ns": "EstimatedClockPeriod",
        "latency_cycles_min": "BestLatency",
        "latency_cycles_max": "WorstLatency",
        "interval_cycles_min": "IntervalMin",
        "interval_cycles_max": "IntervalMax",
        "lut": "LUT",
        "ff": "FF",
        "dsp": "DSP",
        "bram18": "BRAM_18K",
        "uram": "URAM",
    }.items():
        assert getattr(ours, name) == float(high[key]), name
    low = theirs["VivadoSynthReport"]
    assert (ours.vsynth_lut, ours.vsynth_ff) == (int(low["LUT"]), int(low["FF"]))
    assert (ours.vsynth_dsp, ours.vsynth_bram18) == (int(low["DSP48E"]), 2 * float(low["BRAM_18K"]))
    cosim = theirs["CosimReport"]
    assert ours.cosim_status == cosim["Status"]
    assert (ours.cosim_latency_cycles_min, ours.cosim_latency_cycles_max) == (
        int(cosim["LatencyMin"]),
        int(cosim["LatencyMax"]),
    )


def test_a_broken_report_is_named(tmp_path):
    (tmp_path / "project.tcl").write_text('set project_name "snn"\n')
    assert reports.read_project(tmp_path) is None
    layout = reports.Layout.of(tmp_path)
    layout.csynth.parent.mkdir(parents=True)
    layout.csynth.write_text(fixture("csynth.xml"))
    (tmp_path / "vivado_power.rpt").write_text("")
    with pytest.raises(FormatError, match=r"vivado_power\.rpt: power report: ") as caught:
        reports.read_project(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("text", [None, "", "set part x\n", 'set project_name "../x"\n'])
def test_what_is_no_project(tmp_path, text):
    if text is not None:
        (tmp_path / "project.tcl").write_text(text)
    with pytest.raises(FormatError, match=r"talon-dse project writes one|write the project again"):
        reports.Layout.of(tmp_path)
