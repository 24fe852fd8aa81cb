"""The two ways a signal reaches other processes: PostgreSQL's LISTEN/NOTIFY, and Redis publish/subscribe."""

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

from strait_core.errors import UnavailableError
from strait_core.store import signals
from strait_core.store.faults import Refused
from strait_daemon.line import Line

CHANNEL: Final = "strait_signals"
SENTINEL_PORT: Final = 26_379
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_SUBSCRIBE_SECS: Final = 10.0
# The server is asked for a sign of life this often: a pooler or balancer in between keeps dead connections open.
_QUIET_SECS: Final = 10.0
_ANSWER_SECS: Final = 5.0

log = structlog.get_logger(__name__)


class PostgresTransport:
    """NOTIFY on one connection, LISTEN on another, which must lead to PostgreSQL itself and not to a pooler."""

    def __init__(self, line: Line, direct_line: Line) -> None:
        self._line = line
        self._direct = direct_line

    async def send(self, text: str) -> None:
        """Notify every listener."""
        try:
            await signals.notify(await self._line.conn(), CHANNEL, text)
        except Refused:
            await self._line.drop()
            raise

    async def listen(self) -> AsyncIterator[str | None]:
        """What others notify, without end."""
        pause = _FIRST_PAUSE
        while True:
            try:
                conn = await self._direct.conn()
                await signals.listen(conn, CHANNEL)
                yield None
                pause = _FIRST_PAUSE
                while True:
                    async for text in signals.heard(conn, _QUIET_SECS):
                        yield text
                    async with asyncio.timeout(_ANSWER_SECS):
                        await signals.alive(conn)
            except (Refused, UnavailableError, OSError) as error:
                log.warning("signals_interrupted", transport="postgresql", error=type(error).__name__)
            await self._direct.drop()
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def close(self) -> None:
        """Close both connections."""
        await self._line.drop()
        await self._direct.drop()


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
        pause = _FIRST_PAUSE
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    # A server that takes the connection and says nothing would be waited for without end.
                    async with asyncio.timeout(_SUBSCRIBE_SECS):
                        await subscription.subscribe(CHANNEL)
                    yield None
                    pause = _FIRST_PAUSE
                    while True:
                        began = monotonic()
                        message = await subscription.get_message(ignore_subscribe_messages=True, timeout=_QUIET_SECS)
                        if message is not None:
                            yield message["data"].decode(errors="replace")
                        elif monotonic() - began > _QUIET_SECS / 2:
                            # Not even this process's own greetings came: the connection is dead.
                            raise TimeoutError
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("signals_interrupted", transport="redis", error=type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def ping(self) -> None:
        """Raises when the server does not answer."""
        await self._redis.ping()

    async def close(self) -> None:
        """Close all connections."""
        for client in (self._redis, *self._sentinels):
            await client.aclose()
