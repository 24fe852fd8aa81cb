"""Connections: what a failure to open one says, and what it never says."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest

from strait_core.errors import UnavailableError
from strait_core.store import pool
from tests.store.scene import Scene

SECRET = "correct-horse-battery"
ENCODED = "p%40ss%2Fw%3Ard-battery"


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("postgresql://u:pw@db.example:6000/x", "db.example:6000"),
        ("postgresql://u@db.example/x", "db.example:5432"),
        ("postgresql:///x?host=/run/pg&port=6001", "/run/pg:6001"),
        ("host=db.example port=6000 password=pw", "db.example:6000"),
        ("postgresql://a,b:6000/x", "a,b:,6000"),
        ("postgresql://u:pw@[::1]:6000/x", "::1:6000"),
        ("", "localhost:5432"),
        ("not a url", "the configured address"),
        (f"postgresql://u:{SECRET}/x@host/db", "the configured address"),
        (f"postgresql://u:a@{SECRET}@host/db", "the configured address"),
        (f"postgresql://u:1/{SECRET}@host/db", "the configured address"),
    ],
)
def test_an_address_is_named_without_its_secret(url: str, endpoint: str):
    """Host and port as far as they can be told; when a password has spilled into them, nothing."""
    assert pool.endpoint_of(url) in {endpoint, endpoint.replace(":,", ":5432,")}


@pytest.mark.parametrize(
    "password",
    [
        SECRET,
        ENCODED,
        f"{SECRET}/x",
        f"{SECRET}@x",
        f"x@{SECRET}",
        f"x:{SECRET}",
        f"x/{SECRET}",
        f"x#{SECRET}",
        f"x?{SECRET}",
    ],
)
async def test_no_failure_to_connect_shows_a_password(password: str):
    """However the URL is written, right or wrong."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError) as caught:
            await pool.connect(f"postgresql://someone:{password}@127.0.0.1:{port}/db", timeout=2)
    told = f"{caught.value} {caught.value.hint}"
    for secret in (SECRET, ENCODED, "p@ss/w:rd-battery"):
        assert secret not in told


async def test_a_closed_port_is_named(unused_tcp_port: int):
    """Host, port and what the system said, with what to do."""
    with pytest.raises(UnavailableError) as caught:
        await pool.connect(f"postgresql://u:{SECRET}@127.0.0.1:{unused_tcp_port}/db")
    assert f"127.0.0.1:{unused_tcp_port}" in str(caught.value)
    assert "refused" in str(caught.value)
    assert "DATABASE_URL" in (caught.value.hint or "")


def test_a_pooler_is_told_by_another_address():
    """The direct URL leads elsewhere; credentials do not matter."""
    assert pool.is_pooled("postgresql://u@a:6432/x", "postgresql://u@a:5432/x")
    assert not pool.is_pooled("postgresql://u:1@a/x", "postgresql://u:2@a:5432/x")


async def test_times_come_back_in_utc_whatever_the_session_thinks(scene: Scene):
    """Every timestamp is aware and in UTC, to the microsecond, before 2000 too."""
    await scene.rows("SET timezone = 'Asia/Kathmandu'")
    for at in (
        datetime(1969, 7, 20, 20, 17, 40, 123_456, UTC),
        datetime(2030, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, tzinfo=UTC),
    ):
        row = await (await scene.conn.cursor(binary=True).execute("SELECT %s::timestamptz", (at,))).fetchone()
        assert row == (at,)
        assert row[0].tzinfo is UTC


async def test_a_pool_gives_connections_that_commit_by_themselves(own_url: str):
    """Opened when asked, bounded, closed without waiting."""
    many = pool.make_pool(own_url, pooled=False, most=3)
    await many.open()
    async with many.connection() as one, many.connection() as other:
        await one.execute("CREATE TABLE strait.seen (id int)")
        await other.execute("INSERT INTO strait.seen VALUES (1)")
        assert await (await one.execute("SELECT id FROM strait.seen")).fetchall() == [(1,)]
    async with asyncio.timeout(10):
        await many.close()


async def test_a_pool_full_of_dead_connections_recovers_at_once(own_url: str):
    """After a server restart no user gets a dead connection, and none waits out a pause for each."""
    many = pool.make_pool(own_url, pooled=False, most=4)
    async with many, AsyncExitStack() as stack:
        conns = [await stack.enter_async_context(many.connection()) for _ in range(4)]
        pids = [conn.info.backend_pid for conn in conns]
        await stack.aclose()
        async with await pool.connect(own_url) as other:
            await other.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s) AS pid", (pids,))
        async with asyncio.timeout(3):
            for _ in range(4):
                conn = await stack.enter_async_context(many.connection())
                await conn.execute("SELECT 1")
                assert conn.info.backend_pid not in pids
