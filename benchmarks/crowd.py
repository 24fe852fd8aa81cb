"""A crowd that watches while runs end, each watcher on a run of its own and replaced with it; says in JSON how late it
heard. A process of its own.

Triggers `--rate` runs a second that come due `--hold` seconds later, and with `--watch` follows each of them from its
beginning on: so `rate × hold` are watched at any time. Beside them two listen to `/v1/stream`, and one more opens that
and never reads. Prints `begin` when the first runs come due, and how late endings were heard `--secs` later.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any, Final, cast
from urllib.parse import urlsplit

import aiohttp
import uvloop

from benchmarks.load import quantile
from benchmarks.watchers import OPENING, Stream

# How long a crowd takes to gather before its first run comes due.
GATHER_SECS: Final = 15.0
BEATS_PER_SEC: Final = 10
_COMPLETED: Final = re.compile(rb'event: status\nid: [\d.]+\ndata: [^\n]*"status":"completed"[^\n]*"at":"([^"]+)"')


class Listener(asyncio.Protocol):
    """One stream of all runs: how late each completion was heard."""

    def __init__(self, request: bytes, *, reads: bool = True) -> None:
        self._request = request
        self._reads = reads
        self._held = b""
        self.late_ms: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        line = cast("asyncio.Transport", transport)
        line.write(self._request)
        if not self._reads:
            line.pause_reading()

    def data_received(self, data: bytes) -> None:
        now = time()
        self._held += data
        for found in _COMPLETED.finditer(self._held):
            self.late_ms.append((now - datetime.fromisoformat(found[1].decode()).timestamp()) * 1000)
        self._held = self._held[self._held.rfind(b"\n\n") + 2 :] if b"\n\n" in self._held else self._held


class Crowd:
    """Triggers, and watches what it has triggered."""

    def __init__(self, words: argparse.Namespace, session: aiohttp.ClientSession) -> None:
        self._words = words
        self._session = session
        self._parts = urlsplit(words.url)
        self._gate = asyncio.Semaphore(OPENING)
        self.watched: list[Stream] = []
        self.listeners: list[Listener] = []

    async def trigger(self, due: list[datetime]) -> None:
        """Runs that come due at these times, and somebody who watches each."""
        for at in range(0, len(due), 1_000):
            items = [{"scheduled_at": one.isoformat()} for one in due[at : at + 1_000]]
            url = f"{self._words.url}/v1/jobs/bench/trigger/bulk"
            async with self._session.post(url, json={"items": items}) as answer:
                answer.raise_for_status()
                made: dict[str, Any] = await answer.json()
            if self._words.watch:
                await asyncio.gather(*(self._watch(run["id"]) for run in made["data"]))

    async def _watch(self, run: str) -> None:
        async with self._gate:
            stream = await self._open(Stream(self._request(f"/v1/runs/{run}/stream")))
            self.watched.append(stream)
            await stream.known.wait()

    async def listen(self) -> None:
        """Two who hear of everything, and one who asked to and does not read."""
        for reads in (True, True, False):
            self.listeners.append(await self._open(Listener(self._request("/v1/stream"), reads=reads)))

    async def _open(self, protocol: Any) -> Any:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: protocol, self._parts.hostname, self._parts.port)
        return protocol

    def _request(self, path: str) -> bytes:
        return (
            f"GET {path} HTTP/1.1\r\nHost: {self._parts.netloc}\r\nAccept: text/event-stream\r\n"
            f"Authorization: Bearer {os.environ.get('INTERNAL_SECRET', '')}\r\n\r\n"
        ).encode()


async def gather(words: argparse.Namespace) -> dict[str, float]:
    """One crowd from its first arrival to the end."""
    headers = {"Authorization": f"Bearer {os.environ.get('INTERNAL_SECRET', '')}"}
    async with aiohttp.ClientSession(headers=headers, trust_env=False) as session:
        crowd = Crowd(words, session)
        base = datetime.now(UTC) + timedelta(seconds=GATHER_SECS)
        gap = timedelta(seconds=1 / words.rate)
        count = int(words.rate * words.hold)
        await crowd.trigger([base + number * gap for number in range(count)])
        if words.watch:
            await crowd.listen()
        if datetime.now(UTC) > base:
            raise RuntimeError("the crowd took too long to gather")
        await asyncio.sleep((base - datetime.now(UTC)).total_seconds())
        print("begin", flush=True)
        for beat in range(int(words.secs * BEATS_PER_SEC)):
            each = words.rate // BEATS_PER_SEC
            await crowd.trigger([base + (count + beat * each + number) * gap for number in range(each)])
            await asyncio.sleep(max(0.0, base.timestamp() + (beat + 1) / BEATS_PER_SEC - time()))
        late = [stream.over.result() for stream in crowd.watched if stream.over.done()]
        heard = [one for listener in crowd.listeners for one in listener.late_ms]
        return {
            "ended": len(late),
            "p99_ms": quantile(late, 0.99) if late else 0.0,
            "listeners_p99_ms": quantile(heard, 0.99) if heard else 0.0,
            "heard": len(heard),
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--hold", type=float, required=True)
    parser.add_argument("--secs", type=float, required=True)
    parser.add_argument("--watch", action="store_true")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(json.dumps(uvloop.run(gather(parser.parse_args()))))


if __name__ == "__main__":
    main()
