"""A workflow run that somebody holds keeps nobody waiting but itself: expiry, waits that are late, dead workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import pytest

from strait_core.run import Status
from strait_core.store import parking, pool, workers
from strait_daemon.services import reaper as reaping
from tests.services.stage import Stage
from tests.store.flow import Flow
from tests.store.waiting import end, wait_for
from tests.support.rig import eventually


@asynccontextmanager
async def holding(stage: Stage, run_id: UUID) -> AsyncIterator[None]:
    """Somebody holds a workflow run; nothing inside may take long."""
    async with await pool.connect(stage.scene.url) as other, other.transaction():
        await other.execute("SELECT FROM strait.workflow_runs WHERE id = %s FOR UPDATE", (run_id,))
        async with asyncio.timeout(5):
            yield


async def test_expiry_leaves_out_steps_of_a_held_run(stage: Stage) -> None:
    """Plain runs and steps of other workflow runs expire; those of the held one do when it is free again."""
    scene, flow = stage.scene, Flow(stage.scene)
    job = await scene.job(run_ttl_secs=10)
    made = await flow.workflow({"step_ref": "s"})
    held, free = await flow.trigger(made), await flow.trigger(made)
    (plain,) = await scene.add(job)
    reaper = stage.reaper()
    stage.later(seconds=11)
    async with holding(stage, held):
        await reaper.tick()
        assert (await scene.status(plain), await flow.status(free)) == (Status.EXPIRED, "failed")
    assert await flow.status(held) == "running"
    assert free in stage.changed
    await reaper.tick()
    assert await flow.status(held) == "failed"
    assert await scene.broken() == []


async def test_late_waits_leave_out_steps_of_a_held_run(stage: Stage) -> None:
    """A wait that is over ends its run, also when another one's workflow run is in somebody's hands."""
    scene, flow = stage.scene, Flow(stage.scene)
    job = await scene.job()
    held = await flow.trigger(await flow.workflow({"step_ref": "s"}))
    (step,) = (await flow.executing()).values()
    plain = await scene.executing(job)
    for live, key in ((step, "a"), (plain, "b")):
        await wait_for(scene, live, key, within=timedelta(seconds=10))
        assert await end(scene, live)
    stage.later(seconds=11)
    async with holding(stage, held):
        assert [one.id for one in await parking.time_out(scene.conn, scene.now)] == [plain.id]
        assert await parking.time_out(scene.conn, scene.now) == []
    assert [one.id for one in await parking.time_out(scene.conn, scene.now)] == [step.id]
    assert await flow.status(held) == "failed"


async def test_a_dead_worker_of_a_held_run_keeps_no_other_waiting(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the next dead worker held is taken from it; the held run's step, once, when it is free."""
    monkeypatch.setattr(reaping, "PATIENCE_SECS", 0.2)
    scene, flow = stage.scene, Flow(stage.scene)
    job = await scene.job(max_attempts=1)
    first = scene.worker
    await stage.beat()
    held = await flow.trigger(await flow.workflow({"step_ref": "s"}))
    (step,) = (await flow.executing()).values()
    scene.worker = UUID(int=2)
    await stage.beat()
    other = await scene.executing(job)
    reaper = stage.reaper()
    stage.later(seconds=61)
    await reaper.tick()

    async def crashed() -> bool:
        await reaper.tick()
        return await scene.status(other.id) == Status.CRASHED and len(await workers.list_workers(scene.conn)) == 1

    async with holding(stage, held):
        # The first worker stays on the list, or nobody would look for what it holds.
        await eventually(crashed)
        assert await scene.status(step.id) == Status.EXECUTING
        assert [one.id for one in await workers.list_workers(scene.conn)] == [first]
    await stage.writer.settle()
    await reaper.tick()
    assert (await scene.status(step.id), await flow.status(held)) == (Status.CRASHED, "failed")
    assert await workers.list_workers(scene.conn) == []
    assert len(await scene.rows("SELECT 1 FROM strait.attempts WHERE run_id = %s", step.id)) == 1
