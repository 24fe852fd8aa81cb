"""/sdk/v1/runs/{run}: complete and fail, by which an endpoint ends its attempt itself."""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec import UNSET

from strait_core.errors import Fault, UnavailableError, ValidationError
from strait_core.run import Outcome, OutcomeKind, Status
from strait_core.store import callbacks, watch
from strait_core.store.callbacks import Live
from strait_core.store.queue import Retry
from strait_core.store.sdk import Speaker
from strait_core.wire import sdk as wire_sdk
from strait_daemon.api import parked
from strait_daemon.api.body import OFFLOAD_BYTES
from strait_daemon.api.context import Api
from strait_daemon.api.operation import Call, Reply, reply
from strait_daemon.api.speaker import silenced, speaker_of
from strait_daemon.attempts import outcome
from strait_daemon.attempts.catalog import Target
from strait_daemon.attempts.outcome import Ending

MAX_RESULT: Final = 1024 * 1024
REPORTED: Final = "reported"
_CUT: Final = " … (cut)"


async def complete(api: Api, call: Call) -> Reply:
    """POST complete: a result that is not as the job's schema says is refused, and the attempt goes on."""
    body: wire_sdk.CompleteReport = call.body
    speaker = speaker_of(call)
    raw = b"null" if body.result is UNSET else bytes(body.result)
    result = raw.decode()
    if len(raw) > MAX_RESULT:
        raise ValidationError([Fault("/result", f"must be at most {MAX_RESULT} bytes")])
    found = await _live(api, speaker)
    if found is None:
        return await _end_waiting(api, speaker, Status.COMPLETED, result=result)
    live, target = found
    if target.judge is not None:
        judge = target.judge.faults
        long = len(raw) > OFFLOAD_BYTES
        faults = await asyncio.to_thread(judge, "/result", result) if long else judge("/result", result)
        if faults:
            raise ValidationError(faults)
    ending = Ending(Outcome(OutcomeKind.SUCCESS), result=result, http_status=live.http_status)
    return await _end(api, speaker, live, target, ending)


async def fail(api: Api, call: Call) -> Reply:
    """POST fail: the attempt is an error; one that is not retryable fails the run at once."""
    body: wire_sdk.FailReport = call.body
    speaker = speaker_of(call)
    found = await _live(api, speaker)
    said = f"{REPORTED}: {body.error}".strip()
    if len(said) > outcome.MAX_ERROR:
        said = said[: outcome.MAX_ERROR - len(_CUT)] + _CUT
    error = outcome.clean(said)
    if found is None:
        return await _end_waiting(api, speaker, Status.FAILED, error=(REPORTED, error))
    live, target = found
    ending = Ending(
        Outcome(OutcomeKind.ERROR, final=not body.retryable),
        http_status=live.http_status,
        error_class=REPORTED,
        error=error,
    )
    return await _end(api, speaker, live, target, ending)


async def _end_waiting(
    api: Api, speaker: Speaker, status: Status, *, result: str | None = None, error: tuple[str, str] | None = None
) -> Reply:
    """The attempt is over; if it has left its run waiting, it may still say how that ends."""
    if not await parked.end_waiting(api, speaker, status, result=result, error=error):
        async with api.connection() as conn:
            raise await silenced(conn, speaker)
    return reply(wire_sdk.Ended(status=status, next_retry_at=None))


async def _live(api: Api, speaker: Speaker) -> tuple[Live, Target] | None:
    """The attempt, if it is live."""
    async with api.connection() as conn:
        live = await callbacks.live(conn, speaker)
        if live is None:
            return None
        target = await api.deps.ender.target(conn, live)
    if target is None:
        raise UnavailableError("the run's job version cannot be read now", retry_after=1)
    return live, target


async def _end(api: Api, speaker: Speaker, live: Live, target: Target, ending: Ending) -> Reply:
    """End the attempt; who comes second is told what has become of it."""
    move = await api.deps.ender.end(live, target, ending)
    async with api.connection() as conn:
        if move is None:
            raise await silenced(conn, speaker)
        head = await watch.head(conn, speaker.run_id)
    status = Status.QUEUED if isinstance(move, Retry) else move.status
    due_at = move.due_at if isinstance(move, Retry) else None
    # A run that waits for something goes on to do so, whatever its attempt has come to.
    return reply(wire_sdk.Ended(status=head.standing.status if head else status, next_retry_at=due_at))
