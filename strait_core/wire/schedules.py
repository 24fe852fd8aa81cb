"""What travels over HTTP about schedules, their ticks and calendars; the rest of the wire is in `wire.py`."""

from __future__ import annotations

from datetime import date, datetime

from msgspec import UNSET, Struct, UnsetType, field

from strait_core.days import DayRange
from strait_core.deadline import Deadline
from strait_core.wire.bodies import Request


class Breach(Struct, kw_only=True):
    """A deadline that was broken: counted from `since` (the tick, or the last success), it ended at `limit_at`."""

    deadline: Deadline
    since: datetime
    limit_at: datetime
    found_at: datetime
    run_id: str | None


class Late(Breach, kw_only=True):
    """What an alert webhook is told (`deadline.broken`): the breach, how long the deadline was, whose it is."""

    secs: int
    schedule_id: str
    job_id: str | None
    job_slug: str | None
    workflow_id: str | None
    workflow_slug: str | None
    project_id: str


class Schedule(Struct, kw_only=True):
    """A schedule of a job or of a workflow, as `kind` says; the fields of the other are null.

    `next_fire_at` is null while it does not fire, `state` says why: paused or disabled. `expected_by`: until when a run
    has to succeed next; null when nobody expects that.
    """

    id: str
    kind: str
    # That of what it fires.
    slug: str
    job_id: str | None
    job_slug: str | None
    workflow_id: str | None
    workflow_slug: str | None
    project_id: str
    state: str
    cron: str
    timezone: str
    next_fire_at: datetime | None
    held_fire_at: datetime | None
    last_fire_at: datetime | None
    last_run_id: str | None
    expected_by: datetime | None
    last_breach: Breach | None
    paused: bool
    paused_at: datetime | None
    pause_reason: str | None
    created_at: datetime
    updated_at: datetime


class ScheduleFire(Struct, kw_only=True):
    """What a tick came to: the run it made, or why it made none; `ticks` of them from `first_fire_at` to `fire_at`.

    `breaches` names the deadlines that its run has broken.
    """

    fire_at: datetime
    first_fire_at: datetime
    ticks: int
    decided_at: datetime
    triggered_by: str
    run_id: str | None
    skipped: str | None
    breaches: list[Deadline]


class NextFire(Struct, kw_only=True):
    """A fire to come: the instant in UTC and in local time, and when the run is made (later by the jitter)."""

    fire_at: datetime
    runs_at: datetime
    local: str
    zone_offset: str


class SchedulePause(Request):
    """POST /v1/schedules/{schedule}/pause."""

    reason: str | UnsetType | None = UNSET


class CalendarPatch(Request):
    """PATCH /v1/calendars/{calendar}: what is named is replaced; null empties it. Weekdays are `sun` to `sat`."""

    dates: list[date] | UnsetType | None = UNSET
    ranges: list[DayRange] | UnsetType | None = UNSET
    weekdays: list[str] | UnsetType | None = UNSET


class CalendarCreate(Request):
    """POST /v1/calendars; the project comes with the body or with the request. Weekdays are `sun` to `sat`."""

    slug: str
    project_id: str | UnsetType = UNSET
    dates: list[date] | UnsetType | None = UNSET
    ranges: list[DayRange] | UnsetType | None = UNSET
    weekdays: list[str] | UnsetType | None = UNSET


class Calendar(Struct, kw_only=True):
    """A named set of days that schedules fire on, or do not: dates, ranges with both ends, weekdays."""

    id: str
    project_id: str
    slug: str
    dates: list[date]
    ranges: list[DayRange]
    weekdays: list[str]
    created_at: datetime
    updated_at: datetime


class Outage(Struct, forbid_unknown_fields=True, kw_only=True):
    """A time in which no daemon is up."""

    from_at: datetime
    to_at: datetime


class Simulate(Request):
    """POST /v1/cron/simulate: what the schedules of these jobs would do; runs are assumed to take `run_secs`."""

    jobs: list[str]
    from_at: datetime
    to_at: datetime
    run_secs: int = 1
    outages: list[Outage] = field(default_factory=list)


class SimulatedEvent(Struct, kw_only=True):
    """Something that would happen: fired, skipped, held, started, canceled, finished or late."""

    at: datetime
    job_slug: str
    event: str
    fire_at: datetime
    count: int
    note: str


class SimulatedTally(Struct, kw_only=True):
    """One schedule's figures; `skipped` counts ticks by reason, `most_at_once` is of its runs."""

    job_slug: str
    fired: int
    caught_up: int
    held: int
    canceled: int
    late: int
    skipped: dict[str, int]
    most_at_once: int


class Simulated(Struct, kw_only=True):
    """What would happen, in order; `cut`: it is more than fits, and ends early."""

    events: list[SimulatedEvent]
    tallies: list[SimulatedTally]
    cut: bool
