"""The fpga backend: graphs as hls4ml projects for AMD parts, checked by C simulation, built by Vitis HLS."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from talon_lib.backend.base import (
    Backend,
    BackendCapabilities,
    BitstreamConfig,
    CompileConfig,
    HardwareDescriptor,
    ValidationResult,
    check_graph,
    describe,
)
from talon_lib.errors import ConfigError, PrecisionError, UnsupportedError
from talon_lib.hls import bitfile, vitis
from talon_lib.hls.boards import resolve_part
from talon_lib.hls.lower import check_fixed, lower, obstacles
from talon_lib.hls.project import (
    HEADERS,
    ProjectSpec,
    build_project,
    check_replaceable,
    configuration,
    hls4ml_version,
    install,
    unroll_warnings,
)
from talon_lib.ir.graph import Graph
from talon_lib.ir.node import Bound, list_primitives
from talon_lib.precision import Precision, describe_types
from talon_lib.simulate import bind_graph, noise

MAX_GRAPH_SIZE = 50_000
DEFAULT_PRECISION = "ap_fixed<16,6>"
DEFAULT_PART = "xczu9eg-ffvb1156-2-i"
DEFAULT_STEPS = 10

TEMPLATE_PATHS = tuple(f"firmware/nnet_utils/{header}" for header in HEADERS)
"""Where a project has the neurons' kernels, relative to its folder."""


@dataclass(frozen=True)
class _Design:
    """A graph with the types and settings that it is to be built with."""

    graph: Graph
    precision: Precision
    bound: Mapping[str, Bound]
    spec: ProjectSpec


class FPGABackend(Backend):
    """Turns graphs into hls4ml projects.

    ``fp32`` is among the precisions because a graph can be described in it; no project holds floating point, so
    ``build_bitstream`` refuses it.
    """

    name = "fpga"

    def get_capabilities(self) -> BackendCapabilities:
        """All primitives; the precisions of the tutorial (every intN and ap_fixed<W,I> is taken); no cycles."""
        precisions = ["fp32", "int16", "int8", "int4", DEFAULT_PRECISION]
        return BackendCapabilities(list_primitives(), precisions, supports_cyclic=False, max_graph_size=MAX_GRAPH_SIZE)

    def validate(self, graph: Graph) -> ValidationResult:
        """Whether an hls4ml project can hold ``graph``; the warnings say why not, one a node.

        A graph that is valid but does not fit the default precision gets a warning too.
        """
        size = len(check_graph(graph).nodes)
        if size > MAX_GRAPH_SIZE:
            return ValidationResult(False, [], [f"{size} nodes are more than the {MAX_GRAPH_SIZE} that are supported"])
        remarks: list[str] = []
        bound = None
        try:
            bound = bind_graph(graph, DEFAULT_PRECISION)
        except PrecisionError as error:
            remarks.append(f"at the default precision: {error}")
        found = obstacles(graph, bound)
        return ValidationResult(not found, list(found), [*found.values(), *remarks])

    def compile(
        self,
        graph: Graph,
        config: CompileConfig | None = None,
        output_dir: str | PathLike[str] = "hls4ml_project",
        project_name: str = "myproject",
        part: str = DEFAULT_PART,
        clock_period: float = 5,
        io_type: str = "io_parallel",
        default_precision: str | Mapping[str, Any] | None = None,
        default_reuse_factor: int = 1,
        strategy: str = "Latency",
        bitstream_config: BitstreamConfig | None = None,
        *,
        calibration_data: Mapping[str, Any] | None = None,
        n_steps: int = DEFAULT_STEPS,
    ) -> HardwareDescriptor:
        """Describe the hardware of ``graph``; nothing is written.

        Args:
            graph: the network.
            config: its target_precision is used where default_precision is None.
            output_dir: folder of the project that build_bitstream would write; recorded.
            project_name: name of the top function, a C identifier.
            part: an AMD part, or a board: zcu102, zcu104, zcu111, ultra96, pynq_z1, pynq_z2.
            clock_period: the clock's target, in nanoseconds.
            io_type: io_parallel or io_stream.
            default_precision: number types of all nodes that have none of their own; see ``talon_lib.precision``.
                ``ap_fixed<16,6>`` where neither this nor config is given.
            default_reuse_factor: reuse factor of all nodes that have none of their own.
            strategy: Latency or Resource.
            bitstream_config: recorded.
            calibration_data: samples, as inputs of ``cpu.simulate``, from which an intN finds its scales. Seeded
                uniform noise in [-1, 1) (``talon_lib.simulate.noise``) where None: give real samples for real scales.
            n_steps: timesteps of the calibration run.

        Returns:
            The descriptor. Its metadata holds the types of every node (types), the configuration in hls4ml's terms
            (hls4ml_config; None for floating point), the target, template_paths, and warnings.

        Raises UnsupportedError where :meth:`validate` says no, ConfigError for an argument that cannot be right,
        PrecisionError where the graph does not fit the precision.
        """
        spec = ProjectSpec(project_name, part, clock_period, io_type, default_reuse_factor, strategy)
        design = _design(graph, config, default_precision, spec, calibration_data, n_steps)
        return _describe(design, config, output_dir, bitstream_config)

    def build_bitstream(
        self,
        graph: Graph,
        output_dir: str | PathLike[str] = "hls4ml_project",
        project_name: str = "myproject",
        part: str = DEFAULT_PART,
        clock_period: float = 5,
        io_type: str = "io_parallel",
        default_precision: str | Mapping[str, Any] | None = None,
        default_reuse_factor: int = 1,
        strategy: str = "Latency",
        bitstream_config: BitstreamConfig | None = None,
        write_to_disk: bool = False,
        *,
        config: CompileConfig | None = None,
        input_data: Mapping[str, Any] | None = None,
        calibration_data: Mapping[str, Any] | None = None,
        n_steps: int = DEFAULT_STEPS,
        timeout: float = vitis.TIMEOUT,
    ) -> dict[str, Any]:
        """Generate the hls4ml project of ``graph``, and do what ``bitstream_config`` asks for.

        Arguments are those of :meth:`compile`, and:

        Args:
            graph: the network.
            output_dir: the project's folder, written whole or not at all. An earlier project there is replaced, a
                folder that holds anything else is refused.
            project_name: see compile.
            part: see compile.
            clock_period: see compile.
            io_type: see compile.
            default_precision: see compile.
            default_reuse_factor: see compile.
            strategy: see compile.
            bitstream_config: which steps to run; none where it is None. csim compiles the project with g++ and
                compares it with ``simulate``; synth, cosim, export and vsynth run Vitis HLS in the written project,
                vsynth Vivado too; bitfile runs Vivado on a design for a board with a Zynq (``part`` names it), with
                the network behind AXI4-Lite. cosim takes the inputs of csim.
            write_to_disk: write the project; otherwise its texts are returned and nothing stays.
            config: see compile.
            input_data: what csim and cosim run, as inputs of ``cpu.simulate``; calibration_data, or noise, where None.
            calibration_data: see compile; input_data, or noise, where None.
            n_steps: timesteps of csim, of cosim and of the calibration run.
            timeout: seconds that each program may take.

        Returns:
            hls4ml_config (a mapping, also in the project as hls4ml_config.json), parameters_h, build_script and
            tcl_script (the texts of firmware/parameters.h, build.py and build_prj.tcl), template_paths, descriptor,
            written_files (paths; empty unless write_to_disk), csim (a ``CsimResult``) where it ran, and where Vitis
            HLS ran reports (paths of csynth.xml) and synth (a ``SynthReport``), and bitfile (the path of the bitstream)
            where it was made; the descriptor's metadata names it too. Where C simulation or cosim differs
            from simulation, ``csim.equal`` or ``synth.cosim_equal`` is False and a RuntimeWarning names the first
            difference. The descriptor's metadata has synth too, and in its warnings what each tool that is not
            there would add.

        Raises, before anything is done, MissingToolError for a step whose tool is missing, and UnsupportedError for
        floating point, and for bitfile with io_stream or a part that is on no known board; what compile raises;
        ToolError and ToolTimeout where a tool fails.
        """
        wanted = bitstream_config or BitstreamConfig(synth=False, export=False, vsynth=False, bitfile=False)
        output = Path(output_dir)
        steps = _tool_steps(wanted, write_to_disk, part, io_type)
        if write_to_disk:
            check_replaceable(output)
        hls4ml_version()  # or the error that it is missing
        # csim's template needs jinja2; `import talon_lib` needs numpy alone
        from talon_lib.hls import csim
        from talon_lib.hls.record import write_record
        from talon_lib.hls.testbench import write_stimuli

        if wanted.csim:
            csim.require_compiler()
        stimuli = _first(input_data, calibration_data)
        spec = ProjectSpec(project_name, part, clock_period, io_type, default_reuse_factor, strategy)
        design = _design(graph, config, default_precision, spec, _first(calibration_data, input_data), n_steps)
        check_fixed(design.bound)
        descriptor = _describe(design, config, output, wanted)
        descriptor = _with(descriptor, warnings=[*descriptor.metadata["warnings"], *vitis.missing()])
        place = _existing_parent(output) if write_to_disk else None
        with tempfile.TemporaryDirectory(prefix=".talon-project-", dir=place) as scratch:
            project = build_project(graph, design.bound, spec, Path(scratch) / "project")
            write_record(project, graph, design.precision)
            result: dict[str, Any] = {
                "hls4ml_config": dict(project.config),
                "parameters_h": (project.path / "firmware" / "parameters.h").read_text(),
                "build_script": (project.path / "build.py").read_text(),
                "tcl_script": (project.path / "build_prj.tcl").read_text(),
                "template_paths": list(TEMPLATE_PATHS),
                "descriptor": descriptor,
                "written_files": [],
            }
            inputs = stimuli if stimuli is not None else noise(graph)
            if wanted.cosim:
                write_stimuli(project, graph, design.bound, inputs, n_steps)
            if wanted.csim:
                found = csim.csim_project(project, graph, design.bound, inputs, n_steps, timeout)
                result["csim"] = found
                if not found.equal:
                    warnings.warn(f"C simulation differs: {found.difference}", RuntimeWarning, stacklevel=2)
            if write_to_disk:
                install(project.path, output)
        if steps:
            done = vitis.run(output, steps, timeout)
            result["reports"] = [str(report) for report in done.reports]
            result["synth"] = done.report
            descriptor = _with(descriptor, synth={"source": done.report.source, **asdict(done.report)})
            if done.bitfile is not None:
                result["bitfile"] = str(done.bitfile)
                descriptor = _with(descriptor, bitfile=str(done.bitfile))
            result["descriptor"] = descriptor
            if done.report.cosim_equal is False:
                warnings.warn(f"cosim differs: {done.report.cosim_difference}", RuntimeWarning, stacklevel=2)
        if write_to_disk:
            result["written_files"] = sorted(str(file) for file in output.rglob("*") if file.is_file())
        return result


def _with(descriptor: HardwareDescriptor, **metadata: Any) -> HardwareDescriptor:
    """The descriptor with this in its metadata."""
    return replace(descriptor, metadata={**descriptor.metadata, **metadata})


def _first(*choices: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return next((choice for choice in choices if choice is not None), None)


def _existing_parent(path: Path) -> Path:
    """The closest folder above ``path`` that exists: on its file system, so that a rename moves things there."""
    return next(parent for parent in path.resolve().parents if parent.is_dir())


def _tool_steps(wanted: BitstreamConfig, write_to_disk: bool, part: str, io_type: str) -> list[str]:
    """The steps that AMD's tools are to do, checked before any work is done."""
    if wanted.bitfile:
        bitfile.check(resolve_part(part), io_type)
    steps = [step for step in vitis.STEPS if getattr(wanted, step)]
    if steps:
        vitis.check_steps(steps)
        vitis.require(steps)
        if not write_to_disk:
            raise ConfigError(
                f"{steps[0]} works in the project's folder and leaves its reports there; set write_to_disk"
            )
    return steps


def _design(
    graph: Graph,
    config: CompileConfig | None,
    default_precision: str | Mapping[str, Any] | None,
    spec: ProjectSpec,
    calibration: Mapping[str, Any] | None,
    n_steps: int,
) -> _Design:
    size = len(check_graph(graph).nodes)
    if size > MAX_GRAPH_SIZE:
        raise UnsupportedError(f"{size} nodes are more than the {MAX_GRAPH_SIZE} that the fpga backend supports")
    if config is not None and config.execution_mode == "cyclic":
        raise UnsupportedError("execution_mode 'cyclic': hls4ml cannot hold cycles; use 'dag' or leave it out")
    for reason in obstacles(graph).values():
        raise UnsupportedError(reason)
    if default_precision is None:
        default_precision = config.target_precision if config is not None else DEFAULT_PRECISION
    precision = Precision.parse(default_precision)
    return _Design(graph, precision, bind_graph(graph, precision, calibration, n_steps), spec)


def _describe(
    design: _Design,
    config: CompileConfig | None,
    output_dir: str | PathLike[str],
    bitstream: BitstreamConfig | None,
) -> HardwareDescriptor:
    graph, bound, spec = design.graph, design.bound, design.spec
    remarks = list(unroll_warnings(graph, spec.strategy))
    hls4ml_config = None
    try:
        check_fixed(bound)
    except UnsupportedError as error:
        remarks.insert(0, f"build_bitstream will refuse this: {error}")
    else:
        hls4ml_config = configuration(lower(graph, bound, spec.io_type), spec)
    metadata = {
        "backend": "fpga",
        "execution_mode": "dag",
        "optimize_for": (config or CompileConfig()).optimize_for,
        "num_nodes": len(graph.nodes),
        "num_edges": len(graph.edges),
        "fingerprint": graph.fingerprint,
        "precision": design.precision.argument(),
        "types": describe_types(bound),
        "part": resolve_part(spec.part),
        "clock_period_ns": spec.clock_period_ns,
        "project_name": spec.project_name,
        "output_dir": str(output_dir),
        "template_paths": list(TEMPLATE_PATHS),
        "hls4ml_config": hls4ml_config,
        "bitstream": None if bitstream is None else asdict(bitstream),
        "warnings": remarks,
    }
    return describe(graph, design.precision.name, metadata)
