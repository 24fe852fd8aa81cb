"""Changing config.toml: one field, one context at a time, with the user's comments and order kept."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from strait_cli import files
from strait_cli.context import FIELDS, check_value, read_config
from strait_core.errors import UsageError

CONTEXT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")


def change(edit: Callable[[Any], None], environ: Mapping[str, str] = os.environ) -> None:
    """Apply an edit to the document and write it back, checked first; 0600 whatever it was."""
    import tomlkit  # noqa: PLC0415 - only to write

    path = files.config_file(environ)
    read_config(path)
    document = tomlkit.parse(files.read_text(path) or "")
    edit(document)
    files.write_private(path, tomlkit.dumps(document))


def contexts(environ: Mapping[str, str] = os.environ) -> dict[str, dict[str, str]]:
    """Every context by name, with its fields as in the file."""
    found: dict[str, dict[str, str]] = read_config(files.config_file(environ)).get("contexts", {})
    return found


def current(environ: Mapping[str, str] = os.environ) -> str | None:
    """The context that `context use` chose."""
    name = read_config(files.config_file(environ)).get("current")
    return None if name is None else str(name)


def check_name(name: str) -> str:
    """A context's name, refused unless it is short and plain (it becomes part of file names)."""
    if not CONTEXT_NAME.match(name) or ".." in name:
        raise UsageError(f'"{name}" is no context name: letters, digits, - _ . and at most 64 of them')
    return name


def put_context(name: str, values: Mapping[str, str | None], environ: Mapping[str, str] = os.environ) -> None:
    """Create a context or change fields of one, by the fields' names in the file; None removes a field."""
    import tomlkit  # noqa: PLC0415 - only to write

    def edit(document: Any) -> None:
        table = document.setdefault("contexts", tomlkit.table(is_super_table=True)).setdefault(name, tomlkit.table())
        for key, value in values.items():
            if value is not None:
                table[key] = value
            elif key in table:
                del table[key]

    for key, value in values.items():
        field = next(one for one in FIELDS.values() if one.in_file == key)
        if value is not None:
            check_value(field.name, value)
    change(edit, environ)


def use_context(name: str, environ: Mapping[str, str] = os.environ) -> None:
    """Make a context the one that counts when nothing else is named."""

    def edit(document: Any) -> None:
        document["current"] = name

    change(edit, environ)


def drop_context(name: str, environ: Mapping[str, str] = os.environ) -> None:
    """Remove a context, and the choice of it."""

    def edit(document: Any) -> None:
        del document["contexts"][name]
        if document.get("current") == name:
            del document["current"]

    change(edit, environ)


def rename_context(old: str, new: str, reference: str | None, environ: Mapping[str, str] = os.environ) -> None:
    """Give a context another name; `reference` is where its key is now."""

    def edit(document: Any) -> None:
        table = document["contexts"].pop(old)
        document["contexts"][new] = table
        if reference is not None:
            table["key"] = reference
        if document.get("current") == old:
            document["current"] = new

    change(edit, environ)


def aliases(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Every alias by name, with what it stands for."""
    found: dict[str, str] = read_config(files.config_file(environ)).get("aliases", {})
    return found


def put_alias(name: str, expansion: str | None, environ: Mapping[str, str] = os.environ) -> None:
    """Keep what an alias stands for; None forgets it."""
    import tomlkit  # noqa: PLC0415 - only to write

    def edit(document: Any) -> None:
        if expansion is not None:
            document.setdefault("aliases", tomlkit.table())[name] = expansion
            return
        del document["aliases"][name]
        if not document["aliases"]:
            del document["aliases"]

    change(edit, environ)
