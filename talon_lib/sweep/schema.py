"""The one schema of metrics.parquet. Units are in the names; description and unit are in the fields' metadata."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def _field(name: str, kind: pa.DataType, description: str, unit: str = "", nullable: bool = True) -> pa.Field:
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


_NODE = pa.struct(
    [
        pa.field("node", pa.string(), nullable=False),
        pa.field("spikes_per_sample", pa.float64()),
        pa.field("effective_macs", pa.float64()),
        pa.field("effective_acs", pa.float64()),
        pa.field("energy_uj", pa.float64()),
        pa.field("effective_reuse_factor", pa.int64()),
        pa.field("weight_type", pa.string()),
        pa.field("result_type", pa.string()),
        pa.field("membrane_type", pa.string()),
    ]
)

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
        _field("simulate_source", pa.string(), "where this group's figures are from"),
    ),
    "energy": (
        _field("energy_uj", pa.float64(), "one inference, all parts", "uJ"),
        _field("mac_energy_uj", pa.float64(), "multiply-accumulates", "uJ"),
        _field("spike_energy_uj", pa.float64(), "spikes", "uJ"),
        _field("sram_energy_uj", pa.float64(), "reads of weights, reads and writes of membranes", "uJ"),
        _field("energy_source", pa.string(), "where this group's figures are from"),
    ),
    "estimate": (
        _field("multipliers", pa.int64(), "weights / reuse factor, summed over layers, first order"),
        _field("cycles_per_step", pa.int64(), "cycles from input to output of one step, first order", "cycles"),
        _field("interval_cycles", pa.int64(), "cycles from one step to the next, first order", "cycles"),
        _field("latency_us", pa.float64(), "time of one inference at the target clock, first order", "us"),
        _field("estimate_source", pa.string(), "where this group's figures are from"),
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
    "nodes": (_field("nodes", pa.list_(_NODE), "figures and types by node"),),
}

SCHEMA = pa.schema(
    [field for group in GROUPS.values() for field in group],
    metadata={"format": "talon-dse metrics", "format_version": "1"},
)


def describe() -> list[dict[str, Any]]:
    """Name, type, unit and description of every column, in order."""
    rows = []
    for field in SCHEMA:
        metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        rows.append(
            {
                "name": field.name,
                "type": str(field.type),
                "unit": metadata.get("unit", ""),
                "description": metadata["description"],
            }
        )
    return rows
