from pathlib import Path

import h5py
import nir
import numpy as np
import pytest

from talon_lib import ir
from talon_lib.errors import FormatError
from talon_lib.formats.nir import DEFAULT_DT
from talon_lib.simulate import bind_graph, run

PUBLIC = Path(__file__).parents[3] / "shared" / "nir"


def network(seed=0):
    rng = np.random.default_rng(seed)
    nodes = {
        "x": ir.Input((2, 3)),
        "flat": ir.Flatten(),
        "fc1": ir.Affine(rng.normal(size=(4, 6)), rng.normal(size=4)),
        "lif": ir.LIF(
            tau=rng.uniform(1, 30, 4), r=1.0, v_leak=rng.uniform(-0.5, 0.2, 4), v_threshold=rng.uniform(0.5, 2, 4)
        ),
        "fc2": ir.Affine(rng.normal(size=(3, 4))),
        "if": ir.IF(v_threshold=[1.0, 1.5, 2.0]),
        "y": ir.Output((3,)),
    }
    return ir.Graph(nodes, list(zip(nodes, list(nodes)[1:], strict=False)), metadata={"made_by": "a test"})


def nir_graph(nodes, path, metadata=None):
    edges = list(zip(nodes, list(nodes)[1:], strict=False))
    nir.write(path, nir.NIRGraph(nodes, edges, metadata=metadata or {}, type_check=False))
    return path


def nir_lif(n=2, tau=0.01, r=1.0, v_leak=0.0, v_threshold=1.0, v_reset=None):
    full = {key: np.full(n, value) for key, value in {"tau": tau, "r": r, "v_leak": v_leak}.items()}
    reset = None if v_reset is None else np.full(n, v_reset)
    return nir.LIF(**full, v_threshold=np.full(n, v_threshold), v_reset=reset)


def around(node, n_in=2, n_out=2, **between):
    return {"x": nir.Input(np.array([n_in])), **between, "node": node, "y": nir.Output(np.array([n_out]))}


@pytest.mark.parametrize("seed", range(5))
def test_reading_what_was_written_behaves_the_same(seed, tmp_path):
    graph = network(seed)
    ir.write(tmp_path / "a.nir", graph)
    read = ir.read(tmp_path / "a.nir")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.nir"], "no temporary file is left"
    assert set(read.edges) == set(graph.edges)
    np.testing.assert_array_equal(read.nodes["fc1"].weight, graph.nodes["fc1"].weight)
    np.testing.assert_array_equal(read.nodes["fc1"].bias, graph.nodes["fc1"].bias)
    np.testing.assert_array_equal(read.nodes["lif"].tau, graph.nodes["lif"].tau)
    x = np.random.default_rng(seed).normal(size=(10, 2, 3))
    for precision in ("fp32", "ap_fixed<16,6>"):
        one, other = (run(g, bind_graph(g, precision), {"x": x}, 6) for g in (graph, read))
        np.testing.assert_array_equal(one.outputs["y"], other.outputs["y"])


def test_a_graph_with_all_values_written_out_comes_back_with_its_fingerprint(tmp_path):
    taus = np.array([1.0, 1.7, 20.0, 333.3])
    full = ir.LIF(tau=taus, r=taus, v_leak=[0.0, 0.1, -0.3, 0.2], v_threshold=[1.0, 0.5, 1.0, 2.0])
    graph = network()
    graph = ir.Graph({**graph.nodes, "lif": full}, graph.edges)
    for dt in (1e-4, 0.003, 1.0):
        ir.write(tmp_path / "a.nir", graph, dt=dt)
        assert ir.read(tmp_path / "a.nir").fingerprint == graph.fingerprint


def test_a_second_round_trip_has_the_same_fingerprint(tmp_path):
    ir.write(tmp_path / "a.nir", network())
    once = ir.read(tmp_path / "a.nir")
    ir.write(tmp_path / "b.nir", once)
    assert ir.read(tmp_path / "b.nir").fingerprint == once.fingerprint


def test_dt_is_kept_in_the_metadata_and_read_from_there(tmp_path):
    path = tmp_path / "a.nir"
    ir.write(path, network(), dt=0.002)
    assert nir.read(path).metadata["dt"] == 0.002
    read = ir.read(path)
    assert (read.metadata["dt"], read.metadata["made_by"]) == (0.002, "a test")
    np.testing.assert_allclose(read.nodes["lif"].tau, network().nodes["lif"].tau, rtol=3e-7)


def test_dt_comes_from_the_argument_then_the_file_then_the_default(tmp_path):
    nodes = around(nir_lif(tau=0.02, r=1.0), fc=nir.Affine(np.eye(2), np.zeros(2)))
    silent = nir_graph(nodes, tmp_path / "silent.nir")
    telling = nir_graph(nodes, tmp_path / "telling.nir", {"dt": 0.005})
    taus = [ir.read(silent), ir.read(silent, dt=0.01), ir.read(telling), ir.read(telling, dt=0.01)]
    expected = [0.02 / DEFAULT_DT, 2.0, 4.0, 2.0]
    np.testing.assert_allclose([g.nodes["node"].tau[0] for g in taus], expected, rtol=1e-6)
    assert [g.metadata["dt"] for g in taus] == [DEFAULT_DT, 0.01, 0.005, 0.01]


@pytest.mark.parametrize("dt", [0.0, -1e-3, float("nan")])
def test_a_dt_that_is_no_time_is_refused(dt, tmp_path):
    path = nir_graph(around(nir_lif()), tmp_path / "a.nir")
    with pytest.raises(FormatError, match="dt must be a number of seconds above 0"):
        ir.read(path, dt=dt)


def test_a_gain_is_folded_into_the_weights_of_the_affine_before(tmp_path):
    rng = np.random.default_rng(5)
    weight, bias = rng.normal(size=(2, 3)), rng.normal(size=2)
    lif = nir.LIF(
        tau=np.array([0.01, 0.02]),
        r=np.array([3.0, 5.0]),
        v_leak=np.zeros(2),
        v_threshold=np.ones(2),
        v_reset=np.zeros(2),
    )
    path = nir_graph(around(lif, n_in=3, fc=nir.Affine(weight, bias)), tmp_path / "a.nir")
    gain = np.array([3.0 * 0.001 / 0.01, 5.0 * 0.001 / 0.02])
    read = ir.read(path, dt=0.001)
    np.testing.assert_allclose(read.nodes["fc"].weight, weight * gain[:, None], rtol=1e-6)
    np.testing.assert_allclose(read.nodes["fc"].bias, bias * gain, rtol=1e-6)
    by_hand = ir.Graph(
        {
            "x": ir.Input((3,)),
            "fc": ir.Affine(read.nodes["fc"].weight, read.nodes["fc"].bias),
            "node": ir.LIF(np.array([0.01, 0.02]) / 0.001, 1.0, np.zeros(2), np.ones(2), strict=True),
            "y": ir.Output((2,)),
        },
        [("x", "fc"), ("fc", "node"), ("node", "y")],
    )
    assert read.fingerprint == by_hand.fingerprint


def test_the_euler_step_of_nir_is_ours(tmp_path):
    """tau dv/dt = (v_leak - v) + r x, sampled with dt, beside what our graph computes."""
    dt, tau, r, leak = 0.001, 0.008, 4.0, 0.25
    path = nir_graph(
        around(nir_lif(tau=tau, r=r, v_leak=leak, v_threshold=9.0, v_reset=leak), fc=nir.Linear(np.eye(2))),
        tmp_path / "a.nir",
    )
    graph = ir.read(path, dt=dt)
    x = np.array([0.5, -1.0])
    membranes = run(graph, bind_graph(graph, "fp32"), {"x": x}, 20).membranes["y"][:, 0]
    v, expected = np.zeros(2), []
    for _ in range(20):
        v = v + dt / tau * ((leak - v) + r * x)
        expected.append(v)
    np.testing.assert_allclose(membranes, expected, atol=1e-5)


def shared_gain(path):
    """A gain on neurons whose Affine feeds an output too, which must not be scaled."""
    nodes = around(nir_lif(r=5.0), fc=nir.Affine(np.eye(2), np.zeros(2))) | {"z": nir.Output(np.array([2]))}
    edges = [("x", "fc"), ("fc", "node"), ("node", "y"), ("fc", "z")]
    nir.write(path, nir.NIRGraph(nodes, edges, type_check=False))
    return path


def test_a_gain_that_no_layer_can_take_in_becomes_a_scale(tmp_path):
    alone = ir.read(nir_graph(around(nir_lif(r=5.0)), tmp_path / "a.nir"), dt=0.001)
    assert alone.order == ["x", "node.gain", "node", "y"]
    np.testing.assert_allclose(alone.nodes["node.gain"].scale, 5.0 * 0.001 / 0.01, rtol=1e-6)
    shared = ir.read(shared_gain(tmp_path / "b.nir"), dt=0.001)
    assert shared.predecessors("node") == ["node.gain"] and shared.predecessors("node.gain") == ["fc"]
    np.testing.assert_array_equal(shared.nodes["fc"].weight, np.eye(2))
    image = nir.LIF(**{key: np.full((2, 3, 3), 1.0) for key in ("tau", "v_leak", "v_threshold")}, r=np.ones((2, 3, 3)))
    image.r[0, 1, 1] = 2.0  # differs within a channel
    conv = nir.Conv2d((3, 3), np.ones((2, 1, 1, 1)), 1, 0, 1, 1, np.zeros(2))
    nodes = {"x": nir.Input(np.array([1, 3, 3])), "c": conv, "node": image, "y": nir.Output(np.array([2, 3, 3]))}
    within = ir.read(nir_graph(nodes, tmp_path / "c.nir"), dt=1.0)
    np.testing.assert_array_equal(within.nodes["node.gain"].scale, image.r)


def test_a_reset_to_elsewhere_is_kept(tmp_path):
    affine = nir.Affine(np.eye(2), np.zeros(2))
    read = ir.read(nir_graph(around(nir_lif(v_leak=0.5, v_reset=0.25), fc=affine), tmp_path / "a.nir"))
    np.testing.assert_array_equal(read.nodes["node"].v_reset, [0.25, 0.25])
    unsaid = around(nir_lif(v_leak=0.5), fc=affine)  # nir makes it 0
    np.testing.assert_array_equal(ir.read(nir_graph(unsaid, tmp_path / "b.nir")).nodes["node"].v_reset, [0.0, 0.0])
    neurons = nir.IF(r=np.ones(2), v_threshold=np.ones(2), v_reset=np.full(2, -0.5))
    read = ir.read(nir_graph(around(neurons, fc=affine), tmp_path / "c.nir"))
    np.testing.assert_array_equal(read.nodes["node"].v_reset, [-0.5, -0.5])


def euler(kind, x, dt, leak=0.0, tau=None, tau_syn=None, r=1.0, w_in=1.0, threshold=None, reset=0.0):
    """What NIR's equations give with forward Euler, the membrane after the current: spikes, or membranes."""
    v = i = np.zeros(x.shape[1:])
    found = []
    for now in x:
        drive = now
        if tau_syn is not None:
            i = i + dt / tau_syn * (-i + w_in * now)
            drive = i
        v = v + dt * r * drive if tau is None else v + dt / tau * ((leak - v) + r * drive)
        found.append(v if threshold is None else (v > threshold).astype(float))
        if threshold is not None:
            v = np.where(v > threshold, reset, v)
    return np.array(found)


def full(**values):
    return {key: np.full(3, value) for key, value in values.items()}


NEURONS = {
    "LIF": full(tau=0.008, r=4.0, v_leak=0.25, v_threshold=0.5, v_reset=-0.125),
    "IF": full(r=100.0, v_threshold=0.5, v_reset=0.125),
    "LI": full(tau=0.008, r=4.0, v_leak=0.25),
    "I": full(r=100.0),
    "CubaLIF": full(tau_syn=0.004, tau_mem=0.008, r=4.0, v_leak=0.25, v_threshold=0.4, v_reset=-0.125, w_in=3.0),
    "CubaLI": full(tau_syn=0.004, tau_mem=0.008, r=4.0, v_leak=0.25, w_in=3.0),
}


@pytest.mark.parametrize("kind", NEURONS)
def test_every_neuron_is_the_euler_step_of_its_equations(kind, tmp_path):
    """With and without a layer that can take the gain in."""
    given = NEURONS[kind]
    names = {"tau_mem": "tau", "v_leak": "leak", "v_threshold": "threshold", "v_reset": "reset"}
    told = {names.get(key, key): values[0] for key, values in given.items()}
    x = np.random.default_rng(3).normal(0.4, 1.0, (40, 5, 3)).astype(np.float32).astype(float)
    expected = euler(kind, x, 0.001, **told)
    fc = {"fc": nir.Linear(np.eye(3))}
    for name, between in (("a", {}), ("b", fc)):
        graph = ir.read(
            nir_graph(around(getattr(nir, kind)(**given), 3, 3, **between), tmp_path / f"{name}.nir"), dt=0.001
        )
        assert ("node.gain" in graph.nodes) == (not between)
        seen = []
        observe = (lambda t, n, y, state, x, seen=seen: seen.append(y) if n == "node" else None,)
        run(graph, bind_graph(graph, "fp32"), {"x": x}, 40, observe)
        if "v_threshold" in given:
            assert 0 < expected.mean() < 0.8
            np.testing.assert_array_equal(seen, expected)
        else:
            np.testing.assert_allclose(seen, expected, atol=1e-5)


def test_the_other_nodes_are_read(tmp_path):
    nodes = {
        "x": nir.Input(np.array([2, 4, 6])),
        "sum": nir.SumPool2d(np.array([2, 3]), np.array([2, 3]), np.array([0, 0])),
        "scale": nir.Scale(np.full((2, 2, 2), 0.5)),
        "delay": nir.Delay(np.full((2, 2, 2), 0.002)),
        "at": nir.Threshold(np.full((2, 2, 2), 1.5)),
        "y": nir.Output(np.array([2, 2, 2])),
    }
    graph = ir.read(nir_graph(nodes, tmp_path / "a.nir"), dt=0.001)
    x = np.random.default_rng(0).integers(0, 2, (5, 1, 2, 4, 6)).astype(float)
    found = run(graph, bind_graph(graph, "fp32"), {"x": x}, 5).outputs["y"]
    pooled = x.reshape(5, 1, 2, 2, 2, 2, 3).sum(axis=(4, 6)) * 0.5
    np.testing.assert_array_equal(found[-1], (pooled[:3] > 1.5).sum(axis=0))
    with pytest.raises(FormatError, match=r"node 'delay' \(NIR Delay\): delay must be a whole number of steps"):
        ir.read(tmp_path / "a.nir", dt=0.0015)


def test_a_subgraph_is_opened(tmp_path):
    """Also one in another, and one that is recurrent; what it computes is what the flat graph does."""
    rng = np.random.default_rng(0)
    weights, back = rng.normal(0, 2, (3, 2)), rng.normal(0, 1, (3, 3))
    cell = nir.NIRGraph(
        {"in": nir.Input(np.array([3])), "lif": nir_lif(3), "rec": nir.Linear(back), "out": nir.Output(np.array([3]))},
        [("in", "lif"), ("lif", "rec"), ("rec", "lif"), ("lif", "out")],
        type_check=False,
    )
    block = nir.NIRGraph(
        {"in": nir.Input(np.array([2])), "fc": nir.Linear(weights), "cell": cell, "out": nir.Output(np.array([3]))},
        [("in", "fc"), ("fc", "cell"), ("cell", "out")],
        type_check=False,
    )
    path = nir_graph(around(block, 2, 3), tmp_path / "a.nir")
    graph = ir.read(path, dt=0.001)
    assert set(graph.nodes) == {"x", "node.fc", "node.cell.lif", "node.cell.lif.gain", "node.cell.rec", "y"}
    assert graph.feedback == [("node.cell.rec", "node.cell.lif.gain")]
    x = rng.normal(0, 2, (12, 4, 2)).astype(np.float32).astype(float)
    found = run(graph, bind_graph(graph, "fp32"), {"x": x}, 12).outputs["y"]
    v, spikes, total = np.zeros((4, 3)), np.zeros((4, 3)), np.zeros((4, 3))
    for now in x:
        v = v + 0.1 * (-v + now @ weights.T + spikes @ back.T)
        spikes = (v > 1).astype(float)
        v, total = np.where(spikes == 1, 0.0, v), total + spikes
    np.testing.assert_array_equal(found[-1], total)
    assert total.any()


def test_a_subgraph_of_several_inputs_is_refused(tmp_path):
    inner = {"a": nir.Input(np.array([2])), "b": nir.Input(np.array([2])), "out": nir.Output(np.array([2]))}
    block = nir.NIRGraph(inner, [("a", "out"), ("b", "out")], type_check=False)
    with pytest.raises(FormatError, match="subgraph 'node' has 2 Input nodes, and can be opened with 1 alone"):
        ir.read(nir_graph(around(block), tmp_path / "a.nir"))


def test_the_size_of_an_output_is_inferred_but_its_rank_must_be_right(tmp_path):
    conv = nir.Conv2d((5, 7), np.ones((1, 1, 2, 3)), 1, 0, 1, 1, np.zeros(1))
    nodes = {
        "x": nir.Input(np.array([1, 5, 7])),
        "c": conv,
        "y": nir.Output(np.array([1, 3, 6])),
    }
    assert ir.read(nir_graph(nodes, tmp_path / "a.nir")).output_shapes["y"] == (1, 4, 5)
    nodes["y"] = nir.Output(np.array([1, 1, 4, 5]))
    with pytest.raises(
        FormatError, match=r"node 'y' \(Output\): the file says \(1, 1, 4, 5\), but \(1, 4, 5\) arrives"
    ):
        ir.read(nir_graph(nodes, tmp_path / "b.nir"))


@pytest.mark.parametrize("strict", [False, True])
def test_when_neurons_spike_survives_the_file(strict, tmp_path):
    nodes = {"x": ir.Input((2,)), "n": ir.IF(1.0, strict=strict), "y": ir.Output((2,))}
    graph = ir.Graph(nodes, [("x", "n"), ("n", "y")])
    ir.write(tmp_path / "a.nir", graph)
    read = ir.read(tmp_path / "a.nir")
    assert read.fingerprint == graph.fingerprint
    assert read.nodes["n"].strict is strict
    nodes |= {"m": ir.IF(1.0, strict=not strict), "z": ir.Output((2,))}
    with pytest.raises(FormatError, match="NIR has one rule for a file"):
        ir.write(tmp_path / "b.nir", ir.Graph(nodes, [("x", "n"), ("n", "y"), ("x", "m"), ("m", "z")]))


def test_all_that_nir_has_survives_the_file(tmp_path):
    rng = np.random.default_rng(1)
    shape = (2, 4, 4)
    chain = [
        ir.Scale(rng.normal(size=shape)),
        ir.SumPool2d(2, stride=1),
        ir.CubaLIF(rng.uniform(1, 5, 2), 3.0, 0.125, 0.5, v_reset=-0.5, strict=True),
        ir.Conv2d(rng.normal(size=(2, 1, 2, 1)), rng.normal(size=2), groups=2, padding=(1, 0)),
        ir.LIF([3.0, 7.0], 1.0, 0.0, 1.0, strict=True),
        ir.Delay([1, 0]),
        ir.Flatten(),
        ir.LI(4.0, 0.5),
        ir.Threshold(0.25),
        ir.Affine(rng.normal(size=(3, 24)), rng.normal(size=3)),
        ir.CubaLI(2.0, 3.0, [0.0, 0.5, 1.0]),
        ir.I(),
    ]
    nodes = {"x": ir.Input(shape), **{f"n{i}": node for i, node in enumerate(chain)}, "y": ir.Output()}
    graph = ir.Graph(nodes, list(zip(nodes, list(nodes)[1:], strict=False)))
    ir.write(tmp_path / "a.nir", graph, dt=0.002)
    read = ir.read(tmp_path / "a.nir")
    assert read.metadata["dt"] == 0.002
    assert read.fingerprint == graph.fingerprint


def test_a_subgraph_of_nothing_is_an_edge(tmp_path):
    block = nir.NIRGraph(
        {"a": nir.Input(np.array([2])), "b": nir.Output(np.array([2]))}, [("a", "b")], type_check=False
    )
    path = nir_graph(around(block), tmp_path / "a.nir")
    assert ir.read(path).edges == (("x", "y"),)


def test_a_time_constant_below_one_step_is_refused(tmp_path):
    path = nir_graph(around(nir_lif(tau=0.01)), tmp_path / "a.nir")
    with pytest.raises(FormatError, match=r"node 'node' \(NIR LIF\): tau must be dt \(0.1 s\) or more, not 0.01 s"):
        ir.read(path, dt=0.1)


def test_a_time_constant_of_one_step_survives_float32(tmp_path):
    """snnTorch writes a Leaky with beta 0 so: float32(1e-4) / 1e-4 is below 1."""
    tau = np.full(2, 1e-4, np.float32)
    lif = nir.LIF(tau=tau, r=tau / np.float32(1e-4), v_leak=np.zeros(2), v_threshold=np.ones(2))
    read = ir.read(nir_graph(around(lif), tmp_path / "a.nir"))
    np.testing.assert_array_equal(read.nodes["node"].tau, 1.0)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("type", "Identity", r"node 'block\.n' is a NIR Identity, which is not supported"),
        ("r", np.ones(3), r"node 'block\.n' \(NIR IF\): All parameters must have the same shape"),
        ("bogus", 1.0, r"node 'block\.n' \(NIR IF\): .*unexpected keyword argument 'bogus'"),
    ],
)
def test_a_node_that_nir_cannot_make_is_named(field, value, reason, tmp_path):
    inner = {"a": nir.Input(np.array([2])), "n": nir.IF(np.ones(2), np.ones(2)), "b": nir.Output(np.array([2]))}
    block = nir.NIRGraph(inner, [("a", "n"), ("n", "b")], type_check=False)
    outer = {"x": nir.Input(np.array([2])), "block": block, "y": nir.Output(np.array([2]))}
    path = nir_graph(outer, tmp_path / "a.nir")
    with h5py.File(path, "a") as file:
        fields = file["node/nodes/block/nodes/n"]
        fields.pop(field, None)
        fields[field] = value
    with pytest.raises(FormatError, match=reason):
        ir.read(path)


def test_missing_garbage_and_foreign_files_are_refused_with_their_path(tmp_path):
    with pytest.raises(FormatError, match=r"gone.nir: there is no such file"):
        ir.read(tmp_path / "gone.nir")
    garbage = tmp_path / "garbage.nir"
    garbage.write_bytes(b"\x00\x01 no hdf5 in here" * 50)
    with pytest.raises(FormatError, match="not a NIR file") as caught:
        ir.read(garbage)
    assert str(garbage) in str(caught.value)
    assert "\n" not in str(caught.value)
    for call in (lambda path: ir.read(path), lambda path: ir.write(path, network())):
        with pytest.raises(FormatError, match=r"unknown suffix '\.onnx'.*\.nir"):
            call(tmp_path / "a.onnx")


def test_what_nir_does_not_have_is_refused_and_writes_nothing(tmp_path):
    nodes = {"x": ir.Input((2,)), "n": ir.IF(1.0, reset="subtract"), "y": ir.Output((2,))}
    with pytest.raises(FormatError, match="node 'n': NIR has no reset by subtraction"):
        ir.write(tmp_path / "a.nir", ir.Graph(nodes, [("x", "n"), ("n", "y")]))
    nodes["n"] = ir.ReLU()
    with pytest.raises(FormatError, match="node 'n': NIR has no ReLU"):
        ir.write(tmp_path / "a.nir", ir.Graph(nodes, [("x", "n"), ("n", "y")]))
    assert not list(tmp_path.iterdir())


def test_a_recurrent_graph_keeps_the_edge_that_carries_the_step_before(tmp_path):
    """HDF5 sorts the names of nodes, and here another order of the inputs would cut the cycle elsewhere."""
    nodes = {"z": ir.Input((1,)), "a": ir.Input((1,))}
    nodes |= {name: ir.Affine([[weight]]) for name, weight in (("n1", 0.5), ("n2", 2.0))}
    nodes |= {name: ir.LI(2.0, 0.0) for name in ("l1", "l2")} | {"y": ir.Output()}
    edges = [("z", "n1"), ("n1", "l1"), ("l1", "n2"), ("n2", "l2"), ("l2", "n1"), ("a", "n2"), ("l2", "y")]
    graph = ir.Graph(nodes, edges, allow_cycles=True, cyclic_config={"max_iterations": 7})
    x = {"z": np.ones((5, 1, 1)), "a": np.arange(5.0).reshape(5, 1, 1)}
    expected = run(graph, bind_graph(graph, "fp32"), x, 5).outputs["y"]
    for name in ("a.nir", "a.t1c"):
        ir.write(tmp_path / name, graph)
        read = ir.read(tmp_path / name)
        assert (read.feedback, read.cyclic_config) == ([("l2", "n1")], {"max_iterations": 7})
        assert read.fingerprint == graph.fingerprint
        np.testing.assert_array_equal(run(read, bind_graph(read, "fp32"), x, 5).outputs["y"], expected)


def test_a_node_of_a_subgraph_replaces_no_other(tmp_path):
    ends = {"in": nir.Input(np.array([2])), "x": nir.Linear(np.eye(2)), "out": nir.Output(np.array([2]))}
    block = nir.NIRGraph(ends, [("in", "x"), ("x", "out")], type_check=False)
    path = nir_graph(around(block, **{"node.x": nir.Linear(np.eye(2))}), tmp_path / "a.nir")
    with pytest.raises(
        FormatError, match=r"node 'node\.x' has the name that a node of subgraph 'node' gets; rename it"
    ):
        ir.read(path)


def test_a_subgraph_beside_a_direct_edge_is_told_apart(tmp_path):
    ends = {"in": nir.Input(np.array([2])), "out": nir.Output(np.array([2]))}
    nodes = around(nir.NIRGraph(ends, [("in", "out")], type_check=False)) | {"fc": nir.Linear(np.eye(2))}
    edges = [("x", "node"), ("node", "fc"), ("x", "fc"), ("fc", "y")]
    nir.write(tmp_path / "a.nir", nir.NIRGraph(nodes, edges, type_check=False))
    with pytest.raises(FormatError, match="a subgraph hands 'x' on to 'fc', which 'x' leads to directly too"):
        ir.read(tmp_path / "a.nir")


@pytest.mark.parametrize("shape", [(1,), (2, 1, 1)])
def test_neurons_of_an_image_may_share_parameters(shape, tmp_path):
    conv = nir.Conv2d((4, 4), np.ones((2, 1, 1, 1)), 1, 0, 1, 1, np.zeros(2))
    lif = nir.LIF(**{key: np.full(shape, 1.0) for key in ("tau", "r", "v_leak", "v_threshold")})
    declared = np.array([1]) if shape == (1,) else np.array([2, 1, 1])  # as nir derives them
    path = nir_graph(
        {"x": nir.Input(np.array([1, 4, 4])), "c": conv, "l": lif, "y": nir.Output(declared)}, tmp_path / "a.nir"
    )
    assert ir.read(path, dt=1.0).output_shapes["y"] == (2, 4, 4)


@pytest.mark.parametrize("dt", [0, -1.0, float("nan"), float("inf"), "x", True])
def test_a_dt_that_is_no_time_is_not_written(dt, tmp_path):
    with pytest.raises(FormatError, match="dt must be a number of seconds above 0"):
        ir.write(tmp_path / "a.nir", network(), dt=dt)
    assert not list(tmp_path.iterdir())


def test_metadata_that_nir_cannot_hold_is_left_out_or_refused(tmp_path):
    graph = network()
    ir.write(tmp_path / "a.nir", ir.Graph(graph.nodes, graph.edges, {"note": None, "n": 3}))
    assert "note" not in ir.read(tmp_path / "a.nir").metadata
    unreadable = ({"b": b"\xff"}, {"c": 1j}, {"t": "\0"}, {"n": [1, "x"]})  # nir would write the first two
    for metadata in ({"a/b": 1}, {3: 1}, {"o": object()}, {"deep": {"a/b": 1}}, *unreadable):
        with pytest.raises(FormatError) as caught:
            ir.write(tmp_path / "b.nir", ir.Graph(graph.nodes, graph.edges, metadata))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "b.nir").exists()


# --- files as other and older programs write them ---


def stored(path, nodes, edges=None, **top):
    """A NIR file of plain HDF5: groups and datasets, whatever nir would say to them."""

    def put(group, tree):
        for key, value in tree.items():
            if isinstance(value, dict):
                put(group.create_group(key), value)
            else:
                group.create_dataset(key, data=value)

    edges = list(zip(nodes, list(nodes)[1:], strict=False)) if edges is None else edges
    with h5py.File(path, "w") as file:
        put(file, {"version": "0.2.0", "node": {"type": "NIRGraph", "nodes": nodes, "edges": edges, **top}})
    return path


def stored_neurons(shape, kind="IF", **others):
    return {"type": kind, "r": np.ones(shape, "f4"), "v_threshold": np.full(shape, 0.5, "f4"), **others}


def stored_cnn():
    """What Sinabs wrote for the network of NIR's paper, smaller: no v_reset, no metadata, pads in pairs."""
    rng = np.random.default_rng(0)
    conv = {"type": "Conv2d", "bias": np.zeros(3, "f4"), "dilation": (1, 1), "groups": 1, "padding": (1, 1)}
    pool = {"type": "SumPool2d", "kernel_size": np.array([2, 2]), "stride": np.array([2, 2])}
    return {
        "input": {"type": "Input", "shape": np.array([2, 8, 8])},
        "0": {**conv, "weight": rng.normal(0, 0.5, (3, 2, 3, 3)), "stride": (2, 2), "input_shape": np.array([8, 8])},
        "1": stored_neurons((3, 4, 4)),
        "2": {**conv, "weight": rng.normal(0, 0.5, (3, 3, 3, 3)), "stride": (1, 1), "input_shape": np.array([4, 4])},
        "3": stored_neurons((3, 4, 4)),
        "4": {**pool, "padding": np.array([0, 0])},
        "5": {"type": "Flatten", "start_dim": 0, "end_dim": -1, "input_type": np.array([3, 2, 2])},
        "6": {"type": "Affine", "weight": rng.normal(size=(4, 12)), "bias": np.zeros(4)},
        "7": stored_neurons((4,)),
        "output": {"type": "Output", "shape": np.array([4])},
    }


@pytest.mark.parametrize(
    ("node", "changes"),
    [
        ("0", {"input_shape": None}),
        ("0", {"input_shape": np.array([99, 1])}),
        ("0", {"padding": 1}),
        ("0", {"padding": np.array([1])}),
        ("0", {"padding": np.array([[1, 1], [1, 1]])}),
        ("0", {"stride": 2, "dilation": np.array([1]), "groups": np.array([1, 1])}),
        ("2", {"padding": "same"}),
        ("4", {"kernel_size": 2, "stride": np.array([2]), "padding": 0}),
        ("5", {"input_type": None}),
        ("5", {"input_type": np.zeros(4, int)}),
        ("5", {"end_dim": 2}),
        ("1", {"v_threshold": np.float32(0.5)}),
        ("1", {"r": np.ones(1), "v_reset": np.zeros((1, 1, 1))}),
        ("1", {"r": np.float64(1.0), "v_threshold": np.full(1, 0.5)}),
        ("3", {"r": 1, "v_threshold": 0.5}),
        ("3", {"v_threshold": np.full((3, 4, 4), 0.5, "f8"), "metadata": {"made_by": "a test"}}),
    ],
)
def test_a_file_means_the_same_however_its_fields_are_stored(node, changes, tmp_path):
    nodes = stored_cnn()
    plain = ir.read(stored(tmp_path / "plain.nir", nodes), dt=1.0)
    changed = {key: value for key, value in {**nodes[node], **changes}.items() if value is not None}
    other = ir.read(stored(tmp_path / "other.nir", {**nodes, node: changed}), dt=1.0)
    x = np.random.default_rng(1).normal(0, 1, (6, 4, 2, 8, 8))
    one, two = (run(graph, bind_graph(graph, "fp32"), {"input": x}, 6).outputs["output"] for graph in (plain, other))
    assert one.any()
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("node", "changes", "reason"),
    [
        ("0", {"padding": np.array([[0, 1], [1, 1]])}, r"node '0' \(NIR Conv2d\): padding .* the same on both sides"),
        ("0", {"padding": "full"}, r"node '0' \(NIR Conv2d\): padding must be"),
        ("0", {"groups": np.array([2, 2])}, r"node '0' \(NIR Conv2d\): groups must be one number"),
        ("0", {"bias": None}, r"node '0' \(NIR Conv2d\): field 'bias' is missing"),
        ("input", {"shape": None}, r"node 'input' \(NIR Input\): field 'shape' is missing"),
        ("input", {"shape": np.array([1, 2, 8, 8])}, r"node '0' \(Conv2d\): .* not \(1, 2, 8, 8\)"),
        ("5", {"start_dim": 1}, r"node '6' \(Affine\): weight \(4, 12\) takes inputs of shape \(12,\), not \(3, 4\)"),
        ("1", {"v_threshold": np.ones((3, 4))}, r"node '1' \(NIR IF\): All parameters must have the same shape"),
        ("5", {"end_dim": -0.5}, r"node '5' \(NIR Flatten\): end_dim must be a whole number, not -0\.5"),
        ("1", {"r": "x", "v_threshold": "y"}, r"node '1' \(NIR IF\): "),
        ("output", {"shape": "4"}, r"node 'output' \(NIR Output\): its shape must be sizes, not '4'"),
        ("output", {"shape": np.array([np.inf])}, r"node 'output' \(NIR Output\): its shape must be sizes"),
        ("1", {"type": "read"}, "node '1' is a NIR read, which is not supported"),
        ("1", {"type": None}, "node '1' has no type"),
        ("1", {"type": 3}, "node '1' has no type"),
    ],
)
def test_a_stored_node_that_does_not_fit_is_named(node, changes, reason, tmp_path):
    nodes = stored_cnn()
    changed = {key: value for key, value in {**nodes[node], **changes}.items() if value is not None}
    with pytest.raises(FormatError, match=reason) as caught:
        ir.read(stored(tmp_path / "a.nir", {**nodes, node: changed}))
    assert "\n" not in str(caught.value)


def test_a_graph_that_does_not_fit_is_refused(tmp_path):
    nodes = stored_cnn()
    for edges, reason in (
        (np.array([[0, 1]]), "the graph has edges that are no pairs of names"),
        ([("input", "0", "1")], "the graph has edges that are no pairs of names"),
        ([("input", "nowhere")], "the graph has an edge 'input' -> 'nowhere', but no node 'nowhere'"),
    ):
        with pytest.raises(FormatError, match=reason):
            ir.read(stored(tmp_path / "a.nir", nodes, edges))
    with pytest.raises(FormatError, match="the graph has a field 'state', which is not known"):
        ir.read(stored(tmp_path / "a.nir", nodes, state=3))
    with h5py.File(tmp_path / "b.nir", "w") as file:
        file["node/type"], file["node/weight"] = "Linear", np.eye(2)
    with pytest.raises(FormatError, match=r"b\.nir: it holds a single Linear, not a graph"):
        ir.read(tmp_path / "b.nir")
    with h5py.File(tmp_path / "c.nir", "w") as file:  # the layout of nir before 0.1
        file["nodes/0/type"], file["edges"] = "Linear", np.array([[0, 1]])
    with pytest.raises(FormatError, match=r"c\.nir: it has no node with a type, so it is no NIR file"):
        ir.read(tmp_path / "c.nir")


def stored_braille(lif="lif"):
    """NIR's paper's recurrent network with a subgraph, smaller. lif: what its edges call the neurons."""
    rng = np.random.default_rng(2)

    def affine(n, m):
        return {"type": "Affine", "weight": rng.normal(0, 1, (n, m)).astype("f4"), "bias": rng.normal(size=n)}

    def cuba(shape):
        values = {"tau_syn": 2e-4, "tau_mem": 1e-3, "r": 10.0, "v_leak": 0.0, "v_threshold": 1.0, "w_in": 2.0}
        return {"type": "CubaLIF", **{key: np.full(shape, value) for key, value in values.items()}}

    ends = {"input": {"type": "Input", "shape": np.array([5])}, "output": {"type": "Output", "shape": np.array([5])}}
    inner = {
        "type": "NIRGraph",
        "nodes": {**ends, "lif": cuba((5,)), "lin": affine(5, 5)},
        "edges": [("input", lif), (lif, "lin"), ("lin", lif), (lif, "output")],
    }
    nodes = {"input": {"type": "Input", "shape": np.array([3])}, "fc1": affine(5, 3), "lif1": inner}
    return nodes | {"fc2": affine(2, 5), "lif2": cuba((2,)), "output": {"type": "Output", "shape": np.array([2])}}


@pytest.mark.parametrize("change", ["none", "scalar", "batch"])
def test_nir_infers_nothing_in_a_subgraph(change, tmp_path):
    """nir checks the shapes of subgraphs even where it is told not to, and refuses right ones."""
    nodes = stored_braille()
    plain = ir.read(stored(tmp_path / "a.nir", nodes))
    assert plain.feedback == [("lif1.lin", "lif1.lif")]
    inner = nodes["lif1"]["nodes"]
    if change == "scalar":
        inner["lif"] = {key: value if key == "type" else value[0] for key, value in inner["lif"].items()}
    if change == "batch":
        inner["input"]["shape"] = inner["output"]["shape"] = np.array([1, 5])
    read = ir.read(stored(tmp_path / "b.nir", nodes))
    x = np.random.default_rng(1).normal(0, 1, (12, 4, 3))
    one, two = (run(graph, bind_graph(graph, "fp32"), {"input": x}, 12).outputs["output"] for graph in (plain, read))
    assert one.any()
    np.testing.assert_array_equal(one, two)


def test_the_ends_of_a_subgraph_must_have_shapes_all_the_same(tmp_path):
    nodes = stored_braille()
    nodes["lif1"]["nodes"]["input"]["shape"] = "five"
    with pytest.raises(FormatError, match=r"node 'lif1\.input' \(NIR Input\): its shape must be sizes, not 'five'"):
        ir.read(stored(tmp_path / "a.nir", nodes))


def test_a_convolution_in_a_subgraph_may_be_of_any_shape(tmp_path):
    """nir mis-sizes kernels that are not square, and groups."""
    weight = np.random.default_rng(0).normal(size=(4, 1, 2, 3)).astype("f4")
    conv = {"type": "Conv2d", "weight": weight, "bias": np.zeros(4), "stride": 1, "padding": 0, "dilation": 1}
    inner = {
        "i": {"type": "Input", "shape": np.array([2, 5, 7])},
        "c": {**conv, "groups": 2, "input_shape": np.array([5, 7])},
        "n": stored_neurons((4, 4, 5)),
        "o": {"type": "Output", "shape": np.array([4, 4, 5])},
    }
    block = {"type": "NIRGraph", "nodes": inner, "edges": [("i", "c"), ("c", "n"), ("n", "o")]}
    ends = [{"type": kind, "shape": np.array(n)} for kind, n in (("Input", (2, 5, 7)), ("Output", (4, 4, 5)))]
    read = ir.read(stored(tmp_path / "a.nir", {"x": ends[0], "block": block, "y": ends[1]}), dt=1.0)
    assert read.output_shapes["y"] == (4, 4, 5)
    np.testing.assert_array_equal(read.nodes["block.c"].weight, weight)


def end(kind, n=2):
    return {"type": kind, "shape": np.array([n])}


def subgraph(edges, **nodes):
    return {"type": "NIRGraph", "nodes": {"i": end("Input"), **nodes, "o": end("Output")}, "edges": edges}


@pytest.mark.parametrize("levels", [16, 17])
def test_subgraphs_are_opened_to_16_levels(levels, tmp_path):
    inner = {"type": "Linear", "weight": np.eye(2)}
    for _ in range(levels):
        inner = subgraph([("i", "n"), ("n", "o")], n=inner)
    path = stored(tmp_path / "a.nir", {"x": end("Input"), "n": inner, "y": end("Output")})
    if levels > 16:
        with pytest.raises(FormatError, match="its subgraphs are nested more than 16 deep"):
            ir.read(path)
    else:
        assert set(ir.read(path).nodes) == {"x", ".".join("n" * 17), "y"}


def test_a_subgraph_that_joins_many_edges_leads_each_to_each(tmp_path):
    """A small file could stand for billions of them."""
    linear = {"type": "Linear", "weight": np.eye(2)}
    for count, most in ((7, 7 * 7 + 2 * 7), (200, None)):
        before, after = ([f"{name}{k}" for k in range(count)] for name in "ab")
        nodes = {"x": end("Input"), **dict.fromkeys(before, linear), "s": subgraph([("i", "o")])}
        nodes |= {**dict.fromkeys(after, linear), "y": end("Output")}
        edges = [("x", name) for name in before] + [(name, "s") for name in before]
        edges += [("s", name) for name in after] + [(name, "y") for name in after]
        path = stored(tmp_path / "a.nir", nodes, edges)
        if most is None:
            with pytest.raises(FormatError, match="its subgraphs open to more than 10,000 edges"):
                ir.read(path)
        else:
            assert len(ir.read(path).edges) == most


def test_an_end_of_a_subgraph_that_leads_to_itself_is_refused(tmp_path):
    nodes = {"x": end("Input"), "s": subgraph([("i", "i"), ("i", "o")]), "y": end("Output")}
    with pytest.raises(FormatError, match=r"node 's\.i', an end of a subgraph, leads to itself"):
        ir.read(stored(tmp_path / "a.nir", nodes))


def test_an_edge_to_a_node_that_a_subgraph_has_not_is_refused(tmp_path):
    """As the two subgraph files of NIR's paper have it, which nir does not load either."""
    with pytest.raises(FormatError, match="node 'lif1' has an edge 'input' -> 'neuron', but no node 'neuron'"):
        ir.read(stored(tmp_path / "a.nir", stored_braille("neuron")))


def test_metadata_comes_back_as_it_was_given(tmp_path):
    """Twice: what is read can be written again."""
    given = {"names": ["a", "b"], "deep": {"n": 3, "empty": {}}, "array": np.arange(3), "none": np.zeros(0), "é": "ü"}
    given |= {"one": np.array(2.5), "texts": np.array(["x", "yy"])}
    graph = network()
    graph = ir.Graph(graph.nodes, graph.edges, given)
    for _ in range(2):
        ir.write(tmp_path / "a.nir", graph)
        graph = ir.read(tmp_path / "a.nir")
        found = {key: value for key, value in graph.metadata.items() if key not in ("dt", "spike_comparison")}
        for key in ("array", "none"):
            np.testing.assert_array_equal(found.pop(key), given[key])
        assert found == {"names": ["a", "b"], "deep": {"n": 3, "empty": {}}, "é": "ü", "one": 2.5, "texts": ["x", "yy"]}
        ir.write(tmp_path / "a.t1c", graph)
        assert ir.read(tmp_path / "a.t1c").fingerprint == graph.fingerprint


def test_the_dt_of_a_file_may_be_an_array_of_one_value(tmp_path):
    nodes = around(nir_lif(tau=0.02), fc=nir.Affine(np.eye(2), np.zeros(2)))
    read = ir.read(nir_graph(nodes, tmp_path / "a.nir", {"dt": np.array([0.005])}))
    assert read.metadata["dt"] == 0.005
    np.testing.assert_allclose(read.nodes["node"].tau, 4.0)
    with pytest.raises(FormatError, match="dt must be a number of seconds above 0"):
        ir.read(nir_graph(nodes, tmp_path / "b.nir", {"dt": np.array([0.005, 0.005])}))


@pytest.mark.skipif(not PUBLIC.is_dir(), reason="the public NIR files are not beside this clone")
class TestPublicFiles:
    def test_a_file_whose_shapes_do_not_fit_is_refused_in_one_line(self):
        with pytest.raises(FormatError, match=r"lif_rockpool.nir: node 'output' \(Output\): the file says") as caught:
            ir.read(PUBLIC / "lif_rockpool.nir")
        assert "\n" not in str(caught.value)

    def test_norse(self):
        graph = ir.read(PUBLIC / "lif_norse.nir")
        assert [graph.nodes[name].kind for name in graph.order] == ["Input", "Affine", "LIF", "Output"]
        np.testing.assert_allclose(graph.nodes["0"].weight, [[1e-4 / 2.5e-3]], rtol=1e-6)
        found = run(graph, bind_graph(graph, "fp32"), {"input": [1.0]}, 100).outputs["output"]
        assert 0 < found[-1, 0, 0] < 100

    def test_braille(self):
        graph = ir.read(PUBLIC / "braille_noDelay_bias_zero.nir")
        assert graph.feedback == [("lif1.w_rec", "lif1.lif")]
        x = np.random.default_rng(0).integers(0, 2, (30, 4, 12)).astype(float)
        activity = run(graph, bind_graph(graph, "fp32"), {"input": x}, 30).activity
        assert activity["lif1.lif"].spikes and activity["lif2"].spikes
