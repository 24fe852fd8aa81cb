"""What an endpoint says with its run token, and what it is told."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec import UNSET, Raw, Struct, UnsetType

from strait_core.errors import Fault
from strait_core.run import Status
from strait_core.wire.bodies import Request
from strait_core.wire.notes import LogLevel

MAX_CHECKPOINT: Final = 1024 * 1024
MAX_VALUE: Final = 64 * 1024
MAX_OUTPUTS: Final = 50
MAX_STATE_KEYS: Final = 1_000
# All outputs of a run together, and all of its state.
MAX_ENTRIES_BYTES: Final = 1024 * 1024
MAX_STATE_KEY: Final = 256
MAX_OUTPUT_NAME: Final = 64
MAX_MESSAGE: Final = 16_384
MAX_NOTE: Final = 1_000
MAX_MODEL: Final = 128
MAX_MODELS: Final = 50
# Of one report; a run could make millions of them before its sums overflow.
MAX_REPORTED: Final = 10**12
MAX_BUDGET: Final = 10**15


class ProgressReport(Request):
    """POST progress: how far the work has come, in percent, in words, or both."""

    percent: float | UnsetType | None = UNSET
    message: str | UnsetType | None = UNSET


class LogReport(Request):
    """POST log: one line."""

    message: str
    level: LogLevel = LogLevel.INFO
    data: Raw | UnsetType = UNSET


class Annotation(Request):
    """POST annotate: metadata to lay over the run's own; null takes a key away."""

    metadata: dict[str, str | None]


class CheckpointReport(Request):
    """POST checkpoint: what a later attempt needs to go on from here."""

    data: Raw


class OutputReport(Request):
    """POST output: one named output; the last value of a name counts."""

    name: str
    value: Raw


class StateValue(Request):
    """PUT state/{key}."""

    value: Raw


class State(Struct, kw_only=True):
    """GET state: everything, by key."""

    data: dict[str, Raw]


def faults_of_progress(report: ProgressReport) -> list[Fault]:
    """Percent from 0 to 100, a message of at most 1,000 characters, and at least one of the two."""
    faults: list[Fault] = []
    if report.percent in {UNSET, None} and report.message in {UNSET, None}:
        faults.append(Fault("", "must have percent, message or both"))
    if isinstance(report.percent, float | int) and not 0 <= report.percent <= 100:
        faults.append(Fault("/percent", "must be from 0 to 100"))
    if isinstance(report.message, str) and len(report.message) > MAX_NOTE:
        faults.append(Fault("/message", f"must be at most {MAX_NOTE} characters"))
    return faults


def faults_of_log(report: LogReport) -> list[Fault]:
    """A message of at most 16,384 characters, data of at most 64 KiB."""
    faults = _too_long("/message", len(report.message), MAX_MESSAGE, "characters")
    return faults + (_too_long("/data", len(report.data), MAX_VALUE, "bytes") if report.data is not UNSET else [])


def faults_of_value(value: Raw) -> list[Fault]:
    """A value of at most 64 KiB."""
    return _too_long("/value", len(value), MAX_VALUE, "bytes")


def _too_long(pointer: str, length: int, most: int, unit: str) -> list[Fault]:
    return [Fault(pointer, f"must be at most {most} {unit}")] if length > most else []


class CompleteReport(Request):
    """POST complete: the run's result, any JSON; none is null."""

    result: Raw | UnsetType = UNSET


class FailReport(Request):
    """POST fail: what went wrong, and whether another attempt could do better."""

    error: str
    retryable: bool = True


class Ended(Struct, kw_only=True):
    """What has become of the run; `next_retry_at` when it is tried again."""

    status: Status
    next_retry_at: datetime | None


class UsageReport(Request):
    """POST usage: tokens and cost of one call of a model, in millionths of a US dollar."""

    provider: str
    model: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_microusd: int = 0


class Spent(Struct, kw_only=True):
    """What the run has spent so far, and what it may spend."""

    cost_microusd: int
    max_cost_per_run_microusd: int | None


class BudgetPut(Request):
    """PUT /v1/budgets/{project}: null lifts the budget."""

    daily_microusd: int | None
    timezone: str | UnsetType = UNSET


class BudgetState(Struct, kw_only=True):
    """A project's budget and its spending today; `resets_at` is when the next day begins in its zone."""

    project_id: str
    daily_microusd: int | None
    timezone: str
    spent_microusd: int
    resets_at: datetime


def faults_of_usage(report: UsageReport) -> list[Fault]:
    """Names of at most 128 characters, and numbers from 0 to a million million."""
    names = [
        Fault(f"/{name}", f"must be 1 to {MAX_MODEL} characters")
        for name in ("provider", "model")
        if not 1 <= len(getattr(report, name)) <= MAX_MODEL
    ]
    return names + [
        Fault(f"/{name}", f"must be from 0 to {MAX_REPORTED}")
        for name in ("prompt_tokens", "completion_tokens", "cost_microusd")
        if not 0 <= getattr(report, name) <= MAX_REPORTED
    ]
