"""One attempt, as a sentence: call the endpoint, decide what the answer means, say which move ends it."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic
from typing import Final, Protocol

import structlog
from multidict import CIMultiDict
from yarl import URL

from strait_core.job import Completion
from strait_core.run import OutcomeKind
from strait_core.signing import signed_headers
from strait_core.store.queue import Accept, released
from strait_daemon.attempts import outcome
from strait_daemon.attempts.attempt import Attempt, Stop
from strait_daemon.attempts.closing import close, verdict_of
from strait_daemon.attempts.outcome import Ending
from strait_daemon.clock import Clock
from strait_daemon.egress.client import Answer, EgressError, Timing
from strait_daemon.services.breakers import Breakers
from strait_daemon.telemetry import Metrics
from strait_daemon.tokens import TokenMaker
from strait_daemon.writer import Move

MAX_PREVIOUS_ERROR: Final = 1_024
MAX_CHECKPOINT: Final = 4_096
_BLANKS: Final = str.maketrans("\t\r\n", "   ")
# An endpoint with a fallback has so long to take a connection (half the time limit when that is shorter).
CONNECT_SECS: Final = 10.0

log = structlog.get_logger(__name__)


class Poster(Protocol):
    """What makes the requests: see `EgressClient.post`."""

    async def post(
        self, url: URL, headers: CIMultiDict[str], body: bytes, timing: Timing, connect_secs: float | None = None
    ) -> Answer:
        """Send one POST."""
        ...


@dataclass(frozen=True, slots=True)
class Executor:
    """Executes attempts; holds only what they share."""

    client: Poster
    tokens: TokenMaker
    clock: Clock
    metrics: Metrics
    breakers: Breakers

    async def execute(self, attempt: Attempt) -> Move | None:
        """See an open attempt to its end; the move that closes it, None when somebody else has closed it.

        Nothing an endpoint can do raises here. `attempt.end` stops it early.
        """
        timing = Timing(monotonic())
        if not self.breakers.calm:
            attempt.held_until = await self.breakers.held_until(attempt.target.breaker, attempt.run)
        if attempt.held_until is not None:
            attempt.end(Stop.RELEASED)
        ending = await self.call(attempt, timing)
        attempt.open = False
        if ending is None:
            return self._released(attempt)
        if not (self.breakers.calm and ending.http_status == HTTPStatus.OK):
            self._tell_breaker(attempt, ending)
        return self._closed(attempt, ending, timing)

    def _tell_breaker(self, attempt: Attempt, ending: Ending) -> None:
        verdict = verdict_of(attempt, ending)
        if verdict is None:
            return
        if ending.outcome.kind is OutcomeKind.SUCCESS and attempt.target.spec.completion is Completion.CALLBACK:
            self.breakers.accepted(verdict)
        else:
            self.breakers.heard(verdict)

    def failed(self, attempt: Attempt, error: Exception) -> Move:
        """The move for an attempt whose ending could not be found or written: our own fault."""
        return self._closed(attempt, outcome.of_fault(error), Timing(monotonic()))

    async def call(self, attempt: Attempt, timing: Timing) -> Ending | None:
        """Call the endpoint within the run's time limit; None when this process lets go of the attempt."""
        run = attempt.run
        if attempt.stop is not None:
            # No byte has left, so an attempt that was cut off need not count.
            attempt.stop = Stop.RELEASED if attempt.stop is Stop.CUT_OFF else attempt.stop
            return self._stopped(attempt, timing)
        if attempt.target.refusal is not None:
            return attempt.target.refusal
        loop = asyncio.get_running_loop()
        timer = loop.call_later(run.timeout_secs, _time_out, attempt, timing.began + run.timeout_secs)
        attempt.calling = True
        try:
            if attempt.target.fallback is not None:
                return await self._ask_both(attempt, attempt.target.fallback, timing)
            return await self._ask(attempt, attempt.target.url, timing)
        except asyncio.CancelledError:
            if not attempt.let_go():
                raise
            return self._stopped(attempt, timing)
        except Exception as error:
            log.exception("attempt_failed", run_id=attempt.run_id)
            return outcome.of_fault(error)
        finally:
            attempt.calling = False
            timer.cancel()

    async def _ask(self, attempt: Attempt, url: URL, timing: Timing, connect_secs: float | None = None) -> Ending:
        """What one endpoint makes of the run."""
        target, body = attempt.target, attempt.run.payload.encode()
        try:
            answer = await self.client.post(url, self._headers(attempt, body), body, timing, connect_secs)
        except EgressError as error:
            return outcome.of_error(error)
        ending = outcome.of_answer(answer, target.never_retry, self.clock.now)
        # What says "accepted" is no result yet.
        return outcome.judged(ending, target.judge) if target.spec.completion is Completion.RESPONSE else ending

    async def _ask_both(self, attempt: Attempt, fallback: URL | Ending, timing: Timing) -> Ending:
        """The endpoint's ending, or the fallback's when the endpoint cannot be reached or has no room."""
        connect_secs = min(CONNECT_SECS, attempt.run.timeout_secs / 2)
        ending = await self._ask(attempt, attempt.target.url, timing, connect_secs)
        if not outcome.asks_fallback(ending):
            return ending
        attempt.fallback = ending.error
        timing.again()
        return await self._ask(attempt, fallback, timing) if isinstance(fallback, URL) else fallback

    @staticmethod
    def _stopped(attempt: Attempt, timing: Timing) -> Ending | None:
        """What it means that this process ended the attempt."""
        timing.ended = monotonic()
        if attempt.stop is Stop.TIMED_OUT:
            return outcome.of_timeout(attempt.run.timeout_secs)
        if attempt.stop is Stop.CUT_OFF:
            return outcome.of_loss("the worker lost the database")
        return None

    def _headers(self, attempt: Attempt, body: bytes) -> CIMultiDict[str]:
        run = attempt.run
        run_id = attempt.run_id
        headers = attempt.target.headers.copy()
        headers["X-Run-ID"] = headers["Idempotency-Key"] = run_id
        headers["X-Attempt"] = str(attempt.number)
        headers["X-Run-Token"] = self.tokens.make(run_id, attempt.number, self.clock.now(), run.timeout_secs)
        # W3C Trace Context: the run is the trace, every attempt a span of its own; 01 = sampled.
        headers["traceparent"] = f"00-{run.id.hex}-{random.getrandbits(64):016x}-01"
        if run.error and attempt.number > 1:
            headers["X-Previous-Error"] = _header_text(run.error)
        if attempt.checkpoint is not None and (checkpoint := _header_json(attempt.checkpoint)) is not None:
            headers["X-Last-Checkpoint"] = checkpoint
        if attempt.target.signing_key is not None:
            # The run is the message: its attempts are deliveries of it, each signed at its own time.
            timestamp = int(self.clock.now().timestamp())
            headers.update(signed_headers(attempt.target.signing_key, run_id, timestamp, body))
        return headers

    def _closed(self, attempt: Attempt, ending: Ending, timing: Timing) -> Move:
        """The move that an ending decides; what a job with callbacks has accepted goes on without this process."""
        run = attempt.run
        if ending.outcome.kind is OutcomeKind.SUCCESS and attempt.target.spec.completion is Completion.CALLBACK:
            millis = timing.millis()
            millis.pop("total_ms")
            return Accept(
                id=run.id,
                attempt=attempt.number,
                lease=run.lease,
                http_status=ending.http_status,
                fallback=attempt.fallback,
                queue_wait_ms=run.queue_wait_ms,
                **millis,
            )
        event, move = close(attempt, ending, self.clock.now(), timing.millis())
        self.metrics.attempts.ended(event, monotonic() - timing.began)
        return move

    def _released(self, attempt: Attempt) -> Move | None:
        """The attempt is closed without being spent; one that was taken away needs nothing."""
        if attempt.stop is not Stop.RELEASED:
            return None
        run = attempt.run
        now, due_at = self.clock.now(), attempt.held_until
        return released(run.id, attempt.number, run.lease, run.priority, run.lane, now, due_at)


def _time_out(attempt: Attempt, deadline: float) -> None:
    """End the attempt, but never early: a timer may fire a little before its time."""
    left = deadline - monotonic()
    if left > 0:
        asyncio.get_running_loop().call_later(left + 0.001, _time_out, attempt, deadline)
    elif attempt.open:
        attempt.end(Stop.TIMED_OUT)


def _header_json(text: str) -> str | None:
    """JSON that a header may carry: the same value in ASCII, without line breaks; None when it is over 4 KiB."""
    # Outside strings JSON has no other control characters, and inside them none at all.
    ascii_text = "".join(_escaped(c) if c > "~" else c for c in text.translate(_BLANKS))
    return ascii_text if len(ascii_text) <= MAX_CHECKPOINT else None


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1]


def _header_text(text: str) -> str:
    """A text that a header may carry: ASCII, at most 1 KiB."""
    return text.encode("ascii", "replace").decode()[:MAX_PREVIOUS_ERROR]
