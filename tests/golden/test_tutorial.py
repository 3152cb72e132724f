"""Numbers of TALON's tutorial "Backend: Simulate, Profile & FPGA"; every figure here is printed there unless said."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from talon_lib import backend, ir

SCRIPT = Path(__file__).parent / "tutorial.py"


def network(seed=0):
    """The tutorial's network with weights that are the same every time."""
    rng = np.random.default_rng(seed)

    def affine(n_out, n_in):
        weight = rng.standard_normal((n_out, n_in)).astype(np.float32) * np.float32(0.01)
        return ir.Affine(weight=weight, bias=np.zeros(n_out, np.float32))

    def lif(n):
        ones = np.ones(n, np.float32)
        return ir.LIF(tau=ones * 10, r=ones, v_leak=ones * 0, v_threshold=ones)

    nodes = {
        "input": ir.Input(np.array([784])),
        "fc1": affine(128, 784),
        "lif1": lif(128),
        "fc2": affine(10, 128),
        "lif2": lif(10),
        "output": ir.Output(np.array([10])),
    }
    return ir.Graph(nodes=nodes, edges=list(zip(nodes, list(nodes)[1:], strict=False)))


@pytest.fixture(scope="module")
def cpu():
    return backend.get_backend("cpu")


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What the tutorial's script prints, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("tutorial")
    command = [sys.executable, "-W", "error", str(SCRIPT)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout, folder


PRINTED = f"""Available backends: ['cpu', 'fpga']

CPU backend: cpu
  Supported primitives: {len(ir.list_primitives())}
  Supported precisions: ['fp32', 'fp16', 'int16', 'int8', 'int4']
  Supports cyclic: True
  Max graph size: 1,000,000
Energy presets:
  45nm_cmos:
    MAC: 0.9 pJ
    Spike: 0.1 pJ
    Standard 45 nm CMOS process (Horowitz 2014)
  28nm_cmos:
    MAC: 0.5 pJ
    Spike: 0.06 pJ
    28 nm CMOS process
  neuromorphic_int8:
    MAC: 4.6 pJ
    Spike: 0.9 pJ
    Representative INT8 neuromorphic accelerator
  zynq_us_plus:
    MAC: 3.2 pJ
    Spike: 0.7 pJ
    Zynq UltraScale+ XCZU9EG on ZCU102 (16 nm FinFET, 274K LUTs, 2520 DSP48, 32.1 Mb BRAM)
  zcu102:
    MAC: 3.2 pJ
    Spike: 0.7 pJ
    Alias for zynq_us_plus (XCZU9EG-2FFVB1156 on ZCU102)
  zynq_7020:
    MAC: 6.5 pJ
    Spike: 1.2 pJ
    Xilinx Zynq-7020 FPGA (28 nm)
Graph: 6 nodes, 5 edges
Validation:
  Valid: True
  Unsupported nodes: []
  Warnings: []
Compiled: HardwareDescriptor
Simulation:
  Steps run: 3
  Outputs valid: True
  Spike counts: {{'lif1': *, 'lif2': *}}
Profile (neuromorphic_int8):
  Total latency: * μs
  MAC operations: 101,632
  Energy estimate: 0.9777 μJ
    MAC energy: 0.4675 μJ
    Spike energy: 0.0000 μJ
    SRAM energy: 0.5102 μJ
  Peak memory: 413,568 bytes
  Weight memory: 407,080 bytes
  Energy preset: neuromorphic_int8

  Per-layer energy:
    fc1: 0.9640 μJ
    lif1: 0.0013 μJ
    fc2: 0.0123 μJ
    lif2: 0.0001 μJ
Profile (ZCU102):
  Energy preset: zcu102
  Energy estimate: 0.7334 μJ
Custom preset energy: 0.5097 μJ
FPGA validation: True
  Supported precisions: ['fp32', 'int16', 'int8', 'int4', 'ap_fixed<16,6>']
FPGA compiled: HardwareDescriptor
Generated files: [*]
"""
"""Stars stand for what depends on the random weights or on this machine. The tutorial counts 22 primitives; we print
how many there are."""


def test_the_script_runs_and_prints_the_tutorials_values(printed):
    pattern = re.escape(PRINTED).replace(r"\*", "[^\n]+")
    assert re.fullmatch(pattern, printed[0]), printed[0]


def test_the_script_leaves_a_project_that_was_compared_and_rebuilds_alone(printed):
    stdout, folder = printed
    keys = json.loads(stdout.splitlines()[-1].removeprefix("Generated files: ").replace("'", '"'))
    sdk = {"hls4ml_config", "parameters_h", "build_script", "tcl_script", "template_paths", "descriptor"}
    assert sdk | {"written_files", "csim"} == set(keys)
    assert [path.name for path in folder.iterdir()] == ["hls4ml_project"]
    project = folder / "hls4ml_project"
    for name in ("firmware/parameters.h", "firmware/nnet_utils/nnet_neuron.h"):
        assert (project / name).is_file()
    # only the standard library: an isolated interpreter without site packages
    command = [sys.executable, "-I", "-S", "build.py", "csim"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "equal: 183040 values, 64 samples, 10 steps\n"


def test_energy_and_memory(cpu):
    profile = cpu.profile(network())
    assert profile.mac_ops == 101_632
    assert profile.weight_memory_bytes == 407_080
    assert profile.peak_memory_bytes == 413_568
    assert profile.energy_preset == "neuromorphic_int8"
    assert round(profile.energy_estimate_uj, 4) == 0.9777
    assert round(profile.mac_energy_uj, 4) == 0.4675
    assert round(profile.spike_energy_uj, 4) == 0.0
    assert round(profile.sram_energy_uj, 4) == 0.5102
    layers = {name: round(energy, 4) for name, energy in profile.per_layer_energy_uj.items()}
    assert layers == {"fc1": 0.9640, "lif1": 0.0013, "fc2": 0.0123, "lif2": 0.0001}
    assert sum(profile.per_layer_energy_uj.values()) == pytest.approx(profile.energy_estimate_uj, rel=1e-12)


def test_energy_in_full_digits(cpu):
    """The same from the formula: MACs 101 632, reads (407 080 + 3)//4 + 138, writes 138, at 4.6, 5 and 5 pJ."""
    profile = cpu.profile(network())
    assert profile.energy_estimate_uj == pytest.approx((101_632 * 4.6 + (101_770 + 138) * 5 + 138 * 5) / 1e6, rel=1e-12)
    assert profile.total_sram_accesses == 101_770 + 2 * 138


def test_zcu102(cpu):
    assert round(cpu.profile(network(), energy_preset="zcu102").energy_estimate_uj, 4) == 0.7334


def test_custom_energies(cpu):
    """The value is the SDK's for these arguments; the tutorial prints it without showing it."""
    profile = cpu.profile(network(), energy_per_mac_pj=2.0, energy_per_spike_pj=0.5, energy_per_sram_read_pj=3.0)
    assert round(profile.energy_estimate_uj, 4) == 0.5097


def test_presets():
    """MAC and spike prices and descriptions are the tutorial's (in PRINTED); the SRAM prices are the SDK's."""
    keys = ("mac_pj", "spike_pj", "sram_read_pj", "sram_write_pj")
    prices = {name: tuple(preset[key] for key in keys) for name, preset in backend.ENERGY_PRESETS.items()}
    assert prices == {
        "45nm_cmos": (0.9, 0.1, 5, 5),
        "28nm_cmos": (0.5, 0.06, 2.5, 2.5),
        "neuromorphic_int8": (4.6, 0.9, 5, 5),
        "zynq_us_plus": (3.2, 0.7, 4, 4),
        "zcu102": (3.2, 0.7, 4, 4),
        "zynq_7020": (6.5, 1.2, 8, 8),
    }


@pytest.mark.parametrize("seed", range(3))
def test_spikes_against_a_loop_of_its_own(cpu, seed):
    """The tutorial's simulation with a seed: v = (1 - 1/tau) v + x, spike at v >= 1, reset to 0, v from 0."""
    graph, steps = network(seed), 30
    x = np.random.default_rng(100 + seed).standard_normal((5, 784)).astype(np.float32) * 4
    simulation = cpu.simulate(graph, {"input": x}, n_steps=steps)

    w1, w2 = (graph.nodes[name].weight.astype(float) for name in ("fc1", "fc2"))
    v1, v2 = np.zeros((5, 128)), np.zeros((5, 10))
    counts = {"lif1": 0, "lif2": 0}
    sums = np.zeros((5, 10))
    for _ in range(steps):
        v1 = 0.9 * v1 + x @ w1.T
        s1 = v1 >= 1
        v1[s1] = 0
        v2 = 0.9 * v2 + s1 @ w2.T
        s2 = v2 >= 1
        v2[s2] = 0
        counts = {"lif1": counts["lif1"] + int(s1.sum()), "lif2": counts["lif2"] + int(s2.sum())}
        sums += s2
    assert simulation.spike_counts == counts
    assert counts["lif1"] > 1000
    np.testing.assert_array_equal(simulation.output_sums["output"], sums)
    np.testing.assert_array_equal(simulation.outputs["output"], s2)
