"""Streams of single runs read together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from strait_core.run import Status
from strait_core.store import watch
from strait_core.store.pool import Conn
from strait_daemon.api.looks import Looks
from tests.services.stage import Stage


async def test_a_crowd_is_read_by_a_few_statements(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    """Whatever its streams ask for at one time; each is told of its own run, and of nothing when there is none."""
    asked: list[Sequence[UUID]] = []
    read = watch.looks

    async def counted(conn: Conn, run_ids: Sequence[UUID]) -> Any:
        asked.append(run_ids)
        return await read(conn, run_ids)

    monkeypatch.setattr(watch, "looks", counted)
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
