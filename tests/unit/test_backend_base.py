"""The registry of backends, and the plain data that goes in and comes out."""

import dataclasses
import json

import numpy as np
import pytest

from talon_lib import backend, ir
from talon_lib.errors import ConfigError, FormatError, GraphError, TalonError


class Other(backend.Backend):
    name = "other"

    def get_capabilities(self):
        return backend.BackendCapabilities([], [], False, 1)

    def validate(self, graph):
        return backend.ValidationResult()

    def compile(self, graph, config=None):
        return backend.HardwareDescriptor()


def test_register_and_unregister():
    other = Other()
    backend.register_backend(other)
    try:
        assert backend.list_backends() == ["cpu", "fpga", "other"]
        assert backend.get_backend("other") is other
        with pytest.raises(ConfigError, match=r"^there is a backend 'other' already; unregister_backend\('other'\)"):
            backend.register_backend(Other())
    finally:
        assert backend.unregister_backend("other") is other
    assert backend.list_backends() == ["cpu", "fpga"]


@pytest.mark.parametrize("function", [backend.get_backend, backend.unregister_backend])
def test_unknown_backend(function):
    with pytest.raises(ConfigError, match=r"^unknown backend 'gpu'; there are: cpu, fpga$"):
        function("gpu")


@pytest.mark.parametrize("thing", [Other, "cpu", None])
def test_only_backends_are_registered(thing):
    with pytest.raises(ConfigError, match=r"derives from talon_lib\.backend\.Backend"):
        backend.register_backend(thing)


def test_an_incomplete_backend_cannot_be_made():
    class Incomplete(backend.Backend):
        name = "incomplete"

    with pytest.raises(TypeError, match="abstract"):
        Incomplete()


@pytest.mark.parametrize("name", ["cpu", "fpga"])
@pytest.mark.parametrize("thing", [None, {}, "graph.nir"])
def test_backends_take_graphs_alone(name, thing):
    for method in ("validate", "compile"):
        with pytest.raises(GraphError, match=r"^expected a talon_lib\.ir\.Graph, not "):
            getattr(backend.get_backend(name), method)(thing)


def test_energy_presets_are_read_only():
    with pytest.raises(TypeError):
        backend.ENERGY_PRESETS["zcu102"] = {}
    with pytest.raises(TypeError):
        backend.ENERGY_PRESETS["zcu102"]["mac_pj"] = 0.0


def test_no_other_attribute():
    with pytest.raises(AttributeError, match="has no attribute 'PRESETS'"):
        _ = backend.PRESETS


# --- CompileConfig, BitstreamConfig --------------------------------------------------------------------------------


def test_compile_config():
    assert dataclasses.asdict(backend.CompileConfig()) == {
        "execution_mode": None,
        "target_precision": "int8",
        "optimize_for": "latency",
    }
    with pytest.raises(ConfigError, match=r"^execution_mode must be 'dag', 'cyclic' or None, not 'tree'$"):
        backend.CompileConfig(execution_mode="tree")


def test_bitstream_config_has_the_sdks_defaults_but_for_the_bitfile():
    assert dataclasses.asdict(backend.BitstreamConfig()) == {
        "csim": False,
        "synth": True,
        "cosim": False,
        "export": True,
        "vsynth": True,
        "bitfile": False,  # for known boards alone
    }


def test_execution_modes(chain, loop):
    cpu = backend.get_backend("cpu")
    assert cpu.compile(chain).metadata["execution_mode"] == "dag"
    assert cpu.compile(loop).metadata["execution_mode"] == "cyclic"
    assert cpu.compile(chain, backend.CompileConfig(execution_mode="cyclic")).metadata["execution_mode"] == "cyclic"
    with pytest.raises(ConfigError, match="execution_mode 'dag' does not fit a graph with a cycle"):
        cpu.compile(loop, backend.CompileConfig(execution_mode="dag"))


# --- HardwareDescriptor --------------------------------------------------------------------------------------------


@pytest.fixture
def chain():
    rng = np.random.default_rng(1)
    return ir.Graph(
        {
            "in": ir.Input([2, 2]),
            "flat": ir.Flatten(np.int64(0)),
            "fc": ir.Affine(rng.normal(size=(3, 4)), weight_t="ap_fixed<8,2>", reuse_factor=2),
            "lif": ir.LIF(*(np.array([v, v, v]) for v in (3.0, 1.0, 0.0, 1.0))),
            "out": ir.Output([3]),
        },
        [("in", "flat"), ("flat", "fc"), ("fc", "lif"), ("lif", "out")],
    )


@pytest.fixture
def loop():
    weight = np.eye(2)
    return ir.Graph(
        {"in": ir.Input([2]), "a": ir.Affine(weight), "b": ir.Affine(weight), "out": ir.Output([2])},
        [("in", "a"), ("a", "b"), ("b", "a"), ("b", "out")],
        allow_cycles=True,
    )


def assert_same(one, other):
    assert one.neuron_configs == other.neuron_configs
    assert one.routing_tables == other.routing_tables
    assert one.execution_schedule == other.execution_schedule
    assert one.metadata == other.metadata
    assert one.weight_tables.keys() == other.weight_tables.keys()
    for core, own in one.weight_tables.items():
        assert own.keys() == other.weight_tables[core].keys()
        for name, array in own.items():
            found = other.weight_tables[core][name]
            assert (array.dtype, array.shape, array.tobytes()) == (found.dtype, found.shape, found.tobytes())


@pytest.mark.parametrize("name", ["cpu", "fpga"])
def test_descriptor_of_a_graph_comes_back_from_json(tmp_path, chain, name):
    made = backend.get_backend(name).compile(chain)
    made.to_json(tmp_path / "d.json")
    assert_same(made, backend.HardwareDescriptor.from_json(tmp_path / "d.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["d.json"]
    assert made.execution_schedule == {0: [["flat", "fc", "lif"]]}
    assert made.neuron_configs[0][1].parameters == {"weight_t": "ap_fixed<8,2>", "reuse_factor": 2}
    assert made.weight_tables[0]["fc.weight"].dtype == np.float32


def test_every_bit_of_an_array_comes_back(tmp_path):
    rng = np.random.default_rng(2)
    tables = {
        "bits": rng.integers(0, 2**63, 50).view(np.float64),
        "special": np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 5e-324], np.float64),
        "half": np.array([[1.0, 65504.0]], np.float16),
        "bytes": np.arange(256, dtype=np.uint8).reshape(2, 2, 64),
        "bools": np.array([True, False]),
        "empty": np.zeros((0, 3), np.float32),
        "scalar": np.array(1.5),
        "fortran": np.asfortranarray(rng.normal(size=(3, 4))),
        "big-endian": np.array([1.0, 2.0], ">f4"),
    }
    made = backend.HardwareDescriptor(weight_tables={0: tables, 7: {}})
    made.to_json(tmp_path / "d.json")
    assert_same(made, backend.HardwareDescriptor.from_json(tmp_path / "d.json"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00garbage",
        b"[]",
        b"null",
        b"{}",
        b'{"neuron_configs": {"0": [{"colour": 1}]}, "weight_tables": {}, "routing_tables": {}, '
        b'"execution_schedule": {}, "metadata": {}}',
        *(
            json.dumps(
                {
                    "neuron_configs": {},
                    "weight_tables": {"0": {"w": array}},
                    "routing_tables": {},
                    "execution_schedule": {},
                    "metadata": {},
                }
            ).encode()
            for array in (
                {"dtype": "|O", "shape": [1], "data": "AAAAAAAAAAA="},
                {"dtype": "<f4", "shape": [2], "data": "AAAA"},
                {"dtype": "<f4", "shape": [1], "data": "no base64!"},
                {"dtype": "nonsense", "shape": [1], "data": "AAAAAA=="},
                [1.0],
            )
        ),
    ],
)
def test_what_is_no_descriptor_is_refused_with_its_path(tmp_path, content):
    path = tmp_path / "d.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"d\.json: not a hardware descriptor in JSON") as caught:
        backend.HardwareDescriptor.from_json(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(FormatError, match=r"none\.json: No such file"):
        backend.HardwareDescriptor.from_json(tmp_path / "none.json")


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "d.json"
    backend.HardwareDescriptor(metadata={"a": 1}).to_json(path)
    before = path.read_bytes()
    with pytest.raises((TypeError, TalonError)):
        backend.HardwareDescriptor(metadata={"a": object()}).to_json(path)
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["d.json"]
