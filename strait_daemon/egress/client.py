"""One POST to an endpoint: bounded in size and time, without redirects, proxies or cookies, with its timings.

Connects only to addresses that the guard has checked; a connection that is used again needs no second look. Knows
nothing of runs. What came back, or what went wrong, is data: an `Answer` or an `EgressError`.
"""

from __future__ import annotations

import asyncio
import io
import os
import ssl
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp.helpers import TimerNoop
from multidict import CIMultiDict
from yarl import URL

from strait_daemon.egress.guard import Guard, GuardedResolver, Refused

# More than this of a response body is cut off, after decompression.
MAX_RESPONSE_BYTES: Final = 1024 * 1024
# An idle connection is kept for less time than common servers keep theirs, so that it is rarely closed under a request.
KEEP_ALIVE_SECS: Final = 15.0
_CHUNK: Final = 64 * 1024
# The caller's one timer bounds everything.
_NO_LIMIT: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_NO_TIMER: Final = TimerNoop()
# How a response is read: bodies decompressed as they come, heads of at most 128 fields of 16 KiB.
_BOUNDS: Final[Mapping[str, Any]] = {
    "skip_payload": False,
    "auto_decompress": True,
    "read_timeout": None,
    "read_bufsize": _CHUNK,
    "timeout_ceil_threshold": 5,
    "max_line_size": 16_384,
    "max_field_size": 16_384,
    "max_headers": 128,
}


@dataclass(slots=True)
class Timing:
    """Marks on the monotonic clock, in seconds; None = it never came to that."""

    began: float
    connected: float | None = None
    answered: float | None = None
    ended: float | None = None
    # Seconds that went by at another endpoint, before this one was tried.
    lost: float = 0.0
    transport: asyncio.BaseTransport | None = field(default=None, repr=False)

    def hang_up(self) -> None:
        """Reset the connection at once: a mere close would first wait until the endpoint has read what it was sent."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()

    def again(self) -> None:
        """Another endpoint is tried: the marks are to be its own, only the beginning stays."""
        self.lost = monotonic() - self.began
        self.connected = self.answered = self.ended = self.transport = None

    def millis(self) -> dict[str, float | None]:
        """The lengths between the marks, in ms: until a connection was ready (nearly nothing when one was reused), from
        there to the response's head, from there to the end of its body, and all of it.
        """
        began, connected, answered, ended = self.began, self.connected, self.answered, self.ended
        return {
            "connect_ms": None if connected is None else round((connected - began - self.lost) * 1000, 3),
            "ttfb_ms": None if answered is None or connected is None else round((answered - connected) * 1000, 3),
            "transfer_ms": None if ended is None or answered is None else round((ended - answered) * 1000, 3),
            "total_ms": None if ended is None else round((ended - began) * 1000, 3),
        }


class Answer(NamedTuple):
    """What an endpoint answered; the body is cut at the bound."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool


class EgressError(Exception):
    """The request got no answer; `kind` is ssrf, dns, tls, connection or protocol."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class EgressClient:
    """The daemon's HTTP client; one per process, opened inside its event loop."""

    def __init__(self, guard: Guard) -> None:
        self._connector = aiohttp.TCPConnector(
            limit=0,
            limit_per_host=0,
            keepalive_timeout=KEEP_ALIVE_SECS,
            resolver=GuardedResolver(guard),
            socket_factory=guard.open_socket,
            # Only addresses that were checked are kept, so this saves look-ups and opens nothing.
            ttl_dns_cache=5,
        )
        # Requests carry a session for their defaults (loop, timer, cookies: none of ours); it sends none of them.
        self._session = aiohttp.ClientSession(
            connector=self._connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, timeout=_NO_LIMIT
        )
        self._loop = asyncio.get_running_loop()

    async def post(
        self, url: URL, headers: CIMultiDict[str], body: bytes, timing: Timing, connect_secs: float | None = None
    ) -> Answer:
        """Send one POST; the caller bounds the time, and `connect_secs` that until a connection is ready.

        Raises EgressError; cancelling closes the connection.
        """
        try:
            async with await self._send(url, headers, body, timing, connect_secs) as response:
                timing.answered = monotonic()
                if not response.content.is_eof():
                    _end_with_connection(response)
                content, truncated = await _read(response.content)
                if truncated:
                    timing.hang_up()
                timing.ended = monotonic()
                return Answer(response.status, response.headers, content, truncated)
        except asyncio.CancelledError:
            timing.hang_up()
            raise
        except EgressError:
            timing.ended = monotonic()
            raise
        except (aiohttp.ClientError, OSError, ValueError, asyncio.IncompleteReadError) as error:
            timing.ended = monotonic()
            raise _explained(error) from error

    async def _send(
        self, url: URL, headers: CIMultiDict[str], body: bytes, timing: Timing, connect_secs: float | None
    ) -> aiohttp.ClientResponse:
        """The response's head. What a session does beyond this (redirects, cookies, proxies) is nothing we want."""
        request = aiohttp.ClientRequest(
            "POST",
            url,
            headers=headers,
            data=_payload(body),
            loop=self._loop,
            response_class=aiohttp.ClientResponse,
            timer=_NO_TIMER,
            session=self._session,
        )
        connection = await self._connected(request, connect_secs)
        # What came while it was idle would be taken for the answer to this request.
        while connection.protocol is not None and connection.protocol.should_close:
            connection.close()
            connection = await self._connected(request, connect_secs)
        timing.connected = monotonic()
        timing.transport = connection.transport
        try:
            if connection.protocol is None:
                raise aiohttp.ServerDisconnectedError
            connection.protocol.set_response_params(timer=_NO_TIMER, read_until_eof=True, **_BOUNDS)
            response = await request.send(connection)
            try:
                return await response.start(connection)
            except BaseException:
                response.close()
                raise
        except BaseException:
            connection.close()
            raise

    def _connected(self, request: aiohttp.ClientRequest, secs: float | None) -> Awaitable[aiohttp.connector.Connection]:
        """A connection for the request, new or used before."""
        connecting = self._connector.connect(request, [], _NO_LIMIT)
        return connecting if secs is None else self._within(secs, request, connecting)

    @staticmethod
    async def _within(
        secs: float, request: aiohttp.ClientRequest, connecting: Awaitable[aiohttp.connector.Connection]
    ) -> aiohttp.connector.Connection:
        try:
            async with asyncio.timeout(secs):
                return await connecting
        except TimeoutError:
            raise EgressError("connection", f"no connection to {request.url.host} within {secs:g} s") from None

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


def _payload(body: bytes) -> bytes | io.BytesIO:
    """A large body as a stream, so that it is written in pieces and not copied whole into the socket's buffer."""
    return body if len(body) <= _CHUNK else io.BytesIO(body)


def _end_with_connection(response: aiohttp.ClientResponse) -> None:
    """Let the body's reader hear of a connection that was closed over what it could not understand.

    aiohttp tells nobody when a body that has begun goes on in bytes that are no HTTP; its reader would wait for ever.
    """
    protocol = None if response.connection is None else response.connection.protocol
    if protocol is None:
        return

    def tell(_: object = None) -> None:
        fault = protocol.exception()
        if fault is not None and not response.content.is_eof() and response.content.exception() is None:
            response.content.set_exception(aiohttp.ClientPayloadError(str(fault)))

    closed = protocol.closed
    if closed is None:
        tell()
    else:
        closed.add_done_callback(tell)


async def _read(stream: aiohttp.StreamReader) -> tuple[bytes, bool]:
    """The body up to the bound, and whether there was more."""
    first = await stream.readany()
    if stream.at_eof():
        return first[:MAX_RESPONSE_BYTES], len(first) > MAX_RESPONSE_BYTES
    parts, size = [first], len(first)
    while size <= MAX_RESPONSE_BYTES and (part := await stream.read(_CHUNK)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)[:MAX_RESPONSE_BYTES], size > MAX_RESPONSE_BYTES


def refused(refusal: Refused) -> EgressError:
    """The error of a call that the guard does not allow."""
    return EgressError("ssrf", refusal.reason)


def _explained(error: Exception) -> EgressError:  # noqa: PLR0911 - one line for each kind
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, Refused):
        return refused(error.os_error)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return EgressError("dns", f"cannot resolve {error.host}")
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return EgressError("tls", f"TLS failed: {error}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return EgressError("connection", f"cannot connect to {error.host}:{error.port}: {_reason(error.os_error)}")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return EgressError("connection", "the endpoint closed the connection without an answer")
    if isinstance(error, aiohttp.ClientPayloadError):
        return EgressError("protocol", f"the answer broke off: {_said(error)}")
    if isinstance(error, aiohttp.ClientOSError | OSError):
        return EgressError("connection", f"the connection was lost: {_reason(error)}")
    return EgressError("protocol", f"not an HTTP answer: {_said(error)}")


def _said(error: Exception) -> str:
    """What the client's library says of an answer, without the URL that was called: its query may hold a secret."""
    if isinstance(error, aiohttp.ClientResponseError):
        return error.message
    return str(error).removeprefix("400, message:").strip() or type(error).__name__


def _reason(error: OSError) -> str:
    """The system's own words for an error; asyncio writes others over them."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
