"""`strait calendars`: named sets of days that schedules fire on, or do not."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from strait_cli.ask import confirm
from strait_cli.columns import CALENDAR
from strait_cli.commands.jobs import DEFAULT_PROJECT
from strait_cli.paths import path_of
from strait_cli.refs import calendar_ref
from strait_cli.session import Session
from strait_cli.verbs import noun, verb

app = noun("Name sets of days; attach one to a job with --calendar.")

Calendar = Annotated[str, typer.Argument(metavar="CALENDAR", help="Slug or id.")]
Days = Annotated[
    str,
    typer.Option("--days", help="Dates, ranges, weekdays: 2030-12-24,2030-12-27..2030-12-31,sat,sun", metavar="LIST"),
]
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@verb(app, "list", examples=("strait calendars list", "strait calendars ls -o yaml"))
def list_calendars(
    session: Session, limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.", metavar="N")] = 50
) -> None:
    """List calendars, newest first."""
    pages = session.api.pages("/v1/calendars", limit=limit)
    session.out.items(pages, CALENDAR)
    session.more(pages)


@verb(app, "get", examples=("strait calendars get holidays", "strait calendars get holidays -o json"))
def get(session: Session, calendar: Calendar) -> None:
    """Show a calendar's days."""
    session.out.item(session.api.get(_path(session, calendar)), CALENDAR)


@verb(
    app,
    "create",
    examples=(
        "strait calendars create holidays --days 2030-12-25,2030-12-26,2031-01-01",
        "strait calendars create closed --days sat,sun,2030-08-01..2030-08-31",
    ),
)
def create(
    session: Session, slug: Annotated[str, typer.Argument(metavar="SLUG", help="Its name: a-z 0-9 _ -")], days: Days
) -> None:
    """Create a calendar."""
    request = {"project_id": session.project or DEFAULT_PROJECT, "slug": slug, **_days(days)}
    session.out.item(session.api.post("/v1/calendars", request), CALENDAR, row=True)
    session.out.note(f"let a schedule go by it: strait jobs update JOB --calendar {slug}")


@verb(app, "update", examples=("strait calendars update holidays --days 2031-12-25,2031-12-26",))
def update(session: Session, calendar: Calendar, days: Days) -> None:
    """Replace a calendar's days; schedules that go by it follow at once."""
    session.out.item(session.api.patch(_path(session, calendar), _days(days)), CALENDAR, row=True)


@verb(app, "delete", examples=("strait calendars delete holidays", "strait calendars rm holidays --yes"))
def delete(
    session: Session,
    calendar: Calendar,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a calendar that no schedule goes by."""
    found = session.api.get(_path(session, calendar))
    confirm(f"delete calendar {found['slug']} (project {found['project_id']})", yes=yes)
    session.api.delete(path_of("calendars", found["id"]))
    session.done(f"deleted calendar {found['slug']}", found["id"], "deleted")


def _days(text: str) -> dict[str, Any]:
    """The three lists of a request; the server judges what stands in them."""
    found: dict[str, Any] = {"dates": [], "ranges": [], "weekdays": []}
    for item in filter(None, (part.strip().lower() for part in text.split(","))):
        first, dots, last = item.partition("..")
        if item.isalpha():
            found["weekdays"].append(item[:3] if item[:3] in _WEEKDAYS else item)
        elif dots:
            found["ranges"].append({"first": first, "last": last})
        else:
            found["dates"].append(item)
    return found


def _path(session: Session, calendar: str) -> str:
    return path_of("calendars", calendar_ref(session.api, calendar))


APPS: Final = {"calendars": app}
