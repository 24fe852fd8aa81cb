"""Which ticks a backfill fires: those of the interval by the schedule's own rule, without those that need no second run."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from strait_core import cron
from strait_core.backfill import Known, count, plan
from strait_core.calendar import Attachment, Calendar
from strait_core.schedule import Policy, Rule, Schedule, fires

START = datetime(2030, 1, 16, tzinfo=UTC)
NOW = START + timedelta(days=10)
HOUR = timedelta(hours=1)


def schedule(text: str = "0 * * * *", jitter: int = 0, zone: str = "UTC", off: str | None = None) -> Schedule:
    days = None if off is None else Attachment(Calendar(dates=frozenset({date.fromisoformat(off)})))
    return Schedule("sch_1", Rule(cron.parse(text), zone, calendar=days), Policy(jitter_secs=jitter))


def test_the_beginning_is_in_and_the_end_is_out():
    """As many ticks as are counted."""
    made = plan(schedule(), START, START + 3 * HOUR, Known(), NOW, missing_only=False)
    assert made.ticks == (START, START + HOUR, START + 2 * HOUR)
    assert count(schedule(), START, START + 3 * HOUR) == 3


def test_calendars_and_clocks_are_those_of_the_schedule():
    """A day off is left out; a night with a change of the clocks fires as it would have."""
    found = plan(
        schedule("0 9 * * *", off="2030-01-17"), START, START + timedelta(days=3), Known(), NOW, missing_only=False
    )
    assert [tick.day for tick in found.ticks] == [16, 18]
    night = datetime(2030, 3, 30, tzinfo=UTC)
    berlin = schedule("30 2 * * *", zone="Europe/Berlin")
    found = plan(berlin, night, night + timedelta(days=2), Known(), night + timedelta(days=9), missing_only=False)
    assert [f"{tick:%d %H:%M}" for tick in found.ticks] == ["30 01:30", "31 01:00"]


def test_what_needs_no_second_run_is_left_out():
    """Fired again before; still the clock's to decide, by its place, its wait or its jitter; and made, if that is asked."""
    known = Known(
        fired={START, START + HOUR}, backfilled={START + 2 * HOUR}, next_fire_at=START + 5 * HOUR,
        held_fire_at=START + 4 * HOUR,
    )  # fmt: skip
    found = plan(schedule(), START, START + 7 * HOUR, known, NOW, missing_only=False)
    assert (len(found.ticks), found.already, found.undecided, found.fired) == (3, 1, 3, 0)
    found = plan(schedule(), START, START + 7 * HOUR, known, NOW, missing_only=True)
    assert (found.ticks, found.already, found.undecided, found.fired) == ((START + 3 * HOUR,), 1, 3, 2)
    spread = schedule("0 0 * * *", jitter=3_600)
    assert plan(spread, START, NOW, Known(), START, missing_only=False).ticks == ()


@given(st.integers(0, 5_000), st.integers(1, 3_000), st.sampled_from(["*/7 * * * *", "0 9 * * 1-5", "30 2 * * *"]))
def test_a_plan_holds_what_the_clock_would_have_fired(begin: int, length: int, text: str):
    """In order, none twice, none besides; and the count knows how many before."""
    start = START + timedelta(minutes=begin)
    end = start + timedelta(minutes=length)
    one = schedule(text, zone="America/New_York")
    found = plan(one, start, end, Known(), end + timedelta(days=1), missing_only=False)
    assert found.ticks == tuple(fires(one.rule, start, end))
    assert count(one, start, end) == len(found.ticks)
