"""`strait doctor`: whether all that Strait stands on is well, seen from here and by the daemon."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from strait_cli import launch
from strait_cli.columns import FINDING
from strait_cli.keys import read_secret
from strait_cli.session import Session
from strait_cli.table import cut, safe, width
from strait_cli.verbs import leaf, verb
from strait_core.errors import UsageError

_FORMATS: Final = ("table", "wide", "json", "jsonl")
_COLORS: Final = {"pass": "32", "warn": "33", "fail": "31"}

Database = Annotated[
    str | None,
    typer.Option("--database", help="PostgreSQL URL, @file, - or env:NAME.", metavar="URL", show_default=False),
]

app = leaf()


@verb(
    app,
    "doctor",
    examples=(
        "strait doctor",
        "strait doctor -o json --jq '.[] | select(.status != \"pass\")'",
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
    """Look whether all is well: configuration, server, clocks, secrets, PostgreSQL, Redis, queue, files, endpoints.

    A line for each thing, with the fix where one is needed. Exit 1 when something fails. Without a server it looks at
    the database that DATABASE_URL names. With --invariants it reads that database in one snapshot and compares what is
    stored with what must be so; exit 8 when it cannot be reached. It may run beside daemons; nothing is ever changed.
    """
    if invariants:
        _invariants(session, database)
    if database is not None:
        raise UsageError("--database goes with --invariants", hint="without it the server is asked: --server URL")
    from strait_cli.checkup import findings, worst  # noqa: PLC0415 - for this verb only

    out = session.out
    as_lines = out.view.format in {"table", "wide"} and not out.is_raw and not out.view.fields
    found: list[dict[str, Any]] = []
    for one in findings(session):
        found.append(one)
        if as_lines:
            _show(session, one)
    if not as_lines:
        out.items(found, FINDING, name="check")
    counts = {status: sum(one["status"] == status for one in found) for status in _COLORS}
    out.note(", ".join(f"{count} {status}" for status, count in counts.items()))
    if worst(found) == "fail":
        raise typer.Exit(1)


def _show(session: Session, found: dict[str, Any]) -> None:
    out = session.out
    if out.out.width is None:
        out.line("\t".join(safe(str(found[name] or "")) for name in ("status", "check", "detail", "fix")))
        return
    line = f"{found['status']}  {safe(found['check']):<22} {safe(found['detail'])}"
    shown = line if width(line) <= out.out.width or found["status"] != "pass" else cut(line, out.out.width)
    out.line(out.dressed(shown[:4], _COLORS[found["status"]]) + shown[4:])
    if found["fix"]:
        out.line(f"      fix: {safe(found['fix'])}")
    # It takes a while; what is known is shown at once.
    out.flush()


def _invariants(session: Session, database: str | None) -> None:
    output = session.out.view.format
    if output not in _FORMATS:
        raise UsageError(f"-o {output}: doctor --invariants prints {', '.join(_FORMATS)}")
    environ = {} if database is None else launch.setting("DATABASE_URL", read_secret(database, flag="--database"))
    launch.daemon(["doctor", "--invariants", "--output", output], environ)


APPS: Final = {"doctor": app}
