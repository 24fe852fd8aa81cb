"""Every command with its help, as the real parser gives it: one page for people, tools and language models."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from strait_cli import groups, tree

# Help is wrapped to the terminal; a page has always the same width.
PAGE_COLUMNS: Final = "100"


class Command(NamedTuple):
    """One command: its words after `strait`, its help as printed, its examples."""

    words: tuple[str, ...]
    help: str
    examples: tuple[str, ...]
    is_group: bool


def every_command() -> list[Command]:
    """All commands below `strait`, nouns in the order of the help, verbs in the order of their noun."""
    with _page_width():
        root = groups.root()
        context = root.make_context(tree.PROGRAM, [], resilient_parsing=True)
        return [found for name in tree.NOUNS for found in _walk((name,), root.get_command(context, name), context)]


def every_page(note: str = "") -> str:
    """The whole tree as Markdown; `note` stands below the title."""
    lines = ["# Commands", "", *([note, ""] if note else []), "```", tree.root_help().rstrip(), "```", ""]
    for command in every_command():
        lines += ["#" * (len(command.words) + 1) + " strait " + " ".join(command.words), ""]
        lines += ["```", command.help.rstrip(), "```", ""]
    return "\n".join(lines)


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


def _walk(words: tuple[str, ...], command: Any, parent: Any) -> Iterator[Command]:
    context = command.make_context(words[-1], [], parent=parent, resilient_parsing=True)
    children = list(getattr(command, "commands", {}).items())
    examples = tuple(re.sub(r"\s*\\\n\s*", " ", command.epilog or "").splitlines())
    yield Command(words, command.get_help(context).rstrip() + "\n", examples, bool(children))
    for name, child in children:
        if not child.hidden:
            yield from _walk((*words, name), child, context)
