"""The schedule that a job's or a workflow's definition describes: its rule, its policy, what is wrong with either."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec

from strait_core import cron, ids, window
from strait_core.calendar import WEEKDAYS, Attachment, Calendar
from strait_core.calendar import faults_of as calendar_faults
from strait_core.days import Days
from strait_core.errors import Fault
from strait_core.rule import DstGap, DstOverlap, Rule
from strait_core.schedule import OverlapPolicy, Policy, Schedule
from strait_core.wallclock import zone_faults

if TYPE_CHECKING:
    from strait_core.workflow.definition import Timed

# Fields that say something only of what has a cron expression.
OF_CRON: Final = (
    "misfire_policy",
    "misfire_max_lateness_secs",
    "misfire_max_runs",
    "overlap_policy",
    "jitter_secs",
    "dst_gap",
    "dst_overlap",
    "calendar",
    "start_within_secs",
    "finish_within_secs",
    "expect_every_secs",
)

# Fields that say something only of what has a calendar.
CALENDAR: Final = ("calendar_mode", "calendar_roll")


def schedule_faults(spec: Timed, defaults: Mapping[str, Any], zone: str = "timezone") -> list[Fault]:
    """Everything wrong with the schedule of a definition; its numbers are judged elsewhere, by their bounds.

    `zone` is how it calls its time zone.
    """
    faults = [] if spec.cron is None else cron.faults(spec.cron, "/cron")
    if spec.cron is None:
        said = [name for name in OF_CRON if getattr(spec, name) != defaults[name]]
        faults += [Fault(f"/{name}", "works only with cron") for name in said]
    if spec.calendar is None:
        said = [name for name in CALENDAR if getattr(spec, name) != defaults[name]]
        faults += [Fault(f"/{name}", "works only with calendar") for name in said]
    windowed: str | None = getattr(spec, "execution_window_cron", None)
    if windowed is not None:
        faults += window.faults(windowed, "/execution_window_cron")
    elif spec.cron is None and spec.timezone != defaults[zone]:
        more = " or execution_window_cron" if hasattr(spec, "execution_window_cron") else ""
        faults.append(Fault(f"/{zone}", f"works only with cron{more}"))
    return faults + zone_faults(spec.timezone, f"/{zone}")


def overlap_of(spec: Timed) -> OverlapPolicy:
    """What a tick does while a run has not ended."""
    return OverlapPolicy.SKIP if minds_every_run(spec) else spec.overlap_policy


def minds_every_run(spec: Timed) -> bool:
    """Whether a tick gives way to any run, and not only to those of earlier ticks."""
    return bool(getattr(spec, "skip_if_running", False))


def schedule_of(schedule_id: UUID, spec: Timed, calendar: str | None) -> Schedule:
    """The schedule of a valid definition that has a cron expression; `calendar` is that of its calendar, as stored."""
    assert spec.cron is not None
    return Schedule(ids.spell(ids.Prefix.SCHEDULE, schedule_id), rule_of(spec, calendar), policy_of(spec))


def policy_of(spec: Timed) -> Policy:
    """How the schedule of such a definition behaves at its fire times."""
    return Policy(
        misfire_policy=spec.misfire_policy,
        misfire_max_lateness_secs=spec.misfire_max_lateness_secs or 0,
        misfire_max_runs=spec.misfire_max_runs,
        overlap_policy=overlap_of(spec),
        jitter_secs=spec.jitter_secs or 0,
        start_within_secs=spec.start_within_secs,
        finish_within_secs=spec.finish_within_secs,
        expect_every_secs=spec.expect_every_secs,
    )


def rule_of(spec: Timed, calendar: str | None) -> Rule:
    """When the schedule of such a definition fires."""
    assert spec.cron is not None
    attached = None
    if spec.calendar is not None and calendar is not None:
        attached = Attachment(days_of(calendar), spec.calendar_mode, spec.calendar_roll, spec.calendar)
    return _rule(spec.cron, spec.timezone, spec.dst_gap, spec.dst_overlap, attached)


@lru_cache(16_384)
def _rule(expression: str, zone: str, gap: DstGap, overlap: DstOverlap, calendar: Attachment | None) -> Rule:
    return Rule(cron.parse(expression), zone, gap, overlap, calendar)


@lru_cache(1_024)
def days_of(definition: str) -> Calendar:
    """A calendar from the text that `definition_of` made."""
    said = msgspec.json.decode(definition, type=Days)
    ranges = tuple((one.first, one.last) for one in said.ranges)
    weekdays = frozenset(WEEKDAYS.index(day) for day in said.weekdays if day in WEEKDAYS)
    return Calendar(frozenset(said.dates), ranges, weekdays)


def days_faults(said: Days) -> list[Fault]:
    """Everything wrong with the days of a calendar."""
    wrong = [
        Fault(f"/weekdays/{at}", f'"{day[:20]}" is no weekday; they are {", ".join(WEEKDAYS)}')
        for at, day in enumerate(said.weekdays)
        if day not in WEEKDAYS
    ]
    return wrong or calendar_faults(days_of(definition_of(said)))


def definition_of(said: Days) -> str:
    """The days of a calendar as they are stored."""
    return msgspec.json.encode(said).decode()
