"""Events, waits and descent, as they travel."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

from msgspec import UNSET, Raw, Struct, UnsetType

from strait_core import ids
from strait_core.errors import Fault
from strait_core.wire.bodies import Request
from strait_core.wire.runs import Run, TriggerFields

MAX_KEY: Final = 256
MAX_PAYLOAD: Final = 1024 * 1024
# What cannot stand in a path or on a terminal, or is no character at all.
_UNFIT: Final = re.compile(r"[/\x00-\x1f\x7f-\x9f\ud800-\udfff]")
DEFAULT_TIMEOUT_SECS: Final = 3_600
MAX_TIMEOUT_SECS: Final = 30 * 86_400


class SendEvent(Request):
    """POST /v1/events/{key}/send: what came; without a payload it is null."""

    payload: Raw | UnsetType = UNSET
    project_id: str | UnsetType = UNSET


class Event(Struct, kw_only=True):
    """An event: `waiting` while runs wait for it, `received` for a day after it was sent, or `canceled`.

    `waits` counts the open waits, `delivered` those it has ended. Lists leave out `payload`.
    """

    id: str
    project_id: str
    key: str
    status: str
    payload: Raw | UnsetType | None = UNSET
    waits: int
    delivered: int
    created_at: datetime
    sent_at: datetime | None
    expires_at: datetime | None


class PrefixSent(Struct, kw_only=True):
    """What a send to a prefix came to: the events, and the keys that stand for another body."""

    data: list[Event]
    conflicts: list[str]


class WaitForEvent(Request):
    """POST wait-for-event: wait for the event of that key, for at most so long."""

    event_key: str
    timeout_secs: int = DEFAULT_TIMEOUT_SECS


class Wait(Struct, kw_only=True):
    """One thing that the run waits for, or has waited for.

    `status` is `open`, for an event then `received` or `canceled`, for a run the state it ended in. `payload` is the
    event's, `result` and `error` are the other run's.
    """

    id: str
    status: str
    event_key: str | None
    run_id: str | None
    attempt: int
    created_at: datetime
    due_at: datetime | None
    settled_at: datetime | None
    payload: Raw | UnsetType | None = UNSET
    result: Raw | UnsetType | None = UNSET
    error: str | UnsetType | None = UNSET


class Spawn(TriggerFields, kw_only=True):
    """POST spawn: a trigger of another job; with `wait` the run goes on when the new one has ended."""

    job: str
    wait: bool = False


class Continue(TriggerFields):
    """POST continue: a run of the same job that goes on from here; without a payload it gets this run's."""


class Lineage(Struct, kw_only=True):
    """A run's family: ancestors from the first one down, descendants by generation; `truncated`: there are more."""

    run: Run
    ancestors: list[Run]
    descendants: list[Run]
    truncated: bool


def faults_of_key(pointer: str, key: str) -> list[Fault]:
    """An event's key: 1 to 256 characters that can stand in a path, and that are no id."""
    if not 1 <= len(key) <= MAX_KEY:
        return [Fault(pointer, f"must be 1 to {MAX_KEY} characters")]
    if key in {".", ".."} or _UNFIT.search(key):
        return [Fault(pointer, "must not contain / or control characters, nor be . or ..")]
    if ids.parse(ids.Prefix.EVENT, key) is not None:
        return [Fault(pointer, "must not be an id")]
    return []


def faults_of_wait(request: WaitForEvent) -> list[Fault]:
    """A sound key, and at most 30 days."""
    faults = faults_of_key("/event_key", request.event_key)
    if not 1 <= request.timeout_secs <= MAX_TIMEOUT_SECS:
        faults.append(Fault("/timeout_secs", f"must be from 1 to {MAX_TIMEOUT_SECS}"))
    return faults


def faults_of_payload(payload: Any) -> list[Fault]:
    """At most 1 MiB."""
    long = payload is not UNSET and len(payload) > MAX_PAYLOAD
    return [Fault("/payload", f"must be at most {MAX_PAYLOAD} bytes")] if long else []
