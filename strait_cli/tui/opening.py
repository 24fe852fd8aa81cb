"""Opening the views from a command, and what follows when one closes."""

from __future__ import annotations

import time
from typing import Any, Final

import typer

from strait_cli import flow_watch, watch
from strait_cli.paths import path_of
from strait_cli.session import Session
from strait_cli.stream import Quiet, patiently
from strait_cli.tui.dashboard import Dashboard
from strait_cli.tui.flowing import FlowScreen
from strait_cli.tui.live import Left, LiveApp
from strait_cli.tui.watching import RunScreen

# As for Ctrl-C: whoever leaves has not seen the end.
LEFT: Final = 130


def watch_run(session: Session, ref: str, *, until: str | None, timeout: float | None) -> None:
    """Watch a run on the whole terminal; ends as `watch.watch` does."""
    states = watch.parse_until(until)
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        run = watch.find(session, ref, deadline)
    except Quiet:
        raise watch.still(ref, "", timeout or 0) from None
    if run["status"] in states:
        watch.finish(session, run, reached=True)
        return
    left = LiveApp(RunScreen(session, run, until=states, deadline=deadline)).run() or Left(run, "left", run["status"])
    match left.why:
        case "quiet":
            raise watch.still(run["id"], left.status, timeout or 0)
        case "left":
            watch.say_goes_on(session, run["id"])
            raise typer.Exit(LEFT)
    if left.error is not None:
        raise left.error
    watch.finish(session, left.run, reached=left.why == "until" or left.status in states)


def watch_flow(session: Session, run_id: str, timeout: float | None) -> dict[str, Any]:
    """Watch a workflow run on the whole terminal; the run as it ended."""
    deadline = None if timeout is None else time.monotonic() + timeout
    path = path_of("workflow-runs", run_id)
    try:
        run = patiently(lambda: session.api.get(path), deadline=deadline)
    except Quiet:
        raise flow_watch.still(run_id, "", timeout or 0) from None
    left = LiveApp(FlowScreen(session, run, deadline=deadline)).run() or Left(run, "left", run["status"])
    match left.why:
        case "quiet":
            raise flow_watch.still(run_id, left.status, timeout or 0)
        case "left":
            flow_watch.say_goes_on(session, run_id)
            raise typer.Exit(LEFT)
    if left.error is not None:
        raise left.error
    return left.run


def dashboard(session: Session) -> None:
    """Open the dashboard; a server that is not there, or refuses the key, is told before."""
    session.api.get("/v1/stats")
    Dashboard(session).run()
