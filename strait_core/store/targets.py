"""The jobs and workflows that others start, found by how those name them: a slug or an id of the same project."""

from __future__ import annotations

from strait_core import ids
from strait_core.job import JobSpec
from strait_core.store import jobs, workflows
from strait_core.store.jobs import StoredJob
from strait_core.store.pool import Conn
from strait_core.store.workflows import StoredWorkflow


def gathers(spec: JobSpec) -> bool:
    """Whether triggers of the job meet in a window, which takes them from outside only."""
    return bool(spec.dedup_window_secs or spec.debounce_window_secs or spec.batch_window_secs)


async def job_named(conn: Conn, project_id: str, ref: str) -> StoredJob | None:
    """The job of that project that has this slug or id."""
    job_id = ids.parse(ids.Prefix.JOB, ref)
    if job_id is None:
        return next(iter(await jobs.jobs_by_slug(conn, ref, project_id)), None)
    job = await jobs.job_by_id(conn, job_id)
    return job if job is not None and job.spec.project_id == project_id else None


async def workflow_named(conn: Conn, project_id: str, ref: str) -> StoredWorkflow | None:
    """The workflow of that project that has this slug or id."""
    workflow_id = ids.parse(ids.Prefix.WORKFLOW, ref)
    if workflow_id is None:
        return next(iter(await workflows.workflows_by_slug(conn, ref, project_id)), None)
    found = await workflows.workflow_by_id(conn, workflow_id)
    return found if found is not None and found.spec.project_id == project_id else None
