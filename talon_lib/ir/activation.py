"""Activation functions.

The non-linear ones are tables in hardware: one entry for every code of the input's type, each the value of the function
(in float64) cast once to the result's type. Simulation reads the same table, so that both are equal bit by bit.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, TypeGuard

import numpy as np

from talon_lib.errors import GraphError, UnsupportedError
from talon_lib.fixed import Array, FixedType, NumberType, Span
from talon_lib.ir.fields import as_count, as_flag, as_index, as_number, shown
from talon_lib.ir.layout import Shape
from talon_lib.ir.node import (
    Arithmetic,
    Bound,
    Lowered,
    LoweringContext,
    Memoryless,
    NodeTypes,
    Operations,
    Parameter,
    State,
    Support,
    fields_of,
    primitive,
)

TABLE_BITS = 16
"""The widest input that a table is made for: 65,536 entries, beyond which no device has the memory."""


class Activation(Memoryless):
    """Family of the activations: the shape stays, and no synapses are counted.

    features: number of channels (or of values, where there is one dimension), checked against the input where given.
    """

    features: Any

    def check_features(self) -> None:
        """Bring ``features`` into its stored form."""
        if self.features is not None:
            self.set("features", as_count("features", self.features))

    def checked(self, input_shape: Shape) -> Shape:
        """``input_shape``, which is the output's too. Raises GraphError where ``features`` does not fit it."""
        if self.features is not None and input_shape[0] != self.features:
            raise GraphError(f"features is {self.features}, but inputs of shape {input_shape} arrive")
        return input_shape

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        """Without features, which the input's shape says too."""
        return fields_of(self, "features")

    def macs(self, input_shape: Shape) -> int:
        return 0

    def effective_operations(self, x: Array, bound: Bound) -> Operations:
        return Operations()


@primitive
class ReLU(Activation):
    """``y = x`` where x > 0, else ``negative_slope * x``.

    features: number of channels, checked against the input where it is given. negative_slope: a number of the
    node's weight type.
    """

    features: Any = None
    negative_slope: float = 0.0

    def check(self) -> None:
        self.check_features()
        self.set("negative_slope", as_number("negative_slope", self.negative_slope))

    def output_shape(self, input_shape: Shape) -> Shape:
        return self.checked(input_shape)

    def parameters(self) -> Mapping[str, Parameter]:
        if self.negative_slope == 0.0:
            return {}
        return {"negative_slope": Parameter("weight", np.array([self.negative_slope], np.float32))}

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        if self.negative_slope == 0.0 or types.input.span is None or types.of("weight").span is None:
            return types.input.span
        return types.input.span * types.of("weight").span + types.input.span  # type: ignore[operator]

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        result = bound.types.result
        if self.negative_slope == 0.0:
            return result.cast(np.maximum(x, 0.0)), state
        below = bound.exact_input(np.minimum(x, 0.0)) * bound.exact("negative_slope")
        return np.where(x > 0, result.cast(x), result.cast(below)), state

    def lower(self, at: LoweringContext) -> list[Lowered]:
        types = at.bound.types
        layer: dict[str, Any] = {
            "name": at.name,
            "inputs": list(at.inputs),
            "n_in": int(np.prod(at.input_shape)),
        }
        if self.negative_slope == 0.0:
            layer |= {"class_name": "Activation", "activation": "relu"}
            return [Lowered(layer, {"result": str(types.result)}, at.order)]
        slope = float(at.bound.parameters["negative_slope"][0])
        layer |= {"class_name": "LeakyReLU", "activation": "leaky_relu", "activ_param": slope}
        return [Lowered(layer, {"result": str(types.result), "param": str(types.weight)}, at.order)]

    def arithmetic(self, types: NodeTypes, input_shape: Shape) -> tuple[Arithmetic, ...]:
        """A slope of 0 is a look at the sign."""
        if self.negative_slope == 0.0:
            return ()
        return (Arithmetic("multiply", math.prod(input_shape), types.of("weight"), types.input),)


@primitive
class PReLU(Activation):
    """``y = x`` where x > 0, else ``weight * x``.

    features: number of channels, checked against the input where it is not None. weight: one slope, one per channel
    ``(C,)``, or one per value (the input's shape).
    """

    features: Any
    weight: Any

    def check(self) -> None:
        self.check_features()
        weight = self.set_array("weight", ndim=(0, 1, 2, 3))
        if self.features is not None and weight.size > 1 and len(weight) != self.features:
            raise GraphError(f"weight has shape {weight.shape}, which does not fit features {self.features}")

    def output_shape(self, input_shape: Shape) -> Shape:
        if self.weight.size > 1 and self.weight.shape not in (input_shape, (input_shape[0],)):
            raise GraphError(
                f"weight has shape {self.weight.shape}, which fits neither the input {input_shape} "
                f"nor its {input_shape[0]} channel(s)"
            )
        return self.checked(input_shape)

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        return {**super().identity(input_shape), "weight": _per_value(self.weight.ravel(), input_shape)}

    def parameters(self) -> Mapping[str, Parameter]:
        return {"weight": Parameter("weight", self.weight.ravel())}  # a vector: what has more dimensions is synapses

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        x, weight = types.input.span, types.of("weight").span
        return None if x is None or weight is None else x * weight

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        types = bound.types
        slopes = bound.lift(_per_value(bound.parameters["weight"], x.shape[1:]), types.of("weight"))
        below = bound.exact_input(np.minimum(x, 0.0)) * slopes
        return np.where(x > 0, types.result.cast(x), types.result.cast(below)), state

    def arithmetic(self, types: NodeTypes, input_shape: Shape) -> tuple[Arithmetic, ...]:
        return (Arithmetic("multiply", math.prod(input_shape), types.of("weight"), types.input),)

    def lower(self, at: LoweringContext) -> list[Lowered]:
        slopes = _per_value(at.bound.parameters["weight"], at.input_shape).ravel()[at.order]
        return [slopes_layer(at, slopes, str(at.bound.types.weight))]


def slopes_layer(at: LoweringContext, slopes: Array, number: str) -> Lowered:
    """The hls4ml layer that multiplies each value that is not positive by its own slope, and casts all to the result.

    slopes: in hardware's order. number: their type.
    """
    layer = {
        "class_name": "PReLU",
        "name": at.name,
        "inputs": list(at.inputs),
        "n_in": len(slopes),
        "activation": "prelu",
        "param_data": slopes,
    }
    return Lowered(layer, {"param": number, "result": str(at.bound.types.result)}, at.order)


def _per_value(values: Array, shape: Shape) -> Array:
    """Spread a vector over values of ``shape``: one for all, one per value, or one per channel."""
    if values.size == np.prod(shape):
        return values.reshape(shape)
    return np.broadcast_to(values.reshape(-1, *(1 for _ in shape[1:])), shape)


class Tabulated(Activation):
    """Family of the activations that hardware reads from a table."""

    io_parallel: ClassVar[Support] = Support(
        remark=f"inputs of up to {TABLE_BITS} bits, for the table has 2^bits entries"
    )
    io_stream: ClassVar[Support] = io_parallel
    open_rtl: ClassVar[Support] = io_parallel

    @abstractmethod
    def function(self, x: Array) -> Array:
        """The function's values at ``x``, in float64."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return self.checked(input_shape)

    def parameters(self) -> Mapping[str, Parameter]:
        return {}

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        return None

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        number, result = bound.types.input, bound.types.result
        if _has_table(number) and isinstance(result, FixedType):
            return table(self, number, result)[number.code(x) & (2**number.width - 1)], state
        return result.cast(self.function(np.asarray(x, np.float64))), state

    def lower(self, at: LoweringContext) -> list[Lowered]:
        number, result = at.bound.types.input, at.bound.types.result
        if not _has_table(number) or not isinstance(result, FixedType):
            raise UnsupportedError(
                f"its table needs an entry for every input, whose type {number} has more than {TABLE_BITS} bits; "
                "give the node before it a narrower type (result_t)"
            )
        return [table_layer(at.name, list(at.inputs), at.order, table(self, number, result), result)]


def _has_table(number: NumberType) -> TypeGuard[FixedType]:
    return isinstance(number, FixedType) and number.width <= TABLE_BITS


@lru_cache(maxsize=32)  # every step reads it, and a wide one takes longer to make than a step
def table(node: Tabulated, number: FixedType, result: FixedType) -> Array:
    """``(2**width,)``: the node's result for every input of type ``number``, in the order of :func:`codes`."""
    entries = result.cast(node.function(np.ldexp(codes(number).astype(np.float64), -number.fraction)))
    entries.setflags(write=False)
    return entries


def codes(number: FixedType) -> Array:
    """All values of a type, as multiples of its last bit, in the order of their bits read unsigned."""
    unsigned = np.arange(2**number.width)
    if not number.signed:
        return unsigned
    return np.where(unsigned >= 2 ** (number.width - 1), unsigned - 2**number.width, unsigned)


def table_layer(name: str, inputs: list[str], order: Array, entries: Array, result: NumberType) -> Lowered:
    """The hls4ml layer that looks every value up in ``entries``, which stand in the order of :func:`codes`."""
    layer = {
        "class_name": "UnaryLUT",
        "name": name,
        "inputs": inputs,
        "n_in": len(order),
        "activation": "unary_lut",
        "table_data": entries,
    }
    return Lowered(layer, {"table": str(result), "result": str(result)}, order)


@primitive
class Sigmoid(Tabulated):
    """``y = 1 / (1 + exp(-x))``. features: number of channels, checked against the input where it is given."""

    features: Any = None

    def check(self) -> None:
        self.check_features()

    def function(self, x: Array) -> Array:
        small = np.exp(-np.abs(x))  # never overflows
        return np.where(x >= 0, 1.0, small) / (1.0 + small)


@primitive
class Tanh(Tabulated):
    """``y = tanh(x)``. features: number of channels, checked against the input where it is given."""

    features: Any = None

    def check(self) -> None:
        self.check_features()

    def function(self, x: Array) -> Array:
        return np.tanh(x)


@primitive
class GELU(Tabulated):
    """``y = x * Phi(x)``, Phi the distribution function of the standard normal distribution.

    features: number of channels, checked against the input where it is given. approximate: True takes
    ``0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))``, False the exact form with erf.
    """

    features: Any = None
    approximate: bool = True

    def check(self) -> None:
        self.check_features()
        self.set("approximate", as_flag("approximate", self.approximate))

    def function(self, x: Array) -> Array:
        if not self.approximate:
            return 0.5 * x * _erfc(-x / math.sqrt(2.0))
        with np.errstate(over="ignore"):  # the tanh of infinity is as good
            return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))


def _erfc(x: Array) -> Array:
    """The complementary error function; numpy has none."""
    return np.fromiter(map(math.erfc, x.ravel().tolist()), np.float64, x.size).reshape(x.shape)


@primitive
class ELU(Tabulated):
    """``y = x`` where x > 0, else ``alpha * (exp(x) - 1)``.

    features: number of channels, checked against the input where it is given.
    """

    features: Any = None
    alpha: float = 1.0

    def check(self) -> None:
        self.check_features()
        self.set("alpha", as_number("alpha", self.alpha))

    def function(self, x: Array) -> Array:
        return np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0.0)))


@primitive
class Softmax(Activation):
    """``y = exp(x) / sum(exp(x))`` along ``dim`` (without batch).

    features: number of channels, checked against the input where it is given. In fixed point the result is the exact
    quotient (in float64), cast once; no hardware here computes that, so it is simulated and not lowered.
    """

    io_parallel: ClassVar[Support] = Support(
        False,
        "hls4ml's Softmax multiplies an entry of a table of exp by one of a table of 1/x, which is not the value that "
        "is simulated; end the graph before it, for the largest input has the largest result",
    )
    io_stream: ClassVar[Support] = io_parallel
    open_rtl: ClassVar[Support] = io_parallel

    features: Any = None
    dim: int = -1

    def check(self) -> None:
        self.check_features()
        self.set("dim", as_index("dim", self.dim))

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        return {**super().identity(input_shape), "dim": self.dim % len(input_shape)}

    def output_shape(self, input_shape: Shape) -> Shape:
        rank = len(input_shape)
        if not -rank <= self.dim < rank:
            raise GraphError(f"dim {self.dim} is no dimension of the input {input_shape}; the batch is not counted")
        return self.checked(input_shape)

    def parameters(self) -> Mapping[str, Parameter]:
        return {}

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        return None

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        dim = self.dim % (x.ndim - 1) + 1
        powers = np.exp(x - x.max(axis=dim, keepdims=True))
        return bound.types.result.cast(powers / powers.sum(axis=dim, keepdims=True)), state

    def lower(self, at: LoweringContext) -> list[Lowered]:
        raise UnsupportedError(self.io_parallel.remark)


@primitive
class Dropout(Activation):
    """Nothing: what it drops in training it passes on at inference.

    features: number of channels, checked against the input where it is given. p: the share that training drops.
    """

    passes_type: ClassVar[bool] = True
    passes_values: ClassVar[bool] = True

    features: Any = None
    p: float = 0.5

    def check(self) -> None:
        self.check_features()
        if not 0.0 <= as_number("p", self.p) <= 1.0:
            raise GraphError(f"p must be within 0 to 1, not {shown(self.p)}")

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        return fields_of(self, "features", "p")

    def output_shape(self, input_shape: Shape) -> Shape:
        return self.checked(input_shape)

    def parameters(self) -> Mapping[str, Parameter]:
        return {}

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        return None

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        return x, state

    def lower(self, at: LoweringContext) -> list[Lowered]:
        return []
