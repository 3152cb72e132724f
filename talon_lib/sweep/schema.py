"""The one schema of metrics.parquet. Units are in the names; description and unit are in the fields' metadata.

``python -m talon_lib.sweep.schema`` prints docs/schema.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa

from talon_lib.cost.calibration import ESTIMATES
from talon_lib.cost.event_energy import EXECUTIONS, PARTS


def _field(name: str, kind: pa.DataType, description: str, unit: str = "", nullable: bool = True) -> pa.Field:
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


def _intervals() -> list[pa.Field]:
    """Both ends of what a calibration makes of every estimate."""
    text = "{} end of the calibrated interval of {}"
    return [
        _field(f"{name}_{end}", pa.float64(), text.format(end, column), "cycles" if "cycles" in name else "")
        for name, column in ESTIMATES.items()
        for end in ("low", "high")
    ]


AXES = (
    _field("network", pa.string(), "trained network, as the configuration names it", nullable=False),
    _field("timesteps", pa.int64(), "steps of one inference", nullable=False),
    _field("precision", pa.string(), "number types; see talon_lib.precision", nullable=False),
    _field("reuse_factor", pa.int64(), "reuse factor asked of hls4ml", nullable=False),
    _field("part", pa.string(), "AMD part or board", nullable=False),
    _field("clock_period_ns", pa.float64(), "target period of the clock", "ns", nullable=False),
    _field("strategy", pa.string(), "strategy of hls4ml", nullable=False),
    _field("io_type", pa.string(), "io type of hls4ml", nullable=False),
    _field("energy_preset", pa.string(), "energy costs per operation", nullable=False),
)

_PART_TEXTS = {
    "synapse": "multiply-accumulates and accumulates, biases included",
    "neuron": "arithmetic of neurons, pools and normalizations; on Loihi, access, update and spikes",
    "weight_read": "reads of weights and biases",
    "state": "reads and writes of membranes, currents and partial sums",
    "transport": "values or spikes that go from layer to layer",
    "static": "static power over the latency, where the preset has a figure",
}
_EXECUTION_TEXTS = {"event": "event-driven", "clock": "clock-driven"}

_PARTS = pa.struct([_field(part, pa.float64(), _PART_TEXTS[part], "uJ") for part in PARTS])
_NODE = pa.struct(
    [
        _field("node", pa.string(), "its name in the graph", nullable=False),
        _field("spikes_per_sample", pa.float64(), "its spikes in one inference, mean over samples"),
        _field("effective_macs", pa.float64(), "multiply-accumulates without zero operands (NeuroBench)"),
        _field("effective_acs", pa.float64(), "accumulates without zero operands (NeuroBench)"),
        _field("energy_uj", pa.float64(), "its part of energy_uj: TALON's accounting", "uJ"),
        _field("events_per_sample", pa.float64(), "values that are not zero and arrive, one inference, mean"),
        *(
            _field(f"{execution}_energy_uj", pa.float64(), f"one inference, {_EXECUTION_TEXTS[execution]}", "uJ")
            for execution in EXECUTIONS
        ),
        *(
            _field(f"{execution}_parts_uj", _PARTS, f"the same by part, {_EXECUTION_TEXTS[execution]}", "uJ")
            for execution in EXECUTIONS
        ),
        _field("effective_reuse_factor", pa.int64(), "reuse factor that hls4ml gives it"),
        _field("operators", pa.int64(), "products formed side by side"),
        _field("multipliers", pa.int64(), "those of the operators that are multipliers"),
        _field("cycles_per_step", pa.int64(), "cycles from its input to its output, first order", "cycles"),
        _field("lut_estimate", pa.int64(), "LUTs, first order"),
        _field("ff_estimate", pa.int64(), "flip-flops, first order"),
        _field("dsp_estimate", pa.int64(), "DSP slices, first order"),
        _field("bram_estimate", pa.int64(), "block RAMs of 18 Kb (RAMB18), first order"),
        _field("weight_type", pa.string(), "number type of its weights"),
        _field("result_type", pa.string(), "number type of its results"),
        _field("membrane_type", pa.string(), "number type of its membranes"),
    ]
)


def _execution_fields(execution: str) -> list[pa.Field]:
    how = _EXECUTION_TEXTS[execution]
    total = _field(f"{execution}_energy_uj", pa.float64(), f"one inference, {how}, all parts", "uJ")
    texts = {part: _PART_TEXTS[part] for part in (*PARTS, "static")}
    return [
        total,
        *(
            _field(f"{execution}_{part}_energy_uj", pa.float64(), f"{how}: {text}", "uJ")
            for part, text in texts.items()
        ),
    ]


GROUPS: dict[str, tuple[pa.Field, ...]] = {
    "point": (
        _field("point_id", pa.string(), "hash of the point and of the versions of its stages", nullable=False),
        _field("status", pa.string(), "ok, failed, timeout or unsupported: the worst of the stages", nullable=False),
        _field("reason", pa.string(), "where the status is not ok: stage and reason in one line"),
        *AXES,
    ),
    "simulate": (
        _field("samples", pa.int64(), "samples that were simulated"),
        _field("accuracy", pa.float64(), "share of samples classified right after the last step; null without labels"),
        _field("accuracy_by_step", pa.list_(pa.float64()), "the same after every step"),
        _field("agreement_fp32", pa.float64(), "share of samples classified as the same network in fp32 does"),
        _field("spikes_per_sample", pa.float64(), "spikes of all neurons in one inference, mean over samples"),
        _field("effective_macs", pa.float64(), "multiply-accumulates without zero operands, real input (NeuroBench)"),
        _field("effective_acs", pa.float64(), "accumulates without zero operands, spike input (NeuroBench)"),
        _field("dense_macs", pa.int64(), "synaptic operations, zeros included (NeuroBench: Dense)"),
        _field("weight_memory_bytes", pa.int64(), "weights and biases at their widths", "bytes"),
        _field("state_memory_bytes", pa.int64(), "membranes at their width", "bytes"),
        _field("footprint_bytes", pa.int64(), "all parameters and state at their widths (NeuroBench)", "bytes"),
        _field("connection_sparsity", pa.float64(), "share of zeros among the synapses' weights (NeuroBench)"),
        _field("activation_sparsity", pa.float64(), "share of zeros among the neurons' results (NeuroBench)"),
        _field("simulate_source", pa.string(), "where this group's figures are from"),
    ),
    "energy": (
        _field("energy_uj", pa.float64(), "one inference, all parts", "uJ"),
        _field("mac_energy_uj", pa.float64(), "multiply-accumulates", "uJ"),
        _field("spike_energy_uj", pa.float64(), "spikes", "uJ"),
        _field("sram_energy_uj", pa.float64(), "reads of weights, reads and writes of membranes", "uJ"),
        _field("energy_source", pa.string(), "where this group's figures are from"),
    ),
    "event_energy": (
        *(field for execution in EXECUTIONS for field in _execution_fields(execution)),
        _field("event_energy_source", pa.string(), "where this group's figures are from"),
    ),
    "break_even": (
        _field("ann_bits", pa.int64(), "width of the activations of the same network without spikes", "bits"),
        _field("ann_energy_uj", pa.float64(), "one inference of that network, same preset", "uJ"),
        _field("spike_rate", pa.float64(), "spikes a step and input of the layers that take spikes, mean"),
        _field("break_even_spike_rate", pa.float64(), "rate at which both take the same energy; 0: at none"),
        _field("layer_break_even_spike_rate", pa.float64(), "the same of the layers behind spikes alone"),
        _field("beats_ann", pa.bool_(), "whether the event-driven energy is below the other network's"),
        _field("break_even_source", pa.string(), "where this group's figures are from"),
    ),
    "estimate": (
        _field("effective_reuse_least", pa.int64(), "smallest reuse factor that a matrix gets of the one asked for"),
        _field("effective_reuse_most", pa.int64(), "largest reuse factor that a matrix gets of the one asked for"),
        _field("operators", pa.int64(), "products formed side by side, by multipliers or gates (a factor of 1 bit)"),
        _field("multipliers", pa.int64(), "those of the operators that are multipliers"),
        _field("lut_estimate", pa.int64(), "LUTs, first order"),
        _field("ff_estimate", pa.int64(), "flip-flops, first order"),
        _field("dsp_estimate", pa.int64(), "DSP slices, first order"),
        _field("bram_estimate", pa.int64(), "block RAMs of 18 Kb (RAMB18), first order"),
        _field("lut_utilisation", pa.float64(), "share of the part's LUTs; null where the part is not in the table"),
        _field("ff_utilisation", pa.float64(), "share of the part's flip-flops"),
        _field("dsp_utilisation", pa.float64(), "share of the part's DSP slices"),
        _field("bram_utilisation", pa.float64(), "share of the part's block RAM"),
        _field("fits", pa.bool_(), "whether the part has enough of all four, by the estimates"),
        _field("limiting_resource", pa.string(), "lut, ff, dsp or bram: what is used up first"),
        _field("cycles_per_step", pa.int64(), "cycles from input to output of one step, first order", "cycles"),
        _field("interval_cycles", pa.int64(), "cycles from one step to the next, first order", "cycles"),
        _field("cycles_per_sample", pa.int64(), "cycles of one inference, all steps, first order", "cycles"),
        _field("latency_us", pa.float64(), "time of one inference at the target clock, first order", "us"),
        _field("estimate_source", pa.string(), "where this group's figures are from"),
    ),
    "calibration": (
        *_intervals(),
        _field("calibration_source", pa.string(), "the tool and the designs that the intervals were learnt from"),
    ),
    "project": (
        _field("project_status", pa.string(), "ok, failed, unsupported, or not_run"),
        _field("project_folder", pa.string(), "the hls4ml project, relative to results/<sweep>"),
        _field("project_source", pa.string(), "tool and version"),
    ),
    "csim": (
        _field("csim_status", pa.string(), "equal, different, failed, timeout, unsupported, or not_run"),
        _field("csim_reason", pa.string(), "where it is not equal: why, or the first difference"),
        _field("csim_samples", pa.int64(), "samples that were compared"),
        _field("csim_values", pa.int64(), "spikes, membranes and outputs that were compared"),
        _field("csim_source", pa.string(), "compiler and version"),
    ),
    "open_rtl": (
        _field("open_rtl_status", pa.string(), "equal, different, unproved, failed, timeout, unsupported, or not_run"),
        _field("open_rtl_reason", pa.string(), "the difference, or what could not be done and why"),
        _field("open_rtl_missing", pa.string(), "tools that were not there: what each adds, and how to get it"),
        _field("open_rtl_folder", pa.string(), "the SystemVerilog, relative to results/<sweep>"),
        _field("open_rtl_samples", pa.int64(), "samples that Verilator ran"),
        _field("open_rtl_values", pa.int64(), "results and membranes that were compared with the simulation"),
        _field("open_rtl_proof_source", pa.string(), "Verilator and its version"),
        _field("open_rtl_lut", pa.int64(), "LUTs, those of memories included, by Yosys"),
        _field("open_rtl_lut_nodsp", pa.int64(), "LUTs where no product may take a DSP slice, by Yosys"),
        _field("open_rtl_lutram", pa.int64(), "those of the LUTs that are memories or shift registers"),
        _field("open_rtl_ff", pa.int64(), "flip-flops, by Yosys"),
        _field("open_rtl_dsp", pa.int64(), "DSP slices, by Yosys"),
        _field("open_rtl_bram", pa.int64(), "block RAMs of 18 Kb (RAMB18), by Yosys"),
        _field("open_rtl_multipliers", pa.int64(), "multipliers of the design, those of the decay included"),
        _field("open_rtl_cycles_per_step", pa.int64(), "cycles of one step, counted in simulation", "cycles"),
        _field("open_rtl_fmax_mhz", pa.float64(), "clock after place and route for Lattice ECP5", "MHz"),
        _field("open_rtl_latency_us", pa.float64(), "one inference at that clock, where the cycles are known", "us"),
        _field("open_rtl_fmax_source", pa.string(), "Yosys and nextpnr with their versions, and the device"),
        _field("open_rtl_source", pa.string(), "Yosys, its version and the family it counted for"),
    ),
    "open_rtl_estimate": (
        _field("open_rtl_lut_estimate", pa.int64(), "LUTs of the open RTL, first order"),
        _field("open_rtl_ff_estimate", pa.int64(), "flip-flops, first order"),
        _field("open_rtl_dsp_estimate", pa.int64(), "DSP slices, first order"),
        _field("open_rtl_bram_estimate", pa.int64(), "block RAMs of 18 Kb (RAMB18), first order"),
        _field("open_rtl_cycles_estimate", pa.int64(), "cycles of one step, first order", "cycles"),
        _field(
            "open_rtl_energy_uj", pa.float64(), "one inference at the routed clock: clock-driven, static part", "uJ"
        ),
        _field("open_rtl_estimate_source", pa.string(), "where this group's figures are from"),
    ),
    "vitis": (
        _field("vitis_status", pa.string(), "ok, failed, timeout, missing (the tool), or not_run"),
        _field("vitis_reason", pa.string(), "where it is not ok: why"),
        _field("vitis_lut", pa.int64(), "LUTs, by Vitis HLS"),
        _field("vitis_ff", pa.int64(), "flip-flops, by Vitis HLS"),
        _field("vitis_dsp", pa.int64(), "DSP slices, by Vitis HLS"),
        _field("vitis_bram", pa.int64(), "block RAMs of 18 Kb (RAMB18), by Vitis HLS"),
        _field("vitis_uram", pa.int64(), "UltraRAMs, by Vitis HLS"),
        _field("vitis_latency_cycles", pa.int64(), "cycles of one step, worst case", "cycles"),
        _field("vitis_interval_cycles", pa.int64(), "cycles from one step to the next, worst case", "cycles"),
        _field("vitis_clock_ns", pa.float64(), "period that Vitis HLS expects to meet", "ns"),
        _field("vitis_cosim_equal", pa.bool_(), "whether the cosimulated outputs are those of the simulation"),
        _field("vitis_source", pa.string(), "tool and version"),
        _field("vivado_lut", pa.int64(), "LUTs after Vivado's synthesis, without place and route"),
        _field("vivado_ff", pa.int64(), "flip-flops, likewise"),
        _field("vivado_dsp", pa.int64(), "DSP slices, likewise"),
        _field("vivado_bram", pa.int64(), "block RAMs of 18 Kb (RAMB18), likewise"),
        _field("vivado_wns_ns", pa.float64(), "worst slack of setup, likewise", "ns"),
        _field("vivado_power_w", pa.float64(), "power at Vivado's default activity, likewise", "W"),
        _field("vivado_source", pa.string(), "tool and version"),
    ),
    "nodes": (_field("nodes", pa.list_(_NODE), "figures and types by node"),),
}


def _documented(fields: Sequence[pa.Field], prefix: str = "") -> list[dict[str, str]]:
    """Name, type, unit and description of the fields; those inside a list or struct after it, as ``nodes.node``."""
    found = []
    for field in fields:
        inner = field.type.value_type if pa.types.is_list(field.type) else field.type
        nested = list(inner) if pa.types.is_struct(inner) else []
        kind = str(field.type)
        if nested:
            kind = "list of struct" if inner is not field.type else "struct"
        metadata = {key.decode(): value.decode() for key, value in field.metadata.items()}
        about = {"unit": metadata.get("unit", ""), "description": metadata["description"]}
        found.append({"name": prefix + field.name, "type": kind, **about})
        found += _documented(nested, f"{prefix}{field.name}.")
    return found


_FIELDS = [field for group in GROUPS.values() for field in group]
_COLUMNS = {own["name"]: {key: own[key] for key in ("unit", "description") if own[key]} for own in _documented(_FIELDS)}
SCHEMA = pa.schema(
    _FIELDS,
    # as JSON too, for readers that do not see the metadata of Arrow's fields
    metadata={"format": "talon-dse metrics", "format_version": "3", "columns": json.dumps(_COLUMNS)},
)


def describe() -> list[dict[str, str]]:
    """Name, type, unit and description of every column, in order; not of the fields inside ``nodes``."""
    return [own for own in _documented(SCHEMA) if "." not in own["name"]]


_GROUP_TEXTS = {
    "point": "The axes of the point, and how it ended",
    "simulate": "Bit-exact simulation, and NeuroBench's metrics",
    "energy": "Energy by TALON's accounting (docs/energy.md)",
    "event_energy": "Energy by events and widths, event-driven and clock-driven (docs/energy.md)",
    "break_even": "Against the same network without spikes (docs/energy.md)",
    "estimate": "First-order estimates of the hls4ml design (docs/estimates.md)",
    "calibration": "Where a synthesis may be expected, by a calibration; null without one (docs/estimates.md)",
    "project": "The hls4ml project",
    "csim": "C simulation of the project",
    "open_rtl": "RTL of our own, as the tools measured it (docs/synthesis.md)",
    "open_rtl_estimate": "Estimates of that RTL",
    "vitis": "AMD's synthesis of the hls4ml project (docs/synthesis.md)",
    "nodes": "Figures and types by node",
}


def _rows(fields: Sequence[pa.Field]) -> str:
    lines = ["| column | type | unit | description |", "|---|---|---|---|"]
    return "\n".join(
        lines + ["| `{name}` | {type} | {unit} | {description} |".format(**own) for own in _documented(fields)]
    )


def document() -> str:
    """The whole of docs/schema.md."""
    groups = "\n\n".join(f"## {name}\n\n{_GROUP_TEXTS[name]}.\n\n{_rows(own)}" for name, own in GROUPS.items())
    version = SCHEMA.metadata[b"format_version"].decode()
    return _DOCUMENT.format(version=version) + f"\n{groups}\n"


_DOCUMENT = """# The table of a sweep

Made from `talon_lib/sweep/schema.py` by `make docs`; a test holds it to the code.

`results/<sweep>/metrics.parquet` has one row for every point, failed ones included, in the order of the sweep. What is
not known is null. Nothing in it differs from run to run: equal results give equal bytes.

Up to 50,000 points it is one file. A larger table is a folder of that name, partitioned by network in Hive's way:
`metrics.parquet/network=NAME/part-00000.parquet` and so on, each file of at most 50,000 rows. The column `network` is
then in the names of the folders alone; pandas, polars and DuckDB put it back, as the last column, and read the networks
in the order of their names. A network whose name is a number (`784`) comes back as a number.

The metadata of the file are `format` (`talon-dse metrics`), `format_version` ({version}), and `columns`: JSON with
`description` and, where there is one, `unit` by column, those inside `nodes` as `nodes.NAME`. The fields of the Arrow
schema have the same. Each file of a folder has `rows` as well: of the whole table, so that a lost file is noticed.

## How to read it

Both forms are read by the same call. In pandas (`pip install pandas pyarrow`):

```python
import pandas as pd

points = pd.read_parquet("metrics.parquet", columns=["network", "precision", "accuracy", "energy_uj"])
points[points.energy_uj < 0.5].groupby("network", observed=True).accuracy.max()
```

In polars, which reads no more than the query needs:

```python
import polars as pl

points = pl.scan_parquet("metrics.parquet")
points.filter(pl.col("energy_uj") < 0.5).group_by("network").agg(pl.col("accuracy").max()).collect()
nodes = points.select("network", "precision", "nodes").explode("nodes").unnest("nodes").collect()
```

In DuckDB (2.0 takes the name of the folder as it is; `'metrics.parquet/*/*.parquet'` names the files in it):

```sql
SELECT network, max(accuracy) FROM read_parquet('metrics.parquet') WHERE energy_uj < 0.5 GROUP BY network;
SELECT network, precision, unnest(nodes, recursive := true) FROM read_parquet('metrics.parquet');
```

What a column means, read from the file itself (of a folder, from any of its files):

```python
import json
import pyarrow.parquet as pq

json.loads(pq.read_metadata("metrics.parquet").metadata[b"columns"])["energy_uj"]  # polars: pl.read_parquet_metadata
```

```sql
SELECT decode(value) FROM parquet_kv_metadata('metrics.parquet') WHERE decode(key) = 'columns';
```
"""


if __name__ == "__main__":
    print(document(), end="")
