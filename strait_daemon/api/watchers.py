"""The net below the live signals: one statement every two seconds looks after every run that is being watched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final
from uuid import UUID

from strait_core.errors import UnavailableError
from strait_core.store import watch
from strait_core.store.faults import Broken
from strait_core.store.pool import Pool
from strait_daemon.api.sse import KEEP_ALIVE_SECS
from strait_daemon.bus import Bell, Bus
from strait_daemon.closing import Closing

LOOK_SECS: Final = 2.0
# How often it is looked for streams that ought to say that they are alive.
ALIVE_SECS: Final = 1.0
# Ids per statement.
BATCH: Final = 1_000
# Streams of single runs that one process keeps open; who comes then is asked to come back.
MOST: Final = 5_000
RETRY_SECS: Final = 5.0


@dataclass(eq=False, slots=True)
class Watch:
    """One stream's eye on a run: `moved` says that it may be worth a look, `seen` the last move and note seen.

    `told_at`: when the stream last said something (monotonic seconds).
    """

    run_id: UUID
    moved: Bell
    seen: tuple[int, int] = (0, 0)
    told_at: float = field(default_factory=monotonic)

    async def wait(self) -> bool:
        """Wait until the run may have moved or the server closes, or it is time for a sign of life (False)."""
        # Bounded by `Watchers`, which wakes its eyes in time: two thousand timers for this would cost more than looks.
        await self.moved.wait()
        is_news = self.moved.is_news
        self.moved.clear()
        if not is_news:
            self.told()
        return is_news

    def told(self) -> None:
        """The stream says something."""
        self.told_at = monotonic()


class Watchers:
    """The open streams of this process."""

    def __init__(self, pool: Pool, bus: Bus, closing: Closing, log: Any) -> None:
        self._pool = pool
        self._bus = bus
        self._closing = closing
        self._log = log
        self._watches: set[Watch] = set()
        self._looking: asyncio.Task[None] | None = None
        self._waking: asyncio.Task[None] | None = None

    @contextmanager
    def watch(self, run_id: UUID) -> Iterator[Watch]:
        """Watch a run: signals set `moved`, and so does every look that finds another move or note."""
        with self._bus.watch(run_id) as moved, self._closing.ringing(moved):
            eye = Watch(run_id, moved)
            self._watches.add(eye)
            self._looking = _going(self._looking, self._look_often, "watch-runs")
            self._waking = _going(self._waking, self._keep_alive, "keep-alive")
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
            await asyncio.sleep(LOOK_SECS)
            if not self._watches:
                return
            try:
                async with asyncio.timeout(LOOK_SECS * 5):
                    await self._look()
            except (*Broken, TimeoutError) as error:
                # The next look, or a signal, makes up for this one.
                self._log.debug("watch_missed", error=type(error).__name__)

    async def _keep_alive(self) -> None:
        """Wake the streams that have said nothing for long, unless they are woken for more; as long as there are any.

        Apart from the looks, which an absent database holds up.
        """
        while self._watches:
            await asyncio.sleep(ALIVE_SECS)
            due = monotonic() - KEEP_ALIVE_SECS + ALIVE_SECS
            for eye in self._watches:
                if eye.told_at <= due:
                    eye.moved.nudge()

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


def _going(
    task: asyncio.Task[None] | None, work: Callable[[], Coroutine[Any, Any, None]], name: str
) -> asyncio.Task[None]:
    """The task of some work, begun anew when it is not under way."""
    return task if task is not None and not task.done() else asyncio.create_task(work(), name=name)
