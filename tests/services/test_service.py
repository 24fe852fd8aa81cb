"""The one loop: it ticks, wakes, outlives its ticks, backs off, and stops within its bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from strait_daemon.services.service import Service
from tests.support.rig import eventually


class Ticks:
    """Counts ticks, and how many ran at once."""

    def __init__(self, act: Callable[[], Awaitable[float | None]] | None = None) -> None:
        self.count = self.now = self.most = 0
        self._act = act

    async def __call__(self) -> float | None:
        self.count += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await self._act() if self._act else None
        finally:
            self.now -= 1


async def _fail() -> float | None:
    raise RuntimeError("as the test wants")


async def _hang() -> float | None:
    await asyncio.Event().wait()
    return None


async def _pause() -> float | None:
    await asyncio.sleep(0)
    return None


async def test_it_ticks_at_once_and_by_its_interval() -> None:
    """The first tick does not wait; the next comes within the interval and its jitter."""
    ticks = Ticks()
    service = Service("test", ticks, 0.2)
    began = time.monotonic()
    service.start()
    await eventually(lambda: ticks.count == 1, 1)
    await eventually(lambda: ticks.count == 2, 1)
    assert time.monotonic() - began >= 0.17
    await service.stop()


async def test_a_tick_may_say_when_it_wants_the_next() -> None:
    """Seconds that a tick gives replace the interval; 0 means at once, and still lets others run."""
    ticks = Ticks(lambda: asyncio.sleep(0, 0.0))
    service = Service("test", ticks, 3_600)
    service.start()
    await eventually(lambda: ticks.count > 100, 5)
    await service.stop()


async def test_no_wake_is_lost() -> None:
    """Every wake, whenever it comes (before, inside or after a tick), is followed by a tick that began after it."""
    begun = 0
    inside = asyncio.Event()

    async def tick() -> float | None:
        nonlocal begun
        begun += 1
        inside.set()
        await asyncio.sleep(0)
        return None

    service = Service("test", tick, 3_600)
    service.start()
    for turn in range(200):
        inside.clear()
        seen = begun
        service.wake()
        if turn % 3 == 0:
            await inside.wait()
            seen = begun
            service.wake()
        await eventually(lambda seen=seen: begun > seen, 2)  # type: ignore[misc]
    await service.stop()


async def test_a_wake_storm_is_one_tick_at_a_time() -> None:
    """A thousand wakes neither pile up nor run ticks at once."""
    ticks = Ticks(_pause)
    service = Service("test", ticks, 3_600)
    service.start()
    await eventually(lambda: ticks.count == 1, 1)
    for _ in range(1_000):
        service.wake()
    await eventually(lambda: ticks.count == 2, 1)
    for _ in range(20):
        await asyncio.sleep(0)
    assert (ticks.count, ticks.most) == (2, 1)
    await service.stop()


async def test_a_failing_tick_backs_off_whatever_wakes_it() -> None:
    """Failures are counted and tried again after a growing pause, which a storm of wakes does not cut short."""
    ticks = Ticks(_fail)
    failures: list[str] = []
    service = Service("test", ticks, 0.01, failed=failures.append)
    service.start()
    until = time.monotonic() + 1
    while time.monotonic() < until:
        service.wake()
        await asyncio.sleep(0.005)
    assert 2 <= ticks.count <= 7
    assert failures == ["test"] * ticks.count
    await service.stop()


async def test_it_recovers_after_failures() -> None:
    """One good tick and the interval counts again."""
    broken = True

    async def tick() -> float | None:
        if broken:
            raise RuntimeError("as the test wants")
        return None

    ticks = Ticks(tick)
    service = Service("test", ticks, 0.01)
    service.start()
    await eventually(lambda: ticks.count == 2, 2)
    broken = False
    await eventually(lambda: ticks.count > 20, 3)
    await service.stop()


async def test_a_hanging_tick_is_ended_by_its_time_limit() -> None:
    """It counts as failed, and the loop goes on."""
    failures: list[str] = []
    ticks = Ticks(_hang)
    service = Service("test", ticks, 0.01, timeout=0.1, failed=failures.append)
    service.start()
    await eventually(lambda: ticks.count >= 2, 3)
    assert len(failures) >= 1
    assert ticks.most == 1
    await service.stop()


async def test_stopping_ends_a_hanging_tick_at_once() -> None:
    """Stop does not wait for what would never come."""
    ticks = Ticks(_hang)
    service = Service("test", ticks, 0.01)
    service.start()
    await eventually(lambda: ticks.now == 1, 1)
    began = time.monotonic()
    await service.stop()
    assert time.monotonic() - began < 1
    assert ticks.now == 0


async def test_a_lost_cancellation_is_asked_again() -> None:
    """A tick whose cancellation is swallowed (by `wait_for` of Python 3.11, say) does not hold up the stop."""
    swallowed = asyncio.Event()

    async def tick() -> float | None:
        if not swallowed.is_set():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed.set()
        return 60

    service = Service("test", tick, 60)
    service.start()
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await service.stop()
    assert swallowed.is_set()
    assert time.monotonic() - began < 3
    assert service._task is not None
    assert service._task.done()


async def test_many_starts_and_stops_leave_nothing_behind() -> None:
    """Started twice it runs once; stopped twice or before the start nothing happens; no task is left over."""
    before = asyncio.all_tasks()
    ticks = Ticks(_pause)
    service = Service("test", ticks, 0)
    await service.stop()
    for turn in range(200):
        service.start()
        if turn % 2:
            service.start()
        if turn % 3:
            await asyncio.sleep(0)
        if turn % 5 == 0:
            service.wake()
        await service.stop()
        await service.stop()
    assert ticks.most <= 1
    assert asyncio.all_tasks() == before
    counted = ticks.count
    for _ in range(10):
        await asyncio.sleep(0)
    assert ticks.count == counted
