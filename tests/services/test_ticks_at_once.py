"""Many ticks and many delayed runs due at the same second: queued in time, and nobody's lateness suffers.

CI: 1,000 schedules, 100 of workflows, 5,000 delayed runs; a soak: 10,000, 5,000 and 100,000, with the times that are promised for these.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from strait_core.run import Status
from strait_core.store import jobs, queue, schedules
from strait_core.store.owners import Kind
from strait_daemon.services.ticker import BATCH
from tests.services.stage import Stage
from tests.services.test_ticker import ticker
from tests.store.flow import Flow
from tests.store.scene import SPEC
from tests.support.figures import Figures
from tests.support.sizes import size

AT_ONCE: Final = size(ci=1_000, soak=10_000)
DELAYED: Final = size(ci=5_000, soak=100_000)
# Generous in CI, where the machine is shared; what is promised in a soak.
FLOWS: Final = size(ci=100, soak=5_000)
FLOW_SECS: Final = size(ci=10.0, soak=30.0)
SECS: Final = size(ci=10.0, soak=2.0)
DELAYED_SECS: Final = size(ci=20.0, soak=5.0)


async def many_schedules(stage: Stage, count: int) -> None:
    """Jobs with one tick each at the next full hour."""
    scene = stage.scene
    at = scene.now + timedelta(hours=1)
    async with scene.conn.transaction():
        for number in range(count):
            spec = replace(SPEC, slug=f"job-{number}", cron=f"0 {at.hour} * * *")
            job = await jobs.insert_job(scene.conn, scene.new_id(), scene.new_id(), spec, scene.now, enabled=True)
            assert job is not None
            await schedules.put(scene.conn, scene.new_id(), Kind.JOB, job.id, at, at, scene.now, calendar_id=None)


@pytest.mark.soak
async def test_ticks_due_in_one_second_are_queued_in_time(stage: Stage, figures: Figures) -> None:
    """All of them, by one daemon, in batches."""
    await many_schedules(stage, AT_ONCE)
    stage.later(hours=1)
    one = ticker(stage)
    began = time.monotonic()
    while await one.tick() == 0.0:
        pass
    took = time.monotonic() - began
    (made,) = await stage.scene.rows("SELECT count(*) AS n, count(DISTINCT job_id) AS jobs FROM strait.runs")
    assert made == {"n": AT_ONCE, "jobs": AT_ONCE}
    figures.note(f"{AT_ONCE:,} ticks of one second", f"queued in {took:.2f} s")
    assert took < SECS, f"{AT_ONCE} ticks took {took:.2f} s"


@pytest.mark.soak
async def test_workflows_due_in_one_second_keep_no_job_waiting(stage: Stage, figures: Figures) -> None:
    """Started a page at a time, by who does nothing else; a job's tick of that second is made at once all the same."""
    scene, flow = stage.scene, Flow(stage.scene)
    at = scene.now + timedelta(hours=1)
    await scene.job(slug="a")
    async with scene.conn.transaction():
        for number in range(FLOWS):
            one = await flow.workflow({"step_ref": "s"}, slug=f"flow-{number}", cron=f"0 {at.hour} * * *")
            await schedules.put(scene.conn, scene.new_id(), Kind.WORKFLOW, one.id, at, at, scene.now, calendar_id=None)
    await many_schedules(stage, 1)
    stage.later(hours=1)
    flows = ticker(stage, kind=Kind.WORKFLOW)
    began = time.monotonic()
    assert await flows.tick() == 0.0
    await ticker(stage).tick()
    assert len(await scene.rows("SELECT 1 FROM strait.runs WHERE fire_at IS NOT NULL")) == 1
    pages = 1
    while await flows.tick() == 0.0:
        pages += 1
    took = time.monotonic() - began
    (made,) = await scene.rows("SELECT count(*) AS n, count(DISTINCT workflow_id) AS flows FROM strait.workflow_runs")
    assert made == {"n": FLOWS, "flows": FLOWS}
    # One page, then two side by side.
    assert pages <= 1 + -(-FLOWS // (2 * BATCH[Kind.WORKFLOW]))
    assert await scene.broken() == []
    figures.note(f"{FLOWS:,} workflows of one second", f"started in {took:.2f} s")
    assert took < FLOW_SECS, f"{FLOWS} workflows took {took:.2f} s to start"


@pytest.mark.soak
async def test_a_flood_of_delayed_runs_keeps_nobody_waiting(stage: Stage, figures: Figures) -> None:
    """Promoted in batches; a tick due in the midst of it, and a retry due before it, are as early as else."""
    scene = stage.scene
    job = await scene.job()
    retried = await scene.executing(job)
    assert await scene.retry(retried, timedelta(minutes=59, seconds=59))
    due = scene.now + timedelta(hours=1)
    for start in range(0, DELAYED, 5_000):
        new = [scene.new_run(job, scheduled_at=due) for _ in range(start, min(start + 5_000, DELAYED))]
        assert len(await queue.insert_runs(scene.conn, new, scene.now)) == len(new)
    await many_schedules(stage, 1)
    stage.later(hours=1)
    one, stager = ticker(stage), stage.stager()
    began = time.monotonic()
    assert await stager.tick() == 0.0
    assert await scene.status(retried.id) == Status.QUEUED
    assert (await scene.claim(1))[0].id == retried.id
    await one.tick()
    assert len(await scene.rows("SELECT 1 FROM strait.runs WHERE fire_at IS NOT NULL AND status = 'queued'")) == 1
    assert time.monotonic() - began < SECS / 2
    while await stager.tick() == 0.0:
        pass
    took = time.monotonic() - began
    assert await scene.rows("SELECT 1 FROM strait.due") == []
    figures.note(f"{DELAYED:,} delayed runs of one second", f"promoted in {took:.2f} s")
    assert took < DELAYED_SECS, f"{DELAYED} delayed runs took {took:.2f} s"
