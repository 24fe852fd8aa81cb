"""Services ticked by hand, on a virtual clock and a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.services.stage import Stage


@pytest_asyncio.fixture
async def stage(migrated: str) -> AsyncIterator[Stage]:
    """A scene with a pool, a writer and a clock of its own."""
    async with Stage.open(migrated) as made:
        yield made
