"""What must always be true of the stored runs, checked: `strait doctor --invariants` and every fault test ask here.

Most invariants are one statement that lists what breaks it. The last one replays the path of each run, rebuilt from its
attempts and rare moves, through the table of moves in `run.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

from strait_core import ids
from strait_core.path import RESCHEDULED, Closed, Move, Standing, Step, path_of
from strait_core.run import ACTIVE, TERMINAL, Event, Status, next_status
from strait_core.store import history, partitions
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("invariants")
PATH_BROKEN: Final = "path_broken"
_PATH_STATEMENTS: Final = ("path_heads", "path_attempts", "path_moves")
STATEMENTS: Final = tuple(name for name in _SQL if name not in _PATH_STATEMENTS)
MOST_EXAMPLES: Final = 10
# Runs whose path is replayed unless the caller wants more: about 60 µs each.
MOST_PATHS: Final = 100_000
_PAGE: Final = 2_000
_ENDINGS: Final = {status.value for status in TERMINAL}
# Processes read the clock a little apart.
_CLOCK_SLACK: Final = timedelta(seconds=5)
Row = dict[str, Any]
_NEWEST: Final = UUID(int=2**128 - 1)
_LISTED: Final = (
    b"SELECT count(*), array_agg(subject::text ORDER BY n) FILTER (WHERE n <= 10)"
    b" FROM (SELECT subject, row_number() OVER () AS n FROM (%s) AS found) AS numbered"
)


@dataclass(frozen=True, slots=True)
class Violation:
    """One invariant that does not hold: how many break it, and at most ten of them."""

    invariant: str
    count: int
    examples: tuple[str, ...]


async def violations(
    conn: Conn, now: datetime, *, dead_before: datetime, most_paths: int = MOST_PATHS
) -> list[Violation]:
    """Every invariant that does not hold (see `check_all`); an empty list when all is well."""
    found = await check_all(conn, now, dead_before=dead_before, most_paths=most_paths)
    return [violation for violation in found.values() if violation is not None]


async def check_all(
    conn: Conn, now: datetime, *, dead_before: datetime, most_paths: int = MOST_PATHS
) -> dict[str, Violation | None]:
    """Each invariant by its name, and how it does not hold; None when it does.

    `dead_before`: a worker last heard of before it may hold nothing (STALE_THRESHOLD and a reaper period before `now`).
    `most_paths`: of how many runs, the newest first, the path is replayed. Reads one snapshot, in a transaction of its
    own; writes nothing and waits for nobody.
    """
    values = {
        "active": [status.value for status in ACTIVE],
        "terminal": [status.value for status in TERMINAL],
        "dead_before": dead_before,
        "ahead": now + _CLOCK_SLACK,
        "now": now,
    }
    async with conn.transaction():
        await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # Whole tables are read here, whatever the session's plans are pinned to; compiling them takes longer than that.
        await conn.execute(
            "SET LOCAL enable_seqscan = on; SET LOCAL enable_mergejoin = on; SET LOCAL enable_nestloop = on;"
            " SET LOCAL jit = off"
        )
        found = {name: await _check(conn, name, values) for name in STATEMENTS}
        found[PATH_BROKEN] = await _broken_paths(conn, most_paths)
    return found


async def _check(conn: Conn, name: str, values: Mapping[str, Any]) -> Violation | None:
    cursor = await conn.execute(query(_LISTED.replace(b"%s", _SQL[name])), values)
    row = await cursor.fetchone()
    if row is None or not row[0]:
        return None
    return Violation(name, row[0], tuple(_spelled(subject) for subject in row[1]))


def _spelled(subject: str) -> str:
    """A run's id as people see it; any other text as it is."""
    try:
        return ids.spell(ids.Prefix.RUN, UUID(subject))
    except ValueError:
        return subject


async def _broken_paths(conn: Conn, most: int) -> Violation | None:
    """Replay the newest `most` paths, a page at a time."""
    values: dict[str, Any] = {"before": _NEWEST, "whole_since": await _whole_since(conn)}
    count = 0
    examples: list[str] = []
    while most > 0:
        heads = await _SQL.rows(conn, "path_heads", {**values, "limit": min(most, _PAGE)})
        if not heads:
            break
        faults = await _faults(conn, heads)
        count += len(faults)
        examples += faults[: MOST_EXAMPLES - len(examples)]
        values["before"] = heads[-1]["id"]
        most -= len(heads)
    return Violation(PATH_BROKEN, count, tuple(examples)) if count else None


async def _faults(conn: Conn, heads: Sequence[Row]) -> list[str]:
    """What is wrong with the paths of these runs, each with its run."""
    wanted = {"ids": [head["id"] for head in heads]}
    attempts: dict[UUID, list[Row]] = defaultdict(list)
    for row in await _SQL.rows(conn, "path_attempts", wanted):
        attempts[row.pop("run_id")].append(row)
    moves: dict[UUID, list[Row]] = defaultdict(list)
    for row in await _SQL.rows(conn, "path_moves", wanted):
        moves[row.pop("run_id")].append(row)
    faults: list[str] = []
    for head in heads:
        run_id = head["id"]
        try:
            fault = fault_of(
                Standing(
                    head["seq"],
                    Status(head["status"]),
                    head["attempt"],
                    head["created_at"],
                    head["scheduled_at"],
                    claimed_at=None,
                    started_at=None,
                ),
                [Closed(**row) for row in attempts[run_id]],
                [Move(**{**row, "status": Status(row["status"])}) for row in moves[run_id]],
            )
        except (KeyError, ValueError) as error:
            fault = f"cannot be read: {error}"
        if fault is not None:
            faults.append(f"{ids.spell(ids.Prefix.RUN, run_id)}: {fault}")
    return faults


async def _whole_since(conn: Conn) -> datetime:
    """From when on no row of attempts and events has been dropped: the youngest of the oldest partitions."""
    oldest = [datetime.min.replace(tzinfo=UTC)]
    for parent in ("attempts", "run_events"):
        for keep in (history.SHORT, history.LONG):
            names = await partitions.of(conn, f"{parent}_{keep}")
            oldest += [datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC) for name in names[:1]]
    return max(oldest)


def fault_of(run: Standing, attempts: Sequence[Closed], moves: Sequence[Move]) -> str | None:
    """What is wrong with the path of a run, in words; None when `run.py` allows every step of it.

    Raises KeyError or ValueError for rows that name no state at all.
    """
    steps = path_of(run, attempts, moves)
    closed = run.attempt - (run.status is Status.EXECUTING)
    if [attempt.number for attempt in attempts] != list(range(1, closed + 1)):
        return f"closed attempts are not 1 to {closed}"
    if (ending := _wrong_ending(run, attempts, moves)) is not None:
        return ending
    if max([attempt.seq for attempt in attempts] + [move.seq for move in moves], default=0) > run.seq:
        return f"a row lies beyond seq {run.seq}"
    if [step.seq for step in steps] != list(range(1, run.seq + 1)):
        return f"steps are missing before seq {run.seq}"
    for before, step in pairwise(steps):
        if not _is_move(before, step):
            return f"{before.status} to {step.status} by {step.event} at seq {step.seq}"
    return None if steps[-1].status is run.status else f"leads to {steps[-1].status}, the run is {run.status}"


def _wrong_ending(run: Standing, attempts: Sequence[Closed], moves: Sequence[Move]) -> str | None:
    """An attempt that ended its run says so by the same state, and one that did not names none."""
    ends: dict[int, str | None] = {move.seq - 1: move.reason for move in moves if move.event == Event.REPLAY}
    if run.status in TERMINAL:
        ends[run.seq] = run.status
    for attempt in attempts:
        told = attempt.outcome if attempt.outcome in _ENDINGS else None
        if told != ends.get(attempt.seq):
            return f"attempt {attempt.number} ended as {attempt.outcome}, the run as {ends.get(attempt.seq)}"
    return None


def _is_move(before: Step, step: Step) -> bool:
    """Whether the table has the move, and the attempt number grows with a start and with nothing else."""
    if step.event == RESCHEDULED:
        waits = before.status in {Status.DELAYED, Status.QUEUED}
        return waits and step.status is before.status and step.attempt == before.attempt
    try:
        event = Event(step.event)
    except ValueError:
        return False
    return next_status(before.status, event) is step.status and step.attempt == before.attempt + (event is Event.START)
