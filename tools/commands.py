"""Whether a typed line would parse, by the real parser."""

from __future__ import annotations

import shlex
from typing import Final, cast

import typer

from strait_cli import groups, tree
from strait_cli.main import _with_serve
from strait_core.errors import StraitError

# What a refused line raises: our own errors, and the parser's, whose root has no public name.
REFUSED: Final = (StraitError, cast("type[Exception]", typer.BadParameter.__mro__[2]))
SHELL_OPERATORS: Final = frozenset({"|", "||", "&&", ";", ">", ">>", "2>", "<", "&"})


def words_of(line: str) -> list[str]:
    """The words of a shell line up to its first operator, without `strait` itself and without a comment."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in SHELL_OPERATORS:
            break
        words.append(word)
    return words[1:]


def parse(words: list[str]) -> str:
    """The full name of the command that the words call; raises what the command line would report."""
    if words in ([], ["--version"], ["--help"], ["-h"]):
        return tree.PROGRAM
    command, context, name, rest = groups.root(), None, tree.PROGRAM, _with_serve(words)
    while True:
        context = command.make_context(name, rest, parent=context)
        remaining = [*getattr(context, "_protected_args", ()), *context.args]
        if not remaining or not hasattr(command, "resolve_command"):
            return str(context.command_path)
        name, command, rest = command.resolve_command(context, remaining)
