"""The model: what the stored runs must look like, by `run.py` and a few dozen lines; no clock, no database.

Each method is one operation and returns what the database has to answer. Leases are told by the database (`leased`), so
are the ids of runs that it makes (`bind`), and so are places in the ready order, of which the model knows the order only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from strait_core.run import CANCELABLE, INITIAL, REPLAYABLE, TERMINAL, Event, Outcome, OutcomeKind, Status, decide
from strait_core.store.claims import Claimed
from tests.model.parts import LIMIT, STALE_AFTER, Run
from tests.model.ties import Ties

_MICROSECOND = timedelta(microseconds=1)


@dataclass
class Reference(Ties):
    """All jobs, runs, waits and workers."""

    # When each worker that is not forgotten was last heard of.
    heard: dict[UUID, datetime] = field(default_factory=dict)
    keys: set[tuple[UUID, str]] = field(default_factory=set)

    # -- in and out of the queue ------------------------------------------------------------------------------------

    def trigger(self, runs: Sequence[Run], version: int, once: str | None = None) -> set[UUID]:
        """Store runs of one job; those that were."""
        stored: set[UUID] = set()
        for run in runs:
            job = self.jobs[run.job]
            if not job.takes or job.version != version or (once is not None and (job.id, once) in self.keys):
                continue
            assert run.status in INITIAL
            self.runs[run.id] = copy(run)
            stored.add(run.id)
            if once is not None:
                self.keys.add((job.id, once))
            if run.status is Status.QUEUED:
                self._ready(self.runs[run.id])
        return stored

    def claimable(self, now: datetime) -> list[Run]:
        """What claims may take one after the other, the best first: no more than each job's limits leave room for.

        Among them are runs whose time to live is over, which a claim takes out of the order and does not start.
        """
        ready = [run for run in self.runs.values() if run.place is not None and run.id not in self.parked]
        live = Counter(run.job for run in self.runs.values() if run.lease is not None)
        keyed = Counter((run.job, run.key) for run in self.runs.values() if run.lease is not None)
        tokens = {job.id: job.tokens(now) for job in self.jobs.values()}
        found = []
        for run in sorted(ready, key=lambda run: (-run.priority, run.place)):
            job, left = self.jobs[run.job], tokens[run.job]
            full = job.cap is not None and live[run.job] >= job.cap
            is_keyed = job.key_cap is not None and run.key is not None and not run.late(now)
            key_full = is_keyed and keyed[run.job, run.key] >= (job.key_cap or 0)
            if not job.is_open or full or key_full or left == 0:
                continue
            live[run.job] += 1
            keyed[run.job, run.key] += not run.late(now)
            tokens[run.job] = None if left is None else left - 1
            found.append(run)
        return found

    def well_parked(self) -> bool:
        """Whether of each parked run's key as many are live, or on their way, as may be."""
        for run in (self.runs[run_id] for run_id in self.parked):
            same = [one for one in self.runs.values() if (one.job, one.key) == (run.job, run.key)]
            ahead = [one for one in same if one.lease is not None or (one.place and one.id not in self.parked)]
            most = self.jobs[run.job].key_cap
            if run.place is None or run.key is None or most is None or len(ahead) < most:
                return False
        return True

    def fit(self, run_ids: Sequence[UUID], now: datetime) -> bool:
        """Whether these runs are ready and open, and may all be live together."""
        chosen = [self.runs[run_id] for run_id in run_ids]
        live = [run for run in self.runs.values() if run.lease is not None] + chosen
        for job in {run.job: self.jobs[run.job] for run in chosen}.values():
            own = [run for run in live if run.job == job.id]
            # Those of other keys may be more than a cap that was lowered lets.
            keys = {run.key for run in chosen if run.job == job.id and run.key is not None}
            most = max((sum(run.key == key for run in own) for key in keys), default=0)
            tokens = job.tokens(now)
            if (job.cap is not None and len(own) > job.cap) or (job.key_cap is not None and most > job.key_cap):
                return False
            if (tokens is not None and sum(run.job == job.id for run in chosen) > tokens) or not job.is_open:
                return False
        return all(run.place is not None and not run.late(now) for run in chosen)

    def passed_over(self, ready: Sequence[UUID], now: datetime) -> int:
        """Runs whose time to live is over lose their place to the claim that meets them; how many did."""
        lost = [run for run in self.runs.values() if run.place is not None and run.late(now) and run.id not in ready]
        for run in lost:
            run.place = None
        return len(lost)

    def leased(self, claimed: Iterable[Claimed], worker: UUID, now: datetime) -> None:
        """What a claim took, under the leases that it drew."""
        taken = Counter[UUID]()
        for one in claimed:
            run = self.runs[one.id]
            run.move(Event.CLAIM)
            run.lease, run.worker = one.lease, worker
            job = self.jobs[run.job]
            run.version = job.version if job.latest else run.version
            taken[job.id] += 1
        for job_id, count in taken.items():
            self.jobs[job_id].spend(count, now)

    def due(self, now: datetime) -> dict[UUID, datetime]:
        """What comes back by itself, and since when it might have."""
        return {run.id: run.due for run in self.runs.values() if run.due is not None and run.due <= now}

    def promote(self, run_ids: Iterable[UUID]) -> None:
        """Put what is due into the ready order."""
        for run_id in run_ids:
            run = self.runs[run_id]
            if run.status is Status.DELAYED:
                run.move(Event.PROMOTE)
            self._ready(run)

    def reschedule(self, run_id: UUID, at: datetime) -> datetime | None:
        """Move the time that a run waits for, and with a delayed one its time to live; None when it waits for none."""
        run = self.runs[run_id]
        if run.due is None:
            return None
        run.seq += 1
        if run.status is Status.DELAYED:
            at = max(at, run.created + _MICROSECOND)
            run.expires = None if run.expires is None else run.expires + (at - run.due)
            run.fresh_at = at
        run.due = at
        return at

    # -- live attempts ----------------------------------------------------------------------------------------------

    def start(self, batch: Sequence[Claimed], now: datetime) -> set[UUID]:
        """Open attempts; those still held."""
        done = {held.id for held in batch if self.runs[held.id].held_by(held, Status.DEQUEUED)}
        for run_id in done:
            self.runs[run_id].move(Event.START)
            self.runs[run_id].attempt += 1
            self.runs[run_id].started = now
        return done

    def accept(self, held: Claimed) -> set[UUID]:
        """The endpoint has accepted and will say how it ends: no worker holds the attempt any more."""
        run = self.runs[held.id]
        if not run.held_by(held, Status.EXECUTING):
            return set()
        assert run.started is not None
        run.worker, run.deadline = None, run.started + LIMIT
        return {run.id}

    def beat_run(self, run_id: UUID, attempt: int, now: datetime) -> bool:
        """The endpoint gives a sign of life."""
        run = self.runs[run_id]
        run.beat = now if run.speaks(attempt) else run.beat
        return run.speaks(attempt)

    def end(self, held: Claimed, outcome: Outcome, due: datetime | None, priority: int, now: datetime) -> set[UUID]:
        """Close an attempt as its outcome decides; `due` and `priority` are those of a retry."""
        run = self.runs[held.id]
        if not run.held_by(held, Status.EXECUTING):
            return set()
        self.close(run, outcome, due, priority, now)
        return {run.id}

    def say(
        self, run_id: UUID, attempt: int, outcome: Outcome, due: datetime | None, priority: int, now: datetime
    ) -> set[UUID]:
        """The endpoint itself says how its attempt, or the run that it left waiting, has ended."""
        run = self.runs[run_id]
        if run.speaks(attempt):
            self.close(run, outcome, due, priority, now)
            return {run_id}
        if run.status is not Status.WAITING or run.attempt != attempt:
            return set()
        went_well = outcome.kind is OutcomeKind.SUCCESS
        self._end([run_id], Event.COMPLETE if went_well else Event.FAIL, {Status.WAITING}, now)
        self.resume()
        return {run_id}

    def close(self, run: Run, outcome: Outcome, due: datetime | None, priority: int, now: datetime) -> None:
        """End a live attempt: into what it has recorded to wait for, back to the queue, or for good."""
        is_tied, is_awaited = run.ties, run.awaited
        recorded = [wait for wait in self.waits if (wait.run, wait.attempt) == (run.id, run.attempt)]
        event = decide(outcome, attempt=run.attempt, attempt_base=run.base, max_attempts=run.most)
        if event is Event.COMPLETE and recorded:
            run.move(Event.WAIT)
            run.base += 1
        elif event is Event.RETRY:
            self.drop_recorded(run)
            run.move(event)
            run.due, run.priority = due, priority
        else:
            is_tied = is_tied or is_awaited
            self.over(run, event)
        if is_tied:
            self.resume()
        if run.status in TERMINAL:
            self.follow(run, now)

    def drain(self, held: Claimed) -> set[UUID]:
        """Let go of an open attempt, which does not count then."""
        run = self.runs[held.id]
        if not run.held_by(held, Status.EXECUTING):
            return set()
        is_tied = run.ties
        self.drop_recorded(run)
        run.move(Event.RELEASE)
        run.base += 1
        self._ready(run)
        if is_tied:
            self.resume()
        return {run.id}

    def release(self, batch: Sequence[Claimed]) -> set[UUID]:
        """Give back claims that never started."""
        done = [self.runs[held.id] for held in batch if self.runs[held.id].held_by(held, Status.DEQUEUED)]
        for run in done:
            run.move(Event.RELEASE)
            self._ready(run)
        return {run.id for run in done}

    # -- from outside -----------------------------------------------------------------------------------------------

    def cancel(self, run_ids: Sequence[UUID], now: datetime) -> set[UUID]:
        """End whatever has not ended, and what those have made, through generations that ended before."""
        generation = self._end(run_ids, Event.CANCEL, CANCELABLE, now)
        ended, seen = set(generation), set(generation)
        while generation:
            children = {run.id for run in self.runs.values() if run.parent in generation}
            ended |= self._end(sorted(children), Event.CANCEL, CANCELABLE, now)
            generation = children - seen
            seen |= children
        return ended

    def fail_ours(self, held: Claimed, now: datetime) -> set[UUID]:
        """End a claim that cannot be dispatched, through our own fault."""
        run = self.runs[held.id]
        return self._end([run.id] if run.lease == held.lease else [], Event.SYSTEM_FAIL, {Status.DEQUEUED}, now)

    def stale(self, now: datetime) -> dict[UUID, datetime]:
        """Runs whose time to live is over before they started, and since when."""
        waiting = [run for run in self.runs.values() if run.status in {Status.DELAYED, Status.QUEUED}]
        return {run.id: run.expires for run in waiting if run.expires is not None and run.late(now)}

    def expire(self, run_ids: Sequence[UUID], now: datetime) -> None:
        """End those whose time to live is over."""
        self._end(run_ids, Event.EXPIRE, {Status.DELAYED, Status.QUEUED}, now)

    def time_out(self, now: datetime) -> set[UUID]:
        """End runs whose event did not come in time."""
        return self._end(sorted(self.late(now)), Event.TIME_OUT, {Status.WAITING}, now)

    def _end(self, run_ids: Sequence[UUID], event: Event, allowed: Iterable[Status], now: datetime) -> set[UUID]:
        ended = {run_id for run_id in run_ids if self.runs[run_id].status in allowed}
        for run_id in ended:
            self.over(self.runs[run_id], event)
            self.follow(self.runs[run_id], now)
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

    def edit(self, job_id: UUID, enabled: bool, changed: bool, **changes: int | None) -> int | None:
        """Change a job; its version then."""
        job = self.jobs[job_id]
        if job.deleted:
            return None
        job.enabled, job.version = enabled, job.version + changed
        for name, value in changes.items():
            setattr(job, name, value)
        return job.version

    def delete(self, job_id: UUID) -> bool:
        """Hide a job, unless a run of it is active."""
        job = self.jobs[job_id]
        if job.deleted or any(run.job == job_id and run.status not in TERMINAL for run in self.runs.values()):
            return False
        job.deleted = True
        return True

    # -- workers and clocks -----------------------------------------------------------------------------------------

    def beat(self, worker: UUID, now: datetime) -> None:
        """A worker reports."""
        self.heard[worker] = now

    def silent(self, now: datetime) -> set[UUID]:
        """Workers that a reaper takes for dead."""
        return {worker for worker, at in self.heard.items() if at < now - STALE_AFTER}

    def held(self, worker: UUID) -> set[UUID]:
        """The runs whose live attempt is that worker's."""
        return {run.id for run in self.runs.values() if run.worker == worker}

    def recover(self, run_id: UUID, due: datetime | None, priority: int, now: datetime) -> None:
        """What a reaper does to one run of a dead worker: given back unspent, or lost."""
        run = self.runs[run_id]
        if run.status is Status.DEQUEUED:
            run.move(Event.RELEASE)
            self._ready(run)
        else:
            self.close(run, Outcome(OutcomeKind.LOST), due, priority, now)

    def lapsed(self, now: datetime) -> dict[UUID, str]:
        """Accepted attempts that the clock ends, and why."""
        return {run.id: why for run in self.runs.values() if (why := run.lapsed(now)) is not None}
