"""Migrated PostgreSQL databases and the scenes in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from strait_daemon.embedded import PostgresServer
from tests.store.kept import Kept
from tests.store.scene import Scene
from tests.support.postgres import create_database, drop_database, unique_name


@pytest.fixture(scope="session")
def shared_url(postgres_server: PostgresServer, template: str) -> str:
    """The URL of a migrated database whose rows, not whose tables, are each test's own."""
    return create_database(postgres_server, unique_name(), template)


@pytest.fixture
def own_url(postgres_server: PostgresServer, template: str) -> Iterator[str]:
    """The URL of a migrated database that is the test's own."""
    name = unique_name()
    yield create_database(postgres_server, name, template)
    drop_database(postgres_server, name)


@pytest.fixture(scope="session")
def kept(shared_url: str) -> Iterator[Kept]:
    """The connections of all scenes."""
    kept = Kept(shared_url)
    yield kept
    kept.finish()


@pytest_asyncio.fixture
async def scene(shared_url: str, kept: Kept) -> AsyncIterator[Scene]:
    """A scene without any rows."""
    made = await Scene.open(shared_url, kept)
    await made.clear()
    yield made
    await made.close()


@pytest_asyncio.fixture
async def own_scene(own_url: str) -> AsyncIterator[Scene]:
    """A scene in a database of its own, for tests that make or drop tables."""
    made = await Scene.open(own_url)
    yield made
    await made.close()
