"""`strait doctor`: whether what Strait stands on is sound; the daemon's own code looks."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from strait_cli import launch
from strait_cli.keys import read_secret
from strait_cli.session import Session
from strait_cli.verbs import leaf, verb
from strait_core.errors import UsageError

_FORMATS: Final = ("table", "wide", "json", "jsonl")

Database = Annotated[
    str | None,
    typer.Option("--database", help="PostgreSQL URL, @file, - or env:NAME.", metavar="URL", show_default=False),
]

app = leaf()


@verb(
    app,
    "doctor",
    examples=(
        "strait doctor --invariants",
        "strait doctor --invariants --database env:REPLICA_URL -o json",
    ),
)
def doctor(
    session: Session,
    database: Database = None,
    *,
    invariants: Annotated[
        bool, typer.Option("--invariants", help="Look whether the stored runs are as they must always be.")
    ] = False,
) -> None:
    """Look at the database that DATABASE_URL names: a line for each check, with examples of what is wrong.

    It reads one snapshot, writes nothing and may run beside daemons. Exit 1 when a check fails, 8 when the database
    cannot be reached. How long a dead worker may hold something follows from STALE_THRESHOLD and REAPER_INTERVAL.
    """
    output = session.out.view.format
    if not invariants:
        raise UsageError("nothing to look at was named", hint="strait doctor --invariants")
    if output not in _FORMATS:
        raise UsageError(f"-o {output}: doctor prints {', '.join(_FORMATS)}")
    environ = {} if database is None else launch.setting("DATABASE_URL", read_secret(database, flag="--database"))
    launch.daemon(["doctor", "--invariants", "--output", output], environ)


APPS: Final = {"doctor": app}
