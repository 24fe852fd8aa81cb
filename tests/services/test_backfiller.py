"""Backfills: every tick once, never more runs at once than allowed, whoever goes on with them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from strait_core.budget import Budget
from strait_core.run import Status
from strait_core.store import backfills, budgets, jobs, schedules
from strait_core.store.backfills import StoredBackfill
from strait_core.store.jobs import StoredJob
from strait_core.store.pool import Pool, make_pool
from strait_daemon.services.backfiller import Backfiller
from tests.services.stage import Stage
from tests.services.test_ticker import scheduled, ticker

# The stage's clock begins on a Wednesday at noon, UTC.
NOON = datetime(2030, 1, 16, 12, tzinfo=UTC)


def filler(stage: Stage, pool: Pool | None = None) -> Backfiller:
    """A daemon's backfiller."""
    return Backfiller(
        pool or stage.pool,
        stage.clock,
        stage.scene.new_id,
        wake=stage.wake,
        changed=stage.noted,
        brought=lambda _: None,
        kept_days=90,
    )


async def planned(stage: Stage, job: StoredJob, ticks: int, at_once: int = 2) -> StoredBackfill:
    """A backfill of so many hours before now."""
    found = await schedules.of_owner(stage.scene.conn, job.id)
    assert found is not None
    hours = [NOON - timedelta(hours=number) for number in range(ticks, 0, -1)]
    span = (hours[0], NOON)
    return await backfills.insert(
        stage.scene.conn, stage.scene.new_id(), found.id, span, hours, stage.clock.now(), max_concurrency=at_once
    )


async def runs(stage: Stage) -> Sequence[tuple[str, str, datetime]]:
    rows = await stage.scene.rows("SELECT status, triggered_by, fire_at FROM strait.all_runs ORDER BY fire_at")
    return [(row["status"], row["triggered_by"], row["fire_at"].astimezone(UTC)) for row in rows]


async def end_one(stage: Stage, status: Status = Status.COMPLETED) -> None:
    (claimed,) = await stage.scene.claim(1)
    (live,) = await stage.scene.start(claimed)
    assert await stage.scene.finish(live, status)


async def look(stage: Stage) -> StoredBackfill:
    """Let a filler look, and see what it has counted."""
    stage.later(seconds=2)
    await filler(stage).tick()
    rows = await stage.scene.rows("SELECT * FROM strait.backfills")
    return StoredBackfill(**rows[0])


async def test_a_backfill_goes_tick_by_tick(stage: Stage) -> None:
    """The oldest first, two at once, each with its tick; counted as they end; a failed one does not stop it."""
    job = await scheduled(stage, "0 * * * *", default_run_metadata={"a": "b"})
    await planned(stage, job, 5)
    await look(stage)
    assert await runs(stage) == [("queued", "backfill", NOON - timedelta(hours=number)) for number in (5, 4)]
    assert (await look(stage)).made == 2
    await end_one(stage)
    await end_one(stage, Status.DEAD_LETTER)
    one = await look(stage)
    assert (one.made, one.completed, one.unsuccessful, one.active) == (4, 1, 1, 2)
    assert await stage.scene.broken() == []
    for _ in range(3):
        await end_one(stage)
        one = await look(stage)
    assert (one.made, one.completed, one.unsuccessful, one.due_at) == (5, 4, 1, None)
    assert one.ended_at is not None
    assert {fire_at for _, _, fire_at in await runs(stage)} == {NOON - timedelta(hours=n) for n in range(1, 6)}
    assert await stage.scene.broken() == []


async def test_the_bound_holds_whoever_looks(stage: Stage) -> None:
    """Eight fillers at once, some cut off in the midst: never more than three active, each tick one run."""
    job = await scheduled(stage, "0 * * * *")
    await planned(stage, job, 30, at_once=3)
    pools = [make_pool(stage.scene.url, pooled=False, most=2) for _ in range(2)]
    for pool in pools:
        await pool.open(wait=True)
    for turn in range(60):
        stage.later(seconds=2)
        looks = [asyncio.create_task(filler(stage, pools[number % 2]).tick()) for number in range(4)]
        await asyncio.sleep(0)
        if turn % 3 == 0:
            looks[turn % 4].cancel()
        await asyncio.gather(*looks, return_exceptions=True)
        (active,) = await stage.scene.rows("SELECT count(*) AS n FROM strait.runs")
        assert active["n"] <= 3
        assert await stage.scene.broken() == []
        for _ in range(active["n"]):
            await end_one(stage)
    for pool in pools:
        await pool.close(timeout=5)
    one = await look(stage)
    assert (one.made, one.completed, one.due_at) == (30, 30, None)
    assert len(await runs(stage)) == len({fire_at for _, _, fire_at in await runs(stage)}) == 30


async def test_a_paused_job_is_waited_for(stage: Stage) -> None:
    """Nothing is made and nothing lost; resumed, it goes on."""
    job = await scheduled(stage, "0 * * * *")
    await planned(stage, job, 2)
    assert await jobs.pause_job(stage.scene.conn, job.id, None, stage.clock.now())
    assert (await look(stage)).made == 0
    assert await jobs.resume_job(stage.scene.conn, job.id, stage.clock.now())
    assert (await look(stage)).made == 2


async def test_a_spent_budget_is_waited_for(stage: Stage) -> None:
    """Until the project may spend again nothing is made, and nothing lost."""
    await planned(stage, await scheduled(stage, "0 * * * *"), 2)
    await budgets.put_budget(stage.scene.conn, "p", Budget(0, "UTC"), stage.clock.now())
    assert (await look(stage)).made == 0
    await budgets.put_budget(stage.scene.conn, "p", None, stage.clock.now())
    assert (await look(stage)).made == 2


async def test_a_schedule_that_goes_takes_its_backfill_along(stage: Stage) -> None:
    """What was not made is not made; what was made stays."""
    job = await scheduled(stage, "0 * * * *")
    await planned(stage, job, 5)
    await look(stage)
    await schedules.drop(stage.scene.conn, job.id)
    one = await look(stage)
    assert (one.fires, one.made, one.stopped, one.due_at) == (2, 2, True, None)
    assert len(await stage.scene.rows("SELECT * FROM strait.backfill_fires")) == 2


@pytest.mark.parametrize("policy", ["skip", "cancel_running", "queue_one"])
async def test_a_backfill_is_in_no_ticks_way(stage: Stage, policy: str) -> None:
    """Overlap policies look at the clock's own runs: a tick neither skips nor cancels for one that is fired again."""
    job = await scheduled(stage, "0 * * * *", overlap_policy=policy)
    await planned(stage, job, 3)
    await look(stage)
    stage.later(hours=1)
    await ticker(stage).tick()
    assert [by for _, by, _ in await runs(stage)] == ["backfill", "backfill", "cron"]
    assert await stage.scene.broken() == []


async def test_a_replayed_run_counts_while_it_runs(stage: Stage) -> None:
    """Brought back before anybody looked, it keeps its place."""
    job = await scheduled(stage, "0 * * * *")
    await planned(stage, job, 3, at_once=1)
    await look(stage)
    (claimed,) = await stage.scene.claim(1)
    (live,) = await stage.scene.start(claimed)
    assert await stage.scene.finish(live, Status.DEAD_LETTER)
    assert await stage.scene.replay(live.id)
    assert (await look(stage)).made == 1
    await end_one(stage)
    assert (await look(stage)).made == 2


async def test_what_is_over_is_forgotten(stage: Stage) -> None:
    """After the longer of the two times: the ticks first, then the backfill; one that goes on never."""
    job = await scheduled(stage, "0 * * * *")
    await planned(stage, job, 2)
    await look(stage)
    stage.later(days=100)
    await filler(stage).tick()
    assert len(await stage.scene.rows("SELECT * FROM strait.backfill_fires")) == 2
    await stage.retention(0, 0).tick()
    for _ in range(2):
        await end_one(stage)
    assert (await look(stage)).due_at is None
    stage.later(days=91)
    await filler(stage).tick()
    assert await stage.scene.rows("SELECT * FROM strait.backfill_fires") == []
    assert await stage.scene.rows("SELECT * FROM strait.backfills") == []
