"""How long a run waits before its next attempt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final, assert_never

FLOOR: Final = timedelta(seconds=1)
CAP: Final = timedelta(hours=1)
JITTER: Final = 0.2
MAX_PRIORITY: Final = 10
# 2**11 seconds is above the cap already; a higher exponent would only overflow.
_MAX_DOUBLINGS: Final = 12


class RetryStrategy(StrEnum):
    """The shape of the delays between attempts."""

    EXPONENTIAL = "exponential"
    LINEAR = "linear"
    FIXED = "fixed"
    CUSTOM = "custom"


def retry_delay(
    strategy: RetryStrategy,
    failures: int,
    *,
    custom_secs: Sequence[int] = (),
    retry_after: timedelta | None = None,
    initial_secs: int | None = None,
    most_secs: int | None = None,
    uniform: Callable[[float, float], float],
) -> timedelta:
    """The wait after the `failures`-th failed attempt (1 = the first) of the present allowance.

    ±20 % jitter from `uniform(low, high)`, then a floor of one second and a cap of one hour; `retry_after` (what the
    endpoint asked for, capped alike) only ever raises it. The steps of workflows have their own `initial_secs`, which
    the strategy makes more of, and their own cap, `most_secs`; None = one second, and no cap below that hour.
    """
    wanted = _base_secs(strategy, failures, custom_secs)
    if initial_secs is not None and strategy is not RetryStrategy.CUSTOM:
        wanted *= initial_secs
    if most_secs is not None:
        wanted = min(wanted, most_secs)
    wanted *= uniform(1 - JITTER, 1 + JITTER)
    delay = min(max(timedelta(seconds=wanted), FLOOR), CAP)
    return delay if retry_after is None else max(delay, min(retry_after, CAP))


def _base_secs(strategy: RetryStrategy, failures: int, custom_secs: Sequence[int]) -> float:
    match strategy:
        case RetryStrategy.EXPONENTIAL:
            return 2.0 ** min(failures - 1, _MAX_DOUBLINGS)
        case RetryStrategy.LINEAR:
            return failures
        case RetryStrategy.FIXED:
            return 1
        case RetryStrategy.CUSTOM:
            return custom_secs[min(failures, len(custom_secs)) - 1] if custom_secs else 1
        case _:
            assert_never(strategy)


def boosted(priority: int, boost: int) -> int:
    """The priority of a run that is retried: raised by the job's boost, never above 10."""
    return min(priority + boost, MAX_PRIORITY)


def parse_retry_after(value: str | None, now: datetime) -> timedelta | None:
    """A `Retry-After` header (RFC 9110 §10.2.3: seconds, or a date) as a length from `now`; None when it says nothing.

    A date in the past asks for no wait, which is the same as saying nothing.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        digits = text.lstrip("0") or "0"
        return min(timedelta(seconds=int(digits)), CAP) if len(digits) < 7 else CAP
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return min(at - now, CAP) if at > now else None
