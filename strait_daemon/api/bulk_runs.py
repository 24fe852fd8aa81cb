"""Many runs in one request: cancel, replay, and the dead letters that a replay is mostly for.

A call is one transaction over at most a thousand runs, so no lock is held for longer than that takes; a filter goes
through any number of them page by page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import UNSET

from strait_core import ids, wire
from strait_core.errors import Fault, NotFoundError, UnavailableError, ValidationError
from strait_core.run import CANCELABLE, REPLAYABLE, Status
from strait_core.store import lineage, runs, selection, waits
from strait_core.store.faults import Clash
from strait_core.store.idempotency import Scope
from strait_core.store.pool import Conn
from strait_core.store.runs import RunFilter
from strait_core.store.selection import MOST_COUNTED, Among, Place
from strait_core.store.workflow_live import Brought
from strait_core.wire.bulk import BulkOutcome, BulkRuns, RunSelection, Skipped
from strait_daemon.api import query, shape
from strait_daemon.api.body import Body
from strait_daemon.api.context import Api
from strait_daemon.api.idempotency import answered_once
from strait_daemon.api.lookup import find_job_ids
from strait_daemon.api.operation import Call, Operation, Reply, reply
from strait_daemon.api.query import PAGING, PROJECT, pair_param, text_param, time_param

MOST_IDS: Final = 1_000
PAGE: Final = 500
SAMPLE: Final = 10
TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Deed:
    """What is done to many runs, and where those stand that it takes; it gives the ids, and tells what came of it."""

    name: str
    among: Among
    takes: frozenset[Status]
    do: Callable[[Conn, Sequence[UUID], datetime, Brought], Awaitable[set[UUID]]]


async def _cancel(conn: Conn, run_ids: Sequence[UUID], now: datetime, brought: Brought) -> set[UUID]:
    """The runs that were ended, their descendants among them."""
    ended = await lineage.cancel_family(conn, run_ids, now, "bulk cancel", brought)
    brought.ended += ended
    return {run.id for run in ended}


async def _replay(conn: Conn, run_ids: Sequence[UUID], now: datetime, brought: Brought) -> set[UUID]:
    replayed = await runs.replay_all(conn, run_ids, now)
    brought.resumed += replayed
    return replayed


CANCEL: Final = Deed("canceled", Among.ACTIVE, CANCELABLE, _cancel)
REPLAY: Final = Deed("replayed", Among.UNSUCCESSFUL, REPLAYABLE, _replay)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The runs of one call, those among them that cannot be meant at all, and the cursor to the rest."""

    ids: Sequence[UUID]
    places: dict[UUID, Place]
    cursor: str | None


async def bulk_cancel(api: Api, call: Call) -> Reply:
    """POST /v1/runs/bulk-cancel."""
    return await _bulk(api, call, CANCEL)


async def bulk_replay(api: Api, call: Call) -> Reply:
    """POST /v1/runs/bulk-replay."""
    return await _bulk(api, call, REPLAY)


async def _bulk(api: Api, call: Call, deed: Deed) -> Reply:
    body: BulkRuns = call.body
    _check(body)
    if body.dry_run is True:
        return await _rehearse(api, call, deed)
    brought = Brought()

    async def work(conn: Conn) -> Reply:
        nonlocal brought
        brought, done = Brought(), set[UUID]()
        now = api.deps.clock.now()
        chosen = await _choose(conn, call, deed)
        ready = [run_id for run_id in chosen.ids if not _why_not(deed, chosen.places.get(run_id))]
        if ready:
            done = await deed.do(conn, ready, now, brought)
        # Looked at again: what was taken may have moved between the two looks.
        left = [run_id for run_id in chosen.ids if run_id not in done]
        places = await selection.places(conn, left) if set(left) & set(ready) else chosen.places
        skipped = [
            Skipped(id=ids.spell(ids.Prefix.RUN, run_id), reason=_why_not(deed, _mine(call, places, run_id)) or _MOVED)
            for run_id in left
        ]
        return reply(
            BulkOutcome(
                matched=len(chosen.ids), done=len(chosen.ids) - len(left), skipped=skipped, next_cursor=chosen.cursor
            ),
            200,
        )

    answer = await _retried(api, call, Scope(call.project or "*", f"bulk-{deed.name}"), work)
    if any(run.awaited for run in brought.ended):
        async with api.connection() as conn:
            # Who waited for one of them goes on.
            brought.resumed += await waits.resume_ripe(conn, api.deps.clock.now())
    api.deps.brought(brought)
    return answer


async def _retried(api: Api, call: Call, scope: Scope, work: Callable[[Conn], Awaitable[Reply]]) -> Reply:
    """Once more when a batch of the workers held the same runs in another order."""
    for _ in range(TRIES):
        try:
            return await answered_once(api, call, scope, work)
        except Clash:
            continue
    raise UnavailableError("the runs keep moving; nothing was done", hint="try again", retry_after=1)


_MOVED: Final = "it is moving just now"


def _check(body: BulkRuns) -> None:
    faults: list[Fault] = []
    if (body.ids is UNSET) == (body.filter is UNSET):
        faults.append(Fault("", "needs either ids or filter"))
    if isinstance(body.ids, list) and not 1 <= len(body.ids) <= MOST_IDS:
        faults.append(Fault("/ids", f"must have from 1 to {MOST_IDS} entries"))
    if body.cursor is not UNSET and body.filter is UNSET:
        faults.append(Fault("/cursor", "works only with filter"))
    if faults:
        raise ValidationError(faults)


async def _rehearse(api: Api, call: Call, deed: Deed) -> Reply:
    """What would be done: every run that matches is counted, the newest are shown."""
    body: BulkRuns = call.body
    async with api.connection() as conn:
        if body.filter is UNSET:
            chosen = await _choose(conn, call, deed)
            why = {run_id: _why_not(deed, chosen.places.get(run_id)) for run_id in chosen.ids}
            ready = [run_id for run_id in chosen.ids if not why[run_id]]
            skipped = [
                Skipped(id=ids.spell(ids.Prefix.RUN, run_id), reason=reason) for run_id, reason in why.items() if reason
            ]
            matched = len(chosen.ids)
        else:
            where = await _filter(conn, call, body.filter, deed)
            matched, skipped = await selection.count(conn, deed.among, where), []
            ready = await selection.select_ids(conn, deed.among, where, limit=SAMPLE, before=None)
        rows = await runs.runs_by_id(conn, ready[:SAMPLE])
    sample = [shape.run(row) for row in sorted(rows, key=lambda row: row["id"], reverse=True)]
    return reply(BulkOutcome(matched=matched, done=0, skipped=skipped, sample=sample))


async def _choose(conn: Conn, call: Call, deed: Deed) -> Chosen:
    """The runs that one call is about."""
    body: BulkRuns = call.body
    if isinstance(body.ids, list):
        named = _ids(body.ids)
        places = await selection.places(conn, named)
        return Chosen(named, {one: place for one in named if (place := _mine(call, places, one))}, None)
    assert isinstance(body.filter, RunSelection)
    where = await _filter(conn, call, body.filter, deed)
    before = query.read_cursor("/cursor", body.cursor) if isinstance(body.cursor, str) else None
    found = await selection.select_ids(conn, deed.among, where, limit=PAGE + 1, before=before)
    page, cursor = query.cut(found, PAGE, query.id_cursor)
    return Chosen(page, await selection.places(conn, page), cursor)


def _ids(texts: Sequence[str]) -> list[UUID]:
    parsed = [ids.parse(ids.Prefix.RUN, text) for text in texts]
    faults = [Fault(f"/ids/{at}", "is not a run's id") for at, one in enumerate(parsed) if one is None]
    if faults:
        raise ValidationError(faults)
    return list(dict.fromkeys(one for one in parsed if one is not None))


def _mine(call: Call, places: dict[UUID, Place], run_id: UUID) -> Place | None:
    place = places.get(run_id)
    return place if place is not None and call.project in {None, place.project_id} else None


def _why_not(deed: Deed, place: Place | None) -> str | None:
    """Why a run that stands there is left as it is; None when nothing speaks against it."""
    if place is None:
        return "there is no such run"
    if place.status not in deed.takes:
        return f"it is {place.status}"
    if deed is REPLAY and place.is_step:
        return "it carries out a step of a workflow run, which retries it"
    if deed is REPLAY and place.deleted:
        return "its job was deleted"
    if deed is REPLAY and not place.enabled:
        return "its job is disabled"
    return None


async def _filter(conn: Conn, call: Call, said: RunSelection, deed: Deed) -> RunFilter:
    """What the filter means; it must narrow to something, and to states that the deed takes."""
    faults = _filter_faults(call, said, deed.takes)
    if faults:
        raise ValidationError(faults)
    project = call.project or (said.project_id or None)
    job_ids = await find_job_ids(conn, said.job_id, project) if said.job_id else None
    batch = ids.parse(ids.Prefix.BATCH, said.batch_id) if said.batch_id else None
    prefix = ids.prefix_range(ids.Prefix.RUN, said.id_prefix) if said.id_prefix else None
    states: Collection[Status] = [one for one in said.status if one in deed.takes] if said.status else ()
    return RunFilter(
        project_id=project,
        job_ids=job_ids,
        statuses=sorted(set(states)),
        triggered_by=said.triggered_by or None,
        error_class=said.error_class or None,
        batch_id=batch,
        tags=said.tag or {},
        metadata=said.metadata or {},
        id_range=prefix,
        created_after=said.created_after or None,
        created_before=said.created_before or None,
    )


def _filter_faults(call: Call, said: RunSelection, takes: frozenset[Status]) -> list[Fault]:
    faults: list[Fault] = []
    given: dict[str, Any] = {
        name: value for name in said.__struct_fields__ if (value := getattr(said, name)) is not UNSET
    }
    if not given and call.project is None:
        faults.append(Fault("/filter", "must name something, or the request a project"))
    faults += [Fault(f"/filter/{name}", "must not be empty") for name, value in given.items() if value in ("", [], {})]
    if call.project is not None and given.get("project_id", call.project) != call.project:
        faults.append(Fault("/filter/project_id", "differs from the project that the query or the header names"))
    if given.get("status") and not takes & set(given["status"]):
        faults.append(Fault("/filter/status", f"must be one or more of {', '.join(sorted(takes))}"))
    if given.get("batch_id") and ids.parse(ids.Prefix.BATCH, given["batch_id"]) is None:
        faults.append(Fault("/filter/batch_id", "is not a batch's id"))
    if given.get("id_prefix") and ids.prefix_range(ids.Prefix.RUN, given["id_prefix"]) is None:
        faults.append(Fault("/filter/id_prefix", "is not the beginning of a run's id"))
    faults += [
        Fault(f"/filter/{name}", "must carry a UTC offset, like 2030-01-31T09:00:00Z")
        for name in ("created_after", "created_before")
        if name in given and given[name].tzinfo is None
    ]
    return faults


async def list_dead(api: Api, call: Call) -> Reply:
    """GET /v1/runs/dlq."""
    asked = call.query
    limit = query.limit_of(asked)
    async with api.connection() as conn:
        where = RunFilter(
            project_id=call.project,
            job_ids=await find_job_ids(conn, asked["job_id"], call.project) if "job_id" in asked else None,
            error_class=asked.get("error_class"),
            tags=dict(asked.get("tag", ())),
            metadata=dict(asked.get("metadata", ())),
            created_after=asked.get("created_after"),
            created_before=asked.get("created_before"),
        )
        found = await selection.select_ids(conn, Among.DEAD, where, limit=limit + 1, before=query.before_id(asked))
        page, cursor = query.cut(found, limit, query.id_cursor)
        rows = {row["id"]: row for row in await runs.runs_by_id(conn, page)}
    return reply(wire.Page(data=[shape.run(rows[one]) for one in page if one in rows], next_cursor=cursor))


def _of_many(name: str, handle: Any, summary: str) -> Operation:
    return Operation(
        method="POST",
        path=f"/v1/runs/bulk-{name}",
        handle=handle,
        name=f"{name}RunsInBulk",
        summary=summary,
        tag="runs",
        returns=BulkOutcome,
        body=Body(BulkRuns, required=True),
        query=(PROJECT,),
        raises=(NotFoundError,),
        once=True,
    )


# Before the routes of single runs, which would take these names for ids.
ROUTES: Final = (
    _of_many(
        "cancel",
        bulk_cancel,
        f"Cancel up to {MOST_IDS:,} runs by their ids, or all that match a filter, {PAGE} at each call; a dry run"
        f" counts up to {MOST_COUNTED:,}.",
    ),
    _of_many("replay", bulk_replay, "Replay runs that did not succeed, by their ids or by a filter, as for a cancel."),
    Operation(
        method="GET",
        path="/v1/runs/dlq",
        handle=list_dead,
        name="listDeadLetters",
        summary="List runs whose every attempt failed, the newest first; a replay brings them back.",
        tag="runs",
        returns=wire.Page[wire.Run],
        query=(
            PROJECT,
            *PAGING,
            text_param("job_id", "The job: its id or its slug."),
            text_param("error_class", "The class of the last error."),
            pair_param("tag", "Runs that carry this tag."),
            pair_param("metadata", "Runs with this entry in their metadata."),
            time_param("created_after", "Runs created later than this."),
            time_param("created_before", "Runs created earlier than this."),
        ),
        raises=(NotFoundError,),
    ),
)
