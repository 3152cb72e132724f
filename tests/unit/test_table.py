"""The table as Parquet: parts, one file or a folder, and what other programs read of it."""

import itertools
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from talon_lib.errors import ConfigError, FormatError
from talon_lib.sweep import schema, table
from talon_lib.sweep.schema import SCHEMA, describe

DOCUMENT = Path(__file__).parents[2] / "docs" / "schema.md"
FORMS = ("file", "folder")


def values(field, rows, random):
    """A column with something in every row, or null here and there where the schema allows it."""
    kind = field.type
    if pa.types.is_string(kind):
        column = [f"{field.name} {number}" for number in random.integers(0, 5, rows)]
    elif pa.types.is_boolean(kind):
        column = random.integers(0, 2, rows).astype(bool).tolist()
    elif pa.types.is_integer(kind):
        column = random.integers(0, 1000, rows).tolist()
    elif pa.types.is_floating(kind):
        column = random.random(rows).tolist()
    elif pa.types.is_struct(kind):
        columns = [values(own, rows, random) for own in kind]
        column = [dict(zip((own.name for own in kind), row, strict=True)) for row in zip(*columns, strict=True)]
    else:
        inner = values(pa.field(field.name, kind.value_type, nullable=False), 2 * rows, random)
        column = [inner[2 * row : 2 * row + 2] for row in range(rows)]
    return [None if field.nullable and row % 7 == 3 else value for row, value in enumerate(column)]


def made(networks, seed=0):
    """A table with a row for each of the networks (their names, in order)."""
    random = np.random.default_rng(seed)
    columns = {field.name: values(field, len(networks), random) for field in SCHEMA}
    columns |= {"network": list(networks), "point_id": [f"{row:016x}" for row in range(len(networks))]}
    columns["status"] = [table.STATUSES[row % 4] for row in range(len(networks))]
    return pa.table(columns, schema=SCHEMA)


def split(whole, cuts, folder):
    """The parts of a table that is cut there."""
    ends = sorted({0, *cuts, whole.num_rows})
    paths = []
    for number, (first, last) in enumerate(itertools.pairwise(ends)):
        paths.append(folder / f"{number}.part")
        table.write_part(whole.slice(first, last - first), paths[-1])
    return paths


def contents(path):
    """The bytes of every file, by its name."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {str(file.relative_to(path)): file.read_bytes() for file in files if file.is_file()}


@pytest.fixture
def small(monkeypatch):
    """Files and row groups of a few rows."""
    monkeypatch.setattr(table, "ROWS_IN_ONE_FILE", 6)
    monkeypatch.setattr(table, "_ROW_GROUP", 3)


WHOLE = made(["zeta"] * 9 + ["alpha"] * 2 + ["b.1-x"] * 7)


def write(form, folder, whole=WHOLE):
    """The table in that form (the limits are those of ``small``)."""
    own = whole if form == "folder" else whole.slice(4, 6)
    path = folder / "metrics.parquet"
    parts = folder / "parts"
    parts.mkdir(exist_ok=True)
    table.merge(split(own, [own.num_rows // 2], parts), path, own.num_rows)
    assert path.is_dir() == (form == "folder")
    return path, own


# --- parts, and all of them ------------------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    runs=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=5),
    one=st.sets(st.integers(0, 45)),
    other=st.sets(st.integers(0, 45)),
)
def test_however_a_table_is_split_its_parts_merge_to_it(runs, one, other, small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("merge")
    whole = made([name for name, count in runs for _ in range(count)])
    found = []
    for cuts in (one, other):
        parts = split(whole, {cut for cut in cuts if cut < whole.num_rows}, folder)
        table.merge(parts, folder / "m.parquet", whole.num_rows)
        found.append(contents(folder / "m.parquet"))
    assert (folder / "m.parquet").is_dir() == (whole.num_rows > 6)
    read = table.read(folder / "m.parquet")
    assert read.equals(whole)
    assert read.schema.equals(SCHEMA, check_metadata=True)
    assert table.is_whole(folder / "m.parquet")
    assert found[0] == found[1], "the bytes depend on the rows alone"
    some = ["network", "fits", "nodes"]
    assert table.read_columns(folder / "m.parquet", some).equals(whole.select(some))
    assert table.read_columns(folder / "m.parquet", ["network"]).equals(whole.select(["network"]))


def test_a_part_is_made_of_rows(tmp_path):
    rows = WHOLE.to_pylist()
    table.write_part(iter(rows), tmp_path / "p.parquet")
    table.write_part(WHOLE, tmp_path / "q.parquet")
    assert table.read(tmp_path / "p.parquet").equals(WHOLE)
    assert contents(tmp_path / "p.parquet") == contents(tmp_path / "q.parquet")
    table.write_part([], tmp_path / "p.parquet")
    assert table.read(tmp_path / "p.parquet").equals(SCHEMA.empty_table())
    axes = {key: value for key, value in rows[0].items() if not SCHEMA.field(key).nullable}
    table.write_part([axes], tmp_path / "p.parquet")
    assert table.read(tmp_path / "p.parquet").column("nodes").to_pylist() == [None]


def test_a_folder_has_a_folder_for_each_network_and_files_of_no_more_rows_than_one_file(small, tmp_path):
    path, _ = write("folder", tmp_path)
    rows = {str(file.relative_to(path)): pq.read_metadata(file).num_rows for file in sorted(path.rglob("*.parquet"))}
    assert rows == {
        "network=alpha/part-00002.parquet": 2,
        "network=b.1-x/part-00003.parquet": 6,
        "network=b.1-x/part-00004.parquet": 1,
        "network=zeta/part-00000.parquet": 6,
        "network=zeta/part-00001.parquet": 3,
    }


@pytest.mark.parametrize("old", FORMS)
@pytest.mark.parametrize("new", FORMS)
def test_a_table_takes_the_place_of_another(old, new, small, tmp_path):
    write(old, tmp_path, made(["other"] * 20, seed=1))
    path, whole = write(new, tmp_path)
    assert table.read(path).equals(whole)
    assert sorted(own.name for own in tmp_path.iterdir()) == ["metrics.parquet", "parts"]


@pytest.mark.parametrize("form", FORMS)
def test_parts_that_are_damaged_missing_or_too_many_leave_the_table_that_was_there(form, small, tmp_path):
    path, whole = write(form, tmp_path)
    parts = sorted((tmp_path / "parts").iterdir())
    with pytest.raises(FormatError, match=rf"m.*: its parts hold {whole.num_rows} rows and not 50; remove them"):
        table.merge(parts, path, 50)
    with pytest.raises(FormatError, match=r"none\.part: there is no such file"):
        table.merge([*parts, tmp_path / "none.part"], path, 50)
    parts[1].write_bytes(parts[1].read_bytes()[:-9])
    with pytest.raises(FormatError, match=r"1\.part: not a Parquet file"):
        table.merge(parts, path, whole.num_rows)
    assert table.read(path).equals(whole)
    assert sorted(own.name for own in tmp_path.iterdir()) == ["metrics.parquet", "parts"]


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_leaves_the_table_that_was_there(form, small, tmp_path, monkeypatch):
    path, whole = write(form, tmp_path)
    written = iter([None])

    def full(self, group):
        if next(written, group) is not None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        table.merge(sorted((tmp_path / "parts").iterdir()), path, whole.num_rows)
    assert table.read(path).equals(whole)
    assert sorted(own.name for own in tmp_path.iterdir()) == ["metrics.parquet", "parts"]


KILLED = """
import os, signal, sys
from pathlib import Path
import pyarrow.parquet as pq
from talon_lib.sweep import table
table.ROWS_IN_ONE_FILE, table._ROW_GROUP = 6, 3
path, rows, moment = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
if moment == "while it is written":
    pq.ParquetWriter.write_table = die
else:
    Path.replace = die
table.merge(sorted((path.parent / "parts").iterdir()), path, rows)
"""


@pytest.mark.parametrize("moment", ["while it is written", "when it takes its place"])
@pytest.mark.parametrize("form", FORMS)
def test_a_kill_leaves_the_old_table_or_none(form, moment, small, tmp_path):
    path, whole = write(form, tmp_path)
    command = [sys.executable, "-c", KILLED, path, str(whole.num_rows), moment]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    if (form, moment) == ("folder", "when it takes its place"):
        assert not path.exists()
    else:
        assert table.read(path).equals(whole)
    table.merge(sorted((tmp_path / "parts").iterdir()), path, whole.num_rows)
    assert table.read(path).equals(whole)


PEAK = """
import sys
from pathlib import Path
import pyarrow as pa
from talon_lib.sweep import table
table.ROWS_IN_ONE_FILE, table._ROW_GROUP = 5000, 1000
parts = sorted(Path(sys.argv[1]).iterdir()) * int(sys.argv[2])
path = Path(sys.argv[1] + ".parquet")
table.merge(parts, path, 500 * len(parts))
merged = pa.default_memory_pool().max_memory()
print(merged)
table.summary(path), table.failures(path), table.missing_tools(path)
assert pa.default_memory_pool().max_memory() == merged
print(table.read(path).nbytes)
"""


def test_merging_and_summing_up_take_no_more_memory_for_more_rows(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    split(made(["a"] * 500), [], folder)

    def peak(count):
        done = subprocess.run(
            [sys.executable, "-c", PEAK, folder, str(count)], capture_output=True, text=True, check=True
        )
        return [int(line) for line in done.stdout.split()]

    (few, _), (many, size) = peak(15), peak(90)
    assert many < 1.2 * few, (few, many)
    assert many < size / 5, (many, size)


# --- what is no table ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99, 1])
@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_cut_short_is_found(form, share, small, tmp_path):
    path, _ = write(form, tmp_path)
    assert table.is_whole(path)
    file = sorted(path.rglob("*.parquet"))[1] if form == "folder" else path
    content = file.read_bytes()
    file.write_bytes(content[: int(share * (len(content) - 1))])
    assert not table.is_whole(path)
    for read in (table.read, table.summary, table.failures, table.missing_tools):
        with pytest.raises(FormatError, match=r"metrics\.parquet: not a Parquet file; remove it and run talon-dse"):
            read(path)


def test_bytes_that_were_changed_are_found_when_they_are_read(small, tmp_path):
    path, _ = write("file", tmp_path)
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"metrics\.parquet: not a Parquet file"):
        table.read(path)


def test_a_folder_in_which_files_are_missing_or_strange_is_found(small, tmp_path):
    path, _ = write("folder", tmp_path)
    lost = path / "network=alpha" / "part-00002.parquet"
    kept = lost.read_bytes()
    lost.unlink()
    assert not table.is_whole(path)
    with pytest.raises(FormatError, match=r"metrics\.parquet: files of it are missing; remove it"):
        table.read(path)
    pq.write_table(pa.table({"accuracy": [1.0, 2.0]}), lost)
    with pytest.raises(FormatError, match=r"metrics\.parquet: written by another version of talon-dse"):
        table.read(path)
    lost.write_bytes(kept)
    assert table.is_whole(path)
    (path.parent / "empty").mkdir()
    assert not table.is_whole(path.parent / "empty")
    assert not table.is_whole(path.parent / "none")


# --- in a few words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [*FORMS, "memory"])
def test_the_summary_and_the_failures_are_counted_over_all_files(form, small, tmp_path):
    rows = WHOLE.slice(4, 6).to_pylist() if form == "file" else WHOLE.to_pylist()
    wanted = {"ok": 0, "unsupported": 0, "timeout": 0, "failed": 0}
    reasons = {}
    for own in rows:
        own["reason"] = None if own["status"] == "ok" else "simulate: out of memory"
        wanted[own["status"]] += 1
        if own["status"] != "ok":
            line = f"{own['status']}: {own['network']} {own['precision']}: simulate: out of memory"
            reasons[line] = reasons.get(line, 0) + 1
    whole = pa.Table.from_pylist(rows, schema=SCHEMA)
    path = whole if form == "memory" else write(form, tmp_path, whole if form == "folder" else made(["a"] * 4))[0]
    if form == "file":
        table.write_part(whole, path)
    counted = ", ".join(f"{count} {status}" for status, count in wanted.items())
    too_large = [own["fits"] for own in rows].count(False)
    assert too_large > 1
    assert table.summary(path) == f"{len(rows)} points: {counted}; {too_large} do not fit their part"
    assert table.failures(path) == reasons


@pytest.mark.parametrize(
    ("fits", "text"), [([True, None], "2 points: 2 ok"), ([False, True], "2 points: 2 ok; 1 does not fit their part")]
)
def test_only_points_that_are_known_not_to_fit_are_said_not_to(fits, text):
    rows = made(["a", "a"]).to_pylist()
    rows = [own | {"status": "ok", "fits": fit} for own, fit in zip(rows, fits, strict=True)]
    assert table.summary(pa.Table.from_pylist(rows, schema=SCHEMA)) == text


def test_a_table_without_points_has_no_summary(tmp_path):
    table.write_part([], tmp_path / "m.parquet")
    with pytest.raises(ConfigError, match="the table has no points"):
        table.summary(tmp_path / "m.parquet")


# --- other programs --------------------------------------------------------------------------------------------------


def best(whole, limit):
    """Best accuracy by network under a limit of energy, in plain Python."""
    found = {}
    for own in whole.select(["network", "energy_uj", "accuracy"]).to_pylist():
        if own["energy_uj"] is not None and own["energy_uj"] < limit and own["accuracy"] is not None:
            found[own["network"]] = max(own["accuracy"], found.get(own["network"], 0))
    return found


def energies(whole):
    """The sum of the nodes' energies by network and node, in plain Python."""
    found = {}
    for own in whole.select(["network", "nodes"]).to_pylist():
        for node in own["nodes"] or ():
            key = own["network"], node["node"]
            found[key] = found.get(key, 0) + (node["energy_uj"] or 0)
    return found


def close(found, expected):
    return found.keys() == expected.keys() and all(found[key] == pytest.approx(expected[key]) for key in expected)


@pytest.mark.parametrize("form", FORMS)
def test_pandas_reads_and_queries(form, small, tmp_path):
    path, whole = write(form, tmp_path)
    frame = pd.read_parquet(path)
    assert len(frame) == whole.num_rows
    assert set(frame.columns) == set(SCHEMA.names)
    found = frame[frame["energy_uj"] < 0.8].groupby("network", observed=True)["accuracy"].max().dropna().to_dict()
    assert found == best(whole, 0.8)
    nodes = frame[["network", "nodes"]].dropna().explode("nodes")
    nodes = nodes.assign(node=[own["node"] for own in nodes["nodes"]], uj=[own["energy_uj"] for own in nodes["nodes"]])
    assert close(nodes.groupby(["network", "node"], observed=True)["uj"].sum().to_dict(), energies(whole))


@pytest.mark.parametrize("form", FORMS)
def test_polars_reads_and_queries(form, small, tmp_path):
    path, whole = write(form, tmp_path)
    frame = pl.read_parquet(path)
    assert frame.height == whole.num_rows
    assert set(frame.columns) == set(SCHEMA.names)
    query = pl.scan_parquet(path).filter((pl.col("energy_uj") < 0.8) & pl.col("accuracy").is_not_null())
    found = query.group_by("network").agg(pl.col("accuracy").max()).collect()
    assert dict(found.iter_rows()) == best(whole, 0.8)
    nodes = pl.scan_parquet(path).select("network", "nodes").drop_nulls().explode("nodes").unnest("nodes")
    sums = nodes.group_by("network", "node").agg(pl.col("energy_uj").sum()).collect()
    assert close({(network, node): uj for network, node, uj in sums.iter_rows()}, energies(whole))
    file = next(path.rglob("*.parquet")) if form == "folder" else path
    assert json.loads(pl.read_parquet_metadata(file)["columns"])["latency_us"]["unit"] == "us"


@pytest.mark.parametrize("form", FORMS)
def test_duckdb_reads_and_queries(form, small, tmp_path):
    path, whole = write(form, tmp_path)
    for name in [path, path / "*" / "*.parquet"][: 2 if form == "folder" else 1]:
        every = f"read_parquet('{name}')"
        assert duckdb.sql(f"SELECT count(*) FROM {every}").fetchall() == [(whole.num_rows,)]
        sql = (
            f"SELECT network, max(accuracy) AS a FROM {every} WHERE energy_uj < 0.8 GROUP BY network HAVING a NOT NULL"
        )
        assert dict(duckdb.sql(sql).fetchall()) == best(whole, 0.8)
        own = f"(SELECT network, unnest(nodes) AS n FROM {every})"
        sql = f"SELECT network, n.node, sum(n.energy_uj) FROM {own} GROUP BY ALL"
        found = {(network, node): uj or 0 for network, node, uj in duckdb.sql(sql).fetchall()}
        assert close(found, energies(whole))
        sql = f"SELECT decode(value) FROM parquet_kv_metadata('{name}') WHERE decode(key) = 'columns'"
        assert json.loads(duckdb.sql(sql).fetchall()[0][0])["accuracy"]["description"].startswith("share of samples")


# --- what the columns mean -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_the_columns_are_described_in_the_file(form, small, tmp_path):
    path, _ = write(form, tmp_path)
    file = next(path.rglob("*.parquet")) if form == "folder" else path
    found = pq.read_schema(file)
    assert found.field("energy_uj").metadata == {b"description": b"one inference, all parts", b"unit": b"uJ"}
    node = found.field("nodes").type.value_type
    assert all(own.metadata[b"description"] for own in node)
    told = json.loads(found.metadata[b"columns"])
    assert {own["name"] for own in describe()} | {f"nodes.{own.name}" for own in node} <= set(told)
    assert told["nodes.event_parts_uj.state"]["unit"] == "uJ"


def test_a_field_inside_nodes_with_a_unit_in_its_name_has_it():
    units = {"_uj": "uJ", "_us": "us", "_ns": "ns", "_bytes": "bytes"}
    inside = {name: own for name, own in schema._COLUMNS.items() if name.count(".") == 1}
    assert len(inside) > 10
    for name, own in inside.items():
        for suffix, unit in units.items():
            assert name.endswith(suffix) == (own.get("unit") == unit), name


def test_the_document_is_in_step():
    assert DOCUMENT.read_text() == schema.document(), "run: make docs"


@pytest.mark.parametrize("form", FORMS)
def test_the_examples_of_the_document_run(form, small, tmp_path, monkeypatch):
    _, whole = write(form, tmp_path)
    expected = best(whole, 0.5)
    assert expected
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(python|sql)\n(.*?)```", DOCUMENT.read_text(), flags=re.S)
    assert [language for language, _ in blocks] == ["python", "python", "sql", "python", "sql"]
    pandas, polars, queries, meaning, columns = (text for _, text in blocks)

    def last(text):
        *before, value = text.strip().splitlines()
        names = {}
        exec("\n".join(before), names)
        return eval(value, names), names

    assert last(pandas)[0].dropna().to_dict() == expected
    nodes, _ = last(polars.replace("nodes = ", ""))
    assert {"network", "precision", "node", "weight_type"} <= set(nodes.columns)
    first, second = [query for query in queries.split(";") if query.strip()]
    assert {network: found for network, found in duckdb.sql(first).fetchall() if found is not None} == expected
    assert {"network", "precision", "node", "weight_type"} <= set(duckdb.sql(second).columns)
    told = json.loads(duckdb.sql(columns).fetchall()[0][0])
    assert told["energy_uj"] == {"unit": "uJ", "description": "one inference, all parts"}
    if form == "folder":  # as the document says: of any file in it
        file = next(Path("metrics.parquet").rglob("*.parquet"))
        meaning = meaning.replace("metrics.parquet", str(file))
    assert last(meaning)[0] == told["energy_uj"]


def test_a_link_to_a_table_is_removed_and_the_table_stays(tmp_path: Path) -> None:
    (tmp_path / "folder" / "network=a").mkdir(parents=True)
    (tmp_path / "table").symlink_to("folder")
    table.remove(tmp_path / "table")
    assert not (tmp_path / "table").is_symlink() and (tmp_path / "folder" / "network=a").is_dir()
