"""What msgspec says of a body that it refuses, in the terms of JSON: the same words for the API and for files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct

from strait_core.errors import Fault, escape_pointer

_FIELD: Final = re.compile(r"^Object (contains unknown|missing required) field `(.*)`$", re.DOTALL)
_EXPECTED: Final = re.compile(r"^Expected `([^`]*)`, got `([^`]*)`$")
_TYPES: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "datetime": "a time",
    "date": "a date",
    "object": "an object",
    "array": "an array",
}
_TIME: Final = "must be a time with a UTC offset, like 2030-01-31T09:00:00Z"
_DATE: Final = "must be a date that there is, like 2030-01-31"


def fault_of(said: str, choices: Mapping[str, str]) -> Fault:
    """msgspec's words as a fault: its path as a JSON pointer, its types in the terms of JSON."""
    message, _, where = said.rpartition(" - at `$")
    if not message:
        message, where = said, "`"
    pointer = _pointer(where[:-1])
    field = _FIELD.match(message)
    if field:
        about = "is required" if field[1].startswith("missing") else "is not a field here"
        return Fault(f"{pointer}/{escape_pointer(field[2])}", about)
    if message.startswith("Invalid enum value"):
        return Fault(pointer, f"must be one of {choices.get(pointer.rpartition('/')[2], 'its values')}")
    if message.startswith("Invalid RFC3339"):
        return Fault(pointer, _DATE if message.endswith(" date") else _TIME)
    expected = _EXPECTED.match(message)
    if expected:
        wanted = " or ".join(_TYPES.get(name, name) for name in expected[1].split(" | "))
        each = "each value " if where.endswith("[...]`") else ""
        return Fault(pointer, f"{each}must be {wanted}, not {_TYPES.get(expected[2], expected[2])}")
    return Fault(pointer, f"{message[0].lower()}{message[1:]}")


def _pointer(where: str) -> str:
    """`.items[3].tags[...]` as `/items/3/tags`."""
    steps = re.findall(r"\.(\w+)|\[(\d+)\]", where)
    return "".join(f"/{name or index}" for name, index in steps)


@cache
def choices_of(shape: Any) -> Mapping[str, str]:
    """The fields of a request, and of its items, that take one of a few words."""
    if get_args(shape):
        # A list, or one of several types.
        return {name: words for inner in get_args(shape) for name, words in choices_of(inner).items()}
    if not (isinstance(shape, type) and issubclass(shape, Struct)):
        return {}
    found: dict[str, str] = {}
    for field in msgspec.structs.fields(shape):
        for kind in get_args(field.type) or (field.type,):
            if isinstance(kind, type) and issubclass(kind, StrEnum):
                found[field.name] = ", ".join(kind)
        found |= choices_of(field.type)
    return found
