"""Many runs in one request: cancel, replay, and the dead letters that a replay is mostly for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from strait_core import ids, wire
from strait_core.errors import NotFoundError
from strait_core.run import CANCELABLE, REPLAYABLE, Status
from strait_core.store import lineage, runs, selection, waits
from strait_core.store.pool import Conn
from strait_core.store.runs import RunFilter
from strait_core.store.selection import MOST_COUNTED, Among, Place
from strait_core.store.workflow_live import Brought
from strait_core.wire.bulk import BulkOutcome, BulkRuns, RunSelection
from strait_daemon.api import deeds, query, shape
from strait_daemon.api.body import Body
from strait_daemon.api.context import Api
from strait_daemon.api.deeds import Deed, Kind
from strait_daemon.api.lookup import find_job_ids
from strait_daemon.api.operation import Call, Operation, Reply, reply
from strait_daemon.api.query import PAGING, PROJECT, pair_param, text_param, time_param

MOST_IDS: Final = 1_000
PAGE: Final = 500
_MOVED: Final = "it is moving just now"
Do = Callable[[Conn, Sequence[UUID], datetime, Brought], Awaitable[set[UUID]]]


async def _shown(conn: Conn, run_ids: Sequence[UUID]) -> list[wire.Run]:
    rows = await runs.runs_by_id(conn, run_ids)
    return [shape.run(row) for row in sorted(rows, key=lambda row: row["id"], reverse=True)]


async def _narrowed(conn: Conn, call: Call, said: RunSelection, takes: frozenset[Status]) -> RunFilter:
    project = call.project or (said.project_id or None)
    job_ids = await find_job_ids(conn, said.job_id, project) if said.job_id else None
    batch = ids.parse(ids.Prefix.BATCH, said.batch_id) if said.batch_id else None
    prefix = ids.prefix_range(ids.Prefix.RUN, said.id_prefix) if said.id_prefix else None
    return RunFilter(
        project_id=project,
        job_ids=job_ids,
        statuses=sorted(set(said.status) & takes) if said.status else (),
        triggered_by=said.triggered_by or None,
        error_class=said.error_class or None,
        batch_id=batch,
        tags=said.tag or {},
        metadata=said.metadata or {},
        id_range=prefix,
        created_after=said.created_after or None,
        created_before=said.created_before or None,
    )


RUNS: Final[Kind[Place, RunFilter]] = Kind(
    ids.Prefix.RUN,
    "run",
    MOST_IDS,
    PAGE,
    places=selection.places,
    shown=_shown,
    narrow=_narrowed,
    outcome=BulkOutcome,
)


def _refuses_replay(place: Place) -> str | None:
    if place.is_step:
        return "it carries out a step of a workflow run, which retries it"
    if place.deleted:
        return "its job was deleted"
    return None if place.enabled else "its job is disabled"


CANCEL: Final = Deed(
    RUNS,
    "bulk-canceled",
    CANCELABLE,
    refuses=lambda _: None,
    select_ids=partial(selection.select_ids, among=Among.ACTIVE),
    count=partial(selection.count, among=Among.ACTIVE),
)
REPLAY: Final = Deed(
    RUNS,
    "bulk-replayed",
    REPLAYABLE,
    refuses=_refuses_replay,
    select_ids=partial(selection.select_ids, among=Among.UNSUCCESSFUL),
    count=partial(selection.count, among=Among.UNSUCCESSFUL),
)


async def _cancel(conn: Conn, run_ids: Sequence[UUID], now: datetime, brought: Brought) -> set[UUID]:
    """The runs that were ended, their descendants among them."""
    ended = await lineage.cancel_family(conn, run_ids, now, "bulk cancel", brought)
    brought.ended += ended
    return {run.id for run in ended}


async def _replay(conn: Conn, run_ids: Sequence[UUID], now: datetime, brought: Brought) -> set[UUID]:
    replayed = await runs.replay_all(conn, run_ids, now)
    brought.resumed += replayed
    return replayed


async def bulk_cancel(api: Api, call: Call) -> Reply:
    """POST /v1/runs/bulk-cancel."""
    return await _bulk(api, call, CANCEL, _cancel)


async def bulk_replay(api: Api, call: Call) -> Reply:
    """POST /v1/runs/bulk-replay."""
    return await _bulk(api, call, REPLAY, _replay)


async def _bulk(api: Api, call: Call, deed: Deed[Place, RunFilter], do: Do) -> Reply:
    async def act(conn: Conn, ready: Sequence[UUID], now: datetime, brought: Brought) -> dict[UUID, str]:
        done = await do(conn, ready, now, brought)
        left = [one for one in ready if one not in done]
        # Looked at again: what was taken may have moved between the two looks.
        places = await deeds.mine(conn, call, deed.kind, left)
        return {one: deed.why_not(places.get(one)) or _MOVED for one in left}

    answer, brought = await deeds.carry_out(api, call, deed, act)
    if any(run.awaited for run in brought.ended):
        async with api.connection() as conn:
            # Who waited for one of them goes on.
            brought.resumed += await waits.resume_ripe(conn, api.deps.clock.now())
    api.deps.brought(brought)
    return answer


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
        found = await selection.select_ids(
            conn, where, among=Among.DEAD, limit=limit + 1, before=query.before_id(asked)
        )
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
