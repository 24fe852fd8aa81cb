"""`strait runs logs`: what a run's endpoint has logged, and what it logs from now on."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from strait_cli.columns import LOG
from strait_cli.paths import path_of
from strait_cli.refs import run_id
from strait_cli.session import Session


def logs(
    session: Session,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id, unique prefix of one, @last or @failed.")],
    after: Annotated[
        int | None,
        typer.Option("--after", help="Only lines with a greater number.", min=0, metavar="SEQ", show_default=False),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option("--level", help="Only these: debug,info,warning,error.", metavar="LEVELS", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.", metavar="N")] = 10_000,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
) -> None:
    """Show what a run's endpoint has logged, the first line first.

    With -f it goes on with each line as it comes, and survives a restart of the daemon.
    """
    query = {name: value for name, value in (("after", after), ("level", level)) if value is not None}
    if follow:
        _follow(session, run, query)
        return
    pages = session.api.pages(path_of("runs", run_id(session.api, run), "logs"), query, limit=limit)
    session.out.items(pages, LOG)
    session.more(pages)


def _follow(session: Session, ref: str, query: dict[str, Any]) -> None:
    """Each line once: those that are there, by pages, then those that come, by the run's stream."""
    from strait_cli.watch import Seen, changes, find, line  # noqa: PLC0415 - streams, for this verb only

    run = find(session, ref, None)
    levels = set(query["level"].split(",")) if "level" in query else None
    if levels is not None:
        # Asked once, so that a wrong level is refused as it is without -f.
        session.api.get(path_of("runs", run["id"], "logs"), {"level": query["level"], "limit": 1})
    # From its creation on, and behind the last line that is known.
    seen = Seen(run["id"], seq=1, note=query.get("after", 0), known=run["seq"])
    for change in changes(session, seen, until=frozenset(), deadline=None):
        if change["event"] == "log" and (levels is None or change["level"] in levels):
            session.out.change(change, line(session, change))
