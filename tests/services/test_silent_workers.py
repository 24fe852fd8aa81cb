"""Workers that are dead though no heartbeat says so: taken off the list too early, or ahead of a clock set back."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from uuid import UUID

from strait_core.run import Status
from strait_core.store import claims, workers
from strait_core.store.claims import PRIORITIES
from strait_daemon.services.reaper import Reaper
from tests.services.stage import Stage
from tests.support.rig import eventually

STALE_SECS = 0.4


async def wait_out(reaper: Reaper) -> None:
    """Tick for longer than a worker may be silent."""
    until = time.monotonic() + 2 * STALE_SECS
    while time.monotonic() < until:
        await reaper.tick()
        await asyncio.sleep(0.01)  # the ticks of an interval


async def found(stage: Stage, reaper: Reaper, run_id: UUID) -> None:
    """Tick until the run is out of the hands that held it."""

    async def freed() -> bool:
        await reaper.tick()
        return await stage.scene.status(run_id) == Status.QUEUED

    await eventually(freed)


async def test_a_claim_that_commits_after_its_worker_was_forgotten(stage: Stage) -> None:
    """Two connections: the claim under way is unseen by the reaper that empties and forgets its worker; it is found."""
    scene = stage.scene
    job = await scene.job()
    await stage.beat()
    (run_id,) = await scene.add(job)
    late = await scene.other()
    reaper = stage.reaper(stale_secs=STALE_SECS)
    async with late.transaction():
        claim = await claims.claim(late, scene.worker, 1, [0] * len(PRIORITIES), [], stage.clock.now())
        assert [claimed.id for claimed in claim.runs] == [run_id]
        stage.later(seconds=1)
        await reaper.tick()
        await reaper.tick()
        assert await workers.list_workers(scene.conn) == []
    assert await scene.status(run_id) == Status.DEQUEUED
    await reaper.tick()
    assert await scene.status(run_id) == Status.DEQUEUED
    await found(stage, reaper, run_id)
    assert await scene.broken(dead_before=stage.clock.now()) == []


async def test_one_that_lives_comes_back_on_the_list_and_keeps_its_run(stage: Stage) -> None:
    """Who was forgotten and reports again within the time was no dead worker."""
    scene = stage.scene
    live = await scene.executing(await scene.job())
    reaper = stage.reaper(stale_secs=STALE_SECS)
    await reaper.tick()
    await reaper.tick()
    await stage.beat()
    await wait_out(reaper)
    assert await scene.status(live.id) == Status.EXECUTING


async def test_an_outage_begins_the_time_anew(stage: Stage) -> None:
    """While nobody can report, nobody is taken for dead; a leap of the clock counts as one."""
    scene = stage.scene
    live = await scene.executing(await scene.job())
    reaper = stage.reaper(stale_secs=STALE_SECS)
    until = time.monotonic() + 3 * STALE_SECS
    while time.monotonic() < until:
        for disturb in (reaper.cut_off, lambda: reaper.settle_again(0)):
            await reaper.tick()
            await reaper.tick()
            disturb()
        await asyncio.sleep(0.01)  # the ticks of an interval
    assert await scene.status(live.id) == Status.EXECUTING
    await found(stage, reaper, live.id)


async def test_a_clock_set_back_an_hour(stage: Stage) -> None:
    """Who died before is found, though its heartbeat lies ahead; who lives is left alone; due times and leases stay."""
    scene = stage.scene
    job = await scene.job()
    await stage.beat()
    dead = await scene.executing(job)
    scene.worker = UUID(int=2)
    await stage.beat()
    live = await scene.executing(job)
    (delayed,) = await scene.add(job, scheduled_at=scene.now + timedelta(seconds=10))
    stage.later(hours=-1)
    reaper = stage.reaper(stale_secs=STALE_SECS)
    await reaper.tick()
    await reaper.tick()
    await stage.beat(UUID(int=2))
    assert [await scene.status(run.id) for run in (dead, live)] == [Status.EXECUTING] * 2
    await found(stage, reaper, dead.id)
    await wait_out(reaper)
    assert await scene.status(live.id) == Status.EXECUTING
    assert [worker.id for worker in await workers.list_workers(scene.conn)] == [UUID(int=2)]
    stage.later(minutes=59)
    assert delayed not in await scene.promote()
    stage.later(minutes=1, seconds=10)
    assert delayed in await scene.promote()
    assert await scene.finish(live)
