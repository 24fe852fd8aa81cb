"""Execution windows: what is claimed is claimed while they are open, whatever brought the run there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from strait_core.run import Status
from strait_core.store import jobs, openings, runs
from strait_core.store.jobs import StoredJob
from strait_daemon.services.opener import LONGEST_SECS, Opener
from tests.services.stage import Stage
from tests.services.test_ticker import place, ticker
from tests.store.flow import Flow

# The stage's clock begins on a Wednesday at noon, UTC.
NOON = datetime(2030, 1, 16, 12, tzinfo=UTC)
OFFICE = "0 9-17 * * 1-5"


async def job_with_window(stage: Stage, window: str = OFFICE, **changes: Any) -> StoredJob:
    """A job with a window, placed as the API does it."""
    job = await stage.scene.job(execution_window_cron=window, **changes)
    await openings.place(stage.scene.conn, job.id, job.spec, stage.clock.now())
    return job


def at(stage: Stage, day: int, hour: int, minute: int = 0, second: int = 0, micros: int = 0) -> None:
    """Move the clock to a time of January 2030."""
    stage.clock.at = stage.scene.now = datetime(2030, 1, day, hour, minute, second, micros, tzinfo=UTC)


async def claimed(stage: Stage) -> list[UUID]:
    """What a worker gets now, after the service has looked."""
    await Opener(stage.pool, stage.clock, stage.wake).tick()
    return [one.id for one in await stage.scene.claim()]


async def test_nothing_starts_outside_of_the_window(stage: Stage) -> None:
    """Open from 09:00 to the end of the minute 17:00 on weekdays, to the last microsecond; closed else."""
    job = await job_with_window(stage)
    open_times = [(17, 9, 0, 0, 0), (17, 12, 30, 0, 0), (17, 17, 0, 59, 999_999), (21, 9, 0, 0, 0)]
    closed_times = [
        (16, 17, 1, 0, 0),
        (17, 8, 59, 59, 999_999),
        (17, 17, 1, 0, 0),
        (19, 12, 0, 0, 0),
        (20, 12, 0, 0, 0),
    ]
    for moment in sorted(open_times + closed_times):
        at(stage, *moment)
        made = await stage.scene.add(job)
        got = await claimed(stage)
        if moment in open_times:
            assert made[0] in got, moment
        else:
            assert got == [], moment


async def test_a_run_of_the_last_moment_waits_for_the_morning(stage: Stage) -> None:
    """Triggered at 16:59:59.9 it may start until 17:01; what did not, keeps its place and starts first at 09:00."""
    job = await job_with_window(stage)
    at(stage, 16, 16, 59, 59, 900_000)
    first, second = await stage.scene.add(job, 2)
    (one,) = await stage.scene.claim(1)
    assert one.id == first
    at(stage, 16, 17, 1)
    third = (await stage.scene.add(job))[0]
    assert await claimed(stage) == []
    at(stage, 17, 9)
    assert await claimed(stage) == [second, third]


async def test_retries_and_replays_wait_too(stage: Stage) -> None:
    """A retry that is due at 18:00 and a run that is replayed then start in the morning, their attempts unspent."""
    job = await job_with_window(stage)
    at(stage, 16, 16)
    retried = await stage.scene.executing(job)
    assert await stage.scene.retry(retried, timedelta(hours=2))
    failed = await stage.scene.executing(job)
    assert await stage.scene.finish(failed, Status.DEAD_LETTER)
    at(stage, 16, 18)
    await stage.stager().tick()
    assert await runs.replay(stage.scene.conn, failed.id, stage.clock.now())
    assert await claimed(stage) == []
    at(stage, 17, 9)
    assert set(await claimed(stage)) == {retried.id, failed.id}
    assert (await stage.scene.run(retried.id))["attempt"] == 1


async def test_ticks_and_steps_wait_too(stage: Stage) -> None:
    """A workflow's step at 18:00 and a tick at 20:00 make their runs at once, and these start in the morning."""
    at(stage, 16, 16)
    job = await job_with_window(stage, slug="a", cron="0 20 * * *")
    await place(stage, job)
    flow = Flow(stage.scene)
    at(stage, 16, 18)
    await flow.trigger(await flow.workflow({"step_ref": "s"}))
    assert await claimed(stage) == []
    at(stage, 16, 20)
    await ticker(stage).tick()
    assert await claimed(stage) == []
    made = await stage.scene.rows("SELECT id, triggered_by FROM strait.runs ORDER BY id")
    assert [row["triggered_by"] for row in made] == ["workflow", "cron"]
    at(stage, 17, 9)
    assert await claimed(stage) == [row["id"] for row in made]


async def test_other_jobs_pass_by(stage: Stage) -> None:
    """What is held is in nobody's way; a window that is taken away lets its runs go."""
    job = await job_with_window(stage, "* 3 * * *")
    held = await stage.scene.add(job, 5)
    other = await stage.scene.job(slug="other")
    free = await stage.scene.add(other, 5)
    assert await claimed(stage) == free
    assert await stage.scene.broken() == []
    async with stage.scene.conn.transaction():
        stored = await jobs.lock_job(stage.scene.conn, job.id)
        assert stored is not None
        await openings.clear(stage.scene.conn, job.id)
    assert await claimed(stage) == held


async def test_a_window_given_to_a_job_with_queued_runs(stage: Stage) -> None:
    """Its entries leave lane 0 for the job's own with the claim that meets them, and are not claimed."""
    job = await stage.scene.job()
    await stage.scene.add(job, 3)
    changed = await jobs.update_job(
        stage.scene.conn,
        job,
        replace(job.spec, execution_window_cron="* 3 * * *"),
        stage.scene.new_id(),
        stage.clock.now(),
        enabled=True,
    )
    assert changed is not None
    await openings.place(stage.scene.conn, job.id, changed.spec, stage.clock.now())
    assert await claimed(stage) == []
    assert await claimed(stage) == []


async def test_a_window_that_never_closes_never_closes(stage: Stage) -> None:
    """Told in pieces of days, each set anew before it is over, also by a service that sleeps for a day."""
    job = await job_with_window(stage, "* * * * *")
    for _ in range(30):
        stage.later(days=1)
        await Opener(stage.pool, stage.clock, stage.wake).tick()
        (made,) = await stage.scene.add(job)
        assert await claimed(stage) == [made]


async def test_the_opener_sleeps_until_a_window_begins(stage: Stage) -> None:
    """Long sleeps are bounded; just before a window begins they end with it, and workers are woken then."""
    await job_with_window(stage, "* 13 * * *")
    opener = Opener(stage.pool, stage.clock, stage.wake)
    assert await opener.tick() == LONGEST_SECS
    at(stage, 16, 12, 59, 59, 600_000)
    assert 0.3 < await opener.tick() <= 0.4
    assert stage.woken == 0
    at(stage, 16, 13)
    await opener.tick()
    assert stage.woken == 1
