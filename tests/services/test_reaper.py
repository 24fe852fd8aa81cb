"""What dead workers held is taken from them, once, and only from dead ones; what is out of time expires."""

from __future__ import annotations

import asyncio
from uuid import UUID

from strait_core.run import Status
from strait_core.store import workers
from strait_core.store.queue import Release, Start
from strait_daemon.services.reaper import BATCH
from tests.services.stage import Stage
from tests.store.scene import ids_of
from tests.support.rig import eventually


async def test_a_dead_worker_gives_back_what_it_held(stage: Stage) -> None:
    """dequeued: queued again, unspent. executing: retried, or crashed when no attempt is left. Then it is forgotten."""
    scene = stage.scene
    job = await scene.job(max_attempts=2)
    await stage.beat()
    retried = await scene.executing(job)
    crashed = await scene.executing(job, max_attempts=1)
    (waiting,) = await scene.add(job)
    (dequeued,) = await scene.claim()
    reaper = stage.reaper()
    stage.later(seconds=59)
    await reaper.tick()
    await reaper.tick()
    assert await scene.status(retried.id) == Status.EXECUTING
    stage.later(seconds=2)
    await reaper.tick()
    assert dequeued.id == waiting
    run = await scene.run(dequeued.id)
    assert (run["status"], run["attempt"], run["lease"]) == (Status.QUEUED, 0, None)
    run = await scene.run(retried.id)
    assert (run["status"], run["attempt"], run["error_class"]) == (Status.QUEUED, 1, "lost")
    assert run["next_retry_at"] > stage.clock.now()
    run = await scene.run(crashed.id)
    assert (run["status"], run["error"]) == (Status.CRASHED, "lost: the worker's heartbeat was lost")
    assert await workers.list_workers(scene.conn) == []
    assert set(stage.changed) == {retried.id, crashed.id, dequeued.id}
    assert stage.woken == 1


async def test_a_late_worker_loses_by_the_fence(stage: Stage) -> None:
    """What it writes after the reaper changes nothing, and it is told so; two reapers win each run once."""
    scene = stage.scene
    job = await scene.job()
    await stage.beat()
    live = await scene.executing(job)
    await scene.add(job)
    (claimed,) = await scene.claim()
    stage.later(seconds=61)
    reapers = [stage.reaper(), stage.reaper()]
    for _ in range(2):
        await asyncio.gather(*(reaper.tick() for reaper in reapers))
    before = await scene.everything()
    assert await stage.writer.write(scene.ending(live)) is False
    assert await stage.writer.write(Start(claimed.id, claimed.attempt, claimed.lease)) is False
    assert await scene.everything() == before
    assert len(await scene.rows("SELECT * FROM strait.attempts")) == 1


async def test_nobody_is_reaped_while_the_connection_is_young(stage: Stage) -> None:
    """After a start, a fault or a leap of the clock, live workers get time to report first."""
    scene = stage.scene
    job = await scene.job()
    await stage.beat()
    live = await scene.executing(job)
    stage.later(hours=1)
    reaper = stage.reaper(settle_secs=0.2)
    await reaper.tick()
    await reaper.tick()
    assert await scene.status(live.id) == Status.EXECUTING
    reaper.settle_again(0.2)
    await asyncio.sleep(0.25)  # the first settling would be over now
    await reaper.tick()
    assert await scene.status(live.id) == Status.EXECUTING

    async def reaped() -> bool:
        await reaper.tick()
        return await scene.status(live.id) != Status.EXECUTING

    await eventually(reaped, 2)


async def test_a_row_that_cannot_be_moved_is_left_behind(stage: Stage) -> None:
    """One refused row stops neither the others, nor the next worker, nor the passes to come."""
    scene = stage.scene
    job = await scene.job(max_attempts=1)
    await stage.beat()
    bad, *good = [await scene.executing(job) for _ in range(5)]
    scene.worker = UUID(int=2)
    await stage.beat()
    other = await scene.executing(job)
    await scene.rows(
        f"""CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.id = '{bad.id}' THEN RAISE EXCEPTION 'no' USING ERRCODE = '22023'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON strait.run_history FOR EACH ROW EXECUTE FUNCTION public.refuse()"""
    )
    stage.later(seconds=61)
    reaper = stage.reaper()
    for _ in range(3):
        await reaper.tick()
    assert {await scene.status(live.id) for live in [*good, other]} == {Status.CRASHED}
    assert await scene.status(bad.id) == Status.EXECUTING
    await scene.rows("DROP TRIGGER refuse ON strait.run_history")
    stage.later(seconds=61)
    await reaper.tick()
    assert await scene.status(bad.id) == Status.CRASHED


async def test_more_than_one_batch_in_one_pass(stage: Stage) -> None:
    """A worker that held more than a batch is emptied at once."""
    scene = stage.scene
    job = await scene.job()
    await stage.beat()
    await scene.add(job, BATCH + 50)
    while await scene.claim(BATCH):
        pass
    stage.later(seconds=61)
    reaper = stage.reaper()
    await reaper.tick()
    await reaper.tick()
    (left,) = await scene.rows("SELECT count(*) AS n FROM strait.runs WHERE status <> 'queued'")
    assert left["n"] == 0
    assert await workers.list_workers(scene.conn) == []


async def test_two_moves_of_one_run_in_one_batch(stage: Stage) -> None:
    """A worker and a reaper that write at the same instant through one writer: exactly one of them is told it won."""
    scene = stage.scene
    job = await scene.job()
    live = [await scene.executing(job) for _ in range(20)]
    first = [stage.writer.write(scene.ending(one)) for one in live]
    second = [stage.writer.write(scene.repeat(one)) for one in live]
    third = [stage.writer.write(scene.ending(one, Status.CRASHED)) for one in live]
    answers = [await asyncio.gather(*part) for part in (first, second, third)]
    assert [sum(each) for each in zip(*answers, strict=True)] == [1] * 20
    assert len(await scene.rows("SELECT * FROM strait.attempts")) == 20


async def test_a_start_and_a_release_in_one_batch(stage: Stage) -> None:
    """The worker that is told that its attempt began really holds the run."""
    scene = stage.scene
    job = await scene.job()
    await scene.add(job, 20)
    claimed = await scene.claim()
    starts = [stage.writer.write(Start(c.id, c.attempt, c.lease)) for c in claimed]
    releases = [stage.writer.write(Release(c.id, c.attempt, c.lease, "test")) for c in claimed]
    started, released = await asyncio.gather(*starts), await asyncio.gather(*releases)
    for one, begun, given_back in zip(claimed, started, released, strict=True):
        assert begun is not given_back
        assert await scene.status(one.id) == (Status.EXECUTING if begun else Status.QUEUED)


async def test_expiry(stage: Stage) -> None:
    """Queued and delayed runs expire when their time is over, executing ones do not; a long backlog asks for more."""
    scene = stage.scene
    job = await scene.job()
    executing = await scene.executing(job, ttl_secs=10)
    queued = await scene.add(job, BATCH + 5, ttl_secs=10)
    delayed = await scene.add(job, ttl_secs=10, scheduled_at=scene.now)
    endless = await scene.add(job)
    reaper = stage.reaper()
    stage.later(seconds=9)
    assert await reaper.tick() is None
    assert await scene.status(queued[0]) == Status.QUEUED
    stage.later(seconds=2)
    assert await reaper.tick() == 0
    assert await reaper.tick() is None
    assert {await scene.status(run_id) for run_id in queued[:3] + delayed} == {Status.EXPIRED}
    assert await scene.status(executing.id) == Status.EXECUTING
    assert ids_of(await scene.claim()) == endless
    assert len(set(stage.changed)) == BATCH + 6
