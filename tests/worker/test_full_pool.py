"""A pool without a connection to give: runs are carried out all the same, and what needs it goes on when there is one."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta

from strait_core.run import Status
from strait_daemon.wiring import POOL_MOST
from tests.support.endpoint import Endpoint
from tests.support.rig import Rig, eventually


async def test_runs_need_nothing_of_the_pool(rig: Rig, endpoint: Endpoint) -> None:
    """Triggers, claims, slots, endings and heartbeats go on, longer than a worker may be silent; a retry waits for one."""
    plain, again = await rig.job(endpoint.url("/ok")), await rig.job(endpoint.url("/flaky/1"), slug="again")
    capped = await rig.job(endpoint.url("/ok"), slug="capped", max_concurrency=1)
    (held,) = await rig.add(await rig.job(endpoint.url("/hold"), slug="held", max_attempts=1))
    async with AsyncExitStack() as taken:
        for _ in range(POOL_MOST):
            await taken.enter_async_context(rig.parts.pool.connection())
        since = rig.parts.clock.now() + rig.parts.settings.stale_after
        run_ids = await rig.add(plain, 20) + await rig.add(capped, 5)
        (retried,) = await rig.add(again)
        assert {(await rig.wait(run_id))["status"] for run_id in run_ids} == {Status.COMPLETED}
        due = (await rig.wait(retried, Status.QUEUED))["next_retry_at"]
        since = max(since, due + timedelta(milliseconds=100))
        await eventually(lambda: rig.rows("SELECT 1 FROM strait.workers WHERE heartbeat_at > %s", since))
        assert (await rig.run(retried))["status"] == Status.QUEUED
    endpoint.release()
    assert {(await rig.wait(run_id))["status"] for run_id in (held, retried)} == {Status.COMPLETED}
    assert endpoint.closed_early == []
    assert set(endpoint.pairs.values()) == {1}
