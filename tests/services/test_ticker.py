"""Ticks of schedules: each one run or one recorded skip, by whatever policy, whoever comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from strait_core.budget import Budget, bucket_of
from strait_core.errors import ValidationError
from strait_core.run import Status
from strait_core.store import budgets, calendars, jobs, schedules
from strait_core.store.jobs import StoredJob
from strait_core.store.owners import Kind
from strait_daemon.services import placing, ticks
from strait_daemon.services.ticker import LONGEST_SECS, Ticker
from tests.services.stage import Stage

# The stage's clock begins on a Wednesday at noon, UTC.
NOON = datetime(2030, 1, 16, 12, tzinfo=UTC)


def ticker(stage: Stage, taken: list[UUID] | None = None, *, kind: Kind = Kind.JOB) -> Ticker:
    """A daemon's ticker."""
    return Ticker(
        kind,
        stage.pool,
        stage.clock,
        stage.scene.new_id,
        wake=stage.wake,
        changed=stage.noted,
        taken=(taken if taken is not None else []).extend,
        brought=lambda _: None,
    )


async def scheduled(stage: Stage, cron: str = "* * * * *", **changes: Any) -> StoredJob:
    """A job with a schedule, placed as the API does it."""
    job = await stage.scene.job(cron=cron, **changes)
    await place(stage, job)
    return job


async def place(stage: Stage, job: StoredJob) -> None:
    conn = stage.scene.conn
    async with conn.transaction():
        await placing.settle(conn, job, stage.clock.now(), stage.scene.new_id)
        await placing.place(conn, job, stage.clock.now(), stage.scene.new_id)


async def fires(stage: Stage, *, runs: bool | None = None) -> list[tuple[str, str]]:
    """What every tick came to, in order: its time of day and the run's origin, or the skip's reason."""
    rows = await stage.scene.rows("SELECT * FROM strait.schedule_fires ORDER BY fire_at, schedule_id")
    wanted = [row for row in rows if runs is None or (row["run_id"] is not None) == runs]
    return [(f"{row['fire_at'].astimezone(UTC):%H:%M}", row["skipped"] or row["triggered_by"]) for row in wanted]


async def test_a_tick_makes_a_run(stage: Stage) -> None:
    """Nothing before its time; then one run that carries the tick, and the schedule stands at the next one."""
    await scheduled(stage, "5 * * * *", default_run_metadata={"by": "clock"})
    clock = ticker(stage)
    assert await clock.tick() == LONGEST_SECS
    stage.later(minutes=4, seconds=59, milliseconds=900)
    assert 0.05 < await clock.tick() <= 0.1
    assert await fires(stage) == []
    stage.later(milliseconds=100)
    await clock.tick()
    (run,) = await stage.scene.rows("SELECT * FROM strait.runs")
    at = NOON + timedelta(minutes=5)
    assert (run["status"], run["triggered_by"], run["fire_at"]) == ("queued", "cron", at)
    assert (run["metadata"], run["payload"]) == ({"by": "clock"}, "{}")
    (fire,) = await stage.scene.rows("SELECT * FROM strait.schedule_fires")
    assert (fire["run_id"], fire["fire_at"], fire["skipped"]) == (run["id"], at, None)
    (schedule,) = await stage.scene.rows("SELECT * FROM strait.schedules")
    assert schedule["next_fire_at"] == schedule["due_at"] == NOON + timedelta(hours=1, minutes=5)
    assert stage.changed == [run["id"]]
    assert stage.woken == 1


@pytest.mark.parametrize("overlap", ["allow", "skip", "queue_one", "cancel_running"])
async def test_a_project_without_money_makes_no_ticks(stage: Stage, overlap: str) -> None:
    """Each tick over the day's budget is a recorded skip, whatever runs; the next day they fire again."""
    await scheduled(stage, "0 * * * *", overlap_policy=overlap)
    await stage.scene.rows("INSERT INTO strait.budgets VALUES ('p', 0, 'UTC', %s)", stage.clock.now())
    stage.later(hours=1)
    await ticker(stage).tick()
    assert await fires(stage) == [("13:00", "budget")]
    assert await stage.scene.rows("SELECT * FROM strait.runs") == []
    await budgets.put_budget(stage.scene.conn, "p", Budget(1, "UTC"), stage.clock.now())
    stage.later(hours=1)
    await ticker(stage).tick()
    (running,) = await stage.scene.rows("SELECT * FROM strait.runs")
    await stage.scene.rows(
        "INSERT INTO strait.spending (project_id, bucket, microusd) VALUES ('p', %s, 1)", bucket_of(stage.clock.now())
    )
    stage.later(hours=1)
    await ticker(stage).tick()
    # One that waits for the run before it is not decided yet.
    came_to = {"skip": [("15:00", "overlap")], "queue_one": []}
    assert (await fires(stage))[2:] == came_to.get(overlap, [("15:00", "budget")])
    assert await stage.scene.status(running["id"]) == Status.QUEUED
    if overlap == "queue_one":
        (live,) = await stage.scene.claim()
        (live,) = await stage.scene.start(live)
        assert await stage.scene.finish(live)
        stage.later(seconds=1)
        await ticker(stage).tick()
        assert (await fires(stage))[2:] == [("15:00", "budget")]


async def test_many_tickers_decide_each_tick_once(stage: Stage) -> None:
    """Eight at once, 40 schedules, an hour: 40 × 60 ticks, each one run."""
    for number in range(40):
        await scheduled(stage, slug=f"job-{number}")
    tickers = [ticker(stage) for _ in range(8)]
    for _ in range(60):
        stage.later(minutes=1)
        await asyncio.gather(*(one.tick() for one in tickers))
    rows = await stage.scene.rows(
        "SELECT count(*) AS n, count(DISTINCT (job_id, fire_at)) AS different FROM strait.runs"
    )
    assert rows == [{"n": 2_400, "different": 2_400}]
    assert len(await fires(stage, runs=True)) == 2_400


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("coalesce", [("23:00", "coalesced"), ("00:00", "catch_up")]),
        ("skip", [("00:00", "missed")]),
        ("all", [(f"{hour % 24:02}:00", "catch_up") for hour in range(13, 25)]),
    ],
)
async def test_twelve_hours_without_a_daemon(stage: Stage, policy: str, expected: Sequence[tuple[str, str]]) -> None:
    """What the missed ticks come to is the policy's to say; the next one fires as if nothing had been."""
    await scheduled(stage, "0 * * * *", misfire_policy=policy)
    stage.later(hours=12, minutes=30)
    made = []
    for _ in range(4):
        await ticker(stage).tick()
        made.append(len(await fires(stage, runs=True)))
    assert await fires(stage) == list(expected)
    assert all(after - before <= ticks.ROOM for before, after in zip([0, *made], made, strict=False))
    stage.later(minutes=30)
    await ticker(stage).tick()
    assert (await fires(stage))[-1] == ("01:00", "cron")


async def test_too_late_and_too_many(stage: Stage) -> None:
    """Older than the lateness: a skip. Beyond the number of runs: a skip. Each stands for a stretch of ticks."""
    await scheduled(stage, "0 * * * *", misfire_policy="all", misfire_max_lateness_secs=8 * 3_600, misfire_max_runs=2)
    stage.later(hours=12, minutes=30)
    await ticker(stage).tick()
    rows = await stage.scene.rows("SELECT ticks, skipped FROM strait.schedule_fires ORDER BY fire_at")
    assert [(row["ticks"], row["skipped"]) for row in rows] == [(4, "too_late"), (6, "too_many"), (1, None), (1, None)]


async def test_a_tick_skips_while_a_run_is_active(stage: Stage) -> None:
    """overlap_policy skip: a recorded skip until the run has ended."""
    await scheduled(stage, overlap_policy="skip")
    clock = ticker(stage)
    for _ in range(3):
        stage.later(minutes=1)
        await clock.tick()
    (live,) = await stage.scene.start(*await stage.scene.claim())
    assert await stage.scene.finish(live)
    stage.later(minutes=1)
    await clock.tick()
    assert [what for _, what in await fires(stage)] == ["cron", "overlap", "overlap", "cron"]


async def test_a_tick_cancels_what_runs(stage: Stage) -> None:
    """overlap_policy cancel_running: the run of the tick before is canceled in the transaction that stores the new."""
    await scheduled(stage, overlap_policy="cancel_running")
    taken: list[UUID] = []
    clock = ticker(stage, taken)
    stage.later(minutes=1)
    await clock.tick()
    (live,) = await stage.scene.start(*await stage.scene.claim())
    stage.later(minutes=1)
    await clock.tick()
    assert await stage.scene.status(live.id) == Status.CANCELED
    assert taken == [live.id]
    assert [what for _, what in await fires(stage)] == ["cron", "cron"]
    assert len(await stage.scene.rows("SELECT * FROM strait.runs")) == 1


async def test_one_tick_waits_for_the_run_before(stage: Stage) -> None:
    """overlap_policy queue_one: one tick waits, those behind it are skipped, and it fires when the run has ended."""
    await scheduled(stage, overlap_policy="queue_one")
    clock = ticker(stage)
    for _ in range(4):
        stage.later(minutes=1)
        await clock.tick()
    (schedule,) = await stage.scene.rows("SELECT * FROM strait.schedules")
    assert schedule["held_fire_at"] == NOON + timedelta(minutes=2)
    assert await fires(stage) == [("12:01", "cron"), ("12:03", "overlap"), ("12:04", "overlap")]
    (live,) = await stage.scene.start(*await stage.scene.claim())
    assert await stage.scene.finish(live)
    stage.later(seconds=1)
    await clock.tick()
    assert len(await stage.scene.claim()) == 1
    assert ("12:02", "catch_up") in await fires(stage)
    (schedule,) = await stage.scene.rows("SELECT * FROM strait.schedules")
    assert schedule["held_fire_at"] is None


async def test_an_edit_loses_no_tick(stage: Stage) -> None:
    """What is due under the old expression fires when it changes, its jitter cut short; then the new one counts."""
    job = await scheduled(stage, "5 * * * *", jitter_secs=600)
    stage.later(minutes=5, milliseconds=1)
    conn = stage.scene.conn
    async with conn.transaction():
        held = await jobs.lock_job(conn, job.id)
        assert held is not None
        await placing.settle(conn, held, stage.clock.now(), stage.scene.new_id)
        spec = replace(held.spec, cron="7 * * * *", jitter_secs=None)
        changed = await jobs.update_job(conn, held, spec, stage.scene.new_id(), stage.clock.now(), enabled=True)
        assert changed is not None
        await placing.place(conn, changed, stage.clock.now(), stage.scene.new_id)
    assert await fires(stage) == [("12:05", "cron")]
    stage.later(minutes=10)
    await ticker(stage).tick()
    assert await fires(stage) == [("12:05", "cron"), ("12:07", "catch_up")]


async def test_a_tick_passes_over_a_schedule_that_is_being_changed(stage: Stage) -> None:
    """Who changes it holds it; afterwards the tick is still due."""
    job = await scheduled(stage)
    stage.later(minutes=1)
    other = await stage.scene.other()
    async with other.transaction():
        await schedules.lock(other, job.id)
        await ticker(stage).tick()
        assert await fires(stage) == []
    await ticker(stage).tick()
    assert await fires(stage) == [("12:01", "cron")]


async def test_a_calendar_that_is_just_being_deleted_is_not_there(stage: Stage) -> None:
    """Who lets a schedule go by it waits for the deletion, and is told that there is no such calendar."""
    scene, other = stage.scene, await stage.scene.other()
    made = await calendars.insert(scene.conn, scene.new_id(), "p", "weekend", '{"weekdays":["sat"]}', scene.now)
    assert made is not None
    job = await scene.job(cron="0 9 * * *", calendar="weekend")
    async with other.transaction():
        await calendars.delete(other, made.id)
        placed = asyncio.create_task(place(stage, job))
        await scene.blocked(scene.conn)
    with pytest.raises(ValidationError) as caught:
        await placed
    assert [fault.pointer for fault in caught.value.faults] == ["/calendar"]


async def test_a_paused_or_disabled_job_piles_nothing_up(stage: Stage) -> None:
    """No ticks while it is off, and none are made up for afterwards."""
    job = await scheduled(stage)
    conn = stage.scene.conn
    paused = await jobs.pause_job(conn, job.id, None, stage.clock.now())
    assert paused is not None
    await place(stage, paused)
    stage.later(hours=1)
    await ticker(stage).tick()
    resumed = await jobs.resume_job(conn, job.id, stage.clock.now())
    assert resumed is not None
    await place(stage, resumed)
    stage.later(minutes=1)
    await ticker(stage).tick()
    assert await fires(stage) == [("13:01", "cron")]


async def test_jitter_is_what_the_preview_says(stage: Stage) -> None:
    """The run comes when the preview said, not before, and carries the tick's own time."""
    job = await scheduled(stage, "0 * * * *", jitter_secs=1_800)
    found = await schedules.of_owner(stage.scene.conn, job.id)
    assert found is not None
    ((fire_at, runs_at), *_) = placing.upcoming(found, 3)
    assert NOON + timedelta(hours=1) == fire_at < runs_at
    stage.later(seconds=(runs_at - NOON).total_seconds() - 0.001)
    await ticker(stage).tick()
    assert await fires(stage) == []
    stage.later(milliseconds=1)
    await ticker(stage).tick()
    assert await fires(stage) == [("13:00", "cron")]


async def test_weeks_without_a_daemon(stage: Stage) -> None:
    """Ticks that lie in weeks without a partition find one."""
    await scheduled(stage, "0 0 * * 1", misfire_policy="all")
    stage.later(days=100)
    await stage.retention(0, 0).tick()
    for _ in range(4):
        await ticker(stage).tick()
    assert len(await fires(stage, runs=True)) == 14


async def test_a_schedule_that_cannot_be_decided_is_in_nobodys_way(stage: Stage) -> None:
    """A zone that is gone from the tz database: the others fire; once it is back, its ticks are made up for."""
    broken = await scheduled(stage, slug="broken", timezone="Europe/Berlin", misfire_policy="all")
    await scheduled(stage, slug="sound")
    away = "UPDATE strait.jobs SET definition = replace(definition, %s, %s) WHERE id = %s"
    await stage.scene.rows(away, "Europe/Berlin", "Europe/Nowhere", broken.id)
    clock = ticker(stage)
    for _ in range(3):
        stage.later(minutes=1)
        await clock.tick()
    assert len(await fires(stage)) == 3
    await stage.scene.rows(away, "Europe/Nowhere", "Europe/Berlin", broken.id)
    stage.later(minutes=1)
    await ticker(stage).tick()
    assert len(await fires(stage, runs=True)) == 8


async def test_what_ticks_came_to_is_kept_for_the_longer_time(stage: Stage) -> None:
    """Whole weeks leave, as runs do, by the tick's own time."""
    await scheduled(stage, "0 0 1 1 *")
    stage.later(days=350)
    await stage.retention(0, 0).tick()
    await ticker(stage).tick()
    assert len(await fires(stage)) == 1
    stage.later(days=89)
    await stage.retention(short_days=30, long_days=90).tick()
    assert len(await fires(stage)) == 1
    stage.later(days=15)
    await stage.retention(short_days=30, long_days=90).tick()
    assert await fires(stage) == []
