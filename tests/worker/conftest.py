"""A running worker with everything around it but the HTTP server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.rig import Rig, running


@pytest_asyncio.fixture
async def rig(migrated: str) -> AsyncIterator[Rig]:
    """A rig on the test's own database, checked at the end for whatever must hold of any database."""
    async with running(migrated) as made:
        yield made
        await made.stop()
        await made.check()
