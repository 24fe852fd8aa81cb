"""Migrations: once each, under a lock, forward only, and loud about what they do not know."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import psycopg
import pytest

from strait_core.errors import ConfigError
from strait_core.store import history, migrate, partitions, pool
from tests.store.scene import NOW, Scene

LATEST = migrate.known()[-1].version


async def schema_of(conn: pool.Conn) -> list[tuple[object, ...]]:
    """Every column of every table and every index, to compare two databases."""
    cursor = await conn.execute(
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        " WHERE table_schema = 'strait' UNION ALL"
        " SELECT tablename, indexname, indexdef, NULL, NULL FROM pg_indexes WHERE schemaname = 'strait' ORDER BY 1, 2"
    )
    return await cursor.fetchall()


def test_the_files_are_numbered_without_gaps():
    """0001, 0002, …: the order of the names is the order of the numbers."""
    assert [m.version for m in migrate.known()] == list(range(1, LATEST + 1))
    assert all(len(m.checksum) == 64 for m in migrate.known())


async def test_an_empty_database_is_brought_up(database: str):
    """Status says pending before and when after; each migration is applied once."""
    conn = await pool.connect(database)
    assert [(row.version, row.applied_at) for row in await migrate.status(conn)] == [
        (n, None) for n in range(1, LATEST + 1)
    ]
    assert [m.version for m in await migrate.up(conn, NOW)] == list(range(1, LATEST + 1))
    assert [(row.version, row.applied_at) for row in await migrate.status(conn)] == [
        (n, NOW) for n in range(1, LATEST + 1)
    ]
    await conn.close()


async def test_a_second_time_changes_nothing(own_scene: Scene):
    """Nothing is pending, nothing is made, nothing is forgotten."""
    before = await schema_of(own_scene.conn)
    assert await migrate.up(own_scene.conn, NOW + timedelta(minutes=1)) == []
    assert [row.applied_at for row in await migrate.status(own_scene.conn)] == [NOW] * LATEST
    assert await schema_of(own_scene.conn) == before


async def test_two_processes_at_once_apply_each_migration_once(database: str):
    """The second waits for the first and finds the work done."""
    conns = [await pool.connect(database) for _ in range(4)]
    applied = await asyncio.gather(*(migrate.up(conn, NOW) for conn in conns))
    assert sorted(len(one) for one in applied) == [0, 0, 0, LATEST]
    for conn in conns:
        await conn.close()


async def test_a_failed_migration_leaves_nothing_behind(database: str, monkeypatch: pytest.MonkeyPatch):
    """All or nothing: after the fault the database is as empty as before."""
    broken = migrate.Migration(LATEST + 1, "broken", "CREATE TABLE strait.half (id int); SELECT 1 / 0")
    every = [*migrate.known(), broken]
    conn = await pool.connect(database)
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "known", lambda: every)
        with pytest.raises(psycopg.errors.DivisionByZero):
            await migrate.up(conn, NOW)
    row = await (await conn.execute("SELECT to_regnamespace('strait')")).fetchone()
    assert row == (None,)
    assert len(await migrate.up(conn, NOW)) == LATEST
    await conn.close()


async def test_a_changed_text_is_refused(own_scene: Scene):
    """A database made from another text is not guessed at; the message names the migration and the way out."""
    await own_scene.rows("UPDATE strait.migrations SET checksum = 'other' WHERE version = 1")
    with pytest.raises(ConfigError, match=r"migration 0001 \(spine\) was applied with another text") as caught:
        await migrate.up(own_scene.conn, NOW)
    assert caught.value.hint == "use the release that made this database, or start with a fresh database"


async def test_a_newer_release_is_shown_and_left_alone(own_scene: Scene):
    """An older release works on a newer database, and says what it does not know."""
    await own_scene.rows(
        "INSERT INTO strait.migrations VALUES (%s, 'of_tomorrow', 'x', %s)", LATEST + 1, NOW + timedelta(days=1)
    )
    assert await migrate.up(own_scene.conn, NOW) == []
    last = (await migrate.status(own_scene.conn))[-1]
    assert (last.version, last.name, last.applied_at) == (
        LATEST + 1,
        "(of a newer release)",
        NOW + timedelta(days=1),
    )


async def test_partitions_are_made_for_the_weeks_around(own_scene: Scene):
    """Last week, this one and the next four, in both retention classes of each table."""
    for parent in history.PARENTS:
        for keep in (history.SHORT, history.LONG):
            names = await partitions.of(own_scene.conn, f"{parent}_{keep}")
            weeks = ["20300107", "20300114", "20300121", "20300128", "20300204", "20300211"]
            assert names == [f"{parent}_{keep}_{week}" for week in weeks]
    assert await history.ensure_partitions(own_scene.conn, NOW) == 0
    assert await history.ensure_partitions(own_scene.conn, NOW + timedelta(weeks=1)) == 2 * len(history.PARENTS)


async def test_no_column_default_reads_a_clock(own_scene: Scene):
    """What a table fills in by itself is never a time."""
    defaults = await own_scene.rows(
        "SELECT table_name, column_name, column_default FROM information_schema.columns"
        " WHERE table_schema = 'strait' AND column_default IS NOT NULL"
    )
    assert [row for row in defaults if "nextval" not in row["column_default"]] == []
