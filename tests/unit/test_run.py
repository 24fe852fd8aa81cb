"""The table of moves, against the product's own table written out a second time by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strait_core import run
from strait_core.run import Event, Outcome, OutcomeKind, Status, decide, next_status

# From → to, as the product describes its states: the terminal ones are left by a replay or by nothing.
MOVES = {
    "delayed": {"queued", "canceled", "expired"},
    "queued": {"dequeued", "canceled", "expired"},
    "dequeued": {"executing", "queued", "canceled", "system_failed"},
    "executing": {
        "completed", "failed", "timed_out", "crashed", "system_failed", "canceled", "waiting", "queued", "dead_letter",
    },
    "waiting": {"queued", "completed", "failed", "canceled", "timed_out"},
    "dead_letter": {"queued"},
    "failed": {"queued"},
    "timed_out": {"queued"},
    "crashed": {"queued"},
    "system_failed": {"queued"},
    "completed": set(),
    "canceled": set(),
    "expired": set(),
}  # fmt: skip
# What each event does, wherever it may happen.
LEADS_TO = {
    "promote": "queued", "claim": "dequeued", "start": "executing", "release": "queued", "complete": "completed",
    "retry": "queued", "fail": "failed", "dead_letter": "dead_letter", "time_out": "timed_out", "crash": "crashed",
    "system_fail": "system_failed", "wait": "waiting", "resume": "queued", "cancel": "canceled", "expire": "expired",
    "replay": "queued",
}  # fmt: skip
TERMINAL = {"completed", "failed", "timed_out", "crashed", "system_failed", "canceled", "expired", "dead_letter"}


def test_the_states_are_the_thirteen_of_the_product():
    """No state more, none less."""
    assert {status.value for status in Status} == set(MOVES)
    assert len(Status) == 13


def test_the_table_has_exactly_the_moves_of_the_product():
    """Every pair of states: a move exists here if and only if the product names it."""
    table: dict[str, set[str]] = {status.value: set() for status in Status}
    for (at, _), to in run.TRANSITIONS.items():
        table[at.value].add(to.value)
    assert table == MOVES


def test_an_event_means_one_thing():
    """An event leads to the same state from wherever it may happen."""
    assert {event.value for event in Event} == set(LEADS_TO)
    assert {(event.value, to.value) for (_, event), to in run.TRANSITIONS.items()} == set(LEADS_TO.items())


def test_the_terminal_states_are_those_that_watchers_wait_for():
    """The set is derived; this is what it has to come to."""
    assert {status.value for status in run.TERMINAL} == TERMINAL
    assert {status.value for status in run.ACTIVE} == set(MOVES) - TERMINAL


def test_what_may_be_replayed_and_canceled():
    """Five endings can be taken back; every state that is not an ending can be canceled."""
    assert {s.value for s in run.REPLAYABLE} == {"dead_letter", "failed", "timed_out", "crashed", "system_failed"}
    assert {s.value for s in run.CANCELABLE} == {"delayed", "queued", "dequeued", "executing", "waiting"}
    assert {s.value for s in run.INITIAL} == {"queued", "delayed"}
    assert {s.value for s in run.LONG_KEPT} == {"timed_out", "crashed", "system_failed", "dead_letter"}


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("event", Event)
def test_a_move_is_in_the_table_or_impossible(status: Status, event: Event):
    """`next_status` says what the hand-written table says, for every pair."""
    to = next_status(status, event)
    assert to is None or to.value in MOVES[status.value]
    if status in run.TERMINAL and event is not Event.REPLAY:
        assert to is None


def test_every_state_can_be_reached_and_none_is_a_trap():
    """From the first states every state is reached, and from every state an ending."""
    reached = {"queued", "delayed"}
    while more := {to for at in reached for to in MOVES[at]} - reached:
        reached |= more
    assert reached == set(MOVES)
    ends = set(TERMINAL)
    while more := {at for at, to in MOVES.items() if to & ends} - ends:
        ends |= more
    assert ends == set(MOVES)


@pytest.mark.parametrize(
    ("kind", "final", "attempt", "event"),
    [
        (OutcomeKind.SUCCESS, False, 1, Event.COMPLETE),
        (OutcomeKind.SUCCESS, False, 3, Event.COMPLETE),
        (OutcomeKind.ERROR, False, 1, Event.RETRY),
        (OutcomeKind.ERROR, False, 2, Event.RETRY),
        (OutcomeKind.ERROR, False, 3, Event.DEAD_LETTER),
        (OutcomeKind.ERROR, True, 1, Event.FAIL),
        (OutcomeKind.ERROR, True, 3, Event.FAIL),
        (OutcomeKind.TIMEOUT, False, 2, Event.RETRY),
        (OutcomeKind.TIMEOUT, False, 3, Event.TIME_OUT),
        (OutcomeKind.LOST, False, 2, Event.RETRY),
        (OutcomeKind.LOST, False, 3, Event.CRASH),
        (OutcomeKind.FAULT, False, 2, Event.RETRY),
        (OutcomeKind.FAULT, False, 3, Event.SYSTEM_FAIL),
        (OutcomeKind.FAULT, True, 1, Event.FAIL),
    ],
)
def test_what_an_ending_decides(kind: OutcomeKind, final: bool, attempt: int, event: Event):
    """Three attempts allowed: each kind of ending, before and at the last one."""
    assert decide(Outcome(kind, final), attempt=attempt, attempt_base=0, max_attempts=3) is event


@given(st.sampled_from(OutcomeKind), st.booleans(), st.integers(0, 500), st.integers(1, 100), st.integers(1, 100))
def test_a_decision_is_always_a_move_of_an_executing_run(
    kind: OutcomeKind, final: bool, base: int, used: int, allowed: int
):
    """Whatever the numbers, the table has the move, and a retry means that an attempt is left since the last replay."""
    event = decide(Outcome(kind, final), attempt=base + used, attempt_base=base, max_attempts=allowed)
    assert next_status(Status.EXECUTING, event) is not None
    if event is Event.RETRY:
        assert used < allowed
    if event in {Event.DEAD_LETTER, Event.TIME_OUT, Event.CRASH, Event.SYSTEM_FAIL}:
        assert used >= allowed


def test_the_diagram_shows_the_table():
    """One line for each first state and each move."""
    lines = run.mermaid().splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert "    [*] --> queued" in lines
    assert "    waiting --> queued: resume" in lines
    assert len(lines) == 1 + 2 + len(run.TRANSITIONS)
