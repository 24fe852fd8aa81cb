"""Waits that are over: who goes on for it is looked for by claimers at once, not when they would look anyway."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from strait_daemon.bus import Bus
from strait_daemon.services.waker import Waker
from tests.services.stage import Silent, Stage
from tests.store.flow import Flow
from tests.store.scene import Scene
from tests.store.waiting import end, spawn, wait_for, waiting

Act = Callable[[Scene], Coroutine[Any, Any, None]]


async def a_step_times_out(scene: Scene) -> None:
    """The next step of a workflow run begins when the wait of the one before it is over."""
    await scene.job()
    flow = Flow(scene)
    steps = {"step_ref": "a", "on_failure": "continue"}, {"step_ref": "b", "depends_on": ["a"]}
    await flow.trigger(await flow.workflow(*steps))
    live = (await flow.executing())["a"]
    await wait_for(scene, live)
    assert await end(scene, live, workflow_run_id=live.workflow_run_id, step_index=live.step_index)


async def a_parent_goes_on(scene: Scene) -> None:
    """A run whose child ended while the wait was in nobody's hands."""
    job = await scene.job()
    live = await scene.executing(job)
    child = await spawn(scene, live, job)
    assert await end(scene, live)
    await scene.cancel(child)


async def nothing_happens(scene: Scene) -> None:
    """A run waits, and has time."""
    await waiting(scene, await scene.job())
    await scene.conn.execute("UPDATE strait.waits SET due_at = due_at + interval '1 day'")


@pytest.mark.parametrize(("act", "queued"), [(a_step_times_out, 1), (a_parent_goes_on, 1), (nothing_happens, 0)])
async def test_claimers_are_woken_for_what_is_ready(stage: Stage, act: Act, queued: int) -> None:
    """Once a look has made a run ready; not for nothing."""
    await act(stage.scene)
    assert await stage.scene.claim() == []
    stage.later(hours=1, seconds=1)
    bus = Bus(Silent())
    woken: list[bool] = []
    bus.on_wake(lambda: woken.append(True))
    await Waker(stage.pool, stage.clock, bus).tick()
    assert len(woken) == queued
    assert len(await stage.scene.claim()) == queued
