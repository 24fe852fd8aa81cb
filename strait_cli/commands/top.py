"""`strait top`: what the queue does right now, drawn again and again."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import typer

from strait_cli import times
from strait_cli.columns import RUN
from strait_cli.commands.stats import facts
from strait_cli.session import Session
from strait_cli.table import Column, safe
from strait_cli.verbs import leaf, verb
from strait_core.errors import StraitError

_LIVE: Final = "dequeued,executing"
_MOST_RUNS: Final = 15

app = leaf()


@verb(app, "top", examples=("strait top", "strait top --every 5", "strait top --once -o json"))
def top(
    session: Session,
    every: Annotated[float, typer.Option("--every", min=0.2, help="Seconds between two looks.", metavar="SECS")] = 2.0,
    *,
    once: Annotated[bool, typer.Option("--once", help="One look, then leave.")] = False,
) -> None:
    """Watch the queue: depth, rates, workers, the busiest jobs and what is running. Ctrl-C leaves.

    Where nobody watches (a pipe, or another format than a table) it is one look. It survives a restart of the daemon.
    """
    if once or not session.has_screen:
        _show_once(session, _look(session))
        return
    try:
        _draw(session, every)
    except KeyboardInterrupt:
        return


def _draw(session: Session, every: float) -> None:
    """One look after the other; the last one stays in sight while the server is away."""
    from rich.console import Console  # noqa: PLC0415 - only where it is drawn
    from rich.live import Live  # noqa: PLC0415

    from strait_cli.stream import patiently  # noqa: PLC0415 - likewise
    from strait_cli.watch import asked  # noqa: PLC0415

    console = Console(no_color=not session.out.out.color, highlight=False)
    seen = asked(session, lambda: _look(session))
    with Live(_drawn(seen), console=console, screen=True, auto_refresh=False) as live:

        def say(error: StraitError) -> None:
            live.update(_drawn(seen, f"{error.message}; trying again"), refresh=True)

        while True:
            time.sleep(every)
            seen = patiently(lambda: _look(session), on_loss=say)
            live.update(_drawn(seen), refresh=True)


def _look(session: Session) -> dict[str, Any]:
    api = session.api
    runs = api.get("/v1/runs", {"status": _LIVE, "limit": _MOST_RUNS})["data"]
    return {"stats": api.get("/v1/stats"), "runs": runs}


def _show_once(session: Session, seen: dict[str, Any]) -> None:
    out = session.out
    if out.is_raw or out.view.fields or out.view.format not in {"table", "wide"}:
        out.item(seen)
        return
    out.pairs(facts(seen["stats"]))
    for rows, columns in ((seen["stats"]["top_jobs"], TOP_JOBS), (seen["runs"], RUN)):
        if rows:
            out.line("")
            out.items(rows, columns)


TOP_JOBS: Final = (Column("job_slug", "job"), Column("queued", kind="number"), Column("executing", kind="number"))


def _drawn(seen: dict[str, Any], trouble: str = "") -> Any:
    """A look as something that Rich draws; `trouble` is why it is not of now."""
    from rich.console import Group  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    head = Table.grid(padding=(0, 2))
    for name, value in facts(seen["stats"]).items():
        head.add_row(Text(name, style="dim"), Text(safe(str("-" if value is None else value))))
    jobs = Table("job", "queued", "executing", box=None, padding=(0, 2, 0, 0))
    for one in seen["stats"]["top_jobs"]:
        jobs.add_row(Text(safe(one["job_slug"])), str(one["queued"]), str(one["executing"]))
    runs = Table("running", "job", "state", "try", "for", box=None, padding=(0, 2, 0, 0))
    for run in seen["runs"]:
        cells = (run["id"], run["job_slug"], run["status"], run["attempt"], _for(run))
        runs.add_row(*(Text(safe(str(one))) for one in cells))
    return Group(Text(safe(trouble), style="bold red"), head, Text(), jobs, Text(), runs)


def _for(run: dict[str, Any]) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415 - as above

    began = times.parse(run["started_at"] or run["created_at"])
    return "" if began is None else times.length(max(0.0, (datetime.now(UTC) - began).total_seconds()))


APPS: Final = {"top": app}
