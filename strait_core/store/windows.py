"""Triggers that meet: the same body again (dedup), the newest of many (debounce), many as one (batch).

What is accepted is a stored run from the first moment, delayed until its window closes, so nothing is lost with a
process. Every function runs in the caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from msgspec.structs import replace
from psycopg.types.json import Jsonb

from strait_core.run import Status
from strait_core.store import queue
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load
from strait_core.trigger import MAX_PAYLOAD_BYTES, NewRun

_SQL = load("windows")
# Rows forgotten in one go.
FORGET_ROWS: Final = 1_000
_HEAD: Final = '{"items":['
_TAIL: Final = "]}"


class Kind(StrEnum):
    """What a window is for."""

    DEDUP = "dedup"
    DEBOUNCE = "debounce"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Window:
    """A window of a job, held by the caller until the transaction ends; `run_id` None = it is empty."""

    job_id: UUID
    kind: Kind
    key: str
    run_id: UUID | None
    first_at: datetime
    until_at: datetime
    items: int
    bytes: int


async def takes_runs(conn: Conn, run: NewRun) -> bool:
    """Whether the job is still the one that the run was made for, and takes runs."""
    return bool(await _SQL.rows(conn, "job_takes_runs", {"job_id": run.job_id, "version": run.job_version}))


async def hold(conn: Conn, job_id: UUID, kind: Kind, key: str, now: datetime) -> Window:
    """The window, locked; waits for whoever has it."""
    (row,) = await _SQL.rows(conn, "lock_window", {"job_id": job_id, "kind": kind.value, "key": key, "now": now})
    return Window(job_id=job_id, kind=kind, key=key, **row)


async def remember(conn: Conn, window: Window, run_id: UUID, now: datetime, until_at: datetime) -> None:
    """Make the window stand for that run until then."""
    await _set(conn, window, run_id, first_at=now, until_at=until_at)


async def store(conn: Conn, run: NewRun, now: datetime) -> bool:
    """Store a run that no window gathers; False when the job refuses it."""
    return run.id in await queue.insert_runs(conn, [run], now)


async def debounce(
    conn: Conn, window: Window, run: NewRun, *, wait: timedelta, most: timedelta | None, now: datetime
) -> UUID | None:
    """Put off the run that the window holds, in its newest form, or store a new one; None = the job refuses runs."""
    waits = window.run_id is not None and await _still_waits(conn, window.run_id)
    first_at = window.first_at if waits else now
    fire_at = now + wait if most is None else min(now + wait, first_at + most)
    late = _delayed(run, max(fire_at, now))
    if waits and window.run_id is not None:
        await _replace(conn, window.run_id, late)
        run_id = window.run_id
    elif late.id in await queue.insert_runs(conn, [late], now):
        run_id = late.id
    else:
        return None
    await _set(conn, window, run_id, first_at=first_at, until_at=fire_at)
    return run_id


async def batch(
    conn: Conn, window: Window, run: NewRun, *, wait: timedelta, most: int, now: datetime
) -> tuple[UUID, bool] | None:
    """Add the run's payload to the batch that the window holds, or begin one: its run, and whether it is full now."""
    item = run.payload
    size = len(item.encode())
    if window.run_id is not None and await _takes(conn, window, size):
        items = window.items + 1
        full = items >= most
        values = {"run_id": window.run_id, "item": item, "scheduled_at": now if full else None}
        await _SQL.rows(conn, "append_item", values)
        if full:
            await _move(conn, window.run_id, now)
        kept = None if full else window.run_id
        await _set(conn, window, kept, window.first_at, window.until_at, items, window.bytes + size + 1)
        return window.run_id, full
    full = most == 1
    first = _delayed(replace(run, payload=f"{_HEAD}{item}{_TAIL}"), now if full else now + wait)
    if first.id not in await queue.insert_runs(conn, [first], now):
        return None
    await _set(conn, window, None if full else first.id, now, now + wait, 1, size + len(_HEAD) + len(_TAIL))
    return first.id, full


async def forget(conn: Conn, now: datetime) -> int:
    """Drop up to 1,000 windows that mean nothing any more; how many."""
    cursor = await conn.execute(query(_SQL["drop_old_windows"]), {"now": now, "limit": FORGET_ROWS})
    return cursor.rowcount


async def _takes(conn: Conn, window: Window, size: int) -> bool:
    fits = window.bytes + size + 1 <= MAX_PAYLOAD_BYTES
    return fits and window.run_id is not None and await _still_waits(conn, window.run_id)


async def _still_waits(conn: Conn, run_id: UUID) -> bool:
    return bool(await _SQL.rows(conn, "lock_due", {"run_id": run_id}))


def _delayed(run: NewRun, at: datetime) -> NewRun:
    expires_at = None if run.expires_at is None else at + (run.expires_at - run.created_at)
    return replace(run, status=Status.DELAYED, scheduled_at=at, expires_at=expires_at)


async def _replace(conn: Conn, run_id: UUID, run: NewRun) -> None:
    values = {
        "run_id": run_id,
        "payload": run.payload,
        "tags": Jsonb(dict(run.tags)),
        "metadata": Jsonb(dict(run.metadata)),
        "priority": run.priority,
        "concurrency_key": run.concurrency_key,
        "max_attempts": run.max_attempts,
        "timeout_secs": run.timeout_secs,
        "retry_strategy": run.retry_strategy and run.retry_strategy.value,
        "job_version": run.job_version,
        "scheduled_at": run.scheduled_at,
        "expires_at": run.expires_at,
    }
    await _SQL.rows(conn, "replace_delayed", values)
    if run.scheduled_at is not None:
        await _move(conn, run_id, run.scheduled_at)


async def _move(conn: Conn, run_id: UUID, at: datetime) -> None:
    await conn.execute(query(_SQL["move_due"]), {"run_id": run_id, "due_at": at})


async def _set(
    conn: Conn,
    window: Window,
    run_id: UUID | None,
    first_at: datetime,
    until_at: datetime,
    items: int = 1,
    size: int = 0,
) -> None:
    values = {
        "job_id": window.job_id,
        "kind": window.kind.value,
        "key": window.key,
        "run_id": run_id,
        "first_at": first_at,
        "until_at": until_at,
        "items": items,
        "bytes": size,
    }
    await conn.execute(query(_SQL["set_window"]), values)
