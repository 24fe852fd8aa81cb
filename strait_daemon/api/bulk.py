"""Many runs of a job at once: all of them or none, each item and the whole with an idempotency key or without."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from msgspec import UNSET
from msgspec.structs import replace

from strait_core import ids, wire
from strait_core.errors import ConflictError, Fault, ValidationError
from strait_core.idempotency import Once, check_key, once, trigger_once
from strait_core.store import idempotency as keys
from strait_core.store import runs as stored_runs
from strait_core.store.idempotency import Scope, trigger_scope
from strait_core.store.jobs import StoredJob
from strait_core.store.pool import Conn
from strait_core.trigger import MAX_BULK_ITEMS, NewRun, faults_of, new_runs
from strait_daemon.api import shape
from strait_daemon.api.context import Api
from strait_daemon.api.idempotency import REPLAYED, check_same, key_of
from strait_daemon.api.operation import Call, Reply, reply
from strait_daemon.api.purses import exhausted
from strait_daemon.api.strict import MOST_FAULTS
from strait_daemon.api.trigger import TRIES, restless, runnable
from strait_daemon.bulk import BulkKey

# With more items than this the hashes are made off the event loop.
_FEW: Final = 20


async def trigger_bulk(api: Api, call: Call) -> Reply:
    """POST /v1/jobs/{job}/trigger/bulk: all items or none."""
    body: wire.BulkTriggerRequest = call.body
    deps = api.deps
    key = key_of(call.headers)
    onces, whole = await asyncio.to_thread(_onces, key, body) if len(body.items) > _FEW else _onces(key, body)
    for _ in range(TRIES):
        job = await runnable(api, call)
        _refuse_windows(job)
        now = deps.clock.now()
        await _check_items(api, job, body, now)
        scope = Scope(job.spec.project_id, f"bulk:{job.id}")
        if (broke := await exhausted(api, job)) is not None:
            answer = await _repeated(api, job, scope, whole, onces) if whole else None
            if answer is None:
                raise broke
            return answer
        batch_id = deps.new_id()
        runs = new_runs(
            body.items,
            job.spec,
            onces,
            new_id=partial(ids.uuid7, now, random.getrandbits),
            job_id=job.id,
            job_version=job.version,
            now=now,
            batch_id=batch_id,
        )
        scope = Scope(job.spec.project_id, f"bulk:{job.id}")
        stored = await deps.intake.add_all(runs, BulkKey(scope, whole, batch_id) if whole else None)
        if stored is not None:
            return await _made(api, job, runs, stored)
        answer = await _repeated(api, job, scope, whole, onces)
        if answer is not None:
            return answer
        api.jobs.forget()
    raise restless(call)


def _refuse_windows(job: StoredJob) -> None:
    spec = job.spec
    if spec.dedup_window_secs or spec.debounce_window_secs or spec.batch_window_secs:
        raise ConflictError(
            f"job {spec.slug!r} has a window in which its triggers meet, so it takes them one by one",
            hint=f"use POST /v1/jobs/{spec.slug}/trigger, or `strait trigger {spec.slug}`",
        )


async def _check_items(api: Api, job: StoredJob, body: wire.BulkTriggerRequest, now: datetime) -> None:
    if not 1 <= len(body.items) <= MAX_BULK_ITEMS:
        raise ValidationError([Fault("/items", f"must have from 1 to {MAX_BULK_ITEMS} entries")])
    faults: list[Fault] = []
    for index, item in enumerate(body.items):
        own = faults_of(item, now, job.spec) + await api.judges.faults(job, item)
        if isinstance(item.idempotency_key, str):
            own += check_key("/idempotency_key", item.idempotency_key)
        faults += [Fault(f"/items/{index}{fault.pointer}", fault.message) for fault in own]
        if len(faults) >= MOST_FAULTS:
            break
    if faults:
        raise ValidationError(faults)


def _onces(key: str | None, body: wire.BulkTriggerRequest) -> tuple[list[Once | None], Once | None]:
    """The keys of the items, and that of the whole."""
    onces = [trigger_once(item.idempotency_key, item) if item.idempotency_key else None for item in body.items]
    if key is None:
        return onces, None
    bare = wire.BulkTriggerRequest(items=[replace(item, payload=UNSET) for item in body.items])
    return onces, once(key, bare, [bytes(item.payload) if item.payload else b"{}" for item in body.items])


async def _made(api: Api, job: StoredJob, runs: Sequence[NewRun], stored: Sequence[UUID]) -> Reply:
    """The answer to a bulk of which at least a part may be new; `stored` names the run of each item."""
    first = [run_id for run, run_id in zip(runs, stored, strict=True) if run.id != run_id]
    if not first:
        data = shape.new_runs(runs, job.spec.slug)
        return reply(wire.Batch(batch_id=data[0].batch_id, data=data), 201)
    async with api.connection() as conn:
        known = await _shaped(conn, first)
    new = {run.id: shape.new_run(run, job.spec.slug, whole=False) for run in runs}
    data = [known.get(run_id) or new[run_id] for run_id in stored if run_id in known or run_id in new]
    if len(first) < len(runs):
        return reply(wire.Batch(batch_id=new[runs[0].id].batch_id, data=data), 201)
    batches = {run.batch_id for run in data}
    return reply(wire.Batch(batch_id=batches.pop() if len(batches) == 1 else None, data=data), 200, REPLAYED)


async def _repeated(
    api: Api, job: StoredJob, scope: Scope, whole: Once | None, onces: Sequence[Once | None]
) -> Reply | None:
    """The answer to a bulk whose own key was used before; None when that is not why nothing was stored."""
    now = api.deps.clock.now()
    async with api.connection() as conn:
        kept = (await keys.find(conn, scope, [whole.key], now)).get(whole.key) if whole else None
        if kept is None or whole is None:
            # Forgets those of the items' keys whose time is over, so that the next try can take them.
            own = sorted({one.key for one in onces if one})
            await keys.find(conn, trigger_scope(job.spec.project_id, job.id), own, now)
            return None
        check_same(kept, whole)
        known = await _shaped(conn, kept.run_ids)
    data = [known[run_id] for run_id in kept.run_ids if run_id in known]
    batch_id = None if kept.batch_id is None else ids.spell(ids.Prefix.BATCH, kept.batch_id)
    return reply(wire.Batch(batch_id=batch_id, data=data), 200, REPLAYED)


async def _shaped(conn: Conn, run_ids: Sequence[UUID]) -> dict[UUID, wire.Run]:
    rows = await stored_runs.runs_by_id(conn, run_ids)
    return {row["id"]: shape.run(row) for row in rows}
