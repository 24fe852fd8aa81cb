"""From a trigger request and a job to the run that will be stored: validation and defaults, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from strait_core.errors import Fault
from strait_core.idempotency import Once, check_key
from strait_core.job import BOUNDS, MAX_CONCURRENCY_KEY, YEAR_SECS, Bounds, JobSpec, check_metadata, check_tags
from strait_core.retry import RetryStrategy
from strait_core.run import Status
from strait_core.wire import NewRunRequest, TriggerFields

MAX_PAYLOAD_BYTES: Final = 5 * 1024 * 1024
MAX_BULK_ITEMS: Final = 1_000
MAX_AHEAD: Final = timedelta(seconds=YEAR_SECS)
EMPTY_PAYLOAD: Final = "{}"
_FIRST_DAY: Final = datetime(2, 1, 1, tzinfo=UTC)

_BOUNDS: Final[Mapping[str, Bounds]] = {
    "priority": BOUNDS["priority"],
    "ttl_secs": BOUNDS["run_ttl_secs"],
    "max_attempts": BOUNDS["max_attempts"],
    "timeout_secs": BOUNDS["timeout_secs"],
}


# What a trigger says of its own run, which the items of a batch share.
_OWN: Final = (
    "tags", "metadata", "priority", "ttl_secs", "max_attempts", "timeout_secs", "retry_strategy", "concurrency_key",
)  # fmt: skip


class NewRun(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run about to be stored; `payload` is JSON text as it was sent. None in a policy field: the job's own holds.

    A struct and not a dataclass, because it travels to PostgreSQL as JSON, where what is absent costs nothing.
    """

    id: UUID
    job_id: UUID
    job_version: int
    project_id: str
    status: Status
    payload: str
    tags: Mapping[str, str]
    metadata: Mapping[str, str]
    triggered_by: str
    created_at: datetime
    scheduled_at: datetime | None = None
    expires_at: datetime | None = None
    priority: int
    max_attempts: int
    timeout_secs: int
    retry_strategy: RetryStrategy | None = None
    batch_id: UUID | None = None
    idempotency_key: str | None = None
    # What the request said, canonically: the same key with another hash is another request. None: take no key.
    body_hash: str | None = None
    concurrency_key: str | None = None
    parent_run_id: UUID | None = None
    continuation_of: UUID | None = None
    # How many ancestors; None = none.
    lineage_depth: int | None = None
    fire_at: datetime | None = None
    warnings: Sequence[str] | None = None
    # The step of a workflow run that it carries out, and that step's own waits between attempts.
    workflow_run_id: UUID | None = None
    step_ref: str | None = None
    step_index: int | None = None
    retry_initial_secs: int | None = None
    retry_max_secs: int | None = None


def faults_of(request: NewRunRequest, now: datetime, spec: JobSpec) -> list[Fault]:
    """Everything wrong with a trigger body for that job, each fault with its JSON pointer."""
    faults: list[Fault] = []
    if request.retry_strategy is RetryStrategy.CUSTOM and not spec.retry_delays_secs:
        faults.append(Fault("/retry_strategy", "custom takes the job's retry_delays_secs, and it has none"))
    for name, bounds in _BOUNDS.items():
        value = getattr(request, name)
        if value is not UNSET and value is not None and not bounds.low <= value <= bounds.high:
            faults.append(Fault(f"/{name}", f"must be from {bounds.low} to {bounds.high}"))
    if request.payload is not UNSET and len(request.payload) > MAX_PAYLOAD_BYTES:
        faults.append(Fault("/payload", f"must be at most {MAX_PAYLOAD_BYTES} bytes"))
    if request.tags:
        faults += check_tags("tags", request.tags)
    if request.metadata:
        faults += check_metadata("metadata", request.metadata)
    if isinstance(request.concurrency_key, str) and not 1 <= len(request.concurrency_key) <= MAX_CONCURRENCY_KEY:
        faults.append(Fault("/concurrency_key", f"must be 1 to {MAX_CONCURRENCY_KEY} characters"))
    return faults + check_schedule(request.scheduled_at, now)


def gathers(spec: JobSpec) -> bool:
    """Whether triggers of the job meet in a delayed run."""
    return spec.debounce_window_secs is not None or spec.batch_window_secs is not None


def window_faults_of(request: TriggerFields, spec: JobSpec) -> list[Fault]:
    """What a trigger may not say to a job with the windows that this one has, or has not."""
    faults: list[Fault] = []
    if request.debounce_key is UNSET and request.batch_key is UNSET and not gathers(spec):
        return faults
    for name, window in (("debounce_key", spec.debounce_window_secs), ("batch_key", spec.batch_window_secs)):
        key = getattr(request, name)
        if isinstance(key, str) and window is None:
            faults.append(Fault(f"/{name}", f"works only when the job has {name.removesuffix('_key')}_window_secs"))
        elif isinstance(key, str):
            faults += check_key(f"/{name}", key)
    if gathers(spec) and request.scheduled_at:
        faults.append(Fault("/scheduled_at", "is the window's to choose: the job debounces or batches its triggers"))
    if spec.batch_window_secs:
        said = [name for name in _OWN if getattr(request, name) is not UNSET and getattr(request, name) is not None]
        faults += [Fault(f"/{name}", "cannot be said of one item of a batch; set it on the job") for name in said]
    return faults


def check_schedule(at: datetime | UnsetType | None, now: datetime) -> list[Fault]:
    """When a run may begin: an instant with an offset, at most a year ahead."""
    if at is UNSET or at is None:
        return []
    if at.tzinfo is None:
        return [Fault("/scheduled_at", "must carry a UTC offset, like 2030-01-31T09:00:00Z")]
    if at > now + MAX_AHEAD:
        return [Fault("/scheduled_at", "must be at most one year ahead")]
    # An offset can lead out of the calendar: 0001-01-01T00:00:00+05:00 has no name in UTC.
    if at.replace(tzinfo=UTC) < _FIRST_DAY:
        return [Fault("/scheduled_at", "must not be in the year 1")]
    return []


def new_run(
    request: NewRunRequest,
    spec: JobSpec,
    *,
    run_id: UUID,
    job_id: UUID,
    job_version: int,
    now: datetime,
    triggered_by: str = "manual",
    batch_id: UUID | None = None,
    once: Once | None = None,
) -> NewRun:
    """The run that a valid request makes; the body has passed `faults_of`."""
    scheduled_at = request.scheduled_at.astimezone(UTC) if request.scheduled_at else None
    due = scheduled_at is None or scheduled_at <= now
    ttl = _given(request.ttl_secs, spec.run_ttl_secs)
    starts = now if due or scheduled_at is None else scheduled_at
    return NewRun(
        id=run_id,
        job_id=job_id,
        job_version=job_version,
        project_id=spec.project_id,
        status=Status.QUEUED if due else Status.DELAYED,
        payload=_payload(request),
        tags={**spec.tags, **(request.tags or {})},
        metadata={**spec.default_run_metadata, **(request.metadata or {})},
        triggered_by=triggered_by,
        created_at=now,
        scheduled_at=scheduled_at,
        expires_at=starts + timedelta(seconds=ttl) if ttl else None,
        priority=_given(request.priority, spec.priority),
        max_attempts=_given(request.max_attempts, spec.max_attempts),
        timeout_secs=_given(request.timeout_secs, spec.timeout_secs),
        retry_strategy=request.retry_strategy or None,
        batch_id=batch_id,
        concurrency_key=_given(request.concurrency_key, None),
        idempotency_key=once.key if once else None,
        body_hash=once.body_hash if once else None,
    )


def new_runs(
    requests: Sequence[NewRunRequest],
    spec: JobSpec,
    onces: Sequence[Once | None],
    *,
    new_id: Callable[[], UUID],
    job_id: UUID,
    job_version: int,
    now: datetime,
    batch_id: UUID,
) -> list[NewRun]:
    """The runs of a bulk, one for each request; those that say nothing but a payload share all that is not theirs."""

    def made(request: NewRunRequest, own: Once | None) -> NewRun:
        return new_run(
            request, spec, run_id=new_id(), job_id=job_id, job_version=job_version, now=now, batch_id=batch_id, once=own
        )

    runs: list[NewRun] = []
    plain: NewRun | None = None
    for request, own in zip(requests, onces, strict=True):
        if own is not None or replace(request, payload=UNSET) != type(request)():
            runs.append(made(request, own))
        elif plain is None:
            runs.append(plain := made(request, None))
        else:
            runs.append(replace(plain, id=new_id(), payload=_payload(request)))
    return runs


def is_alike(run: NewRun, other: NewRun) -> bool:
    """Whether nothing but their ids, payloads and steps tells these two apart."""
    same = replace(run, id=other.id, payload=other.payload, step_ref=other.step_ref, step_index=other.step_index)
    return same == other


def _payload(request: NewRunRequest) -> str:
    return bytes(request.payload).decode() if request.payload else EMPTY_PAYLOAD


def _given(value: Any, default: Any) -> Any:
    return default if value is UNSET or value is None else value
