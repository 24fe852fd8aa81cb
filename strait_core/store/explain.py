"""What there is to know of a run that does not run, for `reasons.py` to put into words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from strait_core.ids import Prefix, spell
from strait_core.reasons import (
    GATES,
    MOST_AHEAD,
    Awaited,
    Code,
    EmptyBucket,
    Facts,
    Fleet,
    Gate,
    Late,
    Reason,
    reasons_of,
)
from strait_core.run import Status
from strait_core.store import claims, deadlines, rates
from strait_core.store.pool import Conn
from strait_core.store.runs import made_at
from strait_core.store.sql import load

_SQL = load("explain")
_OPEN: Final = Gate(job="")
MOST_HOLDERS: Final = 10
# The columns of `job_limits`: how many runs may start now; null = this limits nothing.
_LIMITS: Final = {
    "disabled": Code.DISABLED,
    "paused": Code.PAUSED,
    "closed": Code.WINDOW,
    "rate": Code.RATE,
    "concurrency": Code.CONCURRENCY,
    "key_room": Code.CONCURRENCY_KEY,
    "broken": Code.BREAKER,
}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Explained:
    """A run's state and why it is not running; `held` tells that something keeps it from starting."""

    project_id: str
    job_slug: str
    status: Status
    reasons: list[Reason]

    @property
    def held(self) -> bool:
        """Whether a gate is closed, whatever the workers do."""
        return any(reason.code in GATES for reason in self.reasons)


async def explain(conn: Conn, run_id: UUID, now: datetime, *, alive_since: datetime) -> Explained | None:
    """Why the run is not running; None when there is no such run. One snapshot, in a transaction of its own."""
    async with conn.transaction():
        await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        row = await _SQL.one(conn, "standing", {"id": run_id, "now": now})
        if row is None:
            row = await _SQL.one(conn, "ended", {"id": run_id, "made_at": made_at(run_id)})
            return None if row is None else _explained(row, _facts(row, _OPEN, late=await _late(conn, row)))
        row["late"] = await _late(conn, row)
        facts = _facts(row, await _gate(conn, row, now))
        if facts.status is Status.WAITING:
            awaits = [_awaited(one) for one in await _SQL.rows(conn, "awaited", {"id": run_id})]
            return _explained(row, _facts(row, facts.gate, awaits=awaits))
        explained = _explained(row, facts)
        if facts.status is not Status.QUEUED or facts.due_at is not None or explained.held:
            return explained
        return _explained(row, await _queued(conn, row, facts, now, alive_since))


def _explained(row: Row, facts: Facts) -> Explained:
    return Explained(row["project_id"], row["slug"], facts.status, reasons_of(facts))


def _facts(row: Row, gate: Gate, **more: Any) -> Facts:
    return Facts(
        status=Status(row["status"]),
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        due_at=row.get("due_at"),
        outlived=bool(row.get("outlived")),
        gate=gate,
        **{"late": row.get("late", ()), **more},
    )


async def _late(conn: Conn, row: Row) -> list[Late]:
    """The deadlines of its tick that the run has broken."""
    if row["fire_at"] is None:
        return []
    return await deadlines.breaches_of_run(conn, row["job_id"], row["fire_at"])


async def _gate(conn: Conn, row: Row, now: datetime) -> Gate:
    """The gate of the run's job; a limit that lets nothing through is closed."""
    closed = frozenset(code for name, code in _LIMITS.items() if row[name] is not None and row[name] <= 0)
    empty = await _empty(conn, row, now)
    if empty:
        closed |= {Code.RATE_KEY}
    holders = await _holders(conn, row, None) if Code.CONCURRENCY in closed else ()
    key = row["concurrency_key"] if Code.CONCURRENCY_KEY in closed else None
    return Gate(
        job=row["slug"],
        closed=closed,
        pause_reason=row["pause_reason"],
        opens_at=row["window_at"],
        most=row["max_concurrency"],
        holders=holders,
        key=key,
        most_of_key=row["max_concurrency_per_key"],
        key_holders=() if key is None else await _holders(conn, row, key),
        token_at=row["rate_at"],
        empty=empty,
        breaker_until=row["breaker_at"],
        probe=None if row["probe_run"] is None else spell(Prefix.RUN, row["probe_run"]),
        first=None if row["is_open"] else row["reason"],
    )


async def _empty(conn: Conn, row: Row, now: datetime) -> tuple[EmptyBucket, ...]:
    """The named rate limits that have no token for the run, or for which it is parked."""
    if row["rate_limit_keys"] is None:
        return ()
    found = await rates.standing(conn, row["id"], row["own_lane"], row["rate_limit_keys"], now)
    return tuple(
        EmptyBucket(bucket.name or "", bucket.key, level.token_at if level.tokens <= 0 else level.wake_at)
        for bucket, level in found.items()
        if level.tokens <= 0 or bucket.name == row["waits_for"]
    )


async def _holders(conn: Conn, row: Row, key: str | None) -> tuple[str, ...]:
    """The first runs that have slots of the job, or of one of its keys."""
    found = await _SQL.rows(conn, "holders", {"lane": row["own_lane"], "key": key, "most": MOST_HOLDERS})
    return tuple(spell(Prefix.RUN, one["id"]) for one in found)


def _awaited(row: Row) -> Awaited:
    child = row["child_id"]
    return Awaited(row["event_key"], None if child is None else spell(Prefix.RUN, child), row["due_at"])


async def _queued(conn: Conn, row: Row, facts: Facts, now: datetime, alive_since: datetime) -> Facts:
    """The same with the place in the queue and the workers."""
    lanes = {0, row["own_lane"], *await claims.open_lanes(conn, now)}
    place = {"lanes": sorted(lanes), "priority": row["priority"], "ready_seq": row["ready_seq"], "most": MOST_AHEAD}
    ahead = await _SQL.one(conn, "ahead", place)
    fleet = await _SQL.one(conn, "capacity", {"since": alive_since})
    return _facts(row, facts.gate, ahead=ahead["count"] if ahead else 0, fleet=Fleet(**fleet) if fleet else facts.fleet)
