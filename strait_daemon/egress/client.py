"""One POST to an endpoint: bounded in size and time, without redirects, proxies or cookies, with its timings.

Connects only to addresses that the guard has checked; a connection that is used again needs no second look. Knows
nothing of runs. What came back, or what went wrong, is data: an `Answer` or an `EgressError`.
"""

from __future__ import annotations

import asyncio
import io
import os
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp

from strait_daemon.egress.guard import Guard, GuardedResolver, Refused

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

# More than this of a response body is cut off, after decompression.
MAX_RESPONSE_BYTES: Final = 1024 * 1024
# An idle connection is kept for less time than common servers keep theirs, so that it is rarely closed under a request.
KEEP_ALIVE_SECS: Final = 15.0
_CHUNK: Final = 64 * 1024
_NO_LIMIT: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)


@dataclass(slots=True)
class Timing:
    """Marks on the monotonic clock, in seconds; None = it never came to that."""

    began: float
    connected: float | None = None
    answered: float | None = None
    ended: float | None = None
    transport: asyncio.BaseTransport | None = field(default=None, repr=False)

    def hang_up(self) -> None:
        """Reset the connection at once: a mere close would first wait until the endpoint has read what it was sent."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()

    def millis(self) -> dict[str, float | None]:
        """The lengths between the marks, in ms: until a connection was ready (nearly nothing when one was reused), from
        there to the response's head, from there to the end of its body, and all of it.
        """
        began, connected, answered, ended = self.began, self.connected, self.answered, self.ended
        return {
            "connect_ms": None if connected is None else round((connected - began) * 1000, 3),
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


_timing: ContextVar[Timing | None] = ContextVar("timing", default=None)


class _TimedConnector(aiohttp.TCPConnector):
    """Marks when a request has its connection."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        timing = _timing.get()
        if timing is not None:
            timing.connected = monotonic()
            timing.transport = connection.transport
        return connection


class EgressClient:
    """The daemon's HTTP client; one per process, opened inside its event loop."""

    def __init__(self, guard: Guard) -> None:
        connector = _TimedConnector(
            limit=0,
            limit_per_host=0,
            keepalive_timeout=KEEP_ALIVE_SECS,
            resolver=GuardedResolver(guard),
            socket_factory=guard.open_socket,
            # Only addresses that were checked are kept, so this saves look-ups and opens nothing.
            ttl_dns_cache=5,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            timeout=_NO_LIMIT,
            skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
            max_line_size=16_384,
            max_field_size=16_384,
        )

    async def post(self, url: Any, headers: Mapping[str, str], body: bytes, timing: Timing) -> Answer:
        """Send one POST; the caller bounds the time. Raises EgressError; cancelling closes the connection."""
        _timing.set(timing)
        try:
            async with self._session.request(
                "POST", url, headers=headers, data=_payload(body), allow_redirects=False
            ) as response:
                timing.answered = monotonic()
                content, truncated = await _read(response.content)
                if truncated:
                    timing.hang_up()
                timing.ended = monotonic()
                return Answer(response.status, response.headers, content, truncated)
        except asyncio.CancelledError:
            timing.hang_up()
            raise
        except (aiohttp.ClientError, OSError, ValueError, asyncio.IncompleteReadError) as error:
            timing.ended = monotonic()
            raise _explained(error) from error

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


def _payload(body: bytes) -> bytes | io.BytesIO:
    """A large body as a stream, so that it is written in pieces and not copied whole into the socket's buffer."""
    return body if len(body) <= _CHUNK else io.BytesIO(body)


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
        return EgressError("protocol", f"the answer broke off: {error}")
    if isinstance(error, aiohttp.ClientOSError | OSError):
        return EgressError("connection", f"the connection was lost: {_reason(error)}")
    return EgressError("protocol", f"not an HTTP answer: {type(error).__name__}: {error}")


def _reason(error: OSError) -> str:
    """The system's own words for an error; asyncio writes others over them."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
