"""Two connections, one run: whoever is late changes nothing and is told so, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from uuid import UUID

import pytest
from msgspec.json import encode
from psycopg.types.json import Jsonb

from strait_core.run import CANCELABLE, Event, Status
from strait_core.store import claims, jobs, queue, runs
from strait_core.store.claims import Claimed
from strait_core.store.pool import Conn, query
from strait_core.store.queue import Release, Start
from strait_core.store.sql import load
from tests.store.scene import NO_MARKS, Scene

AFTER = timedelta(minutes=5)
_ENTRIES = load("runs")
_END = {
    "from": [status.value for status in CANCELABLE],
    "to": "canceled",
    "event": "cancel",
    "keep": "short",
    "reason": None,
    "error_class": None,
    "error": None,
    "lease": None,
    "attempt": None,
    "result": None,
}
Act = Callable[[Scene, Conn, Claimed], Coroutine[None, None, bool]]


async def start(scene: Scene, conn: Conn, held: Claimed) -> bool:
    return bool(await queue.start_if_held(conn, [Start(held.id, held.attempt, held.lease)], scene.now))


async def finish(scene: Scene, conn: Conn, held: Claimed) -> bool:
    return bool(await queue.finish_if_held(conn, [scene.ending(held)], scene.now))


async def retry(scene: Scene, conn: Conn, held: Claimed) -> bool:
    return bool(await queue.retry_if_held(conn, [scene.repeat(held, AFTER)], scene.now))


async def retry_now(scene: Scene, conn: Conn, held: Claimed) -> bool:
    return bool(await queue.retry_if_held(conn, [scene.repeat(held, base_add=1)], scene.now))


async def release(scene: Scene, conn: Conn, held: Claimed) -> bool:
    return bool(await queue.release_if_held(conn, [Release(held.id, held.attempt, held.lease, "x")], scene.now))


async def cancel(scene: Scene, conn: Conn, held: Claimed) -> bool:
    return bool(await scene.cancel(held.id, conn=conn))


async def claim(scene: Scene, conn: Conn, _: Claimed) -> bool:
    return bool((await claims.claim(conn, scene.worker, 10, NO_MARKS, [], scene.now)).runs)


async def promote(scene: Scene, conn: Conn, _: Claimed) -> bool:
    return bool((await queue.promote_due(conn, 10, scene.now))[1])


async def replay(scene: Scene, conn: Conn, held: Claimed) -> bool:
    return await runs.replay(conn, held.id, scene.now)


async def queued(scene: Scene) -> Claimed:
    (run_id,) = await scene.add(await scene.job())
    return Claimed(run_id, run_id, "p", 0, 0, 0, 3, 0, 300, 1, None, None, 0.0, "{}", 0, 0)


async def dequeued(scene: Scene) -> Claimed:
    await queued(scene)
    (claimed,) = await scene.claim()
    return claimed


async def executing(scene: Scene) -> Claimed:
    return await scene.executing(await scene.job())


async def due(scene: Scene) -> Claimed:
    (run_id,) = await scene.add(await scene.job(), scheduled_at=scene.now + AFTER)
    scene.now += AFTER
    return await queued_like(run_id, scene)


async def queued_like(run_id: UUID, scene: Scene) -> Claimed:
    return Claimed(run_id, run_id, "p", 0, 0, 0, 3, 0, 300, 1, None, None, 0.0, "{}", 0, 0)


async def retrying(scene: Scene) -> Claimed:
    live = await executing(scene)
    assert await scene.retry(live, AFTER)
    scene.now += AFTER
    return live


async def dead(scene: Scene) -> Claimed:
    live = await executing(scene)
    assert await scene.finish(live, Status.DEAD_LETTER)
    return live


# Both may happen to the run as it stands; the second comes while the first has not committed yet. Each answers for
# itself whether it moved the run: the second where the first does not stand in its way.
RACES: list[tuple[Callable[[Scene], Awaitable[Claimed]], Act, Act, bool, str]] = [
    (queued, claim, cancel, True, "canceled"),
    (queued, cancel, claim, False, "canceled"),
    (queued, claim, claim, False, "dequeued"),
    (queued, cancel, cancel, False, "canceled"),
    (dequeued, start, cancel, True, "canceled"),
    (dequeued, cancel, start, False, "canceled"),
    (dequeued, release, cancel, True, "canceled"),
    (dequeued, cancel, release, False, "canceled"),
    (dequeued, release, start, False, "queued"),
    (dequeued, start, release, False, "executing"),
    (executing, finish, cancel, False, "completed"),
    (executing, cancel, finish, False, "canceled"),
    (executing, finish, finish, False, "completed"),
    (executing, finish, retry, False, "completed"),
    (executing, retry, finish, False, "queued"),
    (executing, retry, retry, False, "queued"),
    (executing, retry, cancel, True, "canceled"),
    (executing, cancel, retry, False, "canceled"),
    (executing, retry_now, cancel, True, "canceled"),
    (executing, cancel, retry_now, False, "canceled"),
    (due, promote, cancel, True, "canceled"),
    (due, cancel, promote, False, "canceled"),
    (due, promote, promote, False, "queued"),
    (retrying, promote, cancel, True, "canceled"),
    (retrying, cancel, promote, False, "canceled"),
    (dead, replay, replay, False, "queued"),
]


@pytest.mark.parametrize(("put", "first", "second", "moves", "status"), RACES)
async def test_the_second_of_two_waits_or_passes_by(
    scene: Scene, put: Callable[[Scene], Awaitable[Claimed]], first: Act, second: Act, moves: bool, status: str
):
    """The late one sees what the early one committed; nothing is left behind in the ready order or among what is due."""
    held = await put(scene)
    one, other = await scene.other(), await scene.other()
    async with asyncio.timeout(30):
        async with one.transaction():
            assert await first(scene, one, held)
            late = asyncio.create_task(second(scene, other, held))
            blocked = asyncio.create_task(scene.blocked(other))
            await asyncio.wait([late, blocked], return_when=asyncio.FIRST_COMPLETED)
        assert await late == moves
        blocked.cancel()
    assert await scene.status(held.id) == status
    assert await scene.broken() == []


@pytest.mark.parametrize(("put", "first", "second", "moves", "status"), RACES)
async def test_the_second_of_two_moves_the_run_when_the_first_gives_up(
    scene: Scene, put: Callable[[Scene], Awaitable[Claimed]], first: Act, second: Act, moves: bool, status: str
):
    """A first that rolls back has done nothing: the second moves the run, now or at its next look."""
    held = await put(scene)
    one, other = await scene.other(), await scene.other()
    async with asyncio.timeout(30):
        async with one.transaction(force_rollback=True):
            assert await first(scene, one, held)
            late = asyncio.create_task(second(scene, other, held))
            blocked = asyncio.create_task(scene.blocked(other))
            await asyncio.wait([late, blocked], return_when=asyncio.FIRST_COMPLETED)
        moved = await late
        blocked.cancel()
    assert moved or await second(scene, other, held)
    assert await scene.broken() == []


async def ended(scene: Scene, conn: Conn, run_id: UUID, between: Callable[[], Awaitable[None]]) -> list[runs.Ended]:
    """Cancel a run, with something happening right after its entries have been locked."""
    happened = False

    class Interrupted:
        """The connection, but for one thing that happens between its first two statements."""

        def __getattr__(self, name: str):
            return getattr(conn, name)

        async def execute(self, *args, **kwargs):
            nonlocal happened
            result = await conn.execute(*args, **kwargs)
            if not happened:
                happened = True
                await between()
            return result

    async with conn.transaction():
        return await runs.end_active(
            Interrupted(),  # type: ignore[arg-type]
            [run_id],
            event=Event.CANCEL,
            to=Status.CANCELED,
            allowed=CANCELABLE,
            now=scene.now,
        )


async def test_a_cancel_finds_an_entry_that_came_after_its_look(scene: Scene):
    """The run was executing, and went back to the queue between the look for its entry and its end."""
    live = await executing(scene)

    async def requeue() -> None:
        assert await retry_now(scene, scene.conn, live)

    assert [one.was for one in await ended(scene, await scene.other(), live.id, requeue)] == [Status.QUEUED]
    assert await scene.claim() == []
    assert await scene.broken() == []


async def test_a_cancel_and_a_claim_that_meet_in_between_do_not_lock_each_other_out(scene: Scene):
    """The claim holds the entry and waits for the run, the cancel holds the run and must not wait for the entry."""
    live = await executing(scene)
    claimer = await scene.other()
    racing: list[asyncio.Task[bool]] = []

    async def requeue() -> None:
        assert await retry_now(scene, scene.conn, live)

    conn = await scene.other()
    await requeue()
    async with asyncio.timeout(30):
        async with conn.transaction():
            # As if the requeue had come after the look for entries: the run is held, its entry is not.
            await conn.execute("SELECT id FROM strait.runs WHERE id = %s FOR UPDATE", (live.id,))
            racing.append(asyncio.create_task(claim(scene, claimer, live)))
            await scene.blocked(claimer)
            rows = await conn.execute(query(_ENTRIES["end_active"]), _END | {"ids": [live.id], "now": scene.now})
            gone = dict(zip(("id", "job_id", "priority", "ready_seq"), (await rows.fetchall())[0][:4], strict=True))
            await conn.execute(query(_ENTRIES["drop_entries"]), {"batch": Jsonb([gone], dumps=encode)})
        assert not await racing[0]
    assert await scene.broken() == []


async def test_no_two_claimers_ever_share_a_run(scene: Scene):
    """Eight claimers on 2,000 runs: each run is claimed once, by one lease."""
    job = await scene.job()
    for _ in range(4):
        await scene.add(job, 500)
    taken: list[Claimed] = []

    async def claimer(number: int) -> None:
        conn = await scene.other()
        while more := (await claims.claim(conn, UUID(int=number), 23, NO_MARKS, [], scene.now)).runs:
            taken.extend(more)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(claimer(number))
    # A claimer that met only locked entries has gone home early; the rest is there for the next look.
    taken += await scene.claim(2_000)
    assert len({run.id for run in taken}) == len({run.lease for run in taken}) == len(taken) == 2_000
    assert await scene.rows("SELECT run_id FROM strait.ready") == []
    assert await scene.broken() == []


async def work(scene: Scene, number: int, over: asyncio.Event) -> None:
    """A worker: claims, starts, repeats every third attempt at once, finishes the others."""
    conn = await scene.other()
    worker = UUID(int=number)
    while not over.is_set():
        claimed = (
            await claims.claim(conn, worker, 20, NO_MARKS, await claims.open_lanes(conn, scene.now), scene.now)
        ).runs
        ids = await queue.start_if_held(conn, [Start(c.id, c.attempt, c.lease) for c in claimed], scene.now)
        live = [c._replace(attempt=c.attempt + 1) for c in claimed if c.id in ids]
        again, done = live[::3], [c for at, c in enumerate(live) if at % 3]
        await queue.retry_if_held(conn, [scene.repeat(c, timedelta(0), base_add=1) for c in again], scene.now)
        await queue.finish_if_held(conn, [scene.ending(c) for c in done], scene.now)


@pytest.mark.parametrize("lanes", [False, True], ids=["lane 0", "own lanes"])
async def test_claims_promotions_cancels_and_endings_at_once_never_deadlock(scene: Scene, lanes: bool):
    """Every kind of move from its own connection on the same few hundred runs; then all is accounted for."""
    made = [await scene.job(slug=slug) for slug in ("a", "b")]
    if lanes:
        for job in made:
            await jobs.pause_job(scene.conn, job.id, None, scene.now)
            await jobs.resume_job(scene.conn, job.id, scene.now)
    added: list[UUID] = []
    for job in made:
        added += await scene.add(job, 150)
        added += await scene.add(job, 150, scheduled_at=scene.now + timedelta(seconds=1))
    scene.later(minutes=1)
    over = asyncio.Event()

    async def promoter() -> None:
        conn = await scene.other()
        while not over.is_set():
            await queue.promote_due(conn, 50, scene.now)

    async def canceler(part: list[UUID]) -> None:
        conn = await scene.other()
        for run_id in part:
            await scene.cancel(run_id, conn=conn)

    async def expirer(part: list[UUID]) -> None:
        conn = await scene.other()
        for at in range(0, len(part), 5):
            async with conn.transaction():
                await runs.end_active(
                    conn,
                    part[at : at + 5],
                    event=Event.EXPIRE,
                    to=Status.EXPIRED,
                    allowed=[Status.QUEUED, Status.DELAYED],
                    now=scene.now,
                )

    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(work(scene, number, over))
        group.create_task(promoter())
        enders = [canceler(added[::4]), canceler(added[1::4]), expirer(added[2::4]), expirer(added[:1:-4])]
        await asyncio.gather(*map(asyncio.create_task, enders))
        over.set()
    assert await scene.broken() == []
    ended_now = await scene.rows("SELECT status, count(*) AS n FROM strait.all_runs GROUP BY 1")
    assert sum(row["n"] for row in ended_now) == len(added)
