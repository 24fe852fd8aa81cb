"""Cron expressions: five fields or an alias, read once into bit masks; every fault named with its field and place.

croniter expands the fields, after a check of our own has refused what it takes beyond the standard (seconds, years,
`?`, `L`, `#`, hashed and random values, ranges that run backwards). When an expression fires is not decided here: see
`schedule.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from strait_core.errors import Fault, ValidationError

MAX_LENGTH: Final = 256
ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MONTH_NAMES: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAY_NAMES: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
LONGEST_MONTH: Final = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ITEM: Final = re.compile(r"(?P<star>\*)|(?P<low>[a-z0-9]+)(?:-(?P<high>[a-z0-9]+))?")
_ZONE_PREFIX: Final = re.compile(r"(CRON_)?TZ=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FieldKind:
    """One of the five fields: what it is called, its range (both ends included) and its names."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def value(self, word: str) -> int | None:
        """The number a word stands for, None when it is neither a number nor a name of this field."""
        if word.isascii() and word.isdigit():
            return int(word) if len(word) <= 4 else 10_000
        return self.names.index(word) + self.low if word in self.names else None


FIELDS: Final = (
    FieldKind("minute", 0, 59),
    FieldKind("hour", 0, 23),
    FieldKind("day of month", 1, 31),
    FieldKind("month", 1, 12, MONTH_NAMES),
    FieldKind("day of week", 0, 7, DAY_NAMES),
)


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression: bit n of a mask is set when the value n matches; Sunday is day 0 of the week.

    `text` is what was written, in single blanks and lower case; `fields` are its five fields, an alias resolved.
    `by_day` and `by_weekday` say whether these fields restrict anything; `is_fixed_time`, whether hour and minute name
    times of the day, with neither `*` nor a step.
    """

    text: str
    fields: tuple[str, str, str, str, str]
    minutes: int
    hours: int
    days: int
    months: int
    weekdays: int
    by_day: bool
    by_weekday: bool
    is_fixed_time: bool

    @property
    def never_fires(self) -> bool:
        """Whether no date of any year matches, like 30 February."""
        if not self.by_day or self.by_weekday:
            return False
        first = (self.days & -self.days).bit_length() - 1
        return not any(self.months >> month & 1 and first <= LONGEST_MONTH[month] for month in range(1, 13))

    def __str__(self) -> str:
        return self.text


def parse(text: str, pointer: str = "/cron") -> Expression:
    """The expression that `text` says; raises ValidationError with every fault."""
    found = faults(text, pointer)
    if found:
        raise ValidationError(found)
    return _read(_normal(text))


def faults(text: str, pointer: str) -> list[Fault]:
    """Everything wrong with an expression, each fault naming the field, the place in the text and what is wanted."""
    if len(text) > MAX_LENGTH:
        return [Fault(pointer, f"must be at most {MAX_LENGTH} characters")]
    messages = list(_messages(text))
    if not messages and _read(_normal(text)).never_fires:
        messages = ["never fires: no such date is in any year"]
    return [Fault(pointer, message) for message in messages]


def _normal(text: str) -> str:
    return " ".join(text.split()).lower()


@lru_cache(maxsize=8_192)
def _read(text: str) -> Expression:
    """An expression that has no lexical fault."""
    from croniter import croniter  # noqa: PLC0415 - 40 ms, and only what reads an expression needs it

    fields = ALIASES.get(text, text).split()
    plain = [
        ",".join(_plain(kind, item) for item in word.split(",")) for kind, word in zip(FIELDS, fields, strict=True)
    ]
    expanded, _ = croniter.expand(" ".join(plain))
    masks = []
    for kind, values in zip(FIELDS, expanded, strict=True):
        high = 6 if kind.low == 0 and kind.high == 7 else kind.high
        numbers = range(kind.low, high + 1) if values == ["*"] else values
        masks.append(sum(1 << int(number) for number in set(numbers)))
    minute, hour, day, month, weekday = fields
    minutes, hours, days, months, weekdays = masks
    return Expression(
        text,
        (minute, hour, day, month, weekday),
        minutes,
        hours,
        days,
        months,
        weekdays,
        by_day=day not in {"*", "*/1"},
        by_weekday=weekday not in {"*", "*/1"},
        is_fixed_time=not any(sign in field for field in (minute, hour) for sign in "*/"),
    )


def _plain(kind: FieldKind, item: str) -> str:
    """An item as croniter reads it rightly: in numbers, and a range of one value as that value.

    It takes `0-0` in the day of week for a range that goes round, to every day.
    """
    body, slash, step = item.partition("/")
    if body == "*":
        return item
    low, dash, high = body.partition("-")
    first, last = kind.value(low), kind.value(high) if dash else None
    if high == "sun":
        last = 7
    if dash and first == last:
        return str(first)
    return (f"{first}-{last}" if dash else str(first)) + slash + step


def _messages(text: str) -> Iterator[str]:
    words = [(found.group().lower(), found.start()) for found in re.finditer(r"\S+", text)]
    if not words:
        yield "must not be empty: five fields, or an alias such as @daily"
    elif _ZONE_PREFIX.match(words[0][0]):
        yield "takes no zone inside the expression; set the timezone field"
    elif words[0][0].startswith("@"):
        if words[0][0] not in ALIASES or len(words) > 1:
            yield f'"{" ".join(word for word, _ in words)[:40]}" is no alias; there are {", ".join(ALIASES)}'
    elif len(words) != 5:
        extra = "; there is no field for seconds or years" if len(words) in {6, 7} else ""
        count = f"{len(words)} field{'s' if len(words) > 1 else ''}"
        yield f"has {count} instead of five: minute, hour, day of month, month, day of week{extra}"
    else:
        for at, (kind, (word, start)) in enumerate(zip(FIELDS, words, strict=True), 1):
            yield from _field_messages(kind, at, word, start)


def _field_messages(kind: FieldKind, number: int, word: str, start: int) -> Iterator[str]:
    for item in word.split(","):
        wrong = _item_fault(kind, item)
        if wrong:
            yield f"{kind.name} (field {number}, character {start + 1}): {wrong}"
        start += len(item) + 1


def _item_fault(kind: FieldKind, item: str) -> str | None:
    """What is wrong with one item of a list, None when nothing is."""
    body, slash, step = item.partition("/")
    if not item:
        return "an item of the list is empty"
    if slash and not (step.isascii() and step.isdigit() and len(step) <= 4 and int(step)):
        return f'"{step[:20]}" is no step; a step is a whole number from 1'
    found = _ITEM.fullmatch(body)
    if not found:
        return f'"{body[:20]}" is not understood; write *, a value, a range a-b, or one of them with a step /n'
    if found["star"]:
        return None
    words = [word for word in (found["low"], found["high"]) if word is not None]
    return next(filter(None, (_value_fault(kind, word) for word in words)), None) or _range_fault(kind, words)


def _value_fault(kind: FieldKind, word: str) -> str | None:
    value = kind.value(word)
    if value is None:
        names = f" or {kind.names[0]}-{kind.names[-1]}" if kind.names else ""
        return f'"{word[:20]}" is not a value; it takes {kind.low}-{kind.high}{names}'
    return None if kind.low <= value <= kind.high else f"{word[:20]} is outside {kind.low}-{kind.high}"


def _range_fault(kind: FieldKind, words: list[str]) -> str | None:
    low, high = kind.value(words[0]), kind.value(words[-1])
    assert low is not None
    assert high is not None
    if len(words) == 2 and words[1] == "sun":
        high = 7
    if low <= high:
        return None
    last = 6 if kind.high == 7 else kind.high
    return f"the range {words[0]}-{words[1]} runs backwards; write {low}-{last},{kind.low}-{high}"
