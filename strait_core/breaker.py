"""The circuit breaker of an endpoint: what the ends of attempts and the passing of time do to it. Pure.

Closed, it counts failures in a row. Too many open it: the endpoint's runs are held and spend no attempt. After the
cooldown it lets a single run through (probing); a success lets more and more of them through, second by second
(recovering), until it is closed again; a failure opens it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final, assert_never
from uuid import UUID

from strait_core.job import JobSpec

# How many runs may start in the first second of a recovery; each further second twice as many, for so many seconds.
FIRST_ALLOWANCE: Final = 10
RECOVERY_STEPS: Final = 8
STEP: Final = timedelta(seconds=1)
# A probe that is gone without a word (its worker died and was reaped, it was canceled) is followed by another.
PROBE_PATIENCE: Final = timedelta(seconds=2)
# Before any attempt: whatever ends counts.
NEVER: Final = datetime(2000, 1, 1, tzinfo=UTC)


class BreakerState(StrEnum):
    """What a breaker lets through: everything, nothing, one run, or so many a second."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"
    RECOVERING = "recovering"


@dataclass(frozen=True, slots=True)
class Breaker:
    """A breaker; `allowance` is how many runs may start at the moment, None = any number."""

    key: UUID
    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    # When the state came to be; what began before says nothing of it.
    changed_at: datetime = NEVER
    open_until: datetime | None = None
    allowance: int | None = None
    # Seconds of recovery so far; when time last did something to it, or its probe was last seen.
    step: int = 0
    looked_at: datetime = NEVER
    probe_lease: int | None = None

    @property
    def quiet(self) -> bool:
        """Whether a success would change nothing."""
        return self.failures == 0 and self.state in {BreakerState.CLOSED, BreakerState.RECOVERING}


@dataclass(frozen=True, slots=True)
class Stand:
    """How a breaker stands that does not let a run through just now."""

    state: BreakerState
    step: int = 0
    open_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one attempt says of its endpoint; `threshold` is its job's, `began_at` when it was claimed."""

    key: UUID
    ok: bool
    began_at: datetime
    lease: int
    threshold: int


def key_of(project_id: str, endpoint_url: str, fallback_url: str | None) -> UUID:
    """The breaker that jobs of a project share when they call the same endpoint (with the same fallback, if any)."""
    text = "\n".join((project_id, endpoint_url, fallback_url or ""))
    return UUID(bytes=sha256(text.encode()).digest()[:16])


def of_job(spec: JobSpec) -> UUID | None:
    """The breaker of a job; None when it wants none."""
    if spec.breaker_threshold == 0:
        return None
    return key_of(spec.project_id, spec.endpoint_url, spec.fallback_endpoint_url)


def judged(breaker: Breaker, verdicts: Sequence[Verdict], now: datetime, cooldown: timedelta) -> Breaker:
    """The breaker after the ends of some attempts, in the order in which they came."""
    for verdict in verdicts:
        breaker = _after(breaker, verdict, now, cooldown)
    return breaker


def _after(breaker: Breaker, verdict: Verdict, now: datetime, cooldown: timedelta) -> Breaker:
    match breaker.state:
        case BreakerState.CLOSED | BreakerState.RECOVERING:
            if verdict.began_at < breaker.changed_at:
                return breaker
            if verdict.ok:
                return replace(breaker, failures=0)
            failures = breaker.failures + 1
            counted = replace(breaker, failures=failures)
            return _opened(counted, now, cooldown) if failures >= verdict.threshold else counted
        case BreakerState.OPEN:
            # Runs of an old version may call an endpoint that no job names any more: nothing else probes it.
            decides = breaker.open_until is not None and verdict.began_at >= breaker.open_until
        case BreakerState.PROBING:
            decides = verdict.lease == breaker.probe_lease or verdict.began_at >= breaker.changed_at
        case _:
            assert_never(breaker.state)
    if not decides:
        return breaker
    return _recovering(breaker, now) if verdict.ok else _opened(breaker, now, cooldown)


def _opened(breaker: Breaker, now: datetime, cooldown: timedelta) -> Breaker:
    return replace(
        breaker,
        state=BreakerState.OPEN,
        changed_at=now,
        open_until=now + cooldown,
        allowance=0,
        step=0,
        looked_at=now,
        probe_lease=None,
    )


def _recovering(breaker: Breaker, now: datetime) -> Breaker:
    return Breaker(breaker.key, BreakerState.RECOVERING, changed_at=now, allowance=FIRST_ALLOWANCE, looked_at=now)


def ticked(breaker: Breaker, now: datetime, *, probed: bool) -> Breaker:
    """The breaker after the passing of time; `probed`: the run that was let through is under way still."""
    match breaker.state:
        case BreakerState.CLOSED:
            return breaker
        case BreakerState.OPEN:
            due = breaker.open_until is None or now >= breaker.open_until
            return _probing(breaker, now) if due else breaker
        case BreakerState.PROBING:
            return _watched(breaker, now, probed=probed) if breaker.allowance == 0 else breaker
        case BreakerState.RECOVERING:
            return _stepped(breaker, now) if now - breaker.looked_at >= STEP else breaker
        case _:
            assert_never(breaker.state)


def _probing(breaker: Breaker, now: datetime) -> Breaker:
    return replace(breaker, state=BreakerState.PROBING, changed_at=now, allowance=1, looked_at=now)


def _watched(breaker: Breaker, now: datetime, *, probed: bool) -> Breaker:
    if probed:
        return replace(breaker, looked_at=now)
    lost = now - breaker.looked_at >= PROBE_PATIENCE
    return replace(breaker, allowance=1, looked_at=now, probe_lease=None) if lost else breaker


def _stepped(breaker: Breaker, now: datetime) -> Breaker:
    step = breaker.step + 1
    if step < RECOVERY_STEPS:
        return replace(breaker, step=step, allowance=FIRST_ALLOWANCE << step, looked_at=now)
    return Breaker(breaker.key, failures=breaker.failures, changed_at=breaker.changed_at, looked_at=now)


def wait_of(stand: Stand, now: datetime, cooldown: timedelta, uniform: Callable[[float, float], float]) -> datetime:
    """When to ask again for a run that the claims do not hold: spread out, so that such runs do not come together.

    While the endpoint recovers they ask within that time; while its probe is under way, after about a cooldown.
    """
    recovery = STEP * RECOVERY_STEPS
    match stand.state:
        case BreakerState.OPEN:
            return max(stand.open_until or now, now) + min(cooldown, recovery) * uniform(0, 1)
        case BreakerState.PROBING:
            return now + cooldown * uniform(0.5, 1)
        case BreakerState.RECOVERING | BreakerState.CLOSED:
            return now + STEP + (recovery - STEP * (stand.step + 1)) * uniform(0, 1)
        case _:
            assert_never(stand.state)
