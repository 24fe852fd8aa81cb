"""What stored schedules would do from one instant to another: the same decisions, on a clock that only seems to run."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from strait_core import cron
from strait_core.errors import ConflictError, Fault, NotFoundError, ValidationError
from strait_core.job import DAY_SECS, JobSpec
from strait_core.simulate import Actor, Story, simulate
from strait_core.store.schedules import StoredSchedule
from strait_core.timetable import schedule_of
from strait_core.wire import schedules as told
from strait_daemon.api.body import Body
from strait_daemon.api.context import Api
from strait_daemon.api.operation import Call, Operation, Reply, reply
from strait_daemon.api.query import PROJECT
from strait_daemon.api.schedule_lookup import find_schedule

MOST_JOBS: Final = 20
MOST_EVENTS: Final = 1_000
MOST_OUTAGES: Final = 100
LONGEST: Final = timedelta(days=366)


async def run_simulation(api: Api, call: Call) -> Reply:
    """POST /v1/cron/simulate."""
    body: told.Simulate = call.body
    faults = _faults(body)
    if faults:
        raise ValidationError(faults)
    async with api.connection() as conn:
        found = [await find_schedule(conn, ref, call.project) for ref in body.jobs]
    length = timedelta(seconds=body.run_secs)
    actors = [_actor(one, length) for one in found]
    outages = [(one.from_at.astimezone(UTC), one.to_at.astimezone(UTC)) for one in body.outages]
    story = await asyncio.to_thread(
        simulate, actors, body.from_at.astimezone(UTC), body.to_at.astimezone(UTC), outages=outages, most=MOST_EVENTS
    )
    return reply(_shaped(story))


def _faults(body: told.Simulate) -> list[Fault]:
    faults = []
    if not 1 <= len(body.jobs) <= MOST_JOBS:
        faults.append(Fault("/jobs", f"must name 1 to {MOST_JOBS} jobs"))
    if not 0 <= body.run_secs <= DAY_SECS:
        faults.append(Fault("/run_secs", f"must be from 0 to {DAY_SECS}"))
    if len(body.outages) > MOST_OUTAGES:
        faults.append(Fault("/outages", f"must have at most {MOST_OUTAGES} entries"))
    faults += _span_faults("", body.from_at, body.to_at)
    for at, one in enumerate(body.outages):
        faults += _span_faults(f"/outages/{at}", one.from_at, one.to_at)
    return faults


def _span_faults(pointer: str, start: datetime, end: datetime) -> list[Fault]:
    named = (("from_at", start), ("to_at", end))
    wrong = [
        Fault(f"{pointer}/{name}", "must carry a UTC offset, and lie between the years 1970 and 2200")
        for name, at in named
        if at.tzinfo is None or not 1970 <= at.year <= 2200
    ]
    if wrong:
        return wrong
    if not timedelta(0) < end - start <= LONGEST:
        return [Fault(f"{pointer}/to_at", f"must be later than from_at, by {LONGEST.days} days at most")]
    return []


def _actor(found: StoredSchedule, length: timedelta) -> Actor:
    spec = found.spec
    windowed = spec.execution_window_cron if isinstance(spec, JobSpec) else None
    window = None if windowed is None else cron.parse(windowed)
    return Actor(spec.slug, schedule_of(found.id, spec, found.calendar), length, window, spec.timezone)


def _shaped(story: Story) -> told.Simulated:
    return told.Simulated(
        events=[
            told.SimulatedEvent(
                at=one.at, job_slug=one.name, event=one.kind.value, fire_at=one.fire_at, count=one.count, note=one.note
            )
            for one in story.events
        ],
        tallies=[
            told.SimulatedTally(
                job_slug=one.name,
                fired=one.fired,
                caught_up=one.caught_up,
                held=one.held,
                canceled=one.canceled,
                late=one.late,
                skipped=dict(one.skipped),
                most_at_once=one.most_at_once,
            )
            for one in story.tallies
        ],
        cut=story.cut,
    )


ROUTES: Final = (
    Operation(
        method="POST",
        path="/v1/cron/simulate",
        handle=run_simulation,
        name="simulateSchedules",
        summary="What schedules would do in any interval: fires, skips, overlaps, window holds, misfires.",
        tag="schedules",
        returns=told.Simulated,
        body=Body(told.Simulate, required=True),
        query=(PROJECT,),
        raises=(NotFoundError, ConflictError),
    ),
)
