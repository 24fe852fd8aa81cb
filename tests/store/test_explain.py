"""Why a run is not running: each reason alone and every two together, against what a claim really does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from itertools import combinations
from typing import Any
from uuid import UUID

import pytest

from strait_core.ids import Prefix, spell
from strait_core.ratekeys import RateKey
from strait_core.reasons import Code
from strait_core.run import Status
from strait_core.store import explain, jobs, limits, rates, workers
from strait_core.store.jobs import StoredJob
from strait_core.store.limits import Freed
from strait_core.store.workers import WorkerRow
from tests.store.scene import WORKER, Scene
from tests.store.waiting import end, send, spawn, wait_for

HOUR = timedelta(hours=1)
HOLDER, OTHER = UUID(int=7), UUID(int=8)
Deed = Callable[[Scene, StoredJob], Awaitable[object]]


async def told(scene: Scene, run_id: UUID) -> list[tuple[str, object]]:
    """The reasons: their codes, and until when."""
    found = await explain.explain(scene.conn, run_id, scene.now, alive_since=scene.now - HOUR)
    assert found is not None
    return [(reason.code.value, reason.until) for reason in found.reasons]


async def codes(scene: Scene, run_id: UUID) -> list[str]:
    """The codes alone."""
    return [code for code, _ in await told(scene, run_id)]


async def worker(scene: Scene, *, slots: int = 4, in_flight: int = 0, draining: bool = False) -> None:
    """A worker that is alive."""
    row = WorkerRow(WORKER, "host", 1, "all", "1", slots, in_flight, draining, scene.now, scene.now)
    await workers.heartbeat(scene.conn, row)


async def enabled(scene: Scene, job: StoredJob, *, enabled: bool) -> None:
    await jobs.update_job(scene.conn, job, job.spec, job.version_id, scene.now, enabled=enabled)


async def windowed(scene: Scene, job: StoredJob, opens_in: timedelta) -> None:
    opens = scene.now + opens_in
    await scene.rows(
        "UPDATE strait.jobs SET open_from = %s, open_until = %s, lane = own_lane WHERE id = %s",
        opens, opens + 3 * HOUR, job.id,
    )  # fmt: skip


async def broken(scene: Scene, job: StoredJob) -> None:
    await scene.rows(
        "INSERT INTO strait.breakers (key, state, failures, changed_at, open_until, allowance, step, looked_at)"
        " SELECT breaker, 'open', 5, %s, %s, 0, 0, %s FROM strait.jobs WHERE id = %s",
        scene.now, scene.now + HOUR, scene.now, job.id,
    )  # fmt: skip
    await scene.rows("UPDATE strait.jobs SET lane = own_lane WHERE id = %s", job.id)


async def full(scene: Scene, job: StoredJob, holder: UUID = HOLDER, key: str | None = None) -> None:
    """Another run of the job has its only slot, whatever else is closed."""
    await scene.rows(
        "INSERT INTO strait.runs (id, job_id, project_id, status, seq, attempt, attempt_base, max_attempts, priority,"
        " timeout_secs, job_version, lease, worker_id, claimed_at, started_at, created_at, triggered_by, tags, metadata,"
        " payload, slot_lane, concurrency_key) SELECT %s, id, 'p', 'executing', 3, 1, 0, 1, 0, 60, 1, 77, %s, %s, %s, %s, 'manual',"
        " '{}', '{}', '{}', own_lane, %s FROM strait.jobs WHERE id = %s",
        holder, WORKER, scene.now, scene.now, scene.now, key, job.id,
    )  # fmt: skip


async def key_full(scene: Scene, job: StoredJob) -> None:
    """A run of the same key has its only slot."""
    await full(scene, job, OTHER, "k")


async def key_freed(scene: Scene, job: StoredJob) -> None:
    """It ends, and who waits for the key returns to its place."""
    await scene.rows("DELETE FROM strait.runs WHERE id = %s", OTHER)
    (row,) = await scene.rows("SELECT own_lane FROM strait.jobs WHERE id = %s", job.id)
    async with scene.conn.transaction():
        await limits.free(scene.conn, [Freed(row["own_lane"], "k", scene.now)])


async def spent(scene: Scene, job: StoredJob) -> None:
    await scene.rows(
        "INSERT INTO strait.lane_rates (lane, zero_at) SELECT own_lane, %s FROM strait.jobs WHERE id = %s"
        " ON CONFLICT (lane) DO UPDATE SET zero_at = excluded.zero_at",
        scene.now + 4 * HOUR, job.id,
    )  # fmt: skip


async def refilled(scene: Scene, _: StoredJob) -> None:
    await scene.rows("DELETE FROM strait.lane_rates")


async def used_up(scene: Scene, job: StoredJob) -> None:
    """The tokens for the run's key have been taken."""
    await scene.rows(
        "INSERT INTO strait.rate_buckets (lane, name, key, zero_at, idle_at)"
        " SELECT own_lane, 'tenant', 'k', %s, %s FROM strait.jobs WHERE id = %s"
        " ON CONFLICT (lane, name, key) DO UPDATE SET zero_at = excluded.zero_at",
        scene.now, scene.now + 9 * HOUR, job.id,
    )  # fmt: skip


async def topped_up(scene: Scene, _: StoredJob) -> None:
    """There are tokens again, and who waits for them returns to its place."""
    await scene.rows("UPDATE strait.rate_buckets SET zero_at = %s, wake_at = %s", scene.now - 9 * HOUR, scene.now)
    await rates.refill(scene.conn, scene.now)


# What closes a gate, and what opens it again; in the order in which reasons are told.
GATES: dict[str, tuple[Deed, Deed]] = {
    "disabled": (lambda s, j: enabled(s, j, enabled=False), lambda s, j: enabled(s, j, enabled=True)),
    "paused": (
        lambda s, j: jobs.pause_job(s.conn, j.id, "because", s.now),
        lambda s, j: jobs.resume_job(s.conn, j.id, s.now),
    ),
    "window": (lambda s, j: windowed(s, j, HOUR), lambda s, j: windowed(s, j, -HOUR)),
    "rate": (spent, refilled),
    "rate_key": (used_up, topped_up),
    "concurrency": (full, lambda s, _: s.rows("DELETE FROM strait.runs WHERE id = %s", HOLDER)),
    "concurrency_key": (key_full, key_freed),
    "breaker": (broken, lambda s, _: s.rows("DELETE FROM strait.breakers")),
}
TIMES = ("delayed", "retry", "")
SETS = [*((name,) for name in GATES), *combinations(GATES, 2), tuple(GATES), ()]


def limits_for(closed: Sequence[str]) -> dict[str, Any]:
    """What the job must limit so that these gates can be closed; the key's holder takes a slot of the job too."""
    found: dict[str, Any] = {"max_concurrency": 1 + ("concurrency_key" in closed)} if "concurrency" in closed else {}
    found |= {"rate_limit_max": 1, "rate_limit_window_secs": 3_600} if "rate" in closed else {}
    if "rate_key" in closed:
        found |= {"rate_limit_keys": (RateKey("tenant", "{{run.concurrency_key}}", 1, 4 * 3_600),)}
    return found | ({"max_concurrency_per_key": 1} if "concurrency_key" in closed else {})


async def waiting_run(scene: Scene, job: StoredJob, time: str) -> UUID:
    """A run of the job that waits for its time, or for nothing."""
    if time == "delayed":
        return (await scene.add(job, scheduled_at=scene.now + HOUR, concurrency_key="k"))[0]
    if time == "retry":
        live = await scene.executing(job, concurrency_key="k")
        assert await scene.retry(live, HOUR)
        return live.id
    return (await scene.add(job, concurrency_key="k"))[0]


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("closed", SETS, ids="+".join)
async def test_every_reason_alone_and_with_others(scene: Scene, closed: Sequence[str], time: str):
    """What is told is exactly what holds the run, and a claim agrees before and after each gate is opened."""
    await worker(scene)
    job = await scene.job(**limits_for(closed))
    run_id = await waiting_run(scene, job, time)
    for name in closed:
        await GATES[name][0](scene, job)
    left = [name for name in GATES if name in closed]
    expected = ([time] if time else []) + left
    assert await codes(scene, run_id) == (expected or ["ready"])
    if time:
        assert await scene.claim() == []
        scene.later(hours=1)
        await worker(scene)
        assert await scene.promote() == [run_id]
        # The window has opened with the hour that has passed.
        left = [name for name in left if name != "window"]
        assert await codes(scene, run_id) == (left or ["ready"])
    for name in list(left):
        assert await scene.claim() == []
        await GATES[name][1](scene, job)
        left.remove(name)
        assert await codes(scene, run_id) == (left or ["ready"])
    (claimed,) = await scene.claim()
    assert claimed.id == run_id
    assert await codes(scene, run_id) == ["claimed"]


async def test_times_and_words_are_those_of_the_run(scene: Scene):
    """Until when, and why somebody paused the job."""
    job = await scene.job()
    (delayed,) = await scene.add(job, scheduled_at=scene.now + HOUR)
    await GATES["window"][0](scene, job)
    await GATES["breaker"][0](scene, job)
    await GATES["paused"][0](scene, job)
    assert await told(scene, delayed) == [
        ("delayed", scene.now + HOUR), ("paused", None), ("window", scene.now + HOUR), ("breaker", scene.now + HOUR),
    ]  # fmt: skip
    found = await explain.explain(scene.conn, delayed, scene.now, alive_since=scene.now)
    assert found is not None
    assert found.reasons[1].text == "job a is paused: because"


async def test_the_runs_that_have_the_slots_are_named(scene: Scene):
    """The first ten of them, and how many more there are."""
    job = await scene.job(max_concurrency=12)
    held = await scene.add(job, 13)
    await scene.start(*await scene.claim())
    found = await explain.explain(scene.conn, held[-1], scene.now, alive_since=scene.now)
    assert found is not None
    (reason,) = found.reasons
    assert (reason.code, len(reason.run_ids)) == ("concurrency", 10)
    assert reason.text.startswith("job a runs 12 at once already: run_")
    assert reason.text.endswith(" and 2 more")


async def test_a_probe_is_named(scene: Scene):
    """While one run finds out whether the endpoint is well, the others wait for it and for no time."""
    job = await scene.job()
    probe, other = await scene.add(job, 2)
    await broken(scene, job)
    await scene.rows("UPDATE strait.breakers SET state = 'probing', probe_run = %s", probe)
    found = await explain.explain(scene.conn, other, scene.now, alive_since=scene.now)
    assert found is not None
    (reason,) = found.reasons
    assert (reason.code, reason.until, len(reason.run_ids)) == ("breaker", None, 1)


async def test_workers_and_the_queue(scene: Scene):
    """No worker, none that takes runs, none with a free slot; and how many runs are taken before this one."""
    job, urgent = await scene.job(), await scene.job(slug="b")
    paused = await scene.job(slug="c")
    await scene.add(job, 2)
    (run_id,) = await scene.add(job)
    assert await codes(scene, run_id) == ["no_worker", "ahead"]
    await worker(scene, draining=True)
    assert await codes(scene, run_id) == ["no_worker", "ahead"]
    await scene.rows("DELETE FROM strait.workers")
    await worker(scene, slots=4, in_flight=4)
    assert await codes(scene, run_id) == ["workers_busy", "ahead"]
    await worker(scene, slots=4, in_flight=3)
    await scene.add(job)
    await scene.add(urgent, priority=5)
    await scene.add(paused, 3, priority=9)
    await jobs.pause_job(scene.conn, paused.id, None, scene.now)
    await scene.rows(
        "UPDATE strait.ready SET lane = (SELECT own_lane FROM strait.jobs WHERE slug = 'c') WHERE priority = 9"
    )
    found = await explain.explain(scene.conn, run_id, scene.now, alive_since=scene.now - HOUR)
    assert found is not None
    assert [(one.code, one.count) for one in found.reasons] == [("ahead", 3)]
    scene.later(hours=2)
    assert await codes(scene, run_id) == ["no_worker", "ahead"]


async def test_places_are_counted_to_a_thousand(scene: Scene):
    """Behind more than that it says so."""
    await worker(scene)
    job = await scene.job()
    for _ in range(3):
        await scene.add(job, 400)
    (run_id,) = await scene.add(job)
    found = await explain.explain(scene.conn, run_id, scene.now, alive_since=scene.now)
    assert found is not None
    assert (found.reasons[0].count, found.reasons[0].text[:12]) == (1_000, "1000 or more")


async def test_a_run_that_runs_or_has_ended_says_so(scene: Scene):
    """Whatever holds its job."""
    job = await scene.job()
    live = await scene.executing(job)
    await jobs.pause_job(scene.conn, job.id, None, scene.now)
    assert await codes(scene, live.id) == ["executing"]
    await scene.finish(live, Status.FAILED)
    assert await codes(scene, live.id) == ["ended"]
    assert await explain.explain(scene.conn, UUID(int=1), scene.now, alive_since=scene.now) is None


async def test_a_deleted_job_holds_nothing(scene: Scene):
    """Its last run was accepted just before; nobody could open the gate again."""
    await worker(scene)
    job = await scene.job()
    (run_id,) = await scene.add(job)
    await jobs.pause_job(scene.conn, job.id, None, scene.now)
    await scene.rows("UPDATE strait.jobs SET deleted_at = %s", scene.now)
    assert await codes(scene, run_id) == ["ready"]


@pytest.mark.parametrize("paused", [False, True])
async def test_what_a_waiting_run_waits_for(scene: Scene, paused: bool):
    """An event, another run, both, neither any more: each by its name, whatever holds its job."""
    job, other = await scene.job(), await scene.job(slug="b")
    live = await scene.executing(job)
    await wait_for(scene, live)
    due_at = scene.now + HOUR
    # Ids of one millisecond have no order.
    scene.later(milliseconds=1)
    child = await spawn(scene, live, other)
    assert await end(scene, live)
    if paused:
        await jobs.pause_job(scene.conn, job.id, None, scene.now)
    assert await told(scene, live.id) == [("event", due_at), ("child", None)]
    found = await explain.explain(scene.conn, live.id, scene.now, alive_since=scene.now)
    assert found is not None
    assert found.reasons[1].run_ids == (spell(Prefix.RUN, child),)
    await send(scene)
    assert await codes(scene, live.id) == ["child"]
    # It has come while somebody else held the run, who has not looked yet.
    await scene.rows("UPDATE strait.waits SET outcome = 'completed', settled_at = %s, ripe = true", scene.now)
    assert await codes(scene, live.id) == ["ready"]


def test_every_reason_is_told_by_a_test():
    """A new one has to be shown alone and beside others: here, or for those of the last line, in the tests named."""
    shown = {*GATES, *filter(None, TIMES), "ended", "executing", "claimed", "event", "child"}
    shown |= {"no_worker", "workers_busy", "ahead", "ready"}
    # test_claims.py::test_a_run_whose_time_to_live_is_over_does_not_start, tests/unit/test_reasons.py
    assert shown | {"expired", "late"} == set(Code)
