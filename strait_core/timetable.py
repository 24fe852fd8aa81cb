"""The schedule that a job's definition describes: its rule and its policy, and what is wrong with either."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from strait_core import cron, ids, window
from strait_core.errors import Fault
from strait_core.rule import DstGap, DstOverlap, Rule
from strait_core.schedule import Policy, Schedule
from strait_core.wallclock import zone_faults

if TYPE_CHECKING:
    from strait_core.job import JobSpec

# Fields that say something only of a job with a cron expression.
OF_CRON: Final = (
    "misfire_policy",
    "misfire_max_lateness_secs",
    "misfire_max_runs",
    "overlap_policy",
    "jitter_secs",
    "dst_gap",
    "dst_overlap",
)


def schedule_faults(spec: JobSpec, defaults: Mapping[str, Any]) -> list[Fault]:
    """Everything wrong with the schedule of a definition; its numbers are judged elsewhere, by their bounds."""
    faults = [] if spec.cron is None else cron.faults(spec.cron, "/cron")
    if spec.cron is None:
        said = [name for name in OF_CRON if getattr(spec, name) != defaults[name]]
        faults += [Fault(f"/{name}", "works only with cron") for name in said]
    if spec.execution_window_cron is not None:
        faults += window.faults(spec.execution_window_cron, "/execution_window_cron")
    elif spec.cron is None and spec.timezone != defaults["timezone"]:
        faults.append(Fault("/timezone", "works only with cron or execution_window_cron"))
    return faults + zone_faults(spec.timezone, "/timezone")


def schedule_of(schedule_id: UUID, spec: JobSpec) -> Schedule:
    """The schedule of a valid definition that has a cron expression."""
    assert spec.cron is not None
    rule = _rule(spec.cron, spec.timezone, spec.dst_gap, spec.dst_overlap)
    policy = Policy(
        misfire_policy=spec.misfire_policy,
        misfire_max_lateness_secs=spec.misfire_max_lateness_secs or 0,
        misfire_max_runs=spec.misfire_max_runs,
        overlap_policy=spec.overlap_policy,
        jitter_secs=spec.jitter_secs or 0,
    )
    return Schedule(ids.spell(ids.Prefix.SCHEDULE, schedule_id), rule, policy)


@lru_cache(16_384)
def _rule(expression: str, zone: str, gap: DstGap, overlap: DstOverlap) -> Rule:
    return Rule(cron.parse(expression), zone, gap, overlap)
