"""From what a path says to what it means: ids or slugs to jobs, ids to runs."""

from __future__ import annotations

from typing import NoReturn
from uuid import UUID

from strait_core import ids
from strait_core.errors import ConflictError, NotFoundError
from strait_core.job import check_slug
from strait_core.store import jobs
from strait_core.store.jobs import StoredJob
from strait_core.store.pool import Conn


async def find_job(conn: Conn, ref: str, project: str | None) -> StoredJob:
    """The job of that id or slug; ConflictError lists the projects when several have the slug and none is named."""
    job_id = ids.parse(ids.Prefix.JOB, ref)
    if job_id is not None:
        job = await jobs.job_by_id(conn, job_id)
        if job is None or project not in {None, job.spec.project_id}:
            _no_job(ref, project)
        return job
    if check_slug(ref):
        _no_job(ref, project)
    found = await jobs.jobs_by_slug(conn, ref, project)
    if not found:
        _no_job(ref, project)
    if len(found) > 1:
        raise ConflictError(
            f"several projects have a job {ref!r}: {', '.join(job.spec.project_id for job in found)}",
            hint="name the project (--project NAME; in the API ?project_id= or X-Project-Id), or use the job's id",
        )
    return found[0]


async def find_job_ids(conn: Conn, ref: str, project: str | None) -> list[UUID]:
    """The ids that a filter on `job_id` means: the id itself, or every job of that slug."""
    job_id = ids.parse(ids.Prefix.JOB, ref)
    if job_id is not None:
        return [job_id]
    found = [] if check_slug(ref) else await jobs.jobs_by_slug(conn, ref, project)
    if not found:
        _no_job(ref, project)
    return [job.id for job in found]


def run_id_of(ref: str) -> UUID:
    """The id that a path names; NotFoundError when it is none."""
    run_id = ids.parse(ids.Prefix.RUN, ref)
    if run_id is None:
        raise no_run(ref)
    return run_id


def no_run(ref: str) -> NotFoundError:
    """The error for a run that is not there, or in another project."""
    return NotFoundError(f"there is no run {ref[:128]!r}", hint="see `strait runs list`, or GET /v1/runs")


def _no_job(ref: str, project: str | None) -> NoReturn:
    where = f" in project {project!r}" if project else ""
    raise NotFoundError(f"there is no job {ref[:128]!r}{where}", hint="see `strait jobs list`, or GET /v1/jobs")
