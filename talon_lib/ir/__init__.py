"""Graphs of spiking networks: primitives, graphs, and reading and writing them.

The names are those of the TALON SDK's ``talon.ir``.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

from talon_lib.ir.activation import ELU, GELU, Dropout, PReLU, ReLU, Sigmoid, Softmax, Tanh
from talon_lib.ir.conv import Conv1d, Conv2d, SepConv2d
from talon_lib.ir.delay import Delay
from talon_lib.ir.graph import Graph
from talon_lib.ir.layout import Shape
from talon_lib.ir.linear import Affine, SpikingAffine
from talon_lib.ir.neuron import IF, LI, LIF, CubaLI, CubaLIF, I, Threshold
from talon_lib.ir.node import Primitive, list_primitives, primitive
from talon_lib.ir.norm import BatchNorm1d, BatchNorm2d, LayerNorm, Scale
from talon_lib.ir.pool import AvgPool2d, MaxPool2d, SumPool2d
from talon_lib.ir.structure import ChannelSplit, Concat, Flatten, HybridRegion, Input, Output, Skip
from talon_lib.ir.upsample import Upsample

__all__ = [
    "ELU",
    "GELU",
    "IF",
    "LI",
    "LIF",
    "Affine",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "ChannelSplit",
    "Concat",
    "Conv1d",
    "Conv2d",
    "CubaLI",
    "CubaLIF",
    "Delay",
    "Dropout",
    "Flatten",
    "Graph",
    "HybridRegion",
    "I",
    "Input",
    "LayerNorm",
    "MaxPool2d",
    "Output",
    "PReLU",
    "Primitive",
    "ReLU",
    "Scale",
    "SepConv2d",
    "Shape",
    "Sigmoid",
    "Skip",
    "Softmax",
    "SpikingAffine",
    "SumPool2d",
    "Tanh",
    "Threshold",
    "Upsample",
    "list_primitives",
    "primitive",
    "read",
    "write",
]


def read(path: str | PathLike[str], **options: Any) -> Graph:
    """Read a graph; the suffix says the format (``.nir``, ``.t1c``). See ``talon_lib.formats``."""
    from talon_lib import formats  # formats stands above ir; this name is the SDK's

    return formats.read(path, **options)


def write(path: str | PathLike[str], graph: Graph, **options: Any) -> None:
    """Write a graph; the suffix says the format (``.nir``, ``.t1c``). See ``talon_lib.formats``."""
    from talon_lib import formats

    formats.write(path, graph, **options)
