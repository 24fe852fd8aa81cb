"""Why a run is not running, in words: what stands beside what. Against real claims: tests/store/test_explain.py."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from strait_core.deadline import Deadline
from strait_core.reasons import Awaited, Code, Facts, Gate, Late, reasons_of
from strait_core.run import Status

AT = datetime(2030, 1, 16, 12, tzinfo=UTC)
OPEN = Gate(job="a")
PAUSED = Gate(job="a", closed=frozenset({Code.PAUSED}))


def facts(status: Status, gate: Gate = OPEN, due_at: datetime | None = None) -> Facts:
    """A run that stands there."""
    return Facts(status=status, attempt=1, max_attempts=3, due_at=due_at, gate=gate)


STANDINGS = {
    "ended": facts(Status.FAILED),
    "executing": facts(Status.EXECUTING, PAUSED),
    "claimed": facts(Status.DEQUEUED, PAUSED),
    "event": replace(facts(Status.WAITING), awaits=[Awaited("k", None, AT)]),
    "child": replace(facts(Status.WAITING), awaits=[Awaited(None, "run_x", None)]),
    "event+child": replace(facts(Status.WAITING), awaits=[Awaited("k", None, AT), Awaited(None, "run_x", None)]),
    "expired": replace(facts(Status.QUEUED), outlived=True),
    "delayed+paused": facts(Status.DELAYED, PAUSED, AT),
    "retry": facts(Status.QUEUED, due_at=AT),
    "paused": facts(Status.QUEUED, PAUSED),
    "no_worker": facts(Status.QUEUED),
    "no_worker+ahead": replace(facts(Status.QUEUED), ahead=2),
}


@pytest.mark.parametrize("named", STANDINGS)
def test_what_it_was_late_for_stands_last(named: str):
    """Beside whatever else is to be said of the run, once for each broken deadline."""
    one = STANDINGS[named]
    assert [reason.code for reason in reasons_of(one)] == named.split("+")
    late = [Late(deadline, AT, AT) for deadline in (Deadline.START, Deadline.FINISH)]
    told = [reason.code for reason in reasons_of(replace(one, late=late))]
    assert told == [*named.split("+"), "late", "late"]


def test_time_to_live_is_over_whatever_else_holds_it():
    """Nothing that is closed matters to a run that does not start any more."""
    assert [reason.code for reason in reasons_of(replace(STANDINGS["delayed+paused"], outlived=True))] == ["expired"]


def test_who_waits_for_nothing_any_more_goes_on():
    """What it waited for has come, and nobody has looked yet: no run is without a reason."""
    (reason,) = reasons_of(facts(Status.WAITING))
    assert reason.code is Code.READY
    assert "has come" in reason.text
