"""The queue: batches in, and the fenced moves of live attempts; how runs are claimed stands in `claims`.

Every function is one statement for one run or for five hundred. Items travel as one JSON document; PostgreSQL reads
it once and never sees a payload as anything but text.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg import AsyncCursor
from psycopg.types.json import Jsonb

from strait_core.run import Status
from strait_core.store import limits
from strait_core.store.history import SHORT
from strait_core.store.limits import Freed
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load
from strait_core.trigger import NewRun, is_alike

_SQL = load("queue")
_encode = msgspec.json.Encoder().encode


class Start(Struct, frozen=True, gc=False):
    """An attempt about to begin: `attempt` is the number before it."""

    id: UUID
    attempt: int
    lease: int


class Finish(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A live attempt that ends its run; times in ms, None = it never came to that."""

    id: UUID
    attempt: int
    lease: int
    status: Status
    keep: str
    finished_at: datetime
    result: str | None = None
    result_truncated: bool = False
    error_class: str | None = None
    error: str | None = None
    http_status: int | None = None
    fallback: str | None = None
    queue_wait_ms: float | None = None
    connect_ms: float | None = None
    ttfb_ms: float | None = None
    transfer_ms: float | None = None
    total_ms: float | None = None
    # The delivery that the ending writes into the outbox; None for a job without a webhook.
    hook: UUID | None = None
    # Whether the ending may start another run: see `completions.follow`, which the writer calls.
    follow: bool = False
    # The lane whose slot the attempt holds; 0 = none.
    lane: int = 0
    # The workflow run whose step the run carries out, and that step's place: see `workflow_tree`, by the writer.
    workflow_run_id: UUID | None = None
    step_index: int | None = None


class Retry(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A live attempt whose run goes back to the queue at `due_at` (None = at once).

    `base_add` is 1 for an attempt that does not count (released by a drain), else 0. `error_streak` is how often in a
    row the error of that fingerprint has come; None leaves both as they are.
    """

    id: UUID
    attempt: int
    lease: int
    outcome: str
    keep: str
    finished_at: datetime
    due_at: datetime | None
    priority: int
    base_add: int = 0
    error_class: str | None = None
    error: str | None = None
    error_fingerprint: int | None = None
    error_streak: int | None = None
    http_status: int | None = None
    fallback: str | None = None
    queue_wait_ms: float | None = None
    connect_ms: float | None = None
    ttfb_ms: float | None = None
    transfer_ms: float | None = None
    total_ms: float | None = None
    lane: int = 0


def released(
    run_id: UUID,
    attempt: int,
    lease: int,
    priority: int,
    lane: int,
    now: datetime,
    due_at: datetime | None = None,
) -> Retry:
    """The move of an attempt that is let go without being spent; its run is queued again, at `due_at` (None = now)."""
    return Retry(
        id=run_id,
        attempt=attempt,
        lease=lease,
        outcome="released",
        keep=SHORT,
        finished_at=now,
        due_at=due_at,
        priority=priority,
        base_add=1,
        lane=lane,
    )


class Accept(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A live attempt whose endpoint has accepted and will say itself how it ends; no worker holds it from now on."""

    id: UUID
    attempt: int
    lease: int
    http_status: int | None = None
    fallback: str | None = None
    queue_wait_ms: float | None = None
    connect_ms: float | None = None
    ttfb_ms: float | None = None
    transfer_ms: float | None = None


class Release(Struct, frozen=True, gc=False):
    """A claim that is given back before it started."""

    id: UUID
    attempt: int
    lease: int
    reason: str
    lane: int = 0


def _batch(items: Any) -> Jsonb:
    return Jsonb(items, dumps=_encode)


class Sent(NamedTuple):
    """A batch that has been sent, and where its answer will be."""

    cursor: AsyncCursor[tuple[Any, ...]]
    items: Sequence[Any]


async def _send(conn: Conn, statement: str, items: Sequence[Any], now: datetime) -> Sent:
    cursor = conn.cursor(binary=True)
    await cursor.execute(query(_SQL[statement]), {"batch": _batch(items), "now": now})
    return Sent(cursor, items)


async def _done(
    conn: Conn, statement: str, items: Sequence[Any], now: datetime, freed: list[Freed] | None = None
) -> set[UUID]:
    """Run a batch; the ids of the items that were done.

    Slots that it freed are noted at once, or put into `freed` for the caller, who then does it.
    """
    sent = await _send(conn, statement, items, now)
    if freed is not None:
        return await done(sent, freed)
    slots: list[Freed] = []
    ids = await done(sent, slots)
    if slots:
        await limits.free(conn, slots)
    return ids


async def done(sent: Sent, freed: list[Freed]) -> set[UUID]:
    """What a batch has done: the ids of the items, and into `freed` the slots that they have given up.

    The statement answers null for all, or the array of the ids that it did.
    """
    row = await sent.cursor.fetchone()
    if row is not None and len(row) > 1 and row[1] is not None:
        freed += [Freed(*slot) for slot in row[1]]
    did = row[0] if row else ()
    return {item.id for item in sent.items} if did is None else set(did)


async def insert_runs(conn: Conn, runs: Sequence[NewRun], now: datetime, *, held: bool = False) -> set[UUID]:
    """Store new runs; the ids stored. A run is refused whose job is paused, disabled, deleted or of another version.

    With `held` a paused job takes runs too, and keeps them waiting.
    """
    return await done(await send_runs(conn, runs, now, held=held), [])


async def insert_all_or_some(
    conn: Conn, runs: Sequence[NewRun], now: datetime, *, held: bool = False
) -> set[UUID] | None:
    """What `insert_runs` does; None = all were stored, which a thousand ids are not hashed to say."""
    row = await (await send_runs(conn, runs, now, held=held)).cursor.fetchone()
    return None if row is None or row[0] is None else set(row[0])


def _are_alike(runs: Sequence[NewRun]) -> bool:
    """Whether these are several runs that share what they are, and take no key."""
    keyless = len(runs) > 1 and runs[0].idempotency_key is None and runs[0].body_hash is None
    return keyless and all(is_alike(run, runs[0]) for run in runs)


async def send_runs(conn: Conn, runs: Sequence[NewRun], now: datetime, *, held: bool = False) -> Sent:
    """Send what `insert_runs` does in a pipeline of the caller's, who reads with `done` what became of it."""
    if _are_alike(runs):
        first, of_steps = runs[0], runs[0].step_index is not None
        statement = "insert_alike"
        values: dict[str, Any] = {
            "shared": _batch(first),
            "ids": ",".join([run.id.hex for run in runs]),
            "payloads": _batch([run.payload for run in runs]),
            "refs": [run.step_ref for run in runs] if of_steps else None,
            "indexes": [run.step_index for run in runs] if of_steps else None,
        }
    else:
        statement, values = "insert_runs", {"batch": _batch(runs)}
    cursor = conn.cursor(binary=True)
    await cursor.execute(query(_SQL[statement]), {**values, "now": now, "held": held})
    return Sent(cursor, runs)


async def start_if_held(
    conn: Conn, items: Sequence[Start], now: datetime, freed: list[Freed] | None = None
) -> set[UUID]:
    """dequeued → executing; the ids that were still held. Frees nothing."""
    return await _done(conn, "start_if_held", items, now, freed)


async def finish_if_held(
    conn: Conn, items: Sequence[Finish], now: datetime, freed: list[Freed] | None = None
) -> set[UUID]:
    """executing → a terminal state; the ids that were still held."""
    return await _done(conn, "finish_if_held", items, now, freed)


async def send_finishes(conn: Conn, items: Sequence[Finish], now: datetime) -> Sent:
    """Send what `finish_if_held` does in a pipeline of the caller's, who reads with `done` what became of it."""
    return await _send(conn, "finish_if_held", items, now)


async def retry_if_held(
    conn: Conn, items: Sequence[Retry], now: datetime, freed: list[Freed] | None = None
) -> set[UUID]:
    """executing → queued; the ids that were still held."""
    return await _done(conn, "retry_if_held", items, now, freed)


async def accept_if_held(
    conn: Conn, items: Sequence[Accept], now: datetime, freed: list[Freed] | None = None
) -> set[UUID]:
    """executing, and no worker's any more; the ids that were still held. Sent again, it does the same again.

    The slot stays with the attempt.
    """
    return await _done(conn, "accept_if_held", items, now, freed)


async def release_if_held(
    conn: Conn, items: Sequence[Release], now: datetime, freed: list[Freed] | None = None
) -> set[UUID]:
    """dequeued → queued; the ids that were still held."""
    return await _done(conn, "release_if_held", items, now, freed)


async def promote_due(conn: Conn, limit: int, now: datetime) -> tuple[int, list[UUID]]:
    """Queue what has come due: how many entries were taken, and the runs that are ready now.

    At most `limit` delayed runs and as many retries; how many is said of the kind of which there were more.
    """
    cursor = conn.cursor(binary=True)
    await cursor.execute(query(_SQL["promote_due"]), {"limit": limit, "now": now})
    rows = await cursor.fetchall()
    return int(rows[0][0]), [row[1] for row in rows if row[1] is not None]


async def next_due(conn: Conn) -> datetime | None:
    """When the next delayed run or retry comes due; None when nothing waits."""
    row = await (await conn.cursor(binary=True).execute(query(_SQL["next_due"]))).fetchone()
    return row[0] if row else None
