"""Estimates against designs that others have synthesised.

``wa_hls4ml_dense.csv`` is a sample of the data set that Hawks et al. made for "wa-hls4ml: A Benchmark and Surrogate
Models for hls4ml Resource and Latency Estimation": every second row of three excerpts of
``data/concatenated_json_to_csv.csv``, and six of ``data/concatenated_3layer_json_to_csv.csv``, in the GitHub repository
jdweitz/wa-hls4ml at commit 2e49d33b. They are dense networks with ReLU between the layers, by hls4ml's Resource
strategy and Vitis HLS 2023.2 at 5 ns; latency is its best case, block RAM is in halves, which are RAMB18. Weights have
the width in the table. Of the other types we know that they are hls4ml's default, 16 bits: the scripts set none, and
the flip-flops do not change with the weights.
"""

from __future__ import annotations

import csv
import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from talon_lib import ir
from talon_lib.cost.calibration import calibrate
from talon_lib.cost.devices import devices, fit
from talon_lib.cost.estimate import Design, Estimate, estimate
from talon_lib.cost.layers import Layer
from talon_lib.hls.lower import lower
from talon_lib.hls.sizes import layers
from talon_lib.simulate import bind_graph
from talon_lib.sweep.stages import workload

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs/estimates.md"
WIDTH = 16


def designs() -> list[dict[str, str]]:
    with (Path(__file__).parent / "wa_hls4ml_dense.csv").open() as file:
        return list(csv.DictReader(file))


def estimated(row: dict[str, str]) -> Estimate:
    chain: list[Layer] = []
    sizes = [int(size) for size in row["network"].split("-")]
    bits = int(row["weight_bits"])
    for index, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        own = {"input_bits": WIDTH, "result_bits": WIDTH, "adder_bits": WIDTH}
        fc = Layer(f"fc{index}", "fc", "matrix", n_in, n_out, factors=((WIDTH, bits),), weight_bits=bits, **own)
        chain += [fc, Layer(f"relu{index}", "relu", "elements", n_out, n_out, **own)]
    return estimate(chain[:-1], Design(reuse=int(row["reuse_factor"])), 1)  # none behind the last


def table() -> pd.DataFrame:
    """Measurements beside their estimates, as a sweep would have them and ``talon-dse calibrate`` takes them."""
    rows = []
    for row in designs():
        found = estimated(row)
        measured = {name: float(row[name]) for name in ("lut", "ff", "dsp", "latency_cycles")}
        rows.append(
            measured
            | {"bram": 2 * float(row["bram"]), "measurement_source": "Vitis HLS 2023.2"}
            | {f"{name}_estimate": getattr(found.usage, name) for name in ("lut", "ff", "dsp", "bram")}
            | {"cycles_per_step": found.cycles_per_step}
        )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def known() -> pd.DataFrame:
    return table()


def test_cycles_are_those_of_the_synthesis_but_for_a_pipeline_of_a_few(known: pd.DataFrame) -> None:
    missing = known["latency_cycles"] - known["cycles_per_step"]
    assert missing.between(1, 3).all()
    assert known["latency_cycles"].between(1000, 20000).all()  # so that a few are next to nothing


def test_dsp_slices_are_those_of_the_synthesis(known: pd.DataFrame) -> None:
    wrong = known[known["dsp"] != known["dsp_estimate"]]
    assert len(wrong) <= 1  # one of two products of 16 x 6 went into a slice
    bits = np.array([int(row["weight_bits"]) for row in designs()])
    assert set(bits) == {2, 4, 6, 8, 10, 12, 14, 16}  # both sides of the line between LUTs and slices
    assert (known["dsp"][bits >= 8] > 0).all()


def test_flip_flops_and_luts_are_near(known: pd.DataFrame) -> None:
    assert (known["ff"] / known["ff_estimate"]).between(0.9, 1.9).all()
    assert (known["lut"] / known["lut_estimate"]).between(0.8, 1.6).all()


def test_the_documented_errors_are_those_of_the_calibration(known: pd.DataFrame) -> None:
    found = calibrate(known)
    text = DOCS.read_text()
    for name, own in found.metrics.items():
        number = r"([\d.]+)"
        cells = rf"^\| `{name}` \| {number} \| {number} \| {number} to {number} \| {number} % \|"
        row = re.search(cells, text, re.MULTILINE)
        assert row is not None, name
        shown = [own.n, own.scale, own.low, own.high, 100 * own.median_absolute_error]
        for value, told in zip(shown, row.groups(), strict=True):
            digits = len(told.partition(".")[2])
            assert f"{value:.{digits}f}" == told, (name, shown)


def test_the_worked_example_is_what_the_estimate_gives() -> None:
    def lif(n: int) -> ir.LIF:
        ones = np.ones(n, np.float32)
        return ir.LIF(tau=2 * ones, r=ones, v_leak=0 * ones, v_threshold=ones)

    nodes = {
        "input": ir.Input((64,)),
        "fc1": ir.Affine(np.full((32, 64), 0.5, np.float32), None),
        "lif1": lif(32),
        "fc2": ir.Affine(np.full((10, 32), 0.5, np.float32), None),
        "lif2": lif(10),
        "output": ir.Output((10,)),
    }
    graph = ir.Graph(nodes, list(itertools.pairwise(nodes)))
    found = estimate(layers(lower(graph, bind_graph(graph, "ap_fixed<16,6>")), False), Design(reuse=16), steps=8)
    fitting = fit(found.usage, devices()["xc7z020"])
    section = DOCS.read_text().partition("## Worked example")[2].partition("\n## ")[0]
    for name, row in (("LUT", "lut"), ("FF", "ff")):
        told = [cell.split("=")[1] for cell in _cells(section, name)]
        assert [int(value) for value in told] == [getattr(own.usage, row) for own in found.layers]
    assert [re.findall(r"\d+", cell)[-1] for cell in _cells(section, "RAMB18")] == [
        str(own.usage.bram) for own in found.layers
    ]
    assert [own.usage.dsp for own in found.layers] == [128, 2, 0, 1]
    used = found.usage
    sums = f"{used.dsp} DSP slices, {used.lut} LUTs, {used.ff} flip-flops and {used.bram} RAMB18"
    cycles = f"{found.cycles_per_step} cycles a step, a step every {found.interval_cycles}"
    sample = f"= {found.cycles_per_sample} cycles a sample, {found.latency_us:.2f} µs"
    text = " ".join(section.split())
    for sentence in (sums, cycles, sample, *(f"{100 * share:.1f} % of the" for share in fitting.utilisation.values())):
        assert sentence in text
    assert (fitting.fits, fitting.limiting) == (True, "dsp")


@pytest.mark.parametrize("precision", ["int8", "int6"])
def test_the_example_of_luts_that_rise_is_what_the_estimate_gives(precision: str) -> None:
    work = workload(ROOT / "configs/graphs/digits.nir", ROOT / "configs/data/digits.npz", "current", 8, None, 128)
    found = estimate(layers(lower(work.graph, work.bind(precision)), False), Design(), 8).usage
    text = " ".join(DOCS.read_text().split())
    assert f"{found.dsp} slices and {found.lut:,} LUTs at {precision}" in text


def _cells(section: str, name: str) -> list[str]:
    row = re.search(rf"^\| {name} \| (.*) \|$", section, re.MULTILINE)
    assert row is not None, name
    return row[1].split(" | ")


def test_a_fully_parallel_network_is_short_of_the_depth_of_its_pipeline() -> None:
    """Duarte et al. (JINST 13 (2018) P07027): 15 cycles and 3329 DSP slices; docs/estimates.md says by how much."""
    types = {"input_bits": WIDTH, "result_bits": WIDTH, "adder_bits": WIDTH}
    chain: list[Layer] = []
    for index, (n_in, n_out) in enumerate(itertools.pairwise((16, 64, 32, 32, 5))):
        fc = Layer(f"fc{index}", "fc", "matrix", n_in, n_out, factors=((WIDTH, WIDTH),), weight_bits=WIDTH, **types)
        chain += [fc, Layer(f"relu{index}", "relu", "elements", n_out, n_out, **types)]
    found = estimate(chain[:-1], Design(strategy="Latency"), 1)
    assert (found.cycles_per_step, found.usage.dsp) == (7, 4256)
    assert found.cycles_per_step < 15 and found.usage.dsp > 3329
    assert "the formulas give 7 cycles (their softmax left out) and 4256 slices" in " ".join(DOCS.read_text().split())
