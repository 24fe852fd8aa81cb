"""Reads that find a run wherever it stands, lists and their filters, and the rare moves."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from strait_core import ids
from strait_core.run import CANCELABLE, Event, Status
from strait_core.store import jobs, queue, runs
from strait_core.store.runs import RunFilter
from tests.store.scene import NOW, Scene

AFTER = timedelta(minutes=5)
FIRST = ids.uuid7(NOW, lambda _: 0)


async def listed(scene: Scene, limit: int = 200, before: UUID | None = None, **where: Any) -> list[UUID]:
    rows = await runs.list_runs(scene.conn, RunFilter(**where), limit=limit, before=before)
    return [row["id"] for row in rows]


@pytest.fixture
async def stored(scene: Scene) -> dict[str, UUID]:
    """A run in each of several states, of two jobs in two projects, by name, the oldest first."""
    one, two = await scene.job(), await scene.job(project_id="q", tags={"team": "x"})
    batch = scene.new_id()
    made: dict[str, UUID] = {}
    for name, status, facts in (
        ("completed", Status.COMPLETED, {"result": "[1]"}),
        ("dead", Status.DEAD_LETTER, {"error": "HTTP 500: x", "error_class": "server"}),
    ):
        live = await scene.executing(one)
        await scene.finish(live, status, **facts)
        made[name] = live.id
        scene.later(seconds=10)
    made["executing"] = (await scene.executing(two, tags={"k": "v", "l": "w"}, metadata={"m": "1"})).id
    scene.later(seconds=10)
    made["delayed"] = (await scene.add(one, scheduled_at=scene.now + AFTER, metadata={"m": "2"}))[0]
    scene.later(seconds=10)
    run = scene.new_run(two)
    await queue.insert_runs(scene.conn, [replace(run, batch_id=batch, triggered_by="bulk")], scene.now)
    made |= {"queued": run.id, "batch": batch, "one": one.id, "two": two.id}
    return made


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ({}, "queued delayed executing dead completed"),
        ({"project_id": "p"}, "delayed dead completed"),
        ({"project_id": "nobody"}, ""),
        ({"statuses": [Status.COMPLETED, Status.EXECUTING]}, "executing completed"),
        ({"statuses": {Status.DELAYED}}, "delayed"),
        ({"statuses": []}, "queued delayed executing dead completed"),
        ({"job_ids": []}, ""),
        ({"triggered_by": "bulk"}, "queued"),
        ({"error_class": "server"}, "dead"),
        ({"tags": {"k": "v"}}, "executing"),
        ({"tags": {"k": "v", "team": "x"}}, "executing"),
        ({"tags": {"team": "x"}}, "queued executing"),
        ({"tags": {"k": "other"}}, ""),
        ({"metadata": {"m": "2"}}, "delayed"),
        ({"created_after": NOW + timedelta(seconds=10)}, "queued delayed executing"),
        ({"created_before": NOW + timedelta(seconds=10)}, "completed"),
        ({"created_after": NOW, "created_before": NOW + timedelta(seconds=40), "project_id": "p"}, "delayed dead"),
    ],
)
async def test_a_filter_narrows_the_list(scene: Scene, stored: dict[str, UUID], where: dict[str, Any], names: str):
    """Each field alone and several together, over active and finished runs, newest first."""
    assert await listed(scene, **where) == [stored[name] for name in names.split()]


async def test_a_time_reads_only_what_is_near_it(scene: Scene, stored: dict[str, UUID]):
    """Ids carry the time, so their index rules out all else; the ends of the calendar are times as well."""
    hour = timedelta(hours=1)
    found, values = runs.conditions(RunFilter(created_after=NOW - 2 * hour, created_before=NOW - hour))
    where = b" AND ".join(condition.as_bytes(scene.conn) for condition in found)
    async with scene.conn.transaction():
        await scene.conn.execute("SET LOCAL enable_seqscan = off")
        shown = await scene.conn.execute(b"EXPLAIN SELECT id FROM strait.all_runs r WHERE " + where, values)
        plan = "\n".join(row[0] for row in await shown.fetchall())
    assert plan.count("Index Cond: ((r") + plan.count("Index Cond: ((id") >= 2, plan
    for at in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        assert len(await listed(scene, created_after=at)) in {0, len(await listed(scene))}
        assert len(await listed(scene, created_before=at)) in {0, len(await listed(scene))}


async def test_filters_by_job_batch_and_shortened_id(scene: Scene, stored: dict[str, UUID]):
    """What names other things is given by their ids."""
    assert await listed(scene, job_ids=[stored["two"]]) == [stored["queued"], stored["executing"]]
    assert await listed(scene, job_ids=[stored["one"], stored["two"]]) == await listed(scene)
    assert await listed(scene, batch_id=stored["batch"]) == [stored["queued"]]
    one = ids.spell(ids.Prefix.RUN, stored["dead"])
    assert await listed(scene, id_range=ids.prefix_range(ids.Prefix.RUN, one[:-6])) == [stored["dead"]]
    low, high = ids.prefix_range(ids.Prefix.RUN, "run_") or (FIRST, FIRST)
    assert await runs.match_runs(scene.conn, low, high, 3) == (await listed(scene))[:3]
    assert await runs.match_runs(scene.conn, stored["dead"], stored["dead"], 3) == [stored["dead"]]


async def test_pages_follow_each_other_without_gap_or_repeat(scene: Scene):
    """Whatever the size of a page, and while runs end and new ones come."""
    job = await scene.job()
    for _ in range(12):
        scene.later(seconds=1)
        await scene.add(job, 2)
    everything = await listed(scene)
    assert len(everything) == 24
    assert everything == sorted(everything, reverse=True)
    for size in (1, 5, 24, 100):
        seen: list[UUID] = []
        while page := await listed(scene, limit=size, before=seen[-1] if seen else None):
            assert len(page) <= size
            seen += page
            await scene.add(job)
            for live in await scene.start(*await scene.claim(1)):
                await scene.finish(live)
        assert [run_id for run_id in seen if run_id in set(everything)] == everything
        await scene.rows("DELETE FROM strait.runs WHERE id <> ALL(%s)", everything)
        await scene.rows("DELETE FROM strait.run_history WHERE id <> ALL(%s)", everything)
        await scene.rows("DELETE FROM strait.ready WHERE run_id <> ALL(%s)", everything)


async def test_heavy_fields_come_only_when_asked_for(scene: Scene, stored: dict[str, UUID]):
    """A list leaves payload and result out; what it shows agrees with the run itself."""
    light = (await runs.list_runs(scene.conn, RunFilter(), limit=10, before=None))[-1]
    assert not {"payload", "result"} & set(light)
    heavy = (await runs.list_runs(scene.conn, RunFilter(), limit=10, before=None, include=["payload", "result"]))[-1]
    assert (heavy["payload"], heavy["result"]) == ("{}", "[1]")
    whole = await scene.run(stored["completed"])
    shared = set(light) & set(whole)
    assert {name: light[name] for name in shared} == {name: whole[name] for name in shared}
    assert light["job_slug"] == "a"


async def test_a_run_is_found_wherever_it_stands(scene: Scene, stored: dict[str, UUID]):
    """Active or finished, by its id; an id that nobody has is none, even one from beyond the calendar."""
    for name in ("completed", "dead", "executing", "delayed", "queued"):
        assert (await scene.run(stored[name]))["id"] == stored[name]
    for unknown in (scene.new_id(), UUID(int=0), UUID(int=2**128 - 1)):
        assert await runs.get_run(scene.conn, unknown) is None
        assert await runs.attempts(scene.conn, unknown) == []
        assert await runs.run_events(scene.conn, [unknown]) == []
        assert not await scene.replay(unknown)


async def test_a_run_that_ended_by_another_clock_is_found(scene: Scene):
    """A process whose clock is behind may end a run before the moment in its id."""
    live = await scene.executing(await scene.job())
    scene.later(seconds=-5)
    assert await scene.finish(live, Status.FAILED)
    assert (await scene.run(live.id))["status"] == "failed"
    assert len(await runs.attempts(scene.conn, live.id)) == 1
    assert await scene.replay(live.id)


async def test_attempts_and_rare_moves_tell_the_path(scene: Scene):
    """Claim, release, claim, start, retry, claim, start, finish, replay, cancel: each leaves what the path needs."""
    job = await scene.job(retry_priority_boost=0)
    (run_id,) = await scene.add(job)
    assert await scene.release((await scene.claim())[0])
    (live,) = await scene.start(*await scene.claim())
    assert await runs.live_attempt(scene.conn, run_id) is not None
    assert await scene.retry(live, AFTER)
    assert await runs.live_attempt(scene.conn, run_id) is None
    scene.now += AFTER
    await scene.promote()
    (live,) = await scene.start(*await scene.claim())
    assert await scene.finish(live, Status.FAILED)
    assert await scene.replay(run_id)
    assert await scene.cancel(run_id)
    assert [(row["number"], row["seq"], row["outcome"]) for row in await runs.attempts(scene.conn, run_id)] == [
        (1, 6, "error"),
        (2, 9, "failed"),
    ]
    assert [(row["seq"], row["event"], row["status"]) for row in await runs.run_events(scene.conn, [run_id])] == [
        (3, "release", "queued"),
        (10, "replay", "queued"),
        (11, "cancel", "canceled"),
    ]
    assert await scene.broken() == []


async def test_a_replay_begins_a_fresh_allowance(scene: Scene):
    """Same id, numbers go on, the attempts are allowed anew, the last error stays to be seen."""
    job = await scene.job(max_attempts=1)
    live = await scene.executing(job)
    assert await scene.finish(live, Status.DEAD_LETTER, error="HTTP 500: x", error_class="server")
    assert await scene.replay(live.id)
    (again,) = await scene.claim()
    assert (again.id, again.attempt, again.attempt_base, again.max_attempts) == (live.id, 1, 1, 1)
    assert again.error == "HTTP 500: x"
    (live,) = await scene.start(again)
    assert live.attempt == 2
    assert await scene.finish(live)
    row = await scene.run(live.id)
    assert (row["status"], row["attempt"], row["error"]) == ("completed", 2, None)


@pytest.mark.parametrize("ahead", [None, timedelta(hours=1), timedelta(hours=-1)])
async def test_a_time_to_live_starts_anew_with_each_replay(scene: Scene, ahead: timedelta | None):
    """However often and however late it is replayed, a run lives as long as it was given."""
    request: dict[str, Any] = {} if ahead is None else {"scheduled_at": scene.now + ahead}
    (run_id,) = await scene.add(await scene.job(), ttl_secs=60, **request)
    begin = max(scene.now, scene.now + (ahead or timedelta()))
    assert (await scene.run(run_id))["expires_at"] == begin + timedelta(seconds=60)
    scene.now = begin
    await scene.promote()
    for _ in range(3):
        (live,) = await scene.start(*await scene.claim())
        assert await scene.finish(live, Status.FAILED)
        scene.later(hours=5)
        assert await scene.replay(run_id)
        assert (await scene.run(run_id))["expires_at"] == scene.now + timedelta(seconds=60)


async def test_a_replay_without_a_time_to_live_has_none(scene: Scene):
    """Nothing expires that nobody asked to."""
    live = await scene.executing(await scene.job())
    assert await scene.finish(live, Status.FAILED)
    assert await scene.replay(live.id)
    assert (await scene.run(live.id))["expires_at"] is None


@pytest.mark.parametrize(("change", "replayed"), [("disabled", False), ("deleted", False), ("paused", True)])
async def test_a_replay_needs_a_job_that_may_run(scene: Scene, change: str, replayed: bool):
    """A deleted or disabled job's run stays where it is; a paused job's is held."""
    job = await scene.job()
    live = await scene.executing(job)
    assert await scene.finish(live, Status.FAILED)
    if change == "disabled":
        await jobs.update_job(scene.conn, job, job.spec, scene.new_id(), scene.now, enabled=False)
    elif change == "deleted":
        assert await jobs.delete_job(scene.conn, job.id, scene.now)
    else:
        await jobs.pause_job(scene.conn, job.id, None, scene.now)
    assert await scene.replay(live.id) == replayed
    assert await scene.claim() == []


async def test_the_sweep_finds_what_is_over_before_it_started(scene: Scene):
    """Delayed and queued runs, the longest overdue first, at most so many; what has started is left alone."""
    job = await scene.job()
    started = await scene.executing(job, ttl_secs=1)
    late = (await scene.add(job, ttl_secs=30))[0]
    early = (await scene.add(job, ttl_secs=10))[0]
    delayed = (await scene.add(job, ttl_secs=5, scheduled_at=scene.now + timedelta(seconds=15)))[0]
    await scene.add(job)
    assert await runs.expired_ids(scene.conn, 10, scene.now) == []
    scene.later(seconds=30)
    assert await runs.expired_ids(scene.conn, 10, scene.now) == [early, delayed, late]
    assert await runs.expired_ids(scene.conn, 1, scene.now) == [early]
    assert started.id not in await runs.expired_ids(scene.conn, 10, scene.now)


async def test_several_runs_are_ended_at_once(scene: Scene):
    """Those that may be, each with what it was and who held it; the others are passed over."""
    job = await scene.job()
    live = await scene.executing(job)
    (queued,) = await scene.add(job)
    (later,) = await scene.add(job, scheduled_at=scene.now + AFTER)
    done = await scene.executing_beside(job)
    assert await scene.finish(done)
    async with scene.conn.transaction():
        ended = await runs.end_active(
            scene.conn,
            [live.id, queued, later, done.id, scene.new_id()],
            event=Event.CANCEL,
            to=Status.CANCELED,
            allowed=CANCELABLE,
            now=scene.now,
            reason="no longer wanted",
        )
    assert {one.id: (one.was, one.worker_id) for one in ended} == {
        live.id: (Status.EXECUTING, scene.worker),
        queued: (Status.QUEUED, None),
        later: (Status.DELAYED, None),
    }
    assert [row["reason"] for row in await runs.run_events(scene.conn, [live.id])] == ["no longer wanted"]
    assert [row["outcome"] for row in await runs.attempts(scene.conn, live.id)] == ["canceled"]
    assert await scene.broken() == []


@pytest.mark.parametrize(
    ("event", "to", "allowed"),
    [
        (Event.CANCEL, Status.CANCELED, [Status.QUEUED, Status.COMPLETED]),
        (Event.EXPIRE, Status.EXPIRED, [Status.EXECUTING]),
        (Event.CANCEL, Status.EXPIRED, [Status.QUEUED]),
        (Event.SYSTEM_FAIL, Status.SYSTEM_FAILED, [Status.QUEUED]),
    ],
)
async def test_an_end_that_the_table_does_not_know_is_refused(
    scene: Scene, event: Event, to: Status, allowed: list[Status]
):
    """Whatever a caller asks for, no run leaves the table of moves."""
    (run_id,) = await scene.add(await scene.job())
    with pytest.raises(ValueError, match="does not lead from all of"):
        await runs.end_active(scene.conn, [run_id], event=event, to=to, allowed=allowed, now=scene.now)
    assert await scene.status(run_id) == "queued"


async def test_a_worker_is_told_what_it_holds_still(scene: Scene):
    """Leases that were taken away are not among them."""
    job = await scene.job()
    await scene.add(job, 4)
    claimed = await scene.claim()
    live = await scene.start(*claimed[:2])
    await scene.cancel(live[0].id)
    await scene.release(claimed[3])
    held = [(run.id, run.lease) for run in claimed]
    assert await runs.still_held(scene.conn, held) == {live[1].id, claimed[2].id}
    assert await runs.still_held(scene.conn, [(live[1].id, live[1].lease + 1)]) == set()
    assert await runs.still_held(scene.conn, []) == set()
    rows = await runs.held_by_worker(scene.conn, scene.worker, 10)
    assert {(row["id"], row["status"], row["attempt"]) for row in rows} == {
        (live[1].id, "executing", 1),
        (claimed[2].id, "dequeued", 0),
    }
    assert len(await runs.held_by_worker(scene.conn, scene.worker, 1)) == 1
    assert await runs.held_by_worker(scene.conn, UUID(int=99), 10) == []


async def test_a_shortened_id_finds_the_same_as_a_look_at_every_run(scene: Scene):
    """For any length, what matches is what begins so."""
    job = await scene.job()
    for _ in range(20):
        scene.later(seconds=random.Random(3).randint(1, 10_000))
        await scene.add(job)
    spelled = {ids.spell(ids.Prefix.RUN, run_id): run_id for run_id in await listed(scene)}
    some = sorted(spelled)[7]
    for length in range(4, len(some) + 1):
        found = ids.prefix_range(ids.Prefix.RUN, some[:length])
        assert found is not None
        wanted = sorted((run_id for text, run_id in spelled.items() if text.startswith(some[:length])), reverse=True)
        assert await runs.match_runs(scene.conn, *found, limit=100) == wanted
