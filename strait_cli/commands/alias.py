"""`strait alias`: commands of one's own."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from strait_cli import aliases, configfile
from strait_cli.columns import ALIAS
from strait_cli.session import Session
from strait_cli.verbs import noun, verb
from strait_core.errors import NotFoundError

Name = Annotated[str, typer.Argument(metavar="NAME", help="The alias: one word, or several in quotes.")]

app = noun("Commands of your own: a short name for a long line.")


@verb(app, "list", lenient=True, examples=("strait alias list",))
def list_aliases(session: Session) -> None:
    """List the aliases and what they stand for."""
    rows = [{"name": name, "expansion": text} for name, text in sorted(configfile.aliases().items())]
    session.out.items(rows, ALIAS, name="name")


@verb(
    app,
    "set",
    lenient=True,
    examples=(
        "strait alias set bad 'runs list --status failed,dead_letter'",
        "strait alias set 'runs of' 'runs list --job $1 --limit 10'",
        "strait alias set ids '!strait runs list --job \"$1\" -o name | sort'",
    ),
)
def set_alias(
    session: Session,
    name: Name,
    expansion: Annotated[
        str, typer.Argument(metavar="EXPANSION", help="What it stands for, in quotes, without `strait`.")
    ],
) -> None:
    """Give a line a short name.

    `$1` to `$9` are the words that follow the alias; what the line does not use is added at its end. A line that begins
    with `!` is for the shell. No alias can take the place of a command.
    """
    kept = aliases.check_name(name)
    before = configfile.aliases().get(kept)
    configfile.put_alias(kept, aliases.check_expansion(expansion))
    session.out.note(f"strait {kept} is now: {expansion}" + (f" (it was: {before})" if before else ""))


@verb(app, "delete", lenient=True, examples=("strait alias delete bad", "strait alias rm 'runs of'"))
def delete(session: Session, name: Name) -> None:
    """Forget an alias."""
    kept = " ".join(name.split())
    if kept not in configfile.aliases():
        raise NotFoundError(f'there is no alias "{name}"', hint="strait alias list")
    configfile.put_alias(kept, None)
    session.out.note(f"deleted alias {kept}")


APPS: Final = {"alias": app}
