"""The circuit breaker under several daemons at once: one count, one probe, and no more when one of them dies."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

from strait_core.breaker import PROBE_PATIENCE, Verdict, of_job
from strait_core.store.jobs import StoredJob
from tests.support.daemon import running_daemon
from tests.support.rig import Rig, eventually, running
from tests.support.scripted import Visit, scripted
from tests.worker.sick import COOLDOWN, Sick, breaker, failed, opened, several, until


async def test_one_probe_at_a_time_over_all_jobs_and_claimers(migrated: str) -> None:
    """Four daemons and two jobs share the endpoint: while the probe is under way nobody else calls it."""
    sick = Sick()
    async with scripted(sick) as endpoint, several(migrated, 4) as rigs:
        one = await opened(rigs[0], endpoint)
        other = await rigs[0].job(endpoint.url, slug="other", max_attempts=1)
        assert of_job(one.spec) == of_job(other.spec)
        sick.hold.clear()
        await eventually(lambda: _lane_of(rigs[0], other))
        for rig, job in zip(rigs, [one, other] * 2, strict=True):
            await rig.add(job, 25)
        await eventually(lambda: len(endpoint.visits) == 6)
        probing = await until(rigs[0], one, "probing")
        # Looked at for long enough for a second probe, had anybody taken the first for lost.
        await eventually(lambda: _seen_for(rigs[0], one, PROBE_PATIENCE * 1.2))
        assert len(endpoint.visits) == 6
        assert (await breaker(rigs[0], one))["probe_lease"] == probing["probe_lease"]
        sick.well = True
        sick.hold.set()
        await rigs[0].wait_all()
        assert len(endpoint.visits) == 5 + 100
        assert len({dict(visit.headers)["X-Run-ID"] for visit in endpoint.visits}) == 105


async def _seen_for(rig: Rig, job: StoredJob, long: timedelta) -> bool:
    row = await breaker(rig, job)
    return bool(row["looked_at"] - row["changed_at"] > long)


async def _lane_of(rig: Rig, job: StoredJob) -> bool:
    rows = await rig.rows("SELECT lane = own_lane AS own FROM strait.jobs WHERE id = %s", job.id)
    return bool(rows[0]["own"])


async def test_failures_of_two_daemons_count_together(migrated: str) -> None:
    """Three here and two there open it; what is in flight by then may fail, nothing more."""
    sick = Sick()
    sick.hold.clear()
    async with scripted(sick) as endpoint, several(migrated, 2, WORKER_POOL_SIZE=3) as rigs:
        job = await rigs[0].job(endpoint.url, max_attempts=1)
        await rigs[0].add(job, 40)
        await eventually(lambda: len(endpoint.visits) == 6)
        workers = await rigs[0].rows("SELECT DISTINCT worker_id FROM strait.runs WHERE status = 'executing'")
        assert len(workers) == 2
        sick.hold.set()
        row = await until(rigs[0], job, "open")
        assert row["failures"] >= 5
        seen = len(endpoint.visits)
        counts = await rigs[0].rows(
            "SELECT count(*) AS n FROM strait.all_runs WHERE status <> 'queued' AND attempt = attempt_base"
        )
        assert counts[0]["n"] == 0
        await until(rigs[0], job, "probing")
        # Who was under way in one of the six slots when it opened, and the probe; the others were held.
        assert len(endpoint.visits) <= seen + 2 * 3 + 1
        assert len(endpoint.visits) < 40
        sick.well = True
        await rigs[0].wait_all()


async def test_a_probe_whose_worker_is_killed_is_followed_by_another(migrated: str) -> None:
    """The probe's lease lapses with its worker: the reaper takes the run back, and the next one is tried."""
    sick = Sick()
    async with scripted(sick) as endpoint, running(migrated, MODE="api") as api:
        settings = {"BREAKER_COOLDOWN": str(COOLDOWN)}
        with running_daemon(migrated, mode="worker", settings=settings) as doomed:
            job = await opened(api, endpoint)
            sick.hold.clear()
            await api.add(job, 5, max_attempts=2)
            await eventually(lambda: len(endpoint.visits) == 6)
            assert (await until(api, job, "probing"))["allowance"] == 0
            doomed.kill()
        sick.well = True
        sick.hold.set()
        async with several(migrated, 1) as (rig,):
            await rig.wait_all(40)
        ended = await api.rows(
            "SELECT status, attempt, count(*) AS n FROM strait.run_history GROUP BY 1, 2 ORDER BY 3, 2"
        )
        assert [(row["status"], row["attempt"], row["n"]) for row in ended] == [
            ("completed", 2, 1),
            ("completed", 1, 4),
            ("dead_letter", 1, 5),
        ]


async def test_probes_of_four_daemons_keep_their_distance(migrated: str) -> None:
    """Again and again opened: between two probes there is always a whole cooldown, whoever makes them."""
    sick, cooldown = Sick(), 0.3
    times: list[float] = []

    async def script(visit: Visit) -> None:
        times.append(asyncio.get_running_loop().time())
        await sick(visit)

    async with scripted(script) as endpoint, several(migrated, 4, BREAKER_COOLDOWN=cooldown) as rigs:
        job = await opened(rigs[0], endpoint)
        await rigs[1].add(job, 30)
        await eventually(lambda: len(times) >= 5 + 6)
        gaps = [later - earlier for earlier, later in pairwise(times[5:])]
        assert min(gaps) >= cooldown * 0.9
        sick.well = True
        await rigs[0].wait_all()
        assert len(times) == 35


async def test_one_daemon_undoes_what_another_counted(migrated: str) -> None:
    """Four failures here, a success there, four failures here: it never opens."""
    async with scripted(Sick()) as endpoint, several(migrated, 2) as (one, other):
        job = await one.job(endpoint.url)
        key = of_job(job.spec)
        assert key is not None
        bad = Verdict(key, ok=False, began_at=one.parts.clock.now(), lease=0, threshold=5)
        for _ in range(2):
            for _ in range(4):
                one.parts.breakers.heard(bad)
            await eventually(lambda: failed(one, job, 4))
            await eventually(lambda: not other.parts.breakers.calm)
            other.parts.breakers.heard(replace(bad, ok=True))
            await eventually(lambda: failed(one, job, 0))
        assert (await breaker(one, job))["state"] == "closed"
