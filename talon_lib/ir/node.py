"""The contract of a primitive, and the registry.

A primitive is one final, frozen dataclass; all that the project knows about it stands in its class. Simulation,
operation counts, precision and lowering read it through the contract below and never ask which class it is.
:func:`primitive` refuses a class that leaves a part of the contract out.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar, dataclass_transform

import numpy as np

from talon_lib.errors import GraphError, PrecisionError
from talon_lib.fixed import SPIKE, Array, Lift, NumberType, Span, exact_arithmetic, parse_type
from talon_lib.ir.fields import MOST_VALUES, as_array, checks_arguments, is_whole, shown
from talon_lib.ir.layout import Shape


@dataclass(frozen=True)
class NodeTypes:
    """The number types of one node; those that a node has no use for are None.

    ``input`` is the type of the value that arrives: the producer's result, or the exact sum of several.
    """

    input: NumberType
    result: NumberType
    weight: NumberType | None = None
    bias: NumberType | None = None
    membrane: NumberType | None = None
    current: NumberType | None = None
    decay: NumberType | None = None

    def assigned(self) -> dict[str, NumberType]:
        """The types that there are, by role."""
        return {role: number for role, number in vars(self).items() if number is not None}

    def of(self, role: str) -> NumberType:
        """The type that parameters of this role (a field's name) are rounded to."""
        number: NumberType | None = getattr(self, role)
        if number is None:
            raise GraphError(f"no {role} type was assigned to this node")
        return number


State = Mapping[str, Array]
"""What a node keeps from step to step, ``(batch, …)`` by name; the name says which of the node's types it has."""


@dataclass(frozen=True)
class Parameter:
    """One parameter tensor: its values in float, and the role that says which of the node's types it takes."""

    role: str
    values: Array


@dataclass(frozen=True)
class Operations:
    """Synaptic operations: those on real values multiply and accumulate, those on spikes only accumulate.

    macs, acs: input and weight are both not zero. reached_macs, reached_acs: the input is not zero, whatever the weight
    is; so many weights an event-driven machine reads.
    """

    macs: int = 0
    acs: int = 0
    reached_macs: int = 0
    reached_acs: int = 0

    @classmethod
    def on(cls, given: NumberType, count: int, reached: int) -> Operations:
        """``count`` operations among ``reached`` synapses, on values of type ``given``."""
        spikes = given == SPIKE
        return cls(acs=count, reached_acs=reached) if spikes else cls(macs=count, reached_macs=reached)

    def __add__(self, other: Operations) -> Operations:
        return Operations(
            self.macs + other.macs,
            self.acs + other.acs,
            self.reached_macs + other.reached_macs,
            self.reached_acs + other.reached_acs,
        )


@dataclass(frozen=True)
class Arithmetic:
    """Operations beside the synapses, of one sample and step: ``count`` of one kind on operands of two types.

    kind: "multiply", or "add", which subtractions and comparisons are too.
    """

    kind: Literal["add", "multiply"]
    count: int
    left: NumberType
    right: NumberType


@dataclass(frozen=True)
class Bound:
    """A node made ready for one precision: types, parameters rounded to them, and the form its sums are exact in."""

    types: NodeTypes
    parameters: Mapping[str, Array]
    roles: Mapping[str, str]
    span: Span | None
    lift: Lift
    accum_t: str | None = None

    def exact(self, name: str) -> Any:
        """Parameter ``name`` in the form that sums are taken in."""
        return self.lift(self.parameters[name], self.types.of(self.roles[name]))

    @property
    def accumulator(self) -> str:
        """The type of hardware's accumulator: the node's own, or the narrowest that is exact."""
        if self.accum_t is not None:
            return str(parse_type(self.accum_t))
        assert self.span is not None, "only fixed point is lowered"
        return self.span.ap_fixed()

    def exact_input(self, x: Array) -> Any:
        """The input in the form that sums are taken in."""
        return self.lift(x, self.types.input)

    def mac_precision(self) -> dict[str, str]:
        """The types of an hls4ml layer that sums products and adds a bias; its accumulator is exact."""
        return {
            "weight": str(self.types.weight),
            "bias": str(self.types.bias),
            "accum": self.accumulator,
            "result": str(self.types.result),
        }


@dataclass(frozen=True)
class LoweringContext:
    """What a node may need to become layers of hls4ml.

    name: identifier of its layer. inputs: layers it reads. input_shape: ours, channels first. order: that of the
    input's values in hardware (``ir.layout``). bound: types and rounded parameters. restart: layer of the restart bit.
    streams: whether values come one place after the other (io_stream), not all at once (io_parallel).
    """

    name: str
    inputs: tuple[str, ...]
    input_shape: Shape
    order: Array
    bound: Bound
    restart: str
    streams: bool


@dataclass(frozen=True)
class Lowered:
    """One hls4ml layer: its dictionary for ``ModelGraph.from_layer_list`` and the type of each of its tensors.

    order: that of the result's values (``ir.layout``), where it is not the standard one of the result's shape. probes:
    what C simulation sees of every neuron: "spike" and the names of its state.
    """

    layer: dict[str, Any]
    precision: dict[str, str]
    order: Array | None = None
    probes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Support:
    """Whether a way to run graphs takes a primitive. remark: the reason why not, or what it does not take of it."""

    runs: bool = True
    remark: str = ""


HINTS = ("weight_t", "bias_t", "accum_t", "result_t", "reuse_factor")
"""The optional fields of every node that say how hardware is to hold it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Primitive(ABC):
    """Base of all primitives.

    The fields here are the SDK's optional hints. A type given here wins over the precision of a run, where the node has
    such a tensor (a result that has the input's type, or is a spike, has none of its own); ``accum_t`` must be wide
    enough for an exact sum, for no other accumulator is equal in simulation and hardware.

    Shapes are without batch, channels first. ``x`` in a step is ``(batch, *input_shape)``.
    """

    weight_t: str | None = None
    bias_t: str | None = None
    accum_t: str | None = None
    result_t: str | None = None
    reuse_factor: int | None = None

    spiking: ClassVar[bool] = False
    """Whether the node emits spikes: its result is 0 or 1."""

    emits_membrane: ClassVar[bool] = False
    """Whether the result is the node's membrane, and of its type."""

    passes_type: ClassVar[bool] = False
    """Whether the result has the input's type unchanged."""

    passes_values: ClassVar[bool] = False
    """Whether the result is the input's values in another shape at most, for which hardware computes nothing."""

    io_parallel: ClassVar[Support] = Support()
    """What hls4ml takes of the primitive where all values come at once."""

    io_stream: ClassVar[Support] = Support()
    """What hls4ml takes of it where values come one place after the other."""

    open_rtl: ClassVar[Support] = Support()
    """What the project's own RTL takes of it, which is built from the same lowered layers (``rtl.layers``)."""

    def __post_init__(self) -> None:
        for hint in HINTS[:-1]:
            value = getattr(self, hint)
            if value is None:
                continue
            try:
                if not isinstance(value, str):
                    raise PrecisionError(f"{shown(value)} is not a number type; write e.g. 'ap_fixed<16,6>'")
                parse_type(value)
            except PrecisionError as error:
                raise GraphError(f"{self.kind}: {hint}: {error}") from None
        reuse = self.reuse_factor
        if reuse is not None and not (is_whole(reuse) and 1 <= reuse < MOST_VALUES):
            raise GraphError(f"{self.kind}: reuse_factor must be a whole number of 1 or more, not {shown(reuse)}")
        try:
            self.check()
        except GraphError as error:
            raise GraphError(f"{self.kind}: {error}") from None

    @property
    def kind(self) -> str:
        """The primitive's name."""
        return type(self).__name__

    @abstractmethod
    def check(self) -> None:
        """Bring the fields into their stored form; raise GraphError, naming the field, if one cannot be right."""

    @abstractmethod
    def output_shape(self, input_shape: Shape) -> Shape:
        """The shape that comes out; raises GraphError, saying what is expected, if ``input_shape`` does not fit."""

    @abstractmethod
    def parameters(self) -> Mapping[str, Parameter]:
        """The tensors that hardware stores, in float and unrounded."""

    @abstractmethod
    def initial_state(self, batch: int, input_shape: Shape) -> State:
        """The state before the first step, in float64; empty for a node without memory."""

    @abstractmethod
    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        """Bounds of the one exact sum of a step; None where the types are floating point or nothing is summed."""

    @abstractmethod
    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        """One timestep: the result ``(batch, *output_shape)`` and the next state."""

    @abstractmethod
    def macs(self, input_shape: Shape) -> int:
        """Synaptic operations of one step and one sample, zero padding not counted (NeuroBench: Dense)."""

    @abstractmethod
    def effective_operations(self, x: Array, bound: Bound) -> Operations:
        """Those of them whose input and weight are both not zero, summed over the batch (NeuroBench: Effective)."""

    @abstractmethod
    def lower(self, at: LoweringContext) -> list[Lowered]:
        """The hls4ml layers, the last of them with the node's result; none where the node vanishes.

        Raises UnsupportedError with the reason where hls4ml cannot hold the node.
        """

    # What follows is how edges meet and part. Hardly any primitive has its own way: edges into a node are summed, and
    # every edge out of it carries the whole result.

    @property
    def concatenates(self) -> int | None:
        """The dimension (without batch) along which edges into the node are joined; None where they are summed."""
        return None

    def check_edges(self, incoming: int, outgoing: int) -> None:  # noqa: B027 (most nodes take any number)
        """Raise GraphError where the node cannot have so many edges."""

    def leaving_shape(self, shape: Shape, edge: int) -> Shape:
        """The shape of what the node's edge number ``edge`` (in the order of the graph's edges) carries."""
        return shape

    def leaving(self, result: Array, edge: int) -> Array:
        """What that edge carries of the result ``(batch, *shape)``."""
        return result

    def lower_part(self, at: LoweringContext, edge: int) -> Lowered:
        """The hls4ml layer whose result is what that edge carries, where it is less than the node's result.

        ``at`` is as for ``lower``, but that the inputs hold the node's result, and the shape is the result's.
        """
        raise NotImplementedError(f"{self.kind} hands on its whole result")

    def arithmetic(self, types: NodeTypes, input_shape: Shape) -> tuple[Arithmetic, ...]:
        """The additions and multiplications of one sample and step that are no synaptic operations; none of most."""
        return ()

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        """The fields in a form that is equal for nodes that compute the same; what a fingerprint is made of."""
        return fields_of(self)

    def own_bits(self, role: str) -> int | None:
        """How many bits the node itself asks for in a fixed-point run, for its weight, bias or result.

        The scale is found as for intN. None leaves the type to the run's precision.
        """
        return None

    def set(self, name: str, value: Any) -> None:
        """Store a field's checked form; for ``check`` alone, the instance is frozen after it."""
        object.__setattr__(self, name, value)

    def set_array(self, name: str, *, ndim: tuple[int, ...]) -> Array:
        """Store field ``name`` as a read-only float32 array, refusing what is not finite or of another rank."""
        given = as_array(getattr(self, name))
        if given is None:
            raise GraphError(f"{name} must be an array of numbers, not {shown(getattr(self, name))}")
        with np.errstate(over="ignore"):
            array = given.astype(np.float32)  # a copy
        if array.ndim not in ndim:
            wanted = " or ".join(str(n) for n in ndim)
            raise GraphError(f"{name} must have {wanted} dimension(s), not shape {array.shape}")
        if array.size == 0:
            raise GraphError(f"{name} is empty")
        if not np.isfinite(given).all():
            raise GraphError(f"{name} holds NaN or infinity")
        if not np.isfinite(array).all():
            raise GraphError(f"{name} holds numbers that float32 cannot")
        array.setflags(write=False)
        self.set(name, array)
        return array


class Memoryless(Primitive):
    """Family of the nodes whose result depends on the present step alone."""

    def initial_state(self, batch: int, input_shape: Shape) -> State:
        return {}


CONTRACT = Primitive.__abstractmethods__
"""The names of the methods that every primitive defines, itself or through its family."""

_REGISTRY: dict[str, type[Primitive]] = {}

_P = TypeVar("_P", bound=Primitive)


@dataclass_transform(frozen_default=True, eq_default=False)
def primitive(cls: type[_P]) -> type[_P]:
    """Class decorator: make a frozen dataclass, hold it to the contract, and register it under its name."""
    missing = sorted(cls.__abstractmethods__)
    if missing:
        raise TypeError(f"primitive {cls.__name__} lacks {', '.join(missing)}")
    families = [base for base in cls.__mro__[1:] if issubclass(base, Primitive)]
    if any(base in _REGISTRY.values() for base in families):
        raise TypeError(f"primitive {cls.__name__} derives from another primitive: primitives are final")
    for name in CONTRACT & set(vars(cls)):
        if any(name in vars(base) and name not in base.__abstractmethods__ for base in families):
            raise TypeError(f"primitive {cls.__name__} overrides {name} of its family: a method is abstract or final")
    if not cls.__doc__:
        raise TypeError(f"primitive {cls.__name__} lacks a docstring that says what it computes")
    made = checks_arguments(dataclass(frozen=True, eq=False)(cls))
    _REGISTRY[made.__name__] = made
    return made


def primitives() -> Mapping[str, type[Primitive]]:
    """All registered primitives by name."""
    return dict(_REGISTRY)


def list_primitives() -> list[str]:
    """The names of all primitives, Input and Output included."""
    return list(_REGISTRY)


def bind(name: str, node: Primitive, types: NodeTypes, input_shape: Shape) -> Bound:
    """Round the parameters of ``node`` to ``types`` and choose the form of its sums.

    Raises PrecisionError, naming the node, where a sum would not stay exact.
    """
    tensors = node.parameters()
    span = node.span(types, input_shape)
    return Bound(
        types=types,
        parameters={key: types.of(tensor.role).cast(tensor.values) for key, tensor in tensors.items()},
        roles={key: tensor.role for key, tensor in tensors.items()},
        span=span,
        lift=exact_arithmetic(span, f"node '{name}' ({node.kind})"),
        accum_t=node.accum_t,
    )


def fields_of(node: Primitive, *without: str) -> dict[str, Any]:
    """A node's fields by name, but for those named and those that are left at None."""
    values = {field.name: getattr(node, field.name) for field in dataclasses.fields(node) if field.name not in without}
    return {name: value for name, value in values.items() if value is not None}
