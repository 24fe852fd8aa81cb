"""Watchers through everything that can go away between a run and who watches it."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from strait_cli.client import Client, Connection
from strait_cli.stream import PATIENCE_SECS, Message, follow
from strait_cli.watch import Seen
from strait_core.run import TERMINAL
from tests.faults.checks import expect_promises_kept
from tests.faults.test_several_daemons import valkey
from tests.support.daemon import SECRET, free_port, running_daemon
from tests.support.endpoint import Endpoint
from tests.support.figures import Figures
from tests.support.proxy import Proxy, proxying
from tests.support.sizes import size
from tests.support.waiting import eventually

# Faults, one in each round, and watched runs in each: 1,000 in all in a soak.
ROUNDS, WATCHED = size(ci=(4, 3), soak=(20, 50))


@dataclass
class Watcher:
    """Follows one run as `strait runs watch` does, and keeps every state that the server told, and what it showed."""

    url: str
    run: str
    told: list[tuple[int, str]] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    fault: BaseException | None = None

    def watch(self) -> None:
        client = Client(Connection(self.url, SECRET, "test", None, 5))
        try:
            self._read(follow(client, f"/v1/runs/{self.run}/stream"))
        except BaseException as fault:  # noqa: BLE001 - the test looks at it
            self.fault = fault
        finally:
            client.http.close()

    def _read(self, stream: Iterator[Message]) -> None:
        seen = Seen(self.run)
        for message in stream:
            before = seen.seq
            seen.news(message)
            if message.event in {"snapshot", "status"}:
                self.told.append((int((message.id or "0").partition(".")[0]), seen.status))
            if seen.seq > before:
                self.shown.append(seen.status)
            if seen.status in TERMINAL:
                return


class Line:
    """The network between the watchers and the daemon: a proxy, in a thread of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._proxy: Proxy | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with proxying("127.0.0.1", self._port, "http://127.0.0.1:{port}") as self._proxy:
            self._ready.set()
            await self._stop.wait()

    @contextmanager
    def open(self) -> Iterator[str]:
        """Its address for as long as the block."""
        self._thread.start()
        assert self._ready.wait(10)
        assert self._proxy is not None
        try:
            yield self._proxy.url
        finally:
            self._do(self._stop.set)
            self._thread.join(10)

    def cut(self) -> None:
        """Reset every connection."""
        assert self._proxy is not None
        self._do(self._proxy.cut)

    def _do(self, work: Callable[[], object]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(work)


@dataclass
class Stage:
    """A daemon, its Valkey, its database and the way to it, each of which goes away and comes back."""

    database: str
    folder: Path
    line: Line
    port: int
    redis_port: int = field(default_factory=free_port)
    redis: ExitStack = field(default_factory=ExitStack)
    daemons: ExitStack = field(default_factory=ExitStack)

    def start_redis(self) -> None:
        self.redis.enter_context(valkey(self.folder, self.redis_port))

    def start_daemon(self) -> None:
        settings = {"REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/0"}
        self.daemon = self.daemons.enter_context(running_daemon(self.database, port=self.port, settings=settings))

    def lose_redis(self) -> None:
        self.redis.close()
        self.start_redis()

    def lose_backends(self) -> None:
        with psycopg.connect(self.database, autocommit=True) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def lose_daemon(self) -> None:
        self.daemon.kill()
        self.start_daemon()

    def lose_network(self) -> None:
        self.line.cut()


@contextmanager
def staged(database: str) -> Iterator[tuple[Stage, str]]:
    """All of it running, and the address by which watchers come."""
    port = free_port()
    line = Line(port)
    with tempfile.TemporaryDirectory(prefix="strait-test-") as folder, line.open() as url:
        stage = Stage(database, Path(folder), line, port)
        with stage.redis, stage.daemons:
            stage.start_redis()
            stage.start_daemon()
            yield stage, url


def watch_through(stage: Stage, url: str, endpoint: Endpoint, lose: Callable[[], None]) -> list[Watcher]:
    """Runs that are being executed and watched while something goes away; their watchers, who have come to an end."""
    endpoint.hold()
    watchers = [Watcher(url, run) for run in stage.daemon.trigger_many(WATCHED)]
    threads = [threading.Thread(target=watcher.watch, daemon=True) for watcher in watchers]
    for thread in threads:
        thread.start()
    eventually(lambda: endpoint.open >= WATCHED and all(watcher.told for watcher in watchers))
    lose()
    endpoint.release()
    for thread in threads:
        thread.join(PATIENCE_SECS)
    return watchers


@pytest.mark.slow
@pytest.mark.soak
def test_every_watcher_ends_with_its_run(database: str, endpoint: Endpoint, figures: Figures):
    """Redis, the backends, the daemon, the network, in turn: each state once, in order, none left out, to the end."""
    with staged(database) as (stage, url):
        stage.daemon.make_job(endpoint.url("/hold"), max_attempts=10, retry_strategy="fixed", breaker_threshold=0)
        faults = (stage.lose_redis, stage.lose_backends, stage.lose_daemon, stage.lose_network)
        for number in range(ROUNDS):
            for watcher in watch_through(stage, url, endpoint, faults[number % len(faults)]):
                assert watcher.fault is None
                run = stage.daemon.run(watcher.run)
                assert watcher.told[-1] == (run["seq"], run["status"]) == (run["seq"], "completed")
                seqs = [seq for seq, _ in watcher.told]
                assert seqs == list(range(seqs[0], seqs[-1] + 1))
                assert watcher.shown == [state for _, state in watcher.told]
    figures.note("watchers through faults", f"{ROUNDS * WATCHED} over {ROUNDS} faults")
    expect_promises_kept(database, endpoint)
