"""Many workflow runs in one request: cancel, retry."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

from strait_core import ids
from strait_core.errors import ConflictError, NotFoundError
from strait_core.ids import Prefix
from strait_core.store import workflow_bulk
from strait_core.store.pool import Conn
from strait_core.store.workflow_bulk import MOST_COUNTED, Place
from strait_core.store.workflow_views import WorkflowRunFilter
from strait_core.wire.workflow_bulk import BulkWorkflowOutcome, BulkWorkflowRuns, WorkflowRunSelection
from strait_core.wire.workflow_runs import WorkflowRun
from strait_core.workflow.states import RETRYABLE, RunStatus
from strait_daemon.api import deeds
from strait_daemon.api.body import Body
from strait_daemon.api.context import Api
from strait_daemon.api.deeds import Act, Deed, Kind
from strait_daemon.api.operation import Call, Operation, Reply
from strait_daemon.api.query import PROJECT
from strait_daemon.api.workflow_runs import shaped
from strait_daemon.api.workflows import find_workflow

# A run may have a thousand steps: fewer of them share a transaction than of plain runs.
MOST_IDS: Final = 100
PAGE: Final = 100


async def _shown(conn: Conn, run_ids: Sequence[UUID]) -> list[WorkflowRun]:
    return [shaped(row, whole=False) for row in await workflow_bulk.shown(conn, run_ids)]


async def _narrowed(
    conn: Conn, call: Call, said: WorkflowRunSelection, takes: frozenset[RunStatus]
) -> WorkflowRunFilter:
    project = call.project or (said.project_id or None)
    workflow = await find_workflow(conn, said.workflow_id, project) if said.workflow_id else None
    return WorkflowRunFilter(
        project_id=project,
        workflow_id=None if workflow is None else workflow.id,
        statuses=sorted(set(said.status) & takes if said.status else takes),
        tags=said.tag or None,
        id_range=ids.prefix_range(Prefix.WORKFLOW_RUN, said.id_prefix) if said.id_prefix else None,
        created_after=said.created_after or None,
        created_before=said.created_before or None,
    )


WORKFLOW_RUNS: Final[Kind[Place, WorkflowRunFilter]] = Kind(
    Prefix.WORKFLOW_RUN,
    "workflow run",
    MOST_IDS,
    PAGE,
    places=workflow_bulk.places,
    shown=_shown,
    narrow=_narrowed,
    outcome=BulkWorkflowOutcome,
)
CANCEL: Final = Deed(
    WORKFLOW_RUNS,
    "bulk-cancel-workflow-runs",
    frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.PAUSED}),
    refuses=lambda _: None,
    select_ids=partial(workflow_bulk.select_ids, ended=False),
    count=partial(workflow_bulk.count, ended=False),
)
RETRY: Final = Deed(
    WORKFLOW_RUNS,
    "bulk-retry-workflow-runs",
    RETRYABLE,
    refuses=lambda place: "it carries out a step of another run, which retries it" if place.is_child else None,
    select_ids=partial(workflow_bulk.select_ids, ended=True),
    count=partial(workflow_bulk.count, ended=True),
)


async def bulk_cancel(api: Api, call: Call) -> Reply:
    """POST /v1/workflow-runs/bulk-cancel."""
    return await _bulk(api, call, CANCEL, workflow_bulk.cancel)


async def bulk_retry(api: Api, call: Call) -> Reply:
    """POST /v1/workflow-runs/bulk-retry."""
    return await _bulk(api, call, RETRY, workflow_bulk.retry)


async def _bulk(api: Api, call: Call, deed: Deed[Place, WorkflowRunFilter], act: Act) -> Reply:
    answer, brought = await deeds.carry_out(api, call, deed, act)
    api.deps.brought(brought)
    return answer


def _of_many(name: str, handle: Any, summary: str) -> Operation:
    return Operation(
        method="POST",
        path=f"/v1/workflow-runs/bulk-{name}",
        handle=handle,
        name=f"{name}WorkflowRunsInBulk",
        summary=summary,
        tag="workflow-runs",
        returns=BulkWorkflowOutcome,
        body=Body(BulkWorkflowRuns, required=True),
        query=(PROJECT,),
        raises=(NotFoundError, ConflictError),
        once=True,
    )


# Before the routes of single runs, which would take these names for ids.
ROUTES: Final = (
    _of_many(
        "cancel",
        bulk_cancel,
        f"Cancel up to {MOST_IDS} workflow runs by their ids, or all that match a filter, {PAGE} at each call; a dry"
        f" run counts up to {MOST_COUNTED:,}. A filter leaves out runs that carry out steps of others.",
    ),
    _of_many("retry", bulk_retry, "Retry workflow runs that did not succeed, by their ids or by a filter, likewise."),
)
