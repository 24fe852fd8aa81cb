"""The daemon's one clock: the database's time, carried by the local monotonic clock.

Every statement takes its `now` from here, so two daemons whose own clocks differ by an hour agree on what is due. No
other module may read a wall clock.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from strait_core.store.pool import Conn

# How often the database's clock is read again; the local clock drifts by microseconds in between.
REREAD_SECS: Final = 10.0
# A correction greater than this is a leap: the server's clock was set, or this machine slept. It is also the longest
# that the clock stands still when it is to go back; a leap back is followed, because a clock that stood still for an
# hour would hold up everything that has a time, and differ by that hour from the clock of every process started since.
LEAP_SECS: Final = 1.0


class Clock(Protocol):
    """Something that tells the time."""

    def now(self) -> datetime:
        """The present instant, aware, UTC; never earlier than before unless the database's clock leapt back."""
        ...


async def database_time(conn: Conn) -> datetime:
    """The clock's own read: the one statement that asks the database for its time."""
    row = await (await conn.cursor(binary=True).execute("SELECT clock_timestamp()")).fetchone()
    if row is None:
        raise RuntimeError("the database did not tell its time")
    at: datetime = row[0]
    return at


class DatabaseClock:
    """The database's time between two reads of it; starts from the local wall clock until the first read."""

    def __init__(self) -> None:
        # Seconds since the epoch at monotonic zero, and the latest answer given.
        self._zero = time.time() - time.monotonic()
        self._last = 0.0

    def now(self) -> datetime:
        """The present instant in the database's time."""
        now = self._zero + time.monotonic()
        if now < self._last:
            now = self._last
        else:
            self._last = now
        return datetime.fromtimestamp(now, UTC)

    async def reread(self, read: Callable[[], Awaitable[datetime]]) -> timedelta:
        """Correct the reckoning by a reading of the database's clock; by how much (positive: it was behind).

        The server answered somewhere within the round trip. A difference that the round trip alone could explain
        corrects nothing, so a slow answer does not bend the clock; whatever `read` has to wait for before it asks (a
        free connection) must not be part of it. Back it goes by standing still, or at once when it is a leap.
        """
        before = time.monotonic()
        at = await read()
        after = time.monotonic()
        zero = at.timestamp() - (before + after) / 2
        off = zero - self._zero
        if abs(off) <= after - before:
            return timedelta(0)
        self._zero = zero
        if self._last - (zero + after) > LEAP_SECS:
            self._last = 0.0
        return timedelta(seconds=off)

    def first(self, read: datetime) -> None:
        """Take the database's time as the start of all reckoning, so that a wall clock ahead of it leaves no trace."""
        self._zero = read.timestamp() - time.monotonic()
        self._last = 0.0
