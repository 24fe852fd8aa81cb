"""`dev` and `serve`: commands that become the daemon."""

from __future__ import annotations

import os
from typing import Annotated, Final

import typer

from strait_cli import configfile, launch
from strait_cli.ask import confirm
from strait_cli.keys import read_secret
from strait_cli.session import Session
from strait_cli.verbs import leaf, noun, verb
from strait_core.errors import UsageError

_MODES: Final = ("all", "api", "worker")
_PORT: Final = 8080

Port = Annotated[
    int | None, typer.Option("--port", help="TCP port of the API (8080).", min=1, max=65_535, metavar="PORT")
]
Database = Annotated[
    str | None,
    typer.Option("--database", help="PostgreSQL URL, @file, - or env:NAME.", metavar="URL", show_default=False),
]


def _dev(
    session: Session,
    database: Database = None,
    db: Annotated[
        str | None, typer.Option("--db", help="Keep the data in this folder.", metavar="DIR", show_default=False)
    ] = None,
    port: Port = None,
    *,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Forget all data at the end.")] = False,
    no_sample: Annotated[bool, typer.Option("--no-sample", help="Without the sample endpoint and job.")] = False,
) -> None:
    if sum(map(bool, (database, db, ephemeral))) > 1:
        raise UsageError("--database, --db and --ephemeral exclude each other")
    port = port or _exported_port()
    words = ["dev"]
    words += ["--ephemeral"] if ephemeral else []
    words += ["--db", db] if db else []
    words += ["--port", str(port)]
    words += ["--no-sample"] if no_sample else []
    # An exported DATABASE_URL is somebody's real one and is ignored by `dev`; this variable is for `dev` alone.
    environ = {} if database is None else {"STRAIT_DEV_DATABASE": read_secret(database, flag="--database")}
    # A dev that is about to be refused must not take the context away from the one that runs.
    if launch.is_free(port) and (database or ephemeral or not launch.dev_is_running(db)):
        _write_local_context(session, port)
    launch.daemon(words, environ)


def _exported_port() -> int:
    """The port that `serve` would take from the environment, so that both mean the same."""
    text = os.environ.get("STRAIT_PORT") or os.environ.get("PORT") or ""
    return int(text) if text.isdecimal() else _PORT


def _write_local_context(session: Session, port: int) -> None:
    """Let the next shell find this daemon: context `local`, chosen unless the user works with another."""
    secret = launch.dev_secret_file()
    values = {"server": f"http://127.0.0.1:{port}", "key": f"file:{secret}"}
    configfile.put_context("local", values)
    chosen = configfile.current()
    if chosen is None:
        configfile.use_context("local")
    elif chosen != "local":
        session.out.note(f"your context is {chosen}; for this daemon add --context local, or: strait context use local")


dev = noun(
    "Start a whole Strait on this machine: a real PostgreSQL, the daemon and a sample endpoint.\n\n"
    "Nothing needs to be installed or set. Data stays in the XDG data folder until `strait dev reset`; another shell "
    "finds the daemon through the context `local`. Ctrl-C stops everything.",
    invoke=_dev,
    examples=(
        "strait dev",
        "strait dev --port 9090 --ephemeral",
        "strait dev --database env:MY_DATABASE_URL",
    ),
)


@verb(dev, "reset", local=True, examples=("strait dev reset", "strait dev reset --yes"))
def reset(
    session: Session,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete the data of `strait dev`: every job and run in it."""
    del session
    confirm("delete all jobs and runs of `strait dev` on this machine", yes=yes)
    launch.daemon(["dev-reset"])


serve = leaf()


@verb(
    serve,
    "serve",
    local=True,
    examples=(
        "strait serve",
        "strait serve --mode worker --processes 2",
        "strait serve --mode api --host 0.0.0.0 --port 9090",
        "strait serve --database @/run/secrets/database-url",
    ),
)
def run_serve(
    session: Session,
    mode: Annotated[
        str | None, typer.Option("--mode", help="all, api or worker (all).", metavar="MODE", show_default=False)
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on (127.0.0.1).", metavar="HOST")
    ] = None,
    port: Port = None,
    processes: Annotated[
        int | None, typer.Option("--processes", help="Worker processes (1).", min=1, max=64, metavar="N")
    ] = None,
    database: Database = None,
) -> None:
    """Run the daemon in the foreground, against the PostgreSQL that DATABASE_URL names.

    Settings come from the environment; these flags outrank them. SIGTERM drains and stops; exit 3 means that a
    setting is wrong or the database cannot be reached.
    """
    del session
    if mode is not None and mode not in _MODES:
        raise UsageError(f'--mode: "{mode}" is none of all, api, worker')
    url = None if database is None else read_secret(database, flag="--database")
    environ = {
        **launch.setting("HOST", host),
        **launch.setting("PORT", port),
        **launch.setting("DATABASE_URL", url),
    }
    words = ["--mode", mode] if mode else []
    words += ["--processes", str(processes)] if processes else []
    launch.daemon(["serve", *words], environ)


APPS: Final = {"dev": dev, "serve": serve}
