"""An attempt that is ended at an awkward moment still comes to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any
from uuid import UUID, uuid4

from strait_core.run import Status
from tests.support.endpoint import Endpoint
from tests.support.rig import Rig, eventually


async def test_cancelled_before_its_task_took_a_step(rig: Rig, endpoint: Endpoint) -> None:
    """A cancel in the very moment between the making of the task and its first step leaks neither slot nor run."""
    worker = rig.parts.worker
    assert worker is not None
    job = await rig.job(endpoint.url("/ok"), max_attempts=1)
    taken: list[UUID] = []

    def make(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **more: Any) -> asyncio.Task[Any]:
        if getattr(coro, "__name__", "") == "_see_through" and not taken:
            taken.extend(rig.made)
            # Called before the task's first step, which is scheduled only after this.
            loop.call_soon(worker.taken, taken)
        return asyncio.Task(coro, loop=loop, **more)

    new = rig.new_run(job)
    rig.made.append(new.id)
    loop = asyncio.get_running_loop()
    loop.set_task_factory(make)  # type: ignore[arg-type]
    try:
        assert await rig.parts.intake.add(new)
        await eventually(lambda: taken)
    finally:
        loop.set_task_factory(None)
    await eventually(lambda: worker._slots.busy == 0 and not worker._live)
    assert endpoint.calls == []
    assert await rig.cancel(new.id)
    assert (await rig.run(new.id))["status"] == Status.CANCELED


async def test_unknown_ids_are_nobodys(rig: Rig, endpoint: Endpoint) -> None:
    """Signals about runs that this worker does not hold change nothing."""
    assert rig.parts.worker is not None
    job = await rig.job(endpoint.url("/hold"))
    (run_id,) = await rig.add(job)
    await eventually(lambda: endpoint.open == 1)
    rig.parts.worker.taken([uuid4() for _ in range(1_000)])
    endpoint.release()
    assert (await rig.wait(run_id))["status"] == Status.COMPLETED
