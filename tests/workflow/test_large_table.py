"""A sweep of more rows than one file holds: its table is a folder, for Snakemake as for whoever reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from sandbox import REPOSITORY, Sandbox

from talon_lib.sweep import chunks, collect, planfile, table

LARGE: dict[str, Any] = {
    "precisions": ["fp32"],
    "reuse_factors": list(range(1, 41)),
    "energy_presets": sorted(file.stem for file in (REPOSITORY / "talon_lib/cost/presets").glob("*.yaml")),
    "hardware": {"clock_period_ns": [1.0 + number / 2 for number in range(80)]},
    "stages": {"project": False, "csim": False},
}
"""51,200 points of two simulations: rows in floating point are the cheapest there are."""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.parquet"))}


def stamps(sandbox: Sandbox) -> list[int]:
    return [*sandbox.stamps(), *(file.stat().st_mtime_ns for file in sorted(sandbox.results.rglob("*.parquet")))]


def test_a_table_that_is_a_folder_is_made_once_read_as_one_and_made_again_where_a_file_is_damaged(
    sandbox: Sandbox,
) -> None:
    sandbox.configure(**LARGE)
    rows = 2 * 40 * 80 * len(LARGE["energy_presets"])
    assert rows > table.ROWS_IN_ONE_FILE
    done = sandbox.finish("--", "--notemp")  # so that Snakemake keeps the parts
    assert done.stdout.startswith(f"{rows} points: {rows} ok\n")
    plan = planfile.read_plan(sandbox.results / "sweep.json")
    parts = [collect.part_path(sandbox.results, part) for part in chunks.parts(plan)]
    assert sandbox.ran() == {"simulate": 1, "measured": 1, "rows": len(parts), "collect": 1, "report": 1}

    path = sandbox.results / "metrics.parquet"
    made = contents(path)
    assert {name.partition("/")[0] for name in made} == {"network=one", "network=two"}
    expected = pa.concat_tables([pq.read_table(part) for part in parts]).to_pandas()
    found = pd.read_parquet(path)
    assert found.columns[-1] == "network" and set(found) == set(expected)
    as_text = {"network": str}  # of folders, pandas makes categories
    pd.testing.assert_frame_equal(found[expected.columns].astype(as_text), expected.astype(as_text))
    assert pl.read_parquet(path).height == rows  # what Snakemake puts into the folder is no trouble

    before = stamps(sandbox)
    assert sandbox.finish("--", "--notemp").stdout == done.stdout
    assert sandbox.ran() == {}
    assert stamps(sandbox) == before

    victim = sorted(made)[-1]
    (path / victim).write_bytes(made[victim][:-100])
    parts[0].unlink()
    assert sandbox.finish("--cores", "1").stdout == done.stdout
    assert sandbox.ran() == {"rows": 1, "collect": 1, "report": 1}
    assert contents(path) == made
    assert not any((sandbox.results / chunks.PARTS).glob("*"))
