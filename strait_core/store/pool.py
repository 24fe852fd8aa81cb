"""Connections: how they are opened, what they send and read, and what a failure to open one says."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final, LiteralString, cast

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format
from psycopg_pool import AsyncConnectionPool

from strait_core.errors import ConfigError, UnavailableError

Conn = AsyncConnection[tuple[Any, ...]]
Pool = AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]]

OLDEST_POSTGRES: Final = 140_000
CONNECT_SECS: Final = 10.0
# A password of so many characters is looked for in messages.
_TELLING: Final = 8
_CANCEL_SECS: Final = 1.0
# How long a session is given to end.
_END_MS: Final = 5_000
_END_SESSION: Final = """
SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %(pid)s) OR pg_terminate_backend(%(pid)s, %(ms)s)"""
# The pool's own attempts double their pauses up to this; past it, whoever asks for a connection starts a fresh attempt.
# So this is also how long a database that is back may go unnoticed.
RECONNECT_SECS: Final = 3.0
# PostgreSQL counts microseconds from here (timestamptz in binary format).
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


class _UtcLoader(Loader):
    """A binary timestamptz as an aware UTC datetime, whatever time zone the session has."""

    format = Format.BINARY

    def load(self, data: Buffer) -> datetime:
        return _EPOCH + timedelta(microseconds=int.from_bytes(data, "big", signed=True))


psycopg.adapters.register_loader("timestamptz", _UtcLoader)


class _Connection(AsyncConnection[tuple[Any, ...]]):
    """A connection on which a statement can be given up within a second, also when the server does not answer."""

    async def _try_cancel(self, *, timeout: float = 5.0) -> None:
        """Ask the server to stop the statement, then hang up: psycopg would wait for its answer."""
        await super()._try_cancel(timeout=min(timeout, _CANCEL_SECS))
        with suppress(OSError), socket.socket(fileno=os.dup(self.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)


def query(statement: bytes) -> LiteralString:
    """A statement from our own files, in the type psycopg asks for to keep built-up text out."""
    return cast("LiteralString", statement)


def _options(*, pooled: bool) -> dict[str, Any]:
    # Behind a transaction pooler prepared statements belong to nobody, so none are made (None); else at second use.
    return {
        "autocommit": True,
        "prepare_threshold": None if pooled else 1,
        "application_name": "strait",
        # A peer that went away without a word is noticed in about 20 s instead of the system's two hours.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": 20_000,
    }


# A plan made while a table was small would scan it whole for ever after, because prepared plans are kept. The hot
# statements know their way: by key (see decision 0008).
_FIXED_PLANS: Final = (
    "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_nestloop = off;"
    " SET enable_mergejoin = off; SET jit = off"
)
_FIXED_PLANS_HERE: Final = (
    "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; SET LOCAL enable_nestloop = off;"
    " SET LOCAL enable_mergejoin = off; SET LOCAL jit = off"
)


async def fix_plans(conn: Conn) -> None:
    """Pin this session to indexed plans; only for a connection of its own, which no pooler shares."""
    await conn.execute(_FIXED_PLANS)


@asynccontextmanager
async def swift_transaction(conn: Conn) -> AsyncIterator[None]:
    """A transaction whose BEGIN and COMMIT travel with its statements instead of waiting for an answer each.

    No transaction, savepoint or COPY may begin inside: the connection hears only at the end that it is in one.
    """
    try:
        async with conn.pipeline():
            await conn.execute("BEGIN")
            yield
            await conn.execute("COMMIT")
    except BaseException:
        if not conn.closed:
            await conn.rollback()
        raise


@asynccontextmanager
async def own_transaction(conn: Conn) -> AsyncIterator[None]:
    """A transaction that the caller begins and commits with statements of its own, which travel with others.

    Undone when anything fails. Between its pipelines, savepoints may be made in it.
    """
    try:
        yield
    except BaseException:
        if not conn.closed:
            await conn.rollback()
        raise


async def fix_plans_here(conn: Conn) -> None:
    """Pin the caller's transaction to indexed plans; on any connection, for a batch now and then."""
    await conn.execute(_FIXED_PLANS_HERE)


async def wait_at_most(conn: Conn, secs: float) -> None:
    """Let no statement of the caller's transaction wait longer for what another one holds: it raises `faults.Held`."""
    await conn.execute(query(b"SET LOCAL lock_timeout = %d" % int(secs * 1000)))


def is_pooled(url: str, direct_url: str) -> bool:
    """Whether a pooler stands in between: the two URLs lead to different places."""
    return endpoint_of(url) != endpoint_of(direct_url)


async def connect(url: str, *, pooled: bool = False, timeout: float = CONNECT_SECS) -> Conn:
    """One connection; UnavailableError names host and port, never the password."""
    try:
        conn = await _Connection.connect(url, connect_timeout=max(2, int(timeout)), **_options(pooled=pooled))
    except (psycopg.Error, OSError) as error:
        raise unreachable(url, error) from error
    if conn.info.server_version < OLDEST_POSTGRES:
        version = conn.info.server_version // 10_000
        await conn.close()
        raise ConfigError(
            f"PostgreSQL at {endpoint_of(url)} is version {version}; Strait needs 14 or newer",
            hint="upgrade the server, or point DATABASE_URL at a newer one",
        )
    return conn


async def end_session(conn: Conn, pid: int) -> None:
    """End another session of this user, with whatever it is about to do; UnavailableError when it will not end."""
    if pid == conn.info.backend_pid:
        return
    row = await (await conn.execute(_END_SESSION, {"pid": pid, "ms": _END_MS})).fetchone()
    if not (row and row[0]):
        raise UnavailableError(f"session {pid} of this program does not end", hint="look at pg_stat_activity")


class _LivePool(AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]]):
    """A pool that hands out no connection that the server has closed meanwhile.

    The pool's own check pauses a second and more after each dead connection, so a pool full of them (the server was
    restarted) would recover slowly. Here they are put back at once, closed, which makes the pool replace them.
    """

    async def getconn(self, timeout: float | None = None) -> Conn:
        """A connection within `timeout` seconds, None = the pool's own bound."""
        deadline = monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            conn = await super().getconn(max(deadline - monotonic(), 0.001))
            if not hung_up(conn):
                return conn
            await conn.close()
            await self.putconn(conn)


def make_pool(url: str, *, pooled: bool, most: int) -> Pool:
    """A closed pool of at most `most` connections; `await pool.open()` starts it."""
    return _LivePool(
        url,
        connection_class=_Connection,
        kwargs=_options(pooled=pooled),
        min_size=1,
        max_size=most,
        open=False,
        timeout=CONNECT_SECS,
        max_lifetime=3_600,
        reconnect_timeout=RECONNECT_SECS,
        check=AsyncConnectionPool.check_connection if pooled else None,
    )


def hung_up(conn: Conn) -> bool:
    """Whether the server has closed this idle connection (it was restarted, say); asks the socket, not the server."""
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def endpoint_of(url: str) -> str:
    """`host:port` (or the socket's folder) of a database URL, for messages; no user, no password."""
    parts = _read_url(url)
    return f"{parts['host']}:{parts['port']}" if parts else "the configured address"


def _read_url(url: str) -> dict[str, str] | None:
    """Host and port of a database URL; None when a bare `@`, `/` or `:` of a password has spilled into them."""
    with suppress(psycopg.ProgrammingError):
        parts = conninfo_to_dict(url)
        host = str(parts.get("host") or parts.get("hostaddr") or "localhost")
        port = str(parts.get("port") or 5432)
        if "@" not in host and "@" not in str(parts.get("dbname", "")) and port.replace(",", "").isdigit():
            return {"host": host, "port": port}
    return None


def unreachable(url: str, error: Exception) -> UnavailableError:
    """The error for a database that does not answer, with what PostgreSQL itself said."""
    if _read_url(url) is None:
        return UnavailableError(
            "cannot reach PostgreSQL: the database URL cannot be read",
            hint="percent-encode what is special in its password: @ is %40, / is %2F, : is %3A, # is %23, ? is %3F",
        )
    # libpq ends with a question of its own below the reason; the last of the other lines tells most.
    said = [line.strip() for line in str(error).splitlines() if not line.startswith("\tIs the server")]
    reason = next((line for line in reversed(said) if line), type(error).__name__)
    return UnavailableError(
        f"cannot reach PostgreSQL at {endpoint_of(url)}: {_without_secret(url, reason)}",
        hint="start it, or correct DATABASE_URL (postgresql://user:password@host:5432/database)",
    )


def _without_secret(url: str, text: str) -> str:
    with suppress(psycopg.ProgrammingError):
        password = conninfo_to_dict(url).get("password")
        # A short one would blank out ordinary words, and so give itself away; messages hold it only within the URL.
        if password and len(str(password)) >= _TELLING:
            text = text.replace(str(password), "****")
    return text.replace(url, "****")
