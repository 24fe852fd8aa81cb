"""GET /v1/changes: every committed change, page after page, from any place of the last 24 hours on; or as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from enum import StrEnum
from typing import Any, Final

from strait_core.errors import GoneError, StraitError, UnavailableError
from strait_core.store import changes
from strait_core.store.changes import ALL_ENTRIES, MOST_POSITION, Place, StoredChange, Stretch
from strait_core.store.faults import Broken
from strait_core.wire.changes import ChangePage, Kind, split_number
from strait_daemon.api import query, sse
from strait_daemon.api.context import Api
from strait_daemon.api.operation import EVENTS, Call, Operation, Reply, reply
from strait_daemon.api.query import CURSOR, LIMIT_PARAM, PROJECT, choice_param, number_param, text_param
from strait_daemon.api.sse import CLOSING, KEEP_ALIVE, KEEP_ALIVE_SECS
from strait_daemon.api.watchers import RETRY_SECS

# The longest that a request waits for the next change.
MOST_WAIT_SECS: Final = 30
# Streams of changes that one process keeps open: each reads for itself whenever something has changed.
MOST_STREAMS: Final = 100
# Changes that a stream reads, and holds, at once.
PIECE: Final = 200
# How soon a stream looks again that found the database away.
AGAIN_SECS: Final = 1.0
GONE: Final = "what followed this place is not kept any more: changes are kept for 24 hours"


class Begin(StrEnum):
    """Where a feed begins that has no cursor yet."""

    OLDEST = "oldest"
    LATEST = "latest"


async def list_changes(api: Api, call: Call) -> Reply:
    """GET /v1/changes."""
    asked = call.query
    wait = asked.get("wait", 0)
    if wait > MOST_WAIT_SECS:
        raise query.wrong_request(f"?wait= must be from 0 to {MOST_WAIT_SECS}")
    feed, limit = _Reader(api, call), query.limit_of(asked)
    place = await feed.place(query.after_number(asked))
    if not wait:
        return _page(await feed.read(place, limit))
    until = asyncio.get_running_loop().time() + wait
    with api.tail.wait() as grown, api.deps.closing.ringing(grown):
        while True:
            grown.clear()
            found = await feed.read(place, limit)
            left = until - asyncio.get_running_loop().time()
            if found.changes or left <= 0 or api.deps.closing.is_set():
                return _page(found)
            place = found.end
            if not found.has_more:
                await sse.rings(grown, left)


async def stream_changes(api: Api, call: Call) -> Reply:
    """GET /v1/changes/stream: from behind `Last-Event-ID`, else from where the query says."""
    feed = _Reader(api, call)
    last = call.headers.get(b"last-event-id")
    place = await feed.place(query.after_number(call.query) if last is None else _header_number(last))
    # Read before the answer begins, so that a place which is not kept any more is refused as a page refuses it.
    found = await feed.read(place, PIECE)
    if api.tail.streams >= MOST_STREAMS:
        raise UnavailableError(f"{MOST_STREAMS} streams of changes are open", retry_after=RETRY_SECS)
    chunks = _follow(api, feed, place, found)
    # Made before the answer begins: from here on it has its room.
    return Reply(200, body=await anext(chunks), media=EVENTS, chunks=chunks)


def _header_number(last: bytes) -> int:
    try:
        return query.read_number(last.decode("latin-1"))
    except ValueError as error:
        raise query.wrong_request(f"the header Last-Event-ID {error}") from None


async def _follow(api: Api, feed: _Reader, place: Place, found: Stretch) -> AsyncGenerator[bytes]:
    """The chunks of a stream, without end until the server closes or the place is not kept any more.

    Whoever reads slowly is read for slowly: nothing is held for him beyond the piece that is being sent.
    """
    with api.tail.stream() as grown, api.deps.closing.ringing(grown):
        yield sse.begin(place.cursor.encode())
        told, secs = place, KEEP_ALIVE_SECS
        while not api.deps.closing.is_set():
            place = found.end
            if found.changes:
                told = found.changes[-1].place
                yield b"".join(map(_frame, found.changes))
            elif found.has_more:
                # There is much of which nothing is wanted: who is cut off meanwhile must not begin with it again.
                told = place
                yield sse.alive(place.cursor.encode())
            if not found.has_more and not await sse.rings(grown, secs) and secs == KEEP_ALIVE_SECS:
                yield KEEP_ALIVE if place == told else sse.alive(place.cursor.encode())
                told = place
            try:
                found, secs = await feed.read(place, PIECE), KEEP_ALIVE_SECS
            except GoneError:
                yield sse.end(None, GONE)
                return
            except (*Broken, TimeoutError, StraitError):
                found, secs = Stretch([], place), AGAIN_SECS
        yield sse.end(None, CLOSING)


def _frame(one: StoredChange) -> bytes:
    return sse.event(b"change", one.place.cursor.encode(), one.shown)


class _Reader:
    """Reads what a request asked for: of one project, of some kinds."""

    def __init__(self, api: Api, call: Call) -> None:
        self._api = api
        self._project = call.project
        self._kinds = _kinds(call.query)
        self._latest = call.query.get("start") is Begin.LATEST

    async def place(self, named: int | None) -> Place:
        """Where to begin: at the place of a cursor, else at one end of the feed."""
        if named is not None:
            position, entry = split_number(named)
            return Place(min(position, MOST_POSITION), min(entry, ALL_ENTRIES))
        async with self._api.connection() as conn:
            return Place(await changes.head(conn), ALL_ENTRIES) if self._latest else await changes.floor(conn)

    async def read(self, place: Place, limit: int) -> Stretch:
        """What lies behind a place; GoneError when that is not kept any more."""
        async with self._api.connection() as conn:
            found = await changes.read(conn, place, limit, project=self._project, kinds=self._kinds)
        if found is None:
            raise GoneError(GONE, hint="begin anew without a cursor, and read what you keep of the objects again")
        return found


def _page(found: Stretch) -> Reply:
    return reply(ChangePage([one.shown for one in found.changes], found.end.cursor, found.has_more))


def _kinds(asked: Mapping[str, Any]) -> list[str] | None:
    named = asked.get("kind")
    if named is None:
        return None
    kinds = set(named.split(","))
    if not kinds <= set(Kind):
        raise query.wrong_request(f"?kind= must be one or more of {', '.join(Kind)}")
    return sorted(kinds)


_NARROW: Final = (
    CURSOR,
    PROJECT,
    text_param("kind", f"Only these: one or more of {', '.join(Kind)}, with commas."),
    choice_param("start", Begin, "Where to begin without a cursor; oldest by default."),
)

ROUTES: Final = (
    Operation(
        method="GET",
        path="/v1/changes",
        handle=list_changes,
        name="listChanges",
        summary=(
            "Read the feed of changes: every committed change of runs, jobs, workflow runs and events, at least once,"
            " those of one object in their order. A page always says where the next one begins; with `wait` an empty"
            " one is answered only after so many seconds. Changes are kept for 24 hours: a cursor from before is"
            " answered with 410."
        ),
        tag="changes",
        returns=ChangePage,
        query=(
            LIMIT_PARAM,
            *_NARROW,
            number_param("wait", f"Wait so many seconds for the next change, at most {MOST_WAIT_SECS}."),
        ),
        raises=(GoneError,),
    ),
    Operation(
        method="GET",
        path="/v1/changes/stream",
        handle=stream_changes,
        name="streamChanges",
        summary=(
            "Follow the feed of changes (server-sent events). `change`: one change, as the pages have it, its cursor as"
            " the id; `end`: why the server closes. Send the last id as `Last-Event-ID` to go on from there; it stands"
            " for `cursor`, and is answered alike when it is not kept any more."
        ),
        tag="changes",
        media="text/event-stream",
        returns=str,
        query=_NARROW,
        raises=(GoneError,),
    ),
)
