"""LIF and IF neurons as layers of hls4ml, through its extension API.

Each takes the currents and the 1-bit ``restart`` and gives spikes; the kernels are ``templates/nnet_*.h``.
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


class TalonNeurons(Layer):
    """What LIF and IF share: spikes of one bit, a membrane type, and one table per parameter."""

    tables: tuple[str, ...] = ()

    def initialize(self) -> None:
        """Make the output, the types and the parameter tables."""
        self._set_type_t("membrane")
        shape = list(self.get_input_variable().shape)
        self.add_output_variable(shape, precision=IntegerPrecisionType(1, signed=False))
        for table in self.tables:
            self.add_weights_variable(name=table, var_name=f"{table}{{index}}", data=self.get_attr(f"{table}_data"))


def _attributes(tables: tuple[str, ...]) -> list[Attribute]:
    return [
        Attribute("n_in"),
        Attribute("layer", default=0),
        Attribute("subtract", value_type=bool, default=False),
        ConfigurableAttribute("reuse_factor", default=1),
        TypeAttribute("membrane"),
        *(WeightAttribute(table) for table in tables),
        *(TypeAttribute(table) for table in tables),
    ]


class TalonLIF(TalonNeurons):
    """Leaky integrate-and-fire neurons."""

    tables = ("decay", "leak", "threshold")
    _expected_attributes = _attributes(tables)


class TalonIF(TalonNeurons):
    """Integrate-and-fire neurons."""

    tables = ("threshold",)
    _expected_attributes = _attributes(tables)


_CONFIG = """struct config{{index}} : nnet::{struct} {{{{
    static const unsigned layer = {{layer}};
    static const unsigned n_in = {{n_in}};
    static const bool subtract = {{subtract}};
    static const unsigned io_type = nnet::{{iotype}};
    static const unsigned reuse_factor = {{reuse}};
    static const unsigned multiplier_limit = DIV_ROUNDUP(n_in, reuse_factor);
    typedef {{membrane_t.name}} membrane_t;
{typedefs}}}}};
"""


class _Config(LayerConfigTemplate):
    def __init__(self, layer: type[TalonNeurons], struct: str) -> None:
        super().__init__(layer)
        typedefs = "".join(f"    typedef {{{table}_t.name}} {table}_t;\n" for table in layer.tables)
        self.template = _CONFIG.format(struct=struct, typedefs=typedefs)

    def format(self, node: Any) -> str:
        params = self._default_config_params(node)
        params["subtract"] = "true" if node.get_attr("subtract") else "false"
        return str(self.template.format(**params))


class _Call(FunctionCallTemplate):
    def __init__(self, layer: type[TalonNeurons], function: str, header: str) -> None:
        super().__init__(layer, include_header=[f"nnet_utils/{header}"])
        self.function = function
        self.tables = layer.tables

    def format(self, node: Any) -> str:
        params = self._default_function_params(node)
        restart = node.get_input_variable(node.inputs[1])
        tables = ", ".join(node.get_weights(table).name for table in self.tables)
        return (
            f"nnet::{self.function}<{params['input_t']}, {restart.type.name}, {params['output_t']}, {params['config']}>"
            f"({params['input']}, {restart.name}, {params['output']}, {tables});"
        )


@cache
def register() -> None:
    """Teach hls4ml's AMD backends the neurons, once a process."""
    register_layer("TalonLIF", TalonLIF)
    register_layer("TalonIF", TalonIF)
    for name in BACKENDS:
        backend = get_backend(name)
        for layer, struct, function, header in (
            (TalonLIF, "lif_config", "lif", "nnet_lif.h"),
            (TalonIF, "if_config", "integrate_and_fire", "nnet_if.h"),
        ):
            backend.register_template(partial(_Config, layer, struct))
            backend.register_template(partial(_Call, layer, function, header))
        for header in HEADERS:
            backend.register_source(TEMPLATES / header)
