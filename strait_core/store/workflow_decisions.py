"""What people decide of single steps: retry, skip, complete, approve, reject. Each in the caller's transaction."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from strait_core.errors import ConflictError, ForbiddenError, NotFoundError
from strait_core.store import workflow_runs
from strait_core.store.pool import Conn
from strait_core.store.workflow_live import Brought, Live, StepEnd
from strait_core.store.workflow_tree import Tree
from strait_core.workflow.definition import StepType
from strait_core.workflow.states import STEP_OPEN, STEP_TERMINAL, RunMove, RunStatus, StepMove, StepStatus

_MOVABLE = frozenset({RunStatus.RUNNING, RunStatus.PAUSED})


async def retry(conn: Conn, run_id: UUID, ref: str, now: datetime, brought: Brought, *, subtree: bool) -> None:
    """Let a step that is over begin anew, and what depends on it: all of it, or what has not completed.

    A run that did not succeed goes on; what was canceled when it ended begins anew too.
    """
    tree = await Tree.hold(conn, {run_id}, now, brought)
    live = tree.live(run_id)
    was_over = live is None
    if live is None:
        tree, live = await workflow_runs.brought_back(conn, run_id, RunMove.RETRY, now, brought)
    at = _index(live, ref)
    steps = {at, *live.snapshot.below(at)}
    if not subtree:
        steps = {one for one in steps if one == at or live.where(one) is not StepStatus.COMPLETED}
    if was_over:
        steps |= {one for one, where in live.places.items() if where is StepStatus.CANCELED}
    _expect(live, _MOVABLE)
    if live.where(at) not in STEP_TERMINAL:
        raise ConflictError(f"step {ref!r} is {live.where(at)}; only one that is over can begin anew")
    if busy := sorted(live.snapshot.steps[one].step_ref for one in steps if live.where(one) in STEP_OPEN):
        raise ConflictError(f"{', '.join(busy[:10])} are under way", hint="wait for them, or cancel the run")
    live.forget(steps)
    tree.look(live, None)
    await tree.settle()


async def skip(conn: Conn, run_id: UUID, ref: str, reason: str | None, now: datetime, brought: Brought) -> None:
    """Skip a step that has not begun, or waits; what depends on it goes on."""
    tree, live, at = await _undecided(conn, run_id, ref, now, brought)
    workflow_runs.close_approval(tree, live, at, "canceled")
    said = "manual" if reason is None else f"manual: {reason}"
    await tree.finish(live, StepEnd(at, None, StepMove.SKIP, reason=said))
    await tree.settle()


async def force_complete(
    conn: Conn, run_id: UUID, ref: str, output: str | None, now: datetime, brought: Brought
) -> None:
    """Complete a step that has not begun, or waits, with an output that somebody gives."""
    tree, live, at = await _undecided(conn, run_id, ref, now, brought)
    workflow_runs.close_approval(tree, live, at, "canceled")
    await tree.finish(live, StepEnd(at, None, StepMove.COMPLETE, output=output, reason="manual"), is_shaped=True)
    await tree.settle()


async def decide(
    conn: Conn,
    run_id: UUID,
    ref: str,
    now: datetime,
    brought: Brought,
    *,
    approved: bool,
    actor: str,
    comment: str | None,
) -> None:
    """Approve or reject, as somebody who may: ForbiddenError for anybody else."""
    tree, live = await workflow_runs.held(conn, run_id, now, brought)
    at = _index(live, ref)
    step = live.snapshot.steps[at]
    if step.step_type is not StepType.APPROVAL or live.where(at) is not StepStatus.WAITING:
        raise ConflictError(f"step {ref!r} is {live.where(at)} and asks nobody")
    if step.approvers and actor not in step.approvers:
        raise ForbiddenError(
            f"{actor!r} is none of the approvers of step {ref!r}", hint=f"they are {', '.join(step.approvers[:10])}"
        )
    told = {"decision": "approved" if approved else "rejected", "by": actor, "comment": comment}
    workflow_runs.close_approval(tree, live, at, str(told["decision"]), actor, comment)
    if approved:
        output = msgspec.json.encode(told).decode()
        end = StepEnd(at, None, StepMove.COMPLETE, output=output, reason=f"approved by {actor}")
    else:
        why = f": {comment}" if comment else ""
        end = StepEnd(at, None, StepMove.FAIL, error_class="rejected", error=f"rejected: by {actor}{why}")
    await tree.end_step(run_id, end)
    await tree.settle()


async def _undecided(conn: Conn, run_id: UUID, ref: str, now: datetime, brought: Brought) -> tuple[Tree, Live, int]:
    tree, live = await workflow_runs.held(conn, run_id, now, brought)
    at = _index(live, ref)
    _expect(live, _MOVABLE)
    if live.where(at) not in {StepStatus.PENDING, StepStatus.WAITING}:
        raise ConflictError(
            f"step {ref!r} is {live.where(at)}; only one that has not begun, or waits, can be decided by hand"
        )
    return tree, live, at


def _index(live: Live, ref: str) -> int:
    at = live.snapshot.index.get(ref)
    if at is None:
        raise NotFoundError(f"the workflow run has no step {ref[:64]!r}", hint="see `strait workflow-runs steps list`")
    return at


def _expect(live: Live, statuses: frozenset[RunStatus]) -> None:
    if live.status not in statuses:
        raise ConflictError(f"the workflow run is {live.status}; its steps cannot be moved")
