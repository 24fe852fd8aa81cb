"""Triggers of a job with windows: the same payload again, the newest of many, many as one; each in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from strait_core import wire
from strait_core.idempotency import Once, canonical
from strait_core.job import JobSpec
from strait_core.store import idempotency as keys
from strait_core.store import runs, windows
from strait_core.store.faults import Rollback
from strait_core.store.idempotency import trigger_scope
from strait_core.store.pool import Conn
from strait_core.store.runs import Row
from strait_core.store.windows import Kind
from strait_core.trigger import NewRun
from strait_daemon.api import shape
from strait_daemon.api.context import Api
from strait_daemon.api.operation import Headers, Reply, reply

DEDUPLICATED: Final[Headers] = ((b"strait-deduplicated", b"true"),)
# Columns that the answer to a trigger which is still gathered leaves out: a batch may be long.
_LEFT_OUT: Final = frozenset({"payload", "result", "worker_id"})


@dataclass(frozen=True, slots=True)
class Admitted:
    """The run that a trigger came to: a new one (201), one it joined (202), one that stands for it already (200)."""

    run_id: UUID
    status: int
    # Its time has changed, or it is new: somebody has to look.
    moved: bool = True


async def admit(api: Api, spec: JobSpec, body: wire.TriggerFields, run: NewRun, once: Once | None) -> Reply | None:
    """Carry out one trigger; None = nothing was stored, because the job has changed or the key is in use."""
    async with api.connection() as conn:
        admitted = await _admit_whole(conn, spec, body, run, once)
        row = None if admitted is None else await runs.get_run(conn, admitted.run_id)
    if admitted is None or row is None:
        return None
    if admitted.moved:
        api.deps.intake.admitted(replace(run, status=row["status"], scheduled_at=row["scheduled_at"]))
    return _answer(admitted.status, row)


def _answer(status: int, row: Row) -> Reply:
    if status == 202:
        row = {name: value for name, value in row.items() if name not in _LEFT_OUT}
    return reply(shape.run(row), status, DEDUPLICATED if status == 200 else ())


async def _admit_whole(
    conn: Conn, spec: JobSpec, body: wire.TriggerFields, run: NewRun, once: Once | None
) -> Admitted | None:
    """All of it or nothing."""
    admitted: Admitted | None = None
    async with conn.transaction() as transaction:
        admitted = await admit_in(conn, spec, body, run, once)
        if admitted is None:
            raise Rollback(transaction)
    return admitted


async def admit_in(
    conn: Conn, spec: JobSpec, body: wire.TriggerFields, run: NewRun, once: Once | None
) -> Admitted | None:
    """Carry out one trigger in the caller's transaction, which has to roll back when None comes back."""
    now = run.created_at
    scope = trigger_scope(run.project_id, run.job_id)
    if once is not None and not await keys.take(conn, scope, once, now, run_ids=[run.id]):
        return None
    if not await windows.takes_runs(conn, run):
        return None
    # The key is taken already.
    admitted = await _deduplicated(conn, spec, body, replace(run, body_hash=None), now)
    if admitted is not None and once is not None and admitted.run_id != run.id:
        await keys.keep_runs(conn, scope, once.key, [admitted.run_id])
    return admitted


async def _deduplicated(
    conn: Conn, spec: JobSpec, body: wire.TriggerFields, run: NewRun, now: datetime
) -> Admitted | None:
    if spec.dedup_window_secs is None:
        return await _gathered(conn, spec, body, run, now)
    payload = sha256(canonical(run.payload.encode())).hexdigest()
    window = await windows.hold(conn, run.job_id, Kind.DEDUP, payload, now)
    if window.run_id is not None and window.until_at > now and await runs.get_run(conn, window.run_id) is not None:
        return Admitted(window.run_id, 200, moved=False)
    admitted = await _gathered(conn, spec, body, run, now)
    if admitted is not None:
        until = now + timedelta(seconds=spec.dedup_window_secs)
        await windows.remember(conn, window, admitted.run_id, now, until)
    return admitted


async def _gathered(conn: Conn, spec: JobSpec, body: wire.TriggerFields, run: NewRun, now: datetime) -> Admitted | None:
    if spec.debounce_window_secs is not None:
        window = await windows.hold(conn, run.job_id, Kind.DEBOUNCE, body.debounce_key or "", now)
        wait, most = _length(spec.debounce_window_secs), spec.debounce_max_wait_secs
        put_off = await windows.debounce(conn, window, run, wait=wait, most=_length(most) if most else None, now=now)
        return None if put_off is None else Admitted(put_off, 202)
    if spec.batch_window_secs is not None:
        window = await windows.hold(conn, run.job_id, Kind.BATCH, body.batch_key or "", now)
        wait = _length(spec.batch_window_secs)
        joined = await windows.batch(conn, window, run, wait=wait, most=spec.batch_max_size, now=now)
        return None if joined is None else Admitted(joined[0], 202, moved=joined[1] or joined[0] == run.id)
    return Admitted(run.id, 201) if await windows.store(conn, run, now) else None


def _length(secs: int) -> timedelta:
    return timedelta(seconds=secs)
