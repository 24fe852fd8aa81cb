"""From a trigger's body to the run that will be stored."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from strait_core import trigger
from strait_core.errors import Fault
from strait_core.job import JobSpec
from strait_core.retry import RetryStrategy
from strait_core.run import Status
from strait_core.trigger import NewRun, faults_of
from strait_core.wire import TriggerRequest

NOW = datetime(2030, 1, 16, 12, tzinfo=UTC)
SPEC = JobSpec(project_id="p", slug="a", name="A", endpoint_url="http://e.com/", tags={"team": "x", "env": "job"})
RUN, JOB = UUID(int=1), UUID(int=2)


def new(spec: JobSpec = SPEC, **request: Any) -> NewRun:
    return trigger.new_run(TriggerRequest(**request), spec, run_id=RUN, job_id=JOB, job_version=4, now=NOW)


def pointers(**request: Any) -> list[str]:
    return [fault.pointer for fault in faults_of(TriggerRequest(**request), NOW, SPEC)]


def test_an_empty_body_makes_a_plain_run():
    """Every field that nobody gave is the job's own, or nothing."""
    assert faults_of(TriggerRequest(), NOW, SPEC) == []
    assert new() == NewRun(
        id=RUN,
        job_id=JOB,
        job_version=4,
        project_id="p",
        status=Status.QUEUED,
        payload="{}",
        tags={"team": "x", "env": "job"},
        metadata={},
        triggered_by="manual",
        created_at=NOW,
        scheduled_at=None,
        expires_at=None,
        priority=0,
        max_attempts=3,
        timeout_secs=300,
        retry_strategy=None,
        batch_id=None,
    )


def test_what_is_given_wins_over_the_job():
    """Numbers replace, tags and metadata are laid over those of the job."""
    spec = replace(SPEC, priority=2, max_attempts=5, timeout_secs=10, default_run_metadata={"a": "1", "b": "2"})
    run = new(
        spec, priority=0, max_attempts=1, timeout_secs=99, retry_strategy=RetryStrategy.FIXED,
        tags={"env": "run"}, metadata={"b": "3"},
    )  # fmt: skip
    assert (run.priority, run.max_attempts, run.timeout_secs) == (0, 1, 99)
    assert run.retry_strategy is RetryStrategy.FIXED
    assert run.tags == {"team": "x", "env": "run"}
    assert run.metadata == {"a": "1", "b": "3"}
    assert (spec.tags, spec.default_run_metadata) == ({"team": "x", "env": "job"}, {"a": "1", "b": "2"})


def test_null_means_the_jobs_own():
    """An explicit null is as good as an absent field, except in the payload, where it is the payload."""
    spec = replace(SPEC, priority=2, max_attempts=5, timeout_secs=10, run_ttl_secs=60)
    names = [
        "priority",
        "max_attempts",
        "timeout_secs",
        "retry_strategy",
        "tags",
        "metadata",
        "scheduled_at",
        "ttl_secs",
    ]
    request = dict.fromkeys(names)
    assert pointers(**request) == []
    assert new(spec, **request) == new(spec)
    assert new(payload=Raw(b"null")).payload == "null"


@pytest.mark.parametrize(
    ("job_ttl", "ttl", "lives"),
    [(None, 60, 60), (30, 60, 60), (30, None, 30), (30, 0, None), (None, None, None), (None, 0, None)],
)
def test_the_time_to_live(job_ttl: int | None, ttl: int | None, lives: int | None):
    """The run's own, else the job's; 0 lifts it; none unless somebody asked."""
    run = new(replace(SPEC, run_ttl_secs=job_ttl), **({} if ttl is None else {"ttl_secs": ttl}))
    assert run.expires_at == (None if lives is None else NOW + timedelta(seconds=lives))


@pytest.mark.parametrize(
    ("ahead", "status"),
    [
        (timedelta(0), Status.QUEUED),
        (timedelta(days=-400), Status.QUEUED),
        (timedelta(microseconds=1), Status.DELAYED),
        (timedelta(days=365), Status.DELAYED),
    ],
)
def test_a_time_in_the_future_delays(ahead: timedelta, status: Status):
    """What is due already is queued; a TTL counts from the start when that is later than now."""
    at = NOW + ahead
    run = new(scheduled_at=at, ttl_secs=10)
    assert pointers(scheduled_at=at) == []
    assert (run.status, run.scheduled_at) == (status, at)
    assert run.expires_at == max(at, NOW) + timedelta(seconds=10)


def test_a_time_keeps_its_instant():
    """An offset is read, and what is kept is UTC."""
    at = datetime(2030, 1, 16, 15, tzinfo=timezone(timedelta(hours=2)))
    run = new(scheduled_at=at)
    assert run.scheduled_at == at
    assert run.scheduled_at is not None
    assert run.scheduled_at.tzinfo is UTC
    assert run.status is Status.DELAYED


@pytest.mark.parametrize(
    "text",
    [
        "2030-01-17T00:00:00",
        "2031-01-16T12:00:01Z",
        "0001-01-01T00:00:00+05:00",
        "0001-06-01T00:00:00Z",
        "9999-12-31T23:59:59-12:00",
    ],
)
def test_a_time_that_is_none_to_schedule_for(text: str):
    """Without an offset, more than a year ahead, or off the calendar."""
    request = msgspec.json.decode(f'{{"scheduled_at": "{text}"}}', type=TriggerRequest)
    assert [fault.pointer for fault in faults_of(request, NOW, SPEC)] == ["/scheduled_at"]


@given(st.datetimes(timezones=st.timezones() | st.just(timezone(timedelta(hours=14)))))
def test_a_time_is_refused_or_makes_a_run(at: datetime):
    """No instant that can be written gets stuck in between."""
    if not pointers(scheduled_at=at):
        run = new(scheduled_at=at)
        assert (run.status is Status.DELAYED) == (at > NOW)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("priority", 0, 10), ("ttl_secs", 0, 31_536_000), ("max_attempts", 1, 100), ("timeout_secs", 1, 86_400)],
)
def test_numbers_have_the_bounds_of_the_job(name: str, low: int, high: int):
    """Both ends are in; beyond them the fault names the range."""
    assert pointers(**{name: low}) == pointers(**{name: high}) == []
    for value in (low - 1, high + 1):
        request: dict[str, Any] = {name: value}
        assert faults_of(TriggerRequest(**request), NOW, SPEC) == [Fault(f"/{name}", f"must be from {low} to {high}")]


def test_custom_delays_are_the_jobs():
    """A run may ask for them only where there are some: nothing that is accepted is ignored."""
    custom = TriggerRequest(retry_strategy=RetryStrategy.CUSTOM)
    (fault,) = faults_of(custom, NOW, SPEC)
    assert fault.pointer == "/retry_strategy"
    spec = replace(SPEC, retry_strategy=RetryStrategy.CUSTOM, retry_delays_secs=(5,))
    assert faults_of(custom, NOW, spec) == []


def test_all_faults_come_at_once():
    """One answer names everything that is wrong."""
    assert pointers(
        payload=Raw(b'"' + b"x" * trigger.MAX_PAYLOAD_BYTES + b'"'),
        tags={str(n): "" for n in range(21)},
        metadata={"": ""},
        scheduled_at=datetime(2040, 1, 1, tzinfo=UTC),
        priority=11,
        ttl_secs=-1,
        max_attempts=0,
        timeout_secs=0,
    ) == [
        "/priority",
        "/ttl_secs",
        "/max_attempts",
        "/timeout_secs",
        "/payload",
        "/tags",
        "/metadata/",
        "/scheduled_at",
    ]


def test_a_payload_of_five_mebibytes_is_the_longest():
    """Counted in bytes as it was sent."""
    longest = Raw(b'"' + "ä".encode() * ((trigger.MAX_PAYLOAD_BYTES - 2) // 2) + b'"')
    assert len(longest) == 5 * 1024 * 1024
    assert pointers(payload=longest) == []
    assert pointers(payload=Raw(bytes(longest) + b" ")) == ["/payload"]


@pytest.mark.parametrize(
    "text",
    ["null", "[]", '"\\u0000"', '"\\ud83d\\ude00"', "1e400000", '{"a" :  1.0}', '"😀"', "12345678901234567890123"],
)
def test_a_payload_is_kept_as_it_was_sent(text: str):
    """Blanks, escapes and numbers that no float holds: byte for byte."""
    request = msgspec.json.decode(f'{{"payload": {text}}}'.encode(), type=TriggerRequest)
    run = trigger.new_run(request, SPEC, run_id=RUN, job_id=JOB, job_version=1, now=NOW)
    assert run.payload == text
