"""GET /v1/runs/{run}/stream: one run, live, as server-sent events.

Signals only say "look again": every state sent was read from the database, each one once and in the order of seq, also
those that were over before anybody could look. An event's id is the run's seq; a client that comes back with
`Last-Event-ID` gets what followed, without a second snapshot.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final
from uuid import UUID

from strait_core import ids
from strait_core.errors import StraitError
from strait_core.run import TERMINAL
from strait_core.store.faults import Broken
from strait_daemon.api import shape, sse
from strait_daemon.api.context import Api
from strait_daemon.api.follow import Sent, identity, news, read_id
from strait_daemon.api.lookup import no_run, run_id_of
from strait_daemon.api.operation import EVENTS, Call, Reply

SUMMARY: Final = (
    "Follow a run live (server-sent events). `snapshot`: the run as it stands; `status`: a state it came to;"
    " `attempt`: an attempt that was closed; `log` and `progress`: what its endpoint reports; `end`: why the server"
    " closes before the run is over. Each has the run's seq as its id, and behind a dot the number of the last log line"
    " or report of progress; send the last one as `Last-Event-ID` to go on from there, without another snapshot. The"
    " stream closes after the run's terminal state."
)


async def stream_run(api: Api, call: Call) -> Reply:
    """Begin a stream: from the snapshot, or from behind `Last-Event-ID`."""
    api.watchers.check_room()
    chunks = _follow(api, call, run_id_of(call.path["run"]))
    # Made before the answer begins, so that a run that there is not is an answer of its own.
    first = await anext(chunks)
    return Reply(200, body=first, media=EVENTS, chunks=chunks)


async def _follow(api: Api, call: Call, run_id: UUID) -> AsyncGenerator[bytes]:
    """The chunks of a stream, until the run's terminal state has been sent or the server closes."""
    # Watched before it is read: whatever happens after the snapshot is signalled.
    with api.watchers.watch(run_id) as eye:
        sent, first = await _begin(api, call, run_id)
        eye.seen = (sent.seq, sent.note)
        if sent.behind:
            # Nobody signals what happened before the snapshot.
            eye.moved.set()
        yield first
        # Whole runs may be large: nothing of one is held while its stream goes on.
        del first
        while not sent.over:
            is_news = await eye.wait()
            if api.deps.closing.is_set():
                yield sse.end(identity(sent.seq, sent.note), sse.CLOSING)
                return
            if not is_news:
                yield sse.KEEP_ALIVE
                continue
            try:
                frames = await news(api.looks, sent, api.watchers.count)
            except (*Broken, TimeoutError, StraitError):
                # The look after this one, at most two seconds later, makes up for it.
                continue
            eye.seen = (sent.seq, sent.note)
            if sent.behind:
                eye.moved.set()
            if frames:
                yield frames
                eye.told()


async def _begin(api: Api, call: Call, run_id: UUID) -> tuple[Sent, bytes]:
    """Where a stream stands once its first chunk has been sent, and that chunk."""
    row = await api.looks.snapshot(run_id, api.watchers.count)
    if row is None or call.project not in {None, row["project_id"]}:
        raise no_run(call.path["run"])
    sent = Sent(run_id, ids.spell(ids.Prefix.RUN, run_id), row["seq"], row["note_seq"] or 0)
    since = read_id(call.headers.get(b"last-event-id"))
    first = sse.begin()
    if since is not None and since < (sent.seq, sent.note):
        sent.seq, sent.note = since
        sent.behind = True
    elif since != (sent.seq, sent.note) or row["status"] in TERMINAL:
        first += sse.event(b"snapshot", identity(sent.seq, sent.note), shape.run(row))
        sent.over = row["status"] in TERMINAL
    return sent, first
