"""The net below the live signals: one statement every two seconds looks after every run that is being watched."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from strait_core.errors import UnavailableError
from strait_core.store import watch
from strait_core.store.faults import Broken
from strait_core.store.pool import Pool
from strait_daemon.bus import Bus

LOOK_SECS: Final = 2.0
# Ids per statement.
BATCH: Final = 1_000
# Streams of single runs that one process keeps open; who comes then is asked to come back.
MOST: Final = 5_000
RETRY_SECS: Final = 5.0


@dataclass(eq=False, slots=True)
class Watch:
    """One stream's eye on a run: `moved` says that it may be worth a look, `seen` the last move and note seen."""

    run_id: UUID
    moved: asyncio.Event
    seen: tuple[int, int] = (0, 0)


class Watchers:
    """The open streams of this process."""

    def __init__(self, pool: Pool, bus: Bus, closing: asyncio.Event, log: Any) -> None:
        self._pool = pool
        self._bus = bus
        self._closing = closing
        self._log = log
        self._watches: set[Watch] = set()
        self._looking: asyncio.Task[None] | None = None

    @contextmanager
    def watch(self, run_id: UUID) -> Iterator[Watch]:
        """Watch a run: signals set `moved`, and so does every look that finds another move or note."""
        with self._bus.watch(run_id) as moved:
            eye = Watch(run_id, moved)
            self._watches.add(eye)
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look_often(), name="watch-runs")
            try:
                yield eye
            finally:
                self._watches.discard(eye)

    @property
    def count(self) -> int:
        """How many streams are open."""
        return len(self._watches)

    def check_room(self) -> None:
        """Raise UnavailableError when no further stream may be opened here."""
        if len(self._watches) >= MOST:
            raise UnavailableError(f"{MOST} streams are open in this process", retry_after=RETRY_SECS)

    async def _look_often(self) -> None:
        """Runs as long as anybody watches."""
        while True:
            await self._rest()
            if not self._watches:
                return
            try:
                async with asyncio.timeout(LOOK_SECS * 5):
                    await self._look()
            except (*Broken, TimeoutError) as error:
                # The next look, or a signal, makes up for this one.
                self._log.debug("watch_missed", error=type(error).__name__)

    async def _rest(self) -> None:
        """Until the next look; when the server closes, every stream is told so at once."""
        if self._closing.is_set():
            await asyncio.sleep(LOOK_SECS)
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECS):
                    await self._closing.wait()
        if self._closing.is_set():
            for eye in self._watches:
                eye.moved.set()

    async def _look(self) -> None:
        eyes = list(self._watches)
        for at in range(0, len(eyes), BATCH):
            await self._compare(eyes[at : at + BATCH])

    async def _compare(self, eyes: Sequence[Watch]) -> None:
        async with self._pool.connection() as conn:
            seqs = await watch.seqs(conn, list({eye.run_id for eye in eyes}))
        for eye in eyes:
            if seqs.get(eye.run_id) != eye.seen:
                eye.moved.set()
