"""GET /v1/stream: the moves of all runs and workflow runs, live, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Final

from strait_core.errors import ConflictError, Fault, NotFoundError, UnavailableError, ValidationError
from strait_core.run import Status
from strait_core.workflow.states import RunStatus
from strait_daemon.api.context import Api
from strait_daemon.api.feed import Filter, Listener, Told, read_id
from strait_daemon.api.lookup import find_job_ids
from strait_daemon.api.operation import EVENTS, Call, Operation, Reply, encode
from strait_daemon.api.query import PROJECT, Param, text_param
from strait_daemon.api.stream import CLOSING, KEEP_ALIVE, KEEP_ALIVE_SECS, RETRY_MILLIS, EndData
from strait_daemon.api.watchers import RETRY_SECS
from strait_daemon.api.workflows import find_workflow

# Each listener costs a look at every move.
MOST_LISTENERS: Final = 100
# Frames sent at once to who is behind.
BURST: Final = 200
TOO_SLOW: Final = "you read more slowly than things happen; come back with Last-Event-ID"
_STATES: Final = (*Status, *(one for one in RunStatus if one.value not in set(Status)))


def _status_param() -> Param:
    def read(text: str) -> list[str]:
        words = text.split(",")
        if not set(words) <= {str(one) for one in _STATES}:
            raise ValidationError([Fault("", f"?status= must be one or more of {', '.join(_STATES)}")])
        return words

    about = "Only moves to these states; several with commas, or repeated."
    return Param("status", read, about, {"type": "string"}, many=True)


async def stream_all(api: Api, call: Call) -> Reply:
    """Begin a stream of the feed: from now on, or from behind `Last-Event-ID`."""
    if api.feed.count >= MOST_LISTENERS:
        raise UnavailableError(f"{MOST_LISTENERS} streams of the feed are open", retry_after=RETRY_SECS)
    wants = await _filter(api, call)
    return Reply(200, media=EVENTS, chunks=_follow(api, wants, read_id(call.headers.get(b"last-event-id"))))


async def _filter(api: Api, call: Call) -> Filter:
    asked, project = call.query, call.project
    states = {word for words in asked.get("status", ()) for word in words}
    jobs = workflow = None
    async with api.connection() as conn:
        if "job_id" in asked:
            jobs = set(await find_job_ids(conn, asked["job_id"], project))
        if "workflow_id" in asked:
            workflow = (await find_workflow(conn, asked["workflow_id"], project)).id

    def wants(told: Told) -> bool:
        named = jobs is not None or workflow is not None
        is_named = (jobs is not None and told.job_id in jobs) or (workflow is not None and told.workflow_id == workflow)
        return (
            (project is None or told.project_id == project)
            and (not states or told.status in states)
            and (is_named or not named)
        )

    return wants


async def _follow(api: Api, wants: Filter, since: tuple[int, int, int] | None) -> AsyncGenerator[bytes]:
    with api.feed.listen(wants) as listener:
        yield b"retry: %d\n\n" % RETRY_MILLIS
        if since is not None:
            known = api.feed.resume(since, wants)
            frames = await api.feed.missed(known, wants) if isinstance(known, datetime) else known
            for at in range(0, len(frames), BURST):
                yield b"".join(frames[at : at + BURST])
        while True:
            moved = await _wait(listener, api.deps.closing)
            while listener.waiting:
                yield b"".join(listener.waiting.popleft() for _ in range(min(BURST, len(listener.waiting))))
            if api.deps.closing.is_set() or listener.is_behind:
                reason = CLOSING if api.deps.closing.is_set() else TOO_SLOW
                yield b"event: end\ndata: %s\n\n" % encode(EndData(reason))
                return
            if not moved:
                yield KEEP_ALIVE


async def _wait(listener: Listener, closing: asyncio.Event) -> bool:
    """Wait for news, the end of the server, or until it is time for a sign of life (False)."""
    tasks = [asyncio.create_task(event.wait()) for event in (listener.news, closing)]
    try:
        done, _ = await asyncio.wait(tasks, timeout=KEEP_ALIVE_SECS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    listener.news.clear()
    return bool(done)


ROUTES: Final = (
    Operation(
        method="GET",
        path="/v1/stream",
        handle=stream_all,
        name="streamAll",
        summary=(
            "Follow the moves of all runs and workflow runs live (server-sent events). `status`: a state that a run or"
            " a workflow run came to; `end`: why the server closes. Send the last id as `Last-Event-ID` to go on from"
            " there; who was away for long, or comes to another process, is told where everything stands that has moved"
            " meanwhile."
        ),
        tag="feeds",
        media="text/event-stream",
        returns=str,
        query=(
            PROJECT,
            text_param("job_id", "Only runs of this job: its id or its slug."),
            text_param("workflow_id", "Only runs of this workflow: its id or its slug."),
            _status_param(),
        ),
        raises=(NotFoundError, ConflictError),
    ),
)
