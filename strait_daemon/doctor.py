"""`python -m strait_daemon invariants`: whether the stored runs are as they must always be."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import msgspec

from strait_core.store.invariants import Violation, violations
from strait_core.store.pool import connect
from strait_daemon import settings as configuration
from strait_daemon.clock import database_time

_BROKEN: Final = 1


async def check_invariants(stale: timedelta, output: str) -> int:
    """Print every invariant that does not hold, with examples; exit code 1 when there is any.

    `stale` is how long a worker may be silent before it may hold nothing: STALE_THRESHOLD and a reaper's period.
    """
    conn = await connect(configuration.database_url())
    try:
        now = await database_time(conn)
        found = await violations(conn, now, dead_before=now - stale)
    finally:
        await conn.close()
    print(_render(found, output))  # noqa: T201 - the data this command is for
    return _BROKEN if found else 0


def _render(found: list[Violation], output: str) -> str:
    """JSON for programs, a line each for people."""
    if output == "json":
        return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
    if output == "jsonl":
        return "\n".join(msgspec.json.encode(one).decode() for one in found)
    if not found:
        return "every invariant holds"
    return "\n".join(f"{one.invariant}: {one.count}, like {', '.join(one.examples)}" for one in found)
