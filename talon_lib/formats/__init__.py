"""Files that hold graphs. The suffix of a path chooses the format."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from talon_lib.errors import FormatError
from talon_lib.ir.graph import Graph

SUFFIXES = (".nir",)


def read(path: str | PathLike[str], **options: Any) -> Graph:
    """Read a graph. Options go to the format's reader (NIR: ``dt``). Raises FormatError with the path."""
    path = Path(path)
    _check_suffix(path)
    if not path.is_file():
        raise FormatError(f"{path}: there is no such file")
    from talon_lib.formats import nir  # imports the package of that name, which `import talon_lib` does without

    return nir.read(path, **options)


def write(path: str | PathLike[str], graph: Graph, **options: Any) -> None:
    """Write a graph. Options go to the format's writer (NIR: ``dt``). Raises FormatError with the path."""
    path = Path(path)
    _check_suffix(path)
    from talon_lib.formats import nir

    nir.write(path, graph, **options)


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise FormatError(
            f"{path}: unknown suffix '{path.suffix}'; graphs are read from and written to {', '.join(SUFFIXES)}"
        )
