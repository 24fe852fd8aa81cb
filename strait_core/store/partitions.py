"""Partitions of a table by time: made without holding anybody up, taken out without holding anybody up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import LiteralString

from psycopg import sql

from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("partitions")


async def lock(conn: Conn) -> None:
    """Be the only one who makes partitions until the caller's transaction ends."""
    await conn.execute(query(_SQL["lock"]))


async def of(conn: Conn, parent: str) -> Sequence[str]:
    """The leaf partitions of a table, by name."""
    return await _names(conn, "of", parent)


async def make(conn: Conn, parent: str, name: str, span: tuple[datetime, datetime]) -> None:
    """Make one partition for a span of time. Made apart and then attached: that neither waits for readers of the parent
    nor makes writers wait behind it.
    """
    await conn.execute(_altered("CREATE TABLE strait.{1} (LIKE strait.{0} INCLUDING ALL)", parent, name))
    await conn.execute(
        sql.SQL("ALTER TABLE strait.{} ATTACH PARTITION strait.{} FOR VALUES FROM ({}) TO ({})").format(
            sql.Identifier(parent), sql.Identifier(name), sql.Literal(span[0]), sql.Literal(span[1])
        )
    )


async def take_out(conn: Conn, parent: str, is_over: Callable[[str], bool]) -> list[str]:
    """Take the partitions that are over out of a table; the names of all such tables that nobody has dropped yet.

    `conn` is in no transaction. It is done in a way that makes nobody wait, and waits itself for all who may read them
    still. Who is stopped in between leaves the rest to the next call.
    """
    for name in await _names(conn, "half_detached", parent):
        await conn.execute(_altered("ALTER TABLE strait.{0} DETACH PARTITION strait.{1} FINALIZE", parent, name))
    for name in await of(conn, parent):
        if is_over(name):
            await conn.execute(
                _altered("ALTER TABLE strait.{0} DETACH PARTITION strait.{1} CONCURRENTLY", parent, name)
            )
    return [name for name in await _names(conn, "detached", parent) if is_over(name)]


async def drop(conn: Conn, name: str) -> None:
    """Drop what was a partition."""
    await conn.execute(sql.SQL("DROP TABLE strait.{}").format(sql.Identifier(name)))


def _altered(statement: LiteralString, parent: str, name: str) -> sql.Composed:
    return sql.SQL(statement).format(sql.Identifier(parent), sql.Identifier(name))


async def _names(conn: Conn, statement: str, parent: str) -> list[str]:
    cursor = await conn.execute(query(_SQL[statement]), {"parent": parent})
    return [row[0] for row in await cursor.fetchall()]
