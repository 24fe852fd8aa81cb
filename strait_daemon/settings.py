"""Every setting of the daemon: names, defaults, bounds. Read once, in `wiring.py`; the parts get values.

Names are those of the environment, with or without the prefix STRAIT_. Times are seconds, or `5s`, `1m`, `2h`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import AliasChoices, BeforeValidator, Field, PlainSerializer, PlainValidator, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from strait_core.address import CLOSED, HostError, Openings, read_openings, read_url
from strait_core.errors import ConfigError
from strait_core.signing import secret_faults

MIN_SECRET: Final = 32
NEW_SECRET: Final = "openssl rand -base64 32"  # noqa: S105 - how to make one
# What our own docs show where a secret belongs.
PLACEHOLDERS: Final = frozenset(
    {
        "change-me-to-a-long-random-string-32",
        "replace-this-with-32-or-more-random-characters",
        "replace-this-too-with-32-or-more-random-characters",
    }
)
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_LENGTH: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?\Z")
_REAPING_SECS: Final = 5.0
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


class Mode(StrEnum):
    """Which parts a process runs."""

    ALL = "all"
    API = "api"
    WORKER = "worker"


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line looks."""

    TEXT = "text"
    JSON = "json"


def _seconds(value: Any) -> Any:
    if isinstance(value, str) and (match := _LENGTH.match(value.strip())):
        return float(match[1]) * _UNITS[match[2]]
    return value


def _level(value: Any) -> Any:
    return {"warn": "warning"}.get(value.lower(), value.lower()) if isinstance(value, str) else value


def _named(name: str, **bounds: Any) -> Any:
    return Field(validation_alias=AliasChoices(f"STRAIT_{name}", name), **bounds)


def _openings(value: Any) -> Openings:
    return value if isinstance(value, Openings) else read_openings(str(value))


Seconds = Annotated[float, BeforeValidator(_seconds)]


class Settings(BaseSettings):
    """The daemon's configuration; lengths in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="",
        env_file=None,
        extra="ignore",
        hide_input_in_errors=True,
        env_ignore_empty=True,
        # A variable in small letters is somebody else's, and would slip past the checks below.
        case_sensitive=True,
    )

    database_url: SecretStr = _named("DATABASE_URL")
    database_direct_url: SecretStr | None = _named("DATABASE_DIRECT_URL", default=None)
    redis_url: SecretStr | None = _named("REDIS_URL", default=None)
    internal_secret: SecretStr = _named("INTERNAL_SECRET")
    jwt_signing_key: SecretStr = _named("JWT_SIGNING_KEY")
    encryption_key: SecretStr | None = _named("ENCRYPTION_KEY", default=None)
    log_level: Annotated[LogLevel, BeforeValidator(_level)] = _named("LOG_LEVEL", default=LogLevel.INFO)
    log_format: LogFormat | None = _named("LOG_FORMAT", default=None)
    host: str = _named("HOST", default="127.0.0.1", min_length=1)
    port: int = _named("PORT", default=8080, ge=1, le=65_535)
    mode: Mode = _named("MODE", default=Mode.ALL)
    processes: int = _named("PROCESSES", default=1, ge=1, le=64)
    worker_pool_size: int = _named("WORKER_POOL_SIZE", default=100, ge=1, le=20_000)
    heartbeat_interval: Seconds = _named("HEARTBEAT_INTERVAL", default=10.0, ge=0.1, le=600)
    stale_threshold: Seconds = _named("STALE_THRESHOLD", default=60.0, ge=0.3, le=86_400)
    reaper_interval: Seconds = _named("REAPER_INTERVAL", default=5.0, ge=0.1, le=3_600)
    drain_timeout: Seconds = _named("DRAIN_TIMEOUT", default=30.0, ge=0, le=3_600)
    # How long an endpoint that keeps failing is left alone.
    breaker_cooldown: Seconds = _named("BREAKER_COOLDOWN", default=60.0, ge=0.1, le=86_400)
    retention_short_days: int = _named("RETENTION_SHORT_DAYS", default=30, ge=0, le=36_500)
    retention_long_days: int = _named("RETENTION_LONG_DAYS", default=90, ge=0, le=36_500)
    allow_private_endpoints: Annotated[Openings, NoDecode, PlainValidator(_openings), PlainSerializer(str)] = _named(
        "ALLOW_PRIVATE_ENDPOINTS", default=CLOSED
    )
    metrics_public: bool = _named("METRICS_PUBLIC", default=False)
    # Where the feed of changes is sent on to.
    changes_redis_stream: str | None = _named("CHANGES_REDIS_STREAM", default=None, max_length=256, pattern=r"^[!-~]+$")
    # A receiver's URL often holds what is as good as a password.
    changes_webhook_url: SecretStr | None = _named("CHANGES_WEBHOOK_URL", default=None, max_length=2_048)
    changes_webhook_secret: SecretStr | None = _named("CHANGES_WEBHOOK_SECRET", default=None)

    @property
    def direct_url(self) -> str:
        """Where LISTEN and migrations go: past any pooler."""
        return (self.database_direct_url or self.database_url).get_secret_value()

    @property
    def sealing_keys(self) -> list[str]:
        """What the secrets of jobs are encrypted with, the present key first.

        What was sealed before there was an ENCRYPTION_KEY stays readable.
        """
        listed = "" if self.encryption_key is None else self.encryption_key.get_secret_value()
        return [*_listed(listed), self.jwt_signing_key.get_secret_value()]

    @property
    def sinks(self) -> tuple[str, ...]:
        """The names of the sinks of changes that are set."""
        named = {"redis": self.changes_redis_stream, "webhook": self.changes_webhook_url}
        return tuple(name for name, value in named.items() if value is not None)

    @property
    def stale_after(self) -> timedelta:
        """How old a heartbeat may be before its worker is taken for dead."""
        return timedelta(seconds=self.stale_threshold)


@dataclass(frozen=True, slots=True)
class Supervised:
    """What a supervisor tells a process of its own: the listening socket's number, whose worker it is, who died before.

    Without a socket the process serves no HTTP. `inner` is the number of the socket on which its siblings ask for its
    figures, which are those of process `number` among those that have a socket in `folder`.
    """

    socket: int | None
    worker_id: UUID | None
    predecessor: UUID | None
    number: int = 0
    folder: Path | None = None
    inner: int | None = None


def load(overrides: Mapping[str, Any] | None = None) -> tuple[Settings, list[str]]:
    """The settings of this process and warnings about them; ConfigError lists every fault at once, with its fix."""
    faults: list[str] = []
    settings: Settings | None = None
    try:
        settings = Settings(**{name.upper(): value for name, value in (overrides or {}).items()})
    except ValidationError as error:
        faults += [_explain(e["loc"], e["type"], e["msg"]) for e in error.errors()]
    warnings: list[str] = []
    faults += _secret_faults(warnings, overrides or {})
    faults += _encryption_faults(warnings, overrides or {})
    faults += _url_faults(overrides or {})
    if settings is not None:
        faults += _sink_faults(settings)
    if settings is not None and settings.stale_threshold < 3 * settings.heartbeat_interval:
        faults.append(
            f"STALE_THRESHOLD ({settings.stale_threshold:g} s) must be at least three times HEARTBEAT_INTERVAL"
            f" ({settings.heartbeat_interval:g} s), or healthy workers would be taken for dead"
        )
    if faults or settings is None:
        lines = "\n".join(f"  - {fault}" for fault in faults)
        raise ConfigError(f"the configuration has {len(faults)} fault(s):\n{lines}")
    return settings, warnings


def database_url() -> str:
    """Where migrations go, from the environment alone: nothing else has to be set for them."""
    url = _environment("DATABASE_DIRECT_URL") or _environment("DATABASE_URL")
    if not url:
        raise ConfigError(_MISSING["DATABASE_URL"])
    return url


def longest_silence() -> timedelta:
    """For how long a dead worker may still hold something: STALE_THRESHOLD, a reaper's period and 5 s for its work.

    From the environment alone, as `database_url`.
    """
    lengths = [_length(name) for name in ("STALE_THRESHOLD", "REAPER_INTERVAL")]
    return timedelta(seconds=sum(lengths) + _REAPING_SECS)


def _length(name: str) -> float:
    value = _seconds(_environment(name) or Settings.model_fields[name.lower()].default)
    if not isinstance(value, float):
        raise ConfigError(f"{name} must be a length of time, such as 60, 60s or 1m")
    return value


def _explain(loc: tuple[int | str, ...], kind: str, message: str) -> str:
    name = str(loc[0]).upper().removeprefix("STRAIT_")
    if kind == "missing":
        return _MISSING.get(name, f"{name} is not set")
    return f"{name}: {message[0].lower()}{message[1:]}"


_MISSING: Final = {
    "DATABASE_URL": "DATABASE_URL is not set; set it to postgresql://user:password@host:5432/database,"
    " or use `strait dev`, which brings its own PostgreSQL",
    "INTERNAL_SECRET": f"INTERNAL_SECRET is not set; make one with: {NEW_SECRET}",
    "JWT_SIGNING_KEY": f"JWT_SIGNING_KEY is not set; make one with: {NEW_SECRET}",
}


def _secret_faults(warnings: list[str], overrides: Mapping[str, Any]) -> list[str]:
    """Short secrets, and the placeholders of our own docs (a warning on loopback, where they do no harm)."""
    faults = []
    host = str(overrides.get("host") or _environment("HOST") or "127.0.0.1")
    for name in ("INTERNAL_SECRET", "JWT_SIGNING_KEY", "CHANGES_WEBHOOK_SECRET"):
        value = _environment(name)
        if not value:
            continue
        if len(value) < MIN_SECRET:
            said = f"{name} has {len(value)} characters and needs at least {MIN_SECRET}"
            faults.append(f"{said}; make one with: {NEW_SECRET}")
        elif value in PLACEHOLDERS:
            said = f"{name} is the placeholder of the documentation; make one with: {NEW_SECRET}"
            (warnings if host in LOOPBACK else faults).append(said)
    return faults


def _encryption_faults(warnings: list[str], overrides: Mapping[str, Any]) -> list[str]:
    """Short keys among those of ENCRYPTION_KEY; a warning when there are none."""
    value = str(overrides.get("encryption_key") or _environment("ENCRYPTION_KEY") or "")
    keys = _listed(value)
    if not keys:
        warnings.append(
            "ENCRYPTION_KEY is not set: the secrets of jobs are encrypted with a key derived from JWT_SIGNING_KEY, and"
            f" unreadable once that changes; make one with: {NEW_SECRET}"
        )
    return [
        f"key {at} of ENCRYPTION_KEY has {len(key)} characters and needs at least {MIN_SECRET};"
        f" make one with: {NEW_SECRET}"
        for at, key in enumerate(keys, 1)
        if len(key) < MIN_SECRET
    ]


def _sink_faults(settings: Settings) -> list[str]:
    """Sinks of changes that cannot be sent to."""
    faults = []
    url, secret = settings.changes_webhook_url, settings.changes_webhook_secret
    if settings.changes_redis_stream is not None and settings.redis_url is None:
        faults.append("CHANGES_REDIS_STREAM needs a REDIS_URL; set it to redis://host:6379")
    if url is not None and secret is None:
        faults.append(f"CHANGES_WEBHOOK_URL needs a CHANGES_WEBHOOK_SECRET to sign with; make one with: {NEW_SECRET}")
    if url is None and secret is not None:
        faults.append("CHANGES_WEBHOOK_SECRET needs a CHANGES_WEBHOOK_URL; set it, or leave the secret out")
    if url is not None:
        try:
            read_url(url.get_secret_value(), settings.allow_private_endpoints)
        except HostError as error:
            faults.append(f"CHANGES_WEBHOOK_URL {error}")
    if secret is not None and len(secret.get_secret_value()) >= MIN_SECRET:
        said = secret_faults("", secret.get_secret_value())
        faults += [f"CHANGES_WEBHOOK_SECRET {fault.message}" for fault in said]
    return faults


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def is_set(name: str) -> bool:
    """Whether the environment names a value for that setting."""
    return bool(_environment(name))


def _environment(name: str) -> str | None:
    return os.environ.get(f"STRAIT_{name}") or os.environ.get(name)


_SCHEMES: Final = {
    "DATABASE_URL": ("postgres://", "postgresql://"),
    "DATABASE_DIRECT_URL": ("postgres://", "postgresql://"),
    "REDIS_URL": ("redis://", "rediss://", "unix://", "redis+sentinel://", "rediss+sentinel://"),
}


def _url_faults(overrides: Mapping[str, Any]) -> list[str]:
    faults = []
    for name, schemes in _SCHEMES.items():
        url = overrides.get(name.lower()) or _environment(name)
        if url and not str(url).startswith(schemes):
            example = "redis://host:6379" if name == "REDIS_URL" else "postgresql://user:password@host:5432/database"
            faults.append(f"{name} must begin with {' or '.join(schemes)} ({example})")
    return faults
