"""Files that hold graphs. The suffix of a path chooses the format.

Files are not trusted: whatever is in them ends in a graph or in one FormatError (``formats.hdf5`` says how).
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from talon_lib.errors import FormatError, TalonError
from talon_lib.ir.graph import Graph

SUFFIXES = (".nir", ".t1c")

_OPTIONS = {".nir": ("dt",), ".t1c": ()}


def read(path: str | PathLike[str], **options: Any) -> Graph:
    """Read a graph. Options go to the format's reader (NIR: ``dt``); None leaves one to it. Raises FormatError."""
    path = Path(path)
    options = {name: value for name, value in options.items() if value is not None}
    form = _format(path, options)
    if not path.is_file():
        raise FormatError(f"{path}: there is no such file")
    try:
        with np.errstate(all="ignore"):  # infinities that values of a file lead to are refused where they are checked
            graph: Graph = form.read(path, **options)
    except TalonError as error:
        raise FormatError(" ".join(str(error).splitlines())) from None  # names in the file may hold anything
    except Exception as error:  # a value of a kind that no node expects
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FormatError(f"{path}: holds a value that does not fit its place ({reason})") from error
    return graph


def write(path: str | PathLike[str], graph: Graph, **options: Any) -> None:
    """Write a graph. Options go to the format's writer (NIR: ``dt``). Raises FormatError with the path."""
    path = Path(path)
    _format(path, options).write(path, graph, **options)


def _format(path: Path, options: dict[str, Any]) -> Any:
    """The module of the path's format. Imported here, for `import talon_lib` does without h5py and nir."""
    if path.suffix not in SUFFIXES:
        raise FormatError(
            f"{path}: unknown suffix '{path.suffix}'; graphs are read from and written to {', '.join(SUFFIXES)}"
        )
    for option in options:
        if option not in _OPTIONS[path.suffix]:
            raise FormatError(f"{path}: a {path.suffix} file has no option '{option}'")
    if path.suffix == ".t1c":
        from talon_lib.formats import t1c

        return t1c
    from talon_lib.formats import nir

    return nir
