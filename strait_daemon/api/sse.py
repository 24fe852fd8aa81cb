"""Server-sent events: how one is spelled, and what all streams have in common."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from msgspec import Struct

from strait_daemon.api.operation import encode

# A stream on which nothing happens says that it is alive at least so often.
KEEP_ALIVE_SECS: Final = 15.0
KEEP_ALIVE: Final = b": keep-alive\n\n"
# How long a client waits before it comes back (the EventSource standard's `retry`).
RETRY_MILLIS: Final = 1_000
CLOSING: Final = "the server is shutting down; come back with Last-Event-ID"


class EndData(Struct):
    """Data of an `end` event: why the server closes a stream that is not over."""

    reason: str


def begin(identity: bytes | None = None) -> bytes:
    """What every stream begins with; with an id it says from where on: who is cut off must not begin elsewhere."""
    return b"retry: %d\n\n" % RETRY_MILLIS if identity is None else b"retry: %d\nid: %s\n\n" % (RETRY_MILLIS, identity)


def event(name: bytes, identity: bytes, data: Any) -> bytes:
    """One event."""
    text = encode(data)
    if b"\n" in text or b"\r" in text:
        # JSON as we write it has no line breaks; as it was sent (a payload) it may, and each needs its own `data:`.
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    return b"event: %s\nid: %s\ndata: %s\n\n" % (name, identity, text)


def end(identity: bytes | None, reason: str) -> bytes:
    """The last event of a stream that the server closes; without an id the client comes back where it is."""
    if identity is None:
        return b"event: end\ndata: %s\n\n" % encode(EndData(reason))
    return event(b"end", identity, EndData(reason))


def alive(identity: bytes) -> bytes:
    """A sign of life that also tells how far the stream has come: its place stays near, though nothing is wanted."""
    return b"id: %s\n%s" % (identity, KEEP_ALIVE)


async def rings(bell: asyncio.Event, secs: float) -> bool:
    """Wait for a bell, at most so long (False), and let it ring anew."""
    try:
        async with asyncio.timeout(secs):
            await bell.wait()
    except TimeoutError:
        return False
    bell.clear()
    return True
