"""Jobs: versions, slugs, pauses, deletion."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from strait_core.job import JobSpec, VersionPolicy
from strait_core.retry import RetryStrategy
from strait_core.store import jobs
from strait_core.store.faults import Taken
from strait_core.store.jobs import JobFilter, StoredJob
from tests.store.scene import NOW, SPEC, Scene

FULL = JobSpec(
    project_id="proj_1",
    slug="full",
    name="Ünïcode 😀",
    endpoint_url="https://example.com/x",
    description="a\nb\0c",
    tags={"a": "b"},
    headers={"Authorization": "Bearer x"},
    timeout_secs=1,
    max_attempts=100,
    retry_strategy=RetryStrategy.CUSTOM,
    retry_delays_secs=(1, 2, 3),
    retry_priority_boost=0,
    non_retryable_statuses=(404, 410),
    priority=10,
    run_ttl_secs=60,
    default_run_metadata={"k": "\0"},
    version_policy=VersionPolicy.LATEST,
)


async def change(scene: Scene, job: StoredJob, *, enabled: bool = True, **changes: Any) -> StoredJob:
    """Change a job as the API does: locked, in one transaction."""
    async with scene.conn.transaction():
        locked = await jobs.lock_job(scene.conn, job.id)
        assert locked is not None
        spec = replace(locked.spec, **changes)
        changed = await jobs.update_job(scene.conn, locked, spec, scene.new_id(), scene.now, enabled=enabled)
    assert changed is not None
    return changed


async def test_a_job_is_read_back_as_it_was_stored(scene: Scene):
    """Every field of the definition, and what the store adds."""
    job_id, version_id = scene.new_id(), scene.new_id()
    made = await jobs.insert_job(scene.conn, job_id, version_id, FULL, scene.now, enabled=True)
    assert made == StoredJob(job_id, FULL, True, False, None, None, 1, version_id, NOW, NOW)
    assert await jobs.job_by_id(scene.conn, job_id) == made
    assert await jobs.jobs_by_slug(scene.conn, "full", None) == [made]
    assert await jobs.job_by_id(scene.conn, scene.new_id()) is None
    (version,) = await jobs.job_versions(scene.conn, job_id, limit=10, before=None)
    assert (version.version, version.version_id, version.created_at) == (1, version_id, NOW)
    assert await jobs.definitions(scene.conn, [(job_id, 1), (job_id, 2), (version_id, 1)]) == {(job_id, 1): FULL}
    assert await jobs.definitions(scene.conn, []) == {}


async def test_a_job_may_be_made_disabled(scene: Scene):
    """It is version 1 all the same, and out of the way of others."""
    made = await scene.job(enabled=False)
    assert (made.enabled, made.version, made.updated_at) == (False, 1, NOW)
    (row,) = await scene.rows("SELECT lane = own_lane AS own FROM strait.jobs")
    assert row["own"]
    assert len(await jobs.job_versions(scene.conn, made.id, limit=10, before=None)) == 1


async def test_a_slug_is_unique_in_its_project(scene: Scene):
    """Taken is an answer, not an error; another project may use it; naming none lists them all."""
    made = [await scene.job(), await scene.job(project_id="q")]
    assert await jobs.insert_job(scene.conn, scene.new_id(), scene.new_id(), SPEC, scene.now, enabled=True) is None
    assert len(await scene.rows("SELECT job_id FROM strait.job_versions")) == 2
    assert await jobs.jobs_by_slug(scene.conn, "a", None) == made
    assert await jobs.jobs_by_slug(scene.conn, "a", "q") == made[1:]
    assert await jobs.jobs_by_slug(scene.conn, "a", "r") == []


async def test_of_many_that_race_for_a_slug_one_gets_it(scene: Scene):
    """Ten connections, one job."""
    conns = [await scene.other() for _ in range(10)]
    made = await asyncio.gather(
        *(jobs.insert_job(c, scene.new_id(), scene.new_id(), SPEC, scene.now, enabled=True) for c in conns)
    )
    assert len([job for job in made if job is not None]) == 1


async def test_a_change_is_a_new_version(scene: Scene):
    """Numbers go up by one, old definitions stay, the newest comes first; no change is no version."""
    job = await scene.job()
    scene.later(minutes=1)
    second = await change(scene, job, timeout_secs=9, slug="b")
    assert (second.version, second.spec.timeout_secs, second.spec.slug) == (2, 9, "b")
    assert (second.created_at, second.updated_at) == (NOW, scene.now)
    assert second.version_id != job.version_id
    same = await change(scene, second, timeout_secs=9)
    assert (same.version, same.version_id) == (2, second.version_id)
    third = await change(scene, same, name="C")
    versions = await jobs.job_versions(scene.conn, job.id, limit=10, before=None)
    assert [(v.version, v.version_id) for v in versions] == [
        (3, third.version_id),
        (2, second.version_id),
        (1, job.version_id),
    ]
    assert [v.version for v in await jobs.job_versions(scene.conn, job.id, limit=1, before=3)] == [2]
    assert await jobs.jobs_by_slug(scene.conn, "a", None) == []
    assert (await jobs.jobs_by_slug(scene.conn, "b", None))[0].id == job.id


async def test_a_change_to_a_slug_that_is_taken_changes_nothing(scene: Scene):
    """The database says so; the job keeps its version."""
    job = await scene.job()
    await scene.job(slug="b")
    with pytest.raises(Taken):
        await change(scene, job, slug="b")
    assert await jobs.job_by_id(scene.conn, job.id) == job


async def test_changes_of_one_job_wait_for_each_other(scene: Scene):
    """Ten at once make ten versions: none is lost, no number is used twice."""
    job = await scene.job()

    async def edit(number: int) -> int:
        conn = await scene.other()
        async with conn.transaction():
            locked = await jobs.lock_job(conn, job.id)
            assert locked is not None
            spec = replace(locked.spec, description=locked.spec.description + f" {number}")
            changed = await jobs.update_job(conn, locked, spec, scene.new_id(), scene.now, enabled=True)
        assert changed is not None
        return changed.version

    async with asyncio.timeout(30):
        assert sorted(await asyncio.gather(*map(edit, range(10)))) == list(range(2, 12))
    last = await jobs.job_by_id(scene.conn, job.id)
    assert last is not None
    assert sorted(last.spec.description.split(), key=int) == [str(number) for number in range(10)]


async def test_a_pause_and_a_resume(scene: Scene):
    """Both say what the job is now; neither is a new version; both may be said twice."""
    job = await scene.job()
    scene.later(minutes=1)
    for _ in range(2):
        paused = await jobs.pause_job(scene.conn, job.id, "deploy", scene.now)
        assert paused is not None
        assert (paused.paused, paused.pause_reason, paused.paused_at) == (True, "deploy", scene.now)
        assert (paused.version, paused.updated_at) == (1, scene.now)
    for _ in range(2):
        resumed = await jobs.resume_job(scene.conn, job.id, scene.now)
        assert resumed is not None
        assert (resumed.paused, resumed.pause_reason, resumed.paused_at) == (False, None, None)
    gate = await scene.rows("SELECT is_open, reason FROM strait.job_gates(%s)", scene.now)
    assert gate == [{"is_open": True, "reason": None}]


async def test_a_disabled_job_is_closed_and_can_be_opened_again(scene: Scene):
    """Its runs are held in its own lane meanwhile."""
    job = await scene.job()
    (run_id,) = await scene.add(job)
    job = await change(scene, job, enabled=False)
    assert await scene.claim() == []
    assert await scene.rows("SELECT is_open, reason FROM strait.job_gates(%s)", scene.now) == [
        {"is_open": False, "reason": "disabled"}
    ]
    job = await change(scene, job, enabled=True)
    assert job.version == 1
    assert [run.id for run in await scene.claim()] == [run_id]


async def test_deleting_hides_a_job_and_frees_its_slug(scene: Scene):
    """What has ended keeps its job's slug to show; everything else says that the job is gone."""
    job = await scene.job()
    live = await scene.executing(job)
    await scene.finish(live)
    assert await jobs.delete_job(scene.conn, job.id, scene.now)
    assert await jobs.job_by_id(scene.conn, job.id) is None
    assert await jobs.lock_job(scene.conn, job.id) is None
    assert await jobs.jobs_by_slug(scene.conn, "a", None) == []
    assert await jobs.pause_job(scene.conn, job.id, None, scene.now) is None
    assert await jobs.resume_job(scene.conn, job.id, scene.now) is None
    assert await jobs.list_jobs(scene.conn, JobFilter(), limit=10, before=None) == []
    again = await scene.job()
    assert again.id != job.id
    assert (await scene.run(live.id))["job_slug"] == "a"
    assert await jobs.jobs_by_slug(scene.conn, "a", None) == [again]


@pytest.mark.parametrize("state", ["delayed", "queued", "dequeued", "executing", "retrying"])
async def test_a_job_with_active_runs_is_not_deleted(scene: Scene, state: str):
    """Whatever a run that has not ended is waiting for; once it has ended, the job may go."""
    job = await scene.job()
    at = scene.now + timedelta(hours=1) if state == "delayed" else None
    (run_id,) = await scene.add(job, scheduled_at=at)
    if state in {"dequeued", "executing", "retrying"}:
        claimed = await scene.claim()
        if state != "dequeued":
            (live,) = await scene.start(*claimed)
            if state == "retrying":
                await scene.retry(live, timedelta(hours=1))
    assert not await jobs.delete_job(scene.conn, job.id, scene.now)
    assert await jobs.job_by_id(scene.conn, job.id) is not None
    await scene.cancel(run_id)
    assert await jobs.delete_job(scene.conn, job.id, scene.now)


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ({}, "d c b a"),
        ({"project_id": "p"}, "c b a"),
        ({"project_id": "nobody"}, ""),
        ({"tags": {"team": "x"}}, "c b"),
        ({"tags": {"team": "x", "env": "y"}}, "c"),
        ({"enabled": False}, "d"),
        ({"enabled": True}, "c b a"),
        ({"paused": True}, "b"),
        ({"paused": False}, "d c a"),
        ({"slug": "c"}, "c"),
        ({"slug": "%"}, ""),
        ({"project_id": "p", "paused": False, "tags": {"team": "x"}}, "c"),
    ],
)
async def test_a_filter_narrows_the_list(scene: Scene, where: dict[str, Any], names: str):
    """Each field alone and several together, newest first."""
    made: dict[str, StoredJob] = {}
    for slug, facts in (
        ("a", {}),
        ("b", {"tags": {"team": "x"}}),
        ("c", {"tags": {"team": "x", "env": "y"}}),
        ("d", {"project_id": "q", "enabled": False}),
    ):
        made[slug] = await scene.job(slug=slug, **facts)
        scene.later(seconds=1)
    await jobs.pause_job(scene.conn, made["b"].id, None, scene.now)
    found = await jobs.list_jobs(scene.conn, JobFilter(**where), limit=10, before=None)
    assert [job.spec.slug for job in found] == names.split()


async def test_pages_follow_each_other(scene: Scene):
    """By id, newest first, without gap or repeat; a range of ids narrows as a filter does."""
    made = []
    for number in range(7):
        made.append((await scene.job(slug=f"j{number}")).id)
        scene.later(seconds=1)
    seen: list[UUID] = []
    while page := await jobs.list_jobs(scene.conn, JobFilter(), limit=3, before=seen[-1] if seen else None):
        seen += [job.id for job in page]
    assert seen == made[::-1]
    ranged = await jobs.list_jobs(scene.conn, JobFilter(id_range=(made[2], made[4])), limit=10, before=None)
    assert [job.id for job in ranged] == made[4:1:-1]
