"""Schedules on the virtual clock: the same decisions as a daemon's, with runs of an assumed length."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strait_core import cron
from strait_core.deadline import Deadline, breaches, silence
from strait_core.firing import fires
from strait_core.schedule import MisfirePolicy, OverlapPolicy, Policy, Rule, Schedule
from strait_core.simulate import Actor, EventKind, Story, simulate
from tests.support.sizes import size

START = datetime(2030, 1, 16, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def actor(text: str, minutes: int = 1, *, window: str | None = None, zone: str = "UTC", **policy: object) -> Actor:
    """A schedule whose runs take that many minutes."""
    schedule = Schedule("sch_1", Rule(cron.parse(text), zone), Policy(**policy))  # type: ignore[arg-type]
    opening = None if window is None else cron.parse(window)
    return Actor(text, schedule, minutes * MINUTE, opening, zone)


def told(story: Story, *kinds: EventKind) -> list[str]:
    """The events of some kinds as `time kind tick`."""
    wanted = kinds or tuple(EventKind)
    return [f"{one.at:%H:%M} {one.kind.value} {one.fire_at:%H:%M}" for one in story.events if one.kind in wanted]


def test_a_quiet_day():
    """A run an hour, each tick once, nothing beyond the interval."""
    story = simulate([actor("0 * * * *")], START, START + 3 * HOUR)
    assert told(story, EventKind.FIRED) == ["00:00 fired 00:00", "01:00 fired 01:00", "02:00 fired 02:00"]
    assert told(story, EventKind.FINISHED) == ["00:01 finished 00:00", "01:01 finished 01:00", "02:01 finished 02:00"]
    (tally,) = story.tallies
    assert (tally.fired, tally.most_at_once, tally.skipped, story.cut) == (3, 1, {}, False)


@pytest.mark.parametrize(
    ("policy", "expected", "most"),
    [
        (OverlapPolicy.ALLOW, ["00:00 started 00:00", "00:10 started 00:10", "00:20 started 00:20"], 3),
        (OverlapPolicy.SKIP, ["00:00 started 00:00", "00:10 skipped 00:10", "00:20 skipped 00:20"], 1),
        (OverlapPolicy.CANCEL_RUNNING,
         ["00:00 started 00:00", "00:10 canceled 00:00", "00:10 started 00:10", "00:20 canceled 00:10", "00:20 started 00:20"], 1),
        (OverlapPolicy.QUEUE_ONE, ["00:00 started 00:00", "00:20 skipped 00:20", "00:25 started 00:10"], 1),
    ],
)  # fmt: skip
def test_runs_that_outlast_their_interval(policy: OverlapPolicy, expected: list[str], most: int):
    """Ticks every ten minutes, runs of 25: each overlap policy tells its own story."""
    story = simulate([actor("*/10 * * * *", 25, overlap_policy=policy)], START, START + HOUR / 2)
    kinds = (EventKind.STARTED, EventKind.SKIPPED, EventKind.CANCELED)
    assert told(story, *kinds) == expected
    assert story.tallies[0].most_at_once == most


def test_an_outage_is_caught_up_by_policy():
    """Nobody is up from 00:30 to 05:10: one run for all, or ten a second for a hundred, then for the tick that waited."""
    outage = [(START + HOUR / 2, START + 5 * HOUR + 10 * MINUTE)]
    story = simulate([actor("0 * * * *")], START, START + 7 * HOUR, outages=outage)
    assert told(story, EventKind.FIRED)[1:] == ["05:10 fired 05:00", "06:00 fired 06:00"]
    assert story.tallies[0].skipped == {"coalesced": 4}
    every = simulate([actor("* * * * *", misfire_policy=MisfirePolicy.ALL)], START, START + 6 * HOUR, outages=outage)
    late = [one.at for one in every.events if one.note == "catch_up"]
    assert (len(late), len(set(late))) == (101, 11)
    assert every.tallies[0].fired + every.tallies[0].skipped["too_many"] == 360


def test_a_window_holds_runs():
    """A tick while it is closed fires and waits; one while it is open starts at once."""
    story = simulate([actor("0 */8 * * *", window="* 6-17 * * *")], START, START + 24 * HOUR)
    kinds = (EventKind.HELD, EventKind.STARTED)
    assert told(story, *kinds) == [
        "00:00 held 00:00",
        "06:00 started 00:00",
        "08:00 started 08:00",
        "16:00 started 16:00",
    ]
    assert story.events[1].note == "window closed until 2030-01-16T06:00:00+00:00"


def test_deadlines_are_told():
    """A run held at a window starts and finishes late; a night without success is noticed when it should have come."""
    late = actor(
        "0 0 * * *", window="* 6 * * *", start_within_secs=3_600, finish_within_secs=7_200, expect_every_secs=14_400
    )
    story = simulate([late], START, START + 8 * HOUR)
    found = [(f"{one.at:%H:%M}", one.note) for one in story.events if one.kind is EventKind.LATE]
    assert found == [("01:00", "start_within_secs"), ("02:00", "finish_within_secs"), ("04:00", "expect_every_secs")]
    assert story.tallies[0].late == 3


def test_several_schedules_are_one_story():
    """Events of all, by time; figures for each."""
    story = simulate([actor("0 * * * *"), actor("30 * * * *")], START, START + 2 * HOUR)
    assert [one.at for one in story.events] == sorted(one.at for one in story.events)
    assert [(tally.name, tally.fired) for tally in story.tallies] == [("0 * * * *", 2), ("30 * * * *", 2)]


def test_a_story_that_is_too_long_is_cut():
    """A century of minutes ends early and says so."""
    story = simulate([actor("* * * * *"), actor("0 * * * *")], START, START + 876_000 * HOUR, most=300)
    assert story.cut
    assert len(story.events) <= 300


@settings(max_examples=size(ci=25, soak=5_000))
@given(
    st.sampled_from(["* * * * *", "*/7 * * * *", "30 1 * * *", "0 9-17 * * 1-5"]),
    st.integers(1, 90),
    st.sampled_from(OverlapPolicy),
    st.sampled_from(MisfirePolicy),
    st.sampled_from([0, 30, 500]),
    st.lists(st.tuples(st.integers(0, 2_800), st.integers(1, 400)), max_size=3),
    st.sampled_from([None, "* 2-5 * * *", "0 9-17 * * *"]),
)
def test_each_tick_has_one_fate(text, minutes, overlap, misfire, jitter, outages, window):
    """With any policies, outages and window: every tick fired or was skipped, once; at most one run unless allowed."""
    start = datetime(2026, 10, 24, tzinfo=UTC)  # London's clocks go back in the night to the 25th
    end = start + 48 * HOUR
    played = actor(
        text,
        minutes,
        window=window,
        zone="Europe/London",
        overlap_policy=overlap,
        misfire_policy=misfire,
        jitter_secs=jitter,
    )
    down = [(start + begin * MINUTE, start + (begin + length) * MINUTE) for begin, length in outages]
    story = simulate([played], start, end, outages=down)
    fated = {EventKind.FIRED, EventKind.SKIPPED}
    decided = [one for one in story.events if one.kind in fated]
    ticks = len(list(fires(played.schedule.rule, start, end)))
    undecided = sum(1 for begin, over in down if over > end) or jitter
    assert sum(one.count for one in decided) <= ticks
    if not undecided:
        assert sum(one.count for one in decided) == ticks
    if overlap is not OverlapPolicy.ALLOW:
        assert story.tallies[0].most_at_once <= 1
    assert not any(begin <= one.at < over for one in decided for begin, over in down)


def test_a_breach_is_at_its_deadline():
    """Kept to the second, broken after it; what has not happened is judged by the clock."""
    policy = Policy(start_within_secs=60, finish_within_secs=600, expect_every_secs=3_600)
    at = START + MINUTE
    assert breaches(policy, START, at, None, START + 10 * MINUTE) == ()
    assert breaches(policy, START, None, None, at) == ()
    (late,) = breaches(policy, START, None, None, at + timedelta(microseconds=1))
    assert (late.deadline, late.at) == (Deadline.START, at)
    both = breaches(policy, START, at + MINUTE, START + HOUR, START + 2 * HOUR)
    assert [one.deadline for one in both] == [Deadline.START, Deadline.FINISH]
    assert breaches(Policy(), START, None, None, START + 100 * HOUR) == ()
    assert silence(policy, START, START + HOUR) is None
    quiet = silence(policy, START, START + 2 * HOUR)
    assert quiet is not None
    assert quiet.at == START + HOUR
    assert silence(Policy(), START, START + 100 * HOUR) is None
