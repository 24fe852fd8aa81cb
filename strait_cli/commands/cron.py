"""`strait cron`: what expressions mean and when they fire, without a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from strait_cli.commands.backfill import EXAMPLES, backfill
from strait_cli.rules import POLICY_FLAGS, RULE_FLAGS, Zone, instant, policy_of, rule_of, seconds
from strait_cli.session import Session
from strait_cli.table import Column
from strait_cli.verbs import noun, option, verb
from strait_core import cron as expressions
from strait_core import window as windows
from strait_core.errors import UsageError, ValidationError
from strait_core.explain import explain as told
from strait_core.explain import notes
from strait_core.firing import next_fire
from strait_core.preview import Coming, coming
from strait_core.rule import Rule
from strait_core.schedule import Schedule
from strait_core.simulate import Actor, Event, Story, Tally
from strait_core.simulate import simulate as played

MAX_COUNT: Final = 10_000

_CHECKED: Final = (
    Column("expression"),
    Column("timezone", "zone"),
    Column("next_fire_at", "next fire", "time"),
    Column("meaning", shrinks=True),
)
_WINDOW: Final = (
    Column("expression"),
    Column("timezone", "zone"),
    Column("open"),
    Column("open_from", "opens", "time"),
    Column("open_until", "closes", "time"),
)
_COMING: Final = (
    Column("fire_at", "utc"),
    Column("local", of=lambda item: f"{datetime.fromisoformat(item['local']):%a %Y-%m-%d %H:%M}"),
    Column("zone_offset", "offset"),
    Column("note"),  # never cut: a long one wraps, and few rows have any
)
_EVENT: Final = (
    Column("at"),
    Column("schedule", shrinks=True),
    Column("event"),
    Column("fire_at", "tick"),
    Column("count", kind="number"),
    Column("note"),
)

_TALLY: Final = (
    Column("name", "schedule", shrinks=True),
    Column("fired", kind="number"),
    Column("caught_up", "caught up", "number"),
    Column("held", kind="number"),
    Column("canceled", kind="number"),
    Column("late", kind="number"),
    Column("skipped", of=lambda item: " ".join(f"{reason}={count}" for reason, count in item["skipped"].items())),
    Column("most_at_once", "at once", "number"),
)

Expression = Annotated[
    str, typer.Argument(metavar="EXPR", help="Five fields in one pair of quotes, or an alias such as @daily.")
]
Expressions = Annotated[list[str], typer.Argument(metavar="EXPR", help="Expressions, each in quotes.")]
From = Annotated[
    str | None, option("--from", "Begin here instead of now; without an offset, the zone's own time.", "TIME")
]
Count = Annotated[
    int, typer.Option("--count", "-n", min=1, max=MAX_COUNT, help="So many fires.", metavar="N", show_default=True)
]

app = noun("Read cron expressions: check, explain, list fires, simulate. Only backfill asks a server.")


@verb(
    app,
    "check",
    extra=RULE_FLAGS,
    examples=(
        "strait cron check '0 9 * * 1-5' --timezone Europe/Berlin",
        "strait cron check '*/5 * * * *' @daily -o json",
        "strait cron check '* 22-23,0-5 * * *' --window",
    ),
)
def check(
    session: Session,
    expression: Expressions,
    *,
    timezone: Zone = "UTC",
    window: Annotated[bool, typer.Option("--window", help="Judge them as execution windows.")] = False,
    given: dict[str, Any],
) -> None:
    """Judge expressions and zone; exit 7 with every fault, its field and its place."""
    _in_quotes(expression)
    judge = windows.faults if window else expressions.faults
    several = len(expression) > 1
    pointers = [f"/expression/{at}" if several else "/expression" for at in range(len(expression))]
    faults = [fault for one, pointer in zip(expression, pointers, strict=True) for fault in judge(one, pointer)]
    if faults:
        raise ValidationError(faults)
    now = datetime.now(UTC)
    rules = [rule_of(one, timezone, given, now) for one in expression]
    show = _window if window else _checked
    session.out.items((show(rule, now) for rule in rules), _WINDOW if window else _CHECKED, name="expression")


def _in_quotes(words: Sequence[str]) -> None:
    """Say what is missing when the fields of one expression came as words of their own."""
    if len(words) > 1 and not any(" " in word or word.startswith("@") for word in words):
        raise UsageError("these are fields, not expressions", hint=f"put them in quotes: '{' '.join(words)}'")


def _checked(rule: Rule, now: datetime) -> dict[str, Any]:
    following = next_fire(rule, now)
    return {
        "expression": rule.expression.text,
        "timezone": rule.zone,
        "meaning": told(rule.expression),
        "notes": notes(rule.expression),
        "next_fire_at": None if following is None else _utc(following),
    }


def _window(rule: Rule, now: datetime) -> dict[str, Any]:
    begin, end = windows.open_interval(rule.expression, rule.zone, now)
    facts: dict[str, Any] = {"expression": rule.expression.text, "timezone": rule.zone, "open": begin <= now}
    return facts | {"open_from": _utc(begin), "open_until": _utc(end)}


@verb(
    app,
    "next",
    extra=RULE_FLAGS,
    examples=(
        "strait cron next '30 2 * * *' --timezone Europe/Berlin --from 2030-03-30 --count 3",
        "strait cron next '0 9 1 * *' --exclude sat,sun --roll next -o json",
    ),
)
def next_fires(
    session: Session,
    expression: Expression,
    *,
    timezone: Zone = "UTC",
    from_: From = None,
    count: Count = 5,
    given: dict[str, Any],
) -> None:
    """List the next fires in UTC and local time, with a note where clocks or calendars meddle.

    The list begins with the first fire later than --from.
    """
    start = instant(from_, timezone, "--from") or datetime.now(UTC)
    fires = coming(rule_of(expression, timezone, given, start), start, count)
    session.out.items((_coming(one) for one in fires), _COMING, name="fire_at")
    if len(fires) < count:
        session.out.note("there are no more")


def _coming(one: Coming) -> dict[str, Any]:
    return {
        "fire_at": _utc(one.fire_at),
        "local": one.local.isoformat(),
        "zone_offset": one.zone_offset,
        "note": one.note,
    }


@verb(
    app,
    "explain",
    extra=RULE_FLAGS,
    examples=("strait cron explain '*/15 9-17 * * mon-fri'", "strait cron explain '0 0 13 * 5' -o json"),
)
def explain(session: Session, expression: Expression, *, timezone: Zone = "UTC", given: dict[str, Any]) -> None:
    """Say in plain English when an expression fires, and what may surprise."""
    now = datetime.now(UTC)
    rule = rule_of(expression, timezone, given, now)
    facts = _checked(rule, now) | {
        "fields": dict(zip((kind.name for kind in expressions.FIELDS), rule.expression.fields, strict=True))
    }
    if not session.out.is_human or session.out.view.fields:
        session.out.item(facts, name="expression")
        return
    session.out.line(session.out.bold(facts["meaning"]))
    for note in facts["notes"]:
        session.out.line(f"  {note}")
    session.out.line("")
    session.out.items([_coming(one) for one in coming(rule, now, 3)], _COMING)


@verb(
    app,
    "simulate",
    extra={**RULE_FLAGS, **POLICY_FLAGS},
    examples=(
        "strait cron simulate '*/10 * * * *' --duration 15m --overlap-policy skip --to 2h",
        "strait cron simulate '0 2 * * *' --timezone Europe/Berlin --from 2030-03-30 --to 3d",
        "strait cron simulate '0 * * * *' --from 2030-01-31 --to 1d --outage 2030-01-31T01:30/2030-01-31T13:10",
    ),
)
def simulate(
    session: Session,
    expression: Expressions,
    *,
    timezone: Zone = "UTC",
    from_: From = None,
    to: Annotated[str, typer.Option("--to", help="Until here: a time, or a length such as 2h.", metavar="TIME")] = "1d",
    duration: Annotated[
        str, typer.Option("--duration", help="How long a run takes: 90, 90s, 15m, 2h.", metavar="LENGTH")
    ] = "1s",
    window: Annotated[str | None, option("--window", "Runs start only in this execution window.", "EXPR")] = None,
    outage: Annotated[list[str] | None, option("--outage", "No daemon is up then: FROM/TO.", "SPAN")] = None,
    summary: Annotated[bool, typer.Option("--summary", help="Only the figures of each schedule.")] = False,
    given: dict[str, Any],
) -> None:
    """Play schedules on a virtual clock: fires, skips, overlaps, window holds, misfires.

    Decisions are those of the daemon; only the runs are assumed, each as long as --duration.
    """
    _in_quotes(expression)
    start = instant(from_, timezone, "--from") or datetime.now(UTC).replace(second=0, microsecond=0)
    end = _until(to, start, timezone)
    opening = None if window is None else _opening(window)
    actors = [
        Actor(
            one,
            Schedule(one, rule_of(one, timezone, given, start), policy_of(given)),
            seconds(duration),
            opening,
            timezone,
        )
        for one in expression
    ]
    story = played(actors, start, end, outages=[_span(text, timezone) for text in outage or ()])
    if summary:
        session.out.items((asdict(tally) for tally in story.tallies), _TALLY, name="name")
    else:
        _show(session, story)
    if story.cut:
        session.out.note(f"cut after {len(story.events)} events: choose a shorter interval")


def _opening(window: str) -> expressions.Expression:
    faults = windows.faults(window, "/window")
    if faults:
        raise ValidationError(faults)
    return expressions.parse(window, "/window")


def _until(text: str, start: datetime, zone: str) -> datetime:
    try:
        end = start + seconds(text)
    except UsageError:
        end = instant(text, zone, "--to") or start
    if end <= start:
        raise UsageError("--to must be later than --from")
    return end


def _span(text: str, zone: str) -> tuple[datetime, datetime]:
    first, slash, last = text.partition("/")
    begin, end = (instant(part, zone, "--outage") for part in (first, last)) if slash else (None, None)
    if begin is None or end is None or end <= begin:
        raise UsageError(f'--outage takes FROM/TO, not "{text}"', hint="2030-01-31T01:30Z/2030-01-31T13:10Z")
    return begin, end


def _show(session: Session, story: Story) -> None:
    session.out.items((_event(event) for event in story.events), _EVENT, name="fire_at")
    for tally in story.tallies:
        session.out.note(f"{tally.name}: {_figures(tally)}")


def _event(event: Event) -> dict[str, Any]:
    return {
        "at": _utc(event.at),
        "schedule": event.name,
        "event": event.kind.value,
        "fire_at": _utc(event.fire_at),
        "count": event.count,
        "note": event.note,
    }


def _figures(tally: Tally) -> str:
    figures: Mapping[str, int] = {
        "fired": tally.fired,
        "of them caught up": tally.caught_up,
        "held": tally.held,
        "canceled": tally.canceled,
        "late": tally.late,
        **{f"skipped ({reason})": count for reason, count in tally.skipped.items()},
        "at most at once": tally.most_at_once,
    }
    shown: Sequence[str] = [f"{count} {name}" for name, count in figures.items() if count or name == "fired"]
    return ", ".join(shown)


verb(app, "backfill", examples=[text.replace("schedules", "cron") for text in EXAMPLES])(backfill)


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


APPS: Final = {"cron": app}
