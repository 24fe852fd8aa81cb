"""Workflow runs over HTTP: triggered, read, moved by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from msgspec import UNSET, Raw

from strait_core import ids, wire
from strait_core.errors import ConflictError, Fault, NotFoundError, ValidationError
from strait_core.ids import Prefix, spell
from strait_core.store import budgets, workflow_runs, workflow_views, workflows
from strait_core.store.idempotency import Scope
from strait_core.store.pool import Conn
from strait_core.store.workflow_live import Brought
from strait_core.store.workflow_rows import Row
from strait_core.store.workflow_runs import NewWorkflowRun
from strait_core.store.workflow_views import WorkflowRunFilter
from strait_core.store.workflows import StoredWorkflow
from strait_core.trigger import EMPTY_PAYLOAD
from strait_core.wire import workflow_runs as wire_flows
from strait_core.workflow.states import RunStatus
from strait_daemon.api import query
from strait_daemon.api.context import Api
from strait_daemon.api.idempotency import answered_once
from strait_daemon.api.operation import Call, Reply, reply
from strait_daemon.api.purses import spent_error
from strait_daemon.api.turns import retried, wait_briefly
from strait_daemon.api.workflows import find_workflow

_CROWDED: Final = "the workflow run is in other hands; nothing was done"
Act = Callable[[Conn, UUID, Any, Brought], Awaitable[None]]


def no_workflow_run(ref: str) -> NotFoundError:
    """The error for a workflow run that is not there, or in another project."""
    said = f"there is no workflow run {ref[:128]!r}"
    return NotFoundError(said, hint="see `strait workflow-runs list`, or GET /v1/workflow-runs")


def workflow_run_id(call: Call) -> UUID:
    """The id that the path names; NotFoundError when it is none."""
    ref = call.path["run"]
    run_id = ids.parse(Prefix.WORKFLOW_RUN, ref)
    if run_id is None:
        raise no_workflow_run(ref)
    return run_id


async def run_row(conn: Conn, call: Call, run_id: UUID) -> Row:
    """The run that the path names, if the request may see it."""
    row = await workflow_runs.get_run(conn, run_id)
    if row is None or call.project not in {None, row["project_id"]}:
        raise no_workflow_run(call.path["run"])
    return row


def shaped(row: Row, *, whole: bool = True) -> wire_flows.WorkflowRun:
    """A workflow run as the API shows it."""
    parent = row["parent_run_id"]
    return wire_flows.WorkflowRun(
        id=spell(Prefix.WORKFLOW_RUN, row["id"]),
        workflow_id=spell(Prefix.WORKFLOW, row["workflow_id"]),
        payload=Raw(row["payload"].encode()) if whole else UNSET,
        parent_run_id=None if parent is None else spell(Prefix.WORKFLOW_RUN, parent),
        **{name: row[name] for name in _AS_STORED},
    )


_AS_STORED: Final = (
    "workflow_slug", "project_id", "version", "status", "seq", "has_failures", "error", "error_class", "tags", "labels",
    "triggered_by", "fire_at", "created_at", "started_at", "expires_at", "finished_at",
)  # fmt: skip


async def trigger(api: Api, call: Call) -> Reply:
    """POST /v1/workflows/{workflow}/trigger."""
    async with api.connection() as conn:
        known = await find_workflow(conn, call.path["workflow"], call.project)
    brought = Brought()

    async def work(conn: Conn) -> Reply:
        # Looked at again in the transaction that stores the run, which then keeps to this version.
        workflow = await workflows.workflow_by_id(conn, known.id)
        new, now = _new_run(api, call, workflow), api.deps.clock.now()
        assert workflow is not None
        if (until := await budgets.spent_until(conn, workflow.spec.project_id, now)) is not None:
            raise spent_error(workflow.spec.project_id, until, now)
        await workflow_runs.trigger(conn, workflow, new, now, brought)
        row = await workflow_runs.get_run(conn, new.id)
        assert row is not None
        return reply(shaped(row), 201)

    answer = await retried(
        lambda: answered_once(api, call, Scope(known.spec.project_id, f"triggerWorkflow:{known.id}"), work), _CROWDED
    )
    api.deps.brought(brought)
    return answer


def _new_run(api: Api, call: Call, workflow: StoredWorkflow | None) -> NewWorkflowRun:
    body: wire_flows.WorkflowTrigger = call.body
    if workflow is None:
        raise NotFoundError("the workflow has just been deleted")
    slug = workflow.spec.slug
    if not workflow.enabled:
        raise ConflictError(f"workflow {slug!r} is disabled", hint=f"enable it: strait workflows update {slug}")
    if workflow.paused:
        raise ConflictError(f"workflow {slug!r} is paused", hint=f"resume it: strait workflows resume {slug}")
    refs = {step.step_ref: at for at, step in enumerate(workflow.spec.steps)}
    if faults := wire_flows.faults_of_trigger(body, set(refs)):
        raise ValidationError(faults)
    return NewWorkflowRun(
        id=api.deps.new_id(),
        payload=bytes(body.payload).decode() if body.payload else EMPTY_PAYLOAD,
        tags=body.tags or {},
        labels=body.labels or {},
        disabled=[refs[one.step_ref] for one in body.step_overrides or [] if not one.enabled],
        triggered_by="manual",
    )


async def get_run(api: Api, call: Call) -> Reply:
    """GET /v1/workflow-runs/{run}."""
    run_id = workflow_run_id(call)
    async with api.connection() as conn:
        return reply(shaped(await run_row(conn, call, run_id)))


async def list_runs(api: Api, call: Call) -> Reply:
    """GET /v1/workflow-runs, and GET /v1/workflows/{workflow}/runs."""
    asked = call.query
    limit = query.limit_of(asked)
    workflow = call.path.get("workflow") or asked.get("workflow_id")
    async with api.connection() as conn:
        workflow_id = None if workflow is None else (await find_workflow(conn, workflow, call.project)).id
        where = WorkflowRunFilter(
            project_id=call.project,
            workflow_id=workflow_id,
            statuses=[status for statuses in asked.get("status", ()) for status in statuses],
            tags=dict(asked.get("tag", ())),
            id_range=asked.get("id_prefix"),
            created_after=asked.get("created_after"),
            created_before=asked.get("created_before"),
        )
        found = await workflow_views.list_runs(conn, where, limit=limit + 1, before=query.before_id(asked))
    page, cursor = query.cut(found, limit, lambda row: query.id_cursor(row["id"]))
    return reply(wire.Page(data=[shaped(row, whole=False) for row in page], next_cursor=cursor))


async def moved(api: Api, call: Call, act: Act) -> Reply:
    """Do something with the run that the path names, in one transaction; the run as it is then."""
    run_id = workflow_run_id(call)
    brought = Brought()

    async def work() -> Reply:
        nonlocal brought
        brought = Brought()
        async with api.connection() as conn, conn.transaction():
            await wait_briefly(conn)
            await run_row(conn, call, run_id)
            await act(conn, run_id, api.deps.clock.now(), brought)
            return reply(shaped(await run_row(conn, call, run_id)))

    answer = await retried(work, _CROWDED)
    api.deps.brought(brought)
    return answer


async def pause(api: Api, call: Call) -> Reply:
    """POST /v1/workflow-runs/{run}/pause."""
    return await moved(api, call, workflow_runs.pause)


async def resume(api: Api, call: Call) -> Reply:
    """POST /v1/workflow-runs/{run}/resume."""
    return await moved(api, call, workflow_runs.resume)


async def cancel(api: Api, call: Call) -> Reply:
    """POST /v1/workflow-runs/{run}/cancel; one that is canceled already is told as it is."""

    async def act(conn: Conn, run_id: UUID, now: Any, brought: Brought) -> None:
        row = await run_row(conn, call, run_id)
        if row["status"] != RunStatus.CANCELED:
            await workflow_runs.cancel(conn, run_id, now, brought)

    return await moved(api, call, act)


async def retry(api: Api, call: Call) -> Reply:
    """POST /v1/workflow-runs/{run}/retry."""
    return await moved(api, call, workflow_runs.retry)


async def compensate(api: Api, call: Call) -> Reply:
    """POST /v1/workflow-runs/{run}/compensate."""
    return await moved(api, call, workflow_runs.compensate)


def statuses_param() -> query.Param:
    """`status`: one or more states of workflow runs."""

    def read(text: str) -> list[RunStatus]:
        try:
            return [RunStatus(word) for word in text.split(",")]
        except ValueError:
            raise ValidationError([Fault("", f"?status= must be one or more of {', '.join(RunStatus)}")]) from None

    about = f"One of {', '.join(RunStatus)}; several with commas, or repeated."
    return query.Param("status", read, about, {"type": "string"}, many=True)
