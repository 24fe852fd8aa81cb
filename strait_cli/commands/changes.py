"""`strait changes`: the feed of everything that changes, from any place of the last day on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from strait_cli.session import Session
from strait_cli.table import Column, safe
from strait_cli.verbs import leaf, verb

app = leaf()

# The server answers an empty page after so long; well within the time that one request may take.
_WAIT_SECS: Final = 5
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
    found = _feed(session, {"cursor": cursor, "start": start, "kind": kind}, limit, follow=follow)
    if not follow:
        session.out.items(found, _COLUMNS)
        return
    for one in found:
        session.out.change(one, _line(session, one))


def _feed(session: Session, query: dict[str, Any], limit: int | None, *, follow: bool) -> Iterator[dict[str, Any]]:
    """The changes, page after page: to the end of the feed, or for ever and through a daemon's absence."""
    from strait_cli.client import PAGE  # noqa: PLC0415 - requests, for this verb only
    from strait_cli.stream import patiently  # noqa: PLC0415
    from strait_cli.watch import say_lost  # noqa: PLC0415

    def ask(asked: dict[str, Any]) -> Any:
        if not follow:
            return session.api.get("/v1/changes", asked)
        return patiently(lambda: session.api.get("/v1/changes", asked), on_loss=lambda error: say_lost(session, error))

    told = 0
    while limit is None or told < limit:
        size = PAGE if limit is None else min(PAGE, limit - told)
        asked = {**query, "limit": size, "wait": _WAIT_SECS if follow else 0}
        page: dict[str, Any] = ask(asked)
        yield from page["data"]
        told += len(page["data"])
        query = {**query, "cursor": page["next_cursor"]}
        if not follow and len(page["data"]) < size:
            return


def _line(session: Session, one: dict[str, Any]) -> str:
    from strait_cli.watch import clock_of  # noqa: PLC0415 - as above

    attempt = f"attempt {one['attempt']}" if one["attempt"] else ""
    at, kind, identity, status = (safe(str(one[name] or "")) for name in ("at", "kind", "id", "status"))
    if session.out.out.width is None:
        return f"{at}\t{kind}\t{identity}\t{status}\t{attempt}"
    return f"{clock_of(at)}  {kind:<12}  {identity}  {session.out.paint(status)}  {attempt}".rstrip()


APPS: Final = {"changes": app}
