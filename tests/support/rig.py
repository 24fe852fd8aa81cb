"""The daemon's real parts without its HTTP server, on a database of their own, for tests that look inside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest
from psycopg.rows import dict_row

from strait_core import trigger
from strait_core.job import JobSpec
from strait_core.run import ACTIVE, CANCELABLE, TERMINAL, Event, Status
from strait_core.store import changes, history, jobs, migrate, pool, runs, stats
from strait_core.store.jobs import StoredJob
from strait_core.store.pool import Conn
from strait_core.trigger import NewRun
from strait_core.wire import TriggerRequest
from strait_daemon import wiring
from strait_daemon.embedded import PostgresServer
from strait_daemon.settings import Settings
from strait_daemon.wiring import Parts
from tests.support.clock import START
from tests.support.daemon import FAST, SECRET, SIGNING_KEY
from tests.support.postgres import create_database, drop_database, unique_name
from tests.support.proxy import Proxy, proxying

SPEC: Final = JobSpec(project_id="p", slug="job", name="Job", endpoint_url="http://127.0.0.1:9/")


@pytest.fixture(scope="session")
def template(postgres_server: PostgresServer) -> str:
    """The name of a database migrated at the virtual clock's first instant; nobody is connected to it."""
    name = unique_name()
    asyncio.run(_migrate(create_database(postgres_server, name)))
    return name


@pytest.fixture(scope="session")
def migrated_template(postgres_server: PostgresServer, template: str) -> str:
    """The name of a copy of it that has partitions for today too."""
    name = unique_name()
    asyncio.run(_make_partitions(create_database(postgres_server, name, template)))
    return name


async def _migrate(url: str) -> None:
    conn = await pool.connect(url)
    await migrate.up(conn, START)
    await conn.close()


async def _make_partitions(url: str) -> None:
    now, conn = datetime.now(UTC), await pool.connect(url)
    async with conn.transaction():
        await history.ensure_partitions(conn, now)
        await changes.ensure_hours(conn, now)
    await conn.close()


@pytest.fixture
def migrated(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    """The URL (over TCP) of a migrated database that is the test's own."""
    name = unique_name()
    create_database(postgres_server, name, migrated_template)
    yield tcp_url(postgres_server, name)
    drop_database(postgres_server, name)


def tcp_url(server: PostgresServer, database: str) -> str:
    """The URL of a database over loopback."""
    return server.tcp_dsn.removesuffix("postgres") + database


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    """A proxy in front of the database of that URL."""
    head, _, rest = url.rpartition("127.0.0.1:")
    port, _, database = rest.partition("/")
    async with proxying("127.0.0.1", int(port), f"{head}127.0.0.1:{{port}}/{database}") as proxy:
        yield proxy


async def eventually(look: Callable[[], Any], seconds: float = 20, missing: str = "it never came") -> Any:
    """Look (or await a look) again and again until the answer is truthy, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        answer = look()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < deadline, f"waited {seconds:g} s: {missing}"
        await asyncio.sleep(0.01)


@dataclass
class Rig:
    """Running parts, and a connection of the test's own that no fault reaches."""

    parts: Parts
    conn: Conn
    made: list[UUID] = field(default_factory=list)
    stopped: bool = False

    async def job(self, endpoint_url: str, slug: str = "job", **changes: Any) -> StoredJob:
        """Store a job."""
        spec = replace(SPEC, endpoint_url=endpoint_url, slug=slug, **changes)
        now = self.parts.clock.now()
        job = await jobs.insert_job(self.conn, self.parts.new_id(), self.parts.new_id(), spec, now, enabled=True)
        assert job is not None
        return job

    def new_run(self, job: StoredJob, payload: str = "{}", **request: Any) -> NewRun:
        """A run of that job, not stored yet."""
        return trigger.new_run(
            TriggerRequest(payload=msgspec.Raw(payload.encode()), **request),
            job.spec,
            run_id=self.parts.new_id(),
            job_id=job.id,
            job_version=job.version,
            now=self.parts.clock.now(),
        )

    async def add(self, job: StoredJob, count: int = 1, **request: Any) -> list[UUID]:
        """Trigger runs through the intake."""
        new = [self.new_run(job, **request) for _ in range(count)]
        assert all(await asyncio.gather(*map(self.parts.intake.add, new)))
        self.made += [run.id for run in new]
        return [run.id for run in new]

    async def run(self, run_id: UUID) -> dict[str, Any]:
        """One run as it stands."""
        row = await runs.get_run(self.conn, run_id)
        assert row is not None
        return row

    async def wait(self, run_id: UUID, *states: Status, seconds: float = 20) -> dict[str, Any]:
        """Wait until the run is in one of these states, by default in a terminal one."""
        wanted = states or tuple(TERMINAL)

        async def arrived() -> dict[str, Any] | None:
            row = await self.run(run_id)
            return row if row["status"] in wanted else None

        found: dict[str, Any] = await eventually(
            arrived, seconds, f"run {run_id} never was {[s.value for s in wanted]}"
        )
        return found

    async def wait_all(self, seconds: float = 30) -> None:
        """Wait until no run is active."""

        async def none_active() -> bool:
            return (await self.rows("SELECT count(*) AS n FROM strait.runs"))[0]["n"] == 0

        await eventually(none_active, seconds, "runs are still active")

    async def attempts(self, run_id: UUID) -> list[dict[str, Any]]:
        """The closed attempts of a run."""
        return await runs.attempts(self.conn, run_id)

    async def cancel(self, run_id: UUID) -> bool:
        """Cancel a run in the database alone: no signal goes out."""
        async with self.conn.transaction():
            ended = await runs.end_active(
                self.conn,
                [run_id],
                event=Event.CANCEL,
                to=Status.CANCELED,
                allowed=CANCELABLE,
                now=self.parts.clock.now(),
            )
        return bool(ended)

    async def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """What a statement of the test's own gives."""
        async with self.conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(statement.encode(), values or None)
            return await cursor.fetchall() if cursor.description else []

    async def check(self) -> None:
        """Every invariant that holds of this database at any instant between two statements."""
        assert await self.rows(_BAD_PLACES) == []
        assert await self.rows(_TWICE) == []
        # The accountant may be folding as well: what it holds is counted once it has committed.
        await eventually(self._counts_agree, missing="the statistics count other runs than there are")

    async def _counts_agree(self) -> bool:
        counted = {row["status"]: row["n"] for row in await self.rows(_COUNTS)}
        while await stats.fold(self.conn, self.parts.clock.now()):
            pass
        return counted == {status: n for status, n in (await stats.depth(self.conn, None)).items() if n}

    async def stop(self) -> None:
        """Stop the parts, once."""
        if not self.stopped:
            self.stopped = True
            await wiring.stop(self.parts, at_once=asyncio.Event())


# Every queued run is in the ready order or in `due`, never in both; entries belong to runs in the right state.
_BAD_PLACES: Final = """
SELECT r.id, r.status, e.run_id IS NOT NULL AS ready, d.run_id IS NOT NULL AS due FROM strait.runs r
LEFT JOIN strait.ready e ON e.run_id = r.id LEFT JOIN strait.due d ON d.run_id = r.id
WHERE NOT CASE r.status WHEN 'queued' THEN (e.run_id IS NULL) <> (d.run_id IS NULL)
    WHEN 'delayed' THEN e.run_id IS NULL AND d.run_id IS NOT NULL
    ELSE e.run_id IS NULL AND d.run_id IS NULL END
UNION ALL SELECT e.run_id, 'gone', true, false FROM strait.ready e WHERE NOT EXISTS
    (SELECT FROM strait.runs r WHERE r.id = e.run_id)
"""
_TWICE: Final = """
SELECT run_id, number FROM strait.attempts GROUP BY 1, 2 HAVING count(*) > 1
UNION ALL SELECT id, 0 FROM strait.all_runs GROUP BY 1 HAVING count(*) > 1
"""
_COUNTS: Final = "SELECT status, count(*) AS n FROM strait.all_runs GROUP BY 1"
assert frozenset(Status) == ACTIVE | TERMINAL


def settings_for(url: str, **changes: Any) -> Settings:
    """Settings of a daemon on that database, with the short intervals of these tests."""
    given = {**FAST, "DATABASE_URL": url, "INTERNAL_SECRET": SECRET, "JWT_SIGNING_KEY": SIGNING_KEY, **changes}
    return Settings(**given)


@asynccontextmanager
async def running(url: str, direct: str | None = None, **changes: Any) -> AsyncIterator[Rig]:
    """Running parts on the database of `url` (a proxy's, perhaps); `direct` is the way around the proxy."""
    settings = settings_for(url, **changes)
    conn = await pool.connect(direct or url)
    parts = await wiring.build(settings)
    wiring.start(parts)
    rig = Rig(parts, conn)
    try:
        yield rig
    finally:
        await rig.stop()
        await conn.close()
