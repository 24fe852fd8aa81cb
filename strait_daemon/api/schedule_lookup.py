"""From the words of a request to a schedule: by its id, or by the id or the slug of what it fires."""

from __future__ import annotations

from collections.abc import Sequence

from strait_core import ids
from strait_core.errors import ConflictError, NotFoundError
from strait_core.job import check_slug
from strait_core.store import schedules
from strait_core.store.pool import Conn
from strait_core.store.schedules import StoredSchedule
from strait_daemon.api.lookup import find_job
from strait_daemon.api.workflows import find_workflow
from strait_daemon.services.placing import Firing, owner_of


async def find_schedule(conn: Conn, ref: str, project: str | None) -> StoredSchedule:
    """The schedule of that id, or of the job or the workflow of that slug or id."""
    schedule_id = ids.parse(ids.Prefix.SCHEDULE, ref)
    if schedule_id is not None:
        found = await schedules.by_id(conn, schedule_id, project)
        if found is None:
            raise NotFoundError(f"there is no schedule {ref!r}", hint="see `strait schedules list`")
        return found
    if not ids.is_id(ref) and not check_slug(ref):
        named = await schedules.with_slug(conn, ref, project)
        if len(named) == 1:
            return named[0]
        if named:
            raise _unclear(ref, named)
    return await _of_owner(conn, ref, project)


async def _of_owner(conn: Conn, ref: str, project: str | None) -> StoredSchedule:
    """The schedule of the job or the workflow of that id; NotFoundError says what is missing."""
    owner: Firing
    if ids.parse(ids.Prefix.WORKFLOW, ref) is not None:
        owner = await find_workflow(conn, ref, project)
    else:
        try:
            owner = await find_job(conn, ref, project)
        except NotFoundError as error:
            try:
                owner = await find_workflow(conn, ref, project)
            except NotFoundError:
                raise error from None
    found = await schedules.of_owner(conn, owner.id)
    if found is None:
        kind, slug = owner_of(owner).kind, owner.spec.slug
        raise NotFoundError(
            f"{kind} {slug!r} has no schedule", hint=f"give it one: strait {kind}s update {slug} --cron '0 9 * * *'"
        )
    return found


def _unclear(ref: str, named: Sequence[StoredSchedule]) -> ConflictError:
    owners = ", ".join(
        f"{one.owner.kind} of {one.spec.project_id} ({ids.spell(ids.Prefix.SCHEDULE, one.id)})" for one in named
    )
    return ConflictError(
        f"several schedules go by {ref!r}: {owners}", hint="name the project, or use the schedule's id"
    )
