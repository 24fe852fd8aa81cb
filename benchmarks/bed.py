"""What every scenario stands on: a PostgreSQL of its own, databases made from a migrated one, and real processes."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from uuid import uuid4

import psycopg

from benchmarks import cpu
from strait_core.store import migrate
from strait_core.store.pool import connect
from strait_daemon import clock
from strait_daemon.embedded import PostgresServer

ROOT: Final = Path(__file__).parents[1]
# Durable, as `strait dev` runs it; statistics of statements only where a profile asks for them.
POSTGRES: Final[Mapping[str, str]] = {"fsync": "on", "synchronous_commit": "on", "max_connections": "200"}
START_SECS: Final = 30.0


def wait_until(condition: Callable[[], Any], seconds: float, what: str, every: float = 0.005) -> Any:
    """Poll until `condition` is truthy; TimeoutError names `what` was awaited."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)
    return found


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Endpoint:
    """The endpoint process, seen from here."""

    process: subprocess.Popen[bytes]
    port: int

    def url(self, path: str = "/ok") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _ask(self, method: str, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def stats(self) -> dict[str, int]:
        found: dict[str, int] = self._ask("GET", "/_stats")
        return found

    def latencies_ms(self) -> list[float]:
        return [micros / 1000 for micros in self._ask("GET", "/_latencies")]

    def reset(self) -> None:
        self._ask("POST", "/_reset")


@dataclass
class Daemon:
    """A daemon process; `url` is empty for one without an API."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    secret: str

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Authorization": f"Bearer {self.secret}", "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:500].decode(errors='replace')}")
            return json.loads(text) if text else None
        finally:
            connection.close()

    def serving(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"the daemon ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")
        try:
            self.call("GET", "/health")
        except OSError:
            return False
        return True


class Bed:
    """Made once for a whole run of the program; everything it started ends with it."""

    def __init__(self, stack: ExitStack, folder: Path, server: PostgresServer) -> None:
        self._stack = stack
        self._template_ready = False
        self.folder = folder
        self.server = server
        self.secret = secrets.token_urlsafe(32)
        self.endpoint = self._start_endpoint()

    @classmethod
    @contextmanager
    def made(cls, settings: Mapping[str, str] | None = None) -> Iterator[Self]:
        # Whoever ends us kindly ends what we started too.
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        with ExitStack() as stack:
            stack.callback(signal.signal, signal.SIGTERM, before)
            folder = Path(tempfile.mkdtemp(prefix="strait-bench-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            server = stack.enter_context(
                PostgresServer.start(folder / "postgres", settings={**POSTGRES, **(settings or {})})
            )
            yield cls(stack, folder, server)

    def _start_endpoint(self) -> Endpoint:
        port = free_port()
        process = self.spawn([sys.executable, "-m", "benchmarks.endpoint", str(port)], stdout=subprocess.PIPE)
        self._stack.callback(end, process)
        assert process.stdout is not None
        if process.stdout.readline().strip() != b"ready":
            raise RuntimeError("the endpoint did not start")
        return Endpoint(process, port)

    def environment(self, **more: str) -> dict[str, str]:
        """What a child gets: nothing of the person's own settings leaks in."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**kept, "PYTHONPATH": str(ROOT), "INTERNAL_SECRET": self.secret, **more}

    def spawn(
        self, words: Sequence[str], *, env: Mapping[str, str] | None = None, **more: Any
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            list(words), env=self.environment(**(env or {})), stdin=subprocess.DEVNULL, cwd=self.folder, **more
        )

    def say(self, words: Sequence[str], *, timeout: float = 120) -> Any:
        """Run a measuring program to its end; the JSON of its last line."""
        done = subprocess.run(
            [sys.executable, "-m", *words], env=self.environment(), cwd=self.folder, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{words[0]} failed:\n{done.stderr[-2000:]}")
        return json.loads(done.stdout.strip().splitlines()[-1])

    def execute(self, statement: str, url: str | None = None) -> None:
        with psycopg.connect(url or self.server.dsn, autocommit=True) as conn:
            conn.execute(statement)

    @contextmanager
    def database(self) -> Iterator[str]:
        """A fresh migrated database, gone afterwards."""
        if not self._template_ready:
            self.execute("CREATE DATABASE template_strait")
            asyncio.run(_migrate(self.server.dsn_for("template_strait")))
            self._template_ready = True
        name = f"b_{uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template_strait")
        self.execute("CHECKPOINT")
        try:
            yield self.server.dsn_for(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def daemon(
        self, database: str, *, mode: str, changed: Sequence[str] = (), words: Sequence[str] = (), **settings: str
    ) -> Iterator[Daemon]:
        """`strait serve` as a process; `changed` are words for `benchmarks.daemon`, which then stands in for it."""
        port = free_port()
        log = self.folder / "daemon.log"
        env = {
            "DATABASE_URL": database, "JWT_SIGNING_KEY": self.secret[::-1], "MODE": mode, "PORT": str(port),
            "LOG_LEVEL": "warning", "DRAIN_TIMEOUT": "5", "ALLOW_PRIVATE_ENDPOINTS": "true", **settings,
        }  # fmt: skip
        module = ["benchmarks.daemon", *changed] if changed else ["strait_daemon", "serve", *words]
        with log.open("wb") as sink:
            process = self.spawn([sys.executable, "-m", *module], env=env, stdout=sink, stderr=sink)
        try:
            yield Daemon(process, port, log, self.secret)
        finally:
            end(process)

    def postgres_cpu(self) -> float:
        """CPU seconds of PostgreSQL so far."""
        return cpu.spent(self.server.pid)


async def _migrate(url: str) -> None:
    conn = await connect(url)
    await migrate.up(conn, await clock.database_time(conn))
    await conn.close()


def end(process: subprocess.Popen[bytes], secs: float = 20) -> None:
    """End a process kindly, then by force."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(secs)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
    if process.stdout is not None:
        process.stdout.close()
