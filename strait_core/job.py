"""The job: what may be said of it, within which bounds, and with which defaults.

A `JobSpec` is the immutable definition of one version of a job. What can change without a new version (enabled,
paused) and what the store adds (id, version, times) is not in it. A field that stands here is a field that works.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from strait_core import completion, deadline, ids
from strait_core.calendar import CalendarMode, Roll
from strait_core.errors import Fault, escape_pointer
from strait_core.headers import check_headers
from strait_core.ratekeys import MAX_RATE, RateKey, check_rate_keys
from strait_core.retry import RetryStrategy
from strait_core.rule import DstGap, DstOverlap
from strait_core.schedule import MisfirePolicy, OverlapPolicy
from strait_core.timetable import schedule_faults

HOUR_SECS: Final = 3_600
DAY_SECS: Final = 86_400
YEAR_SECS: Final = 365 * DAY_SECS
MAX_TAGS: Final = 20
MAX_TAG_KEY: Final = 64
MAX_TAG_VALUE: Final = 256
MAX_URL: Final = 2_048
MAX_METADATA: Final = 50
MAX_METADATA_VALUE: Final = 1_024
MAX_RETRY_DELAYS: Final = 100
# More attempts than this cannot be live at once by any worker's measure.
MAX_CAP: Final = 100_000
MAX_CONCURRENCY_KEY: Final = 256
# Who is told, and of what: ends of runs, broken deadlines.
WEBHOOKS: Final = ("webhook_url", "alert_webhook_url")

_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")
_PROJECT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


class Completion(StrEnum):
    """What ends an attempt that went well: the endpoint's 2xx answer, or its own later word (2xx = accepted)."""

    RESPONSE = "response"
    CALLBACK = "callback"


class VersionPolicy(StrEnum):
    """Which version of a job its waiting runs use: the one at trigger time, or the newest."""

    PIN = "pin"
    LATEST = "latest"


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One version of a job's definition; times are whole seconds, None means no limit."""

    project_id: str
    slug: str
    name: str
    endpoint_url: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    # As it is stored: sealed.
    signing_secret: str | None = field(default=None, repr=False)
    # Called in the same attempt when nobody can be reached at endpoint_url, or it answers 429.
    fallback_endpoint_url: str | None = None
    webhook_url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    timeout_secs: int = 300
    max_attempts: int = 3
    retry_strategy: RetryStrategy = RetryStrategy.EXPONENTIAL
    retry_delays_secs: tuple[int, ...] = ()
    retry_priority_boost: int = 1
    non_retryable_statuses: tuple[int, ...] = ()
    # So many times the same error in a row, and the run is given up; None = never.
    poison_pill_threshold: int | None = None
    # So many failures in a row at the endpoint, over all runs, and it is left alone for a while; 0 = never.
    breaker_threshold: int = 5
    priority: int = 0
    max_concurrency: int | None = None
    max_concurrency_per_key: int | None = None
    rate_limit_max: int | None = None
    rate_limit_window_secs: int | None = None
    rate_limit_keys: tuple[RateKey, ...] = ()
    run_ttl_secs: int | None = None
    default_run_metadata: Mapping[str, str] = field(default_factory=dict)
    version_policy: VersionPolicy = VersionPolicy.PIN
    payload_schema: Mapping[str, Any] | None = None
    result_schema: Mapping[str, Any] | None = None
    completion: Completion = Completion.RESPONSE
    max_cost_per_run_microusd: int | None = None
    dedup_window_secs: int | None = None
    debounce_window_secs: int | None = None
    debounce_max_wait_secs: int | None = None
    batch_window_secs: int | None = None
    batch_max_size: int = 100
    # Started by the ending of a run; see completion.py.
    on_complete_trigger_job: str | None = None
    on_complete_trigger_workflow: str | None = None
    on_complete_payload_mapping: Mapping[str, Any] | None = None
    on_failure_trigger_job: str | None = None
    on_failure_trigger_workflow: str | None = None
    on_failure_payload_mapping: Mapping[str, Any] | None = None
    cron: str | None = None
    timezone: str = "UTC"
    misfire_policy: MisfirePolicy = MisfirePolicy.COALESCE
    # However late a tick may still fire; None = any lateness.
    misfire_max_lateness_secs: int | None = None
    misfire_max_runs: int = 100
    overlap_policy: OverlapPolicy = OverlapPolicy.ALLOW
    jitter_secs: int | None = None
    dst_gap: DstGap = DstGap.TRANSITION
    dst_overlap: DstOverlap = DstOverlap.FIRST
    # A calendar of the project, by its slug.
    calendar: str | None = None
    calendar_mode: CalendarMode = CalendarMode.EXCLUDE
    calendar_roll: Roll = Roll.NONE
    # Seconds after a tick until which its run is to start, to end; seconds without a success that are too many.
    start_within_secs: int | None = None
    finish_within_secs: int | None = None
    expect_every_secs: int | None = None
    # Is told of each of these that was broken.
    alert_webhook_url: str | None = None
    execution_window_cron: str | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """A whole number's range, both ends included; `none_means_no_limit`: 0 and null both say "no limit"."""

    low: int
    high: int
    none_means_no_limit: bool = False


BOUNDS: Final[Mapping[str, Bounds]] = {
    "timeout_secs": Bounds(1, DAY_SECS),
    "max_attempts": Bounds(1, 100),
    "retry_priority_boost": Bounds(0, 10),
    "poison_pill_threshold": Bounds(0, 100, none_means_no_limit=True),
    "breaker_threshold": Bounds(0, 1_000),
    "priority": Bounds(0, 10),
    "max_concurrency": Bounds(0, MAX_CAP, none_means_no_limit=True),
    "max_concurrency_per_key": Bounds(0, MAX_CAP, none_means_no_limit=True),
    "rate_limit_max": Bounds(0, MAX_RATE, none_means_no_limit=True),
    "rate_limit_window_secs": Bounds(0, DAY_SECS, none_means_no_limit=True),
    "run_ttl_secs": Bounds(0, YEAR_SECS, none_means_no_limit=True),
    # A thousand million dollars: far below where the numbers of JSON lose their last digits.
    "max_cost_per_run_microusd": Bounds(0, 10**15, none_means_no_limit=True),
    "dedup_window_secs": Bounds(0, DAY_SECS, none_means_no_limit=True),
    "debounce_window_secs": Bounds(0, DAY_SECS, none_means_no_limit=True),
    "debounce_max_wait_secs": Bounds(0, DAY_SECS, none_means_no_limit=True),
    "batch_window_secs": Bounds(0, DAY_SECS, none_means_no_limit=True),
    "batch_max_size": Bounds(1, 1_000),
    "misfire_max_lateness_secs": Bounds(0, YEAR_SECS, none_means_no_limit=True),
    "misfire_max_runs": Bounds(1, 1_000),
    "jitter_secs": Bounds(0, HOUR_SECS, none_means_no_limit=True),
    "start_within_secs": Bounds(0, YEAR_SECS, none_means_no_limit=True),
    "finish_within_secs": Bounds(0, YEAR_SECS, none_means_no_limit=True),
    "expect_every_secs": Bounds(0, YEAR_SECS, none_means_no_limit=True),
}
LENGTHS: Final[Mapping[str, int]] = {"name": 255, "slug": 128, "description": 2_000}
REQUIRED: Final = ("project_id", "slug", "name", "endpoint_url")
_BLANK: Final = JobSpec(**dict.fromkeys(REQUIRED, ""))  # type: ignore[arg-type]
DEFAULTS: Final[Mapping[str, Any]] = {f.name: getattr(_BLANK, f.name) for f in fields(JobSpec)[len(REQUIRED) :]}


def evolve(spec: JobSpec, changes: Mapping[str, Any]) -> JobSpec:
    """The definition with `changes` applied; null puts a field back to its default, 0 lifts a limit."""
    return replace(spec, **{name: settled(name, value) for name, value in changes.items()})


def settled(name: str, value: Any) -> Any:
    """A field's value as it is stored: null becomes the default, the 0 of a limit becomes None."""
    if value is None:
        return DEFAULTS.get(name)
    bounds = BOUNDS.get(name)
    if value == 0 and bounds is not None and bounds.none_means_no_limit:
        return None
    return tuple(value) if isinstance(value, list) else value


def faults_of(spec: JobSpec) -> list[Fault]:
    """Everything wrong with a definition, each fault with the JSON pointer of its field."""
    faults = [
        *check_project(spec.project_id),
        *check_slug(spec.slug),
        *check_length("name", spec.name, required=True),
        *check_length("description", spec.description),
        *check_url("endpoint_url", spec.endpoint_url),
        *_check_fallback(spec),
        *_check_webhook(spec),
        *check_tags("tags", spec.tags),
        *check_headers(spec.headers),
        *check_metadata("default_run_metadata", spec.default_run_metadata),
        *_check_retry_lists(spec),
        *_check_windows(spec),
        *_check_rate(spec),
        *check_rate_keys(spec.rate_limit_keys),
        *completion.faults_of(spec),
        *schedule_faults(spec, DEFAULTS),
        *deadline.faults_of(spec),
    ]
    for name in BOUNDS:
        faults += check_number(name, getattr(spec, name))
    return faults


def check_number(name: str, value: int | None) -> list[Fault]:
    """A whole number against the bounds of the field of that name; None always passes."""
    bounds = BOUNDS[name]
    if value is None or bounds.low <= value <= bounds.high:
        return []
    return [Fault(f"/{name}", f"must be from {bounds.low} to {bounds.high}")]


def check_project(project_id: str) -> list[Fault]:
    """A project id: 1 to 64 of A–Z a–z 0–9 _ -."""
    if _PROJECT.match(project_id):
        return []
    return [Fault("/project_id", "must be 1 to 64 characters of A-Z a-z 0-9 _ -")]


def check_slug(slug: str) -> list[Fault]:
    """A slug: lower-case, at most 128 characters, and not something that reads as an id."""
    if not _SLUG.match(slug) or len(slug) > LENGTHS["slug"]:
        return [Fault("/slug", "must be 1 to 128 characters of a-z 0-9 _ -, beginning with a letter or digit")]
    if ids.is_id(slug):
        return [Fault("/slug", "reads as an id; choose another")]
    return []


def check_length(name: str, text: str, *, required: bool = False) -> list[Fault]:
    """A text's length in characters against its bound."""
    if required and not text.strip():
        return [Fault(f"/{name}", "must not be empty")]
    if len(text) > LENGTHS[name]:
        return [Fault(f"/{name}", f"must be at most {LENGTHS[name]} characters")]
    return []


def check_url(name: str, url: str) -> list[Fault]:
    """An absolute http or https URL with a host, without credentials, of at most 2,048 printable characters."""
    pointer = f"/{name}"
    if len(url) > MAX_URL:
        return [Fault(pointer, f"must be at most {MAX_URL} characters")]
    if any(c == " " or not c.isprintable() for c in url):
        return [Fault(pointer, "must not contain blanks or control characters")]
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return [Fault(pointer, "is not a URL")]
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        return [Fault(pointer, "must be an http:// or https:// URL with a host")]
    if "@" in parts.netloc:
        return [Fault(pointer, "must not carry a user name or password; use headers")]
    return []


def _check_fallback(spec: JobSpec) -> list[Fault]:
    if spec.fallback_endpoint_url is None:
        return []
    if spec.fallback_endpoint_url == spec.endpoint_url:
        return [Fault("/fallback_endpoint_url", "must differ from endpoint_url")]
    return check_url("fallback_endpoint_url", spec.fallback_endpoint_url)


def _check_webhook(spec: JobSpec) -> list[Fault]:
    urls = {name: url for name in WEBHOOKS if (url := getattr(spec, name)) is not None}
    if spec.webhook_secret is not None and not urls:
        return [Fault("/webhook_secret", f"works only with {' or '.join(WEBHOOKS)}")]
    return [fault for name, url in urls.items() for fault in check_url(name, url)]


def check_tags(name: str, tags: Mapping[str, str]) -> list[Fault]:
    """At most 20 tags, keys of 1 to 64 and values of at most 256 characters."""
    return _check_pairs(name, tags, MAX_TAGS, MAX_TAG_KEY, MAX_TAG_VALUE)


def check_metadata(name: str, metadata: Mapping[str, str]) -> list[Fault]:
    """At most 50 entries, keys of 1 to 64 and values of at most 1,024 characters."""
    return _check_pairs(name, metadata, MAX_METADATA, MAX_TAG_KEY, MAX_METADATA_VALUE)


def _check_pairs(name: str, pairs: Mapping[str, str], most: int, key_length: int, value_length: int) -> list[Fault]:
    faults = [Fault(f"/{name}", f"must have at most {most} entries")] if len(pairs) > most else []
    for key, value in pairs.items():
        pointer = f"/{name}/{escape_pointer(key)}"
        if not 1 <= len(key) <= key_length:
            faults.append(Fault(pointer, f"key must be 1 to {key_length} characters"))
        if len(value) > value_length:
            faults.append(Fault(pointer, f"must be at most {value_length} characters"))
    return faults


def _check_windows(spec: JobSpec) -> list[Fault]:
    if spec.debounce_window_secs and spec.batch_window_secs:
        return [Fault("/batch_window_secs", "does not go with debounce_window_secs: choose one of the two")]
    most = spec.debounce_max_wait_secs
    if most and not spec.debounce_window_secs:
        return [Fault("/debounce_max_wait_secs", "works only with debounce_window_secs")]
    if most and spec.debounce_window_secs and 0 < most < spec.debounce_window_secs:
        return [Fault("/debounce_max_wait_secs", "must be at least debounce_window_secs")]
    if spec.batch_max_size != DEFAULTS["batch_max_size"] and not spec.batch_window_secs:
        return [Fault("/batch_max_size", "works only with batch_window_secs")]
    return []


def _check_rate(spec: JobSpec) -> list[Fault]:
    if bool(spec.rate_limit_max) == bool(spec.rate_limit_window_secs):
        return []
    missing, other = ("window_secs", "max") if spec.rate_limit_max else ("max", "window_secs")
    return [Fault(f"/rate_limit_{missing}", f"is needed with rate_limit_{other}")]


def _check_retry_lists(spec: JobSpec) -> list[Fault]:
    faults: list[Fault] = []
    delays, statuses = spec.retry_delays_secs, spec.non_retryable_statuses
    if len(delays) > MAX_RETRY_DELAYS:
        faults.append(Fault("/retry_delays_secs", f"must have at most {MAX_RETRY_DELAYS} entries"))
    faults += [
        Fault(f"/retry_delays_secs/{at}", "must be from 1 to 3600")
        for at, delay in enumerate(delays)
        if not 1 <= delay <= 3_600
    ]
    if spec.retry_strategy is RetryStrategy.CUSTOM and not delays:
        faults.append(Fault("/retry_delays_secs", "must have at least one delay when retry_strategy is custom"))
    if spec.retry_strategy is not RetryStrategy.CUSTOM and delays:
        faults.append(Fault("/retry_delays_secs", "works only with retry_strategy custom"))
    faults += [
        Fault(f"/non_retryable_statuses/{at}", "must be a status from 300 to 599")
        for at, status in enumerate(statuses)
        if not 300 <= status <= 599
    ]
    return faults
