"""The steps of the model test: each says what the model does and what the database does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from strait_core.idempotency import Once
from strait_core.run import TRANSITIONS, Event, Outcome, Status, decide
from strait_core.store.history import LONG, SHORT, keep_of
from strait_core.store.queue import Claimed, Finish, Retry
from strait_core.trigger import new_run
from strait_core.wire import TriggerRequest
from tests.model.reference import Job, Run
from tests.model.world import Step, World
from tests.store.scene import SPEC


@dataclass(frozen=True)
class Acts:
    """Makes steps; none is taken here."""

    world: World

    def trigger(
        self, job: UUID, version: int, count: int, once: str | None, *, ahead: int | None, ttl: int | None, **more: int
    ) -> Step:
        """Store runs made from that version of the job; `once` is an idempotency key."""
        scene = self.world.scene
        new, made = [], []
        for number in range(count):
            # A little apart, so that the order of what is due and of what expires is never a matter of chance.
            apart = timedelta(microseconds=number)
            at = None if ahead is None else scene.now + timedelta(seconds=ahead) + apart
            one = new_run(
                TriggerRequest(scheduled_at=at, ttl_secs=ttl, priority=more["priority"], max_attempts=more["most"]),
                SPEC,
                run_id=scene.new_id(),
                job_id=job,
                job_version=version,
                now=scene.now,
                once=Once(once, "hash") if once else None,
            )
            expires = None if one.expires_at is None else one.expires_at + apart
            due = one.scheduled_at if one.status is Status.DELAYED else None
            new.append(msgspec.structs.replace(one, expires_at=expires))
            made.append(
                Run(one.id, job, one.status, more["most"], more["priority"], version, expires, due or scene.now, due)
            )
        return Step("trigger", lambda m: m.trigger(made, version, once), lambda conn: self.world.insert(conn, new))

    def start(self, batch: Sequence[Claimed]) -> Step:
        """Open attempts."""
        return Step("start", lambda m: m.start(batch), lambda conn: self.world.start(conn, batch))

    def end(self, held: Claimed, outcome: Outcome, delay_secs: int, boost: int = 1) -> Step:
        """Close an attempt as its worker decides, by what it knew when it claimed."""
        now = self.world.scene.now
        event = decide(outcome, attempt=held.attempt, attempt_base=held.attempt_base, max_attempts=held.max_attempts)
        facts: dict[str, Any] = {"id": held.id, "attempt": held.attempt, "lease": held.lease, "finished_at": now}
        priority = min(held.priority + boost, 10)
        due = now + timedelta(seconds=delay_secs)
        move: Finish | Retry
        if event is Event.RETRY:
            move = Retry(**facts, outcome=outcome.kind.value, keep=LONG, due_at=due, priority=priority)
        else:
            status = TRANSITIONS[Status.EXECUTING, event]
            move = Finish(**facts, status=status, keep=keep_of(status))
        name = f"end {event.value}" if event is Event.RETRY else "end"
        return Step(name, lambda m: m.end(held, outcome, due, priority), lambda conn: self.world.end(conn, move))

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
        return Step("system_fail", lambda m: m.fail_ours(held), lambda conn: self.world.fail_ours(conn, held))

    def cancel(self, run_ids: Sequence[UUID]) -> Step:
        """Cancel runs."""
        return Step("cancel", lambda m: m.cancel(run_ids), lambda conn: self.world.cancel(conn, run_ids))

    def replay(self, run_id: UUID) -> Step:
        """Replay a run."""
        now = self.world.scene.now
        return Step("replay", lambda m: m.replay(run_id, now), lambda conn: self.world.replay(conn, run_id))

    def promote(self, limit: int) -> Step:
        """Stage what is due."""
        now = self.world.scene.now
        return Step("promote", lambda m: m.promote(limit, now), lambda conn: self.world.promote(conn, limit))

    def expire(self, limit: int) -> Step:
        """End what has waited too long."""
        now = self.world.scene.now
        return Step("expire", lambda m: m.expire(limit, now), lambda conn: self.world.expire(conn, limit))

    def beat(self, worker: UUID) -> Step:
        """Report a worker."""
        now = self.world.scene.now
        return Step("heartbeat", lambda m: m.beat(worker, now), lambda conn: self.world.beat(conn, worker))

    def pause(self, job: UUID, *, paused: bool) -> Step:
        """Pause or resume a job."""
        return Step("pause", lambda m: m.pause(job, paused), lambda conn: self.world.pause(conn, job, paused))

    def edit(self, job: UUID, known: Job, *, enabled: bool, boost: int) -> Step:
        """Change a job's definition, and whether it is enabled at all."""
        changed = known.boost != boost

        async def act(conn: Any) -> int | None:
            return await self.world.edit(conn, job, enabled, retry_priority_boost=boost)

        return Step("edit", lambda m: m.edit(job, enabled, boost, changed), act)

    def delete(self, job: UUID) -> Step:
        """Delete a job."""
        return Step("delete", lambda m: m.delete(job), lambda conn: self.world.delete(conn, job))
