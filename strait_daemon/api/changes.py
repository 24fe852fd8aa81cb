"""GET /v1/changes: every committed change, page after page, from any place of the last 24 hours on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from strait_core import ids
from strait_core.errors import GoneError
from strait_core.ids import Prefix
from strait_core.store import changes
from strait_core.store.changes import Place, StoredChange
from strait_core.store.pool import Conn
from strait_core.wire.changes import Change, ChangePage, Kind
from strait_daemon.api import query
from strait_daemon.api.context import Api
from strait_daemon.api.operation import Call, Operation, Reply, reply
from strait_daemon.api.query import CURSOR, LIMIT_PARAM, PROJECT, choice_param, number_param, text_param

# The longest that a request waits for the next change, and how often it looks.
MOST_WAIT_SECS: Final = 30
LOOK_SECS: Final = 0.25
_HALF: Final = 64
_ALL_ENTRIES: Final = 2**31 - 1
_PREFIXES: Final = {
    Kind.RUN: Prefix.RUN,
    Kind.JOB: Prefix.JOB,
    Kind.WORKFLOW_RUN: Prefix.WORKFLOW_RUN,
    Kind.EVENT: Prefix.EVENT,
}


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
    kinds = _kinds(asked)
    async with api.connection() as conn:
        place = await _place(conn, asked)
    until = asyncio.get_running_loop().time() + wait
    while True:
        async with api.connection() as conn:
            # Read first: whatever is not on a page that has room left lies behind it.
            head = await changes.head(conn)
            limit = query.limit_of(asked)
            found = await changes.page(conn, place, limit, project=call.project, kinds=kinds)
        if len(found) < limit:
            place = max(place, Place(head, _ALL_ENTRIES))
        if found:
            place = found[-1].place if len(found) == limit else max(place, found[-1].place)
        if found or asyncio.get_running_loop().time() >= until or api.deps.closing.is_set():
            return reply(ChangePage([_shaped(one) for one in found], _spell(place)))
        await asyncio.sleep(LOOK_SECS)


async def _place(conn: Conn, asked: Mapping[str, Any]) -> Place:
    """Where the page begins; GoneError when that is not kept any more."""
    lowest = await changes.floor(conn)
    named = query.after_number(asked)
    if named is None:
        at = await changes.head(conn) if asked.get("start") is Begin.LATEST else lowest
        return Place(at, _ALL_ENTRIES)
    place = Place(named >> _HALF, named & _ALL_ENTRIES)
    if place < (lowest, 0):
        raise GoneError(
            "what followed this cursor is not kept any more: changes are kept for 24 hours",
            hint="begin anew without a cursor, and read what you keep of the objects again",
        )
    return place


def _kinds(asked: Mapping[str, Any]) -> list[str] | None:
    named = asked.get("kind")
    if named is None:
        return None
    kinds = set(named.split(","))
    if not kinds <= set(Kind):
        raise query.wrong_request(f"?kind= must be one or more of {', '.join(Kind)}")
    return sorted(kinds)


def _spell(place: Place) -> str:
    return query.number_cursor(place.position << _HALF | place.entry)


def _shaped(one: StoredChange) -> Change:
    kind = Kind(one.kind)
    return Change(
        cursor=_spell(one.place),
        kind=kind,
        id=ids.spell(_PREFIXES[kind], one.id),
        project_id=one.project_id,
        seq=one.seq,
        status=one.status,
        at=one.at,
        attempt=one.attempt,
        job_id=ids.spell(Prefix.JOB, one.owner) if kind is Kind.RUN and one.owner else None,
        workflow_id=ids.spell(Prefix.WORKFLOW, one.owner) if kind is Kind.WORKFLOW_RUN and one.owner else None,
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
            CURSOR,
            PROJECT,
            text_param("kind", f"Only these: one or more of {', '.join(Kind)}, with commas."),
            choice_param("start", Begin, "Where to begin without a cursor; oldest by default."),
            number_param("wait", f"Wait so many seconds for the next change, at most {MOST_WAIT_SECS}."),
        ),
        raises=(GoneError,),
    ),
)
