"""What runs wait for: recorded by an attempt, settled from outside, looked at when the run may go on.

A wait is settled by whoever ends what it waits for: the sender of an event, the writer of another run's end. In the
same transaction its run is taken, if it is free, and queued when it waits for nothing any more. A run that was not free
has the wait marked `ripe`, and is looked at again by whoever held it, or within a second by a service.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from strait_core import ids
from strait_core.errors import ConflictError
from strait_core.ids import Prefix, spell
from strait_core.run import Status
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("waits")
_encode = msgspec.json.Encoder().encode
# What a run may have waited for in all its life, and how many runs go on in one transaction.
MOST_WAITS: Final = 1_000
RESUME_ROWS: Final = 500
MAX_REASON: Final = 500
# Two processes may read the clock a little apart.
_CLOCK_SLACK: Final = timedelta(days=1)
Row = dict[str, Any]


class Outcome(StrEnum):
    """What came of waiting for an event; of waiting for a run, it is the state that run ended in."""

    RECEIVED = "received"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class Wait:
    """One thing that a run waits for, or has waited for; `outcome` is None while it is open."""

    id: UUID
    attempt: int
    event_id: UUID | None
    child_id: UUID | None
    event_key: str | None
    created_at: datetime
    due_at: datetime | None
    outcome: str | None
    settled_at: datetime | None

    @property
    def about(self) -> str:
        """What is waited for, in words."""
        return f"event {self.event_key}" if self.child_id is None else f"run {spell(Prefix.RUN, self.child_id)}"


@dataclass(frozen=True, slots=True)
class Told:
    """A wait and what it brought: the event's payload, or result and error of the run."""

    wait: Wait
    payload: str | None
    result: str | None
    error: str | None


def wait_of(row: Row) -> Wait:
    """A row as the program sees it."""
    names = ("id", "attempt", "event_id", "child_id", "created_at", "due_at", "outcome", "settled_at")
    return Wait(event_key=row.get("event_key"), **{name: row[name] for name in names})


async def mark(conn: Conn, run_id: UUID, attempt: int) -> str | None:
    """Hold the run of a live attempt that is about to record a wait: its project; None when the attempt is over."""
    found = await _SQL.rows(conn, "mark_waits", {"run_id": run_id, "attempt": attempt})
    return found[0]["project_id"] if found else None


async def parent(conn: Conn, run_id: UUID, attempt: int) -> Row | None:
    """What a live attempt passes on to the runs that it makes; None when the attempt is over."""
    found = await _SQL.rows(conn, "parent", {"run_id": run_id, "attempt": attempt})
    return found[0] if found else None


async def hold_parent(conn: Conn, run_id: UUID, attempt: int) -> bool:
    """Keep a live attempt's run from ending before the caller's transaction has stored a child of it."""
    return bool(await _SQL.rows(conn, "hold_parent", {"run_id": run_id, "attempt": attempt}))


async def check_room(conn: Conn, run_id: UUID) -> None:
    """Raise ConflictError when the run has waited for as much as it may."""
    (row,) = await _SQL.rows(conn, "count_of_run", {"run_id": run_id})
    if row["count"] >= MOST_WAITS:
        raise ConflictError(
            f"the run has waited for {MOST_WAITS} things, which is the most", hint="go on as another run: continue"
        )


async def wait_on_event(conn: Conn, run_id: UUID, key: str) -> Told | None:
    """What the run records, or has recorded in an earlier attempt, of the event of that key."""
    found = await _SQL.rows(conn, "find_event_wait", {"run_id": run_id, "key": key})
    return Told(wait_of(found[0]), found[0]["payload"], None, None) if found else None


async def record_event(
    conn: Conn, run_id: UUID, attempt: int, event_id: UUID, *, due_at: datetime, came: bool, now: datetime
) -> None:
    """Record that the run waits for an event; the caller holds first the run and then the event."""
    outcome = Outcome.RECEIVED if came else None
    await _record(conn, run_id, attempt, event_id=event_id, due_at=due_at, outcome=outcome, now=now)


async def record_child(conn: Conn, run_id: UUID, attempt: int, child_id: UUID, now: datetime) -> None:
    """Record that the run waits for the end of another run, which is known to exist; the caller holds the run.

    A run that was waited for before is not waited for again.
    """
    if await _SQL.rows(conn, "find_child_wait", {"run_id": run_id, "child_id": child_id}):
        return
    await check_room(conn, run_id)
    if await _SQL.rows(conn, "would_wait_for_itself", {"run_id": run_id, "child_id": child_id}):
        raise ConflictError("the two runs would wait for each other", hint="spawn it without `wait`")
    outcome = None
    if not await _SQL.rows(conn, "mark_awaited", {"child_id": child_id}):
        ended = await _SQL.rows(conn, "ended_as", {"id": child_id, "made_at": ids.time_of(child_id) - _CLOCK_SLACK})
        # What is no longer kept has ended long ago.
        outcome = ended[0]["status"] if ended else Status.EXPIRED.value
    await _record(conn, run_id, attempt, child_id=child_id, outcome=outcome, now=now)


async def _record(
    conn: Conn,
    run_id: UUID,
    attempt: int,
    *,
    outcome: str | None,
    now: datetime,
    event_id: UUID | None = None,
    child_id: UUID | None = None,
    due_at: datetime | None = None,
) -> None:
    values = {
        "id": ids.uuid7(now, random.getrandbits),
        "run_id": run_id,
        "attempt": attempt,
        "event_id": event_id,
        "child_id": child_id,
        "due_at": due_at,
        "outcome": outcome,
        "now": now,
    }
    await _SQL.rows(conn, "insert_wait", values)


async def settle_event(conn: Conn, event_id: UUID, outcome: Outcome, now: datetime) -> int:
    """End every open wait for an event that the caller holds; how many."""
    values = {"event_id": event_id, "outcome": outcome.value, "now": now}
    return (await conn.execute(query(_SQL["settle_event"]), values)).rowcount


async def settle_children(conn: Conn, ended: Mapping[UUID, Status], now: datetime) -> None:
    """End every open wait for runs that the caller's transaction has ended."""
    if ended:
        outcomes = [status.value for status in ended.values()]
        await _SQL.rows(conn, "settle_children", {"ids": list(ended), "outcomes": outcomes, "now": now})


async def drop(conn: Conn, run_ids: Sequence[UUID]) -> None:
    """Forget what runs waited for that the caller's transaction has ended."""
    if run_ids:
        await _SQL.rows(conn, "drop_waits", {"ids": list(run_ids)})


async def drop_recorded(conn: Conn, run_ids: Sequence[UUID]) -> None:
    """Forget what the present attempts of these runs have recorded; the caller holds the runs."""
    await _SQL.rows(conn, "drop_recorded", {"ids": list(run_ids)})


async def resume_ripe(conn: Conn, now: datetime, limit: int = RESUME_ROWS) -> list[UUID]:
    """waiting → queued for runs whose last open wait has been settled; those that go on.

    Looks at up to `limit` waits that nobody has looked at, and never waits for a run that another holds.
    """
    async with conn.transaction():
        held = [row["id"] for row in await _SQL.rows(conn, "lock_ripe", {"limit": limit})]
        if not held:
            return []
        await _SQL.rows(conn, "look_at_ripe", {"ids": held})
        return await resume(conn, held, now)


async def resume(conn: Conn, run_ids: Sequence[UUID], now: datetime) -> list[UUID]:
    """waiting → queued for those of these runs that wait for nothing any more; the caller holds them."""
    known = await recorded(conn, run_ids)
    batch = [{"id": run_id, "reason": _came(known.get(run_id, ()))} for run_id in run_ids]
    done = await _SQL.rows(conn, "resume_waiting", {"batch": Jsonb(batch, dumps=_encode), "now": now})
    return [row["id"] for row in done]


async def recorded(conn: Conn, run_ids: Sequence[UUID]) -> dict[UUID, list[Wait]]:
    """By run, what its present attempt has recorded, or what it waits for if it is waiting; only runs with any."""
    found: dict[UUID, list[Wait]] = defaultdict(list)
    for row in await _SQL.rows(conn, "recorded", {"ids": list(run_ids)}):
        found[row["run_id"]].append(wait_of(row))
    return dict(found)


async def waits_of_run(conn: Conn, run_id: UUID, *, limit: int, after: UUID | None) -> list[Told]:
    """Everything that an active run has waited for, the oldest first, with what it brought."""
    values = {"run_id": run_id, "limit": limit, "after": after, "made_at": ids.time_of(run_id) - _CLOCK_SLACK}
    found = await _SQL.rows(conn, "waits_of_run", values)
    return [Told(wait_of(row), row["payload"], row["result"], row["error"]) for row in found]


def waits_for(waits: Iterable[Wait]) -> str:
    """What a run waits for, in a line."""
    return _cut([f"{one.about}{f' until {one.due_at:%Y-%m-%d %H:%M:%SZ}' if one.due_at else ''}" for one in waits])


def _came(waits: Iterable[Wait]) -> str:
    return _cut([f"{one.about}: {one.outcome}" for one in waits])


def _cut(parts: Sequence[str]) -> str:
    text = ", ".join(parts)
    return text if len(text) <= MAX_REASON else text[: MAX_REASON - 1] + "…"
