"""Signals to other processes by Redis publish/subscribe. Its client is large: import this where a Redis is named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import structlog
from redis.asyncio import Redis
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

from strait_daemon.transports import CHANNEL, FIRST_PAUSE, LONGEST_PAUSE, QUIET_SECS

SENTINEL_PORT: Final = 26_379
_SUBSCRIBE_SECS: Final = 10.0

log = structlog.get_logger(__name__)


def clients_at(url: str) -> list[Redis]:
    """A client of the server at a URL; or of the master that sentinels name, and behind it those of the sentinels.

    `redis+sentinel://user:password@host:26379,host:26379/service/db`: the password is the master's, that of the
    sentinels stands in the query as `sentinel_password`; the service is `mymaster` unless named. With `rediss` TLS.
    """
    options: dict[str, Any] = {"socket_connect_timeout": 5, "socket_keepalive": True, "health_check_interval": 10}
    scheme, _, rest = url.partition("://")
    if not scheme.endswith("+sentinel"):
        return [Redis.from_url(url, **options)]
    parts = urlsplit(f"//{rest}")
    user, _, hosts = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    service, _, number = parts.path.strip("/").partition("/")
    guards = [urlsplit(f"//{host}") for host in hosts.split(",")]
    secret = parse_qs(parts.query).get("sentinel_password", [None])[0]
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [(guard.hostname or "127.0.0.1", guard.port or SENTINEL_PORT) for guard in guards],
        sentinel_kwargs={"password": secret, "socket_connect_timeout": 5, "ssl": scheme.startswith("rediss")},
        username=unquote(name) or None,
        password=unquote(password) or None,
        db=int(number or 0),
        ssl=scheme.startswith("rediss"),
        **options,
    )
    master: Redis = sentinel.master_for(service or "mymaster", redis_class=Redis)
    return [master, *sentinel.sentinels]


class RedisTransport:
    """Publish and subscribe on any server that speaks Redis' protocol."""

    def __init__(self, url: str) -> None:
        self._redis, *self._sentinels = clients_at(url)

    async def send(self, text: str) -> None:
        """Publish to every subscriber."""
        await self._redis.publish(CHANNEL, text)

    async def listen(self) -> AsyncIterator[str | None]:
        """What others publish, without end."""
        pause = FIRST_PAUSE
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    # A server that takes the connection and says nothing would be waited for without end.
                    async with asyncio.timeout(_SUBSCRIBE_SECS):
                        await subscription.subscribe(CHANNEL)
                    yield None
                    pause = FIRST_PAUSE
                    while True:
                        began = monotonic()
                        message = await subscription.get_message(ignore_subscribe_messages=True, timeout=QUIET_SECS)
                        if message is not None:
                            yield message["data"].decode(errors="replace")
                        elif monotonic() - began > QUIET_SECS / 2:
                            # Not even this process's own greetings came: the connection is dead.
                            raise TimeoutError
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("signals_interrupted", transport="redis", error=type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def ping(self) -> None:
        """Raises when the server does not answer."""
        await self._redis.ping()

    async def close(self) -> None:
        """Close all connections."""
        for client in (self._redis, *self._sentinels):
            await client.aclose()
