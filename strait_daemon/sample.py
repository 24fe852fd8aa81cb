"""The sample endpoint of `dev` and `demo`: a small HTTP server that behaves well or badly, as its path asks for.

It stands for the user's own service, so it knows nothing of the daemon but its API and the headers that every endpoint
is sent.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import structlog
from aiohttp import ClientError, ClientSession, web

# What /hello takes unless ?delay= says otherwise: long enough that a person sees the run execute.
HELLO_SECS: Final = 0.2
# The longest that a request may ask this endpoint to take.
LONGEST_SECS: Final = 3_600.0
_MOST_BYTES: Final = 6 * 1024 * 1024

# The job that calls it, so that a first `strait trigger` needs nothing else.
JOB_SLUG: Final = "hello-world"
JOB_PROJECT: Final = "dev"
_OFFER_SECS: Final = 15.0
# An address that an earlier start gave the job; anything else was somebody's own choice.
_LEFT_OVER: Final = re.compile(r"http://127\.0\.0\.1:\d+/hello")

ROUTES: Final = (
    ("/hello", "greets with what it was sent (?delay=0.2)"),
    ("/echo", "answers the payload"),
    ("/slow", "takes its time (?secs=5)"),
    ("/flaky", "fails the first attempts (?failures=1)"),
    ("/fail", "always answers 500"),
)

log = structlog.get_logger(__name__)


def open_socket(near: int) -> socket.socket:
    """A loopback socket on the port after `near` if it is free, so that its address stays the same, else on any."""
    for port in (near + 1, 0):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen(128)
        except (OSError, OverflowError) as error:
            sock.close()
            if isinstance(error, OSError) and error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                raise
            continue
        return sock
    raise OSError(errno.EADDRINUSE, "no loopback port is free")


@asynccontextmanager
async def serving(sock: socket.socket) -> AsyncIterator[None]:
    """Answer on `sock` for as long as the block; whatever is open at its end is cut."""
    app = web.Application(client_max_size=_MOST_BYTES)
    for path, answer in (("/hello", _hello), ("/echo", _echo), ("/slow", _slow), ("/flaky", _flaky), ("/fail", _fail)):
        app.router.add_post(path, answer)
    app.router.add_get("/", _routes)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.SockSite(runner, sock).start()
        yield
    finally:
        await runner.cleanup()


async def offer_job(api: str, secret: str, endpoint: str) -> None:
    """Make the sample job, or point the one of an earlier start at this endpoint; a failure is logged, no more."""
    headers = {"Authorization": f"Bearer {secret}", "X-Project-Id": JOB_PROJECT}
    job = {"project_id": JOB_PROJECT, "name": "Hello World", "slug": JOB_SLUG, "endpoint_url": f"{endpoint}/hello"}
    path = f"/v1/jobs/{JOB_SLUG}"
    try:
        async with asyncio.timeout(_OFFER_SECS), ClientSession(api, headers=headers, trust_env=False) as session:
            async with session.post("/v1/jobs", json=job) as made:
                if made.status != 409:  # 409: the slug is taken
                    made.raise_for_status()
                    return
            async with session.get(path) as found:
                before = (await found.json())["endpoint_url"] if found.ok else ""
            if _LEFT_OVER.fullmatch(before) and before != job["endpoint_url"]:
                async with session.patch(path, json={"endpoint_url": job["endpoint_url"]}) as moved:
                    moved.raise_for_status()
    except (ClientError, TimeoutError, OSError, ValueError, KeyError) as error:
        log.warning("sample_job_not_made", error=f"{type(error).__name__}: {error}")


async def _hello(request: web.Request) -> web.Response:
    received = await _received(request)
    await asyncio.sleep(_secs(request, "delay", HELLO_SECS))
    return _answer({"message": "Hello from the sample endpoint!", "received": received, **_about(request)})


async def _echo(request: web.Request) -> web.Response:
    return _answer(await _received(request))


async def _slow(request: web.Request) -> web.Response:
    secs = _secs(request, "secs", 5.0)
    await asyncio.sleep(secs)
    return _answer({"slept_secs": secs, **_about(request)})


async def _flaky(request: web.Request) -> web.Response:
    about = _about(request)
    if about["attempt"] <= _secs(request, "failures", 1.0):
        return _answer({"message": "not this time", **about}, status=503)
    return _answer({"message": "finally", **about})


async def _fail(request: web.Request) -> web.Response:
    return _answer({"message": "this endpoint always fails", **_about(request)}, status=500)


async def _routes(_: web.Request) -> web.Response:
    return _answer({"POST": dict(ROUTES)})


def _about(request: web.Request) -> dict[str, Any]:
    """Which run and attempt this is, as every endpoint is told."""
    attempt = request.headers.get("X-Attempt", "")
    return {"run": request.headers.get("X-Run-ID"), "attempt": int(attempt) if attempt.isdecimal() else 1}


async def _received(request: web.Request) -> Any:
    body = await request.read()
    try:
        return msgspec.json.decode(body) if body else None
    except msgspec.DecodeError:
        return body.decode(errors="replace")


def _secs(request: web.Request, name: str, default: float) -> float:
    try:
        return min(max(float(request.query.get(name, default)), 0.0), LONGEST_SECS)
    except ValueError:
        return default


def _answer(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), status=status, content_type="application/json")
