"""GET /v1/stream: the moves of all runs and workflow runs, live, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from strait_core.errors import ConflictError, Fault, NotFoundError, StraitError, UnavailableError, ValidationError
from strait_core.run import Status
from strait_core.store.faults import Broken
from strait_core.workflow.states import RunStatus
from strait_daemon.api import sse
from strait_daemon.api.context import Api
from strait_daemon.api.feed import Listener
from strait_daemon.api.feed_events import Filter, Mark, Told, read_id
from strait_daemon.api.lookup import find_job_ids
from strait_daemon.api.operation import EVENTS, Call, Operation, Reply
from strait_daemon.api.query import PROJECT, Param, text_param
from strait_daemon.api.sse import CLOSING, KEEP_ALIVE_SECS
from strait_daemon.api.watchers import RETRY_SECS
from strait_daemon.api.workflows import find_workflow

# Each listener costs a look at every move.
MOST_LISTENERS: Final = 100
# Frames sent at once to who is behind.
BURST: Final = 200
TOO_SLOW: Final = "you read more slowly than things happen; come back with Last-Event-ID"
AWAY: Final = "the database is away; come back with Last-Event-ID"
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
    wants = await _filter(api, call)
    if api.feed.count >= MOST_LISTENERS:
        raise UnavailableError(f"{MOST_LISTENERS} streams of the feed are open", retry_after=RETRY_SECS)
    chunks = _follow(api, wants, read_id(call.headers.get(b"last-event-id")))
    # Made before the answer begins: from here on it has its room.
    return Reply(200, body=await anext(chunks), media=EVENTS, chunks=chunks)


async def _filter(api: Api, call: Call) -> Filter | None:
    asked, project = call.query, call.project
    states = {word for words in asked.get("status", ()) for word in words}
    jobs = workflow = None
    async with api.connection() as conn:
        if "job_id" in asked:
            jobs = set(await find_job_ids(conn, asked["job_id"], project))
        if "workflow_id" in asked:
            workflow = (await find_workflow(conn, asked["workflow_id"], project)).id

    if project is None and not states and jobs is None and workflow is None:
        return None

    def wants(told: Told) -> bool:
        named = jobs is not None or workflow is not None
        is_named = (jobs is not None and told.owner in jobs) or (workflow is not None and told.owner == workflow)
        return (
            (project is None or told.project_id == project)
            and (not states or told.status in states)
            and (is_named or not named)
        )

    return wants


async def _follow(api: Api, wants: Filter | None, since: Mark | None) -> AsyncGenerator[bytes]:
    with api.feed.listen(wants, since) as listener:
        listener.mark = since or await api.feed.place()
        # Where it begins is said at once: who is cut off before the first event must not begin elsewhere.
        yield sse.begin(listener.mark.id)
        if since is not None:
            try:
                await api.feed.place()
                async for frames in api.feed.missed(since, listener):
                    # Of what is not wanted at least the place is told: nothing of it need be read again.
                    yield frames or b"id: %s\n\n" % listener.mark.id
            except (*Broken, TimeoutError, StraitError):
                yield _end(listener, AWAY)
                return
        with api.deps.closing.ringing(listener.news):
            async for frames in _live(api, listener):
                yield frames


async def _live(api: Api, listener: Listener) -> AsyncGenerator[bytes]:
    while True:
        moved = await sse.rings(listener.news, KEEP_ALIVE_SECS)
        while listener.waiting:
            frames = listener.take(BURST)
            if frames:
                yield frames
        if api.deps.closing.is_set() or listener.is_behind:
            yield _end(listener, CLOSING if api.deps.closing.is_set() else TOO_SLOW)
            return
        if not moved:
            listener.mark = api.feed.mark
            yield sse.alive(listener.mark.id)


def _end(listener: Listener, reason: str) -> bytes:
    return sse.end(listener.mark.id if listener.mark else None, reason)


ROUTES: Final = (
    Operation(
        method="GET",
        path="/v1/stream",
        handle=stream_all,
        name="streamAll",
        summary=(
            "Follow the moves of all runs and workflow runs live (server-sent events). `status`: a state that a run or"
            " a workflow run came to; `end`: why the server closes. Send the last id as `Last-Event-ID` to go on from"
            " there, in any process: every move of the last 24 hours is told. Who comes back may be told of a move"
            " again; its `seq` is the same."
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
