"""`strait workers`: the processes that run attempts."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from strait_cli.ask import confirm
from strait_cli.columns import WORKER
from strait_cli.paths import path_of
from strait_cli.refs import worker_id
from strait_cli.session import Session
from strait_cli.verbs import noun, verb

app = noun("List and drain worker processes.")


@verb(app, "list", examples=("strait workers list", "strait workers list --jq 'map(.in_flight) | add'"))
def list_workers(session: Session) -> None:
    """List worker processes, their slots and when each was last heard of."""
    session.out.items(session.api.pages("/v1/workers", limit=10_000), WORKER)


@verb(app, "drain", examples=("strait workers drain 7f3a", "strait workers drain 7f3a --yes"))
def drain(
    session: Session,
    worker: Annotated[str, typer.Argument(metavar="WORKER", help="Id or unique prefix of one.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Let a worker finish what it runs and take nothing new."""
    found = worker_id(session.api, worker)
    confirm(f"drain worker {found}: it finishes what it runs and takes nothing new", yes=yes)
    session.out.item(session.api.post(path_of("workers", found, "drain")), WORKER, row=True)


APPS: Final = {"workers": app}
