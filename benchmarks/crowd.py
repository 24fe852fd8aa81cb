"""A crowd that watches while runs end, each watcher on a run of its own and replaced with it; says in JSON how late it
heard, and what it never heard. A process of its own.

Triggers `--rate` runs a second that come due `--hold` seconds later, and with `--watch` follows each of them from its
beginning on: so `rate × hold` are watched at any time. Beside them two listen to `/v1/stream`. The time is cut into
`--parts`; in each second one some more open streams of all runs and of large runs of their own, and do not read.

Prints `begin` when the first runs come due, `over` when `--secs` have passed, and the JSON a little later: whatever
ended by then is heard, or it never is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import uvloop

from benchmarks.listeners import Listener, Stalled
from benchmarks.load import quantile
from benchmarks.watchers import OPEN_SECS, OPENING, Stream

BEATS_PER_SEC: Final = 10
LISTENERS: Final = 2
# Of each kind.
STALLED: Final = 3
# More than the buffers between a server and who does not read take.
LARGE: Final = "x" * 262_144
# A move that nobody signals is told within three seconds.
GRACE_SECS: Final = 4.0
_EXAMPLES: Final = 3


class Crowd:
    """Triggers, and watches what it has triggered."""

    def __init__(self, words: argparse.Namespace, session: aiohttp.ClientSession) -> None:
        self._words = words
        self._session = session
        self._parts = urlsplit(words.url)
        self._gate = asyncio.Semaphore(OPENING)
        # Each with when its run comes due.
        self.watched: list[tuple[datetime, Stream]] = []
        self.listeners: list[Listener] = []
        self._large: list[list[str]] = []
        self.stalled: tuple[list[Stalled], list[Stalled]] = ([], [])

    async def trigger(self, due: list[datetime]) -> None:
        """Runs that come due at these times, and somebody who watches each."""
        for at in range(0, len(due), 1_000):
            part = due[at : at + 1_000]
            made = await self._post("trigger/bulk", {"items": [{"scheduled_at": one.isoformat()} for one in part]})
            if self._words.watch:
                runs = zip(part, made["data"], strict=True)
                await asyncio.gather(*(self._watch(when, run["id"]) for when, run in runs))

    async def trigger_large(self, due: Iterable[datetime]) -> None:
        """Large runs that come due at these times, with nobody who watches yet."""
        for when in due:
            body = {"scheduled_at": when.isoformat(), "payload": LARGE}
            self._large.append([(await self._post("trigger", body))["id"] for _ in range(STALLED)])

    async def _post(self, path: str, body: object) -> dict[str, Any]:
        async with self._session.post(f"{self._words.url}/v1/jobs/bench/{path}", json=body) as answer:
            answer.raise_for_status()
            made: dict[str, Any] = await answer.json()
            return made

    async def _watch(self, due: datetime, run: str) -> None:
        async with self._gate, asyncio.timeout(OPEN_SECS):
            stream = await self._open(Stream(self._request(f"/v1/runs/{run}/stream")))
            self.watched.append((due, stream))
            await stream.known.wait()

    async def listen(self) -> None:
        """Some who hear of everything."""
        self.listeners += [await self._open(Listener(self._request("/v1/stream"))) for _ in range(LISTENERS)]

    async def stall(self, part: int) -> None:
        """In each second part some who ask and do not read; those of the part before go."""
        for kind in self.stalled:
            for each in kind:
                each.leave()
        self.stalled = ([], [])
        if self._words.watch and part % 2:
            self.stalled = (
                [await self._ask("/v1/stream") for _ in range(STALLED)],
                [await self._ask(f"/v1/runs/{run}/stream") for run in self._large[part]],
            )

    async def _ask(self, path: str) -> Stalled:
        return await Stalled.open(self._parts.hostname or "", self._parts.port or 80, self._request(path))

    async def _open(self, protocol: Any) -> Any:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: protocol, self._parts.hostname, self._parts.port)
        return protocol

    def _request(self, path: str) -> bytes:
        return (
            f"GET {path} HTTP/1.1\r\nHost: {self._parts.netloc}\r\nAccept: text/event-stream\r\n"
            f"Authorization: Bearer {os.environ.get('INTERNAL_SECRET', '')}\r\n\r\n"
        ).encode()


class Heard:
    """What a crowd has heard of all that ended from `begin` on, for `secs` seconds that have `parts`."""

    def __init__(self, crowd: Crowd, begin: datetime, secs: float, parts: int) -> None:
        self._begin = begin.timestamp()
        self._until = self._begin + secs
        self._part_secs = secs / parts
        self._listeners = crowd.listeners
        self._stalled = crowd.stalled
        self._due = [stream for due, stream in crowd.watched if due.timestamp() < self._until]
        self._ended = [stream for stream in self._due if stream.over.done() and stream.over.exception() is None]

    def as_json(self) -> dict[str, Any]:
        """All of it. `ways`: how often which states were told; `until`: up to when `listened` counts completions."""
        late = [(stream.ended_at, stream.over.result()) for stream in self._ended]
        heard = [one for each in self._listeners for one in each.heard.values() if one[0] <= self._until]
        broken = [str(error) for each in self._due if each.over.done() and (error := each.over.exception())]
        return {
            "ended": len(self._ended),
            "never_heard": len(self._due) - len(self._ended),
            "broken": broken[:_EXAMPLES],
            "ways": Counter(_way(stream.told) for stream in self._ended),
            "until": self._until,
            "listened": [sum(at <= self._until for at, _ in each.heard.values()) for each in self._listeners],
            "gaps": sum(listener.told.gaps for listener in self._listeners),
            "closed": sum(listener.is_closed for listener in self._listeners),
            "stalled": [[stalled.outcome for stalled in kind] for kind in self._stalled],
            "watchers": self._quantiles(late),
            "listeners": self._quantiles(heard),
        }

    def _quantiles(self, late: Sequence[tuple[float, float]]) -> dict[str, float]:
        """How late 99 of 100 came at most, in ms: of all, of those while nobody stalled, and while some did."""
        calm = [ms for at, ms in late if not self._part_of(at) % 2]
        some = [ms for at, ms in late if self._part_of(at) % 2]
        kinds = {"p99_ms": [ms for _, ms in late], "calm_p99_ms": calm, "stalled_p99_ms": some}
        return {name: quantile(values, 0.99) if values else 0.0 for name, values in kinds.items()}

    def _part_of(self, at: float) -> int:
        return int((at - self._begin) / self._part_secs)


def _way(told: list[tuple[int, str]]) -> str:
    """The states in the order in which they were told; what was left out or came out of order is seen by the seqs."""
    first = told[0][0] if told else 0
    is_whole = [seq for seq, _ in told] == list(range(first, first + len(told)))
    return " ".join(["" if is_whole else "broken:", *(status for _, status in told)]).strip()


async def gather(words: argparse.Namespace) -> dict[str, Any]:
    """One crowd from its first arrival to the end."""
    headers = {"Authorization": f"Bearer {os.environ.get('INTERNAL_SECRET', '')}"}
    async with aiohttp.ClientSession(headers=headers, trust_env=False) as session:
        crowd = Crowd(words, session)
        base = datetime.now(UTC) + timedelta(seconds=words.gather)
        gap = timedelta(seconds=1 / words.rate)
        part = timedelta(seconds=words.secs / words.parts)
        await crowd.trigger([base + number * gap for number in range(int(words.rate * words.hold))])
        await crowd.trigger_large(base + (number + 0.5) * part for number in range(words.parts))
        if words.watch:
            await crowd.listen()
        if datetime.now(UTC) > base:
            raise RuntimeError("the crowd took too long to gather")
        await asyncio.sleep((base - datetime.now(UTC)).total_seconds())
        print("begin", flush=True)
        await stay(crowd, words, base)
        if words.watch:
            stalled = (each.resume(GRACE_SECS) for kind in crowd.stalled for each in kind)
            await asyncio.gather(asyncio.sleep(GRACE_SECS), *stalled)
        return Heard(crowd, base, words.secs, words.parts).as_json()


async def stay(crowd: Crowd, words: argparse.Namespace, base: datetime) -> None:
    """Until the time is over: who has seen an end is replaced by somebody with a new run.

    Nothing here waits for an answer: what is late shall not make others late.
    """
    gap = timedelta(seconds=1 / words.rate)
    each, count = words.rate // BEATS_PER_SEC, int(words.rate * words.hold)
    beats = int(words.secs * BEATS_PER_SEC)
    async with asyncio.TaskGroup() as tasks:
        for beat in range(beats):
            if beat * words.parts % beats < words.parts:
                tasks.create_task(crowd.stall(beat * words.parts // beats))
            due = [base + (count + beat * each + number) * gap for number in range(each)]
            tasks.create_task(crowd.trigger(due))
            await asyncio.sleep(max(0.0, base.timestamp() + (beat + 1) / BEATS_PER_SEC - time()))
        print("over", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--hold", type=float, required=True)
    parser.add_argument("--secs", type=float, required=True)
    # How long a crowd takes to gather before its first run comes due.
    parser.add_argument("--gather", type=float, default=15.0)
    parser.add_argument("--parts", type=int, default=2)
    parser.add_argument("--watch", action="store_true")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(json.dumps(uvloop.run(gather(parser.parse_args()))))


if __name__ == "__main__":
    main()
