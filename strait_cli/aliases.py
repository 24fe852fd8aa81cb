"""The user's own commands: what `strait alias set` has kept, and what a line that begins with one becomes.

An alias is looked for only where no command of ours stands, so none can take a command's place, whatever the file says
and whatever commands are still to come. They live in the user's own config.toml; a folder's .strait.toml has none.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from strait_cli import files, tree
from strait_core.errors import UsageError

# As many words as a command of ours has at the most.
MAX_WORDS: Final = 3
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}\Z")
_NUMBER: Final = re.compile(r"\$([1-9])")


class ShellLine(NamedTuple):
    """A line for `sh`, and what its `$1` and so on are."""

    script: str
    arguments: list[str]


def check_name(name: str) -> str:
    """An alias's name as it is kept: one to three plain words, none of them a command's place."""
    words = name.split()
    if not words or len(words) > MAX_WORDS or not all(map(_WORD.match, words)):
        raise UsageError(
            f'"{name}" is no alias: one to {MAX_WORDS} words of small letters, digits, - and _',
            hint="strait alias list",
        )
    if _is_ours(words):
        raise UsageError(f"`strait {' '.join(words)}` is a command; an alias cannot take its place")
    return " ".join(words)


def check_expansion(text: str) -> str:
    """What an alias stands for: words that begin with a command, or `!` and a line for the shell."""
    if text.startswith("!"):
        if not text[1:].strip():
            raise UsageError("there is nothing after the !", hint="strait alias set hi '!echo hello'")
        return text
    words = _split(text)
    at = tree.command_place(words)
    if at is None or tree.canonical(words[at]) not in tree.NOUNS:
        shown = words[at] if at is not None else text
        raise UsageError(
            f'"{shown}" is no command of `strait`', hint="an alias begins with a command, or with ! for the shell"
        )
    return text


def expand(words: Sequence[str]) -> list[str] | ShellLine | None:
    """What a typed line stands for; None when no alias is in it. Raises UsageError when arguments are missing."""
    at = tree.command_place(words)
    if at is None:
        return None
    text = files.read_text(files.config_file())
    if text is None or "[aliases]" not in text:
        return None
    from strait_cli.context import read_config  # noqa: PLC0415 - not needed where there are no aliases

    known: Mapping[str, str] = read_config(files.config_file()).get("aliases", {})
    for length in range(MAX_WORDS, 0, -1):
        name = " ".join(words[at : at + length])
        if name in known and not _is_ours(name.split()):
            return _filled(name, known[name], list(words[:at]), list(words[at + length :]))
    return None


def call(line: ShellLine) -> int:
    """Run a line of the shell; its exit code, as the shell itself would give it."""
    code = subprocess.run(["sh", "-c", line.script, "strait", *line.arguments], check=False).returncode  # noqa: S603, S607 - the user's own line, from the user's own file
    return code if code >= 0 else 128 - code


def _filled(name: str, expansion: str, before: list[str], arguments: list[str]) -> list[str] | ShellLine:
    if expansion.startswith("!"):
        return ShellLine(expansion[1:], arguments)
    wanted = max((int(number) for number in _NUMBER.findall(expansion)), default=0)
    if wanted > len(arguments):
        noun = "argument" if wanted == 1 else "arguments"
        raise UsageError(f"the alias {name} takes {wanted} {noun}", hint=f"it stands for: strait {expansion}")
    # Split first: what an argument holds, blanks and quotes among it, stays one word.
    words = [_NUMBER.sub(lambda found: arguments[int(found[1]) - 1], word) for word in _split(expansion)]
    used = {int(number) for number in _NUMBER.findall(expansion)}
    return [*before, *words, *(one for place, one in enumerate(arguments, 1) if place not in used)]


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"cannot read {text}: {str(error).lower()}", hint="quote it as for a shell") from error


def _is_ours(words: Sequence[str]) -> bool:
    """Whether a command of ours stands there: a noun alone, or a noun with one of its verbs."""
    noun = tree.canonical(words[0])
    if noun not in tree.NOUNS:
        return False
    if len(words) == 1:
        return True
    from strait_cli import groups  # noqa: PLC0415 - the parser, only for a name that begins with a noun

    verbs: Mapping[str, object] = getattr(groups.load(noun), "commands", {})
    # What takes no verbs takes arguments, and any word may be one.
    return not verbs or tree.VERB_ALIASES.get(words[1], words[1]) in verbs
