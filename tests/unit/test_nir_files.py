from pathlib import Path

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
    with pytest.raises(FormatError, match="dt must be above 0 seconds"):
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
            "node": ir.LIF(np.array([0.01, 0.02]) / 0.001, np.array([3.0, 5.0]), np.zeros(2), np.ones(2)),
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


def test_a_gain_that_nothing_can_take_in_is_refused(tmp_path):
    path = nir_graph(around(nir_lif(r=5.0)), tmp_path / "a.nir")
    with pytest.raises(FormatError, match=r"node 'node': its gain r\*dt/tau is not 1 and no Affine of its own"):
        ir.read(path, dt=0.001)
    shared = around(nir_lif(r=5.0), fc=nir.Affine(np.eye(2), np.zeros(2)))
    edges = [("x", "fc"), ("fc", "node"), ("node", "y"), ("fc", "y")]
    nir.write(tmp_path / "b.nir", nir.NIRGraph(shared, edges, type_check=False))
    with pytest.raises(FormatError, match="node 'node': its gain"):
        ir.read(tmp_path / "b.nir", dt=0.001)


def test_a_reset_to_elsewhere_is_refused(tmp_path):
    affine = nir.Affine(np.eye(2), np.zeros(2))
    path = nir_graph(around(nir_lif(v_leak=0.5, v_reset=0.0), fc=affine), tmp_path / "a.nir")
    with pytest.raises(FormatError, match=r"node 'node' \(NIR LIF\): v_reset differs from v_leak"):
        ir.read(path)
    neurons = nir.IF(r=np.ones(2), v_threshold=np.ones(2), v_reset=np.full(2, -0.5))
    path = nir_graph(around(neurons, fc=affine), tmp_path / "b.nir")
    with pytest.raises(FormatError, match=r"node 'node' \(NIR IF\): v_reset differs"):
        ir.read(path)


def test_a_node_that_is_not_supported_is_named(tmp_path):
    path = nir_graph(around(nir.Threshold(np.ones(2))), tmp_path / "a.nir")
    with pytest.raises(FormatError) as caught:
        ir.read(path)
    assert str(caught.value) == f"{path}: node 'node' is a NIR Threshold, which is not supported yet"


def test_a_time_constant_below_one_step_is_refused(tmp_path):
    path = nir_graph(around(nir_lif(tau=0.01)), tmp_path / "a.nir")
    with pytest.raises(FormatError, match=r"node 'node'.*tau must be 1 or more steps"):
        ir.read(path, dt=0.1)


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


@pytest.mark.skipif(not PUBLIC.is_dir(), reason="the public NIR files are not beside this clone")
class TestPublicFiles:
    def test_a_file_whose_shapes_do_not_fit_is_refused_in_one_line(self):
        with pytest.raises(FormatError, match=r"lif_rockpool.nir: node 'output' \(Output\): output_type is") as caught:
            ir.read(PUBLIC / "lif_rockpool.nir")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("name", ["lif_norse.nir", "braille_noDelay_bias_zero.nir"])
    def test_the_others_are_read_or_refused_with_the_node_named(self, name):
        try:
            graph = ir.read(PUBLIC / name)
        except FormatError as error:
            assert name in str(error)
            assert "node '" in str(error)
            assert "\n" not in str(error)
        else:
            assert graph.inputs and graph.outputs
