"""Which sinks of changes a daemon sends to, made from its settings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from uuid import uuid4

import structlog
from prometheus_client import Counter

from strait_core.store.pool import Pool
from strait_daemon.clock import Clock
from strait_daemon.egress.client import EgressClient
from strait_daemon.egress.guard import Guard
from strait_daemon.services.relay import Relay, Sink
from strait_daemon.services.webhook_sink import WebhookSink
from strait_daemon.settings import Settings

log = structlog.get_logger(__name__)


def relays(
    settings: Settings, pool: Pool, clock: Clock, post: tuple[EgressClient, Guard], agent: str, sent: Counter
) -> list[Relay]:
    """A relay for each sink that is set; `post` is what POSTs, and as whom; `sent` counts by sink."""
    by = uuid4()
    return [Relay(pool, clock, sink, by, sent.labels(sink.name).inc) for sink in _sinks(settings, clock, post, agent)]


def _sinks(settings: Settings, clock: Clock, post: tuple[EgressClient, Guard], agent: str) -> Iterator[Sink]:
    if settings.changes_redis_stream is not None and settings.redis_url is not None:
        from strait_daemon.services.redis_sink import RedisSink  # noqa: PLC0415 - a slow import, for who has a Redis

        yield RedisSink(settings.redis_url.get_secret_value(), settings.changes_redis_stream)
    if settings.changes_webhook_url is not None and settings.changes_webhook_secret is not None:
        url, secret = settings.changes_webhook_url, settings.changes_webhook_secret
        yield WebhookSink(url.get_secret_value(), secret.get_secret_value(), post, clock, agent)


async def leave(relays: Sequence[Relay], secs: float) -> None:
    """Let other processes send changes on at once; without a word they would wait for a while."""
    with suppress(TimeoutError):
        async with asyncio.timeout(secs):
            for result in await asyncio.gather(*(relay.leave() for relay in relays), return_exceptions=True):
                if isinstance(result, Exception):
                    log.debug("sink_not_left", error=type(result).__name__)
