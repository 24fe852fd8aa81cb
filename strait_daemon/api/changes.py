"""GET /v1/changes: every committed change, page after page, from any place of the last 24 hours on; or as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from enum import StrEnum
from typing import Any, Final

from strait_core.errors import GoneError, StraitError, UnavailableError
from strait_core.store import changes
from strait_core.store.changes import ALL_ENTRIES, Place, StoredChange, Stretch
from strait_core.store.faults import Broken
from strait_core.wire.changes import ChangePage, Kind, split_number
from strait_daemon.api import query
from strait_daemon.api.context import Api
from strait_daemon.api.operation import EVENTS, Call, Operation, Reply, encode, reply
from strait_daemon.api.query import CURSOR, LIMIT_PARAM, PROJECT, choice_param, number_param, text_param
from strait_daemon.api.stream import CLOSING, KEEP_ALIVE, KEEP_ALIVE_SECS, RETRY_MILLIS, EndData
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
_MOST_POSITION: Final = 2**63 - 1


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
    with api.tail.wait() as grown:
        while True:
            grown.clear()
            found = await feed.read(place, limit)
            left = until - asyncio.get_running_loop().time()
            if found.changes or left <= 0 or api.deps.closing.is_set():
                return _page(found)
            place = found.end
            await _wait(grown, api.deps.closing, left)


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
    with api.tail.stream() as grown:
        # Where it begins is said at once: who is cut off before the first change must not begin elsewhere.
        yield b"retry: %d\nid: %s\n\n" % (RETRY_MILLIS, place.cursor.encode())
        told, secs = place, KEEP_ALIVE_SECS
        while not api.deps.closing.is_set():
            place = found.end
            if found.changes:
                told = found.changes[-1].place
                yield b"".join(map(_frame, found.changes))
            is_all = len(found.changes) < PIECE
            if is_all and not await _wait(grown, api.deps.closing, secs) and secs == KEEP_ALIVE_SECS:
                # A sign of life also tells how far the feed was read: a place stays good though nothing of it is told.
                yield KEEP_ALIVE if place == told else b"id: %s\n%s" % (place.cursor.encode(), KEEP_ALIVE)
                told = place
            grown.clear()
            try:
                found, secs = await feed.read(place, PIECE), KEEP_ALIVE_SECS
            except GoneError:
                yield _end(GONE)
                return
            except (*Broken, TimeoutError, StraitError):
                found, secs = Stretch([], place), AGAIN_SECS
        yield _end(CLOSING)


def _frame(one: StoredChange) -> bytes:
    return b"event: change\nid: %s\ndata: %s\n\n" % (one.place.cursor.encode(), encode(one.shown))


def _end(reason: str) -> bytes:
    return b"event: end\ndata: %s\n\n" % encode(EndData(reason))


async def _wait(grown: asyncio.Event, closing: asyncio.Event, secs: float | None) -> bool:
    """Wait for growth, the end of the server, or so long (False)."""
    tasks = [asyncio.create_task(event.wait()) for event in (grown, closing)]
    try:
        done, _ = await asyncio.wait(tasks, timeout=secs, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    return bool(done)


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
            return Place(min(position, _MOST_POSITION), min(entry, ALL_ENTRIES))
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
    return reply(ChangePage([one.shown for one in found.changes], found.end.cursor))


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
