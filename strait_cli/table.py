"""Rows and columns as text: what a cell shows, how wide it is, how a table fits the terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from strait_cli import exact, times
from strait_cli.selection import at_path

# C0, DEL, C1, the line separators and the marks that reorder text: what could drive or deceive a terminal.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_BLANKS: Final = re.compile("[\t\n\r]+")
REPLACEMENT: Final = "\ufffd"
_GAP: Final = 2
_NARROWEST: Final = 8

_COLORS: Final[Mapping[str, str]] = {
    "completed": "32",
    "executing": "36",
    "dequeued": "36",
    "queued": "33",
    "delayed": "33",
    "waiting": "35",
    "failed": "31",
    "timed_out": "31",
    "crashed": "31",
    "system_failed": "31",
    "dead_letter": "31",
    "canceled": "2",
    "expired": "2",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the object's field, its heading, and how the value is shown.

    `kind`: text, time, status, number or seconds. `wide` columns appear with `-o wide` only. `shrinks` may be cut to
    fit a terminal, `spare` ones left out where even that is not enough. `of` computes the value from the whole object.
    """

    field: str
    heading: str = ""
    kind: str = "text"
    wide: bool = False
    shrinks: bool = False
    spare: bool = False
    of: Callable[[dict[str, Any]], Any] | None = None

    def value(self, item: dict[str, Any]) -> Any:
        """The raw value for one object."""
        return self.of(item) if self.of else at_path(item, self.field)

    @property
    def title(self) -> str:
        """The heading, by default the field's name."""
        return (self.heading or self.field).upper().replace("_", " ")


@dataclass(frozen=True, slots=True)
class Style:
    """How cells are dressed: the time style, whether colours are on, the clock, the terminal's width (None = pipe)."""

    time_format: str
    color: bool
    now: datetime
    width: int | None


def safe(text: str) -> str:
    """One line that cannot drive a terminal: blanks become spaces, control characters U+FFFD."""
    return _UNSAFE.sub(REPLACEMENT, _BLANKS.sub(" ", text))


def cell(value: Any, column: Column, style: Style) -> str:
    """A value as the text of its cell, without colour."""
    return _cell(value, column, style) or ("-" if style.width else "")


def _cell(value: Any, column: Column, style: Style) -> str:
    match value:
        case None | bool():
            return {None: "", True: "yes", False: "no"}[value]
        case str() if column.kind == "time":
            return safe(times.shown(value, style.time_format, style.now))
        case str():
            return safe(value)
        case int() | float() if column.kind == "seconds" and style.width:
            return times.length(value)
        case _:
            return safe(_words(value))


def _words(value: Any) -> str:
    """Names, or names with their values, as words; anything else as JSON."""
    match value:
        case list() if all(isinstance(one, str) for one in value):
            return ", ".join(value)
        case dict() if all(isinstance(one, str) for one in value.values()):
            return " ".join(f"{key}={one}" for key, one in value.items())
        case _:
            return exact.dumps(value)


def table(
    items: Sequence[dict[str, Any]], columns: Sequence[Column], style: Style, *, headers: bool, whole: bool = True
) -> list[str]:
    """The lines of a table: aligned on a terminal, tab-separated in a pipe.

    Unless it has to be `whole`, what does not fit the terminal is left out: columns without a value, then spare ones.
    """
    rows = [[cell(column.value(item), column, style) for column in columns] for item in items]
    if style.width is not None and not whole:
        kept = _kept(rows, columns, style.width)
        columns, rows = [columns[at] for at in kept], [[row[at] for at in kept] for row in rows]
    titles = [column.title for column in columns]
    if style.width is None:
        lines = ["\t".join(titles)] if headers else []
        return lines + ["\t".join(paint(text, c, style) for text, c in zip(row, columns, strict=True)) for row in rows]
    shown = [titles, *rows] if headers else rows
    widths = [max(map(width, texts)) for texts in zip(*shown, strict=True)] if shown else []
    widths = fitted(widths, columns, style.width)
    lines = []
    for at, row in enumerate(shown):
        cells = [_padded(text, w, c) for text, w, c in zip(row, widths, columns, strict=True)]
        if headers and at == 0:
            lines.append(dressed((" " * _GAP).join(cells).rstrip(), "1", style.color))
        else:
            painted = [paint(text, column, style) for text, column in zip(cells, columns, strict=True)]
            lines.append((" " * _GAP).join(painted).rstrip())
    return lines


def _kept(rows: Sequence[Sequence[str]], columns: Sequence[Column], available: int) -> list[int]:
    """Which columns stay on a terminal so narrow; the rest go from the right, those that say nothing first."""
    least = [max(width(text) for text in (column.title, *texts)) for column, *texts in zip(columns, *rows, strict=True)]
    least = [min(w, _NARROWEST) if column.shrinks else w for w, column in zip(least, columns, strict=True)]
    silent = [at for at, *texts in zip(range(len(columns)), *rows, strict=True) if at and set(texts) <= {"-"}]
    spare = [at for at, column in enumerate(columns) if column.spare and at not in silent]
    kept = list(range(len(columns)))
    for at in (*reversed(silent), *reversed(spare)):
        if sum(least[one] for one in kept) + _GAP * (len(kept) - 1) <= available:
            break
        kept.remove(at)
    return kept


def details(pairs: Sequence[tuple[str, str]], style: Style) -> list[str]:
    """The lines of one object: names and values, aligned on a terminal, tab-separated in a pipe."""
    if style.width is None:
        return [f"{name}\t{text}" for name, text in pairs]
    left = max((len(name) for name, _ in pairs), default=0) + _GAP
    lines = []
    for name, text in pairs:
        first, *rest = text.split("\n")
        lines.append(dressed(f"{name:<{left}}", "2", style.color) + first)
        lines += [" " * left + line for line in rest]
    return lines


def fitted(widths: list[int], columns: Sequence[Column], available: int) -> list[int]:
    """Widths that fit, taken from the widest columns that may shrink; ids and slugs are never cut."""
    natural, widths = widths, list(widths)
    while sum(widths) + _GAP * (len(widths) - 1) > available:
        shrinkable = [at for at, column in enumerate(columns) if column.shrinks and widths[at] > _NARROWEST]
        if not shrinkable:
            # It cannot fit: the terminal wraps it, which loses less than cutting everything short.
            return natural
        widths[max(shrinkable, key=lambda at: widths[at])] -= 1
    return widths


def _padded(text: str, wanted: int, column: Column) -> str:
    text = cut(text, wanted)
    blanks = " " * (wanted - width(text))
    return blanks + text if column.kind in {"number", "seconds"} else text + blanks


def cut(text: str, wanted: int) -> str:
    """The text in at most `wanted` terminal cells, an ellipsis for what is missing."""
    if width(text) <= wanted:
        return text
    while text and width(text) > wanted - 1:
        text = text[:-1]
    return text + "…"


def width(text: str) -> int:
    """How many terminal cells the text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - most tables are ASCII

    return cell_len(text)


def paint(text: str, column: Column, style: Style) -> str:
    """A cell's text in the colour of the state it names."""
    code = _COLORS.get(text.strip()) if column.kind == "status" else None
    return dressed(text, code, style.color) if code else text


def dressed(text: str, code: str, color: bool) -> str:
    """Text in an SGR style, when colours are on."""
    return f"\x1b[{code}m{text}\x1b[0m" if color and text else text
