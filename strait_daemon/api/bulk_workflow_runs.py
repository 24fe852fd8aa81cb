"""Many workflow runs in one request: cancel, retry. A call is one transaction over at most a page of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import UNSET

from strait_core import ids
from strait_core.errors import ConflictError, Fault, NotFoundError, ValidationError
from strait_core.ids import Prefix
from strait_core.store import workflow_bulk
from strait_core.store.idempotency import Scope
from strait_core.store.pool import Conn
from strait_core.store.workflow_bulk import MOST_COUNTED, Place
from strait_core.store.workflow_live import Brought
from strait_core.store.workflow_views import WorkflowRunFilter
from strait_core.wire.bulk import Skipped
from strait_core.wire.workflow_bulk import BulkWorkflowOutcome, BulkWorkflowRuns, WorkflowRunSelection
from strait_core.workflow.states import RETRYABLE, RunStatus
from strait_daemon.api import query
from strait_daemon.api.body import Body
from strait_daemon.api.context import Api
from strait_daemon.api.idempotency import answered_once
from strait_daemon.api.operation import Call, Operation, Reply, reply
from strait_daemon.api.query import PROJECT
from strait_daemon.api.workflow_runs import retried, shaped
from strait_daemon.api.workflows import find_workflow

# A run may have a thousand steps: fewer of them share a transaction than of plain runs.
MOST_IDS: Final = 100
PAGE: Final = 100
SAMPLE: Final = 10


@dataclass(frozen=True, slots=True)
class Deed:
    """What is done to many runs, and to which of them; `do` answers why some were left."""

    name: str
    takes: frozenset[RunStatus]
    do: Callable[[Conn, Sequence[UUID], datetime, Brought], Awaitable[Mapping[UUID, str]]]

    @property
    def is_retry(self) -> bool:
        """Whether it takes runs that are over."""
        return self.takes is RETRYABLE


CANCEL: Final = Deed(
    "cancel", frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.PAUSED}), workflow_bulk.cancel
)
RETRY: Final = Deed("retry", RETRYABLE, workflow_bulk.retry)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The runs of one call, where those of them stand that may be meant, and the cursor to the rest."""

    ids: Sequence[UUID]
    places: Mapping[UUID, Place]
    cursor: str | None


async def bulk_cancel(api: Api, call: Call) -> Reply:
    """POST /v1/workflow-runs/bulk-cancel."""
    return await _bulk(api, call, CANCEL)


async def bulk_retry(api: Api, call: Call) -> Reply:
    """POST /v1/workflow-runs/bulk-retry."""
    return await _bulk(api, call, RETRY)


async def _bulk(api: Api, call: Call, deed: Deed) -> Reply:
    body: BulkWorkflowRuns = call.body
    _check(body)
    if body.dry_run is True:
        return await _rehearse(api, call, deed)
    brought = Brought()

    async def work(conn: Conn) -> Reply:
        nonlocal brought
        brought = Brought()
        chosen = await _choose(conn, call, deed)
        why = {one: reason for one in chosen.ids if (reason := _why_not(deed, chosen.places.get(one)))}
        ready = [one for one in chosen.ids if one not in why]
        if ready:
            why |= await deed.do(conn, ready, api.deps.clock.now(), brought)
        return reply(_outcome(chosen, why))

    scope = Scope(call.project or "*", f"bulk-{deed.name}-workflow-runs")
    answer = await retried(lambda: answered_once(api, call, scope, work))
    api.deps.brought(brought)
    return answer


def _outcome(chosen: Chosen, why: Mapping[UUID, str]) -> BulkWorkflowOutcome:
    return BulkWorkflowOutcome(
        matched=len(chosen.ids), done=len(chosen.ids) - len(why), skipped=_skipped(why), next_cursor=chosen.cursor
    )


def _skipped(why: Mapping[UUID, str]) -> list[Skipped]:
    return [Skipped(id=ids.spell(Prefix.WORKFLOW_RUN, run_id), reason=reason) for run_id, reason in why.items()]


def _check(body: BulkWorkflowRuns) -> None:
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
    body: BulkWorkflowRuns = call.body
    async with api.connection() as conn:
        if body.filter is UNSET:
            chosen = await _choose(conn, call, deed)
            why = {one: reason for one in chosen.ids if (reason := _why_not(deed, chosen.places.get(one)))}
            ready, matched = [one for one in chosen.ids if one not in why], len(chosen.ids)
        else:
            where = await _filter(conn, call, body.filter, deed)
            why, matched = {}, await workflow_bulk.count(conn, where, ended=deed.is_retry)
            ready = await workflow_bulk.select_ids(conn, where, ended=deed.is_retry, limit=SAMPLE, before=None)
        found = await workflow_bulk.shown(conn, ready[:SAMPLE])
    sample = [shaped(row, whole=False) for row in found]
    return reply(BulkWorkflowOutcome(matched=matched, done=0, skipped=_skipped(why), sample=sample))


async def _choose(conn: Conn, call: Call, deed: Deed) -> Chosen:
    """The runs that one call is about."""
    body: BulkWorkflowRuns = call.body
    if isinstance(body.ids, list):
        named = _ids(body.ids)
        places = await workflow_bulk.places(conn, named)
        mine = {one: place for one, place in places.items() if call.project in {None, place.project_id}}
        return Chosen(named, mine, None)
    assert isinstance(body.filter, WorkflowRunSelection)
    where = await _filter(conn, call, body.filter, deed)
    before = query.read_cursor("/cursor", body.cursor) if isinstance(body.cursor, str) else None
    found = await workflow_bulk.select_ids(conn, where, ended=deed.is_retry, limit=PAGE + 1, before=before)
    page, cursor = query.cut(found, PAGE, query.id_cursor)
    return Chosen(page, await workflow_bulk.places(conn, page), cursor)


def _ids(texts: Sequence[str]) -> list[UUID]:
    parsed = [ids.parse(Prefix.WORKFLOW_RUN, text) for text in texts]
    faults = [Fault(f"/ids/{at}", "is not a workflow run's id") for at, one in enumerate(parsed) if one is None]
    if faults:
        raise ValidationError(faults)
    return list(dict.fromkeys(one for one in parsed if one is not None))


def _why_not(deed: Deed, place: Place | None) -> str | None:
    """Why a run that stands there is left as it is; None when nothing speaks against it."""
    if place is None:
        return "there is no such workflow run"
    if place.status not in deed.takes:
        return f"it is {place.status}"
    if deed.is_retry and place.is_child:
        return "it carries out a step of another run, which retries it"
    return None


async def _filter(conn: Conn, call: Call, said: WorkflowRunSelection, deed: Deed) -> WorkflowRunFilter:
    """What the filter means; it must narrow to something, and to states that the deed takes."""
    faults = _filter_faults(call, said, deed.takes)
    if faults:
        raise ValidationError(faults)
    project = call.project or (said.project_id or None)
    workflow = await find_workflow(conn, said.workflow_id, project) if said.workflow_id else None
    named = set(said.status) if said.status else deed.takes
    return WorkflowRunFilter(
        project_id=project,
        workflow_id=None if workflow is None else workflow.id,
        statuses=sorted(named & deed.takes),
        tags=said.tag or None,
        id_range=ids.prefix_range(Prefix.WORKFLOW_RUN, said.id_prefix) if said.id_prefix else None,
        created_after=said.created_after or None,
        created_before=said.created_before or None,
    )


def _filter_faults(call: Call, said: WorkflowRunSelection, takes: frozenset[RunStatus]) -> list[Fault]:
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
    if given.get("id_prefix") and ids.prefix_range(Prefix.WORKFLOW_RUN, given["id_prefix"]) is None:
        faults.append(Fault("/filter/id_prefix", "is not the beginning of a workflow run's id"))
    faults += [
        Fault(f"/filter/{name}", "must carry a UTC offset, like 2030-01-31T09:00:00Z")
        for name in ("created_after", "created_before")
        if name in given and given[name].tzinfo is None
    ]
    return faults


def _of_many(name: str, handle: Any, summary: str) -> Operation:
    return Operation(
        method="POST",
        path=f"/v1/workflow-runs/bulk-{name}",
        handle=handle,
        name=f"{name}WorkflowRunsInBulk",
        summary=summary,
        tag="workflow-runs",
        returns=BulkWorkflowOutcome,
        body=Body(BulkWorkflowRuns, required=True),
        query=(PROJECT,),
        raises=(NotFoundError, ConflictError),
        once=True,
    )


# Before the routes of single runs, which would take these names for ids.
ROUTES: Final = (
    _of_many(
        "cancel",
        bulk_cancel,
        f"Cancel up to {MOST_IDS} workflow runs by their ids, or all that match a filter, {PAGE} at each call; a dry"
        f" run counts up to {MOST_COUNTED:,}. A filter leaves out runs that carry out steps of others.",
    ),
    _of_many("retry", bulk_retry, "Retry workflow runs that did not succeed, by their ids or by a filter, likewise."),
)
