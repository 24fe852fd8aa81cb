"""Statistics by deltas come to what a count would say, and workers report."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from strait_core.run import Status
from strait_core.store import jobs, stats, workers
from strait_core.store.stats import Fleet, Flow
from strait_core.store.workers import WorkerRow
from tests.store.scene import NOW, Scene
from tests.store.story import Story


async def counted(scene: Scene, project: str | None = None) -> dict[str, int]:
    rows = await scene.rows(
        "SELECT status, count(*) AS n FROM strait.all_runs WHERE %s::text IS NULL OR project_id = %s GROUP BY 1",
        project,
        project,
    )
    return {row["status"]: row["n"] for row in rows}


@pytest.mark.parametrize("seed", range(3))
async def test_folded_deltas_come_to_what_is_there(scene: Scene, seed: int):
    """After any history: depth by state and project, load by job."""
    made = [await scene.job(slug="a"), await scene.job(slug="b"), await scene.job(slug="c", project_id="q")]
    await Story(scene, made, seed + 100).tell(200)
    assert await scene.folded() == await counted(scene)
    for project in ("p", "q", "nobody"):
        depth = {status: n for status, n in (await stats.depth(scene.conn, project)).items() if n}
        assert depth == await counted(scene, project)
    load = {job: (queued, executing) for job, _, queued, executing in await stats.top_jobs(scene.conn, None, 10)}
    rows = await scene.rows(
        "SELECT job_id, count(*) FILTER (WHERE status IN ('queued', 'delayed')) AS q,"
        " count(*) FILTER (WHERE status IN ('dequeued', 'executing')) AS e FROM strait.runs GROUP BY 1"
    )
    assert load == {row["job_id"]: (row["q"], row["e"]) for row in rows}


async def test_two_who_fold_at_once_count_nothing_twice(scene: Scene):
    """Each delta is folded by one of them."""
    job = await scene.job()
    await scene.folded()
    for _ in range(60):
        await scene.add(job)
    conns = [await scene.other() for _ in range(4)]

    async def fold(conn) -> int:
        return sum([await stats.fold(conn, scene.now) for _ in range(5)])

    assert sum(await asyncio.gather(*map(fold, conns))) == 60
    assert await scene.folded() == {"queued": 60}


async def test_a_fold_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    """So many deltas at a time, the oldest first; the answer says how many there were."""
    job = await scene.job()
    await scene.folded()
    monkeypatch.setattr(stats, "FOLD_ROWS", 2)
    for _ in range(5):
        await scene.add(job)
    assert [await stats.fold(scene.conn, scene.now) for _ in range(4)] == [2, 2, 1, 0]


async def test_rates_are_told_for_a_minute_and_a_quarter(scene: Scene):
    """What was created and finished, by time of the move; old buckets are forgotten."""
    job = await scene.job()
    await scene.finish(await scene.executing(job))
    await scene.add(job, 2)
    await scene.folded()
    assert await stats.flow(scene.conn, None, scene.now) == Flow(3, 1, 3, 1)
    scene.later(minutes=5)
    live = await scene.executing_beside(job)
    await scene.finish(live, Status.FAILED)
    await scene.replay(live.id)
    await scene.folded()
    assert await stats.flow(scene.conn, None, scene.now) == Flow(1, 1, 4, 2)
    assert await stats.flow(scene.conn, "p", scene.now) == Flow(1, 1, 4, 2)
    assert await stats.flow(scene.conn, "q", scene.now) == Flow(0, 0, 0, 0)
    scene.later(minutes=14)
    assert await stats.flow(scene.conn, None, scene.now) == Flow(0, 0, 1, 1)
    scene.later(hours=3)
    await stats.tidy(scene.conn, scene.now)
    assert await scene.rows("SELECT * FROM strait.stats_rates") == []


async def test_the_busiest_jobs_come_first(scene: Scene):
    """By active runs; a job without any is left out, and forgotten in time."""
    small, big, idle = await scene.job(slug="s"), await scene.job(slug="b"), await scene.job(slug="i", project_id="q")
    live = await scene.executing(idle)
    await scene.finish(live)
    await scene.add(small)
    await scene.add(big, 3)
    await scene.start(*await scene.claim(1))
    await scene.folded()
    assert await stats.top_jobs(scene.conn, None, 10) == [(big.id, "b", 3, 0), (small.id, "s", 0, 1)]
    assert await stats.top_jobs(scene.conn, None, 1) == [(big.id, "b", 3, 0)]
    assert await stats.top_jobs(scene.conn, "q", 10) == []
    await stats.tidy(scene.conn, scene.now)
    assert len(await scene.rows("SELECT * FROM strait.stats_jobs")) == 2


async def test_what_is_held_is_told_by_reason(scene: Scene):
    """Paused and disabled jobs' runs; those of open jobs are not held."""
    made = {slug: await scene.job(slug=slug) for slug in ("paused", "disabled", "both", "open")}
    for count, job in enumerate(made.values(), 1):
        await scene.add(job, count)
    for slug in ("paused", "both"):
        await jobs.pause_job(scene.conn, made[slug].id, None, scene.now)
    for slug in ("disabled", "both"):
        job = made[slug]
        await jobs.update_job(scene.conn, job, job.spec, scene.new_id(), scene.now, enabled=False)
    await scene.folded()
    assert await stats.held(scene.conn, None, scene.now) == {"paused": 1, "disabled": 5}
    assert await stats.held(scene.conn, "q", scene.now) == {}


async def test_the_age_of_the_oldest_ready_run(scene: Scene):
    """The longest-waiting entry of any priority and lane; none when nothing is ready."""
    assert await stats.oldest_ready(scene.conn) is None
    job = await scene.job()
    await scene.add(job, scheduled_at=scene.now + timedelta(minutes=1))
    assert await stats.oldest_ready(scene.conn) is None
    scene.later(minutes=2)
    await scene.promote()
    scene.later(minutes=2)
    await scene.add(job, priority=9)
    assert await stats.oldest_ready(scene.conn) == NOW + timedelta(minutes=1)


def worker(number: int, **facts) -> WorkerRow:
    row = WorkerRow(UUID(int=number), "host", number, "all", "1.0", 10, 3, False, NOW, NOW)
    return replace(row, **facts)


async def test_workers_report_drain_and_leave(scene: Scene):
    """A heartbeat makes or renews a row; a drain asked for from outside stays asked for."""
    first, second = worker(1), worker(2, started_at=NOW + timedelta(seconds=1))
    assert not await workers.heartbeat(scene.conn, second)
    assert not await workers.heartbeat(scene.conn, first)
    assert await workers.list_workers(scene.conn) == [first, second]
    renewed = worker(1, in_flight=9, slots=20, heartbeat_at=NOW + timedelta(seconds=10))
    assert not await workers.heartbeat(scene.conn, renewed)
    assert (await workers.list_workers(scene.conn))[0] == renewed

    assert await workers.drain_worker(scene.conn, UUID(int=9)) is None
    assert await workers.drain_worker(scene.conn, first.id) == replace(renewed, draining=True)
    assert await workers.heartbeat(scene.conn, renewed)
    assert await workers.heartbeat(scene.conn, replace(second, draining=True))
    await workers.remove_worker(scene.conn, second.id)
    assert [row.id for row in await workers.list_workers(scene.conn)] == [first.id]


async def test_the_dead_are_found_and_removed_unless_they_came_back(scene: Scene):
    """By the time of their last heartbeat, the longest silent first."""
    for number in (1, 2, 3):
        await workers.heartbeat(scene.conn, worker(number, heartbeat_at=NOW - timedelta(seconds=number)))
    before = NOW - timedelta(seconds=1)
    assert await workers.stale_workers(scene.conn, before, 10) == [UUID(int=3), UUID(int=2)]
    assert await workers.stale_workers(scene.conn, before, 1) == [UUID(int=3)]
    await workers.heartbeat(scene.conn, worker(3))
    for number in (2, 3):
        await workers.remove_stale_worker(scene.conn, UUID(int=number), before)
    assert {row.id for row in await workers.list_workers(scene.conn)} == {UUID(int=1), UUID(int=3)}


async def test_the_fleet_is_what_is_alive(scene: Scene):
    """Slots in use and in all, over the workers heard of lately."""
    assert await stats.fleet(scene.conn, NOW) == Fleet(0, 0, 0)
    await workers.heartbeat(scene.conn, worker(1))
    await workers.heartbeat(scene.conn, worker(2, slots=5, in_flight=5))
    await workers.heartbeat(scene.conn, worker(3, heartbeat_at=NOW - timedelta(minutes=2)))
    assert await stats.fleet(scene.conn, NOW - timedelta(minutes=1)) == Fleet(2, 8, 15)
