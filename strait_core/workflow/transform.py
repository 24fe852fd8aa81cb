"""`output_transform`: what of a step's output is handed on, by an RFC 9535 path.

A path that leads to one place at most (names and indexes only) gives the value there, null when there is none; any
other gives the list of what it finds. Numbers keep their digits. What a path may visit and make is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, SupportsIndex

import msgspec
import re2
from jsonpath import JSONPath, JSONPathEnvironment
from jsonpath.exceptions import JSONPathError
from jsonpath.function_extensions import ExpressionType, FilterFunction
from msgspec import Raw

from strait_core.errors import Fault
from strait_core.template import whole_characters
from strait_core.workflow.condition import MAX_SEARCHED, options

MAX_PATH: Final = 1_000
# Members of objects and lists that one path may look at: a good half second.
MOST_VISITS: Final = 100_000
MAX_OUTPUT: Final = 1024 * 1024
# JSON that is read here nests no deeper.
_DEPTH: Final = 130
_encode: Final = msgspec.json.Encoder().encode


class TransformError(ValueError):
    """A path that goes too far with the output at hand; its text says how."""


class _Search(FilterFunction):
    """`search` and `match` (RFC 9535 §2.4.6, §2.4.7) in time that grows with the text only."""

    arg_types = [ExpressionType.VALUE, ExpressionType.VALUE]  # noqa: RUF012 - as the library declares it
    return_type = ExpressionType.LOGICAL

    def __init__(self, form: str) -> None:
        self._form = form

    def __call__(self, value: object, pattern: object) -> bool:
        """Whether the text has the pattern; what is no text, or no pattern, has not."""
        if not isinstance(value, str) or not isinstance(pattern, str) or len(value) > MAX_SEARCHED:
            return False
        compiled = _compiled(self._form.format(_in_re2(pattern)))
        return compiled is not None and compiled.search(value) is not None


@lru_cache(256)
def _compiled(pattern: str) -> Any:
    try:
        return re2.compile(pattern, options())
    except re2.error:
        return None


def _in_re2(pattern: str) -> str:
    """An I-Regexp (RFC 9485) as RE2 has it: its dot matches neither kind of line end, and `^` and `$` are plain."""
    made: list[str] = []
    escaped = in_class = False
    for char in pattern:
        if escaped or in_class:
            made.append(char)
            in_class = in_class and (escaped or char != "]")
            escaped = char == "\\" and not escaped
        else:
            made.append({".": r"[^\n\r]", "^": r"\^", "$": r"\$"}.get(char, char))
            escaped, in_class = char == "\\", char == "["
    return "".join(made)


class _Paths(JSONPathEnvironment):
    max_recursion_depth = _DEPTH

    def setup_function_extensions(self) -> None:
        super().setup_function_extensions()
        self.function_extensions["search"] = _Search("{}")
        self.function_extensions["match"] = _Search(r"\A(?:{})\z")


_PATHS: Final = _Paths(strict=True)


@lru_cache(1_024)
def _path(text: str) -> JSONPath:
    path = _PATHS.compile(text)
    assert isinstance(path, JSONPath)
    return path


def faults_of(text: str, pointer: str) -> list[Fault]:
    """What is wrong with a path that stands at `pointer`."""
    if not text.startswith("$"):
        return [Fault(pointer, "must be a JSONPath (RFC 9535), which begins with $")]
    if len(text) > MAX_PATH:
        return [Fault(pointer, f"must be at most {MAX_PATH} characters")]
    try:
        _path(text)
    except (JSONPathError, RecursionError) as error:
        said = error.args[0] if error.args else "it cannot be read"
        return [Fault(pointer, f"is not a JSONPath (RFC 9535): {said}")]
    return []


def transform(text: str, output: str) -> str:
    """What a path without faults makes of an output, both ways JSON. Raises TransformError."""
    path = _path(text)
    if path.empty():
        return output
    budget = _Budget()
    is_one = path.singular_query()
    try:
        value = _read(output)
        if not isinstance(value, dict | list):
            return "null" if is_one else "[]"
        found = [match.obj for match in path.finditer(value if is_one else budget.counted(value))]
        made = _encode(_as_written((found[0] if found else None) if is_one else found, budget))
    except (JSONPathError, RecursionError):
        raise TransformError(f"the output goes deeper than {_DEPTH} levels") from None
    if len(made) > MAX_OUTPUT:
        raise TransformError(f"the path finds more than {MAX_OUTPUT // 1024} KiB")
    return made.decode()


class _Budget:
    """How much one path may still look at."""

    def __init__(self) -> None:
        self.left = MOST_VISITS
        self.room = MAX_OUTPUT

    def spend(self, members: int) -> None:
        self.left -= members + 1
        if self.left < 0:
            raise TransformError(f"the path looks at more than {MOST_VISITS} values")

    def made(self, members: int) -> None:
        # Each takes two bytes at least.
        self.room -= 2 * members
        if self.room < 0:
            raise TransformError(f"the path finds more than {MAX_OUTPUT // 1024} KiB")

    def counted(self, value: Any) -> Any:
        """A value whose objects and lists count who goes through them."""
        if isinstance(value, dict):
            return _Object(self, {key: self.counted(one) for key, one in value.items()})
        if isinstance(value, list):
            return _List(self, [self.counted(one) for one in value])
        return value


class _Object(dict[str, Any]):
    def __init__(self, budget: _Budget, members: dict[str, Any]) -> None:
        super().__init__(members)
        self.budget = budget

    def items(self) -> Any:
        self.budget.spend(len(self))
        return super().items()

    def values(self) -> Any:
        self.budget.spend(len(self))
        return super().values()

    def __getitem__(self, key: str) -> Any:
        self.budget.spend(0)
        return super().__getitem__(key)

    def __eq__(self, other: object) -> bool:
        self.budget.spend(len(self))
        return super().__eq__(other)

    __hash__ = None


class _List(list[Any]):
    def __init__(self, budget: _Budget, members: list[Any]) -> None:
        super().__init__(members)
        self.budget = budget

    def __iter__(self) -> Iterator[Any]:
        self.budget.spend(len(self))
        return super().__iter__()

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        self.budget.spend(len(self) if isinstance(key, slice) else 0)
        return super().__getitem__(key)

    def __eq__(self, other: object) -> bool:
        self.budget.spend(len(self))
        return super().__eq__(other)

    __hash__ = None


class _Int(int):
    """A whole number that knows how it was written."""

    text: str


class _Float(float):
    """Any other number that does."""

    text: str


def _int(text: str) -> Any:
    try:
        number = _Int(text)
    except ValueError:
        # More digits than Python reads.
        return _float(text)
    number.text = text
    return number


def _float(text: str) -> _Float:
    number = _Float(text)
    number.text = text
    return number


def _read(output: str) -> Any:
    return json.loads(whole_characters(output.encode()), parse_int=_int, parse_float=_float)


def _as_written(value: Any, budget: _Budget) -> Any:
    """A found value with its numbers as they were written."""
    if isinstance(value, _Int | _Float):
        return Raw(value.text.encode())
    if isinstance(value, dict):
        budget.made(len(value))
        return {key: _as_written(one, budget) for key, one in dict.items(value)}
    if isinstance(value, list):
        budget.made(len(value))
        return [_as_written(one, budget) for one in list.__iter__(value)]
    return value
