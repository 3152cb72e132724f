"""The cpu backend: simulation and profiles on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from talon_lib.backend.base import (
    Backend,
    BackendCapabilities,
    CompileConfig,
    HardwareDescriptor,
    ProfileResult,
    SimulationResult,
    ValidationResult,
    check_graph,
    describe,
)
from talon_lib.cost.counts import count
from talon_lib.cost.energy import talon_energy
from talon_lib.cost.event_energy import energy
from talon_lib.cost.preset import DEFAULT_PRESET, get_preset
from talon_lib.cost.work import work
from talon_lib.errors import ConfigError
from talon_lib.fixed import Array
from talon_lib.ir.graph import Graph
from talon_lib.ir.node import State, list_primitives
from talon_lib.precision import Precision
from talon_lib.simulate import bind_graph, run

MAX_GRAPH_SIZE = 1_000_000


class CPUBackend(Backend):
    """Simulates and profiles graphs; every primitive is executed, in every precision."""

    name = "cpu"

    def get_capabilities(self) -> BackendCapabilities:
        """All primitives and precisions; cycles where the graph allows them."""
        precisions = ["fp32", "fp16", "int16", "int8", "int4"]
        return BackendCapabilities(list_primitives(), precisions, supports_cyclic=True, max_graph_size=MAX_GRAPH_SIZE)

    def validate(self, graph: Graph) -> ValidationResult:
        """Every Graph that exists is valid here, up to the size limit."""
        size = len(check_graph(graph).nodes)
        if size > MAX_GRAPH_SIZE:
            return ValidationResult(False, [], [f"{size} nodes are more than the {MAX_GRAPH_SIZE} that are supported"])
        return ValidationResult()

    def compile(self, graph: Graph, config: CompileConfig | None = None) -> HardwareDescriptor:
        """Describe the graph as data, in its order of execution."""
        config = config or CompileConfig()
        mode = config.execution_mode or ("dag" if check_graph(graph).is_dag else "cyclic")
        if mode == "dag" and not graph.is_dag:
            raise ConfigError("execution_mode 'dag' does not fit a graph with a cycle; use 'cyclic' or leave it out")
        metadata = {
            "backend": self.name,
            "execution_mode": mode,
            "optimize_for": config.optimize_for,
            "num_nodes": len(graph.nodes),
            "num_edges": len(graph.edges),
            "fingerprint": graph.fingerprint,
        }
        return describe(graph, config.target_precision, metadata)

    def simulate(
        self,
        graph: Graph,
        input_data: Mapping[str, Any] | None = None,
        n_steps: int = 1,
        step_by_step: bool = False,
        precision: str | Mapping[str, Any] = "fp32",
        calibration_data: Mapping[str, Any] | None = None,
    ) -> SimulationResult:
        """Run ``n_steps`` timesteps.

        Args:
            graph: the network.
            input_data: by Input node, ``s`` (one sample), ``(batch, *s)``, held for all steps, or
                ``(steps, batch, *s)``; zeros where it is None.
            n_steps: number of timesteps.
            step_by_step: keep every node's result and membrane of every step in ``node_states``.
            precision: number types of the run; see ``talon_lib.precision``.
            calibration_data: samples (like input_data) from which an intN finds its scales; input_data where None, and
                seeded noise in [-1, 1) (``talon_lib.simulate.noise``) where that is None too.

        Raises GraphError for inputs that do not fit, PrecisionError where the graph does not fit the precision.
        """
        if n_steps == 1 and check_graph(graph).cyclic_config:
            n_steps = int((graph.cyclic_config or {}).get("max_iterations") or 1)
        calibration = calibration_data if calibration_data is not None else input_data
        parsed = Precision.parse(precision)
        bound = bind_graph(check_graph(graph), parsed, calibration, n_steps)
        states: list[dict[str, Array]] = []

        def record(step: int, name: str, result: Array, state: State, x: Array) -> None:
            if len(states) == step:
                states.append({})
            states[step][name] = result
            states[step].update({f"{name}.{kept}": values for kept, values in state.items()})

        simulation = run(graph, bound, input_data, n_steps, (record,) if step_by_step else ())
        return SimulationResult(
            outputs=dict(simulation.last),
            timesteps_run=n_steps,
            node_states=states,
            spike_counts={
                name: activity.spikes for name, activity in simulation.activity.items() if graph.nodes[name].spiking
            },
            output_sums={name: sums[-1] for name, sums in simulation.outputs.items()},
            first_spikes=dict(simulation.first_spikes),
            membranes=dict(simulation.membranes),
            precision=parsed.name,
        )

    def profile(
        self,
        graph: Graph,
        input_data: Mapping[str, Any] | None = None,
        n_steps: int = 1,
        energy_preset: str = DEFAULT_PRESET,
        energy_per_mac_pj: float | None = None,
        energy_per_spike_pj: float | None = None,
        energy_per_sram_read_pj: float | None = None,
        energy_per_sram_write_pj: float | None = None,
        precision: str | Mapping[str, Any] = "fp32",
        calibration_data: Mapping[str, Any] | None = None,
    ) -> ProfileResult:
        """Profile one inference by TALON's accounting (``talon_lib.cost.energy``), and beside it by events and widths.

        energy_preset: a name, or the path of a .yaml file (docs/energy.md). Prices that are given replace the preset's
        four. precision, calibration_data: as for simulate; memory other than weights is TALON's, in float32 always.
        Raises ConfigError for an unknown preset.
        """
        preset = get_preset(energy_preset).having(
            mac_pj=energy_per_mac_pj,
            spike_pj=energy_per_spike_pj,
            sram_read_pj=energy_per_sram_read_pj,
            sram_write_pj=energy_per_sram_write_pj,
        )
        calibration = calibration_data if calibration_data is not None else input_data
        bound = bind_graph(check_graph(graph), precision, calibration, n_steps)
        marks: dict[str, float] = dict.fromkeys(graph.order, 0.0)
        clock = time.perf_counter
        start = last = clock()

        def mark(step: int, name: str, result: Array, state: State, x: Array) -> None:
            nonlocal last
            now = clock()
            marks[name] += (now - last) * 1e6
            last = now

        simulation = run(graph, bound, input_data, n_steps, (mark,))
        elapsed = (clock() - start) * 1e6
        counts, done = count(graph, bound), work(graph, bound, simulation.activity, simulation.batch)
        spikes = {name: own.spikes for name, own in simulation.activity.items() if graph.nodes[name].spiking}
        talon = talon_energy(counts, n_steps, {k: n / simulation.batch for k, n in spikes.items()}, preset)
        weights = sum(node.weight_bytes for node in counts.values())
        # TALON's state memory: the neurons' own parameters, in float32
        states = sum(_neuron_bytes(graph, name) for name in spikes)
        activations = 4 * simulation.batch * sum(math.prod(shape) for shape in graph.output_shapes.values())
        return ProfileResult(
            total_latency_us=elapsed,
            per_node_latency=marks,
            energy_estimate_uj=talon.total_uj,
            mac_energy_uj=talon.mac_uj,
            spike_energy_uj=talon.spike_uj,
            sram_energy_uj=talon.sram_uj,
            per_layer_energy_uj=dict(talon.by_node_uj),
            peak_memory_bytes=weights + states + activations,
            weight_memory_bytes=weights,
            state_memory_bytes=states,
            total_sram_accesses=talon.sram_accesses,
            spike_counts=spikes,
            mac_ops=sum(node.weights for node in counts.values()) * n_steps,
            neuron_utilization={
                name: spikes[name] / (counts[name].neurons * n_steps * simulation.batch) for name in spikes
            },
            energy_preset=energy_preset,
            event_energy=energy(done, n_steps, preset, "event"),
            clock_energy=energy(done, n_steps, preset, "clock"),
        )


def _neuron_bytes(graph: Graph, name: str) -> int:
    node = graph.nodes[name]
    fields = ("tau", "r", "v_leak", "v_threshold")
    return sum(getattr(node, key).nbytes for key in fields if hasattr(node, key))
