"""`strait completion`: scripts for the shells."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from strait_cli.scripts import SCRIPTS
from strait_cli.session import Session
from strait_cli.verbs import noun, verb
from strait_core.errors import ConfigError, UsageError

Shell = Annotated[str | None, typer.Argument(metavar="SHELL", help="bash, zsh or fish; by default yours.")]

app = noun("Completion for bash, zsh and fish: commands, flags, slugs, run ids, contexts.")


@verb(
    app,
    "show",
    lenient=True,
    local=True,
    examples=("strait completion show zsh", 'eval "$(strait completion show bash)"'),
)
def show(session: Session, shell: Shell = None) -> None:
    """Print the script for a shell."""
    session.out.text(SCRIPTS[_known(shell)][0])


@verb(
    app, "install", lenient=True, local=True, examples=("strait completion install", "strait completion install fish")
)
def install(session: Session, shell: Shell = None) -> None:
    """Write the script where the shell looks for it; start-up files are left alone."""
    name = _known(shell)
    script, _, (variable, default, place) = SCRIPTS[name]
    named = os.environ.get(variable, "")
    path = (Path(named) if named.startswith("/") else Path.home() / default) / place
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script, encoding="utf-8")
    except OSError as error:
        hint = f"strait completion show {name} > FILE"
        raise ConfigError(f"cannot write {path}: {error.strerror}", hint=hint) from error
    session.out.note(f"wrote {path}")
    if name == "zsh":
        session.out.note(f"in ~/.zshrc, above compinit: fpath=({path.parent} $fpath); then start a new shell")
    else:
        session.out.note("it works in new shells" + (" with bash-completion" if name == "bash" else ""))


def _known(shell: str | None) -> str:
    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in SCRIPTS:
        raise UsageError(f'"{name}" is none of bash, zsh, fish', hint="strait completion show bash")
    return name


APPS: Final = {"completion": app}
