"""From the layers of a lowered graph (``hls.lower``) to the modules of our own hardware.

The lowered graph is plain data, with all values in the order that hardware has them in; nothing of hls4ml is in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from talon_lib.cost.reuse import closest_reuse_factor, legal_reuse_factors
from talon_lib.errors import UnsupportedError
from talon_lib.fixed import Array, FixedType, parse_type
from talon_lib.hls.lower import RESTART, LoweredGraph
from talon_lib.ir.layout import standard_order
from talon_lib.rtl.modules import Lookup, Matrix, Neurons, Pool, RtlLayer, Scaling, Stream, Table, Windows


def layers(lowered: LoweredGraph, reuse_factor: int) -> tuple[RtlLayer, ...]:
    """The modules of a lowered graph, in the order of the data. Raises UnsupportedError, naming the node."""
    return _Chain(lowered, reuse_factor).whole()


class _Chain:
    """Walks the layers of a graph without branches."""

    def __init__(self, lowered: LoweredGraph, reuse_factor: int) -> None:
        self.lowered = lowered
        self.reuse_factor = reuse_factor
        self.nodes = {name: node for node, name in lowered.names.items()}
        self.made: list[RtlLayer] = []
        self.stream: Stream | None = None
        self.last = ""
        self.padded = (0, 0, 0, 0)  # above, left, below, right: zeros around the image that comes next

    def whole(self) -> tuple[RtlLayer, ...]:
        """All layers."""
        for layer in self.lowered.layers:
            if layer["name"] != RESTART:
                self._layer(layer)
        if self.lowered.outputs != [self.last]:
            raise UnsupportedError("the open RTL holds one chain of nodes, and this graph has several ends")
        return tuple(self.made)

    def _layer(self, layer: dict[str, Any]) -> None:
        name, kind = layer["name"], layer["class_name"]
        if kind == "InputLayer":
            if self.stream is not None:
                raise UnsupportedError("the open RTL holds one chain of nodes, and this graph has several inputs")
            shape = layer["input_shape"]
            order = standard_order((shape[-1], *shape[:-1]))
            self.stream = Stream(self._type(layer, "result"), order, len(order))
        else:
            sources = [source for source in layer["inputs"] if source != RESTART]
            if sources != [self.last]:
                raise UnsupportedError(
                    f"node '{self._node(name)}': the open RTL holds one chain of nodes, and it is part of a branch"
                )
            make = _MAKES.get(kind)
            if make is None:
                raise UnsupportedError(f"node '{self._node(name)}': the open RTL has no module for it yet")
            for made in make(self, layer):
                self.made.append(made)
                self.stream = made.result
        self.last = name

    def _node(self, name: str) -> str:
        """The node of a layer; a helper's name begins with the one of its node (``hls.lower``)."""
        while name not in self.nodes:
            name = name.rpartition("_")[0]
        return self.nodes[name]

    def _type(self, layer: Mapping[str, Any], role: str) -> FixedType:
        number = parse_type(self.lowered.precision[layer["name"]][role])
        assert isinstance(number, FixedType), "only fixed point is lowered"
        return number

    def _common(self, layer: Mapping[str, Any]) -> dict[str, Any]:
        return {"name": layer["name"], "node": self._node(layer["name"])}

    def dense(self, layer: Mapping[str, Any]) -> list[RtlLayer]:
        """A Dense: one product."""
        return [self._matrix(layer, layer["weight_data"].T, self._given(), 1)]

    def _given(self) -> Stream:
        assert self.stream is not None
        return self.stream

    def _matrix(self, layer: Mapping[str, Any], weight: Array, given: Stream, places: int) -> Matrix:
        number, bias_type, result = (self._type(layer, role) for role in ("weight", "bias", "result"))
        bits, fraction = _accumulator(self.lowered.precision[layer["name"]]["accum"])
        outputs, inputs = weight.shape
        legal = legal_reuse_factors(inputs, outputs, convolves=places > 1)
        reuse = closest_reuse_factor(legal, layer.get("reuse_factor") or self.reuse_factor)
        lanes = outputs // max(reuse // inputs, 1)
        shift = fraction - bias_type.fraction
        return Matrix(
            **self._common(layer),
            given=given,
            result=Stream(result, standard_order((outputs, places)), lanes),
            weight=number.code(weight),
            weight_type=number,
            bias=tuple(int(code) << shift for code in bias_type.code(layer["bias_data"])),
            accumulator=bits,
            fraction=fraction,
            reuse=reuse,
            places=places,
        )

    def neurons(self, layer: Mapping[str, Any]) -> list[RtlLayer]:
        """Neurons; a synaptic current is an integrator before them."""
        made: list[RtlLayer] = []
        given = self._given()
        if "synapse_data" in layer:
            current = self._type(layer, "current")
            made.append(
                Neurons(
                    **{**self._common(layer), "name": f"{layer['name']}_current"},
                    given=given,
                    result=Stream(current, given.order, given.lanes),
                    membrane=current,
                    by_name={"decay": self._table(layer, "synapse", "decay")},
                )
            )
            given = made[-1].result
        tables = [name for name in ("decay", "leak", "threshold", "reset") if f"{name}_data" in layer]
        forgets = bool(layer.get("forgets", False))
        made.append(
            Neurons(
                **self._common(layer),
                given=given,
                result=Stream(self._type(layer, "result"), given.order, given.lanes),
                membrane=self._type(layer, "membrane"),
                by_name={name: self._table(layer, name, name) for name in tables},
                subtract=bool(layer.get("subtract", False)),
                delayed=bool(layer.get("delayed", False)),
                strict=bool(layer.get("strict", False)),
                forgets=forgets,
            )
        )
        return made

    def _table(self, layer: Mapping[str, Any], source: str, name: str) -> Table:
        number = self._type(layer, source)
        values = np.broadcast_to(layer[f"{source}_data"], layer["n_in"])
        return Table(name, number, tuple(int(code) for code in number.code(values)))

    def wires(self, layer: Mapping[str, Any]) -> list[RtlLayer]:
        """Nothing: the values stay in their order."""
        return []

    def padding(self, layer: Mapping[str, Any]) -> list[RtlLayer]:
        """Nothing: the windows of the next layer know what lies outside of the image."""
        self.padded = (layer["pad_top"], layer["pad_left"], layer["pad_bottom"], layer["pad_right"])
        return []

    def convolution(self, layer: Mapping[str, Any]) -> list[RtlLayer]:
        """A product for every window; a sum alone where the weights only pick each channel's own values."""
        weight = layer["weight_data"]
        weight = weight.reshape(-1, *weight.shape[-2:])  # (taps, channels, outputs)
        taps, channels, outputs = weight.shape
        number, bias = self._type(layer, "weight"), layer["bias_data"]
        own = number.width == 1 and np.array_equal(number.code(weight), np.broadcast_to(np.eye(channels), weight.shape))
        if own and not np.any(bias):
            windows = self._windows(layer, 0)
            return [windows, self._pool(layer, windows, taps, False, windows.given.number.fraction + number.fraction)]
        places = layer.get("out_height", 1) * layer["out_width"]
        windows = self._windows(layer, 0)
        matrix = self._matrix(layer, weight.reshape(-1, outputs).T, windows.result, places)
        return [replace(windows, pace=matrix.reuse if places > 1 else 1), matrix]

    def greatest(self, layer: Mapping[str, Any]) -> list[RtlLayer]:
        """A max pool; where its windows leave the image, the least value there is."""
        number = self._given().number
        windows = self._windows(layer, int(number.code(number.min)))
        taps = layer.get("pool_height", 1) * layer["pool_width"]
        return [windows, self._pool(layer, windows, taps, True, number.fraction)]

    def _windows(self, layer: Mapping[str, Any], outside: int) -> Windows:
        given, (top, left, bottom, right) = self._given(), self.padded
        self.padded = (0, 0, 0, 0)
        size = (layer.get("in_height", 1) - top - bottom, layer["in_width"] - left - right)
        kernel = tuple(layer.get(f"filt_{d}", layer.get(f"pool_{d}", 1)) for d in ("height", "width"))
        stride = tuple(layer.get(f"stride_{d}", 1) for d in ("height", "width"))
        count = tuple(layer.get(f"out_{d}", 1) for d in ("height", "width"))
        channels = given.values // (size[0] * size[1])
        lanes = kernel[0] * kernel[1] * channels
        return Windows(
            **{**self._common(layer), "name": f"{layer['name']}_windows"},
            given=given,
            result=Stream(given.number, np.arange(lanes * count[0] * count[1]), lanes),
            channels=channels,
            size=size,
            kernel=(kernel[0], kernel[1]),
            stride=(stride[0], stride[1]),
            count=(count[0], count[1]),
            padding=(layer.get("pad_top", 0) + top, layer.get("pad_left", 0) + left),
            outside=outside,
            pace=1,
        )

    def _pool(self, layer: Mapping[str, Any], windows: Windows, taps: int, greatest: bool, fraction: int) -> Pool:
        order = standard_order((windows.channels, windows.rows * windows.columns))
        result = Stream(self._type(layer, "result"), order, windows.channels)
        return Pool(
            **self._common(layer), given=windows.result, result=result, taps=taps, greatest=greatest, fraction=fraction
        )

    def scaling(self, layer: Mapping[str, Any]) -> list[RtlLayer]:
        """A batch norm, or a scale."""
        given = self._given()
        parts = {"factor": ("scale", layer["scale_data"]), "offset": ("bias", layer["bias_data"])}
        tables = {}
        for name, (role, values) in parts.items():
            number = self._type(layer, role)
            codes = number.code(np.tile(np.ravel(values), given.values // np.size(values)))  # channels last
            if name == "factor" or codes.any():
                tables[name] = Table(name, number, tuple(int(code) for code in codes))
        return [self._scaling(layer, tables, False)]

    def rectifier(self, layer: Mapping[str, Any]) -> list[RtlLayer]:
        """A ReLU, with slopes where there are any."""
        slopes = layer.get("param_data", layer.get("activ_param"))
        if slopes is None:
            return [self._scaling(layer, {}, True)]
        number = self._type(layer, "param")
        codes = np.broadcast_to(number.code(np.ravel(slopes)), self._given().values)
        return [self._scaling(layer, {"factor": Table("factor", number, tuple(int(code) for code in codes))}, True)]

    def _scaling(self, layer: Mapping[str, Any], tables: Mapping[str, Table], positive: bool) -> Scaling:
        given = self._given()
        result = Stream(self._type(layer, "result"), given.order, given.lanes)
        return Scaling(**self._common(layer), given=given, result=result, by_name=tables, positive=positive)

    def lookup(self, layer: Mapping[str, Any]) -> list[RtlLayer]:
        """A table of all inputs."""
        given, number = self._given(), self._type(layer, "result")
        entries = tuple(int(code) for code in number.code(layer["table_data"]))
        result = Stream(number, given.order, given.lanes)
        return [Lookup(**self._common(layer), given=given, result=result, entries=entries)]


_MAKES: dict[str, Callable[[_Chain, Mapping[str, Any]], list[RtlLayer]]] = {
    "Dense": _Chain.dense,
    "Conv1D": _Chain.convolution,
    "Conv2D": _Chain.convolution,
    "ZeroPadding1D": _Chain.padding,
    "ZeroPadding2D": _Chain.padding,
    "MaxPooling2D": _Chain.greatest,
    "Activation": _Chain.rectifier,
    "LeakyReLU": _Chain.rectifier,
    "PReLU": _Chain.rectifier,
    "BatchNormalization": _Chain.scaling,
    "UnaryLUT": _Chain.lookup,
    "Reshape": _Chain.wires,
    **{f"Talon{kind}": _Chain.neurons for kind in ("LIF", "IF", "CubaLIF", "LI", "I", "CubaLI")},
}


def _accumulator(text: str) -> tuple[int, int]:
    """Bits and fraction bits of an accumulator, which may be wider than any number that is simulated."""
    found = re.match(r"ap_fixed<(\d+),(-?\d+)", text)
    assert found is not None, "accumulators are signed fixed point"
    return int(found[1]), int(found[1]) - int(found[2])
