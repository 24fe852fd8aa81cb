"""`strait trace`: where one run's time went."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from strait_cli import timeline, times
from strait_cli.paths import path_of
from strait_cli.refs import run_id
from strait_cli.session import Session
from strait_cli.table import cut, safe
from strait_cli.verbs import leaf, verb

# Attempts are bounded by max_attempts and replays: a trace shows them all.
_ALL: Final = 100_000

app = leaf()


@verb(app, "trace", examples=("strait trace @last", "strait trace @failed -o json", "strait trace run_01hzy"))
def trace(
    session: Session,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id, unique prefix of one, @last or @failed.")],
) -> None:
    """Show where a run's time went: a bar for each attempt (queue, connect, first byte, transfer), and its events."""
    path = path_of("runs", run_id(session.api, run))
    found = session.api.get(path)
    attempts = list(session.api.pages(f"{path}/attempts", limit=_ALL))
    events = list(session.api.pages(f"{path}/events", limit=_ALL))
    rows = timeline.rows(attempts, events)
    out = session.out
    if not out.is_human or out.view.fields:
        if out.is_json and not out.view.fields:
            out.item({"run": found, "attempts": attempts, "events": events})
        else:
            out.items(rows, timeline.SPAN, name="at")
        return
    took = _took(found)
    out.line(f"{safe(found['id'])}  {out.bold(found['job_slug'])}  {out.paint(found['status'])}{took}")
    for line in timeline.lines(found, rows):
        out.line(cut(line, out.out.width or 80))
    out.note(timeline.LEGEND)


def _took(run: dict[str, str | None]) -> str:
    began, ended = (times.parse(run[name] or "") for name in ("created_at", "finished_at"))
    return f"  {times.length((ended - began).total_seconds())} in all" if began and ended else ""


APPS: Final = {"trace": app}
