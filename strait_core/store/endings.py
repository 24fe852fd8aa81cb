"""Ends of runs from outside, wherever they come from: cancel, expiry, a wait that is over, our own fault.

A run may carry out the step of a workflow run. Then the tree of that workflow run is held before the run is touched,
and what follows from the end of the step follows in the same transaction. Nobody else calls `runs.end_active`, but the
tree itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from strait_core.run import Event, Status
from strait_core.store import runs
from strait_core.store.pool import Conn
from strait_core.store.queue import Finish
from strait_core.store.runs import Ended
from strait_core.store.workflow_live import Brought, StepEnd, end_of_run
from strait_core.store.workflow_rows import rows
from strait_core.store.workflow_tree import Tree
from strait_core.workflow.states import StepMove


async def hold_trees(conn: Conn, run_ids: Sequence[UUID], now: datetime, brought: Brought | None = None) -> Tree | None:
    """Hold the trees whose steps these runs carry out; None when they carry out none."""
    return (await _trees(conn, run_ids, now, brought, free_only=False))[0]


async def hold_free_trees(conn: Conn, run_ids: Sequence[UUID], now: datetime) -> tuple[Tree | None, list[UUID]]:
    """The same for trees that nobody holds, and those of these runs that are in the way of no other holder."""
    return await _trees(conn, run_ids, now, None, free_only=True)


async def _trees(
    conn: Conn, run_ids: Sequence[UUID], now: datetime, brought: Brought | None, *, free_only: bool
) -> tuple[Tree | None, list[UUID]]:
    found = await rows(conn, "trees_of_runs", {"ids": list(run_ids)})
    if not found:
        return None, list(run_ids)
    flows: dict[UUID, UUID] = {row["id"]: row["workflow_run_id"] for row in found}
    tree = await Tree.hold(conn, set(flows.values()), now, brought or Brought(), free_only=free_only)
    return tree, [run_id for run_id in run_ids if flows.get(run_id) not in tree.elsewhere]


async def end_active(
    conn: Conn,
    run_ids: Sequence[UUID],
    *,
    event: Event,
    to: Status,
    allowed: Collection[Status],
    now: datetime,
    reason: str | None = None,
    error: tuple[str, str] | None = None,
    lease: int | None = None,
    attempt: int | None = None,
    result: str | None = None,
    ties: bool = True,
    tree: Tree | None = None,
    brought: Brought | None = None,
) -> list[Ended]:
    """End runs from outside as `runs.end_active` does, and let their workflow runs go on; in the caller's transaction.

    A caller that ends several batches holds their trees before the first one, hands them over as `tree`, and settles
    them itself. What workflow runs bring about is told in `brought`.
    """
    held = tree or await hold_trees(conn, run_ids, now, brought)
    ended = await runs.end_active(
        conn,
        run_ids,
        event=event,
        to=to,
        allowed=allowed,
        now=now,
        reason=reason,
        error=error,
        lease=lease,
        attempt=attempt,
        result=result,
        ties=ties,
    )
    if held is not None:
        await _tell(held, ended, to, result, error or (to.value, f"{to.value}: {reason or 'from outside'}"))
        if tree is None:
            await held.settle()
    return ended


async def _tell(tree: Tree, ended: Sequence[Ended], to: Status, result: str | None, error: tuple[str, str]) -> None:
    """What the ends of these runs mean for the steps that they carried out."""
    for run in ended:
        end = end_of_run(run, to, result, error)
        if end is not None and run.workflow_run_id is not None:
            await tree.end_step(run.workflow_run_id, end)


async def tell_finished(tree: Tree, finished: Iterable[Finish]) -> None:
    """What the moves that have just ended steps mean for these, and what follows from that; nothing is written yet."""
    for move in finished:
        if move.workflow_run_id is None or move.step_index is None:
            continue
        done = move.status is Status.COMPLETED
        end = StepEnd(
            move.step_index,
            move.id,
            StepMove.COMPLETE if done else StepMove.FAIL,
            output=move.result if done else None,
            error_class=None if done else move.error_class or move.status.value,
            error=None if done else move.error or f"{move.status.value}: the run of the step",
        )
        await tree.end_step(move.workflow_run_id, end)
    await tree.decide()
