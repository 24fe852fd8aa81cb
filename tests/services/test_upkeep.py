"""The stager, the accountant and retention, ticked by hand."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from strait_core.run import Status
from strait_core.store import stats
from strait_daemon.announcer import LONGEST_SECS
from strait_daemon.exposition import Exposition
from strait_daemon.services.stager import BATCH
from strait_daemon.telemetry import Metrics
from strait_daemon.writer import Move
from tests.services.stage import Stage
from tests.store.scene import ids_of
from tests.support.rig import eventually


async def test_the_stager_queues_what_is_due_and_sleeps_until_the_next(stage: Stage) -> None:
    """Never early; it wakes claimers only when something became ready; it says when it wants to look again."""
    scene = stage.scene
    job = await scene.job()
    stager = stage.stager()
    assert await stager.tick() == LONGEST_SECS
    (soon,) = await scene.add(job, scheduled_at=scene.now + timedelta(seconds=0.4))
    (late,) = await scene.add(job, scheduled_at=scene.now + timedelta(seconds=5))
    assert abs(await stager.tick() - 0.4) < 0.001
    assert (stage.woken, await scene.status(soon)) == (0, Status.DELAYED)
    stage.later(seconds=0.4)
    assert abs(await stager.tick() - 4.6) < 0.001
    assert (stage.woken, stage.changed) == (1, [soon])
    assert ids_of(await scene.claim()) == [soon]
    assert await scene.status(late) == Status.DELAYED


async def test_a_burst_is_promoted_in_batches_in_order(stage: Stage) -> None:
    """More due than fit into one batch: the stager asks to go on at once; ready_at tells when each was due."""
    scene = stage.scene
    job = await scene.job()
    run_ids = await scene.add(job, BATCH + 10, scheduled_at=scene.now + timedelta(seconds=1))
    stage.later(seconds=3)
    stager = stage.stager()
    assert await stager.tick() == 0.0
    assert await stager.tick() == LONGEST_SECS
    assert len(stage.changed) == len(run_ids)
    (row,) = await scene.rows("SELECT min(ready_at) AS first, max(ready_at) AS last FROM strait.ready")
    assert row["first"] == row["last"] == scene.now - timedelta(seconds=2)


async def test_many_stagers_promote_each_run_once(stage: Stage) -> None:
    """Ten daemons tick at the same instant."""
    scene = stage.scene
    job = await scene.job()
    await scene.add(job, 300, scheduled_at=scene.now + timedelta(seconds=1))
    live = await scene.executing(job)
    assert await scene.retry(live, timedelta(seconds=1))
    stage.later(seconds=2)
    stagers = [stage.stager() for _ in range(10)]
    await asyncio.gather(*(stager.tick() for stager in stagers))
    assert len(stage.changed) == len(set(stage.changed)) == 301
    assert len(await scene.rows("SELECT * FROM strait.ready")) == 301
    assert await scene.rows("SELECT * FROM strait.due") == []


async def test_somebody_elses_lock_is_no_reason_to_spin(stage: Stage) -> None:
    """A due run that another transaction holds is left to it, and looked at again after a pause."""
    scene = stage.scene
    job = await scene.job()
    await scene.add(job, scheduled_at=scene.now + timedelta(seconds=1))
    stage.later(seconds=2)
    other = await scene.other()
    async with other.transaction():
        await scene.rows("SELECT * FROM strait.due FOR UPDATE", conn=other)
        wait = await stage.stager().tick()
    assert 0.01 <= wait <= LONGEST_SECS


async def test_the_accountant_agrees_with_the_tables(stage: Stage) -> None:
    """After any moves the folded sums are count(*), by many accountants at once; a scrape shows them."""
    scene = stage.scene
    job = await scene.job(max_attempts=1)
    await scene.add(job, 5)
    await scene.add(job, 2, scheduled_at=scene.now + timedelta(hours=1))
    for status in (Status.COMPLETED, Status.DEAD_LETTER):
        (claimed,) = await scene.claim(1)
        (live,) = await scene.start(claimed)
        assert await scene.finish(live, status)
    await asyncio.gather(*(stage.accountant().tick() for _ in range(4)))
    counted = {
        row["status"]: row["n"]
        for row in await scene.rows("SELECT status, count(*) AS n FROM strait.all_runs GROUP BY 1")
    }
    assert {s: n for s, n in (await stats.depth(scene.conn, None)).items() if n} == counted
    text, _ = await Exposition(Metrics(), stage.pool)()
    assert b'strait_runs{status="queued"} 3.0' in text
    assert b'strait_runs{status="delayed"} 2.0' in text


async def test_retention_drops_whole_weeks_by_class(stage: Stage) -> None:
    """Short-kept runs leave after their days, long-kept ones stay until theirs; the sums follow."""
    scene = stage.scene
    job = await scene.job(max_attempts=1)
    kept = {}
    for status in (Status.COMPLETED, Status.DEAD_LETTER):
        live = await scene.executing(job)
        assert await scene.finish(live, status)
        kept[status] = live.id
    retention = stage.retention(short_days=30, long_days=90)
    stage.later(days=29)
    await retention.tick()
    assert await scene.status(kept[Status.COMPLETED]) == Status.COMPLETED
    stage.later(days=10)
    await retention.tick()
    rows = await scene.rows("SELECT id FROM strait.run_history")
    assert [row["id"] for row in rows] == [kept[Status.DEAD_LETTER]]
    assert len(await scene.rows("SELECT * FROM strait.attempts")) == 1
    assert await scene.folded() == {"dead_letter": 1}
    stage.later(days=60)
    await retention.tick()
    assert await scene.rows("SELECT id FROM strait.run_history") == []
    assert await scene.folded() == {}


async def test_retention_keeps_for_ever_when_told_so(stage: Stage) -> None:
    """0 days: nothing is dropped, and partitions for the weeks to come are made all the same."""
    scene = stage.scene
    job = await scene.job(max_attempts=1)
    live = await scene.executing(job)
    assert await scene.finish(live)
    stage.later(days=4_000)
    await stage.retention(0, 0).tick()
    assert await scene.status(live.id) == Status.COMPLETED
    late = await scene.executing(job)
    assert await scene.finish(late)


async def test_a_finish_in_a_week_without_a_partition(stage: Stage) -> None:
    """Retention was late by a year: the writer makes the partition that its batch misses, and loses nothing."""
    scene = stage.scene
    job = await scene.job(max_attempts=1)
    stage.later(days=400)
    live = [await scene.executing(job) for _ in range(3)]
    moves: list[Move] = [scene.ending(live[0]), scene.ending(live[1], Status.DEAD_LETTER), scene.repeat(live[2])]
    assert await asyncio.gather(*map(stage.writer.write, moves)) == [True] * 3
    assert await scene.status(live[0].id) == Status.COMPLETED


async def test_readers_do_not_stop_retention_for_good(stage: Stage) -> None:
    """A partition that somebody reads goes when he is done; who else comes to drop it leaves it alone."""
    scene = stage.scene
    job = await scene.job(max_attempts=1)
    live = await scene.executing(job)
    assert await scene.finish(live)
    stage.later(days=60)
    other = await scene.other()
    async with other.transaction():
        await scene.rows("SELECT * FROM strait.run_history", conn=other)
        first = asyncio.create_task(stage.retention().tick())
        await eventually(lambda: waiting(stage), 20, "nobody waits for the reader")
        await stage.retention().tick()
        assert not first.done()
    await first
    assert await scene.rows("SELECT id FROM strait.run_history") == []
    assert await scene.folded() == {}


async def waiting(stage: Stage) -> bool:
    """Whether a drop waits for somebody."""
    statement = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%%DETACH%%CONCURRENTLY' AND wait_event_type = 'Lock'"
    return bool(await stage.scene.rows(statement))
