"""Calendars: create, read, change, delete; the schedules that go by one follow its changes at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET

from strait_core import ids, wire
from strait_core.days import Days
from strait_core.errors import ConflictError, Fault, NotFoundError, ValidationError
from strait_core.job import check_project, check_slug
from strait_core.store import calendars
from strait_core.store.calendars import StoredCalendar
from strait_core.store.idempotency import Scope
from strait_core.store.pool import Conn
from strait_core.timetable import days_faults, definition_of
from strait_core.wire import schedules as told
from strait_daemon.api import query
from strait_daemon.api.body import Body
from strait_daemon.api.context import Api
from strait_daemon.api.following import tell
from strait_daemon.api.idempotency import answered_once
from strait_daemon.api.operation import Call, Operation, Reply, reply
from strait_daemon.api.query import PAGING, PROJECT, id_prefix_param
from strait_daemon.services import placing
from strait_daemon.services.placing import Firing, hold_owner, owner_of
from strait_daemon.services.ticks import Done

CALENDAR: Final = "/v1/calendars/{calendar}"
_DAYS: Final = ("dates", "ranges", "weekdays")
_UNCLEAR: Final = (NotFoundError, ConflictError)


async def find_calendar(conn: Conn, ref: str, project: str | None) -> StoredCalendar:
    """The calendar of that id or slug."""
    calendar_id = ids.parse(ids.Prefix.CALENDAR, ref)
    if calendar_id is not None:
        found = await calendars.by_id(conn, calendar_id, project)
        named = [] if found is None else [found]
    else:
        named = [] if check_slug(ref) else await calendars.with_slug(conn, ref, project)
    if not named:
        raise NotFoundError(f"there is no calendar {ref[:128]!r}", hint="see `strait calendars list`")
    if len(named) > 1:
        raise ConflictError(
            f"several projects have a calendar {ref!r}: {', '.join(one.project_id for one in named)}",
            hint="name the project (--project NAME; in the API ?project_id= or X-Project-Id), or use its id",
        )
    return named[0]


def _shaped(found: StoredCalendar) -> told.Calendar:
    days = msgspec.json.decode(found.definition, type=Days)
    return told.Calendar(
        id=ids.spell(ids.Prefix.CALENDAR, found.id),
        project_id=found.project_id,
        slug=found.slug,
        dates=list(days.dates),
        ranges=list(days.ranges),
        weekdays=list(days.weekdays),
        created_at=found.created_at,
        updated_at=found.updated_at,
    )


def _days(body: told.CalendarCreate | told.CalendarPatch, before: Days) -> Days:
    said = {name: value for name in _DAYS if (value := getattr(body, name)) is not UNSET}
    return msgspec.structs.replace(before, **{name: tuple(value or ()) for name, value in said.items()})


async def create_calendar(api: Api, call: Call) -> Reply:
    """POST /v1/calendars."""
    body: told.CalendarCreate = call.body
    project = call.project if body.project_id is UNSET else body.project_id
    days = _days(body, Days())
    faults = [*check_slug(body.slug), *days_faults(days)]
    if project is None:
        faults.append(Fault("/project_id", "is required"))
    elif call.project not in {None, project}:
        faults.append(Fault("/project_id", "differs from the project that the query or the header names"))
    else:
        faults += check_project(project)
    if faults or project is None:
        raise ValidationError(faults)

    async def work(conn: Conn) -> Reply:
        deps = api.deps
        made = await calendars.insert(conn, deps.new_id(), project, body.slug, definition_of(days), deps.clock.now())
        if made is None:
            raise ConflictError(f"project {project!r} has a calendar {body.slug!r} already", hint="change that one")
        return reply(_shaped(made), 201)

    return await answered_once(api, call, Scope(project, "createCalendar"), work)


async def list_calendars(api: Api, call: Call) -> Reply:
    """GET /v1/calendars."""
    asked = call.query
    limit = query.limit_of(asked)
    async with api.connection() as conn:
        found = await calendars.list_calendars(
            conn, call.project, limit=limit + 1, before=query.before_id(asked), id_range=asked.get("id_prefix")
        )
    page, cursor = query.cut(found, limit, lambda one: query.id_cursor(one.id))
    return reply(wire.Page(data=[_shaped(one) for one in page], next_cursor=cursor))


async def get_calendar(api: Api, call: Call) -> Reply:
    """GET /v1/calendars/{calendar}."""
    async with api.connection() as conn:
        return reply(_shaped(await find_calendar(conn, call.path["calendar"], call.project)))


async def patch_calendar(api: Api, call: Call) -> Reply:
    """PATCH /v1/calendars/{calendar}."""
    done = Done()
    async with api.connection() as conn, conn.transaction():
        ref = await find_calendar(conn, call.path["calendar"], call.project)
        users = await users_of(conn, ref.id)
        before = await calendars.lock(conn, ref.id)
        if before is None:
            raise _gone(call)
        days = _days(call.body, msgspec.json.decode(before.definition, type=Days))
        faults = days_faults(days)
        if faults:
            raise ValidationError(faults)
        changed = await change_days(api, conn, ref.id, days, users, done)
    if changed is None:
        raise _gone(call)
    tell(api, done)
    return reply(_shaped(changed))


async def users_of(conn: Conn, calendar_id: UUID, but: Collection[UUID] = ()) -> list[Firing]:
    """The jobs and workflows whose schedules go by a calendar, held as long as the caller's transaction.

    To be asked before the calendar is held. `but` are those that the caller holds already.
    """
    named = [one for one in await calendars.users_of(conn, calendar_id) if one[1] not in but]
    held = [await hold_owner(conn, kind, owner_id) for kind, owner_id in named]
    return [one for one in held if one is not None]


async def change_days(
    api: Api, conn: Conn, calendar_id: UUID, days: Days, users: Sequence[Firing], done: Done
) -> StoredCalendar | None:
    """Give a calendar that is held other days; the schedules of `users` follow. None when it is gone.

    `done` is filled with what came of ticks that were due; tell it after the commit. ValidationError names every user
    that would never fire again.
    """
    # Who has begun to go by it before it was held has kept us waiting for it.
    users = [*users, *await users_of(conn, calendar_id, {one.id for one in users})]
    deps = api.deps
    for one in users:
        done.add(await placing.settle(conn, one, deps.clock.now(), deps.new_id))
    changed = await calendars.update(conn, calendar_id, definition_of(days), deps.clock.now())
    silenced = []
    for one in users:
        try:
            await placing.place(conn, one, deps.clock.now(), deps.new_id)
        except ValidationError:
            silenced.append(
                Fault("", f"leaves {owner_of(one).kind} {one.spec.slug!r} no day: it fires by {one.spec.cron!r}")
            )
    if silenced:
        raise ValidationError(silenced, hint="change those first, or leave them a day")
    return changed


async def delete_calendar(api: Api, call: Call) -> Reply:
    """DELETE /v1/calendars/{calendar}."""
    async with api.connection() as conn, conn.transaction():
        found = await find_calendar(conn, call.path["calendar"], call.project)
        await calendars.lock(conn, found.id)
        users = await calendars.users_of(conn, found.id)
        if users:
            raise ConflictError(
                f"{len(users)} schedule{'s go' if len(users) > 1 else ' goes'} by calendar {found.slug!r}",
                hint="give those another calendar or none first: strait jobs update JOB --unset calendar",
            )
        await calendars.delete(conn, found.id)
    return Reply(204)


def _gone(call: Call) -> NotFoundError:
    return NotFoundError(f"calendar {call.path['calendar']!r} has just been deleted")


def _route(method: str, **rest: Any) -> Operation:
    return Operation(method=method, path=CALENDAR, tag="schedules", query=(PROJECT,), raises=_UNCLEAR, **rest)


ROUTES: Final = (
    Operation(
        method="POST",
        path="/v1/calendars",
        handle=create_calendar,
        name="createCalendar",
        summary="Create a calendar: a named set of days for schedules to go by.",
        tag="schedules",
        status=201,
        returns=told.Calendar,
        body=Body(told.CalendarCreate, required=True),
        query=(PROJECT,),
        raises=(ConflictError,),
        once=True,
    ),
    Operation(
        method="GET",
        path="/v1/calendars",
        handle=list_calendars,
        name="listCalendars",
        summary="List calendars, the newest first.",
        tag="schedules",
        returns=wire.Page[told.Calendar],
        query=(PROJECT, *PAGING, id_prefix_param(ids.Prefix.CALENDAR)),
    ),
    _route("GET", handle=get_calendar, name="getCalendar", summary="Read a calendar.", returns=told.Calendar),
    _route(
        "PATCH",
        handle=patch_calendar,
        name="updateCalendar",
        summary="Replace what is named; schedules that go by the calendar follow at once.",
        returns=told.Calendar,
        body=Body(told.CalendarPatch, required=True),
    ),
    _route("DELETE", handle=delete_calendar, name="deleteCalendar", summary="Delete an unused calendar.", status=204),
)
