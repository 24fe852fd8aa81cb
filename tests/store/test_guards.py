"""Guarded statements: a wrong status, attempt or lease changes nothing, whatever the statement."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest

from strait_core.run import ACTIVE, CANCELABLE, REPLAYABLE, TERMINAL, Event, Status
from strait_core.store import queue, runs
from strait_core.store.claims import Claimed
from strait_core.store.queue import Release, Start
from tests.store.scene import NO_MARKS, Scene

Put = Callable[[Scene], Awaitable[Claimed]]
Write = Callable[[Scene, Claimed], Awaitable[set[UUID]]]
AFTER = timedelta(minutes=5)


def told(run_id: UUID, lease: int = 0, attempt: int = 0) -> Claimed:
    """A claim that somebody believes to hold, made up from what is known of a run."""
    return Claimed(run_id, run_id, "p", lease, attempt, 0, 3, 0, 300, 1, None, None, 0.0, "{}", 0, 0)


async def put_delayed(scene: Scene) -> Claimed:
    (run_id,) = await scene.add(await scene.job(), scheduled_at=scene.now + AFTER)
    return told(run_id)


async def put_queued(scene: Scene) -> Claimed:
    (run_id,) = await scene.add(await scene.job())
    return told(run_id)


async def put_retrying(scene: Scene) -> Claimed:
    live = await put_executing(scene)
    assert await scene.retry(live, AFTER)
    return live


async def put_dequeued(scene: Scene) -> Claimed:
    await put_queued(scene)
    (claimed,) = await scene.claim()
    return claimed


async def put_executing(scene: Scene) -> Claimed:
    return await scene.executing(await scene.job())


def put_ended(status: Status) -> Put:
    async def put(scene: Scene) -> Claimed:
        if status is Status.CANCELED:
            live = await put_queued(scene)
            assert await scene.cancel(live.id)
        elif status is Status.EXPIRED:
            live = await put_queued(scene)
            assert await end(scene, live.id, Event.EXPIRE, Status.EXPIRED)
        else:
            live = await put_executing(scene)
            assert await scene.finish(live, status)
        return live

    return put


async def end(scene: Scene, run_id: UUID, event: Event, to: Status) -> bool:
    allowed = [Status.QUEUED, Status.DELAYED] if event is Event.EXPIRE else [Status.DEQUEUED]
    async with scene.conn.transaction():
        ended = await runs.end_active(scene.conn, [run_id], event=event, to=to, allowed=allowed, now=scene.now)
    return bool(ended)


PUTS: dict[str, Put] = {
    "delayed": put_delayed,
    "queued": put_queued,
    "retrying": put_retrying,
    "dequeued": put_dequeued,
    "executing": put_executing,
    **{status.value: put_ended(status) for status in sorted(TERMINAL)},
}


async def start(scene: Scene, held: Claimed) -> set[UUID]:
    return await queue.start_if_held(scene.conn, [Start(held.id, held.attempt, held.lease)], scene.now)


async def finish(scene: Scene, held: Claimed) -> set[UUID]:
    return await queue.finish_if_held(scene.conn, [scene.ending(held)], scene.now)


async def retry(scene: Scene, held: Claimed) -> set[UUID]:
    return await queue.retry_if_held(scene.conn, [scene.repeat(held, AFTER)], scene.now)


async def retry_now(scene: Scene, held: Claimed) -> set[UUID]:
    return await queue.retry_if_held(scene.conn, [scene.repeat(held, base_add=1)], scene.now)


async def release(scene: Scene, held: Claimed) -> set[UUID]:
    return await queue.release_if_held(scene.conn, [Release(held.id, held.attempt, held.lease, "x")], scene.now)


WRITES: dict[str, tuple[Write, str]] = {
    "start": (start, "dequeued"),
    "finish": (finish, "executing"),
    "retry": (retry, "executing"),
    "retry_now": (retry_now, "executing"),
    "release": (release, "dequeued"),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("put", PUTS)
async def test_a_held_write_moves_a_run_in_one_status_only(scene: Scene, write: str, put: str):
    """In the status of its name, with attempt and lease right, it moves the run; in any other it changes nothing."""
    held = await PUTS[put](scene)
    before = await scene.everything()
    act, status = WRITES[write]
    if put == status:
        assert await act(scene, held) == {held.id}
        assert await scene.everything() != before
    else:
        assert await act(scene, held) == set()
        assert await scene.everything() == before


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(("attempt", "lease"), [(1, 0), (-1, 0), (0, 1), (0, -1)])
async def test_a_held_write_with_another_attempt_or_lease_changes_nothing(
    scene: Scene, write: str, attempt: int, lease: int
):
    """The number of the attempt and the lease both have to be those of the live claim."""
    act, status = WRITES[write]
    held = await PUTS[status](scene)
    before = await scene.everything()
    stale = held._replace(attempt=held.attempt + attempt, lease=held.lease + lease)
    assert await act(scene, stale) == set()
    assert await scene.everything() == before


@pytest.mark.parametrize("write", WRITES)
async def test_a_held_write_for_a_run_that_is_not_there_changes_nothing(scene: Scene, write: str):
    """An id that nobody knows is a lost race like any other."""
    before = await scene.everything()
    assert await WRITES[write][0](scene, told(scene.new_id(), lease=1)) == set()
    assert await scene.everything() == before


@pytest.mark.parametrize("write", WRITES)
async def test_a_held_write_answers_for_each_run_of_its_batch(scene: Scene, write: str):
    """One run that was taken away neither stops nor moves with the others."""
    _, status = WRITES[write]
    job = await scene.job()
    await scene.add(job, 3)
    claimed = await scene.claim()
    live = await scene.start(*claimed) if status == "executing" else claimed
    assert await scene.cancel(live[1].id)
    statement = {
        "start": lambda: queue.start_if_held(scene.conn, [Start(c.id, c.attempt, c.lease) for c in live], scene.now),
        "finish": lambda: queue.finish_if_held(scene.conn, [scene.ending(c) for c in live], scene.now),
        "retry": lambda: queue.retry_if_held(scene.conn, [scene.repeat(c, AFTER) for c in live], scene.now),
        "retry_now": lambda: queue.retry_if_held(scene.conn, [scene.repeat(c) for c in live], scene.now),
        "release": lambda: queue.release_if_held(
            scene.conn, [Release(c.id, c.attempt, c.lease, "x") for c in live], scene.now
        ),
    }[write]
    assert await statement() == {live[0].id, live[2].id}
    assert await scene.status(live[1].id) == "canceled"


@pytest.mark.parametrize("put", PUTS)
async def test_a_cancel_ends_what_is_active(scene: Scene, put: str):
    """Whatever stands between a run and its end is cleared with it; what has ended stays as it is."""
    held = await PUTS[put](scene)
    before = await scene.everything()
    canceled = await scene.cancel(held.id)
    if Status(before_status := put.replace("retrying", "queued")) in CANCELABLE:
        assert canceled == {held.id}
        assert await scene.status(held.id) == "canceled"
        after = await scene.everything()
        assert (after["runs"], after["ready"], after["due"]) == ([], [], [])
        assert len(after["attempts"]) - len(before["attempts"]) == (before_status == "executing")
    else:
        assert canceled == set()
        assert await scene.everything() == before


@pytest.mark.parametrize("put", PUTS)
async def test_a_replay_brings_back_five_endings(scene: Scene, put: str):
    """Replayable endings return to the queue; everything else is left alone."""
    held = await PUTS[put](scene)
    before = await scene.everything()
    replayed = await scene.replay(held.id)
    if put in {status.value for status in REPLAYABLE}:
        assert replayed
        assert await scene.status(held.id) == "queued"
        assert [run.id for run in await scene.claim()] == [held.id]
    else:
        assert not replayed
        assert await scene.everything() == before


@pytest.mark.parametrize("put", PUTS)
@pytest.mark.parametrize(
    ("event", "to", "status"),
    [
        (Event.EXPIRE, Status.EXPIRED, {"delayed", "queued", "retrying"}),
        (Event.SYSTEM_FAIL, Status.SYSTEM_FAILED, {"dequeued"}),
    ],
)
async def test_an_end_from_outside_takes_only_what_is_allowed(
    scene: Scene, put: str, event: Event, to: Status, status: set[str]
):
    """Expiry ends what has not started, our own fault what has been claimed."""
    held = await PUTS[put](scene)
    before = await scene.everything()
    assert await end(scene, held.id, event, to) == (put in status)
    assert (await scene.everything() == before) == (put not in status)


async def test_an_end_by_lease_ends_that_attempt_only(scene: Scene):
    """With a lease given, a run that was claimed again in the meantime is not touched."""
    held = await put_dequeued(scene)
    told = {"event": Event.SYSTEM_FAIL, "to": Status.SYSTEM_FAILED, "allowed": [Status.DEQUEUED], "now": scene.now}
    before = await scene.everything()
    assert await runs.end_active(scene.conn, [held.id], lease=held.lease + 1, **told) == []  # type: ignore[arg-type]
    assert await scene.everything() == before
    (ended,) = await runs.end_active(
        scene.conn, [held.id], lease=held.lease, error=("system", "no such version"), **told  # type: ignore[arg-type]
    )  # fmt: skip
    assert ended == runs.Ended(held.id, Status.DEQUEUED, scene.worker)
    row = await scene.run(held.id)
    assert (row["status"], row["error_class"], row["error"]) == ("system_failed", "system", "no such version")


@pytest.mark.parametrize("put", PUTS)
async def test_a_claim_takes_only_what_is_ready(scene: Scene, put: str):
    """Nothing but a queued run whose time has come is taken, even when an entry of the ready order is wrong."""
    held = await PUTS[put](scene)
    if put == "queued":
        assert [run.id for run in await scene.claim()] == [held.id]
        return
    await scene.rows(
        "INSERT INTO strait.ready SELECT 0, 0, nextval('strait.ready_seqs'), %s, id, %s FROM strait.jobs",
        held.id,
        scene.now,
    )
    before = await scene.run(held.id)
    taken = await scene.claim()
    if put == "retrying":
        # A queued run is a queued run; only the invariants can tell that this entry came too early.
        assert [run.id for run in taken] == [held.id]
    else:
        assert taken == []
        assert await scene.run(held.id) == before


@pytest.mark.parametrize("put", sorted(set(PUTS) - {"delayed", "retrying"}))
async def test_a_promotion_moves_only_what_waits(scene: Scene, put: str):
    """An entry that is wrong is taken out, and the run stays where it is."""
    held = await PUTS[put](scene)
    await scene.rows("INSERT INTO strait.due VALUES (%s, %s, true)", held.id, scene.now)
    before = await scene.run(held.id)
    assert await scene.promote() == []
    assert await scene.run(held.id) == before
    assert await scene.rows("SELECT * FROM strait.due") == []


def test_every_active_state_that_can_be_reached_now_is_tried():
    """Waiting is entered by no statement yet; when one does, these tables have to know it."""
    assert set(PUTS) - {"retrying"} == {status.value for status in ACTIVE | TERMINAL} - {"waiting"}
    assert len(NO_MARKS) == 11
