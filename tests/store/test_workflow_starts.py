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


async def test_the_runs_of_a_wide_workflow(scene: Scene) -> None:
    """Several pages of steps, alike but for a few: each run has its own step, payload and policy, first come first."""
    wide, odd = range(998), {7: 3}
    await scene.job()
    flow = Flow(scene)
    leaves = [
        {"step_ref": f"s-{at}", "depends_on": ["root"], "payload": {"n": at}}
        | ({"retry_max_attempts": odd[at]} if at in odd else {})
        for at in wide
    ]
    run_id = await flow.trigger(await flow.workflow({"step_ref": "root"}, *leaves))
    await flow.end((await flow.executing())["root"])
    rows = await scene.rows(
        "SELECT r.id, r.step_ref, r.step_index, r.max_attempts, r.payload::jsonb -> 'n' AS n, r.workflow_run_id,"
        " s.job_run_id, s.step, s.attempt, s.started_at"
        " FROM strait.runs r JOIN strait.workflow_steps s ON s.job_run_id = r.id ORDER BY r.ready_seq"
    )
    assert [row["n"] for row in rows] == list(wide)
    default = scene.new_run(await scene.job(slug="b")).max_attempts
    for at, row in enumerate(rows):
        assert (row["step_ref"], row["step_index"], row["step"]) == (f"s-{at}", at + 1, at + 1)
        assert (row["workflow_run_id"], row["attempt"], row["started_at"]) == (run_id, 1, scene.now)
        assert row["max_attempts"] == odd.get(at, default)
    assert await scene.broken() == []


async def test_a_job_that_changes_under_a_wide_workflow(scene: Scene) -> None:
    """The definition that is remembered is an old one: all pages are refused, and made again by the new one."""
    job, flow = await scene.job(), Flow(scene)
    leaves = [{"step_ref": f"s-{at}", "depends_on": ["root"]} for at in range(700)]
    await flow.trigger(await flow.workflow({"step_ref": "root"}, *leaves))
    live = (await flow.executing())["root"]
    await change(scene, job, timeout_secs=77)
    await flow.end(live)
    rows = await scene.rows("SELECT timeout_secs, job_version FROM strait.runs WHERE step_index > 0")
    assert [(row["timeout_secs"], row["job_version"]) for row in rows] == [(77, job.version + 1)] * 700
    assert await scene.broken() == []
