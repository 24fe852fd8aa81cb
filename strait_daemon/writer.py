"""The one writer of transitions: starts, finishes, retries and releases gather into fenced batches.

A move is never dropped: while the database is away its batch waits and is sent again, and the fence (status, attempt,
lease) makes the second sending harmless. Only the database's own verdict answers a waiter: True = the move happened,
False = the run had been taken away (cancelled, reaped) and nothing changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, TypeAlias
from uuid import UUID

import structlog

from strait_core.errors import StraitError
from strait_core.store import completions, history, limits, parking, queue, runs, workflow_runs
from strait_core.store.faults import BadData, Clash, Held, MissingPartition, Refused
from strait_core.store.pool import Conn, swift_transaction
from strait_core.store.queue import Accept, Finish, Release, Retry, Start
from strait_core.store.verdict import Verdict
from strait_core.store.workflow_finishes import finish_steps
from strait_core.store.workflow_live import Brought
from strait_daemon.announcer import Announcer
from strait_daemon.clock import Clock
from strait_daemon.gather import LATER, Answered, Gatherer
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
    """Writes moves of live attempts in batches; whatever has come of one is announced after its commit."""

    def __init__(
        self,
        line: Line,
        clock: Clock,
        announcer: Announcer,
        *,
        linger_secs: float = LINGER_SECS,
        steps: TransitionWriter | None = None,
    ) -> None:
        self._line = line
        # Who writes the ends of steps, over a connection of his own: from one of them much may follow, and it may have
        # to wait for whoever holds its workflow run. None = this one.
        self._steps = steps
        # Workflow runs that somebody else was seen to hold.
        self._held: set[UUID] = set()
        self._clock = clock
        self._announcer = announcer
        self._gatherer: Gatherer[Move, bool] = Gatherer(self._flush, _weight, linger_secs=linger_secs)

    def write(self, move: Move) -> asyncio.Future[bool]:
        """Put a move into the next batch; True once it has committed, False when the run was no longer held.

        Raises what the database said of a move that it refuses for its data.
        """
        if self._steps is not None and _ends_step(move):
            return self._steps.write(move)
        return self._gatherer.add(move)

    def post(self, moves: Sequence[Move], answered: Answered[bool]) -> None:
        """Put moves (at most 500) into the next batch; `answered` hears what `write` would give for each of them."""
        if self._steps is not None and any(map(_ends_step, moves)):
            self._steps.post(moves, answered)
        else:
            self._gatherer.post(moves, answered)

    async def settle(self) -> None:
        """Wait until everything that was given has been written."""
        await self._gatherer.settle()
        if self._steps is not None:
            await self._steps.settle()

    async def close(self) -> None:
        """Give up what has not been written, and the connection."""
        await self._gatherer.abandon()
        await self._line.drop()
        if self._steps is not None:
            await self._steps.close()

    async def _flush(self, moves: list[Move]) -> list[bool | Exception]:
        answers: list[bool | Exception] = [False] * len(moves)
        for part in [group for turn in _apart(moves) for group in _steps_apart(moves, turn)]:
            for at, answer in zip(part, await self._answers([moves[at] for at in part]), strict=True):
                answers[at] = answer
        return answers

    async def _answers(self, moves: Sequence[Move]) -> list[bool | Exception]:
        """The answers to moves of different runs."""
        verdict = await self._until_answered(moves)
        if len(verdict.held) == len(moves):
            self._announce([move.id for move in moves], verdict)
            return [True] * len(moves)
        self._announce([move.id for move in moves if move.id in verdict.held], verdict)
        return [
            LATER if move.id in verdict.later else verdict.refused.get(move.id) or move.id in verdict.held
            for move in moves
        ]

    def _announce(self, moved: Sequence[UUID], verdict: Verdict) -> None:
        if moved:
            self._announcer.moved(moved)
        if verdict.started:
            self._announcer.made(verdict.started)
        if verdict.resumed:
            self._announcer.resumed(verdict.resumed)
        if verdict.freed:
            self._announcer.freed({slot.lane for slot in verdict.freed})
        if verdict.brought is not None:
            self._announcer.brought(verdict.brought)

    async def _until_answered(self, moves: Sequence[Move], tries: int = 0) -> Verdict:
        """Send a batch until the database has answered for each move.

        Only what the database says of the data counts as an answer. Whatever it says of itself (going down, read-only,
        out of disk or of rights) is waited out. `tries` counts earlier sendings, which may have committed unheard.
        """
        partitions_missing = partitions_made = False
        while True:
            limit = asyncio.timeout(FLUSH_SECS)
            try:
                async with limit:
                    if partitions_missing:
                        await self._make_partitions()
                        partitions_missing, partitions_made = False, True
                    verdict = await self._send(moves)
                    if tries:
                        verdict.held |= await self._started_unheard(moves, verdict.held)
                    return verdict
            except Clash as error:
                log.debug("moves_clashed", moves=len(moves))
                if _of_several_flows(moves):
                    return await self._split(moves, error, tries)
            except Held:
                # The others need not wait for whoever that is: see `_finish_steps`.
                self._held |= {move.workflow_run_id for move in moves if type(move) is Finish and move.workflow_run_id}
            except BadData as error:
                if partitions_made or not isinstance(error, MissingPartition):
                    return await self._split(moves, error, tries)
                partitions_missing = True
            except (Refused, StraitError, TimeoutError, OSError) as error:
                await self._line.drop()
                log.warning("moves_wait", moves=len(moves), error=f"{type(error).__name__}: {error}")
                # Whatever the driver says of a statement that it was told to leave.
                if limit.expired() and _of_several_flows(moves):
                    return await self._split(moves, error, tries)
                await asyncio.sleep(_BACKOFF_SECS[min(tries, len(_BACKOFF_SECS) - 1)])
            except Exception as error:  # noqa: BLE001 - a move that cannot even be sent
                return await self._split(moves, error, tries)
            tries += 1

    async def _split(self, moves: Sequence[Move], error: Exception, tries: int) -> Verdict:
        """A batch refused for its data is halved until the row is alone; only that row's waiter hears of it."""
        if len(moves) == 1:
            move = moves[0]
            if type(move) is Finish and move.workflow_run_id is not None:
                return await self._end_flow(move, move.workflow_run_id, error)
            return Verdict(refused={moves[0].id: error})
        middle = len(moves) // 2
        first = await self._until_answered(moves[:middle], tries)
        return first.add(await self._until_answered(moves[middle:], tries))

    async def _send(self, moves: Sequence[Move]) -> Verdict:
        """One statement for each kind of move that the batch holds, in one transaction."""
        conn = await self._line.conn()
        now = self._clock.now()
        verdict = Verdict()
        if _ends_step(moves[0]):
            await self._finish_steps(conn, [move for move in moves if isinstance(move, Finish)], now, verdict)
            return verdict
        parts = [(kind, [m for m in moves if type(m) is kind]) for kind in _STATEMENTS]
        parts = [(kind, items) for kind, items in parts if items]
        if follows := [move.id for move in moves if type(move) is Finish and move.follow]:
            async with conn.transaction():
                await parking.end_tied_into(conn, await self._write(conn, parts, now, verdict), now, verdict)
                if ended := [run_id for run_id in follows if run_id in verdict.held]:
                    verdict.brought = Brought()
                    verdict.started += await completions.follow(conn, ended, now, verdict.brought)
                # Last, and all together: whoever frees slots takes their lanes in one order.
                await limits.free(conn, verdict.freed)
            return verdict
        noted = 0
        if len(parts) == 1 and not any(map(_frees, moves)):
            passed_over = await self._write(conn, parts, now, verdict)
        else:
            async with swift_transaction(conn):
                passed_over = await self._write(conn, parts, now, verdict)
                await limits.free(conn, verdict.freed)
            noted = len(verdict.freed)
        await parking.end_tied_into(conn, passed_over, now, verdict)
        # Attempts that were given their slots later, while they were live.
        await limits.free(conn, verdict.freed[noted:])
        return verdict

    async def _finish_steps(self, conn: Conn, moves: Sequence[Finish], now: datetime, verdict: Verdict) -> None:
        """End steps; those of a workflow run that somebody else holds come later, so that no other has to wait."""
        flows = {move.workflow_run_id for move in moves if move.workflow_run_id is not None}
        if self._held.isdisjoint(flows):
            await finish_steps(conn, moves, now, verdict)
            return
        await finish_steps(conn, moves, now, verdict, free_only=True)
        self._held -= flows
        self._held |= {move.workflow_run_id for move in moves if move.id in verdict.later and move.workflow_run_id}

    async def _end_flow(self, move: Finish, workflow_run_id: UUID, error: Exception) -> Verdict:
        """The end of a step from which nothing can follow, by a fault of ours: its workflow run fails.

        So neither of the two waits for ever. What is wrong with the move itself is said once more.
        """
        log.error("workflow_run_failed", workflow_run=str(workflow_run_id), error=f"{type(error).__name__}: {error}")
        verdict = Verdict(brought=Brought())
        try:
            conn, now = await self._line.conn(), self._clock.now()
            async with asyncio.timeout(FLUSH_SECS), conn.transaction():
                await parking.end_tied_into(
                    conn, await self._write(conn, [(Finish, [move])], now, verdict), now, verdict
                )
                if move.id in verdict.held and verdict.brought is not None:
                    said = f"system: {type(error).__name__}: {error}"
                    await workflow_runs.give_up(conn, workflow_run_id, said, now, verdict.brought)
                await limits.free(conn, verdict.freed)
        except Exception as again:  # noqa: BLE001 - then its waiter hears of it
            await self._line.drop()
            return Verdict(refused={move.id: again})
        return verdict

    async def _write(self, conn: Conn, parts: _Parts, now: datetime, verdict: Verdict) -> list[Finish | Retry]:
        """Run the statement of each kind; the endings that it has passed over."""
        passed_over: list[Finish | Retry] = []
        for kind, items in parts:
            held = await _STATEMENTS[kind](conn, items, now, verdict.freed)
            verdict.held |= held
            if len(held) < len(items) and kind in _ENDINGS:
                passed_over += [m for m in items if m.id not in held and isinstance(m, Finish | Retry)]
        return passed_over

    async def _started_unheard(self, moves: Sequence[Move], held: set[UUID]) -> set[UUID]:
        """Starts that had committed before their answer was lost: the lease tells that they are ours."""
        doubtful = [(m.id, m.lease) for m in moves if type(m) is Start and m.id not in held]
        return await runs.still_held(await self._line.conn(), doubtful) if doubtful else set()

    async def _make_partitions(self) -> None:
        """A move fell into a week that retention has not prepared."""
        conn = await self._line.conn()
        async with conn.transaction():
            await history.ensure_partitions(conn, self._clock.now())


_Parts: TypeAlias = Sequence[tuple[type[Move], Sequence[Move]]]
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


def _ends_step(move: Move) -> bool:
    """Whether the move ends a step of a workflow run, and with it perhaps much more."""
    return type(move) is Finish and move.workflow_run_id is not None


def _of_several_flows(moves: Sequence[Move]) -> bool:
    """Whether the moves end steps of more than one workflow run: in smaller parts they hold, and do, less at a time."""
    return len({move.workflow_run_id for move in moves if type(move) is Finish}) > 1


def _steps_apart(moves: Sequence[Move], part: Sequence[int]) -> list[Sequence[int]]:
    """Places of a part: first those of no workflow run, then those that end steps.

    So what goes wrong in a workflow run touches nothing but other workflow runs, and these only until the batch has
    been halved often enough.
    """
    steps = [at for at in part if _ends_step(moves[at])]
    if not steps or len(steps) == len(part):
        return [part]
    return [[at for at in part if not _ends_step(moves[at])], steps]
