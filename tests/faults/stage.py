"""Two daemons over one database and one Valkey, and the line to one of them: each goes away and comes back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg

from strait_core.run import TERMINAL
from tests.faults.between import Between, proxy_before
from tests.faults.checks import uuid_of
from tests.faults.test_several_daemons import valkey
from tests.support.daemon import Daemon, free_port, running_daemon
from tests.support.endpoint import Endpoint
from tests.support.forked import Process
from tests.support.waiting import eventually

_ENDED = """
    SELECT count(*) FROM (SELECT id, status FROM strait.runs UNION ALL SELECT id, status FROM strait.run_history) AS run
    WHERE id = ANY(%s) AND status = ANY(%s)
"""


@dataclass
class Stage:
    """The `front` daemon serves whoever comes by the `line`; it and the `back` one share the runs."""

    database: str
    endpoint: Endpoint
    conn: psycopg.Connection
    folder: Path
    line: Between
    settings: dict[str, str]
    ports: dict[str, int]
    redis_port: int
    everything: ExitStack
    daemons: dict[str, Daemon] = field(default_factory=dict)
    redis: Process | None = None

    def start_redis(self) -> None:
        """Start it, or once more at the same address."""
        self.redis = self.everything.enter_context(valkey(self.folder, self.redis_port))

    def kill_redis(self) -> None:
        """Kill it."""
        assert self.redis is not None
        self.redis.kill()
        self.redis.wait(10)

    def start(self, name: str) -> None:
        """Start one of the daemons, or once more at the same address."""
        daemon = running_daemon(self.database, port=self.ports[name], settings=self.settings)
        self.daemons[name] = self.everything.enter_context(daemon)

    def kill_backends(self) -> None:
        """End every connection to the database but our own."""
        self.conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    def end_some(self, count: int) -> list[str]:
        """Let so many of the runs that are being executed come to their ends, and wait until these are stored."""
        eventually(lambda: len(self.endpoint.waiting) >= count, 60)
        runs = self.endpoint.waiting[:count]
        self.endpoint.let(runs)
        ids = [uuid_of(run) for run in runs]
        eventually(lambda: self._ended(ids) == count, 60, lambda: f"{self._ended(ids)} of {count} have ended")
        return runs

    def _ended(self, ids: Sequence[object]) -> int:
        row = self.conn.execute(_ENDED, [ids, list(TERMINAL)]).fetchone()
        assert row is not None
        return int(row[0])

    def cancel(self, run: str, by: str) -> None:
        """Cancel a run at one of the daemons, however often that must be asked."""

        def asked() -> bool:
            try:
                return self.daemons[by].client.post(f"/v1/runs/{run}/cancel").status_code < 500
            except httpx.TransportError:
                return False

        eventually(asked, 60)


@contextmanager
def staged(database: str, endpoint: Endpoint, settings: dict[str, str]) -> Iterator[Stage]:
    """All of it, running."""
    ports, redis_port = {"front": free_port(), "back": free_port()}, free_port()
    settings = {"REDIS_URL": f"redis://127.0.0.1:{redis_port}/0", **settings}
    with (
        tempfile.TemporaryDirectory(prefix="strait-test-") as folder,
        psycopg.connect(database, autocommit=True) as conn,
        proxy_before(ports["front"]) as line,
        ExitStack() as everything,
    ):
        stage = Stage(database, endpoint, conn, Path(folder), line, settings, ports, redis_port, everything)
        stage.start_redis()
        stage.start("front")
        stage.start("back")
        yield stage
