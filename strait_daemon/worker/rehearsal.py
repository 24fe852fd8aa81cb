"""A test of a job's endpoint: one call exactly as dispatch would make it, of which nothing is stored."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Final
from uuid import UUID

from multidict import CIMultiDict
from yarl import URL

from strait_core.run import OutcomeKind
from strait_core.store.claims import Claimed
from strait_core.store.jobs import StoredJob
from strait_core.wire import Timings
from strait_core.wire.health import JobTested
from strait_daemon.attempts import outcome
from strait_daemon.attempts.attempt import Attempt
from strait_daemon.attempts.catalog import Catalog
from strait_daemon.attempts.outcome import Ending
from strait_daemon.egress.client import Answer, EgressClient, Timing
from strait_daemon.worker.executor import Executor

MASK: Final = "****"
MAX_SHOWN: Final = 4_096
_SECRET: Final = re.compile(
    r"authorization|cookie|token|secret|signature|password|credential|\bkey|-key|apikey", re.IGNORECASE
)
_OPEN: Final = frozenset({"idempotency-key"})


@dataclass(slots=True)
class _Overheard:
    """The client, and what went through it last."""

    client: EgressClient
    url: URL = field(default_factory=URL)
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    answer: Answer | None = None

    async def post(
        self, url: URL, headers: CIMultiDict[str], body: bytes, timing: Timing, connect_secs: float | None = None
    ) -> Answer:
        self.url, self.headers, self.answer = url, headers, None
        self.answer = await self.client.post(url, headers, body, timing, connect_secs)
        return self.answer


class Rehearsal:
    """Calls endpoints for people who want to see what happens."""

    def __init__(self, executor: Executor, client: EgressClient, catalog: Catalog) -> None:
        self._executor = executor
        self._client = client
        self._catalog = catalog

    async def __call__(self, job: StoredJob, run_id: UUID, payload: str, timeout_secs: int) -> JobTested:
        """Call the job's endpoint (and its fallback, when it comes to that) within so many seconds.

        An open breaker does not hinder it, and hears nothing of it.
        """
        run = Claimed(
            run_id,
            job.id,
            job.spec.project_id,
            0,
            0,
            0,
            1,
            0,
            timeout_secs,
            job.version,
            None,
            None,
            0.0,
            payload,
            0,
            0,
        )
        target = self._catalog.prepared(job.id, job.spec)
        attempt = Attempt(run, target, self._executor.clock.now(), open=True, task=asyncio.current_task())
        timing = Timing(monotonic())
        overheard = _Overheard(self._client, target.url)
        ending = await replace(self._executor, client=overheard).call(attempt, timing)
        assert ending is not None, "nobody else ends it"
        if attempt.fallback is not None:
            ending = outcome.at_fallback(ending, attempt.fallback)
        return _told(attempt, ending, timing, overheard)


def _told(attempt: Attempt, ending: Ending, timing: Timing, overheard: _Overheard) -> JobTested:
    millis, answer = timing.millis(), overheard.answer
    body = None if answer is None else answer.body[:MAX_SHOWN].decode("utf-8", "replace")
    return JobTested(
        ok=ending.outcome.kind is OutcomeKind.SUCCESS,
        url=str(overheard.url),
        fallback=attempt.fallback,
        http_status=ending.http_status,
        error=ending.error,
        error_class=ending.error_class,
        timings_ms=Timings(
            queue_wait=None,
            connect=millis["connect_ms"],
            ttfb=millis["ttfb_ms"],
            transfer=millis["transfer_ms"],
            total=millis["total_ms"],
        ),
        headers={name: _shown(name, value) for name, value in overheard.headers.items()},
        body=body,
        body_truncated=answer is not None and (answer.truncated or len(answer.body) > MAX_SHOWN),
    )


def _shown(name: str, value: str) -> str:
    return MASK if _SECRET.search(name) and name.lower() not in _OPEN else value
