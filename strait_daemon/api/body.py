"""Bodies: their content type, their bound, and what is done with one that is over it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from strait_core.errors import DeadlineError, TooLargeError, UnsupportedMediaError
from strait_core.trigger import MAX_PAYLOAD_BYTES
from strait_core.wire import Request
from strait_daemon.api.strict import Reader

KIB: Final = 1024
MIB: Final = 1024 * KIB
SMALL_BYTES: Final = 256 * KIB
# The largest payload, and room for everything around it.
TRIGGER_BYTES: Final = MAX_PAYLOAD_BYTES + SMALL_BYTES
BULK_BYTES: Final = 32 * MIB
# A body that is too large is read on by as much as this, so that a plain client gets to see the answer.
DISCARD_BYTES: Final = 16 * MIB
# A sender that is silent for so long has gone.
SILENCE_SECS: Final = 30.0
# Bodies up to this length come whole as a rule.
AT_ONCE_BYTES: Final = 16 * KIB
# Bodies longer than this are decoded off the event loop.
OFFLOAD_BYTES: Final = 128 * KIB

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Disconnected(Exception):  # noqa: N818 - it is no error, and nobody is left to be told
    """The client went away."""


class Nothing(Request):
    """The body of a request that says everything in its path: none, or `{}`."""


class Body:
    """What an operation reads: a type and the most bytes it may take."""

    __slots__ = ("_reader", "most", "required", "shape")

    def __init__(
        self,
        shape: type[Request],
        *,
        most: int = SMALL_BYTES,
        raw: str | None = None,
        items: str | None = None,
        required: bool = False,
    ) -> None:
        self.shape = shape
        self.most = most
        self.required = required
        self._reader = Reader(shape, raw=raw, items=items)

    async def read(self, headers: dict[bytes, bytes], receive: Receive) -> Any:
        """The decoded request; raises 413, 415, 422 errors, and Disconnected when the client is gone."""
        media = headers.get(b"content-type")
        if media is not None and media != b"application/json":
            _check_media(media)
        sent = await _collect(receive, headers, self.most)
        if media is None and sent:
            raise UnsupportedMediaError("the body has no content type", hint="send Content-Type: application/json")
        if sent.isspace():
            sent = b""
        if len(sent) > OFFLOAD_BYTES:
            return await asyncio.to_thread(self._reader.read, sent)
        return self._reader.read(sent)


def _check_media(media: bytes) -> None:
    kind, _, parameters = media.decode("latin-1").lower().partition(";")
    kind = kind.strip()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaError(
            f"the body is {kind[:100] or 'of no type'}, not JSON", hint="send Content-Type: application/json"
        )
    charset = parameters.replace(" ", "").replace('"', "")
    if charset.startswith("charset=") and charset not in {"charset=utf-8", "charset=utf8"}:
        raise UnsupportedMediaError("the body is not in UTF-8", hint="send UTF-8, the only encoding of JSON")


async def _collect(receive: Receive, headers: dict[bytes, bytes], most: int) -> bytes:
    """The whole body; TooLargeError after the rest of it was read and thrown away."""
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared[:16]) <= AT_ONCE_BYTES:
        # The common case, without the price of a timer: it comes with the headers, or soon, or the client goes.
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            return bytes(message["body"])
        return await _gather(receive, declared, most, message)
    return await _gather(receive, declared, most, None)


async def _gather(receive: Receive, declared: bytes, most: int, message: MutableMapping[str, Any] | None) -> bytes:
    chunks: list[bytes] = []
    size = 0
    over = declared.isdigit() and int(declared[:16]) > most
    while True:
        if message is None:
            try:
                async with asyncio.timeout(SILENCE_SECS):
                    message = await receive()
            except TimeoutError:
                raise DeadlineError("the body stopped coming", hint="send it again") from None
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        over = over or size > most
        if over:
            chunks.clear()
        else:
            chunks.append(chunk)
        if not message.get("more_body", False) or size > most + DISCARD_BYTES:
            break
        message = None
    if over:
        raise TooLargeError(f"the body is over {most // KIB} KiB", hint=_smaller(most))
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _smaller(most: int) -> str:
    if most == BULK_BYTES:
        return "send fewer items at once"
    return "send less; a payload may have 5 MiB, so put large data elsewhere and pass its address"
