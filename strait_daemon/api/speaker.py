"""Whom a request with a run token speaks for, and what it is told when that attempt is over."""

from __future__ import annotations

from strait_core import ids
from strait_core.errors import AuthError, GoneError, StraitError
from strait_core.run import TERMINAL
from strait_core.store import watch
from strait_core.store.pool import Conn
from strait_core.store.sdk import Speaker
from strait_daemon.api.operation import Call


def speaker_of(call: Call) -> Speaker:
    """The run and the attempt that the request's token names."""
    claims = call.claims
    run_id = None if claims is None else ids.parse(ids.Prefix.RUN, claims.sub)
    if claims is None or run_id is None:
        # Only an operation that is not `by_token` could come here.
        raise AuthError("no run token")
    return Speaker(run_id, claims.attempt)


async def silenced(conn: Conn, speaker: Speaker) -> StraitError:
    """Why nothing was done for an attempt that is not live: its run is over (410), or has gone on without it (401)."""
    head = await watch.head(conn, speaker.run_id)
    if head is None:
        return GoneError("the run is no longer kept", hint="stop working on it")
    status = head.standing.status
    if status in TERMINAL:
        return GoneError(f"the run is over: it is {status}", hint="stop working on it")
    return AuthError(
        f"attempt {speaker.attempt} is over: the run is {status}, at attempt {head.standing.attempt}",
        hint="stop working on it; the next attempt brings a token of its own",
    )
