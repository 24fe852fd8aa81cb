"""The move that an ending decides, wherever it was learned: from the endpoint's answer, its own word, or the clock."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from strait_core import poison
from strait_core.breaker import Verdict
from strait_core.retry import RetryStrategy, boosted, retry_delay
from strait_core.run import TRANSITIONS, Event, OutcomeKind, Status, decide
from strait_core.store.history import LONG, keep_of
from strait_core.store.queue import Finish, Retry
from strait_core.store.webhooks import new_hook
from strait_daemon.attempts import outcome
from strait_daemon.attempts.attempt import Attempt
from strait_daemon.attempts.outcome import Ending

_ENDPOINTS_DOING: Final = frozenset({OutcomeKind.ERROR, OutcomeKind.TIMEOUT})


def close(
    attempt: Attempt, ending: Ending, now: datetime, millis: Mapping[str, float | None]
) -> tuple[Event, Finish | Retry]:
    """What the ending of an attempt does to its run; `millis` are the attempt's timings."""
    run, spec = attempt.run, attempt.target.spec
    if attempt.fallback is not None:
        ending = outcome.at_fallback(ending, attempt.fallback)
    event, streak, fingerprint = Event.COMPLETE, 0, None
    if ending.outcome.kind is not OutcomeKind.SUCCESS:
        fingerprint, streak = _repeated(attempt, ending)
        event, ending = _decided(attempt, ending, streak)
    facts: dict[str, Any] = {
        "id": run.id,
        "attempt": attempt.number,
        "lease": run.lease,
        "lane": run.lane,
        "finished_at": now,
        "error_class": ending.error_class,
        "error": ending.error,
        "http_status": ending.http_status,
        "fallback": attempt.fallback,
        "queue_wait_ms": run.queue_wait_ms,
        **millis,
    }
    if event is Event.RETRY:
        facts["error_fingerprint"], facts["error_streak"] = fingerprint, streak or None
        return event, _retry(attempt, ending, now, facts)
    status = TRANSITIONS[Status.EXECUTING, event]
    return event, Finish(
        **facts,
        status=status,
        keep=keep_of(status),
        result=ending.result,
        result_truncated=ending.truncated,
        hook=None if spec.webhook_url is None else new_hook(now),
        follow=status in attempt.target.consequences,
        workflow_run_id=run.workflow_run_id,
        step_index=run.step_index,
    )


def verdict_of(attempt: Attempt, ending: Ending, *, silent: bool = False) -> Verdict | None:
    """What the ending of an attempt says of its endpoint; None = nothing, or nobody asks.

    `silent`: the endpoint has accepted and then stopped to speak, which counts against it as a timeout does.
    """
    key, well = attempt.target.breaker, False if silent else outcome.speaks_well(ending)
    if key is None or well is None:
        return None
    threshold = attempt.target.spec.breaker_threshold
    return Verdict(key, well, attempt.claimed_at, attempt.run.lease, threshold)


def _decided(attempt: Attempt, ending: Ending, streak: int) -> tuple[Event, Ending]:
    """The event, and the ending with a word on it when its error has come too often in a row."""
    run, threshold = attempt.run, attempt.target.spec.poison_pill_threshold or 0
    poisoned = 0 < threshold <= streak
    event = decide(
        ending.outcome,
        attempt=attempt.number,
        attempt_base=run.attempt_base,
        max_attempts=run.max_attempts,
        poisoned=poisoned,
    )
    return event, outcome.given_up(ending, streak) if poisoned and event is Event.DEAD_LETTER else ending


def _retry(attempt: Attempt, ending: Ending, now: datetime, facts: dict[str, Any]) -> Retry:
    run, spec = attempt.run, attempt.target.spec
    delay = retry_delay(
        RetryStrategy(run.retry_strategy) if run.retry_strategy else spec.retry_strategy,
        attempt.number - run.attempt_base,
        custom_secs=spec.retry_delays_secs,
        retry_after=ending.retry_after,
        initial_secs=run.retry_initial_secs,
        most_secs=run.retry_max_secs,
        uniform=random.uniform,
    )
    return Retry(
        **facts,
        outcome=ending.outcome.kind.value,
        keep=LONG,
        due_at=now + delay,
        priority=boosted(run.priority, spec.retry_priority_boost),
    )


def _repeated(attempt: Attempt, ending: Ending) -> tuple[int | None, int]:
    """The error's fingerprint and how often it has come in a row; nothing when nobody asks.

    Only what the endpoint did counts: lost workers and our own faults are no errors of its.
    """
    if attempt.target.spec.poison_pill_threshold is None or ending.outcome.kind not in _ENDPOINTS_DOING:
        return None, 0
    now = poison.fingerprint(ending.error_class, ending.http_status, ending.error)
    return now, poison.streak((attempt.run.error_fingerprint, attempt.run.error_streak), now)
