"""Changes into a Redis stream: one entry each, whose id is the change's place in the feed.

Redis takes ids only in growing order. So an entry that was added and is sent again, because a relay died before it
noted so or the answer was lost, is refused there: the stream holds each change once, in the order of the feed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from redis import exceptions as faults

from strait_core.store.changes import StoredChange
from strait_daemon.services.relay import SEND_SECS, NotTakenError
from strait_daemon.telemetry import masked
from strait_daemon.transports.redis import clients_at

NAME: Final = "redis"
# Entries that the stream keeps, about; the oldest leave.
MOST_ENTRIES: Final = 100_000
LONGEST_PAUSE_SECS: Final = 10.0
# Errors that do not pass by themselves, but for the last one: a server that is about to be the master, or was.
_REFUSALS: Final = (faults.ResponseError, faults.AuthenticationError, faults.DataError)
_PASSING: Final = (faults.ReadOnlyError, faults.BusyLoadingError)
_FIELD: Final = b"change"
_NOT_GREATER: Final = "equal or smaller than the target stream top item"
# What of an entry says that it is the same change, whichever version of this program wrote it.
_SAME: Final = ("id", "seq", "status", "at")


class RedisSink:
    """A stream on any server that speaks Redis' protocol, sentinels included."""

    name = NAME
    longest_pause_secs = LONGEST_PAUSE_SECS

    def __init__(self, url: str, stream: str) -> None:
        self._redis, *self._sentinels = clients_at(url)
        self._stream = stream

    async def send(self, batch: Sequence[StoredChange]) -> None:
        """Add what is not there yet; all of it or, when Redis refuses, nothing."""
        try:
            async with asyncio.timeout(SEND_SECS - 1):
                await self._send(batch)
        except TimeoutError as error:
            raise NotTakenError(f"no answer within {SEND_SECS - 1:g} s") from error
        except (faults.RedisError, OSError) as error:
            is_refused = isinstance(error, _REFUSALS) and not isinstance(error, _PASSING)
            said = masked(str(error).rpartition("caused error: ")[2].partition("\n")[0])
            raise NotTakenError(f"{type(error).__name__}: {said}", is_refused=is_refused) from error

    async def _send(self, batch: Sequence[StoredChange]) -> None:
        entries = {f"{one.position}-{one.entry}".encode(): msgspec.json.encode(one.shown) for one in batch}
        # In one transaction: were one refused for want of memory and the next one taken, the first could never follow.
        pipe: Any
        async with self._redis.pipeline(transaction=True) as pipe:
            for identity, text in entries.items():
                pipe.xadd(self._stream, {_FIELD: text}, id=identity, maxlen=MOST_ENTRIES, approximate=True)
            answers = await pipe.execute(raise_on_error=False)
        refused = {}
        for (identity, text), answer in zip(entries.items(), answers, strict=True):
            if isinstance(answer, faults.ResponseError) and _NOT_GREATER in str(answer):
                refused[identity] = text
            elif isinstance(answer, Exception):
                raise answer
        if refused:
            await self._compare(refused, max(entries, key=_numbers))

    async def _compare(self, refused: Mapping[bytes, bytes], last: bytes) -> None:
        """See that what was refused is there, or was and has been taken out: then nothing behind `last` is there.

        A stream that another feed has filled would swallow everything.
        """
        rows: Any = await self._redis.xrange(
            self._stream, min=min(refused, key=_numbers), max=max(refused, key=_numbers)
        )
        found = {identity: _sign(fields.get(_FIELD, b"null")) for identity, fields in rows}
        top: bytes = (await self._redis.xinfo_stream(self._stream))["last-generated-id"]
        is_ours = _numbers(top) <= _numbers(last)
        if any(found[at] != _sign(text) if at in found else not is_ours for at, text in refused.items()):
            raise NotTakenError(
                f"the stream {self._stream} holds other entries where these belong: delete it, or name another one",
                is_refused=True,
            )

    async def close(self) -> None:
        """Close all connections."""
        for client in (self._redis, *self._sentinels):
            await client.aclose()


def _numbers(identity: bytes) -> tuple[int, int]:
    position, _, entry = identity.partition(b"-")
    return int(position), int(entry)


def _sign(text: bytes) -> list[Any]:
    try:
        change = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return []
    return [change.get(name) for name in _SAME] if isinstance(change, dict) else []
