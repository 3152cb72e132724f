"""The table of a sweep as Parquet: parts, and all of them as one file, or as a folder where they are many rows.

A small table is the file ``metrics.parquet``. A large one is a folder of that name with files of at most
``ROWS_IN_ONE_FILE`` rows, ``network=NAME/part-NNNNN.parquet``: partitioned by network in Hive's way, which pandas,
polars and DuckDB know; the column network is in the names of folders alone. The numbers count through the whole table
and so keep its order. Whatever reads here streams row groups, takes both forms, and of a table in memory does the same.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from talon_lib.errors import ConfigError, FormatError
from talon_lib.files import beside, whole
from talon_lib.sweep import open_rtl
from talon_lib.sweep.schema import SCHEMA

ROWS_IN_ONE_FILE = 50_000
"""A table of more rows is a folder, and each of its files holds at most so many."""

_ROW_GROUP = 10_000  # about 25 MB in memory: what reading and merging hold at once
_PARTITION = "network"
_IN_FOLDER = SCHEMA.remove(SCHEMA.get_field_index(_PARTITION))
_ROWS = b"rows"  # the rows of the whole table, in each file of a folder: a lost file is seen

STATUSES = ("ok", "unsupported", "timeout", "failed")
"""How a point may end, from good to bad."""


def write_part(rows: Iterable[Mapping[str, Any]] | pa.Table, path: Path) -> None:
    """Write rows (dicts by column, what is left out is null; or a table of SCHEMA) as one file, whole or not at all."""
    table = (rows if isinstance(rows, pa.Table) else _table(rows)).cast(SCHEMA)
    with whole(path) as partial:
        pq.write_table(table.combine_chunks(), partial, compression="zstd", row_group_size=_ROW_GROUP)


def _table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Some rows at a time, for as dicts they are ten times as large."""
    left = iter(rows)
    some = iter(lambda: list(itertools.islice(left, 500)), [])
    return pa.concat_tables([SCHEMA.empty_table(), *(pa.Table.from_pylist(own, schema=SCHEMA) for own in some)])


def merge(parts: Sequence[Path], path: Path, rows: int) -> None:
    """Stream the parts, in their order, into the table at ``path``; ``rows`` is what they hold in all.

    The bytes depend on the rows alone, not on how they are spread over parts. A table that stands at ``path``, of
    either form, stays until the new one is whole. Raises FormatError for a part that is damaged or missing, or where
    the parts hold more or fewer rows.
    """
    with _replacing(path) as partial:
        batches = itertools.chain.from_iterable(iter_batches(part) for part in parts)
        found = _write_folder(batches, partial, rows) if rows > ROWS_IN_ONE_FILE else _write_file(batches, partial)
        if found != rows:
            raise FormatError(
                f"{path}: its parts hold {found} rows and not {rows}; remove them and run the sweep again"
            )


def _write_file(batches: Iterable[pa.RecordBatch], path: Path) -> int:
    count = 0
    with _writer(path, SCHEMA) as writer:
        for group in _regrouped(batches):
            writer.write_table(group)
            count += group.num_rows
    return count


def _write_folder(batches: Iterable[pa.RecordBatch], folder: Path, rows: int) -> int:
    """A file ends where the network changes, which in a sweep is seldom, or where it is full."""
    schema = _IN_FOLDER.with_metadata({**_IN_FOLDER.metadata, _ROWS: str(rows).encode()})
    folder.mkdir()
    count = number = 0
    for network, own in itertools.groupby(_by_network(batches), key=lambda piece: piece[0]):
        into = folder / f"{_PARTITION}={network}"
        into.mkdir(exist_ok=True)
        groups = _regrouped(batch for _, batch in own)
        while (group := next(groups, None)) is not None:
            in_file = itertools.chain([group], itertools.islice(groups, max(ROWS_IN_ONE_FILE // _ROW_GROUP, 1) - 1))
            with _writer(into / f"part-{number:05}.parquet", schema) as writer:
                for group in in_file:
                    writer.write_table(group.drop_columns(_PARTITION).replace_schema_metadata(schema.metadata))
                    count += group.num_rows
            number += 1
    return count


def _by_network(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The batches cut where the network changes."""
    for batch in batches:
        ends = pc.run_end_encode(batch.column(_PARTITION))
        start = 0
        for network, end in zip(ends.values.to_pylist(), ends.run_ends.to_pylist(), strict=True):
            yield network, batch.slice(start, end - start)
            start = end


def _regrouped(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows as contiguous tables of _ROW_GROUP rows, the last of fewer: equal rows are then equal bytes."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while count + batch.num_rows >= _ROW_GROUP:
            taken = batch.slice(0, _ROW_GROUP - count)
            yield pa.Table.from_batches([*held, taken]).combine_chunks()
            batch, held, count = batch.slice(taken.num_rows), [], 0
        if batch.num_rows:
            held.append(batch)
            count += batch.num_rows
    if held:
        yield pa.Table.from_batches(held).combine_chunks()


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd")


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary path for a file or a folder, which takes the place of whatever is at ``path`` at the end.

    A file takes the place of a file at once. A folder cannot: a kill in between leaves none, and never half of one.
    """
    partial = beside(path)
    old = partial.with_name(f"{partial.name}.old")
    for left in (partial, old):  # by a process that was killed, and had our number
        remove(left)
    try:
        yield partial
        if partial.is_dir() or path.is_dir():
            with contextlib.suppress(FileNotFoundError):
                path.rename(old)
        partial.replace(path)
    except OSError as error:
        error.filename = str(path)  # where a disk is full, it would name none
        raise
    finally:
        for left in (partial, old):
            remove(left)


def read(path: Path) -> pa.Table:
    """The whole table, of schema SCHEMA, in the order of the sweep. Raises FormatError where it is none."""
    return read_columns(path, SCHEMA.names).cast(SCHEMA)


def read_columns(path: Path | pa.Table, columns: Sequence[str]) -> pa.Table:
    """Some columns of the whole table. Raises FormatError."""
    batches = list(iter_batches(path, columns))
    return pa.Table.from_batches(batches) if batches else SCHEMA.empty_table().select(columns)


def iter_batches(path: Path | pa.Table, columns: Sequence[str] = SCHEMA.names) -> Iterator[pa.RecordBatch]:
    """The rows of some columns, a batch of at most _ROW_GROUP after the other. Raises FormatError."""
    if isinstance(path, pa.Table):
        yield from path.select(columns).to_batches()
        return
    files = _open(path)
    with contextlib.ExitStack() as stack, _errors(path):
        for file, _ in files:
            stack.enter_context(file)
        for file, network in files:
            inside = [name for name in columns if name != _PARTITION or network is None]
            # without a column, batches would have no rows
            for batch in file.iter_batches(batch_size=_ROW_GROUP, columns=inside or ["point_id"]):
                yield _restored(batch, columns, network)


def _restored(batch: pa.RecordBatch, columns: Sequence[str], network: str | None) -> pa.RecordBatch:
    if network is not None and _PARTITION in columns:
        batch = batch.append_column(SCHEMA.field(_PARTITION), pa.array([network] * batch.num_rows))
    return batch.select(columns)


def is_whole(path: Path) -> bool:
    """Whether there is a table of this version in which no file is missing or cut short, judged by the footers."""
    try:
        for file, _ in _open(path):
            file.close()
    except FormatError:
        return False
    return True


def remove(path: Path) -> None:
    """Remove a table of either form."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _open(path: Path) -> list[tuple[pq.ParquetFile, str | None]]:
    """The files of a table in order, each with its network where the folder has it. Raises FormatError.

    All are open before the first is read: a table that takes the place of this one does not mix with it.
    """
    with _errors(path), contextlib.ExitStack() as stack:
        inode, partitioned = path.stat().st_ino, path.is_dir()
        names = sorted(path.glob(f"{_PARTITION}=*/part-*.parquet"), key=_number) if partitioned else [path]
        files = [stack.enter_context(pq.ParquetFile(name)) for name in names]
        if not all(file.schema_arrow.equals(_IN_FOLDER if partitioned else SCHEMA) for file in files):
            raise FormatError(f"{path}: written by another version of talon-dse; remove it and run the sweep again")
        if partitioned:
            expected = {file.schema_arrow.metadata.get(_ROWS) for file in files}
            found = sum(file.metadata.num_rows for file in files)
            if expected != {str(found).encode()} or path.stat().st_ino != inode:
                raise FormatError(f"{path}: files of it are missing; remove it and run talon-dse collect")
        stack.pop_all()
    networks = [name.parent.name.partition("=")[2] if partitioned else None for name in names]
    return list(zip(files, networks, strict=True))


def _number(path: Path) -> tuple[int, str]:
    digits = path.stem.removeprefix("part-")
    return int(digits) if digits.isdecimal() else -1, str(path)


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    """One line for whatever a file that is no table makes of itself."""
    try:
        yield
    except FileNotFoundError:
        raise FormatError(f"{path}: there is no such file; talon-dse collect writes it") from None
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror or 'not a Parquet file'}; talon-dse collect writes it") from None
    except pa.ArrowException:
        raise FormatError(f"{path}: not a Parquet file; remove it and run talon-dse collect") from None


def summary(path: Path | pa.Table) -> str:
    """How many points there are, how they ended, and how many do not fit their part by the estimates, in one line."""
    statuses = Counter[str]()
    too_large = 0
    for batch in iter_batches(path, ["status", "fits"]):
        statuses.update({own["values"]: own["counts"] for own in batch.column("status").value_counts().to_pylist()})
        too_large += batch.column("fits").false_count
    if not statuses:
        raise ConfigError("the table has no points")
    counted = ", ".join(f"{statuses[status]} {status}" for status in STATUSES if statuses[status])
    verb = "does" if too_large == 1 else "do"
    return f"{statuses.total()} points: {counted}" + (f"; {too_large} {verb} not fit their part" if too_large else "")


def bad(path: Path | pa.Table) -> int:
    """How many points failed or took too long; what hls4ml cannot hold is no failure."""
    statuses = (batch.column("status").to_pylist() for batch in iter_batches(path, ["status"]))
    return sum(own.count("failed") + own.count("timeout") for own in statuses)


def failures(path: Path | pa.Table) -> dict[str, int]:
    """Why points are not ok: a line of status, network, precision and reason, and how many points have it."""
    found = Counter[str]()
    for batch in iter_batches(path, ["status", "network", "precision", "reason"]):
        bad = batch.filter(pc.not_equal(batch.column("status"), "ok"))
        found.update("{status}: {network} {precision}: {reason}".format(**row) for row in bad.to_pylist())
    return dict(found)


def missing_tools(path: Path | pa.Table) -> list[str]:
    """What the tools that are not installed would add, and how to get them; a line for each."""
    found: dict[str, None] = {}
    columns = ["open_rtl_missing", "vitis_status", "vitis_reason"]
    for batch in iter_batches(path, columns):
        distinct = pa.Table.from_batches([batch]).group_by(columns, use_threads=False).aggregate([])
        for row in distinct.to_pylist():
            found |= dict.fromkeys((row["open_rtl_missing"] or "").split(open_rtl.AND))
            if row["vitis_status"] == "missing":
                found[row["vitis_reason"]] = None
    found.pop("", None)
    return list(found)
