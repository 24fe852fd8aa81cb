"""Into and out of `waiting`, apart from going on: attempts that end with a wait, and waits whose time is over.

An ordinary statement passes over a live attempt whose run has waits or is waited for; here is the longer way that such
an attempt ends by. What it does is one transaction, so that a crash leaves all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from strait_core.run import Event, Status
from strait_core.store import endings, limits, queue, waits
from strait_core.store.limits import Freed
from strait_core.store.pool import Conn
from strait_core.store.queue import Finish, Retry
from strait_core.store.runs import Ended
from strait_core.store.sql import load
from strait_core.store.verdict import Verdict
from strait_core.store.waits import Wait
from strait_core.store.workflow_live import Brought

_SQL = load("parking")
_encode = msgspec.json.Encoder().encode
Row = dict[str, Any]
End: TypeAlias = Finish | Retry
# A 2xx whose body is not what the job's schema asks of a result: a waiting run's is none.
_NO_RESULT: Final = "result_schema"
_TIMINGS: Final = ("http_status", "fallback", "queue_wait_ms", "connect_ms", "ttfb_ms", "transfer_ms", "total_ms")
TIME_OUT_ROWS: Final = 100


@dataclass(frozen=True, slots=True)
class Tied:
    """Which attempts were held, which runs go on because of what ended, and which wait now instead of ending."""

    held: set[UUID]
    resumed: list[UUID]
    parked: frozenset[UUID] = frozenset()


async def end_tied(conn: Conn, ends: Sequence[End], now: datetime, freed: list[Freed] | None = None) -> Tied:
    """End live attempts of different runs that an ordinary statement has passed over, if they are held.

    Slots that they give up are noted at once, or put into `freed` for the caller, who then does it.
    """
    slots: list[Freed] = []
    async with conn.transaction():
        fences = [{"id": end.id, "attempt": end.attempt, "lease": end.lease} for end in ends]
        values = {"batch": Jsonb(fences, dumps=_encode), "ids": [end.id for end in ends]}
        tied = {row["id"]: bool(row["awaited"]) for row in await _SQL.rows(conn, "lock_tied", values)}
        if not tied:
            return Tied(set(), [])
        mine = [end for end in ends if end.id in tied]
        recorded = await waits.recorded(conn, list(tied))
        parked = [end for end in mine if end.id in recorded and _went_well(end)]
        going_on = await _park(conn, parked, recorded, now, slots)
        rest = [end for end in mine if end not in parked]
        finishes = [end for end in rest if isinstance(end, Finish)]
        await _finish(conn, finishes, {end.id for end in finishes if tied[end.id]}, now, slots)
        await _retry(conn, [end for end in rest if isinstance(end, Retry)], now, slots)
        if freed is None:
            await limits.free(conn, slots)
        else:
            freed += slots
        going_on = [*going_on, *await waits.resume_ripe(conn, now)]
        return Tied(set(tied), going_on, frozenset(end.id for end in parked))


async def end_tied_into(conn: Conn, ends: Sequence[End], now: datetime, verdict: Verdict) -> None:
    """The same, added to what has been said of the batch; nothing when there are none."""
    if ends:
        tied = await end_tied(conn, ends, now, verdict.freed)
        verdict.resumed += tied.resumed
        verdict.held |= tied.held
        verdict.parked |= tied.parked


def _went_well(end: End) -> bool:
    """Whether the endpoint answered 2xx: then what it has recorded counts."""
    return end.error_class == _NO_RESULT or (isinstance(end, Finish) and end.status is Status.COMPLETED)


async def _park(
    conn: Conn, ends: Sequence[End], recorded: Mapping[UUID, Sequence[Wait]], now: datetime, slots: list[Freed]
) -> list[UUID]:
    """executing → waiting; the runs that go on at once, because everything has come meanwhile."""
    if not ends:
        return []
    batch = [
        {
            "id": end.id,
            "attempt": end.attempt,
            "lease": end.lease,
            "finished_at": end.finished_at,
            "reason": waits.waits_for(recorded[end.id]),
            **{name: getattr(end, name) for name in _TIMINGS},
        }
        for end in ends
    ]
    (row,) = await _SQL.rows(conn, "park_if_held", {"batch": Jsonb(batch, dumps=_encode), "now": now})
    slots += [Freed(*slot) for slot in row["freed"] or ()]
    return await waits.resume(conn, [end.id for end in ends], now)


async def _finish(
    conn: Conn, ends: Sequence[Finish], awaited: Collection[UUID], now: datetime, slots: list[Freed]
) -> None:
    if ends:
        ended = [end.id for end in ends]
        await _SQL.rows(conn, "untie", {"ids": ended, "ends": True})
        await queue.finish_if_held(conn, ends, now, slots)
        await waits.drop(conn, ended)
        await waits.settle_children(conn, {end.id: end.status for end in ends if end.id in awaited}, now)


async def _retry(conn: Conn, ends: Sequence[Retry], now: datetime, slots: list[Freed]) -> None:
    """What the attempt recorded is dropped; what came of earlier waits stays for the next attempt to read."""
    if ends:
        ended = [end.id for end in ends]
        await waits.drop_recorded(conn, ended)
        await _SQL.rows(conn, "untie", {"ids": ended, "ends": False})
        await queue.retry_if_held(conn, ends, now, slots)
        await _SQL.rows(conn, "tie_again", {"ids": ended})


async def time_out(conn: Conn, now: datetime, limit: int = TIME_OUT_ROWS) -> list[Ended]:
    """waiting → timed_out for runs whose event did not come in time; at most `limit` of them.

    Whoever holds a run, or the workflow run whose step it carries out, ends it or leaves it to the next pass. An event
    that comes meanwhile finds the waits taken, and after that gone: it was too late.
    """
    async with conn.transaction():
        found = await _SQL.rows(conn, "overdue", {"now": now, "limit": limit})
        if not found:
            return []
        overdue = [row["run_id"] for row in found]
        # Trees before the runs that carry out their steps, as everywhere.
        tree, overdue = await endings.hold_free_trees(conn, overdue, now)
        held = [row["id"] for row in await _SQL.rows(conn, "lock_waiting", {"ids": overdue})]
        late = {row["run_id"]: row["key"] for row in await _SQL.rows(conn, "lock_overdue", {"ids": held, "now": now})}
        ended: list[Ended] = []
        for run_id, key in late.items():
            ended += await endings.end_active(
                conn,
                [run_id],
                event=Event.TIME_OUT,
                to=Status.TIMED_OUT,
                allowed=(Status.WAITING,),
                now=now,
                reason=f"event {key} did not come in time",
                error=("wait", f"wait: event {key} did not come in time"),
                tree=tree,
            )
        if tree is not None:
            await tree.settle()
        return ended


async def next_overdue(conn: Conn) -> datetime | None:
    """When the next open wait is over; None when none is open."""
    (row,) = await _SQL.rows(conn, "next_overdue", {})
    at: datetime | None = row["min"]
    return at


async def end_waiting(
    conn: Conn,
    run_id: UUID,
    attempt: int,
    status: Status,
    now: datetime,
    *,
    result: str | None = None,
    error: tuple[str, str] | None = None,
    brought: Brought | None = None,
) -> bool:
    """waiting → completed or failed, said by the attempt that began to wait; False when it is not so.

    In the caller's transaction. What that brings to a workflow run is told in `brought`.
    """
    event = Event.COMPLETE if status is Status.COMPLETED else Event.FAIL
    ended = await endings.end_active(
        conn,
        [run_id],
        event=event,
        to=status,
        allowed=(Status.WAITING,),
        now=now,
        error=error,
        attempt=attempt,
        result=result,
        brought=brought,
    )
    return bool(ended)
