"""Work that two transactions held up for each other: one of them gives way and is asked for again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from strait_core.errors import UnavailableError
from strait_core.store.faults import Clash

T = TypeVar("T")
TRIES: Final = 3


async def retried(work: Callable[[], Awaitable[T]], said: str, *, tries: int = TRIES) -> T:
    """What `work` answers, asked for again when another transaction held the same rows in another order.

    After `tries` times it is an UnavailableError that says `said`.
    """
    for _ in range(tries):
        try:
            return await work()
        except Clash:
            continue
    raise UnavailableError(said, hint="try again", retry_after=1)
