"""Logs and metrics: one line per fact, constant event names, nothing secret."""

from __future__ import annotations

import logging
import re
import sys
from contextlib import suppress
from typing import Final, TextIO, cast

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from structlog.typing import EventDict, Processor, WrappedLogger

from strait_core.run import Event
from strait_daemon.settings import LogFormat, LogLevel

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECRET_KEY: Final = re.compile(r"secret|password|token|authorization|signing|api_key|dsn", re.IGNORECASE)
# The password of any URL, wherever it stands in a text.
_URL_PASSWORD: Final = re.compile(r"(?<=://)([^\s:/@]*):[^\s@]*@")


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank out what looks secret by its key, and passwords inside URLs."""
    for key, value in event.items():
        if _SECRET_KEY.search(key):
            event[key] = "****"
        elif isinstance(value, str) and "://" in value:
            event[key] = _URL_PASSWORD.sub(r"\1:****@", value)
    return event


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


class Metrics:
    """The daemon's Prometheus metrics, one registry per process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.attempts = Counter(
            "strait_attempts", "Attempts that ended, by outcome", ["outcome"], registry=self.registry
        )
        self.moves_lost = Counter("strait_moves_lost", "Moves that found their run taken away", registry=self.registry)
        self.triggered = Counter("strait_runs_created", "Runs accepted by this process", registry=self.registry)
        self.in_flight = Gauge("strait_in_flight", "Attempts that this process is working on", registry=self.registry)
        self.slots = Gauge("strait_worker_slots", "Worker slots of this process", registry=self.registry)
        self.attempt_seconds = Histogram(
            "strait_attempt_seconds",
            "Length of attempts",
            buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60, 600),
            registry=self.registry,
        )
        self.depth = Gauge("strait_runs", "Runs by state, over all processes", ["status"], registry=self.registry)
        self.service_errors = Counter(
            "strait_service_errors", "Ticks of a background service that failed", ["service"], registry=self.registry
        )

        self._attempts = {event: self.attempts.labels(event.value) for event in Event}

    def ended(self, event: Event, secs: float) -> None:
        """One attempt has ended so, after that many seconds."""
        self._attempts[event].inc()
        self.attempt_seconds.observe(secs)

    def render(self) -> tuple[bytes, str]:
        """The exposition text and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE


def masked(url: str) -> str:
    """A URL without its password, for the banner."""
    return _URL_PASSWORD.sub(r"\1:****@", url)
