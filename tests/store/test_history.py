"""Partitions of what has ended: made ahead, never in the way, dropped with their counts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from strait_core.run import LONG_KEPT, Status
from strait_core.store import history, queue, runs
from strait_core.store.faults import MissingPartition
from strait_core.store.runs import RunFilter
from tests.store.scene import NOW, Scene


@pytest.mark.parametrize(
    ("at", "monday"),
    [
        (datetime(2030, 1, 14, tzinfo=UTC), datetime(2030, 1, 14, tzinfo=UTC)),
        (datetime(2030, 1, 20, 23, 59, 59, 999_999, tzinfo=UTC), datetime(2030, 1, 14, tzinfo=UTC)),
        (datetime(2029, 12, 31, tzinfo=UTC), datetime(2029, 12, 31, tzinfo=UTC)),
        (datetime(2030, 1, 1, tzinfo=UTC), datetime(2029, 12, 31, tzinfo=UTC)),
    ],
)
def test_a_week_begins_on_monday(at: datetime, monday: datetime):
    """In UTC, across the turn of the year too."""
    assert history.week_of(at) == monday


def test_what_somebody_has_to_look_at_is_kept_long():
    """The retention class follows from the ending."""
    assert {status for status in Status if history.keep_of(status) == history.LONG} == LONG_KEPT


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.DEAD_LETTER])
async def test_an_ending_lands_in_its_class_and_week(own_scene: Scene, status: Status):
    """Run and attempt are stored where retention will find them."""
    live = await own_scene.executing(await own_scene.job())
    assert await own_scene.finish(live, status)
    keep = history.keep_of(status)
    for table in ("run_history", "attempts"):
        rows = await own_scene.rows(
            f"SELECT c.relname AS t FROM strait.{table} x JOIN pg_class c ON c.oid = x.tableoid"
        )
        assert rows == [{"t": f"{table}_{keep}_20300114"}]


async def test_an_ending_in_a_week_without_a_partition_changes_nothing_until_there_is_one(own_scene: Scene):
    """The statement fails as a whole under the name that the writer waits for; then it goes through."""
    live = await own_scene.executing(await own_scene.job())
    own_scene.later(weeks=6)
    before = await own_scene.everything()
    with pytest.raises(MissingPartition, match="no partition of relation"):
        await own_scene.finish(live)
    assert await own_scene.everything() == before
    await history.ensure_partitions(own_scene.conn, own_scene.now)
    assert await own_scene.finish(live)


async def test_partitions_are_made_while_somebody_reads(own_scene: Scene):
    """A long reader of the history neither blocks the making of partitions nor, behind it, the endings of runs."""
    live = await own_scene.executing(await own_scene.job())
    reader = await own_scene.other()
    async with reader.transaction(), asyncio.timeout(10):
        for table in history.PARENTS:
            await reader.execute(f"SELECT count(*) FROM strait.{table}".encode())
        assert await history.ensure_partitions(own_scene.conn, NOW + timedelta(weeks=3)) == 6 * len(history.PARENTS)
        assert await own_scene.finish(live)


async def test_two_processes_make_partitions_at_once(own_scene: Scene):
    """The second waits for the first and finds them made."""
    other = await own_scene.other()

    async def ensure(conn):
        async with conn.transaction():
            return await history.ensure_partitions(conn, NOW + timedelta(weeks=2))

    assert sorted(await asyncio.gather(ensure(own_scene.conn), ensure(other))) == [0, 4 * len(history.PARENTS)]


async def test_old_partitions_go_with_their_counts(own_scene: Scene):
    """Only whole weeks before the bound go; the statistics forget exactly those runs."""
    job = await own_scene.job()
    for _ in range(2):
        assert await own_scene.finish(await own_scene.executing(job))
    own_scene.later(weeks=1)
    assert await own_scene.finish(await own_scene.executing(job))
    assert await own_scene.folded() == {"completed": 3}
    # The week ends on the 21st at midnight: one microsecond before, it has to stay.
    midnight = datetime(2030, 1, 21, tzinfo=UTC)
    early = await history.drop_before(own_scene.conn, "run_history", "short", midnight - timedelta(microseconds=1))
    assert early == ["run_history_short_20300107"]
    assert await history.drop_before(own_scene.conn, "run_history", "short", midnight) == ["run_history_short_20300114"]
    assert await history.drop_before(own_scene.conn, "attempts", "short", midnight) == [
        "attempts_short_20300107",
        "attempts_short_20300114",
    ]
    assert len(await own_scene.rows("SELECT id FROM strait.run_history")) == 1
    assert await own_scene.folded() == {"completed": 1}


async def test_the_runs_of_a_large_week_are_counted_piece_by_piece(own_scene: Scene, monkeypatch: pytest.MonkeyPatch):
    """However many pieces its table has, each run is taken off once."""
    monkeypatch.setattr(history, "_PIECE_PAGES", 1)
    scene = own_scene
    for number in range(2):
        job = await scene.job(slug=f"job-{number}")
        await scene.add(job, 150)
        live = await scene.start(*await scene.claim(150))
        await queue.finish_if_held(scene.conn, [scene.ending(one) for one in live], scene.now)
    (size,) = await scene.rows("SELECT pg_relation_size('strait.run_history_short_20300114') / 8192 AS pages")
    assert size["pages"] > 4
    assert await scene.folded() == {"completed": 300}
    await history.drop_before(scene.conn, "run_history", "short", datetime(2030, 1, 21, tzinfo=UTC))
    assert await scene.folded() == {}


async def test_a_drop_waits_for_readers_and_nobody_for_it(own_scene: Scene):
    """While somebody reads the history for long, runs end, are listed and come back; the drop ends with the reader."""
    scene = own_scene
    job = await scene.job()
    failed = await scene.executing(job)
    assert await scene.finish(failed, Status.DEAD_LETTER)
    live = await scene.executing(job)
    reader, dropper, lister = [await scene.other() for _ in range(3)]
    async with reader.transaction():
        await reader.execute("SELECT count(*) FROM strait.run_history")
        drop = asyncio.create_task(history.drop_before(dropper, "run_history", "short", NOW))
        await scene.blocked(dropper)
        async with asyncio.timeout(5):
            assert await scene.finish(live)
            assert len(await runs.list_runs(lister, RunFilter(), limit=10, before=None)) == 2
            assert await scene.replay(failed.id)
            await history.ensure_partitions(scene.conn, NOW + timedelta(weeks=1))
        assert not drop.done()
    assert await drop == ["run_history_short_20300107"]
    assert await scene.status(live.id) == Status.COMPLETED


@pytest.mark.parametrize("dropped", ["half", "all"])
async def test_what_was_begun_is_finished_by_the_next(own_scene: Scene, dropped: str):
    """Stopped while it waits, or right after a partition was taken out: the next drop does the rest, counts too."""
    scene = own_scene
    assert await scene.finish(await scene.executing(await scene.job()))
    scene.later(weeks=3)
    name = "run_history_short_20300114"
    reader, dropper = [await scene.other() for _ in range(2)]
    async with reader.transaction():
        await reader.execute("SELECT count(*) FROM strait.run_history")
        statement = f"ALTER TABLE strait.run_history_short DETACH PARTITION strait.{name} CONCURRENTLY"
        began = asyncio.create_task(dropper.execute(statement.encode()))
        await scene.blocked(dropper)
        if dropped == "half":
            began.cancel()
            await asyncio.gather(began, return_exceptions=True)
    if dropped == "all":
        await began
    gone = await history.drop_before(scene.conn, "run_history", "short", scene.now)
    assert gone == ["run_history_short_20300107", name, "run_history_short_20300121", "run_history_short_20300128"]
    assert await scene.folded() == {}
    assert await scene.broken() == []
