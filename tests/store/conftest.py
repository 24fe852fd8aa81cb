"""A migrated PostgreSQL database for each test, and a scene in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from strait_core.store import migrate, pool
from strait_daemon.embedded import PostgresServer
from tests.store.scene import NOW, Scene
from tests.support.postgres import create_database, drop_database, unique_name


@pytest.fixture(scope="session")
def template(postgres_server: PostgresServer) -> str:
    """The name of a migrated database that nobody is connected to."""
    name = unique_name()
    asyncio.run(_migrate(create_database(postgres_server, name)))
    return name


async def _migrate(url: str) -> None:
    conn = await pool.connect(url)
    await migrate.up(conn, NOW)
    await conn.close()


@pytest.fixture
def store_url(postgres_server: PostgresServer, template: str) -> Iterator[str]:
    """The URL of a migrated database that is the test's own."""
    name = unique_name()
    yield create_database(postgres_server, name, template)
    drop_database(postgres_server, name)


@pytest_asyncio.fixture
async def scene(store_url: str) -> AsyncIterator[Scene]:
    """A scene on that database; connections it opens are closed with it."""
    made = await Scene.open(store_url)
    yield made
    await made.close()
