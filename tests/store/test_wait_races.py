"""Waits and what ends them, at the same instant on two connections: nothing is missed, nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from strait_core.store import events, lineage, parking, waits
from strait_core.store.pool import Conn
from tests.store.scene import Scene
from tests.store.waiting import claimed, end, resume, send, spawn, wait_for, waiting

T = TypeVar("T")


async def behind(scene: Scene, conn: Conn, late: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Begin something on `conn` that has to wait for a transaction which is open."""
    task = asyncio.create_task(late)
    await scene.blocked(conn)
    return task


async def test_an_event_in_the_instant_in_which_the_attempt_ends(scene: Scene):
    """Whichever commits first, the run goes on."""
    job = await scene.job()
    other = await scene.other()
    live = await scene.executing(job)
    await wait_for(scene, live)
    async with scene.conn.transaction():
        await send(scene)
        ended = await behind(scene, other, end(scene, live, conn=other))
    assert await ended
    assert await scene.status(live.id) == "queued"
    second = await claimed(scene, live.id)
    await wait_for(scene, second, "next")
    async with scene.conn.transaction():
        assert await end(scene, second)
        # The run is in other hands: the event is kept for whoever looks next.
        await send(scene, "next", conn=other)
    assert await scene.status(live.id) == "waiting"
    assert await scene.broken() == []
    assert await resume(scene) == [live.id]
    assert await scene.broken() == []


async def test_an_event_in_the_instant_in_which_the_wait_begins(scene: Scene):
    """One of the two has the key first, and the other sees what it did."""
    job = await scene.job()
    other = await scene.other()
    live = await scene.executing(job)
    async with scene.conn.transaction():
        await wait_for(scene, live, "a")
        late = await behind(scene, other, send(scene, "a", conn=other))
    assert (await late).is_new
    async with other.transaction():
        await send(scene, "b", conn=other)
        told = await behind(scene, scene.conn, wait_for(scene, live, "b"))
    assert (await told).wait.outcome == "received"  # type: ignore[union-attr]
    assert await end(scene, live)
    assert await scene.status(live.id) == "queued"
    assert await scene.broken() == []


async def test_a_wait_that_is_recorded_while_the_attempt_ends(scene: Scene):
    """The ordinary statement waits for the mark, and passes the run over; the run waits."""
    live = await scene.executing(await scene.job())
    other = await scene.other()
    async with scene.conn.transaction():
        await wait_for(scene, live)
        ended = await behind(scene, other, end(scene, live, conn=other))
    assert await ended
    assert await scene.status(live.id) == "waiting"
    assert await scene.broken() == []


async def test_an_attempt_that_ends_while_it_wants_to_wait(scene: Scene):
    """The wait comes too late, and is told so."""
    live = await scene.executing(await scene.job())
    other = await scene.other()
    async with scene.conn.transaction():
        assert await end(scene, live)
        late = await behind(scene, other, wait_for(scene, live, conn=other))
    assert await late is None
    assert await scene.broken() == []


async def test_a_child_that_ends_while_its_parent_begins_to_wait(scene: Scene):
    """The child's end finds the parent in other hands; it goes on with the next look."""
    job = await scene.job()
    other = await scene.other()
    parent = await scene.executing(job)
    child = await claimed(scene, await spawn(scene, parent, job))
    async with scene.conn.transaction():
        assert await end(scene, parent)
        assert await end(scene, child, conn=other)
    assert await scene.status(parent.id) == "waiting"
    assert await scene.broken() == []
    assert await resume(scene) == [parent.id]
    assert await scene.broken() == []


async def test_a_child_that_ends_while_somebody_begins_to_wait_for_it(scene: Scene):
    """The mark waits for the end, finds the run gone, and the wait is over as it begins."""
    job = await scene.job()
    other = await scene.other()
    parent = await scene.executing(job)
    child = await claimed(scene, await spawn(scene, parent, job, wait=False))

    async def begin() -> None:
        async with other.transaction():
            assert await waits.mark(other, parent.id, parent.attempt)
            await waits.record_child(other, parent.id, parent.attempt, child.id, scene.now)

    async with scene.conn.transaction():
        assert await end(scene, child)
        late = await behind(scene, other, begin())
    await late
    assert await end(scene, parent)
    assert await scene.status(parent.id) == "queued"
    assert await scene.broken() == []


async def test_two_events_at_once(scene: Scene):
    """Each sees the other's wait open, or the run in other hands; the next look finds both."""
    live = await waiting(scene, await scene.job(), "a", "b")
    other = await scene.other()
    async with scene.conn.transaction():
        await send(scene, "a")
        await send(scene, "b", conn=other)
    assert await scene.broken() == []
    assert await resume(scene) == [live.id]
    assert await resume(scene) == []
    assert await scene.broken() == []


async def test_a_cancel_and_an_event(scene: Scene):
    """The cancel first: the event reaches nobody. The event first: the cancel ends a queued run."""
    job = await scene.job()
    other = await scene.other()
    live = await waiting(scene, job, "a")
    async with scene.conn.transaction():
        await lineage.cancel_family(scene.conn, [live.id], scene.now)
        late = await behind(scene, other, send(scene, "a", conn=other))
    sent = await late
    assert (await events.event_by_id(scene.conn, sent.id)).delivered == 0  # type: ignore[union-attr]
    second = await waiting(scene, job, "b")
    async with scene.conn.transaction():
        await send(scene, "b")
        cancel = await behind(scene, other, scene.cancel(second.id, conn=other))
    assert await cancel == {second.id}
    assert [await scene.status(one.id) for one in (live, second)] == ["canceled", "canceled"]
    assert await scene.rows("SELECT 1 FROM strait.ready") == []
    assert await scene.broken() == []


async def test_the_end_of_a_wait_and_its_event(scene: Scene):
    """The time first: the event is too late. The event first: the run is in its hands, and goes on."""
    job = await scene.job()
    other = await scene.other()
    late_run = await waiting(scene, job, "a")
    saved = await waiting(scene, await scene.job(slug="b"), "b")
    scene.later(hours=1)
    async with other.transaction():
        await send(scene, "b", conn=other)
        assert [one.id for one in await parking.time_out(scene.conn, scene.now)] == [late_run.id]
    assert await scene.status(saved.id) == "queued"
    assert await end(scene, await claimed(scene, saved.id))
    third = await waiting(scene, await scene.job(slug="c"), "c")
    scene.later(hours=1)
    async with scene.conn.transaction():
        assert [one.id for one in await parking.time_out(scene.conn, scene.now)] == [third.id]
        late = await behind(scene, other, send(scene, "c", conn=other))
    sent = await late
    assert (await events.event_by_id(scene.conn, sent.id)).delivered == 0  # type: ignore[union-attr]
    assert await scene.status(third.id) == "timed_out"
    assert await scene.broken() == []


async def test_a_child_that_is_stored_while_its_parent_is_canceled(scene: Scene):
    """The cancel waits for the child, and takes it as well."""
    job = await scene.job()
    other = await scene.other()
    parent = await scene.executing(job)

    async def cancel() -> set[Any]:
        async with other.transaction():
            return {one.id for one in await lineage.cancel_family(other, [parent.id], scene.now)}

    async with scene.conn.transaction():
        child = await spawn(scene, parent, job)
        late = await behind(scene, other, cancel())
    assert await late == {parent.id, child}
    assert await scene.rows("SELECT 1 FROM strait.ready") == []
    assert await scene.broken() == []


async def test_events_that_are_forgotten_while_somebody_begins_to_wait(scene: Scene):
    """The row in hand is passed over; the row that is gone is made again."""
    job = await scene.job()
    other = await scene.other()
    gone = await waiting(scene, job)
    await scene.cancel(gone.id)
    scene.later(hours=1)
    live = await scene.executing(job)
    async with scene.conn.transaction():
        await wait_for(scene, live)
        assert await events.forget(other, scene.now) == (0, 0)
    await scene.cancel(live.id)
    scene.later(hours=1)
    second = await scene.executing(job)
    async with scene.conn.transaction():
        assert (await events.forget(scene.conn, scene.now))[1] == 1
        late = await behind(scene, other, wait_for(scene, second, conn=other))
    assert (await late).wait.outcome is None  # type: ignore[union-attr]
    assert await scene.broken() == []
