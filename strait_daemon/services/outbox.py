"""Delivers webhooks from the outbox: signed, bounded in time, tried again for about a day, then kept as dead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
import structlog
from multidict import CIMultiDict

from strait_core.ids import Prefix, spell
from strait_core.job import JobSpec
from strait_core.signing import key_of, signed_headers
from strait_core.store import webhooks
from strait_core.store.pool import Pool
from strait_core.store.webhooks import Due
from strait_daemon.clock import Clock
from strait_daemon.egress.client import EgressClient, EgressError, Timing
from strait_daemon.egress.guard import Guard, Refused
from strait_daemon.vault import Unreadable, Vault

BATCH: Final = 32
# How long one attempt may take, and for how long nobody else tries the same delivery.
ATTEMPT_SECS: Final = 15.0
LEASE: Final = timedelta(seconds=60)
# After each attempt but the last; together about a day.
DELAYS_SECS: Final = (5, 60, 600, 3_600, 3 * 3_600, 7 * 3_600, 13 * 3_600)
MOST_ATTEMPTS: Final = len(DELAYS_SECS) + 1
FORGET_SECS: Final = 600.0
MAX_ERROR: Final = 500
_FOR_EVER: Final = datetime(1, 1, 2, tzinfo=UTC)

log = structlog.get_logger(__name__)


class Result(NamedTuple):
    """How an attempt ended; `final`: there is no point in another."""

    http_status: int | None = None
    error: str | None = None
    final: bool = False


class Outbox:
    """The service; `shape` makes the run's wire form of a row."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        client: EgressClient,
        guard: Guard,
        vault: Vault,
        *,
        agent: str,
        shape: Callable[[Mapping[str, Any]], Any],
        kept_days: tuple[int, int],
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._client = client
        self._guard = guard
        self._vault = vault
        self._agent = agent
        self._shape = shape
        # For how long delivered and dead ones are kept; 0 = for ever.
        self._kept_days = kept_days
        self._forgot = float("-inf")

    async def tick(self) -> float | None:
        """Try what is due; 0 when there may be more."""
        await self._forget()
        now = self._clock.now()
        async with self._pool.connection() as conn:
            due = await webhooks.take_due(conn, BATCH, now, now + LEASE)
        await asyncio.gather(*map(self._deliver, due))
        return 0.0 if len(due) == BATCH else None

    async def _deliver(self, due: Due) -> None:
        result = await self._attempt(due)
        now = self._clock.now()
        over = result.final or due.attempts >= MOST_ATTEMPTS
        status, due_at = "delivered", None
        if result.error is not None:
            status = "dead" if over else "pending"
            due_at = None if over else now + timedelta(seconds=DELAYS_SECS[due.attempts - 1])
            log.warning("webhook_failed", delivery=str(due.id), attempt=due.attempts, dead=over, reason=result.error)
        async with self._pool.connection() as conn:
            await webhooks.settle_if_taken(
                conn, due, now, status=status, due_at=due_at, http_status=result.http_status, error=result.error
            )

    async def _attempt(self, due: Due) -> Result:
        """One request; whatever comes of it is a result."""
        name = "webhook_url" if due.alert is None else "alert_webhook_url"
        target: str | None = getattr(due.owner.spec, name)
        if target is None:
            return Result(error=f"the {due.owner.kind} has no {name} any more", final=True)
        try:
            body = self._body(due)
            url = self._guard.prepared(target)
            headers = self._headers(due, body)
            async with asyncio.timeout(ATTEMPT_SECS):
                answer = await self._client.post(url, CIMultiDict(headers), body, Timing(monotonic()))
        except (Refused, EgressError, TimeoutError, Unreadable) as error:
            return _failure(error)
        except Exception as error:
            # One that we cannot even send must keep no other waiting, and has to end some time.
            log.exception("webhook_not_sent", delivery=str(due.id))
            return Result(error=f"system: {type(error).__name__}")
        if 200 <= answer.status < 300:
            return Result(answer.status)
        return Result(answer.status, f"HTTP {answer.status}")

    def _headers(self, due: Due, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": self._agent}
        message, timestamp = spell(Prefix.WEBHOOK, due.id), int(self._clock.now().timestamp())
        # A workflow has no secret of its own.
        secret = due.owner.spec.webhook_secret if isinstance(due.owner.spec, JobSpec) else None
        if secret is None:
            return {**headers, "webhook-id": message, "webhook-timestamp": str(timestamp)}
        key = key_of(self._vault.open(secret))
        return {**headers, **signed_headers(key, message, timestamp, body)}

    def _body(self, due: Due) -> bytes:
        """What is sent: the same at every attempt."""
        slug = due.owner.spec.slug
        data: Any = {"job_id": spell(Prefix.JOB, due.owner.id), "job_slug": slug, "project_id": due.project_id}
        if due.alert is not None:
            data = msgspec.Raw(due.alert.encode())
        elif due.run is not None:
            data = self._shape(_row(due.run) | {"job_slug": slug})
        return msgspec.json.encode({"type": due.type, "timestamp": due.created_at, "data": data})

    async def _forget(self) -> None:
        """Now and then, delete what is over and old."""
        if monotonic() - self._forgot < FORGET_SECS:
            return
        now = self._clock.now()
        delivered, dead = (now - timedelta(days=days) if days else _FOR_EVER for days in self._kept_days)
        async with self._pool.connection() as conn:
            while await webhooks.forget(conn, delivered, dead) == webhooks.FORGET_ROWS:
                pass
        self._forgot = monotonic()


def _failure(error: Exception) -> Result:
    """What a request without an answer comes to; an address that may not be called is not tried again."""
    match error:
        case Refused():
            return Result(error=f"ssrf error: {error.reason}"[:MAX_ERROR], final=True)
        case EgressError():
            return Result(error=f"{error.kind} error: {error}"[:MAX_ERROR], final=error.kind == "ssrf")
        case TimeoutError():
            return Result(error=f"timeout: no answer within {ATTEMPT_SECS:g} s")
        case _:
            return Result(error=str(error)[:MAX_ERROR])


_IDS: Final = frozenset({"id", "job_id", "batch_id", "parent_run_id", "continuation_of", "workflow_run_id"})


def _row(text: str) -> dict[str, Any]:
    """A stored row as the database would give it."""
    row: dict[str, Any] = msgspec.json.decode(text)
    for name, value in row.items():
        if value is not None and name.endswith("_at"):
            row[name] = datetime.fromisoformat(value).astimezone(UTC)
        elif value is not None and name in _IDS:
            row[name] = UUID(value)
    # A delivery may be older than the columns.
    return {"workflow_run_id": None, "step_ref": None} | row
