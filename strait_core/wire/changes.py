"""The feed of changes, as the API shows it."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct

_HALF: Final = 64


def spell_cursor(position: int, entry: int) -> str:
    """The cursor of a place in the feed."""
    return urlsafe_b64encode((position << _HALF | entry).to_bytes(16, "big")).rstrip(b"=").decode()


def split_number(number: int) -> tuple[int, int]:
    """The position and the entry of a cursor, read as a number."""
    return number >> _HALF, number & ((1 << _HALF) - 1)


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
    """Changes in the order of the feed. `next_cursor` is always there: ask again with it for what comes after.

    `has_more`: there may be more already. A page may hold fewer than asked for, or none, where few of many are wanted.
    """

    data: list[Change]
    next_cursor: str
    has_more: bool
