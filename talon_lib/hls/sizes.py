"""From the layers that hls4ml is given to what the estimates know of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from talon_lib.cost.layers import Layer, Pair
from talon_lib.fixed import FixedType, parse_type
from talon_lib.hls.lower import RESTART, LoweredGraph

_WIRING = ("Reshape", "Repack", "ZeroPadding1D", "ZeroPadding2D", "Concatenate", "Resize")


def layers(lowered: LoweredGraph, streams: bool) -> tuple[Layer, ...]:
    """The layers of a lowered graph in the order of the data, the inputs left out."""
    return _Sizes(lowered, streams).whole()


class _Sizes:
    """Walks the layers and remembers how many values each hands on, and in how many tokens of a stream."""

    def __init__(self, lowered: LoweredGraph, streams: bool) -> None:
        self.lowered = lowered
        self.streams = streams
        self.values: dict[str, int] = {}
        self.tokens: dict[str, int] = {}
        self.nodes = {name: node for node, name in lowered.names.items()}

    def whole(self) -> tuple[Layer, ...]:
        """All layers."""
        made = []
        for layer in self.lowered.layers:
            if layer["class_name"] == "InputLayer":
                shape = layer["input_shape"]
                self._hands_on(layer["name"], int(np.prod(shape)), int(np.prod(shape[:-1])))
            else:
                made.append(self._layer(layer))
        return tuple(made)

    def _hands_on(self, name: str, values: int, tokens: int) -> None:
        self.values[name], self.tokens[name] = values, tokens

    def _node(self, name: str) -> str:
        """The node of a layer; a helper's name begins with the one of its node (``lower._identifiers``)."""
        while name not in self.nodes:
            name = name.rpartition("_")[0]
        return self.nodes[name]

    def _layer(self, layer: dict[str, Any]) -> Layer:
        name = layer["name"]
        kind, types = layer["class_name"], self.lowered.precision[name]
        sources = [source for source in layer["inputs"] if source != RESTART]
        given = _type(self.lowered.precision[sources[0]], "result")
        common = {"name": name, "node": self._node(name), "reuse": layer.get("reuse_factor")}
        common |= {"input_bits": given.width, "result_bits": _type(types, "result").width}
        before = max(self.tokens[source] for source in sources)
        if kind in ("Dense", "Conv1D", "Conv2D"):
            return self._matrix(layer, types, given, before, common)
        values, tokens = self._shape(layer, sources, before)
        self._hands_on(name, values, tokens)
        return Layer(
            kind="elements",
            inputs=self.values[sources[0]],
            outputs=values,
            tokens=(before, tokens),
            **common,
            **self._elements(layer, types, given),
        )

    def _matrix(
        self, layer: dict[str, Any], types: Mapping[str, str], given: FixedType, before: int, common: dict[str, Any]
    ) -> Layer:
        sources = [source for source in layer["inputs"] if source != RESTART]
        weight = layer["weight_data"]
        outputs = weight.shape[-1]
        places = layer.get("out_height", 1) * layer.get("out_width", 1)
        convolves = layer["class_name"] != "Dense"
        rows = layer.get("filt_height", 1) - 1
        self._hands_on(layer["name"], outputs * places, places)
        return Layer(
            kind="matrix",
            inputs=weight.size // outputs,
            outputs=outputs,
            places=places,
            tokens=(before, places),
            factors=((_factor(given), _factor(_type(types, "weight"))),),
            adder_bits=_width(types["accum"]),
            weight_bits=_type(types, "weight").width,
            zeros=int((weight == 0).sum()),
            line=(layer["in_width"], rows * layer["n_chan"] * given.width) if convolves and self.streams else (0, 0),
            shares=True,
            convolves=convolves,
            taps=weight.size // outputs**2 if _sums_windows(layer, _type(types, "weight")) else 0,
            image=self.values[sources[0]] if convolves else 0,
            saturated_bits=_saturated(_type(types, "result")),
            **common,
        )

    def _shape(self, layer: dict[str, Any], sources: list[str], before: int) -> Pair:
        """Values of the result, and the tokens that they come in."""
        name = layer["class_name"]
        if name == "Concatenate":
            values = sum(self.values[source] for source in sources)
            return values, before
        if name in ("Reshape", "Repack"):
            values, flat = int(np.prod(layer["target_shape"])), len(layer["target_shape"]) == 1
            # hls4ml leaves the tokens of what is flattened as they are; our Repack makes them one
            return values, 1 if flat and self._repacked(layer["name"]) else before
        if "out_height" in layer or "out_width" in layer:
            pixels = layer.get("out_height", 1) * layer["out_width"]
            return pixels * layer.get("n_filt", layer.get("n_chan", 1)), pixels
        return self.values[sources[0]], before

    def _repacked(self, name: str) -> bool:
        readers = [other["class_name"] for other in self.lowered.layers if name in other.get("inputs", ())]
        return readers != ["Dense"]

    def _elements(self, layer: dict[str, Any], types: Mapping[str, str], given: FixedType) -> dict[str, Any]:
        """What a value of such a layer takes: products, bits of adders and comparators, state, tables."""
        kind, result = layer["class_name"], _type(types, "result").width
        if kind in _WIRING:
            return {}
        if kind.startswith("Talon"):
            return _neuron(layer, types)
        if kind == "BatchNormalization":
            scale = _type(types, "scale")
            adder_bits = given.width + scale.width if np.any(layer["bias_data"]) else 0
            return {"factors": ((_factor(given), _factor(scale)),), "adder_bits": adder_bits, "shares": True}
        if kind == "PReLU" or kind == "LeakyReLU":
            slope = _type(types, "param" if kind == "PReLU" else "alpha", default=given)
            return {"factors": ((_factor(given), _factor(slope)),), "adder_bits": result}
        if kind == "UnaryLUT":
            return {"table": (2**given.width, result)}
        if kind.startswith("MaxPooling"):
            taps = layer.get("pool_height", 1) * layer["pool_width"]
            row = (layer.get("pool_height", 1) - 1) * layer["n_filt"] * given.width
            return {
                "adder_bits": (taps - 1) * given.width,
                "taps": taps,
                "image": self.values[layer["inputs"][0]],
                "shares": not self.streams,
                "line": (layer["in_width"], row) if self.streams else (0, 0),
            }
        return {"adder_bits": result}  # an addition of two edges, a ReLU


def _neuron(layer: dict[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """A neuron: v = decay (v - leak) + leak + i, a comparison with the threshold, and a choice of what it goes on with.

    A leak of 0 takes no adder. A delayed reset compares what was kept once more. What forgets only compares.
    """
    membrane = _type(types, "membrane")
    kept, saturated, factors, shifted = membrane.width, _saturated(membrane), [], []
    adders = integrators = 1
    if "decay" in types:
        leaks = bool(np.any(layer["leak_data"]))
        adders += 2 * leaks
        factors.append((_factor(membrane) + leaks, _factor(_type(types, "decay"))))
        shifted += factors[-1:] if _shifts(_type(types, "decay"), layer["decay_data"]) else []
    if "current" in types:
        current, synapse = _type(types, "current"), _type(types, "synapse")
        factors.append((_factor(current), _factor(synapse)))
        shifted += factors[-1:] if _shifts(synapse, layer["synapse_data"]) else []
        saturated += _saturated(current)
        kept += current.width
        adders += 1
        integrators += 1
    if "threshold" in types:
        adders += 2 + bool(layer.get("subtract")) + bool(layer.get("delayed"))
    if layer.get("forgets"):
        kept, adders = 0, 1
    return {
        "factors": tuple(factors),
        "adder_bits": adders * membrane.width,
        "state_bits": kept,
        "shares": True,
        "shifted": tuple(shifted),
        "integrators": integrators,
        "saturated_bits": saturated,
    }


def _shifts(number: FixedType, values: Any) -> bool:
    """Whether all neurons decay by one 0, 1, 2**-k or 1 - 2**-k: the rule of ``rtl.modules.Neurons.decay``."""
    codes, one = {int(code) for code in np.ravel(number.code(np.asarray(values)))}, 1 << max(number.fraction, 0)
    if len(codes) > 1 or number.fraction < 0:
        return False
    (code,) = codes
    return 0 <= code <= one and any(part & (part - 1) == 0 for part in (code, one - code))


def _sums_windows(layer: Mapping[str, Any], number: FixedType) -> bool:
    """Whether a convolution only adds up each channel's own values: an average or sum pool (``rtl.layers``' rule)."""
    weight = layer["weight_data"]
    if "filt_width" not in layer or number.width > 1 or np.any(layer["bias_data"]):
        return False
    channels, outputs = weight.shape[-2:]
    codes = number.code(weight.reshape(-1, channels, outputs))
    return channels == outputs and np.array_equal(codes, np.broadcast_to(np.eye(channels), codes.shape))


def _saturated(number: FixedType) -> int:
    """Bits of the multiplexer that saturates a number of this type."""
    return 0 if number.overflow == "AP_WRAP" else number.width


def _type(types: Mapping[str, str], role: str, default: FixedType | None = None) -> FixedType:
    found = parse_type(types[role]) if role in types else default
    assert isinstance(found, FixedType), "only fixed point is lowered"
    return found


def _width(text: str) -> int:
    """The width of a type as hls4ml writes it; accumulators may be wider than any number that is simulated."""
    found = re.match(r"ap_u?fixed<(\d+),", text)
    assert found is not None, "only fixed point is lowered"
    return int(found[1])


def _factor(number: FixedType) -> int:
    """The width of a factor in two's complement; one bit stays one bit, for it only chooses."""
    return number.width if number.signed or number.width == 1 else number.width + 1
