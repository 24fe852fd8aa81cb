"""The steps of the model test in which endpoints speak: waiting, making other runs, accepting, ending by their own word."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec

from strait_core.errors import ConflictError
from strait_core.run import Outcome, OutcomeKind, Status
from strait_core.store import callbacks, events, parking, queue, sdk, waits
from strait_core.store.claims import Claimed
from strait_core.store.faults import Rollback
from strait_core.store.pool import Conn
from strait_core.store.queue import Accept, Finish, Retry
from strait_core.store.sdk import Speaker
from strait_core.trigger import NewRun
from tests.model.acts import Wish, closing
from tests.model.parts import STALE_AFTER, Run
from tests.model.reference import Reference
from tests.model.world import Step, World

PAYLOAD = '{"n": 1}'
OVER = {"time": Outcome(OutcomeKind.TIMEOUT), "heartbeat": Outcome(OutcomeKind.LOST)}


@dataclass(frozen=True)
class Says:
    """Makes steps; none is taken here."""

    world: World

    # -- waiting ----------------------------------------------------------------------------------------------------

    def wait_event(self, held: Claimed, key: str, secs: int) -> Step:
        """Record a wait for an event."""
        now = self.world.scene.now
        due = now + timedelta(seconds=secs)

        async def act(conn: Conn) -> str | None:
            told = await events.begin_wait(conn, held.id, held.attempt, key, due_at=due, now=now)
            return None if told is None else told.wait.outcome or "open"

        return Step("wait for event", lambda m: m.wait_event(held.id, held.attempt, key, due), act)

    def wait_child(self, held: Claimed, child: UUID) -> Step:
        """Record a wait for a run that is there."""
        now = self.world.scene.now

        async def act(conn: Conn) -> str | None:
            try:
                async with conn.transaction():
                    if await waits.mark(conn, held.id, held.attempt) is None:
                        return None
                    await waits.record_child(conn, held.id, held.attempt, child, now)
            except ConflictError:
                return "circle"
            return "recorded"

        return Step("wait for run", lambda m: m.wait_child(held.id, held.attempt, child), act)

    def spawn(self, held: Claimed, new: NewRun, made: Run, *, is_awaited: bool) -> Step:
        """Make a run, and perhaps wait for it; nothing is left of that when the job refuses it."""
        new = msgspec.structs.replace(new, parent_run_id=held.id, lineage_depth=1)
        made.parent, made.depth = held.id, 1
        now = self.world.scene.now

        async def act(conn: Conn) -> str | None:
            answers: list[str | None] = ["refused"]
            async with conn.transaction() as transaction:
                hold = waits.mark if is_awaited else waits.hold_parent
                if not await hold(conn, held.id, held.attempt):
                    answers.append(None)
                    raise Rollback(transaction)
                if not await queue.insert_runs(conn, [new], now):
                    raise Rollback(transaction)
                if is_awaited:
                    await waits.record_child(conn, held.id, held.attempt, new.id, now)
                answers.append("made")
            return answers[-1]

        def expect(model: Reference) -> str | None:
            if not model.runs[held.id].speaks(held.attempt):
                return None
            if not model.trigger([made], made.version):
                return "refused"
            if is_awaited:
                model.wait_child(held.id, held.attempt, made.id)
            return "made"

        return Step("spawn and wait" if is_awaited else "spawn", expect, act)

    def send(self, key: str) -> Step:
        """An event comes."""
        now = self.world.scene.now

        async def act(conn: Conn) -> bool:
            async with conn.transaction():
                sent = await events.send(conn, "p", key, PAYLOAD, sha256(PAYLOAD.encode()).hexdigest(), now)
                await waits.resume_ripe(conn, now)
            return sent.is_new

        return Step("send", lambda m: m.send(key), act)

    def cancel_event(self, key: str) -> Step:
        """Nobody shall wait for an event any more."""
        now = self.world.scene.now

        async def act(conn: Conn) -> bool:
            async with conn.transaction():
                known = await events.events_by_key(conn, key, "p")
                done = bool(known) and await events.cancel(conn, known[0].id, now)
                await waits.resume_ripe(conn, now)
            return done

        return Step("cancel event", lambda m: m.cancel_event(key), act)

    def resume(self) -> Step:
        """The service that lets runs go on."""
        now = self.world.scene.now

        async def act(conn: Conn) -> set[UUID]:
            return set(await waits.resume_ripe(conn, now))

        return Step("resume", lambda m: m.resume(), act)

    def time_out(self) -> Step:
        """The service that ends runs whose event did not come in time."""
        now = self.world.scene.now

        async def act(conn: Conn) -> set[UUID]:
            return {run.id for run in await parking.time_out(conn, now)}

        return Step("wait timed out", lambda m: m.time_out(now), act)

    # -- callbacks --------------------------------------------------------------------------------------------------

    def accept(self, held: Claimed) -> Step:
        """The endpoint accepts."""
        now = self.world.scene.now

        async def act(conn: Conn) -> set[UUID]:
            return await queue.accept_if_held(conn, [Accept(id=held.id, attempt=held.attempt, lease=held.lease)], now)

        return Step("accept", lambda m: m.accept(held), act)

    def beat_run(self, held: Claimed) -> Step:
        """The endpoint gives a sign of life."""
        now = self.world.scene.now

        async def act(conn: Conn) -> bool:
            return await sdk.beat(conn, Speaker(held.id, held.attempt), now)

        return Step("run heartbeat", lambda m: m.beat_run(held.id, held.attempt, now), act)

    def say(self, held: Claimed, outcome: Outcome, delay_secs: int) -> Step:
        """The endpoint says how its attempt has ended, or the run that it left waiting."""
        now = self.world.scene.now
        due, priority = now + timedelta(seconds=delay_secs), min(held.priority + 1, 10)
        status = Status.COMPLETED if outcome.kind is OutcomeKind.SUCCESS else Status.FAILED

        async def act(conn: Conn) -> set[UUID]:
            live = await callbacks.live(conn, Speaker(held.id, held.attempt))
            if live is not None:
                move = closing(live.run._replace(attempt=held.attempt), outcome, due, priority, now)
                done = await self.world.end(conn, move)
                await callbacks.forget(conn, held.id, live.run.lease)
                return done
            async with conn.transaction():
                ended = await parking.end_waiting(conn, held.id, held.attempt, status, now)
            if ended:
                await waits.resume_ripe(conn, now)
            return {held.id} if ended else set()

        name = f"say {'complete' if status is Status.COMPLETED else 'fail'}"
        return Step(name, lambda m: m.say(held.id, held.attempt, outcome, due, priority, now), act)

    async def lapse(self, conn: Conn) -> dict[UUID, tuple[str, Finish | Retry]]:
        """What the service for accepted attempts does in one pass: whom it ended, why and how."""
        now = self.world.scene.now
        done: dict[UUID, tuple[str, Any]] = {}
        over = await callbacks.overdue(conn, now, now - STALE_AFTER, 500)
        await callbacks.forget_over(conn, now)
        for live in over:
            held, why = live.run._replace(attempt=live.run.attempt + 1), str(live.over)
            move = closing(held, OVER[why], now + timedelta(seconds=5), held.priority, now)
            assert await self.world.end(conn, move) == {held.id}
            await callbacks.forget(conn, held.id, held.lease)
            done[held.id] = why, move
        return done


__all__ = ["Says", "Wish"]
