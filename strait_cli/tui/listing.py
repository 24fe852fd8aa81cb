"""A table of any length: only the rows in sight are drawn, and an update costs a look-up.

The rows are the API's objects, the columns those of the command line's own tables. Filtering and sorting look at every
row, so they are done at most a few times a second while rows keep changing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final

from rich.segment import Segment
from rich.style import Style as RichStyle
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from strait_cli.table import Column, Style, cell, cut, fitted, width
from strait_cli.tui import look
from strait_cli.tui.cells import Rank, ink, padded, rank_of

# How often a filtered or sorted table is put in order while rows keep changing.
ORDER_SECS: Final = 0.25
_GAP: Final = 2
_MARK: Final = 2
_SAMPLE: Final = 60
Row = dict[str, Any]


class Listing(ScrollView, can_focus=True):
    """Rows by their key; a cursor, a selection, a filter and an order."""

    DEFAULT_CSS = """
    Listing { background: $background; scrollbar-size: 1 1; overflow-x: hidden; overflow-y: scroll; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "edge(0)", show=False),
        Binding("end,G", "edge(1)", show=False),
        Binding("enter", "open", "Open"),
        Binding("space", "select", "Select"),
        Binding("a", "select_all", "All", show=False),
        Binding("s", "sort", "Sort", show=False),
    ]

    class Opened(Message):
        """Somebody wants to see a row."""

        def __init__(self, listing: Listing, row: Row) -> None:
            super().__init__()
            self.listing = listing
            self.row = row

        @property
        def control(self) -> Listing:
            """The table."""
            return self.listing

    class Moved(Message):
        """The cursor stands on another row."""

        def __init__(self, listing: Listing) -> None:
            super().__init__()
            self.listing = listing

        @property
        def control(self) -> Listing:
            """The table."""
            return self.listing

    class NearEnd(Message):
        """The cursor has come near the last row: a list that goes on can be fetched on."""

        def __init__(self, listing: Listing) -> None:
            super().__init__()
            self.listing = listing

        @property
        def control(self) -> Listing:
            """The table."""
            return self.listing

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        key: str = "id",
        name: str | None = None,
        clock: look.Clock = look.now,
        selectable: bool = True,
    ) -> None:
        super().__init__(id=name)
        self.columns = list(columns)
        self._key = key
        self._rows: dict[str, Row] = {}
        # The keys in the order in which they are shown; None = to be worked out.
        self._order: list[str] | None = []
        self._is_stale = False
        self._texts: dict[str, str] = {}
        self._ranks: dict[str, Rank] = {}
        # Lines as they were drawn last, with the row that they show.
        self._strips: dict[tuple[str, bool, bool, bool], tuple[Row, Strip]] = {}
        self._widths: list[int] | None = None
        self.selected: set[str] = set()
        self.filter = ""
        self.sorted_by: int | None = None
        self.descending = False
        self.cursor: str | None = None
        self._at = 0
        self._clock = clock
        self._is_selectable = selectable
        self._style = Style("relative", color=False, now=clock(), width=80)

    def on_mount(self) -> None:
        """Ages grow; what has changed is put in order."""
        self.set_interval(1.0, self._grow_older)
        self.set_interval(ORDER_SECS, self._settle)

    # ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def replace(self, rows: Iterable[Row]) -> None:
        """These rows and no others."""
        self._rows = {str(row[self._key]): row for row in rows}
        self.selected &= self._rows.keys()
        self._texts.clear()
        self._ranks.clear()
        self._order = None
        self._settle()

    def put(self, rows: Iterable[Row], *, first: bool = False) -> None:
        """Change rows and add new ones: at the top with `first`, else at the end."""
        new: dict[str, Row] = {}
        for row in rows:
            key = str(row[self._key])
            (self._rows if key in self._rows else new)[key] = row
            self._texts.pop(key, None)
            self._ranks.pop(key, None)
        if new:
            self._rows = {**new, **self._rows} if first else {**self._rows, **new}
        if self.filter or self.sorted_by is not None or self._order is None:
            # Put in order with the next few: until then the rows stand where they stood.
            self._is_stale = True
        elif new:
            self._show([*new, *self._order] if first else [*self._order, *new])
        self.refresh()

    def drop(self, keys: Iterable[str]) -> None:
        """Rows that are no more."""
        for key in keys:
            self._rows.pop(key, None)
            self._texts.pop(key, None)
            self._ranks.pop(key, None)
            self.selected.discard(key)
        self._order = None
        self.refresh()

    @property
    def rows(self) -> dict[str, Row]:
        """All rows by their keys, those included that the filter hides."""
        return self._rows

    @property
    def shown(self) -> list[str]:
        """The keys of the rows that are shown, in order."""
        if self._order is None:
            self._work_out()
        return self._order or []

    @property
    def current(self) -> Row | None:
        """The row under the cursor."""
        keys = self.shown
        return self._rows.get(keys[self._at]) if self._at < len(keys) else None

    @property
    def chosen(self) -> list[Row]:
        """What a deed is done to: the selected rows that are shown, or the one under the cursor."""
        if self.selected:
            return [self._rows[key] for key in self.shown if key in self.selected]
        return [self.current] if self.current is not None else []

    def narrow(self, text: str) -> None:
        """Show only the rows that have all these words in some cell."""
        self.filter = text.lower().strip()
        self._order = None
        self._settle()

    # ── order ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _settle(self) -> None:
        if self._order is None or self._is_stale:
            self._work_out()
            self.refresh()
        # What costs more than a look-up waits for here: another length of the bar, other widths.
        if self.virtual_size.height != len(self.shown) + 1:
            self.virtual_size = Size(self.size.width, len(self.shown) + 1)
            self._widths = None

    def _work_out(self) -> None:
        keys: list[str] = list(self._rows)
        words = self.filter.split()
        if words:
            keys = [key for key in keys if all(word in self._text(key) for word in words)]
        if self.sorted_by is not None:
            keys.sort(key=self._rank, reverse=self.descending)
        self._is_stale = False
        self._show(keys)

    def _rank(self, key: str) -> Rank:
        found = self._ranks.get(key)
        if found is None:
            found = self._ranks[key] = rank_of(self.columns[self.sorted_by or 0].value(self._rows[key]))
        return found

    def _show(self, keys: list[str]) -> None:
        self._order = keys
        # The cursor stays on its row; one at the top stays at the top, where the newest rows come.
        if self.cursor in self._rows and self._at > 0:
            try:
                self._at = keys.index(str(self.cursor))
            except ValueError:
                self._at = min(self._at, max(0, len(keys) - 1))
        else:
            self._at = min(self._at, max(0, len(keys) - 1))
        self.cursor = keys[self._at] if keys else None

    def _text(self, key: str) -> str:
        found = self._texts.get(key)
        if found is None:
            row = self._rows[key]
            found = " ".join(cell(column.value(row), column, self._style) for column in self.columns).lower()
            self._texts[key] = found
        return found

    def _column_widths(self) -> list[int]:
        if self._widths is None:
            keys = self.shown
            first = min(int(self.scroll_offset.y), max(0, len(keys) - _SAMPLE))
            sample = [self._rows[key] for key in keys[first : first + _SAMPLE]]
            natural = [
                max([width(c.title) + 2, *(width(cell(c.value(row), c, self._style)) for row in sample)])
                for c in self.columns
            ]
            self._widths = fitted(natural, self.columns, max(20, self.size.width - _MARK - 1))
            self._strips.clear()
        return self._widths

    def on_resize(self) -> None:
        """Columns are as wide as there is room."""
        self._widths = None
        self.virtual_size = Size(self.size.width, len(self.shown) + 1)

    def _grow_older(self) -> None:
        if self.is_attached and self.size.height:
            self._style = Style("relative", color=False, now=self._clock(), width=80)
            self._widths = None
            self.refresh()

    # ── drawing ───────────────────────────────────────────────────────────────────────────────────────────────────

    def render_line(self, y: int) -> Strip:
        """A line: the headings, then the rows in sight."""
        if y == 0:
            return self._headings(self.rich_style)
        keys = self.shown
        at = self.scroll_offset.y + y - 1
        if at >= len(keys):
            text = "  nothing here" if y == 1 and not keys else ""
            return Strip([Segment(text.ljust(self.size.width), self.rich_style + RichStyle(color=look.DIM))])
        key = keys[at]
        self._column_widths()
        drawn_as = (key, at == self._at, key in self.selected, self.has_focus)
        found = self._strips.get(drawn_as)
        if found is None or found[0] is not self._rows[key]:
            found = self._strips[drawn_as] = (self._rows[key], self._line(key, at, self.rich_style))
        return found[1]

    def _headings(self, base: RichStyle) -> Strip:
        style = base + RichStyle(color=look.GREY, bold=True, underline=False)
        cells = [" " * _MARK]
        for at, (column, room) in enumerate(zip(self.columns, self._column_widths(), strict=True)):
            arrow = ("▼" if self.descending else "▲") if at == self.sorted_by else ""
            cells.append(padded(column.title + arrow, room, column) + " " * _GAP)
        return Strip([Segment(cut("".join(cells), self.size.width).ljust(self.size.width), style)])

    def _line(self, key: str, at: int, base: RichStyle) -> Strip:
        row = self._rows[key]
        is_cursor, is_selected = at == self._at, key in self.selected
        if is_cursor:
            base += RichStyle(bgcolor="#2c3550" if self.has_focus else "#20263a")
        mark = "▌ " if is_cursor and not is_selected else "◆ " if is_selected else "  "
        segments = [Segment(mark, base + RichStyle(color=look.ORANGE if is_selected else look.CYAN))]
        for column, room in zip(self.columns, self._column_widths(), strict=True):
            text = cell(column.value(row), column, self._style)
            segments.append(Segment(padded(text, room, column) + " " * _GAP, base + ink(column, text)))
        strip = Strip(segments)
        return strip.adjust_cell_length(self.size.width, base)

    # ── keys and mouse ────────────────────────────────────────────────────────────────────────────────────────────

    def go_to(self, at: int) -> None:
        """Put the cursor on a row, and bring it into sight."""
        keys = self.shown
        if not keys:
            return
        self._at = max(0, min(at, len(keys) - 1))
        self.cursor = keys[self._at]
        # The headings hide the first line.
        self.scroll_to_region(Region(0, self._at, 1, 2), animate=False, force=True)
        self.refresh()
        self.post_message(self.Moved(self))
        if self._at > len(keys) - 50:
            self.post_message(self.NearEnd(self))

    def action_move(self, by: int) -> None:
        """Up or down."""
        self.go_to(self._at + by)

    def action_page(self, by: int) -> None:
        """A screen up or down."""
        self.go_to(self._at + by * max(1, self.size.height - 2))

    def action_edge(self, end: int) -> None:
        """To the first or the last row."""
        self.go_to(len(self.shown) - 1 if end else 0)

    def action_open(self) -> None:
        """Open the row under the cursor."""
        if self.current is not None:
            self.post_message(self.Opened(self, self.current))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Where nothing is done to rows, none is selected."""
        del parameters
        return self._is_selectable or action not in {"select", "select_all"}

    def action_select(self) -> None:
        """Select the row under the cursor, or not any more; then on to the next."""
        if self.cursor is not None:
            self.selected ^= {self.cursor}
            self.go_to(self._at + 1)

    def action_select_all(self) -> None:
        """Select every row that is shown; again: none."""
        keys = set(self.shown)
        self.selected = set() if keys <= self.selected else keys
        self.refresh()

    def action_sort(self) -> None:
        """Sort by the next column; after the last as the server has them."""
        self.sort_by(0 if self.sorted_by is None else self.sorted_by + 1)

    def sort_by(self, column: int) -> None:
        """Sort by a column; by the same again: the other way round."""
        if column == self.sorted_by:
            self.descending = not self.descending
        else:
            self.sorted_by, self.descending = (column if column < len(self.columns) else None), False
            self._ranks.clear()
        self._order = None
        self._settle()

    def on_click(self, event: events.Click) -> None:
        """A click puts the cursor, a second one opens, one on a heading sorts; with control it selects."""
        at = event.get_content_offset(self)
        if at is None:
            return
        if at.y == 0:
            self._sort_at(at.x)
            return
        number = int(self.scroll_offset.y) + at.y - 1
        if number >= len(self.shown):
            return
        self.go_to(number)
        if self._is_selectable and (event.ctrl or at.x < _MARK):
            self.selected ^= {str(self.cursor)}
            self.refresh()
        elif event.chain == 2:
            self.action_open()

    def _sort_at(self, x: int) -> None:
        left = _MARK
        for at, room in enumerate(self._column_widths()):
            if left <= x < left + room + _GAP:
                self.sort_by(at)
                return
            left += room + _GAP
