"""/sdk/v1/runs/{run}: what an endpoint reads and notes while it works on a run."""

from __future__ import annotations

from strait_core.store import sdk
from strait_daemon.api.context import Api
from strait_daemon.api.operation import Call, Reply
from strait_daemon.api.speaker import silenced, speaker_of


async def get_payload(api: Api, call: Call) -> Reply:
    """GET payload: the very JSON that the endpoint was sent."""
    speaker = speaker_of(call)
    async with api.connection() as conn:
        payload = await sdk.payload(conn, speaker)
        if payload is None:
            raise await silenced(conn, speaker)
    return Reply(200, payload.encode())
