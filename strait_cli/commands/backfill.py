"""`strait schedules backfill` and `strait cron backfill`: fire an interval again."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import typer

from strait_cli.ask import confirm
from strait_cli.columns import BACKFILL, BACKFILL_TICK
from strait_cli.paths import path_of
from strait_cli.progress import Progress
from strait_cli.refs import schedule_ref
from strait_cli.rules import instant
from strait_cli.session import Session
from strait_cli.verbs import option
from strait_core.errors import PartialError, StraitError, UsageError

_PAUSE_SECS: Final = 0.2

EXAMPLES: Final = (
    "strait schedules backfill nightly-report --from 2030-01-01 --to 2030-01-15 --dry-run",
    "strait schedules backfill nightly-report --from 2030-01-01 --to 2030-01-15 --max-concurrency 4 --yes",
    "strait schedules backfill nightly-report --from 2030-01-01 --to 2030-01-15 --missing-only --detach --yes",
    "strait schedules backfill nightly-report --stop",
)


def backfill(
    session: Session,
    schedule: Annotated[str, typer.Argument(metavar="SCHEDULE", help="Its id, or the slug or id of its job.")],
    *,
    from_: Annotated[
        str | None, option("--from", "From here on; without an offset, the schedule's own time.", "TIME")
    ] = None,
    to: Annotated[str | None, option("--to", "Until before this, which has passed.", "TIME")] = None,
    max_concurrency: Annotated[
        int, typer.Option("--max-concurrency", min=1, help="So many runs of it at once.", metavar="N")
    ] = 1,
    missing_only: Annotated[
        bool, typer.Option("--missing-only", help="Leave out ticks that have made a run.", show_default=False)
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the ticks, fire none.", show_default=False)] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the runs.", show_default=False)] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Stop the backfill that is under way.", show_default=False)
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Fire an interval again: a run for each tick, oldest first, no more than --max-concurrency at once.

    Each tick is fired again once, however often its interval is asked for, so the same words go on where a backfill
    was stopped. Ctrl-C leaves it going. Exit 10 when some of the runs did not succeed.
    """
    ref = schedule_ref(session.api, schedule)
    path = path_of("schedules", ref, "backfill")
    if stop:
        session.api.delete(path)
        session.done(f"stopped the backfill of {schedule}; what it has started goes on", ref, "stopped")
        return
    asked = {**_span(session, ref, from_, to), "max_concurrency": max_concurrency, "missing_only": missing_only}
    plan = session.api.post(path, {**asked, "dry_run": True})
    if dry_run:
        _show_plan(session, plan)
        return
    if plan["fires"]:
        confirm(f"fire {_runs(plan['fires'])} of {schedule} again", yes=yes)
    _carry_out(session, path, schedule, asked, detach=detach)


def _span(session: Session, ref: str, from_: str | None, to: str | None) -> dict[str, str]:
    """The interval; times without an offset are the schedule's own."""
    zone = session.api.get(path_of("schedules", ref))["timezone"]
    begin, end = instant(from_, zone, "--from"), instant(to, zone, "--to")
    if begin is None or end is None:
        raise UsageError("say which interval: --from TIME --to TIME", hint=EXAMPLES[0])
    return {"from_at": begin.isoformat(), "to_at": end.isoformat()}


def _carry_out(session: Session, path: str, schedule: str, asked: dict[str, Any], *, detach: bool) -> None:
    plan = session.api.post(path, asked)
    _say_left_out(session, plan)
    going = plan["backfill"]
    if going is None:
        session.out.note("nothing to fire")
    elif detach or going["state"] != "running":
        session.out.item(going, BACKFILL, row=True, name="schedule_id")
    else:
        _follow(session, path, schedule, going)


def _follow(session: Session, path: str, schedule: str, going: dict[str, Any]) -> None:
    """A bar while it goes on, then what came of it."""
    try:
        with Progress(session, "backfilled", going["fires"]) as progress:
            while going["state"] == "running":
                time.sleep(_PAUSE_SECS)
                going = session.api.get(path)
                progress.at(going["completed"] + going["unsuccessful"])
    except KeyboardInterrupt:
        session.out.note(f"it goes on; stop it with: strait schedules backfill {schedule} --stop")
        raise
    session.out.item(going, BACKFILL, row=True, name="schedule_id")
    if going["state"] == "stopped":
        raise StraitError("the backfill was stopped", hint="the same command goes on with the rest")
    if going["unsuccessful"]:
        raise PartialError(
            f"{going['unsuccessful']} of {_runs(going['fires'])} did not succeed",
            hint="strait runs list --triggered-by backfill",
        )


def _show_plan(session: Session, plan: dict[str, Any]) -> None:
    if session.out.is_json or session.out.is_raw or session.out.view.format == "yaml":
        session.out.item(plan)
    else:
        session.out.items(plan["ticks"], BACKFILL_TICK, name="fire_at")
    session.out.note(f"would fire {_runs(plan['fires'])}; nothing was changed")
    _say_left_out(session, plan)


def _say_left_out(session: Session, plan: dict[str, Any]) -> None:
    for name, why in (
        ("already", "fired again before"),
        ("fired", "have made a run"),
        ("undecided", "are fired by the clock itself"),
    ):
        if plan[name]:
            session.out.note(f"left out {plan[name]} ticks: {why}")


def _runs(count: int) -> str:
    return f"{count} {'run' if count == 1 else 'runs'}"
