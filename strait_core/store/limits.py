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

from strait_core.limits import fitting
from strait_core.store.pool import Conn, query
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
    """The lanes whose jobs a claim holds; of those in `keyed` it may take what is `admitted`: (lane, ready_seq)."""

    lanes: list[int]
    keyed: list[int]
    admitted: list[tuple[int, int]]


async def hold_lanes(conn: Conn, lanes: Sequence[int], slots: int) -> Held:
    """Hold those of these lanes' jobs that have limits, until the caller's transaction ends.

    Left out are jobs that somebody else holds, and those whose live attempts have not all been counted yet. Runs that
    stand first in their lane, but whose key is full, are parked.
    """
    cursor = await conn.cursor(binary=True).execute(query(_SQL["hold_lanes"]), {"lanes": list(lanes)})
    rows = await cursor.fetchall()
    unsettled = [lane for lane, settled, _ in rows if not settled]
    held = [lane for lane, settled, _ in rows if settled]
    if unsettled:
        await conn.execute(query(_SQL["give_slots"]), {"lanes": unsettled})
        cursor = await conn.execute(query(_SQL["settle_lanes"]), {"lanes": unsettled})
        held += [row[0] for row in await cursor.fetchall()]
    keyed = [lane for lane, _, capped in rows if capped and lane in held]
    return Held(held, keyed, await _admit(conn, keyed, slots) if keyed else [])


async def _admit(conn: Conn, lanes: Sequence[int], slots: int) -> list[tuple[int, int]]:
    """The entries at the head of these lanes whose keys have room; those whose have none are parked."""
    look = min(max(2 * slots, LEAST_LOOK), MOST_LOOK)
    admitted: list[tuple[int, int]] = []
    for _ in range(MOST_LOOKS):
        cursor = conn.cursor(binary=True)
        await cursor.execute(query(_SQL["survey"]), {"lanes": list(lanes), "look": look})
        rows = await cursor.fetchall()
        fits = fitting((None if key is None else f"{lane} {key}", room) for lane, _, _, key, room in rows)
        admitted = [(row[0], row[1]) for row, fit in zip(rows, fits, strict=True) if fit]
        full = [row for row, fit in zip(rows, fits, strict=True) if not fit]
        if full:
            places = {"lanes": [row[0] for row in full], "places": [row[1] for row in full]}
            await conn.execute(query(_SQL["park"]), places)
        if not full or len(admitted) >= slots or len(rows) < look:
            break
    return admitted


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
    """Let every parked run of a job return: what its keys may have has changed. The caller holds the job."""
    await conn.execute(query(_SQL["unpark_job"]), {"job": job_id})


async def unpark_idle(conn: Conn, limit: int) -> int:
    """Let runs return whose keys are idle, at most `limit` keys; how many keys there were.

    Whoever frees a slot has done so already; this finds what a crash between two transactions may have left.
    """
    async with conn.transaction():
        rows = await (await conn.execute(query(_SQL["idle_keys"]), {"limit": limit})).fetchall()
        capped = await _await_lanes(conn, sorted({row[0] for row in rows}))
        await _unpark(conn, [(lane, key) for lane, key in rows if lane in capped])
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
