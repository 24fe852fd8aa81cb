"""What travels for many workflow runs at once: which ones are meant, and what became of them."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET, Struct, UnsetType

from strait_core.wire.bodies import Request
from strait_core.wire.bulk import Skipped
from strait_core.wire.workflow_runs import WorkflowRun
from strait_core.workflow.states import RunStatus


class WorkflowRunSelection(Request):
    """Workflow runs by what they are: the filters of GET /v1/workflow-runs. `workflow_id` is its id or slug."""

    project_id: str | UnsetType = UNSET
    id_prefix: str | UnsetType = UNSET
    status: list[RunStatus] | UnsetType = UNSET
    workflow_id: str | UnsetType = UNSET
    tag: dict[str, str] | UnsetType = UNSET
    created_after: datetime | UnsetType = UNSET
    created_before: datetime | UnsetType = UNSET


class BulkWorkflowRuns(Request):
    """POST /v1/workflow-runs/bulk-cancel and bulk-retry: either `ids` or `filter`.

    A filter is worked off in pages, the newest first: while the answer has a `next_cursor`, send the same body with it
    as `cursor`. With `dry_run` nothing is done: `matched` counts all pages, `sample` shows the newest.
    """

    ids: list[str] | UnsetType = UNSET
    filter: WorkflowRunSelection | UnsetType = UNSET
    cursor: str | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET


class BulkWorkflowOutcome(Struct, kw_only=True):
    """What became of one page: so many runs were looked at and so many done; the rest is in `skipped`."""

    matched: int
    done: int
    skipped: list[Skipped]
    next_cursor: str | None = None
    sample: list[WorkflowRun] | UnsetType = UNSET
