"""How long a retry waits, by strategy, by jitter and by what the endpoint asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strait_core import retry
from strait_core.retry import CAP, FLOOR, RetryStrategy, boosted, parse_retry_after, retry_delay

NOW = datetime(2030, 1, 16, 12, tzinfo=UTC)


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def secs(strategy: RetryStrategy, failures: int, custom: tuple[int, ...] = ()) -> float:
    return retry_delay(strategy, failures, custom_secs=custom, uniform=middle).total_seconds()


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (RetryStrategy.EXPONENTIAL, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600]),
        (RetryStrategy.LINEAR, [1, 2, 3, 4, 5, 6, 7]),
        (RetryStrategy.FIXED, [1, 1, 1, 1]),
    ],
)
def test_the_delays_of_each_strategy(strategy: RetryStrategy, expected: list[int]):
    """In the middle of the jitter the n-th delay is what the strategy names."""
    assert [secs(strategy, n) for n in range(1, len(expected) + 1)] == expected


def test_a_custom_list_repeats_its_last_delay():
    """The list is walked once; from then on its last entry holds."""
    assert [secs(RetryStrategy.CUSTOM, n, (5, 30, 90)) for n in range(1, 6)] == [5, 30, 90, 90, 90]
    assert secs(RetryStrategy.CUSTOM, 4) == 1


@given(
    st.sampled_from(RetryStrategy),
    st.integers(1, 10_000),
    st.lists(st.integers(1, 3600), max_size=4),
    st.floats(0, 1),
)
def test_a_delay_keeps_its_bounds(strategy: RetryStrategy, failures: int, custom: list[int], chance: float):
    """Never under a second, never over an hour, at most 20 % from its middle in between."""
    delay = retry_delay(strategy, failures, custom_secs=custom, uniform=lambda low, high: low + chance * (high - low))
    wanted = timedelta(seconds=secs(strategy, failures, tuple(custom)))
    assert FLOOR <= delay <= CAP
    slack = timedelta(microseconds=2)
    assert delay >= min(wanted, CAP / 1.2) * 0.8 - slack
    assert delay <= max(wanted * 1.2, FLOOR) + slack


def test_the_jitter_is_a_fifth_to_both_sides():
    """The random source is asked for a factor between 0.8 and 1.2."""
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return 1.0

    retry_delay(RetryStrategy.FIXED, 1, uniform=uniform)
    assert asked == [(0.8, 1.2)]


@given(st.integers(1, 100), st.integers(0, 10_000))
def test_what_the_endpoint_asks_for_only_raises_the_delay(failures: int, asked: int):
    """`Retry-After` is a lower bound, itself capped at an hour."""
    without = retry_delay(RetryStrategy.LINEAR, failures, uniform=middle)
    with_it = retry_delay(RetryStrategy.LINEAR, failures, retry_after=timedelta(seconds=asked), uniform=middle)
    assert with_it == max(without, min(timedelta(seconds=asked), CAP))


@pytest.mark.parametrize(("priority", "boost", "result"), [(0, 1, 1), (9, 1, 10), (10, 1, 10), (5, 10, 10), (5, 0, 5)])
def test_a_retry_rises_to_priority_ten_at_most(priority: int, boost: int, result: int):
    """The boost adds, the cap holds."""
    assert boosted(priority, boost) == result
    assert retry.MAX_PRIORITY == 10


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("0000000120", 120),
        ("000000000000000000", 0),
        ("3600", 3600),
        ("3601", 3600),
        ("999999", 3600),
        ("9999999", 3600),
        ("9" * 5000, 3600),
        ("Wed, 16 Jan 2030 12:00:30 GMT", 30),
        ("Wed, 16 Jan 2030 13:01:00 +0100", 60),
        ("Wednesday, 16-Jan-30 12:00:05 GMT", 5),
        ("Wed Jan 16 12:00:09 2030", 9),
        ("Fri, 31 Dec 9999 23:59:59 -1200", 3600),
    ],
)
def test_a_retry_after_header_is_seconds_or_a_date(value: str, seconds: int):
    """Both forms of RFC 9110, however padded, capped at an hour."""
    assert parse_retry_after(value, NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value",
    [
        None, "", " ", "soon", "-1", "1.5", "1e3", "٣", "²", "Wed, 16 Jan 2030 11:59:59 GMT", "16 Jan",
        "Wed, 99 Jan 2030 12:00:00 GMT", "Wed, 21 Oct 99999 07:28:00 GMT", "Sat, 01 Jan 0001 00:00:00 +1200",
        "1 Jan 2099 00:00:00 +99999999999999999999",
    ],
)  # fmt: skip
def test_a_header_that_says_nothing_is_none(value: str | None):
    """Nonsense, the past and numbers in other scripts ask for no wait."""
    assert parse_retry_after(value, NOW) is None


@given(
    st.text()
    | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,5} \d\d:\d\d:\d\d [+-]?\d{1,9}", fullmatch=True)
)
def test_no_header_makes_the_reader_raise(value: str):
    """An endpoint may send what it likes."""
    length = parse_retry_after(value, NOW)
    assert length is None or timedelta(0) <= length <= CAP


@given(st.datetimes(datetime(2030, 1, 17), datetime(2040, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_date_far_ahead_waits_an_hour(at: datetime):
    """The cap holds for dates too."""
    assert parse_retry_after(format_datetime(at, usegmt=True), NOW) == CAP
