"""Jobs: what may be said of one, and how the API shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType

from strait_core.calendar import CalendarMode, Roll
from strait_core.job import Completion, VersionPolicy
from strait_core.ratekeys import RateKey
from strait_core.retry import RetryStrategy
from strait_core.rule import DstGap, DstOverlap
from strait_core.schedule import MisfirePolicy, OverlapPolicy
from strait_core.wire.bodies import Request


class RateLimitKey(Request):
    """A named rate limit of a job: of the runs whose `key` becomes the same value, `max` may start in `window_secs`.

    The key is a template: `{{payload.tenant}}`, `{{run.tags.team}}`. A run for which it becomes nothing is not limited.
    """

    name: str
    key: str
    max: int
    window_secs: int

    def plain(self) -> RateKey:
        """The same as a part of a definition."""
        return RateKey(self.name, self.key, self.max, self.window_secs)


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
    rate_limit_keys: list[RateLimitKey] | UnsetType | None = UNSET
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
    on_complete_trigger_workflow: str | UnsetType | None = UNSET
    on_complete_payload_mapping: dict[str, Any] | UnsetType | None = UNSET
    on_failure_trigger_job: str | UnsetType | None = UNSET
    on_failure_trigger_workflow: str | UnsetType | None = UNSET
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
    start_within_secs: int | UnsetType | None = UNSET
    finish_within_secs: int | UnsetType | None = UNSET
    expect_every_secs: int | UnsetType | None = UNSET
    alert_webhook_url: str | UnsetType | None = UNSET
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
    rate_limit_keys: list[RateKey]
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
    on_complete_trigger_workflow: str | None
    on_complete_payload_mapping: dict[str, Any] | None
    on_failure_trigger_job: str | None
    on_failure_trigger_workflow: str | None
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
    start_within_secs: int | None
    finish_within_secs: int | None
    expect_every_secs: int | None
    alert_webhook_url: str | None
    execution_window_cron: str | None
    created_at: datetime
    updated_at: datetime


class JobVersion(Struct, kw_only=True):
    """One immutable version of a job's definition."""

    version: int
    version_id: str
    created_at: datetime
    definition: Raw
