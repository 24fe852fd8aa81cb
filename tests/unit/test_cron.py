"""Cron expressions: what is accepted, what is refused and where the fault is, and that two other readers agree."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import given
from hypothesis import strategies as st

from strait_core import cron, wallclock
from strait_core.errors import ValidationError
from strait_core.firing import next_second
from strait_core.rule import Rule


def values(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]


@pytest.mark.parametrize(
    ("text", "minutes", "hours", "days", "months", "weekdays"),
    [
        ("5 4 3 2 1", [5], [4], [3], [2], [1]),
        ("0,30 9-11 1 jan-mar mon", [0, 30], [9, 10, 11], [1], [1, 2, 3], [1]),
        ("*/20 0-8/4 * * fri-sun", [0, 20, 40], [0, 4, 8], list(range(1, 32)), list(range(1, 13)), [0, 5, 6]),
        ("50/5 22/1 31 12 7", [50, 55], [22, 23], [31], [12], [0]),
        ("1-3,2-4 0 1 DEC,Jun 5-7", [1, 2, 3, 4], [0], [1], [6, 12], [0, 5, 6]),
        ("@weekly", [0], [0], list(range(1, 32)), list(range(1, 13)), [0]),
        ("  @YEARLY ", [0], [0], [1], [1], [0, 1, 2, 3, 4, 5, 6]),
        ("*/90 05 */31 */12 0-7", [0], [5], [1], [1], [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_what_an_expression_matches(text: str, minutes, hours, days, months, weekdays):
    """Names, ranges, lists, steps and aliases, in any case and spacing; Sunday is 0 and 7."""
    found = cron.parse(text)
    assert [values(mask) for mask in (found.minutes, found.hours, found.days, found.months, found.weekdays)] == [
        minutes, hours, days, months, weekdays,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must not be empty: five fields, or an alias such as @daily"),
        (" \t ", "must not be empty: five fields, or an alias such as @daily"),
        ("* * * *", "has 4 fields instead of five: minute, hour, day of month, month, day of week"),
        ("0 * * * * *", "has 6 fields instead of five: minute, hour, day of month, month, day of week; there is no field for seconds or years"),
        ("0 0 1 1 * 2030 *", "has 7 fields instead of five: minute, hour, day of month, month, day of week; there is no field for seconds or years"),
        ("TZ=UTC 0 0 * * *", "takes no zone inside the expression; set the timezone field"),
        ("CRON_TZ=Asia/Tokyo 0 0 * * *", "takes no zone inside the expression; set the timezone field"),
        ("@reboot", '"@reboot" is no alias; there are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly'),
        ("@every 5m", '"@every 5m" is no alias; there are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly'),
        ("60 * * * *", "minute (field 1, character 1): 60 is outside 0-59"),
        ("0 24 * * *", "hour (field 2, character 3): 24 is outside 0-23"),
        ("0 1,2,24 * * *", "hour (field 2, character 7): 24 is outside 0-23"),
        ("0 0 0 * *", "day of month (field 3, character 5): 0 is outside 1-31"),
        ("0 0 * 13 *", "month (field 4, character 7): 13 is outside 1-12"),
        ("0 0 * * 8", "day of week (field 5, character 9): 8 is outside 0-7"),
        ("0 0 * * 99999999999999999999", "day of week (field 5, character 9): 99999999999999999999 is outside 0-7"),
        ("0 0 * feb0 *", 'month (field 4, character 7): "feb0" is not a value; it takes 1-12 or jan-dec'),
        ("mon 0 * * *", 'minute (field 1, character 1): "mon" is not a value; it takes 0-59'),
        ("0 22-2 * * *", "hour (field 2, character 3): the range 22-2 runs backwards; write 22-23,0-2"),
        ("0 0 * * fri-mon", "day of week (field 5, character 9): the range fri-mon runs backwards; write 5-6,0-1"),
        ("0 0 ? * *", 'day of month (field 3, character 5): "?" is not understood; write *, a value, a range a-b, or one of them with a step /n'),
        ("0 0 L * *", 'day of month (field 3, character 5): "l" is not a value; it takes 1-31'),
        ("0 0 15W * *", 'day of month (field 3, character 5): "15w" is not a value; it takes 1-31'),
        ("0 0 * * 1#2", 'day of week (field 5, character 9): "1#2" is not understood; write *, a value, a range a-b, or one of them with a step /n'),
        ("H * * * *", 'minute (field 1, character 1): "h" is not a value; it takes 0-59'),
        ("R(0-5) * * * *", 'minute (field 1, character 1): "r(0-5)" is not understood; write *, a value, a range a-b, or one of them with a step /n'),
        ("*/0 * * * *", 'minute (field 1, character 1): "0" is no step; a step is a whole number from 1'),
        ("*/-5 * * * *", 'minute (field 1, character 1): "-5" is no step; a step is a whole number from 1'),
        ("1-5/2/2 * * * *", 'minute (field 1, character 1): "2/2" is no step; a step is a whole number from 1'),
        ("*/ * * * *", 'minute (field 1, character 1): "" is no step; a step is a whole number from 1'),
        ("1,,2 * * * *", "minute (field 1, character 3): an item of the list is empty"),
        ("1, * * * *", "minute (field 1, character 3): an item of the list is empty"),
        ("-1 * * * *", 'minute (field 1, character 1): "-1" is not understood; write *, a value, a range a-b, or one of them with a step /n'),
        ("\u0661 * * * *", 'minute (field 1, character 1): "\u0661" is not understood; write *, a value, a range a-b, or one of them with a step /n'),
        ("0 0 30 2 *", "never fires: no such date is in any year"),
        ("0 0 31 2,4,6,9,11 *", "never fires: no such date is in any year"),
        ("0 " * 200, "must be at most 256 characters"),
    ],
)  # fmt: skip
def test_a_fault_names_field_place_and_remedy(text: str, message: str):
    """One fault each, at the pointer that was asked for."""
    assert [(one.pointer, one.message) for one in cron.faults(text, "/cron")] == [("/cron", message)]
    with pytest.raises(ValidationError) as caught:
        cron.parse(text, "/steps/0/cron")
    assert caught.value.faults[0].pointer == "/steps/0/cron"


def test_every_fault_is_told_at_once():
    """Four wrong items are four faults."""
    found = cron.faults("61 25,26 * * 9", "/cron")
    assert [one.message.partition(":")[0] for one in found] == [
        "minute (field 1, character 1)",
        "hour (field 2, character 4)",
        "hour (field 2, character 7)",
        "day of week (field 5, character 14)",
    ]


@pytest.mark.parametrize("text", ["0 0 29 2 *", "0 0 31 1-12 *", "0 0 30 2 mon", "0 0 30,1 2 *"])
def test_what_fires_seldom_is_not_what_never_fires(text: str):
    """A leap day, a long month, and a weekday beside a date that does not exist are fine."""
    assert cron.faults(text, "/cron") == []


@pytest.mark.parametrize(
    ("text", "fixed"),
    [("0 9 * * *", True), ("0,30 9-17 * * *", True), ("0 * * * *", False), ("0 9-17/2 * * *", False),
     ("5/15 9 * * *", False), ("0 9,*/6 * * *", False), ("@daily", True), ("@hourly", False)],
)  # fmt: skip
def test_which_expressions_name_times_of_the_day(text: str, fixed: bool):
    """Those with neither a star nor a step in minute or hour."""
    assert cron.parse(text).is_fixed_time is fixed


# ── another reader ────────────────────────────────────────────────────────────────────────────────────────────────────


def field(low: int, high: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    """A field in any spelling that we and cronsim both take."""
    number = st.integers(low, high)
    pair = st.tuples(number, number).map(sorted)
    span = pair.map(lambda ends: f"{ends[0]}-{ends[1]}")
    step = st.integers(1, high + 2)
    plain = number.map(str) | (st.sampled_from(names) if names else number.map(str)) | span
    # cronsim reads `5-5/2` as `5/2`, which has no end.
    wide = pair.filter(lambda ends: ends[0] < ends[1]).map(lambda ends: f"{ends[0]}-{ends[1]}")
    stepped = st.tuples(st.just("*") | wide, step).map(lambda parts: f"{parts[0]}/{parts[1]}")
    return st.just("*") | st.lists(plain | stepped, min_size=1, max_size=3).map(",".join)


EXPRESSIONS = st.tuples(
    field(0, 59), field(0, 23), field(1, 31), field(1, 12, cron.MONTH_NAMES), field(0, 7, cron.DAY_NAMES)
).map(" ".join)


@given(EXPRESSIONS)
def test_fields_are_those_of_another_reader(text: str):
    """Every mask holds just the values that cronsim finds."""
    if cron.faults(text, "/cron"):
        with pytest.raises(CronSimError):
            CronSim(text, datetime(2030, 1, 1, tzinfo=UTC))
        return
    ours, theirs = cron.parse(text), CronSim(text, datetime(2030, 1, 1, tzinfo=UTC))
    assert values(ours.minutes) == sorted(theirs.minutes)
    assert values(ours.hours) == sorted(theirs.hours)
    assert values(ours.days) == sorted(theirs.days)
    assert values(ours.months) == sorted(theirs.months)
    assert values(ours.weekdays) == sorted({day % 7 for day in theirs.weekdays})  # type: ignore[operator]


def agrees_on_days(text: str) -> bool:
    """Whether both take the two day fields alike: cronsim reads a leading star as "not given", even in a list."""
    _, _, day, _, weekday = text.split()
    return all(word in {"*", "*/1"} or not word.startswith("*") for word in (day, weekday))


def agrees_on_clocks(text: str) -> bool:
    """Whether both call the schedule fixed: cronsim asks for a leading star only."""
    fields = text.split()[:2]
    starred = any(word.startswith("*") for word in fields)
    return starred or cron._read(text).is_fixed_time


@given(
    EXPRESSIONS.filter(agrees_on_days).filter(agrees_on_clocks),
    st.sampled_from(("UTC", "Europe/London", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut", "Africa/Cairo")),
    st.integers(1_577_836_800, 1_924_992_000),
)
def test_fire_times_are_those_of_another_search(text: str, zone: str, after: int):
    """The next five fires are cronsim's, in zones whose clocks change, from any instant."""
    if cron.faults(text, "/cron"):
        return
    start = datetime.fromtimestamp(after, ZoneInfo(zone))
    theirs = [int(at.timestamp()) for at in islice(CronSim(text, start), 5)]
    found: list[int] = []
    at = after
    while len(found) < 5 and (following := next_second(Rule(cron.parse(text), zone), at)) is not None:
        found.append(following)
        at = following
    assert found == theirs


@given(st.text(max_size=60) | st.text(alphabet="0123456789*/,-@ abcdfhijlmnoprstuvwy#?LW", max_size=40))
def test_any_text_is_read_or_refused(text: str):
    """No text makes the reader raise anything but its own error; what it accepts can be read again."""
    if cron.faults(text, "/cron"):
        with pytest.raises(ValidationError):
            cron.parse(text)
    else:
        assert cron.parse(cron.parse(text).text) == cron.parse(text)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Europe/Berln", ["Europe/Berlin", "Europe/Dublin"]),
        ("europe/london", ["Europe/London"]),
        ("new york", ["America/New_York"]),
        ("Tokio", ["Asia/Tokyo"]),
        ("UTC+2", ["Etc/GMT-2"]),
        ("+05:30", []),
        ("-03:00", ["Etc/GMT+3"]),
        ("+25", []),
        ("Nowhere/Atall", []),
    ],
)
def test_the_nearest_zones(name: str, near: list[str]):
    """Misspelt names, cities, other case and whole-hour offsets find the zone that was meant."""
    assert wallclock.nearest_zones(name) == near
    (fault,) = wallclock.zone_faults(name, "/timezone")
    assert fault.pointer == "/timezone"
    assert all(one in fault.message for one in near)


@pytest.mark.parametrize(
    "name", ["localtime", "posixrules", "Factory", "right/UTC", "posix/UTC", "", "../etc/passwd", "."]
)
def test_what_is_no_zone(name: str):
    """The machine's own zone, leap-second clocks and paths are refused."""
    assert wallclock.zone_faults(name, "/timezone") != []
