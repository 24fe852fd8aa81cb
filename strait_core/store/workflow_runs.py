"""Workflow runs: triggered, moved by hand, looked at when their time comes. Each in the caller's transaction.

Whoever moves a run holds its tree first (`workflow_tree`), tells it what has happened and settles it. A move that the
run's state forbids raises ConflictError.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from psycopg.types.json import Jsonb

from strait_core import ids
from strait_core.errors import ConflictError
from strait_core.store import events, workflows
from strait_core.store.events import EventStatus
from strait_core.store.pool import Conn
from strait_core.store.workflow_live import Brought, Live, StepEnd
from strait_core.store.workflow_rows import Row, keep_snapshot, rows, send, snapshot_for
from strait_core.store.workflow_tree import Tree
from strait_core.store.workflows import StoredWorkflow
from strait_core.workflow.definition import StepType
from strait_core.workflow.snapshot import Snapshot
from strait_core.workflow.states import RETRYABLE, RunMove, RunStatus, StepMove

# Two processes may read the clock a little apart.
_CLOCK_SLACK: Final = timedelta(days=1)
# A run that nobody has touched for so long, and in which nothing is under way, is looked at once more.
UNTOUCHED: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class NewWorkflowRun:
    """What a trigger says of a run; `disabled` are the indexes of the steps that it switches off.

    `fire_at` is the tick that it comes from, `lineage_depth` counts the runs that have started one another before it,
    by completion triggers; None = none.
    """

    id: UUID
    payload: str
    tags: Mapping[str, str]
    labels: Mapping[str, str]
    disabled: Collection[int]
    triggered_by: str
    fire_at: datetime | None = None
    lineage_depth: int | None = None


async def trigger(conn: Conn, workflow: StoredWorkflow, new: NewWorkflowRun, now: datetime, brought: Brought) -> None:
    """Store a run of a workflow that takes runs, and start what is ready.

    If the workflow is limited, the run waits as `pending` until somebody finds room for it (`promote`).
    """
    await trigger_all(conn, [(workflow, new)], now, brought)


async def trigger_all(
    conn: Conn, flows: Sequence[tuple[StoredWorkflow, NewWorkflowRun]], now: datetime, brought: Brought
) -> None:
    """The same for several runs, of one workflow or of many, whose first steps are stored together."""
    if not flows:
        return
    tree = Tree(conn, now, brought)
    async with conn.pipeline():
        sent = [await send(conn, "insert_run", _stored(workflow, new, now)) for workflow, new in flows]
    for (workflow, _), one in zip(flows, sent, strict=True):
        (row,) = await one.fetchall()
        keep_snapshot(workflow.id, workflow.version, workflow.spec)
        live = await tree.join(row)
        brought.moved.add(live.id)
        brought.due(row["expires_at"])
        if live.status is RunStatus.PENDING:
            brought.has_room = True
        else:
            tree.look(live, None)
    await tree.settle()


def _stored(workflow: StoredWorkflow, new: NewWorkflowRun, now: datetime) -> Row:
    spec = workflow.spec
    is_limited = spec.max_concurrent_runs is not None
    return {
        "id": new.id,
        "root_id": new.id,
        "workflow_id": workflow.id,
        "project_id": spec.project_id,
        "version": workflow.version,
        "status": (RunStatus.PENDING if is_limited else RunStatus.RUNNING).value,
        "payload": new.payload,
        "tags": Jsonb({**spec.tags, **new.tags}),
        "labels": Jsonb(dict(new.labels)),
        "disabled": sorted(new.disabled),
        "triggered_by": new.triggered_by,
        "parent_run_id": None,
        "parent_step": None,
        "depth": 0,
        "expires_at": _expiry(spec.timeout_secs, now),
        "fire_at": new.fire_at,
        "lineage_depth": new.lineage_depth,
        "now": now,
    }


def _expiry(timeout_secs: int | None, now: datetime) -> datetime | None:
    return None if timeout_secs is None else now + timedelta(seconds=timeout_secs)


async def get_run(conn: Conn, run_id: UUID) -> Row | None:
    """A run, wherever it stands; one that moves between the two tables while it is read is read again."""
    for _ in range(2):
        found = await rows(conn, "get_run", {"id": run_id})
        if found:
            return found[0]
    return None


def made_at(run_id: UUID) -> datetime:
    """An instant that no row of the run's history is older than."""
    return ids.time_of(run_id) - _CLOCK_SLACK


async def steps_of(conn: Conn, run_id: UUID) -> dict[int, Row]:
    """What is stored of a run's steps, by index; what undoes a step stands at -1 - index."""
    found = await rows(conn, "steps_of_run", {"id": run_id, "made_at": made_at(run_id)})
    return {row["step"]: row for row in found}


# ── moves of a run ────────────────────────────────────────────────────────────────────────────────────────────────────


async def pause(conn: Conn, run_id: UUID, now: datetime, brought: Brought) -> None:
    """Let no further step start; what is under way goes on."""
    tree, live = await held(conn, run_id, now, brought)
    if live.status is RunStatus.PAUSED:
        return
    if live.status is not RunStatus.RUNNING:
        raise _not_now(live.status, "paused")
    tree.move_run(live, RunMove.PAUSE)
    await tree.settle()


async def resume(conn: Conn, run_id: UUID, now: datetime, brought: Brought) -> None:
    """Let steps start again, and draw the conclusions from what has ended meanwhile."""
    tree, live = await held(conn, run_id, now, brought)
    if live.status is RunStatus.RUNNING:
        return
    if live.status is not RunStatus.PAUSED:
        raise _not_now(live.status, "resumed")
    tree.move_run(live, RunMove.RESUME)
    tree.look(live, None)
    await tree.settle()


async def cancel(conn: Conn, run_id: UUID, now: datetime, brought: Brought) -> None:
    """End a run and whatever is under way below it."""
    tree, live = await held(conn, run_id, now, brought)
    if live.status is RunStatus.COMPENSATING:
        raise _not_now(live.status, "canceled")
    await tree.end(live, RunMove.CANCEL)
    await tree.settle()


async def cancel_all(
    conn: Conn, run_ids: Collection[UUID], now: datetime, brought: Brought, *, free_only: bool = False
) -> set[UUID]:
    """Cancel those of these runs that can be; which they were. With `free_only` whoever is held is left alone."""
    tree = await Tree.hold(conn, run_ids, now, brought, free_only=free_only)
    canceled = set()
    for run_id in sorted(run_ids):
        live = tree.live(run_id)
        if live is not None and live.status is not RunStatus.COMPENSATING:
            await tree.end(live, RunMove.CANCEL)
            canceled.add(run_id)
    await tree.settle()
    return canceled


async def retry(conn: Conn, run_id: UUID, now: datetime, brought: Brought) -> None:
    """Let a run that did not succeed go on under the same id: completed steps are kept, all others begin anew."""
    tree, live = await brought_back(conn, run_id, RunMove.RETRY, now, brought)
    live.forget(_not_completed(live))
    tree.look(live, None)
    await tree.settle()


async def compensate(conn: Conn, run_id: UUID, now: datetime, brought: Brought) -> None:
    """Undo the completed steps of a run that has failed or timed out."""
    tree, live = await brought_back(conn, run_id, RunMove.COMPENSATE, now, brought)
    undoable = [at for at, where in live.places.items() if where == "completed" and _undoes(live.snapshot, at)]
    if not undoable:
        raise ConflictError("no completed step of the run has a compensation_job", hint="there is nothing to undo")
    tree.look(live, None)
    await tree.settle()


def _undoes(snapshot: Snapshot, at: int) -> bool:
    return at >= 0 and snapshot.steps[at].compensation_job is not None


def _not_completed(live: Live) -> list[int]:
    return [at for at, where in live.places.items() if where != "completed"]


async def give_up(conn: Conn, run_id: UUID, why: str, now: datetime, brought: Brought) -> None:
    """End a run by a fault of ours, class `system`; one that is over stays as it is."""
    tree = await Tree.hold(conn, {run_id}, now, brought)
    live = tree.live(run_id)
    if live is not None:
        undoes = live.status is RunStatus.COMPENSATING
        await tree.end(live, RunMove.UNDO_FAILED if undoes else RunMove.FAIL, ("system", why[:1_000]))
        await tree.settle()


async def held(conn: Conn, run_id: UUID, now: datetime, brought: Brought) -> tuple[Tree, Live]:
    """A run that is not over, with its tree; ConflictError when it is."""
    tree = await Tree.hold(conn, {run_id}, now, brought)
    live = tree.live(run_id)
    if live is None:
        row = await get_run(conn, run_id)
        where = row["status"] if row is not None else "gone"
        raise ConflictError(f"the workflow run is over: it is {where}", hint="only a run that is not over can be moved")
    return tree, live


async def brought_back(conn: Conn, run_id: UUID, move: RunMove, now: datetime, brought: Brought) -> tuple[Tree, Live]:
    """A run that was over, under way again."""
    row = await get_run(conn, run_id)
    if row is None:
        raise ConflictError("the workflow run is no longer kept")
    if row["parent_run_id"] is not None:
        parent = ids.spell(ids.Prefix.WORKFLOW_RUN, row["parent_run_id"])
        raise ConflictError(f"the run carries out a step of {parent}", hint="retry that step instead")
    snapshot = await snapshot_for(conn, row["workflow_id"], row["version"])
    is_retry = move is RunMove.RETRY
    takes = RETRYABLE if is_retry else {RunStatus.FAILED, RunStatus.TIMED_OUT}
    values = {
        "id": run_id,
        "made_at": made_at(run_id),
        "from": sorted(takes),
        "status": (RunStatus.RUNNING if is_retry else RunStatus.COMPENSATING).value,
        "expires_at": _expiry(snapshot.spec.timeout_secs, now) if is_retry else None,
        "now": now,
    }
    found = await rows(conn, "bring_back", values)
    if not found:
        raise _not_now(RunStatus(row["status"]), "retried" if is_retry else "compensated")
    if is_retry:
        await _check_room(conn, row["workflow_id"])
    tree = Tree(conn, now, brought)
    brought.moved.add(run_id)
    brought.due(values["expires_at"])  # type: ignore[arg-type]
    (live,) = await tree.joined([run_id])
    return tree, live


async def _check_room(conn: Conn, workflow_id: UUID) -> None:
    """The run that has just been brought back is counted."""
    workflow = await workflows.lock_workflow(conn, workflow_id)
    most = None if workflow is None else workflow.spec.max_concurrent_runs
    if most is not None and await _running(conn, workflow_id) > most:
        raise ConflictError(
            f"the workflow has {most} runs under way, which is the most", hint="retry when one of them has ended"
        )


async def has_active(conn: Conn, workflow_id: UUID) -> bool:
    """Whether any run of a workflow is not over."""
    return bool(await rows(conn, "active_of", {"workflow_id": workflow_id}))


async def _running(conn: Conn, workflow_id: UUID) -> int:
    (row,) = await rows(conn, "count_running", {"workflow_id": workflow_id})
    return int(row["count"])


def _not_now(status: RunStatus, done: str) -> ConflictError:
    return ConflictError(f"the workflow run is {status}; it cannot be {done}")


# ── when the time has come ────────────────────────────────────────────────────────────────────────────────────────────


async def due_runs(conn: Conn, now: datetime, limit: int) -> list[UUID]:
    """Runs with something to look at now, the longest overdue first."""
    return [row["id"] for row in await rows(conn, "due_runs", {"now": now, "limit": limit})]


async def next_due(conn: Conn) -> datetime | None:
    """When something has to be looked at next; None when nothing has."""
    (row,) = await rows(conn, "next_due", {})
    at: datetime | None = row["least"]
    return at


async def fire_due(conn: Conn, run_id: UUID, now: datetime, brought: Brought) -> bool:
    """End the run if its time is over, else the waits of it that are; False when somebody else holds it."""
    tree = await Tree.hold(conn, {run_id}, now, brought, free_only=True)
    live = tree.live(run_id)
    if live is None:
        return False
    expires_at: datetime | None = live.row["expires_at"]
    if expires_at is not None and expires_at <= now and live.status is not RunStatus.COMPENSATING:
        said = f"timeout: the workflow run took longer than {live.snapshot.spec.timeout_secs} s"
        await tree.end(live, RunMove.TIME_OUT, ("timeout", said))
    else:
        for row in await rows(conn, "due_steps", {"id": run_id, "now": now}):
            await _fire(tree, live, row)
    await tree.settle()
    return True


async def _fire(tree: Tree, live: Live, row: Row) -> None:
    """A wait whose time has come: a sleep is over, an event is there or is late, nobody has decided."""
    at: int = row["step"]
    match live.snapshot.steps[at].step_type:
        case StepType.SLEEP:
            end = StepEnd(at, None, StepMove.COMPLETE)
        case StepType.APPROVAL:
            close_approval(tree, live, at, "expired")
            end = _late(at, None, "approval_timeout", "nobody has decided in time")
        case _ if row["event_status"] == EventStatus.RECEIVED:
            await events.count_delivered(tree.conn, row["event_id"], 1)
            end = StepEnd(at, row["event_id"], StepMove.COMPLETE, output=row["payload"])
        case _ if row["event_status"] == EventStatus.CANCELED:
            end = _late(at, row["event_id"], "event_canceled", "the event will not come")
        case _:
            end = _late(at, row["event_id"], "event_timeout", "the event did not come in time")
    await tree.end_step(live.id, end)


def _late(at: int, by: UUID | None, error_class: str, said: str) -> StepEnd:
    return StepEnd(at, by, StepMove.FAIL, error_class=error_class, error=f"{error_class}: {said}")


def close_approval(
    tree: Tree, live: Live, at: int, status: str, by: str | None = None, comment: str | None = None
) -> None:
    """What became of the question that a step asks."""
    values = {"id": live.id, "steps": [at], "status": status, "by": by, "comment": comment, "now": tree.now}
    tree.later("close_approvals", values)


async def crowded_workflows(conn: Conn) -> list[UUID]:
    """Workflows that have runs which wait for room."""
    return [row["workflow_id"] for row in await rows(conn, "waiting_workflows", {})]


async def promote(conn: Conn, workflow_id: UUID, clock: Callable[[], datetime], brought: Brought) -> bool:
    """Start the oldest run of a workflow that waits for room, if there is any; whether one was started.

    The time is read once there is room: so the run begins after the one whose end has made it.
    """
    for candidate in await rows(conn, "next_pending", {"workflow_id": workflow_id, "limit": 1}):
        tree = await Tree.hold(conn, {candidate["id"]}, clock(), brought, free_only=True)
        live = tree.live(candidate["id"])
        if live is None or live.status is not RunStatus.PENDING:
            return False
        workflow = await workflows.lock_workflow(conn, workflow_id)
        most = None if workflow is None else workflow.spec.max_concurrent_runs
        if most is not None and await _running(conn, workflow_id) >= most:
            return False
        tree.now = clock()
        tree.move_run(live, RunMove.START)
        tree.look(live, None)
        await tree.settle()
        return True
    return False


async def untouched(conn: Conn, now: datetime, limit: int) -> list[UUID]:
    """Runs under way in which nothing is, and that nobody has touched for a minute."""
    return [row["id"] for row in await rows(conn, "untouched", {"before": now - UNTOUCHED, "limit": limit})]


async def look_again(conn: Conn, run_id: UUID, now: datetime) -> Brought | None:
    """Draw the conclusions once more that have been drawn already; None when nothing was left to do."""
    brought = Brought()
    tree = await Tree.hold(conn, {run_id}, now, brought, free_only=True)
    live = tree.live(run_id)
    if live is not None:
        tree.look(live, None)
        await tree.settle()
    return brought if brought.moved else None
