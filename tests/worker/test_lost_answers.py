"""The connection breaks after a statement has committed, before its answer comes: nothing is stuck, nothing twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final

import pytest

from strait_core.errors import UnavailableError
from strait_core.run import Status
from tests.support.endpoint import Endpoint
from tests.support.rig import proxied, running

# A piece of each statement that is in no other.
CLAIM: Final = b"SET status = 'dequeued'"
START: Final = b"SET status = 'executing'"
FINISH: Final = b"result_truncated boolean"
RETRY: Final = b"base_add integer"
INSERT: Final = b"INTO strait.runs (id, job_id"
HEARTBEAT: Final = b"INTO strait.workers"
PROMOTE: Final = b"DELETE FROM strait.due d WHERE d.ctid"


@pytest.mark.parametrize("limits", [{}, {"max_concurrency": 50}], ids=["plain", "limited"])
@pytest.mark.parametrize("statement", [CLAIM, START, FINISH, HEARTBEAT], ids=["claim", "start", "finish", "heartbeat"])
async def test_a_run_whose_statement_was_not_heard(
    migrated: str, endpoint: Endpoint, statement: bytes, limits: dict[str, Any]
) -> None:
    """Each of the moves of a run may be lost on its way back: it completes, called once, and one attempt is spent."""
    # A start that goes with its claim is lost with it: then nobody knows of the attempt, and it is let go unspent.
    together = statement in {CLAIM, START}
    async with proxied(migrated) as proxy, running(proxy.url, migrated) as rig:
        job = await rig.job(endpoint.url("/ok"), **limits)
        # The statements have been prepared by now, so the one that is lost is the one that matters.
        await rig.wait((await rig.add(job))[0])
        lost = proxy.lose_answer(statement)
        run_ids = await rig.add(job, 20)
        await asyncio.wait_for(lost.wait(), 10)
        for run_id in run_ids:
            run = await rig.wait(run_id)
            assert (run["status"], run["attempt"] - run["attempt_base"]) == (Status.COMPLETED, 1)
            released = [a["number"] for a in await rig.attempts(run_id) if a["outcome"] == "released"]
            assert released in ([[], [1]] if together else [[]])
        assert set(Counter(run_id for run_id, _ in endpoint.pairs.elements()).values()) == {1}
        await rig.stop()
        await rig.check()


async def test_a_retry_that_was_not_heard(migrated: str, endpoint: Endpoint) -> None:
    """A failed attempt whose closing was not heard is retried once, not twice and not never."""
    async with proxied(migrated) as proxy, running(proxy.url, migrated) as rig:
        job = await rig.job(endpoint.url("/flaky/1"), retry_strategy="fixed", breaker_threshold=0)
        await rig.wait((await rig.add(job))[0])
        for statement in (RETRY, PROMOTE):
            lost = proxy.lose_answer(statement)
            run_ids = await rig.add(job, 10)
            await asyncio.wait_for(lost.wait(), 10)
            for run_id in run_ids:
                run = await rig.wait(run_id)
                assert (run["status"], run["attempt"]) == (Status.COMPLETED, 2)
                assert [a["number"] for a in await rig.attempts(run_id)] == [1, 2]
        assert set(endpoint.pairs.values()) == {1}
        await rig.stop()
        await rig.check()


async def test_an_insert_that_was_not_heard(migrated: str, endpoint: Endpoint) -> None:
    """The caller hears that nobody knows; the run, stored in fact, is executed once."""
    async with proxied(migrated) as proxy, running(proxy.url, migrated) as rig:
        job = await rig.job(endpoint.url("/ok"))
        await rig.add(job)
        proxy.lose_answer(INSERT)
        new = rig.new_run(job)
        with pytest.raises(UnavailableError, match="may or may not have been stored"):
            await rig.parts.intake.add(new)
        assert (await rig.wait(new.id))["status"] == Status.COMPLETED
        assert set(endpoint.pairs.values()) == {1}
        await rig.stop()
        await rig.check()


async def test_a_bulk_insert_that_was_not_heard(migrated: str, endpoint: Endpoint) -> None:
    """The commit of a bulk trigger is lost on its way back: all of its runs are there, and the next bulk works."""
    async with proxied(migrated) as proxy, running(proxy.url, migrated) as rig:
        job = await rig.job(endpoint.url("/ok"))
        new = [rig.new_run(job) for _ in range(700)]
        proxy.lose_answer(INSERT)
        with pytest.raises(UnavailableError):
            await rig.parts.intake.add_all(new)
        assert await rig.parts.intake.add_all([rig.new_run(job)])
        await rig.wait_all()
        assert len(endpoint.pairs) == 701
        assert set(endpoint.pairs.values()) == {1}
        await rig.stop()
        await rig.check()


async def test_connections_that_break_all_the_time(migrated: str, endpoint: Endpoint) -> None:
    """Thirty cuts at whatever instant they fall: every run completes and no (run, attempt) is called twice."""
    async with proxied(migrated) as proxy, running(proxy.url, migrated, WORKER_POOL_SIZE=40) as rig:
        job = await rig.job(endpoint.url("/ok"), max_attempts=5)
        for _ in range(30):
            new = [rig.new_run(job) for _ in range(20)]
            adding = [asyncio.create_task(rig.parts.intake.add(run)) for run in new]
            # The cut falls anywhere between the insert of some and the last finish of others.
            await asyncio.wait(adding, timeout=1, return_when=asyncio.FIRST_COMPLETED)
            proxy.cut()
            await asyncio.gather(*adding, return_exceptions=True)
        await rig.wait_all(60)
        assert set(endpoint.pairs.values()) == {1}
        ended = await rig.rows("SELECT status, count(*) AS n FROM strait.run_history GROUP BY 1")
        assert [row["status"] for row in ended] == ["completed"]
        await rig.stop()
        await rig.check()
