"""`strait calendars`, against a real daemon."""

from __future__ import annotations

from tests.cli.runner import Shell


def test_a_calendar_from_end_to_end(shell: Shell):
    """Create, list, show, attach, change, delete."""
    days = "2030-12-25,2030-08-01..2030-08-31,Sat,sunday"
    made = shell.ok("calendars", "create", "closed", "--days", days, "-o", "json").json
    assert (made["dates"], made["weekdays"]) == (["2030-12-25"], ["sat", "sun"])
    assert made["ranges"] == [{"first": "2030-08-01", "last": "2030-08-31"}]
    assert shell.ok("calendars", "get", "closed", "-o", "json").json == made
    assert shell.ok("calendar", "get", made["id"][:-3], "-o", "json").json == made
    heads, row = shell.ok("calendars", "ls").rows
    assert dict(zip(heads, row, strict=True))["SLUG"] == "closed"
    words = ("--name", "S", "--slug", "s", "--endpoint", "http://127.0.0.1:9/x", "--cron", "0 9 * * *")
    job = shell.ok(
        "jobs",
        "create",
        *words,
        "--calendar",
        "closed",
        "--calendar-mode",
        "only",
        "--calendar-roll",
        "next",
        "-o",
        "json",
    ).json
    assert (job["calendar"], job["calendar_mode"], job["calendar_roll"]) == ("closed", "only", "next")
    assert "goes by" in shell.run("calendars", "delete", "closed", "--yes", code=6).err
    shell.ok("jobs", "update", "s", "--unset", "calendar", "--unset", "calendar-mode", "--unset", "calendar-roll")
    assert shell.ok("calendars", "update", "closed", "--days", "mon", "-o", "json").json["weekdays"] == ["mon"]
    assert "weekday" in shell.run("calendars", "update", "closed", "--days", "someday", code=7).err
    shell.run("calendars", "delete", "closed", code=2)
    shell.ok("calendars", "rm", "closed", "--yes")
    shell.run("calendars", "get", "closed", code=5)
