"""Neurons: spiking ones, and integrators that hand on their membrane.

One timestep, with x the input, i the synaptic current and v the membrane of the step before:

    i = synapse * i + x                                synapse = 1 - 1 / tau_syn; CubaLIF and CubaLI alone, else i is x
    v = decay * (v - v_leak) + v_leak + i              decay = 1 - 1 / tau; IF and I: v = v + i
    spike = v >= v_threshold                           strict: v > v_threshold
    v = v_reset where it spiked                        reset="subtract": v = v - v_threshold

Each line is one exact expression and one cast. i and v start at 0 for every sample. With reset_delay the last line
waits for the next step: where v had reached the threshold, that step gives v_reset whatever arrives, or with "subtract"
takes v_threshold from its sum.

Sources: the defaults are the update of the TALON SDK (its tutorial's ``cpu.simulate``); i, v_reset and strict are those
of NIR (Pedersen et al. 2024), sampled with forward Euler; reset_delay is how snnTorch times its reset by subtraction,
and that of its Synaptic to 0 (docs/from_torch.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from talon_lib.errors import GraphError
from talon_lib.fixed import Array, NumberType, Span
from talon_lib.ir.fields import as_choice, as_flag, check_fits, per_neuron
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
    Primitive,
    State,
    fields_of,
    primitive,
)

RESETS = ("leak", "subtract")

_VALUES = ("tau", "tau_syn", "r", "v_leak", "v_threshold", "v_reset")


class Neurons(Primitive):
    """Family of the neurons: elementwise, with a membrane; no synapses are counted.

    NeuroBench counts a neuron's own updates apart from synaptic operations. A kind without a field for tau does not
    leak, one without tau_syn takes its input for the current, and one without v_threshold hands on its membrane.
    """

    reset: str = "leak"
    v_reset: Any = None
    reset_delay: bool = False
    strict: bool = False

    def value(self, name: str) -> Array | None:
        """The parameter of that name; None where the kind has none, or leaves it out."""
        found: Array | None = getattr(self, name, None)
        return found

    def check(self) -> None:
        for hint in ("weight_t", "bias_t", "accum_t", "result_t"):
            if getattr(self, hint) is not None:
                raise GraphError(f"{hint} has no meaning for neurons; give their membrane type in the precision")
        given = [name for name in _VALUES if hasattr(self, name) and (name != "v_reset" or self.v_reset is not None)]
        shapes = {name: self.set_array(name, ndim=(0, 1, 2, 3)).shape for name in given}
        for name in ("tau", "tau_syn"):
            if name in given and (getattr(self, name) < 1).any():
                least = getattr(self, name).min()
                raise GraphError(
                    f"{name} must be 1 or more steps, for the decay is 1 - 1/{name}; its least value is {least:g}"
                )
        as_choice("reset", self.reset, RESETS)
        if self.v_reset is not None and self.reset != "leak":
            raise GraphError("v_reset is where reset 'leak' goes; reset 'subtract' has no use for it")
        for name in ("reset_delay", "strict"):
            if self.spiking:
                self.set(name, as_flag(name, getattr(self, name)))
        larger = {shape for shape in shapes.values() if np.prod(shape) > 1}
        if len(larger) > 1:
            listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise GraphError(f"the neuron parameters must have one shape (or a single value each), not {listed}")

    def output_shape(self, input_shape: Shape) -> Shape:
        for name in _VALUES:
            values = self.value(name)
            if values is not None and name != "r":
                check_fits(name, values.shape, input_shape)
        return input_shape

    def parameters(self) -> Mapping[str, Parameter]:
        held = {}
        for name, field in (("decay", "tau"), ("synapse", "tau_syn")):
            tau = self.value(field)
            if tau is not None:
                held[name] = Parameter("decay", 1.0 - 1.0 / tau.astype(np.float64))
        for name, field in (("leak", "v_leak"), ("threshold", "v_threshold"), ("reset", "v_reset")):
            values = self.value(field)
            if values is not None:
                held[name] = Parameter("membrane", values)
        return held

    def initial_state(self, batch: int, input_shape: Shape) -> State:
        names = ("membrane", "current") if self.value("tau_syn") is not None else ("membrane",)
        return {name: np.zeros((batch, *input_shape)) for name in names}

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        """Bounds of both sums, the current's and the membrane's."""
        drive, membrane = types.input.span, types.of("membrane").span
        if drive is None or membrane is None:
            return None
        sums = []
        if self.value("tau_syn") is not None:
            current, synapse = types.of("current").span, types.of("decay").span
            if current is None or synapse is None:
                return None
            sums.append(synapse * current + drive)
            drive = current
        kept = membrane
        if self.value("tau") is not None:
            decay = types.of("decay").span
            if decay is None:
                return None
            kept = decay * (membrane + membrane) + membrane
        total = kept + drive
        sums.append(total + membrane if self.reset_delay and self.reset == "subtract" else total)
        return Span(min(s.lsb for s in sums), max(s.msb for s in sums))

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        shape, types = x.shape[1:], bound.types

        def exact(name: str) -> Any:
            return bound.lift(per_neuron(bound.parameters[name], shape), types.of(bound.roles[name]))

        after: dict[str, Array] = {}
        drive: Any = bound.exact_input(x)
        if self.value("tau_syn") is not None:
            number = types.of("current")
            after["current"] = number.cast(exact("synapse") * bound.lift(state["current"], number) + drive)
            drive = bound.lift(after["current"], number)
        number, before = types.of("membrane"), state["membrane"]
        v: Any = bound.lift(before, number)
        v = v + drive if self.value("tau") is None else exact("decay") * (v - exact("leak")) + exact("leak") + drive
        if not self.spiking:
            after["membrane"] = number.cast(v)
            return after["membrane"], after
        threshold = per_neuron(bound.parameters["threshold"], shape)
        goal = per_neuron(bound.parameters.get("reset", bound.parameters.get("leak", np.zeros(1))), shape)
        if not self.reset_delay:
            now = number.cast(v)
            spikes = self._fires(now, threshold)
            reset = number.cast(np.where(spikes, now - threshold, now)) if self.reset == "subtract" else goal
        else:
            spiked = self._fires(before, threshold)
            if self.reset == "subtract":
                now = number.cast(v - bound.lift(np.where(spiked, threshold, 0.0), number))
            else:
                now = np.where(spiked, goal, number.cast(v))
            spikes, reset = self._fires(now, threshold), now
        after["membrane"] = np.where(spikes, reset, now)
        return spikes.astype(np.float64), after

    def _fires(self, v: Array, threshold: Array) -> Array:
        fires: Array = v > threshold if self.strict else v >= threshold
        return fires

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        """One value per neuron, the goal of the reset written out; r, which nothing uses, is left out."""
        values = {name: self.value(name) for name in _VALUES if name != "r"}
        if self.spiking and self.reset == "leak" and self.v_reset is None:
            values["v_reset"] = np.zeros(1, np.float32) if self.value("v_leak") is None else self.value("v_leak")
        others = {name: value for name, value in fields_of(self).items() if name not in _VALUES}
        return others | {name: per_neuron(v, input_shape) for name, v in values.items() if v is not None}

    def macs(self, input_shape: Shape) -> int:
        return 0

    def effective_operations(self, x: Array, bound: Bound) -> Operations:
        return Operations()

    def arithmetic(self, types: NodeTypes, input_shape: Shape) -> tuple[Arithmetic, ...]:
        """The update's lines (see the module); a leak of 0 is not subtracted and added."""
        count, membrane, drive = math.prod(input_shape), types.of("membrane"), types.input
        found = []
        if self.value("tau_syn") is not None:
            current, drive = types.of("current"), types.of("current")
            found.append(Arithmetic("multiply", count, types.of("decay"), current))
            found.append(Arithmetic("add", count, current, types.input))
        if self.value("tau") is not None:
            found.append(Arithmetic("multiply", count, types.of("decay"), membrane))
            leak = self.value("v_leak")
            if leak is not None and leak.any():
                found.append(Arithmetic("add", 2 * count, membrane, membrane))
        found.append(Arithmetic("add", count, membrane, drive))
        if self.spiking:  # the comparison, and what a reset by subtraction takes off
            found.append(Arithmetic("add", count * (2 if self.reset == "subtract" else 1), membrane, membrane))
        return tuple(found)

    def lower(self, at: LoweringContext) -> list[Lowered]:
        """Per-neuron tables of every parameter, and the types that the kernel's casts go to."""
        tables = {
            f"{name}_data": per_neuron(values, at.input_shape).ravel()[at.order]
            for name, values in at.bound.parameters.items()
        }
        types, roles = at.bound.types, dict(at.bound.roles)
        if self.spiking and "reset_data" not in tables:
            tables["reset_data"] = tables.get("leak_data", np.zeros(len(at.order)))
            roles["reset"] = "membrane"
        flags = {"subtract": self.reset == "subtract", "delayed": self.reset_delay, "strict": self.strict}
        states = tuple(self.initial_state(1, at.input_shape))
        numbers = {name: types.of(name) for name in states} | {name: types.of(role) for name, role in roles.items()}
        return [kernel(at, self.kind, flags | tables, numbers, ("spike", *states) if self.spiking else states)]


def kernel(
    at: LoweringContext, kind: str, given: Mapping[str, Any], numbers: Mapping[str, NumberType], probes: tuple[str, ...]
) -> Lowered:
    """The layer of our kernel for ``kind``: flags and tables in ``given``, and the type of each table and state."""
    layer = {
        "class_name": f"Talon{kind}",
        "name": at.name,
        "inputs": [*at.inputs, at.restart],
        "n_in": len(at.order),
        **given,
    }
    precision = {name: str(number) for name, number in numbers.items()} | {"result": str(at.bound.types.result)}
    return Lowered(layer, precision, at.order, probes)


@primitive
class LIF(Neurons):
    """Leaky integrate-and-fire neurons; see the module for the update.

    tau: time constant in steps, 1 or more. r: resistance, carried and not applied (as in the SDK's simulator).
    v_leak, v_threshold: membrane values. Each is one value, one per channel ``(C,)``, or one per neuron (the input's
    shape). reset: ``"leak"`` sets a neuron that spiked to v_reset (v_leak where that is None), ``"subtract"`` takes
    v_threshold from it. reset_delay: whether that waits for the next step. strict: whether a neuron must exceed the
    threshold to spike.
    """

    spiking: ClassVar[bool] = True

    tau: Any
    r: Any
    v_leak: Any
    v_threshold: Any
    reset: str = "leak"
    v_reset: Any = None
    reset_delay: bool = False
    strict: bool = False


@primitive
class IF(Neurons):
    """Integrate-and-fire neurons: a LIF that does not decay and leaks to 0.

    v_threshold, reset, v_reset (0 where None), reset_delay and strict as for LIF.
    """

    spiking: ClassVar[bool] = True

    v_threshold: Any
    reset: str = "leak"
    v_reset: Any = None
    reset_delay: bool = False
    strict: bool = False


@primitive
class CubaLIF(Neurons):
    """Current-based LIF: its input is integrated to a synaptic current, which decays and drives the membrane.

    tau_syn: the current's time constant in steps, 1 or more. The membrane reads the current of the same step. All
    others as for LIF.
    """

    spiking: ClassVar[bool] = True

    tau_syn: Any
    tau: Any
    v_leak: Any
    v_threshold: Any
    reset: str = "leak"
    v_reset: Any = None
    reset_delay: bool = False
    strict: bool = False


@primitive
class LI(Neurons):
    """Leaky integrators: LIF neurons that never spike. The result is the membrane. tau, v_leak: as for LIF."""

    emits_membrane: ClassVar[bool] = True

    tau: Any
    v_leak: Any


@primitive
class I(Neurons):  # noqa: E742 (NIR's name)
    """Integrators: the result is the sum of all inputs since the sample began."""

    emits_membrane: ClassVar[bool] = True


@primitive
class CubaLI(Neurons):
    """Current-based leaky integrators: CubaLIF neurons that never spike. The result is the membrane."""

    emits_membrane: ClassVar[bool] = True

    tau_syn: Any
    tau: Any
    v_leak: Any


@primitive
class Threshold(Memoryless):
    """Spikes where the input exceeds the threshold, ``x > threshold``; nothing is kept.

    threshold: one value, one per channel ``(C,)``, or one per value (the input's shape), of the node's weight type.
    """

    spiking: ClassVar[bool] = True

    threshold: Any

    def check(self) -> None:
        self.set_array("threshold", ndim=(0, 1, 2, 3))

    def output_shape(self, input_shape: Shape) -> Shape:
        check_fits("threshold", self.threshold.shape, input_shape)
        return input_shape

    def parameters(self) -> Mapping[str, Parameter]:
        return {"threshold": Parameter("weight", self.threshold.ravel())}  # what has more dimensions is synapses

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        return types.input.span

    def step(self, x: Array, state: State, bound: Bound) -> tuple[Array, State]:
        return (x > self._thresholds(bound, x.shape[1:])).astype(np.float64), state

    def identity(self, input_shape: Shape) -> Mapping[str, Any]:
        return fields_of(self) | {"threshold": per_neuron(self.threshold, input_shape)}

    def _thresholds(self, bound: Bound, shape: Shape) -> Array:
        return per_neuron(bound.parameters["threshold"].reshape(self.threshold.shape), shape)

    def macs(self, input_shape: Shape) -> int:
        return 0

    def effective_operations(self, x: Array, bound: Bound) -> Operations:
        return Operations()

    def arithmetic(self, types: NodeTypes, input_shape: Shape) -> tuple[Arithmetic, ...]:
        return (Arithmetic("add", math.prod(input_shape), types.input, types.of("weight")),)

    def lower(self, at: LoweringContext) -> list[Lowered]:
        """An integrate-and-fire neuron that starts from 0 at every step."""
        types, thresholds = at.bound.types, self._thresholds(at.bound, at.input_shape).ravel()[at.order]
        given = {"strict": True, "forgets": True, "threshold_data": thresholds, "reset_data": np.zeros_like(thresholds)}
        numbers = {"membrane": types.input, "threshold": types.of("weight"), "reset": types.input}
        return [kernel(at, "IF", given, numbers, ("spike",))]
