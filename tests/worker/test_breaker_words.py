"""What reaches a breaker by other ways than an answer: callbacks that end or never come, runs of older versions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest_asyncio

from strait_core.breaker import FIRST_ALLOWANCE
from strait_core.job import Completion
from strait_core.run import Outcome, OutcomeKind, Status
from strait_core.store import callbacks, jobs
from strait_core.store.jobs import StoredJob
from strait_core.store.sdk import Speaker
from strait_daemon.attempts.outcome import Ending
from tests.support.rig import Rig, eventually
from tests.support.scripted import Visit, answer, scripted
from tests.worker.sick import Sick, breaker, failed, opened, several, until


@pytest_asyncio.fixture
async def rig(migrated: str) -> AsyncIterator[Rig]:
    """One daemon with a short cooldown."""
    async with several(migrated, 1) as (made,):
        yield made


async def accepting(visit: Visit) -> None:
    """An endpoint that accepts whatever comes, and says no more."""
    await visit.say(answer("202 Accepted"))


async def callback_job(rig: Rig, url: str, **changes: Any) -> StoredJob:
    return await rig.job(url, completion=Completion.CALLBACK, max_attempts=1, **{"timeout_secs": 1, **changes})


async def test_callbacks_that_never_come_open_the_breaker(rig: Rig) -> None:
    """Each is a failure, though its endpoint had accepted: an acceptance undoes nothing."""
    async with scripted(accepting) as endpoint:
        job = await callback_job(rig, endpoint.url, breaker_threshold=2)
        for count in (1, 2):
            (run_id,) = await rig.add(job)
            assert (await rig.wait(run_id))["status"] == Status.TIMED_OUT
            await eventually(lambda: failed(rig, job, count))  # noqa: B023 - waited for within the round
        assert (await breaker(rig, job))["state"] == "open"


async def test_a_callback_that_comes_undoes_the_failures_before(rig: Rig) -> None:
    """What the endpoint says counts as an answer does; one that says no is well too."""
    async with scripted(accepting) as endpoint:
        job = await callback_job(rig, endpoint.url)
        for kind in (OutcomeKind.SUCCESS, OutcomeKind.ERROR):
            (run_id,) = await rig.add(job)
            await rig.wait(run_id)
            await eventually(lambda: failed(rig, job, 1))
            (run_id,) = await rig.add(replace(job, spec=replace(job.spec, timeout_secs=60)))
            await ended(rig, run_id, Ending(Outcome(kind), result="1", error_class="reported", error="no"))
            await eventually(lambda: failed(rig, job, 0))


async def ended(rig: Rig, run_id: UUID, ending: Ending) -> None:
    """The endpoint ends its attempt, once it has accepted it."""

    async def accepted() -> bool:
        return bool(await rig.rows("SELECT run_id FROM strait.callbacks WHERE run_id = %s", run_id))

    await eventually(accepted)
    (row,) = await rig.rows("SELECT id, attempt, project_id, status, job_id FROM strait.runs WHERE id = %s", run_id)
    speaker = Speaker(row["id"], row["attempt"])
    live = await callbacks.live(rig.conn, speaker)
    assert live is not None
    target = await rig.parts.ender.target(rig.conn, live)
    assert target is not None
    assert await rig.parts.ender.end(live, target, ending) is not None


async def test_an_acceptance_ends_a_probe(rig: Rig) -> None:
    """The endpoint is there again; nobody waits until the probe's callback has come."""
    sick = Sick()
    async with scripted(sick) as endpoint:
        job = await opened(rig, endpoint, completion=Completion.CALLBACK, timeout_secs=60)
        runs = await rig.add(job, 3)
        sick.well = True
        await until(rig, job, "recovering", "closed")
        for run_id in runs:
            await ended(rig, run_id, Ending(Outcome(OutcomeKind.SUCCESS), result="1"))
        await rig.wait_all()


async def test_runs_of_an_old_version_return_to_their_endpoint_slowly(rig: Rig) -> None:
    """No claim holds them, for their job calls another endpoint now; still there is one probe, and then no herd."""
    sick = Sick()
    async with scripted(sick) as endpoint:
        job = await opened(rig, endpoint)
        # A connection may break for its own reasons on a busy machine: that is no part of this.
        held = await rig.add(job, 60, max_attempts=3)
        async with rig.conn.transaction():
            locked = await jobs.lock_job(rig.conn, job.id)
            assert locked is not None
            spec = replace(locked.spec, endpoint_url="http://127.0.0.1:9/other")
            now = rig.parts.clock.now()
            await jobs.update_job(rig.conn, locked, spec, rig.parts.new_id(), now, enabled=True)
        rig.parts.bus.wake()
        sick.well = True
        await rig.wait_all(60)
        assert {(await rig.run(run_id))["status"] for run_id in held} == {Status.COMPLETED}
        began = (await until(rig, job, "recovering", "closed"))["changed_at"]
        rows = await rig.rows("SELECT started_at, number FROM strait.attempts WHERE http_status = 200")
        after = sorted((row["started_at"] - began).total_seconds() for row in rows)
        assert sum(at < 0 for at in after) == 1
        assert sum(0 <= at < 0.9 for at in after) <= FIRST_ALLOWANCE
        assert sum(0 <= at < 1.9 for at in after) <= 3 * FIRST_ALLOWANCE
        assert max(row["number"] for row in rows) < 12
