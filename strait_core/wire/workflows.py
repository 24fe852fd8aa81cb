"""Workflows: what may be said of one, and how the API shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType

from strait_core.calendar import CalendarMode, Roll
from strait_core.retry import RetryStrategy
from strait_core.rule import DstGap, DstOverlap
from strait_core.schedule import MisfirePolicy, OverlapPolicy
from strait_core.wire.bodies import Request
from strait_core.workflow.definition import OnFailure, StepType


class WorkflowStepBody(Request):
    """A step of a workflow in a request; step_ref is required, and what its step_type asks for."""

    step_ref: str | UnsetType = UNSET
    step_type: StepType | UnsetType | None = UNSET
    job_id: str | UnsetType | None = UNSET
    depends_on: list[str] | UnsetType | None = UNSET
    condition: dict[str, Any] | UnsetType | None = UNSET
    payload: Raw | UnsetType = UNSET
    on_failure: OnFailure | UnsetType | None = UNSET
    retry_max_attempts: int | UnsetType | None = UNSET
    retry_backoff: RetryStrategy | UnsetType | None = UNSET
    retry_initial_delay_secs: int | UnsetType | None = UNSET
    retry_max_delay_secs: int | UnsetType | None = UNSET
    timeout_secs: int | UnsetType | None = UNSET
    output_transform: str | UnsetType | None = UNSET
    concurrency_key: str | UnsetType | None = UNSET
    approvers: list[str] | UnsetType | None = UNSET
    approval_timeout_secs: int | UnsetType | None = UNSET
    event_key: str | UnsetType | None = UNSET
    event_timeout_secs: int | UnsetType | None = UNSET
    sleep_duration: str | UnsetType | None = UNSET
    sleep_until: str | UnsetType | None = UNSET
    sub_workflow: str | UnsetType | None = UNSET
    event_emit_key: str | UnsetType | None = UNSET
    compensation_job: str | UnsetType | None = UNSET


class WorkflowPatch(Request):
    """PATCH /v1/workflows/{workflow}: only what is named changes; null puts a field back to its default."""

    name: str | UnsetType = UNSET
    slug: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    tags: dict[str, str] | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    timeout_secs: int | UnsetType | None = UNSET
    max_concurrent_runs: int | UnsetType | None = UNSET
    max_parallel_steps: int | UnsetType | None = UNSET
    cron: str | UnsetType | None = UNSET
    cron_timezone: str | UnsetType | None = UNSET
    skip_if_running: bool | UnsetType | None = UNSET
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
    steps: list[WorkflowStepBody] | UnsetType = UNSET


class WorkflowCreate(WorkflowPatch):
    """POST /v1/workflows; name, slug and steps are required, and project_id unless the request names one."""

    project_id: str | UnsetType = UNSET


class WorkflowDryRun(Request):
    """POST /v1/workflows/{workflow}/dry-run: is this right? Without steps, those that the workflow has."""

    steps: list[WorkflowStepBody] | UnsetType = UNSET


class WorkflowClone(Request):
    """POST /v1/workflows/{workflow}/clone: a new workflow with the same definition."""

    slug: str
    name: str | UnsetType = UNSET


class WorkflowStep(Struct, kw_only=True, omit_defaults=True):
    """A step as the API shows it; what is not said is left out."""

    step_ref: str
    step_type: StepType
    depends_on: list[str]
    on_failure: OnFailure
    job_id: str | UnsetType = UNSET
    condition: dict[str, Any] | UnsetType = UNSET
    payload: Raw | UnsetType = UNSET
    retry_max_attempts: int | UnsetType = UNSET
    retry_backoff: RetryStrategy | UnsetType = UNSET
    retry_initial_delay_secs: int | UnsetType = UNSET
    retry_max_delay_secs: int | UnsetType = UNSET
    timeout_secs: int | UnsetType = UNSET
    output_transform: str | UnsetType = UNSET
    concurrency_key: str | UnsetType = UNSET
    approvers: list[str] | UnsetType = UNSET
    approval_timeout_secs: int | UnsetType = UNSET
    event_key: str | UnsetType = UNSET
    event_timeout_secs: int | UnsetType = UNSET
    sleep_duration: str | UnsetType = UNSET
    sleep_until: str | UnsetType = UNSET
    sub_workflow: str | UnsetType = UNSET
    event_emit_key: str | UnsetType = UNSET
    compensation_job: str | UnsetType = UNSET


class Workflow(Struct, kw_only=True):
    """A workflow as the API shows it; lists leave out `steps`."""

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
    timeout_secs: int | None
    max_concurrent_runs: int | None
    max_parallel_steps: int | None
    cron: str | None
    cron_timezone: str
    skip_if_running: bool
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
    version: int
    version_id: str
    step_count: int
    steps: list[WorkflowStep] | UnsetType = UNSET
    created_at: datetime
    updated_at: datetime


class WorkflowVersion(Struct, kw_only=True):
    """One immutable version of a workflow's definition; lists leave out its steps."""

    version: int
    version_id: str
    created_at: datetime
    step_count: int
    definition: Raw
    steps: list[WorkflowStep] | UnsetType = UNSET


class Verdict(Struct, kw_only=True):
    """What a dry run says of a right definition; a wrong one is answered with its faults."""

    valid: bool
    step_count: int


class FieldChange(Struct, kw_only=True):
    """One field that differs; null where a side does not say it."""

    field: str
    before: Any
    after: Any


class StepChange(Struct, kw_only=True):
    """A step that is in both versions, and what differs."""

    step_ref: str
    fields: list[FieldChange]


class WorkflowDiff(Struct, kw_only=True):
    """What changed from one version to another."""

    before: int
    after: int
    same: bool
    fields: list[FieldChange]
    added_steps: list[str]
    removed_steps: list[str]
    changed_steps: list[StepChange]


class WorkflowPlan(Struct, kw_only=True):
    """In what order the steps go, and how many at once."""

    workflow_version: int
    step_count: int
    roots: list[str]
    topological_order: list[str]
    # Steps of one level depend on earlier levels only.
    levels: list[list[str]]
    # The most steps that can run at once, within max_parallel_steps.
    max_parallelism: int
    # The longest chain of steps.
    critical_path: list[str]


class GraphNode(Struct, kw_only=True):
    """A step in a graph."""

    step_ref: str
    step_type: StepType
    level: int
    on_critical_path: bool


class GraphEdge(Struct, kw_only=True):
    """`before` has to be over when `after` begins."""

    before: str
    after: str


class WorkflowGraph(Struct, kw_only=True):
    """A workflow's steps and what leads to what."""

    nodes: list[GraphNode]
    edges: list[GraphEdge]
    roots: list[str]
    critical_path: list[str]
