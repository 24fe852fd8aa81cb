"""`strait changes`: the feed of everything that changes, from any place of the last day on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlencode

import typer

from strait_cli.session import Session
from strait_cli.table import Column, safe
from strait_cli.verbs import leaf, verb
from strait_core.errors import StraitError

if TYPE_CHECKING:
    from strait_cli.stream import Message

app = leaf()

_COLUMNS: Final = (
    Column("at", kind="time"),
    Column("kind"),
    Column("id"),
    Column("status"),
    Column("seq", kind="number"),
    Column("attempt", kind="number"),
    Column("project_id", "project"),
    Column("job_id", "job", wide=True),
    Column("workflow_id", "workflow", wide=True),
    Column("cursor", wide=True),
)


@verb(
    app,
    "changes",
    examples=(
        "strait changes --limit 20",
        "strait changes --follow -o jsonl",
        "strait changes --kind run,workflow_run --follow --start latest",
    ),
)
def changes(
    session: Session,
    cursor: Annotated[
        str | None,
        typer.Option("--cursor", help="Go on behind this change's cursor.", metavar="TEXT", show_default=False),
    ] = None,
    start: Annotated[
        str, typer.Option("--start", help="Where to begin without a cursor: oldest or latest.", metavar="WHERE")
    ] = "oldest",
    kind: Annotated[
        str | None,
        typer.Option("--kind", help="Only these: run,job,workflow_run,event.", metavar="KINDS", show_default=False),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many.", metavar="N", show_default=False)
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with each change as it comes.")] = False,
) -> None:
    """Show every committed change of runs, jobs, workflow runs and events, each object's in their order.

    Changes are kept for a day. With -f it goes on until Ctrl-C, through restarts of the daemon; -o jsonl gives each
    change with the cursor from which to go on.
    """
    query = {"cursor": cursor, "start": start, "kind": kind}
    if not follow:
        session.out.items(islice(_pages(session, query, limit), limit), _COLUMNS)
        return
    for one in islice(_followed(session, query), limit):
        session.out.change(one, _line(session, one))


def _pages(session: Session, query: dict[str, Any], limit: int | None) -> Iterator[dict[str, Any]]:
    """The changes that are there, page after page."""
    from strait_cli.client import PAGE  # noqa: PLC0415 - requests, for this verb only

    size = PAGE if limit is None else min(PAGE, limit)
    while True:
        page: dict[str, Any] = session.api.get("/v1/changes", {**query, "limit": size})
        yield from page["data"]
        query = {**query, "cursor": page["next_cursor"]}
        if not page["has_more"]:
            return


def _followed(session: Session, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The changes for ever: from the stream, and by pages while there is none to be had."""
    from strait_cli import exact  # noqa: PLC0415 - streams, for this verb only
    from strait_cli.stream import follow  # noqa: PLC0415
    from strait_cli.watch import say_lost  # noqa: PLC0415

    asked = urlencode({name: value for name, value in query.items() if value is not None})
    stream = follow(
        session.api,
        f"/v1/changes/stream?{asked}",
        on_loss=lambda error: say_lost(session, error),
        poll=partial(_polled, session, query),
    )
    for message in stream:
        if message.event != "change":
            continue
        try:
            one: dict[str, Any] = exact.loads(message.data)
        except ValueError as error:
            raise StraitError(f"the server sent a stream event that makes no sense: {error!r}") from error
        yield one


def _polled(session: Session, query: dict[str, Any], last_id: str | None) -> Iterator[Message]:
    """What has come behind a change, by pages; of the last page also the place where it ends."""
    from strait_cli import exact  # noqa: PLC0415 - as above
    from strait_cli.client import PAGE  # noqa: PLC0415
    from strait_cli.stream import Message  # noqa: PLC0415

    while True:
        asked = {**query, "cursor": last_id or query["cursor"], "limit": PAGE}
        page: dict[str, Any] = session.api.get("/v1/changes", asked)
        for one in page["data"]:
            yield Message("change", exact.dumps(one), one["cursor"])
        last_id = page["next_cursor"]
        yield Message("", "", last_id)
        if not page["has_more"]:
            return


def _line(session: Session, one: dict[str, Any]) -> str:
    from strait_cli.watch import clock_of  # noqa: PLC0415 - streams, for this verb only

    attempt = f"attempt {one['attempt']}" if one["attempt"] else ""
    at, kind, identity, status = (safe(str(one[name] or "")) for name in ("at", "kind", "id", "status"))
    if session.out.out.width is None:
        return f"{at}\t{kind}\t{identity}\t{status}\t{attempt}"
    return f"{clock_of(at)}  {kind:<12}  {identity}  {session.out.paint(status)}  {attempt}".rstrip()


APPS: Final = {"changes": app}
