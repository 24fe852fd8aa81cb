"""/sdk/v1/runs/{run}: waiting for events and runs, making other runs, going on as another run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final, NamedTuple

from msgspec import UNSET, Raw
from msgspec.structs import replace

from strait_core import ids, wire
from strait_core.errors import BudgetError, ConflictError, NotFoundError, ValidationError
from strait_core.idempotency import Once, trigger_once
from strait_core.lineage import CONTINUED, MAX_DEPTH, SPAWNED
from strait_core.run import Status
from strait_core.store import events, idempotency, runs, waits
from strait_core.store.faults import Rollback
from strait_core.store.idempotency import Scope, trigger_scope
from strait_core.store.jobs import StoredJob
from strait_core.store.pool import Conn
from strait_core.store.runs import Row
from strait_core.store.sdk import Speaker
from strait_core.store.waits import Told
from strait_core.trigger import NewRun, new_run
from strait_core.wire import events as wire_events
from strait_daemon.api import query, shape, windowed
from strait_daemon.api.body import TRIGGER_BYTES, Body
from strait_daemon.api.context import Api
from strait_daemon.api.idempotency import REPLAYED, answered_once, check_same, key_of, once_of_trigger
from strait_daemon.api.operation import Call, Headers, Operation, Reply, reply
from strait_daemon.api.purses import exhausted
from strait_daemon.api.query import PAGING
from strait_daemon.api.sdk_routes import of_attempt
from strait_daemon.api.speaker import silenced, speaker_of
from strait_daemon.api.trigger import TRIES, check, restless_job, taking
from strait_daemon.api.windowed import DEDUPLICATED, Admitted

# Each may carry a MiB.
MOST_WAITS: Final = query.MOST_WITH_BODIES


class Making(NamedTuple):
    """A run about to be made by a live attempt, and whether that waits for its end."""

    speaker: Speaker
    body: wire.TriggerFields
    once: Once | None
    waits: bool


def _shaped(told: Told) -> wire_events.Wait:
    wait = told.wait
    return wire_events.Wait(
        id=str(wait.id),
        status=wait.outcome or "open",
        event_key=wait.event_key,
        run_id=None if wait.child_id is None else ids.spell(ids.Prefix.RUN, wait.child_id),
        attempt=wait.attempt,
        created_at=wait.created_at,
        due_at=wait.due_at,
        settled_at=wait.settled_at,
        payload=_raw(told.payload) if wait.child_id is None else UNSET,
        result=UNSET if wait.child_id is None else _raw(told.result),
        error=UNSET if wait.child_id is None else told.error,
    )


def _raw(text: str | None) -> Raw | None:
    return None if text is None else Raw(text.encode())


async def wait_for_event(api: Api, call: Call) -> Reply:
    """POST wait-for-event: 201 when it is recorded, 200 when this run has waited for the event before."""
    body: wire_events.WaitForEvent = call.body
    if faults := wire_events.faults_of_wait(body):
        raise ValidationError(faults)
    speaker = speaker_of(call)

    async def work(conn: Conn) -> Reply:
        now = api.deps.clock.now()
        due_at = now + timedelta(seconds=body.timeout_secs)
        told = await events.begin_wait(conn, speaker.run_id, speaker.attempt, body.event_key, due_at=due_at, now=now)
        if told is None:
            raise await silenced(conn, speaker)
        is_new = told.wait.attempt == speaker.attempt and told.wait.created_at == now
        return reply(_shaped(told), 201 if is_new else 200)

    if key_of(call.headers) is None:
        async with api.connection() as conn:
            return await work(conn)
    project = (await _parent(api, speaker))["project_id"]
    # A later attempt that says the same again wants to hear what has come of it meanwhile.
    return await answered_once(api, call, Scope(project, f"waitForEvent:{speaker.run_id}:{speaker.attempt}"), work)


async def list_waits(api: Api, call: Call) -> Reply:
    """GET waits: what this run has waited for, and what came of it."""
    limit = call.query.get("limit", MOST_WAITS)
    if limit > MOST_WAITS:
        raise query.wrong_request(f"?limit= must be at most {MOST_WAITS}: each may carry a payload")
    speaker = speaker_of(call)
    async with api.connection() as conn:
        if await waits.parent(conn, speaker.run_id, speaker.attempt) is None:
            raise await silenced(conn, speaker)
        found = await waits.waits_of_run(conn, speaker.run_id, limit=limit + 1, after=query.before_id(call.query))
    page, cursor = query.cut(found, limit, lambda told: query.id_cursor(told.wait.id))
    return reply(wire.Page(data=[_shaped(told) for told in page], next_cursor=cursor))


async def spawn(api: Api, call: Call) -> Reply:
    """POST spawn: a trigger like any other, by this run; with `wait` this run goes on when the new one has ended."""
    body: wire_events.Spawn = call.body
    making = Making(speaker_of(call), body, await once_of_trigger(call), body.wait)
    parent = await _parent(api, making.speaker)
    depth = _depth(parent)
    make = partial(replace, triggered_by=SPAWNED, parent_run_id=making.speaker.run_id, lineage_depth=depth)
    return await _made(api, making, parent, body.job, make)


async def continue_run(api: Api, call: Call) -> Reply:
    """POST continue: at most one run goes on from this one; without a key of its own the call has one by that."""
    speaker = speaker_of(call)
    parent = await _parent(api, speaker)
    depth = _depth(parent)
    once = await once_of_trigger(call) or trigger_once(f"continue:{call.path['run']}", call.body)
    body: wire_events.Continue = call.body
    if body.payload is UNSET:
        body = replace(body, payload=Raw(parent["payload"].encode()))
    making = Making(speaker, body, once, waits=False)
    make = partial(replace, triggered_by=CONTINUED, continuation_of=speaker.run_id, lineage_depth=depth)
    return await _made(api, making, parent, ids.spell(ids.Prefix.JOB, parent["job_id"]), make)


async def _parent(api: Api, speaker: Speaker) -> Row:
    async with api.connection() as conn:
        parent = await waits.parent(conn, speaker.run_id, speaker.attempt)
        if parent is None:
            raise await silenced(conn, speaker)
    return parent


def _depth(parent: Row) -> int:
    depth = int(parent["lineage_depth"] or 0) + 1
    if depth > MAX_DEPTH:
        raise ConflictError(
            f"the run has {MAX_DEPTH} ancestors, which is the most", hint="trigger the job from outside instead"
        )
    return depth


async def _made(api: Api, making: Making, parent: Row, ref: str, make: Callable[[NewRun], NewRun]) -> Reply:
    """The answer to a run that a live attempt makes, by the rules of every trigger."""
    for _ in range(TRIES):
        job = await taking(api, ref, parent["project_id"])
        now = api.deps.clock.now()
        await check(api, job, making.body, now)
        if (broke := await exhausted(api, job)) is not None:
            first = await _first(api, making, job)
            if first is None:
                raise broke
            return first
        bare = new_run(
            making.body,
            job.spec,
            run_id=api.deps.new_id(),
            job_id=job.id,
            job_version=job.version,
            now=now,
            once=making.once,
        )
        run = make(bare)
        answer = await _stored(api, making, job, run) or await _first(api, making, job)
        if answer is not None:
            return answer
        api.jobs.forget()
    raise restless_job(ref)


async def _stored(api: Api, making: Making, job: StoredJob, run: NewRun) -> Reply | None:
    """Store the run together with the wait for it; None when the job has changed, or the key is in use."""
    async with api.connection() as conn:
        admitted = await _admitted(conn, making, job, run)
        row = None if admitted is None else await runs.get_run(conn, admitted.run_id)
    if admitted is None or row is None:
        return None
    if admitted.moved:
        api.deps.intake.admitted(replace(run, status=Status(row["status"]), scheduled_at=row["scheduled_at"]))
    return _answer(row, admitted.status, DEDUPLICATED if admitted.status == 200 else ())


async def _admitted(conn: Conn, making: Making, job: StoredJob, run: NewRun) -> Admitted | None:
    admitted: Admitted | None = None
    async with conn.transaction() as transaction:
        await _hold(conn, making)
        admitted = await windowed.admit_in(conn, job.spec, making.body, run, making.once)
        if admitted is None:
            raise Rollback(transaction)
        if making.waits:
            await waits.record_child(
                conn, making.speaker.run_id, making.speaker.attempt, admitted.run_id, run.created_at
            )
    return admitted


async def _hold(conn: Conn, making: Making) -> None:
    """Keep the attempt from ending meanwhile; raises when it is over."""
    run_id, attempt = making.speaker.run_id, making.speaker.attempt
    held = await waits.mark(conn, run_id, attempt) if making.waits else await waits.hold_parent(conn, run_id, attempt)
    if not held:
        raise await silenced(conn, making.speaker)


async def _first(api: Api, making: Making, job: StoredJob) -> Reply | None:
    """The run that the call's key made before, waited for if that was asked; None when there is none."""
    if making.once is None:
        return None
    async with api.connection() as conn:
        scope = trigger_scope(job.spec.project_id, job.id)
        known = await idempotency.find(conn, scope, [making.once.key], api.deps.clock.now())
        kept = known.get(making.once.key)
        if kept is None:
            return None
        check_same(kept, making.once)
        async with conn.transaction():
            await _hold(conn, making)
            if making.waits:
                now = api.deps.clock.now()
                await waits.record_child(conn, making.speaker.run_id, making.speaker.attempt, kept.run_ids[0], now)
        row = await runs.get_run(conn, kept.run_ids[0])
    return None if row is None else _answer(row, 200, REPLAYED)


def _answer(row: Row, status: int, headers: Headers) -> Reply:
    # The endpoint knows what it has sent; what came of a run that is over, it may want to know.
    return reply(shape.run({name: value for name, value in row.items() if name != "payload"}), status, headers)


_MAKES: Final = (NotFoundError, ConflictError, BudgetError)

ROUTES: Final[tuple[Operation, ...]] = (
    of_attempt(
        "POST",
        "/wait-for-event",
        handle=wait_for_event,
        name="sdkWaitForEvent",
        summary=(
            "Record that the run waits for an event. When this attempt ends with 2xx the run waits, and goes on with a"
            " fresh attempt, which costs none, as soon as everything that was recorded has come; any other ending drops"
            " the wait. An event sent within a day has come already. A run that has waited for the event before is told"
            " what came (200)."
        ),
        status=201,
        returns=wire_events.Wait,
        body=Body(wire_events.WaitForEvent, required=True),
        also={200: wire_events.Wait},
        once=True,
        raises=(ConflictError,),
    ),
    of_attempt(
        "GET",
        "/waits",
        handle=list_waits,
        name="sdkListWaits",
        summary="Read what the run has waited for in earlier attempts, and what came of it, the oldest first.",
        returns=wire.Page[wire_events.Wait],
        query=PAGING,
    ),
    of_attempt(
        "POST",
        "/spawn",
        handle=spawn,
        name="sdkSpawn",
        summary=(
            "Trigger another job of the project as a child of this run. With `wait` the end of the child is recorded as"
            " something to wait for, as an event is."
        ),
        status=201,
        returns=wire.Run,
        body=Body(wire_events.Spawn, most=TRIGGER_BYTES, raw="payload", required=True),
        also={200: wire.Run, 202: wire.Run},
        once=True,
        raises=_MAKES,
    ),
    of_attempt(
        "POST",
        "/continue",
        handle=continue_run,
        name="sdkContinue",
        summary="Start the run of the same job that goes on from this one; a run has at most one.",
        status=201,
        returns=wire.Run,
        body=Body(wire_events.Continue, most=TRIGGER_BYTES, raw="payload"),
        also={200: wire.Run, 202: wire.Run},
        once=True,
        raises=_MAKES,
    ),
)
