"""What fields of primitives may be: each function gives the stored form, or raises GraphError naming the field."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import numpy as np

from talon_lib.errors import GraphError
from talon_lib.fixed import Array
from talon_lib.ir.layout import Shape

Pair = tuple[int, int]

MOST_VALUES = 2**24
"""Values of the largest tensor of one sample: 128 MiB in float64, far beyond what an FPGA holds."""

_SHOWN = 80
_MOST = float(np.finfo(np.float32).max)
_CLS = TypeVar("_CLS", bound=type)


def shown(value: Any) -> str:
    """``value`` for a message: its repr in one line, cut where it is long."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python writes no number of more than 4300 digits
        text = f"a {type(value).__name__} of very many digits"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def is_whole(value: Any) -> bool:
    """Whether ``value`` is a whole number; True and False are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite number; True and False are none."""
    return is_whole(value) or (isinstance(value, (float, np.floating)) and math.isfinite(value))


def as_array(value: Any) -> Array | None:
    """``value`` as an array of real numbers; None where it is none."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind in "biuf" else None


def as_count(name: str, value: Any) -> int:
    """A whole number of 1 or more, also as a float."""
    if not is_number(value) or not 1 <= value < MOST_VALUES or value != int(value):
        raise GraphError(f"{name} must be a whole number of 1 or more, not {shown(value)}")
    return int(value)


def as_index(name: str, value: Any) -> int:
    """A whole number."""
    if not is_whole(value):
        raise GraphError(f"{name} must be a whole number, not {shown(value)}")
    return int(value)


def as_number(name: str, value: Any) -> float:
    """A finite number that float32 can hold."""
    if not is_number(value) or abs(value) > _MOST:
        raise GraphError(f"{name} must be a finite number, not {shown(value)}")
    return float(value)


def as_flag(name: str, value: Any) -> bool:
    """A truth value."""
    if not isinstance(value, (bool, np.bool_)):
        raise GraphError(f"{name} must be True or False, not {shown(value)}")
    return bool(value)


def as_choice(name: str, value: Any, choices: Collection[str]) -> str:
    """One of ``choices``."""
    if not isinstance(value, str) or value not in choices:
        raise GraphError(f"{name} must be one of {', '.join(choices)}, not {shown(value)}")
    return value


def as_pair(name: str, value: Any, least: int) -> Pair:
    """A pair of whole numbers of ``least`` or more, from one number or two."""
    array = as_array(value)
    numbers = np.zeros(0) if array is None else np.atleast_1d(array)
    whole = numbers.ndim == 1 and numbers.size in (1, 2) and np.issubdtype(numbers.dtype, np.integer)
    if not whole or (numbers < least).any() or (numbers >= MOST_VALUES).any():
        raise GraphError(f"{name} must be one or two whole numbers of {least} or more, not {shown(value)}")
    return int(numbers[0]), int(numbers[-1])


def as_whole(name: str, value: Any, least: int) -> int:
    """A whole number of ``least`` or more, also from a sequence of one."""
    array = as_array(value)
    numbers = np.zeros(0) if array is None else np.atleast_1d(array)
    if numbers.shape != (1,) or not np.issubdtype(numbers.dtype, np.integer) or not least <= numbers[0] < MOST_VALUES:
        raise GraphError(f"{name} must be a whole number of {least} or more, not {shown(value)}")
    return int(numbers[0])


def as_shape(value: Any, field: str) -> Shape:
    """A shape from an int, a sequence, an integer array, or the SDK's one-entry mapping of such."""
    if isinstance(value, Mapping):
        if len(value) != 1:
            raise GraphError(f"{field} must name one shape, not {len(value)}")
        value = next(iter(value.values()))
    array = as_array(value)
    array = None if array is None else np.atleast_1d(array)
    numbers = array is not None and array.ndim == 1 and array.dtype.kind in "iuf"
    if array is None or not numbers or not np.isfinite(array).all() or (array != np.round(array)).any():
        raise GraphError(f"{field} must be a shape, e.g. np.array([1, 28, 28]), not {shown(value)}")
    shape = tuple(int(n) for n in array)
    if not shape or min(shape) < 1:
        raise GraphError(f"{field} must have sizes of 1 or more, not {shape}")
    check_size(shape, field)
    return shape


def check_size(shape: Shape, what: str) -> None:
    """Raise GraphError where a tensor of ``shape`` is larger than any that can be simulated."""
    if math.prod(shape) > MOST_VALUES:
        raise GraphError(f"{what} has the shape {shown(shape)}, which is more than {MOST_VALUES:,} values")


def per_neuron(values: Array, shape: Shape) -> Array:
    """Spread a parameter over neurons of ``shape``: one value, one per channel, or one per neuron already."""
    if values.ndim == 1 and values.shape != shape and values.size > 1:
        values = values.reshape(-1, *(1 for _ in shape[1:]))
    return np.broadcast_to(values, shape)


def check_fits(name: str, shape: Shape, input_shape: Shape) -> None:
    """Raise GraphError where a parameter's shape is neither one value, one per channel, nor one per neuron."""
    if shape not in (input_shape, (input_shape[0],), (), (1,)):
        raise GraphError(
            f"{name} has shape {shape}, which fits neither the input {input_shape} nor its {input_shape[0]} channel(s)"
        )


def checks_arguments(cls: _CLS) -> _CLS:
    """Class decorator: arguments that are missing, or that the class does not have, are a GraphError."""
    init, signature = cls.__init__, inspect.signature(cls)  # type: ignore[misc]

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise GraphError(f"{cls.__name__}: {error}; it is {cls.__name__}{_short(signature)}") from None
        init(self, *args, **kwargs)

    cls.__init__ = checked  # type: ignore[misc]
    return cls


def _short(signature: inspect.Signature) -> str:
    """The names of the arguments, those that may be left out in brackets."""
    names = [
        name if given.default is inspect.Parameter.empty else f"[{name}]"
        for name, given in signature.parameters.items()
    ]
    return f"({', '.join(names)})"
