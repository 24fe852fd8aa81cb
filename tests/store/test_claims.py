"""What a claim takes, and in which order: priority strictly, then age, over lane 0 and every open lane."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strait_core.job import VersionPolicy
from strait_core.reasons import Code
from strait_core.run import Event, Status
from strait_core.store import claims, explain, jobs, queue, runs
from strait_core.store.jobs import StoredJob
from tests.store.scene import NO_MARKS, SPEC, Scene, ids_of

AFTER = timedelta(minutes=5)


async def pause(scene: Scene, job: StoredJob) -> None:
    assert await jobs.pause_job(scene.conn, job.id, "because", scene.now)


async def resume(scene: Scene, job: StoredJob) -> None:
    assert await jobs.resume_job(scene.conn, job.id, scene.now)


async def gated(scene: Scene, **changes) -> StoredJob:
    """An open job that has a lane of its own."""
    job = await scene.job(**changes)
    await pause(scene, job)
    await resume(scene, job)
    return job


async def lanes(scene: Scene) -> list[int]:
    """How many entries lie in lane 0, and how many elsewhere."""
    rows = await scene.rows(
        "SELECT count(*) FILTER (WHERE lane = 0) AS plain, count(*) FILTER (WHERE lane <> 0) AS own FROM strait.ready"
    )
    return [rows[0]["plain"], rows[0]["own"]]


async def test_higher_priorities_go_first_and_older_before_younger(scene: Scene):
    """Eleven priorities, two rounds: the order of a claim is exact, over batches too."""
    job = await scene.job()
    wanted: dict[int, list[UUID]] = {priority: [] for priority in range(11)}
    for _ in range(2):
        for priority in (3, 10, 0, 7, 1, 5, 9, 2, 8, 4, 6):
            wanted[priority] += await scene.add(job, 3, priority=priority)
    order = [run_id for priority in range(10, -1, -1) for run_id in wanted[priority]]
    got: list[UUID] = []
    for slots in (1, 2, 10, 5, 100):
        got += ids_of(await scene.claim(slots))
    assert got == order


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 10), st.integers(1, 3)), min_size=1, max_size=12),
    st.integers(1, 9),
)
async def test_the_order_is_exact_over_lanes(scene: Scene, added: list[tuple[int, int, int]], slots: int):
    """Whatever jobs the runs belong to, with lanes of their own or without: one order by priority and age."""
    await scene.clear()
    made = [await scene.job(slug="plain"), await gated(scene, slug="own"), await gated(scene, slug="other")]
    placed = [
        (-priority, run_id)
        for which, priority, count in added
        for run_id in await scene.add(made[which], count, priority=priority)
    ]
    order = [run_id for _, run_id in sorted(placed, key=lambda one: one[0])]
    got: list[UUID] = []
    while claimed := await scene.claim(slots):
        got += ids_of(claimed)
    assert got == order


async def test_a_batch_keeps_its_order_among_many_jobs(scene: Scene):
    """However the server joins a batch with its jobs, the first item is the first in the queue."""
    job = await scene.job()
    await scene.rows(
        "INSERT INTO strait.jobs (id, project_id, slug, lane, enabled, paused, latest, tags, version, version_id, definition,"
        " created_at, updated_at) SELECT gen_random_uuid(), 'p', 'x' || n, 0, true, false, false, '{}', 1,"
        " gen_random_uuid(), '{}', %s, %s FROM generate_series(1, 3000) n",
        scene.now,
        scene.now,
    )
    await scene.rows("ANALYZE strait.jobs")
    added = await scene.add(job, 500)
    assert ids_of(await scene.claim(500)) == added


async def test_what_was_due_first_goes_first(scene: Scene):
    """A promotion of many keeps the order of their times, whatever the order in which they were made."""
    job = await scene.job()
    added = {
        minute: (await scene.add(job, scheduled_at=scene.now + timedelta(minutes=minute)))[0]
        for minute in (5, 2, 9, 1, 7)
    }
    scene.later(hours=1)
    assert set(await scene.promote()) == set(added.values())
    assert ids_of(await scene.claim()) == [added[minute] for minute in (1, 2, 5, 7, 9)]


async def test_a_claim_takes_no_more_than_its_slots(scene: Scene):
    """And none when it has none."""
    added = await scene.add(await scene.job(), 3)
    assert await scene.claim(0) == []
    assert ids_of(await scene.claim(2)) == added[:2]


async def test_a_claim_tells_all_that_dispatch_needs(scene: Scene):
    """Payload, policy and place; each claim draws a lease of its own."""
    job = await scene.job()
    request = {"priority": 4, "max_attempts": 2, "timeout_secs": 9, "retry_strategy": "fixed"}
    await scene.add(job, 2, payload="[1]", **request)
    first, second = await scene.claim()
    assert (first.job_id, first.project_id, first.priority, first.max_attempts) == (job.id, "p", 4, 2)
    assert (first.timeout_secs, first.retry_strategy, first.job_version) == (9, "fixed", 1)
    assert (first.payload, first.queue_wait_ms, first.error) == ("[1]", 0.0, None)
    assert first.lease != second.lease
    assert (first.lane, first.ready_seq < second.ready_seq) == (0, True)
    assert second.ready_seq is not None
    assert first.ready_seq < second.ready_seq


async def test_every_return_to_the_queue_takes_a_fresh_place(scene: Scene):
    """Retries and releases go to the end of their priority."""
    job = await scene.job()
    first, second, third = await scene.add(job, 3)
    claimed = {run.id: run for run in await scene.claim()}
    (live,) = await scene.start(claimed[second])
    assert await scene.retry(live)
    assert await scene.release(claimed[first])
    (fourth,) = await scene.add(job)
    assert await scene.release(claimed[third])
    assert ids_of(await scene.claim()) == [second, first, fourth, third]


async def test_marks_hide_only_what_lies_below_them(scene: Scene):
    """A mark of one priority leaves the others alone; the entry at the mark is seen; a full range sees all."""
    job = await scene.job()
    low = await scene.add(job, 3, priority=2)
    high = await scene.add(job, 2, priority=9)
    places = {row["run_id"]: row["ready_seq"] for row in await scene.rows("SELECT run_id, ready_seq FROM strait.ready")}
    marks = dict.fromkeys(claims.PRIORITIES, 0) | {2: places[low[1]]}
    seen = await scene.claim(marks=[marks[priority] for priority in claims.PRIORITIES])
    assert ids_of(seen) == [*high, *low[1:]]
    assert ids_of(await scene.claim()) == [low[0]]


async def test_what_commits_late_is_found_by_marks_that_trail(scene: Scene):
    """A mark set to what was claimed earlier still shows an entry that took its place before and committed after."""
    job = await scene.job()
    (before,) = await scene.add(job)
    (early,) = await scene.claim()
    assert early.id == before
    slow = await scene.other()
    async with slow.transaction():
        late = scene.new_run(job)
        assert await queue.insert_runs(slow, [late], scene.now) == {late.id}
        await scene.add(job)
        (overtaker,) = await scene.claim()
    assert early.ready_seq is not None
    trailing = [early.ready_seq] * len(claims.PRIORITIES)
    assert ids_of(await scene.claim(marks=trailing)) == [late.id]
    assert overtaker.id != late.id


async def test_a_pause_holds_a_job_and_a_resume_lets_it_go(scene: Scene):
    """A claim that meets entries of a paused job moves them out of lane 0; resumed, they keep priority and age."""
    held, plain = await scene.job(slug="held"), await scene.job(slug="plain")
    first = await scene.add(held, 3, priority=5)
    other = await scene.add(plain, 2, priority=5)
    await pause(scene, held)
    assert await lanes(scene) == [5, 0]
    met = await claims.claim(scene.conn, scene.worker, 4, NO_MARKS, [], scene.now)
    assert (ids_of(met.runs), met.moved) == (other[:1], 3)
    assert await lanes(scene) == [1, 3]
    assert ids_of(await scene.claim()) == other[1:]
    assert await scene.claim() == []

    later = await scene.add(plain, 1, priority=5)
    best = await scene.add(plain, 1, priority=6)
    await resume(scene, held)
    added = await scene.add(held, 1, priority=5)
    assert await lanes(scene) == [2, 4]
    assert ids_of(await scene.claim()) == [*best, *first, *later, *added]


async def test_gated_entries_are_moved_in_bulk(scene: Scene):
    """At most so many at a time, the best first, and only those that have a lane of their own."""
    held, plain = await scene.job(slug="held"), await scene.job(slug="plain")
    await scene.add(held, 5)
    await scene.add(plain, 2)
    await pause(scene, held)
    assert [await claims.move_gated(scene.conn, 3) for _ in range(3)] == [3, 2, 0]
    assert await lanes(scene) == [2, 5]
    assert await scene.broken() == []


async def test_only_open_lanes_that_hold_entries_are_read(scene: Scene):
    """A paused job's lane is closed, an empty one is not worth a look."""
    own, _, shut = await gated(scene, slug="a"), await gated(scene, slug="b"), await gated(scene, slug="c")
    await scene.add(own)
    await scene.add(shut)
    await pause(scene, shut)
    (lane,) = await claims.open_lanes(scene.conn, scene.now)
    assert [row["job_id"] for row in await scene.rows("SELECT job_id FROM strait.ready WHERE lane = %s", lane)] == [
        own.id
    ]


async def test_a_lane_that_closed_since_the_look_gives_nothing(scene: Scene):
    """The claim reads the gate itself: a pause between the two holds."""
    job = await gated(scene)
    await scene.add(job)
    open_then = await claims.open_lanes(scene.conn, scene.now)
    await pause(scene, job)
    assert (await claims.claim(scene.conn, scene.worker, 10, NO_MARKS, open_then, scene.now)).runs == []


@pytest.mark.parametrize("back", ["retry", "retry_later", "release", "replay"])
async def test_what_returns_to_the_queue_of_a_paused_job_is_held(scene: Scene, back: str):
    """A pause leaves running attempts alone and holds whatever comes back."""
    job = await scene.job()
    (run_id,) = await scene.add(job)
    (claimed,) = await scene.claim()
    await pause(scene, job)
    if back == "release":
        assert await scene.release(claimed)
    else:
        (live,) = await scene.start(claimed)
        if back == "replay":
            assert await scene.finish(live, Status.FAILED)
            assert await scene.replay(run_id)
        else:
            assert await scene.retry(live, AFTER if back == "retry_later" else None)
    scene.later(hours=1)
    await scene.promote()
    assert await scene.claim() == []
    await resume(scene, job)
    assert ids_of(await scene.claim()) == [run_id]


@pytest.mark.parametrize(("policy", "version"), [(VersionPolicy.PIN, 1), (VersionPolicy.LATEST, 2)])
async def test_the_version_of_a_waiting_run(scene: Scene, policy: VersionPolicy, version: int):
    """Pinned to the one at trigger time, or the newest when it is claimed."""
    job = await scene.job(version_policy=policy)
    await scene.add(job)
    changed = await jobs.update_job(
        scene.conn, job, replace(job.spec, timeout_secs=9), scene.new_id(), scene.now, enabled=True
    )
    assert changed is not None
    assert changed.version == 2
    (claimed,) = await scene.claim()
    assert claimed.job_version == version
    assert list(await jobs.definitions(scene.conn, [(job.id, version)])) == [(job.id, version)]


@pytest.mark.parametrize("change", ["paused", "disabled", "deleted", "changed"])
async def test_an_insert_is_refused_when_the_job_is_not_what_it_was(scene: Scene, change: str):
    """The trigger decided by what it had read; the insert looks again. The others of the batch are stored."""
    job, fine = await scene.job(slug="a"), await scene.job(slug="b")
    if change == "paused":
        await pause(scene, job)
    elif change == "deleted":
        assert await jobs.delete_job(scene.conn, job.id, scene.now)
    else:
        spec = job.spec if change == "disabled" else replace(job.spec, name="Other")
        await jobs.update_job(scene.conn, job, spec, scene.new_id(), scene.now, enabled=change != "disabled")
    refused, stored = scene.new_run(job), scene.new_run(fine)
    assert await queue.insert_runs(scene.conn, [refused, stored], scene.now) == {stored.id}
    assert [row["id"] for row in await scene.rows("SELECT id FROM strait.runs")] == [stored.id]
    assert await queue.insert_runs(scene.conn, [refused], scene.now) == set()
    assert await scene.broken() == []


async def test_a_run_accepted_while_its_job_was_being_deleted_still_runs(scene: Scene):
    """Nobody could open its gate again, so nothing may close it: it was accepted, and it ends."""
    job = await scene.job(slug=SPEC.slug)
    slow = await scene.other()
    async with slow.transaction():
        run = scene.new_run(job)
        assert await queue.insert_runs(slow, [run], scene.now) == {run.id}
        await pause(scene, job)
        assert await jobs.delete_job(scene.conn, job.id, scene.now)
    assert (await claims.claim(scene.conn, scene.worker, 10, NO_MARKS, [], scene.now)).moved == 1
    (claimed,) = await scene.claim()
    (live,) = await scene.start(claimed)
    assert await scene.finish(live)


@pytest.mark.parametrize("limits", [{}, {"max_concurrency": 9}, {"max_concurrency_per_key": 1}])
async def test_a_run_whose_time_to_live_is_over_does_not_start(scene: Scene, limits: dict[str, Any]):
    """The claim that meets it passes it over and says so, so that who stands behind it is claimed; the reaper ends it."""
    job = await scene.job(**limits)
    late = await scene.add(job, 3, ttl_secs=10, concurrency_key="k")
    (fresh,) = await scene.add(job, concurrency_key="k")
    scene.later(seconds=10)
    lanes = await claims.open_lanes(scene.conn, scene.now)
    claim = await claims.claim(scene.conn, scene.worker, 10, NO_MARKS, lanes, scene.now)
    assert ids_of(claim.runs) == [fresh]
    assert claim.taken == 4
    assert await scene.broken() == []
    found = await explain.explain(scene.conn, late[0], scene.now, alive_since=scene.now)
    assert found is not None
    assert [reason.code for reason in found.reasons] == [Code.EXPIRED]
    expired = await runs.expired_ids(scene.conn, 10, scene.now)
    assert sorted(expired) == sorted(late)
    async with scene.conn.transaction():
        ended = await runs.end_active(
            scene.conn, expired, event=Event.EXPIRE, to=Status.EXPIRED, allowed=(Status.QUEUED,), now=scene.now
        )
    assert len(ended) == 3
    assert await scene.broken() == []
    assert await scene.rows("SELECT run_id FROM strait.parked") == []
