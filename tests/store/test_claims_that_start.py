"""Claims that start what they have claimed: two transactions in one sending, and what may come in between."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from psycopg import OperationalError
from psycopg.errors import CheckViolation
from psycopg.pq import TransactionStatus

from strait_core.ratekeys import RateKey
from strait_core.run import Event, Status
from strait_core.store import claims, queue, runs
from strait_core.store.claims import Claim
from strait_core.store.pool import Conn, end_session, query
from strait_core.store.sql import load
from tests.store.scene import NO_MARKS, Scene

_SQL = load("queue")

# What makes a claim take the other way: one statement to hold the jobs, then keys to count and tokens to spend.
LIMITS: Final[Sequence[Mapping[str, Any]]] = (
    {},
    {"max_concurrency": 50},
    {"rate_limit_max": 50, "rate_limit_window_secs": 60},
    {"max_concurrency_per_key": 50},
    {"rate_limit_keys": (RateKey("tenant", "{{payload.tenant}}", 50, 60),)},
)
every_way = pytest.mark.parametrize("limits", LIMITS, ids=["plain", "capped", "rated", "keyed", "named"])


async def claim(scene: Scene, slots: int = 100, conn: Conn | None = None) -> Claim:
    lanes = await claims.open_lanes(scene.conn, scene.now)
    clock = partial(getattr, scene, "now")
    return await claims.claim(conn or scene.conn, scene.worker, slots, NO_MARKS, lanes, scene.now, starting=clock)


async def send_claim(scene: Scene, conn: Conn) -> None:
    """The first half alone."""
    values = {
        "worker": scene.worker,
        "slots": 100,
        "now": scene.now,
        "priorities": list(claims.PRIORITIES),
        "marks": NO_MARKS,
        "starting": True,
    }
    await conn.execute(query(_SQL["claim"]), values)


async def send_start(scene: Scene, conn: Conn, worker: UUID | None = None) -> tuple[int, set[UUID]]:
    """The second half alone: how many started, and which if not all of the claim."""
    rows = await conn.execute(query(_SQL["start_claimed"]), {"worker": worker or scene.worker, "now": scene.now})
    found: list[Any] = await rows.fetchall()
    return found[0][0], set(found[0][1] or ())


async def statuses(scene: Scene) -> list[str]:
    return [row["status"] for row in await scene.rows("SELECT status FROM strait.runs ORDER BY status")]


@every_way
async def test_what_is_claimed_executes(scene: Scene, limits: Mapping[str, Any]) -> None:
    """Both moves happen, each with its place among the run's events and in the counts; the next claim is another one."""
    job = await scene.job(**limits)
    ids = await scene.add(job, 7, payload='{"tenant": "acme"}', concurrency_key="acme")
    first = await claim(scene, 3)
    assert ([run.id for run in first.runs], first.started) == (ids[:3], frozenset(ids[:3]))
    assert {run.attempt for run in first.runs} == {0}
    rows = await scene.rows(
        "SELECT status, attempt, seq, claimed_at, started_at, lease FROM strait.runs"
        " ORDER BY array_position(%s::uuid[], id)",
        ids,
    )
    for row, run in zip(rows[:3], first.runs, strict=True):
        assert (row["status"], row["attempt"], row["seq"], row["lease"]) == ("executing", 1, 3, run.lease)
        assert row["claimed_at"] == row["started_at"] == scene.now
    assert {row["status"] for row in rows[3:]} == {"queued"}
    scene.now += timedelta(seconds=1)
    assert (await claim(scene, 100)).started == frozenset(ids[3:])
    assert (await claim(scene, 100)).started == frozenset()
    assert await scene.broken() == []


async def test_a_slot_freed_later_is_started_no_earlier(scene: Scene) -> None:
    """Two processes read the clock a little apart: the later of the two times is when the run was claimed, and starts."""
    job = await scene.job(max_concurrency=1)
    first, second = await scene.add(job, 2)
    ahead = scene.now + timedelta(milliseconds=40)
    (run,) = (await claim(scene)).runs
    assert await scene.finish(run._replace(attempt=1), finished_at=ahead)
    assert (run.id, (await claim(scene)).started) == (first, frozenset({second}))
    row = await scene.run(second)
    assert (row["status"], row["claimed_at"], row["started_at"]) == ("executing", ahead, ahead)
    assert await scene.broken() == []


async def test_the_claim_has_committed_before_the_start(scene: Scene) -> None:
    """`dequeued` is a state that others see: between the two a run can be canceled, and then it does not start."""
    job = await scene.job()
    ids = await scene.add(job, 3)
    claimer = await scene.other()
    await send_claim(scene, claimer)
    assert await statuses(scene) == ["dequeued"] * 3
    told: dict[str, Any] = {"event": Event.CANCEL, "to": Status.CANCELED, "allowed": (Status.DEQUEUED,)}
    async with scene.conn.transaction():
        assert await runs.end_active(scene.conn, [ids[1]], now=scene.now, **told)
    assert await send_start(scene, claimer) == (2, {ids[0], ids[2]})
    assert await statuses(scene) == ["executing"] * 2
    assert await scene.broken() == []


async def test_what_another_has_claimed_since_is_not_started(scene: Scene) -> None:
    """Given back and claimed by another worker, or by the same one at the same instant: neither is this claim's."""
    job = await scene.job()
    (run_id,) = await scene.add(job)
    claimer = await scene.other()
    await send_claim(scene, claimer)
    for worker in (uuid4(), scene.worker):
        held = (await scene.rows("SELECT attempt, lease FROM strait.runs"))[0]
        release = queue.Release(run_id, held["attempt"], held["lease"], "a test")
        assert await queue.release_if_held(scene.conn, [release], scene.now) == {run_id}
        await claims.claim(scene.conn, worker, 1, NO_MARKS, [], scene.now)
        assert await send_start(scene, claimer) == (0, set())
    assert await statuses(scene) == ["dequeued"]


async def test_a_session_that_has_claimed_nothing_starts_nothing(scene: Scene) -> None:
    """Nor does one whose last claim was undone start what the same worker claims elsewhere then."""
    job = await scene.job()
    await scene.add(job, 2)
    fresh = await scene.other()
    assert await send_start(scene, fresh) == (0, set())
    assert (await claim(scene, 1, fresh)).started
    remembered = await memory(fresh)
    await fresh.execute("BEGIN")
    await send_claim(scene, fresh)
    assert await memory(fresh) != remembered
    await fresh.execute("ROLLBACK")
    assert await memory(fresh) == remembered
    assert len(await scene.claim()) == 1
    assert await send_start(scene, fresh) == (0, set())
    assert await statuses(scene) == ["dequeued", "executing"]
    assert await scene.broken() == []


async def test_a_session_is_ended(scene: Scene) -> None:
    """Whatever it is about; one that is gone has ended, and one's own stays."""
    other = await scene.other()
    pid = other.info.backend_pid
    async with asyncio.TaskGroup() as both:
        sleeping = both.create_task(_sleep(other))
        await asyncio.sleep(0.2)
        await end_session(scene.conn, pid)
    assert sleeping.result() == "ended"
    await end_session(scene.conn, pid)
    await end_session(scene.conn, scene.conn.info.backend_pid)
    assert await scene.rows("SELECT 1 AS one") == [{"one": 1}]


async def _sleep(conn: Conn) -> str:
    try:
        await conn.execute("SELECT pg_sleep(30)")
    except OperationalError:
        return "ended"
    return "slept"


@every_way
async def test_claims_without_starts_leave_nothing_behind(scene: Scene, limits: Mapping[str, Any]) -> None:
    """What a pooler may hand to somebody else is as it was."""
    job = await scene.job(**limits)
    await scene.add(job, 1)
    conn = await scene.other()
    before, lanes = await memory(conn), await claims.open_lanes(conn, scene.now)
    found = await claims.claim(conn, scene.worker, 1, NO_MARKS, lanes, scene.now)
    assert (found.started, await statuses(scene)) == (None, ["dequeued"])
    assert await memory(conn) == before


async def test_a_start_that_fails_leaves_its_claim(own_scene: Scene) -> None:
    """The claim of limited runs has committed, and the connection is good for more."""
    scene = own_scene
    job = await scene.job(max_concurrency=5)
    await scene.add(job, 2)
    conn = await scene.other()
    await scene.rows("ALTER TABLE strait.runs ADD CONSTRAINT not_today CHECK (status <> 'executing')")
    try:
        with pytest.raises(CheckViolation):
            await claim(scene, conn=conn)
    finally:
        await scene.rows("ALTER TABLE strait.runs DROP CONSTRAINT not_today")
    assert await statuses(scene) == ["dequeued"] * 2
    assert conn.info.transaction_status is TransactionStatus.IDLE
    assert await send_start(scene, conn) == (2, set())
    assert await scene.broken() == []


async def memory(conn: Conn) -> Any:
    """What a session remembers of its last claim that starts."""
    rows = await conn.execute("SELECT current_setting('strait.claimed', true), current_setting('strait.leases', true)")
    return (await rows.fetchall())[0]
