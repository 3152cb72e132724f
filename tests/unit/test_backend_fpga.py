"""The fpga backend: what it takes, what it describes, what it writes, and what it refuses before it does anything."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from talon_lib import backend, ir
from talon_lib.errors import (
    ConfigError,
    GraphError,
    MissingToolError,
    PrecisionError,
    ToolError,
    ToolTimeout,
    UnsupportedError,
)
from talon_lib.hls import csim as judge
from talon_lib.hls.boards import BOARDS
from talon_lib.precision import describe_types
from talon_lib.simulate import bind_graph

MOCKS = Path(__file__).parent.parent / "mock_tools"
NOTHING = backend.BitstreamConfig(csim=False, synth=False, cosim=False, export=False, vsynth=False, bitfile=False)
CSIM = dataclasses.replace(NOTHING, csim=True)
SYNTH = dataclasses.replace(NOTHING, synth=True)
KEYS = [
    "hls4ml_config",
    "parameters_h",
    "build_script",
    "tcl_script",
    "template_paths",
    "descriptor",
    "written_files",
]


def lif(shape):
    return ir.LIF(*(np.full(shape, v) for v in (4.0, 1.0, 0.0, 0.5)))


def affine(n_out, n_in, **hints):
    rng = np.random.default_rng(n_out * 100 + n_in)
    return ir.Affine(rng.normal(size=(n_out, n_in)), rng.normal(size=n_out) / 4, **hints)


def chained(**nodes):
    return ir.Graph(nodes, list(zip(nodes, list(nodes)[1:], strict=False)))


@pytest.fixture(scope="module")
def graph():
    return chained(
        i=ir.Input([4]),
        fc1=affine(6, 4, reuse_factor=2),
        lif1=lif(6),
        fc2=affine(3, 6),
        if2=ir.IF(np.full(3, 0.75), reset="subtract"),
        o=ir.Output([3]),
    )


@pytest.fixture(scope="module")
def cyclic():
    return ir.Graph(
        {"i": ir.Input([2]), "a": affine(2, 2), "l": lif(2), "b": affine(2, 2), "o": ir.Output([2])},
        [("i", "a"), ("a", "l"), ("l", "b"), ("b", "a"), ("l", "o")],
        allow_cycles=True,
    )


@pytest.fixture(scope="module")
def fpga():
    return backend.get_backend("fpga")


@pytest.fixture
def no_tools(monkeypatch, tmp_path):
    """An environment without any program."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    for variable in ("XILINX_VITIS", "XILINX_HLS", "XILINX_VIVADO", "MOCK_VITIS"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def mocks(no_tools, monkeypatch):
    """The stand-ins for AMD's tools on PATH."""
    monkeypatch.setenv("PATH", f"{MOCKS}:/usr/bin:/bin")


# --- capabilities, validate ----------------------------------------------------------------------------------------


def test_capabilities(fpga):
    capabilities = fpga.get_capabilities()
    assert capabilities.supported_precisions == ["fp32", "int16", "int8", "int4", "ap_fixed<16,6>"]
    assert capabilities.supported_primitives == ir.list_primitives()
    assert capabilities.supports_cyclic is False
    assert capabilities.max_graph_size == 50_000


def test_validate(fpga, graph):
    assert fpga.validate(graph) == backend.ValidationResult(True, [], [])


def test_a_cycle_is_refused(fpga, cyclic):
    reason = "edge 'b' -> 'a' closes a cycle, which hls4ml cannot hold"
    assert fpga.validate(cyclic) == backend.ValidationResult(False, ["a"], [reason])
    for refuse in (fpga.compile, fpga.build_bitstream):
        with pytest.raises(UnsupportedError, match=reason):
            refuse(cyclic)


@pytest.mark.parametrize(
    ("refused", "nodes", "reason"),
    [
        (
            chained(i=ir.Input([4]), o=ir.Output([4])),
            ["o"],
            "output 'o' is fed by an input directly; put a layer between them",
        ),
        (
            chained(i=ir.Input([2, 2]), f=ir.Flatten(), o=ir.Output([4])),
            ["o"],
            "output 'o' is fed by an input directly; put a layer between them",
        ),
        (
            ir.Graph(
                {"i": ir.Input([2]), "l": lif(2), "f": ir.Flatten(), "o": ir.Output([2]), "p": ir.Output([2])},
                [("i", "l"), ("l", "o"), ("l", "f"), ("f", "p")],
            ),
            ["p"],
            "outputs 'o' and 'p' are both the result of node 'l', which hls4ml gives one port; keep one of them",
        ),
    ],
)
def test_what_hls4ml_cannot_hold_is_named(fpga, refused, nodes, reason):
    assert fpga.validate(refused) == backend.ValidationResult(False, nodes, [reason])
    with pytest.raises(UnsupportedError) as caught:
        fpga.compile(refused)
    assert str(caught.value) == reason


def test_a_graph_that_does_not_fit_the_default_precision_is_valid_with_a_warning(fpga):
    wide = chained(i=ir.Input([2]), l=ir.LIF(*(np.full(2, v) for v in (4.0, 1.0, 0.0, 100.0))), o=ir.Output([2]))
    found = fpga.validate(wide)
    assert (found.is_valid, found.unsupported_nodes) == (True, [])
    assert found.warnings[0].startswith("at the default precision: node 'l': its v_threshold")
    with pytest.raises(PrecisionError):
        fpga.compile(wide)
    fpga.compile(wide, default_precision="ap_fixed<16,9>")


def test_size_limit(fpga, monkeypatch, graph):
    monkeypatch.setattr("talon_lib.backend.fpga.MAX_GRAPH_SIZE", 5)
    reason = "6 nodes are more than the 5 that"
    assert not fpga.validate(graph).is_valid
    assert fpga.validate(graph).warnings[0].startswith(reason)
    with pytest.raises(UnsupportedError, match=reason):
        fpga.compile(graph)


# --- compile -------------------------------------------------------------------------------------------------------


def test_compile_describes_the_hardware(fpga, graph, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = fpga.compile(graph, part="zcu104", clock_period=4, default_reuse_factor=3, strategy="resource")
    assert list(tmp_path.iterdir()) == []
    metadata = made.metadata
    assert metadata["types"] == describe_types(bind_graph(graph, "ap_fixed<16,6>"))
    assert (metadata["part"], metadata["clock_period_ns"]) == ("xczu7ev-ffvc1156-2-e", 4)
    assert metadata["template_paths"] == [
        "firmware/nnet_utils/nnet_neuron.h",
    ]
    config = metadata["hls4ml_config"]
    assert (config["Part"], config["ClockPeriod"], config["IOType"]) == ("xczu7ev-ffvc1156-2-e", 4, "io_parallel")
    assert config["HLSConfig"]["Model"]["Strategy"] == "Resource"
    reuse = {name: layer["ReuseFactor"] for name, layer in config["HLSConfig"]["LayerName"].items()}
    assert (reuse["fc1"], reuse["fc2"]) == (2, 3)
    assert made.execution_schedule == {0: [["fc1", "lif1", "fc2", "if2"]]}
    assert {node.precision for node in made.neuron_configs[0]} == {"ap_fixed<16,6>"}


@pytest.mark.parametrize("precision", ["fp32", "int8", "ap_fixed<12,5>", {"weight": "int4", "result": "int16"}])
def test_descriptors_come_back_from_json(fpga, graph, tmp_path, precision):
    made = fpga.compile(graph, default_precision=precision, bitstream_config=backend.BitstreamConfig())
    made.to_json(tmp_path / "d.json")
    back = backend.HardwareDescriptor.from_json(tmp_path / "d.json")
    assert (back.metadata, back.neuron_configs) == (made.metadata, made.neuron_configs)
    assert made.metadata["bitstream"]["synth"] is True


def test_floating_point_is_described_but_not_built(fpga, graph, tmp_path):
    made = fpga.compile(graph, default_precision="fp32")
    assert made.metadata["hls4ml_config"] is None
    assert made.metadata["types"]["lif1"]["membrane"] == "fp32"
    reason = "node 'i': its input is fp32, and hardware holds fixed point only; use int2 to int16 or ap_fixed<W,I> "
    assert made.metadata["warnings"][0].startswith(f"build_bitstream will refuse this: {reason}")
    with pytest.raises(UnsupportedError) as caught:
        fpga.build_bitstream(graph, tmp_path / "p", default_precision="fp32", write_to_disk=True)
    assert str(caught.value).startswith(reason)
    assert list(tmp_path.iterdir()) == []


def test_the_configs_precision_counts_where_none_is_given(fpga, graph):
    config = backend.CompileConfig(target_precision="int4", optimize_for="energy")
    made = fpga.compile(graph, config)
    assert made.metadata["types"]["fc1"]["weight"].startswith("ap_fixed<4,")
    assert made.metadata["optimize_for"] == "energy"
    assert fpga.compile(graph, config, default_precision="int8").metadata["precision"] == "int8"
    with pytest.raises(UnsupportedError, match="execution_mode 'cyclic': hls4ml cannot hold cycles"):
        fpga.compile(graph, backend.CompileConfig(execution_mode="cyclic"))


def test_calibration_samples_set_the_scales(fpga, graph):
    def input_type(data):
        made = fpga.compile(graph, default_precision="int8", calibration_data={"i": data})
        return made.metadata["types"]["i"]["result"]

    assert input_type(np.full(4, 100.0)) != input_type(np.full(4, 0.01))


def test_layers_too_large_to_unroll_are_warned_of(fpga):
    large = chained(i=ir.Input([100]), fc=affine(50, 100), o=ir.Output([50]))
    (warning,) = fpga.compile(large).metadata["warnings"]
    assert warning.startswith("node 'fc' has 5,000 weights, more than the 4,096 that Vitis HLS unrolls")
    assert fpga.compile(large, strategy="Resource").metadata["warnings"] == []


@pytest.mark.parametrize("board", BOARDS)
def test_boards_by_name(fpga, graph, board):
    assert fpga.compile(graph, part=board.upper()).metadata["part"] == BOARDS[board]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"part": "zcu9"}, ConfigError, "unknown part or board 'zcu9'; .*zcu102, zcu104"),
        ({"project_name": "my project"}, ConfigError, "project_name 'my project' must be a C identifier"),
        ({"clock_period": 0}, ConfigError, "clock period 0 must be a number of nanoseconds above 0"),
        ({"io_type": "io_serial"}, ConfigError, "io_type 'io_serial' must be one of io_parallel, io_stream"),
        ({"strategy": "Speed"}, ConfigError, "strategy 'Speed' must be one of Latency, Resource"),
        ({"default_reuse_factor": 0}, ConfigError, "reuse factor 0 must be a whole number of 1 or more"),
        ({"default_precision": "int1"}, PrecisionError, "integer precisions go from int2 to int16"),
        ({"default_precision": "double"}, PrecisionError, "unknown precision 'double'"),
        ({"default_precision": "int8", "calibration_data": {"x": np.ones(4)}}, GraphError, "there is no input 'x'"),
        (
            {"default_precision": "int8", "n_steps": 0},
            ConfigError,
            "the number of steps must be a whole number of 1 or more",
        ),
    ],
)
def test_arguments_that_cannot_be_right(fpga, graph, tmp_path, arguments, error, message):
    for refuse in (fpga.compile, fpga.build_bitstream):
        with pytest.raises(error, match=message) as caught:
            refuse(graph, output_dir=tmp_path / "p", **arguments)
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# --- build_bitstream -----------------------------------------------------------------------------------------------


def test_texts_without_writing(fpga, graph, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = fpga.build_bitstream(graph, "project")
    assert list(result) == KEYS
    assert list(tmp_path.iterdir()) == []
    assert result["written_files"] == []
    assert "struct config" in result["parameters_h"]
    assert "csynth_design" in result["tcl_script"]
    compile(result["build_script"], "build.py", "exec")
    assert result["hls4ml_config"] == result["descriptor"].metadata["hls4ml_config"]


def test_the_written_project_is_what_was_returned(fpga, graph, tmp_path):
    folder = tmp_path / "new" / "project"
    result = fpga.build_bitstream(graph, folder, "demo", part="pynq_z2", default_precision="int8", write_to_disk=True)
    assert (folder / "firmware/parameters.h").read_text() == result["parameters_h"]
    assert (folder / "build.py").read_text() == result["build_script"]
    assert (folder / "build_prj.tcl").read_text() == result["tcl_script"]
    assert all((folder / path).is_file() for path in result["template_paths"])
    assert result["written_files"] == sorted(str(path) for path in folder.rglob("*") if path.is_file())
    assert [path.name for path in folder.parent.iterdir()] == ["project"]
    assert 'set part "xc7z020clg400-1"' in (folder / "project.tcl").read_text()
    for name in ("hls4ml_config.yml", "build_lib.sh", "project.tcl"):
        assert str(tmp_path) not in (folder / name).read_text()


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_csim_and_its_repetition(fpga, graph, tmp_path, io_type):
    x = np.random.default_rng(5).uniform(-2, 2, (7, 3, 4))
    arguments = {"default_precision": "int8", "io_type": io_type, "input_data": {"i": x}, "n_steps": 7}
    result = fpga.build_bitstream(graph, tmp_path / "p", bitstream_config=CSIM, write_to_disk=True, **arguments)
    assert list(result) == [*KEYS, "csim"]
    assert result["csim"].equal
    assert (result["csim"].samples, result["csim"].steps, result["csim"].values) == (3, 7, 3 * 7 * (3 + 2 * 9))

    def again():
        command = [sys.executable, "build.py", "csim"]
        return subprocess.run(command, cwd=moved, capture_output=True, text=True, check=False)

    moved = tmp_path / "moved"  # the folder stands alone
    (tmp_path / "p").rename(moved)
    assert (again().returncode, again().stdout) == (0, "equal: 441 values, 3 samples, 7 steps\n")

    expected = np.fromfile(moved / "csim_expected.bin").reshape(3, 7, 21)
    expected[1, 4, 3 + 2 * 2 + 1] += 0.5  # the membrane of lif1's neuron 2
    expected.tofile(moved / "csim_expected.bin")
    different = again()
    assert different.returncode == 1
    assert different.stdout.startswith(
        f"different: first at index {(1 * 7 + 4) * 21 + 8}: sample 1, step 4, node 'lif1', neuron 2: membrane "
    )


def test_build_py_without_what_it_needs(fpga, graph, tmp_path, no_tools):
    fpga.build_bitstream(graph, tmp_path / "p", write_to_disk=True)

    def build(*arguments):
        command = [sys.executable, "build.py", *arguments]
        return subprocess.run(command, cwd=tmp_path / "p", capture_output=True, text=True, check=False)

    assert build().returncode == 0
    assert "python build.py csim" in build().stdout
    for arguments, message in (
        (["csim"], "build.py: csim.json is missing: no C simulation was recorded in this folder; "),
        (["synth", "export"], "build.py: synth, export: needs vitis-run (AMD Vitis 2024.1 or newer)"),
        (["export"], "build.py: export works on the result of synth, and there is none yet; add synth"),
        (["bitfile"], "build.py: unknown step 'bitfile'; there are: csim, synth, cosim, export, vsynth"),
    ):
        done = build(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert done.stderr.startswith(message)


def test_a_difference_cannot_be_missed(fpga, graph, monkeypatch):
    real = judge.run

    def off(*arguments, observers):
        """Our own simulation with one membrane wrong."""

        def wrong(step, name, result, state, x):
            if (step, name) == (2, "if2"):
                membrane = state["membrane"]
                state = {"membrane": membrane + np.eye(*membrane.shape)[[0] * len(membrane)]}
            observers[0](step, name, result, state, x)

        return real(*arguments, observers=(wrong,))

    monkeypatch.setattr(judge, "run", off)
    with pytest.warns(
        RuntimeWarning, match=r"^C simulation differs: sample 0, step 2, node 'if2', neuron 0: membrane "
    ):
        result = fpga.build_bitstream(graph, bitstream_config=CSIM, n_steps=4)
    assert not result["csim"].equal
    assert (result["csim"].difference.node, result["csim"].difference.step) == ("if2", 2)


def test_a_timeout_of_csim(fpga, graph, tmp_path):
    with pytest.raises(ToolTimeout, match=r"^the C\+\+ compiler did not end in 0\.05 s"):
        fpga.build_bitstream(graph, tmp_path / "p", bitstream_config=CSIM, write_to_disk=True, timeout=0.05)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_project_is_replaced_and_foreign_folders_are_refused(fpga, graph, tmp_path):
    fpga.build_bitstream(graph, tmp_path / "p", "first", write_to_disk=True)
    (tmp_path / "p" / "leftover").write_text("")
    fpga.build_bitstream(graph, tmp_path / "p", "second", write_to_disk=True)
    assert not (tmp_path / "p" / "leftover").exists()
    assert not (tmp_path / "p" / "first_bridge.cpp").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("irreplaceable")
    (tmp_path / "file").write_text("")
    for name in ("mine", "file"):
        with pytest.raises(ConfigError, match=f"{name} exists and is no hls4ml project; choose another folder"):
            fpga.build_bitstream(graph, tmp_path / name, write_to_disk=True)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "irreplaceable"
    (tmp_path / "bare").mkdir()
    fpga.build_bitstream(graph, tmp_path / "bare", write_to_disk=True)


@pytest.mark.parametrize("folder", [".", "..", "../sub"])
def test_the_current_folder_is_not_replaced(fpga, graph, tmp_path, monkeypatch, folder):
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    with pytest.raises(ConfigError, match="is the current folder or holds it; a project needs a folder of its own"):
        fpga.build_bitstream(graph, folder, write_to_disk=True)
    assert Path.cwd() == tmp_path / "sub"


def test_a_link_is_followed(fpga, graph, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    fpga.build_bitstream(graph, tmp_path / "link", write_to_disk=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "build.py").exists()


# --- tools ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["synth", "cosim", "export", "vsynth"])
def test_a_missing_tool_ends_it_before_anything_is_written(fpga, graph, tmp_path, no_tools, step):
    wanted = dataclasses.replace(SYNTH, **{step: True})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(MissingToolError, match=rf"^[a-z, ]*{step}[a-z, ]*: needs vitis-run .* or vitis_hls") as caught:
        fpga.build_bitstream(graph, tmp_path / "p", bitstream_config=wanted, write_to_disk=True)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_csim_needs_a_compiler(fpga, graph, tmp_path, no_tools):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(MissingToolError, match=r"^C simulation needs g\+\+, which is not on PATH"):
        fpga.build_bitstream(graph, tmp_path / "p", bitstream_config=CSIM, write_to_disk=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_hls4ml_is_missing(fpga, graph, tmp_path, monkeypatch):
    import importlib.metadata

    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(MissingToolError, match=r"^hls4ml is not installed; run: pip install 'talon-dse\[fpga\]'$"):
        fpga.build_bitstream(graph, tmp_path / "p", write_to_disk=True)
    assert list(tmp_path.iterdir()) == []


def test_bitfile_is_refused(fpga, graph, tmp_path, mocks):
    wanted = dataclasses.replace(NOTHING, bitfile=True)
    with pytest.raises(UnsupportedError, match=r"^bitfile: a bitstream needs vivado and a design around") as caught:
        fpga.build_bitstream(graph, tmp_path / "p", bitstream_config=wanted, write_to_disk=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "p").exists()


def test_steps_that_do_not_fit_together(fpga, graph, tmp_path, mocks):
    with pytest.raises(ConfigError, match=r"^export works on the result of synth, and there is none yet"):
        fpga.build_bitstream(
            graph, tmp_path / "p", bitstream_config=dataclasses.replace(NOTHING, export=True), write_to_disk=True
        )
    with pytest.raises(ConfigError, match=r"^synth works in the project's folder .* set write_to_disk$"):
        fpga.build_bitstream(graph, tmp_path / "p", bitstream_config=SYNTH)
    assert not (tmp_path / "p").exists()


def test_synthesis_in_the_written_project(fpga, graph, tmp_path, mocks):
    wanted = backend.BitstreamConfig(csim=True, synth=True, cosim=True, export=True, vsynth=True, bitfile=False)
    folder = tmp_path / "p"
    result = fpga.build_bitstream(graph, folder, "demo", bitstream_config=wanted, write_to_disk=True, n_steps=2)
    assert list(result) == [*KEYS, "csim", "reports", "synth"]
    assert result["csim"].equal
    assert result["reports"] == [str(folder / "demo_prj/solution1/syn/report/demo_csynth.xml")]
    assert (result["synth"].cosim_equal, result["synth"].cosim_values) == (True, 64 * 2 * 3)  # of noise
    described = result["descriptor"].metadata["synth"]
    assert described == {"source": "vitis-2024.1", **dataclasses.asdict(result["synth"])}
    result["descriptor"].to_json(tmp_path / "d.json")
    assert backend.HardwareDescriptor.from_json(tmp_path / "d.json").metadata["synth"] == described
    assert set(result["reports"]) | {str(folder / "vitis.log")} < set(result["written_files"])


def test_a_failed_synthesis_leaves_its_log(fpga, graph, tmp_path, mocks, monkeypatch):
    monkeypatch.setenv("MOCK_VITIS", "fail")
    with pytest.raises(ToolError, match=r"^vitis-run failed: ERROR: \[HLS 200-70\] .*vitis\.log$"):
        fpga.build_bitstream(graph, tmp_path / "p", bitstream_config=SYNTH, write_to_disk=True)
    assert (tmp_path / "p" / "vitis.log").exists()


def test_every_sum_of_edges_is_equal_in_csim(fpga):
    """Edges that are summed become layers of their own: two and three spikes, and two layers."""
    graph = ir.Graph(
        {
            "i": ir.Input([4]),
            "a": affine(4, 4),
            "b": affine(4, 4),
            "l1": lif(4),
            "l2": lif(4),
            "l3": lif(4),
            "c": affine(2, 4),
            "o": ir.Output([2]),
        },
        [("i", "a"), ("i", "b"), ("a", "l1"), ("b", "l1"), ("a", "l2"), ("i", "l3")]
        + [(source, "c") for source in ("l1", "l2", "l3")]
        + [("c", "o")],
    )
    assert fpga.validate(graph).is_valid
    assert fpga.build_bitstream(graph, bitstream_config=CSIM)["csim"].equal
