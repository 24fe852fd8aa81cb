"""How a job is doing: what holds it, its breaker, its queue, its recent attempts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("health")
# So many of a job's runs, and of their attempts, are looked at; not further back than this.
MOST_RUNS: Final = 500
MOST_ATTEMPTS: Final = 1_000
WINDOW: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds a job (None: nothing) and until when, its breaker (state None: quiet), its load."""

    reason: str | None
    until: datetime | None
    state: str | None
    failures: int | None
    open_until: datetime | None
    queued: int
    executing: int


@dataclass(frozen=True, slots=True)
class Recent:
    """The job's recent attempts; `latency` is p50, p90, p99 and the longest, in ms."""

    attempts: int
    failures: int
    since: datetime | None
    latency: list[float] | None
    errors: dict[str, int]


async def standing(conn: Conn, job: UUID, now: datetime) -> Standing | None:
    """Where a job stands now; None when it is gone."""
    row = await _SQL.one(conn, "standing", {"job": job, "now": now})
    return None if row is None else Standing(**row)


async def oldest_queued(conn: Conn, job: UUID) -> datetime | None:
    """Since when the longest-waiting of its first runs has been ready; None when none waits."""
    cursor = conn.cursor(binary=True)
    await cursor.execute(query(_SQL["oldest_queued"]), {"job": job, "runs": MOST_RUNS})
    row = await cursor.fetchone()
    return row[0] if row else None


async def recent_attempts(conn: Conn, job: UUID, now: datetime) -> Recent:
    """What its endpoint did lately."""
    values = {"job": job, "since": now - WINDOW, "runs": MOST_RUNS, "attempts": MOST_ATTEMPTS}
    row = await _SQL.one(conn, "recent_attempts", values)
    assert row is not None
    return Recent(**row)
