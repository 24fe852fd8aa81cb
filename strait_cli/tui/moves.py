"""What a move that the feed tells of says about a run's row, and which of two rows of one run is the newer one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from strait_core.run import TERMINAL, Status

Row = dict[str, Any]


def born(move: Row) -> Row:
    """The row of a run that has just been made, as far as its first move tells; whoever opens it reads the run."""
    names = ("project_id", "job_id", "job_slug", "status", "seq", "attempt")
    absent = dict.fromkeys(("started_at", "finished_at", "error"))
    return {"id": move["run_id"], **{name: move[name] for name in names}, "created_at": move["at"], **absent}


def moved(row: Row, move: Row) -> Row:
    """A run's row after a move; the same one when it knows of the move already."""
    if move["seq"] <= row["seq"]:
        return row
    status, at = move["status"], move["at"]
    changed = {**row, "status": status, "seq": move["seq"], "attempt": move["attempt"]}
    if status == Status.EXECUTING:
        changed["started_at"] = at
    changed["finished_at"] = at if status in TERMINAL else None
    if status == Status.COMPLETED:
        changed["error"] = None
    elif status in TERMINAL or row["status"] == Status.EXECUTING:
        changed["error"] = move.get("reason") or row["error"]
    return changed


class News(NamedTuple):
    """What moves have changed: the rows as they are now, the last one born last; those with more to show than was told.

    `is_behind`: a run has moved that belongs among the rows and that nobody has told of.
    """

    rows: dict[str, Row]
    unsaid: set[str]
    is_behind: bool


def news(known: dict[str, Row], moves: Sequence[Row], *, whole: bool = False) -> News:
    """What moves change in rows, of which the newest stand first.

    Runs that are older than the last of these are left out unless the rows are `whole`: all that there are.
    """
    rows, unsaid, is_behind = dict[str, Row](), set[str](), False
    oldest = "" if whole else next(reversed(known), "")
    for move in moves:
        key, status = move["run_id"], move["status"]
        row = rows.get(key) or known.get(key)
        if row is not None:
            rows[key] = moved(row, move)
            if rows[key] is not row and status in TERMINAL - {Status.COMPLETED} and not move.get("reason"):
                unsaid.add(key)
        elif key > oldest:
            is_behind = is_behind or move["seq"] > 1
            if move["seq"] == 1:
                rows[key] = born(move)
    return News(rows, unsaid, is_behind)


def newer(row: Row, known: Row | None) -> Row:
    """Of a row that was read and the one that is known: a read may have begun before the last move."""
    return row if known is None or known.get("seq", 0) <= row.get("seq", 0) else known


def merged(page: Sequence[Row], known: Mapping[str, Row]) -> list[Row]:
    """The newest rows as they were read, none older than it is known, and in front those born since they were read.

    `known` has the newest first, and ids grow with the time.
    """
    rows = [newer(row, known.get(str(row["id"]))) for row in page]
    since = takewhile(lambda row: row["id"] > rows[0]["id"], known.values()) if rows else ()
    return [*since, *rows]
