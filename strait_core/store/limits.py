"""Limits in the database: who holds a gated job for a claim, and what a freed slot leaves behind.

A slot is a column of the run that holds it, so none of this can leak one: what is written here makes hand-offs quick
and keeps attempts in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from strait_core.limits import held_back
from strait_core.ratekeys import Bucket
from strait_core.store import rates
from strait_core.store.pool import Conn, query
from strait_core.store.rates import Entry, Ledger
from strait_core.store.sql import load

_SQL = load("limits")
# Entries of each lane that a claim looks at when keys are capped, and how often it looks again past those it parks.
LEAST_LOOK: Final = 32
MOST_LOOK: Final = 500
MOST_LOOKS: Final = 5


class Freed(NamedTuple):
    """A slot that was given up: the lane of its job, the run's concurrency key, and when the attempt was over."""

    lane: int
    key: str | None
    freed_at: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """The lanes whose jobs a claim holds; of those in `keyed` it may take what is `admitted`: (lane, ready_seq).

    `ledger` is there when any of the jobs has named rate limits: `rates.settle` them for what was claimed.
    """

    lanes: list[int]
    keyed: list[int]
    admitted: list[tuple[int, int]]
    ledger: Ledger | None = None


class _Met(NamedTuple):
    """An entry at the head of its lane; `room` is what its concurrency key may have, None = it has no cap.

    `late`: its time to live is over, so the claim will pass it over.
    """

    lane: int
    ready_seq: int
    run_id: UUID
    key: str | None
    room: int | None
    priority: int
    at: str
    late: bool

    @property
    def entry(self) -> Entry:
        """The same for the named limits."""
        return Entry(self.lane, self.run_id, (self.priority, self.ready_seq))


async def hold_lanes(conn: Conn, lanes: Sequence[int], slots: int, now: datetime) -> Held:
    """Hold those of these lanes' jobs that have limits, until the caller's transaction ends.

    Left out are jobs that somebody else holds, and those whose live attempts have not all been counted yet. Runs that
    stand first in their lane, but whose key is full, are parked.
    """
    cursor = await conn.cursor(binary=True).execute(query(_SQL["hold_lanes"]), {"lanes": list(lanes)})
    rows = await cursor.fetchall()
    unsettled = [lane for lane, settled, *_ in rows if not settled]
    held = [lane for lane, settled, *_ in rows if settled]
    if unsettled:
        await conn.execute(query(_SQL["give_slots"]), {"lanes": unsettled})
        cursor = await conn.execute(query(_SQL["settle_lanes"]), {"lanes": unsettled})
        held += [row[0] for row in await cursor.fetchall()]
    keyed = [lane for lane, _, capped, named in rows if lane in held and (capped or named is not None)]
    if not keyed:
        return Held(held, [], [])
    named = {lane: rates.limits_in(text) for lane, *_, text in rows if lane in held and text is not None}
    ledger = Ledger(named) if named else None
    return Held(held, keyed, await _admit(conn, keyed, slots, ledger, now), ledger)


async def _admit(
    conn: Conn, lanes: Sequence[int], slots: int, ledger: Ledger | None, now: datetime
) -> list[tuple[int, int]]:
    """The entries at the head of these lanes whose keys have room; those whose have none are parked."""
    most = min(max(2 * slots, LEAST_LOOK), MOST_LOOK)
    admitted: list[tuple[int, int]] = []
    passed_over: set[tuple[int, str]] = set()
    for _ in range(MOST_LOOKS):
        cursor = conn.cursor(binary=True)
        await cursor.execute(query(_SQL["survey"]), {"lanes": list(lanes), "look": most, "now": now})
        met = [_Met(*row) for row in await cursor.fetchall()]
        seen = met if ledger is None else met[: await rates.look(conn, ledger, [one.entry for one in met], now)]
        held = held_back([_wants(one, ledger) for one in seen])
        admitted = [(one.lane, one.ready_seq) for one, without in zip(seen, held, strict=True) if not without]
        full = [(one, without) for one, without in zip(seen, held, strict=True) if without]
        if full:
            await _park(conn, full, ledger)
        passed_over |= {
            (one.lane, one.key) for one in seen if one.late and one.key is not None and one.room is not None
        }
        if not full or len(seen) < len(met) or len(admitted) >= slots or len(met) < most:
            break
    # Who is parked behind a run that is never claimed would wait until that one is ended.
    await _unpark(conn, sorted(passed_over))
    return admitted


def _wants(met: _Met, ledger: Ledger | None) -> list[tuple[Bucket, int]]:
    """What a run takes of: its concurrency key, and the buckets of its named limits."""
    if met.late:
        return []
    wants = [] if met.key is None or met.room is None else [(Bucket(met.lane, None, met.key), met.room)]
    return wants if ledger is None else wants + ledger.wants(met.entry)


async def _park(conn: Conn, full: Sequence[tuple[_Met, Sequence[Bucket]]], ledger: Ledger | None) -> None:
    """Out of the ready order, each for one of the keys that hold it back: a slot, or else the token that comes last."""
    waits = [(met, buckets[0] if ledger is None else ledger.latest(buckets)) for met, buckets in full]
    places = {
        "at": [met.at for met, _ in waits],
        "rates": [bucket.name for _, bucket in waits],
        "keys": [bucket.key for _, bucket in waits],
    }
    await conn.execute(query(_SQL["park"]), places)


async def close_ranks(conn: Conn) -> None:
    """Let no claim run beside the caller's transaction, which gives a job its first limit."""
    await conn.execute(query(_SQL["close_ranks"]))


async def free(conn: Conn, freed: Sequence[Freed]) -> None:
    """Note that slots are free again, in the transaction that freed them, and let who waited for their keys return."""
    if not freed:
        return
    # A claim may be parking a run for a key that is free by now: only when it is over can the run be found.
    capped = await _await_lanes(conn, sorted({slot.lane for slot in freed if slot.key is not None}))
    values = {"lanes": [slot.lane for slot in freed], "times": [slot.freed_at for slot in freed]}
    await conn.execute(query(_SQL["note_freed"]), values)
    await _unpark(conn, [(slot.lane, slot.key) for slot in freed if slot.key is not None and slot.lane in capped])


async def pass_on(conn: Conn, left: Sequence[tuple[UUID, str]]) -> None:
    """Queued runs have gone for good: (job, key). Who is parked on their keys may have been next after them."""
    if left:
        cursor = await conn.execute(query(_SQL["capped_jobs"]), {"jobs": [job for job, _ in left]})
        lanes: dict[UUID, int] = dict(await cursor.fetchall())
        await _unpark(conn, [(lanes[job], key) for job, key in left if job in lanes])


async def unpark_job(conn: Conn, job_id: UUID) -> None:
    """Let every parked run of a job return that nobody else holds: what its keys may have has changed.

    The caller holds the job.
    """
    await conn.execute(query(_SQL["unpark_job"]), {"job": job_id})


async def unpark_idle(conn: Conn, limit: int) -> int:
    """Let runs return whose keys are idle, at most `limit` keys; how many keys there were.

    Whoever frees a slot has done so already; this finds what a crash between two transactions may have left.
    """
    async with conn.transaction():
        rows = await (await conn.execute(query(_SQL["idle_keys"]), {"limit": limit})).fetchall()
        await conn.execute(query(_SQL["await_jobs"]), {"lanes": sorted({row[0] for row in rows})})
        await _unpark(conn, [(lane, key) for lane, key in rows])
    return len(rows)


async def _await_lanes(conn: Conn, lanes: Sequence[int]) -> set[int]:
    if not lanes:
        return set()
    cursor = await conn.execute(query(_SQL["await_lanes"]), {"lanes": list(lanes)})
    return {row[0] for row in await cursor.fetchall()}


async def _unpark(conn: Conn, keys: Sequence[tuple[int, str]]) -> None:
    if keys:
        values = {"lanes": [lane for lane, _ in keys], "keys": [key for _, key in keys]}
        await conn.execute(query(_SQL["unpark"]), values)
