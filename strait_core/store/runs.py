"""One run at a time, or a few: reads, and the rare moves (cancel, expire, replay)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from strait_core import ids
from strait_core.completion import STARTING
from strait_core.run import REPLAYABLE, Event, Status, next_status
from strait_core.store import completions, limits, waits, webhooks
from strait_core.store.history import keep_of
from strait_core.store.limits import Freed
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("runs")
_encode = msgspec.json.Encoder().encode
# Columns that a list leaves out unless it is asked for them.
HEAVY: Final = ("payload", "result")
_LIGHT: Final = [
    "id",
    "job_id",
    "project_id",
    "status",
    "seq",
    "attempt",
    "max_attempts",
    "priority",
    "timeout_secs",
    "job_version",
    "started_at",
    "finished_at",
    "next_retry_at",
    "created_at",
    "scheduled_at",
    "expires_at",
    "batch_id",
    "triggered_by",
    "error_class",
    "error",
    "tags",
    "metadata",
    "result_truncated",
    "idempotency_key",
    "concurrency_key",
    "parent_run_id",
    "continuation_of",
    "lineage_depth",
    "fire_at",
    "cost_microusd",
    "warnings",
    "progress",
    "beat_at",
    "workflow_run_id",
    "step_ref",
]

# From so many runs on it matters how a statement finds them.
_FEW: Final = 20
# Ids per statement.
_PAGE: Final = 500
Row = dict[str, Any]
# Two processes may read the clock a little apart, so a run can seem to end before it was made.
_CLOCK_SLACK: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that has just been ended from outside; `worker_id` held its live attempt, None when it had none.

    `waited`: it had rows in `waits`; `awaited`: another run waited for its end. `lane` is
    that of the slot which it gave up, 0 when it had none.
    """

    id: UUID
    was: Status
    worker_id: UUID | None
    waited: bool = False
    awaited: bool = False
    lane: int = 0
    # The workflow run whose step it carried out, and that step's place.
    workflow_run_id: UUID | None = None
    step_index: int | None = None


@dataclass(frozen=True, slots=True)
class RunFilter:
    """What a list of runs is narrowed to; None or empty leaves a field open. Times bound `created_at`."""

    project_id: str | None = None
    job_ids: Sequence[UUID] | None = None
    statuses: Collection[Status] = ()
    triggered_by: str | None = None
    error_class: str | None = None
    batch_id: UUID | None = None
    tags: Mapping[str, str] | None = None
    metadata: Mapping[str, str] | None = None
    id_range: tuple[UUID, UUID] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


async def get_run(conn: Conn, run_id: UUID) -> Row | None:
    """The whole run, with the slug of its job; None when there is none."""
    return (await get_runs(conn, [run_id])).get(run_id)


async def get_runs(conn: Conn, run_ids: Collection[UUID]) -> dict[UUID, Row]:
    """The whole of these runs; one that there is not is left out.

    A run that ends between the two looks has moved to the history; one that is replayed between them has moved back,
    which the third look sees.
    """
    found: dict[UUID, Row] = {}
    for statement in ("get_runs", "get_finished_runs", "get_runs"):
        left = [run_id for run_id in run_ids if run_id not in found]
        if left:
            found |= {row["id"]: row for row in await _SQL.rows(conn, statement, _since_made(left))}
    return found


def made_at(run_id: UUID) -> datetime:
    """An instant that no row of the run's history is older than, so that older partitions need no look."""
    return ids.time_of(run_id) - _CLOCK_SLACK


def first_made(run_ids: Collection[UUID]) -> datetime:
    """An instant that no row of the history of any of these runs is older than."""
    # Ids go by their time.
    return made_at(min(run_ids, key=attrgetter("int")))


async def match_runs(conn: Conn, low: UUID, high: UUID, limit: int) -> list[UUID]:
    """Ids between two bounds, newest first: what a shortened id may mean."""
    return [row["id"] for row in await _SQL.rows(conn, "match_runs", {"low": low, "high": high, "limit": limit})]


async def list_runs(
    conn: Conn, where: RunFilter, *, limit: int, before: UUID | None, include: Collection[str] = ()
) -> list[Row]:
    """Runs that match, newest first, older than `before`; `include` names the heavy columns wanted."""
    found, values = conditions(where)
    if before is not None:
        found.append(sql.SQL("r.id < %(before)s"))
        values["before"] = before
    columns = [*_LIGHT, *(name for name in HEAVY if name in include)]
    statement = sql.SQL(
        "SELECT {columns}, j.slug AS job_slug, w.heartbeat_at FROM ("
        "SELECT {columns}, worker_id FROM strait.all_runs r WHERE {where} ORDER BY id DESC LIMIT %(limit)s) r"
        " JOIN strait.jobs j ON j.id = r.job_id LEFT JOIN strait.workers w ON w.id = r.worker_id ORDER BY r.id DESC"
    ).format(
        columns=sql.SQL(", ").join(sql.Identifier("r", name) for name in columns),
        where=sql.SQL(" AND ").join(found) if found else sql.SQL("true"),
    )
    async with conn.cursor(row_factory=dict_row, binary=True) as cursor:
        await cursor.execute(statement, {**values, "limit": limit})
        return await cursor.fetchall()


async def runs_by_id(conn: Conn, run_ids: Sequence[UUID]) -> list[Row]:
    """These runs, wherever they stand, as a list shows them."""
    found: list[Row] = []
    for at in range(0, len(run_ids), _PAGE):
        part = list(run_ids[at : at + _PAGE])
        found += await _SQL.rows(conn, "runs_by_id", {"ids": part, "made_at": first_made(part)})
    return found


_CONDITIONS: Final = {
    "project_id": "r.project_id = %(project_id)s",
    "job_ids": "r.job_id = ANY(%(job_ids)s)",
    "statuses": "r.status = ANY(%(statuses)s)",
    "triggered_by": "r.triggered_by = %(triggered_by)s",
    "error_class": "r.error_class = %(error_class)s",
    "batch_id": "r.batch_id = %(batch_id)s",
    "tags": "r.tags @> %(tags)s",
    "metadata": "r.metadata @> %(metadata)s",
    "created_after": "r.created_at > %(created_after)s",
    "created_before": "r.created_at < %(created_before)s",
}


# As the index `run_history_unsuccessful` has it.
UNSUCCESSFUL: Final = sql.SQL("r.status IN ('failed', 'timed_out', 'crashed', 'system_failed', 'dead_letter')")


def conditions(where: RunFilter) -> tuple[list[sql.Composable], dict[str, Any]]:
    """What a filter says, in SQL over a table called r, and its values."""
    found: list[sql.Composable] = []
    values: dict[str, Any] = {}
    for name, condition in _CONDITIONS.items():
        value = getattr(where, name)
        if value is None or (name in {"statuses", "tags", "metadata"} and not value):
            continue
        found.append(sql.SQL(condition))
        values[name] = Jsonb(value) if name in {"tags", "metadata"} else _plain(value)
    if where.statuses and REPLAYABLE.issuperset(where.statuses):
        # Says what the index of runs without success says, so that it can be used.
        found.append(UNSUCCESSFUL)
    # An id is as old as its run, give or take the clocks: its index rules out what is far away in time.
    if where.created_after is not None:
        found.append(sql.SQL("r.id >= %(first_id)s"))
        values["first_id"] = ids.first_at(where.created_after, -_CLOCK_SLACK)
    if where.created_before is not None:
        found.append(sql.SQL("r.id < %(end_id)s"))
        values["end_id"] = ids.first_at(where.created_before, _CLOCK_SLACK)
    if where.id_range is not None:
        found.append(sql.SQL("r.id BETWEEN %(low)s AND %(high)s"))
        values["low"], values["high"] = where.id_range
    return found, values


def _plain(value: Any) -> Any:
    return (
        [getattr(v, "value", v) for v in value]
        if isinstance(value, Collection) and not isinstance(value, str)
        else value
    )


async def end_active(
    conn: Conn,
    run_ids: Sequence[UUID],
    *,
    event: Event,
    to: Status,
    allowed: Collection[Status],
    now: datetime,
    reason: str | None = None,
    error: tuple[str, str] | None = None,
    lease: int | None = None,
    attempt: int | None = None,
    result: str | None = None,
    ties: bool = True,
) -> list[Ended]:
    """End runs from outside while they are in one of `allowed`; those that were ended.

    What they waited for is forgotten, and who waits for them is told (`let_go`), unless `ties` leaves that to the
    caller. A claim takes a ready entry first and its run second; so does this, in the caller's transaction. Entries
    that a concurrent transaction added are cleared last, by a statement that sees them. `error` is (class, message);
    with `lease` or `attempt` only that attempt is ended. One run, or any number of runs that have not been claimed,
    never deadlock with other moves; several claimed ones may, with a batch that holds them in another order
    (`faults.Clash`). Raises ValueError when the table of moves knows no such end.
    """
    _expect_move(event, to, allowed)
    if len(run_ids) > _FEW:
        await conn.execute(query(_SQL["by_index"]))
    await conn.execute(query(_SQL["lock_entries"]), {"ids": list(run_ids)})
    values = {
        "ids": list(run_ids),
        "from": [status.value for status in allowed],
        "to": to.value,
        "event": event.value,
        "keep": keep_of(to),
        "now": now,
        "reason": reason,
        "error_class": error[0] if error else None,
        "error": error[1] if error else None,
        "lease": lease,
        "attempt": attempt,
        "result": result,
    }
    rows = await _SQL.rows(conn, "end_active", values)
    if rows:
        await _clear_up(conn, rows, to, now)
    ended = [_ended(row) for row in rows]
    if ties:
        await let_go(conn, ended, to, now)
    return ended


def _expect_move(event: Event, to: Status, allowed: Collection[Status]) -> None:
    if any(next_status(status, event) is not to for status in allowed):
        raise ValueError(f"{event} does not lead from all of {sorted(allowed)} to {to}")


async def _clear_up(conn: Conn, rows: Sequence[Row], to: Status, now: datetime) -> None:
    """What the end of these runs leaves behind, and brings about."""
    places = [{key: row[key] for key in ("id", "job_id", "priority", "ready_seq")} for row in rows]
    await conn.execute(query(_SQL["drop_entries"]), {"batch": Jsonb(places, dumps=_encode)})
    await webhooks.note_ended(conn, [row["id"] for row in rows], now)
    if to in STARTING:
        await completions.follow(conn, [row["id"] for row in rows], now)
    slots = [Freed(row["slot_lane"], row["concurrency_key"], now) for row in rows if row["slot_lane"]]
    await limits.free(conn, slots)
    left = [row for row in rows if row["status"] == Status.QUEUED and row["concurrency_key"] is not None]
    await limits.pass_on(conn, [(row["job_id"], row["concurrency_key"]) for row in left])


def _ended(row: Row) -> Ended:
    return Ended(
        row["id"],
        Status(row["status"]),
        row["worker_id"],
        waited=bool(row["waits"]),
        awaited=bool(row["awaited"]),
        lane=row["slot_lane"] or 0,
        workflow_run_id=row["workflow_run_id"],
        step_index=row["step_index"],
    )


async def let_go(conn: Conn, ended: Sequence[Ended], to: Status, now: datetime) -> None:
    """Forget what these runs waited for, and tell who waits for them, after the last of the runs has been taken.

    Whoever waited for the last thing goes on if it is free, else within a second.
    """
    await waits.drop(conn, [run.id for run in ended if run.waited])
    await waits.settle_children(conn, {run.id: to for run in ended if run.awaited}, now)


async def expired_ids(conn: Conn, limit: int, now: datetime) -> list[UUID]:
    """Runs that have not started and whose time to live is over."""
    return [row["id"] for row in await _SQL.rows(conn, "expired_ids", {"limit": limit, "now": now})]


async def reschedule(conn: Conn, run_id: UUID, at: datetime, now: datetime) -> datetime | None:
    """Move the time for which a delayed run, or one that awaits a retry, waits; None when it waits for none."""
    async with conn.transaction():
        # Who has the due entry decides: a promotion, a cancel or this.
        if await _SQL.one(conn, "hold_due", {"id": run_id}) is None:
            return None
        values = {"id": run_id, "at": at, "now": now, "reason": f"to {at.isoformat(timespec='seconds')}"}
        row = await _SQL.one(conn, "reschedule", values)
    return None if row is None else row["due_at"]


async def replay(conn: Conn, run_id: UUID, now: datetime) -> bool:
    """Bring a finished run back to the queue; False when it is not in a replayable state or its job may not run."""
    return bool(await replay_all(conn, [run_id], now))


async def replay_all(conn: Conn, run_ids: Sequence[UUID], now: datetime) -> set[UUID]:
    """Bring finished runs back to the queue; those that were in a replayable state and whose job may run."""
    values = {
        "ids": list(run_ids),
        "made_at": first_made(run_ids),
        "from": [status.value for status in REPLAYABLE],
        "now": now,
    }
    return {row["id"] for row in await _SQL.rows(conn, "replay", values)}


async def held_by_worker(conn: Conn, worker: UUID, limit: int) -> list[Row]:
    """Runs whose live attempt belongs to that worker process.

    Reads all active runs (0.3 s for each million), because an index would cost every claim.
    """
    async with conn.transaction():
        await conn.execute(query(_SQL["allow_scan"]))
        return await _SQL.rows(conn, "held_by_worker", {"worker": worker, "limit": limit})


async def still_held(conn: Conn, held: Sequence[tuple[UUID, int]]) -> set[UUID]:
    """Which of these (run, lease) pairs are live still."""
    live = {(row["id"], row["lease"]) for row in await _SQL.rows(conn, "still_held", {"ids": [run for run, _ in held]})}
    return {run for run, lease in held if (run, lease) in live}


async def attempts(conn: Conn, run_id: UUID) -> list[Row]:
    """The closed attempts of a run, the first one first."""
    return await attempts_of(conn, [run_id])


async def attempts_of(conn: Conn, run_ids: Sequence[UUID]) -> list[Row]:
    """The closed attempts of these runs, run by run."""
    return await _SQL.rows(conn, "attempts", _since_made(run_ids))


async def live_attempt(conn: Conn, run_id: UUID) -> Row | None:
    """The claim or attempt that is live now; None when there is none."""
    return await _SQL.one(conn, "live_attempt", {"id": run_id})


async def run_events(conn: Conn, run_ids: Sequence[UUID]) -> list[Row]:
    """The rare moves of these runs, run by run and in order."""
    return await _SQL.rows(conn, "run_events", _since_made(run_ids))


def _since_made(run_ids: Collection[UUID]) -> dict[str, Any]:
    return {"ids": list(run_ids), "made_at": first_made(run_ids)}
