"""Schedules on a virtual clock: what they would do from one instant to another, with runs of an assumed length.

The decisions are those of `schedule.decide`, at the instants at which a daemon would make them; only the runs are
assumed. Schedules do not influence each other, so each is played on its own and the stories are put together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from strait_core import window
from strait_core.cron import Expression
from strait_core.deadline import breaches, silence
from strait_core.firing import next_fire
from strait_core.schedule import Action, Decision, Schedule, State, decide, due_at

MAX_EVENTS: Final = 100_000
# A backlog is drained so many runs at a time, and so often.
_ROOM: Final = 10
_PACE: Final = timedelta(seconds=1)
_TICK: Final = timedelta(microseconds=1)


class EventKind(StrEnum):
    """What happens to a tick or to its run."""

    FIRED = "fired"
    SKIPPED = "skipped"
    HELD = "held"
    STARTED = "started"
    CANCELED = "canceled"
    FINISHED = "finished"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Actor:
    """A schedule in a simulation: its name, how long its runs take, its job's execution window."""

    name: str
    schedule: Schedule
    duration: timedelta = timedelta(seconds=1)
    window: Expression | None = None
    window_zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that would happen: `fire_at` names the tick, `count` how many ticks a skip stands for."""

    at: datetime
    name: str
    kind: EventKind
    fire_at: datetime
    note: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class Tally:
    """One schedule's figures: ticks that fired, were caught up on, were skipped by reason; the most runs at once."""

    name: str
    fired: int
    caught_up: int
    held: int
    canceled: int
    late: int
    skipped: dict[str, int]
    most_at_once: int


@dataclass(frozen=True, slots=True)
class Story:
    """All that would happen, in order; `cut` says that it was too much and ends early."""

    events: tuple[Event, ...]
    tallies: tuple[Tally, ...]
    cut: bool


@dataclass(slots=True)
class _Run:
    fire_at: datetime
    starts: datetime
    ends: datetime
    waits: bool
    succeeded: bool = True


@dataclass(slots=True)
class _Stage:
    """One schedule being played."""

    actor: Actor
    events: list[Event] = field(default_factory=list)
    live: list[_Run] = field(default_factory=list)
    ended: list[_Run] = field(default_factory=list)

    def say(self, at: datetime, kind: EventKind, fire_at: datetime, note: str = "", count: int = 1) -> None:
        self.events.append(Event(at, self.actor.name, kind, fire_at, note, count))


def simulate(
    actors: Iterable[Actor],
    start: datetime,
    end: datetime,
    *,
    outages: Sequence[tuple[datetime, datetime]] = (),
    most: int = MAX_EVENTS,
) -> Story:
    """What happens from `start` until `end` when no daemon is up during `outages`; at most about `most` events."""
    stages, left = [], most
    for actor in actors:
        stage = _Stage(actor)
        _play(stage, start, end, sorted(outages), left)
        stages.append(stage)
        left -= len(stage.events)
        if left <= 0:
            break
    told = (event for stage in stages for event in stage.events if event.at < end)
    # What ends at an instant ends before anything begins there.
    events = sorted(told, key=lambda event: (event.at, event.kind is not EventKind.FINISHED))
    return Story(tuple(events[:most]), tuple(_tally(stage) for stage in stages), cut=left <= 0)


def _play(
    stage: _Stage, start: datetime, end: datetime, outages: Sequence[tuple[datetime, datetime]], most: int
) -> None:
    schedule = stage.actor.schedule
    tick, now = next_fire(schedule.rule, start - _TICK), start
    while tick is not None and len(stage.events) < most:
        now = _up(max(now, due_at(schedule, tick)), outages)
        if now >= end:
            break
        _settle(stage, now)
        held = any(run.waits and run.starts > now for run in stage.live)
        done = decide(schedule, State(tick, len(stage.live), held), now, room=_ROOM)
        for decision in done.decided:
            _apply(stage, decision, now)
        tick, now = done.next_fire_at, now + _PACE
    _settle(stage, end)
    stage.ended += stage.live
    _watch(stage, start, end)


def _up(at: datetime, outages: Sequence[tuple[datetime, datetime]]) -> datetime:
    """The first instant from `at` on at which a daemon is up."""
    for begin, over in outages:
        if begin <= at < over:
            at = over
    return at


def _settle(stage: _Stage, now: datetime) -> None:
    """End the runs whose time has come."""
    for run in [run for run in stage.live if run.ends <= now]:
        stage.live.remove(run)
        stage.ended.append(run)
        stage.say(run.ends, EventKind.FINISHED, run.fire_at)


def _apply(stage: _Stage, decision: Decision, now: datetime) -> None:
    if decision.action is Action.SKIP:
        stage.say(now, EventKind.SKIPPED, decision.fire_at, str(decision.reason), decision.count)
        return
    if decision.cancel_running:
        for run in stage.live:
            run.ends, run.succeeded = now, False
            run.starts = min(run.starts, now)
            stage.say(now, EventKind.CANCELED, run.fire_at, "replaced by the next")
        stage.ended += stage.live
        stage.live = []
    stage.say(now, EventKind.FIRED, decision.fire_at, "" if decision.triggered_by == "cron" else decision.triggered_by)
    released = max((run.ends for run in stage.live), default=now) if decision.after_running else now
    if released > now:
        stage.say(now, EventKind.HELD, decision.fire_at, f"the one before runs until {released.isoformat()}")
    begins = _opening(stage.actor, released)
    if begins > released:
        stage.say(released, EventKind.HELD, decision.fire_at, f"window closed until {begins.isoformat()}")
    stage.live.append(_Run(decision.fire_at, begins, begins + stage.actor.duration, decision.after_running))
    stage.say(begins, EventKind.STARTED, decision.fire_at)


def _watch(stage: _Stage, start: datetime, end: datetime) -> None:
    """Tell of every deadline that was broken: of runs that came late, and of stretches without a success."""
    policy = stage.actor.schedule.policy
    for run in stage.ended:
        for breach in breaches(policy, run.fire_at, run.starts, run.ends, end):
            stage.say(breach.at, EventKind.LATE, run.fire_at, breach.deadline.value)
    known = start
    for finished in [*sorted(run.ends for run in stage.ended if run.succeeded), end]:
        quiet = silence(policy, known, min(finished, end), stage.actor.schedule.rule)
        if quiet is not None:
            stage.say(quiet.at, EventKind.LATE, quiet.at, quiet.deadline.value)
        known = finished


def _opening(actor: Actor, at: datetime) -> datetime:
    if actor.window is None:
        return at
    return max(at, window.open_interval(actor.window, actor.window_zone, at)[0])


def _tally(stage: _Stage) -> Tally:
    kinds = Counter(event.kind for event in stage.events)
    skipped: Counter[str] = Counter()
    for event in stage.events:
        if event.kind is EventKind.SKIPPED:
            skipped[event.note] += event.count
    edges = sorted(edge for run in stage.ended if run.ends > run.starts for edge in ((run.starts, 1), (run.ends, -1)))
    at_once = most = 0
    for _, change in edges:
        at_once += change
        most = max(most, at_once)
    caught_up = sum(1 for event in stage.events if event.kind is EventKind.FIRED and event.note)
    return Tally(
        stage.actor.name,
        kinds[EventKind.FIRED],
        caught_up,
        kinds[EventKind.HELD],
        kinds[EventKind.CANCELED],
        kinds[EventKind.LATE],
        dict(skipped),
        most,
    )
