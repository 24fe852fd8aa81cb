"""The one writer of transitions: starts, finishes, retries and releases gather into fenced batches.

A move is never dropped: while the database is away its batch waits and is sent again, and the fence (status, attempt,
lease) makes the second sending harmless. Only the database's own verdict answers a waiter: True = the move happened,
False = the run had been taken away (cancelled, reaped) and nothing changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from typing import Final, TypeAlias
from uuid import UUID

import structlog

from strait_core.errors import StraitError
from strait_core.store import completions, history, limits, parking, queue, runs
from strait_core.store.faults import BadData, Clash, MissingPartition, Refused
from strait_core.store.limits import Freed
from strait_core.store.pool import Conn
from strait_core.store.queue import Accept, Finish, Release, Retry, Start
from strait_core.trigger import NewRun
from strait_daemon.clock import Clock
from strait_daemon.gather import Answered, Gatherer
from strait_daemon.line import Line

Move: TypeAlias = Start | Finish | Retry | Accept | Release

# A statement of at most 500 rows that takes longer than this has met a database in trouble.
FLUSH_SECS: Final = 30.0
# Under load a batch costs PostgreSQL and psycopg the same for 15 endings as for 60, and nobody waits for an ending: its
# slot is free already. An idle worker's writes never linger.
LINGER_SECS: Final = 0.004
_BACKOFF_SECS: Final = (0.02, 0.1, 0.3, 1.0)

log = structlog.get_logger(__name__)


class TransitionWriter:
    """Writes moves of live attempts in batches; after the commit `changed` hears the ids of the runs that moved.

    `resumed` hears of runs that wait no more because of it.
    """

    def __init__(
        self,
        line: Line,
        clock: Clock,
        changed: Callable[[Sequence[UUID]], None],
        resumed: Callable[[Sequence[UUID]], None] = lambda _: None,
        *,
        linger_secs: float = LINGER_SECS,
    ) -> None:
        self._line = line
        self._clock = clock
        self._changed = changed
        # Runs that the endings of the batch under way have started.
        self._started: list[NewRun] = []
        self._heard: Callable[[Sequence[NewRun]], None] = lambda _: None
        self._resumed = resumed
        # Runs that wait no more because of what the batch under way has ended.
        self._going_on: list[UUID] = []
        # Lanes in which the batch under way has given up slots.
        self._freed: set[int] = set()
        self._freed_heard: Callable[[Collection[int]], None] = lambda _: None
        self._gatherer: Gatherer[Move, bool] = Gatherer(self._flush, _weight, linger_secs=linger_secs)
        self._refused: dict[UUID, Exception] = {}

    def on_started(self, heard: Callable[[Sequence[NewRun]], None]) -> None:
        """`heard` is told of the runs that endings have started, after the commit."""
        self._heard = heard

    def on_freed(self, heard: Callable[[Collection[int]], None]) -> None:
        """`heard` is told in which lanes slots have become free, after the commit."""
        self._freed_heard = heard

    def write(self, move: Move) -> asyncio.Future[bool]:
        """Put a move into the next batch; True once it has committed, False when the run was no longer held.

        Raises what the database said of a move that it refuses for its data.
        """
        return self._gatherer.add(move)

    def post(self, moves: Sequence[Move], answered: Answered[bool]) -> None:
        """Put moves (at most 500) into the next batch; `answered` hears what `write` would give for each of them."""
        self._gatherer.post(moves, answered)

    async def settle(self) -> None:
        """Wait until everything that was given has been written."""
        await self._gatherer.settle()

    async def close(self) -> None:
        """Give up what has not been written, and the connection."""
        await self._gatherer.abandon()
        await self._line.drop()

    async def _flush(self, moves: list[Move]) -> list[bool | Exception]:
        answers: list[bool | Exception] = [False] * len(moves)
        for part in _apart(moves):
            for at, answer in zip(part, await self._answers([moves[at] for at in part]), strict=True):
                answers[at] = answer
        return answers

    async def _answers(self, moves: Sequence[Move]) -> list[bool | Exception]:
        """The answers to moves of different runs."""
        held = await self._until_answered(moves)
        if len(held) == len(moves):
            self._changed([move.id for move in moves])
            self._tell()
            return [True] * len(moves)
        moved = [move.id for move in moves if move.id in held]
        if moved:
            self._changed(moved)
        self._tell()
        refused, self._refused = self._refused, {}
        return [refused.get(move.id) or move.id in held for move in moves]

    def _tell(self) -> None:
        """Tell who has to know what the batch has brought about beside its moves."""
        if self._started:
            started, self._started = self._started, []
            self._heard(started)
        if self._going_on:
            going_on, self._going_on = self._going_on, []
            self._resumed(going_on)
        if self._freed:
            freed, self._freed = self._freed, set()
            self._freed_heard(freed)

    async def _until_answered(self, moves: Sequence[Move], tries: int = 0) -> set[UUID]:
        """Send a batch until the database has answered for each move; the ids that were held.

        Only what the database says of the data counts as an answer. Whatever it says of itself (going down, read-only,
        out of disk or of rights) is waited out. `tries` counts earlier sendings, which may have committed unheard.
        """
        partitions_missing = partitions_made = False
        while True:
            try:
                async with asyncio.timeout(FLUSH_SECS):
                    if partitions_missing:
                        await self._make_partitions()
                        partitions_missing, partitions_made = False, True
                    held = await self._send(moves)
                    return held | await self._started_unheard(moves, held) if tries else held
            except Clash:
                log.debug("moves_clashed", moves=len(moves))
            except BadData as error:
                if partitions_made or not isinstance(error, MissingPartition):
                    return await self._split(moves, error, tries)
                partitions_missing = True
            except (Refused, StraitError, TimeoutError, OSError) as error:
                await self._line.drop()
                log.warning("moves_wait", moves=len(moves), error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(_BACKOFF_SECS[min(tries, len(_BACKOFF_SECS) - 1)])
            except Exception as error:  # noqa: BLE001 - a move that cannot even be sent
                return await self._split(moves, error, tries)
            tries += 1

    async def _split(self, moves: Sequence[Move], error: Exception, tries: int) -> set[UUID]:
        """A batch refused for its data is halved until the row is alone; only that row's waiter hears of it."""
        if len(moves) == 1:
            self._refused[moves[0].id] = error
            return set()
        middle = len(moves) // 2
        return await self._until_answered(moves[:middle], tries) | await self._until_answered(moves[middle:], tries)

    async def _send(self, moves: Sequence[Move]) -> set[UUID]:
        """One transaction, one statement for each kind of move that the batch holds."""
        conn = await self._line.conn()
        now = self._clock.now()
        follows = [move.id for move in moves if type(move) is Finish and move.follow]
        freed: list[Freed] = []
        if not follows and not any(map(_frees, moves)):
            held = await self._send_all(conn, moves, now, freed)
            # Attempts that were given their slots later, while they were live.
            await limits.free(conn, freed)
            self._freed.update(slot.lane for slot in freed)
            return held
        async with conn.transaction():
            held = await self._send_all(conn, moves, now, freed)
            ended = [run_id for run_id in follows if run_id in held]
            started = await completions.follow(conn, ended, now) if ended else []
            # Last, and all together: whoever frees slots takes their lanes in one order.
            await limits.free(conn, freed)
        self._started += started
        self._freed.update(slot.lane for slot in freed)
        return held

    async def _send_all(self, conn: Conn, moves: Sequence[Move], now: datetime, freed: list[Freed]) -> set[UUID]:
        parts = [(kind, [m for m in moves if type(m) is kind]) for kind in _STATEMENTS]
        parts = [(kind, items) for kind, items in parts if items]
        if len(parts) == 1:
            kind, items = parts[0]
            return await self._write(conn, kind, items, now, freed)
        held: set[UUID] = set()
        async with conn.transaction():
            for kind, items in parts:
                held |= await self._write(conn, kind, items, now, freed)
        return held

    async def _write(
        self, conn: Conn, kind: type[Move], items: Sequence[Move], now: datetime, freed: list[Freed]
    ) -> set[UUID]:
        """The statement of one kind, and the longer way for endings that it has passed over."""
        held = await _STATEMENTS[kind](conn, items, now, freed)
        if len(held) == len(items) or kind not in _ENDINGS:
            return held
        passed_over = [item for item in items if item.id not in held and isinstance(item, Finish | Retry)]
        tied = await parking.end_tied(conn, passed_over, now, freed)
        self._going_on += tied.resumed
        return held | tied.held

    async def _started_unheard(self, moves: Sequence[Move], held: set[UUID]) -> set[UUID]:
        """Starts that had committed before their answer was lost: the lease tells that they are ours."""
        doubtful = [(m.id, m.lease) for m in moves if type(m) is Start and m.id not in held]
        return await runs.still_held(await self._line.conn(), doubtful) if doubtful else set()

    async def _make_partitions(self) -> None:
        """A move fell into a week that retention has not prepared."""
        conn = await self._line.conn()
        async with conn.transaction():
            await history.ensure_partitions(conn, self._clock.now())


_Statement: TypeAlias = Callable[..., Awaitable[set[UUID]]]
# Finishes free what others wait for, so they go first.
_STATEMENTS: Final[dict[type[Move], _Statement]] = {
    Finish: queue.finish_if_held,
    Retry: queue.retry_if_held,
    Accept: queue.accept_if_held,
    Release: queue.release_if_held,
    Start: queue.start_if_held,
}
_ENDINGS: Final = (Finish, Retry)


def _frees(move: Move) -> bool:
    """Whether the move gives up a slot, so that it has more to write than its statement."""
    return not isinstance(move, Start | Accept) and move.lane != 0


def _weight(move: Move) -> int:
    if type(move) is Start:
        return 100
    return 400 + len(getattr(move, "result", None) or "") + len(getattr(move, "error", None) or "")


def _apart(moves: Sequence[Move]) -> list[Sequence[int]]:
    """Places in the batch, in parts in which no run occurs twice.

    Two moves of one run (its worker's and a reaper's, say) share a lease, so one statement or transaction could not
    tell which of them happened. In parts sent one after the other the fence lets only one through.
    """
    if len({move.id for move in moves}) == len(moves):
        return [range(len(moves))]
    parts: list[list[int]] = []
    seen: dict[UUID, int] = {}
    for at, move in enumerate(moves):
        turn = seen[move.id] = seen.get(move.id, -1) + 1
        if turn == len(parts):
            parts.append([])
        parts[turn].append(at)
    return list(parts)
