"""What a tick of a schedule does: one pure decision of (schedule, state, now), for the service and the simulator alike.

`decide` is called with the first tick that has not been decided (`State.next_fire_at`) and answers what becomes of
every tick that is due: a run, or a skip with its reason. A tick is *missed* when nobody decided it within `GRACE` of
its due time; then the misfire policy has the word. Paused and disabled schedules are not decided at all: whoever pauses
or edits one first decides what is due under the rule so far, and whoever resumes it begins with the next fire after
now. That is how the expression in force at a missed time counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from typing import Final, assert_never

from strait_core.errors import Fault
from strait_core.firing import count_fires, fires, next_fire, previous_fire
from strait_core.rule import DstGap, DstOverlap, Rule

__all__ = [
    "GRACE", "Action", "Decision", "Decisions", "DstGap", "DstOverlap", "MisfirePolicy", "OverlapPolicy", "Policy",
    "Rule", "Schedule", "SkipReason", "State", "calendar_faults", "count_fires", "decide", "due_at", "fires",
    "next_fire", "previous_fire",
]  # fmt: skip

GRACE: Final = timedelta(seconds=60)
CRON: Final = "cron"
CATCH_UP: Final = "catch_up"


class MisfirePolicy(StrEnum):
    """What becomes of ticks that were missed: one run for all of them, a run each, none."""

    COALESCE = "coalesce"
    ALL = "all"
    SKIP = "skip"


class OverlapPolicy(StrEnum):
    """What a tick does while a run of the schedule has not ended: start beside it, skip, replace it, wait for it."""

    ALLOW = "allow"
    SKIP = "skip"
    CANCEL_RUNNING = "cancel_running"
    QUEUE_ONE = "queue_one"


class Action(StrEnum):
    """What becomes of a tick."""

    FIRE = "fire"
    SKIP = "skip"


class SkipReason(StrEnum):
    """Why a tick makes no run."""

    MISSED = "missed"  # misfire_policy skip
    COALESCED = "coalesced"  # a later missed tick stands for it
    TOO_LATE = "too_late"  # older than misfire_max_lateness_secs
    TOO_MANY = "too_many"  # beyond misfire_max_runs
    OVERLAP = "overlap"  # a run has not ended, or one waits already
    BUDGET = "budget"  # the project has spent its budget of the day


@dataclass(frozen=True, slots=True)
class Policy:
    """How a schedule behaves at its fire times; lengths are whole seconds, 0 or None as each field says."""

    misfire_policy: MisfirePolicy = MisfirePolicy.COALESCE
    misfire_max_lateness_secs: int = 0  # 0 = any lateness
    misfire_max_runs: int = 100
    overlap_policy: OverlapPolicy = OverlapPolicy.ALLOW
    jitter_secs: int = 0
    start_within_secs: int | None = None
    finish_within_secs: int | None = None
    expect_every_secs: int | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as far as its ticks depend on it; `id` goes into the jitter."""

    id: str
    rule: Rule
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class State:
    """Where a schedule stands: its first undecided tick, its runs that have not ended, whether one of them waits."""

    next_fire_at: datetime | None
    live: int = 0
    held: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a tick, or of a stretch of skipped ones.

    `fire_at` is the tick's nominal time and the key of its record. A skip may stand for all `count` ticks from
    `first_fire_at` to `fire_at`. A fire with `cancel_running` cancels the live runs first, in the same transaction; one
    with `after_running` may not start before they have ended.
    """

    fire_at: datetime
    action: Action
    reason: SkipReason | None = None
    triggered_by: str = CRON
    cancel_running: bool = False
    after_running: bool = False
    first_fire_at: datetime | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class Decisions:
    """The decisions of one call, oldest tick first, and what to store: the next undecided tick and when it is due.

    `next_due_at` is in the past when a backlog is drained at the caller's pace and some of it is left.
    """

    decided: tuple[Decision, ...]
    next_fire_at: datetime | None
    next_due_at: datetime | None


def due_at(schedule: Schedule, fire_at: datetime) -> datetime:
    """When a tick is really to run: its nominal time and its share of the jitter, always before the next tick.

    The share is a hash of schedule and fire time, so every daemon and every preview find the same.
    """
    jitter = schedule.policy.jitter_secs
    if not jitter:
        return fire_at
    following = next_fire(schedule.rule, fire_at)
    if following is not None:
        jitter = min(jitter, int((following - fire_at).total_seconds()) - 1)
    digest = blake2b(f"{schedule.id}@{int(fire_at.timestamp())}".encode(), digest_size=8).digest()
    return fire_at + timedelta(seconds=int.from_bytes(digest) % (jitter + 1))


def calendar_faults(rule: Rule, now: datetime, pointer: str) -> list[Fault]:
    """That a calendar leaves no day to a rule that would otherwise fire; nothing when it leaves one."""
    if rule.calendar is None or next_fire(rule, now) is not None:
        return []
    return [Fault(pointer, "leaves no day: the schedule would never fire")]


def decide(schedule: Schedule, state: State, now: datetime, *, room: int = 100) -> Decisions:
    """What becomes of every tick that is due at `now`; at most `room` runs are made for ticks that were missed."""
    decided: list[Decision] = []
    at = state.next_fire_at
    for tick in _missed(schedule, at, now, room):
        done, state = _overlapped(schedule.policy.overlap_policy, tick, state)
        decided.append(done)
    if decided:
        at = next_fire(schedule.rule, decided[-1].fire_at)
    while at is not None and _on_time(schedule, at, now):
        done, state = _overlapped(schedule.policy.overlap_policy, Decision(at, Action.FIRE), state)
        decided.append(done)
        at = next_fire(schedule.rule, at)
    return Decisions(tuple(decided), at, None if at is None else due_at(schedule, at))


def _on_time(schedule: Schedule, at: datetime, now: datetime) -> bool:
    return at <= now and now - GRACE <= due_at(schedule, at) <= now


def _missed(schedule: Schedule, at: datetime | None, now: datetime, room: int) -> Iterator[Decision]:
    """The decisions about missed ticks, before the overlap policy is asked: skips, then up to `room` runs."""
    if at is None or due_at(schedule, at) >= now - GRACE:
        return
    rule, policy = schedule.rule, schedule.policy
    last = _last_missed(schedule, at, now)
    match policy.misfire_policy:
        case MisfirePolicy.SKIP:
            yield _skips(rule, at, last, SkipReason.MISSED)
        case MisfirePolicy.COALESCE:
            if _first_in_time(policy, rule, at, now) > last:
                yield _skips(rule, at, last, SkipReason.TOO_LATE)
                return
            earlier = previous_fire(rule, last)
            if earlier is not None and earlier >= at:
                yield _skips(rule, at, earlier, SkipReason.COALESCED)
            yield Decision(last, Action.FIRE, triggered_by=CATCH_UP)
        case MisfirePolicy.ALL:
            yield from _each(schedule, at, last, now, room)
        case _:
            assert_never(policy.misfire_policy)


def _each(schedule: Schedule, at: datetime, last: datetime, now: datetime, room: int) -> Iterator[Decision]:
    """A run for each missed tick that is neither too old nor one too many, as far as there is room."""
    rule, policy = schedule.rule, schedule.policy
    in_time = _first_in_time(policy, rule, at, now)
    if in_time > at:
        until = last if in_time > last else _before(rule, in_time)
        yield _skips(rule, at, until, SkipReason.TOO_LATE)
    if in_time > last:
        return
    newest = last
    for _ in range(policy.misfire_max_runs - 1):
        earlier = previous_fire(rule, newest)
        if earlier is None or earlier < in_time:
            newest = in_time
            break
        newest = earlier
    if newest > in_time:
        yield _skips(rule, in_time, _before(rule, newest), SkipReason.TOO_MANY)
    tick: datetime | None = newest
    for _ in range(room):
        if tick is None or tick > last:
            break
        yield Decision(tick, Action.FIRE, triggered_by=CATCH_UP)
        tick = next_fire(rule, tick)


def _last_missed(schedule: Schedule, at: datetime, now: datetime) -> datetime:
    """The newest tick that was due before `now` − GRACE; `at` is one."""
    last = previous_fire(schedule.rule, now - GRACE)
    if last is not None and last > at and due_at(schedule, last) >= now - GRACE:
        last = previous_fire(schedule.rule, last)
    return at if last is None or last < at else last


def _first_in_time(policy: Policy, rule: Rule, at: datetime, now: datetime) -> datetime:
    """The first tick from `at` on that is not too late for a run; `now` when there is none."""
    if not policy.misfire_max_lateness_secs:
        return at
    oldest = now - timedelta(seconds=policy.misfire_max_lateness_secs)
    if oldest <= at:
        return at
    found = next_fire(rule, oldest - timedelta(microseconds=1))
    return now if found is None else found


def _before(rule: Rule, tick: datetime) -> datetime:
    earlier = previous_fire(rule, tick)
    assert earlier is not None
    return earlier


def _skips(rule: Rule, first: datetime, last: datetime, reason: SkipReason) -> Decision:
    count = count_fires(rule, first, last)
    return Decision(last, Action.SKIP, reason, CATCH_UP, first_fire_at=first, count=count)


def _overlapped(policy: OverlapPolicy, tick: Decision, state: State) -> tuple[Decision, State]:
    """The tick after the overlap policy has been asked, and the state that it leaves."""
    if tick.action is Action.SKIP:
        return tick, state
    if policy is OverlapPolicy.ALLOW or state.live == 0:
        return tick, replace(state, live=state.live + 1)
    match policy:
        case OverlapPolicy.SKIP:
            return replace(tick, action=Action.SKIP, reason=SkipReason.OVERLAP), state
        case OverlapPolicy.CANCEL_RUNNING:
            return replace(tick, cancel_running=True), replace(state, live=1, held=False)
        case OverlapPolicy.QUEUE_ONE if state.held:
            return replace(tick, action=Action.SKIP, reason=SkipReason.OVERLAP), state
        case OverlapPolicy.QUEUE_ONE:
            return replace(tick, after_running=True), replace(state, live=state.live + 1, held=True)
        case _:
            assert_never(policy)
