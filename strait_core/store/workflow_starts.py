"""How a step of each type starts, in the transaction that has found it ready.

A step that cannot start fails, and one that has nothing to wait for is over at once; both are told to the tree, which
goes on from there.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, assert_never
from uuid import UUID
from weakref import WeakKeyDictionary

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import replace
from psycopg.types.json import Jsonb

from strait_core import ids
from strait_core.duration import parse_duration
from strait_core.idempotency import canonical
from strait_core.schema import Judge
from strait_core.store import events, queue, targets, waits
from strait_core.store.events import EventStatus
from strait_core.store.jobs import StoredJob
from strait_core.store.pool import Conn
from strait_core.store.workflow_live import Live, Order, StepEnd, undoing_of
from strait_core.store.workflow_rows import rows
from strait_core.store.workflows import StoredWorkflow
from strait_core.trigger import NewRun, new_run
from strait_core.wire import NewRunRequest
from strait_core.workflow.dag import Fault, Ready, Start, Wanted
from strait_core.workflow.definition import MAX_NESTING, StepSpec, StepType
from strait_core.workflow.facts import instant
from strait_core.workflow.states import RunStatus, StepMove

if TYPE_CHECKING:
    from strait_core.store.workflow_tree import Tree

# By whom the runs of steps are triggered.
TRIGGERED_BY: Final = "workflow"
COMPENSATION: Final = "compensation"
# What one statement stores.
_PAGE: Final = 500
_PAGE_BYTES: Final = 4 * 1024 * 1024
# Jobs that a connection remembers.
_MOST_KNOWN: Final = 1_000
_known: Final[WeakKeyDictionary[Conn, dict[tuple[str, str], StoredJob]]] = WeakKeyDictionary()
# A job that is changed just now is looked at again.
_TRIES: Final = 3
_encode: Final = msgspec.json.Encoder().encode
_judge: Final = lru_cache(256)(lambda schema: Judge(msgspec.json.decode(schema)))
# Payloads that are not longer are judged on the event loop.


async def start(tree: Tree, live: Live, starts: Sequence[Start]) -> None:
    """Start these steps, which are pending."""
    jobs: list[Start] = []
    # Waits for events last and by key, so that two runs which wait for the same ones do not wait for each other.
    for one in sorted(starts, key=lambda one: _event_of(live, one)):
        step = live.snapshot.steps[one.step]
        match step.step_type:
            case StepType.JOB:
                jobs.append(one)
            case StepType.APPROVAL:
                _ask(tree, live, one.step, step)
            case StepType.SLEEP:
                await _sleep(tree, live, one, step)
            case StepType.WAIT_FOR_EVENT:
                await _await_event(tree, live, one, step)
            case StepType.SUB_WORKFLOW:
                await _begin_child(tree, live, one, step)
            case _:
                assert_never(step.step_type)
    if jobs:
        _start_jobs(tree, live, jobs)


def _event_of(live: Live, one: Start) -> str:
    is_wait = live.snapshot.steps[one.step].step_type is StepType.WAIT_FOR_EVENT
    return (one.ready.text or "") if is_wait else ""


# -- jobs ---------------------------------------------------------------------------------------------------------


def _start_jobs(tree: Tree, live: Live, starts: Sequence[Start]) -> None:
    steps = live.snapshot.steps
    tree.order([Order(live, one.step, steps[one.step].job_id or "", one.ready.text or "{}") for one in starts])


def undo(tree: Tree, live: Live, steps: Iterable[int]) -> None:
    """Start the compensation jobs of these steps, each with what its step has put out."""
    orders = []
    for at in steps:
        step = live.snapshot.steps[at]
        told = {"step_ref": step.step_ref, "workflow_run_id": live.facts.about["id"]}
        told["output"] = Raw((live.facts.outputs.get(at) or "null").encode())
        orders.append(Order(live, undoing_of(at), step.compensation_job or "", _encode(told).decode()))
    tree.order(orders)


async def place(tree: Tree, orders: Sequence[Order]) -> None:
    """Make the job runs that steps start with; a step whose job takes none fails."""
    left = list(orders)
    for tries in range(_TRIES):
        taken: list[tuple[Order, StoredJob]] = []
        for order in left:
            project = order.live.snapshot.spec.project_id
            job = await _job(tree.conn, project, order.ref, anew=tries > 0)
            fault = _refusal(order.ref, job, order.payload)
            if job is None or fault is not None:
                _fail(tree, order.live, order.at, fault or Fault("job", f"job: there is no job {order.ref!r}"))
            else:
                taken.append((order, job))
        left = await _store(tree, taken)
        if not left:
            return
    for order in left:
        _fail(tree, order.live, order.at, Fault("job", f"job: {order.ref!r} keeps changing"))


async def _store(tree: Tree, taken: Sequence[tuple[Order, StoredJob]]) -> list[Order]:
    """Make runs for these orders; those whose job has changed meanwhile and takes none."""
    made: list[NewRun] = []
    sent: list[queue.Sent] = []
    kinds: dict[tuple[object, ...], NewRun] = {}
    async with tree.conn.pipeline():
        # While PostgreSQL stores a page the next one is made.
        for page in pages(_new_run(tree, order, job, kinds) for order, job in taken):
            made += page
            sent.append(await queue.send_runs(tree.conn, page, tree.now, held=True))
    stored: set[UUID] = set()
    for one in sent:
        stored |= await queue.done(one, [])
    left: list[Order] = []
    for (order, _), run in zip(taken, made, strict=True):
        if run.id not in stored:
            left.append(order)
            continue
        order.live.move(order.at, StepMove.RUN, job_run_id=run.id)
        order.live.held_by[order.at] = run.id
        # Whoever hears of it needs no payload, and there may be many.
        tree.brought.started.append(replace(run, payload=""))
    return left


def pages(runs: Iterable[NewRun]) -> Iterator[list[NewRun]]:
    """Runs in the order they came, in pages of at most 500 and (beyond the first one) 4 MiB of payloads."""
    page: list[NewRun] = []
    size = 0
    for run in runs:
        if page and (len(page) == _PAGE or size + len(run.payload) > _PAGE_BYTES):
            yield page
            page, size = [], 0
        page.append(run)
        size += len(run.payload)
    if page:
        yield page


async def _job(conn: Conn, project: str, ref: str, *, anew: bool) -> StoredJob | None:
    """The job that a step names, as this connection has last seen it unless it is to look `anew`.

    Only a job that takes runs is remembered. The statement that stores a run refuses it when the job has changed since.
    """
    known = _known.setdefault(conn, {})
    found = None if anew else known.get((project, ref))
    if found is not None:
        return found
    found = await targets.job_named(conn, project, ref)
    known.pop((project, ref), None)
    if found is not None and found.enabled:
        if len(known) >= _MOST_KNOWN:
            known.clear()
        known[project, ref] = found
    return found


def _refusal(ref: str, job: StoredJob | None, payload: str) -> Fault | None:
    """Why a job takes no run with that payload; a paused one takes it and keeps it waiting."""
    if job is None:
        return Fault("job", f"job: there is no job {ref!r}")
    if not job.enabled:
        return Fault("job", f"job: {job.spec.slug!r} is disabled")
    if job.spec.payload_schema is None:
        return None
    faults = _judge(_encode(job.spec.payload_schema)).faults("payload", payload)
    said = "; ".join(f"{fault.pointer} {fault.message}" for fault in faults[:3])
    return Fault("payload_schema", f"payload_schema: {said}") if faults else None


def _new_run(tree: Tree, order: Order, job: StoredJob, kinds: dict[tuple[object, ...], NewRun]) -> NewRun:
    """The run that an order asks for, like the first one of its kind: the steps of a fan differ in little."""
    live, of_step = order.live, order.at >= 0
    step = live.snapshot.steps[order.at if of_step else undoing_of(order.at)]
    kind = (live.id, job.id, job.version, _policy(step) if of_step else None)
    plain = kinds.get(kind)
    if plain is None:
        plain = kinds[kind] = _plain_run(tree, live, step if of_step else None, job)
    return replace(
        plain,
        id=ids.uuid7(tree.now, random.getrandbits),
        payload=order.payload,
        step_ref=step.step_ref,
        step_index=order.at,
    )


def _policy(step: StepSpec) -> tuple[object, ...]:
    """What a step says of its run in place of the job."""
    own = (step.retry_max_attempts, step.timeout_secs, step.retry_backoff)
    return (*own, step.retry_initial_delay_secs, step.retry_max_delay_secs)


def _plain_run(tree: Tree, live: Live, step: StepSpec | None, job: StoredJob) -> NewRun:
    """A run for a step; None = for what undoes one."""
    request = NewRunRequest()
    if step is not None:
        request.max_attempts = UNSET if step.retry_max_attempts is None else step.retry_max_attempts
        request.timeout_secs = UNSET if step.timeout_secs is None else step.timeout_secs
        request.retry_strategy = UNSET if step.retry_backoff is None else step.retry_backoff
    run = new_run(
        request,
        job.spec,
        run_id=live.id,
        job_id=job.id,
        job_version=job.version,
        now=tree.now,
        triggered_by=COMPENSATION if step is None else TRIGGERED_BY,
    )
    return replace(
        run,
        workflow_run_id=live.id,
        lineage_depth=live.row["lineage_depth"],
        retry_initial_secs=None if step is None else step.retry_initial_delay_secs,
        retry_max_secs=None if step is None else step.retry_max_delay_secs,
    )


def _fail(tree: Tree, live: Live, at: int, fault: Fault) -> None:
    live.move(at, StepMove.FAIL, error_class=fault.error_class, error=fault.message)
    tree.look(live, {at})


# -- waits --------------------------------------------------------------------------------------------------------


def _ask(tree: Tree, live: Live, at: int, step: StepSpec) -> None:
    due_at = _after(tree.now, step.approval_timeout_secs)
    approval_id = ids.uuid7(tree.now, random.getrandbits)
    values = {
        "id": approval_id,
        "workflow_run_id": live.id,
        "step": at,
        "step_ref": step.step_ref,
        "workflow_id": live.row["workflow_id"],
        "project_id": live.row["project_id"],
        "approvers": Jsonb(list(step.approvers)),
        "expires_at": due_at,
        "now": tree.now,
    }
    tree.later("insert_approval", values)
    live.move(at, StepMove.AWAIT, due_at=due_at)
    tree.brought.due(due_at)


async def _sleep(tree: Tree, live: Live, one: Start, step: StepSpec) -> None:
    length = parse_duration(step.sleep_duration) if step.sleep_duration is not None else None
    until = instant(one.ready.text or "") if length is None else tree.now + length
    live.move(one.step, StepMove.AWAIT, due_at=until)
    if until is None or until <= tree.now:
        await tree.finish(live, StepEnd(one.step, None, StepMove.COMPLETE))
    else:
        tree.brought.due(until)


async def _await_event(tree: Tree, live: Live, one: Start, step: StepSpec) -> None:
    """Wait for an event; one that was sent within a day has come already."""
    held = await events.hold(tree.conn, live.row["project_id"], one.ready.text or "", tree.now)
    due_at = _after(tree.now, step.event_timeout_secs)
    live.move(one.step, StepMove.AWAIT, due_at=due_at, event_id=held.id)
    live.held_by[one.step] = held.id
    if held.status is EventStatus.RECEIVED:
        await events.count_delivered(tree.conn, held.id, 1)
        event = await events.event_by_id(tree.conn, held.id)
        output = None if event is None else event.payload
        await tree.finish(live, StepEnd(one.step, held.id, StepMove.COMPLETE, output=output))
    else:
        tree.brought.due(due_at)


def _after(now: datetime, secs: int | None) -> datetime | None:
    return None if secs is None else now + timedelta(seconds=secs)


# -- sub-workflows ------------------------------------------------------------------------------------------------


async def _begin_child(tree: Tree, live: Live, one: Start, step: StepSpec) -> None:
    """A run of the sub-workflow, in this transaction; if the workflow is limited it waits for room like any other."""
    ref, project = step.sub_workflow or "", live.row["project_id"]
    found = await targets.workflow_named(tree.conn, project, ref)
    depth = live.row["depth"] + 1
    if found is None:
        _fail(tree, live, one.step, Fault("sub_workflow", f"sub_workflow: there is no workflow {ref!r}"))
    elif not found.enabled or found.paused:
        how = "disabled" if not found.enabled else "paused"
        _fail(tree, live, one.step, Fault("sub_workflow", f"sub_workflow: {found.spec.slug!r} is {how}"))
    elif depth > MAX_NESTING:
        said = f"sub_workflow: over {MAX_NESTING} workflows stand inside one another"
        _fail(tree, live, one.step, Fault("sub_workflow", said))
    else:
        await _store_child(tree, live, one, found)


async def _store_child(tree: Tree, live: Live, one: Start, workflow: StoredWorkflow) -> None:
    limited = workflow.spec.max_concurrent_runs is not None
    values: dict[str, Any] = {
        "id": ids.uuid7(tree.now, random.getrandbits),
        "root_id": live.row["root_id"],
        "workflow_id": workflow.id,
        "project_id": workflow.spec.project_id,
        "version": workflow.version,
        "status": (RunStatus.PENDING if limited else RunStatus.RUNNING).value,
        "payload": one.ready.text or "{}",
        "tags": Jsonb(dict(workflow.spec.tags)),
        "labels": Jsonb({}),
        "disabled": [],
        "triggered_by": TRIGGERED_BY,
        "parent_run_id": live.id,
        "parent_step": one.step,
        "depth": live.row["depth"] + 1,
        "expires_at": _after(tree.now, workflow.spec.timeout_secs),
        "fire_at": None,
        "lineage_depth": live.row["lineage_depth"],
        "now": tree.now,
    }
    (row,) = await rows(tree.conn, "insert_run", values)
    live.move(one.step, StepMove.RUN, child_run_id=row["id"])
    live.held_by[one.step] = row["id"]
    tree.brought.moved.add(row["id"])
    tree.brought.due(row["expires_at"])
    tree.brought.has_room = tree.brought.has_room or limited
    tree.look(await tree.join(row), None)


# -- events -------------------------------------------------------------------------------------------------------


async def emit(tree: Tree, live: Live, at: int, output: str | None) -> None:
    """Send the event that a completed step emits; a key that stands for another payload keeps it."""
    key = live.snapshot.steps[at].event_emit_key or ""
    while isinstance(made := live.facts.key_of(at, key, live.places), Wanted):
        await tree.read(live, made.steps)
    if not isinstance(made, Ready) or made.text is None:
        return
    payload = output or "null"
    body_hash = sha256(canonical(payload.encode())).hexdigest()
    # Whoever waits for it in this very transaction has to be found.
    await tree.flush()
    sent = await events.send(tree.conn, live.row["project_id"], made.text, payload, body_hash, tree.now)
    if sent.is_new:
        tree.brought.due(tree.now)
        tree.brought.resumed += await waits.resume_ripe(tree.conn, tree.now)
