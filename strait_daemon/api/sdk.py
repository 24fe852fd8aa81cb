"""/sdk/v1/runs/{run}: what an endpoint reads and notes while it works on a run."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec import UNSET, Raw

from strait_core.errors import ConflictError, Fault, NotFoundError, ValidationError
from strait_core.job import check_metadata
from strait_core.store import sdk
from strait_core.store.pool import Conn
from strait_core.store.sdk import Row, Shelf, Speaker
from strait_core.wire import sdk as wire_sdk
from strait_daemon.api import notes
from strait_daemon.api.context import Api
from strait_daemon.api.operation import Call, Reply, reply
from strait_daemon.api.query import wrong_request
from strait_daemon.api.speaker import silenced, speaker_of

DONE: Final = Reply(204)
_KEY: Final = re.compile(rf"[A-Za-z0-9._:-]{{1,{wire_sdk.MAX_STATE_KEY}}}\Z")
_OUTPUTS: Final = sdk.shelf("outputs", wire_sdk.MAX_OUTPUTS, wire_sdk.MAX_ENTRIES_BYTES)
_STATE: Final = sdk.shelf("state", wire_sdk.MAX_STATE_KEYS, wire_sdk.MAX_ENTRIES_BYTES)


async def _read(api: Api, call: Call, look: Callable[[Conn, Speaker], Awaitable[Row | None]]) -> Row:
    """What the live attempt asked for."""
    speaker = speaker_of(call)
    async with api.connection() as conn:
        row = await look(conn, speaker)
        if row is None:
            raise await silenced(conn, speaker)
    return row


async def _note(api: Api, call: Call, write: Callable[[Conn, Speaker], Awaitable[bool]]) -> Reply:
    """Carry out what the live attempt said; 204."""
    speaker = speaker_of(call)
    async with api.connection() as conn:
        if not await write(conn, speaker):
            raise await silenced(conn, speaker)
    return DONE


def _check(faults: list[Fault]) -> None:
    if faults:
        raise ValidationError(faults)


async def get_payload(api: Api, call: Call) -> Reply:
    """GET payload: the very JSON that the endpoint was sent."""
    return Reply(200, (await _read(api, call, sdk.payload))["payload"].encode())


async def get_checkpoint(api: Api, call: Call) -> Reply:
    """GET checkpoint: what the last attempt to keep one has kept."""
    text: str | None = (await _read(api, call, sdk.checkpoint))["checkpoint"]
    if text is None:
        raise NotFoundError("the run has no checkpoint yet", hint="begin at the beginning")
    return Reply(200, text.encode())


async def set_checkpoint(api: Api, call: Call) -> Reply:
    """POST checkpoint."""
    body: wire_sdk.CheckpointReport = call.body
    _check(
        [Fault("/data", f"must be at most {wire_sdk.MAX_CHECKPOINT} bytes")]
        if len(body.data) > wire_sdk.MAX_CHECKPOINT
        else []
    )
    return await _note(api, call, lambda conn, me: sdk.set_checkpoint(conn, me, _text(body.data)))


async def heartbeat(api: Api, call: Call) -> Reply:
    """POST heartbeat: 204 while the attempt goes on; anything else says to stop."""
    return await _note(api, call, lambda conn, me: sdk.beat(conn, me, api.deps.clock.now()))


async def report_progress(api: Api, call: Call) -> Reply:
    """POST progress."""
    body: wire_sdk.ProgressReport = call.body
    _check(wire_sdk.faults_of_progress(body))
    percent, message = _given(body.percent), _given(body.message)
    now = api.deps.clock.now()
    done = await _note(api, call, lambda conn, me: sdk.set_progress(conn, me, percent, message, now))
    api.deps.bus.runs_changed([speaker_of(call).run_id])
    return done


async def annotate(api: Api, call: Call) -> Reply:
    """POST annotate: what the run's metadata becomes has the bounds of any metadata."""
    body: wire_sdk.Annotation = call.body
    speaker = speaker_of(call)
    async with api.connection() as conn, conn.transaction():
        known = await sdk.lock_metadata(conn, speaker)
        if known is None:
            raise await silenced(conn, speaker)
        merged = {**known, **body.metadata}
        metadata = {key: value for key, value in merged.items() if value is not None}
        _check(check_metadata("metadata", metadata))
        await sdk.set_metadata(conn, speaker, metadata)
    return DONE


async def add_output(api: Api, call: Call) -> Reply:
    """POST output."""
    body: wire_sdk.OutputReport = call.body
    faults = wire_sdk.faults_of_value(body.value)
    if not 1 <= len(body.name) <= wire_sdk.MAX_OUTPUT_NAME:
        faults.append(Fault("/name", f"must be 1 to {wire_sdk.MAX_OUTPUT_NAME} characters"))
    _check(faults)
    return await _put(api, call, _OUTPUTS, body.name, body.value)


async def list_state(api: Api, call: Call) -> Reply:
    """GET state: every key of the run with its value."""
    row = await _read(api, call, sdk.state)
    return reply(wire_sdk.State(data=notes.values(row["state"])))


async def get_state(api: Api, call: Call) -> Reply:
    """GET state/{key}: the value as it was sent."""
    key = _key(call)
    kept = (await _read(api, call, sdk.state))["state"] or {}
    if key not in kept:
        raise NotFoundError(f"the run's state has no key {key!r}", hint="put it first, or see GET …/state")
    return Reply(200, kept[key].encode())


async def put_state(api: Api, call: Call) -> Reply:
    """PUT state/{key}."""
    body: wire_sdk.StateValue = call.body
    key = _key(call)
    _check(wire_sdk.faults_of_value(body.value))
    return await _put(api, call, _STATE, key, body.value)


async def drop_state(api: Api, call: Call) -> Reply:
    """DELETE state/{key}: 204 whether it was there or not."""
    key = _key(call)
    return await _note(api, call, lambda conn, me: sdk.drop_state(conn, me, key))


async def _put(api: Api, call: Call, on: Shelf, key: str, value: Raw) -> Reply:
    speaker = speaker_of(call)
    async with api.connection() as conn, conn.transaction():
        done = await sdk.put(conn, speaker, on, key, _text(value))
        if done is None:
            raise await silenced(conn, speaker)
    if not done:
        raise ConflictError(
            f"there is no room for it: a run keeps at most {on.most} of these, {on.most_bytes} bytes in all",
            hint="keep less, or keep it elsewhere and its address here",
        )
    return DONE


def _key(call: Call) -> str:
    key = call.path["key"]
    if not _KEY.match(key):
        raise wrong_request(f"a key is 1 to {wire_sdk.MAX_STATE_KEY} characters of A-Z a-z 0-9 . _ : -")
    return key


def _given(value: Any) -> Any:
    return None if value is UNSET else value


def _text(value: Raw) -> str:
    return bytes(value).decode()
