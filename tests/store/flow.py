"""Short words for what happens to workflow runs, beside those of `scene`."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from strait_core import ids
from strait_core.run import Status
from strait_core.store import endings, limits, queue, workflow_decisions, workflow_runs, workflows
from strait_core.store.claims import Claimed
from strait_core.store.limits import Freed
from strait_core.store.pool import Conn
from strait_core.store.workflow_live import Brought
from strait_core.store.workflow_rows import snapshot_for
from strait_core.store.workflow_runs import NewWorkflowRun
from strait_core.store.workflow_tree import Tree
from strait_core.store.workflows import StoredWorkflow
from strait_core.workflow.definition import WorkflowSpec, step_of
from tests.store.scene import Scene


class Flow:
    """Workflows in a scene: they are triggered, and their job runs end as the test says."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.brought = Brought()

    async def workflow(self, *steps: Mapping[str, Any], slug: str = "w", **settings: Any) -> StoredWorkflow:
        """A workflow of these steps; a step without a type is one of the job `a`."""
        return await self.store(
            WorkflowSpec("p", slug, slug, tuple(step_of(_with_job(one)) for one in steps), **settings)
        )

    async def store(self, spec: WorkflowSpec) -> StoredWorkflow:
        """Store a workflow."""
        scene = self.scene
        made = await workflows.insert_workflow(
            scene.conn, _fresh_id(scene), scene.new_id(), spec, scene.now, enabled=True
        )
        assert made is not None
        return made

    async def trigger(self, workflow: StoredWorkflow, payload: Any = None, disabled: Sequence[int] = ()) -> UUID:
        run_id = self.scene.new_id()
        new = NewWorkflowRun(run_id, json.dumps(payload if payload is not None else {}), {}, {}, disabled, "manual")
        async with self.scene.conn.transaction():
            await workflow_runs.trigger(self.scene.conn, workflow, new, self.scene.now, self.brought)
        return run_id

    async def run(self, run_id: UUID) -> dict[str, Any]:
        row = await workflow_runs.get_run(self.scene.conn, run_id)
        assert row is not None
        return row

    async def status(self, run_id: UUID) -> str:
        return str((await self.run(run_id))["status"])

    async def rows(self, run_id: UUID) -> dict[str, dict[str, Any]]:
        """What is stored of the run's steps, by ref."""
        row = await self.run(run_id)
        snapshot = await snapshot_for(self.scene.conn, row["workflow_id"], row["version"])
        found = await workflow_runs.steps_of(self.scene.conn, run_id)
        return {
            snapshot.steps[at].step_ref if at >= 0 else f"-{snapshot.steps[-1 - at].step_ref}": row
            for at, row in found.items()
        }

    async def steps(self, run_id: UUID) -> dict[str, str]:
        """Where the steps are that have left `pending`."""
        return {ref: row["status"] for ref, row in (await self.rows(run_id)).items()}

    async def executing(self) -> dict[str, Claimed]:
        """Claim and start whatever is ready, by the ref of the step."""
        claimed = await self.scene.claim(1_000)
        live = await self.scene.start(*claimed)
        found = await self.scene.rows(
            "SELECT id, step_ref FROM strait.runs WHERE id = ANY(%s)", [one.id for one in live]
        )
        refs = {row["id"]: row["step_ref"] for row in found}
        return {refs[one.id]: one for one in live}

    async def executing_all(self) -> list[Claimed]:
        """Claim and start whatever is ready."""
        return await self.scene.start(*await self.scene.claim(1_000))

    async def end(
        self, *lives: Claimed, status: Status = Status.COMPLETED, result: Any = None, conn: Conn | None = None
    ) -> None:
        """End attempts of one workflow run, as the writer does."""
        conn = conn or self.scene.conn
        text = None if status is not Status.COMPLETED else json.dumps(result)
        error = None if status is Status.COMPLETED else f"{status.value}: said the test"
        ends = [
            self.scene.ending(
                live, status, result=text, error=error, workflow_run_id=live.workflow_run_id, step_index=live.step_index
            )
            for live in lives
        ]
        freed: list[Freed] = []
        async with conn.transaction():
            tree = await Tree.hold(
                conn, {live.workflow_run_id for live in lives if live.workflow_run_id}, self.scene.now, self.brought
            )
            held = await queue.finish_if_held(conn, ends, self.scene.now, freed)
            await endings.tell_finished(tree, [end for end in ends if end.id in held])
            await tree.settle()
            await limits.free(conn, freed)

    async def move(self, act: Callable[..., Awaitable[None]], run_id: UUID) -> None:
        """Move a run by hand, in a transaction."""
        async with self.scene.conn.transaction():
            await act(self.scene.conn, run_id, now=self.scene.now, brought=self.brought)

    async def by_hand(self, run_id: UUID, ref: str, how: str) -> None:
        """Decide of a step."""
        acts = {
            "skip": partial(workflow_decisions.skip, reason=None),
            "complete": partial(workflow_decisions.force_complete, output=None),
            "approve": partial(workflow_decisions.decide, approved=True, actor="x", comment=None),
            "reject": partial(workflow_decisions.decide, approved=False, actor="x", comment=None),
            "retry": partial(workflow_decisions.retry, subtree=False),
        }
        await self.move(partial(acts[how], ref=ref), run_id)

    async def fire(self) -> int:
        """Look at what is due, as the service does; how many runs."""
        due = await workflow_runs.due_runs(self.scene.conn, self.scene.now, 100)
        for run_id in due:
            async with self.scene.conn.transaction():
                assert await workflow_runs.fire_due(self.scene.conn, run_id, self.scene.now, self.brought)
        return len(due)

    async def promote(self, workflow: StoredWorkflow) -> int:
        """Let runs begin that wait for room; how many."""
        done = 0
        while True:
            async with self.scene.conn.transaction():
                if not await workflow_runs.promote(self.scene.conn, workflow.id, lambda: self.scene.now, self.brought):
                    return done
            done += 1

    async def go(self, run_id: UUID, outcomes: Mapping[str, Status] | None = None) -> str:
        """Let every job run end until nothing is ready any more, as `outcomes` says or well; where the run is then."""
        while lives := await self.executing():
            for ref, live in lives.items():
                await self.end(live, status=(outcomes or {}).get(ref, Status.COMPLETED), result={"from": ref})
        return await self.status(run_id)


def _fresh_id(scene: Scene) -> UUID:
    """An id that no other test has: definitions are kept by the process."""
    return ids.uuid7(scene.now, random.SystemRandom().getrandbits)


def _with_job(step: Mapping[str, Any]) -> dict[str, Any]:
    return {"job_id": "a", **step} if step.get("step_type", "job") == "job" else dict(step)
