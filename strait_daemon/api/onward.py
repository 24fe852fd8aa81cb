"""Whether a job's completion triggers lead to jobs and workflows that are there, and never back to itself."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from strait_core.completion import JOBS, WORKFLOWS
from strait_core.errors import Fault, ValidationError
from strait_core.job import JobSpec
from strait_core.store import targets
from strait_core.store.jobs import StoredJob
from strait_core.store.pool import Conn

# A web of jobs larger than this is not walked to its end; what starts itself all the same ends at MAX_CHAIN.
MOST_WALKED: Final = 1_000


async def check_targets(conn: Conn, spec: JobSpec, own: UUID | None = None) -> None:
    """Refuse a definition whose triggers name what is not there, a job that takes no such trigger, or close a circle.

    `own` is the job's id, when it has one already. What is changed at the same moment elsewhere, and what leads through
    a workflow, is not seen: a circle that comes about so ends when its chain is too long.
    """
    faults: list[Fault] = []
    for name in WORKFLOWS:
        ref = getattr(spec, name)
        if ref is not None and await targets.workflow_named(conn, spec.project_id, ref) is None:
            faults.append(Fault(f"/{name}", f"is no workflow of project {spec.project_id!r}"))
    for name in JOBS:
        ref = getattr(spec, name)
        if ref is None:
            continue
        target = await targets.job_named(conn, spec.project_id, ref)
        if ref == spec.slug or (target is not None and target.id == own):
            faults.append(Fault(f"/{name}", "is the job itself, which would never end"))
        elif target is None:
            faults.append(Fault(f"/{name}", f"is no job of project {spec.project_id!r}"))
        elif targets.gathers(target.spec):
            faults.append(Fault(f"/{name}", "is a job whose triggers meet in a window, which takes none from here"))
        elif circle := await _circle(conn, spec, own, target):
            faults.append(Fault(f"/{name}", f"closes a circle: {' → '.join(circle)}"))
    if faults:
        raise ValidationError(faults)


async def _circle(conn: Conn, spec: JobSpec, own: UUID | None, target: StoredJob) -> list[str]:
    """The way from a target back to the job, as slugs; empty when there is none."""
    ways: list[tuple[StoredJob, list[str]]] = [(target, [spec.slug, target.spec.slug])]
    seen = {target.id}
    while ways and len(seen) <= MOST_WALKED:
        job, way = ways.pop()
        for ref in {ref for name in JOBS if (ref := getattr(job.spec, name)) is not None}:
            after = await targets.job_named(conn, spec.project_id, ref)
            if ref == spec.slug or (after is not None and after.id == own):
                return [*way, spec.slug]
            if after is not None and after.id not in seen:
                seen.add(after.id)
                ways.append((after, [*way, after.spec.slug]))
    return []
