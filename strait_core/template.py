"""Templates: JSON values whose strings hold placeholders, and what they become.

    {{payload.user.id}}   {{result.items[0]}}   {{run.id}}   {{payload.note | default("none")}}

A string that is one placeholder becomes the value itself, digit for digit as it was written; inside other text a string
stands as it is and anything else as JSON. Nothing is evaluated: a placeholder names a place, and perhaps what to take
where there is nothing. Reads whole documents only along the paths that are asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw

from strait_core.errors import Fault

MAX_BYTES: Final = 64 * 1024
MAX_SLOTS: Final = 500
MAX_STEPS: Final = 32

_OPEN: Final = "{{"
_PATH: Final = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_-]*)((?:\.[A-Za-z0-9_-]+|\[[0-9]{1,6}\])*)\s*")
_STEP: Final = re.compile(r"\.([A-Za-z0-9_-]+)|\[([0-9]+)\]")
_DEFAULT: Final = re.compile(r"\|\s*default\(\s*")
_CLOSE: Final = re.compile(r"\s*\)\s*\}\}")
# A pair of surrogates, half a pair (the group), any other escape.
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)
_encode: Final = msgspec.json.Encoder().encode


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_read_json: Final = json.JSONDecoder(parse_constant=_refuse).raw_decode


class TooLongError(ValueError):
    """A template that would become longer than its bound."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A placeholder: where it leads, and what to take (JSON) where there is nothing; None = no default."""

    path: str
    root: str
    steps: tuple[str | int, ...]
    default: bytes | None


Part: TypeAlias = str | Slot


@dataclass(frozen=True, slots=True)
class Filled:
    """What a template became, as JSON text, and the paths that led nowhere: null, or nothing inside a text."""

    text: str
    missing: tuple[str, ...]


def parse(text: str) -> list[Part]:
    """A string's parts in order; ValueError says what is wrong with a placeholder."""
    parts: list[Part] = []
    at = 0
    while (start := text.find(_OPEN, at)) >= 0:
        if start > at:
            parts.append(text[at:start])
        slot, at = _slot(text, start)
        parts.append(slot)
    if at < len(text) or not parts:
        parts.append(text[at:])
    return parts


def _slot(text: str, start: int) -> tuple[Slot, int]:
    """The placeholder that begins at `start`, and where it ends."""
    path = _PATH.match(text, start + len(_OPEN))
    if path is None:
        raise ValueError(f"{_shown(text, start)} does not name a value, like {{{{payload.user.id}}}}")
    steps = tuple(name or int(number) for name, number in _STEP.findall(path[2]))
    if len(steps) > MAX_STEPS:
        raise ValueError(f"{_shown(text, start)} goes deeper than {MAX_STEPS} steps")
    named = path[1] + path[2]
    if text.startswith("}}", path.end()):
        return Slot(named, path[1], steps, None), path.end() + 2
    default = _DEFAULT.match(text, path.end())
    if default is None:
        raise ValueError(f"{_shown(text, start)} is not a placeholder: {{{{path}}}} or {{{{path | default(JSON)}}}}")
    try:
        _, end = _read_json(text, default.end())
    except (ValueError, RecursionError):
        raise ValueError(f"{_shown(text, start)} has a default that is not JSON") from None
    close = _CLOSE.match(text, end)
    if close is None:
        raise ValueError(f"{_shown(text, start)} does not end with )}}}}")
    return Slot(named, path[1], steps, text[default.end() : end].encode()), close.end()


def _shown(text: str, start: int) -> str:
    return repr(text[start : start + 40])


def faults_of(template: Any, roots: Collection[str], pointer: str) -> list[Fault]:
    """Everything wrong with a template that stands at `pointer` and may name these roots."""
    if len(_encode(template)) > MAX_BYTES:
        return [Fault(pointer, f"must be at most {MAX_BYTES // 1024} KiB")]
    faults: list[Fault] = []
    slots = 0
    for place, text in _strings(template, pointer):
        try:
            found = [part for part in parse(text) if isinstance(part, Slot)]
        except ValueError as error:
            faults.append(Fault(place, str(error)))
            continue
        slots += len(found)
        faults += [
            Fault(place, f"{{{{{slot.path}}}}} begins with none of {', '.join(sorted(roots))}")
            for slot in found
            if slot.root not in roots
        ]
    if slots > MAX_SLOTS:
        faults.append(Fault(pointer, f"must have at most {MAX_SLOTS} placeholders"))
    return faults


def _strings(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield pointer, value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            # RFC 6901 §3; the definition of jobs, which has this too, imports this module.
            step = str(key).replace("~", "~0").replace("/", "~1")
            yield from _strings(one, f"{pointer}/{step}")
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            yield from _strings(one, f"{pointer}/{index}")


def slots_of(template: Any, pointer: str) -> Iterator[tuple[str, Slot]]:
    """Every placeholder of a template that has passed `faults_of`, with the place of the string that holds it."""
    for place, text in _strings(template, pointer):
        for part in parse(text):
            if isinstance(part, Slot):
                yield place, part


def fill(template: Any, roots: Mapping[str, str], *, most: int) -> Filled:
    """Put values in place of the placeholders; `roots` gives each root's JSON text. `most` bounds the bytes made.

    The template has passed `faults_of`. Raises TooLongError.
    """
    filling = _Filling(roots, most)
    text = _encode(filling.of(template))
    if len(text) > most:
        raise TooLongError
    return Filled(text.decode(), tuple(dict.fromkeys(filling.missing)))


@dataclass(slots=True)
class _Filling:
    """One filling: what was read so far, what was missing, how much may still be made."""

    roots: Mapping[str, str]
    left: int
    missing: list[str] = field(default_factory=list)
    _read: dict[tuple[str | int, ...], Any] = field(default_factory=dict)

    def of(self, template: Any) -> Any:
        """The value that a part of the template becomes."""
        if isinstance(template, str):
            return self._text(template)
        if isinstance(template, Mapping):
            return {key: self.of(one) for key, one in template.items()}
        if isinstance(template, list | tuple):
            return [self.of(one) for one in template]
        return template

    def _text(self, template: str) -> Any:
        if _OPEN not in template:
            return template
        parts = parse(template)
        if len(parts) == 1 and isinstance(parts[0], Slot):
            return Raw(self._value(parts[0]) or b"null")
        return "".join(part if isinstance(part, str) else _plain(self._value(part) or b'""') for part in parts)

    def _value(self, slot: Slot) -> bytes | None:
        """The JSON text that a placeholder stands for; None = there is nothing, which is noted."""
        found = self._at((slot.root, *slot.steps))
        value = bytes(found) if found is not None else slot.default
        if value is None:
            self.missing.append(slot.path)
            return None
        self.left -= len(value)
        if self.left < 0:
            raise TooLongError
        return value

    def _at(self, path: tuple[str | int, ...]) -> Raw | None:
        *before, last = path
        if not before:
            root = self.roots.get(str(last))
            return None if root is None else Raw(root.encode())
        inside = self._inside(tuple(before))
        if isinstance(inside, dict):
            return inside.get(str(last))
        if isinstance(inside, list) and isinstance(last, int) and last < len(inside):
            found: Raw = inside[last]
            return found
        return None

    def _inside(self, path: tuple[str | int, ...]) -> Any:
        """The members of the object or array at a path, each as it was written."""
        if path not in self._read:
            text = self._at(path)
            self._read[path] = None if text is None else _members(bytes(text))
        return self._read[path]


def _members(text: bytes) -> Any:
    kind: Any = {b"{": dict[str, Raw], b"[": list[Raw]}.get(text.lstrip()[:1])
    if kind is None:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError):
        with suppress(msgspec.DecodeError, RecursionError):
            return msgspec.json.decode(whole_characters(text), type=kind)
        return None


def whole_characters(text: bytes) -> bytes:
    """JSON in which U+FFFD takes the place of each half of a surrogate pair that stands alone."""
    return _ESCAPE.sub(_whole, text)


def _whole(found: re.Match[bytes]) -> bytes:
    """Half a surrogate pair is JSON, but no character: U+FFFD takes its place."""
    return rb"\ufffd" if found[1] else found[0]


def _plain(value: bytes) -> str:
    """A value inside a text: a string's characters, anything else as JSON."""
    text = value.decode().strip()
    if not text.startswith('"'):
        return text
    return str(json.loads(text)).encode("utf-8", "replace").decode()
