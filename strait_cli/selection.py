r"""What `--fields`, `--sort`, `--jq` and `--template` do to the API's objects, before anything is laid out.

A template is text with `{{path | filter | …}}` in it, one result per object. A path is field names joined by dots
(numbers index lists); there is no code in it, no call and no attribute, so a template from anywhere is safe to run.
Filters: json, upper, lower, relative, iso, local, utc. `\n` and `\t` are a line break and a tab.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Final

from strait_cli import exact, times
from strait_core.errors import UsageError

_SLOT: Final = re.compile(r"\{\{\s*([\w.-]+)\s*((?:\|\s*\w+\s*)*)\}\}")
_FILTERS: Final = ("json", "upper", "lower", "relative", "iso", "local", "utc")
_MISSING: Final = object()


def at_path(item: Any, path: str) -> Any:
    """The value at a dotted path, None when there is nothing."""
    value = _walk(item, path)
    return None if value is _MISSING else value


def _walk(item: Any, path: str) -> Any:
    value = item
    for part in path.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return _MISSING
    return value


def pick(items: Iterable[dict[str, Any]], fields: Sequence[str]) -> list[dict[str, Any]]:
    """The objects with the named fields only, in the order named."""
    items = list(items)
    for path in fields:
        check_path(items, path, "--fields")
    return [{path: at_path(item, path) for path in fields} for item in items]


def check_path(items: Sequence[Any], path: str, flag: str) -> None:
    """Refuse a path whose first name no object has: a misspelling, not an empty value."""
    head = path.partition(".")[0]
    known = list(dict.fromkeys(key for item in items if isinstance(item, dict) for key in item))
    if known and head not in known:
        near = get_close_matches(head, known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(known)}"
        raise UsageError(f'{flag}: there is no field "{head}" here', hint=hint)


def order(items: Iterable[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    """The objects by a field, `-field` descending; nulls last either way, numbers by value, the rest by text."""
    items = list(items)
    path = by.removeprefix("-")
    check_path(items, path, "--sort")
    known = [item for item in items if at_path(item, path) is not None]
    unknown = [item for item in items if at_path(item, path) is None]
    return sorted(known, key=lambda item: _sortable(at_path(item, path)), reverse=by.startswith("-")) + unknown


def _sortable(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 0, float(value), ""
    return 1, 0.0, value.casefold() if isinstance(value, str) else json.dumps(value, sort_keys=True)


def filtered(data: Any, expression: str) -> list[Any]:
    """What a jq expression makes of the data."""
    import jq  # noqa: PLC0415 - only with --jq

    try:
        return list(jq.compile(expression).input_text(exact.dumps(data)))
    except ValueError as error:
        raise UsageError(
            f"--jq: {str(error).strip()}", hint="an example: --jq '.[] | select(.status == \"failed\") | .id'"
        ) from error


def fill(template: str, item: dict[str, Any], now: datetime) -> str:
    """The template's text for one object."""
    for slot in re.findall(r"\{\{.*?\}\}", template):
        if not _SLOT.fullmatch(slot):
            raise UsageError(f"--template: {slot} is not {{{{path | filter}}}}", hint=f"filters: {', '.join(_FILTERS)}")

    def value_of(slot: re.Match[str]) -> str:
        check_path([item], slot[1], "--template")
        value = at_path(item, slot[1])
        for name in [part.strip() for part in slot[2].split("|") if part.strip()]:
            value = _apply(name, value, now)
        return _text(value)

    # The template's own escapes first: what the objects hold is never interpreted.
    return _SLOT.sub(value_of, template.replace("\\n", "\n").replace("\\t", "\t"))


def _apply(name: str, value: Any, now: datetime) -> Any:
    match name:
        case "json":
            return exact.dumps(value)
        case "upper":
            return _text(value).upper()
        case "lower":
            return _text(value).lower()
        case "relative" | "iso" | "local" | "utc":
            return times.shown(_text(value), name, now)
        case _:
            raise UsageError(f"--template: there is no filter `{name}`", hint=f"filters: {', '.join(_FILTERS)}")


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else exact.dumps(value)
