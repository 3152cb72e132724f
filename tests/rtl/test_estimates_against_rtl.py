"""Estimates of the open RTL: cycles and multipliers are those of the RTL itself."""

import numpy as np
import pytest
from networks import CLASSES, draw
from tools import chain

from talon_lib import ir
from talon_lib.cost.estimate import Design, estimate
from talon_lib.cost.layers import Layer
from talon_lib.hls.lower import lower
from talon_lib.hls.sizes import layers
from talon_lib.rtl.generate import RtlSpec, generate
from talon_lib.rtl.modules import Matrix, Neurons
from talon_lib.simulate import bind_graph


def both(graph, bound, reuse=1, steps=3):
    """The design, and what is estimated of it."""
    design = generate(graph, bound, RtlSpec(reuse_factor=reuse))
    sizes = [Layer.from_dict(layer.as_dict()) for layer in layers(lower(graph, bound), False)]
    return design, estimate(sizes, Design(reuse, flow="open-rtl"), steps)


@pytest.mark.parametrize("first", range(0, 100, 20))
def test_cycles_multipliers_and_reuse_factors_are_those_of_the_rtl(first):
    """Depths, spikes and analog inputs, synaptic currents, convolutions, pools, tables: all that the draws have."""
    classes = set()
    for seed in range(first, first + 20):
        case = draw(seed)
        classes |= set(case.classes)
        design, found = both(case.graph, case.bound)
        assert found.cycles_per_step == found.interval_cycles == design.cycles, case
        assert found.cycles_per_sample == 3 * design.cycles
        known = {layer.node for layer in design.layers if isinstance(layer, Matrix | Neurons)}
        for node in known:
            made = found.by_node()[node]
            assert sum(own.multipliers for own in made) == design.multipliers[node], (node, case)
        reuse = {own.layer.node: own.reuse for own in found.layers if own.reuse is not None}
        assert reuse == design.reuse_factors, case
    assert classes == set(CLASSES)


@pytest.mark.parametrize("asked", [1, 2, 7, 24, 1000])
def test_a_convolution_at_one_place_takes_the_factors_of_a_matrix(asked):
    graph = chain((2, 3, 3), conv=ir.Conv2d(np.ones((4, 2, 3, 3))), lif=ir.LIF(3.0, 1.0, 0.0, 0.5))
    design, found = both(graph, bind_graph(graph, "ap_fixed<8,3>"), asked)
    assert found.reuse_factors == (design.reuse_factors["conv"],)
    assert found.cycles_per_step == design.cycles


@pytest.mark.parametrize(
    ("tau", "multiplies"),
    [(1.0, False), (2.0, False), (4.0, False), (4.0 / 3.0, False), (3.0, True), ([2.0, 4.0, 8.0, 2.0], True)],
)
def test_a_decay_that_the_rtl_shifts_takes_no_slice(tau, multiplies):
    graph = chain((4,), fc=ir.Affine(np.eye(4)), lif=ir.LIF(np.array(tau), 1.0, 0.0, 0.5))
    bound = bind_graph(graph, "ap_fixed<16,6>")
    design, found = both(graph, bound)
    lif = found.layers[-1]
    assert lif.multipliers == lif.usage.dsp == design.multipliers["lif"] == 4 * multiplies
    assert lif.layer.shifted == (() if multiplies else lif.layer.factors)
    # hls4ml's kernel multiplies all the same
    assert estimate([lif.layer], Design(1), 1).multipliers == 4
