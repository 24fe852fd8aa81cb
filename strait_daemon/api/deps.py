"""What the API is given, and what it keeps between requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from strait_core.store.jobs import StoredJob
from strait_core.store.pool import Pool
from strait_core.store.workflow_live import Brought
from strait_core.wire import ComponentHealth
from strait_core.wire.doctor import Finding
from strait_core.wire.health import JobTested
from strait_daemon.attempts.ender import Ender
from strait_daemon.bus import Bus
from strait_daemon.clock import Clock
from strait_daemon.closing import Closing
from strait_daemon.egress.guard import Guard
from strait_daemon.intake import Intake
from strait_daemon.logbook import Logbook
from strait_daemon.tokens import TokenReader
from strait_daemon.vault import Vault


@dataclass(frozen=True, slots=True)
class Deps:
    """The parts the API calls.

    `metrics` gives the exposition and its content type; `ready` one answer per component; `process_findings` what is to
    be said of the process's own settings; `sinks` names those that changes are sent to; `stage` is told of a time at
    which a run comes due, `brought` of what has come of moves of workflow runs; `rehearse` calls a job's endpoint with
    a payload, within so many seconds. Setting `closing` ends the open streams politely: the server does so before it
    stops.
    """

    pool: Pool
    clock: Clock
    intake: Intake
    logbook: Logbook
    ender: Ender
    bus: Bus
    rehearse: Callable[[StoredJob, UUID, str, int], Awaitable[JobTested]]
    guard: Guard
    vault: Vault
    new_id: Callable[[], UUID]
    secret: str
    tokens: TokenReader
    stale_after: timedelta
    version: str
    metrics_public: bool
    metrics: Callable[[], Awaitable[tuple[bytes, str]]]
    ready: Callable[[], Awaitable[dict[str, ComponentHealth]]]
    process_findings: Callable[[], Awaitable[list[Finding]]]
    sinks: tuple[str, ...]
    stage: Callable[[datetime], None]
    brought: Callable[[Brought], None]
    log: Any
    closing: Closing = field(default_factory=Closing)
