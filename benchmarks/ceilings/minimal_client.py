"""The bare loop again, with the least HTTP/1.1 client that could dispatch: how much of the ceiling is the client's own.

It keeps connections, builds a head for every request, bounds time and body, and parses with httptools. It knows no TLS,
no compression and no stale connections, which a real one must.

    python -m benchmarks.ceilings.minimal_client URL CONCURRENCY COUNT
"""

from __future__ import annotations

import asyncio
import json
import sys
from time import monotonic, process_time
from typing import cast
from urllib.parse import urlsplit

import httptools
import uvloop

from benchmarks.ceilings.bare_client import BODY, HEADERS

MOST_BYTES = 1024 * 1024
LIMIT_SECS = 300


class Line(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._answered: asyncio.Future[int] | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.kept = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionError("closed before the answer"))

    def data_received(self, data: bytes) -> None:
        assert self._parser is not None
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, part: bytes) -> None:
        if sum(map(len, self.body)) < MOST_BYTES:
            self.body.append(part)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        assert self._answered is not None
        self.kept = self._parser.should_keep_alive()
        if not self._answered.done():
            self._answered.set_result(self._parser.get_status_code())

    async def post(self, head: bytes, body: bytes) -> tuple[int, bytes]:
        assert self._transport is not None
        self.headers, self.body = [], []
        self._parser = httptools.HttpResponseParser(self)
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        status = await self._answered
        return status, b"".join(self.body)


async def drain(url: str, concurrency: int, count: int) -> dict[str, float]:
    """As in bare_client: rate and CPU of what follows the warm-up."""
    parts = urlsplit(url)
    left, done, warm = count, 0, count // 20
    start = (monotonic(), process_time())
    idle: list[Line] = []

    async def once() -> None:
        fields = "".join([f"{name}: {value}\r\n" for name, value in HEADERS.items()])
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{fields}".encode("latin-1")
        if idle:
            line = idle.pop()
        else:
            _, line = await asyncio.get_running_loop().create_connection(Line, parts.hostname or "", parts.port or 80)
        async with asyncio.timeout(LIMIT_SECS):
            status, _ = await line.post(head, BODY)
        assert status == 200
        if line.kept:
            idle.append(line)

    async def keep_calling() -> None:
        nonlocal left, done, start
        while left > 0:
            left -= 1
            await once()
            done += 1
            if done == warm:
                start = (monotonic(), process_time())

    await asyncio.gather(*(keep_calling() for _ in range(concurrency)))
    secs, cpu = monotonic() - start[0], process_time() - start[1]
    return {"rate": (count - warm) / secs, "cpu_us": cpu / (count - warm) * 1e6}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(drain(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
