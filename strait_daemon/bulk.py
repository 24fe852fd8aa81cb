"""Many runs in one transaction: all of them or none, those of known idempotency keys being the first ones again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from strait_core.errors import Fault, ValidationError
from strait_core.idempotency import Once
from strait_core.store import idempotency as keys
from strait_core.store import queue
from strait_core.store.faults import Rollback
from strait_core.store.idempotency import Scope, trigger_scope
from strait_core.store.pool import Conn
from strait_core.trigger import NewRun
from strait_daemon.gather import MOST_ITEMS


@dataclass(frozen=True, slots=True)
class BulkKey:
    """The idempotency key of a whole bulk, and the batch that it makes."""

    scope: Scope
    once: Once
    batch_id: UUID


async def store_bulk(conn: Conn, runs: Sequence[NewRun], key: BulkKey | None, now: datetime) -> list[UUID] | None:
    """Store runs of one job: the run of each item, which for a known key is the first one it made.

    None: nothing was stored, because the job has changed, the bulk's own key is in use, or the time of an item's key is
    over. ValidationError names the items whose key was first used with another body.
    """
    own = [run.id for run in runs]
    stored: list[UUID] | None = None
    async with conn.transaction() as transaction:
        if key and not await keys.take(conn, key.scope, key.once, now, run_ids=own, batch_id=key.batch_id):
            raise Rollback(transaction)
        parts = [runs[at : at + MOST_ITEMS] for at in range(0, len(runs), MOST_ITEMS)]
        made = [await queue.insert_all_or_some(conn, part, now) for part in parts]
        if all(some is None for some in made):
            stored = own
        else:
            pairs = zip(parts, made, strict=True)
            known = {run.id for part, some in pairs for run in part if some is None or run.id in some}
            stored = await _first_runs(conn, runs, known, now)
        if stored is None:
            raise Rollback(transaction)
        if key and stored != own:
            await keys.keep_runs(conn, key.scope, key.once.key, stored)
    return stored


async def _first_runs(conn: Conn, runs: Sequence[NewRun], made: set[UUID], now: datetime) -> list[UUID] | None:
    """For each item the run just made or the first one of its key; None when some item has neither."""
    scope = trigger_scope(runs[0].project_id, runs[0].job_id)
    sent = [run.idempotency_key for run in runs if run.id not in made and run.idempotency_key is not None]
    kept = await keys.find(conn, scope, sent, now)
    stored: list[UUID] = []
    faults: list[Fault] = []
    for at, run in enumerate(runs):
        if run.id in made:
            stored.append(run.id)
            continue
        first = kept.get(run.idempotency_key) if run.idempotency_key is not None else None
        if first is None:
            return None
        if first.body_hash != run.body_hash:
            faults.append(Fault(f"/items/{at}/idempotency_key", "was first used with another body"))
        stored.append(first.run_ids[0])
    if faults:
        raise ValidationError(faults)
    return stored
