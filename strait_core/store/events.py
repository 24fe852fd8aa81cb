"""Events: facts that come from outside under a key, for the runs that wait for them now or within a day.

The row of a key is held by whoever sends it, cancels it or begins to wait for it, so that an event and a wait never
miss each other.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from strait_core import ids
from strait_core.store import changes, waits
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load
from strait_core.store.waits import Outcome, Told
from strait_core.wire.changes import Kind

_SQL = load("events")
# How long a key stands for what was sent under it.
KEPT: Final = timedelta(hours=24)
_LOOK: Final = timedelta(hours=1)
FORGET_ROWS: Final = 1_000
# Keys that one send to a prefix may reach.
MOST_KEYS: Final = 1_000
# No key goes on with this code point, so it stands behind every key with a prefix.
_BEYOND: Final = "\U0010ffff"
Row = dict[str, Any]


class EventStatus(StrEnum):
    """What is known of an event: somebody waits for it, it has come, or nobody shall wait for it any more."""

    WAITING = "waiting"
    RECEIVED = "received"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class Held:
    """The row of a key, held until the end of the transaction."""

    id: UUID
    status: EventStatus
    body_hash: str | None


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a send: the event, whether this send made it, and whether its body is that of the first one."""

    id: UUID
    is_new: bool
    is_same: bool


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event; `waits` counts the open ones, `delivered` those it has ended. `payload` is None in lists too."""

    id: UUID
    project_id: str
    key: str
    status: EventStatus
    waits: int
    delivered: int
    created_at: datetime
    sent_at: datetime | None
    expires_at: datetime | None
    payload: str | None = None


async def hold(conn: Conn, project_id: str, key: str, now: datetime) -> Held:
    """The row that the key stands for, held; made if there is none."""
    name = {"project_id": project_id, "key": key, "now": now}
    await _SQL.rows(conn, "retire", name)
    (row,) = await _SQL.rows(conn, "hold", {**name, "id": ids.uuid7(now, random.getrandbits), "look_at": now + _LOOK})
    if row["is_new"]:
        await _tell(conn, row["id"], project_id, EventStatus.WAITING, now)
    return Held(row["id"], EventStatus(row["status"]), row["body_hash"])


async def _tell(conn: Conn, event_id: UUID, project_id: str, status: EventStatus, now: datetime) -> None:
    await changes.tell(conn, Kind.EVENT, (event_id, None), project_id, seq=0, status=status, now=now)


async def send(conn: Conn, project_id: str, key: str, payload: str, body_hash: str, now: datetime) -> Sent:
    """Send an event in the caller's transaction: to every open wait, and to those that begin within a day."""
    held = await hold(conn, project_id, key, now)
    if held.status is EventStatus.RECEIVED:
        return Sent(held.id, is_new=False, is_same=held.body_hash == body_hash)
    values = {"id": held.id, "payload": payload, "body_hash": body_hash, "now": now, "until": now + KEPT}
    await _SQL.rows(conn, "receive", values)
    await _tell(conn, held.id, project_id, EventStatus.RECEIVED, now)
    await _SQL.rows(conn, "look_at_steps", {"id": held.id, "now": now})
    await count_delivered(conn, held.id, await waits.settle_event(conn, held.id, Outcome.RECEIVED, now))
    return Sent(held.id, is_new=True, is_same=True)


async def begin_wait(
    conn: Conn, run_id: UUID, attempt: int, key: str, *, due_at: datetime, now: datetime
) -> Told | None:
    """Record that a live attempt waits for an event; None when the attempt is over.

    An event that the run has waited for before is not waited for again: what came of it is told, nothing recorded.
    An event that was sent within a day has come already. Raises ConflictError when the run has waited for too much.
    """
    async with conn.transaction():
        project_id = await waits.mark(conn, run_id, attempt)
        if project_id is None:
            return None
        known = await waits.wait_on_event(conn, run_id, key)
        if known is not None:
            return known
        await waits.check_room(conn, run_id)
        held = await hold(conn, project_id, key, now)
        came = held.status is EventStatus.RECEIVED
        if came:
            await count_delivered(conn, held.id, 1)
        await waits.record_event(conn, run_id, attempt, held.id, due_at=due_at, came=came, now=now)
        return await waits.wait_on_event(conn, run_id, key)


async def count_delivered(conn: Conn, event_id: UUID, more: int) -> None:
    """Add to the waits that an event, which the caller holds, has ended."""
    await _SQL.rows(conn, "count_delivered", {"id": event_id, "more": more})


async def awaited_keys(conn: Conn, project_id: str, prefix: str) -> list[str]:
    """The keys with that prefix for which somebody waits: at most one more than a send may reach."""
    values = {"project_id": project_id, "prefix": prefix, "beyond": prefix + _BEYOND, "limit": MOST_KEYS + 1}
    return [row["key"] for row in await _SQL.rows(conn, "awaited_keys", values)]


async def cancel(conn: Conn, event_id: UUID, now: datetime) -> bool:
    """Tell whoever waits that the event will not come, in the caller's transaction; False when it is not awaited."""
    found = await _SQL.rows(conn, "cancel_if_waiting", {"id": event_id, "until": now + KEPT})
    if not found:
        return False
    await _tell(conn, event_id, found[0]["project_id"], EventStatus.CANCELED, now)
    await _SQL.rows(conn, "look_at_steps", {"id": event_id, "now": now})
    await waits.settle_event(conn, event_id, Outcome.CANCELED, now)
    return True


async def event_by_id(conn: Conn, event_id: UUID) -> StoredEvent | None:
    """One event."""
    found = await _SQL.rows(conn, "event_by_id", {"id": event_id})
    return StoredEvent(**{**found[0], "status": EventStatus(found[0]["status"])}) if found else None


async def events_by_key(conn: Conn, key: str, project: str | None) -> list[StoredEvent]:
    """What the key stands for, or stood for last, in each project (at most 20 of them)."""
    found = await _SQL.rows(conn, "events_by_key", {"key": key, "project": project})
    return [StoredEvent(**{**row, "status": EventStatus(row["status"])}) for row in found]


async def list_events(
    conn: Conn,
    project: str | None,
    *,
    limit: int,
    before: UUID | None,
    status: EventStatus | None = None,
    prefix: str | None = None,
    id_range: tuple[UUID, UUID] | None = None,
) -> list[StoredEvent]:
    """Events, the newest first, without their payloads."""
    low, high = id_range or (None, None)
    values = {"project": project, "status": status, "prefix": prefix, "before": before, "limit": limit}
    found = await _SQL.rows(conn, "list_events", {**values, "low": low, "high": high})
    return [StoredEvent(**{**row, "status": EventStatus(row["status"])}) for row in found]


async def forget(conn: Conn, now: datetime) -> tuple[int, int]:
    """Look at up to 1,000 rows that may be needed no more: how many there were, and how many are gone."""
    async with conn.transaction():
        overdue: Sequence[Row] = await _SQL.rows(conn, "lock_unneeded", {"now": now, "limit": FORGET_ROWS})
        if not overdue:
            return 0, 0
        found = [row["id"] for row in overdue]
        gone = (await conn.execute(query(_SQL["forget_unneeded"]), {"ids": found})).rowcount
        await _SQL.rows(conn, "look_later", {"ids": found, "later": now + _LOOK})
    return len(found), gone
