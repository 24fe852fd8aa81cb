"""Caps for each key, and rates: who may not start is held without standing in anybody's way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from strait_core.limits import held_back
from strait_core.ratekeys import Bucket
from strait_core.run import Status
from strait_core.store import claims, limits, stats
from strait_core.store.claims import Claimed
from tests.store.scene import Scene, ids_of
from tests.store.test_limits import edit, gate

KEYED: dict[str, Any] = {"max_concurrency_per_key": 1}


async def parked(scene: Scene) -> list[UUID]:
    """The parked runs, in the order in which they return."""
    rows = await scene.rows("SELECT run_id FROM strait.parked ORDER BY key, priority DESC, ready_seq")
    return [row["run_id"] for row in rows]


async def started(scene: Scene) -> list[Claimed]:
    """Claim all there is, in one claim, and start it."""
    return await scene.start(*await scene.claim())


def test_what_fits_is_counted_key_by_key():
    """Each takes up room for those after it; what has no key fits always; who does not fit takes nothing."""
    a, b, c = (Bucket(1, None, key) for key in "abc")
    entries = [[(a, 1)], [], [(a, 1)], [(b, 0)], [(c, 2), (b, 0)], [(c, 2)], [(c, 2)], [(c, 2)], [(a, 1), (b, 0)]]
    assert held_back(entries) == [[], [], [a], [b], [b], [], [], [c], [a, b]]


async def test_a_run_whose_key_is_full_blocks_nobody(scene: Scene):
    """It is parked by the claim that meets it; other keys and runs without a key go on."""
    job = await scene.job(**KEYED)
    first, second = await scene.add(job, 2, concurrency_key="a")
    (other,) = await scene.add(job, concurrency_key="b")
    (plain,) = await scene.add(job)
    live = await started(scene)
    assert ids_of(live) == [first, other, plain]
    assert await parked(scene) == [second]
    assert await scene.broken() == []
    await scene.folded()
    assert await stats.held(scene.conn, None, scene.now) == {"key": 1}
    assert await scene.finish(live[1])
    assert await scene.claim() == []
    assert await scene.finish(live[0])
    assert await parked(scene) == []
    assert ids_of(await scene.claim()) == [second]


async def test_a_key_is_served_by_priority_and_age(scene: Scene):
    """Who returns keeps the place it had, so what came later is not served before it."""
    job = await scene.job(**KEYED)
    low = await scene.add(job, 3, concurrency_key="a")
    live = await started(scene)
    high = await scene.add(job, 1, concurrency_key="a", priority=5)
    assert await scene.claim() == []
    got = [live[0].id]
    while live:
        late = await scene.add(job, 1, concurrency_key="a") if len(got) == 1 else []
        assert await scene.finish(live[0])
        live = await started(scene)
        got += ids_of(live)
        low += late
    assert got == [low[0], *high, *low[1:]]
    assert await scene.broken() == []


async def test_more_full_entries_than_a_claim_looks_at_hide_nobody(scene: Scene):
    """A thousand runs of one key before one of another: the claim looks on past those it parks."""
    job = await scene.job(**KEYED)
    await scene.add(job, 1_000, concurrency_key="a")
    (other,) = await scene.add(job, concurrency_key="b")
    got: list[UUID] = []
    for _ in range(10):
        got += ids_of(await scene.claim(2))
    assert len(got) == 2
    assert other in got
    assert len(await parked(scene)) == 999


@pytest.mark.parametrize("ending", ["retry", "release", "cancel", "cancel the next"])
async def test_a_parked_run_returns_however_the_key_is_freed(scene: Scene, ending: str):
    """By a retry, a release, a cancel of the attempt, or a cancel of the run whose turn it would have been."""
    job = await scene.job(**KEYED)
    first, second, third = await scene.add(job, 3, concurrency_key="a")
    (claimed,) = await scene.claim()
    assert await parked(scene) == [second, third]
    if ending == "release":
        assert await scene.release(claimed)
        await scene.cancel(first)
    else:
        (live,) = await scene.start(claimed)
        if ending == "retry":
            assert await scene.retry(live, timedelta(hours=1))
        elif ending == "cancel":
            await scene.cancel(first)
        else:
            assert await scene.finish(live)
            await scene.cancel(second)
            assert ids_of(await scene.claim()) == [third]
            return
    assert ids_of(await scene.claim()) == [second]
    assert await parked(scene) == [third]
    assert await scene.broken() == []


async def test_a_run_whose_time_is_over_keeps_nobody_from_its_key(scene: Scene):
    """It was next for its key, another was parked behind it; the claim that passes it over lets the other return."""
    job = await scene.job(**KEYED)
    plain = await scene.job(slug="plain")
    await scene.add(job, concurrency_key="a", ttl_secs=10)
    (second,) = await scene.add(job, concurrency_key="a")
    (urgent,) = await scene.add(plain, priority=9)
    assert ids_of(await scene.claim(1)) == [urgent]
    assert await parked(scene) == [second]
    scene.later(seconds=11)
    assert await scene.claim() == []
    assert await parked(scene) == []
    assert await scene.broken() == []
    assert ids_of(await scene.claim()) == [second]


async def test_a_parked_run_can_be_canceled(scene: Scene):
    """It leaves nothing behind."""
    job = await scene.job(**KEYED)
    _, second = await scene.add(job, 2, concurrency_key="a")
    await scene.claim()
    assert await scene.cancel(second) == {second}
    assert await parked(scene) == []
    assert await scene.broken() == []


async def test_edits_of_a_key_cap_let_all_return(scene: Scene):
    """Raised, lowered or lifted: the next claim counts anew."""
    job = await scene.job(**KEYED)
    runs = await scene.add(job, 4, concurrency_key="a")
    await scene.claim()
    job = await edit(scene, job, max_concurrency_per_key=2)
    assert ids_of(await scene.claim()) == runs[1:2]
    assert len(await parked(scene)) == 2
    job = await edit(scene, job, max_concurrency_per_key=None, max_concurrency=3)
    assert ids_of(await scene.claim()) == runs[2:3]
    assert await scene.broken() == []


async def test_keys_and_a_cap_hold_together(scene: Scene):
    """The least of both counts; who waits for the cap is not parked."""
    job = await scene.job(max_concurrency=2, max_concurrency_per_key=1)
    for key in ("a", "a", "b", "c"):
        await scene.add(job, concurrency_key=key)
    assert len(await scene.claim()) == 2
    assert await gate(scene) == (False, "concurrency", 0)
    assert len(await parked(scene)) == 1


async def test_what_is_parked_for_an_idle_key_returns(scene: Scene):
    """Should a slot have been freed without a word, a look at the keys finds who waits."""
    job = await scene.job(**KEYED)
    _, second = await scene.add(job, 2, concurrency_key="a")
    await started(scene)
    assert await limits.unpark_idle(scene.conn, 10) == 0
    await scene.rows("DELETE FROM strait.runs WHERE slot_lane IS NOT NULL")
    assert [v.invariant for v in await scene.broken() if "parked" in v.invariant] == ["parked_run_wrong"]
    assert await limits.unpark_idle(scene.conn, 10) == 1
    assert ids_of(await scene.claim()) == [second]


async def test_a_rate_gives_its_tokens_evenly(scene: Scene):
    """Three a minute: three at once, then one every twenty seconds, to the microsecond, and never more than three saved."""
    job = await scene.job(rate_limit_max=3, rate_limit_window_secs=60)
    await scene.add(job, 20)
    assert len(await scene.claim()) == 3
    assert (await gate(scene))[:2] == (False, "rate")
    look = await claims.look_at_lanes(scene.conn, scene.now)
    assert (look.lanes, look.opens_at) == ([], scene.now + timedelta(seconds=20))
    scene.later(seconds=19.999999)
    assert await scene.claim() == []
    scene.later(microseconds=1)
    assert len(await scene.claim()) == 1
    scene.later(seconds=45)
    assert len(await scene.claim()) == 2
    scene.later(seconds=15)
    assert len(await scene.claim()) == 1
    scene.later(hours=1)
    assert len(await scene.claim()) == 3
    assert await scene.claim() == []


@pytest.mark.parametrize(("most", "window"), [(7, 3), (3, 7), (1, 86_400), (1_000, 1)])
async def test_a_rate_is_never_exceeded(scene: Scene, most: int, window: int):
    """Over some windows with odd numbers: in any stretch no more starts than a full bucket and what flowed in."""
    job = await scene.job(rate_limit_max=most, rate_limit_window_secs=window)
    await scene.add(job, 40)
    begun = scene.now
    got = len(await scene.claim())
    while got < 40 and (at := (await claims.look_at_lanes(scene.conn, scene.now)).opens_at):
        scene.now = at
        taken = len(await scene.claim())
        assert taken >= 1
        got += taken
        assert got <= most + (scene.now - begun).total_seconds() * most / window
        if scene.now - begun >= timedelta(seconds=3 * window):
            break
    assert got in {min(40, 4 * most), min(40, 4 * most) + (scene.now - begun > timedelta(seconds=3 * window))}


async def test_a_released_claim_has_spent_its_token(scene: Scene):
    """A rate counts claims: what was given back waits for the next token."""
    job = await scene.job(rate_limit_max=1, rate_limit_window_secs=10)
    await scene.add(job)
    (claimed,) = await scene.claim()
    assert await scene.release(claimed)
    assert await scene.claim() == []
    scene.later(seconds=10)
    (claimed,) = await scene.claim()
    (live,) = await scene.start(claimed)
    assert await scene.finish(live, Status.COMPLETED)
