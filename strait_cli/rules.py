"""From flags to the rule of a schedule: what `strait cron` and its neighbours read without asking a server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

import typer

from strait_cli.verbs import flag
from strait_core import calendar, cron, wallclock
from strait_core.calendar import Attachment, CalendarMode, Roll
from strait_core.errors import UsageError, ValidationError
from strait_core.rule import DstGap, DstOverlap, Rule
from strait_core.schedule import MisfirePolicy, OverlapPolicy, Policy, calendar_faults

Zone = Annotated[str, typer.Option("--timezone", "--tz", help="Zone of the tz database.", metavar="ZONE")]
# What shapes a rule beside expression and zone, as optional flags.
RULE_FLAGS: Final[Mapping[str, Any]] = {
    "dst_gap": flag(str, "--dst-gap", "A named time that the clocks jump over: transition, skip or shift.", "RULE"),
    "dst_overlap": flag(str, "--dst-overlap", "A named time that occurs twice: first, second or both.", "RULE"),
    "exclude": flag(str, "--exclude", "No fires on these days: sat,2030-12-24,2030-12-27..2030-12-30", "DAYS"),
    "only": flag(str, "--only", "Fires on these days alone.", "DAYS"),
    "roll": flag(str, "--roll", "Where a fire of another day goes: none, next or previous.", "WHERE"),
}
POLICY_FLAGS: Final[Mapping[str, Any]] = {
    "misfire_policy": flag(str, "--misfire-policy", "Ticks that were missed: coalesce, all or skip.", "POLICY"),
    "misfire_max_lateness_secs": flag(
        int, "--misfire-max-lateness-secs", "Older missed ticks are skipped; 0 = none.", "SECS"
    ),
    "misfire_max_runs": flag(int, "--misfire-max-runs", "At most so many runs for missed ticks.", "N"),
    "overlap_policy": flag(
        str, "--overlap-policy", "While a run lasts: allow, skip, cancel_running or queue_one.", "POLICY"
    ),
    "jitter_secs": flag(int, "--jitter-secs", "Start up to so much later.", "SECS"),
    "start_within_secs": flag(int, "--start-within-secs", "Late unless started so soon after its tick.", "SECS"),
    "finish_within_secs": flag(int, "--finish-within-secs", "Late unless finished so soon after its tick.", "SECS"),
    "expect_every_secs": flag(int, "--expect-every-secs", "Late when no run has succeeded for so long.", "SECS"),
}
_LENGTH: Final = re.compile(r"(\d{1,9})([smhd]?)")
_MOST: Final = 366 * 86_400
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def policy_of(given: Mapping[str, Any]) -> Policy:
    """The policy that flags describe."""
    numbers = {name: number for name, number in given.items() if name in POLICY_FLAGS and isinstance(number, int)}
    for name, number in numbers.items():
        low = 0 if name in {"misfire_max_lateness_secs", "jitter_secs"} else 1
        if not low <= number <= _MOST:
            raise UsageError(f"--{name.replace('_', '-')} takes {low} to {_MOST}, not {number}")
    return Policy(
        misfire_policy=chosen(MisfirePolicy, given.get("misfire_policy"), "--misfire-policy") or MisfirePolicy.COALESCE,
        overlap_policy=chosen(OverlapPolicy, given.get("overlap_policy"), "--overlap-policy") or OverlapPolicy.ALLOW,
        **numbers,
    )


def seconds(text: str) -> timedelta:
    """A length as it is typed: `90`, `90s`, `15m`, `2h`, `3d`."""
    found = _LENGTH.fullmatch(text)
    if not found:
        raise UsageError(f'"{text}" is no length', hint="90, 90s, 15m, 2h or 3d")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def rule_of(expression: str, zone: str, given: Mapping[str, Any], now: datetime) -> Rule:
    """The rule that arguments and flags describe; raises ValidationError with every fault, a calendar with no day left
    included.
    """
    faults = [*cron.faults(expression, "/expression"), *wallclock.zone_faults(zone, "/timezone")]
    if faults:
        raise ValidationError(faults)
    rule = Rule(
        cron.parse(expression, "/expression"),
        zone,
        chosen(DstGap, given.get("dst_gap"), "--dst-gap") or DstGap.TRANSITION,
        chosen(DstOverlap, given.get("dst_overlap"), "--dst-overlap") or DstOverlap.FIRST,
        _calendar(given),
    )
    faults = calendar_faults(rule, now, "/exclude" if given.get("exclude") else "/only")
    if faults:
        raise ValidationError(faults)
    return rule


def chosen(kind: Any, text: str | None, name: str) -> Any:
    """The member of an enumeration that a flag names, None when it was not typed."""
    if text is None:
        return None
    if text not in list(kind):
        raise UsageError(f'{name} takes {", ".join(kind)}, not "{text}"')
    return kind(text)


def instant(text: str | None, zone: str, name: str) -> datetime | None:
    """A time as it is typed: with an offset or Z, or as the zone's own clock shows it; a date is its midnight."""
    if text is None:
        return None
    faults = wallclock.zone_faults(zone, "/timezone")
    if faults:
        raise ValidationError(faults)
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f'{name} takes a time, not "{text}"', hint="2030-01-31T09:00:00Z, or 2030-01-31T09:00"
        ) from error


def _calendar(given: Mapping[str, Any]) -> Attachment | None:
    exclude, only, roll = (given.get(name) for name in ("exclude", "only", "roll"))
    if exclude and only:
        raise UsageError("--exclude and --only exclude each other")
    if not exclude and not only:
        if roll:
            raise UsageError("--roll works only with --exclude or --only")
        return None
    mode = CalendarMode.EXCLUDE if exclude else CalendarMode.ONLY
    days = calendar.parse_days(exclude or only or "", f"/{mode}")
    return Attachment(days, mode, chosen(Roll, roll, "--roll") or Roll.NONE)
