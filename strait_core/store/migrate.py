"""Migrations: plain SQL files, forward only, each applied once, in one transaction, under a lock."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Final

from strait_core.errors import ConfigError
from strait_core.store import changes, history
from strait_core.store.pool import Conn, query

# Any fixed number will do; this one names the lock that only migrations take.
_LOCK: Final = 7_267_218_850_510
# A server that cannot give the lock in this time is busy with another migration that hangs.
_LOCK_TIMEOUT: Final = "60s"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of `migrations/`: its number, its name and the SHA-256 of its text."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """What a database remembers of the text it was given."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration that a database has; `applied_at` is None while it is still pending."""

    version: int
    name: str
    applied_at: datetime | None


def known() -> list[Migration]:
    """The migrations of this release, in order."""
    folder = files("strait_core.store").joinpath("migrations")
    paths = sorted((p for p in folder.iterdir() if p.name.endswith(".sql")), key=lambda p: p.name)
    return [Migration(int(p.name[:4]), p.name[5:-4], p.read_text("utf-8")) for p in paths]


async def status(conn: Conn) -> list[Applied]:
    """Every known migration, and those of a newer release that this database has."""
    have = await _applied(conn)
    rows = [Applied(m.version, m.name, have[m.version][1] if m.version in have else None) for m in known()]
    newest = rows[-1].version
    return rows + [Applied(v, "(of a newer release)", at) for v, (_, at) in sorted(have.items()) if v > newest]


async def up(conn: Conn, now: datetime) -> list[Migration]:
    """Apply what is pending and make the first partitions; the migrations applied. Safe to run from many processes."""
    async with conn.transaction():
        await conn.execute(query(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'".encode()))
        await conn.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        await conn.execute("CREATE SCHEMA IF NOT EXISTS strait")
        await conn.execute(
            "CREATE TABLE IF NOT EXISTS strait.migrations (version integer PRIMARY KEY, name text NOT NULL,"
            " checksum text NOT NULL, applied_at timestamptz NOT NULL)"
        )
        have = await _applied(conn)
        pending = [m for m in known() if _is_pending(m, have)]
        for migration in pending:
            await conn.execute(query(migration.text.encode()))
            await conn.execute(
                "INSERT INTO strait.migrations (version, name, checksum, applied_at) VALUES (%s, %s, %s, %s)",
                (migration.version, migration.name, migration.checksum, now),
            )
        await history.ensure_partitions(conn, now)
        await changes.ensure_hours(conn, now)
    return pending


def _is_pending(migration: Migration, have: dict[int, tuple[str, datetime]]) -> bool:
    known_as = have.get(migration.version)
    if known_as is not None and known_as[0] != migration.checksum:
        raise ConfigError(
            f"migration {migration.version:04} ({migration.name}) was applied with another text than this release has",
            hint="use the release that made this database, or start with a fresh database",
        )
    return known_as is None


async def _applied(conn: Conn) -> dict[int, tuple[str, datetime]]:
    exists = await (await conn.execute("SELECT to_regclass('strait.migrations') IS NOT NULL")).fetchone()
    if exists is None or not exists[0]:
        return {}
    cursor = await conn.cursor(binary=True).execute("SELECT version, checksum, applied_at FROM strait.migrations")
    return {version: (checksum, at) for version, checksum, at in await cursor.fetchall()}
