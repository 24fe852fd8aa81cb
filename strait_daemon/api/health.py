"""A job's health, and a test of its endpoint."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from strait_core import wire
from strait_core.errors import ConflictError, Fault, NotFoundError, ValidationError
from strait_core.ids import Prefix, spell
from strait_core.store import health
from strait_core.store.health import Recent
from strait_core.trigger import EMPTY_PAYLOAD
from strait_core.wire.health import BreakerHealth, JobHealth, JobTest, JobTested, Latency, RecentAttempts
from strait_daemon.api.body import TRIGGER_BYTES, Body
from strait_daemon.api.context import Api
from strait_daemon.api.lookup import find_job
from strait_daemon.api.operation import Call, Operation, Reply, reply
from strait_daemon.api.query import PROJECT

# How long a test waits: nobody sits in front of it for longer.
DEFAULT_SECS: Final = 20
MOST_SECS: Final = 60


async def job_health(api: Api, call: Call) -> Reply:
    """GET /v1/jobs/{job}/health."""
    now = api.deps.clock.now()
    async with api.connection() as conn:
        job = await find_job(conn, call.path["job"], call.project)
        at = await health.standing(conn, job.id, now)
        oldest = await health.oldest_queued(conn, job.id)
        recent = await health.recent_attempts(conn, job.id, now)
    if at is None:
        raise NotFoundError(f"job {call.path['job']!r} has just been deleted")
    breaker = BreakerHealth(
        state=at.state or "closed",
        failures=at.failures or 0,
        threshold=job.spec.breaker_threshold,
        open_until=at.open_until if at.state == "open" else None,
    )
    return reply(
        JobHealth(
            job_id=spell(Prefix.JOB, job.id),
            job_slug=job.spec.slug,
            held_by=at.reason,
            held_until=at.until,
            breaker=breaker if job.spec.breaker_threshold else None,
            queued=max(0, at.queued),
            executing=max(0, at.executing),
            oldest_queued_age=None if oldest is None else round(max(0.0, (now - oldest).total_seconds()), 3),
            recent=_shaped(recent),
        )
    )


def _shaped(recent: Recent) -> RecentAttempts:
    latency = None
    if recent.latency is not None:
        p50, p90, p99, longest = (round(millis, 3) for millis in recent.latency)
        latency = Latency(p50=p50, p90=p90, p99=p99, max=longest)
    return RecentAttempts(
        attempts=recent.attempts,
        failures=recent.failures,
        failure_rate=round(recent.failures / recent.attempts, 4) if recent.attempts else None,
        since=recent.since,
        latency_ms=latency,
        errors=recent.errors,
    )


async def test_job(api: Api, call: Call) -> Reply:
    """POST /v1/jobs/{job}/test."""
    body: JobTest = call.body
    async with api.connection() as conn:
        job = await find_job(conn, call.path["job"], call.project)
    request = wire.TriggerRequest(payload=body.payload)
    faults = await api.judges.faults(job, request)
    secs = min(job.spec.timeout_secs, DEFAULT_SECS) if body.timeout_secs is UNSET else body.timeout_secs
    if not 1 <= secs <= MOST_SECS:
        faults.append(Fault("/timeout_secs", f"must be from 1 to {MOST_SECS}"))
    if faults:
        raise ValidationError(faults)
    payload = bytes(body.payload).decode() if body.payload else EMPTY_PAYLOAD
    return reply(await api.deps.rehearse(job, api.deps.new_id(), payload, secs))


ROUTES: Final = (
    Operation(
        method="GET",
        path="/v1/jobs/{job}/health",
        handle=job_health,
        name="getJobHealth",
        summary="How a job is doing: what holds it, its breaker, its queue, its recent attempts.",
        tag="jobs",
        returns=JobHealth,
        query=(PROJECT,),
        raises=(NotFoundError, ConflictError),
    ),
    Operation(
        method="POST",
        path="/v1/jobs/{job}/test",
        handle=test_job,
        name="testJob",
        summary="Call a job's endpoint once, as a run would. Nothing is stored; an open breaker does not hinder it.",
        tag="jobs",
        returns=JobTested,
        body=Body(JobTest, most=TRIGGER_BYTES, raw="payload"),
        query=(PROJECT,),
        raises=(NotFoundError, ConflictError),
    ),
)
