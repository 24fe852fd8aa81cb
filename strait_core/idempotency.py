"""Idempotency keys: what a key may be, and when two bodies under one key say the same.

No I/O: what is remembered of a key, and for how long, is the store's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct

from strait_core.errors import Fault

MAX_KEY: Final = 256
# How long a key holds after what it protects is over: the run for a trigger, the request for anything else.
KEPT: Final = timedelta(hours=24)
# Before the digits of a number, so that it is told from the string of the same digits; no sane text begins so.
_NUMBER: Final = "\0number "

# Fields of a trigger that are no part of what it says of the run.
_APART: Final = ("payload", "idempotency_key", "dry_run")

_encode: Final = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Once:
    """A request that must not be carried out twice: its key, and the hash of what it says."""

    key: str
    body_hash: str


def check_key(pointer: str, key: str) -> list[Fault]:
    """A key: 1 to 256 characters, none of them a control character."""
    if not 1 <= len(key) <= MAX_KEY:
        return [Fault(pointer, f"must be 1 to {MAX_KEY} characters")]
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in key):
        return [Fault(pointer, "must not contain control characters")]
    return []


def once(key: str, body: Struct, payloads: Sequence[bytes] = ()) -> Once:
    """The key with the hash of a body; `payloads` are its raw parts, which `body` must not hold any more."""
    digest = sha256(_encode(body))
    for payload in payloads:
        digest.update(b"\0")
        digest.update(canonical(payload))
    return Once(key, digest.hexdigest())


def canonical(payload: bytes) -> bytes:
    """JSON text without what carries no meaning: blanks, the order of keys, how a character is escaped.

    Numbers keep their digits (1.0 is not 1), and an object that has a key twice stays in the order it was written.
    """
    value = json.loads(payload, parse_int=_digits, parse_float=_digits, object_pairs_hook=_members)
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digits(text: str) -> str:
    return _NUMBER + text


def _members(pairs: list[tuple[str, Any]]) -> Any:
    members = dict(pairs)
    return members if len(members) == len(pairs) else [_NUMBER, pairs]


def trigger_once(key: str, request: Any) -> Once:
    """The key of one trigger, for a body with or without a payload; a payload left out is the empty one."""
    payload = bytes(request.payload) if request.payload is not UNSET else b"{}"
    apart = {name: UNSET for name in _APART if hasattr(request, name)}
    return once(key, msgspec.structs.replace(request, **apart), (payload,))
