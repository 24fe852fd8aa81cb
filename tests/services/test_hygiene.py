"""Hygiene: hot tables are vacuumed when it pays, and what holds snapshots is named."""

from __future__ import annotations

import psycopg
from structlog.testing import capture_logs

from strait_core.store import hygiene
from strait_core.store.pool import connect, make_pool
from strait_daemon.services.hygiene import Hygiene
from tests.support.clock import VirtualClock

FILL = (
    "INSERT INTO strait.ready SELECT 0, 0, n, gen_random_uuid(), gen_random_uuid(), '2030-01-01'"
    " FROM generate_series(1, 5000) n"
)


async def test_dead_rows_are_vacuumed(migrated: str):
    """A tick removes what claims left behind in the ready order."""
    async with make_pool(migrated, pooled=False, most=2) as pool:
        async with pool.connection() as conn:
            await conn.execute(FILL)
            await conn.execute("DELETE FROM strait.ready")
            await conn.execute("SELECT pg_stat_force_next_flush()")
            assert await hygiene.dead_rows(conn) == ["ready"]
        await Hygiene(pool, VirtualClock()).tick()
        async with pool.connection() as conn:
            await conn.execute("SELECT pg_stat_force_next_flush()")
            assert await hygiene.dead_rows(conn) == []


async def test_a_held_snapshot_is_named(migrated: str, monkeypatch):
    """A forgotten transaction shows up with its name and age, as one warning."""
    monkeypatch.setattr(hygiene, "LONG_SECS", 0.0)
    monkeypatch.setattr("strait_daemon.services.hygiene.WARN_EVERY", 1)
    holder = await psycopg.AsyncConnection.connect(migrated, application_name="forgotten")
    await holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    await holder.execute("SELECT 1")
    conn = await connect(migrated)
    row = await (await conn.execute("SELECT clock_timestamp()")).fetchone()
    assert row is not None
    found = await hygiene.holders(conn, row[0])
    assert [(one.kind, one.name) for one in found] == [("session", "forgotten")]
    assert found[0].age_secs > 0
    clock = VirtualClock()
    clock.at = row[0]
    async with make_pool(migrated, pooled=False, most=2) as pool:
        with capture_logs() as logs:
            await Hygiene(pool, clock).tick()
    assert [entry["holder"] for entry in logs if entry["event"] == "snapshot_held"] == ["forgotten"]
    await holder.close()
    await conn.close()
