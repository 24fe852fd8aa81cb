"""`strait budgets`: what projects may spend in a day."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from strait_cli.columns import BUDGET
from strait_cli.paths import path_of
from strait_cli.session import Session
from strait_cli.verbs import noun, verb
from strait_core.errors import UsageError

Project = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's id.")]

app = noun("See and set what projects may spend in a day.")


@verb(app, "get", examples=("strait budgets get proj_123", "strait budgets get proj_123 --jq .spent_microusd"))
def get(session: Session, name: Project) -> None:
    """Show a project's budget, what it has spent today, and when its next day begins."""
    session.out.item(session.api.get(path_of("budgets", name)), BUDGET)


@verb(
    app,
    "set",
    examples=(
        "strait budgets set proj_123 --daily-microusd 5000000 --timezone Europe/Berlin",
        "strait budgets set proj_123 --none",
    ),
)
def put(
    session: Session,
    name: Project,
    daily_microusd: Annotated[
        int | None,
        typer.Option("--daily-microusd", help="Millionths of a US dollar.", min=0, metavar="N", show_default=False),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option("--timezone", help="Whose midnight counts (UTC).", metavar="ZONE", show_default=False)
    ] = None,
    *,
    none: Annotated[bool, typer.Option("--none", help="Lift the budget.")] = False,
) -> None:
    """Say what a project may spend in a day: beyond it triggers are refused until the day turns.

    A zone that is not named is UTC.
    """
    if none == (daily_microusd is not None) or (none and timezone is not None):
        raise UsageError("say either how much, or that there is no limit", hint="--daily-microusd N, or --none")
    body = {"daily_microusd": daily_microusd} | ({} if timezone is None else {"timezone": timezone})
    session.out.item(session.api.put(path_of("budgets", name), body), BUDGET)


APPS: Final = {"budgets": app}
