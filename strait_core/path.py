"""The path a run walked through its states, rebuilt from what is kept: the run, its attempts, its rare moves.

An ordinary move leaves no row of its own. A closed attempt tells of a claim, a start and an end; a rare move (cancel,
replay, release, …) has a row with its seq; whatever lies between two of these is the one way forward that the table of
moves has from there: delayed → queued → dequeued → executing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from strait_core.run import TERMINAL, TRANSITIONS, Event, Status

CREATED: Final = "create"
# Moves the time that a run waits for, not its state; it has a seq like any move.
RESCHEDULED: Final = "reschedule"
# The outcome of an attempt that a draining worker gave back.
RELEASED: Final = "released"
# The outcome of an attempt after which the run waits.
WAITED: Final = "waited"
_FORWARD: Final[Mapping[Status, Event]] = {
    Status.DELAYED: Event.PROMOTE,
    Status.QUEUED: Event.CLAIM,
    Status.DEQUEUED: Event.START,
}
_ENDS: Final[Mapping[Status, Event]] = {to: event for (at, event), to in TRANSITIONS.items() if at is Status.EXECUTING}


# Named tuples: the feed makes a dozen of these for each run, and a frozen dataclass takes three times as long.
class Standing(NamedTuple):
    """A run as it stands; `claimed_at` and `started_at` are those of its latest claim and start."""

    seq: int
    status: Status
    attempt: int
    created_at: datetime
    scheduled_at: datetime | None
    claimed_at: datetime | None
    started_at: datetime | None


class Closed(NamedTuple):
    """A closed attempt; `seq` is the run's after the move that closed it."""

    number: int
    seq: int
    outcome: str
    claimed_at: datetime | None
    started_at: datetime
    finished_at: datetime
    error: str | None


class Move(NamedTuple):
    """A rare move, as its row tells it."""

    seq: int
    event: str
    status: Status
    attempt: int
    at: datetime
    reason: str | None


class Step(NamedTuple):
    """One step of the path: after `event`, at seq `seq`, the run was in `status`."""

    seq: int
    event: str
    status: Status
    at: datetime
    attempt: int
    reason: str | None = None


def path_of(run: Standing, attempts: Sequence[Closed], moves: Sequence[Move]) -> list[Step]:
    """Every step from the creation to where the run stands, by seq.

    What was read after `run` and lies beyond its seq is left out. A claim that was given back kept no time: it shows
    that of the next step. No step is earlier than the one before it.
    """
    known = _known(run, attempts, moves)
    steps = [_creation(run)]
    for seq in range(2, run.seq + 1):
        step = known.get(seq) or _forward(steps[-1], seq, run, known)
        if step is not None:
            steps.append(_not_before(steps[-1].at, step))
    return steps


def _creation(run: Standing) -> Step:
    later = run.scheduled_at is not None and run.scheduled_at > run.created_at
    return Step(1, CREATED, Status.DELAYED if later else Status.QUEUED, run.created_at, 0)


def _known(run: Standing, attempts: Sequence[Closed], moves: Sequence[Move]) -> dict[int, Step]:
    """The steps that some row tells of; a rare move knows its own seq better than the attempt it closed."""
    ends = {move.seq - 1: move.reason for move in moves if move.event == Event.REPLAY}
    if run.status in TERMINAL:
        ends[run.seq] = run.status
    known: dict[int, Step] = {}
    for attempt in attempts:
        for step in _attempt_steps(attempt, ends):
            known[step.seq] = step
    for step in _live_steps(run):
        known[step.seq] = step
    for move in moves:
        known[move.seq] = Step(move.seq, move.event, move.status, move.at, move.attempt, move.reason)
    return known


def _attempt_steps(attempt: Closed, ends: Mapping[int, str | None]) -> list[Step]:
    seq, number = attempt.seq, attempt.number
    steps = [Step(seq - 1, Event.START, Status.EXECUTING, attempt.started_at, number)]
    if attempt.claimed_at is not None:
        steps.append(Step(seq - 2, Event.CLAIM, Status.DEQUEUED, attempt.claimed_at, number - 1))
    status = Status(ends[seq] or attempt.outcome) if seq in ends else Status.QUEUED
    if attempt.outcome == WAITED:
        event, status = Event.WAIT, Status.WAITING
    elif status is Status.QUEUED:
        event = Event.RELEASE if attempt.outcome == RELEASED else Event.RETRY
    else:
        event = _ENDS[status]
    steps.append(Step(seq, event, status, attempt.finished_at, number, attempt.error))
    return steps


def _live_steps(run: Standing) -> list[Step]:
    steps: list[Step] = []
    executing = run.status is Status.EXECUTING
    if executing and run.started_at is not None:
        steps.append(Step(run.seq, Event.START, Status.EXECUTING, run.started_at, run.attempt))
    if run.claimed_at is not None and (executing or run.status is Status.DEQUEUED):
        seq, attempt = run.seq - executing, run.attempt - executing
        steps.append(Step(seq, Event.CLAIM, Status.DEQUEUED, run.claimed_at, attempt))
    return steps


def _forward(last: Step, seq: int, run: Standing, known: Mapping[int, Step]) -> Step | None:
    """The ordinary move that no row tells of; None when the rows that would tell more are gone."""
    event = _FORWARD.get(last.status)
    if event is None:
        return None
    later = next((known[s].at for s in range(seq + 1, run.seq + 1) if s in known), last.at)
    at = run.scheduled_at if event is Event.PROMOTE and run.scheduled_at is not None else later
    attempt = last.attempt + (event is Event.START)
    return Step(seq, event, TRANSITIONS[last.status, event], at, attempt)


def _not_before(earliest: datetime, step: Step) -> Step:
    if step.at >= earliest:
        return step
    return step._replace(at=earliest)
