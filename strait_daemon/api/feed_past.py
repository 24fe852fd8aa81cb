"""What a listener to all runs has missed: all moves behind a place, as the feed of changes keeps them for a day."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from typing import Final, NamedTuple
from uuid import UUID

from strait_core.store import changes, feed
from strait_core.store.changes import Place, StoredChange
from strait_core.store.pool import Pool
from strait_core.wire.changes import Kind
from strait_daemon.api import feed_events
from strait_daemon.api.feed_events import Told

# Moves that are read, and held for one listener, at once.
PIECE: Final = 500
_KINDS: Final = (Kind.RUN, Kind.WORKFLOW_RUN)
_READ_SECS: Final = 10.0
# Workflow runs whose states are kept; of one that was forgotten its state may be told again.
_STATES: Final = 10_000


class Piece(NamedTuple):
    """Some moves as events, and the changes that they were read from, in their order."""

    told: list[Told]
    changes: list[StoredChange]


async def pieces(pool: Pool, after: Place, states: OrderedDict[UUID, str]) -> AsyncGenerator[Piece]:
    """The moves behind a place, in their order, until there are no more for now.

    `states` keeps those of the workflow runs that have been met. A place that is not kept any more is as far back as
    there is; one that the feed has not come to is another database's, and nothing lies behind it.
    """
    place: Place | None = after
    while place is not None:
        async with asyncio.timeout(_READ_SECS), pool.connection() as conn:
            found = await changes.read(conn, place, PIECE, kinds=_KINDS)
            if found is None:
                floor = await changes.floor(conn)
                place = floor if place < floor else None
                continue
            slugs = await feed.slugs(conn, list({one.owner for one in found.changes if one.owner}))
        if found.changes:
            told = [feed_events.of_change(one, slugs) for one in found.changes if _is_new(one, states)]
            yield Piece(told, found.changes)
        place = found.end if found.has_more else None


def _is_new(change: StoredChange, states: OrderedDict[UUID, str]) -> bool:
    """Whether a workflow run has come to another state: it also changes with its steps. A run always has."""
    if change.kind == Kind.RUN:
        return True
    before = states.pop(change.id, None)
    states[change.id] = change.status
    if len(states) > _STATES:
        states.popitem(last=False)
    return change.status != before
