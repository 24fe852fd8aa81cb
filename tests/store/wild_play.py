"""Random workflows on the real engine: two daemons at once, in random order, with deaths, duplicates and late endings.

Whatever can happen next is done, several things at a time. As long as a workflow run is not over something must be able
to happen, and a sweep must find nothing to do.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final
from uuid import UUID

from strait_core.errors import ConflictError
from strait_core.run import Status
from strait_core.store import claims, events, queue, workflow_decisions, workflow_runs
from strait_core.store.claims import Claimed
from strait_core.store.pool import Conn
from strait_core.store.queue import Finish, Start
from strait_core.store.verdict import Verdict
from strait_core.store.workflow_finishes import finish_steps
from strait_core.store.workflow_live import Brought
from strait_core.store.workflow_runs import NewWorkflowRun
from strait_core.workflow.dag import WORKING
from tests.store.flow import Flow
from tests.store.scene import NO_MARKS, Scene
from tests.store.wild import Story
from tests.store.wild_engines import Act, Engine

# What is done between two looks, by both daemons together.
MOST_ACTS: Final = 10
_LOOK: Final = """
SELECT 'asked' AS what, workflow_run_id AS id, step, step_ref AS about, NULL::uuid AS event_id
FROM strait.approvals WHERE status = 'pending'
UNION ALL SELECT 'awaited', s.workflow_run_id, s.step, e.key, e.id FROM strait.workflow_steps s
JOIN strait.events e ON e.id = s.event_id WHERE s.status = 'waiting' AND e.status = 'waiting'
UNION ALL SELECT 'open', workflow_run_id, step, NULL, NULL FROM strait.workflow_steps
WHERE status IN ('running', 'waiting') AND step >= 0
UNION ALL SELECT status, id, NULL, NULL, NULL FROM strait.workflow_runs
ORDER BY 1, 2, 3
"""


class Play:
    """Workflow runs, each with its story, until all of them are over."""

    def __init__(self, scene: Scene, engines: Sequence[Engine], stories: Sequence[Story]) -> None:
        self.scene = scene
        self.flow = Flow(scene)
        self.engines = engines
        self.told = stories
        self.chance = stories[0].chance
        self.stories: dict[UUID, Story] = {}
        self.lives: dict[UUID, Claimed] = {}
        self.ended: list[Claimed] = []
        self.revived: set[UUID] = set()

    async def to_the_end(self) -> None:
        """Trigger every story's workflow, and go on until all are over."""
        for story in self.told:
            await self._trigger(story)
        while (places := await self.scene.rows(_LOOK)) or await self._revive():
            await self._claim()
            self._expect_limits([row for row in places if row["what"] == "open"])
            acts = await self._possible(places)
            assert acts or not places, f"runs are not over, and nothing can happen: {places}"
            picked = self.chance.sample(acts, min(len(acts), self.chance.randint(1, MOST_ACTS)))
            picked += self._needless(places)
            async with asyncio.TaskGroup() as group:
                for at, engine in enumerate(self.engines):
                    group.create_task(self._do(engine, picked[at :: len(self.engines)]))
            if places:
                await self._expect_nothing_left(places)

    async def _revive(self) -> bool:
        """Retry the runs that were canceled on the way; whether there were any."""
        canceled = "SELECT id FROM strait.workflow_run_history WHERE id = ANY(%s) AND status = 'canceled'"
        found = [row["id"] for row in await self.scene.rows(canceled, list(self.stories))]
        for run_id in found:
            await self.flow.move(workflow_runs.retry, run_id)
        self.revived |= set(found)
        return bool(found)

    async def _trigger(self, story: Story) -> None:
        """Trigger a run; should the engine die over it, once more."""
        scene = self.scene
        made = await self.flow.store(replace(story.spec, slug=f"w-{scene.new_id()}"))
        new = NewWorkflowRun(scene.new_id(), '{"go":"now"}', {}, {}, story.disabled_steps, "manual")

        async def act(conn: Conn) -> None:
            async with conn.transaction():
                await workflow_runs.trigger(conn, made, new, scene.now, Brought())

        engine = self.chance.choice(self.engines)
        while not await engine.does(act) and await workflow_runs.get_run(scene.conn, new.id) is None:
            pass
        self.stories[new.id] = story

    async def _do(self, engine: Engine, acts: Sequence[Act]) -> None:
        for act in acts:
            await engine.does(act)

    async def _claim(self) -> None:
        """Start whatever is ready, in one engine or the other."""
        conn, scene = self.chance.choice(self.engines).conn, self.scene
        taken = await claims.claim(conn, scene.worker, 1_000, NO_MARKS, (), scene.now)
        if taken.runs:
            starts = [Start(run.id, run.attempt, run.lease) for run in taken.runs]
            started = await queue.start_if_held(conn, starts, scene.now)
            self.lives |= {run.id: run._replace(attempt=run.attempt + 1) for run in taken.runs if run.id in started}

    def _expect_limits(self, places: Sequence[dict[str, Any]]) -> None:
        """No run has more steps at work than it may, and no key is in use twice."""
        working: Counter[UUID] = Counter()
        keys: defaultdict[UUID, list[str]] = defaultdict(list)
        for row in places:
            if (story := self.stories.get(row["id"])) is not None:
                step = story.spec.steps[row["step"]]
                working[row["id"]] += step.step_type in WORKING
                keys[row["id"]] += [step.concurrency_key] if step.concurrency_key else []
        for run_id, story in self.stories.items():
            assert working[run_id] <= (story.spec.max_parallel_steps or 1_000)
            assert len(keys[run_id]) == len(set(keys[run_id]))

    async def _possible(self, places: Sequence[dict[str, Any]]) -> list[Act]:
        """What can happen now; each of it brings the end nearer."""
        acts: list[Act] = []
        acts += [self._end] * 3 * bool(self.lives)
        if await workflow_runs.next_due(self.scene.conn) is not None:
            acts.append(self._fire)
        for row in places:
            match row["what"]:
                case "asked" if self._fate(row) != "late":
                    acts.append(partial(self._decide, row))
                case "awaited" if self._fate(row) != "late":
                    acts.append(partial(self._tell, row))
                case "pending":
                    acts.append(self._promote)
                case "paused":
                    acts.append(partial(self._move, workflow_runs.resume, row["id"]))
        return acts

    def _needless(self, places: Sequence[dict[str, Any]]) -> list[Act]:
        """What may happen beside it: endings told again, differently, pauses, and cancels that are taken back."""
        acts: list[Act] = [self._repeat] * (bool(self.ended) and self.chance.random() < 0.3)
        running = [row["id"] for row in places if row["what"] == "running"]
        if running and self.chance.random() < 0.05:
            acts.append(partial(self._move, workflow_runs.pause, self.chance.choice(running)))
        outermost = [run_id for run_id in running if run_id in self.stories and run_id not in self.revived]
        if outermost and self.chance.random() < 0.1:
            acts.append(partial(self._move, workflow_runs.cancel, self.chance.choice(outermost)))
        return acts

    def _fate(self, row: dict[str, Any]) -> str:
        """What becomes of a wait."""
        story = self.stories[row["id"]]
        plan = story.plans[story.spec.steps[row["step"]].step_ref]
        return "late" if plan.emitter is not None else plan.fate

    # -- acts ---------------------------------------------------------------------------------------------------------

    async def _end(self, conn: Conn) -> None:
        """Some attempts end, of one workflow run or of several, as a flush of the writer ends them."""
        picked = self.chance.sample(sorted(self.lives), self.chance.randint(min(1, len(self.lives)), len(self.lives)))
        lives = [self.lives.pop(run_id) for run_id in picked]
        try:
            await self._finish(conn, [self._ending(live, self._status(live)) for live in lives])
        except Exception:
            self.lives |= {live.id: live for live in lives}
            raise
        self.ended += lives

    async def _repeat(self, conn: Conn) -> None:
        lives = self.chance.sample(self.ended, min(len(self.ended), 3))
        other = self.chance.choice([Status.FAILED, Status.COMPLETED])
        await self._finish(conn, [self._ending(live, other) for live in lives])

    async def _finish(self, conn: Conn, moves: Sequence[Finish]) -> None:
        if moves:
            await finish_steps(conn, moves, self.scene.now, Verdict())

    def _ending(self, live: Claimed, status: Status) -> Finish:
        done = status is Status.COMPLETED
        return self.scene.ending(
            live,
            status,
            result=json.dumps({"n": self._number(live)}) if done else None,
            error=None if done else "failed: said the test",
            workflow_run_id=live.workflow_run_id,
            step_index=live.step_index,
        )

    def _number(self, live: Claimed) -> int:
        story = self.stories.get(live.workflow_run_id) if live.workflow_run_id else None
        if story is None or live.step_index is None or live.step_index < 0:
            return 1
        return story.plans[story.spec.steps[live.step_index].step_ref].number

    def _status(self, live: Claimed) -> Status:
        """How an attempt ends: as the step's plan says, or of a sub-workflow's run that of the step above it."""
        assert live.workflow_run_id is not None
        assert live.step_index is not None
        story = self.stories.get(live.workflow_run_id)
        if story is None:
            fails = live.step_index == 1 and json.loads(live.payload)["fate"] == "failed"
        elif live.step_index < 0:
            fails = story.spec.steps[-1 - live.step_index].step_ref in story.undo_fails
        else:
            fails = story.plans[story.spec.steps[live.step_index].step_ref].fate == "failed"
        return Status.FAILED if fails else Status.COMPLETED

    async def _decide(self, row: dict[str, Any], conn: Conn) -> None:
        decide = partial(
            workflow_decisions.decide,
            ref=row["about"],
            approved=self._fate(row) == "completed",
            actor="x",
            comment=None,
        )
        await self._move(decide, row["id"], conn)

    async def _move(self, act: Any, run_id: UUID, conn: Conn) -> None:
        """Move a run by hand; one that has meanwhile come elsewhere is left alone."""
        async with conn.transaction():
            with suppress(ConflictError):
                await act(conn, run_id, now=self.scene.now, brought=Brought())

    async def _tell(self, row: dict[str, Any], conn: Conn) -> None:
        """The event comes, or never will."""
        async with conn.transaction():
            if self._fate(row) == "completed":
                story = self.stories[row["id"]]
                number = story.plans[story.spec.steps[row["step"]].step_ref].number
                await events.send(conn, "p", row["about"], json.dumps({"n": number}), "hash", self.scene.now)
            else:
                await events.cancel(conn, row["event_id"], self.scene.now)

    async def _fire(self, conn: Conn) -> None:
        """Time passes, and what is due is looked at, as the service does."""
        self.scene.later(seconds=self.chance.randint(0, 3))
        for run_id in await workflow_runs.due_runs(conn, self.scene.now, 100):
            async with conn.transaction():
                await workflow_runs.fire_due(conn, run_id, self.scene.now, Brought())

    async def _promote(self, conn: Conn) -> None:
        for workflow_id in await workflow_runs.crowded_workflows(conn):
            async with conn.transaction():
                await workflow_runs.promote(conn, workflow_id, lambda: self.scene.now, Brought())

    async def _expect_nothing_left(self, places: Sequence[dict[str, Any]]) -> None:
        """What a sweep would do now: nothing."""
        run_id = self.chance.choice([row["id"] for row in places])
        async with self.scene.conn.transaction():
            assert await workflow_runs.look_again(self.scene.conn, run_id, self.scene.now) is None
