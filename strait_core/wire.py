"""What travels over HTTP: request and response bodies, shared by the API and the CLI.

Decoding is strict: unknown fields, wrong types and coercions are refused. Semantic checks are in `job.py` and
`trigger.py`; here are only shapes. `UNSET` is an absent field, None is an explicit null.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

from msgspec import UNSET, Raw, Struct, UnsetType

from strait_core.calendar import CalendarMode, Roll
from strait_core.job import Completion, VersionPolicy
from strait_core.retry import RetryStrategy
from strait_core.rule import DstGap, DstOverlap
from strait_core.run import Status
from strait_core.schedule import MisfirePolicy, OverlapPolicy
from strait_core.wire_notes import Progress, Usage

T = TypeVar("T")


class Request(Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A request body; every field may be absent unless its type says otherwise."""


class JobPatch(Request):
    """PATCH /v1/jobs/{job}: only what is named changes; null puts a field back to its default."""

    name: str | UnsetType = UNSET
    slug: str | UnsetType = UNSET
    endpoint_url: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    tags: dict[str, str] | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    headers: dict[str, str] | UnsetType | None = UNSET
    signing_secret: str | UnsetType | None = UNSET
    fallback_endpoint_url: str | UnsetType | None = UNSET
    webhook_url: str | UnsetType | None = UNSET
    webhook_secret: str | UnsetType | None = UNSET
    timeout_secs: int | UnsetType | None = UNSET
    max_attempts: int | UnsetType | None = UNSET
    retry_strategy: RetryStrategy | UnsetType | None = UNSET
    retry_delays_secs: list[int] | UnsetType | None = UNSET
    retry_priority_boost: int | UnsetType | None = UNSET
    non_retryable_statuses: list[int] | UnsetType | None = UNSET
    poison_pill_threshold: int | UnsetType | None = UNSET
    breaker_threshold: int | UnsetType | None = UNSET
    priority: int | UnsetType | None = UNSET
    max_concurrency: int | UnsetType | None = UNSET
    max_concurrency_per_key: int | UnsetType | None = UNSET
    rate_limit_max: int | UnsetType | None = UNSET
    rate_limit_window_secs: int | UnsetType | None = UNSET
    run_ttl_secs: int | UnsetType | None = UNSET
    default_run_metadata: dict[str, str] | UnsetType | None = UNSET
    version_policy: VersionPolicy | UnsetType | None = UNSET
    payload_schema: dict[str, Any] | UnsetType | None = UNSET
    result_schema: dict[str, Any] | UnsetType | None = UNSET
    completion: Completion | UnsetType | None = UNSET
    max_cost_per_run_microusd: int | UnsetType | None = UNSET
    dedup_window_secs: int | UnsetType | None = UNSET
    debounce_window_secs: int | UnsetType | None = UNSET
    debounce_max_wait_secs: int | UnsetType | None = UNSET
    batch_window_secs: int | UnsetType | None = UNSET
    batch_max_size: int | UnsetType | None = UNSET
    on_complete_trigger_job: str | UnsetType | None = UNSET
    on_complete_payload_mapping: dict[str, Any] | UnsetType | None = UNSET
    on_failure_trigger_job: str | UnsetType | None = UNSET
    on_failure_payload_mapping: dict[str, Any] | UnsetType | None = UNSET
    cron: str | UnsetType | None = UNSET
    timezone: str | UnsetType | None = UNSET
    misfire_policy: MisfirePolicy | UnsetType | None = UNSET
    misfire_max_lateness_secs: int | UnsetType | None = UNSET
    misfire_max_runs: int | UnsetType | None = UNSET
    overlap_policy: OverlapPolicy | UnsetType | None = UNSET
    jitter_secs: int | UnsetType | None = UNSET
    dst_gap: DstGap | UnsetType | None = UNSET
    dst_overlap: DstOverlap | UnsetType | None = UNSET
    calendar: str | UnsetType | None = UNSET
    calendar_mode: CalendarMode | UnsetType | None = UNSET
    calendar_roll: Roll | UnsetType | None = UNSET
    execution_window_cron: str | UnsetType | None = UNSET


class JobCreate(JobPatch):
    """POST /v1/jobs; name, slug and endpoint_url are required here, and project_id unless the request names one."""

    project_id: str | UnsetType = UNSET


class JobClone(Request):
    """POST /v1/jobs/{job}/clone: a new job with the same definition."""

    slug: str
    name: str | UnsetType = UNSET


class Pause(Request):
    """POST /v1/jobs/{job}/pause."""

    reason: str | UnsetType | None = UNSET


class Job(Struct, kw_only=True):
    """A job as the API shows it; of secrets it only says that there is one."""

    id: str
    project_id: str
    slug: str
    name: str
    description: str
    tags: dict[str, str]
    enabled: bool
    paused: bool
    paused_at: datetime | None
    pause_reason: str | None
    endpoint_url: str
    headers: dict[str, str]
    signing_secret: str | None
    fallback_endpoint_url: str | None
    webhook_url: str | None
    webhook_secret: str | None
    timeout_secs: int
    max_attempts: int
    retry_strategy: RetryStrategy
    retry_delays_secs: list[int]
    retry_priority_boost: int
    non_retryable_statuses: list[int]
    poison_pill_threshold: int | None
    breaker_threshold: int
    priority: int
    max_concurrency: int | None
    max_concurrency_per_key: int | None
    rate_limit_max: int | None
    rate_limit_window_secs: int | None
    run_ttl_secs: int | None
    default_run_metadata: dict[str, str]
    version: int
    version_id: str
    version_policy: VersionPolicy
    payload_schema: dict[str, Any] | None
    result_schema: dict[str, Any] | None
    completion: Completion
    max_cost_per_run_microusd: int | None
    dedup_window_secs: int | None
    debounce_window_secs: int | None
    debounce_max_wait_secs: int | None
    batch_window_secs: int | None
    batch_max_size: int
    on_complete_trigger_job: str | None
    on_complete_payload_mapping: dict[str, Any] | None
    on_failure_trigger_job: str | None
    on_failure_payload_mapping: dict[str, Any] | None
    cron: str | None
    timezone: str
    misfire_policy: MisfirePolicy
    misfire_max_lateness_secs: int | None
    misfire_max_runs: int
    overlap_policy: OverlapPolicy
    jitter_secs: int | None
    dst_gap: DstGap
    dst_overlap: DstOverlap
    calendar: str | None
    calendar_mode: CalendarMode
    calendar_roll: Roll
    execution_window_cron: str | None
    created_at: datetime
    updated_at: datetime


class JobVersion(Struct, kw_only=True):
    """One immutable version of a job's definition."""

    version: int
    version_id: str
    created_at: datetime
    definition: Raw


class NewRunRequest(Request):
    """What may be said of a run that is to be made."""

    payload: Raw | UnsetType = UNSET
    tags: dict[str, str] | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType | None = UNSET
    scheduled_at: datetime | UnsetType | None = UNSET
    priority: int | UnsetType | None = UNSET
    ttl_secs: int | UnsetType | None = UNSET
    max_attempts: int | UnsetType | None = UNSET
    timeout_secs: int | UnsetType | None = UNSET
    retry_strategy: RetryStrategy | UnsetType | None = UNSET
    concurrency_key: str | UnsetType | None = UNSET


class TriggerFields(NewRunRequest):
    """What may be said of a run that windows may gather."""

    debounce_key: str | UnsetType | None = UNSET
    batch_key: str | UnsetType | None = UNSET


class TriggerRequest(TriggerFields):
    """POST /v1/jobs/{job}/trigger; an empty body is `{}`. With `dry_run` everything is checked and nothing stored."""

    dry_run: bool | UnsetType = UNSET


class BulkItem(NewRunRequest):
    """One run of a bulk trigger: a trigger's body, and its own key in place of the header's."""

    idempotency_key: str | UnsetType | None = UNSET


class BulkTriggerRequest(Request):
    """POST /v1/jobs/{job}/trigger/bulk: all items or none."""

    items: list[BulkItem]


class Run(Struct, kw_only=True):
    """A run as the API shows it; in lists `payload` and `result` are absent unless asked for."""

    id: str
    job_id: str
    job_slug: str
    project_id: str
    status: Status
    seq: int
    attempt: int
    max_attempts: int
    payload: Raw | UnsetType = UNSET
    result: Raw | UnsetType | None = UNSET
    result_truncated: bool
    error: str | None
    error_class: str | None
    metadata: dict[str, str]
    tags: dict[str, str]
    triggered_by: str
    scheduled_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    heartbeat_at: datetime | None
    next_retry_at: datetime | None
    expires_at: datetime | None
    priority: int
    job_version: int
    batch_id: str | None
    idempotency_key: str | None
    concurrency_key: str | None
    parent_run_id: str | None
    continuation_of: str | None
    lineage_depth: int
    fire_at: datetime | None
    timeout_secs: int
    warnings: list[str]
    progress: Progress | None
    cost_microusd: int
    # Absent from lists, like the payload.
    outputs: dict[str, Raw] | UnsetType = UNSET
    usage: list[Usage] | UnsetType = UNSET


class Batch(Struct, kw_only=True):
    """What a bulk trigger made; `batch_id` is null when it made nothing and its keys lead to runs of several."""

    batch_id: str | None
    data: list[Run]


class Timings(Struct, kw_only=True):
    """Where an attempt's time went, in milliseconds; null = it never came to that."""

    queue_wait: float | None
    connect: float | None
    ttfb: float | None
    transfer: float | None
    total: float | None


class Attempt(Struct, kw_only=True):
    """One attempt; `outcome` is null while it is live.

    `fallback` tells why fallback_endpoint_url was asked; null when it was not. All else is of the endpoint asked last.
    """

    attempt: int
    outcome: str | None
    worker_id: str | None
    claimed_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    http_status: int | None
    error: str | None
    error_class: str | None
    fallback: str | None
    timings_ms: Timings


class RunEvent(Struct, kw_only=True):
    """One step of the path a run walked through its states."""

    seq: int
    event: str
    status: Status
    at: datetime
    attempt: int
    reason: str | None


class Page(Struct, Generic[T], kw_only=True):
    """One page of a list, newest first; `next_cursor` is null on the last."""

    data: list[T]
    next_cursor: str | None


class Worker(Struct, kw_only=True):
    """One worker process; `alive` is false once its heartbeat is older than STALE_THRESHOLD."""

    id: str
    host: str
    pid: int
    mode: str
    version: str
    slots: int
    in_flight: int
    draining: bool
    alive: bool
    started_at: datetime
    heartbeat_at: datetime


class ComponentHealth(Struct, kw_only=True):
    """One component's answer to a readiness probe."""

    ok: bool
    detail: str | None = None


class Health(Struct, kw_only=True):
    """GET /health and /health/ready."""

    status: str
    version: str
    components: dict[str, ComponentHealth] | UnsetType = UNSET


class FaultItem(Struct, kw_only=True):
    """One entry of a problem's `errors`: a JSON pointer and a message."""

    pointer: str
    message: str


class Problem(Struct, kw_only=True):
    """An error body (RFC 9457, application/problem+json) with a stable `code`."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    hint: str | None = None
    errors: list[FaultItem] | UnsetType = UNSET
