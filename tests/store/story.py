"""Random but legal histories of runs, told through a scene."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from strait_core.run import Event, OutcomeKind, Status
from strait_core.store import jobs, parking, runs
from strait_core.store.claims import Claimed
from strait_core.store.jobs import StoredJob
from tests.store import waiting
from tests.store.scene import Scene

ENDINGS = [
    Status.COMPLETED, Status.FAILED, Status.TIMED_OUT, Status.CRASHED, Status.SYSTEM_FAILED, Status.DEAD_LETTER,
]  # fmt: skip


class Story:
    """Takes one random step after the other; knows what it holds."""

    def __init__(self, scene: Scene, jobs_of: Sequence[StoredJob], seed: int) -> None:
        self.scene = scene
        self.jobs = jobs_of
        self.chance = random.Random(seed)
        self.runs: list[UUID] = []
        self.claimed: list[Claimed] = []
        self.live: list[Claimed] = []
        self.steps = [
            self.add, self.add, self.add, self.claim, self.claim, self.start, self.start, self.finish, self.finish,
            self.retry, self.give_back, self.cancel, self.replay, self.promote, self.wait, self.expire, self.pause,
            self.drain, self.fail_ourselves, self.record, self.record, self.have, self.send, self.send, self.give_up,
        ]  # fmt: skip

    async def tell(self, steps: int) -> None:
        for _ in range(steps):
            await self.chance.choice(self.steps)()
            self.scene.later(seconds=1)

    def some(self, things: list) -> list:
        """Take a few out of a list."""
        self.chance.shuffle(things)
        taken = things[: self.chance.randint(0, 4)]
        del things[: len(taken)]
        return taken

    async def add(self) -> None:
        ahead = self.chance.choice([None, None, -5, 30])
        request: dict[str, Any] = {}
        if ahead is not None:
            request["scheduled_at"] = self.scene.now + timedelta(seconds=ahead)
        ttl = self.chance.choice([None, 20])
        request |= {} if ttl is None else {"ttl_secs": ttl}
        job = self.chance.choice(self.jobs)
        if not (await self._now(job)).paused:
            priority, most = self.chance.randint(0, 10), self.chance.randint(1, 3)
            count = self.chance.randint(1, 5)
            self.runs += await self.scene.add(job, count, priority=priority, max_attempts=most, **request)

    async def _now(self, job: StoredJob) -> StoredJob:
        found = await jobs.job_by_id(self.scene.conn, job.id)
        assert found is not None
        return found

    async def claim(self) -> None:
        self.claimed += await self.scene.claim(self.chance.randint(1, 8))

    async def start(self) -> None:
        self.live += await self.scene.start(*self.some(self.claimed))

    async def finish(self) -> None:
        for one in self.some(self.live):
            status = self.chance.choice([*ENDINGS, Status.COMPLETED, Status.COMPLETED])
            await waiting.end(self.scene, one, status)
        await waiting.resume(self.scene)

    async def record(self) -> None:
        for one in self.live[:2]:
            await waiting.wait_for(self.scene, one, self.chance.choice("abc"), within=timedelta(seconds=40))

    async def have(self) -> None:
        for one in self.live[:1]:
            job = self.chance.choice(self.jobs)
            if await self.scene.status(one.id) == "executing" and not (await self._now(job)).paused:
                self.runs.append(await waiting.spawn(self.scene, one, job))

    async def send(self) -> None:
        await waiting.send(self.scene, self.chance.choice("abc"))

    async def give_up(self) -> None:
        await parking.time_out(self.scene.conn, self.scene.now)
        await waiting.resume(self.scene)

    async def retry(self) -> None:
        for one in self.some(self.live):
            if one.attempt - one.attempt_base < one.max_attempts:
                kind = self.chance.choice([OutcomeKind.ERROR, OutcomeKind.TIMEOUT, OutcomeKind.LOST, OutcomeKind.FAULT])
                after = timedelta(seconds=self.chance.randint(1, 20))
                priority = min(one.priority + 1, 10)
                await waiting.fail_once(self.scene, one, after=after, outcome=kind.value, priority=priority)
            else:
                await waiting.end(self.scene, one, Status.DEAD_LETTER)

    async def drain(self) -> None:
        for one in self.some(self.live):
            await waiting.fail_once(self.scene, one, outcome="released", base_add=1, keep="short")

    async def give_back(self) -> None:
        for one in self.some(self.claimed):
            await self.scene.release(one)

    async def fail_ourselves(self) -> None:
        for one in self.some(self.claimed):
            await self._end([one.id], Event.SYSTEM_FAIL, Status.SYSTEM_FAILED, [Status.DEQUEUED])

    async def cancel(self) -> None:
        if self.runs:
            await self.scene.cancel(*self.chance.sample(self.runs, min(len(self.runs), 2)))

    async def replay(self) -> None:
        for run_id in self.chance.sample(self.runs, min(len(self.runs), 5)):
            await self.scene.replay(run_id)

    async def promote(self) -> None:
        await self.scene.promote(self.chance.randint(1, 10))

    async def expire(self) -> None:
        found = await runs.expired_ids(self.scene.conn, 5, self.scene.now)
        await self._end(found, Event.EXPIRE, Status.EXPIRED, [Status.DELAYED, Status.QUEUED])

    async def wait(self) -> None:
        self.scene.later(seconds=self.chance.randint(1, 15))

    async def pause(self) -> None:
        job = self.chance.choice(self.jobs)
        if (await self._now(job)).paused:
            await jobs.resume_job(self.scene.conn, job.id, self.scene.now)
        else:
            await jobs.pause_job(self.scene.conn, job.id, None, self.scene.now)

    async def _end(self, ids: list[UUID], event: Event, to: Status, allowed: list[Status]) -> None:
        async with self.scene.conn.transaction():
            await runs.end_active(self.scene.conn, ids, event=event, to=to, allowed=allowed, now=self.scene.now)
