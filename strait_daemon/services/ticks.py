"""What ticks come to, applied: `schedule.decide` says it, here runs are stored, ticks recorded and schedules moved on.

Every function works in the caller's transaction, on schedules that it holds, so a tick is decided once whoever comes
first: the ticker of any process, or the request that changes the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from msgspec.structs import replace

from strait_core.deadline import WATCHED
from strait_core.job import JobSpec
from strait_core.run import CANCELABLE, Event, Status
from strait_core.schedule import (
    CATCH_UP,
    CRON,
    GRACE,
    Action,
    Decision,
    Decisions,
    OverlapPolicy,
    SkipReason,
    State,
    decide,
)
from strait_core.store import budgets, deadlines, endings, queue, schedules, workflow_runs, workflows
from strait_core.store.deadlines import Watch, watches_of
from strait_core.store.pool import Conn
from strait_core.store.runs import Ended
from strait_core.store.schedules import Due, Fire, Step
from strait_core.store.workflow_live import Brought
from strait_core.store.workflow_runs import NewWorkflowRun
from strait_core.store.workflows import StoredWorkflow
from strait_core.timetable import overlap_of, policy_of, schedule_of
from strait_core.trigger import EMPTY_PAYLOAD, NewRun, new_run
from strait_core.wire import TriggerRequest

# Runs made for missed ticks of one schedule in one go, and how long until the next go: a backlog drains at this pace.
ROOM: Final = 5
PACE: Final = timedelta(seconds=1)
# How long until a tick that waits for the run before it is looked at again.
HELD_PAUSE: Final = timedelta(seconds=0.5)
UNDECIDED_PAUSE: Final = timedelta(minutes=1)
_NOTHING_SAID: Final = TriggerRequest()
NewId = Callable[[], UUID]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Done:
    """What came of a look: runs made, runs canceled, and schedules left because they need a transaction of their own.

    `brought`: what has come of workflow runs. `refused`: schedules whose job or workflow has changed since it was
    read; they are as due as they were.
    """

    made: list[UUID] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    brought: Brought = field(default_factory=Brought)
    left: list[UUID] = field(default_factory=list)
    refused: int = 0

    def add(self, more: Done) -> None:
        """Take in what came of another look."""
        self.made += more.made
        self.ended += more.ended
        self.brought.add(more.brought)


@dataclass(slots=True)
class _Plan:
    """What one schedule's look is to do."""

    due: Due
    step: Step
    fires: list[Fire] = field(default_factory=list)
    new: list[NewRun | NewWorkflowRun] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)
    cancel: list[UUID] = field(default_factory=list)

    @property
    def waits_for_others(self) -> bool:
        """Whether it cancels runs, and so may wait for whoever moves these just now."""
        return bool(self.cancel)


async def look(
    conn: Conn,
    due: Sequence[Due],
    now: datetime,
    new_id: NewId,
    *,
    alone: bool = False,
    room: int = ROOM,
    as_of: datetime | None = None,
) -> Done:
    """Decide what is due of these schedules at `now`, or at `as_of` when that is given.

    Unless it is `alone`, one that would cancel runs is left for later: that may wait for other transactions, and nobody
    else should wait with it.
    """
    done = Done()
    overlapping = [one.owner for one in due if _minds_overlap(one)]
    active = await schedules.active_ticks(conn, overlapping) if overlapping else {}
    deciding = _Deciding(as_of or now, room)
    plans = [_planned(one, active.get(one.owner.id, ()), now, deciding, new_id) for one in due]
    await _withhold(conn, [plan for plan in plans if plan.new and plan.due.budgeted], now)
    if not alone:
        done.left = [plan.due.id for plan in plans if plan.waits_for_others]
        plans = [plan for plan in plans if not plan.waits_for_others]
    else:
        for plan in plans:
            await _pass_over_recorded(conn, plan)
    await _apply(conn, plans, now, done)
    return done


async def _withhold(conn: Conn, plans: Sequence[_Plan], now: datetime) -> None:
    """Ticks of projects that have spent their budget of the day make no runs, and cancel none to make room."""
    projects = {plan.due.spec.project_id for plan in plans}
    spent = {project for project in projects if await budgets.spent_until(conn, project, now) is not None}
    for plan in plans:
        if plan.due.spec.project_id in spent:
            plan.fires = [
                fire if fire.run_id is None else replace(fire, run_id=None, skipped=SkipReason.BUDGET.value)
                for fire in plan.fires
            ]
            # Nobody need wait for a run that is not made; one that is held for later may come.
            plan.watches = [watch for watch in plan.watches if watch.since == plan.step.held_fire_at]
            plan.new.clear()
            plan.cancel.clear()


async def _pass_over_recorded(conn: Conn, plan: _Plan) -> None:
    """Take out of a plan what has been decided before: a clock has gone back, say, and the schedule after it."""
    if not plan.fires:
        return
    known = await schedules.recorded(conn, plan.due.id, [fire.fire_at for fire in plan.fires])
    if known:
        gone = {fire.run_id for fire in plan.fires if fire.fire_at in known}
        plan.fires = [fire for fire in plan.fires if fire.fire_at not in known]
        plan.new = [run for run in plan.new if run.id not in gone]
        plan.watches = [watch for watch in plan.watches if watch.since not in known]
        plan.cancel = plan.cancel if plan.new else []


def _minds_overlap(due: Due) -> bool:
    return due.held_fire_at is not None or overlap_of(due.spec) is not OverlapPolicy.ALLOW


class _Deciding:
    """Asks `decide`, once for all schedules that must come to the same: at the full hour most do."""

    def __init__(self, as_of: datetime, room: int) -> None:
        self._as_of = as_of
        self._room = room
        self._known: dict[tuple[object, ...], Decisions] = {}

    def of(self, due: Due, live: int, *, held: bool) -> Decisions:
        """What becomes of the ticks of a schedule of which so many runs are live."""
        spec = due.spec
        if spec.jitter_secs or held or overlap_of(spec) is not OverlapPolicy.ALLOW:
            return self._decide(due, live, held=held)
        same = (
            spec.cron, spec.timezone, spec.dst_gap, spec.dst_overlap, due.next_fire_at, spec.misfire_policy,
            spec.misfire_max_lateness_secs, spec.misfire_max_runs, due.calendar, spec.calendar_mode, spec.calendar_roll,
        )  # fmt: skip
        found = self._known.get(same)
        if found is None:
            found = self._known[same] = self._decide(due, live, held=held)
        return found

    def _decide(self, due: Due, live: int, *, held: bool) -> Decisions:
        schedule = schedule_of(due.id, due.spec, due.calendar)
        return decide(schedule, State(due.next_fire_at, live, held), self._as_of, room=self._room)


def _planned(due: Due, active: Sequence[UUID], now: datetime, deciding: _Deciding, new_id: NewId) -> _Plan:
    """The plan of one schedule; one that cannot be decided stands in nobody's way and is looked at again later."""
    try:
        return _plan(due, active, now, deciding, new_id)
    except Exception as error:  # noqa: BLE001 - a zone that is gone, a definition that cannot be read
        log.warning("schedule_not_decided", schedule=str(due.id), error=f"{type(error).__name__}: {error}")
        later = now + UNDECIDED_PAUSE
        return _Plan(due, Step(id=due.id, next_fire_at=due.next_fire_at, held_fire_at=due.held_fire_at, due_at=later))


def _plan(due: Due, active: Sequence[UUID], now: datetime, deciding: _Deciding, new_id: NewId) -> _Plan:
    plan = _Plan(due, Step(id=due.id, next_fire_at=None, held_fire_at=None, due_at=None))
    held, live = due.held_fire_at, len(active)
    if held is not None and (live == 0 or overlap_of(due.spec) is not OverlapPolicy.QUEUE_ONE):
        _fire(plan, held, CRON if now - held <= GRACE else CATCH_UP, now, new_id)
        held, live = None, live + 1
    found = deciding.of(due, live, held=held is not None)
    for decision in found.decided:
        if decision.action is Action.SKIP:
            plan.fires.append(_skip(due.id, decision))
        elif decision.after_running:
            held = decision.fire_at
        else:
            if decision.cancel_running:
                plan.cancel = list(active)
                _drop_earlier(plan)
            _fire(plan, decision.fire_at, decision.triggered_by, now, new_id)
    plan.step = _step(due.id, found, held, now)
    ticks = [fire.fire_at for fire in plan.fires if fire.run_id is not None and fire.triggered_by in WATCHED]
    plan.watches = watches_of(due.id, policy_of(due.spec), ticks if held is None else [*ticks, held])
    return plan


def _drop_earlier(plan: _Plan) -> None:
    """A run that this very look would make and then cancel is not made: its tick gives way to the later one."""
    for run in plan.new:
        at = next(at for at, fire in enumerate(plan.fires) if fire.run_id == run.id)
        plan.fires[at] = replace(plan.fires[at], run_id=None, skipped=SkipReason.OVERLAP.value)
    plan.new.clear()


def _fire(plan: _Plan, fire_at: datetime, triggered_by: str, now: datetime, new_id: NewId) -> None:
    run = _made(plan.due, fire_at, triggered_by, now, new_id())
    plan.new.append(run)
    plan.fires.append(
        Fire(schedule_id=plan.due.id, fire_at=fire_at, triggered_by=triggered_by, run_id=run.id, first_fire_at=fire_at)
    )


def _made(due: Due, fire_at: datetime, triggered_by: str, now: datetime, run_id: UUID) -> NewRun | NewWorkflowRun:
    owner = due.owner
    if not isinstance(owner.spec, JobSpec):
        return new_flow(run_id, triggered_by, fire_at)
    run = new_run(
        _NOTHING_SAID,
        owner.spec,
        run_id=run_id,
        job_id=owner.id,
        job_version=owner.version,
        now=now,
        triggered_by=triggered_by,
    )
    return replace(run, fire_at=fire_at)


def new_flow(run_id: UUID, triggered_by: str, fire_at: datetime) -> NewWorkflowRun:
    """The run of a workflow that a tick makes: nothing is said of it."""
    return NewWorkflowRun(run_id, EMPTY_PAYLOAD, {}, {}, (), triggered_by, fire_at)


def _skip(schedule_id: UUID, decision: Decision) -> Fire:
    assert decision.reason is not None
    return Fire(
        schedule_id=schedule_id,
        fire_at=decision.fire_at,
        triggered_by=decision.triggered_by,
        skipped=decision.reason.value,
        ticks=decision.count,
        first_fire_at=decision.first_fire_at or decision.fire_at,
    )


def _step(schedule_id: UUID, found: Decisions, held: datetime | None, now: datetime) -> Step:
    upcoming = found.next_due_at
    if upcoming is not None and upcoming <= now:
        # A backlog goes on at its pace, and stays recognizable as one.
        upcoming = max(upcoming, now - GRACE - PACE)
    if held is not None:
        upcoming = now + HELD_PAUSE if upcoming is None else min(upcoming, now + HELD_PAUSE)
    return Step(id=schedule_id, next_fire_at=found.next_fire_at, held_fire_at=held, due_at=upcoming)


async def _apply(conn: Conn, plans: Sequence[_Plan], now: datetime, done: Done) -> None:
    """Cancel, store, record, move on. A plan of which a run is refused is dropped whole: its owner has just changed."""
    for plan in plans:
        if plan.cancel and not plan.due.owner.is_flow:
            done.ended += await endings.end_active(
                conn,
                plan.cancel,
                event=Event.CANCEL,
                to=Status.CANCELED,
                allowed=CANCELABLE,
                now=now,
                reason="the next tick came (overlap_policy cancel_running)",
            )
    new = [run for plan in plans for run in plan.new if isinstance(run, NewRun)]
    stored = await queue.insert_runs(conn, new, now) if new else set()
    done.made += stored
    if flows := [plan for plan in plans if plan.due.owner.is_flow and plan.new]:
        stored |= await _start_flows(conn, flows, now, done.brought)
    kept = [plan for plan in plans if all(run.id in stored for run in plan.new)]
    done.refused += len(plans) - len(kept)
    await schedules.note_fires(conn, [fire for plan in kept for fire in plan.fires], now)
    await deadlines.watch(conn, [watch for plan in kept for watch in plan.watches])
    await schedules.advance(conn, [plan.step for plan in kept])


async def _start_flows(conn: Conn, plans: Sequence[_Plan], now: datetime, brought: Brought) -> set[UUID]:
    """Cancel what plans cancel and start the workflow runs that they make; none of a workflow that has changed."""
    found = await workflows.workflows_by_id(conn, {plan.due.owner.id for plan in plans})
    flows: list[tuple[StoredWorkflow, NewWorkflowRun]] = []
    for plan in plans:
        workflow = found.get(plan.due.owner.id)
        if workflow is None or workflow.version != plan.due.owner.version or not takes_runs(workflow):
            continue
        if plan.cancel:
            await workflow_runs.cancel_all(conn, plan.cancel, now, brought)
        flows += [(workflow, run) for run in plan.new if isinstance(run, NewWorkflowRun)]
    await workflow_runs.trigger_all(conn, flows, now, brought)
    return {run.id for _, run in flows}


def takes_runs(workflow: StoredWorkflow) -> bool:
    """Whether a workflow takes runs now."""
    return workflow.enabled and not workflow.paused


async def fire_by_hand(conn: Conn, due: Due, now: datetime, new_id: NewId) -> tuple[UUID | None, Done]:
    """Make a run now, beside whatever runs, and record it; None when the owner takes no runs."""
    plan, done = _Plan(due, Step(id=due.id, next_fire_at=None, held_fire_at=None, due_at=None)), Done()
    _fire(plan, now, "manual", now, new_id)
    (run,) = plan.new
    stored = await queue.insert_runs(conn, [run], now) if isinstance(run, NewRun) else None
    if stored is None:
        stored = await _start_flows(conn, [plan], now, done.brought)
    if run.id not in stored:
        return None, done
    await schedules.note_fires(conn, plan.fires, now)
    return run.id, done
