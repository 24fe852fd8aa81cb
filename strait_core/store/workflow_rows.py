"""Rows of workflow runs and their steps, and the definitions that they keep to."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, TypeAlias
from uuid import UUID

from psycopg import AsyncCursor
from psycopg.rows import dict_row

from strait_core.store import workflows
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load
from strait_core.workflow.definition import WorkflowSpec
from strait_core.workflow.snapshot import Snapshot, snapshot_of

_SQL = load("workflow_runs")
Row = dict[str, Any]
Sent: TypeAlias = AsyncCursor[Row]
# Definitions never change, so they are kept; a large one takes about a megabyte.
_MOST_KEPT: Final = 256
_kept: OrderedDict[tuple[UUID, int], Snapshot] = OrderedDict()


async def rows(conn: Conn, statement: str, values: Mapping[str, Any]) -> list[Row]:
    """The rows of one of the statements of workflow runs."""
    return await _SQL.rows(conn, statement, values)


async def send(conn: Conn, statement: str, values: Mapping[str, Any]) -> Sent:
    """Send a statement in a pipeline of the caller's; its rows are there once the pipeline is over."""
    cursor = conn.cursor(row_factory=dict_row, binary=True)
    await cursor.execute(query(_SQL[statement]), values)
    return cursor


async def snapshot_for(conn: Conn, workflow_id: UUID, version: int) -> Snapshot:
    """The definition that a run of that version keeps to."""
    wanted = (workflow_id, version)
    found = _kept.get(wanted)
    if found is None:
        return keep_snapshot(workflow_id, version, (await workflows.specs(conn, {wanted}))[wanted])
    _kept.move_to_end(wanted)
    return found


def keep_snapshot(workflow_id: UUID, version: int, spec: WorkflowSpec) -> Snapshot:
    """The definition of that version, for who has it at hand: `snapshot_for` need not read it."""
    wanted = (workflow_id, version)
    found = _kept.get(wanted)
    if found is None:
        found = _kept[wanted] = snapshot_of(spec)
        if len(_kept) > _MOST_KEPT:
            _kept.popitem(last=False)
    return found
