"""An HTTP endpoint as fast as Python allows, in a process of its own: answers at once or after a delay, and counts.

It parses only what the daemon and the bare client send (a head, a Content-Length): it is never what is measured.

    POST /ok           200 and {"ok":true}
    POST /late/MS      the same after MS milliseconds
    POST /stamp        the same; a body that holds `"t":NANOSECONDS` (monotonic clock) is taken as the moment of sending
    GET  /_stats       what arrived since the last reset
    GET  /_latencies   for each /stamp the time from sending to the first byte here, in microseconds
    POST /_reset       forget
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from array import array
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import cast

import uvloop

_ANSWER = b'{"ok":true}'
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n" + _ANSWER


@dataclass(slots=True)
class Counts:
    """What arrived; times in nanoseconds on the machine's monotonic clock."""

    requests: int = 0
    open: int = 0
    most_open: int = 0
    connections: int = 0
    first_at: int = 0
    last_at: int = 0
    latencies: array[int] = field(default_factory=lambda: array("q"))

    def as_json(self) -> dict[str, int]:
        return {
            "requests": self.requests,
            "open": self.open,
            "most_open": self.most_open,
            "connections": self.connections,
            "first_at": self.first_at,
            "last_at": self.last_at,
        }


class Caller(asyncio.Protocol):
    """One connection."""

    counts = Counts()

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._held = b""
        self._began = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        Caller.counts.connections += 1

    def data_received(self, data: bytes) -> None:
        if not self._held:
            self._began = monotonic_ns()
        self._held += data
        while True:
            end = self._held.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _length(self._held, end)
            if len(self._held) < end + 4 + length:
                return
            head, body = self._held[:end], self._held[end + 4 : end + 4 + length]
            self._held = self._held[end + 4 + length :]
            self._answer(head.split(b" ", 2)[1], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        counts = Caller.counts
        if path.startswith(b"/_"):
            self._control(path)
            return
        counts.requests += 1
        counts.last_at = self._began
        if counts.requests == 1:
            counts.first_at = self._began
        if path == b"/stamp":
            at = body.find(b'"t":')
            if at >= 0:
                counts.latencies.append((self._began - int(body[at + 4 :].split(b"}", 1)[0])) // 1000)
        elif path.startswith(b"/late/"):
            counts.open += 1
            counts.most_open = max(counts.most_open, counts.open)
            asyncio.get_running_loop().call_later(int(path[6:]) / 1000, self._late)
            return
        assert self._transport is not None
        self._transport.write(_OK)

    def _late(self) -> None:
        Caller.counts.open -= 1
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_OK)

    def _control(self, path: bytes) -> None:
        answer: object = None
        if path == b"/_stats":
            answer = Caller.counts.as_json()
        elif path == b"/_latencies":
            answer = Caller.counts.latencies.tolist()
        elif path == b"/_reset":
            Caller.counts = Counts()
        text = json.dumps(answer).encode()
        assert self._transport is not None
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)


def _length(held: bytes, end: int) -> int:
    at = held.find(b"Content-Length: ", 0, end)
    if at < 0:
        at = held[:end].lower().find(b"content-length: ")
    if at < 0:
        return 0
    return int(held[at + 16 : held.index(b"\r", at)])


async def serve(port: int) -> None:
    """Listen until the process is ended; says `ready` once it does."""
    server = await asyncio.get_running_loop().create_server(Caller, "127.0.0.1", port, backlog=16_384)
    print("ready", flush=True)
    parent = os.getppid()
    # Nobody asks an endpoint any more whose starter is gone.
    while os.getppid() == parent:  # noqa: ASYNC110 - a parent's end sets no event
        await asyncio.sleep(1)
    server.close()


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(serve(int(sys.argv[1])))
