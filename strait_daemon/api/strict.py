"""The one strict reading of JSON: from bytes to a request, or every reason why not.

msgspec decodes, and refuses unknown fields, coercions, NaN and control characters by itself. What it lets pass is
looked for here, cheaply at first: only a body that may be at fault is walked with care. Exempt from the rules on
duplicate keys and NUL, and kept exactly as sent, are the fields that a request keeps raw (`payload`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from json import JSONDecoder
from typing import Any, Final, Generic, NoReturn, TypeVar

import msgspec
from msgspec import Raw

from strait_core.errors import Fault, ValidationError, escape_pointer
from strait_core.wire.refusal import choices_of, fault_of

MAX_DEPTH: Final = 128
# More would tell nobody more.
MOST_FAULTS: Final = 100
# Up to here a body is walked whole; of a longer one the payload is left out of the walk where it can be found.
_SMALL: Final = 16 * 1024
_NUL: Final = "\\u0000"
_BLANKS: Final = re.compile(r"[ \t\n\r]*")
_NO_STRUCTURE: Final = bytes(byte for byte in range(256) if byte not in b'"[]{}')
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")

Shape = TypeVar("Shape")


class Reader(Generic[Shape]):
    """Decodes bodies of one type; `raw` names the field that is kept as sent, `items` the list that has it."""

    def __init__(self, shape: type[Shape], *, raw: str | None = None, items: str | None = None) -> None:
        self._decode: Callable[[bytes | str], Shape] = msgspec.json.Decoder(shape).decode
        self._raw = raw
        self._items = items
        self._shape: Any = shape

    def read(self, sent: bytes) -> Shape:
        """The request; ValidationError says what is wrong with it, with JSON pointers. An empty body is `{}`."""
        if not sent:
            return self._typed(b"{}")
        try:
            value = self._typed(sent)
        except msgspec.DecodeError as error:
            return self._again(sent, error)
        if sent.count(b"[") + sent.count(b"{") > MAX_DEPTH:
            _check_depth(sent)
        text = _text(sent)
        if _NUL in text or self._may_repeat(value, text):
            self._check_names(text)
        return value

    def _typed(self, sent: bytes | str) -> Shape:
        try:
            return self._decode(sent)
        except msgspec.ValidationError as error:
            raise ValidationError([fault_of(str(error), choices_of(self._shape))]) from None
        except RecursionError:
            _too_deep()
        except UnicodeDecodeError:
            _not_utf8()

    def _again(self, sent: bytes, error: msgspec.DecodeError) -> Shape:
        """A second look at what msgspec cannot read: a lone surrogate inside a raw field is no fault."""
        text = _text(sent)
        if self._raw is None or not _SURROGATE.search(text):
            _malformed(str(error), sent)
        try:
            spans = self._raw_spans(text)
        except RecursionError:
            _too_deep()
        except ValueError:
            _malformed(str(error), sent)
        outer, kept = _without(text, spans)
        try:
            value = self._typed(outer)
        except msgspec.DecodeError:
            _malformed(str(error), sent)
        _check_depth(sent)
        self._check_names(text)
        self._put_back(value, kept)
        return value

    def _put_back(self, value: Shape, kept: list[str]) -> None:
        owners = getattr(value, self._items) if self._items else [value]
        raws = iter(kept)
        for owner in owners:
            if isinstance(getattr(owner, self._raw or ""), Raw):
                setattr(owner, self._raw or "", Raw(next(raws).encode()))

    def _may_repeat(self, value: Shape, text: str) -> bool:
        """Whether any object, of those that count or not, has a key twice."""
        if len(text) > _SMALL and self._raw is not None and not self._items:
            text = _cut_out(text, getattr(value, self._raw))
        try:
            _LOOK(text)
        except ValueError:
            # A repeated key; or something that Python's parser will not take, which the careful walk will name.
            return True
        return False

    def _check_names(self, text: str) -> None:
        """Refuse duplicate keys and NUL outside the raw fields, each with its pointer."""
        try:
            outer = _without(text, self._raw_spans(text))[0] if self._raw is not None else text
            tree = _PAIRS.decode(outer)
        except ValueError as error:
            _malformed(str(error), text.encode())
        faults = list(islice(_faults_in(tree, ""), MOST_FAULTS))
        if faults:
            raise ValidationError(faults)

    def _raw_spans(self, text: str) -> list[tuple[int, int]]:
        """Where the values of the raw field stand in the text."""
        if self._items is None:
            return [(at, end) for key, at, end in _members(text, 0) if key == self._raw]
        return [
            (at, end)
            for name, start, _ in _members(text, 0)
            if name == self._items
            for item in _elements(text, start)
            for key, at, end in _members(text, item)
            if key == self._raw
        ]


class _Pairs(list[tuple[str, Any]]):
    """An object whose repeated keys are still there."""


def _number(_: str) -> int:
    return 0


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_PAIRS: Final = JSONDecoder(object_pairs_hook=_Pairs, parse_int=_number, parse_float=_number, parse_constant=_constant)
_VALUES: Final = JSONDecoder(parse_int=_number, parse_float=_number, parse_constant=_constant)


class _RepeatsError(ValueError):
    """Some object has a key twice."""


def _look(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len(dict(pairs)) < len(pairs):
        raise _RepeatsError


# The cheapest parser at hand; numbers are not read, for a long one would take its time.
_LOOK: Final = JSONDecoder(object_pairs_hook=_look, parse_int=_number, parse_float=_number).decode


def _cut_out(text: str, value: Any) -> str:
    """The text without a large raw value that stands in it exactly once; else the whole text."""
    if not isinstance(value, Raw):
        return text
    kept = bytes(value).decode()
    return text.replace(kept, "0") if len(kept) > _SMALL // 2 and text.count(kept) == 1 else text


def _text(sent: bytes) -> str:
    try:
        return sent.decode()
    except UnicodeDecodeError:
        _not_utf8()


def _skip(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return match.end() if match else at


def _members(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """The members of the object at `at`: key, where its value begins and ends. Needs well-formed JSON, or raises."""
    at = _skip(text, at)
    if text[at : at + 1] != "{":
        return
    at = _skip(text, at + 1)
    while text[at : at + 1] == '"':
        key, at = _VALUES.raw_decode(text, at)
        begin = _skip(text, _skip(text, at) + 1)
        _, end = _VALUES.raw_decode(text, begin)
        yield key, begin, end
        at = _next(text, end)


def _elements(text: str, at: int) -> Iterator[int]:
    """Where the elements of the array at `at` begin."""
    at = _skip(text, at)
    if text[at : at + 1] != "[":
        return
    at = _skip(text, at + 1)
    while text[at : at + 1] not in {"]", ""}:
        yield at
        at = _next(text, _VALUES.raw_decode(text, at)[1])


def _next(text: str, end: int) -> int:
    """Where the next member or element begins; the closing bracket when there is none."""
    at = _skip(text, end)
    return _skip(text, at + 1) if text[at : at + 1] == "," else at


def _without(text: str, spans: list[tuple[int, int]]) -> tuple[str, list[str]]:
    """The text with a 0 in place of each span, and what stood there."""
    parts, kept, last = [], [], 0
    for at, end in spans:
        parts += [text[last:at], "0"]
        kept.append(text[at:end])
        last = end
    return "".join([*parts, text[last:]]), kept


def _faults_in(value: Any, pointer: str) -> Iterator[Fault]:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, inner in value:
            below = f"{pointer}/{escape_pointer(key)}"
            if key in seen:
                yield Fault(below, "stands twice in its object")
            if "\0" in key:
                yield Fault(pointer, "has a key with a NUL character")
            seen.add(key)
            yield from _faults_in(inner, below)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _faults_in(inner, f"{pointer}/{index}")
    elif isinstance(value, str) and "\0" in value:
        yield Fault(pointer, "must not contain a NUL character")


def _check_depth(sent: bytes) -> None:
    """Refuse what nests deeper than 128; needs well-formed JSON. All its steps run over the text at C speed."""
    bare = sent.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_STRUCTURE)
    # Quotes side by side hold nothing between them, be they one string or the seam of two.
    brackets = b"".join(bare.replace(b'""', b"").split(b'"')[::2])
    for _ in range(MAX_DEPTH):
        if not brackets:
            return
        # Each round takes away the innermost pairs: one level of the depth.
        brackets = _without_leaves(brackets)
    if brackets:
        _too_deep()


def _without_leaves(brackets: bytes) -> bytes:
    # Marked first and taken away together, so that a pair around them is not a leaf in the same round.
    return brackets.replace(b"[]", b"0").replace(b"{}", b"0").replace(b"0", b"")


def _too_deep() -> NoReturn:
    raise ValidationError([Fault("", f"must not nest deeper than {MAX_DEPTH}")])


def _not_utf8() -> NoReturn:
    raise ValidationError([Fault("", "is not valid UTF-8")])


def _malformed(said: str, sent: bytes) -> NoReturn:
    if sent.startswith(b"\xef\xbb\xbf"):
        raise ValidationError([Fault("", "begins with a byte order mark; send plain UTF-8")]) from None
    reason = said.removeprefix("JSON is malformed: ")
    if _SURROGATE.search(sent.decode(errors="replace")) and ("truncated" in reason or "escape" in reason):
        reason = "a string holds one half of a surrogate pair"
    elif "truncated" in reason:
        reason = "it ends too early"
    raise ValidationError([Fault("", f"is not valid JSON: {reason}")]) from None
