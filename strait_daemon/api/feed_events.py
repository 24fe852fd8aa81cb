"""The events of the feed of all runs: what they say, which ids they bear, and who wants them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from msgspec import Struct

from strait_core import ids
from strait_core.ids import Prefix
from strait_core.path import Step
from strait_core.run import Status
from strait_core.store import feed
from strait_core.store.changes import StoredChange
from strait_core.store.watch import Head
from strait_core.wire.changes import Kind
from strait_core.workflow.states import RunStatus
from strait_daemon.api import sse

_ID: Final = re.compile(rb"(\d{1,17})\.(\d{1,15})\.(\d{1,15})\Z")


class FeedStatus(Struct, omit_defaults=True, kw_only=True):
    """Data of a `status` event of a run on the feed; `seq` grows with each of its moves."""

    run_id: str
    status: Status
    attempt: int
    at: datetime
    seq: int
    job_id: str
    job_slug: str
    project_id: str
    reason: str | None = None


class FeedWorkflowStatus(Struct, kw_only=True):
    """Data of a `status` event of a workflow run on the feed; `seq` grows, and may be that of an earlier move."""

    workflow_run_id: str
    status: RunStatus
    at: datetime
    seq: int
    workflow_id: str
    workflow_slug: str
    project_id: str


class Mark(NamedTuple):
    """What an id says: the `number` of an event in this `life` of this process's feed; and a place to go on from in
    another one: behind this position of the feed of changes. Life 0: read from there; `number` is the entry in it.
    """

    life: int
    number: int
    position: int

    @property
    def id(self) -> bytes:
        """The mark as an event bears it."""
        return b"%d.%d.%d" % self


class Told(NamedTuple):
    """An event: its mark, of what (a run or a workflow run) and its seq there, what filters look at, how it is sent.

    `is_late`: no signal told of it, so it may have happened some time ago.
    """

    mark: Mark
    about: UUID
    seq: int
    at: datetime
    project_id: str | None
    owner: UUID | None
    status: str
    frame: bytes
    is_late: bool = False


Filter = Callable[[Told], bool]


def read_id(header: bytes | None) -> Mark | None:
    """The mark that a `Last-Event-ID` says; None when it is none of ours."""
    match = _ID.match(header or b"")
    return None if match is None else Mark(*map(int, match.groups()))


class OfRun:
    """Makes the events of one run."""

    def __init__(self, run: Head) -> None:
        self._run = run
        # Spelled once for all of its steps.
        self._run_id, self._job_id = ids.spell(Prefix.RUN, run.id), ids.spell(Prefix.JOB, run.job_id)

    def event(self, mark: Mark, step: Step, *, is_late: bool) -> Told:
        """The event of a step."""
        run = self._run
        said = FeedStatus(
            run_id=self._run_id,
            status=step.status,
            attempt=step.attempt,
            at=step.at,
            seq=step.seq,
            job_id=self._job_id,
            job_slug=run.job_slug,
            project_id=run.project_id,
            reason=step.reason,
        )
        frame = _frame(mark, said)
        return Told(mark, run.id, step.seq, step.at, run.project_id, run.job_id, step.status, frame, is_late)


def of_flow(mark: Mark, flow: feed.Flow, step: feed.FlowStep, *, is_late: bool) -> Told:
    """A state that a workflow run came to."""
    said = FeedWorkflowStatus(
        workflow_run_id=ids.spell(Prefix.WORKFLOW_RUN, flow.id),
        status=step.status,
        at=step.at,
        seq=step.seq,
        workflow_id=ids.spell(Prefix.WORKFLOW, flow.workflow_id),
        workflow_slug=flow.workflow_slug,
        project_id=flow.project_id,
    )
    whose = (flow.project_id, flow.workflow_id)
    return Told(mark, flow.id, step.seq, step.at, *whose, step.status, _frame(mark, said), is_late)


def of_change(change: StoredChange, slugs: Mapping[UUID, str]) -> Told:
    """A change as it was published; its mark is its place there."""
    mark, slug = Mark(0, change.entry, change.position), slugs.get(change.owner, "") if change.owner else ""
    shown, project = change.shown, change.project_id or ""
    said: Struct
    if change.kind == Kind.RUN:
        said = FeedStatus(
            run_id=shown.id,
            status=Status(change.status),
            attempt=change.attempt or 0,
            at=change.at,
            seq=change.seq,
            job_id=shown.job_id or "",
            job_slug=slug,
            project_id=project,
        )
    else:
        said = FeedWorkflowStatus(
            workflow_run_id=shown.id,
            status=RunStatus(change.status),
            at=change.at,
            seq=change.seq,
            workflow_id=shown.workflow_id or "",
            workflow_slug=slug,
            project_id=project,
        )
    return Told(mark, change.id, change.seq, change.at, project, change.owner, change.status, _frame(mark, said))


def _frame(mark: Mark, data: Struct) -> bytes:
    return sse.event(b"status", mark.id, data)
