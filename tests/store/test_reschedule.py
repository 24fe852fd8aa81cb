"""A new time for a run that waits: the time moves, the state does not, and whoever has the due entry decides."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from strait_core.store import queue, runs
from tests.store.scene import Scene

HOUR = timedelta(hours=1)


async def test_a_delayed_run_gets_another_time(scene: Scene):
    """Earlier or later; its time to live counts from the new time; its path says so; the stager sees it."""
    job = await scene.job(run_ttl_secs=60)
    (run_id,) = await scene.add(job, scheduled_at=scene.now + HOUR)
    assert await runs.reschedule(scene.conn, run_id, scene.now + 2 * HOUR, scene.now) == scene.now + 2 * HOUR
    row = await scene.run(run_id)
    assert (row["status"], row["seq"], row["scheduled_at"]) == ("delayed", 2, scene.now + 2 * HOUR)
    assert row["expires_at"] == row["scheduled_at"] + timedelta(seconds=60)
    assert await queue.next_due(scene.conn) == scene.now + 2 * HOUR
    assert await runs.reschedule(scene.conn, run_id, scene.now + HOUR, scene.now) == scene.now + HOUR
    events = await runs.run_events(scene.conn, [run_id])
    assert [(one["seq"], one["event"], one["status"]) for one in events] == [
        (2, "reschedule", "delayed"), (3, "reschedule", "delayed"),
    ]  # fmt: skip
    assert await scene.broken() == []
    scene.later(hours=1)
    assert await scene.promote() == [run_id]
    assert await scene.broken() == []


async def test_a_time_that_has_passed_means_now(scene: Scene):
    """The run is due at once, and its path still begins as delayed."""
    (run_id,) = await scene.add(await scene.job(), scheduled_at=scene.now + HOUR)
    due_at = await runs.reschedule(scene.conn, run_id, scene.now - HOUR, scene.now)
    assert due_at == scene.now + timedelta(microseconds=1)
    scene.later(seconds=1)
    assert await scene.promote() == [run_id]
    assert await scene.broken() == []


async def test_a_retry_gets_another_time(scene: Scene):
    """It stays queued, and has no time of its own but that of the retry."""
    live = await scene.executing(await scene.job())
    assert await scene.retry(live, HOUR)
    assert await runs.reschedule(scene.conn, live.id, scene.now + timedelta(minutes=1), scene.now)
    row = await scene.run(live.id)
    assert (row["status"], row["next_retry_at"]) == ("queued", scene.now + timedelta(minutes=1))
    assert row["scheduled_at"] is None
    assert await scene.broken() == []
    scene.later(minutes=1)
    assert await scene.promote() == [live.id]
    assert await scene.broken() == []


@pytest.mark.parametrize("moves", range(4))
async def test_what_waits_for_no_time_stays_as_it_is(scene: Scene, moves: int):
    """Ready, claimed, executing, ended: nothing changes."""
    (run_id,) = await scene.add(await scene.job())
    if moves >= 1:
        (held,) = await scene.claim()
    if moves >= 2:
        (held,) = await scene.start(held)
    if moves >= 3:
        assert await scene.finish(held)
    before = await scene.everything()
    assert await runs.reschedule(scene.conn, run_id, scene.now + HOUR, scene.now) is None
    assert await scene.everything() == before


@pytest.mark.parametrize("promoted_first", [True, False])
async def test_the_promoter_and_a_new_time_meet(scene: Scene, *, promoted_first: bool):
    """Who is second waits and then does nothing, or passes the run over: it is never lost and never in two places."""
    (run_id,) = await scene.add(await scene.job(), scheduled_at=scene.now + HOUR)
    scene.later(hours=1)
    other = await scene.other()
    if promoted_first:
        async with scene.conn.transaction():
            assert await scene.promote() == [run_id]
            late = asyncio.create_task(runs.reschedule(other, run_id, scene.now + HOUR, scene.now))
            await scene.blocked(other)
        assert await late is None
        assert await scene.status(run_id) == "queued"
    else:
        async with scene.conn.transaction():
            assert await runs.reschedule(scene.conn, run_id, scene.now + HOUR, scene.now)
            assert await queue.promote_due(other, 10, scene.now) == (0, [])
        assert await queue.promote_due(other, 10, scene.now) == (0, [])
        assert await scene.status(run_id) == "delayed"
    assert await scene.broken() == []


async def test_a_cancel_waits_for_a_new_time(scene: Scene):
    """Both want the due entry first, so neither waits for ever."""
    (run_id,) = await scene.add(await scene.job(), scheduled_at=scene.now + HOUR)
    other = await scene.other()
    async with scene.conn.transaction():
        assert await runs.reschedule(scene.conn, run_id, scene.now + 2 * HOUR, scene.now)
        late = asyncio.create_task(scene.cancel(run_id, conn=other))
        await scene.blocked(other)
    assert await late == {run_id}
    assert await scene.broken() == []
