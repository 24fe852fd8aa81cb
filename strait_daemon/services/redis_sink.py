"""Changes into a Redis stream: one entry each, whose id is the change's place in the feed.

Redis takes ids only in growing order. So what was added and is sent again, because a relay died before it noted so or
the answer was lost, is known by its id, and refused at the latest: the stream holds each change once, in order.
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
        entries = {(one.position, one.entry): msgspec.json.encode(one.shown) for one in batch}
        top = await self._top()
        there = [at for at in entries if at <= top]
        if there:
            await self._compare({at: entries.pop(at) for at in there}, top)
        if not entries:
            return
        # In one transaction: were one refused for want of memory and the next one taken, the first could never follow.
        pipe: Any
        async with self._redis.pipeline(transaction=True) as pipe:
            for at, text in entries.items():
                pipe.xadd(self._stream, {_FIELD: text}, id=_spelled(at), maxlen=MOST_ENTRIES, approximate=True)
            await pipe.execute()

    async def _top(self) -> tuple[int, int]:
        """The highest id that the stream ever had; (0, 0) = there is no stream."""
        try:
            top: bytes = (await self._redis.xinfo_stream(self._stream))["last-generated-id"]
        except faults.ResponseError as error:
            if "no such key" not in str(error):
                raise
            return 0, 0
        return _numbers(top)

    async def _compare(self, there: Mapping[tuple[int, int], bytes], top: tuple[int, int]) -> None:
        """See that the stream's end is ours, though a consumer may have taken entries out.

        Before anything is added: a stream that another feed has filled would swallow some, or all.
        """
        first, last = _spelled(min(there)), _spelled(top)
        rows: Any = await self._redis.xrange(self._stream, min=first, max=last, count=len(there) + 1)
        signs = {at: _sign(text) for at, text in there.items()}
        found = {_numbers(identity): _sign((fields or {}).get(_FIELD, b"")) for identity, fields in rows}
        if top not in there or not found.items() <= signs.items():
            raise NotTakenError(
                f"the stream {self._stream} holds other entries where these belong: delete it, or name another one",
                is_refused=True,
            )

    async def close(self) -> None:
        """Close all connections."""
        for client in (self._redis, *self._sentinels):
            await client.aclose()


def _spelled(at: tuple[int, int]) -> str:
    return f"{at[0]}-{at[1]}"


def _numbers(identity: bytes) -> tuple[int, int]:
    position, _, entry = identity.partition(b"-")
    return int(position), int(entry)


def _sign(text: bytes) -> tuple[Any, ...]:
    try:
        change = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return ()
    return tuple(change.get(name) for name in _SAME) if isinstance(change, dict) else ()
