"""The design around a network for a board: ports, register map, wrapper (run by Verilator) and Vivado's script."""

import json
import random
import re
import subprocess
from pathlib import Path

import pytest

from talon_lib.errors import FormatError, MissingToolError, UnsupportedError
from talon_lib.hls import bitfile
from talon_lib.hls.bitfile import Port
from talon_lib.hls.boards import BOARDS
from talon_lib.hls.reports import Layout, read_clock, read_routed
from talon_lib.rtl import verilator

FIXTURES = Path(__file__).parent / "fixtures/synth"
TOP = (FIXTURES / "top.v").read_text()
ARRAYS = {"x": 4, "restart": 1, "layer4_out": 3}


def known():
    return bitfile.interface(bitfile.read_ports(TOP, "snn"), ARRAYS)


def control(**others):
    """The ports of ap_ctrl_hs, and inputs and outputs by name: bits, negative for outputs."""
    ports = [Port(name, 1, name in ("ap_done", "ap_idle", "ap_ready")) for name in bitfile._CONTROL]
    return [*ports, *(Port(name, abs(bits), bits < 0) for name, bits in others.items())]


def test_the_ports_of_a_top():
    found = bitfile.read_ports(TOP, "snn")
    assert [port.name for port in found if port.output and not port.name.endswith("_ap_vld")] == [
        "ap_done",
        "ap_idle",
        "ap_ready",
        "layer4_out_0",
        "layer4_out_1",
        "layer4_out_2",
    ]
    assert {port.name: port.bits for port in found if port.bits > 1} == {
        "x": 68,
        "layer4_out_1": 16,
        "layer4_out_2": 40,
    }


def test_ports_in_the_head_and_other_modules():
    head = "module b (\n  input wire [3:0] x, // input y\n  output reg z\n);"
    text = f"module a (\n  input c,\n);\nendmodule\n{head}\nendmodule\n"
    assert bitfile.read_ports(text, "b") == (Port("x", 4, False), Port("z", 1, True))
    assert bitfile.read_ports(text, "a") == (Port("c", 1, False),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("module snn2 (\n);\nendmodule", "there is no module snn"),
        ("module snn (\n);\n", "there is no module snn"),
        ("module snn (a);\ninput [W-1:0] a;\nendmodule", r"the port 'input \[W-1:0\] a;' of snn"),
        ("module snn (a, b);\ninput a, b;\nendmodule", "of a kind that is not known"),
        ("module snn (a);\ninout a;\nendmodule", "of a kind that is not known"),
        ("module snn (a);\ninput [7:4] a;\nendmodule", "of a kind that is not known"),
    ],
)
def test_what_is_no_such_source(text, message):
    with pytest.raises(FormatError, match=message):
        bitfile.read_ports(text, "snn")


def test_registers_follow_each_other_and_do_not_overlap():
    found = known()
    places = [(own.name, own.address, own.words, own.elements) for own in (*found.inputs, *found.outputs)]
    assert places == [
        ("x", 0x10, 3, 4),
        ("layer4_out_0", 0x1C, 1, 1),
        ("layer4_out_1", 0x20, 1, 1),
        ("layer4_out_2", 0x24, 2, 1),
    ]
    assert found.restart.name == "restart"
    described = bitfile.registers("snn", found)
    assert json.loads(json.dumps(described)) == described
    assert (described["inputs"][0]["element_bits"], described["control"]["written"]) == (17, {"start": 0, "restart": 1})


def test_many_ports_get_more_address_bits_and_the_last_is_within_them():
    found = bitfile.interface(control(x=32 * 900, **{f"y_{i}": -8 for i in range(200)}))
    last = found.outputs[-1]
    assert 2 ** (found.address_bits - 1) <= last.address < 2**found.address_bits
    assert found.restart is None
    assert ".restart(" not in bitfile.wrapper("snn", found)


@pytest.mark.parametrize(
    ("ports", "error", "message"),
    [
        (control(x_TDATA=16, y=-4), UnsupportedError, "port x_TDATA is one of a stream; .*io_parallel"),
        (control(x=4)[1:], FormatError, "no port ap_clk of one bit"),
        (control(x=4), FormatError, "has no outputs"),
        (control(y=-4), FormatError, "has no inputs"),
        (control(restart=1, y=-4), FormatError, "has no inputs"),
    ],
)
def test_ports_that_are_refused(ports, error, message):
    with pytest.raises(error, match=message) as caught:
        bitfile.interface(ports)
    assert "\n" not in str(caught.value)


def test_every_board_with_a_zynq_has_a_script():
    assert set(bitfile.PRESETS) == {name for name, part in BOARDS.items() if part.startswith(("xczu", "xc7z"))}
    for name in bitfile.PRESETS:
        part = BOARDS[name]
        assert name in bitfile.boards_of(part)
        text = bitfile.script("snn", part, 8, ["a.v"])
        ultra = part.startswith("xczu")
        assert ("xilinx.com:ip:zynq_ultra_ps_e " in text) == ultra
        assert ("xilinx.com:ip:processing_system7 " in text) == (not ultra)
        assert f"-part {part}\n" in text
        assert re.search(r"FREQMHZ \{125\}", text)
        assert all(preset in re.search(r"foreach board \{(.*)\} \{", text)[1] for preset in bitfile.PRESETS[name])


@pytest.mark.parametrize("part", ["xczu9eg-ffvb1156-2-i", "xcu250-figd2104-2L-e"])
def test_a_part_of_no_board(part):
    with pytest.raises(UnsupportedError, match=rf"^bitfile: .* needs vivado and .* {part} .*; give one of zcu102, .*$"):
        bitfile.check(part)


def test_streams_are_refused():
    with pytest.raises(UnsupportedError, match=r"^bitfile: io_stream: .*; use io_parallel$"):
        bitfile.check(BOARDS["zcu102"], "io_stream")


def test_the_script_is_whole_tcl():
    tkinter = pytest.importorskip("tkinter", reason="this Python has no Tcl")
    for name in bitfile.PRESETS:
        tcl = tkinter.Tcl()
        tcl.eval("proc unknown args { lappend ::calls [lindex $args 0]; return x }; rename file {}; rename glob {}")
        tcl.eval(bitfile.script("snn", BOARDS[name], 5, ["a.v", "b/c.v"]))
        calls = [str(name) for name in tcl.splitlist(tcl.getvar("calls"))]
        assert calls[0] == "create_project"
        assert calls.index("route_design") < calls.index("report_power") < calls.index("write_bitstream")


def project(folder, part="xczu9eg-ffvb1156-2-e", header="void snn(\n    input_t x[4], input2_t restart[1]\n);\n"):
    folder.mkdir()
    (folder / "project.tcl").write_text(f'set project_name "snn"\nset part "{part}"\nset clock_period 5\n')
    (folder / "firmware").mkdir()
    (folder / "firmware/snn.h").write_text(header)
    verilog = folder / "snn_prj/solution1/syn/verilog"
    verilog.mkdir(parents=True)
    (verilog / "snn.v").write_text(TOP)
    (verilog / "snn_dense.v").write_text("")
    (verilog / "snn_w3_rom.dat").write_text("")
    (verilog / "snn.tcl").write_text("")
    return Layout.of(folder)


def test_what_is_written_into_a_project(tmp_path):
    layout = project(tmp_path / "p")
    bitfile.write(layout)
    written = json.loads((layout.folder / "snn_registers.json").read_text())
    assert written["inputs"] == [{"name": "x", "address": 16, "words": 3, "elements": 4, "element_bits": 17}]
    listed = re.search(r"^add_files -norecurse \{\n(.*?)^\}", (layout.folder / bitfile.SCRIPT).read_text(), re.M | re.S)
    verilog = "snn_prj/solution1/syn/verilog"
    expected = [f"{verilog}/snn.v", f"{verilog}/snn_dense.v", f"{verilog}/snn_w3_rom.dat", "snn_axi.v"]
    assert listed[1].split() == expected
    assert all((layout.folder / name).is_file() for name in expected)


def test_projects_that_are_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="io_stream"):
        bitfile.write(project(tmp_path / "a", header="void snn(\n    hls::stream<input_t> &x\n);\n"))
    with pytest.raises(UnsupportedError, match="give one of zcu102"):
        bitfile.write(project(tmp_path / "b", part="xcu250-figd2104-2L-e"))
    layout = project(tmp_path / "c")
    (layout.solution / "syn/verilog/snn.v").write_text("module other (\n);\nendmodule\n")
    with pytest.raises(FormatError, match=r"snn\.v: Verilog: there is no module snn"):
        bitfile.write(layout)
    (layout.solution / "syn/verilog/snn.v").unlink()
    with pytest.raises(FormatError, match="needs the Verilog of synth"):
        bitfile.write(layout)
    assert not (layout.folder / bitfile.SCRIPT).exists()


def test_the_figures_after_routing():
    texts = [(FIXTURES / name).read_text() for name in ("utilisation.rpt", "timing.rpt", "power.rpt")]
    found = read_routed(*texts)
    assert (found["routed_lut"], found["routed_wns_ns"], found["routed_power_w"]) == (1630, -0.214, 0.731)  # fixtures
    assert found["routed_clock_ns"] == 5.0
    assert set(found) == {name for name in found if name.startswith("routed_")}
    assert read_clock("Clock Summary\nclk_pl_0  {0.000 4.000}  8.000  125.000\nslow {0.0 9.0} 18.0 55.6\n") == 8.0
    assert read_clock("no clocks") is None


def needed():
    try:
        verilator.find()
    except MissingToolError as error:
        return str(error)
    return ""


BENCH = """\
module testbench;
  reg clk = 0, rst_n = 0;
  always #1 clk = !clk;
  reg [11:0] awaddr = 0, araddr = 0;
  reg awvalid = 0, wvalid = 0, bready = 0, arvalid = 0, rready = 0;
  reg [31:0] wdata = 0;
  reg [3:0] wstrb = 0;
  wire awready, wready, bvalid, arready, rvalid;
  wire [1:0] bresp, rresp;
  wire [31:0] rdata;
  snn_axi dut (.s_axi_aclk(clk), .s_axi_aresetn(rst_n), .s_axi_awaddr(awaddr), .s_axi_awprot(3'd0),
    .s_axi_awvalid(awvalid), .s_axi_awready(awready), .s_axi_wdata(wdata), .s_axi_wstrb(wstrb), .s_axi_wvalid(wvalid),
    .s_axi_wready(wready), .s_axi_bresp(bresp), .s_axi_bvalid(bvalid), .s_axi_bready(bready), .s_axi_araddr(araddr),
    .s_axi_arprot(3'd0), .s_axi_arvalid(arvalid), .s_axi_arready(arready), .s_axi_rdata(rdata), .s_axi_rresp(rresp),
    .s_axi_rvalid(rvalid), .s_axi_rready(rready));

  // signals change on falling edges; lag: clocks by which the data, and then the answer's taker, come later
  task put(input [11:0] address, input [31:0] data, input [3:0] strobe, input integer lag);
    begin
      @(negedge clk); awaddr = address; awvalid = 1;
      repeat (lag) begin @(negedge clk); if (awready || wready) $display("EARLY"); end
      wdata = data; wstrb = strobe; wvalid = 1;
      while (!(awready && wready)) @(negedge clk);
      @(negedge clk); awvalid = 0; wvalid = 0; awaddr = 12'hfff; wdata = 32'hx;
      repeat (lag) begin
        @(negedge clk);
        if (!bvalid) $display("LOST");
        if (awready) $display("EARLY");
        awvalid = 1; wvalid = 1;  // the next write has to wait for this one's answer
      end
      awvalid = 0; wvalid = 0;
      bready = 1;
      while (!bvalid) @(negedge clk);
      if (bresp != 0) $display("RESPONSE");
      @(negedge clk); bready = 0;
      if (bvalid) $display("TWICE");
    end
  endtask
  task get(input [11:0] address, input integer lag);
    begin
      @(negedge clk); araddr = address; arvalid = 1;
      while (!arready) @(negedge clk);
      @(negedge clk); arvalid = 0; araddr = 12'hfff;
      repeat (lag) begin @(negedge clk); if (!rvalid) $display("LOST"); end
      rready = 1;
      while (!rvalid) @(negedge clk);
      $display("%h", rdata);
      @(negedge clk); rready = 0;
    end
  endtask
  initial begin
    repeat (4) @(negedge clk);
    rst_n = 1;
STATEMENTS
    $finish;
  end
  initial #200000 begin $display("HANGS"); $finish; end
endmodule
"""


def run_bench(tmp_path, lines):
    """What the reads of these statements give, in order."""
    (tmp_path / "snn.v").write_text(TOP)
    (tmp_path / "snn_axi.v").write_text(bitfile.wrapper("snn", known()))
    (tmp_path / "testbench.sv").write_text(BENCH.replace("STATEMENTS", "\n".join(f"    {line}" for line in lines)))
    command, environment = verilator.find()
    for call in ([*command, *verilator.OPTIONS, "snn.v", "snn_axi.v", "testbench.sv"], ["./obj_dir/Vtestbench"]):
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    words = [line for line in done.stdout.splitlines() if not line.startswith("-")]
    assert all(re.fullmatch("[0-9a-f]{8}", word) for word in words), words
    return [int(word, 16) for word in words]


@pytest.mark.skipif(bool(needed()), reason=needed())
def test_steps_over_axi(tmp_path):
    """Random inputs through the wrapper: each result, restart, the clocks, strobes, and what is written too late."""
    rng = random.Random(3)
    lines, expected, total = ["get(12'h0, 0);", "get(12'h20, 1);"], [0, 0], 0
    for step in range(12):
        x, restart, lag = rng.getrandbits(68), step in (0, 5), step % 4
        total = (0 if restart else total) + (x & 0xFF) & 0xFF
        low, middle, high = x & 0xFFFFFFFF, x >> 32 & 0xFFFFFFFF, x >> 64
        lines += [
            f"put(12'h10, 32'h{low:x}, 4'b0011, {lag});",  # by halves
            f"put(12'h10, 32'h{low & 0xFFFF0000 | 0xDEAD:x}, 4'b1100, 0);",
            f"put(12'h14, 32'h{middle:x}, 4'b1111, {lag});",
            f"put(12'h18, 32'h{high | 0xABCDEF00 & ~0xF:x}, 4'b1111, 0);",  # bits beyond the port are of no matter
            "put(12'h20, 32'hffffffff, 4'b1111, 0);",  # an output
            f"put(12'h0, 32'h{1 | restart << 1}, 4'b1111, 0);",
            "get(12'h0, 0);",
            "put(12'h10, 32'hffffffff, 4'b1111, 0);" if step % 2 else "",  # while it works
            "repeat (20) @(negedge clk);",
            *(f"get(12'h{place:x}, {lag});" for place in (0x0, 0x4, 0x1C, 0x20, 0x24, 0x28, 0x10, 0x2C, 0xFF0)),
            "put(12'h0, 32'h3, 4'b1111, 0);",  # once more, with the inputs as they were
            "repeat (20) @(negedge clk);",
            *(f"get(12'h{place:x}, 0);" for place in (0x20, 0x24)),
        ]
        expected += [restart << 1 | 1]
        expected += [restart << 1 | 4, 8, int(restart), total, x >> 28 & 0xFFFFFFFF, x >> 60 & 0xFF, 0, 0, 0]
        total = x & 0xFF
        expected += [total, x >> 28 & 0xFFFFFFFF]
    assert run_bench(tmp_path, lines) == expected


@pytest.mark.skipif(bool(needed()), reason=needed())
def test_nothing_starts_by_itself_and_a_start_needs_its_bit(tmp_path):
    lines = ["put(12'h0, 32'h2, 4'b1111, 0);", "repeat (20) @(negedge clk);", "get(12'h0, 0);", "get(12'h4, 0);"]
    lines += ["put(12'h0, 32'h1, 4'b1110, 0);", "repeat (20) @(negedge clk);", "get(12'h0, 0);", "get(12'h4, 0);"]
    assert run_bench(tmp_path, lines) == [2, 0, 2, 0]
