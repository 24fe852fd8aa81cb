"""The end of asyncio tasks that run until they are told to stop."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, Final

# A cancellation can be lost: `asyncio.wait_for` before Python 3.12 drops one that comes together with its result, and
# a statement given up while its server goes away raises the loss of its connection instead. So it is asked again.
AGAIN_SECS: Final = 0.5


async def end(*tasks: asyncio.Task[Any], within: float) -> set[asyncio.Task[Any]]:
    """Cancel tasks, again and again, until all have ended or `within` seconds are over; returns those still going."""
    going = {task for task in tasks if not task.done()}
    deadline = monotonic() + within
    while going and (left := deadline - monotonic()) > 0:
        for task in going:
            task.cancel()
        _, going = await asyncio.wait(going, timeout=min(AGAIN_SECS, left))
    return going
