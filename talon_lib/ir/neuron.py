"""Spiking neurons.

One timestep of a leaky integrate-and-fire neuron, with x its input and v its membrane, both of the step before:

    v = decay * (v - v_leak) + v_leak + x        decay = 1 - 1 / tau; one exact expression, one cast
    spike = v >= v_threshold
    v = v_leak where it spiked                   reset="subtract": v = v - v_threshold

This is the update of the TALON SDK (its tutorial's ``cpu.simulate``); v starts at 0 for every sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from talon_lib.errors import GraphError
from talon_lib.fixed import Array, Span
from talon_lib.ir.fields import as_choice
from talon_lib.ir.layout import Shape
from talon_lib.ir.node import Bound, Lowered, LoweringContext, NodeTypes, Operations, Parameter, Primitive, primitive

RESETS = ("leak", "subtract")


class Neurons(Primitive):
    """Family of the spiking neurons: the state is the membrane, and no synapses are counted.

    NeuroBench counts a neuron's own updates apart from synaptic operations.
    """

    spiking: ClassVar[bool] = True

    def initial_state(self, batch: int, input_shape: Shape) -> Array:
        return np.zeros((batch, *input_shape))

    def macs(self, input_shape: Shape) -> int:
        return 0

    def effective_operations(self, x: Array, bound: Bound) -> Operations:
        return Operations()


@primitive
class LIF(Neurons):
    """Leaky integrate-and-fire neurons; see the module for the update.

    tau: time constant in steps, 1 or more. r: resistance, carried and not applied (as in the SDK's simulator).
    v_leak, v_threshold: membrane values. Each is one value, one per channel ``(C,)``, or one per neuron (the input's
    shape). reset: ``"leak"`` sets a neuron that spiked to v_leak, ``"subtract"`` takes v_threshold from it.
    """

    tau: Any
    r: Any
    v_leak: Any
    v_threshold: Any
    reset: str = "leak"

    def check(self) -> None:
        tau = self.set_array("tau", ndim=(0, 1, 2, 3))
        if (tau < 1).any():
            raise GraphError(
                f"tau must be 1 or more steps, for the decay is 1 - 1/tau; its least value is {tau.min():g}"
            )
        shapes = [self.set_array(name, ndim=(0, 1, 2, 3)).shape for name in ("r", "v_leak", "v_threshold")]
        _check_hints(self)
        _check_neurons(self.reset, dict(zip(("tau", "r", "v_leak", "v_threshold"), [tau.shape, *shapes], strict=True)))

    def output_shape(self, input_shape: Shape) -> Shape:
        for name in ("tau", "v_leak", "v_threshold"):
            _check_fits(name, getattr(self, name).shape, input_shape)
        return input_shape

    def parameters(self) -> Mapping[str, Parameter]:
        return {
            "decay": Parameter("decay", 1.0 - 1.0 / self.tau.astype(np.float64)),
            "leak": Parameter("membrane", self.v_leak),
            "threshold": Parameter("membrane", self.v_threshold),
        }

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        decay, membrane, x = types.of("decay").span, types.of("membrane").span, types.input.span
        if decay is None or membrane is None or x is None:
            return None
        return decay * (membrane + membrane) + membrane + x

    def step(self, x: Array, state: Array | None, bound: Bound) -> tuple[Array, Array]:
        membrane = bound.types.of("membrane")
        shape = x.shape[1:]
        decay, leak = (
            bound.lift(per_neuron(bound.parameters[name], shape), bound.types.of(bound.roles[name]))
            for name in ("decay", "leak")
        )
        v = bound.lift(state, membrane)
        return _fire(membrane.cast(decay * (v - leak) + leak + bound.exact_input(x)), self.reset, bound)

    def lower(self, at: LoweringContext) -> list[Lowered]:
        return _lower_neurons("TalonLIF", self.reset, at)


@primitive
class IF(Neurons):
    """Integrate-and-fire neurons: a LIF that does not decay and leaks to 0.

    v_threshold and reset as for LIF; ``"leak"`` resets to 0.
    """

    v_threshold: Any
    reset: str = "leak"

    def check(self) -> None:
        _check_hints(self)
        _check_neurons(self.reset, {"v_threshold": self.set_array("v_threshold", ndim=(0, 1, 2, 3)).shape})

    def output_shape(self, input_shape: Shape) -> Shape:
        _check_fits("v_threshold", self.v_threshold.shape, input_shape)
        return input_shape

    def parameters(self) -> Mapping[str, Parameter]:
        return {"threshold": Parameter("membrane", self.v_threshold)}

    def span(self, types: NodeTypes, input_shape: Shape) -> Span | None:
        membrane, x = types.of("membrane").span, types.input.span
        return None if membrane is None or x is None else membrane + x

    def step(self, x: Array, state: Array | None, bound: Bound) -> tuple[Array, Array]:
        membrane = bound.types.of("membrane")
        return _fire(membrane.cast(bound.lift(state, membrane) + bound.exact_input(x)), self.reset, bound)

    def lower(self, at: LoweringContext) -> list[Lowered]:
        return _lower_neurons("TalonIF", self.reset, at)


def per_neuron(values: Array, shape: Shape) -> Array:
    """Spread a parameter over neurons of ``shape``: one value, one per channel, or one per neuron already."""
    if values.ndim == 1 and values.shape != shape and values.size > 1:
        values = values.reshape(-1, *(1 for _ in shape[1:]))
    return np.broadcast_to(values, shape)


def _check_hints(node: Primitive) -> None:
    for hint in ("weight_t", "bias_t", "accum_t", "result_t"):
        if getattr(node, hint) is not None:
            raise GraphError(f"{hint} has no meaning for neurons; give their membrane type in the precision")


def _check_neurons(reset: str, shapes: Mapping[str, Shape]) -> None:
    as_choice("reset", reset, RESETS)
    larger = {shape for shape in shapes.values() if np.prod(shape) > 1}
    if len(larger) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise GraphError(f"the neuron parameters must have one shape (or a single value each), not {listed}")


def _check_fits(name: str, shape: Shape, input_shape: Shape) -> None:
    if shape not in (input_shape, (input_shape[0],), (), (1,)):
        raise GraphError(
            f"{name} has shape {shape}, which fits neither the input {input_shape} nor its {input_shape[0]} channel(s)"
        )


def _fire(v: Array, reset: str, bound: Bound) -> tuple[Array, Array]:
    """Compare the new membrane with the threshold and reset what spiked; returns spikes and the next membrane."""
    shape = v.shape[1:]
    threshold = per_neuron(bound.parameters["threshold"], shape)
    spikes = v >= threshold
    if reset == "subtract":
        after = bound.types.of("membrane").cast(np.where(spikes, v - threshold, v))
    else:
        leak = bound.parameters.get("leak")
        after = np.where(spikes, 0.0 if leak is None else per_neuron(leak, shape), v)
    return spikes.astype(np.float64), after


def _lower_neurons(class_name: str, reset: str, at: LoweringContext) -> list[Lowered]:
    """Per-neuron tables of every parameter, and the types that the kernel's one cast goes to."""
    types = at.bound.types
    tables = {
        f"{name}_data": per_neuron(values, at.input_shape).ravel()[at.order]
        for name, values in at.bound.parameters.items()
    }
    layer = {
        "class_name": class_name,
        "name": at.name,
        "inputs": [*at.inputs, at.restart],
        "n_in": int(np.prod(at.input_shape)),
        "subtract": reset == "subtract",
        **tables,
    }
    precision = {
        "membrane": str(types.membrane),
        **{name: str(types.of(role)) for name, role in at.bound.roles.items()},
        "result": str(types.result),
    }
    return [Lowered(layer, precision, at.order)]
