"""`strait config`: settings, where each came from, and which local files are trusted."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from strait_cli import configfile, files, keys, trust
from strait_cli.ask import confirm, open_editor
from strait_cli.columns import SETTING
from strait_cli.context import FIELDS, Layers, Value, read_config
from strait_cli.session import Session
from strait_cli.table import safe
from strait_cli.verbs import noun, verb
from strait_core.errors import NotFoundError, UsageError

_MASK: Final = "********"

Setting = Annotated[str, typer.Argument(metavar="SETTING", help="server, api_key, project, format, …")]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show the key itself.")]

app = noun(
    "Settings: their values, where each came from, trust.\n\n"
    "A flag outranks the environment, that the local file .strait.toml, that the context, that the default."
)


@verb(app, "show", lenient=True, examples=("strait config show", "strait config show -o json"))
def show(session: Session) -> None:
    """Show every setting's value in force; the key is masked."""
    layers = session.layers
    values = {"context": layers.active.text} | {name: _text(name, layers.value(name)) for name in FIELDS}
    session.out.item(values, name="context")


@verb(app, "get", lenient=True, examples=("strait config get server", "strait config get api_key --reveal"))
def get(session: Session, setting: Setting, *, reveal: Reveal = False) -> None:
    """Print one setting's value in force."""
    name = _known(setting)
    revealed = name == "api_key" and reveal
    text = keys.find_key(session.layers) if revealed else _text(name, session.layers.value(name))
    if session.out.is_json:
        session.out.item({"setting": name, "value": text})
    else:
        session.out.line(safe(text or ""))


@verb(
    app,
    "set",
    lenient=True,
    examples=(
        "strait config set project billing",
        "strait config set api_key @new.key --context prod",
        "strait config set format --unset",
    ),
)
def set_value(
    session: Session,
    setting: Setting,
    value: Annotated[
        str | None, typer.Argument(metavar="VALUE", help="The value; a key: @file, - or env:NAME.")
    ] = None,
    *,
    unset: Annotated[bool, typer.Option("--unset", help="Remove it instead.")] = False,
) -> None:
    """Set a value in the context in force (created as `default` when there is none)."""
    name = _known(setting)
    if (value is None) is not unset:
        raise UsageError("give a value, or --unset", hint=f"strait config set {setting} VALUE")
    context = session.layers.active.text or "default"
    if context != "default" and context not in configfile.contexts():
        raise NotFoundError(f'there is no context "{context}"', hint=f"strait context create {context}")
    if name == "api_key" and value is not None:
        value = keys.reference_or_store(context, value)
    configfile.put_context(context, {FIELDS[name].in_file: value})
    if configfile.current() is None:
        configfile.use_context(context)
    session.out.note(f"{name} is {'no longer set' if unset else 'set'} in context {context}")


@verb(app, "edit", lenient=True, examples=("strait config edit",))
def edit(session: Session) -> None:
    """Open the configuration file in your editor, and check it afterwards."""
    path = files.config_file()
    if not path.exists():
        files.write_private(path, '# current = "prod"\n\n# [contexts.prod]\n# server = "https://strait.example.com"\n')
    open_editor(path)
    read_config(path)
    session.out.note(f"{path} is fine")


@verb(app, "path", lenient=True, examples=("strait config path",))
def path(session: Session) -> None:
    """Print where the configuration file is, whether it exists or not."""
    del session
    typer.echo(files.config_file())


@verb(app, "explain", lenient=True, examples=("strait config explain", "strait config explain server -o json"))
def explain(
    session: Session,
    setting: Annotated[str | None, typer.Argument(metavar="SETTING", help="One setting; all of them.")] = None,
) -> None:
    """Show each setting, where its value came from, and what it outranks there."""
    names = [_known(setting)] if setting else list(FIELDS)
    rows = [] if setting else [_row("context", session.layers.active, ())]
    rows += [_explained(session.layers, name) for name in names]
    session.out.items(rows, SETTING, name="setting")
    if session.out.is_human:
        for row in rows:
            for other in row["outranks"]:
                session.out.note(f"{row['setting']}: {other['value']} from {other['origin']} is outranked")


def _explained(layers: Layers, name: str) -> dict[str, Any]:
    value, *others = layers.candidates(name)
    return _row(name, value, [_row(name, other, ()) for other in others if other.origin])


def _row(name: str, value: Value, outranks: Any) -> dict[str, Any]:
    row = {"setting": name, "value": _text(name, value), "source": value.source.value, "origin": value.origin or None}
    return row | {"outranks": list(outranks)}


@verb(app, "trust", lenient=True, examples=("strait config trust", "strait config trust --yes"))
def trust_local(
    session: Session, *, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
) -> None:
    """Let this folder's .strait.toml set server and key, as long as it stays as it is."""
    local = files.here() / files.LOCAL_FILE
    text = files.read_strange(local)
    if text is None:
        raise NotFoundError(f"there is no {files.LOCAL_FILE} here", hint="it belongs into the working directory")
    for line in text.splitlines():
        session.out.note(line)
    confirm(f"let {local} set the server and key of commands in this folder", yes=yes)
    trust.approve(local, text)
    session.out.note(f"trusted until it changes: {local}")


def _known(setting: str) -> str:
    name = setting.replace("-", "_")
    name = {"key": "api_key", "output": "format"}.get(name, name)
    if name not in FIELDS:
        raise UsageError(f'"{setting}" is no setting', hint=", ".join(FIELDS))
    return name


def _text(name: str, value: Value) -> str | None:
    """A value as it may be shown: references to keys in full, keys never."""
    if name != "api_key" or value.text is None or value.source.value in {"context", "local file"}:
        return value.text
    return value.text if value.text.startswith(("@", "env:")) or value.text == "-" else _MASK


APPS: Final = {"config": app}
