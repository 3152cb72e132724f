"""Boards by name, and the part each carries (from the boards' product pages; AMD's and Avnet's part numbers)."""

from __future__ import annotations

import re

from talon_lib.errors import ConfigError

BOARDS = {
    "zcu102": "xczu9eg-ffvb1156-2-e",
    "zcu104": "xczu7ev-ffvc1156-2-e",
    "zcu111": "xczu28dr-ffvg1517-2-e",
    "ultra96": "xczu3eg-sbva484-1-e",
    "pynq_z1": "xc7z020clg400-1",
    "pynq_z2": "xc7z020clg400-1",
}

_PART = re.compile(r"xc[a-z0-9]+(-[a-z0-9]+)*", re.IGNORECASE)


def resolve_part(part: str) -> str:
    """The part of a board, or ``part`` itself where it is one. Raises ConfigError for neither."""
    if not isinstance(part, str):
        raise ConfigError(f"unknown part or board {part!r}; give an AMD part, or one of {', '.join(BOARDS)}")
    board = BOARDS.get(part.lower().replace("-", "_"))
    if board is not None:
        return board
    if not _PART.fullmatch(part):
        raise ConfigError(
            f"unknown part or board {part!r}; give an AMD part like xczu9eg-ffvb1156-2-e, or one of {', '.join(BOARDS)}"
        )
    return part
