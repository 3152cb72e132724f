"""What runs which primitive: the table that ``talon-dse info --primitives`` prints and docs/primitives.md holds."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from talon_lib.ir.node import Primitive, Support, primitives

_RUNS = Support()

COLUMNS = ("float", "fixed", "io_parallel", "io_stream", "open RTL")


def support(kind: type[Primitive]) -> dict[str, Support]:
    """By column of the table; simulation takes every primitive, for the contract asks for its step."""
    return dict(zip(COLUMNS, (_RUNS, _RUNS, kind.io_parallel, kind.io_stream, kind.open_rtl), strict=True))


def _by_name() -> list[tuple[str, type[Primitive]]]:
    return sorted(primitives().items(), key=lambda item: item[0].lower())


def table() -> str:
    """A Markdown table of all registered primitives, and the remarks that it refers to by number."""
    remarks: list[str] = []

    def cell(own: Support) -> str:
        word = "yes" if own.runs else "no"
        if not own.remark:
            return word
        if own.remark not in remarks:
            remarks.append(own.remark)
        return f"{word} ({remarks.index(own.remark) + 1})"

    rows = [(name, *map(cell, support(kind).values())) for name, kind in _by_name()]
    notes = "\n".join(f"{number}. {remark}" for number, remark in enumerate(remarks, start=1))
    return f"{_aligned([('primitive', *COLUMNS), *rows])}\n\n{notes}\n"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def document() -> str:
    """The whole of docs/primitives.md: the table, and what each primitive computes."""
    described = "\n\n".join(f"## {name}\n\n{inspect.getdoc(kind)}" for name, kind in _by_name())
    return f"""# Primitives

Made from the registry by `make docs`; a test holds it to the code.

Where each primitive runs: simulated in floating and in fixed point (docs/architecture.md says how), as a layer of
hls4ml with its two io types, and in the project's own RTL. "yes (n)" is taken but for what note n says; "no (n)" is
refused with note n as the reason. hls4ml takes no cycles and no floating point. What it takes is equal to the
simulation bit by bit: `make fuzz` compares random graphs of all these primitives with C simulation.

{table()}
{described}
"""


if __name__ == "__main__":
    print(document(), end="")
