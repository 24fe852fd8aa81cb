"""The daemon's clock: the database's time, followed within a second and not bent by a slow connection."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from strait_core.store import pool
from strait_core.store.pool import Conn
from strait_daemon.clock import DatabaseClock, database_time
from tests.support.rig import eventually, proxied, running


class Server:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.at = datetime(2030, 1, 16, 12, tzinfo=UTC)

    async def read(self) -> datetime:
        return self.at


async def off(clock: DatabaseClock, conn: Conn) -> timedelta:
    """How far the clock is from what the server says, however long the server takes to say it."""
    before = clock.now()
    said = await database_time(conn)
    return max(before - said, said - clock.now(), timedelta(0))


async def test_it_tells_the_databases_time(migrated: str) -> None:
    """Within a moment of what the server itself says."""
    conn = await pool.connect(migrated)
    clock = DatabaseClock()
    clock.first(await database_time(conn))
    read = partial(database_time, conn)
    for _ in range(3):
        assert await off(clock, conn) < timedelta(milliseconds=50)
        assert abs(await clock.reread(read)) < timedelta(milliseconds=50)
    await conn.close()


async def test_a_local_clock_that_is_wrong_leaves_no_trace() -> None:
    """The first reading counts, even when it lies years before the wall clock of this machine."""
    server = Server()
    server.at = datetime(2001, 1, 1, tzinfo=UTC)
    clock = DatabaseClock()
    clock.now()
    clock.first(server.at)
    assert abs(clock.now() - server.at) < timedelta(seconds=1)


async def test_it_stands_still_rather_than_go_back() -> None:
    """When the server's time goes back a little, the clock waits for it; when it is set ahead, it follows."""
    server = Server()
    clock = DatabaseClock()
    clock.first(server.at)
    seen = [clock.now()]
    for millis in (-900, 300, -300, 3_600_000):
        server.at += timedelta(milliseconds=millis)
        await clock.reread(server.read)
        seen.append(clock.now())
    assert seen == sorted(seen)
    assert seen[3] - seen[0] < timedelta(seconds=1)
    assert abs(seen[4] - server.at) < timedelta(seconds=1)


@pytest.mark.parametrize("steps", [[-3_600], [-0.6, -0.6, -0.6]], ids=["a leap", "creeping"])
async def test_it_stands_still_for_a_second_at_most(steps: list[float]) -> None:
    """The server's time was set back an hour: the clock follows, and goes on from there without standing still."""
    server = Server()
    clock = DatabaseClock()
    clock.first(server.at)
    before = clock.now()
    for secs in steps:
        server.at += timedelta(seconds=secs)
        await clock.reread(server.read)
    now = clock.now()
    assert before - now > timedelta(seconds=-sum(steps) - 1)
    assert now - server.at < timedelta(seconds=1)
    await eventually(lambda: clock.now() > now, 2)


async def test_microseconds_survive() -> None:
    """The float inside is fine enough: instants read one after the other are close and aware."""
    server = Server()
    clock = DatabaseClock()
    clock.first(server.at)
    one, two = clock.now(), clock.now()
    assert one.tzinfo is UTC
    assert timedelta(0) <= two - one < timedelta(milliseconds=5)


async def test_waiting_for_a_connection_does_not_bend_it(migrated: str) -> None:
    """The wait for a pooled connection is no part of the round trip that is halved."""
    async with running(migrated) as rig:
        # A service that has one connection and waits for another would wait for ever.
        await asyncio.gather(*(service.stop() for service in rig.parts.services))
        taken = [await rig.parts.pool.getconn() for _ in range(rig.parts.pool.max_size)]
        reading = asyncio.create_task(rig.parts.reread_clock())
        began = time.monotonic()
        await eventually(lambda: time.monotonic() - began > 0.6)
        for conn in taken:
            await rig.parts.pool.putconn(conn)
        await reading
        assert await off(rig.parts.clock, rig.conn) < timedelta(milliseconds=100)


async def test_a_slow_answer_is_not_believed(migrated: str) -> None:
    """A reading that took a second could be half a second off; the reckoning so far is better than that."""
    async with proxied(migrated) as proxy:
        conn = await pool.connect(proxy.url)
        clock = DatabaseClock()
        clock.first(await database_time(conn))
        proxy.freeze()
        reading = asyncio.create_task(clock.reread(partial(database_time, conn)))
        began = time.monotonic()
        await eventually(lambda: time.monotonic() - began > 1.2)
        proxy.thaw()
        await reading
        assert await off(clock, conn) < timedelta(milliseconds=200)
        await conn.close()
