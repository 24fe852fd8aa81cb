"""The end of the feed of changes, looked at once for everybody in this process who waits for the next change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from strait_core.store import changes
from strait_core.store.faults import Broken
from strait_core.store.pool import Pool

LOOK_SECS: Final = 0.25
_PATIENCE_SECS: Final = 5.0


class Tail:
    """Tells who waits that there may be more; looks only while anybody does."""

    def __init__(self, pool: Pool, log: Any) -> None:
        self._pool = pool
        self._log = log
        self._waiting: set[asyncio.Event] = set()
        # How many of those are streams.
        self.streams = 0
        self._looking: asyncio.Task[None] | None = None
        # Where the feed ended at the last look; None = nobody knows.
        self._head: int | None = None

    @contextmanager
    def wait(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever the feed has grown, and at first: it may have before anybody looked."""
        grown = asyncio.Event()
        grown.set()
        self._waiting.add(grown)
        if self._looking is None or self._looking.done():
            self._head = None
            self._looking = asyncio.create_task(self._look_often(), name="watch-changes")
        try:
            yield grown
        finally:
            self._waiting.discard(grown)

    @contextmanager
    def stream(self) -> Iterator[asyncio.Event]:
        """The same for a stream, which is counted."""
        self.streams += 1
        try:
            with self.wait() as grown:
                yield grown
        finally:
            self.streams -= 1

    async def _look_often(self) -> None:
        """Runs as long as anybody waits."""
        while True:
            await asyncio.sleep(LOOK_SECS)
            if not self._waiting:
                return
            try:
                async with asyncio.timeout(_PATIENCE_SECS), self._pool.connection() as conn:
                    head = await changes.head(conn)
            except (*Broken, TimeoutError) as error:
                # Whoever could not read meanwhile looks again when the database is back.
                self._head = None
                self._log.debug("changes_not_seen", error=type(error).__name__)
                continue
            if head != self._head:
                self._head = head
                for grown in self._waiting:
                    grown.set()
