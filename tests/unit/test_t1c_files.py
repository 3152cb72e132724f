import dataclasses
import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from exchange import differences, draw, everything

from talon_lib import ir
from talon_lib.errors import FormatError
from talon_lib.formats import hdf5, t1c
from talon_lib.simulate import bind_graph, run

GOLDEN = Path(__file__).parents[1] / "golden" / "sdk.t1c"  # made by tests/peers/make_golden_t1c.py


def network(**nodes):
    nodes = {
        "x": ir.Input((3,)),
        "fc": ir.Affine(np.arange(6).reshape(2, 3) / 8, [0.5, -1.0]),
        "lif": ir.LIF(tau=[2.0, 4.0], r=[1.0, 3.0], v_leak=[0.0, 0.1], v_threshold=[1.0, 0.5]),
        **nodes,
        "y": ir.Output((2,)),
    }
    return ir.Graph(nodes, list(zip(nodes, list(nodes)[1:], strict=False)), {"made_by": "a test"})


def single(node, shape=(2,)):
    nodes = {"x": ir.Input(shape), "node": node, "y": ir.Output(node.output_shape(shape))}
    return ir.Graph(nodes, [("x", "node"), ("node", "y")])


def changed(path, change):
    """A file like that of ``network`` after ``change`` of its 'graph'."""
    ir.write(path, network())
    with h5py.File(path, "r+") as file:
        change(file["graph"])
    return path


def flattened(tree, place=""):
    for key, value in tree.items():
        yield from flattened(value, f"{place}/{key}") if isinstance(value, dict) else [(f"{place}/{key}", value)]


# --- the SDK's file ---


def test_the_sdks_file_is_read_as_what_was_written():
    expected, read = everything().make(ir), ir.read(GOLDEN)
    assert set(read.nodes) == set(expected.nodes)
    for name, node in expected.nodes.items():
        assert not differences(node, read.nodes[name]), name
    assert read.edges == expected.edges
    assert dict(read.metadata) == dict(expected.metadata)
    assert (read.allow_cycles, read.cyclic_config) == (True, {"max_iterations": 5})
    assert read.fingerprint == expected.fingerprint
    assert {node.kind for node in read.nodes.values()} == set(t1c.FIELDS)


def test_our_file_of_the_same_graph_holds_what_the_sdks_does(tmp_path):
    ir.write(tmp_path / "ours.t1c", ir.read(GOLDEN))
    theirs, ours = (dict(flattened(hdf5.read(path, ".t1c"))) for path in (GOLDEN, tmp_path / "ours.t1c"))
    assert set(theirs) <= set(ours)
    for place, value in theirs.items():
        np.testing.assert_array_equal(ours[place], value, err_msg=place)
        assert np.asarray(ours[place]).dtype == np.asarray(value).dtype or place.endswith("scale_factor"), place
    more = {place.rsplit("/", 1)[1] for place in set(ours) - set(theirs)}
    assert more == {"negative_slope", "eps", "momentum", "alpha", "dim", "p", "approximate"} & more  # defaults


def test_every_value_of_the_sdks_file_matters(tmp_path):
    """Change each dataset of the file in turn: another graph or an error, the same graph only where it must be."""
    expected = ir.read(GOLDEN)
    places = [place for place, _ in flattened(hdf5.read(GOLDEN, ".t1c"))]
    same = []
    for place in places:
        path = tmp_path / "changed.t1c"
        path.write_bytes(GOLDEN.read_bytes())
        with h5py.File(path, "r+") as file:
            old = file[place]
            value = old.asstr()[()] if h5py.check_string_dtype(old.dtype) else old[()]
            del file[place]
            if isinstance(value, str):
                file[place] = f"{value}x"
            elif value.dtype.kind == "O":
                file[place] = [f"{item}x" for item in value]
            else:
                file[place] = ~value if value.dtype == bool else (value + value.dtype.type(1)).astype(value.dtype)
        try:
            read = ir.read(path)
        except FormatError as error:
            assert "\n" not in str(error)
            continue
        settings = [(dict(g.metadata), g.allow_cycles, g.cyclic_config) for g in (read, expected)]
        if read.fingerprint == expected.fingerprint and settings[0] == settings[1]:
            same.append(place.removeprefix("/graph/nodes/"))
    nobody_computes_with = ["lif/r", "bn/momentum", "bn1/momentum", "a/features", "a/name"]
    of_no_effect_here = ["avg/ceil_mode", "max/ceil_mode", "large/align_corners", "large/scale_factor"]
    assert sorted(same) == sorted(nobody_computes_with + of_no_effect_here)


# --- there and back ---


@pytest.mark.parametrize("seed", range(30))
def test_reading_what_was_written_gives_the_same_graph(seed, tmp_path):
    graph = draw(seed).make(ir)
    ir.write(tmp_path / "a.t1c", graph)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.t1c"], "no temporary file is left"
    read = ir.read(tmp_path / "a.t1c")
    assert list(read.nodes) == list(graph.nodes)
    assert read.edges == graph.edges
    assert (read.allow_cycles, read.cyclic_config) == (graph.allow_cycles, graph.cyclic_config)
    assert dict(read.metadata) == dict(graph.metadata)
    assert read.fingerprint == graph.fingerprint


def test_equal_graphs_give_equal_files(tmp_path):
    digests = set()
    for name in ("a.t1c", "b.t1c"):
        ir.write(tmp_path / name, everything().make(ir))
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_graph_from_a_nir_file_keeps_its_fingerprint(tmp_path):
    ir.write(tmp_path / "a.nir", network())
    graph = ir.read(tmp_path / "a.nir")
    ir.write(tmp_path / "a.t1c", graph)
    again = ir.read(tmp_path / "a.t1c")
    assert again.fingerprint == graph.fingerprint
    assert dict(again.metadata) == dict(graph.metadata)
    ir.write(tmp_path / "b.nir", again, dt=graph.metadata["dt"])
    assert ir.read(tmp_path / "b.nir").fingerprint == graph.fingerprint


def test_parameters_that_are_spread_compute_the_same(tmp_path):
    graph = single(ir.LIF(tau=[2.0, 4.0], r=1.0, v_leak=0.1, v_threshold=0.7), (2, 3))
    ir.write(tmp_path / "a.t1c", graph)
    read = ir.read(tmp_path / "a.t1c")
    assert read.nodes["node"].tau.shape == read.nodes["node"].v_threshold.shape == (2, 3)
    x = np.random.default_rng(1).normal(size=(20, 2, 3))
    one, other = (run(g, bind_graph(g, "fp32"), {"x": x}, 6).outputs["y"] for g in (graph, read))
    assert one.any()
    np.testing.assert_array_equal(one, other)


def test_metadata_keeps_its_kinds(tmp_path):
    metadata = {
        "text": "x",
        "empty": "",
        "whole": 2**40,
        "real": 0.1,
        "flag": False,
        "names": ["a", "b c"],
        "none": None,
        "group": {"a": {"b": 1.5}, "c": {}},
        "vector": np.array([1.5, 2.0], np.float32),
        "row": [1, 2],
    }
    graph = network()
    ir.write(tmp_path / "a.t1c", ir.Graph(graph.nodes, graph.edges, metadata))
    read = dict(ir.read(tmp_path / "a.t1c").metadata)
    vector, row = read.pop("vector"), read.pop("row")
    assert vector.dtype == np.float32 and vector.tolist() == [1.5, 2.0]
    assert row.dtype == np.int64 and row.tolist() == [1, 2]
    assert read == {key: value for key, value in metadata.items() if key not in ("vector", "row", "none")}
    assert [type(read[key]) for key in ("whole", "real", "flag")] == [int, float, bool]


def test_what_only_the_sdk_has_is_carried_in_the_metadata_and_written_back(tmp_path):
    def change(graph):
        graph["nodes/fc/core_id"] = 3
        graph["nodes/fc/hardware_hints/lanes"] = 4
        graph["nodes/fc/precision"] = "int8"
        graph["target_hardware"] = "a board"
        graph["partition_metadata/cores"] = 2
        graph["cyclic_config/max_iterations"] = 5
        graph["cyclic_config/termination"] = "convergence"
        del graph.parent["version"]
        graph.parent["version"] = "0.0.9"

    path = changed(tmp_path / "a.t1c", change)
    graph = ir.read(path)
    fc = {"core_id": 3, "hardware_hints": {"lanes": 4}, "precision": "int8"}
    carried = {
        "nodes": {"fc": fc},
        "version": "0.0.9",
        "target_hardware": "a board",
        "partition_metadata": {"cores": 2},
        "cyclic_config": {"termination": "convergence"},
    }
    assert graph.cyclic_config == {"max_iterations": 5}
    assert graph.metadata["t1c"] == carried
    assert graph.fingerprint == network().fingerprint
    ir.write(tmp_path / "b.t1c", graph)
    assert sorted(map(str, flattened(hdf5.read(path, "")))) == sorted(
        map(str, flattened(hdf5.read(tmp_path / "b.t1c", "")))
    )
    nodes = {name: node for name, node in graph.nodes.items() if name != "fc"}
    smaller = ir.Graph({**nodes, "x": ir.Input((2,))}, [("x", "lif"), ("lif", "y")], graph.metadata)
    ir.write(tmp_path / "c.t1c", smaller)
    assert ir.read(tmp_path / "c.t1c").metadata["t1c"] == {key: carried[key] for key in carried if key != "nodes"}


def test_what_is_carried_goes_through_a_nir_file(tmp_path):
    graph = network()
    extras = {"core_id": 3, "hardware_hints": {"names": ["a", "b"], "lanes": [1, 2]}}
    carried = {"t1c": {"nodes": {"fc": extras}, "target_hardware": "a board"}}
    ir.write(tmp_path / "a.nir", ir.Graph(graph.nodes, graph.edges, carried))
    ir.write(tmp_path / "a.t1c", ir.read(tmp_path / "a.nir"))
    found = ir.read(tmp_path / "a.t1c").metadata["t1c"]
    assert found.pop("target_hardware") == "a board"
    hints = found["nodes"]["fc"].pop("hardware_hints")
    assert found == {"nodes": {"fc": {"core_id": 3}}}
    assert (hints["names"], hints["lanes"].tolist()) == (["a", "b"], [1, 2])


def test_fields_that_are_left_out_have_the_sdks_defaults(tmp_path):
    """The SDK leaves out eps, slopes and the like where they are its defaults, and whatever is None."""
    graph = {
        "x": ir.Input((2, 2, 2)),
        "n": ir.BatchNorm2d(2, [1, 2], [3, 4], [5, 6], [7, 8]),
        "u": ir.Upsample(size=(3, 3)),
    }
    nodes = {**graph, "y": ir.Output((2, 3, 3))}
    ir.write(tmp_path / "a.t1c", ir.Graph(nodes, [("x", "n"), ("n", "u"), ("u", "y")]))
    with h5py.File(tmp_path / "a.t1c", "r+") as file:
        del file["graph/nodes/n/eps"], file["graph/nodes/n/momentum"], file["graph/nodes/u/scale_factor"]
    read = ir.read(tmp_path / "a.t1c").nodes
    assert (read["n"].eps, read["n"].momentum) == (1e-5, 0.1)
    assert (read["u"].size, read["u"].scale_factor) == ((3, 3), None)


# --- refusals ---


def put(place, value):
    def change(graph):
        if place in graph:
            del graph[place]
        graph[place] = value

    return change


def drop(place):
    return lambda graph: graph.__delitem__(place)


def twice(graph):
    del graph["edges"]
    graph["edges/src"], graph["edges/dst"] = ["x", "x", "fc", "lif"], ["fc", "fc", "lif", "y"]


REFUSED = {
    "field 'reset' is not known": put("nodes/lif/reset", "subtract"),
    "node 'lif' is a 'SConv', which is not supported": put("nodes/lif/type", "SConv"),
    "node 'lif' is a 'Graph', which is not supported": put("nodes/lif/type", "Graph"),
    "node 'lif' has no 'type'": drop("nodes/lif/type"),
    r"node 'lif' \(LIF\): field 'tau' is missing": drop("nodes/lif/tau"),
    r"node 'x' \(Input\): field 'shape' is missing": drop("nodes/x/shape"),
    r"node 'lif' \(LIF\): tau must be 1 or more steps": put("nodes/lif/tau", np.zeros(2, np.float32)),
    r"node 'fc' \(Affine\): weight holds NaN or infinity": put("nodes/fc/weight", np.full((2, 3), np.nan)),
    r"node 'fc' \(Affine\): weight holds numbers that float32 cannot": put("nodes/fc/weight", np.full((2, 3), 1e300)),
    r"node 'fc' \(Affine\): weight must have 2 dimension": put("nodes/fc/weight", np.ones(3)),
    r"node 'fc' \(Affine\): field 'weight' is neither a number": put("nodes/fc/weight", ["a", "b"]),
    r"node 'fc' \(Affine\): weight_t": put("nodes/fc/weight_t", "ap_fixed<"),
    "node 'fc' is a single value": put("nodes/fc", 3),
    "names the node 'gone', which is not there": put("edges/src", ["gone", "fc", "lif"]),
    r"names the node 'a\\nb', which is not there": put("edges/src", ["a\nb", "fc", "lif"]),
    "has 2 sources and 3 targets": put("edges/src", ["x", "fc"]),
    "'graph/edges/dst' must be a list of names": put("edges/dst", "fc"),
    "'graph/edges/src' must be a list of names": drop("edges/src"),
    "names the node 1, which is not there": put("edges/src", [1, 2, 3]),
    "edge 'x' -> 'fc' is there twice": twice,
    "'graph' has no group 'edges'": drop("edges"),
    "'graph' has no group 'nodes'": drop("nodes"),
    "'graph/type' is not 'Graph'": put("type", "Affine"),
    "'graph/weights' is not known": put("weights", 1),
    "'graph/allow_cycles' must be a truth value": put("allow_cycles", 2),
    "'graph/metadata' and 'graph/cyclic_config' must be groups": put("cyclic_config", 2),
    "'graph/metadata/t1c' has a name that is kept": put("metadata/t1c/a", 2),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_represented_is_refused_by_name(message, tmp_path):
    path = changed(tmp_path / "a.t1c", REFUSED[message])
    with pytest.raises(FormatError, match=message) as caught:
        ir.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_without_version_or_graph_is_no_t1c_file(tmp_path):
    with pytest.raises(FormatError, match="has no 'version', so it is no"):
        ir.read(changed(tmp_path / "a.t1c", lambda graph: graph.parent.__delitem__("version")))
    with pytest.raises(FormatError, match="the file has no group 'graph'"):
        ir.read(changed(tmp_path / "b.t1c", lambda graph: graph.parent.__delitem__("graph")))


OURS = [
    (ir.IF(1.0, reset="subtract"), (2,)),
    (ir.LIF([2.0, 3.0], 1.0, 0.0, 1.0, v_reset=[0.5, -0.5], reset_delay=True, strict=True), (2, 3)),
    (ir.CubaLIF([2.0, 3.0], 4.0, 0.0, 1.0, reset="subtract", reset_delay=True), (2,)),
    (ir.CubaLI(2.0, 4.0, 0.5), (2,)),
    (ir.LI(4.0, 0.5), (2,)),
    (ir.I(), (2,)),
    (ir.Threshold(0.5), (2,)),
    (ir.Scale([0.5, 2.0]), (2,)),
    (ir.Delay([1, 3]), (2,)),
    (ir.SumPool2d((2, 1), stride=(1, 2), padding=(1, 0), ceil_mode=True), (1, 4, 5)),
    (ir.Sigmoid(result_t="ap_fixed<8,2>"), (2,)),
    (ir.PReLU(None, [0.25, 0.5], weight_t="ap_fixed<8,2>"), (2,)),
    (ir.Upsample(scale_factor=(2, 3)), (1, 2, 2)),
    (ir.Upsample(scale_factor=0.5, mode="bilinear", align_corners=True), (1, 2, 2)),
    (ir.SpikingAffine(np.ones((2, 2)), accumulator_bits=4), (2,)),
    (ir.Concat(num_inputs=1), (2,)),
]


@pytest.mark.parametrize(("node", "shape"), OURS)
def test_what_the_sdk_would_misread_has_a_type_of_our_own_and_loses_nothing(node, shape, tmp_path):
    graph = single(node, shape)
    ir.write(tmp_path / "a.t1c", graph)
    with h5py.File(tmp_path / "a.t1c") as file:
        assert file["graph/nodes/node/type"][()] == f"talon_lib.{node.kind}".encode()
    read = ir.read(tmp_path / "a.t1c")
    assert read.fingerprint == graph.fingerprint
    for field in dataclasses.fields(node):
        np.testing.assert_array_equal(getattr(read.nodes["node"], field.name), getattr(node, field.name))


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("talon_lib.None", {}, "node 'node' is a 'talon_lib.None', which is not supported"),
        ("talon_lib.IF", {"v_threshold": 1.0, "colour": 3}, r"node 'node' \(IF\): field 'colour' is not known"),
        ("talon_lib.IF", {}, r"node 'node' \(IF\): v_threshold must"),
        ("talon_lib.IF", {"v_threshold": -1.0, "reset": "never"}, r"node 'node' \(IF\): reset must be one of"),
    ],
)
def test_a_node_of_our_own_type_is_checked_like_any_other(kind, fields, message, tmp_path):
    ir.write(tmp_path / "a.t1c", single(ir.IF(1.0), (2,)))
    with h5py.File(tmp_path / "a.t1c", "r+") as file:
        del file["graph/nodes/node"]
        node = file.create_group("graph/nodes/node")
        for key, value in {"type": kind, **fields}.items():
            node[key] = value
    with pytest.raises(FormatError, match=message) as caught:
        ir.read(tmp_path / "a.t1c")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [object(), [1, "a"], [[1], [2, 3]], 2**70, 1j, "a\0b", "\ud800", {"a/b": 1}, {1: 2}])
def test_metadata_that_the_file_cannot_hold_is_refused(value, tmp_path):
    graph = network()
    with pytest.raises(FormatError, match=r"a.t1c: '.*graph/metadata/key") as caught:
        ir.write(tmp_path / "a.t1c", ir.Graph(graph.nodes, graph.edges, {"key": value}))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a/b", ".", "a\x1b[31mb"])
def test_names_that_the_file_cannot_hold_are_refused(name, tmp_path):
    with pytest.raises(FormatError, match="HDF5 takes no '/'"):
        ir.write(tmp_path / "a.t1c", network(**{name: ir.ReLU()}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "carried", [3, {"other": 1}, {"version": 2}, {"cyclic_config": 1}, {"nodes": 3}, {"nodes": {"fc": {"weight": 1}}}]
)
def test_metadata_of_the_kept_name_is_refused(carried, tmp_path):
    graph = network()
    with pytest.raises(FormatError, match="metadata 't1c' is kept for what"):
        ir.write(tmp_path / "a.t1c", ir.Graph(graph.nodes, graph.edges, {"t1c": carried}))


def test_options_of_other_formats_are_refused(tmp_path):
    ir.write(tmp_path / "a.t1c", network())
    with pytest.raises(FormatError, match=r"a \.t1c file has no option 'dt'"):
        ir.read(tmp_path / "a.t1c", dt=1e-3)
    with pytest.raises(FormatError, match=r"a \.t1c file has no option 'dt'"):
        ir.write(tmp_path / "a.t1c", network(), dt=1e-3)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    for name in ("no/a.t1c", "no/a.nir"):
        with pytest.raises(FormatError) as caught:
            ir.write(tmp_path / name, ir.Graph({"x": ir.Input((2,)), "y": ir.Output()}, [("x", "y")]))
        assert str(caught.value) == f"{tmp_path / name}: cannot be written (no such file or directory)"
