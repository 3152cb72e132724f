"""Graphs of spiking networks: primitives, graphs, and reading and writing them.

The names are those of the TALON SDK's ``talon.ir``.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

from talon_lib.ir.activation import ReLU
from talon_lib.ir.conv import Conv2d
from talon_lib.ir.graph import Graph
from talon_lib.ir.linear import Affine
from talon_lib.ir.neuron import IF, LIF
from talon_lib.ir.node import Primitive, Shape, list_primitives, primitive
from talon_lib.ir.structure import ChannelSplit, Concat, Flatten, HybridRegion, Input, Output, Skip

__all__ = [
    "IF",
    "LIF",
    "Affine",
    "ChannelSplit",
    "Concat",
    "Conv2d",
    "Flatten",
    "Graph",
    "HybridRegion",
    "Input",
    "Output",
    "Primitive",
    "ReLU",
    "Shape",
    "Skip",
    "list_primitives",
    "primitive",
    "read",
    "write",
]


def read(path: str | PathLike[str], **options: Any) -> Graph:
    """Read a graph; the suffix says the format (``.nir``). See ``talon_lib.formats``."""
    from talon_lib import formats  # formats stands above ir; this name is the SDK's

    return formats.read(path, **options)


def write(path: str | PathLike[str], graph: Graph, **options: Any) -> None:
    """Write a graph; the suffix says the format (``.nir``). See ``talon_lib.formats``."""
    from talon_lib import formats

    formats.write(path, graph, **options)
