"""What all streams of single runs read: whatever is asked for while another look is under way is read together.

A crowd is read at a beat, so that moves that follow one another closely are one look, and many runs one statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final, TypeAlias
from uuid import UUID

from strait_core.store import logs, watch
from strait_core.store.pool import Pool
from strait_core.store.watch import Course, Head
from strait_daemon.gather import Gatherer

Look: TypeAlias = "tuple[Head, Course] | None"
# The longest time between two beats, and what each open stream adds to it: a few wait for nothing that could be felt.
BEAT_SECS: Final = 0.05
_EACH_SECS: Final = 0.000_05
_READ_SECS: Final = 10.0


class Looks:
    """The reader of one process."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._gatherer: Gatherer[UUID, Look] = Gatherer(self._read, lambda _run_id: 0)

    async def at(self, run_id: UUID, crowd: int) -> Look:
        """Where a run stands and how it came there, None when there is no such run; `crowd` streams are open."""
        beat = min(crowd * _EACH_SECS, BEAT_SECS)
        # All who wait wake at the same instant.
        await asyncio.sleep(beat - monotonic() % beat if crowd > 1 else 0)
        return await self._gatherer.add(run_id)

    async def lines(self, run_id: UUID, after: int, limit: int) -> list[dict[str, Any]]:
        """Log lines of a run behind that number."""
        async with asyncio.timeout(_READ_SECS), self._pool.connection() as conn:
            return await logs.lines(conn, run_id, after=after, limit=limit)

    async def _read(self, run_ids: Sequence[UUID]) -> list[Look | Exception]:
        async with asyncio.timeout(_READ_SECS), self._pool.connection() as conn:
            found = await watch.looks(conn, run_ids)
        return [found.get(run_id) for run_id in run_ids]
