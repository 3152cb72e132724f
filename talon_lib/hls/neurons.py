"""Neurons as layers of hls4ml, through its extension API.

Each takes the currents and the 1-bit ``restart`` and gives spikes, or membranes; the kernel is
``templates/nnet_neuron.h``.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

from hls4ml.backends import get_backend
from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate
from hls4ml.model.attributes import Attribute, ConfigurableAttribute, TypeAttribute, WeightAttribute
from hls4ml.model.layers import Layer, register_layer
from hls4ml.model.types import IntegerPrecisionType

from talon_lib.hls.project import HEADERS

TEMPLATES = Path(__file__).parent / "templates"
BACKENDS = ("Vitis", "Vivado")

TABLES = ("decay", "leak", "threshold", "reset", "synapse")
"""All parameters that a kind of neuron may have, in the order in which the kernel takes them."""

_FIRING = ("threshold", "reset")
_FLAGS = ("subtract", "delayed", "strict", "forgets")


class TalonNeurons(Layer):
    """What all kinds share: a membrane type, one table per parameter, and the result."""

    tables: tuple[str, ...] = ()

    def initialize(self) -> None:
        """Make the output, the types and the parameter tables."""
        self._set_type_t("membrane")
        if "synapse" in self.tables:
            self._set_type_t("current")
        # of spikes hls4ml's own bit; ap_ufixed<1,1>, which is as wide, takes more of it
        spike = IntegerPrecisionType(1, signed=False) if "threshold" in self.tables else None
        self.add_output_variable(list(self.get_input_variable().shape), precision=spike)
        for table in self.tables:
            self.add_weights_variable(name=table, var_name=f"{table}{{index}}", data=self.get_attr(f"{table}_data"))


def _kind(name: str, *tables: str) -> type[TalonNeurons]:
    """The hls4ml layer of one kind of neuron: it differs from others in the tables that it has."""
    states = ("membrane", "current") if "synapse" in tables else ("membrane",)
    attributes = [
        Attribute("n_in"),
        Attribute("layer", default=0),
        *(Attribute(flag, value_type=bool, default=False) for flag in _FLAGS),
        ConfigurableAttribute("reuse_factor", default=1),
        *(WeightAttribute(table) for table in tables),
        *(TypeAttribute(typed) for typed in (*states, *tables)),
    ]
    return type(f"Talon{name}", (TalonNeurons,), {"tables": tables, "_expected_attributes": attributes})


KINDS = (
    _kind("LIF", "decay", "leak", *_FIRING),
    _kind("IF", *_FIRING),
    _kind("CubaLIF", "decay", "leak", *_FIRING, "synapse"),
    _kind("LI", "decay", "leak"),
    _kind("I"),
    _kind("CubaLI", "decay", "leak", "synapse"),
)

_CONFIG = """struct config{index} : nnet::neuron_config {{
    static const unsigned layer = {layer};
    static const unsigned n_in = {n_in};
    static const bool leaks = {leaks};
    static const bool current_based = {current_based};
    static const bool spiking = {spiking};
    static const bool subtract = {subtract};
    static const bool delayed = {delayed};
    static const bool strict = {strict};
    static const bool forgets = {forgets};
    static const unsigned io_type = nnet::{iotype};
    static const unsigned reuse_factor = {reuse};
    static const unsigned multiplier_limit = DIV_ROUNDUP(n_in, reuse_factor);
    typedef {membrane_t.name} membrane_t;
{current}}};
"""


class _Config(LayerConfigTemplate):
    def __init__(self, layer: type[TalonNeurons]) -> None:
        super().__init__(layer)
        self.tables = layer.tables

    def format(self, node: Any) -> str:
        flags = {flag: node.get_attr(flag) for flag in _FLAGS} | {
            "leaks": "decay" in self.tables,
            "current_based": "synapse" in self.tables,
            "spiking": "threshold" in self.tables,
        }
        params = self._default_config_params(node)
        params |= {name: "true" if flag else "false" for name, flag in flags.items()}
        current = node.get_attr("current_t")
        params["current"] = f"    typedef {current.name} current_t;\n" if current else ""
        return _CONFIG.format(**params)


class _Call(FunctionCallTemplate):
    def __init__(self, layer: type[TalonNeurons]) -> None:
        super().__init__(layer, include_header=[f"nnet_utils/{header}" for header in HEADERS])
        self.tables = layer.tables

    def format(self, node: Any) -> str:
        params = self._default_function_params(node)
        restart = node.get_input_variable(node.inputs[1])
        given = [node.get_weights(table).name if table in self.tables else "nnet::no_table()" for table in TABLES]
        return (
            f"nnet::neurons<{params['input_t']}, {restart.type.name}, {params['output_t']}, {params['config']}>"
            f"({params['input']}, {restart.name}, {params['output']}, {', '.join(given)});"
        )


@cache
def register() -> None:
    """Teach hls4ml's AMD backends the neurons, once a process."""
    for layer in KINDS:
        register_layer(layer.__name__, layer)
    for name in BACKENDS:
        backend = get_backend(name)
        for layer in KINDS:
            backend.register_template(partial(_Config, layer))
            backend.register_template(partial(_Call, layer))
        for header in HEADERS:
            backend.register_source(TEMPLATES / header)
