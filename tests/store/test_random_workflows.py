"""Random workflows on the real engine: random order of endings, duplicates, two connections, lost transactions.

Compared with the evaluator of `tests/unit/test_dag.py`, which knows of no order. A sweep must find nothing to do.
"""

from __future__ import annotations

import random
from typing import Any, Final
from uuid import UUID

import pytest

from strait_core.run import Status
from strait_core.store import events, workflow_decisions, workflow_runs
from strait_core.store.queue import Claimed
from strait_core.workflow.definition import OnFailure, StepType, step_of
from strait_core.workflow.states import RUN_TERMINAL, RunStatus
from tests.store.flow import Flow
from tests.store.scene import Scene
from tests.support.figures import Figures
from tests.support.sizes import SEED, size
from tests.unit.test_dag import World, is_fatal, reference

DAGS: Final = size(ci=40, soak=2_000)
MOST_STEPS: Final = 16
_NEVER: Final = {"type": "eq", "left": "{{payload.go}}", "right": "never"}
_POLICIES: Final = (
    OnFailure.CONTINUE, OnFailure.CONTINUE, OnFailure.SKIP_DEPENDENTS, OnFailure.SKIP_DEPENDENTS, OnFailure.FAIL_WORKFLOW,
)  # fmt: skip


class Story:
    """One workflow, drawn at random, and how its steps end."""

    def __init__(self, flow: Flow, chance: random.Random) -> None:
        self.flow = flow
        self.chance = chance
        count = chance.randint(1, MOST_STEPS)
        self.steps = [self._step(at) for at in range(count)]
        self.fails = frozenset(at for at in range(count) if chance.random() < 0.2)
        self.failing = {self.steps[at]["step_ref"] for at in self.fails}

    def _step(self, at: int) -> dict[str, Any]:
        chance = self.chance
        before = [f"s{one}" for one in chance.sample(range(at), chance.randint(0, min(3, at)))]
        step: dict[str, Any] = {"step_ref": f"s{at}", "depends_on": before}
        step["on_failure"] = chance.choice(_POLICIES)
        kind = chance.choice(["job"] * 6 + ["sleep", "approval", "wait_for_event", "sub_workflow"])
        step["step_type"] = StepType(kind)
        if kind == "sleep":
            step["sleep_duration"] = f"{chance.randint(0, 5)}s"
        if kind == "wait_for_event":
            step["event_key"] = f"k-s{at}-{{{{run.id}}}}"
        if kind == "sub_workflow":
            step["sub_workflow"] = "inner"
        if chance.random() < 0.2:
            step["condition"] = _NEVER
        if chance.random() < 0.2 and kind == "job":
            step["concurrency_key"] = "k"
        return step

    def world(self) -> World:
        """The same for the reference: waits never fail here."""
        made = [step_of({"job_id": "a", **step}) for step in self.steps]
        return World(
            made,
            false=frozenset(at for at, step in enumerate(self.steps) if "condition" in step),
            fails=frozenset(
                at for at in self.fails if self.steps[at]["step_type"] in {"job", "sub_workflow", "approval"}
            ),
        )


class Play:
    """A story on the real engine: whatever can happen happens in random order, sometimes twice, sometimes in vain."""

    def __init__(self, story: Story, run_id: UUID) -> None:
        self.story = story
        self.flow = story.flow
        self.chance = story.chance
        self.run_id = run_id
        self.lives: dict[UUID, Claimed] = {}
        self.ended: list[Claimed] = []

    async def to_the_end(self) -> str:
        """Until the run is over; it must never be without anything that can happen."""
        while RunStatus(status := await self.flow.status(self.run_id)) not in RUN_TERMINAL:
            assert await self.something(), "the run is not over, and nothing can happen: it has stalled"
            await self.nothing_was_left()
        return status

    async def something(self) -> bool:
        """One thing that can happen now."""
        flow = self.flow
        for live in await flow.executing_all():
            self.lives[live.id] = live
        asked = await flow.scene.rows("SELECT step_ref FROM strait.approvals WHERE status = 'pending'")
        awaited = await self._awaited()
        upcoming = await workflow_runs.next_due(flow.scene.conn)
        acts = [self._end] * bool(self.lives) + [self._decide] * bool(asked) + [self._send] * bool(awaited)
        acts += [self._fire] * (upcoming is not None)
        if not acts:
            return False
        await self.chance.choice(acts)()
        return True

    async def _end(self) -> None:
        known = sorted(self.lives)
        for run_id in self.chance.sample(known, self.chance.randint(1, len(known))):
            live = self.lives.pop(run_id)
            status = Status.FAILED if await self._fails(live) else Status.COMPLETED
            if self.chance.random() < 0.2:
                await self.flow.end_in_vain(live, status=status)
            await self.flow.end(live, status=status, result={"n": 1})
            self.ended.append(live)
        if self.chance.random() < 0.3:
            await self.flow.end(self.chance.choice(self.ended), status=Status.FAILED)

    async def _fails(self, live: Claimed) -> bool:
        """Whether the step, or the step of the parent whose child this is, is one that fails."""
        rows = await self.flow.scene.rows(
            "SELECT parent_step FROM strait.workflow_runs WHERE id = %s", live.workflow_run_id
        )
        parent = rows[0]["parent_step"] if rows else None
        return (live.step_index if parent is None else parent) in self.story.fails

    async def _decide(self) -> None:
        rows = await self.flow.scene.rows("SELECT step_ref FROM strait.approvals WHERE status = 'pending'")
        ref = self.chance.choice([row["step_ref"] for row in rows])

        async def act(conn: Any, run_id: UUID, **more: Any) -> None:
            approved = ref not in self.story.failing
            await workflow_decisions.decide(conn, run_id, ref, approved=approved, actor="x", comment=None, **more)

        await self.flow.move(act, self.run_id)

    async def _awaited(self) -> list[str]:
        rows = await self.flow.scene.rows(
            "SELECT e.key FROM strait.events e JOIN strait.workflow_steps s ON s.event_id = e.id"
            " WHERE e.status = 'waiting' AND s.status = 'waiting' ORDER BY e.id"
        )
        return [row["key"] for row in rows]

    async def _send(self) -> None:
        scene = self.flow.scene
        key = self.chance.choice(await self._awaited())
        async with scene.conn.transaction():
            await events.send(scene.conn, "p", key, "{}", "hash", scene.now)

    async def _fire(self) -> None:
        self.flow.scene.later(seconds=self.chance.randint(0, 3))
        await self.flow.fire()

    async def nothing_was_left(self) -> None:
        """What a sweep would do at this point: nothing."""
        rows = await self.flow.scene.rows("SELECT id FROM strait.workflow_runs")
        for row in rows:
            async with self.flow.scene.conn.transaction():
                assert await workflow_runs.look_again(self.flow.scene.conn, row["id"], self.flow.scene.now) is None


@pytest.mark.soak
async def test_random_workflows_end_where_the_reference_says(scene: Scene, figures: Figures) -> None:
    """No stall, no difference, nothing for a sweep to do; 40 of them here, 2,000 in each round of a soak."""
    await scene.job()
    steps = 0
    for number in range(DAGS):
        flow = Flow(scene)
        story = Story(flow, random.Random(SEED * 100_000 + number))
        await flow.workflow({"step_ref": "x"}, slug=f"inner{number}")
        for step in story.steps:
            if step["step_type"] == "sub_workflow":
                step["sub_workflow"] = f"inner{number}"
        run_id = await flow.trigger(await flow.workflow(*story.steps, slug=f"w{number}"), {"go": "now"})
        status = await Play(story, run_id).to_the_end()
        check(number, story, status, await flow.steps(run_id))
        steps += len(story.steps)
    assert await scene.broken() == []
    figures.note("random workflows compared with the reference", DAGS, f"{steps} steps", "0 differences, 0 stalls")


def check(number: int, story: Story, status: str, found: dict[str, str]) -> None:
    """The run is where the reference has it; of a failed one what was not canceled is."""
    wanted = {f"s{at}": one.value for at, one in reference(story.world()).items()}
    assert (status == "failed") is is_fatal(story.world(), reference(story.world())), f"workflow {number} is {status}"
    if status == "completed":
        assert found == wanted, f"workflow {number}"
    else:
        known = {ref: one for ref, one in found.items() if one != "canceled"}
        assert known.items() <= wanted.items(), f"workflow {number}"
