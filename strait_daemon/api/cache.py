"""Jobs for the hot path, at most a second old; the insert checks again what may have changed since."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

from strait_core.store.jobs import StoredJob

KEPT_SECS: Final = 1.0
MOST_JOBS: Final = 4_096

Key = tuple[str, str | None]


class JobCache:
    """Jobs by (id or slug, project); concurrent misses of one key share one load. Errors are not kept."""

    def __init__(self, load: Callable[[str, str | None], Awaitable[StoredJob]]) -> None:
        self._load = load
        self._jobs: dict[Key, tuple[float, StoredJob]] = {}
        self._loading: dict[Key, asyncio.Task[StoredJob]] = {}

    async def find(self, ref: str, project: str | None) -> StoredJob:
        """The job, from here when it was loaded less than a second ago."""
        key = (ref, project)
        kept = self._jobs.get(key)
        if kept is not None and monotonic() - kept[0] < KEPT_SECS:
            return kept[1]
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._fetch(key), name="load-job")
        return await asyncio.shield(task)

    async def _fetch(self, key: Key) -> StoredJob:
        task = asyncio.current_task()
        asked = monotonic()
        try:
            job = await self._load(*key)
            if self._loading.get(key) is task:
                if len(self._jobs) >= MOST_JOBS:
                    self._jobs.clear()
                self._jobs[key] = (asked, job)
            return job
        finally:
            if self._loading.get(key) is task:
                del self._loading[key]

    def forget(self) -> None:
        """Something about some job has changed here: load anew, and keep nothing of what is being loaded now."""
        self._jobs.clear()
        self._loading.clear()
