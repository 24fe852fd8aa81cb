"""Every command line that a page or a help text shows is one that the real parser takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from strait_cli.reference import every_command
from tests.project.tree import ROOT, files
from tools import commands

PROMPT = re.compile(r"^\s*(?:\$ )?(?:\.venv/bin/)?(strait(?: .*)?)$")

# Generated from the commands themselves; their examples are looked at where they come from.
REFERENCE = Path("docs/cli")

# In running text: a command that is said in full, and not a pattern of several.
INLINE = re.compile(r"`(strait [^`…<>|]+)`")


def code_lines(page: str) -> list[str]:
    """The lines of a page's code blocks, fenced or indented, continued ones joined."""
    page = page.replace("\\\n", " ")
    fenced = "\n".join(re.findall(r"^```[a-z]*\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    rest = re.sub(r"^```[a-z]*\n.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
    return [*fenced.splitlines(), *(line for line in rest.splitlines() if line.startswith("    "))]


def without_code(page: str) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```[a-z]*\n.*?^```|^    .*$", "", page, flags=re.DOTALL | re.MULTILINE)


def named() -> list[tuple[str, str]]:
    """Where running text names a command, and what it names."""
    found = {
        (str(path), line)
        for path in files()
        if path.suffix == ".md" and path.parent != REFERENCE
        for line in INLINE.findall(without_code((ROOT / path).read_text(encoding="utf-8")))
    }
    return sorted(found)


def shown() -> list[tuple[str, str]]:
    """Where a command line is shown, and the line: in pages, and as examples in help texts."""
    pages = [path for path in files() if path.suffix == ".md" and path.parent != REFERENCE]
    lines = [
        (str(path), match.group(1))
        for path in pages
        for line in code_lines((ROOT / path).read_text(encoding="utf-8"))
        if (match := PROMPT.match(line))
    ]
    examples = [(" ".join(command.words), line) for command in every_command() for line in command.examples]
    return lines + [(where, line) for where, line in examples if PROMPT.match(line)]


@pytest.mark.parametrize(("where", "line"), shown())
def test_shown_command_parses(where: str, line: str):
    """What a reader copies is understood: command, arguments and flags."""
    try:
        commands.parse(commands.words_of(line))
    except commands.REFUSED as error:
        pytest.fail(f"{where}: {line}: {getattr(error, 'message', error)}")


@pytest.mark.parametrize(("where", "line"), named())
def test_named_command_exists(where: str, line: str):
    """In running text too: the noun, the verb and the flags are there; arguments may be left out."""
    words = commands.words_of(line)
    if words[:1] == ["--llms"] or words[:1] == ["help"]:
        return
    try:
        commands.parse(words)
    except typer.Exit:
        # A noun alone shows its help.
        return
    except commands.REFUSED as error:
        if type(error).__name__ != "MissingParameter":
            pytest.fail(f"{where}: {line}: {getattr(error, 'message', error)}")


def test_every_command_says_what_it_does():
    """No command without a help text, no verb without an example of itself."""
    found = every_command()
    assert len(found) > 20
    assert [command.words for command in found if len(command.help.split()) < 8] == []
    without = [command.words for command in found if not command.is_group and not command.examples]
    assert without == []


@pytest.mark.parametrize("line", ["strait jobs lst", "strait runs watch --no-such-flag x", "strait nonsense"])
def test_the_parser_would_notice(line: str):
    """A command line that does not exist is refused by the same means."""
    with pytest.raises(commands.REFUSED, match=r"\S"):
        commands.parse(commands.words_of(line))


def test_every_trouble_ends_with_a_way_to_look():
    """Each chapter of the troubleshooting page ends with the command that says more: the doctor, or explain."""
    _, *chapters = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8").split("\n## ")
    assert len(chapters) >= 5
    last = [chapter.strip().splitlines()[-1] for chapter in chapters]
    assert [line for line in last if not line.startswith(("    strait doctor", "    strait runs explain"))] == []
