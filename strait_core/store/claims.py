"""Claims: how a worker takes runs out of the ready order, and starts them in the same sending."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import AsyncCursor

from strait_core.retry import MAX_PRIORITY
from strait_core.store import limits, rates
from strait_core.store.pool import Conn, own_transaction, query
from strait_core.store.sql import load

_SQL = load("queue")
PRIORITIES: Final = tuple(range(MAX_PRIORITY, -1, -1))


class Claimed(NamedTuple):
    """A run that this worker may start; `attempt` counts the attempts before, `queue_wait_ms` since it was ready."""

    id: UUID
    job_id: UUID
    project_id: str
    lease: int
    attempt: int
    attempt_base: int
    max_attempts: int
    priority: int
    timeout_secs: int
    job_version: int
    retry_strategy: str | None
    error: str | None
    queue_wait_ms: float
    payload: str
    ready_seq: int
    lane: int
    error_fingerprint: int | None = None
    error_streak: int | None = None
    workflow_run_id: UUID | None = None
    step_index: int | None = None
    retry_initial_secs: int | None = None
    retry_max_secs: int | None = None
    # The breaker that let it through; None when its job's lets everything through.
    breaker: UUID | None = None


_CLAIMED: Final = len(Claimed._fields)
_Cursor = AsyncCursor[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim took, how many entries it met and sent to their own lanes, and whether those lanes hold any.

    `taken` counts the entries it took out of the ready order: a run whose time to live is over leaves it unclaimed.
    `skipped`: some of the lanes it was to read were in the hands of other claims. `returns_at`: when the first of the
    runs returns that it has parked for named rate limits; None = it has parked none. `started`: those of the runs that
    are executing now; None = nothing was started.
    """

    runs: list[Claimed]
    moved: int
    gated: bool
    taken: int = 0
    skipped: bool = False
    returns_at: datetime | None = None
    started: frozenset[UUID] | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """The open lanes that hold entries, the one with the best entry first, and when the next closed one opens."""

    lanes: list[int]
    opens_at: datetime | None


async def claim(
    conn: Conn,
    worker: UUID,
    slots: int,
    marks: Sequence[int],
    lanes: Sequence[int],
    now: datetime,
    *,
    starting: Callable[[], datetime] | None = None,
) -> Claim:
    """queued → dequeued for at most `slots` runs, the best first.

    `marks` gives for each of `PRIORITIES` the ready_seq below which lane 0 holds nothing any more; `lanes` are the open
    lanes besides lane 0. With `starting`, a clock, the runs go on to executing in the same sending, in a transaction of
    its own; only on a connection that belongs to the caller alone (no pooler in between).
    """
    values = {
        "worker": worker,
        "slots": slots,
        "now": now,
        "priorities": list(PRIORITIES),
        "marks": list(marks),
        "starting": starting is not None,
    }
    if lanes:
        return await _claim_lanes(conn, values, lanes, starting)
    cursor = conn.cursor(binary=True)
    if starting is None:
        await cursor.execute(query(_SQL["claim"]), values)
        return _claim(await cursor.fetchall())
    async with conn.pipeline():
        # The claim commits by itself, whatever becomes of the starts.
        await conn.execute("BEGIN")
        await cursor.execute(query(_SQL["claim"]), values)
        await conn.execute("COMMIT")
        starts = await _start(conn, worker, now)
    return await _with_starts(_claim(await cursor.fetchall()), starts)


async def _claim_lanes(
    conn: Conn, values: dict[str, Any], lanes: Sequence[int], starting: Callable[[], datetime] | None
) -> Claim:
    """A claim that reads lanes besides lane 0. It holds their jobs first: what it counts then, it counts alone."""
    async with own_transaction(conn), conn.pipeline():
        await conn.execute("BEGIN")
        held = await limits.hold_lanes(conn, lanes, values["slots"], values["now"])
        holding = {
            "lanes": list(lanes),
            "held": held.lanes,
            "keyed": held.keyed,
            "admitted_in": [lane for lane, _ in held.admitted],
            "admitted": [place for _, place in held.admitted],
        }
        cursor = conn.cursor(binary=True)
        await cursor.execute(query(_SQL["claim_lanes"]), {**values, **holding})
        rows, returns_at = None, None
        if held.ledger is not None:
            rows = await cursor.fetchall()
            returns_at = await rates.settle(conn, held.ledger, [run.id for run in _claim(rows).runs], values["now"])
        await conn.execute("COMMIT")
        # Holding and counting may have taken a while.
        starts = None if starting is None else await _start(conn, values["worker"], starting())
    claim = replace(_claim(rows or await cursor.fetchall()), returns_at=returns_at)
    return claim if starts is None else await _with_starts(claim, starts)


def _claim(rows: Sequence[tuple[Any, ...]]) -> Claim:
    # Before a run's columns stand the claim's own five, one of which is nobody's.
    moved, gated, taken, skipped = rows[0][:4]
    claimed = [Claimed(*row[5 : 5 + _CLAIMED]) for row in rows if row[5] is not None]
    return Claim(claimed, moved, gated or moved > 0, taken, skipped)


async def _start(conn: Conn, worker: UUID, now: datetime) -> _Cursor:
    """Send the start of what the session remembers behind the COMMIT of its claim, which stands whatever follows."""
    return await conn.cursor(binary=True).execute(query(_SQL["start_claimed"]), {"worker": worker, "now": now})


async def _with_starts(claim: Claim, starts: _Cursor) -> Claim:
    count, some = (await starts.fetchone()) or (0, None)
    # Counted, so that a session which remembers another claim, or none, never seems to have started this one.
    ids = [run.id for run in claim.runs] if count == len(claim.runs) else some or ()
    return replace(claim, started=frozenset(ids))


async def open_lanes(conn: Conn, now: datetime) -> list[int]:
    """The lanes besides lane 0 from which runs may be claimed now, the one with the best entry first."""
    return (await look_at_lanes(conn, now)).lanes


async def look_at_lanes(conn: Conn, now: datetime) -> Look:
    """The lanes besides lane 0 that hold entries: which are open, and when the next of the others opens by itself."""
    cursor = await conn.cursor(binary=True).execute(query(_SQL["open_lanes"]), {"now": now})
    rows = await cursor.fetchall()
    opening = [until_at for _, is_open, until_at in rows if not is_open and until_at is not None]
    return Look([lane for lane, is_open, _ in rows if is_open], min(opening, default=None))


async def move_gated(conn: Conn, limit: int) -> int:
    """Send at most `limit` entries of lane 0 whose jobs have their own lane there; how many."""
    row = await (await conn.execute(query(_SQL["move_gated"]), {"limit": limit})).fetchone()
    return int(row[0]) if row else 0
