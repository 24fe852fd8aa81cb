"""Named rate limits of a job: what they may say, and which key a run draws on. No I/O.

A limit's `key` is a template over the run's payload and a few of its own facts. What it becomes for a run names a
bucket of tokens; each value has its own, and every start takes a token out of it. A run for which it becomes nothing
has no such key, and is not limited by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from strait_core.errors import Fault
from strait_core.template import Slot, TooLongError, faults_of, fill, parse

MAX_KEYS: Final = 10
MAX_NAME: Final = 64
MAX_TEMPLATE: Final = 512
# As rate_limit_max and rate_limit_window_secs, but that there is no "no limit" to be said by 0.
MAX_RATE: Final = 1_000_000
MAX_WINDOW_SECS: Final = 86_400
# A longer value, or one that no database text can hold, counts by its digest.
MAX_VALUE: Final = 256
ROOTS: Final = ("payload", "run")
# What a template may ask of the run itself: what is the same whenever it is asked.
RUN_FACTS: Final = ("concurrency_key", "metadata", "tags", "triggered_by")
# No value is made that is longer: whoever sends more shares one bucket with all who do.
_MOST: Final = 16 * 1024 * 1024
_TOO_LONG: Final = "(too long)"
_UNREADABLE: Final = "(unreadable)"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class RateKey(Struct, frozen=True):
    """One named limit: of the runs whose `key` becomes the same value, `max` may start in `window_secs`.

    What is stored may say more one day: who does not know that reads the rest.
    """

    name: str
    key: str
    max: int
    window_secs: int


class Bucket(NamedTuple):
    """The tokens for one value of one limit of a job; `name` is None for the job's cap for each concurrency key."""

    lane: int
    name: str | None
    key: str


def check_rate_keys(limits: Sequence[RateKey]) -> list[Fault]:
    """Everything wrong with a job's named limits, each fault with its pointer."""
    faults = [Fault("/rate_limit_keys", f"must have at most {MAX_KEYS} entries")] if len(limits) > MAX_KEYS else []
    seen: set[str] = set()
    for at, limit in enumerate(limits):
        pointer = f"/rate_limit_keys/{at}"
        if not _NAME.match(limit.name):
            faults.append(Fault(f"{pointer}/name", f"must be 1 to {MAX_NAME} characters of A-Z a-z 0-9 _ -"))
        elif limit.name in seen:
            faults.append(Fault(f"{pointer}/name", f"is the name of another entry: {limit.name}"))
        seen.add(limit.name)
        faults += _check_template(limit.key, f"{pointer}/key")
        if not 1 <= limit.max <= MAX_RATE:
            faults.append(Fault(f"{pointer}/max", f"must be from 1 to {MAX_RATE}"))
        if not 1 <= limit.window_secs <= MAX_WINDOW_SECS:
            faults.append(Fault(f"{pointer}/window_secs", f"must be from 1 to {MAX_WINDOW_SECS}"))
    return faults


def _check_template(key: str, pointer: str) -> list[Fault]:
    if len(key) > MAX_TEMPLATE:
        return [Fault(pointer, f"must be at most {MAX_TEMPLATE} characters")]
    faults = faults_of(key, ROOTS, pointer)
    if faults:
        return faults
    slots = [part for part in parse(key) if isinstance(part, Slot)]
    if not slots:
        return [Fault(pointer, "names no value, like {{payload.tenant}}; rate_limit_max limits the whole job")]
    return [
        Fault(pointer, f"{{{{{slot.path}}}}} is none of {', '.join(f'run.{fact}' for fact in RUN_FACTS)}")
        for slot in slots
        if slot.root == "run" and (not slot.steps or slot.steps[0] not in RUN_FACTS)
    ]


def key_of(limit: RateKey, payload: str, run: Mapping[str, Any]) -> str | None:
    """The run's key for that limit, at most 256 characters; None = it has none.

    A text stands for itself, so the number 1 and the text "1" are the same key; null is nothing. Never raises: no
    payload may keep the others from being claimed.
    """
    try:
        filled = fill(limit.key, {"payload": payload, "run": _encode(run).decode()}, most=_MOST)
    except TooLongError:
        return _TOO_LONG
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return _UNREADABLE
    text = filled.text.strip()
    if filled.missing or text == "null":
        return None
    return _bounded(_plain(text))


def _plain(text: str) -> str:
    """A text's characters; anything else as it was written, a text with half a character as well."""
    if text.startswith('"'):
        with suppress(msgspec.DecodeError):
            return str(_decode(text))
    return text


def _bounded(value: str) -> str:
    if len(value) <= MAX_VALUE and "\0" not in value:
        return value
    return f"sha256:{sha256(value.encode()).hexdigest()}"
