"""What tests of the RTL share."""

import itertools

import pytest

from talon_lib import ir
from talon_lib.errors import MissingToolError
from talon_lib.rtl import verilator


def _reason():
    try:
        verilator.find()
    except MissingToolError as error:
        return str(error)
    return ""


needs_verilator = pytest.mark.skipif(bool(_reason()), reason=_reason())


def chain(shape, **nodes):
    """A graph of nodes one after the other, between an Input x and an Output y."""
    named = {"x": ir.Input(shape)}
    for name, node in nodes.items():
        named[name] = node
        shape = node.output_shape(shape)
    names = [*named, "y"]
    return ir.Graph(named | {"y": ir.Output(shape)}, list(itertools.pairwise(names)))
