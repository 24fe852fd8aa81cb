"""What completion knows of every command without loading one: `outline.txt`, written from the real parser.

The parser and the modules of the commands take as long to load as four starts of Python; a file of lines takes none of
it. `make docs` writes it, and a test holds it to the tree. Lines of a command stand together, parts of a line are
separated by tabs:

    jobs list<TAB>List jobs, newest first                    a command: its words, what it does
    <TAB>--limit<TAB>limit<TAB>value<TAB>At most so many.    an option: names, parameter, kind, what it is for
    <TAB><TAB>job<TAB>one                                    an argument: parameter, kind

Kinds of options: value, values (may be repeated), switch. Kinds of arguments: one, many. The block of no words holds
what every command takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

FILE: Final = Path(__file__).with_name("outline.txt")


class Option(NamedTuple):
    """A flag: its names, the parameter it sets, whether a value follows, whether it may come again, its help."""

    names: tuple[str, ...]
    parameter: str
    has_value: bool
    is_repeatable: bool
    text: str


class Argument(NamedTuple):
    """A positional: the parameter it sets, and whether it takes all that follow."""

    parameter: str
    is_many: bool


class Command:
    """A command: what it does, its own flags and those that every command takes, its arguments, its verbs by name."""

    def __init__(self, text: str, everywhere: list[Option]) -> None:
        self.text = text
        self.own: list[Option] = []
        self.everywhere = everywhere
        self.arguments: list[Argument] = []
        self.verbs: dict[str, Command] = {}

    @property
    def options(self) -> list[Option]:
        """All its flags, its own first."""
        return [*self.own, *self.everywhere]


def read(noun: str) -> Command | None:
    """The command of that name with all its verbs, None when there is none; "" is the program itself."""
    program = Command("", [])
    commands: dict[str, Command] = {}
    taken: Command | None = None
    with FILE.open(encoding="utf-8") as lines:
        for line in lines:
            name, *parts = line.rstrip("\n").split("\t")
            if name or not parts:
                taken = _begun(name, noun, parts, program, commands)
            elif taken is not None:
                _take(taken, parts)
    return commands.get(noun) if noun else program


def _begun(name: str, noun: str, parts: list[str], program: Command, commands: dict[str, Command]) -> Command | None:
    """The command whose lines follow; None when nobody asks for it."""
    if not name:
        return program
    if name != noun and not name.startswith(noun + " "):
        return None
    found = commands[name] = Command(parts[0], program.own)
    above, _, verb = name.rpartition(" ")
    if above:
        commands[above].verbs[verb] = found
    return found


def _take(command: Command, parts: list[str]) -> None:
    names, parameter, kind = parts[:3]
    if names:
        option = Option(tuple(names.split()), parameter, kind != "switch", kind == "values", parts[3])
        command.own.append(option)
    else:
        command.arguments.append(Argument(parameter, kind == "many"))


def text() -> str:
    """The outline as the real parser has it now."""
    from strait_cli import groups, tree  # noqa: PLC0415 - the parser, only to write

    everywhere = {one.name for one in groups.root().params}
    lines = ["", *_options(groups.root(), frozenset())]
    for name in tree.NOUNS:
        lines += _lines(name, groups.load(name), frozenset(everywhere))
    return "\n".join(lines) + "\n"


def _lines(words: str, command: Any, known: frozenset[str]) -> Iterator[str]:
    from strait_cli import groups  # noqa: PLC0415 - as above

    yield f"{words}\t{groups.summary(command)}"
    yield from _options(command, known)
    for one in command.params:
        if one.param_type_name == "argument" and not one.hidden:
            yield f"\t\t{one.name}\t{'one' if one.nargs == 1 else 'many'}"
    for name, verb in getattr(command, "commands", {}).items():
        yield from _lines(f"{words} {name}", verb, known)


def _options(command: Any, known: frozenset[str]) -> Iterator[str]:
    for one in command.params:
        if one.param_type_name == "option" and one.name not in known and not one.hidden:
            kind = "switch" if one.is_flag else "values" if one.multiple else "value"
            names = " ".join([*one.opts, *one.secondary_opts])
            yield f"\t{names}\t{one.name}\t{kind}\t{' '.join((one.help or '').split())}"
