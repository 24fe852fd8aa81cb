"""The command tree as the real parser sees it: every command with its help, and whether a typed line would parse."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, cast

import typer

from strait_cli import groups, tree
from strait_cli.main import _with_serve
from strait_core.errors import StraitError

# Help is wrapped to the terminal; a page has always the same width.
PAGE_COLUMNS: Final = "100"
# What a refused line raises: our own errors, and the parser's, whose root has no public name.
REFUSED: Final = (StraitError, cast("type[Exception]", typer.BadParameter.__mro__[2]))
SHELL_OPERATORS: Final = frozenset({"|", "||", "&&", ";", ">", ">>", "2>", "<", "&"})


class Command(NamedTuple):
    """One command: its words after `strait`, its help as printed, its examples."""

    words: tuple[str, ...]
    help: str
    examples: tuple[str, ...]
    is_group: bool


@contextmanager
def _page_width() -> Iterator[None]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = PAGE_COLUMNS
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def every_command() -> list[Command]:
    """All commands below `strait`, nouns in the order of the help, verbs in the order of their noun."""
    with _page_width():
        root = groups.root()
        context = root.make_context(tree.PROGRAM, [], resilient_parsing=True)
        return [found for name in tree.NOUNS for found in _walk((name,), root.get_command(context, name), context)]


def _walk(words: tuple[str, ...], command: Any, parent: Any) -> Iterator[Command]:
    context = command.make_context(words[-1], [], parent=parent, resilient_parsing=True)
    children = list(getattr(command, "commands", {}).items())
    examples = tuple(re.sub(r"\s*\\\n\s*", " ", command.epilog or "").splitlines())
    yield Command(words, command.get_help(context).rstrip() + "\n", examples, bool(children))
    for name, child in children:
        if not child.hidden:
            yield from _walk((*words, name), child, context)


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
