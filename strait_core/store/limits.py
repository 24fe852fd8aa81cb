"""Limits in the database: who holds a gated job for a claim, and what a freed slot leaves behind.

A slot is a column of the run that holds it, so none of this can leak one: what is written here makes hand-offs quick
and keeps attempts in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("limits")


class Freed(NamedTuple):
    """A slot that was given up: the lane of its job, the run's concurrency key, and when the attempt was over."""

    lane: int
    key: str | None
    freed_at: datetime


async def hold_lanes(conn: Conn, lanes: Sequence[int]) -> list[int]:
    """Hold those of these lanes' jobs that have limits, until the caller's transaction ends; the lanes held.

    Left out are jobs that somebody else holds, and those whose live attempts have not all been counted yet.
    """
    cursor = await conn.cursor(binary=True).execute(query(_SQL["hold_lanes"]), {"lanes": list(lanes)})
    rows = await cursor.fetchall()
    unsettled = [lane for lane, settled in rows if not settled]
    held = [lane for lane, settled in rows if settled]
    if unsettled:
        await conn.execute(query(_SQL["give_slots"]), {"lanes": unsettled})
        cursor = await conn.execute(query(_SQL["settle_lanes"]), {"lanes": unsettled})
        held += [row[0] for row in await cursor.fetchall()]
    return held


async def close_ranks(conn: Conn) -> None:
    """Let no claim run beside the caller's transaction, which gives a job its first limit."""
    await conn.execute(query(_SQL["close_ranks"]))


async def free(conn: Conn, freed: Sequence[Freed]) -> None:
    """Note that slots are free again, in the transaction that freed them."""
    if freed:
        values = {"lanes": [slot.lane for slot in freed], "times": [slot.freed_at for slot in freed]}
        await conn.execute(query(_SQL["note_freed"]), values)
