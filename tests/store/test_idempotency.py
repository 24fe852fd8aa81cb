"""Keys in the database: taken with what they protect, held as long as that, forgotten a day later."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from strait_core.idempotency import Once
from strait_core.store import idempotency, queue
from strait_core.store.idempotency import Scope, trigger_scope
from strait_core.store.jobs import StoredJob
from strait_core.trigger import NewRun, new_run
from strait_core.wire import TriggerRequest
from tests.store.scene import Scene

ONCE = Once("k", "hash")
SCOPE = Scope("p", "createJob")


def keyed(scene: Scene, job: StoredJob, key: str, body_hash: str = "hash") -> NewRun:
    return new_run(
        TriggerRequest(),
        job.spec,
        run_id=scene.new_id(),
        job_id=job.id,
        job_version=job.version,
        now=scene.now,
        once=Once(key, body_hash),
    )


async def keys_of(scene: Scene) -> set[str]:
    return {row["key"] for row in await scene.rows("SELECT key FROM strait.idempotency_keys")}


async def settle(scene: Scene) -> int:
    return (await idempotency.settle(scene.conn, scene.now))[1]


async def test_a_batch_stores_the_first_of_a_key_and_nothing_of_the_others(scene: Scene):
    """Within a batch and against earlier ones; runs without a key pass beside them."""
    job = await scene.job()
    batch = [keyed(scene, job, "a"), keyed(scene, job, "a"), scene.new_run(job), keyed(scene, job, "b", "other")]
    assert await queue.insert_runs(scene.conn, batch, scene.now) == {batch[0].id, batch[2].id, batch[3].id}
    before = await scene.everything()
    assert await queue.insert_runs(scene.conn, [keyed(scene, job, "a"), keyed(scene, job, "b")], scene.now) == set()
    assert await scene.everything() == before
    kept = await idempotency.find(scene.conn, trigger_scope("p", job.id), ["a", "b", "c"], scene.now)
    assert {key: (one.run_ids, one.body_hash) for key, one in kept.items()} == {
        "a": ((batch[0].id,), "hash"),
        "b": ((batch[3].id,), "other"),
    }
    assert (await scene.run(batch[0].id))["idempotency_key"] == "a"
    assert await scene.broken() == []


async def test_a_refused_run_takes_no_key(scene: Scene):
    """A job that is paused, disabled or of another version leaves the key free."""
    job = await scene.job()
    await scene.rows("UPDATE strait.jobs SET paused = true")
    assert await queue.insert_runs(scene.conn, [keyed(scene, job, "a")], scene.now) == set()
    assert await keys_of(scene) == set()


@pytest.mark.parametrize("commits", [True, False])
async def test_who_comes_second_waits_for_the_first(scene: Scene, commits: bool):
    """Until the first has committed (then its run is the one) or rolled back (then the second's is)."""
    job = await scene.job()
    first, second = keyed(scene, job, "a"), keyed(scene, job, "a")
    other = await scene.other()
    await scene.rows("BEGIN")
    assert await queue.insert_runs(scene.conn, [first], scene.now) == {first.id}
    waiting = asyncio.create_task(queue.insert_runs(other, [second], scene.now))
    await scene.blocked(other)
    await scene.rows("COMMIT" if commits else "ROLLBACK")
    assert await waiting == (set() if commits else {second.id})
    rows = await scene.rows("SELECT id FROM strait.runs")
    assert [row["id"] for row in rows] == [first.id if commits else second.id]


async def test_batches_with_the_same_keys_in_other_orders_do_not_deadlock(scene: Scene):
    """Keys are taken in their own order, whatever the batch's is."""
    job = await scene.job()
    names = [f"k{n}" for n in range(50)]
    conns = [await scene.other() for _ in range(4)]
    for turn in range(5):
        batches = [
            [keyed(scene, job, f"{turn}-{name}") for name in (names if at % 2 else reversed(names))] for at in range(4)
        ]
        stored = await asyncio.gather(
            *(queue.insert_runs(conn, batch, scene.now) for conn, batch in zip(conns, batches, strict=True))
        )
        assert sorted(len(one) for one in stored) == [0, 0, 0, 50]


async def test_a_key_is_held_until_a_day_after_the_end(scene: Scene):
    """A waiting run holds its key for ever, a finished one for 24 hours; a replayed one holds it anew."""
    job = await scene.job()
    run = keyed(scene, job, "a")
    await queue.insert_runs(scene.conn, [run], scene.now)
    for _ in range(3):
        scene.later(hours=30)
        assert await settle(scene) == 0
    (claimed,) = await scene.claim()
    (live,) = await scene.start(claimed)
    assert await scene.finish(live)
    scene.later(hours=23, minutes=59)
    assert await settle(scene) == 0
    assert "a" in await idempotency.find(scene.conn, trigger_scope("p", job.id), ["a"], scene.now)
    scene.later(minutes=1)
    assert await idempotency.find(scene.conn, trigger_scope("p", job.id), ["a"], scene.now) == {}
    again = keyed(scene, job, "a")
    assert await queue.insert_runs(scene.conn, [again], scene.now) == {again.id}


async def test_a_key_of_runs_that_are_forgotten_is_forgotten(scene: Scene):
    """A run that retention has dropped holds nothing; nor does an answer older than a day."""
    run_id: UUID = scene.new_id()
    assert await idempotency.take(scene.conn, SCOPE, ONCE, scene.now, run_ids=[run_id])
    assert await idempotency.take(scene.conn, SCOPE, Once("answer", "h"), scene.now)
    await idempotency.keep_answer(scene.conn, SCOPE, "answer", 201, '"e"', "{}")
    kept = (await idempotency.find(scene.conn, SCOPE, ["answer"], scene.now))["answer"]
    assert (kept.status, kept.etag, kept.response, kept.run_ids) == (201, '"e"', "{}", ())
    assert not await idempotency.take(scene.conn, SCOPE, ONCE, scene.now)
    scene.later(hours=23)
    assert await idempotency.settle(scene.conn, scene.now) == (0, 0)
    scene.later(hours=1)
    assert await idempotency.settle(scene.conn, scene.now) == (2, 2)


async def test_a_tick_leaves_what_another_looks_at(scene: Scene):
    """Two keepers at once share the work instead of waiting for each other."""
    other = await scene.other()
    await idempotency.take(scene.conn, SCOPE, ONCE, scene.now)
    scene.later(days=2)
    async with other.transaction():
        await other.execute("SELECT FROM strait.idempotency_keys FOR UPDATE")
        assert await idempotency.settle(scene.conn, scene.now) == (0, 0)
    assert await idempotency.settle(scene.conn, scene.now) == (1, 1)
