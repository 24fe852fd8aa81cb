"""JSON Schema: whether a schema is one, and what a document has against it. Nothing is ever fetched.

Only who judges documents imports this module: it loads a compiled library that the command line has no use for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

import jsonschema_rs
import msgspec
from jsonschema_rs import ReferencingError, RegexOptions

from strait_core.errors import Fault, escape_pointer

MAX_SCHEMA_BYTES: Final = 64 * 1024
MOST_FAULTS: Final = 100
MAX_MESSAGE: Final = 300
# Up to this length every fault of a document is found; a longer one may have so many that the first must do.
_SMALL: Final = 16 * 1024
# Matching takes time that grows with the text only, whatever the pattern; look-around and back-references are refused.
_PATTERNS: Final = RegexOptions()


class Judge:
    """One schema, compiled."""

    __slots__ = ("_validator",)

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = jsonschema_rs.validator_for(dict(schema), offline=True, pattern_options=_PATTERNS)

    def faults(self, pointer: str, text: str) -> list[Fault]:
        """What is wrong with a JSON text that stands at `pointer`; an empty list when it is as the schema says."""
        try:
            document = msgspec.json.decode(text)
            if self._validator.is_valid(document):
                return []
            return [_fault(pointer, error) for error in self._errors(document, len(text))]
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            # A lone surrogate or a number beyond all bounds: JSON, but nothing that a schema can be asked about.
            return [Fault(pointer, f"cannot be compared with the schema: {_first_line(str(error))}")]

    def _errors(self, document: Any, size: int) -> Iterable[jsonschema_rs.ValidationError]:
        if size <= _SMALL:
            return islice(self._validator.iter_errors(document), MOST_FAULTS)
        try:
            self._validator.validate(document)
        except jsonschema_rs.ValidationError as error:
            return [error]
        return []


def check_schema(name: str, schema: Mapping[str, Any]) -> list[Fault]:
    """A field that holds a schema: of a known draft, at most 64 KiB, without references to anything outside it."""
    if len(msgspec.json.encode(schema)) > MAX_SCHEMA_BYTES:
        return [Fault(f"/{name}", f"must be at most {MAX_SCHEMA_BYTES // 1024} KiB")]
    try:
        Judge(schema)
    except (ValueError, ReferencingError) as error:
        return [Fault(f"/{name}", f"is not a JSON Schema that works here: {_first_line(str(error))}")]
    return []


def _fault(pointer: str, error: jsonschema_rs.ValidationError) -> Fault:
    path = "".join(f"/{escape_pointer(str(step))}" for step in error.instance_path)
    return Fault(f"{pointer}{path}", _first_line(error.message))


def _first_line(text: str) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]} …"
