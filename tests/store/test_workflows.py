"""Definitions of workflows: versions, slugs, pauses, deletion, and what they refer to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec import Raw

from strait_core.store import jobs, workflows
from strait_core.store.faults import Taken
from strait_core.store.workflows import Named, Ref, StoredWorkflow, WorkflowFilter
from strait_core.workflow.definition import StepSpec, StepType, WorkflowSpec
from tests.store.scene import NOW, SPEC, Scene

FULL = WorkflowSpec(
    "proj_1",
    "flow",
    "Ünïcode 😀",
    (
        StepSpec("a", job_id="work", payload=Raw(b'{"n": 1.10}')),
        StepSpec("b", StepType.SLEEP, depends_on=("a",), sleep_duration="1s"),
    ),
    description="a\nb",
    tags={"team": "data"},
    timeout_secs=60,
)


async def make(scene: Scene, spec: WorkflowSpec = FULL) -> StoredWorkflow:
    scene.later(seconds=1)
    made = await workflows.insert_workflow(scene.conn, scene.new_id(), scene.new_id(), spec, scene.now, enabled=True)
    assert made is not None
    return made


async def change(scene: Scene, workflow: StoredWorkflow, spec: WorkflowSpec, *, enabled: bool = True) -> StoredWorkflow:
    async with scene.conn.transaction():
        locked = await workflows.lock_workflow(scene.conn, workflow.id)
        assert locked is not None
        changed = await workflows.update_workflow(scene.conn, locked, spec, scene.new_id(), scene.now, enabled=enabled)
    assert changed is not None
    return changed


async def test_a_workflow_is_read_back_as_it_was_stored(scene: Scene):
    """Every field of the definition, and what the store adds; its slug is taken once."""
    made = await make(scene)
    assert made == StoredWorkflow(made.id, FULL, True, False, None, None, 1, made.version_id, 2, scene.now, scene.now)
    assert await workflows.workflow_by_id(scene.conn, made.id) == made
    assert await workflows.workflows_by_slug(scene.conn, "flow", None) == [made]
    assert await workflows.insert_workflow(scene.conn, scene.new_id(), scene.new_id(), FULL, NOW, enabled=True) is None
    other = await make(scene, replace(FULL, project_id="proj_2"))
    assert [one.id for one in await workflows.workflows_by_slug(scene.conn, "flow", None)] == [made.id, other.id]


async def test_versions_stay_as_they_were(scene: Scene):
    """A change of the definition is the next version; the one before it can still be read, whole."""
    made = await make(scene)
    longer = replace(FULL, steps=(*FULL.steps, StepSpec("c", job_id="work", depends_on=("b",))))
    changed = await change(scene, made, longer)
    assert (changed.version, changed.step_count) == (2, 3)
    same = await change(scene, changed, longer, enabled=False)
    assert (same.version, same.version_id, same.enabled) == (2, changed.version_id, False)
    listed = await workflows.workflow_versions(scene.conn, made.id, limit=10, before=None)
    assert [(one.version, one.step_count, one.spec.steps) for one in listed] == [(2, 3, ()), (1, 2, ())]
    assert [one.version for one in await workflows.workflow_versions(scene.conn, made.id, limit=10, before=2)] == [1]
    whole = await workflows.versions_of(scene.conn, made.id, [1, 2, 7])
    assert {number: one.spec for number, one in whole.items()} == {1: FULL, 2: longer}
    pairs = [(made.id, 1), (made.id, 2), (made.id, 3)]
    assert await workflows.specs(scene.conn, pairs) == {(made.id, 1): FULL, (made.id, 2): longer}


async def test_a_taken_slug_is_refused(scene: Scene):
    """A change to a slug that another workflow of the project has fails."""
    first = await make(scene)
    await make(scene, replace(FULL, slug="other"))
    with pytest.raises(Taken):
        await change(scene, first, replace(FULL, slug="other"))


async def test_pause_resume_delete(scene: Scene):
    """A pause says when and why; a deleted workflow is gone, its versions and its slug are not."""
    made = await make(scene)
    later = NOW + timedelta(seconds=5)
    paused = await workflows.pause_workflow(scene.conn, made.id, "broken", later)
    assert paused is not None
    assert (paused.paused, paused.paused_at, paused.pause_reason) == (True, later, "broken")
    resumed = await workflows.resume_workflow(scene.conn, made.id, later)
    assert resumed == replace(made, updated_at=later)
    await workflows.delete_workflow(scene.conn, made.id, later)
    assert await workflows.workflow_by_id(scene.conn, made.id) is None
    assert await workflows.pause_workflow(scene.conn, made.id, None, later) is None
    assert await workflows.resume_workflow(scene.conn, made.id, later) is None
    assert await workflows.specs(scene.conn, [(made.id, 1)]) == {(made.id, 1): FULL}
    assert (await make(scene)).id != made.id


async def test_lists(scene: Scene):
    """Newest first, without steps, narrowed by each filter."""
    made = [await make(scene, replace(FULL, slug=f"w{n}", tags={"n": str(n % 2)})) for n in range(4)]
    await workflows.pause_workflow(scene.conn, made[0].id, None, NOW)
    await change(scene, made[1], made[1].spec, enabled=False)

    async def found(limit: int = 10, before: UUID | None = None, **where: Any) -> list[str]:
        rows = await workflows.list_workflows(
            scene.conn,
            WorkflowFilter(**where),
            limit=limit,
            before=before,
        )
        assert all(row.spec.steps == () and row.step_count == 2 for row in rows)
        return [row.spec.slug for row in rows]

    assert await found() == ["w3", "w2", "w1", "w0"]
    assert await found(limit=2, before=made[3].id) == ["w2", "w1"]
    assert await found(tags={"n": "1"}) == ["w3", "w1"]
    assert await found(paused=True) == ["w0"]
    assert await found(enabled=False) == ["w1"]
    assert await found(slug="w2", project_id="proj_1") == ["w2"]
    assert await found(project_id="proj_9") == []
    assert await found(id_range=(made[1].id, made[2].id)) == ["w2", "w1"]


async def test_references(scene: Scene):
    """Names lead to the jobs and workflows of one project; who uses what is known, and let go with the user."""
    job = await scene.job(slug="work")
    inner, outer = await make(scene), await make(scene, replace(FULL, slug="outer"))
    project = SPEC.project_id
    assert [one.id for one in await workflows.jobs_named(scene.conn, project, [job.id], ["nobody"])] == [job.id]
    assert [one.slug for one in await workflows.jobs_named(scene.conn, project, [], [job.spec.slug])] == [job.spec.slug]
    assert await workflows.jobs_named(scene.conn, "elsewhere", [job.id], [job.spec.slug]) == []
    assert await workflows.workflows_named(scene.conn, "proj_1", [inner.id], ["outer"]) == [
        Named(inner.id, "flow"), Named(outer.id, "outer"),
    ]  # fmt: skip
    await workflows.put_refs(scene.conn, outer.id, [Ref(job.id, True, True), Ref(inner.id, False, False)])
    assert await workflows.users_of(scene.conn, job.id) == ["outer"]
    assert await workflows.users_of(scene.conn, inner.id, by_slug=True) == []
    assert await workflows.children_of(scene.conn, [outer.id, inner.id]) == [(outer.id, Named(inner.id, "flow"))]
    await workflows.put_refs(scene.conn, outer.id, [Ref(job.id, True, False)])
    assert await workflows.children_of(scene.conn, [outer.id]) == []
    await workflows.delete_workflow(scene.conn, outer.id, NOW)
    assert await workflows.users_of(scene.conn, job.id) == []


async def test_who_refers_and_who_deletes_meet(scene: Scene):
    """A job that is being referred to cannot be deleted meanwhile: the deletion waits and sees the reference."""
    job = await scene.job(slug="work")
    flow = await make(scene)
    other = await scene.other()

    async def delete() -> list[str]:
        async with other.transaction():
            await jobs.lock_job(other, job.id)
            return await workflows.users_of(other, job.id)

    async with scene.conn.transaction():
        await workflows.jobs_named(scene.conn, SPEC.project_id, [job.id], [])
        deletion = asyncio.create_task(delete())
        await scene.blocked(other)
        await workflows.put_refs(scene.conn, flow.id, [Ref(job.id, True, False)])
    assert await deletion == ["flow"]


async def test_nesting_is_one_at_a_time(scene: Scene):
    """Who nests workflows in a project waits for whoever does so already; another project does not."""
    other = await scene.other()
    async with scene.conn.transaction():
        await workflows.one_at_a_time(scene.conn, "p1")
        await workflows.one_at_a_time(other, "p2")
        waiting = asyncio.create_task(workflows.one_at_a_time(other, "p1"))
        await scene.blocked(other)
        assert not waiting.done()
    await waiting
