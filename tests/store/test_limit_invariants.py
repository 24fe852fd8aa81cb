"""Limits that were passed, and attempts that outlive their time, are noticed afterwards: by what has ended and what lives."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from strait_core import ids
from strait_core.ids import Prefix
from strait_core.store import queue
from strait_core.store.invariants import Violation
from strait_core.store.jobs import StoredJob
from strait_core.store.queue import Accept
from tests.store.scene import Scene, ids_of


async def names(scene: Scene) -> set[str]:
    """The invariants that do not hold."""
    return {violation.invariant for violation in await scene.broken()}


async def twice_a_key(scene: Scene) -> StoredJob:
    """A job of which one attempt of a key has ended after the next one of that key was claimed."""
    job = await scene.job(max_concurrency_per_key=1)
    scene.later(minutes=1)
    (first,) = await scene.add(job, concurrency_key="a")
    await scene.add(job, concurrency_key="b")
    live = {one.id: one for one in await scene.start(*await scene.claim())}
    assert await scene.finish(live[first], finished_at=scene.now + timedelta(seconds=5))
    await scene.add(job, concurrency_key="a")
    await scene.rows("DELETE FROM strait.lane_state")
    await scene.start(*await scene.claim())
    return job


async def test_attempts_beyond_the_cap_of_a_key_are_reported(scene: Scene):
    """Two of one key overlap; those of another key, or of a job that lets two, do not count."""
    job = await twice_a_key(scene)
    (violation,) = await scene.broken()
    assert violation == Violation(
        "key_cap_exceeded", 1, (f"job {job.id}, key a: 2 live at {scene.now:%Y-%m-%d %H:%M:%S}+00",)
    )
    await scene.rows(
        "UPDATE strait.job_versions SET definition = replace(definition, '\"max_concurrency_per_key\":1',"
        " '\"max_concurrency_per_key\":2')"
    )
    assert await names(scene) == set()


async def claimed_at_rate(scene: Scene, gaps: list[float], **rate: Any) -> StoredJob:
    """A job whose runs were claimed with these pauses between them, each with a full bucket."""
    job = await scene.job(rate_limit_max=2, rate_limit_window_secs=10, **rate)
    await scene.add(job, len(gaps))
    for gap in gaps:
        scene.later(seconds=gap)
        await scene.rows("DELETE FROM strait.lane_rates")
        (one,) = await scene.claim(1)
        await scene.finish((await scene.start(one))[0])
    return job


async def test_claims_beyond_the_rate_are_reported(scene: Scene):
    """Two at once and one each five seconds are allowed; a third within nine seconds is one too many."""
    await claimed_at_rate(scene, [0, 0, 5, 5, 15, 0, 5])
    assert await names(scene) == set()
    await scene.clear()
    await claimed_at_rate(scene, [0, 1, 3])
    assert await names(scene) == {"rate_exceeded"}


async def test_an_overdrawn_bucket_is_reported(scene: Scene):
    """No bucket is empty for longer than until now."""
    await claimed_at_rate(scene, [0, 5])
    assert await names(scene) == set()
    await scene.rows("UPDATE strait.lane_rates SET zero_at = zero_at + interval '30 seconds'")
    assert await names(scene) == {"rate_exceeded"}


async def test_an_accepted_attempt_that_outlives_its_time_is_reported(scene: Scene):
    """Once whoever looks after it has had time to end it."""
    live = await scene.executing(await scene.job(timeout_secs=30))
    accept = Accept(id=live.id, attempt=live.attempt, lease=live.lease)
    assert await queue.accept_if_held(scene.conn, [accept], scene.now) == set(ids_of([live]))
    at = scene.now + timedelta(seconds=30)
    assert await scene.broken(dead_before=at) == []
    late = await scene.broken(dead_before=at + timedelta(microseconds=1))
    assert late == [Violation("callback_overdue", 1, (ids.spell(Prefix.RUN, live.id),))]
