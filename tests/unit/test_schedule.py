"""What becomes of a tick: misfires, overlaps, jitter, and that no tick is decided twice or not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strait_core import cron
from strait_core.calendar import Attachment, CalendarMode, parse_days
from strait_core.schedule import (
    GRACE,
    Action,
    Decision,
    MisfirePolicy,
    OverlapPolicy,
    Policy,
    Rule,
    Schedule,
    State,
    calendar_faults,
    decide,
    due_at,
    fires,
    next_fire,
)
from tests.support.sizes import size

NOON = datetime(2030, 1, 16, 12, tzinfo=UTC)
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)


def hourly(**policy: object) -> Schedule:
    """A schedule that fires every full hour."""
    return Schedule("sch_1", Rule(cron.parse("0 * * * *")), Policy(**policy))  # type: ignore[arg-type]


def told(decision: Decision) -> str:
    """A decision as a line: `12:00 fire`, `10:00-11:00 skip coalesced x2`, `11:00 fire catch_up`."""
    first = f"{decision.first_fire_at:%H:%M}-" if decision.first_fire_at else ""
    words = [f"{first}{decision.fire_at:%H:%M}", decision.action.value]
    words += [decision.reason.value] if decision.reason else []
    words += ["catch_up"] if decision.action is Action.FIRE and decision.triggered_by == "catch_up" else []
    words += ["cancel"] if decision.cancel_running else []
    words += ["after"] if decision.after_running else []
    return " ".join([*words, *([f"x{decision.count}"] if decision.first_fire_at else [])])


def test_a_tick_fires_when_it_is_due():
    """Before: nothing; at the very instant: one run, and the tick after it is next."""
    before = decide(hourly(), State(NOON), NOON - timedelta(microseconds=1))
    assert (before.decided, before.next_fire_at, before.next_due_at) == ((), NOON, NOON)
    at = decide(hourly(), State(NOON), NOON)
    assert [told(one) for one in at.decided] == ["12:00 fire"]
    assert (at.decided[0].triggered_by, at.next_fire_at) == ("cron", NOON + HOUR)


def test_a_schedule_without_a_next_tick_is_left_alone():
    """Paused, or never again: no decision."""
    found = decide(hourly(), State(None), NOON)
    assert (found.decided, found.next_fire_at, found.next_due_at) == ((), None, None)


def test_within_the_grace_a_late_tick_is_no_misfire():
    """A restart of a minute costs nothing; a second more, and the misfire policy speaks."""
    skip = hourly(misfire_policy=MisfirePolicy.SKIP)
    assert [told(one) for one in decide(skip, State(NOON), NOON + GRACE).decided] == ["12:00 fire"]
    late = decide(skip, State(NOON), NOON + GRACE + SECOND)
    assert [told(one) for one in late.decided] == ["12:00-12:00 skip missed x1"]


def test_a_minute_schedule_fires_each_tick_after_a_short_stop():
    """Two ticks within the grace are two runs, not one."""
    every = Schedule("sch_1", Rule(cron.parse("* * * * *")))
    found = decide(every, State(NOON), NOON + MINUTE)
    assert [told(one) for one in found.decided] == ["12:00 fire", "12:01 fire"]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, ["00:00-11:00 skip coalesced x12", "12:00 fire catch_up"]),
        ({"misfire_policy": "skip"}, ["00:00-12:00 skip missed x13"]),
        ({"misfire_policy": "all", "misfire_max_runs": 3},
         ["00:00-09:00 skip too_many x10", "10:00 fire catch_up", "11:00 fire catch_up", "12:00 fire catch_up"]),
        ({"misfire_policy": "all", "misfire_max_lateness_secs": 2 * 3600},
         ["00:00-10:00 skip too_late x11", "11:00 fire catch_up", "12:00 fire catch_up"]),
        ({"misfire_policy": "all", "misfire_max_lateness_secs": 5 * 3600, "misfire_max_runs": 1},
         ["00:00-07:00 skip too_late x8", "08:00-11:00 skip too_many x4", "12:00 fire catch_up"]),
        ({"misfire_policy": "all", "misfire_max_lateness_secs": 60}, ["00:00-12:00 skip too_late x13"]),
        ({"misfire_max_lateness_secs": 1800}, ["00:00-11:00 skip coalesced x12", "12:00 fire catch_up"]),
        ({"misfire_max_lateness_secs": 1200}, ["00:00-12:00 skip too_late x13"]),
    ],
)  # fmt: skip
def test_twelve_hours_down(policy: dict[str, object], expected: list[str]):
    """Back at 12:30 with the ticks from midnight on undecided: each policy as written, lateness inclusive."""
    if "misfire_policy" in policy:
        policy = {**policy, "misfire_policy": MisfirePolicy(str(policy["misfire_policy"]))}
    found = decide(hourly(**policy), State(NOON - 12 * HOUR), NOON + HOUR / 2)
    assert [told(one) for one in found.decided] == expected
    assert found.next_fire_at == NOON + HOUR


def test_the_tick_of_the_hour_is_its_own_run_beside_what_was_missed():
    """Back just after noon: one run for what was missed, one for noon."""
    found = decide(hourly(), State(NOON - 3 * HOUR), NOON + SECOND)
    assert [told(one) for one in found.decided] == [
        "09:00-10:00 skip coalesced x2",
        "11:00 fire catch_up",
        "12:00 fire",
    ]


def test_a_backlog_is_drained_at_the_callers_pace():
    """With room for two, two are made a call; the rest is due at once, and nothing overtakes it."""
    schedule, state = hourly(misfire_policy=MisfirePolicy.ALL), State(NOON - 5 * HOUR)
    now, calls = NOON + SECOND, []
    while state.next_fire_at is not None and state.next_fire_at <= now:
        found = decide(schedule, state, now, room=2)
        calls.append([told(one) for one in found.decided])
        assert found.next_due_at is not None
        state, now = State(found.next_fire_at), now + SECOND
    assert calls == [
        ["07:00 fire catch_up", "08:00 fire catch_up"],
        ["09:00 fire catch_up", "10:00 fire catch_up"],
        ["11:00 fire catch_up", "12:00 fire"],
    ]
    none = decide(schedule, State(NOON - 5 * HOUR), NOON, room=0)
    assert (none.decided, none.next_fire_at) == ((), NOON - 5 * HOUR)


def test_a_year_down_is_two_records():
    """Half a million missed minutes are counted, not walked."""
    every = Schedule("sch_1", Rule(cron.parse("* * * * *"), "Europe/London"))
    found = decide(every, State(NOON - timedelta(days=365)), NOON + SECOND)
    assert [(one.action.value, one.count) for one in found.decided] == [("skip", 525_599), ("fire", 1), ("fire", 1)]


@pytest.mark.parametrize(
    ("policy", "live", "held", "expected"),
    [
        (OverlapPolicy.ALLOW, 5, False, "12:00 fire"),
        (OverlapPolicy.SKIP, 0, False, "12:00 fire"),
        (OverlapPolicy.SKIP, 1, False, "12:00 skip overlap"),
        (OverlapPolicy.CANCEL_RUNNING, 0, False, "12:00 fire"),
        (OverlapPolicy.CANCEL_RUNNING, 2, False, "12:00 fire cancel"),
        (OverlapPolicy.QUEUE_ONE, 0, False, "12:00 fire"),
        (OverlapPolicy.QUEUE_ONE, 1, False, "12:00 fire after"),
        (OverlapPolicy.QUEUE_ONE, 2, True, "12:00 skip overlap"),
    ],
)
def test_while_a_run_lasts(policy: OverlapPolicy, live: int, held: bool, expected: str):
    """Each overlap policy, without and with a run that has not ended."""
    found = decide(hourly(overlap_policy=policy), State(NOON, live, held), NOON)
    assert [told(one) for one in found.decided] == [expected]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (OverlapPolicy.SKIP, ["fire", "skip", "skip"]),
        (OverlapPolicy.CANCEL_RUNNING, ["fire", "fire cancel", "fire cancel"]),
        (OverlapPolicy.QUEUE_ONE, ["fire", "fire after", "skip"]),
    ],
)
def test_runs_of_one_call_overlap_each_other(policy: OverlapPolicy, expected: list[str]):
    """Three ticks decided at once: the second sees the first one's run."""
    schedule = hourly(overlap_policy=policy, misfire_policy=MisfirePolicy.ALL)
    found = decide(schedule, State(NOON - 2 * HOUR), NOON + HOUR / 2)
    plain = [told(one).partition(" ")[2].replace(" catch_up", "").replace(" overlap", "") for one in found.decided]
    assert plain == expected


# ── jitter ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_jitter_is_the_same_for_everyone_and_spreads():
    """A hash of schedule and tick: known values, within its bound, unlike for other schedules."""

    def share(number: int) -> int:
        schedule = Schedule(f"sch_{number}", hourly().rule, Policy(jitter_secs=600))
        return int((due_at(schedule, NOON) - NOON).total_seconds())

    shares = [share(number) for number in range(200)]
    assert min(shares) < 60
    assert 540 < max(shares) <= 600
    assert len(set(shares)) > 130
    assert shares[:3] == [245, 541, 147]


def test_a_jittered_tick_waits_for_its_share():
    """Not due at its nominal time, due later, and the record keeps the nominal time."""
    schedule = hourly(jitter_secs=600)
    due = due_at(schedule, NOON)
    assert due > NOON
    early = decide(schedule, State(NOON), due - SECOND)
    assert (early.decided, early.next_due_at) == ((), due)
    (fired,) = decide(schedule, State(NOON), due).decided
    assert fired.fire_at == NOON


@given(
    st.sampled_from(["* * * * *", "*/7 * * * *", "0 3 * * *", "0 0 29 2 *"]),
    st.integers(0, 10_000_000),
    st.text(max_size=9),
)
def test_jitter_never_lets_ticks_overtake(text: str, jitter: int, name: str):
    """Each tick is due before the next one, however large the jitter."""
    schedule = Schedule(name, Rule(cron.parse(text), "America/New_York"), Policy(jitter_secs=jitter))
    ticks = [NOON]
    for _ in range(5):
        following = next_fire(schedule.rule, ticks[-1])
        assert following is not None
        ticks.append(following)
    for tick, following in pairwise(ticks[1:]):
        assert tick <= due_at(schedule, tick) < following


# ── no tick twice, none lost ──────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=size(ci=25, soak=5_000))
@given(
    st.sampled_from(["* * * * *", "*/7 9-17 * * 1-5", "30 1 * * *", "0,1 2 * * *", "0 */5 * * *"]),
    st.sampled_from(["UTC", "Europe/London", "Australia/Lord_Howe"]),
    st.builds(
        Policy,
        misfire_policy=st.sampled_from(MisfirePolicy),
        misfire_max_lateness_secs=st.sampled_from([0, 600, 7_200]),
        misfire_max_runs=st.integers(1, 5),
        overlap_policy=st.sampled_from(OverlapPolicy),
        jitter_secs=st.sampled_from([0, 45, 900]),
    ),
    st.lists(st.tuples(st.integers(1, 200_000), st.integers(0, 3), st.booleans()), min_size=1, max_size=12),
    st.integers(1_774_000_000, 1_776_000_000),
)
def test_each_tick_is_decided_once(
    text: str, zone: str, policy: Policy, calls: list[tuple[int, int, bool]], start: int
):
    """Called at any instants with any room: what was decided are the fires, in order, none twice, none left out."""
    schedule = Schedule("sch_x", Rule(cron.parse(text), zone), policy)
    begin = datetime.fromtimestamp(start, UTC)
    at, now = next_fire(schedule.rule, begin), begin
    decided: list[Decision] = []
    for pause, live, held in calls:
        now += timedelta(seconds=pause)
        done = decide(schedule, State(at, live, held), now, room=3)
        assert sum(one.triggered_by == "catch_up" and one.action is Action.FIRE for one in done.decided) <= 3
        decided += done.decided
        at = done.next_fire_at
    assert at is not None
    ticks, told_of = list(fires(schedule.rule, begin + timedelta(microseconds=1), at)), []
    for one in decided:
        stretch = list(fires(schedule.rule, one.first_fire_at or one.fire_at, one.fire_at + SECOND))
        assert len(stretch) == one.count
        assert (one.action is Action.SKIP) is (one.reason is not None)
        told_of += stretch
    assert told_of == ticks
    assert all(due_at(schedule, tick) <= now for tick in ticks)


def test_a_calendar_that_leaves_no_day():
    """Said of the calendar, and only when it is to blame."""
    gone = Attachment(parse_days("2001-01-01", "/x"), CalendarMode.ONLY)
    every = Attachment(parse_days("sun,mon,tue,wed,thu,fri,sat", "/x"))
    plain = Rule(cron.parse("0 9 * * *"))
    assert calendar_faults(plain, NOON, "/calendar") == []
    for calendar in (gone, every):
        (fault,) = calendar_faults(Rule(plain.expression, calendar=calendar), NOON, "/calendar")
        assert (fault.pointer, fault.message) == ("/calendar", "leaves no day: the schedule would never fire")
