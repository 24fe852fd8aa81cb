"""Streams of single runs read together."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import OperationalError

from strait_core.run import Status
from strait_core.store import runs, watch
from strait_core.store.pool import Conn
from strait_daemon.api.looks import Looks
from tests.services.stage import Stage


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[UUID]]:
    """The runs of each read, as they are made."""
    reads: list[list[UUID]] = []
    read = watch.looks

    async def counted(conn: Conn, run_ids: Sequence[UUID]) -> Any:
        reads.append(list(run_ids))
        return await read(conn, run_ids)

    monkeypatch.setattr(watch, "looks", counted)
    return reads


async def test_a_crowd_is_read_by_a_few_statements(stage: Stage, asked: list[list[UUID]]):
    """Whatever its streams ask for at one time; each is told of its own run, and of nothing when there is none."""
    job = await stage.scene.job()
    run_ids = [run_id for _ in range(30) for run_id in await stage.scene.add(job)]
    looks = Looks(stage.pool)
    found = await asyncio.gather(*(looks.at(run_id, crowd=2_000) for run_id in [*run_ids, uuid4()]))
    assert [look and look[0].id for look in found] == [*run_ids, None]
    assert {look[0].standing.status for look in found if look} == {Status.QUEUED}
    assert len(asked) <= 3


async def test_what_has_ended_is_told_with_its_way(stage: Stage):
    """From the history as from the active runs."""
    live = await stage.scene.executing(await stage.scene.job())
    assert await stage.scene.finish(live)
    look = await Looks(stage.pool).at(live.id, crowd=1)
    assert look is not None
    head, course = look
    assert head.standing.status is Status.COMPLETED
    assert [step.status for step in course.steps] == ["queued", "dequeued", "executing", "completed"]


async def test_a_run_that_several_want_is_read_once(stage: Stage, asked: list[list[UUID]]):
    """Streams of it, and who says only when the read begins what it wants; a snapshot comes with the same read."""
    one, other = await stage.scene.add(await stage.scene.job(), 2)
    looks, moved = Looks(stage.pool), list[UUID]()
    streams = [asyncio.create_task(looks.at(one, crowd=2_000)) for _ in range(3)]
    feed = asyncio.create_task(looks.all(lambda: moved))
    opened = asyncio.create_task(looks.snapshot(other, crowd=2_000))
    await asyncio.sleep(0)
    moved += [one, other]
    found = await feed
    assert {look and look[0].id for look in await asyncio.gather(*streams)} == {one}
    assert set(found) == {one, other}
    row = await opened
    assert row is not None
    assert row["id"] == other
    assert asked == [[one, other]]


async def test_many_snapshots_are_read_in_parts(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    """Payloads come with them; two streams of a run share its own."""
    parts: list[int] = []
    read = runs.get_runs

    async def counted(conn: Conn, run_ids: Collection[UUID]) -> Any:
        parts.append(len(run_ids))
        return await read(conn, run_ids)

    monkeypatch.setattr(runs, "get_runs", counted)
    run_ids = await stage.scene.add(await stage.scene.job(), 45)
    looks = Looks(stage.pool)
    rows = await asyncio.gather(*(looks.snapshot(run_id, crowd=2_000) for run_id in [*run_ids, run_ids[0], uuid4()]))
    assert [row and row["id"] for row in rows] == [*run_ids, run_ids[0], None]
    assert sum(parts) == 46
    assert max(parts) <= 20


async def test_a_read_that_fails_or_is_left_harms_none_after_it(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    """Those of the same round hear of it; whoever asks next is answered."""
    (run_id,) = await stage.scene.add(await stage.scene.job())
    looks = Looks(stage.pool)

    async def broken(*_: object) -> Any:
        raise OperationalError("gone")

    with monkeypatch.context() as away:
        away.setattr(watch, "looks", broken)
        away.setattr(runs, "get_runs", broken)
        asked = [looks.at(run_id, crowd=1), looks.at(run_id, crowd=1), looks.snapshot(run_id, crowd=1)]
        told = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in told] == [OperationalError] * 3
    leaving = asyncio.create_task(looks.at(run_id, crowd=2_000))
    await asyncio.sleep(0)
    leaving.cancel()
    look = await looks.at(run_id, crowd=1)
    assert look is not None
    assert look[0].id == run_id
