"""GET /v1/workflow-runs/{run}/stream: one workflow run and its steps, live, as server-sent events.

As with runs, signals only say "look again". Steps keep no number of their moves, only the times of the last ones, so an
event's id is the run's seq, its state, and the time in microseconds of what has been told; who comes back with it gets
what has changed since a little before that. A step told twice is the same: same state, same time.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct

from strait_core.errors import StraitError
from strait_core.store import workflow_runs, workflow_views
from strait_core.store.faults import Broken
from strait_core.store.pool import Conn
from strait_core.store.workflow_rows import Row
from strait_core.store.workflow_views import StepView
from strait_core.workflow.states import RUN_TERMINAL, STEP_TERMINAL, RunStatus, StepStatus
from strait_daemon.api import sse
from strait_daemon.api.context import Api
from strait_daemon.api.operation import EVENTS, Call, Reply
from strait_daemon.api.workflow_runs import run_row, shaped, workflow_run_id

SUMMARY: Final = (
    "Follow a workflow run live (server-sent events). `snapshot`: the run as it stands; `step`: a state that a step"
    " came to; `status`: a state that the run came to; `end`: why the server closes before the run is over. Send the"
    " last id as `Last-Event-ID` to go on from there. The stream closes after the run's terminal state."
)
# Daemons' clocks may differ by so much: what happened this long before the last id is told again.
SLACK: Final = timedelta(seconds=2)
_ID: Final = re.compile(rb"([1-9]\d{0,8})\.([a-z_]{1,20})\.(\d{1,16})\Z")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
Told = tuple[StepStatus, datetime | None]


class WorkflowStatusData(Struct):
    """Data of a `status` event of a workflow run."""

    workflow_run_id: str
    status: RunStatus
    at: datetime | None


class StepData(Struct):
    """Data of a `step` event; a step that begins anew is `pending` again."""

    step_ref: str
    state: StepStatus
    at: datetime | None


@dataclass(slots=True)
class Sent:
    """What a stream has told: the run's seq and state, the time of the latest move, each step's state.

    `since` is set while a client that came back has not been told what it missed, `fresh` until the first look.
    """

    run_id: UUID
    text: str
    seq: int
    seen: str
    micros: int = 0
    steps: dict[str, Told] = field(default_factory=dict)
    since: datetime | None = None
    fresh: bool = True
    over: bool = False

    @property
    def id(self) -> bytes:
        """The id of an event that comes now."""
        return b"%d.%s.%d" % (self.seq, self.seen.encode(), self.micros)


async def stream_run(api: Api, call: Call) -> Reply:
    """Begin a stream: with the snapshot, or behind `Last-Event-ID`."""
    run_id = workflow_run_id(call)
    async with api.connection() as conn:
        row = await run_row(conn, call, run_id)
    sent = Sent(run_id, call.path["run"], row["seq"], row["status"])
    is_over = RunStatus(row["status"]) in RUN_TERMINAL
    first = sse.begin()
    since = _ID.match(call.headers.get(b"last-event-id", b""))
    seq = int(since[1]) if since else 0
    if since is None or seq > row["seq"] or (seq == row["seq"] and is_over):
        first += sse.event(b"snapshot", sent.id, shaped(row))
        sent.over = is_over
    else:
        sent.seq, sent.seen, sent.micros = seq, since[2].decode(), int(since[3])
        sent.since = _EPOCH + timedelta(microseconds=sent.micros) - SLACK
    api.watchers.check_room()
    chunks = _follow(api, sent, first)
    # Made before the answer begins: from here on it has its room.
    return Reply(200, body=await anext(chunks), media=EVENTS, chunks=chunks)


async def _follow(api: Api, sent: Sent, first: bytes) -> AsyncGenerator[bytes]:
    with api.watchers.watch(sent.run_id) as eye:
        eye.moved.set()
        yield first
        # Whole runs may be large: nothing of one is held while its stream goes on.
        del first
        while not sent.over:
            is_news = await eye.wait()
            if api.deps.closing.is_set():
                yield sse.end(sent.id, sse.CLOSING)
                return
            if not is_news:
                yield sse.KEEP_ALIVE
                continue
            try:
                async with api.connection() as conn:
                    frames = await _news(conn, sent)
            except (*Broken, TimeoutError, StraitError):
                # The look after this one, at most two seconds later, makes up for it.
                continue
            eye.seen = (sent.seq, 0)
            if frames:
                yield frames
                eye.told()


async def _news(conn: Conn, sent: Sent) -> bytes:
    """The frames of everything since the last look: steps first, in the order of their times, then the run."""
    row = await workflow_runs.get_run(conn, sent.run_id)
    if row is None or (row["seq"] == sent.seq and not sent.fresh):
        return b""
    moved = sorted(await _moved(conn, sent, row), key=lambda one: one.at or _EPOCH)
    told: list[tuple[bytes, StepData | WorkflowStatusData]] = [(b"step", one) for one in moved]
    if row["status"] != sent.seen:
        if sent.seen == RunStatus.PENDING and row["status"] != RunStatus.RUNNING and row["started_at"] is not None:
            # It began and went on before anybody looked.
            told.insert(0, (b"status", WorkflowStatusData(sent.text, RunStatus.RUNNING, row["started_at"])))
        at = row.get("finished_at") or row.get("touched_at") or row["started_at"]
        told.append((b"status", WorkflowStatusData(sent.text, RunStatus(row["status"]), at)))
    frames = []
    for number, (event, data) in enumerate(told):
        # All but the last have the id of what came before, so that who is cut off among them loses none.
        if number == len(told) - 1:
            _advance(sent, row, [one.at for _, one in told if one.at is not None])
        frames.append(sse.event(event, sent.id, data))
    _advance(sent, row, [])
    sent.since, sent.fresh, sent.over = None, False, RunStatus(row["status"]) in RUN_TERMINAL
    return b"".join(frames)


def _advance(sent: Sent, row: Row, times: list[datetime]) -> None:
    sent.seq, sent.seen = row["seq"], row["status"]
    sent.micros = max([sent.micros, *((at - _EPOCH) // timedelta(microseconds=1) for at in times)])


async def _moved(conn: Conn, sent: Sent, row: Row) -> list[StepData]:
    """The steps that are elsewhere than they were, each with the time of its move as far as that was kept."""
    snapshot, views = await workflow_views.view_steps(conn, row)
    moved = []
    for view in views:
        ref, stored = snapshot.steps[view.at].step_ref, view.row or {}
        kept = stored.get("finished_at") or stored.get("started_at")
        before = sent.steps.get(ref)
        if before == (view.status, kept):
            continue
        sent.steps[ref] = (view.status, kept)
        at = kept or row.get("finished_at") or row.get("touched_at")
        if passed := _passed(sent, ref, before, view):
            moved.append(passed)
        never_begun = view.row is None and view.status is StepStatus.PENDING
        is_old = sent.since is not None and at is not None and at <= sent.since
        if not (sent.fresh and (never_begun or is_old)):
            moved.append(StepData(ref, view.status, at))
    return moved


def _passed(sent: Sent, ref: str, before: Told | None, view: StepView) -> StepData | None:
    """The state in which a step that is over began, when it was over before anybody looked."""
    began = (view.row or {}).get("started_at")
    if view.row is None or view.status not in STEP_TERMINAL or began is None:
        return None
    # Who has just come is told where a step is, and of its way only what is news.
    is_known = began <= sent.since + SLACK if sent.since is not None else sent.fresh
    if is_known or (before is not None and before[1] == began):
        return None
    is_work = view.row["job_run_id"] is not None or view.row["child_run_id"] is not None
    return StepData(ref, StepStatus.RUNNING if is_work else StepStatus.WAITING, began)
