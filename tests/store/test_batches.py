"""One run or five hundred, and every text that JSON can hold: stored as it came, or refused as a whole."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strait_core.run import Status
from strait_core.store import queue
from strait_core.store.faults import Refused
from strait_core.store.queue import Release, Start
from tests.store.scene import Scene

AFTER = timedelta(minutes=5)
# Keys are kept elsewhere, and no run of this kind belongs to a workflow run.
NOT_HERE = {"idempotency_key", "body_hash", "workflow_run_id"}
HARD = {
    "nul": '{"a": "\\u0000"}',
    "lone surrogate": '"\\ud800"',
    "pair": '"\\ud83d\\ude00"',
    "beyond every float": "1e400000",
    "many digits": "1" * 5_000,
    "beyond the basic plane": '{"😀": "🂡"}',
    "backslashes": '"\\\\u0000\\\\\\""',
    "separators": '"\u2028\u2029\u0085\ufeff"',
    "blanks": ' {\n\t"a" :  1.0 } ',
    "twice the same key": '{"a":1,"a":2}',
    "deep": "[" * 120 + "]" * 120,
    "five mebibytes": '"' + "x" * (5 * 1024 * 1024 - 2) + '"',
    "five mebibytes of quotes": '"' + '\\"' * ((5 * 1024 * 1024 - 2) // 2) + '"',
}


@pytest.mark.parametrize("name", HARD)
async def test_payload_and_result_are_kept_byte_for_byte(scene: Scene, name: str):
    """What jsonb would refuse or rewrite passes through as text, in and out."""
    text = HARD[name]
    (run_id,) = await scene.add(await scene.job(), payload=text)
    (claimed,) = await scene.claim()
    assert claimed.payload == text
    (live,) = await scene.start(claimed)
    assert await scene.finish(live, result=text)
    row = await scene.run(run_id)
    assert row["payload"] == text
    assert row["result"] == text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200))
async def test_any_text_passes(scene: Scene, text: str):
    """Errors, results, tags and metadata may hold every character but NUL."""
    await scene.clear()
    (run_id,) = await scene.add(await scene.job(), tags={"t": text}, metadata={text: "m"})
    (live,) = await scene.start(*await scene.claim())
    assert await scene.finish(live, Status.DEAD_LETTER, result=text, error=text, error_class=text)
    row = await scene.run(run_id)
    assert (row["result"], row["error"], row["error_class"]) == (text, text, text)
    assert (row["tags"], row["metadata"]) == ({"t": text}, {text: "m"})


@pytest.mark.parametrize("count", [1, 2, 500])
async def test_a_batch_of_any_size_goes_the_whole_way(scene: Scene, count: int):
    """The same statements for one and for five hundred, through every kind of move."""
    job = await scene.job()
    added = await scene.add(job, count)
    claimed = await scene.claim(count)
    assert [run.id for run in claimed] == added

    gone = await queue.release_if_held(scene.conn, [Release(c.id, c.attempt, c.lease, "x") for c in claimed], scene.now)
    assert gone == set(added)
    claimed = await scene.claim(count)
    started = await queue.start_if_held(scene.conn, [Start(c.id, c.attempt, c.lease) for c in claimed], scene.now)
    assert started == set(added)
    live = [c._replace(attempt=1) for c in claimed]
    assert await queue.retry_if_held(scene.conn, [scene.repeat(c, AFTER) for c in live], scene.now) == set(added)
    scene.now += AFTER
    assert set(await scene.promote(count)) == set(added)

    live = await scene.start(*await scene.claim(count))
    assert await queue.finish_if_held(scene.conn, [scene.ending(c) for c in live], scene.now) == set(added)
    assert await scene.folded() == {"completed": count}
    assert len(await scene.rows("SELECT run_id FROM strait.attempts")) == 2 * count
    assert await scene.broken() == []


async def test_an_empty_batch_is_nothing(scene: Scene):
    """No row, no delta, no error."""
    before = await scene.everything()
    assert await queue.insert_runs(scene.conn, [], scene.now) == set()
    assert await queue.start_if_held(scene.conn, [], scene.now) == set()
    assert await queue.finish_if_held(scene.conn, [], scene.now) == set()
    assert await queue.retry_if_held(scene.conn, [], scene.now) == set()
    assert await queue.release_if_held(scene.conn, [], scene.now) == set()
    assert await queue.promote_due(scene.conn, 10, scene.now) == (0, [])
    assert await scene.everything() == before


async def test_one_bad_row_stores_nothing_of_its_batch(scene: Scene):
    """The writer splits what is refused; the statement itself is all or nothing."""
    job = await scene.job()
    fine, bad = scene.new_run(job), scene.new_run(job, tags={"a": "\0"})
    before = await scene.everything()
    with pytest.raises(Refused):
        await queue.insert_runs(scene.conn, [fine, bad], scene.now)
    assert await scene.everything() == before
    live = await scene.start(*(await scene.add(job, 2) and await scene.claim()))
    before = await scene.everything()
    with pytest.raises(Refused):
        await queue.finish_if_held(
            scene.conn, [scene.ending(live[0]), scene.ending(live[1], result='{"a":"\0"}')], scene.now
        )
    assert await scene.everything() == before


@pytest.mark.parametrize("status", [Status.QUEUED, Status.DELAYED])
async def test_runs_that_differ_by_their_payloads_are_stored_like_others(scene: Scene, status: Status):
    """Sent once for all of them, what they share is in every row as if each had been sent alone, the first first."""
    job = await scene.job()
    like = msgspec.structs.replace(
        scene.new_run(job, priority=3, max_attempts=7, timeout_secs=9, tags={"a": 'b"\\'}, metadata={"c": "ä,d"}),
        status=status,
        scheduled_at=scene.now,
        expires_at=scene.now,
        retry_strategy="linear",
        batch_id=scene.new_id(),
        concurrency_key="k",
        parent_run_id=scene.new_id(),
        continuation_of=scene.new_id(),
        lineage_depth=2,
        fire_at=scene.now,
        warnings=["w"],
        workflow_run_id=None,
        step_ref="s",
        step_index=4,
        retry_initial_secs=5,
        retry_max_secs=6,
    )
    made = [
        msgspec.structs.replace(like, id=scene.new_id(), payload=text)
        for text in ('{"a":","}', '"\\u0000"', "{}", "{}")
    ]
    for batch in (made[:1], made[1:3], made[3:]):
        assert await queue.insert_runs(scene.conn, batch, scene.now) == {run.id for run in batch}
    rows = [(await scene.rows("SELECT * FROM strait.runs WHERE id = %s", run.id))[0] for run in made]
    assert [row["payload"] for row in rows] == [run.payload for run in made]
    if status is Status.QUEUED:
        assert [row["ready_seq"] for row in rows] == sorted(row["ready_seq"] for row in rows)
    own = {"id", "payload", "ready_seq"}
    first, *others = [{name: value for name, value in row.items() if name not in own} for row in rows]
    assert others == [first] * 3
    assert {name for name in msgspec.structs.asdict(like) if first.get(name) is None} <= {*own, *NOT_HERE}


async def test_an_id_is_stored_once(scene: Scene):
    """The same run a second time is refused, with all that came along."""
    job = await scene.job()
    run, other = scene.new_run(job), scene.new_run(job)
    assert await queue.insert_runs(scene.conn, [run], scene.now) == {run.id}
    before = await scene.everything()
    for batch in ([other, run], [other, other]):
        with pytest.raises(Refused):
            await queue.insert_runs(scene.conn, batch, scene.now)
        assert await scene.everything() == before


async def test_a_retry_keeps_what_the_attempt_told(scene: Scene):
    """Error, timings and place in time go to the attempt; the run carries the last error on."""
    live = await scene.executing(await scene.job())
    facts = {"error": "HTTP 500: x", "error_class": "server", "http_status": 500, "connect_ms": 1.5, "ttfb_ms": 2.5}
    assert await scene.retry(live, AFTER, priority=4, transfer_ms=3.5, total_ms=4.5, queue_wait_ms=0.5, **facts)
    row = await scene.run(live.id)
    assert (row["status"], row["priority"], row["error"], row["error_class"]) == ("queued", 4, "HTTP 500: x", "server")
    assert (row["next_retry_at"], row["attempt"], row["seq"]) == (scene.now + AFTER, 1, 4)
    (attempt,) = await scene.rows("SELECT * FROM strait.attempts")
    assert {name: attempt[name] for name in facts} == facts
    assert (attempt["number"], attempt["lease"], attempt["worker_id"]) == (1, live.lease, scene.worker)
    assert (attempt["claimed_at"], attempt["started_at"], attempt["finished_at"]) == (scene.now,) * 3
    scene.now += AFTER
    assert await scene.promote() == [live.id]
    assert (await scene.run(live.id))["next_retry_at"] is None
    (again,) = await scene.claim()
    assert (again.attempt, again.error, again.priority, again.queue_wait_ms) == (1, "HTTP 500: x", 4, 0.0)


async def test_a_drained_attempt_is_not_spent(scene: Scene):
    """The allowance moves up with the attempt, and the last real error stays."""
    live = await scene.executing(await scene.job())
    assert await scene.retry(live, outcome="released", base_add=1)
    (again,) = await scene.claim()
    assert (again.attempt, again.attempt_base) == (1, 1)
    assert await scene.broken() == []


async def test_a_promotion_is_bounded_and_tells_what_is_left(scene: Scene):
    """So many at a time, the oldest first; the next time is told for the alarm."""
    job = await scene.job()
    for minute in (3, 1, 2):
        await scene.add(job, scheduled_at=scene.now + timedelta(minutes=minute))
    begin = scene.now
    assert await queue.next_due(scene.conn) == begin + timedelta(minutes=1)
    assert await queue.promote_due(scene.conn, 10, scene.now) == (0, [])
    scene.later(minutes=2)
    taken, first = await queue.promote_due(scene.conn, 1, scene.now)
    assert (taken, len(first)) == (1, 1)
    assert await queue.next_due(scene.conn) == begin + timedelta(minutes=2)
    assert (await queue.promote_due(scene.conn, 10, scene.now))[0] == 1
    scene.later(hours=1)
    assert (await queue.promote_due(scene.conn, 10, scene.now))[0] == 1
    assert await queue.next_due(scene.conn) is None
