"""GET /v1/runs/{run}/stream: one run, live, as server-sent events.

Signals only say "look again": every state sent was read from the database, each one once and in the order of seq, also
those that were over before anybody could look. An event's id is the run's seq; a client that comes back with
`Last-Event-ID` gets what followed, without a second snapshot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from strait_core import ids
from strait_core.errors import StraitError
from strait_core.path import Step
from strait_core.run import TERMINAL, Status
from strait_core.store import runs, watch
from strait_core.store.faults import Broken
from strait_daemon.api import shape
from strait_daemon.api.context import Api
from strait_daemon.api.lookup import no_run, run_id_of
from strait_daemon.api.operation import EVENTS, Call, Reply, encode
from strait_daemon.api.watchers import Watch

KEEP_ALIVE_SECS: Final = 15.0
# How long a client waits before it comes back (the EventSource standard's `retry`).
RETRY_MILLIS: Final = 1_000
SUMMARY: Final = (
    "Follow a run live (server-sent events). `snapshot`: the run as it stands; `status`: a state it came to;"
    " `attempt`: an attempt that was closed; `end`: why the server closes before the run is over. Each has the run's"
    " seq as its id; send the last one as `Last-Event-ID` to go on from there, without another snapshot. The stream"
    " closes after the run's terminal state."
)
KEEP_ALIVE: Final = b": keep-alive\n\n"


class StatusData(Struct):
    """Data of a `status` event."""

    run_id: str
    status: Status
    attempt: int
    at: datetime


class EndData(Struct):
    """Data of an `end` event: why the server closes a stream whose run goes on."""

    reason: str


@dataclass(slots=True)
class _Sent:
    """How far a stream has come."""

    run_id: UUID
    text: str
    seq: int
    over: bool = False


async def stream_run(api: Api, call: Call) -> Reply:
    """Begin a stream: from the snapshot, or from behind `Last-Event-ID`."""
    ref = call.path["run"]
    run_id = run_id_of(ref)
    async with api.connection() as conn:
        row = await runs.get_run(conn, run_id)
    if row is None or call.project not in {None, row["project_id"]}:
        raise no_run(ref)
    sent = _Sent(run_id, ids.spell(ids.Prefix.RUN, run_id), row["seq"])
    since = _last_event_id(call.headers.get(b"last-event-id"))
    first = b"retry: %d\n\n" % RETRY_MILLIS
    if since is not None and since < sent.seq:
        sent.seq = since
    elif since != sent.seq or row["status"] in TERMINAL:
        first += _frame("snapshot", sent.seq, shape.run(row))
        sent.over = row["status"] in TERMINAL
    return Reply(200, media=EVENTS, chunks=_follow(api, sent, first))


def _last_event_id(header: bytes | None) -> int | None:
    return int(header) if header is not None and header.isdigit() and len(header) <= 9 and int(header) > 0 else None


def _frame(event: str, seq: int, data: Any) -> bytes:
    # JSON as we write it has no line breaks; as it was sent (a payload) it may, and each then needs its own `data:`.
    lines = encode(data).replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    return b"event: %s\nid: %d\ndata: %s\n\n" % (event.encode(), seq, lines)


async def _follow(api: Api, sent: _Sent, first: bytes) -> AsyncIterator[bytes]:
    """The chunks of a stream, until the run's terminal state has been sent or the server closes."""
    with api.watchers.watch(sent.run_id) as eye:
        # Whatever happened between the snapshot and this watch is found by the first look.
        eye.moved.set()
        yield first
        while not sent.over:
            moved = await _wait(eye, api.deps.closing)
            if api.deps.closing.is_set():
                yield _frame("end", sent.seq, EndData("the server is shutting down; come back with Last-Event-ID"))
                return
            if not moved:
                yield KEEP_ALIVE
                continue
            eye.moved.clear()
            try:
                frames = await _look(api, sent)
            except (Broken, TimeoutError, StraitError):
                # The look after this one, at most two seconds later, makes up for it.
                continue
            eye.seq = sent.seq
            if frames:
                yield frames


async def _wait(eye: Watch, closing: asyncio.Event) -> bool:
    """Wait until the run may have moved, the server closes, or it is time for a sign of life (False)."""
    tasks = [asyncio.create_task(event.wait()) for event in (eye.moved, closing)]
    try:
        done, _ = await asyncio.wait(tasks, timeout=KEEP_ALIVE_SECS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    return bool(done)


async def _look(api: Api, sent: _Sent) -> bytes:
    """What has happened since the last look, as frames."""
    async with api.connection() as conn:
        head = await watch.head(conn, sent.run_id)
        if head is None or head.standing.seq <= sent.seq:
            return b""
        course = await watch.course(conn, head)
    closed = {row["seq"]: row for row in course.attempts}
    frames = b""
    for step in course.steps:
        if step.seq <= sent.seq:
            continue
        if step.seq in closed:
            # Its id is that of the step before: whoever is cut off between the two gets both again, and loses none.
            frames += _frame("attempt", step.seq - 1, shape.attempt(closed[step.seq]))
        frames += _frame("status", step.seq, _status(sent.text, step))
    sent.seq = head.standing.seq
    sent.over = head.standing.status in TERMINAL
    return frames


def _status(run_id: str, step: Step) -> StatusData:
    return StatusData(run_id, step.status, step.attempt, step.at)
