"""The circuit breaker through the real daemon: it opens, holds, probes once, lets go slowly, and costs no attempt."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from strait_core.breaker import FIRST_ALLOWANCE
from strait_core.run import Status
from strait_core.store import health, jobs
from strait_core.store.jobs import StoredJob
from tests.support.rig import Rig, eventually
from tests.support.scripted import Script, Visit, answer, scripted
from tests.worker.sick import COOLDOWN, Sick, breaker, failed, opened, several, until


@pytest_asyncio.fixture
async def rig(migrated: str) -> AsyncIterator[Rig]:
    """One daemon with a short cooldown."""
    async with several(migrated, 1) as (made,):
        yield made


async def test_five_failures_in_a_row_open_it_and_runs_are_held(rig: Rig) -> None:
    """No attempt is spent while it is open; the one probe that fails opens it again; a success lets all go."""
    sick = Sick()
    async with scripted(sick) as endpoint:
        job = await opened(rig, endpoint)
        held = await rig.add(job, 20)
        visits = len(endpoint.visits)
        assert visits == 5
        gate = await rig.rows("SELECT is_open, reason FROM strait.job_gates(%s)", rig.parts.clock.now())
        assert [(row["is_open"], row["reason"]) for row in gate] == [(False, "breaker")]
        first = (await breaker(rig, job))["open_until"]
        await eventually(lambda: len(endpoint.visits) == visits + 1)
        again = await until(rig, job, "open")
        assert (again["open_until"] - first).total_seconds() >= COOLDOWN
        states = Counter([(await rig.run(one))["status"] for one in held])
        assert states == {Status.QUEUED: 19, Status.DEAD_LETTER: 1}
        assert all([(await rig.run(one))["attempt"] == 0 for one in held if (await rig.run(one))["status"] == "queued"])
        sick.well = True
        await rig.wait_all()
        assert len(endpoint.visits) == visits + 20


async def test_a_recovery_lets_runs_go_second_by_second(rig: Rig) -> None:
    """Ten in the first second, twice as many in the next, and so on; no herd."""
    sick = Sick()
    async with scripted(sick) as endpoint:
        job = await opened(rig, endpoint)
        visits = len(endpoint.visits)
        sick.well = True
        sick.hold.clear()
        await rig.add(job, 60)
        await eventually(lambda: len(endpoint.visits) == visits + 1)
        await asyncio.sleep(0.5)
        sick.hold.set()
        await rig.wait_all()
        began = (await until(rig, job, "recovering", "closed"))["changed_at"]
        claims = await rig.rows("SELECT claimed_at FROM strait.attempts WHERE http_status = 200")
        probe, *after = sorted((row["claimed_at"] - began).total_seconds() for row in claims)
        assert len(after) == 59
        # A claim reads its clock before it is sent, and may be sent just before the verdict on the probe is written.
        assert probe < -0.4 < -0.2 < after[0]
        assert sum(at < 0.9 for at in after) <= FIRST_ALLOWANCE
        assert sum(at < 1.9 for at in after) <= 3 * FIRST_ALLOWANCE
        await until(rig, job, "closed")


async def test_a_success_between_failures_begins_the_count_anew(rig: Rig) -> None:
    """Four failures, one success, four failures: it never opens; nor does it by answers that say no."""
    said = [503] * 4 + [200] + [503] * 4 + [404, 429, 302] + [503] * 4

    async def script(visit: Visit) -> None:
        await visit.say(answer(f"{said[len(endpoint.visits) - 1]} So"))

    async with scripted(script) as endpoint:
        job = await rig.job(endpoint.url, max_attempts=1)
        for _ in said:
            (run_id,) = await rig.add(job)
            await rig.wait(run_id)
        row = await breaker(rig, job)
        assert len(endpoint.visits) == len(said)
        assert row["state"] == "closed"
        await eventually(lambda: failed(rig, job, 4))


@pytest.mark.parametrize("how", ["refused", "timeout", "reset", "garbage"])
async def test_connection_errors_and_timeouts_count(rig: Rig, how: str) -> None:
    """Not only answers: nobody there, too slow, cut off, not HTTP."""
    scripts: dict[str, Script] = {
        "refused": lambda visit: visit.say(b""),
        "timeout": lambda visit: visit.hung_up(),
        "reset": _reset,
        "garbage": lambda visit: visit.say(b"\x00 no HTTP\r\n\r\n"),
    }
    async with scripted(scripts[how]) as endpoint:
        url = endpoint.url
        if how != "refused":
            await expect_open(rig, url)
    if how == "refused":
        await expect_open(rig, url)


async def _reset(visit: Visit) -> None:
    visit.reset()


async def expect_open(rig: Rig, url: str) -> None:
    job = await rig.job(url, max_attempts=1, timeout_secs=1)
    await rig.add(job, 5)
    await until(rig, job, "open")


async def test_a_threshold_of_zero_turns_it_off(rig: Rig) -> None:
    """Nothing is counted, nothing is held, not even by the breaker of a neighbour."""
    async with scripted(Sick()) as endpoint:
        job = await rig.job(endpoint.url, max_attempts=1, breaker_threshold=0)
        await rig.add(job, 20)
        await rig.wait_all()
        assert await rig.rows("SELECT * FROM strait.breakers") == []
        await opened(rig, endpoint, slug="guarded")
        await rig.add(job, 5)
        await rig.wait_all()


async def test_a_well_endpoint_costs_nothing(rig: Rig) -> None:
    """No row, no statement: successes alone never write."""
    sick = Sick()
    sick.well = True
    async with scripted(sick) as endpoint:
        job = await rig.job(endpoint.url)
        await rig.add(job, 100)
        await rig.wait_all()
        assert await rig.rows("SELECT * FROM strait.breakers") == []
        assert await rig.rows(
            "SELECT n_tup_ins + n_tup_upd AS n FROM pg_stat_user_tables WHERE relname = 'breakers'"
        ) in (
            [{"n": 0}],
            [{"n": None}],
        )


async def test_a_probe_that_is_canceled_is_followed_by_another(rig: Rig) -> None:
    """What was let through is gone without a word; nobody waits for it for ever."""
    sick = Sick()
    async with scripted(sick) as endpoint:
        job = await opened(rig, endpoint)
        sick.hold.clear()
        await rig.add(job, 2)
        await eventually(lambda: len(endpoint.visits) == 6)
        probing = await until(rig, job, "probing")
        assert await rig.cancel(probing["probe_run"])
        rig.parts.bus.runs_taken([probing["probe_run"]])
        sick.well = True
        sick.hold.set()
        await rig.wait_all()
        assert len(endpoint.visits) == 7


async def test_a_changed_endpoint_is_another_breaker(rig: Rig) -> None:
    """An edit of the URL, or of the threshold, frees what was held; a job that comes to the sick endpoint is held."""
    sick, well = Sick(), Sick()
    well.well = True
    async with scripted(sick) as bad, scripted(well) as good:
        job = await opened(rig, bad, version_policy="latest")
        await rig.add(job, 3)
        visits = len(bad.visits)
        async with rig.conn.transaction():
            spec = await _changed(rig, job, endpoint_url=good.url)
        await rig.wait_all()
        assert (len(good.visits), len(bad.visits)) == (3, visits)
        async with rig.conn.transaction():
            await _changed(rig, spec, endpoint_url=bad.url, breaker_threshold=0)
        await rig.add(await _now(rig, job), 2)
        await rig.wait_all()
        assert len(bad.visits) == visits + 2


async def _now(rig: Rig, job: StoredJob) -> StoredJob:
    found = await jobs.job_by_id(rig.conn, job.id)
    assert found is not None
    return found


async def _changed(rig: Rig, job: StoredJob, **changes: Any) -> StoredJob:
    locked = await jobs.lock_job(rig.conn, job.id)
    assert locked is not None
    done = await jobs.update_job(
        rig.conn, locked, replace(locked.spec, **changes), rig.parts.new_id(), rig.parts.clock.now(), enabled=True
    )
    assert done is not None
    rig.parts.bus.wake()
    return done


async def test_health_tells_of_breaker_and_attempts(rig: Rig) -> None:
    """Rates, times and classes of what was tried lately, what waits and why."""
    sick = Sick()
    async with scripted(sick) as endpoint:
        job = await rig.job(endpoint.url, max_attempts=1)
        sick.well = True
        await rig.add(job, 5)
        await rig.wait_all()
        sick.well = False
        await rig.add(job, 5)
        await until(rig, job, "open")
        await rig.add(job, 3)
        now = rig.parts.clock.now()
        standing = await health.standing(rig.conn, job.id, now)
        assert standing is not None
        assert (standing.reason, standing.state, standing.until) == ("breaker", "open", standing.open_until)
        oldest = await health.oldest_queued(rig.conn, job.id)
        assert oldest is not None
        assert oldest <= now
        recent = await health.recent_attempts(rig.conn, job.id, now)
        assert (recent.attempts, recent.failures, recent.errors) == (10, 5, {"server": 5})
        assert recent.latency is not None
        assert recent.latency == sorted(recent.latency)
        sick.well = True
        await rig.wait_all()
