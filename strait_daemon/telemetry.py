"""Logs and metrics: one line per fact, constant event names, nothing secret."""

from __future__ import annotations

import logging
import re
import sys
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import suppress
from itertools import accumulate
from typing import Any, Final, TextIO, cast

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from structlog.typing import EventDict, Processor, WrappedLogger

from strait_core.run import Event
from strait_daemon.settings import LogFormat, LogLevel

# Upper ends of the attempt histogram's buckets, in seconds.
BUCKETS: Final = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0)
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECRET_KEY: Final = re.compile(r"secret|password|token|authorization|signing|api_key|dsn", re.IGNORECASE)
# The password of any URL, wherever it stands in a text: up to the last @, because a password may hold a bare one.
_URL_PASSWORD: Final = re.compile(r"(?<=://)([^\s:/@]*):\S*@")
_QUERY_PASSWORD: Final = re.compile(r"(?<=password=)[^&\s]+", re.IGNORECASE)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank out what looks secret by its key, and passwords inside URLs, also inside lists and mappings."""
    for key, value in event.items():
        event[key] = _redacted(key, value)
    return event


def _redacted(key: str, value: Any) -> Any:
    if _SECRET_KEY.search(key):
        return "****"
    match value:
        case str():
            return masked(value) if "://" in value else value
        case dict():
            return {name: _redacted(str(name), part) for name, part in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redacted("", part) for part in value]
    return value


class _Stderr:
    """Standard error for log lines; a reader that has gone away must not bring down whoever logs."""

    def write(self, text: str) -> None:
        """Write what can be written."""
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def configure_logging(level: LogLevel, form: LogFormat | None) -> None:
    """Log to stderr: text on a terminal, else one JSON object a line."""
    as_text = form is LogFormat.TEXT or (form is None and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    last: Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if as_text else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.value.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Stderr())),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_FromLibraries()], level=logging.WARNING, force=True)


class AttemptTally(Collector):
    """How attempts ended and how long they took, in plain numbers: the library's own counters take a lock for each."""

    def __init__(self) -> None:
        self._ended = dict.fromkeys(Event, 0)
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def ended(self, event: Event, secs: float) -> None:
        """One attempt has ended so, after that many seconds."""
        self._ended[event] += 1
        self._buckets[bisect_left(BUCKETS, secs)] += 1
        self._seconds += secs

    def collect(self) -> Iterable[Metric]:
        """The tally as Prometheus reads it."""
        counter = CounterMetricFamily("strait_attempts", "Attempts that ended, by outcome", labels=["outcome"])
        for event, count in self._ended.items():
            if count:
                counter.add_metric([event.value], count)
        yield counter
        totals = list(accumulate(self._buckets))
        limits = [*map(str, BUCKETS), "+Inf"]
        yield HistogramMetricFamily(
            "strait_attempt_seconds",
            "Length of attempts",
            buckets=list(zip(limits, totals, strict=True)),
            sum_value=self._seconds,
        )


class _FromLibraries(logging.Handler):
    """Hands what libraries log (aiohttp, psycopg, uvicorn) to the one log, in its form and without secrets."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record; never raises."""
        try:
            log = structlog.get_logger(record.name)
            log.log(record.levelno, "library", logger=record.name, detail=record.getMessage())
        except Exception:  # noqa: BLE001 - a record that cannot be shown must not break whoever logged it
            self.handleError(record)


class Metrics:
    """The daemon's Prometheus metrics, one registry per process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.attempts = AttemptTally()
        self.registry.register(self.attempts)
        self.moves_lost = Counter("strait_moves_lost", "Moves that found their run taken away", registry=self.registry)
        self.triggered = Counter("strait_runs_created", "Runs accepted by this process", registry=self.registry)
        self.in_flight = Gauge("strait_in_flight", "Attempts that this process is working on", registry=self.registry)
        self.slots = Gauge("strait_worker_slots", "Worker slots of this process", registry=self.registry)
        self.swept = Counter(
            "strait_workflow_runs_swept", "Workflow runs that a sweep found stalled", registry=self.registry
        )
        self.changes_sent = Counter(
            "strait_changes_sent", "Changes that this process has sent on", ["sink"], registry=self.registry
        )
        self.service_errors = Counter(
            "strait_service_errors", "Ticks of a background service that failed", ["service"], registry=self.registry
        )

    def render(self) -> bytes:
        """The exposition text of this process."""
        return generate_latest(self.registry)


def masked(text: str) -> str:
    """A URL, or a text with URLs in it, without passwords."""
    return _QUERY_PASSWORD.sub("****", _URL_PASSWORD.sub(r"\1:****@", text))
