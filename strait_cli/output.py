"""The one renderer: everything a command says passes here, data to stdout and talk to stderr.

JSON is the API's object, whole, in its own key order and never coloured. Control characters are neutralised in every
format: escaped where the format has escapes (JSON, YAML), U+FFFD elsewhere.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from strait_cli import exact, selection
from strait_cli.table import REPLACEMENT, Column, Style, cell, details, dressed, paint, safe, table
from strait_core.errors import UsageError

# What JSON leaves unescaped and a terminal could still act on.
_JSON_UNSAFE: Final = re.compile("[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


@dataclass(frozen=True, slots=True)
class View:
    """How the user wants to see things: the output flags, resolved."""

    format: str = "table"
    format_named: bool = False
    fields: tuple[str, ...] = ()
    jq: str | None = None
    template: str | None = None
    sort: str | None = None
    headers: bool = True
    time_format: str | None = None
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Terminal:
    """What a stream leads to: a terminal's width in cells (None = a pipe or file), and whether colours are welcome."""

    width: int | None
    color: bool


def terminal_of(stream: TextIO, color: str, environ: Mapping[str, str]) -> Terminal:
    """What is at the other end of a stream, honouring `--color`, NO_COLOR, FORCE_COLOR and TERM=dumb."""
    is_tty = stream.isatty()
    width = shutil.get_terminal_size((80, 24)).columns if is_tty else None
    if color != "auto":
        return Terminal(width, color == "always")
    if environ.get("NO_COLOR"):
        return Terminal(width, color=False)
    if environ.get("FORCE_COLOR"):
        return Terminal(width, environ["FORCE_COLOR"] != "0")
    return Terminal(width, is_tty and environ.get("TERM", "") not in {"dumb", ""})


def dump(value: Any, *, indent: int | None = None) -> str:
    """JSON text that no terminal acts on; the same value for every reader."""
    text = exact.dumps(value, indent=indent)
    return _JSON_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Printer:
    """Writes results in the chosen format, and talk for people."""

    def __init__(self, view: View, out: Terminal, err: Terminal) -> None:
        self.view = view
        self.out = out
        self.err = err
        self._check()

    def _check(self) -> None:
        view = self.view
        if view.jq and view.template:
            raise UsageError("--jq and --template exclude each other")
        if view.jq and view.fields:
            raise UsageError(
                "--jq and --fields exclude each other", hint="choose fields in the expression: --jq '.[].id'"
            )
        raw = "--jq" if view.jq else "--template" if view.template else None
        if raw and view.format_named and view.format not in {"json", "jsonl"}:
            raise UsageError(f"{raw} has its own output; leave out -o {view.format}")

    @property
    def is_json(self) -> bool:
        """Whether stdout is to hold JSON and nothing else."""
        return self.view.format in {"json", "jsonl"} and not self.view.jq and not self.view.template

    @property
    def is_human(self) -> bool:
        """Whether stdout is a table for a person at a terminal."""
        return self.out.width is not None and self.view.format in {"table", "wide"} and not self.is_raw

    @property
    def is_raw(self) -> bool:
        """Whether an expression decides what is printed."""
        return bool(self.view.jq or self.view.template)

    def style(self) -> Style:
        """How cells are dressed now: relative times on a terminal, ISO in a pipe, unless told."""
        chosen = self.view.time_format or ("relative" if self.out.width else "iso")
        return Style(chosen, self.out.color, datetime.now(UTC), self.out.width)

    # ── data ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def items(self, items: Iterable[dict[str, Any]], columns: Sequence[Column], *, name: str = "id") -> None:
        """A list of the API's objects; `name` is the field that `-o name` prints."""
        if self.view.sort:
            items = selection.order(items, self.view.sort)
        if self.is_raw:
            self._raw(list(items))
            return
        match self.view.format:
            case "name":
                self._lines(safe(str(selection.at_path(item, name))) for item in items)
            case "jsonl":
                self._lines(dump(item) for item in self._chosen(items))
            case "json":
                self.line(dump(list(self._chosen(items)), indent=2))
            case "yaml":
                self._yaml(list(self._chosen(items)))
            case "csv":
                self._csv(list(items), columns)
            case _:
                self._table(list(items), columns)

    def item(
        self, item: dict[str, Any], columns: Sequence[Column] = (), *, name: str = "id", row: bool = False
    ) -> None:
        """One object: all its fields, or with `row` the line it has in a list."""
        if self.is_raw:
            self._raw(item)
            return
        picked = selection.pick([item], self.view.fields)[0] if self.view.fields else item
        match self.view.format:
            case "name":
                self.line(safe(str(selection.at_path(item, name))))
            case "jsonl":
                self.line(dump(picked))
            case "json":
                self.line(dump(picked, indent=2))
            case "yaml":
                self._yaml(picked)
            case "csv":
                self._csv([item], columns or [Column(field) for field in item])
            case _ if row or self.view.fields:
                self._table([item], columns)
            case _:
                self.pairs(item, columns)

    def pairs(self, item: dict[str, Any], columns: Sequence[Column] = ()) -> None:
        """One object as names and values; columns of the same field say how a value is shown."""
        style = self.style()
        known = {column.field: column for column in columns if column.of is None}
        self._lines(
            details(
                [
                    (field, self._detail(value, known.get(field) or _guess(field), style))
                    for field, value in item.items()
                ],
                style,
            )
        )

    def card(self, item: dict[str, Any], columns: Sequence[Column]) -> None:
        """One object as the names and values of these columns."""
        style = self.style()
        rows = [(one.title.lower(), paint(cell(one.value(item), one, style), one, style)) for one in columns]
        self._lines(details(rows, style))

    def text(self, text: str) -> None:
        """Text as it is, for scripts and files that are not data objects."""
        sys.stdout.write(text)

    def drawing(self, text: str) -> None:
        """Lines as the server laid them out."""
        sys.stdout.write(_neutral(text))

    def line(self, text: str) -> None:
        """One line of data."""
        sys.stdout.write(text + "\n")

    def flush(self) -> None:
        """Let what was written be seen now."""
        sys.stdout.flush()

    def change(self, item: dict[str, Any], text: str) -> None:
        """One change of something watched, shown at once: the object as JSON, or a line for people."""
        if self.is_raw or self.view.format not in {"table", "wide", "jsonl"}:
            return
        self.line(dump(item) if self.is_json else text)
        sys.stdout.flush()

    def reason(self, reason: dict[str, Any]) -> None:
        """One reason why a run does not run: what it is, in words, and until when."""
        style = self.style()
        until = reason["until"] and cell(reason["until"], Column("until", kind="time"), style)
        self.line(f"  {safe(reason['code']):<16}{safe(reason['text'])}{f'; until {until}' if until else ''}")

    def paint(self, text: str) -> str:
        """A state's name in its colour, for lines of stdout."""
        return paint(safe(text), Column("status", kind="status"), self.style())

    def dressed(self, text: str, code: str) -> str:
        """Text in an SGR style, for lines of stdout."""
        return dressed(safe(text), code, self.out.color)

    def bold(self, text: str) -> str:
        """Text that stands out, for lines of stdout."""
        return dressed(safe(text), "1", self.out.color)

    # ── talk ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def note(self, text: str) -> None:
        """Say something that is not data; `-q` silences it."""
        if not self.view.quiet:
            sys.stderr.write(dressed(safe(text), "2", self.err.color) + "\n")
            sys.stderr.flush()

    def talk(self, text: str) -> None:
        """A line of what is about to be asked; it was made safe, and may be dressed as lines of stdout are."""
        sys.stderr.write(text + "\n")

    def trace(self, text: str) -> None:
        """What `-v` asked for."""
        sys.stderr.write(dressed(safe(text), "2", self.err.color) + "\n")

    # ── layout ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            sys.stdout.write(line + "\n")

    def _raw(self, data: Any) -> None:
        if self.view.jq:
            for result in selection.filtered(data, self.view.jq):
                self.line(_neutral(result) if isinstance(result, str) else dump(result))
            return
        now = datetime.now(UTC)
        for item in data if isinstance(data, list) else [data]:
            self.line(_neutral(selection.fill(self.view.template or "", item, now)))

    def _chosen(self, items: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        return selection.pick(items, self.view.fields) if self.view.fields else items

    def _columns(self, items: Sequence[dict[str, Any]], columns: Sequence[Column]) -> list[Column]:
        if not self.view.fields:
            return [column for column in columns if self.view.format != "table" or not column.wide]
        known = {column.field: column for column in columns}
        for path in self.view.fields:
            if path not in known:
                selection.check_path(items, path, "--fields")
        return [replace(known.get(path) or _guess(path), wide=False, heading="") for path in self.view.fields]

    def _table(self, items: list[dict[str, Any]], columns: Sequence[Column]) -> None:
        if items or self.out.width is None:
            whole = bool(self.view.fields) or self.view.format == "wide"
            shown = self._columns(items, columns)
            self._lines(table(items, shown, self.style(), headers=self.view.headers, whole=whole))
        else:
            self.note("none")

    def _csv(self, items: list[dict[str, Any]], columns: Sequence[Column]) -> None:
        chosen = self._columns(items, columns)
        style = Style("iso", color=False, now=datetime.now(UTC), width=None)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if self.view.headers:
            writer.writerow([column.field for column in chosen])
        writer.writerows([[cell(column.value(item), column, style) for column in chosen] for item in items])
        sys.stdout.write(text.getvalue())

    def _yaml(self, data: Any) -> None:
        import yaml  # noqa: PLC0415 - only with -o yaml

        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)
        # YAML leaves marks that reorder text as they are, and has no escape for them outside of quotes.
        sys.stdout.write(_JSON_UNSAFE.sub(REPLACEMENT, text))

    def _detail(self, value: Any, column: Column, style: Style) -> str:
        if column.field in {"payload", "result"} and value is not None:
            if style.width and value:
                return _neutral(exact.dumps(value, indent=2))
            return dump(value)
        return paint(cell(value, column, style), column, style)


def _guess(field: str) -> Column:
    """How a field shows that no column speaks of."""
    if field.endswith("_at"):
        return Column(field, kind="time")
    return Column(field, kind="status" if field == "status" else "text")


def _neutral(text: str) -> str:
    """Text of several lines that cannot drive a terminal."""
    return "\n".join("\t".join(safe(part) for part in line.split("\t")) for line in text.split("\n"))
