"""Arrays from .npz and .npy files that nobody has to trust.

Nothing in a file is executed, and no header is believed: the size that it claims is held against the bytes that are
there before any memory is taken. Plain arrays can claim no more than the file holds; compressed ones may unpack to
``MAX_UNPACKED`` bytes.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np

from talon_lib.errors import FormatError
from talon_lib.fixed import Array

MAX_UNPACKED = 2**29
"""Bytes that the compressed arrays of one file may have together (512 MiB); uncompressed files know no limit."""

_CHUNK = 2**20
_MAX_HEADER = 10_000  # numpy's own limit, which it holds a header against once it has read it
_ZIP, _NPY = b"PK", b"\x93NUMPY"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(path: Path, wanted: Collection[str]) -> tuple[dict[str, Array], list[str]]:
    """The arrays of a file that are ``wanted``, and the names of all that it holds.

    The array of an .npy file is named "". What the file is says its first bytes, not its suffix. Raises FormatError
    with the path; object arrays are refused wherever they stand.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_NPY))
            file.seek(0)
            if start == _NPY:
                return {"": _array("the array", file, os.fstat(file.fileno()).st_size)}, [""]
            if not start.startswith(_ZIP):
                raise ValueError("it starts like neither of them")
            return _members(file, wanted)
    except FileNotFoundError:
        raise FormatError(f"{path}: there is no such file") from None
    except Exception as error:  # numpy, zipfile and the decompressors raise whatever damaged bytes lead them to
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FormatError(f"{path}: not an .npz or .npy file of plain arrays ({reason})") from None


def _members(file: IO[bytes], wanted: Collection[str]) -> tuple[dict[str, Array], list[str]]:
    arrays, names, unpacked = {}, [], 0
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            with archive.open(member) as stream:  # where its name is compared with the one that stands before the data
                name = member.filename.removesuffix(".npy")
                if name == member.filename:
                    continue  # no array
                if name in names:
                    raise ValueError(f"{name} is there twice")
                names.append(name)
                if name not in wanted:
                    _header(name, stream)
                    continue
                if member.compress_type != zipfile.ZIP_STORED:
                    unpacked += member.file_size
                if unpacked > MAX_UNPACKED:
                    raise ValueError(f"its arrays unpack to more than {MAX_UNPACKED:,} bytes; save it uncompressed")
                arrays[name] = _array(name, stream, member.file_size)
    return arrays, names


def _header(name: str, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran's order, and type of the array that ``stream`` begins with."""
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"{name} is written in version {'.'.join(map(str, version))} of the format; save it anew")
    field = stream.read(2 if version == (1, 0) else 4)
    length = int.from_bytes(field, "little")
    if length > _MAX_HEADER:
        raise ValueError(f"{name} claims a header of {length:,} bytes")
    shape, fortran, dtype = _HEADERS[version](io.BytesIO(field + stream.read(length)))
    if dtype.hasobject:
        raise ValueError(f"{name} is an object array; save numbers")
    if any(n < 0 or isinstance(n, bool) for n in shape):
        raise ValueError(f"{name} claims the shape {shape}")
    return shape, fortran, dtype


def _array(name: str, stream: IO[bytes], size: int) -> Array:
    """The array in ``stream``, of which there are ``size`` bytes."""
    shape, fortran, dtype = _header(name, stream)
    claimed, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if claimed != there:
        raise ValueError(f"{name} claims {claimed:,} bytes, {shape} of {dtype}, and {there:,} are there")
    if not dtype.itemsize:
        raise ValueError(f"{name} holds {dtype}, which has no bytes")
    array = np.empty(math.prod(shape), dtype)
    left = array.view(np.uint8).data
    while len(left):
        taken = stream.readinto(left[:_CHUNK])  # type: ignore[attr-defined]  # all that are opened here have it
        if not taken:
            raise ValueError(f"{name} ends {len(left):,} bytes too early")
        left = left[taken:]
    if stream.read(1):  # also where zipfile compares the checksum
        raise ValueError(f"{name} has more bytes than it claims")
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)
