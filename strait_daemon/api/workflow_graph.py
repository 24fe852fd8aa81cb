"""The graph of a workflow run: its live states, what can run, the chain that takes longest, what is left of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, assert_never

from strait_core.store import workflow_durations, workflow_views
from strait_core.store.workflow_rows import Row
from strait_core.store.workflow_views import StepView
from strait_core.wire.workflow_runs import RunNode, WorkflowRunGraph
from strait_core.workflow.boxes import WIDTH, boxes
from strait_core.workflow.dag import Reason, State
from strait_core.workflow.drawing import GraphFormat, dot, mermaid
from strait_core.workflow.plan import drawn
from strait_core.workflow.snapshot import Snapshot
from strait_core.workflow.states import RUN_TERMINAL, STEP_OPEN, STEP_TERMINAL, RunStatus, StepStatus
from strait_core.workflow.walk import Assumed, critical_path, length_of, walked
from strait_daemon.api.context import Api
from strait_daemon.api.operation import Call, Reply, reply
from strait_daemon.api.workflow_runs import run_row, workflow_run_id

TEXT: Final = b"text/plain; charset=utf-8"


async def graph(api: Api, call: Call) -> Reply:
    """GET /v1/workflow-runs/{run}/graph."""
    async with api.connection() as conn:
        row = await run_row(conn, call, workflow_run_id(call))
        snapshot, views = await workflow_views.view_steps(conn, row)
        by_ref = await workflow_durations.durations(conn, row["workflow_id"])
    known = {snapshot.index[ref]: secs for ref, secs in by_ref.items() if ref in snapshot.index}
    told = told_of(call.path["run"], row, snapshot, views, known, api.deps.clock.now())
    made: GraphFormat = call.query.get("format", GraphFormat.JSON)
    match made:
        case GraphFormat.JSON:
            return reply(told)
        case GraphFormat.MERMAID:
            text = mermaid(told)
        case GraphFormat.DOT:
            text = dot(told)
        case GraphFormat.ASCII:
            critical = [snapshot.index[ref] for ref in told.critical_path]
            statuses = [view.status for view in views]
            text = boxes(snapshot.steps, call.query.get("width", WIDTH), statuses, critical)
        case _:
            assert_never(made)
    return Reply(200, text.encode(), TEXT)


def told_of(
    run_id: str, row: Row, snapshot: Snapshot, views: Sequence[StepView], known: Mapping[int, float], now: datetime
) -> WorkflowRunGraph:
    """The graph as data; `known` is how long steps take, by index."""
    took = {view.at: secs for view in views if (secs := _took(view.row or {}, now)) is not None}
    lengths = {
        at: secs for at, step in enumerate(snapshot.steps) if (secs := length_of(step, known.get(at))) is not None
    }
    status = RunStatus(row["status"])
    over = status in RUN_TERMINAL
    ahead = [view.at for view in views if not over and view.status not in STEP_TERMINAL]
    whole = {**lengths, **{at: max(secs, lengths.get(at, 0.0)) if at in ahead else secs for at, secs in took.items()}}
    made = drawn(snapshot.spec)
    critical = [snapshot.steps[at].step_ref for at in critical_path(snapshot, whole)]
    nodes = [
        RunNode(
            step_ref=node.step_ref,
            step_type=node.step_type,
            level=node.level,
            on_critical_path=node.step_ref in critical,
            status=view.status,
        )
        for node, view in zip(made.nodes, views, strict=True)
    ]
    return WorkflowRunGraph(
        id=run_id,
        status=status,
        nodes=nodes,
        edges=made.edges,
        runnable=[] if over else [nodes[view.at].step_ref for view in views if _is_runnable(snapshot, views, view)],
        critical_path=critical,
        remaining_secs=None if over else round(_remaining(row, snapshot, views, lengths, took), 3),
        unestimated=[snapshot.steps[at].step_ref for at in ahead if at not in lengths],
    )


def _remaining(
    row: Row, snapshot: Snapshot, views: Sequence[StepView], lengths: Mapping[int, float], took: Mapping[int, float]
) -> float:
    """How long the rest of a run takes when nothing fails and nobody has to be waited for."""
    places = {view.at: view.status for view in views if view.status is not StepStatus.PENDING}
    onward = [view.at for view in views if view.row is not None and view.row["reason"] == Reason.UPSTREAM]
    state = State(places, onward, frozenset(row["disabled"]))
    elapsed = {at: took.get(at, 0.0) for at, status in places.items() if status in STEP_OPEN}
    return walked(snapshot, Assumed(lengths), state, elapsed).total


def _took(row: Mapping[str, object], now: datetime) -> float | None:
    began, ended = row.get("started_at"), row.get("finished_at") or now
    if not isinstance(began, datetime) or not isinstance(ended, datetime):
        return None
    return max((ended - began) / timedelta(seconds=1), 0.0)


def _is_runnable(snapshot: Snapshot, views: Sequence[StepView], view: StepView) -> bool:
    over = all(views[one].status in STEP_TERMINAL for one in snapshot.graph.parents[view.at])
    return view.status in STEP_OPEN or (view.status is StepStatus.PENDING and over)
