"""What a handler is called with besides the request: the parts, and what lives as long as the app."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from strait_core.store.pool import Conn
from strait_daemon.api.cache import JobCache
from strait_daemon.api.deps import Deps
from strait_daemon.api.feed import Feed
from strait_daemon.api.judges import Judges
from strait_daemon.api.looks import Looks
from strait_daemon.api.tail import Tail
from strait_daemon.api.watchers import Watchers

POOL_SECS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Api:
    """The parts, the jobs at hand and the open streams."""

    deps: Deps
    jobs: JobCache
    watchers: Watchers
    looks: Looks
    feed: Feed
    tail: Tail
    judges: Judges = field(default_factory=Judges)
    # Per project that has a budget: when it was looked at, and until when it may spend no more.
    purses: dict[str, tuple[float, datetime | None]] = field(default_factory=dict)

    def connection(self) -> AbstractAsyncContextManager[Conn]:
        """A connection for one request; a database that gives none for three seconds is away."""
        return self.deps.pool.connection(timeout=POOL_SECS)
