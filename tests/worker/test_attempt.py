"""An attempt that is ended at an awkward moment still comes to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from strait_core.run import Status
from tests.support.endpoint import Endpoint
from tests.support.rig import Rig, eventually, proxied, running

# A start takes long enough for a test to get hold of its answer.
_SLOW_START: Final = """
CREATE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep({secs});
    RETURN NEW;
END $$;
CREATE TRIGGER dawdle BEFORE UPDATE ON strait.runs FOR EACH ROW WHEN (NEW.status = 'executing' AND OLD.status = 'dequeued')
    EXECUTE FUNCTION public.dawdle();
"""
either_way = pytest.mark.parametrize("limits", [{}, {"max_concurrency": 5}], ids=["plain", "limited"])


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


@either_way
async def test_canceled_before_the_claim_was_heard(
    migrated: str, endpoint: Endpoint, limits: Mapping[str, Any]
) -> None:
    """It executes, by the database; its worker hears that it was taken before it hears that it has it, and calls nobody."""
    async with (
        proxied(migrated) as proxy,
        running(proxy.url, migrated, HEARTBEAT_INTERVAL="100", STALE_THRESHOLD="300") as rig,
    ):
        job = await rig.job(endpoint.url("/ok"), **limits)
        await rig.wait((await rig.add(job))[0])
        await rig.rows(_SLOW_START.format(secs=0.5))
        (run_id,) = await rig.add(job)
        await eventually(lambda: _is(rig, run_id, Status.DEQUEUED))
        proxy.freeze()
        await eventually(lambda: _is(rig, run_id, Status.EXECUTING))
        assert await rig.cancel(run_id)
        rig.parts.bus.runs_taken([run_id])
        proxy.thaw()
        worker = rig.parts.worker
        assert worker is not None
        await rig.rows("DROP TRIGGER dawdle ON strait.runs")
        await rig.wait((await rig.add(job))[0])
        await eventually(lambda: worker._slots.busy == 0 and not worker._live)
        assert len(endpoint.calls) == 2
        assert (await rig.run(run_id))["status"] == Status.CANCELED
        await rig.stop()
        await rig.check()


@either_way
async def test_cut_while_the_start_is_under_way(migrated: str, endpoint: Endpoint, limits: Mapping[str, Any]) -> None:
    """The session goes on with it after its worker has lost it: it is ended before the run is given back."""
    async with proxied(migrated) as proxy, running(proxy.url, migrated) as rig:
        job = await rig.job(endpoint.url("/ok"), **limits)
        await rig.wait((await rig.add(job))[0])
        await rig.rows(_SLOW_START.format(secs=2))
        (run_id,) = await rig.add(job)
        await eventually(lambda: _is(rig, run_id, Status.DEQUEUED))
        proxy.cut()
        run = await rig.wait(run_id)
        assert (run["status"], run["attempt"] - run["attempt_base"]) == (Status.COMPLETED, 1)
        assert len(endpoint.calls) == 2
        await rig.stop()
        await rig.check()


async def test_a_claim_that_was_heard_too_late(migrated: str, endpoint: Endpoint) -> None:
    """Without a heartbeat for so long the run may be another's by now: nobody is called, and no attempt is spent."""
    async with (
        proxied(migrated) as proxy,
        running(proxy.url, migrated, STALE_THRESHOLD="3", REAPER_INTERVAL="60") as rig,
    ):
        job = await rig.job(endpoint.url("/ok"))
        await rig.wait((await rig.add(job))[0])
        await rig.rows(_SLOW_START.format(secs=0.5))
        (run_id,) = await rig.add(job)
        await eventually(lambda: _is(rig, run_id, Status.DEQUEUED))
        proxy.freeze()
        await eventually(lambda: _is(rig, run_id, Status.EXECUTING))
        await asyncio.sleep(3.5)
        proxy.thaw()
        run = await rig.wait(run_id)
        assert (run["status"], run["attempt"] - run["attempt_base"]) == (Status.COMPLETED, 1)
        assert [call.attempt for call in endpoint.calls] == [1, run["attempt"]]
        assert run["attempt"] > 1
        await rig.stop()
        await rig.check()


async def _is(rig: Rig, run_id: UUID, status: Status) -> bool:
    return bool((await rig.run(run_id))["status"] == status)
