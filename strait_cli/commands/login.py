"""`strait login`, `logout`, `whoami`: a server's key, tried before it is kept."""

from __future__ import annotations

import getpass
import sys
from typing import Any, Final

from strait_cli import configfile, keys
from strait_cli.session import Session
from strait_cli.verbs import leaf, verb
from strait_core.errors import AuthError, NotFoundError, UsageError

_DEFAULT_CONTEXT: Final = "default"

login_app, logout_app, whoami_app = leaf(), leaf(), leaf()


@verb(
    login_app,
    "login",
    lenient=True,
    examples=(
        "strait login",
        "strait login --server https://strait.example.com --context prod",
        "strait login --api-key @prod.key",
        "strait login --api-key env:STRAIT_CI_KEY",
    ),
)
def login(session: Session) -> None:
    """Try a key at the server and keep it in the context in force (`default` when there is none).

    The key is asked for, or taken from --api-key. It goes into the operating system's keyring, or a 0600 file where
    there is none; `env:NAME` stays a reference.
    """
    name = configfile.check_name(session.layers.active.text or _DEFAULT_CONTEXT)
    given = session.layers.flags.get("api_key")
    key = keys.read_secret(given, flag="--api-key") if given is not None else _asked(session)
    server = session.layers.value("server").text or ""
    _try(session, key)
    reference = given if given is not None and given.startswith("env:") else keys.store_key(name, key)
    configfile.put_context(name, {"server": server, "key": reference, **_project(session)})
    configfile.use_context(name)
    session.out.note(f"{server} takes the key; context {name} has it and is in force")


@verb(logout_app, "logout", lenient=True, examples=("strait logout", "strait logout --context prod"))
def logout(session: Session) -> None:
    """Forget the key of the context in force; the context itself stays."""
    name = session.layers.active.text
    context = configfile.contexts().get(name or "", {})
    if name is None or "key" not in context:
        raise NotFoundError(f"context {name} has no key" if name else "no context is in force", hint="strait login")
    keys.forget_key(name, context["key"])
    configfile.put_context(name, {"key": None})
    session.out.note(f"the key of context {name} is forgotten")
    for variable in session.layers.candidates("api_key"):
        if variable.source.value == "env":
            session.out.note(f"{variable.origin} is set and still gives a key")


@verb(whoami_app, "whoami", examples=("strait whoami", "strait whoami -o json"))
def whoami(session: Session) -> None:
    """Show which server is asked, with which key, and that it is accepted; exit 4 when it is not."""
    key = session.layers.value("api_key")
    facts: dict[str, Any] = {
        "server": session.layers.value("server").text,
        "server_version": session.api.get("/health")["version"],
        "context": session.layers.active.text,
        "project": session.project,
        "key_from": key.origin or None,
        "accepted": True,
    }
    if key.text is None:
        raise AuthError("there is no key", hint="strait login, or set STRAIT_API_KEY")
    session.api.get("/v1/jobs", {"limit": 1})
    session.out.item(facts, name="server")


def _asked(session: Session) -> str:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("nobody to ask for the key here", hint="strait login --api-key -, @FILE or env:NAME")
    key = getpass.getpass(f"Key of {session.layers.value('server').text} (its INTERNAL_SECRET): ").strip()
    if not key:
        raise UsageError("no key was given")
    return key


def _try(session: Session, key: str) -> None:
    """Ask the server something that needs the key; raises what it says."""
    api = session.client_with(key, "what you gave")
    try:
        api.get("/v1/jobs", {"limit": 1})
    finally:
        api.http.close()


def _project(session: Session) -> dict[str, str]:
    project = session.layers.flags.get("project")
    return {} if project is None else {"project": project}


APPS: Final = {"login": login_app, "logout": logout_app, "whoami": whoami_app}
