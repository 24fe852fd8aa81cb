"""Named rate limits: no key starts more than it may, who waits is in nobody's way, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from strait_core.ratekeys import RateKey
from strait_core.run import Status
from strait_core.store import claims, jobs, limits, rates, stats
from strait_core.store.jobs import StoredJob
from tests.store.scene import NO_MARKS, Scene, ids_of
from tests.store.test_limits import edit

SECOND = timedelta(seconds=1)
TENANT = RateKey("tenant", "{{payload.tenant}}", 2, 60)
REGION = RateKey("region", "{{payload.region}}", 3, 30)


async def add(scene: Scene, job: StoredJob, count: int = 1, *, priority: int = 0, **payload: Any) -> list[UUID]:
    """Trigger runs with that payload."""
    return await scene.add(job, count, priority=priority, payload=json.dumps(payload))


async def parked(scene: Scene) -> list[UUID]:
    """The parked runs, in the order in which they return."""
    rows = await scene.rows("SELECT run_id FROM strait.parked ORDER BY rate, key, priority DESC, ready_seq")
    return [row["run_id"] for row in rows]


async def returned(scene: Scene) -> int:
    """Let runs return that are due; how many did."""
    return sum((await rates.refill(scene.conn, scene.now))[1].values())


async def claim(scene: Scene, slots: int = 100) -> claims.Claim:
    """One claim, as a worker makes it."""
    lanes = await claims.open_lanes(scene.conn, scene.now)
    return await claims.claim(scene.conn, scene.worker, slots, NO_MARKS, lanes, scene.now)


async def test_each_key_has_tokens_of_its_own(scene: Scene):
    """Two a minute for each tenant; a run without a tenant is not limited; who waits is in nobody's way."""
    job = await scene.job(rate_limit_keys=(TENANT,))
    acme = await add(scene, job, 4, tenant="acme")
    umbra = await add(scene, job, 1, tenant="umbra")
    free = await add(scene, job, 5)
    taken = await claim(scene)
    assert ids_of(taken.runs) == acme[:2] + umbra + free
    assert taken.returns_at == scene.now + 30 * SECOND
    assert await parked(scene) == acme[2:]
    assert await scene.broken() == []
    await scene.folded()
    assert await stats.held(scene.conn, None, scene.now) == {"rate_key": 2}


async def test_who_waits_returns_just_when_there_is_a_token(scene: Scene):
    """Not a microsecond earlier; one for each token, the oldest first, and none more than the bucket holds."""
    job = await scene.job(rate_limit_keys=(TENANT,))
    acme = await add(scene, job, 6, tenant="acme")
    await claim(scene)
    assert await rates.next_wake(scene.conn) == scene.now + 30 * SECOND
    scene.later(seconds=29.999999)
    assert (await returned(scene), await scene.claim()) == (0, [])
    scene.later(microseconds=1)
    assert await returned(scene) == 1
    assert await rates.next_wake(scene.conn) == scene.now + 30 * SECOND
    assert ids_of(await scene.claim()) == acme[2:3]
    scene.later(minutes=40)
    assert await returned(scene) == 2
    assert ids_of(await scene.claim()) == acme[3:5]
    assert await scene.broken() == []
    scene.later(seconds=30)
    assert await returned(scene) == 1
    assert await rates.next_wake(scene.conn) is None
    assert ids_of(await scene.claim()) == acme[5:]


async def test_a_start_takes_a_token_of_each_of_its_keys(scene: Scene):
    """Held by one of two it takes of neither; it waits for the one that comes last."""
    job = await scene.job(rate_limit_keys=(TENANT, REGION))
    first = await add(scene, job, 2, tenant="acme", region="eu")
    blocked = await add(scene, job, 1, tenant="acme", region="eu")
    other = await add(scene, job, 2, tenant="umbra", region="eu")
    assert ids_of(await scene.claim()) == first + other[:1]
    assert await parked(scene) == [other[1], *blocked]
    scene.later(seconds=10)
    assert await returned(scene) == 1
    assert ids_of(await scene.claim()) == other[1:]
    scene.later(seconds=20)
    assert await returned(scene) == 1
    assert ids_of(await scene.claim()) == blocked
    assert await scene.broken() == []


async def test_a_key_is_served_by_priority_and_age(scene: Scene):
    """A run that comes when there is a token does not take it from one that has waited longer."""
    job = await scene.job(rate_limit_keys=(replace(TENANT, max=1),))
    low = await add(scene, job, 3, tenant="acme")
    assert ids_of(await scene.claim()) == low[:1]
    high = await add(scene, job, 1, tenant="acme", priority=3)
    scene.later(minutes=1)
    late = await add(scene, job, 1, tenant="acme")
    urgent = await add(scene, job, 1, tenant="acme", priority=9)
    # `high` has met no claim yet, so nobody stands before `urgent`; `late` stands behind all of them.
    assert ids_of(await scene.claim()) == urgent
    got = []
    for _ in range(4):
        scene.later(minutes=1)
        await returned(scene)
        got += ids_of(await scene.claim())
    assert got == high + low[1:] + late
    assert await scene.broken() == []


@pytest.mark.parametrize("ending", ["retry", "release", "replay"])
async def test_every_start_takes_a_token(scene: Scene, ending: str):
    """A retry, a claim after a release and a replay are starts like the first one."""
    job = await scene.job(rate_limit_keys=(replace(TENANT, max=1),))
    (run_id,) = await add(scene, job, tenant="acme")
    (claimed,) = await scene.claim()
    if ending == "release":
        assert await scene.release(claimed)
    else:
        (live,) = await scene.start(claimed)
        if ending == "retry":
            assert await scene.retry(live)
        else:
            assert await scene.finish(live, Status.FAILED)
            assert await scene.replay(run_id)
    assert await scene.claim() == []
    assert await parked(scene) == [run_id]
    scene.later(minutes=1)
    assert await returned(scene) == 1
    assert ids_of(await scene.claim()) == [run_id]


@pytest.mark.parametrize("how", ["cancel", "pause"])
async def test_what_happens_to_a_parked_run(scene: Scene, how: str):
    """It ends like any other and leaves nothing behind; a pause holds it on, and it goes on when that is over."""
    job = await scene.job(rate_limit_keys=(replace(TENANT, max=1),))
    await add(scene, job, tenant="acme")
    second, third = await add(scene, job, 2, tenant="acme")
    await claim(scene)
    assert await parked(scene) == [second, third]
    if how == "pause":
        await jobs.pause_job(scene.conn, job.id, None, scene.now)
    else:
        assert await scene.cancel(second) == {second}
    scene.later(minutes=1)
    assert await returned(scene) == 1
    assert await scene.broken() == []
    if how == "pause":
        assert await scene.claim() == []
        await jobs.resume_job(scene.conn, job.id, scene.now)
        assert ids_of(await scene.claim()) == [second]
    else:
        assert ids_of(await scene.claim()) == [third]


async def test_an_edit_takes_effect_at_the_next_claim(scene: Scene):
    """For what waits already as well; of a limit that goes nothing is left."""
    job = await scene.job()
    acme = await add(scene, job, 9, tenant="acme")
    job = await edit(scene, job, rate_limit_keys=(TENANT,))
    assert await scene.claim() == []
    assert ids_of(await scene.claim()) == acme[:2]
    job = await edit(scene, job, rate_limit_keys=(replace(TENANT, max=4),))
    assert await parked(scene) == []
    scene.later(seconds=15)
    assert ids_of(await scene.claim()) == acme[2:3]
    job = await edit(scene, job, rate_limit_keys=(RateKey("all", "{{run.triggered_by}}", 1, 5),))
    rows = await scene.rows("SELECT name FROM strait.rate_buckets")
    assert rows == []
    assert ids_of(await scene.claim()) == acme[3:4]
    await edit(scene, job, rate_limit_keys=())
    assert ids_of(await scene.claim()) == acme[4:]
    assert await scene.rows("SELECT name FROM strait.rate_buckets") == []
    assert await scene.broken() == []


async def test_all_limits_hold_together(scene: Scene):
    """A cap, a cap for each concurrency key, a rate of the job and two named ones."""
    job = await scene.job(
        max_concurrency=6, max_concurrency_per_key=2, rate_limit_max=5, rate_limit_window_secs=50,
        rate_limit_keys=(TENANT, REGION),
    )  # fmt: skip
    for tenant in "abcd":
        text = json.dumps({"tenant": tenant, "region": "eu" if tenant in "ab" else "us"})
        await scene.add(job, 3, payload=text, concurrency_key=f"k{tenant}")
    live = await scene.start(*await scene.claim())
    payloads = Counter(json.loads(one.payload)["tenant"] for one in live)
    assert payloads == {"a": 2, "b": 1, "c": 2}
    assert await scene.broken() == []
    for one in live:
        assert await scene.finish(one)
    assert await scene.claim() == []
    scene.later(seconds=10)
    await returned(scene)
    assert len(await scene.claim()) == 1
    assert await scene.broken() == []


async def test_many_claimers_never_start_more_than_there_are_tokens(scene: Scene):
    """Four claimers and two refillers at once (240 runs, 3 tenants), time passing meanwhile: no more than may ever be."""
    job = await scene.job(rate_limit_keys=(replace(TENANT, max=5, window_secs=10),))
    for tenant in "abc":
        await add(scene, job, 80, tenant=tenant)
    begun, left = scene.now, 240
    got: Counter[str] = Counter()

    async def work(conn: Any, worker: UUID) -> None:
        nonlocal left
        while left:
            lanes = await claims.open_lanes(conn, scene.now)
            taken = await claims.claim(conn, worker, 7, NO_MARKS, lanes, scene.now)
            left -= len(taken.runs)
            got.update(json.loads(run.payload)["tenant"] for run in taken.runs)
            for count in got.values():
                assert count <= 5 + (scene.now - begun).total_seconds() * 5 / 10
            if not taken.runs:
                scene.later(seconds=1)

    async def refill(conn: Any) -> None:
        while left:
            await rates.refill(conn, scene.now)
            await asyncio.sleep(0)

    async with asyncio.timeout(120):
        workers = [work(await scene.other(), UUID(int=n)) for n in range(2, 6)]
        await asyncio.gather(*workers, *[refill(await scene.other()) for _ in range(2)])
    assert got == {"a": 80, "b": 80, "c": 80}
    assert await scene.broken() == []


async def test_a_thousand_runs_of_one_key_hide_nobody(scene: Scene):
    """Claims look on past those they park."""
    job = await scene.job(rate_limit_keys=(replace(TENANT, max=1),))
    await add(scene, job, 1_000, tenant="acme")
    (other,) = await add(scene, job, tenant="umbra")
    got: list[UUID] = []
    for _ in range(10):
        got += ids_of(await scene.claim(2))
    assert len(got) == 2
    assert other in got
    assert len(await parked(scene)) == 999


async def test_odd_keys_are_keys_like_any_other(scene: Scene):
    """Long, empty, with NUL, with quotes, 256 characters of four bytes each; different ones stay different."""
    job = await scene.job(rate_limit_keys=(replace(TENANT, max=1),))
    odd = ["", "x" * 256, "😀" * 256, "x" * 100_000, "a\0b", "'; --", "%s", "\\", {"a": [1, None]}, 0, False]
    for key in odd:
        await add(scene, job, 2, tenant=key)
    assert len(await scene.claim()) == len(odd)
    assert len(await parked(scene)) == len(odd)
    scene.later(minutes=1)
    assert await returned(scene) == len(odd)
    assert len(await scene.claim()) == len(odd)
    assert await scene.broken() == []


async def test_payloads_are_read_a_few_at_a_time(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    """What does not fit into one look is looked at by the next claim; nothing is started unseen."""
    monkeypatch.setattr(rates, "MOST_BYTES", 2_500)
    job = await scene.job(rate_limit_keys=(replace(TENANT, max=3),))
    for tenant in "aab":
        await add(scene, job, 2, tenant=tenant, more="x" * 1_000)
    assert [len(await scene.claim()) for _ in range(4)] == [3, 2, 0, 0]
    assert len(await parked(scene)) == 1


async def test_idle_buckets_are_forgotten(scene: Scene):
    """A full bucket says nothing; one that is not, or for which somebody waits, stays."""
    job = await scene.job(rate_limit_keys=(TENANT,))
    for tenant in range(30):
        await add(scene, job, tenant=tenant)
    await add(scene, job, 3, tenant="busy")
    await scene.claim()
    assert await rates.forget_idle(scene.conn, scene.now) == 0
    scene.later(minutes=2)
    assert await rates.forget_idle(scene.conn, scene.now, 20) == 20
    assert await rates.forget_idle(scene.conn, scene.now) == 10
    assert [row["key"] for row in await scene.rows("SELECT key FROM strait.rate_buckets")] == ["busy"]
    await returned(scene)
    await scene.claim()
    assert await rates.forget_idle(scene.conn, scene.now) == 0
    scene.later(minutes=2)
    assert await rates.forget_idle(scene.conn, scene.now) == 1


async def test_a_bucket_in_other_hands_is_left_to_them(scene: Scene):
    """Nobody waits: neither who lets runs return for a claim, nor for another who does the same."""
    job = await scene.job(rate_limit_keys=(replace(TENANT, max=1),))
    await add(scene, job, 2, tenant="acme")
    await claim(scene)
    scene.later(minutes=1)
    other = await scene.other()
    async with other.transaction():
        await scene.rows("SELECT FROM strait.rate_buckets FOR UPDATE", conn=other)
        assert await rates.refill(scene.conn, scene.now) == (0, {})
    assert await returned(scene) == 1


async def test_a_run_parked_beside_a_look_is_found_by_the_next(scene: Scene):
    """A claim that parks while the bucket is being looked after waits for that, and then says when to look again."""
    job = await scene.job(rate_limit_keys=(replace(TENANT, max=1),))
    await add(scene, job, 2, tenant="acme")
    await claim(scene)
    await add(scene, job, tenant="acme")
    looker, claimer = await scene.other(), await scene.other()
    async with looker.transaction():
        await scene.rows("SELECT FROM strait.rate_buckets FOR UPDATE", conn=looker)
        claiming = asyncio.create_task(scene.claim(conn=claimer))
        await scene.blocked(claimer)
        await scene.rows("UPDATE strait.rate_buckets SET wake_at = NULL", conn=looker)
    assert await claiming == []
    assert await rates.next_wake(scene.conn) == scene.now + timedelta(minutes=1)
    assert await scene.broken() == []


async def test_runs_that_nobody_looks_after_are_reported(scene: Scene):
    """So is a limit that the job does not have, and a bucket that has given what it had not."""
    job = await scene.job(rate_limit_keys=(replace(TENANT, max=1),))
    await add(scene, job, 2, tenant="acme")
    await claim(scene)
    await scene.rows("UPDATE strait.rate_buckets SET wake_at = NULL")
    assert [one.invariant for one in await scene.broken()] == ["parked_for_ever"]
    await scene.rows("UPDATE strait.rate_buckets SET wake_at = zero_at, name = 'x'")
    await scene.rows("UPDATE strait.parked SET rate = 'x'")
    assert [one.invariant for one in await scene.broken()] == ["parked_for_ever"]
    await scene.rows('UPDATE strait.jobs SET rate_limit_keys = \'[{"name": "x"}]\'')
    await scene.rows("UPDATE strait.rate_buckets SET zero_at = %s", scene.now + timedelta(minutes=1))
    (violation,) = await scene.broken()
    assert (violation.invariant, violation.count) == ("bucket_overdrawn", 1)


@pytest.mark.parametrize("kind", ["slot", "token"])
async def test_an_edit_waits_for_nobody_who_ends_a_parked_run(scene: Scene, kind: str):
    """Who ends one waits for the job in turn, so they would wait for each other; if it does not end, it returns."""
    set_to: dict[str, Any] = {"rate_limit_keys": (replace(TENANT, max=1),)}
    lifted: dict[str, Any] = {"rate_limit_keys": (), "rate_limit_max": 9, "rate_limit_window_secs": 9}
    if kind == "slot":
        set_to, lifted = {"max_concurrency_per_key": 1}, {"max_concurrency_per_key": None, "max_concurrency": 9}
    job = await scene.job(**set_to)
    payload = json.dumps({"tenant": "acme"})
    first, second, third = await scene.add(job, 3, concurrency_key="k", payload=payload)
    (claimed,) = await scene.claim()
    assert claimed.id == first
    assert await parked(scene) == [second, third]
    canceler = await scene.other()
    async with canceler.transaction():
        await scene.rows("SELECT run_id FROM strait.parked WHERE run_id = %s FOR UPDATE", second, conn=canceler)
        async with asyncio.timeout(20):
            await edit(scene, job, **lifted)
        assert await parked(scene) == [second]
        assert ids_of(await scene.claim()) == [third]
    if kind == "token":
        assert await returned(scene) == 1
    else:
        assert await limits.unpark_idle(scene.conn, 10) == 1
    assert ids_of(await scene.claim()) == [second]
    assert await scene.broken() == []
