"""What a service needs, real but for the clock; the words for what happens to runs come from the store's scene."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from strait_core.store import workers
from strait_core.store.pool import Pool, make_pool
from strait_core.store.workers import WorkerRow
from strait_daemon.announcer import Announcer
from strait_daemon.bus import Bus
from strait_daemon.line import Line
from strait_daemon.services.accountant import Accountant
from strait_daemon.services.reaper import Reaper
from strait_daemon.services.retention import Retention
from strait_daemon.services.stager import Stager
from strait_daemon.telemetry import Metrics
from strait_daemon.writer import TransitionWriter
from tests.store.scene import Scene
from tests.support.clock import VirtualClock


class Silent:
    """A transport with nobody at its other end."""

    async def send(self, text: str) -> None:
        pass

    async def listen(self) -> AsyncIterator[str | None]:
        await asyncio.Event().wait()
        yield None

    async def close(self) -> None:
        pass


class Told(Announcer):
    """An announcer that also notes which runs have moved."""

    def __init__(self, clock: VirtualClock, moved: list[UUID]) -> None:
        super().__init__(Bus(Silent()), clock, Metrics())
        self._moved = moved

    def moved(self, ids: Collection[UUID]) -> None:
        self._moved.extend(ids)
        super().moved(ids)


@dataclass
class Stage:
    """A scene, and the parts around it."""

    scene: Scene
    pool: Pool
    writer: TransitionWriter
    clock: VirtualClock
    changed: list[UUID] = field(default_factory=list)
    woken: int = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Stage]:
        clock = VirtualClock()
        scene = await Scene.open(url)
        scene.now = clock.at
        changed: list[UUID] = []
        pool = make_pool(url, pooled=False, most=4)
        await pool.open(wait=True)
        writer = TransitionWriter(Line(url, pooled=False), clock, Told(clock, changed))
        try:
            yield cls(scene, pool, writer, clock, changed)
        finally:
            await writer.close()
            await pool.close()
            await scene.close()

    def later(self, **length: float) -> None:
        """Let time pass, for the services and for the scene."""
        self.scene.now = self.clock.advance(**length)

    def wake(self) -> None:
        self.woken += 1

    def noted(self, ids: Sequence[UUID]) -> None:
        self.changed.extend(ids)

    def stager(self) -> Stager:
        return Stager(self.pool, self.clock, self.wake, self.noted)

    def reaper(self, settle_secs: float = 0.0, stale_secs: float = 60.0) -> Reaper:
        return Reaper(
            self.pool,
            self.writer,
            self.clock,
            stale_after=timedelta(seconds=stale_secs),
            settle_secs=settle_secs,
            wake=self.wake,
            changed=self.noted,
        )

    def retention(self, short_days: int = 30, long_days: int = 90) -> Retention:
        return Retention(self.pool, self.clock, short_days=short_days, long_days=long_days)

    def accountant(self) -> Accountant:
        return Accountant(self.pool, self.clock)

    async def beat(self, worker: UUID | None = None) -> None:
        """A worker's heartbeat, now."""
        now = self.clock.now()
        row = WorkerRow(worker or self.scene.worker, "host", 1, "all", "0", 10, 0, False, now, now)
        await workers.heartbeat(self.scene.conn, row)
