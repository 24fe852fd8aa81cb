"""Follows many runs at once, each over a stream of its own, from a process of its own; says in JSON how late it heard.

Reads run ids from the file named by `--runs`, opens one stream for each and prints `watching` once every snapshot has
come. It ends when `--until` of them have told of a terminal state, and prints the milliseconds from each ending's own
time (the database's clock, which is this machine's) to its arrival here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
from datetime import datetime
from pathlib import Path
from time import time
from typing import Final, cast
from urllib.parse import urlsplit

import uvloop

from benchmarks.load import quantile

# So many streams are opened at a time, as a crowd comes back after a restart.
OPENING: Final = 100
OPEN_SECS: Final = 60.0
_SNAPSHOT: Final = re.compile(rb"event: snapshot\nid: (\d+)")
_STATUS: Final = re.compile(rb'event: status\nid: (\d+)\ndata: [^\n]*"status":"(\w+)"[^\n]*"at":"([^"]+)"')
_TERMINAL: Final = frozenset(["completed", "canceled"])


class Stream(asyncio.Protocol):
    """One stream: `known` is set by its snapshot, `over` by its terminal state, which `late_ms` is the lateness of.

    `told`: the seqs of the snapshot and of each state after it, with these states. A stream that is refused or cut is
    `known` too, so that nobody waits for it, and `over` tells why.
    """

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._held = b""
        self.told: list[tuple[int, str]] = []
        self.ended_at = 0.0
        self.known = asyncio.Event()
        self.over: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time()
        self._held += data
        if not self.known.is_set() and not self._begun():
            return
        for found in _STATUS.finditer(self._held):
            status = found[2].decode()
            self.told.append((int(found[1]), status))
            if status in _TERMINAL and not self.over.done():
                self.ended_at = datetime.fromisoformat(found[3].decode()).timestamp()
                self.over.set_result((now - self.ended_at) * 1000)
        # What may be half of an event is kept.
        self._held = self._held[self._held.rfind(b"\n\n") + 2 :] if b"\n\n" in self._held else self._held

    def _begun(self) -> bool:
        """Whether the snapshot has come, or none will."""
        if not self._held.startswith(b"HTTP/1.1 200"[: len(self._held)]):
            self._end(ConnectionError(f"refused: {self._held[:200].decode(errors='replace')}"))
        elif snapshot := _SNAPSHOT.search(self._held):
            self.told.append((int(snapshot[1]), "snapshot"))
            self.known.set()
        return self.known.is_set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionError("the stream ended before its run"))

    def _end(self, error: Exception) -> None:
        if not self.over.done():
            self.over.set_exception(error)
        self.known.set()


async def follow(url: str, runs: list[str], until: int) -> list[float]:
    """Open the streams, say so, and wait for `until` endings; how late each was, in milliseconds."""
    parts = urlsplit(url)
    gate = asyncio.Semaphore(OPENING)

    async def opened(run: str) -> Stream:
        request = (
            f"GET /v1/runs/{run}/stream HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: text/event-stream\r\n"
            f"Authorization: Bearer {os.environ.get('INTERNAL_SECRET', '')}\r\n\r\n"
        )
        async with gate:
            loop = asyncio.get_running_loop()
            _, stream = await loop.create_connection(lambda: Stream(request.encode()), parts.hostname, parts.port)
            await stream.known.wait()
            return stream

    async with asyncio.timeout(OPEN_SECS):
        streams = await asyncio.gather(*map(opened, runs))
    print("watching", flush=True)
    late: list[float] = []
    for ended in asyncio.as_completed([stream.over for stream in streams]):
        late.append(await ended)
        if len(late) == until:
            break
    return late


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--runs", required=True)
    parser.add_argument("--until", type=int, required=True)
    words = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    late = uvloop.run(follow(words.url, Path(words.runs).read_text().split(), words.until))
    print(json.dumps({"heard": len(late), "p50_ms": quantile(late, 0.5), "p99_ms": quantile(late, 0.99)}))


if __name__ == "__main__":
    main()
