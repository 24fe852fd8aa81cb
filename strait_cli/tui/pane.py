"""A tab of the dashboard that lists things: the table, the filter below it, what keeps both up to date."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from strait_cli.client import Client, Query
from strait_cli.tui import look
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

    def _ask(self, purpose: str, call: Callable[[], Page], then: Callable[[Page], None]) -> None:
        self._fetcher.fetch(purpose, call, then)

    def _newest(self, page: Page) -> None:
        listing, rows = self.listing, page["data"]
        if page.get("next_cursor") is None:
            self._is_whole = True
            listing.replace(rows)
            return
        if not listing.rows or self._is_whole:
            self._cursor, self._is_whole = page["next_cursor"], False
            listing.replace(rows)
            return
        listing.put(rows, first=True)
        if len(listing.rows) > MOST_ROWS:
            listing.drop(list(listing.rows)[MOST_ROWS:])
            self._cursor = None

    def _active(self, page: Page) -> None:
        """Runs under way are brought up to date; those that are not in that page are asked for, some at each look."""
        rows = {row["id"]: row for row in page["data"]}
        known = self.listing.rows
        self.listing.put([row for key, row in rows.items() if key in known])
        rest = [key for key, row in known.items() if row["status"] not in TERMINAL and key not in rows]
        # When more are under way than a page holds, most of the rest still are: each has its turn.
        first = self._turn % max(len(rest), 1)
        self._turn = first + _MOST_SINGLE if first + _MOST_SINGLE < len(rest) else 0
        for key in [*rest[first:], *rest[:first]][:_MOST_SINGLE]:
            self._fetcher.fetch(key, partial(self._client.get, f"{self.noun.path}/{key}"), self._one)

    def _one(self, row: dict[str, Any]) -> None:
        self.listing.put([row])

    def on_listing_near_end(self) -> None:
        """Fetch the next page of a list that goes on."""
        if self._cursor is None or len(self.listing.rows) >= MOST_ROWS:
            return
        query: Query = {"limit": PAGE, "cursor": self._cursor}
        self._ask("more", lambda: self._client.get(self.noun.path, query), self._more)

    def _more(self, page: Page) -> None:
        self._cursor = page.get("next_cursor")
        self.listing.put(page["data"])

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
