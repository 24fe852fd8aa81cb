"""Relays of the tests' own: to a real Valkey and to a real endpoint, on a virtual clock and a real database."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from strait_core.address import Openings
from strait_core.store import changes, stats
from strait_core.store.changes import START, StoredChange
from strait_core.store.jobs import StoredJob
from strait_daemon.egress.client import EgressClient
from strait_daemon.egress.guard import Guard
from strait_daemon.services.relay import Relay, Sink
from strait_daemon.services.webhook_sink import WebhookSink
from tests.services.stage import Stage
from tests.support.clock import VirtualClock

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Town:
    """A stage with a job whose runs change, and relays that send that on."""

    stage: Stage
    job: StoredJob
    relays: list[Relay] = field(default_factory=list)

    @classmethod
    async def of(cls, stage: Stage) -> Town:
        made = cls(stage, await stage.scene.job())
        await made.publish()
        return made

    def relay(self, sink: Sink) -> Relay:
        """Another process that sends to a sink of that kind."""
        by = UUID(int=random.getrandbits(128))
        self.relays.append(Relay(self.stage.pool, self.stage.clock, sink, by))
        return self.relays[-1]

    async def publish(self) -> None:
        """Let the feed have what was committed."""
        while await stats.fold(self.stage.scene.conn, self.stage.scene.now):
            pass

    async def change(self, count: int) -> None:
        """So many runs are triggered, in batches of up to seven."""
        while count > 0:
            await self.stage.scene.add(self.job, min(count, 7))
            count -= 7
        await self.publish()

    async def told(self) -> list[StoredChange]:
        """All that the feed holds."""
        return await changes.page(self.stage.scene.conn, START, 10_000)

    async def drain(self, relay: Relay) -> None:
        """Tick until there is nothing left to send, or it is put off."""
        while await relay.tick() == 0.0:
            pass


@asynccontextmanager
async def posting(clock: VirtualClock, url: str, openings: Openings | None = None) -> AsyncIterator[WebhookSink]:
    """A sink that POSTs to that URL."""
    guard = Guard(Openings(private=True) if openings is None else openings)
    client = EgressClient(guard)
    try:
        yield WebhookSink(url, SECRET, (client, guard), clock, "test")
    finally:
        await client.close()
