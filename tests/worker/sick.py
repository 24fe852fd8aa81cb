"""A sick endpoint, and daemons that have to do with its breaker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from strait_core.breaker import of_job
from strait_core.store.jobs import StoredJob
from tests.support.rig import Rig, eventually, running
from tests.support.scripted import Scripted, Visit, answer

COOLDOWN = 1.0


class Sick:
    """An endpoint's health, in the test's hands."""

    def __init__(self) -> None:
        self.well = False
        self.hold = asyncio.Event()
        self.hold.set()

    async def __call__(self, visit: Visit) -> None:
        """Answer as well as it can, after the gate."""
        await self.hold.wait()
        await visit.say(answer("200 OK") if self.well else answer("503 No", b"sick"))


@asynccontextmanager
async def several(url: str, count: int, **changes: Any) -> AsyncIterator[list[Rig]]:
    """So many daemons on one database, the same as processes to each other; the invariants checked at the end."""
    async with AsyncExitStack() as stack:
        rigs = [
            await stack.enter_async_context(running(url, **{"BREAKER_COOLDOWN": COOLDOWN, **changes}))
            for _ in range(count)
        ]
        yield rigs
        for rig in rigs:
            await rig.stop()
        await rigs[0].check()


async def breaker(rig: Rig, job: StoredJob) -> dict[str, Any]:
    """The row of a job's breaker; state `none` when there is no row."""
    rows = await rig.rows("SELECT * FROM strait.breakers WHERE key = %s", of_job(job.spec))
    return rows[0] if rows else {"state": "none"}


async def until(rig: Rig, job: StoredJob, *states: str) -> dict[str, Any]:
    """Wait until the breaker is in one of these states."""

    async def arrived() -> dict[str, Any] | None:
        row = await breaker(rig, job)
        return row if row["state"] in states else None

    found: dict[str, Any] = await eventually(arrived, missing=f"the breaker never was {states}")
    return found


async def opened(rig: Rig, endpoint: Scripted, slug: str = "job", **changes: Any) -> StoredJob:
    """A job whose breaker has just been opened by five runs of one attempt each."""
    job = await rig.job(endpoint.url, slug=slug, **{"max_attempts": 1, **changes})
    await rig.add(job, 5)
    await until(rig, job, "open")
    return job


async def failed(rig: Rig, job: StoredJob, count: int) -> bool:
    """Whether the breaker has counted exactly so many failures in a row."""
    return bool((await breaker(rig, job)).get("failures") == count)
