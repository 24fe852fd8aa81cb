"""Ticks of workflows: each one run or one recorded skip, by the machinery of the ticks of jobs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from strait_core.store import schedules, workflow_runs, workflows
from strait_core.store.faults import Rollback
from strait_core.store.owners import Kind
from strait_core.store.pool import connect
from strait_core.store.workflows import StoredWorkflow
from strait_core.workflow.definition import evolve
from strait_daemon.services import placing, ticks
from strait_daemon.services.ticker import HELD_PAUSE, Ticker
from strait_daemon.services.timekeeper import Timekeeper
from tests.services import test_ticker
from tests.services.stage import Stage
from tests.services.test_ticker import fires
from tests.store.flow import Flow

# The stage's clock begins on a Wednesday at noon, UTC.
NOON = datetime(2030, 1, 16, 12, tzinfo=UTC)


def ticker(stage: Stage) -> Ticker:
    """A daemon's ticker of workflows."""
    return test_ticker.ticker(stage, kind=Kind.WORKFLOW)


async def scheduled(stage: Stage, flow: Flow, cron: str = "* * * * *", **settings: Any) -> StoredWorkflow:
    """A workflow of one job step, with a schedule."""
    await stage.scene.job(slug="a")
    made = await flow.workflow({"step_ref": "s"}, cron=cron, **settings)
    await place(stage, made)
    return made


async def place(stage: Stage, workflow: StoredWorkflow) -> None:
    conn = stage.scene.conn
    async with conn.transaction():
        await placing.settle(conn, workflow, stage.clock.now(), stage.scene.new_id)
        await placing.place(conn, workflow, stage.clock.now(), stage.scene.new_id)


async def runs(stage: Stage) -> list[dict[str, Any]]:
    """Every workflow run, the oldest first."""
    return await stage.scene.rows("SELECT * FROM strait.all_workflow_runs ORDER BY id")


async def test_a_tick_starts_a_run(stage: Stage) -> None:
    """Once, with its step's job run, however many tickers look; the record and the next tick come with it."""
    flow = Flow(stage.scene)
    made = await scheduled(stage, flow, "5 * * * *", tags={"by": "clock"})
    tickers = [ticker(stage) for _ in range(3)]
    await asyncio.gather(*(one.tick() for one in tickers))
    assert await runs(stage) == []
    stage.later(minutes=5)
    await asyncio.gather(*(one.tick() for one in tickers))
    await asyncio.gather(*(one.tick() for one in tickers))
    (run,) = await runs(stage)
    at = NOON + timedelta(minutes=5)
    assert (run["workflow_id"], run["status"], run["triggered_by"], run["fire_at"]) == (made.id, "running", "cron", at)
    assert (run["payload"], run["tags"]) == ("{}", {"by": "clock"})
    (job_run,) = await stage.scene.rows("SELECT * FROM strait.runs")
    assert (job_run["workflow_run_id"], job_run["fire_at"]) == (run["id"], None)
    (fire,) = await stage.scene.rows("SELECT * FROM strait.schedule_fires")
    assert (fire["run_id"], fire["fire_at"], fire["skipped"]) == (run["id"], at, None)
    (schedule,) = await stage.scene.rows("SELECT * FROM strait.schedules")
    assert (schedule["kind"], schedule["next_fire_at"]) == ("workflow", at + timedelta(hours=1))
    assert await stage.scene.broken() == []
    assert await flow.go(run["id"]) == "completed"
    assert (await runs(stage))[0]["fire_at"] == at


async def look_in_vain(stage: Stage) -> None:
    """A look whose transaction dies before its commit."""
    conn = stage.scene.conn
    async with conn.transaction() as transaction:
        due, _ = await schedules.take_due(conn, Kind.WORKFLOW, stage.clock.now(), 10)
        done = await ticks.look(conn, due, stage.clock.now(), stage.scene.new_id, alone=True)
        assert len(done.brought.started) == 1
        raise Rollback(transaction)


async def test_a_tick_that_dies_leaves_nothing(stage: Stage) -> None:
    """Run, record and next tick are one transaction: the next look makes all of them."""
    flow = Flow(stage.scene)
    await scheduled(stage, flow)
    stage.later(minutes=1)
    await look_in_vain(stage)
    assert (await runs(stage), await fires(stage)) == ([], [])
    await ticker(stage).tick()
    assert len(await runs(stage)) == 1
    assert await fires(stage) == [("12:01", "cron")]


async def test_a_workflow_that_has_just_changed_is_left_as_due_as_it_was(stage: Stage) -> None:
    """Nothing is started or canceled for a definition that is no longer in force."""
    flow = Flow(stage.scene)
    made = await scheduled(stage, flow, overlap_policy="cancel_running")
    stage.later(minutes=1)
    await ticker(stage).tick()
    stage.later(minutes=1)
    conn = stage.scene.conn
    async with conn.transaction():
        due, _ = await schedules.take_due(conn, Kind.WORKFLOW, stage.clock.now(), 10)
        spec = evolve(made.spec, {"description": "changed"})
        assert await workflows.update_workflow(conn, made, spec, stage.scene.new_id(), stage.clock.now(), enabled=True)
        done = await ticks.look(conn, due, stage.clock.now(), stage.scene.new_id, alone=True)
    assert (done.refused, done.brought.moved) == (1, set())
    assert [run["status"] for run in await runs(stage)] == ["running"]
    await ticker(stage).tick()
    assert [run["status"] for run in await runs(stage)] == ["canceled", "running"]


@pytest.mark.parametrize(
    ("settings", "expected", "statuses"),
    [
        ({}, ["cron", "cron", "cron"], ["running", "running", "running"]),
        ({"overlap_policy": "skip"}, ["cron", "overlap", "overlap"], ["running"]),
        ({"overlap_policy": "cancel_running"}, ["cron", "cron", "cron"], ["canceled", "canceled", "running"]),
        ({"overlap_policy": "queue_one"}, ["cron", "overlap"], ["running"]),
        ({"skip_if_running": True}, ["cron", "overlap", "overlap"], ["running"]),
    ],
)
async def test_a_tick_while_a_run_goes_on(
    stage: Stage, settings: dict[str, Any], expected: list[str], statuses: list[str]
) -> None:
    """Each overlap policy; what waits or was skipped goes on once the run has ended."""
    flow = Flow(stage.scene)
    await scheduled(stage, flow, **settings)
    clock = ticker(stage)
    for _ in range(3):
        stage.later(minutes=1)
        await clock.tick()
    assert [what for _, what in await fires(stage)] == expected
    assert [run["status"] for run in await runs(stage)] == statuses
    assert await flow.go((await runs(stage))[-1]["id"]) == "completed"
    before = len(await runs(stage))
    stage.later(minutes=1)
    await clock.tick()
    assert len(await runs(stage)) > before
    assert await stage.scene.broken() == []


@pytest.mark.parametrize("status", ["pending", "running", "paused"])
async def test_any_run_is_minded_by_skip_if_running(stage: Stage, status: str) -> None:
    """Also one that somebody has triggered, and in each of the states that the contract names; not by a policy."""
    flow = Flow(stage.scene)
    most = 1 if status == "pending" else None
    made = await scheduled(stage, flow, skip_if_running=True, max_concurrent_runs=most)
    run_id = await flow.trigger(made)
    if status == "paused":
        await flow.move(workflow_runs.pause, run_id)
    assert await flow.status(run_id) == status
    stage.later(minutes=1)
    await ticker(stage).tick()
    assert [what for _, what in await fires(stage)] == ["overlap"]
    await flow.move(workflow_runs.cancel, run_id)
    stage.later(minutes=1)
    await ticker(stage).tick()
    assert [what for _, what in await fires(stage)] == ["overlap", "cron"]


async def test_a_policy_minds_the_runs_of_ticks_only(stage: Stage) -> None:
    """overlap_policy skip lets a tick start beside what somebody has triggered."""
    flow = Flow(stage.scene)
    made = await scheduled(stage, flow, overlap_policy="skip")
    await flow.trigger(made)
    stage.later(minutes=1)
    await ticker(stage).tick()
    assert [what for _, what in await fires(stage)] == ["cron"]


async def test_missed_ticks_of_a_workflow(stage: Stage) -> None:
    """One run for all that was missed; a paused workflow piles nothing up."""
    flow = Flow(stage.scene)
    made = await scheduled(stage, flow, "0 * * * *")
    stage.later(hours=5, minutes=30)
    await ticker(stage).tick()
    assert await fires(stage) == [("16:00", "coalesced"), ("17:00", "catch_up")]
    paused = await workflows.pause_workflow(stage.scene.conn, made.id, None, stage.clock.now())
    assert paused is not None
    await place(stage, paused)
    stage.later(hours=2)
    await ticker(stage).tick()
    assert len(await fires(stage)) == 2


async def test_deadlines_of_a_workflow(stage: Stage) -> None:
    """A run that ends late is a breach, recorded once; a success that came in time is none."""
    flow = Flow(stage.scene)
    await scheduled(stage, flow, "0 * * * *", finish_within_secs=60, expect_every_secs=5_400)
    keeper = Timekeeper(stage.pool, stage.clock, kept_days=90)
    stage.later(hours=1)
    await ticker(stage).tick()
    (run,) = await runs(stage)
    assert await flow.go(run["id"]) == "completed"
    stage.later(minutes=2)
    await keeper.tick()
    assert await stage.scene.rows("SELECT * FROM strait.breaches") == []
    stage.later(minutes=58)
    await ticker(stage).tick()
    stage.later(minutes=2)
    await keeper.tick()
    stage.later(minutes=45)
    await keeper.tick()
    found = await stage.scene.rows("SELECT deadline, run_id FROM strait.breaches ORDER BY limit_at")
    (_, late) = await runs(stage)
    assert [(one["deadline"], one["run_id"]) for one in found] == [
        ("finish_within_secs", late["id"]), ("expect_every_secs", None),
    ]  # fmt: skip


async def test_a_run_in_somebodys_hands_keeps_no_other_tick_waiting(stage: Stage) -> None:
    """Its workflow's tick, which would cancel it, is tried again later and not lost; all others are made meanwhile."""
    flow = Flow(stage.scene)
    await scheduled(stage, flow, overlap_policy="cancel_running")
    for number in range(3):
        await place(stage, await flow.workflow({"step_ref": "s"}, slug=f"other-{number}", cron="1-59 * * * *"))
    clock = ticker(stage)
    stage.later(minutes=1)
    await clock.tick()
    (held,) = [run for run in await runs(stage) if run["workflow_id"] == (await named(stage, "w"))]
    conn = await connect(stage.scene.url)
    async with conn.transaction():
        await conn.execute("SELECT 1 FROM strait.workflow_runs WHERE id = %s FOR UPDATE", (held["id"],))
        stage.later(minutes=1)
        await clock.tick()
        assert len(await runs(stage)) == 7
        (due,) = await stage.scene.rows(
            "SELECT due_at, next_fire_at FROM strait.schedules WHERE target_id = %s", held["workflow_id"]
        )
        assert due["due_at"] == stage.clock.now() + HELD_PAUSE > due["next_fire_at"]
    await conn.close()
    stage.later(seconds=1)
    await clock.tick()
    assert [run["status"] for run in await runs(stage) if run["workflow_id"] == held["workflow_id"]] == [
        "canceled", "running",
    ]  # fmt: skip


async def named(stage: Stage, slug: str) -> UUID:
    (row,) = await stage.scene.rows("SELECT id FROM strait.workflows WHERE slug = %s", slug)
    found: UUID = row["id"]
    return found
