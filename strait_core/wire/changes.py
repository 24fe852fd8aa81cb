"""The feed of changes, as the API shows it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class Kind(StrEnum):
    """Of what a change is told."""

    RUN = "run"
    JOB = "job"
    WORKFLOW_RUN = "workflow_run"
    EVENT = "event"


class Change(Struct):
    """One committed change. `cursor` is the place behind it; `job_id` of runs, `workflow_id` of workflow runs.

    `seq` grows by one with each change of a run or a workflow run; it is a job's version, and 0 of an event. `status`:
    the state after the change; of a job what was done (created, updated, paused, resumed, deleted). `attempt`: a run's.
    """

    cursor: str
    kind: Kind
    id: str
    project_id: str | None
    seq: int
    status: str
    at: datetime
    attempt: int | None = None
    job_id: str | None = None
    workflow_id: str | None = None


class ChangePage(Struct):
    """Changes in the order of the feed. `next_cursor` is always there: ask again with it for what comes after."""

    data: list[Change]
    next_cursor: str
