"""`strait dashboard`: everything there is on one screen."""

from __future__ import annotations

from typing import Final

from strait_cli.session import Session
from strait_cli.verbs import leaf, verb
from strait_core.errors import UsageError

app = leaf()


@verb(app, "dashboard", examples=("strait dashboard", "strait dashboard --project billing"))
def dashboard(session: Session) -> None:
    """Open a live view of queue, runs, jobs, workflows, schedules, dead letters and events.

    It needs a terminal; ? shows the keys, q leaves. Whatever it does to runs or jobs it asks for first.
    """
    if not session.has_screen:
        raise UsageError("the dashboard needs a terminal", hint="strait stats; strait listen; strait runs list")
    from strait_cli.tui.opening import dashboard as show  # noqa: PLC0415 - textual, for this verb only

    show(session)


APPS: Final = {"dashboard": app}
