"""Query parameters: declared per route, read strictly, each fault with its name. Cursors and pages live here too."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

from strait_core import ids
from strait_core.errors import Fault, ValidationError
from strait_core.job import check_project
from strait_core.run import Status

LIMIT: Final = 50
MOST: Final = 200
MOST_WITH_BODIES: Final = 20
# Each value is bounded by the request line (64 KiB); this bounds how many there are.
MOST_PARAMETERS: Final = 100

MOST_NUMBER: Final = 2**31 - 1
# Columns of a drawing.
NARROWEST: Final = 40
WIDEST: Final = 1_000

Item = TypeVar("Item")


class _WrongError(ValueError):
    """A value that does not fit; its text says what would."""


@dataclass(frozen=True, slots=True)
class Param:
    """One query parameter: `read` turns its text into a value; `many` collects every occurrence into a list."""

    name: str
    read: Callable[[str], Any]
    about: str
    schema: Mapping[str, Any]
    many: bool = False


def read_query(raw: bytes, params: Sequence[Param]) -> dict[str, Any]:
    """The named parameters of a query string; ValidationError lists every unknown, repeated or wrong one."""
    known = {param.name: param for param in params}
    values: dict[str, Any] = {}
    faults: list[str] = []
    for name, text in _pairs(raw):
        param = known.get(name)
        if param is None:
            faults.append(f"?{name[:64]}= is not a parameter of this route{_instead(known)}")
        elif name in values and not param.many:
            faults.append(f"?{name}= is given twice")
        else:
            _take(param, text, values, faults)
    if faults:
        raise wrong_request(*faults)
    return values


def wrong_request(*messages: str) -> ValidationError:
    """The error for what stands outside the body: in the query or in a header."""
    return ValidationError([Fault("", message) for message in messages], "; ".join(messages))


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise wrong_request("the query string is not valid UTF-8, or has too many parameters") from None
    if any("\0" in name or "\0" in text for name, text in pairs):
        raise wrong_request("the query string contains a NUL character")
    return pairs


def _take(param: Param, text: str, values: dict[str, Any], faults: list[str]) -> None:
    try:
        value = param.read(text)
    except _WrongError as wrong:
        faults.append(f"?{param.name}= {wrong}")
        return
    if param.many:
        values.setdefault(param.name, []).append(value)
    else:
        values[param.name] = value


def _instead(known: Mapping[str, Param]) -> str:
    return f"; it knows {', '.join(known)}" if known else "; it has none"


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MOST):
        raise _WrongError(f"must be from 1 to {MOST}")
    return int(text)


def _text(text: str) -> str:
    if not text:
        raise _WrongError("must not be empty")
    return text


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MOST_NUMBER):
        raise _WrongError(f"must be from 0 to {MOST_NUMBER}")
    return int(text)


def _width(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and NARROWEST <= int(text) <= WIDEST):
        raise _WrongError(f"must be from {NARROWEST} to {WIDEST}")
    return int(text)


def _flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise _WrongError("must be true or false")
    return text == "true"


def _pair(text: str) -> tuple[str, str]:
    key, colon, value = text.partition(":")
    if not key or not colon:
        raise _WrongError("must be key:value")
    return key, value


def _project(text: str) -> str:
    faults = check_project(text)
    if faults:
        raise _WrongError(faults[0].message)
    return text


def _statuses(text: str) -> list[Status]:
    try:
        return [Status(word) for word in text.split(",")]
    except ValueError:
        raise _WrongError(f"must be one or more of {', '.join(Status)}") from None


def _instant(text: str) -> datetime:
    try:
        # A plus sign that was not percent-encoded arrives as a blank.
        at = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        if at.tzinfo is None:
            raise ValueError
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _WrongError("must be a time with a UTC offset, like 2030-01-31T09:00:00Z") from None


def _columns(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= {"payload", "result"}:
        raise _WrongError("must be payload, result or both (payload,result)")
    return names


def _cursor(text: str) -> bytes:
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raw = b""
    # Exactly what `_spell` writes: no other spelling of the same bytes.
    if len(raw) != 16 or _spell(raw) != text:
        raise _WrongError("is not a cursor of this list; take it from next_cursor")
    return raw


def read_cursor(pointer: str, text: str) -> UUID:
    """The id that a cursor inside a body names."""
    try:
        return UUID(bytes=_cursor(text))
    except _WrongError as wrong:
        raise ValidationError([Fault(pointer, str(wrong))]) from None


def read_number(text: str) -> int:
    """The number that a cursor names; ValueError says what it must be."""
    return int.from_bytes(_cursor(text), "big")


def _spell(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def id_param(name: str, prefix: ids.Prefix, about: str) -> Param:
    """A parameter that takes a whole id of one kind."""

    def read(text: str) -> UUID:
        parsed = ids.parse(prefix, text)
        if parsed is None:
            raise _WrongError(f"must be an id that begins with {prefix.value}_")
        return parsed

    return Param(name, read, about, {"type": "string"})


def id_prefix_param(prefix: ids.Prefix) -> Param:
    """`id_prefix`: the beginning of an id; gives the lowest and the highest id that begin so."""

    def read(text: str) -> tuple[UUID, UUID]:
        bounds = ids.prefix_range(prefix, text)
        if bounds is None:
            raise _WrongError(f"must be the beginning of an id, like {prefix.value}_01k")
        return bounds

    return Param("id_prefix", read, "The beginning of an id.", {"type": "string"})


_STRING: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}

PROJECT: Final = Param("project_id", _project, "The project; the header `X-Project-Id` says the same.", _STRING)
LIMIT_PARAM: Final = Param(
    "limit", _limit, "How many at most.", {"type": "integer", "minimum": 1, "maximum": MOST, "default": LIMIT}
)
CURSOR: Final = Param("cursor", _cursor, "`next_cursor` of the page before.", _STRING)
PAGING: Final = (LIMIT_PARAM, CURSOR)


def text_param(name: str, about: str) -> Param:
    """A parameter that takes any text but the empty one."""
    return Param(name, _text, about, _STRING)


def number_param(name: str, about: str) -> Param:
    """A whole number from 0 on."""
    return Param(name, _number, about, {"type": "integer", "minimum": 0, "maximum": MOST_NUMBER})


def choice_param(name: str, choices: type[StrEnum], about: str) -> Param:
    """One of a few words."""

    def read(text: str) -> StrEnum:
        try:
            return choices(text)
        except ValueError:
            raise _WrongError(f"must be one of {', '.join(choices)}") from None

    return Param(name, read, about, {"type": "string", "enum": list(choices)})


def width_param(name: str, about: str) -> Param:
    """A number of columns."""
    return Param(name, _width, about, {"type": "integer", "minimum": NARROWEST, "maximum": WIDEST})


def flag_param(name: str, about: str) -> Param:
    """`true` or `false`."""
    return Param(name, _flag, about, {"type": "boolean"})


def pair_param(name: str, about: str) -> Param:
    """`key:value`, as often as one likes."""
    return Param(name, _pair, f"{about} `key:value`; may be repeated.", _STRING, many=True)


def time_param(name: str, about: str) -> Param:
    """An instant with a UTC offset."""
    return Param(name, _instant, about, _TIME)


STATUS: Final = Param(
    "status", _statuses, f"One of {', '.join(Status)}; several with commas, or repeated.", _STRING, many=True
)
INCLUDE: Final = Param(
    "include",
    _columns,
    f"`payload`, `result` or both; `limit` is then at most {MOST_WITH_BODIES}.",
    _STRING,
    many=True,
)


def limit_of(query: Mapping[str, Any]) -> int:
    """How many items a page may have."""
    limit: int = query.get("limit", LIMIT)
    return limit


def before_id(query: Mapping[str, Any]) -> UUID | None:
    """The id that the cursor names; the page holds older ones."""
    raw = query.get("cursor")
    return None if raw is None else UUID(bytes=raw)


def after_number(query: Mapping[str, Any]) -> int | None:
    """The number that the cursor names, for lists that are counted instead of timed."""
    raw = query.get("cursor")
    return None if raw is None else int.from_bytes(raw, "big")


def id_cursor(last: UUID) -> str:
    """The cursor behind which the next page begins."""
    return _spell(last.bytes)


def number_cursor(last: int) -> str:
    """The same for lists that are counted."""
    return _spell(last.to_bytes(16, "big"))


def cut(rows: Sequence[Item], limit: int, cursor: Callable[[Item], str]) -> tuple[Sequence[Item], str | None]:
    """The page of at most `limit` rows out of up to `limit` + 1, and the cursor to the rest."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], cursor(rows[limit - 1])
