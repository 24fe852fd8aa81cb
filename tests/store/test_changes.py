"""The feed of changes: whatever is committed stands there once, in the order of each object, at a place that stays."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import timedelta
from uuid import UUID

import pytest

from strait_core.store import changes, events, jobs, queue, stats, workflow_runs
from strait_core.store.changes import ALL_ENTRIES, START, Place, StoredChange
from strait_core.wire.changes import Kind
from tests.store.flow import Flow
from tests.store.scene import Scene


async def told(scene: Scene, after: Place = START, size: int = 1_000) -> list[StoredChange]:
    """Everything behind a place, published and read page by page."""
    while await stats.fold(scene.conn, scene.now):
        pass
    found: list[StoredChange] = []
    while page := await changes.page(scene.conn, found[-1].place if found else after, size):
        found += page
    return found


def ways(found: list[StoredChange]) -> dict[UUID, list[tuple[int, str]]]:
    """What is told of each object, in the order of the feed."""
    of: dict[UUID, list[tuple[int, str]]] = defaultdict(list)
    for one in found:
        of[one.id].append((one.seq, one.status))
    return of


async def test_a_run_from_its_trigger_to_its_end(scene: Scene):
    """Each state with its seq and attempt, its job and its project."""
    job = await scene.job()
    run = await scene.executing(job)
    assert await scene.finish(run)
    found = [one for one in await told(scene) if one.kind == Kind.RUN]
    assert [(one.seq, one.status, one.attempt) for one in found] == [
        (1, "queued", 0), (2, "dequeued", 0), (3, "executing", 1), (4, "completed", 1),
    ]  # fmt: skip
    assert {(one.id, one.owner, one.project_id) for one in found} == {(run.id, job.id, job.spec.project_id)}


async def test_what_becomes_of_a_job(scene: Scene):
    """Created, updated (with its new version), paused, resumed, deleted."""
    job = await scene.job()
    await jobs.pause_job(scene.conn, job.id, None, scene.now)
    await jobs.resume_job(scene.conn, job.id, scene.now)
    assert await jobs.delete_job(scene.conn, job.id, scene.now)
    found = [one for one in await told(scene) if one.kind == Kind.JOB]
    assert [(one.seq, one.status) for one in found] == [(1, "created"), (1, "paused"), (1, "resumed"), (1, "deleted")]
    assert {(one.id, one.project_id, one.attempt) for one in found} == {(job.id, job.spec.project_id, None)}


async def test_what_becomes_of_an_event(scene: Scene):
    """Awaited, then received or canceled; a second send of the same says nothing."""
    async with scene.conn.transaction():
        held = await events.hold(scene.conn, "p", "a", scene.now)
        await events.send(scene.conn, "p", "a", "{}", "hash", scene.now)
        await events.send(scene.conn, "p", "a", "{}", "hash", scene.now)
        other = await events.hold(scene.conn, "p", "b", scene.now)
        assert await events.cancel(scene.conn, other.id, scene.now)
    of = ways(await told(scene))
    assert of[held.id] == [(0, "waiting"), (0, "received")]
    assert of[other.id] == [(0, "waiting"), (0, "canceled")]


async def test_a_workflow_run_and_its_steps(scene: Scene):
    """Its seq goes on without a gap, from its beginning to its end."""
    flow = Flow(scene)
    await scene.job(slug="of-steps")
    steps = ({"step_ref": "s", "job_id": "of-steps"}, {"step_ref": "q", "step_type": "approval", "depends_on": ["s"]})
    run_id = await flow.trigger(await flow.workflow(*steps))
    await flow.move(workflow_runs.cancel, run_id)
    way = ways(await told(scene))[run_id]
    assert [seq for seq, _ in way] == list(range(1, len(way) + 1))
    assert (way[0][1], way[-1][1]) == ("running", "canceled")
    assert await scene.broken() == []


async def test_pages_of_any_size_tell_the_same(scene: Scene):
    """A batch is cut wherever a page ends; the place behind a change leads to the next one."""
    job = await scene.job()
    for count in (1, 7, 3):
        await scene.add(job, count)
    whole = await told(scene)
    assert len({one.id for one in whole}) == 12
    for size in (1, 2, 5):
        assert await told(scene, size=size) == whole
    for at, one in enumerate(whole):
        assert await changes.page(scene.conn, one.place, 100) == whole[at + 1 :]


async def test_only_what_was_asked_for(scene: Scene):
    """Of one project, of some kinds."""
    mine = await scene.job(slug="mine")
    other = await scene.job(slug="other", project_id="elsewhere")
    runs = [run_id for job in (mine, other) for run_id in await scene.add(job)]
    whole = await told(scene)
    assert len(whole) == 4
    of_project = await changes.page(scene.conn, START, 100, project="elsewhere")
    assert [one.id for one in of_project] == [other.id, runs[1]]
    of_kind = await changes.page(scene.conn, START, 100, kinds=["run"])
    assert [one.id for one in of_kind] == runs


async def test_few_of_very_many_are_read_in_portions(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    """However long the way to what is wanted, no statement is: a page ends where its time does, and says so."""
    monkeypatch.setattr(changes, "READ_POSITIONS", 2)
    monkeypatch.setattr(changes, "READ_SECS", 0.0)
    after = Place(await changes.head(scene.conn), ALL_ENTRIES)
    for number in range(5):
        await scene.job(slug=f"loud{number}")
        await stats.fold(scene.conn, scene.now)
    found = await changes.read(scene.conn, after, 100, project="nobody's")
    assert found is not None
    assert (found.changes, found.end, found.has_more) == ([], Place(after.position + 2, ALL_ENTRIES), True)
    seen, place, rounds = list[StoredChange](), after, 0
    while (found := await changes.read(scene.conn, place, 3)) is not None and (found.has_more or found.changes):
        seen, place, rounds = [*seen, *found.changes], found.end, rounds + 1
    assert seen == await changes.page(scene.conn, after, 1_000)
    assert rounds >= 2
    assert place == Place(await changes.head(scene.conn), ALL_ENTRIES)


async def test_nothing_appears_behind_a_reader(scene: Scene):
    """Writers commit in any order, several fold: what a reader has passed stays as it was, and he misses nothing."""
    job = await scene.job()
    conns = [await scene.other() for _ in range(4)]
    reader = await scene.other()
    seen: list[StoredChange] = []

    async def write(conn, number: int) -> None:
        for turn in range(12):
            async with conn.transaction():
                await queue.insert_runs(conn, [scene.new_run(job)], scene.now)
                await asyncio.sleep(0.001 * ((number * 7 + turn) % 5))

    async def fold(conn, done: asyncio.Event) -> None:
        while not done.is_set():
            await stats.fold(conn, scene.now)
            seen.extend(await changes.page(reader, seen[-1].place if seen else START, 3))
            await asyncio.sleep(0)

    done = asyncio.Event()
    folder = asyncio.create_task(fold(conns[3], done))
    await asyncio.gather(*(write(conn, number) for number, conn in enumerate(conns[:3])))
    done.set()
    await folder
    seen += await told(scene, seen[-1].place if seen else START)
    assert seen == await told(scene)
    assert len({one.id for one in seen if one.kind == Kind.RUN}) == 36


async def test_hours_come_and_go(own_scene: Scene):
    """An hour's partition is made when it is needed; after a day it is dropped, and the floor says up to where."""
    scene = own_scene
    job = await scene.job()
    await scene.add(job)
    first = await told(scene)
    assert await changes.drop_before(scene.conn, scene.now) == []
    scene.later(hours=25)
    (run_id,) = await scene.add(job)
    assert (await told(scene))[-1].id == run_id
    gone = await changes.drop_before(scene.conn, scene.now - changes.KEPT)
    assert changes.partition_of(scene.now - timedelta(hours=25)) in gone
    assert await changes.floor(scene.conn) == first[-1].place
    assert [one.id for one in await told(scene)] == [run_id]
    assert await scene.broken() == []


async def test_who_has_missed_nothing_is_not_told_that_he_has(own_scene: Scene):
    """Behind the last change that left, a reader goes on; before it, in the middle of its batch too, it is too late."""
    scene = own_scene
    job = await scene.job()
    await scene.add(job, 3)
    old = await told(scene)
    assert len({one.position for one in old[1:]}) == 1
    scene.later(hours=25)
    await changes.drop_before(scene.conn, scene.now - changes.KEPT)
    await scene.add(job)
    (new,) = [one for one in await told(scene) if one.position > old[-1].position]
    for late in (START, *(one.place for one in old[:-1])):
        assert await changes.read(scene.conn, late, 10) is None
    for timely in (old[-1].place, Place(old[-1].position, ALL_ENTRIES)):
        stretch = await changes.read(scene.conn, timely, 10)
        assert stretch is not None
        assert stretch.changes == [new]
        assert stretch.end == (new.position, ALL_ENTRIES)
    assert await changes.read(scene.conn, Place(new.position + 1, 0), 10) is None


async def test_an_hour_that_leaves_is_never_skipped_in_silence(own_scene: Scene):
    """Who reads while hours are dropped reads all of what was there, or is told that it is not kept."""
    scene = own_scene
    job = await scene.job()
    reader = await scene.other()
    for _ in range(4):
        await scene.add(job, 2)
        before = await told(scene)
        scene.later(hours=26)
        dropping = asyncio.create_task(changes.drop_before(scene.conn, scene.now - changes.KEPT))
        while not dropping.done():
            stretch = await changes.read(reader, Place(before[0].position, 0), 100)
            assert stretch is None or stretch.changes == before
            await asyncio.sleep(0)
        await dropping
        assert await changes.read(reader, Place(before[0].position, 0), 100) is None
