"""How commands are found, suggested and explained: lazily, from the static tree, in one layout of help."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from strait_cli import tree
from strait_core.errors import UsageError

_WIDEST = 100
_LEFT = 34
_HELP = {"Show this message and exit.": "Show this help."}
_FIRST = re.compile(r"[.;] ")


class Verb(TyperCommand):
    """A leaf of the tree: its help shows arguments, own options, the global ones, examples."""

    def get_help(self, ctx: Any) -> str:
        """The whole help text."""
        return _help(self, ctx)


class LocalVerb(Verb):
    """A leaf that asks no server and shows no objects: it takes the global flags, but its help leaves them out."""

    is_local = True


class Verbs(TyperGroup):
    """A noun: verbs by name or short alias, help when none is given."""

    is_local = True

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb of that name or alias, None when there is none."""
        found = super().get_command(ctx, cmd_name)
        return found or super().get_command(ctx, tree.VERB_ALIASES.get(cmd_name, cmd_name))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """A bare noun shows its help."""
        rest = super().parse_args(ctx, args)
        if not ctx._protected_args and not self.invoke_without_command and not ctx.resilient_parsing:  # noqa: SLF001
            typer.echo(self.get_help(ctx))
            ctx.exit()
        return rest

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the first word names; a misspelt one is a usage error with the nearest names."""
        command = self.get_command(ctx, args[0])
        if command is None and not ctx.resilient_parsing:
            raise unknown_command(args[0], self.list_commands(ctx), ctx.command_path)
        return (None if command is None else args[0]), command, args[1:]

    def get_help(self, ctx: Any) -> str:
        """The whole help text."""
        return _help(self, ctx)


class Nouns(Verbs):
    """The root: modules are imported when their command is used."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the parser's signature
        """Every noun, in the order of the help."""
        return list(tree.NOUNS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the parser's signature
        """The noun of that name or alias."""
        return load(tree.canonical(cmd_name))

    def get_help(self, ctx: Any) -> str:  # noqa: ARG002 - the parser's signature
        """The static help, the same as without the parser."""
        return tree.root_help().rstrip("\n")


@cache
def root() -> Any:
    """The whole command line as one command."""
    from strait_cli.verbs import noun  # noqa: PLC0415 - verbs needs the classes above

    return typer.main.get_group(noun("", root=True))


@cache
def load(name: str) -> Any:
    """A top-level command, None when there is no such; imports its module."""
    if name not in tree.NOUNS:
        return None
    module = import_module(f"strait_cli.commands.{tree.NOUNS[name].module}")
    command = typer.main.get_command(module.APPS[name])
    command.name = name
    return command


def unknown_command(word: str, known: Sequence[str], path: str) -> UsageError:
    """The error for a word that is no command, with the nearest ones."""
    short = (
        tree.ALIASES
        if path == tree.PROGRAM
        else {name: verb for name, verb in tree.VERB_ALIASES.items() if verb in known}
    )
    near = get_close_matches(word, [*known, *short], n=3)
    found = list(dict.fromkeys(short.get(name, name) for name in near))
    if not found and path == tree.PROGRAM:
        # A verb without its noun.
        found = [f"{noun} {word}" for noun in tree.NOUNS if word in getattr(load(noun), "commands", {})][:3]
    names = " or ".join(f"`{path} {name}`" for name in found)
    hint = f"did you mean {names}?" if found else f"`{path} --help` lists the commands"
    return UsageError(f'"{word}" is no command of `{path}`', hint=hint)


def _help(command: Any, ctx: Any) -> str:
    """Usage, purpose, arguments, options by panel, verbs, examples."""
    width = min(shutil.get_terminal_size((80, 24)).columns, _WIDEST)
    arguments = [one for one in command.get_params(ctx) if one.param_type_name == "argument" and not one.hidden]
    options = [one for one in command.get_params(ctx) if one.param_type_name == "option" and not one.hidden]
    verbs = _verbs(command)
    words = [ctx.command_path, *(_placeholder(one) for one in arguments), *(["COMMAND"] if verbs else []), "[FLAGS]"]
    lines = [f"Usage: {' '.join(words)}", ""]
    for paragraph in (command.help or "").split("\n\n"):
        lines += textwrap.wrap(" ".join(paragraph.split()), width)
        lines.append("")
    lines += _section("Commands", verbs, width)
    lines += _section("Arguments", [(_placeholder(one), one.help or "") for one in arguments], width)
    panels: dict[str, list[tuple[str, str]]] = {"Options": []}
    for one in options:
        panels.setdefault(getattr(one, "rich_help_panel", None) or "Options", []).append(_option_row(one))
    local = getattr(command, "is_local", False)
    for title, rows in panels.items():
        lines += _section(title, [] if local and title != "Options" else rows, width)
    if local:
        lines += ["Flags that every command takes: strait --help", ""]
    if command.epilog:
        lines += ["Examples:", *(f"  {line}" for line in command.epilog.splitlines()), ""]
    return "\n".join(lines).rstrip("\n")


def _verbs(command: Any) -> list[tuple[str, str]]:
    commands: Mapping[str, Any] = getattr(command, "commands", {})
    return [(name, summary(one)) for name, one in commands.items()]


def summary(command: Any) -> str:
    """The first clause of a command's help: what fits a list."""
    return _FIRST.split((command.help or "").partition("\n")[0])[0].rstrip(".")


def _placeholder(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name += "..." if argument.nargs != 1 else ""
    return name if argument.required else f"[{name}]"


def _option_row(option: Any) -> tuple[str, str]:
    names = ", ".join(sorted([*option.opts, *option.secondary_opts], key=len))
    if not option.is_flag:
        names += f" {option.metavar or 'VALUE'}"
    notes = ["required"] if option.required else []
    if option.multiple:
        notes.append("repeatable")
    if option.show_default and option.default not in (None, False, (), []):
        notes.append(f"default {option.default}")
    return names, " ".join(
        part for part in (_HELP.get(option.help, option.help) or "", f"({'; '.join(notes)})" if notes else "") if part
    )


def _section(title: str, rows: Iterable[tuple[str, str]], width: int) -> list[str]:
    rows = list(rows)
    if not rows:
        return []
    left = min(max(len(name) for name, _ in rows) + 2, _LEFT)
    lines = [f"{title}:"]
    for name, text in rows:
        wrapped = textwrap.wrap(text, max(width - left - 2, 20)) or [""]
        first = f"  {name:<{left}}{wrapped.pop(0)}" if len(name) < left else f"  {name}"
        lines += [first.rstrip(), *(f"  {'':<{left}}{line}" for line in wrapped)]
    return [*lines, ""]
