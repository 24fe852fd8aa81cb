"""The queue: batches in, claims out, and the fenced moves of live attempts.

Every function is one statement for one run or for five hundred. Items travel as one JSON document; PostgreSQL reads
it once and never sees a payload as anything but text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg import AsyncCursor
from psycopg.types.json import Jsonb

from strait_core.retry import MAX_PRIORITY
from strait_core.run import Status
from strait_core.store import limits, rates
from strait_core.store.limits import Freed
from strait_core.store.pool import Conn, query, swift_transaction
from strait_core.store.sql import load
from strait_core.trigger import NewRun, is_alike

_SQL = load("queue")
PRIORITIES: Final = tuple(range(MAX_PRIORITY, -1, -1))
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


class Claimed(NamedTuple):
    """A run that this worker may start; `attempt` counts the attempts before, `queue_wait_ms` since it was ready."""

    id: UUID
    job_id: UUID
    project_id: str
    lease: int
    attempt: int
    attempt_base: int
    max_attempts: int
    priority: int
    timeout_secs: int
    job_version: int
    retry_strategy: str | None
    error: str | None
    queue_wait_ms: float
    payload: str
    ready_seq: int
    lane: int
    error_fingerprint: int | None = None
    error_streak: int | None = None
    workflow_run_id: UUID | None = None
    step_index: int | None = None
    retry_initial_secs: int | None = None
    retry_max_secs: int | None = None
    # The breaker that let it through; None when its job's lets everything through.
    breaker: UUID | None = None


_CLAIMED: Final = len(Claimed._fields)


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim took, how many entries it met and sent to their own lanes, and whether those lanes hold any.

    `taken` counts the entries it took out of the ready order: a run whose time to live is over leaves it unclaimed.
    `skipped`: some of the lanes it was to read were in the hands of other claims. `returns_at`: when the first of the
    runs returns that it has parked for named rate limits; None = it has parked none.
    """

    runs: list[Claimed]
    moved: int
    gated: bool
    taken: int = 0
    skipped: bool = False
    returns_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """The open lanes that hold entries, the one with the best entry first, and when the next closed one opens."""

    lanes: list[int]
    opens_at: datetime | None


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


async def claim(
    conn: Conn, worker: UUID, slots: int, marks: Sequence[int], lanes: Sequence[int], now: datetime
) -> Claim:
    """queued → dequeued for at most `slots` runs, the best first.

    `marks` gives for each of `PRIORITIES` the ready_seq below which lane 0 holds nothing any more; `lanes` are the open
    lanes besides lane 0.
    """
    values = {
        "worker": worker,
        "slots": slots,
        "now": now,
        "priorities": list(PRIORITIES),
        "marks": list(marks),
    }
    if lanes:
        return await _claim_lanes(conn, values, lanes)
    cursor = conn.cursor(binary=True)
    await cursor.execute(query(_SQL["claim"]), values)
    rows = await cursor.fetchall()
    # Before a run's columns stand the claim's own three; the breaker is a gated lane's.
    moved, gated, taken = rows[0][:3]
    claimed = [Claimed(*row[3 : 2 + _CLAIMED]) for row in rows if row[3] is not None]
    return Claim(claimed, moved, gated or moved > 0, taken)


async def _claim_lanes(conn: Conn, values: dict[str, Any], lanes: Sequence[int]) -> Claim:
    """A claim that reads lanes besides lane 0. It holds their jobs first: what it counts then, it counts alone."""
    async with swift_transaction(conn):
        held = await limits.hold_lanes(conn, lanes, values["slots"], values["now"])
        holding = {
            "lanes": list(lanes),
            "held": held.lanes,
            "keyed": held.keyed,
            "admitted_in": [lane for lane, _ in held.admitted],
            "admitted": [place for _, place in held.admitted],
        }
        cursor = conn.cursor(binary=True)
        await cursor.execute(query(_SQL["claim_lanes"]), {**values, **holding})
        rows = await cursor.fetchall()
        claimed = [Claimed(*row[4 : 4 + _CLAIMED]) for row in rows if row[4] is not None]
        returns_at = None
        if held.ledger is not None:
            returns_at = await rates.settle(conn, held.ledger, [run.id for run in claimed], values["now"])
    moved, gated, taken, skipped = rows[0][:4]
    return Claim(claimed, moved, gated or moved > 0, taken, skipped, returns_at)


async def open_lanes(conn: Conn, now: datetime) -> list[int]:
    """The lanes besides lane 0 from which runs may be claimed now, the one with the best entry first."""
    return (await look_at_lanes(conn, now)).lanes


async def look_at_lanes(conn: Conn, now: datetime) -> Look:
    """The lanes besides lane 0 that hold entries: which are open, and when the next of the others opens by itself."""
    cursor = await conn.cursor(binary=True).execute(query(_SQL["open_lanes"]), {"now": now})
    rows = await cursor.fetchall()
    opening = [until_at for _, is_open, until_at in rows if not is_open and until_at is not None]
    return Look([lane for lane, is_open, _ in rows if is_open], min(opening, default=None))


async def move_gated(conn: Conn, limit: int) -> int:
    """Send at most `limit` entries of lane 0 whose jobs have their own lane there; how many."""
    row = await (await conn.execute(query(_SQL["move_gated"]), {"limit": limit})).fetchone()
    return int(row[0]) if row else 0


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
