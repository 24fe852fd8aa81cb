"""What travels over HTTP about backfills."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct, field

from strait_core.wire.bodies import Request


class BackfillRequest(Request):
    """POST /v1/schedules/{schedule}/backfill: every tick from `from_at` on and before `to_at`, which has passed.

    No more than `max_concurrency` of its runs are active at once. `missing_only` leaves out ticks that have made a run.
    """

    from_at: datetime
    to_at: datetime
    max_concurrency: int = 1
    missing_only: bool = False
    dry_run: bool = False


class Backfill(Struct, kw_only=True):
    """A backfill: running, done or stopped; `fires` runs are to be made, `made` have been, the rest have ended so."""

    schedule_id: str
    # One of the two: what is fired.
    job_slug: str | None
    workflow_slug: str | None
    state: str
    from_at: datetime
    to_at: datetime
    max_concurrency: int
    fires: int
    made: int
    active: int
    completed: int
    unsuccessful: int
    created_at: datetime
    ended_at: datetime | None


class BackfillTick(Struct, kw_only=True):
    """A tick that would be fired: the instant, and the same in local time."""

    fire_at: datetime
    local: str
    zone_offset: str


class BackfillPlan(Struct, kw_only=True):
    """What a backfill does: so many `fires`, and how many ticks of the interval it leaves out and why.

    `already`: they belong to a backfill; `fired`: they made a run (with `missing_only`); `undecided`: the clock fires
    them by itself. `ticks` lists the fires of a dry run; `backfill` is what goes on, null when there is none.
    """

    fires: int
    already: int
    fired: int
    undecided: int
    ticks: list[BackfillTick] = field(default_factory=list)
    backfill: Backfill | None = None
