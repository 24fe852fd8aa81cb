"""The job runs that steps start with: by which job, and how many at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from strait_core.store import jobs, workflow_starts
from strait_core.store.jobs import StoredJob
from tests.store.flow import Flow
from tests.store.scene import Scene

TWO = ({"step_ref": "x"}, {"step_ref": "y", "depends_on": ["x"]})


async def change(scene: Scene, job: StoredJob, *, enabled: bool = True, **changes: object) -> None:
    """Another definition of a job, by another connection."""
    conn = await scene.other()
    async with conn.transaction():
        held = await jobs.lock_job(conn, job.id)
        assert held is not None
        spec = replace(held.spec, **changes)  # type: ignore[arg-type]
        assert await jobs.update_job(conn, held, spec, scene.new_id(), scene.now, enabled=enabled) is not None


async def test_a_remembered_job_is_never_an_old_one(scene: Scene) -> None:
    """Changed between two steps: the second one runs as the job is now."""
    job, flow = await scene.job(), Flow(scene)
    await flow.trigger(await flow.workflow(*TWO))
    lives = await flow.executing()
    await change(scene, job, timeout_secs=77)
    await flow.end(lives["x"])
    live = (await flow.executing())["y"]
    assert (live.timeout_secs, live.job_version) == (77, job.version + 1)


@pytest.mark.parametrize("how", ["disabled", "renamed", "replaced"])
async def test_a_remembered_job_that_takes_no_runs(scene: Scene, how: str) -> None:
    """Disabled between two steps, it fails the second one; so does another name; who has the name now runs it."""
    job, flow = await scene.job(), Flow(scene)
    run_id = await flow.trigger(await flow.workflow(*TWO))
    lives = await flow.executing()
    if how == "disabled":
        await change(scene, job, enabled=False)
    else:
        await change(scene, job, slug="gone")
    other = await scene.job() if how == "replaced" else None
    await flow.end(lives["x"])
    if other is not None:
        assert (await flow.executing())["y"].job_id == other.id
        return
    said = "'a' is disabled" if how == "disabled" else "there is no job 'a'"
    assert (await flow.run(run_id))["error"] == f"step y: job: {said}"
    assert await scene.broken() == []


async def test_pages_are_bounded_by_rows_and_bytes(scene: Scene) -> None:
    """500 runs or 4 MiB of payloads at a time, in order; a payload beyond that has a page of its own."""
    job = await scene.job()
    small = [scene.new_run(job) for _ in range(1_001)]
    assert [len(page) for page in workflow_starts.pages(small)] == [500, 500, 1]
    large = [scene.new_run(job, payload=f'"{"x" * size}"') for size in (3_000_000, 1_000_000, 400_000, 4_900_000, 1, 1)]
    paged = list(workflow_starts.pages(large))
    assert [len(page) for page in paged] == [2, 1, 1, 2]
    assert [run for page in paged for run in page] == large
    assert list(workflow_starts.pages([])) == []
