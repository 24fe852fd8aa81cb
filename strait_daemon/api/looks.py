"""What all live streams of this process read of runs: together, whatever is wanted when a read begins.

A crowd is read at a beat, so that moves that follow one another closely are one look, and many runs one statement. Who
waits for the same beat shares a read: a run that several want is read once. Whole runs, which may be large, are read
apart, and hold up nobody who only wants to know what has moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, Final, Generic, TypeAlias, TypeVar
from uuid import UUID

from strait_core.store import logs, runs, watch
from strait_core.store.pool import Conn, Pool
from strait_core.store.watch import Course, Head

Look: TypeAlias = "tuple[Head, Course]"
Row: TypeAlias = "dict[str, Any]"
# Names runs once the read begins.
Wanted: TypeAlias = "Callable[[], Collection[UUID]]"
Snapshots: TypeAlias = "dict[UUID, asyncio.Future[Row | None]]"
R = TypeVar("R")
T = TypeVar("T")
# The longest time between two beats, and what each open stream adds to it: a few wait for nothing that could be felt.
BEAT_SECS: Final = 0.1
_EACH_SECS: Final = 0.000_05
# Who collects until a beat asks a little ahead of it, lest the read begins without him.
_AHEAD_SECS: Final = 0.003
# The beat of who listens to all runs, however few there are.
_ALL_SECS: Final = 0.05
# How long a read waits for a connection, and how long it may take in all.
_POOL_SECS: Final = 3.0
_READ_SECS: Final = 10.0
# Runs of one statement; whole ones come with payload and result.
_BATCH: Final = 500
_WHOLE_BATCH: Final = 20


class _Reads(Generic[R, T]):
    """Reads that follow one another, at beats: each brings what was asked for (`R`) before it began."""

    def __init__(self, none: Callable[[], R], read: Callable[[R], Awaitable[T]]) -> None:
        self._none = none
        self._read = read
        # What the next read is to bring.
        self.asked = none()
        self._next: asyncio.Task[T] | None = None
        self._turn = asyncio.Lock()

    def begin(self, beat_secs: float) -> asyncio.Task[T]:
        """The next read; whoever asks first sets its time."""
        if self._next is None or self._next.done():
            self._next = asyncio.create_task(self._at(beat_secs), name="looks")
            # Nobody may be left to hear of its failure.
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._next

    async def _at(self, beat_secs: float) -> T:
        async with self._turn:
            await asyncio.sleep(beat_secs - monotonic() % beat_secs if beat_secs else 0)
            # Who asks from here on wants to know of what happens from here on.
            this, self.asked, self._next = self.asked, self._none(), None
            return await self._read(this)


class Looks:
    """The reader of one process."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._courses: _Reads[list[Wanted], Mapping[UUID, Look]] = _Reads(list, self._read_courses)
        self._snapshots: _Reads[Snapshots, None] = _Reads(dict, self._read_snapshots)

    async def at(self, run_id: UUID, crowd: int) -> Look | None:
        """Where a run stands and how it came there, None when there is no such run; `crowd` streams are open."""
        return (await self.all(lambda: (run_id,), _beat(crowd))).get(run_id)

    async def all(self, wanted: Wanted, beat_secs: float = 0.0) -> Mapping[UUID, Look]:
        """The same of all runs that `wanted` names when the read begins, at the next beat; those that there are."""
        self._courses.asked.append(wanted)
        # A caller who goes must not end the read of the others.
        return await asyncio.shield(self._courses.begin(beat_secs))

    async def snapshot(self, run_id: UUID, crowd: int) -> Row | None:
        """A whole run as it stands, None when there is no such run."""
        found = self._snapshots.asked.setdefault(run_id, asyncio.get_running_loop().create_future())
        _ = self._snapshots.begin(_beat(crowd))
        return await asyncio.shield(found)

    async def eve(self, crowd: int) -> None:
        """Wait until shortly before the beat of who listens to all; beside a crowd it is the crowd's."""
        beat = max(_ALL_SECS, _beat(crowd))
        await asyncio.sleep(beat - (monotonic() + _AHEAD_SECS) % beat)

    async def lines(self, run_id: UUID, after: int, limit: int) -> list[Row]:
        """Log lines of a run behind that number."""
        async with asyncio.timeout(_READ_SECS), self._pool.connection(_POOL_SECS) as conn:
            return await logs.lines(conn, run_id, after=after, limit=limit)

    async def _read_courses(self, wanted: list[Wanted]) -> Mapping[UUID, Look]:
        async with asyncio.timeout(_READ_SECS), self._pool.connection(_POOL_SECS) as conn:
            return await _courses(conn, list({run_id: None for want in wanted for run_id in want()}))

    async def _read_snapshots(self, wanted: Snapshots) -> None:
        try:
            async with asyncio.timeout(_READ_SECS), self._pool.connection(_POOL_SECS) as conn:
                await _hand_out(conn, wanted)
        except BaseException as error:
            _fail(wanted.values(), error)
            raise


async def _courses(conn: Conn, run_ids: Sequence[UUID]) -> Mapping[UUID, Look]:
    looks: dict[UUID, Look] = {}
    for at in range(0, len(run_ids), _BATCH):
        looks |= await watch.looks(conn, run_ids[at : at + _BATCH])
    return looks


async def _hand_out(conn: Conn, snapshots: Snapshots) -> None:
    """Read whole runs a few at a time, and let go of each as it is handed over: together they might fill the memory."""
    wanted = list(snapshots)
    for at in range(0, len(wanted), _WHOLE_BATCH):
        part = wanted[at : at + _WHOLE_BATCH]
        found = await runs.get_runs(conn, part)
        for run_id in part:
            future = snapshots.pop(run_id)
            if not future.done():
                future.set_result(found.pop(run_id, None))


def _fail(snapshots: Iterable[asyncio.Future[Row | None]], error: BaseException) -> None:
    """Tell those who still wait for a snapshot."""
    for future in snapshots:
        if future.done():
            continue
        if isinstance(error, Exception):
            future.set_exception(error)
            # Nobody may be left to hear of it.
            future.exception()
        else:
            future.cancel()


def _beat(crowd: int) -> float:
    return min(crowd * _EACH_SECS, BEAT_SECS) if crowd > 1 else 0.0
