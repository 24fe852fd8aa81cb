"""`strait migrate`: the database's schema, by the daemon's own migrations."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from strait_cli import launch
from strait_cli.keys import read_secret
from strait_cli.session import Session
from strait_cli.verbs import noun, verb

Database = Annotated[
    str | None,
    typer.Option("--database", help="PostgreSQL URL, @file, - or env:NAME.", metavar="URL", show_default=False),
]

app = noun(
    "Show and apply the migrations of the database that DATABASE_URL names.\n\n`strait serve` applies them itself."
)


@verb(app, "status", examples=("strait migrate status",))
def status(session: Session, database: Database = None) -> None:
    """Show which migrations are applied and which are waiting."""
    launch.daemon(["migrate", "status", "--output", session.out.view.format], _environ(database))


@verb(app, "up", examples=("strait migrate up", "strait migrate up --database env:ADMIN_DATABASE_URL"))
def up(session: Session, database: Database = None) -> None:
    """Apply the waiting migrations; safe while daemons run, and when several do it at once."""
    launch.daemon(["migrate", "up", "--output", session.out.view.format], _environ(database))


def _environ(database: str | None) -> dict[str, str]:
    return {} if database is None else launch.setting("DATABASE_URL", read_secret(database, flag="--database"))


APPS: Final = {"migrate": app}
