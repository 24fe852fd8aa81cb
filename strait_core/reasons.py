"""Why a run is not running: from what the store knows of it to an ordered list of reasons, in words. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from strait_core.deadline import Deadline
from strait_core.run import TERMINAL, Status

# Places in the queue are counted so far.
MOST_AHEAD: Final = 1_000


class Code(StrEnum):
    """What a reason is about; the order here is the order in a list."""

    ENDED = "ended"
    EXECUTING = "executing"
    CLAIMED = "claimed"
    EVENT = "event"
    CHILD = "child"
    EXPIRED = "expired"
    DELAYED = "delayed"
    RETRY = "retry"
    DISABLED = "disabled"
    PAUSED = "paused"
    WINDOW = "window"
    RATE = "rate"
    RATE_KEY = "rate_key"
    CONCURRENCY = "concurrency"
    CONCURRENCY_KEY = "concurrency_key"
    BREAKER = "breaker"
    NO_WORKER = "no_worker"
    WORKERS_BUSY = "workers_busy"
    AHEAD = "ahead"
    READY = "ready"
    LATE = "late"


_CAME: Final = "nothing: what it waited for has come, and it goes back to the queue in a moment"
# What keeps a queued run from being claimed, whatever the workers do.
GATES: Final = frozenset(
    {
        Code.DISABLED, Code.PAUSED, Code.WINDOW, Code.RATE, Code.RATE_KEY, Code.CONCURRENCY, Code.CONCURRENCY_KEY,
        Code.BREAKER,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that holds a run: until when, if that is known, and which runs it has to do with."""

    code: Code
    text: str
    until: datetime | None = None
    run_ids: tuple[str, ...] = ()
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Awaited:
    """Something that a waiting run waits for: the key of an event, or the id of another run."""

    event_key: str | None
    run_id: str | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class EmptyBucket:
    """A named rate limit that has no token for the run: its name, the run's key, and when the next token comes."""

    name: str
    key: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Gate:
    """How the job's gate stands, as the claim sees it: which of GATES are closed, and what there is to say of each."""

    job: str
    closed: frozenset[Code] = frozenset()
    pause_reason: str | None = None
    # When the execution window opens next.
    opens_at: datetime | None = None
    # How many attempts may be live at once, and the runs that have them, the first ones.
    most: int | None = None
    holders: tuple[str, ...] = ()
    # The same for the run's key.
    key: str | None = None
    most_of_key: int | None = None
    key_holders: tuple[str, ...] = ()
    # When the rate limit has its next token.
    token_at: datetime | None = None
    # The named rate limits that hold the run.
    empty: tuple[EmptyBucket, ...] = ()
    breaker_until: datetime | None = None
    # The run that finds out whether the endpoint is well again.
    probe: str | None = None
    # The first reason that the claim itself has; None = it would take the run.
    first: str | None = None


@dataclass(frozen=True, slots=True)
class Late:
    """A deadline of the run's tick that was broken: which, the tick, until when it would have been kept."""

    deadline: Deadline
    since: datetime
    limit_at: datetime


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers that are alive and take runs: how many, their slots, and how many of these are in use."""

    workers: int
    slots: int
    used: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What the store knows of a run; `due_at` is the time it waits for, `outlived` that its time to live is over."""

    status: Status
    attempt: int
    max_attempts: int
    due_at: datetime | None
    gate: Gate
    outlived: bool = False
    awaits: Sequence[Awaited] = ()
    ahead: int = 0
    late: Sequence[Late] = ()
    fleet: Fleet = field(default=Fleet(0, 0, 0))


def reasons_of(facts: Facts) -> list[Reason]:
    """Everything that keeps the run from running, the farthest first; for a run that runs or has ended, that.

    Last comes what it has been late for.
    """
    return [*_standing(facts), *map(late_reason, facts.late)]


def late_reason(one: Late) -> Reason:
    """What is said of a deadline that a run of a schedule has broken, be it a job's or a workflow's."""
    deed = "start" if one.deadline is Deadline.START else "end"
    text = f"it is late: by {one.deadline} it was to {deed} until {one.limit_at:%Y-%m-%d %H:%M:%SZ}"
    return Reason(Code.LATE, text)


def _standing(facts: Facts) -> list[Reason]:
    status = facts.status
    if status in TERMINAL:
        return [Reason(Code.ENDED, f"it has ended: it is {status}")]
    if status is Status.EXECUTING:
        return [Reason(Code.EXECUTING, f"it is running: attempt {facts.attempt} of {facts.max_attempts}")]
    if status is Status.DEQUEUED:
        return [Reason(Code.CLAIMED, "a worker has taken it and is about to start it")]
    if status is Status.WAITING:
        return [_awaited(one) for one in facts.awaits] or [Reason(Code.READY, _CAME)]
    if facts.outlived:
        return [Reason(Code.EXPIRED, "its time to live is over: it does not start any more, and is about to expire")]
    found = [*_time(facts), *_gates(facts.gate)]
    if not found:
        found = _queue(facts)
    return found or [Reason(Code.READY, "nothing: the next free worker takes it")]


def _awaited(one: Awaited) -> Reason:
    if one.event_key is not None:
        return Reason(Code.EVENT, f"it waits for the event {one.event_key!r}", one.until)
    return Reason(Code.CHILD, f"it waits for the end of {one.run_id}", one.until, (one.run_id or "",))


def _time(facts: Facts) -> list[Reason]:
    if facts.due_at is None:
        return []
    if facts.status is Status.DELAYED:
        return [Reason(Code.DELAYED, "it is not to start before its time", facts.due_at)]
    text = f"attempt {facts.attempt} of {facts.max_attempts} failed; the next one is due later"
    return [Reason(Code.RETRY, text, facts.due_at)]


def _gates(gate: Gate) -> list[Reason]:
    """The closed gates."""
    found = [reason for code in Code if code in gate.closed for reason in _told(gate, code)]
    if not found and gate.first is not None:
        # Whatever else closes the gate for a claim is told at least by its name.
        found.append(Reason(Code(gate.first), f"job {gate.job} starts nothing now: {gate.first}"))
    return found


def _told(gate: Gate, code: Code) -> list[Reason]:
    if code is not Code.RATE_KEY:
        return [_closed(gate, code)]
    return [
        Reason(code, f"rate limit {one.name} of key {one.key!r} of job {gate.job} is used up", one.until)
        for one in gate.empty
    ]


def _closed(gate: Gate, code: Code) -> Reason:
    job = f"job {gate.job}"
    until: datetime | None = None
    run_ids: tuple[str, ...] = ()
    match code:
        case Code.PAUSED:
            text = f"{job} is paused{f': {gate.pause_reason}' if gate.pause_reason else ''}"
        case Code.WINDOW:
            text, until = f"the execution window of {job} is closed", gate.opens_at
        case Code.CONCURRENCY:
            text, run_ids = f"{job} {_full(gate.most, gate.holders)}", gate.holders
        case Code.CONCURRENCY_KEY:
            text = f"{job}, with the key {gate.key!r}, {_full(gate.most_of_key, gate.key_holders)}"
            run_ids = gate.key_holders
        case Code.RATE:
            text, until = f"{job} has started as many runs as its rate limit allows", gate.token_at
        case Code.BREAKER if gate.probe is not None:
            text = f"the endpoint of {job} keeps failing; {gate.probe} finds out whether it is well again"
            run_ids = (gate.probe,)
        case Code.BREAKER:
            text, until = f"the endpoint of {job} keeps failing and is left alone", gate.breaker_until
        case _:
            text = f"{job} is {code}"
    return Reason(code, text, until, run_ids)


def _full(most: int | None, holders: Sequence[str]) -> str:
    more = (most or 0) - len(holders)
    return f"runs {most} at once already: {', '.join(holders)}" + (f" and {more} more" if more > 0 else "")


def _queue(facts: Facts) -> list[Reason]:
    """What the workers and the other runs have to do with it."""
    fleet, found = facts.fleet, []
    if not fleet.workers:
        found.append(Reason(Code.NO_WORKER, "no worker is running, or all of them are draining"))
    elif fleet.used >= fleet.slots:
        text = f"all {fleet.slots} slots of the {fleet.workers} running workers are taken"
        found.append(Reason(Code.WORKERS_BUSY, text, count=fleet.slots))
    if facts.ahead:
        more = " or more" if facts.ahead >= MOST_AHEAD else ""
        text = f"{facts.ahead}{more} {'run is' if facts.ahead == 1 else 'runs are'} ahead of it in the queue"
        found.append(Reason(Code.AHEAD, text, count=facts.ahead))
    return found
