"""One real uvicorn on loopback with the real parts behind it, in a thread of the test process."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import httpx
import uvicorn
import uvloop
from starlette.applications import Starlette

from strait_daemon import checkup, wiring
from strait_daemon.api.app import Deps, make_app
from strait_daemon.exposition import Exposition
from strait_daemon.settings import Settings
from strait_daemon.tokens import TokenReader
from strait_daemon.wiring import Parts
from tests.support.plain import NO_TLS

SECRET: Final = "test-internal-secret-0123456789abcdef"
AUTH: Final = {"Authorization": f"Bearer {SECRET}"}
WAIT_SECS: Final = 30.0

T = TypeVar("T")


@dataclass
class Log:
    """A logger that keeps what it is told."""

    lines: list[dict[str, Any]] = field(default_factory=list)

    def _note(self, level: str, event: str, **facts: Any) -> None:
        self.lines.append({"level": level, "event": event, **facts})

    def debug(self, event: str, **facts: Any) -> None:
        self._note("debug", event, **facts)

    def info(self, event: str, **facts: Any) -> None:
        self._note("info", event, **facts)

    def warning(self, event: str, **facts: Any) -> None:
        self._note("warning", event, **facts)

    def error(self, event: str, **facts: Any) -> None:
        self._note("error", event, **facts)


@dataclass
class Server:
    """A running API."""

    port: int
    parts: Parts
    deps: Deps
    log: Log
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine where the server runs, and wait for what it gives."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_SECS)

    def say(self, work: Callable[[], None]) -> None:
        """Call something where the server runs."""
        self.loop.call_soon_threadsafe(work)

    def client(self, **more: Any) -> httpx.Client:
        """A client without credential; proxy variables are ignored."""
        return httpx.Client(base_url=self.url, timeout=WAIT_SECS, trust_env=False, verify=NO_TLS, **more)


def settings_for(database_url: str) -> Settings:
    """What the API alone needs; nothing of the tester's environment leaks in."""
    given: dict[str, Any] = {
        "DATABASE_URL": database_url,
        "DATABASE_DIRECT_URL": database_url,
        "INTERNAL_SECRET": SECRET,
        "JWT_SIGNING_KEY": SECRET[::-1],
        "MODE": "api",
        "HOST": "127.0.0.1",
        "PORT": "8080",
        "METRICS_PUBLIC": "false",
        "ALLOW_PRIVATE_ENDPOINTS": "true",
    }
    return Settings(**{f"STRAIT_{name}": value for name, value in given.items()})


def deps_of(parts: Parts, log: Log) -> Deps:
    """What the API is given."""
    return Deps(
        pool=parts.pool,
        clock=parts.clock,
        intake=parts.intake,
        logbook=parts.logbook,
        ender=parts.ender,
        bus=parts.bus,
        rehearse=parts.rehearsal,
        guard=parts.guard,
        vault=parts.vault,
        new_id=parts.new_id,
        secret=SECRET,
        tokens=TokenReader(parts.settings.jwt_signing_key.get_secret_value()),
        stale_after=parts.settings.stale_after,
        version="0.0.0+test",
        metrics_public=False,
        metrics=Exposition(parts.metrics, parts.pool),
        ready=parts.ready,
        process_findings=partial(checkup.process_findings, parts.settings),
        sinks=parts.settings.sinks,
        stage=parts.announcer.due,
        brought=parts.announcer.brought,
        log=log,
    )


@contextmanager
def serving(database_url: str, *, make: Callable[[Deps], Starlette] = make_app, **changes: Any) -> Iterator[Server]:
    """An API on a database for as long as the block; `changes` replace what it is given."""
    started: list[Server] = []
    ready = threading.Event()
    failed: list[BaseException] = []
    servers: list[uvicorn.Server] = []

    async def main() -> None:
        settings = settings_for(database_url)
        await wiring.prepare_database(settings)
        parts = await wiring.build(settings)
        wiring.start(parts)
        log = Log()
        deps = dataclasses.replace(deps_of(parts, log), **changes)
        sock = socket.create_server(("127.0.0.1", 0), backlog=2_048)
        config = uvicorn.Config(
            make(deps), http="httptools", ws="none", log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=5,
        )  # fmt: skip
        server = uvicorn.Server(config)
        servers.append(server)
        started.append(Server(sock.getsockname()[1], parts, deps, log, asyncio.get_running_loop()))
        ready.set()
        await server.serve(sockets=[sock])
        await wiring.stop(parts, at_once=asyncio.Event())

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="api", daemon=True)
    thread.start()
    assert ready.wait(WAIT_SECS)
    if failed:
        raise failed[0]
    try:
        yield started[0]
    finally:
        started[0].say(started[0].deps.closing.set)
        servers[0].should_exit = True
        thread.join(WAIT_SECS)
        assert not thread.is_alive()
    if failed:
        raise failed[0]
