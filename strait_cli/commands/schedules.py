"""`strait schedules`: when jobs and workflows run by themselves, and what every tick came to."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from strait_cli.columns import BREACH, FIRE, NEXT_FIRE, RUN, SCHEDULE, WORKFLOW_RUN
from strait_cli.commands.backfill import EXAMPLES, backfill
from strait_cli.paths import path_of
from strait_cli.refs import schedule_ref
from strait_cli.session import Session
from strait_cli.verbs import noun, verb

app = noun("See, pause, resume and fire schedules. A schedule comes with the `--cron` of a job or a workflow.")

Schedule = Annotated[str, typer.Argument(metavar="SCHEDULE", help="Its id, or the slug or id of what it fires.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="At most so many.", metavar="N")]


@verb(
    app,
    "list",
    examples=("strait schedules list", "strait schedules list --paused", "strait schedules ls --sort next_fire_at"),
)
def list_schedules(
    session: Session,
    *,
    paused: Annotated[
        bool | None, typer.Option("--paused/--not-paused", help="Only those.", show_default=False)
    ] = None,
    limit: Limit = 50,
) -> None:
    """List schedules, newest first: what fires when."""
    filters = {} if paused is None else {"paused": str(paused).lower()}
    pages = session.api.pages("/v1/schedules", filters, limit=limit)
    session.out.items(pages, SCHEDULE)
    session.more(pages)


@verb(app, "get", examples=("strait schedules get nightly-report", "strait schedules get sch_01hzy -o yaml"))
def get(session: Session, schedule: Schedule) -> None:
    """Show a schedule: its rule, its state, its last and its next fire."""
    session.out.item(session.api.get(_path(session, schedule)), SCHEDULE)


@verb(app, "pause", examples=("strait schedules pause nightly-report --reason 'month end'",))
def pause(
    session: Session,
    schedule: Schedule,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Shown to whoever asks.", metavar="TEXT", show_default=False)
    ] = None,
) -> None:
    """Fire no more ticks; none pile up meanwhile. The job or the workflow still takes triggers."""
    request = {} if reason is None else {"reason": reason}
    session.out.item(session.api.post(f"{_path(session, schedule)}/pause", request), SCHEDULE, row=True)


@verb(app, "resume", examples=("strait schedules resume nightly-report",))
def resume(session: Session, schedule: Schedule) -> None:
    """Go on with the next tick."""
    session.out.item(session.api.post(f"{_path(session, schedule)}/resume"), SCHEDULE, row=True)


@verb(app, "trigger", examples=("strait schedules trigger nightly-report", "strait schedules trigger sch_01hzy"))
def trigger(session: Session, schedule: Schedule) -> None:
    """Fire now, beside whatever runs; the ticks to come stay as they are."""
    run = session.api.post(f"{_path(session, schedule)}/trigger")
    is_flow = "workflow_slug" in run
    session.out.item(run, WORKFLOW_RUN if is_flow else RUN, row=True)
    session.out.note(f"follow it: strait {'workflow-runs' if is_flow else 'runs'} watch {run['id']}")


@verb(
    app,
    "history",
    examples=("strait schedules history nightly-report", "strait schedules history nightly-report --skipped"),
)
def history(
    session: Session,
    schedule: Schedule,
    *,
    skipped: Annotated[
        bool | None, typer.Option("--skipped/--fired", help="Only those ticks.", show_default=False)
    ] = None,
    limit: Limit = 50,
) -> None:
    """List what each tick came to, newest first: the run it made, or why it made none."""
    filters = {} if skipped is None else {"skipped": str(skipped).lower()}
    pages = session.api.pages(f"{_path(session, schedule)}/history", filters, limit=limit)
    session.out.items(pages, FIRE, name="fire_at")
    session.more(pages)


@verb(
    app,
    "breaches",
    examples=("strait schedules breaches nightly-report", "strait schedules breaches sch_01hzy -o json"),
)
def breaches(session: Session, schedule: Schedule, *, limit: Limit = 50) -> None:
    """List deadlines that were broken, newest first: late starts, late ends, successes that did not come."""
    pages = session.api.pages(f"{_path(session, schedule)}/breaches", {}, limit=limit)
    session.out.items(pages, BREACH, name="since")
    session.more(pages)


@verb(app, "next", examples=("strait schedules next nightly-report", "strait schedules next nightly-report --count 3"))
def next_fires(
    session: Session,
    schedule: Schedule,
    count: Annotated[int, typer.Option("--count", min=1, max=200, help="How many.", metavar="N")] = 10,
) -> None:
    """Show the next fires, in UTC and as the clocks there show it."""
    found = session.api.get(f"{_path(session, schedule)}/next", {"limit": count})["data"]
    session.out.items(found, NEXT_FIRE, name="fire_at")


verb(app, "backfill", examples=EXAMPLES)(backfill)


def _path(session: Session, schedule: str) -> str:
    return path_of("schedules", schedule_ref(session.api, schedule))


APPS: Final = {"schedules": app}
