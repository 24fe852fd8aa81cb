"""Who made a run and whom it made, and the cancel that takes a whole family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from strait_core.lineage import MAX_DEPTH
from strait_core.run import CANCELABLE, Event, Status
from strait_core.store import endings, runs
from strait_core.store.pool import Conn
from strait_core.store.runs import Ended, Row
from strait_core.store.sql import load
from strait_core.store.workflow_live import Brought
from strait_core.store.workflow_tree import Tree

_SQL = load("lineage")
# Descendants that are told of.
MOST_RUNS: Final = 1_000
# Runs ended by one statement.
_PAGE: Final = 500
# More generations than can be, so that a fault in the data does not become a loop.
_GENERATIONS: Final = 4 * MAX_DEPTH
PARENT_CANCELED: Final = "the run that spawned it was canceled"


@dataclass(frozen=True, slots=True)
class Lineage:
    """A run's ancestors, the first one first, and its descendants by generation; `is_whole`: none was left out."""

    ancestors: list[Row]
    descendants: list[Row]
    is_whole: bool


async def _ids(conn: Conn, statement: str, values: Mapping[str, Any]) -> list[UUID]:
    return [row["id"] for row in await _SQL.rows(conn, statement, values)]


async def lineage(conn: Conn, run: Row) -> Lineage:
    """The family of a run, as lists show runs; at most 1,000 descendants."""
    ancestors = await _ancestors(conn, run)
    generation, found, is_whole = [run["id"]], list[UUID](), True
    for _ in range(_GENERATIONS):
        room = MOST_RUNS - len(found)
        values = {"ids": generation, "made_at": runs.made_at(run["id"]), "limit": room + 1}
        generation = await _ids(conn, "descendants", values)
        if len(generation) > room:
            generation, is_whole = generation[:room], False
        found += generation
        if not generation or not is_whole:
            break
    known = {row["id"]: row for row in await runs.runs_by_id(conn, found)}
    return Lineage(ancestors, [known[run_id] for run_id in found if run_id in known], is_whole)


async def _ancestors(conn: Conn, run: Row) -> list[Row]:
    """From the first one down; one that is no longer kept ends the line."""
    line: list[Row] = []
    made_by = run["parent_run_id"] or run["continuation_of"]
    while made_by is not None and len(line) < _GENERATIONS:
        found = await runs.runs_by_id(conn, [made_by])
        if not found:
            break
        line.insert(0, found[0])
        made_by = found[0]["parent_run_id"] or found[0]["continuation_of"]
    return line


async def cancel_family(
    conn: Conn, run_ids: Sequence[UUID], now: datetime, reason: str | None = None, brought: Brought | None = None
) -> list[Ended]:
    """Cancel runs and whatever of their descendants is not over, in the caller's transaction; those that were ended.

    Generation by generation: who is taken makes no more children, so none is missed. A run that has ended before
    passes the cancel on only when it descends from one that was canceled now. Steps of workflow runs are found among
    the first generation only: what runs spawn belongs to no workflow.
    """
    tree = await endings.hold_trees(conn, run_ids, now, brought)
    ended = await _cancel(conn, run_ids, now, reason, tree)
    generation = [run.id for run in ended]
    oldest = runs.first_made(generation) if generation else now
    for _ in range(_GENERATIONS):
        if not generation:
            break
        family = {"ids": generation, "made_at": oldest}
        active = await _ids(conn, "active_children", family)
        ended += await _cancel(conn, active, now, PARENT_CANCELED, tree)
        generation = [*active, *await _ids(conn, "ended_children", family)]
        generation = list(dict.fromkeys(generation))
    await runs.let_go(conn, ended, Status.CANCELED, now)
    if tree is not None:
        await tree.settle()
    return ended


async def _cancel(
    conn: Conn, run_ids: Sequence[UUID], now: datetime, reason: str | None, tree: Tree | None
) -> list[Ended]:
    ended: list[Ended] = []
    for at in range(0, len(run_ids), _PAGE):
        ended += await endings.end_active(
            conn,
            run_ids[at : at + _PAGE],
            event=Event.CANCEL,
            to=Status.CANCELED,
            allowed=CANCELABLE,
            now=now,
            reason=reason,
            ties=False,
            tree=tree,
        )
    return ended
