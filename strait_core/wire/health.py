"""What travels over HTTP of a job's health, and of a test of its endpoint."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET, Raw, Struct, UnsetType

from strait_core.wire.bodies import Request
from strait_core.wire.runs import Timings


class BreakerHealth(Struct, kw_only=True):
    """The breaker of a job's endpoint: closed, open, probing or recovering; `failures` in a row so far."""

    state: str
    failures: int
    threshold: int
    open_until: datetime | None


class Latency(Struct, kw_only=True):
    """How long attempts took, in milliseconds."""

    p50: float
    p90: float
    p99: float
    max: float


class RecentAttempts(Struct, kw_only=True):
    """The newest attempts of a job's newest runs, a day back at most; `errors` counts them by class."""

    attempts: int
    failures: int
    failure_rate: float | None
    since: datetime | None
    latency_ms: Latency | None
    errors: dict[str, int]


class JobHealth(Struct, kw_only=True):
    """GET /v1/jobs/{job}/health; `held_by` is what keeps all its runs from starting, ages are in seconds.

    `breaker` is null for a job whose breaker_threshold is 0.
    """

    job_id: str
    job_slug: str
    held_by: str | None
    held_until: datetime | None
    breaker: BreakerHealth | None
    queued: int
    executing: int
    oldest_queued_age: float | None
    recent: RecentAttempts


class JobTest(Request):
    """POST /v1/jobs/{job}/test; the payload is `{}` unless given."""

    payload: Raw | UnsetType = UNSET
    timeout_secs: int | UnsetType = UNSET


class JobTested(Struct, kw_only=True):
    """What came of a test: `ok` as a run would have completed; `fallback` tells why that was asked.

    `headers` are those that were sent, with what is secret blanked out; `body` is the beginning of the answer's.
    """

    ok: bool
    url: str
    fallback: str | None
    http_status: int | None
    error: str | None
    error_class: str | None
    timings_ms: Timings
    headers: dict[str, str]
    body: str | None
    body_truncated: bool
