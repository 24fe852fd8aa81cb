"""The steps of the model test: each says what the model does and what the database does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from strait_core.completion import STARTING
from strait_core.idempotency import Once
from strait_core.run import TRANSITIONS, Event, Outcome, Status, decide
from strait_core.store.claims import Claimed
from strait_core.store.history import LONG, SHORT, keep_of
from strait_core.store.queue import Finish, Retry
from strait_core.trigger import NewRun, new_run
from strait_core.wire import TriggerRequest
from tests.model.parts import LIMIT, Job, Run
from tests.model.world import Step, World
from tests.store.scene import SPEC


@dataclass(frozen=True)
class Wish:
    """What a trigger asks for; seconds ahead and to live, None = at once and for ever."""

    ahead: int | None = None
    ttl: int | None = None
    priority: int = 0
    most: int = 3
    key: str | None = None


def closing(held: Claimed, outcome: Outcome, due: datetime, priority: int, now: datetime) -> Finish | Retry:
    """The move by which an attempt ends, as who holds it decides by what he knows."""
    event = decide(outcome, attempt=held.attempt, attempt_base=held.attempt_base, max_attempts=held.max_attempts)
    facts: dict[str, Any] = {"id": held.id, "attempt": held.attempt, "lease": held.lease, "finished_at": now}
    if event is Event.RETRY:
        return Retry(**facts, outcome=outcome.kind.value, keep=LONG, due_at=due, priority=priority, lane=held.lane)
    status = TRANSITIONS[Status.EXECUTING, event]
    return Finish(**facts, status=status, keep=keep_of(status), lane=held.lane, follow=status in STARTING)


@dataclass(frozen=True)
class Acts:
    """Makes steps; none is taken here."""

    world: World

    def new_run(self, job: UUID, version: int, wish: Wish, once: str | None = None) -> tuple[NewRun, Run]:
        """A run to be, for the database and for the model."""
        scene = self.world.scene
        at = None if wish.ahead is None else scene.now + timedelta(seconds=wish.ahead)
        new = new_run(
            TriggerRequest(
                scheduled_at=at,
                ttl_secs=wish.ttl,
                priority=wish.priority,
                max_attempts=wish.most,
                timeout_secs=int(LIMIT.total_seconds()),
                concurrency_key=wish.key,
            ),
            SPEC,
            run_id=scene.new_id(),
            job_id=job,
            job_version=version,
            now=scene.now,
            once=Once(once, "hash") if once else None,
        )
        due = new.scheduled_at if new.status is Status.DELAYED else None
        made = Run(
            new.id, job, new.status, wish.most, wish.priority, version, new.expires_at, due or scene.now, scene.now, due,
            wish.key,
        )  # fmt: skip
        return new, made

    def trigger(self, job: UUID, version: int, count: int, once: str | None, wish: Wish) -> Step:
        """Store runs made from that version of the job; `once` is an idempotency key."""
        new, made = [], []
        for number in range(count):
            # A little apart, so that the order of what is due and of what expires is never a matter of chance.
            apart = timedelta(microseconds=number)
            one, run = self.new_run(job, version, wish, once)
            run.expires = None if one.expires_at is None else one.expires_at + apart
            if run.due is not None:
                run.due = run.fresh_at = run.due + apart
            new.append(msgspec.structs.replace(one, expires_at=run.expires, scheduled_at=run.due or one.scheduled_at))
            made.append(run)
        return Step("trigger", lambda m: m.trigger(made, version, once), lambda conn: self.world.insert(conn, new))

    def start(self, batch: Sequence[Claimed]) -> Step:
        """Open attempts."""
        now = self.world.scene.now
        return Step("start", lambda m: m.start(batch, now), lambda conn: self.world.start(conn, batch))

    def end(self, held: Claimed, outcome: Outcome, delay_secs: int, boost: int = 1) -> Step:
        """Close an attempt as its worker decides, by what it knew when it claimed."""
        now = self.world.scene.now
        due, priority = now + timedelta(seconds=delay_secs), min(held.priority + boost, 10)
        move = closing(held, outcome, due, priority, now)
        name = "end retry" if isinstance(move, Retry) else "end"
        return Step(name, lambda m: m.end(held, outcome, due, priority, now), lambda conn: self.world.end(conn, move))

    def drain(self, held: Claimed) -> Step:
        """Let go of an open attempt."""
        facts: dict[str, Any] = {"id": held.id, "attempt": held.attempt, "lease": held.lease, "priority": held.priority}
        now = self.world.scene.now
        move = Retry(**facts, outcome="released", keep=SHORT, finished_at=now, due_at=None, base_add=1)
        return Step("drain", lambda m: m.drain(held), lambda conn: self.world.end(conn, move))

    def release(self, batch: Sequence[Claimed]) -> Step:
        """Give back claims."""
        return Step("release", lambda m: m.release(batch), lambda conn: self.world.release(conn, batch))

    def fail_ours(self, held: Claimed) -> Step:
        """End a claim through our own fault."""
        now = self.world.scene.now
        return Step("system_fail", lambda m: m.fail_ours(held, now), lambda conn: self.world.fail_ours(conn, held))

    def cancel(self, run_ids: Sequence[UUID]) -> Step:
        """Cancel runs and what they have made."""
        now = self.world.scene.now
        return Step("cancel", lambda m: m.cancel(run_ids, now), lambda conn: self.world.cancel(conn, run_ids))

    def replay(self, run_id: UUID) -> Step:
        """Replay a run."""
        now = self.world.scene.now
        return Step("replay", lambda m: m.replay(run_id, now), lambda conn: self.world.replay(conn, run_id))

    def reschedule(self, run_id: UUID, secs: int) -> Step:
        """Move the time that a run waits for, a microsecond off the second so that no two are the same."""
        at = self.world.scene.now + timedelta(seconds=secs)
        return Step(
            "reschedule", lambda m: m.reschedule(run_id, at), lambda conn: self.world.reschedule(conn, run_id, at)
        )

    def beat(self, worker: UUID) -> Step:
        """Report a worker."""
        now = self.world.scene.now
        return Step("heartbeat", lambda m: m.beat(worker, now), lambda conn: self.world.beat(conn, worker))

    def pause(self, job: UUID, *, paused: bool) -> Step:
        """Pause or resume a job."""
        return Step("pause", lambda m: m.pause(job, paused), lambda conn: self.world.pause(conn, job, paused))

    def edit(self, known: Job, *, enabled: bool, **changes: int | None) -> Step:
        """Change a job's definition, and whether it is enabled at all; `changes` by the model's names."""
        names = {"boost": "retry_priority_boost", "cap": "max_concurrency", "key_cap": "max_concurrency_per_key"}
        changed = any(getattr(known, name) != value for name, value in changes.items())
        spec = {names[name]: value for name, value in changes.items()}

        async def act(conn: Any) -> int | None:
            return await self.world.edit(conn, known.id, enabled, **spec)

        name = "edit" if changes.keys() == {"boost"} else "edit limits"
        return Step(name, lambda m: m.edit(known.id, enabled, changed, **changes), act)

    def delete(self, job: UUID) -> Step:
        """Delete a job."""
        return Step("delete", lambda m: m.delete(job), lambda conn: self.world.delete(conn, job))

    def unpark(self) -> Step:
        """The service that looks after parked runs; there is nothing for it to do."""
        return Step("unpark", lambda _: None, self.world.unpark)

    def fold(self) -> Step:
        """Fold the statistics."""
        return Step("fold", lambda _: None, self.world.fold)
