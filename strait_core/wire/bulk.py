"""What travels for many runs at once: which ones are meant, and what became of them."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET, Struct, UnsetType

from strait_core.run import Status
from strait_core.wire.bodies import Request
from strait_core.wire.runs import Run


class Reschedule(Request):
    """POST /v1/runs/{run}/reschedule: the time that the run is to wait for; one that has passed means now."""

    scheduled_at: datetime


class RunSelection(Request):
    """Runs by what they are: the filters of GET /v1/runs. `job_id` is the job's id or slug."""

    project_id: str | UnsetType = UNSET
    id_prefix: str | UnsetType = UNSET
    status: list[Status] | UnsetType = UNSET
    job_id: str | UnsetType = UNSET
    triggered_by: str | UnsetType = UNSET
    error_class: str | UnsetType = UNSET
    batch_id: str | UnsetType = UNSET
    tag: dict[str, str] | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    created_after: datetime | UnsetType = UNSET
    created_before: datetime | UnsetType = UNSET


class BulkRuns(Request):
    """POST /v1/runs/bulk-cancel and bulk-replay: either `ids` or `filter`.

    A filter is worked off in pages of 500 runs, the newest first: while the answer has a `next_cursor`, send the same
    body with it as `cursor`. With `dry_run` nothing is done: `matched` counts all pages, `sample` shows the newest.
    """

    ids: list[str] | UnsetType = UNSET
    filter: RunSelection | UnsetType = UNSET
    cursor: str | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET


class Skipped(Struct, kw_only=True):
    """A run that was left as it is, and why."""

    id: str
    reason: str


class BulkOutcome(Struct, kw_only=True):
    """What became of one page: so many runs were looked at and so many done; the rest is in `skipped`."""

    matched: int
    done: int
    skipped: list[Skipped]
    next_cursor: str | None = None
    sample: list[Run] | UnsetType = UNSET
