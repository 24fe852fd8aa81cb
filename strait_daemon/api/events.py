"""Events: sent from outside under a key, to the runs that wait for them."""

from __future__ import annotations

from hashlib import sha256
from typing import Final
from uuid import UUID

from msgspec import UNSET, Raw

from strait_core import ids, wire
from strait_core.errors import ConflictError, Fault, NotFoundError, ValidationError
from strait_core.idempotency import canonical
from strait_core.job import check_project
from strait_core.store import events, waits
from strait_core.store.events import EventStatus, StoredEvent
from strait_core.store.idempotency import Scope
from strait_core.store.pool import Conn
from strait_core.store.workflow_live import Brought
from strait_core.wire import events as wire_events
from strait_daemon.api import query
from strait_daemon.api.body import KIB, Body, Nothing
from strait_daemon.api.context import Api
from strait_daemon.api.idempotency import answered_once
from strait_daemon.api.operation import Call, Operation, Reply, reply
from strait_daemon.api.query import PAGING, PROJECT, id_prefix_param, text_param
from strait_daemon.api.turns import retried

EVENT: Final = "/v1/events/{event}"
_CROWDED: Final = "the event is in many hands; nothing was sent"
_SEND_BYTES: Final = wire_events.MAX_PAYLOAD + 16 * KIB


def _shaped(event: StoredEvent, *, whole: bool = True) -> wire_events.Event:
    payload = None if event.payload is None else Raw(event.payload.encode())
    return wire_events.Event(
        id=ids.spell(ids.Prefix.EVENT, event.id),
        project_id=event.project_id,
        key=event.key,
        status=event.status,
        payload=payload if whole else UNSET,
        waits=event.waits,
        delivered=event.delivered,
        created_at=event.created_at,
        sent_at=event.sent_at,
        expires_at=event.expires_at,
    )


def go_on(api: Api, run_ids: list[UUID]) -> None:
    """Tell of runs that wait no more, after the commit, and let the steps of workflow runs be looked at."""
    api.deps.brought(Brought(due_at=api.deps.clock.now()))
    if run_ids:
        api.deps.bus.runs_changed(run_ids)
        api.deps.bus.wake()


async def _find(conn: Conn, call: Call) -> StoredEvent:
    """The event that the path names by its id or its key."""
    ref, project = call.path["event"], call.project
    event_id = ids.parse(ids.Prefix.EVENT, ref)
    if event_id is not None:
        one = await events.event_by_id(conn, event_id)
        found = [one] if one is not None and project in {None, one.project_id} else []
    else:
        found = [] if wire_events.faults_of_key("", ref) else await events.events_by_key(conn, ref, project)
    if not found:
        raise NotFoundError(f"there is no event {ref[:128]!r}", hint="see GET /v1/events, or `strait events list`")
    if len(found) > 1:
        raise _unclear(ref, found)
    return found[0]


def _unclear(ref: str, found: list[StoredEvent]) -> ConflictError:
    return ConflictError(
        f"several projects have an event {ref[:128]!r}: {', '.join(one.project_id for one in found)}",
        hint="name the project (--project NAME; in the API ?project_id= or X-Project-Id), or use the event's id",
    )


async def get_event(api: Api, call: Call) -> Reply:
    """GET /v1/events/{event}."""
    async with api.connection() as conn:
        return reply(_shaped(await _find(conn, call)))


async def list_events(api: Api, call: Call) -> Reply:
    """GET /v1/events."""
    asked = call.query
    status = asked.get("status")
    if status is not None and status not in set(EventStatus):
        raise query.wrong_request(f"?status= must be one of {', '.join(EventStatus)}")
    limit = query.limit_of(asked)
    async with api.connection() as conn:
        found = await events.list_events(
            conn,
            call.project,
            limit=limit + 1,
            before=query.before_id(asked),
            status=None if status is None else EventStatus(status),
            prefix=asked.get("prefix"),
            id_range=asked.get("id_prefix"),
        )
    page, cursor = query.cut(found, limit, lambda one: query.id_cursor(one.id))
    return reply(wire.Page(data=[_shaped(one, whole=False) for one in page], next_cursor=cursor))


def _sent(call: Call, key: str) -> tuple[str, str, str | None]:
    """What a send says: the payload, its hash, and the project if it names one."""
    body: wire_events.SendEvent = call.body
    faults = wire_events.faults_of_key("", key) + wire_events.faults_of_payload(body.payload)
    project = call.project
    if body.project_id is not UNSET:
        faults += check_project(body.project_id)
        if project not in {None, body.project_id}:
            faults.append(Fault("/project_id", f"is another project than the request's, {project!r}"))
        project = body.project_id
    if faults:
        raise ValidationError(faults)
    payload = b"null" if body.payload is UNSET else bytes(body.payload)
    return payload.decode(), sha256(canonical(payload)).hexdigest(), project


def _no_project() -> ValidationError:
    said = "must name the project"
    return ValidationError([Fault("/project_id", said)], "project_id: " + said, hint="or send X-Project-Id")


async def send_event(api: Api, call: Call) -> Reply:
    """POST /v1/events/{event}/send: 201 for the first of a day, 200 for its repetition, 409 for another body."""
    key = call.path["event"]
    payload, body_hash, project = _sent(call, key)
    if project is None:
        async with api.connection() as conn:
            found = await events.events_by_key(conn, key, None)
        if len(found) > 1:
            raise _unclear(key, found)
        if not found:
            raise _no_project()
        project = found[0].project_id
    going_on: list[UUID] = []

    async def work(conn: Conn) -> Reply:
        now = api.deps.clock.now()
        sent = await events.send(conn, project, key, payload, body_hash, now)
        if not sent.is_same:
            raise ConflictError(
                f"event {key!r} was sent within a day with another payload", hint="take another key, or wait"
            )
        going_on[:] = await waits.resume_ripe(conn, now)
        event = await events.event_by_id(conn, sent.id)
        assert event is not None
        return reply(_shaped(event), 201 if sent.is_new else 200)

    answer = await retried(lambda: answered_once(api, call, Scope(project, f"sendEvent:{key}"), work), _CROWDED)
    go_on(api, going_on)
    return answer


async def send_prefix(api: Api, call: Call) -> Reply:
    """POST /v1/events/prefix/{prefix}/send: to every key with that prefix for which somebody waits."""
    prefix = call.path["prefix"]
    payload, body_hash, project = _sent(call, prefix)
    if project is None:
        raise _no_project()
    going_on: list[UUID] = []

    async def work(conn: Conn) -> Reply:
        now = api.deps.clock.now()
        keys = await events.awaited_keys(conn, project, prefix)
        if len(keys) > events.MOST_KEYS:
            raise ConflictError(
                f"over {events.MOST_KEYS} keys with this prefix are waited for", hint="send to a longer prefix"
            )
        sent = [(key, await events.send(conn, project, key, payload, body_hash, now)) for key in keys]
        going_on[:] = await waits.resume_ripe(conn, now)
        found = [await events.event_by_id(conn, one.id) for _, one in sent if one.is_same]
        data = [_shaped(event, whole=False) for event in found if event is not None]
        return reply(wire_events.PrefixSent(data=data, conflicts=[key for key, one in sent if not one.is_same]))

    answer = await retried(lambda: answered_once(api, call, Scope(project, f"sendPrefix:{prefix}"), work), _CROWDED)
    go_on(api, going_on)
    return answer


async def cancel_event(api: Api, call: Call) -> Reply:
    """POST /v1/events/{event}/cancel: who waits for it goes on, and hears that it will not come."""
    going_on: list[UUID] = []
    async with api.connection() as conn:
        async with conn.transaction():
            event = await _find(conn, call)
            now = api.deps.clock.now()
            if await events.cancel(conn, event.id, now):
                going_on = await waits.resume_ripe(conn, now)
            elif event.status is not EventStatus.CANCELED:
                raise ConflictError(
                    f"event {event.key!r} has come", hint="only an event that is awaited can be canceled"
                )
        now_is = await events.event_by_id(conn, event.id)
        assert now_is is not None
    go_on(api, going_on)
    return reply(_shaped(now_is))


_UNCLEAR: Final = (NotFoundError, ConflictError)

ROUTES: Final = (
    Operation(
        method="GET",
        path="/v1/events",
        handle=list_events,
        name="listEvents",
        summary="List events that are waited for, were sent within a day, or canceled, the newest first.",
        tag="events",
        returns=wire.Page[wire_events.Event],
        query=(
            PROJECT,
            *PAGING,
            text_param("status", f"One of {', '.join(EventStatus)}."),
            text_param("prefix", "Keys that begin so."),
            id_prefix_param(ids.Prefix.EVENT),
        ),
    ),
    Operation(
        method="GET",
        path=EVENT,
        handle=get_event,
        name="getEvent",
        summary="Read an event, by its id or its key.",
        tag="events",
        returns=wire_events.Event,
        query=(PROJECT,),
        raises=_UNCLEAR,
    ),
    Operation(
        method="POST",
        path=EVENT + "/send",
        handle=send_event,
        name="sendEvent",
        summary=(
            "Send an event to every run that waits for its key, and to those that begin to within a day. The same"
            " payload again is the same event (200)."
        ),
        tag="events",
        status=201,
        returns=wire_events.Event,
        body=Body(wire_events.SendEvent, most=_SEND_BYTES, raw="payload"),
        also={200: wire_events.Event},
        query=(PROJECT,),
        raises=(ConflictError,),
        once=True,
    ),
    Operation(
        method="POST",
        path="/v1/events/prefix/{prefix}/send",
        handle=send_prefix,
        name="sendEventToPrefix",
        summary="Send an event under every key with this prefix that somebody waits for (at most 1,000).",
        tag="events",
        returns=wire_events.PrefixSent,
        body=Body(wire_events.SendEvent, most=_SEND_BYTES, raw="payload"),
        query=(PROJECT,),
        raises=(ConflictError,),
        once=True,
    ),
    Operation(
        method="POST",
        path=EVENT + "/cancel",
        handle=cancel_event,
        name="cancelEvent",
        summary="Tell the runs that wait for an event that it will not come; they go on.",
        tag="events",
        returns=wire_events.Event,
        body=Body(Nothing),
        query=(PROJECT,),
        raises=_UNCLEAR,
    ),
)
