"""A real HTTP endpoint of the tests' own: every behaviour a job's endpoint may show, and a record of what reached it.

It runs in a thread of the test process, on a loopback port. Paths choose the behaviour, see `_ROUTES`.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import pytest
from aiohttp import web

from tests.support.waiting import eventually

MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it arrived; `at` is on the monotonic clock."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def run(self) -> str:
        """The id of the run that it belongs to; empty for a webhook's delivery."""
        return self.headers.get("X-Run-ID", "")

    @property
    def job(self) -> str:
        """The id of that run's job; empty for a webhook's delivery."""
        return self.headers.get("X-Job-ID", "")

    @property
    def attempt(self) -> int:
        """Which attempt of that run; 0 for a webhook's delivery."""
        return int(self.headers.get("X-Attempt", 0))

    @property
    def json(self) -> Any:
        """Its body, decoded."""
        return json.loads(self.body)


@dataclass
class Endpoint:
    """A running endpoint; safe to read from the test's thread at any time."""

    port: int
    _loop: asyncio.AbstractEventLoop
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _calls: list[Call] = field(default_factory=list)
    _open: int = 0
    _most_open: int = 0
    _open_of: Counter[str] = field(default_factory=Counter)
    _most_open_of: Counter[str] = field(default_factory=Counter)
    _closed_early: list[Call] = field(default_factory=list)
    _gate: asyncio.Event = field(default_factory=asyncio.Event)
    _turns: defaultdict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    _waiting: list[str] = field(default_factory=list)

    def url(self, path: str = "/ok") -> str:
        """The address of one behaviour."""
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def calls(self) -> list[Call]:
        """Everything that has arrived so far, in order."""
        with self._lock:
            return list(self._calls)

    @property
    def pairs(self) -> Counter[tuple[str, int]]:
        """How often each (run, attempt) arrived."""
        return Counter((call.run, call.attempt) for call in self.calls)

    @property
    def open(self) -> int:
        """Requests being answered at this moment."""
        with self._lock:
            return self._open

    @property
    def most_open(self) -> int:
        """The most requests that were being answered at once."""
        with self._lock:
            return self._most_open

    @property
    def most_open_of(self) -> Counter[str]:
        """The same for each job."""
        with self._lock:
            return Counter(self._most_open_of)

    @property
    def closed_early(self) -> list[Call]:
        """Requests whose caller closed the connection before it had its answer."""
        with self._lock:
            return list(self._closed_early)

    def release(self) -> None:
        """Answer everything that waits at `/hold`, and whatever comes there from now on, at once."""
        self._loop.call_soon_threadsafe(self._gate.set)

    def hold(self) -> None:
        """Close the gate of `/hold` again."""
        self._loop.call_soon_threadsafe(self._gate.clear)

    @property
    def waiting(self) -> list[str]:
        """The runs that wait for their turn at `/turn`, who came first first."""
        with self._lock:
            return list(dict.fromkeys(self._waiting))

    def let(self, runs: Iterable[str]) -> None:
        """It is the turn of these runs: what waits of them is answered, and whatever comes of them from now on."""
        for run in runs:
            self._loop.call_soon_threadsafe(self._call_on, run)

    def _call_on(self, run: str) -> None:
        self._turns[run].set()

    def wait_for_calls(self, least: int, seconds: float = 20) -> list[Call]:
        """Wait until so many requests have arrived."""
        eventually(lambda: len(self.calls) >= least, seconds, lambda: f"{len(self.calls)} of {least} calls arrived")
        return self.calls

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Record the request, then behave as its path says."""
        call = Call(request.path, dict(request.headers), await request.read(), monotonic())
        with self._lock:
            self._calls.append(call)
            self._open += 1
            self._most_open = max(self._most_open, self._open)
            self._open_of[call.job] += 1
            self._most_open_of[call.job] = max(self._most_open_of[call.job], self._open_of[call.job])
        try:
            _, behaviour, *rest = request.path.split("/")
            return await _ROUTES[behaviour](self, request, call, *rest)
        except asyncio.CancelledError:
            with self._lock:
                self._closed_early.append(call)
            raise
        finally:
            with self._lock:
                self._open -= 1
                self._open_of[call.job] -= 1


_Behaviour = Callable[..., Awaitable[web.StreamResponse]]


async def _ok(_: Endpoint, __: web.Request, call: Call) -> web.StreamResponse:
    return web.json_response({"ok": True, "attempt": call.attempt})


async def _echo(_: Endpoint, __: web.Request, call: Call) -> web.StreamResponse:
    return web.Response(body=call.body, content_type="application/json")


async def _empty(*_: object) -> web.StreamResponse:
    return web.Response(status=204)


async def _text(*_: object) -> web.StreamResponse:
    return web.Response(text="plain words, not JSON")


async def _binary(*_: object) -> web.StreamResponse:
    return web.Response(body=bytes(range(256)), content_type="application/octet-stream")


async def _status(_: Endpoint, __: web.Request, ___: Call, code: str) -> web.StreamResponse:
    return web.json_response({"status": int(code)}, status=int(code))


async def _final(*_: object) -> web.StreamResponse:
    return web.Response(status=500, text="do not try again", headers={"X-Strait-Retry": "no"})


async def _busy(_: Endpoint, __: web.Request, call: Call, secs: str) -> web.StreamResponse:
    """503 with Retry-After on the first attempt, and always to who counts none."""
    if call.headers.get("X-Attempt", "1") == "1":
        return web.Response(status=503, headers={"Retry-After": secs})
    return web.json_response({"attempt": call.attempt})


async def _flaky(_: Endpoint, __: web.Request, call: Call, failures: str) -> web.StreamResponse:
    """500 for the first so many attempts."""
    if call.attempt <= int(failures):
        return web.Response(status=500, text="not yet")
    return web.json_response({"attempt": call.attempt})


async def _slow(_: Endpoint, __: web.Request, call: Call, secs: str) -> web.StreamResponse:
    await asyncio.sleep(float(secs))
    return web.json_response({"attempt": call.attempt})


async def _hold(endpoint: Endpoint, __: web.Request, call: Call) -> web.StreamResponse:
    """Answers once the test opens the gate."""
    await endpoint._gate.wait()
    return web.json_response({"attempt": call.attempt})


async def _turn(endpoint: Endpoint, __: web.Request, call: Call, code: str) -> web.StreamResponse:
    """Answers with that status, which is final, once the test says that it is the run's turn."""
    with endpoint._lock:
        endpoint._waiting.append(call.run)
    try:
        await endpoint._turns[call.run].wait()
    finally:
        with endpoint._lock:
            endpoint._waiting.remove(call.run)
    return web.json_response({"attempt": call.attempt}, status=int(code), headers={"X-Strait-Retry": "no"})


async def _hang(*_: object) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets that event")


async def _reset(_: Endpoint, request: web.Request, *__: object) -> web.StreamResponse:
    """Cuts the connection without a byte."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _garbage(_: Endpoint, request: web.Request, *__: object) -> web.StreamResponse:
    """Answers something that is not HTTP."""
    assert request.transport is not None
    request.transport.write(b"\x00\x01 this is no HTTP at all\r\n\r\n")
    request.transport.close()
    return web.Response()


async def _half(_: Endpoint, request: web.Request, *__: object) -> web.StreamResponse:
    """Promises more than it sends."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"only this")
    assert request.transport is not None
    request.transport.close()
    return response


async def _huge(_: Endpoint, request: web.Request, __: Call, mebibytes: str) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    with suppress(ConnectionError):
        for _round in range(int(mebibytes)):
            await response.write(b"x" * MEBIBYTE)
    return response


async def _drip(_: Endpoint, request: web.Request, __: Call, secs: str) -> web.StreamResponse:
    """One byte after the other, for so long."""
    response = web.StreamResponse()
    await response.prepare(request)
    until = monotonic() + float(secs)
    while monotonic() < until:
        await response.write(b" ")
        await asyncio.sleep(0.05)
    return response


async def _redirect(endpoint: Endpoint, *_: object) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": endpoint.url("/ok")})


_ROUTES: Final[Mapping[str, _Behaviour]] = {
    "ok": _ok,
    "echo": _echo,
    "empty": _empty,
    "text": _text,
    "binary": _binary,
    "status": _status,
    "final": _final,
    "busy": _busy,
    "flaky": _flaky,
    "slow": _slow,
    "hold": _hold,
    "turn": _turn,
    "hang": _hang,
    "reset": _reset,
    "garbage": _garbage,
    "half": _half,
    "huge": _huge,
    "drip": _drip,
    "redirect": _redirect,
}


async def _serve(started: Callable[[Endpoint], None], stop: asyncio.Event) -> None:
    app = web.Application(client_max_size=64 * MEBIBYTE)
    # handler_cancellation: a caller that goes away is noticed, and recorded.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    endpoint = Endpoint(0, asyncio.get_running_loop())
    app.router.add_route("*", "/{rest:.*}", endpoint.answer)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    endpoint.port = runner.addresses[0][1]
    started(endpoint)
    await stop.wait()
    await runner.cleanup()


@contextmanager
def serving_endpoint() -> Iterator[Endpoint]:
    """An endpoint for as long as the block."""
    ready = threading.Event()
    found: list[Endpoint] = []
    stop = asyncio.Event()

    def started(endpoint: Endpoint) -> None:
        found.append(endpoint)
        ready.set()

    thread = threading.Thread(target=lambda: asyncio.run(_serve(started, stop)), name="endpoint", daemon=True)
    thread.start()
    assert ready.wait(10), "the endpoint did not start"
    endpoint = found[0]
    try:
        yield endpoint
    finally:
        endpoint._loop.call_soon_threadsafe(stop.set)
        thread.join(10)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A recording endpoint for one test."""
    with serving_endpoint() as serving:
        yield serving
