"""The path of a run, rebuilt from the rows that a store keeps of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from strait_core.path import CREATED, RELEASED, Closed, Move, Standing, Step, path_of
from strait_core.run import TERMINAL, TRANSITIONS, Event, Status

START = datetime(2030, 1, 1, tzinfo=UTC)
# Moves that no first-round program makes: nothing records them yet.
LATER = {Event.WAIT, Event.RESUME}
RARE = {Event.CANCEL, Event.EXPIRE, Event.REPLAY}
CLOSING = {event for (at, event), _ in TRANSITIONS.items() if at is Status.EXECUTING} - LATER


def at(second: int) -> datetime:
    """So many seconds after the beginning."""
    return START + timedelta(seconds=second)


@dataclass
class Life:
    """A run that is moved by hand and keeps the rows that the store would keep."""

    status: Status
    seq: int = 1
    attempt: int = 0
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    attempts: list[Closed] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    walked: list[tuple[int, str, Status, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.delayed = self.status is Status.DELAYED
        self.walked.append((1, CREATED, self.status, 0))

    def do(self, event: Event) -> None:
        was, self.status = self.status, TRANSITIONS[self.status, event]
        self.seq += 1
        now = at(self.seq)
        if event is Event.CLAIM:
            self.claimed_at = now
        if event is Event.START:
            self.attempt += 1
            self.started_at = now
        if was is Status.EXECUTING:
            self._close(event, now)
        if event in RARE or (was is Status.DEQUEUED and event in {Event.RELEASE, Event.SYSTEM_FAIL}):
            reason = was.value if event is Event.REPLAY else "why"
            self.moves.append(Move(self.seq, event, self.status, self.attempt, now, reason))
        self.walked.append((self.seq, event, self.status, self.attempt))

    def _close(self, event: Event, now: datetime) -> None:
        assert self.started_at is not None
        outcome = {Event.RETRY: "timeout", Event.RELEASE: RELEASED}.get(event, self.status.value)
        self.attempts.append(
            Closed(self.attempt, self.seq, outcome, self.claimed_at, self.started_at, now, "HTTP 500: no")
        )

    @property
    def standing(self) -> Standing:
        live = self.status in {Status.DEQUEUED, Status.EXECUTING}
        return Standing(
            self.seq,
            self.status,
            self.attempt,
            at(1),
            at(2) if self.delayed else None,
            self.claimed_at if live else None,
            self.started_at,
        )

    @property
    def path(self) -> list[Step]:
        return path_of(self.standing, self.attempts, self.moves)


@given(st.booleans(), st.lists(st.integers(min_value=0, max_value=1_000), max_size=40))
def test_any_life_is_rebuilt_step_by_step(delayed: bool, choices: list[int]):
    """Whatever a run went through, the rows tell every step of it: seq, event, state and attempt."""
    life = Life(Status.DELAYED if delayed else Status.QUEUED)
    for choice in choices:
        events = sorted(event for where, event in TRANSITIONS if where is life.status and event not in LATER)
        if not events:
            break
        life.do(events[choice % len(events)])
    assert [(step.seq, step.event, step.status, step.attempt) for step in life.path] == life.walked


@given(st.lists(st.integers(min_value=0, max_value=1_000), max_size=40))
def test_time_never_runs_backwards(choices: list[int]):
    """Clocks of several processes disagree a little; the path does not show it."""
    life = Life(Status.QUEUED)
    for choice in choices:
        events = sorted(event for where, event in TRANSITIONS if where is life.status and event not in LATER)
        if not events:
            break
        life.do(events[choice % len(events)])
    skewed = [
        Closed(a.number, a.seq, a.outcome, a.claimed_at, a.started_at, a.finished_at - timedelta(seconds=3), a.error)
        for a in life.attempts
    ]
    times = [step.at for step in path_of(life.standing, skewed, life.moves)]
    assert times == sorted(times)


def test_a_fresh_run_has_one_step():
    """A run that was just made has been nowhere else."""
    assert [(s.seq, s.event, s.status, s.at) for s in Life(Status.QUEUED).path] == [(1, "create", "queued", at(1))]


def test_a_retry_is_told_from_the_end_it_is_named_after():
    """An attempt that timed out and was retried did not end its run, whatever its outcome is called."""
    life = Life(Status.QUEUED)
    for event in (Event.CLAIM, Event.START, Event.RETRY, Event.CLAIM, Event.START, Event.TIME_OUT):
        life.do(event)
    assert [step.event for step in life.path][3:] == ["retry", "claim", "start", "time_out"]
    assert [step.reason for step in life.path if step.event == "retry"] == ["HTTP 500: no"]


def test_a_promotion_shows_the_time_it_was_due():
    """Nothing records when a delayed run was promoted; what it was waiting for is known."""
    life = Life(Status.DELAYED)
    life.do(Event.PROMOTE)
    assert [(s.event, s.at) for s in life.path] == [("create", at(1)), ("promote", at(2))]


def test_a_claim_given_back_shows_the_time_of_its_end():
    """A released claim keeps no time of its own."""
    life = Life(Status.QUEUED)
    for event in (Event.CLAIM, Event.RELEASE, Event.CLAIM):
        life.do(event)
    steps = life.path
    assert [s.event for s in steps] == ["create", "claim", "release", "claim"]
    assert steps[1].at == steps[2].at == at(3)


def test_what_is_read_late_is_left_out():
    """Rows written after the run was read belong to a later look."""
    life = Life(Status.QUEUED)
    for event in (Event.CLAIM, Event.START):
        life.do(event)
    early = life.standing
    life.do(Event.COMPLETE)
    steps = path_of(early, life.attempts, life.moves)
    assert [step.event for step in steps] == ["create", "claim", "start"]
    assert early.status not in TERMINAL


def test_lost_rows_leave_a_gap_and_no_guess():
    """When the rows of an attempt are gone, the steps that nothing tells of are left out."""
    life = Life(Status.QUEUED)
    for event in (Event.CLAIM, Event.START, Event.RETRY, Event.CLAIM, Event.START, Event.COMPLETE):
        life.do(event)
    steps = path_of(life.standing, life.attempts[1:], life.moves)
    assert [(s.seq, s.event) for s in steps][-3:] == [(5, "claim"), (6, "start"), (7, "complete")]
    assert 4 not in {step.seq for step in steps}
