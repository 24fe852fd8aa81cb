"""Why the steps of a workflow run are where they are, and when they were under way."""

from __future__ import annotations

from datetime import datetime, timedelta

from strait_core.reasons import late_reason
from strait_core.store import deadlines, workflow_views
from strait_core.store.workflow_rows import Row
from strait_core.store.workflow_views import StepView
from strait_core.wire import workflow_runs as wire_flows
from strait_core.workflow import reasons
from strait_core.workflow.snapshot import Snapshot
from strait_core.workflow.states import RunStatus, StepStatus
from strait_daemon.api.context import Api
from strait_daemon.api.explain import why_of
from strait_daemon.api.operation import Call, Reply, reply
from strait_daemon.api.workflow_runs import run_row, workflow_run_id


async def explain(api: Api, call: Call) -> Reply:
    """GET /v1/workflow-runs/{run}/explain."""
    async with api.connection() as conn:
        row = await run_row(conn, call, workflow_run_id(call))
        snapshot, views = await workflow_views.view_steps(conn, row)
        fire_at = row["fire_at"]
        late = [] if fire_at is None else await deadlines.breaches_of_run(conn, row["workflow_id"], fire_at)
        events = {view.at: event_id for view in views if (event_id := (view.row or {}).get("event_id")) is not None}
        keys = await workflow_views.keys_of_events(conn, events.values())
    statuses = {view.at: view.status for view in views}
    facts: dict[int, Row] = {view.at: view.row or {} for view in views}
    for at, event_id in events.items():
        facts[at] = {**facts[at], "event_key": keys.get(event_id)}
    run_status = RunStatus(row["status"])
    why = [
        wire_flows.StepWhy(
            step_ref=snapshot.steps[at].step_ref,
            status=status,
            text=reasons.of_step(snapshot, at, statuses, facts[at], run_status),
        )
        for at, status in statuses.items()
        if status is not StepStatus.COMPLETED
    ]
    said = wire_flows.WorkflowExplanation(
        id=call.path["run"],
        status=run_status,
        text=reasons.of_run(run_status, row["error"], statuses),
        reasons=[why_of(late_reason(one)) for one in late],
        steps=why,
    )
    return reply(said)


async def timeline(api: Api, call: Call) -> Reply:
    """GET /v1/workflow-runs/{run}/timeline."""
    async with api.connection() as conn:
        row = await run_row(conn, call, workflow_run_id(call))
        snapshot, views = await workflow_views.view_steps(conn, row)
    times = [_time(snapshot, views, view, row) for view in views if view.row and view.row["status"] != "pending"]
    times.sort(key=lambda one: one.started_at or one.finished_at or row["created_at"])
    said = wire_flows.Timeline(
        id=call.path["run"],
        status=RunStatus(row["status"]),
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        steps=times,
    )
    return reply(said)


def _time(snapshot: Snapshot, views: list[StepView], view: StepView, run: Row) -> wire_flows.StepTime:
    row: Row = view.row or {}
    ends = [(views[one].row or {}).get("finished_at") for one in snapshot.graph.parents[view.at]]
    known = [at for at in ends if at is not None]
    ready_at = run["started_at"] if not ends else max(known) if len(known) == len(ends) else None
    return wire_flows.StepTime(
        step_ref=snapshot.steps[view.at].step_ref,
        status=view.status,
        ready_at=ready_at,
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        wait_ms=_millis(ready_at, row["started_at"]),
        took_ms=_millis(row["started_at"], row["finished_at"]),
    )


def _millis(begin: datetime | None, end: datetime | None) -> float | None:
    return (
        None if begin is None or end is None else round(max(end - begin, timedelta(0)) / timedelta(milliseconds=1), 3)
    )
