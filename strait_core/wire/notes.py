"""What endpoints note on their runs, as the API shows it: progress, usage, log lines."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Raw, Struct


class LogLevel(StrEnum):
    """How grave a log line is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Progress(Struct, kw_only=True):
    """How far a run says it has come."""

    percent: float | None
    message: str | None
    at: datetime


class Usage(Struct, kw_only=True):
    """What a run has reported as used of one model, over all its attempts."""

    provider: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    cost_microusd: int
    reports: int


class LogLine(Struct, kw_only=True):
    """One line that an endpoint logged; numbers of `seq` that are missing were reports of progress."""

    seq: int
    at: datetime
    attempt: int
    level: LogLevel
    message: str
    data: Raw | None
