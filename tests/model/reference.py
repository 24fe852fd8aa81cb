"""The model: what the stored runs must look like, by `run.py` and a few dozen lines; no clock, no database.

Each method is one operation and returns what the database has to answer. Leases are told by the database (`leased`), and
so are places in the ready order, of which the model knows the order only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from strait_core.run import (
    CANCELABLE,
    INITIAL,
    REPLAYABLE,
    TERMINAL,
    Event,
    Outcome,
    OutcomeKind,
    Status,
    decide,
    next_status,
)
from strait_core.store.queue import Claimed

STALE_AFTER: Final = timedelta(seconds=60)


@dataclass
class Job:
    """A job as far as it matters to its runs."""

    id: UUID
    version: int = 1
    latest: bool = False
    enabled: bool = True
    paused: bool = False
    deleted: bool = False
    boost: int = 1
    # How many of its attempts may be live at once; None = any number.
    cap: int | None = None

    @property
    def takes(self) -> bool:
        """Whether new runs are accepted."""
        return self.enabled and not self.paused and not self.deleted


@dataclass
class Run:
    """A run; `place` orders the ready ones, `due` is when it comes back by itself."""

    id: UUID
    job: UUID
    status: Status
    most: int
    priority: int
    version: int
    expires: datetime | None
    fresh_at: datetime
    due: datetime | None = None
    place: int | None = None
    seq: int = 1
    attempt: int = 0
    base: int = 0
    lease: int | None = None
    worker: UUID | None = None

    def move(self, event: Event) -> None:
        """Take the step of the table; there must be one."""
        to = next_status(self.status, event)
        assert to is not None, (self.status, event)
        self.status = to
        self.seq += 1
        if to is not Status.QUEUED:
            self.place = self.due = None
        if to not in {Status.DEQUEUED, Status.EXECUTING}:
            self.lease = self.worker = None

    def late(self, now: datetime) -> bool:
        """Whether its time to live is over: it does not start any more."""
        return self.expires is not None and self.expires <= now

    def held_by(self, held: Claimed, status: Status) -> bool:
        """The fence: status, attempt and lease are as the holder believes."""
        return (self.status, self.attempt, self.lease) == (status, held.attempt, held.lease)


@dataclass
class Reference:
    """All jobs, runs and workers."""

    jobs: dict[UUID, Job] = field(default_factory=dict)
    runs: dict[UUID, Run] = field(default_factory=dict)
    # When each worker that is not forgotten was last heard of.
    heard: dict[UUID, datetime] = field(default_factory=dict)
    keys: set[tuple[UUID, str]] = field(default_factory=set)
    # Grows with each run that takes a place in the ready order.
    places: int = 0

    def copy(self) -> Reference:
        """One that can be moved without moving this one."""
        return Reference(
            {key: copy(job) for key, job in self.jobs.items()},
            {key: copy(run) for key, run in self.runs.items()},
            dict(self.heard),
            set(self.keys),
            self.places,
        )

    def _ready(self, run: Run) -> None:
        self.places += 1
        run.place, run.due = self.places, None

    def adopt(self, ready: Sequence[UUID], before: int) -> None:
        """Take over the order that the database gave to those whose place is newer than `before`."""
        for run_id in ready:
            if (self.runs[run_id].place or 0) > before:
                self.places += 1
                self.runs[run_id].place = self.places

    # -- in and out of the queue ------------------------------------------------------------------------------------

    def trigger(self, runs: Sequence[Run], version: int, key: str | None = None) -> set[UUID]:
        """Store runs of one job; those that were."""
        stored: set[UUID] = set()
        for run in runs:
            job = self.jobs[run.job]
            if not job.takes or job.version != version or (key is not None and (job.id, key) in self.keys):
                continue
            assert run.status in INITIAL
            self.runs[run.id] = run
            stored.add(run.id)
            if key is not None:
                self.keys.add((job.id, key))
            if run.status is Status.QUEUED:
                self._ready(run)
        return stored

    def claimable(self) -> list[Run]:
        """What claims may take one after the other, the best first: no more of a job than its cap leaves room for."""
        ready = [run for run in self.runs.values() if run.place is not None and self._open(self.jobs[run.job])]
        live = Counter(run.job for run in self.runs.values() if run.lease is not None)
        found = []
        for run in sorted(ready, key=lambda run: (-run.priority, run.place)):
            cap = self.jobs[run.job].cap
            if cap is None or live[run.job] < cap:
                live[run.job] += 1
                found.append(run)
        return found

    @staticmethod
    def _open(job: Job) -> bool:
        return job.deleted or (job.enabled and not job.paused)

    def leased(self, claimed: Iterable[Claimed], worker: UUID) -> None:
        """What a claim took, under the leases that it drew."""
        for one in claimed:
            run = self.runs[one.id]
            run.move(Event.CLAIM)
            run.lease, run.worker = one.lease, worker
            job = self.jobs[run.job]
            run.version = job.version if job.latest else run.version

    def passed_over(self, ready: Sequence[UUID], now: datetime) -> int:
        """Runs whose time to live is over lose their place to the claim that meets them; how many did."""
        lost = [run for run in self.runs.values() if run.place is not None and run.late(now) and run.id not in ready]
        for run in lost:
            run.place = None
        return len(lost)

    def promote(self, limit: int, now: datetime) -> set[UUID]:
        """Put what is due into the ready order, the earliest first."""
        due = sorted((run.due, run.id) for run in self.runs.values() if run.due is not None and run.due <= now)
        for _, run_id in due[:limit]:
            run = self.runs[run_id]
            if run.status is Status.DELAYED:
                run.move(Event.PROMOTE)
            self._ready(run)
        return {run_id for _, run_id in due[:limit]}

    # -- live attempts ----------------------------------------------------------------------------------------------

    def start(self, batch: Sequence[Claimed]) -> set[UUID]:
        """Open attempts; those still held."""
        done = {held.id for held in batch if self.runs[held.id].held_by(held, Status.DEQUEUED)}
        for run_id in done:
            self.runs[run_id].move(Event.START)
            self.runs[run_id].attempt += 1
        return done

    def end(self, held: Claimed, outcome: Outcome, due: datetime | None, priority: int) -> set[UUID]:
        """Close an attempt as its outcome decides; `due` and `priority` are those of a retry."""
        run = self.runs[held.id]
        if not run.held_by(held, Status.EXECUTING):
            return set()
        self._close(run, outcome, due, priority)
        return {run.id}

    @staticmethod
    def _close(run: Run, outcome: Outcome, due: datetime | None, priority: int) -> None:
        event = decide(outcome, attempt=run.attempt, attempt_base=run.base, max_attempts=run.most)
        run.move(event)
        if event is Event.RETRY:
            run.due, run.priority = due, priority

    def drain(self, held: Claimed) -> set[UUID]:
        """Let go of an open attempt, which does not count then."""
        run = self.runs[held.id]
        if not run.held_by(held, Status.EXECUTING):
            return set()
        run.move(Event.RELEASE)
        run.base += 1
        self._ready(run)
        return {run.id}

    def release(self, batch: Sequence[Claimed]) -> set[UUID]:
        """Give back claims that never started."""
        done = [self.runs[held.id] for held in batch if self.runs[held.id].held_by(held, Status.DEQUEUED)]
        for run in done:
            run.move(Event.RELEASE)
            self._ready(run)
        return {run.id for run in done}

    # -- from outside -----------------------------------------------------------------------------------------------

    def cancel(self, run_ids: Sequence[UUID]) -> set[UUID]:
        """End whatever has not ended."""
        return self._end(run_ids, Event.CANCEL, CANCELABLE)

    def fail_ours(self, held: Claimed) -> set[UUID]:
        """End a claim that cannot be dispatched, through our own fault."""
        run = self.runs[held.id]
        return self._end([run.id] if run.lease == held.lease else [], Event.SYSTEM_FAIL, {Status.DEQUEUED})

    def expire(self, limit: int, now: datetime) -> set[UUID]:
        """End those whose time to live is over before they started."""
        late = sorted((run.expires, run.id) for run in self.runs.values() if run.expires and run.late(now))
        waiting = [run_id for _, run_id in late if self.runs[run_id].status in {Status.DELAYED, Status.QUEUED}]
        return self._end(waiting[:limit], Event.EXPIRE, {Status.DELAYED, Status.QUEUED})

    def _end(self, run_ids: Sequence[UUID], event: Event, allowed: Iterable[Status]) -> set[UUID]:
        ended = {run_id for run_id in run_ids if self.runs[run_id].status in allowed}
        for run_id in ended:
            self.runs[run_id].move(event)
        return ended

    def replay(self, run_id: UUID, now: datetime) -> set[UUID]:
        """Bring a run back with a fresh allowance and a fresh time to live."""
        run = self.runs[run_id]
        job = self.jobs[run.job]
        if run.status not in REPLAYABLE or not job.enabled or job.deleted:
            return set()
        run.move(Event.REPLAY)
        run.base = run.attempt
        run.version = job.version if job.latest else run.version
        if run.expires is not None:
            run.expires, run.fresh_at = now + (run.expires - run.fresh_at), now
        self._ready(run)
        return {run_id}

    def pause(self, job_id: UUID, paused: bool) -> bool:
        """Pause or resume a job; whether it is there."""
        job = self.jobs[job_id]
        job.paused = job.paused if job.deleted else paused
        return not job.deleted

    def edit(self, job_id: UUID, enabled: bool, boost: int, changed: bool) -> int | None:
        """Change a job; its version then."""
        job = self.jobs[job_id]
        if job.deleted:
            return None
        job.enabled, job.boost, job.version = enabled, boost, job.version + changed
        return job.version

    def delete(self, job_id: UUID) -> bool:
        """Hide a job, unless a run of it is active."""
        job = self.jobs[job_id]
        if job.deleted or any(run.job == job_id and run.status not in TERMINAL for run in self.runs.values()):
            return False
        job.deleted = True
        return True

    # -- workers ----------------------------------------------------------------------------------------------------

    def beat(self, worker: UUID, now: datetime) -> None:
        """A worker reports."""
        self.heard[worker] = now

    def silent(self, now: datetime) -> set[UUID]:
        """Workers that a reaper takes for dead."""
        return {worker for worker, at in self.heard.items() if at < now - STALE_AFTER}

    def held(self, worker: UUID) -> set[UUID]:
        """The runs whose live attempt is that worker's."""
        return {run.id for run in self.runs.values() if run.worker == worker}

    def recover(self, run_id: UUID, due: datetime | None, priority: int) -> None:
        """What a reaper does to one run of a dead worker: given back unspent, or lost."""
        run = self.runs[run_id]
        if run.status is Status.DEQUEUED:
            run.move(Event.RELEASE)
            self._ready(run)
        else:
            self._close(run, Outcome(OutcomeKind.LOST), due, priority)
