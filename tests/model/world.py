"""The database's side of the model test: the daemon's own store functions, on several connections, and a look at it all."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

from strait_core.run import Event, Status
from strait_core.store import claims, completions, jobs, limits, lineage, parking, pool, queue, runs, stats, workers
from strait_core.store.claims import Claim, Claimed
from strait_core.store.faults import Clash
from strait_core.store.limits import Freed
from strait_core.store.pool import Conn, query
from strait_core.store.queue import Finish, Release, Retry, Start
from strait_core.store.workers import WorkerRow
from strait_core.trigger import NewRun
from strait_daemon.services.reaper import lost_move
from strait_daemon.writer import Move
from tests.model.parts import STALE_AFTER
from tests.model.reference import Reference
from tests.store.scene import NOW, Scene

T = TypeVar("T")
CONNECTIONS: Final = 3
_ACTIVE: Final = b"""
SELECT r.id, r.parent_run_id, coalesce(e.ready_seq, p.ready_seq), r.status, r.seq, r.attempt, r.attempt_base,
    r.max_attempts, r.priority, r.job_version, r.lease, r.worker_id, r.expires_at, d.due_at, r.waits, r.awaited,
    p.run_id IS NOT NULL
FROM strait.runs r LEFT JOIN strait.ready e ON e.run_id = r.id LEFT JOIN strait.due d ON d.run_id = r.id
LEFT JOIN strait.parked p ON p.run_id = r.id
"""
_PAST: Final = b"""
SELECT id, parent_run_id, NULL::bigint, status, seq, attempt, attempt_base, max_attempts, priority, job_version,
    NULL::bigint, NULL::uuid, expires_at, NULL::timestamptz, NULL::boolean, NULL::boolean, false
FROM strait.run_history
"""
_WAITS: Final = b"""
SELECT w.run_id, w.attempt, e.key, w.child_id, w.due_at, w.outcome
FROM strait.waits w LEFT JOIN strait.events e ON e.id = w.event_id
"""
# Clashes are sent again, as the daemon does.
_TRIES: Final = 5


@dataclass(frozen=True)
class Step:
    """One operation: what the model answers (and becomes), and what the database does."""

    name: str
    expect: Callable[[Reference], Any]
    act: Callable[[Conn], Coroutine[Any, Any, Any]]


@dataclass(frozen=True)
class Seen:
    """What is compared: of each run, and all waits; with the ready order and each run's parent."""

    state: dict[UUID, tuple[Any, ...]]
    waits: list[tuple[Any, ...]]
    ready: list[UUID]
    parents: dict[UUID, UUID | None] = field(compare=False, default_factory=dict)
    parked: list[UUID] = field(compare=False, default_factory=list)


@dataclass
class World:
    """One migrated database and a few connections; its loop runs only while something is asked of it."""

    runner: asyncio.Runner
    scene: Scene
    conns: list[Conn] = field(default_factory=list)
    turn: int = 0

    @classmethod
    def open(cls, runner: asyncio.Runner, url: str) -> World:
        """Connect; what the tables hold stays until `clear`."""

        async def connected() -> World:
            world = cls(runner, await Scene.open(url), [await pool.connect(url) for _ in range(CONNECTIONS)])
            for conn in world.conns:
                await pool.fix_plans(conn)
            # The invariants are looked at so often that their plans are worth keeping.
            await (await world.scene.watcher()).execute("SET plan_cache_mode = force_generic_plan")
            return world

        return runner.run(connected())

    def close(self) -> None:
        """Close every connection."""

        async def closed() -> None:
            for conn in self.conns:
                await conn.close()
            await self.scene.close()

        self.runner.run(closed())

    async def begin_again(self) -> None:
        """Empty, at the first instant, with the same ids to come: one example is as its repetition."""
        await self.scene.clear()
        self.scene.now, self.scene.chance, self.turn = NOW, random.Random(7), 0
        for sequence in ("leases", "ready_seqs"):
            await self.scene.rows(f"ALTER SEQUENCE strait.{sequence} RESTART")

    def do(self, asked: Coroutine[Any, Any, T]) -> T:
        """Run to its end."""
        return self.runner.run(asked)

    def conn(self) -> Conn:
        """Another connection each time."""
        self.turn += 1
        return self.conns[self.turn % CONNECTIONS]

    # -- what the daemon does ---------------------------------------------------------------------------------------

    async def claim(self, conn: Conn, worker: UUID, slots: int) -> Claim:
        """Claim from lane 0 and the open lanes."""
        lanes = await claims.open_lanes(conn, self.scene.now)
        return await claims.claim(conn, worker, slots, [0] * len(claims.PRIORITIES), lanes, self.scene.now)

    async def claim_together(self, workers_of: Sequence[UUID], slots: Sequence[int]) -> list[Claim]:
        """Each worker claims on a connection of its own, at the same time."""
        asked = zip(self.conns, workers_of, slots, strict=False)
        async with asyncio.timeout(20):
            return await asyncio.gather(*(self.claim(*one) for one in asked))

    async def start(self, conn: Conn, batch: Sequence[Claimed]) -> set[UUID]:
        return await queue.start_if_held(conn, [Start(c.id, c.attempt, c.lease) for c in batch], self.scene.now)

    async def release(self, conn: Conn, batch: Sequence[Claimed]) -> set[UUID]:
        items = [Release(c.id, c.attempt, c.lease, "stopped") for c in batch]
        return await queue.release_if_held(conn, items, self.scene.now)

    async def end(self, conn: Conn, move: Finish | Retry) -> set[UUID]:
        """What the daemon's writer does with an ending: the ordinary way or the longer one, what it starts, its slot."""
        freed: list[Freed] = []
        now = self.scene.now
        async with conn.transaction():
            if isinstance(move, Finish):
                held = await queue.finish_if_held(conn, [move], now, freed)
            else:
                held = await queue.retry_if_held(conn, [move], now, freed)
            held |= set() if held else (await parking.end_tied(conn, [move], now, freed)).held
            if held and isinstance(move, Finish) and move.follow:
                await completions.follow(conn, [move.id], now)
            await limits.free(conn, freed)
        return held

    async def _ended(self, conn: Conn, run_ids: Sequence[UUID], event: Event, to: Status, **more: Any) -> set[UUID]:
        async with conn.transaction():
            ended = await runs.end_active(conn, run_ids, event=event, to=to, now=self.scene.now, **more)
        return {run.id for run in ended}

    async def cancel(self, conn: Conn, run_ids: Sequence[UUID]) -> set[UUID]:
        async with conn.transaction():
            ended = await lineage.cancel_family(conn, run_ids, self.scene.now)
        return {run.id for run in ended}

    async def fail_ours(self, conn: Conn, held: Claimed) -> set[UUID]:
        return await self._ended(
            conn, [held.id], Event.SYSTEM_FAIL, Status.SYSTEM_FAILED, allowed=[Status.DEQUEUED], lease=held.lease
        )

    async def expire(self, conn: Conn, limit: int) -> set[UUID]:
        found = await runs.expired_ids(conn, limit, self.scene.now)
        allowed = [Status.DELAYED, Status.QUEUED]
        return await self._ended(conn, found, Event.EXPIRE, Status.EXPIRED, allowed=allowed)

    async def replay(self, conn: Conn, run_id: UUID) -> set[UUID]:
        return {run_id} if await runs.replay(conn, run_id, self.scene.now) else set()

    async def reschedule(self, conn: Conn, run_id: UUID, at: datetime) -> datetime | None:
        return await runs.reschedule(conn, run_id, at, self.scene.now)

    async def promote(self, conn: Conn, limit: int) -> set[UUID]:
        return set((await queue.promote_due(conn, limit, self.scene.now))[1])

    async def insert(self, conn: Conn, new: Sequence[NewRun]) -> set[UUID]:
        return await queue.insert_runs(conn, new, self.scene.now)

    async def pause(self, conn: Conn, job_id: UUID, paused: bool) -> bool:
        if paused:
            return await jobs.pause_job(conn, job_id, None, self.scene.now) is not None
        return await jobs.resume_job(conn, job_id, self.scene.now) is not None

    async def edit(self, conn: Conn, job_id: UUID, enabled: bool, **changes: Any) -> int | None:
        """What PATCH does; the version that it leads to."""
        async with conn.transaction():
            job = await jobs.lock_job(conn, job_id)
            if job is None:
                return None
            spec = replace(job.spec, **changes)
            changed = await jobs.update_job(conn, job, spec, self.scene.new_id(), self.scene.now, enabled=enabled)
            return None if changed is None else changed.version

    async def delete(self, conn: Conn, job_id: UUID) -> bool:
        async with conn.transaction():
            return await jobs.lock_job(conn, job_id) is not None and await jobs.delete_job(conn, job_id, self.scene.now)

    async def beat(self, conn: Conn, worker: UUID) -> None:
        now = self.scene.now
        await workers.heartbeat(conn, WorkerRow(worker, "h", 1, "all", "1", 10, 0, False, now, now))

    async def reap(self, conn: Conn) -> dict[UUID, list[tuple[dict[str, Any], Move]]]:
        """What a reaper does in one pass: for each dead worker, the rows it held and what became of them."""
        before = self.scene.now - STALE_AFTER
        done = {}
        for worker in await workers.stale_workers(conn, before, 20):
            rows = await runs.held_by_worker(conn, worker, 500)
            specs = await jobs.definitions(conn, {(row["job_id"], row["job_version"]) for row in rows})
            moves = [lost_move(row, specs[row["job_id"], row["job_version"]], self.scene.now) for row in rows]
            for row, move in zip(rows, moves, strict=True):
                if isinstance(move, Release):
                    assert await queue.release_if_held(conn, [move], self.scene.now) == {row["id"]}
                else:
                    assert isinstance(move, Finish | Retry)
                    assert await self.end(conn, move) == {row["id"]}
            await workers.remove_stale_worker(conn, worker, before)
            done[worker] = list(zip(rows, moves, strict=True))
        return done

    async def fold(self, conn: Conn) -> None:
        await stats.fold(conn, self.scene.now)

    async def unpark(self, conn: Conn) -> None:
        await limits.unpark_idle(conn, 100)

    async def together(self, steps: Sequence[Step]) -> list[Any]:
        """Each on a connection of its own, at the same time; their answers."""

        async def one(step: Step, conn: Conn) -> Any:
            for left in reversed(range(_TRIES)):
                try:
                    return await step.act(conn)
                except Clash:
                    if not left:
                        raise
            return None

        async with asyncio.timeout(20):
            return await asyncio.gather(*(one(step, conn) for step, conn in zip(steps, self.conns, strict=False)))

    # -- what there is ----------------------------------------------------------------------------------------------

    async def seen(self) -> Seen:
        """Every run as it is compared, those in the ready order by their place, and all waits."""
        seen = Seen({}, [], [])
        places: dict[int, UUID] = {}
        conn = self.conns[0]
        async with conn.pipeline():
            cursors = [await conn.cursor(binary=True).execute(query(one)) for one in (_ACTIVE, _PAST, _WAITS)]
        for cursor in cursors[:2]:
            for run_id, parent, place, *state, ties, awaited, is_parked in await cursor.fetchall():
                assert run_id not in seen.state, "a run in two places"
                seen.state[run_id] = (*state, bool(ties), bool(awaited))
                seen.parked.extend([run_id] * is_parked)
                seen.parents[run_id] = parent
                if place is not None:
                    places[place] = run_id
        seen.ready.extend(places[at] for at in sorted(places))
        seen.waits.extend(sorted(await cursors[2].fetchall(), key=repr))
        return seen


def expected(model: Reference) -> Seen:
    """The same of the model."""
    state = {
        run.id: (run.status, run.seq, run.attempt, run.base, run.most, run.priority, run.version, run.lease, run.worker,
                 run.expires, run.due, run.ties, run.awaited)
        for run in model.runs.values()
    }  # fmt: skip
    ready = [run for run in model.runs.values() if run.place is not None]
    waits = [(one.run, one.attempt, one.key, one.child, one.due, one.outcome) for one in model.waits]
    return Seen(state, sorted(waits, key=repr), [run.id for run in sorted(ready, key=lambda run: run.place or 0)])


def differing(seen: Seen, wanted: Seen) -> list[tuple[UUID, Any, Any]]:
    """The runs that stand otherwise than they should, each as it stands and as it should; None = it is not there."""
    known = seen.state.keys() | wanted.state.keys()
    both = ((run_id, seen.state.get(run_id), wanted.state.get(run_id)) for run_id in sorted(known))
    return [(run_id, stands, should) for run_id, stands, should in both if stands != should]
