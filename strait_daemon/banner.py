"""What a daemon says of its configuration when it starts, with secrets masked."""

from __future__ import annotations

from urllib.parse import urlsplit

import strait_core
from strait_core.address import Openings
from strait_daemon.settings import Mode, Settings
from strait_daemon.telemetry import masked


def banner(settings: Settings) -> str:
    """A few aligned lines: where it listens, what it uses, how much it works at once."""
    direct = settings.database_direct_url
    redis = settings.redis_url
    rows = [
        ("mode", settings.mode.value),
        ("listening", f"http://{settings.host}:{settings.port}"),
        ("database", masked(settings.database_url.get_secret_value())),
        ("direct", masked(direct.get_secret_value()) if direct else None),
        ("live events", masked(redis.get_secret_value()) if redis else "PostgreSQL LISTEN/NOTIFY"),
        ("changes to", _sinks(settings)),
        ("worker slots", None if settings.mode is Mode.API else str(settings.worker_pool_size)),
        ("heartbeat", f"every {settings.heartbeat_interval:g} s, stale after {settings.stale_threshold:g} s"),
        ("retention", f"{_days(settings.retention_short_days)} / {_days(settings.retention_long_days)}"),
        ("endpoints", _endpoints(settings.allow_private_endpoints)),
        ("secrets", _secrets(settings)),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}  {value}" for name, value in rows if value is not None]
    return "\n".join([f"Strait {strait_core.__version__}", *lines])


def _sinks(settings: Settings) -> str | None:
    """Where changes are sent on to; of a receiver's URL only the host, because the rest often is its password."""
    stream, url = settings.changes_redis_stream, settings.changes_webhook_url
    named = [] if stream is None else [f"the Redis stream {stream}"]
    named += [] if url is None else [f"a webhook at {urlsplit(url.get_secret_value()).hostname}"]
    return ", ".join(named) or None


def _secrets(settings: Settings) -> str:
    names = ["INTERNAL_SECRET", "JWT_SIGNING_KEY", *(["ENCRYPTION_KEY"] if settings.encryption_key else [])]
    return "  ".join(f"{name} ****" for name in names)


def _endpoints(openings: Openings) -> str:
    if openings.private:
        return "public and private addresses"
    return " and ".join(["public addresses", *([", ".join(map(str, openings.networks))] if openings.networks else [])])


def _days(days: int) -> str:
    return f"{days} days" if days else "for ever"
