"""Every command with its help, as the real parser gives it: pages for people, one page for programs that read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from strait_cli import groups, tree
from strait_cli.topics import text_of

# Help is wrapped to the terminal; a page has always the same width.
PAGE_COLUMNS: Final = "100"
# What sites that show a folder show first.
INDEX: Final = "README.md"


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


def every_page() -> str:
    """The whole tree as one page of Markdown: `strait --llms`."""
    return "\n".join(["# Commands", "", *_fenced(tree.root_help()), *_chapters(every_command(), "#")])


def folder_of_pages(note: str) -> dict[str, str]:
    """The same as files by name: an index, and a page for each noun with its verbs; `note` stands below the titles."""
    commands = every_command()
    pages = {INDEX: _index(commands, note)}
    for noun in tree.NOUNS:
        of_it = [command for command in commands if command.words[0] == noun]
        head = [f"# strait {noun}", "", note, "", f"[All commands]({INDEX})", ""]
        pages[f"{noun}.md"] = "\n".join([*head, *_fenced(of_it[0].help), *_chapters(of_it[1:], "")])
    return pages


def _index(commands: list[Command], note: str) -> str:
    lines = ["# Commands", "", note, ""]
    for section in dict.fromkeys(noun.section for noun in tree.NOUNS.values()):
        lines += [f"## {section}", "", "| command | what it is for | verbs |", "| --- | --- | --- |"]
        for name, noun in tree.NOUNS.items():
            if noun.section == section:
                verbs = (" ".join(one.words[1:]) for one in commands if one.words[0] == name and not one.is_group)
                listed = ", ".join(f"`{verb}`" for verb in verbs if verb)
                lines.append(f"| [{name}]({name}.md) | {noun.summary} | {listed} |")
        lines.append("")
    lines += ["## In short", "", "What `strait --help` says; `strait --llms` prints all of these pages as one.", ""]
    lines += _fenced(tree.root_help())
    for topic in tree.TOPICS:
        title, _, rest = text_of(topic).partition("\n\n")
        lines += [f"## {title}", "", f"`strait help {topic}`", "", *_fenced(rest)]
    return "\n".join(lines)


def _chapters(commands: list[Command], above: str) -> Iterator[str]:
    for command in commands:
        yield from [f"{above}{'#' * len(command.words)} strait {' '.join(command.words)}", "", *_fenced(command.help)]


def _fenced(text: str) -> list[str]:
    return ["```", text.rstrip(), "```", ""]


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
