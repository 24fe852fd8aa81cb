"""Sends the feed of changes on to a sink: in order, at least once, by one process at a time.

The place of a sink is stored after what lies before it has been taken, so a relay that dies in between sends that once
more, and nothing is left out. What a sink does not take is kept by the feed and not here: one batch is all that a relay
holds, however long a sink is away. A sink that is away for longer than changes are kept goes on with those that are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

import structlog

from strait_core.store import changes
from strait_core.store.changes import Place, StoredChange
from strait_core.store.pool import Pool
from strait_core.store.sinks import Held, Holder
from strait_daemon.clock import Clock

# Changes that are sent at once.
BATCH: Final = 200
# How long a sink takes at most, and for how long whoever sends to it keeps the others off: after a kill it stands still
# for so long.
SEND_SECS: Final = 15.0
LEASE: Final = timedelta(seconds=30)
# How much of that must be left when something is sent.
_ENOUGH: Final = timedelta(seconds=SEND_SECS + 5)
# How often a relay looks for more, or for whether the other one has gone.
LOOK_SECS: Final = 0.5
FIRST_PAUSE_SECS: Final = 1.0
# Beyond 2**12 seconds every pause has reached its cap.
_MAX_DOUBLINGS: Final = 12
MAX_ERROR: Final = 300
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_LOST: Final = "the sink was away for longer than changes are kept (24 hours); it goes on with those that are there"

log = structlog.get_logger(__name__)


class NotTakenError(Exception):
    """A sink took nothing of a batch, or only its beginning; the text says why, without secrets.

    `is_refused`: it will not pass by itself, somebody has to look. `after_secs`: the shortest pause before another try.
    """

    def __init__(self, reason: str, *, is_refused: bool = False, after_secs: float = 0.0) -> None:
        super().__init__(reason[:MAX_ERROR])
        self.is_refused = is_refused
        self.after_secs = after_secs


class Sink(Protocol):
    """Where changes go. `longest_pause_secs`: between two attempts, unless the sink asks for a longer one."""

    name: str
    longest_pause_secs: float

    async def send(self, batch: Sequence[StoredChange]) -> None:
        """Hand over changes that follow one another, within SEND_SECS; raises NotTakenError."""
        ...

    async def close(self) -> None:
        """Let go of its connections."""
        ...


class Relay:
    """The service for one sink; `by` is this process, `sent` counts."""

    def __init__(
        self, pool: Pool, clock: Clock, sink: Sink, by: UUID, sent: Callable[[int], None] = lambda _count: None
    ) -> None:
        self.sink = sink
        self._pool = pool
        self._clock = clock
        self._holder = Holder(sink.name, by)
        self._sent = sent
        self._is_made = False
        self._held: Held | None = None
        self._until = _LONG_AGO

    async def tick(self) -> float:
        """Send one batch; seconds until there may be more (0 = there is)."""
        held = await self._hold(self._clock.now())
        if held is None:
            return LOOK_SECS
        async with self._pool.connection() as conn:
            stretch = await changes.read(conn, held.place, BATCH)
            floor = held.place if stretch is not None else await changes.floor(conn)
        if stretch is None:
            await self._skip(held, floor, self._clock.now())
            return 0.0
        if not stretch.changes and not stretch.has_more:
            return LOOK_SECS
        try:
            if stretch.changes:
                await self.sink.send(stretch.changes)
        except NotTakenError as error:
            return await self._put_off(held, error)
        await self._move(held, stretch)
        return 0.0 if stretch.has_more else LOOK_SECS

    async def leave(self) -> None:
        """Leave the sink to another process at once, and close it."""
        if self._held is not None:
            self._held = None
            async with self._pool.connection() as conn:
                await self._holder.let_go(conn)
        await self.sink.close()

    async def _hold(self, now: datetime) -> Held | None:
        """What is known of the sink while this process holds it; None when it does not."""
        if self._held is not None and now + _ENOUGH <= self._until:
            return self._held
        async with self._pool.connection() as conn:
            if not self._is_made:
                await self._holder.make(conn)
                self._is_made = True
            self._held = await self._holder.hold_if_free(conn, now, now + LEASE)
        self._until = now + LEASE
        return self._held

    async def _move(self, held: Held, stretch: changes.Stretch) -> None:
        now = self._clock.now()
        end = stretch.changes[-1].place if stretch.changes else stretch.end
        async with self._pool.connection() as conn:
            is_held = await self._holder.move_if_held(conn, end, now, now + LEASE)
        self._sent(len(stretch.changes))
        self._held, self._until = (Held(end, 0, None), now + LEASE) if is_held else (None, self._until)
        if held.fails:
            log.info("changes_sent_again", sink=self.sink.name, after_attempts=held.fails)

    async def _skip(self, held: Held, to: Place, now: datetime) -> None:
        """Go on with what is kept; said once for each time that the sink was away."""
        async with self._pool.connection() as conn:
            is_held = await self._holder.skip_if_held(conn, to, now)
        self._held = Held(to, held.fails, held.lost_at or now) if is_held else None
        if is_held and held.lost_at is None:
            log.error("changes_lost", sink=self.sink.name, behind=held.place.cursor, next=to.cursor, detail=_LOST)

    async def _put_off(self, held: Held, error: NotTakenError) -> float:
        """Try again later, whichever process does: how often it failed is stored with the sink."""
        now = self._clock.now()
        pause = min(FIRST_PAUSE_SECS * 2.0 ** min(held.fails, _MAX_DOUBLINGS), self.sink.longest_pause_secs)
        pause = max(pause, error.after_secs)
        due = now + timedelta(seconds=pause)
        async with self._pool.connection() as conn:
            await self._holder.put_off_if_held(conn, now, due, str(error), is_refused=error.is_refused)
        self._held = None
        log.warning("changes_not_sent", sink=self.sink.name, attempt=held.fails + 1, reason=str(error), next_secs=pause)
        return min(pause, LOOK_SECS)
