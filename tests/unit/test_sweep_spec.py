"""Sweep configurations: a mistake is one line that names the key and what is allowed; the schema file is in step."""

from __future__ import annotations

import copy
import io
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from talon_lib import data as datasets
from talon_lib.errors import ConfigError
from talon_lib.sweep import spec

REPOSITORY = Path(__file__).parents[2]
SCHEMA_FILE = REPOSITORY / "workflow" / "schemas" / "sweep.schema.json"
TOP = (
    "name, networks, precisions, reuse_factors, energy_presets, sample, search, hardware, samples, stages, synth, "
    "calibration"
)
SYNTH = "flows, networks, precisions, reuse_factors, samples, place_and_route, without_dsp, steps, timeout_s"
NETWORK = "name, graph, dt, data, labels, encoding, timesteps, readout"
ENCODINGS = "current, frames, rate, latency, delta, events"


@pytest.fixture
def good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    for name in ("net.nir", "data.npz"):
        (tmp_path / name).touch()
    return {
        "name": "good",
        "networks": [{"name": "net", "graph": "net.nir", "data": "data.npz", "timesteps": [2, 3]}],
        "precisions": ["fp32", "int8"],
        "reuse_factors": [1, 2],
        "energy_presets": ["zcu102"],
        "hardware": {"part": ["zcu102"], "clock_period_ns": [5.0], "strategy": ["Latency"], "io_type": ["io_parallel"]},
        "samples": {"calibration": 8, "simulate": None, "csim": 2},
        "stages": {"project": True, "csim": False, "csim_timeout_s": 10},
        "synth": {"flows": ["open-rtl"], "networks": ["net"], "precisions": ["int8"], "reuse_factors": [1]},
    }


def changed(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy in which the value at a dotted key is another; it is taken out where the value is ``...``."""
    made = copy.deepcopy(values)
    at: Any = made
    *way, last = (int(part) if part.isdigit() else part for part in key.split("."))
    for part in way:
        at = at[part]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return made


def message(values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        spec.parse(values, "sweep.yaml")
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("sweep.yaml: ")
    return text.removeprefix("sweep.yaml: ")


UNKNOWN = {
    "precision": TOP,
    "networks.0.steps": NETWORK,
    "hardware.clock": "part, clock_period_ns, strategy, io_type",
    "samples.test": "calibration, simulate, csim",
    "stages.synth": "project, csim, csim_timeout_s",
    "synth.flow": SYNTH,
}


@pytest.mark.parametrize("key", UNKNOWN)
def test_an_unknown_key_is_named_with_those_that_are_allowed_there(good: dict[str, Any], key: str) -> None:
    assert message(changed(good, key, 1)) == f"{key}: unknown key; allowed here: {UNKNOWN[key]}"


@pytest.mark.parametrize(
    ("key", "mistyped", "allowed"),
    [("name", "names", TOP), ("networks.0.graph", "networks.0.grph", NETWORK), ("precisions", "synth.flow", SYNTH)],
)
def test_a_mistyped_key_is_said_before_the_one_that_is_missing_for_it(
    good: dict[str, Any], key: str, mistyped: str, allowed: str
) -> None:
    found = message(changed(changed(good, key, ...), mistyped, 1))
    assert found == f"{mistyped}: unknown key; allowed here: {allowed}"


@pytest.mark.parametrize(
    "key", ["name", "networks", "precisions", "networks.0.name", "networks.0.graph", "networks.0.data"]
)
def test_a_missing_key_is_named(good: dict[str, Any], key: str) -> None:
    assert message(changed(good, key, ...)) == f"{key}: this key is missing"


def test_timesteps_have_no_default(good: dict[str, Any]) -> None:
    assert message(changed(good, "networks.0.timesteps", ...)) == "networks.0.timesteps: this key is missing"


AXES = [
    "networks",
    "networks.0.timesteps",
    "precisions",
    "reuse_factors",
    "energy_presets",
    "hardware.part",
    "hardware.clock_period_ns",
    "hardware.strategy",
    "hardware.io_type",
]


@pytest.mark.parametrize("key", AXES)
def test_an_empty_axis_is_refused(good: dict[str, Any], key: str) -> None:
    assert message(changed(good, key, [])) == f"{key}: the list is empty; give at least one value"


@pytest.mark.parametrize("key", [axis for axis in AXES if axis != "networks"])
def test_a_value_that_is_listed_twice_is_refused(good: dict[str, Any], key: str) -> None:
    at: Any = good
    for part in key.split("."):
        at = at[int(part) if part.isdigit() else part]
    assert message(changed(good, key, [at[0], at[0]])) == f"{key}: {at[0]!r} is listed twice"


@pytest.mark.parametrize("key", [axis for axis in AXES if axis not in ("networks", "precisions")])
def test_a_single_value_stands_for_a_list_of_it(good: dict[str, Any], key: str) -> None:
    at: Any = good
    for part in key.split("."):
        at = at[int(part) if part.isdigit() else part]
    assert spec.parse(changed(good, key, at[0])) == spec.parse(changed(good, key, [at[0]]))


@pytest.mark.parametrize("named", [["int8"], ["mixed(fc1=int3,*=int8)"], []])
def test_precisions_by_node_cannot_be_chosen_for_synthesis_by_name(good: dict[str, Any], named: list[str]) -> None:
    by_node = changed(good, "precisions", {"per_node": ["int3", "int8"]})
    assert message(changed(by_node, "synth.precisions", named)) == (
        "synth.precisions: precisions by node are too many to name; leave it out, or list those that you want under "
        "precisions, as mixed(…)"
    )
    assert spec.parse(changed(by_node, "synth.precisions", None)).synth.precisions is None


CHOICES = ["synth.flows", "synth.networks", "synth.precisions", "synth.reuse_factors"]


@pytest.mark.parametrize("key", CHOICES)
def test_a_single_choice_of_what_is_synthesised_stands_for_a_list_of_it(good: dict[str, Any], key: str) -> None:
    (one,) = good["synth"][key.removeprefix("synth.")]
    assert spec.parse(changed(good, key, one)) == spec.parse(good)
    assert message(changed(good, key, [one, one])) == f"{key}: {one!r} is listed twice"


def test_nothing_is_synthesised_unless_told(good: dict[str, Any]) -> None:
    for none in (spec.parse(changed(good, "synth", ...)), spec.parse(changed(good, "synth.flows", []))):
        assert not any(none.synth.takes(flow, "net", "int8", 1) for flow in ("open-rtl", "vitis"))


def test_what_is_not_chosen_is_not_synthesised_and_all_is_chosen_by_default(good: dict[str, Any]) -> None:
    synth = spec.parse(good).synth
    assert synth.takes("open-rtl", "net", "int8", 1)
    others = [("vitis", "net", "int8", 1), ("open-rtl", "no", "int8", 1), ("open-rtl", "net", "int4", 1)]
    assert not any(synth.takes(*other) for other in [*others, ("open-rtl", "net", "int8", 2)])
    every = spec.parse(good | {"synth": {"flows": "vitis"}}).synth
    assert every.takes("vitis", "net", "int4", 1)


@pytest.mark.parametrize(
    ("key", "value", "known"),
    [
        ("networks", ["net", "other"], "net"),
        ("precisions", "int4", "fp32, int8"),
        ("reuse_factors", 4, "1, 2"),
    ],
)
def test_what_is_synthesised_must_be_in_the_sweep(good: dict[str, Any], key: str, value: Any, known: str) -> None:
    name = value[-1] if isinstance(value, list) else value
    found = message(changed(good, f"synth.{key}", value))
    assert found == f"synth.{key}: {name!r} is not among the sweep's {key}, which are {known}"


def test_vitis_needs_projects(good: dict[str, Any]) -> None:
    good = changed(good, "stages.project", False)
    assert spec.parse(good).synth.flows == ["open-rtl"]
    assert message(changed(good, "synth.flows", ["open-rtl", "vitis"])) == (
        "synth.flows: vitis works on hls4ml projects, which stages.project switches off"
    )


@pytest.mark.parametrize("steps", [[], "cosim", ["export", "vsynth"]])
def test_the_steps_of_vitis_begin_with_synth(good: dict[str, Any], steps: Any) -> None:
    assert message(changed(good, "synth.steps", steps)) == (
        "synth.steps: the steps need synth, whose result the others work on"
    )
    assert spec.parse(changed(good, "synth.steps", ["cosim", "synth"])).synth.steps == ["cosim", "synth"]


def test_networks_of_one_name_are_refused(good: dict[str, Any]) -> None:
    assert message(good | {"networks": good["networks"] * 2}) == "'net' is listed twice"


def test_one_precision_under_two_spellings_is_refused(good: dict[str, Any]) -> None:
    found = message(changed(good, "precisions", ["ap_fixed<8,3>", "ap_fixed<8,3,AP_TRN,AP_WRAP>"]))
    assert found == "precisions: 'ap_fixed<8,3>' is listed twice"


WRONG = [
    ("name", 3, "must be text, not 3"),
    ("name", "a/b", "not 'a/b'"),
    ("name", "../up", "not '../up'"),
    ("name", "", "not ''"),
    ("networks", "net", "must be a list, not 'net'"),
    ("networks.0", "net", "not 'net'"),
    ("networks.0.name", "a b", "not 'a b'"),
    ("networks.0.timesteps", "three", "must be a whole number, not 'three'"),
    ("networks.0.timesteps", 0, "greater than or equal to 1, not 0"),
    ("networks.0.timesteps", 2.5, "must be a whole number, not 2.5"),
    ("networks.0.timesteps", True, "must be a whole number, not True"),
    ("networks.0.encoding", "poisson", f"unknown encoding 'poisson'; there are: {ENCODINGS}"),
    ("networks.0.encoding", None, f"an encoding is {ENCODINGS}, or a mapping with the key kind, not None"),
    ("networks.0.encoding", {"kind": "rate", "sed": 1}, "unknown key 'sed'; allowed: kind, seed, gain, offset"),
    ("networks.0.encoding", {"kind": "rate", "seed": -1}, f"seed must be a whole number of 0 to {2**64 - 1}, not -1"),
    ("networks.0.encoding", {"kind": "delta", "padding": 1}, "padding must be true or false, not 1"),
    ("networks.0.readout", "max", "'count', 'first_spike' or 'membrane', not 'max'"),
    ("precisions", 8, "not 8"),
    ("precisions", None, "not None"),
    ("reuse_factors", [0], "greater than or equal to 1, not 0"),
    ("reuse_factors", ["4"], "must be a whole number, not '4'"),
    ("reuse_factors", [1, -2], "greater than or equal to 1, not -2"),
    ("energy_presets", [7], "must be text, not 7"),
    ("hardware", "zcu102", "not 'zcu102'"),
    ("hardware.clock_period_ns", [0], "greater than 0, not 0"),
    ("hardware.clock_period_ns", [float("nan")], "not nan"),
    ("hardware.clock_period_ns", [float("inf")], "not inf"),
    ("hardware.strategy", ["latency"], "'Latency' or 'Resource', not 'latency'"),
    ("hardware.io_type", "io_serial", "'io_parallel' or 'io_stream', not 'io_serial'"),
    ("samples.simulate", 0, "greater than or equal to 1, not 0"),
    ("samples.csim", "all", "must be a whole number, not 'all'"),
    ("samples.calibration", 1.5, "must be a whole number, not 1.5"),
    ("stages.csim", "sometimes", "must be true or false, not 'sometimes'"),
    ("stages.csim_timeout_s", 0, "greater than 0, not 0"),
    ("stages.csim_timeout_s", float("inf"), "not inf"),
    ("synth", "open-rtl", "not 'open-rtl'"),
    ("synth.flows", ["open-rtl", "yosys"], "'open-rtl' or 'vitis', not 'yosys'"),
    ("synth.flows", None, "must be a list, not None"),
    ("synth.precisions", [8], "must be text, not 8"),
    ("synth.reuse_factors", [0], "greater than or equal to 1, not 0"),
    ("synth.steps", ["synth", "csim"], "'synth', 'cosim', 'export', 'vsynth' or 'bitfile', not 'csim'"),
    ("synth.samples", 0, "greater than or equal to 1, not 0"),
    ("synth.place_and_route", 1, "must be true or false, not 1"),
    ("synth.without_dsp", "xcup", "must be true or false, not 'xcup'"),
    ("synth.timeout_s", 0, "greater than 0, not 0"),
]


@pytest.mark.parametrize(("key", "value", "says"), WRONG)
def test_a_value_of_the_wrong_kind_is_named_with_its_key_and_what_is_allowed(
    good: dict[str, Any], key: str, value: Any, says: str
) -> None:
    found = message(changed(good, key, value))
    assert re.match(re.escape(key) + r"(\.\d+)?: ", found)
    assert found.endswith(says)


def test_an_unknown_preset_lists_those_there_are(good: dict[str, Any]) -> None:
    assert message(changed(good, "energy_presets", ["zcu102", "zcu103"])) == (
        "energy_presets: unknown energy preset 'zcu103'; there are: 45nm_cmos, 28nm_cmos, neuromorphic_int8, "
        "zynq_us_plus, zcu102, zynq_7020, horowitz_45nm, loihi; or give the path of a .yaml file"
    )


@pytest.mark.parametrize(
    ("precision", "says"),
    [
        ("int17", "'int17': integer precisions go from int2 to int16"),
        ("int1", "'int1': integer precisions go from int2 to int16"),
        (
            "float",
            "unknown precision 'float'; use fp32, fp16, int2 to int16, ap_fixed<W,I[,Q[,O]]>, mixed(…), or a mapping",
        ),
        ({"weight": "int8"}, "a precision mapping needs the key 'result'"),
        (
            {"weights": "int8"},
            "unknown key 'weights' in a precision; allowed: name, weight, input, result, membrane, decay, bias, nodes",
        ),
    ],
)
def test_an_illegal_precision_says_what_is_legal(good: dict[str, Any], precision: Any, says: str) -> None:
    assert message(changed(good, "precisions", [precision])) == f"precisions: {says}"


def test_an_illegal_number_type_is_named(good: dict[str, Any]) -> None:
    found = message(changed(good, "precisions", ["fp32", "ap_fixed<0,0>"]))
    assert found.startswith("precisions: ") and "ap_fixed<0,0>" in found


@pytest.mark.parametrize("key", ["graph", "data", "labels"])
@pytest.mark.parametrize("path", ["none.npz", "."])
def test_a_file_that_is_not_there_is_named(good: dict[str, Any], key: str, path: str) -> None:
    found = message(changed(good, f"networks.0.{key}", path))
    assert found == f"networks.0.{key}: there is no file '{path}' (paths are relative to the working directory)"


def test_a_part_that_nobody_makes_lists_the_boards(good: dict[str, Any]) -> None:
    found = message(changed(good, "hardware.part", ["zcu102", "spartan"]))
    assert found.startswith("hardware.part: ") and "'spartan'" in found and "zcu102" in found


@pytest.mark.parametrize("values", [None, [], "sweep", 3])
def test_something_that_is_no_mapping_lists_the_keys(values: Any) -> None:
    assert message(values) == f"must be a mapping with the keys {TOP}"


@pytest.mark.parametrize("text", ["name: [unclosed", "a: b: c", "\tname: x", "name: !!python/object:os.system {}"])
def test_what_is_no_yaml_is_one_line_with_the_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        spec.load(path)
    assert str(caught.value).startswith(f"{path}: not YAML (") and "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_one_line_with_the_path(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(b"\x89NIR\xff")
    with pytest.raises(ConfigError, match=r"sweep\.yaml: not YAML \("):
        spec.load(path)


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file or directory$"):
        spec.load(tmp_path / "none.yaml")


def test_standard_input_is_read_for_a_dash(good: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(good)))
    assert spec.load("-") == spec.parse(good)


def test_the_resolved_configuration_is_a_configuration_again(good: dict[str, Any]) -> None:
    parsed = spec.parse(good)
    assert spec.parse(parsed.model_dump(mode="json")) == parsed


def test_the_schema_file_is_in_step_with_the_model() -> None:
    assert SCHEMA_FILE.read_text() == spec.json_schema(), (
        "workflow/schemas/sweep.schema.json is not what talon_lib.sweep.spec says; run: make schema"
    )


CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_configurations_in_the_repository_are_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text())).validate(yaml.safe_load(path.read_text()))
    assert spec.load(path).name == path.stem


def schema_takes(values: Any) -> bool:
    return jsonschema.Draft202012Validator(json.loads(spec.json_schema())).is_valid(values)


def test_the_schema_takes_what_the_model_takes(good: dict[str, Any]) -> None:
    assert schema_takes(good)
    for key in AXES[1:] + CHOICES:  # a single value for a list
        at: Any = good
        for part in key.split("."):
            at = at[int(part) if part.isdigit() else part]
        assert schema_takes(changed(good, key, at[0])), key


@pytest.mark.parametrize("key", UNKNOWN)
def test_the_schema_refuses_unknown_keys(good: dict[str, Any], key: str) -> None:
    assert not schema_takes(changed(good, key, 1))


ENCODED: list[Any] = [
    *ENCODINGS.split(", "),
    *({"kind": kind} for kind in ENCODINGS.split(", ")),
    {"kind": "rate", "seed": 2**63, "gain": 0.5, "offset": 1},
    {"kind": "latency", "form": "log", "tau": 3, "threshold": 0.2},
    {"kind": "latency", "tau": None},
    {"kind": "delta", "threshold": 0.5, "off_spikes": True, "padding": False},
    {"kind": "events", "bin_width": 1000, "binary": True},
    {"kind": "events", "bin_width": None},
]


@pytest.mark.parametrize("encoding", ENCODED, ids=str)
def test_model_and_schema_take_an_encoding_by_name_or_with_parameters(good: dict[str, Any], encoding: Any) -> None:
    values = changed(good, "networks.0.encoding", encoding)
    parsed = spec.parse(values)
    assert parsed.networks[0].encoding == datasets.parse(encoding)
    assert spec.parse(parsed.model_dump(mode="json")) == parsed
    assert schema_takes(values) and schema_takes(parsed.model_dump(mode="json", exclude_none=True))


@pytest.mark.parametrize(
    "encoding",
    [
        "poisson",
        7,
        {},
        {"seed": 1},
        {"kind": "poisson"},
        {"kind": "current", "seed": 1},
        {"kind": "rate", "seed": "1"},
        {"kind": "latency", "form": "ln"},
        {"kind": "delta", "off_spikes": 1},
    ],
    ids=str,
)
def test_model_and_schema_refuse_an_encoding_that_cannot_be_right(good: dict[str, Any], encoding: Any) -> None:
    values = changed(good, "networks.0.encoding", encoding)
    assert message(values).startswith("networks.0.encoding: ")
    assert not schema_takes(values)


@pytest.mark.parametrize("key", AXES)
def test_the_schema_refuses_an_empty_axis(good: dict[str, Any], key: str) -> None:
    assert not schema_takes(changed(good, key, []))
