"""From store rows to wire types: the only place where the two meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, Final
from uuid import UUID

from msgspec import UNSET, Raw
from msgspec.structs import replace

from strait_core import wire
from strait_core.ids import Prefix, spell
from strait_core.path import Step
from strait_core.run import Status
from strait_core.store.jobs import StoredJob, StoredVersion
from strait_core.store.stats import Flow
from strait_core.store.workers import WorkerRow
from strait_core.trigger import NewRun, is_alike
from strait_core.wire import stats as wire_stats
from strait_daemon.api import notes, secrets

# A job has many runs, and so has a batch: their ids need not be spelled anew for each.
_job_id: Final = lru_cache(4_096)(partial(spell, Prefix.JOB))
_batch_id: Final = lru_cache(256)(partial(spell, Prefix.BATCH))


def job(stored: StoredJob) -> wire.Job:
    """A job, whole: what is not said here is shown as the definition has it, under the same name."""
    spec = stored.spec
    own: dict[str, Any] = {
        "id": spell(Prefix.JOB, stored.id),
        "enabled": stored.enabled,
        "paused": stored.paused,
        "paused_at": stored.paused_at,
        "pause_reason": stored.pause_reason,
        "signing_secret": secrets.masked(spec.signing_secret),
        "webhook_secret": secrets.masked(spec.webhook_secret),
        "version": stored.version,
        "version_id": spell(Prefix.VERSION, stored.version_id),
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
    }
    rest = {name: getattr(spec, name) for name in wire.Job.__struct_fields__ if name not in own}
    return wire.Job(**own, **rest)


def job_etag(stored: StoredJob) -> bytes:
    """Changes with everything about a job that its representation shows."""
    return b'"%d-%x"' % (stored.version, round(stored.updated_at.timestamp() * 1_000_000))


def version(stored: StoredVersion) -> wire.JobVersion:
    """One version of a job."""
    return wire.JobVersion(
        version=stored.version,
        version_id=spell(Prefix.VERSION, stored.version_id),
        created_at=stored.created_at,
        definition=Raw(secrets.masked_definition(stored.definition)),
    )


# What all runs have in common that have just been stored: a trigger is answered in the time it takes to say the rest.
_NEW_RUN: Final = wire.Run(
    id="", job_id="", job_slug="", project_id="", status=Status.QUEUED, seq=1, attempt=0, max_attempts=1,
    result_truncated=False, error=None, error_class=None, metadata={}, tags={}, triggered_by="", scheduled_at=None,
    created_at=datetime.min.replace(tzinfo=UTC), started_at=None, finished_at=None, heartbeat_at=None,
    next_retry_at=None, expires_at=None, priority=0, job_version=1, batch_id=None,
    idempotency_key=None, concurrency_key=None, parent_run_id=None,
    continuation_of=None, lineage_depth=0, workflow_run_id=None, step_ref=None, fire_at=None, timeout_secs=1,
    warnings=[], progress=None, cost_microusd=0,
)  # fmt: skip


def new_run(run: NewRun, job_slug: str, *, whole: bool) -> wire.Run:
    """A run that has just been stored; without payload and result unless `whole`."""
    shown = replace(
        _NEW_RUN,
        id=spell(Prefix.RUN, run.id),
        job_id=_job_id(run.job_id),
        job_slug=job_slug,
        project_id=run.project_id,
        status=run.status,
        max_attempts=run.max_attempts,
        metadata=run.metadata,
        tags=run.tags,
        triggered_by=run.triggered_by,
        scheduled_at=run.scheduled_at,
        created_at=run.created_at,
        expires_at=run.expires_at,
        priority=run.priority,
        job_version=run.job_version,
        idempotency_key=run.idempotency_key,
        concurrency_key=run.concurrency_key,
        fire_at=run.fire_at,
        timeout_secs=run.timeout_secs,
    )
    if run.batch_id is not None:
        shown.batch_id = _batch_id(run.batch_id)
    if run.lineage_depth:
        shown.lineage_depth = run.lineage_depth
        shown.parent_run_id = _run_id(run.parent_run_id)
        shown.continuation_of = _run_id(run.continuation_of)
    if run.warnings:
        shown.warnings = list(run.warnings)
    if whole:
        shown.payload, shown.result = Raw(run.payload.encode()), None
        shown.outputs, shown.usage = {}, []
    return shown


def new_runs(runs: Sequence[NewRun], job_slug: str) -> list[wire.Run]:
    """Runs of one job that have just been stored, as lists show them."""
    first = new_run(runs[0], job_slug, whole=False)
    return [
        replace(first, id=spell(Prefix.RUN, run.id)) if is_alike(run, runs[0]) else new_run(run, job_slug, whole=False)
        for run in runs
    ]


def run(row: Mapping[str, Any]) -> wire.Run:
    """A run from its row; payload and result are there when the row has them."""
    batch_id: UUID | None = row["batch_id"]
    return wire.Run(
        id=spell(Prefix.RUN, row["id"]),
        job_id=_job_id(row["job_id"]),
        job_slug=row["job_slug"],
        project_id=row["project_id"],
        status=Status(row["status"]),
        seq=row["seq"],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        payload=_raw(row["payload"]) if "payload" in row else UNSET,
        result=_result(row),
        result_truncated=row.get("result_truncated", False),
        error=row["error"],
        error_class=row["error_class"],
        metadata=row["metadata"],
        tags=row["tags"],
        triggered_by=row["triggered_by"],
        scheduled_at=row["scheduled_at"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row.get("finished_at"),
        heartbeat_at=row.get("heartbeat_at") or _own_beat(row),
        next_retry_at=row.get("next_retry_at"),
        expires_at=row["expires_at"],
        priority=row["priority"],
        job_version=row["job_version"],
        batch_id=None if batch_id is None else _batch_id(batch_id),
        idempotency_key=row["idempotency_key"],
        concurrency_key=row["concurrency_key"],
        parent_run_id=_run_id(row["parent_run_id"]),
        continuation_of=_run_id(row["continuation_of"]),
        lineage_depth=row["lineage_depth"] or 0,
        **_step_of(row),
        fire_at=row["fire_at"],
        timeout_secs=row["timeout_secs"],
        warnings=row["warnings"] or [],
        **notes.of_run(row),
    )


def _step_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The step that a run carries out."""
    flow = row["workflow_run_id"]
    return {
        "workflow_run_id": None if flow is None else spell(Prefix.WORKFLOW_RUN, flow),
        "step_ref": row["step_ref"],
    }


def _own_beat(row: Mapping[str, Any]) -> datetime | None:
    """The endpoint's last heartbeat in this attempt: what an accepted callback is judged by."""
    beat, started = row.get("beat_at"), row["started_at"]
    return beat if beat is not None and row["status"] == Status.EXECUTING and beat >= started else None


def _run_id(run_id: UUID | None) -> str | None:
    return None if run_id is None else spell(Prefix.RUN, run_id)


def _raw(text: str) -> Raw:
    return Raw(text.encode())


def _result(row: Mapping[str, Any]) -> Any:
    if "result" in row:
        return None if row["result"] is None else _raw(row["result"])
    # The row of an active run has no result column at all: with its payload comes a null, in a list nothing.
    return None if "worker_id" in row else UNSET


def run_etag(row: Mapping[str, Any]) -> bytes:
    """Weak: the heartbeat moves without it."""
    return b'W/"%d"' % row["seq"]


def attempt(row: Mapping[str, Any]) -> wire.Attempt:
    """A closed attempt."""
    return wire.Attempt(
        attempt=row["number"],
        outcome=row["outcome"],
        worker_id=_text(row["worker_id"]),
        claimed_at=row["claimed_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        http_status=row["http_status"],
        error=row["error"],
        error_class=row["error_class"],
        fallback=row["fallback"],
        timings_ms=wire.Timings(
            queue_wait=_millis(row["queue_wait_ms"]),
            connect=_millis(row["connect_ms"]),
            ttfb=_millis(row["ttfb_ms"]),
            transfer=_millis(row["transfer_ms"]),
            total=_millis(row["total_ms"]),
        ),
    )


def live_attempt(row: Mapping[str, Any]) -> wire.Attempt:
    """The attempt under way, or the one that a claim is about to start."""
    executing = row["status"] == Status.EXECUTING
    return wire.Attempt(
        attempt=row["attempt"] if executing else row["attempt"] + 1,
        outcome=None,
        worker_id=_text(row["worker_id"]),
        claimed_at=row["claimed_at"],
        started_at=row["started_at"] if executing else None,
        finished_at=None,
        http_status=None,
        error=None,
        error_class=None,
        fallback=None,
        timings_ms=wire.Timings(queue_wait=None, connect=None, ttfb=None, transfer=None, total=None),
    )


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _millis(value: float | None) -> float | None:
    # Stored in four bytes: what lies behind the microseconds is noise.
    return None if value is None else round(value, 3)


def event(step: Step) -> wire.RunEvent:
    """One step of a run's path."""
    return wire.RunEvent(
        seq=step.seq, event=step.event, status=step.status, at=step.at, attempt=step.attempt, reason=step.reason
    )


def worker(row: WorkerRow, alive_since: datetime) -> wire.Worker:
    """A worker process; alive when it has reported since `alive_since`."""
    return wire.Worker(
        id=str(row.id),
        host=row.host,
        pid=row.pid,
        mode=row.mode,
        version=row.version,
        slots=row.slots,
        in_flight=row.in_flight,
        draining=row.draining,
        alive=row.heartbeat_at >= alive_since,
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
    )


def rates(flow: Flow) -> tuple[wire_stats.Rates, wire_stats.Rates]:
    """Runs per second over the last minute and the last quarter of an hour."""
    return (
        wire_stats.Rates(created=round(flow.created_1m / 60, 3), finished=round(flow.finished_1m / 60, 3)),
        wire_stats.Rates(created=round(flow.created_15m / 900, 3), finished=round(flow.finished_15m / 900, 3)),
    )
