"""One schedule that cannot be decided, or a kind of work that comes in a flood, keeps no other waiting."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from strait_core.run import Status
from strait_core.store import queue
from strait_core.store.owners import Kind
from strait_daemon.services import ticks
from strait_daemon.services.stager import BATCH
from tests.services.stage import Stage
from tests.services.test_ticker import NOON, scheduled, ticker


async def fired(stage: Stage) -> dict[UUID, list[Any]]:
    """By job, the ticks of its runs."""
    found: dict[UUID, list[Any]] = {}
    for row in await stage.scene.rows("SELECT job_id, fire_at FROM strait.runs ORDER BY fire_at"):
        found.setdefault(row["job_id"], []).append(row["fire_at"])
    return found


async def test_a_tick_that_was_decided_before_stops_nobody(stage: Stage) -> None:
    """A clock that went back left a schedule before its own past: that is passed over, and all others fire."""
    jobs = [await scheduled(stage, slug=f"job-{n}") for n in range(3)]
    stage.later(minutes=1)
    await ticker(stage).tick()
    await stage.scene.rows(
        f"UPDATE strait.schedules SET next_fire_at = '{stage.clock.now()}', due_at = '{stage.clock.now()}'"
        f" WHERE target_id = '{jobs[1].id}'"
    )
    stage.later(minutes=1)
    await ticker(stage).tick()
    both = [NOON + timedelta(minutes=1), NOON + timedelta(minutes=2)]
    assert await fired(stage) == {job.id: both for job in jobs}
    assert await stage.scene.broken() == []


@pytest.mark.parametrize(
    "change",
    [
        "definition = 'of a release to come'",
        'definition = replace(definition, \'"default_run_metadata":{}\', \'"default_run_metadata":{"a":"\\u0000"}\')',
    ],
    ids=["unreadable", "refused by the database"],
)
async def test_a_job_that_cannot_run_stops_nobody(stage: Stage, change: str) -> None:
    """It is put off for a minute and keeps its tick; the others of its batch fire in time, once."""
    jobs = [await scheduled(stage, slug=f"job-{n}") for n in range(3)]
    bad = jobs[1].id
    (before,) = await stage.scene.rows("SELECT definition FROM strait.jobs WHERE id = %s", bad)
    await stage.scene.rows(f"UPDATE strait.jobs SET {change} WHERE id = '{bad}'")
    (after,) = await stage.scene.rows("SELECT definition FROM strait.jobs WHERE id = %s", bad)
    assert before != after
    stage.later(minutes=1)
    assert await ticker(stage).tick() > 0
    minute = [NOON + timedelta(minutes=1)]
    assert await fired(stage) == {jobs[0].id: minute, jobs[2].id: minute}
    (late,) = await stage.scene.rows("SELECT next_fire_at, due_at FROM strait.schedules WHERE target_id = %s", bad)
    assert (late["next_fire_at"], late["due_at"]) == (minute[0], stage.clock.now() + ticks.UNDECIDED_PAUSE)
    await stage.scene.rows("UPDATE strait.jobs SET definition = %s WHERE id = %s", before["definition"], bad)
    stage.later(minutes=2)
    await ticker(stage).tick()
    assert bad in await fired(stage)


async def test_what_was_missed_is_caught_up_beside_a_flood(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a batch is due at every look, and still a schedule whose tick was missed gets its turn."""
    monkeypatch.setattr("strait_daemon.services.ticker.BATCH", {Kind.JOB: 2})
    missed = await scheduled(stage, "0 * * * *")
    stage.later(hours=2, minutes=30)
    for number in range(6):
        await scheduled(stage, slug=f"job-{number}")
    stage.later(minutes=1)
    assert await ticker(stage).tick() == 0.0
    assert (await fired(stage))[missed.id] == [NOON + timedelta(hours=2)]


async def test_a_flood_of_delayed_runs_keeps_no_retry_waiting(stage: Stage) -> None:
    """A retry that comes due in the midst of a flood is promoted with the next batch, and the other way round."""
    scene = stage.scene
    job = await scene.job()
    retried = await scene.executing(job)
    assert await scene.retry(retried, timedelta(seconds=61))
    flood = scene.now + timedelta(seconds=60)
    for _ in range(2):
        new = [scene.new_run(job, scheduled_at=flood) for _ in range(BATCH)]
        assert len(await queue.insert_runs(scene.conn, new, scene.now)) == BATCH
    stage.later(seconds=61)
    stager = stage.stager()
    assert await stager.tick() == 0.0
    (first,) = await scene.claim(1)
    assert first.id == retried.id
    assert (await scene.run(retried.id))["next_retry_at"] is None
    while await stager.tick() == 0.0:
        pass
    assert await scene.rows("SELECT 1 FROM strait.due") == []
    assert await scene.broken() == []
    assert await scene.status(retried.id) == Status.DEQUEUED
