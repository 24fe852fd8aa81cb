"""Named rate limits in the database: what a claim may take of them, and how runs return that wait for a token.

A bucket of tokens belongs to one key of one limit of a job. A claim reads buckets and spends while it holds the job, so
no token is given twice. A run whose bucket is empty is parked for it; the bucket then says when to look after it, and
whoever looks (`refill`) lets as many runs return to their places as there are tokens. The next claim decides anew.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from strait_core.ratekeys import Bucket, RateKey, key_of
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("rates")
# Payloads that one look may read; a longer one is read alone.
MOST_BYTES: Final = 8 * 1024 * 1024
# Beyond this the keys are made off the event loop.
_LONG: Final = 256 * 1024
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
REFILL_BUCKETS: Final = 500
FORGET_ROWS: Final = 5_000
_encode: Final = msgspec.json.Encoder().encode
_limits: Final = lru_cache(1_024)(msgspec.json.Decoder(tuple[RateKey, ...]).decode)


class Entry(NamedTuple):
    """An entry of the ready order that a claim looks at: `place` is its (priority, ready_seq)."""

    lane: int
    run_id: UUID
    place: tuple[int, int]


class Level(NamedTuple):
    """A bucket: its tokens, when the next comes (None: it is full), when parked runs return, the first one's place."""

    tokens: int
    token_at: datetime | None
    wake_at: datetime | None
    head: tuple[int, int] | None

    def room(self, place: tuple[int, int]) -> int:
        """How many tokens there are for who stands at that place: none while one who was there before is parked."""
        before = self.head is not None and (-self.head[0], self.head[1]) < (-place[0], place[1])
        return 0 if before else self.tokens


@dataclass(slots=True)
class Ledger:
    """What one claim knows of named limits: those of the lanes it holds, the buckets of the runs it met."""

    limits: Mapping[int, Sequence[RateKey]]
    drawn: dict[UUID, list[Bucket]] = field(default_factory=dict)
    levels: dict[Bucket, Level] = field(default_factory=dict)
    # For which of them it has parked runs.
    waiting: set[Bucket] = field(default_factory=set)

    def limit(self, bucket: Bucket) -> RateKey:
        """The limit that a bucket belongs to."""
        return next(limit for limit in self.limits[bucket.lane] if limit.name == bucket.name)

    def wants(self, entry: Entry) -> list[tuple[Bucket, int]]:
        """The buckets that a run draws on, and what each has for it."""
        return [(bucket, self.levels[bucket].room(entry.place)) for bucket in self.drawn.get(entry.run_id, ())]

    def latest(self, full: Sequence[Bucket]) -> Bucket:
        """For which of the keys that hold a run back it waits: for a slot, or for the token that comes last."""
        if full[0].name is None:
            return full[0]
        # A full bucket that has nothing for the run has given it all to runs before it.
        chosen = max(
            full, key=lambda bucket: (self.levels[bucket].tokens <= 0, self.levels[bucket].token_at or _LONG_AGO)
        )
        self.waiting.add(chosen)
        return chosen


def limits_in(text: str | None) -> tuple[RateKey, ...]:
    """The named limits as a job's row has them."""
    return () if text is None else _limits(text)


def stored(limits: Sequence[RateKey]) -> Jsonb | None:
    """The same the other way round; None for a job without any."""
    return Jsonb(list(limits), dumps=_encode) if limits else None


async def look(conn: Conn, ledger: Ledger, entries: Sequence[Entry], now: datetime) -> int:
    """Learn what these entries draw on, in their order; how many of them, the first ones, could be looked at.

    Payloads are read only so far that they do not fill the memory; the next claim looks at the rest.
    """
    limited = [entry for entry in entries if entry.lane in ledger.limits]
    new = [entry.run_id for entry in limited if entry.run_id not in ledger.drawn]
    if new:
        ledger.drawn |= await _drawn(conn, ledger, {entry.run_id: entry.lane for entry in limited}, new)
    unread = [at for at, one in enumerate(entries) if one.lane in ledger.limits and one.run_id not in ledger.drawn]
    seen = unread[0] if unread else len(entries)
    buckets = sorted({bucket for entry in entries[:seen] for bucket in ledger.drawn.get(entry.run_id, ())})
    ledger.levels = await levels(conn, [(bucket, ledger.limit(bucket)) for bucket in buckets], now)
    return seen


async def _drawn(
    conn: Conn, ledger: Ledger, lanes: Mapping[UUID, int], run_ids: Sequence[UUID]
) -> dict[UUID, list[Bucket]]:
    """The buckets of each of these runs; those whose payloads are too many to read now are left out."""
    cursor = conn.cursor(binary=True)
    await cursor.execute(query(_SQL["facts"]), {"ids": list(run_ids), "most": MOST_BYTES})
    rows = await cursor.fetchall()

    def made() -> dict[UUID, list[Bucket]]:
        # A run that is not there any more draws on nothing, and nobody will claim it.
        found: dict[UUID, list[Bucket]] = {run_id: [] for run_id in set(run_ids) - {row[0] for row in rows}}
        for run_id, payload, *facts in rows:
            if payload is not None:
                lane = lanes[run_id]
                keys = keys_of(ledger.limits[lane], payload, facts)
                found[run_id] = [Bucket(lane, name, key) for name, key in keys.items()]
        return found

    if sum(len(row[1] or "") for row in rows) > _LONG:
        return await asyncio.to_thread(made)
    return made()


def keys_of(limits: Sequence[RateKey], payload: str, facts: Sequence[str | None]) -> dict[str, str]:
    """A run's key for each limit for which it has one; `facts` are its concurrency key, metadata, tags and trigger."""
    concurrency_key, metadata, tags, triggered_by = facts
    run = {
        "concurrency_key": concurrency_key,
        "metadata": msgspec.Raw((metadata or "{}").encode()),
        "tags": msgspec.Raw((tags or "{}").encode()),
        "triggered_by": triggered_by,
    }
    keys = {limit.name: key_of(limit, payload, run) for limit in limits}
    return {name: key for name, key in keys.items() if key is not None}


def _asked(wanted: Sequence[tuple[Bucket, RateKey]]) -> dict[str, Any]:
    return {
        "lanes": [bucket.lane for bucket, _ in wanted],
        "names": [bucket.name for bucket, _ in wanted],
        "keys": [bucket.key for bucket, _ in wanted],
        "most": [limit.max for _, limit in wanted],
        "windows": [limit.window_secs for _, limit in wanted],
    }


async def levels(conn: Conn, wanted: Sequence[tuple[Bucket, RateKey]], now: datetime) -> dict[Bucket, Level]:
    """How these buckets stand."""
    if not wanted:
        return {}
    cursor = conn.cursor(binary=True)
    await cursor.execute(query(_SQL["levels"]), {**_asked(wanted), "now": now})
    rows = await cursor.fetchall()
    return {
        bucket: Level(tokens, token_at, wake_at, None if priority is None else (priority, seq))
        for (bucket, _), (tokens, token_at, wake_at, priority, seq) in zip(wanted, rows, strict=True)
    }


async def standing(conn: Conn, run_id: UUID, lane: int, limits: str, now: datetime) -> dict[Bucket, Level]:
    """How the buckets stand that one run draws on; `limits` as the job's row has them."""
    ledger = Ledger({lane: limits_in(limits)})
    await look(conn, ledger, [Entry(lane, run_id, (0, 0))], now)
    return ledger.levels


async def settle(conn: Conn, ledger: Ledger, claimed: Sequence[UUID], now: datetime) -> datetime | None:
    """Take what the claimed runs draw on; when to `refill` for those that were parked, None when there are none."""
    spent = Counter(bucket for run_id in claimed for bucket in ledger.drawn.get(run_id, ()))
    buckets = sorted(spent.keys() | ledger.waiting)
    if not buckets:
        return None
    values = {
        **_asked([(bucket, ledger.limit(bucket)) for bucket in buckets]),
        "spent": [spent[bucket] for bucket in buckets],
        "held": [bucket in ledger.waiting for bucket in buckets],
        "now": now,
    }
    row = await (await conn.cursor(binary=True).execute(query(_SQL["settle"]), values)).fetchone()
    return row[0] if row and ledger.waiting else None


async def refit(conn: Conn, job_id: UUID, limits: Sequence[RateKey], now: datetime) -> None:
    """The job's named limits are these now; the caller holds it, and has let its parked runs return."""
    values = {"job": job_id, "limits": Jsonb(list(limits), dumps=_encode), "now": now}
    await conn.execute(query(_SQL["refit"]), values)


async def refill(conn: Conn, now: datetime, limit: int = REFILL_BUCKETS) -> tuple[int, dict[int, int]]:
    """Let runs return for which there are tokens: how many buckets were looked at, and the runs of each lane."""
    async with conn.transaction():
        due = await (await conn.execute(query(_SQL["lock_due"]), {"now": now, "limit": limit})).fetchall()
        if not due:
            return 0, {}
        lanes, names, keys = (list(column) for column in zip(*due, strict=True))
        values = {"lanes": lanes, "names": names, "keys": keys, "now": now}
        rows = await (await conn.execute(query(_SQL["return_runs"]), values)).fetchall()
    return len(due), {lane: int(count) for lane, count in rows}


async def next_wake(conn: Conn) -> datetime | None:
    """When the next bucket is to be looked after; None when no run is parked for any."""
    row = await (await conn.cursor(binary=True).execute(query(_SQL["next_wake"]))).fetchone()
    return row[0] if row else None


async def forget_idle(conn: Conn, now: datetime, limit: int = FORGET_ROWS) -> int:
    """Forget buckets that are full, at most so many; how many."""
    cursor = await conn.execute(query(_SQL["forget_idle"]), {"now": now, "limit": limit})
    return cursor.rowcount
