"""What runs wait for: recorded, dropped, settled, resumed, timed out, forgotten; no invariant breaks on the way."""

from __future__ import annotations

from datetime import timedelta

import pytest

from strait_core.errors import ConflictError
from strait_core.run import Status
from strait_core.store import events, lineage, parking, runs, waits, watch
from strait_core.store.events import EventStatus
from tests.store.scene import Scene
from tests.store.waiting import claimed, end, fail_once, resume, send, spawn, wait_for, waiting


async def path(scene: Scene, live_id) -> list[tuple[str, str]]:
    """The run's steps as (event, state)."""
    head = await watch.head(scene.conn, live_id)
    assert head is not None
    return [(step.event, step.status.value) for step in (await watch.course(scene.conn, head)).steps]


async def test_a_recorded_wait_becomes_one_when_the_attempt_ends_well(scene: Scene):
    """Only then: while it executes the run stays as it is; then it waits, its attempt closed and not counted."""
    job = await scene.job()
    live = await scene.executing(job)
    told = await wait_for(scene, live)
    assert told is not None
    assert told.wait.outcome is None
    assert await scene.status(live.id) == "executing"
    assert await end(scene, live, http_status=200)
    run = await scene.run(live.id)
    assert (run["status"], run["attempt"], run["attempt_base"], run["lease"]) == ("waiting", 1, 1, None)
    assert [(a["outcome"], a["http_status"]) for a in await runs.attempts(scene.conn, live.id)] == [("waited", 200)]
    (wait,) = (await waits.recorded(scene.conn, [live.id]))[live.id]
    assert (wait.event_key, wait.outcome) == ("k", None)
    assert await scene.folded() == {"waiting": 1}
    assert await scene.broken() == []


async def test_an_event_queues_who_waits_for_it(scene: Scene):
    """waiting → queued, a fresh start, the payload there to read, no attempt of the allowance spent."""
    job = await scene.job(max_attempts=1)
    live = await waiting(scene, job)
    assert (await send(scene)).is_new
    assert await scene.status(live.id) == "queued"
    again = await claimed(scene, live.id)
    (told,) = await waits.waits_of_run(scene.conn, live.id, limit=10, after=None)
    assert (told.wait.outcome, told.payload) == ("received", '{"n": 1}')
    assert await scene.broken() == []
    assert await end(scene, again)
    assert await scene.status(live.id) == "completed"
    assert await path(scene, live.id) == [
        ("create", "queued"), ("claim", "dequeued"), ("start", "executing"), ("wait", "waiting"), ("resume", "queued"),
        ("claim", "dequeued"), ("start", "executing"), ("complete", "completed"),
    ]  # fmt: skip
    assert await scene.rows("SELECT 1 FROM strait.waits") == []
    assert await scene.folded() == {"completed": 1}
    assert await scene.broken() == []


async def test_an_event_that_came_first_lets_the_run_go_on_at_once(scene: Scene):
    """Sent before the wait, or between the wait and the attempt's end: waiting and queued in one transaction."""
    await send(scene, "early")
    job = await scene.job()
    live = await scene.executing(job)
    told = await wait_for(scene, live, "early")
    assert told is not None
    assert (told.wait.outcome, told.payload) == ("received", '{"n": 1}')
    await wait_for(scene, live, "between")
    await send(scene, "between")
    assert await scene.status(live.id) == "executing"
    assert await end(scene, live)
    assert await scene.status(live.id) == "queued"
    assert (await path(scene, live.id))[-2:] == [("wait", "waiting"), ("resume", "queued")]
    assert await scene.broken() == []


async def test_any_other_ending_drops_the_wait(scene: Scene):
    """A retry, a release and a failure: nothing is waited for, and an ordinary attempt follows."""
    job = await scene.job()
    live = await scene.executing(job)
    for facts in ({}, {"outcome": "released", "base_add": 1, "keep": "short"}):
        await wait_for(scene, live)
        assert await fail_once(scene, live, **facts)
        assert await scene.rows("SELECT 1 FROM strait.waits") == []
        assert await scene.broken() == []
        live = await claimed(scene, live.id)
    await wait_for(scene, live)
    assert await end(scene, live, Status.FAILED)
    assert await scene.status(live.id) == "failed"
    assert await scene.broken() == []


async def test_what_came_stays_readable_through_retries(scene: Scene):
    """An attempt after the wait fails: the next one still finds the outcome, and its own wait is dropped."""
    live = await waiting(scene, await scene.job())
    await send(scene)
    again = await claimed(scene, live.id)
    await wait_for(scene, again, "other")
    assert await fail_once(scene, again)
    third = await claimed(scene, live.id)
    told = await wait_for(scene, third)
    assert told is not None
    assert (told.wait.attempt, told.payload) == (1, '{"n": 1}')
    assert len(await waits.waits_of_run(scene.conn, live.id, limit=10, after=None)) == 1
    assert await end(scene, third)
    assert await scene.status(live.id) == "completed"
    assert await scene.broken() == []


async def test_a_result_schema_judges_no_wait(scene: Scene):
    """A 2xx without the result that the job's schema asks for is a wait all the same."""
    live = await scene.executing(await scene.job())
    await wait_for(scene, live)
    assert await fail_once(scene, live, error_class="result_schema", error="result_schema: no", http_status=200)
    assert await scene.status(live.id) == "waiting"
    assert await scene.broken() == []


async def test_a_run_goes_on_when_all_it_waits_for_has_come(scene: Scene):
    """Two events and a child: the last of the three wakes it."""
    job = await scene.job()
    live = await scene.executing(job)
    for key in ("a", "b"):
        await wait_for(scene, live, key)
        scene.later(milliseconds=1)
    child = await spawn(scene, live, job)
    assert await end(scene, live)
    await send(scene, "b")
    assert await end(scene, await claimed(scene, child), result='{"of": "child"}')
    assert await scene.status(live.id) == "waiting"
    await send(scene, "a")
    assert await scene.status(live.id) == "queued"
    came = await waits.waits_of_run(scene.conn, live.id, limit=10, after=None)
    assert [(t.wait.about.split()[0], t.wait.outcome, t.result) for t in came] == [
        ("event", "received", None), ("event", "received", None), ("run", "completed", '{"of": "child"}'),
    ]  # fmt: skip
    assert await scene.broken() == []


@pytest.mark.parametrize("status", [Status.FAILED, Status.DEAD_LETTER, Status.TIMED_OUT])
async def test_a_parent_hears_of_a_child_however_it_ends(scene: Scene, status: Status):
    """The parent goes on with the state in which the child ended, and decides for itself."""
    job = await scene.job()
    live = await scene.executing(job)
    child = await spawn(scene, live, job)
    assert await end(scene, live)
    assert await end(scene, await claimed(scene, child), status, error="HTTP 500: no", error_class="server")
    assert await scene.status(live.id) == "queued"
    (told,) = await waits.waits_of_run(scene.conn, live.id, limit=10, after=None)
    assert (told.wait.outcome, told.error) == (status.value, "HTTP 500: no")
    assert await scene.broken() == []


async def test_a_child_that_ended_first_and_one_that_is_canceled(scene: Scene):
    """Ended before its parent waits: the parent goes on at once. Canceled: the parent hears so."""
    job = await scene.job()
    live = await scene.executing(job)
    child = await spawn(scene, live, job)
    assert await end(scene, await claimed(scene, child))
    assert await end(scene, live)
    again = await claimed(scene, live.id)
    scene.later(milliseconds=1)
    other = await spawn(scene, again, job)
    assert await end(scene, again)
    assert await scene.status(live.id) == "waiting"
    await scene.cancel(other)
    assert await resume(scene) == [live.id]
    came = await waits.waits_of_run(scene.conn, live.id, limit=10, after=None)
    assert [told.wait.outcome for told in came] == ["completed", "canceled"]
    assert await scene.broken() == []


async def test_a_late_wait_for_a_run_that_is_over(scene: Scene):
    """Waiting for a child that has ended is over as soon as it begins; the same again records nothing."""
    job = await scene.job()
    live = await scene.executing(job)
    child = await spawn(scene, live, job, wait=False)
    assert await end(scene, await claimed(scene, child))
    for _ in range(2):
        async with scene.conn.transaction():
            assert await waits.mark(scene.conn, live.id, live.attempt)
            await waits.record_child(scene.conn, live.id, live.attempt, child, scene.now)
    (told,) = await waits.waits_of_run(scene.conn, live.id, limit=10, after=None)
    assert told.wait.outcome == "completed"
    assert await end(scene, live)
    assert await scene.status(live.id) == "queued"
    assert await scene.broken() == []


async def test_an_overdue_wait_ends_the_run(scene: Scene):
    """waiting → timed_out, never early; a replay begins afresh, and the run may wait for the event again."""
    live = await waiting(scene, await scene.job())
    scene.later(minutes=59)
    assert await parking.time_out(scene.conn, scene.now) == []
    assert await parking.next_overdue(scene.conn) == scene.now + timedelta(minutes=1)
    scene.later(minutes=1)
    assert [one.id for one in await parking.time_out(scene.conn, scene.now)] == [live.id]
    run = await scene.run(live.id)
    assert (run["status"], run["error_class"]) == ("timed_out", "wait")
    assert run["error"] == "wait: event k did not come in time"
    assert (await path(scene, live.id))[-1] == ("time_out", "timed_out")
    assert await scene.broken() == []
    assert await scene.replay(live.id)
    again = await claimed(scene, live.id)
    assert (await wait_for(scene, again)).wait.outcome is None  # type: ignore[union-attr]
    assert await scene.broken() == []


@pytest.mark.parametrize(("status", "event"), [(Status.COMPLETED, "complete"), (Status.FAILED, "fail")])
async def test_the_attempt_that_waits_may_end_its_run(scene: Scene, status: Status, event: str):
    """waiting → completed or failed, for the attempt that began to wait and no other."""
    live = await waiting(scene, await scene.job())
    async with scene.conn.transaction():
        assert not await parking.end_waiting(scene.conn, live.id, live.attempt + 1, status, scene.now)
        error = ("sdk", "sdk: no") if status is Status.FAILED else None
        assert await parking.end_waiting(scene.conn, live.id, 1, status, scene.now, result="7", error=error)
    run = await scene.run(live.id)
    assert (run["status"], run["result"]) == (status.value, "7")
    assert (await path(scene, live.id))[-1] == (event, status.value)
    assert await scene.broken() == []


async def test_a_key_holds_for_a_day(scene: Scene):
    """The same body is the same event, another is refused, whoever begins to wait gets it; after a day the key is free."""
    first = await send(scene)
    assert await send(scene) == events.Sent(first.id, is_new=False, is_same=True)
    assert await send(scene, payload="2") == events.Sent(first.id, is_new=False, is_same=False)
    scene.later(hours=23, minutes=59)
    live = await scene.executing(await scene.job())
    assert (await wait_for(scene, live)).payload == '{"n": 1}'  # type: ignore[union-attr]
    scene.later(minutes=1)
    other = await scene.executing_beside(await scene.job(slug="b"))
    assert (await wait_for(scene, other)).wait.outcome is None  # type: ignore[union-attr]
    again = await send(scene, payload="2")
    assert again.is_new
    assert again.id != first.id
    found = await events.events_by_key(scene.conn, "k", None)
    assert [(one.id, one.payload, one.delivered) for one in found] == [(again.id, "2", 1)]
    assert (await events.event_by_id(scene.conn, first.id)).delivered == 1  # type: ignore[union-attr]
    assert await scene.broken() == []


async def test_an_event_that_will_not_come(scene: Scene):
    """Canceled: who waits goes on and hears so; the key is free at once; what was sent cannot be canceled."""
    live = await waiting(scene, await scene.job())
    (event,) = await events.events_by_key(scene.conn, "k", "p")
    assert (event.status, event.waits) == (EventStatus.WAITING, 1)
    async with scene.conn.transaction():
        assert await events.cancel(scene.conn, event.id, scene.now)
    assert await resume(scene) == [live.id]
    (told,) = await waits.waits_of_run(scene.conn, live.id, limit=10, after=None)
    assert (told.wait.outcome, told.payload) == ("canceled", None)
    sent = await send(scene)
    assert sent.is_new
    async with scene.conn.transaction():
        assert not await events.cancel(scene.conn, sent.id, scene.now)
        assert not await events.cancel(scene.conn, event.id, scene.now)
    assert await scene.broken() == []


async def test_lists_and_prefixes(scene: Scene):
    """Awaited keys by prefix, in order; lists by state and prefix; a key that nobody waits for any more is not listed."""
    job = await scene.job()
    live = await waiting(scene, job, "order/1", "order/2", "orders", "other")
    assert await events.awaited_keys(scene.conn, "p", "order/") == ["order/1", "order/2"]
    assert await events.awaited_keys(scene.conn, "q", "order/") == []
    await send(scene, "order/2")
    assert await events.awaited_keys(scene.conn, "p", "order") == ["order/1", "orders"]

    async def listed(**narrow):
        return [one.key for one in await events.list_events(scene.conn, "p", limit=10, before=None, **narrow)]

    assert await listed() == ["other", "orders", "order/2", "order/1"]
    assert await listed(status=EventStatus.RECEIVED) == ["order/2"]
    assert await listed(prefix="order/") == ["order/2", "order/1"]
    await scene.cancel(live.id)
    assert await listed() == ["order/2"]
    assert await scene.broken() == []


async def test_events_are_forgotten_when_nobody_needs_them(scene: Scene):
    """After a day, or an hour after the last wait has gone; not while a run may still read what came."""
    gone = await waiting(scene, await scene.job(slug="b"), "dropped")
    await scene.cancel(gone.id)
    live = await waiting(scene, await scene.job(), "read")
    await send(scene, "read")
    await send(scene, "unread")
    assert await events.forget(scene.conn, scene.now) == (0, 0)
    scene.later(hours=1)
    assert await events.forget(scene.conn, scene.now) == (1, 1)
    scene.later(hours=24)
    assert await events.forget(scene.conn, scene.now) == (2, 1)
    assert [row["key"] for row in await scene.rows("SELECT key FROM strait.events")] == ["read"]
    assert await end(scene, await claimed(scene, live.id))
    scene.later(hours=1)
    assert await events.forget(scene.conn, scene.now) == (1, 1)


async def test_a_run_waits_for_so_much_and_no_more(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    """The bound is kept, and what it refuses leaves nothing."""
    monkeypatch.setattr(waits, "MOST_WAITS", 2)
    live = await scene.executing(await scene.job())
    await wait_for(scene, live, "a")
    await wait_for(scene, live, "b")
    with pytest.raises(ConflictError, match="2 things"):
        await wait_for(scene, live, "c")
    assert len(await waits.waits_of_run(scene.conn, live.id, limit=10, after=None)) == 2
    assert await scene.broken() == []


async def test_an_attempt_that_is_over_records_nothing(scene: Scene):
    """Nor does one that waits already, nor a number that is not the present attempt's."""
    live = await waiting(scene, await scene.job())
    assert await wait_for(scene, live, "late") is None
    await send(scene)
    again = await claimed(scene, live.id)
    assert await wait_for(scene, live, "late") is None
    assert await end(scene, again)
    assert await wait_for(scene, again, "late") is None
    assert await scene.broken() == []


async def test_a_cancel_takes_the_family(scene: Scene):
    """Three generations, whatever state each is in; a sibling family and a continuation live on."""
    job = await scene.job()
    root = await scene.executing(job)
    child = await claimed(scene, await spawn(scene, root, job))
    ended = await claimed(scene, await spawn(scene, root, job, wait=False))
    grandchild = await claimed(scene, await spawn(scene, child, job))
    of_ended = await spawn(scene, ended, job, wait=False)
    assert await end(scene, ended)
    assert await end(scene, root)
    assert await end(scene, child)
    other = await spawn(scene, await scene.executing_beside(await scene.job(slug="b")), job)
    async with scene.conn.transaction():
        taken = await lineage.cancel_family(scene.conn, [root.id], scene.now)
    was = {one.id: (one.was.value, one.worker_id is not None) for one in taken}
    assert was == {
        root.id: ("waiting", False), child.id: ("waiting", False), grandchild.id: ("executing", True),
        of_ended: ("queued", False),
    }  # fmt: skip
    assert await scene.status(ended.id) == "completed"
    assert await scene.status(other) == "queued"
    assert await scene.broken() == []


async def test_a_lineage_spans_what_runs_and_what_is_over(scene: Scene):
    """From any member: ancestors from the first one down, descendants by generation."""
    job = await scene.job()
    root = await scene.executing(job)
    child = await claimed(scene, await spawn(scene, root, job))
    assert await end(scene, root)
    grandchildren = [await spawn(scene, child, job, wait=False) for _ in range(2)]
    assert await end(scene, child)
    scene.later(seconds=1)
    family = await lineage.lineage(scene.conn, await scene.run(child.id))
    assert [row["id"] for row in family.ancestors] == [root.id]
    assert [row["id"] for row in family.descendants] == sorted(grandchildren)
    of_root = await lineage.lineage(scene.conn, await scene.run(root.id))
    assert [row["id"] for row in of_root.descendants] == [child.id, *sorted(grandchildren)]
    assert of_root.is_whole
    await scene.cancel(root.id)
    assert await scene.status(grandchildren[0]) == "queued"
