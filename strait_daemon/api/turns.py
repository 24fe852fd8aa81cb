"""Work that transactions hold up: of two that do so for each other one is asked for again, and none waits for long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from strait_core.errors import UnavailableError
from strait_core.store.faults import Clash, Held
from strait_core.store.pool import Conn, wait_at_most

T = TypeVar("T")
TRIES: Final = 3
# How long a request waits for a row that somebody else holds. Whoever does so usually has done with it in milliseconds;
# requests that wait keep connections that all others need.
HELD_SECS: Final = 2.0


async def wait_briefly(conn: Conn) -> None:
    """Let the caller's transaction wait for no row longer than `HELD_SECS`: then it raises `faults.Held`."""
    await wait_at_most(conn, HELD_SECS)


async def retried(work: Callable[[], Awaitable[T]], said: str, *, tries: int = TRIES) -> T:
    """What `work` answers, asked for again when another transaction held the same rows in another order.

    After `tries` times it is an UnavailableError that says `said`; so it is at once when somebody held them too long.
    """
    for _ in range(tries):
        try:
            return await work()
        except Clash:
            continue
        except Held:
            break
    raise UnavailableError(said, hint="try again", retry_after=1)
