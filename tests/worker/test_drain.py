"""The end of a worker: wait for what is under way, release the rest unspent, and never hang."""

from __future__ import annotations

import asyncio
import time

import pytest

from strait_core.run import Status
from strait_core.store import workers
from strait_daemon import wiring
from tests.support.endpoint import Endpoint
from tests.support.rig import Rig, eventually, proxied, running


async def test_a_drain_waits_for_what_is_under_way(rig: Rig, endpoint: Endpoint) -> None:
    """No new claim; open requests finish; nothing is released that could end in time; the worker leaves the list."""
    job = await rig.job(endpoint.url("/hold"), max_attempts=1)
    run_ids = await rig.add(job, 5)
    await eventually(lambda: endpoint.open == 5)
    stopping = asyncio.create_task(rig.stop())
    await eventually(lambda: rig.parts.worker is not None and rig.parts.worker._draining)
    endpoint.release()
    await asyncio.wait_for(stopping, 8)
    for run_id in run_ids:
        assert (await rig.run(run_id))["status"] == Status.COMPLETED
    assert await workers.list_workers(rig.conn) == []


async def test_what_does_not_end_in_time_is_released_unspent(migrated: str, endpoint: Endpoint) -> None:
    """After DRAIN_TIMEOUT requests are closed, runs are queued at once, and their attempts do not count."""
    async with running(migrated, DRAIN_TIMEOUT="0.3") as rig:
        job = await rig.job(endpoint.url("/hang"), max_attempts=1)
        run_ids = await rig.add(job, 5)
        await eventually(lambda: endpoint.open == 5)
        began = time.monotonic()
        await rig.stop()
        assert time.monotonic() - began < 5
        await eventually(lambda: endpoint.open == 0)
        for run_id in run_ids:
            run = await rig.run(run_id)
            assert (run["status"], run["attempt"], run["attempt_base"]) == (Status.QUEUED, 1, 1)
            assert [a["outcome"] for a in await rig.attempts(run_id)] == ["released"]
        assert await workers.list_workers(rig.conn) == []
        await rig.check()
    async with running(migrated, DRAIN_TIMEOUT="0") as rig:
        # The only attempt allowed is still theirs: the next worker makes it, under the next number.
        await eventually(lambda: endpoint.open == 5)
        assert {call.attempt for call in endpoint.calls[5:]} == {2}


async def test_a_second_signal_ends_the_wait(migrated: str, endpoint: Endpoint) -> None:
    """`at_once` releases what is under way now."""
    async with running(migrated, DRAIN_TIMEOUT="60") as rig:
        job = await rig.job(endpoint.url("/hang"))
        await rig.add(job, 3)
        await eventually(lambda: endpoint.open == 3)
        at_once = asyncio.Event()
        stopping = asyncio.create_task(wiring.stop(rig.parts, at_once=at_once))
        rig.stopped = True
        await eventually(lambda: rig.parts.worker is not None and rig.parts.worker._draining)
        began = time.monotonic()
        at_once.set()
        await stopping
        assert time.monotonic() - began < 10
        assert [row["status"] for row in await rig.rows("SELECT status FROM strait.runs")] == ["queued"] * 3
        await rig.check()


async def test_a_drain_that_was_asked_for(rig: Rig, endpoint: Endpoint) -> None:
    """A worker that hears of its drain by the heartbeat claims no more and goes on with what it has."""
    job = await rig.job(endpoint.url("/hold"))
    (run_id,) = await rig.add(job)
    await eventually(lambda: endpoint.open == 1)
    (listed,) = await workers.list_workers(rig.conn)
    assert await workers.drain_worker(rig.conn, listed.id) is not None
    await eventually(lambda: rig.parts.worker is not None and rig.parts.worker._draining)
    (later,) = await rig.add(job)
    endpoint.release()
    assert (await rig.wait(run_id))["status"] == Status.COMPLETED
    assert (await rig.run(later))["status"] == Status.QUEUED
    assert (await workers.list_workers(rig.conn))[0].draining


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["refuse", "freeze"])
async def test_stopping_while_the_database_is_away(migrated: str, endpoint: Endpoint, fault: str) -> None:
    """The process ends in bounded time; what it held is recovered by the next one, none of it twice live."""
    async with proxied(migrated) as proxy, running(proxy.url, migrated, DRAIN_TIMEOUT="1") as rig:
        job = await rig.job(endpoint.url("/hang"), retry_strategy="fixed")
        run_ids = await rig.add(job, 5)
        await eventually(lambda: endpoint.open == 5)
        getattr(proxy, fault)()
        began = time.monotonic()
        await rig.stop()
        assert time.monotonic() - began < 20
        await eventually(lambda: endpoint.open == 0)
        proxy.refuse(False)
        proxy.cut()
        proxy.thaw()
    async with running(migrated, DRAIN_TIMEOUT="0") as rig:
        await eventually(lambda: endpoint.open == 5)
        assert endpoint.most_open == 5
        assert set(endpoint.pairs.values()) == {1}
        assert {(await rig.run(run_id))["status"] for run_id in run_ids} == {Status.EXECUTING}
