"""Every BitstreamConfig, against the stand-ins: the right commands run, or one line says why nothing does."""

import dataclasses
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from talon_lib import backend, ir
from talon_lib.errors import ConfigError, UnsupportedError
from talon_lib.hls import csim as judge
from talon_lib.hls import vitis
from talon_lib.hls.record import read_record

MOCKS = Path(__file__).parent.parent / "mock_tools"
NAMES = [field.name for field in dataclasses.fields(backend.BitstreamConfig)]
CONFIGS = [
    backend.BitstreamConfig(**dict(zip(NAMES, values, strict=True)))
    for values in itertools.product([False, True], repeat=len(NAMES))
]


def label(config):
    return "+".join(name for name in NAMES if getattr(config, name)) or "nothing"


@pytest.fixture
def no_tools(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    for variable in ("XILINX_VITIS", "XILINX_HLS", "XILINX_VIVADO", "MOCK_VITIS", "MOCK_VIVADO"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def mocks(no_tools, monkeypatch):
    monkeypatch.setenv("PATH", f"{MOCKS}:/usr/bin:/bin")


@pytest.fixture(scope="module")
def graph():
    weight = np.random.default_rng(3).normal(size=(3, 4))
    lif = ir.LIF(*(np.full(3, value) for value in (4.0, 1.0, 0.0, 0.5)))
    nodes = {"x": ir.Input([4]), "fc": ir.Affine(weight, np.zeros(3)), "lif": lif, "o": ir.Output([3])}
    return ir.Graph(nodes, [("x", "fc"), ("fc", "lif"), ("lif", "o")])


@pytest.mark.parametrize("config", CONFIGS, ids=label)
def test_every_combination(mocks, graph, tmp_path, monkeypatch, config):
    compared = []

    def csim_project(project, *_):
        compared.append(project)
        return judge.CsimResult(1, 3, 27, None, "g++")

    monkeypatch.setattr(judge, "csim_project", csim_project)  # test_backend_fpga.py runs the real one

    def build():
        return backend.get_backend("fpga").build_bitstream(
            graph, tmp_path / "p", "net", "zcu102", bitstream_config=config, write_to_disk=True, n_steps=3
        )

    steps = [step for step in vitis.STEPS if getattr(config, step)]
    if steps and not config.synth:
        with pytest.raises(ConfigError, match=f"^{steps[0]} works on the result of synth, and there is none yet"):
            build()
    else:
        result = build()
        assert bool(compared) == ("csim" in result) == config.csim
        assert (tmp_path / "p" / "seen_steps").exists() == ("synth" in result) == bool(steps)
        assert (tmp_path / "p" / "seen_vivado").exists() == config.vsynth
        assert (tmp_path / "p" / "seen_bitfile").exists() == ("bitfile" in result) == config.bitfile
        assert (tmp_path / "p" / vitis.STIMULI).exists() == config.cosim
        if config.bitfile:
            assert result["bitfile"] == str(tmp_path / "p" / "net.bit")
            assert result["descriptor"].metadata["bitfile"] == result["bitfile"]
            assert {result["bitfile"], str(tmp_path / "p" / "net_registers.json")} < set(result["written_files"])
        if steps:
            steps = [step for step in steps if step != "bitfile"]  # which is a run of its own, after the others
            assert (tmp_path / "p" / "seen_steps").read_text().split() == steps
            if config.bitfile:
                last = "seen_vivado" if config.vsynth else "seen_steps"
                times = [(tmp_path / "p" / name).stat().st_mtime_ns for name in (last, "seen_bitfile")]
                assert times == sorted(times)
            seen = (tmp_path / "p" / "seen_build_opt.tcl").read_text()
            assert set(re.findall(r"^ +(\w+) +1$", seen, re.M)) == set(steps)
            assert (result["synth"].cosim_values is not None) == config.cosim
            assert (result["synth"].vsynth_lut is not None) == config.vsynth
            assert (result["synth"].routed_lut is not None) == config.bitfile
        return
    assert compared == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, UnsupportedError, r"^bitfile: a bitstream needs vivado and a design around .* xczu9eg-ffvb1156-2-i is on"),
        ({"part": "zcu102", "io_type": "io_stream"}, UnsupportedError, r"^bitfile: io_stream: .*; use io_parallel$"),
        ({"part": "zcu1"}, ConfigError, "^unknown part or board 'zcu1'"),
        ({"part": "pynq_z2", "write_to_disk": False}, ConfigError, "^synth works in the project's folder"),
    ],
)
def test_bitfile_is_refused_before_anything_is_done(mocks, graph, tmp_path, options, error, message):
    config = backend.BitstreamConfig(bitfile=True)
    with pytest.raises(error, match=message) as caught:
        backend.get_backend("fpga").build_bitstream(
            graph, tmp_path / "p", bitstream_config=config, **{"write_to_disk": True, **options}
        )
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_difference_in_cosim_cannot_be_missed(mocks, graph, tmp_path, monkeypatch):
    monkeypatch.setenv("MOCK_VITIS", "differs")
    config = backend.BitstreamConfig(cosim=True, export=False, vsynth=False)
    with pytest.warns(RuntimeWarning, match="^cosim differs: call 1, output 0: "):
        result = backend.get_backend("fpga").build_bitstream(
            graph, tmp_path / "p", bitstream_config=config, write_to_disk=True, n_steps=3
        )
    assert result["synth"].cosim_equal is False


def test_the_warnings_say_what_missing_tools_would_add(no_tools, graph):
    found = backend.get_backend("fpga").build_bitstream(graph)["descriptor"].metadata["warnings"]
    assert [line.partition(" is not here; ")[0] for line in found] == ["vitis-run", "vivado"]


def test_no_warning_where_the_tools_are(mocks, graph):
    assert backend.get_backend("fpga").build_bitstream(graph)["descriptor"].metadata["warnings"] == []


def test_a_project_says_what_it_was_made_of(mocks, graph, tmp_path):
    backend.get_backend("fpga").build_bitstream(
        graph, tmp_path / "p", part="zcu102", default_precision="int8", default_reuse_factor=2, write_to_disk=True
    )
    record = read_record(tmp_path / "p")
    assert record["fingerprint"] == graph.fingerprint
    assert (record["precision"], record["reuse_factor"], record["part"]) == ("int8", 2, "xczu9eg-ffvb1156-2-e")
    assert json.loads((tmp_path / "p" / "design.json").read_text()) == record
