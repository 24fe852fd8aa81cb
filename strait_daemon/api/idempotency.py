"""Idempotency-Key: a creating request is carried out once, and its repetition is told what the first was told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from strait_core import idempotency, wire
from strait_core.errors import Fault, UnavailableError, ValidationError
from strait_core.idempotency import Once, check_key, trigger_once
from strait_core.store import idempotency as keys
from strait_core.store.idempotency import Kept, Scope
from strait_core.store.pool import Conn
from strait_daemon.api.body import OFFLOAD_BYTES
from strait_daemon.api.context import Api
from strait_daemon.api.operation import Call, Headers, Reply

REPLAYED: Final[Headers] = ((b"idempotency-replayed", b"true"),)
TRIES: Final = 3
_NAMES: Final = (b"idempotency-key", b"x-idempotency-key")


def key_of(headers: Mapping[bytes, bytes]) -> str | None:
    """The key that a request carries under either name; None when it has none."""
    sent = {headers[name] for name in _NAMES if name in headers}
    if not sent:
        return None
    if len(sent) > 1:
        raise _wrong([Fault("", "the headers Idempotency-Key and X-Idempotency-Key differ")])
    key = sent.pop().decode("latin-1")
    faults = check_key("", key)
    if faults:
        raise _wrong([Fault("", f"the header Idempotency-Key {fault.message}") for fault in faults])
    return key


def _wrong(faults: list[Fault]) -> ValidationError:
    return ValidationError(faults, faults[0].message)


async def once_of_trigger(call: Call) -> Once | None:
    """The key of a trigger and what its body says; a long body is read off the event loop."""
    key = key_of(call.headers)
    if key is None:
        return None
    body: wire.TriggerRequest = call.body
    if body.payload and len(body.payload) > OFFLOAD_BYTES:
        return await asyncio.to_thread(trigger_once, key, body)
    return trigger_once(key, body)


def check_same(kept: Kept, once: Once) -> None:
    """Refuse a key that was first used with another body."""
    if kept.body_hash != once.body_hash:
        said = "this idempotency key was first used with another body"
        raise ValidationError([Fault("", said)], said, hint="repeat the request as it was, or take a new key")


async def answered_once(api: Api, call: Call, scope: Scope, work: Callable[[Conn], Awaitable[Reply]]) -> Reply:
    """Do `work` in a transaction that keeps its answer with the key; a repetition gets that answer."""
    key = key_of(call.headers)
    if key is None:
        async with api.connection() as conn, conn.transaction():
            return await work(conn)
    once = idempotency.once(key, call.body)
    async with api.connection() as conn:
        for _ in range(TRIES):
            now = api.deps.clock.now()
            async with conn.transaction():
                if await keys.take(conn, scope, once, now):
                    answer = await work(conn)
                    etag = dict(answer.headers).get(b"etag", b"").decode()
                    await keys.keep_answer(conn, scope, key, answer.status, etag, answer.body.decode())
                    return answer
            kept = (await keys.find(conn, scope, [key], now)).get(key)
            if kept is not None:
                check_same(kept, once)
                return _kept_answer(kept)
    raise UnavailableError("the idempotency key changes hands; nothing was stored", hint="try again", retry_after=1)


def _kept_answer(kept: Kept) -> Reply:
    headers = ((b"etag", kept.etag.encode()), *REPLAYED) if kept.etag else REPLAYED
    return Reply(kept.status or 200, (kept.response or "").encode(), headers=headers)
