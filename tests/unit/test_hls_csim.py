import itertools
import re
import shutil

import numpy as np
import pytest

from talon_lib import ir
from talon_lib.errors import ConfigError, MissingToolError, UnsupportedError
from talon_lib.fixed import FixedType
from talon_lib.hls.csim import csim, csim_project
from talon_lib.hls.lower import lower
from talon_lib.hls.project import ProjectSpec, build_project
from talon_lib.precision import describe_types
from talon_lib.simulate import bind_graph, run

pytest.importorskip("hls4ml")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


def neurons(rng, n, reset):
    return ir.LIF(
        tau=rng.uniform(1, 12, n),
        r=1.0,
        v_leak=rng.uniform(-0.3, 0.2, n),
        v_threshold=rng.uniform(0.5, 1.2, n),
        reset=reset,
    )


def affine(rng, n_out, n_in):
    return ir.Affine(rng.normal(0, 0.8, (n_out, n_in)), rng.normal(0, 0.2, n_out))


def wide_network():
    """Two inputs (one of two dimensions), a sum, both activations, all neurons and resets, two outputs, odd names."""
    rng = np.random.default_rng(11)
    nodes = {
        "input": ir.Input((2, 3)),
        "Int": ir.Input((4,)),
        "2nd-layer.x": ir.Flatten(),
        "a/b": affine(rng, 5, 6),
        "a.b": affine(rng, 5, 4),
        "restart": neurons(rng, 5, "leak"),
        "weights": affine(rng, 4, 5),
        "relu": ir.ReLU(),
        "double": affine(rng, 4, 4),
        "leaky": ir.ReLU(negative_slope=-0.375),
        "data": neurons(rng, 4, "subtract"),
        "layer2": affine(rng, 3, 4),
        "return": ir.IF(v_threshold=rng.uniform(0.3, 1, 3), reset="subtract"),
        "layer": affine(rng, 2, 3),
        "IF": ir.IF(v_threshold=[0.5, 0.75]),
        "out": ir.Output((2,)),
        "res": ir.Output((4,)),
    }
    edges = [
        ("input", "2nd-layer.x"), ("2nd-layer.x", "a/b"), ("a/b", "restart"), ("Int", "a.b"), ("a.b", "restart"),
        ("restart", "weights"), ("weights", "relu"), ("relu", "double"), ("double", "leaky"), ("leaky", "data"),
        ("data", "layer2"), ("layer2", "return"), ("return", "layer"), ("layer", "IF"), ("IF", "out"), ("data", "res"),
    ]  # fmt: skip
    return ir.Graph(nodes, edges)


def samples(graph, batch=6, steps=None, seed=1):
    rng = np.random.default_rng(seed)
    lead = (batch,) if steps is None else (steps, batch)
    return {name: rng.normal(0, 1, (*lead, *node.shape)) for name, node in graph.inputs.items()}


def small_network():
    rng = np.random.default_rng(3)
    nodes = {
        "x": ir.Input((3,)),
        "fc": affine(rng, 4, 3),
        "lif": neurons(rng, 4, "leak"),
        "fc2": affine(rng, 2, 4),
        "lif2": neurons(rng, 2, "leak"),
        "y": ir.Output((2,)),
    }
    return ir.Graph(nodes, list(zip(nodes, list(nodes)[1:], strict=False)))


# --- equal ------------------------------------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize(
    ("precision", "io_type", "held"),
    [
        ("int6", "io_parallel", True),
        ("int8", "io_stream", False),
        ("ap_fixed<9,3,AP_RND_CONV,AP_SAT_SYM>", "io_parallel", False),
    ],
)
def test_csim_equals_simulation_on_everything_at_once(precision, io_type, held):
    graph, steps = wide_network(), 7
    inputs = samples(graph, steps=None if held else steps)
    bound = bind_graph(graph, precision, inputs, steps)
    seen = run(graph, bound, inputs, steps)
    fired = [seen.activity[name].spikes for name, node in graph.nodes.items() if node.spiking]
    assert all(spikes > 0 for spikes in fired), "the comparison would show nothing"
    result = csim(graph, bound, inputs, steps, io_type=io_type)
    assert result.equal, str(result.difference)
    assert (result.samples, result.steps) == (6, steps)
    # spikes and membranes of 5 + 4 + 3 + 2 neurons, and 2 + 4 outputs
    assert result.values == 6 * steps * (2 * 14 + 6)
    assert result.compiler.startswith("g++-")


# --- not equal, and what stands in the way ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    graph = small_network()
    inputs = samples(graph)
    bound = bind_graph(graph, "ap_fixed<12,4>", inputs)
    folder = tmp_path_factory.mktemp("built") / "project"
    return graph, inputs, bound, build_project(graph, bound, ProjectSpec(), folder)


@needs_compiler
def test_a_corrupted_threshold_shows_as_the_first_difference(built):
    graph, inputs, bound, project = built
    tables = sorted((project.path / "firmware" / "weights").glob("threshold*.txt"))
    before = tables[0].read_text()
    values = before.replace("\n", " ").split(",")
    steps, neuron = 6, 2
    # without its own threshold the neuron differs where it first fires, and not before
    fires = []
    run(
        graph,
        bound,
        inputs,
        steps,
        observers=(lambda t, n, y, v, x: n == "lif" and fires.append((y.copy(), v["membrane"].copy())),),
    )
    spiked = np.array([spikes[:, neuron] for spikes, _ in fires]).T  # (samples, steps)
    assert spiked.any()
    sample = int(np.flatnonzero(spiked.any(axis=1))[0])
    step = int(np.flatnonzero(spiked[sample])[0])
    tables[0].write_text(", ".join([*values[:neuron], " 7.5", *values[neuron + 1 :]]))
    try:
        result = csim_project(project, graph, bound, inputs, steps)
    finally:
        tables[0].write_text(before)
    found = result.difference
    assert not result.equal
    assert (found.sample, found.step, found.node, found.neuron) == (sample, step, "lif", neuron)
    assert found.what in ("membrane", "spike")
    spikes, membranes = fires[step]
    expected = {"spike": spikes, "membrane": membranes}[found.what][sample, neuron]
    assert found.simulated == expected != found.csim
    for part in (f"sample {sample}", f"step {step}", "node 'lif'", f"neuron {neuron}", repr(found.csim)):
        assert part in str(found)


def test_without_a_compiler_the_error_says_what_to_install(built, monkeypatch, tmp_path):
    graph, inputs, bound, project = built
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match=r"needs g\+\+, which is not on PATH; install it"):
        csim_project(project, graph, bound, inputs, 1)
    with pytest.raises(MissingToolError, match=r"needs g\+\+"):
        csim(graph, bound, inputs, 1, workdir=tmp_path)
    assert not list(tmp_path.iterdir()), "nothing is built before the compiler is known to be there"


@needs_compiler
@pytest.mark.parametrize("precision", ["fp32", "fp16", {"weight": "fp32", "result": "ap_fixed<8,3>"}])
def test_floating_point_is_refused_before_anything_is_written(precision, tmp_path):
    graph = small_network()
    bound = bind_graph(graph, precision)
    for call in (
        lambda: csim(graph, bound, samples(graph), 1, workdir=tmp_path),
        lambda: build_project(graph, bound, ProjectSpec(), tmp_path / "project"),
    ):
        with pytest.raises(UnsupportedError, match=r"node '\w+': its \w+ is fp.*use int2 to int16"):
            call()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_project_is_refused_and_left_alone(built, tmp_path):
    graph, _, bound, _ = built
    mine = tmp_path / "thesis.tex"
    mine.write_text("years of work")
    for place in (tmp_path, mine):
        with pytest.raises(ConfigError, match="exists and is no hls4ml project; choose another folder"):
            build_project(graph, bound, ProjectSpec(), place)
    assert list(tmp_path.iterdir()) == [mine]
    assert mine.read_text() == "years of work"


def test_a_project_replaces_an_earlier_one_whole(built, tmp_path):
    graph, _, bound, _ = built
    place = tmp_path / "project"
    build_project(graph, bound, ProjectSpec(project_name="first"), place)
    assert (place / "firmware" / "first.cpp").exists()
    build_project(graph, bound, ProjectSpec(project_name="second"), place)
    assert not (place / "firmware" / "first.cpp").exists()
    assert (place / "firmware" / "second.cpp").exists()
    assert list(tmp_path.iterdir()) == [place]


# --- what is in a project ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_every_type_in_the_generated_headers_is_one_that_was_assigned(io_type, tmp_path):
    graph = wide_network()
    # a width for every role that nothing else has: 16 bits, the default of hls4ml, among none of them
    widths = {"weight": 5, "bias": 6, "input": 7, "result": 13, "membrane": 11, "decay": 9}
    mapping = {role: f"ap_fixed<{width},3,AP_RND,AP_SAT>" for role, width in widths.items()}
    mapping["decay"] = "ap_ufixed<9,1,AP_RND,AP_SAT>"
    bound = bind_graph(graph, mapping)
    project = build_project(graph, bound, ProjectSpec(io_type=io_type), tmp_path / "project")
    allowed = {number for types in describe_types(bound).values() for number in types.values()}
    allowed |= {at.span.ap_fixed() for at in bound.values() if at.span is not None}
    allowed |= {"ap_uint<1>"}  # spikes, restart, and the index types of hls4ml
    text = "".join((project.path / "firmware" / name).read_text() for name in ("defines.h", "parameters.h"))
    text = re.sub(r"typedef \S+ (relu|leaky)_table_t;", "", text)  # hls4ml gives them one, the kernels use none
    found = set(re.findall(r"ap_u?(?:fixed|int)<[^<>]*>", text))
    assert {_plain(number) for number in found} <= {_plain(number) for number in allowed}
    for width in widths.values():
        assert any(re.match(rf"ap_u?fixed<{width},", number) for number in found)
    assert not re.search(r"typedef (float|double|half|model_default_t)", text)


def _plain(number):
    """A type without spaces, trailing zeros of saturation bits, and modes that are the default."""
    inner = re.sub(r"\s", "", number)
    inner = re.sub(r",0>$", ">", inner) if inner.count(",") == 4 else inner
    return inner.replace(",AP_TRN,AP_WRAP>", ">").replace(",AP_TRN>", ">")


def test_a_layer_without_a_type_of_its_own_would_be_seen():
    """The configuration's default is ap_fixed<16,6>: no layer may be left to it."""
    graph = wide_network()
    lowered = lower(graph, bind_graph(graph, "ap_fixed<9,3>"))
    assert {layer["name"] for layer in lowered.layers} == set(lowered.precision)
    assert all("result" in types for types in lowered.precision.values())


def test_names_become_different_identifiers_that_c_allows():
    graph = wide_network()
    lowered = lower(graph, bind_graph(graph, "ap_fixed<9,3>"))
    names = [layer["name"] for layer in lowered.layers]
    assert len(set(names)) == len(names)
    assert set(lowered.names) == set(graph.nodes)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)
    assert not {"input", "int", "double", "return", "if", "data", "weights"} & set(names)


@pytest.mark.parametrize(("reuse", "strategy"), [(1, "Latency"), (8, "Resource")])
def test_a_project_reports_the_reuse_that_hls4ml_settled_on(reuse, strategy, tmp_path):
    rng = np.random.default_rng(0)
    nodes = {
        "x": ir.Input((16,)),
        "fc": ir.Affine(rng.normal(size=(8, 16))),
        "own": ir.Affine(rng.normal(size=(4, 8)), reuse_factor=4),
        "if": ir.IF(1.0),
        "y": ir.Output((4,)),
    }
    graph = ir.Graph(nodes, list(zip(nodes, list(nodes)[1:], strict=False)))
    spec = ProjectSpec(reuse_factor=reuse, strategy=strategy, part="pynq_z2", clock_period_ns=10)
    project = build_project(graph, bind_graph(graph, "ap_fixed<8,3>"), spec, tmp_path / "project")
    assert project.effective_reuse["fc"] == reuse
    assert project.effective_reuse["own"] == 4
    assert set(project.effective_reuse) == {"fc", "own", "if"}
    parameters = (project.path / "firmware" / "parameters.h").read_text()
    assert f"reuse_factor = {reuse};" in parameters
    assert (project.config["Part"], project.config["ClockPeriod"]) == ("xc7z020clg400-1", 10)
    assert str(tmp_path) not in (project.path / "hls4ml_config.yml").read_text()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"project_name": "my-net"}, "must be a C identifier"),
        ({"io_type": "parallel"}, "io_parallel, io_stream"),
        ({"strategy": "fast"}, "Latency, Resource"),
        ({"reuse_factor": 0}, "must be a whole number of 1 or more"),
        ({"clock_period_ns": 0}, "nanoseconds above 0"),
        ({"part": "pynq_z9"}, "zcu102"),
    ],
)
def test_a_specification_that_cannot_be_right_is_refused(fields, said):
    with pytest.raises(ConfigError, match=said):
        ProjectSpec(**fields)


@needs_compiler
@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_an_output_may_sum_its_edges_and_share_them_with_another(io_type):
    pytest.importorskip("hls4ml")
    nodes = {"x": ir.Input((2, 3)), "a": ir.ReLU(), "b": ir.Tanh(), "n": ir.IF(0.4)}
    nodes |= {"y": ir.Output((2, 3)), "z": ir.Output((2, 3))}
    edges = [("x", "a"), ("x", "b"), ("x", "n"), ("a", "y"), ("b", "y"), ("n", "y"), ("b", "z")]
    graph, x = ir.Graph(nodes, edges), {"x": np.random.default_rng(0).normal(0, 1, (2, 3, 2, 3))}
    found = csim(graph, bind_graph(graph, "ap_fixed<10,4>"), x, 2, io_type)
    assert found.equal, str(found.difference)


def test_what_hls4ml_cannot_hold_is_refused_by_name(tmp_path):
    plain = {"x": ir.Input((2,)), "fc": ir.Affine(np.eye(2)), "if": ir.IF(1.0), "y": ir.Output((2,))}
    chain = [("x", "fc"), ("fc", "if"), ("if", "y")]
    cases = [
        (ir.Graph(plain, [*chain, ("if", "if")], allow_cycles=True), "'if' -> 'if' closes a cycle"),
        (ir.Graph({**plain, "z": ir.Output((2,))}, [*chain, ("x", "z")]), "output 'z' is fed by an input"),
    ]
    for graph, said in cases:
        bound = bind_graph(graph, "ap_fixed<8,3>")
        assert all(isinstance(at.types.result, FixedType) for at in bound.values())
        with pytest.raises(UnsupportedError, match=said):
            build_project(graph, bound, ProjectSpec(), tmp_path / "project")
    assert not list(tmp_path.iterdir())


@needs_compiler
@pytest.mark.parametrize(
    ("strategy", "reuse", "effective"), [("Latency", 8, (8, 8)), ("Resource", 4, (4, 4)), ("Resource", 48, (48, 48))]
)
def test_the_reuse_factor_changes_no_value(strategy, reuse, effective, tmp_path):
    rng = np.random.default_rng(5)
    sizes = (12, 16, 9)  # a factor of 48 is above the inputs of both layers: hls4ml's other Resource kernel
    nodes, edges, last = {"x": ir.Input([12])}, [], "x"
    for i, (n, m) in enumerate(itertools.pairwise(sizes)):
        nodes[f"fc{i}"] = ir.Affine(rng.normal(0, 0.7, (m, n)), rng.normal(0, 0.1, m))
        nodes[f"lif{i}"] = ir.LIF(tau=np.full(m, 4.0), r=np.ones(m), v_leak=np.zeros(m), v_threshold=np.ones(m))
        edges += [(last, f"fc{i}"), (f"fc{i}", f"lif{i}")]
        last = f"lif{i}"
    graph = ir.Graph({**nodes, "y": ir.Output([9])}, [*edges, (last, "y")])
    inputs = {"x": rng.uniform(-1, 1, (5, 12))}
    bound = bind_graph(graph, "int8", inputs, 4)
    project = build_project(graph, bound, ProjectSpec(strategy=strategy, reuse_factor=reuse), tmp_path / "project")
    assert (project.effective_reuse["fc0"], project.effective_reuse["fc1"]) == effective
    found = csim_project(project, graph, bound, inputs, 4)
    assert found.equal, found.difference


@needs_compiler
@pytest.mark.parametrize("strategy", ["Latency", "Resource"])
def test_weights_of_one_bit_on_spikes_are_zeros_and_ones(strategy):
    """hls4ml takes a uint<1> weight on uint<1> data for a binary network's -1 and 1."""
    pytest.importorskip("hls4ml")
    rng = np.random.default_rng(1)
    nodes = {
        "x": ir.Input((6,)),
        "n": ir.IF(0.5),
        "fc": ir.Affine(rng.integers(0, 2, (4, 6)), weight_t="ap_ufixed<1,1>"),
        "y": ir.Output((4,)),
    }
    graph = ir.Graph(nodes, [("x", "n"), ("n", "fc"), ("fc", "y")])
    x = {"x": rng.uniform(0, 1, (3, 5, 6))}
    found = csim(graph, bind_graph(graph, "ap_fixed<8,4>"), x, 3, strategy=strategy)
    assert found.equal, str(found.difference)
