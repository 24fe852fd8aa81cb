"""Random workflows on the real engine: each of them ends where the reference says, whatever happens on the way.

At most 60 steps of every type, five workflows at a time, two daemons that die between statements. CI plays 300 of them;
a soak goes on for `MINUTES` and says how many it was.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from time import monotonic
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from strait_core.workflow.definition import StepType, WorkflowSpec, step_of
from tests.store.flow import Flow
from tests.store.scene import NOW, Scene
from tests.store.wild import Story, stories
from tests.store.wild_check import check
from tests.store.wild_engines import Engine
from tests.store.wild_play import Play
from tests.support.figures import Figures
from tests.support.sizes import SEED, size

AT_ONCE: Final = 5
BATCHES: Final = 60
# How long a soak goes on; CI plays one round.
MINUTES: Final = size(ci=0.0, soak=float(os.environ.get("STRAIT_TEST_WORKFLOW_MINUTES", "30")))
# So many batches are played in a database before it is emptied: its invariants are checked after each.
FRESH: Final = 10
_JOB: Final = {"step_ref": "x", "job_id": "a"}


@dataclass
class Stage:
    """A database with the jobs and inner workflows that stories name, and what has been played in it."""

    scene: Scene
    engines: list[Engine]
    done: Counter[str] = field(default_factory=Counter)
    fresh: int = 0
    # Runs that were canceled and retried: their steps may have begun twice.
    revived: list[UUID] = field(default_factory=list)

    async def play(self, told: Sequence[Story]) -> None:
        """Play some stories at once, and compare."""
        if not self.fresh:
            self.scene.now = NOW
            await self._prepare()
            self.fresh = FRESH
        # Hypothesis begins each example with the same randomness; what is made later has other ids.
        self.scene.later(seconds=1)
        # Whatever goes wrong leaves nothing for the next ones.
        left, self.fresh = self.fresh - 1, 0
        for engine in self.engines:
            engine.chance = told[0].chance
        play = Play(self.scene, self.engines, told)
        await play.to_the_end()
        await self._compare(play.stories, play.revived)
        if left % 5 == 0:
            assert await self.scene.broken() == []
        self.done += Counter(
            revived=len(play.revived), workflows=len(told), steps=sum(len(story.plans) for story in told)
        )
        self.fresh = left

    async def _prepare(self) -> None:
        await self.scene.clear()
        for slug in ("a", "undo"):
            await self.scene.job(slug=slug)
        await self.scene.job(slug="off", enabled=False)
        flow = Flow(self.scene)
        two = (step_of(_JOB), step_of({**_JOB, "step_ref": "y", "depends_on": ["x"]}))
        deep = step_of({"step_ref": "x", "step_type": StepType.SUB_WORKFLOW, "sub_workflow": "inner"})
        await flow.store(WorkflowSpec("p", "inner", "inner", two))
        await flow.store(WorkflowSpec("p", "inner-limited", "inner", two, max_concurrent_runs=1))
        await flow.store(WorkflowSpec("p", "inner-deep", "inner", (deep,)))

    async def _compare(self, told: dict[UUID, Story], revived: set[UUID]) -> None:
        values = list(told)
        self.revived += revived
        runs = await self.scene.rows("SELECT * FROM strait.workflow_run_history WHERE id = ANY(%s)", values)
        steps = await self.scene.rows(
            "SELECT * FROM strait.workflow_step_history WHERE workflow_run_id = ANY(%s)", values
        )
        doubled = await self.scene.rows(
            "SELECT step_ref FROM strait.run_history WHERE workflow_run_id IS NOT NULL AND workflow_run_id <> ALL(%s)"
            " GROUP BY workflow_run_id, step_ref, triggered_by HAVING count(*) > 1",
            self.revived,
        )
        assert doubled == []
        assert {row["id"] for row in runs} == told.keys()
        for row in runs:
            story = told[row["id"]]
            mine = [step for step in steps if step["workflow_run_id"] == row["id"]]
            check(story, row, mine, attempts=1 + (row["id"] in revived))


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(size(ci=600, soak=0))
def test_random_workflows_end_where_the_reference_says(shared_url: str, figures: Figures) -> None:
    """No difference, no stall, nothing for a sweep to do; 300 workflows in CI, as many as fit into a soak's time."""
    with asyncio.Runner() as runner:
        stage = runner.run(_opened(shared_url))
        drawn = settings(max_examples=BATCHES, database=None, derandomize=False, deadline=None)
        until = monotonic() + MINUTES * 60
        for number in count(SEED * 1_000_000):

            @seed(number)
            @drawn
            @given(st.lists(stories(), min_size=AT_ONCE, max_size=AT_ONCE))
            def one_round(told: list[Story]) -> None:
                runner.run(stage.play(told))

            one_round()
            if monotonic() >= until:
                break
        runner.run(_closed(stage))
    died = sum(engine.died for engine in stage.engines)
    clashed = sum(engine.clashed for engine in stage.engines)
    said = (
        f"{stage.done['steps']} steps, {died} deaths, {clashed} clashes, {stage.done['revived']} canceled and retried,"
    )
    figures.note(
        "random workflows compared with the reference", stage.done["workflows"], said, "0 differences, 0 stalls"
    )
    assert stage.done["workflows"] >= AT_ONCE * BATCHES


async def _opened(url: str) -> Stage:
    scene = await Scene.open(url)
    return Stage(scene, [await Engine.open(url, scene.chance) for _ in range(2)])


async def _closed(stage: Stage) -> None:
    await stage.scene.clear()
    await stage.scene.close()
    for engine in stage.engines:
        await engine.close()
