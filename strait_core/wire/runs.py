"""Runs: what may be said of one that is to be made, and how the API shows it, its attempts and its path."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET, Raw, Struct, UnsetType

from strait_core.retry import RetryStrategy
from strait_core.run import Status
from strait_core.wire.bodies import Request
from strait_core.wire.notes import Progress, Usage


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
    workflow_run_id: str | None
    step_ref: str | None
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
