"""From the name of a precision to the number types of every node of a graph.

=====================  =============================================================================================
``fp32``, ``fp16``     weights, results and membranes rounded to IEEE 754 binary32 or binary16 after each node
``intN`` (2..16)       weights and inputs of N bits, biases, results and membranes of 2N bits; each tensor has its own
                       power-of-two scale, AP_RND and AP_SAT; decay ap_ufixed<min(2N,16),1>
``ap_fixed<W,I[,Q[,O]]>``  that one type for everything; decay ap_ufixed<min(W,16),1>
``mixed(fc1=int4,*=int8)``  intN or ap_fixed<…> for single nodes, and after ``*`` for all others; each means
                       there what it means alone
a mapping              ``{name, weight, input, result, membrane, decay, nodes: {node: {…}}}``: a type or an intN for
                       each kind of tensor, and for single nodes
=====================  =============================================================================================

The scale of each tensor of an intN is the power of two that loses least of its values (squared error): of the weights
and biases themselves, and of the inputs, results and membranes that a float run over calibration samples shows. A
membrane at or above its threshold is about to be reset, whatever its value, so it counts as the threshold (but for a
reset by subtraction). Where a neuron must exceed its threshold to spike, the type holds more than the threshold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from talon_lib.errors import PrecisionError
from talon_lib.fixed import SPIKE, Array, FixedType, FloatType, NumberType, Span, fit, parse_type
from talon_lib.ir.graph import Graph
from talon_lib.ir.node import Bound, NodeTypes, Primitive, bind
from talon_lib.ir.structure import Input

ROLES = ("weight", "input", "result", "membrane", "decay")
BITS = range(2, 17)

_in_order = json.JSONEncoder(sort_keys=True).encode  # made once: there may be a million precisions

_INT = re.compile(r"int(\d+)")
_MIXED = re.compile(r"mixed\((.*)\)")
_MIXED_PART = re.compile(r"([^=,]+)=((?:[^,<]|<[^>]*>)+)(?:,|$)")


@dataclass(frozen=True)
class Scaled:
    """A type whose power-of-two scale is found from a tensor's values: so many bits, AP_RND and AP_SAT."""

    width: int

    def __str__(self) -> str:
        return f"int{self.width}"


Choice = FixedType | FloatType | Scaled
"""What a precision asks for: a type, or a width whose scale is still to be found."""


@dataclass(frozen=True)
class Precision:
    """What number types a run uses. Make one with :meth:`parse`.

    ``bias`` None means the result's choice, ``decay`` None the rule in the module's table.
    """

    name: str
    weight: Choice
    input: Choice
    result: Choice
    membrane: Choice
    bias: Choice | None = None
    decay: Choice | None = None
    nodes: Mapping[str, Mapping[str, Choice]] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: str | Mapping[str, Any] | Precision) -> Precision:
        """Read a precision: a name, a mapping, or a mapping in JSON. Raises PrecisionError, saying what is legal."""
        if isinstance(value, Precision):
            return value
        if isinstance(value, Mapping):
            return cls._from_mapping(value)
        text = str(value).strip()
        if text.startswith("{"):
            try:
                return cls._from_mapping(json.loads(text))
            except json.JSONDecodeError as error:
                raise PrecisionError(f"the precision is no JSON: {error}") from None
        if match := _INT.fullmatch(text):
            bits = _check_bits(text, int(match[1]))
            return cls(text, Scaled(bits), Scaled(bits), Scaled(2 * bits), Scaled(2 * bits))
        if match := _MIXED.fullmatch(text):
            return _parse_mixed(text, match[1])
        if not text.startswith(("fp", "ap_", "fixed", "ufixed")):
            raise PrecisionError(
                f"unknown precision {text!r}; use fp32, fp16, int2 to int16, ap_fixed<W,I[,Q[,O]]>, mixed(…), or a "
                "mapping"
            )
        number = parse_type(text)
        return cls(str(number), number, number, number, number)

    @classmethod
    def _from_mapping(cls, value: Mapping[str, Any]) -> Precision:
        unknown = sorted(set(value) - {"name", "nodes", "bias", *ROLES})
        if unknown:
            raise PrecisionError(
                f"unknown key {unknown[0]!r} in a precision; allowed: name, {', '.join(ROLES)}, bias, nodes"
            )
        for key in ("weight", "result"):
            if key not in value:
                raise PrecisionError(f"a precision mapping needs the key '{key}'")
        weight, result = _choice("weight", value["weight"]), _choice("result", value["result"])
        nodes: dict[str, dict[str, Choice]] = {}
        own = value.get("nodes") or {}
        if not isinstance(own, Mapping):
            raise PrecisionError("precision nodes: write {node: {weight: …, result: …}}")
        for name, choices in own.items():
            if not isinstance(choices, Mapping) or not set(choices) <= {*ROLES, "bias"}:
                raise PrecisionError(
                    f"precision of node '{name}': write {{weight: …, result: …}}, keys {', '.join(ROLES)}, bias"
                )
            nodes[name] = {key: _choice(f"{name}.{key}", choice) for key, choice in choices.items()}
        made = cls(
            name="",
            weight=weight,
            input=_choice("input", value.get("input", value["weight"])),
            result=result,
            membrane=_choice("membrane", value.get("membrane", value["result"])),
            bias=_choice("bias", value["bias"]) if "bias" in value else None,
            decay=_choice("decay", value["decay"]) if "decay" in value else None,
            nodes=nodes,
        )
        return cls(**{**vars(made), "name": _name(value.get("name"), made)})

    def describe(self) -> str:
        """All choices in one line of JSON with sorted keys: equal for equal precisions, whatever their names."""
        choices: dict[str, Any] = {role: str(getattr(self, role)) for role in (*ROLES, "bias") if getattr(self, role)}
        if self.nodes:
            choices["nodes"] = {node: {key: str(c) for key, c in own.items()} for node, own in self.nodes.items()}
        return _in_order(choices)

    def argument(self) -> str:
        """What :meth:`parse` reads back to an equal precision: its name, or JSON for a mapping."""
        try:
            if Precision.parse(self.name) == self:
                return self.name
        except PrecisionError:
            pass
        return json.dumps({"name": self.name, **json.loads(self.describe())}, sort_keys=True)

    @property
    def needs_calibration(self) -> bool:
        """Whether calibration samples are needed to find scales."""
        choices = [self.input, self.result, self.membrane, self.bias, self.weight]
        return any(isinstance(c, Scaled) for own in self.nodes.values() for c in own.values()) or any(
            isinstance(choice, Scaled) for choice in choices
        )

    def finds_scales(self, bringing: Iterable[str]) -> bool:
        """Whether calibration samples are needed, the nodes that :func:`brings_scales` names included."""
        return self.needs_calibration or any(
            not isinstance(self.choice(name, "result"), FloatType) for name in bringing
        )

    @property
    def is_fixed(self) -> bool:
        """Whether everything is fixed point, so that hardware can hold it bit-exactly."""
        choices = [self.input, self.result, self.membrane, self.bias, self.weight, self.decay]
        own = [c for choices_ in self.nodes.values() for c in choices_.values()]
        return not any(isinstance(choice, FloatType) for choice in [*choices, *own])

    def choice(self, node: str, role: str) -> Choice | None:
        """What this precision asks for tensors of ``role`` at ``node``."""
        own = self.nodes.get(node, {})
        if role == "bias":
            return own.get("bias") or own.get("result") or self.bias or self.result
        found: Choice | None = own.get(role) or getattr(self, role)
        return found


def mixed(types: Mapping[str, str], others: str) -> Precision:
    """A precision in which every node has its own type, named ``mixed(fc1=int4,lif1=int8,*=int8)``.

    ``types``: intN or ap_fixed<…> by node, which means for that node's weights, bias, result and membrane what it means
    alone; ``others``: the same for all other nodes, the inputs among them. Raises PrecisionError for what is neither.
    """
    rest = _fixed_alone(others)
    own = {node: _fixed_alone(text) for node, text in types.items()}
    name = f"mixed({','.join(f'{node}={alone.name}' for node, alone in own.items())},*={rest.name})"
    nodes = {node: {role: getattr(alone, role) for role in ROLES[:-1]} for node, alone in own.items()}
    return replace(rest, name=name, nodes=nodes)


@lru_cache(maxsize=1024)
def _fixed_alone(text: str) -> Precision:
    """A precision of one name, which fixed point is: between floating and fixed point nothing says how to round."""
    alone = Precision.parse(text)
    if not alone.is_fixed or text.strip().startswith(("{", "mixed")):
        raise PrecisionError(f"mixed precision takes intN and ap_fixed<…> for a node, not {text!r}")
    return alone


def _parse_mixed(text: str, inside: str) -> Precision:
    parts = _MIXED_PART.findall(inside)
    types = dict(parts)
    if len(types) != len(parts) or "".join(f"{node}={own}," for node, own in parts)[:-1] != inside or "*" not in types:
        raise PrecisionError(f"{text!r}: write mixed(NODE=TYPE,…,*=TYPE), each node once")
    others = types.pop("*")
    return mixed(types, others)


def widest(types: Sequence[str]) -> str:
    """Of the names of precisions that one with the most bits in weights; the first of equal ones."""
    return max(types, key=lambda text: _width(_fixed_alone(text).weight))


def _width(choice: Choice) -> int:
    return choice.width if isinstance(choice, Scaled) else choice.bits


def adjustable(graph: Graph) -> tuple[str, ...]:
    """The nodes that hold weights or a membrane, in topological order: what a precision for each node is about."""
    return tuple(name for name in graph.order if _holds_values(graph.nodes[name], graph.input_shapes[name]))


def _holds_values(node: Primitive, shape: tuple[int, ...]) -> bool:
    weighted = any(tensor.role in ("weight", "bias") for tensor in node.parameters().values())
    return weighted or "membrane" in node.initial_state(1, shape)


@dataclass(frozen=True)
class Calibration:
    """Values that a float run over calibration samples showed, by node.

    inputs and results; membranes before reset; synaptic currents.
    """

    inputs: Mapping[str, Array]
    results: Mapping[str, Array]
    membranes: Mapping[str, Array]
    currents: Mapping[str, Array]


def _check_bits(text: str, bits: int) -> int:
    if bits not in BITS:
        raise PrecisionError(f"{text!r}: integer precisions go from int{BITS.start} to int{BITS.stop - 1}")
    return bits


def _name(given: Any, precision: Precision) -> str:
    """The name of a mapping; one that means another precision would put a wrong label on a row."""
    if given is None:
        return precision.describe()
    if not isinstance(given, str) or not given.strip() or given.lstrip().startswith("{"):
        raise PrecisionError(f"precision name: must be text, not {given!r}")
    try:
        meant = Precision.parse(given)
    except PrecisionError:
        return given
    if meant.describe() != precision.describe():
        raise PrecisionError(f"precision name: {given!r} is the name of another precision; choose one of your own")
    return given


def _choice(key: str, value: Any) -> Choice:
    if match := _INT.fullmatch(str(value).strip()):
        bits = int(match[1])
        if not 2 <= bits <= 32:
            raise PrecisionError(f"precision {key}: {value!r} must be int2 to int32")
        return Scaled(bits)
    try:
        return parse_type(str(value).strip())
    except PrecisionError as error:
        raise PrecisionError(f"precision {key}: {error}") from None


def assign(graph: Graph, precision: Precision, calibration: Calibration | None = None) -> dict[str, Bound]:
    """Give every node its number types and round its parameters to them.

    ``calibration`` (:func:`talon_lib.simulate.calibrate`) is needed where :func:`needs_calibration`. Returns
    the nodes in topological order. Raises PrecisionError, naming the node, for a type that cannot stay exact, for a
    threshold its membrane type cannot hold, and for names in ``precision.nodes`` that the graph does not have.
    """
    unknown = sorted(set(precision.nodes) - set(graph.nodes))
    if unknown:
        raise PrecisionError(f"precision {precision.name!r} names node '{unknown[0]}', which the graph does not have")
    if needs_calibration(graph, precision) and calibration is None:
        raise PrecisionError(f"precision {precision.name!r} needs calibration samples to find its scales")
    results: dict[str, NumberType] = {}
    for name in _by_result_type(graph):
        results[name] = _result_type(graph, name, precision, calibration, results)
    bound: dict[str, Bound] = {}
    for name in graph.order:
        node = graph.nodes[name]
        arriving = [results[source] for source in graph.predecessors(name)] or [results[name]]
        types = NodeTypes(
            input=_joined_type(name, node, arriving),
            result=results[name],
            **_parameter_types(graph, name, node, precision, calibration),
        )
        try:
            bound[name] = bind(name, node, types, graph.input_shapes[name])
        except PrecisionError as error:
            raise PrecisionError(f"{error} (precision {precision.name})") from None
        _check_levels(name, node, bound[name], precision)
        _check_accumulator(name, node, bound[name])
    return bound


def brings_scales(graph: Graph) -> tuple[str, ...]:
    """Nodes that bring the bits of their results along: a scale is found for them in any fixed-point run."""
    return tuple(
        name for name, node in graph.nodes.items() if node.result_t is None and node.own_bits("result") is not None
    )


def needs_calibration(graph: Graph, precision: Precision) -> bool:
    """Whether calibration samples are needed to find scales: the precision's own, or those that nodes bring along."""
    return precision.finds_scales(brings_scales(graph))


def _asked(precision: Precision, name: str, node: Primitive, role: str) -> Choice:
    """What is asked for at a node: the bits it brings along win over the precision of a fixed-point run."""
    choice, bits = precision.choice(name, role), node.own_bits(role)
    assert choice is not None
    return choice if bits is None or isinstance(choice, FloatType) else Scaled(bits)


def _by_result_type(graph: Graph) -> list[str]:
    """Topological order in which nodes that pass a type on come after its producer, cycles included."""
    own = [name for name in graph.order if not graph.nodes[name].passes_type]
    return own + [name for name in graph.order if graph.nodes[name].passes_type]


def _result_type(
    graph: Graph, name: str, precision: Precision, calibration: Calibration | None, results: Mapping[str, NumberType]
) -> NumberType:
    node = graph.nodes[name]
    if node.spiking:
        return SPIKE
    if node.emits_membrane:
        return _membrane_type(name, node, precision, calibration)
    if node.passes_type:
        arriving = [results[source] for source in graph.predecessors(name) if source in results]
        if len(arriving) < len(graph.predecessors(name)) and isinstance(arriving[0], FixedType):
            raise PrecisionError(
                f"node '{name}' ({node.kind}): no node of its cycle has a type of its own, so that its values have no "
                "bound; put one into it that computes"
            )
        return _joined_type(name, node, arriving)
    if node.result_t is not None:
        return parse_type(node.result_t)
    if isinstance(node, Input):
        choice = precision.choice(name, "input")
        if isinstance(choice, Scaled):
            assert calibration is not None
            return fit(calibration.inputs[name], choice.width)
    else:
        choice = _asked(precision, name, node, "result")
        if isinstance(choice, Scaled):
            assert calibration is not None
            return fit(calibration.results[name], choice.width)
    assert choice is not None
    return choice


def _joined_type(name: str, node: Primitive, arriving: list[NumberType]) -> NumberType:
    """The type of several edges together: theirs where it is one, else the narrowest that holds all values exactly."""
    if len(arriving) == 1 or (node.concatenates is not None and len(set(arriving)) == 1):
        return arriving[0]
    spans = [number.span for number in arriving if number.span is not None]
    if len(spans) != len(arriving):
        return next(number for number in arriving if number.span is None)
    span = Span(min(s.lsb for s in spans), max(s.msb for s in spans))
    if node.concatenates is None:
        span = span.times(len(spans))
    integer = span.msb + 1
    try:
        return FixedType(integer - span.lsb, integer)
    except PrecisionError:
        raise PrecisionError(
            f"node '{name}' ({node.kind}): the exact type of its inputs together needs {integer - span.lsb} bits"
        ) from None


def _parameter_types(
    graph: Graph, name: str, node: Primitive, precision: Precision, calibration: Calibration | None
) -> dict[str, NumberType]:
    own = {"weight": node.weight_t, "bias": node.bias_t}
    types: dict[str, NumberType] = {}
    states = node.initial_state(1, graph.input_shapes[name])
    if "membrane" in states:
        types["membrane"] = _membrane_type(name, node, precision, calibration)
    if "current" in states:
        types["current"] = _current_type(name, precision, calibration)
    tensors: dict[str, list[Array]] = {}
    for tensor in node.parameters().values():
        tensors.setdefault(tensor.role, []).append(np.ravel(tensor.values))
    for role, parts in tensors.items():
        values = np.concatenate(parts)
        if role == "membrane":
            continue
        if fixed_here := own.get(role):
            types[role] = parse_type(fixed_here)
        elif role == "decay":
            types[role] = _decay_type(precision.choice(name, "decay"), types["membrane"], values)
        else:
            choice = _asked(precision, name, node, role)
            types[role] = fit(values, choice.width) if isinstance(choice, Scaled) else choice
    return types


def _membrane_type(name: str, node: Primitive, precision: Precision, calibration: Calibration | None) -> NumberType:
    """The membrane's type; a found scale keeps the threshold apart from the leak."""
    choice = precision.choice(name, "membrane")
    assert choice is not None
    if not isinstance(choice, Scaled):
        return choice
    assert calibration is not None
    held = {key: tensor.values for key, tensor in node.parameters().items() if tensor.role == "membrane"}
    values = calibration.membranes[name]
    if node.spiking and getattr(node, "reset", None) == "leak":
        values = np.minimum(values, held["threshold"].max())
    exactly = np.concatenate([np.ravel(v) for v in held.values()]) if held else None
    found = fit(values, choice.width, exactly=exactly)
    if getattr(node, "strict", False) and (found.cast(held["threshold"]) >= found.max).any():
        found = replace(found, integer=found.integer + 1)  # something must lie above the threshold
    return found


def _current_type(name: str, precision: Precision, calibration: Calibration | None) -> NumberType:
    """The type of a synaptic current: what is asked for membranes, with a scale of its own."""
    choice = precision.choice(name, "membrane")
    assert choice is not None
    if not isinstance(choice, Scaled):
        return choice
    assert calibration is not None
    return fit(calibration.currents[name], choice.width)


def _decay_type(choice: Choice | None, membrane: NumberType, values: Array) -> NumberType:
    if isinstance(choice, Scaled):
        return fit(values, choice.width)
    if choice is not None:
        return choice
    if membrane.span is None:
        return membrane
    rounded = FixedType(min(membrane.bits, 16), 1, signed=False, rounding="AP_RND", overflow="AP_SAT")
    return rounded


def _check_levels(name: str, node: Primitive, bound: Bound, precision: Precision) -> None:
    """Raise PrecisionError where rounding makes other neurons: silent ones, or such that fire at every step."""
    membrane = bound.types.membrane
    if not isinstance(membrane, FixedType):
        return
    exact = {key: tensor.values for key, tensor in node.parameters().items() if tensor.role == "membrane"}
    at, more = f"{membrane} (precision {precision.name})", "give the membrane more bits"
    if not isinstance(precision.choice(name, "membrane"), Scaled):  # a found scale has weighed them already
        for key, values in exact.items():
            if ((values < membrane.min - membrane.step) | (values > membrane.max + membrane.step)).any():
                raise PrecisionError(f"node '{name}': its v_{key} lies outside of {at}; {more}")
    if "threshold" not in exact:
        return
    rounded = bound.parameters
    if getattr(node, "strict", False) and (rounded["threshold"] >= membrane.max).any():
        raise PrecisionError(f"node '{name}': nothing can exceed its v_threshold, the largest value of {at}; {more}")
    goal = next((key for key in ("reset", "leak") if key in exact), None)
    if getattr(node, "reset", None) == "subtract":
        goal = None
    low, rounded_low = (np.zeros(1), np.zeros(1)) if goal is None else (exact[goal], rounded[goal])
    shape = np.broadcast_shapes(np.shape(exact["threshold"]), np.shape(low))
    above = np.broadcast_to(exact["threshold"] > low, shape)
    if (above & (rounded["threshold"] <= rounded_low)).any():
        where = {None: "0", "leak": "its leak", "reset": "its v_reset"}[goal]
        raise PrecisionError(
            f"node '{name}': its v_threshold does not lie above {where} once both are rounded to {at}, so it would "
            f"fire at every step; {more}"
        )


def _check_accumulator(name: str, node: Primitive, bound: Bound) -> None:
    if node.accum_t is None or bound.span is None:
        return
    given, needed = parse_type(node.accum_t), bound.span
    if not isinstance(given, FixedType) or (
        given.fraction < -needed.lsb or given.integer - given.signed < needed.msb or not given.signed
    ):
        raise PrecisionError(
            f"node '{name}': accum_t {node.accum_t} is too narrow to be exact; leave it out or use {needed.ap_fixed()}"
        )


def describe_types(bound: Mapping[str, Bound]) -> dict[str, dict[str, str]]:
    """The types of every node in writing, for reports and descriptors."""
    return {name: {role: str(number) for role, number in at.types.assigned().items()} for name, at in bound.items()}


__all__ = [
    "Calibration",
    "Precision",
    "Scaled",
    "adjustable",
    "assign",
    "brings_scales",
    "describe_types",
    "mixed",
    "needs_calibration",
    "widest",
]
