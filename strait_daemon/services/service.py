"""The one loop: ticks with jitter, wakes early, isolates errors, bounds every tick and its own stop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import structlog

from strait_daemon.announcer import LONGEST_SECS
from strait_daemon.ending import end

# ±10 %, so that many daemons started together do not tick together.
JITTER: Final = 0.1
STOP_SECS: Final = 5.0
# How long a service that the lookout wakes may sleep when it has nothing to do.
REST_SECS: Final = LONGEST_SECS
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0

log = structlog.get_logger(__name__)


class Service:
    """Calls `tick` again and again. `tick` returns the seconds until it wants to run next; None = after `interval`.

    A tick that fails or takes longer than `timeout` is logged and counted (`failed`), and tried again after a pause
    that grows from 0.2 s to `interval` or 10 s, whichever is less, and which no wake cuts short: when a database comes
    back, a heartbeat must not be late. The loop itself never ends before `stop`.
    """

    def __init__(
        self,
        name: str,
        tick: Callable[[], Awaitable[float | None]],
        interval: float,
        *,
        timeout: float = 30.0,
        failed: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.name = name
        self._tick = tick
        self._interval = interval
        self._timeout = timeout
        self._failed = failed
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tick, at once; nothing happens when it has begun already."""
        if self._task is not None and not self._task.done():
            return
        self._task = asyncio.create_task(self._run(), name=f"service-{self.name}")

    def wake(self) -> None:
        """Tick as soon as possible instead of waiting for the interval."""
        self._wake.set()

    async def stop(self) -> None:
        """Stop between two ticks, or inside one; takes at most five seconds."""
        if self._task is not None:
            await end(self._task, within=STOP_SECS)

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            self._wake.clear()
            try:
                async with asyncio.timeout(self._timeout):
                    wanted = await self._tick()
                wait = self._interval if wanted is None else wanted
                pause = _FIRST_PAUSE
            except Exception as error:  # noqa: BLE001 - one bad tick must not end the loop
                self._failed(self.name)
                log.warning("tick_failed", service=self.name, error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(pause * random.uniform(1 - JITTER, 1))  # noqa: S311 - jitter
                pause = min(pause * 2, max(self._interval, _FIRST_PAUSE), _LONGEST_PAUSE)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(wait * random.uniform(1 - JITTER, 1)):  # noqa: S311 - jitter
                    await self._wake.wait()
