"""The workflow: what may be said of one and of its steps, within which bounds, and with which defaults.

A `WorkflowSpec` is the immutable definition of one version of a workflow. What can change without a new version
(enabled, paused) and what the store adds (id, version, times) is not in it. A field that stands here is a field that
works. Whether a definition is right is judged in `validate.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from strait_core.calendar import CalendarMode, Roll
from strait_core.job import BOUNDS as JOB_BOUNDS
from strait_core.job import DAY_SECS, HOUR_SECS, MAX_CAP, YEAR_SECS, Bounds, JobSpec
from strait_core.retry import RetryStrategy
from strait_core.rule import DstGap, DstOverlap
from strait_core.schedule import MisfirePolicy, OverlapPolicy
from strait_core.timetable import OF_CRON

MAX_STEPS: Final = 1_000
MAX_REF: Final = 64
# How deep workflows may stand inside one another.
MAX_NESTING: Final = 10
MAX_APPROVERS: Final = 100
MAX_APPROVER: Final = 256
MAX_SLEEP_SECS: Final = YEAR_SECS
REF: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
# What the placeholders of a step may begin with, and what is known of the run there.
ROOTS: Final = frozenset({"payload", "parent_outputs", "steps", "run"})
RUN_FIELDS: Final = ("id",)


class StepType(StrEnum):
    """What a step does when its turn comes."""

    JOB = "job"
    APPROVAL = "approval"
    SUB_WORKFLOW = "sub_workflow"
    WAIT_FOR_EVENT = "wait_for_event"
    SLEEP = "sleep"


class OnFailure(StrEnum):
    """What a failed step means for the rest of its run."""

    FAIL_WORKFLOW = "fail_workflow"
    SKIP_DEPENDENTS = "skip_dependents"
    CONTINUE = "continue"
    COMPENSATE = "compensate"


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One step; which fields go with which type says `FIELDS_OF`. Times are whole seconds."""

    # Its name within the workflow: 1 to 64 of A-Z a-z 0-9 _ -
    step_ref: str
    step_type: StepType = StepType.JOB
    # The job, as it was written: an id or a slug of the same project.
    job_id: str | None = None
    depends_on: tuple[str, ...] = ()
    # A JSON tree (condition.py); false skips the step, None = always.
    condition: Any = None
    # JSON as it was written, a template (template.py), so that numbers keep their digits; `payload_of` reads it.
    payload: Raw | UnsetType = UNSET
    on_failure: OnFailure = OnFailure.FAIL_WORKFLOW
    # None = as the job has it.
    retry_max_attempts: int | None = None
    retry_backoff: RetryStrategy | None = None
    retry_initial_delay_secs: int | None = None
    retry_max_delay_secs: int | None = None
    timeout_secs: int | None = None
    # An RFC 9535 path into the output (transform.py); None = the output as it is.
    output_transform: str | None = None
    # One running step per key within a run.
    concurrency_key: str | None = None
    # Who may decide; empty = whoever may speak for the project.
    approvers: tuple[str, ...] = ()
    # None = waits for ever; so for events.
    approval_timeout_secs: int | None = None
    # A template.
    event_key: str | None = None
    event_timeout_secs: int | None = None
    # A length like 90s or 1h30m (`duration.py`), or an instant that may be a template.
    sleep_duration: str | None = None
    sleep_until: str | None = None
    # The workflow, as it was written: an id or a slug of the same project.
    sub_workflow: str | None = None
    # The event that is sent with the step's output when it has completed.
    event_emit_key: str | None = None
    # Undoes a completed step when the workflow is compensated: an id or a slug.
    compensation_job: str | None = None


@dataclass(frozen=True, slots=True)
class WorkflowSpec:
    """One version of a workflow's definition; times are whole seconds, None means no limit."""

    project_id: str
    slug: str
    name: str
    steps: tuple[StepSpec, ...]
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    timeout_secs: int | None = None
    # Runs beyond it wait as `pending`.
    max_concurrent_runs: int | None = None
    max_parallel_steps: int | None = None
    # What follows is the workflow's schedule, as a job has it.
    cron: str | None = None
    cron_timezone: str = "UTC"
    # A tick makes no run while any run of the workflow, whoever made it, is pending, running or paused.
    skip_if_running: bool = False
    misfire_policy: MisfirePolicy = MisfirePolicy.COALESCE
    misfire_max_lateness_secs: int | None = None
    misfire_max_runs: int = 100
    overlap_policy: OverlapPolicy = OverlapPolicy.ALLOW
    jitter_secs: int | None = None
    dst_gap: DstGap = DstGap.TRANSITION
    dst_overlap: DstOverlap = DstOverlap.FIRST
    calendar: str | None = None
    calendar_mode: CalendarMode = CalendarMode.EXCLUDE
    calendar_roll: Roll = Roll.NONE
    start_within_secs: int | None = None
    finish_within_secs: int | None = None
    expect_every_secs: int | None = None
    # Is told, unsigned, of each deadline that was broken.
    alert_webhook_url: str | None = None

    @property
    def timezone(self) -> str:
        """The zone of the schedule, under the name that it has in a job."""
        return self.cron_timezone


# A definition that may have a schedule.
Timed: TypeAlias = JobSpec | WorkflowSpec

_ALL: Final = frozenset(
    {"step_ref", "step_type", "depends_on", "condition", "on_failure", "output_transform", "event_emit_key"}
)
_RUNS: Final = frozenset({"payload", "concurrency_key", "compensation_job"})
# The fields that say something of a step of each type.
FIELDS_OF: Final[Mapping[StepType, frozenset[str]]] = {
    StepType.JOB: _ALL
    | _RUNS
    | {
        "job_id",
        "retry_max_attempts",
        "retry_backoff",
        "retry_initial_delay_secs",
        "retry_max_delay_secs",
        "timeout_secs",
    },
    StepType.APPROVAL: _ALL | {"approvers", "approval_timeout_secs"},
    StepType.SUB_WORKFLOW: _ALL | _RUNS | {"sub_workflow"},
    StepType.WAIT_FOR_EVENT: _ALL | {"event_key", "event_timeout_secs"},
    StepType.SLEEP: _ALL | {"sleep_duration", "sleep_until"},
}
BOUNDS: Final[Mapping[str, Bounds]] = {
    "timeout_secs": Bounds(0, YEAR_SECS, none_means_no_limit=True),
    "max_concurrent_runs": Bounds(0, MAX_CAP, none_means_no_limit=True),
    "max_parallel_steps": Bounds(0, MAX_STEPS, none_means_no_limit=True),
    **{name: JOB_BOUNDS[name] for name in OF_CRON if name in JOB_BOUNDS},
}
STEP_BOUNDS: Final[Mapping[str, Bounds]] = {
    "retry_max_attempts": Bounds(1, 100),
    "retry_initial_delay_secs": Bounds(1, HOUR_SECS),
    "retry_max_delay_secs": Bounds(1, HOUR_SECS),
    "timeout_secs": Bounds(1, DAY_SECS),
    "approval_timeout_secs": Bounds(0, YEAR_SECS, none_means_no_limit=True),
    "event_timeout_secs": Bounds(0, YEAR_SECS, none_means_no_limit=True),
}
REQUIRED: Final = ("project_id", "slug", "name", "steps")
_BLANK: Final = WorkflowSpec("", "", "", ())
DEFAULTS: Final[Mapping[str, Any]] = {f.name: getattr(_BLANK, f.name) for f in fields(WorkflowSpec)[len(REQUIRED) :]}
STEP_DEFAULTS: Final[Mapping[str, Any]] = {f.name: f.default for f in fields(StepSpec) if f.default is not MISSING}

_encode: Final = msgspec.json.Encoder().encode
_decode_settings: Final = msgspec.json.Decoder(dict[str, Any]).decode
NO_STEPS: Final = "[]"
# Definitions that are kept as they were read: one of a thousand steps takes milliseconds to read.
_MOST_READ: Final = 32
_decode_steps: Final = msgspec.json.Decoder(tuple[StepSpec, ...]).decode


def evolve(spec: WorkflowSpec, changes: Mapping[str, Any]) -> WorkflowSpec:
    """The definition with `changes` applied; null puts a field back to its default, 0 lifts a limit."""
    return replace(spec, **{name: settled(name, value) for name, value in changes.items()})


def settled(name: str, value: Any) -> Any:
    """A workflow field's value as it is stored: null becomes the default, the 0 of a limit becomes None."""
    return _settled(value, DEFAULTS.get(name), BOUNDS.get(name))


def step_of(given: Mapping[str, Any]) -> StepSpec:
    """A step from the fields that were given; null puts a field at its default, 0 lifts a limit."""
    return StepSpec(
        **{name: _settled(value, STEP_DEFAULTS.get(name), STEP_BOUNDS.get(name)) for name, value in given.items()}
    )


def _settled(value: Any, default: Any, bounds: Bounds | None) -> Any:
    if value is None:
        return default
    if value == 0 and bounds is not None and bounds.none_means_no_limit:
        return None
    return tuple(value) if isinstance(value, list) else value


def said_of(step: StepSpec) -> dict[str, Any]:
    """What a step says: its fields that are not at their defaults."""
    said = {name: getattr(step, name) for name in STEP_DEFAULTS}
    return {"step_ref": step.step_ref} | {k: v for k, v in said.items() if not _is_default(k, v)}


def _is_default(name: str, value: Any) -> bool:
    default = STEP_DEFAULTS[name]
    return value is default or (type(value) is type(default) and not isinstance(value, Raw) and value == default)


def payload_of(step: StepSpec) -> Any:
    """A step's payload as a template, None = it has none; numbers are Raw, digit for digit as they were written."""
    if step.payload is UNSET:
        return None
    return json.loads(bytes(step.payload), parse_int=_as_written, parse_float=_as_written)


def _as_written(number: str) -> Raw:
    return Raw(number.encode())


def settings_text(spec: WorkflowSpec) -> str:
    """A definition without its steps as JSON, as it is stored."""
    return _encode({f.name: getattr(spec, f.name) for f in fields(spec) if f.name != "steps"}).decode()


def steps_text(spec: WorkflowSpec) -> str:
    """A definition's steps as JSON, as they are stored: each says what is not at its default."""
    return _encode([said_of(step) for step in spec.steps]).decode()


@lru_cache(_MOST_READ)
def read_spec(settings: str, steps: str) -> WorkflowSpec:
    """A definition from what `settings_text` and `steps_text` made. A trigger reads the same one several times."""
    spec = msgspec.convert({**_decode_settings(settings), "steps": ()}, WorkflowSpec)
    return spec if steps == NO_STEPS else replace(spec, steps=_decode_steps(steps))
