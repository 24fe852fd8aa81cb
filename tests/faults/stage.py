"""Two daemons over one database and one Valkey, and the line to one of them: each goes away and comes back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final

import httpx
import psycopg

from strait_core import ids
from strait_core.run import TERMINAL
from tests.faults.between import Between, proxy_before
from tests.faults.checks import uuid_of
from tests.faults.test_several_daemons import valkey
from tests.support.daemon import Daemon, free_port, running_daemon
from tests.support.endpoint import Endpoint
from tests.support.forked import Process
from tests.support.waiting import eventually

# A run that has not ended after so long may be none that can.
_STUCK_SECS: Final = 3.0
_ENDED: Final = """
    SELECT id FROM (SELECT id, status FROM strait.runs UNION ALL SELECT id, status FROM strait.run_history) AS run
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
        """Let runs that are being executed come to their ends, until so many are stored; those."""
        let: list[str] = []
        again_at = 0.0

        def look() -> list[str]:
            nonlocal again_at
            runs = self._ended(let)
            if len(runs) < count and monotonic() > again_at:
                # One whose attempt died with its daemon waits for a slot, which the others hold: then these go as well.
                more = [run for run in self.endpoint.waiting if run not in let][: count - len(runs)]
                self.endpoint.let(more)
                let.extend(more)
                again_at = monotonic() + _STUCK_SECS * bool(more)
            return runs if len(runs) >= count else []

        return eventually(look, 60, lambda: f"{len(self._ended(let))} of {count} have ended, {len(let)} were let")

    def _ended(self, runs: list[str]) -> list[str]:
        rows = self.conn.execute(_ENDED, [[uuid_of(run) for run in runs], list(TERMINAL)])
        return [ids.spell(ids.Prefix.RUN, row[0]) for row in rows]

    def kill(self, name: str) -> None:
        """Kill one of the daemons, and wait until its calls are seen to be gone."""
        self.daemons[name].kill()
        eventually(lambda: len(self.endpoint.waiting) <= int(self.settings["WORKER_POOL_SIZE"]))

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
