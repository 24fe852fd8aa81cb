"""Deadlines of schedules: each breach found once, whoever looks and however late; nothing is expected of what is off."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from strait_core.run import Status
from strait_core.store import calendars, completions, jobs, schedules
from strait_core.store.claims import Claimed
from strait_core.store.jobs import StoredJob
from strait_daemon.services import placing, timekeeper
from strait_daemon.services.timekeeper import Timekeeper
from tests.services.stage import Stage
from tests.services.test_ticker import place, scheduled, ticker

# The stage's clock begins on a Wednesday at noon, UTC.
NOON = datetime(2030, 1, 16, 12, tzinfo=UTC)
HOUR = 3_600


def keeper(stage: Stage) -> Timekeeper:
    """A daemon's timekeeper."""
    return Timekeeper(stage.pool, stage.clock, kept_days=90)


async def broken(stage: Stage) -> list[tuple[str, str]]:
    """Every breach, in order: its deadline and until when it would have been kept."""
    rows = await stage.scene.rows("SELECT deadline, limit_at FROM strait.breaches ORDER BY limit_at, deadline")
    return [(row["deadline"].partition("_")[0], f"{row['limit_at'].astimezone(UTC):%d %H:%M:%S}") for row in rows]


async def watched(stage: Stage) -> list[str]:
    """The deadlines that somebody will look at."""
    rows = await stage.scene.rows("SELECT deadline FROM strait.deadlines ORDER BY deadline")
    return [row["deadline"].partition("_")[0] for row in rows]


async def fire(stage: Stage) -> None:
    """Let the next tick come: it is on the full hour."""
    stage.clock.at = stage.scene.now = (stage.clock.now() + timedelta(hours=1)).replace(minute=0, second=0)
    await ticker(stage).tick()


async def live(stage: Stage) -> Claimed:
    (found,) = await stage.scene.start(*await stage.scene.claim())
    return found


async def complete(stage: Stage, run: Claimed) -> None:
    """End the run well, as the writer does: with what follows from it."""
    conn = stage.scene.conn
    async with conn.transaction():
        assert await stage.scene.finish(run)
        await completions.follow(conn, [run.id], stage.clock.now())


async def test_a_late_start_and_a_late_end_are_found_once(stage: Stage) -> None:
    """Not at the limit, but after it; a second look, another keeper and the run's own end add nothing."""
    await scheduled(stage, "0 * * * *", start_within_secs=60, finish_within_secs=600)
    await fire(stage)
    stage.later(seconds=60)
    await keeper(stage).tick()
    assert await broken(stage) == []
    stage.later(seconds=1, milliseconds=1)
    await asyncio.gather(keeper(stage).tick(), keeper(stage).tick())
    assert await broken(stage) == [("start", "16 13:01:00")]
    run = await live(stage)
    stage.later(minutes=10)
    await keeper(stage).tick()
    assert await stage.scene.finish(run)
    stage.later(hours=1)
    await keeper(stage).tick()
    assert await broken(stage) == [("start", "16 13:01:00"), ("finish", "16 13:10:00")]
    assert await watched(stage) == []
    (row,) = await stage.scene.rows("SELECT * FROM strait.breaches WHERE deadline LIKE 'start%'")
    assert (row["run_id"], row["since"], row["project_id"]) == (run.id, NOON + timedelta(hours=1), "p")


async def test_what_is_in_time_breaks_nothing(stage: Stage) -> None:
    """Started and ended before the limits, however late somebody looks."""
    await scheduled(stage, "0 * * * *", start_within_secs=60, finish_within_secs=600)
    await fire(stage)
    stage.later(seconds=60)
    run = await live(stage)
    stage.later(seconds=540)
    assert await stage.scene.finish(run)
    stage.later(minutes=30)
    await keeper(stage).tick()
    assert (await broken(stage), await watched(stage)) == ([], [])


async def test_the_first_start_and_the_first_end_count(stage: Stage) -> None:
    """A retry that starts late and a replay that runs for hours do not undo what was in time."""
    await scheduled(stage, "0 * * * *", start_within_secs=60, finish_within_secs=600)
    await fire(stage)
    stage.later(seconds=30)
    run = await live(stage)
    assert await stage.scene.retry(run)
    stage.later(seconds=60)
    again = await live(stage)
    assert await stage.scene.finish(again, Status.DEAD_LETTER)
    stage.later(seconds=60)
    assert await stage.scene.replay(run.id)
    await live(stage)
    stage.later(hours=3)
    await keeper(stage).tick()
    assert await broken(stage) == []


async def test_a_run_that_retries_past_its_limit_is_late(stage: Stage) -> None:
    """An attempt that failed in time is no end."""
    await scheduled(stage, "0 * * * *", finish_within_secs=600)
    await fire(stage)
    assert await stage.scene.retry(await live(stage), timedelta(minutes=20))
    stage.later(minutes=11)
    await keeper(stage).tick()
    assert await broken(stage) == [("finish", "16 13:10:00")]


async def test_a_canceled_run_has_ended(stage: Stage) -> None:
    """Somebody decided that it need not go on; without an attempt its event tells when."""
    await scheduled(stage, "0 * * * *", finish_within_secs=600)
    await fire(stage)
    (run,) = await stage.scene.rows("SELECT id FROM strait.runs")
    stage.later(minutes=5)
    assert await stage.scene.cancel(run["id"])
    stage.later(minutes=30)
    await keeper(stage).tick()
    assert await broken(stage) == []


async def test_an_outage_hides_nothing(stage: Stage) -> None:
    """Twelve hours without a daemon: the tick before it is late, the one made up for is late by its own time."""
    await scheduled(stage, "0 * * * *", start_within_secs=60, expect_every_secs=2 * HOUR)
    await fire(stage)
    stage.later(hours=12, minutes=30)
    await asyncio.gather(keeper(stage).tick(), ticker(stage).tick())
    await keeper(stage).tick()
    assert await broken(stage) == [("start", "16 13:01:00"), ("expect", "16 14:00:00"), ("start", "17 01:01:00")]
    assert await watched(stage) == ["expect"]


async def test_a_skipped_tick_has_no_deadline(stage: Stage) -> None:
    """A tick without a run is told by the history."""
    await scheduled(stage, "0 * * * *", finish_within_secs=60, overlap_policy="skip")
    await fire(stage)
    await fire(stage)
    assert await watched(stage) == ["finish"]


async def test_a_tick_that_waits_is_late_before_it_has_a_run(stage: Stage) -> None:
    """overlap_policy queue_one: its start is missed while the run before goes on; found once."""
    await scheduled(stage, "0 * * * *", start_within_secs=60, overlap_policy="queue_one")
    await fire(stage)
    run = await live(stage)
    await fire(stage)
    stage.later(minutes=2)
    await keeper(stage).tick()
    assert await broken(stage) == [("start", "16 14:01:00")]
    assert await stage.scene.finish(run)
    await ticker(stage).tick()
    stage.later(minutes=2)
    await keeper(stage).tick()
    assert await broken(stage) == [("start", "16 14:01:00")]


async def test_a_run_fired_by_hand_has_no_deadline(stage: Stage) -> None:
    """Who fires it knows what he waits for."""
    job = await scheduled(stage, "0 * * * *", start_within_secs=60)
    found = await schedules.of_owner(stage.scene.conn, job.id)
    assert found is not None
    assert await placing.fire_now(stage.scene.conn, job, found, stage.clock.now(), stage.scene.new_id)
    assert await watched(stage) == []


async def test_a_paused_job_is_late_for_nothing(stage: Stage) -> None:
    """Its queued runs are held, and nobody expects a success; resumed, the expectation begins anew."""
    job = await scheduled(stage, "0 * * * *", start_within_secs=60, expect_every_secs=HOUR)
    await fire(stage)
    paused = await jobs.pause_job(stage.scene.conn, job.id, None, stage.clock.now())
    assert paused is not None
    await place(stage, paused)
    stage.later(hours=5)
    await keeper(stage).tick()
    assert (await broken(stage), await watched(stage)) == ([], [])
    resumed = await jobs.resume_job(stage.scene.conn, job.id, stage.clock.now())
    assert resumed is not None
    await place(stage, resumed)
    stage.later(minutes=61)
    await keeper(stage).tick()
    assert await broken(stage) == [("expect", "16 19:00:00")]


@pytest.mark.parametrize("off", ["paused schedule", "disabled job", "no schedule", "deleted job"])
async def test_what_is_off_is_expected_nothing_of(stage: Stage, off: str) -> None:
    """Whatever took it away, and whoever looks afterwards."""
    job = await scheduled(stage, "0 * * * *", expect_every_secs=HOUR)
    conn = stage.scene.conn
    match off:
        case "paused schedule":
            found = await schedules.of_owner(conn, job.id)
            assert found is not None
            await placing.set_paused(conn, job, found, stage.clock.now(), paused=True, reason=None)
        case "no schedule":
            await schedules.drop(conn, job.id)
        case "deleted job":
            await jobs.delete_job(conn, job.id, stage.clock.now())
        case _:
            await stage.scene.rows("UPDATE strait.jobs SET enabled = false")
    stage.later(hours=3)
    await keeper(stage).tick()
    assert (await broken(stage), await watched(stage)) == ([], [])


async def test_a_success_puts_the_limit_off(stage: Stage) -> None:
    """Counted from the last one, of whichever run of the job; every further period without one is a breach of its own."""
    job = await scheduled(stage, "0 * * * *", expect_every_secs=2 * HOUR)
    for _ in range(3):
        await fire(stage)
        await keeper(stage).tick()
        await complete(stage, await live(stage))
    await complete(stage, await stage.scene.executing(job))
    assert await broken(stage) == []
    for _ in range(5):
        await fire(stage)
        await stage.scene.finish(await live(stage), Status.DEAD_LETTER)
        stage.later(seconds=2)
        await keeper(stage).tick()
    assert await broken(stage) == [("expect", "16 17:00:00"), ("expect", "16 19:00:00")]


async def test_an_edit_moves_the_limit_and_not_the_beginning(stage: Stage) -> None:
    """A shorter silence counts at once, from the success before; lifting it ends the expectation."""
    job = await scheduled(stage, "0 * * * *", expect_every_secs=10 * HOUR)
    stage.later(hours=3)
    edited = await edit(stage, job, expect_every_secs=2 * HOUR)
    await keeper(stage).tick()
    assert await broken(stage) == [("expect", "16 14:00:00")]
    await edit(stage, edited, expect_every_secs=None)
    assert await watched(stage) == []


async def edit(stage: Stage, job: StoredJob, **changes: Any) -> StoredJob:
    """Change a job as the API does."""
    conn = stage.scene.conn
    spec = replace(job.spec, **changes)
    changed = await jobs.update_job(conn, job, spec, stage.scene.new_id(), stage.clock.now(), enabled=True)
    assert changed is not None
    await place(stage, changed)
    return changed


async def test_days_off_do_not_count(stage: Stage) -> None:
    """Friday's success and a weekend that the calendar leaves out: 25 hours end on Monday."""
    days = '{"dates":[],"ranges":[],"weekdays":["sat","sun"]}'
    made = await calendars.insert(stage.scene.conn, stage.scene.new_id(), "p", "weekend", days, stage.clock.now())
    assert made is not None
    stage.later(days=2)
    await scheduled(stage, "0 12 * * *", expect_every_secs=25 * HOUR, calendar="weekend")
    stage.later(days=3)
    await keeper(stage).tick()
    assert await broken(stage) == []
    stage.later(hours=1, seconds=2)
    await keeper(stage).tick()
    assert await broken(stage) == [("expect", "21 13:00:00")]


async def test_a_breach_is_told_by_an_alert(stage: Stage) -> None:
    """One delivery for each, with whose it is and how long the deadline was; none without a URL."""
    url = "http://127.0.0.1:9/alerts"
    await scheduled(stage, "0 * * * *", slug="told", start_within_secs=60, alert_webhook_url=url)
    await scheduled(stage, "0 * * * *", slug="silent", start_within_secs=60)
    await fire(stage)
    stage.later(seconds=90)
    await keeper(stage).tick()
    assert len(await broken(stage)) == 2
    (row,) = await stage.scene.rows("SELECT * FROM strait.webhook_deliveries")
    assert (row["type"], row["status"], row["due_at"]) == ("deadline.broken", "pending", stage.clock.now())
    alert = msgspec.json.decode(row["alert"])
    assert (alert["deadline"], alert["secs"], alert["job_slug"]) == ("start_within_secs", 60, "told")
    assert alert["limit_at"] == "2030-01-16T13:01:00Z"
    assert alert["run_id"].startswith("run_")
    assert alert["schedule_id"].startswith("sch_")


async def test_what_cannot_be_judged_is_in_nobodys_way(stage: Stage) -> None:
    """A zone that is gone from the tz database: the others are judged; it is looked at again, and then found."""
    job = await scheduled(stage, "0 * * * *", slug="odd", start_within_secs=60, timezone="Europe/Berlin")
    await scheduled(stage, "0 * * * *", slug="sound", start_within_secs=60)
    await fire(stage)
    away = "UPDATE strait.jobs SET definition = replace(definition, %s, %s) WHERE id = %s"
    await stage.scene.rows(away, '"cron":"0 * * * *"', '"cron":"bad"', job.id)
    stage.later(seconds=90)
    await keeper(stage).tick()
    assert len(await broken(stage)) == 1
    await stage.scene.rows(away, '"cron":"bad"', '"cron":"0 * * * *"', job.id)
    stage.later(minutes=2)
    await keeper(stage).tick()
    assert len(await broken(stage)) == 2


async def test_many_keepers_and_many_breaches(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty schedules, a day, four keepers in small batches: each tick late once."""
    monkeypatch.setattr(timekeeper, "BATCH", 7)
    for number in range(40):
        await scheduled(stage, "0 * * * *", slug=f"job-{number}", start_within_secs=60)
    keepers = [keeper(stage) for _ in range(4)]
    for _ in range(3):
        await fire(stage)
        stage.later(minutes=2)
        while 0.0 in await asyncio.gather(*(one.tick() for one in keepers)):
            pass
    assert len(await broken(stage)) == 120
    assert await watched(stage) == []


async def test_old_breaches_are_forgotten(stage: Stage) -> None:
    """After the longer of the two times, by when they were found."""
    await scheduled(stage, "0 * * * *", start_within_secs=60)
    await fire(stage)
    stage.later(minutes=2)
    await keeper(stage).tick()
    stage.later(days=89)
    await keeper(stage).tick()
    assert len(await broken(stage)) == 1
    stage.later(days=2)
    await keeper(stage).tick()
    assert await broken(stage) == []
