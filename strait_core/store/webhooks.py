"""The outbox of webhooks: deliveries that wait, are tried, and are over."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from strait_core.ids import uuid7
from strait_core.store.owners import Owner, owner_of
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("webhooks")
FORGET_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as it stands; `due_at` None = it is over."""

    id: UUID
    project_id: str
    # A job, or for an alert also a workflow.
    kind: str
    owner_id: UUID
    slug: str
    run_id: UUID | None
    type: str
    status: str
    attempts: int
    created_at: datetime
    due_at: datetime | None
    delivered_at: datetime | None
    http_status: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery to try now: its attempt's number, the run as it ended (None for a test), and whose it is."""

    id: UUID
    attempts: int
    type: str
    created_at: datetime
    run: str | None
    # What a breach told, as JSON; such a delivery goes to the alert webhook.
    alert: str | None
    project_id: str
    owner: Owner


@dataclass(frozen=True, slots=True)
class Alert:
    """A broken deadline to tell of: `told` is the breach as JSON."""

    project_id: str
    owner_id: UUID
    run_id: UUID | None
    told: str


def new_hook(now: datetime) -> UUID:
    """An id for a delivery."""
    return uuid7(now, random.getrandbits)


async def note_ended(conn: Conn, run_ids: Sequence[UUID], now: datetime) -> None:
    """Write the deliveries of runs that the caller's transaction has ended at `now`."""
    values = {"ids": list(run_ids), "hooks": [new_hook(now) for _ in run_ids], "now": now}
    await conn.execute(query(_SQL["note_ended"]), values)


async def note_alerts(conn: Conn, alerts: Sequence[Alert], now: datetime) -> None:
    """Write the deliveries of breaches that the caller's transaction has recorded."""
    if alerts:
        values = {
            "hooks": [new_hook(now) for _ in alerts],
            "projects": [one.project_id for one in alerts],
            "jobs": [one.owner_id for one in alerts],
            "runs": [one.run_id for one in alerts],
            "told": [one.told for one in alerts],
            "now": now,
        }
        await conn.execute(query(_SQL["note_alerts"]), values)


async def insert_test(conn: Conn, job_id: UUID, project_id: str, now: datetime) -> UUID:
    """A delivery that only tests a job's webhook; its id."""
    hook = new_hook(now)
    await conn.execute(query(_SQL["insert_test"]), {"id": hook, "project_id": project_id, "job_id": job_id, "now": now})
    return hook


async def take_due(conn: Conn, limit: int, now: datetime, lease: datetime) -> list[Due]:
    """Take deliveries whose time has come; until `lease` nobody else tries them."""
    rows = await _SQL.rows(conn, "take_due", {"limit": limit, "now": now, "lease": lease})
    return [_due(row) for row in rows]


def _due(row: dict[str, Any]) -> Due:
    owner = owner_of(*(row.pop(name) for name in ("kind", "owner_id", "version", "definition")))
    return Due(**row, owner=owner)


async def settle_if_taken(
    conn: Conn,
    due: Due,
    now: datetime,
    *,
    status: str,
    due_at: datetime | None,
    http_status: int | None,
    error: str | None,
) -> bool:
    """Write how an attempt ended; False when another has taken the delivery since."""
    values = {
        "id": due.id,
        "attempts": due.attempts,
        "status": status,
        "due_at": due_at,
        "http_status": http_status,
        "error": error,
        "now": now,
    }
    return bool(await _SQL.rows(conn, "settle_if_taken", values))


async def retry_if_over(conn: Conn, delivery_id: UUID, now: datetime) -> bool:
    """Start a delivery that is delivered or dead from the beginning; False when it is pending or gone."""
    return bool(await _SQL.rows(conn, "retry_if_over", {"id": delivery_id, "now": now}))


async def delivery(conn: Conn, delivery_id: UUID, project: str | None) -> Delivery | None:
    """One delivery."""
    rows = await _SQL.rows(conn, "delivery", {"id": delivery_id, "project": project})
    return Delivery(**rows[0]) if rows else None


async def deliveries(
    conn: Conn,
    project: str | None,
    *,
    limit: int,
    before: UUID | None,
    status: str | None = None,
    jobs: Sequence[UUID] | None = None,
    run: UUID | None = None,
    id_range: tuple[UUID, UUID] | None = None,
) -> list[Delivery]:
    """Deliveries, the newest first."""
    low, high = id_range or (None, None)
    values = {"project": project, "status": status, "jobs": jobs, "run": run, "before": before, "limit": limit}
    return [Delivery(**row) for row in await _SQL.rows(conn, "deliveries", {**values, "low": low, "high": high})]


async def forget(conn: Conn, delivered_before: datetime, dead_before: datetime) -> int:
    """Delete a batch of deliveries that are over and old; how many."""
    values = {"delivered_before": delivered_before, "dead_before": dead_before, "limit": FORGET_ROWS}
    return (await conn.execute(query(_SQL["forget"]), values)).rowcount
