"""What the daemon says of its process and its database when somebody asks how all is."""

from __future__ import annotations

import os
import resource
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from strait_core.store.pool import Conn, connect
from strait_core.wire.doctor import Finding
from strait_daemon import checkup, doctor
from strait_daemon.clock import database_time
from strait_daemon.settings import Settings

GOOD = {
    "DATABASE_URL": "postgresql://127.0.0.1:9/x",
    "INTERNAL_SECRET": "abcdefghijklmnopqrstuvwxyz0123456789",
    "JWT_SIGNING_KEY": "9876543210zyxwvutsrqponmlkjihgfedcba",
    "ENCRYPTION_KEY": "mlkjihgfedcba9876543210zyxwvutsrqpon",
}


def statuses(found: list[Finding]) -> dict[str, str]:
    return {one.check: one.status.value for one in found}


def settings(**changes: str) -> Settings:
    given: dict[str, Any] = {f"STRAIT_{name}": value for name, value in {**GOOD, **changes}.items()}
    return Settings(**given)


@pytest.mark.parametrize(
    ("changes", "worse"),
    [
        ({}, {}),
        ({"INTERNAL_SECRET": "a" * 40}, {"secret INTERNAL_SECRET": "warn"}),
        ({"JWT_SIGNING_KEY": GOOD["INTERNAL_SECRET"]}, {"secrets differ": "warn"}),
        ({"INTERNAL_SECRET": "change-me-to-a-long-random-string-32"}, {"secret INTERNAL_SECRET": "warn"}),
        ({"INTERNAL_SECRET": "change-me-to-a-long-random-string-32", "HOST": "0.0.0.0"}, {"secret INTERNAL_SECRET": "fail"}),
        ({"REDIS_URL": "redis://127.0.0.1:9"}, {"redis": "warn"}),
        ({"WORKER_POOL_SIZE": "20000"}, {"open files": "warn"}),
    ],
    ids=str,
)  # fmt: skip
async def test_the_process(changes: dict[str, str], worse: dict[str, str]):
    """Secrets that are guessed, shared or from the documentation; Redis that is silent; files that run out."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4_096, before[1]))
    try:
        found = await checkup.process_findings(settings(**changes))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert {name: status for name, status in statuses(found).items() if status != "pass"} == worse
    assert all(one.fix for one in found if one.status != "pass")
    assert not any(value in str(found) for value in GOOD.values())


async def looked(conn: Conn, *, later: timedelta = timedelta(0)) -> dict[str, str]:
    return statuses(await checkup.database_findings(conn, await database_time(conn) + later))


async def test_the_database(migrated: str):
    """Well at first; then what hurts, one thing after the other: settings, migrations, a forgotten transaction."""
    conn = await connect(migrated)
    try:
        # The server of the tests does without what makes others wait.
        fast = {"fsync": "warn", "full_page_writes": "warn"}
        assert {name: status for name, status in (await looked(conn)).items() if status != "pass"} == fast
        for statement, name, status in (
            ("SET track_counts = off", "track_counts", "warn"),
            ("SET default_transaction_read_only = on", "writing", "fail"),
        ):
            await conn.execute(statement)
            assert (await looked(conn))[name] == status
            await conn.execute("RESET ALL")
        async with conn.transaction(force_rollback=True):
            await conn.execute("DELETE FROM strait.migrations WHERE version = 3")
            assert (await looked(conn))["migrations"] == "fail"
        async with conn.transaction(force_rollback=True):
            await conn.execute("INSERT INTO strait.migrations VALUES (9999, 'newer', 'x', '2030-01-01')")
            assert (await looked(conn))["migrations"] == "warn"
        with psycopg.connect(migrated, application_name="forgotten") as holder:
            holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            holder.execute("SELECT 1")
            found = await checkup.database_findings(conn, await database_time(conn) + timedelta(minutes=1))
            held = next(one for one in found if one.check == "held snapshots")
            assert (held.status, "forgotten" in held.detail) == ("warn", True)
    finally:
        await conn.close()


async def test_the_queue(migrated: str):
    """Nobody works, then somebody does who takes nothing; a run that nobody claims; dead letters."""
    conn = await connect(migrated)
    try:
        now, stale = await database_time(conn), timedelta(seconds=60)
        assert statuses(await checkup.queue_findings(conn, now, stale)) == {"workers": "fail", "queue": "pass"}
        await conn.execute(
            "INSERT INTO strait.workers (id, host, pid, mode, version, slots, in_flight, draining, started_at, heartbeat_at)"
            " VALUES (gen_random_uuid(), 'h', 1, 'all', 'x', 10, 3, true, %(now)s, %(now)s)",
            {"now": now},
        )
        assert statuses(await checkup.queue_findings(conn, now, stale))["workers"] == "fail"
        await conn.execute("UPDATE strait.workers SET draining = false")
        await conn.execute("INSERT INTO strait.stats_depth VALUES ('p', 'dead_letter', 2)")
        await conn.execute(
            "INSERT INTO strait.ready SELECT 0, 0, 1, gen_random_uuid(), gen_random_uuid(), %s",
            [now - timedelta(hours=1)],
        )
        found = statuses(await checkup.queue_findings(conn, now, stale))
        assert found == {"workers": "pass", "queue": "warn", "dead letters": "warn"}
        await conn.execute("UPDATE strait.workers SET in_flight = 10")
        found = statuses(await checkup.queue_findings(conn, now, stale))
        assert (found["workers"], found["queue"]) == ("warn", "pass")
    finally:
        await conn.close()


async def test_without_a_daemon(database: str, monkeypatch: pytest.MonkeyPatch):
    """Settings that are wrong and tables that are not there are findings; nothing is raised."""
    for name in [name for name in os.environ if name.startswith("STRAIT_") or name in GOOD]:
        monkeypatch.delenv(name)
    assert statuses(await doctor.seen())["postgresql"] == "fail"
    monkeypatch.setenv("DATABASE_URL", database)
    found = statuses(await doctor.seen())
    assert (found["settings"], found["migrations"], found["tables"]) == ("fail", "fail", "fail")
