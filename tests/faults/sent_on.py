"""Daemons that send the feed of changes on, and what must have come of it: to a real Redis, to a real receiver."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import msgspec
import psycopg
import redis

from strait_core.store.changes import Place
from tests.support.endpoint import Endpoint
from tests.support.waiting import eventually

# Whoever takes over from a dead process waits for two seconds instead of thirty.
_SHORT: Final = "from datetime import timedelta as t; from strait_daemon.services import relay as r; r.LEASE, r._ENOUGH = t(seconds=2), t(seconds=1); from strait_daemon.__main__ import main; main()"
COMMAND: Final = (sys.executable, "-c", _SHORT, "serve")
STREAM: Final = "changes-of-a-fault"


@dataclass
class SentOn:
    """Both sinks, from the other side."""

    receiver: Endpoint
    redis_url: str
    # What the first so many calls said.
    _heard: list[str] = field(default_factory=list)
    _calls: int = 0

    @property
    def settings(self) -> dict[str, str]:
        """What a daemon is told."""
        return {
            "REDIS_URL": self.redis_url,
            "CHANGES_REDIS_STREAM": STREAM,
            "CHANGES_WEBHOOK_URL": self.receiver.url("/empty"),
            "CHANGES_WEBHOOK_SECRET": "k" * 32,
        }

    def posted(self) -> list[str]:
        """The cursors that the receiver got, each where it came first."""
        fresh = self.receiver.calls[self._calls :]
        self._calls += len(fresh)
        told = [one["cursor"] for call in fresh for one in call.json["data"]["changes"]]
        self._heard = list(dict.fromkeys(self._heard + told)) if told else self._heard
        return self._heard

    def added(self) -> list[str]:
        """The cursors in the stream."""
        with redis.Redis.from_url(self.redis_url) as client:
            rows: Any = client.xrange(STREAM)
        return [msgspec.json.decode(fields[b"change"])["cursor"] for _, fields in rows]

    def expect_everything(self, database: str) -> None:
        """Neither left anything out, or told it out of order; the stream holds nothing twice."""
        told = cursors(database)
        for sent in (self.posted, self.added):
            # However much is left: more of it comes all the time.
            while (seen := sent())[-1:] != told[-1:]:
                eventually(partial(_has_grown, sent, len(seen)), 30, lambda: f"a sink stands still, of {len(told)}")
            # A sink begins when the first daemon does: the job may have been there before.
            assert sent() == told[-len(sent()) :]
            assert len(sent()) >= len(told) - 1


def _has_grown(sent: Callable[[], list[str]], from_count: int) -> bool:
    return len(sent()) > from_count


def cursors(database: str) -> list[str]:
    """Of all that the feed holds, in its order; everything must have been published."""
    with psycopg.connect(database, autocommit=True) as conn:
        eventually(lambda: conn.execute("SELECT count(*) FROM strait.stats_deltas").fetchone() == (0,))
        rows = conn.execute("SELECT position, cardinality(ids) FROM strait.changes ORDER BY position").fetchall()
    return [Place(position, entry).cursor for position, count in rows for entry in range(1, count + 1)]
