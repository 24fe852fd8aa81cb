"""The run: its 13 states, the one table of moves between them, and what an attempt's outcome decides.

`TRANSITIONS` is the only place where moves are written down. The terminal set, the diagram in the docs, the property
tests, the invariants checker and the check of every SQL guard derive from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Status(StrEnum):
    """Where a run is."""

    DELAYED = "delayed"
    QUEUED = "queued"
    DEQUEUED = "dequeued"
    EXECUTING = "executing"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    SYSTEM_FAILED = "system_failed"
    CANCELED = "canceled"
    EXPIRED = "expired"
    DEAD_LETTER = "dead_letter"


class Event(StrEnum):
    """What moves a run."""

    PROMOTE = "promote"
    CLAIM = "claim"
    START = "start"
    RELEASE = "release"
    COMPLETE = "complete"
    RETRY = "retry"
    FAIL = "fail"
    DEAD_LETTER = "dead_letter"
    TIME_OUT = "time_out"
    CRASH = "crash"
    SYSTEM_FAIL = "system_fail"
    WAIT = "wait"
    RESUME = "resume"
    CANCEL = "cancel"
    EXPIRE = "expire"
    REPLAY = "replay"


_S, _E = Status, Event

TRANSITIONS: Final[Mapping[tuple[Status, Event], Status]] = {
    (_S.DELAYED, _E.PROMOTE): _S.QUEUED,
    (_S.DELAYED, _E.CANCEL): _S.CANCELED,
    (_S.DELAYED, _E.EXPIRE): _S.EXPIRED,
    (_S.QUEUED, _E.CLAIM): _S.DEQUEUED,
    (_S.QUEUED, _E.CANCEL): _S.CANCELED,
    (_S.QUEUED, _E.EXPIRE): _S.EXPIRED,
    (_S.DEQUEUED, _E.START): _S.EXECUTING,
    (_S.DEQUEUED, _E.RELEASE): _S.QUEUED,
    (_S.DEQUEUED, _E.CANCEL): _S.CANCELED,
    (_S.DEQUEUED, _E.SYSTEM_FAIL): _S.SYSTEM_FAILED,
    (_S.EXECUTING, _E.COMPLETE): _S.COMPLETED,
    (_S.EXECUTING, _E.FAIL): _S.FAILED,
    (_S.EXECUTING, _E.TIME_OUT): _S.TIMED_OUT,
    (_S.EXECUTING, _E.CRASH): _S.CRASHED,
    (_S.EXECUTING, _E.SYSTEM_FAIL): _S.SYSTEM_FAILED,
    (_S.EXECUTING, _E.CANCEL): _S.CANCELED,
    (_S.EXECUTING, _E.WAIT): _S.WAITING,
    (_S.EXECUTING, _E.RETRY): _S.QUEUED,
    (_S.EXECUTING, _E.RELEASE): _S.QUEUED,
    (_S.EXECUTING, _E.DEAD_LETTER): _S.DEAD_LETTER,
    (_S.WAITING, _E.RESUME): _S.QUEUED,
    (_S.WAITING, _E.COMPLETE): _S.COMPLETED,
    (_S.WAITING, _E.FAIL): _S.FAILED,
    (_S.WAITING, _E.CANCEL): _S.CANCELED,
    (_S.WAITING, _E.TIME_OUT): _S.TIMED_OUT,
    (_S.DEAD_LETTER, _E.REPLAY): _S.QUEUED,
    (_S.FAILED, _E.REPLAY): _S.QUEUED,
    (_S.TIMED_OUT, _E.REPLAY): _S.QUEUED,
    (_S.CRASHED, _E.REPLAY): _S.QUEUED,
    (_S.SYSTEM_FAILED, _E.REPLAY): _S.QUEUED,
}

INITIAL: Final = frozenset({Status.QUEUED, Status.DELAYED})
REPLAYABLE: Final = frozenset(status for status, event in TRANSITIONS if event is Event.REPLAY)
# A state that only a replay (or nothing) leaves: final for watchers, webhooks, workflows and retention.
TERMINAL: Final = frozenset(
    status for status in Status if all(event is Event.REPLAY for at, event in TRANSITIONS if at is status)
)
ACTIVE: Final = frozenset(Status) - TERMINAL
CANCELABLE: Final = frozenset(status for status, event in TRANSITIONS if event is Event.CANCEL)
# Kept longer, because somebody has to look at them (RETENTION_LONG_DAYS).
LONG_KEPT: Final = frozenset({Status.TIMED_OUT, Status.CRASHED, Status.SYSTEM_FAILED, Status.DEAD_LETTER})


def next_status(status: Status, event: Event) -> Status | None:
    """Where `event` takes a run that is in `status`; None when the table has no such move."""
    return TRANSITIONS.get((status, event))


class OutcomeKind(StrEnum):
    """How an attempt ended, before any policy is applied."""

    SUCCESS = "success"
    ERROR = "error"
    TIMEOUT = "timeout"
    LOST = "lost"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt; `final` means that the endpoint, or a rule, said not to retry."""

    kind: OutcomeKind
    final: bool = False


# What an attempt that may not be repeated becomes.
_EXHAUSTED: Final[Mapping[OutcomeKind, Event]] = {
    OutcomeKind.ERROR: Event.DEAD_LETTER,
    OutcomeKind.TIMEOUT: Event.TIME_OUT,
    OutcomeKind.LOST: Event.CRASH,
    OutcomeKind.FAULT: Event.SYSTEM_FAIL,
}


def decide(outcome: Outcome, *, attempt: int, attempt_base: int, max_attempts: int, poisoned: bool = False) -> Event:
    """What the end of attempt number `attempt` does to its run.

    `attempt_base` is the attempt number at which the present allowance of `max_attempts` began. `poisoned`: the same
    error has come so often in a row that trying again is no use.
    """
    if outcome.kind is OutcomeKind.SUCCESS:
        return Event.COMPLETE
    if outcome.final:
        return Event.FAIL
    if poisoned:
        return Event.DEAD_LETTER
    if attempt - attempt_base < max_attempts:
        return Event.RETRY
    return _EXHAUSTED[outcome.kind]


def mermaid() -> str:
    """The state diagram of the docs, derived from the table."""
    lines = ["stateDiagram-v2"]
    lines += [f"    [*] --> {status.value}" for status in Status if status in INITIAL]
    lines += [f"    {at.value} --> {to.value}: {event.value}" for (at, event), to in TRANSITIONS.items()]
    return "\n".join(lines)
