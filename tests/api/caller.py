"""What a test says to the API, and what it does in a worker's place: by the very statements that a worker uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx

from strait_core import ids
from strait_core.run import Status
from strait_core.store import claims, queue, stats
from strait_core.store.claims import Claimed
from strait_core.store.history import keep_of
from strait_core.store.queue import Finish, Release, Retry, Start
from strait_daemon.wiring import Parts
from tests.api.server import Server


@dataclass
class Caller:
    """A client with a project of its own; `call` checks the status and gives the decoded body."""

    client: httpx.Client
    server: Server
    project: str
    worker: UUID = field(default_factory=uuid4)

    def call(self, method: str, path: str, body: Any = None, *, status: int = 200, **more: Any) -> Any:
        """One request; fails unless it is answered with `status`."""
        answer = self.client.request(method, path, **({"json": body} if body is not None else {}), **more)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def refuse(self, method: str, path: str, body: Any = None, *, status: int, **more: Any) -> dict[str, Any]:
        """One request that must fail; its problem."""
        problem: dict[str, Any] = self.call(method, path, body, status=status, **more)
        assert problem["status"] == status
        return problem

    def make_job(self, slug: str = "job", **more: Any) -> dict[str, Any]:
        """Create a job in the test's project."""
        body = {"project_id": self.project, "name": slug, "slug": slug, "endpoint_url": "http://127.0.0.1:9/", **more}
        job: dict[str, Any] = self.call("POST", "/v1/jobs", body, status=201)
        return job

    def trigger(self, job: dict[str, Any], **body: Any) -> dict[str, Any]:
        """Trigger one run."""
        run: dict[str, Any] = self.call("POST", f"/v1/jobs/{job['id']}/trigger", body, status=201)
        return run

    def run(self, run_id: str) -> dict[str, Any]:
        """The run as it is now."""
        run: dict[str, Any] = self.call("GET", f"/v1/runs/{run_id}")
        return run

    def claim(self, run: dict[str, Any]) -> Claimed:
        """Claim that run, and give every other that the claim took back."""
        wanted = uuid_of(run["id"])

        async def work() -> Claimed:
            parts = self.server.parts
            async with parts.pool.connection() as conn, conn.transaction():
                others: list[Release] = []
                found: Claimed | None = None
                # What other tests left queued is held until then, or it would be claimed again and again.
                while found is None:
                    lanes = await claims.open_lanes(conn, parts.clock.now())
                    taken = await claims.claim(conn, self.worker, 500, [0] * 11, lanes, parts.clock.now())
                    found = next((c for c in taken.runs if c.id == wanted), None)
                    others += [Release(c.id, c.attempt, c.lease, "not mine") for c in taken.runs if c.id != wanted]
                await queue.release_if_held(conn, others, parts.clock.now())
            parts.bus.runs_changed([wanted])
            return found

        return self.server.do(work())

    def start(self, claimed: Claimed) -> Claimed:
        """Begin the attempt of a claim."""
        item = Start(claimed.id, claimed.attempt, claimed.lease)
        assert self._move(queue.start_if_held, item) == {claimed.id}
        return claimed._replace(attempt=claimed.attempt + 1)

    def finish(self, started: Claimed, status: Status = Status.COMPLETED, result: str | None = "null") -> None:
        """End the run with its attempt."""
        item = Finish(
            id=started.id,
            attempt=started.attempt,
            lease=started.lease,
            status=status,
            keep=keep_of(status),
            finished_at=self.server.parts.clock.now(),
            result=result if status is Status.COMPLETED else None,
            http_status=200 if status is Status.COMPLETED else 500,
            error=None if status is Status.COMPLETED else "HTTP 500: no",
            error_class=None if status is Status.COMPLETED else "server",
            total_ms=1.25,
        )
        assert self._move(queue.finish_if_held, item) == {started.id}

    def retry(self, started: Claimed) -> None:
        """End the attempt; the run goes back to the queue at once."""
        item = Retry(
            id=started.id,
            attempt=started.attempt,
            lease=started.lease,
            outcome="error",
            keep="short",
            finished_at=self.server.parts.clock.now(),
            due_at=None,
            priority=0,
            error="HTTP 503: busy",
            error_class="server",
            http_status=503,
        )
        assert self._move(queue.retry_if_held, item) == {started.id}

    def complete(self, run: dict[str, Any], status: Status = Status.COMPLETED, result: str | None = "null") -> None:
        """Claim, start and finish in one go."""
        self.finish(self.start(self.claim(run)), status, result)

    def _move(self, statement: Any, item: Any) -> set[UUID]:
        async def work(parts: Parts) -> set[UUID]:
            async with parts.pool.connection() as conn:
                moved: set[UUID] = await statement(conn, [item], parts.clock.now())
            parts.bus.runs_changed(moved)
            return moved

        return self.server.do(work(self.server.parts))

    def fold(self) -> None:
        """Add up the statistics, as a service does every second."""

        async def work(parts: Parts) -> None:
            async with parts.pool.connection() as conn:
                while await stats.fold(conn, parts.clock.now()):
                    pass

        self.server.do(work(self.server.parts))


def uuid_of(run_id: str) -> UUID:
    """The UUID inside a run's id."""
    parsed = ids.parse(ids.Prefix.RUN, run_id)
    assert parsed is not None
    return parsed
