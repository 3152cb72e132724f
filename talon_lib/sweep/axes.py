"""What a configuration may write for the values of an axis: lists, single values, ranges, and precisions by node."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator

from talon_lib.errors import ConfigError, PrecisionError
from talon_lib.ir.graph import Graph
from talon_lib.precision import Precision, adjustable, mixed, widest
from talon_lib.sweep.space import Dimension

LONGEST = 100_000
"""Values that a range may stand for; with more, something was mistyped."""

NODE = "precision."
"""What the names of the dimensions of mixed precision begin with; the node follows."""

_INTS = re.compile(r"int(\d{1,2})\.\.int(\d{1,2})")


class Strict(BaseModel):
    """Unknown keys are errors, and values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def distinct(values: list[Any]) -> list[Any]:
    """The values. Raises ValueError where one is there twice."""
    seen: set[Any] = set()
    for value in values:
        key = value if isinstance(value, Hashable) else repr(value)
        if key in seen:
            raise ValueError(f"{value!r} is listed twice")
        seen.add(key)
    return values


def listed(value: Any) -> Any:
    """A single value as a list of it."""
    return value if isinstance(value, list) else [value]


def spread(value: Any) -> Any:
    """The values of an axis of numbers, as a list: what a range stands for, or a single value. Raises ValueError.

    ``{start: 1, stop: 64, step: 1}`` and ``{start: 1, stop: 1024, factor: 2}`` end at ``stop`` or before it. Sums and
    products are exact in the decimals that were written: from 2 to 3 in steps of 0.1 are eleven values.
    """
    if not isinstance(value, Mapping):
        return listed(value)
    keys = set(value)
    if keys not in ({"start", "stop", "step"}, {"start", "stop", "factor"}):
        raise ValueError(f"a range is {{start, stop, step}} or {{start, stop, factor}}, not {dict(value)!r}")
    for key, number in value.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < float("inf"):
            raise ValueError(f"{key} of a range must be a number, not {number!r}")
    at, stop = Fraction(str(value["start"])), Fraction(str(value["stop"]))
    by = Fraction(str(value.get("step", value.get("factor"))))
    if "step" in keys and by <= 0:
        raise ValueError(f"step of a range must be above 0, not {value['step']!r}")
    if "factor" in keys and (by <= 1 or at <= 0):
        raise ValueError(f"a range by a factor needs start above 0 and factor above 1, not {dict(value)!r}")
    if stop < at:
        raise ValueError(f"stop of a range must not be below start, not {value['stop']!r}")
    whole = all(isinstance(number, int) for number in value.values())
    values: list[int | float] = []
    while at <= stop:
        if len(values) == LONGEST:
            raise ValueError(f"a range may stand for {LONGEST} values, and {dict(value)!r} for more")
        values.append(int(at) if whole else float(at))
        at = at + by if "step" in keys else at * by
    return values


def spread_names(value: Any) -> Any:
    """The values of an axis of precisions, as a list in which ``int3..int8`` is int3, int4 and so on to int8."""
    values: list[Any] = []
    for item in listed(value):
        match = _INTS.fullmatch(item.strip()) if isinstance(item, str) else None
        if match is None:
            values.append(item)
            continue
        first, last = int(match[1]), int(match[2])
        if last < first:
            raise ValueError(f"{item!r} goes down; write int{last}..int{first}")
        values += [f"int{bits}" for bits in range(first, last + 1)]
    return values


def axis(description: str, default: list[Any] | None = None, ranges: bool = False) -> Any:
    """A field that holds the values of one axis: not empty, none twice; a single value stands for a list of it.

    With ``ranges`` the schema allows a range as well, which :func:`spread` reads.
    """
    given: dict[str, Any] = {"default": default} if default is not None else {}
    extra = _one_or_list_or_range if ranges else _one_or_list
    return Field(description=description, min_length=1, json_schema_extra=extra, **given)


def some(description: str, default: list[Any] | None = None) -> Any:
    """A field that holds some values, none twice; a single value stands for a list of it."""
    return Field(default=default, description=description, json_schema_extra=_one_or_list)


def _one_or_list(schema: dict[str, Any]) -> None:
    """Say in the JSON schema of a list that a single value stands for a list of it, and that none is there twice."""
    lists = schema.pop("anyOf", None) or [
        {key: schema.pop(key) for key in ("type", "items", "minItems") if key in schema}
    ]
    several, *null = lists
    schema["anyOf"] = [several | {"uniqueItems": True}, several["items"], *null]


def _one_or_list_or_range(schema: dict[str, Any]) -> None:
    _one_or_list(schema)
    for way in ({"step": {"exclusiveMinimum": 0}}, {"factor": {"exclusiveMinimum": 1}}):
        properties = {key: {"type": "number"} | way.get(key, {}) for key in ("start", "stop", *way)}
        schema["anyOf"].append(
            {
                "type": "object",
                "description": "a range, which ends at stop or before it",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            }
        )


class PerNode(Strict):
    """Mixed precision: every node has its own type, so that each is an axis of the space."""

    per_node: list[str] = axis("axis for each node: intN, ap_fixed<…>, or int3..int8 for all between")
    nodes: list[str] | None = some("the nodes; null takes all that hold weights or a membrane")

    _spread = field_validator("per_node", mode="before")(spread_names)
    _check_distinct = field_validator("per_node")(distinct)

    @field_validator("per_node")
    @classmethod
    def _legal(cls, types: list[str]) -> list[str]:
        try:
            distinct([mixed({}, text).name for text in types])
        except PrecisionError as error:
            raise ValueError(str(error)) from None
        return types

    @field_validator("nodes", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return value if value is None else listed(value)

    @field_validator("nodes")
    @classmethod
    def _some(cls, nodes: list[str] | None) -> list[str] | None:
        if nodes == []:
            raise ValueError("the list is empty; give at least one value")
        return None if nodes is None else distinct(nodes)

    def nodes_of(self, network: str, graph: Graph) -> tuple[str, ...]:
        """The nodes of a network that have types of their own. Raises ConfigError for one it does not have."""
        if self.nodes is None:
            return adjustable(graph)
        for node in self.nodes:
            if node not in graph.nodes:
                known = ", ".join(graph.nodes)
                raise ConfigError(f"precisions: network '{network}' has no node '{node}'; its nodes are: {known}")
        return tuple(self.nodes)

    def dimensions(self, nodes: Sequence[str]) -> tuple[Dimension, ...]:
        """The axes of a network's space that stand where its precision would."""
        return tuple(Dimension(f"{NODE}{node}", tuple(self.per_node)) for node in nodes)

    def precision(self, types: Mapping[str, str]) -> Precision:
        """The precision of one choice, a type by node. All other nodes, inputs too, have the widest of all choices."""
        return mixed(types, self._widest)

    @cached_property
    def _widest(self) -> str:
        return widest(self.per_node)


def _kind(value: Any) -> str:
    per_node = isinstance(value, PerNode) or (isinstance(value, Mapping) and "per_node" in value)
    return PER_NODE if per_node else NAMED


NAMED, PER_NODE = "precisions by name", "precisions by node"
"""Tags of the two ways to write precisions; places of errors contain them, which messages leave out."""

AnyPrecisions = Annotated[
    Annotated[list[str | dict[str, Any]], Field(min_length=1), Tag(NAMED)] | Annotated[PerNode, Tag(PER_NODE)],
    Discriminator(_kind),
]


def precisions(description: str) -> Any:
    """The field of :data:`AnyPrecisions`."""

    def extra(schema: dict[str, Any]) -> None:
        named, per_node = schema.pop("oneOf")
        schema["anyOf"] = [named | {"uniqueItems": True}, named["items"], per_node]

    return Field(description=description, json_schema_extra=extra)
