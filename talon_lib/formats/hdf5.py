"""HDF5 files as plain values, from files that may be damaged or hostile.

The HDF5 library finds groups and datasets; their data is read here. Nothing is read before its claimed size is checked,
and nothing but the file itself is opened: soft and external links, external and virtual storage and filters other than
gzip (HDF5 looks for a plug-in to load) are refused, and so are all types but numbers, truth values and text. Text is
read here too because HDF5 2.0.0 crashes or never returns on a damaged type or heap of text.

What the format's parts mean: HDF5 File Format Specification 3.0, sections III.E (global heap) and IV.A.2 (layouts).
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import h5py
import numpy as np
from h5py import h5d, h5l, h5t, h5z

from talon_lib.errors import FormatError, GraphError
from talon_lib.fixed import Array

MAX_BYTES = 2**28
"""The most bytes that all datasets of a file may claim together: 64 million float32 weights."""
PLAUSIBLE = (2**24, 64)
"""And no more than so many bytes, and so many for each byte of the file: constants pack well, bombs 1000 times."""
MAX_NAMES = 10_000
"""The most groups and datasets in a file."""
MAX_DEPTH = 40
"""How deep groups may be nested."""

Tree = dict[str, Any]
"""A group: its groups and datasets by name. A dataset is a str, a number, an array, or None where it is empty."""

_REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])
"""How a dataset holds a text of variable length: where it is in which global heap."""


def read(path: Path, what: str) -> Tree:
    """All that is in the file. Raises FormatError, in one line, where it is no HDF5, damaged, or over a limit.

    what: the kind of file that is wanted, for the message. Arrays of text are arrays of str, dtype object.
    """
    try:
        with path.open("rb") as raw, h5py.File(path, "r") as file:
            return _Reader(path, raw, file).group(file, "", 0)
    except FormatError:
        raise
    except Exception as error:  # h5py raises nearly anything for damaged files
        raise FormatError(f"{path}: not a {what} file, or a damaged one ({one_line(error)})") from None


def one_line(error: Exception) -> str:
    """What an error says, in one line; its kind where it says nothing. Of the system's errors, what their number means.

    h5py's text of those holds the name of a temporary file, and flags.
    """
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return " ".join(str(error).split()) or type(error).__name__


NAME_RULE = "HDF5 takes no '/', nothing unprintable and no lone '.' for a name; rename it"


def is_name(name: str) -> bool:
    """Whether HDF5 and one line of text can hold a name: '/' and '.' stand for groups."""
    return name.isprintable() and "/" not in name and name not in ("", ".")


def plain(value: Any) -> Any:
    """A value of the file in Python's own types; arrays of numbers stay arrays, which keep their type."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    return value.tolist() if isinstance(value, np.ndarray) and value.dtype == object else value


def is_text(value: Any) -> bool:
    """Whether it is a text, or texts in a list."""
    texts = value if isinstance(value, (list, tuple)) and value else [value]
    return all(isinstance(text, str) for text in texts)


def storable(value: Any, place: str) -> Any:
    """A text, a list of them, a number or an array of numbers, as ``read`` gives them back. Raises GraphError."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "OU":
        value = value.tolist()
    if is_text(value):
        if any("\0" in text or not _is_utf8(text) for text in ([value] if isinstance(value, str) else value)):
            raise GraphError(f"'{place}': HDF5 takes no text with NUL or unpaired surrogates")
        return value
    try:
        array = np.asarray(value)
    except ValueError:  # rows of unequal length
        array = np.empty(0, object)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise GraphError(
            f"'{place}' is a {type(value).__name__} that the file cannot hold: only texts, numbers, arrays and groups "
            "of them"
        )
    return array[()]  # a number for no dimensions


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Reader:
    """One reading of one file. raw: the same file, as bytes."""

    def __init__(self, path: Path, raw: BinaryIO, file: h5py.File):
        self.path, self.raw = path, raw
        self.size = path.stat().st_size
        self.names, self.bytes = 0, 0
        self.limit = min(MAX_BYTES, PLAUSIBLE[0] + PLAUSIBLE[1] * self.size)
        self.places: set[int] = set()
        self.heaps: dict[int, dict[int, tuple[int, int]]] = {}
        self.heap_bytes = 0
        if file.userblock_size:
            self.refuse("", "the file starts with a user block, which is not supported")

    def refuse(self, place: str, reason: str) -> NoReturn:
        raise FormatError(f"{self.path}: {f'{place!r} ' if place else ''}{reason}")

    def claim(self, place: str, size: int) -> None:
        """Take ``size`` bytes from what a file may hold."""
        self.bytes += size
        if self.bytes > self.limit:
            self.refuse(place, f"claims {size:,} bytes; a file of {self.size:,} may hold {self.limit:,} in all")

    def group(self, group: Any, place: str, depth: int) -> Tree:
        """The group at ``place`` with all below it."""
        self.names += len(group)
        if self.names > MAX_NAMES or depth > MAX_DEPTH:
            self.refuse(place, f"goes beyond {MAX_NAMES:,} names or {MAX_DEPTH} levels")
        tree: Tree = {}
        for name in group:
            inner = f"{place}/{name}" if place else name
            if not is_name(name):
                self.refuse(inner, "is no printable name")
            link = group.id.links.get_info(name.encode())
            if link.type != h5l.TYPE_HARD:
                self.refuse(inner, "is a link to elsewhere, which is not followed")
            if link.u in self.places:  # few bytes could hold endless groups
                self.refuse(inner, "is in the file under several names, which is not supported")
            self.places.add(link.u)
            item = group[name]
            if isinstance(item, h5py.Group):
                tree[name] = self.group(item, inner, depth + 1)
            elif isinstance(item, h5py.Dataset):
                tree[name] = self.dataset(item, inner)
            else:
                self.refuse(inner, "is neither a group nor a dataset")
        return tree

    def dataset(self, data: Any, place: str) -> Any:
        """The dataset's values."""
        if data.shape is None:
            return None
        kind, stored = data.id.get_type(), data.dtype
        text = h5py.check_string_dtype(stored)
        if text is not None and text.length is None:
            if not any(kind == h5t.py_create(h5py.string_dtype(code), logical=True) for code in ("utf-8", "ascii")):
                self.refuse(place, "is text of a damaged type")
            return self.texts(self.values(data, _REFERENCE, place), place)
        number = stored.kind in "biuf" and stored.itemsize <= 8 and h5py.check_enum_dtype(stored) is None
        if not (number or stored.kind == "S") or kind != h5t.py_create(stored, logical=True):
            self.refuse(place, f"is of type {stored}, which is neither a plain number nor text")
        if stored.kind == "b":  # any byte may be in the file
            values = self.values(data, np.dtype(np.int8), place) != 0
        else:
            values = self.values(data, stored, place)
        if stored.kind == "S":
            values = np.array([self.decoded(value, place) for value in values.ravel().tolist()], object).reshape(
                values.shape
            )
        return values[()]  # a scalar for no dimensions

    # --- stored values ---

    def values(self, data: Any, dtype: np.dtype[Any], place: str) -> Array:
        """What is stored, as an array of ``dtype``."""
        plist = data.id.get_create_plist()
        layout = plist.get_layout()
        if layout == h5d.CHUNKED:
            return self.chunked(data, plist, dtype, place)
        size = math.prod(data.shape) * dtype.itemsize
        self.claim(place, size)
        if layout == h5d.COMPACT and dtype != _REFERENCE:
            return np.asarray(data[()])
        if layout != h5d.CONTIGUOUS or plist.get_external_count():
            self.refuse(place, "is stored outside of the file, or in a way that is not supported")
        at = data.id.get_offset()
        if size and at is None:
            self.refuse(place, f"claims shape {data.shape}, but holds no data")
        return np.frombuffer(self.read(at or 0, size, place), dtype).reshape(data.shape)

    def chunked(self, data: Any, plist: Any, dtype: np.dtype[Any], place: str) -> Array:
        """What is stored in chunks, compressed or not."""
        filters = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
        known = (h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE)
        if filters not in ([], [known[0]], [known[1]], [*known]):
            self.refuse(place, "is compressed by other means than gzip, which is not supported")
        shape, chunk = data.shape, data.chunks
        places = math.prod(-(-n // c) for n, c in zip(shape, chunk, strict=True))
        size = math.prod(chunk) * dtype.itemsize
        self.claim(place, max(places, 1) * size)
        found: list[Any] = []
        data.id.chunk_iter(found.append)
        if len({info.chunk_offset for info in found}) != places or len(found) != places:
            self.refuse(place, f"claims shape {shape}, but {len(found)} of its {places} chunks are there")
        result = np.zeros(shape, dtype)
        for info in found:
            if info.filter_mask or any(at >= n for at, n in zip(info.chunk_offset, shape, strict=True)):
                self.refuse(place, "has a damaged chunk")
            stored = self.read(info.byte_offset, info.size, place)
            if h5z.FILTER_DEFLATE in filters:
                stored = bytearray(zlib.decompressobj().decompress(stored, size + 1))
            if len(stored) != size:  # HDF5 would unpack all that a chunk unpacks to
                self.refuse(place, f"has a chunk of other than the {size:,} bytes that it claims")
            if h5z.FILTER_SHUFFLE in filters:
                stored = bytearray(np.frombuffer(stored, np.uint8).reshape(dtype.itemsize, -1).T.tobytes())
            values = np.frombuffer(stored, dtype).reshape(chunk)
            inside = tuple(slice(at, at + c) for at, c in zip(info.chunk_offset, chunk, strict=True))
            target = result[inside]
            target[...] = values[tuple(slice(n) for n in target.shape)]
        return result

    def read(self, at: int, size: int, place: str) -> bytearray:
        """``size`` bytes of the file from ``at``."""
        if not 0 <= at <= at + size <= self.size:
            self.refuse(place, f"lies beyond the end of the file, which has {self.size:,} bytes; it was cut")
        found = bytearray(size)
        self.raw.seek(at)
        self.raw.readinto(found)  # type: ignore[attr-defined]
        return found

    # --- text ---

    def texts(self, references: Array, place: str) -> Any:
        """The text, or array of texts, that ``references`` point to."""
        found = []
        for length, heap, index in references.ravel().tolist():
            if length == 0:
                found.append("")
                continue
            at, size = self.heap(heap, place).get(index, (0, 0))
            if length > size:
                self.refuse(place, "is text that is not where it should be")
            self.claim(place, length)
            found.append(self.decoded(bytes(self.read(at, length, place)), place))
        return np.array(found, object).reshape(references.shape)[()]

    def decoded(self, text: bytes, place: str) -> str:
        try:
            return text.decode()
        except UnicodeDecodeError:
            self.refuse(place, "is text that is not UTF-8")

    def heap(self, at: int, place: str) -> dict[int, tuple[int, int]]:
        """Where the objects of the global heap at ``at`` are, and their sizes, by index."""
        if at in self.heaps:
            return self.heaps[at]
        signature, version, size = struct.unpack("<4sB3xQ", self.read(at, 16, place))
        self.heap_bytes += size  # heaps do not overlap: all of them are no larger than the file
        if signature != b"GCOL" or version != 1 or not 16 <= size <= at + size <= self.size >= self.heap_bytes:
            self.refuse(place, "points to text where there is none")
        content = self.read(at, size, place)
        objects: dict[int, tuple[int, int]] = {}
        here = 16
        while here + 16 <= size:
            index, length = struct.unpack_from("<H6xQ", content, here)
            if index == 0:  # the rest is free
                break
            if here + 16 + length > size or index in objects:
                self.refuse(place, "points to text in a damaged heap")
            objects[index] = (at + here + 16, length)
            here += 16 + -(-length // 8) * 8
        self.heaps[at] = objects
        return objects
