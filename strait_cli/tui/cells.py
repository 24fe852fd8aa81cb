"""How a cell of a table looks, and where it stands among others when the table is sorted."""

from __future__ import annotations

from typing import Any

from rich.style import Style as RichStyle

from strait_cli.table import Column, cut, width
from strait_cli.tui import look

Rank = tuple[int, float, str]


def padded(text: str, room: int, column: Column) -> str:
    """The text in exactly so many cells, numbers at the right."""
    text = cut(text, room)
    blanks = " " * (room - width(text))
    return blanks + text if column.kind in {"number", "seconds"} else text + blanks


def ink(column: Column, text: str) -> RichStyle:
    """The colour of a cell."""
    match column.kind:
        case "status":
            return RichStyle(color=look.color_of(text))
        case "time" | "seconds" | "number":
            return RichStyle(color=look.GREY)
    if column.field == "id" or column.field.endswith("_id"):
        return RichStyle(color=look.DIM)
    return RichStyle(color=look.RED if column.field == "error" and text != "-" else look.FOREGROUND)


def rank_of(value: Any) -> Rank:
    """Values of any kind in one order: none, numbers, texts."""
    if value is None:
        return 0, 0.0, ""
    if isinstance(value, bool | int | float):
        return 1, float(value), ""
    return 2, 0.0, str(value).lower()
