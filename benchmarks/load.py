"""Sends trigger requests over raw HTTP/1.1 from a process of its own, and says how it went in one line of JSON.

Closed: `--connections C --count N`, each connection sends its next request when the last is answered.
Open:   `--rate R --secs S`, requests leave on their dates whatever the answers; connections are added as needed.
With `--stamp` the body is `{"payload":{"t":NANOSECONDS}}`, else the file named by `--body`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections import Counter
from pathlib import Path
from time import monotonic, monotonic_ns, process_time
from typing import cast
from urllib.parse import urlsplit

import uvloop


class Plan:
    """What to send, and what came of it."""

    def __init__(self, words: argparse.Namespace) -> None:
        url = urlsplit(words.url)
        self.host, self.port = url.hostname or "127.0.0.1", url.port or 80
        self.stamp: bool = words.stamp
        self.body = Path(words.body).read_bytes() if words.body else b"{}"
        self.head = (
            f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {os.environ.get('INTERNAL_SECRET', '')}\r\nContent-Length: "
        ).encode()
        self.statuses: Counter[int] = Counter()
        self.waits: list[float] = []

    def request(self) -> bytes:
        body = b'{"payload":{"t":%d}}' % monotonic_ns() if self.stamp else self.body
        return self.head + b"%d\r\n\r\n" % len(body) + body


class Caller(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[None] | None = None
        self._held = bytearray()
        self._wanted = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed before the answer"))

    async def call(self) -> None:
        """Send one request and wait for its answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        began = monotonic()
        self._transport.write(self._plan.request())
        await self._answer
        self._plan.waits.append(monotonic() - began)

    def data_received(self, data: bytes) -> None:
        self._held += data
        if self._wanted < 0:
            end = self._held.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._held[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r", 1)[0]) if at >= 0 else 0
            self._wanted = end + 4 + length
        if len(self._held) >= self._wanted:
            self._plan.statuses[int(self._held[9:12])] += 1
            self._held.clear()
            self._wanted = -1
            assert self._answer is not None
            if not self._answer.done():
                self._answer.set_result(None)


async def connect(plan: Plan) -> Caller:
    """A connection of its own."""
    _, caller = await asyncio.get_running_loop().create_connection(lambda: Caller(plan), plan.host, plan.port)
    return caller


async def closed(plan: Plan, connections: int, count: int) -> float:
    """Send `count` requests over `connections`; the seconds it took."""
    left = count
    callers = [await connect(plan) for _ in range(connections)]

    async def keep_calling(caller: Caller) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await caller.call()

    began = monotonic()
    await asyncio.gather(*map(keep_calling, callers))
    return monotonic() - began


async def opened(plan: Plan, rate: float, secs: float) -> float:
    """Send `rate` requests a second for `secs`; the seconds it took."""
    idle = [await connect(plan) for _ in range(4)]
    under_way: set[asyncio.Task[None]] = set()

    async def once() -> None:
        caller = idle.pop() if idle else await connect(plan)
        await caller.call()
        idle.append(caller)

    began = monotonic()
    for number in range(int(rate * secs)):
        wait = began + number / rate - monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(once())
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    return monotonic() - began


def quantile(values: list[float], share: float) -> float:
    """The value below which `share` of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--body")
    parser.add_argument("--stamp", action="store_true")
    parser.add_argument("--connections", type=int, default=0)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--secs", type=float, default=0)
    words = parser.parse_args()
    plan = Plan(words)
    work = closed(plan, words.connections, words.count) if words.connections else opened(plan, words.rate, words.secs)
    secs = uvloop.run(work)
    print(
        json.dumps(
            {
                "secs": secs,
                "statuses": plan.statuses,
                "rate": sum(plan.statuses.values()) / secs,
                "p50_ms": quantile(plan.waits, 0.5) * 1000,
                "p99_ms": quantile(plan.waits, 0.99) * 1000,
                "cpu_secs": process_time(),
            }
        )
    )


if __name__ == "__main__":
    main()
