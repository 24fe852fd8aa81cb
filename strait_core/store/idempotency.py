"""What idempotency keys protect: kept in the transaction that did it, forgotten a day after it is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from strait_core.idempotency import KEPT, Once
from strait_core.store.pool import Conn, query
from strait_core.store.runs import first_made
from strait_core.store.sql import load

_SQL = load("idempotency")
_encode = msgspec.json.Encoder().encode
# Overdue keys looked at in one go.
SETTLE_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a key is one: a project, and what the request did there."""

    project_id: str
    route: str


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a key: for triggers the runs it made, for other requests the answer they got."""

    key: str
    body_hash: str
    run_ids: tuple[UUID, ...]
    batch_id: UUID | None
    status: int | None
    etag: str | None
    response: str | None
    look_at: datetime


def trigger_scope(project_id: str, job_id: UUID) -> Scope:
    """The scope of single triggers of a job, and of the items of bulk ones; `insert_runs` spells it too."""
    return Scope(project_id, f"trigger:{job_id}")


async def take(
    conn: Conn, scope: Scope, once: Once, now: datetime, *, run_ids: Sequence[UUID] = (), batch_id: UUID | None = None
) -> bool:
    """Take a key in the caller's transaction; False when it is in use. Waits for others that are taking it."""
    values = {
        **_name(scope, once.key),
        "body_hash": once.body_hash,
        "run_ids": list(run_ids) or None,
        "batch_id": batch_id,
        "look_at": now + KEPT,
    }
    return bool(await _SQL.rows(conn, "take_key", values))


async def keep_answer(conn: Conn, scope: Scope, key: str, status: int, etag: str | None, response: str) -> None:
    """Keep the answer of the request that has just taken the key."""
    values = {**_name(scope, key), "status": status, "etag": etag, "response": response}
    await conn.execute(query(_SQL["keep_answer"]), values)


async def keep_runs(conn: Conn, scope: Scope, key: str, run_ids: Sequence[UUID]) -> None:
    """Say which runs a key leads to, when they are others than those it was taken with."""
    await conn.execute(query(_SQL["keep_runs"]), {**_name(scope, key), "run_ids": list(run_ids)})


async def find(conn: Conn, scope: Scope, keys: Sequence[str], now: datetime) -> dict[str, Kept]:
    """What is known of these keys; those whose time is over are forgotten first. Part of no other transaction."""
    found = await _find(conn, scope, keys)
    overdue = sorted(one.key for one in found.values() if one.look_at <= now)
    if not overdue:
        return found
    async with conn.transaction():
        await _settle(conn, await _SQL.rows(conn, "lock_key", {**_scope(scope), "keys": overdue, "now": now}), now)
    return await _find(conn, scope, keys)


async def _find(conn: Conn, scope: Scope, keys: Sequence[str]) -> dict[str, Kept]:
    rows = await _SQL.rows(conn, "find_keys", {**_scope(scope), "keys": list(keys)})
    return {row["key"]: _kept(row) for row in rows}


def _kept(row: Mapping[str, Any]) -> Kept:
    names = ("key", "body_hash", "batch_id", "status", "etag", "response", "look_at")
    return Kept(run_ids=tuple(row["run_ids"] or ()), **{name: row[name] for name in names})


async def settle(conn: Conn, now: datetime) -> tuple[int, int]:
    """Look at up to 1,000 overdue keys: how many there were, and how many of them were forgotten."""
    async with conn.transaction():
        overdue = await _SQL.rows(conn, "lock_overdue", {"now": now, "limit": SETTLE_ROWS})
        return len(overdue), await _settle(conn, overdue, now)


async def _settle(conn: Conn, overdue: Sequence[Mapping[str, Any]], now: datetime) -> int:
    if not overdue:
        return 0
    ends = await _ends(conn, sorted({run_id for row in overdue for run_id in row["run_ids"] or ()}))
    batch = [
        {
            "project_id": row["project_id"],
            "route": row["route"],
            "key": row["key"],
            "look_at": _next_look([ends[i] for i in row["run_ids"] or () if i in ends], now),
        }
        for row in overdue
    ]
    (row,) = await _SQL.rows(conn, "settle_keys", {"batch": Jsonb(batch, dumps=_encode)})
    return int(row["count"])


async def _ends(conn: Conn, run_ids: Sequence[UUID]) -> dict[UUID, datetime | None]:
    if not run_ids:
        return {}
    rows = await _SQL.rows(conn, "last_ends", {"ids": list(run_ids), "made_at": first_made(run_ids)})
    return {row["id"]: row["finished_at"] for row in rows}


def _next_look(ends: Sequence[datetime | None], now: datetime) -> datetime | None:
    """When to look at a key again that led to runs with these ends; None = it is over."""
    if None in ends:
        return now + KEPT
    over = max((end for end in ends if end is not None), default=None)
    return None if over is None or over + KEPT <= now else over + KEPT


def _scope(scope: Scope) -> dict[str, Any]:
    return {"project_id": scope.project_id, "route": scope.route}


def _name(scope: Scope, key: str) -> dict[str, Any]:
    return {**_scope(scope), "key": key}
