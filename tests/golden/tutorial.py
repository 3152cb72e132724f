# ruff: noqa
# fmt: off
# The script of TALON's tutorial "Backend: Simulate, Profile & FPGA", as it stands but for the lines that import talon.
from talon_lib import backend

print(f"Available backends: {backend.list_backends()}")

cpu = backend.get_backend("cpu")
print(f"\nCPU backend: {cpu.name}")

caps = cpu.get_capabilities()
print(f"  Supported primitives: {len(caps.supported_primitives)}")
print(f"  Supported precisions: {caps.supported_precisions}")
print(f"  Supports cyclic: {caps.supports_cyclic}")
print(f"  Max graph size: {caps.max_graph_size:,}")

print("Energy presets:")
for name, preset in backend.ENERGY_PRESETS.items():
    print(f"  {name}:")
    print(f"    MAC: {preset['mac_pj']} pJ")
    print(f"    Spike: {preset['spike_pj']} pJ")
    print(f"    {preset['description']}")

import numpy as np
from talon_lib import ir

nodes = {
    "input": ir.Input(np.array([784])),
    "fc1": ir.Affine(
        weight=np.random.randn(128, 784).astype(np.float32) * 0.01,
        bias=np.zeros(128, dtype=np.float32),
    ),
    "lif1": ir.LIF(
        tau=np.ones(128, dtype=np.float32) * 10.0,
        r=np.ones(128, dtype=np.float32),
        v_leak=np.zeros(128, dtype=np.float32),
        v_threshold=np.ones(128, dtype=np.float32),
    ),
    "fc2": ir.Affine(
        weight=np.random.randn(10, 128).astype(np.float32) * 0.01,
        bias=np.zeros(10, dtype=np.float32),
    ),
    "lif2": ir.LIF(
        tau=np.ones(10, dtype=np.float32) * 10.0,
        r=np.ones(10, dtype=np.float32),
        v_leak=np.zeros(10, dtype=np.float32),
        v_threshold=np.ones(10, dtype=np.float32),
    ),
    "output": ir.Output(np.array([10])),
}

edges = [
    ("input", "fc1"),
    ("fc1", "lif1"),
    ("lif1", "fc2"),
    ("fc2", "lif2"),
    ("lif2", "output"),
]

graph = ir.Graph(nodes=nodes, edges=edges)
print(f"Graph: {len(graph.nodes)} nodes, {len(graph.edges)} edges")

val = cpu.validate(graph)
print(f"Validation:")
print(f"  Valid: {val.is_valid}")
print(f"  Unsupported nodes: {val.unsupported_nodes}")
print(f"  Warnings: {val.warnings}")

config = backend.CompileConfig()
compiled = cpu.compile(graph, config)
print(f"Compiled: {type(compiled).__name__}")

x = np.random.randn(1, 784).astype(np.float32)
sim = cpu.simulate(graph, {"input": x}, n_steps=3)

print(f"Simulation:")
print(f"  Steps run: {sim.timesteps_run}")
print(f"  Outputs valid: {sim.outputs_valid}")
print(f"  Spike counts: {sim.spike_counts}")

prof = cpu.profile(graph)
print(f"Profile (neuromorphic_int8):")
print(f"  Total latency: {prof.total_latency_us:.2f} μs")
print(f"  MAC operations: {prof.mac_ops:,}")
print(f"  Energy estimate: {prof.energy_estimate_uj:.4f} μJ")
print(f"    MAC energy: {prof.mac_energy_uj:.4f} μJ")
print(f"    Spike energy: {prof.spike_energy_uj:.4f} μJ")
print(f"    SRAM energy: {prof.sram_energy_uj:.4f} μJ")
print(f"  Peak memory: {prof.peak_memory_bytes:,} bytes")
print(f"  Weight memory: {prof.weight_memory_bytes:,} bytes")
print(f"  Energy preset: {prof.energy_preset}")

print(f"\n  Per-layer energy:")
for layer, energy in prof.per_layer_energy_uj.items():
    print(f"    {layer}: {energy:.4f} μJ")

prof_zcu = cpu.profile(graph, energy_preset="zcu102")
print(f"Profile (ZCU102):")
print(f"  Energy preset: {prof_zcu.energy_preset}")
print(f"  Energy estimate: {prof_zcu.energy_estimate_uj:.4f} μJ")

prof_custom = cpu.profile(
    graph,
    energy_per_mac_pj=2.0,
    energy_per_spike_pj=0.5,
    energy_per_sram_read_pj=3.0,
)
print(f"Custom preset energy: {prof_custom.energy_estimate_uj:.4f} μJ")

fpga = backend.get_backend("fpga")

val = fpga.validate(graph)
print(f"FPGA validation: {val.is_valid}")
print(f"  Supported precisions: {fpga.get_capabilities().supported_precisions}")

descriptor = fpga.compile(
    graph,
    output_dir="hls4ml_project",
    project_name="snn_demo",
    part="xczu9eg-ffvb1156-2-i",
    clock_period=5,
    default_precision="ap_fixed<16,6>",
    default_reuse_factor=1,
    strategy="Latency",
)
print(f"FPGA compiled: {type(descriptor).__name__}")

result = fpga.build_bitstream(
    graph,
    output_dir="./hls4ml_project",
    project_name="snn_demo",
    part="xczu9eg-ffvb1156-2-i",
    clock_period=5,
    default_precision="ap_fixed<16,6>",
    default_reuse_factor=1,
    strategy="Latency",
    bitstream_config=backend.BitstreamConfig(
        csim=True,
        synth=False,
        cosim=False,
        export=False,
        vsynth=False,
        bitfile=False,
    ),
    write_to_disk=True,
)

print(f"Generated files: {list(result.keys())}")
