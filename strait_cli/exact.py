"""JSON in and out without losing what a double cannot hold: `1e999`, `0.10`, an integer of five thousand digits.

A payload or result is the endpoint's own; what is printed of it as JSON must be what was stored.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import Any, Final, Self

# Longer integers than this are refused by Python's int(), which takes quadratic time for them.
_LONG_DIGITS: Final = 4_000
# Stands in the text for the quotes around a number while json.dumps writes it; nobody can know it beforehand.
_MARK: Final = secrets.token_hex(16)
_MARKED: Final = re.compile(f'"{_MARK}([^"]*)"')


class Exact(float):
    """A number that remembers how it was written."""

    text: str

    def __new__(cls, text: str) -> Self:
        """Read one JSON number."""
        number = super().__new__(cls, text)
        number.text = text
        return number


def _read_float(text: str) -> float:
    number = float(text)
    return number if repr(number) == text else Exact(text)


def _read_int(text: str) -> int | float:
    return Exact(text) if text == "-0" or len(text) >= _LONG_DIGITS else int(text)


def loads(text: str | bytes) -> Any:
    """The value of a JSON text; raises ValueError when it is none."""
    return json.loads(text, parse_float=_read_float, parse_int=_read_int)


def dumps(value: Any, *, indent: int | None = None) -> str:
    """JSON text in which every number that `loads` has read stands as it was written."""
    text = json.dumps(_marked(value), ensure_ascii=False, indent=indent)
    return _MARKED.sub(r"\1", text)


def _marked(value: Any) -> Any:
    if isinstance(value, Exact):
        return _MARK + value.text
    if isinstance(value, dict):
        return {key: _marked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item) for item in value]
    return value
