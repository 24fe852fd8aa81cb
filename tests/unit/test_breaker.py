"""The breaker as a pure value: what verdicts and the passing of time do to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strait_core.breaker import (
    FIRST_ALLOWANCE,
    PROBE_PATIENCE,
    RECOVERY_STEPS,
    STEP,
    Breaker,
    BreakerState,
    Verdict,
    judged,
    key_of,
    of_job,
    ticked,
)
from tests.unit.test_job import SPEC

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COOLDOWN = timedelta(seconds=60)
KEY = UUID(int=1)
CLOSED = Breaker(KEY)
SECOND = timedelta(seconds=1)


def said(*oks: bool, at: datetime = NOW, lease: int = 1, threshold: int = 5) -> list[Verdict]:
    """Verdicts of attempts that began at the same time."""
    return [Verdict(KEY, ok, at, lease, threshold) for ok in oks]


def opened() -> Breaker:
    """One that has just opened."""
    return judged(CLOSED, said(*[False] * 5), NOW, COOLDOWN)


def probing() -> Breaker:
    """One whose probe, of lease 7, is under way."""
    probing = ticked(opened(), NOW + COOLDOWN, probed=False)
    assert (probing.state, probing.allowance) == (BreakerState.PROBING, 1)
    return replace(probing, allowance=0, probe_lease=7)


def test_it_opens_at_the_threshold_and_not_before():
    """Five failures in a row; four, a success and four are not."""
    assert judged(CLOSED, said(*[False] * 4), NOW, COOLDOWN) == replace(CLOSED, failures=4)
    assert judged(CLOSED, said(*[False] * 4, True, *[False] * 4), NOW, COOLDOWN).state is BreakerState.CLOSED
    assert (opened().state, opened().open_until, opened().allowance) == (BreakerState.OPEN, NOW + COOLDOWN, 0)


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 10))
def test_it_opens_exactly_when_some_row_of_failures_is_long_enough(oks: list[bool], threshold: int):
    """However the verdicts come in batches."""
    whole = judged(CLOSED, said(*oks, threshold=threshold), NOW, COOLDOWN)
    piecewise = CLOSED
    for ok in oks:
        piecewise = judged(piecewise, said(ok, threshold=threshold), NOW, COOLDOWN)
    rows = "".join("." if ok else "x" for ok in oks).split(".")
    assert (whole.state is BreakerState.OPEN) == (max(map(len, rows)) >= threshold)
    assert whole == piecewise


def test_while_it_is_open_nothing_that_began_before_matters():
    """What was in flight may end as it likes; only the clock moves it on."""
    late = judged(opened(), said(True, False, True), NOW + 30 * SECOND, COOLDOWN)
    assert late == opened()
    assert ticked(late, NOW + 59 * SECOND, probed=False) == opened()


@pytest.mark.parametrize(("ok", "state"), [(True, BreakerState.RECOVERING), (False, BreakerState.OPEN)])
def test_only_the_probe_decides(ok: bool, state: BreakerState):
    """Another attempt that began earlier says nothing; the probe's word closes it or opens it again."""
    at = NOW + 2 * COOLDOWN
    assert judged(probing(), said(ok, ok), at, COOLDOWN) == probing()
    decided = judged(probing(), said(ok, lease=7), at, COOLDOWN)
    assert decided.state is state
    if not ok:
        assert decided.open_until == at + COOLDOWN


def test_a_probe_that_is_gone_is_followed_by_another_one():
    """After two seconds without sight of it; while it is seen it may take its time."""
    at = NOW + COOLDOWN
    seen = ticked(probing(), at + timedelta(hours=1), probed=True)
    assert (seen.allowance, seen.looked_at) == (0, at + timedelta(hours=1))
    assert ticked(probing(), at + PROBE_PATIENCE / 2, probed=False).allowance == 0
    gone = ticked(probing(), at + PROBE_PATIENCE, probed=False)
    assert (gone.state, gone.allowance, gone.probe_lease) == (BreakerState.PROBING, 1, None)


def test_a_recovery_doubles_what_it_lets_through_and_ends():
    """Step by step, one second each, until it is closed."""
    breaker = judged(probing(), said(True, lease=7), NOW + COOLDOWN, COOLDOWN)
    allowances = []
    for step in range(1, RECOVERY_STEPS + 1):
        allowances.append(breaker.allowance)
        assert ticked(breaker, breaker.looked_at + STEP / 2, probed=False) == breaker
        breaker = ticked(breaker, NOW + COOLDOWN + step * STEP, probed=False)
    assert allowances == [FIRST_ALLOWANCE << step for step in range(RECOVERY_STEPS)]
    assert (breaker.state, breaker.allowance, breaker.quiet) == (BreakerState.CLOSED, None, True)


def test_a_recovery_that_meets_failures_opens_again():
    """Those of attempts that began after the probe's success; older ones are of the outage."""
    at = NOW + COOLDOWN
    breaker = judged(probing(), said(True, lease=7), at, COOLDOWN)
    assert judged(breaker, said(*[False] * 9), at + SECOND, COOLDOWN) == breaker
    assert judged(breaker, said(*[False] * 5, at=at), at + SECOND, COOLDOWN).state is BreakerState.OPEN


def test_who_calls_although_it_is_due_decides_like_a_probe():
    """Runs of an old version, whose endpoint no job names any more."""
    at = NOW + COOLDOWN + SECOND
    assert judged(opened(), said(False, at=at), at, COOLDOWN).open_until == at + COOLDOWN
    assert judged(opened(), said(True, at=at), at, COOLDOWN).state is BreakerState.RECOVERING


def test_jobs_share_a_breaker_by_project_and_urls():
    """Another project, endpoint or fallback is another breaker; a threshold of 0 is none."""
    keys = {key_of("p", "http://a", None), key_of("q", "http://a", None), key_of("p", "http://b", None)}
    assert len({*keys, key_of("p", "http://a", "http://b")}) == 4
    assert of_job(SPEC) == of_job(replace(SPEC, slug="other", breaker_threshold=9))
    assert of_job(replace(SPEC, breaker_threshold=0)) is None
