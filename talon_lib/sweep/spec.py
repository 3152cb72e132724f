"""The configuration of a sweep, as a strict model. ``workflow/schemas/sweep.schema.json`` is written from it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Field,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from talon_lib import data as datasets
from talon_lib.cost.preset import get_preset
from talon_lib.errors import ConfigError, PrecisionError
from talon_lib.files import parse_yaml
from talon_lib.hls.boards import BOARDS, resolve_part
from talon_lib.precision import Precision
from talon_lib.simulate import Readout
from talon_lib.sweep.axes import (
    NAMED,
    PER_NODE,
    AnyPrecisions,
    PerNode,
    Strict,
    axis,
    distinct,
    listed,
    precisions,
    some,
    spread,
    spread_names,
)
from talon_lib.sweep.selection import Positive, Sample, Search

RESOLVED: Mapping[str, Any] = {"resolved": True}
"""The context of a validation that looks at no files."""


def _encoding(value: Any) -> datasets.Encoding:
    try:
        return datasets.parse(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _encoding_schema() -> dict[str, Any]:
    """The JSON schema of an encoding: its name, or a mapping with its parameters, from the encodings' own fields."""
    mappings = []
    for kind, encoding in datasets.ENCODINGS.items():
        own = TypeAdapter(encoding).json_schema()
        properties = {"kind": {"const": kind}, **own.get("properties", {})}
        mappings.append({"type": "object", "properties": properties, "required": ["kind"]})
    closed = [{**mapping, "additionalProperties": False} for mapping in mappings]
    return {"anyOf": [{"enum": list(datasets.ENCODINGS)}, *closed]}


AnyEncoding = Annotated[
    datasets.Encoding,
    PlainValidator(_encoding),
    PlainSerializer(datasets.Encoding.describe),
    WithJsonSchema(_encoding_schema()),
]


class Network(Strict):
    """One trained network, the data it is judged on, and how the data enters."""

    name: str = Field(description="what tables and plots call it", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    graph: Path = Field(description="file of the network (.nir or .t1c), relative to the working directory")
    dt: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, description="seconds of a timestep, for .nir files; else the file's own, or 1e-4"
    )
    data: Path = Field(
        description=".npz with x_test, y_test, x_train (or x, y; or events) or .npy, relative to the working directory"
    )
    labels: Path | None = Field(default=None, description=".npy with the labels of data that holds none")
    encoding: AnyEncoding = Field(
        default="current", validate_default=True, description="how samples become the input of each step; docs/data.md"
    )
    timesteps: list[Positive] = axis("axis: steps of one inference", ranges=True)
    readout: Readout = Field(default="count", description="what of the output decides the class")

    _spread = field_validator("timesteps", mode="before")(spread)
    _check_distinct = field_validator("timesteps")(distinct)

    @field_validator("graph", "data", "labels")
    @classmethod
    def _exists(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if info.context is None and path is not None and not path.is_file():
            raise ValueError(f"there is no file '{path}' (paths are relative to the working directory)")
        return path


class Hardware(Strict):
    """The axes of the hls4ml project beside precision and reuse."""

    part: list[str] = axis(f"axis: AMD parts or boards ({', '.join(BOARDS)})", ["zcu102"])
    clock_period_ns: list[Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]] = axis(
        "axis: target period of the clock", [5.0], ranges=True
    )
    strategy: list[Literal["Latency", "Resource"]] = axis("axis: strategy of hls4ml", ["Latency"])
    io_type: list[Literal["io_parallel", "io_stream"]] = axis("axis: io type of hls4ml", ["io_parallel"])

    _as_list = field_validator("part", "strategy", "io_type", mode="before")(listed)
    _spread = field_validator("clock_period_ns", mode="before")(spread)
    _check_distinct = field_validator("part", "clock_period_ns", "strategy", "io_type")(distinct)

    @field_validator("part")
    @classmethod
    def _known(cls, parts: list[str]) -> list[str]:
        for part in parts:
            try:
                resolve_part(part)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return parts


class Samples(Strict):
    """How many samples each stage takes, from the start of its set; null takes all."""

    calibration: Positive | None = Field(default=128, description="training samples from which scales are found")
    simulate: Positive | None = Field(default=None, description="test samples on which accuracy is measured")
    csim: Positive | None = Field(default=50, description="test samples that C simulation repeats")


class Synth(Strict):
    """Which designs are synthesised, and by which tools; none unless told."""

    flows: list[Literal["open-rtl", "vitis"]] = some(
        "open-rtl: our own RTL, Verilator and Yosys; vitis: AMD's tools on the hls4ml projects", []
    )
    networks: list[str] | None = some("names of those that are synthesised; null takes all")
    precisions: list[str] | None = some("names, likewise; floating point never is")
    reuse_factors: list[Positive] | None = some("likewise")
    samples: Positive = Field(default=5, description="test samples that Verilator, or cosim, repeats")
    place_and_route: bool = Field(
        default=False, strict=True, description="open-rtl: place and route for Lattice ECP5 too, for a clock frequency"
    )
    without_dsp: bool = Field(
        default=False, strict=True, description="open-rtl: count LUTs without DSP slices too; slow where reuse is low"
    )
    steps: list[Literal["synth", "cosim", "export", "vsynth", "bitfile"]] = some(
        "vitis: what its tools do; the others work on the result of synth", ["synth"]
    )
    timeout_s: float = Field(
        default=14400.0, strict=True, gt=0, allow_inf_nan=False, description="seconds that one program may take"
    )

    @field_validator("flows", "networks", "precisions", "reuse_factors", "steps", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return None if value is None else listed(value)

    @field_validator("flows", "networks", "precisions", "reuse_factors", "steps")
    @classmethod
    def _check_distinct(cls, values: list[Any] | None) -> list[Any] | None:
        return None if values is None else distinct(values)

    @field_validator("steps")
    @classmethod
    def _begin_with_synth(cls, steps: list[str]) -> list[str]:
        if "synth" not in steps:
            raise ValueError("the steps need synth, whose result the others work on")
        return steps

    def takes(self, flow: str, network: str, precision: str, reuse_factor: int) -> bool:
        """Whether the design is synthesised by that flow."""
        chosen = ((self.networks, network), (self.precisions, precision), (self.reuse_factors, reuse_factor))
        return flow in self.flows and all(names is None or name in names for names, name in chosen)


class Stages(Strict):
    """Which of the costly stages to run; simulation always runs."""

    project: bool = Field(default=True, strict=True, description="write an hls4ml project for every design")
    csim: bool = Field(default=True, strict=True, description="confirm every precision by C simulation (g++)")
    csim_timeout_s: float = Field(
        default=1800.0,
        strict=True,
        gt=0,
        allow_inf_nan=False,
        description="seconds after which a C simulation is given up",
    )


class SweepSpec(Strict):
    """A sweep: the product of its axes or a part of it, and what to do at every point."""

    name: str = Field(description="names the folder results/<name>", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    networks: list[Network] = Field(description="axis: trained networks with their data", min_length=1)
    precisions: AnyPrecisions = precisions(
        "axis: fp32, fp16, int2 to int16, ap_fixed<W,I[,Q[,O]]>, mixed(…), int3..int8 for all between, or mappings "
        "{name, weight, result, …}; or types of which every node takes its own"
    )
    reuse_factors: list[Positive] = axis("axis: reuse factors of hls4ml", [1], ranges=True)
    energy_presets: list[str] = axis(
        "axis: energy costs per operation: names, or .yaml files of your own, relative to the working directory; "
        "docs/energy.md",
        ["neuromorphic_int8"],
    )
    sample: Sample | None = Field(default=None, description="take some of the points alone")
    search: Search | None = Field(default=None, description="look for the best points alone; docs/search.md")
    hardware: Hardware = Field(default_factory=Hardware, description="the other axes of a project")
    samples: Samples = Field(default_factory=Samples, description="how many samples each stage takes")
    stages: Stages = Field(default_factory=Stages, description="which costly stages run")
    synth: Synth = Field(default_factory=Synth, description="which designs are synthesised; docs/synthesis.md")
    calibration: Path | None = Field(
        default=None, description="what talon-dse calibrate wrote: estimates carry intervals; docs/estimates.md"
    )

    _as_list = field_validator("energy_presets", mode="before")(listed)
    _spread = field_validator("reuse_factors", mode="before")(spread)
    _check_distinct = field_validator("reuse_factors", "energy_presets")(distinct)

    @field_validator("precisions", mode="before")
    @classmethod
    def _spread_names(cls, value: Any) -> Any:
        by_node = isinstance(value, PerNode) or (isinstance(value, Mapping) and "per_node" in value)
        return value if by_node else spread_names(value)

    @field_validator("precisions")
    @classmethod
    def _legal(cls, values: AnyPrecisions) -> AnyPrecisions:
        if isinstance(values, PerNode):
            return values
        distinct(values)
        parsed = []
        for value in values:
            try:
                parsed.append(Precision.parse(value))
            except PrecisionError as error:
                raise ValueError(str(error)) from None
        distinct([precision.name for precision in parsed])
        return values

    @field_validator("energy_presets")
    @classmethod
    def _known(cls, names: list[str], info: ValidationInfo) -> list[str]:
        if info.context is not None:
            return names
        try:
            distinct([get_preset(name).name for name in names])
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return names

    @model_validator(mode="after")
    def _names_differ(self) -> SweepSpec:
        distinct([network.name for network in self.networks])
        return self

    @model_validator(mode="after")
    def _synthesises_what_there_is(self) -> SweepSpec:
        there: dict[str, list[Any]] = {
            "networks": [network.name for network in self.networks],
            "reuse_factors": self.reuse_factors,
        }
        if not isinstance(self.precisions, PerNode):
            there["precisions"] = [Precision.parse(value).name for value in self.precisions]
        elif self.synth.precisions is not None:
            raise ValueError(
                "synth.precisions: precisions by node are too many to name; leave it out, or list those that you want "
                "under precisions, as mixed(…)"
            )
        for key, names in there.items():
            for name in getattr(self.synth, key) or []:
                if name not in names:
                    known = ", ".join(map(str, names))
                    raise ValueError(f"synth.{key}: {name!r} is not among the sweep's {key}, which are {known}")
        if "vitis" in self.synth.flows and not self.stages.project:
            raise ValueError("synth.flows: vitis works on hls4ml projects, which stages.project switches off")
        return self

    @model_validator(mode="after")
    def _searches_what_there_will_be(self) -> SweepSpec:
        if self.sample is not None and self.search is not None:
            raise ValueError("give either sample or search: a search takes points of the whole space")
        for objective in self.search.goals if self.search is not None else ():
            flow = next((flow for start, flow in _FLOW_OF.items() if objective.column.startswith(start)), None)
            if flow is not None and flow not in self.synth.flows:
                raise ValueError(f"search.objectives: {objective.column} needs {flow} among synth.flows")
        return self


_FLOW_OF = {"open_rtl": "open-rtl", "vitis": "vitis", "vivado": "vitis"}
"""What fills the columns that begin so."""


def parse(values: Mapping[str, Any], source: str = "configuration", resolved: bool = False) -> SweepSpec:
    """Check a configuration. Raises ConfigError: one line with the key and what is allowed there.

    resolved: it is that of a planned sweep, and the files that it names need not be there any more.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source}: must be a mapping with the keys {', '.join(SweepSpec.model_fields)}")
    try:
        return SweepSpec.model_validate(values, context=RESOLVED if resolved else None)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_one_line(error)}") from None


def load(path: str | Path) -> SweepSpec:
    """Read a configuration from a YAML file, or from standard input for ``-``. Raises ConfigError."""
    path = Path(path)
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not YAML ({error})") from None
    values = parse_yaml(text, str(path))
    return parse(values, str(path))


_KINDS = {
    "bool_type": "true or false",
    "float_type": "a number",
    "int_type": "a whole number",
    "list_type": "a list",
    "path_type": "the path of a file",
    "string_type": "text",
}


def _one_line(error: ValidationError) -> str:
    """The first thing that is wrong; pydantic's own message where ours is not better.

    A key that is unknown comes first: what is missing is often that key, mistyped, and pydantic says that before.
    """
    errors = error.errors()
    first = next((found for found in errors if found["type"] == "extra_forbidden"), errors[0])
    location = [part for part in first["loc"] if part not in ("str", "dict[str,any]", NAMED, PER_NODE)]
    key = ".".join(str(part) for part in location)
    match first["type"]:
        case "extra_forbidden":
            allowed = _allowed(location[:-1])
            message = f"unknown key; allowed here: {', '.join(allowed)}"
        case "missing":
            message = "this key is missing"
        case "too_short":
            message = "the list is empty; give at least one value"
        case "model_type" | "dict_type":
            message = f"must be a mapping with the keys {', '.join(_allowed(location))}, not {first['input']!r}"
        case kind if kind in _KINDS:
            message = f"must be {_KINDS[kind]}, not {first['input']!r}"
        case "value_error":
            message = first["msg"].removeprefix("Value error, ")
        case _:
            message = f"{first['msg']}, not {first['input']!r}"
    return f"{key}: {message}" if key else message


def _allowed(location: list[Any]) -> list[str]:
    model: Any = SweepSpec
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        choices = [annotation, *getattr(annotation, "__args__", ())]
        choices = [getattr(choice, "__origin__", choice) for choice in choices]  # without what Annotated adds
        model = next((a for a in choices if isinstance(a, type) and issubclass(a, BaseModel)), model)
    return list(model.model_fields)


def json_schema() -> str:
    """The JSON schema of a configuration, as committed in workflow/schemas."""
    schema = SweepSpec.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2) + "\n"
