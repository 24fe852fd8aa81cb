"""`strait cron`: no server answers in these tests, and none is needed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.cli.runner import Shell


def listed(shell: Shell, *words: str) -> list[dict[str, Any]]:
    """What `strait cron WORDS -o json` prints."""
    found: list[dict[str, Any]] = shell.ok("cron", *words, "-o", "json").json
    return found


def test_next_lists_utc_local_time_offset_and_a_note(alone: Shell):
    """Exactly these four fields; the night without 02:30 says so."""
    words = ("--timezone", "Europe/Berlin", "--from", "2030-03-30T00:00:00Z", "--count", "3")
    assert listed(alone, "next", "30 2 * * *", *words) == [
        {"fire_at": "2030-03-30T01:30:00Z", "local": "2030-03-30T02:30:00", "zone_offset": "+01:00", "note": ""},
        {
            "fire_at": "2030-03-31T01:00:00Z",
            "local": "2030-03-31T03:00:00",
            "zone_offset": "+02:00",
            "note": "02:30 does not exist that day: fires as the clocks jump",
        },
        {"fire_at": "2030-04-01T00:30:00Z", "local": "2030-04-01T02:30:00", "zone_offset": "+02:00", "note": ""},
    ]


def test_next_begins_now_in_utc_with_five_fires(alone: Shell):
    """Without flags: UTC, later than now, five."""
    before = datetime.now(UTC)
    found = [datetime.fromisoformat(one["fire_at"]) for one in listed(alone, "next", "* * * * *")]
    assert len(found) == 5
    assert before < found[0] <= before + timedelta(minutes=2)
    assert all(later - earlier == timedelta(minutes=1) for earlier, later in pairwise(found))


@pytest.mark.parametrize(
    ("flags", "days", "moved"),
    [
        (("--exclude", "sat,sun"), ["2030-07-01", "2030-08-01", "2030-10-01"], []),
        (("--exclude", "sat,sun", "--roll", "next"), ["2030-06-03", "2030-07-01", "2030-08-01"], ["2030-06-01"]),
        (("--exclude", "sat,sun", "--roll", "previous"), ["2030-05-31", "2030-07-01", "2030-08-01"], ["2030-06-01"]),
        (("--only", "2030-07-01,2030-09-01..2030-10-31"), ["2030-07-01", "2030-09-01", "2030-10-01"], []),
    ],
)
def test_next_takes_days_away(alone: Shell, flags: tuple[str, ...], days: list[str], moved: list[str]):
    """Days given by flag work as a calendar would; 2030-06-01 is a Saturday."""
    found = listed(alone, "next", "0 9 1 * *", "--from", "2030-05-15", "--count", "3", *flags)
    assert [one["local"][:10] for one in found] == days
    assert [one["note"] for one in found if one["note"]] == [f"moved from {day}" for day in moved]


def test_next_says_when_there_are_no_more(alone: Shell):
    """Days that end leave a shorter list, and the word about it is no data."""
    answer = alone.ok("cron", "next", "@daily", "--from", "2098-12-30", "--only", "2099-01-01", "-o", "name")
    assert answer.out == "2099-01-01T00:00:00Z\n"
    assert "no more" in answer.err


def test_next_as_a_table(alone: Shell):
    """In a pipe: tab-separated, the local day by name."""
    answer = alone.ok("cron", "next", "0 12 * * *", "--tz", "Asia/Tokyo", "--from", "2030-01-01", "-n", "1")
    assert answer.rows == [
        ["UTC", "LOCAL", "OFFSET", "NOTE"],
        ["2030-01-01T03:00:00Z", "Tue 2030-01-01 12:00", "+09:00", ""],
    ]


@pytest.mark.parametrize(
    ("words", "pointer", "part"),
    [
        (("check", "0 25 * * *"), "/expression", "hour (field 2, character 3): 25 is outside 0-23"),
        (("check", "@daily", "* * * * * *"), "/expression/1", "has 6 fields instead of five"),
        (("next", "0 0 30 2 *"), "/expression", "never fires"),
        (("explain", "@reboot"), "/expression", "is no alias"),
        (("next", "@daily", "--timezone", "Europe/Berln"), "/timezone", "did you mean Europe/Berlin"),
        (("check", "0 0 31 4 *", "--window"), "/expression", "can never open"),
        (("simulate", "@daily", "--window", "61 * * * *"), "/window", "61 is outside 0-59"),
        (("next", "@daily", "--only", "2001-01-01"), "/only", "leaves no day"),
        (("next", "@daily", "--exclude", "someday"), "/exclude", '"someday" is no date'),
        (("next", "@daily", "--only", "2030-02-02..2030-02-01"), "/only", "runs backwards"),
    ],
)
def test_what_is_wrong_ends_with_seven(alone: Shell, words: tuple[str, ...], pointer: str, part: str):
    """A bad expression, zone, window or calendar: exit 7, and the fault as data."""
    answer = alone.run("cron", *words, "-o", "json", code=7)
    faults = answer.json["error"]["faults"]
    assert [one["pointer"] for one in faults] == [pointer]
    assert part in faults[0]["message"]


@pytest.mark.parametrize(
    "words",
    [
        ("next", "@daily", "--from", "soon"),
        ("next", "@daily", "--dst-gap", "never"),
        ("next", "@daily", "--roll", "next"),
        ("next", "@daily", "--only", "sat", "--exclude", "sun"),
        ("next", "@daily", "--count", "0"),
        ("check", "0", "9", "1", "1", "1"),
        ("simulate", "0", "9", "1", "1", "1"),
        ("simulate", "@daily", "--to", "2001-01-01"),
        ("simulate", "@daily", "--duration", "long"),
        ("simulate", "@daily", "--outage", "2030-01-01"),
        ("simulate", "@daily", "--jitter-secs", "-1"),
        ("simulate", "@daily", "--overlap-policy", "maybe"),
    ],
)
def test_a_flag_that_makes_no_sense_ends_with_two(alone: Shell, words: tuple[str, ...]):
    """Usage errors are not faults of the expression."""
    answer = alone.run("cron", *words, code=2)
    assert answer.out == ""


def test_check_tells_what_it_has_understood(alone: Shell):
    """One object for each expression, as a list; aliases and names are kept as written."""
    found = listed(alone, "check", "@Hourly", "0 9 * * MON-fri", "--tz", "Europe/Paris")
    assert [one["expression"] for one in found] == ["@hourly", "0 9 * * mon-fri"]
    assert [one["meaning"] for one in found] == ["Every hour, on the hour.", "At 09:00, Monday to Friday."]
    assert {one["timezone"] for one in found} == {"Europe/Paris"}


def test_check_shows_a_window_as_an_interval(alone: Shell):
    """When it opens next, or since when it is open."""
    (found,) = listed(alone, "check", "* * * * *", "--window")
    assert found["open"] is True
    (found,) = listed(alone, "check", "0 9-17 1 1 *", "--window")
    opens, closes = (datetime.fromisoformat(found[name]) for name in ("open_from", "open_until"))
    assert (opens.hour, opens.month, closes - opens) == (9, 1, timedelta(hours=8, minutes=1))


def test_explain_on_a_terminal_is_a_sentence(alone: Shell):
    """The meaning, what may surprise, the next three fires."""
    shown = alone.terminal("cron", "explain", "0 0 13 * 5")
    assert shown.wait() == 0
    assert "At 00:00, on the 13th of the month or on Friday." in shown.shown
    assert "either one is enough" in shown.shown
    assert shown.shown.count("+00:00") == 3


def test_explain_as_data(alone: Shell):
    """The five fields by name, the sentence, the notes."""
    found = alone.ok("cron", "explain", "@monthly", "-o", "json").json
    assert found["meaning"] == "At 00:00, on the 1st of the month."
    assert found["fields"] == {"minute": "0", "hour": "0", "day of month": "1", "month": "*", "day of week": "*"}


def test_simulate_tells_fires_and_skips(alone: Shell):
    """Runs of a quarter of an hour every ten minutes: every second tick overlaps."""
    words = ("--from", "2030-01-01", "--to", "1h", "--duration", "15m", "--overlap-policy", "skip")
    found = listed(alone, "simulate", "*/10 * * * *", *words)
    told = [(one["at"][14:16], one["event"]) for one in found if one["event"] in {"fired", "skipped"}]
    assert told == [
        ("00", "fired"),
        ("10", "skipped"),
        ("20", "fired"),
        ("30", "skipped"),
        ("40", "fired"),
        ("50", "skipped"),
    ]
    answer = alone.ok("cron", "simulate", "*/10 * * * *", *words)
    assert "3 fired, 3 skipped (overlap), 1 at most at once" in answer.err


def test_simulate_as_figures_alone(alone: Shell):
    """One row a schedule: what fired, was skipped and why, how many ran at once."""
    words = ("--from", "2030-01-01", "--to", "1h", "--duration", "15m", "--overlap-policy", "skip", "--summary")
    ten, all_ = listed(alone, "simulate", "*/10 * * * *", "@hourly", *words)
    assert ten == {
        "name": "*/10 * * * *", "fired": 3, "caught_up": 0, "held": 0, "canceled": 0, "late": 0,
        "skipped": {"overlap": 3}, "most_at_once": 1,
    }  # fmt: skip
    assert (all_["name"], all_["fired"]) == ("@hourly", 1)
    answer = alone.ok("cron", "simulate", "*/10 * * * *", *words)
    assert answer.rows[1] == ["*/10 * * * *", "3", "0", "0", "0", "0", "overlap=3", "1"]


def test_simulate_says_when_it_is_cut(alone: Shell):
    """A story longer than it may be ends early, and says so."""
    answer = alone.ok("cron", "simulate", "* * * * *", "--from", "2030-01-01", "--to", "40d", "--summary")
    assert "cut after 100000 events: choose a shorter interval" in answer.err


def test_simulate_an_outage(alone: Shell):
    """What was missed becomes one run when the daemon is back; -q silences the figures."""
    words = ("--from", "2030-01-31", "--to", "1d", "--outage", "2030-01-31T01:30/2030-01-31T13:10", "-q")
    answer = alone.ok("cron", "simulate", "0 * * * *", *words, "-o", "json")
    assert answer.err == ""
    late = [one for one in answer.json if one["at"] == "2030-01-31T13:10:00Z" and one["event"] in {"fired", "skipped"}]
    assert [(one["event"], one["count"], one["note"]) for one in late] == [
        ("skipped", 11, "coalesced"),
        ("fired", 1, "catch_up"),
    ]


def test_simulate_holds_runs_at_a_closed_window(alone: Shell):
    """A night job waits for its window to open."""
    words = ("--from", "2030-01-01", "--to", "1d", "--window", "* 6-8 * * *")
    found = listed(alone, "simulate", "0 2 * * *", *words)
    assert [(one["event"], one["at"][11:16]) for one in found] == [
        ("fired", "02:00"), ("held", "02:00"), ("started", "06:00"), ("finished", "06:00"),
    ]  # fmt: skip
    assert found[1]["note"] == "window closed until 2030-01-01T06:00:00+00:00"


def test_zones_complete(alone: Shell):
    """TAB behind `--timezone` offers the zones that begin so."""
    words = ("cron", "next", "@daily", "--timezone", "Europe/Ber")
    assert alone.ok(*words, env={"_STRAIT_COMPLETE": "bash"}).out.split() == ["Europe/Berlin"]
