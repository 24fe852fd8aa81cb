"""`strait context`: named servers with their key, project and format."""

from __future__ import annotations

import os
from typing import Annotated, Any, Final

import typer

from strait_cli import configfile, keys
from strait_cli.ask import confirm
from strait_cli.columns import CONTEXT
from strait_cli.context import DEFAULT_SERVER, active_context
from strait_cli.session import Session
from strait_cli.verbs import noun, verb
from strait_core.errors import ConflictError, NotFoundError

Name = Annotated[str, typer.Argument(metavar="NAME", help="A context's name.")]

app = noun("Named servers, each with its key, project and format; one of them is current.")


@verb(app, "list", lenient=True, examples=("strait context list",))
def list_contexts(session: Session) -> None:
    """List the contexts; the one in force is marked."""
    active = session.layers.active.text
    session.out.items([_shown(name, one, active) for name, one in configfile.contexts().items()], CONTEXT, name="name")


@verb(app, "show", lenient=True, examples=("strait context show", "strait context show prod"))
def show(
    session: Session,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A context's name; the one in force.")] = None,
) -> None:
    """Show one context, by default the one in force."""
    chosen = name or session.layers.active.text
    if chosen is None:
        raise NotFoundError("no context is in force", hint="strait context use NAME, or strait context create NAME")
    session.out.item(_shown(chosen, _existing(chosen), session.layers.active.text), CONTEXT, name="name")


@verb(app, "use", lenient=True, examples=("strait context use prod",))
def use(session: Session, name: Name) -> None:
    """Make a context the one that counts when nothing else is named."""
    _existing(name)
    configfile.use_context(name)
    session.out.note(f"context is now {name}")
    named = active_context({}, os.environ, {})
    if named.text not in {None, name}:
        session.out.note(f"{named.origin} is set and outranks it here: {named.text}")


@verb(
    app,
    "create",
    lenient=True,
    examples=(
        "strait context create prod --server https://strait.example.com --api-key @prod.key",
        "strait context create ci --server https://strait.example.com --api-key env:STRAIT_CI_KEY --project web",
    ),
)
def create(
    session: Session,
    name: Name,
    *,
    use: Annotated[bool, typer.Option("--use", help="Make it the current one.")] = False,
) -> None:
    """Create a context from --server, --api-key, --project and --output.

    The key goes into the operating system's keyring, or a 0600 file where there is none; `env:NAME` stays a reference.
    """
    configfile.check_name(name)
    if name in configfile.contexts():
        raise ConflictError(f'there is a context "{name}" already', hint=f"strait config set --context {name} …")
    flags = session.layers.flags
    configfile.put_context(
        name,
        {
            "server": flags.get("server", DEFAULT_SERVER),
            "project": flags.get("project"),
            "format": flags.get("format"),
            "key": keys.reference_or_store(name, flags["api_key"]) if "api_key" in flags else None,
        },
    )
    if use or configfile.current() is None:
        configfile.use_context(name)
    session.out.note(f"created context {name}; use it: strait context use {name}")


@verb(app, "rename", lenient=True, examples=("strait context rename prod production",))
def rename(
    session: Session, name: Name, new: Annotated[str, typer.Argument(metavar="NEW_NAME", help="The new name.")]
) -> None:
    """Give a context another name; its key moves with it."""
    old = _existing(name)
    configfile.check_name(new)
    if new in configfile.contexts():
        raise ConflictError(f'there is a context "{new}" already')
    reference = keys.move_key(name, new, old["key"]) if "key" in old else None
    configfile.rename_context(name, new, reference)
    session.out.note(f"context {name} is now {new}")


@verb(app, "delete", lenient=True, examples=("strait context delete staging", "strait context rm staging --yes"))
def delete(
    session: Session,
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a context and its stored key."""
    old = _existing(name)
    confirm(f"delete context {name} ({old.get('server', DEFAULT_SERVER)}) and its stored key", yes=yes)
    configfile.drop_context(name)
    if "key" in old:
        keys.forget_key(name, old["key"])
    session.out.note(f"deleted context {name}")


def _existing(name: str) -> dict[str, str]:
    found = configfile.contexts().get(name)
    if found is None:
        raise NotFoundError(f'there is no context "{name}"', hint="strait context list")
    return found


def _shown(name: str, context: dict[str, str], active: str | None) -> dict[str, Any]:
    """A context as an object; the key's reference, never the key."""
    fields = {key: context.get(key) for key in ("server", "project", "format", "key")}
    rest = {key: value for key, value in context.items() if key not in fields}
    return {"active": name == active, "name": name, **fields, **rest}


APPS: Final = {"context": app}
