"""Limits on how many attempts of a job may be live: held by every claim, kept through every ending and every edit."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg.errors import CheckViolation

from strait_core.run import Event, Status
from strait_core.store import claims, jobs, limits, queue, runs
from strait_core.store.jobs import StoredJob
from strait_core.store.limits import Freed
from tests.store.scene import NO_MARKS, Scene, ids_of


async def edit(scene: Scene, job: StoredJob, **changes: Any) -> StoredJob:
    """Change a job's definition as the API does."""
    async with scene.conn.transaction():
        held = await jobs.lock_job(scene.conn, job.id)
        assert held is not None
        spec = replace(held.spec, **changes)
        changed = await jobs.update_job(scene.conn, held, spec, scene.new_id(), scene.now, enabled=held.enabled)
    assert changed is not None
    return changed


async def gate(scene: Scene) -> tuple[bool, str | None, int | None]:
    (row,) = await scene.rows("SELECT is_open, reason, allowance FROM strait.job_gates(%s)", scene.now)
    return row["is_open"], row["reason"], row["allowance"]


async def test_no_claim_takes_more_than_the_job_allows(scene: Scene):
    """Three slots: three runs start, the others are held until one ends, the oldest first."""
    job = await scene.job(max_concurrency=3)
    added = await scene.add(job, 6)
    first = await scene.start(*await scene.claim())
    assert ids_of(first) == added[:3]
    assert await gate(scene) == (False, "concurrency", 0)
    assert await scene.claim() == []
    assert await scene.finish(first[1])
    assert await gate(scene) == (True, None, 1)
    assert ids_of(await scene.claim()) == added[3:4]
    assert await scene.broken() == []


@pytest.mark.parametrize("ending", ["finish", "retry", "retry later", "release", "cancel", "system"])
async def test_whatever_ends_an_attempt_frees_its_slot(scene: Scene, ending: str):
    """By whom it is ended does not matter: the slot was the run's own column."""
    job = await scene.job(max_concurrency=1)
    held, waiting = await scene.add(job, 2)
    (claimed,) = await scene.claim()
    assert claimed.id == held
    if ending == "release":
        assert await scene.release(claimed)
    elif ending == "system":
        async with scene.conn.transaction():
            ended = await runs.end_active(
                scene.conn, [held], event=Event.SYSTEM_FAIL, to=Status.SYSTEM_FAILED, allowed=(Status.DEQUEUED,),
                now=scene.now, lease=claimed.lease,
            )  # fmt: skip
        assert [one.lane for one in ended] == [claimed.lane]
    else:
        (live,) = await scene.start(claimed)
        assert await scene.claim() == []
        if ending == "finish":
            assert await scene.finish(live)
        elif ending == "cancel":
            assert await scene.cancel(held) == {held}
        else:
            assert await scene.retry(live, timedelta(minutes=1) if ending == "retry later" else None)
    assert await scene.rows("SELECT id FROM strait.runs WHERE slot_lane IS NOT NULL") == []
    assert ids_of(await scene.claim()) == [waiting]
    assert await scene.broken() == []


async def test_a_slot_cannot_outlive_its_attempt(scene: Scene):
    """The table itself refuses a run that holds a slot and is not live."""
    live = await scene.executing(await scene.job(max_concurrency=1))
    with pytest.raises(CheckViolation):
        await scene.rows("UPDATE strait.runs SET status = 'queued' WHERE id = %s", live.id)


async def test_who_takes_a_freed_slot_begins_no_earlier_than_it_was_freed(scene: Scene):
    """Two processes read the clock a little apart: the later of the two times counts, to the end of the attempt."""
    job = await scene.job(max_concurrency=1)
    first = await scene.executing(job)
    await scene.add(job)
    ahead = scene.now + timedelta(milliseconds=40)
    assert await scene.finish(first, finished_at=ahead)
    (second,) = await scene.claim()
    (live,) = await scene.start(second)
    row = await scene.run(live.id)
    assert (row["claimed_at"], row["started_at"]) == (ahead, ahead)
    assert await scene.finish(live, finished_at=scene.now)
    (attempt,) = await scene.rows("SELECT started_at, finished_at FROM strait.attempts WHERE run_id = %s", live.id)
    assert attempt == {"started_at": ahead, "finished_at": ahead}


async def test_a_claim_passes_by_a_job_that_another_claim_holds(scene: Scene):
    """It waits for nobody, says so, and sees what the other took once that has committed."""
    capped, other = await scene.job(slug="c", max_concurrency=2), await scene.job(slug="o", max_concurrency=2)
    await scene.add(capped, 3)
    (theirs,) = await scene.add(other)
    lanes = await claims.open_lanes(scene.conn, scene.now)
    first = await scene.other()
    async with first.transaction():
        assert (await limits.hold_lanes(first, lanes[:1], 10, scene.now)).lanes == lanes[:1]
        claim = await claims.claim(scene.conn, scene.worker, 10, NO_MARKS, lanes, scene.now)
        assert (ids_of(claim.runs), claim.skipped) == ([theirs], True)
    claim = await claims.claim(scene.conn, scene.worker, 10, NO_MARKS, lanes, scene.now)
    assert (len(claim.runs), claim.skipped) == (2, False)


async def test_many_claimers_never_go_beyond_the_cap(scene: Scene):
    """Four claimers at once, over and over (60 runs, cap 3): the count at every claim is the database's own."""
    job = await scene.job(max_concurrency=3)
    left = set(await scene.add(job, 60))
    most = 0

    async def work(conn: Any, worker: UUID) -> None:
        nonlocal most
        while left:
            lanes = await claims.open_lanes(conn, scene.now)
            claim = await claims.claim(conn, worker, 5, NO_MARKS, lanes, scene.now)
            rows = await scene.rows("SELECT count(*) AS n FROM strait.runs WHERE slot_lane IS NOT NULL", conn=conn)
            most = max(most, rows[0]["n"])
            live = [run for run in claim.runs if run.id in left]
            await queue.start_if_held(conn, [queue.Start(c.id, c.attempt, c.lease) for c in live], scene.now)
            ends = [scene.ending(c._replace(attempt=1)) for c in live]
            left.difference_update(await queue.finish_if_held(conn, ends, scene.now))

    async with asyncio.timeout(60):
        await asyncio.gather(*[work(await scene.other(), UUID(int=n)) for n in range(2, 6)])
    assert 1 <= most <= 3
    assert await scene.broken() == []


async def test_a_plain_job_that_gets_a_cap_counts_what_is_live(scene: Scene):
    """Attempts that began without a limit take up room as well."""
    job = await scene.job()
    began = await scene.start(*[claimed for _ in range(2) for claimed in await _one(scene, job)])
    job = await edit(scene, job, max_concurrency=3)
    waiting = await scene.add(job, 3)
    assert ids_of(await scene.claim()) == waiting[:1]
    assert await scene.claim() == []
    assert await scene.finish(began[0])
    assert ids_of(await scene.claim()) == waiting[1:2]
    assert await scene.broken() == []


async def _one(scene: Scene, job: StoredJob) -> list[claims.Claimed]:
    await scene.add(job)
    return await scene.claim()


async def test_an_attempt_that_moves_just_now_keeps_the_job_closed_until_it_is_counted(scene: Scene):
    """Nobody waits for it: the next claim looks again."""
    job = await scene.job()
    live = await scene.executing(job)
    job = await edit(scene, job, max_concurrency=2)
    await scene.add(job, 2)
    mover = await scene.other()
    async with mover.transaction():
        await scene.rows("SELECT id FROM strait.runs WHERE id = %s FOR UPDATE", live.id, conn=mover)
        assert await scene.claim() == []
    assert len(await scene.claim()) == 1


async def test_a_first_limit_waits_for_claims_that_do_not_know_of_it(scene: Scene):
    """A claim under way commits first, and what it took is counted."""
    job = await scene.job()
    await scene.add(job, 3)
    claimer, editor = await scene.other(), await scene.other()
    async with claimer.transaction():
        taken = await claims.claim(claimer, scene.worker, 2, NO_MARKS, [], scene.now)
        assert len(taken.runs) == 2

        async def limit() -> None:
            async with editor.transaction():
                held = await jobs.lock_job(editor, job.id)
                assert held is not None
                spec = replace(held.spec, max_concurrency=2)
                await jobs.update_job(editor, held, spec, scene.new_id(), scene.now, enabled=True)

        limiting = asyncio.create_task(limit())
        await scene.blocked(editor)
    await limiting
    # The first claim sends the entry to the job's lane, the second counts.
    assert await scene.claim() == await scene.claim() == []
    assert await gate(scene) == (False, "concurrency", 0)


async def test_raising_and_lowering_a_cap_takes_effect_at_the_next_claim(scene: Scene):
    """What is live stays live; lowered, nothing starts until there is room below the new cap."""
    job = await scene.job(max_concurrency=1)
    await scene.add(job, 6)
    live = await scene.start(*await scene.claim())
    job = await edit(scene, job, max_concurrency=3)
    live += await scene.start(*await scene.claim())
    assert len(live) == 3
    await edit(scene, job, max_concurrency=2)
    assert (await gate(scene))[2] == -1
    assert await scene.finish(live.pop())
    assert await scene.claim() == []
    assert await scene.finish(live.pop())
    assert len(await scene.claim()) == 1


async def test_a_job_that_loses_its_cap_returns_to_the_plain_lane(scene: Scene):
    """What waits in its own lane is served there, in the order of age."""
    job = await scene.job(max_concurrency=1)
    old = await scene.add(job, 3)
    job = await edit(scene, job, max_concurrency=None)
    new = await scene.add(job, 2)
    lanes = await scene.rows("SELECT DISTINCT lane <> 0 AS own FROM strait.ready ORDER BY 1")
    assert [row["own"] for row in lanes] == [False, True]
    assert ids_of(await scene.claim()) == old + new
    job = await edit(scene, job, max_concurrency=5)
    await scene.add(job)
    assert await scene.claim() == []
    assert await scene.broken() == []


async def test_a_pause_and_a_cap_hold_together(scene: Scene):
    """Either closes the job; the pause is named first."""
    job = await scene.job(max_concurrency=1)
    live = await scene.executing(job)
    await scene.add(job, 2)
    await jobs.pause_job(scene.conn, job.id, None, scene.now)
    assert await gate(scene) == (False, "paused", 0)
    await jobs.resume_job(scene.conn, job.id, scene.now)
    assert await gate(scene) == (False, "concurrency", 0)
    assert await scene.claim() == []
    assert await scene.finish(live)
    await jobs.pause_job(scene.conn, job.id, None, scene.now)
    assert await scene.claim() == []
    await jobs.resume_job(scene.conn, job.id, scene.now)
    assert len(await scene.claim()) == 1


async def test_slots_are_noted_by_the_batch(scene: Scene):
    """The latest time wins, whatever order they come in."""
    times = [scene.now + timedelta(seconds=n) for n in (2, 5, 3)]
    await limits.free(scene.conn, [Freed(7, None, at) for at in times])
    await limits.free(scene.conn, [Freed(7, None, times[0])])
    assert await scene.rows("SELECT freed_at FROM strait.lane_state WHERE lane = 7") == [{"freed_at": times[1]}]


async def test_attempts_beyond_the_cap_are_reported(scene: Scene):
    """Over what is live and what has ended, counted at every start; a live attempt without a slot as well."""
    job = await scene.job(max_concurrency=2)
    scene.later(minutes=1)
    await scene.add(job, 2)
    live = await scene.start(*await scene.claim())
    assert await scene.finish(live[0], finished_at=scene.now + timedelta(seconds=5))
    await scene.add(job)
    await scene.rows("DELETE FROM strait.lane_state")
    await scene.start(*await scene.claim())
    assert [violation.invariant for violation in await scene.broken()] == ["cap_exceeded"]
    await scene.rows("UPDATE strait.runs SET slot_lane = NULL")
    assert {violation.invariant for violation in await scene.broken()} == {"cap_exceeded", "slot_missing"}
    await scene.rows("UPDATE strait.runs SET slot_lane = 77")
    assert {violation.invariant for violation in await scene.broken()} == {"cap_exceeded", "slot_wrong"}
