"""The definition of a job: its bounds, its defaults, and every fault at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strait_core import job
from strait_core.calendar import CalendarMode, Roll
from strait_core.errors import Fault, escape_pointer
from strait_core.job import DEFAULTS, Completion, JobSpec, VersionPolicy, evolve, faults_of, settled
from strait_core.retry import RetryStrategy
from strait_core.rule import DstGap, DstOverlap
from strait_core.schedule import MisfirePolicy, OverlapPolicy

SPEC = JobSpec(project_id="proj_123", slug="hello-world", name="Hello World", endpoint_url="https://example.com/post")


def pointers(**changes: Any) -> list[str]:
    return [fault.pointer for fault in faults_of(replace(SPEC, **changes))]


def test_the_defaults_are_those_of_the_product():
    """What a job is when nobody says anything."""
    assert faults_of(SPEC) == []
    assert DEFAULTS == {
        "description": "",
        "tags": {},
        "headers": {},
        "signing_secret": None,
        "fallback_endpoint_url": None,
        "webhook_url": None,
        "webhook_secret": None,
        "timeout_secs": 300,
        "max_attempts": 3,
        "retry_strategy": RetryStrategy.EXPONENTIAL,
        "retry_delays_secs": (),
        "retry_priority_boost": 1,
        "non_retryable_statuses": (),
        "poison_pill_threshold": None,
        "breaker_threshold": 5,
        "priority": 0,
        "max_concurrency": None,
        "max_concurrency_per_key": None,
        "rate_limit_max": None,
        "rate_limit_window_secs": None,
        "rate_limit_keys": (),
        "run_ttl_secs": None,
        "default_run_metadata": {},
        "version_policy": VersionPolicy.PIN,
        "payload_schema": None,
        "result_schema": None,
        "completion": Completion.RESPONSE,
        "max_cost_per_run_microusd": None,
        "dedup_window_secs": None,
        "debounce_window_secs": None,
        "debounce_max_wait_secs": None,
        "batch_window_secs": None,
        "batch_max_size": 100,
        "on_complete_trigger_job": None,
        "on_complete_trigger_workflow": None,
        "on_complete_payload_mapping": None,
        "on_failure_trigger_job": None,
        "on_failure_trigger_workflow": None,
        "on_failure_payload_mapping": None,
        "cron": None,
        "timezone": "UTC",
        "misfire_policy": MisfirePolicy.COALESCE,
        "misfire_max_lateness_secs": None,
        "misfire_max_runs": 100,
        "overlap_policy": OverlapPolicy.ALLOW,
        "jitter_secs": None,
        "dst_gap": DstGap.TRANSITION,
        "dst_overlap": DstOverlap.FIRST,
        "calendar": None,
        "calendar_mode": CalendarMode.EXCLUDE,
        "calendar_roll": Roll.NONE,
        "start_within_secs": None,
        "finish_within_secs": None,
        "expect_every_secs": None,
        "alert_webhook_url": None,
        "execution_window_cron": None,
    }


NUMBERS = [
    ("timeout_secs", 1, 86_400),
    ("max_attempts", 1, 100),
    ("retry_priority_boost", 0, 10),
    ("poison_pill_threshold", 0, 100),
    ("breaker_threshold", 0, 1_000),
    ("priority", 0, 10),
    ("max_concurrency", 0, 100_000),
    ("max_concurrency_per_key", 0, 100_000),
    ("rate_limit_max", 0, 1_000_000),
    ("rate_limit_window_secs", 0, 86_400),
    ("run_ttl_secs", 0, 31_536_000),
    ("dedup_window_secs", 0, 86_400),
    ("debounce_window_secs", 0, 86_400),
    ("debounce_max_wait_secs", 0, 86_400),
    ("batch_window_secs", 0, 86_400),
    ("batch_max_size", 1, 1_000),
    ("misfire_max_lateness_secs", 0, 31_536_000),
    ("max_cost_per_run_microusd", 0, 10**15),
    ("misfire_max_runs", 1, 1_000),
    ("jitter_secs", 0, 3_600),
    ("start_within_secs", 0, 31_536_000),
    ("finish_within_secs", 0, 31_536_000),
    ("expect_every_secs", 0, 31_536_000),
]
# What a field needs beside it to mean something.
_CRON: dict[str, Any] = {"cron": "0 9 * * *"}
BESIDE: dict[str, dict[str, Any]] = {
    "debounce_max_wait_secs": {"debounce_window_secs": 1},
    "batch_max_size": {"batch_window_secs": 1},
    "rate_limit_max": {"rate_limit_window_secs": 1},
    "rate_limit_window_secs": {"rate_limit_max": 1},
    "misfire_max_lateness_secs": _CRON,
    "misfire_max_runs": _CRON,
    "jitter_secs": _CRON,
    "start_within_secs": _CRON,
    "finish_within_secs": _CRON,
    "expect_every_secs": _CRON,
}


@pytest.mark.parametrize(("name", "low", "high"), NUMBERS)
def test_a_number_has_bounds_and_both_ends_are_in(name: str, low: int, high: int):
    """One below and one above are refused, at the field's own pointer."""
    assert set(job.BOUNDS) == {number[0] for number in NUMBERS}
    beside: dict[str, Any] = BESIDE.get(name, {})
    ends: list[dict[str, Any]] = [{**(beside if end else {}), name: settled(name, end)} for end in (low, high)]
    assert [pointers(**changes) for changes in ends] == [[], []]
    fault = Fault(f"/{name}", f"must be from {low} to {high}")
    for value in (low - 1, high + 1):
        changes: dict[str, Any] = {**beside, name: value}
        assert faults_of(replace(SPEC, **changes)) == [fault]


def test_null_and_zero():
    """Both lift a limit; where the range begins at 1, null is the default and 0 a fault."""
    assert evolve(SPEC, {"run_ttl_secs": 60}).run_ttl_secs == 60
    assert evolve(SPEC, {"run_ttl_secs": 0}).run_ttl_secs is None
    assert evolve(SPEC, {"run_ttl_secs": None}).run_ttl_secs is None
    changed = replace(SPEC, timeout_secs=9, max_attempts=9, priority=9, tags={"a": "b"}, retry_priority_boost=9)
    back = evolve(changed, dict.fromkeys(["timeout_secs", "max_attempts", "priority", "tags", "retry_priority_boost"]))
    assert back == SPEC
    assert pointers(timeout_secs=settled("timeout_secs", 0)) == ["/timeout_secs"]
    assert settled("priority", 0) == 0
    assert settled("retry_delays_secs", [1, 2]) == (1, 2)


def test_a_change_leaves_the_rest_alone():
    """Only what is named moves; the old definition stays as it was."""
    changed = evolve(SPEC, {"name": "Other", "retry_strategy": RetryStrategy.CUSTOM, "retry_delays_secs": [3]})
    assert changed == replace(SPEC, name="Other", retry_strategy=RetryStrategy.CUSTOM, retry_delays_secs=(3,))
    assert SPEC.name == "Hello World"


def test_all_faults_come_at_once():
    """One answer names everything that is wrong."""
    wrong = replace(
        SPEC,
        project_id="a b",
        slug="Hello",
        name=" ",
        description="x" * 2_001,
        endpoint_url="ftp://example.com",
        tags={"": "x"},
        headers={"Host": "x", "a b": "x", "X-Fine": "ä"},
        default_run_metadata={"k": "x" * 1_025},
        retry_delays_secs=(0,),
        non_retryable_statuses=(200, 404, 600),
        timeout_secs=0,
        max_attempts=101,
        retry_priority_boost=11,
        priority=-1,
        run_ttl_secs=-1,
    )
    assert [fault.pointer for fault in faults_of(wrong)] == [
        "/project_id", "/slug", "/name", "/description", "/endpoint_url", "/tags/", "/headers/Host", "/headers/a b",
        "/headers/X-Fine", "/default_run_metadata/k", "/retry_delays_secs/0", "/retry_delays_secs",
        "/non_retryable_statuses/0", "/non_retryable_statuses/2", "/timeout_secs", "/max_attempts",
        "/retry_priority_boost", "/priority", "/run_ttl_secs",
    ]  # fmt: skip
    assert all(fault.message and not fault.message.endswith(".") for fault in faults_of(wrong))


@pytest.mark.parametrize("text", ["a", "A-Z_09", "x" * 64])
def test_a_project_id_that_is_one(text: str):
    """Letters, digits, underscore and hyphen, up to 64."""
    assert pointers(project_id=text) == []


@pytest.mark.parametrize("text", ["", "x" * 65, "a b", "a.b", "ä", "a\n", "a/b"])
def test_a_project_id_that_is_none(text: str):
    """Anything else is refused, a trailing newline too."""
    assert pointers(project_id=text) == ["/project_id"]


@pytest.mark.parametrize("text", ["a", "0", "hello-world_2", "x" * 128, "run_1", "job-01h455vb4pex5vsknk084sn02q"])
def test_a_slug_that_is_one(text: str):
    """Lower case, beginning with a letter or digit."""
    assert pointers(slug=text) == []


@pytest.mark.parametrize(
    "text", ["", "-a", "_a", "A", "a b", "a.b", "x" * 129, "a\n", "ä", "job_01h455vb4pex5vsknk084sn02q"]
)
def test_a_slug_that_is_none(text: str):
    """Wrong letters, too long, or something that reads as an id."""
    assert pointers(slug=text) == ["/slug"]


def test_lengths_count_characters():
    """A name of 255 letters fits, whatever their bytes."""
    assert pointers(name="ä" * 255) == pointers(description="😀" * 2_000) == []
    assert pointers(name="a" * 256) == ["/name"]
    assert pointers(name="") == ["/name"]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com", "HTTPS://EXAMPLE.com:443/a?b=c#d", "http://127.0.0.1:8080/post", "http://[::1]:80/",
        "http://localhost", "https://bücher.example/ü", "http://example.com:/", "https://e.com/" + "a" * 2_034,
        "http://e.com/@user", "http://e.com/?a=@b",
    ],
)  # fmt: skip
def test_a_url_that_is_one(url: str):
    """Shape only: which addresses may be called is decided elsewhere."""
    assert pointers(endpoint_url=url) == []


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "/path", "//example.com", "ftp://example.com", "file:///etc/passwd", "http://", "http:///a",
        "http://:80/", "http://e.com:0/", "http://e.com:65536/", "http://e.com:x/", "http://[::1/", "http://?a",
        "http://user@e.com/", "http://user:pw@e.com/", "http://@e.com/", "http://e .com/", " http://e.com/",
        "http://e.com/\t", "http://e.com/a\nb", "http://e.com/\x7f", "http://e.com/\u200b", "http://e.com/\u2028",
        "http://e.com/\u202e", "http://e.com/\x85", "http://e.com/\xa0", "https://e.com/" + "a" * 2_035,
        "javascript:alert(1)",
    ],
)  # fmt: skip
def test_a_url_that_is_none(url: str):
    """No host, another scheme, a credential, a bad port, blanks, or what cannot be seen."""
    assert pointers(endpoint_url=url) == ["/endpoint_url"]


def test_tags_and_metadata_have_their_own_bounds():
    """20 tags of 64/256 characters, 50 entries of metadata of 64/1,024."""
    assert pointers(tags={str(n): "" for n in range(20)}, default_run_metadata={str(n): "" for n in range(50)}) == []
    assert pointers(tags={str(n): "" for n in range(21)}) == ["/tags"]
    assert pointers(default_run_metadata={str(n): "" for n in range(51)}) == ["/default_run_metadata"]
    assert pointers(tags={"k" * 64: "v" * 256}) == []
    assert pointers(tags={"k" * 65: "v" * 257}) == ["/tags/" + "k" * 65] * 2
    assert pointers(tags={"a/b~c": "v" * 257}) == ["/tags/a~1b~0c"]


def test_headers_are_headers():
    """Names are tokens, values printable ASCII, none written by dispatch itself, none twice."""
    fine = {"Authorization": "Bearer x y", "X-Empty": "", "x!#$": "a\tb", "X-Long": "v" * 4_096}
    assert pointers(headers=fine) == []
    assert pointers(headers={f"x-{n}": "" for n in range(51)}) == ["/headers"]
    assert pointers(headers={"X-A": "1", "x-a": "2"}) == ["/headers"]
    for value in ["a\r\nb", " a", "a ", "ä", "\x00", "v" * 4_097]:
        assert pointers(headers={"X-A": value}) == ["/headers/X-A"], value
    for name in ["", "a b", "a:b", "ä", "a\n", "x" * 129]:
        assert pointers(headers={name: "1"}) == [f"/headers/{name}"], name
    for name in ["host", "Content-Length", "X-RUN-TOKEN", "webhook-signature", "Idempotency-Key"]:
        assert pointers(headers={name: "1"}) == [f"/headers/{name}"], name


def test_the_list_of_delays_belongs_to_the_custom_strategy():
    """A list without the strategy, and the strategy without a list, are faults: a field accepted is a field that works."""
    custom = RetryStrategy.CUSTOM
    assert pointers(retry_strategy=custom, retry_delays_secs=(1, 3_600)) == []
    assert pointers(retry_strategy=custom, retry_delays_secs=(1,) * 100) == []
    assert pointers(retry_strategy=custom) == ["/retry_delays_secs"]
    assert pointers(retry_delays_secs=(1,)) == ["/retry_delays_secs"]
    assert pointers(retry_strategy=custom, retry_delays_secs=(1,) * 101) == ["/retry_delays_secs"]
    assert pointers(retry_strategy=custom, retry_delays_secs=(1, 0, 3_601)) == [
        "/retry_delays_secs/1",
        "/retry_delays_secs/2",
    ]


def test_a_status_not_to_retry_is_an_unsuccessful_one():
    """300 to 599: a 2xx is a success, and redirects are not followed."""
    assert pointers(non_retryable_statuses=(300, 404, 599)) == []
    assert pointers(non_retryable_statuses=(299, 600)) == ["/non_retryable_statuses/0", "/non_retryable_statuses/1"]


@given(st.text(), st.text(), st.text(), st.dictionaries(st.text(), st.text()), st.dictionaries(st.text(), st.text()))
def test_no_text_makes_the_checks_raise(slug: str, name: str, url: str, tags: dict[str, str], headers: dict[str, str]):
    """Whatever is sent, the answer is a list of faults with JSON pointers."""
    for fault in faults_of(replace(SPEC, slug=slug, name=name, endpoint_url=url, tags=tags, headers=headers)):
        assert fault.pointer.startswith("/")


@given(st.text())
def test_a_pointer_token_is_escaped_reversibly(token: str):
    """RFC 6901: the escaped token has no slash and reads back."""
    escaped = escape_pointer(token)
    assert "/" not in escaped
    assert escaped.replace("~1", "/").replace("~0", "~") == token


def test_a_definition_survives_being_stored():
    """JSON and back gives the same definition; a field of a newer release is passed over."""
    spec = replace(SPEC, retry_strategy=RetryStrategy.CUSTOM, retry_delays_secs=(1, 2), tags={"a": "\u0000ä😀"})
    text = msgspec.json.encode(spec)
    assert msgspec.json.decode(text, type=JobSpec) == spec
    assert msgspec.json.decode(text[:-1] + b',"of_a_newer_release":1}', type=JobSpec) == spec
