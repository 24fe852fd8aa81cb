"""A tab of the dashboard that lists things: the table, the filter below it, what keeps both up to date."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from strait_cli.client import Client, Query
from strait_cli.tui import look
from strait_cli.tui import moves as told
from strait_cli.tui.listing import Listing
from strait_cli.tui.mailbox import Fetcher
from strait_cli.tui.nouns import Noun
from strait_core.run import TERMINAL, Status

PAGE: Final = 200
# Rows that a table keeps; of a longer list the newest.
MOST_ROWS: Final = 10_000
# Runs that were under way and are in no page are asked for one by one, so many at a time.
_MOST_SINGLE: Final = 20
_ACTIVE: Final = ",".join(status for status in Status if status not in TERMINAL)
Row = dict[str, Any]
Page = dict[str, Any]


class Pane(Vertical):
    """One noun's rows."""

    DEFAULT_CSS = """
    Pane Input { display: none; height: 1; border: none; background: $panel; padding: 0 1; }
    Pane.-filtering Input { display: block; }
    Pane Listing { height: 1fr; }
    """

    def __init__(self, noun: Noun, client: Client, fetcher: Fetcher, clock: look.Clock) -> None:
        super().__init__(id=f"{noun.name}-body")
        self.noun = noun
        self._client = client
        self._fetcher = fetcher
        self._cursor: str | None = None
        self._is_whole = False
        self._turn = 0
        # Runs of which there is more to show than their last move has told.
        self._unsaid: set[str] = set()
        # Whether the rows have been read at all; whether something has moved since that only a read can bring.
        self.is_read = self.is_behind = False
        self.listing = Listing(noun.columns, clock=clock)
        self._input = Input(placeholder="words that a row must have; enter keeps, escape clears", compact=True)

    def compose(self) -> ComposeResult:
        """The table and the filter."""
        yield self.listing
        yield self._input

    # ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def refresh_rows(self) -> None:
        """Ask for the newest rows, and for those that may have changed."""
        path = self.noun.path
        self._ask(
            self.noun.name, lambda: self._client.call("GET", path, query={"limit": PAGE}, once=True), self._newest
        )
        if self.noun.grows and self._is_whole is False and len(self.listing.rows) > PAGE:
            query: Query = {"limit": PAGE, "status": _ACTIVE}
            self._ask("active", lambda: self._client.call("GET", path, query=query, once=True), self._active)

    def catch_up(self) -> None:
        """Read what moves alone do not tell; nothing when they have told all."""
        if not self.is_behind or self._fetcher.is_busy(self.noun.name):
            return
        self.is_behind = False
        self.refresh_rows()

    def _ask(self, purpose: str, call: Callable[[], Page], then: Callable[[Page], None]) -> None:
        self._fetcher.fetch(purpose, call, then)

    def _newest(self, page: Page) -> None:
        listing, rows = self.listing, page["data"]
        self.is_read = True
        if self.noun.grows:
            # Rows that were born while there were none to read are read once more.
            self.is_behind = self.is_behind or (not rows and bool(listing.rows))
            rows = told.merged(rows, listing.rows)
        if page.get("next_cursor") is None:
            self._is_whole = True
            listing.replace(rows)
        elif not listing.rows or (self._is_whole and not any(row["id"] in listing.rows for row in page["data"])):
            self._cursor, self._is_whole = page["next_cursor"], False
            listing.replace(rows)
        else:
            # A table that was whole has grown beyond a page: there is nothing behind its last row.
            self._cursor = None if self._is_whole else self._cursor
            self._is_whole = False
            self._add(rows)
        self._ask_unsaid(page["data"])

    def _add(self, rows: Sequence[Row]) -> None:
        """New rows at the top, the others where they are; of too many the newest."""
        self.listing.put(rows, first=True)
        if len(self.listing.rows) > MOST_ROWS:
            self.listing.drop(list(self.listing.rows)[MOST_ROWS:])
            self._cursor = None

    def _active(self, page: Page) -> None:
        """Runs under way are brought up to date; those that are not in that page are asked for, some at each look."""
        rows = {row["id"]: row for row in page["data"]}
        known = self.listing.rows
        self._change([row for key, row in rows.items() if key in known])
        rest = [key for key, row in known.items() if row["status"] not in TERMINAL and key not in rows]
        # When more are under way than a page holds, most of the rest still are: each has its turn.
        first = self._turn % max(len(rest), 1)
        self._turn = first + _MOST_SINGLE if first + _MOST_SINGLE < len(rest) else 0
        self._ask_singly([*rest[first:], *rest[:first]][:_MOST_SINGLE])

    def _ask_unsaid(self, page: Sequence[Row]) -> None:
        """Runs that have ended, and are not in the page that was just read, are asked for one by one."""
        self._unsaid = {key for key in self._unsaid if key in self.listing.rows} - {row["id"] for row in page}
        first = [key for key in self.listing.rows if key in self._unsaid][:_MOST_SINGLE]
        self._unsaid.difference_update(first)
        self.is_behind = self.is_behind or bool(self._unsaid)
        self._ask_singly(first)

    def _ask_singly(self, keys: Sequence[str]) -> None:
        for key in keys:
            call = partial(self._client.get, f"{self.noun.path}/{key}")
            self._fetcher.fetch(key, call, lambda row: self._change([row]))

    def _change(self, rows: Sequence[Row]) -> None:
        known = self.listing.rows
        self.listing.put([told.newer(row, known.get(row["id"])) for row in rows])

    # ── moves ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def hear(self, moves: Sequence[Row]) -> None:
        """Show at once what moves of runs tell; what they do not tell is read with the next `catch_up`."""
        if not self.is_read:
            return
        if self.noun.grows:
            self._hear_of_runs(moves)
        elif self.noun.name == "dlq":
            self._hear_of_the_dead(moves)

    def _hear_of_runs(self, moves: Sequence[Row]) -> None:
        rows, unsaid, is_behind = told.news(self.listing.rows, moves, whole=self._is_whole)
        self._unsaid |= unsaid
        self.is_behind = self.is_behind or is_behind or bool(unsaid)
        # The last one that was born stands first.
        self._add([row for _, row in reversed(rows.items())])

    def _hear_of_the_dead(self, moves: Sequence[Row]) -> None:
        ends = {move["run_id"]: move["status"] for move in moves}
        back = [key for key, status in ends.items() if status != Status.DEAD_LETTER and key in self.listing.rows]
        if back:
            self.listing.drop(back)
        self.is_behind = self.is_behind or bool(back) or Status.DEAD_LETTER in ends.values()

    def on_listing_near_end(self) -> None:
        """Fetch the next page of a list that goes on."""
        if self._cursor is None or len(self.listing.rows) >= MOST_ROWS:
            return
        query: Query = {"limit": PAGE, "cursor": self._cursor}
        self._ask("more", lambda: self._client.get(self.noun.path, query), self._more)

    def _more(self, page: Page) -> None:
        self._cursor = page.get("next_cursor")
        self._change(page["data"])

    # ── filter ────────────────────────────────────────────────────────────────────────────────────────────────────

    def begin_filter(self) -> None:
        """Let somebody type words."""
        self.add_class("-filtering")
        self._input.focus()

    def clear(self) -> None:
        """No filter, no selection."""
        self.remove_class("-filtering")
        self._input.value = ""
        self.listing.selected.clear()
        self.listing.narrow("")
        self.listing.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Narrow while somebody types."""
        event.stop()
        self.listing.narrow(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Back to the rows."""
        event.stop()
        if not event.value:
            self.remove_class("-filtering")
        self.listing.focus()
