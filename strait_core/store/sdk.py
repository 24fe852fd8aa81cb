"""What an endpoint asks and says in the middle of an attempt; every function speaks for one attempt of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg.types.json import Jsonb

from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("sdk")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Speaker:
    """Whom a run token speaks for."""

    run_id: UUID
    attempt: int


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where a run keeps named values, each as its JSON text, and how many and how long they may be together."""

    lock: str
    put: str
    most: int
    most_bytes: int


_SHELVES: Final = {"outputs": ("lock_outputs", "put_output"), "state": ("lock_state", "put_state")}


def shelf(name: str, most: int, most_bytes: int) -> Shelf:
    """The shelf of that name: `outputs` or `state`."""
    return Shelf(*_SHELVES[name], most, most_bytes)


async def _one(conn: Conn, statement: str, speaker: Speaker, **more: Any) -> Row | None:
    """The row of a statement; None when the attempt is over."""
    return await _SQL.one(conn, statement, {"id": speaker.run_id, "attempt": speaker.attempt, **more})


async def payload(conn: Conn, speaker: Speaker) -> Row | None:
    """The run's payload, as it was sent; None when the attempt is over."""
    return await _one(conn, "payload", speaker)


async def checkpoint(conn: Conn, speaker: Speaker) -> Row | None:
    """The last checkpoint, as it was sent, or null; None when the attempt is over."""
    return await _one(conn, "checkpoint", speaker)


async def checkpoints(conn: Conn, run_ids: Sequence[UUID]) -> dict[UUID, str]:
    """The checkpoints of these runs that have at most 4 KiB."""
    cursor = conn.cursor(binary=True)
    await cursor.execute(query(_SQL["checkpoints"]), {"ids": list(run_ids)})
    return dict(await cursor.fetchall())


async def state(conn: Conn, speaker: Speaker) -> Row | None:
    """The run's own keys and values, or null; None when the attempt is over."""
    return await _one(conn, "state", speaker)


async def beat(conn: Conn, speaker: Speaker, now: datetime) -> bool:
    """Note a sign of life; False when the attempt is over."""
    return await _one(conn, "beat", speaker, now=now) is not None


async def set_progress(conn: Conn, speaker: Speaker, percent: float | None, message: str | None, now: datetime) -> bool:
    """Note how far the work has come; False when the attempt is over."""
    told = {"percent": percent, "message": message, "at": now.isoformat()}
    return await _one(conn, "set_progress", speaker, **told) is not None


async def set_checkpoint(conn: Conn, speaker: Speaker, text: str) -> bool:
    """Keep a checkpoint in place of the one before; False when the attempt is over."""
    return await _one(conn, "set_checkpoint", speaker, checkpoint=text) is not None


async def lock_metadata(conn: Conn, speaker: Speaker) -> Mapping[str, str] | None:
    """The run's metadata, held until the caller's transaction ends; None when the attempt is over."""
    row = await _one(conn, "lock_metadata", speaker)
    return None if row is None else row["metadata"]


async def set_metadata(conn: Conn, speaker: Speaker, metadata: Mapping[str, str]) -> None:
    """Replace the metadata that `lock_metadata` holds."""
    await _one(conn, "set_metadata", speaker, metadata=Jsonb(dict(metadata)))


async def put(conn: Conn, speaker: Speaker, on: Shelf, key: str, text: str) -> bool | None:
    """Keep a named value; None when the attempt is over, False when the shelf is full. In the caller's transaction."""
    others = await _one(conn, on.lock, speaker, key=key)
    if others is None:
        return None
    if others["others"] >= on.most or others["bytes"] + len(key.encode()) + len(text.encode()) > on.most_bytes:
        return False
    await _one(conn, on.put, speaker, key=key, value=text)
    return True


async def drop_state(conn: Conn, speaker: Speaker, key: str) -> bool:
    """Forget a key of the state, if it is there; False when the attempt is over."""
    return await _one(conn, "drop_state", speaker, key=key) is not None
