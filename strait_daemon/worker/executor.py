"""One attempt, from a claim to its last write, as a sentence: start it, call the endpoint, write how it ended."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from time import monotonic
from typing import Any, Final
from uuid import UUID

import structlog

from strait_core import ids
from strait_core.retry import RetryStrategy, boosted, retry_delay
from strait_core.run import TRANSITIONS, Event, Status, decide
from strait_core.store.history import LONG, SHORT, keep_of
from strait_core.store.queue import Claimed, Finish, Release, Retry, Start
from strait_daemon.clock import Clock
from strait_daemon.egress.client import EgressClient, EgressError, Timing
from strait_daemon.telemetry import Metrics
from strait_daemon.tokens import TokenMaker
from strait_daemon.worker import outcome
from strait_daemon.worker.catalog import Target
from strait_daemon.worker.outcome import Ending
from strait_daemon.writer import Move, TransitionWriter

MAX_PREVIOUS_ERROR: Final = 1_024

log = structlog.get_logger(__name__)


class Stop(StrEnum):
    """Why this process ends an attempt that the endpoint has not ended."""

    TAKEN = "taken"
    RELEASED = "released"
    CUT_OFF = "cut_off"


@dataclass(slots=True, eq=False)
class Attempt:
    """A claimed run on its way through this process; `number` counts this attempt."""

    run: Claimed
    target: Target
    claimed_at: datetime
    task: asyncio.Task[None] | None = None
    stop: Stop | None = None
    started: bool = False

    @property
    def number(self) -> int:
        """The attempt's number, from 1."""
        return self.run.attempt + 1

    def end(self, stop: Stop) -> None:
        """Close the request, if one is open; the first reason counts."""
        if self.stop is None:
            self.stop = stop
            if self.task is not None and self.started:
                self.task.cancel()


@dataclass(frozen=True, slots=True)
class Executor:
    """Executes attempts; holds only what they share."""

    writer: TransitionWriter
    client: EgressClient
    tokens: TokenMaker
    clock: Clock
    metrics: Metrics

    async def execute(self, attempt: Attempt, free_slot: Callable[[], None]) -> None:
        """See one claimed run with a target through this attempt; an endpoint can do nothing that raises here.

        `free_slot` is called as soon as the endpoint is done with, before the ending is written.
        """
        run = attempt.run
        if attempt.stop is not None or not await self.writer.write(Start(run.id, run.attempt, run.lease)):
            free_slot()
            await self._give_back(attempt)
            return
        timing = Timing(monotonic())
        ending = await self._call(attempt, timing)
        free_slot()
        move = self._released(attempt) if ending is None else self._closed(attempt, ending, timing)
        if move is not None and not await self.writer.write(move):
            self.metrics.moves_lost.inc()
            log.info("attempt_superseded", run_id=_run_id(run.id), attempt=attempt.number)

    async def _give_back(self, attempt: Attempt) -> None:
        """A claim that is not started: released when this process wants that, else somebody has taken it already."""
        run = attempt.run
        if attempt.stop is Stop.RELEASED:
            await self.writer.write(Release(run.id, run.attempt, run.lease, "worker stopped"))

    async def _call(self, attempt: Attempt, timing: Timing) -> Ending | None:
        """Call the endpoint within the run's time limit; None when this process let go of the attempt."""
        attempt.started = True
        limit = attempt.run.timeout_secs
        try:
            if attempt.stop is not None:
                raise asyncio.CancelledError
            async with asyncio.timeout(limit):
                answer = await self.client.post(
                    attempt.target.url, self._headers(attempt), attempt.run.payload.encode(), timing
                )
            return outcome.of_answer(answer, attempt.target.never_retry, self.clock.now())
        except TimeoutError:
            timing.ended = monotonic()
            return outcome.of_timeout(limit)
        except EgressError as error:
            return outcome.of_error(error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if attempt.stop is None or task is None:
                raise
            task.uncancel()
            timing.ended = monotonic()
            return outcome.of_loss("the worker lost the database") if attempt.stop is Stop.CUT_OFF else None
        except Exception as error:
            log.exception("attempt_failed", run_id=_run_id(attempt.run.id))
            return outcome.of_fault(error)
        finally:
            attempt.started = False

    def _headers(self, attempt: Attempt) -> dict[str, str]:
        run = attempt.run
        run_id = _run_id(run.id)
        headers = dict(attempt.target.headers)
        headers["X-Run-ID"] = headers["Idempotency-Key"] = run_id
        headers["X-Attempt"] = str(attempt.number)
        headers["X-Run-Token"] = self.tokens.make(
            run_id, attempt.number, self.clock.now(), timedelta(seconds=run.timeout_secs)
        )
        # W3C Trace Context: the run is the trace, every attempt a span of its own; 01 = sampled.
        headers["traceparent"] = f"00-{run.id.hex}-{secrets.token_hex(8)}-01"
        if run.error and attempt.number > 1:
            headers["X-Previous-Error"] = _header_text(run.error)
        return headers

    def _closed(self, attempt: Attempt, ending: Ending, timing: Timing) -> Move:
        """The move that an ending decides."""
        run = attempt.run
        event = decide(
            ending.outcome, attempt=attempt.number, attempt_base=run.attempt_base, max_attempts=run.max_attempts
        )
        self.metrics.attempts.labels(event.value).inc()
        now = self.clock.now()
        facts: dict[str, Any] = {
            "id": run.id,
            "attempt": attempt.number,
            "lease": run.lease,
            "finished_at": now,
            "error_class": ending.error_class,
            "error": ending.error,
            "http_status": ending.http_status,
            "queue_wait_ms": max(0.0, round((attempt.claimed_at - run.ready_at).total_seconds() * 1000, 3)),
            "connect_ms": timing.connect_ms,
            "ttfb_ms": timing.ttfb_ms,
            "transfer_ms": timing.transfer_ms,
            "total_ms": timing.total_ms,
        }
        if event is Event.RETRY:
            return Retry(
                **facts,
                outcome=ending.outcome.kind.value,
                keep=LONG,
                due_at=now + self._delay(attempt, ending),
                priority=boosted(run.priority, attempt.target.spec.retry_priority_boost),
            )
        status = TRANSITIONS[Status.EXECUTING, event]
        return Finish(
            **facts, status=status, keep=keep_of(status), result=ending.result, result_truncated=ending.truncated
        )

    def _delay(self, attempt: Attempt, ending: Ending) -> timedelta:
        run, spec = attempt.run, attempt.target.spec
        strategy = RetryStrategy(run.retry_strategy) if run.retry_strategy else spec.retry_strategy
        return retry_delay(
            strategy,
            attempt.number - run.attempt_base,
            custom_secs=spec.retry_delays_secs,
            retry_after=ending.retry_after,
            uniform=random.uniform,
        )

    def _released(self, attempt: Attempt) -> Move | None:
        """What a drain writes: the attempt is closed without being spent. A run that was taken away needs nothing."""
        if attempt.stop is not Stop.RELEASED:
            return None
        run = attempt.run
        return Retry(
            id=run.id,
            attempt=attempt.number,
            lease=run.lease,
            outcome="released",
            keep=SHORT,
            finished_at=self.clock.now(),
            due_at=None,
            priority=run.priority,
            base_add=1,
        )


def _run_id(run_id: UUID) -> str:
    return ids.spell(ids.Prefix.RUN, run_id)


def _header_text(text: str) -> str:
    """A text that a header may carry: ASCII, at most 1 KiB."""
    return text.encode("ascii", "replace").decode()[:MAX_PREVIOUS_ERROR]
