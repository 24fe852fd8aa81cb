"""Definitions in short: what a person looks for, without all that is at its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from strait_cli.session import Session


def wants_all(session: Session) -> bool:
    """Whether everything is to be shown: to programs, with `-o wide`, and where fields are named."""
    return not session.out.is_human or session.out.view.format == "wide" or bool(session.out.view.fields)


def without_defaults(found: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """An object without the fields that are at their defaults; what has no default is left out where it is null."""
    return {name: value for name, value in found.items() if not _is_default(value, defaults.get(name))}


def _is_default(value: Any, default: Any) -> bool:
    return bool(value == (list(default) if isinstance(default, tuple) else default))
