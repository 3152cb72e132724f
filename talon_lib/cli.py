"""The command line: one verb for each thing a rule of the workflow, or a person, does.

Exit 0, or 2 with one line on stderr that says what to do. Imports are inside the verbs, for a rule starts a process
for every job.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from talon_lib._version import __version__
from talon_lib.errors import ConfigError, GraphError, TalonError

if TYPE_CHECKING:
    from talon_lib.ir.graph import Graph
    from talon_lib.sweep.launch import Outcome

F = TypeVar("F", bound=Callable[..., Any])

HARDWARE_PRECISION = "ap_fixed<16,6>"  # what project and csim take where none is given, as build_bitstream does

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)
_FOLDER_OR_FILE = click.Path(path_type=Path)
_SECONDS = click.FloatRange(0, 1e9, min_open=True)


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_dt_option = click.option("--dt", type=float, help="seconds of a timestep, for NIR files; else the file's, or 1e-4")


def _data_options(required: bool, precision: str = "fp32") -> Callable[[F], F]:
    return _options(
        _dt_option,
        click.option(
            "--data",
            type=_FILE,
            required=required,
            help=".npz with x_test, y_test, x_train (or x, y; or events), or .npy",
        ),
        click.option("--labels", type=_FILE, help=".npy with the labels of data that holds none"),
        click.option(
            "--encoding",
            default="current",
            show_default=True,
            help="current, frames, rate, latency, delta, events, or JSON; see docs/data.md",
        ),
        click.option(
            "--steps", type=click.IntRange(1), default=1, show_default=True, help="timesteps of one inference"
        ),
        click.option(
            "--precision", default=precision, show_default=True, help="fp32, fp16, int2..int16, ap_fixed<W,I>, or JSON"
        ),
        click.option("--samples", type=click.IntRange(1), help="take the first N samples; all by default"),
        click.option("--expect", type=(str, str), hidden=True),  # a sweep's: fingerprints of the graph and the data
        click.option(
            "--calibration-samples", type=click.IntRange(1), help="samples that scales are found from; all by default"
        ),
    )


_hardware_options = _options(
    click.option("--reuse-factor", type=click.IntRange(1), default=1, show_default=True),
    click.option("--part", default="zcu102", show_default=True, help="AMD part, or a board's name"),
    click.option("--clock-period", type=float, default=5.0, show_default=True, help="ns"),
)

_strategy_option = click.option("--strategy", default="Latency", show_default=True, help="Latency or Resource")

_io_option = click.option("--io-type", default="io_parallel", show_default=True, help="io_parallel or io_stream")

_output_options = _options(
    click.option("--output", type=_FILE, help="write the result as JSON here instead of printing it"),
    click.option("--record-failure", is_flag=True, help="with --output: write a failure there as well, and exit 0"),
)


_retry_option = click.option(
    "--retry-failed", is_flag=True, help="run jobs again that failed, or that a missing tool cut short"
)
_profile_option = click.option(
    "--profile",
    type=_FOLDER,
    default=Path("workflow/profiles/default"),
    show_default=True,
    help="Snakemake's: where jobs run (docs/cluster.md)",
)
_cores_option = click.option("--cores", type=click.IntRange(1), help="jobs at a time; all cores by default")
_chunk_option = click.option(
    "--chunk-seconds",
    type=_SECONDS,
    show_default="20, or less where a core would have nothing to do",
    help="work of cheap jobs in one job of Snakemake; more on a cluster, where a job costs seconds",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(__version__, prog_name="talon-dse")
@click.pass_context
def cli(context: click.Context) -> None:
    """Choose bits, parallelism and device for a spiking neural network."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command()
@click.argument("file", type=_FILE, required=False)
@click.option("--primitives", is_flag=True, help="say which primitives there are, and what runs them")
@_dt_option
def info(file: Path | None, primitives: bool, dt: float | None) -> None:
    """Print what is in a network FILE: nodes, shapes, parameters, memory, operations, and what hls4ml can hold."""
    from talon_lib import ir
    from talon_lib.ir import support

    if primitives:
        click.echo(support.table(), nl=False)
    if file is None:
        if not primitives:
            raise ConfigError("give a file, or --primitives")
        return
    graph = ir.read(file, dt=dt)
    click.echo(f"{file}: {graph!r}, fingerprint {graph.fingerprint[:16]}")
    for line in _metadata_lines(graph):
        click.echo(line)
    _print_nodes(graph)


def _metadata_lines(graph: Graph) -> list[str]:
    lines = [f"  {key}: {value}" for key, value in graph.metadata.items() if not isinstance(value, dict)]
    return lines + [
        f"  recurrent: '{source}' -> '{target}' carries the step before" for source, target in graph.feedback
    ]


def _print_nodes(graph: Graph) -> None:
    from talon_lib.cost.counts import count
    from talon_lib.hls.lower import IO_TYPES, obstacles
    from talon_lib.simulate import bind_graph

    counts = count(graph)
    bound = bind_graph(graph, HARDWARE_PRECISION)
    refused = {io_type: obstacles(graph, bound, io_type) for io_type in IO_TYPES}
    rows: list[tuple[str, ...]] = [
        ("node", "kind", "from", "input", "output", "parameters", "bytes", "state", "MACs/step", *IO_TYPES)
    ]
    totals = [0, 0, 0, 0]
    for name in graph.order:
        node, own = graph.nodes[name], counts.get(name)
        numbers = [0, 0, 0, 0]
        if own is not None:
            held = sum(tensor.values.size for tensor in node.parameters().values())
            numbers = [held, own.weight_bytes, own.state_bits // 8, own.macs_per_step]
        totals = [total + number for total, number in zip(totals, numbers, strict=True)]
        rows.append(
            (
                name,
                node.kind,
                ", ".join(graph.predecessors(name)) or "-",
                "x".join(map(str, graph.input_shapes[name])),
                "x".join(map(str, graph.output_shapes[name])),
                *(f"{number:,}" if number else "-" for number in numbers),
                *("no" if name in refused[io_type] else "yes" for io_type in IO_TYPES),
            )
        )
    rows.append(("all", "", "", "", "", *(f"{total:,}" for total in totals), "", ""))
    _print_table(rows)
    click.echo(
        f"bytes and state in fp32; io_parallel and io_stream: whether hls4ml can hold it, at {HARDWARE_PRECISION}"
    )
    reasons = {reason: None for found in refused.values() for reason in found.values()}
    for reason in reasons:
        places = [io_type for io_type, found in refused.items() if reason in found.values()]
        click.echo(f"  {' and '.join(places)}: {reason}")


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@cli.command()
@click.argument("source", type=_FILE)
@click.argument("target", type=_FILE)
@_dt_option
@click.option(
    "--neurons", default="", help="fields of all spiking neurons: reset=subtract,reset_delay=true,strict=false"
)
def convert(source: Path, target: Path, dt: float | None, neurons: str) -> None:
    """Read the network in SOURCE and write it to TARGET; the suffixes say the formats (.nir, .t1c)."""
    from talon_lib import ir

    written = source.suffix != ".nir" and target.suffix == ".nir"  # then dt is the writer's alone
    graph = _with_neurons(source, ir.read(source, dt=None if written else dt), _neuron_fields(neurons))
    step = dt if dt is not None else graph.metadata.get("dt")
    options = {} if step is None or target.suffix != ".nir" else {"dt": step}
    ir.write(target, graph, **options)
    click.echo(f"{target}: {graph!r}, fingerprint {graph.fingerprint[:16]}")


NEURON_FIELDS: dict[str, Callable[[str], Any]] = {"reset": str, "reset_delay": json.loads, "strict": json.loads}
"""What exporters of other frameworks lose of a neuron, and how to read it from the command line."""


def _neuron_fields(text: str) -> dict[str, Any]:
    found = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in NEURON_FIELDS:
            raise ConfigError(f"--neurons: unknown field {name!r}; there are: {', '.join(NEURON_FIELDS)}")
        try:
            found[name] = NEURON_FIELDS[name](value)
        except json.JSONDecodeError:
            raise ConfigError(f"--neurons: {name} must be true or false, not {value!r}") from None
    return found


def _with_neurons(source: Path, graph: Graph, fields: dict[str, Any]) -> Graph:
    """The graph with these fields in all neurons that fire and reset; one that subtracts has no use for a v_reset."""
    if not fields:
        return graph
    fields |= {"v_reset": None} if fields.get("reset") == "subtract" else {}
    neurons = {name: node for name, node in graph.nodes.items() if hasattr(node, "v_threshold")}
    if not neurons:
        raise ConfigError(f"--neurons: {source} has no neurons that fire and reset")
    try:
        changed = {name: dataclasses.replace(node, **fields) for name, node in neurons.items()}
    except GraphError as error:
        raise ConfigError(f"--neurons: {error}") from None
    return dataclasses.replace(graph, nodes={**graph.nodes, **changed})


@cli.command()
@click.argument("file", type=_FILE)
@click.option("--backend", "name", default="cpu", show_default=True, help="cpu or fpga")
@_dt_option
def validate(file: Path, name: str, dt: float | None) -> None:
    """Say whether a backend can take the network in FILE."""
    from talon_lib import backend, ir

    graph = ir.read(file, dt=dt)
    found = backend.get_backend(name).validate(graph)
    for warning in found.warnings:
        click.echo(f"warning: {warning}")
    if not found.is_valid:
        raise TalonError(
            f"{file}: backend '{name}' cannot take it: {'; '.join(found.warnings) or found.unsupported_nodes}"
        )
    click.echo(f"{file}: valid for backend '{name}'")


@cli.command()
@click.argument("graph", type=_FILE)
@_data_options(required=True)
@click.option("--readout", default="count", show_default=True, help="count, first_spike or membrane")
@_output_options
def simulate(graph: Path, readout: str, output: Path | None, record_failure: bool, **options: Any) -> None:
    """Simulate the network in GRAPH on data, at one precision."""

    def work() -> dict[str, Any]:
        from talon_lib.simulate import READOUTS
        from talon_lib.sweep import stages

        if readout not in READOUTS:
            raise ConfigError(f"unknown readout {readout!r}; there are: {', '.join(READOUTS)}")
        precision = options.pop("precision")
        return stages.simulate(stages.workload(graph, **options), precision, readout)

    _stage("simulate", work, output, record_failure)


@cli.command()
@click.argument("graph", type=_FILE)
@_data_options(required=False)
@click.option("--preset", default="neuromorphic_int8", show_default=True, help="energy preset, or a .yaml file")
def profile(graph: Path, preset: str, precision: str, **options: Any) -> None:
    """Print energy and memory of the network in GRAPH by TALON's accounting, and its energy by events and widths.

    The input is zero where no data is given.
    """
    from talon_lib import backend
    from talon_lib.cost.event_energy import PARTS
    from talon_lib.cost.preset import get_preset
    from talon_lib.sweep import stages

    work = stages.workload(graph, **options)
    data = calibration = None
    if work.dataset is not None:
        data = work.inputs(work.test_set.x)
        calibration = work.inputs(work.test_set.calibration[: work.calibration_samples])
    cpu: Any = backend.get_backend("cpu")
    found = cpu.profile(work.graph, data, work.steps, preset, precision=precision, calibration_data=calibration)
    given = "zero input" if work.dataset is None else f"mean of {len(work.test_set.x)} samples"
    said = "" if precision == "fp32" else f", {precision}"
    click.echo(f"TALON's accounting, analytic, preset {found.energy_preset}, {work.steps} step(s), {given}{said}")
    rows = [
        ("MAC operations", f"{found.mac_ops:,}"),
        ("energy", f"{found.energy_estimate_uj:.4f} uJ"),
        ("  MAC", f"{found.mac_energy_uj:.4f} uJ"),
        ("  spikes", f"{found.spike_energy_uj:.4f} uJ"),
        ("  SRAM", f"{found.sram_energy_uj:.4f} uJ"),
        ("weight memory", f"{found.weight_memory_bytes:,} bytes"),
        ("peak memory", f"{found.peak_memory_bytes:,} bytes"),
    ]
    rows += [(f"  {name}", f"{energy:.4f} uJ") for name, energy in found.per_layer_energy_uj.items()]
    _print_table(rows)
    basis = get_preset(preset).basis_at(None)  # no design, and so no latency, is known here
    for how, energy in (("event", found.event_energy), ("clock", found.clock_energy)):
        if energy is None:  # the preset's device does not execute so
            continue
        click.echo(f"\n{how}-driven, analytic, {basis} (docs/energy.md)")
        rows = [("energy", f"{energy.total / 1e6:.6f} uJ")]
        rows += [(f"  {part.replace('_', ' ')}", f"{getattr(energy.parts, part) / 1e6:.6f} uJ") for part in PARTS]
        rows += [(f"  {name}", f"{own.total / 1e6:.6f} uJ") for name, own in energy.by_node.items() if own.total]
        _print_table(rows)


@cli.command()
@click.argument("graph", type=_FILE)
@_data_options(required=False, precision=HARDWARE_PRECISION)
@_hardware_options
@_strategy_option
@_io_option
@click.option(
    "--folder", type=_FOLDER, required=True, help="where the project goes; an earlier project there is replaced"
)
@click.option("--project-name", default="snn", show_default=True, help="names the top function")
@click.option("--stimuli", type=click.IntRange(0), default=0, show_default=True, help="samples of --data for cosim")
@_output_options
def project(
    graph: Path,
    reuse_factor: int,
    part: str,
    clock_period: float,
    strategy: str,
    io_type: str,
    folder: Path,
    project_name: str,
    stimuli: int,
    output: Path | None,
    record_failure: bool,
    **options: Any,
) -> None:
    """Write the hls4ml project of the network in GRAPH."""

    def work() -> dict[str, Any]:
        from talon_lib.sweep import stages

        precision = options.pop("precision")
        work = stages.workload(graph, **options)
        return stages.project(
            work, precision, folder, reuse_factor, part, clock_period, strategy, io_type, project_name, stimuli
        )

    _stage("project", work, output, record_failure)


@cli.command()
@click.argument("graph", type=_FILE)
@_data_options(required=True, precision=HARDWARE_PRECISION)
@_strategy_option
@_io_option
@click.option("--timeout", type=_SECONDS, default=1800.0, show_default=True, help="seconds")
@click.option("--workdir", type=_FOLDER, help="keep the project and the program here")
@_output_options
def csim(
    graph: Path,
    strategy: str,
    io_type: str,
    timeout: float,
    workdir: Path | None,
    output: Path | None,
    record_failure: bool,
    **options: Any,
) -> None:
    """Compare the hardware's C simulation with ours, spike by spike and membrane by membrane."""

    def work() -> dict[str, Any]:
        from talon_lib.sweep import stages

        precision = options.pop("precision")
        return stages.csim(stages.workload(graph, **options), precision, io_type, strategy, timeout, workdir)

    result = _stage("csim", work, output, record_failure)
    if output is None and not result["equal"]:
        raise TalonError(f"C simulation differs from simulation at {result['difference']}")


@cli.command()
@click.argument("folder", type=_FOLDER)
@click.option("--flow", default="vitis", show_default=True, help="vitis, or open-rtl for what talon-dse rtl wrote")
@click.option(
    "--step",
    "steps",
    multiple=True,
    help="vitis: synth (default), cosim, export, vsynth, bitfile; open-rtl: xc7, xcu, xcup (default), ecp5; repeatable",
)
@click.option("--timeout", type=_SECONDS, default=14400.0, show_default=True, help="seconds")
@click.option("--workdir", type=_FOLDER, help="work in a copy here, and leave FOLDER as it is")
@_output_options
def synth(
    folder: Path,
    flow: str,
    steps: tuple[str, ...],
    timeout: float,
    workdir: Path | None,
    output: Path | None,
    record_failure: bool,
) -> None:
    """Synthesise the project in FOLDER, and print what the tools report."""

    def work() -> dict[str, Any]:
        from talon_lib.sweep import stages

        return stages.synth(folder, flow, steps, timeout, workdir)

    result = _stage("synth", work, output, record_failure)
    report = result.get("report") or {}
    if output is None and report.get("cosim_equal") is False:
        raise TalonError(f"cosim differs from simulation at {report['cosim_difference']}")


@cli.command()
@click.argument("folder", type=_FOLDER)
@click.option("--output", type=_FILE, help="write the rows here, .parquet (which calibrate reads) or .json")
def ingest(folder: Path, output: Path | None) -> None:
    """Take the hls4ml projects in FOLDER that were synthesised elsewhere into rows, one a design and tool."""
    from talon_lib.sweep import ingest as ingesting

    table = ingesting.ingest(folder)
    if output is not None:
        ingesting.write(table, output)
    _print_table(ingesting.lines(table))


@cli.command()
@click.argument("graph", type=_FILE)
@_data_options(required=False, precision=HARDWARE_PRECISION)
@click.option("--reuse-factor", type=click.IntRange(1), default=1, show_default=True)
@click.option("--folder", type=_FOLDER, required=True, help="where the files go")
@click.option("--top", default="snn", show_default=True, help="names the top module")
@click.option("--verify", type=click.IntRange(1), help="run so many samples of --data in Verilator, and compare")
@click.option(
    "--count", "targets", multiple=True, help="count for: xc7, xcu, xcup (Yosys; and -nodsp), ecp5 (place and route)"
)
@click.option("--timeout", type=_SECONDS, default=3600.0, show_default=True, help="seconds that one program may take")
@_output_options
def rtl(
    graph: Path,
    reuse_factor: int,
    folder: Path,
    top: str,
    verify: int | None,
    targets: tuple[str, ...],
    timeout: float,
    output: Path | None,
    record_failure: bool,
    **options: Any,
) -> None:
    """Write the network in GRAPH as SystemVerilog of our own, prove that it equals simulation, and count it."""

    def work() -> dict[str, Any]:
        from talon_lib.sweep import open_rtl, stages

        precision = options.pop("precision")
        work = stages.workload(graph, **options)
        return open_rtl.make(work, precision, folder, reuse_factor, verify, targets, top, timeout)

    result = _stage("rtl", work, output, record_failure)
    if output is None:
        if result["proof"] is not None and not result["proof"]["equal"]:
            raise TalonError(f"the RTL differs from simulation at {result['proof']['difference']}")
        if result["problems"]:  # asked for, and not done
            raise TalonError("; ".join(problem["reason"] for problem in result["problems"]))


def _stage(name: str, work: Callable[[], dict[str, Any]], output: Path | None, record_failure: bool) -> dict[str, Any]:
    """Run a stage; print its result, or write it (and where asked its failure) in the envelope."""
    if record_failure and output is None:
        raise ConfigError("--record-failure needs --output")
    from talon_lib.files import write_json
    from talon_lib.sweep import stages

    try:
        result = work()
    except Exception as error:
        if not record_failure or output is None or stages.is_of_machine(error):
            raise
        if not isinstance(error, TalonError):
            traceback.print_exc()  # for the log
        click.echo(f"{name}: {error}", err=True)
        write_json(output, stages.failure(name, error))
        return {}
    if output is None:
        click.echo(json.dumps(result, indent=2))
    else:
        write_json(output, stages.envelope(name, result))
    return result


@cli.command()
@click.argument("config", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@_cores_option
@click.option("--results", type=_FOLDER, default=Path("results"), show_default=True, help="the sweep goes below it")
@_retry_option
@_chunk_option
@click.option("--keys", is_flag=True, help="say of each job whether its result is there")
@click.option("--output", type=_FILE, help="write the plan and what made it (sweep.json) here, and say nothing")
def plan(
    config: Path,
    cores: int | None,
    results: Path,
    retry_failed: bool,
    chunk_seconds: float | None,
    keys: bool,
    output: Path | None,
) -> None:
    """Say what a sweep CONFIG (- for standard input) would run: points, jobs, about how long and how much disk."""
    from talon_lib.sweep import chunks, forecast, planfile, points, spec
    from talon_lib.sweep.space import sample

    made = points.plan(spec.load(config))
    search = made.spec.search if made.searching else None
    if search is not None:
        budget = min(search.budget, made.space.size)
        click.echo(f"a search of up to {budget:,} of {made.space.size:,} points, here drawn at random:")
        made = points.plan(made.spec, sample(made.space, "random", budget, search.seed))
    if output is not None:
        planfile.write(made, output)
        return
    folder = results / made.spec.name
    run = chunks.run_of(made, folder, retry_failed, chunk_seconds, cores)
    _print_table(forecast.table(run))
    for line in forecast.lines(run, folder, cores):
        click.echo(line)
    if keys:
        _print_table(forecast.keys(run))


@cli.command()
@click.argument("chunk", type=_FILE)
def run(chunk: Path) -> None:
    """Run the jobs in CHUNK (results/NAME/run/STAGE/KEY.json), one after another; what has a result is passed over."""
    from talon_lib.sweep import worker

    def call(command: Sequence[str]) -> None:
        cli.main([*command], prog_name="talon-dse", standalone_mode=False)

    worker.run(chunk, call, click.echo)


@cli.command()
@click.argument("sweep_json", type=_FILE)
@click.option("--part", required=True, help="its key, as in run/index.json beside SWEEP_JSON")
@click.option("--output", type=_FILE, required=True, help=".parquet")
def rows(sweep_json: Path, part: str, output: Path) -> None:
    """Join the job results beside SWEEP_JSON into the rows of one part of the points."""
    from talon_lib.sweep import collect as collecting
    from talon_lib.sweep import planfile

    made = planfile.read_plan(sweep_json)
    collecting.write_part(made, sweep_json.parent, collecting.part_of(made, part), output)


@cli.command()
@click.argument("sweep_json", type=_FILE)
@click.option("--output", type=_FOLDER_OR_FILE, required=True, help="metrics.parquet: a file, or a folder where large")
def collect(sweep_json: Path, output: Path) -> None:
    """Join the job results beside SWEEP_JSON into one Parquet table, and note there which nodes made them."""
    from talon_lib.sweep import collect as collecting
    from talon_lib.sweep import locks, planfile, table

    with locks.table_held(sweep_json.parent):
        made = planfile.read_plan(sweep_json)
        planfile.note_nodes(sweep_json)
        collecting.collect(made, sweep_json.parent, output)
    click.echo(table.summary(output))


@cli.command()
@click.argument("table", type=_FOLDER_OR_FILE)
@click.option("--flow", type=click.Choice(["open-rtl", "vitis"]), help="which figures of a sweep's table to take")
@click.option("--source", help="the tool whose measurements to take, where the table holds those of several")
@click.option("--output", type=_FILE, help="write the calibration here, for the key 'calibration' of a sweep")
def calibrate(table: Path, flow: str | None, source: str | None, output: Path | None) -> None:
    """Fit the scale of estimates to the measured designs in TABLE (.parquet or .csv), and print the errors left.

    A large sweep's metrics.parquet, which is a folder, is one table as well.
    """
    from talon_lib.cost import calibration
    from talon_lib.sweep import table as tables

    rows = tables.read(table).drop_columns("nodes").to_pandas() if table.is_dir() else calibration.read_table(table)
    found = calibration.calibrate(rows, source, flow)
    if output is not None:
        found.write(output)
    click.echo(f"measurements of {found.source}; error: scaled estimates of {found.flow} against them, after the fit")
    _print_table(calibration.lines(found))
    for name, count in found.skipped.items():
        click.echo(f"{name}: {count} designs, too few (a metric needs {calibration.LEAST_ROWS})")


@cli.command()
@click.argument("metrics", type=_FOLDER_OR_FILE)
@click.option("--sweep-json", type=_FILE, help="the sweep's plan; beside METRICS by default")
@click.option("--output", type=_FILE, required=True, help="report.html")
def report(metrics: Path, sweep_json: Path | None, output: Path) -> None:
    """Draw the report of a Parquet table METRICS as one HTML file."""
    from talon_lib.report.html import write_report
    from talon_lib.sweep import locks
    from talon_lib.sweep.planfile import read_content

    with locks.table_held(metrics.parent):
        write_report(metrics, read_content(sweep_json or metrics.with_name("sweep.json")), output)


@cli.command()
@click.argument("config", type=_FILE)
@_cores_option
@click.option("--results", type=_FOLDER, default=Path("results"), show_default=True, help="the sweep goes below it")
@_profile_option
@click.option("--dry-run", is_flag=True, help="say what would run, as talon-dse plan does, and run nothing")
@_retry_option
@_chunk_option
@click.argument("snakemake_options", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def sweep(
    context: click.Context,
    config: Path,
    cores: int | None,
    results: Path,
    profile: Path,
    dry_run: bool,
    retry_failed: bool,
    chunk_seconds: float | None,
    snakemake_options: tuple[str, ...],
) -> None:
    """Run the sweep CONFIG with Snakemake: what is missing, and no more.

    Exit 0: every point is in the table, and none failed; 1: some failed or took too long, as their rows say; 2: the
    sweep did not run to its end, and one line says what to do. Further options, after --, go to Snakemake.
    """
    from talon_lib.sweep import launch as launching
    from talon_lib.sweep import points, spec

    options = launching.Options(cores, results, profile, retry_failed, chunk_seconds, snakemake_options, click.echo)
    launching.check_place(options)
    if dry_run:
        seconds = launching.chunk_seconds(options)
        context.invoke(
            plan, config=config, cores=cores, results=results, retry_failed=retry_failed, chunk_seconds=seconds
        )
        return
    _end(context, launching.launch(points.plan(spec.load(config)), options))


def _end(context: click.Context, outcome: Outcome) -> None:
    """Say how a sweep ended, in lines and in the exit code."""
    for line in outcome.lines:
        click.echo(line)
    if outcome.unfinished:
        raise TalonError(outcome.unfinished)
    if outcome.bad:
        context.exit(1)


@cli.command()
@click.argument("sweep_json", type=_FILE)
@click.option("--cores", type=click.IntRange(1), help="jobs at a time; all cores by default")
@click.option(
    "--results",
    type=_FOLDER,
    default=Path("results/reproduced"),
    show_default=True,
    help="the sweep goes below it; what a try left that did not end is taken up",
)
@_profile_option
@click.pass_context
def reproduce(context: click.Context, sweep_json: Path, cores: int | None, results: Path, profile: Path) -> None:
    """Run the sweep of SWEEP_JSON again, and compare its table with the one beside SWEEP_JSON column by column.

    Exit 0: all is as it was; 1: columns differ, and which; 2: it could not be run, and why.
    """
    from talon_lib.sweep.launch import Options
    from talon_lib.sweep.reproduce import reproduce as again

    found = again(sweep_json, Options(cores, results, profile))
    for line in found.lines():
        click.echo(line)
    if found.differences:
        context.exit(1)


def main() -> None:
    """Entry point: TalonError becomes one line and exit 2."""
    try:
        code = cli.main(prog_name="talon-dse", standalone_mode=False)  # that of context.exit, else None
        if code:
            sys.exit(code)
    except click.ClickException as error:
        _fail(error.format_message())
    except click.Abort:
        _fail("interrupted")
    except TalonError as error:
        _fail(str(error))
    except BrokenPipeError:
        sys.exit(0)
    except MemoryError as error:
        _fail(f"not enough memory for this network or data ({error})")
    except OSError as error:  # a path that cannot be read or written
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror or error}")


def _fail(message: str) -> None:
    click.echo(f"talon-dse: {' '.join(message.split())}", err=True)
    sys.exit(2)
